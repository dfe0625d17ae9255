/* Reading: straight into the caller's memory where nothing is buffered, else through the buffer.
 *
 * 1. Bytes leave the buffer only when the call that takes them succeeds. read_exact, which fills
 *    the caller's memory as it goes, puts them back when it fails.
 * 2. Once a read has failed for good (read_error), the buffer is still served, then the error. */
#include "base/error.h"
#include "base/noexcept.h"
#include "stream/stream.h"

#include <string.h>

enum { STEP_MIN = 2048, STEP_MAX = 65536 };

/* Whether the kernel reports it only once, and an end of stream afterwards. */
static bool is_final(ssize_t err)
{
    switch (err) {
    case -ECANCELED:
    case -EBUSY:
    case -EAGAIN:
    case -ENOMEM:
    case -ENOBUFS:
    case ROTA_ECLOSED:
    case ROTA_ENOTASK:
        return false;
    case -ETIMEDOUT: /* a deadline's, or the kernel's after keepalive probes */
        return rota__fiber_here()->interrupt == 0;
    default:
        return true;
    }
}

ssize_t rota__stream_read_failed(rota_stream *s, ssize_t n)
{
    if (n == 0 && !s->reset)
        return 0;
    if (n == 0)
        n = -ECONNRESET;
    if (is_final(n))
        s->read_error = (int)n;
    return rota__stream_failed(s, (int)n, false);
}

inline ssize_t rota__stream_pull(rota_stream *s, void *buf, size_t len)
{
    if (__builtin_expect(s->read_error, 0))
        return rota__stream_failed(s, s->read_error, false);
    ssize_t n = s->top->kind->read(s->top, buf, len);
    ROTA__NOEXCEPT();
    return __builtin_expect(n > 0, 1) ? n : rota__stream_read_failed(s, n);
}

static ssize_t read_some_buffered(rota_stream *s, void *buf, size_t len)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    return rota__done_at_once((ssize_t)rota__buffer_get(&s->in, buf, len));
}

ssize_t rota_stream_read(rota_stream *s, void *buf, size_t len)
{
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_READING);
    if (__builtin_expect(err < 0, 0))
        return err;
    if (__builtin_expect(len == 0, 0)) {
        err = rota__suspend_check();
        if (err == 0)
            err = rota_error_set(-EINVAL, "read %s: the buffer has length 0", rota_stream_peer(s));
        rota__gate_leave(&s->gate, ROTA__STREAM_READING);
        return err;
    }
    ssize_t n = rota__buffer_count(&s->in) ? read_some_buffered(s, buf, len)
                                           : rota__stream_pull(s, buf, len);
    rota__gate_leave(&s->gate, ROTA__STREAM_READING);
    return n;
}

/* ---- Exactly so many */

static int put_back(rota_stream *s, const void *bytes, size_t len, int why)
{
    if (len == 0 || rota__buffer_append(&s->in, bytes, len))
        return why;
    s->read_error = -ENOMEM; /* rather than going on behind a hole */
    return rota__stream_failed(s, -ENOMEM, false);
}

static int ended_early(rota_stream *s, size_t got, size_t len)
{
    return rota_error_set(ROTA_EOF, "read %s: the stream ended after %zu of %zu bytes",
                          rota_stream_peer(s), got, len);
}

static int read_exact(rota_stream *s, char *buf, size_t len)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    size_t got = rota__buffer_count(&s->in) ? rota__buffer_get(&s->in, buf, len) : 0;
    while (got < len) {
        ssize_t n = rota__stream_pull(s, buf + got, len - got);
        if (n <= 0)
            return put_back(s, buf, got, n == 0 ? ended_early(s, got, len) : (int)n);
        got += (size_t)n;
    }
    return (int)rota__done_at_once(0);
}

int rota_stream_read_exact(rota_stream *s, void *buf, size_t len)
{
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_READING);
    if (err < 0)
        return err;
    err = read_exact(s, buf, len);
    rota__gate_leave(&s->gate, ROTA__STREAM_READING);
    return err;
}

/* ---- Through the buffer */

static void adapt_step(rota_stream *s, size_t asked, size_t got)
{
    if (got == asked && asked == s->step && s->step < STEP_MAX)
        s->step *= 2;
    else if (got < s->step / 4 && s->step > STEP_MIN)
        s->step /= 2;
}

/* Reads once into the buffer, which then holds at most `most` bytes; it holds less now. */
static ssize_t fill(rota_stream *s, size_t most)
{
    size_t room = most - rota__buffer_count(&s->in);
    if (!s->step)
        s->step = STEP_MIN;
    if (room > s->step)
        room = s->step;
    if (!rota__buffer_reserve(&s->in, room))
        return rota__stream_failed(s, -ENOMEM, false);
    ssize_t n = rota__stream_pull(s, s->in.data + s->in.tail, room);
    if (n > 0) {
        s->in.tail += (size_t)n;
        adapt_step(s, room, (size_t)n);
    }
    return n;
}

