/* Bodies that are sent while the answer is read: over HTTP/1.1 and HTTP/2, to our server and to
 * peers that play by scripts. */
#include "http/client.h"

#include "certificates.h"
#include "ends.h"
#include "harness.h"
#include "relay.h"

#include <rota.h>
#include <rota/filter.h>
#include <rota/http_client.h>
#include <rota/http_server.h>
#include <rota/test.h>
#include <rota/tls.h>

#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- A server, a session, and what the test does with them */

struct world {
    bool h2;
    bool secure;
    bool local;                                       /* a Unix socket, whose buffers do not grow */
    int (*handle)(rota_http_request *r, void *world); /* by our server */
    int (*talk)(rota_stream *s, struct world *w);     /* or, of HTTP/1.1 only, as it likes */
    void (*body)(struct world *w);
    rota_http_session_options options;
    const char *refusal[3]; /* status, name and value of a header; else 413 */

    rota_listener *listener;
    rota_tls_context *tls; /* the server's */
    rota_task *server;
    rota_http_session *session;
    int connections;
    size_t received; /* bytes of bodies; answers in the storm */
    char phases[256];
};

static int talk(rota_stream *s, void *arg)
{
    struct world *w = arg;
    w->connections++;
    w->talk(s, w);
    return 0;
}

static int serve(void *arg)
{
    struct world *w = arg;
    if (w->talk)
        return rota_serve(w->listener, talk, w, NULL);
    return rota_http_serve(&w->listener, 1, w->handle, w,
                           &(rota_http_serve_options){
                               .tls = w->tls, .body = UINT64_MAX, .body_gap = 60 * ROTA_MINUTE});
}

static void note_phase(void *arg, const rota_http_trace *trace)
{
    static const char *const names[] = {"queued",     "resolving",  "connecting",
                                        "encrypting", "sending",    "waiting",
                                        "reading",    "redirected", "done"};
    struct world *w = arg;
    if (strlen(w->phases) < sizeof w->phases - 20)
        strcat(strcat(w->phases, names[trace->phase]), trace->err < 0 ? "! " : " ");
}

/* The server's, and returns that of the session. */
static rota_tls_context *make_contexts(struct world *w)
{
    rota_tls_context *trust = NULL;
    struct authority authority = authority_new("Test Authority");
    struct identity identity = identity_new(&authority, &(struct wanted){0});
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.cert_pem = identity.cert_pem,
                                                      .key_pem = identity.key_pem,
                                                      .alpn = rota_http_alpn},
                                  &w->tls));
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.ca_pem = authority.pem}, &trust));
    identity_free(&identity);
    authority_free(&authority);
    return trust;
}

static int world_main(void *arg)
{
    struct world *w = arg;
    rota_tls_context *trust = NULL;
    if (w->secure)
        trust = make_contexts(w);
    w->options.tls = trust;
    w->options.proxy = "";
    w->options.version = w->h2 ? ROTA_HTTP_2_DIRECTLY : ROTA_HTTP_1_1;
    w->options.trace = note_phase;
    w->options.trace_arg = w;
    char path[100];
    snprintf(path, sizeof path, "%s/socket", test_directory());
    w->options.unix_path = w->local ? path : NULL;
    CHECK_OK(w->local ? rota_unix_listen(path, NULL, &w->listener)
                      : rota_tcp_listen("127.0.0.1", 0, NULL, &w->listener));
    CHECK_OK(rota_spawn(serve, w, &w->server));
    char base[100];
    if (w->options.user) {
        snprintf(base, sizeof base, "http://127.0.0.1:%d", rota_listener_port(w->listener));
        w->options.base_url = base;
    }
    CHECK_OK(rota_http_session_new(&w->options, &w->session));
    w->body(w);
    w->session = rota_http_session_free(w->session);
    rota_task_free(w->server);
    rota_listener_free(w->listener);
    rota_tls_context_free(w->tls);
    rota_tls_context_free(trust);
    return 0;
}

static void run(struct world *w)
{
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(world_main, w, &options));
}

/* Over HTTP/1.1, then over HTTP/2. */
static void run_both(const struct world *w)
{
    for (int h2 = 0; h2 < 2; h2++) {
        struct world mine = *w;
        mine.h2 = h2;
        run(&mine);
    }
}

static int fetch(struct world *w, const char *path, const rota_http_fetch_options *options,
                 rota_http_response **ret_response)
{
    char url[100];
    *ret_response = NULL;
    snprintf(url, sizeof url, "http%s://127.0.0.1:%d%s", w->secure ? "s" : "",
             w->local ? 80 : rota_listener_port(w->listener), path);
    return rota_http_fetch(w->session, url, options, ret_response);
}

static void expect_status(struct world *w, const char *path, const rota_http_fetch_options *options,
                          int status)
{
    rota_http_response *r;
    int err = fetch(w, path, options, &r);
    if (err < 0)
        FAIL("%s: %s", path, rota_error(err));
    CHECK_INT(rota_http_status(r), ==, status);
    rota_http_response_free(r);
}

static void expect_error(struct world *w, const rota_http_fetch_options *options, int expected,
                         const char *words)
{
    rota_http_response *r;
    int err = fetch(w, "/", options, &r);
    if (err != expected || !strstr(rota_error(err), words))
        FAIL("%s instead of %s: %s", rota_strerror(err), rota_strerror(expected), rota_error(err));
}

/* ---- Bytes that come from somewhere and go somewhere */

enum { MEGABYTE = 1 << 20, LARGE = 4 * MEGABYTE };

static char large[LARGE];

static void fill(char *buf, size_t len, uint64_t at)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = (char)('a' + (at + i) % 23);
}

struct flow {
    rota_stream *s;
    uint64_t left, at;
    int err;
};

/* A task that writes a body. */
static int pour(void *arg)
{
    struct flow *flow = arg;
    char buf[10000];
    while (flow->left) {
        size_t len = flow->left < sizeof buf ? (size_t)flow->left : sizeof buf;
        fill(buf, len, flow->at);
        flow->err = rota_stream_write(flow->s, buf, len);
        if (flow->err < 0)
            return flow->err == -EPIPE || flow->err == ROTA_ECLOSED ? 0 : flow->err;
        flow->at += len;
        flow->left -= len;
    }
    ROTA_IGNORE(rota_stream_shutdown(flow->s));
    return 0;
}

