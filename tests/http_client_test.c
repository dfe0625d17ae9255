#include "http/client.h"
#include "http/h2.h"
#include "net/net.h"

#include "certificates.h"
#include "ends.h"
#include "harness.h"

#include <rota.h>
#include <rota/http_client.h>
#include <rota/http_server.h>
#include <rota/test.h>
#include <rota/tls.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- A server that says what it was told to */

enum { REPLIES = 24 };

/* What to answer to the first request, to the second, and so on, whatever connection they come by.
 * Behind a reply that begins with '!' the connection ends; NULL ends it at once; "..." answers
 * nothing, ever; of "~head~body" the body comes a second later. The last one is repeated. */
struct script {
    const char *replies[REPLIES];
    int next;
    int connections, open;
    char seen[16384]; /* all requests, one behind the other */
    rota_tls_context *tls;
    rota_listener *listener;
    rota_task *task;
    int port;
};

static void note(struct script *script, rota_str bytes)
{
    size_t used = strlen(script->seen);
    snprintf(script->seen + used, sizeof script->seen - used, "%.*s", (int)bytes.len, bytes.ptr);
}

static bool has(rota_str head, const char *text)
{
    return memmem(head.ptr, head.len, text, strlen(text)) != NULL;
}

static ssize_t read_length(struct script *script, rota_stream *s, size_t length)
{
    while (length) {
        char buf[512];
        ssize_t n = rota_stream_read(s, buf, length < sizeof buf ? length : sizeof buf);
        if (n <= 0)
            return n < 0 ? n : ROTA_EOF;
        note(script, (rota_str){buf, (size_t)n});
        length -= (size_t)n;
    }
    return 0;
}

/* A request, with its body. Returns 1, 0 at the end. */
static int read_request(struct script *script, rota_stream *s)
{
    rota_str head;
    int err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
    if (err < 0)
        return err == ROTA_EOF ? 0 : err;
    note(script, head);
    const char *length = memmem(head.ptr, head.len, "Content-Length: ", 16);
    size_t size = length ? strtoul(length + 16, NULL, 10) : 0;
    if (has(head, "Transfer-Encoding: chunked")) {
        err = rota_stream_read_until(s, (rota_str){"0\r\n\r\n", 5}, 0, &head);
        if (err == 0)
            note(script, head);
    }
    if (has(head, "Expect: "))
        return 1;
    if (err == 0)
        err = (int)read_length(script, s, size);
    return err < 0 ? err : 1;
}

static const char *next_reply(struct script *script)
{
    int at = script->next;
    if (at + 1 < REPLIES && script->replies[at + 1])
        script->next++;
    else if (at == script->next)
        script->next = at; /* repeated */
    return script->replies[at];
}

static int say_head(rota_stream *s, const char **reply)
{
    const char *body = strchr(*reply + 1, '~');
    int err = rota_stream_write(s, *reply + 1, (size_t)(body - *reply - 1));
    *reply = body + 1;
    return err < 0 ? err : rota_sleep(ROTA_SECOND);
}

static int answer_all(struct script *script, rota_stream *s)
{
    int more;
    while ((more = read_request(script, s)) > 0) {
        const char *reply = next_reply(script);
        bool last = !reply || *reply == '!';
        if (reply && strcmp(reply, "...") == 0)
            return rota_sleep(ROTA_NEVER);
        if (reply && *reply == '~')
            more = say_head(s, &reply);
        if (reply && more >= 0)
            more = rota_stream_write(s, reply + last, strlen(reply + last));
        if (last || more < 0)
            return more;
    }
    return more;
}

static int answer(rota_stream *s, void *arg)
{
    struct script *script = arg;
    script->connections++;
    script->open++;
    int err = script->tls ? rota_tls_start_server(s, script->tls) : 0;
    if (err == 0)
        answer_all(script, s);
    script->open--;
    return 0;
}

static int serve(void *arg)
{
    struct script *script = arg;
    return rota_serve(script->listener, answer, script, NULL);
}

static void script_start(struct script *script)
{
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &script->listener));
    script->port = rota_listener_port(script->listener);
    CHECK_OK(rota_spawn(serve, script, &script->task));
}

static void script_stop(struct script *script)
{
    rota_task_free(script->task);
    rota_listener_free(script->listener);
}

/* A URL of the script's server; valid until the next but three. */
static const char *url_of(const struct script *script, const char *path)
{
    static char urls[4][256];
    static int at;
    char *url = urls[at++ % 4];
    snprintf(url, sizeof urls[0], "%s://127.0.0.1:%d%s", script->tls ? "https" : "http",
             script->port, path);
    return url;
}

/* ---- Running: a server, a session, and what the test does with them */

struct setting {
    struct script script;
    rota_http_session_options options;
    rota_http_session *session;
    void (*body)(struct setting *t);
    void *arg;
};

static int setting_main(void *arg)
{
    struct setting *t = arg;
    script_start(&t->script);
    CHECK_OK(rota_http_session_new(&t->options, &t->session));
    t->body(t);
    rota_http_session_free(t->session);
    script_stop(&t->script);
    return 0;
}

static void run(struct setting *t, void (*body)(struct setting *t))
{
    rota_loop_options options = {.virtual_clock = true};
    t->body = body;
    if (!t->options.proxy)
        t->options.proxy = "";
    CHECK_OK(rota_run_with(setting_main, t, &options));
}

static rota_http_response *fetch(struct setting *t, const char *path,
                                 const rota_http_fetch_options *options)
{
    rota_http_response *r = NULL;
    int err = rota_http_fetch(t->session, url_of(&t->script, path), options, &r);
    if (err < 0)
        FAIL("%s: %s", path, rota_error(err));
    return r;
}

/* Fetches what has to have this body. */
static void expect_body(struct setting *t, const char *path, const char *body)
{
    rota_http_response *r = fetch(t, path, NULL);
    CHECK_STR(rota_http_body(r).ptr, body);
    CHECK_INT(rota_http_body(r).len, ==, strlen(body));
    rota_http_response_free(r);
}

/* Fetches what has to fail, with words that contain these. */
static void expect_error(struct setting *t, const char *path,
                         const rota_http_fetch_options *options, int expected, const char *words)
{
    rota_http_response *r = NULL;
    int err = rota_http_fetch(t->session, url_of(&t->script, path), options, &r);
    CHECK_PTR(r, ==, NULL);
    if (err != expected || !strstr(rota_error(err), words))
        FAIL("%s instead of %s: %s", rota_strerror(err), rota_strerror(expected), rota_error(err));
}

static void check_seen(const struct setting *t, const char *text)
{
    if (!strstr(t->script.seen, text))
        FAIL("\"%s\" is not in\n%s", text, t->script.seen);
}

static void check_not_seen(const struct setting *t, const char *text)
{
    if (strstr(t->script.seen, text))
        FAIL("\"%s\" is in\n%s", text, t->script.seen);
}

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define EMPTY "HTTP/1.1 204 No Content\r\n\r\n"

/* ---- Answers */

static void simple(struct setting *t)
{
    rota_http_response *r = fetch(t, "/a?b=c#d", NULL);
    CHECK_INT(rota_http_status(r), ==, 200);
    CHECK(rota_str_equal(rota_http_response_reason(r), "Fine"));
    CHECK(rota_str_equal(rota_http_response_version(r), "HTTP/1.1"));
    CHECK_STR(rota_http_response_url(r), url_of(&t->script, "/a?b=c"));
    CHECK(rota_str_equal(rota_http_response_header(r, "x-name"), "value"));
    CHECK_PTR(rota_http_response_header(r, "x-nam").ptr, ==, NULL);
    size_t count;
    const rota_http_field *fields = rota_http_response_fields(r, &count);
    CHECK_INT(count, ==, 2);
    CHECK(rota_str_equal(fields[1].name, "Content-Length"));
    CHECK_STR(rota_http_body(r).ptr, "hello");
    CHECK_INT(rota_http_response_redirects(r), ==, 0);
    CHECK_PTR(rota_http_response_redirect(r, 0, NULL), ==, NULL);
    CHECK_INT(rota_http_response_time(r, ROTA_HTTP_DONE), >=, 0);
    CHECK_INT(rota_http_response_time(r, ROTA_HTTP_ENCRYPTING), ==, -1);
    char buf[8] = "";
    CHECK_INT(rota_http_read(r, buf, 3), ==, 3);
    CHECK_INT(rota_http_read(r, buf + 3, 5), ==, 2);
    CHECK_INT(rota_http_read(r, buf, 5), ==, 0);
    CHECK_STR(buf, "hello");
    rota_http_response_free(r);
    check_seen(t, "GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:");
    check_seen(t, "\r\nUser-Agent: rota/");
    check_seen(t, "\r\nAccept-Encoding: gzip, deflate, br");
    check_not_seen(t, "Content-Length");
}

TEST(a_response_says_all_that_came)
{
    struct setting t = {
        .script.replies = {"HTTP/1.1 200 Fine\r\nX-Name: value\r\nContent-Length: 5\r\n\r\nhello"}};
    run(&t, simple);
}

static void bodies(struct setting *t)
{
    expect_body(t, "/", "hello");
    expect_body(t, "/", "hello world");
    expect_body(t, "/", "");
    expect_body(t, "/", "");
    expect_body(t, "/", "");
    expect_body(t, "/", "until the end");
    CHECK_INT(t->script.connections, ==, 1);
    expect_body(t, "/", "old");
    CHECK_INT(t->script.connections, ==, 2);
    expect_body(t, "/", "hello");
    CHECK_INT(t->script.connections, ==, 3);
}

TEST(bodies_of_all_framings_are_read_and_connections_used_again)
{
    struct setting t = {
        .script.replies = {OK,
                           "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                           "chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
                           EMPTY, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                           "!HTTP/1.1 200 OK\r\n\r\nuntil the end",
                           "!HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", OK}};
    run(&t, bodies);
}

static void head(struct setting *t)
{
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.method = "HEAD"});
    CHECK(rota_str_equal(rota_http_response_header(r, "content-length"), "500"));
    CHECK_INT(rota_http_body(r).len, ==, 0);
    rota_http_response_free(r);
    expect_body(t, "/", "hello");
    CHECK_INT(t->script.connections, ==, 1);
}

TEST(an_answer_to_HEAD_has_no_body)
{
    struct setting t = {.script.replies = {"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", OK}};
    run(&t, head);
}

static void interim(struct setting *t)
{
    expect_body(t, "/", "hello");
    expect_error(t, "/", NULL, ROTA_EPROTOCOL, "too many interim responses");
}

TEST(interim_answers_are_passed_over_but_not_for_ever)
{
    char endless[2048] = "";
    for (int i = 0; i < 30; i++)
        strcat(endless, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    struct setting t = {
        .script.replies = {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" OK,
                           endless}};
    run(&t, interim);
}

static void limited(struct setting *t)
{
    expect_error(t, "/", NULL, ROTA_ELIMIT, "head longer than 60 bytes (option head)");
    expect_error(t, "/", NULL, ROTA_ELIMIT, "more than 2 header fields (option fields)");
    expect_error(t, "/", NULL, ROTA_ELIMIT,
                 "more than 2 header fields (option fields)"); /* trailers */
    expect_body(t, "/", "hello");
}

TEST(heads_of_answers_have_limits_that_can_be_set)
{
    struct setting t = {
        .options = {.head = 60, .fields = 2},
        .script.replies = {
            "HTTP/1.1 200 OK\r\nX: 012345678901234567\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA:\r\nB:\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA:\r\nB:\r\nC:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: 01234567890123456\r\nContent-Length: 5\r\n\r\nhello"}};
    run(&t, limited);
}

/* ---- Retries */

#define BUSY(fields_) "HTTP/1.1 503 Busy\r\n" fields_ "Content-Length: 4\r\n\r\nbusy"

static const rota_backoff three_tries = {.first = ROTA_SECOND, .tries = 3};

static int count_seen(const struct setting *t, const char *text)
{
    int count = 0;
    for (const char *at = t->script.seen; (at = strstr(at, text)); at += strlen(text))
        count++;
    return count;
}

static void tried_again(struct setting *t)
{
    rota_time before = rota_now();
    expect_body(t, "/", "hello");
    CHECK_INT(rota_now() - before, >=,
              1500 * ROTA_MILLISECOND); /* half a second, and a whole one */
    CHECK_INT(rota_now() - before, <=, 4 * ROTA_SECOND);
    CHECK_INT(count_seen(t, "GET / "), ==, 3);
    CHECK_INT(t->script.connections, ==, 1);
}

TEST(what_may_pass_is_tried_again_by_policy)
{
    struct setting t = {.options.retry = &three_tries, .script.replies = {BUSY(""), BUSY(""), OK}};
    run(&t, tried_again);
}

static void retried_in_vain(struct setting *t)
{
    rota_http_response *r = fetch(t, "/", NULL);
    CHECK_INT(rota_http_status(r), ==, 503);
    CHECK_STR(rota_http_body(r).ptr, "busy");
    r = rota_http_response_free(r);
    CHECK_INT(count_seen(t, "GET / "), ==, 3);
    r = fetch(t, "/post", &(rota_http_fetch_options){.method = "POST"}); /* not idempotent */
    CHECK_INT(rota_http_status(r), ==, 503);
    r = rota_http_response_free(r);
    CHECK_INT(count_seen(t, "POST "), ==, 1);
    r = fetch(t, "/once", &(rota_http_fetch_options){.retry = &(rota_backoff){.tries = 1}});
    CHECK_INT(rota_http_status(r), ==, 503);
    r = rota_http_response_free(r);
    CHECK_INT(count_seen(t, "GET /once "), ==, 1);
}

TEST(the_last_try_is_what_the_call_returns)
{
    struct setting t = {.options.retry = &three_tries, .script.replies = {BUSY("")}};
    run(&t, retried_in_vain);
}

static void retried_after(struct setting *t)
{
    rota_time before = rota_now();
    expect_body(t, "/", "hello");
    CHECK_INT(rota_now() - before, >=, 60 * ROTA_SECOND);
    before = rota_now();
    t->script.next = 0;
    ROTA_TIMEOUT (30 * ROTA_SECOND) { /* the server asks for longer */
        rota_http_response *r = fetch(t, "/", NULL);
        CHECK_INT(rota_http_status(r), ==, 503);
        rota_http_response_free(r);
    }
    CHECK_INT(rota_now() - before, <, ROTA_SECOND);
}

TEST(retry_after_is_obeyed_unless_the_deadline_comes_first)
{
    struct setting t = {.options.retry = &three_tries,
                        .script.replies = {BUSY("Retry-After: 60\r\n"), OK}};
    run(&t, retried_after);
}

static void not_waited_for(struct setting *t)
{
    rota_time before = rota_now();
    rota_http_response *r = fetch(t, "/", NULL);
    CHECK_INT(rota_http_status(r), ==, 503);
    rota_http_response_free(r);
    CHECK_INT(rota_now() - before, <, ROTA_SECOND);
    CHECK_INT(count_seen(t, "GET / "), ==, 1);
}

static void waited_an_hour(struct setting *t)
{
    rota_time before = rota_now();
    expect_body(t, "/", "hello");
    CHECK_INT(rota_now() - before, >=, 60 * ROTA_MINUTE);
}

TEST(a_retry_after_of_more_than_an_hour_is_not_waited_for)
{
    static const char *const pauses[] = {BUSY("Retry-After: 3601\r\n"),
                                         BUSY("Retry-After: 99999999999\r\n"),
                                         BUSY("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n")};
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
        struct setting t = {.options = {.retry = &three_tries, .total = ROTA_NEVER},
                            .script.replies = {pauses[i], OK}};
        run(&t, not_waited_for);
    }
    struct setting hour = {.options = {.retry = &three_tries, .total = ROTA_NEVER},
                           .script.replies = {BUSY("Retry-After: 3600\r\n"), OK}};
    run(&hour, waited_an_hour);
}

static void retried_connections(struct setting *t)
{
    static const char body[] = "some body";
    rota_http_response *r = NULL;
    rota_http_fetch_options put = {.method = "PUT", .body.bytes = {body, sizeof body - 1}};
    r = fetch(t, "/put", &put); /* broken off, silent, and then answered */
    CHECK_INT(rota_http_status(r), ==, 200);
    r = rota_http_response_free(r);
    CHECK_INT(count_seen(t, body), ==, 3);
    t->script.next = 0;
    expect_error(t, "/", &(rota_http_fetch_options){.method = "POST"}, ROTA_ETRUNCATED, "ended");
    script_stop(&t->script);
    rota_time before = rota_now();
    expect_error(t, "/", &(rota_http_fetch_options){.method = "POST"}, -ECONNREFUSED, "refused");
    CHECK_INT(rota_now() - before, >=, 1500 * ROTA_MILLISECOND);
    script_start(&t->script);
}

TEST(connections_that_fail_are_tried_again_where_nothing_can_be_done_twice)
{
    struct setting t = {.options.retry = &three_tries, .script.replies = {"!", "...", OK}};
    run(&t, retried_connections);
}

/* Of each connection nothing is heard; from the `stuck`th on there is none at all. */
struct silence {
    int calls, stuck;
    rota_stream *peers[4];
};

static int connect_in_silence(void *arg, const char *host, int port, rota_stream **ret_stream)
{
    struct silence *silence = arg;
    if (++silence->calls >= silence->stuck)
        return rota_sleep(ROTA_NEVER);
    return rota_stream_pair(0, ret_stream, &silence->peers[silence->calls]);
}

/* All tries time out, the last one by this limit. */
static void expect_timeout(struct setting *t, rota_http_limit limit, rota_http_phase phase,
                           const char *words)
{
    struct silence *silence = t->options.connect_arg;
    expect_error(t, "/", NULL, -ETIMEDOUT, words);
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, limit);
    CHECK_INT(rota_http_failed_phase(-ETIMEDOUT), ==, phase);
    CHECK_INT(silence->calls, ==, 3);
    for (int i = 0; i < 4; i++)
        rota_stream_free(silence->peers[i]);
}

static void timed_out_waiting(struct setting *t)
{
    expect_timeout(t, ROTA_HTTP_LIMIT_GAP, ROTA_HTTP_WAITING, ": nothing came for 20 s");
}

static void timed_out_connecting(struct setting *t)
{
    expect_timeout(t, ROTA_HTTP_LIMIT_CONNECT, ROTA_HTTP_CONNECTING, ": not connected within 7 s");
}

static void timed_out_after_all(struct setting *t)
{
    expect_timeout(t, ROTA_HTTP_LIMIT_TOTAL, ROTA_HTTP_WAITING, ": not complete within 50 s");
}

