/* stream: bytes that come and go in order: a TCP connection, a pipe, a pair in memory.
 *
 * A stream reads and writes; both may be done at once, by two tasks. A call that has to read ahead
 * (for a line or a separator) keeps the rest in the stream's buffer for the next call.
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
 * arrived are still there for the next call. A write that fails may have sent a part. If so, the
 * stream refuses further writes, because the peer would miss the bytes in between.
 *
 * A stream without unread lines or held-back output has no buffer, so idle connections cost little.
 *
 * A task inside a call keeps the direction: another task that reads (or writes) meanwhile gets
 * -EBUSY. Closing while others are inside ends their calls with ROTA_ECLOSED, and waits for that.
 *
 * A peer that vanishes is an error of a call (-ECONNRESET, -EPIPE), never a signal. */
#ifndef ROTA_STREAM_H
#define ROTA_STREAM_H

#include <rota/sync.h>

#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_stream rota_stream;

/* ---- Reading ---- */

/* Reads between 1 and `len` bytes into `buf`: what is buffered, else straight from below.
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

/* Reads exactly `len` bytes. If they do not come, nothing is taken: what had arrived stays
 * readable. Returns 0, ROTA_EOF (the stream ended before), or an error of rota_stream_read. */
ROTA_SUSPENDS int rota_stream_read_exact(rota_stream *s, void *buf, size_t len);

/* Reads up to and including `separator`, which is not empty. `ret_data` borrows the stream's buffer
 * and is valid until the next call that reads.
 *
 * Where the data, separator included, would be longer than `limit` bytes (0: the stream's limit),
 * the result is ROTA_ELIMIT and everything stays readable.
 *
 * Returns 0, ROTA_EOF (the stream ended without it; what came is readable), ROTA_ELIMIT, -ENOMEM,
 * -EINVAL, or an error of rota_stream_read. */
ROTA_SUSPENDS int rota_stream_read_until(rota_stream *s, rota_str separator, size_t limit,
                                         rota_str *ret_data);

/* Reads a line, which ends with "\n" or "\r\n" or at the end of the stream. `ret_line` comes
 * without that, with a NUL behind it, and borrows the stream's buffer until the next call that
 * reads.
 *
 * Returns 1, 0 at the end, ROTA_ELIMIT (the line with its end is longer than the stream's limit; it
 * stays readable), -ENOMEM, or an error of rota_stream_read. */
ROTA_SUSPENDS int rota_stream_read_line(rota_stream *s, rota_str *ret_line);

/* The lines of a stream as rota_str.
 *
 *     int err;
 *     ROTA_FOREACH(rota_str *, line, rota_stream_lines(s), &err)
 *         puts(line->ptr); */
ROTA_API rota_iter rota_stream_lines(rota_stream *s);

/* Shows at least `len` bytes that are to be read next, without taking them; less only at the end.
 * `ret_data` borrows the buffer until the next call that reads.
 *
 * Returns their number, ROTA_ELIMIT (`len` is more than the stream's limit), -ENOMEM, or an error
 * of rota_stream_read. */
ROTA_SUSPENDS ssize_t rota_stream_peek(rota_stream *s, size_t len, rota_str *ret_data);

/* Takes up to `len` of the bytes that a peek has shown; what it borrowed stays valid until the next
 * call that reads, all the same. Does not suspend. Returns how many it took. */
ROTA_API size_t rota_stream_skip(rota_stream *s, size_t len);

/* Whether the next `seen` bytes (at most what a peek has shown) are the last ones that will ever be
 * read: the other side has ended, or is gone. A connection that was reset is over, whatever else
 * was received before. Reads nothing and does not suspend, so a task that computes, or waits for
 * something else, can notice that its peer is gone. */
ROTA_API bool rota_stream_hung_up(rota_stream *s, size_t seen);

/* How many bytes a line may have, or a peek, or held-back output; 64 KiB unless set. 0 restores
 * that. */
ROTA_API void rota_stream_set_limit(rota_stream *s, size_t limit);

/* ---- Writing ---- */

/* Writes all of it. Suspends while the other side does not keep up. `buf` is borrowed until return.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, -EBUSY if another task is writing, ROTA_ECLOSED, -EPIPE (the
 * peer reads no more, the write side was shut down, or an earlier write was cut short),
 * -ECONNRESET, or another error of send(2). */
