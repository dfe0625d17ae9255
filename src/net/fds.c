/* Descriptors that are passed with bytes, as control messages of type SCM_RIGHTS; see unix(7).
 *
 * 1. There is always room for as many as the kernel passes at once, so that what is lost is known,
 *    and lost here: the kernel rounds the room up, and would fill what is left of it.
 * 2. They are taken by an attempt that has succeeded, and an operation's result is returned
 *    whatever happens meanwhile: none is left behind by a cancellation. */
#include "base/sys.h"
#include "net/unix.h"

#include <string.h>

static const struct rota__wait_kind receiving = {"read of descriptors", rota__op_abort};
static const struct rota__wait_kind sending = {"write of descriptors", rota__op_abort};

int rota__fds_check(int socket, const rota_fds *fds)
{
    int family = 0;
    socklen_t size = sizeof family;
    if (!fds || fds->count > ROTA_FDS_MAX)
        return -EINVAL;
    int err = (int)rota__sys(ENOTSOCK, getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &size));
    return err < 0 || family != AF_UNIX ? -EOPNOTSUPP : 0;
}

void rota__fds_attach(struct msghdr *msg, const rota_fds *fds, struct rota__fds_room *room)
{
    size_t bytes = fds->count * sizeof(int);
    if (bytes == 0)
        return;
    memset(room, 0, CMSG_SPACE(bytes));
    msg->msg_control = room;
    msg->msg_controllen = CMSG_SPACE(bytes);
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(c), fds->fds, bytes);
}

void rota__fds_expect(struct msghdr *msg, struct rota__fds_room *room)
{
    msg->msg_control = room;
    msg->msg_controllen = sizeof *room;
}

static void take_message(const struct cmsghdr *c, rota_fds *fds)
{
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        if (fds->count < fds->size) {
            fds->fds[fds->count++] = fd;
        } else {
            fds->cut = true;
            rota__sys_close(fd);
        }
    }
}

void rota__fds_take(struct msghdr *msg, rota_fds *fds)
{
    fds->count = 0;
    fds->cut = msg->msg_flags & MSG_CTRUNC;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            take_message(c, fds);
    }
}

/* ---- Streams */

struct transfer {
    struct rota__op op;
    struct msghdr msg;
    struct iovec iov;
    struct rota__fds_room room;
};

static ssize_t attempt_send(struct rota__op *op)
{
    struct transfer *t = rota__container_of(op, struct transfer, op);
    return rota__sys(EPIPE, sendmsg(op->fd->fd, &t->msg, MSG_NOSIGNAL | MSG_DONTWAIT));
}

static ssize_t attempt_receive(struct rota__op *op)
{
    struct transfer *t = rota__container_of(op, struct transfer, op);
    return rota__sys(ECONNRESET, recvmsg(op->fd->fd, &t->msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
}

static void transfer_prepare(struct transfer *t, rota_stream *s, const void *buf, size_t len)
{
    t->op.fd = &rota__stream_socket(s)->fd;
    t->iov = (struct iovec){(void *)(uintptr_t)buf, len};
    t->msg = (struct msghdr){.msg_iov = &t->iov, .msg_iovlen = 1};
}

/* 0 if the stream's bytes are those of a Unix socket: nothing is on top of it that would change
 * them. */
static int check_bare(rota_stream *s, const rota_fds *fds)
{
    struct rota__socket *socket = rota__stream_socket(s);
    if (!socket || s->top != &socket->filter || !socket->fd.is_socket)
        return rota__error_plain(-EOPNOTSUPP);
    return rota__result_plain(rota__fds_check(socket->fd.fd, fds));
}

static int send_inside(rota_stream *s, const char *buf, size_t len, const rota_fds *fds)
{
    struct transfer t = {.op = {.kind = ROTA__OP_CALL_OUT, .call = attempt_send}};
    int err = rota__suspend_check();
    if (err == 0)
        err = check_bare(s, fds);
    if (err == 0)
        err = s->torn ? rota__stream_failed(s, -EPIPE, true) : rota__stream_send_held(s);
    if (err < 0)
        return err;
    transfer_prepare(&t, s, buf, len);
    rota__fds_attach(&t.msg, fds, &t.room);
    ssize_t n = rota__op_await(&t.op, &sending);
    if (n < 0)
        return rota__stream_send_failed(s, n, false);
    return rota__stream_send(s, buf + n, len - (size_t)n, true);
}

int rota_unix_send_fds(rota_stream *s, const void *buf, size_t len, const rota_fds *fds)
{
    if (len == 0)
        return rota__invalid_argument("send descriptors: no bytes to send them with");
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_WRITING);
    if (err < 0)
        return err;
    err = send_inside(s, buf, len, fds);
    rota__gate_leave(&s->gate, ROTA__STREAM_WRITING);
    return err;
}

static ssize_t receive_inside(rota_stream *s, void *buf, size_t len, rota_fds *fds)
{
    struct transfer t = {.op = {.kind = ROTA__OP_CALL_IN, .call = attempt_receive}};
    int err = rota__suspend_check();
    if (err == 0)
        err = check_bare(s, fds);
    if (err < 0)
        return err;
    if (rota__buffer_count(&s->in)) { /* they came with a read that dropped what was with them */
        fds->count = 0;
        fds->cut = false;
        return (ssize_t)rota__buffer_get(&s->in, buf, len);
    }
    if (s->read_error)
        return rota__stream_failed(s, s->read_error, false);
    transfer_prepare(&t, s, buf, len);
    rota__fds_expect(&t.msg, &t.room);
    ssize_t n = rota__op_await(&t.op, &receiving);
    if (n >= 0)
        rota__fds_take(&t.msg, fds);
    return n > 0 ? n : rota__stream_read_failed(s, n);
}

ssize_t rota_unix_receive_fds(rota_stream *s, void *buf, size_t len, rota_fds *fds)
{
    if (len == 0)
        return rota__invalid_argument("receive descriptors: the buffer has length 0");
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_READING);
    if (err < 0)
        return err;
    ssize_t n = receive_inside(s, buf, len, fds);
    rota__gate_leave(&s->gate, ROTA__STREAM_READING);
    return n;
}
