/* A whole server: the input is what a client sends over one connection, played by peer.h. It is
 * served whole, byte by byte, and seven bytes at a time. Each time the server comes to an end, all
 * handlers have returned, memory stays within the limit, and what was sent is understood by our
 * own parsers. Over HTTP/1.1 the handlers see the same requests each time.
 *
 * The first byte chooses the options. The first letter of a request's path chooses what the handler
 * does. */
#include "peer.h"

#include "http/h1.h"
#include "http/h2.h"

#include <nghttp2/nghttp2.h>
#include <rota/http_server.h>
#include <rota/websocket.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    MEMORY = 1024 * 1024,
    /* What does not count for the limit: the loop, tasks, and the connection of the test. */
    OVERHEAD = 1024 * 1024,
    BIG = 100000,
    REQUESTS = 200
};

enum { COMPRESS = 1, SMALL_LIMITS = 2, SLOW_READER = 4, LITTLE_MEMORY = 8, NARROW = 16 };

struct served {
    const char *method;
    int status, err;
};

struct connection {
    struct peer client;
    rota_stream *server;
    uint8_t options;
    struct note told;
    bool was_cut; /* a handler was interrupted */
    size_t handlers;
    struct served served[REQUESTS];
    size_t served_count;
    rota_http_counters counters;
};

static rota_http_root *root;
static char directory[64];

/* ---- Handlers */

static void tell(struct connection *c, rota_str s)
{
    note_line(&c->told, s);
}

static void tell_request(struct connection *c, const rota_http_request *r)
{
    size_t count;
    const rota_http_field *fields = rota_http_request_fields(r, &count);
    tell(c, rota_http_request_method(r));
    tell(c, rota_http_request_path(r));
    tell(c, rota_http_request_query(r));
    tell(c, rota_http_request_authority(r));
    for (size_t i = 0; i < count; i++) {
        tell(c, fields[i].name);
        tell(c, fields[i].value);
    }
}

static int echo(struct connection *c, rota_http_request *r)
{
    rota_str body;
    int err = rota_http_request_body(r, 0, &body);
    if (err < 0)
        return err;
    tell(c, body);
    tell(c, rota_http_request_trailer(r, "x-t"));
    return rota_http_reply(r, 200, "text/plain", body.ptr, body.len);
}

static int stream(struct connection *c, rota_http_request *r)
{
    char buf[100];
    ssize_t n = 0;
    int err = rota_http_start(r, 200, "text/plain", ROTA_HTTP_UNKNOWN_LENGTH);
    while (err == 0 && (n = rota_http_request_read(r, buf, sizeof buf)) > 0)
        err = rota_http_write(r, buf, (size_t)n);
    if (err == 0 && n == 0) {
        rota_http_add_trailer(r, "X-T", "1");
        err = rota_http_finish(r);
    }
    return n < 0 ? (int)n : err;
}

struct half {
    rota_http_request *request;
};

static int read_half(void *arg)
{
    struct half *half = arg;
    char buf[10];
    ssize_t n;
    while ((n = rota_http_request_read(half->request, buf, sizeof buf)) > 0)
        ;
    return (int)n;
}

static int write_half(void *arg)
{
    struct half *half = arg;
    int err = rota_http_start(half->request, 200, NULL, 3000);
    for (int i = 0; err == 0 && i < 3; i++) {
        char piece[1000] = {0};
        err = rota_http_write(half->request, piece, sizeof piece);
        if (err == 0)
            err = rota_sleep(40 * ROTA_SECOND);
    }
    return err;
}

static int both(rota_http_request *r)
{
    struct half half = {r};
    ROTA_GROUP(g);
    rota_group_spawn(&g, read_half, &half);
    rota_group_spawn(&g, write_half, &half);
    return rota_group_wait(&g);
}

static int events(rota_http_request *r)
{
    int err = rota_http_interim(r, 103);
    if (err == 0)
        err = rota_http_start_events(r);
    for (int i = 0; err == 0 && i < 2; i++) {
        err = rota_http_send_event(r, &(rota_http_event){.data = {"a\nb", 3}});
        if (err == 0)
            err = rota_sleep(ROTA_SECOND);
    }
    return err;
}

static int big(rota_http_request *r)
{
    static char bytes[BIG];
    memset(bytes, 'a', sizeof bytes);
    return rota_http_reply(r, 200, "text/html", bytes, sizeof bytes);
}

static int talk(struct connection *c, rota_http_request *r)
{
    static const char *const protocols[] = {"b", "a", NULL};
    const rota_websocket_options options = {
        .message = 10000, .fragments = 20, .protocols = protocols};
    ROTA_AUTO(rota_websocket) ws = NULL;
    int err = rota_websocket_accept(r, &options, &ws);
    rota_websocket_message m;
    while (err >= 0 && (err = rota_websocket_read(ws, &m)) > 0) {
        tell(c, m.bytes);
        err = rota_websocket_write(ws, m.type, m.bytes.ptr, m.bytes.len);
    }
    return err;
}