ROTA_SUSPENDS int rota_stream_write(rota_stream *s, const void *buf, size_t len);
/* The same for several pieces at once, in order; -EINVAL if `count` is negative. */
ROTA_SUSPENDS int rota_stream_writev(rota_stream *s, const struct iovec *iov, int count);

/* Writes text as printf(3) formats it, of any length. Returns as rota_stream_write, or -ENOMEM, or
 * what vsnprintf(3) failed with: -EILSEQ, -EOVERFLOW; nothing is written then. */
ROTA_SUSPENDS int rota_stream_printf(rota_stream *s, const char *format, ...) ROTA_PRINTF(2, 3);

/* Holds written data back from now on, to send it in few large pieces: at rota_stream_flush, at
 * shutdown and close, and whenever it exceeds the stream's limit. */
ROTA_API void rota_stream_cork(rota_stream *s);
/* Sends what is held back, and holds back no more. If it fails, what was not sent is still held,
 * and flushing may be tried again. Returns as rota_stream_write. */
ROTA_SUSPENDS int rota_stream_flush(rota_stream *s);

/* Sends the held-back output and ends the write side: the peer reads the end of the stream. Reading
 * goes on. Returns 0 or an error of rota_stream_write; -ENOTCONN if the peer is gone. */
ROTA_SUSPENDS int rota_stream_shutdown(rota_stream *s);

/* ---- The whole ---- */

/* Closes the stream: calls of other tasks on it return ROTA_ECLOSED, held-back output is sent
 * (within a second), and the descriptor is closed. Shields itself. Afterwards every call gives
 * ROTA_ECLOSED.
 *
 * Returns 0, also when it was closed before, or why held-back output could not be sent. */
ROTA_SUSPENDS_SHIELDED int rota_stream_close(rota_stream *s);

/* Makes the stream's end abrupt, as asyncio's transport.abort() does: nothing more is sent. When
 * the stream is closed, what was held back and what the kernel has not sent yet is thrown away, and
 * the peer of a TCP connection gets a reset. For a peer that takes nothing: otherwise the kernel
 * would keep the rest for many minutes. Does not suspend. Writes fail with -EPIPE afterwards; it
 * does not close the stream. */
ROTA_API void rota_stream_abort(rota_stream *s);

/* Closes and frees the stream. Accepts NULL, returns NULL. ROTA_AUTO(rota_stream) calls this. */
ROTA_SUSPENDS_SHIELDED rota_stream *rota_stream_free(rota_stream *s);
ROTA_DEFINE_AUTO(rota_stream, rota_stream_free);

/* The last error of the stream, with the peer: "read from 127.0.0.1:4711: Connection reset by
 * peer". Empty if there was none. Valid until the next call of this function. */
ROTA_API const char *rota_stream_error(rota_stream *s);

/* The addresses of both ends as text, such as "127.0.0.1:4711" or "[::1]:80"; "pair", "unix" or
 * "descriptor" where there is none. Valid as long as the stream. */
ROTA_API const char *rota_stream_peer(rota_stream *s);
ROTA_API const char *rota_stream_local(rota_stream *s);

/* Makes two streams of this thread's loop; what is written to one is read from the other. Up to
 * `capacity` bytes (0: 64 KiB) are under way in each direction: with 1, a reader gets them one by
 * one. Returns 0, ROTA_ENOTASK (this thread has no loop) or -ENOMEM. */
ROTA_API int rota_stream_pair(size_t capacity, rota_stream **ret_one, rota_stream **ret_other);

/* Makes a stream of a descriptor and takes it over: a connected stream socket, a pipe, a terminal;
 * not a regular file. Closing the stream closes the descriptor.
 *
 * O_NONBLOCK is set or cleared as the loop needs it, and stays so. That mode belongs to the open
 * file, not to the descriptor, so every program that has the same file sees it, too: where standard
 * input is a terminal, the shell and all programs that were started from it, whose reads and writes
 * then fail with EAGAIN. For what is shared, open the file anew and make a stream of that; it works
 * for terminals and pipes, not for sockets:
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
 * Returns 0, -EBADF, -ENOMEM, ROTA_ENOTASK (this thread has no loop), and then the descriptor is
 * still yours. */
ROTA_API int rota_stream_from_fd(int fd, rota_stream **ret_stream);

