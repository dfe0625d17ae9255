/* The limit of the echo table: the shortest program that does the work, one read and one write a
 * request. It leaves out what a real server cannot: a connection whose peer does not keep up (a
 * short write) is dropped. */
#include "raw_epoll.h"

#include <errno.h>

static char buffer[16384];

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
    serve(echo);
}
