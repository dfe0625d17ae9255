/* HTTP/2 without a socket: a client and a server of ours against each other, and either against frames made by
 * hand. What is sent is read whole, split at every byte, and byte by byte: it has to mean the same. */
#include "http/h2.h"

#include "harness.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))
#define S(literal_) ((rota_str){literal_, sizeof(literal_) - 1})
#define STR(s_) (int)(s_).len, (s_).ptr
#define FIELDS(...) \
    .fields = (rota_http_field[]){__VA_ARGS__}, .count = COUNT(((rota_http_field[]){__VA_ARGS__}))

enum { STREAMS = 16 };

/* One side, which writes down what it is told. */
struct side {
    struct rota__h2 h2;
    struct rota__h2_stream streams[STREAMS];
    unsigned used;
    bool refuses; /* takes no request */
    bool keeps;   /* data is not consumed */
    char told[8192];
    size_t len;
    bool in_data;
    struct rota__out unread;
    rota_time now;
};

__attribute__((format(printf, 2, 3))) static void tell(struct side *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    e->len += (size_t)vsnprintf(e->told + e->len, sizeof e->told - e->len, format, args);
    va_end(args);
    CHECK(e->len < sizeof e->told);
}

static void tell_head(struct side *e, int32_t id, const struct rota__h2_head *head)
{
    if (head->status)
        tell(e, "<%d %d", id, head->status);
    else if (!head->method.len)
        tell(e, "+");
    else
        tell(e, "<%d %.*s %.*s://%.*s%.*s", id, STR(head->method), STR(head->scheme),
             STR(head->authority), STR(head->target));
    for (size_t i = 0; i < head->count; i++)
        tell(e, " %.*s=%.*s", STR(head->fields[i].name), STR(head->fields[i].value));
    if (head->has_length)
        tell(e, " (%llu)", (unsigned long long)head->length);
    tell(e, "%s>", head->expect_continue ? " expect" : "");
}

static void tell_event(struct side *e, int event, const struct rota__h2_item *item)
{
    if (event != ROTA__H2_DATA && e->in_data)
        tell(e, "]");
    if (event == ROTA__H2_DATA)
        tell(e, "%s%.*s", e->in_data ? "" : "[", STR(item->data));
    e->in_data = event == ROTA__H2_DATA;
    switch (event) {
    case ROTA__H2_HEAD:
    case ROTA__H2_INTERIM:
        tell_head(e, item->id, &item->head);
        break;
    case ROTA__H2_TRAILERS:
        tell_head(e, item->id, &item->head);
        break;
    case ROTA__H2_END:
        tell(e, "$%d", item->id);
        break;
    case ROTA__H2_RESET:
        tell(e, "!%d:%u%s%s ", item->id, item->code, item->reason ? " " : "",
             item->reason ? item->reason : "");
        break;
    case ROTA__H2_PONG:
        tell(e, "pong");
        break;
    case ROTA__H2_GOAWAY:
        tell(e, "goaway:%u", item->code);
        break;
    case ROTA__H2_REFUSED:
        tell(e, "refused:%d %s", item->head.status, item->reason);
        break;
    default:
        break;
    }
}

static void act(struct side *e, int event, const struct rota__h2_item *item)
{
    if (event == ROTA__H2_HEAD && e->h2.is_server && !e->refuses && e->used < STREAMS)
        rota__h2_take(&e->h2, &e->streams[e->used++], item);
    else if (event == ROTA__H2_DATA && !e->keeps)
        rota__h2_consumed(&e->h2, item->stream, item->data.len);
    if (event == ROTA__H2_RESET)
        CHECK(!item->stream->is_open);
}

/* Reads; returns 0 or what broke the connection. The bytes are in memory of just that size. */
static int feed(struct side *e, const char *bytes, size_t len)
{
    char *exact = malloc(len ? len : 1);
    memcpy(exact, bytes, len);
    size_t at = 0, used;
    struct rota__h2_item item;
    int event;
    while ((event = rota__h2_next(&e->h2, e->now, (rota_str){exact + at, len - at}, &used, &item)) >
           0) {
        at += used;
        tell_event(e, event, &item);
        act(e, event, &item);
    }
    at += used;
    CHECK_INT(at, <=, len);
    CHECK(event < 0 || at == len);
    free(exact);
    return event;
}

/* Moves what `from` has to send, in pieces of at most `piece` bytes. */
static int carry(struct side *from, struct side *to, size_t piece)
{
    struct rota__out out = from->h2.out;
    from->h2.out = (struct rota__out){0};
    int err = 0;
    for (size_t at = 0; at < out.len && err >= 0; at += piece)
        err = feed(to, out.ptr + at, out.len - at < piece ? out.len - at : piece);
    rota__out_fini(&out);
    return err;
}