/* Takes the descriptor back out of a stream: it is yours, in the mode in which it came (blocking,
 * if rota made it), and the stream is closed and still to be freed.
 *
 * Returns the descriptor; -EBUSY: a task reads or writes, the stream has filters (TLS), or it holds
 * bytes that were received and not read, or held back and not sent; -EOPNOTSUPP: it has no
 * descriptor; ROTA_ECLOSED, ROTA_ETHREAD, ROTA_ENOTASK. On failure the stream goes on. */
ROTA_API int rota_stream_take_fd(rota_stream *s);

/* Makes a pipe: what is written to one stream is read from the other. For tasks of one loop
 * rota_stream_pair is cheaper; a pipe has descriptors, which other processes can be given.
 *
 * Returns 0, ROTA_ENOTASK (this thread has no loop), -EMFILE, -ENFILE, -ENOMEM. */
ROTA_API int rota_pipe(rota_stream **ret_reader, rota_stream **ret_writer);

/* ---- Files ---- */

/* As a length: up to the end, of the file or of the stream. */
#define ROTA_TO_END INT64_MAX

/* Sends `len` bytes of a file from `offset` on, after what is held back. The file stays yours, and
 * so does its position.
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
 * What is larger than 16 KiB does not pass through this program where the kernel can hand it on by
 * itself: to sockets and pipes without a filter such as TLS on top. So what is changed in the file
 * before the peer has it may arrive changed. Smaller files are copied, which is cheaper; those and
 * the head before them go out in one piece, as above, and the end of what is copied to a corked
 * stream may stay held back until rota_stream_flush.
 *
 * The loop does not wait for a disk: what is not in the page cache is first read by a thread, up to
 * 1 MiB at a time. Only what is dropped from the cache in the moments between holds up the loop.
 *
 * A file that turns out shorter than `len` is ROTA_EOF. The stream cannot mend that: where a length
 * was announced before, the peer is left waiting for the rest, so close the stream.
 *
 * `*sent` (`sent` may be NULL) is how many bytes the stream took, whatever the result is. A call
 * that fails after it took some leaves the stream as a write that was cut short does: nothing may
 * follow.
 *
 * Returns 0; ROTA_EOF, -EINVAL (a negative number), -EBADF, -ESPIPE (no file: a pipe, a terminal),
 * -EISDIR, -EIO, -ENOMEM, -EAGAIN (no thread could be started), or as rota_stream_write. */
ROTA_SUSPENDS int rota_stream_send_file(rota_stream *s, int fd, int64_t offset, int64_t len,
                                        int64_t *sent);

/* Reads `len` bytes and writes them to a regular file from `offset` on, by a thread. From sockets
 * without a filter on top they do not pass through this program.
 *
 * `*received` (`received` may be NULL) is how many are in the file, whatever the result is. What
 * had arrived and could not be written stays readable. A caller that is cancelled waits for the
 * piece that is being written.
 *
 * Returns 0; ROTA_EOF (the stream ended before), -EINVAL (no regular file, one that is open for
 * appending, or a negative number), -EBADF (also: not open for writing), -ENOSPC, -EDQUOT, -EFBIG,
 * -EIO, -ENOMEM, -EAGAIN (no thread could be started), or as rota_stream_read. */
ROTA_SUSPENDS int rota_stream_receive_file(rota_stream *s, int fd, int64_t offset, int64_t len,
                                           int64_t *received);

/* ---- Descriptors that are not rota's ---- */

/* Waits until `fd` is ready for one of `events` (ROTA_READABLE, ROTA_WRITABLE), for libraries that
 * bring a descriptor of their own and do their own reading. The descriptor stays yours, in the mode
 * in which it is; several tasks may wait for the same one. Close it only when nobody waits for it.
 *
 * Returns the events that are there, ROTA_HANGUP among them if the other side is gone or the
 * descriptor has an error; -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBADF, -EPERM (a regular file or
 * a directory, which is always ready), -EINVAL (no or unknown events), -ENOMEM. */
ROTA_SUSPENDS int rota_fd_wait(int fd, int events);

/* Waits until `fd` is ready, as rota_fd_wait does, or until the event is set, whichever comes
 * first: for tasks that also have to be told to stop. When it returns, also with an error, nothing
 * waits for `fd` any more, and you may close it.
 *
 * Returns the events that are there; 0 if the event is set; an error as rota_fd_wait; or
 * ROTA_ETHREAD (the event belongs to another thread's loop). */
ROTA_SUSPENDS int rota_fd_wait_or(int fd, int events, rota_event *event);

#ifdef __cplusplus
}
#endif

#endif
