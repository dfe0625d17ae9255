/* The limit of the TLS rows: the epoll loop of raw_epoll_echo.c with OpenSSL on the descriptors,
 * one SSL_read and one SSL_write a request. It leaves out what a real server cannot: a connection
 * whose peer does not keep up (a short write) is dropped, and nobody is told why a handshake
 * failed.
 *
 *     raw_tls_epoll CERTIFICATE KEY [plain]
 *
 * OpenSSL reads ahead, which saves one of two system calls a record; `plain` leaves that away. */
#include "loopback.h"

#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static char buffer[16384];
static SSL_CTX *context;

static void watch(int epoll, int fd, SSL *ssl)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = ssl};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void accept_all(int epoll, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        SSL *ssl = SSL_new(context);
        if (!ssl || !SSL_set_fd(ssl, fd))
            exit(1);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        SSL_set_accept_state(ssl);
        watch(epoll, fd, ssl);
    }
}

static void end(SSL *ssl, int orderly)
{
    int fd = SSL_get_fd(ssl);

    if (orderly)
        SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

/* The first calls make the handshake. What OpenSSL has read ahead, epoll does not announce
 * again. */
static void echo(SSL *ssl)
{
    do {
        int n = SSL_read(ssl, buffer, sizeof buffer);
        if (n <= 0) {
            int why = SSL_get_error(ssl, n);
            if (why != SSL_ERROR_WANT_READ)
                end(ssl, why == SSL_ERROR_ZERO_RETURN);
            return;
        }
        if (SSL_write(ssl, buffer, n) != n) {
            end(ssl, 0);
            return;
        }
    } while (SSL_has_pending(ssl));
}

static SSL_CTX *new_context(char **argv, int read_ahead)
{
    SSL_CTX *new = SSL_CTX_new(TLS_server_method());

    if (!new || SSL_CTX_use_certificate_file(new, argv[1], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(new, argv[2], SSL_FILETYPE_PEM) != 1) {
        fputs("raw_tls_epoll: the certificate or its key cannot be used\n", stderr);
        exit(1);
    }
    SSL_CTX_set_read_ahead(new, read_ahead);
    return new;
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];

    if (argc < 3) {
        fputs("usage: raw_tls_epoll CERTIFICATE KEY [plain]\n", stderr);
        return 2;
    }
    context = new_context(argv, argc < 4 || strcmp(argv[3], "plain") != 0);
    int listener = loopback_serve(SOCK_STREAM, SOCK_NONBLOCK);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener, NULL);
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                echo(events[i].data.ptr);
            else
                accept_all(epoll, listener);
        }
    }
}
