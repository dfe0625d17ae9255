/* Connections of HTTP/2: input, output, the end. */
#include "http/server_h2.h"
#include "http/peek.h"

/* What a connection counts for at least: the engine, and some output, without which nothing would
 * go on. */
#define LEAST ((size_t)48 * 1024)
/* Most output memory that is kept for later. */
#define KEPT 8192
/* Time limit for sending the last frames. */
#define FAREWELL ROTA_SECOND

bool rota__h2_connection_account(struct rota__h2_connection *c)
{
    size_t bytes = rota__h2_memory(&c->h2) + c->spare.room + c->sending;
    return rota__budget_hold(&c->server->budget, &c->held, bytes < LEAST ? LEAST : bytes);
}

/* ---- Output */

static void tell_all(struct rota__h2_connection *c)
{
    rota__list_each (node, &c->exchanges)
        rota_event_set(&rota__container_of(node, struct rota__h2_exchange, node)->news);
}

static void break_off(struct rota__h2_connection *c)
{
    if (c->broken)
        return;
    c->broken = c->closing = true;
    tell_all(c);
    rota_task_cancel(c->common.task);
}

static int write_out(struct rota__h2_connection *c)
{
    struct rota__out out = c->h2.out;
    int err;
    c->h2.out = c->spare;
    c->spare = (struct rota__out){0};
    c->sending = out.room;
    ROTA_TIMEOUT (c->server->options.write_stall) {
        err = rota_stream_write(c->stream, out.ptr, out.len);
    }
    out.len = 0;
    c->sending = 0;
    if (out.room > KEPT || c->spare.ptr)
        rota__out_fini(&out);
    else
        c->spare = out;
    return err;
}

static int write_run(void *arg)
{
    struct rota__h2_connection *c = arg;
    int err = 0;
    while (err == 0 && c->h2.out.len) {
        bool was_full = c->h2.out.len >= ROTA__H2_HIGH_WATER || c->starves;
        c->starves = false;
        err = write_out(c);
        rota__h2_connection_account(c);
        if (was_full)
            tell_all(c);
    }
    c->writing = false;
    rota_event_set(&c->silent);
    if (err == -ETIMEDOUT) /* it does not read */
        rota_stream_abort(c->stream);
    if (err < 0)
        break_off(c);
    return 0;
}

void rota__h2_connection_begin_writer(struct rota__h2_connection *c)
{
    c->writing = true;
    rota_event_clear(&c->silent);
    if (rota_group_spawn(&c->tasks, write_run, c) == 0)
        return;
    c->writing = false;
    rota_event_set(&c->silent);
    break_off(c);
}

/* ---- Events */

static struct rota__h2_exchange *owner(const struct rota__h2_item *item)
{
    return item->stream ? rota__container_of(item->stream, struct rota__h2_exchange, stream) : NULL;
}

static void act(struct rota__h2_connection *c, int event, const struct rota__h2_item *item)
{
    struct rota__h2_exchange *x = owner(item);
    switch (event) {
    case ROTA__H2_HEAD:
        rota__h2_exchange_begin(c, item);
        break;
    case ROTA__H2_DATA:
        rota__h2_exchange_put_by(x, item->data);
        break;
    case ROTA__H2_TRAILERS:
        rota__h2_exchange_set_trailers(x, &item->head);
        break;
    case ROTA__H2_END:
        rota__h2_exchange_end_body(x, 1);
        break;
    case ROTA__H2_RESET:
        rota__h2_exchange_be_reset(x);
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
    case ROTA__H2_GOAWAY: /* the client begins no more requests, but still reads */
        c->closing = true;
        break;
    case ROTA__H2_REFUSED:
        c->server->counters->refused++;
        break;
    default:
        break;
    }
}

/* ---- From beginning to end */

static int feed(struct rota__h2_connection *c, rota_str bytes)
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
    rota__h2_connection_put_out(c);
    return event;
}

/* A head has its time from its first byte on. */
static void watch_head(struct rota__h2_connection *c)
{
    rota_time most = c->server->options.head_time;
    rota_time began = c->h2.in_head ? c->h2.head_began : ROTA_NEVER;
    if (began == c->head_began || most == ROTA_NEVER)
        return;
    c->head_began = began;
    rota_timeout_reset(&c->head, began == ROTA_NEVER ? ROTA_NEVER : began + most - rota_now());
}

/* Where none of its requests runs for a while, the reader gives back what it has needed of the
 * stack. */
static int await_bytes(struct rota__h2_connection *c, rota_str *bytes)
{
    rota_timeout_begin(&c->settled, c->running ? ROTA_NEVER : ROTA__SERVER_SETTLED);
    int err = rota__peek_more(c->stream, 0, bytes);
    bool settled = rota_timeout_end(&c->settled) < 0;
    if (err != -ETIMEDOUT || !settled)
        return err;
    rota_task_trim();
    return rota__peek_more(c->stream, 0, bytes);
}

