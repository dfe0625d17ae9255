/* File systems on which fstat(2) answers from memory. Nothing in the kernel says so without being
 * asked what may itself wait (fstatfs on a server that is gone), so it is asked in a thread and
 * remembered by device. */
#include "base/sys.h"
#include "file/file.h"

#include <linux/magic.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define DEVICES 16

/* Each is a device's number and 1, or 0. Never more than once the same, or it does no harm. */
static _Atomic(uint64_t) local_devices[DEVICES];

static bool is_known(uint64_t device)
{
    for (int i = 0; i < DEVICES; i++) {
        if (atomic_load_explicit(&local_devices[i], memory_order_relaxed) == device + 1)
            return true;
    }
    return false;
}

static bool is_local(int fd)
{
    struct statfs about;
    if (rota__sys(EIO, fstatfs(fd, &about)) < 0)
        return false;
    switch ((unsigned long)about.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return true;
    default:
        return false;
    }
}

void rota__device_learn(int fd, dev_t device)
{
    if (is_known(device) || !is_local(fd))
        return;
    for (int i = 0; i < DEVICES; i++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&local_devices[i], &none, device + 1))
            return;
    }
}

int rota__stat_now(int fd, struct stat *ret_stat)
{
    struct statx about;
    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &about) < 0 ||
        !is_known(makedev(about.stx_dev_major, about.stx_dev_minor)))
        return -EAGAIN;
    return (int)rota__sys(EAGAIN, fstatat(fd, "", ret_stat, AT_EMPTY_PATH));
}
