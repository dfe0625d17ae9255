/* Whatever becomes of a request, the session's others get answers, and each its own; and no place
 * of the pool is lost.
 *
 * A case is a way to ask. It is run again and again: the request is cancelled at the first
 * suspension of any task that has part in it, then at the second, and so on; and allocations and
 * system calls fail one after another. Then the same session, which has room for one connection
 * only, has to answer others. */
#include "http/client.h"
#include "net/net.h"

#include "certificates.h"
#include "ends.h"
#include "harness.h"
#include "relay.h"

#include <rota.h>
#include <rota/http_client.h>
#include <rota/http_server.h>
#include <rota/test.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

struct way {
    const char *path; /* what the server is asked for, see answer(); "/evil" */
    rota_http_version version;
    bool secure, by_name, through_proxy;
    bool upgrades;
    bool held;     /* another has the connection, and lets go of it meanwhile */
    bool warm;     /* a connection has served before */
    bool leaves;   /* ... and does not any more */
    bool expect;   /* waits for consent */
    size_t upload; /* bytes that are sent */
    bool by_stream, by_file;
    bool fails;    /* the stream, in the middle */
    bool put;      /* is idempotent */
    bool streamed; /* the answer is read in pieces */
    bool drops;    /* ... of which one is enough */
};

/* Made once. */
static struct authority authority;
static struct identity identity;

struct world {
    const struct way *way;
    rota_test_fault kind;
    uint64_t nth, points;
    rota_listener *listener, *proxy;
    rota_task *server, *proxy_task;
    rota_tls_context *server_tls, *client_tls;
    bool is_served; /* not if the system call that failed was the listener's */
    bool hangs_up;  /* on the client that asks for "/gone" first */
    rota_http_session *session;
    int failures; /* how often asking has failed */
};

enum { LONG = 40000 };

/* ---- The server */

static bool is(const rota_http_request *r, const char *path)
{
    return rota_str_equal(rota_http_request_path(r), path);
}

static int reply_with_query(rota_http_request *r)
{
    rota_str query = rota_http_request_query(r);
    return rota_http_reply(r, 200, "text/plain", query.ptr, query.len);
}

/* Without a length, in pieces, with a trailer; more than buffers and windows hold. */
static int reply_long(rota_http_request *r)
{
    static const char text[LONG / 4] = "evil";
    int err = rota_http_start(r, 200, "text/plain", ROTA_HTTP_UNKNOWN_LENGTH);
    for (int i = 0; i < 4 && err == 0; i++) {
        err = rota_http_write(r, text, sizeof text);
        if (err == 0)
            err = rota_http_flush(r);
        if (err == 0 && i == 1)
            err = rota_sleep(ROTA_MILLISECOND);
    }
    if (err == 0)
        err = rota_http_add_trailer(r, "X-Sum", "evil");
    return err;
}

static int reply_to_upload(rota_http_request *r)
{
    rota_str body;
    int err = rota_sleep(ROTA_MILLISECOND);
    if (err == 0)
        err = rota_http_request_body(r, 0, &body);
    return err < 0 ? err : rota_http_reply(r, 200, "text/plain", "evil", 4);
}

/* While it comes. */

static int upgrade(rota_http_request *r)
{
    rota_stream *s;
    int err = rota_http_upgrade(r, "x", &s);
    return err < 0 ? err : rota_stream_write(s, "evil", 4);
}

static int answer(rota_http_request *r, void *arg)
{
    struct world *w = arg;
    if (is(r, "/echo"))
        return reply_with_query(r);
    if (is(r, "/evil"))
        return rota_http_reply(r, 200, "text/plain", "evil", 4);
    if (is(r, "/long"))
        return reply_long(r);
    if (is(r, "/upload"))
        return reply_to_upload(r);
    if (is(r, "/upgrade"))
        return upgrade(r);
    if (is(r, "/gone") && w->hangs_up) {
        w->hangs_up = false;
        rota_stream_close(rota_http_request_stream(r));
        return -ECONNRESET;
    }
    if (is(r, "/mirror"))
        return echo_piece_by_piece(r, 4000);
    if (is(r, "/move")) {
        rota_http_add_header(r, "Location", "/upload");
        return rota_http_reply(r, 307, "text/plain", "evil", 4);
    }
    if (is(r, "/refuse"))
        return rota_http_reply(r, 413, "text/plain", "evil", 4);
    if (is(r, "/redirect")) {
        rota_http_add_header(r, "Location", "/long");
        return rota_http_reply(r, 302, "text/plain", "evil", 4);
    }
    int err = rota_http_interim(r, 103); /* "/late" */
    if (err == 0)
        err = rota_sleep(ROTA_MILLISECOND);
    return err < 0 ? err : rota_http_reply(r, 200, "text/plain", "evil", 4);
}

