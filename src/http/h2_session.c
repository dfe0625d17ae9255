/* libnghttp2's session: its memory, its callbacks, and its output. */
#include "base/list.h"
#include "http/h2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stddef.h>

/* ---- Memory: all that libnghttp2 holds is in a list, because where an allocation has failed it
 * may free things twice or not at all (1.52, nghttp2_submit_data). Then it is not called again, and
 * the list is freed. */

struct block {
    struct rota__list link;
    size_t size;
    max_align_t bytes[];
};

static void *keep(struct rota__h2 *h2, struct block *block, size_t size)
{
    block->size = sizeof *block + size;
    h2->held += block->size;
    rota__list_append(&h2->memory, &block->link);
    return block->bytes;
}

static void *take_memory(size_t size, void *arg)
{
    struct rota__h2 *h2 = arg;
    struct block *block = rota_alloc(sizeof *block + size);
    return block ? keep(h2, block, size) : NULL;
}

static void free_memory(void *ptr, void *arg)
{
    struct rota__h2 *h2 = arg;
    if (!ptr)
        return;
    struct block *block = rota__container_of(ptr, struct block, bytes);
    rota__list_remove(&block->link);
    h2->held -= block->size;
    rota_free(block);
}

static void *take_zeroed(size_t count, size_t size, void *arg)
{
    void *ptr = take_memory(count * size, arg);
    return ptr ? memset(ptr, 0, count * size) : NULL;
}

static void *resize_memory(void *ptr, size_t size, void *arg)
{
    struct rota__h2 *h2 = arg;
    if (!ptr)
        return take_memory(size, arg);
    struct block *old = rota__container_of(ptr, struct block, bytes);
    size_t before = old->size;
    rota__list_remove(&old->link);
    struct block *block = rota_resize(old, sizeof *block + size);
    if (!block) {
        rota__list_append(&h2->memory, &old->link);
        return NULL;
    }
    h2->held -= before;
    return keep(h2, block, size);
}

void rota__h2_free_session(struct rota__h2 *h2)
{
    struct rota__list *link;
    if (!h2->lacks_memory)
        nghttp2_session_del(h2->session);
    while ((link = rota__list_take_first(&h2->memory)))
        rota_free(rota__container_of(link, struct block, link));
}

/* ---- The end of a connection */

int rota__h2_fail(struct rota__h2 *h2, int err, uint32_t code, const char *why)
{
    h2->lacks_memory |= err == -ENOMEM;
    if (h2->err < 0)
        return h2->err;
    h2->err = err;
    h2->code = code;
    h2->error = why;
    if (!h2->lacks_memory && nghttp2_session_terminate_session(h2->session, code) == 0)
        rota__h2_pump(h2);
    return h2->err;
}

/* Errors after which libnghttp2 cannot continue. */
int rota__h2_fail_by_library(struct rota__h2 *h2, ssize_t code)
{
    switch (code) {
    case NGHTTP2_ERR_NOMEM:
        return rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        return rota__h2_fail(h2, -EBADMSG, ROTA__H2_PROTOCOL_ERROR, "no preface of HTTP/2");
    case NGHTTP2_ERR_CALLBACK_FAILURE:
        return rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
    default:
        return rota__h2_fail(h2, -EBADMSG, ROTA__H2_ENHANCE_YOUR_CALM, nghttp2_strerror((int)code));
    }
}

int rota__h2_pump(struct rota__h2 *h2)
{
    const uint8_t *bytes;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(h2->session, &bytes)) > 0)
        rota__out_add(&h2->out, (const char *)bytes, (size_t)n);
    if (n < 0)
        return rota__h2_fail_by_library(h2, n);
    if (h2->out.err < 0)
        return rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
    return h2->err;
}

/* ---- Floods: so many at once, and so many a second. `paid` is the time at which all that happened
 * is forgotten. */

static bool spend(rota_time *paid, rota_time now, uint32_t burst, uint32_t rate)
{
    rota_time each = ROTA_SECOND / rate;
    if (*paid < now)
        *paid = now;
    if (*paid - now > each * (rota_time)(burst - 1))
        return false;
    *paid += each;
    return true;
}

static void spend_reset(struct rota__h2 *h2)
{
    if (h2->is_server &&
        !spend(&h2->resets_paid, h2->now, h2->limits.resets, h2->limits.reset_rate))
        h2->flood = "too many streams were reset";
}

