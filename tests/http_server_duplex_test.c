/* Handlers that read the request's body in one task and reply in another. */
#include "coro/coro.h"
#include "http/h1.h"

#include "ends.h"
#include "fails.h"
#include "harness.h"
#include "relay.h"

#include <rota.h>
#include <rota/http_client.h>
#include <rota/http_server.h>

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { PIECE = 16384, REPLIES = 8 };

/* ---- A client that sends in one task and reads in another, over a connection of any kind */

/* What a body has at that place: neither pieces nor chunks begin where it does. */
static char nth(uint64_t at)
{
    return (char)('a' + at % 23);
}

struct talk {
    rota_http_handler *handler;
    void *arg;
    rota_http_serve_options options;
    bool by_tcp;
    size_t capacity;    /* of a pair: 1 splits at every byte */
    const char *head;   /* what is sent first */
    size_t body;        /* bytes that are sent behind it */
    bool chunked;       /* they are */
    const char *behind; /* and sent after that */
    bool endless;       /* it does not end */
    bool stays;         /* the client does not end its side */
    bool waits;         /* it sends the body when told to, by 100 */
    rota_time leaves;   /* it closes after so long */
    size_t enough;      /* or when it has got so much, if not 0 */
    rota_time reads;    /* it begins to read after so long */

    rota_stream *client, *server;
    struct rota__h1 parser;
    rota_http_field fields[ROTA__H1_FIELDS];
    int heads[REPLIES], closing[REPLIES]; /* statuses, and whether the connection was to end */
    size_t head_count, replies;           /* whole ones */
    uint64_t sent, got;                   /* of bodies, of replies with 200 only */
    uint64_t at;                          /* of the present one */
    uint64_t most;                        /* on its way, at any time */
    bool is_wrong;                        /* another byte came than was sent */
    rota_event told;
    int broke;
    rota_time served; /* until the server had ended */
};

static int send_piece(struct talk *t, size_t len)
{
    char piece[PIECE], before[32];
    int n = t->chunked ? sprintf(before, "%zx\r\n", len) : 0;
    for (size_t i = 0; i < len; i++)
        piece[i] = nth(t->sent + i);
    struct iovec iov[] = {{before, (size_t)n}, {piece, len}, {(void *)"\r\n", t->chunked ? 2 : 0}};
    t->sent += len;
    if (t->most < t->sent - t->got)
        t->most = t->sent - t->got;
    return rota_stream_writev(t->client, iov, 3);
}

static int client_send(void *arg)
{
    struct talk *t = arg;
    int err = rota_stream_write(t->client, t->head, strlen(t->head));
    if (err == 0 && t->waits)
        err = rota_event_wait(&t->told);
    for (size_t left = t->body, len; err == 0 && left > 0; left -= len) {
        len = left < PIECE ? left : PIECE;
        err = send_piece(t, len);
    }
    if (err == 0 && t->chunked && !t->endless)
        err = rota_stream_write(t->client, "0\r\n\r\n", 5);
    if (err == 0 && t->behind)
        err = rota_stream_write(t->client, t->behind, strlen(t->behind));
    if (err == 0 && t->leaves)
        err = rota_sleep(t->leaves);
    if (t->leaves)
        rota_stream_close(t->client);
    else if (err == 0 && !t->stays)
        err = rota_stream_shutdown(t->client);
    return err;
}

static void take(struct talk *t, int event, const struct rota__h1_item *item)
{
    switch (event) {
    case ROTA__H1_HEAD:
        CHECK_INT(t->head_count, <, REPLIES);
        t->closing[t->head_count] = !item->head.keep_alive;
        t->heads[t->head_count++] = item->head.status;
        t->at = 0;
        if (item->head.status == 100)
            rota_event_set(&t->told);
        break;
    case ROTA__H1_DATA:
        if (t->heads[t->head_count - 1] != 200)
            break;
        for (size_t i = 0; i < item->data.len; i++)
            t->is_wrong |= item->data.ptr[i] != nth(t->at + i);
        t->got += item->data.len;
        t->at += item->data.len;
        break;
    case ROTA__H1_END:
        t->replies++;
        break;
    default:
        break;
    }
}