static int serve(void *arg)
{
    struct world *w = arg;
    const struct way *way = w->way;
    rota_http_serve_options options = {.tls = w->server_tls, .idle = way->leaves ? ROTA_SECOND : 0};
    int err = rota_http_serve(&w->listener, 1, answer, w, &options);
    w->is_served = false;
    return err;
}

/* ---- A proxy of CONNECT */

static int carry(rota_stream *s, void *arg)
{
    struct world *w = arg;
    static const char go[] = "HTTP/1.1 200 Go\r\n\r\n";
    ROTA_AUTO(rota_stream) there = NULL;
    rota_str head;
    if (rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head) < 0 ||
        rota_tcp_connect("127.0.0.1", rota_listener_port(w->listener), NULL, &there) < 0 ||
        rota_stream_write(s, go, sizeof go - 1) < 0)
        return 0;
    rota_stream *out[] = {s, there}, *back[] = {there, s};
    ROTA_GROUP(g);
    rota_group_spawn(&g, pump, out);
    rota_group_spawn(&g, pump, back);
    ROTA_IGNORE(rota_group_wait(&g));
    return 0;
}

static int serve_proxy(void *arg)
{
    struct world *w = arg;
    int err = rota_serve(w->proxy, carry, w, NULL);
    w->is_served = false;
    return err;
}

static int look_up_here(const char *host, rota_address *ret_addresses, size_t max)
{
    return rota__address_parse("127.0.0.1", 0, &ret_addresses[0]) < 0 ? ROTA_EDNS : 1;
}

/* ---- Asking */

static const char *url_of(const struct world *w, const char *path, char *buf, size_t size)
{
    const struct way *way = w->way;
    snprintf(buf, size, "%s://%s:%d%s", way->secure ? "https" : "http",
             way->by_name ? "localhost" : "127.0.0.1", rota_listener_port(w->listener), path);
    return buf;
}

static int read_pieces(rota_http_response *r, bool drops)
{
    char buf[4000];
    ssize_t n;
    while ((n = rota_http_read(r, buf, sizeof buf)) > 0 && !drops)
        ;
    return n < 0 ? (int)n : 0;
}

static int ask(struct world *w, const rota_http_body_source *body)
{
    const struct way *way = w->way;
    ROTA_AUTO(rota_http_response) r = NULL;
    char url[100];
    rota_http_fetch_options options = {.method = way->put ? "PUT" : NULL,
                                       .stream = way->streamed,
                                       .expect = way->expect,
                                       .upgrade = way->upgrades ? "x" : NULL,
                                       .body = *body};
    const char *path = way->path ? way->path : "/evil";
    int err = rota_http_fetch(w->session, url_of(w, path, url, sizeof url), &options, &r);
    return err == 0 && way->streamed ? read_pieces(r, way->drops) : err;
}

static int fill(void *arg)
{
    static const char text[4000];
    int err = 0;
    for (size_t i = 0; i < 5 && err == 0; i++)
        err = rota_stream_write(arg, text, sizeof text);
    return err < 0 ? err : rota_stream_shutdown(arg);
}

static int ask_by_stream(struct world *w)
{
    ROTA_AUTO(rota_stream) ours = NULL;
    ROTA_AUTO(rota_stream) theirs = NULL;
    int err = rota_stream_pair(4000, &ours, &theirs);
    if (err < 0)
        return err;
    ROTA_GROUP(g);
    rota_group_spawn(&g, fill, ours);
    err = ask(w, &(rota_http_body_source){.stream = theirs, .length = w->way->fails ? 20001 : 0});
    rota_group_cancel(&g);
    return err == -EMSGSIZE && w->nth == 0 ? 0 : err;
}

static char file[300];

