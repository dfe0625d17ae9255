#include "loop/op.h"
#include "base/sys.h"
#include "loop/loop.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>

static bool is_tcp(int socket)
{
    int protocol = 0;
    socklen_t size = sizeof protocol;
    return rota__sys(ENOTSOCK, getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &size)) ==
               0 &&
           protocol == IPPROTO_TCP;
}

static bool is_pipe(int fd)
{
    struct stat about;
    return rota__sys(EBADF, fstat(fd, &about)) == 0 && S_ISFIFO(about.st_mode);
}

int rota__fd_open(struct rota__fd *fd, struct rota__loop *loop, int number, bool is_socket)
{
    int flags = (int)rota__sys(EBADF, fcntl(number, F_GETFL));
    if (flags < 0)
        return flags;
    bool is_device = !is_socket && !is_pipe(number);
    bool block = loop->backend->blocking_fds && !is_device;
    int wanted = block ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
    int err = wanted == flags ? 0 : (int)rota__sys(EBADF, fcntl(number, F_SETFL, wanted));
    if (err < 0)
        return err;
    *fd = (struct rota__fd){.fd = number,
                            .is_socket = is_socket,
                            .is_tcp = is_socket && is_tcp(number),
                            .unblocked = !block,
                            .came_unblocked = flags & O_NONBLOCK,
                            .is_device = is_device,
                            .loop = loop};
    return 0;
}

int rota__fd_unblock(struct rota__fd *fd)
{
    if (fd->unblocked)
        return 0;
    int flags = (int)rota__sys(EBADF, fcntl(fd->fd, F_GETFL));
    int err = flags < 0 ? flags : (int)rota__sys(EBADF, fcntl(fd->fd, F_SETFL, flags | O_NONBLOCK));
    fd->unblocked = err >= 0;
    return err < 0 ? err : 0;
}

int rota__fd_release(struct rota__fd *fd)
{
    int number = fd->fd;
    bool outlived_its_loop = rota__loop_here != fd->loop;
    if (number >= 0 && fd->registered && !outlived_its_loop)
        fd->loop->backend->forget(fd);
    fd->registered = false;
    fd->fd = -1;
    return number;
}

void rota__fd_close(struct rota__fd *fd)
{
    rota__sys_close(rota__fd_release(fd));
}

static ssize_t attempt_recv(struct rota__op *op)
{
    struct rota__fd *fd = op->fd;
    size_t len = rota__sys_shorten(op->len);
    ssize_t n = fd->is_socket ? rota__sys(ECONNRESET, recv(fd->fd, op->buf, len, MSG_DONTWAIT))
                              : rota__sys(EIO, read(fd->fd, op->buf, len));
    /* A short read of a stream leaves at most the end to be read, so the next attempt would block.
     * The end and an error stay readable. */
    bool emptied = fd->is_tcp && !fd->hung_up && n > 0 && (size_t)n < len;
    fd->read_drained = n == -EAGAIN || emptied;
    return n;
}

static ssize_t attempt_send(struct rota__op *op)
{
    struct rota__fd *fd = op->fd;
    size_t len = rota__sys_shorten(op->len);
    ssize_t n = fd->is_socket
                    ? rota__sys(EPIPE, send(fd->fd, op->buf, len, MSG_NOSIGNAL | MSG_DONTWAIT))
                    : rota__sys(EIO, write(fd->fd, op->buf, len));
    fd->write_full = n == -EAGAIN;
    return n;
}

static ssize_t attempt_writev(struct rota__op *op)
{
    struct rota__fd *fd = op->fd;
    struct msghdr msg = {.msg_iov = (struct iovec *)op->iov, .msg_iovlen = (size_t)op->iov_count};
    ssize_t n = fd->is_socket ? rota__sys(EPIPE, sendmsg(fd->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT))
                              : rota__sys(EIO, writev(fd->fd, op->iov, op->iov_count));
    fd->write_full = n == -EAGAIN;
    return n;
}

/* The first call starts connecting, the next ones ask how it went. */
static ssize_t attempt_connect(struct rota__op *op)
{
    if (op->pending) {
        int err = 0;
        socklen_t size = sizeof err;
        int got =
            (int)rota__sys(ECONNREFUSED, getsockopt(op->fd->fd, SOL_SOCKET, SO_ERROR, &err, &size));
        if (got < 0 || err)
            return got < 0 ? got : -err;
        /* Neither connected nor failed: the event was an earlier one. */
        struct sockaddr_storage peer;
        size = sizeof peer;
        got = (int)rota__sys_result(getpeername(op->fd->fd, (struct sockaddr *)&peer, &size));
        return got == -ENOTCONN ? -EAGAIN : got;
    }
    int err = (int)rota__sys(ECONNREFUSED, connect(op->fd->fd, op->addr, *op->addr_len));
    return err == -EINPROGRESS ? -EAGAIN : err;
}

static ssize_t attempt_call(struct rota__op *op)
{
    bool *in_vain = rota__op_direction(op) ? &op->fd->write_full : &op->fd->read_drained;
    *in_vain = false;
    ssize_t n = op->call(op);
    *in_vain |= n == -EAGAIN;
    return n;
}

ssize_t rota__op_attempt(struct rota__op *op)
{
    switch ((enum rota__op_kind)op->kind) {
    case ROTA__OP_RECV:
        return attempt_recv(op);
    case ROTA__OP_ACCEPT: {
        ssize_t n = rota__sys(EMFILE, accept4(op->fd->fd, op->addr, op->addr_len, SOCK_CLOEXEC));
        op->fd->read_drained = n == -EAGAIN;
        return n;
    }
    case ROTA__OP_SEND:
        return attempt_send(op);
    case ROTA__OP_WRITEV:
        return attempt_writev(op);
    case ROTA__OP_CONNECT:
        return attempt_connect(op);
    case ROTA__OP_CALL_IN:
    case ROTA__OP_CALL_OUT:
        return attempt_call(op);
    case ROTA__OP_POLL: /* backends wait for these; there is nothing to attempt */
    case ROTA__OP_FILE_READ:
    case ROTA__OP_FILE_WRITE:
    case ROTA__OP_FILE_SYNC:
        break;
    }
    return -EAGAIN;
}

bool rota__op_start(struct rota__op *op)
{
    op->pending = op->withdrawn = op->taken_back = op->resumed = false;
    if (op->fd) {
        op->loop = op->fd->loop;
        struct rota__op **slot = &op->fd->pending[rota__op_direction(op)];
        if (op->fd->fd < 0 || *slot) {
            op->result = *slot ? -EBUSY : -EBADF;
            return true;
        }
    }
    if (op->loop->backend->start(op))
        return true;
    op->pending = true;
    op->loop->pending_ops++;
    if (op->fd)
        op->fd->pending[rota__op_direction(op)] = op;
    return false;
}

void rota__op_complete(struct rota__op *op, ssize_t result)
{
    op->pending = false;
    op->loop->pending_ops--;
    if (op->fd)
        op->fd->pending[rota__op_direction(op)] = NULL;
    op->result = result;
    op->done(op);
}

void rota__op_withdraw(struct rota__op *op)
{
    if (!op->pending || op->withdrawn)
        return;
    op->withdrawn = true;
    op->loop->backend->withdraw(op);
}

void rota__op_let_go(struct rota__op *op)
{
    op->loop->backend->let_go(op);
}
