/* Unix stream sockets: connecting, listening, and the credentials of the peer. */
#include "net/unix.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"

#include <string.h>

int rota_unix_address(const char *path, rota_address *ret_address)
{
    rota_address a = {.un = {.sun_family = AF_UNIX}};
    size_t len = path ? strlen(path) : 0;
    if (len == 0 || strcmp(path, "@") == 0)
        return -EINVAL;
    if (len >= sizeof a.un.sun_path)
        return -ENAMETOOLONG;
    memcpy(a.un.sun_path, path, len);
    bool is_abstract = path[0] == '@'; /* its length counts; a path's NUL does */
    if (is_abstract)
        a.un.sun_path[0] = '\0';
    a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + !is_abstract);
    *ret_address = a;
    return 0;
}

/* A listener whose backlog is full answers EAGAIN, and no event tells when it has room. */
static int connect_in_time(int fd, const rota_address *address)
{
    rota_time pause = ROTA__PAUSE_FIRST;
    int err;
    while ((err = (int)rota__sys(ECONNREFUSED, connect(fd, &address->any, address->len))) ==
           -EAGAIN) {
        err = rota_sleep(pause);
        if (err < 0)
            break;
        pause = rota__pause_after(pause);
    }
    return err;
}

/* Gives a failure its text, unless it is an interruption, and reports it. Returns `err`. */
static int failed(int err, const char *call, const char *path)
{
    if (err >= 0 || rota__was_interrupted(err))
        return err < 0 ? rota__error_plain(err) : err;
    rota_error_set(err, "%s %s: %s", call, path ? path : "(no path)", rota_strerror(err));
    rota_log(ROTA_LOG_INFO, "%s", rota_error(err));
    return err;
}

static int connect_to(const rota_address *address, rota_stream **ret_stream)
{
    int fd = (int)rota__sys(EMFILE, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd < 0)
        return fd;
    int err = connect_in_time(fd, address);
    if (err == 0)
        err = rota__stream_from_socket(rota__loop_here, fd, NULL, ret_stream);
    if (err < 0)
        rota__sys_close(fd);
    return err;
}

int rota_unix_connect(const char *path, rota_stream **ret_stream)
{
    rota_address address;
    int err = rota__suspend_check();
    if (err < 0)
        return rota__error_plain(err);
    err = rota_unix_address(path, &address);
    if (err == 0)
        err = connect_to(&address, ret_stream);
    return failed(err, "connect to", path);
}

static int listen_at(const rota_address *address, const rota_unix_listen_options *options,
                     rota_listener **ret_listener)
{
    struct rota__unix_file file = {0};
    int fd = (int)rota__sys(EMFILE, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return fd;
    int err = rota__unix_bind(fd, address, options->mode, options->backlog, &file);
    if (err == 0) {
        err = rota__listener_take(fd, address, &file, ret_listener);
        if (err < 0)
            rota__unix_remove(address, &file);
    }
    if (err < 0)
        rota__sys_close(fd);
    return err;
}

int rota_unix_listen(const char *path, const rota_unix_listen_options *options,
                     rota_listener **ret_listener)
{
    static const rota_unix_listen_options defaults;
    rota_address address;
    int err = rota__suspend_check();
    if (err < 0)
        return rota__error_plain(err);
    err = options && options->backlog < 0 ? -EINVAL : rota_unix_address(path, &address);
    if (err == 0)
        err = listen_at(&address, options ? options : &defaults, ret_listener);
    return failed(err, "listen on", path);
}

int rota_unix_peer(rota_stream *s, rota_credentials *ret_peer)
{
    struct rota__socket *socket = rota__stream_socket(s);
    if (s->gate.closed)
        return rota__error_plain(ROTA_ECLOSED);
    if (!socket || !socket->fd.is_socket)
        return rota__error_plain(-ENOTSOCK);
    struct ucred peer;
    socklen_t size = sizeof peer;
    int err =
        (int)rota__sys(ENOBUFS, getsockopt(socket->fd.fd, SOL_SOCKET, SO_PEERCRED, &peer, &size));
    if (err == 0)
        *ret_peer = (rota_credentials){peer.pid, peer.uid, peer.gid};
    return err < 0 ? rota__error_plain(err) : 0;
}
