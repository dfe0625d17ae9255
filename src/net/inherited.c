/* Sockets that were opened elsewhere: by a service manager, a parent, another library. */
#include "base/sys.h"
#include "net/dgram.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* sd_listen_fds(3): descriptors are passed from this one on. */
#define FIRST_FD 3

static const struct rota__unix_file no_file;

/* ---- One socket */

static int socket_option(int fd, int name, int *ret_value)
{
    socklen_t size = sizeof *ret_value;
    return (int)rota__sys(ENOTSOCK, getsockopt(fd, SOL_SOCKET, name, ret_value, &size));
}

static bool is_known(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

static int check_socket(int fd, int type, rota_address *ret_address)
{
    int is = 0;
    if (!rota__loop_here)
        return ROTA_ENOTASK;
    int err = socket_option(fd, SO_TYPE, &is);
    if (err < 0)
        return err;
    if (is != type)
        return -EPROTOTYPE;
    ret_address->len = sizeof ret_address->un;
    err = (int)rota__sys(ENOBUFS, getsockname(fd, &ret_address->any, &ret_address->len));
    return err == 0 && !is_known(ret_address->any.sa_family) ? -EAFNOSUPPORT : err;
}

int rota_listener_from_fd(int fd, rota_listener **ret_listener)
{
    rota_address address;
    int listens = 0, err = check_socket(fd, SOCK_STREAM, &address);
    if (err == 0)
        err = socket_option(fd, SO_ACCEPTCONN, &listens);
    if (err == 0 && !listens)
        return rota_error_set(-EINVAL, "take descriptor %d: not a listening socket", fd);
    if (err == 0)
        err = rota__listener_take(fd, &address, &no_file, ret_listener);
    return err == 0 ? 0
                    : rota_error_set(err, "take descriptor %d as a listener: %s", fd,
                                     rota_strerror(err));
}

int rota_dgram_from_fd(int fd, rota_dgram **ret_socket)
{
    rota_address address;
    int err = check_socket(fd, SOCK_DGRAM, &address);
    if (err == 0)
        err = rota__dgram_new(fd, &no_file, ret_socket);
    return err == 0 ? 0
                    : rota_error_set(err, "take descriptor %d as a datagram socket: %s", fd,
                                     rota_strerror(err));
}

/* ---- The sockets of a service */

/* Decimal digits and nothing else. */
static bool parse_number(const char *text, long *ret_number)
{
    if (!*text || strlen(text) > 9 || text[strspn(text, "0123456789")])
        return false;
    *ret_number = strtol(text, NULL, 10);
    return true;
}

/* How many were passed to this process. */
static int count_passed(void)
{
    const char *pid_text = secure_getenv("LISTEN_PID"), *count_text = secure_getenv("LISTEN_FDS");
    long pid, count;
    if (!pid_text || !count_text)
        return 0;
    if (!parse_number(pid_text, &pid))
        return rota_error_set(-EINVAL, "read LISTEN_PID: \"%s\" is not a process number", pid_text);
    if (pid != getpid())
        return 0;
    if (!parse_number(count_text, &count) || count > INT_MAX - FIRST_FD)
        return rota_error_set(-EINVAL, "read LISTEN_FDS: \"%s\" is not a number of descriptors",
                              count_text);
    return (int)count;
}

static int close_on_exec(int fd)
{
    int flags = (int)rota__sys(EBADF, fcntl(fd, F_GETFD));
    int err = flags < 0 ? flags : (int)rota__sys(EBADF, fcntl(fd, F_SETFD, flags | FD_CLOEXEC));
    return err == 0 ? 0
                    : rota_error_set(err, "take descriptor %d of LISTEN_FDS: %s", fd,
                                     rota_strerror(err));
}

/* Takes the first name of `*names`, which may be NULL: then all are unknown, as with systemd. */
static bool next_name_is(const char **names, const char *name)
{
    static const char unknown[] = "unknown";
    const char *next = *names ? *names : unknown;
    size_t len = strcspn(next, ":");
    if (*names)
        *names += next[len] ? len + 1 : len;
    return !name || (strlen(name) == len && memcmp(next, name, len) == 0);
}

static int count_names(const char *names)
{
    int count = 1;
    for (; (names = strchr(names, ':')); names++)
        count++;
    return count;
}

int rota_listen_fds(const char *name, int *ret_fds, size_t max)
{
    const char *names = secure_getenv("LISTEN_FDNAMES");
    int count = count_passed();
    if (count > 0 && names && count_names(names) != count)
        return rota_error_set(-EINVAL, "read LISTEN_FDNAMES: %d names for %d descriptors",
                              count_names(names), count);
    for (int i = 0; i < count; i++) {
        int err = close_on_exec(FIRST_FD + i);
        if (err < 0)
            return err;
    }
    int found = 0;
    for (int i = 0; i < count; i++) {
        if (!next_name_is(&names, name))
            continue;
        if ((size_t)found < max)
            ret_fds[found] = FIRST_FD + i;
        found++;
    }
    return count < 0 ? count : found;
}
