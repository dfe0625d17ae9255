/* The filter at the bottom of most streams: a descriptor of the loop. */
#include "base/error.h"
#include "base/sys.h"
#include "stream/stream.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/un.h>

static const struct rota__wait_kind reading = {"read", rota__op_abort};
static const struct rota__wait_kind writing = {"write", rota__op_abort};

static struct rota__socket *socket_of(rota_filter *filter)
{
    return rota__container_of(filter, struct rota__socket, filter);
}

/* The fields that an operation needs are set one by one: clearing all of it would cost more than
 * the rest of the call. */
static ssize_t socket_read(rota_filter *filter, void *buf, size_t len)
{
    struct rota__socket *socket = socket_of(filter);
    if (__builtin_expect(socket->interrupted, false))
        return ROTA_ECLOSED;
    struct rota__op op;
    op.kind = ROTA__OP_RECV;
    op.fd = &socket->fd;
    op.buf = buf;
    op.len = len;
    return rota__op_await(&op, &reading);
}

static ssize_t socket_write(rota_filter *filter, const void *buf, size_t len)
{
    struct rota__socket *socket = socket_of(filter);
    if (__builtin_expect(socket->interrupted, false))
        return ROTA_ECLOSED;
    struct rota__op op;
    op.kind = ROTA__OP_SEND;
    op.fd = &socket->fd;
    op.buf = (void *)buf;
    op.len = len;
    return rota__op_await(&op, &writing);
}

static ssize_t socket_writev(rota_filter *filter, const struct iovec *iov, int count)
{
    struct rota__socket *socket = socket_of(filter);
    if (socket->interrupted)
        return ROTA_ECLOSED;
    struct rota__op op;
    op.kind = ROTA__OP_WRITEV;
    op.fd = &socket->fd;
    op.iov = iov;
    op.iov_count = count;
    return rota__op_await(&op, &writing);
}

struct sending_file {
    struct rota__op op;
    int file;
    off_t offset;
    size_t len;
};

/* A pipe is filled by splice, which takes a flag; anything else that is not a socket refuses
 * that. */
static ssize_t attempt_send_file(struct rota__op *op)
{
    const struct sending_file *f = rota__container_of(op, struct sending_file, op);
    size_t len = rota__sys_shorten(f->len);
    off_t offset = f->offset;
    ssize_t n = op->fd->is_socket ? rota__fd_unblock(op->fd) : 0;
    if (n == 0 && op->fd->is_socket)
        n = rota__sys(EPIPE, sendfile(op->fd->fd, f->file, &offset, len));
    else if (n == 0)
        n = rota__sys(EPIPE, splice(f->file, &offset, op->fd->fd, NULL, len, SPLICE_F_NONBLOCK));
    return n == -EINVAL || n == -ENOSYS ? -EOPNOTSUPP : n;
}

static const struct rota__wait_kind sending_file = {"write of a file", rota__op_abort};

static ssize_t socket_send_file(rota_filter *filter, int fd, int64_t offset, size_t len)
{
    struct rota__socket *socket = socket_of(filter);
    if (socket->interrupted)
        return ROTA_ECLOSED;
    struct sending_file f = {.file = fd, .offset = offset, .len = len};
    f.op.kind = ROTA__OP_CALL_OUT;
    f.op.fd = &socket->fd;
    f.op.call = attempt_send_file;
    return rota__op_await(&f.op, &sending_file);
}

static int socket_shutdown(rota_filter *filter)
{
    struct rota__socket *socket = socket_of(filter);
    if (socket->fd.is_socket)
        return (int)rota__sys(ENOTCONN, shutdown(socket->fd.fd, SHUT_WR));
    int flags = (int)rota__sys(EBADF, fcntl(socket->fd.fd, F_GETFL));
    if (flags < 0)
        return flags;
    if ((flags & O_ACCMODE) != O_WRONLY)
        return -EOPNOTSUPP; /* a terminal has no half to close */
    rota__fd_close(&socket->fd);
    return 0;
}

static void socket_interrupt(rota_filter *filter)
{
    struct rota__socket *socket = socket_of(filter);
    socket->interrupted = true;
    for (int direction = 0; direction < 2; direction++) {
        if (socket->fd.pending[direction])
            rota__op_withdraw(socket->fd.pending[direction]);
    }
}

static void socket_close(rota_filter *filter)
{
    rota__fd_close(&socket_of(filter)->fd);
}

