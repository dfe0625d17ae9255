/* The limit of the UDP table: recvmmsg and sendmmsg under epoll, as many datagrams at once as have
 * arrived. It leaves out what a real server cannot: datagrams that the socket does not take at once
 * are dropped. */
#include "loopback.h"

#include <sys/epoll.h>

#define BATCH 64
#define DATAGRAM_MAX 2048

static char buffers[BATCH][DATAGRAM_MAX];
static struct sockaddr_in senders[BATCH];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static void expect_any(void)
{
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){.iov_base = buffers[i], .iov_len = DATAGRAM_MAX};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &senders[i],
                                              .msg_namelen = sizeof senders[i],
                                              .msg_iov = &vectors[i],
                                              .msg_iovlen = 1};
    }
}

/* Only what the kernel wrote is put back: the others are still as they were. */
static void echo(int fd)
{
    int n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);

    if (n <= 0)
        return;
    for (int i = 0; i < n; i++)
        vectors[i].iov_len = messages[i].msg_len;
    sendmmsg(fd, messages, (unsigned)n, MSG_DONTWAIT);
    for (int i = 0; i < n; i++) {
        vectors[i].iov_len = DATAGRAM_MAX;
        messages[i].msg_hdr.msg_namelen = sizeof senders[i];
    }
}

int main(void)
{
    int fd = loopback_serve(SOCK_DGRAM, SOCK_NONBLOCK);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        perror("epoll_ctl");
        return 1;
    }
    expect_any();
    for (;;)
        if (epoll_wait(epoll, &event, 1, -1) > 0)
            echo(fd);
}
