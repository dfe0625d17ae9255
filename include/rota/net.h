/* net: names, and TCP over IPv4 and IPv6.
 *
 *     static int echo(rota_stream *s, void *arg)
 *     {
 *         char buf[16384];
 *         ssize_t n;
 *         while ((n = rota_stream_read(s, buf, sizeof buf)) > 0) {
 *             int err = rota_stream_write(s, buf, (size_t)n);
 *             if (err < 0)
 *                 return err;
 *         }
 *         return (int)n;
 *     }
 *
 *     static int serve(void *arg)
 *     {
 *         ROTA_AUTO(rota_listener) l = NULL;
 *         int err = rota_tcp_listen("localhost", 0, NULL, &l);
 *         if (err < 0)
 *             return err;
 *         *(int *)arg = rota_listener_port(l);
 *         return rota_serve(l, echo, NULL, NULL);    // a task a connection, until cancelled
 *     }
 *
 *     static int ask(int port, char *ret_reply, size_t len)
 *     {
 *         ROTA_AUTO(rota_stream) s = NULL;
 *         int err = rota_tcp_connect("localhost", port, NULL, &s);
 *         if (err == 0)
 *             err = rota_stream_write(s, "hello", 5);
 *         return err < 0 ? err : rota_stream_read_exact(s, ret_reply, len);
 *     }
 *
 * A deadline for any of it is a ROTA_TIMEOUT around the call. Which address failed, and why, is
 * told to the log hook at ROTA_LOG_INFO. */
#ifndef ROTA_NET_H
#define ROTA_NET_H

#include <rota/stream.h>

#include <netinet/in.h>
#include <sys/un.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Names ---- */

typedef struct rota_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    };
    socklen_t len;
} rota_address;

#define ROTA_ADDRESS_TEXT 112

/* Writes "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "/run/x.sock", "@abstract" or, for a Unix
 * socket without a name, "unix" into `ret_text`, which has room for ROTA_ADDRESS_TEXT bytes, and
 * returns it. */
ROTA_API const char *rota_address_text(const rota_address *address, char *ret_text);

/* Finds the addresses of `host`, the preferred first. Literals ("192.0.2.1", "::1", "fe80::1%eth0",
 * "fe80::1%2") and "localhost", which is always this machine, are answered at once; other names are
 * looked up by getaddrinfo(3) in threads of their own, and a caller that is cancelled does not wait
 * for that. Callers that ask for the same name at the same time share one lookup.
 *
 * Sixteen lookups run at a time. While some hang, others are started beside them, up to 256; a
 * lookup that its callers gave up counts as one that hangs. rota_to_thread and the end of rota_run
 * wait for none of them.
 *
 * Returns how many of the `max` places it filled, at least 1; ROTA_ENOHOST (no such name),
 * ROTA_EDNS (nobody could say, now), -EINVAL (no name, no such port, no place, or a host that
 * rota_host_parse refuses, such as the address 127.1), -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK,
 * -ENOMEM. */
ROTA_SUSPENDS int rota_resolve(const char *host, int port, rota_address *ret_addresses, size_t max);

/* ---- Connecting ---- */

/* Zero is the default of each field. */
typedef struct rota_connect_options {
    bool nagle;          /* let the kernel delay small writes; off, they go at once */
    rota_time keepalive; /* ask a silent peer after this long, give it up after twice that; never */
    const char *bind;    /* local address, a literal; the kernel chooses */
    int bind_port;       /* local port; the kernel chooses */
} rota_connect_options;

/* Connects to `host`. Where it has several addresses they are tried as RFC 8305 says: families by
 * turns, the next one when one has failed or has not answered for 250 ms, and the first to answer
 * wins.
 *
 * Returns 0, what rota_resolve returns, -EINVAL (`bind` is no literal), -ECANCELED, -ETIMEDOUT, or
 * why the last address failed: -ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH, -EADDRINUSE, -EMFILE,
 * ... */
ROTA_SUSPENDS int rota_tcp_connect(const char *host, int port, const rota_connect_options *options,
                                   rota_stream **ret_stream);

/* Connects to the first of these addresses that answers, as rota_tcp_connect does with those of a
 * host: for programs that look names up themselves. Returns 0, -EINVAL (no address, or `bind` is no
 * literal), -ECANCELED, -ETIMEDOUT, -ENOMEM, ROTA_ENOTASK, or why the last address failed. */
ROTA_SUSPENDS int rota_tcp_connect_any(const rota_address *addresses, size_t count,
                                       const rota_connect_options *options,
                                       rota_stream **ret_stream);

/* ---- Listening ---- */

typedef struct rota_listener rota_listener;