static int socket_tcp_socket(rota_filter *filter)
{
    struct rota__socket *socket = socket_of(filter);
    return socket->fd.is_tcp ? socket->fd.fd : -EOPNOTSUPP;
}

/* ---- Addresses */

/* An abstract name may hold any bytes. */
static void unix_text(const struct sockaddr_un *un, socklen_t len, char *ret_text, size_t size)
{
    size_t room = len > offsetof(struct sockaddr_un, sun_path)
                      ? len - offsetof(struct sockaddr_un, sun_path)
                      : 0;
    if (room == 0 || (un->sun_path[0] == '\0' && room == 1)) {
        snprintf(ret_text, size, "unix");
        return;
    }
    snprintf(ret_text, size, "%.*s", (int)room, un->sun_path);
    for (size_t i = 0; un->sun_path[0] == '\0' && i < room && i + 1 < size; i++) {
        unsigned char c = (unsigned char)un->sun_path[i];
        ret_text[i] = c == '\0' ? '@' : c < ' ' || c >= 127 ? '?' : (char)c;
        ret_text[i + 1] = '\0';
    }
}

/* "[fe80::1%eth0]:80"; the number of an interface that is gone. */
static void v6_text(const struct sockaddr_in6 *v6, char *ret_text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "", zone[1 + IF_NAMESIZE] = "";
    uint32_t scope = v6->sin6_scope_id;
    inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
    if (scope && if_indextoname(scope, zone + 1))
        zone[0] = '%';
    else if (scope)
        snprintf(zone, sizeof zone, "%%%u", scope);
    snprintf(ret_text, size, "[%s%s]:%d", host, zone, ntohs(v6->sin6_port));
}

void rota__address_text(const struct sockaddr *address, socklen_t len, char *ret_text, size_t size)
{
    if (address->sa_family == AF_INET) {
        char host[INET_ADDRSTRLEN] = "";
        const struct sockaddr_in *v4 = (const void *)address;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(ret_text, size, "%s:%d", host, ntohs(v4->sin_port));
    } else if (address->sa_family == AF_INET6) {
        v6_text((const void *)address, ret_text, size);
    } else if (address->sa_family == AF_UNIX) {
        unix_text((const void *)address, len, ret_text, size);
    } else {
        snprintf(ret_text, size, "unknown");
    }
}

static void socket_describe(rota_filter *filter, bool peer, char *ret_text, size_t size)
{
    struct rota__socket *socket = socket_of(filter);
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof address;
    if (!socket->fd.is_socket) {
        snprintf(ret_text, size, "descriptor %d", socket->fd.fd);
        return;
    }
    if (peer && socket->peer.any.sa_family != AF_UNSPEC) {
        rota__address_text(&socket->peer.any, sizeof socket->peer, ret_text, size);
        return;
    }
    if (peer)
        getpeername(socket->fd.fd, (struct sockaddr *)&address, &len);
    else
        getsockname(socket->fd.fd, (struct sockaddr *)&address, &len);
    rota__address_text((struct sockaddr *)&address, len, ret_text, size);
}

static const rota_filter_kind socket_kind = {
    .read = socket_read,
    .write = socket_write,
    .writev = socket_writev,
    .send_file = socket_send_file,
    .shutdown = socket_shutdown,
    .interrupt = socket_interrupt,
    .close = socket_close,
    .tcp_socket = socket_tcp_socket,
    .describe = socket_describe,
};

struct rota__socket *rota__stream_socket(rota_stream *s)
{
    rota_filter *bottom = rota__stream_bottom(s);
    return bottom->kind == &socket_kind ? socket_of(bottom) : NULL;
}

/* A descriptor that is registered for events has reported its end. */
bool rota__socket_hung_up(struct rota__socket *socket, bool unread, bool more)
{
    struct rota__fd *fd = &socket->fd;
    char next;
    if (fd->fd < 0 || (fd->registered && !fd->hung_up))
        return false;
    struct pollfd ask = {.fd = fd->fd, .events = POLLRDHUP};
    if (poll(&ask, 1, 0) <= 0 || !(ask.revents & (POLLRDHUP | POLLHUP | POLLERR)))
        return false;
    if (fd->is_socket &&
        (ask.revents & POLLERR)) /* a reset: nothing can be sent any more, either */
        return true;
    if (more)
        return false;
    if (unread || !fd->is_socket)
        return true;
    return rota__sys_result(recv(fd->fd, &next, 1, MSG_PEEK | MSG_DONTWAIT)) <= 0;
}

/* ---- Making one */