TEST(a_request_that_was_retried_tells_the_limit_of_its_last_timeout)
{
    struct silence waits = {.stuck = 4}, connects = {.stuck = 3}, all = {.stuck = 4};
    struct setting t = {.options = {.retry = &three_tries,
                                    .gap = 20 * ROTA_SECOND,
                                    .connect = 7 * ROTA_SECOND,
                                    .connect_to = connect_in_silence}};
    t.options.connect_arg = &waits;
    run(&t, timed_out_waiting);
    t.options.connect_arg = &connects;
    run(&t, timed_out_connecting);
    t.options.connect_arg = &all;
    t.options.total = 50 * ROTA_SECOND;
    run(&t, timed_out_after_all);
}

static void paused_for_long(struct setting *t)
{
    rota_time before = rota_now();
    expect_body(t, "/", "hello");
    CHECK_INT(rota_now() - before, >=, 120 * ROTA_SECOND);
}

TEST(a_pause_may_be_longer_than_the_gap)
{
    struct setting t = {.options.retry = &three_tries,
                        .script.replies = {"~HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n"
                                           "Retry-After: 120\r\n\r\n~busy",
                                           OK}};
    run(&t, paused_for_long);
}

static void not_retried(struct setting *t)
{
    struct ends up = pair_of(0);
    CHECK_OK(rota_stream_write(up.a, "x", 1));
    rota_stream_free(up.a);
    rota_http_response *r =
        fetch(t, "/", &(rota_http_fetch_options){.method = "PUT", .body.stream = up.b});
    CHECK_INT(rota_http_status(r), ==, 503); /* a stream cannot be sent twice */
    rota_http_response_free(r);
    rota_stream_free(up.b);
    CHECK_INT(count_seen(t, "PUT "), ==, 1);
}

TEST(a_body_that_cannot_be_sent_twice_is_not_tried_again)
{
    struct setting t = {.options.retry = &three_tries, .script.replies = {BUSY("")}};
    run(&t, not_retried);
}

static void streamed(struct setting *t)
{
    rota_http_fetch_options options = {.stream = true};
    rota_http_response *r = fetch(t, "/", &options);
    char buf[64] = "";
    size_t len = 0;
    ssize_t n;
    CHECK_INT(rota_http_body(r).len, ==, 0);
    while ((n = rota_http_read(r, buf + len, 4)) > 0)
        len += (size_t)n;
    CHECK_INT(n, ==, 0);
    CHECK_STR(buf, "hello world");
    CHECK(rota_str_equal(rota_http_response_trailer(r, "x-sum"), "42"));
    rota_http_response_free(r);

    r = fetch(t, "/", &options);
    CHECK_INT(rota_http_read(r, buf, 2), ==, 2);
    CHECK_INT(rota_http_read_all(r, 0), ==, 0);
    CHECK_STR(rota_http_body(r).ptr, "llo");
    rota_http_response_free(r);
    CHECK_INT(t->script.connections, ==, 1);

    r = fetch(t, "/", &options);
    CHECK_INT(rota_http_read(r, buf, 2), ==, 2);
    rota_http_response_free(r); /* not read to its end */
    expect_body(t, "/", "hello");
    CHECK_INT(t->script.connections, ==, 2);
}

TEST(a_streamed_body_is_read_as_it_comes)
{
    struct setting t = {.script.replies = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                           "b\r\nhello world\r\n0\r\nX-Sum: 42\r\n\r\n",
                                           OK}};
    run(&t, streamed);
}

/* ---- Requests */

static void methods(struct setting *t)
{
    const char *headers[] = {"Accept", "text/plain", "X-Mine", "1", NULL};
    rota_http_fetch_options options = {
        .method = "PUT", .headers = headers, .body.bytes = {"body", 4}, .type = "text/x"};
    rota_http_response_free(fetch(t, "/put", &options));
    check_seen(t, "PUT /put HTTP/1.1\r\n");
    check_seen(t, "\r\nAccept: text/plain\r\nX-Mine: 1\r\n");
    check_seen(t, "\r\nX-Default: d\r\n");
    check_seen(t, "\r\nContent-Type: text/x\r\n");
    check_seen(t, "\r\nContent-Length: 4\r\n\r\nbody");
    check_not_seen(t, "*/*");
    rota_http_response_free(fetch(t, "/post", &(rota_http_fetch_options){.method = "POST"}));
    check_seen(t, "POST /post HTTP/1.1\r\n");
    check_seen(t, "\r\nContent-Length: 0\r\n\r\n");
    rota_http_response *r = NULL;
    CHECK_INT(rota_http_fetch(t->session, "relative?x", NULL, &r), ==, -EINVAL);
    const char *bad[] = {"X", "a\r\nb", NULL};
    expect_error(t, "/", &(rota_http_fetch_options){.headers = bad}, -EINVAL,
                 "\"X\" has a value with a control character");
    const char *framing[] = {"content-length", "4", NULL};
    expect_error(t, "/", &(rota_http_fetch_options){.headers = framing}, -EINVAL,
                 "that a caller can set");
    const char *lone[] = {"X", NULL};
    expect_error(t, "/", &(rota_http_fetch_options){.headers = lone}, -EINVAL,
                 "\"X\" has no value");
    CHECK(strstr(rota_error(-EINVAL), "preparing the request to 127.0.0.1:"));
    expect_error(t, "/", &(rota_http_fetch_options){.body.form = lone}, -EINVAL, ": X: Invalid");
    rota_http_body_source two = {.bytes = {"a", 1}, .path = "/etc/passwd"};
    expect_error(t, "/", &(rota_http_fetch_options){.body = two}, -EINVAL, "more than one body");
    static const char *const methods[] = {"", "G T", "G\r\n", "CONNECT"};
    for (int i = 0; i < 4; i++)
        expect_error(t, "/", &(rota_http_fetch_options){.method = methods[i]}, -EINVAL,
                     "is not a valid request method");
    expect_error(t, "/ x", NULL, -EINVAL, "has an unencoded or invalid character");
    CHECK_INT(rota_http_fetch(t->session, "ftp://a/", NULL, &r), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "\"ftp://a/\" is not an http or https URL");
}

TEST(methods_fields_and_types_are_sent_and_what_cannot_be_is_refused)
{
    const char *headers[] = {"X-Default", "d", "Accept", "no", NULL};
    struct setting t = {.script.replies = {OK}, .options.headers = headers};
    run(&t, methods);
}

/* RFC 9112, section 3.2.4; RFC 9113, section 8.3.1. */
static void options_of_all(struct setting *t)
{
    rota_http_fetch_options options = {.method = "OPTIONS"};
    rota_http_response_free(fetch(t, "", &options));
    check_seen(t, "OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1:");
    rota_http_response_free(fetch(t, "#x", &options));
    check_not_seen(t, "OPTIONS / ");
    rota_http_response_free(fetch(t, "/", &options));
    check_seen(t, "OPTIONS / HTTP/1.1\r\n");
    rota_http_response_free(fetch(t, "?x", &options));
    check_seen(t, "OPTIONS /?x HTTP/1.1\r\n");
    expect_body(t, "", "hello");
    check_seen(t, "GET / HTTP/1.1\r\n");
}

TEST(OPTIONS_without_a_path_asks_of_the_server_as_a_whole)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, options_of_all);
}

static void sources(struct setting *t)
{
    char path[300];
    snprintf(path, sizeof path, "%s/file.txt", test_directory());
    CHECK_OK(rota_file_save(path, "of a file", 9, &(rota_file_save_options){.unsynced = true}));
    const char *form[] = {"a", "1 2", "b&", "\xc3\xa4", NULL};
    rota_http_response_free(fetch(t, "/form", &(rota_http_fetch_options){.body.form = form}));
    check_seen(t, "\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    check_seen(t, "\r\n\r\na=1+2&b%26=%C3%A4");

    rota_http_response_free(fetch(t, "/file", &(rota_http_fetch_options){.body.path = path}));
    check_seen(t, "POST /file HTTP/1.1\r\n");
    check_seen(t, "\r\nContent-Length: 9\r\n\r\nof a file");

    rota_stream *ours, *theirs;
    CHECK_OK(rota_stream_pair(0, &ours, &theirs));
    CHECK_OK(rota_stream_write(ours, "streamed", 8));
    CHECK_OK(rota_stream_shutdown(ours));
    rota_http_response_free(fetch(t, "/s", &(rota_http_fetch_options){.body.stream = theirs}));
    check_seen(t, "\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nstreamed\r\n0\r\n\r\n");
    rota_stream_free(ours);
    rota_stream_free(theirs);

    rota_http_part parts[] = {{.name = "one", .bytes = {"1", 1}},
                              {.name = "two", .path = path, .type = "text/plain"}};
    rota_http_response_free(
        fetch(t, "/multi", &(rota_http_fetch_options){.body.parts = parts, .body.count = 2}));
    check_seen(t, "Content-Type: multipart/form-data; boundary=");
    check_seen(t, "name=\"one\"\r\n\r\n1\r\n--");
    check_seen(
        t,
        "name=\"two\"; filename=\"file.txt\"\r\nContent-Type: text/plain\r\n\r\nof a file\r\n--");
    expect_error(t, "/dir", &(rota_http_fetch_options){.body.path = "/"}, -EISDIR, "/");
    expect_error(t, "/null", &(rota_http_fetch_options){.body.path = "/dev/null"}, -EINVAL,
                 "/dev/null");
    expect_error(t, "/none", &(rota_http_fetch_options){.body.path = "/nowhere/x"}, -ENOENT,
                 ": /nowhere/x: No such file");
}

TEST(bodies_come_from_forms_files_streams_and_parts)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, sources);
}

static void lies(struct setting *t)
{
    for (int more = 0; more < 2; more++) {
        rota_stream *ours, *theirs;
        CHECK_OK(rota_stream_pair(0, &ours, &theirs));
        CHECK_OK(rota_stream_write(ours, "four", more ? 4 : 2));
        CHECK_OK(rota_stream_shutdown(ours));
        rota_http_fetch_options options = {.body = {.stream = theirs, .length = 3}};
        if (more)
            rota_http_response_free(fetch(t, "/", &options)); /* the rest stays in the stream */
        else
            expect_error(t, "/", &options, -EMSGSIZE, "shorter than announced");
        rota_stream_free(ours);
        rota_stream_free(theirs);
    }
}

TEST(a_body_is_as_long_as_it_was_said_to_be_or_the_request_fails)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, lies);
}

/* ---- Servers that answer before they have read */

/* Says 100 (Continue) if the path is /yes, nothing if it is /later; else answers at once. */
static int answer_expected(rota_stream *s, void *arg)
{
    static const char go[] = "HTTP/1.1 100 Continue\r\n\r\n";
    static const char no[] =
        "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    struct script *script = arg;
    rota_str head;
    char body[16];
    script->connections++;
    while (rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head) == 0) {
        bool yes = has(head, " /yes "), later = has(head, " /later ");
        note(script, head);
        if (!yes && !later) {
            ROTA_IGNORE(rota_stream_write(s, no, sizeof no - 1));
            return rota_stream_read(s, body, 1) ==
                   0; /* which closes it, with what was sent unread */
        }
        if (yes)
            ROTA_IGNORE(rota_stream_write(s, go, sizeof go - 1));
        if (rota_stream_read_exact(s, body, 4) < 0)
            return 0;
        note(script, (rota_str){body, 4});
        ROTA_IGNORE(rota_stream_write(s, OK, sizeof OK - 1));
    }
    return 0;
}

static int serve_expected(void *arg)
{
    struct script *script = arg;
    return rota_serve(script->listener, answer_expected, script, NULL);
}

static void expected(struct setting *t)
{
    struct script other = {0};
    rota_http_fetch_options options = {.body.bytes = {"body", 4}, .expect = true};
    rota_http_response *r = NULL;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &other.listener));
    other.port = rota_listener_port(other.listener);
    CHECK_OK(rota_spawn(serve_expected, &other, &other.task));
    rota_time start = rota_now();
    CHECK_OK(rota_http_fetch(t->session, url_of(&other, "/yes"), &options, &r));
    r = rota_http_response_free(r);
    CHECK_INT(rota_now() - start, <, ROTA_SECOND);
    CHECK_OK(rota_http_fetch(t->session, url_of(&other, "/later"), &options, &r));
    r = rota_http_response_free(r);
    CHECK_INT(rota_now() - start, >=, ROTA_SECOND);
    CHECK_INT(other.connections, ==, 1);
    CHECK(strstr(other.seen, "\r\nExpect: 100-continue\r\n"));
    other.seen[0] = '\0';
    CHECK_OK(rota_http_fetch(t->session, url_of(&other, "/no"), &options, &r));
    CHECK_INT(rota_http_status(r), ==, 413);
    CHECK_STR(rota_http_body(r).ptr, "no");
    r = rota_http_response_free(r);
    CHECK(!strstr(other.seen, "body"));

    static char large[4 << 20];
    options = (rota_http_fetch_options){.body.bytes = {large, sizeof large}};
    CHECK_OK(rota_http_fetch(t->session, url_of(&other, "/large"), &options, &r));
    CHECK_INT(rota_http_status(r), ==, 413); /* although the body could not be sent */
    r = rota_http_response_free(r);
    CHECK_OK(rota_http_fetch(t->session, url_of(&other, "/yes"),
                             &(rota_http_fetch_options){.body.bytes = {"body", 4}, .expect = true},
                             &r));
    r = rota_http_response_free(r);
    script_stop(&other);
}

TEST(an_answer_that_comes_before_the_body_was_sent_counts)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, expected);
}

/* ---- Errors */

static void errors(struct setting *t)
{
    expect_error(t, "/", NULL, ROTA_EPROTOCOL, "no HTTP version");
    CHECK_INT(rota_http_failed_phase(ROTA_EPROTOCOL), ==, ROTA_HTTP_WAITING);
    expect_error(t, "/", NULL, ROTA_EPROTOCOL, "both Content-Length and Transfer-Encoding");
    expect_error(t, "/", NULL, ROTA_ETRUNCATED, "the connection ended before the response did");
    CHECK_INT(rota_http_failed_phase(ROTA_ETRUNCATED), ==, ROTA_HTTP_READING);
    expect_error(t, "/", NULL, ROTA_ETRUNCATED, "ended before the response did");
    expect_error(t, "/", NULL, ROTA_ETRUNCATED, "ended without a response");
    CHECK_INT(rota_http_failed_phase(ROTA_ETRUNCATED), ==, ROTA_HTTP_WAITING);
    expect_error(t, "/", NULL, ROTA_ELIMIT, "longer than 10 bytes");
    expect_error(t, "/", NULL, ROTA_ELIMIT, "longer than 10 bytes");
    expect_error(t, "/", NULL, ROTA_EPROTOCOL, "a chunk without a size");
    CHECK_INT(t->script.connections, ==, 8);
}

TEST(each_way_to_fail_has_a_name)
{
    struct setting t = {
        .options.body = 10,
        .script.replies = {
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "!HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhello",
            "!HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "!",
            "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello"}};
    run(&t, errors);
}

static void unreachable(struct setting *t)
{
    rota_http_response *r = NULL;
    char url[80];
    rota_listener *l;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &l));
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", rota_listener_port(l));
    rota_listener_free(l);
    CHECK_INT(rota_http_fetch(t->session, url, NULL, &r), ==, -ECONNREFUSED);
    CHECK_INT(rota_http_failed_phase(-ECONNREFUSED), ==, ROTA_HTTP_CONNECTING);
    CHECK(strstr(rota_error(-ECONNREFUSED), "connecting to 127.0.0.1:"));
    CHECK(strstr(rota_error(-ECONNREFUSED), ": Connection refused"));
    CHECK_INT(rota_http_get(url, &r), ==, -ECONNREFUSED);
    CHECK(strstr(rota_error(-ECONNREFUSED), ": Connection refused"));
    CHECK_INT(rota_http_get("ftp://localhost/", &r), ==, -EINVAL);
    CHECK_INT(rota_http_get("http:///x", &r), ==, -EINVAL);
    CHECK_INT(rota_http_get("/x", &r), ==, -EINVAL);
}

TEST(who_cannot_be_reached_is_named)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, unreachable);
}

/* ---- Redirects */

struct redirect {
    int status;
    const char *method, *becomes;
    bool keeps_body;
};

static const struct redirect redirects[] = {
    {301, "GET", "GET", false},   {302, "GET", "GET", false},      {303, "GET", "GET", false},
    {307, "GET", "GET", false},   {308, "GET", "GET", false},      {301, "HEAD", "HEAD", false},
    {303, "HEAD", "HEAD", false}, {301, "POST", "GET", false},     {302, "POST", "GET", false},
    {303, "POST", "GET", false},  {307, "POST", "POST", true},     {308, "POST", "POST", true},
    {301, "PUT", "PUT", true},    {302, "DELETE", "DELETE", true}, {303, "PUT", "GET", false},
};

static void redirected(struct setting *t)
{
    for (size_t i = 0; i < sizeof redirects / sizeof *redirects; i++) {
        const struct redirect *c = &redirects[i];
        char reply[200], expected[80];
        bool has_body = *c->method == 'P' || *c->method == 'D';
        snprintf(reply, sizeof reply, "HTTP/1.1 %d X\r\nLocation: /to\r\nContent-Length: %s",
                 c->status, *c->method == 'H' ? "3\r\n\r\n" : "3\r\n\r\nabc");
        t->script.replies[0] = reply;
        t->script.replies[1] =
            *c->method == 'H' ? "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" : OK;
        t->script.next = 0;
        t->script.seen[0] = '\0';
        rota_http_fetch_options options = {.method = c->method, .type = "text/x"};
        if (has_body)
            options.body.bytes = (rota_str){"body", 4};
        rota_http_response *r = fetch(t, "/from", &options);
        int status = 0;
        CHECK_STR(rota_http_response_url(r), url_of(&t->script, "/to"));
        CHECK_INT(rota_http_response_redirects(r), ==, 1);
        CHECK_STR(rota_http_response_redirect(r, 0, &status), url_of(&t->script, "/from"));
        CHECK_INT(status, ==, c->status);
        rota_http_response_free(r);
        snprintf(expected, sizeof expected, "%s /to HTTP/1.1\r\n", c->becomes);
        check_seen(t, expected);
        const char *second = strstr(t->script.seen, " /to ");
        CHECK_INT(strstr(second, "body") != NULL, ==, c->keeps_body);
        CHECK_INT(strstr(second, "Content-Type") != NULL, ==, c->keeps_body);
    }
    CHECK_INT(t->script.connections, ==, 1);
}

TEST(redirects_are_followed_as_RFC_9110_section_15_4_says)
{
    struct setting t = {0};
    run(&t, redirected);
}

/* What was seen is a request with its body, redirected, and the same again. */
static void check_sent_twice(struct setting *t, const rota_http_body_source *body)
{
    rota_http_fetch_options options = {.body = *body};
    rota_http_response_free(fetch(t, "/from", &options));
    const char *first = strstr(t->script.seen, "\r\n\r\n");
    const char *second = strstr(t->script.seen, "POST /to ");
    CHECK(first && second && first < second);
    const char *again = strstr(second, "\r\n\r\n");
    CHECK(again);
    size_t len = (size_t)(second - first);
    CHECK_INT(len, >, 4 + 3);
    CHECK_INT(strlen(again), ==, len);
    CHECK_MEM(first, again, len);
}

