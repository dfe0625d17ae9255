#include "http/coding.h"
#include "http/date.h"
#include "http/server.h"

#include "fails.h"
#include "harness.h"
#include "http_talk.h"
#include "refusals.h"
#include "stack_pages.h"

#include <rota.h>
#include <rota/http_client.h>
#include <rota/http_server.h>
#include <rota/websocket.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <wchar.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Most connections here are pairs in memory, which know no backend. */
#define TEST_ALREADY(name_) TEST_WITH(name_, .without_faults = true)

/* ---- Setting */

static int run_virtual(rota_fn *fn, void *arg)
{
    rota_loop_options options = {.virtual_clock = true};
    return rota_run_with(fn, arg, &options);
}

/* A connection: what the client sends, how, and what it got. */
struct talk {
    rota_http_handler *handler;
    void *arg;
    rota_http_serve_options options;
    rota_str request;
    size_t capacity;       /* of the connection: 1 splits at every byte */
    bool stays;            /* the client does not end its side */
    bool drops;            /* it does not keep what it gets */
    rota_time leaves;      /* it closes after so long */
    rota_time reads;       /* it begins to read after so long */
    char reply[32 * 1024]; /* all of it, without Date fields */
    size_t len;
    size_t received;
    rota_time first, last, took; /* when it got the first and last bytes, and saw the end */
    rota_time served;            /* until the server had ended */
    rota_stream *client, *server;
};

static int talk_send(void *arg)
{
    struct talk *t = arg;
    int err = rota_stream_write(t->client, t->request.ptr, t->request.len);
    if (err == 0 && t->leaves) {
        err = rota_sleep(t->leaves);
        rota_stream_close(t->client);
    }
    return err < 0 || t->stays || t->leaves ? err : rota_stream_shutdown(t->client);
}

static int talk_receive(void *arg)
{
    struct talk *t = arg;
    ssize_t n = 1;
    if (t->reads)
        ROTA_IGNORE(rota_sleep(t->reads));
    while (n > 0) {
        size_t room = sizeof t->reply - 1 - t->len;
        CHECK(room > 0);
        n = rota_stream_read(t->client, t->reply + t->len, room);
        if (t->len == 0)
            t->first = rota_now();
        if (n > 0)
            t->last = rota_now();
        t->received += n > 0 ? (size_t)n : 0;
        t->len += n > 0 && !t->drops ? (size_t)n : 0;
    }
    t->took = rota_now();
    return 0;
}

static int talk_serve(void *arg)
{
    struct talk *t = arg;
    int err = rota_http_serve_stream(t->server, t->handler, t->arg, &t->options);
    t->served = rota_now();
    rota_stream_close(t->server);
    return err;
}

static int talk_run(void *arg)
{
    struct talk *t = arg;
    rota_fn *const tasks[] = {talk_serve, talk_send, talk_receive};
    return talk_over_pair(t->capacity, &t->client, &t->server, tasks, COUNT(tasks), t);
}

/* Dates differ from run to run. */
static void drop_dates(struct talk *t)
{
    static const char date[] = "Date: ";
    char *from = t->reply;
    while ((from = memmem(from, t->len - (size_t)(from - t->reply), date, strlen(date)))) {
        char *end = memmem(from, t->len - (size_t)(from - t->reply), "\r\n", 2);
        if (!end)
            break;
        CHECK_INT(end - from, ==, 35);
        memmove(from, end + 2, t->len - (size_t)(end + 2 - t->reply));
        t->len -= (size_t)(end + 2 - from);
    }
    t->reply[t->len] = '\0';
}

static void talk(struct talk *t)
{
    t->len = 0;
    CHECK_OK(run_virtual(talk_run, t));
    drop_dates(t);
}

static rota_str text(const char *s)
{
    return (rota_str){s, strlen(s)};
}

/* The handler's replies to that request, and the connection's end. */
static void check_reply(rota_http_handler *handler, const char *request, const char *expected)
{
    struct talk *t = calloc(1, sizeof *t);
    t->handler = handler;
    t->request = text(request);
    talk(t);
    CHECK_STR(t->reply, expected);
    free(t);
}

static void check_has(const struct talk *t, const char *part)
{
    if (!strstr(t->reply, part))
        FAIL("not in the reply: \"%s\"\n%s", part, t->reply);
}

/* A handler that does many things: which one is the path's first letter. */
static int reply_to(rota_http_request *r, void *arg)
{
    (void)arg;
    return rota_http_reply_printf(r, 200, "text/plain", "%.*s %.*s\n",
                                  ROTA_STR_ARG(rota_http_request_method(r)),
                                  ROTA_STR_ARG(rota_http_request_path(r)));
}

#define OK(length, more) \
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" more "Content-Length: " #length "\r\n\r\n"

/* ---- The snippet of the header */

static int hello(rota_http_request *r, void *arg)
{
    (void)arg;
    if (rota_str_equal(rota_http_request_path(r), "/"))
        return rota_http_reply(r, 200, "text/plain", "Hello, world!\n", 14);
    return rota_http_reply_status(r, 404);
}

