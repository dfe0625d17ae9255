/* file: read and write files without holding up the loop.
 *
 *     static int shout(void *arg)
 *     {
 *         ROTA_AUTO(rota_file) in = NULL;
 *         int err = rota_file_open("/etc/passwd", O_RDONLY, 0, &in);
 *         if (err < 0)
 *             return err;
 *         ROTA_FOREACH(rota_str *, line, rota_file_lines(in), &err)
 *             printf("%s!\n", line->ptr);
 *         return err;
 *     }
 *
 * Read or replace a whole file in one call:
 *
 *     static int append_signature(void *arg)
 *     {
 *         ROTA_SCOPED(rota_bytes) text = ROTA_BYTES_INIT;
 *         int err = rota_file_load("letter.txt", 0, &text);
 *         if (err < 0)
 *             return err;
 *         ...
 *         return rota_file_save("letter.txt", text.ptr, text.len, NULL);   // all of it, or nothing
 *     }
 *
 * Data that the kernel has in memory is read at once, on the loop's thread. Any other operation
 * runs in a thread or by io_uring while other tasks run. A call is handed over once as a whole, not
 * once for each system call that it needs.
 *
 * Position. A file has a position, as in C; rota_file_read, rota_file_write, rota_file_seek and the
 * calls for lines share it. One task at a time may use the position; another one gets -EBUSY. The
 * calls with a `p` (pread, pwrite) take an offset instead, and any number of tasks may use them at
 * once.
 *
 * Cancelling. A cancelled call returns when the kernel or the thread no longer uses your memory,
 * which takes as long as the device takes. If the operation had completed by then, the call returns
 * its result, and the cancellation arrives at the next suspending call. When a cancelled call that
 * changes something returns, the change has either happened or will never happen.
 *
 * These calls are for files that have an offset. For a pipe, a terminal or a socket use a stream:
 * rota_stream_from_fd. */
#ifndef ROTA_FILE_H
#define ROTA_FILE_H

#include <rota/task.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_file rota_file;

/* ---- Opening and closing ---- */

/* Opens a file as open(2) does. `flags` are those of fcntl.h; O_CLOEXEC and O_NONBLOCK are always
 * added. `mode` is used when the file is created, and is limited by the umask; 0 stands for 0666.
 *
 * Does not suspend for an existing file whose path the kernel has in memory.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, or an error of open(2): -ENOENT,
 * -EACCES, -EEXIST, -EMFILE, ... */
ROTA_SUSPENDS int rota_file_open(const char *path, int flags, mode_t mode, rota_file **ret_file);

/* Opens a new file without a name in `directory` (NULL: $TMPDIR, or /tmp), for reading and writing.
 * The file disappears when it is closed or when the program ends, even by a crash. Returns as
 * rota_file_open does. */
ROTA_SUSPENDS int rota_file_temp(const char *directory, rota_file **ret_file);

/* Makes a file from a descriptor and takes ownership of the descriptor. The file starts at the
 * descriptor's position.
 *
 * Returns 0, or an error, and then the descriptor is still yours: -EBADF, -ESPIPE (a pipe, socket
 * or terminal), -ENOMEM, ROTA_ENOTASK (this thread has no loop). */
ROTA_API int rota_file_from_fd(int fd, rota_file **ret_file);

/* Returns the descriptor, for calls that rota does not have; -1 once the file is closed. It still
 * belongs to the file. The descriptor's own position has no meaning. */
ROTA_API int rota_file_fd(const rota_file *file);

/* Closes the file, after waiting until no other task is inside a call. Shields itself. Written data
 * is then in the kernel, but not necessarily on the disk: for that, call rota_file_sync first.
 * After closing, every call returns ROTA_ECLOSED.
 *
 * Returns 0, also if the file was closed before; -EIO, -ENOSPC or -EDQUOT if a network file system
 * lost written data. The file is closed in either case. Check the result: nothing else reports the
 * loss. Compilers warn if you drop it. */
ROTA_SUSPENDS_SHIELDED_RESULT int rota_file_close(rota_file *file);