void rota__h2_spend_idle(struct rota__h2 *h2)
{
    if (h2->idle_credit)
        h2->idle_credit--;
    else if (!spend(&h2->idle_paid, h2->now, h2->limits.idle_frames, h2->limits.idle_rate))
        h2->flood = "too many frames that move nothing on";
}

/* A request comes with a priority or two, and our data with windows in return. */
void rota__h2_earn_idle(struct rota__h2 *h2)
{
    if (h2->idle_credit < h2->limits.idle_frames)
        h2->idle_credit += 4;
}

/* ---- Notes of a frame */

static void note(struct rota__h2 *h2, enum rota__h2_event event)
{
    h2->events[h2->event_count++] = (unsigned char)event;
}

static struct rota__h2_stream *owner_of(struct rota__h2 *h2, int32_t id)
{
    return id ? nghttp2_session_get_stream_user_data(h2->session, id) : NULL;
}

/* Its RESET is reported before any later event. */
static void note_reset(struct rota__h2 *h2, struct rota__h2_stream *s, uint32_t code)
{
    s->code = code;
    s->reason = h2->why;
    s->has_news = true;
    s->next_reset = NULL;
    struct rota__h2_stream **last = &h2->first_reset;
    while (*last)
        last = &(*last)->next_reset;
    *last = s;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct rota__h2 *h2 = arg;
    rota__h2_block_begin(&h2->block);
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        h2->open++;
        rota__h2_earn_idle(h2);
    }
    return 0;
}

/* If a head exceeds the limit four times, its rest is ignored: it may be an HPACK bomb, in which
 * one byte names a field of 4 KiB. */
static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    struct rota__h2 *h2 = arg;
    if (rota__h2_block_add(h2, (rota_str){(const char *)name, name_len},
                           (rota_str){(const char *)value, value_len}) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (h2->block.size / 4 <= h2->limits.head)
        return 0;
    h2->why = rota__h2_head_limit(h2);
    if (nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  ROTA__H2_ENHANCE_YOUR_CALM) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             const uint8_t *name, size_t name_len, const uint8_t *value,
                             size_t value_len, uint8_t flags, void *arg)
{
    struct rota__h2 *h2 = arg;
    h2->why = "invalid field";
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* libnghttp2 would wait until half of the window is consumed, which never happens if streams that
 * are not read hold more. */
int rota__h2_return_window(struct rota__h2 *h2, size_t len)
{
    int32_t held = nghttp2_session_get_effective_recv_data_length(h2->session);
    int32_t left = nghttp2_session_get_effective_local_window_size(h2->session) - held;
    h2->returned += (int32_t)len;
    if (h2->returned < left && h2->returned < (int32_t)(h2->limits.window / 2))
        return 0;
    int32_t returned = h2->returned;
    h2->returned = 0;
    return nghttp2_submit_window_update(h2->session, NGHTTP2_FLAG_NONE, 0, returned);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t len, void *arg)
{
    struct rota__h2 *h2 = arg;
    struct rota__h2_stream *s = owner_of(h2, id);
    if (!s)
        return rota__h2_return_window(h2, len) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
    s->unread += len;
    h2->item.id = id;
    h2->item.stream = s;
    h2->item.data = (rota_str){(const char *)bytes, len};
    note(h2, ROTA__H2_DATA);
    return 0;
}

static int refuse_stream(struct rota__h2 *h2, int32_t id, int how)
{
    h2->why_code = how < 0 ? (uint32_t)-how : ROTA__H2_NO_ERROR;
    if (how < 0)
        return nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, (uint32_t)-how);
    h2->item.head.status = h2->answer = how;
    h2->item.reason = h2->why;
    note(h2, ROTA__H2_REFUSED);
    return 0;
}

static int on_request(struct rota__h2 *h2, const nghttp2_frame *frame)
{
    int refused = rota__h2_read_request(h2, &h2->item.head);
    if (!refused && h2->taken >= 2 * h2->limits.streams) {
        h2->why = "too many requests are being worked on";
        refused = -ROTA__H2_REFUSED_STREAM;
    }
    if (refused)
        return refuse_stream(h2, frame->hd.stream_id, refused);
    note(h2, ROTA__H2_HEAD);
    return 0;
}

