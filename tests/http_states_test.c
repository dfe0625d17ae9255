/* Each frame in each state of a stream (RFC 9113, section 5.1), as bytes to a server and back. */
#include "h2_frames.h"
#include "harness.h"
#include "http_talk.h"

#include <rota.h>
#include <rota/http_server.h>

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

static const char *const codes[] = {"NO_ERROR",           "PROTOCOL_ERROR",   "INTERNAL_ERROR",
                                    "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
                                    "FRAME_SIZE_ERROR",   "REFUSED_STREAM",   "CANCEL",
                                    "COMPRESSION_ERROR",  "CONNECT_ERROR",    "ENHANCE_YOUR_CALM"};

/* ---- Frames */

struct frames {
    char bytes[1000];
    size_t len;
};

static void put(struct frames *f, int type, int flags, unsigned id, const char *payload, size_t len)
{
    char head[FRAME_HEAD];
    write_frame_head(head, len, type, flags, id);
    memcpy(f->bytes + f->len, head, sizeof head);
    if (len)
        memcpy(f->bytes + f->len + sizeof head, payload, len);
    f->len += sizeof head + len;
}

/* method: 0x82 is GET, 0x83 POST. */
static void put_request(struct frames *f, int flags, unsigned id, char method, char path)
{
    char block[] = "\x82\x86\x04\2/x\x41\1a";
    block[0] = method;
    block[5] = path;
    put(f, HEADERS, END_HEADERS | flags, id, block, sizeof block - 1);
}

/* ---- The server: what the path says */

static int act(rota_http_request *r, void *arg)
{
    rota_str body;
    int err = 0;
    (void)arg;
    switch (rota_http_request_path(r).ptr[1]) {
    case 'b': /* reads the body */
        err = rota_http_request_body(r, 0, &body);
        break;
    case 'w': /* waits */
        err = rota_sleep(ROTA_NEVER);
        break;
    default: /* replies at once */
        break;
    }
    return err < 0 ? err : rota_http_reply(r, 200, NULL, NULL, 0);
}

/* ---- States of stream 1, or 3 */

enum state {
    IDLE,
    OPEN,
    HALF_CLOSED_LOCAL,  /* the server has replied */
    HALF_CLOSED_REMOTE, /* the client has ended, the handler waits */
    ENDED,              /* both have */
    RESET_BY_CLIENT,
    RESET_BY_SERVER,
    PASSED_OVER, /* 3, where 5 was opened first */
    STATES
};

static unsigned stream_of(enum state state)
{
    return state == PASSED_OVER ? 3 : 1;
}

static void reach(struct frames *f, enum state state)
{
    switch (state) {
    case OPEN:
        put_request(f, 0, 1, '\x83', 'b');
        break;
    case HALF_CLOSED_LOCAL:
        put_request(f, 0, 1, '\x83', 'x');
        break;
    case HALF_CLOSED_REMOTE:
        put_request(f, END_STREAM, 1, '\x82', 'w');
        break;
    case ENDED:
        put_request(f, END_STREAM, 1, '\x82', 'x');
        break;
    case RESET_BY_CLIENT:
        put_request(f, 0, 1, '\x83', 'b');
        put(f, RST_STREAM, 0, 1, "\0\0\0\x08", 4);
        break;
    case RESET_BY_SERVER: /* an invalid path */
        put(f, HEADERS, END_HEADERS, 1, "\x83\x86\x04\1x\x41\1a", 8);
        break;
    case PASSED_OVER:
        put_request(f, END_STREAM, 5, '\x82', 'x');
        break;
    default:
        break;
    }
}

