/* What is done by name: each call is a job of its own. */
#include <rota/path.h>

#include "base/alloc.h"
#include "base/sys.h"
#include "file/file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static const struct rota__file_wait path_wait = ROTA__FILE_WAIT("path");

struct path_job {
    const char *path, *other;
    mode_t mode;
    struct stat *about;
    rota_bytes *text;
};

static int path_call(rota_fn *fn, struct path_job job)
{
    return rota__file_hop(fn, &job, &path_wait);
}

/* ---- Failures */

static bool has_words(int err)
{
    return err < 0 && err != -ECANCELED && err != -ETIMEDOUT && err != ROTA_ENOTASK;
}

int rota__path_failed(int err, const char *call, const char *path)
{
    if (has_words(err))
        rota_error_set(err, "%s %s: %s", call, path, rota_strerror(err));
    return err;
}

static int paths_failed(int err, const char *call, const char *path, const char *other)
{
    if (has_words(err))
        rota_error_set(err, "%s %s to %s: %s", call, path, other, rota_strerror(err));
    return err;
}

/* ---- Asking */

static int stat_by_place(const char *path, int open_flags, struct stat *ret_stat)
{
    int fd = (int)rota__sys(EMFILE, open(path, open_flags));
    int err = fd < 0 ? fd : (int)rota__sys(EIO, fstat(fd, ret_stat));
    if (err == 0)
        rota__device_learn(fd, ret_stat->st_dev);
    rota__sys_close(fd);
    return err;
}

static int stat_job(void *arg)
{
    struct path_job *job = arg;
    return stat_by_place(job->path, (int)job->mode, job->about);
}

/* 0, an error, or -EAGAIN. */
static int stat_now(const char *path, int open_flags, struct stat *ret_stat)
{
    int fd = rota__open_cached(path, open_flags);
    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR || fd == -EACCES ? fd : -EAGAIN;
    int err = rota__stat_now(fd, ret_stat);
    rota__sys_close(fd);
    return err;
}

/* What is asked about is opened by its place only, which needs no permission for it and never
 * blocks. */
static int path_stat(const char *path, int open_flags, struct stat *ret_stat)
{
    struct stat about;
    int flags = O_PATH | O_CLOEXEC | open_flags, err = rota__suspend_check();
    if (err < 0)
        return err;
    err = stat_now(path, flags, &about);
    if (err == -EAGAIN)
        err = path_call(stat_job, (struct path_job){path, .mode = (mode_t)flags, .about = &about});
    else
        rota__file_done_at_once();
    if (err == 0)
        *ret_stat = about;
    return err;
}

int rota_path_stat(const char *path, struct stat *ret_stat)
{
    return rota__path_failed(path_stat(path, 0, ret_stat), "look at", path);
}

int rota_path_stat_link(const char *path, struct stat *ret_stat)
{
    return rota__path_failed(path_stat(path, O_NOFOLLOW, ret_stat), "look at", path);
}

int rota_path_exists(const char *path)
{
    struct stat ignored;
    int err = path_stat(path, 0, &ignored);
    if (err == -ENOENT || err == -ENOTDIR)
        return 0;
    return err < 0 ? rota__path_failed(err, "look at", path) : 1;
}

static int readlink_job(void *arg)
{
    struct path_job *job = arg;
    char target[PATH_MAX];
    ssize_t len = rota__sys(EACCES, readlink(job->path, target, sizeof target));
    if (len < 0)
        return (int)len;
    char *text = rota_alloc((size_t)len + 1);
    if (!text)
        return -ENOMEM;
    memcpy(text, target, (size_t)len);
    text[len] = '\0';
    *job->text = (rota_bytes){text, (size_t)len};
    return 0;
}

int rota_path_readlink(const char *path, rota_bytes *ret_target)
{
    int err = path_call(readlink_job, (struct path_job){path, .text = ret_target});
    return rota__path_failed(err, "read link", path);
}

/* ---- Changing */

static int rename_job(void *arg)
{
    struct path_job *job = arg;
    return (int)rota__sys(EACCES, rename(job->path, job->other));
}

int rota_path_rename(const char *from, const char *to)
{
    int err = path_call(rename_job, (struct path_job){from, to});
    return paths_failed(err, "rename", from, to);
}

static int link_job(void *arg)
{
    struct path_job *job = arg;
    return (int)rota__sys(EACCES, link(job->path, job->other));
}

int rota_path_link(const char *existing, const char *name)
{
    int err = path_call(link_job, (struct path_job){existing, name});
    return paths_failed(err, "link", name, existing);
}

static int symlink_job(void *arg)
{
    struct path_job *job = arg;
    return (int)rota__sys(EACCES, symlink(job->path, job->other));
}

int rota_path_symlink(const char *target, const char *name)
{
    int err = path_call(symlink_job, (struct path_job){target, name});
    return paths_failed(err, "link", name, target);
}

static int unlink_job(void *arg)
{
    struct path_job *job = arg;
    return (int)rota__sys(EACCES, unlink(job->path));
}

int rota_path_unlink(const char *path)
{
    int err = path_call(unlink_job, (struct path_job){path});
    return rota__path_failed(err, "remove", path);
}

static int mkdir_job(void *arg)
{
    struct path_job *job = arg;
    return (int)rota__sys(EACCES, mkdir(job->path, job->mode));
}

int rota_path_mkdir(const char *path, mode_t mode)
{
    int err = path_call(mkdir_job, (struct path_job){path, .mode = mode ? mode : 0777});
    return rota__path_failed(err, "make directory", path);
}

static int rmdir_job(void *arg)
{
    struct path_job *job = arg;
    return (int)rota__sys(EACCES, rmdir(job->path));
}

int rota_path_rmdir(const char *path)
{
    int err = path_call(rmdir_job, (struct path_job){path});
    return rota__path_failed(err, "remove directory", path);
}

/* ---- A directory and those above it */

static int make_directory(const char *path, mode_t mode)
{
    struct stat about;
    int err = (int)rota__sys(EACCES, mkdir(path, mode));
    if (err != -EEXIST)
        return err;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode) ? 0 : -ENOTDIR;
}

/* Where the part that ends at `end` begins to be missing: cuts `path` to its parent. NULL: it has
 * none. */
static char *cut_last(char *path, char *end)
{
    while (end > path && end[-1] != '/')
        end--;
    while (end > path && end[-1] == '/')
        end--;
    return end > path ? end : NULL;
}

/* Most often only the last is missing, or none: goes up until one can be made, and down again. */
static int make_directories(char *path, mode_t mode)
{
    char *end = path + strlen(path), *cut = end;
    while (end > path + 1 && end[-1] == '/')
        *(cut = --end) = '\0';
    int err;
    while ((err = make_directory(path, mode)) == -ENOENT && (cut = cut_last(path, cut)))
        *cut = '\0';
    /* Behind the part that exists now, each NUL replaces a slash that was cut. */
    while (err == 0 && path + strlen(path) < end) {
        path[strlen(path)] = '/';
        err = make_directory(path, mode);
    }
    return err;
}

static int make_directories_job(void *arg)
{
    struct path_job *job = arg;
    char path[PATH_MAX];
    size_t len = strlen(job->path);
    if (len == 0 || len >= sizeof path)
        return len ? -ENAMETOOLONG : -ENOENT;
    memcpy(path, job->path, len + 1);
    return make_directories(path, job->mode);
}

int rota_path_make_directories(const char *path, mode_t mode)
{
    int err = path_call(make_directories_job, (struct path_job){path, .mode = mode ? mode : 0777});
    return rota__path_failed(err, "make directory", path);
}
