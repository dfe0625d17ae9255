/* The limit of the proxy table: the shortest level-triggered epoll loop that forwards both
 * directions, one read and one write a message. It leaves out what a real proxy cannot: half-close,
 * timeouts, and a peer that does not keep up (a short write ends the pair).
 *
 *     raw_epoll_proxy TARGET_PORT */
#include "loopback.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#define DESCRIPTORS 65536

static char buffer[16384];
static int peer_of[DESCRIPTORS];
static int epoll, listener;
static struct sockaddr_in target = {.sin_family = AF_INET};

static void watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

/* Over loopback a connect succeeds or fails at once, so it may block. */
static void pair(int client)
{
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (client >= DESCRIPTORS || server < 0 || server >= DESCRIPTORS ||
        connect(server, (struct sockaddr *)&target, sizeof target) < 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    peer_of[client] = server;
    peer_of[server] = client;
    watch(client);
    watch(server);
}

/* The peer's descriptor stays open until its own end is seen, so that events already fetched for it
 * cannot hit a new connection. */
static void forward(int fd)
{
    ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0 && send(peer_of[fd], buffer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) == n)
        return;
    shutdown(peer_of[fd], SHUT_RDWR);
    close(fd);
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    int fd;

    if (argc < 2) {
        fputs("usage: raw_epoll_proxy TARGET_PORT\n", stderr);
        return 2;
    }
    target.sin_port = htons((uint16_t)atoi(argv[1]));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listener = loopback_serve(SOCK_STREAM, SOCK_NONBLOCK);
    watch(listener);
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd != listener)
                forward(events[i].data.fd);
            else
                while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                    pair(fd);
        }
    }
}
