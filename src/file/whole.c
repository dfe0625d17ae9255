/* Whole files: read by one job or none; replaced by one. */
#include "base/alloc.h"
#include "base/sys.h"
#include "file/file.h"

#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define LOAD_LIMIT (64 << 20)
/* More is not copied on the loop's thread. */
#define COPY_MAX (1 << 20)
/* For files that do not say how long they are. */
#define SIZE_FIRST 4096
/* As many symbolic links in a row as the kernel follows. */
#define LINKS_MAX 40

static const struct rota__file_wait loading = ROTA__FILE_WAIT("file load");
static const struct rota__file_wait saving = ROTA__FILE_WAIT("file save");

/* ---- Loading */

struct load {
    const char *path;
    size_t limit;
    int fd; /* -1: not open yet */
    char *data;
    size_t size, len; /* one byte more than `size` is there, for the NUL */
};

/* Room for at least one byte. The size that a file has is a hint, and one more byte shows the
 * end. */
static int load_room(struct load *load, size_t hint)
{
    if (load->len < load->size)
        return 0;
    size_t size = load->size ? load->size * 2 : hint ? hint + 1 : SIZE_FIRST;
    if (size > load->limit + 1)
        size = load->limit + 1;
    if (load->len >= size)
        return ROTA_ELIMIT;
    char *grown = rota_resize(load->data, size + 1);
    if (!grown)
        return -ENOMEM;
    load->data = grown;
    load->size = size;
    return 0;
}

static size_t size_hint(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISREG(about.st_mode) ? (size_t)about.st_size : 0;
}

static int load_begin(struct load *load)
{
    size_t hint = size_hint(load->fd);
    return hint > load->limit ? ROTA_ELIMIT : load_room(load, hint);
}

static int load_waiting(struct load *load)
{
    if (load->fd < 0)
        load->fd = rota__open_blocking(load->path, O_RDONLY, 0);
    if (load->fd < 0)
        return load->fd;
    for (;;) {
        int err = load->size ? load_room(load, 0) : load_begin(load);
        if (err < 0)
            return err;
        size_t want = rota__sys_shorten(load->size - load->len);
        ssize_t n = rota__sys(EIO, pread(load->fd, load->data + load->len, want, (off_t)load->len));
        if (n == 0)
            return 0;
        if (n < 0 && n != -EINTR)
            return (int)n;
        load->len += n > 0 ? (size_t)n : 0;
    }
}

static void load_close(struct load *load)
{
    rota__sys_close(load->fd);
    load->fd = -1;
}

static int load_job(void *arg)
{
    struct load *load = arg;
    int err = load_waiting(load);
    load_close(load);
    return err;
}

/* 1: all is there; 0: the rest has to wait; or an error. The size is what this machine last saw. */
static int load_now(struct load *load)
{
    struct statx about;
    load->fd = rota__open_cached(load->path, O_RDONLY);
    if (load->fd < 0)
        return load->fd == -ENOENT || load->fd == -EACCES || load->fd == -ENOTDIR ? load->fd : 0;
    if (statx(load->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE | STATX_TYPE, &about) <
            0 ||
        !S_ISREG(about.stx_mode) || about.stx_size > COPY_MAX || about.stx_size == 0)
        return 0;
    int err = load_room(load, about.stx_size);
    struct iovec iov = {load->data, load->size};
    ssize_t n =
        err < 0 ? err
                : rota__sys(EAGAIN, syscall(SYS_preadv2, load->fd, &iov, 1, 0L, 0L, RWF_NOWAIT));
    if (err < 0 || n <= 0)
        return err;
    load->len = (size_t)n;
    /* A read that stops because pages are not cached ends at a page boundary. */
    return load->len < load->size && load->len % 4096 != 0;
}

static int load_all(struct load *load)
{
    int now = load_now(load);
    if (now == 0)
        now = rota__file_hop(load_job, load, &loading);
    else
        rota__file_done_at_once();
    load_close(load);
    return now < 0 ? now : 0;
}

