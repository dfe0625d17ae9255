/* Connections of HTTP/2.
 *
 *     reader     the connection's task: bytes into the engine; a task for each request
 *     handlers   read what the reader has put by, write into the engine's output
 *     writer     a task, while there is output: sends it
 *
 * 1. Nobody but the writer writes to the stream, so a handler that is cancelled leaves no frame unfinished. It runs
 *    in the turn after the first output came, and so takes what all handlers of that turn have put out.
 * 2. A handler waits by its exchange's event: for a body to come, for window, for room in the output. Whoever
 *    changes one of these sets it, and the handler looks again.
 * 3. A piece of a body holds its part of the windows until the handler has it; so no more than a window is put by.
 * 4. An exchange ends with its task. The connection does not before its tasks have. */
#include "http/h2.h"
#include "http/peek.h"
#include "http/reply.h"

#include <rota/sync.h>

#include <string.h>

/* Output memory of that size is kept for the next time. */
#define KEPT 8192
/* What is read of a body that nobody wanted, and how long. */
#define DRAIN_MOST ((uint64_t)1024 * 1024)
#define DRAIN_TIME ROTA_SECOND
/* How long the end may take to send what it has to say. */
#define FAREWELL ROTA_SECOND

struct connection {
    struct rota__server_connection common;
    struct rota__server *server;
    rota_stream *stream;
    struct rota__h2 h2;
    struct rota__list exchanges;
    size_t running;
    rota_group tasks;
    rota_timeout idle; /* of the reader */
    uint64_t moved;    /* bytes of replies' bodies */
    bool writing;      /* there is a writer */
    bool closing;      /* no further requests */
    bool broken;       /* nothing can be sent any more */
    bool lingers;      /* the client may still be reading, and sends as it does */
    rota_event silent; /* the writer has ended */
    struct rota__out spare;
};

struct exchange {
    rota_http_request request;
    struct connection *c;
    struct rota__h2_stream stream;
    struct rota__list node;
    rota_task *task;
    rota_event news;
    struct rota__out body; /* put by, from `taken` on */
    size_t taken;
    uint64_t came;
    int body_end; /* 0: more comes; 1: complete; or why not */
    bool may_continue;
    bool was_reset;
};

static struct exchange *exchange_of(rota_http_request *r)
{
    return rota__container_of(r, struct exchange, request);
}

/* ---- Output */

static void tell_all(struct connection *c)
{
    rota__list_each (node, &c->exchanges)
        rota_event_set(&rota__container_of(node, struct exchange, node)->news);
}

static void break_off(struct connection *c)
{
    if (c->broken)
        return;
    c->broken = c->closing = true;
    tell_all(c);
    rota_task_cancel(c->common.task);
}

static int write_out(struct connection *c)
{
    struct rota__out out = c->h2.out;
    int err;
    c->h2.out = c->spare;
    c->spare = (struct rota__out){0};
    ROTA_TIMEOUT (c->server->options.write_stall) {
        err = rota_stream_write(c->stream, out.ptr, out.len);
    }
    out.len = 0;
    if (out.room > KEPT || c->spare.ptr)
        rota__out_fini(&out);
    else
        c->spare = out;
    return err;
}

static int write_run(void *arg)
{
    struct connection *c = arg;
    int err = 0;
    while (err == 0 && c->h2.out.len) {
        bool was_full = c->h2.out.len >= ROTA__H2_HIGH_WATER;
        err = write_out(c);
        if (was_full)
            tell_all(c);
    }
    c->writing = false;
    rota_event_set(&c->silent);
    if (err < 0)
        break_off(c);
    return 0;
}

/* What the engine has put out is to be sent. */
static void put_out(struct connection *c)
{
    if (!c->h2.out.len || c->writing || c->broken)
        return;
    c->writing = true;
    rota_event_clear(&c->silent);
    if (rota_group_spawn(&c->tasks, write_run, c) == 0)
        return;
    c->writing = false;
    rota_event_set(&c->silent);
    break_off(c);
}

/* ---- Waiting in a handler */

/* Until something has changed for the exchange, at most that long. */
static int await_news(struct exchange *x, rota_time most)
{
    int err;
    rota_event_clear(&x->news);
    ROTA_TIMEOUT (most) {
        err = rota_event_wait(&x->news);
    }
    return err;
}

