/* unix: connections within this machine, by a path or a name, over which descriptors may be passed.
 *
 *     int echo(rota_stream *s, void *arg);           // as in rota/net.h
 *
 *     static int serve(void *arg)
 *     {
 *         ROTA_AUTO(rota_listener) l = NULL;
 *         int err = rota_unix_listen(arg, NULL, &l);
 *         return err < 0 ? err : rota_serve(l, echo, NULL, NULL);   // as with TCP
 *     }
 *
 *     static int ask(const char *path, char *ret_reply, size_t len)
 *     {
 *         ROTA_AUTO(rota_stream) s = NULL;
 *         int err = rota_unix_connect(path, &s);
 *         if (err == 0)
 *             err = rota_stream_write(s, "hello", 5);
 *         return err < 0 ? err : rota_stream_read_exact(s, ret_reply, len);
 *     }
 *
 * Names. A path is a file of type socket, 107 bytes long at most. What begins with '@' is an abstract
 * name instead: it has no file and no permissions, and is free again when its socket is closed. For a
 * file of that name write "./@name".
 *
 * A socket's file outlives a server that was killed. Whoever opens the path finds out, by trying to
 * connect, whether somebody is there (-EADDRINUSE); the file of a dead socket is replaced. What is no
 * socket is never touched (-ENOTSOCK). When the socket is closed, its file is removed if it is still its
 * own.
 *
 * Datagrams by path or name are in rota/dgram.h. */
#ifndef ROTA_UNIX_H
#define ROTA_UNIX_H

#include <rota/net.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes an address of a path or an abstract name. Returns 0, -EINVAL (empty), -ENAMETOOLONG. */
ROTA_API int rota_unix_address(const char *path, rota_address *ret_address);

/* Connects to a listener. While that has no room for another connection (its backlog is full), tries
 * again in growing intervals of at most 50 ms, for as long as the deadlines around the call allow.
 *
 * Returns 0, -ENOENT (no such file), -ECONNREFUSED (nobody listens), -EACCES, -EPROTOTYPE (a datagram
 * socket), -EINVAL, -ENAMETOOLONG, -EMFILE, -ENOMEM, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_unix_connect(const char *path, rota_stream **ret_stream);

/* Zero is the default of each field. */
typedef struct rota_unix_listen_options {
    int backlog; /* connections the kernel holds until they are accepted; SOMAXCONN */
    unsigned
        mode; /* of the file, such as 0600, whatever the umask; 0777 without the umask's bits */
} rota_unix_listen_options;

/* Listens at a path or an abstract name. rota_accept, rota_serve and rota_listener_close are as for TCP;
 * closing removes the file.
 *
 * Servers that are started at the same moment wait for each other, by a lock (flock(2)) on the directory
 * that each holds for an instant. If some other program keeps it for a second, the server listens without
 * it, and the log hook is told.
 *
 * Returns 0, -EADDRINUSE (somebody is there), -ENOTSOCK (something else is), -ENOENT (no such
 * directory), -EACCES, -EROFS, -EINVAL, -ENAMETOOLONG, -EMFILE, -ENOMEM, -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_unix_listen(const char *path, const rota_unix_listen_options *options,
                                   rota_listener **ret_listener);

typedef struct rota_credentials {
    pid_t pid;
    uid_t uid;
    gid_t gid;
} rota_credentials;

/* Who connected, or who listened, as the kernel noted it at that moment. Returns 0, -ENOTSOCK (the
 * stream is no socket), ROTA_ECLOSED, or an error of getsockopt(2). */
ROTA_API int rota_unix_peer(rota_stream *s, rota_credentials *ret_peer);

/* ---- Passing descriptors ---- */

#define ROTA_FDS_MAX 253 /* at once; the kernel's bound */

/* Descriptors that travel with bytes. */
typedef struct rota_fds {
    int *fds;     /* yours */
    size_t size;  /* receiving: room at `fds` */
    size_t count; /* how many are there */
    bool cut;     /* receiving: there were more than there was room for; those are closed */
} rota_fds;

/* Writes all of `buf`, at least a byte, and passes duplicates of `fds` with the first of them. Yours stay
 * open. What is held back goes first.
 *
 * Returns as rota_stream_write; -EINVAL (no byte, too many descriptors), -EBADF (one is not open),
 * -ETOOMANYREFS (too many are under way), -EOPNOTSUPP (no Unix socket, or something such as TLS is on
 * top of it). */
ROTA_SUSPENDS int rota_unix_send_fds(rota_stream *s, const void *buf, size_t len,
                                     const rota_fds *fds);

/* Reads as rota_stream_read, and takes the descriptors that came with the bytes; they are yours, and
 * are closed on exec. Bytes that came with descriptors are not read together with those that came with
 * others. Every other call that reads drops the descriptors that come: they are closed.
 *
 * `fds->cut` says that descriptors were lost, because `fds` has no room for them or this process has
 * reached its limit.
 *
 * Returns as rota_stream_read; -EOPNOTSUPP as above. If it fails, no descriptor was taken. */
ROTA_SUSPENDS ssize_t rota_unix_receive_fds(rota_stream *s, void *buf, size_t len, rota_fds *fds);

#ifdef __cplusplus
}
#endif

#endif
