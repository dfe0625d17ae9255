/* dgram: datagram sockets, UDP and Unix. A datagram is a message that arrives whole or not at all.
 *
 *     static int echo(void *arg)
 *     {
 *         static char room[32][2048];
 *         rota_packet packets[32];
 *         ROTA_AUTO(rota_dgram) s = NULL;
 *         int n = rota_udp_open("localhost", 0, NULL, &s);
 *         if (n == 0)
 *             *(int *)arg = rota_dgram_port(s);
 *         for (int i = 0; i < 32; i++)
 *             packets[i] = (rota_packet){.data = room[i], .size = sizeof room[i]};
 *         while (n >= 0) {
 *             n = rota_dgram_receive_many(s, packets, 32);      // what is there, at least one
 *             if (n > 0)
 *                 n = rota_dgram_send_many(s, packets, (size_t)n); // back where they came from
 *         }
 *         return n;
 *     }
 *
 *     static ssize_t ask(int port, char *ret_reply, size_t len)
 *     {
 *         ROTA_AUTO(rota_dgram) s = NULL;
 *         int err = rota_udp_connect("localhost", port, NULL, &s);
 *         if (err == 0)
 *             err = rota_dgram_send(s, "hello", 5, NULL);
 *         return err < 0 ? err : rota_dgram_receive(s, ret_reply, len, NULL);
 *     }
 *
 * UDP datagrams may be lost, duplicated and reordered, so set a deadline when you wait for a reply.
 * A datagram may be empty: receiving 0 bytes does not mean an end.
 *
 * One task may receive at a time; another one gets -EBUSY. Any number of tasks may send; when the
 * kernel has no room, they send in turn.
 *
 * A connected socket exchanges datagrams only with its peer. It also reports errors from the
 * network: -ECONNREFUSED says that an earlier datagram reached a port where no socket was open. The
 * next call, whichever it is, returns such an error once; the socket stays usable. If several
 * errors arrive, the kernel keeps only the last one. */
#ifndef ROTA_DGRAM_H
#define ROTA_DGRAM_H

#include <rota/unix.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_dgram rota_dgram;

/* ---- UDP ---- */

/* Zero selects the default of each field. */
typedef struct rota_udp_options {
    /* Allow other sockets on the same port, and share the incoming datagrams with them. */
    bool reuse_port;
    /* "::" and the NULL host receive nothing over IPv4. */
    bool v6only;
    /* Allow sending to broadcast addresses. */
    bool broadcast;
    /* Hop limit of outgoing datagrams. Default: the system's, usually 64. */
    int ttl;
    /* Hop limit of outgoing multicast datagrams. Default: 1. */
    int multicast_ttl;
    /* Do not deliver outgoing multicast datagrams to members on this machine. */
    bool multicast_away;
    /* Interface for outgoing multicast datagrams. Default: the one that routing selects. */
    const char *multicast_interface;
    /* Bytes that the kernel buffers for datagrams not yet received. Default: the system's; maximum:
     * net.core.rmem_max. */
    int receive_buffer;
    /* Bytes that the kernel buffers for datagrams not yet sent. Default: the system's; maximum:
     * net.core.wmem_max. */
    int send_buffer;
    /* Connecting: local address, a literal. By default the kernel chooses. */
    const char *bind;
    /* Connecting: local port. By default the kernel chooses. */
    int bind_port;
} rota_udp_options;

/* Opens a socket at the first address of `host` that this machine has. NULL or "" stands for every
 * address, of IPv4 and, where there is IPv6, of both. Port 0 selects a free port. `options` may be
 * NULL.
 *
 * Returns 0, an error of rota_resolve, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -ENODEV (no such
 * interface), -EINVAL (a negative buffer size), -EMFILE, or another error of bind(2) or
 * setsockopt(2). */
ROTA_SUSPENDS int rota_udp_open(const char *host, int port, const rota_udp_options *options,
                                rota_dgram **ret_socket);

