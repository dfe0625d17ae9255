/* What clients make a server keep is counted, and has a limit; so have requests at once, and the
 * slowness of bodies. */
#include "h2_frames.h"
#include "harness.h"
#include "http_talk.h"

#include <rota.h>
#include <rota/http_server.h>
#include <rota/websocket.h>

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define KIB ((size_t)1024)
#define BYTES(s_)            \
    {                        \
        (s_), sizeof(s_) - 1 \
    }
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0"
#define H2_GET(id_) "\0\0\6\1\5\0\0\0" id_ "\x82\x86\x84\x41\1a"
#define H2_POST(id_) "\0\0\6\1\4\0\0\0" id_ "\x83\x86\x84\x41\1a"

enum { ENHANCE_YOUR_CALM = 11 };

/* ---- Setting */

struct place {
    rota_http_serve_options options;
    rota_http_handler *handler;
    int (*body)(struct place *place);

    rota_http_counters counters;
    rota_event go; /* lets handlers end */
    size_t most;   /* memory, at any time that somebody looked */
    int read;      /* what reading the body came to */
    size_t size;
    rota_listener *listener;
};

static int body_run(void *arg)
{
    struct place *place = arg;
    return place->body(place);
}

static int place_run(void *arg)
{
    struct place *place = arg;
    place->options.counters = &place->counters;
    struct http_place p = {.options = &place->options,
                           .handler = place->handler,
                           .handler_arg = place,
                           .body = body_run,
                           .body_arg = place,
                           .listener = &place->listener};
    return http_place_run(&p);
}

static void take_place(struct place *place)
{
    rota_loop_options options = {.virtual_clock = true};
    place->go = (rota_event)ROTA_EVENT_INIT;
    CHECK_OK(rota_run_with(place_run, place, &options));
    CHECK_INT(place->counters.memory, ==, 0);
}

static int enter(struct place *place, rota_str first, rota_stream **ret_stream)
{
    int err = rota_tcp_connect("127.0.0.1", rota_listener_port(place->listener), NULL, ret_stream);
    if (err == 0)
        err = rota_stream_write(*ret_stream, first.ptr, first.len);
    return err < 0 ? err : rota_sleep(10 * ROTA_MILLISECOND);
}

/* The status of the next reply, which has no body or one that is read, too. */
static int read_status(rota_stream *s)
{
    rota_str head;
    int err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
    if (err < 0)
        return err;
    int status = atoi(head.ptr + 9);
    const char *length = memmem(head.ptr, head.len, "Content-Length: ", 16);
    size_t len = length ? (size_t)atoi(length + 16) : 0;
    while (err == 0 && len-- > 0)
        err = (int)rota_stream_read_exact(s, &(char){0}, 1);
    return err < 0 ? err : status;
}

/* The next frame of that type; its stream, and of its payload the last byte, or the status of a
 * head. */
static int await_frame(rota_stream *s, int type, int *ret_id, int *ret_code)
{
    unsigned char head[9], payload[16384];
    for (;;) {
        int err = rota_stream_read_exact(s, head, sizeof head);
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (err == 0 && len)
            err = rota_stream_read_exact(s, payload, len);
        if (err < 0)
            return err;
        if (head[3] != type)
            continue;
        *ret_id = head[8];
        *ret_code = type == GOAWAY ? payload[7] : len ? payload[len - 1] : 0;
        if (type == HEADERS) /* HPACK: 200 is indexed, and no other reply comes than these two */
            *ret_code = payload[0] == 0x88 ? 200 : 503;
        return 0;
    }
}

static int wait_to_go(rota_http_request *r, void *arg)
{
    struct place *place = arg;
    int err = rota_event_wait(&place->go);
    return err < 0 ? err : rota_http_reply(r, 200, NULL, NULL, 0);
}

/* ---- Requests at once */

