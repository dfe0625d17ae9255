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
 * Names. A path names a file of type socket and has at most 107 bytes. A name that begins with '@'
 * is abstract: it has no file and no permissions, and is free again when its socket is closed. For
 * a file of that name, write "./@name".
 *
 * The file of a socket outlives a server that was killed. A listener therefore tries to connect
 * first: if a server answers, listening fails with -EADDRINUSE; the file of a dead socket is
 * replaced. A file that is not a socket is never touched (-ENOTSOCK). When the listener closes, it
 * removes its file, unless another one has taken the name.
 *
 * Datagrams by path or name are in rota/dgram.h. */
#ifndef ROTA_UNIX_H
#define ROTA_UNIX_H

#include <rota/net.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes an address from a path or an abstract name. Returns 0, -EINVAL (empty), -ENAMETOOLONG. */
ROTA_API int rota_unix_address(const char *path, rota_address *ret_address);

/* Connects to a listener. While its backlog is full, the call tries again at growing intervals of
 * at most 50 ms, for as long as the deadlines around it allow.
 *
 * Returns 0, -ENOENT (no such file), -ECONNREFUSED (nobody listens), -EACCES, -EPROTOTYPE (a
 * datagram socket), -EINVAL, -ENAMETOOLONG, -EMFILE, -ENOMEM, -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_unix_connect(const char *path, rota_stream **ret_stream);

/* Zero selects the default of each field. */
typedef struct rota_unix_listen_options {
    /* Connections that the kernel holds until they are accepted. Default: SOMAXCONN. */
    int backlog;
    /* Permissions of the file, such as 0600, regardless of the umask. Default: 0777 limited by the
     * umask. */
    unsigned mode;
} rota_unix_listen_options;

/* Listens at a path or an abstract name. rota_accept, rota_serve and rota_listener_close work as
 * for TCP; closing removes the file.
 *
 * Servers that start at the same moment wait for each other: each holds a lock (flock(2)) on the
 * directory for an instant. If another program keeps the lock for a second, the server listens
 * without it and reports that to the log hook.
 *
 * Returns 0, -EADDRINUSE (a server listens there), -ENOTSOCK (another kind of file has the name),
 * -ENOENT (no such directory), -EACCES, -EROFS, -EINVAL, -ENAMETOOLONG, -EMFILE, -ENOMEM,
 * -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_unix_listen(const char *path, const rota_unix_listen_options *options,
                                   rota_listener **ret_listener);

typedef struct rota_credentials {
    pid_t pid;
    uid_t uid;
    gid_t gid;
} rota_credentials;

/* Finds the credentials of the peer, as they were when it connected or began to listen. Returns 0,
 * -ENOTSOCK (the stream is not a socket), ROTA_ECLOSED, or an error of getsockopt(2). */
ROTA_API int rota_unix_peer(rota_stream *s, rota_credentials *ret_peer);

/* ---- Passing descriptors ---- */

#define ROTA_FDS_MAX 253 /* in one call; the kernel's limit */

/* Descriptors that travel with bytes. */
typedef struct rota_fds {
    /* An array of yours. */
    int *fds;
    /* Receiving: room in `fds`. */
    size_t size;
    /* Number of descriptors in `fds`. */
    size_t count;
    /* Receiving: some descriptors did not fit and were closed. */
    bool cut;
} rota_fds;

/* Writes all of `buf`, which has at least one byte, and passes duplicates of `fds` with the first
 * byte. Your descriptors stay open. Output that the stream holds back goes first.
 *
 * Returns what rota_stream_write does; also -EINVAL (no byte, or too many descriptors), -EBADF (a
 * descriptor is not open), -ETOOMANYREFS (too many descriptors are under way), -EOPNOTSUPP (not a
 * Unix socket, or a layer such as TLS is on top). */
ROTA_SUSPENDS int rota_unix_send_fds(rota_stream *s, const void *buf, size_t len,
                                     const rota_fds *fds);

/* Reads as rota_stream_read does, and takes the descriptors that came with the bytes. They are
 * yours and are closed on exec. One call returns the descriptors of one message at most. Other
 * calls that read close the descriptors that they come across.
 *
 * `fds->cut` is set if descriptors were lost because `fds` had no room for them or this process has
 * reached its limit.
 *
 * Returns what rota_stream_read does; also -EOPNOTSUPP, as above. If it fails, no descriptor was
 * taken. */
ROTA_SUSPENDS ssize_t rota_unix_receive_fds(rota_stream *s, void *buf, size_t len, rota_fds *fds);

#ifdef __cplusplus
}
#endif

#endif