static int ask_somehow(struct world *w)
{
    static char text[200000];
    if (w->way->by_file)
        return ask(w, &(rota_http_body_source){.path = file});
    if (w->way->by_stream)
        return ask_by_stream(w);
    return ask(w,
               &(rota_http_body_source){.bytes = {w->way->upload ? text : NULL, w->way->upload}});
}

/* ---- The others */

struct other {
    struct world *world;
    int number, result;
};

static int ask_for_own(void *arg)
{
    struct other *o = arg;
    ROTA_AUTO(rota_http_response) r = NULL;
    char url[100], path[32], own[16];
    snprintf(own, sizeof own, "own%d", o->number);
    snprintf(path, sizeof path, "/echo?%s", own);
    o->result =
        rota_http_fetch(o->world->session, url_of(o->world, path, url, sizeof url), NULL, &r);
    if (o->result < 0) {
        printf("%llu: %s\n", (unsigned long long)o->world->nth, rota_error(o->result));
        return 0;
    }
    CHECK_INT(rota_http_status(r), ==, 200);
    CHECK_STR(rota_http_body(r).ptr, own);
    return 0;
}

static int hold(void *arg)
{
    struct world *w = arg;
    ROTA_AUTO(rota_http_response) r = NULL;
    char url[100];
    int err = rota_http_fetch(w->session, url_of(w, "/echo?held", url, sizeof url),
                              &(rota_http_fetch_options){.stream = true}, &r);
    return err < 0 ? err : rota_sleep(2 * ROTA_MILLISECOND);
}

static void check_pool(const rota_http_session *session)
{
    size_t idle = 0;
    rota__list_each (node, &session->idle)
        idle++;
    CHECK_INT(session->open, ==, idle);
    CHECK_INT(session->open, <=, 1);
    CHECK(rota__list_empty(&session->waiting));
}

static void ask_for_others(struct world *w)
{
    struct other others[4];
    {
        ROTA_GROUP(g);
        for (int i = 0; i < 3; i++) {
            others[i] = (struct other){.world = w, .number = i, .result = 1};
            rota_group_spawn(&g, ask_for_own, &others[i]);
        }
        CHECK_OK(rota_group_wait(&g));
    }
    others[3] = (struct other){.world = w, .number = 3};
    ask_for_own(&others[3]);
    for (int i = 0; i < 4 && w->is_served; i++)
        CHECK_INT(others[i].result, ==, 0);
    ROTA_IGNORE(rota_yield());
    check_pool(w->session);
    if (w->nth % 8 == 0) { /* a clock that jumps takes its time */
        ROTA_IGNORE(rota_sleep(20 * ROTA_SECOND));
        CHECK_INT(w->session->open, ==, 0);
        CHECK_INT(w->session->keepers, ==, 0);
    }
}

/* ---- Going a way */

static void make_contexts(struct world *w)
{
    const char *const *alpn = rota_http_alpn + (w->way->version == ROTA_HTTP_1_1);
    rota_tls_options server = {
        .cert_pem = identity.cert_pem, .key_pem = identity.key_pem, .alpn = alpn};
    rota_tls_options client = {.ca_pem = authority.pem, .alpn = alpn};
    CHECK_OK(rota_tls_context_new(&server, &w->server_tls));
    CHECK_OK(rota_tls_context_new(&client, &w->client_tls));
}

static void open_world(struct world *w)
{
    const struct way *way = w->way;
    char proxy[64] = "";
    if (way->secure)
        make_contexts(w);
    w->is_served = w->hangs_up = true;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &w->listener));
    CHECK_OK(rota_spawn(serve, w, &w->server));
    if (way->through_proxy) {
        CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &w->proxy));
        CHECK_OK(rota_spawn(serve_proxy, w, &w->proxy_task));
        snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", rota_listener_port(w->proxy));
    }
    rota_http_session_options options = {.version = way->version,
                                         .tls = w->client_tls,
                                         .proxy = proxy,
                                         .connections = 1,
                                         .queue_time = ROTA_MINUTE};
    CHECK_OK(rota_http_session_new(&options, &w->session));
}

