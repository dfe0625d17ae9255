/* path: what is done to a file by its name.
 *
 *     static int rotate(void *arg)
 *     {
 *         int err = rota_path_make_directories("/var/log/mine/old", 0);
 *         if (err == 0)
 *             err = rota_path_rename("/var/log/mine/log", "/var/log/mine/old/log");
 *         return err;
 *     }
 *
 * Each call is one trip to a thread, or none where the kernel has the answer in memory. Cancelled before it
 * has begun, it never happens; once it has begun the call returns when it is over, with its result if that
 * is a success.
 *
 * All return 0 (or what they say), -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, or the error of the system
 * call they are named after. */
#ifndef ROTA_PATH_H
#define ROTA_PATH_H

#include <rota/task.h>

#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Size, times, owner, permissions, kind of what the path leads to, as stat(2). */
ROTA_SUSPENDS int rota_path_stat(const char *path, struct stat *ret_stat);
/* The same, of a symbolic link itself, as lstat(2). */
ROTA_SUSPENDS int rota_path_stat_link(const char *path, struct stat *ret_stat);

/* 1 if the path leads to something, 0 if not (-ENOENT, -ENOTDIR); -EACCES and others if that cannot be
 * found out. */
ROTA_SUSPENDS int rota_path_exists(const char *path);

/* Renames, replacing what had the new name, as rename(2). -EXDEV: not the same file system. */
ROTA_SUSPENDS int rota_path_rename(const char *from, const char *to);
/* Gives the file a second name, as link(2). */
ROTA_SUSPENDS int rota_path_link(const char *existing, const char *name);
/* Makes a symbolic link `name` that says `target`. */
ROTA_SUSPENDS int rota_path_symlink(const char *target, const char *name);
/* What a symbolic link says. Release it with rota_bytes_fini. -EINVAL: it is no link. */
ROTA_SUSPENDS int rota_path_readlink(const char *path, rota_bytes *ret_target);
/* Removes the name of a file, as unlink(2). */
ROTA_SUSPENDS int rota_path_unlink(const char *path);

/* Makes a directory. `mode` is cut by the umask; 0 stands for 0777. */
ROTA_SUSPENDS int rota_path_mkdir(const char *path, mode_t mode);
/* Makes a directory and those above it that are missing. Not an error if it is there already. -ENOTDIR: something
 * on the way is a file. */
ROTA_SUSPENDS int rota_path_make_directories(const char *path, mode_t mode);
/* Removes an empty directory, as rmdir(2). */
ROTA_SUSPENDS int rota_path_rmdir(const char *path);

/* Removes what the path names: a file, a link (not what it leads to), or a directory with all that is in it. It
 * never leaves the directory, whatever is renamed or put in place of what meanwhile. Not an error if there is
 * nothing.
 *
 * Cancelled, it returns after some hundred files, and the rest stays. What cannot be removed stays, and its
 * error is returned after the rest was removed. -EINVAL: the path ends in "." or ".." or is "/", and
 * nothing is touched. */
ROTA_SUSPENDS int rota_path_remove_all(const char *path);

#ifdef __cplusplus
}
#endif

#endif