static int client_receive(void *arg)
{
    struct talk *t = arg;
    rota_str bytes;
    ssize_t n = t->reads ? rota_sleep(t->reads) : 0;
    size_t have = 0;
    while (n >= 0) {
        n = rota_stream_peek(t->client, have + 1, &bytes);
        if (n <= (ssize_t)have)
            break;
        struct rota__h1_item item;
        size_t used;
        int event = ROTA__H1_END;
        while (event > ROTA__H1_MORE) {
            event = rota__h1_next(&t->parser, bytes, &used, &item);
            take(t, event, &item);
            rota_stream_skip(t->client, used);
            bytes = (rota_str){bytes.ptr + used, bytes.len - used};
        }
        have = bytes.len;
        if (t->enough && t->got >= t->enough)
            rota_stream_close(t->client);
        n = event < 0 ? event : n;
    }
    t->broke = n < 0 ? (int)n : rota__h1_finish(&t->parser);
    rota_event_set(&t->told); /* there is nothing more to wait for */
    return 0;
}

static int server_run(void *arg)
{
    struct talk *t = arg;
    int err = rota_http_serve_stream(t->server, t->handler, t->arg, &t->options);
    t->served = rota_now();
    rota_stream_close(t->server);
    return err;
}

static int connect_both(struct talk *t)
{
    if (!t->by_tcp)
        return rota_stream_pair(t->capacity, &t->client, &t->server);
    struct ends e = tcp();
    t->client = e.a;
    t->server = e.b;
    return 0;
}

static int talk_run(void *arg)
{
    struct talk *t = arg;
    int err = connect_both(t);
    if (err < 0)
        return err;
    rota__h1_init(&t->parser, false, NULL, t->fields);
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        if (rota_group_spawn(&g, server_run, t) < 0 || rota_group_spawn(&g, client_send, t) < 0 ||
            rota_group_spawn(&g, client_receive, t) < 0)
            rota_group_cancel(&g);
        ROTA_IGNORE(rota_group_wait(&g));
    }
    rota_stream_free(t->client);
    rota_stream_free(t->server);
    return 0;
}

static void talk(struct talk *t)
{
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(talk_run, t, &options));
    CHECK(!t->is_wrong);
}

/* The statuses that came, of interim replies, too. */
static void check_heads(const struct talk *t, const char *expected)
{
    char text[64] = "";
    for (size_t i = 0; i < t->head_count; i++)
        sprintf(text + strlen(text), "%s%d", i ? " " : "", t->heads[i]);
    CHECK_STR(text, expected);
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

/* ---- */

static void echo_of(struct talk *t, size_t len)
{
    struct relay relay = {0};
    char head[200];
    sprintf(head, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", len);
    t->head =
        t->chunked ? "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" : head;
    t->handler = echo_both_ways;
    t->arg = &relay;
    t->body = len;
    t->behind = GET;
    t->options.body = (uint64_t)1 << 30;
    talk(t);
    CHECK_INT(t->got, ==, len);
    CHECK_INT(t->replies, ==, 2); /* the connection went on */
    CHECK_INT(t->closing[0], ==, false);
    if (!t->by_tcp) /* the kernel keeps megabytes */
        CHECK_INT(t->most, <, 1000000);
}

TEST_WITH(bodies_go_both_ways_at_once, .without_faults = true)
{
    for (int chunked = 0; chunked < 2; chunked++) {
        struct talk t = {.chunked = chunked};
        echo_of(&t, 60 << 20);
    }
}

TEST_WITH(bodies_go_both_ways_at_once_over_tcp, .both_backends = true)
{
    struct talk t = {.by_tcp = true, .chunked = true};
    echo_of(&t, 3 << 20);
}

TEST(short_bodies_go_both_ways_however_they_are_split)
{
    static const size_t capacities[] = {1, 2, 7, 100};
    for (size_t i = 0; i < 2 * COUNT(capacities); i++) {
        struct talk t = {.capacity = capacities[i / 2], .chunked = i % 2};
        echo_of(&t, 300);
    }
}

static int empty(rota_http_request *r, void *arg)
{
    uint64_t *length = arg;
    *length = rota_http_request_length(r);
    return rota_http_reply(r, 200, NULL, NULL, 0);
}

TEST(a_request_tells_how_long_its_body_is)
{
    static const struct {
        const char *head;
        uint64_t length;
    } asks[] = {
        {GET, 0},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 3},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 0},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         ROTA_HTTP_UNKNOWN_LENGTH},
    };
    for (size_t i = 0; i < COUNT(asks); i++) {
        uint64_t length = 7;
        struct talk t = {.handler = empty, .arg = &length, .head = asks[i].head};
        talk(&t);
        CHECK_INT(length, ==, asks[i].length);
    }
}