struct pair {
    struct side client, server;
    size_t piece;
};

/* Until both are silent. */
static int settle(struct pair *p)
{
    int err = 0;
    for (int i = 0; i < 100 && err >= 0 && (p->client.h2.out.len || p->server.h2.out.len); i++) {
        err = carry(&p->client, &p->server, p->piece);
        if (err >= 0)
            err = carry(&p->server, &p->client, p->piece);
    }
    return err;
}

static void close_side(struct side *e)
{
    for (unsigned i = 0; i < STREAMS; i++)
        rota__h2_drop(&e->h2, &e->streams[i], ROTA__H2_CANCEL);
    CHECK_INT(e->h2.taken, ==, 0);
    rota__h2_fini(&e->h2);
}

static void close_pair(struct pair *p)
{
    close_side(&p->client);
    close_side(&p->server);
}

/* False: no memory, and nothing to be closed. */
static bool open_pair_with(struct pair *p, const struct rota__h2_limits *client,
                           const struct rota__h2_limits *server)
{
    *p = (struct pair){.piece = SIZE_MAX / 2};
    int err = rota__h2_init(&p->client.h2, false, client);
    if (err == 0)
        err = rota__h2_init(&p->server.h2, true, server);
    if (err == 0)
        err = settle(p);
    CHECK(err == 0 || err == -ENOMEM);
    if (err < 0)
        close_pair(p);
    return err == 0;
}

static bool open_pair(struct pair *p)
{
    return open_pair_with(p, NULL, NULL);
}

/* Writes all of it, as far as windows allow. Returns how much, or an error. */
static ssize_t write_body(struct side *e, struct rota__h2_stream *s, const char *bytes, size_t len,
                          bool end)
{
    size_t at = 0;
    do {
        ssize_t n = rota__h2_data(&e->h2, s, len - at, end);
        if (n == -EAGAIN)
            break;
        if (n < 0)
            return n;
        rota__out_add(&e->h2.out, bytes + at, (size_t)n);
        at += (size_t)n;
    } while (at < len);
    return (ssize_t)at;
}

static struct rota__h2_head get(rota_str target)
{
    return (struct rota__h2_head){.method = S("GET"),
                                  .scheme = S("https"),
                                  .authority = S("example.org"),
                                  .target = target,
                                  .end = true};
}

static struct rota__h2_stream *request(struct pair *p, const struct rota__h2_head *head)
{
    struct rota__h2_stream *s = &p->client.streams[p->client.used];
    int err = rota__h2_request(&p->client.h2, s, head);
    CHECK(err == 0 || err == -ENOMEM);
    p->client.used += s->is_taken;
    return s;
}

/* ---- Messages */

static int begin_exchange(struct pair *p)
{
    struct rota__h2_head head = {
        .method = S("POST"),
        .scheme = S("https"),
        .authority = S("example.org"),
        .target = S("/x?y"),
        FIELDS({S("Accept"), S(" */* ")}, {S("cookie"), S("a=1")}, {S("X-Empty"), S("")}),
        .has_length = true,
        .length = 5};
    struct rota__h2_stream *c = request(p, &head);
    return c->is_taken ? (int)write_body(&p->client, c, "hello", 5, true) : -ENOMEM;
}

static int answer_exchange(struct pair *p)
{
    struct rota__h2_stream *s = &p->server.streams[0];
    struct rota__h2_head interim = {.status = 103, FIELDS({S("link"), S("</a>")})};
    struct rota__h2_head head = {.status = 200, FIELDS({S("Server"), S("rota")})};
    rota_http_field trailer = {S("Sum"), S("42")};
    int err = rota__h2_respond(&p->server.h2, s, &interim);
    if (err == 0)
        err = rota__h2_respond(&p->server.h2, s, &head);
    if (err == 0)
        err = (int)write_body(&p->server, s, "world", 5, false);
    return err < 0 ? err : rota__h2_trailers(&p->server.h2, s, &trailer, 1);
}

static const char told_to_server[] =
    "<1 POST https://example.org/x?y content-length=5 accept=*/* x-empty= cookie=a=1 (5)>[hello]$1";
static const char told_to_client[] = "<1 103 link=</a>><1 200 server=rota>[world]+ sum=42>$1";

