/* Writing: straight from the caller's memory, or held back while the stream is corked.
 *
 * 1. What is held back leaves the buffer as it is sent, so a flush that fails can be repeated.
 * 2. A write that sent a part of the caller's bytes and then failed sets `torn`: no write
 *    follows. */
#include "base/noexcept.h"
#include "stream/stream.h"

#include <stdarg.h>
#include <stdio.h>

enum { PIECES = 16, KEPT_MEMORY = 4096, LINE = 512 /* most of what is formatted is shorter */ };

int rota__stream_send_failed(rota_stream *s, ssize_t err, bool partly)
{
    s->torn |= partly;
    s->reset |= err == -ECONNRESET;
    return rota__stream_failed(s, (int)err, true);
}

int rota__stream_send(rota_stream *s, const char *bytes, size_t len, bool partly)
{
    while (len > 0) {
        ssize_t n = s->top->kind->write(s->top, bytes, len);
        ROTA__NOEXCEPT();
        if (__builtin_expect(n < 0, 0))
            return rota__stream_send_failed(s, n, partly);
        bytes += n;
        len -= (size_t)n;
        partly = true;
    }
    return 0;
}

int rota__stream_send_held(rota_stream *s)
{
    while (rota__buffer_count(&s->out)) {
        ssize_t n =
            s->top->kind->write(s->top, rota__buffer_front(&s->out), rota__buffer_count(&s->out));
        ROTA__NOEXCEPT();
        if (n < 0)
            return rota__stream_send_failed(s, n, false);
        rota__buffer_take(&s->out, (size_t)n);
    }
    if (s->out.size > KEPT_MEMORY)
        rota__buffer_fini(&s->out);
    return 0;
}

/* All cases except a plain write without corking or an earlier failure. */
static int write_specially(rota_stream *s, const void *buf, size_t len)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    if (s->torn)
        return rota__stream_failed(s, -EPIPE, true);
    if (!s->corked || rota__buffer_count(&s->out) + len > s->limit)
        err = rota__stream_send_held(s);
    if (err < 0)
        return err;
    if (!s->corked || len > s->limit)
        err = rota__stream_send(s, buf, len, false);
    else if (!rota__buffer_append(&s->out, buf, len))
        err = rota__stream_failed(s, -ENOMEM, true);
    return (int)rota__done_at_once(err);
}

static inline bool writes_plainly(const rota_stream *s)
{
    return !s->corked && !s->torn && !rota__buffer_count(&s->out);
}

int rota_stream_write(rota_stream *s, const void *buf, size_t len)
{
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_WRITING);
    if (__builtin_expect(err < 0, 0))
        return err;
    err = __builtin_expect(writes_plainly(s) && len, 1) ? rota__stream_send(s, buf, len, false)
                                                        : write_specially(s, buf, len);
    rota__gate_leave(&s->gate, ROTA__STREAM_WRITING);
    return err;
}

/* A position in a list of pieces. */
struct cursor {
    const struct iovec *iov;
    int count;
    size_t offset; /* into the first */
};

static int cursor_window(const struct cursor *c, struct iovec *ret_pieces)
{
    int n = 0;
    size_t offset = c->offset;
    for (int i = 0; i < c->count && n < PIECES; i++, offset = 0) {
        size_t len = c->iov[i].iov_len - offset;
        if (len)
            ret_pieces[n++] = (struct iovec){(char *)c->iov[i].iov_base + offset, len};
    }
    return n;
}

static void cursor_advance(struct cursor *c, size_t len)
{
    while (c->count && len >= c->iov->iov_len - c->offset) {
        len -= c->iov->iov_len - c->offset;
        c->offset = 0;
        c->iov++;
        c->count--;
    }
    c->offset += len;
}

static int push_pieces(rota_stream *s, const struct iovec *iov, int count)
{
    struct cursor at = {iov, count, 0};
    struct iovec pieces[PIECES];
    int n;
    for (bool partly = false; (n = cursor_window(&at, pieces)) > 0; partly = true) {
        ssize_t sent = s->top->kind->writev(s->top, pieces, n);
        ROTA__NOEXCEPT();
        if (sent < 0)
            return rota__stream_send_failed(s, sent, partly);
        cursor_advance(&at, (size_t)sent);
    }
    return 0;
}

/* Joins the pieces in the held-back output: the stream is corked, or the filter cannot gather. */
static int write_joined(rota_stream *s, const struct iovec *iov, int count)
{
    bool corked = s->corked;
    s->corked = true;
    int err = 0, i = 0;
    for (; i < count && err == 0; i++)
        err = write_specially(s, iov[i].iov_base, iov[i].iov_len);
    s->corked = corked;
    if (err == 0 && !corked)
        err = rota__stream_send_held(s);
    s->torn |= err < 0 && i > 1;
    return err;
}

static int writev_checked(rota_stream *s, const struct iovec *iov, int count)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    if (writes_plainly(s) && s->top->kind->writev)
        return push_pieces(s, iov, count);
    return write_joined(s, iov, count);
}

int rota_stream_writev(rota_stream *s, const struct iovec *iov, int count)
{
    if (count < 0)
        return rota__invalid_argument("write: the number of pieces is negative");
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_WRITING);
    if (err < 0)
        return err;
    err = writev_checked(s, iov, count);
    rota__gate_leave(&s->gate, ROTA__STREAM_WRITING);
    return err;
}

int rota_stream_printf(rota_stream *s, const char *format, ...)
{
    char line[LINE], *text = line;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (len < 0)
        return rota__error_plain(-errno);
    if (len >= LINE) {
        text = rota_alloc((size_t)len + 1);
        if (!text)
            return rota__error_plain(-ENOMEM);
        va_start(args, format);
        vsnprintf(text, (size_t)len + 1, format, args);
        va_end(args);
    }
    int err = rota_stream_write(s, text, (size_t)len);
    if (text != line)
        rota_free(text);
    return err;
}

/* ---- Holding back, and the end */

void rota_stream_cork(rota_stream *s)
{
    s->corked = true;
}

int rota__stream_uncork(rota_stream *s)
{
    if (s->torn)
        return rota__stream_failed(s, -EPIPE, true);
    s->corked = false;
    return rota__stream_send_held(s);
}

static int flush_checked(rota_stream *s)
{
    int err = rota__suspend_check();
    return err < 0 ? err : rota__stream_uncork(s);
}

int rota_stream_flush(rota_stream *s)
{
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_WRITING);
    if (err < 0)
        return err;
    err = flush_checked(s);
    rota__gate_leave(&s->gate, ROTA__STREAM_WRITING);
    return err;
}

int rota_stream_shutdown(rota_stream *s)
{
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_WRITING);
    if (err < 0)
        return err;
    err = flush_checked(s);
    if (err == 0)
        err = rota_filter_shutdown(s->top);
    if (err < 0)
        rota__stream_failed(s, err, true);
    rota__gate_leave(&s->gate, ROTA__STREAM_WRITING);
    return err;
}
