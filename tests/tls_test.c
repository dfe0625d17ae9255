#include "base/alloc.h"
#include "certificates.h"
#include "clean_run.h"
#include "ends.h"
#include "tls/tls.h"

#include <rota.h>
#include <rota/tls.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Streams in memory know no backend, and making keys takes time: what has its faults covered by
 * another case is run without. */
#define TEST_ALREADY(name_) TEST_WITH(name_, .without_faults = true)

/* ---- Setting */

static struct authority authority;
static struct identity server_identity;

/* An authority, and a server that it vouches for; they stay until the case ends. */
static void make_authority(void)
{
    if (authority.key)
        return;
    authority = authority_new("Test Authority");
    server_identity = identity_new(&authority, &(struct wanted){0});
}

static void run_tls(rota_fn *fn, void *arg)
{
    make_authority();
    run_virtual(fn, arg);
}

/* A case that is a task. */
#define TLS_TEST(name_, ...) TASK_TEST_BY(run_tls, name_, __VA_ARGS__)

static rota_tls_context *context_with(rota_tls_options options)
{
    rota_tls_context *context;
    int err = rota_tls_context_new(&options, &context);
    if (err < 0)
        FAIL("rota_tls_context_new: %s", rota_error(err));
    return context;
}

static rota_tls_context *server_with(rota_tls_options options)
{
    if (!options.cert_pem.len) {
        options.cert_pem = server_identity.cert_pem;
        options.key_pem = server_identity.key_pem;
    }
    return context_with(options);
}

static rota_tls_context *client_with(rota_tls_options options)
{
    options.ca_pem = authority.pem;
    return context_with(options);
}

/* Two ends of one connection, each with its context. */
struct link {
    rota_stream *client, *server;
    rota_tls_context *client_tls, *server_tls;
    const char *host;
    const char *const *alpn; /* NULL: the context's */
    int client_result, server_result;
};

static struct link link_of(size_t capacity)
{
    struct link l = {.host = "localhost"};
    CHECK_OK(rota_stream_pair(capacity, &l.client, &l.server));
    l.client_tls = client_with((rota_tls_options){0});
    l.server_tls = server_with((rota_tls_options){0});
    return l;
}

/* A link with contexts of the test's. */
static struct link link_with(rota_tls_context *client_tls, rota_tls_context *server_tls)
{
    struct link l = {.host = "localhost", .client_tls = client_tls, .server_tls = server_tls};
    CHECK_OK(rota_stream_pair(0, &l.client, &l.server));
    return l;
}

static int start_client(void *arg)
{
    struct link *l = arg;
    l->client_result = rota_tls_start_client(l->client, l->client_tls, l->host, l->alpn);
    return 0;
}

static int start_server(void *arg)
{
    struct link *l = arg;
    l->server_result = rota_tls_start_server(l->server, l->server_tls);
    return 0;
}

static void start(struct link *l)
{
    ROTA_GROUP(g);
    rota_group_spawn(&g, start_client, l);
    rota_group_spawn(&g, start_server, l);
    CHECK_OK(rota_group_wait(&g));
}

static void start_well(struct link *l)
{
    start(l);
    if (l->client_result < 0)
        FAIL("client: %s", rota_stream_error(l->client));
    if (l->server_result < 0)
        FAIL("server: %s", rota_stream_error(l->server));
}

static struct link open_link(size_t capacity)
{
    struct link l = link_of(capacity);
    start_well(&l);
    return l;
}

static int free_stream(void *arg)
{
    rota_stream_free(arg);
    return 0;
}

/* Both at once, as two programs would. */
static void free_streams(struct link *l)
{
    ROTA_GROUP(g);
    if (rota_group_spawn(&g, free_stream, l->client) < 0)
        rota_stream_free(l->client);
    rota_stream_free(l->server);
    ROTA_IGNORE(rota_group_wait(&g));
}

static void free_link(struct link *l)
{
    free_streams(l);
    rota_tls_context_free(l->client_tls);
    rota_tls_context_free(l->server_tls);
}

static void expect_end(rota_stream *s)
{
    char c;
    CHECK_INT(rota_stream_read(s, &c, 1), ==, 0);
}

static void greet(struct link *l)
{
    put(l->client, "hello");
    expect(l->server, "hello");
    put(l->server, "welcome");
    expect(l->client, "welcome");
}

static void check_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        FAIL("\"%s\" is not in \"%s\"", part, text);
}

/* ---- The snippet of the header */

static int ask(const char *host, int port, rota_tls_context *tls, char *ret_reply, size_t len)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_tls_connect(host, port, tls, NULL, &s);
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", host, rota_error(err));
        return err; // "certificate has expired", for instance
    }
    err = rota_stream_write(s, "hello", 5);
    return err < 0 ? err : rota_stream_read_exact(s, ret_reply, len);
}

static int handle(rota_stream *s, void *tls) // for rota_serve(listener, handle, tls, NULL)
{
    char buf[16384];
    ssize_t n = rota_tls_start_server(s, tls);
    while (n >= 0 && (n = rota_stream_read(s, buf, sizeof buf)) > 0)
        n = rota_stream_write(s, buf, (size_t)n);
    return (int)n;
}

struct site {
    rota_listener *listener;
    rota_tls_context *tls;
};

static int serve_site(void *arg)
{
    struct site *site = arg;
    return rota_serve(site->listener, handle, site->tls, NULL);
}

TLS_TEST(the_snippet_of_the_header_works, .both_backends = true)
{
    ROTA_AUTO(rota_tls_context) client = client_with((rota_tls_options){0});
    ROTA_AUTO(rota_tls_context) server = server_with((rota_tls_options){0});
    struct site site = {.tls = server};
    char reply[6] = "";
    CHECK_OK(rota_tcp_listen("localhost", 0, NULL, &site.listener));
    int port = rota_listener_port(site.listener);
    ROTA_GROUP(g);
    rota_group_spawn(&g, serve_site, &site);
    CHECK_INT(ask("localhost", port, client, reply, 5), ==, 0);
    CHECK_STR(reply, "hello");
    CHECK_INT(ask("127.0.0.1", port, client, reply, 5), ==, 0);
    CHECK_INT(ask("::1", port, client, reply, 5), ==, ROTA_ECERT);
    check_contains(rota_error(ROTA_ECERT), "start TLS with [::1]:");
    check_contains(rota_error(ROTA_ECERT), "certificate is for localhost, 127.0.0.1, not ");
    rota_group_cancel(&g);
    ROTA_IGNORE(rota_group_wait(&g));
    rota_listener_free(site.listener);
    CHECK_INT(ask("127.0.0.1", port, client, reply, 5), ==, -ECONNREFUSED);
    check_contains(rota_error(-ECONNREFUSED), "Connection refused");
}

/* ---- Words */

static char reports[1000];

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    size_t len = strlen(reports);
    snprintf(reports + len, sizeof reports - len, "%s\n", message);
}

static int plain_client_main(void *arg)
{
    ROTA_AUTO(rota_tls_context) server = server_with((rota_tls_options){0});
    struct site site = {.tls = server};
    rota_stream *s;
    char c;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &site.listener));
    ROTA_GROUP(g);
    rota_group_spawn(&g, serve_site, &site);
    CHECK_OK(rota_tcp_connect("127.0.0.1", rota_listener_port(site.listener), NULL, &s));
    CHECK_OK(rota_stream_write(s, "GET / HTTP/1.1\r\n\r\n", 18));
    while (rota_stream_read(s, &c, 1) > 0)
        continue;
    rota_stream_free(s);
    rota_group_cancel(&g);
    ROTA_IGNORE(rota_group_wait(&g));
    rota_listener_free(site.listener);
    return 0;
}

TEST_ALREADY(a_server_reports_in_words_why_a_handshake_failed)
{
    rota_log_set(keep_report, NULL);
    run_tls(plain_client_main, NULL);
    check_contains(reports, "connection from 127.0.0.1:");
    check_contains(reports, ": peer speaks HTTP, not TLS\n");
}

/* In the place of OpenSSL's, which fails only without memory; the linker sees to it (--wrap). */
static bool no_system;

int __real_SSL_CTX_set_default_verify_paths(SSL_CTX *ctx);
int __wrap_SSL_CTX_set_default_verify_paths(SSL_CTX *ctx);

int __wrap_SSL_CTX_set_default_verify_paths(SSL_CTX *ctx)
{
    if (no_system)
        ERR_raise_data(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR, "the store is closed");
    return no_system ? 0 : __real_SSL_CTX_set_default_verify_paths(ctx);
}

TLS_TEST(connecting_says_that_the_system_has_no_authorities, .without_faults = true)
{
    ROTA_AUTO(rota_tls_context) both = server_with((rota_tls_options){0});
    rota_listener *l;
    rota_stream *s = NULL;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &l));
    no_system = true;
    CHECK_INT(rota_tls_connect("127.0.0.1", rota_listener_port(l), both, NULL, &s), ==, ROTA_ETLS);
    check_contains(rota_error(ROTA_ETLS), "the system's authorities: ");
    CHECK_PTR(s, ==, NULL);
    rota_listener_free(l);
}

/* ---- Data */

enum { MUCH = 300000 };

struct transfer {
    rota_stream *s;
    unsigned char key;
    size_t amount, step;
};

static unsigned char byte_at(unsigned char key, size_t i)
{
    return (unsigned char)(key + i * 7 + (i >> 8));
}

static int send_much(void *arg)
{
    struct transfer *t = arg;
    char *bytes = malloc(t->step);
    int err = 0;
    for (size_t done = 0; done < t->amount && err == 0;) {
        size_t n = t->amount - done < t->step ? t->amount - done : t->step;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)byte_at(t->key, done + i);
        err = rota_stream_write(t->s, bytes, n);
        done += n;
    }
    free(bytes);
    return err < 0 ? err : rota_stream_shutdown(t->s);
}

