/* Writing HTTP/2: heads, bodies, trailers. Each call puts its frames into `out` before it returns,
 * so libnghttp2 holds none back. Of bodies it only sees the lengths. */
#include "http/chars.h"
#include "http/h1.h"
#include "http/h2.h"
#include "http/params.h"
#include "http/url.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>

/* Fields of a head that is sent, with pseudo-fields and Content-Length. */
#define ENTRIES 128
/* The largest head that libnghttp2 sends. A peer may accept less. */
#define HEAD_MAX 65536
#define FRAME_MAX 16384

struct entries {
    nghttp2_nv nv[ENTRIES];
    size_t count, size;
    char length[20];
};

static void add(struct entries *e, rota_str name, rota_str value)
{
    e->nv[e->count++] = (nghttp2_nv){(uint8_t *)name.ptr, (uint8_t *)value.ptr, name.len, value.len,
                                     NGHTTP2_NV_FLAG_NONE};
    e->size += name.len + value.len + 12;
}

#define add_literal(e_, name_, value_) add((e_), (rota_str){name_, sizeof(name_) - 1}, (value_))

/* Fields that frame a message, or belong to a connection of HTTP/1.1 (section 8.2.2). */
static bool is_refused(rota_str name, rota_str value)
{
    switch (name.len) {
    case 2:
        return rota__str_is(name, "te") && !rota__str_is(value, "trailers");
    case 4:
        return rota__str_is(name, "host");
    case 7:
        return rota__str_is(name, "upgrade");
    case 10:
        return rota__str_is(name, "connection") || rota__str_is(name, "keep-alive");
    case 14:
        return rota__str_is(name, "content-length");
    case 16:
        return rota__str_is(name, "proxy-connection");
    case 17:
        return rota__str_is(name, "transfer-encoding");
    default:
        return false;
    }
}

bool rota__h2_is_field(rota_str name, rota_str value)
{
    value = rota__trim(value);
    const char *end = value.len ? value.ptr + value.len : NULL;
    return name.len && rota__chars_are(name, ROTA__CHAR_TOKEN) && !is_refused(name, value) &&
           (!value.len || rota__scan_value(value.ptr, end) == end);
}

/* libnghttp2 puts names in lower case. */
static int add_fields(struct entries *e, const rota_http_field *fields, size_t count)
{
    if (count > ENTRIES - e->count)
        return -EMSGSIZE;
    for (size_t i = 0; i < count; i++) {
        if (!rota__h2_is_field(fields[i].name, fields[i].value))
            return -EINVAL;
        add(e, fields[i].name, rota__trim(fields[i].value));
    }
    return e->size > HEAD_MAX - 12 ? -EMSGSIZE : 0;
}

static int add_head(struct entries *e, const struct rota__h2_head *head)
{
    if (head->has_length) {
        char *at = e->length + sizeof e->length;
        uint64_t number = head->length;
        do
            *--at = (char)('0' + number % 10);
        while (number /= 10);
        add_literal(e, "content-length",
                    ((rota_str){at, (size_t)(e->length + sizeof e->length - at)}));
    }
    return add_fields(e, head->fields, head->count);
}

/* ---- Bodies */

static ssize_t take_piece(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t room,
                          uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct rota__h2 *h2 = arg;
    if (!h2->writing || h2->writing->id != id || h2->piece > room)
        return NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (h2->piece_ends)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)h2->piece;
}

static int send_piece(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                      size_t len, nghttp2_data_source *source, void *arg)
{
    struct rota__h2 *h2 = arg;
    rota__out_add(&h2->out, (const char *)head, 9);
    h2->piece_done = true;
    h2->writing->write_ended = h2->piece_ends;
    return NGHTTP2_ERR_PAUSE; /* the piece comes before any other frame */
}

void rota__h2_set_writer(struct nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_piece);
}

static const nghttp2_data_provider body = {.read_callback = take_piece};

size_t rota__h2_window(const struct rota__h2 *h2, const struct rota__h2_stream *s)
{
    if (h2->err < 0 || !s->is_open || s->write_ended)
        return 0;
    int32_t all = nghttp2_session_get_remote_window_size(h2->session);
    int32_t own = nghttp2_session_get_stream_remote_window_size(h2->session, s->id);
    int32_t least = own < all ? own : all;
    return least > 0 ? (size_t)least : 0;
}

/* Whether more of the body may be written. */
static int check_writable(const struct rota__h2 *h2, const struct rota__h2_stream *s)
{
    if (h2->err < 0)
        return h2->err;
    if (!s->is_open)
        return -ECONNRESET;
    return s->write_ended || !s->wrote_head ? -EINVAL : 0;
}

ssize_t rota__h2_data(struct rota__h2 *h2, struct rota__h2_stream *s, size_t len, bool end)
{
    int err = check_writable(h2, s);
    if (err < 0)
        return err;
    if (s->has_length && (len > s->left || (end && len < s->left)))
        return -EMSGSIZE;
    if (!len && !end)
        return 0;
    size_t window = rota__h2_window(h2, s), piece = len;
    if (!window)
        return -EAGAIN;
    if (piece > window)
        piece = window;
    if (piece > FRAME_MAX)
        piece = FRAME_MAX;

    h2->writing = s;
    h2->piece = piece;
    h2->piece_ends = end && piece == len;
    h2->piece_done = false;
    nghttp2_session_resume_data(h2->session, s->id);
    err = rota__h2_pump(h2);
    h2->writing = NULL;
    if (err < 0)
        return err;
    if (!h2->piece_done)
        return s->is_open ? -EAGAIN : -ECONNRESET;
    s->left -= s->has_length ? piece : 0;
    rota__h2_earn_idle(h2);
    return (ssize_t)piece;
}

