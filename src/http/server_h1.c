/* Connections of HTTP/1.1.
 *
 *     IDLE -> HEAD -> REQUEST -> IDLE ...     parse; run; end_request
 *     any  -> the end                         `afterwards`: after this reply, or at once
 *
 * The bytes of a request stay in the stream's buffer:
 *
 *     | head | what belongs to it or to the next requests ...
 *
 * 1. A request without a body leaves its head there until it is over, and its fields are slices of it. Whoever
 *    first reads a body moves the head into the request's memory (keep_head), because reading goes on
 *    behind it.
 * 2. What is unread of a body when the reply has been sent is passed over, if it is not much; else the connection
 *    closes behind the reply.
 * 3. While another whole head stands in the buffer, what is written is held back, to go out with the
 *    reply to that; where its handler suspends first, a task sends it (flush_soon).
 * 4. Frames below a waiting connection are few and small: its stack is most of what an idle one costs. */
#include "http/h1_write.h"
#include "http/h2.h"
#include "http/peek.h"
#include "http/reply.h"

#include <rota/sync.h>

#include <string.h>

/* What is read of a body that nobody wanted, to keep the connection; and how long for that. */
#define DRAIN_MOST ((uint64_t)64 * 1024)
#define DRAIN_TIME (5 * ROTA_SECOND)

/* The first room for the head of a reply; smaller bodies are joined to it, which is cheaper than to gather. */
#define OUT_ROOM 1536
#define JOINED 1024
/* Output of a size for which write_stall is counted anew; of files, more where the client is fast. */
#define PIECE ROTA__SERVER_PIECE
#define PIECE_MOST ((size_t)512 * 1024)

struct exchange;

/* What comes after the present request, or reply. It only gets worse. */
enum afterwards {
    GO_ON,  /* the next request */
    CLOSE,  /* the end */
    LINGER, /* the same, but the client may still be sending */
    BREAK   /* nor is there anything to be sent */
};

struct connection {
    struct rota__server_connection common;
    struct rota__server *server;
    rota_stream *stream;
    struct rota__h1 parser;
    enum afterwards afterwards;
    bool corked;
    rota_handle flush_soon;
    rota_task *flusher;
};

struct exchange {
    rota_http_request request;
    struct connection *c;
    struct rota__h1_head head;
    rota_str shown; /* the head, and what was received behind it */
    size_t head_len;
    size_t ahead; /* bytes of the body that the parser has passed and nobody has taken */
    bool head_kept;
    bool body_over;
    bool may_continue; /* the client waits to be told so */
    struct rota__h1_writer writer;
    struct rota__out out;
};

static struct exchange *exchange_of(rota_http_request *r)
{
    return rota__container_of(r, struct exchange, request);
}

static void end_with(struct connection *c, enum afterwards how)
{
    if (c->afterwards < how)
        c->afterwards = how;
}

/* ---- Output */

static int flush(void *arg)
{
    struct connection *c = arg;
    c->corked = false;
    c->common.writing = c->server->ticks + 1;
    int err = rota_stream_flush(c->stream);
    c->common.writing = 0;
    return err;
}

/* The handler of the next request has not replied in the turn in which it began. */
static void flush_begin(rota_handle *handle, void *arg)
{
    (void)handle;
    struct connection *c = arg;
    if (c->corked && !c->flusher && rota_spawn(flush, c, &c->flusher) < 0)
        c->flusher = NULL; /* then it goes with the reply */
}

static int await_flusher(struct connection *c)
{
    rota_task *flusher = c->flusher;
    c->flusher = NULL;
    return flusher ? rota_join(flusher) : 0;
}

static int write_pieces(struct connection *c, const struct iovec *iov, int count)
{
    c->common.writing = c->server->ticks + 1;
    int err = count == 1 ? rota_stream_write(c->stream, iov->iov_base, iov->iov_len)
                         : rota_stream_writev(c->stream, iov, count);
    c->common.writing = 0;
    return err;
}