static int receive_much(void *arg)
{
    struct transfer *t = arg;
    unsigned char *bytes = malloc(t->step);
    size_t done = 0;
    ssize_t n;
    while ((n = rota_stream_read(t->s, bytes, t->step)) > 0) {
        for (ssize_t i = 0; i < n; i++, done++)
            if (bytes[i] != byte_at(t->key, done))
                FAIL("byte %zu is wrong", done);
    }
    free(bytes);
    if (n == 0)
        CHECK_INT(done, ==, t->amount);
    return (int)n;
}

struct size {
    size_t capacity, write, read;
};

static int both_ways_main(void *arg)
{
    const struct size *size = arg;
    size_t amount = size->capacity == 1 ? 3000 : MUCH;
    struct link l = open_link(size->capacity);
    struct transfer transfers[] = {
        {l.client, 1, amount, size->write},
        {l.client, 2, amount, size->read},
        {l.server, 2, amount, size->write},
        {l.server, 1, amount, size->read},
    };
    rota_gather_call calls[] = {
        {send_much, &transfers[0], 0},
        {receive_much, &transfers[1], 0},
        {send_much, &transfers[2], 0},
        {receive_much, &transfers[3], 0},
    };
    CHECK_INT(rota_gather(calls, 4), ==, 0);
    free_link(&l);
    return 0;
}

TEST(much_goes_both_ways_at_once_however_it_is_cut)
{
    run_tls(both_ways_main, &(struct size){0, 4096, 4096});
    run_tls(both_ways_main, &(struct size){0, 200000, 100000});
    run_tls(both_ways_main, &(struct size){1000, 16384, 17});
    run_tls(both_ways_main, &(struct size){1, 700, 512});
}

TLS_TEST(lines_and_held_back_output_work_as_on_any_stream, .without_faults = true)
{
    struct link l = open_link(0);
    rota_str line;
    struct iovec pieces[] = {{(void *)"two ", 4}, {(void *)"pieces\nrest", 11}};
    rota_stream_cork(l.client);
    put(l.client, "held back\n");
    CHECK_INT(rota_stream_writev(l.client, pieces, 2), ==, 0);
    CHECK_INT(rota_stream_flush(l.client), ==, 0);
    CHECK_INT(rota_stream_read_line(l.server, &line), ==, 1);
    CHECK_STR(line.ptr, "held back");
    CHECK_INT(rota_stream_read_line(l.server, &line), ==, 1);
    CHECK_STR(line.ptr, "two pieces");
    expect(l.server, "rest");
    free_link(&l);
}

static SSL *ssl_of(rota_stream *s)
{
    return rota__tls_of(rota_stream_filter(s, &rota__tls_kind))->ssl;
}

TLS_TEST(keys_are_updated_on_the_way, .without_faults = true)
{
    struct link l = open_link(0);
    greet(&l);
    CHECK_INT(SSL_key_update(ssl_of(l.client), SSL_KEY_UPDATE_REQUESTED), ==, 1);
    greet(&l);
    greet(&l);
    free_link(&l);
}

static void change_keys(rota_stream *s, int times, int how)
{
    SSL *ssl = ssl_of(s);
    for (int i = 0; i < times; i++) {
        CHECK_INT(SSL_key_update(ssl, how), ==, 1);
        CHECK_INT(SSL_do_handshake(ssl), ==, 1);
    }
}

TLS_TEST(keys_may_be_changed_often, .without_faults = true)
{
    struct link l = open_link(0);
    for (int i = 0; i < 1000; i++) {
        change_keys(l.client, 1, SSL_KEY_UPDATE_REQUESTED);
        greet(&l);
    }
    change_keys(l.client, 500, SSL_KEY_UPDATE_REQUESTED);
    greet(&l);
    free_link(&l);
}

TLS_TEST(keys_that_are_changed_without_end_end_the_connection, .without_faults = true)
{
    struct link l = open_link(1 << 20);
    char c;
    change_keys(l.client, 10000, SSL_KEY_UPDATE_NOT_REQUESTED);
    put(l.client, "x");
    CHECK_INT(rota_stream_read(l.server, &c, 1), ==, ROTA_ETLS);
    check_contains(rota_stream_error(l.server), "too many key updates");
    free_link(&l);
}

/* Each is answered, but we only read. */
TLS_TEST(answers_that_nobody_sends_do_not_grow, .without_faults = true)
{
    struct link l = open_link(1 << 20);
    struct rota__tls *t = rota__tls_of(rota_stream_filter(l.server, &rota__tls_kind));
    ssize_t n = 1;
    char c;
    for (int i = 0; i < 1000 && n == 1; i++) {
        change_keys(l.client, 100, SSL_KEY_UPDATE_REQUESTED);
        put(l.client, "x");
        n = rota_stream_read(l.server, &c, 1);
        CHECK_INT(rota__tls_count(&t->out), <, 20000);
    }
    CHECK_INT(n, ==, ROTA_ETLS);
    check_contains(rota_stream_error(l.server), "too many key updates");
    free_link(&l);
}

/* ---- What was agreed on */

static int agreed_main(void *arg)
{
    bool old = *(bool *)arg;
    rota_tls_options options = {.max_version = old ? ROTA_TLS_1_2 : ROTA_TLS_DEFAULT};
    struct link l = link_with(client_with((rota_tls_options){0}), server_with(options));
    CHECK_PTR(rota_tls_version_name(l.client), ==, NULL);
    CHECK_PTR(rota_tls_cipher(l.client), ==, NULL);
    CHECK(!rota_tls_resumed(l.client));
    unsigned char print[32], expected[32];
    CHECK_INT(rota_tls_peer_fingerprint(l.client, print), ==, -ENOTCONN);
    start_well(&l);
    greet(&l);
    const char *version = old ? "TLSv1.2" : "TLSv1.3";
    char subject[32];
    CHECK_STR(rota_tls_version_name(l.client), version);
    CHECK_STR(rota_tls_version_name(l.server), version);
    CHECK_STR(rota_tls_cipher(l.client), rota_tls_cipher(l.server));
    CHECK_STR(rota_tls_server_name(l.server), "localhost");
    CHECK_INT(rota_tls_alpn(l.server).len, ==, 0);
    CHECK_INT(rota_tls_peer_subject(l.client, subject, sizeof subject), ==, 12);
    CHECK_STR(subject, "CN=localhost");
    CHECK_INT(rota_tls_peer_subject(l.client, subject, 12), ==, -ENOBUFS);
    CHECK_INT(rota_tls_peer_subject(l.server, subject, sizeof subject), ==, -ENOENT);
    CHECK_INT(rota_tls_peer_fingerprint(l.client, print), ==, 0);
    CHECK(X509_digest(server_identity.cert, EVP_sha256(), expected, NULL));
    CHECK_MEM(print, expected, sizeof print);
    free_link(&l);
    return 0;
}

TEST_ALREADY(both_sides_know_what_was_agreed_on)
{
    run_tls(agreed_main, &(bool){false});
    run_tls(agreed_main, &(bool){true});
}

/* ---- Certificates that are not good */

struct refusal {
    struct wanted wanted;
    bool self_signed, by_stranger, revoked, no_list;
    const char *host;
    const char *says, *peer_says;
};

/* Writes a temporary file and returns its name. */
static const char *file_with(const char *text)
{
    static char names[8][100];
    static int used;
    char *name = names[used++ % 8];
    snprintf(name, sizeof names[0], "%s/XXXXXX", test_directory());
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, text, strlen(text)), ==, (ssize_t)strlen(text));
    close(fd);
    return name;
}

static int refusal_main(void *arg)
{
    const struct refusal *r = arg;
    struct authority stranger = authority_new("Stranger");
    const struct authority *issuer = r->self_signed   ? NULL
                                     : r->by_stranger ? &stranger
                                                      : &authority;
    struct identity id = identity_new(issuer, &r->wanted);
    rota_tls_options client = {0};
    char *list = NULL;
    if (r->revoked || r->no_list) {
        list = revocation_list(r->no_list ? &stranger : &authority, id.cert);
        client.crl_file = file_with(list);
    }
    struct link l =
        link_with(client_with(client),
                  server_with((rota_tls_options){.cert_pem = id.cert_pem, .key_pem = id.key_pem}));
    if (client.crl_file)
        unlink(client.crl_file);
    l.host = r->host ? r->host : "localhost";
    start(&l);
    CHECK_INT(l.client_result, ==, ROTA_ECERT);
    check_contains(rota_stream_error(l.client), r->says);
    char c;
    CHECK_INT(rota_stream_read(l.client, &c, 1), ==, ROTA_ECERT);
    CHECK_INT(rota_stream_write(l.client, "x", 1), ==, ROTA_ECERT);
    CHECK_INT(l.server_result < 0 ? l.server_result : rota_stream_read(l.server, &c, 1), ==,
              ROTA_ETLS);
    check_contains(rota_stream_error(l.server), r->peer_says);
    free_link(&l);
    identity_free(&id);
    authority_free(&stranger);
    free(list);
    return 0;
}

