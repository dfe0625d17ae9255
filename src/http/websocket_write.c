/* Writing WebSockets. */
#include "http/plain.h"
#include "http/websocket.h"

#include <errno.h>
#include <sys/random.h>

enum {
    /* Smaller ones are not worth deflating. */
    DEFLATED_FROM = 64,
    /* How often a write is looked at before it counts as stalled. */
    LOOKS = 4
};

#define WRITE "write WebSocket message to"

/* Bytes of output after which write_stall begins again. */
#define PIECE ((size_t)128 * 1024)

/* ---- A peer that takes nothing ---- */

static void look_after(rota_handle *handle, void *arg)
{
    rota_websocket *ws = arg;
    if (!ws->writing)
        return;
    ws->quiet = ws->pieces == ws->pieces_seen ? ws->quiet + 1 : 0;
    ws->pieces_seen = ws->pieces;
    if (ws->quiet < LOOKS) {
        rota_loop_call_later(rota_loop_current(), handle, ws->stall_within / LOOKS, look_after, ws);
        return;
    }
    ws->silent = true;
    if (ws->end > 0)
        rota__websocket_finish(ws, ROTA__WS_CUT_OFF, (rota_str){"", 0}, -ETIMEDOUT);
    rota_stream_close(ws->stream);
}

static void watch_piece(rota_websocket *ws)
{
    ws->pieces++;
    if (rota_handle_pending(&ws->watch) || ws->stall_within == ROTA_NEVER)
        return;
    ws->pieces_seen = ws->pieces;
    ws->quiet = 0;
    rota_loop_call_later(rota_loop_current(), &ws->watch, ws->stall_within / LOOKS, look_after, ws);
}

/* ---- Frames ---- */

static int next_mask(rota_websocket *ws, unsigned char *ret_mask)
{
    if (!ws->masks_left) {
        if (getrandom(ws->masks, ROTA__WEBSOCKET_MASKS, 0) != ROTA__WEBSOCKET_MASKS)
            return rota_error_set(-EIO, "mask WebSocket frame: no random bytes");
        ws->masks_left = ROTA__WEBSOCKET_MASKS;
    }
    ws->masks_left -= 4;
    memcpy(ret_mask, ws->masks + ws->masks_left, 4);
    return 0;
}

/* Long output is sent in pieces, so that a slow peer does not count as stalled. */
static int send_pieces(rota_websocket *ws, rota_str head, rota_str payload)
{
    int err;
    ws->writing = true;
    for (;;) {
        size_t some = payload.len < PIECE ? payload.len : PIECE;
        struct iovec pieces[] = {{(void *)head.ptr, head.len}, {(void *)payload.ptr, some}};
        watch_piece(ws);
        err = rota_stream_writev(ws->stream, pieces, some ? 2 : 1);
        if (err < 0 || some == payload.len)
            break;
        head.len = 0;
        payload = (rota_str){payload.ptr + some, payload.len - some};
    }
    ws->writing = false;
    ws->silent |= err < 0 && !head.len; /* in the middle of a frame */
    return err == ROTA_ECLOSED && ws->end < 0 ? ws->end : err;
}

/* `payload` is in ws->payload if it is to be masked. */
static int send_frame(rota_websocket *ws, int opcode, bool deflated, rota_str payload)
{
    unsigned char mask[4];
    int err = ws->is_server ? 0 : next_mask(ws, mask);
    if (err < 0)
        return err;
    if (!ws->is_server)
        rota__ws_mask(ws->payload.ptr, payload.len, mask, 0);
    rota__ws_write_head(&ws->head, opcode, true, deflated, payload.len,
                        ws->is_server ? NULL : mask);
    err = ws->head.err;
    if (err == 0)
        err = send_pieces(ws, (rota_str){ws->head.ptr, ws->head.len}, payload);
    rota__websocket_forget(&ws->head);
    return err;
}

/* The payload as it goes out: deflated, or a copy that can be masked, or as it is. */
static int send_payload(rota_websocket *ws, int opcode, bool deflate, rota_str payload)
{
    int err = 0;
    if (deflate)
        err = rota__ws_deflate_write(ws->deflate, payload, true, &ws->payload);
    else if (!ws->is_server)
        rota__out_add_str(&ws->payload, payload);
    if (err == 0)
        err = ws->payload.err;
    if (err == 0 && (deflate || !ws->is_server))
        payload = (rota_str){ws->payload.ptr, ws->payload.len};
    if (err == 0)
        err = send_frame(ws, opcode, deflate, payload);
    if (err < 0 && deflate)
        ws->silent = true;
    rota__websocket_forget(&ws->payload);
    return err;
}

