/* Load for the echo servers: one epoll loop, N connections, one message of 1 KiB in flight on each.
 *
 *     load PORT CONNECTIONS REQUESTS [websocket]     the messages as they are, or in frames of RFC
 *                                                    6455
 *
 * Connects, sends one round to warm up, prints `ready` and waits for a line on standard input; then
 * makes REQUESTS round trips, prints their count, and holds the connections until its input ends.
 * The driver reads the server's CPU time at both pauses, so connecting and closing are not counted.
 *
 * Each message carries its connection and its number, and every byte that comes back is
 * compared. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_SIZE 1024
#define MESSAGE_WORDS (MESSAGE_SIZE / sizeof(uint32_t))
#define HEAD_WORDS 2

struct connection {
    int fd;
    size_t received;
    uint32_t sent[HEAD_WORDS + MESSAGE_WORDS], awaited[HEAD_WORDS + MESSAGE_WORDS];
    char echoed[(HEAD_WORDS + MESSAGE_WORDS) * sizeof(uint32_t)];
};

struct load {
    int epoll;
    struct connection *connections;
    uint32_t count;
    bool is_websocket;
    /* What goes in front of a message, and of its echo, in words. */
    size_t sent_head, awaited_head;
    uint32_t mask;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void set_word(const struct load *load, struct connection *c, size_t at, uint32_t word)
{
    c->awaited[load->awaited_head + at] = word;
    c->sent[load->sent_head + at] = word ^ load->mask;
}

static void send_message(const struct load *load, struct connection *c)
{
    ssize_t size = (ssize_t)(load->sent_head * sizeof(uint32_t) + MESSAGE_SIZE);

    c->received = 0;
    set_word(load, c, 1, c->awaited[load->awaited_head + 1] + 1);
    if (write(c->fd, c->sent, (size_t)size) != size)
        fail("write");
}

/* Returns 1 once the whole echo of the last message has arrived. */
static int receive(const struct load *load, struct connection *c)
{
    size_t size = load->awaited_head * sizeof(uint32_t) + MESSAGE_SIZE;
    ssize_t n = read(c->fd, c->echoed + c->received, size - c->received);

    if (n == 0)
        errno = ECONNRESET;
    if (n <= 0)
        fail("read");
    c->received += (size_t)n;
    if (c->received < size)
        return 0;
    if (memcmp(c->echoed, c->awaited, size) != 0) {
        fputs("load: the echo differs from what was sent\n", stderr);
        exit(1);
    }
    return 1;
}

/* Makes `requests` round trips; at least one a connection. */
static void run(struct load *load, uint64_t requests)
{
    struct epoll_event events[256];
    uint64_t started = 0, finished = 0;

    while (started < load->count)
        send_message(load, &load->connections[started++]);
    while (finished < started) {
        int n = epoll_wait(load->epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!receive(load, c))
                continue;
            finished++;
            if (started < requests) {
                started++;
                send_message(load, c);
            }
        }
    }
}

/* The head of a frame of a binary message of 1 KiB, and in a client's its mask. */
static void be_websocket(struct load *load)
{
    load->is_websocket = true;
    load->sent_head = 2;
    load->awaited_head = 1;
    memcpy(&load->mask, "mask", 4);
}

static void shake_hands(const struct load *load, struct connection *c)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n"
                                  "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                                  "Sec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    char reply[4096] = "";
    size_t size = 0;

    if (write(c->fd, request, sizeof request - 1) != sizeof request - 1)
        fail("write");
    while (!strstr(reply, "\r\n\r\n")) {
        ssize_t n = read(c->fd, reply + size, sizeof reply - 1 - size);
        if (n <= 0)
            fail("handshake");
        size += (size_t)n;
    }
    if (strncmp(reply, "HTTP/1.1 101 ", 13) != 0) {
        fprintf(stderr, "load: no WebSocket: %s\n", reply);
        exit(1);
    }
    memcpy(c->sent, "\x82\xfe\x04\x00", 4);
    memcpy(c->sent + 1, &load->mask, 4);
    memcpy(c->awaited, "\x82\x7e\x04\x00", 4);
}

static void open_connection(struct load *load, uint32_t index, uint16_t port)
{
    struct connection *c = &load->connections[index];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl");
    for (uint32_t i = 0; i < MESSAGE_WORDS; i++)
        set_word(load, c, i, index * 2654435761u + i);
    if (load->is_websocket)
        shake_hands(load, c);
}

int main(int argc, char **argv)
{
    char line[16];

    if (argc < 4 || argc > 5) {
        fputs("usage: load PORT CONNECTIONS REQUESTS [websocket]\n", stderr);
        return 2;
    }
    struct load load = {.epoll = epoll_create1(EPOLL_CLOEXEC),
                        .count = (uint32_t)strtoul(argv[2], NULL, 10)};
    uint64_t requests = strtoull(argv[3], NULL, 10);
    if (argc == 5)
        be_websocket(&load);
    load.connections = calloc(load.count, sizeof *load.connections);
    if (!load.connections)
        fail("connections");
    if (requests < load.count)
        requests = load.count;
    for (uint32_t i = 0; i < load.count; i++)
        open_connection(&load, i, (uint16_t)atoi(argv[1]));
    run(&load, load.count);
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    run(&load, requests);
    printf("%llu\n", (unsigned long long)requests);
    fflush(stdout);
    (void)!fgets(line, sizeof line, stdin);
    return 0;
}
