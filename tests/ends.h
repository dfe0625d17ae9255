/* Streams by twos: what goes in at one end comes out at the other. */
#ifndef ENDS_H
#define ENDS_H

#include "harness.h"
#include "stream/stream.h"

#include <rota/stream.h>

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct ends {
    rota_stream *a, *b;
};

/* In memory. */
static inline struct ends pair_of(size_t capacity)
{
    struct ends e;
    CHECK_OK(rota_stream_pair(capacity, &e.a, &e.b));
    return e;
}

static inline struct ends ends_from(int a, int b)
{
    struct ends e;
    CHECK_OK(rota_stream_from_fd(a, &e.a));
    CHECK_OK(rota_stream_from_fd(b, &e.b));
    return e;
}

static inline struct ends sockets(void)
{
    int fds[2];
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    return ends_from(fds[0], fds[1]);
}

static inline struct ends tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(bind(listener, (struct sockaddr *)&address, len));
    CHECK_OK(listen(listener, 1));
    CHECK_OK(getsockname(listener, (struct sockaddr *)&address, &len));
    int one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(connect(one, (struct sockaddr *)&address, len));
    int other = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    return ends_from(one, other);
}

static inline void free_ends(struct ends *e)
{
    rota_stream_free(e->a);
    rota_stream_free(e->b);
}

static inline void put(rota_stream *s, const char *text)
{
    CHECK_INT(rota_stream_write(s, text, strlen(text)), ==, 0);
}

static inline void expect(rota_stream *s, const char *text)
{
    char got[64] = "";
    CHECK_INT(rota_stream_read_exact(s, got, strlen(text)), ==, 0);
    CHECK_STR(got, text);
}

/* For rota_serve: sends back what comes. */
static inline int echo(rota_stream *s, void *arg)
{
    char buf[16384];
    ssize_t n;
    while ((n = rota_stream_read(s, buf, sizeof buf)) > 0) {
        int err = rota_stream_write(s, buf, (size_t)n);
        if (err < 0)
            return err;
    }
    return (int)n;
}

/* A task that carries what comes out of the first of two streams into the second, until it ends. */
static inline int pump(void *arg)
{
    rota_stream **ends = arg;
    char buf[4096];
    ssize_t n;
    while ((n = rota_stream_read(ends[0], buf, sizeof buf)) > 0 &&
           rota_stream_write(ends[1], buf, (size_t)n) == 0)
        ;
    ROTA_IGNORE(rota_stream_shutdown(ends[1]));
    return 0;
}

static inline int fd_of(rota_stream *s)
{
    return ((struct rota__socket *)rota__stream_bottom(s))->fd.fd;
}

/* Closing it now sends a reset. */
static inline void set_linger_zero(rota_stream *s)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    CHECK_OK(setsockopt(fd_of(s), SOL_SOCKET, SO_LINGER, &none, sizeof none));
}

#endif