/* Of the heap; 0 where nobody counts it. */
static size_t memory_used(void)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#else
    return 0;
#endif
}

/* Reads what was poured, to its end. */
static uint64_t drain(rota_http_response *r, size_t *peak)
{
    char buf[30000], expected[30000];
    uint64_t at = 0;
    ssize_t n;
    while ((n = rota_http_read(r, buf, sizeof buf)) > 0) {
        fill(expected, (size_t)n, at);
        CHECK_MEM(buf, expected, (size_t)n);
        at += (uint64_t)n;
        size_t now = memory_used();
        if (peak && now > *peak)
            *peak = now;
    }
    if (n < 0)
        FAIL("%s", rota_http_response_error(r));
    return at;
}

/* ---- Both ways */

static int echo_body(rota_http_request *r, void *arg)
{
    char buf[20000];
    ssize_t n;
    int err = rota_http_start(r, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    while (err == 0 && (n = rota_http_request_read(r, buf, sizeof buf)) != 0)
        err = n < 0 ? (int)n : rota_http_write(r, buf, (size_t)n);
    return err;
}

static void echo_size(struct world *w, uint64_t size)
{
    struct ends up = pair_of(0);
    struct flow flow = {.s = up.a, .left = size};
    size_t before = memory_used(), peak = 0;
    rota_http_response *r;
    {
        ROTA_GROUP(g);
        rota_group_spawn(&g, pour, &flow);
        rota_http_fetch_options options = {.body.stream = up.b, .stream = true};
        CHECK_OK(fetch(w, "/", &options, &r));
        CHECK_INT(drain(r, &peak), ==, size);
        CHECK_OK(rota_group_wait(&g));
    }
    CHECK(peak < before + 8 * MEGABYTE);
    rota_http_response_free(r);
    free_ends(&up);
    expect_status(w, "/", NULL, 200); /* over the same connection */
    CHECK(!strstr(strstr(w->phases, "connecting") + 1, "connecting"));
}

static void echo_much(struct world *w)
{
    echo_size(w, 60 * MEGABYTE);
}

TEST_WITH(sixty_megabytes_come_back_while_they_are_sent, .without_faults = true, .seconds = 60)
{
    run_both(&(struct world){.handle = echo_body, .body = echo_much});
}

TEST_WITH(sixty_megabytes_come_back_through_TLS, .without_faults = true, .seconds = 60)
{
    run_both(&(struct world){.secure = true, .handle = echo_body, .body = echo_much});
}

static void echo_some(struct world *w)
{
    echo_size(w, MEGABYTE / 2);
}

TEST(a_stream_comes_back_while_it_is_sent)
{
    run_both(&(struct world){.handle = echo_body, .body = echo_some});
}

/* In memory, in a file, in parts; and the answer whole. */
static void echo_others(struct world *w)
{
    rota_http_response *r;
    char path[300];
    fill(large, sizeof large, 0);
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.bytes = {large, LARGE}}, &r));
    CHECK_INT(rota_http_body(r).len, ==, LARGE);
    CHECK_MEM(rota_http_body(r).ptr, large, LARGE);
    rota_http_response_free(r);

    snprintf(path, sizeof path, "%s/file", test_directory());
    CHECK_OK(rota_file_save(path, large, LARGE, &(rota_file_save_options){.unsynced = true}));
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.path = path, .stream = true}, &r));
    CHECK_INT(drain(r, NULL), ==, LARGE);
    rota_http_response_free(r);

    rota_http_part parts[] = {{.name = "a", .bytes = {large, LARGE}}, {.name = "b", .path = path}};
    CHECK_OK(fetch(w, "/",
                   &(rota_http_fetch_options){.body = {.parts = parts, .count = 2}, .stream = true},
                   &r));
    CHECK_OK(rota_http_read_all(r, 0));
    CHECK_INT(rota_http_body(r).len, >, 2 * LARGE);
    rota_http_response_free(r);
}

TEST_WITH(bodies_of_all_kinds_come_back_while_they_are_sent, .without_faults = true, .seconds = 60)
{
    run_both(&(struct world){.handle = echo_body, .body = echo_others});
}

/* Says what comes next only when the answer to the last has come. */
static void talk_through(rota_stream *up, rota_http_response *r)
{
    char buf[16] = "";
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rota_stream_write(up, "ping", 4));
        CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, 4);
        CHECK_STR(buf, "ping");
    }
}

static void converse(struct world *w)
{
    struct ends up = pair_of(0);
    rota_http_response *r;
    char buf[16] = "";
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b, .stream = true}, &r));
    talk_through(up.a, r);
    CHECK_OK(rota_stream_shutdown(up.a));
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, 0);
    CHECK(strstr(w->phases, "sending reading done "));
    rota_http_response_free(r);
    free_ends(&up);
    expect_status(w, "/", NULL, 200);
    CHECK(!strstr(strstr(w->phases, "connecting") + 1, "connecting"));
}

static int echo_at_once(rota_http_request *r, void *arg)
{
    return echo_piece_by_piece(r, 16);
}

TEST(a_request_and_its_answer_may_be_a_conversation)
{
    run_both(&(struct world){.handle = echo_at_once, .body = converse});
}

TEST(a_request_and_its_answer_may_be_a_conversation_through_TLS)
{
    run_both(&(struct world){.secure = true, .handle = echo_at_once, .body = converse});
}

static void upload_large(struct world *w)
{
    expect_status(w, "/", &(rota_http_fetch_options){.body.bytes = {large, LARGE}}, 200);
    CHECK_INT(w->received, ==, LARGE);
    CHECK(strstr(w->phases, "sending waiting reading done "));
}

static int count_body(rota_http_request *r, void *arg)
{
    struct world *w = arg;
    char buf[20000];
    ssize_t n;
    while ((n = rota_http_request_read(r, buf, sizeof buf)) > 0)
        w->received += (size_t)n;
    return n < 0 ? (int)n : rota_http_reply(r, 200, NULL, "", 0);
}

TEST(waiting_begins_when_the_body_is_out)
{
    run_both(&(struct world){.handle = count_body, .body = upload_large});
}

/* ---- Through a proxy */

struct copy {
    rota_http_request *from;
    rota_stream *to;
};