/* What is long goes in pieces, so that a client that takes them slowly has not stalled. */
static int write_long(struct connection *c, struct iovec *iov, int count)
{
    while (count > 1 && iov[1].iov_len > PIECE) {
        struct iovec some[] = {iov[0], {iov[1].iov_base, PIECE}};
        int err = write_pieces(c, some, 2);
        if (err < 0)
            return err;
        iov[0].iov_len = 0;
        iov[1].iov_base = (char *)iov[1].iov_base + PIECE;
        iov[1].iov_len -= PIECE;
    }
    return write_pieces(c, iov, count);
}

static int failed(struct connection *c, int err)
{
    end_with(c, BREAK);
    return err == -ECANCELED && c->common.stalled ? -ETIMEDOUT : err;
}

static void hold_back(struct connection *c)
{
    if (c->corked)
        return;
    c->corked = true;
    rota_stream_cork(c->stream);
    rota_loop_call_soon(c->server->loop, &c->flush_soon, flush_begin, c);
}

/* Sends it with what is held back, or holds it back, too. */
static int output(struct connection *c, struct iovec *iov, int count, bool hold)
{
    int err = await_flusher(c);
    if (hold)
        hold_back(c);
    if (err == 0)
        err = write_long(c, iov, count);
    if (err == 0 && c->corked && !hold)
        err = flush(c);
    return err < 0 ? failed(c, err) : 0;
}

/* Sends what is held back, before a wait for the client. No request runs, so the sweep does not look. */
static int settle(struct connection *c)
{
    int err = 0;
    ROTA_TIMEOUT (c->server->options.write_stall) {
        err = await_flusher(c);
        if (err == 0 && c->corked)
            err = flush(c);
    }
    return err < 0 ? failed(c, err) : 0;
}

/* Whether the buffer has another head behind this request, which was one without a body. */
static bool more_follows(const struct exchange *x)
{
    size_t rest = x->head_kept ? 0 : x->shown.len - x->head_len;
    return rest && x->head.body == ROTA__H1_NO_BODY && x->c->afterwards == GO_ON &&
           memmem(x->shown.ptr + x->head_len, rest, "\r\n\r\n", 4);
}

static int write_end(struct exchange *x)
{
    for (const struct rota__added *t = x->request.trailing; t; t = t->next) {
        int err = rota__h1_write_trailer(&x->writer, t->field.name, t->field.value);
        if (err < 0)
            return err;
    }
    return rota__h1_write_end(&x->writer);
}

/* `piece` behind what `out` has, and the end behind that. */
static int send_joined(struct exchange *x, rota_str piece, bool last)
{
    rota__out_add_str(&x->out, piece);
    int end = last ? write_end(x) : 0;
    if (x->out.err < 0)
        return x->out.err;
    struct iovec iov = {x->out.ptr, x->out.len};
    x->out.len = 0;
    int err = output(x->c, &iov, 1, last && end == 0 && more_follows(x));
    return err < 0 ? err : end;
}

static int send_apart(struct exchange *x, rota_str piece, bool last)
{
    size_t before = x->out.len;
    int end = last ? write_end(x) : 0;
    if (x->out.err < 0)
        return x->out.err;
    struct iovec iov[] = {{x->out.ptr, before},
                          {(void *)piece.ptr, piece.len},
                          {x->out.ptr + before, x->out.len - before}};
    x->out.len = 0;
    int err = output(x->c, iov, 3, last && end == 0 && more_follows(x));
    return err < 0 ? err : end;
}

static int exchange_send(rota_http_request *r, rota_str piece, bool last)
{
    struct exchange *x = exchange_of(r);
    int some = rota__h1_write_data(&x->writer, piece.len);
    if (some < 0)
        return some;
    if (!some)
        piece.len = 0;
    if (piece.len > JOINED)
        return send_apart(x, piece, last);
    return send_joined(x, piece, last);
}