/* Opens a socket whose peer is the first address of `host` to which there is a route. Connecting
 * sends nothing, so it succeeds even if the peer does not exist. `options` may be NULL.
 *
 * Returns 0, an error of rota_udp_open, -EINVAL (`bind` is not a literal address), -ENETUNREACH,
 * -EHOSTUNREACH. */
ROTA_SUSPENDS int rota_udp_connect(const char *host, int port, const rota_udp_options *options,
                                   rota_dgram **ret_socket);

/* rota_udp_join joins a multicast group, and rota_udp_leave leaves it. `group` is a literal
 * address. `interface` is a name such as "eth0"; NULL selects the interface by routing. A socket
 * may be in many groups. Closing the socket leaves all of them.
 *
 * Returns 0, -EINVAL (not a multicast address), -ENODEV (no such interface, or no route),
 * -EADDRINUSE (join: the socket is already in the group), -EADDRNOTAVAIL (leave: the socket is not
 * in the group), -ENOBUFS (in too many groups), ROTA_ECLOSED, ROTA_ETHREAD. */
ROTA_API int rota_udp_join(rota_dgram *s, const char *group, const char *interface);
ROTA_API int rota_udp_leave(rota_dgram *s, const char *group, const char *interface);

/* ---- Unix sockets ---- */

typedef struct rota_unix_dgram_options {
    /* Permissions of the socket's file, such as 0600, regardless of the umask. Default: 0777
     * limited by the umask. */
    unsigned mode;
    /* As in rota_udp_options. */
    int receive_buffer;
    /* As in rota_udp_options; also limits the size of a datagram. */
    int send_buffer;
    /* Connecting: local path or abstract name. Default: a free abstract name. */
    const char *bind;
} rota_unix_dgram_options;

/* Opens a socket at a path or an abstract name, as described in rota/unix.h. NULL selects a free
 * abstract name, to which replies can be sent.
 *
 * Returns as rota_unix_listen does; also -EINVAL for a negative buffer size. */
ROTA_SUSPENDS int rota_unix_dgram_open(const char *path, const rota_unix_dgram_options *options,
                                       rota_dgram **ret_socket);

/* Opens a socket whose peer is the socket at `path`. Returns as rota_unix_dgram_open does; also
 * -ECONNREFUSED (no process has the peer open), -ENOENT, -EPROTOTYPE (the peer is not a datagram
 * socket), -EPERM (the peer is connected to another socket). */
ROTA_SUSPENDS int rota_unix_dgram_connect(const char *path, const rota_unix_dgram_options *options,
                                          rota_dgram **ret_socket);

/* ---- One datagram ---- */

/* Sends a datagram to `to`, or to the peer if `to` is NULL. Suspends while the kernel has no room
 * for it, and with Unix sockets while the receiver has no room. `buf` is borrowed until return.
 *
 * Returns 0, -EMSGSIZE (too long), -EDESTADDRREQ (there is no peer), -ECONNREFUSED or another error
 * of send(2), -ECANCELED, -ETIMEDOUT, ROTA_ECLOSED, ROTA_ENOTASK, ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_dgram_send(rota_dgram *s, const void *buf, size_t len,
                                  const rota_address *to);

/* Receives a datagram into `buf`, and the sender's address into `ret_from`, which may be NULL.
 * Suspends until a datagram arrives. On cancellation no datagram is lost: if one arrived first, the
 * call returns it, and the cancellation arrives at the next suspending call.
 *
 * Returns the length, which may be 0; -EMSGSIZE (the datagram was longer than `len`, and was
 * dropped), -ECANCELED, -ETIMEDOUT, -EBUSY (another task is receiving), ROTA_ECLOSED, ROTA_ENOTASK,
 * ROTA_ETHREAD, or an error of recv(2), such as -ECONNREFUSED, after which the next call may
 * succeed. */
ROTA_SUSPENDS ssize_t rota_dgram_receive(rota_dgram *s, void *buf, size_t len,
                                         rota_address *ret_from);

