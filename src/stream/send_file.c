/* From a file to a stream: by sendfile(2), or through the stream's held-back output.
 *
 *     copy       a small rest, what goes behind held-back output, a filter that cannot send files:
 *                the piece is read to the end of the held-back output and written with it
 *     hand over  everything else
 *
 * 1. Small pieces are copied because that is cheaper: with the head before it a file of up to SMALL
 *    bytes costs one read and one write, and goes out in one segment.
 * 2. What is handed over is in the page cache, as far as probes can tell: one a PROBE, since the
 *    kernel reads and drops neighbours together. Where one finds nothing, a thread reads the WINDOW
 *    first. sendfile(2) itself cannot be told not to wait for a disk.
 * 3. `sent` counts what the stream has taken. What a failed write left of it in the held-back
 *    output is taken back out and not counted; what was there before stays. */
#include "base/noexcept.h"
#include "base/sys.h"
#include "file/file.h"
#include "stream/stream.h"

#include <linux/fs.h>
#include <sys/syscall.h>

enum { SMALL = 16 * 1024, COPY = 64 * 1024, WINDOW = 1024 * 1024, PROBE = 128 * 1024 };

static const struct rota__file_wait reading = ROTA__FILE_WAIT("file read");

struct transfer {
    rota_stream *s;
    int fd;
    int64_t at, left; /* left: ROTA_TO_END, or what is still to be sent */
    int64_t sent;
    int64_t warm;  /* the page cache probably has the file up to here */
    bool no_probe; /* the file system cannot be asked */
    bool no_handing_over;
};

static size_t at_most(const struct transfer *t, size_t size)
{
    return t->left < (int64_t)size ? (size_t)t->left : size;
}

/* Reads what is in the page cache; -EAGAIN if nothing is, or if that is not known. By the number of
 * the call, because not every libc has preadv2. */
static ssize_t read_cached(struct transfer *t, void *buf, size_t len, int64_t offset)
{
    struct iovec iov = {buf, len};
    if (t->no_probe)
        return -EAGAIN;
    ssize_t n = rota__sys(
        EAGAIN, syscall(SYS_preadv2, t->fd, &iov, 1L, (long)offset, 0L, (long)RWF_NOWAIT));
    t->no_probe = n == -EOPNOTSUPP || n == -ENOSYS || n == -EPERM;
    return t->no_probe || n == -EINTR ? -EAGAIN : n;
}

/* ---- Through the held-back output */

struct piece {
    int fd;
    char *buf;
    size_t len;
    int64_t offset;
};

static int read_waiting(void *arg)
{
    const struct piece *p = arg;
    return (int)rota__sys(EIO, pread(p->fd, p->buf, rota__sys_shorten(p->len), p->offset));
}

static ssize_t read_piece(struct transfer *t, char *buf, size_t len)
{
    ssize_t n = read_cached(t, buf, rota__sys_shorten(len), t->at);
    if (n != -EAGAIN)
        return n;
    struct piece p = {t->fd, buf, len, t->at};
    return rota__file_hop(read_waiting, &p, &reading);
}

/* On a corked stream the end of the file may be held back, as with a write. */
static bool may_stay_held(const struct transfer *t, size_t asked, size_t len)
{
    bool is_last = t->left == ROTA_TO_END ? len < asked : (int64_t)len == t->left;
    return is_last && t->s->corked && rota__buffer_count(&t->s->out) <= t->s->limit;
}

static ssize_t send_with_held(struct transfer *t, size_t len)
{
    struct rota__buffer *out = &t->s->out;
    int err = rota__stream_send_held(t->s);
    size_t rest = rota__buffer_count(out) < len ? rota__buffer_count(out) : len;
    out->tail -= rest;
    t->sent += (int64_t)(len - rest);
    return err < 0 ? err : (ssize_t)len;
}