/* ---- Which task may do what */

#define READING "read request body: another task is reading it"
#define REPLYING "reply: another task is replying"

static int read_again(void *arg)
{
    struct relay *relay = arg;
    char byte;
    rota_str body;
    CHECK_FAILS(rota_http_request_read(relay->request, &byte, 1), -EBUSY, READING);
    CHECK_FAILS(rota_http_request_read(relay->request, &byte, 0), -EINVAL, "length 0");
    CHECK_FAILS(rota_http_request_body(relay->request, 0, &body), -EBUSY, READING);
    return 0;
}

static int read_twice(rota_http_request *r, void *arg)
{
    int err = relay_with(arg, r, read_on, read_again);
    return err < 0 ? err : rota_http_reply(r, 200, NULL, NULL, 0);
}

TEST(a_second_reader_is_refused)
{
    struct relay relay = {.read = 1};
    struct talk t = {.handler = read_twice, .arg = &relay, .capacity = 1};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    talk(&t);
    CHECK_INT(relay.read, ==, 0);
    check_heads(&t, "200");
}

static int write_much(void *arg)
{
    struct relay *relay = arg;
    char buf[PIECE];
    for (size_t i = 0; i < sizeof buf; i++)
        buf[i] = nth(i);
    rota_http_add_header(relay->request, "X", "1");
    return relay->written = rota_http_reply(relay->request, 200, NULL, buf, sizeof buf);
}

static int hint_and_write_much(void *arg)
{
    struct relay *relay = arg;
    int err = rota_http_interim(relay->request, 103);
    return err < 0 ? err : write_much(relay);
}

static int write_again(void *arg)
{
    rota_http_request *r = ((struct relay *)arg)->request;
    CHECK_FAILS(rota_http_add_header(r, "X", "1"), -EBUSY, REPLYING);
    CHECK_FAILS(rota_http_interim(r, 103), -EBUSY, REPLYING);
    CHECK_FAILS(rota_http_start(r, 200, NULL, 5), -EBUSY, REPLYING);
    CHECK_FAILS(rota_http_reply(r, 200, NULL, "abc", 3), -EBUSY, REPLYING);
    CHECK_FAILS(rota_http_reply_status(r, 404), -EBUSY, REPLYING);
    CHECK_FAILS(rota_http_write(r, "abc", 3), -EBUSY, REPLYING);
    CHECK_FAILS(rota_http_flush(r), -EBUSY, REPLYING);
    CHECK_FAILS(rota_http_finish(r), -EBUSY, REPLYING);
    CHECK_FAILS(rota_http_add_trailer(r, "X", "1"), -EBUSY, REPLYING);
    return 0;
}

static int write_twice(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, write_much, write_again);
}

static int hint_and_write_twice(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, hint_and_write_much, write_again);
}

