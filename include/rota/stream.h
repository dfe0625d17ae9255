/* stream: a sequence of bytes in each direction: a TCP connection, a pipe, a pair in memory.
 *
 * One task can read while another one writes. A call that has to read ahead (for a line or a
 * separator) keeps the rest in the stream's buffer for the next call.
 *
 *     static int shout(rota_stream *s)
 *     {
 *         rota_str line;
 *         int more;
 *         while ((more = rota_stream_read_line(s, &line)) > 0) {
 *             struct iovec reply[] = {{(void *)line.ptr, line.len}, {(void *)"!\n", 2}};
 *             int err = rota_stream_writev(s, reply, 2);
 *             if (err < 0)
 *                 return err;
 *         }
 *         return more;                             // 0 at the end, or an error
 *     }
 *
 * Reading never loses data: if a call fails, is cancelled or exceeds a limit, the bytes that had
 * arrived are still there for the next call. A write that fails may have sent a part of its data.
 * If so, the stream refuses further writes, because the peer would miss the bytes in between.
 *
 * A stream without unread lines or held-back output has no buffer, so idle connections cost little.
 *
 * While a task reads (or writes), another task that reads (or writes) gets -EBUSY. Closing the
 * stream ends such calls with ROTA_ECLOSED, and waits for their return.
 *
 * If the peer vanishes, calls return -ECONNRESET or -EPIPE. There is no SIGPIPE. */
#ifndef ROTA_STREAM_H
#define ROTA_STREAM_H

#include <rota/sync.h>

#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_stream rota_stream;

/* ---- Reading ---- */

/* Reads between 1 and `len` bytes into `buf`, from the buffer if it holds any.
 *
 * Suspends until data, the end or an error arrives. `buf` is borrowed until return. On cancellation
 * the read is withdrawn and the call returns only once the kernel has let go of `buf`; if data won
 * the race, its count is returned and the cancellation arrives at the next suspending call.
 *
 * Returns the number of bytes, 0 at the end of the stream, -EINVAL (`len` is 0), -ECANCELED,
 * -ETIMEDOUT (a deadline around the call passed), -EBUSY if another task is reading, ROTA_ECLOSED,
 * or an error of recv(2), such as -ECONNRESET. Such an error is final: it comes back with every
 * later read. */
ROTA_SUSPENDS ssize_t rota_stream_read(rota_stream *s, void *buf, size_t len);

/* Reads exactly `len` bytes. After an error, what had arrived stays readable. Returns 0, ROTA_EOF
 * (the stream ended before), or an error of rota_stream_read. */
ROTA_SUSPENDS int rota_stream_read_exact(rota_stream *s, void *buf, size_t len);

/* Reads up to and including `separator`, which must not be empty. `ret_data` borrows the stream's
 * buffer and is valid until the next call that reads.
 *
 * If the data with its separator is longer than `limit` bytes (0: the stream's limit), the call
 * returns ROTA_ELIMIT and everything stays readable.
 *
 * Returns 0, ROTA_EOF (the stream ended without a separator; what came is readable), ROTA_ELIMIT,
 * -ENOMEM, -EINVAL, or an error of rota_stream_read. */
ROTA_SUSPENDS int rota_stream_read_until(rota_stream *s, rota_str separator, size_t limit,
                                         rota_str *ret_data);

/* Reads a line, which ends with "\n" or "\r\n" or at the end of the stream. `ret_line` does not
 * include the line end, is followed by a NUL, and borrows the stream's buffer until the next call
 * that reads.
 *
 * Returns 1, 0 at the end, ROTA_ELIMIT (the line with its end is longer than the stream's limit; it
 * stays readable), -ENOMEM, or an error of rota_stream_read. */
ROTA_SUSPENDS int rota_stream_read_line(rota_stream *s, rota_str *ret_line);

/* Iterates over the lines of a stream, each a rota_str.
 *
 *     int err;
 *     ROTA_FOREACH(rota_str *, line, rota_stream_lines(s), &err)
 *         puts(line->ptr); */
