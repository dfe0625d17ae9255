/* Requests of HTTP/2 and their replies. */
#include "http/limit.h"
#include "http/plain.h"
#include "http/reply.h"
#include "http/server_h2.h"

#include <string.h>

/* What a request counts for beside its arena: its task's stack. */
#define TASK_MEMORY ((size_t)8 * 1024)
/* How much of an unread body is read, and for how long. */
#define DRAIN_MOST ((uint64_t)1024 * 1024)
#define DRAIN_TIME ROTA_SECOND

static struct rota__h2_exchange *exchange_of(rota_http_request *r)
{
    return rota__container_of(r, struct rota__h2_exchange, request);
}

/* ---- Waiting */

/* Until something has changed for the exchange, at most that long. */
static int await_news(struct rota__h2_exchange *x, rota_time most)
{
    int err;
    rota_event_clear(&x->news);
    ROTA_TIMEOUT (most) {
        err = rota_event_wait(&x->news);
    }
    return err;
}

/* How long the client may take to open windows for ROTA__SERVER_PIECE, on all streams: a client
 * that opens them byte by byte stalls just as one that does not open them at all. */
struct patience {
    bool is_tried;
    rota_time since;
    uint64_t moved;
};

static int await_window(struct rota__h2_exchange *x, struct patience *p)
{
    rota_time now = rota_now();
    if (!p->is_tried || x->c->moved - p->moved >= ROTA__SERVER_PIECE)
        *p = (struct patience){true, now, x->c->moved};
    return await_news(x, x->c->server->options.write_stall - (now - p->since));
}

/* Why nothing can be written to the stream. */
static int check_alive(const struct rota__h2_exchange *x)
{
    if (x->c->broken)
        return -EPIPE;
    return x->stream.is_open || x->stream.write_ended ? 0 : -ECONNRESET;
}

/* If memory is short, each connection may have one frame under way. */
static bool is_full(struct rota__h2_connection *c)
{
    if (c->h2.out.len >= ROTA__H2_HIGH_WATER)
        return true;
    if (!c->h2.out.len || rota__h2_connection_account(c))
        return false;
    c->starves = true;
    return true;
}

static int await_room(struct rota__h2_exchange *x)
{
    struct rota__h2_connection *c = x->c;
    int err = rota__http_check();
    while (err == 0 && is_full(c)) {
        err = await_news(x, c->server->options.write_stall);
        if (err == 0)
            err = check_alive(x);
    }
    return err;
}

/* ---- Replies */

struct fields {
    rota_http_field *list;
    size_t count;
};

static void add_field(struct fields *fields, const char *name, const char *value)
{
    fields->list[fields->count++] = (rota_http_field){{name, strlen(name)}, {value, strlen(value)}};
}

static bool add_all(rota_http_request *r, const struct rota__added *added, struct fields *fields)
{
    size_t count = 3;
    for (const struct rota__added *a = added; a; a = a->next)
        count++;
    fields->count = 0;
    fields->list = rota__arena_alloc(&r->arena, count * sizeof *fields->list);
    for (; fields->list && added; added = added->next)
        fields->list[fields->count++] = added->field;
    return fields->list;
}

static int exchange_head(rota_http_request *r, const struct rota__reply_head *reply)
{
    struct rota__h2_exchange *x = exchange_of(r);
    struct fields fields;
    if (!add_all(r, r->added, &fields))
        return -ENOMEM;
    if (reply->type)
        add_field(&fields, "content-type", reply->type);
    if (r->server->options.server)
        add_field(&fields, "server", r->server->options.server);
    add_field(&fields, "date", rota__server_date(r->server));
    struct rota__h2_head head = {.status = reply->status,
                                 .fields = fields.list,
                                 .count = fields.count,
                                 .has_length = reply->body == ROTA__H1_LENGTH,
                                 .length = reply->length};
    head.end =
        r->is_head || reply->body == ROTA__H1_NO_BODY || (head.has_length && head.length == 0);
    return rota__h2_respond(&x->c->h2, &x->stream, &head);
}