/* Closes and frees the file. Accepts NULL, returns NULL. ROTA_AUTO(rota_file) calls this. */
ROTA_SUSPENDS_SHIELDED rota_file *rota_file_free(rota_file *file);
ROTA_DEFINE_AUTO(rota_file, rota_file_free);

/* ---- Reading ---- */

/* Reads `len` bytes at the position and advances it. Reads fewer bytes only at the end of the file,
 * or if an error occurred after some bytes were read; the next call then returns that error.
 *
 * Does not suspend for data that the kernel has in memory, if the file system can tell. `buf` is
 * borrowed until return.
 *
 * Returns the number of bytes, 0 at the end of the file, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK,
 * -EBUSY (another task is using the position), ROTA_ECLOSED, -ENOMEM, or an error of read(2): -EIO,
 * -EISDIR, -EBADF (not open for reading), -ESPIPE (a file without an offset). */
ROTA_SUSPENDS ssize_t rota_file_read(rota_file *file, void *buf, size_t len);
/* Reads into several pieces, in order; otherwise as rota_file_read. Returns -EINVAL if `count` is
 * negative. */
ROTA_SUSPENDS ssize_t rota_file_readv(rota_file *file, const struct iovec *iov, int count);
/* Reads at `offset` without using or changing the position; otherwise as rota_file_read and
 * rota_file_readv. Never returns -EBUSY. */
ROTA_SUSPENDS ssize_t rota_file_pread(rota_file *file, void *buf, size_t len, int64_t offset);
ROTA_SUSPENDS ssize_t rota_file_preadv(rota_file *file, const struct iovec *iov, int count,
                                       int64_t offset);

/* Reads a line at the position. A line ends with "\n", with "\r\n", or at the end of the file.
 * `ret_line` gets the line without its end, followed by a NUL byte; it borrows the file's buffer
 * until the next call that uses the position. The position moves to just behind the line, however
 * much was read ahead.
 *
 * Returns 1, 0 at the end of the file, ROTA_ELIMIT (the line with its end is longer than the limit
 * of rota_file_set_limit; the position does not move), -ENOMEM, or an error of rota_file_read. */
ROTA_SUSPENDS int rota_file_read_line(rota_file *file, rota_str *ret_line);

/* Iterates over the lines from the position on, as rota_str.
 *
 *     int err;
 *     ROTA_FOREACH(rota_str *, line, rota_file_lines(file), &err)
 *         puts(line->ptr); */
ROTA_API rota_iter rota_file_lines(rota_file *file);

/* Limits the length of a line, in bytes with its end. Default: 64 KiB; 0 restores the default. */
ROTA_API void rota_file_set_limit(rota_file *file, size_t limit);

/* ---- Writing ---- */

/* Writes all `len` bytes at the position, or at the end of a file opened with O_APPEND, and
 * advances the position by what was written. `buf` is borrowed until return.
 *
 * Returns 0 when everything is written. After an error, rota_file_progress tells how many bytes
 * were written before it. The errors are -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBUSY (another task
 * is using the position), ROTA_ECLOSED, -ENOMEM, or those of write(2): -ENOSPC, -EDQUOT, -EFBIG,
 * -EIO, -EBADF (not open for writing), -ESPIPE. */
ROTA_SUSPENDS int rota_file_write(rota_file *file, const void *buf, size_t len);
/* Writes from several pieces, in order; otherwise as rota_file_write. Returns -EINVAL if `count` is
 * negative. */
ROTA_SUSPENDS int rota_file_writev(rota_file *file, const struct iovec *iov, int count);
/* Writes at `offset` without using or changing the position; otherwise as rota_file_write and
 * rota_file_writev. Never returns -EBUSY. With O_APPEND, Linux ignores the offset. */
ROTA_SUSPENDS int rota_file_pwrite(rota_file *file, const void *buf, size_t len, int64_t offset);
ROTA_SUSPENDS int rota_file_pwritev(rota_file *file, const struct iovec *iov, int count,
                                    int64_t offset);

/* Returns how many bytes the last call that wrote to this file has written, also if that call
 * failed. */