/* The kernel takes pieces; how many at once depends on how fast the client has been (see PIECE). */
static int hand_over(struct connection *c, int fd, uint64_t offset, uint64_t len)
{
    size_t most = PIECE;
    int err = 0;
    while (err == 0 && len > 0) {
        size_t piece = len < most ? (size_t)len : most;
        uint64_t began = c->server->ticks;
        c->common.writing = began + 1;
        err = rota_stream_send_file(c->stream, fd, (int64_t)offset, (int64_t)piece, NULL);
        offset += piece;
        len -= piece;
        if (c->server->ticks == began && most < PIECE_MOST)
            most *= 2;
        else if (c->server->ticks != began && most > PIECE)
            most /= 2;
    }
    c->common.writing = 0;
    return err;
}

/* The head is held back, so that it goes out in one piece with the first bytes. */
static int send_file(struct connection *c, rota_str head, int fd, uint64_t offset, uint64_t len)
{
    int err = await_flusher(c);
    c->corked = true;
    rota_stream_cork(c->stream);
    if (err == 0)
        err = rota_stream_write(c->stream, head.ptr, head.len);
    if (err == 0)
        err = hand_over(c, fd, offset, len);
    if (err == 0)
        err = flush(c);
    return err < 0 ? failed(c, err) : 0;
}

static int exchange_send_file(rota_http_request *r, int fd, uint64_t offset, uint64_t len)
{
    struct exchange *x = exchange_of(r);
    int some = rota__h1_write_data(&x->writer, len);
    if (some <= 0)
        return some;
    if (x->out.err < 0)
        return x->out.err;
    rota_str head = {x->out.ptr, x->out.len};
    x->out.len = 0;
    return send_file(x->c, head, fd, offset, len);
}

static void exchange_cut(rota_http_request *r)
{
    end_with(exchange_of(r)->c, BREAK);
}

/* ---- The head of a reply */

static bool is_drainable(const struct exchange *x)
{
    if (x->body_over)
        return true;
    if (x->may_continue) /* nobody knows whether it will come */
        return false;
    return x->head.body != ROTA__H1_LENGTH || x->c->parser.left <= DRAIN_MOST;
}

static void write_connection(struct exchange *x, struct rota__out *out)
{
    struct connection *c = x->c;
    if (!x->head.keep_alive || c->server->stopping || x->request.is_connect || !is_drainable(x))
        end_with(c, CLOSE);
    if (c->afterwards != GO_ON)
        rota__out_add_literal(out, "Connection: close\r\n");
    else if (x->head.minor == 0)
        rota__out_add_literal(out, "Connection: keep-alive\r\n");
}

/* They were checked when they were added. */
static void write_added(struct rota__out *out, const struct rota__added *added)
{
    for (; added; added = added->next) {
        rota__out_add_str(out, added->field.name);
        rota__out_add_literal(out, ": ");
        rota__out_add_str(out, added->field.value);
        rota__out_add_literal(out, "\r\n");
    }
}

static void write_field(struct rota__out *out, const char *name, const char *value)
{
    rota__out_add(out, name, strlen(name));
    rota__out_add(out, value, strlen(value));
    rota__out_add_literal(out, "\r\n");
}

static int exchange_head(rota_http_request *r, const struct rota__reply_head *head)
{
    struct exchange *x = exchange_of(r);
    struct rota__server *server = r->server;
    struct rota__h1_writer *w = &x->writer;
    enum rota__h1_body body = head->body;
    if (body == ROTA__H1_CHUNKED && x->head.minor == 0) { /* HTTP/1.0 knows no chunks */
        body = ROTA__H1_UNTIL_END;
        end_with(x->c, CLOSE);
    }
    rota__h1_write_response(w, &x->out, head->status, (rota_str){NULL, 0}, r->is_head);
    rota__out_add_literal(&x->out, "Date: ");
    rota__out_add(&x->out, rota__server_date(server), ROTA__SERVER_DATE_LEN);
    rota__out_add_literal(&x->out, "\r\n");
    if (server->options.server)
        write_field(&x->out, "Server: ", server->options.server);
    if (head->type)
        write_field(&x->out, "Content-Type: ", head->type);
    write_added(&x->out, r->added);
    write_connection(x, &x->out);
    return rota__h1_write_body(w, body, head->length);
}