static int on_response(struct rota__h2 *h2, const nghttp2_frame *frame)
{
    int refused = rota__h2_read_response(h2, &h2->item.head);
    if (refused)
        return refuse_stream(h2, frame->hd.stream_id, refused);
    int status = h2->item.head.status;
    if (h2->item.stream && status >= 200)
        h2->item.stream->reads_none =
            h2->item.stream->answers_head || status == 204 || status == 304;
    note(h2, status < 200 ? ROTA__H2_INTERIM : ROTA__H2_HEAD);
    return 0;
}

static int on_trailers(struct rota__h2 *h2, const nghttp2_frame *frame)
{
    int refused = rota__h2_read_trailers(h2, &h2->item.head);
    if (refused)
        return refuse_stream(h2, frame->hd.stream_id, refused);
    note(h2, ROTA__H2_TRAILERS);
    return 0;
}

static bool is_response(const struct rota__h2 *h2, const nghttp2_frame *frame)
{
    bool has_status = h2->block.count && h2->block.fields[0].name.len == 7 &&
                      memcmp(h2->block.text.ptr, ":status", 7) == 0;
    return frame->headers.cat == NGHTTP2_HCAT_RESPONSE || has_status;
}

static int on_head(struct rota__h2 *h2, const nghttp2_frame *frame)
{
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        return on_request(h2, frame);
    return is_response(h2, frame) ? on_response(h2, frame) : on_trailers(h2, frame);
}

static void on_end(struct rota__h2 *h2)
{
    h2->item.head.end = true;
    if (h2->why) /* refused */
        return;
    if (h2->item.stream)
        h2->item.stream->read_ended = true;
    note(h2, ROTA__H2_END);
}

static void on_window(struct rota__h2 *h2, int32_t id)
{
    if (!id || h2->item.stream)
        note(h2, ROTA__H2_WINDOW);
}

static int on_ping(struct rota__h2 *h2, const nghttp2_ping *ping)
{
    if (!(ping->hd.flags & NGHTTP2_FLAG_ACK) ||
        memcmp(ping->opaque_data, ROTA__H2_SHUTDOWN_PING, 8) != 0)
        return 0;
    if (!h2->shuts_down || h2->is_going)
        return 0;
    h2->is_going = true;
    return nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
                                 nghttp2_session_get_last_proc_stream_id(h2->session),
                                 ROTA__H2_NO_ERROR, NULL, 0);
}

