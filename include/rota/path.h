/* path: operations on files by name.
 *
 *     static int rotate(void *arg)
 *     {
 *         int err = rota_path_make_directories("/var/log/mine/old", 0);
 *         if (err == 0)
 *             err = rota_path_rename("/var/log/mine/log", "/var/log/mine/old/log");
 *         return err;
 *     }
 *
 * A call takes one trip to a thread, or none where the kernel has the answer in memory. A call that
 * is cancelled before its work begins changes nothing. Once the work has begun, the call returns
 * when it is done, with its result if it succeeded.
 *
 * Each call returns 0 unless it says otherwise, or -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM,
 * or an error of the system call that it is named after. The text of a failure (rota_error) names
 * the path. */
#ifndef ROTA_PATH_H
#define ROTA_PATH_H

#include <rota/task.h>

#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Finds size, times, owner, permissions and kind of the file that the path leads to, as stat(2). */
ROTA_SUSPENDS int rota_path_stat(const char *path, struct stat *ret_stat);
/* The same, of a symbolic link itself, as lstat(2). */
ROTA_SUSPENDS int rota_path_stat_link(const char *path, struct stat *ret_stat);

/* Tells whether the path leads to a file of any kind. Returns 1 if so, 0 if not (-ENOENT,
 * -ENOTDIR), or an error such as -EACCES if that cannot be found out. */
ROTA_SUSPENDS int rota_path_exists(const char *path);

/* Renames a file and replaces the one that had the new name, as rename(2). -EXDEV: the names are on
 * different file systems. */
ROTA_SUSPENDS int rota_path_rename(const char *from, const char *to);
/* Gives the file a second name, as link(2). */
ROTA_SUSPENDS int rota_path_link(const char *existing, const char *name);
/* Makes a symbolic link `name` that contains `target`. */
ROTA_SUSPENDS int rota_path_symlink(const char *target, const char *name);
/* Reads a symbolic link. Release the target with rota_bytes_fini. -EINVAL: not a symbolic link. */
ROTA_SUSPENDS int rota_path_readlink(const char *path, rota_bytes *ret_target);
/* Removes the name of a file, as unlink(2). */
ROTA_SUSPENDS int rota_path_unlink(const char *path);

/* Makes a directory. `mode` is cut by the umask; 0 stands for 0777. */
ROTA_SUSPENDS int rota_path_mkdir(const char *path, mode_t mode);
/* Makes a directory and all missing directories above it. Not an error if it exists already.
 * -ENOTDIR: a part of the path is a file. */
ROTA_SUSPENDS int rota_path_make_directories(const char *path, mode_t mode);
/* Removes an empty directory, as rmdir(2). */
ROTA_SUSPENDS int rota_path_rmdir(const char *path);

/* Removes a file, a link (not its target), or a directory with everything in it. The call never
 * leaves the directory, even if others rename or replace files meanwhile. Not an error if there is
 * nothing to remove.
 *
 * After a cancellation it returns within some hundred files, and the rest stays. A file that cannot
 * be removed stays; the call removes everything else and then returns the first error. -EINVAL: the
 * path ends in "." or ".." or is "/"; nothing is removed. */
ROTA_SUSPENDS int rota_path_remove_all(const char *path);

#ifdef __cplusplus
}
#endif

#endif
