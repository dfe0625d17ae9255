/* Reading WebSockets. */
#include "http/websocket.h"

#include <errno.h>

/* A task that has waited this long is likely to wait longer: it gives back the unused part of its
 * stack. */
#define SETTLED (2 * ROTA_SECOND)

static int fail(rota_websocket *ws, int code, const char *why, int result)
{
    rota_str reason = {why, strlen(why)};
    rota__websocket_finish(ws, code, reason, result);
    rota__websocket_say_close_anyway(ws, code, reason);
    return result;
}

/* ---- Bytes ---- */

/* Returns how long to wait for a silent peer. While the ping waits for a long message to be sent,
 * its time has not begun. */
static rota_time patience(const rota_websocket *ws)
{
    if (!ws->asked)
        return ws->ping_after;
    return ws->ping_due ? ws->pong_within : ws->pong_within - (rota_now() - ws->pinged);
}

/* Waits for more bytes than are buffered. Sends a ping if the peer is silent for long. */
static ssize_t wait_for_bytes(rota_websocket *ws, size_t count, rota_str *ret_bytes)
{
    rota_time waited = 0;
    for (;;) {
        ssize_t n;
        rota_timeout silence = ROTA_TIMEOUT_INIT;
        rota_time most = patience(ws);
        if (!ws->asked && most != ROTA_NEVER)
            most -= waited;
        if (most < 1) /* a pong may have arrived while no task was reading: parse that first */
            most = 1;
        bool settles = !waited && most > SETTLED;
        rota_timeout_begin(&silence, settles ? SETTLED : most);
        n = rota_stream_peek(ws->stream, count, ret_bytes);
        bool silent = rota_timeout_end(&silence) < 0 && n == -ETIMEDOUT;
        if (n >= (ssize_t)count)
            ws->asked = false;
        if (!silent)
            return n;
        if (settles) {
            rota_task_trim();
            waited = SETTLED;
            continue;
        }
        if (ws->asked && !ws->ping_due && patience(ws) <= 0)
            return fail(ws, ROTA__WS_POLICY, "no pong in time", -ETIMEDOUT);
        if (!ws->asked)
            ws->asked = ws->ping_due = true;
        int err = ws->ping_due ? rota__websocket_write_due(ws) : 0;
        if (err < 0)
            return err;
    }
}

/* ---- Messages ---- */

/* -EILSEQ: a text that is not UTF-8. */
static int inflate(rota_websocket *ws, rota_str piece, bool last, bool is_text)
{
    for (;;) {
        size_t room = piece.len < 1024 ? 4096 : 16384;
        char *to = rota__out_reserve(&ws->message, room);
        if (!to)
            return ws->message.err;
        ssize_t n = rota__ws_inflate(ws->deflate, &piece, last, to, room);
        if (n <= 0)
            return (int)n;
        ws->message.len += (size_t)n;
        if (is_text && !rota__utf8_check(&ws->utf8, to, (size_t)n))
            return -EILSEQ;
    }
}

/* Adds a piece to the message, or gives the message from where it lies if it came in one. */
static int add_piece(rota_websocket *ws, const struct rota__ws_item *item, rota_str *ret_whole)
{
    bool is_text = item->opcode == ROTA__WS_TEXT;
    int err = 0;
    if (item->compressed)
        err = inflate(ws, item->data, item->last, is_text);
    else if (item->last && !ws->message.len)
        *ret_whole = item->data;
    else
        rota__out_add_str(&ws->message, item->data);
    if (err == 0)
        err = ws->message.err;
    if (err == 0 && !rota__websocket_account(ws))
        err = -ENOMEM;
    if (err == 0 && item->last && ws->utf8)
        err = -EILSEQ;
    if (err == 0 && item->last && ws->message.len)
        *ret_whole = (rota_str){ws->message.ptr, ws->message.len};
    return err;
}

static int bad_piece(rota_websocket *ws, int err)
{
    switch (err) {
    case ROTA_ELIMIT:
        return fail(ws, ROTA__WS_TOO_BIG, rota__ws_message_limit(&ws->in), ROTA_ELIMIT);
    case -EILSEQ:
        return fail(ws, ROTA__WS_BAD_DATA, "a text that is not UTF-8", ROTA_EPROTOCOL);
    case -EBADMSG:
        return fail(ws, ROTA__WS_BAD_DATA, "a message that cannot be inflated", ROTA_EPROTOCOL);
    default:
        return fail(ws, ROTA__WS_FAILURE, "", err);
    }
}

