/* The server over HTTP/2: a client made of the protocol's engine, over a pair in memory. */
#include "http/server_h2.h"

#include "fails.h"
#include "harness.h"
#include "http_talk.h"
#include "relay.h"

#include <rota.h>
#include <rota/http_server.h>

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { STREAMS = 128 };

static rota_str text(const char *s)
{
    return (rota_str){s, strlen(s)};
}

/* ---- A client */

struct ask {
    const char *method, *path;
    const char *body; /* NULL: none */
    const char *trailer;
    size_t length; /* of a body of 'x's, where there is no text */
    bool endless;  /* the body does not end */
    bool expect;   /* waits to be asked for it */

    struct rota__h2_stream s;
    int status, interim;
    char fields[600], reply[1000], trailers[100];
    size_t got, sent;
    bool ended, was_reset, may_send;
    uint32_t code;
};

struct talk {
    rota_http_handler *handler;
    void *arg;
    rota_http_serve_options options;
    struct ask *asks;
    size_t count;
    size_t capacity;
    rota_time leaves; /* closes after so long */
    size_t reset_at;  /* resets each stream after the head, if not 0 */
    size_t window;    /* bytes of replies that it takes, if not 0 */
    rota_str instead; /* bytes to send instead of requests */

    rota_stream *client, *server;
    struct rota__h2 h2;
    size_t most; /* bytes of bodies on their way, at any time */
    int served, broke;
    bool went_away;
    rota_time took;
};

static void note(char *to, size_t size, const struct rota__h2_head *head)
{
    size_t len = strlen(to);
    for (size_t i = 0; i < head->count; i++) {
        if (!rota_str_equal(head->fields[i].name, "date"))
            len += (size_t)snprintf(to + len, size - len, "%.*s=%.*s ",
                                    (int)head->fields[i].name.len, head->fields[i].name.ptr,
                                    (int)head->fields[i].value.len, head->fields[i].value.ptr);
    }
}

static struct ask *ask_of(const struct rota__h2_item *item)
{
    return item->stream ? (struct ask *)((char *)item->stream - offsetof(struct ask, s)) : NULL;
}

static void add_data(struct talk *t, struct ask *a, rota_str data)
{
    size_t room =
        sizeof a->reply - 1 - (a->got < sizeof a->reply - 1 ? a->got : sizeof a->reply - 1);
    memcpy(a->reply + (a->got < sizeof a->reply - 1 ? a->got : 0), data.ptr,
           data.len < room ? data.len : room);
    a->got += data.len;
    if (!t->window || a->got < t->window)
        rota__h2_consumed(&t->h2, &a->s, data.len);
}

static void act(struct talk *t, int event, const struct rota__h2_item *item)
{
    struct ask *a = ask_of(item);
    switch (event) {
    case ROTA__H2_HEAD:
        a->status = item->head.status;
        note(a->fields, sizeof a->fields, &item->head);
        a->ended |= item->head.end;
        break;
    case ROTA__H2_INTERIM:
        a->interim = item->head.status;
        a->may_send = true;
        break;
    case ROTA__H2_DATA:
        add_data(t, a, item->data);
        break;
    case ROTA__H2_TRAILERS:
        note(a->trailers, sizeof a->trailers, &item->head);
        break;
    case ROTA__H2_END:
        a->ended = true;
        break;
    case ROTA__H2_RESET:
        a->was_reset = true;
        a->code = item->code;
        break;
    case ROTA__H2_GOAWAY:
        t->went_away = true;
        break;
    default:
        break;
    }
}

static bool is_over(const struct talk *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct ask *a = &t->asks[i];
        if (!a->was_reset && (!a->ended || !a->s.write_ended))
            return false;
    }
    return !t->instead.len;
}

static void begin(struct talk *t, struct ask *a)
{
    rota_http_field expect = {text("expect"), text("100-continue")};
    bool has_body = a->body || a->length || a->endless;
    struct rota__h2_head head = {.method = text(a->method ? a->method : "GET"),
                                 .scheme = text("http"),
                                 .authority = text("host"),
                                 .target = text(a->path),
                                 .fields = &expect,
                                 .count = a->expect,
                                 .end = !has_body && !a->trailer};
    a->may_send = !a->expect;
    if (rota__h2_request(&t->h2, &a->s, &head) < 0)
        a->was_reset = a->ended = true;
    if (t->reset_at)
        rota__h2_drop(&t->h2, &a->s, ROTA__H2_CANCEL);
    if (t->reset_at)
        a->was_reset = true;
}

