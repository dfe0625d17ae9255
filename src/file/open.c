/* Opening by name. */
#include "base/sys.h"
#include "file/file.h"

#include <linux/openat2.h>
#include <sys/syscall.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* Linux 5.12 */
#endif

#define ALWAYS (O_CLOEXEC | O_NONBLOCK)

atomic_bool rota__open_cached_refused;

/* With these the kernel never answers from its cache. */
static bool must_wait(int flags)
{
    return (flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))) ||
           atomic_load_explicit(&rota__open_cached_refused, memory_order_relaxed);
}

static int try_cached(const char *path, int flags)
{
    int more = flags & O_PATH ? O_CLOEXEC : ALWAYS; /* a place cannot be waited for */
    struct open_how how = {.flags = (unsigned)(flags | more), .resolve = RESOLVE_CACHED};
    return (int)rota__sys(EAGAIN, syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
}

int rota__open_cached(const char *path, int flags)
{
    int fd = must_wait(flags) ? -EAGAIN : try_cached(path, flags);
    if (fd == -ENOSYS)
        atomic_store_explicit(&rota__open_cached_refused, true, memory_order_relaxed);
    return fd;
}

int rota__open_blocking(const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = (int)rota__sys(EMFILE, open(path, flags | ALWAYS, mode));
    while (fd == -EINTR);
    return fd;
}

struct open_job {
    const char *path;
    int flags;
    mode_t mode;
    int fd;
};

static int open_job(void *arg)
{
    struct open_job *job = arg;
    return job->fd = rota__open_blocking(job->path, job->flags, job->mode);
}

/* What openat2 says where it does not exist (before 5.6), does not know RESOLVE_CACHED (before
 * 5.12) or is filtered. EPERM and EINVAL may be true, too: only the other call can tell. */
static bool may_be_refusal(int err)
{
    return err == -ENOSYS || err == -EPERM || err == -EINVAL || err == -E2BIG;
}

int rota__open(const char *path, int flags, mode_t mode, const struct rota__file_wait *wait)
{
    int first = rota__open_cached(path, flags);
    if (first != -EAGAIN && first != -EINTR && !may_be_refusal(first)) {
        rota__file_done_at_once();
        return first;
    }
    struct open_job job = {path, flags, mode, -1};
    int fd = rota__file_hop(open_job, &job, wait);
    if (fd >= 0 && may_be_refusal(first))
        atomic_store_explicit(&rota__open_cached_refused, true, memory_order_relaxed);
    return fd;
}