static void sent_again(struct setting *t)
{
    char path[300];
    snprintf(path, sizeof path, "%s/file.txt", test_directory());
    CHECK_OK(rota_file_save(path, "of a file", 9, &(rota_file_save_options){.unsynced = true}));
    const char *form[] = {"a", "1 2", NULL};
    rota_http_part parts[] = {{.name = "one", .bytes = {"1", 1}}, {.name = "two", .path = path}};
    const rota_http_body_source bodies[] = {
        {.bytes = {"bytes", 5}}, {.form = form}, {.path = path}, {.parts = parts, .count = 2}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        t->script.next = 0;
        memset(t->script.seen, 0, sizeof t->script.seen);
        check_sent_twice(t, &bodies[i]);
    }
}

TEST(a_body_is_sent_again_whole_when_307_asks_for_it)
{
    struct setting t = {
        .script.replies = {"HTTP/1.1 307 X\r\nContent-Length: 0\r\nLocation: /to\r\n\r\n", OK}};
    run(&t, sent_again);
}

static void redirect_limits(struct setting *t)
{
    expect_error(t, "/", NULL, ROTA_EREDIRECTS, "more than 3 redirects");
    CHECK_INT(rota_http_failed_phase(ROTA_EREDIRECTS), ==, ROTA_HTTP_REDIRECTED);
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.redirects = -1});
    CHECK_INT(rota_http_status(r), ==, 302);
    rota_http_response_free(r);
    t->script.replies[0] = "HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: ftp://x/\r\n\r\n";
    expect_error(t, "/", NULL, ROTA_EPROTOCOL, "\"ftp://x/\" is not an http");
    t->script.replies[0] = "HTTP/1.1 302 X\r\nContent-Length: 5\r\n\r\nhello"; /* leads nowhere */
    expect_body(t, "/", "hello");
    t->script.replies[0] = "HTTP/1.1 307 X\r\nContent-Length: 0\r\nLocation: /\r\n\r\n";
    rota_stream *ours, *theirs;
    CHECK_OK(rota_stream_pair(0, &ours, &theirs));
    CHECK_OK(rota_stream_shutdown(ours));
    expect_error(t, "/", &(rota_http_fetch_options){.body.stream = theirs}, -ESPIPE,
                 "cannot be sent twice");
    rota_stream_free(ours);
    rota_stream_free(theirs);
}

TEST(redirects_end_somewhere)
{
    struct setting t = {
        .options.redirects = 3,
        .script.replies = {"HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: ?again\r\n\r\n"}};
    run(&t, redirect_limits);
}

static void other_origin(struct setting *t)
{
    struct script other = {
        .replies = {"HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: /2\r\n\r\n", OK}};
    char reply[200];
    script_start(&other);
    snprintf(reply, sizeof reply,
             "HTTP/1.1 307 X\r\nContent-Length: 0\r\nLocation: http://u:p@127.0.0.1:%d/\r\n\r\n",
             other.port);
    t->script.replies[0] = reply;
    const char *headers[] = {"Authorization", "Bearer x", "cookie", "a=b", "X-Kept", "1", NULL};
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.headers = headers});
    CHECK_STR(rota_http_body(r).ptr, "hello");
    CHECK_INT(rota_http_response_redirects(r), ==, 2);
    rota_http_response_free(r);
    check_seen(t, "Authorization: Bearer x\r\n");
    CHECK(!strstr(other.seen, "uthorization") && !strstr(other.seen, "ookie"));
    CHECK(strstr(other.seen, "X-Kept: 1\r\n") && strstr(other.seen, "GET /2"));
    script_stop(&other);
}

TEST(credentials_and_cookies_do_not_go_to_another_origin)
{
    const char *headers[] = {"Authorization", "Bearer y", "Cookie", "c=d", "X-Session", "2", NULL};
    struct setting t = {0};
    run(&t, other_origin);
    t.options.headers = headers; /* those of the session go as little */
    run(&t, other_origin);
}

static void same_origin(struct setting *t)
{
    char url[100];
    rota_http_response *r;
    snprintf(url, sizeof url, "http://u:p@127.0.0.1:%d/", t->script.port);
    CHECK_OK(rota_http_fetch(t->session, url, NULL, &r));
    CHECK_STR(rota_http_response_url(r), url_of(&t->script, "/2%20x"));
    rota_http_response_free(r);
    const char *second = strstr(t->script.seen, "GET /2%20x ");
    CHECK(second);
    CHECK(strstr(second, "\r\nAuthorization: Basic dTpw\r\n"));
    CHECK(strstr(second, "\r\nCookie: a=1\r\n"));
}

TEST(credentials_of_a_URL_hold_for_redirects_of_its_origin)
{
    struct setting t = {
        .script.replies = {"HTTP/1.1 301 X\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n"
                           "Location: /2 x#there\r\n\r\n",
                           OK}};
    run(&t, same_origin);
}

/* What other clients have stumbled over. */
struct odd {
    const char *method, *reply;
    int expected; /* a status, or an error */
    const char *body;
    bool ends; /* the connection is not used again */
};

#define HEAD "HTTP/1.1 200 OK\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"

static const struct odd odds[] = {
    /* Without a body, whatever they say */
    {"GET", "HTTP/1.1 204 X\r\n\r\n", 204, "", false},
    {"GET", "HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\nhello", 204, "", true},
    {"GET", "HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", 304, "", false},
    {"GET", "HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\nhello", 304, "", true},
    {"GET", "HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n", 304, "", false},
    {"HEAD", HEAD "Content-Length: 5\r\n\r\n", 200, "", false},
    {"HEAD", HEAD "\r\n", 200, "", false},
    {"HEAD", CHUNKED, 200, "", false},
    {"HEAD", HEAD "Content-Length: 5\r\n\r\nhello", 200, "", true},
    {"HEAD", CHUNKED "5\r\nhello\r\n0\r\n\r\n", 200, "", true},
    {"GET", "HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n", 205, "", false},
    /* Interim */
    {"GET",
     "HTTP/1.1 103 X\r\nLink: <a>\r\n\r\nHTTP/1.1 103 X\r\nLink: <b>\r\n\r\nHTTP/1.1 102 "
     "X\r\n\r\n" OK,
     200, "hello", false},
    {"GET", "HTTP/1.1 100 Continue\r\n\r\n" OK, 200, "hello", false},
    {"GET", "HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n" OK, 200, "hello", false},
    {"GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
     ROTA_EPROTOCOL, NULL, true},
    /* Ends */
    {"GET", "!" HEAD "\r\nabc", 200, "abc", true},
    {"GET", "!" HEAD "Connection: keep-alive\r\n\r\nabc", 200, "abc", true},
    {"GET", "!HTTP/1.0 200 OK\r\n\r\n", 200, "", true},
    {"GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nab", 200, "ab",
     false},
    {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, "ab", true},
    {"GET", HEAD "Connection: close\r\nContent-Length: 2\r\n\r\nab", 200, "ab", true},
    {"GET", HEAD "connection: x, CLOSE\r\nContent-Length: 2\r\n\r\nab", 200, "ab", true},
    {"GET", HEAD "Content-Length: 2\r\n\r\nabc", 200, "ab", true},
    {"GET", CHUNKED "2\r\nab\r\n0\r\n\r\nc", 200, "ab", true},
    {"GET", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", 200, "ab", false},
    {"GET", "HTTP/1.1 299 \r\nContent-Length: 2\r\n\r\nab", 299, "ab", false},
    /* Folded lines are unfolded (RFC 9112, section 5.2) */
    {"GET", HEAD "X: a\r\n b\r\nContent-Length:\r\n\t2\r\n\r\nab", 200, "ab", false},
    {"GET", CHUNKED "0\r\nX: a\r\n b\r\n\r\n", 200, "", false},
    /* What could be understood in more than one way */
    {"GET", HEAD " X: a\r\nContent-Length: 0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "X : a\r\nContent-Length: 0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "X\r\nContent-Length: 0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "X: a\rb\r\nContent-Length: 0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Content-Length: 2, 2\r\n\r\nab", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Content-Length: +2\r\n\r\nab", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Content-Length: 0x2\r\n\r\nab", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Content-Length: -1\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Content-Length: 99999999999999999999\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Content-Length:\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ROTA_EPROTOCOL,
     NULL, true},
    {"GET", HEAD "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     ROTA_EPROTOCOL, NULL, true},
    {"GET", HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", CHUNKED "0x2\r\nab\r\n0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", CHUNKED "2\nab\n0\n\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", CHUNKED "2\r\nabc0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", CHUNKED "10000000000000000\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", "HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", "HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    {"GET", "HTTP/1.1 +20 X\r\nContent-Length: 0\r\n\r\n", ROTA_EPROTOCOL, NULL, true},
    /* Cut short */
    {"GET", "!" HEAD "Content-Length: 5\r\n\r\nhell", ROTA_ETRUNCATED, NULL, true},
    {"GET", "!" CHUNKED "5\r\nhello\r\n", ROTA_ETRUNCATED, NULL, true},
    {"GET", "!" CHUNKED "5\r\nhello\r\n0\r\n", ROTA_ETRUNCATED, NULL, true},
    {"GET", "!HTTP/1.1 200 OK\r\nX: y\r\n", ROTA_ETRUNCATED, NULL, true},
};

static void odd_answers(struct setting *t)
{
    for (size_t i = 0; i < sizeof odds / sizeof *odds; i++) {
        const struct odd *o = &odds[i];
        rota_http_response *r = NULL;
        t->script.replies[0] = o->reply;
        t->script.next = 0;
        int before = t->script.connections;
        int err = rota_http_fetch(t->session, url_of(&t->script, "/"),
                                  &(rota_http_fetch_options){.method = o->method}, &r);
        if ((err < 0 ? err : rota_http_status(r)) != o->expected)
            FAIL("%s: %s", o->reply, err < 0 ? rota_error(err) : "was taken");
        if (err == 0)
            CHECK_STR(rota_http_body(r).ptr, o->body);
        rota_http_response_free(r);
        t->script.next = 1;
        expect_body(t, "/", "next");
        if (t->script.connections - before != 1 + o->ends)
            FAIL("%s: %d connections", o->reply, t->script.connections - before);
        ROTA_IGNORE(rota_sleep(20 * ROTA_SECOND));
        CHECK_INT(t->script.open, ==, 0);
    }
}

TEST_WITH(odd_answers_are_read_in_one_way_or_not_at_all, .without_faults = true)
{
    struct setting t = {.script.replies = {"", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"}};
    run(&t, odd_answers);
}

/* ---- Credentials, base URLs, cookies */

static void credentials(struct setting *t)
{
    char base[100];
    rota_http_session *session;
    snprintf(base, sizeof base, "%s", url_of(&t->script, "/api/"));
    rota_http_session_options options = {
        .base_url = base, .user = "u", .password = "p:w", .proxy = ""};
    rota_http_response *r;
    CHECK_OK(rota_http_session_new(&options, &session));
    CHECK_OK(rota_http_fetch(session, "items?n=1", NULL, &r));
    rota_http_response_free(r);
    rota_http_session_free(session);
    check_seen(t, "GET /api/items?n=1 ");
    check_seen(t, "\r\nAuthorization: Basic dTpwOnc=\r\n");
    t->script.seen[0] = '\0';
    snprintf(base, sizeof base, "http://u:%%70%%3aw@127.0.0.1:%d", t->script.port);
    CHECK_OK(rota_http_fetch(t->session, base, NULL, &r));
    CHECK_STR(rota_http_response_url(r), url_of(&t->script, ""));
    rota_http_response_free(r);
    check_seen(t, "GET / HTTP/1.1\r\n");
    check_seen(t, "\r\nAuthorization: Basic dTpwOnc=\r\n");
    t->script.seen[0] = '\0';
    expect_body(t, "?q", "hello");
    check_seen(t, "GET /?q HTTP/1.1\r\n");
    check_not_seen(t, "Authorization");

    CHECK_INT(rota_http_session_new(&(rota_http_session_options){.user = "u"}, &session), ==,
              -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "credentials need a base_url");
    rota_http_session_options lone_password = {.base_url = "http://a/", .password = "p"};
    CHECK_INT(rota_http_session_new(&lone_password, &session), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "a password without a user");
    CHECK_INT(rota_http_session_new(&(rota_http_session_options){.base_url = "x"}, &session), ==,
              -EINVAL);
    CHECK_INT(rota_http_session_new(&(rota_http_session_options){.fingerprint = "12"}, &session),
              ==, -EINVAL);
    CHECK_INT(rota_http_session_new(&(rota_http_session_options){.proxy = "ftp://x"}, &session), ==,
              -EINVAL);
    const char *bad[] = {"a b", "c", NULL};
    CHECK_INT(rota_http_session_new(&(rota_http_session_options){.headers = bad}, &session), ==,
              -EINVAL);
    const char *lone[] = {"Accept", "b", "X", NULL};
    CHECK_INT(rota_http_session_new(&(rota_http_session_options){.headers = lone}, &session), ==,
              -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "\"X\" has no value");
}

TEST(credentials_belong_to_an_origin)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, credentials);
}

static void wrong_options(struct setting *t)
{
    const char *host[] = {"Host", "x", NULL}, *length[] = {"content-length", "1", NULL},
               *coding[] = {"Transfer-Encoding", "chunked", NULL};
    const struct {
        rota_http_session_options options;
        const char *words;
    } wrong[] = {
        {{.headers = host}, "\"Host\" is not a header field that a caller can set"},
        {{.headers = length}, "\"content-length\" is"},
        {{.headers = coding}, "\"Transfer-Encoding\" is"},
        {{.version = (rota_http_version)3}, "the option `version`"},
        {{.version = (rota_http_version)-1}, "the option `version`"},
        {{.keep_alive = -1}, "the option `keep_alive`"},
        {{.dns_cache = -1}, "the option `dns_cache`"},
        {{.total = -1}, "the option `total`"},
        {{.queue_time = -1}, "the option `queue_time`"},
        {{.connect = -1}, "the option `connect`"},
        {{.gap = -1}, "the option `gap`"},
        {{.redirects = -2}, "the option `redirects`"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rota_http_session *session;
        CHECK_INT(rota_http_session_new(&wrong[i].options, &session), ==, -EINVAL);
        if (!strstr(rota_error(-EINVAL), wrong[i].words))
            FAIL("%s instead of %s", rota_error(-EINVAL), wrong[i].words);
    }
    expect_error(t, "/", &(rota_http_fetch_options){.total = -1}, -EINVAL, "the option `total`");
    CHECK(strstr(rota_error(-EINVAL), "preparing the request to 127.0.0.1:"));
    expect_error(t, "/", &(rota_http_fetch_options){.gap = -1}, -EINVAL, "the option `gap`");
    expect_error(t, "/", &(rota_http_fetch_options){.redirects = -2}, -EINVAL,
                 "the option `redirects`");
}

TEST(options_that_mean_nothing_are_refused)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, wrong_options);
}

static void cookies(struct setting *t)
{
    char path[300];
    rota_http_session *session;
    snprintf(path, sizeof path, "%s/cookies.txt", test_directory());
    expect_body(t, "/", "");
    expect_body(t, "/x/y", "hello");
    check_seen(t, "\r\nCookie: a=1; b=2\r\n");
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    CHECK_OK(fd);
    close(fd);
    CHECK_OK(rota_http_session_save_cookies(t->session, path));
    struct stat about;
    CHECK_OK(stat(path, &about));
    CHECK_INT(about.st_mode & 07777, ==, 0600); /* whatever it was */
    CHECK_OK(rota_http_session_new(&(rota_http_session_options){.proxy = ""}, &session));
    CHECK_OK(rota_http_session_load_cookies(session, path));
    CHECK_OK(truncate(path, about.st_size / 2)); /* in the middle of a line */
    CHECK_INT(rota_http_session_load_cookies(session, path), ==, -EBADMSG);
    CHECK(strstr(rota_error(-EBADMSG), "cookies.txt: some lines are not cookies"));
    rota_http_response *r;
    t->script.seen[0] = '\0';
    CHECK_OK(rota_http_fetch(session, url_of(&t->script, "/"), NULL, &r));
    rota_http_response_free(r);
    rota_http_session_free(session);
    check_seen(t, "\r\nCookie: a=1\r\n"); /* the other one ends with the session */
}

TEST(cookies_are_kept_sent_saved_and_loaded)
{
    struct setting t = {
        .script.replies = {"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/; Max-Age=1000\r\n"
                           "Set-Cookie: b=2; Path=/\r\nSet-Cookie: c=3; Domain=example.org\r\n"
                           "Content-Length: 0\r\n\r\n",
                           OK}};
    run(&t, cookies);
}

/* ---- Time */

static void timeouts(struct setting *t)
{
    rota_http_response *r = NULL;
    rota_time start = rota_now();
    expect_error(t, "/", NULL, -ETIMEDOUT, "waiting for the response from 127.0.0.1:");
    CHECK(strstr(rota_error(-ETIMEDOUT), "nothing came for 20 s"));
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_GAP);
    CHECK_INT(rota_now() - start, ==, 20 * ROTA_SECOND);
    expect_error(t, "/", &(rota_http_fetch_options){.total = 3 * ROTA_SECOND}, -ETIMEDOUT,
                 "not complete within 3 s");
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_TOTAL);
    rota_http_fetch_options patient = {.gap = 50 * ROTA_SECOND};
    expect_error(t, "/", &patient, -ETIMEDOUT, "nothing came for 50 s");
    patient = (rota_http_fetch_options){.gap = ROTA_NEVER, .total = ROTA_NEVER};
    int err = 0;
    ROTA_TIMEOUT (ROTA_MINUTE) {
        err = rota_http_fetch(t->session, url_of(&t->script, "/"), &patient, &r);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK(strstr(rota_error(-ETIMEDOUT), "the caller's deadline has passed"));
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_NONE);
    t->script.replies[0] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello";
    expect_error(t, "/", NULL, -ETIMEDOUT, "reading the response from");
    CHECK_INT(t->script.connections, ==, 5);
    CHECK_OK(rota_yield());
}

struct asking {
    struct setting *t;
    const char *path;
    rota_time deadline;
};

static int ask(void *arg)
{
    struct asking *a = arg;
    rota_http_response *r = NULL;
    int err = 0;
    ROTA_TIMEOUT (a->deadline) {
        err = rota_http_fetch(a->t->session, url_of(&a->t->script, a->path), NULL, &r);
    }
    rota_http_response_free(r);
    return err;
}