ROTA_API size_t rota_file_progress(const rota_file *file);

/* rota_file_sync waits until the file's bytes and attributes are on the disk, as fsync(2) does.
 * rota_file_sync_data waits for the bytes and only those attributes that are needed to read them,
 * as fdatasync(2) does. Neither puts a new file's name on the disk: for that the directory must be
 * synced too, as rota_file_save does.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ECLOSED, -EIO, -ENOSPC, -EDQUOT. After an
 * error, data written since the last success may be lost, and a repeated call does not report it
 * again. */
ROTA_SUSPENDS int rota_file_sync(rota_file *file);
ROTA_SUSPENDS int rota_file_sync_data(rota_file *file);

/* ---- The whole file ---- */

/* Moves the position. `whence` is SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA or SEEK_HOLE; the first
 * two never suspend. Returns the new position, -EINVAL (it would be negative), -ENXIO, -EBUSY, or
 * an error of rota_file_stat. */
ROTA_SUSPENDS int64_t rota_file_seek(rota_file *file, int64_t offset, int whence);

/* Cuts the file to `size` bytes, or extends it with zeros. The position does not move. Returns 0,
 * an error of ftruncate(2), or an error of rota_file_sync. */
ROTA_SUSPENDS int rota_file_truncate(rota_file *file, int64_t size);

/* Gets the file's size, times, owner and permissions, as fstat(2) does. Returns 0, -ECANCELED,
 * -ETIMEDOUT, ROTA_ENOTASK, ROTA_ECLOSED, -ENOMEM, -EIO. */
ROTA_SUSPENDS int rota_file_stat(rota_file *file, struct stat *ret_stat);

/* Reads a whole file, even one that grows or shrinks meanwhile, or whose size is not known in
 * advance (/proc). `limit` is the largest size in bytes; 0 stands for 64 MiB. Release `ret_data`
 * with rota_bytes_fini.
 *
 * Returns 0, ROTA_ELIMIT (the file is larger than `limit`), -ENOMEM, or an error of rota_file_open
 * and rota_file_read. */
ROTA_SUSPENDS int rota_file_load(const char *path, size_t limit, rota_bytes *ret_data);

typedef struct rota_file_save_options {
    /* Permissions of a new file, limited by the umask. Default: 0666. An existing file keeps its
     * permissions, owner and group. */
    mode_t mode;
    /* For secrets: only the owner may read or write the file (0600), even if the old file allowed
     * more. */
    bool owner_only;
    /* Do not wait for the disk. After a power failure the file may have its old contents, or
     * neither the old nor the new ones. */
    bool unsynced;
    /* Fail with -EEXIST if the file exists. */
    bool exclusive;
} rota_file_save_options;

/* Replaces the contents of a file, or makes the file, atomically: a reader sees the old file or the
 * new one, even after a crash. When this returns 0, the new contents are on the disk (unless
 * `unsynced` is set). `options` may be NULL.
 *
 * The bytes are written to a temporary file in the same directory, which is then renamed to `path`.
 * If `path` is a symbolic link, the file that it leads to is replaced or made. Hard links to the
 * old file keep the old contents.
 *
 * At no time can the file be read by a user who could not read the old file. A POSIX access control
 * list is kept. If you are not permitted to give the new file the old owner, you become its owner.
 * If you are not permitted to give it the old group, group and others each get only the permissions
 * that both had before. In a sticky directory that everybody may write to, such as /tmp, links and
 * files of other users are refused with -EACCES unless they belong to the owner of the directory.
 * (The kernel applies the same rules to open(2): fs.protected_symlinks, fs.protected_regular.)
 *
 * After an error the old file is unchanged and the temporary file is removed. There is one
 * exception: if syncing the directory fails, the new file already has the name. The errors are
 * -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, -ENOSPC, -EDQUOT, -EACCES (of the directory, or
 * see above), -EEXIST, -EIO, ... */
ROTA_SUSPENDS int rota_file_save(const char *path, const void *data, size_t len,
                                 const rota_file_save_options *options);

#ifdef __cplusplus
}
#endif

#endif