TEST(a_request_is_replied_to)
{
    check_reply(hello, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", OK(14, "") "Hello, world!\n");
}

TEST(statuses_are_named)
{
    check_reply(hello, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
                "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n"
                "Content-Length: 14\r\n\r\n404 Not Found\n");
}

static int print(rota_http_request *r, void *arg)
{
    (void)arg;
    CHECK_INT(rota_http_reply_printf(r, 200, NULL, "%lc", (wint_t)0xd800), ==, -EILSEQ);
    return rota_http_reply_printf(r, 200, NULL, "%05000d", 1);
}

TEST(replies_are_printed_at_any_length)
{
    struct talk *t = calloc(1, sizeof *t);
    t->handler = print;
    t->request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(t);
    check_has(t, "\r\nContent-Length: 5000\r\n\r\n00000");
    CHECK_STR(t->reply + t->len - 5, "00001");
    free(t);
}

/* ---- Connections */

TEST(requests_are_replied_to_in_order)
{
    check_reply(
        reply_to,
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\n"
        "Content-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        "POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        "\r\nGET /5 HTTP/1.1\r\nHost: a\r\n\r\n",
        OK(7, "") "GET /1\n" OK(8, "") "POST /2\n" OK(7, "") "GET /3\n" OK(8, "") "POST /4\n" OK(
            7, "") "GET /5\n");
}

TEST(a_connection_ends_when_the_client_says_so)
{
    check_reply(
        reply_to,
        "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        OK(7, "Connection: close\r\n") "GET /1\n");
}

TEST(http_1_0_keeps_a_connection_only_when_asked)
{
    check_reply(reply_to, "GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
                OK(7, "Connection: close\r\n") "GET /1\n");
    check_reply(
        reply_to, "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
        OK(7, "Connection: keep-alive\r\n") "GET /1\n" OK(7, "Connection: close\r\n") "GET /2\n");
}

TEST(an_idle_connection_is_closed_silently)
{
    struct talk t = {.handler = reply_to, .stays = true};
    t.request = text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_STR(t.reply, OK(7, "") "GET /1\n");
    CHECK_INT(t.took / ROTA_SECOND, ==, 75);
}

TEST(a_slow_head_is_refused)
{
    struct talk t = {.handler = reply_to, .stays = true};
    t.request = text("GET /1 HTTP/1.1\r\nHost: a\r\n");
    t.options.idle = ROTA_NEVER;
    talk(&t);
    check_has(&t, "HTTP/1.1 408 Request Timeout\r\n");
    check_has(&t, "Connection: close\r\n");
    CHECK_INT(t.took / ROTA_SECOND, ==, 10);
}

TEST(a_preface_of_http_2_that_is_cut_short_is_refused)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n";
    for (size_t len = 1; len < sizeof preface; len++) {
        struct talk t = {.handler = reply_to, .request = {preface, len}};
        talk(&t);
        check_has(&t, len < 14 ? "HTTP/1.1 400 " : "HTTP/1.1 505 ");
        t.stays = true;
        talk(&t);
        check_has(&t, len < 14 ? "HTTP/1.1 408 " : "HTTP/1.1 505 ");
        CHECK_INT(t.first / ROTA_SECOND, ==, 10);
    }
}

struct idler {
    rota_http_handler *handler;
    const char *request;
    rota_task *task;           /* the connection's */
    long begun, deep, settled; /* bytes of its stack: at the request, behind it, after a while */
    rota_stream *client, *server;
};

static int reply_deeply(rota_http_request *r, void *arg)
{
    struct idler *idler = arg;
    idler->task = rota_task_current();
    idler->begun = stack_bytes(idler->task);
    go_deep();
    return rota_http_reply(r, 200, NULL, NULL, 0);
}

static int listen_deeply(rota_http_request *r, void *arg)
{
    struct idler *idler = arg;
    ROTA_AUTO(rota_websocket) ws = NULL;
    rota_websocket_message message;
    idler->task = rota_task_current();
    idler->begun = stack_bytes(idler->task);
    go_deep();
    int err = rota_websocket_accept(r, NULL, &ws);
    while (err == 0 && rota_websocket_read(ws, &message) > 0)
        go_deep();
    return err;
}

static int idler_serve(void *arg)
{
    struct idler *idler = arg;
    return rota_http_serve_stream(idler->server, idler->handler, idler, NULL);
}

static int idler_ask(struct idler *idler)
{
    rota_str head;
    int err = rota_stream_write(idler->client, idler->request, strlen(idler->request));
    if (err == 0 && *idler->request == 'G')
        err = rota_stream_read_until(idler->client, text("\r\n\r\n"), 0, &head);
    if (err == 0)
        err = rota_sleep(ROTA_SECOND);
    if (err < 0 || !idler->task)
        return err;
    idler->deep = stack_bytes(idler->task);
    err = rota_sleep(2 * ROTA_SECOND);
    if (err == 0)
        idler->settled = stack_bytes(idler->task);
    return err;
}

static int idler_run(void *arg)
{
    struct idler *idler = arg;
    int err = rota_stream_pair(0, &idler->client, &idler->server);
    if (err < 0)
        return err;
    {
        ROTA_GROUP(g);
        rota_group_spawn(&g, idler_serve, idler);
        err = idler_ask(idler);
        if (idler->handler == listen_deeply)
            idler->request = "\x82\x81mask-"; /* a message of a byte */
        if (err == 0)
            err = idler_ask(idler); /* the stack is as good as before */
        rota_stream_close(idler->client);
    }
    rota_stream_free(idler->client);
    rota_stream_free(idler->server);
    return err;
}

TEST(an_idle_connection_keeps_no_stack_of_its_handler)
{
    struct idler idler = {.handler = reply_deeply, .request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"};
    CHECK_OK(run_virtual(idler_run, &idler));
    if (idler.begun < 0)
        SKIP("what stacks take cannot be counted here");
    CHECK_INT(idler.deep, >=, DEEP);
    CHECK_INT(idler.settled, <=, idler.begun);
    CHECK_INT(idler.settled, <=, 2 * sysconf(_SC_PAGESIZE));
}

TEST(an_idle_websocket_keeps_no_stack_of_its_handler)
{
    struct idler idler = {
        .handler = listen_deeply,
        .request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   "Sec-WebSocket-Version: 13\r\n"
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"};
    CHECK_OK(run_virtual(idler_run, &idler));
    if (idler.begun < 0)
        SKIP("the stack's pages cannot be counted here");
    CHECK_INT(idler.deep, >=, DEEP);
    CHECK_INT(idler.settled, <=, idler.begun + 2 * sysconf(_SC_PAGESIZE));
}

static int second_is_slow(rota_http_request *r, void *arg)
{
    bool is_first = rota_str_equal(rota_http_request_path(r), "/1");
    int err = is_first ? 0 : rota_sleep(10 * ROTA_SECOND);
    return err < 0 ? err : reply_to(r, arg);
}

TEST(a_reply_does_not_wait_for_a_slow_one_behind_it)
{
    static struct talk t;
    t = (struct talk){.handler = second_is_slow, .stays = true};
    t.request = text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n"
                     "Connection: close\r\n\r\n");
    talk(&t);
    CHECK_STR(t.reply, OK(7, "") "GET /1\n" OK(7, "Connection: close\r\n") "GET /2\n");
    CHECK_INT(t.first, <, ROTA_SECOND);
    CHECK_INT(t.took / ROTA_SECOND, ==, 10);
}

/* ---- Bodies of replies */

TEST(what_has_no_body_gets_none)
{
    check_reply(hello, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
                OK(14, "") "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n"
                           "Content-Length: 14\r\n\r\n");
}

static int reply_304(rota_http_request *r, void *arg)
{
    (void)arg;
    return rota_http_reply_status(r, rota_str_equal(rota_http_request_path(r), "/204") ? 204 : 304);
}

TEST(statuses_without_a_body_get_none)
{
    check_reply(reply_304, "GET /204 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n");
}

static int in_pieces(rota_http_request *r, void *arg)
{
    uint64_t *length = arg;
    int err = rota_http_start(r, 200, "text/plain", *length);
    if (err == 0)
        err = rota_http_write(r, "abc", 3);
    if (err == 0)
        err = rota_http_write(r, "", 0);
    return err < 0 ? err : rota_http_write(r, "defg", 4);
}

TEST(a_body_may_be_written_in_pieces)
{
    static struct talk t;
    uint64_t length = 7;
    t = (struct talk){.handler = in_pieces, .arg = &length};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_STR(t.reply, OK(7, "") "abcdefg" OK(7, ""));
    length = ROTA_HTTP_UNKNOWN_LENGTH;
    talk(&t);
    CHECK_STR(t.reply,
              "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
              "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
              "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
    t.request = text("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    talk(&t);
    CHECK_STR(t.reply,
              "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nabcdefg");
}

static int too_much(rota_http_request *r, void *arg)
{
    int *result = arg;
    int err = rota_http_start(r, 200, NULL, 3);
    CHECK_FAILS(*result = rota_http_write(r, "abcd", 4), -EMSGSIZE,
                "write reply: more than the announced length");
    return err < 0 ? err : rota_http_write(r, "abc", 3);
}

TEST(more_than_announced_is_not_sent)
{
    static struct talk t;
    int result = 0;
    t = (struct talk){.handler = too_much, .arg = &result};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_INT(result, ==, -EMSGSIZE);
    CHECK_STR(t.reply, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
}

static int too_little(rota_http_request *r, void *arg)
{
    int *result = arg;
    int err = rota_http_start(r, 200, NULL, 4);
    if (err == 0)
        err = rota_http_write(r, "abc", 3);
    CHECK_FAILS(*result = rota_http_finish(r), -EMSGSIZE,
                "write reply: the body is not as long as announced");
    CHECK_FAILS(rota_http_write(r, "d", 1), -EMSGSIZE, "write reply: it was cut off before: ");
    return err;
}

TEST(less_than_announced_ends_the_connection)
{
    static struct talk t;
    int result = 0;
    t = (struct talk){.handler = too_little, .arg = &result};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_INT(result, ==, -EMSGSIZE);
    CHECK_STR(t.reply, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc");
}

static int much(rota_http_request *r, void *arg)
{
    size_t len = 1000000;
    char *body = rota_http_alloc(r, len);
    if (!body)
        return -ENOMEM;
    for (size_t i = 0; i < len; i++)
        body[i] = (char)('a' + i % 23);
    return rota_http_reply(r, 200, NULL, body, len);
}

struct sink {
    rota_stream *s;
    rota_time nap; /* between two reads */
    size_t got;
    bool is_right;
};

static int sink_run(void *arg)
{
    struct sink *sink = arg;
    rota_str head;
    int err = rota_stream_read_until(sink->s, text("\r\n\r\n"), 0, &head);
    char buf[16384];
    ssize_t n = err == 0 ? 1 : 0;
    sink->is_right = true;
    while (n > 0) {
        ROTA_IGNORE(rota_sleep(sink->nap));
        n = rota_stream_read(sink->s, buf, sizeof buf);
        for (ssize_t i = 0; i < n; i++)
            sink->is_right &= buf[i] == (char)('a' + (sink->got + (size_t)i) % 23);
        sink->got += n > 0 ? (size_t)n : 0;
    }
    return (int)n;
}

static int download(void *arg)
{
    struct sink *sink = arg;
    ROTA_AUTO(rota_stream) client = NULL;
    ROTA_AUTO(rota_stream) server = NULL;
    int err = rota_stream_pair(16384, &client, &server);
    if (err < 0)
        return err;
    sink->s = client;
    err = rota_stream_write(client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 46);
    ROTA_GROUP(g);
    rota_group_spawn(&g, sink_run, sink);
    if (err == 0)
        err = rota_http_serve_stream(server, much, NULL, NULL);
    rota_stream_close(server);
    return err < 0 ? err : rota_group_wait(&g);
}

TEST(a_slow_reader_gets_all_of_a_long_reply)
{
    struct sink sink = {.nap = ROTA_SECOND};
    CHECK_OK(run_virtual(download, &sink));
    CHECK_INT(sink.got, ==, 1000000);
    CHECK(sink.is_right);
}

TEST(a_reader_that_stalls_is_cut_off)
{
    struct sink sink = {.nap = 5 * ROTA_MINUTE};
    CHECK_OK(run_virtual(download, &sink));
    CHECK_INT(sink.got, <, 100000);
}

/* Many requests at once, and then nobody reads what is held back for all of them. */
static void stall_behind(const char *last)
{
    static struct talk t;
    static char requests[60 * 27 + 100];
    char *end = requests;
    for (size_t i = 0; i < 60; i++)
        end = stpcpy(end, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    strcpy(end, last);
    t = (struct talk){.handler = reply_to,
                      .capacity = 4096,
                      .stays = true,
                      .reads = 60 * ROTA_MINUTE,
                      .request = text(requests)};
    talk(&t);
    CHECK_INT(t.served / ROTA_SECOND, >=, 30);
    CHECK_INT(t.served / ROTA_SECOND, <=, 40);
}

TEST_ALREADY(replies_that_are_held_back_stall_as_well)
{
    stall_behind("");
    stall_behind("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stall_behind("GET / HTTP/1.1\r\nHost: a");
    stall_behind("GET  / HTTP/1.1\r\n\r\n");
}

static int small_or_long(rota_http_request *r, void *arg)
{
    static const char long_body[150000];
    if (rota_str_equal(rota_http_request_path(r), "/long"))
        return rota_http_reply(r, 200, NULL, long_body, sizeof long_body);
    return reply_to(r, arg);
}

/* It goes out to the end at once, also where the client takes it only turns later, and others wait
 * behind it. */
TEST(a_long_reply_is_sent_with_what_was_held_back_before_it)
{
    static struct talk t;
    t = (struct talk){.handler = small_or_long,
                      .capacity = 4096,
                      .stays = true,
                      .drops = true,
                      .reads = ROTA_SECOND};
    t.request = text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /long HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_INT(t.received, >, 150000);
    CHECK_INT(t.last, <, 2 * ROTA_SECOND);
    t.request = text("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /long HTTP/1.1\r\nHost: a\r\n\r\n"
                     "GET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /long HTTP/1.1\r\nHost: a\r\n\r\n");
    t.received = 0;
    talk(&t);
    CHECK_INT(t.received, >, 300000);
    CHECK_INT(t.last, <, 2 * ROTA_SECOND);
}

/* ---- Bodies of requests */

static int echo(rota_http_request *r, void *arg)
{
    (void)arg;
    rota_str body;
    int err = rota_http_request_body(r, 0, &body);
    if (err < 0)
        return err;
    rota_str path = rota_http_request_path(r), sum = rota_http_request_trailer(r, "Sum");
    rota_str host = rota_http_request_header(r, "hOST");
    char *reply = rota_http_alloc(r, body.len + path.len + sum.len + host.len + 8);
    if (!reply)
        return -ENOMEM;
    int len = sprintf(reply, "%.*s %.*s [%s] %.*s", (int)path.len, path.ptr, (int)host.len,
                      host.ptr, body.ptr, (int)sum.len, sum.len ? sum.ptr : "");
    return rota_http_reply(r, 200, "text/plain", reply, (size_t)len);
}

static const char posts[] = "POST /a?b HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\n\r\nhello"
                            "POST http://two HTTP/1.1\r\nHost: six\r\nContent-Length: 0\r\n\r\n"
                            "POST /c HTTP/1.1\r\nHost: three\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "3\r\nabc\r\n1;x\r\nd\r\n0\r\nSum: 4\r\nOther: 5\r\n\r\n"
                            "GET /d HTTP/1.1\r\nHost: four\r\n\r\n";

static const char post_replies[] = OK(15, "") "/a one [hello] " OK(9, "") "/ two [] " OK(
    17, "") "/c three [abcd] 4" OK(11, "") "/d four [] ";

TEST(bodies_are_read_alike_however_they_are_split)
{
    static struct talk t;
    static const size_t capacities[] = {0, 1, 2, 3, 7, 50};
    for (size_t i = 0; i < COUNT(capacities); i++) {
        t = (struct talk){.handler = echo, .capacity = capacities[i]};
        t.request = text(posts);
        talk(&t);
        CHECK_STR(t.reply, post_replies);
    }
}

static int remember_path(rota_http_request *r, void *arg)
{
    (void)arg;
    rota_str path = rota_http_request_path(r), host = rota_http_request_header(r, "Host"), body;
    int err = rota_http_request_body(r, 0, &body);
    CHECK(rota_str_equal(path, "/path"));
    CHECK(rota_str_equal(host, "name"));
    return err < 0 ? err : rota_http_reply(r, 200, "text/plain", path.ptr, path.len);
}

TEST(what_a_request_gave_stays_while_its_body_is_read)
{
    static struct talk t;
    static char request[20000];
    char *end = stpcpy(request, "POST /path HTTP/1.1\r\nHost: name\r\n"
                                "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < 1000; i++)
        end = stpcpy(end, "9\r\n012345678\r\n");
    strcpy(end, "0\r\n\r\n");
    t = (struct talk){.handler = remember_path, .request = text(request), .capacity = 100};
    talk(&t);
    CHECK_STR(t.reply, OK(5, "") "/path");
}

static int read_one(rota_http_request *r, void *arg)
{
    (void)arg;
    char byte;
    ssize_t n = rota_http_request_read(r, &byte, 1);
    return n < 0 ? (int)n : rota_http_reply(r, 200, "text/plain", &byte, (size_t)n);
}

/* What a handler leaves of a body is not taken for the next request. */
TEST(bodies_that_are_not_read_are_passed_over)
{
    static struct talk t;
    for (size_t capacity = 0; capacity < 3; capacity++) {
        t = (struct talk){.handler = read_one, .capacity = capacity};
        t.request = text(posts);
        talk(&t);
        CHECK_STR(t.reply, OK(1, "") "h" OK(0, "") OK(1, "") "a" OK(0, ""));
        t.handler = hello;
        talk(&t);
        CHECK_STR(strstr(t.reply, "/ HTTP") ? "again" : "", "");
    }
}

static char *long_post(size_t len)
{
    char *request = malloc(len + 200);
    int head = sprintf(request, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", len);
    memset(request + head, 'x', len);
    strcpy(request + head + len, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    return request;
}

TEST(what_is_too_long_to_be_passed_over_ends_the_connection)
{
    static struct talk t;
    char *request = long_post(100000);
    t = (struct talk){.handler = hello, .request = text(request)};
    talk(&t);
    CHECK_STR(t.reply, OK(14, "Connection: close\r\n") "Hello, world!\n");
    free(request);
}

TEST(bodies_have_a_limit)
{
    static struct talk t;
    char *request = long_post(100000);
    t = (struct talk){.handler = echo, .request = text(request)};
    t.options.body = 99999;
    talk(&t);
    check_has(&t, "HTTP/1.1 413 Content Too Large\r\n");
    check_has(&t, "Connection: close\r\n");
    free(request);
    t.request = text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n");
    t.options.body = 9;
    talk(&t);
    check_has(&t, "HTTP/1.1 413 Content Too Large\r\n");
    check_has(&t, "Connection: close\r\n");
}

/* A request with a body of that length, so many fields, and as many bytes of a head. */
static char *request_of(const char *length, size_t fields, size_t bytes)
{
    static const char padding[] = "Padding: ";
    char *request = malloc(bytes + 100 + fields * 6);
    size_t len =
        (size_t)sprintf(request, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n", length);
    for (size_t i = 2; i < fields; i++)
        len += (size_t)sprintf(request + len, "a: b\r\n");
    if (bytes) {
        len += (size_t)sprintf(request + len, "%s", padding);
        memset(request + len, 'x', bytes - len - 4);
        len = bytes - 4;
        len += (size_t)sprintf(request + len, "\r\n");
    }
    strcpy(request + len, "\r\n");
    return request;
}

TEST(limits_are_those_of_the_header_where_none_are_given)
{
    static const struct {
        const char *length, *reply;
        size_t fields, bytes;
    } cases[] = {
        {"16777216", "HTTP/1.1 200 ", 0, 0},  {"16777217", "HTTP/1.1 413 ", 0, 0},
        {"0", "HTTP/1.1 200 ", 100, 0},       {"0", "HTTP/1.1 431 ", 101, 0},
        {"0", "HTTP/1.1 200 ", 0, 32 * 1024}, {"0", "HTTP/1.1 431 ", 0, 32 * 1024 + 1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *request = request_of(cases[i].length, cases[i].fields, cases[i].bytes);
        static struct talk t;
        t = (struct talk){.handler = reply_to, .request = text(request)};
        talk(&t);
        check_has(&t, cases[i].reply);
        free(request);
    }
}

static int small_limit(rota_http_request *r, void *arg)
{
    rota_str body;
    int *result = arg;
    *result = rota_http_request_body(r, 4, &body);
    CHECK_STR(rota_error(ROTA_ELIMIT), "read request body: more than 4 bytes (argument limit)");
    return *result;
}

TEST(a_handler_may_have_a_limit_of_its_own)
{
    static struct talk t;
    int result = 0;
    t = (struct talk){.handler = small_limit, .arg = &result};
    t.request = text("POST /a HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\n\r\nhello");
    talk(&t);
    CHECK_INT(result, ==, ROTA_ELIMIT);
    check_has(&t, "HTTP/1.1 413 ");
}

TEST(a_client_that_waits_to_be_told_is_told_when_the_body_is_read)
{
    static struct talk t;
    static const char head[] = "POST /a HTTP/1.1\r\nHost: one\r\nExpect: 100-continue\r\n"
                               "Content-Length: 5\r\n\r\n";
    t = (struct talk){.handler = echo, .request = text(head), .stays = true};
    t.options.body_gap = ROTA_SECOND;
    talk(&t);
    check_has(&t, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 ");
    t.handler = hello; /* does not read: the client may send it or not */
    talk(&t);
    CHECK_STR(t.reply, "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                       "Content-Length: 14\r\n\r\n404 Not Found\n");
    check_reply(echo,
                "POST /a HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
                OK(9, "") "/a b [x] ");
}

static char words_of_result[300];

static int keep_result(rota_http_request *r, void *arg)
{
    int *result = arg;
    char buf[100];
    ssize_t n;
    while ((n = rota_http_request_read(r, buf, sizeof buf)) > 0)
        ;
    snprintf(words_of_result, sizeof words_of_result, "%s", rota_error((int)n));
    CHECK_FAILS(rota_http_request_read(r, buf, 0), -EINVAL,
                "read request body: the buffer has length 0");
    if (n == ROTA_EOF || n == ROTA_EPROTOCOL)
        CHECK_FAILS(rota_http_request_read(r, buf, 1), (int)n,
                    "read request body: an earlier read failed: ");
    return *result = (int)n;
}

static int read_when_late(rota_http_request *r, void *arg)
{
    struct talk *t = arg;
    char buf[100];
    CHECK_INT(rota_http_request_read(r, buf, sizeof buf), ==, -ETIMEDOUT);
    CHECK_OK(rota_stream_write(t->client, "hello", 5));
    CHECK_INT(rota_http_request_read(r, buf, sizeof buf), ==, 5);
    return 0;
}

TEST(a_client_whose_time_is_up_is_read_from_if_it_has_sent_something)
{
    static struct talk t;
    t = (struct talk){.handler = read_when_late, .arg = &t, .stays = true};
    t.request = text("POST /a HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\n\r\n");
    t.options.body_gap = ROTA_SECOND;
    talk(&t);
}

TEST(a_body_that_is_cut_off_is_told_from_one_that_is_whole)
{
    static struct talk t;
    static const char *const cut[] = {"Content-Length: 5\r\n\r\nhell", "Content-Length: 5\r\n\r\n",
                                      "Transfer-Encoding: chunked\r\n\r\n3\r\nab",
                                      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                                      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"};
    for (size_t i = 0; i < COUNT(cut); i++) {
        char request[200];
        int result = 1;
        sprintf(request, "POST / HTTP/1.1\r\nHost: a\r\n%s", cut[i]);
        t = (struct talk){.handler = keep_result, .arg = &result, .request = text(request)};
        talk(&t);
        CHECK_INT(result, ==, ROTA_EOF);
        CHECK_STR(words_of_result, "read request body: the client left in the middle");
        CHECK_STR(t.reply, "");
    }
}

TEST(a_body_with_broken_framing_is_refused)
{
    static struct talk t;
    int result = 0;
    t = (struct talk){.handler = keep_result, .arg = &result};
    t.request = text("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n"
                     "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_INT(result, ==, ROTA_EPROTOCOL);
    CHECK(strstr(words_of_result, "read request body: a chunk that is longer"));
    check_has(&t, "HTTP/1.1 400 ");
    check_has(&t, "Connection: close\r\n");
}

TEST(a_body_that_stops_coming_is_given_up)
{
    static struct talk t;
    int result = 0;
    t = (struct talk){.handler = keep_result, .arg = &result, .stays = true};
    t.request = text("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
    talk(&t);
    CHECK_INT(result, ==, -ETIMEDOUT);
    CHECK_STR(words_of_result,
              "read request body: the client is too slow (options body_gap and body_rate)");
    check_has(&t, "HTTP/1.1 408 ");
    CHECK_INT(t.took / ROTA_SECOND, >=, 30);
}

/* ---- What two parsers could understand differently */

struct seen {
    bool smuggled;
    rota_http_counters counters;
};

static int look(rota_http_request *r, void *arg)
{
    struct seen *seen = arg;
    rota_str body;
    seen->smuggled |= rota_str_equal(rota_http_request_path(r), "/smuggled");
    int err = rota_http_request_body(r, 0, &body);
    return err < 0 ? err : rota_http_reply(r, 200, NULL, "", 0);
}

/* A request is refused with its status, what follows is not looked at, and the connection ends. */
static void check_refused(const struct refusal *f, size_t capacity)
{
    static const char more[] = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    static struct talk t;
    struct seen seen = {0};
    size_t len = f->len ? f->len : strlen(f->bytes);
    char *bytes = malloc(len + sizeof more);
    memcpy(bytes, f->bytes, len);
    strcpy(bytes + len, more);
    t = (struct talk){.handler = look, .arg = &seen, .capacity = capacity};
    t.request = (rota_str){bytes, len + strlen(more)};
    talk(&t);
    const char *status = strrchr(f->expected, '!');
    CHECK(status);
    if (seen.smuggled)
        FAIL("RFC %s, %s: the next request was served", f->rfc, f->bytes);
    if (t.len && atoi(t.reply + 9) != atoi(status + 1))
        FAIL("RFC %s, %s:\n%s", f->rfc, f->bytes, t.reply);
    if (t.len)
        check_has(&t, "Connection: close\r\n");
    CHECK(!t.len || !strstr(t.reply + 9, "HTTP/1.1 "));
    free(bytes);
}

TEST_WITH(what_could_be_understood_differently_is_refused, .seconds = 60, .without_faults = true)
{
    for (size_t i = 0; i < COUNT(refusals); i++) {
        check_refused(&refusals[i], 0);
        check_refused(&refusals[i], 1);
        check_refused(&refusals[i], 7);
    }
}

/* ---- Handlers */

static int fail(rota_http_request *r, void *arg)
{
    int *result = arg;
    if (rota_str_equal(rota_http_request_path(r), "/begun"))
        rota_http_start(r, 200, NULL, 10);
    if (rota_str_equal(rota_http_request_path(r), "/written")) {
        rota_http_start(r, 200, NULL, 10);
        ROTA_IGNORE(rota_http_write(r, "abc", 3));
    }
    return *result;
}

TEST(a_handler_that_fails_is_answered_for)
{
    static struct talk t;
    int result = -EIO;
    t = (struct talk){.handler = fail, .arg = &result};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    check_has(&t, "HTTP/1.1 500 Internal Server Error\r\n");
    check_has(&t, "\n500 Internal Server Error\nHTTP/1.1 500 "); /* and the connection goes on */
    result = 0;                                                  /* has not replied */
    talk(&t);
    check_has(&t, "HTTP/1.1 500 Internal Server Error\r\n");
    result = -EIO;
    t.request = text("GET /written HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_STR(t.reply, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    t.request = text("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n"); /* but nothing was sent of it */
    talk(&t);
    check_has(&t, "HTTP/1.1 500 Internal Server Error\r\n");
}

static int set_headers(rota_http_request *r, void *arg)
{
    (void)arg;
    CHECK_INT(rota_http_add_header(r, "X", "1"), ==, 0);
    CHECK_INT(rota_http_add_header(r, "x", "2"), ==, 0);
    CHECK_INT(rota_http_add_header(r, "Set-Cookie", "a=b; Path=/"), ==, 0);
    CHECK_INT(rota_http_add_header(r, "Empty", ""), ==, 0);
    CHECK_INT(rota_http_reply(r, 200, NULL, "a", 1), ==, 0);
    CHECK_FAILS(rota_http_add_header(r, "X", "3"), -EALREADY, "a reply has already begun");
    CHECK_FAILS(rota_http_reply(r, 200, NULL, "a", 1), -EALREADY, "a reply has already begun");
    CHECK_FAILS(rota_http_start(r, 200, NULL, 1), -EALREADY, "a reply has already begun");
    CHECK_FAILS(rota_http_write(r, "a", 1), -EALREADY, "write reply: the reply has ended");
    CHECK_FAILS(rota_http_finish(r), -EALREADY, "write reply: the reply has ended");
    CHECK_FAILS(rota_http_add_trailer(r, "X", "3"), -EALREADY,
                "add trailer \"X\": the reply has ended");
    return 0;
}

TEST(fields_may_be_added_before_the_reply)
{
    check_reply(set_headers, "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "HTTP/1.1 200 OK\r\nX: 1\r\nx: 2\r\nSet-Cookie: a=b; Path=/\r\nEmpty: \r\n"
                "Content-Length: 1\r\n\r\na");
}

static int set_type(rota_http_request *r, void *arg)
{
    (void)arg;
    bool named = rota_str_equal(rota_http_request_path(r), "/named");
    CHECK_INT(rota_http_add_header(r, "content-type", "text/html"), ==, 0);
    CHECK_INT(rota_http_start(r, 200, named ? "text/plain" : NULL, 1), ==, 0);
    return rota_http_write(r, "a", 1);
}

TEST(a_reply_has_one_type)
{
    check_reply(set_type, "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nContent-Length: 1\r\n\r\na");
    check_reply(set_type, "GET /named HTTP/1.1\r\nHost: a\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\na");
}

struct header {
    const char *name, *value;
    char words[64];
};

static int set_bad_header(rota_http_request *r, void *arg)
{
    struct header *h = arg;
    rota_stream *stream;
    CHECK_FAILS(rota_http_add_header(r, h->name, h->value), -EINVAL, "add header field \"");
    CHECK_INT(rota_http_add_header(r, "Other", "\n"), ==, -EINVAL);
    CHECK_FAILS(rota_http_interim(r, 103), -EINVAL, h->words);
    CHECK_FAILS(rota_http_upgrade(r, "x", &stream), -EINVAL, h->words);
    CHECK_FAILS(rota_http_reply(r, 200, NULL, "a", 1), -EINVAL, h->words);
    return 0;
}

TEST(what_a_client_could_misread_is_not_sent)
{
    static struct talk t;
    static struct header bad[] = {{"X", "a\r\nY: b"},
                                  {"X", "a\nb"},
                                  {"X", "a\rb"},
                                  {"X", "\x01"},
                                  {"X\r\nY", "b"},
                                  {"X ", "b"},
                                  {"", "b"},
                                  {"X:", "b"},
                                  {"Date", "x"},
                                  {"Host", "x"},
                                  {"content-length", "1"},
                                  {"Transfer-Encoding", "chunked"},
                                  {"connection", "x"},
                                  {"Keep-Alive", "timeout=5"},
                                  {"Proxy-Connection", "close"},
                                  {"TE", "trailers"},
                                  {"Upgrade", "h2c"}};
    for (size_t i = 0; i < COUNT(bad); i++) {
        rota_error_set(-EINVAL, "reply: the header field \"%s\" was refused", bad[i].name);
        snprintf(bad[i].words, sizeof bad[i].words, "%s", rota_error(-EINVAL));
        t = (struct talk){.handler = set_bad_header, .arg = &bad[i]};
        t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        talk(&t);
        check_has(&t, "HTTP/1.1 500 ");
        CHECK(!strstr(t.reply, "Y"));
    }
}

static int misuse(rota_http_request *r, void *arg)
{
    (void)arg;
    CHECK_INT(rota_http_write(r, "a", 1), ==, -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), "no reply has begun"));
    CHECK_INT(rota_http_finish(r), ==, -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), "no reply has begun"));
    CHECK_INT(rota_http_reply(r, 99, NULL, "a", 1), ==, -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), "status 99 is not"));
    CHECK_INT(rota_http_reply(r, 100, NULL, "a", 1), ==, -EINVAL);
    CHECK_INT(rota_http_reply(r, 600, NULL, "a", 1), ==, -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), "status 600 is not"));
    CHECK_INT(rota_http_reply(r, 200, "a\r\nb", "a", 1), ==, -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), "the type"));
    CHECK_INT(rota_http_interim(r, 200), ==, -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), "status 200 is not"));
    return rota_http_reply(r, 299, "a/b", "a", 1);
}

TEST(what_cannot_be_served_is_refused)
{
    rota_http_session *session;
    rota_http_serve_options options = {.fields = SIZE_MAX};
    CHECK_FAILS(rota_http_session_new(NULL, &session), ROTA_ENOTASK, rota_strerror(ROTA_ENOTASK));
    CHECK_FAILS(rota_http_serve(NULL, 0, echo, NULL, NULL), ROTA_ENOTASK,
                rota_strerror(ROTA_ENOTASK));
    CHECK_FAILS(rota_http_serve(NULL, 0, echo, NULL, &options), -EINVAL,
                "serve: the option `fields` is too large");
}

TEST(calls_out_of_place_are_refused)
{
    check_reply(misuse, "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "HTTP/1.1 299 Unknown\r\nContent-Type: a/b\r\nContent-Length: 1\r\n\r\na");
}

static int hint(rota_http_request *r, void *arg)
{
    (void)arg;
    rota_http_add_header(r, "Link", "</a.css>");
    int err = rota_http_interim(r, 103);
    return err < 0 ? err : rota_http_reply(r, 200, NULL, "a", 1);
}

TEST(interim_replies_come_before_the_reply)
{
    check_reply(hint, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na");
}

static int change_protocol(rota_http_request *r, void *arg)
{
    (void)arg;
    rota_stream *s;
    rota_str body = {"", 0};
    rota_str path = rota_http_request_path(r);
    char text[6] = "";
    int err = 0;
    if (rota_str_equal(path, "/read"))
        err = rota_http_request_body(r, 0, &body);
    if (rota_str_equal(path, "/exactly")) /* its end is known without another call */
        err = (int)rota_http_request_read(r, text, 3);
    if (err >= 0)
        err = rota_http_upgrade(r, "other", &s);
    if (err == -EPROTO) {
        CHECK_STR(rota_error(err), "upgrade to other: the body was not read to its end");
        CHECK_FAILS(rota_http_upgrade(r, "unasked", &s), -EPROTO,
                    "upgrade to unasked: the client has not asked for it");
        return rota_http_reply_status(r, 400);
    }
    if (err == 0)
        err = rota_stream_read_exact(s, text, 5);
    return err < 0 ? err : rota_stream_write(s, text, 5);
}

#define SWITCHED "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"

/* Else what is unread would pass for bytes of the other protocol. */
TEST(another_protocol_begins_behind_the_body)
{
    static struct talk t;
    static const char *const paths[] = {"/read", "/exactly", "/"};
    for (size_t i = 0; i < COUNT(paths); i++) {
        char request[200];
        sprintf(request,
                "POST %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n"
                "Content-Length: 3\r\n\r\nabchello",
                paths[i]);
        t = (struct talk){.handler = change_protocol, .request = text(request)};
        talk(&t);
        if (i < 2)
            CHECK_STR(t.reply, SWITCHED "hello");
        else
            check_has(&t, "HTTP/1.1 400 Bad Request\r\n");
    }
    check_reply(change_protocol,
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\nhello",
                SWITCHED "hello");
}

/* ---- The client goes away */

struct patience {
    rota_time cancelled; /* when the handler was */
    int result, after;
    bool shielded;
};

static int wait_long(rota_http_request *r, void *arg)
{
    struct patience *p = arg;
    if (p->shielded) {
        ROTA_SHIELD
        {
            p->result = rota_sleep(ROTA_MINUTE);
        }
    } else {
        p->result = rota_sleep(ROTA_MINUTE);
    }
    p->cancelled = rota_now();
    p->after = rota_http_reply(r, 200, NULL, "a", 1);
    return p->result;
}

TEST(a_handler_is_cancelled_when_its_client_leaves)
{
    static struct talk t;
    struct patience p = {0};
    t = (struct talk){.handler = wait_long, .arg = &p, .leaves = ROTA_SECOND};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_INT(p.result, ==, -ECANCELED);
    CHECK_INT(p.after, ==, -ECANCELED);
    CHECK_INT(p.cancelled, <, 2 * ROTA_SECOND);
}

TEST(a_client_that_ends_its_side_has_left)
{
    static struct talk t;
    struct patience p = {0};
    t = (struct talk){.handler = wait_long, .arg = &p};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_INT(p.result, ==, -ECANCELED);
    CHECK_INT(p.cancelled, <, ROTA_SECOND);
}

TEST(a_client_with_further_requests_has_not_left)
{
    static struct talk t;
    struct patience p = {0};
    t = (struct talk){.handler = wait_long, .arg = &p};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    check_has(&t, "HTTP/1.1 200 OK"); /* the first one */
}

TEST(a_shield_keeps_what_must_be_finished)
{
    static struct talk t;
    struct patience p = {.shielded = true};
    t = (struct talk){.handler = wait_long, .arg = &p, .leaves = ROTA_SECOND};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    CHECK_INT(p.result, ==, 0);
    CHECK_INT(p.cancelled, ==, ROTA_MINUTE);
}

TEST(a_client_that_waits_is_not_cut_off)
{
    static struct talk t;
    struct patience p = {0};
    t = (struct talk){.handler = wait_long, .arg = &p, .stays = true};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    talk(&t);
    CHECK_INT(p.result, ==, 0);
    check_has(&t, "HTTP/1.1 200 OK\r\n");
}

/* ---- What the program learns */

struct log {
    char lines[1024];
    size_t len;
};

static void note(void *arg, const rota_http_access *a)
{
    struct log *log = arg;
    log->len += (size_t)snprintf(
        log->lines + log->len, sizeof log->lines - log->len, "%s %.*s %.*s %.*s %d %d/%d %d %s\n",
        a->peer, (int)a->method.len, a->method.len ? a->method.ptr : "", (int)a->target.len,
        a->target.len ? a->target.ptr : "", (int)a->version.len, a->version.ptr, a->status,
        (int)a->bytes_in, (int)a->bytes_out, (int)(a->total / ROTA_SECOND),
        a->err ? rota_strerror(a->err) : "ok");
}

TEST(requests_are_logged_and_counted)
{
    static struct talk t;
    struct log log = {0};
    rota_http_counters counters = {0};
    t = (struct talk){.handler = echo};
    t.options.access = note;
    t.options.access_arg = &log;
    t.options.counters = &counters;
    t.request = text("POST /a?b HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\n\r\nhello"
                     "HEAD /b HTTP/1.1\r\nHost: one\r\n\r\nGET / HTTP/9.9\r\n\r\n");
    talk(&t);
    CHECK_STR(log.lines, "pair POST /a?b HTTP/1.1 200 5/15 0 ok\n"
                         "pair HEAD /b HTTP/1.1 200 0/0 0 ok\n"
                         "pair GET / HTTP/1.1 505 0/57 0 ok\n");
    CHECK_INT(counters.connections, ==, 1);
    CHECK_INT(counters.requests, ==, 2);
    CHECK_INT(counters.refused, ==, 1);
    CHECK_INT(counters.status[2], ==, 2);
    CHECK_INT(counters.status[5], ==, 1);
    CHECK_INT(counters.bytes_in, ==, 5);
    CHECK_INT(counters.bytes_out, ==, 15 + 57);
    CHECK_INT(counters.open + counters.idle + counters.running, ==, 0);
}

TEST(what_is_refused_is_logged_as_far_as_it_was_understood)
{
    static const struct {
        const char *request, *line;
    } cases[] = {
        {"POST /a?b HTTP/1.1\r\nHost: one\r\nContent-Length: 999\r\n\r\n",
         "POST /a?b HTTP/1.1 413"},
        {"HEAD /a HTTP/1.1\r\nHost: one\r\nContent-Length: x\r\n\r\n", "HEAD /a HTTP/1.1 400"},
        {"GET /a HTTP/1.1\r\nHost: one\r\n: x\r\n\r\n", "GET /a HTTP/1.1 400"},
        {"GET HTTP/1.1\r\nHost: one\r\n\r\n", "GET  HTTP/1.1 400"},
        {"G@T / HTTP/1.1\r\nHost: one\r\n\r\n", "  HTTP/1.1 400"},
    };
    static struct talk t;
    for (size_t i = 0; i < 2 * COUNT(cases); i++) {
        struct log log = {0};
        char line[100];
        t = (struct talk){.handler = reply_to, .request = text(cases[i / 2].request)};
        t.capacity = i % 2;
        t.options = (rota_http_serve_options){.body = 998, .access = note, .access_arg = &log};
        talk(&t);
        snprintf(line, sizeof line, "pair %s ", cases[i / 2].line);
        if (strncmp(log.lines, line, strlen(line)) != 0)
            FAIL("%zu: %s", i, log.lines);
        CHECK_INT(!strncmp(line, "pair HEAD", 9), ==, !strstr(t.reply, "\r\n\r\n4"));
    }
}

TEST_ALREADY(the_date_is_that_of_the_reply)
{
    static struct rota__server server = {.date_of = 1, .date = "Thu, 01 Jan 1970 00:00:01 GMT"};
    int64_t seconds, now = time(NULL);
    CHECK_OK(rota__date_parse(text(rota__server_date(&server)), now, &seconds));
    CHECK_INT(seconds, >=, now);
}

/* ---- Files */

static void put_file(const char *name, const char *bytes, size_t len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", test_directory(), name);
    FILE *f = fopen(path, "w");
    CHECK(f);
    CHECK_INT(fwrite(bytes, 1, len, f), ==, len);
    fclose(f);
    struct timespec times[] = {{1000000000, 0}, {1000000000, 0}};
    CHECK_OK(utimensat(AT_FDCWD, path, times, 0));
}

static void put_directory(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", test_directory(), name);
    CHECK_OK(mkdir(path, 0755));
}

/* root/ with some files, and a secret beside it. */
static void make_site(void)
{
    char link[512];
    put_file("secret", "secret", 6);
    put_directory("root");
    put_directory("root/docs");
    put_directory("root/empty");
    put_file("root/a.txt", "0123456789", 10);
    put_file("root/none", "", 0);
    put_file("root/.hidden", "hidden", 6);
    put_file("root/a b&<c>.html", "<p>", 3);
    put_file("root/docs/index.html", "<h1>Docs</h1>", 13);
    snprintf(link, sizeof link, "%s/root/escape", test_directory());
    CHECK_OK(symlink("../secret", link));
    snprintf(link, sizeof link, "%s/root/inside", test_directory());
    CHECK_OK(symlink("a.txt", link));
}

static int from_root(rota_http_request *r, void *root)
{
    return rota_http_reply_file(r, root, rota_http_request_path(r));
}

static rota_http_root *open_root(rota_http_root_options options)
{
    char path[512];
    rota_http_root *root;
    snprintf(path, sizeof path, "%s/root", test_directory());
    CHECK_OK(rota_http_root_open(path, &options, &root));
    return root;
}

/* Asks for `lines` (a target, and perhaps fields), and gives the reply without ETag and
 * Last-Modified. */
static struct talk *ask_for(rota_http_root *root, const char *method, const char *target,
                            const char *fields)
{
    static struct talk t;
    static char request[1000];
    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, target,
             fields);
    t = (struct talk){.handler = from_root, .arg = root, .request = text(request)};
    talk(&t);
    return &t;
}

static void drop_line(struct talk *t, const char *begin)
{
    char *from = strstr(t->reply, begin);
    char *end = from ? strstr(from, "\r\n") + 2 : NULL;
    if (from)
        memmove(from, end, strlen(end) + 1);
}

static void check_file(rota_http_root *root, const char *target, const char *fields,
                       const char *expected)
{
    struct talk *t = ask_for(root, "GET", target, fields);
    drop_line(t, "ETag: ");
    drop_line(t, "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n");
    CHECK_STR(t->reply, expected);
}

static void check_status(rota_http_root *root, const char *target, int status)
{
    struct talk *t = ask_for(root, "GET", target, "");
    CHECK_INT(atoi(t->reply + 9), ==, status);
}

#define FILE_OK(type, length)                                               \
    "HTTP/1.1 200 OK\r\nContent-Type: " type "\r\nAccept-Ranges: bytes\r\n" \
    "Content-Length: " #length "\r\n\r\n"

/* Without it no symbolic link is followed, as nobody would see whether it leads out. */
static bool has_openat2(void)
{
    return syscall(SYS_openat2, -1, NULL, NULL, 0) == 0 || errno != ENOSYS;
}

TEST(files_are_served)
{
    make_site();
    rota_http_root *root = open_root((rota_http_root_options){0});
    check_file(root, "/a.txt", "", FILE_OK("text/plain; charset=utf-8", 10) "0123456789");
    check_file(root, "/a.txt?x=y", "", FILE_OK("text/plain; charset=utf-8", 10) "0123456789");
    check_file(root, "/%61.txt", "", FILE_OK("text/plain; charset=utf-8", 10) "0123456789");
    if (has_openat2())
        check_file(root, "/inside", "", FILE_OK("application/octet-stream", 10) "0123456789");
    else
        check_status(root, "/inside", 404);
    check_file(root, "/none", "", FILE_OK("application/octet-stream", 0));
    check_file(root, "/a%20b&%3cc%3e.html", "", FILE_OK("text/html; charset=utf-8", 3) "<p>");
    check_file(root, "/docs/", "", FILE_OK("text/html; charset=utf-8", 13) "<h1>Docs</h1>");
    struct talk *t = ask_for(root, "HEAD", "/a.txt", "");
    check_has(t, "Content-Length: 10\r\n");
    CHECK_STR(t->reply + t->len - 4, "\r\n\r\n");
    t = ask_for(root, "DELETE", "/a.txt", "");
    check_has(t, "HTTP/1.1 405 ");
    check_has(t, "Allow: GET, HEAD\r\n");
    t = ask_for(root, "GET", "/docs?x", "");
    check_has(t, "HTTP/1.1 301 ");
    check_has(t, "Location: ./docs/?x\r\n");
    rota_http_root_free(root);
}

TEST(nothing_outside_of_the_root_is_served)
{
    make_site();
    static const char *const ways[] = {
        "/../secret",       "/docs/../../secret",  "/%2e%2e/secret",     "/..%2fsecret", "/escape",
        "/docs/..%2f..%2f", "/....//secret",       "//../secret",        "/.hidden",     "/docs/..",
        "/a.txt/",          "/a.txt/../../secret", "/a.txt%00.html",     "/nobody",      "/empty/",
        "/docs/.",          "/%2e/a.txt",          "/docs/%2e%2e/a.txt", "/..\\secret",  "/%ff"};
    rota_http_root *root = open_root((rota_http_root_options){0});
    rota_http_root *all = open_root((rota_http_root_options){.hidden = true});
    for (size_t i = 0; i < COUNT(ways); i++) {
        check_status(root, ways[i], 404);
        if (strcmp(ways[i], "/.hidden") != 0)
            check_status(all, ways[i], 404);
    }
    check_status(all, "/.hidden", 200);
    rota_http_root_free(root);
    rota_http_root_free(all);
}

TEST(conditions_are_kept)
{
    make_site();
    rota_http_root *root = open_root((rota_http_root_options){.cache = ROTA_MINUTE});
    struct talk *t = ask_for(root, "GET", "/a.txt", "");
    check_has(t, "Cache-Control: max-age=60\r\n");
    check_has(t, "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n");
    char etag[100], fields[200];
    CHECK_INT(sscanf(strstr(t->reply, "ETag: "), "ETag: %99s", etag), ==, 1);
    snprintf(fields, sizeof fields, "If-None-Match: %s\r\n", etag);
    t = ask_for(root, "GET", "/a.txt", fields);
    check_has(t, "HTTP/1.1 304 Not Modified\r\n");
    check_has(t, etag);
    CHECK_STR(t->reply + t->len - 4, "\r\n\r\n");
    t = ask_for(root, "GET", "/a.txt", "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n");
    check_has(t, "HTTP/1.1 304 ");
    t = ask_for(root, "GET", "/a.txt", "If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n");
    check_has(t, "HTTP/1.1 200 ");
    t = ask_for(root, "GET", "/a.txt", "If-Match: \"x\"\r\n");
    check_has(t, "HTTP/1.1 412 ");
    snprintf(fields, sizeof fields, "Range: bytes=1-2\r\nIf-Range: %s\r\n", etag);
    check_has(ask_for(root, "GET", "/a.txt", fields), "HTTP/1.1 206 ");
    check_has(ask_for(root, "GET", "/a.txt", "Range: bytes=1-2\r\nIf-Range: \"x\"\r\n"),
              "HTTP/1.1 200 ");
    rota_http_root_free(root);
}

#define PART(range, length)                                                                      \
    "HTTP/1.1 206 Partial Content\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: " \
    "bytes " range "/10\r\nContent-Length: " #length "\r\n\r\n"

TEST(parts_are_served)
{
    make_site();
    rota_http_root *root = open_root((rota_http_root_options){0});
    check_file(root, "/a.txt", "Range: bytes=1-3\r\n", PART("1-3", 3) "123");
    check_file(root, "/a.txt", "Range: bytes=7-\r\n", PART("7-9", 3) "789");
    check_file(root, "/a.txt", "Range: bytes=-2\r\n", PART("8-9", 2) "89");
    check_file(root, "/a.txt", "Range: lines=1-2\r\n",
               FILE_OK("text/plain; charset=utf-8", 10) "0123456789");
    struct talk *t = ask_for(root, "GET", "/a.txt", "Range: bytes=10-\r\n");
    check_has(t, "HTTP/1.1 416 ");
    check_has(t, "Content-Range: bytes */10\r\n");
    char big[1000];
    memset(big, 'x', sizeof big);
    put_file("root/big", big, sizeof big);
    t = ask_for(root, "GET", "/big", "Range: bytes=0-0,-1\r\n");
    check_has(t, "Content-Type: multipart/byteranges; boundary=");
    check_has(t, "Content-Range: bytes 0-0/1000\r\n\r\nx\r\n--");
    check_has(t, "Content-Range: bytes 999-999/1000\r\n\r\nx\r\n--");
    size_t length = (size_t)atoi(strstr(t->reply, "Content-Length: ") + 16);
    CHECK_INT(strlen(strstr(t->reply, "\r\n\r\n") + 4), ==, length);
    rota_http_root_free(root);
}

TEST(directories_are_listed_where_that_is_wished)
{
    make_site();
    rota_http_root *root = open_root((rota_http_root_options){.list = true, .index = ""});
    struct talk *t = ask_for(root, "GET", "/", "");
    check_has(t, "Content-Type: text/html; charset=utf-8\r\n");
    check_has(t, "<a href=\"./docs/\">docs/</a>");
    check_has(t, "<a href=\"./a.txt\">a.txt</a><td>10 B<td>2001-09-09 01:46");
    check_has(t, "<a href=\"./a%20b%26%3Cc%3E.html\">a b&amp;&lt;c&gt;.html</a>");
    CHECK(!strstr(t->reply, "hidden"));
    t = ask_for(root, "GET", "/docs/", "");
    check_has(t, "<a href=\"../\">");
    check_has(t, "index.html");
    rota_http_root_free(root);
}

/* ---- Compression */

static void check_decoded(const char *reply, enum rota__coding coding, const char *expected,
                          size_t len)
{
    struct rota__codings codings = {{coding}, 1};
    struct rota__decoder *decoder;
    CHECK_OK(rota__decoder_new(&codings, NULL, &decoder));
    const char *body = strstr(reply, "\r\n\r\n") + 4;
    rota_str in = {body, (size_t)atoi(strstr(reply, "Content-Length: ") + 16)};
    char *decoded = calloc(1, len + 1);
    size_t got = 0;
    ssize_t n;
    while (got <= len && (n = rota__decoder_read(decoder, &in, decoded + got, len + 1 - got)) > 0)
        got += (size_t)n;
    CHECK_INT(got, ==, len);
    CHECK_MEM(decoded, expected, len);
    CHECK_OK(rota__decoder_finish(decoder));
    rota__decoder_free(decoder);
    free(decoded);
}

static int reply_long(rota_http_request *r, void *arg)
{
    rota_str *body = arg;
    rota_http_add_header(r, "ETag", "\"x\"");
    if (rota_str_equal(rota_http_request_path(r), "/"))
        return rota_http_reply(r, 200, "text/html", body->ptr, body->len);
    int err = rota_http_start(r, 200, "text/html", body->len);
    if (rota_str_equal(rota_http_request_method(r), "HEAD"))
        return err;
    for (size_t at = 0; err == 0 && at < body->len; at += 1000)
        err = rota_http_write(r, body->ptr + at, 1000);
    return err;
}

TEST(what_is_worth_it_is_compressed_for_who_asks)
{
    static struct talk t;
    char bytes[4000];
    memset(bytes, 'a', sizeof bytes);
    rota_str body = {bytes, sizeof bytes};
    t = (struct talk){.handler = reply_long, .arg = &body, .options = {.compress = true}};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    talk(&t);
    check_has(&t, "Content-Encoding: gzip\r\n");
    check_has(&t, "Vary: Accept-Encoding\r\n");
    check_has(&t, "ETag: W/\"x\"\r\n");
    check_decoded(t.reply, ROTA__CODING_GZIP, bytes, sizeof bytes);
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br\r\n\r\n");
    talk(&t);
    check_has(&t, "Content-Encoding: br\r\n");
    check_decoded(t.reply, ROTA__CODING_BR, bytes, sizeof bytes);
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t);
    check_has(&t, "Vary: Accept-Encoding\r\n");
    check_has(&t, "Content-Length: 4000\r\n");
    CHECK(!strstr(t.reply, "Content-Encoding"));
    t.request = text("HEAD / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    talk(&t);
    check_has(&t, "Content-Encoding: gzip\r\n");
    CHECK(!strstr(t.reply, "Content-Length"));
    t.request = text("HEAD /pieces HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
                     "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    talk(&t); /* HEAD is whole without what was announced, and the connection goes on */
    check_has(&t, "Content-Encoding: gzip\r\n");
    check_has(&t, "Content-Length: 4000\r\n");
    t.request = text("GET /pieces HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    talk(&t);
    check_has(&t, "Transfer-Encoding: chunked\r\n");
    CHECK_STR(t.reply + t.len - 7, "\r\n0\r\n\r\n");
    body.len = 10; /* not worth it */
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    talk(&t);
    check_has(&t, "Content-Length: 10\r\n");
}

static int announce_wrongly(rota_http_request *r, void *arg)
{
    static const char bytes[4000];
    int *result = arg;
    int err = rota_http_start(r, 200, "text/html", 2000);
    CHECK_FAILS(*result = rota_http_write(r, bytes, 2001), -EMSGSIZE,
                "write reply: more than the announced length");
    return err < 0 ? err : rota_http_write(r, bytes, 1999);
}

TEST(compressed_bodies_are_as_long_as_announced)
{
    static struct talk t;
    int result = 0;
    t = (struct talk){.handler = announce_wrongly, .arg = &result, .options = {.compress = true}};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    talk(&t);
    CHECK_INT(result, ==, -EMSGSIZE);
    CHECK(!strstr(t.reply, "\r\n0\r\n\r\n")); /* cut off */
}

TEST(files_may_lie_there_compressed)
{
    make_site();
    put_file("root/a.txt.gz", "zipped", 6);
    put_directory("root/none.gz");
    rota_http_root *root = open_root((rota_http_root_options){.precompressed = true});
    struct talk *t = ask_for(root, "GET", "/a.txt", "Accept-Encoding: br, gzip\r\n");
    check_has(t, "Content-Type: text/plain; charset=utf-8\r\n");
    check_has(t, "Content-Encoding: gzip\r\n");
    check_has(t, "Vary: Accept-Encoding\r\n");
    check_has(t, "\r\n\r\nzipped");
    t = ask_for(root, "GET", "/a.txt", "");
    check_has(t, "Vary: Accept-Encoding\r\n");
    check_has(t, "\r\n\r\n0123456789");
    check_has(ask_for(root, "GET", "/none", "Accept-Encoding: gzip\r\n"), "Content-Length: 0\r\n");
    rota_http_root_free(root);
}

/* ---- Events */

static int tell_events(rota_http_request *r, void *arg)
{
    int *bad = arg;
    int err = rota_http_start_events(r);
    rota_http_event one = {.type = text("news"), .data = text("a\nb"), .id = text("1")};
    rota_http_event two = {.data = text("c"), .retry = 3 * ROTA_SECOND};
    rota_http_event broken = {.type = text("a\nb"), .data = text("c")};
    if (err == 0)
        err = rota_http_send_event(r, &one);
    if (err == 0)
        err = rota_sleep(ROTA_SECOND);
    CHECK_FAILS(*bad = rota_http_send_event(r, &broken), -EINVAL, "send event: a line end in the");
    return err < 0 ? err : rota_http_send_event(r, &two);
}

TEST(events_are_sent_at_once)
{
    static struct talk t;
    int bad = 0;
    t = (struct talk){.handler = tell_events, .arg = &bad, .stays = true};
    t.request = text("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    talk(&t);
    CHECK_INT(bad, ==, -EINVAL);
    check_has(&t, "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n");
    check_has(&t, "event: news\n");
    check_has(&t, "data: a\ndata: b\n");
    check_has(&t, "retry: 3000\n");
    CHECK_INT(t.first, <, ROTA_SECOND);
    CHECK_INT(t.took / ROTA_SECOND, ==, 1);
}

/* ---- Listening */

struct site {
    rota_http_handler *handler;
    void *arg;
    rota_http_serve_options options;
    rota_listener *listeners[2];
    size_t count;
    int result;
    rota_task *task;
};

static int site_run(void *arg)
{
    struct site *site = arg;
    return site->result = rota_http_serve(site->listeners, site->count, site->handler, site->arg,
                                          &site->options);
}

static int site_begin(struct site *site)
{
    site->count = site->count ? site->count : 1;
    int err = 0;
    for (size_t i = 0; err == 0 && i < site->count; i++)
        err = rota_tcp_listen("127.0.0.1", 0, NULL, &site->listeners[i]);
    return err < 0 ? err : rota_spawn(site_run, site, &site->task);
}

static void site_end(struct site *site)
{
    rota_task_free(site->task);
    for (size_t i = 0; i < site->count; i++)
        rota_listener_free(site->listeners[i]);
}

static int get(rota_stream *s, const char *path, char ret_reply[1000])
{
    char request[100];
    int len = sprintf(request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    int err = rota_stream_write(s, request, (size_t)len);
    rota_str head;
    if (err == 0)
        err = rota_stream_read_until(s, text("\r\n\r\n"), 0, &head);
    if (err < 0)
        return err;
    const char *length = memmem(head.ptr, head.len, "Content-Length: ", 16);
    size_t n = length ? (size_t)atoi(length + 16) : 0;
    ret_reply[n] = '\0';
    return n ? rota_stream_read_exact(s, ret_reply, n) : 0;
}

static int two_ports_main(void *arg)
{
    struct site *site = arg;
    char reply[1000] = "";
    int err = site_begin(site);
    for (size_t i = 0; err == 0 && i < 2; i++) {
        ROTA_AUTO(rota_stream) s = NULL;
        err = rota_tcp_connect("127.0.0.1", rota_listener_port(site->listeners[i]), NULL, &s);
        for (int n = 0; err == 0 && n < 3; n++) {
            err = get(s, "/x", reply);
            if (err == 0)
                CHECK_STR(reply, "GET /x\n");
        }
    }
    site_end(site);
    return err;
}

TEST_WITH(several_ports_are_served, .both_backends = true)
{
    struct site site = {.handler = reply_to, .count = 2};
    CHECK_OK(rota_run(two_ports_main, &site));
    CHECK_INT(site.result, ==, -ECANCELED);
}

static int answer_slowly(rota_http_request *r, void *arg)
{
    int err = rota_sleep(10 * ROTA_SECOND);
    return err < 0 ? err : reply_to(r, arg);
}

struct slow_get {
    rota_listener *listener;
    char reply[1000];
    rota_time took;
};

static int get_slowly(void *arg)
{
    struct slow_get *get_ = arg;
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_tcp_connect("127.0.0.1", rota_listener_port(get_->listener), NULL, &s);
    if (err == 0)
        err = get(s, "/x", get_->reply);
    get_->took = rota_now();
    return err;
}

/* Three clients of two ports, and two connections, which are busy: the third one waits for the
 * first to leave. */
static int shared_main(void *arg)
{
    struct site *site = arg;
    struct slow_get gets[3] = {0};
    int err = site_begin(site);
    rota_time began = rota_now();
    if (err == 0) {
        ROTA_GROUP(g);
        for (size_t i = 0; i < COUNT(gets); i++) {
            gets[i].listener = site->listeners[i % 2];
            rota_group_spawn(&g, get_slowly, &gets[i]);
        }
        err = rota_group_wait(&g);
    }
    size_t late = 0;
    for (size_t i = 0; err == 0 && i < COUNT(gets); i++)
        late += gets[i].took - began >= 20 * ROTA_SECOND;
    if (err == 0)
        CHECK_INT(late, ==, 1);
    site_end(site);
    return err;
}

TEST_WITH(connections_of_all_ports_are_counted_together, .both_backends = true)
{
    struct site site = {.handler = answer_slowly, .count = 2, .options.connections = 2};
    CHECK_OK(run_virtual(shared_main, &site));
}

/* ---- A client that is gone is nothing to tell of */

struct reset {
    struct site site;
    rota_event begun, ended;
    rota_http_access access;
    int told;
};

static int refuse_body(rota_http_request *r, void *arg)
{
    struct reset *reset = arg;
    rota_str body;
    rota_event_set(&reset->begun);
    int err = rota_http_request_body(r, 0, &body);
    return err < 0 ? -ECANCELED : 0; /* as one does whose own group was cancelled by it */
}

static void note_log(void *arg, rota_log_level level, __attribute__((unused)) const char *message)
{
    struct reset *reset = arg;
    reset->told += level >= ROTA_LOG_WARNING;
}

static void note_end(void *arg, const rota_http_access *access)
{
    struct reset *reset = arg;
    reset->access = *access;
    rota_event_set(&reset->ended);
}

static int reset_in_body(struct reset *reset)
{
    static const char half[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct linger none = {.l_onoff = 1};
    to.sin_port = htons((uint16_t)rota_listener_port(reset->site.listeners[0]));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(connect(fd, (struct sockaddr *)&to, sizeof to));
    CHECK_OK(send(fd, half, sizeof half - 1, MSG_NOSIGNAL));
    int err = rota_event_wait(&reset->begun);
    CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none));
    close(fd);
    return err < 0 ? err : rota_event_wait(&reset->ended);
}

static int reset_main(void *arg)
{
    struct reset *reset = arg;
    int err = site_begin(&reset->site);
    if (err == 0)
        err = reset_in_body(reset);
    site_end(&reset->site);
    return err;
}

TEST_WITH(a_client_that_resets_its_connection_in_a_body_is_not_told_of, .both_backends = true,
          .without_faults = true)
{
    rota_http_counters counters = {0};
    struct reset reset = {.begun = ROTA_EVENT_INIT, .ended = ROTA_EVENT_INIT};
    reset.site.handler = refuse_body;
    reset.site.arg = &reset;
    reset.site.options =
        (rota_http_serve_options){.counters = &counters, .access = note_end, .access_arg = &reset};
    rota_log_set(note_log, &reset);
    CHECK_OK(rota_run(reset_main, &reset));
    rota_log_set(NULL, NULL);
    CHECK_INT(counters.status[0], ==, 1);
    CHECK_INT(reset.access.status, ==, 0);
    CHECK_INT(reset.told, ==, 0);
}

struct stop {
    struct site site;
    rota_http_counters counters;
    rota_time nap;
    char reply[1000];
    int idle_end, asked;
    rota_time began, ended;
};

static int nap(rota_http_request *r, void *arg)
{
    struct stop *stop = arg;
    int err = rota_sleep(stop->nap);
    return err < 0 ? err : reply_to(r, NULL);
}

static int ask(void *arg)
{
    struct stop *stop = arg;
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_tcp_connect("127.0.0.1", rota_listener_port(stop->site.listeners[0]), NULL, &s);
    if (err == 0)
        err = get(s, "/x", stop->reply);
    return stop->asked = err;
}

/* One connection idles and one waits for its reply when the server is stopped. */
static int stop_main(void *arg)
{
    struct stop *stop = arg;
    char byte;
    ROTA_AUTO(rota_stream) idle = NULL;
    int err = site_begin(&stop->site);
    if (err == 0)
        err =
            rota_tcp_connect("127.0.0.1", rota_listener_port(stop->site.listeners[0]), NULL, &idle);
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        if (err == 0)
            rota_group_spawn(&g, ask, stop);
        for (int i = 0; i < 100 && (stop->counters.running == 0 || stop->counters.idle == 0); i++)
            ROTA_IGNORE(rota_sleep(10 * ROTA_MILLISECOND));
        stop->began = rota_now();
        site_end(&stop->site);
        stop->ended = rota_now();
        stop->idle_end = idle ? (int)rota_stream_read(idle, &byte, 1) : 0;
        ROTA_IGNORE(rota_group_wait(&g));
    }
    return err;
}

static void stop_with(struct stop *stop)
{
    rota_loop_options options = {.virtual_clock = true};
    stop->site.handler = nap;
    stop->site.arg = stop;
    stop->site.options.counters = &stop->counters;
    CHECK_OK(rota_run_with(stop_main, stop, &options));
    CHECK_INT(stop->idle_end, ==, 0);
}

TEST_WITH(a_graceful_stop_lets_requests_finish, .both_backends = true)
{
    static struct stop stop = {.nap = 3 * ROTA_SECOND};
    stop.site.options.grace = 10 * ROTA_SECOND;
    stop_with(&stop);
    CHECK_INT(stop.asked, ==, 0);
    CHECK_STR(stop.reply, "GET /x\n");
    CHECK_INT((stop.ended - stop.began) / ROTA_SECOND, <=, 3);
}

TEST_WITH(grace_has_an_end, .both_backends = true)
{
    static struct stop stop = {.nap = ROTA_MINUTE};
    stop.site.options.grace = 10 * ROTA_SECOND;
    stop_with(&stop);
    CHECK_INT(stop.asked, <, 0);
    CHECK_INT((stop.ended - stop.began) / ROTA_SECOND, ==, 10);
}

static int hang_up_main(void *arg)
{
    struct stop *stop = arg;
    int err = site_begin(&stop->site);
    rota_stream *s = NULL;
    if (err == 0)
        err = rota_tcp_connect("127.0.0.1", rota_listener_port(stop->site.listeners[0]), NULL, &s);
    if (err == 0)
        err = rota_stream_write(s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
    for (int i = 0; i < 100 && stop->counters.running == 0; i++)
        ROTA_IGNORE(rota_sleep(10 * ROTA_MILLISECOND));
    rota_stream_free(s);
    stop->began = rota_now();
    for (int i = 0; i < 1000 && stop->counters.running > 0; i++)
        ROTA_IGNORE(rota_sleep(10 * ROTA_MILLISECOND));
    stop->ended = rota_now();
    site_end(&stop->site);
    return err;
}

TEST_WITH(a_socket_that_is_closed_cancels_the_handler, .both_backends = true)
{
    static struct stop stop = {.nap = ROTA_MINUTE};
    rota_loop_options options = {.virtual_clock = true};
    stop.site.handler = nap;
    stop.site.arg = &stop;
    stop.site.options.counters = &stop.counters;
    CHECK_OK(rota_run_with(hang_up_main, &stop, &options));
    CHECK_INT(stop.ended - stop.began, <, ROTA_SECOND);
}

struct download {
    struct site site;
    size_t size;
    bool is_right;
};

static int download_file(struct download *d)
{
    char path[300];
    rota_str head;
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_tcp_connect("127.0.0.1", rota_listener_port(d->site.listeners[0]), NULL, &s);
    int len = sprintf(path, "GET /%zu HTTP/1.1\r\nHost: a\r\n\r\n", d->size);
    if (err == 0)
        err = rota_stream_write(s, path, (size_t)len);
    if (err == 0)
        err = rota_stream_read_until(s, text("\r\n\r\n"), 0, &head);
    if (err == 0 && memcmp(head.ptr, "HTTP/1.1 200", 12) != 0)
        err = -EIO; /* as it has to be where memory fails */
    char *body = malloc(d->size + 1);
    if (err == 0)
        err = rota_stream_read_exact(s, body, d->size);
    d->is_right = err == 0;
    for (size_t i = 0; err == 0 && i < d->size; i++)
        d->is_right &= body[i] == (char)('a' + i % 23);
    free(body);
    return err;
}

static int download_main(void *arg)
{
    struct download *d = arg;
    int err = site_begin(&d->site);
    if (err == 0)
        err = download_file(d);
    site_end(&d->site);
    return err;
}

TEST_WITH(files_of_any_size_arrive_whole, .both_backends = true)
{
    static const size_t sizes[] = {0, 1, 4096, 16384, 16385, 131072, 131073, 3000000};
    char *bytes = malloc(3000000), name[50];
    for (size_t i = 0; i < 3000000; i++)
        bytes[i] = (char)('a' + i % 23);
    put_directory("root");
    for (size_t i = 0; i < COUNT(sizes); i++) {
        sprintf(name, "root/%zu", sizes[i]);
        put_file(name, bytes, sizes[i]);
        struct download d = {.size = sizes[i]};
        rota_http_root *root = open_root((rota_http_root_options){0});
        d.site.handler = from_root;
        d.site.arg = root;
        CHECK_OK(rota_run(download_main, &d));
        CHECK(d.is_right);
        rota_http_root_free(root);
    }
    free(bytes);
}