static void kept_failures(struct setting *t)
{
    struct asking a = {t, "/", ROTA_NEVER}, b = {t, "/", ROTA_SECOND};
    rota_task *first, *second;
    CHECK_OK(rota_spawn(ask, &a, &first));
    CHECK_OK(rota_spawn(ask, &b, &second));
    CHECK_OK(rota_sleep(ROTA_MINUTE)); /* both have failed */
    CHECK_INT(rota_join(second), ==, -ETIMEDOUT);
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_NONE);
    CHECK_INT(rota_http_failed_phase(-ETIMEDOUT), ==, ROTA_HTTP_WAITING);
    CHECK(strstr(rota_error(-ETIMEDOUT), "the caller's deadline has passed"));
    CHECK_INT(rota_join(first), ==, -ETIMEDOUT);
    CHECK_OK(rota_yield());
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_GAP);
    CHECK_INT(rota_http_failed_phase(-ETIMEDOUT), ==, ROTA_HTTP_WAITING);
    CHECK_INT(rota_http_failed_limit(-EINVAL), ==, ROTA_HTTP_LIMIT_NONE);
    rota_error_wrap(-ETIMEDOUT, "load");
    CHECK(strstr(rota_error(-ETIMEDOUT), "load: waiting for the response from 127.0.0.1:"));
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_GAP);

    CHECK_OK(rota_spawn(ask, &a, &first));
    CHECK_OK(rota_sleep(ROTA_SECOND));
    rota_task_cancel(first);
    CHECK_INT(rota_join(first), ==, -ECANCELED);
    CHECK_INT(rota_http_failed_phase(-ECANCELED), ==, ROTA_HTTP_WAITING);
    CHECK(strstr(rota_error(-ECANCELED), "waiting for the response from 127.0.0.1:"));
}

TEST(phase_and_limit_of_a_failure_travel_with_it)
{
    struct setting t = {.options.gap = 20 * ROTA_SECOND, .script.replies = {"..."}};
    run(&t, kept_failures);
}

static int get_in_thread(void *arg)
{
    const char *url = arg;
    rota_http_response *r;
    return rota_http_get(url, &r);
}

static int get_with_loop(void *arg)
{
    return rota_run(get_in_thread, arg);
}

static void failures_of_threads(struct setting *t)
{
    static char url[] = "http://127.0.0.1:1/";
    int err = rota_to_thread(get_with_loop, url);
    CHECK_INT(err, ==, -ECONNREFUSED);
    CHECK_INT(rota_http_failed_phase(err), ==, ROTA_HTTP_CONNECTING);
}

TEST_WITH(phase_of_a_failure_comes_from_another_thread, .without_faults = true)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, failures_of_threads);
}

static void unread_failures(struct setting *t)
{
    rota_http_fetch_options options = {.stream = true};
    rota_http_response *r = fetch(t, "/", &options);
    char buf[16];
    ssize_t n = 0;
    CHECK_STR(rota_http_response_error(r), "");
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, 5);
    ROTA_TIMEOUT (ROTA_SECOND) {
        n = rota_http_read(r, buf, sizeof buf);
    }
    CHECK_INT(n, ==, -ETIMEDOUT);
    CHECK(strstr(rota_http_response_error(r), "the caller's deadline has passed"));
    CHECK(strstr(rota_error(-ETIMEDOUT), "reading the response from http://127.0.0.1:"));
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, -ETIMEDOUT);
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_GAP);
    CHECK_INT(rota_http_failed_phase(-ETIMEDOUT), ==, ROTA_HTTP_READING);
    CHECK(strstr(rota_http_response_error(r), "nothing came for 20 s"));
    rota_error_set(-ETIMEDOUT, "something else");
    CHECK_INT(rota_http_read_all(r, 0), ==, -ETIMEDOUT);
    CHECK(strstr(rota_error(-ETIMEDOUT), "nothing came for 20 s"));
    rota_http_response_free(r);
    CHECK(strstr(rota_error(-ETIMEDOUT), "nothing came for 20 s"));
}

TEST(a_read_that_fails_says_why)
{
    struct setting t = {.options.gap = 20 * ROTA_SECOND,
                        .script.replies = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"}};
    run(&t, unread_failures);
}

static void check_words(rota_http_response *r, int err, const char *words)
{
    char expected[256];
    snprintf(expected, sizeof expected, "reading the response from %s: %s",
             rota_http_response_url(r), words);
    CHECK_STR(rota_error(err), expected);
    CHECK_STR(rota_http_response_error(r), expected);
    CHECK_INT(rota_http_failed_phase(err), ==, ROTA_HTTP_READING);
}

static void failures_of_reading(struct setting *t)
{
    rota_http_fetch_options options = {.stream = true};
    rota_http_response *whole = fetch(t, "/", NULL), *r = fetch(t, "/", &options);
    char buf[16], *path = malloc(5000);
    int err;
    rota_error_set(-EINVAL, "something else");
    CHECK_INT(rota_http_read(whole, buf, 0), ==, -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), ": the buffer has length 0"));
    CHECK_STR(rota_http_response_error(whole), "");
    CHECK_INT(rota_http_read(whole, buf, sizeof buf), >, 0);
    CHECK_INT(rota_http_read(r, buf, 0), ==, -EINVAL);
    CHECK_INT(rota_http_read(r, buf, 1), ==, 1);
    CHECK_STR(rota_http_response_error(r), "");
    ROTA_FOREACH (rota_http_event *, event, rota_http_events(r), &err)
        FAIL("an event: %.*s", (int)event->data.len, event->data.ptr);
    check_words(r, ROTA_EPROTOCOL, "not an event stream");
    t->session = rota_http_session_free(t->session);
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, ROTA_ECLOSED);
    check_words(r, ROTA_ECLOSED, rota_strerror(ROTA_ECLOSED));
    memset(path, 'x', 4999);
    path[4999] = '\0';
    rota_error_set(-ENAMETOOLONG, "something else");
    CHECK_INT(rota_http_save(whole, path), ==, -ENAMETOOLONG);
    CHECK(strstr(rota_error(-ENAMETOOLONG), "save the response from http://127.0.0.1:"));
    free(path);
    rota_http_response_free(whole);
    rota_http_response_free(r);
}

TEST(each_failure_of_reading_has_words_of_its_own)
{
    struct setting t = {
        .script.replies = {OK, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"}};
    run(&t, failures_of_reading);
}

/* `err` is what an HTTP call has returned when the deadline around it passed. */
static void check_that_only_http_has_words(int err)
{
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK(strstr(rota_error(err), "waiting for the response from"));
    CHECK(strstr(rota_error(err), "the caller's deadline has passed"));
    CHECK_INT(rota_http_failed_phase(err), ==, ROTA_HTTP_WAITING);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, err);
    CHECK_STR(rota_error(err), "deadline passed");
    CHECK_INT(rota_http_failed_phase(err), ==, ROTA_HTTP_QUEUED);
}

static void late_calls(struct setting *t)
{
    const char *url = url_of(&t->script, "/");
    rota_http_response *r = NULL;
    ROTA_TIMEOUT (ROTA_SECOND) {
        check_that_only_http_has_words(rota_http_fetch(t->session, url, NULL, &r));
    }
    ROTA_TIMEOUT (ROTA_SECOND) {
        check_that_only_http_has_words(rota_http_get(url, &r));
    }
    CHECK_OK(rota_yield());
}

TEST(words_of_a_late_call_are_not_those_of_the_next_one)
{
    struct setting t = {.script.replies = {"..."}};
    run(&t, late_calls);
}

static void resumed(struct setting *t)
{
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.stream = true});
    char buf[16];
    ssize_t n = 0;
    ROTA_TIMEOUT (ROTA_SECOND / 2) {
        n = rota_http_read(r, buf, sizeof buf);
    }
    CHECK_INT(n, ==, -ETIMEDOUT);
    CHECK(strstr(rota_http_response_error(r), "the caller's deadline has passed"));
    CHECK_OK(rota_http_read_all(r, 0));
    CHECK_STR(rota_http_response_error(r), "");
    rota_http_response_free(r);
}

TEST(a_read_that_was_interrupted_and_goes_on_has_no_error)
{
    struct setting t = {.script.replies = {"~HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n~hello"}};
    run(&t, resumed);
}

TEST(a_timeout_says_which_one_it_was)
{
    struct setting t = {.options.gap = 20 * ROTA_SECOND, .script.replies = {"..."}};
    run(&t, timeouts);
}

/* ---- Without descriptors */

/* Lets no descriptor be opened until one is closed. */
static void use_up_descriptors(void)
{
    struct rlimit limit;
    int lowest = dup(0);
    CHECK_OK(lowest);
    close(lowest);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = (rlim_t)lowest;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
}

static void have_descriptors(void)
{
    struct rlimit limit;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
}

static void crowded(struct setting *t)
{
    struct script second = {.replies = {OK}};
    rota_http_response *r = NULL;
    script_start(&second);
    use_up_descriptors();
    expect_error(t, "/", NULL, -EMFILE, "connecting to 127.0.0.1:");
    have_descriptors();
    expect_body(t, "/", "hello");
    CHECK_INT(t->script.open, ==, 1);
    use_up_descriptors();
    CHECK_OK(rota_http_fetch(t->session, url_of(&second, "/"), NULL, &r));
    r = rota_http_response_free(r);
    CHECK_INT(t->script.open, ==, 0); /* an idle connection was closed for it */
    CHECK_INT(t->script.connections, ==, 1);
    CHECK_INT(second.connections, ==, 1);
    expect_body(t, "/", "hello"); /* and this way, too */
    have_descriptors();
    script_stop(&second);
}

TEST_WITH(an_idle_connection_is_closed_where_there_are_no_descriptors, .without_faults = true)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, crowded);
}

static int have_descriptors_later(void *arg)
{
    int err = rota_sleep(ROTA_SECOND / 2);
    have_descriptors();
    return err;
}

static void crowded_for_a_while(struct setting *t)
{
    rota_time before = rota_now();
    rota_task *task;
    use_up_descriptors();
    CHECK_OK(rota_spawn(have_descriptors_later, NULL, &task));
    expect_body(t, "/", "hello");
    CHECK_INT(rota_now() - before, >=, ROTA_SECOND / 2);
    CHECK_OK(rota_join(task));
}

TEST_WITH(a_retry_waits_for_descriptors, .without_faults = true)
{
    struct setting t = {.options.retry = &three_tries, .script.replies = {OK}};
    run(&t, crowded_for_a_while);
}

static void interrupted(struct setting *t)
{
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.stream = true});
    char buf[16];
    ssize_t n = 0;
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, 5);
    ROTA_TIMEOUT (ROTA_SECOND) {
        n = rota_http_read(r, buf, sizeof buf);
    }
    CHECK_INT(n, ==, -ETIMEDOUT);
    CHECK(strstr(rota_http_response_error(r), "the caller's deadline has passed"));
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, -ETIMEDOUT);
    CHECK(strstr(rota_http_response_error(r), "nothing came for 60 s"));
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, -ETIMEDOUT);
    rota_http_response_free(r);
}

TEST(a_streamed_body_goes_on_after_a_callers_deadline_but_not_after_its_own)
{
    struct setting t = {.script.replies = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"}};
    run(&t, interrupted);
}

/* ---- The pool */

static void stale(struct setting *t)
{
    expect_body(t, "/", "hello");
    CHECK_OK(rota_sleep(10 * ROTA_SECOND));
    expect_body(t, "/", "hello");
    CHECK_INT(t->script.connections, ==, 1);
    CHECK_OK(rota_sleep(16 * ROTA_SECOND));
    CHECK_INT(t->script.open, ==, 0);
    expect_body(t, "/", "hello");
    CHECK_INT(t->script.connections, ==, 2);
}

TEST(idle_connections_end_after_15_seconds)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, stale);
}

static void patient(struct setting *t)
{
    for (int i = 0; i < 3; i++) { /* it waits for 5 s, and nobody asks in the last one of them */
        expect_body(t, "/", "hello");
        CHECK_OK(rota_sleep(3900 * ROTA_MILLISECOND));
    }
    CHECK_INT(t->script.connections, ==, 1);
    CHECK_OK(rota_sleep(200 * ROTA_MILLISECOND));
    CHECK_INT(t->script.open, ==, 0);
    t->script.replies[0] =
        "HTTP/1.1 200 OK\r\nKeep-Alive: max=2, timeout=1\r\nContent-Length: 5\r\n\r\nhello";
    t->script.replies[1] = OK;
    t->script.next = 0;
    for (int i = 0; i < 3; i++)
        expect_body(t, "/", "hello");
    CHECK_INT(t->script.connections, ==, 2);
    CHECK_OK(rota_sleep(100 * ROTA_MILLISECOND));
    CHECK_INT(t->script.open, ==, 0); /* two more, it had said */
    t->script.replies[0] =
        "HTTP/1.1 200 OK\r\nkeep-alive: timeout=0\r\nContent-Length: 5\r\n\r\nhello";
    t->script.next = 0;
    expect_body(t, "/", "hello");
    t->script.replies[0] =
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=x,y,max=, timeout=99999999999999999999\r\n"
        "Content-Length: 5\r\n\r\nhello";
    t->script.replies[1] = NULL;
    t->script.next = 0;
    expect_body(t, "/", "hello");
    CHECK_OK(rota_sleep(14 * ROTA_SECOND));
    expect_body(t, "/", "hello");
    CHECK_INT(t->script.connections, ==, 4);
}

TEST(a_connection_is_not_used_for_longer_than_its_server_says)
{
    struct setting t = {
        .script.replies = {
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=100\r\nContent-Length: 5\r\n\r\nhello"}};
    run(&t, patient);
}

static void foreign(struct setting *t)
{
    expect_body(t, "/", "hello"); /* with more behind it */
    expect_body(t, "/", "hello");
    CHECK_INT(t->script.connections, ==, 2);
}

TEST(a_connection_with_bytes_behind_the_answer_is_not_used_again)
{
    struct setting t = {
        .script.replies = {OK "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", OK}};
    run(&t, foreign);
}

/* Answers, and says more when nobody has asked. */
static int chatter(rota_stream *s, void *arg)
{
    static const char more[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    struct script *script = arg;
    script->connections++;
    while (read_request(script, s) > 0) {
        ROTA_IGNORE(rota_stream_write(s, OK, sizeof OK - 1));
        ROTA_IGNORE(rota_sleep(ROTA_SECOND));
        ROTA_IGNORE(rota_stream_write(s, more, sizeof more - 1));
    }
    return 0;
}

static int serve_chatter(void *arg)
{
    struct script *script = arg;
    return rota_serve(script->listener, chatter, script, NULL);
}

static void unasked(struct setting *t)
{
    struct script other = {0};
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &other.listener));
    other.port = rota_listener_port(other.listener);
    CHECK_OK(rota_spawn(serve_chatter, &other, &other.task));
    for (int i = 0; i < 3; i++) {
        rota_http_response *r;
        CHECK_OK(rota_http_fetch(t->session, url_of(&other, "/"), NULL, &r));
        CHECK_STR(rota_http_body(r).ptr, "hello");
        rota_http_response_free(r);
        ROTA_IGNORE(rota_sleep(2 * ROTA_SECOND));
    }
    CHECK_INT(other.connections, ==, 3);
    script_stop(&other);
}

TEST(a_connection_on_which_bytes_came_while_it_was_idle_is_not_used_again)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, unasked);
}

static void retried(struct setting *t)
{
    expect_body(t, "/", "hello");
    t->script.replies[1] = NULL;
    t->script.replies[0] = "!"; /* to the request that comes second: it ends without a word */
    t->script.replies[1] = OK;
    t->script.next = 0;
    expect_body(t, "/", "hello"); /* sent again, on a connection of its own */
    CHECK_INT(t->script.connections, ==, 2);
    t->script.next = 0;
    expect_error(t, "/", &(rota_http_fetch_options){.method = "POST"}, ROTA_ETRUNCATED,
                 "without a response");
    CHECK_INT(t->script.connections, ==, 2);
    t->script.replies[1] = "!";
    t->script.replies[2] = OK;
    t->script.next = 0;
    expect_error(t, "/", NULL, ROTA_ETRUNCATED, "without a response"); /* the connection was new */
    CHECK_INT(t->script.connections, ==, 3);
}

TEST(what_died_on_a_reused_connection_without_an_answer_is_sent_again_once)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, retried);
}

/* RFC 9110, section 9.2.2. */
static void retried_by_method(struct setting *t)
{
    static const struct {
        const char *method;
        bool is_repeated;
    } cases[] = {{"GET", true},     {"HEAD", true},  {"PUT", true},   {"DELETE", true},
                 {"OPTIONS", true}, {"TRACE", true}, {"POST", false}, {"PATCH", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rota_http_fetch_options options = {.method = cases[i].method};
        rota_http_response *r = NULL;
        t->script.next = 0;
        rota_http_response_free(fetch(t, "/", NULL));
        int err = rota_http_fetch(t->session, url_of(&t->script, "/"), &options, &r);
        if (err != (cases[i].is_repeated ? 0 : ROTA_ETRUNCATED))
            FAIL("%s: %s", cases[i].method, rota_strerror(err));
        rota_http_response_free(r);
    }
}

TEST(only_methods_that_may_be_repeated_are)
{
    struct setting t = {.script.replies = {EMPTY, "!", EMPTY}};
    run(&t, retried_by_method);
}

struct asker {
    struct setting *t;
    int *order, *count, number, result;
};

static int ask_one(void *arg)
{
    struct asker *a = arg;
    rota_http_response *r = NULL;
    a->result = rota_http_fetch(a->t->session, url_of(&a->t->script, "/"), NULL, &r);
    if (a->result == 0)
        a->order[(*a->count)++] = a->number;
    rota_http_response_free(r);
    return 0;
}

static void in_line(struct setting *t)
{
    enum { N = 12 };
    struct asker askers[N];
    rota_task *tasks[N];
    int order[N], count = 0;
    for (int i = 0; i < N; i++) {
        askers[i] = (struct asker){t, order, &count, i, 1};
        CHECK_OK(rota_spawn(ask_one, &askers[i], &tasks[i]));
    }
    ROTA_IGNORE(rota_yield());
    rota_task_cancel(tasks[4]);
    rota_task_cancel(tasks[7]);
    for (int i = 0; i < N; i++) {
        ROTA_IGNORE(rota_join(tasks[i]));
        CHECK_INT(askers[i].result, ==, i == 4 || i == 7 ? -ECANCELED : 0);
    }
    CHECK_INT(count, ==, N - 2);
    for (int i = 0; i < count; i++)
        CHECK_INT(order[i], ==, i + (i >= 4) + (i >= 6));
    CHECK_INT(t->script.connections, ==, (long long)t->options.connections);
}

TEST(who_waits_for_a_connection_is_served_in_order_and_the_cancelled_are_passed_over)
{
    struct setting t = {.options.connections = 1, .script.replies = {OK}};
    run(&t, in_line);
}

static void queue_time(struct setting *t)
{
    rota_http_response *held = fetch(t, "/", &(rota_http_fetch_options){.stream = true});
    expect_error(t, "/", NULL, -ETIMEDOUT, "waiting for a connection to 127.0.0.1:");
    CHECK(strstr(rota_error(-ETIMEDOUT), "no connection was free for 2 s"));
    CHECK_INT(rota_http_failed_phase(-ETIMEDOUT), ==, ROTA_HTTP_QUEUED);
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_QUEUE_TIME);
    rota_http_response_free(held);
    t->script.replies[0] = OK;
    expect_body(t, "/", "hello");
}

