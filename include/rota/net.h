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
 *         return rota_serve(l, echo, NULL, NULL);    // one task for each connection
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
 * To set a deadline, put a ROTA_TIMEOUT around the call. Addresses that failed, and why, are
 * reported to the log hook at ROTA_LOG_INFO. */
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

/* Writes the address as text into `ret_text`, which must have room for ROTA_ADDRESS_TEXT bytes, and
 * returns `ret_text`. Examples: "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "/run/x.sock",
 * "@abstract"; "unix" for a Unix socket without a name. */
ROTA_API const char *rota_address_text(const rota_address *address, char *ret_text);

/* Finds the addresses of `host`, the preferred one first. Suspends for names that have to be looked
 * up. Literal addresses ("192.0.2.1", "::1", "fe80::1%eth0", "fe80::1%2") and "localhost", which is
 * always this machine, are answered at once. Other names are looked up by getaddrinfo(3) in
 * separate threads. A caller that is cancelled does not wait for the lookup. Callers that ask for
 * the same name at the same time share one lookup.
 *
 * Sixteen lookups run at a time. If some hang, others are started beside them, up to 256; a lookup
 * that all its callers gave up counts as hanging. Neither rota_to_thread nor the end of rota_run
 * waits for lookups.
 *
 * Returns the number of addresses stored, at least 1 and at most `max`; ROTA_ENOHOST (no such
 * name), ROTA_EDNS (the name cannot be looked up now), -EINVAL (an empty name, an invalid port,
 * `max` is 0, or an ASCII host that rota_host_parse refuses: addresses such as 127.1, and every
 * name whose last label is a number, such as "node.1", even if /etc/hosts has it), -ECANCELED,
 * -ETIMEDOUT, ROTA_ENOTASK, -EMFILE, -ENFILE (no descriptor for the lookup), -ENOMEM. */
ROTA_SUSPENDS int rota_resolve(const char *host, int port, rota_address *ret_addresses, size_t max);

/* ---- Connecting ---- */

/* Zero selects the default of each field. */
typedef struct rota_connect_options {
    /* Let the kernel delay small writes (Nagle's algorithm). By default they are sent at once. */
    bool nagle;
    /* Probe the peer after this time without traffic, and give up after twice this time. Default:
     * never. */
    rota_time keepalive;
    /* Local address, a literal. By default the kernel chooses. */
    const char *bind;
    /* Local port. By default the kernel chooses. */
    int bind_port;
} rota_connect_options;

/* Connects to `host`. Suspends until a connection is made. If the host has several addresses they
 * are tried as in RFC 8305: IPv6 and IPv4 in turns, the next one as soon as one has failed or has
 * not answered for 250 ms. The first connection made is used. `options` may be NULL.
 *
 * Returns 0, an error of rota_resolve, -EINVAL (`bind` is not a literal address), -ECANCELED,
 * -ETIMEDOUT, or the error of the last address: -ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH,
 * -EADDRINUSE, -EMFILE, ... */
ROTA_SUSPENDS int rota_tcp_connect(const char *host, int port, const rota_connect_options *options,
                                   rota_stream **ret_stream);

/* Connects to one of `count` addresses, as rota_tcp_connect does to those of a host. Use it if you
 * look names up yourself. Returns 0, -EINVAL (no address, or `bind` is not a literal address),
 * -ECANCELED, -ETIMEDOUT, -ENOMEM, ROTA_ENOTASK, or the error of the last address. */
ROTA_SUSPENDS int rota_tcp_connect_any(const rota_address *addresses, size_t count,
                                       const rota_connect_options *options,
                                       rota_stream **ret_stream);

/* ---- Listening ---- */

typedef struct rota_listener rota_listener;

typedef struct rota_listen_options {
    /* Connections that the kernel holds until they are accepted. Default: SOMAXCONN. */
    int backlog;
    /* Allow other processes to listen on the same port, and share the connections with them. */
    bool reuse_port;
    /* "::" and the NULL host accept no IPv4 connections. */
    bool v6only;
    /* For accepted connections, as in rota_connect_options. */
    bool nagle;
    /* For accepted connections, as in rota_connect_options. */
    rota_time keepalive;
} rota_listen_options;

/* Listens on all addresses of `host` ("localhost" is 127.0.0.1 and ::1). NULL or "" stands for
 * every address of this machine. Port 0 selects a free port, the same for all addresses. Addresses
 * that this machine does not have are skipped as long as one remains. `options` may be NULL.
 *
 * Returns 0, an error of rota_resolve, -EADDRINUSE (the port is taken), -EADDRNOTAVAIL, -EACCES,
 * -EMFILE, or another error of bind(2). */