/* Sends what the windows allow. */
static void send_body(struct talk *t, struct ask *a)
{
    static char xs[16384 + 251]; /* bytes that tell where they belong */
    for (size_t i = 0; i < sizeof xs; i++)
        xs[i] = (char)(i % 251);
    size_t all = a->body ? strlen(a->body) : a->length;
    ssize_t n = 1;
    while (n >= 0 && a->may_send && a->s.is_open && !a->s.write_ended &&
           (a->sent < all || !a->endless)) {
        size_t left = all - a->sent, len = left < 16384 ? left : 16384;
        bool last = len == left && !a->endless;
        if (len == 0 && a->trailer) {
            rota_http_field trailer = {text("sum"), text(a->trailer)};
            n = rota__h2_trailers(&t->h2, &a->s, &trailer, 1);
            continue;
        }
        n = rota__h2_data(&t->h2, &a->s, len, last && !a->trailer);
        if (n > 0)
            rota__out_add(&t->h2.out, a->body ? a->body + a->sent : xs + a->sent % 251, (size_t)n);
        a->sent += n > 0 ? (size_t)n : 0;
        if (a->sent > a->got && t->most < a->sent - a->got)
            t->most = a->sent - a->got;
    }
}

static int flush(struct talk *t)
{
    for (size_t i = 0; i < t->count; i++)
        send_body(t, &t->asks[i]);
    struct rota__out out = t->h2.out;
    t->h2.out = (struct rota__out){0};
    int err = out.len ? rota_stream_write(t->client, out.ptr, out.len) : 0;
    rota__out_fini(&out);
    return err;
}

static int step(struct talk *t)
{
    char buf[4096];
    ssize_t n = rota_stream_read(t->client, buf, sizeof buf);
    rota_str bytes = {buf, n > 0 ? (size_t)n : 0};
    int event = n > 0;
    while (event > 0) {
        struct rota__h2_item item;
        size_t used;
        event = rota__h2_next(&t->h2, rota_now(), bytes, &used, &item);
        if (event > 0)
            act(t, event, &item);
        bytes = (rota_str){bytes.ptr + used, bytes.len - used};
    }
    if (event < 0)
        t->broke = event;
    return n <= 0 ? (n < 0 ? (int)n : ROTA_EOF) : event;
}

static int client_run(void *arg)
{
    struct talk *t = arg;
    int err = rota__h2_init(&t->h2, false, NULL);
    if (err == 0 && t->instead.len)
        rota__out_add_str(&t->h2.out, t->instead);
    for (size_t i = 0; err == 0 && i < t->count; i++)
        begin(t, &t->asks[i]);
    rota_time most = t->leaves ? t->leaves : ROTA_NEVER;
    ROTA_TIMEOUT (most) {
        while (err == 0 && !is_over(t)) {
            err = flush(t);
            if (err == 0)
                err = step(t);
        }
    }
    flush(t);
    for (size_t i = 0; i < t->count; i++)
        rota__h2_drop(&t->h2, &t->asks[i].s, ROTA__H2_NO_ERROR);
    rota__h2_fini(&t->h2);
    rota_stream_close(t->client);
    return 0;
}

static int server_run(void *arg)
{
    struct talk *t = arg;
    t->served = rota_http_serve_stream(t->server, t->handler, t->arg, &t->options);
    t->took = rota_now();
    rota_stream_close(t->server);
    return 0;
}

static int talk_run(void *arg)
{
    struct talk *t = arg;
    rota_fn *const tasks[] = {server_run, client_run};
    return talk_over_pair(t->capacity, &t->client, &t->server, tasks, COUNT(tasks), t);
}

static void talk(struct talk *t)
{
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(talk_run, t, &options));
}

/* ---- Handlers */

