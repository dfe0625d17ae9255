/* Requests of HTTP/1.1 and their replies. */
#include "http/chars.h"
#include "http/peek.h"
#include "http/plain.h"
#include "http/reply.h"
#include "http/server_h1.h"

#include <string.h>

/* How much of an unread body is read to keep the connection, and for how long. */
#define DRAIN_MOST ((uint64_t)64 * 1024)
#define DRAIN_TIME (5 * ROTA_SECOND)
/* Most bytes that a stream reads at once. */
#define CHUNK_BUFFER ((size_t)64 * 1024)

/* The first room for the head of a reply; smaller bodies are joined to it, which is cheaper than to
 * gather. */
#define OUT_ROOM 1536
#define JOINED 1024

static struct rota__h1_exchange *exchange_of(rota_http_request *r)
{
    return rota__container_of(r, struct rota__h1_exchange, request);
}

/* ---- The head of a reply */

/* Whether the rest of the body is to be read: by a task that does so beside this one, which
 * replies; or because it is short. */
static bool is_drainable(const struct rota__h1_exchange *x)
{
    const rota_task *reader = x->request.reader;
    if (x->body_over || (reader && reader != rota_task_current()))
        return true;
    if (x->may_continue) /* it may never arrive */
        return false;
    return x->head.body != ROTA__H1_LENGTH || x->c->parser.left <= DRAIN_MOST;
}

static void write_text(struct rota__h1_writer *w, const char *name, const char *value)
{
    rota__h1_write_own(w, rota__str_of(name), rota__str_of(value));
}

static void write_connection(struct rota__h1_exchange *x)
{
    struct rota__h1_connection *c = x->c;
    if (!x->head.keep_alive || rota_event_is_set(&c->server->stopping) || x->request.is_connect ||
        !is_drainable(x))
        rota__h1_connection_end(c, ROTA__H1_CLOSE);
    if (c->afterwards != ROTA__H1_GO_ON)
        write_text(&x->writer, "Connection", "close");
    else if (x->head.minor == 0)
        write_text(&x->writer, "Connection", "keep-alive");
}

/* They were checked when they were added. */
static void write_added(struct rota__h1_writer *w, const struct rota__added *added)
{
    for (; added; added = added->next)
        rota__h1_write_own(w, added->field.name, added->field.value);
}

static int exchange_head(rota_http_request *r, const struct rota__reply_head *head)
{
    struct rota__h1_exchange *x = exchange_of(r);
    struct rota__server *server = r->server;
    struct rota__h1_writer *w = &x->writer;
    enum rota__h1_body body = head->body;
    if (body == ROTA__H1_CHUNKED && x->head.minor == 0) { /* HTTP/1.0 knows no chunks */
        body = ROTA__H1_UNTIL_END;
        rota__h1_connection_end(x->c, ROTA__H1_CLOSE);
    }
    rota__h1_write_response(w, &x->out, head->status, (rota_str){NULL, 0}, r->is_head);
    rota_str date = {rota__server_date(server), ROTA__SERVER_DATE_LEN};
    rota__h1_write_own(w, (rota_str){"Date", 4}, date);
    if (server->options.server)
        write_text(w, "Server", server->options.server);
    if (head->type)
        write_text(w, "Content-Type", head->type);
    write_added(w, r->added);
    write_connection(x);
    return rota__h1_write_body(w, body, head->length);
}

/* ---- Output */

/* If the client waits for 100 (Continue), the reader may have to send it while the writer sends. */
static int lock_output(struct rota__h1_exchange *x)
{
    return x->head.expect_continue ? rota_mutex_lock(&x->output) : 0;
}

static void unlock_output(struct rota__h1_exchange *x)
{
    if (x->head.expect_continue)
        rota_mutex_unlock(&x->output);
}

static int send_out(struct rota__h1_exchange *x, struct iovec *iov, int count, bool hold)
{
    int err = lock_output(x);
    if (err < 0)
        return err;
    err = rota__h1_connection_send(x->c, iov, count, hold);
    unlock_output(x);
    return err;
}

