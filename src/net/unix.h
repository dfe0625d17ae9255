/* Inside net: files of Unix sockets, and passing of descriptors. */
#ifndef ROTA__NET_UNIX_H
#define ROTA__NET_UNIX_H

#include "net/net.h"

#include <rota/unix.h>

#include <sys/socket.h>

/* The file of a bound socket. All zero: there is none. */
struct rota__unix_file {
    dev_t device;
    ino_t number;
};

enum { ROTA__UNIX_NO_BACKLOG = -1 };

/* Binds `fd` and, unless `backlog` is ROTA__UNIX_NO_BACKLOG, listens. Replaces the file of a dead
 * socket. `mode` 0 leaves it to the umask. Suspends while another server binds in that
 * directory. */
int rota__unix_bind(int fd, const rota_address *address, unsigned mode, int backlog,
                    struct rota__unix_file *ret_file);
/* Removes the file if it is still that one. Before the socket is closed: as long as it is open, no
 * other file gets the number. */
void rota__unix_remove(const rota_address *address, const struct rota__unix_file *file);

/* A listener on a socket that listens. Takes over `fd` if it succeeds. */
int rota__listener_take(int fd, const rota_address *address, const struct rota__unix_file *file,
                        rota_listener **ret_listener);

/* ---- Pauses where no event tells when to try again */

#define ROTA__PAUSE_FIRST ROTA_MILLISECOND
#define ROTA__PAUSE_LONGEST (50 * ROTA_MILLISECOND)

static inline rota_time rota__pause_after(rota_time pause)
{
    return pause < ROTA__PAUSE_LONGEST / 2 ? 2 * pause : ROTA__PAUSE_LONGEST;
}

/* ---- Descriptors that travel */

/* Room for a control message; on the stack. */
struct rota__fds_room {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(ROTA_FDS_MAX * sizeof(int))];
    };
};

/* 0, or -EINVAL, -EOPNOTSUPP (no Unix socket). */
int rota__fds_check(int socket, const rota_fds *fds);
/* Adds descriptors to a message. */
void rota__fds_attach(struct msghdr *msg, const rota_fds *fds, struct rota__fds_room *room);
/* Makes room for those that come. */
void rota__fds_expect(struct msghdr *msg, struct rota__fds_room *room);
/* Takes the descriptors of a message; closes those that do not fit. */
void rota__fds_take(struct msghdr *msg, rota_fds *fds);

#endif
