/* What rota's servers have in common: the port that is announced, and the exit status. */
#ifndef SERVING_H
#define SERVING_H

#include <rota.h>

#include <stdio.h>

static inline void announce(int port)
{
    printf("port %d\n", port);
    fflush(stdout);
}

static inline int listen_and_announce(rota_listener **ret_listener)
{
    int err = rota_tcp_listen("127.0.0.1", 0, NULL, ret_listener);
    if (err == 0)
        announce(rota_listener_port(*ret_listener));
    return err;
}

static inline int exit_status(int err)
{
    if (err < 0)
        fprintf(stderr, "%s\n", rota_strerror(err));
    return err < 0;
}

#endif
