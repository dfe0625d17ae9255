/* dgram: datagrams, by UDP or by Unix sockets: messages that arrive whole or not at all.
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
 * UDP datagrams may be lost, doubled and reordered; set a deadline when you wait for a reply. A
 * datagram of no bytes is one, too: receiving 0 bytes is not an end.
 *
 * One task receives at a time (-EBUSY for another). Any number may send; where they have to wait
 * they take turns.
 *
 * A connected socket exchanges datagrams with its peer only, and hears from the network what became
 * of them: -ECONNREFUSED says that nobody was at the port when an earlier one arrived. Such an
 * error is told once, by whichever call comes next, and the socket goes on. The kernel keeps only
 * the last of several. */
#ifndef ROTA_DGRAM_H
#define ROTA_DGRAM_H

#include <rota/unix.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_dgram rota_dgram;

/* ---- UDP ---- */

/* Zero is the default of each field. */
typedef struct rota_udp_options {
    bool reuse_port;     /* other sockets may have the port too, and share what arrives */
    bool v6only;         /* "::" and the NULL host take nothing over IPv4 */
    bool broadcast;      /* sending to broadcast addresses is allowed */
    int ttl;             /* hops of what is sent; the system's, usually 64 */
    int multicast_ttl;   /* hops of what is sent to groups; 1 */
    bool multicast_away; /* what is sent to groups does not come to members on this machine */
    const char *multicast_interface; /* by which it is sent; what routing says */
    /* bytes the kernel keeps until they are received; the system's, and at most */
    int receive_buffer;
    int send_buffer;  /* what it allows: net.core.rmem_max and wmem_max */
    const char *bind; /* connecting: local address, a literal; the kernel chooses */
    int bind_port;    /* connecting: local port; the kernel chooses */
} rota_udp_options;

/* Opens a socket at the first address of `host` that this machine has; NULL or "" is every address,
 * of both families where there is IPv6. Port 0 takes a free one.
 *
 * Returns 0, what rota_resolve returns, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -ENODEV (no such
 * interface), -EINVAL (a buffer below 0), -EMFILE, or another error of bind(2) or setsockopt(2). */
ROTA_SUSPENDS int rota_udp_open(const char *host, int port, const rota_udp_options *options,
                                rota_dgram **ret_socket);

/* Opens a socket whose peer is the first address of `host` to which there is a route. That nobody
 * is there is not known before something was sent.
 *
 * Returns 0, what rota_udp_open returns, -EINVAL (`bind` is no literal), -ENETUNREACH,
 * -EHOSTUNREACH. */
ROTA_SUSPENDS int rota_udp_connect(const char *host, int port, const rota_udp_options *options,
                                   rota_dgram **ret_socket);

/* Takes part in a multicast group, a literal address, or does so no more; on one interface
 * ("eth0"), or NULL for the one that routing names. One socket may be in many groups. Closing
 * leaves all.
 *
 * Returns 0, -EINVAL (no group's address), -ENODEV (no such interface, or no route), -EADDRINUSE
 * (is in it), -EADDRNOTAVAIL (is not in it), -ENOBUFS (in too many), ROTA_ECLOSED, ROTA_ETHREAD. */
ROTA_API int rota_udp_join(rota_dgram *s, const char *group, const char *interface);
ROTA_API int rota_udp_leave(rota_dgram *s, const char *group, const char *interface);

/* ---- Unix sockets ---- */

typedef struct rota_unix_dgram_options {
    /* Of the file, such as 0600, whatever the umask; 0777 without the umask's bits. */
    unsigned mode;
    int receive_buffer; /* as in rota_udp_options */
    int send_buffer;    /* also bounds the size of a datagram */
    const char *bind;   /* connecting: own path or name; a free abstract name */
} rota_unix_dgram_options;

/* Opens a socket at a path or an abstract name, as rota/unix.h says; NULL takes a free abstract
 * name, to which replies can be sent.
 *
 * Returns as rota_unix_listen; -EINVAL also for a buffer below 0. */
ROTA_SUSPENDS int rota_unix_dgram_open(const char *path, const rota_unix_dgram_options *options,
                                       rota_dgram **ret_socket);

/* Opens a socket whose peer is the one at `path`. Returns as rota_unix_dgram_open; -ECONNREFUSED
 * (nobody has it open), -ENOENT, -EPROTOTYPE (it takes connections, not datagrams), -EPERM (it is
 * connected to somebody else). */
ROTA_SUSPENDS int rota_unix_dgram_connect(const char *path, const rota_unix_dgram_options *options,
                                          rota_dgram **ret_socket);

/* ---- One datagram ---- */

