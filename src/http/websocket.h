/* A WebSocket on a stream, whose handshake is over: whole messages in both directions.
 *
 *     beginning, end     websocket.c
 *     reading            websocket_read.c
 *     writing            websocket_write.c      frames, what is due, the watch over a peer that
 *                                               takes nothing
 *
 *     state `end`     1 (open) -> 0 (closed in order) or an error: finish
 *     `silent`        no frame of ours follows: a close frame was sent, or one was lost in part, or
 *                     a deflated
 *                     one, without which the next could not be inflated
 *
 * 1. The holder of `lock` writes, one frame at a time. Pings and pongs that become due while a task
 *    holds it are written by that task before it unlocks, otherwise by a task for just that
 *    (answer_run). So a reader never writes them: two peers that take nothing until they have sent
 *    theirs must not wait for each other, and a reader's deadline must not cut a frame.
 * 2. Only the latest ping is answered (RFC 6455, section 5.5.3), so pings take no room.
 * 3. `end` is set once: by a reader, which is rota_websocket_read or rota_websocket_close, or by
 *    the watch over a write that does not go on, which then closes the stream, so that all calls
 *    inside end.
 * 4. The watch is armed by a write, and looks on until it finds none under way: a message costs no
 *    timer.
 * 5. `calls` are inside, of any task. Freeing ends them and waits until they have left. */
#ifndef ROTA__HTTP_WEBSOCKET_H
#define ROTA__HTTP_WEBSOCKET_H

#include "http/budget.h"
#include "http/out.h"
#include "http/ws.h"
#include "http/ws_deflate.h"

#include <rota/sync.h>
#include <rota/websocket.h>

struct rota__websocket_setup {
    rota_stream *stream;
    bool is_server;
    /* NULL: nothing is compressed. */
    const struct rota__ws_deflate_terms *deflate;
    /* Copied */
    rota_str protocol;
    /* Lets go of the stream; may suspend. */
    void (*release)(void *arg);
    void *release_arg;
};

/* Returns 0 or -ENOMEM; then `release` has not been called. `options` may be NULL. */
int rota__websocket_new(const struct rota__websocket_setup *setup,
                        const rota_websocket_options *options, rota_websocket **ret_ws);
/* Frees one whose handshake failed after all; nothing is sent. */
void rota__websocket_drop(rota_websocket *ws);

/* A message in memory keeps no more than this for the next one. */
#define ROTA__WEBSOCKET_KEPT 16384
#define ROTA__WEBSOCKET_MASKS 64

struct rota_websocket {
    rota_stream *stream;
    void (*release)(void *arg);
    void *release_arg;
    bool is_server;
    size_t fragments_max;
    rota_time ping_after, pong_within, close_within, stall_within;
    char *protocol;
    struct rota__ws_deflate *deflate;

    int end;
    /* Of the close frame that ended it; 0: none yet. */
    int code;
    char reason[ROTA__WS_CONTROL_MAX];
    rota_event ended;
    size_t calls;
    bool freed;
    /* By the last call, of one that is freed. */
    rota_event left;

    /* Reading. */
    struct rota__ws in;
    /* Its pieces so far. */
    struct rota__out message;
    /* Of the server; NULL: a client's. */
    struct rota__budget *budget;
    /* Taken from the budget. */
    size_t held;
    /* `message` was given away: the next piece begins another. */
    bool complete;
    size_t fragments;
    uint32_t utf8;
    /* By a ping, which may still be due, and nothing has come since. */
    bool asked;

    /* Writing. */
    rota_mutex lock;
    struct rota__out head, payload;
    bool silent;
    bool ping_due, pong_due;
    /* When the latest ping was sent. */
    rota_time pinged;
    rota_task *answerer;
    size_t pong_len;
    char pong[ROTA__WS_CONTROL_MAX];
    unsigned char masks[ROTA__WEBSOCKET_MASKS];
    size_t masks_left;

    /* The watch over it. */
    rota_handle watch;
    bool writing;
    /* `quiet`: looks at the same piece. */
    unsigned pieces, pieces_seen, quiet;
};

static inline void rota__websocket_forget(struct rota__out *out)
{
    if (out->room > ROTA__WEBSOCKET_KEPT || out->err < 0)
        rota__out_fini(out);
    out->len = 0;
}

static inline void rota__websocket_enter(rota_websocket *ws)
{
    ws->calls++;
}

/* Nothing of the WebSocket is touched after it. */
static inline int rota__websocket_leave(rota_websocket *ws, int result)
{
    if (--ws->calls == 0 && ws->freed)
        rota_event_set(&ws->left);
    return result;
}

/* Memory of both directions with compression, including zlib's windows; measured. */
#define ROTA__WEBSOCKET_DEFLATE ((size_t)320 * 1024)

/* Counts the memory that it keeps. Returns false if the server has no memory for that. */
static inline bool rota__websocket_account(rota_websocket *ws)
{
    size_t bytes = ws->message.room + (ws->deflate ? ROTA__WEBSOCKET_DEFLATE : 0);
    return !ws->budget || rota__budget_hold(ws->budget, &ws->held, bytes);
}

/* Sets `end`, and why. Returns `result`. */
int rota__websocket_finish(rota_websocket *ws, int code, rota_str reason, int result);

/* The peer's address, for texts. The stream may be closed. */
const char *rota__websocket_peer(const rota_websocket *ws);
/* Gives the failure of a call the text of what ended the WebSocket, if it is that. `operation` is
 * "read WebSocket message from", for example. `was_over`: it had ended before the call began;
 * otherwise an error of the stream has a text of its own. */
void rota__websocket_explain(rota_websocket *ws, int err, bool was_over, const char *operation);

/* What rota_websocket_read does, without counting the call. Suspends. */
int rota__websocket_read_message(rota_websocket *ws, rota_websocket_message *ret_message);

/* Pings and pongs that are due are sent soon. */
int rota__websocket_write_due(rota_websocket *ws);
void rota__websocket_stop_answering(rota_websocket *ws);
/* Tells the peer, as far as it still listens. Suspends. */
int rota__websocket_say_close(rota_websocket *ws, int code, rota_str reason);
/* The same, whatever the caller's deadlines. */
void rota__websocket_say_close_anyway(rota_websocket *ws, int code, rota_str reason);

#endif
