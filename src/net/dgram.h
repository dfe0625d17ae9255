/* Inside net: what UDP and Unix datagram sockets share. */
#ifndef ROTA__NET_DGRAM_H
#define ROTA__NET_DGRAM_H

#include "net/unix.h"

#include <rota/dgram.h>

struct rota_dgram {
    struct rota__gate gate;
    struct rota__fd fd;
    struct rota__list senders;  /* tasks that wait for their turn to send */
    struct rota__wait *pausing; /* the sender, if no event reports room */
    unsigned places;            /* how many datagrams the next call prepares to receive */
    rota_address local;
    struct rota__unix_file file; /* of a Unix socket */
};

/* Makes the object of a socket that is bound. Takes over `fd` if it succeeds. */
int rota__dgram_new(int fd, const struct rota__unix_file *file, rota_dgram **ret_socket);
/* Sets the kernel's buffers where they are not 0. */
int rota__dgram_set_buffers(int fd, int receive, int send);

#endif