static int requests_body(struct place *place)
{
    rota_stream *one = NULL, *two = NULL, *three = NULL;
    int id, code, err = enter(place, (rota_str)BYTES(GET), &one);
    if (err == 0)
        err = enter(place, (rota_str)BYTES(GET), &two);
    if (err == 0) {
        CHECK_INT(read_status(two), ==, 503);
        CHECK_INT(rota_stream_read(two, &(char){0}, 1), ==, 0);
        err = enter(place, (rota_str)BYTES(PREFACE H2_GET("\1") H2_POST("\3")), &three);
    }
    for (int i = 1; err == 0 && i <= 3; i += 2) {
        CHECK_OK(await_frame(three, HEADERS, &id, &code));
        CHECK_INT(id, ==, i);
        CHECK_INT(code, ==, 503);
    }
    rota_event_set(&place->go);
    if (err == 0) {
        CHECK_INT(read_status(one), ==, 200);
        CHECK_OK(rota_stream_write(three, H2_GET("\5"), 15));
        CHECK_OK(await_frame(three, HEADERS, &id, &code));
        CHECK_INT(code, ==, 200);
        CHECK_INT(place->counters.requests, ==, 2);
        CHECK_INT(place->counters.refused, ==, 3);
        CHECK_INT(place->counters.status[5], ==, 3);
    }
    rota_stream_free(one);
    rota_stream_free(two);
    rota_stream_free(three);
    return err;
}

TEST_WITH(more_requests_than_may_run_get_503, .both_backends = true, .without_faults = true)
{
    struct place place = {.body = requests_body, .handler = wait_to_go, .options.requests = 1};
    take_place(&place);
}

/* ---- Memory: requests */

enum { CLIENTS = 12 };

static int crowd_body(struct place *place)
{
    rota_stream *clients[CLIENTS] = {NULL};
    int served = 0, refused = 0, err = 0;
    for (int i = 0; err == 0 && i < CLIENTS; i++)
        err = enter(place, (rota_str)BYTES(""), &clients[i]);
    for (int i = 0; err == 0 && i < CLIENTS; i++)
        err = rota_stream_write(clients[i], GET, sizeof GET - 1);
    if (err == 0)
        err = rota_sleep(10 * ROTA_MILLISECOND);
    CHECK_INT(place->counters.memory, <=, place->options.memory);
    rota_event_set(&place->go);
    for (int i = 0; err == 0 && i < CLIENTS; i++) {
        int status = read_status(clients[i]);
        served += status == 200;
        refused += status == 503;
    }
    for (int i = 0; i < CLIENTS; i++)
        rota_stream_free(clients[i]);
    if (err == 0) {
        CHECK_INT(served, >=, 5);
        CHECK_INT(refused, >=, 1);
        CHECK_INT(served + refused, ==, CLIENTS);
    }
    return err;
}

/* Room for the connections, and for half of their requests. */
TEST_WITH(requests_that_have_no_memory_get_503, .both_backends = true, .without_faults = true)
{
    struct place place = {.body = crowd_body, .handler = wait_to_go};
    place.options.memory = CLIENTS * 8 * KIB + CLIENTS / 2 * 7500;
    take_place(&place);
}

static int h2_crowd_body(struct place *place)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int id, code, served = 0, refused = 0, err = enter(place, (rota_str)BYTES(PREFACE), &s);
    char frame[] = H2_GET("\1");
    for (int i = 0; err == 0 && i < CLIENTS; i++) {
        frame[8] = (char)(1 + 2 * i);
        err = rota_stream_write(s, frame, 15);
    }
    if (err == 0)
        err = rota_sleep(10 * ROTA_MILLISECOND);
    CHECK_INT(place->counters.memory, <=, place->options.memory);
    rota_event_set(&place->go);
    for (int i = 0; err == 0 && i < CLIENTS; i++) {
        err = await_frame(s, HEADERS, &id, &code);
        served += code == 200;
        refused += code == 503;
    }
    if (err == 0) {
        CHECK_INT(served, >=, 3);
        CHECK_INT(refused, >=, 1);
        CHECK_INT(served + refused, ==, CLIENTS);
    }
    return err;
}

TEST_WITH(requests_of_http_2_that_have_no_memory_get_503, .both_backends = true,
          .without_faults = true)
{
    struct place place = {.body = h2_crowd_body, .handler = wait_to_go};
    place.options.memory = 8 * KIB + 48 * KIB + CLIENTS / 2 * 16 * KIB;
    take_place(&place);
}

/* ---- Memory: connections */

static int connections_body(struct place *place)
{
    rota_stream *clients[4] = {NULL};
    int err = 0;
    for (size_t i = 0; err == 0 && i < COUNT(clients); i++)
        err = enter(place, (rota_str)BYTES(""), &clients[i]);
    if (err == 0)
        err = rota_stream_write(clients[3], GET, sizeof GET - 1);
    rota_event_set(&place->go);
    if (err == 0) {
        CHECK_INT(rota_stream_read(clients[0], &(char){0}, 1), ==, 0);
        CHECK_INT(place->counters.evicted, ==, 1);
        CHECK_INT(place->counters.open, ==, 3);
    }
    for (size_t i = 0; i < COUNT(clients); i++)
        rota_stream_free(clients[i]);
    return err;
}