static void close_world(struct world *w)
{
    w->session = rota_http_session_free(w->session);
    w->server = rota_task_free(w->server);
    w->proxy_task = rota_task_free(w->proxy_task);
    w->listener = rota_listener_free(w->listener);
    w->proxy = rota_listener_free(w->proxy);
    w->client_tls = rota_tls_context_free(w->client_tls);
    w->server_tls = rota_tls_context_free(w->server_tls);
}

static int go(void *arg)
{
    struct world *w = arg;
    const struct way *way = w->way;
    rota_task *holder = NULL;
    open_world(w);
    if (way->warm) {
        ask_for_own(&(struct other){.world = w});
        ROTA_IGNORE(rota_yield());
    }
    if (way->leaves)
        ROTA_IGNORE(rota_sleep(999 * ROTA_MILLISECOND));
    if (way->held) {
        CHECK_OK(rota_spawn(hold, w, &holder));
        ROTA_IGNORE(rota_sleep(ROTA_MILLISECOND));
    }
    rota_test_fail(w->kind, w->nth);
    int err = ask_somehow(w);
    w->points = rota_test_points(w->kind);
    rota_test_fail_none();
    CHECK(err == 0 || w->nth > 0);
    w->failures += err < 0;
    ROTA_SHIELD
    {
        rota_task_free(holder);
        ask_for_others(w);
        close_world(w);
    }
    return 0;
}

static void go_again_and_again(const struct way *way, rota_test_fault kind)
{
    struct world w = {.way = way, .kind = kind};
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(go, &w, &options)); /* nothing fails yet */
    uint64_t stride =
        kind == ROTA_TEST_SUSPENSION || getenv("ROTA_TEST_EVERY") ? 1 : w.points / 16 + 1;
    for (w.nth = 1; w.points >= w.nth - 1; w.nth += stride) {
        long allocations = rota_test_allocations();
        int descriptors = test_open_fds();
        CHECK_OK(rota_run_with(go, &w, &options));
        CHECK_INT(rota_test_allocations(), ==, allocations);
        CHECK_INT(test_open_fds(), ==, descriptors);
    }
    CHECK(w.failures > 0 || kind != ROTA_TEST_SUSPENSION);
}

static void go_safely(const struct way *way)
{
    int (*before)(const char *, rota_address *, size_t) = rota__lookup;
    rota__lookup = look_up_here;
    snprintf(file, sizeof file, "%s/file", test_directory());
    FILE *f = fopen(file, "w");
    CHECK(f && ftruncate(fileno(f), 100000) == 0 && fclose(f) == 0);
    if (way->secure) {
        authority = authority_new("Test Authority");
        identity = identity_new(&authority, &(struct wanted){0});
    }
    go_again_and_again(way, ROTA_TEST_SUSPENSION);
    go_again_and_again(way, ROTA_TEST_ALLOCATION);
    go_again_and_again(way, ROTA_TEST_SYSCALL);
    if (way->secure) {
        identity_free(&identity);
        authority_free(&authority);
    }
    rota__lookup = before;
}

#define WAY(name_, ...)                                     \
    TEST_WITH(name_, .without_faults = true, .seconds = 60) \
    {                                                       \
        go_safely(&(struct way){__VA_ARGS__});              \
    }

WAY(a_request_on_a_new_connection, .version = ROTA_HTTP_1_1)
WAY(a_request_on_a_connection_that_has_served, .warm = true)
WAY(a_request_in_the_line, .held = true)
WAY(a_host_with_a_name, .by_name = true)
WAY(a_request_on_a_connection_that_its_server_is_about_to_close, .warm = true, .leaves = true)
WAY(an_answer_that_comes_late_behind_an_interim_one, .path = "/late")
WAY(a_long_answer, .path = "/long")
WAY(a_long_answer_read_in_pieces, .path = "/long", .streamed = true)
WAY(an_upload, .path = "/upload", .upload = 200000)
WAY(an_upload_of_a_stream, .path = "/upload", .by_stream = true)
WAY(an_upload_that_waits_for_consent, .path = "/upload", .upload = 20000, .expect = true)
WAY(an_upload_that_is_refused, .path = "/refuse", .upload = 200000)
WAY(an_upload_of_a_file, .path = "/upload", .by_file = true)
WAY(an_upload_that_comes_back, .path = "/mirror", .upload = 50000)
WAY(an_upload_that_comes_back_and_is_read_in_pieces, .path = "/mirror", .upload = 50000,
    .streamed = true)