ROTA_API rota_iter rota_stream_lines(rota_stream *s);

/* Shows at least the next `len` bytes without taking them; fewer only at the end of the stream.
 * `ret_data` borrows the buffer until the next call that reads.
 *
 * Returns their number, ROTA_ELIMIT (`len` is more than the stream's limit), -ENOMEM, or an error
 * of rota_stream_read. */
ROTA_SUSPENDS ssize_t rota_stream_peek(rota_stream *s, size_t len, rota_str *ret_data);

/* Takes up to `len` of the bytes that rota_stream_peek has shown. What that call returned stays
 * valid until the next call that reads. Does not suspend. Returns how many bytes it took. */
ROTA_API size_t rota_stream_skip(rota_stream *s, size_t len);

/* Whether the peer has ended or is gone, and nothing is left to read beyond the next `seen` bytes
 * (at most what rota_stream_peek has shown). After a reset it is true in any case. Reads nothing
 * and does not suspend, so a task that computes or waits for something else can notice that its
 * peer is gone. */
ROTA_API bool rota_stream_hung_up(rota_stream *s, size_t seen);

/* Limits the bytes of a line, of a peek, and of held-back output. 0 restores the default of
 * 64 KiB. */
ROTA_API void rota_stream_set_limit(rota_stream *s, size_t limit);

/* ---- Writing ---- */

/* Writes all `len` bytes. Suspends while the other side does not keep up. `buf` is borrowed until
 * return.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, -EBUSY if another task is writing, ROTA_ECLOSED, -EPIPE (the
 * peer no longer reads, the write side was shut down, or an earlier write was cut short),
 * -ECONNRESET, or another error of send(2). */
ROTA_SUSPENDS int rota_stream_write(rota_stream *s, const void *buf, size_t len);
/* Writes several pieces in order, as rota_stream_write does. Returns -EINVAL if `count` is
 * negative. */
ROTA_SUSPENDS int rota_stream_writev(rota_stream *s, const struct iovec *iov, int count);

/* Writes text of any length, formatted as by printf(3). Returns as rota_stream_write does, or
 * -ENOMEM, -EILSEQ or -EOVERFLOW (from vsnprintf(3)); then nothing is written. */
ROTA_SUSPENDS int rota_stream_printf(rota_stream *s, const char *format, ...) ROTA_PRINTF(2, 3);

/* Holds back what is written from now on, to send it in a few large pieces: at rota_stream_flush,
 * shutdown and close, and whenever it exceeds the stream's limit. */
ROTA_API void rota_stream_cork(rota_stream *s);
/* Sends what is held back, and stops holding back. If it fails, what was not sent is still held
 * back, and you may flush again. Returns as rota_stream_write. */
ROTA_SUSPENDS int rota_stream_flush(rota_stream *s);

/* Sends the held-back output and ends the write side: the peer reads the end of the stream. Reading
 * goes on. Returns 0 or an error of rota_stream_write; -ENOTCONN if the peer is gone. */
ROTA_SUSPENDS int rota_stream_shutdown(rota_stream *s);

/* ---- The whole stream ---- */

/* Closes the stream: calls of other tasks on it return ROTA_ECLOSED, held-back output is sent
 * (for at most a second), and the descriptor is closed. Shields itself. Afterwards every call
 * returns ROTA_ECLOSED.
 *
 * Returns 0, also if the stream was closed before, or why held-back output could not be sent. */
ROTA_SUSPENDS_SHIELDED int rota_stream_close(rota_stream *s);

/* Makes the stream's end abrupt, as asyncio's transport.abort() does: nothing more is sent. When
 * the stream is closed, held-back output and what the kernel has not sent yet are discarded, and
 * the peer of a TCP connection gets a reset. Use it for a peer that does not read: otherwise the
 * kernel would keep trying for many minutes. Does not suspend, and does not close the stream.
 * Writes then fail with -EPIPE. */