static int copy_up(void *arg)
{
    struct copy *copy = arg;
    char buf[16384];
    ssize_t n;
    int err = 0;
    while (err == 0 && (n = rota_http_request_read(copy->from, buf, sizeof buf)) != 0)
        err = n < 0 ? (int)n : rota_stream_write(copy->to, buf, (size_t)n);
    return err < 0 ? err : rota_stream_shutdown(copy->to);
}

static int copy_down(struct world *w, rota_http_request *to, rota_stream *up)
{
    char buf[16384];
    ssize_t n;
    rota_http_fetch_options options = {.body.stream = up, .stream = true};
    ROTA_AUTO(rota_http_response) r = NULL;
    int err = fetch(w, "/behind", &options, &r);
    if (err == 0)
        err = rota_http_start(to, rota_http_status(r), NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    if (err == 0)
        err = rota_http_flush(to);
    while (err == 0 && (n = rota_http_read(r, buf, sizeof buf)) != 0) {
        err = n < 0 ? (int)n : rota_http_write(to, buf, (size_t)n);
        if (err == 0)
            err = rota_http_flush(to);
    }
    return err;
}

static int pass_on(rota_http_request *r, void *arg)
{
    if (rota_str_equal(rota_http_request_path(r), "/behind"))
        return echo_at_once(r, arg);
    ROTA_AUTO(rota_stream) ours = NULL;
    ROTA_AUTO(rota_stream) theirs = NULL;
    int err = rota_stream_pair(0, &ours, &theirs);
    if (err < 0)
        return err;
    ROTA_GROUP(g);
    struct copy copy = {r, ours};
    rota_group_spawn(&g, copy_up, &copy);
    err = copy_down(arg, r, theirs);
    if (err < 0)
        rota_group_cancel(&g);
    int other = rota_group_wait(&g);
    return err < 0 ? err : other;
}

static void through_a_proxy(struct world *w)
{
    struct ends up = pair_of(0);
    rota_http_response *r;
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b, .stream = true}, &r));
    talk_through(up.a, r);
    struct flow flow = {.s = up.a, .left = 300000};
    {
        ROTA_GROUP(g);
        rota_group_spawn(&g, pour, &flow);
        CHECK_INT(drain(r, NULL), ==, 300000);
        CHECK_OK(rota_group_wait(&g));
    }
    rota_http_response_free(r);
    free_ends(&up);
}

TEST(a_proxy_streams_both_ways)
{
    run_both(&(struct world){.handle = pass_on, .body = through_a_proxy});
}

/* ---- Answers that come before the body was sent */

static int read_head(rota_stream *s)
{
    rota_str head;
    return rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
}

static int say(rota_stream *s, const char *text)
{
    return rota_stream_write(s, text, strlen(text));
}

static int say_refusal(rota_stream *s, const struct world *w, const char *connection)
{
    const char *const *refusal = w->refusal;
    int err = read_head(s);
    return err < 0
               ? err
               : rota_stream_printf(s,
                                    "HTTP/1.1 %s X\r\nConnection: %s\r\n%s: %s\r\n"
                                    "Content-Length: 2\r\n\r\nno",
                                    refusal[0] ? refusal[0] : "413", connection,
                                    refusal[0] ? refusal[1] : "A", refusal[0] ? refusal[2] : "");
}

/* Reads no more, and does not close either. */
static int refuse_and_stay(rota_stream *s, struct world *w)
{
    int err = say_refusal(s, w, "keep-alive");
    return err < 0 ? err : rota_sleep(ROTA_NEVER);
}

static int refuse_and_close(rota_stream *s, struct world *w)
{
    return say_refusal(s, w, "close");
}

static int refuse(rota_http_request *r, void *arg)
{
    const struct world *w = arg;
    if (w->refusal[0])
        rota_http_add_header(r, w->refusal[1], w->refusal[2]);
    return rota_http_reply(r, w->refusal[0] ? atoi(w->refusal[0]) : 413, "text/plain", "no", 2);
}

static void be_refused(struct world *w)
{
    struct ends up = pair_of(0);
    struct flow flow = {.s = up.a, .left = UINT64_MAX};
    rota_time start = rota_now();
    expect_status(w, "/", &(rota_http_fetch_options){.body.bytes = {large, LARGE}}, 413);
    {
        ROTA_GROUP(g);
        rota_group_spawn(&g, pour, &flow);
        expect_status(w, "/", &(rota_http_fetch_options){.body.stream = up.b}, 413);
        uint64_t sent = flow.at;
        CHECK_OK(rota_sleep(ROTA_SECOND / 2));
        CHECK_INT(flow.at - sent, <=, 2 * 65536); /* what the pair holds; nobody reads it */
        rota_group_cancel(&g);
    }
    free_ends(&up);
    CHECK_INT(rota_now() - start, <, 2 * ROTA_SECOND);
    CHECK_INT(w->session->open, ==, w->h2);
}

TEST(an_answer_before_the_body_was_sent_ends_the_sending)
{
    run_both(&(struct world){.handle = refuse, .body = be_refused});
    run(&(struct world){.talk = refuse_and_stay, .body = be_refused});
    run(&(struct world){.talk = refuse_and_close, .body = be_refused});
}

/* By any of these servers, with a body from memory, and from a stream if it is sent once. */
static void refuse_by_all(const struct world *wanted, void (*body)(struct world *w))
{
    for (int i = 0; i < 4; i++) {
        struct world w = *wanted;
        w.h2 = i == 1;
        w.handle = i < 2 ? refuse : NULL;
        w.talk = i == 2 ? refuse_and_stay : i == 3 ? refuse_and_close : NULL;
        w.body = body;
        run(&w);
    }
}

static void expect_refusal(struct world *w, const rota_http_fetch_options *options)
{
    rota_http_response *r;
    rota_time start = rota_now();
    int err = fetch(w, "/", options, &r);
    if (err < 0)
        FAIL("%s", rota_error(err));
    CHECK_INT(rota_http_status(r), ==, atoi(w->refusal[0]));
    CHECK_STR(rota_http_body(r).ptr, "no");
    rota_http_response_free(r);
    CHECK_INT(rota_now() - start, <, 2 * ROTA_SECOND);
    CHECK_INT(w->session->open, ==, w->h2);
}