static int on_data(rota_websocket *ws, const struct rota__ws_item *item,
                   rota_websocket_message *ret_message)
{
    if (ws->complete) {
        rota__websocket_forget(&ws->message);
        rota__websocket_account(ws);
        ws->complete = false;
        ws->fragments = 0;
        ws->utf8 = 0;
    }
    if (ws->in.state == ROTA__WS_AT_FRAME && ++ws->fragments > ws->fragments_max)
        return fail(ws, ROTA__WS_POLICY,
                    rota__limit_count(ws->in.limit_text, "frames in a message", ws->fragments_max,
                                      "fragments"),
                    ROTA_ELIMIT);
    rota_str whole = {"", 0};
    int err = add_piece(ws, item, &whole);
    if (err < 0)
        return bad_piece(ws, err);
    if (!item->last)
        return 0;
    ws->complete = true;
    *ret_message = (rota_websocket_message){(rota_websocket_type)item->opcode, whole};
    return 1;
}

static int on_control(rota_websocket *ws, const struct rota__ws_item *item)
{
    if (item->opcode == ROTA__WS_CLOSE) {
        rota__websocket_finish(ws, item->close_code, item->data, 0);
        rota__websocket_say_close_anyway(ws, item->close_code, (rota_str){"", 0});
    } else if (item->opcode == ROTA__WS_PING) {
        memcpy(ws->pong, item->data.ptr, item->data.len);
        ws->pong_len = item->data.len;
        ws->pong_due = true;
        return rota__websocket_write_due(ws);
    }
    return 0;
}

static int on_broken(rota_websocket *ws)
{
    bool too_big = ws->in.close_code == ROTA__WS_TOO_BIG;
    return fail(ws, ws->in.close_code, ws->in.error, too_big ? ROTA_ELIMIT : ROTA_EPROTOCOL);
}

/* Parses the buffered bytes. Returns 1 with a message, 0 without, or an error. `*wanted` says how
 * many unread bytes are needed to continue. The bytes are unmasked in place, because they belong to
 * the stream and are not used again. */
static int look(rota_websocket *ws, rota_str bytes, size_t *wanted,
                rota_websocket_message *ret_message)
{
    size_t used;
    struct rota__ws_item item;
    int event = rota__ws_next(&ws->in, (char *)bytes.ptr, bytes.len, &used, &item);
    rota_stream_skip(ws->stream, used);
    *wanted = event == ROTA__WS_MORE ? bytes.len - used + 1 : 1;
    switch (event) {
    case ROTA__WS_MORE:
        return 0;
    case ROTA__WS_DATA:
        return on_data(ws, &item, ret_message);
    case ROTA__WS_CONTROL:
        return on_control(ws, &item);
    default:
        return on_broken(ws);
    }
}

/* An error of the connection ends it; one of the caller's, or want of memory, does not. */
static int cut_off(rota_websocket *ws, int err)
{
    if (ws->end <= 0)
        return ws->end;
    switch (err) {
    case -ECANCELED:
    case -ETIMEDOUT:
    case -EBUSY:
    case -ENOMEM:
    case -ENOBUFS:
    case ROTA_ENOTASK:
        return err;
    default:
        return rota__websocket_finish(ws, ROTA__WS_CUT_OFF, (rota_str){"", 0}, err);
    }
}

int rota__websocket_read_message(rota_websocket *ws, rota_websocket_message *ret_message)
{
    size_t wanted = 1;
    while (ws->end > 0) {
        rota_str bytes;
        ssize_t n = wait_for_bytes(ws, wanted, &bytes);
        if (n < 0)
            return cut_off(ws, (int)n);
        if ((size_t)n < wanted)
            return cut_off(ws, ROTA_ETRUNCATED);
        int found = look(ws, bytes, &wanted, ret_message);
        if (found > 0 && ws->pong_due)
            /* To the task that writes it: the caller may be busy with the message for long. */
            ROTA_IGNORE(rota_yield());
        if (found != 0)
            return found;
    }
    return ws->end;
}

int rota_websocket_read(rota_websocket *ws, rota_websocket_message *ret_message)
{
    bool was_over = ws->end <= 0;
    rota__websocket_enter(ws);
    int more = rota__websocket_read_message(ws, ret_message);
    rota__websocket_explain(ws, more, was_over, "read WebSocket message from");
    return rota__websocket_leave(ws, more);
}