/* The server does not answer the handshake. */
static void connect_time(struct setting *t)
{
    rota_http_response *r = NULL;
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", t->script.port);
    CHECK_INT(rota_http_fetch(t->session, url, NULL, &r), ==, -ETIMEDOUT);
    CHECK(strstr(rota_error(-ETIMEDOUT), "not connected within 4 s"));
    CHECK_INT(rota_http_failed_phase(-ETIMEDOUT), ==, ROTA_HTTP_ENCRYPTING);
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_CONNECT);
    CHECK_INT(rota_http_get("http://127.0.0.1:bad/", &r), ==, -EINVAL);
    CHECK_INT(rota_http_failed_limit(-EINVAL), ==, ROTA_HTTP_LIMIT_NONE);
}

TEST(connecting_has_its_own_deadline_which_holds_for_tls_too)
{
    struct setting t = {.options.connect = 4 * ROTA_SECOND, .script.replies = {OK}};
    run(&t, connect_time);
}

/* Longer than a handshake has by itself; and one that the caller has limited says so. */
static void handshake_time(struct setting *t)
{
    rota_http_response *r = NULL;
    rota_time start = rota_now();
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", t->script.port);
    CHECK_INT(rota_http_fetch(t->session, url, NULL, &r), ==, -ETIMEDOUT);
    CHECK(strstr(rota_error(-ETIMEDOUT), "not connected within 30 s"));
    CHECK_INT(rota_now() - start, ==, 30 * ROTA_SECOND);

    ROTA_AUTO(rota_tls_context) tls = NULL;
    ROTA_AUTO(rota_http_session) session = NULL;
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.handshake_timeout = 2 * ROTA_SECOND}, &tls));
    CHECK_OK(
        rota_http_session_new(&(rota_http_session_options){.tls = tls, .proxy = ""}, &session));
    CHECK_INT(rota_http_fetch(session, url, NULL, &r), ==, -ETIMEDOUT);
    CHECK(strstr(rota_error(-ETIMEDOUT), "starting TLS with 127.0.0.1:"));
    CHECK(strstr(rota_error(-ETIMEDOUT), "2 s"));
    CHECK(!strstr(rota_error(-ETIMEDOUT), "deadline"));
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_NONE);
}

TEST(a_handshake_has_the_time_that_connecting_has)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, handshake_time);
}

TEST(waiting_for_the_pool_has_its_own_deadline)
{
    struct setting t = {.options = {.connections_host = 1, .queue_time = 2 * ROTA_SECOND},
                        .script.replies = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"}};
    run(&t, queue_time);
}

static void makes_room(struct setting *t)
{
    struct script other = {.replies = {OK}};
    script_start(&other);
    expect_body(t, "/", "hello");
    rota_http_response *r;
    CHECK_OK(rota_http_fetch(t->session, url_of(&other, "/"), NULL, &r));
    rota_http_response_free(r);
    ROTA_IGNORE(rota_sleep(ROTA_SECOND));
    CHECK_INT(t->script.open, ==, 0); /* had to go */
    CHECK_INT(other.open, ==, 1);
    script_stop(&other);
}

TEST(an_idle_connection_makes_room_for_another_origin)
{
    struct setting t = {.options.connections = 1, .script.replies = {OK}};
    run(&t, makes_room);
}

static void freed(struct setting *t)
{
    struct asker askers[3];
    rota_task *tasks[3];
    int order[3], count = 0;
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.stream = true});
    char buf[16];
    for (int i = 0; i < 3; i++) {
        askers[i] = (struct asker){t, order, &count, i, 1};
        CHECK_OK(rota_spawn(ask_one, &askers[i], &tasks[i]));
    }
    ROTA_IGNORE(rota_sleep(ROTA_SECOND));
    t->session = rota_http_session_free(t->session);
    for (int i = 0; i < 3; i++) {
        ROTA_IGNORE(rota_join(tasks[i]));
        CHECK_INT(askers[i].result, ==, ROTA_ECLOSED);
    }
    CHECK_INT(rota_http_status(r), ==, 200);
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, ROTA_ECLOSED);
    rota_http_response_free(r);
}

TEST(freeing_a_session_cuts_off_what_is_under_way)
{
    struct setting t = {
        .options.connections = 2,
        .script.replies = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "..."}};
    run(&t, freed);
}

/* ---- Ways there */

static void trust(struct setting *t)
{
    struct authority authority = authority_new("Test Authority");
    struct identity identity = identity_new(&authority, &(struct wanted){0});
    struct script secure = {.replies = {OK}};
    rota_tls_context *client = NULL;
    rota_http_session *session = NULL;
    rota_http_response *r = NULL;
    CHECK_OK(rota_tls_context_new(
        &(rota_tls_options){.cert_pem = identity.cert_pem, .key_pem = identity.key_pem},
        &secure.tls));
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.ca_pem = authority.pem}, &client));
    script_start(&secure);
    CHECK_INT(rota_http_fetch(t->session, url_of(&secure, "/"), NULL, &r), ==, ROTA_ECERT);
    CHECK(strstr(rota_error(ROTA_ECERT), "starting TLS with 127.0.0.1:"));
    CHECK(strstr(rota_error(ROTA_ECERT), "unknown certificate authority"));
    CHECK_INT(rota_http_failed_phase(ROTA_ECERT), ==, ROTA_HTTP_ENCRYPTING);

    CHECK_OK(
        rota_http_session_new(&(rota_http_session_options){.tls = client, .proxy = ""}, &session));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(rota_http_fetch(session, url_of(&secure, "/"), NULL, &r), ==, 0);
        CHECK_STR(rota_http_body(r).ptr, "hello");
        CHECK_INT(rota_http_response_time(r, ROTA_HTTP_ENCRYPTING) >= 0, ==, i == 0);
        r = rota_http_response_free(r);
    }
    rota_http_session_free(session);

    unsigned char sha256[32];
    char pin[96] = "";
    X509_digest(identity.cert, EVP_sha256(), sha256, NULL);
    for (int i = 0; i < 32; i++)
        snprintf(pin + 3 * i, 4, i < 31 ? "%02X:" : "%02X", sha256[i]);
    rota_http_session_options pinned = {.fingerprint = pin, .proxy = ""};
    CHECK_OK(rota_http_session_new(&pinned, &session));
    CHECK_INT(rota_http_fetch(session, url_of(&secure, "/"), NULL, &r), ==, 0);
    r = rota_http_response_free(r);
    rota_http_session_free(session);
    pin[0] = pin[0] == '0' ? '1' : '0';
    CHECK_OK(rota_http_session_new(&pinned, &session));
    CHECK_INT(rota_http_fetch(session, url_of(&secure, "/"), NULL, &r), ==, ROTA_ECERT);
    CHECK(strstr(rota_error(ROTA_ECERT), "another fingerprint"));
    rota_http_session_free(session);

    script_stop(&secure);
    rota_tls_context_free(client);
    rota_tls_context_free(secure.tls);
    identity_free(&identity);
    authority_free(&authority);
}

TEST(servers_are_known_by_their_authority_or_their_fingerprint)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, trust);
}

/* A proxy of CONNECT; everything else it answers itself. */
static int carry(rota_stream *s, void *arg)
{
    struct script *script = arg;
    char host[64];
    int port;
    size_t before = strlen(script->seen);
    script->connections++;
    if (script->tls && rota_tls_start_server(s, script->tls) < 0)
        return 0;
    while (read_request(script, s) > 0) {
        const char *head = script->seen + before;
        if (sscanf(head, "CONNECT %63[^:]:%d ", host, &port) != 2) {
            ROTA_IGNORE(rota_stream_write(s, OK, sizeof OK - 1));
            before = strlen(script->seen);
            continue;
        }
        rota_stream *there = NULL;
        if (strstr(head, "x-refuse") || rota_tcp_connect(host, port, NULL, &there) < 0) {
            static const char refusal[] = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
            return rota_stream_write(s, refusal, sizeof refusal - 1);
        }
        static const char go[] = "HTTP/1.1 200 Connection established\r\n\r\n";
        ROTA_IGNORE(rota_stream_write(s, go, sizeof go - 1));
        rota_stream *out[] = {s, there}, *back[] = {there, s};
        {
            ROTA_GROUP(g);
            rota_group_spawn(&g, pump, out);
            rota_group_spawn(&g, pump, back);
            ROTA_IGNORE(rota_group_wait(&g));
        }
        rota_stream_free(there);
        return 0;
    }
    return 0;
}

static int serve_carry(void *arg)
{
    struct script *script = arg;
    return rota_serve(script->listener, carry, script, NULL);
}

static void proxied(struct setting *t)
{
    struct authority authority = authority_new("Test Authority");
    struct identity identity = identity_new(&authority, &(struct wanted){0});
    struct script secure = {.replies = {OK}}, proxy = {0};
    rota_tls_context *client = NULL;
    rota_http_session *session = NULL;
    rota_http_response *r = NULL;
    char address[80];
    CHECK_OK(rota_tls_context_new(
        &(rota_tls_options){.cert_pem = identity.cert_pem, .key_pem = identity.key_pem},
        &secure.tls));
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.ca_pem = authority.pem}, &client));
    script_start(&secure);
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &proxy.listener));
    CHECK_OK(rota_spawn(serve_carry, &proxy, &proxy.task));
    snprintf(address, sizeof address, "http://me:secret@127.0.0.1:%d",
             rota_listener_port(proxy.listener));
    CHECK_OK(rota_http_session_new(&(rota_http_session_options){.tls = client, .proxy = address},
                                   &session));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(rota_http_fetch(session, url_of(&secure, "/inside"), NULL, &r), ==, 0);
        CHECK_STR(rota_http_body(r).ptr, "hello");
        r = rota_http_response_free(r);
    }
    CHECK_INT(proxy.connections, ==, 1);
    CHECK(strstr(proxy.seen, "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"));
    CHECK(!strstr(proxy.seen, "/inside") && strstr(secure.seen, "GET /inside "));
    CHECK(!strstr(secure.seen, "Proxy-Authorization"));

    CHECK_INT(rota_http_fetch(session, url_of(&t->script, "/plain?x"), NULL, &r), ==, 0);
    r = rota_http_response_free(r);
    char expected[100];
    snprintf(expected, sizeof expected, "GET %s HTTP/1.1\r\n", url_of(&t->script, "/plain?x"));
    CHECK(strstr(proxy.seen, expected));
    CHECK_INT(rota_http_fetch(session, url_of(&t->script, ""),
                              &(rota_http_fetch_options){.method = "OPTIONS"}, &r),
              ==, 0);
    r = rota_http_response_free(r);
    snprintf(expected, sizeof expected, "OPTIONS %s HTTP/1.1\r\n", url_of(&t->script, ""));
    CHECK(strstr(proxy.seen, expected));
    CHECK_INT(rota_http_fetch(session, "https://x-refuse.example/", NULL, &r), ==, -ECONNREFUSED);
    CHECK(strstr(rota_error(-ECONNREFUSED), "the proxy refused: 403 Forbidden"));
    rota_http_session_free(session);
    CHECK_OK(rota_http_session_new(&(rota_http_session_options){.proxy = "http://127.0.0.1:1"},
                                   &session));
    CHECK_INT(rota_http_fetch(session, "http://a.example/", NULL, &r), ==, -ECONNREFUSED);
    CHECK_STR(rota_error(-ECONNREFUSED),
              "connecting to a.example:80: the proxy 127.0.0.1:1: Connection refused");
    rota_http_session_free(session);

    proxy.tls = secure.tls; /* encrypted to the proxy, and through it once more */
    address[0] = '\0';
    snprintf(address, sizeof address, "https://127.0.0.1:%d", rota_listener_port(proxy.listener));
    rota_http_session_options twice = {.tls = client, .proxy = address};
    CHECK_OK(rota_http_session_new(&twice, &session));
    CHECK_INT(rota_http_fetch(session, url_of(&secure, "/twice"), NULL, &r), ==, 0);
    CHECK_STR(rota_http_body(r).ptr, "hello");
    r = rota_http_response_free(r);
    rota_http_session_free(session);
    CHECK(strstr(secure.seen, "GET /twice ") && !strstr(proxy.seen, "/twice"));
    proxy.tls = NULL;
    snprintf(address, sizeof address, "http://127.0.0.1:%d", rota_listener_port(proxy.listener));

    setenv("http_proxy", address, 1);
    setenv("NO_PROXY", "example.org, 127.0.0.1:1,.example.com", 1);
    CHECK_OK(rota_http_session_new(NULL, &session));
    CHECK_INT(rota_http_fetch(session, url_of(&t->script, "/environment"), NULL, &r), ==, 0);
    r = rota_http_response_free(r);
    CHECK(strstr(proxy.seen, "/environment HTTP"));
    rota_http_session_free(session);
    setenv("NO_PROXY", "example.org,127.0.0.1", 1);
    CHECK_OK(rota_http_session_new(NULL, &session));
    CHECK_INT(rota_http_fetch(session, url_of(&t->script, "/directly"), NULL, &r), ==, 0);
    r = rota_http_response_free(r);
    check_seen(t, "GET /directly HTTP");
    rota_http_session_free(session);

    script_stop(&proxy);
    script_stop(&secure);
    rota_tls_context_free(client);
    rota_tls_context_free(secure.tls);
    identity_free(&identity);
    authority_free(&authority);
}

TEST(proxies_forward_and_tunnel)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, proxied);
}

static void by_unix(struct setting *t)
{
    struct script local = {.replies = {OK}};
    char path[300];
    rota_http_session *session;
    rota_http_response *r;
    snprintf(path, sizeof path, "%s/socket", test_directory());
    CHECK_OK(rota_unix_listen(path, NULL, &local.listener));
    CHECK_OK(rota_spawn(serve, &local, &local.task));
    CHECK_OK(rota_http_session_new(&(rota_http_session_options){.unix_path = path}, &session));
    CHECK_OK(rota_http_fetch(session, "http://docker/v1/info", NULL, &r));
    CHECK_STR(rota_http_body(r).ptr, "hello");
    rota_http_response_free(r);
    CHECK(strstr(local.seen, "GET /v1/info HTTP/1.1\r\nHost: docker\r\n"));
    rota_http_session_free(session);
    script_stop(&local);
}

TEST(a_session_may_speak_to_a_unix_socket)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, by_unix);
}

/* ---- Hooks in place of the resolver and of connecting */

struct hosts {
    int calls;
    int err;        /* that it returns */
    bool is_silent; /* it never returns */
};

static int resolve_here(void *arg, const char *host, int port, rota_address *ret_addresses,
                        size_t most)
{
    struct hosts *hosts = arg;
    hosts->calls++;
    CHECK_INT(most, >=, 1);
    int err = rota_sleep(hosts->is_silent ? ROTA_NEVER : 10 * ROTA_MILLISECOND);
    if (err < 0 || hosts->err < 0)
        return err < 0 ? err : hosts->err;
    CHECK_STR(host, "api.example");
    return rota_resolve("127.0.0.1", port, ret_addresses, 1);
}

static void resolved_by_hook(struct setting *t)
{
    char url[80];
    struct hosts *hosts = t->options.resolve_arg;
    rota_http_response *r = NULL;
    snprintf(url, sizeof url, "http://api.example:%d/", t->script.port);
    for (int i = 0; i < 2; i++) { /* the second time from the cache */
        CHECK_OK(rota_http_fetch(t->session, url, NULL, &r));
        CHECK_STR(rota_http_body(r).ptr, "hello");
        r = rota_http_response_free(r);
        CHECK_INT(hosts->calls, ==, 1);
    }
    check_seen(t, "Host: api.example:");
    /* Neither connection nor addresses are kept so long. */
    ROTA_IGNORE(rota_sleep(20 * ROTA_SECOND));
    hosts->err = ROTA_EDNS;
    CHECK_INT(rota_http_fetch(t->session, url, NULL, &r), ==, ROTA_EDNS);
    CHECK(strstr(rota_error(ROTA_EDNS), "looking up the address of api.example"));
    hosts->is_silent = true;
    CHECK_INT(rota_http_fetch(t->session, url, NULL, &r), ==, -ETIMEDOUT);
    CHECK(strstr(rota_error(-ETIMEDOUT), "not connected within"));
    CHECK_INT(hosts->calls, ==, 3);
}

TEST(a_hook_may_resolve)
{
    struct hosts hosts = {.err = 0};
    struct setting t = {.options = {.resolve = resolve_here, .resolve_arg = &hosts},
                        .script.replies = {OK}};
    run(&t, resolved_by_hook);
}

struct tunnel {
    struct script *script;
    int err;
    rota_stream *server;
};

static int answer_tunnel(void *arg)
{
    struct tunnel *tunnel = arg;
    rota_stream *s = tunnel->server;
    int err = tunnel->script->tls ? rota_tls_start_server(s, tunnel->script->tls) : 0;
    if (err == 0)
        answer_all(tunnel->script, s);
    rota_stream_free(s);
    return 0;
}

static int connect_in_memory(void *arg, const char *host, int port, rota_stream **ret_stream)
{
    struct tunnel *tunnel = arg;
    CHECK_STR(host, "inside.example");
    rota_stream *client;
    int err = tunnel->err < 0 ? tunnel->err : rota_stream_pair(0, &client, &tunnel->server);
    if (err < 0)
        return err;
    err = rota_spawn(answer_tunnel, tunnel, NULL);
    if (err < 0) {
        rota_stream_free(client);
        rota_stream_free(tunnel->server);
        return err;
    }
    tunnel->script->connections++;
    *ret_stream = client;
    return 0;
}

static void connected_by_hook(struct setting *t)
{
    struct tunnel *tunnel = t->options.connect_arg;
    rota_http_response *r = NULL;
    tunnel->script = &t->script;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(rota_http_fetch(t->session, "http://inside.example/x", NULL, &r));
        CHECK_STR(rota_http_body(r).ptr, "hello");
        r = rota_http_response_free(r);
    }
    CHECK_INT(t->script.connections, ==, 1);
    check_seen(t, "GET /x HTTP/1.1\r\nHost: inside.example\r\n");
    tunnel->err = -EHOSTUNREACH;
    CHECK_INT(rota_http_fetch(t->session, "http://inside.example:81/", NULL, &r), ==,
              -EHOSTUNREACH);
    CHECK(strstr(rota_error(-EHOSTUNREACH), "connecting to inside.example:81: No route to host"));
}