static void have_wrong_password(struct world *w)
{
    expect_refusal(w, &(rota_http_fetch_options){.body.bytes = {large, LARGE}});
    if (w->options.auth != ROTA_HTTP_AUTH_BASIC)
        return;
    struct ends up = pair_of(0);
    struct flow flow = {.s = up.a, .left = UINT64_MAX};
    ROTA_GROUP(g);
    rota_group_spawn(&g, pour, &flow);
    expect_refusal(w, &(rota_http_fetch_options){.body.stream = up.b});
    rota_group_cancel(&g);
    ROTA_IGNORE(rota_group_wait(&g));
    free_ends(&up);
}

TEST(a_refused_password_does_not_wait_for_the_body)
{
    static const char digest[] = "Digest realm=\"x\", nonce=\"y\", qop=\"auth\"";
    struct world basic = {.options = {.user = "me", .password = "wrong"},
                          .refusal = {"401", "WWW-Authenticate", "Basic realm=\"x\""}};
    struct world wrong = {
        .options = {.user = "me", .password = "wrong", .auth = ROTA_HTTP_AUTH_DIGEST},
        .refusal = {"401", "WWW-Authenticate", digest}};
    struct world unknown = wrong;
    unknown.refusal[2] = "Negotiate";
    refuse_by_all(&basic, have_wrong_password);
    refuse_by_all(&wrong, have_wrong_password);
    refuse_by_all(&unknown, have_wrong_password);
}

static void try_later(struct world *w)
{
    struct ends up = pair_of(0);
    rota_http_fetch_options options = {.method = "PUT", .body.bytes = {large, LARGE}};
    expect_refusal(w, &options); /* an hour is too long */
    w->refusal[2] = "1";
    CHECK_OK(rota_stream_write(up.a, "some", 4));
    options.body = (rota_http_body_source){.stream = up.b};
    expect_refusal(w, &options); /* cannot be sent again */
    free_ends(&up);
}

TEST(a_refusal_that_is_not_tried_again_is_returned)
{
    static const rota_backoff retry = {.tries = 3};
    struct world w = {.options.retry = &retry, .refusal = {"503", "Retry-After", "7200"}};
    refuse_by_all(&w, try_later);
}

/* The request has no end yet, and its stream has nothing to give. */
static void answered_while_asking(struct world *w)
{
    struct ends up = pair_of(0);
    expect_status(w, "/", &(rota_http_fetch_options){.body.stream = up.b}, 413);
    expect_status(w, "/", &(rota_http_fetch_options){.body.stream = up.b}, 413);
    CHECK_OK(rota_stream_write(up.a, "mine", 4)); /* nobody else reads it */
    expect(up.b, "mine");
    free_ends(&up);
    CHECK_INT(w->session->open, ==, w->h2);
}

TEST(an_answer_is_not_kept_waiting_by_a_body_that_does_not_come)
{
    run_both(&(struct world){.handle = refuse, .body = answered_while_asking});
    run(&(struct world){.talk = refuse_and_stay, .body = answered_while_asking});
}

static int go_elsewhere(rota_http_request *r, void *arg)
{
    if (!rota_str_equal(rota_http_request_path(r), "/"))
        return count_body(r, arg);
    rota_http_add_header(r, "Location", "/there");
    return rota_http_reply(r, 307, "text/plain", "there", 5);
}

static void be_redirected(struct world *w)
{
    struct ends up = pair_of(0);
    rota_http_response *r;
    expect_status(w, "/", &(rota_http_fetch_options){.body.bytes = {large, LARGE}}, 200);
    CHECK_INT(w->received, ==, LARGE);
    CHECK_OK(rota_stream_write(up.a, "some", 4));
    CHECK_INT(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b}, &r), ==, -ESPIPE);
    free_ends(&up);
}

TEST(a_redirect_before_the_body_was_sent_sends_it_whole_to_where_it_leads)
{
    run_both(&(struct world){.handle = go_elsewhere, .body = be_redirected});
}

/* Switches before it has read the request's body, which comes first all the same. */
static int switch_early(rota_stream *s, struct world *w)
{
    char buf[10000], said[4];
    int err = read_head(s);
    if (err == 0)
        err = say(s, "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    for (int i = 0; i < 100 && err == 0; i++)
        err = rota_stream_read_exact(s, buf, sizeof buf);
    if (err == 0)
        err = rota_stream_read_exact(s, said, 4);
    CHECK(err < 0 || memcmp(said, "mine", 4) == 0);
    return err < 0 ? err : say(s, "yours");
}

static void upgrade(struct world *w)
{
    rota_http_response *r;
    CHECK_OK(fetch(w, "/",
                   &(rota_http_fetch_options){.body.bytes = {large, 1000000}, .upgrade = "x"}, &r));
    CHECK_INT(rota_http_status(r), ==, 101);
    rota_stream *s = rota_http_take_stream(r);
    CHECK_OK(say(s, "mine"));
    expect(s, "yours");
    rota_stream_free(s);
    rota_http_response_free(r);
}

TEST(a_connection_changes_its_protocol_behind_the_request)
{
    run(&(struct world){.talk = switch_early, .body = upgrade});
}

/* ---- Sources that fail */

/* A stream that will be reset. */
static void reset(struct ends *e)
{
    set_linger_zero(e->a);
    e->a = rota_stream_free(e->a);
}

static int reset_later(void *arg)
{
    int err = rota_sleep(ROTA_SECOND);
    reset(arg);
    return err;
}

static void fail_before_the_answer(struct world *w)
{
    struct ends up = tcp();
    rota_task *task;
    CHECK_OK(rota_stream_write(up.a, "some", 4));
    CHECK_OK(rota_spawn(reset_later, &up, &task));
    expect_error(w, &(rota_http_fetch_options){.body.stream = up.b}, -ECONNRESET, "sending to 127");
    CHECK_INT(rota_http_failed_phase(-ECONNRESET), ==, ROTA_HTTP_SENDING);
    ROTA_IGNORE(rota_join(task));
    free_ends(&up);

    up = pair_of(0);
    CHECK_OK(rota_stream_write(up.a, "some", 4));
    CHECK_OK(rota_stream_shutdown(up.a));
    expect_error(w, &(rota_http_fetch_options){.body = {.stream = up.b, .length = 20000}},
                 -EMSGSIZE, "announced");
    free_ends(&up);
    CHECK_INT(w->session->open, ==, w->h2);
}

TEST(a_body_that_fails_fails_the_request)
{
    run_both(&(struct world){.handle = count_body, .body = fail_before_the_answer});
}

static void fail_behind_the_head(struct world *w)
{
    struct ends up = tcp();
    rota_http_response *r;
    rota_task *task;
    char buf[16] = "";
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b, .stream = true}, &r));
    CHECK_OK(rota_stream_write(up.a, "some", 4));
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, 4);
    CHECK_OK(rota_spawn(reset_later, &up, &task));
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, -ECONNRESET);
    CHECK(strstr(rota_http_response_error(r), "sending to http://127"));
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, -ECONNRESET);
    rota_http_response_free(r);
    ROTA_IGNORE(rota_join(task));
    free_ends(&up);

    up = tcp();
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b, .stream = true}, &r));
    reset(&up);
    CHECK_OK(rota_sleep(ROTA_SECOND)); /* nobody reads meanwhile */
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, -ECONNRESET);
    rota_http_response_free(r);
    free_ends(&up);
    CHECK_INT(w->session->open, ==, w->h2);
}

