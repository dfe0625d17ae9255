/* Load for the UDP echo servers: one epoll loop, N sockets, a window of datagrams of 1 KiB under
 * way on each.
 *
 *     udp_load PORT SOCKETS WINDOW DATAGRAMS
 *
 * Warms up, prints `ready` and waits for a line on standard input; then has DATAGRAMS answered and
 * prints how many were. The driver reads the server's CPU time at both pauses.
 *
 * Datagrams may be lost: when nothing was heard for a while, what is under way is counted as lost
 * and its places in the windows are used again. More than one in a hundred lost ends the
 * program. */
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_WORDS 256
#define DATAGRAM_SIZE (DATAGRAM_WORDS * sizeof(uint32_t))
#define WINDOW_MAX 64
#define SILENCE_MS 50

struct sender {
    int fd;
    unsigned under_way;
    uint32_t bytes[DATAGRAM_WORDS]; /* the first word is the number of the datagram */
};

struct load {
    int epoll;
    unsigned count, window;
    struct sender *senders;
    uint64_t answered, lost;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "udp_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Fills the window of a sender. */
static void send_more(struct load *load, struct sender *s)
{
    for (; s->under_way < load->window; s->under_way++) {
        s->bytes[0]++;
        if (send(s->fd, s->bytes, DATAGRAM_SIZE, 0) != (ssize_t)DATAGRAM_SIZE)
            fail("send");
    }
}

/* Anything but a datagram of this sender's, sent not long ago, is an error. An answer that was
 * given up as lost may still arrive. */
static void check(const struct sender *s, const uint32_t *bytes, size_t length)
{
    if (length == DATAGRAM_SIZE && s->bytes[0] - bytes[0] < 4 * WINDOW_MAX &&
        memcmp(bytes + 1, s->bytes + 1, DATAGRAM_SIZE - sizeof *bytes) == 0)
        return;
    fputs("udp_load: the echo differs from what was sent\n", stderr);
    exit(1);
}

static void receive(struct load *load, struct sender *s)
{
    uint32_t bytes[DATAGRAM_WORDS];
    ssize_t n;

    while ((n = recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT)) >= 0) {
        check(s, bytes, (size_t)n);
        load->answered++;
        if (s->under_way > 0)
            s->under_way--;
    }
    if (errno != EAGAIN)
        fail("recv");
}

static void give_up(struct load *load, uint64_t wanted)
{
    for (unsigned i = 0; i < load->count; i++) {
        load->lost += load->senders[i].under_way;
        load->senders[i].under_way = 0;
    }
    if (load->lost <= wanted / 100 + 2 * load->count * load->window)
        return;
    fputs("udp_load: too many datagrams were lost\n", stderr);
    exit(1);
}

/* Receives what is there, or waits for it; returns 0 when nothing was heard for a while. */
static int hear(struct load *load)
{
    struct epoll_event events[64];
    int n = epoll_wait(load->epoll, events, 64, SILENCE_MS);

    for (int i = 0; i < n; i++)
        receive(load, events[i].data.ptr);
    return n != 0;
}

static unsigned under_way(const struct load *load)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < load->count; i++)
        sum += load->senders[i].under_way;
    return sum;
}

/* Has `wanted` datagrams answered, and waits for what is under way beyond them. */
static void run(struct load *load, uint64_t wanted)
{
    uint64_t until = load->answered + wanted;

    while (load->answered < until) {
        for (unsigned i = 0; i < load->count; i++)
            send_more(load, &load->senders[i]);
        if (!hear(load))
            give_up(load, wanted);
    }
    while (under_way(load) > 0 && hear(load))
        ;
}

static void open_sender(struct load *load, unsigned index, uint16_t port)
{
    struct sender *s = &load->senders[index];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, s->fd, &event) < 0)
        fail("epoll_ctl");
    for (uint32_t i = 1; i < DATAGRAM_WORDS; i++)
        s->bytes[i] = index * 2654435761u + i;
}

int main(int argc, char **argv)
{
    char line[16];

    if (argc != 5) {
        fputs("usage: udp_load PORT SOCKETS WINDOW DATAGRAMS\n", stderr);
        return 2;
    }
    struct load load = {.epoll = epoll_create1(EPOLL_CLOEXEC),
                        .count = (unsigned)strtoul(argv[2], NULL, 10),
                        .window = (unsigned)strtoul(argv[3], NULL, 10)};
    load.senders = calloc(load.count, sizeof *load.senders);
    if (!load.senders || load.window > WINDOW_MAX)
        fail("sockets");
    for (unsigned i = 0; i < load.count; i++)
        open_sender(&load, i, (uint16_t)atoi(argv[1]));
    run(&load, (uint64_t)load.count * load.window);
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    uint64_t before = load.answered;
    run(&load, strtoull(argv[4], NULL, 10));
    printf("%llu\n", (unsigned long long)(load.answered - before));
    return 0;
}