TEST(a_hook_may_connect)
{
    struct tunnel tunnel = {.err = 0};
    struct setting t = {.options = {.connect_to = connect_in_memory, .connect_arg = &tunnel},
                        .script.replies = {OK}};
    run(&t, connected_by_hook);
}

static bool allow_none(void *arg, const char *host, const rota_address *address)
{
    ++*(int *)arg;
    return strcmp(host, "127.0.0.1") != 0 || address->any.sa_family != AF_INET;
}

static void refused_address(struct setting *t)
{
    expect_error(t, "/", NULL, -EACCES, "none of its addresses is allowed");
    CHECK_INT(*(int *)t->options.allow_arg, ==, 1);
    CHECK_INT(t->script.connections, ==, 0);
}

TEST(addresses_can_be_refused)
{
    int asked = 0;
    struct setting t = {.options = {.allow = allow_none, .allow_arg = &asked},
                        .script.replies = {OK}};
    run(&t, refused_address);
}

struct phases {
    char text[1024];
};

static void note_phase(void *arg, const rota_http_trace *trace)
{
    static const char *const names[] = {"queued",     "resolving",  "connecting",
                                        "encrypting", "sending",    "waiting",
                                        "reading",    "redirected", "done"};
    struct phases *p = arg;
    size_t used = strlen(p->text);
    CHECK(trace->method && trace->url);
    snprintf(p->text + used, sizeof p->text - used, "%s%s%s ", names[trace->phase],
             trace->reused ? "*" : "", trace->err < 0 ? "!" : "");
}

static void traced(struct setting *t)
{
    struct phases *p = t->options.trace_arg;
    expect_body(t, "/", "hello");
    CHECK_STR(p->text, "queued resolving connecting sending waiting reading done "
                       "redirected queued sending* waiting* reading* done* ");
    p->text[0] = '\0';
    rota_http_response *r = NULL;
    CHECK_INT(rota_http_fetch(t->session, "x:y", NULL, &r), ==, -EINVAL);
    CHECK_STR(p->text, "done! ");
}

TEST(a_hook_sees_each_phase)
{
    struct phases phases = {""};
    struct setting t = {
        .options = {.trace = note_phase, .trace_arg = &phases},
        .script.replies = {"HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: /2\r\n\r\n", OK}};
    run(&t, traced);
}

/* ---- Contents */

#define GZIP_HELLO                                                                                 \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00" \
    "\x00\x00"

/* A reply with NULs in it, which the script's server cannot say. */
static int answer_coded(rota_stream *s, void *arg)
{
    struct script *script = arg;
    static const char body[] = GZIP_HELLO;
    char reply[256];
    while (read_request(script, s) > 0) {
        size_t cut = strstr(script->seen, "/cut ") ? 4 : 0;
        int len =
            snprintf(reply, sizeof reply,
                     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n",
                     sizeof body - 1 - cut);
        memcpy(reply + len, body, sizeof body - 1 - cut);
        ROTA_IGNORE(rota_stream_write(s, reply, (size_t)len + sizeof body - 1 - cut));
    }
    return 0;
}

static int serve_coded(void *arg)
{
    struct script *script = arg;
    return rota_serve(script->listener, answer_coded, script, NULL);
}

static void coded(struct setting *t)
{
    struct script zip = {0};
    rota_http_response *r = NULL;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &zip.listener));
    zip.port = rota_listener_port(zip.listener);
    CHECK_OK(rota_spawn(serve_coded, &zip, &zip.task));
    CHECK_OK(rota_http_fetch(t->session, url_of(&zip, "/"), NULL, &r));
    CHECK_STR(rota_http_body(r).ptr, "hello");
    r = rota_http_response_free(r);
    CHECK_INT(rota_http_fetch(t->session, url_of(&zip, "/cut"), NULL, &r), ==, ROTA_ETRUNCATED);
    CHECK(strstr(rota_error(ROTA_ETRUNCATED), "the encoded body has no end"));
    script_stop(&zip);
    expect_error(t, "/", NULL, ROTA_EPROTOCOL, "not encoded as Content-Encoding says");
    CHECK_INT(rota_http_failed_phase(ROTA_EPROTOCOL), ==, ROTA_HTTP_READING);
    expect_body(t, "/", "hello"); /* in a way nobody knows */
}

TEST(coded_bodies_are_decoded)
{
    struct setting t = {
        .script.replies = {
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nContent-Encoding: zorg\r\nContent-Length: 5\r\n\r\nhello"}};
    run(&t, coded);
}

static void events(struct setting *t)
{
    char text[256] = "";
    int err;
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.stream = true});
    ROTA_FOREACH (rota_http_event *, event, rota_http_events(r), &err) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%.*s=%.*s;", (int)event->type.len,
                 event->type.ptr, (int)event->data.len, event->data.ptr);
    }
    CHECK_INT(err, ==, 0);
    CHECK_STR(text, "message=one;kind=two\nlines;");
    rota_http_response_free(r);
    r = fetch(t, "/", NULL);
    ROTA_FOREACH (rota_http_event *, event, rota_http_events(r), &err)
        FAIL("an event: %.*s", (int)event->data.len, event->data.ptr);
    CHECK_INT(err, ==, ROTA_EPROTOCOL);
    rota_http_response_free(r);
}

TEST(events_come_one_by_one)
{
    struct setting t = {
        .script.replies = {
            "!HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
            "data: one\n\nevent: kind\ndata: two\ndata: lines\n\ndata: cut",
            OK}};
    run(&t, events);
}

static void long_event(struct setting *t)
{
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.stream = true});
    int err;
    ROTA_FOREACH (rota_http_event *, event, rota_http_events(r), &err)
        FAIL("an event of %zu bytes", event->data.len);
    CHECK_INT(err, ==, ROTA_ELIMIT);
    CHECK(strstr(rota_error(err), ": an event is too long"));
    CHECK(strstr(rota_http_response_error(r), ": an event is too long"));
    CHECK_INT(rota_http_failed_phase(err), ==, ROTA_HTTP_READING);
    rota_http_response_free(r);
}

TEST(an_event_that_is_too_long_says_so)
{
    static const char head[] = "!HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ";
    static char reply[1200000];
    memset(reply, 'x', sizeof reply - 1);
    memcpy(reply, head, sizeof head - 1);
    struct setting t = {.script.replies = {reply}};
    run(&t, long_event);
}

static void saved(struct setting *t)
{
    char path[300];
    rota_bytes text = ROTA_BYTES_INIT;
    snprintf(path, sizeof path, "%s/saved", test_directory());
    for (int i = 0; i < 2; i++) {
        rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.stream = i == 0});
        CHECK_OK(rota_http_save(r, path));
        rota_http_response_free(r);
        CHECK_OK(rota_file_load(path, 0, &text));
        CHECK_STR(text.ptr, "hello");
        rota_bytes_fini(&text);
    }
    t->script.replies[0] = "!HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nworld";
    rota_http_response *r = fetch(t, "/", &(rota_http_fetch_options){.stream = true});
    CHECK_INT(rota_http_save(r, path), ==, ROTA_ETRUNCATED);
    CHECK(strstr(rota_http_response_error(r), "reading the response from"));
    rota_http_response_free(r);
    CHECK_OK(rota_file_load(path, 0, &text));
    CHECK_STR(text.ptr, "hello");
    rota_bytes_fini(&text);
}

TEST(a_body_is_saved_whole_or_not_at_all)
{
    struct setting t = {.script.replies = {OK}};
    run(&t, saved);
}

/* ---- HTTP/2: a server without a socket of its own */

struct h2_server {
    rota_listener *listener;
    rota_task *task;
    rota_tls_context *tls;
    int port, connections, requests, most, busy, refused;
    size_t length;  /* of the last body */
    bool leaves;    /* at once, for HTTP/1.1 */
    bool dismisses; /* each connection, with GOAWAY */
};

struct h2_request {
    struct rota__h2_stream s;
    char path[64];
    size_t length; /* of the body that came */
    size_t left;   /* of the answer's body */
    bool ended, answered;
};

struct h2_connection {
    struct h2_server *server;
    struct rota__h2 h2;
    bool says_bye; /* when it has been idle for a second; it does not close */
    struct h2_request requests[64];
};

static void h2_answer(struct h2_connection *c, struct h2_request *r)
{
    char length[32];
    bool big = strcmp(r->path, "/big") == 0;
    if (strcmp(r->path, "/never") == 0)
        return;
    if (strcmp(r->path, "/refused") == 0 && c->server->refused++ == 0) {
        c->server->busy--;
        rota__h2_drop(&c->h2, &r->s, ROTA__H2_REFUSED_STREAM);
        return;
    }
    if (strcmp(r->path, "/full") == 0 ||
        (strcmp(r->path, "/busy") == 0 && c->server->refused++ < 5)) {
        c->server->busy--;
        rota__h2_drop(&c->h2, &r->s, ROTA__H2_REFUSED_STREAM);
        return;
    }
    bool is_old = strcmp(r->path, "/old") == 0;
    if (is_old || strcmp(r->path, "/reset") == 0) {
        c->server->busy--;
        rota__h2_drop(&c->h2, &r->s, is_old ? ROTA__H2_HTTP_1_1_REQUIRED : ROTA__H2_INTERNAL_ERROR);
        return;
    }
    r->left = big ? 500000 : strcmp(r->path, "/none") == 0 ? 0 : 5;
    snprintf(length, sizeof length, "%zu", r->length);
    rota_http_field fields[] = {{{"x-length", 8}, {length, strlen(length)}}};
    struct rota__h2_head head = {.status = 200,
                                 .fields = fields,
                                 .count = 1,
                                 .end = !r->left,
                                 .has_length = !big,
                                 .length = r->left};
    CHECK_OK(rota__h2_respond(&c->h2, &r->s, &head));
    r->answered = true;
}

static void h2_write_bodies(struct h2_connection *c)
{
    static const char text[16384] = "hello";
    for (int i = 0; i < 64; i++) {
        struct h2_request *r = &c->requests[i];
        while (r->answered && r->left) {
            size_t piece = r->left < sizeof text ? r->left : sizeof text;
            ssize_t n = rota__h2_data(&c->h2, &r->s, piece, piece == r->left);
            if (n < 0 || c->h2.out.err < 0)
                break;
            rota__out_add(&c->h2.out, text, (size_t)n);
            r->left -= (size_t)n;
        }
        if (r->answered && !r->left && r->s.is_taken) {
            rota__h2_drop(&c->h2, &r->s, ROTA__H2_NO_ERROR);
            c->server->busy--;
        }
    }
}

static void h2_event(struct h2_connection *c, int event, const struct rota__h2_item *item)
{
    struct h2_request *r = (struct h2_request *)item->stream;
    if (event == ROTA__H2_HEAD) {
        for (r = c->requests; r->s.is_taken; r++)
            ;
        *r = (struct h2_request){.ended = false};
        rota__h2_take(&c->h2, &r->s, item);
        snprintf(r->path, sizeof r->path, "%.*s", (int)item->head.target.len,
                 item->head.target.ptr);
        c->server->requests++;
        if (++c->server->busy > c->server->most)
            c->server->most = c->server->busy;
        if (strcmp(r->path, "/leave") == 0)
            rota__h2_shut_down(&c->h2);
        c->says_bye |= strcmp(r->path, "/bye") == 0;
        if (strcmp(r->path, "/consent") == 0)
            rota__h2_respond(&c->h2, &r->s, &(struct rota__h2_head){.status = 100});
        if (strcmp(r->path, "/no") == 0)
            h2_answer(c, r);
    } else if (event == ROTA__H2_DATA) {
        r->length += item->data.len;
        rota__h2_consumed(&c->h2, &r->s, item->data.len);
    } else if (event == ROTA__H2_END) {
        c->server->length = r->length;
        h2_answer(c, r);
    } else if (event == ROTA__H2_RESET) {
        c->server->busy--;
        rota__h2_drop(&c->h2, &r->s, ROTA__H2_NO_ERROR);
    }
}

static int h2_converse(struct h2_connection *c, rota_stream *s)
{
    for (;;) {
        struct rota__h2_item item;
        rota_str bytes = {"", 0};
        size_t used;
        h2_write_bodies(c);
        int err = c->h2.out.err;
        if (err == 0 && c->h2.out.len)
            err = rota_stream_write(s, c->h2.out.ptr, c->h2.out.len);
        c->h2.out.len = 0;
        if (err == 0 && c->says_bye && !c->server->busy) {
            c->says_bye = false;
            ROTA_IGNORE(rota_sleep(ROTA_SECOND));
            rota__h2_shut_down(&c->h2);
            continue;
        }
        if (err < 0 || rota_stream_peek(s, 1, &bytes) <= 0)
            return err;
        int event;
        do {
            event = rota__h2_next(&c->h2, rota_now(), bytes, &used, &item);
            if (event < 0)
                return event;
            h2_event(c, event, &item);
            bytes = (rota_str){bytes.ptr + used, bytes.len - used};
            rota_stream_skip(s, used);
        } while (event != ROTA__H2_MORE);
    }
}

static int h1_answer(rota_stream *s)
{
    struct script script = {.replies = {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold"}};
    return answer_all(&script, s);
}

static int h2_handle(rota_stream *s, void *arg)
{
    struct h2_server *server = arg;
    rota_str first;
    server->connections++;
    if (server->tls && rota_tls_start_server(s, server->tls) < 0)
        return 0;
    if (rota_stream_peek(s, 3, &first) < 3 || memcmp(first.ptr, "PRI", 3) != 0)
        return h1_answer(s);
    if (server->leaves) { /* GOAWAY: HTTP_1_1_REQUIRED */
        static const char bye[] = "\0\0\0\4\0\0\0\0\0\0\0\10\7\0\0\0\0\0\0\0\0\0\0\0\0\15";
        return rota_stream_write(s, bye, sizeof bye - 1);
    }
    if (server->dismisses) {
        static const char bye[] = "\0\0\0\4\0\0\0\0\0\0\0\10\7\0\0\0\0\0\0\0\0\0\0\0\0\0";
        int err = rota_stream_write(s, bye, sizeof bye - 1);
        while (err == 0 && rota_stream_peek(s, 1, &first) > 0)
            rota_stream_skip(s, first.len);
        return err;
    }
    struct h2_connection *c = calloc(1, sizeof *c);
    struct rota__h2_limits limits = {.streams = 20};
    c->server = server;
    if (rota__h2_init(&c->h2, true, &limits) == 0)
        h2_converse(c, s);
    for (int i = 0; i < 64; i++)
        rota__h2_drop(&c->h2, &c->requests[i].s, ROTA__H2_CANCEL);
    rota__h2_fini(&c->h2);
    free(c);
    return 0;
}

static int h2_serve(void *arg)
{
    struct h2_server *server = arg;
    return rota_serve(server->listener, h2_handle, server, NULL);
}

static void h2_start(struct h2_server *server)
{
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &server->listener));
    server->port = rota_listener_port(server->listener);
    CHECK_OK(rota_spawn(h2_serve, server, &server->task));
}

static void h2_stop(struct h2_server *server)
{
    rota_task_free(server->task);
    rota_listener_free(server->listener);
}

struct h2_ask {
    struct setting *t;
    const char *url;
    rota_http_fetch_options options;
    int result;
    size_t len;
};

static int h2_fetch(void *arg)
{
    struct h2_ask *a = arg;
    rota_http_response *r = NULL;
    a->result = rota_http_fetch(a->t->session, a->url, &a->options, &r);
    if (a->result < 0)
        fprintf(stderr, "%s\n", rota_error(a->result));
    if (a->result == 0) {
        CHECK(rota_str_equal(rota_http_response_version(r), "HTTP/2"));
        a->len = rota_http_body(r).len;
    }
    rota_http_response_free(r);
    return 0;
}

static const char *h2_url(const struct h2_server *server, const char *path, char *buf, size_t size)
{
    snprintf(buf, size, "%s://127.0.0.1:%d%s", server->tls ? "https" : "http", server->port, path);
    return buf;
}

static void multiplexed(struct setting *t)
{
    struct h2_server server = {0};
    char url[80], big[80];
    enum { N = 50 };
    struct h2_ask asks[N];
    h2_start(&server);
    h2_url(&server, "/", url, sizeof url);
    h2_url(&server, "/big", big, sizeof big);
    {
        ROTA_GROUP(g);
        for (int i = 0; i < N; i++) {
            asks[i] = (struct h2_ask){.t = t, .url = i % 10 ? url : big};
            rota_group_spawn(&g, h2_fetch, &asks[i]);
        }
        CHECK_OK(rota_group_wait(&g));
    }
    for (int i = 0; i < N; i++) {
        if (asks[i].result < 0)
            FAIL("%d: %s", i, rota_strerror(asks[i].result));
        CHECK_INT(asks[i].len, ==, i % 10 ? 5 : 500000);
    }
    CHECK_INT(server.connections, ==, 1);
    CHECK_INT(server.requests, ==, N);
    CHECK_INT(server.most, >, 1);
    CHECK_INT(server.most, <=, 20);
    ROTA_IGNORE(rota_sleep(16 * ROTA_SECOND)); /* for so long it must not be idle */
    {
        ROTA_GROUP(g);
        for (int i = 0; i < N; i++)
            rota_group_spawn(&g, h2_fetch, &asks[i]);
        CHECK_OK(rota_group_wait(&g));
    }
    for (int i = 0; i < N; i++)
        CHECK_INT(asks[i].result, ==, 0);
    CHECK_INT(server.connections, ==, 2);
    h2_stop(&server);
}

TEST(requests_share_a_connection_of_HTTP_2_as_far_as_the_server_lets_them)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, multiplexed);
}

/* Frames of a server, on stream 1. */
#define H2_HEAD(len_, fields_) "\0\0" len_ "\1\4\0\0\0\1" fields_
#define H2_DATA(len_, flags_, data_) "\0\0" len_ "\0" flags_ "\0\0\0\1" data_
#define H2_LENGTH_2 \
    "\x0f\x0d\1"    \
    "2"
#define H2_EARLY_HINTS       \
    H2_HEAD("\5", "\x08\x03" \
                  "103")
#define BYTES(text_)             \
    {                            \
        text_, sizeof(text_) - 1 \
    }