static int write_piece(struct rota__h2_exchange *x, rota_str *piece, bool last)
{
    struct rota__h2 *h2 = &x->c->h2;
    ssize_t n = rota__h2_data(h2, &x->stream, piece->len, last);
    if (n < 0)
        return (int)n;
    rota__out_add(&h2->out, piece->ptr, (size_t)n);
    x->c->moved += (size_t)n;
    piece->ptr += n;
    piece->len -= (size_t)n;
    return h2->out.err;
}

/* Sends as much as the client's windows allow, and the rest as they open. */
static int write_body(struct rota__h2_exchange *x, rota_str piece, bool last)
{
    struct patience patience = {0};
    int err = 0;
    do {
        err = write_piece(x, &piece, last);
        rota__h2_connection_put_out(x->c);
        if (err == -EAGAIN)
            err = await_window(x, &patience);
        if (err == 0)
            err = check_alive(x);
        if (err == 0)
            err = await_room(x);
    } while (err == 0 && (piece.len || (last && !x->stream.write_ended)));
    return err;
}

static int write_trailers(struct rota__h2_exchange *x)
{
    struct fields fields;
    if (!add_all(&x->request, x->request.trailing, &fields))
        return -ENOMEM;
    int err = rota__h2_trailers(&x->c->h2, &x->stream, fields.list, fields.count);
    rota__h2_connection_put_out(x->c);
    return err;
}

/* Gives failures of writing their texts, unless the caller has them. Returns `err`. */
static int write_failed(int err)
{
    switch (err) {
    case -EPIPE:
        return rota_error_set(err, "write reply: the connection was lost");
    case -ECONNRESET:
        return rota_error_set(err, "write reply: the client has reset the stream");
    case -ETIMEDOUT:
        return rota_check() < 0 ? err
                                : rota_error_set(err, "write reply: the client takes nothing "
                                                      "(option write_stall)");
    default:
        return err;
    }
}

static int send_piece(rota_http_request *r, rota_str piece, bool last)
{
    struct rota__h2_exchange *x = exchange_of(r);
    bool has_trailers = last && r->trailing;
    if (r->has_no_body)
        piece.len = 0;
    int err = x->c->broken ? -EPIPE : rota__http_check();
    rota__h2_connection_put_out(x->c); /* the head */
    if (err < 0 || x->stream.write_ended)
        return err < 0 || !piece.len ? err : -EMSGSIZE;
    if (piece.len || (last && !has_trailers))
        err = write_body(x, piece, last && !has_trailers);
    if (err == 0 && has_trailers)
        err = write_trailers(x);
    return err;
}

static int exchange_send(rota_http_request *r, rota_str piece, bool last)
{
    return write_failed(send_piece(r, piece, last));
}

static int exchange_interim(rota_http_request *r, int status)
{
    struct rota__h2_exchange *x = exchange_of(r);
    struct fields fields;
    if (!add_all(r, r->added, &fields))
        return -ENOMEM;
    struct rota__h2_head head = {.status = status, .fields = fields.list, .count = fields.count};
    int err = rota__h2_respond(&x->c->h2, &x->stream, &head);
    rota__h2_connection_put_out(x->c);
    return write_failed(err);
}

static void exchange_cut(rota_http_request *r)
{
    struct rota__h2_exchange *x = exchange_of(r);
    rota__h2_drop(&x->c->h2, &x->stream, ROTA__H2_INTERNAL_ERROR);
    rota__h2_connection_put_out(x->c);
}

/* ---- The body of a request */

/* There is no memory for the received bytes. */
static void run_out_of_memory(struct rota__h2_exchange *x)
{
    struct rota__h2_connection *c = x->c;
    c->server->counters->refused++;
    rota__out_fini(&x->body);
    x->taken = 0;
    rota__h2_drop(&c->h2, &x->stream, ROTA__H2_ENHANCE_YOUR_CALM);
    rota__h2_exchange_be_reset(x);
}

/* Counts the buffered bytes of the body. */
static bool hold_body(struct rota__h2_exchange *x)
{
    return rota__budget_hold(&x->c->server->budget, &x->held, TASK_MEMORY + x->body.room);
}

