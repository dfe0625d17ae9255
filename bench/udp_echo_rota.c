/* rota's side of the UDP echo table: what is there is received in one call, and goes back in
 * one. */
#include "serving.h"

#include <stdlib.h>

enum { BATCH = 64, SIZE = 2048 };

static int echo(void *arg)
{
    static char room[BATCH][SIZE];
    rota_packet packets[BATCH];
    ROTA_AUTO(rota_dgram) s = NULL;
    int n = rota_udp_open("127.0.0.1", *(int *)arg, NULL, &s);

    if (n < 0)
        return n;
    announce(rota_dgram_port(s));
    for (int i = 0; i < BATCH; i++)
        packets[i] = (rota_packet){.data = room[i], .size = SIZE};
    while (n >= 0) {
        n = rota_dgram_receive_many(s, packets, BATCH);
        if (n > 0)
            n = rota_dgram_send_many(s, packets, (size_t)n);
    }
    return n;
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 0;
    return exit_status(rota_run(echo, &port));
}