static int note_frame(struct rota__h2 *h2, const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        if (frame->hd.length && frame->hd.length == frame->data.padlen) /* nothing but padding */
            rota__h2_spend_idle(h2);
        return 0;
    case NGHTTP2_HEADERS:
        return on_head(h2, frame);
    case NGHTTP2_RST_STREAM:
        spend_reset(h2);
        rota__h2_note_reset(h2, frame->hd.stream_id, true);
        return 0;
    case NGHTTP2_SETTINGS:
        note(h2, frame->hd.flags & NGHTTP2_FLAG_ACK ? ROTA__H2_SETTLED : ROTA__H2_SETTINGS);
        return 0;
    case NGHTTP2_PING:
        return on_ping(h2, &frame->ping);
    case NGHTTP2_GOAWAY:
        h2->was_told = true;
        h2->item.code = frame->goaway.error_code;
        note(h2, ROTA__H2_GOAWAY);
        return 0;
    case NGHTTP2_WINDOW_UPDATE:
        on_window(h2, frame->hd.stream_id);
        return 0;
    default:
        return 0;
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct rota__h2 *h2 = arg;
    h2->item.id = frame->hd.stream_id;
    h2->item.stream = owner_of(h2, frame->hd.stream_id);
    if (note_frame(h2, frame) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        on_end(h2);
    return 0;
}

#define WRONG_LENGTH "the body is not as long as its Content-Length"
#define TOO_MUCH_DATA "more data than the window allows"

/* Finds out why libnghttp2 rejects the message that this head begins or ends. Nobody is told why
 * for a request. */
static void explain_head(struct rota__h2 *h2, const nghttp2_frame *frame)
{
    struct rota__h2_head head;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        return;
    bool begins = is_response(h2, frame);
    int refused = begins ? rota__h2_read_response(h2, &head) : rota__h2_read_trailers(h2, &head);
    bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    bool is_counted = !begins || (head.status >= 200 && head.has_length);
    if (!refused && ends && is_counted)
        h2->why = WRONG_LENGTH;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code,
                            void *arg)
{
    struct rota__h2 *h2 = arg;
    if (!h2->why && code == NGHTTP2_ERR_HTTP_MESSAGING && frame->hd.type == NGHTTP2_HEADERS)
        explain_head(h2, frame);
    if (!h2->why)
        h2->why = nghttp2_strerror(code);
    return 0;
}

/* The reason for a reset that libnghttp2 sends without telling why. NULL: the peer ended the
 * stream. */
static const char *reset_reason(const struct rota__h2 *h2, const struct rota__h2_stream *s,
                                uint32_t code)
{
    unsigned type = h2->frame[3];
    if (type == NGHTTP2_RST_STREAM || type == NGHTTP2_GOAWAY)
        return NULL;
    switch (code) {
    case ROTA__H2_NO_ERROR:
        return NULL;
    case ROTA__H2_FLOW_CONTROL_ERROR:
        return type == NGHTTP2_DATA ? TOO_MUCH_DATA : "a window of more than 2^31-1 bytes";
    case ROTA__H2_PROTOCOL_ERROR: /* section 8.1.1 */
        if (type == NGHTTP2_DATA || type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION)
            return s->reads_none ? "a body in a response that has none" : WRONG_LENGTH;
        break;
    default:
        break;
    }
    return "the peer broke the protocol";
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct rota__h2 *h2 = arg;
    struct rota__h2_stream *s = owner_of(h2, id);
    if (id % 2) /* not one that a server wants to push */
        h2->open--;
    if (!s)
        return 0;
    s->is_open = false;
    if (!h2->why)
        h2->why = reset_reason(h2, s, code);
    /* A stream that is being refused may have ended regularly. */
    if (!s->read_ended || !s->write_ended)
        note_reset(h2, s, h2->why_code ? h2->why_code : code);
    return 0;
}

/* Notes resets by the library, and that the library ends the connection. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct rota__h2 *h2 = arg;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        rota__h2_note_reset(h2, frame->hd.stream_id, false);
    if (frame->hd.type == NGHTTP2_RST_STREAM && frame->hd.stream_id != h2->resetting)
        spend_reset(h2);
    if (frame->hd.type != NGHTTP2_GOAWAY || frame->goaway.error_code == ROTA__H2_NO_ERROR ||
        h2->err < 0)
        return 0;
    size_t len = frame->goaway.opaque_data_len;
    if (len >= sizeof h2->words)
        len = sizeof h2->words - 1;
    if (len)
        memcpy(h2->words, frame->goaway.opaque_data, len);
    h2->err = -EBADMSG;
    h2->code = frame->goaway.error_code;
    bool overran = h2->code == ROTA__H2_FLOW_CONTROL_ERROR && h2->frame[3] == NGHTTP2_DATA;
    h2->error = len       ? h2->words
                : h2->why ? h2->why
                : overran ? TOO_MUCH_DATA
                          : "the peer broke the protocol";
    return 0;
}

/* ---- Beginning */

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *c;
    if (nghttp2_session_callbacks_new(&c) < 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
    rota__h2_set_writer(c);
    return c;
}

static nghttp2_option *make_options(void)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) < 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
#ifdef ROTA__NGHTTP2_LIMITS_RESETS
    /* libnghttp2 uses a clock of its own; spend_reset uses the caller's. */
    nghttp2_option_set_stream_reset_rate_limit(o, UINT32_MAX, UINT32_MAX);
#endif
    return o;
}

static int submit_settings(struct rota__h2 *h2)
{
    uint32_t head = h2->limits.head < UINT32_MAX ? (uint32_t)h2->limits.head : UINT32_MAX;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h2->limits.stream_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, head},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        {h2->is_server ? NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS : NGHTTP2_SETTINGS_ENABLE_PUSH,
         h2->is_server ? h2->limits.streams : 0},
    };
    int err = nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
                                      sizeof settings / sizeof *settings);
    if (err == 0 && h2->limits.window > NGHTTP2_INITIAL_CONNECTION_WINDOW_SIZE)
        err = nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                                    (int32_t)h2->limits.window);
    return err;
}

int rota__h2_make_session(struct rota__h2 *h2)
{
    nghttp2_mem memory = {h2, take_memory, free_memory, take_zeroed, resize_memory};
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_option *options = make_options();
    int err = NGHTTP2_ERR_NOMEM;
    if (callbacks && options)
        err = (h2->is_server ? nghttp2_session_server_new3 : nghttp2_session_client_new3)(
            &h2->session, callbacks, h2, options, &memory);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(options);
    return err == 0 ? submit_settings(h2) : err;
}