/* ---- What is due ---- */

static int send_due(rota_websocket *ws)
{
    int err = 0;
    while (err == 0 && !ws->silent && (ws->pong_due || ws->ping_due)) {
        char pong[ROTA__WS_CONTROL_MAX];
        rota_str payload = {pong, ws->pong_due ? ws->pong_len : 0};
        int opcode = ws->pong_due ? ROTA__WS_PONG : ROTA__WS_PING;
        memcpy(pong, ws->pong, payload.len);
        *(ws->pong_due ? &ws->pong_due : &ws->ping_due) = false;
        err = send_payload(ws, opcode, false, payload);
        if (opcode == ROTA__WS_PING)
            ws->pinged = rota_now();
    }
    return err;
}

static int unlock(rota_websocket *ws)
{
    int err = send_due(ws);
    rota_mutex_unlock(&ws->lock);
    return err;
}

static int answer_run(void *arg)
{
    rota_websocket *ws = arg;
    if (rota_mutex_lock(&ws->lock) == 0)
        unlock(ws); /* what fails here, readers and writers will learn themselves */
    if (ws->answerer)
        ws->answerer = rota_task_detach(ws->answerer);
    return 0;
}

int rota__websocket_write_due(rota_websocket *ws)
{
    return ws->answerer ? 0 : rota_spawn(answer_run, ws, &ws->answerer);
}

void rota__websocket_stop_answering(rota_websocket *ws)
{
    rota_task *answerer = ws->answerer;
    ws->answerer = NULL;
    rota_task_free(answerer);
}

/* ---- Messages ---- */

static int write_message(rota_websocket *ws, rota_websocket_type type, const void *buf, size_t len)
{
    int err = rota_mutex_lock(&ws->lock);
    if (err < 0)
        return err;
    if (ws->silent || ws->end <= 0)
        err = rota_error_set(ROTA_ECLOSED, WRITE " %s: the WebSocket is closed",
                             rota__websocket_peer(ws));
    else
        err =
            send_payload(ws, (int)type, ws->deflate && len >= DEFLATED_FROM, (rota_str){buf, len});
    int later = unlock(ws);
    return err < 0 ? err : later;
}

int rota_websocket_write(rota_websocket *ws, rota_websocket_type type, const void *buf, size_t len)
{
    uint32_t utf8 = 0;
    if (type != ROTA_WEBSOCKET_TEXT && type != ROTA_WEBSOCKET_BINARY)
        return rota_error_set(-EINVAL, WRITE " %s: %d is not a type of message",
                              rota__websocket_peer(ws), (int)type);
    if (type == ROTA_WEBSOCKET_TEXT && (!rota__utf8_check(&utf8, buf, len) || utf8))
        return rota_error_set(-EINVAL, WRITE " %s: the text is not UTF-8",
                              rota__websocket_peer(ws));
    rota__websocket_enter(ws);
    int err = write_message(ws, type, buf, len);
    if (err == -ENOMEM)
        rota__http_plain(err);
    rota__websocket_explain(ws, err, true, WRITE);
    return rota__websocket_leave(ws, err);
}

/* ---- The close frame ---- */

/* The caller holds the lock. */
static int send_close(rota_websocket *ws, int code, rota_str reason)
{
    struct rota__out frame = {0};
    unsigned char mask[4];
    int err = ws->is_server ? 0 : next_mask(ws, mask);
    if (err == 0)
        err = rota__ws_write_close(&frame, code, reason, ws->is_server ? NULL : mask);
    if (err == -EINVAL)
        rota_error_set(err, "close WebSocket: invalid code %d or reason", code);
    if (err == -ENOMEM)
        rota__http_plain(err);
    if (err == 0) {
        ws->silent = true;
        err = rota_stream_write(ws->stream, frame.ptr, frame.len);
    }
    rota__out_fini(&frame);
    return err;
}

int rota__websocket_say_close(rota_websocket *ws, int code, rota_str reason)
{
    int err = rota_mutex_lock(&ws->lock);
    if (err < 0)
        return err;
    if (!ws->silent)
        err = send_close(ws, code, reason);
    rota_mutex_unlock(&ws->lock);
    return err;
}

void rota__websocket_say_close_anyway(rota_websocket *ws, int code, rota_str reason)
{
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (ws->close_within) {
            rota__websocket_say_close(ws, code, reason);
        }
    }
}