TEST_WITH(a_second_writer_is_refused, .without_faults = true)
{
    rota_http_handler *const handlers[] = {write_twice, hint_and_write_twice};
    for (size_t i = 0; i < COUNT(handlers); i++) {
        struct relay relay = {0};
        struct talk t = {.handler = handlers[i], .arg = &relay, .capacity = 10, .head = GET};
        talk(&t);
        check_heads(&t, i ? "103 200" : "200");
        CHECK_INT(t.got, ==, PIECE);
        CHECK_INT(t.replies, ==, 1);
    }
}

/* ---- 100 (Continue) */

#define EXPECT(length) \
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: " #length "\r\n\r\n"

/* The head is put together before the body is read, but goes out behind it. */
TEST(a_client_is_told_to_go_on_before_the_reply)
{
    static const size_t capacities[] = {0, 1, 10};
    for (size_t i = 0; i < COUNT(capacities); i++) {
        struct relay relay = {0};
        struct talk t = {.handler = echo_both_ways,
                         .arg = &relay,
                         .capacity = capacities[i],
                         .head = EXPECT(300),
                         .body = 300,
                         .waits = true,
                         .behind = GET};
        talk(&t);
        check_heads(&t, "100 200 200");
        CHECK_INT(t.got, ==, 300);
        CHECK_INT(t.replies, ==, 2);
    }
}

static int write_at_once(void *arg)
{
    struct relay *relay = arg;
    int err = rota_http_start(relay->request, 200, NULL, 3);
    for (uint64_t i = 0; err == 0 && i < 3; i++) {
        char c = nth(i);
        err = rota_http_write(relay->request, &c, 1);
    }
    return relay->written = err;
}

static int write_late(void *arg)
{
    int err = rota_sleep(ROTA_SECOND);
    return err < 0 ? err : write_at_once(arg);
}

static int reply_at_once(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_on, write_at_once);
}

static int reply_late(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_on, write_late);
}

/* The client waits to be told to go on, takes little of what it is told until `reads`, and asks
 * once more. */
static void talk_waiting(rota_http_handler *handler, size_t capacity, rota_time reads,
                         const char *heads)
{
    struct relay relay = {0};
    struct talk t = {.handler = handler,
                     .arg = &relay,
                     .capacity = capacity,
                     .reads = reads,
                     .stays = true,
                     .head = EXPECT(300),
                     .body = 300,
                     .waits = true,
                     .behind = GET};
    talk(&t);
    check_heads(&t, heads);
    CHECK_INT(t.replies, ==, 2);
    CHECK_INT(relay.read, ==, 0);
}

/* The reader waits for a client that does not take its 100 when the writer begins. */
TEST(a_reply_begins_behind_what_tells_the_client_to_go_on)
{
    rota_http_handler *const handlers[] = {reply_at_once, reply_late};
    for (size_t i = 0; i < COUNT(handlers); i++)
        talk_waiting(handlers[i], 10, 2 * ROTA_SECOND, "100 200 200");
}

static int read_later(void *arg)
{
    int err = rota_sleep(ROTA_MILLISECOND);
    return err < 0 ? err : read_on(arg);
}

static int say_first(void *arg)
{
    struct relay *relay = arg;
    int err = rota_http_start(relay->request, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    if (err == 0)
        err = rota_http_write(relay->request, "abc", 3);
    return relay->written = err;
}

static int reply_first(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_later, say_first);
}

TEST(a_client_that_has_the_reply_is_not_told_to_go_on)
{
    struct relay relay = {0};
    struct talk t = {.handler = reply_first, .arg = &relay, .head = EXPECT(300), .stays = true};
    t.options.body_gap = ROTA_SECOND;
    talk(&t);
    check_heads(&t, "200");
    CHECK(t.closing[0]);
    CHECK_INT(relay.written, ==, 0);
    CHECK_INT(relay.read, ==, -ETIMEDOUT);
}

static int hint_first(void *arg)
{
    struct relay *relay = arg;
    rota_http_add_header(relay->request, "Link", "</a.css>");
    int err = rota_http_interim(relay->request, 103);
    return err < 0 ? err : write_late(relay);
}

