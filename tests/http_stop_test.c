/* A server that is stopped while a client is at something: what runs no request does not wait for
 * the grace. */
#include "certificates.h"
#include "harness.h"

#include <rota.h>
#include <rota/http_server.h>

#include <string.h>

#define GRACE (10 * ROTA_SECOND)
#define BYTES(s_)            \
    {                        \
        (s_), sizeof(s_) - 1 \
    }

/* ---- Setting */

/* A client that sends something, and a server that is stopped a while later. */
struct stop {
    rota_str sent;
    bool secure;
    rota_str reply;             /* part of what the client gets; empty: nothing */
    rota_time takes;            /* how long the server takes to stop, at most */
    rota_time handling;         /* what a request takes */
    rota_http_handler *handler; /* NULL: reply */
    bool no_grace;
    bool closes; /* the listener is closed; else the server is cancelled */

    rota_http_serve_options options;
    rota_listener *listener;
    rota_time began, ended;
    int result;
    char got[4096];
    size_t len;
};

static int reply(rota_http_request *r, void *arg)
{
    const struct stop *stop = arg;
    if (stop->handling)
        ROTA_IGNORE(rota_sleep(stop->handling));
    return rota_http_reply(r, 200, NULL, "hello", 5);
}

static int serve(void *arg)
{
    struct stop *stop = arg;
    rota_http_handler *handler = stop->handler ? stop->handler : reply;
    return rota_http_serve(&stop->listener, 1, handler, stop, &stop->options);
}

static int client_run(struct stop *stop, rota_task *server)
{
    ROTA_AUTO(rota_stream) s = NULL;
    ssize_t n = 1;
    int err = rota_tcp_connect("127.0.0.1", rota_listener_port(stop->listener), NULL, &s);
    if (err == 0 && stop->sent.len)
        err = rota_stream_write(s, stop->sent.ptr, stop->sent.len);
    if (err == 0)
        err = rota_sleep(100 * ROTA_MILLISECOND);
    stop->began = rota_now();
    if (stop->closes)
        rota_listener_close(stop->listener);
    else
        rota_task_cancel(server);
    stop->result = rota_join(server);
    stop->ended = rota_now();
    while (err == 0 && n > 0 && stop->len < sizeof stop->got - 1) {
        n = rota_stream_read(s, stop->got + stop->len, sizeof stop->got - 1 - stop->len);
        stop->len += n > 0 ? (size_t)n : 0;
    }
    return err;
}

static int stop_main(void *arg)
{
    struct stop *stop = arg;
    rota_task *server;
    int err = rota_tcp_listen("127.0.0.1", 0, NULL, &stop->listener);
    if (err == 0)
        err = rota_spawn(serve, stop, &server);
    if (err == 0)
        err = client_run(stop, server);
    rota_listener_free(stop->listener);
    return err;
}

static void stop_while(struct stop stop)
{
    rota_loop_options options = {.virtual_clock = true};
    stop.options.grace = stop.no_grace ? 0 : GRACE;
    CHECK_OK(rota_run_with(stop_main, &stop, &options));
    CHECK_INT(stop.result, ==, stop.closes ? ROTA_ECLOSED : -ECANCELED);
    CHECK_INT((stop.ended - stop.began) / ROTA_MILLISECOND, <=, stop.takes / ROTA_MILLISECOND);
    if (stop.reply.len)
        CHECK(memmem(stop.got, stop.len, stop.reply.ptr, stop.reply.len));
    else
        CHECK_INT(stop.len, ==, 0);
}

/* ---- Before a request */

TEST_BOTH(a_handshake_is_not_waited_for)
{
    struct identity identity = identity_new(NULL, &(struct wanted){0});
    rota_tls_context *tls = NULL;
    rota_tls_options options = {.cert_pem = identity.cert_pem, .key_pem = identity.key_pem};
    if (rota_tls_context_new(&options, &tls) == 0) {
        stop_while((struct stop){.options.tls = tls});
        stop_while((struct stop){.sent = BYTES("\x16\3\1"), .options.tls = tls});
    }
    rota_tls_context_free(tls);
    identity_free(&identity);
}

TEST_BOTH(half_a_head_is_not_waited_for)
{
    stop_while((struct stop){.sent = BYTES("GET / HT")});
}

TEST_BOTH(half_a_head_behind_a_request_is_not_waited_for)
{
    stop_while((struct stop){.sent = BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT"),
                             .reply = BYTES("\r\n\r\nhello")});
}

TEST_BOTH(half_a_preface_is_not_waited_for)
{
    stop_while((struct stop){.sent = BYTES("PRI * HTTP/2")});
}

#define GOAWAY BYTES("\0\0\x08\7\0\0\0\0\0")
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

TEST_BOTH(half_a_frame_is_not_waited_for)
{
    stop_while((struct stop){.sent = BYTES(PREFACE "\0\0\6\1"), .reply = GOAWAY});
}

/* ---- By a listener that is closed */

TEST_BOTH(idle_connections_hear_at_once_of_a_listener_that_is_closed)
{
    stop_while((struct stop){.sent = BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                             .reply = BYTES("\r\n\r\nhello"),
                             .closes = true});
    stop_while((struct stop){.sent = BYTES(PREFACE), .reply = GOAWAY, .closes = true});
}

