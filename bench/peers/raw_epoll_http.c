/* The limit of the HTTP table: the same bytes for every read that ends a head. Nothing is parsed,
 * and a connection whose head comes in two pieces, or whose peer does not keep up, is dropped. */
#include "raw_epoll.h"

#include <errno.h>
#include <string.h>

static const char reply[] = "HTTP/1.1 200 OK\r\n"
                            "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                            "Content-Type: text/plain\r\n"
                            "Content-Length: 25\r\n\r\n"
                            "Hello from the benchmark\n";
static char buffer[16384];

static void answer(int fd)
{
    ssize_t n = read(fd, buffer, sizeof buffer);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 4 || memcmp(buffer + n - 4, "\r\n\r\n", 4) != 0 ||
        send(fd, reply, sizeof reply - 1, MSG_NOSIGNAL) != sizeof reply - 1)
        close(fd);
}

int main(void)
{
    serve(answer);
}