static void put_probe(struct frames *f, int type, unsigned id)
{
    switch (type) {
    case HEADERS: /* also right as trailers, were there no pseudo-fields in it */
        put(f, HEADERS, END_HEADERS | END_STREAM, id, "\x82\x86\x84\x41\1a", 6);
        break;
    case DATA:
        put(f, DATA, END_STREAM, id, "x", 1);
        break;
    case PRIORITY:
        put(f, PRIORITY, 0, id, "\0\0\0\0\x10", 5);
        break;
    case RST_STREAM:
    case WINDOW_UPDATE:
        put(f, type, 0, id, "\0\0\0\x08", 4);
        break;
    case PUSH_PROMISE:
        put(f, PUSH_PROMISE, END_HEADERS, id, "\0\0\0\2\x82\x86\x84\x41\1a", 10);
        break;
    case PING:
    case GOAWAY:
        put(f, type, 0, id, "\0\0\0\0\0\0\0\0", 8);
        break;
    case SETTINGS:
    case CONTINUATION:
    default:
        put(f, type, type == CONTINUATION ? END_HEADERS : 0, id, NULL, 0);
        break;
    }
}

/* ---- A conversation */

struct talk {
    size_t capacity;
    struct frames before, probe;
    rota_stream *client, *server;
    char got[8192];
    size_t len, seen; /* what had come before the probe */
    char verdict[64];
};

static int talk_serve(void *arg)
{
    struct talk *t = arg;
    ROTA_IGNORE(rota_http_serve_stream(t->server, act, NULL, NULL));
    rota_stream_close(t->server);
    return 0;
}