void rota__h2_exchange_put_by(struct rota__h2_exchange *x, rota_str data)
{
    rota__out_drop(&x->body, &x->taken);
    x->came += data.len;
    if (x->came > x->c->server->options.body)
        x->body_end = ROTA_ELIMIT;
    if (x->body_end == 0)
        rota__out_add_str(&x->body, data);
    if (x->body.err < 0)
        x->body_end = -ENOMEM;
    if (x->body_end < 0) /* it will not be read */
        rota__h2_consumed(&x->c->h2, &x->stream, data.len);
    x->may_continue = false;
    if (!hold_body(x))
        run_out_of_memory(x);
    rota_event_set(&x->news);
}

void rota__h2_exchange_set_trailers(struct rota__h2_exchange *x, const struct rota__h2_head *head)
{
    rota_http_request *r = &x->request;
    r->trailers = rota__arena_copy_fields(&r->arena, head->fields, head->count);
    r->trailer_count = r->trailers ? head->count : 0;
    if (!r->trailers)
        x->body_end = -ENOMEM;
}

void rota__h2_exchange_end_body(struct rota__h2_exchange *x, int how)
{
    if (x->body_end == 0)
        x->body_end = how;
    rota_event_set(&x->news);
}

void rota__h2_exchange_be_reset(struct rota__h2_exchange *x)
{
    x->was_reset = true;
    rota__h2_exchange_end_body(x, ROTA_EOF);
    if (x->task)
        rota_task_cancel(x->task);
}

static void send_continue(struct rota__h2_exchange *x)
{
    struct rota__h2_head head = {.status = 100};
    x->may_continue = false;
    if (rota__request_may_continue(&x->request))
        rota__h2_respond(&x->c->h2, &x->stream, &head);
    rota__h2_connection_put_out(x->c);
}

static size_t take_body(struct rota__h2_exchange *x, void *buf, size_t len)
{
    size_t there = x->body.len - x->taken;
    size_t n = len < there ? len : there;
    memcpy(buf, x->body.ptr + x->taken, n);
    x->taken += n;
    if (x->taken == x->body.len) {
        rota__out_fini(&x->body);
        x->taken = 0;
        hold_body(x);
    }
    rota__h2_consumed(&x->c->h2, &x->stream, n);
    rota__h2_connection_put_out(x->c);
    return n;
}

static int body_failed(const struct rota__h2_exchange *x)
{
    char text[ROTA__LIMIT_TEXT];
    if (x->body_end == ROTA_ELIMIT)
        rota_error_set(ROTA_ELIMIT, "read request body: %s",
                       rota__limit_bytes(text, "body", x->c->server->options.body, "body"));
    return x->body_end;
}

static ssize_t exchange_read(rota_http_request *r, void *buf, size_t len)
{
    struct rota__h2_exchange *x = exchange_of(r);
    int err = rota__http_check();
    rota_timeout gap = ROTA_TIMEOUT_INIT;
    if (err == 0 && x->may_continue)
        send_continue(x);
    rota_timeout_begin(&gap, r->read_within);
    while (err == 0 && x->taken == x->body.len && !x->body_end) {
        rota_event_clear(&x->news);
        err = rota_event_wait(&x->news);
    }
    rota_timeout_end(&gap);
    if (err < 0)
        return err;
    if (x->taken == x->body.len)
        return x->body_end > 0 ? 0 : body_failed(x);
    return (ssize_t)take_body(x, buf, len);
}

/* The stream has gone with the reply. */
static void exchange_interrupt(rota_http_request *r)
{
    struct rota__h2_exchange *x = exchange_of(r);
    x->taken = x->body.len;
    rota__h2_exchange_end_body(x, ROTA_EOF);
}

static const struct rota__request_kind exchange_kind = {
    .read = exchange_read,
    .head = exchange_head,
    .send = exchange_send,
    .interim = exchange_interim,
    .cut = exchange_cut,
    .interrupt = exchange_interrupt,
};

/* ---- A request and its task */

static bool copy(rota_http_request *r, rota_str *s)
{
    char *bytes = rota__arena_copy(&r->arena, *s);
    if (bytes)
        s->ptr = bytes;
    return bytes;
}

