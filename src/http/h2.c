/* The connection: frames in, events out. libnghttp2 gets the bytes frame by frame. So notes of its
 * callbacks are about one frame, and its answers are in `out` before the next frame is parsed. */
#include "http/h2.h"
#include "base/list.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stddef.h>

#define DEFAULT_HEAD 32768
#define DEFAULT_FIELDS 100
#define DEFAULT_STREAMS 100
#define DEFAULT_STREAM_WINDOW (256 * 1024)
#define DEFAULT_WINDOW (1024 * 1024)
#define DEFAULT_OUT (256 * 1024)
#define DEFAULT_RESETS 200
#define DEFAULT_RESET_RATE 50
#define DEFAULT_IDLE_FRAMES 2000
#define DEFAULT_IDLE_RATE 500

/* ---- Where frames begin */

static bool is_idle(const struct rota__h2 *h2)
{
    switch (h2->frame[3]) {
    case NGHTTP2_DATA:
        return !h2->payload && !(h2->frame[4] & NGHTTP2_FLAG_END_STREAM);
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM: /* has a limit of its own */
        return false;
    default:
        return true;
    }
}

static void begin_frame(struct rota__h2 *h2)
{
    bool is_head = h2->frame[3] == NGHTTP2_HEADERS || h2->frame[3] == NGHTTP2_CONTINUATION;
    h2->payload = (uint32_t)h2->frame[0] << 16 | (uint32_t)h2->frame[1] << 8 | h2->frame[2];
    h2->head_ends = is_head && (h2->frame[4] & NGHTTP2_FLAG_END_HEADERS);
    if (is_head && !h2->in_head) {
        h2->in_head = true;
        h2->head_began = h2->now;
    }
    if (is_idle(h2))
        rota__h2_spend_idle(h2);
    if (h2->is_server)
        rota__h2_check_stray(h2);
}

static void end_frame(struct rota__h2 *h2)
{
    h2->gathered = 0;
    h2->in_head &= !h2->head_ends;
    h2->head_ends = false;
}

/* Returns how many of the bytes are used: at most one frame goes to libnghttp2, and none of an
 * incomplete head, because Debian's 1.52 counts each look at the head of a CONTINUATION as another
 * one. */
static size_t cut_frame(struct rota__h2 *h2, rota_str bytes, rota_str *ret_piece)
{
    size_t used = 0;
    *ret_piece = (rota_str){NULL, 0};
    if (h2->preface) {
        used = bytes.len < h2->preface ? bytes.len : h2->preface;
        h2->preface -= (unsigned)used;
        *ret_piece = (rota_str){bytes.ptr, used};
        return used;
    }
    if (h2->gathered < 9) {
        bool was_begun = h2->gathered;
        used = 9 - h2->gathered < bytes.len ? 9 - h2->gathered : bytes.len;
        memcpy(h2->frame + h2->gathered, bytes.ptr, used);
        h2->gathered += (unsigned)used;
        if (h2->gathered < 9)
            return used;
        begin_frame(h2);
        if (was_begun) {
            *ret_piece = (rota_str){(const char *)h2->frame, 9};
            if (!h2->payload)
                end_frame(h2);
            return used;
        }
    }
    size_t payload = h2->payload < bytes.len - used ? h2->payload : bytes.len - used;
    h2->payload -= (uint32_t)payload;
    if (!h2->payload)
        end_frame(h2);
    *ret_piece = (rota_str){bytes.ptr, used + payload};
    return used + payload;
}

/* ---- Events */

static void forget_reset(struct rota__h2 *h2, struct rota__h2_stream *s)
{
    struct rota__h2_stream **at = &h2->first_reset;
    while (*at && *at != s)
        at = &(*at)->next_reset;
    if (*at)
        *at = s->next_reset;
    s->has_news = false;
}

static int tell_reset(struct rota__h2 *h2, struct rota__h2_item *item)
{
    struct rota__h2_stream *s = h2->first_reset;
    forget_reset(h2, s);
    *item = (struct rota__h2_item){.id = s->id, .stream = s, .code = s->code, .reason = s->reason};
    s->read_ended = true;
    return ROTA__H2_RESET;
}

static bool needs_owner(enum rota__h2_event event)
{
    return event == ROTA__H2_DATA || event == ROTA__H2_TRAILERS || event == ROTA__H2_END ||
           event == ROTA__H2_INTERIM;
}

static int tell(struct rota__h2 *h2, struct rota__h2_item *item)
{
    while (h2->first_event < h2->event_count) {
        enum rota__h2_event event = h2->events[h2->first_event++];
        if (needs_owner(event) && !h2->item.stream)
            continue;
        if (event == ROTA__H2_HEAD && h2->is_server)
            h2->offered = h2->item.id;
        *item = h2->item;
        return event;
    }
    return h2->first_reset ? tell_reset(h2, item) : ROTA__H2_MORE;
}

/* ---- Reading */

/* The response is complete before the stream is reset, which tells the peer to stop sending
 * (section 8.1). */