TEST_WITH(a_connection_that_has_no_memory_evicts_another, .both_backends = true,
          .without_faults = true)
{
    struct place place = {.body = connections_body, .handler = wait_to_go};
    place.options.memory = 3 * 8 * KIB;
    take_place(&place);
}

static int small_body(struct place *place)
{
    ROTA_AUTO(rota_stream) one = NULL;
    ROTA_AUTO(rota_stream) two = NULL;
    int id, code, err = enter(place, (rota_str)BYTES(PREFACE), &one);
    if (err == 0) {
        CHECK_OK(await_frame(one, GOAWAY, &id, &code));
        CHECK_INT(code, ==, ENHANCE_YOUR_CALM);
        err = enter(place, (rota_str)BYTES(GET), &two);
    }
    if (err == 0)
        CHECK_INT(read_status(two), ==, 503);
    return err;
}

TEST_WITH(a_server_without_memory_says_so, .both_backends = true, .without_faults = true)
{
    struct place place = {.body = small_body, .handler = wait_to_go};
    place.options.memory = 20 * KIB;
    place.options.fields = 1000; /* so that not even a request fits */
    take_place(&place);
}

/* ---- Memory: heads and bodies */

static int heads_body(struct place *place)
{
    rota_stream *clients[4] = {NULL};
    int err = 0;
    for (size_t i = 0; err == 0 && i < COUNT(clients); i++)
        err = enter(place, (rota_str)BYTES("GET / HTTP/1.1\r\n"), &clients[i]);
    if (err == 0)
        CHECK_INT(read_status(clients[3]), ==, 503);
    for (size_t i = 0; i < COUNT(clients); i++)
        rota_stream_free(clients[i]);
    return err;
}

TEST_WITH(a_half_head_that_has_no_memory_gets_503, .both_backends = true, .without_faults = true)
{
    struct place place = {.body = heads_body, .handler = wait_to_go};
    place.options.memory = 4 * 8 * KIB + 3 * (32 * KIB + 7500) + 10 * KIB;
    take_place(&place);
}

static int read_whole(rota_http_request *r, void *arg)
{
    struct place *place = arg;
    rota_str body = {0};
    place->read = rota_http_request_body(r, 0, &body);
    place->size = body.len;
    return place->read < 0 ? place->read : rota_http_reply(r, 200, NULL, NULL, 0);
}

static int send_zeros(rota_stream *s, size_t len)
{
    static const char zeros[16384];
    int err = 0;
    for (; err == 0 && len; len -= len < sizeof zeros ? len : sizeof zeros)
        err = rota_stream_write(s, zeros, len < sizeof zeros ? len : sizeof zeros);
    return err;
}

static int upload_body(struct place *place)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int err =
        enter(place,
              (rota_str)BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"), &s);
    if (err == 0)
        send_zeros(s, 1000000); /* the server may close before it has read all */
    if (err == 0)
        CHECK_INT(read_status(s), ==, place->options.memory > 1000 * KIB ? 200 : 503);
    return err;
}

TEST_WITH(a_body_that_has_no_memory_gets_503, .both_backends = true, .without_faults = true)
{
    struct place place = {.body = upload_body, .handler = read_whole};
    place.options.memory = 500 * KIB;
    take_place(&place);
    CHECK_INT(place.read, ==, -ENOMEM);
    place.options.memory = 10000 * KIB;
    take_place(&place);
    CHECK_INT(place.size, ==, 1000000);
}

static int put_by_body(struct place *place)
{
    static const char data[9] = {0, 0x40, 0, DATA, 0, 0, 0, 0, 1};
    ROTA_AUTO(rota_stream) s = NULL;
    int id, code, err = enter(place, (rota_str)BYTES(PREFACE H2_POST("\1")), &s);
    for (int i = 0; err == 0 && i < 12; i++) { /* within the window */
        err = rota_stream_write(s, data, sizeof data);
        if (err == 0)
            err = send_zeros(s, 0x4000);
    }
    if (err == 0) {
        CHECK_OK(await_frame(s, RST_STREAM, &id, &code));
        CHECK_INT(id, ==, 1);
        CHECK_INT(code, ==, ENHANCE_YOUR_CALM);
        CHECK_INT(place->counters.memory, <=, place->options.memory);
        CHECK_INT(place->counters.running, ==, 0);
        rota_event_set(&place->go);
        CHECK_OK(rota_stream_write(s, H2_GET("\3"), 15));
        CHECK_OK(await_frame(s, HEADERS, &id, &code));
        CHECK_INT(code, ==, 200);
    }
    return err;
}