static ssize_t copy(struct transfer *t)
{
    struct rota__buffer *out = &t->s->out;
    size_t len = at_most(t, t->no_handing_over ? COPY : SMALL);
    if (!rota__buffer_reserve(out, len))
        return rota__stream_failed(t->s, -ENOMEM, true);
    ssize_t n = read_piece(t, out->data + out->tail, len);
    if (n < 0)
        return n;
    out->tail += (size_t)n;
    if (!may_stay_held(t, len, (size_t)n))
        return send_with_held(t, (size_t)n);
    t->sent += n;
    return n;
}

/* ---- By the kernel alone */

/* 1, 0, or an error of reading. */
static int is_cached(struct transfer *t, size_t len)
{
    char byte;
    ssize_t n = 1;
    for (size_t i = 0; i < len && n > 0; i += PROBE)
        n = read_cached(t, &byte, 1, t->at + (int64_t)i);
    if (n > 0)
        n = read_cached(t, &byte, 1, t->at + (int64_t)len - 1);
    return n == -EAGAIN ? 0 : n < 0 ? (int)n : 1;
}

static int warm_up(void *arg)
{
    const struct piece *p = arg;
    char scratch[16384];
    ssize_t n = 1;
    readahead(p->fd, p->offset, p->len);
    for (size_t done = 0; done < p->len && n > 0; done += (size_t)n)
        n = rota__sys(EIO, pread(p->fd, scratch, sizeof scratch, p->offset + (int64_t)done));
    return n < 0 ? (int)n : 0;
}

static int make_warm(struct transfer *t, size_t len)
{
    int err = is_cached(t, len);
    if (err == 0) {
        struct piece p = {.fd = t->fd, .len = len, .offset = t->at};
        err = rota__file_hop(warm_up, &p, &reading);
    }
    if (err >= 0)
        t->warm = t->at + (int64_t)len;
    return err < 0 ? err : 0;
}

static ssize_t hand_over(struct transfer *t)
{
    int err = t->at < t->warm ? 0 : make_warm(t, at_most(t, WINDOW));
    if (err < 0)
        return err;
    rota_filter *top = t->s->top;
    ssize_t n = top->kind->send_file(top, t->fd, t->at, (size_t)(t->warm - t->at));
    ROTA__NOEXCEPT();
    if (n == -EOPNOTSUPP) {
        t->no_handing_over = true;
        return copy(t);
    }
    if (n < 0)
        return rota__stream_send_failed(t->s, n, false);
    t->sent += n;
    return n;
}

/* ---- All of it */

/* A file whose length is not known may be small. */
static bool has_to_copy(const struct transfer *t)
{
    bool is_small = t->left <= SMALL || (t->left == ROTA_TO_END && t->sent == 0);
    return is_small || t->no_handing_over || rota__buffer_count(&t->s->out);
}

static int send_all(struct transfer *t)
{
    while (t->left > 0) {
        ssize_t n = has_to_copy(t) ? copy(t) : hand_over(t);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return t->left == ROTA_TO_END ? 0 : ROTA_EOF;
        t->at += n;
        t->left -= t->left == ROTA_TO_END ? 0 : n;
    }
    return 0;
}

static int send_inside(struct transfer *t)
{
    rota_stream *s = t->s;
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    if (t->at < 0 || t->left < 0)
        return rota__error_plain(-EINVAL);
    if (s->torn)
        return rota__stream_failed(s, -EPIPE, true);
    t->no_handing_over = !s->top->kind->send_file;
    if (!s->corked)
        err = rota__stream_send_held(s);
    if (err == 0)
        err = send_all(t);
    s->torn |= err < 0 && t->sent > 0;
    return (int)rota__done_at_once(err);
}

int rota_stream_send_file(rota_stream *s, int fd, int64_t offset, int64_t len, int64_t *sent)
{
    struct transfer t = {.s = s, .fd = fd, .at = offset, .left = len};
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_WRITING);
    if (err == 0) {
        err = send_inside(&t);
        rota__gate_leave(&s->gate, ROTA__STREAM_WRITING);
    }
    if (sent)
        *sent = t.sent;
    return err;
}
