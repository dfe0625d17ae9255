/* The limit of the echo table: the shortest epoll loop that does the work, level-triggered, one read
 * and one write a request. It leaves out what a real server cannot: a connection whose peer does not
 * keep up (a short write) is dropped. */
#include "loopback.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

static char buffer[16384];

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void accept_all(int epoll, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        watch(epoll, fd);
    }
}

static void echo(int fd)
{
    ssize_t n = read(fd, buffer, sizeof buffer);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
        close(fd);
}

int main(void)
{
    struct epoll_event events[256];
    int listener = loopback_serve(SOCK_STREAM, SOCK_NONBLOCK);
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    watch(epoll, listener);
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                echo(events[i].data.fd);
        }
    }
}