static int answer(struct rota__h2 *h2, int32_t id, int status, bool is_whole)
{
    char digits[3] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                      (char)('0' + status % 10)};
    nghttp2_nv nv = {(uint8_t *)":status", (uint8_t *)digits, 7, 3, NGHTTP2_NV_FLAG_NONE};
    int err = nghttp2_submit_response(h2->session, id, &nv, 1, NULL);
    if (err == 0)
        err = rota__h2_pump(h2);
    if (err == 0 && !is_whole)
        err = nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, ROTA__H2_NO_ERROR);
    return err;
}

static int answer_refused(struct rota__h2 *h2)
{
    int status = h2->answer;
    h2->answer = 0;
    return answer(h2, h2->item.id, status, h2->item.head.end);
}

/* The frame is whole: HPACK has seen it. */
static int answer_stray(struct rota__h2 *h2)
{
    h2->is_stray = false;
    return nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, rota__h2_frame_stream(h2),
                                     ROTA__H2_STREAM_CLOSED);
}

static ssize_t feed(struct rota__h2 *h2, rota_str bytes)
{
    rota_str piece;
    size_t used = cut_frame(h2, bytes, &piece);
    h2->first_event = h2->event_count = 0;
    h2->item = (struct rota__h2_item){.id = 0};
    h2->why = NULL;
    h2->why_code = 0;
    if (h2->err < 0)
        return h2->err;
    if (piece.len && !h2->is_server && h2->frame[3] == NGHTTP2_PUSH_PROMISE)
        return rota__h2_fail(h2, -EBADMSG, ROTA__H2_PROTOCOL_ERROR,
                             "the server pushes, which our settings forbid");
    ssize_t n = piece.len
                    ? nghttp2_session_mem_recv(h2->session, (const uint8_t *)piece.ptr, piece.len)
                    : 0;
    if (n < 0)
        return rota__h2_fail_by_library(h2, n);
    if (h2->answer && answer_refused(h2) < 0)
        return rota__h2_fail_by_library(h2, NGHTTP2_ERR_NOMEM);
    if (h2->is_stray && !h2->gathered && answer_stray(h2) < 0)
        return rota__h2_fail_by_library(h2, NGHTTP2_ERR_NOMEM);
    if (rota__h2_pump(h2) < 0)
        return h2->err;
    if (h2->flood)
        return rota__h2_fail(h2, -EBADMSG, ROTA__H2_ENHANCE_YOUR_CALM, h2->flood);
    if (h2->out.len > h2->limits.out)
        return rota__h2_fail(h2, -EBADMSG, ROTA__H2_ENHANCE_YOUR_CALM,
                             "the peer does not read what it asked for");
    return (ssize_t)used;
}

static void reset_stream(struct rota__h2 *h2, int32_t id, uint32_t code)
{
    h2->resetting = id;
    if (nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, code) == 0)
        rota__h2_pump(h2);
    else
        rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
    h2->resetting = 0;
}

/* The owner did not take the request. */
static void end_offer(struct rota__h2 *h2)
{
    int32_t id = h2->offered;
    h2->offered = 0;
    if (id && h2->err == 0)
        reset_stream(h2, id, ROTA__H2_REFUSED_STREAM);
}

int rota__h2_next(struct rota__h2 *h2, rota_time now, rota_str bytes, size_t *ret_used,
                  struct rota__h2_item *item)
{
    size_t used = 0;
    int event;
    h2->now = now;
    end_offer(h2);
    if (h2->event_count && h2->first_event == h2->event_count) /* so no head has been begun */
        rota__h2_block_trim(&h2->block);
    while (!(event = tell(h2, item)) && h2->err == 0 && used < bytes.len) {
        ssize_t n = feed(h2, (rota_str){bytes.ptr + used, bytes.len - used});
        used += n > 0 ? (size_t)n : 0;
    }
    *ret_used = used;
    return event ? event : h2->err;
}

int rota__h2_is_preface(rota_str bytes)
{
    size_t len = bytes.len < NGHTTP2_CLIENT_MAGIC_LEN ? bytes.len : NGHTTP2_CLIENT_MAGIC_LEN;
    if (len && memcmp(bytes.ptr, NGHTTP2_CLIENT_MAGIC, len) != 0)
        return -EBADMSG;
    return len == NGHTTP2_CLIENT_MAGIC_LEN;
}

/* ---- Streams */

void rota__h2_take(struct rota__h2 *h2, struct rota__h2_stream *s, const struct rota__h2_item *item)
{
    *s = (struct rota__h2_stream){.id = item->id,
                                  .is_taken = true,
                                  .is_open = h2->err == 0,
                                  .read_ended = item->head.end,
                                  .answers_head = rota_str_equal(item->head.method, "HEAD")};
    h2->offered = 0;
    h2->taken++;
    h2->item.stream = s;
    if (s->is_open)
        nghttp2_session_set_stream_user_data(h2->session, s->id, s);
}