static const struct {
    rota_str frames;
    int err;
    const char *words;
} broken_messages[] = {
    {BYTES(H2_HEAD("\5", "\x88" H2_LENGTH_2) H2_DATA("\3", "\1", "abc")), ROTA_EPROTOCOL,
     "the body is not as long as its Content-Length"},
    {BYTES(H2_HEAD("\5", "\x88" H2_LENGTH_2) H2_DATA("\1", "\1", "a")), ROTA_EPROTOCOL,
     "the body is not as long as its Content-Length"},
    {BYTES("\0\0\5\1\5\0\0\0\1\x88" H2_LENGTH_2), ROTA_EPROTOCOL,
     "the body is not as long as its Content-Length"},
    {BYTES("\0\0\5\1\5\0\0\0\1\x08\x03"
           "103"),
     ROTA_EPROTOCOL, "Violation in HTTP messaging rule"},
    {BYTES("\0\0\4\x8\0\0\0\0\1\0\1\0\0"
           "\0\0\6\4\0\0\0\0\0\0\4\x7f\xff\xff\xff"),
     ROTA_EPROTOCOL, "a window of more than 2^31-1 bytes"},
    {BYTES(H2_HEAD("\1", "\x89") H2_DATA("\1", "\1", "a")), ROTA_EPROTOCOL,
     "a body in a response that has none"},
    {BYTES(H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS
               H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS
                   H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS
                       H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS H2_EARLY_HINTS),
     ROTA_EPROTOCOL, "too many interim responses"},
    {BYTES(H2_HEAD("\x6f", "\x88\x00\1x\x6a"
                           "1234567890123456789012345678901234567890123456789012345678901234567890"
                           "123456789012345678901234567890123456")),
     ROTA_ELIMIT, "head longer than 100 bytes (option head)"},
};

/* Answers the first request by the frames, whatever it was. */
static int break_message(rota_stream *s, void *arg)
{
    const rota_str *frames = arg;
    char request[4096];
    static const char settings[9] = {0, 0, 0, 4};
    size_t preface = 24;
    CHECK_OK(rota_stream_write(s, settings, sizeof settings));
    CHECK_OK(rota_stream_read_exact(s, request, preface));
    for (;;) { /* up to the first HEADERS */
        if (rota_stream_read_exact(s, request, 9) < 0)
            return 0;
        size_t len = (size_t)(unsigned char)request[1] << 8 | (unsigned char)request[2];
        char type = request[3];
        if (rota_stream_read_exact(s, request, len) < 0)
            return 0;
        if (type == 1)
            break;
    }
    CHECK_OK(rota_stream_write(s, frames->ptr, frames->len));
    while (rota_stream_read(s, request, sizeof request) > 0)
        ;
    return 0;
}

struct breaker {
    rota_listener *listener;
    const rota_str *frames;
};

static int serve_broken(void *arg)
{
    struct breaker *b = arg;
    return rota_serve(b->listener, break_message, (void *)b->frames, NULL);
}

static void broken_messages_of_h2(struct setting *t)
{
    for (size_t i = 0; i < sizeof broken_messages / sizeof *broken_messages; i++) {
        struct breaker b = {.frames = &broken_messages[i].frames};
        rota_task *server = NULL;
        rota_http_response *r = NULL;
        char url[80];
        CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &b.listener));
        snprintf(url, sizeof url, "http://127.0.0.1:%d/", rota_listener_port(b.listener));
        CHECK_OK(rota_spawn(serve_broken, &b, &server));
        int err = rota_http_fetch(t->session, url, NULL, &r);
        if (err != broken_messages[i].err || !strstr(rota_error(err), broken_messages[i].words))
            FAIL("%zu: %s: %s", i, rota_strerror(err), rota_error(err));
        rota_task_free(server);
        rota_listener_free(b.listener);
    }
}

TEST(over_HTTP_2_a_broken_message_is_named)
{
    struct setting t = {.options = {.version = ROTA_HTTP_2_DIRECTLY, .head = 100}};
    run(&t, broken_messages_of_h2);
}

static void overrun_of_h2(struct setting *t)
{
    enum { PIECE = 16384, PIECES = 17, START = 10 };
    static char bytes[START + PIECES * (9 + PIECE)] = H2_HEAD("\1", "\x88");
    rota_str frames = {bytes, sizeof bytes};
    struct breaker b = {.frames = &frames};
    rota_task *server = NULL;
    rota_http_response *r = NULL;
    char url[80], buf[4096];
    for (int i = 0; i < PIECES; i++)
        memcpy(bytes + START + i * (9 + PIECE), "\0\x40\0\0\0\0\0\0\1", 9);
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &b.listener));
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", rota_listener_port(b.listener));
    CHECK_OK(rota_spawn(serve_broken, &b, &server));
    CHECK_OK(rota_http_fetch(t->session, url, &(rota_http_fetch_options){.stream = true}, &r));
    ROTA_IGNORE(rota_sleep(ROTA_SECOND)); /* the window is full, and nothing is read */
    ssize_t n;
    while ((n = rota_http_read(r, buf, sizeof buf)) > 0)
        ;
    CHECK_INT(n, ==, ROTA_EPROTOCOL);
    CHECK(strstr(rota_error((int)n), "more data than the window allows"));
    CHECK(!strstr(rota_error((int)n), "the server broke it off"));
    rota_http_response_free(r);
    rota_task_free(server);
    rota_listener_free(b.listener);
}

TEST(over_HTTP_2_more_data_than_the_window_allows_is_an_error_of_the_server)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, overrun_of_h2);
}

static void h2_bodies(struct setting *t)
{
    struct h2_server server = {0};
    char url[80], reset[80], refused[80], never[80], none[80], leave[80];
    static char large[200000];
    rota_http_response *r = NULL;
    h2_start(&server);
    h2_url(&server, "/", url, sizeof url);
    h2_url(&server, "/reset", reset, sizeof reset);
    h2_url(&server, "/refused", refused, sizeof refused);
    h2_url(&server, "/never", never, sizeof never);
    h2_url(&server, "/none", none, sizeof none);
    h2_url(&server, "/leave", leave, sizeof leave);
    memset(large, 'x', sizeof large);
    CHECK_OK(rota_http_fetch(t->session, url,
                             &(rota_http_fetch_options){.body.bytes = {large, sizeof large}}, &r));
    CHECK(rota_str_equal(rota_http_response_header(r, "X-Length"), "200000"));
    CHECK_STR(rota_http_body(r).ptr, "hello");
    r = rota_http_response_free(r);
    CHECK_INT(server.connections, ==, 1);
    CHECK_OK(rota_http_fetch(t->session, none, NULL, &r));
    CHECK_INT(rota_http_body(r).len, ==, 0);
    r = rota_http_response_free(r);
    CHECK_INT(rota_http_fetch(t->session, reset, NULL, &r), ==, ROTA_ETRUNCATED);
    CHECK(strstr(rota_error(ROTA_ETRUNCATED), "the server broke it off"));
    CHECK_INT(server.connections, ==, 1);
    CHECK_INT(
        rota_http_fetch(t->session, never, &(rota_http_fetch_options){.total = ROTA_SECOND}, &r),
        ==, -ETIMEDOUT);
    CHECK_OK(rota_http_fetch(t->session, url, &(rota_http_fetch_options){.stream = true}, &r));
    char buf[3];
    CHECK_INT(rota_http_read(r, buf, sizeof buf), ==, 3);
    r = rota_http_response_free(r); /* the stream is reset, the connection goes on */
    CHECK_INT(server.connections, ==, 1);
    CHECK_OK(
        rota_http_fetch(t->session, refused, &(rota_http_fetch_options){.method = "POST"}, &r));
    r = rota_http_response_free(r); /* sent again: the server had said that it did nothing */
    CHECK_INT(server.refused, ==, 2);
    CHECK_INT(server.connections, ==, 1);
    CHECK_OK(rota_http_fetch(t->session, leave, NULL, &r));
    r = rota_http_response_free(r);
    CHECK_OK(rota_http_fetch(t->session, url, NULL, &r));
    r = rota_http_response_free(r);
    CHECK_INT(server.connections, ==, 2);
    h2_stop(&server);
}

TEST(streams_of_HTTP_2_end_without_each_other)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, h2_bodies);
}

static void h2_refusals(struct setting *t)
{
    struct h2_server server = {0};
    char busy[80], full[80];
    rota_http_response *r = NULL;
    h2_start(&server);
    h2_url(&server, "/busy", busy, sizeof busy);
    h2_url(&server, "/full", full, sizeof full);
    rota_time start = rota_now();
    CHECK_OK(rota_http_fetch(t->session, busy, &(rota_http_fetch_options){.method = "POST"}, &r));
    CHECK_STR(rota_http_body(r).ptr, "hello");
    r = rota_http_response_free(r);
    CHECK_INT(server.refused, ==, 6);
    CHECK_INT(rota_now() - start, >=, (25 + 50 + 100 + 200) * ROTA_MILLISECOND);
    CHECK_INT(rota_now() - start, <=, (50 + 100 + 200 + 400) * ROTA_MILLISECOND + ROTA_SECOND);
    CHECK_INT(rota_http_fetch(t->session, full, NULL, &r), ==, ROTA_ETRUNCATED);
    CHECK(strstr(rota_error(ROTA_ETRUNCATED), "the server refused to work on it"));
    CHECK_INT(server.requests, ==, 6 + 11);
    CHECK_INT(
        rota_http_fetch(t->session, full, &(rota_http_fetch_options){.total = ROTA_SECOND}, &r), ==,
        ROTA_ETRUNCATED); /* no pause is begun that would not end in time */
    CHECK(strstr(rota_error(ROTA_ETRUNCATED), "the server refused to work on it"));
    CHECK_INT(server.connections, ==, 1);
    h2_stop(&server);
}

static void h2_dismissals(struct setting *t)
{
    struct h2_server server = {.dismisses = true};
    char url[80];
    rota_http_response *r = NULL;
    h2_start(&server);
    rota_time start = rota_now();
    CHECK_INT(rota_http_fetch(t->session, h2_url(&server, "/", url, sizeof url), NULL, &r), ==,
              ROTA_ETRUNCATED);
    CHECK_INT(server.connections, ==, 11);
    CHECK_INT(rota_now() - start, >=, (25 + 50 + 100 + 200) * ROTA_MILLISECOND);
    h2_stop(&server);
}

TEST(a_server_that_answers_each_connection_with_GOAWAY_is_asked_less_and_less_often)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, h2_dismissals);
}

TEST(what_a_server_of_HTTP_2_refuses_is_sent_again_less_and_less_often)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, h2_refusals);
}

static void h2_old(struct setting *t)
{
    struct h2_server server = {0};
    rota_http_response *r = NULL;
    struct ends up = pair_of(0);
    static char large[100000];
    char old[80];
    h2_start(&server);
    h2_url(&server, "/old", old, sizeof old);
    const rota_http_fetch_options all[] = {
        {0}, {.body.bytes = {"body", 4}}, {.body.bytes = {large, sizeof large}}};
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rota_http_fetch(t->session, old, &all[i], &r));
        CHECK(rota_str_equal(rota_http_response_version(r), "HTTP/1.1"));
        CHECK_STR(rota_http_body(r).ptr, "old");
        r = rota_http_response_free(r);
    }
    CHECK_INT(server.connections, ==, 2);
    CHECK_OK(rota_stream_write(up.a, "some", 4));
    CHECK_OK(rota_stream_shutdown(up.a));
    CHECK_INT(rota_http_fetch(t->session, old, &(rota_http_fetch_options){.body.stream = up.b}, &r),
              ==, ROTA_ETRUNCATED);
    CHECK(strstr(rota_error(ROTA_ETRUNCATED), "HTTP_1_1_REQUIRED"));
    free_ends(&up);
    server.leaves = true;
    t->session = rota_http_session_free(t->session);
    CHECK_OK(rota_http_session_new(&t->options, &t->session));
    CHECK_OK(rota_http_fetch(t->session, old, &all[1], &r));
    CHECK_STR(rota_http_body(r).ptr, "old");
    r = rota_http_response_free(r);
    h2_stop(&server);
}

TEST(who_requires_HTTP_1_1_is_asked_again_by_that)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, h2_old);
}

static void h2_fields(struct setting *t)
{
    struct h2_server server = {0};
    rota_http_response *r = NULL;
    char url[80];
    h2_start(&server);
    h2_url(&server, "/", url, sizeof url);
    const char *bad[][3] = {{"X-Y", "a\nb", NULL}, {"Keep-Alive", "1", NULL}, {"host", "x", NULL}};
    for (int i = 0; i < 3; i++) {
        rota_http_fetch_options options = {.headers = bad[i]};
        CHECK_INT(rota_http_fetch(t->session, url, &options, &r), ==, -EINVAL);
        CHECK(strstr(rota_error(-EINVAL), bad[i][0]));
        CHECK(strstr(rota_error(-EINVAL), i ? "is not a header field that a caller can set"
                                            : "has a value with a control character"));
    }
    CHECK_OK(rota_http_fetch(t->session, url, NULL, &r));
    rota_http_response_free(r);
    CHECK_INT(server.connections, ==, 1);
    h2_stop(&server);
}

TEST(over_HTTP_2_too_a_field_that_cannot_be_sent_is_named)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, h2_fields);
}

static void h2_bye(struct setting *t)
{
    struct h2_server server = {0};
    rota_http_response *r = NULL;
    char bye[80];
    h2_start(&server);
    h2_url(&server, "/bye", bye, sizeof bye);
    CHECK_OK(rota_http_fetch(t->session, bye, NULL, &r));
    rota_http_response_free(r);
    ROTA_IGNORE(rota_sleep(500 * ROTA_MILLISECOND));
    CHECK_INT(t->session->open, ==, 1);
    ROTA_IGNORE(rota_sleep(ROTA_SECOND));
    CHECK_INT(t->session->open, ==, 0);
    CHECK_INT(t->session->keepers, ==, 0);
    t->session = rota_http_session_free(t->session);
    h2_stop(&server);
}

TEST(an_idle_connection_that_its_server_takes_leave_of_is_closed)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, h2_bye);
}

static void h2_unread(struct setting *t)
{
    struct h2_server server = {0};
    rota_http_response *held[10], *r = NULL;
    char big[80], small[80];
    h2_start(&server);
    h2_url(&server, "/big", big, sizeof big);
    h2_url(&server, "/", small, sizeof small);
    for (int i = 0; i < 10; i++)
        CHECK_OK(
            rota_http_fetch(t->session, big, &(rota_http_fetch_options){.stream = true}, &held[i]));
    CHECK_OK(rota_http_fetch(t->session, small, NULL, &r));
    CHECK_STR(rota_http_body(r).ptr, "hello");
    rota_http_response_free(r);
    for (int i = 9; i >= 0; i--) {
        CHECK_OK(rota_http_read_all(held[i], 0));
        CHECK_INT(rota_http_body(held[i]).len, ==, 500000);
        rota_http_response_free(held[i]);
    }
    CHECK_INT(server.connections, ==, 1);
    h2_stop(&server);
}

TEST(bodies_that_are_not_read_hold_up_no_others_of_their_connection)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, h2_unread);
}

static void h2_expected(struct setting *t)
{
    struct h2_server server = {0};
    char consent[80], later[80], no[80];
    rota_http_fetch_options options = {.body.bytes = {"body", 4}, .expect = true};
    rota_http_response *r = NULL;
    h2_start(&server);
    h2_url(&server, "/consent", consent, sizeof consent);
    h2_url(&server, "/later", later, sizeof later);
    h2_url(&server, "/no", no, sizeof no);
    rota_time start = rota_now();
    CHECK_OK(rota_http_fetch(t->session, consent, &options, &r));
    r = rota_http_response_free(r);
    CHECK_INT(server.length, ==, 4);
    CHECK_INT(rota_now() - start, <, ROTA_SECOND);
    CHECK_OK(rota_http_fetch(t->session, no, &options, &r));
    CHECK_STR(rota_http_body(r).ptr, "hello");
    r = rota_http_response_free(r);
    CHECK_INT(rota_now() - start, <, ROTA_SECOND);
    server.length = 0;
    CHECK_OK(rota_http_fetch(t->session, later, &options, &r));
    r = rota_http_response_free(r);
    CHECK_INT(server.length, ==, 4);
    CHECK_INT(rota_now() - start, >=, ROTA_SECOND);
    CHECK_INT(server.connections, ==, 1);
    const char *bad[] = {"Connection", "close", NULL};
    CHECK_INT(rota_http_fetch(t->session, no, &(rota_http_fetch_options){.headers = bad}, &r), ==,
              -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), "that a caller can set"));
    h2_stop(&server);
}

TEST(over_HTTP_2_too_a_body_waits_for_consent)
{
    struct setting t = {.options.version = ROTA_HTTP_2_DIRECTLY};
    run(&t, h2_expected);
}

static void agreed(struct setting *t)
{
    struct authority authority = authority_new("Test Authority");
    struct identity identity = identity_new(&authority, &(struct wanted){0});
    struct h2_server server = {0};
    rota_tls_context *client;
    char url[80];
    enum { N = 10 };
    struct h2_ask asks[N];
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.cert_pem = identity.cert_pem,
                                                      .key_pem = identity.key_pem,
                                                      .alpn = rota_http_alpn},
                                  &server.tls));
    CHECK_OK(rota_tls_context_new(
        &(rota_tls_options){.ca_pem = authority.pem, .alpn = rota_http_alpn}, &client));
    h2_start(&server);
    h2_url(&server, "/", url, sizeof url);
    rota_http_session_free(t->session);
    CHECK_OK(rota_http_session_new(&(rota_http_session_options){.tls = client, .proxy = ""},
                                   &t->session));
    {
        ROTA_GROUP(g);
        for (int i = 0; i < N; i++) {
            asks[i] = (struct h2_ask){.t = t, .url = url};
            rota_group_spawn(&g, h2_fetch, &asks[i]);
        }
        CHECK_OK(rota_group_wait(&g));
    }
    for (int i = 0; i < N; i++)
        CHECK_INT(asks[i].result, ==, 0);
    CHECK_INT(server.connections, ==,
              1); /* the others waited to see what the first one would agree on */
    t->session = rota_http_session_free(t->session);
    h2_stop(&server);
    rota_tls_context_free(client);
    rota_tls_context_free(server.tls);
    identity_free(&identity);
    authority_free(&authority);
}

TEST(HTTP_2_is_spoken_where_ALPN_agrees_on_it)
{
    struct setting t = {0};
    run(&t, agreed);
}

/* ---- A server that speaks both, and the version that a request needs */

struct both {
    rota_listener *listener;
    rota_tls_context *tls;
};

static int say_version(rota_http_request *r, void *arg)
{
    rota_stream *s;
    rota_str version = rota_http_request_version(r);
    (void)arg;
    if (rota_http_request_header(r, "upgrade").ptr)
        return rota_http_upgrade(r, "other", &s);
    return rota_http_reply(r, 200, NULL, version.ptr, version.len);
}

static int serve_both(void *arg)
{
    struct both *both = arg;
    return rota_http_serve(&both->listener, 1, say_version, NULL,
                           &(rota_http_serve_options){.tls = both->tls});
}

static void check_versions(const rota_http_session_options *options, const char *url,
                           const char *expected)
{
    ROTA_AUTO(rota_http_session) session = NULL;
    ROTA_AUTO(rota_http_response) r = NULL, upgraded = NULL;
    CHECK_OK(rota_http_session_new(options, &session));
    CHECK_OK(rota_http_fetch(session, url, NULL, &r));
    CHECK_STR(rota_http_body(r).ptr, expected);
    CHECK_OK(
        rota_http_fetch(session, url, &(rota_http_fetch_options){.upgrade = "other"}, &upgraded));
    CHECK_INT(rota_http_status(upgraded), ==, 101);
}