/* The connection and its other requests go on. */
TEST_WITH(a_body_put_by_that_has_no_memory_resets_its_stream, .both_backends = true,
          .without_faults = true)
{
    struct place place = {.body = put_by_body, .handler = wait_to_go};
    place.options.memory = 8 * KIB + 48 * KIB + 16 * KIB + 100 * KIB;
    take_place(&place);
}

static int allocate(rota_http_request *r, void *arg)
{
    struct place *place = arg;
    CHECK(rota_http_alloc(r, 10 * KIB));
    size_t before = place->counters.memory;
    CHECK(!rota_http_alloc(r, 200 * KIB));
    CHECK_INT(place->counters.memory, ==, before);
    CHECK_INT(before, >=, 25 * KIB);
    return rota_http_reply(r, 200, NULL, NULL, 0);
}

static int allocate_body(struct place *place)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int err = enter(place, (rota_str)BYTES(GET), &s);
    if (err == 0) {
        CHECK_INT(read_status(s), ==, 200);
        CHECK_INT(place->counters.memory, ==, 8 * KIB);
    }
    return err;
}

TEST(what_handlers_allocate_is_counted)
{
    struct place place = {.body = allocate_body, .handler = allocate, .options.memory = 100 * KIB};
    take_place(&place);
}

/* ---- Output of HTTP/2 where memory is short: one frame after another */

static int send_much(rota_http_request *r, void *arg)
{
    static const char zeros[100000];
    (void)arg;
    return rota_http_reply(r, 200, NULL, zeros, sizeof zeros);
}

static int much_body(struct place *place)
{
    ROTA_AUTO(rota_stream) s = NULL;
    static const rota_str first =
        BYTES(PREFACE "\0\0\6\4\0\0\0\0\0\0\4\x7f\0\0\0"
                      "\0\0\4\x08\0\0\0\0\0\x7f\0\0\0" H2_GET("\1") H2_GET("\3") H2_GET("\5"));
    unsigned char head[9], payload[16384];
    size_t got = 0;
    int err = enter(place, first, &s);
    while (err == 0 && got < 300000) {
        CHECK_INT(place->counters.memory, <=, place->options.memory);
        err = rota_stream_read_exact(s, head, sizeof head);
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (err == 0 && len)
            err = rota_stream_read_exact(s, payload, len);
        got += head[3] == DATA ? len : 0;
    }
    return err;
}

TEST_WITH(replies_of_http_2_go_on_where_memory_is_short, .both_backends = true)
{
    struct place place = {.body = much_body, .handler = send_much};
    place.options.memory = 8 * KIB + 48 * KIB + 3 * 16 * KIB + 1 * KIB;
    take_place(&place);
}

/* ---- WebSockets */

#define UPGRADE                                                                    \
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"   \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" \
    "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

static int read_message(rota_http_request *r, void *arg)
{
    struct place *place = arg;
    ROTA_AUTO(rota_websocket) ws = NULL;
    rota_websocket_message message;
    int err = rota_websocket_accept(r, NULL, &ws);
    if (err < 0)
        return err;
    place->read = rota_websocket_read(ws, &message);
    place->size = place->read > 0 ? message.bytes.len : 0;
    return 0;
}

/* A message in pieces of 8 KiB, which are kept until it is whole. */
static int send_message(rota_stream *s, size_t pieces)
{
    char head[8] = {2, (char)(0x80 | 126), 0x20, 0};
    int err = 0;
    for (size_t i = 0; err == 0 && i < pieces; i++) {
        head[0] = (char)((i + 1 == pieces ? 0x80 : 0) | (i == 0 ? 2 : 0));
        err = rota_stream_write(s, head, sizeof head);
        if (err == 0)
            err = send_zeros(s, 8192);
    }
    return err;
}

static int websocket_body(struct place *place)
{
    ROTA_AUTO(rota_stream) s = NULL;
    rota_str head;
    int err = enter(place, (rota_str)BYTES(UPGRADE), &s);
    if (err == 0)
        err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
    if (err == 0) {
        bool deflates = memmem(head.ptr, head.len, "permessage-deflate", 18);
        CHECK_INT(deflates, ==, place->options.memory >= 400 * KIB);
        send_message(s, 20);
        err = rota_sleep(ROTA_SECOND);
    }
    return err;
}