/* How long the client may take to open windows for ROTA__SERVER_PIECE, on all streams: who opens them byte by byte
 * takes as little as who does not at all. */
struct patience {
    bool is_tried;
    rota_time since;
    uint64_t moved;
};

static int await_window(struct exchange *x, struct patience *p)
{
    rota_time now = rota_now();
    if (!p->is_tried || x->c->moved - p->moved >= ROTA__SERVER_PIECE)
        *p = (struct patience){true, now, x->c->moved};
    return await_news(x, x->c->server->options.write_stall - (now - p->since));
}

/* Why nothing can be written to the stream. */
static int check_alive(const struct exchange *x)
{
    if (x->c->broken)
        return -EPIPE;
    return x->stream.is_open || x->stream.write_ended ? 0 : -ECONNRESET;
}

static int await_room(struct exchange *x)
{
    struct connection *c = x->c;
    int err = rota_check();
    while (err == 0 && c->h2.out.len >= ROTA__H2_HIGH_WATER) {
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
    struct exchange *x = exchange_of(r);
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

static int write_piece(struct exchange *x, rota_str *piece, bool last)
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

/* As far as the client's windows allow, and the rest as they open. */
static int write_body(struct exchange *x, rota_str piece, bool last)
{
    struct patience patience = {0};
    int err = 0;
    do {
        err = write_piece(x, &piece, last);
        put_out(x->c);
        if (err == -EAGAIN)
            err = await_window(x, &patience);
        if (err == 0)
            err = check_alive(x);
        if (err == 0)
            err = await_room(x);
    } while (err == 0 && (piece.len || (last && !x->stream.write_ended)));
    return err;
}

static int write_trailers(struct exchange *x)
{
    struct fields fields;
    if (!add_all(&x->request, x->request.trailing, &fields))
        return -ENOMEM;
    int err = rota__h2_trailers(&x->c->h2, &x->stream, fields.list, fields.count);
    put_out(x->c);
    return err;
}

static int exchange_send(rota_http_request *r, rota_str piece, bool last)
{
    struct exchange *x = exchange_of(r);
    bool has_trailers = last && r->trailing;
    if (r->has_no_body)
        piece.len = 0;
    int err = x->c->broken ? -EPIPE : rota_check();
    put_out(x->c); /* the head */
    if (err < 0 || x->stream.write_ended)
        return err < 0 || !piece.len ? err : -EMSGSIZE;
    if (piece.len || (last && !has_trailers))
        err = write_body(x, piece, last && !has_trailers);
    if (err == 0 && has_trailers)
        err = write_trailers(x);
    return err;
}

static int exchange_interim(rota_http_request *r, int status)
{
    struct exchange *x = exchange_of(r);
    struct fields fields;
    if (!add_all(r, r->added, &fields))
        return -ENOMEM;
    struct rota__h2_head head = {.status = status, .fields = fields.list, .count = fields.count};
    int err = rota__h2_respond(&x->c->h2, &x->stream, &head);
    put_out(x->c);
    return err;
}

static void exchange_cut(rota_http_request *r)
{
    struct exchange *x = exchange_of(r);
    rota__h2_drop(&x->c->h2, &x->stream, ROTA__H2_INTERNAL_ERROR);
    put_out(x->c);
}

/* ---- Bodies of requests */

static void send_continue(struct exchange *x)
{
    struct rota__h2_head head = {.status = 100};
    x->may_continue = false;
    if (x->request.state == ROTA__REPLY_NONE)
        rota__h2_respond(&x->c->h2, &x->stream, &head);
    put_out(x->c);
}

static size_t take_body(struct exchange *x, void *buf, size_t len)
{
    size_t there = x->body.len - x->taken;
    size_t n = len < there ? len : there;
    memcpy(buf, x->body.ptr + x->taken, n);
    x->taken += n;
    if (x->taken == x->body.len) {
        rota__out_fini(&x->body);
        x->taken = 0;
    }
    rota__h2_consumed(&x->c->h2, &x->stream, n);
    put_out(x->c);
    return n;
}

static ssize_t exchange_read(rota_http_request *r, void *buf, size_t len)
{
    struct exchange *x = exchange_of(r);
    int err = rota_check();
    if (err == 0 && x->may_continue)
        send_continue(x);
    while (err == 0 && x->taken == x->body.len) {
        if (x->body_end)
            return x->body_end > 0 ? 0 : x->body_end;
        err = await_news(x, r->server->options.body_gap);
    }
    return err < 0 ? err : (ssize_t)take_body(x, buf, len);
}

static const struct rota__request_kind exchange_kind = {
    .read = exchange_read,
    .head = exchange_head,
    .send = exchange_send,
    .interim = exchange_interim,
    .cut = exchange_cut,
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
static bool set_head(struct exchange *x, const struct rota__h2_head *head)
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

static void exchange_free(struct exchange *x)
{
    struct connection *c = x->c;
    rota__h2_drop(&c->h2, &x->stream, ROTA__H2_NO_ERROR);
    put_out(c);
    rota__list_remove(&x->node);
    rota__out_fini(&x->body);
    rota__request_free(&x->request);
    if (--c->running)
        return;
    c->server->counters->idle++;
    bool is_last = c->closing || c->server->stopping;
    rota_timeout_reset(&c->idle, is_last ? 0 : c->server->options.idle); /* 0: the reader ends */
    c->lingers |= is_last;
}

/* Passes over what the handler left of a body. To be reset in the middle of it is what a client has to expect, but not
 * all do. */
static void drain(struct exchange *x)
{
    char ignored[1024];
    uint64_t most = x->came + DRAIN_MOST;
    ssize_t n = x->request.state == ROTA__REPLY_ENDED && !x->was_reset && !x->may_continue;
    ROTA_TIMEOUT (DRAIN_TIME) {
        while (n > 0 && x->came < most)
            n = exchange_read(&x->request, ignored, sizeof ignored);
    }
}

static int exchange_run(void *arg)
{
    struct exchange *x = arg;
    x->task = rota_task_current();
    if (x->body_end == ROTA_ELIMIT)
        rota__request_refuse(&x->request, 413, "a body over the limit");
    else if (!x->was_reset)
        rota__request_run(&x->request);
    drain(x);
    exchange_free(x);
    return 0;
}

/* Whoever is not taken is refused by the engine. */
static void begin_request(struct connection *c, const struct rota__h2_item *item)
{
    struct exchange *x = rota__request_new(c->server, &exchange_kind, c->stream, sizeof *x);
    if (!x)
        return;
    x->c = c;
    if (!set_head(x, &item->head)) {
        rota__request_free(&x->request);
        return;
    }
    rota__h2_take(&c->h2, &x->stream, item);
    x->body_end = item->head.end;
    x->may_continue = item->head.expect_continue && !item->head.end;
    if (item->head.has_length && item->head.length > c->server->options.body)
        x->body_end = ROTA_ELIMIT;
    rota__list_append(&c->exchanges, &x->node);
    if (c->running++ == 0) {
        c->server->counters->idle--;
        rota_timeout_reset(&c->idle, ROTA_NEVER);
    }
    if (rota_group_spawn(&c->tasks, exchange_run, x) < 0)
        exchange_free(x);
}

/* ---- Events */

static struct exchange *owner(const struct rota__h2_item *item)
{
    return item->stream ? rota__container_of(item->stream, struct exchange, stream) : NULL;
}

static void put_by(struct exchange *x, rota_str data)
{
    x->came += data.len;
    if (x->came > x->c->server->options.body)
        x->body_end = ROTA_ELIMIT;
    if (x->body_end == 0)
        rota__out_add_str(&x->body, data);
    if (x->body.err < 0)
        x->body_end = -ENOMEM;
    if (x->body_end < 0) /* nobody is going to read it */
        rota__h2_consumed(&x->c->h2, &x->stream, data.len);
    x->may_continue = false;
    rota_event_set(&x->news);
}

static void set_trailers(struct exchange *x, const struct rota__h2_head *head)
{
    rota_http_request *r = &x->request;
    r->trailers = rota__arena_copy_fields(&r->arena, head->fields, head->count);
    r->trailer_count = r->trailers ? head->count : 0;
    if (!r->trailers)
        x->body_end = -ENOMEM;
}

static void end_body(struct exchange *x, int how)
{
    if (x->body_end == 0)
        x->body_end = how;
    rota_event_set(&x->news);
}

static void be_reset(struct exchange *x)
{
    x->was_reset = true;
    end_body(x, ROTA_EOF);
    if (x->task)
        rota_task_cancel(x->task);
}

static void act(struct connection *c, int event, const struct rota__h2_item *item)
{
    struct exchange *x = owner(item);
    switch (event) {
    case ROTA__H2_HEAD:
        begin_request(c, item);
        break;
    case ROTA__H2_DATA:
        put_by(x, item->data);
        break;
    case ROTA__H2_TRAILERS:
        set_trailers(x, &item->head);
        break;
    case ROTA__H2_END:
        end_body(x, 1);
        break;
    case ROTA__H2_RESET:
        be_reset(x);
        break;
    case ROTA__H2_WINDOW:
        if (x)
            rota_event_set(&x->news);
        else
            tell_all(c);
        break;
    case ROTA__H2_SETTINGS:
        tell_all(c);
        break;
    case ROTA__H2_GOAWAY: /* the client begins no more, but reads on */
        c->closing = true;
        break;
    case ROTA__H2_REFUSED:
        c->server->counters->refused++;
        break;
    default:
        break;
    }
}

/* ---- The connection */

static int feed(struct connection *c, rota_str bytes)
{
    struct rota__h2_item item;
    rota_time now = rota_now();
    int event = 1;
    while (event > 0) {
        size_t used = 0;
        event = rota__h2_next(&c->h2, now, bytes, &used, &item);
        if (event > 0)
            act(c, event, &item);
        bytes.ptr += used;
        bytes.len -= used;
    }
    put_out(c);
    return event;
}

static int read_all(struct connection *c)
{
    int err = 0;
    while (err >= 0 && !(c->closing && c->running == 0)) {
        rota_str bytes;
        err = rota__peek_more(c->stream, 0, &bytes);
        if (err < 0)
            return err;
        err = feed(c, bytes);
        rota_stream_skip(c->stream, bytes.len);
    }
    return err;
}

/* No new requests; who has none leaves at once. */
static void stop(struct rota__server_connection *common)
{
    struct connection *c = rota__container_of(common, struct connection, common);
    rota__h2_shut_down(&c->h2);
    put_out(c);
    if (c->running == 0)
        rota_timeout_reset(&c->idle, 0);
}

static void leave(struct connection *c)
{
    if (c->h2.err == 0)
        rota__h2_close(&c->h2, ROTA__H2_NO_ERROR, "the server closes");
    put_out(c);
    while (c->writing && rota_event_wait(&c->silent) == 0)
        ;
    ROTA_SHIELD /* where that was cut short */
    {
        ROTA_TIMEOUT (FAREWELL) {
            while (c->writing && rota_event_wait(&c->silent) == 0)
                ;
        }
    }
    bool floods = c->h2.code == ROTA__H2_ENHANCE_YOUR_CALM; /* it need not be heard out */
    if (c->lingers && !c->broken && !floods)
        rota__server_linger(c->stream);
}

static void end_all(struct connection *c)
{
    c->closing = true;
    rota__list_each (node, &c->exchanges)
        be_reset(rota__container_of(node, struct exchange, node));
    if (!c->broken)
        leave(c);
    rota_group_cancel(&c->tasks);
    rota_group_wait(&c->tasks);
}

int rota__server_h2(struct rota__server *server, rota_stream *stream)
{
    struct rota__h2_limits limits = {.head = server->options.head,
                                     .fields = server->options.fields,
                                     .streams = (uint32_t)server->options.streams};
    struct connection c = {.server = server,
                           .stream = stream,
                           .tasks = {.policy = ROTA_GROUP_COLLECT},
                           .silent = ROTA_EVENT_INIT,
                           .idle = ROTA_TIMEOUT_INIT};
    c.common.task = rota_task_current();
    c.common.stream = stream;
    c.common.stop = stop;
    rota__list_init(&c.exchanges);
    int err = rota__h2_init(&c.h2, true, &limits);
    if (err < 0)
        return err;
    rota__list_append(&server->idle, &c.common.node);
    server->counters->idle++;
    rota_timeout_begin(&c.idle, server->options.idle);
    put_out(&c);
    err = server->stopping ? -ECANCELED : read_all(&c);
    rota_timeout_end(&c.idle);
    rota__list_remove(&c.common.node);
    if (err == -EBADMSG)
        rota_log(ROTA_LOG_DEBUG, "http: %s: %s", rota_stream_peer(stream), c.h2.error);
    end_all(&c);
    server->counters->idle--;
    rota__h2_fini(&c.h2);
    rota__out_fini(&c.spare);
    return 0;
}