TEST(a_certificate_that_is_not_good_is_refused_with_the_reason_in_words)
{
    struct refusal refusals[] = {
        {.wanted = {.ends_in = -60},
         .says = "certificate has expired",
         .peer_says = "peer says: certificate expired"},
        {.wanted = {.names = "DNS:other.example"},
         .says = "certificate is for other.example, not localhost",
         .peer_says = "peer says: bad certificate"},
        {.wanted = {.names = ""},
         .says = "certificate names no host in subjectAltName, so it is not for localhost",
         .peer_says = "peer says: bad certificate"},
        {.wanted = {.names = "DNS:evil.test"},
         .host = "good.test",
         .says = "certificate is for evil.test, not good.test",
         .peer_says = "peer says: bad certificate"},
        {.wanted = {.names = "DNS:a\x1b[2J\n\x7f"},
         .says = "certificate is for a\\x1b[2J\\x0a\\x7f, not localhost",
         .peer_says = "peer says: bad certificate"},
        {.host = "192.0.2.1",
         .says = "certificate is for localhost, 127.0.0.1, not 192.0.2.1",
         .peer_says = "peer says: bad certificate"},
        {.self_signed = true,
         .says = "certificate is self-signed",
         .peer_says = "peer says: unknown CA"},
        {.by_stranger = true,
         .says = "unknown certificate authority: Stranger",
         .peer_says = "peer says: unknown CA"},
        {.revoked = true,
         .says = "certificate has been revoked",
         .peer_says = "peer says: certificate revoked"},
        {.no_list = true, .says = "no revocation list", .peer_says = "peer says: unknown CA"},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        run_tls(refusal_main, &refusals[i]);
}

struct acceptance {
    const char *names, *host;
    bool insecure;
};

static int acceptance_main(void *arg)
{
    const struct acceptance *a = arg;
    struct wanted wanted = {.names = a->names, .ends_in = a->insecure ? -60 : 0};
    struct identity id = identity_new(&authority, &wanted);
    rota_tls_options client = {.insecure_accept_any_certificate = a->insecure};
    struct link l =
        link_with(client_with(client),
                  server_with((rota_tls_options){.cert_pem = id.cert_pem, .key_pem = id.key_pem}));
    l.host = a->host;
    start_well(&l);
    greet(&l);
    free_link(&l);
    identity_free(&id);
    return 0;
}

TEST_ALREADY(names_are_matched_as_certificates_mean_them)
{
    struct acceptance acceptances[] = {
        {.names = "DNS:*.example.org", .host = "www.example.org"},
        {.names = "DNS:example.org", .host = "example.org."},
        {.names = "DNS:example.org", .host = "EXAMPLE.org"},
        {.names = "IP:192.0.2.1", .host = "192.0.2.1"},
        {.names = "IP:fe80::1", .host = "fe80::1%lo"},
        {.names = "IP:fe80::1", .host = "[FE80:0::1%25lo]"},
        {.names = "DNS:other.example", .host = "localhost", .insecure = true},
        {.names = "DNS:other.example", .host = NULL, .insecure = true},
    };
    for (size_t i = 0; i < sizeof acceptances / sizeof *acceptances; i++)
        run_tls(acceptance_main, &acceptances[i]);
}

TLS_TEST(a_wildcard_stands_for_a_whole_label_only, .without_faults = true)
{
    struct identity id =
        identity_new(&authority, &(struct wanted){.names = "DNS:*.*.example,DNS:w*.org"});
    struct link l =
        link_with(client_with((rota_tls_options){0}),
                  server_with((rota_tls_options){.cert_pem = id.cert_pem, .key_pem = id.key_pem}));
    l.host = "www.org";
    start(&l);
    CHECK_INT(l.client_result, ==, ROTA_ECERT);
    free_link(&l);
    identity_free(&id);
}

TLS_TEST(without_a_host_or_a_certificate_nothing_is_started, .without_faults = true)
{
    struct link l = link_of(0);
    CHECK_INT(rota_tls_start_client(l.client, l.client_tls, NULL, NULL), ==, -EINVAL);
    CHECK_INT(rota_tls_start_client(l.client, l.client_tls, "", NULL), ==, -EINVAL);
    CHECK_INT(rota_tls_start_server(l.server, l.client_tls), ==, -EINVAL);
    put(l.client, "plain");
    expect(l.server, "plain");
    free_link(&l);
}

/* A leading dot is OpenSSL's sign for any host below, and what follows a % was not verified. */
TLS_TEST(what_is_no_host_is_not_verified, .without_faults = true)
{
    static const char *const hosts[] = {
        ".",
        ".localhost",
        "..",
        "local..host",
        "localhost..",
        "localhost%",
        "localhost%25x",
        "localhost%x",
        "local host",
        "localhost\\x",
        "127.1",
        "0x7f.0.0.1",
        "127.0.0.1.",
        "[localhost]",
        "[v1.x]",
        "127.0.0.1%lo",
        "localhost:443",
        "localhost\n",
        "[::1",
    };
    struct link l = link_of(0);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        if (rota_tls_start_client(l.client, l.client_tls, hosts[i], NULL) != -EINVAL)
            FAIL("\"%s\" was taken", hosts[i]);
        check_contains(rota_error(-EINVAL), "is not a valid host name or address");
    }
    put(l.client, "plain"); /* nothing was started */
    expect(l.server, "plain");
    free_link(&l);
}

/* What OpenSSL's client says first, with this name. */
static void put_hello(rota_stream *s, const char *name)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    char *hello;
    SSL_set_bio(ssl, in, out);
    CHECK(SSL_set_tlsext_host_name(ssl, name));
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    long len = BIO_get_mem_data(out, &hello);
    CHECK_OK(rota_stream_write(s, hello, (size_t)len));
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
}

TLS_TEST(a_client_that_asks_for_no_host_is_refused, .without_faults = true)
{
    static const char *const names[] = {"evil\n.test", ".test",    "a..test",
                                        "a%25.test",   "a\\.test", "127.1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct link l = link_of(1 << 16);
        put_hello(l.client, names[i]);
        CHECK_INT(rota_tls_start_server(l.server, l.server_tls), ==, ROTA_ETLS);
        check_contains(rota_stream_error(l.server),
                       "no certificate for the name that the client asks for");
        free_link(&l);
    }
}

static rota_tls_context *note_name(void *arg, const char *name)
{
    snprintf(arg, 64, "%s", name ? name : "nobody");
    return NULL;
}