TEST_WITH(websockets_without_memory_are_not_compressed_and_end, .both_backends = true,
          .without_faults = true)
{
    struct place place = {.body = websocket_body, .handler = read_message};
    place.options.memory = 100 * KIB;
    take_place(&place);
    CHECK_INT(place.read, ==, -ENOMEM);
    place.options.memory = 1000 * KIB;
    take_place(&place);
    CHECK_INT(place.size, ==, 20 * 8 * KIB);
}

/* ---- Slow bodies */

struct drip {
    rota_str head, piece;
    size_t count;
    rota_time every;
};

static int read_pieces(rota_http_request *r, void *arg)
{
    struct place *place = arg;
    char buf[4096];
    ssize_t n;
    while ((n = rota_http_request_read(r, buf, sizeof buf)) > 0)
        place->size += (size_t)n;
    place->read = (int)n;
    return n < 0 ? (int)n : rota_http_reply(r, 200, NULL, NULL, 0);
}

static const struct drip *drip_now;

static int drip_body(struct place *place)
{
    const struct drip *drip = drip_now;
    ROTA_AUTO(rota_stream) s = NULL;
    int err = enter(place, drip->head, &s);
    for (size_t i = 0; err == 0 && i < drip->count && !place->read; i++) {
        err = rota_stream_write(s, drip->piece.ptr, drip->piece.len);
        if (err == 0)
            err = rota_sleep(drip->every);
    }
    place->most = (size_t)(rota_now() / ROTA_SECOND);
    return 0;
}

static void let_drip(struct drip drip, int expected, size_t seconds)
{
    struct place place = {.body = drip_body, .handler = read_pieces};
    drip_now = &drip;
    take_place(&place);
    CHECK_INT(place.read, ==, expected);
    CHECK_INT(place.most, <=, seconds);
}

TEST_BOTH(a_body_that_drips_is_given_up)
{
    static const rota_str head =
        BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    static const rota_str chunks =
        BYTES("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    static const rota_str h2 = BYTES(PREFACE H2_POST("\1"));
    let_drip((struct drip){head, BYTES("x"), 100, 20 * ROTA_SECOND}, -ETIMEDOUT, 60);
    let_drip((struct drip){chunks, BYTES("1\r\nx\r\n"), 100, 20 * ROTA_SECOND}, -ETIMEDOUT, 60);
    /* not even a byte of it: a size with zeros in front */
    let_drip((struct drip){chunks, BYTES("0"), 100, 20 * ROTA_SECOND}, -ETIMEDOUT, 60);
    let_drip((struct drip){h2, BYTES("\0\0\1\0\0\0\0\0\1x"), 100, 20 * ROTA_SECOND}, -ETIMEDOUT,
             60);
    /* window updates are not a body */
    let_drip((struct drip){h2, BYTES("\0\0\4\x08\0\0\0\0\1\0\0\0\1"), 100, 20 * ROTA_SECOND},
             -ETIMEDOUT, 60);
}

static int ends_body(struct place *place)
{
    static const char piece[8192];
    ROTA_AUTO(rota_stream) s = NULL;
    int err = enter(
        place, (rota_str)BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 163840\r\n\r\n"), &s);
    for (int i = 0; err == 0 && i < 20; i++) {
        err = rota_sleep(7 * ROTA_SECOND);
        if (err == 0)
            err = rota_stream_write(s, piece, sizeof piece);
    }
    if (err == 0)
        CHECK_INT(read_status(s), ==, 200);
    return err;
}

TEST_BOTH(a_body_that_comes_as_fast_as_it_must_may_take_long)
{
    struct place place = {.body = ends_body, .handler = read_pieces};
    take_place(&place);
    CHECK_INT(place.size, ==, 163840);
}

static int read_late(rota_http_request *r, void *arg)
{
    int err = rota_sleep(ROTA_MINUTE);
    return err < 0 ? err : read_pieces(r, arg);
}

static int late_body(struct place *place)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int err = enter(
        place, (rota_str)BYTES("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhal"), &s);
    if (err == 0)
        err = rota_sleep(ROTA_MINUTE + 20 * ROTA_SECOND);
    if (err == 0)
        err = rota_stream_write(s, "f", 1);
    if (err == 0)
        CHECK_INT(read_status(s), ==, 200);
    return err;
}

TEST_BOTH(a_slow_handler_is_not_its_clients_fault)
{
    struct place place = {.body = late_body, .handler = read_late};
    take_place(&place);
}