int rota__h2_trailers(struct rota__h2 *h2, struct rota__h2_stream *s, const rota_http_field *fields,
                      size_t count)
{
    struct entries e;
    e.count = e.size = 0;
    int err = check_writable(h2, s);
    if (err < 0)
        return err;
    if (s->has_length && s->left)
        return -EMSGSIZE;
    err = add_fields(&e, fields, count);
    if (err < 0)
        return err;
    for (size_t i = 0; i < count; i++) {
        if (rota__h1_is_forbidden_trailer(fields[i].name))
            return -EINVAL;
    }
    if (nghttp2_submit_trailer(h2->session, s->id, e.nv, e.count) < 0)
        return rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
    s->write_ended = true;
    return rota__h2_pump(h2);
}

/* ---- Heads */

static int check_request(const struct rota__h2_head *head)
{
    rota_str method = head->method;
    if (!method.len || !rota__chars_are(method, ROTA__CHAR_TOKEN) ||
        !rota__url_is_authority(head->authority))
        return -EINVAL;
    if (rota_str_equal(method, "CONNECT"))
        return head->has_length ? -EINVAL : 0;
    bool is_star = rota_str_equal(head->target, "*") && rota_str_equal(method, "OPTIONS");
    if (!rota__url_is_scheme(head->scheme) || !head->target.len ||
        (*head->target.ptr != '/' && !is_star) || !rota__chars_are(head->target, ROTA__CHAR_TARGET))
        return -EINVAL;
    return head->end && head->has_length && head->length ? -EINVAL : 0;
}

static void begin_body(struct rota__h2_stream *s, const struct rota__h2_head *head)
{
    s->wrote_head = true;
    s->write_ended = head->end;
    s->has_length = head->has_length;
    s->left = head->has_length && !head->end ? head->length : 0;
}

int rota__h2_request(struct rota__h2 *h2, struct rota__h2_stream *s,
                     const struct rota__h2_head *head)
{
    struct entries e;
    e.count = e.size = 0;
    if (h2->err < 0)
        return h2->err;
    if (h2->shuts_down || !nghttp2_session_check_request_allowed(h2->session))
        return -ESHUTDOWN;
    if (!rota__h2_free(h2))
        return -EAGAIN;
    int err = check_request(head);
    if (err < 0)
        return err;
    add_literal(&e, ":method", head->method);
    if (!rota_str_equal(head->method, "CONNECT")) {
        add_literal(&e, ":scheme", head->scheme);
        add_literal(&e, ":path", head->target);
    }
    add_literal(&e, ":authority", head->authority);
    err = add_head(&e, head);
    if (err < 0)
        return err;

    int32_t id =
        nghttp2_submit_request(h2->session, NULL, e.nv, e.count, head->end ? NULL : &body, s);
    if (id < 0)
        return rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
    *s = (struct rota__h2_stream){.id = id,
                                  .is_open = true,
                                  .is_taken = true,
                                  .answers_head = rota_str_equal(head->method, "HEAD")};
    begin_body(s, head);
    h2->taken++;
    h2->open++;
    return rota__h2_pump(h2);
}

/* A response to HEAD, and 304, say how long a body would be. */
static bool may_be_silent(const struct rota__h2_stream *s, int status)
{
    return s->answers_head || status == 304;
}

int rota__h2_respond(struct rota__h2 *h2, struct rota__h2_stream *s,
                     const struct rota__h2_head *head)
{
    struct entries e;
    e.count = e.size = 0;
    char status[3] = {(char)('0' + head->status / 100), (char)('0' + head->status / 10 % 10),
                      (char)('0' + head->status % 10)};
    bool interim = head->status < 200;
    if (h2->err < 0)
        return h2->err;
    if (!s->is_open)
        return -ECONNRESET;
    if (head->status < 100 || head->status > 999 || head->status == 101 || s->wrote_head ||
        (interim && (head->end || head->has_length)) || (head->status == 204 && head->has_length) ||
        (!head->end && (head->status == 204 || may_be_silent(s, head->status))) ||
        (head->end && head->has_length && head->length && !may_be_silent(s, head->status)))
        return -EINVAL;
    add_literal(&e, ":status", ((rota_str){status, 3}));
    int err = add_head(&e, head);
    if (err < 0)
        return err;

    if (interim)
        err = nghttp2_submit_headers(h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, e.nv, e.count,
                                     NULL);
    else
        err = nghttp2_submit_response(h2->session, s->id, e.nv, e.count, head->end ? NULL : &body);
    if (err < 0)
        return rota__h2_fail(h2, -ENOMEM, ROTA__H2_INTERNAL_ERROR, "no memory");
    if (!interim)
        begin_body(s, head);
    return rota__h2_pump(h2);
}