static int hint_and_reply(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_on, hint_first);
}

/* Whichever of the two comes first, neither goes into the middle of the other. */
static int reply_and_hint(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, hint_first, read_on);
}

TEST(interim_replies_of_both_tasks_come_one_after_another)
{
    rota_http_handler *const handlers[] = {hint_and_reply, reply_and_hint};
    for (size_t i = 0; i < COUNT(handlers); i++)
        talk_waiting(handlers[i], 5, ROTA_SECOND,
                     i ? "103 100 200 103 200" : "100 103 200 103 200");
}

static int too_large(rota_http_request *r, void *arg)
{
    char byte;
    int err = rota_http_reply_status(r, 413);
    *(ssize_t *)arg = rota_http_request_read(r, &byte, 1);
    return err;
}

TEST(who_answers_before_reading_does_not_ask_for_the_body)
{
    ssize_t read = 1;
    struct talk t = {.handler = too_large, .arg = &read, .head = EXPECT(300), .stays = true};
    t.options.body_gap = ROTA_SECOND;
    talk(&t);
    check_heads(&t, "413");
    CHECK(t.closing[0]);
    CHECK_INT(read, ==, -ETIMEDOUT);
}

/* ---- When one of the two fails */

TEST(what_breaks_the_body_off_is_told_where_nothing_was_said)
{
    struct relay relay = {0};
    struct talk t = {.handler = echo_both_ways, .arg = &relay};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    talk(&t);
    check_heads(&t, "400");
    CHECK_INT(relay.read, ==, ROTA_EPROTOCOL);
    CHECK_INT(relay.written, ==, -ECANCELED);
    t = (struct talk){.handler = echo_both_ways, .arg = &relay, .options = {.body = 4}};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n";
    talk(&t);
    check_heads(&t, "413");
    CHECK_INT(relay.read, ==, ROTA_ELIMIT);
}

/* The reply has begun, and its writer waits for a client that takes nothing. */
TEST(a_reader_that_fails_ends_the_writer)
{
    struct relay relay = {0};
    struct talk t = {.handler = echo_both_ways,
                     .arg = &relay,
                     .capacity = 1000,
                     .reads = 10 * ROTA_SECOND,
                     .chunked = true,
                     .endless = true,
                     .body = 3000,
                     .stays = true};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    t.options.body_gap = ROTA_SECOND;
    talk(&t);
    CHECK_INT(relay.read, ==, -ETIMEDOUT);
    CHECK_INT(relay.written, ==, -ECANCELED);
    check_heads(&t, "200");
    CHECK_INT(t.replies, ==, 0);
    CHECK_INT(t.broke, <, 0);
}

/* A client that sends on and on, but takes nothing, stalls as well. */
TEST(a_client_that_only_sends_is_cut_off)
{
    struct relay relay = {0};
    struct talk t = {.handler = echo_both_ways,
                     .arg = &relay,
                     .capacity = 4096,
                     .reads = 60 * ROTA_MINUTE,
                     .chunked = true,
                     .body = 1000000,
                     .stays = true};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    talk(&t);
    CHECK_INT(relay.read, ==, -ECANCELED);
    CHECK_INT(relay.written, ==, -ETIMEDOUT);
    CHECK_INT(t.served / ROTA_SECOND, >=, 30);
    CHECK_INT(t.served / ROTA_SECOND, <=, 40);
    CHECK_INT(t.most, <, 100000);
}

/* The reader waits for more, and the writer until more is taken. */
TEST(both_end_when_the_client_leaves)
{
    struct relay relay = {0};
    struct talk t = {.handler = echo_both_ways,
                     .arg = &relay,
                     .capacity = 1000,
                     .reads = ROTA_MINUTE,
                     .chunked = true,
                     .endless = true,
                     .body = 3000,
                     .leaves = ROTA_SECOND};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    talk(&t);
    CHECK_INT(relay.read, <, 0);
    CHECK_INT(relay.written, <, 0);
    CHECK_INT(t.served, <, 2 * ROTA_SECOND);
}