static int talk_read(void *arg)
{
    struct talk *t = arg;
    ssize_t n = 1;
    while (n > 0 && t->len < sizeof t->got) {
        n = rota_stream_read(t->client, t->got + t->len, sizeof t->got - t->len);
        t->len += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int talk_write(void *arg)
{
    struct talk *t = arg;
    struct frames ping = {.len = 0};
    put(&ping, PING, 0, 0, "rotarota", 8);
    int err = rota_stream_write(t->client, PREFACE, sizeof PREFACE - 1);
    if (err == 0)
        err = rota_stream_write(t->client, t->before.bytes, t->before.len);
    if (err == 0)
        err = rota_sleep(100 * ROTA_MILLISECOND);
    t->seen = t->len;
    if (err == 0)
        err = rota_stream_write(t->client, t->probe.bytes, t->probe.len);
    if (err == 0)
        err = rota_stream_write(t->client, ping.bytes, ping.len);
    if (err == 0)
        err = rota_sleep(100 * ROTA_MILLISECOND);
    rota_stream_close(t->client);
    return 0;
}

static int talk_run(void *arg)
{
    struct talk *t = arg;
    rota_fn *const tasks[] = {talk_serve, talk_read, talk_write};
    return talk_over_pair(t->capacity, &t->client, &t->server, tasks, COUNT(tasks), t);
}

/* What the server said to the probe: "GOAWAY <code>", "RST_STREAM <code>", "reply" or "" where it
 * went on. */
static void judge(struct talk *t)
{
    bool goes_on = false;
    const char *reply = "";
    *t->verdict = '\0';
    for (size_t at = t->seen; at + 9 <= t->len;) {
        const unsigned char *f = (const unsigned char *)t->got + at;
        size_t len = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        if (at + 9 + len > t->len)
            break;
        unsigned code = f[3] == GOAWAY ? f[16] : f[12];
        if ((f[3] == GOAWAY || (f[3] == RST_STREAM && !*t->verdict)) && code < COUNT(codes))
            snprintf(t->verdict, sizeof t->verdict, "%s %s",
                     f[3] == GOAWAY ? "GOAWAY" : "RST_STREAM", codes[code]);
        if (f[3] == HEADERS)
            reply = "reply";
        goes_on |= f[3] == PING && (f[4] & ACK);
        at += 9 + len;
    }
    if (!*t->verdict)
        snprintf(t->verdict, sizeof t->verdict, "%s", goes_on ? reply : "silence");
}

static void check_verdict_on(unsigned id, enum state state, int type, const char *expected)
{
    static const size_t capacities[] = {0, 1, 7};
    for (size_t i = 0; i < COUNT(capacities); i++) {
        rota_loop_options options = {.virtual_clock = true};
        static struct talk t;
        t = (struct talk){.capacity = capacities[i]};
        reach(&t.before, state);
        put_probe(&t.probe, type, id);
        CHECK_OK(rota_run_with(talk_run, &t, &options));
        judge(&t);
        if (strcmp(t.verdict, expected) != 0)
            FAIL("stream %u in state %d, frame %d, pieces of %zu: \"%s\" instead of \"%s\"", id,
                 state, type, capacities[i], t.verdict, expected);
    }
}

#define BAD "GOAWAY PROTOCOL_ERROR"
#define CLOSED "GOAWAY STREAM_CLOSED"

/* Section 5.1; what a frame of the connection does on a stream is in sections 6.5, 6.7 and 6.8. */
static const struct {
    int type;
    const char *verdicts[STATES];
} table[] = {
    /*  idle, open, half-closed local and remote, ended, reset by the client, by the server, passed
     *  over */
    {DATA, {BAD, "reply", "", CLOSED, CLOSED, "RST_STREAM STREAM_CLOSED", "", BAD}},
    {HEADERS,
     {"reply", "RST_STREAM PROTOCOL_ERROR", "RST_STREAM PROTOCOL_ERROR", CLOSED, CLOSED,
      "RST_STREAM STREAM_CLOSED", "", BAD}},
    {PRIORITY, {"", "", "", "", "", "", "", ""}},
    {RST_STREAM, {BAD, "", "", "", "", "", "", ""}},
    {WINDOW_UPDATE, {BAD, "", "", "", "", "", "", ""}},
    {CONTINUATION, {BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD}},
    {PUSH_PROMISE, {BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD}},
    {SETTINGS, {BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD}},
    {PING, {BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD}},
    {GOAWAY, {BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD}},
    {UNKNOWN, {"", "", "", "", "", "", "", ""}},
};

TEST_WITH(each_frame_has_its_verdict_in_each_state, .without_faults = true, .seconds = 60)
{
    for (size_t i = 0; i < COUNT(table); i++) {
        for (enum state state = IDLE; state < STATES; state++)
            check_verdict_on(stream_of(state), state, table[i].type, table[i].verdicts[state]);
    }
}

/* Streams that no client opens: that of the connection, and those of the server (section 5.1.1). */
static const struct {
    int type;
    const char *on_0, *on_2;
} others[] = {
    {DATA, BAD, BAD},         {HEADERS, BAD, BAD},
    {PRIORITY, BAD, ""},      {RST_STREAM, BAD, BAD},
    {WINDOW_UPDATE, "", BAD}, {CONTINUATION, BAD, BAD},
    {PUSH_PROMISE, BAD, BAD}, {SETTINGS, "", BAD},
    {PING, "", BAD},          {GOAWAY, "GOAWAY NO_ERROR", BAD},
    {UNKNOWN, "", ""},
};

TEST_WITH(streams_that_a_client_cannot_open_have_their_verdicts, .without_faults = true)
{
    for (size_t i = 0; i < COUNT(others); i++) {
        check_verdict_on(0, ENDED, others[i].type, others[i].on_0);
        check_verdict_on(2, ENDED, others[i].type, others[i].on_2);
    }
}

/* What was under way when the server reset the stream is passed over, however many others came
 * between, up to a number. */
TEST(a_late_frame_behind_many_resets_is_passed_over)
{
    static struct talk t;
    rota_loop_options options = {.virtual_clock = true};
    t = (struct talk){0};
    for (unsigned id = 1; id < 41; id += 2)
        put(&t.before, HEADERS, END_HEADERS, id, "\x83\x86\x04\1x\x41\1a", 8);
    for (unsigned id = 1; id < 41; id += 2)
        put_probe(&t.probe, DATA, id);
    if (rota_run_with(talk_run, &t, &options) == 0) {
        judge(&t);
        CHECK_STR(t.verdict, "");
    }
}