/* ---- Behind a reply */

TEST_BOTH(a_body_that_nobody_reads_is_not_waited_for)
{
    stop_while((struct stop){
        .sent = BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"),
        .reply = BYTES("\r\n\r\nhello"),
        .takes = ROTA_SECOND});
}

TEST_BOTH(a_client_that_does_not_close_is_not_waited_for)
{
    stop_while((struct stop){
        .sent = BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf"),
        .reply = BYTES("\r\n\r\nhello"),
        .takes = ROTA_SECOND / 2});
    stop_while((struct stop){
        .sent = BYTES("BAD\r\n\r\n"), .reply = BYTES("HTTP/1.1 400"), .takes = ROTA_SECOND / 2});
}

TEST_BOTH(a_reply_after_the_stop_is_not_waited_for_longer)
{
    stop_while((struct stop){
        .sent = BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf"),
        .reply = BYTES("Connection: close\r\nContent-Length: 5\r\n\r\nhello"),
        .handling = 2 * ROTA_SECOND,
        .takes = 2500 * ROTA_MILLISECOND});
}

/* POST, of which no body comes. */
#define POST "\0\0\6\1\4\0\0\0\1\x83\x86\x84\x41\1a"

TEST_BOTH(a_stream_that_nobody_reads_is_not_waited_for)
{
    stop_while((struct stop){.sent = BYTES(PREFACE POST), .reply = GOAWAY, .takes = ROTA_SECOND});
    stop_while((struct stop){.sent = BYTES(PREFACE POST),
                             .reply = GOAWAY,
                             .handling = 2 * ROTA_SECOND,
                             .takes = 3 * ROTA_SECOND});
}

/* The stream is over, the connection reads on for the client. */
TEST_BOTH(a_client_of_http_2_that_does_not_close_is_not_waited_for)
{
    stop_while((struct stop){.sent = BYTES(PREFACE "\0\0\6\1\5\0\0\0\1\x83\x86\x84\x41\1a"),
                             .reply = GOAWAY,
                             .handling = 2 * ROTA_SECOND,
                             .takes = 2500 * ROTA_MILLISECOND});
}

/* ---- What a handler learns */

/* The snippet of the header. */
static int clock_events(rota_http_request *r, void *arg)
{
    (void)arg;
    rota_event *stopping = rota_http_stopping(r);
    int err = rota_http_start_events(r);
    while (err == 0 && !rota_event_is_set(stopping)) {
        err = rota_http_send_event(r, &(rota_http_event){.data = {"tick", 4}});
        ROTA_TIMEOUT (5 * ROTA_SECOND) {
            ROTA_IGNORE(rota_event_wait(stopping));
        }
    }
    return err;
}

TEST_BOTH(events_without_an_end_end_with_the_server)
{
    stop_while((struct stop){.sent = BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                             .reply = BYTES("\r\n0\r\n\r\n"),
                             .handler = clock_events});
    stop_while((struct stop){.sent = BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
                             .reply = BYTES("\r\n0\r\n\r\n"),
                             .handler = clock_events,
                             .closes = true});
    stop_while((struct stop){.sent = BYTES(PREFACE "\0\0\6\1\5\0\0\0\1\x83\x86\x84\x41\1a"),
                             .reply = BYTES("\0\0\0\0\1\0\0\0\1"),
                             .handler = clock_events,
                             .takes = ROTA_SECOND / 2});
}

/* ---- Requests that outlive the grace */

static char told[2000];

static void keep_warnings(void *arg, rota_log_level level, const char *message)
{
    size_t len = strlen(told);
    (void)arg;
    if (level >= ROTA_LOG_WARNING)
        snprintf(told + len, sizeof told - len, "%s\n", message);
}

static void outlive(struct stop stop, const char *expected)
{
    *told = '\0';
    rota_log_set(keep_warnings, NULL);
    stop_while(stop);
    rota_log_set(NULL, NULL);
    if (*expected && !strstr(told, expected))
        FAIL("\"%s\" without \"%s\"", told, expected);
    if (!*expected)
        CHECK_STR(told, "");
}

static const struct stop long_one = {.sent = BYTES("GET /long?x HTTP/1.1\r\nHost: a\r\n\r\n"),
                                     .handling = ROTA_MINUTE,
                                     .takes = GRACE + ROTA_SECOND};

TEST_WITH(a_request_that_outlives_the_grace_is_reported, .both_backends = true,
          .without_faults = true)
{
    struct stop stop = long_one;
    outlive(stop, "http: GET /long from 127.0.0.1:");
    outlive(stop, ": cancelled, still running 10 s after the server stopped\n");
    stop.sent = (rota_str)BYTES(PREFACE "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1a");
    stop.reply = (rota_str)GOAWAY;
    outlive(stop, "http: GET / from 127.0.0.1:");
    stop = long_one;
    stop.no_grace = true;
    outlive(stop, ": cancelled, because the server stopped without a grace period\n");
}

TEST_WITH(a_request_that_ends_within_the_grace_is_not_reported, .both_backends = true,
          .without_faults = true)
{
    struct stop stop = long_one;
    stop.handling = 5 * ROTA_SECOND;
    stop.reply = (rota_str)BYTES("hello");
    outlive(stop, "");
}
