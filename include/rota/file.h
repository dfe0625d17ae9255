/* file: files that are read and written without holding up the loop.
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
 * A whole file in one call:
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
 * What the kernel has in memory is read at once, on the loop's thread. All else waits somewhere
 * else (a thread, or io_uring), while other tasks run; one trip for a whole operation, not one for
 * each call.
 *
 * Position. A file keeps one, as in C: rota_file_read, _write, _seek and the lines share it. They
 * are for one task at a time; another one gets -EBUSY. The calls with a `p` (pread, pwrite) take an
 * offset instead, and any number of tasks may be inside them.
 *
 * Cancelling. A call that is cancelled returns when the kernel or the thread has let go of your
 * memory, which is as long as the device takes. If the work was done by then, its result is what
 * you get, and the cancellation arrives at the next suspending call. A call that changes something
 * and is cancelled has either happened or will never happen.
 *
 * Files here are those with an offset. A pipe, a terminal or a socket is a stream:
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
 * added. `mode` counts when the file is made, and is cut by the umask; 0 stands for 0666.
 *
 * Does not suspend for an existing file whose path the kernel has in memory.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, or an error of open(2): -ENOENT,
 * -EACCES, -EEXIST, -EMFILE, ... */
ROTA_SUSPENDS int rota_file_open(const char *path, int flags, mode_t mode, rota_file **ret_file);

/* Opens a new file without a name in `directory` (NULL: $TMPDIR, or /tmp), for reading and writing.
 * It is gone when it is closed, however the program ends. Returns as rota_file_open. */
ROTA_SUSPENDS int rota_file_temp(const char *directory, rota_file **ret_file);

/* Makes a file of a descriptor and takes it over, with its position.
 *
 * Returns 0, -EBADF, -ESPIPE (a pipe, socket or terminal), -ENOMEM, ROTA_ENOTASK (this thread has
 * no loop), and then the descriptor is still yours. */
ROTA_API int rota_file_from_fd(int fd, rota_file **ret_file);

/* The descriptor, for calls that rota does not have; -1 once the file is closed. It stays the
 * file's. Its own position means nothing. */
ROTA_API int rota_file_fd(const rota_file *file);

/* Waits until nobody is inside a call, and closes the file. Shields itself. What was written is in
 * the kernel's hands, not on the disk: that is rota_file_sync. Afterwards every call gives
 * ROTA_ECLOSED.
 *
 * Returns 0, also when it was closed before; -EIO, -ENOSPC, -EDQUOT: a network file system has lost
 * something that was written. The file is closed all the same. */
ROTA_SUSPENDS_SHIELDED int rota_file_close(rota_file *file);

/* Closes and frees the file. Accepts NULL, returns NULL; what ROTA_AUTO(rota_file) calls. */
ROTA_SUSPENDS_SHIELDED rota_file *rota_file_free(rota_file *file);
ROTA_DEFINE_AUTO(rota_file, rota_file_free);

/* ---- Reading ---- */

/* Reads `len` bytes at the position and moves it; fewer only at the end of the file, or when an
 * error came after some had been read: then the next call returns that.
 *
 * Does not suspend for what the kernel has in memory, where the file system can tell. `buf` is
 * borrowed until return.
 *
 * Returns the number of bytes, 0 at the end, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBUSY (another
 * task uses the position), ROTA_ECLOSED, -ENOMEM, or an error of read(2): -EIO, -EISDIR, -EBADF
 * (not open for reading), -ESPIPE (not a file with an offset). */
ROTA_SUSPENDS ssize_t rota_file_read(rota_file *file, void *buf, size_t len);
/* The same into several pieces, in order; -EINVAL if `count` is negative. */
ROTA_SUSPENDS ssize_t rota_file_readv(rota_file *file, const struct iovec *iov, int count);
/* The same at an offset; the position stays. Not -EBUSY. */
ROTA_SUSPENDS ssize_t rota_file_pread(rota_file *file, void *buf, size_t len, int64_t offset);
ROTA_SUSPENDS ssize_t rota_file_preadv(rota_file *file, const struct iovec *iov, int count,
                                       int64_t offset);

/* Reads a line at the position, which ends with "\n" or "\r\n" or at the end of the file.
 * `ret_line` comes without that, with a NUL behind it, and borrows the file's buffer until the next
 * call that uses the position. The position is behind the line, however much was read ahead.
 *
 * Returns 1, 0 at the end, ROTA_ELIMIT (the line with its end is longer than the limit; the
 * position stays), -ENOMEM, or an error of rota_file_read. */
ROTA_SUSPENDS int rota_file_read_line(rota_file *file, rota_str *ret_line);

/* The lines from the position on, as rota_str.
 *
 *     int err;
 *     ROTA_FOREACH(rota_str *, line, rota_file_lines(file), &err)
 *         puts(line->ptr); */
ROTA_API rota_iter rota_file_lines(rota_file *file);