ROTA_SUSPENDS int rota_tcp_listen(const char *host, int port, const rota_listen_options *options,
                                  rota_listener **ret_listener);

/* Makes a listener from a socket (TCP or Unix) that is listening already, and takes ownership of
 * the descriptor. Freeing the listener leaves the file of a Unix socket in place.
 *
 * Returns 0, or an error, and then the descriptor is still yours: -EBADF, -ENOTSOCK, -EPROTOTYPE
 * (not a stream socket), -EINVAL (it does not listen), -EAFNOSUPPORT, -ENOMEM, ROTA_ENOTASK (this
 * thread has no loop). */
ROTA_API int rota_listener_from_fd(int fd, rota_listener **ret_listener);

/* Finds the descriptors that the service manager passed to this process by systemd's LISTEN_PID,
 * LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)). These variables are ignored in programs that
 * run with raised privileges. `name` is the FileDescriptorName= of a socket unit; NULL finds all
 * descriptors. If no names were passed, all descriptors are called "unknown". The call marks all
 * passed descriptors close-on-exec.
 *
 *     int fd;
 *     int n = rota_listen_fds("http", &fd, 1);       // 0: not started by a socket
 *     int err = n > 0 ? rota_listener_from_fd(fd, &l) : rota_tcp_listen(NULL, 80, NULL, &l);
 *
 * May be called anywhere, before threads change the environment. Every call finds the same
 * descriptors, so make an object from each of them only once.
 *
 * Stores at most `max` descriptors and returns how many there are, which may be more; 0 if there
 * are none; -EINVAL (invalid variables); -EBADF (a passed descriptor is not open). */
ROTA_API int rota_listen_fds(const char *name, int *ret_fds, size_t max);

/* Returns the port on which the listener listens, also if the kernel selected it. 0 for a Unix
 * socket. */
ROTA_API int rota_listener_port(const rota_listener *listener);

/* Waits for a connection. Connections that end before they are accepted are skipped.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, -EBUSY (another task is accepting), ROTA_ECLOSED, -EMFILE,
 * -ENFILE, -ENOBUFS, -ENOMEM. After the last four the connection is still waiting, unless memory
 * for the stream was missing. */
ROTA_SUSPENDS int rota_accept(rota_listener *listener, rota_stream **ret_stream);

/* Stops listening: further connections are refused, and calls of rota_accept or rota_serve under
 * way return ROTA_ECLOSED. Shields itself. */
ROTA_SUSPENDS_SHIELDED void rota_listener_close(rota_listener *listener);
/* Closes and frees the listener. Call it only after rota_serve has returned. Accepts NULL, returns
 * NULL. ROTA_AUTO(rota_listener) calls this. */
ROTA_SUSPENDS_SHIELDED rota_listener *rota_listener_free(rota_listener *listener);
ROTA_DEFINE_AUTO(rota_listener, rota_listener_free);

/* ---- Serving ---- */

/* Handles a connection, in its own task. When it returns, the stream is closed and freed. */
typedef int rota_serve_fn(rota_stream *s, void *arg);

typedef struct rota_serve_options {
    /* Connections at once. Further ones wait in the backlog. Default: 65536. */
    size_t connections;
    /* How long handlers may go on when serving ends. Default: 0, they are cancelled at once. */
    rota_time grace;
    /* Called when serving ends, with the result that rota_serve is going to return. The listener is
     * closed then, and `grace` begins. Use it to tell handlers. Must not suspend. */
    void (*stopping)(void *arg, int err);
    void *stopping_arg;
} rota_serve_options;

/* Accepts connections and runs handler(stream, arg) in a task for each, until the call is cancelled
 * or timed out, or the listener is closed. Then the listener is closed, the handlers have `grace`
 * to end, those left are cancelled, and all are waited for. `options` may be NULL.
 *
 * A handler that fails ends only its own connection; its failure is reported to the log hook as a
 * warning, or at ROTA_LOG_DEBUG if a peer can cause it at any time, such as -ECONNRESET and
 * -ETIMEDOUT.
 * Without descriptors or memory for another connection, accepting pauses, which is reported once,
 * and continues when there are some.
 *
 * Returns -ECANCELED, -ETIMEDOUT, ROTA_ECLOSED, ROTA_ENOTASK, -EBUSY, or a permanent error of
 * accept(2). */
ROTA_SUSPENDS int rota_serve(rota_listener *listener, rota_serve_fn *handler, void *arg,
                             const rota_serve_options *options);

#ifdef __cplusplus
}
#endif

#endif
