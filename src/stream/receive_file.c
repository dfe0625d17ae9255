/* From a stream to a file: spliced through a pipe where the stream is a bare socket, else through
 * the stream's buffer. Writing may wait for a disk, so a thread does it.
 *
 * 1. Bytes are in the file (`received`), in the stream's buffer, or in the pipe. The buffer's go
 *    first; what a failure leaves in the pipe goes to the buffer, which is empty then. So nothing
 *    is lost.
 * 2. Nobody else touches the pipe or the buffer while a thread writes from it: the job has ended
 *    when the call that waits for it returns. */
#include "base/sys.h"
#include "file/file.h"
#include "stream/stream.h"

#include <fcntl.h>

enum { PIECE = 256 * 1024 };

static const struct rota__file_wait writing = ROTA__FILE_WAIT("file write");

struct transfer {
    rota_stream *s;
    int fd;
    int64_t at, left; /* left: ROTA_TO_END, or what is still to be received */
    int64_t received;
    int pipe[2]; /* -1: by the buffer */
};

static size_t at_most(const struct transfer *t, size_t size)
{
    return t->left < (int64_t)size ? (size_t)t->left : size;
}

/* ---- Into the file, in a thread */

struct piece {
    int fd, pipe;
    int64_t at;
    const char *bytes; /* NULL: they are in the pipe */
    size_t len, done;
};

static ssize_t write_some(const struct piece *p)
{
    off_t at = p->at + (off_t)p->done;
    size_t len = rota__sys_shorten(p->len - p->done);
    if (p->bytes)
        return rota__sys(ENOSPC, pwrite(p->fd, p->bytes + p->done, len, at));
    return rota__sys(ENOSPC, splice(p->pipe, NULL, p->fd, &at, len, SPLICE_F_MOVE));
}

static int write_piece(void *arg)
{
    struct piece *p = arg;
    while (p->done < p->len) {
        ssize_t n = write_some(p);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        p->done += (size_t)n;
    }
    return 0;
}

static int write_out(struct transfer *t, const char *bytes, size_t len, size_t *ret_done)
{
    struct piece p = {.fd = t->fd, .pipe = t->pipe[0], .at = t->at, .bytes = bytes, .len = len};
    int err = rota__file_hop(write_piece, &p, &writing);
    t->at += (int64_t)p.done;
    t->received += (int64_t)p.done;
    t->left -= t->left == ROTA_TO_END ? 0 : (int64_t)p.done;
    *ret_done = p.done;
    return err;
}

/* ---- Through the buffer */

static int write_buffered(struct transfer *t)
{
    struct rota__buffer *in = &t->s->in;
    size_t done;
    int err = write_out(t, rota__buffer_front(in), at_most(t, rota__buffer_count(in)), &done);
    rota__buffer_take(in, done);
    return err;
}

static int fill_buffer(struct transfer *t)
{
    struct rota__buffer *in = &t->s->in;
    size_t len = at_most(t, PIECE);
    if (!rota__buffer_reserve(in, len))
        return rota__stream_failed(t->s, -ENOMEM, false);
    ssize_t n = rota__stream_pull(t->s, in->data + in->tail, len);
    if (n <= 0)
        return n == 0 ? ROTA_EOF : (int)n;
    in->tail += (size_t)n;
    return 0;
}

/* ---- Through a pipe */

struct splicing {
    struct rota__op op;
    int to;
    size_t len;
};