/* How many bytes a line may have; 64 KiB unless set. 0 restores that. */
ROTA_API void rota_file_set_limit(rota_file *file, size_t limit);

/* ---- Writing ---- */

/* Writes all of it at the position (at the end of a file that was opened with O_APPEND) and moves
 * that by what was written. `buf` is borrowed until return.
 *
 * Returns 0 when all is written. If not, what came before the error is written: rota_file_progress
 * says how much. -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBUSY (another task uses the position),
 * ROTA_ECLOSED, -ENOMEM, or an error of write(2): -ENOSPC, -EDQUOT, -EFBIG, -EIO, -EBADF (not open
 * for writing), -ESPIPE. */
ROTA_SUSPENDS int rota_file_write(rota_file *file, const void *buf, size_t len);
/* The same from several pieces, in order; -EINVAL if `count` is negative. */
ROTA_SUSPENDS int rota_file_writev(rota_file *file, const struct iovec *iov, int count);
/* The same at an offset; the position stays. Not -EBUSY. With O_APPEND the offset does not count
 * (Linux). */
ROTA_SUSPENDS int rota_file_pwrite(rota_file *file, const void *buf, size_t len, int64_t offset);
ROTA_SUSPENDS int rota_file_pwritev(rota_file *file, const struct iovec *iov, int count,
                                    int64_t offset);

/* How many bytes the last call that wrote to this file has written, also if it failed. */
ROTA_API size_t rota_file_progress(const rota_file *file);

/* Waits until the file's bytes and attributes are on the disk (fsync); or its bytes and what is
 * needed to find them (fdatasync). A new file's name is not: that takes the directory's sync, as
 * rota_file_save does.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ECLOSED, -EIO, -ENOSPC, -EDQUOT. After an
 * error what was written since the last success may be lost, and a repeated call does not tell. */
ROTA_SUSPENDS int rota_file_sync(rota_file *file);
ROTA_SUSPENDS int rota_file_sync_data(rota_file *file);

/* ---- The whole file ---- */

/* Moves the position: `whence` is SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA or SEEK_HOLE. The first
 * two never suspend. Returns the position, -EINVAL (it would be negative), -ENXIO, -EBUSY, or what
 * rota_file_stat returns. */
ROTA_SUSPENDS int64_t rota_file_seek(rota_file *file, int64_t offset, int whence);

/* Cuts or extends the file with zeros. The position stays. Returns 0 or an error of ftruncate(2),
 * or as rota_file_sync. */
ROTA_SUSPENDS int rota_file_truncate(rota_file *file, int64_t size);

/* Size, times, owner, permissions, as fstat(2). Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK,
 * ROTA_ECLOSED, -ENOMEM, -EIO. */
ROTA_SUSPENDS int rota_file_stat(rota_file *file, struct stat *ret_stat);

/* Reads a whole file, also one that grows or shrinks meanwhile, or whose size is not known before
 * (/proc). One longer than `limit` bytes (0: 64 MiB) gives ROTA_ELIMIT. Release `ret_data` with
 * rota_bytes_fini.
 *
 * Returns 0, ROTA_ELIMIT, -ENOMEM, or an error of rota_file_open and rota_file_read. */
ROTA_SUSPENDS int rota_file_load(const char *path, size_t limit, rota_bytes *ret_data);

typedef struct rota_file_save_options {
    /* Of a new file, cut by the umask; 0666. An old file's permissions, owner and group are
     * kept. */
    mode_t mode;
    /* For secrets: nobody but the owner may read or write the file (0600), also where the old file
     * let others in. */
    bool owner_only;
    /* Do not wait for the disk: after a power cut it may be the old file, or neither. */
    bool unsynced;
    bool exclusive; /* -EEXIST if there is a file already */
} rota_file_save_options;

/* Makes `data` the contents of the file, whole or not at all: a reader sees the old file or the new
 * one, and so it is after a crash. When it returns 0, the new one is on the disk.
 *
 * The bytes go to a temporary file in the same directory, which then takes the name. If `path` is a
 * symbolic link, the file that it leads to is replaced, or made where there is none yet. Hard links
 * to the old file keep the old contents.
 *
 * At no time may anybody read the file who could not read the old one. A POSIX access control list
 * is kept. If you may not give the new file the old one's owner, it is yours; if not its group,
 * group and others have only what both had before. In a sticky directory that everybody may write
 * to, such as /tmp, links and files of other users are refused with -EACCES, unless they belong to
 * the directory's owner. (Those are the kernel's rules for opening: fs.protected_symlinks,
 * fs.protected_regular.)
 *
 * If it fails, the old file stays and the temporary one is removed: -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK, -ENOMEM, -ENOSPC, -EDQUOT, -EACCES (of the directory, or see above), -EEXIST, -EIO,
 * ... Only when the error is that of the directory's own sync has the new file taken the name
 * already. */
ROTA_SUSPENDS int rota_file_save(const char *path, const void *data, size_t len,
                                 const rota_file_save_options *options);

#ifdef __cplusplus
}
#endif

#endif