static int exchange_interim(rota_http_request *r, int status)
{
    struct rota__h1_exchange *x = exchange_of(r);
    if (x->head.minor == 0)
        return 0;
    rota__h1_write_response(&x->writer, &x->out, status, (rota_str){NULL, 0}, false);
    write_added(&x->writer, r->added);
    int err = rota__h1_write_body(&x->writer, ROTA__H1_NO_BODY, 0);
    if (err < 0)
        return err;
    struct iovec iov = {x->out.ptr, x->out.len};
    x->out.len = 0;
    return send_out(x, &iov, 1, false);
}

/* ---- The body of a reply */

/* Whether the buffer contains another head after this request, which has no body. */
static bool more_follows(const struct rota__h1_exchange *x)
{
    size_t rest = x->head_kept ? 0 : x->shown.len - x->head_len;
    return rest && x->head.body == ROTA__H1_NO_BODY && x->c->afterwards == ROTA__H1_GO_ON &&
           memmem(x->shown.ptr + x->head_len, rest, "\r\n\r\n", 4);
}

static int write_end(struct rota__h1_exchange *x)
{
    for (const struct rota__added *t = x->request.trailing; t; t = t->next) {
        int err = rota__h1_write_trailer(&x->writer, t->field.name, t->field.value);
        if (err < 0)
            return err;
    }
    return rota__h1_write_end(&x->writer);
}

/* Adds `piece` to `out`, and the end of the body. */
static int send_joined(struct rota__h1_exchange *x, rota_str piece, bool last)
{
    rota__out_add_str(&x->out, piece);
    int end = last ? write_end(x) : 0;
    if (x->out.err < 0)
        return x->out.err;
    struct iovec iov = {x->out.ptr, x->out.len};
    x->out.len = 0;
    int err = send_out(x, &iov, 1, last && end == 0 && more_follows(x));
    return err < 0 ? err : end;
}

static int send_apart(struct rota__h1_exchange *x, rota_str piece, bool last)
{
    size_t before = x->out.len;
    int end = last ? write_end(x) : 0;
    if (x->out.err < 0)
        return x->out.err;
    struct iovec iov[] = {{x->out.ptr, before},
                          {(void *)piece.ptr, piece.len},
                          {x->out.ptr + before, x->out.len - before}};
    x->out.len = 0;
    int err = send_out(x, iov, 3, last && end == 0 && more_follows(x));
    return err < 0 ? err : end;
}

static int exchange_send(rota_http_request *r, rota_str piece, bool last)
{
    struct rota__h1_exchange *x = exchange_of(r);
    int some = rota__h1_write_data(&x->writer, piece.len);
    if (some < 0)
        return some;
    if (!some)
        piece.len = 0;
    if (piece.len > JOINED)
        return send_apart(x, piece, last);
    return send_joined(x, piece, last);
}

static int exchange_send_file(rota_http_request *r, int fd, uint64_t offset, uint64_t len)
{
    struct rota__h1_exchange *x = exchange_of(r);
    int some = rota__h1_write_data(&x->writer, len);
    if (some <= 0)
        return some;
    if (x->out.err < 0)
        return x->out.err;
    rota_str head = {x->out.ptr, x->out.len};
    x->out.len = 0;
    int err = lock_output(x);
    if (err < 0)
        return err;
    err = rota__h1_connection_send_file(x->c, head, fd, offset, len);
    unlock_output(x);
    return err;
}

static void exchange_cut(rota_http_request *r)
{
    rota__h1_connection_end(exchange_of(r)->c, ROTA__H1_BREAK);
}

static void exchange_interrupt(rota_http_request *r)
{
    rota_stream_close(r->stream);
}

/* ---- The body of a request */

/* Moves a slice of the head to its copy. */
static rota_str moved(const struct rota__h1_exchange *x, rota_str s, const char *to)
{
    const char *from = x->shown.ptr;
    bool is_of_it = s.ptr >= from && s.ptr < from + x->head_len;
    return is_of_it ? (rota_str){to + (s.ptr - from), s.len} : s;
}