static int exchange_interim(rota_http_request *r, int status)
{
    struct exchange *x = exchange_of(r);
    if (x->head.minor == 0)
        return 0;
    rota__h1_write_response(&x->writer, &x->out, status, (rota_str){NULL, 0}, false);
    write_added(&x->out, r->added);
    int err = rota__h1_write_body(&x->writer, ROTA__H1_NO_BODY, 0);
    if (err < 0)
        return err;
    struct iovec iov = {x->out.ptr, x->out.len};
    x->out.len = 0;
    return output(x->c, &iov, 1, false);
}

/* ---- The body of a request */

/* Of a slice of the head, the same of its copy. */
static rota_str moved(const struct exchange *x, rota_str s, const char *to)
{
    const char *from = x->shown.ptr;
    bool is_of_it = s.ptr >= from && s.ptr < from + x->head_len;
    return is_of_it ? (rota_str){to + (s.ptr - from), s.len} : s;
}

static int keep_head(struct exchange *x)
{
    rota_http_request *r = &x->request;
    if (x->head_kept)
        return 0;
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

static int send_continue(struct exchange *x)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {(void *)text, sizeof text - 1};
    x->may_continue = false;
    if (x->request.state != ROTA__REPLY_NONE)
        return 0;
    return output(x->c, &iov, 1, false);
}

static int keep_trailers(struct exchange *x, const struct rota__h1_head *head)
{
    rota_http_request *r = &x->request;
    r->trailers = rota__arena_copy_fields(&r->arena, head->fields, head->count);
    r->trailer_count = r->trailers ? head->count : 0;
    return r->trailers ? 0 : -ENOMEM;
}

