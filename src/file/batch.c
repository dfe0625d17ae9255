#include "file/batch.h"
#include "base/sys.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* An entry takes at most 280 bytes. */
#define ROOM_MIN 1024

int rota__batch_open(struct rota__batch *batch, int at, const char *name, bool followed)
{
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (followed ? 0 : O_NOFOLLOW);
    batch->at = batch->len = 0;
    batch->ended = false;
    batch->fd = (int)rota__sys(EMFILE, openat(at, name, flags));
    int err = batch->fd < 0 ? batch->fd : rota__batch_fill(batch);
    if (err < 0)
        rota__batch_close(batch);
    return err;
}

void rota__batch_close(struct rota__batch *batch)
{
    rota__sys_close(batch->fd);
    batch->fd = -1;
}

static struct dirent64 *entry_at(struct rota__batch *batch, size_t at)
{
    return (struct dirent64 *)(void *)(batch->bytes + at);
}

/* Some file systems do not say what an entry is. One that has vanished meanwhile is called a
 * file. */
static void learn_type(struct rota__batch *batch, struct dirent64 *entry)
{
    struct stat about;
    if (entry->d_type != DT_UNKNOWN)
        return;
    int err = (int)rota__sys(EIO, fstatat(batch->fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW));
    entry->d_type = err < 0 ? DT_REG : (unsigned char)IFTODT(about.st_mode);
}

int rota__batch_fill(struct rota__batch *batch)
{
    batch->at = batch->len = 0;
    while (!batch->ended && sizeof batch->bytes - batch->len >= ROOM_MIN) {
        ssize_t n = rota__sys(EIO, syscall(SYS_getdents64, batch->fd, batch->bytes + batch->len,
                                           sizeof batch->bytes - batch->len));
        if (n < 0 && batch->len == 0)
            return (int)n;
        if (n < 0)
            break; /* the next time will tell */
        batch->ended = n == 0;
        batch->len += (size_t)n;
    }
    for (size_t at = 0; at < batch->len; at += entry_at(batch, at)->d_reclen)
        learn_type(batch, entry_at(batch, at));
    return 0;
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

const struct dirent64 *rota__batch_next(struct rota__batch *batch)
{
    while (batch->at < batch->len) {
        struct dirent64 *entry = entry_at(batch, batch->at);
        batch->at += entry->d_reclen;
        if (!is_dots(entry->d_name))
            return entry;
    }
    return NULL;
}