TEST(a_message_arrives_as_it_was_sent)
{
    struct pair p;
    if (!open_pair(&p))
        return;
    int err = begin_exchange(&p);
    if (err >= 0)
        err = settle(&p);
    if (err == 0)
        err = answer_exchange(&p);
    if (err == 0)
        err = settle(&p);
    CHECK(err == 0 || err == -ENOMEM);
    if (err == 0) {
        CHECK_STR(p.server.told, told_to_server);
        CHECK_STR(p.client.told, told_to_client);
        CHECK_INT(p.client.h2.open, ==, 0);
        CHECK_INT(p.server.h2.open, ==, 0);
    }
    close_pair(&p);
}

/* What each side sends for that, from its preface on. */
static bool record_exchange(struct rota__out *client, struct rota__out *server)
{
    struct pair p = {.piece = SIZE_MAX / 2};
    *client = *server = (struct rota__out){0};
    int err = rota__h2_init(&p.client.h2, false, NULL);
    if (err == 0)
        err = rota__h2_init(&p.server.h2, true, NULL);
    if (err == 0)
        err = begin_exchange(&p);
    if (err >= 0) {
        rota__out_add(client, p.client.h2.out.ptr, p.client.h2.out.len);
        err = carry(&p.client, &p.server, p.piece);
    }
    if (err == 0)
        err = answer_exchange(&p);
    if (err == 0)
        rota__out_add(server, p.server.h2.out.ptr, p.server.h2.out.len);
    CHECK(err == 0 || err == -ENOMEM);
    close_pair(&p);
    return err == 0 && client->err == 0 && server->err == 0;
}

static void check_replay(const struct rota__out *bytes, bool is_server, size_t split, size_t piece)
{
    struct side e = {.now = 0};
    int err = rota__h2_init(&e.h2, is_server, NULL);
    struct rota__h2_head head = get(S("/"));
    if (err == 0 && !is_server) {
        err = rota__h2_request(&e.h2, &e.streams[0], &head);
        if (err == 0)
            rota__out_fini(&e.h2.out);
    }
    for (size_t at = 0; err == 0 && at < bytes->len;) {
        size_t to = bytes->len - at < piece ? bytes->len : at + piece;
        if (at < split && to > split)
            to = split;
        err = feed(&e, bytes->ptr + at, to - at);
        at = to;
    }
    CHECK(err == 0 || err == -ENOMEM);
    const char *expected = is_server ? told_to_server : told_to_client;
    if (err == 0 && strcmp(e.told, expected) != 0)
        FAIL("split at %zu, in pieces of %zu:\n  is   %s\n  want %s", split, piece, e.told,
             expected);
    close_side(&e);
}

/* Thousands of allocations, of which the case above has each. */
TEST_WITH(frames_are_read_alike_however_they_are_split, .without_faults = true)
{
    struct rota__out sent[2];
    bool recorded = record_exchange(&sent[false], &sent[true]);
    for (int is_server = 0; recorded && is_server < 2; is_server++) {
        const struct rota__out *bytes = &sent[!is_server];
        for (size_t split = 0; split <= bytes->len; split++)
            check_replay(bytes, is_server, split, bytes->len + 1);
        check_replay(bytes, is_server, 0, 1);
    }
    rota__out_fini(&sent[0]);
    rota__out_fini(&sent[1]);
}

TEST(an_answer_to_head_says_a_length_and_has_no_body)
{
    struct pair p;
    if (!open_pair(&p))
        return;
    struct rota__h2_head head = get(S("/"));
    head.method = S("HEAD");
    request(&p, &head);
    int err = settle(&p);
    struct rota__h2_head answer = {.status = 200, .has_length = true, .length = 1000, .end = true};
    if (err == 0)
        err = rota__h2_respond(&p.server.h2, &p.server.streams[0], &answer);
    if (err == 0 && settle(&p) == 0) {
        CHECK_STR(p.client.told, "<1 200 content-length=1000 (1000)>$1");
        CHECK_INT(p.client.h2.open, ==, 0);
    }
    close_pair(&p);
}

TEST(crumbs_of_a_cookie_are_joined)
{
    struct pair p;
    if (!open_pair(&p))
        return;
    struct rota__h2_head head = {.method = S("GET"),
                                 .scheme = S("http"),
                                 .authority = S("a"),
                                 .target = S("/"),
                                 FIELDS({S("cookie"), S("a=1")}, {S("x"), S("y")},
                                        {S("cookie"), S("b=2")}, {S("cookie"), S("c=3")}),
                                 .end = true};
    request(&p, &head);
    if (settle(&p) == 0)
        CHECK_STR(p.server.told, "<1 GET http://a/ x=y cookie=a=1; b=2; c=3>$1");
    close_pair(&p);
}