static int keep_head(struct rota__h1_exchange *x)
{
    rota_http_request *r = &x->request;
    char *to = rota__arena_copy(&r->arena, (rota_str){x->shown.ptr, x->head_len});
    rota_http_field *fields =
        to ? rota__arena_alloc(&r->arena, (r->count + 1) * sizeof *fields) : NULL;
    if (!fields)
        return -ENOMEM;
    for (size_t i = 0; i < r->count; i++)
        fields[i] =
            (rota_http_field){moved(x, r->fields[i].name, to), moved(x, r->fields[i].value, to)};
    r->fields = fields;
    rota_str *const slices[] = {&r->method, &r->target, &r->path, &r->query, &r->authority};
    for (size_t i = 0; i < sizeof slices / sizeof *slices; i++)
        *slices[i] = moved(x, *slices[i], to);
    x->head_kept = true;
    x->c->common.seen = 0;
    rota_stream_skip(x->c->stream, x->head_len);
    return 0;
}

/* Not sent after the head of the reply, which tells the client that the body is not awaited. */
static int send_continue(struct rota__h1_exchange *x)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {(void *)text, sizeof text - 1};
    if (!rota__request_may_continue(&x->request))
        return 0;
    int err = lock_output(x);
    if (err < 0)
        return err;
    if (rota__request_may_continue(&x->request)) {
        x->may_continue = false;
        err = rota__h1_connection_send(x->c, &iov, 1, false);
    }
    unlock_output(x);
    return err;
}

static int keep_trailers(struct rota__h1_exchange *x, const struct rota__h1_head *head)
{
    rota_http_request *r = &x->request;
    r->trailers = rota__arena_copy_fields(&r->arena, head->fields, head->count);
    r->trailer_count = r->trailers ? head->count : 0;
    return r->trailers ? 0 : -ENOMEM;
}

/* The next event of the body. Its data stay in the stream's buffer: `ahead` says how many. */
static int next_of_body(struct rota__h1_exchange *x)
{
    struct rota__h1_connection *c = x->c;
    struct rota__h1_item item;
    rota_str bytes = {"", 0};
    int event = ROTA__H1_MORE;
    size_t used = 0;
    int err = 0;
    if (c->parser.state != ROTA__H1_AT_END)
        err = rota__peek_more(c->stream, 0, &bytes);
    while (err == 0 && event == ROTA__H1_MORE) {
        event = rota__h1_next(&c->parser, bytes, &used, &item);
        x->ahead = event == ROTA__H1_DATA ? item.data.len : 0;
        if (event == ROTA__H1_TRAILER && keep_trailers(x, &item.head) < 0)
            err = -ENOMEM;
        rota_stream_skip(c->stream, used - x->ahead);
        if (event == ROTA__H1_MORE)
            err = rota__peek_more(c->stream, bytes.len - used, &bytes);
    }
    return err < 0 ? err : event;
}

static ssize_t read_here(struct rota__h1_exchange *x, void *buf, size_t len)
{
    struct rota__h1_connection *c = x->c;
    uint64_t direct = rota__h1_direct(&c->parser);
    bool is_ahead = x->ahead > 0;
    uint64_t most = is_ahead ? x->ahead : direct;
    ssize_t n = rota_stream_read(c->stream, buf, len < most ? len : (size_t)most);
    if (n <= 0)
        return n == 0 ? ROTA_EOF : n;
    if (is_ahead)
        x->ahead -= (size_t)n;
    else
        rota__h1_took(&c->parser, (uint64_t)n);
    return n;
}

static ssize_t read_body(struct rota__h1_exchange *x, void *buf, size_t len)
{
    while (!x->body_over) {
        if (x->ahead || rota__h1_direct(&x->c->parser))
            return read_here(x, buf, len);
        int event = next_of_body(x);
        if (event == -EBADMSG) {
            x->request.body_status = x->c->parser.status;
            return rota_error_set(x->c->parser.status == 413 ? ROTA_ELIMIT : ROTA_EPROTOCOL,
                                  "read request body: %s", x->c->parser.error);
        }
        if (event < 0)
            return event;
        x->body_over = event == ROTA__H1_END;
    }
    return 0;
}