/* The reset is not the client's fault. */
int rota__h2_turn_down(struct rota__h2 *h2, const struct rota__h2_item *item, int status)
{
    h2->offered = 0;
    if (h2->err < 0)
        return h2->err;
    h2->resetting = item->id;
    int err = answer(h2, item->id, status, item->head.end);
    err = err < 0 ? rota__h2_fail_by_library(h2, err) : rota__h2_pump(h2);
    h2->resetting = 0;
    return err;
}

size_t rota__h2_memory(const struct rota__h2 *h2)
{
    const struct rota__h2_block *block = &h2->block;
    return sizeof *h2 + h2->held + h2->out.room + block->text.room + block->cookie.room +
           block->room * sizeof *block->fields;
}

uint32_t rota__h2_free(const struct rota__h2 *h2)
{
    if (h2->err < 0 || h2->shuts_down || !nghttp2_session_check_request_allowed(h2->session))
        return 0;
    uint32_t most =
        nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return most > h2->open ? most - h2->open : 0;
}

void rota__h2_consumed(struct rota__h2 *h2, struct rota__h2_stream *s, size_t len)
{
    s->unread -= len;
    if (h2->err < 0 || !len)
        return;
    if (nghttp2_session_consume_stream(h2->session, s->id, len) == 0 &&
        rota__h2_return_window(h2, len) == 0)
        rota__h2_pump(h2);
    else
        rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
}

void rota__h2_drop(struct rota__h2 *h2, struct rota__h2_stream *s, uint32_t code)
{
    if (!s->is_taken)
        return;
    s->is_taken = false;
    h2->taken--;
    if (s->has_news)
        forget_reset(h2, s);
    if (h2->item.stream == s)
        h2->item.stream = NULL;
    if (s->is_open && !h2->lacks_memory)
        nghttp2_session_set_stream_user_data(h2->session, s->id, NULL);
    if (s->is_open && h2->err == 0)
        reset_stream(h2, s->id, h2->is_server && s->write_ended ? ROTA__H2_NO_ERROR : code);
    s->is_open = false;
    rota__h2_consumed(h2, s, s->unread);
}

/* ---- The connection */

const char *rota__h2_code_name(uint32_t code)
{
    return nghttp2_http2_strerror(code);
}

int rota__h2_shut_down(struct rota__h2 *h2)
{
    if (h2->err < 0 || h2->shuts_down)
        return h2->err;
    h2->shuts_down = true;
    h2->is_going = !h2->is_server;
    int err = h2->is_server ? nghttp2_submit_shutdown_notice(h2->session)
                            : nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, 0,
                                                    ROTA__H2_NO_ERROR, NULL, 0);
    if (err == 0 && h2->is_server)
        err = nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, ROTA__H2_SHUTDOWN_PING);
    if (err < 0)
        return rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
    return rota__h2_pump(h2);
}

int rota__h2_close(struct rota__h2 *h2, uint32_t code, const char *why)
{
    return rota__h2_fail(h2, -ESHUTDOWN, code, why);
}

/* ---- Beginning and end */

static uint32_t given(uint32_t value, uint32_t otherwise)
{
    return value < INT32_MAX ? value ? value : otherwise : INT32_MAX;
}

static struct rota__h2_limits with_defaults(const struct rota__h2_limits *limits)
{
    struct rota__h2_limits l = limits ? *limits : (struct rota__h2_limits){.head = 0};
    l.head = l.head ? l.head : DEFAULT_HEAD;
    l.fields = l.fields ? l.fields : DEFAULT_FIELDS;
    l.out = l.out ? l.out : DEFAULT_OUT;
    l.streams = given(l.streams, DEFAULT_STREAMS);
    l.stream_window = given(l.stream_window, DEFAULT_STREAM_WINDOW);
    l.window = given(l.window, DEFAULT_WINDOW);
    l.resets = given(l.resets, DEFAULT_RESETS);
    l.reset_rate = given(l.reset_rate, DEFAULT_RESET_RATE);
    l.idle_frames = given(l.idle_frames, DEFAULT_IDLE_FRAMES);
    l.idle_rate = given(l.idle_rate, DEFAULT_IDLE_RATE);
    return l;
}

int rota__h2_init(struct rota__h2 *h2, bool is_server, const struct rota__h2_limits *limits)
{
    *h2 = (struct rota__h2){.is_server = is_server,
                            .limits = with_defaults(limits),
                            .preface = is_server ? NGHTTP2_CLIENT_MAGIC_LEN : 0};
    rota__list_init(&h2->memory);
    if (rota__h2_make_session(h2) == 0 && rota__h2_pump(h2) == 0)
        return 0;
    h2->lacks_memory = true;
    rota__h2_fini(h2);
    return -ENOMEM;
}

void rota__h2_fini(struct rota__h2 *h2)
{
    if (h2->memory.next)
        rota__h2_free_session(h2);
    rota__h2_block_fini(&h2->block);
    rota__out_fini(&h2->out);
    *h2 = (struct rota__h2){.is_server = h2->is_server};
}