int rota_file_load(const char *path, size_t limit, rota_bytes *ret_data)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    struct load load = {.path = path, .limit = limit ? limit : LOAD_LIMIT, .fd = -1};
    if (load.limit > PTRDIFF_MAX - 1)
        load.limit = PTRDIFF_MAX - 1;
    err = load_all(&load);
    if (err == 0 && load.len > load.limit)
        err = ROTA_ELIMIT;
    if (err < 0) {
        rota_free(load.data);
        if (err == ROTA_ELIMIT)
            return rota_error_set(err, "load %s: larger than the limit of %zu bytes", path,
                                  load.limit);
        return rota__path_failed(err, "load", path);
    }
    load.data[load.len] = '\0';
    *ret_data = (rota_bytes){load.data, load.len};
    return 0;
}

/* ---- Saving */

struct save {
    const char *path;
    const char *data;
    size_t len;
    rota_file_save_options options;
    int directory; /* the one that the file is in */
    char resolved[PATH_MAX];
    const char *name;
    char temp[NAME_MAX + 1];
    struct stat old;
    bool exists;
};

/* Makes `path` what the link there says, seen from its directory. */
static int save_follow(struct save *s)
{
    char target[PATH_MAX];
    const char *slash = strrchr(s->path, '/');
    ssize_t len = rota__sys(EACCES, readlink(s->path, target, sizeof target));
    if (len < 0)
        return (int)len;
    size_t before = slash && *target != '/' ? (size_t)(slash - s->path) + 1 : 0;
    if (before + (size_t)len >= sizeof s->resolved)
        return -ENAMETOOLONG;
    memmove(s->resolved, s->path, before);
    memcpy(s->resolved + before, target, (size_t)len);
    s->resolved[before + (size_t)len] = '\0';
    s->path = s->resolved;
    return 0;
}

/* The path of the directory that the name is in; the name follows it in `path`. -ENAMETOOLONG, or
 * its length. */