TEST(a_body_that_fails_fails_the_reading_of_its_answer)
{
    run_both(&(struct world){.handle = echo_at_once, .body = fail_behind_the_head});
}

/* ---- Servers that fail */

static int close_in_the_middle(rota_stream *s, struct world *w)
{
    char buf[30000];
    if (read_head(s) == 0 && w->connections % 2 && say(s, "HTTP/1.1 204 X\r\n\r\n") == 0)
        read_head(s); /* and serves no more */
    return rota_stream_read_exact(s, buf, sizeof buf);
}

static void be_left(struct world *w)
{
    rota_http_fetch_options options = {.method = "PUT", .body.bytes = {large, LARGE}};
    rota_http_response *r;
    CHECK_INT(fetch(w, "/", NULL, &r), ==, 0);
    rota_http_response_free(r);
    int err = fetch(w, "/", &options, &r); /* sent again, on another connection, once */
    CHECK(err == -EPIPE || err == -ECONNRESET || err == ROTA_ETRUNCATED);
    CHECK_INT(w->connections, ==, 2);
    CHECK_INT(w->session->open, ==, 0);
}

TEST(what_dies_while_its_body_is_sent_is_sent_again_once)
{
    run(&(struct world){.talk = close_in_the_middle, .body = be_left});
}

/* ---- Limits */

/* Reads nothing, and says a byte now and then. */
static int trickle_down(rota_stream *s, struct world *w)
{
    int err = read_head(s);
    if (err == 0)
        err = say(s, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    while (err == 0) {
        err = rota_sleep(40 * ROTA_SECOND);
        if (err == 0)
            err = say(s, "x");
    }
    return err;
}

/* Says nothing, and reads a little now and then; then all, and answers. */
static int trickle_up(rota_stream *s, struct world *w)
{
    static char buf[LARGE / 8];
    int err = read_head(s);
    for (int i = 0; i < 8 && err == 0; i++) {
        err = rota_sleep(40 * ROTA_SECOND);
        if (err == 0)
            err = rota_stream_read_exact(s, buf, sizeof buf);
    }
    return err < 0 ? err : say(s, "HTTP/1.1 204 X\r\n\r\n");
}

static int say_nothing(rota_stream *s, struct world *w)
{
    return rota_sleep(ROTA_NEVER);
}

static void stalled_upload(struct world *w)
{
    rota_time start = rota_now();
    expect_error(w, &(rota_http_fetch_options){.body.bytes = {large, LARGE}}, -ETIMEDOUT,
                 "not complete within 300 s");
    CHECK_INT(rota_now() - start, ==, 300 * ROTA_SECOND);
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_TOTAL);
    CHECK_INT(rota_http_failed_phase(-ETIMEDOUT), ==, ROTA_HTTP_READING);
}

static void slow_upload(struct world *w)
{
    rota_time start = rota_now();
    expect_status(
        w, "/", &(rota_http_fetch_options){.body.bytes = {large, LARGE}, .total = 60 * ROTA_MINUTE},
        204);
    CHECK_INT(rota_now() - start, ==, 320 * ROTA_SECOND);
}

static void both_stalled(struct world *w)
{
    rota_time start = rota_now();
    expect_error(w, &(rota_http_fetch_options){.body.bytes = {large, LARGE}}, -ETIMEDOUT,
                 "sending to 127");
    CHECK(strstr(rota_error(-ETIMEDOUT), "nothing came for 60 s"));
    CHECK_INT(rota_now() - start, ==, 60 * ROTA_SECOND);
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_GAP);
}

TEST(the_gap_is_that_of_both_directions)
{
    run(&(struct world){.local = true, .talk = trickle_down, .body = stalled_upload});
    run(&(struct world){.local = true, .talk = trickle_up, .body = slow_upload});
    run(&(struct world){.local = true, .talk = say_nothing, .body = both_stalled});
}

static int never_reply(rota_http_request *r, void *arg)
{
    int err = rota_http_start(r, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    return err < 0 ? err : rota_sleep(ROTA_NEVER);
}

static int write_later(void *arg)
{
    int err = rota_sleep(20 * ROTA_SECOND);
    if (err == 0)
        err = rota_stream_write(arg, "late", 4);
    return err < 0 ? err : rota_stream_shutdown(arg);
}

static void slow_source(struct world *w)
{
    struct ends up = pair_of(0);
    rota_task *task;
    rota_time start = rota_now();
    CHECK_OK(rota_spawn(write_later, up.a, &task));
    expect_error(w, &(rota_http_fetch_options){.body.stream = up.b}, -ETIMEDOUT,
                 "nothing came for 10 s");
    CHECK_INT(rota_now() - start, ==, 30 * ROTA_SECOND); /* from the body's end on */
    ROTA_IGNORE(rota_join(task));
    free_ends(&up);
}

TEST(while_the_body_is_waited_for_there_is_no_gap)
{
    run_both(&(struct world){
        .handle = never_reply, .body = slow_source, .options.gap = 10 * ROTA_SECOND});
}

/* ---- Callers that are interrupted, and what is left behind */

static void interrupted(struct world *w)
{
    struct ends up = pair_of(0);
    rota_http_response *r;
    char buf[16] = "";
    ssize_t n = 0;
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b, .stream = true}, &r));
    ROTA_TIMEOUT (ROTA_SECOND) {
        n = rota_http_read(r, buf, sizeof buf);
    }
    CHECK_INT(n, ==, -ETIMEDOUT);
    CHECK_OK(rota_stream_write(up.a, "more", 4)); /* it is still being sent */
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, 4);
    CHECK_STR(buf, "more");
    rota_http_response_free(r);
    CHECK_OK(rota_stream_write(up.a, "mine", 4)); /* and is gone */
    expect(up.b, "mine");

    int err = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        err = fetch(w, "/silent", &(rota_http_fetch_options){.body.stream = up.b}, &r);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_OK(rota_stream_write(up.a, "mine", 4));
    expect(up.b, "mine");
    free_ends(&up);
    CHECK_INT(w->session->open, ==, w->h2);
}

