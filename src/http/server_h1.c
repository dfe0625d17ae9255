/* Connections of HTTP/1.1, from request to request. */
#include "http/server_h1.h"
#include "http/h2.h"
#include "http/peek.h"

#include <rota/sync.h>

/* ---- The head */

/* Replies if no valid head arrived and the client may still be listening. */
static void give_up(struct rota__h1_exchange *x, int err, bool too_late)
{
    struct rota__h1 *parser = &x->c->parser;
    if (err == -ETIMEDOUT && too_late)
        rota__h1_exchange_refuse(x, 408, "the head did not come in time");
    else if (err == ROTA_EOF && rota__h1_finish(parser) < 0)
        rota__h1_exchange_refuse(x, parser->status, parser->error);
    else if (err == ROTA_ELIMIT)
        rota__h1_exchange_refuse(
            x, 431, rota__limit_bytes(parser->limit_text, "head", parser->limits.head, "head"));
    else if (err == -ENOMEM)
        rota__h1_exchange_refuse(x, 503, "the server has no memory for another request");
}

/* When the present head must be complete. */
static rota_time head_by(struct rota__h1_connection *c)
{
    if (!c->head_by)
        c->head_by = rota__server_head_by(c->server);
    return c->head_by;
}

/* Waits for the rest of a head, within its time limit. */
static int await_rest(struct rota__h1_exchange *x, struct rota__h1_item *item)
{
    struct rota__h1_connection *c = x->c;
    rota_timeout deadline = ROTA_TIMEOUT_INIT;
    rota_timeout_begin_at(&deadline, head_by(c));
    int event = ROTA__H1_MORE, err = rota__h1_connection_settle(c);
    if (err == 0 && !rota__budget_hold(&c->server->budget, &x->held, c->server->options.head))
        err = -ENOMEM;
    if (err == 0)
        err = rota__server_rest(&c->common, c->server);
    while (err == 0 && event == ROTA__H1_MORE) {
        err = rota__peek_more(c->stream, x->shown.len - rota_stream_skip(c->stream, x->head_len),
                              &x->shown);
        if (err == 0)
            event = rota__h1_next(&c->parser, x->shown, &x->head_len, item);
    }
    rota__list_remove(&c->common.node);
    bool too_late = rota_timeout_end(&deadline) < 0;
    if (err < 0)
        give_up(x, err, too_late);
    return err < 0 ? err : event;
}

/* Returns whether there is a request. */
static bool parse(struct rota__h1_exchange *x)
{
    struct rota__h1 *parser = &x->c->parser;
    struct rota__h1_item item;
    int event = rota__h1_next(parser, x->shown, &x->head_len, &item);
    if (event == ROTA__H1_MORE)
        event = await_rest(x, &item);
    bool is_refused = event == -EBADMSG && parser->state == ROTA__H1_BROKEN;
    if (event == ROTA__H1_HEAD || is_refused)
        x->head = item.head;
    if (is_refused)
        rota__h1_exchange_refuse(x, parser->status, parser->error);
    return event == ROTA__H1_HEAD;
}

/* ---- The connection */

static __attribute__((noinline)) void serve_request(struct rota__h1_connection *c, rota_str bytes)
{
    struct rota__h1_exchange *x = rota__h1_exchange_new(c);
    if (!x) {
        rota__h1_connection_turn_down(c);
        return;
    }
    x->shown = bytes;
    if (parse(x))
        rota__h1_exchange_run(x);
    else
        rota__h1_connection_end(c, ROTA__H1_CLOSE);
    rota__h1_exchange_free(x);
}

static int await_until(struct rota__h1_connection *c, rota_time when, rota_str *bytes)
{
    rota_timeout deadline = ROTA_TIMEOUT_INIT;
    rota_timeout_begin_at(&deadline, when);
    int err = rota__peek_more(c->stream, 0, bytes);
    rota_timeout_end(&deadline);
    return err;
}

/* A connection that waits longer gives back the stack that handlers or a handshake have used. */
static int await_settled(struct rota__h1_connection *c, rota_time when, rota_str *bytes)
{
    rota_time settled = rota_now() + ROTA__SERVER_SETTLED;
    int err = await_until(c, when < settled ? when : settled, bytes);
    if (err != -ETIMEDOUT || when <= settled)
        return err;
    rota_task_trim();
    return await_until(c, when, bytes);
}

/* The time limit of the first head begins with the connection, that of later heads with their first
 * bytes. */
static int await_first(struct rota__h1_connection *c, rota_str *bytes)
{
    rota_time idle = c->server->options.idle;
    bool is_first = c->head_by && c->head_by != ROTA_NEVER;
    int err = rota__server_rest(&c->common, c->server);
    c->server->counters->idle++;
    if (err == 0 && is_first)
        err = await_settled(c, c->head_by, bytes);
    else if (err == 0)
        err = await_settled(c, idle == ROTA_NEVER ? idle : rota_now() + idle, bytes);
    c->server->counters->idle--;
    rota__list_remove(&c->common.node);
    return err;
}

/* Whether the first bytes are a client's of HTTP/2 that knows that we speak it (RFC 9113, section
 * 3.3). Where they stop before that is known, HTTP/1.1 is what they are. Returns 1, 0, or an error:
 * there is no connection any more. */
static __attribute__((noinline)) int is_h2(struct rota__h1_connection *c, rota_str *bytes)
{
    int is = rota__h2_is_preface(*bytes), err = rota__server_rest(&c->common, c->server);
    rota_timeout deadline = ROTA_TIMEOUT_INIT;
    rota_timeout_begin_at(&deadline, head_by(c));
    while (is == 0 && err == 0) {
        err = rota__peek_more(c->stream, bytes->len, bytes);
        if (err == 0)
            is = rota__h2_is_preface(*bytes);
    }
    rota_timeout_end(&deadline);
    rota__list_remove(&c->common.node);
    if (err == 0)
        return is > 0;
    return rota__peek_more(c->stream, 0, bytes); /* the failed read may have moved the bytes */
}

/* Returns whether the client speaks HTTP/2. */
static bool serve_all(struct rota__h1_connection *c)
{
    rota_str bytes;
    bool is_first = !c->server->options.tls;
    while (c->afterwards == ROTA__H1_GO_ON && !rota_event_is_set(&c->server->stopping)) {
        if (await_first(c, &bytes) < 0)
            return false;
        int is = is_first && *bytes.ptr == 'P' ? is_h2(c, &bytes) : 0;
        if (is != 0)
            return is > 0;
        is_first = false;
        serve_request(c, bytes);
        c->head_by = 0;
    }
    if (rota__h1_connection_settle(c) == 0 && c->afterwards == ROTA__H1_LINGER)
        rota__server_linger(c->server, c->stream);
    return false;
}

int rota__server_h1(struct rota__server *server, rota_stream *stream, rota_time head_by)
{
    struct rota__h1_limits limits = {.line = server->options.head < 8192 ? server->options.head : 0,
                                     .head = server->options.head,
                                     .fields = server->options.fields,
                                     .body = server->options.body};
    struct rota__h1_connection c = {.server = server, .stream = stream, .head_by = head_by};
    c.common.task = rota_task_current();
    c.common.stream = stream;
    c.common.stop = rota__server_cancel;
    rota__list_init(&c.common.node);
    rota__h1_init(&c.parser, true, &limits, NULL);
    if (serve_all(&c))
        return rota__server_h2(server, stream, head_by);
    rota_handle_cancel(&c.flush_soon);
    rota_task_free(c.flusher);
    return 0;
}
