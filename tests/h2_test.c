/* HTTP/2 without a socket: a client and a server of ours against each other, and either against
 * frames made by hand. What is sent is read whole, split at every byte, and byte by byte: it has to
 * mean the same. */
#include "http/h2.h"

#include "h2_frames.h"
#include "pieces.h"
#include "told.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))
#define S(literal_) ((rota_str){literal_, sizeof(literal_) - 1})
#define STR(s_) (int)(s_).len, (s_).ptr
#define FIELDS(...) \
    .fields = (rota_http_field[]){__VA_ARGS__}, .count = COUNT(((rota_http_field[]){__VA_ARGS__}))

enum { STREAMS = 16 };

static const char body_bytes[1 << 20];

/* One side, which writes down what it is told. */
struct side {
    struct rota__h2 h2;
    struct rota__h2_stream streams[STREAMS];
    unsigned used;
    bool refuses; /* takes no request */
    bool keeps;   /* data is not consumed */
    struct told told;
    bool in_data;
    struct rota__out unread;
    rota_time now;
};

static void tell_head(struct side *e, int32_t id, const struct rota__h2_head *head)
{
    if (head->status)
        tell(&e->told, "<%d %d", id, head->status);
    else if (!head->method.len)
        tell(&e->told, "+");
    else
        tell(&e->told, "<%d %.*s %.*s://%.*s%.*s", id, STR(head->method), STR(head->scheme),
             STR(head->authority), STR(head->target));
    for (size_t i = 0; i < head->count; i++)
        tell(&e->told, " %.*s=%.*s", STR(head->fields[i].name), STR(head->fields[i].value));
    if (head->has_length)
        tell(&e->told, " (%llu)", (unsigned long long)head->length);
    tell(&e->told, "%s>", head->expect_continue ? " expect" : "");
}

static void tell_event(struct side *e, int event, const struct rota__h2_item *item)
{
    if (event != ROTA__H2_DATA && e->in_data)
        tell(&e->told, "]");
    if (event == ROTA__H2_DATA)
        tell(&e->told, "%s%.*s", e->in_data ? "" : "[", STR(item->data));
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
        tell(&e->told, "$%d", item->id);
        break;
    case ROTA__H2_RESET:
        tell(&e->told, "!%d:%u%s%s ", item->id, item->code, item->reason ? " " : "",
             item->reason ? item->reason : "");
        break;
    case ROTA__H2_GOAWAY:
        tell(&e->told, "goaway:%u", item->code);
        break;
    case ROTA__H2_REFUSED:
        tell(&e->told, "refused:%d %s", item->head.status, item->reason);
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

static int take(void *arg, rota_str bytes, size_t *ret_used)
{
    struct side *e = arg;
    struct rota__h2_item item;
    int event = rota__h2_next(&e->h2, e->now, bytes, ret_used, &item);
    if (event > 0) {
        tell_event(e, event, &item);
        act(e, event, &item);
    }
    CHECK(event != 0 || *ret_used == bytes.len);
    return event;
}

/* Reads; returns 0 or what broke the connection. */
static int feed(struct side *e, const char *bytes, size_t len)
{
    return read_in_pieces((rota_str){bytes, len}, 0, len, take, e);
}

static int feed_in_pieces(struct side *e, const struct rota__out *out, size_t split, size_t piece)
{
    return read_in_pieces((rota_str){out->ptr, out->len}, split, piece, take, e);
}

/* Moves what `from` has to send, in pieces of at most `piece` bytes. */
static int carry(struct side *from, struct side *to, size_t piece)
{
    struct rota__out out = from->h2.out;
    from->h2.out = (struct rota__out){0};
    int err = feed_in_pieces(to, &out, 0, piece);
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
        CHECK_STR(p.server.told.text, told_to_server);
        CHECK_STR(p.client.told.text, told_to_client);
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
    if (err == 0)
        err = feed_in_pieces(&e, bytes, split, piece);
    CHECK(err == 0 || err == -ENOMEM);
    const char *expected = is_server ? told_to_server : told_to_client;
    if (err == 0 && strcmp(e.told.text, expected) != 0)
        FAIL("split at %zu, in pieces of %zu:\n  is   %s\n  want %s", split, piece, e.told.text,
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
        CHECK_STR(p.client.told.text, "<1 200 content-length=1000 (1000)>$1");
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
        CHECK_STR(p.server.told.text, "<1 GET http://a/ x=y cookie=a=1; b=2; c=3>$1");
    close_pair(&p);
}

/* ---- Frames by hand */

static void put_head(struct rota__out *out, size_t len, int type, int flags, int32_t id)
{
    char head[FRAME_HEAD];
    write_frame_head(head, len, type, flags, (uint32_t)id);
    rota__out_add(out, head, sizeof head);
}

static void put(struct rota__out *out, int type, int flags, int32_t id, rota_str payload)
{
    put_head(out, payload.len, type, flags, id);
    rota__out_add_str(out, payload);
}

/* A string of HPACK, not by Huffman (RFC 7541, section 5.2). */
static void put_string(struct rota__out *out, rota_str s)
{
    char c = (char)(s.len < 127 ? s.len : 127);
    rota__out_add(out, &c, 1);
    for (size_t rest = s.len; s.len >= 127;) {
        rest = rest == s.len ? s.len - 127 : rest >> 7;
        c = (char)((rest & 127) | (rest > 127 ? 128 : 0));
        rota__out_add(out, &c, 1);
        if (rest <= 127)
            break;
    }
    rota__out_add_str(out, s);
}

/* Literal without indexing. */
static void put_field(struct rota__out *out, rota_str name, rota_str value)
{
    rota__out_add(out, "", 1);
    put_string(out, name);
    put_string(out, value);
}

/* Lines of "name value". */
static void put_fields(struct rota__out *out, int flags, int32_t id, rota_str lines)
{
    struct rota__out block = {0};
    const char *at = lines.ptr, *end = at + lines.len;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end ? line_end : end;
        const char *space = memchr(at, ' ', (size_t)(line_end - at));
        put_field(&block, (rota_str){at, (size_t)(space - at)},
                  (rota_str){space + 1, (size_t)(line_end - space - 1)});
        at = line_end + 1;
    }
    put(out, HEADERS, flags | END_HEADERS, id, (rota_str){block.ptr, block.len});
    out->err = out->err ? out->err : block.err;
    rota__out_fini(&block);
}

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define REQUEST ":method GET\n:scheme http\n:path /\n:authority a"

static bool open_side(struct side *e, bool is_server, const struct rota__h2_limits *limits)
{
    *e = (struct side){.now = ROTA_SECOND};
    int err = rota__h2_init(&e->h2, is_server, limits);
    CHECK(err == 0 || err == -ENOMEM);
    return err == 0;
}

/* A peer's preface; `out` is emptied. */
static void put_preface(struct rota__out *out, bool of_client)
{
    if (of_client)
        rota__out_add_literal(out, PREFACE);
    put(out, SETTINGS, 0, 0, S(""));
}

static int feed_out(struct side *e, struct rota__out *out)
{
    int err = out->err ? out->err : feed(e, out->ptr, out->len);
    out->len = 0;
    return err;
}

/* The code of the last RST_STREAM for a stream, or of GOAWAY for 0, in what a side has to send; -1
 * for none. */
static int64_t sent_code(const struct side *e, int32_t id)
{
    const unsigned char *at = (const unsigned char *)e->h2.out.ptr;
    const unsigned char *end = at ? at + e->h2.out.len : NULL;
    int64_t code = -1;
    if (!e->h2.is_server && end - at > 24 && memcmp(at, PREFACE, 24) == 0)
        at += 24;
    while (end - at >= 9) {
        size_t len = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2];
        int32_t to = at[5] << 24 | at[6] << 16 | at[7] << 8 | at[8];
        const unsigned char *number = at + 9 + (id ? 0 : 4);
        if (at[3] == (id ? RST_STREAM : GOAWAY) && to == id)
            code = (int64_t)number[0] << 24 | number[1] << 16 | number[2] << 8 | number[3];
        at += 9 + len;
    }
    return code;
}

/* ---- What is refused */

struct bad_head {
    const char *section; /* of RFC 9113 */
    rota_str fields;
    int64_t code;
    int flags; /* less END_STREAM */
    rota_str data;
};

#define H(literal_) ((rota_str){literal_, sizeof(literal_) - 1})
#define REST ":scheme http\n:path /\n:authority a"