/* The next event of the body. Its data stay in the stream's buffer: `ahead` says how many. */
static int next_of_body(struct exchange *x)
{
    struct connection *c = x->c;
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

static ssize_t read_here(struct exchange *x, void *buf, size_t len)
{
    struct connection *c = x->c;
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

static ssize_t read_body(struct exchange *x, void *buf, size_t len)
{
    while (!x->body_over) {
        if (x->ahead || rota__h1_direct(&x->c->parser))
            return read_here(x, buf, len);
        int event = next_of_body(x);
        if (event == -EBADMSG) {
            x->request.body_status = x->c->parser.status;
            return x->c->parser.status == 413 ? ROTA_ELIMIT : ROTA_EPROTOCOL;
        }
        if (event < 0)
            return event;
        x->body_over = event == ROTA__H1_END;
    }
    return 0;
}

static ssize_t exchange_read(rota_http_request *r, void *buf, size_t len)
{
    struct exchange *x = exchange_of(r);
    ssize_t n = rota_check();
    if (x->body_over || n < 0)
        return n;
    n = keep_head(x);
    if (n < 0)
        return n;
    rota_timeout gap = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&gap, r->server->options.body_gap);
    n = x->may_continue ? send_continue(x) : 0;
    if (n == 0)
        n = read_body(x, buf, len);
    rota_timeout_end(&gap);
    if (n < 0)
        end_with(x->c, CLOSE);
    return n;
}

/* ---- Another protocol */

static int exchange_upgrade(rota_http_request *r, const char *protocol)
{
    struct exchange *x = exchange_of(r);
    int err = keep_head(x);
    if (err < 0)
        return err;
    rota__h1_write_response(&x->writer, &x->out, 101, (rota_str){NULL, 0}, false);
    write_field(&x->out, "Connection: ", "Upgrade");
    write_field(&x->out, "Upgrade: ", protocol);
    write_added(&x->out, r->added);
    err = rota__h1_write_body(&x->writer, ROTA__H1_NO_BODY, 0);
    if (err < 0)
        return err;
    struct iovec iov = {x->out.ptr, x->out.len};
    x->out.len = 0;
    x->body_over = true;
    end_with(x->c, CLOSE);
    /* Who reads it from now on sees himself when the client goes away. */
    rota__list_remove(&x->c->common.node);
    rota__list_init(&x->c->common.node);
    return output(x->c, &iov, 1, false);
}

static const struct rota__request_kind exchange_kind = {
    .read = exchange_read,
    .head = exchange_head,
    .send = exchange_send,
    .send_file = exchange_send_file,
    .interim = exchange_interim,
    .upgrade = exchange_upgrade,
    .cut = exchange_cut,
};

/* ---- A request */

static struct exchange *exchange_new(struct connection *c)
{
    struct exchange *x = rota__request_new(c->server, &exchange_kind, c->stream, sizeof *x);
    if (!x)
        return NULL;
    x->c = c;
    x->out = (struct rota__out){
        .ptr = rota__arena_alloc(&x->request.arena, OUT_ROOM), .room = OUT_ROOM, .lent = true};
    c->parser.fields =
        rota__arena_alloc(&x->request.arena, c->parser.limits.fields * sizeof(rota_http_field));
    return x;
}

static void exchange_free(struct exchange *x)
{
    rota__out_fini(&x->out);
    rota__request_free(&x->request);
}

static void begin_request(struct exchange *x)
{
    const struct rota__h1_head *head = &x->head;
    rota_str version = {head->minor ? "HTTP/1.1" : "HTTP/1.0", 8};
    rota__request_set(&x->request, head->method, head->target, head->authority, head->fields,
                      head->count);
    x->request.version = version;
    x->body_over =
        head->body == ROTA__H1_NO_BODY || (head->body == ROTA__H1_LENGTH && head->length == 0);
    /* Who has begun to send does not wait to be asked (RFC 9110, section 10.1.1). */
    x->may_continue = head->expect_continue && !x->body_over && x->shown.len == x->head_len;
}

/* Passes over what nobody has read. Returns whether the connection can go on. */
static bool drain(struct exchange *x)
{
    uint64_t most = x->c->parser.total + DRAIN_MOST;
    int event = ROTA__H1_MORE;
    ROTA_TIMEOUT (DRAIN_TIME) {
        while (event >= 0 && event != ROTA__H1_END && x->c->parser.total <= most) {
            rota_stream_skip(x->c->stream, x->ahead);
            x->ahead = 0;
            event = next_of_body(x);
        }
    }
    return event == ROTA__H1_END;
}

static void end_request(struct exchange *x)
{
    struct connection *c = x->c;
    if (!x->head_kept)
        rota_stream_skip(c->stream, x->head_len);
    if (c->afterwards == GO_ON && c->parser.state == ROTA__H1_AT_END)
        next_of_body(x);
    else if (!x->body_over && (c->afterwards != GO_ON || !drain(x)))
        end_with(c, LINGER);
}

/* Not to be inlined: what a handler needs of the stack is not what a waiting connection keeps. */
static __attribute__((noinline)) void run(struct exchange *x)
{
    struct connection *c = x->c;
    begin_request(x);
    c->common.seen = x->head_len;
    rota__server_run(&c->common, c->server);
    rota__request_run(&x->request);
    rota__list_remove(&c->common.node);
    end_request(x);
}

static __attribute__((noinline)) void refuse(struct exchange *x, int status, const char *why)
{
    end_with(x->c, LINGER);
    x->head.minor = 1;
    x->body_over = true;
    x->request.version = (rota_str){"HTTP/1.1", 8};
    ROTA_TIMEOUT (x->c->server->options.write_stall) {
        rota__request_refuse(&x->request, status, why);
    }
}

/* ---- The connection */

static int await_first(struct connection *c, rota_str *bytes)
{
    rota__list_append(&c->server->idle, &c->common.node);
    c->server->counters->idle++;
    int err = rota__peek_more(c->stream, 0, bytes);
    c->server->counters->idle--;
    rota__list_remove(&c->common.node);
    return err;
}

/* Why no head came, told to the client where it may still listen. */
static void give_up(struct exchange *x, int err, bool too_late)
{
    struct rota__h1 *parser = &x->c->parser;
    if (err == -ETIMEDOUT && too_late)
        refuse(x, 408, "the head did not come in time");
    else if (err == ROTA_EOF && rota__h1_finish(parser) < 0)
        refuse(x, parser->status, parser->error);
    else if (err == ROTA_ELIMIT)
        refuse(x, 431, "a head over the limit");
}

/* The head did not arrive whole: waits for the rest, which has its time. */
static int await_rest(struct exchange *x, struct rota__h1_item *item)
{
    struct connection *c = x->c;
    rota_timeout deadline = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&deadline, c->server->options.head_time);
    int event = ROTA__H1_MORE, err = settle(c);
    while (err == 0 && event == ROTA__H1_MORE) {
        err = rota__peek_more(c->stream, x->shown.len - rota_stream_skip(c->stream, x->head_len),
                              &x->shown);
        if (err == 0)
            event = rota__h1_next(&c->parser, x->shown, &x->head_len, item);
    }
    bool too_late = rota_timeout_end(&deadline) < 0;
    if (err < 0)
        give_up(x, err, too_late);
    return err < 0 ? err : event;
}