/* Takes over the head, whose text goes with the next event. */
static bool set_head(struct rota__h2_exchange *x, const struct rota__h2_head *head)
{
    rota_http_request *r = &x->request;
    rota_str method = head->method, target = head->target, authority = head->authority;
    const rota_http_field *fields = rota__arena_copy_fields(&r->arena, head->fields, head->count);
    if (!target.len)
        target = authority; /* CONNECT */
    if (!fields || !copy(r, &method) || !copy(r, &target) || !copy(r, &authority))
        return false;
    rota__request_set(r, method, target, authority, fields, head->count);
    r->version = (rota_str){"HTTP/2", 6};
    return true;
}

static void exchange_free(struct rota__h2_exchange *x)
{
    struct rota__h2_connection *c = x->c;
    rota__h2_drop(&c->h2, &x->stream, ROTA__H2_NO_ERROR);
    rota__h2_connection_put_out(c);
    rota__list_remove(&x->node);
    rota__out_fini(&x->body);
    rota__budget_give(&c->server->budget, x->held);
    rota__request_free(&x->request);
    if (--c->running)
        return;
    c->server->counters->idle++;
    if (!c->left) {
        rota__list_remove(&c->common.node);
        rota__server_rest(&c->common, c->server);
    }
    rota_timeout_reset(&c->settled, ROTA__SERVER_SETTLED);
    bool is_last = c->closing || rota_event_is_set(&c->server->stopping);
    rota_timeout_reset(&c->idle, is_last ? 0 : c->server->options.idle); /* 0: the reader ends */
    c->lingers |= is_last;
}

/* Skips the rest of a body that the handler did not read. A client must expect a reset in the
 * middle of it, but not all do. */
static void drain(struct rota__h2_exchange *x)
{
    char ignored[1024];
    uint64_t most = x->came + DRAIN_MOST;
    ssize_t n = x->request.state == ROTA__REPLY_ENDED && !x->was_reset && !x->may_continue;
    struct rota__server_aftermath a;
    if (n <= 0)
        return;
    rota__server_aftermath_begin(&a, x->c->server, NULL, DRAIN_TIME);
    while (n > 0 && x->came < most)
        n = exchange_read(&x->request, ignored, sizeof ignored);
    rota__server_aftermath_end(&a);
}

static int exchange_run(void *arg)
{
    struct rota__h2_exchange *x = arg;
    char text[ROTA__LIMIT_TEXT];
    x->task = rota_task_current();
    if (x->body_end == ROTA_ELIMIT)
        rota__request_refuse(&x->request, 413,
                             rota__limit_bytes(text, "body", x->c->server->options.body, "body"));
    else if (!x->was_reset)
        rota__request_run(&x->request);
    drain(x);
    exchange_free(x);
    return 0;
}

/* NULL: too many run, or there is no memory. */
static struct rota__h2_exchange *exchange_new(struct rota__h2_connection *c,
                                              const struct rota__h2_head *head)
{
    if (!rota__request_may_run(c->server))
        return NULL;
    struct rota__h2_exchange *x =
        rota__request_new(c->server, &exchange_kind, c->stream, sizeof *x);
    if (!x)
        return NULL;
    x->c = c;
    if (hold_body(x) && set_head(x, head))
        return x;
    rota__budget_give(&c->server->budget, x->held);
    rota__request_free(&x->request);
    return NULL;
}

void rota__h2_exchange_begin(struct rota__h2_connection *c, const struct rota__h2_item *item)
{
    struct rota__h2_exchange *x = exchange_new(c, &item->head);
    if (!x) {
        c->server->counters->refused++;
        c->server->counters->status[5]++;
        rota__h2_turn_down(&c->h2, item, 503);
        return;
    }
    rota__h2_take(&c->h2, &x->stream, item);
    x->body_end = item->head.end;
    x->may_continue = item->head.expect_continue && !item->head.end;
    x->request.length =
        item->head.has_length || item->head.end ? item->head.length : ROTA_HTTP_UNKNOWN_LENGTH;
    if (item->head.has_length && item->head.length > c->server->options.body)
        x->body_end = ROTA_ELIMIT;
    rota__list_append(&c->exchanges, &x->node);
    if (c->running++ == 0) {
        c->server->counters->idle--;
        rota_timeout_reset(&c->idle, ROTA_NEVER);
        rota__list_remove(&c->common.node);
        rota__server_be_busy(&c->common, c->server);
    }
    if (rota_group_spawn(&c->tasks, exchange_run, x) < 0)
        exchange_free(x);
}