/* Sends a datagram, to `to`, or where that is NULL to the peer. Suspends while the kernel has no
 * room for it; with Unix sockets, while the receiver has none. `buf` is borrowed until return.
 *
 * Returns 0, -EMSGSIZE (too long), -EDESTADDRREQ (there is no peer), -ECONNREFUSED and other errors
 * of send(2), -ECANCELED, -ETIMEDOUT, ROTA_ECLOSED, ROTA_ENOTASK, ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_dgram_send(rota_dgram *s, const void *buf, size_t len,
                                  const rota_address *to);

/* Receives a datagram into `buf`; who sent it goes to `ret_from`, which may be NULL. On
 * cancellation nothing is taken; a datagram that won the race is returned, and the cancellation
 * arrives at the next call.
 *
 * Returns its length, which may be 0; -EMSGSIZE (it was longer than `len`, and is gone),
 * -ECANCELED, -ETIMEDOUT, -EBUSY if another task receives, ROTA_ECLOSED, ROTA_ENOTASK,
 * ROTA_ETHREAD, or an error of recv(2), such as -ECONNREFUSED, after which the next call may
 * succeed. */
ROTA_SUSPENDS ssize_t rota_dgram_receive(rota_dgram *s, void *buf, size_t len,
                                         rota_address *ret_from);

/* ---- Several at once ---- */

typedef struct rota_packet {
    void *data;           /* its bytes, in your memory */
    size_t size;          /* receiving: room at `data` */
    size_t len;           /* bytes at `data` */
    size_t cut;           /* receiving: how many more it had; those are gone */
    rota_address address; /* from whom, or to whom; `len` 0 is the peer */
} rota_packet;

/* Receives what is there, at least one and at most `count` or 64, in one system call; after a quiet
 * time fewer, and the rest with the next call. Sets `len`, `cut` and `address` of each.
 *
 * Returns how many, or as rota_dgram_receive; -EINVAL (`count` is 0). */
ROTA_SUSPENDS int rota_dgram_receive_many(rota_dgram *s, rota_packet *packets, size_t count);

/* Sends datagrams in order, in as few system calls as the kernel allows. Those that were received
 * can be sent as they are: they go back.
 *
 * Returns how many went out. Fewer than `count` says that the next one failed: sending the rest
 * tells why. Where the first fails, returns as rota_dgram_send; -EINVAL (`count` is 0). */
ROTA_SUSPENDS int rota_dgram_send_many(rota_dgram *s, const rota_packet *packets, size_t count);

/* ---- Descriptors, by Unix sockets ---- */

/* Sends a datagram with duplicates of `fds`. Returns as rota_dgram_send; -EINVAL (too many), -EBADF
 * (one is not open), -ETOOMANYREFS (too many are under way), -EOPNOTSUPP (no Unix socket). */
ROTA_SUSPENDS int rota_dgram_send_fds(rota_dgram *s, const rota_packet *packet,
                                      const rota_fds *fds);

/* Receives a datagram and the descriptors that came with it, which are yours and are closed on
 * exec; the other calls drop them. `fds->cut` says that some were lost, as with
 * rota_unix_receive_fds.
 *
 * Returns 0, or as rota_dgram_receive; -EOPNOTSUPP (no Unix socket). */
ROTA_SUSPENDS int rota_dgram_receive_fds(rota_dgram *s, rota_packet *packet, rota_fds *fds);

/* ---- The whole ---- */

/* Makes a datagram socket of a descriptor (UDP or Unix) and takes it over; rota_listen_fds finds
 * such.
 *
 * Returns 0, or an error, and then the descriptor is still yours: -EBADF, -ENOTSOCK, -EPROTOTYPE
 * (not a datagram socket), -EAFNOSUPPORT, -ENOMEM, ROTA_ENOTASK (this thread has no loop). */
ROTA_API int rota_dgram_from_fd(int fd, rota_dgram **ret_socket);

/* Where it is; valid as long as the socket. */
ROTA_API const rota_address *rota_dgram_local(const rota_dgram *s);
/* The port of that; 0 for a Unix socket. */
ROTA_API int rota_dgram_port(const rota_dgram *s);

/* Closes the socket: calls of others that are inside end with ROTA_ECLOSED; its file is removed.
 * Shields itself. Closing again does nothing. */
ROTA_SUSPENDS_SHIELDED void rota_dgram_close(rota_dgram *s);
/* Closes and frees it. Accepts NULL, returns NULL; what ROTA_AUTO(rota_dgram) calls. */
ROTA_SUSPENDS_SHIELDED rota_dgram *rota_dgram_free(rota_dgram *s);
ROTA_DEFINE_AUTO(rota_dgram, rota_dgram_free);

#ifdef __cplusplus
}
#endif

#endif
