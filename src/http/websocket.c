/* WebSockets: creating, closing and freeing. */
#include "http/websocket.h"
#include "http/plain.h"

#include <errno.h>

#define DEFAULT_MESSAGE ((size_t)1 << 20)
#define DEFAULT_FRAGMENTS 1024
#define DEFAULT_PING (20 * ROTA_SECOND)
#define DEFAULT_CLOSING (5 * ROTA_SECOND)
#define DEFAULT_STALL (30 * ROTA_SECOND)

#define CLOSE "close WebSocket to"

int rota__websocket_finish(rota_websocket *ws, int code, rota_str reason, int result)
{
    ws->end = result;
    ws->code = code;
    if (reason.len >= sizeof ws->reason)
        reason.len = sizeof ws->reason - 1;
    if (reason.len)
        memcpy(ws->reason, reason.ptr, reason.len);
    ws->reason[reason.len] = '\0';
    rota_event_set(&ws->ended);
    return result;
}

/* ---- The end ---- */

static void turn_out(rota_websocket *ws)
{
    ws->freed = true;
    if (!ws->calls)
        return;
    ws->silent = true;
    if (ws->end > 0)
        rota__websocket_finish(ws, ROTA__WS_CUT_OFF, (rota_str){"", 0}, ROTA_ECLOSED);
    rota_stream_close(ws->stream);
    ROTA_SHIELD
    {
        if (ws->calls)
            ROTA_IGNORE(rota_event_wait(&ws->left));
    }
}

static const char *why_over(const rota_websocket *ws, int err)
{
    if (*ws->reason)
        return ws->reason;
    if (err == ROTA_ETRUNCATED)
        return "the connection ended without a close frame";
    return err == -ETIMEDOUT ? "the peer took nothing for too long (option write_stall)" : NULL;
}

const char *rota__websocket_peer(const rota_websocket *ws)
{
    const char *peer = rota_stream_peer(ws->stream);
    return *peer ? peer : "a closed connection";
}

void rota__websocket_explain(rota_websocket *ws, int err, bool was_over, const char *operation)
{
    if (err >= 0 || err != ws->end)
        return;
    const char *why = why_over(ws, err);
    if (!why && (was_over || err == ROTA_ECLOSED || err == -ENOMEM))
        why = rota_strerror(err);
    if (why)
        rota_error_set(err, "%s %s: %s", operation, rota__websocket_peer(ws), why);
}

/* Waits until the peer has closed, too. */
static int drain(rota_websocket *ws)
{
    rota_websocket_message message;
    int more = 1;
    while (more > 0)
        more = rota__websocket_read_message(ws, &message);
    if (more == -EBUSY) {
        more = rota_event_wait(&ws->ended);
        if (more == 0)
            more = ws->end;
    }
    return more;
}

int rota_websocket_close(rota_websocket *ws, int code, const char *reason)
{
    rota_str why = {reason ? reason : "", reason ? strlen(reason) : 0};
    int err = ws->end;
    bool was_over = err <= 0;
    if (was_over) {
        rota__websocket_explain(ws, err, was_over, CLOSE);
        return err;
    }
    rota__websocket_enter(ws);
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (ws->close_within) {
            err = rota__websocket_say_close(ws, code ? code : ROTA__WS_NORMAL, why);
            if (err == 0)
                err = drain(ws);
        }
    }
    if (err == -ETIMEDOUT && ws->end > 0)
        rota_error_set(err, "%s %s: no close frame came in time (option closing)", CLOSE,
                       rota__websocket_peer(ws));
    rota__websocket_explain(ws, err, was_over, CLOSE);
    return rota__websocket_leave(ws, err);
}

void rota__websocket_drop(rota_websocket *ws)
{
    rota_handle_cancel(&ws->watch);
    if (ws->budget)
        rota__budget_give(ws->budget, ws->held);
    rota__ws_deflate_free(ws->deflate);
    rota__out_fini(&ws->message);
    rota__out_fini(&ws->head);
    rota__out_fini(&ws->payload);
    rota_free(ws->protocol);
    rota_free(ws);
}

rota_websocket *rota_websocket_free(rota_websocket *ws)
{
    if (!ws)
        return NULL;
    ROTA_KEEP_ERROR;
    if (ws->end > 0 && !ws->silent)
        ROTA_IGNORE(rota_websocket_close(ws, ROTA__WS_GOING_AWAY, NULL));
    turn_out(ws);
    rota__websocket_stop_answering(ws);
    if (ws->release)
        ws->release(ws->release_arg);
    rota__websocket_drop(ws);
    return NULL;
}

const char *rota_websocket_protocol(const rota_websocket *ws)
{
    return ws->protocol;
}

int rota_websocket_close_code(const rota_websocket *ws)
{
    return ws->code;
}

const char *rota_websocket_close_reason(const rota_websocket *ws)
{
    return ws->reason;
}

/* ---- The beginning ---- */

static rota_time time_or(rota_time given, rota_time otherwise)
{
    return given ? given : otherwise;
}

static void apply(rota_websocket *ws, const rota_websocket_options *options)
{
    ws->fragments_max = options->fragments ? options->fragments : DEFAULT_FRAGMENTS;
    ws->ping_after = time_or(options->ping, DEFAULT_PING);
    ws->pong_within = time_or(options->pong, DEFAULT_PING);
    ws->close_within = time_or(options->closing, DEFAULT_CLOSING);
    ws->stall_within = time_or(options->write_stall, DEFAULT_STALL);
}

int rota__websocket_new(const struct rota__websocket_setup *setup,
                        const rota_websocket_options *options, rota_websocket **ret_ws)
{
    static const rota_websocket_options defaults;
    if (!options)
        options = &defaults;
    size_t limit = options->message ? options->message : DEFAULT_MESSAGE;
    rota_websocket *ws = rota_zalloc(sizeof *ws);
    if (!ws)
        return rota__http_plain(-ENOMEM);
    *ws = (rota_websocket){.stream = setup->stream,
                           .is_server = setup->is_server,
                           .end = 1,
                           .ended = ROTA_EVENT_INIT,
                           .left = ROTA_EVENT_INIT,
                           .lock = ROTA_MUTEX_INIT,
                           .complete = true};
    apply(ws, options);
    rota__ws_init(&ws->in, setup->is_server, setup->deflate, limit);
    int err = setup->deflate
                  ? rota__ws_deflate_new(setup->deflate, setup->is_server, 0, limit, &ws->deflate)
                  : 0;
    if (err == 0 && setup->protocol.len && !(ws->protocol = rota_zalloc(setup->protocol.len + 1)))
        err = -ENOMEM;
    if (err < 0) {
        rota__websocket_drop(ws);
        return rota__http_plain(err);
    }
    if (ws->protocol)
        memcpy(ws->protocol, setup->protocol.ptr, setup->protocol.len);
    ws->release = setup->release;
    ws->release_arg = setup->release_arg;
    *ret_ws = ws;
    return 0;
}