ROTA_API void rota_stream_abort(rota_stream *s);

/* Closes and frees the stream. Accepts NULL, returns NULL. ROTA_AUTO(rota_stream) calls this. */
ROTA_SUSPENDS_SHIELDED rota_stream *rota_stream_free(rota_stream *s);
ROTA_DEFINE_AUTO(rota_stream, rota_stream_free);

/* The last error of the stream, with the peer: "read from 127.0.0.1:4711: Connection reset by
 * peer". Empty if there was none. Valid until the next call of this function. */
ROTA_API const char *rota_stream_error(rota_stream *s);

/* The addresses of both ends as text, such as "127.0.0.1:4711" or "[::1]:80"; "pair", "unix" or
 * "descriptor" if there are none. Valid as long as the stream. */
ROTA_API const char *rota_stream_peer(rota_stream *s);
ROTA_API const char *rota_stream_local(rota_stream *s);

/* Makes two streams of this thread's loop; what is written to one is read from the other. Each
 * direction holds up to `capacity` bytes (0: 64 KiB). With 1, a reader gets single bytes. Returns
 * 0, ROTA_ENOTASK (this thread has no loop) or -ENOMEM. */
ROTA_API int rota_stream_pair(size_t capacity, rota_stream **ret_one, rota_stream **ret_other);

/* Makes a stream of a descriptor and takes ownership of it. It may be a connected stream socket, a
 * pipe or a terminal. Closing the stream closes the descriptor.
 *
 * A regular file works too, from its position on, but it is always ready: while the disk works,
 * reads and writes block the thread, and all its tasks with it. Use a rota_file instead
 * (rota_file_from_fd returns -ESPIPE for what has to be a stream).
 *
 * O_NONBLOCK is set or cleared as the loop needs it, and stays so. This mode belongs to the open
 * file, not to the descriptor, so it affects every program that shares the open file. If standard
 * input is a terminal, reads and writes of the shell and of its other programs would fail with
 * EAGAIN. If the file is shared, open it again and make a stream of the new descriptor. That works
 * for terminals and pipes (for a named pipe, open(2) waits until it has a writer), but not for
 * sockets:
 *
 *     static int open_input(rota_stream **ret_stream)
 *     {
 *         int fd = open("/proc/self/fd/0", O_RDONLY | O_NOCTTY | O_CLOEXEC);
 *         int err = fd < 0 ? -errno : rota_stream_from_fd(fd, ret_stream);
 *         if (err < 0 && fd >= 0)
 *             close(fd);
 *         return err;
 *     }
 *
 * Returns 0, -EBADF, -ENOMEM or ROTA_ENOTASK (this thread has no loop). After an error the
 * descriptor is still yours. */
ROTA_API int rota_stream_from_fd(int fd, rota_stream **ret_stream);

/* Takes the descriptor out of the stream. You own it then, in the mode that it had before
 * (blocking, if rota opened it). The stream is closed, and you still have to free it.
 *
 * Returns the descriptor; -EBUSY (a task reads or writes, the stream has filters such as TLS, or it
 * holds bytes that were not read or not sent); -EOPNOTSUPP (it has no descriptor); ROTA_ECLOSED,
 * ROTA_ETHREAD, ROTA_ENOTASK. After an error the stream can still be used. */
ROTA_API int rota_stream_take_fd(rota_stream *s);

/* Makes a pipe: what is written to one stream is read from the other. For tasks of one loop
 * rota_stream_pair is cheaper; a pipe has descriptors that can be given to other processes.
 *
 * Returns 0, ROTA_ENOTASK (this thread has no loop), -EMFILE, -ENFILE, -ENOMEM. */
ROTA_API int rota_pipe(rota_stream **ret_reader, rota_stream **ret_writer);

/* ---- Files ---- */

/* As a length: up to the end of the file or stream. */
#define ROTA_TO_END INT64_MAX

