/* A socket on a free loopback port, announced on standard output as `port N`: how every server of
 * the benchmarks tells its driver where it is. */
#pragma once

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* A listener for TCP (SOCK_STREAM) or a socket for UDP (SOCK_DGRAM); `flags` as socket(2) takes
 * them. Returns the descriptor; ends the program when no socket can be had. */
static inline int loopback_serve(int type, int flags)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | flags, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        (type == SOCK_STREAM && listen(fd, 1024) < 0) ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        perror("a socket on 127.0.0.1");
        exit(1);
    }
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}