static char *find(char *where, size_t len, rota_str what)
{
    return what.len == 1 ? memchr(where, what.ptr[0], len) : memmem(where, len, what.ptr, what.len);
}

/* Fills the buffer until `separator` is in its first `limit` bytes. Returns how far it reaches. */
static ssize_t seek(rota_stream *s, rota_str separator, size_t limit)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    for (size_t from = 0;;) {
        size_t count = rota__buffer_count(&s->in);
        size_t end = count < limit ? count : limit;
        char *front = rota__buffer_front(&s->in);
        char *found = end > from ? find(front + from, end - from, separator) : NULL;
        if (found)
            return rota__done_at_once(found - front + (ssize_t)separator.len);
        if (count >= limit)
            return rota__stream_exceeded(s, limit);
        from = end >= separator.len ? end - separator.len + 1 : 0;
        ssize_t n = fill(s, limit > s->limit ? limit : s->limit);
        if (n <= 0)
            return n == 0 ? rota__error_plain(ROTA_EOF) : n;
    }
}

/* `len` bytes of the buffer may be lent, unless the buffer goes when this call leaves. */
static ssize_t lendable(const rota_stream *s, ssize_t len)
{
    return len > 0 && rota__gate_is_doomed(&s->gate) ? rota__error_plain(ROTA_ECLOSED) : len;
}

static void lend(rota_stream *s, size_t len, rota_str *ret_data)
{
    *ret_data = (rota_str){rota__buffer_front(&s->in), len};
}

int rota_stream_read_until(rota_stream *s, rota_str separator, size_t limit, rota_str *ret_data)
{
    if (separator.len == 0)
        return rota__invalid_argument("read until a separator: it is empty");
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_READING);
    if (err < 0)
        return err;
    ssize_t len = lendable(s, seek(s, separator, limit ? limit : s->limit));
    if (len > 0) {
        lend(s, (size_t)len, ret_data);
        rota__buffer_take(&s->in, (size_t)len);
    }
    rota__gate_leave(&s->gate, ROTA__STREAM_READING);
    return len > 0 ? 0 : (int)len;
}

/* Hands out the first `len` bytes without their line end. */
static void take_line(rota_stream *s, size_t len, rota_str *ret_line)
{
    char *line = rota__buffer_front(&s->in);
    size_t end = len;
    if (end > 0 && line[end - 1] == '\n')
        end -= end > 1 && line[end - 2] == '\r' ? 2 : 1;
    lend(s, end, ret_line);
    rota__buffer_take(&s->in, len);
    line[end] = '\0';
}

static int read_line(rota_stream *s, rota_str *ret_line)
{
    ssize_t len = seek(s, (rota_str){"\n", 1}, s->limit);
    if (len == ROTA_EOF)
        len = (ssize_t)rota__buffer_count(&s->in);
    len = lendable(s, len);
    if (len <= 0)
        return (int)len;
    take_line(s, (size_t)len, ret_line);
    return 1;
}

int rota_stream_read_line(rota_stream *s, rota_str *ret_line)
{
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_READING);
    if (err < 0)
        return err;
    int more = read_line(s, ret_line);
    rota__gate_leave(&s->gate, ROTA__STREAM_READING);
    return more;
}

static int next_line(void *self, void **ret_item)
{
    rota_stream *s = self;
    int more = rota_stream_read_line(s, &s->line);
    if (more > 0)
        *ret_item = &s->line;
    return more;
}

rota_iter rota_stream_lines(rota_stream *s)
{
    return (rota_iter){next_line, s};
}

static ssize_t peek(rota_stream *s, size_t len)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    while (rota__buffer_count(&s->in) < len) {
        if (len > s->limit)
            return rota__stream_exceeded(s, s->limit);
        ssize_t n = fill(s, s->limit);
        if (n < 0)
            return n;
        if (n == 0)
            break;
    }
    return rota__done_at_once((ssize_t)rota__buffer_count(&s->in));
}

ssize_t rota_stream_peek(rota_stream *s, size_t len, rota_str *ret_data)
{
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_READING);
    if (err < 0)
        return err;
    ssize_t n = lendable(s, peek(s, len));
    if (n >= 0)
        lend(s, (size_t)n, ret_data);
    rota__gate_leave(&s->gate, ROTA__STREAM_READING);
    return n;
}

size_t rota_stream_skip(rota_stream *s, size_t len)
{
    size_t count = rota__buffer_count(&s->in);
    if (len > count)
        len = count;
    rota__buffer_take(&s->in, len);
    return len;
}

/* Bytes that a filter has not read from below may be its closing message, so with filters an end
 * counts at once. */
bool rota_stream_hung_up(rota_stream *s, size_t seen)
{
    if (s->read_error || s->reset)
        return true;
    if (!s->top)
        return false;
    bool more = rota__buffer_count(&s->in) > seen;
    struct rota__socket *socket = rota__stream_socket(s);
    rota_filter *bottom = rota__stream_bottom(s);
    bool unread = s->top != bottom;
    return socket ? rota__socket_hung_up(socket, unread, more)
                  : !more && rota__pair_hung_up(bottom, unread);
}