static int descriptor_stream(struct rota__loop *loop, int fd, bool is_socket,
                             const struct sockaddr *peer, rota_stream **ret_stream)
{
    rota_stream *s = rota__stream_new(&socket_kind, sizeof(struct rota__socket));
    if (!s)
        return -ENOMEM;
    struct rota__socket *socket = rota__stream_bottom(s);
    int err = rota__fd_open(&socket->fd, loop, fd, is_socket);
    if (err < 0) {
        socket->fd.fd = -1;
        rota_stream_free(s);
        return err;
    }
    if (peer && peer->sa_family == AF_INET)
        socket->peer.v4 = *(const struct sockaddr_in *)(const void *)peer;
    else if (peer && peer->sa_family == AF_INET6)
        socket->peer.v6 = *(const struct sockaddr_in6 *)(const void *)peer;
    *ret_stream = s;
    return 0;
}

int rota__stream_from_socket(struct rota__loop *loop, int fd, const struct sockaddr *peer,
                             rota_stream **ret_stream)
{
    return descriptor_stream(loop, fd, true, peer, ret_stream);
}

static int made(int err, int fd)
{
    return err < 0
               ? rota_error_set(err, "make a stream of descriptor %d: %s", fd, rota_strerror(err))
               : 0;
}

int rota_stream_from_fd(int fd, rota_stream **ret_stream)
{
    struct stat about;
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof peer;
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    int err = (int)rota__sys(EBADF, fstat(fd, &about));
    if (err < 0)
        return made(err, fd);
    bool is_socket = S_ISSOCK(about.st_mode);
    if (is_socket)
        getpeername(fd, (struct sockaddr *)&peer, &len); /* after a reset it would be too late */
    err = descriptor_stream(rota__loop_here, fd, is_socket, (struct sockaddr *)&peer, ret_stream);
    return made(err, fd);
}

/* The mode in which it came. */
static int restore_mode(struct rota__fd *fd)
{
    int flags = (int)rota__sys(EBADF, fcntl(fd->fd, F_GETFL));
    int wanted = fd->came_unblocked ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    int err = flags < 0 ? flags : (int)rota__sys(EBADF, fcntl(fd->fd, F_SETFL, wanted));
    return err < 0 ? err : 0;
}

static int take_fd(rota_stream *s)
{
    struct rota__socket *socket = rota__stream_socket(s);
    if (!socket || socket->fd.fd < 0)
        return rota_error_set(-EOPNOTSUPP, "take the descriptor of a stream: it has none");
    if (s->top != &socket->filter)
        return rota_error_set(-EBUSY, "take descriptor %d of a stream: filters use it",
                              socket->fd.fd);
    if (rota__buffer_count(&s->in) || rota__buffer_count(&s->out))
        return rota_error_set(
            -EBUSY, "take descriptor %d of a stream: it holds bytes %s", socket->fd.fd,
            rota__buffer_count(&s->in) ? "that were not read" : "that were not sent");
    int err = restore_mode(&socket->fd);
    return err < 0 ? rota_error_set(err, "take descriptor %d of a stream: %s", socket->fd.fd,
                                    rota_strerror(err))
                   : rota__fd_release(&socket->fd);
}

int rota_stream_take_fd(rota_stream *s)
{
    int err = rota__gate_enter(&s->gate, ROTA__STREAM_READING | ROTA__STREAM_WRITING);
    if (err < 0)
        return err;
    int fd = take_fd(s);
    s->gate.closed = fd >= 0;
    rota__gate_leave(&s->gate, ROTA__STREAM_READING | ROTA__STREAM_WRITING);
    return fd;
}

int rota_pipe(rota_stream **ret_reader, rota_stream **ret_writer)
{
    int ends[2];
    rota_stream *reader = NULL;
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    int err = (int)rota__sys(EMFILE, pipe2(ends, O_CLOEXEC));
    if (err < 0)
        return rota_error_set(err, "make a pipe: %s", rota_strerror(err));
    err = descriptor_stream(rota__loop_here, ends[0], false, NULL, &reader);
    if (err == 0)
        err = descriptor_stream(rota__loop_here, ends[1], false, NULL, ret_writer);
    if (err == 0) {
        *ret_reader = reader;
        return 0;
    }
    if (!reader)
        rota__sys_close(ends[0]);
    rota_stream_free(reader);
    rota__sys_close(ends[1]);
    return rota_error_set(err, "make a pipe: %s", rota_strerror(err));
}
