/* Messages from one loop to another, each on a thread of its own, pipelined through a channel:
 * prints nanoseconds a message, the best of several repeats.
 *
 *     messages_rota MESSAGES [REPEATS] */
#include "peers/clock.h"

#include <rota.h>

#include <stdlib.h>

#define CAPACITY 1024

static struct {
    rota_sender *tx;
    rota_receiver *rx;
    uint64_t count;
} line;

static void must(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "messages_rota: %s: %s\n", what, rota_strerror(err));
    exit(1);
}

static int send_all(void)
{
    for (uint64_t n = 0; n < line.count; n++)
        must(rota_channel_send(line.tx, &n), "send");
    rota_sender_unref(line.tx);
    return 0;
}

static int receive_all(void)
{
    uint64_t message, n = 0;
    int err;

    while ((err = rota_channel_receive(line.rx, &message)) == 0)
        must(message == n++ ? 0 : -EBADMSG, "message");
    must(err == ROTA_ECLOSED && n == line.count ? 0 : -EBADMSG, "receive");
    rota_receiver_unref(line.rx);
    return 0;
}

static int worker(void *arg)
{
    return rota_worker_index() == 0 ? send_all() : receive_all();
}

static void messages(uint64_t count)
{
    line.count = count;
    must(rota_channel_new(CAPACITY, sizeof(uint64_t), &line.tx, &line.rx), "channel");
    must(rota_run_workers_with(2, worker, NULL, &(rota_workers_options){.pin = true}), "workers");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: messages_rota MESSAGES [REPEATS]\n", stderr);
        return 2;
    }
    clock_best(messages, strtoull(argv[1], NULL, 10), argc > 2 ? atoi(argv[2]) : 5);
    return 0;
}