static int sleep_reading(void *arg)
{
    struct relay *relay = arg;
    return relay->read = rota_sleep(ROTA_MINUTE);
}

static int sleep_writing(void *arg)
{
    struct relay *relay = arg;
    return relay->written = rota_sleep(ROTA_MINUTE);
}

static int sleep_twice(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, sleep_reading, sleep_writing);
}

/* Neither is inside a call of the request. */
TEST(both_are_cancelled_when_the_client_has_left)
{
    struct relay relay = {0};
    struct talk t = {.handler = sleep_twice, .arg = &relay, .head = GET, .leaves = ROTA_SECOND};
    talk(&t);
    CHECK_INT(relay.read, ==, -ECANCELED);
    CHECK_INT(relay.written, ==, -ECANCELED);
    CHECK_INT(t.served, <, 2 * ROTA_SECOND);
}

/* ---- A handler that does not wait for its tasks */

static int leave_reader(rota_http_request *r, void *arg)
{
    struct relay *relay = arg;
    relay->request = r;
    rota_task *task;
    int err = rota_spawn(read_all, relay, &task);
    if (err < 0)
        return err;
    rota_task_detach(task);
    err = rota_yield();
    return err < 0 ? err : rota_http_reply(r, 200, NULL, "abc", 3);
}

static int leave_writer(rota_http_request *r, void *arg)
{
    struct relay *relay = arg;
    relay->request = r;
    rota_task *task;
    int err = rota_spawn(write_much, relay, &task);
    if (err < 0)
        return err;
    rota_task_detach(task);
    return rota_yield();
}

TEST_WITH(tasks_that_a_handler_leaves_are_ended, .without_faults = true)
{
    struct relay relay = {0};
    struct talk t = {.handler = leave_reader, .arg = &relay, .stays = true};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n";
    talk(&t);
    CHECK_INT(relay.read, ==, ROTA_ECLOSED);
    t = (struct talk){.handler = leave_writer, .arg = &relay, .capacity = 100, .head = GET};
    t.reads = ROTA_SECOND;
    talk(&t);
    CHECK_INT(relay.written, ==, ROTA_ECLOSED);
    CHECK_INT(t.replies, ==, 0);
}

/* ---- A reply that is over before the body is */

static int write_three(void *arg)
{
    struct relay *relay = arg;
    return relay->written = rota_http_reply(relay->request, 200, NULL, "abc", 3);
}

static int reply_while_reading(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_on, write_three);
}

TEST(a_body_is_read_on_behind_the_reply)
{
    struct relay relay = {0};
    struct talk t = {.handler = reply_while_reading, .arg = &relay, .body = 3000, .behind = GET};
    t.capacity = 100;
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n";
    talk(&t);
    CHECK_INT(relay.read, ==, 0);
    check_heads(&t, "200 200");
    CHECK_INT(t.closing[0], ==, false);
}

static int read_some(void *arg)
{
    struct relay *relay = arg;
    char buf[10];
    ssize_t n = rota_http_request_read(relay->request, buf, sizeof buf);
    return relay->read = n < 0 ? (int)n : 0;
}

static int reply_before_the_end(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_some, write_three);
}

/* What is short is passed over; else the connection ends, but the client gets the reply before. */
TEST(what_both_leave_of_a_body_is_passed_over_or_ends_the_connection)
{
    struct relay relay = {0};
    struct talk t = {.handler = reply_before_the_end, .arg = &relay, .body = 3000, .behind = GET};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n";
    talk(&t);
    check_heads(&t, "200 200");
    t = (struct talk){.handler = reply_before_the_end, .arg = &relay, .body = 300000};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n";
    t.behind = GET;
    t.capacity = 4096;
    talk(&t);
    check_heads(&t, "200");
    CHECK_INT(t.replies, ==, 1);
}

/* ---- The body as a stream */