static int echo(rota_http_request *r, void *arg)
{
    rota_str body;
    int err = rota_http_request_body(r, 0, &body);
    if (err < 0)
        return err;
    rota_str path = rota_http_request_path(r), sum = rota_http_request_trailer(r, "Sum"),
             host = rota_http_request_authority(r), version = rota_http_request_version(r);
    char *reply = rota_http_alloc(r, body.len + 500);
    if (!reply)
        return -ENOMEM;
    int len =
        sprintf(reply, "%.*s %.*s %.*s [%.*s] %.*s", (int)version.len, version.ptr, (int)path.len,
                path.ptr, (int)host.len, host.ptr, body.len < 100 ? (int)body.len : 0, body.ptr,
                (int)sum.len, sum.len ? sum.ptr : "");
    return rota_http_reply(r, 200, "text/plain", reply, (size_t)len);
}

TEST(requests_are_replied_to)
{
    struct ask asks[] = {{.path = "/a?b"},
                         {.path = "/b", .method = "POST", .body = "hello"},
                         {.path = "/c", .method = "POST", .body = "hello", .trailer = "5"},
                         {.path = "/d", .method = "HEAD"}};
    static const size_t capacities[] = {0, 1, 7};
    for (size_t i = 0; i < COUNT(capacities); i++) {
        struct ask copy[COUNT(asks)];
        memcpy(copy, asks, sizeof asks);
        struct talk t = {
            .handler = echo, .asks = copy, .count = COUNT(asks), .capacity = capacities[i]};
        talk(&t);
        CHECK_STR(copy[0].reply, "HTTP/2 /a host [] ");
        CHECK_STR(copy[0].fields, "content-length=18 content-type=text/plain ");
        CHECK_STR(copy[1].reply, "HTTP/2 /b host [hello] ");
        CHECK_STR(copy[2].reply, "HTTP/2 /c host [hello] 5");
        CHECK_STR(copy[3].fields, "content-length=18 content-type=text/plain ");
        CHECK_STR(copy[3].reply, "");
        CHECK_INT(copy[3].status, ==, 200);
    }
}

static int in_pieces(rota_http_request *r, void *arg)
{
    rota_http_add_header(r, "X-Name", "value");
    int err = rota_http_start(r, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    if (err == 0)
        err = rota_http_write(r, "abc", 3);
    if (err == 0)
        err = rota_sleep(ROTA_SECOND);
    if (err == 0)
        err = rota_http_write(r, "def", 3);
    rota_http_add_trailer(r, "Sum", "6");
    return err;
}

TEST(a_body_may_come_in_pieces_with_trailers)
{
    struct ask a = {.path = "/"};
    struct talk t = {.handler = in_pieces, .asks = &a, .count = 1};
    talk(&t);
    CHECK_STR(a.fields, "x-name=value ");
    CHECK_STR(a.reply, "abcdef");
    CHECK_STR(a.trailers, "sum=6 ");
}

static int much(rota_http_request *r, void *arg)
{
    size_t *len = arg;
    char *body = malloc(*len);
    memset(body, 'y', *len);
    int err = rota_http_reply(r, 200, NULL, body, *len);
    free(body);
    return err;
}

TEST(long_bodies_wait_for_the_windows)
{
    size_t len = 3000000;
    struct ask asks[3] = {{.path = "/1"}, {.path = "/2"}, {.path = "/3"}};
    struct talk t = {.handler = much, .arg = &len, .asks = asks, .count = 3};
    talk(&t);
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(asks[i].got, ==, len);
}

TEST(a_client_that_opens_no_window_is_given_up)
{
    size_t len = 3000000;
    struct ask asks[2] = {{.path = "/1"}, {.path = "/2"}};
    struct talk t = {.handler = much, .arg = &len, .asks = asks, .count = 2, .window = 1};
    talk(&t);
    CHECK(asks[0].was_reset && asks[1].was_reset);
    CHECK_INT(t.took, >=, 30 * ROTA_SECOND);
}

/* A client that opens a window by a byte again and again, while another task reads what comes. */
struct drip {
    rota_str window; /* the frame that does it */
    uint32_t begin;  /* of the stream's windows */
    rota_stream *client, *server;
    rota_time took;
};

static int drip_write(void *arg)
{
    struct drip *d = arg;
    struct rota__h2 h2;
    struct rota__h2_stream streams[9] = {0};
    struct rota__h2_limits limits = {.stream_window = d->begin};
    struct rota__h2_head head = {.method = text("GET"),
                                 .scheme = text("http"),
                                 .authority = text("host"),
                                 .target = text("/"),
                                 .end = true};
    int err = rota__h2_init(&h2, false, &limits);
    if (err < 0)
        return err;
    for (size_t i = 0; err == 0 && i < COUNT(streams); i++)
        err = rota__h2_request(&h2, &streams[i], &head);
    if (err == 0)
        err = rota_stream_write(d->client, h2.out.ptr, h2.out.len);
    for (size_t i = 0; i < COUNT(streams); i++)
        rota__h2_drop(&h2, &streams[i], ROTA__H2_NO_ERROR);
    rota__h2_fini(&h2);
    while (err == 0) {
        err = rota_sleep(ROTA_SECOND);
        if (err == 0)
            err = rota_stream_write(d->client, d->window.ptr, d->window.len);
    }
    rota_stream_close(d->client);
    return err;
}

static int drip_read(void *arg)
{
    struct drip *d = arg;
    char buf[4096];
    while (rota_stream_read(d->client, buf, sizeof buf) > 0)
        ;
    return 0;
}

static int drip_run(void *arg)
{
    struct drip *d = arg;
    size_t len = 3000000;
    rota_http_serve_options options = {.idle = ROTA_SECOND};
    int err = rota_stream_pair(0, &d->client, &d->server);
    if (err < 0)
        return err;
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        rota_group_spawn(&g, drip_write, d);
        rota_group_spawn(&g, drip_read, d);
        err = rota_http_serve_stream(d->server, much, &len, &options);
        d->took = rota_now();
        rota_stream_close(d->server);
    }
    rota_stream_free(d->client);
    rota_stream_free(d->server);
    return err;
}