/* ---- Several at once ---- */

typedef struct rota_packet {
    /* The bytes, in your memory. */
    void *data;
    /* Receiving: room at `data`, in bytes. */
    size_t size;
    /* Number of bytes at `data`. */
    size_t len;
    /* Receiving: number of bytes that did not fit and were dropped. */
    size_t cut;
    /* Sender or receiver; an address with `len` 0 stands for the peer. */
    rota_address address;
} rota_packet;

/* Receives the datagrams that have arrived, in one system call: at least one, and at most `count`
 * or 64, whichever is less. After a quiet time a call takes fewer and leaves the rest to the next
 * call. Sets `len`, `cut` and `address` of each packet received.
 *
 * Returns the number of datagrams, or an error as rota_dgram_receive does; -EINVAL (`count` is 0).
 * A datagram that is too long is cut instead of returning -EMSGSIZE. */
ROTA_SUSPENDS int rota_dgram_receive_many(rota_dgram *s, rota_packet *packets, size_t count);

/* Sends datagrams in order, in as few system calls as the kernel allows. Packets that were received
 * can be passed unchanged: they are sent back to their senders.
 *
 * Returns the number of datagrams sent. If it is less than `count`, the next datagram failed; call
 * again with the rest to get its error. If the first one fails, returns as rota_dgram_send does;
 * -EINVAL (`count` is 0 or above INT_MAX). */
ROTA_SUSPENDS int rota_dgram_send_many(rota_dgram *s, const rota_packet *packets, size_t count);

/* ---- Descriptors, by Unix sockets ---- */

/* Sends a datagram together with duplicates of the descriptors in `fds`. Returns as rota_dgram_send
 * does; -EINVAL (too many descriptors), -EBADF (one is not open), -ETOOMANYREFS (too many
 * descriptors are in flight), -EOPNOTSUPP (not a Unix socket). */
ROTA_SUSPENDS int rota_dgram_send_fds(rota_dgram *s, const rota_packet *packet,
                                      const rota_fds *fds);

/* Receives a datagram and the descriptors that came with it. The descriptors are yours and are
 * closed on exec. (The other receiving calls close such descriptors.) `fds->cut` says that some
 * were lost, as with rota_unix_receive_fds.
 *
 * Returns 0, or an error as rota_dgram_receive does; -EOPNOTSUPP (not a Unix socket). */
ROTA_SUSPENDS int rota_dgram_receive_fds(rota_dgram *s, rota_packet *packet, rota_fds *fds);

/* ---- The whole ---- */

/* Makes a datagram socket from a descriptor (UDP or Unix) and takes ownership of the descriptor.
 * rota_listen_fds finds descriptors that a service manager passed.
 *
 * Returns 0, or an error, and then the descriptor is still yours: -EBADF, -ENOTSOCK, -EPROTOTYPE
 * (not a datagram socket), -EAFNOSUPPORT, -ENOMEM, ROTA_ENOTASK (this thread has no loop). */
ROTA_API int rota_dgram_from_fd(int fd, rota_dgram **ret_socket);

/* Returns the local address; valid until the socket is freed. */
ROTA_API const rota_address *rota_dgram_local(const rota_dgram *s);
/* Returns the local port; 0 for a Unix socket. */
ROTA_API int rota_dgram_port(const rota_dgram *s);

/* Closes the socket and removes its file, if it has one. Calls of other tasks on the socket return
 * ROTA_ECLOSED. Shields itself. Closing again does nothing. */
ROTA_SUSPENDS_SHIELDED void rota_dgram_close(rota_dgram *s);
/* Closes and frees the socket. Accepts NULL, returns NULL. ROTA_AUTO(rota_dgram) calls this. */
ROTA_SUSPENDS_SHIELDED rota_dgram *rota_dgram_free(rota_dgram *s);
ROTA_DEFINE_AUTO(rota_dgram, rota_dgram_free);

#ifdef __cplusplus
}
#endif

#endif
