/* A WebSocket on a stream: whole messages in both directions.
 *
 *     state `end`     1 (open) -> 0 (closed in order) or an error: finish
 *     `silent`        no frame of ours follows: a close frame was sent, or one was lost in part, or a deflated
 *                     one, without which the next could not be inflated
 *
 * 1. Whoever holds `lock` writes, one frame at a time. Pings and pongs that are due while somebody else
 *    holds it are written by that one before it lets go (unlock), else by a task for just that (answer_run). So
 *    a reader never writes them: two peers that take nothing until they have sent theirs must not wait for each
 *    other, and a reader's deadline must not tear a frame.
 * 2. Only the latest ping is answered (RFC 6455, section 5.5.3), so pings take no room.
 * 3. `end` is set once: by a reader, which is rota_websocket_read or rota_websocket_close, or by the watch over
 *    a write that does not go on, which then closes the stream, so that all calls inside end.
 * 4. The watch is armed by a write, and looks on until it finds none under way: a message costs no timer.
 * 5. `calls` are inside, of any task. Freeing ends them and waits until they have left. */
#include "http/websocket.h"
#include "http/ws.h"

#include <rota/sync.h>

#include <errno.h>
#include <sys/random.h>

enum {
    /* A message in memory keeps no more than this for the next one. */
    KEPT = 16384,
    /* Smaller ones are not worth deflating. */
    DEFLATED_FROM = 64,
    MASKS = 64,
    /* How often a write is looked at before it counts as stalled. */
    LOOKS = 4
};

/* Output of a size for which write_stall is counted anew. */
#define PIECE ((size_t)128 * 1024)

#define DEFAULT_MESSAGE ((size_t)1 << 20)
#define DEFAULT_FRAGMENTS 1024
#define DEFAULT_PING (20 * ROTA_SECOND)
#define DEFAULT_CLOSING (5 * ROTA_SECOND)
#define DEFAULT_STALL (30 * ROTA_SECOND)

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
    int code; /* of the close frame that ended it; 0: none yet */
    char reason[ROTA__WS_CONTROL_MAX];
    rota_event ended;
    size_t calls;
    bool freed;
    rota_event left; /* by the last call, of one that is freed */

    /* Reading. */
    struct rota__ws in;
    struct rota__out message; /* its pieces so far */
    bool complete;            /* `message` was given away: the next piece begins another */
    size_t fragments;
    uint32_t utf8;
    bool asked; /* by a ping, which may still be due, and nothing has come since */

    /* Writing. */
    rota_mutex lock;
    struct rota__out head, payload;
    bool silent;
    bool ping_due, pong_due;
    rota_time pinged; /* when the latest ping was sent */
    rota_task *answerer;
    size_t pong_len;
    char pong[ROTA__WS_CONTROL_MAX];
    unsigned char masks[MASKS];
    size_t masks_left;

    /* The watch over it. */
    rota_handle watch;
    bool writing;
    unsigned pieces, pieces_seen, quiet; /* `quiet`: looks at the same piece */
};

static int finish(rota_websocket *ws, int code, rota_str reason, int result)
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

/* ---- Who is inside ---- */

static void enter(rota_websocket *ws)
{
    ws->calls++;
}

/* Nothing of the WebSocket is touched after it. */
static int leave(rota_websocket *ws, int result)
{
    if (--ws->calls == 0 && ws->freed)
        rota_event_set(&ws->left);
    return result;
}

static void turn_out(rota_websocket *ws)
{
    ws->freed = true;
    if (!ws->calls)
        return;
    ws->silent = true;
    if (ws->end > 0)
        finish(ws, ROTA__WS_CUT_OFF, (rota_str){"", 0}, ROTA_ECLOSED);
    rota_stream_close(ws->stream);
    ROTA_SHIELD
    {
        if (ws->calls)
            rota_event_wait(&ws->left);
    }
}

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
        finish(ws, ROTA__WS_CUT_OFF, (rota_str){"", 0}, -ETIMEDOUT);
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

/* ---- Writing ---- */

static int next_mask(rota_websocket *ws, unsigned char *ret_mask)
{
    if (!ws->masks_left) {
        if (getrandom(ws->masks, MASKS, 0) != MASKS)
            return -EIO;
        ws->masks_left = MASKS;
    }
    ws->masks_left -= 4;
    memcpy(ret_mask, ws->masks + ws->masks_left, 4);
    return 0;
}

static void forget(struct rota__out *out)
{
    if (out->room > KEPT || out->err < 0)
        rota__out_fini(out);
    out->len = 0;
}

/* What is long goes in pieces, so that a peer that takes them slowly has not stalled. */
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
    forget(&ws->head);
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
    forget(&ws->payload);
    return err;
}

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

/* What is due goes out soon. */
static int write_due(rota_websocket *ws)
{
    return ws->answerer ? 0 : rota_spawn(answer_run, ws, &ws->answerer);
}

static void stop_answering(rota_websocket *ws)
{
    rota_task *answerer = ws->answerer;
    ws->answerer = NULL;
    rota_task_free(answerer);
}

static int write_message(rota_websocket *ws, rota_websocket_type type, const void *buf, size_t len)
{
    int err = rota_mutex_lock(&ws->lock);
    if (err < 0)
        return err;
    if (ws->silent || ws->end <= 0)
        err = ROTA_ECLOSED;
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
        return -EINVAL;
    if (type == ROTA_WEBSOCKET_TEXT && (!rota__utf8_check(&utf8, buf, len) || utf8))
        return -EINVAL;
    enter(ws);
    return leave(ws, write_message(ws, type, buf, len));
}

/* ---- Reading ---- */