TEST(a_client_that_opens_windows_byte_by_byte_is_given_up)
{
    struct drip drips[] = {{.window = {"\0\0\4\x08\0\0\0\0\1\0\0\0\1", 13}, .begin = 1},
                           {.window = {"\0\0\4\x08\0\0\0\0\0\0\0\0\1", 13}}};
    for (size_t i = 0; i < COUNT(drips); i++) {
        rota_loop_options options = {.virtual_clock = true};
        CHECK_OK(rota_run_with(drip_run, &drips[i], &options));
        CHECK_INT(drips[i].took / ROTA_SECOND, >=, 30);
        CHECK_INT(drips[i].took / ROTA_SECOND, <=, 70);
    }
}

TEST(long_bodies_are_read_by_their_handlers_only)
{
    struct ask asks[2] = {{.path = "/1", .method = "POST", .length = 3000000}, {.path = "/2"}};
    struct talk t = {.handler = echo, .asks = asks, .count = 2};
    talk(&t);
    CHECK_INT(asks[0].status, ==, 200);
    CHECK_INT(asks[1].status, ==, 200);
    asks[0] = (struct ask){.path = "/1", .method = "POST", .length = 3000000};
    asks[1] = (struct ask){.path = "/2"};
    t.options.body = 1000000;
    talk(&t);
    CHECK_INT(asks[0].status, ==, 413);
    CHECK_INT(asks[1].status, ==, 200);
}

/* It is always a little behind. */
static int read_slowly(rota_http_request *r, void *arg)
{
    size_t *most = arg;
    const struct rota__h2_exchange *x =
        (struct rota__h2_exchange *)((char *)r - offsetof(struct rota__h2_exchange, request));
    char buf[1000];
    ssize_t n = 1;
    int err = rota_sleep(ROTA_SECOND);
    for (size_t came = 0; err == 0 && n > 0; came += n > 0 ? (size_t)n : 0) {
        n = rota_http_request_read(r, buf, sizeof buf);
        for (ssize_t i = 0; i < n; i++)
            CHECK_INT(buf[i], ==, (char)((came + (size_t)i) % 251));
        err = rota_yield();
        *most = *most > x->body.room ? *most : x->body.room;
    }
    return err < 0 || n < 0 ? (err < 0 ? err : (int)n) : rota_http_reply(r, 200, NULL, NULL, 0);
}

TEST(what_is_put_by_of_a_body_is_no_more_than_its_window)
{
    size_t most = 0;
    struct ask a = {.path = "/", .method = "POST", .length = 5000000};
    struct talk t = {.handler = read_slowly, .arg = &most, .asks = &a, .count = 1};
    talk(&t);
    CHECK_INT(a.status, ==, 200);
    CHECK_INT(most, <=, 1 << 20);
}

