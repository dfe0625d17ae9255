/* Opening Unix datagram sockets. */
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "net/dgram.h"

static const rota_unix_dgram_options defaults;

/* A name of no bytes lets the kernel choose an abstract one; see unix(7), "Autobind feature". */
static int bind_anywhere(int fd)
{
    const struct sockaddr_un none = {.sun_family = AF_UNIX};
    return (int)rota__sys(EADDRINUSE,
                          bind(fd, (const struct sockaddr *)&none, sizeof none.sun_family));
}

static int bind_to(int fd, const char *path, unsigned mode, rota_address *ret_own,
                   struct rota__unix_file *ret_file)
{
    if (!path)
        return bind_anywhere(fd);
    int err = rota_unix_address(path, ret_own);
    return err < 0 ? err : rota__unix_bind(fd, ret_own, mode, ROTA__UNIX_NO_BACKLOG, ret_file);
}

static int open_socket(const char *own_path, const rota_address *peer,
                       const rota_unix_dgram_options *options, rota_dgram **ret_socket)
{
    struct rota__unix_file file = {0};
    rota_address own;
    int fd = (int)rota__sys(EMFILE, socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return fd;
    int err = rota__dgram_set_buffers(fd, options->receive_buffer, options->send_buffer);
    if (err == 0)
        err = bind_to(fd, own_path, options->mode, &own, &file);
    if (err == 0 && peer)
        err = (int)rota__sys(ECONNREFUSED, connect(fd, &peer->any, peer->len));
    if (err == 0)
        err = rota__dgram_new(fd, &file, ret_socket);
    if (err < 0) {
        rota__unix_remove(&own, &file);
        rota__sys_close(fd);
    }
    return err;
}

/* Gives a failure its text, and reports it. */
static int ended(int err, const char *call, const char *path)
{
    if (err >= 0)
        return err;
    rota_error_set(err, "%s %s: %s", call, path ? path : "a free name", rota_strerror(err));
    rota_log(ROTA_LOG_INFO, "%s", rota_error(err));
    return err;
}

int rota_unix_dgram_open(const char *path, const rota_unix_dgram_options *options,
                         rota_dgram **ret_socket)
{
    int err = rota__suspend_check();
    if (err < 0)
        return rota__error_plain(err);
    err = open_socket(path, NULL, options ? options : &defaults, ret_socket);
    return ended(err, "open datagram socket on", path);
}

int rota_unix_dgram_connect(const char *path, const rota_unix_dgram_options *options,
                            rota_dgram **ret_socket)
{
    rota_address peer;
    if (!options)
        options = &defaults;
    int err = rota__suspend_check();
    if (err < 0)
        return rota__error_plain(err);
    err = rota_unix_address(path, &peer);
    if (err == 0)
        err = open_socket(options->bind, &peer, options, ret_socket);
    return ended(err, "connect datagram socket to", path);
}