TLS_TEST(a_client_is_known_by_the_canonical_name, .without_faults = true)
{
    static const char *const names[][2] = {
        {"LocalHost", "localhost"}, {"a.Test.", "a.test"}, {"127.0.0.1", "nobody"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char told[64] = "";
        struct link l =
            link_with(client_with((rota_tls_options){0}),
                      server_with((rota_tls_options){.choose = note_name, .choose_arg = told}));
        rota_stream_free(l.client);
        rota_stream_free(l.server);
        CHECK_OK(rota_stream_pair(1 << 16, &l.client, &l.server));
        put_hello(l.client, names[i][0]);
        CHECK_INT(rota_tls_start_server(l.server, l.server_tls), ==, ROTA_ETLS);
        CHECK_STR(told, names[i][1]);
        free_link(&l);
    }
}

static int stranger_main(void *arg)
{
    struct authority stranger = authority_new("\x1b]0;Title\a\r\nrota: all is well");
    struct identity id = identity_new(&stranger, &(struct wanted){0});
    struct link l =
        link_with(client_with((rota_tls_options){0}),
                  server_with((rota_tls_options){.cert_pem = id.cert_pem, .key_pem = id.key_pem}));
    start(&l);
    CHECK_INT(l.client_result, ==, ROTA_ECERT);
    check_contains(rota_stream_error(l.client), "authority: \\x1b]0;Title\\x07\\x0d\\x0arota: all");
    free_link(&l);
    identity_free(&id);
    authority_free(&stranger);
    return 0;
}

TEST_ALREADY(control_characters_of_a_certificate_reach_no_log)
{
    run_tls(stranger_main, NULL);
}

/* ---- Peers that do not fit */

static int plain_client(void *arg)
{
    struct link *l = arg;
    put(l->client, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    return 0;
}

static int plain_server(void *arg)
{
    struct link *l = arg;
    put(l->server, "220 mail.example ready\r\n");
    return 0;
}

TLS_TEST(a_peer_that_speaks_no_TLS_is_named, .without_faults = true)
{
    struct link l = link_of(0), m = link_of(0);
    plain_client(&l);
    start_server(&l);
    CHECK_INT(l.server_result, ==, ROTA_ETLS);
    check_contains(rota_stream_error(l.server), "peer speaks HTTP, not TLS");
    plain_server(&m);
    start_client(&m);
    CHECK_INT(m.client_result, ==, ROTA_ETLS);
    check_contains(rota_stream_error(m.client), "peer does not speak TLS");
    free_link(&l);
    free_link(&m);
}

TLS_TEST(without_a_version_or_cipher_in_common_both_sides_say_so, .without_faults = true)
{
    struct link l = link_with(client_with((rota_tls_options){.min_version = ROTA_TLS_1_3}),
                              server_with((rota_tls_options){.max_version = ROTA_TLS_1_2}));
    start(&l);
    CHECK_INT(l.client_result, ==, ROTA_ETLS);
    CHECK_INT(l.server_result, ==, ROTA_ETLS);
    check_contains(rota_stream_error(l.client), "no TLS version in common");
    check_contains(rota_stream_error(l.server), "no TLS version in common");
    free_link(&l);
    struct link m =
        link_with(client_with((rota_tls_options){.max_version = ROTA_TLS_1_2,
                                                 .ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"}),
                  server_with((rota_tls_options){.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384"}));
    start(&m);
    check_contains(rota_stream_error(m.server), "no cipher in common");
    check_contains(rota_stream_error(m.client), "peer says: handshake failure");
    free_link(&m);
}

TLS_TEST(ciphersuites_are_those_that_are_allowed, .without_faults = true)
{
    static const char two[] = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
    struct link l =
        link_with(client_with((rota_tls_options){.ciphersuites = two}),
                  server_with((rota_tls_options){.ciphersuites = "TLS_CHACHA20_POLY1305_SHA256"}));
    start_well(&l);
    CHECK_STR(rota_tls_cipher(l.client), "TLS_CHACHA20_POLY1305_SHA256");
    greet(&l);
    free_link(&l);
    struct link m =
        link_with(client_with((rota_tls_options){.ciphersuites = two}),
                  server_with((rota_tls_options){.ciphersuites = "TLS_AES_256_GCM_SHA384"}));
    start(&m);
    CHECK_INT(m.server_result, ==, ROTA_ETLS);
    check_contains(rota_stream_error(m.server), "no cipher in common");
    free_link(&m);
}

TLS_TEST(a_peer_that_closes_during_the_handshake_is_named, .without_faults = true)
{
    struct link l = link_of(0);
    rota_stream_close(l.server);
    start_client(&l);
    CHECK_INT(l.client_result, ==, -EPIPE);
    free_link(&l);
    struct link m = link_of(0);
    CHECK_INT(rota_stream_shutdown(m.client), ==, 0);
    start_server(&m);
    CHECK_INT(m.server_result, ==, ROTA_ETRUNCATED);
    check_contains(rota_stream_error(m.server), "closed the connection during the TLS handshake");
    free_link(&m);
}

TLS_TEST(a_peer_that_stalls_in_the_handshake_costs_ten_seconds)
{
    struct link l = link_of(0), m = link_of(0);
    rota_time began = rota_now();
    start_client(&l);
    CHECK_INT(l.client_result, ==, -ETIMEDOUT);
    CHECK_INT(rota_now() - began, ==, 10 * ROTA_SECOND);
    check_contains(rota_stream_error(l.client), "not complete within 10 s");
    char c;
    CHECK_INT(rota_stream_read(l.client, &c, 1), ==, ROTA_ETLS);
    ROTA_TIMEOUT (ROTA_SECOND) {
        start_server(&m);
    }
    CHECK_INT(m.server_result, ==, -ETIMEDOUT);
    check_contains(rota_stream_error(m.server), "broken off");
    began = rota_now();
    free_link(&l);
    free_link(&m);
    CHECK_INT(rota_now() - began, ==, 0);
}

/* ---- A man in the middle */

struct middle {
    rota_stream *from, *to;
    bool cut;    /* ends in the middle of what comes next */
    bool meddle; /* changes what comes */
};

static int pass_on(void *arg)
{
    struct middle *m = arg;
    char bytes[4096];
    ssize_t n;
    while (!m->cut && (n = rota_stream_read(m->from, bytes, sizeof bytes)) > 0) {
        if (m->cut)
            n = 3;
        if (m->meddle)
            bytes[n - 1] ^= 1;
        if (rota_stream_write(m->to, bytes, (size_t)n) < 0)
            break;
    }
    ROTA_IGNORE(rota_stream_shutdown(m->to));
    return 0;
}

/* A link whose bytes go through two tasks. */
struct tapped {
    struct link link;
    rota_stream *left, *right;
    struct middle up, down;
    rota_group group;
};

static void tap(struct tapped *t)
{
    t->link = link_of(0);
    rota_stream *client;
    CHECK_OK(rota_stream_pair(0, &client, &t->left));
    t->right = t->link.client; /* the other end of the server's pair */
    t->link.client = client;
    t->up = (struct middle){.from = t->left, .to = t->right};
    t->down = (struct middle){.from = t->right, .to = t->left};
    rota_group_begin(&t->group);
    rota_group_spawn(&t->group, pass_on, &t->up);
    rota_group_spawn(&t->group, pass_on, &t->down);
}

static void untap(struct tapped *t)
{
    free_link(&t->link);
    rota_group_cancel(&t->group);
    ROTA_IGNORE(rota_group_wait(&t->group));
    rota_group_fini(&t->group);
    rota_stream_free(t->left);
    rota_stream_free(t->right);
}

TLS_TEST(a_connection_cut_off_is_reported_and_not_taken_for_the_end)
{
    struct tapped t;
    tap(&t);
    start_well(&t.link);
    greet(&t.link);
    put(t.link.client, "whole");
    ROTA_IGNORE(rota_sleep(1));
    t.up.cut = true;
    put(t.link.client, "in part");
    expect(t.link.server, "whole");
    char c;
    CHECK_INT(rota_stream_read(t.link.server, &c, 1), ==, ROTA_ETRUNCATED);
    CHECK_INT(rota_stream_read(t.link.server, &c, 1), ==, ROTA_ETRUNCATED);
    CHECK_STR(rota_stream_error(t.link.server),
              "read from pair: connection was cut off before its end");
    untap(&t);
}

TLS_TEST(a_forged_record_is_named_on_both_sides, .without_faults = true)
{
    struct tapped t;
    tap(&t);
    start_well(&t.link);
    greet(&t.link);
    t.up.meddle = true;
    put(t.link.client, "pay 1");
    char c;
    CHECK_INT(rota_stream_read(t.link.server, &c, 1), ==, ROTA_ETLS);
    check_contains(rota_stream_error(t.link.server), "damaged or forged");
    CHECK_INT(rota_stream_write(t.link.server, "x", 1), ==, ROTA_ETLS);
    rota_stream_close(t.link.server);
    CHECK_INT(rota_stream_read(t.link.client, &c, 1), ==, ROTA_ETLS);
    check_contains(rota_stream_error(t.link.client), "peer says: bad record mac");
    untap(&t);
}

/* ---- The end */

TLS_TEST(after_close_notify_the_other_direction_goes_on)
{
    struct link l = open_link(0);
    put(l.client, "question");
    CHECK_INT(rota_stream_shutdown(l.client), ==, 0);
    CHECK_INT(rota_stream_shutdown(l.client), ==, 0);
    CHECK_INT(rota_stream_write(l.client, "x", 1), ==, -EPIPE);
    expect(l.server, "question");
    expect_end(l.server);
    expect_end(l.server);
    put(l.server, "answer");
    expect(l.client, "answer");
    CHECK_INT(rota_stream_close(l.server), ==, 0);
    expect_end(l.client);
    free_link(&l);
}

static int read_end(void *arg)
{
    expect_end(arg);
    return 0;
}

static int read_closed(void *arg)
{
    char c;
    CHECK_INT(rota_stream_read(arg, &c, 1), ==, ROTA_ECLOSED);
    return 0;
}

TLS_TEST(closing_says_so_and_waits_a_second_at_most_for_the_peer)
{
    struct link l = open_link(0);
    ROTA_GROUP(g);
    rota_time began = rota_now();
    CHECK_INT(rota_stream_close(l.client), ==, 0);
    CHECK_INT(rota_now() - began, ==, ROTA_SECOND); /* the server says nothing */
    expect_end(l.server);
    began = rota_now();
    CHECK_INT(rota_stream_close(l.server), ==, 0);
    CHECK_INT(rota_now() - began, ==, 0);
    free_link(&l);

    struct link m = open_link(0); /* while somebody reads */
    rota_group_spawn(&g, read_closed, m.client);
    ROTA_IGNORE(rota_yield());
    CHECK_INT(rota_stream_close(m.client), ==, 0);
    CHECK_INT(rota_now() - began, ==, 0);
    expect_end(m.server);
    ROTA_IGNORE(rota_group_wait(&g));
    free_link(&m);

    struct link n = open_link(0);
    rota_group_spawn(&g, read_end, n.server);
    ROTA_IGNORE(rota_yield());
    put(n.server, "not read by anybody");
    CHECK_INT(rota_stream_shutdown(n.server), ==, 0);
    CHECK_INT(rota_stream_close(n.client), ==, 0);
    CHECK_INT(rota_now() - began, ==, 0);
    ROTA_IGNORE(rota_group_wait(&g));
    free_link(&n);
}

/* ---- Cancelling */

static int write_slowly(void *arg)
{
    rota_stream *s = arg;
    for (int i = 0; i < 40; i++) {
        char text[8];
        snprintf(text, sizeof text, "%d\n", i);
        int err = rota_stream_write(s, text, strlen(text));
        if (err == 0)
            err = rota_sleep(10);
        if (err < 0)
            return err;
    }
    return rota_stream_shutdown(s);
}

TLS_TEST(a_read_that_times_out_loses_nothing)
{
    struct link l = open_link(7);
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_slowly, l.client);
    int expected = 0, err = 0;
    while (err == 0 || err == -ETIMEDOUT || err == 1) {
        rota_str line;
        ROTA_TIMEOUT (3) {
            err = rota_stream_read_line(l.server, &line);
        }
        if (err == 1)
            CHECK_INT(atoi(line.ptr), ==, expected++);
        if (err == 0)
            break;
    }
    CHECK_INT(err, ==, 0);
    CHECK_INT(expected, ==, 40);
    CHECK_OK(rota_group_wait(&g));
    free_link(&l);
}

TLS_TEST(a_write_that_is_cut_short_ends_the_write_side_alone)
{
    struct link l = open_link(1000);
    char bytes[5000] = "";
    ROTA_TIMEOUT (ROTA_SECOND) {
        CHECK_INT(rota_stream_write(l.client, bytes, sizeof bytes), ==, -ETIMEDOUT);
    }
    CHECK_INT(rota_stream_write(l.client, "x", 1), ==, -EPIPE);
    put(l.server, "still heard");
    expect(l.client, "still heard");
    rota_time began = rota_now();
    rota_stream_close(l.client);
    CHECK_INT(rota_now() - began, ==, 0);
    ssize_t n;
    while ((n = rota_stream_read(l.server, bytes, sizeof bytes)) > 0)
        ;
    CHECK_INT(n, ==, ROTA_ETRUNCATED);
    free_link(&l);
}

TLS_TEST(a_call_that_was_over_before_it_began_changes_nothing)
{
    struct link l = open_link(0);
    ROTA_TIMEOUT (0) {
        char c;
        ROTA_IGNORE(rota_sleep(1));
        CHECK_INT(rota_stream_write(l.client, "x", 1), ==, -ETIMEDOUT);
        CHECK_INT(rota_stream_read(l.client, &c, 1), ==, -ETIMEDOUT);
        CHECK_INT(rota_stream_shutdown(l.client), ==, -ETIMEDOUT);
    }
    greet(&l);
    free_link(&l);
}

/* ---- Starting on a stream in use */

TLS_TEST(a_stream_in_use_is_upgraded)
{
    struct link l = link_of(0);
    rota_str line;
    put(l.client, "STARTTLS\r\n");
    CHECK_INT(rota_stream_read_line(l.server, &line), ==, 1);
    put(l.server, "220 go ahead\r\n");
    CHECK_INT(rota_stream_read_line(l.client, &line), ==, 1);
    start_well(&l);
    greet(&l);
    free_link(&l);
}

TLS_TEST(what_was_slipped_in_before_the_upgrade_is_never_read_as_encrypted)
{
    struct link l = link_of(0);
    rota_str line;
    put(l.client, "STARTTLS\r\nRCPT TO:<victim@example>\r\n");
    CHECK_INT(rota_stream_read_line(l.server, &line), ==, 1);
    put(l.server, "220 go ahead\r\n");
    CHECK_INT(rota_stream_read_line(l.client, &line), ==, 1);
    start(&l);
    CHECK_INT(l.server_result, ==, ROTA_ETLS);
    check_contains(rota_stream_error(l.server), "peer does not speak TLS");
    CHECK_INT(rota_stream_read_line(l.server, &line), ==, ROTA_ETLS);
    free_link(&l);
}

static int greeting_ahead(void *arg)
{
    struct link *l = arg;
    rota_str line;
    ROTA_IGNORE(rota_sleep(1)); /* the client's first message is there with the line */
    CHECK_INT(rota_stream_read_line(l->server, &line), ==, 1);
    CHECK_STR(line.ptr, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2");
    return start_server(l);
}

TLS_TEST(a_handshake_that_came_with_the_line_before_it_is_read)
{
    struct link l = link_of(0);
    ROTA_GROUP(g);
    put(l.client, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    rota_group_spawn(&g, start_client, &l);
    rota_group_spawn(&g, greeting_ahead, &l);
    CHECK_OK(rota_group_wait(&g));
    CHECK_OK(l.client_result);
    CHECK_OK(l.server_result);
    greet(&l);
    free_link(&l);
}

/* ---- A peer that wants to renegotiate */

static struct link old_link(size_t capacity)
{
    struct link l = link_of(capacity);
    rota_tls_context_free(l.server_tls);
    l.server_tls = server_with((rota_tls_options){.max_version = ROTA_TLS_1_2});
    start_well(&l);
    return l;
}

/* Clients of ours refuse by an alert. */
static void ask_to_renegotiate(rota_stream *server, const char *and_say)
{
    SSL *ssl = ssl_of(server);
    SSL_clear_options(ssl, SSL_OP_NO_RENEGOTIATION);
    CHECK_INT(SSL_renegotiate(ssl), ==, 1);
    CHECK_INT(SSL_do_handshake(ssl), ==, 1);
    if (*and_say)
        put(server, and_say);
    else
        CHECK_OK(rota__tls_flush(rota__tls_of(rota_stream_filter(server, &rota__tls_kind))));
}

static int refuse(void *arg)
{
    struct link *l = arg;
    char c;
    CHECK_INT(rota_stream_read(l->client, &c, 1), ==, ROTA_ETLS);
    check_contains(rota_stream_error(l->client), "peer wants to renegotiate, which is refused");
    return 0;
}

static int renegotiate_main(void *arg)
{
    struct link l = old_link(0);
    const char *also = arg;
    char c;
    ask_to_renegotiate(l.server, also);
    expect(l.client, also);
    refuse(&l);
    CHECK_INT(rota_stream_write(l.client, "x", 1), ==, ROTA_ETLS);
    rota_stream_close(l.client);
    CHECK_INT(rota_stream_read(l.server, &c, 1), ==, ROTA_ETLS);
    check_contains(rota_stream_error(l.server), "no renegotiation");
    free_link(&l);
    return 0;
}

TEST_ALREADY(a_peer_that_wants_to_renegotiate_is_refused_and_not_left_waiting)
{
    run_tls(renegotiate_main, (char[]){""});
    run_tls(renegotiate_main, (char[]){"and more"});
}

/* The client's write waits while its reader makes OpenSSL add to what is to be sent. */
TLS_TEST(a_reader_that_answers_leaves_alone_what_a_writer_is_sending)
{
    struct link l = old_link(1000);
    struct transfer up = {l.client, 1, MUCH, MUCH};
    unsigned char bytes[4000];
    ROTA_GROUP(g);
    rota_group_spawn(&g, send_much, &up);
    rota_group_spawn(&g, refuse, &l);
    ROTA_IGNORE(rota_yield());
    ask_to_renegotiate(l.server, "");
    ROTA_IGNORE(rota_yield());
    for (int i = 0; i < 10; i++) {
        CHECK_INT(rota_stream_read_exact(l.server, bytes, sizeof bytes), ==, 0);
        for (size_t k = 0; k < sizeof bytes; k++)
            CHECK_INT(bytes[k], ==, byte_at(1, (size_t)i * sizeof bytes + k));
    }
    rota_stream_close(l.server);
    rota_group_cancel(&g);
    ROTA_IGNORE(rota_group_wait(&g));
    free_link(&l);
}

/* ---- Protocols, names, clients */

static const char *const modern[] = {"h2", "http/1.1", NULL};
static const char *const classic[] = {"http/1.1", NULL};
static const char *const other[] = {"imap", NULL};

TLS_TEST(protocols_are_agreed_on_as_the_server_prefers, .without_faults = true)
{
    struct link l = link_with(client_with((rota_tls_options){.alpn = modern}),
                              server_with((rota_tls_options){.alpn = classic}));
    start_well(&l);
    greet(&l);
    CHECK_INT(rota_tls_alpn(l.client).len, ==, 8);
    CHECK_MEM(rota_tls_alpn(l.client).ptr, "http/1.1", 8);
    CHECK_INT(rota_tls_alpn(l.server).len, ==, 8);
    free_link(&l);

    struct link m = link_with(client_with((rota_tls_options){.alpn = other}),
                              server_with((rota_tls_options){.alpn = modern}));
    start(&m);
    check_contains(rota_stream_error(m.client), "no application protocol in common");
    check_contains(rota_stream_error(m.server), "no application protocol in common");
    free_link(&m);

    struct link n = link_with(client_with((rota_tls_options){.alpn = modern}),
                              server_with((rota_tls_options){.alpn = modern}));
    n.alpn = classic;
    start_well(&n);
    CHECK_INT(rota_tls_alpn(n.client).len, ==, 8);
    free_link(&n);

    struct link o =
        link_with(client_with((rota_tls_options){0}), server_with((rota_tls_options){0}));
    static const char *const bad[] = {"", NULL};
    CHECK_INT(rota_tls_start_client(o.client, o.client_tls, o.host, bad), ==, -EINVAL);
    CHECK_INT(rota_tls_start_client(o.client, o.client_tls, o.host, bad + 1), ==, -EINVAL);
    free_link(&o);
}

static rota_tls_context *choose_site(void *arg, const char *name)
{
    rota_tls_context **sites = arg;
    if (name && strcmp(name, "unknown.example") == 0)
        return NULL;
    return sites[name && strcmp(name, "b.example") == 0];
}

TLS_TEST(a_server_shows_the_certificate_of_the_name_that_is_asked_for, .without_faults = true)
{
    struct identity a = identity_new(&authority, &(struct wanted){"a", "DNS:a.example", 0});
    struct identity b = identity_new(&authority, &(struct wanted){"b", "DNS:b.example", 0});
    rota_tls_context *sites[] = {
        server_with((rota_tls_options){.cert_pem = a.cert_pem, .key_pem = a.key_pem}),
        server_with((rota_tls_options){.cert_pem = b.cert_pem, .key_pem = b.key_pem}),
    };
    rota_tls_options choosing = {.choose = choose_site, .choose_arg = sites};
    const char *hosts[] = {"a.example", "b.example", "unknown.example"};
    for (int i = 0; i < 3; i++) {
        struct link l = link_with(client_with((rota_tls_options){0}), context_with(choosing));
        l.host = hosts[i];
        start(&l);
        char subject[16] = "";
        CHECK_INT(l.client_result, ==, i < 2 ? 0 : ROTA_ETLS);
        if (i < 2) {
            greet(&l);
            CHECK_INT(rota_tls_peer_subject(l.client, subject, sizeof subject), ==, 4);
            CHECK_INT(subject[3], ==, hosts[i][0]);
        } else {
            check_contains(rota_stream_error(l.client), "unrecognized name");
        }
        free_link(&l);
    }
    for (int i = 0; i < 2; i++)
        rota_tls_context_free(sites[i]);
    identity_free(&a);
    identity_free(&b);
}

/* One site trusts strangers, the other anybody; neither knows a protocol. */
TLS_TEST(a_chosen_context_lends_its_certificate_and_nothing_else, .without_faults = true)
{
    struct authority stranger = authority_new("Stranger");
    struct wanted alice = {.subject = "alice", .names = "DNS:alice"};
    struct identity a = identity_new(&authority, &(struct wanted){"a", "DNS:a.example", 0});
    struct identity b = identity_new(&authority, &(struct wanted){"b", "DNS:b.example", 0});
    struct identity good = identity_new(&authority, &alice), bad = identity_new(&stranger, &alice);
    rota_tls_context *sites[] = {
        context_with((rota_tls_options){
            .cert_pem = a.cert_pem, .key_pem = a.key_pem, .ca_pem = stranger.pem}),
        context_with((rota_tls_options){
            .cert_pem = b.cert_pem, .key_pem = b.key_pem, .insecure_accept_any_certificate = true}),
    };
    rota_tls_options choosing = {.choose = choose_site,
                                 .choose_arg = sites,
                                 .alpn = modern,
                                 .ca_pem = authority.pem,
                                 .clients = ROTA_TLS_CLIENTS_MUST_IDENTIFY};
    const char *hosts[] = {"a.example", "b.example"};
    for (int i = 0; i < 4; i++) {
        const struct identity *who = i < 2 ? &good : &bad;
        struct link l =
            link_with(client_with((rota_tls_options){
                          .alpn = modern, .cert_pem = who->cert_pem, .key_pem = who->key_pem}),
                      context_with(choosing));
        l.host = hosts[i % 2];
        start(&l);
        CHECK_INT(l.server_result, ==, i < 2 ? 0 : ROTA_ECERT);
        if (i < 2) {
            greet(&l);
            CHECK_INT(rota_tls_alpn(l.server).len, ==, 2);
        } else {
            check_contains(rota_stream_error(l.server), "unknown certificate authority: Stranger");
        }
        free_link(&l);
    }
    for (int i = 0; i < 2; i++)
        rota_tls_context_free(sites[i]);
    identity_free(&a);
    identity_free(&b);
    identity_free(&good);
    identity_free(&bad);
    authority_free(&stranger);
}

TLS_TEST(clients_identify_where_the_server_wants_it)
{
    struct authority stranger = authority_new("Stranger");
    struct wanted alice = {.subject = "alice", .names = "DNS:alice"};
    struct identity good = identity_new(&authority, &alice), bad = identity_new(&stranger, &alice);
    rota_tls_options asking = {.ca_pem = authority.pem, .clients = ROTA_TLS_CLIENTS_MUST_IDENTIFY};
    char c, subject[32];

    struct link l = link_with(
        client_with((rota_tls_options){.cert_pem = good.cert_pem, .key_pem = good.key_pem}),
        server_with(asking));
    start_well(&l);
    greet(&l);
    CHECK_INT(rota_tls_peer_subject(l.server, subject, sizeof subject), ==, 8);
    CHECK_STR(subject, "CN=alice");
    free_link(&l);

    struct link m = link_with(client_with((rota_tls_options){0}), server_with(asking));
    start(&m);
    CHECK_INT(m.server_result, ==, ROTA_ETLS);
    check_contains(rota_stream_error(m.server), "peer shows no certificate");
    CHECK_INT(rota_stream_read(m.client, &c, 1), ==, ROTA_ETLS);
    check_contains(rota_stream_error(m.client), "peer wants a certificate of ours");
    free_link(&m);

    struct link n =
        link_with(client_with((rota_tls_options){.cert_pem = bad.cert_pem, .key_pem = bad.key_pem}),
                  server_with(asking));
    start(&n);
    CHECK_INT(n.server_result, ==, ROTA_ECERT);
    check_contains(rota_stream_error(n.server), "unknown certificate authority: Stranger");
    free_link(&n);

    asking.clients = ROTA_TLS_CLIENTS_MAY_IDENTIFY;
    struct link o = link_with(client_with((rota_tls_options){0}), server_with(asking));
    start_well(&o);
    greet(&o);
    free_link(&o);
    identity_free(&good);
    identity_free(&bad);
    authority_free(&stranger);
}

/* ---- Resumption */

struct visits {
    rota_tls_options client, server;
    int resumed; /* of three */
};

static int visits_main(void *arg)
{
    const struct visits *v = arg;
    rota_tls_context *client = client_with(v->client), *server = server_with(v->server);
    int resumed = 0;
    for (int i = 0; i < 3; i++) {
        struct link l = link_with(client, server);
        start_well(&l);
        greet(&l);
        CHECK_INT(rota_tls_resumed(l.client), ==, rota_tls_resumed(l.server));
        resumed += rota_tls_resumed(l.client);
        free_streams(&l);
    }
    struct link stranger = link_with(client, server);
    stranger.host = "127.0.0.1";
    start_well(&stranger);
    CHECK(!rota_tls_resumed(stranger.client));
    free_link(&stranger);
    CHECK_INT(resumed, ==, v->resumed);
    return 0;
}

TEST(sessions_are_resumed_with_the_same_host_only)
{
    rota_tls_options old = {.max_version = ROTA_TLS_1_2}, none = {.no_resumption = true};
    run_tls(visits_main, &(struct visits){.resumed = 2});
    run_tls(visits_main, &(struct visits){.client = old, .resumed = 2});
    run_tls(visits_main, &(struct visits){.client = none, .resumed = 0});
    run_tls(visits_main, &(struct visits){.server = none, .resumed = 0});
    run_tls(visits_main, &(struct visits){.client = old, .server = none, .resumed = 0});
}

/* ---- Keys of tickets */

/* Visits at these times, in hours: the key of a ticket is changed every four, and read for another
 * four. */
struct returns {
    rota_tls_options client;
    int hours[6];
    bool resumed[6];
};

static int returns_main(void *arg)
{
    const struct returns *r = arg;
    rota_tls_context *client = client_with(r->client);
    rota_tls_context *server = server_with((rota_tls_options){.cert_file = NULL});
    for (int i = 0; i < 6; i++) {
        CHECK_INT(rota_sleep_until(r->hours[i] * 60 * ROTA_MINUTE), ==, 0);
        struct link l = link_with(client, server);
        start_well(&l);
        greet(&l);
        if (rota_tls_resumed(l.client) != r->resumed[i])
            FAIL("visit %d, hour %d", i, r->hours[i]);
        free_streams(&l);
    }
    rota_tls_context_free(client);
    rota_tls_context_free(server);
    return 0;
}

TEST(keys_of_tickets_are_used_for_four_hours_and_read_for_eight)
{
    struct returns soon = {.hours = {0, 3, 5, 9, 13, 14},
                           .resumed = {false, true, true, true, true, true}};
    struct returns late = {.hours = {0, 8, 9, 17, 18, 40},
                           .resumed = {false, false, true, false, true, false}};
    run_tls(returns_main, &soon);
    run_tls(returns_main, &late);
    soon.client.max_version = late.client.max_version = ROTA_TLS_1_2;
    run_tls(returns_main, &soon);
    run_tls(returns_main, &late);
}

/* As two processes do that were forked after the context was made: what one of them says, the other
 * one reads. */
TLS_TEST(copies_of_a_context_change_their_keys_alike)
{
    rota_tls_context *client = client_with((rota_tls_options){.max_version = 0});
    rota_tls_context *servers[] = {server_with((rota_tls_options){.max_version = 0}),
                                   server_with((rota_tls_options){.max_version = 0})};
    struct rota__tls_tickets *from = &servers[0]->tickets, *to = &servers[1]->tickets;
    memcpy(to->chain, from->chain, sizeof from->chain);
    to->present = from->present;
    to->past = from->past;
    to->until = from->until;
    for (int i = 0; i < 10; i++) {
        struct link l = link_with(client, servers[i % 2]);
        start_well(&l);
        greet(&l);
        CHECK_INT(rota_tls_resumed(l.client), ==, i > 0);
        free_streams(&l);
        CHECK_INT(rota_sleep(180 * ROTA_MINUTE), ==, 0);
    }
    rota_tls_context_free(client);
    rota_tls_context_free(servers[0]);
    rota_tls_context_free(servers[1]);
}

TLS_TEST(the_oldest_sessions_make_room, .without_faults = true)
{
    struct identity id = identity_new(&authority, &(struct wanted){.names = "DNS:*.test.example"});
    rota_tls_context *client = client_with((rota_tls_options){.sessions = 4});
    rota_tls_context *server =
        server_with((rota_tls_options){.cert_pem = id.cert_pem, .key_pem = id.key_pem});
    const char *hosts[] = {"a.test.example", "b.test.example", "c.test.example", "a.test.example",
                           "c.test.example"};
    bool resumes[] = {false, false, false, false, true};
    for (int i = 0; i < 5; i++) {
        struct link l = link_with(client, server);
        l.host = hosts[i];
        start_well(&l);
        greet(&l);
        CHECK_INT(rota_tls_resumed(l.client), ==, resumes[i]);
        free_streams(&l);
    }
    rota_tls_context_free(client);
    rota_tls_context_free(server);
    identity_free(&id);
}

/* ---- Contexts */

static void check_refused(rota_tls_options options, int expected, const char *words)
{
    rota_tls_context *context = NULL;
    CHECK_INT(rota_tls_context_new(&options, &context), ==, expected);
    CHECK_PTR(context, ==, NULL);
    check_contains(rota_error(expected), words);
}

TEST_ALREADY(settings_that_make_no_sense_are_refused_in_words)
{
    make_authority();
    struct identity another = identity_new(&authority, &(struct wanted){0});
    rota_str junk = {"no certificate", 14};
    const char *none[] = {NULL};
    check_refused((rota_tls_options){.ca_file = "/nowhere/ca.pem"}, ROTA_ETLS, "/nowhere/ca.pem: ");
    check_refused((rota_tls_options){.ca_file = "/nowhere/ca.pem"}, ROTA_ETLS, "No such file");
    check_refused((rota_tls_options){.ca_file = "/dev/null"}, ROTA_ETLS, "/dev/null: ");
    check_refused((rota_tls_options){.crl_file = "/dev/null"}, ROTA_ETLS, "/dev/null: ");
    check_refused((rota_tls_options){.ca_pem = junk}, ROTA_ETLS, "ca_pem: ");
    check_refused((rota_tls_options){.cert_pem = junk}, ROTA_ETLS, "cert_pem: ");
    check_refused((rota_tls_options){.cert_pem = server_identity.cert_pem}, ROTA_ETLS, "key_pem: ");
    check_refused((rota_tls_options){.cert_file = "/nowhere"}, ROTA_ETLS, "/nowhere: ");
    check_refused(
        (rota_tls_options){.cert_pem = server_identity.cert_pem, .key_pem = another.key_pem},
        ROTA_ETLS, "mismatch");
    check_refused((rota_tls_options){.key_file = "key.pem"}, -EINVAL, "without a certificate");
    check_refused((rota_tls_options){.clients = ROTA_TLS_CLIENTS_MUST_IDENTIFY}, -EINVAL,
                  "no authority");
    check_refused((rota_tls_options){.alpn = none}, -EINVAL, "alpn");
    check_refused((rota_tls_options){.min_version = ROTA_TLS_1_3, .max_version = ROTA_TLS_1_2},
                  -EINVAL, "min_version is higher");
    check_refused((rota_tls_options){.max_version = (rota_tls_version)9}, -EINVAL,
                  "not a version of TLS");
    check_refused((rota_tls_options){.ciphers = "nonsense"}, ROTA_ETLS, "ciphers: ");
    check_refused((rota_tls_options){.ciphersuites = "nonsense"}, ROTA_ETLS, "ciphersuites: ");
    identity_free(&another);
}

TLS_TEST(certificates_and_keys_come_from_files_too, .without_faults = true)
{
    const char *cert = file_with(server_identity.cert_pem.ptr),
               *key = file_with(server_identity.key_pem.ptr);
    const char *ca = file_with(authority.pem.ptr);
    char *both = malloc(server_identity.cert_pem.len + server_identity.key_pem.len + 1);
    strcpy(both, server_identity.cert_pem.ptr);
    strcat(both, server_identity.key_pem.ptr);
    const char *one = file_with(both);
    rota_tls_options options[] = {{.cert_file = cert, .key_file = key},
                                  {.cert_file = one},
                                  {.cert_pem = {both, strlen(both)}}};
    for (int i = 0; i < 3; i++) {
        struct link l =
            link_with(context_with((rota_tls_options){.ca_file = ca}), context_with(options[i]));
        start_well(&l);
        greet(&l);
        free_link(&l);
    }
    unlink(cert);
    unlink(key);
    unlink(ca);
    unlink(one);
    free(both);
}

/* ---- Keys and the worker processes of a pool */

enum { KEY_BYTES = 32 };

/* A private key that only a file has; and, so that a search does not find what it searches for,
 * masked. */
struct hidden_key {
    unsigned char masked[KEY_BYTES];
};

static void hide_key(struct hidden_key *hidden, const char *path)
{
    struct identity id = identity_new(&authority, &(struct wanted){0});
    BIO *bio = BIO_new_mem_buf(id.key_pem.ptr, (int)id.key_pem.len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIGNUM *secret = NULL;
    CHECK_INT(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &secret), ==, 1);
    CHECK_INT(BN_bn2binpad(secret, hidden->masked, KEY_BYTES), ==, KEY_BYTES);
    for (int i = 0; i < KEY_BYTES; i++)
        hidden->masked[i] ^= 0x5a;
    FILE *file = fopen(path, "w");
    CHECK(file);
    fprintf(file, "%.*s%.*s", (int)id.cert_pem.len, id.cert_pem.ptr, (int)id.key_pem.len,
            id.key_pem.ptr);
    fclose(file);
}

/* In a process of its own, which takes its memory along. */
static struct hidden_key hidden_key_in(const char *path)
{
    int ends[2];
    struct hidden_key hidden;
    CHECK_OK(pipe(ends));
    pid_t pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        hide_key(&hidden, path);
        _exit(write(ends[1], &hidden, sizeof hidden) != sizeof hidden);
    }
    close(ends[1]);
    CHECK_INT(read(ends[0], &hidden, sizeof hidden), ==, sizeof hidden);
    close(ends[0]);
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    return hidden;
}

/* How often the key is there; numbers are kept from their lowest byte on. */
static int count_key(const unsigned char *bytes, size_t len, const struct hidden_key *hidden)
{
    int count = 0;
    for (size_t at = 0; at + KEY_BYTES <= len; at++) {
        size_t i = 0;
        while (i < KEY_BYTES && (bytes[at + i] ^ 0x5a) == hidden->masked[KEY_BYTES - 1 - i])
            i++;
        count += i == KEY_BYTES;
    }
    return count;
}

/* How often this process's own memory has the key. What cannot be read (guards) is passed over. */
static int find_key(void *arg)
{
    enum { PAGE = 4096, REGION_MOST = 64 << 20 };
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    unsigned char *page =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(maps && memory >= 0 && page != MAP_FAILED);
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx rw-p", &from, &to) != 2 || !strstr(line, " rw-p ") ||
            to - from > REGION_MOST)
            continue;
        for (; from < to; from += PAGE) {
            ssize_t n = pread(memory, page, PAGE + KEY_BYTES - 1, (off_t)from);
            count += n > 0 ? count_key(page, (size_t)n, arg) : 0;
        }
    }
    munmap(page, 2 * PAGE);
    fclose(maps);
    close(memory);
    return count;
}

static int start_with_lost_contexts(void *arg)
{
    struct link *l = *(struct link **)arg;
    rota_stream *client, *server;
    CHECK_OK(rota_stream_pair(0, &client, &server));
    CHECK_INT(rota_tls_start_client(client, l->client_tls, "localhost", NULL), ==, ROTA_ECLOSED);
    CHECK_INT(rota_tls_start_server(server, l->server_tls), ==, ROTA_ECLOSED);
    rota_stream_free(client);
    rota_stream_free(server);
    return 0;
}

static int run_with_lost_contexts(void *arg)
{
    return rota_run(start_with_lost_contexts, arg);
}

TLS_TEST(workers_of_a_pool_have_no_keys, .without_faults = true)
{
    char path[100];
    snprintf(path, sizeof path, "%s/both.pem", test_directory());
    struct hidden_key hidden = hidden_key_in(path);
    struct link l = link_with(client_with((rota_tls_options){0}),
                              context_with((rota_tls_options){.cert_file = path}));
    start_well(&l);
    rota_executor *pool;
    CHECK_OK(rota_process_pool_new(NULL, &pool));
    /* OpenSSL may leave more of them in memory that it freed when it had read the file. */
    int here = find_key(&hidden);
    CHECK_INT(here, >, 0);
    CHECK_INT(rota_executor_run_copy(pool, find_key, &hidden, sizeof hidden), <, here);
    CHECK_OK(rota_executor_run_copy(pool, run_with_lost_contexts, &(struct link *){&l}, sizeof &l));
    rota_executor_free(pool);
    greet(&l);
    free_link(&l);
}

TLS_TEST(streams_outlive_the_handle_of_their_context, .without_faults = true)
{
    struct link l = open_link(0);
    rota_tls_context_free(l.client_tls);
    rota_tls_context_free(l.server_tls);
    greet(&l);
    free_streams(&l);
}

/* ---- Threads */

struct shared {
    rota_tls_context *client, *server;
};

static int visit_main(void *arg)
{
    struct shared *shared = arg;
    for (int i = 0; i < 10; i++) {
        struct link l = link_with(shared->client, shared->server);
        start_well(&l);
        greet(&l);
        free_streams(&l);
    }
    return 0;
}

static void *visit_thread(void *arg)
{
    CHECK_OK(rota_test_run(visit_main, arg));
    return NULL;
}

TEST_ALREADY(threads_share_a_context)
{
    make_authority();
    struct shared shared = {client_with((rota_tls_options){0}), server_with((rota_tls_options){0})};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, visit_thread, &shared), ==, 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    rota_tls_context_free(shared.client);
    rota_tls_context_free(shared.server);
}

/* ---- Forks while another thread has connections, or is inside OpenSSL */

static atomic_int ssl_objects_freed; /* by several threads */

static void count_freed(void *object, void *ptr, CRYPTO_EX_DATA *data, int index, long number,
                        void *arg)
{
    ssl_objects_freed++;
}

/* Until when the handshake of the other loop stays inside OpenSSL. */
enum stay { NO_STAY, UNTIL_FORK_BEGINS, UNTIL_FORK_ENDS };

struct other_loop {
    struct shared shared;
    pthread_barrier_t connected, forked;
    enum stay stay;
    rota_fn *job; /* for the worker, with `hidden` */
    struct hidden_key hidden;
};

static sem_t fork_begins;

static void note_fork(void)
{
    sem_post(&fork_begins);
}

static rota_tls_context *stay_inside(void *arg, const char *name)
{
    struct other_loop *beside = arg;
    if (beside->stay != NO_STAY)
        pthread_barrier_wait(&beside->connected);
    if (beside->stay == UNTIL_FORK_ENDS)
        pthread_barrier_wait(&beside->forked);
    if (beside->stay == UNTIL_FORK_BEGINS) {
        while (sem_wait(&fork_begins) < 0)
            continue;
        for (int i = 0; i < 1000; i++) /* so that the fork would be over if it did not wait */
            sched_yield();
    }
    return beside->shared.server;
}

static int stay_connected(void *arg)
{
    struct other_loop *beside = arg;
    enum stay stay = beside->stay;
    struct link l = link_with(beside->shared.client, beside->shared.server);
    start_well(&l);
    if (stay == NO_STAY)
        pthread_barrier_wait(&beside->connected);
    if (stay != UNTIL_FORK_ENDS)
        pthread_barrier_wait(&beside->forked);
    greet(&l);
    free_streams(&l);
    return 0;
}

static void *stay_connected_thread(void *arg)
{
    CHECK_OK(rota_test_run(stay_connected, arg));
    return NULL;
}

static int count_in_worker(void *arg)
{
    return ssl_objects_freed;
}

static int run_in_worker(void *arg)
{
    struct other_loop *beside = arg;
    rota_executor *pool;
    CHECK_OK(rota_process_pool_new(NULL, &pool));
    pthread_barrier_wait(&beside->connected);
    int result = rota_executor_run_copy(pool, beside->job, &beside->hidden, sizeof beside->hidden);
    pthread_barrier_wait(&beside->forked);
    rota_executor_free(pool);
    return result;
}

/* Runs the job in a worker that is forked while another loop has a connection. */
static int run_beside(struct other_loop *beside)
{
    pthread_t thread;
    CHECK_OK(pthread_barrier_init(&beside->connected, NULL, 2));
    CHECK_OK(pthread_barrier_init(&beside->forked, NULL, 2));
    CHECK_OK(pthread_create(&thread, NULL, stay_connected_thread, beside));
    int result = rota_test_run(run_in_worker, beside);
    pthread_join(thread, NULL);
    rota_tls_context_free(beside->shared.client);
    rota_tls_context_free(beside->shared.server);
    return result;
}

/* How many of the other loop's two SSL objects the worker has freed. */
static int freed_beside(enum stay stay)
{
    static int index = -1;
    make_authority();
    struct other_loop beside = {.stay = stay, .job = count_in_worker};
    beside.shared.client = client_with((rota_tls_options){0});
    beside.shared.server =
        server_with((rota_tls_options){.choose = stay_inside, .choose_arg = &beside});
    if (index < 0) {
        index = SSL_get_ex_new_index(0, NULL, NULL, NULL, count_freed);
        CHECK_OK(sem_init(&fork_begins, 0, 0));
        CHECK_OK(pthread_atfork(note_fork, NULL, NULL)); /* runs before that of rota-tls */
    }
    CHECK_INT(index, >=, 0);
    int before = ssl_objects_freed;
    return run_beside(&beside) - before;
}

TEST_ALREADY(workers_of_a_pool_have_no_keys_of_other_loops)
{
    char path[100];
    make_authority();
    snprintf(path, sizeof path, "%s/other.pem", test_directory());
    struct other_loop beside = {.job = find_key, .hidden = hidden_key_in(path)};
    beside.shared.client = client_with((rota_tls_options){0});
    beside.shared.server = context_with((rota_tls_options){.cert_file = path});
    int here = find_key(&beside.hidden);
    CHECK_INT(here, >, 0);
    CHECK_INT(run_beside(&beside), <, here);
}

TEST_ALREADY(workers_of_a_pool_free_what_belongs_to_other_loops)
{
    CHECK_INT(freed_beside(NO_STAY), ==, 2);
}

TEST_ALREADY(fork_waits_until_other_threads_have_left_openssl)
{
    CHECK_INT(freed_beside(UNTIL_FORK_BEGINS), ==, 2);
}

TEST_ALREADY(fork_does_not_wait_for_ever_and_leaves_alone_what_others_are_inside)
{
    CHECK_INT(freed_beside(UNTIL_FORK_ENDS), ==, 0);
}

/* ---- Resources */

TLS_TEST(memory_returns_to_where_it_was, .without_faults = true)
{
    struct link l = open_link(0);
    greet(&l);
    greet(&l);
    long before = rota__alloc_live();
    greet(&l);
    CHECK_INT(rota__alloc_live(), ==, before);
    free_link(&l);
}

/* ---- Files */

enum { FILE_SIZE = 300000 };

struct upload {
    rota_stream *s;
    int fd;
    int64_t received;
    int result;
};

static int receive_upload(void *arg)
{
    struct upload *u = arg;
    u->result = rota_stream_receive_file(u->s, u->fd, 0, FILE_SIZE, &u->received);
    return 0;
}

static int file_of(size_t size)
{
    static char bytes[FILE_SIZE];
    char path[128] = "";
    snprintf(path, sizeof path, "%s/XXXXXX", test_directory());
    int fd = mkstemp(path);
    CHECK_OK(fd);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    CHECK_INT(write(fd, bytes, size), ==, (long long)size);
    return fd;
}

static void check_same(int fd, int copy)
{
    static char a[FILE_SIZE], b[FILE_SIZE];
    CHECK_INT(pread(fd, a, FILE_SIZE, 0), ==, FILE_SIZE);
    CHECK_INT(pread(copy, b, FILE_SIZE, 0), ==, FILE_SIZE);
    CHECK(memcmp(a, b, FILE_SIZE) == 0);
}

static void send_a_file(struct link *l)
{
    struct upload u = {.s = l->server, .fd = file_of(0)};
    int fd = file_of(FILE_SIZE);
    int64_t sent = 0;
    rota_task *receiver;
    CHECK_OK(rota_spawn(receive_upload, &u, &receiver));
    CHECK_INT(rota_stream_send_file(l->client, fd, 0, FILE_SIZE, &sent), ==, 0);
    CHECK_INT(sent, ==, FILE_SIZE);
    CHECK_INT(rota_join(receiver), ==, 0);
    CHECK_INT(u.result, ==, 0);
    CHECK_INT(u.received, ==, FILE_SIZE);
    check_same(fd, u.fd);
    close(fd);
    close(u.fd);
}

TLS_TEST(file_is_sent_and_received_encrypted)
{
    struct link l = open_link(0);
    send_a_file(&l);
    free_link(&l);
}

/* ---- The kernel encrypts */

static bool kernel_has_tls(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), s = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_OK(bind(listener, (struct sockaddr *)&at, len));
    CHECK_OK(listen(listener, 1));
    CHECK_OK(getsockname(listener, (struct sockaddr *)&at, &len));
    CHECK_OK(connect(s, (struct sockaddr *)&at, len));
    bool has = setsockopt(s, SOL_TCP, TCP_ULP, "tls", 4) == 0;
    close(s);
    close(listener);
    return has;
}

/* `in_kernel`: both sides want it. */
static struct link tcp_link(rota_tls_version version, bool in_kernel)
{
    rota_listener *listener;
    struct link l = {.host = "localhost"};
    l.client_tls = client_with((rota_tls_options){.use_kernel = in_kernel, .max_version = version});
    l.server_tls = server_with((rota_tls_options){.use_kernel = true});
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &listener));
    CHECK_OK(rota_tcp_connect("127.0.0.1", rota_listener_port(listener), NULL, &l.client));
    CHECK_OK(rota_accept(listener, &l.server));
    rota_listener_free(listener);
    start_well(&l);
    CHECK_INT(rota_tls_in_kernel(l.client), ==, in_kernel && kernel_has_tls());
    CHECK_INT(rota_tls_in_kernel(l.server), ==, kernel_has_tls());
    return l;
}

static int in_kernel_main(void *arg)
{
    struct link l = tcp_link(*(rota_tls_version *)arg, true);
    greet(&l);
    send_a_file(&l);
    struct transfer transfers[] = {
        {l.client, 1, MUCH, 4096},
        {l.client, 2, MUCH, 4096},
        {l.server, 2, MUCH, MUCH},
        {l.server, 1, MUCH, 4096},
    };
    rota_gather_call calls[] = {
        {send_much, &transfers[0], 0},
        {receive_much, &transfers[1], 0},
        {send_much, &transfers[2], 0},
        {receive_much, &transfers[3], 0},
    };
    CHECK_INT(rota_gather(calls, 4), ==, 0);
    free_link(&l);
    return 0;
}

TEST_BOTH(the_kernel_encrypts_where_it_can)
{
    run_tls(in_kernel_main, &(rota_tls_version){ROTA_TLS_1_2});
    run_tls(in_kernel_main, &(rota_tls_version){ROTA_TLS_1_3});
}

static int shut_down(void *arg)
{
    CHECK_INT(rota_stream_shutdown(arg), ==, ROTA_ECLOSED);
    return 0;
}

/* The end has no room in the socket. */
static int no_room_main(void *arg)
{
    struct link l = tcp_link(ROTA_TLS_1_3, true);
    static char bytes[MUCH];
    int err = 0, little = 4096;
    if (!rota_tls_in_kernel(l.server))
        SKIP("this kernel has no TLS");
    CHECK_OK(setsockopt(rota__tls_of(rota_stream_filter(l.server, &rota__tls_kind))->socket,
                        SOL_SOCKET, SO_SNDBUF, &little, sizeof little));
    CHECK_OK(setsockopt(rota__tls_of(rota_stream_filter(l.client, &rota__tls_kind))->socket,
                        SOL_SOCKET, SO_RCVBUF, &little, sizeof little));
    while (err == 0) {
        ROTA_TIMEOUT (300 * ROTA_MILLISECOND) {
            err = rota_stream_write(l.server, bytes, 1);
        }
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    ROTA_TIMEOUT (10 * ROTA_MILLISECOND) {
        err = rota_stream_shutdown(l.server);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    ROTA_GROUP(g);
    rota_group_spawn(&g, shut_down, l.server);
    ROTA_IGNORE(rota_yield());
    rota_stream_close(l.server);
    CHECK_OK(rota_group_wait(&g));
    ssize_t n;
    while ((n = rota_stream_read(l.client, bytes, sizeof bytes)) > 0)
        ;
    CHECK_INT(n, ==, ROTA_ETRUNCATED);
    free_link(&l);
    return 0;
}

TEST_WITH(closing_ends_the_wait_for_room_in_the_kernel, .both_backends = true,
          .without_faults = true)
{
    make_authority();
    CHECK_OK(rota_run(no_room_main, NULL));
}

TLS_TEST(new_keys_are_not_for_the_kernel, .without_faults = true)
{
    struct link l = tcp_link(ROTA_TLS_1_3, false);
    greet(&l);
    CHECK_INT(SSL_key_update(ssl_of(l.client), SSL_KEY_UPDATE_NOT_REQUESTED), ==, 1);
    greet(&l);
    CHECK_INT(SSL_key_update(ssl_of(l.client), SSL_KEY_UPDATE_REQUESTED), ==, 1);
    if (rota_tls_in_kernel(l.server)) {
        char c;
        put(l.client, "x");
        CHECK_INT(rota_stream_read(l.server, &c, 1), ==, 1);
        CHECK_INT(rota_stream_read(l.server, &c, 1), ==, ROTA_ETLS);
        check_contains(rota_stream_error(l.server), "asks for new keys");
    } else {
        greet(&l);
    }
    free_link(&l);
}