TEST(a_client_that_waits_to_be_told_is_told)
{
    struct ask a = {.path = "/", .method = "POST", .body = "x", .expect = true};
    struct talk t = {.handler = echo, .asks = &a, .count = 1};
    talk(&t);
    CHECK_INT(a.interim, ==, 100);
    CHECK_STR(a.reply, "HTTP/2 / host [x] ");
}

/* ---- Two tasks */

/* More than the client takes. */
static int write_much(void *arg)
{
    struct relay *relay = arg;
    static const char much[1000000];
    int err = rota_http_start(relay->request, 200, NULL, sizeof much);
    return relay->written = err < 0 ? err : rota_http_write(relay->request, much, sizeof much);
}

static int start_late(void *arg)
{
    struct relay *relay = arg;
    int err = rota_http_start(relay->request, 200, NULL, 3);
    if (err == 0)
        err = rota_sleep(ROTA_MINUTE);
    return relay->written = err < 0 ? err : rota_http_write(relay->request, "abc", 3);
}

static int be_refused(void *arg)
{
    struct relay *relay = arg;
    char byte;
    CHECK_FAILS(rota_http_request_read(relay->request, &byte, 1), -EBUSY,
                "read request body: another task is reading it");
    CHECK_FAILS(rota_http_write(relay->request, "abc", 3), -EBUSY,
                "reply: another task is replying");
    return 0;
}

static int three_at_once(rota_http_request *r, void *arg)
{
    struct relay *relay = arg;
    relay->request = r;
    ROTA_GROUP(g);
    rota_group_spawn(&g, read_all, relay);
    rota_group_spawn(&g, write_much, relay);
    rota_group_spawn(&g, be_refused, relay);
    return rota_group_wait(&g);
}

static int reply_much(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_all, write_much);
}

static int reply_late(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_all, start_late);
}

TEST_WITH(bodies_go_both_ways_at_once, .without_faults = true)
{
    struct relay relay = {0};
    struct ask a = {.path = "/", .method = "POST", .length = 60 << 20};
    struct talk t = {.handler = echo_both_ways, .arg = &relay, .asks = &a, .count = 1};
    t.options.body = (uint64_t)1 << 30;
    talk(&t);
    CHECK_INT(a.status, ==, 200);
    CHECK_INT(a.got, ==, a.length);
    CHECK_INT(t.most, <, 1000000);
}

TEST(short_bodies_go_both_ways_however_they_are_split)
{
    static const size_t capacities[] = {0, 1, 7};
    for (size_t i = 0; i < COUNT(capacities); i++) {
        struct relay relay = {0};
        struct ask a = {.path = "/", .method = "POST", .body = "hello", .trailer = "5"};
        a.expect = i % 2;
        struct talk t = {.handler = echo_both_ways, .arg = &relay, .asks = &a, .count = 1};
        t.capacity = capacities[i];
        talk(&t);
        CHECK_STR(a.reply, "hello");
        CHECK_INT(a.interim, ==, i % 2 ? 100 : 0);
        CHECK_INT(relay.length, ==, ROTA_HTTP_UNKNOWN_LENGTH);
    }
}

TEST(a_second_reader_and_a_second_writer_are_refused)
{
    struct relay relay = {0};
    struct ask a = {.path = "/", .method = "POST", .length = 1000000, .endless = true};
    struct talk t = {.handler = three_at_once, .arg = &relay, .asks = &a, .count = 1, .window = 1};
    t.options.body_gap = ROTA_SECOND;
    talk(&t);
    CHECK_INT(relay.read, ==, -ETIMEDOUT);
}

/* The reader waits for more of the body, and the writer for a window. */
TEST(one_that_fails_ends_the_other)
{
    struct relay relay = {0};
    struct ask a = {.path = "/", .method = "POST", .length = 100000, .endless = true};
    struct talk t = {.handler = reply_much, .arg = &relay, .asks = &a, .count = 1, .window = 1};
    t.options.body_gap = ROTA_SECOND;
    talk(&t);
    CHECK_INT(relay.read, ==, -ETIMEDOUT);
    CHECK_INT(relay.written, ==, -ECANCELED);
    CHECK(a.was_reset);
    a = (struct ask){.path = "/", .method = "POST", .length = 100000, .endless = true};
    t.options = (rota_http_serve_options){.write_stall = ROTA_SECOND};
    talk(&t);
    CHECK_INT(relay.read, ==, -ECANCELED);
    CHECK_INT(relay.written, ==, -ETIMEDOUT);
    CHECK(a.was_reset);
}

