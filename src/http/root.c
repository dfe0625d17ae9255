/* Opening below a directory, and nowhere else: openat2(2) with RESOLVE_BENEATH, under which neither ".." nor a symbolic
 * link leads out. Where that is missing (a filter of system calls), names are walked by hand, and no symbolic
 * links are followed at all. */
#include "http/root.h"

#include <rota/exec.h>

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A pipe or a device must not hold up the loop. */
#define FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* ---- Opening */

static int open_beneath(int directory, const char *name, uint64_t resolve)
{
    struct open_how how = {.flags = FLAGS,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve};
    long fd = syscall(SYS_openat2, directory, name, &how, sizeof how);
    return fd < 0 ? -errno : (int)fd;
}

/* The part of `name` up to the next slash, moved into `part`. Returns what follows, NULL at the end. */
static const char *next_part(const char *name, char part[NAME_MAX + 1])
{
    const char *slash = strchrnul(name, '/');
    size_t len = (size_t)(slash - name) < NAME_MAX ? (size_t)(slash - name) : NAME_MAX;
    memcpy(part, name, len);
    part[len] = '\0';
    while (*slash == '/')
        slash++;
    return *slash ? slash : NULL;
}

/* `name` has no "..". */
static int open_by_hand(int directory, const char *name)
{
    char part[NAME_MAX + 1];
    int at = directory, next = -1;
    for (const char *rest; (rest = next_part(name, part)); name = rest, at = next) {
        next = openat(at, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int err = -errno;
        if (at != directory)
            close(at);
        if (next < 0)
            return err;
    }
    int fd = openat(at, part, FLAGS | O_NOFOLLOW), err = -errno;
    if (at != directory)
        close(at);
    return fd < 0 ? err : fd;
}

struct opening {
    int directory;
    const char *name;
    int result;
};

static int open_waiting(void *arg)
{
    struct opening *o = arg;
    o->result = open_beneath(o->directory, o->name, 0);
    if (o->result == -ENOSYS || o->result == -EPERM)
        o->result = open_by_hand(o->directory, o->name);
    return 0;
}

int rota__root_open(const rota_http_root *root, const char *name)
{
    struct opening o = {root->fd, name, 0};
    int fd = open_beneath(root->fd, name, RESOLVE_CACHED);
    if (fd == -EINVAL) /* before Linux 5.12 nobody can tell whether it would wait */
        fd = open_beneath(root->fd, name, 0);
    if (fd == -EPERM || fd == -ENOSYS)
        return open_waiting(&o) < 0 ? -EIO : o.result;
    if (fd != -EAGAIN)
        return fd;
    int err;
    ROTA_SHIELD /* else a descriptor could be opened for nobody */
    {
        err = rota_to_thread(open_waiting, &o);
    }
    return err < 0 ? err : o.result;
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
        return -ENOMEM;
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
        return err;
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