static ssize_t exchange_read(rota_http_request *r, void *buf, size_t len)
{
    struct rota__h1_exchange *x = exchange_of(r);
    ssize_t n = rota__http_check();
    if (x->body_over || n < 0)
        return n;
    rota_timeout gap = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&gap, r->read_within);
    n = x->may_continue ? send_continue(x) : 0;
    if (n == 0)
        n = read_body(x, buf, len);
    rota_timeout_end(&gap);
    if (n < 0)
        rota__h1_connection_end(x->c, ROTA__H1_CLOSE);
    return n;
}

/* ---- Another protocol */

/* Only after the body was read, because the rest would be taken for bytes of the other protocol
 * (RFC 9110, section 7.8). */
static int exchange_upgrade(rota_http_request *r, const char *protocol)
{
    struct rota__h1_exchange *x = exchange_of(r);
    bool is_read = x->body_over || x->c->parser.state == ROTA__H1_AT_END;
    if (!is_read || x->ahead)
        return -EPROTO;
    rota__h1_write_response(&x->writer, &x->out, 101, (rota_str){NULL, 0}, false);
    write_text(&x->writer, "Connection", "Upgrade");
    write_text(&x->writer, "Upgrade", protocol);
    write_added(&x->writer, r->added);
    int err = rota__h1_write_body(&x->writer, ROTA__H1_NO_BODY, 0);
    if (err < 0)
        return err;
    struct iovec iov = {x->out.ptr, x->out.len};
    x->out.len = 0;
    x->body_over = true;
    rota__h1_connection_end(x->c, ROTA__H1_CLOSE);
    /* From now on the reader of the connection itself notices when the client goes away. */
    rota__list_remove(&x->c->common.node);
    rota__list_init(&x->c->common.node);
    return send_out(x, &iov, 1, false);
}

static const struct rota__request_kind exchange_kind = {
    .read = exchange_read,
    .head = exchange_head,
    .send = exchange_send,
    .send_file = exchange_send_file,
    .interim = exchange_interim,
    .upgrade = exchange_upgrade,
    .cut = exchange_cut,
    .interrupt = exchange_interrupt,
};

/* ---- From beginning to end */

struct rota__h1_exchange *rota__h1_exchange_new(struct rota__h1_connection *c)
{
    struct rota__h1_exchange *x =
        rota__request_new(c->server, &exchange_kind, c->stream, sizeof *x);
    if (!x)
        return NULL;
    x->c = c;
    x->out = (struct rota__out){
        .ptr = rota__arena_alloc(&x->request.arena, OUT_ROOM), .room = OUT_ROOM, .lent = true};
    c->parser.fields =
        rota__arena_alloc(&x->request.arena, c->parser.limits.fields * sizeof(rota_http_field));
    return x;
}

void rota__h1_exchange_free(struct rota__h1_exchange *x)
{
    rota__budget_give(&x->c->server->budget, x->held);
    rota__out_fini(&x->out);
    rota__request_free(&x->request);
}

static void begin_request(struct rota__h1_exchange *x)
{
    const struct rota__h1_head *head = &x->head;
    rota_str version = {head->minor ? "HTTP/1.1" : "HTTP/1.0", 8};
    rota__request_set(&x->request, head->method, head->target, head->authority, head->fields,
                      head->count);
    x->request.version = version;
    x->request.length = head->body == ROTA__H1_CHUNKED ? ROTA_HTTP_UNKNOWN_LENGTH : head->length;
    x->body_over =
        head->body == ROTA__H1_NO_BODY || (head->body == ROTA__H1_LENGTH && head->length == 0);
    /* A client that has begun to send the body does not wait for 100 (Continue) (RFC 9110, section
     * 10.1.1). */
    x->may_continue = head->expect_continue && !x->body_over && x->shown.len == x->head_len;
}

