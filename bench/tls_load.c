/* Load for the TLS echo servers: one epoll loop over OpenSSL, N connections at a time, TLS 1.3 with
 * AES-128-GCM and X25519, the server's certificate verified.
 *
 *     tls_load PORT CERTIFICATE echo CONNECTIONS REQUESTS
 *     tls_load PORT CERTIFICATE full|resumed CONNECTIONS HANDSHAKES
 *
 * `echo` has one message of 1 KiB in flight on each connection. The others make one round trip of a
 * byte on each, end it in order on both sides and connect again: with a full handshake each time,
 * or resumed by the last ticket that the server sent.
 *
 * Warms up by one round of all connections, prints `ready` and waits for a line on standard input;
 * then makes the given number of round trips or handshakes and prints their count. The driver reads
 * the server's CPU time at both pauses. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX 1024

struct connection {
    SSL *ssl;
    SSL_SESSION *session; /* the last one that the server gave */
    int resume;           /* this handshake offers it */
    int sent, received;   /* sent: the message of this round is on its way */
    uint32_t message[MESSAGE_MAX / sizeof(uint32_t)];
    char echoed[MESSAGE_MAX];
};

struct load {
    int epoll;
    uint16_t port;
    SSL_CTX *context;
    int message_size;
    int connects, resumes; /* connects anew for each round trip, with a session */
    unsigned count;
    struct connection *connections;
    uint64_t started, finished;
};

static _Noreturn void fail(const char *what)
{
    unsigned long tls = ERR_get_error();

    fprintf(stderr, "tls_load: %s: %s\n", what,
            tls ? ERR_reason_error_string(tls) : strerror(errno));
    exit(1);
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct connection *c = SSL_get_app_data(ssl);

    SSL_SESSION_free(c->session);
    c->session = session;
    return 1;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

static void open_connection(struct load *load, struct connection *c)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int fd = connect_to(load->port);

    c->ssl = SSL_new(load->context);
    c->resume = load->resumes && c->session;
    if (!c->ssl || !SSL_set_app_data(c->ssl, c) || !SSL_set_fd(c->ssl, fd) ||
        !SSL_set1_host(c->ssl, "localhost") || !SSL_set_tlsext_host_name(c->ssl, "localhost") ||
        (c->resume && !SSL_set_session(c->ssl, c->session)))
        fail("connection");
    SSL_set_connect_state(c->ssl);
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

static void close_connection(struct connection *c)
{
    int fd = SSL_get_fd(c->ssl);

    SSL_free(c->ssl);
    c->ssl = NULL;
    close(fd);
}

/* Returns 1 once the message of this round trip is on its way: the first write of a connection
 * makes its handshake. */
static int send_message(struct load *load, struct connection *c)
{
    if (c->sent)
        return 1;
    int n = SSL_write(c->ssl, c->message, load->message_size);
    if (n <= 0 && SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
        return 0;
    if (n != load->message_size)
        fail("write");
    c->sent = 1;
    return 1;
}

/* Returns 1 once the whole echo has arrived. */
static int receive(struct load *load, struct connection *c)
{
    while (c->received < load->message_size) {
        int n = SSL_read(c->ssl, c->echoed + c->received, load->message_size - c->received);
        if (n <= 0 && SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
            return 0;
        if (n <= 0)
            fail("read");
        c->received += n;
    }
    if (memcmp(c->echoed, c->message, (size_t)load->message_size) == 0)
        return 1;
    fputs("tls_load: the echo differs from what was sent\n", stderr);
    exit(1);
}

static void start(struct load *load, struct connection *c)
{
    load->started++;
    c->sent = c->received = 0;
    c->message[0]++;
    if (!c->ssl)
        open_connection(load, c);
    send_message(load, c);
}

/* Says goodbye; what follows is the other side's goodbye and the end. */
static void leave(struct connection *c)
{
    if (SSL_session_reused(c->ssl) != c->resume) {
        fputs(c->resume ? "tls_load: not resumed\n" : "tls_load: resumed\n", stderr);
        exit(1);
    }
    if (SSL_shutdown(c->ssl) < 0)
        fail("shutdown");
}

/* Returns 1 when the server has closed its side. Cut off without close_notify is an error. */
static int ended(struct connection *c)
{
    int n = SSL_read(c->ssl, c->echoed, 1);
    int why = SSL_get_error(c->ssl, n);

    if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_ZERO_RETURN)
        fail("close");
    return why == SSL_ERROR_ZERO_RETURN;
}

/* Returns 1 when a round trip, with its connection if it has one of its own, has come to its
 * end. */
static int progress(struct load *load, struct connection *c)
{
    int leaving = SSL_get_shutdown(c->ssl) & SSL_SENT_SHUTDOWN;

    if (!leaving) {
        if (!send_message(load, c) || !receive(load, c))
            return 0;
        if (!load->connects)
            return 1;
        leave(c);
    }
    if (!ended(c))
        return 0;
    close_connection(c);
    return 1;
}

/* Makes `wanted` round trips, at least one a connection. */
static void run(struct load *load, uint64_t wanted)
{
    struct epoll_event events[256];

    load->started = load->finished = 0;
    while (load->started < load->count)
        start(load, &load->connections[load->started]);
    while (load->finished < load->started) {
        int n = epoll_wait(load->epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!progress(load, c))
                continue;
            load->finished++;
            if (load->started < wanted)
                start(load, c);
        }
    }
}

static SSL_CTX *new_context(const char *certificate)
{
    SSL_CTX *new = SSL_CTX_new(TLS_client_method());

    if (!new || !SSL_CTX_set_min_proto_version(new, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(new, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(new, "X25519") || !SSL_CTX_load_verify_file(new, certificate))
        fail("context");
    SSL_CTX_set_verify(new, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_read_ahead(new, 1);
    SSL_CTX_set_session_cache_mode(new, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(new, keep_session);
    return new;
}

static void prepare(struct load *load, const char *mode)
{
    load->connects = strcmp(mode, "echo") != 0;
    load->resumes = strcmp(mode, "resumed") == 0;
    load->message_size = load->connects ? 1 : MESSAGE_MAX;
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    load->connections = calloc(load->count, sizeof *load->connections);
    if (!load->connections || load->epoll < 0)
        fail("connections");
    for (uint32_t i = 0; i < load->count; i++)
        for (uint32_t word = 0; word < MESSAGE_MAX / sizeof(uint32_t); word++)
            load->connections[i].message[word] = i * 2654435761u + word;
}

int main(int argc, char **argv)
{
    char line[16];

    if (argc != 6) {
        fputs("usage: tls_load PORT CERTIFICATE echo|full|resumed CONNECTIONS COUNT\n", stderr);
        return 2;
    }
    struct load load = {.port = (uint16_t)atoi(argv[1]),
                        .context = new_context(argv[2]),
                        .count = (unsigned)strtoul(argv[4], NULL, 10)};
    prepare(&load, argv[3]);
    run(&load, load.count);
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    run(&load, strtoull(argv[5], NULL, 10));
    printf("%llu\n", (unsigned long long)load.finished);
    fflush(stdout);
    (void)!fgets(line, sizeof line, stdin);
    return 0;
}