static ssize_t attempt_splice(struct rota__op *op)
{
    const struct splicing *s = rota__container_of(op, struct splicing, op);
    int err = rota__fd_unblock(op->fd);
    if (err < 0)
        return err;
    return rota__sys(ECONNRESET, splice(op->fd->fd, NULL, s->to, NULL, rota__sys_shorten(s->len),
                                        SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
}

static const struct rota__wait_kind receiving = {"read into a file", rota__op_abort};

static ssize_t splice_in(struct transfer *t)
{
    struct rota__socket *socket = rota__stream_socket(t->s);
    if (t->s->read_error)
        return t->s->read_error;
    if (socket->interrupted)
        return ROTA_ECLOSED;
    struct splicing splicing = {.to = t->pipe[1], .len = at_most(t, PIECE)};
    splicing.op.kind = ROTA__OP_CALL_IN;
    splicing.op.fd = &socket->fd;
    splicing.op.call = attempt_splice;
    ssize_t n = rota__op_await(&splicing.op, &receiving);
    return n > 0 || n == -EINVAL ? n : rota__stream_read_failed(t->s, n);
}

static void close_pipe(struct transfer *t)
{
    rota__sys_close(t->pipe[0]);
    rota__sys_close(t->pipe[1]);
    t->pipe[0] = t->pipe[1] = -1;
}

static void put_back(struct transfer *t, size_t len)
{
    struct rota__buffer *in = &t->s->in;
    ssize_t n = 1;
    if (len > 0 && !rota__buffer_reserve(in, len)) {
        t->s->read_error = rota__stream_failed(t->s, -ENOMEM, false); /* there would be a hole */
        return;
    }
    for (; len > 0 && n > 0; len -= (size_t)n) {
        n = read(t->pipe[0], in->data + in->tail, len);
        in->tail += n > 0 ? (size_t)n : 0;
    }
}

/* Sockets and file systems that cannot be spliced return -EINVAL: then the buffer is used. */
static int splice_piece(struct transfer *t)
{
    size_t done;
    ssize_t n = splice_in(t);
    if (n == 0)
        return ROTA_EOF;
    int err = n < 0 ? (int)n : write_out(t, NULL, (size_t)n, &done);
    if (n > 0)
        put_back(t, (size_t)n - done);
    if (err != -EINVAL)
        return err;
    close_pipe(t);
    return 0;
}

static void open_pipe(struct transfer *t)
{
    struct rota__socket *socket = rota__stream_socket(t->s);
    if (!socket || t->s->top != &socket->filter || !socket->fd.is_socket)
        return;
    if (rota__sys(EMFILE, pipe2(t->pipe, O_CLOEXEC)) == 0)
        fcntl(t->pipe[1], F_SETPIPE_SZ, PIECE); /* where that is not allowed, it is smaller */
}

/* ---- All of it */

static int receive_some(struct transfer *t)
{
    if (rota__buffer_count(&t->s->in))
        return write_buffered(t);
    return t->pipe[0] >= 0 ? splice_piece(t) : fill_buffer(t);
}

/* splice(2) refuses to append. */
static int check_file(int fd)
{
    struct stat about;
    int flags = (int)rota__sys(EBADF, fcntl(fd, F_GETFL));
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    int err = (int)rota__sys(EBADF, fstat(fd, &about));
    if (err < 0)
        return err;
    return S_ISREG(about.st_mode) && !(flags & O_APPEND) ? 0 : -EINVAL;
}

static int receive_inside(struct transfer *t)
{
    int err = rota__suspend_check();
    if (err == 0 && (t->at < 0 || t->left < 0))
        err = -EINVAL;
    if (err == 0)
        err = check_file(t->fd);
    if (err < 0)
        return rota__error_plain(err);
    open_pipe(t);
    while (err == 0 && t->left > 0)
        err = receive_some(t);
    close_pipe(t);
    if (!rota__buffer_count(&t->s->in))
        rota__buffer_fini(&t->s->in);
    return (int)rota__done_at_once(err == ROTA_EOF && t->left == ROTA_TO_END ? 0 : err);
}

int rota_stream_receive_file(rota_stream *s, int fd, int64_t offset, int64_t len, int64_t *received)
{
    struct transfer t = {.s = s, .fd = fd, .at = offset, .left = len, .pipe = {-1, -1}};
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_READING);
    if (err == 0) {
        err = receive_inside(&t);
        rota__gate_leave(&s->gate, ROTA__STREAM_READING);
    }
    if (received)
        *received = t.received;
    return err;
}
