/* The least a client can do: GETs over connections that are kept, one epoll loop, a parser that
 * trusts. Prints CPU and wall time in nanoseconds.
 *
 *     raw_http_client URL REQUESTS CONNECTIONS */
#include "clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
    int fd;
    size_t len;
    char buf[16384];
};

static char request[512];
static size_t request_len;
static long left, answers;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void ask(struct connection *c)
{
    c->len = 0;
    if (write(c->fd, request, request_len) != (ssize_t)request_len)
        die("write");
}

/* Whether the answer is complete, and a good one. */
static int is_complete(struct connection *c)
{
    c->buf[c->len] = '\0';
    char *end = strstr(c->buf, "\r\n\r\n");
    if (!end)
        return 0;
    char *length = strcasestr(c->buf, "\r\nContent-Length:");
    if (!length || memcmp(c->buf, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "raw_http_client: another answer\n");
        exit(1);
    }
    size_t all = (size_t)(end + 4 - c->buf) + strtoul(length + 17, NULL, 10);
    return c->len >= all;
}

static void on_readable(struct connection *c)
{
    ssize_t n = read(c->fd, c->buf + c->len, sizeof c->buf - 1 - c->len);
    if (n <= 0)
        die("read");
    c->len += (size_t)n;
    if (!is_complete(c))
        return;
    answers++;
    if (left-- > 0)
        ask(c);
}

static int connect_to(const char *host, int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int main(int argc, char **argv)
{
    char host[64], path[256] = "/";
    int port;
    if (argc != 4 || sscanf(argv[1], "http://%63[0-9.]:%d%255s", host, &port, path) < 2) {
        fprintf(stderr, "usage: raw_http_client URL REQUESTS CONNECTIONS\n");
        return 2;
    }
    long requests = atol(argv[2]), count = atol(argv[3]);
    /* The same fields as the others send. */
    request_len =
        (size_t)snprintf(request, sizeof request,
                         "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: raw/1\r\nAccept: */*\r\n"
                         "Accept-Encoding: gzip, deflate, br\r\n\r\n",
                         path, host, port);
    uint64_t cpu = clock_cpu_ns(), wall = clock_ns();
    int epoll = epoll_create1(0);
    left = requests;
    for (long i = 0; i < count; i++) {
        struct connection *c = calloc(1, sizeof *c);
        c->fd = connect_to(host, port);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
        if (left-- > 0)
            ask(c);
    }
    while (answers < requests) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++)
            on_readable(events[i].data.ptr);
    }
    printf("%llu %llu\n", (unsigned long long)(clock_cpu_ns() - cpu),
           (unsigned long long)(clock_ns() - wall));
    return 0;
}