static int number_lines(rota_http_request *r, void *arg)
{
    (void)arg;
    ROTA_AUTO(rota_stream) body = NULL;
    char text[64];
    size_t n = 0;
    int err = rota_http_request_body_stream(r, &body);
    if (err < 0)
        return err;
    ROTA_FOREACH (rota_str *, line, rota_stream_lines(body), &err)
        n += line->len;
    CHECK_INT(rota_stream_write(body, "x", 1), <, 0);
    int len = sprintf(text, "%zu", n);
    return err < 0 ? err : rota_http_reply(r, 202, NULL, text, (size_t)len);
}

TEST(a_body_is_read_as_any_stream)
{
    struct talk t = {.handler = number_lines, .stays = true};
    t.head =
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\na\nbc\n\ndef";
    talk(&t);
    check_heads(&t, "202");
    t = (struct talk){.handler = number_lines};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nbx";
    talk(&t);
    check_heads(&t, "400");
}

static int read_stream(void *arg)
{
    char byte;
    return (int)rota_stream_read(arg, &byte, 1);
}

static int close_while_read(rota_http_request *r, void *arg)
{
    rota_stream *body;
    rota_task *task;
    int err = rota_http_request_body_stream(r, &body);
    if (err < 0)
        return err;
    err = rota_spawn(read_stream, body, &task);
    if (err == 0) {
        ROTA_IGNORE(rota_yield());
        rota_stream_close(body);
        *(int *)arg = rota_join(task);
    }
    rota_stream_free(body);
    return err < 0 ? err : rota_http_reply(r, 200, NULL, NULL, 0);
}

TEST(closing_the_stream_of_a_body_ends_who_reads_it)
{
    int result = 0;
    struct talk t = {.handler = close_while_read, .arg = &result, .stays = true};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\n";
    talk(&t);
    CHECK_INT(result, ==, ROTA_ECLOSED);
    check_heads(&t, "200");
    CHECK_INT(t.served, <, 30 * ROTA_SECOND); /* a body's gap */
}

/* ---- A proxy */

struct proxy {
    rota_listener *listener;
    rota_http_session *session;
    struct relay relay; /* of the server behind it */
};

/* What comes is sent on while the answer comes back. */
static int forward(rota_http_request *r, void *arg)
{
    struct proxy *proxy = arg;
    ROTA_AUTO(rota_stream) body = NULL;
    ROTA_AUTO(rota_http_response) answer = NULL;
    char url[64], buf[PIECE];
    uint64_t length = rota_http_request_length(r);
    sprintf(url, "http://127.0.0.1:%d/", rota_listener_port(proxy->listener));
    int err = rota_http_request_body_stream(r, &body);
    if (err < 0)
        return err;
    rota_http_fetch_options options = {.method = "POST", .stream = true};
    if (length)
        options.body.stream = body;
    if (length != ROTA_HTTP_UNKNOWN_LENGTH)
        options.body.length = length;
    err = rota_http_fetch(proxy->session, url, &options, &answer);
    if (err == 0)
        err = rota_http_start(r, rota_http_status(answer), NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    ssize_t n = 1;
    while (err == 0 && (n = rota_http_read(answer, buf, sizeof buf)) > 0)
        err = rota_http_write(r, buf, (size_t)n);
    return err < 0 ? err : (int)n;
}

/* Where something fails, not much of the clock passes, tick by tick. */
static const rota_http_serve_options impatient = {
    .body_gap = ROTA_SECOND, .write_stall = ROTA_SECOND, .idle = ROTA_SECOND};

static int serve_behind(void *arg)
{
    struct proxy *proxy = arg;
    return rota_http_serve(&proxy->listener, 1, echo_both_ways, &proxy->relay, &impatient);
}

static int proxy_run(void *arg)
{
    struct talk *t = arg;
    struct proxy *proxy = t->arg;
    rota_http_session_options options = {.proxy = "", .gap = ROTA_SECOND};
    int err = rota_tcp_listen("127.0.0.1", 0, NULL, &proxy->listener);
    if (err == 0)
        err = rota_http_session_new(&options, &proxy->session);
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        if (err == 0)
            rota_group_spawn(&g, serve_behind, proxy);
        if (err == 0)
            err = talk_run(t);
        rota_group_cancel(&g);
    }
    rota_http_session_free(proxy->session);
    rota_listener_free(proxy->listener);
    return err;
}