static int versions_in_task(__attribute__((unused)) void *arg)
{
    struct authority authority = authority_new("Test Authority");
    struct identity identity = identity_new(&authority, &(struct wanted){0});
    struct both both;
    rota_tls_context *modern, *silent;
    rota_task *server;
    char url[80];
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.cert_pem = identity.cert_pem,
                                                      .key_pem = identity.key_pem,
                                                      .alpn = rota_http_alpn},
                                  &both.tls));
    CHECK_OK(rota_tls_context_new(
        &(rota_tls_options){.ca_pem = authority.pem, .alpn = rota_http_alpn}, &modern));
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.ca_pem = authority.pem}, &silent));
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &both.listener));
    CHECK_OK(rota_spawn(serve_both, &both, &server));
    snprintf(url, sizeof url, "https://127.0.0.1:%d/", rota_listener_port(both.listener));
    for (int i = 0; i < 2; i++) {
        rota_http_session_options options = {.tls = i ? modern : silent, .proxy = ""};
        check_versions(&options, url, "HTTP/2");
        options.version = ROTA_HTTP_1_1;
        check_versions(&options, url, "HTTP/1.1");
    }
    rota_task_free(server);
    rota_listener_free(both.listener);
    rota_tls_context_free(silent);
    rota_tls_context_free(modern);
    rota_tls_context_free(both.tls);
    identity_free(&identity);
    authority_free(&authority);
    return 0;
}

TEST_WITH(the_request_decides_what_is_offered_by_ALPN_whatever_the_context_offers,
          .without_faults = true)
{
    CHECK_OK(rota_run(versions_in_task, NULL));
}

/* ---- Names */

static int lookups;

static int look_up_here(const char *host, rota_address *ret_addresses, size_t max)
{
    lookups++;
    if (strcmp(host, "nobody.example") == 0)
        return ROTA_ENOHOST;
    if (strcmp(host, "later.example") == 0)
        return ROTA_EDNS;
    return rota__address_parse("127.0.0.1", 0, &ret_addresses[0]) < 0 ? ROTA_EDNS : 1;
}

static void named(struct setting *t)
{
    char url[80];
    rota_http_response *r = NULL;
    int (*before)(const char *, rota_address *, size_t) = rota__lookup;
    rota__lookup = look_up_here;
    snprintf(url, sizeof url, "http://Here.Example:%d/", t->script.port);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rota_http_fetch(t->session, url, NULL, &r));
        r = rota_http_response_free(r);
        ROTA_IGNORE(rota_sleep(i == 0 ? 6 * ROTA_SECOND : 20 * ROTA_SECOND));
    }
    CHECK_INT(lookups, ==, 3);
    CHECK(strstr(t->script.seen, "\r\nHost: here.example:"));
    CHECK_INT(rota_http_fetch(t->session, "http://nobody.example/", NULL, &r), ==, ROTA_ENOHOST);
    CHECK(strstr(rota_error(ROTA_ENOHOST), "looking up the address of nobody.example:80: "));
    CHECK_INT(rota_http_failed_phase(ROTA_ENOHOST), ==, ROTA_HTTP_RESOLVING);
    CHECK_INT(rota_http_fetch(t->session, "http://later.example/", NULL, &r), ==, ROTA_EDNS);
    rota__lookup = before;
}

/* ---- Hosts */

static void doubtful(struct setting *t)
{
    static const struct {
        const char *url, *wrong;
    } urls[] = {{"https://evil.test%25.good.test/", "an invalid host"},
                {"http://good.test\\@127.0.0.1/", "an invalid user or password"},
                {"http://127.1/", "an invalid host"},
                {"http://0x7f.0.0.1/", "an invalid host"},
                {"http://[localhost]/", "an invalid host"},
                {"http://[v1.x]/", "an invalid host"},
                {"http://[::%31]/", "an invalid host"},
                {"http://.good.test/", "an invalid host"},
                {"http://good..test/", "an invalid host"},
                {"http://./", "an invalid host"},
                {"http://u\\x@127.0.0.1/", "an invalid user or password"},
                {"http://good.test:80x/", "an invalid port"},
                {"http://good.test:65536/", "an invalid port"},
                {"http:///", "no host"},
                {"http:/good.test", "no host"},
                {"http://good.test/ x", "an unencoded or invalid character after the host"},
                {"ht_tp://good.test/", "an invalid scheme"}};
    rota_http_response *r = NULL;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        char words[128];
        rota_http_session_options options = {.base_url = urls[i].url, .proxy = ""};
        rota_http_session *session = NULL;
        CHECK_INT(rota_http_fetch(t->session, urls[i].url, NULL, &r), ==, -EINVAL);
        snprintf(words, sizeof words, "\" has %s", urls[i].wrong);
        CHECK(strstr(rota_error(-EINVAL), words));
        rota_error_set(-EINVAL, "something else");
        CHECK_INT(rota_http_session_new(&options, &session), ==, -EINVAL);
        CHECK(strstr(rota_error(-EINVAL), words));
    }
    CHECK_INT(t->script.connections, ==, 0);
    expect_error(t, "/", NULL, ROTA_EPROTOCOL,
                 ": \"https://evil.test%25.good.test/\" has an invalid host");
    CHECK_INT(t->script.connections, ==, 1);
}

TEST(a_url_in_which_readers_see_two_hosts_is_refused)
{
    struct setting t = {
        .script.replies = {"HTTP/1.1 302 Found\r\nLocation: https://evil.test%25.good.test/\r\n"
                           "Content-Length: 0\r\n\r\n"}};
    run(&t, doubtful);
}

static void pathless(struct setting *t)
{
    rota_http_response_free(fetch(t, "/", NULL));
    static const char *const paths[] = {"", "?x=1", "/"};
    for (size_t i = 0; i < 3; i++) {
        t->script.seen[0] = '\0';
        rota_http_response_free(fetch(t, paths[i], NULL));
        check_seen(t, "\r\nCookie: sid=1\r\n");
    }
}

TEST(a_url_without_a_path_gets_the_cookies_of_its_root)
{
    struct setting t = {
        .script.replies = {"HTTP/1.1 204 No Content\r\nSet-Cookie: sid=1; Path=/\r\n\r\n", EMPTY}};
    run(&t, pathless);
}

/* ---- What hooks are told */

static void note_url(void *arg, const rota_http_trace *trace)
{
    char *urls = arg;
    size_t len = strlen(urls);
    snprintf(urls + len, 2000 - len, "%s\n", trace->url);
}

static void passwords(struct setting *t)
{
    char url[100];
    rota_http_response *r = NULL;
    snprintf(url, sizeof url, "http://me:secret@127.0.0.1:%d/", t->script.port);
    CHECK_OK(rota_http_fetch(t->session, url, NULL, &r));
    CHECK(!strstr(rota_http_response_url(r), "secret"));
    CHECK(!strstr(rota_http_response_redirect(r, 0, NULL), "secret"));
    rota_http_response_free(r);
    static const char *const wrong[] = {"http://me:secret@127.0.0.1:1 /", "ftp://me:secret@h/",
                                        "me:secret@127.0.0.1/", "http://me:secret@[localhost]/"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_INT(rota_http_fetch(t->session, wrong[i], NULL, &r), ==, -EINVAL);
        CHECK(strstr(rota_error(-EINVAL), "me:***@") && !strstr(rota_error(-EINVAL), "secret"));
        rota_http_session_options options = {.base_url = wrong[i]};
        rota_http_session *session;
        CHECK_INT(rota_http_session_new(&options, &session), ==, -EINVAL);
        CHECK(strstr(rota_error(-EINVAL), "me:***@") && !strstr(rota_error(-EINVAL), "secret"));
        options = (rota_http_session_options){.proxy = wrong[i]};
        if (i != 2) { /* which is one */
            CHECK_INT(rota_http_session_new(&options, &session), ==, -EINVAL);
            CHECK(strstr(rota_error(-EINVAL), "me:***@") && !strstr(rota_error(-EINVAL), "secret"));
        }
    }
    expect_error(t, "/", NULL, ROTA_EPROTOCOL, "\"http://you:***@h:x/\"");
    char *told = t->arg;
    CHECK(strstr(told, "me:***@") && !strstr(told, "secret"));
}

TEST(passwords_in_urls_are_told_to_nobody)
{
    char told[2000] = "";
    struct setting t = {
        .options = {.trace = note_url, .trace_arg = told},
        .arg = told,
        .script.replies = {
            "HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: /x\r\n\r\n", EMPTY,
            "HTTP/1.1 302 X\r\nContent-Length: 0\r\nLocation: http://you:secret@h:x/\r\n\r\n"}};
    run(&t, passwords);
}

static void downgraded(struct setting *t)
{
    struct authority authority = authority_new("Test Authority");
    struct identity id = identity_new(&authority, &(struct wanted){0});
    struct script secure = {0};
    rota_tls_context *client = NULL;
    rota_http_session *session = NULL;
    rota_http_response *r = NULL;
    char url[100], reply[200];
    CHECK_OK(rota_tls_context_new(
        &(rota_tls_options){.cert_pem = id.cert_pem, .key_pem = id.key_pem}, &secure.tls));
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.ca_pem = authority.pem}, &client));
    snprintf(reply, sizeof reply,
             "HTTP/1.1 302 X\r\nContent-Length: 0\r\nSet-Cookie: sid=secret; Secure\r\n"
             "Location: %s\r\n\r\n",
             url_of(&t->script, "/plain"));
    secure.replies[0] = reply;
    script_start(&secure);
    static const char *const headers[] = {"Authorization", "Bearer secret", "Cookie", "c=secret",
                                          NULL};
    for (int only = 0; only < 2; only++) {
        rota_http_session_options options = {
            .proxy = "", .tls = client, .only_https_redirects = only};
        snprintf(url, sizeof url, "https://me:secret@127.0.0.1:%d/", secure.port);
        CHECK_OK(rota_http_session_new(&options, &session));
        int err = rota_http_fetch(session, url, &(rota_http_fetch_options){.headers = headers}, &r);
        CHECK_INT(err, ==, only ? ROTA_EREDIRECTS : 0);
        if (only)
            CHECK(strstr(rota_error(err), "/plain, which is not encrypted"));
        else
            rota_http_response_free(r);
        rota_http_session_free(session);
        CHECK_INT(t->script.connections, ==, 1);
    }
    check_seen(t, "GET /plain ");
    check_not_seen(t, "Authorization");
    check_not_seen(t, "Cookie");
    check_not_seen(t, "secret");
    script_stop(&secure);
    rota_tls_context_free(secure.tls);
    rota_tls_context_free(client);
    identity_free(&id);
    authority_free(&authority);
}

TEST(a_redirect_from_https_to_http_has_no_secrets_and_may_be_forbidden)
{
    struct setting t = {.script.replies = {EMPTY}};
    run(&t, downgraded);
}

static void scoped(struct setting *t)
{
    struct script other = {.replies = {EMPTY}};
    char url[80], seen[80];
    if (rota_tcp_listen("::1", 0, NULL, &other.listener) < 0)
        SKIP("this machine has no ::1");
    other.port = rota_listener_port(other.listener);
    CHECK_OK(rota_spawn(serve, &other, &other.task));
    snprintf(url, sizeof url, "http://[0:0::1%%25lo]:%d/", other.port);
    rota_http_response *r = NULL;
    CHECK_OK(rota_http_fetch(t->session, url, NULL, &r));
    snprintf(url, sizeof url, "http://[::1%%25lo]:%d/", other.port);
    CHECK_STR(rota_http_response_url(r), url);
    rota_http_response_free(r);
    snprintf(seen, sizeof seen, "\r\nHost: [::1]:%d\r\n", other.port);
    CHECK(strstr(other.seen, seen));
    snprintf(url, sizeof url, "http://[::1%%25nowhere]:%d/", other.port);
    int err = rota_http_fetch(t->session, url, NULL, &r);
    CHECK_INT(err, <, 0);
    CHECK(strstr(rota_error(err), "[::1%25nowhere]:"));
    script_stop(&other);
}

TEST(a_zone_says_by_which_interface_and_is_not_sent)
{
    struct setting t = {.script.replies = {EMPTY}};
    run(&t, scoped);
}

static void suffixes(struct setting *t)
{
    static const struct {
        const char *host, *domain, *sent; /* sent: from what was set before */
    } hosts[] = {
        {"a.example.co.uk", "example.co.uk", NULL},
        {"b.example.co.uk", "co.uk", "n0=v"},
        {"example2.co.uk", "co.uk", NULL},
        {"localhost", "localhost", NULL},
        {"localhost", "co.uk", "n3=v"},
        {"127.0.0.1", "127.0.0.1", NULL},
        {"127.0.0.1", "0.0.1", "n5=v"},
    };
    int (*before)(const char *, rota_address *, size_t) = rota__lookup;
    rota__lookup = look_up_here;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char url[80], reply[200], expected[80];
        rota_http_response *r = NULL;
        snprintf(url, sizeof url, "http://%s:%d/", hosts[i].host, t->script.port);
        snprintf(reply, sizeof reply, "HTTP/1.1 204 X\r\nSet-Cookie: n%zu=v; Domain=%s\r\n\r\n", i,
                 hosts[i].domain);
        snprintf(expected, sizeof expected, "\r\nCookie: %s\r\n",
                 hosts[i].sent ? hosts[i].sent : "");
        t->script.replies[0] = reply;
        t->script.seen[0] = '\0';
        CHECK_OK(rota_http_fetch(t->session, url, NULL, &r));
        rota_http_response_free(r);
        if (hosts[i].sent)
            check_seen(t, expected);
        else
            check_not_seen(t, "Cookie");
    }
    rota__lookup = before;
}

TEST(no_cookie_is_for_all_hosts_of_a_public_suffix)
{
#ifndef ROTA__HAS_PSL
    SKIP("built without libpsl");
#endif
    struct setting t = {0};
    run(&t, suffixes);
}

TEST(addresses_are_kept_for_a_while)
{
    struct setting t = {.options.keep_alive = ROTA_SECOND,
                        .options.dns_cache = 5 * ROTA_SECOND,
                        .script.replies = {OK}};
    run(&t, named);
}

/* ---- Whatever happens, nobody gets another's bytes */

static uint32_t dice;

static uint32_t roll(uint32_t sides)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % sides;
}

/* Answers with what was asked for; late, in pieces, cut short, or with more behind it. */
static int answer_somehow(rota_stream *s, void *arg)
{
    rota_str head;
    while (rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head) == 0) {
        char path[64] = "", reply[400];
        sscanf(head.ptr, "GET %63s ", path);
        size_t len = strlen(path);
        int n = roll(3) ? snprintf(reply, sizeof reply,
                                   "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", len, path)
                        : snprintf(reply, sizeof reply,
                                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
                                   "chunked\r\n\r\n3\r\n%.3s\r\n%zx\r\n%s\r\n0\r\n\r\n",
                                   path, len - 3, path + 3);
        uint32_t fate = roll(12);
        if (fate == 0)
            return 0;
        if (fate == 1)
            n = (int)roll((uint32_t)n);
        if (fate == 2)
            n += snprintf(reply + n, sizeof reply - (size_t)n,
                          "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        for (int sent = 0; sent < n;) {
            int piece = 1 + (int)roll(80);
            if (piece > n - sent || fate == 2)
                piece = n - sent;
            if (rota_stream_write(s, reply + sent, (size_t)piece) < 0)
                return 0;
            sent += piece;
            if (roll(2))
                ROTA_IGNORE(rota_sleep(roll(100) * ROTA_MILLISECOND));
        }
        if (fate == 1)
            return 0;
        if (fate == 3) {
            ROTA_IGNORE(rota_sleep(roll(500) * ROTA_MILLISECOND));
            ROTA_IGNORE(
                rota_stream_write(s, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 42));
            return 0;
        }
    }
    return 0;
}

static int serve_somehow(void *arg)
{
    return rota_serve(arg, answer_somehow, NULL, NULL);
}

struct storm {
    rota_http_session *session;
    int port, answers;
};

static void ask_somehow(struct storm *storm, int number)
{
    char url[100], path[40];
    rota_http_response *r = NULL;
    int err = 0;
    snprintf(path, sizeof path, "/%d/%u", number, roll(1000000));
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", storm->port, path);
    rota_http_fetch_options options = {.stream = roll(3) == 0};
    ROTA_TIMEOUT ((1 + roll(400)) * ROTA_MILLISECOND) {
        err = rota_http_fetch(storm->session, url, &options, &r);
        if (err == 0 && options.stream && roll(2))
            err = rota_http_read_all(r, 0);
    }
    if (err == 0 && rota_http_body(r).len) {
        /* What a server says in the moment in which it is asked passes for its answer; it cannot be
         * told apart. */
        if (strcmp(rota_http_body(r).ptr, "evil") != 0)
            CHECK_STR(rota_http_body(r).ptr, path);
        storm->answers++;
    }
    rota_http_response_free(r);
}

static int ask_often(void *arg)
{
    static int numbers;
    int number = ++numbers;
    for (int i = 0; i < 20; i++) {
        ask_somehow(arg, number);
        if (roll(3) == 0)
            ROTA_IGNORE(rota_sleep(roll(300) * ROTA_MILLISECOND));
    }
    return 0;
}

static int storm_main(void *arg)
{
    struct storm storm = {0};
    rota_listener *l;
    rota_task *server;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &l));
    storm.port = rota_listener_port(l);
    CHECK_OK(rota_spawn(serve_somehow, l, &server));
    CHECK_OK(rota_http_session_new(&(rota_http_session_options){.connections = 4, .proxy = ""},
                                   &storm.session));
    {
        ROTA_GROUP(g);
        for (int i = 0; i < 10; i++)
            rota_group_spawn(&g, ask_often, &storm);
        ROTA_IGNORE(rota_group_wait(&g));
    }
    CHECK_INT(storm.answers, >, 20);
    CHECK_INT(storm.session->open, <=, 4);
    CHECK(rota__list_empty(&storm.session->waiting));
    size_t idle = 0;
    rota__list_each (node, &storm.session->idle)
        idle++;
    CHECK_INT(storm.session->open, ==, idle);
    ROTA_IGNORE(rota_sleep(20 * ROTA_SECOND));
    CHECK_INT(storm.session->open, ==, 0);
    CHECK_INT(storm.session->keepers, ==, 0);
    rota_http_session_free(storm.session);
    rota_task_free(server);
    rota_listener_free(l);
    return 0;
}

TEST_WITH(in_a_storm_of_deadlines_and_broken_answers_no_place_is_lost, .without_faults = true)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        rota_loop_options options = rota_test_options(seed);
        dice = (uint32_t)seed;
        CHECK_OK(rota_run_with(storm_main, NULL, &options));
    }
}