static int read_all(struct rota__h2_connection *c)
{
    int err = 0;
    while (err >= 0 && !(c->closing && c->running == 0)) {
        rota_str bytes;
        err = await_bytes(c, &bytes);
        if (err < 0)
            return err;
        err = feed(c, bytes);
        rota_stream_skip(c->stream, bytes.len);
        if (err >= 0 && !rota__h2_connection_account(c))
            err = rota__h2_close(&c->h2, ROTA__H2_ENHANCE_YOUR_CALM,
                                 "the server has no memory for this");
        watch_head(c);
    }
    return err;
}

static int read_in_time(struct rota__h2_connection *c, rota_time first_by)
{
    if (first_by == ROTA_NEVER)
        rota_timeout_begin(&c->idle, c->server->options.idle);
    else
        rota_timeout_begin_at(&c->idle, first_by);
    rota_timeout_begin(&c->head, ROTA_NEVER);
    int err = read_all(c);
    if (rota_timeout_end(&c->head) < 0)
        rota__h2_close(&c->h2, ROTA__H2_ENHANCE_YOUR_CALM, "the head did not come in time");
    rota_timeout_end(&c->idle);
    return err;
}

/* Takes no new requests; a connection without requests ends at once. */
static void stop(struct rota__server_connection *common)
{
    struct rota__h2_connection *c = rota__container_of(common, struct rota__h2_connection, common);
    rota__h2_shut_down(&c->h2);
    rota__h2_connection_put_out(c);
    if (c->running == 0)
        rota_timeout_reset(&c->idle, 0);
}

static void leave(struct rota__h2_connection *c)
{
    if (c->h2.err == 0)
        rota__h2_close(&c->h2, ROTA__H2_NO_ERROR, "the server closes");
    rota__h2_connection_put_out(c);
    while (c->writing && rota_event_wait(&c->silent) == 0)
        ;
    ROTA_SHIELD /* where that was cut short */
    {
        ROTA_TIMEOUT (FAREWELL) {
            while (c->writing && rota_event_wait(&c->silent) == 0)
                ;
        }
    }
    if (c->writing && !c->broken) /* it does not read that either */
        rota_stream_abort(c->stream);
    bool floods = c->h2.code == ROTA__H2_ENHANCE_YOUR_CALM; /* it need not be heard out */
    if (c->lingers && !c->broken && !floods)
        rota__server_linger(c->server, c->stream);
}

static void end_all(struct rota__h2_connection *c)
{
    c->closing = true;
    rota__list_each (node, &c->exchanges)
        rota__h2_exchange_be_reset(rota__container_of(node, struct rota__h2_exchange, node));
    if (!c->broken)
        leave(c);
    rota_group_cancel(&c->tasks);
    ROTA_IGNORE(rota_group_wait(&c->tasks));
    rota_group_fini(&c->tasks);
}

static uint32_t count_of(size_t n)
{
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

int rota__server_h2(struct rota__server *server, rota_stream *stream, rota_time head_by)
{
    size_t resets = server->options.resets;
    struct rota__h2_limits limits = {.head = server->options.head,
                                     .fields = server->options.fields,
                                     .streams = count_of(server->options.streams),
                                     .resets = count_of(resets),
                                     .reset_rate = count_of(resets < 4 ? 1 : resets / 4)};
    struct rota__h2_connection c = {.server = server,
                                    .stream = stream,
                                    .tasks = {.policy = ROTA_GROUP_COLLECT},
                                    .silent = ROTA_EVENT_INIT,
                                    .idle = ROTA_TIMEOUT_INIT,
                                    .head = ROTA_TIMEOUT_INIT,
                                    .settled = ROTA_TIMEOUT_INIT,
                                    .head_began = ROTA_NEVER};
    c.common.task = rota_task_current();
    c.common.stream = stream;
    c.common.stop = stop;
    rota__list_init(&c.exchanges);
    int err = rota__h2_init(&c.h2, true, &limits);
    if (err < 0)
        return err;
    rota_group_begin(&c.tasks);
    int stopped = rota__server_rest(&c.common, server);
    if (!rota__h2_connection_account(&c))
        stopped =
            rota__h2_close(&c.h2, ROTA__H2_ENHANCE_YOUR_CALM, "the server has no memory for this");
    server->counters->idle++;
    rota__h2_connection_put_out(&c);
    err = stopped < 0 ? stopped : read_in_time(&c, head_by);
    c.left = true;
    rota__list_remove(&c.common.node);
    if (err == -EBADMSG)
        rota_log(ROTA_LOG_DEBUG, "http: %s: %s", rota_stream_peer(stream), c.h2.error);
    end_all(&c);
    server->counters->idle--;
    rota__budget_give(&server->budget, c.held);
    rota__h2_fini(&c.h2);
    rota__out_fini(&c.spare);
    return 0;
}
