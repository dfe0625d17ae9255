/* Opening files only below a directory: by openat2(2) with RESOLVE_BENEATH, so that neither ".."
 * nor a symbolic link leads out. If that is missing (a filter of system calls), the components are
 * opened one by one, and no symbolic links are followed. */
#include "http/root.h"
#include "http/plain.h"

#include <rota/exec.h>

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A pipe or a device must not block the loop. */
#define FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* ---- Opening */

static int open_beneath(int directory, const char *name, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve};
    long fd = syscall(SYS_openat2, directory, name, &how, sizeof how);
    return fd < 0 ? -errno : (int)fd;
}

/* Copies the text before the next slash to `part`, and moves `*name` behind it. */
static int take_part(const char **name, char part[NAME_MAX + 1])
{
    size_t len = (size_t)(strchrnul(*name, '/') - *name);
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(part, *name, len);
    part[len] = '\0';
    *name += len;
    while (**name == '/')
        ++*name;
    return 0;
}

/* `name` has no "..", and does not begin with a slash. */
static int open_by_hand(int directory, const char *name, int flags)
{
    char part[NAME_MAX + 1];
    int fd, at = directory;
    do {
        fd = take_part(&name, part);
        if (fd == 0)
            fd = openat(at, part, (*name ? O_PATH | O_DIRECTORY | O_CLOEXEC : flags) | O_NOFOLLOW);
        if (fd == -1)
            fd = -errno;
        if (at != directory)
            close(at);
        at = fd;
    } while (fd >= 0 && *name);
    return fd;
}

static int open_either_way(int directory, const char *name, int flags)
{
    int fd = open_beneath(directory, name, (uint64_t)flags, 0);
    return fd == -ENOSYS || fd == -EPERM ? open_by_hand(directory, name, flags) : fd;
}

struct opening {
    int directory;
    const char *name;
    int result;
};

static int open_waiting(void *arg)
{
    struct opening *o = arg;
    o->result = open_either_way(o->directory, o->name, FLAGS);
    return 0;
}

/* Before Linux 5.12 (-EINVAL), and if the call is refused, it is unknown whether opening would
 * block. */
static bool may_wait(int err)
{
    return err == -EAGAIN || err == -EINVAL || err == -EPERM || err == -ENOSYS;
}

int rota__root_open(const rota_http_root *root, const char *name)
{
    struct opening o = {root->fd, name, open_beneath(root->fd, name, FLAGS, RESOLVE_CACHED)};
    if (!may_wait(o.result))
        return o.result;
    int err;
    ROTA_SHIELD /* otherwise a descriptor could leak */
    {
        err = rota_to_thread(open_waiting, &o);
    }
    return err < 0 ? err : o.result;
}

int rota__root_stat(const rota_http_root *root, const char *name, struct stat *ret_st)
{
    int fd = open_either_way(root->fd, name, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return fd;
    int err = fstat(fd, ret_st) < 0 ? -errno : 0;
    close(fd);
    return err;
}

/* ---- The root */

int rota_http_root_open(const char *path, const rota_http_root_options *options,
                        rota_http_root **ret_root)
{
    static const rota_http_root_options defaults;
    if (!options)
        options = &defaults;
    const char *index = options->index ? options->index : "index.html";
    rota_http_root *root = rota_zalloc(sizeof *root);
    if (!root)
        return rota__http_plain(-ENOMEM);
    root->list = options->list;
    root->hidden = options->hidden;
    root->precompressed = options->precompressed;
    root->cache = options->cache;
    root->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int err = root->fd < 0 ? -errno : 0;
    if (err == 0 && *index) {
        root->index = rota_alloc(strlen(index) + 1);
        err = root->index ? 0 : -ENOMEM;
    }
    if (err < 0) {
        rota_http_root_free(root);
        return rota_error_set(err, "open directory \"%s\": %s", path, rota_strerror(err));
    }
    if (root->index)
        strcpy(root->index, index);
    *ret_root = root;
    return 0;
}

rota_http_root *rota_http_root_free(rota_http_root *root)
{
    if (!root)
        return NULL;
    if (root->fd >= 0)
        close(root->fd);
    rota_free(root->index);
    rota_free(root);
    return NULL;
}