static int directory_of(const char *path, char ret_directory[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 0;
    if (len >= PATH_MAX)
        return -ENAMETOOLONG;
    memcpy(ret_directory, slash ? path : ".", slash ? len : 1);
    ret_directory[slash ? len : 1] = '\0';
    return (int)len;
}

/* As the kernel with fs.protected_symlinks and fs.protected_regular: in a sticky directory that
 * everybody may write to, links are followed and files replaced only if they are our own or the
 * directory's owner's. In a sticky directory other users cannot replace the name after this
 * check. */
static int save_trust(const struct save *s)
{
    char directory[PATH_MAX];
    struct stat about;
    int err = directory_of(s->path, directory);
    if (err >= 0)
        err = (int)rota__sys(EACCES, stat(directory, &about));
    if (err < 0)
        return err;
    bool is_shared = (about.st_mode & S_ISVTX) && (about.st_mode & S_IWOTH);
    bool is_trusted = s->old.st_uid == geteuid() || s->old.st_uid == about.st_uid;
    return is_shared && !is_trusted ? -EACCES : 0;
}

static int save_stat(struct save *s)
{
    int err = (int)rota__sys(EACCES, lstat(s->path, &s->old));
    return err < 0 ? err : save_trust(s);
}

/* Finds the file that is meant, behind symbolic links; not realpath(3), because it need not
 * exist. */
static int save_look(struct save *s)
{
    int err = save_stat(s);
    if (err == 0 && s->options.exclusive)
        return -EEXIST;
    for (int links = 0; err == 0 && S_ISLNK(s->old.st_mode); links++) {
        err = links < LINKS_MAX ? save_follow(s) : -ELOOP;
        if (err < 0)
            return err;
        err = save_stat(s);
    }
    if (err < 0 && err != -ENOENT)
        return err;
    s->exists = err == 0;
    if (s->exists && !S_ISREG(s->old.st_mode))
        return S_ISDIR(s->old.st_mode) ? -EISDIR : -EINVAL;
    return 0;
}

static int save_open_directory(struct save *s)
{
    char directory[PATH_MAX];
    int len = directory_of(s->path, directory);
    if (len < 0)
        return len;
    s->name = s->path + len;
    if (!*s->name)
        return *s->path ? -EISDIR : -ENOENT;
    return s->directory =
               (int)rota__sys(EMFILE, open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int save_make_temp(struct save *s)
{
    bool is_closed = s->exists || s->options.owner_only;
    mode_t mode = is_closed ? 0600 : s->options.mode ? s->options.mode : 0666;
    int fd = -EEXIST;
    for (int tries = 0; fd == -EEXIST && tries < 100; tries++) {
        rota__temp_name(s->name, s->temp, sizeof s->temp - 32);
        fd = (int)rota__sys(
            ENOSPC, openat(s->directory, s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    }
    return fd;
}

/* ---- Permissions: at no time may the file be read by a user who could not read the old one. Until
 * here only the owner may read the temporary file. */

#define ACL "system.posix_acl_access"
#define ACL_MAX 4096

/* Gives the file to the old one's owner and group, as far as that is allowed. Returns whether the
 * group is the old one's. */
static bool save_give(const struct save *s, int fd, const struct stat *made, mode_t *mode)
{
    if (made->st_uid == s->old.st_uid && made->st_gid == s->old.st_gid)
        return true;
    if (fchown(fd, s->old.st_uid, s->old.st_gid) == 0)
        return true;
    *mode &= 0777; /* set-id bits are not for another owner */
    return made->st_gid == s->old.st_gid || fchown(fd, (uid_t)-1, s->old.st_gid) == 0;
}

/* The group could not be set, so the members of group and others have changed. */
static mode_t for_another_group(mode_t mode)
{
    mode_t both = (mode >> 3) & mode & 07;
    return (mode & 0700) | both << 3 | both;
}

static bool is_absent(int error)
{
    return error == ENODATA || error == EOPNOTSUPP;
}

/* The access control list: the old one's, or none, although the directory may have given one.
 * Returns whether that was done. */
static bool save_copy_acl(const struct save *s, int fd, bool may_copy)
{
    char acl[ACL_MAX];
    ssize_t len = lgetxattr(s->path, ACL, acl, sizeof acl);
    if (len > 0)
        return may_copy && fsetxattr(fd, ACL, acl, (size_t)len, 0) == 0;
    return len < 0 && is_absent(errno) && (fremovexattr(fd, ACL) == 0 || is_absent(errno));
}

static int save_keep(const struct save *s, int fd)
{
    struct stat made;
    mode_t mode = s->old.st_mode & 07777;
    int err = (int)rota__sys(EIO, fstat(fd, &made));
    if (err < 0)
        return err;
    bool is_in_group = save_give(s, fd, &made, &mode);
    if (!is_in_group)
        mode = for_another_group(mode);
    if (s->options.owner_only)
        mode &= 0600;
    else if (!save_copy_acl(s, fd, is_in_group))
        mode &= 0700;
    return (int)rota__sys(EPERM, fchmod(fd, mode));
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = rota__sys(ENOSPC, write(fd, data, rota__sys_shorten(len)));
        if (n < 0 && n != -EINTR)
            return (int)n;
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int save_fill(struct save *s, int fd)
{
    int err = write_all(fd, s->data, s->len);
    if (err == 0 && s->exists)
        err = save_keep(s, fd);
    if (err == 0 && !s->options.unsynced)
        err = (int)rota__sys(EIO, fsync(fd));
    if (close(fd) < 0 && err == 0 && errno != EINTR)
        err = -errno;
    return err;
}

static int save_take_name(struct save *s)
{
    if (!s->options.exclusive)
        return (int)rota__sys(EACCES, renameat(s->directory, s->temp, s->directory, s->name));
    int err = (int)rota__sys(EEXIST, linkat(s->directory, s->temp, s->directory, s->name, 0));
    if (err == 0)
        unlinkat(s->directory, s->temp, 0);
    return err;
}

static int save_in_directory(struct save *s)
{
    int fd = save_make_temp(s);
    if (fd < 0)
        return fd;
    int err = save_fill(s, fd);
    if (err == 0)
        err = save_take_name(s);
    if (err < 0) {
        unlinkat(s->directory, s->temp, 0);
        return err;
    }
    return s->options.unsynced ? 0 : (int)rota__sys(EIO, fsync(s->directory));
}

static int save_job(void *arg)
{
    struct save *s = arg;
    int err = save_look(s);
    if (err == 0)
        err = save_open_directory(s);
    if (err < 0)
        return err;
    err = save_in_directory(s);
    rota__sys_close(s->directory);
    return err;
}

int rota_file_save(const char *path, const void *data, size_t len,
                   const rota_file_save_options *options)
{
    struct save s;
    s.path = path;
    s.data = data;
    s.len = len;
    s.options = options ? *options : (rota_file_save_options){0};
    return rota__path_failed(rota__file_hop(save_job, &s, &saving), "save", path);
}