/* Skips the unread rest of the body. Returns whether the connection can be used again. */
static bool drain(struct rota__h1_exchange *x)
{
    uint64_t most = x->c->parser.total + DRAIN_MOST;
    int event = ROTA__H1_MORE;
    struct rota__server_aftermath a;
    rota__server_aftermath_begin(&a, x->c->server, x->c->common.task, DRAIN_TIME);
    while (event >= 0 && event != ROTA__H1_END && x->c->parser.total <= most) {
        rota_stream_skip(x->c->stream, x->ahead);
        x->ahead = 0;
        event = next_of_body(x);
    }
    rota__server_aftermath_end(&a);
    return event == ROTA__H1_END;
}

static void end_request(struct rota__h1_exchange *x)
{
    struct rota__h1_connection *c = x->c;
    if (!x->head_kept)
        rota_stream_skip(c->stream, x->head_len);
    if (rota__h1_pass_end(&c->parser))
        return;
    if (!x->body_over && (c->afterwards != ROTA__H1_GO_ON || !drain(x)))
        rota__h1_connection_end(c, ROTA__H1_LINGER);
}

void rota__h1_connection_turn_down(struct rota__h1_connection *c)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
                               "Connection: close\r\nContent-Length: 0\r\n\r\n";
    struct iovec iov = {(void *)text, sizeof text - 1};
    c->server->counters->refused++;
    c->server->counters->status[5]++;
    rota__h1_connection_end(c, ROTA__H1_LINGER);
    ROTA_TIMEOUT (c->server->options.write_stall) {
        if (rota__h1_connection_send(c, &iov, 1, false) == -ETIMEDOUT)
            rota_stream_abort(c->stream);
    }
}

/* What stays in the stream's buffer while the request runs. More than a connection counts for
 * anyway is counted; chunks are read through the buffer, which may take this much. */
static bool hold_buffer(struct rota__h1_exchange *x)
{
    size_t bytes = x->shown.len > 2048 ? x->shown.len : 0;
    if (x->head.body == ROTA__H1_CHUNKED && bytes < CHUNK_BUFFER)
        bytes = CHUNK_BUFFER;
    return rota__budget_hold(&x->c->server->budget, &x->held, bytes);
}

/* Not inlined, because a waiting connection would keep the stack frame. */
__attribute__((noinline)) void rota__h1_exchange_run(struct rota__h1_exchange *x)
{
    struct rota__h1_connection *c = x->c;
    if (!rota__request_may_run(c->server)) {
        rota__h1_exchange_refuse(x, 503, "the server has too many requests at once");
        return;
    }
    if (!hold_buffer(x)) {
        rota__h1_exchange_refuse(x, 503, "the server has no memory for another request");
        return;
    }
    begin_request(x);
    c->common.seen = x->head_len;
    bool goes_on = !x->body_over || x->head.upgrade;
    if (goes_on && keep_head(x) < 0) {
        rota__h1_exchange_refuse(x, 503, "the server has no memory for another request");
        return;
    }
    rota__server_run(&c->common, c->server);
    rota__request_run(&x->request);
    rota__list_remove(&c->common.node);
    end_request(x);
}

__attribute__((noinline)) void rota__h1_exchange_refuse(struct rota__h1_exchange *x, int status,
                                                        const char *why)
{
    const struct rota__h1_head *head = &x->head;
    rota__h1_connection_end(x->c, ROTA__H1_LINGER);
    x->head.minor = 1;
    x->body_over = true;
    if (head->method.len)
        rota__request_set(&x->request, head->method, head->target, head->authority, head->fields,
                          head->count);
    x->request.version = (rota_str){"HTTP/1.1", 8};
    ROTA_TIMEOUT (x->c->server->options.write_stall) {
        rota__request_refuse(&x->request, status, why);
        if (rota_check() == -ETIMEDOUT)
            rota_stream_abort(x->c->stream);
    }
}