typedef struct rota_listen_options {
    int backlog;         /* connections the kernel holds until they are accepted; SOMAXCONN */
    bool reuse_port;     /* other processes may listen on the port too, and share the connections */
    bool v6only;         /* "::" and the NULL host take no IPv4 connections */
    bool nagle;          /* of the accepted connections, as in rota_connect_options */
    rota_time keepalive; /* the same */
} rota_listen_options;

/* Listens on all addresses of `host` ("localhost" is 127.0.0.1 and ::1); NULL or "" is every
 * address of this machine. Port 0 takes a free one, the same for all addresses. Addresses that this
 * machine does not have are left out as long as one remains.
 *
 * Returns 0, what rota_resolve returns, -EADDRINUSE (the port is taken), -EADDRNOTAVAIL, -EACCES,
 * -EMFILE, or another error of bind(2). */
ROTA_SUSPENDS int rota_tcp_listen(const char *host, int port, const rota_listen_options *options,
                                  rota_listener **ret_listener);

/* Makes a listener of a socket that listens already (TCP or Unix), and takes it over. A Unix
 * socket's file is left where it is when the listener is freed.
 *
 * Returns 0, or an error, and then the descriptor is still yours: -EBADF, -ENOTSOCK, -EPROTOTYPE
 * (not a stream socket), -EINVAL (it does not listen), -EAFNOSUPPORT, -ENOMEM, ROTA_ENOTASK (this
 * thread has no loop). */
ROTA_API int rota_listener_from_fd(int fd, rota_listener **ret_listener);

/* Finds the descriptors that the service manager has opened for this process: systemd's LISTEN_PID,
 * LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)), which are ignored in programs that run with
 * raised privileges. `name` is the FileDescriptorName= of a socket unit; NULL finds all. Where no
 * names were passed all are called "unknown". All descriptors that were passed are closed on exec
 * from now on.
 *
 *     int fd;
 *     int n = rota_listen_fds("http", &fd, 1);       // 0: not started by a socket
 *     int err = n > 0 ? rota_listener_from_fd(fd, &l) : rota_tcp_listen(NULL, 80, NULL, &l);
 *
 * May be called anywhere, before threads change the environment. It finds the same descriptors each
 * time: take each of them over once.
 *
 * Fills at most `max` places and returns how many there are, which may be more; 0: none; -EINVAL:
 * the variables make no sense; -EBADF: such a descriptor is not open. */
ROTA_API int rota_listen_fds(const char *name, int *ret_fds, size_t max);

/* The port on which it listens: the one that was free where 0 was asked for. 0 for a Unix
 * socket. */
ROTA_API int rota_listener_port(const rota_listener *listener);

/* Waits for a connection. Connections that end before they are accepted are passed over.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, -EBUSY (another task accepts), ROTA_ECLOSED, -EMFILE, -ENFILE,
 * -ENOBUFS, -ENOMEM: after these the connection is still waiting, unless memory for the stream was
 * what failed. */
ROTA_SUSPENDS int rota_accept(rota_listener *listener, rota_stream **ret_stream);

/* Stops listening: peers are refused, a call of rota_accept or rota_serve under way ends with
 * ROTA_ECLOSED. Shields itself. */
ROTA_SUSPENDS_SHIELDED void rota_listener_close(rota_listener *listener);
/* Closes and frees the listener; not before rota_serve has returned. Accepts NULL, returns NULL;
 * what ROTA_AUTO(rota_listener) calls. */
ROTA_SUSPENDS_SHIELDED rota_listener *rota_listener_free(rota_listener *listener);
ROTA_DEFINE_AUTO(rota_listener, rota_listener_free);

/* ---- Serving ---- */

/* Runs in a task of its own for each connection. The stream is closed and freed when it returns. */
typedef int rota_serve_fn(rota_stream *s, void *arg);

typedef struct rota_serve_options {
    size_t connections; /* at most so many at once, further ones wait in the backlog; 65536 */
    rota_time grace;    /* how long they may go on when serving ends; 0: cancelled at once */
    /* Called when serving ends, with the reason that rota_serve is going to return: the listener is
     * closed and `grace` begins, so handlers can be told. Must not suspend. */
    void (*stopping)(void *arg, int err);
    void *stopping_arg;
} rota_serve_options;

/* Accepts connections and runs handler(stream, arg) for each, until it is cancelled, timed out, or
 * the listener is closed. Then the listener is closed, the handlers have `grace` to end, are
 * cancelled, and are waited for.
 *
 * A handler that fails ends its own connection only; the log hook is told. Without descriptors or
 * memory for another connection it pauses, says so once, and goes on when there are some.
 *
 * Returns -ECANCELED, -ETIMEDOUT, ROTA_ECLOSED, ROTA_ENOTASK, -EBUSY, or an error of accept(2) that
 * does not pass. */
ROTA_SUSPENDS int rota_serve(rota_listener *listener, rota_serve_fn *handler, void *arg,
                             const rota_serve_options *options);

#ifdef __cplusplus
}
#endif

#endif