TEST(who_is_interrupted_may_go_on_and_who_has_left_is_left_alone)
{
    run_both(&(struct world){.handle = echo_at_once, .body = interrupted});
}

static void session_gone(struct world *w)
{
    struct ends up = pair_of(0), full = pair_of(0);
    rota_http_response *r, *other;
    char buf[16];
    struct flow flow = {.s = full.a, .left = LARGE};
    rota_task *task;
    CHECK_OK(rota_spawn(pour, &flow, &task));
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b, .stream = true}, &r));
    CHECK_OK(
        fetch(w, "/", &(rota_http_fetch_options){.body.stream = full.b, .stream = true}, &other));
    CHECK_OK(rota_sleep(ROTA_SECOND)); /* one asks, one writes */
    w->session = rota_http_session_free(w->session);
    CHECK_OK(rota_yield());
    CHECK_OK(rota_yield());
    CHECK_OK(rota_stream_write(up.a, "mine", 4));
    expect(up.b, "mine");
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, ROTA_ECLOSED);
    rota_http_response_free(r);
    rota_http_response_free(other);
    rota_task_free(task);
    free_ends(&up);
    free_ends(&full);
}

TEST(a_session_that_is_freed_takes_its_uploads_along)
{
    run_both(&(struct world){.handle = echo_at_once, .body = session_gone});
}

/* A source that does not let go at once. */
static ssize_t stubborn_read(rota_filter *f, void *buf, size_t len)
{
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_sleep(ROTA_SECOND));
    }
    return rota_filter_read(f->below, buf, len);
}

static ssize_t stubborn_write(rota_filter *f, const void *buf, size_t len)
{
    return rota_filter_write(f->below, buf, len);
}

static void free_filter(rota_filter *f)
{
    rota_free(f);
}

static const rota_filter_kind stubborn = {
    .read = stubborn_read, .write = stubborn_write, .close = free_filter};

static int free_session(void *arg)
{
    struct world *w = arg;
    int err = rota_sleep(ROTA_SECOND / 2);
    w->session = rota_http_session_free(w->session);
    return err;
}

static void session_gone_meanwhile(struct world *w)
{
    struct ends up = pair_of(0);
    rota_http_response *r;
    rota_task *task;
    rota_filter *filter = rota_zalloc(sizeof *filter);
    CHECK(filter);
    filter->kind = &stubborn;
    CHECK_OK(rota_stream_push(up.b, filter));
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b, .stream = true}, &r));
    CHECK_OK(rota_spawn(free_session, w, &task));
    CHECK_INT(drain(r, NULL), ==, 0); /* waits for the uploader; nobody is told that this is done */
    rota_http_response_free(r);
    ROTA_IGNORE(rota_join(task));
    free_ends(&up);
}

static int say_nothing_at_all(rota_http_request *r, void *arg)
{
    int err = rota_http_start(r, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    if (err == 0)
        err = rota_http_flush(r);
    return err < 0 ? err : rota_sleep(ROTA_MILLISECOND);
}

TEST(a_session_may_be_freed_while_an_uploader_is_waited_for)
{
    run_both(&(struct world){.handle = say_nothing_at_all, .body = session_gone_meanwhile});
}

static void free_response(rota_handle *handle, void *arg)
{
    rota_http_response_free(arg);
}

static void free_outside(struct world *w)
{
    struct ends up = pair_of(0);
    struct flow flow = {.s = up.a, .left = LARGE};
    rota_http_response *r;
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_task *task;
    CHECK_OK(fetch(w, "/", &(rota_http_fetch_options){.body.stream = up.b, .stream = true}, &r));
    CHECK_OK(rota_spawn(pour, &flow, &task));
    CHECK_OK(rota_yield());
    rota_loop_call_soon(rota_loop_current(), &handle, free_response, r);
    CHECK_OK(rota_sleep(ROTA_SECOND));
    rota_task_free(task);
    free_ends(&up);
    CHECK_INT(w->session->open, ==, w->h2);
}

TEST(a_response_may_be_freed_outside_of_tasks)
{
    run_both(&(struct world){.handle = echo_at_once, .body = free_outside});
}

/* ---- Whatever happens, nobody gets, or sends, another's bytes */

static uint32_t dice;

static uint32_t roll(uint32_t sides)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % sides;
}

static void check_own(const char *buf, size_t len, char own)
{
    for (size_t i = 0; i < len; i++)
        CHECK_INT(buf[i], ==, own);
}

