/* System calls as the library makes them: they return -errno, and each is a point where tests make
 * it fail. `fault` is the error that an injected failure returns: one that the call really can
 * return.
 *
 *     int fd = rota__sys(EMFILE, socket(AF_INET, SOCK_STREAM, 0)); */
#ifndef ROTA__BASE_SYS_H
#define ROTA__BASE_SYS_H

#include "base/fault.h"

#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

static inline ssize_t rota__sys_result(ssize_t r)
{
    return r < 0 ? -errno : r;
}

#define rota__sys(fault, call) \
    (rota__fault(ROTA__FAULT_SYSCALL) ? -(fault) : rota__sys_result(call))

/* The length that a transfer may use: an injected fault cuts it to one byte. */
static inline size_t rota__sys_shorten(size_t len)
{
    return len > 1 && rota__fault(ROTA__FAULT_SYSCALL) ? 1 : len;
}

/* Never retried: on Linux the descriptor is gone whatever close(2) returns. Keeps errno. */
static inline void rota__sys_close(int fd)
{
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
}

#endif