static int switch_protocol(rota_http_request *r)
{
    rota_stream *s;
    char buf[100];
    ssize_t n;
    int err = rota_http_upgrade(r, "echo", &s);
    while (err == 0 && (n = rota_stream_read(s, buf, sizeof buf)) != 0)
        err = n < 0 ? (int)n : rota_stream_write(s, buf, (size_t)n);
    return err;
}

static int body_as_stream(rota_http_request *r)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_http_request_body_stream(r, &s);
    rota_str line;
    while (err == 0 && (err = rota_stream_read_line(s, &line)) > 0)
        err = 0;
    return err < 0 ? err : rota_http_reply_status(r, 200);
}

static int handle_path(struct connection *c, rota_http_request *r, char first)
{
    switch (first) {
    case 'e':
        return echo(c, r);
    case 's':
        return stream(c, r);
    case 'd':
        return both(r);
    case 'v':
        return events(r);
    case 'b':
        return big(r);
    case 'w':
        return talk(c, r);
    case 'u':
        return switch_protocol(r);
    case 'l':
        return body_as_stream(r);
    case 'x':
        return -EIO;
    case '0':
        return 0;
    case 'f':
        return rota_http_reply_file(r, root, peer_skip(rota_http_request_path(r), 2));
    default:
        return rota_http_reply(r, 200, "text/plain", "hello", 5);
    }
}

static int handle(rota_http_request *r, void *arg)
{
    struct connection *c = arg;
    rota_str path = rota_http_request_path(r);
    c->handlers++;
    tell_request(c, r);
    int err = handle_path(c, r, path.len > 1 ? path.ptr[1] : '/');
    c->was_cut |= err < 0;
    c->handlers--;
    return err;
}

/* ---- The connection */

static void note(void *arg, const rota_http_access *access)
{
    struct connection *c = arg;
    require(c->counters.memory <= MEMORY);
    if (c->served_count == REQUESTS)
        return;
    bool is_head = access->method.len == 4 && memcmp(access->method.ptr, "HEAD", 4) == 0;
    bool is_connect = access->method.len == 7 && memcmp(access->method.ptr, "CONNECT", 7) == 0;
    c->served[c->served_count++] = (struct served){is_head      ? "HEAD"
                                                   : is_connect ? "CONNECT"
                                                                : "",
                                                   access->status, access->err};
}

static int serve(void *arg)
{
    struct connection *c = arg;
    bool is_small = c->options & SMALL_LIMITS;
    const rota_http_serve_options options = {
        .memory = c->options & LITTLE_MEMORY ? MEMORY / 16 : MEMORY,
        .head = is_small ? 500 : 0,
        .fields = is_small ? 5 : 0,
        .body = is_small ? 100 : 50000,
        .streams = is_small ? 2 : 0,
        .resets = is_small ? 4 : 0,
        .compress = c->options & COMPRESS,
        .access = note,
        .access_arg = c,
        .counters = &c->counters,
    };
    require(rota_http_serve_stream(c->server, handle, c, &options) == 0);
    require(c->handlers == 0);
    rota_stream_close(c->server);
    return 0;
}

static int receive(void *arg)
{
    struct connection *c = arg;
    if (c->options & SLOW_READER)
        ROTA_IGNORE(rota_sleep(50 * ROTA_SECOND));
    return peer_receive(&c->client);
}

static int connect_both(void *arg)
{
    struct connection *c = arg;
    if (rota_stream_pair(c->options & NARROW ? 100 : 0, &c->client.stream, &c->server) < 0)
        abort();
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        rota_group_spawn(&g, serve, c);
        rota_group_spawn(&g, receive, c);
        rota_group_spawn(&g, peer_send, &c->client);
        require(rota_group_wait(&g) == 0);
    }
    rota_stream_free(c->client.stream);
    rota_stream_free(c->server);
    return 0;
}

/* ---- What was sent */

static bool is_switch(const struct rota__h1_head *head)
{
    for (size_t i = 0; i < head->count; i++)
        if (head->fields[i].name.len == 20 &&
            memcmp(head->fields[i].name.ptr, "Sec-WebSocket-Accept", 20) == 0)
            return true;
    return false;
}