TEST(both_are_cancelled_when_the_client_leaves)
{
    struct relay relay = {0};
    struct ask a = {.path = "/", .method = "POST", .length = 100000, .endless = true};
    struct talk t = {.handler = reply_much, .arg = &relay, .asks = &a, .count = 1, .window = 1};
    t.leaves = ROTA_SECOND;
    talk(&t);
    CHECK_INT(relay.read, <, 0);
    CHECK_INT(relay.written, <, 0);
    CHECK_INT(t.took, <, 2 * ROTA_SECOND);
}

static int leave_both(rota_http_request *r, void *arg)
{
    struct relay *relay = arg;
    relay->request = r;
    rota_fn *const fns[] = {read_all, write_much};
    for (size_t i = 0; i < COUNT(fns); i++) {
        rota_task *task;
        int err = rota_spawn(fns[i], relay, &task);
        if (err < 0)
            return err;
        rota_task_detach(task);
    }
    return rota_sleep(ROTA_SECOND);
}

TEST_WITH(tasks_that_a_handler_leaves_are_ended, .without_faults = true)
{
    struct relay relay = {0};
    struct ask a = {.path = "/", .method = "POST", .length = 100000, .endless = true};
    struct talk t = {.handler = leave_both, .arg = &relay, .asks = &a, .count = 1, .window = 1};
    talk(&t);
    CHECK_INT(relay.read, ==, ROTA_EOF);
    CHECK_INT(relay.written, ==, -ECONNRESET);
    CHECK(a.was_reset);
}

TEST(what_is_too_long_is_told_where_nothing_was_said)
{
    struct relay relay = {0};
    struct ask a = {.path = "/", .method = "POST", .length = 100000};
    struct talk t = {.handler = reply_late, .arg = &relay, .asks = &a, .count = 1};
    t.options.body = 90000;
    talk(&t);
    CHECK_INT(a.status, ==, 413);
    CHECK_INT(relay.read, ==, ROTA_ELIMIT);
    CHECK_INT(relay.written, ==, -ECANCELED);
}

struct patience {
    size_t began, cancelled;
};

static int wait_long(rota_http_request *r, void *arg)
{
    struct patience *p = arg;
    p->began++;
    int err = rota_sleep(ROTA_MINUTE);
    p->cancelled += err == -ECANCELED;
    return err < 0 ? err : rota_http_reply(r, 200, NULL, "a", 1);
}

TEST(handlers_are_cancelled_when_the_client_leaves)
{
    struct ask asks[3] = {{.path = "/1"}, {.path = "/2"}, {.path = "/3"}};
    struct patience p = {0};
    struct talk t = {
        .handler = wait_long, .arg = &p, .asks = asks, .count = 3, .leaves = ROTA_SECOND};
    talk(&t);
    CHECK_INT(p.began, ==, 3);
    CHECK_INT(p.cancelled, ==, 3);
    CHECK_INT(t.took, <, 3 * ROTA_SECOND);
}

TEST(a_stream_that_is_reset_cancels_its_handler)
{
    struct ask asks[2] = {{.path = "/1"}, {.path = "/2"}};
    struct patience p = {0};
    struct talk t = {.handler = wait_long, .arg = &p, .asks = asks, .count = 2, .reset_at = 1};
    talk(&t);
    CHECK_INT(p.began, ==, p.cancelled);
    CHECK_INT(t.took, <, ROTA_SECOND);
}

TEST(more_resets_than_are_allowed_end_the_connection)
{
    struct ask asks[] = {{.path = "/"}, {.path = "/"}, {.path = "/"}, {.path = "/"}};
    struct talk t = {.handler = echo, .asks = asks, .reset_at = 1};
    t.instead = (rota_str){"\0\0\10\6\0\0\0\0\0ignored!", 17};
    t.options.resets = 3;
    t.options.idle = 7 * ROTA_SECOND;
    for (t.count = 3; t.count <= 4; t.count++) {
        talk(&t);
        CHECK(t.went_away);
        CHECK_INT(t.took / ROTA_SECOND, ==, t.count > 3 ? 0 : 7);
    }
}