/* For one who holds the lock. */
static int send_close(rota_websocket *ws, int code, rota_str reason)
{
    struct rota__out frame = {0};
    unsigned char mask[4];
    int err = ws->is_server ? 0 : next_mask(ws, mask);
    if (err == 0)
        err = rota__ws_write_close(&frame, code, reason, ws->is_server ? NULL : mask);
    if (err == 0) {
        ws->silent = true;
        err = rota_stream_write(ws->stream, frame.ptr, frame.len);
    }
    rota__out_fini(&frame);
    return err;
}

/* Tells the peer, as far as it still listens. */
static int say_close(rota_websocket *ws, int code, rota_str reason)
{
    int err = rota_mutex_lock(&ws->lock);
    if (err < 0)
        return err;
    if (!ws->silent)
        err = send_close(ws, code, reason);
    rota_mutex_unlock(&ws->lock);
    return err;
}

/* The same, whatever the caller's deadlines. */
static void say_close_anyway(rota_websocket *ws, int code, rota_str reason)
{
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (ws->close_within) {
            say_close(ws, code, reason);
        }
    }
}

static int fail(rota_websocket *ws, int code, const char *why, int result)
{
    rota_str reason = {why, strlen(why)};
    finish(ws, code, reason, result);
    say_close_anyway(ws, code, reason);
    return result;
}

/* How long to wait for a silent peer now. While the ping waits for a long message to be taken, it has all its
 * time before it. */
static rota_time patience(const rota_websocket *ws)
{
    if (!ws->asked)
        return ws->ping_after;
    return ws->ping_due ? ws->pong_within : ws->pong_within - (rota_now() - ws->pinged);
}

/* More bytes than are buffered; asks the peer for a sign of life when it is silent for long. */
static ssize_t wait_for_bytes(rota_websocket *ws, size_t count, rota_str *ret_bytes)
{
    for (;;) {
        ssize_t n;
        rota_timeout silence = ROTA_TIMEOUT_INIT;
        rota_timeout_begin(&silence, patience(ws));
        n = rota_stream_peek(ws->stream, count, ret_bytes);
        bool silent = rota_timeout_end(&silence) < 0 && n == -ETIMEDOUT;
        if (n >= (ssize_t)count)
            ws->asked = false;
        if (!silent)
            return n;
        if (ws->asked && !ws->ping_due && patience(ws) <= 0)
            return fail(ws, ROTA__WS_POLICY, "no pong in time", -ETIMEDOUT);
        if (!ws->asked)
            ws->asked = ws->ping_due = true;
        int err = ws->ping_due ? write_due(ws) : 0;
        if (err < 0)
            return err;
    }
}

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
        return fail(ws, ROTA__WS_TOO_BIG, "a message over the limit", ROTA_ELIMIT);
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
        forget(&ws->message);
        ws->complete = false;
        ws->fragments = 0;
        ws->utf8 = 0;
    }
    if (ws->in.state == ROTA__WS_AT_FRAME && ++ws->fragments > ws->fragments_max)
        return fail(ws, ROTA__WS_POLICY, "a message in too many pieces", ROTA_ELIMIT);
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
        finish(ws, item->close_code, item->data, 0);
        say_close_anyway(ws, item->close_code, (rota_str){"", 0});
    } else if (item->opcode == ROTA__WS_PING) {
        memcpy(ws->pong, item->data.ptr, item->data.len);
        ws->pong_len = item->data.len;
        ws->pong_due = true;
        return write_due(ws);
    }
    return 0;
}

static int on_broken(rota_websocket *ws)
{
    bool too_big = ws->in.close_code == ROTA__WS_TOO_BIG;
    return fail(ws, ws->in.close_code, ws->in.error, too_big ? ROTA_ELIMIT : ROTA_EPROTOCOL);
}

/* Looks at what is there. Returns 1 with a message, 0 without, or an error; `*wanted` says how many unread bytes it
 * takes to go on. The bytes are the stream's own, and nobody looks at them again, so they are unmasked in
 * place. */
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
        return finish(ws, ROTA__WS_CUT_OFF, (rota_str){"", 0}, err);
    }
}

static int read_message(rota_websocket *ws, rota_websocket_message *ret_message)
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
        if (found != 0)
            return found;
    }
    return ws->end;
}

int rota_websocket_read(rota_websocket *ws, rota_websocket_message *ret_message)
{
    enter(ws);
    return leave(ws, read_message(ws, ret_message));
}

/* ---- The end ---- */

/* Until the peer has closed, too. */
static int drain(rota_websocket *ws)
{
    rota_websocket_message message;
    int more = 1;
    while (more > 0)
        more = read_message(ws, &message);
    if (more == -EBUSY && rota_event_wait(&ws->ended) == 0)
        more = ws->end;
    return more;
}

int rota_websocket_close(rota_websocket *ws, int code, const char *reason)
{
    rota_str why = {reason ? reason : "", reason ? strlen(reason) : 0};
    int err = 0;
    if (ws->end <= 0)
        return ws->end;
    enter(ws);
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (ws->close_within) {
            err = say_close(ws, code ? code : ROTA__WS_NORMAL, why);
            if (err == 0)
                err = drain(ws);
        }
    }
    return leave(ws, err);
}

void rota__websocket_drop(rota_websocket *ws)
{
    rota_handle_cancel(&ws->watch);
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
    if (ws->end > 0 && !ws->silent)
        rota_websocket_close(ws, ROTA__WS_GOING_AWAY, NULL);
    turn_out(ws);
    stop_answering(ws);
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
        return -ENOMEM;
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
        return err;
    }
    if (ws->protocol)
        memcpy(ws->protocol, setup->protocol.ptr, setup->protocol.len);
    ws->release = setup->release;
    ws->release_arg = setup->release_arg;
    *ret_ws = ws;
    return 0;
}