/* Returns whether there is a request. */
static bool parse(struct exchange *x)
{
    struct rota__h1 *parser = &x->c->parser;
    struct rota__h1_item item;
    int event = rota__h1_next(parser, x->shown, &x->head_len, &item);
    if (event == ROTA__H1_MORE)
        event = await_rest(x, &item);
    if (event == -EBADMSG)
        refuse(x, parser->status, parser->error);
    if (event == ROTA__H1_HEAD)
        x->head = item.head;
    return event == ROTA__H1_HEAD;
}

static __attribute__((noinline)) void serve_request(struct connection *c, rota_str bytes)
{
    struct exchange *x = exchange_new(c);
    if (!x) {
        end_with(c, BREAK);
        return;
    }
    x->shown = bytes;
    if (parse(x))
        run(x);
    else
        end_with(c, CLOSE);
    exchange_free(x);
}

/* Whether the first bytes are a client's of HTTP/2 that knows that we speak it (RFC 9113, section 3.3). Where they
 * stop before that is known, HTTP/1.1 is what they are. Returns 1, 0, or an error: there is no connection any more. */
static __attribute__((noinline)) int is_h2(struct connection *c, rota_str *bytes)
{
    int is = rota__h2_is_preface(*bytes), err = 0;
    rota_timeout deadline = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&deadline, c->server->options.head_time);
    while (is == 0 && err == 0) {
        err = rota__peek_more(c->stream, bytes->len, bytes);
        if (err == 0)
            is = rota__h2_is_preface(*bytes);
    }
    rota_timeout_end(&deadline);
    if (err == 0)
        return is > 0;
    return rota__peek_more(c->stream, 0,
                           bytes); /* what was shown may have been moved by a look that failed */
}

/* Returns whether the client speaks HTTP/2. */
static bool serve_all(struct connection *c)
{
    rota_str bytes;
    bool is_first = !c->server->options.tls;
    while (c->afterwards == GO_ON && !c->server->stopping) {
        rota_timeout idle = ROTA_TIMEOUT_INIT;
        rota_timeout_begin(&idle, c->server->options.idle);
        int err = await_first(c, &bytes);
        rota_timeout_end(&idle);
        if (err < 0)
            return false;
        int is = is_first && *bytes.ptr == 'P' ? is_h2(c, &bytes) : 0;
        if (is != 0)
            return is > 0;
        is_first = false;
        serve_request(c, bytes);
    }
    if (settle(c) == 0 && c->afterwards == LINGER)
        rota__server_linger(c->stream);
    return false;
}

static void stop(struct rota__server_connection *c)
{
    rota_task_cancel(c->task);
}

int rota__server_h1(struct rota__server *server, rota_stream *stream)
{
    struct rota__h1_limits limits = {.line = server->options.head < 8192 ? server->options.head : 0,
                                     .head = server->options.head,
                                     .fields = server->options.fields,
                                     .body = server->options.body};
    struct connection c = {.server = server, .stream = stream};
    c.common.task = rota_task_current();
    c.common.stream = stream;
    c.common.stop = stop;
    rota__list_init(&c.common.node);
    rota__h1_init(&c.parser, true, &limits, NULL);
    if (serve_all(&c))
        return rota__server_h2(server, stream);
    rota_handle_cancel(&c.flush_soon);
    rota_task_free(c.flusher);
    return 0;
}