static void talk_through_proxy(struct talk *t, struct proxy *proxy)
{
    t->handler = forward;
    t->arg = proxy;
    t->options = impatient;
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(proxy_run, t, &options));
    CHECK(!t->is_wrong);
}

TEST_WITH(a_proxy_streams_both_ways, .both_backends = true)
{
    for (int chunked = 0; chunked < 2; chunked++) {
        struct proxy proxy = {0};
        struct talk t = {.chunked = chunked, .body = 300000, .behind = GET};
        t.head = chunked ? "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                         : "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n";
        talk_through_proxy(&t, &proxy);
        CHECK_INT(t.got, ==, 300000);
        CHECK_INT(t.replies, ==, 2);
        check_heads(&t, "200 200");
    }
}

TEST_WITH(a_client_that_leaves_a_proxy_leaves_the_server_behind_it, .both_backends = true)
{
    struct proxy proxy = {0};
    struct talk t = {.chunked = true, .endless = true, .body = 300000};
    t.head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    t.stays = true;
    t.enough = 100000;
    talk_through_proxy(&t, &proxy);
    CHECK_INT(proxy.relay.read, <, 0);
    CHECK_INT(proxy.relay.written, <, 0);
}

/* ---- An answer over HTTP/2 that is read slowly */

enum { LONG = 40 << 20 };

static int reply_long(rota_http_request *r, void *arg)
{
    static const char piece[65536];
    (void)arg;
    int err = rota_http_start(r, 200, NULL, LONG);
    for (size_t sent = 0; err == 0 && sent < LONG; sent += sizeof piece)
        err = rota_http_write(r, piece, sizeof piece);
    return err;
}

static int serve_long(void *arg)
{
    rota_listener *listener = arg;
    return rota_http_serve(&listener, 1, reply_long, NULL, NULL);
}

/* Always a little behind what comes. Returns how much it has read. */
static int read_long(rota_http_session *session, const char *url)
{
    ROTA_AUTO(rota_http_response) answer = NULL;
    char buf[1000];
    ssize_t n = rota_http_fetch(session, url, &(rota_http_fetch_options){.stream = true}, &answer);
    size_t got = 0;
    if (n == 0)
        n = rota_sleep(ROTA_SECOND);
    while (n >= 0 && (n = rota_http_read(answer, buf, sizeof buf)) > 0) {
        got += (size_t)n;
        n = rota_yield();
    }
    return n < 0 ? (int)n : (int)got;
}

static long most_memory(void)
{
    struct rusage used;
    CHECK_OK(getrusage(RUSAGE_SELF, &used));
    return used.ru_maxrss;
}

static int read_long_run(void *arg)
{
    (void)arg;
    ROTA_AUTO(rota_listener) listener = NULL;
    ROTA_AUTO(rota_http_session) session = NULL;
    rota_http_session_options options = {.proxy = "", .version = ROTA_HTTP_2_DIRECTLY};
    rota_task *server;
    char url[64];
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &listener));
    CHECK_OK(rota_http_session_new(&options, &session));
    CHECK_OK(rota_spawn(serve_long, listener, &server));
    sprintf(url, "http://127.0.0.1:%d/", rota_listener_port(listener));
    long before = most_memory();
    CHECK_INT(read_long(session, url), ==, LONG);
    if (!ROTA__ASAN) /* which keeps what was freed for a while */
        CHECK_INT(most_memory() - before, <, 16 << 10);
    rota_task_free(server);
    return 0;
}

TEST_WITH(a_long_answer_that_is_read_slowly_takes_little_memory, .both_backends = true,
          .without_faults = true)
{
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(read_long_run, NULL, &options));
}