/* Sends `len` bytes of a file from `offset` on, after held-back output. You still own the
 * descriptor; its position does not move.
 *
 *     static int send_page(rota_stream *s, int fd, size_t size)
 *     {
 *         char head[64];
 *         int n = snprintf(head, sizeof head, "%zu bytes\r\n", size);
 *         rota_stream_cork(s);
 *         int err = rota_stream_write(s, head, (size_t)n);
 *         if (err == 0)
 *             err = rota_stream_send_file(s, fd, 0, (int64_t)size, NULL);
 *         return err < 0 ? err : rota_stream_flush(s);
 *     }
 *
 * The kernel sends files larger than 16 KiB by itself, without copying them through this program,
 * to sockets and pipes without a filter such as TLS. If the file changes meanwhile, the peer may
 * receive the changed data. Smaller files are copied, which is cheaper: they are sent in one piece
 * with held-back output, as above. On a corked stream the end of a copied file may stay held back
 * until rota_stream_flush.
 *
 * The loop does not wait for a disk: a thread first reads what is not in the page cache, up to 1
 * MiB at a time. The loop blocks only if a page is dropped from the cache right after that.
 *
 * If the file is shorter than `len`, the call returns ROTA_EOF. If you announced the length to the
 * peer, it will wait for the rest, so close the stream.
 *
 * `*sent` (`sent` may be NULL) is set to the number of bytes that were taken, also after an error.
 * If the call fails after it took some, further writes are refused, as after a write that was cut
 * short.
 *
 * Returns 0; ROTA_EOF, -EINVAL (a negative number), -EBADF, -ESPIPE (not a file: a pipe, a
 * terminal), -EISDIR, -EIO, -ENOMEM, -EAGAIN (no thread could be started), or as
 * rota_stream_write. */
ROTA_SUSPENDS int rota_stream_send_file(rota_stream *s, int fd, int64_t offset, int64_t len,
                                        int64_t *sent);

/* Reads `len` bytes and writes them to a regular file from `offset` on, in a thread. If they come
 * from a socket without filters, they do not pass through this program.
 *
 * `*received` (`received` may be NULL) is set to the number of bytes written to the file, also
 * after an error. What had arrived and could not be written stays readable. A cancelled caller
 * waits until the current piece has been written.
 *
 * Returns 0; ROTA_EOF (the stream ended before), -EINVAL (not a regular file, one that is open for
 * appending, or a negative number), -EBADF (also: not open for writing), -ENOSPC, -EDQUOT, -EFBIG,
 * -EIO, -ENOMEM, -EAGAIN (no thread could be started), or as rota_stream_read. */
ROTA_SUSPENDS int rota_stream_receive_file(rota_stream *s, int fd, int64_t offset, int64_t len,
                                           int64_t *received);

/* ---- Descriptors that rota does not own ---- */

/* Waits until `fd` is ready for one of `events` (ROTA_READABLE, ROTA_WRITABLE). Use it for
 * libraries that have a descriptor of their own and read from it themselves. You still own the
 * descriptor, and its mode is not changed. Several tasks may wait for the same one. Close it only
 * when no task waits for it.
 *
 * Returns the events that have occurred, with ROTA_HANGUP if the other side is gone or the
 * descriptor has an error; -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBADF, -EPERM (a regular file or
 * a directory, which is always ready), -EINVAL (no or unknown events), -ENOMEM. */
ROTA_SUSPENDS int rota_fd_wait(int fd, int events);

/* Waits until `fd` is ready, as rota_fd_wait does, or until the event is set, whichever comes
 * first. Use it for tasks that must be told to stop. When it returns, also with an error, it no
 * longer waits for `fd`, and you may close it.
 *
 * Returns the events that have occurred; 0 if the event is set; an error as rota_fd_wait; or
 * ROTA_ETHREAD (the event belongs to another thread's loop). */
ROTA_SUSPENDS int rota_fd_wait_or(int fd, int events, rota_event *event);

#ifdef __cplusplus
}
#endif

#endif