/* Bodies are as many letters as one likes, all the same, which the path names. */
static int repeat_somehow(rota_http_request *r)
{
    char buf[7000], own = rota_http_request_path(r).ptr[1];
    ssize_t n;
    size_t most = roll(3) ? SIZE_MAX : roll(300000);
    int err = rota_http_start(r, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    while (err == 0 && most && (n = rota_http_request_read(r, buf, sizeof buf)) != 0) {
        if (n < 0)
            return (int)n;
        check_own(buf, (size_t)n, own);
        err = rota_http_write(r, buf, (size_t)n);
        most -= most < (size_t)n ? most : (size_t)n;
        if (err == 0 && roll(20) == 0)
            err = rota_http_flush(r);
        if (err == 0 && roll(20) == 0)
            err = rota_sleep(roll(100) * ROTA_MILLISECOND);
    }
    return err;
}

static int answer_somehow(rota_http_request *r, void *arg)
{
    char own = rota_http_request_path(r).ptr[1];
    rota_str body;
    switch (roll(10)) {
    case 0:
        rota_stream_close(rota_http_request_stream(r));
        return -ECONNRESET;
    case 1:
        return rota_sleep(ROTA_SECOND);
    case 2:
        return rota_http_reply(r, 413, NULL, &own, 1);
    case 3:
        rota_http_add_header(r, "Location", own == 'a' ? "/a" : ".");
        return rota_http_reply(r, own == 'a' ? 307 : 200, NULL, &own, 1);
    case 4:
        if (rota_http_request_body(r, 0, &body) < 0)
            return -EIO;
        check_own(body.ptr, body.len, own);
        return rota_http_reply(r, 200, NULL, body.ptr, body.len);
    default:
        return repeat_somehow(r);
    }
}

struct feed {
    rota_stream *s;
    char own;
};

static int feed(void *arg)
{
    struct feed *f = arg;
    char buf[9000];
    int err = 0;
    memset(buf, f->own, sizeof buf);
    for (uint32_t i = roll(30); i > 0 && err == 0; i--) {
        err = rota_stream_write(f->s, buf, 1 + roll(sizeof buf));
        if (err == 0 && roll(10) == 0)
            err = rota_sleep(roll(100) * ROTA_MILLISECOND);
    }
    if (err == 0)
        ROTA_IGNORE(rota_stream_shutdown(f->s));
    return 0;
}

static void read_somehow(rota_http_response *r, char own)
{
    char buf[5000];
    ssize_t n = 1;
    while (n > 0 && roll(100)) {
        n = rota_http_read(r, buf, 1 + roll(sizeof buf));
        if (n > 0)
            check_own(buf, (size_t)n, own);
    }
}

static int ask_somehow(struct world *w, char own, const rota_http_body_source *body)
{
    char path[] = {'/', own, 0};
    rota_http_response *r = NULL;
    rota_http_fetch_options options = {.method = roll(2) ? "PUT" : "POST",
                                       .stream = roll(3) > 0,
                                       .expect = roll(8) == 0,
                                       .body = *body};
    ROTA_TIMEOUT ((1 + roll(1000)) * ROTA_MILLISECOND) {
        int err = fetch(w, path, &options, &r);
        if (err == 0 && !options.stream)
            check_own(rota_http_body(r).ptr, rota_http_body(r).len, own);
        if (err == 0 && options.stream)
            read_somehow(r, own);
        w->received += err == 0;
    }
    rota_http_response_free(r);
    return 0;
}

static int ask_often(void *arg)
{
    static int number;
    struct world *w = arg;
    char own = (char)('a' + number++ % 8);
    char *bytes = malloc(300000);
    memset(bytes, own, 300000);
    for (int i = 0; i < 15; i++) {
        struct ends up = pair_of(1 + roll(30000));
        struct feed f = {up.a, own};
        rota_http_body_source body = {.stream = up.b};
        {
            ROTA_GROUP(g);
            if (roll(2))
                body = (rota_http_body_source){.bytes = {bytes, roll(300000)}};
            else
                rota_group_spawn(&g, feed, &f);
            ask_somehow(w, own, &body);
            rota_group_cancel(&g);
        }
        free_ends(&up);
    }
    free(bytes);
    return 0;
}

static void storm(struct world *w)
{
    {
        ROTA_GROUP(g);
        for (int i = 0; i < 8; i++)
            rota_group_spawn(&g, ask_often, w);
        ROTA_IGNORE(rota_group_wait(&g));
    }
    CHECK_INT(w->received, >, 5);
    CHECK(rota__list_empty(&w->session->waiting));
    size_t idle = 0;
    rota__list_each (node, &w->session->idle)
        idle++;
    CHECK_INT(w->session->open, ==, idle);
    ROTA_IGNORE(rota_sleep(20 * ROTA_SECOND));
    CHECK_INT(w->session->open, ==, 0);
    CHECK_INT(w->session->keepers, ==, 0);
}

TEST_WITH(in_a_storm_of_uploads_everybody_sends_and_gets_his_own, .without_faults = true)
{
    for (uint32_t seed = 1; seed <= 3; seed++) {
        dice = seed;
        run_both(&(struct world){.secure = seed == 3,
                                 .handle = answer_somehow,
                                 .body = storm,
                                 .options.connections = 4});
    }
}

/* ---- Trailers */

/* Says what came, and sends trailers of its own. */
static int tell_trailers(rota_http_request *r, void *arg)
{
    struct world *w = arg;
    rota_str body, announced = rota_http_request_header(r, "Trailer");
    int err = rota_http_request_body(r, 0, &body);
    if (err < 0)
        return err;
    w->received = body.len;
    rota_str sum = rota_http_request_trailer(r, "X-Sum"), more = rota_http_request_trailer(r, "Y");
    err = rota_http_start(r, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    rota_http_add_trailer(r, "X-First", "1");
    rota_http_add_trailer(r, "X-Second", "2");
    rota_http_add_trailer(r, "X-First", "3");
    char text[200];
    int len = snprintf(text, sizeof text, "%.*s|%.*s|%.*s", (int)announced.len,
                       announced.len ? announced.ptr : "", (int)sum.len, sum.len ? sum.ptr : "",
                       (int)more.len, more.len ? more.ptr : "");
    return err < 0 ? err : rota_http_write(r, text, (size_t)len);
}

static void expect_told(struct world *w, const rota_http_fetch_options *options, const char *told,
                        size_t received)
{
    rota_http_response *r;
    int err = fetch(w, "/", options, &r);
    if (err < 0)
        FAIL("%s", rota_error(err));
    CHECK_STR(rota_http_body(r).ptr, told);
    CHECK_INT(w->received, ==, received);
    size_t count;
    const rota_http_field *fields = rota_http_response_trailers(r, &count);
    CHECK_INT(count, ==, 3);
    CHECK(rota_str_equal(fields[0].value, "1"));
    CHECK(rota_str_equal(fields[1].name, w->h2 ? "x-second" : "X-Second"));
    CHECK(rota_str_equal(fields[2].value, "3"));
    CHECK(rota_str_equal(rota_http_response_trailer(r, "x-first"), "1"));
    rota_http_response_free(r);
}

struct summed {
    rota_stream *s;
    char *sum;
};

/* Pours slowly, and knows the sum when all is poured. */
static int pour_and_sum(void *arg)
{
    struct summed *summed = arg;
    rota_stream *s = summed->s;
    int err = rota_stream_write(s, "ab", 2);
    if (err == 0)
        err = rota_sleep(ROTA_SECOND);
    if (err == 0)
        err = rota_stream_write(s, "cd", 2);
    strcpy(summed->sum, "later");
    return err < 0 ? err : rota_stream_shutdown(s);
}

static void send_trailers(struct world *w)
{
    static char sum[8];
    static const char *const trailers[] = {"X-Sum", sum, "Y", "", NULL};
    static const char *const headers[] = {"Trailer", "Mine", NULL};
    static const char *const none[] = {NULL};
    static const char *const form[] = {"a", "b", NULL};
    rota_http_fetch_options options = {.trailers = trailers};
    strcpy(sum, "42");
    options.body.bytes = (rota_str){"hello", 5};
    expect_told(w, &options, "X-Sum, Y|42|", 5);
    options.body.bytes = (rota_str){"", 0};
    expect_told(w, &options, "X-Sum, Y|42|", 0);
    options.body.bytes = (rota_str){large, 100000};
    options.expect = true;
    expect_told(w, &options, "X-Sum, Y|42|", 100000);
    options = (rota_http_fetch_options){.method = "POST", .trailers = trailers};
    expect_told(w, &options, "X-Sum, Y|42|", 0);
    options.body.form = form;
    expect_told(w, &options, "X-Sum, Y|42|", 3);
    options.headers = headers;
    expect_told(w, &options, "Mine|42|", 3);
    options.trailers = none;
    expect_told(w, &options, "Mine||", 3);
    options = (rota_http_fetch_options){
        .body.form = form, .trailers = (const char *const[]){"Content-Digest", "x", NULL}};
    expect_told(w, &options, "Content-Digest||", 3);

    /* The value is known when the stream has ended, and its length before. */
    for (uint64_t length = 0; length <= 4; length += 4) {
        struct ends up = pair_of(0);
        options = (rota_http_fetch_options){.trailers = trailers,
                                            .body = {.stream = up.b, .length = length}};
        strcpy(sum, "");
        struct summed summed = {.s = up.a, .sum = sum};
        rota_task *task;
        CHECK_OK(rota_spawn(pour_and_sum, &summed, &task));
        expect_told(w, &options, "X-Sum, Y|later|", 4);
        CHECK_OK(rota_join(task));
        free_ends(&up);
    }
}

TEST(trailers_go_behind_bodies_and_come_behind_answers)
{
    run_both(&(struct world){.handle = tell_trailers, .body = send_trailers});
}

static void refuse_trailers(struct world *w)
{
    static const char *const names[] = {"Content-Length",
                                        "transfer-encoding",
                                        "Host",
                                        "Trailer",
                                        "Content-Type",
                                        "Range",
                                        "If-None-Match",
                                        "Cookie",
                                        "Authorization",
                                        "TE",
                                        "Cache-Control",
                                        "Content-Encoding",
                                        "a b",
                                        "",
                                        "X:",
                                        "Upgrade",
                                        "Connection",
                                        "Expect",
                                        "Accept-Language",
                                        "Content-Disposition",
                                        "Proxy-Authenticate",
                                        "WWW-Authenticate",
                                        "Set-Cookie",
                                        "Sec-WebSocket-Version",
                                        "X-Forwarded-For"};
    rota_http_fetch_options options = {.body.bytes = {"x", 1}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char words[100];
        const char *trailers[] = {"X", "y", names[i], "z", NULL};
        options.trailers = trailers;
        snprintf(words, sizeof words, "\"%s\" is not allowed in trailers", names[i]);
        expect_error(w, &options, -EINVAL, words);
    }
    const char *many[2 * 101 + 1] = {NULL};
    for (size_t i = 0; i < 202; i++)
        many[i] = "x";
    options.trailers = many;
    expect_error(w, &options, -EINVAL, "more than 100 trailers");
    options.trailers = (const char *const[]){"X", NULL};
    expect_error(w, &options, -EINVAL, "\"X\" has no value");
    options.trailers = (const char *const[]){"X", "y", NULL};
    options.body.bytes.ptr = NULL;
    expect_error(w, &options, -EINVAL, "trailers without a body");
    CHECK_INT(w->session->open, ==, 0);

    options.body.bytes = (rota_str){"x", 1};
    options.trailers = (const char *const[]){"X", "y", "Bad", "a\r\nB: c", NULL};
    expect_error(w, &options, -EINVAL, "the trailer \"Bad\" has a value with a control character");
    struct ends up = pair_of(0);
    CHECK_OK(rota_stream_write(up.a, "some", 4));
    CHECK_OK(rota_stream_shutdown(up.a));
    options.trailers = (const char *const[]){"X", "y", NULL};
    options.body = (rota_http_body_source){.stream = up.b, .length = 5};
    expect_error(w, &options, -EMSGSIZE, "announced");
    free_ends(&up);
    CHECK_INT(w->received, ==, 0);
}

TEST(trailers_that_cannot_be_sent_are_refused)
{
    run_both(&(struct world){.handle = tell_trailers, .body = refuse_trailers});
}

static void read_to_trailers(struct world *w)
{
    rota_http_response *r;
    size_t count = 1;
    char buf[64];
    rota_http_fetch_options options = {.body.bytes = {"hello", 5}, .stream = true};
    CHECK_OK(fetch(w, "/", &options, &r));
    CHECK_PTR(rota_http_response_trailers(r, &count), ==, NULL);
    CHECK_INT(count, ==, 0);
    CHECK_OK(rota_sleep(ROTA_SECOND)); /* they have come, but the reader has not */
    CHECK_INT(rota_http_read(r, buf, sizeof buf), >, 0);
    CHECK_PTR(rota_http_response_trailers(r, &count), ==, NULL);
    CHECK_PTR(rota_http_response_trailer(r, "X-First").ptr, ==, NULL);
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, 0);
    CHECK_PTR(rota_http_response_trailers(r, &count), !=, NULL);
    CHECK_INT(count, ==, 3);
    rota_http_response_free(r);
}

TEST(trailers_are_there_when_the_body_has_ended)
{
    run_both(&(struct world){.handle = tell_trailers, .body = read_to_trailers});
}

static void exceed_limits(struct world *w)
{
    expect_error(w, NULL, ROTA_ELIMIT, " longer than 1000 bytes (option head)");
}

static int send_many(rota_http_request *r, void *arg)
{
    int err = rota_http_start(r, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    for (int i = 0; i < 40; i++)
        rota_http_add_trailer(r, "X", "some value that is longer than others");
    return err < 0 ? err : rota_http_write(r, "x", 1);
}

TEST(trailers_of_an_answer_have_limits)
{
    run_both(&(struct world){.handle = send_many, .body = exceed_limits, .options.head = 1000});
}
