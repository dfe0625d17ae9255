/* What the raw epoll servers share: the shortest loop that accepts, level-triggered, and hands on
 * what can be read. */
#pragma once

#include "loopback.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

static inline void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static inline void accept_all(int epoll, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        watch(epoll, fd);
    }
}

/* Calls `readable` with each connection that is. */
static inline _Noreturn void serve(void (*readable)(int fd))
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
                readable(events[i].data.fd);
        }
    }
}