static int fail(rota_http_request *r, void *arg)
{
    if (rota_str_equal(rota_http_request_path(r), "/begun")) {
        rota_http_start(r, 200, NULL, 10);
        ROTA_IGNORE(rota_http_write(r, "abc", 3));
    }
    return -EIO;
}

TEST(a_client_may_reset_200_requests_at_once)
{
    struct ask *asks = calloc(201, sizeof *asks);
    for (size_t i = 0; i < 201; i++)
        asks[i].path = "/";
    struct talk t = {.handler = echo, .asks = asks, .reset_at = 1};
    t.instead = (rota_str){"\0\0\10\6\0\0\0\0\0ignored!", 17};
    for (t.count = 200; t.count <= 201; t.count++) {
        talk(&t);
        CHECK_INT(t.took / ROTA_SECOND, ==, t.count > 200 ? 0 : 75);
    }
    free(asks);
}

/* As over HTTP/1.1. */
static int set_hop_by_hop(rota_http_request *r, void *arg)
{
    static const char *const names[] = {"Connection",       "Keep-Alive", "Transfer-Encoding",
                                        "Proxy-Connection", "TE",         "Upgrade",
                                        "Content-Length",   "Date",       "Host"};
    for (size_t i = 0; i < COUNT(names); i++) {
        CHECK_INT(rota_http_add_header(r, names[i], "trailers"), ==, -EINVAL);
        CHECK_INT(rota_http_add_trailer(r, names[i], "trailers"), ==, -EINVAL);
    }
    return rota_http_reply(r, 200, NULL, "a", 1);
}

TEST(what_is_of_the_connection_is_not_the_handlers_to_set)
{
    struct ask ask = {.path = "/"};
    struct talk t = {.handler = set_hop_by_hop, .asks = &ask, .count = 1};
    talk(&t);
    CHECK_INT(ask.status, ==, 500);
}

TEST(a_handler_that_fails_ends_its_stream_only)
{
    struct ask asks[] = {{.path = "/begun"}, {.path = "/"}, {.path = "/2"}};
    struct talk t = {.handler = fail, .asks = asks, .count = 3};
    talk(&t);
    CHECK(asks[0].was_reset);
    CHECK_INT(asks[0].code, ==, ROTA__H2_INTERNAL_ERROR);
    CHECK_STR(asks[0].reply, "abc");
    CHECK_INT(asks[1].status, ==, 500);
    CHECK_INT(asks[2].status, ==, 500);
}

TEST(a_body_that_stops_coming_is_given_up)
{
    struct ask a = {.path = "/", .method = "POST", .body = "abc", .endless = true};
    struct talk t = {.handler = echo, .asks = &a, .count = 1, .leaves = ROTA_MINUTE};
    talk(&t);
    CHECK_INT(a.status, ==, 408);
}

TEST(an_idle_connection_is_told_to_go)
{
    struct ask a = {.path = "/"};
    struct talk t = {.handler = echo, .asks = &a, .count = 1};
    t.instead =
        (rota_str){"\0\0\10\6\0\0\0\0\0ignored!", 17}; /* a ping; then it waits for the end */
    t.options.idle = 7 * ROTA_SECOND;
    talk(&t);
    CHECK_INT(a.status, ==, 200);
    CHECK(t.went_away);
    CHECK_INT(t.took / ROTA_SECOND, ==, 7);
}

TEST(broken_frames_end_the_connection)
{
    struct talk t = {.handler = echo, .instead = {"\0\0\1\0\0\0\0\0\7x", 10}};
    talk(&t);
    CHECK(t.went_away);
    CHECK_INT(t.took, <, 2 * ROTA_SECOND);
}

TEST(requests_are_counted)
{
    rota_http_counters counters = {0};
    struct ask asks[] = {{.path = "/1"}, {.path = "/2", .method = "POST", .body = "hello"}};
    struct talk t = {.handler = echo, .asks = asks, .count = 2};
    t.options.counters = &counters;
    talk(&t);
    CHECK_INT(counters.requests, ==, 2);
    CHECK_INT(counters.bytes_in, ==, 5);
    CHECK_INT(counters.status[2], ==, 2);
    CHECK_INT(counters.open + counters.idle + counters.running, ==, 0);
}