/* Each answer is of the status and kind that the access log says; only the last one may be cut. */
static void check_answers(const struct connection *c, rota_str bytes)
{
    rota_http_field fields[ROTA__H1_FIELDS];
    struct rota__h1 h1;
    struct rota__h1_item item;
    rota__h1_init(&h1, false, NULL, fields);
    size_t used, answer = 0;
    int event;
    do {
        const char *method = answer < c->served_count ? c->served[answer].method : "";
        h1.answers_head = strcmp(method, "HEAD") == 0;
        h1.answers_connect = strcmp(method, "CONNECT") == 0;
        event = rota__h1_next(&h1, bytes, &used, &item);
        bytes = peer_skip(bytes, used);
        bool is_final = event == ROTA__H1_HEAD && item.head.status / 100 != 1;
        bool is_end = event == ROTA__H1_HEAD && item.head.status == 101;
        if (is_end && is_switch(&item.head))
            peer_check_frames(bytes, false);
        if (is_end)
            return;
        if (is_final && answer < REQUESTS) {
            require(answer < c->served_count && c->served[answer].status == item.head.status);
            answer++;
        }
    } while (event > 0);
    require(event == 0 || c->served_count == REQUESTS);
}

static void check_head_block(nghttp2_hd_inflater *inflater, const unsigned char *block, size_t len,
                             bool ends)
{
    while (len) {
        nghttp2_nv field;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(inflater, &field, &flags, block, len, ends);
        require(n > 0 || flags & NGHTTP2_HD_INFLATE_FINAL);
        block += n;
        len -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_FINAL)
            break;
    }
    require(len == 0);
    if (ends)
        nghttp2_hd_inflate_end_headers(inflater);
}

/* Whole frames, and heads that can be decompressed; the last one may be cut. */
static void check_frames(rota_str bytes)
{
    nghttp2_hd_inflater *inflater;
    require(nghttp2_hd_inflate_new(&inflater) == 0);
    while (bytes.len >= 9) {
        const unsigned char *head = (const unsigned char *)bytes.ptr;
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        require(len <= 16384);
        if (bytes.len < 9 + len)
            break;
        require(head[3] <= NGHTTP2_CONTINUATION);
        if (head[3] == NGHTTP2_HEADERS || head[3] == NGHTTP2_CONTINUATION) {
            require(!(head[4] & (NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY)));
            check_head_block(inflater, head + 9, len, head[4] & NGHTTP2_FLAG_END_HEADERS);
        }
        bytes = peer_skip(bytes, 9 + len);
    }
    nghttp2_hd_inflate_del(inflater);
}

static bool speaks_h2(rota_str script)
{
    return script.len && script.ptr[0] == 'P' && rota__h2_is_preface(script) >= 0;
}

static void serve_in_pieces(struct connection *c, rota_str script, uint8_t options, size_t piece)
{
    memset(c, 0, sizeof *c);
    c->options = options;
    c->client.script = script;
    c->client.piece = piece;
    size_t before = peer_memory;
    peer_memory_most = before;
    peer_run(connect_both, c);
    require(peer_memory_most - before < MEMORY + OVERHEAD);
    require(c->counters.open == 0 && c->counters.running == 0 && c->counters.memory == 0);
    rota_str received = {c->client.received.ptr, c->client.received.len};
    if (speaks_h2(script))
        check_frames(received);
    else if (received.len)
        check_answers(c, received);
}

static void remove_directory(void)
{
    char path[80];
    snprintf(path, sizeof path, "%s/a.txt", directory);
    unlink(path);
    rmdir(directory);
}

static void begin(void)
{
    peer_begin();
    const char *parent = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/rota-fuzz-XXXXXX", parent ? parent : "/tmp");
    require(mkdtemp(directory) != NULL);
    atexit(remove_directory);
    require(rota_http_root_open(directory, &(rota_http_root_options){.list = true}, &root) == 0);
    char path[80];
    snprintf(path, sizeof path, "%s/a.txt", directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    require(fd >= 0 && write(fd, "some text of a file", 19) == 19 && close(fd) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct connection whole, bytes, sevens;
    if (!root)
        begin();
    if (size < 1)
        return 0;
    rota_str script = {(const char *)data + 1, size - 1};
    serve_in_pieces(&whole, script, data[0], 0);
    serve_in_pieces(&bytes, script, data[0], 1);
    serve_in_pieces(&sevens, script, data[0], 7);
    /* Where memory ran out, or a client went away, it was at another byte. */
    bool may_differ = data[0] & (LITTLE_MEMORY | SLOW_READER) || whole.was_cut || bytes.was_cut ||
                      sevens.was_cut || speaks_h2(script);
    if (!may_differ) {
        note_require_equal(&whole.told, &bytes.told);
        note_require_equal(&whole.told, &sevens.told);
    }
    struct connection *all[] = {&whole, &bytes, &sevens};
    for (int i = 0; i < 3; i++) {
        note_fini(&all[i]->told);
        note_fini(&all[i]->client.received);
    }
    return 0;
}