WAY(an_upload_of_a_stream_that_comes_back, .path = "/mirror", .by_stream = true, .streamed = true)
WAY(an_upload_that_is_dropped, .path = "/mirror", .upload = 200000, .streamed = true, .drops = true)
WAY(an_upload_that_fails, .path = "/mirror", .by_stream = true, .fails = true, .streamed = true)
WAY(an_upload_that_is_sent_again, .path = "/gone", .warm = true, .put = true, .upload = 200000)
WAY(an_upload_that_is_redirected, .path = "/move", .upload = 200000)
WAY(an_upload_over_TLS_that_comes_back, .version = ROTA_HTTP_1_1, .secure = true, .path = "/mirror",
    .upload = 20000)
WAY(a_request_that_is_sent_again, .path = "/gone", .warm = true)
WAY(a_redirect, .path = "/redirect")
WAY(an_upgrade, .path = "/upgrade", .upgrades = true)
WAY(a_request_over_TLS, .version = ROTA_HTTP_1_1, .secure = true)
WAY(a_request_through_a_proxy, .version = ROTA_HTTP_1_1, .secure = true, .through_proxy = true)

WAY(HTTP_2_on_a_new_connection, .version = ROTA_HTTP_2_DIRECTLY)
WAY(HTTP_2_on_a_connection_that_has_served, .version = ROTA_HTTP_2_DIRECTLY, .warm = true)
WAY(HTTP_2_on_a_connection_that_its_server_is_about_to_close, .version = ROTA_HTTP_2_DIRECTLY,
    .warm = true, .leaves = true)
WAY(HTTP_2_with_a_late_answer, .version = ROTA_HTTP_2_DIRECTLY, .path = "/late")
WAY(HTTP_2_with_a_long_answer, .version = ROTA_HTTP_2_DIRECTLY, .path = "/long", .streamed = true)
WAY(HTTP_2_with_an_upload, .version = ROTA_HTTP_2_DIRECTLY, .path = "/upload", .upload = 200000)
WAY(HTTP_2_with_an_upload_of_a_stream, .version = ROTA_HTTP_2_DIRECTLY, .path = "/upload",
    .by_stream = true)
WAY(HTTP_2_with_an_upload_that_is_refused, .version = ROTA_HTTP_2_DIRECTLY, .path = "/refuse",
    .upload = 200000, .expect = true)
WAY(HTTP_2_with_an_upload_that_comes_back, .version = ROTA_HTTP_2_DIRECTLY, .path = "/mirror",
    .upload = 20000, .streamed = true)
WAY(HTTP_2_with_an_upload_of_a_stream_that_comes_back, .version = ROTA_HTTP_2_DIRECTLY,
    .path = "/mirror", .by_stream = true)
WAY(HTTP_2_with_an_upload_that_is_dropped, .version = ROTA_HTTP_2_DIRECTLY, .path = "/mirror",
    .upload = 200000, .streamed = true, .drops = true)
WAY(HTTP_2_with_an_upload_that_fails, .version = ROTA_HTTP_2_DIRECTLY, .path = "/mirror",
    .by_stream = true, .fails = true, .streamed = true)
WAY(HTTP_2_with_an_upload_that_is_answered_early, .version = ROTA_HTTP_2_DIRECTLY,
    .path = "/refuse", .upload = 200000)
WAY(HTTP_2_with_an_upload_that_is_sent_again, .version = ROTA_HTTP_2_DIRECTLY, .path = "/gone",
    .warm = true, .put = true, .upload = 200000)
WAY(HTTP_2_with_an_upload_that_is_redirected, .version = ROTA_HTTP_2_DIRECTLY, .path = "/move",
    .upload = 200000)
WAY(HTTP_2_with_a_request_that_is_sent_again, .version = ROTA_HTTP_2_DIRECTLY, .path = "/gone",
    .warm = true)
WAY(HTTP_2_with_a_redirect, .version = ROTA_HTTP_2_DIRECTLY, .path = "/redirect")
WAY(HTTP_2_over_TLS, .secure = true, .path = "/redirect")
WAY(HTTP_2_through_a_proxy, .secure = true, .through_proxy = true)