static const struct bad_head bad_requests[] = {
    {"8.2.1", H(REQUEST "\nX-A b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\n:x b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\na:b c"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\n\x7f b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\n b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\na b\rc"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\na b\0c"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\na b\x7f"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\na  b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\na b "), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.1", H(REQUEST "\na b\t"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.2", H(REQUEST "\nconnection close"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.2", H(REQUEST "\nkeep-alive 1"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.2", H(REQUEST "\nproxy-connection close"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.2", H(REQUEST "\ntransfer-encoding chunked"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.2", H(REQUEST "\nupgrade x"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.2", H(REQUEST "\nte gzip"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3", H("a b\n" REQUEST), ROTA__H2_PROTOCOL_ERROR},
    {"8.3", H(REQUEST "\n:status 200"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3", H(REQUEST "\n:protocol websocket"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REQUEST "\n:method GET"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REQUEST "\n:path /"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REQUEST "\n:scheme http"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REQUEST "\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REST), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method \n" REST), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method G T\n" REST), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:path /\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme \n:path /\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme ht^p\n:path /\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path \n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path x\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path *\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /a b\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /#\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\xc3\n:authority a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority "), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority a b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority u@a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority a%2eb"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority a\\b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority a..b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority .a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority 127.1"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority [a]"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority [::1"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority [::1%25]"),
     ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(":method GET\n:scheme http\n:path /\n:authority a:x"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REQUEST "\nhost b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REQUEST "\nhost a:81"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REQUEST "\nhost a\nhost a"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.1", H(REQUEST "\nhost "), ROTA__H2_PROTOCOL_ERROR},
    {"8.5", H(":method CONNECT\n" REST), ROTA__H2_PROTOCOL_ERROR},
    {"8.5", H(":method CONNECT"), ROTA__H2_PROTOCOL_ERROR},
    {"8.5", H(":method CONNECT\n:authority a:1\ncontent-length 0"), ROTA__H2_PROTOCOL_ERROR},
    {"8.5", H(":method CONNECT\n:authority a:x"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(REQUEST "\ncontent-length 1"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(REQUEST "\ncontent-length x"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(REQUEST "\ncontent-length -1"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(REQUEST "\ncontent-length +0"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(REQUEST "\ncontent-length "), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(REQUEST "\ncontent-length 0, 0"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(REQUEST "\ncontent-length 99999999999999999999"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(REQUEST "\ncontent-length 0\ncontent-length 0"), ROTA__H2_PROTOCOL_ERROR},
};

static void check_bad_head(const struct bad_head *bad)
{
    struct side e;
    struct rota__out out = {0};
    if (!open_side(&e, true, NULL))
        return;
    put_preface(&out, true);
    put_fields(&out, END_STREAM, 1, bad->fields);
    put_fields(&out, END_STREAM, 3, S(REQUEST));
    int err = feed_out(&e, &out);
    CHECK(err == 0 || err == -ENOMEM);
    if (err == 0 &&
        (sent_code(&e, 1) != bad->code || strcmp(e.told.text, "<3 GET http://a/>$3") != 0))
        FAIL("section %s: %.*s: reset with %lld, told %s", bad->section, STR(bad->fields),
             (long long)sent_code(&e, 1), e.told.text);
    close_side(&e);
    rota__out_fini(&out);
}

/* The stream is reset, nothing of it is told, and the connection goes on. */
TEST(a_malformed_request_is_refused_alone)
{
    for (size_t i = 0; i < COUNT(bad_requests); i++)
        check_bad_head(&bad_requests[i]);
}

static const rota_str good_requests[][2] = {
    {H(REQUEST "\nhost a"), H("GET http://a/ host=a")},
    {H(REQUEST "\nhost A:80"), H("GET http://a/ host=A:80")},
    {H(":method GET\n:scheme http\n:path /\nhost a"), H("GET http://a/ host=a")},
    {H(":method OPTIONS\n:scheme http\n:path *\n:authority a"), H("OPTIONS http://a*")},
    {H(":method CONNECT\n:authority a:443"), H("CONNECT ://a:443")},
    {H(REQUEST "\nte trailers"), H("GET http://a/ te=trailers")},
    {H(REQUEST "\ncontent-length 0"), H("GET http://a/ content-length=0 (0)")},
    {H(REQUEST "\nexpect 100-Continue"), H("GET http://a/ expect=100-Continue expect")},
    {H(REQUEST "\na \xff"), H("GET http://a/ a=\xff")},
    {H(REQUEST "\na "), H("GET http://a/ a=")},
    {H(":path /?[]{}|\n:scheme x+y-1.\n:authority [::1]:8\n:method !#$"),
     H("!#$ x+y-1.://[::1]:8/?[]{}|")},
};

TEST(what_is_unusual_but_right_is_understood)
{
    for (size_t i = 0; i < COUNT(good_requests); i++) {
        struct side e;
        struct rota__out out = {0};
        if (!open_side(&e, true, NULL))
            return;
        put_preface(&out, true);
        put_fields(&out, END_STREAM, 1, good_requests[i][0]);
        if (feed_out(&e, &out) == 0) {
            char expected[200];
            snprintf(expected, sizeof expected, "<1 %.*s>$1", STR(good_requests[i][1]));
            CHECK_STR(e.told.text, expected);
        }
        close_side(&e);
        rota__out_fini(&out);
    }
}

static const struct bad_head bad_responses[] = {
    {"8.3.2", H("a b"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.2", H(":status 20"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.2", H(":status 2000"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.2", H(":status 2x0"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.2", H(":status 099"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.2", H(":status +20"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3.2", H(":status 200\n:status 200"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3", H(":status 200\n:path /"), ROTA__H2_PROTOCOL_ERROR},
    {"8.3", H("a b\n:status 200"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.2", H(":status 200\nconnection close"), ROTA__H2_PROTOCOL_ERROR},
    {"8.2.2", H(":status 200\ntransfer-encoding chunked"), ROTA__H2_PROTOCOL_ERROR},
    {"8.6", H(":status 101"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(":status 200\ncontent-length 1"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1.1", H(":status 200\ncontent-length 0\ncontent-length 0"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1", H(":status 103"), ROTA__H2_PROTOCOL_ERROR}, /* and nothing behind it */
};

static bool open_client(struct side *e, struct rota__out *out)
{
    *out = (struct rota__out){0};
    if (!open_side(e, false, NULL))
        return false;
    struct rota__h2_head head = get(S("/"));
    put_preface(out, false);
    put(out, SETTINGS, ACK, 0, S(""));
    if (rota__h2_request(&e->h2, &e->streams[0], &head) == 0 && feed_out(e, out) == 0)
        return true;
    close_side(e);
    rota__out_fini(out);
    return false;
}

/* A request without an authority, and CONNECT with a path: libnghttp2 refuses both. */
TEST(a_refused_request_is_not_said_to_have_the_wrong_length)
{
    static const rota_str requests[] = {H(":method GET\n:scheme http\n:path /"),
                                        H(":method CONNECT\n:authority a:1\n:path /")};
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct side e;
        struct rota__out out = {0};
        if (!open_side(&e, true, NULL))
            return;
        put_preface(&out, true);
        put_fields(&out, END_STREAM, 1, requests[i]);
        int err = feed_out(&e, &out);
        CHECK(err == 0 || err == -ENOMEM);
        if (err == 0)
            CHECK(e.h2.why && !strstr(e.h2.why, "Content-Length"));
        close_side(&e);
        rota__out_fini(&out);
    }
}

TEST(a_malformed_response_is_refused_alone)
{
    for (size_t i = 0; i < COUNT(bad_responses); i++) {
        const struct bad_head *bad = &bad_responses[i];
        struct side e;
        struct rota__out out;
        if (!open_client(&e, &out))
            return;
        put_fields(&out, END_STREAM, 1, bad->fields);
        int err = feed_out(&e, &out);
        CHECK(err == 0 || err == -ENOMEM);
        if (err == 0 && (sent_code(&e, 1) != bad->code || !strstr(e.told.text, "!1:1") ||
                         strstr(e.told.text, "$") || strstr(e.told.text, "<1 200")))
            FAIL("section %s: %.*s: reset with %lld, told %s", bad->section, STR(bad->fields),
                 (long long)sent_code(&e, 1), e.told.text);
        close_side(&e);
        rota__out_fini(&out);
    }
}

/* Of a connection: frames that follow a preface and a request that is open on stream 1. */
struct bad_frame {
    const char *section;
    int type, flags;
    int32_t id;
    rota_str payload;
    int64_t code;
    int32_t resets; /* the stream, rather than the connection */
};

static const struct bad_frame bad_frames[] = {
    {"4.1", UNKNOWN, 0xff, 1, H("x"), -1},
    {"4.2", PING, 0, 0, H("1234567"), ROTA__H2_FRAME_SIZE_ERROR},
    {"4.2", PING, 0, 0, H("123456789"), ROTA__H2_FRAME_SIZE_ERROR},
    {"4.2", SETTINGS, 0, 0, H("12345"), ROTA__H2_FRAME_SIZE_ERROR},
    {"4.3", HEADERS, END_HEADERS, 3, H("\xff\xff\xff\xff\xff\xff"), ROTA__H2_COMPRESSION_ERROR},
    {"4.3", HEADERS, END_HEADERS, 3, H("\xbf"), ROTA__H2_COMPRESSION_ERROR},
    {"5.1", DATA, 0, 5, H("x"), ROTA__H2_PROTOCOL_ERROR},
    {"5.1", RST_STREAM, 0, 5, H("\0\0\0\0"), ROTA__H2_PROTOCOL_ERROR},
    {"5.1", WINDOW_UPDATE, 0, 5, H("\0\0\0\1"), ROTA__H2_PROTOCOL_ERROR},
    {"5.1.1", HEADERS, END_HEADERS, 2, H("\x82\x84\x86"), ROTA__H2_PROTOCOL_ERROR},
    {"6.1", DATA, 0, 0, H("x"), ROTA__H2_PROTOCOL_ERROR},
    {"6.1", DATA, PADDED, 1, H("\x05x"), ROTA__H2_PROTOCOL_ERROR},
    {"6.1", DATA, PADDED, 1, H(""), ROTA__H2_PROTOCOL_ERROR},
    {"6.2", HEADERS, END_HEADERS, 0, H("\x82\x84\x86"), ROTA__H2_PROTOCOL_ERROR},
    {"6.2", HEADERS, END_HEADERS | PADDED, 3, H("\x09\x82\x84\x86"), ROTA__H2_PROTOCOL_ERROR},
    {"6.4", RST_STREAM, 0, 0, H("\0\0\0\0"), ROTA__H2_PROTOCOL_ERROR},
    {"6.4", RST_STREAM, 0, 1, H("\0\0\0"), ROTA__H2_FRAME_SIZE_ERROR},
    {"6.5", SETTINGS, 0, 1, H(""), ROTA__H2_PROTOCOL_ERROR},
    {"6.5", SETTINGS, ACK, 0, H("123456"), ROTA__H2_FRAME_SIZE_ERROR},
    {"6.5.2", SETTINGS, 0, 0, H("\0\2\0\0\0\2"), ROTA__H2_PROTOCOL_ERROR},
    {"6.5.2", SETTINGS, 0, 0, H("\0\4\x80\0\0\0"), ROTA__H2_FLOW_CONTROL_ERROR},
    {"6.5.2", SETTINGS, 0, 0, H("\0\5\0\0\0\0"), ROTA__H2_PROTOCOL_ERROR},
    {"6.6", PUSH_PROMISE, END_HEADERS, 1, H("\0\0\0\2\x82"), ROTA__H2_PROTOCOL_ERROR},
    {"6.7", PING, 0, 1, H("12345678"), ROTA__H2_PROTOCOL_ERROR},
    {"6.8", GOAWAY, 0, 1, H("\0\0\0\0\0\0\0\0"), ROTA__H2_PROTOCOL_ERROR},
    {"6.9", WINDOW_UPDATE, 0, 0, H("\0\0\0\0"), ROTA__H2_PROTOCOL_ERROR},
    {"6.9", WINDOW_UPDATE, 0, 1, H("\0\0\0\0"), ROTA__H2_PROTOCOL_ERROR}, /* or of the stream */
    {"6.9", WINDOW_UPDATE, 0, 0, H("\0\0\0"), ROTA__H2_FRAME_SIZE_ERROR},
    {"6.9.1", WINDOW_UPDATE, 0, 0, H("\x7f\xff\xff\xff"), ROTA__H2_FLOW_CONTROL_ERROR},
    {"6.9.1", WINDOW_UPDATE, 0, 1, H("\x7f\xff\xff\xff"), ROTA__H2_FLOW_CONTROL_ERROR, 1},
    {"6.10", CONTINUATION, END_HEADERS, 1, H("\x82"), ROTA__H2_PROTOCOL_ERROR},
    {"8.1", HEADERS, END_HEADERS, 1, H(""), ROTA__H2_PROTOCOL_ERROR, 1}, /* no END_STREAM */
    {"8.1.1", DATA, END_STREAM, 1, H("1234"), ROTA__H2_PROTOCOL_ERROR, 1},
    {"8.1.1", DATA, 0, 1, H("123456"), ROTA__H2_PROTOCOL_ERROR, 1},
    {"8.1.1", DATA, END_STREAM, 1, H("12345"), -1},
};

static void check_bad_frame(const struct bad_frame *bad)
{
    struct side e;
    struct rota__out out = {0};
    if (!open_side(&e, true, NULL))
        return;
    put_preface(&out, true);
    put_fields(&out, 0, 1, S(REQUEST "\ncontent-length 5"));
    put(&out, bad->type, bad->flags, bad->id, bad->payload);
    put(&out, PING, 0, 0, S("anything"));
    int err = feed_out(&e, &out);
    bool breaks = bad->code >= 0 && !bad->resets;
    if (err != -ENOMEM &&
        (sent_code(&e, bad->resets) != bad->code || err != (breaks ? -EBADMSG : 0) ||
         (bad->resets && !strstr(e.told.text, "!1:")) ||
         (breaks && (e.h2.code != bad->code || !*e.h2.error || sent_code(&e, 1) >= 0))))
        FAIL("section %s, type %d: code %lld, error %d %s, told %s", bad->section, bad->type,
             (long long)sent_code(&e, bad->resets), err, e.h2.error, e.told.text);
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_broken_frame_ends_the_stream_or_the_connection_as_the_rfc_says)
{
    for (size_t i = 0; i < COUNT(bad_frames); i++)
        check_bad_frame(&bad_frames[i]);
}

/* To a client, whose stream 1 is a GET and 3 a HEAD. */
static const struct {
    const char *section;
    rota_str head; /* on the stream, before the frame */
    struct bad_frame frame;
} bad_answers[] = {
    {"5.1.1", H(""), {"", HEADERS, END_HEADERS, 2, H("\x88"), ROTA__H2_PROTOCOL_ERROR, 0}},
    {"5.1.1", H(""), {"", HEADERS, END_HEADERS, 5, H("\x88"), ROTA__H2_PROTOCOL_ERROR, 0}},
    {"8.4",
     H(""),
     {"", PUSH_PROMISE, END_HEADERS, 1, H("\0\0\0\2\x82"), ROTA__H2_PROTOCOL_ERROR, 0}},
    {"8.1", H(""), {"", DATA, 0, 1, H("x"), ROTA__H2_PROTOCOL_ERROR, 0}},
    {"8.1", H(":status 200"), {"", HEADERS, END_HEADERS, 1, H("\x88"), ROTA__H2_PROTOCOL_ERROR, 1}},
    {"8.1", H(":status 103"), {"", DATA, 0, 1, H("x"), ROTA__H2_PROTOCOL_ERROR, 1}},
    {"8.1.1", H(":status 204"), {"", DATA, 0, 1, H("x"), ROTA__H2_PROTOCOL_ERROR, 1}},
    {"8.1.1", H(":status 304"), {"", DATA, 0, 1, H("x"), ROTA__H2_PROTOCOL_ERROR, 1}},
    {"8.1.1", H(":status 200"), {"", DATA, 0, 3, H("x"), ROTA__H2_PROTOCOL_ERROR, 3}},
    {"8.1.1",
     H(":status 200\ncontent-length 2"),
     {"", DATA, 0, 1, H("xyz"), ROTA__H2_PROTOCOL_ERROR, 1}},
    {"8.1.1",
     H(":status 200\ncontent-length 2"),
     {"", DATA, END_STREAM, 1, H("x"), ROTA__H2_PROTOCOL_ERROR, 1}},
    {"6.5.2", H(""), {"", SETTINGS, 0, 0, H("\0\2\0\0\0\1"), ROTA__H2_PROTOCOL_ERROR, 0}},
};

TEST(a_broken_answer_ends_the_stream_or_the_connection)
{
    for (size_t i = 0; i < COUNT(bad_answers); i++) {
        const struct bad_frame *bad = &bad_answers[i].frame;
        struct side e;
        struct rota__out out;
        if (!open_client(&e, &out))
            return;
        struct rota__h2_head head = get(S("/"));
        head.method = S("HEAD");
        int err = rota__h2_request(&e.h2, &e.streams[1], &head);
        if (bad_answers[i].head.len)
            put_fields(&out, 0, bad->id, bad_answers[i].head);
        put(&out, bad->type, bad->flags, bad->id, bad->payload);
        if (err == 0)
            err = feed_out(&e, &out);
        if (err != -ENOMEM &&
            (sent_code(&e, bad->resets) != bad->code || err != (bad->resets ? 0 : -EBADMSG) ||
             (bad->resets && !strstr(e.told.text, ":1 ")) || strstr(e.told.text, "$")))
            FAIL("section %s, %zu: code %lld, error %d, told %s", bad_answers[i].section, i,
                 (long long)sent_code(&e, bad->resets), err, e.told.text);
        close_side(&e);
        rota__out_fini(&out);
    }
}

/* Before the server has seen that we want no push. */
TEST(a_push_that_comes_early_is_refused)
{
    struct side e;
    struct rota__out out = {0};
    struct rota__h2_head head = get(S("/"));
    if (!open_side(&e, false, NULL))
        return;
    put_preface(&out, false);
    put(&out, PUSH_PROMISE, END_HEADERS, 1,
        S("\0\0\0\2\x82\x84\x86\x41\x01"
          "a"));
    if (rota__h2_request(&e.h2, &e.streams[0], &head) == 0 && feed_out(&e, &out) == 0) {
        CHECK_INT(sent_code(&e, 2), !=, -1);
        CHECK_INT(e.h2.open, ==, 1);
        CHECK_STR(e.told.text, "");
    }
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_frame_within_a_head_ends_the_connection)
{
    struct side e;
    struct rota__out out = {0};
    if (!open_side(&e, true, NULL))
        return;
    put_preface(&out, true);
    put(&out, HEADERS, 0, 1, S("\x82"));
    put(&out, PING, 0, 0, S("anything"));
    int err = feed_out(&e, &out);
    CHECK(err == -EBADMSG || err == -ENOMEM);
    if (err == -EBADMSG)
        CHECK_INT(sent_code(&e, 0), ==, ROTA__H2_PROTOCOL_ERROR);
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_connection_begins_with_the_preface_and_settings)
{
    static const struct {
        rota_str bytes;
        int64_t code;
    } bad[] = {
        {H("GET / HTTP/1.1\r\n\r\n0123456789"), ROTA__H2_PROTOCOL_ERROR},
        {H(PREFACE "\0\0\x08\x06\0\0\0\0\0anything"), ROTA__H2_PROTOCOL_ERROR},
        {H(PREFACE "\0\0\0\x04\x01\0\0\0\0"), ROTA__H2_PROTOCOL_ERROR},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct side e;
        if (!open_side(&e, true, NULL))
            return;
        int err = feed(&e, bad[i].bytes.ptr, bad[i].bytes.len);
        CHECK(err == -EBADMSG || err == -ENOMEM);
        if (err == -EBADMSG)
            CHECK_INT(sent_code(&e, 0), ==, bad[i].code);
        close_side(&e);
    }
    CHECK_INT(rota__h2_is_preface(S(PREFACE "x")), ==, 1);
    CHECK_INT(rota__h2_is_preface(S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r")), ==, 0);
    CHECK_INT(rota__h2_is_preface(S("")), ==, 0);
    CHECK_INT(rota__h2_is_preface(S("PRI * HTTP/2.0\r\n\r\nSM\r\n\rx")), ==, -EBADMSG);
    CHECK_INT(rota__h2_is_preface(S("PUT / ")), ==, -EBADMSG);
}

/* ---- Limits */

static void put_big_head(struct rota__out *out, int32_t id, size_t count, size_t size, int flags)
{
    struct rota__out block = {0};
    char *value = malloc(size + 1);
    memset(value, 'v', size);
    put_field(&block, S(":method"), S("GET"));
    put_field(&block, S(":scheme"), S("http"));
    put_field(&block, S(":path"), S("/"));
    put_field(&block, S(":authority"), S("a"));
    for (size_t i = 0; i < count; i++)
        put_field(&block, S("x"), (rota_str){value, size});
    for (size_t at = 0; at < block.len; at += 16384) {
        bool last = block.len - at <= 16384;
        put(out, at ? CONTINUATION : HEADERS, (last ? END_HEADERS : 0) | (at ? 0 : flags), id,
            (rota_str){block.ptr + at, last ? block.len - at : 16384});
    }
    out->err = out->err ? out->err : block.err;
    rota__out_fini(&block);
    free(value);
}

static void check_big_head(size_t count, size_t size, int flags, const char *expected)
{
    struct side e;
    struct rota__out out = {0};
    if (!open_side(&e, true, NULL))
        return;
    put_preface(&out, true);
    put_big_head(&out, 1, count, size, flags);
    put_fields(&out, END_STREAM, 3, S(REQUEST));
    if (feed_out(&e, &out) == 0) {
        if (strncmp(e.told.text, expected, strlen(expected)) != 0 || !strstr(e.told.text, "<3 GET"))
            FAIL("%zu fields of %zu: told %s", count, size, e.told.text);
        bool refused = *expected == 'r';
        CHECK_INT(sent_code(&e, 1), ==, refused && !flags ? ROTA__H2_NO_ERROR : -1);
        CHECK_INT(e.h2.open, ==, refused ? 1 : 2);
    }
    close_side(&e);
    rota__out_fini(&out);
}

/* An answer, and the connection goes on; libnghttp2 takes eight more frames of a head, no more. */
TEST(a_head_over_the_limit_is_answered_with_431)
{
    check_big_head(90, 3, END_STREAM, "<1 GET");
    check_big_head(101, 3, END_STREAM, "refused:431 more than 100 header fields (option fields)");
    check_big_head(105, 3, 0, "refused:431 more than 100 header fields (option fields)");
    check_big_head(1, 32700, END_STREAM, "refused:431 head longer than 32768 bytes (option head)");
    check_big_head(4, 30000, 0, "refused:431 head longer than 32768 bytes (option head)");
}

TEST(a_large_head_may_come_in_pieces)
{
    for (size_t piece = 1; piece < 100; piece += 7) {
        struct side e;
        struct rota__out out = {0};
        if (!open_side(&e, true, NULL))
            return;
        put_preface(&out, true);
        put_big_head(&out, 1, 90, 50, END_STREAM);
        int err = out.err ? out.err : feed_in_pieces(&e, &out, 0, piece);
        CHECK(err == 0 || err == -ENOMEM);
        if (err == 0) {
            CHECK(strncmp(e.told.text, "<1 GET http://a/ x=vvv", 22) == 0 &&
                  strstr(e.told.text, "v>$1"));
            CHECK_INT(e.h2.block.room, ==, 0); /* given back */
        }
        close_side(&e);
        rota__out_fini(&out);
    }
}

/* Of its head, too. */
TEST(a_continuation_may_come_byte_by_byte)
{
    struct side e;
    struct rota__out out = {0};
    if (!open_side(&e, true, NULL))
        return;
    put_preface(&out, true);
    put(&out, HEADERS, END_STREAM, 1, S("\x82"));
    put(&out, CONTINUATION, 0, 1, S(""));
    put(&out, CONTINUATION, END_HEADERS, 1,
        S("\x84\x86\x41\x01"
          "a"));
    int err = out.err ? out.err : feed_in_pieces(&e, &out, 0, 1);
    CHECK(err == 0 || err == -ENOMEM);
    if (err == 0)
        CHECK_STR(e.told.text, "<1 GET http://a/>$1");
    close_side(&e);
    rota__out_fini(&out);
}

TEST(an_endless_head_ends_the_connection)
{
    struct side e;
    struct rota__out out = {0};
    if (!open_side(&e, true, NULL))
        return;
    put_preface(&out, true);
    put_big_head(&out, 1, 20, 16000, 0);
    int err = feed_out(&e, &out);
    CHECK(err == -EBADMSG || err == -ENOMEM);
    if (err == -EBADMSG)
        CHECK_INT(sent_code(&e, 0), ==, ROTA__H2_ENHANCE_YOUR_CALM);
    CHECK_INT(e.h2.block.text.room + e.h2.block.cookie.room, <, 65537);
    close_side(&e);
    rota__out_fini(&out);
}

/* A field of 3 KiB in the table of HPACK, and a byte for each time that it is named: 48 MB, of
 * which 128 KiB are looked at. The table is as it should be afterwards. */
TEST(a_bomb_of_hpack_takes_neither_memory_nor_time)
{
    struct side e;
    struct rota__out out = {0};
    char block[16000], value[3000];
    if (!open_side(&e, true, NULL))
        return;
    memset(value, 'v', sizeof value);
    put_preface(&out, true);
    struct rota__out first = {0};
    rota__out_add_literal(&first, "\x82\x84\x86\x41\x01"
                                  "a\x40");
    put_string(&first, S("x"));
    put_string(&first, (rota_str){value, sizeof value});
    put(&out, HEADERS, END_HEADERS | END_STREAM, 1, (rota_str){first.ptr, first.len});
    memset(block, 0xbe, sizeof block);
    memcpy(block, "\x82\x84\x86\xbf", 4);
    put(&out, HEADERS, END_HEADERS | END_STREAM, 3, (rota_str){block, sizeof block});
    put(&out, HEADERS, END_HEADERS | END_STREAM, 5,
        S("\x82\x84\x86\x41\x01"
          "b\xbf"));
    if (first.err == 0 && feed_out(&e, &out) == 0) {
        const char *next = strstr(e.told.text, "$1<5 GET http://b/ x=vvv");
        CHECK(next != NULL);
        CHECK_INT(sent_code(&e, 3), ==, ROTA__H2_ENHANCE_YOUR_CALM);
        CHECK_INT(e.h2.open, ==, 2);
        CHECK_INT(e.h2.block.text.room, <, 65537);
    }
    rota__out_fini(&first);
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_response_over_the_limit_is_reset)
{
    struct pair p;
    struct rota__h2_limits limits = {.head = 1000};
    if (!open_pair_with(&p, &limits, NULL))
        return;
    struct rota__h2_head head = get(S("/"));
    request(&p, &head);
    int err = settle(&p);
    char value[1000];
    memset(value, 'v', sizeof value);
    struct rota__h2_head answer = {
        .status = 200, FIELDS({S("x"), {value, sizeof value}}), .end = true};
    if (err == 0)
        err = rota__h2_respond(&p.server.h2, &p.server.streams[0], &answer);
    if (err == 0 && settle(&p) == 0)
        CHECK_STR(p.client.told.text, "!1:11 head longer than 1000 bytes (option head) ");
    close_pair(&p);
}

TEST(a_peer_has_no_more_streams_than_it_may)
{
    struct pair p;
    struct rota__h2_limits limits = {.streams = 3};
    if (!open_pair_with(&p, NULL, &limits))
        return;
    struct rota__h2_head head = get(S("/"));
    for (int i = 0; i < 3; i++)
        request(&p, &head);
    if (p.client.h2.err == 0) {
        CHECK_INT(rota__h2_free(&p.client.h2), ==, 0);
        CHECK_INT(rota__h2_request(&p.client.h2, &p.client.streams[3], &head), ==, -EAGAIN);
    }
    int err = settle(&p);
    struct rota__h2_head answer = {.status = 200, .end = true};
    if (err == 0)
        err = rota__h2_respond(&p.server.h2, &p.server.streams[1], &answer);
    if (err == 0 && settle(&p) == 0)
        CHECK_INT(rota__h2_free(&p.client.h2), ==, 1);
    close_pair(&p);
}

/* Before it has seen our settings a peer may be over; then it is told to try again. */
TEST(a_stream_over_the_limit_is_refused)
{
    struct side e;
    struct rota__out out = {0};
    struct rota__h2_limits limits = {.streams = 1};
    if (!open_side(&e, true, &limits))
        return;
    put_preface(&out, true);
    put_fields(&out, 0, 1, S(REQUEST));
    put_fields(&out, 0, 3, S(REQUEST));
    if (feed_out(&e, &out) == 0) {
        CHECK_STR(e.told.text, "<1 GET http://a/>");
        CHECK_INT(sent_code(&e, 3), ==, ROTA__H2_REFUSED_STREAM);
        CHECK_INT(e.h2.open, ==, 1);
    }
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_request_that_nobody_takes_is_refused)
{
    struct side e = {.now = 0};
    struct rota__out out = {0};
    if (!open_side(&e, true, NULL))
        return;
    e.refuses = true;
    put_preface(&out, true);
    put_fields(&out, END_STREAM, 1, S(REQUEST));
    put_fields(&out, 0, 3, S(REQUEST));
    put(&out, DATA, 0, 3, S("hello"));
    if (feed_out(&e, &out) == 0) {
        CHECK_STR(e.told.text, "<1 GET http://a/><3 GET http://a/>");
        CHECK_INT(sent_code(&e, 1), ==, ROTA__H2_REFUSED_STREAM);
        CHECK_INT(sent_code(&e, 3), ==, ROTA__H2_REFUSED_STREAM);
        CHECK_INT(e.h2.open, ==, 0);
    }
    close_side(&e);
    rota__out_fini(&out);
}

/* ---- Floods */

/* Feeds the same frames again and again, emptying `out` if the peer reads. Returns after how many
 * times it broke, or 0. */
static int flood(struct side *e, struct rota__out *frames, int times, bool reads, rota_time each)
{
    for (int i = 1; i <= times; i++) {
        e->now += each;
        int err = feed(e, frames->ptr, frames->len);
        if (err < 0)
            return i;
        if (reads)
            e->h2.out.len = 0;
        e->told.len = 0;
    }
    return 0;
}

static const struct {
    int type, flags;
    int32_t id;
    rota_str payload;
} idle_frames[] = {
    {PING, 0, 0, H("anything")},
    {PING, ACK, 0, H("anything")},
    {SETTINGS, 0, 0, H("")},
    {SETTINGS, 0, 0, H("\0\4\0\0\xff\xff")},
    {PRIORITY, 0, 1, H("\0\0\0\0\x10")},
    {PRIORITY, 0, 7, H("\0\0\0\0\x10")},
    {WINDOW_UPDATE, 0, 0, H("\0\0\0\1")},
    {WINDOW_UPDATE, 0, 1, H("\0\0\0\1")},
    {DATA, 0, 1, H("")},
    {DATA, PADDED, 1, H("\0")},
    {UNKNOWN, 0, 0, H("")},
    {UNKNOWN, 0, 1, H("x")},
    {GOAWAY, 0, 0, H("\0\0\0\0\0\0\0\0")},
};

static int flood_idle(size_t which, bool reads, rota_time each, int times)
{
    struct side e;
    struct rota__out out = {0};
    int result = -1;
    if (!open_side(&e, true, NULL))
        return -1;
    put_preface(&out, true);
    put_fields(&out, 0, 1, S(REQUEST));
    if (feed_out(&e, &out) == 0) {
        put(&out, idle_frames[which].type, idle_frames[which].flags, idle_frames[which].id,
            idle_frames[which].payload);
        result = flood(&e, &out, times, reads, each);
        if (e.h2.err == -EBADMSG) {
            CHECK_INT(e.h2.code, ==, ROTA__H2_ENHANCE_YOUR_CALM);
            CHECK_INT(sent_code(&e, 0), ==, ROTA__H2_ENHANCE_YOUR_CALM);
        }
        CHECK_INT(e.h2.out.len, <=, 256 * 1024 + 100);
    }
    close_side(&e);
    rota__out_fini(&out);
    return result;
}

/* Again and again is without faults: what they would find the cases above have. */
TEST_WITH(frames_that_move_nothing_on_are_counted, .without_faults = true)
{
    for (size_t i = 0; i < COUNT(idle_frames); i++) {
        CHECK_INT(flood_idle(i, true, 0, 10000), ==,
                  2004); /* the preface has one, the request earns four */
        CHECK_INT(flood_idle(i, true, ROTA_MILLISECOND, 10000), >, 3900);
        CHECK_INT(flood_idle(i, true, 2 * ROTA_MILLISECOND, 10000), ==, 0);
    }
}

TEST_WITH(answers_that_nobody_reads_do_not_pile_up, .without_faults = true)
{
    int times = flood_idle(0, false, 10 * ROTA_MILLISECOND, 100000);
    CHECK_INT(times, >, 10000);
    CHECK_INT(times, <, 256 * 1024 / 17 + 10);
}

static int flood_resets(bool by_peer, rota_time each)
{
    struct side e;
    struct rota__out out = {0};
    int times = 0;
    if (!open_side(&e, true, NULL))
        return -1;
    put_preface(&out, true);
    feed_out(&e, &out);
    for (int32_t id = 1; id < 4000 && e.h2.err == 0; id += 2, times++) {
        e.now += each;
        put_fields(&out, 0, id, by_peer ? S(REQUEST) : S(REQUEST "\nconnection close"));
        if (by_peer)
            put(&out, RST_STREAM, 0, id, S("\0\0\0\x08"));
        feed_out(&e, &out);
        if (e.used) {
            rota__h2_drop(&e.h2, &e.streams[0], ROTA__H2_CANCEL);
            e.used = 0;
        }
        e.h2.out.len = e.h2.err ? e.h2.out.len : 0;
        e.told.len = 0;
    }
    int err = e.h2.err;
    if (err == -EBADMSG) {
        CHECK_INT(e.h2.code, ==, ROTA__H2_ENHANCE_YOUR_CALM);
        CHECK_STR(e.h2.error, "too many streams were reset");
    }
    close_side(&e);
    rota__out_fini(&out);
    return err ? times : 0;
}

/* CVE-2023-44487, and CVE-2025-8671, where the peer has us do it. */
TEST_WITH(streams_that_are_reset_at_once_are_counted, .without_faults = true)
{
    CHECK_INT(flood_resets(true, 0), ==, 201);
    CHECK_INT(flood_resets(false, 0), ==, 201);
    CHECK_INT(flood_resets(true, 10 * ROTA_MILLISECOND), >, 300);
    CHECK_INT(flood_resets(true, 20 * ROTA_MILLISECOND), ==, 0);
    CHECK_INT(flood_resets(false, 20 * ROTA_MILLISECOND), ==, 0);
}

/* Owners that have not yet noticed the reset are as many as there may be streams, twice. */
TEST(requests_that_were_reset_count_until_they_are_dropped)
{
    struct side e;
    struct rota__out out = {0};
    struct rota__h2_limits limits = {.streams = 2};
    if (!open_side(&e, true, &limits))
        return;
    put_preface(&out, true);
    for (int32_t id = 1; id < 13; id += 2) {
        put_fields(&out, 0, id, S(REQUEST));
        put(&out, RST_STREAM, 0, id, S("\0\0\0\x08"));
    }
    if (feed_out(&e, &out) == 0) {
        CHECK_INT(e.used, ==, 4);
        CHECK_INT(sent_code(&e, 7), ==, -1);
        CHECK_INT(sent_code(&e, 9), ==, ROTA__H2_REFUSED_STREAM);
        rota__h2_drop(&e.h2, &e.streams[0], ROTA__H2_CANCEL);
        put_fields(&out, END_STREAM, 13, S(REQUEST));
        if (feed_out(&e, &out) == 0)
            CHECK_INT(e.used, ==, 5);
    }
    close_side(&e);
    rota__out_fini(&out);
}

/* ---- Bodies and windows */

/* A request with a body that goes on, and the server's side of it. */
static bool open_upload(struct pair *p, const struct rota__h2_limits *client,
                        const struct rota__h2_limits *server)
{
    if (!open_pair_with(p, client, server))
        return false;
    struct rota__h2_head head = get(S("/"));
    head.method = S("POST");
    head.end = false;
    request(p, &head);
    if (settle(p) == 0 && p->server.used)
        return true;
    close_pair(p);
    return false;
}

TEST(a_writer_waits_until_the_reader_has_consumed)
{
    struct pair p;
    struct rota__h2_limits limits = {.stream_window = 100000, .window = 300000};
    if (!open_upload(&p, NULL, &limits))
        return;
    struct rota__h2_stream *c = &p.client.streams[0], *s = &p.server.streams[0];
    p.server.keeps = true;
    CHECK_INT(rota__h2_window(&p.client.h2, c), ==, 100000);
    ssize_t n = write_body(&p.client, c, body_bytes, sizeof body_bytes, true);
    CHECK(n == 100000 || n == -ENOMEM);
    if (n > 0 && settle(&p) == 0) {
        CHECK_INT(s->unread, ==, 100000);
        CHECK_INT(rota__h2_data(&p.client.h2, c, 0, true), ==, -EAGAIN);
        rota__h2_consumed(&p.server.h2, s, 60000);
        if (settle(&p) == 0)
            CHECK_INT(rota__h2_window(&p.client.h2, c), ==, 60000);
        rota__h2_consumed(&p.server.h2, s, 40000);
        if (settle(&p) == 0) /* small amounts are not announced */
            CHECK_INT(rota__h2_window(&p.client.h2, c), ==, 60000);
    }
    close_pair(&p);
}

/* Only the stream that is not read stops; one that is dropped gives its part of the connection's
 * window back. */
TEST(a_slow_reader_does_not_stop_other_streams)
{
    struct pair p;
    struct rota__h2_limits limits = {.stream_window = 100000, .window = 150000};
    if (!open_upload(&p, NULL, &limits))
        return;
    struct rota__h2_head head = get(S("/2"));
    head.end = false;
    struct rota__h2_stream *c = &p.client.streams[0], *other = request(&p, &head);
    p.server.keeps = true;
    ssize_t n = write_body(&p.client, c, body_bytes, sizeof body_bytes, false);
    if (n == 100000 && settle(&p) == 0) {
        p.server.keeps = false;
        for (int i = 0; i < 10 && n > 0; i++) {
            CHECK_INT(rota__h2_window(&p.client.h2, other), >=, 12500);
            n = write_body(&p.client, other, body_bytes, 12500, false);
            if (settle(&p) < 0)
                n = -ENOMEM;
        }
        if (n > 0) {
            CHECK_INT(n, ==, 12500);
            rota__h2_drop(&p.server.h2, &p.server.streams[0], ROTA__H2_CANCEL);
            settle(&p);
        }
        if (p.client.h2.err == 0 && p.server.h2.err == 0) {
            CHECK_INT(rota__h2_window(&p.client.h2, other), >, 50000);
            CHECK_INT(rota__h2_data(&p.client.h2, c, 1, false), ==, -ECONNRESET);
            CHECK(strstr(p.client.told.text, "!1:8") != NULL);
        }
    }
    close_pair(&p);
}

/* What comes for a stream that nobody owns any more does not hold the connection's window. */
TEST(data_behind_a_reset_gives_its_window_back)
{
    struct pair p;
    struct rota__h2_limits limits = {.stream_window = 100000, .window = 150000};
    if (!open_upload(&p, NULL, &limits))
        return;
    int err = 0;
    for (int i = 0; i < 10 && err == 0; i++) {
        struct rota__h2_head head = get(S("/2"));
        head.end = false;
        struct rota__h2_stream *c = &p.client.streams[1], *s = &p.server.streams[1];
        err = rota__h2_request(&p.client.h2, c, &head);
        if (err == 0)
            err = settle(&p);
        if (err < 0)
            break;
        p.server.used = 1;
        CHECK_INT(write_body(&p.client, c, body_bytes, 60000, false), !=, 0);
        rota__h2_drop(&p.server.h2, s, ROTA__H2_CANCEL);
        err = settle(&p);
        rota__h2_drop(&p.client.h2, c, ROTA__H2_CANCEL);
        p.client.told.len = p.server.told.len = 0;
    }
    CHECK(err == 0 || err == -ENOMEM);
    if (err == 0)
        CHECK_INT(rota__h2_window(&p.client.h2, &p.client.streams[0]), >, 70000);
    close_pair(&p);
}

static void check_ignored_window(uint32_t stream_window, uint32_t window, int32_t resets)
{
    struct side e;
    struct rota__out out = {0};
    struct rota__h2_limits limits = {.stream_window = stream_window, .window = window};
    if (!open_side(&e, true, &limits))
        return;
    e.keeps = true;
    put_preface(&out, true);
    put(&out, SETTINGS, ACK, 0, S(""));
    put_fields(&out, 0, 1, S(REQUEST));
    int err = feed_out(&e, &out);
    for (int i = 0; i < 5 && err == 0; i++) {
        put(&out, DATA, 0, 1, (rota_str){body_bytes, 16384});
        err = feed_out(&e, &out);
        e.told.len = 0;
    }
    if (err != -ENOMEM) {
        CHECK_INT(err, ==, resets ? 0 : -EBADMSG);
        CHECK_INT(sent_code(&e, resets), ==, ROTA__H2_FLOW_CONTROL_ERROR);
        CHECK_INT(e.streams[0].unread, ==, 4 * 16384); /* the frame that is over is told, or not */
    }
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_peer_that_ignores_the_window_is_refused)
{
    check_ignored_window(65535, 200000, 1);
    check_ignored_window(200000, 65535 + 10, 0);
}

TEST(settings_of_the_peer_change_windows_of_open_streams)
{
    struct side e;
    struct rota__out out;
    if (!open_client(&e, &out))
        return;
    struct rota__h2_head head = get(S("/"));
    head.end = false;
    struct rota__h2_stream *s = &e.streams[1];
    int err = rota__h2_request(&e.h2, s, &head);
    if (err == 0) {
        CHECK_INT(rota__h2_window(&e.h2, s), ==, 65535);
        CHECK_INT(rota__h2_data(&e.h2, s, 100, false), !=, 0);
        put(&out, SETTINGS, 0, 0, S("\0\4\0\0\0\x32")); /* to 50: the stream is 50 over */
        err = feed_out(&e, &out);
    }
    if (err == 0) {
        CHECK_INT(rota__h2_window(&e.h2, s), ==, 0);
        CHECK_INT(rota__h2_data(&e.h2, s, 100, false), ==, -EAGAIN);
        put(&out, SETTINGS, 0, 0, S("\0\4\0\0\x01\0"));
        err = feed_out(&e, &out);
    }
    if (err == 0)
        CHECK_INT(rota__h2_window(&e.h2, s), ==, 156);
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_body_is_as_long_as_was_said)
{
    struct pair p;
    if (!open_pair(&p))
        return;
    struct rota__h2_head head = get(S("/"));
    head.end = false;
    head.has_length = true;
    head.length = 5;
    struct rota__h2_stream *c = request(&p, &head);
    if (c->is_taken) {
        rota_http_field field = {S("a"), S("b")};
        CHECK_INT(rota__h2_data(&p.client.h2, c, 6, true), ==, -EMSGSIZE);
        CHECK_INT(rota__h2_data(&p.client.h2, c, 4, true), ==, -EMSGSIZE);
        CHECK_INT(rota__h2_trailers(&p.client.h2, c, &field, 1), ==, -EMSGSIZE);
        ssize_t n = write_body(&p.client, c, "hel", 3, false);
        if (n == 3)
            CHECK_INT(rota__h2_data(&p.client.h2, c, 3, false), ==, -EMSGSIZE);
        if (n == 3)
            n = write_body(&p.client, c, "lo", 2, true);
        if (n == 2) {
            CHECK_INT(rota__h2_data(&p.client.h2, c, 1, false), ==, -EINVAL);
            CHECK_INT(rota__h2_data(&p.client.h2, c, 0, true), ==, -EINVAL);
        }
        if (n == 2 && settle(&p) == 0)
            CHECK(strstr(p.server.told.text, "(5)>[hello]$1") != NULL);
    }
    close_pair(&p);
}

TEST(an_end_may_come_alone)
{
    struct pair p;
    if (!open_upload(&p, NULL, NULL))
        return;
    struct rota__h2_stream *c = &p.client.streams[0];
    ssize_t n = write_body(&p.client, c, "hello", 5, false);
    if (n == 5)
        n = write_body(&p.client, c, "", 0, true);
    CHECK(n == 0 || n == -ENOMEM);
    if (n == 0 && settle(&p) == 0)
        CHECK_STR(p.server.told.text, "<1 POST https://example.org/>[hello]$1");
    close_pair(&p);
}

TEST(trailers_need_no_window)
{
    struct pair p;
    struct rota__h2_limits limits = {.stream_window = 10};
    if (!open_upload(&p, NULL, &limits))
        return;
    struct rota__h2_stream *c = &p.client.streams[0];
    rota_http_field field = {S("Sum"), S("42")};
    p.server.keeps = true;
    ssize_t n = write_body(&p.client, c, body_bytes, 100, false);
    CHECK(n == 10 || n == -ENOMEM);
    if (n == 10)
        n = rota__h2_trailers(&p.client.h2, c, &field, 1);
    if (n == 0 && settle(&p) == 0) {
        CHECK(strstr(p.server.told.text, "]+ sum=42>$1") != NULL);
        CHECK_INT(rota__h2_trailers(&p.client.h2, c, &field, 1), ==, -EINVAL);
    }
    close_pair(&p);
}

/* ---- Writing */

static const struct rota__h2_head bad_heads[] = {
    {.method = S("G T"), .scheme = S("http"), .authority = S("a"), .target = S("/")},
    {.method = S(""), .scheme = S("http"), .authority = S("a"), .target = S("/")},
    {.method = S("GET"), .scheme = S(""), .authority = S("a"), .target = S("/")},
    {.method = S("GET"), .scheme = S("http"), .authority = S(""), .target = S("/")},
    {.method = S("GET"), .scheme = S("http"), .authority = S("a b"), .target = S("/")},
    {.method = S("GET"), .scheme = S("http"), .authority = S("a"), .target = S("")},
    {.method = S("GET"), .scheme = S("http"), .authority = S("a"), .target = S("x")},
    {.method = S("GET"), .scheme = S("http"), .authority = S("a"), .target = S("*")},
    {.method = S("GET"), .scheme = S("http"), .authority = S("a"), .target = S("/ x")},
    {.method = S("GET"), .scheme = S("http"), .authority = S("a"), .target = S("/\n")},
    {.method = S("CONNECT"), .authority = S("a:1"), .has_length = true},
    {.method = S("GET"),
     .scheme = S("http"),
     .authority = S("a"),
     .target = S("/"),
     .has_length = true,
     .length = 1,
     .end = true},
};

static const rota_http_field bad_fields[] = {
    {S("a b"), S("c")},
    {S(""), S("c")},
    {S(":path"), S("/")},
    {S("a:"), S("c")},
    {S("a\n"), S("c")},
    {S("a\x80"), S("c")},
    {S("a"), S("b\rc")},
    {S("a"), S("b\nc")},
    {S("a"), {"b\0c", 3}},
    {S("a"), S("b\x7f")},
    {S("Connection"), S("close")},
    {S("content-length"), S("1")},
    {S("HOST"), S("b")},
    {S("keep-alive"), S("1")},
    {S("proxy-connection"), S("close")},
    {S("Transfer-Encoding"), S("chunked")},
    {S("upgrade"), S("x")},
    {S("te"), S("gzip")},
};

TEST(nothing_is_written_that_a_peer_could_misread)
{
    struct pair p;
    if (!open_pair(&p))
        return;
    struct rota__h2_stream s = {.id = 0};
    for (size_t i = 0; i < COUNT(bad_heads); i++)
        CHECK_INT(rota__h2_request(&p.client.h2, &s, &bad_heads[i]), ==, -EINVAL);
    for (size_t i = 0; i < COUNT(bad_fields); i++) {
        struct rota__h2_head head = get(S("/"));
        head.fields = &bad_fields[i];
        head.count = 1;
        CHECK_INT(rota__h2_request(&p.client.h2, &s, &head), ==, -EINVAL);
    }
    CHECK_INT(p.client.h2.out.len, ==, 0);
    CHECK_INT(p.client.h2.open, ==, 0);

    struct rota__h2_head head = get(S("/"));
    request(&p, &head);
    if (settle(&p) == 0) {
        static const struct rota__h2_head not_answers[] = {
            {.status = 99},
            {.status = 1000},
            {.status = 101},
            {.status = 100, .end = true},
            {.status = 103, .has_length = true},
            {.status = 204},
            {.status = 204, .end = true, .has_length = true},
            {.status = 304},
            {.status = 200, .end = true, .has_length = true, .length = 1},
            {.status = 200, .fields = bad_fields, .count = 1},
        };
        struct rota__h2 *h2 = &p.server.h2;
        rota_http_field trailer = {S("content-type"), S("x")};
        CHECK_INT(rota__h2_data(h2, &p.server.streams[0], 1, false), ==, -EINVAL);
        for (size_t i = 0; i < COUNT(not_answers); i++)
            CHECK_INT(rota__h2_respond(h2, &p.server.streams[0], &not_answers[i]), ==, -EINVAL);
        CHECK_INT(h2->out.len, ==, 0);
        struct rota__h2_head good = {.status = 200};
        if (rota__h2_respond(h2, &p.server.streams[0], &good) == 0) {
            CHECK_INT(rota__h2_respond(h2, &p.server.streams[0], &good), ==, -EINVAL);
            CHECK_INT(rota__h2_trailers(h2, &p.server.streams[0], &trailer, 1), ==, -EINVAL);
        }
    }
    close_pair(&p);
}

TEST(a_head_that_is_too_large_to_be_sent_says_so)
{
    struct pair p;
    static char value[65536];
    static rota_http_field fields[200];
    if (!open_pair(&p))
        return;
    memset(value, 'v', sizeof value);
    struct rota__h2_stream s = {.id = 0};
    struct rota__h2_head head = get(S("/"));
    fields[0] = (rota_http_field){S("x"), {value, sizeof value}};
    head.fields = fields;
    head.count = 1;
    CHECK_INT(rota__h2_request(&p.client.h2, &s, &head), ==, -EMSGSIZE);
    for (size_t i = 0; i < COUNT(fields); i++)
        fields[i] = (rota_http_field){S("x"), S("y")};
    head.count = COUNT(fields);
    CHECK_INT(rota__h2_request(&p.client.h2, &s, &head), ==, -EMSGSIZE);

    head.count = 1; /* the largest that goes */
    fields[0].value = (rota_str){value, 65300};
    int err = rota__h2_request(&p.client.h2, &p.client.streams[0], &head);
    if (err == 0 && settle(&p) == 0)
        CHECK_STR(p.server.told.text, "refused:431 head longer than 32768 bytes (option head)");
    CHECK(err == 0 || err == -ENOMEM);
    close_pair(&p);
}

/* ---- The end of streams and connections */

TEST(a_server_that_has_answered_early_lets_the_client_stop)
{
    struct pair p;
    if (!open_upload(&p, NULL, NULL))
        return;
    struct rota__h2_stream *c = &p.client.streams[0], *s = &p.server.streams[0];
    struct rota__h2_head answer = {.status = 413, .end = true};
    int err = rota__h2_respond(&p.server.h2, s, &answer);
    if (err == 0) {
        rota__h2_drop(&p.server.h2, s, ROTA__H2_CANCEL);
        err = settle(&p);
    }
    CHECK(err == 0 || err == -ENOMEM);
    if (err == 0) {
        CHECK_STR(p.client.told.text, "<1 413>$1!1:0 ");
        CHECK_INT(rota__h2_data(&p.client.h2, c, 1, true), ==, -ECONNRESET);
    }
    close_pair(&p);
}

TEST(a_server_says_twice_that_it_goes)
{
    struct pair p;
    if (!open_upload(&p, NULL, NULL))
        return;
    struct rota__h2_head head = get(S("/late")), answer = {.status = 200, .end = true};
    int err = rota__h2_shut_down(&p.server.h2);
    if (err == 0) {
        CHECK(!p.server.h2.is_going);
        request(&p, &head); /* the client does not know yet */
        err = p.client.h2.err;
    }
    if (err == 0)
        err = settle(&p);
    if (err == 0) {
        CHECK(p.server.h2.is_going);
        CHECK_STR(p.client.told.text, "goaway:0goaway:0");
        CHECK_INT(rota__h2_free(&p.client.h2), ==, 0);
        CHECK_INT(rota__h2_request(&p.client.h2, &p.client.streams[5], &head), ==, -ESHUTDOWN);
        CHECK_INT(p.server.used, ==, 2);
        err = rota__h2_respond(&p.server.h2, &p.server.streams[1], &answer);
    }
    if (err == 0)
        err = rota__h2_respond(&p.server.h2, &p.server.streams[0], &answer);
    if (err == 0) {
        rota__h2_drop(&p.server.h2, &p.server.streams[0], ROTA__H2_CANCEL);
        err = settle(&p);
    }
    if (err == 0) {
        CHECK(strstr(p.client.told.text, "<3 200>$3<1 200>$1") != NULL);
        CHECK_INT(p.server.h2.open, ==, 0);
        CHECK_INT(p.client.h2.open, ==, 0);
    }
    CHECK(err == 0 || err == -ENOMEM);
    close_pair(&p);
}

/* What a server did not work on may be sent again elsewhere. */
TEST(streams_behind_a_goaway_are_refused)
{
    struct side e;
    struct rota__out out;
    if (!open_client(&e, &out))
        return;
    struct rota__h2_head head = get(S("/"));
    int err = rota__h2_request(&e.h2, &e.streams[1], &head);
    if (err == 0)
        err = rota__h2_request(&e.h2, &e.streams[2], &head);
    put(&out, GOAWAY, 0, 0,
        S("\0\0\0\1\0\0\0\x0b"
          "too much"));
    if (err == 0)
        err = feed_out(&e, &out);
    CHECK(err == 0 || err == -ENOMEM);
    if (err == 0) {
        CHECK_STR(e.told.text, "goaway:11!3:7 !5:7 ");
        CHECK_INT(e.h2.open, ==, 1);
    }
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_client_may_say_that_it_goes)
{
    struct pair p;
    if (!open_upload(&p, NULL, NULL))
        return;
    struct rota__h2_head head = get(S("/"));
    if (rota__h2_shut_down(&p.client.h2) == 0) {
        CHECK_INT(rota__h2_request(&p.client.h2, &p.client.streams[1], &head), ==, -ESHUTDOWN);
        ssize_t n = write_body(&p.client, &p.client.streams[0], "hello", 5, true);
        if (n == 5 && settle(&p) == 0)
            CHECK(strstr(p.server.told.text, "goaway:0[hello]$1") != NULL);
    }
    close_pair(&p);
}

TEST(a_connection_that_is_closed_says_why)
{
    struct pair p;
    if (!open_upload(&p, NULL, NULL))
        return;
    rota__h2_close(&p.server.h2, ROTA__H2_SETTINGS_TIMEOUT, "no settings");
    if (!p.server.h2.lacks_memory) {
        CHECK_INT(p.server.h2.err, ==, -ESHUTDOWN);
        CHECK_INT(sent_code(&p.server, 0), ==, ROTA__H2_SETTINGS_TIMEOUT);
        struct rota__h2_head answer = {.status = 200, .end = true};
        CHECK_INT(rota__h2_respond(&p.server.h2, &p.server.streams[0], &answer), ==, -ESHUTDOWN);
        CHECK_INT(feed(&p.server, "x", 1), ==, -ESHUTDOWN);
        if (carry(&p.server, &p.client, 1000) == 0)
            CHECK_STR(p.client.told.text, "goaway:4");
    }
    close_pair(&p);
}

TEST(streams_may_be_dropped_in_any_state)
{
    for (int state = 0; state < 6; state++) {
        struct pair p;
        if (!open_upload(&p, NULL, NULL))
            return;
        struct rota__h2_stream *c = &p.client.streams[0], *s = &p.server.streams[0];
        struct rota__h2_head answer = {.status = 200};
        int err = 0;
        p.server.keeps = true;
        if (state >= 1)
            err = (int)write_body(&p.client, c, "hello", 5, state >= 2);
        if (err >= 0)
            err = settle(&p);
        if (err == 0 && state >= 3)
            err = rota__h2_respond(&p.server.h2, s, &answer);
        if (err == 0 && state >= 4)
            err = (int)write_body(&p.server, s, "hello", 5, state >= 5);
        rota__h2_drop(&p.server.h2, s, ROTA__H2_INTERNAL_ERROR);
        if (err >= 0 && settle(&p) == 0) {
            bool complete = strstr(p.client.told.text, "[hello]$1") != NULL;
            CHECK_INT(complete, ==, state == 5);
            CHECK_INT(strstr(p.client.told.text, "!1:2") != NULL, ==, state < 5);
            CHECK_INT(p.client.h2.open + p.server.h2.open, ==, 0);
        }
        close_pair(&p);
    }
}

TEST(a_stream_behind_the_last_goaway_is_not_told)
{
    struct side e;
    struct rota__out out = {0};
    if (!open_side(&e, true, NULL))
        return;
    put_preface(&out, true);
    put_fields(&out, END_STREAM, 1, S(REQUEST));
    int err = feed_out(&e, &out);
    if (err == 0)
        err = rota__h2_shut_down(&e.h2);
    if (err == 0) {
        put_fields(&out, END_STREAM, 3, S(REQUEST));
        put(&out, PING, ACK, 0, S("rota bye"));
        put_fields(&out, END_STREAM, 5, S(REQUEST));
        err = feed_out(&e, &out);
    }
    CHECK(err == 0 || err == -ENOMEM);
    if (err == 0) {
        CHECK_STR(e.told.text, "<1 GET http://a/>$1<3 GET http://a/>$3");
        CHECK_INT(e.h2.open, ==, 2);
        CHECK(e.h2.is_going);
    }
    close_side(&e);
    rota__out_fini(&out);
}

TEST(a_server_may_take_no_requests_for_a_while)
{
    struct side e;
    struct rota__out out;
    struct rota__h2_head head = get(S("/"));
    if (!open_client(&e, &out))
        return;
    put(&out, SETTINGS, 0, 0, S("\0\3\0\0\0\0"));
    int err = feed_out(&e, &out);
    if (err == 0) {
        CHECK_INT(rota__h2_request(&e.h2, &e.streams[1], &head), ==, -EAGAIN);
        put(&out, SETTINGS, 0, 0, S("\0\3\0\0\0\5"));
        err = feed_out(&e, &out);
    }
    if (err == 0) {
        CHECK_INT(rota__h2_free(&e.h2), ==, 4);
        err = rota__h2_request(&e.h2, &e.streams[1], &head);
    }
    CHECK(err == 0 || err == -ENOMEM);
    close_side(&e);
    rota__out_fini(&out);
}
