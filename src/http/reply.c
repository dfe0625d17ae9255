/* Replies: their states, and the rules for both protocols. */
#include "http/reply.h"
#include "http/chars.h"
#include "http/fields.h"
#include "http/plain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Of a name in an error text. */
#define REFUSED_MAX 100

/* ---- Fields */

/* The server sets these itself, or they describe the connection, which only HTTP/1.1 does in fields
 * (RFC 9110, sections 6.6.1, 7.6.1 and 8.6; RFC 9112, sections 6 and 9.6; RFC 9113, section
 * 8.2.2). */
static bool is_ours(rota_str name)
{
    static const char *const ours[] = {
        "content-length", "transfer-encoding", "connection", "keep-alive", "date",
        "host",           "proxy-connection",  "te",         "upgrade"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (rota__str_is(name, ours[i]))
            return true;
    }
    return false;
}

static bool is_name(rota_str s)
{
    return s.len && rota__chars_are(s, ROTA__CHAR_TOKEN);
}

static bool is_value(rota_str s)
{
    return rota__scan_value(s.ptr, s.ptr + s.len) == s.ptr + s.len;
}

static int add(rota_http_request *r, struct rota__added ***end, const char *name, const char *value)
{
    rota_http_field given = {{name, strlen(name)}, {value, strlen(value)}};
    if (!is_name(given.name))
        return rota_error_set(-EINVAL, "add header field \"%s\": invalid name", name);
    if (!is_value(given.value))
        return rota_error_set(-EINVAL, "add header field \"%s\": the value has a control character",
                              name);
    size_t size = sizeof(struct rota__added) + given.name.len + given.value.len;
    struct rota__added *added = rota__arena_alloc(&r->arena, size);
    if (!added)
        return rota__http_plain(-ENOMEM);
    char *bytes = (char *)(added + 1);
    memcpy(bytes, name, given.name.len);
    memcpy(bytes + given.name.len, value, given.value.len);
    added->next = NULL;
    added->field.name = (rota_str){bytes, given.name.len};
    added->field.value = (rota_str){bytes + given.name.len, given.value.len};
    **end = added;
    *end = &added->next;
    return 0;
}

/* The reply will fail with `err`, too. */
static void refuse_field(rota_http_request *r, const char *name, int err)
{
    if (err == -EINVAL && !r->refused)
        r->refused = rota__arena_copy(&r->arena, (rota_str){name, strnlen(name, REFUSED_MAX)});
    r->error = err;
}

int rota__reply_check_fields(const rota_http_request *r)
{
    if (r->error != -EINVAL)
        return rota__http_plain(r->error);
    return r->refused
               ? rota_error_set(-EINVAL, "reply: the header field \"%s\" was refused", r->refused)
               : rota_error_set(-EINVAL, "reply: a header field was refused");
}

static int another_replies(void)
{
    return rota_error_set(-EBUSY, "reply: another task is replying");
}

/* Whether the reply was not begun, and no other task is about to begin it. */
static int check_none(const rota_http_request *r)
{
    if (r->writing)
        return another_replies();
    return r->state == ROTA__REPLY_NONE
               ? 0
               : rota_error_set(-EALREADY, "reply: a reply has already begun");
}

int rota_http_add_header(rota_http_request *r, const char *name, const char *value)
{
    if (!is_ours(rota__str_of(name)))
        return rota__reply_add_header(r, name, value);
    int err = check_none(r);
    if (err < 0)
        return err;
    refuse_field(r, name, -EINVAL);
    return rota_error_set(-EINVAL, "add header field \"%s\": the server sets it", name);
}

int rota__reply_add_header(rota_http_request *r, const char *name, const char *value)
{
    int err = check_none(r);
    if (err < 0)
        return err;
    err = add(r, &r->added_end, name, value);
    if (err < 0)
        refuse_field(r, name, err);
    return err;
}

int rota_http_add_trailer(rota_http_request *r, const char *name, const char *value)
{
    if (r->writing)
        return another_replies();
    if (r->state == ROTA__REPLY_ENDED || r->state == ROTA__REPLY_CUT)
        return rota_error_set(-EALREADY, "add trailer \"%s\": the reply has ended", name);
    rota_str trailer = {name, strlen(name)};
    if (is_ours(trailer) || rota__h1_is_forbidden_trailer(trailer))
        return rota_error_set(-EINVAL, "add trailer \"%s\": not allowed in trailers", name);
    return add(r, &r->trailing_end, name, value);
}

/* ---- The beginning */

static int check(const rota_http_request *r, int status)
{
    int err = check_none(r);
    if (err < 0)
        return err;
    if (status < 200 || status > 599)
        return rota_error_set(-EINVAL, "reply: the status %d is not between 200 and 599", status);
    if (r->is_connect && status < 300)
        return rota_error_set(-EINVAL, "reply to CONNECT: the status %d is below 300", status);
    return rota__reply_check_fields(r);
}

/* Of two Content-Types some clients would use the first, and others the last. */
static void drop_type(rota_http_request *r)
{
    struct rota__added **place = &r->added;
    while (*place) {
        if (rota__str_is((*place)->field.name, "content-type"))
            *place = (*place)->next;
        else
            place = &(*place)->next;
    }
    r->added_end = place;
}

static enum rota__h1_body body_of(int status, uint64_t length)
{
    if (rota__reply_is_bodiless(status))
        return ROTA__H1_NO_BODY;
    return length == ROTA_HTTP_UNKNOWN_LENGTH ? ROTA__H1_CHUNKED : ROTA__H1_LENGTH;
}

/* Begins a reply with the whole body, or with NULL. Its head is not written yet. */
static int begin(rota_http_request *r, int status, const char *type, uint64_t length,
                 rota_str *whole)
{
    int err = check(r, status);
    if (err < 0)
        return err;
    if (type && !is_value((rota_str){type, strlen(type)}))
        return rota_error_set(-EINVAL, "reply: the type \"%s\" has a control character", type);
    if (type)
        drop_type(r);
    r->has_no_body = r->is_head || rota__reply_is_bodiless(status);
    err = rota__reply_code(r, status, type, length);
    if (err == 0 && r->encoder && whole)
        err = rota__reply_encode(r, whole, ROTA__ENCODER_END);
    if (err == -ENOMEM)
        rota__http_plain(err);
    if (r->encoder)
        length = whole && !r->is_head ? whole->len : ROTA_HTTP_UNKNOWN_LENGTH;
    r->head = (struct rota__reply_head){status, type, body_of(status, length), length};
    return err;
}

static void begun(rota_http_request *r)
{
    r->state = ROTA__REPLY_BEGUN;
    r->status = r->head.status;
}

/* ---- The rest */

void rota__reply_withdraw(rota_http_request *r)
{
    rota__reply_drop_encoder(r);
    r->added = r->trailing = NULL;
    r->added_end = &r->added;
    r->trailing_end = &r->trailing;
    r->error = 0;
    r->refused = NULL;
    r->head_is_due = false;
    r->state = ROTA__REPLY_NONE;
}

void rota__reply_cut(rota_http_request *r, int err)
{
    if (r->state == ROTA__REPLY_CUT || r->state == ROTA__REPLY_ENDED)
        return;
    r->state = ROTA__REPLY_CUT;
    r->error = err;
    r->kind->cut(r);
}

static void note_began(rota_http_request *r)
{
    if (!r->replied && r->server->options.access)
        r->replied = rota_now();
}

static void count_out(rota_http_request *r, uint64_t len)
{
    if (r->has_no_body)
        return;
    r->bytes_out += len;
    r->server->counters->bytes_out += len;
}

/* Sends nothing yet, so none of its failures has a text. */
static int write_head(rota_http_request *r)
{
    return rota__http_plain(r->kind->head(r, &r->head));
}

/* Sends the head that rota_http_start left for the first piece. */
static int put_head(rota_http_request *r)
{
    if (!r->head_is_due)
        return 0;
    r->head_is_due = false;
    return write_head(r);
}

/* Gives failures of writing that have no text one. Returns `err`. */
static int explain(int err, bool last)
{
    if (err == -EMSGSIZE)
        return rota_error_set(err, last ? "write reply: the body is not as long as announced"
                                        : "write reply: more than the announced length");
    return err == -ENOMEM ? rota__http_plain(err) : err;
}

static int send_piece(rota_http_request *r, rota_str piece, bool last)
{
    note_began(r);
    int err = put_head(r);
    r->writing = true;
    if (err == 0)
        err = r->kind->send(r, piece, last);
    r->writing = false;
    if (err == 0) {
        count_out(r, piece.len);
        if (last)
            r->state = ROTA__REPLY_ENDED;
    } else if (err != -EMSGSIZE || last) {
        rota__reply_cut(r, err);
    }
    return explain(err, last);
}

int rota__reply_send_file(rota_http_request *r, int fd, uint64_t offset, uint64_t len)
{
    if (r->writing)
        return another_replies();
    note_began(r);
    int err = put_head(r);
    r->writing = true;
    if (err == 0)
        err = r->kind->send_file(r, fd, offset, len);
    r->writing = false;
    if (err == 0)
        count_out(r, len);
    else
        rota__reply_cut(r, err);
    return explain(err, false);
}

int rota_http_reply(rota_http_request *r, int status, const char *type, const void *body,
                    size_t len)
{
    rota_str piece = {body, rota__reply_is_bodiless(status) ? 0 : len};
    int err = begin(r, status, type, len, &piece);
    if (err == 0)
        err = write_head(r);
    if (err < 0)
        return err;
    begun(r);
    return send_piece(r, piece, true);
}

int rota_http_reply_printf(rota_http_request *r, int status, const char *type, const char *format,
                           ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return rota__http_plain(-errno);
    char *text = rota_http_alloc(r, (size_t)len + 1);
    if (!text)
        return rota__http_plain(-ENOMEM);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return rota_http_reply(r, status, type, text, (size_t)len);
}

int rota_http_reply_status(rota_http_request *r, int status)
{
    char *text = rota_http_alloc(r, 64);
    if (!text)
        return rota_http_reply(r, status, NULL, NULL, 0);
    int len = snprintf(text, 64, "%d %s\n", status, rota_http_reason(status));
    return rota_http_reply(r, status, rota__reply_is_bodiless(status) ? NULL : "text/plain", text,
                           (size_t)len);
}

int rota_http_start(rota_http_request *r, int status, const char *type, uint64_t length)
{
    int err = begin(r, status, type, length, NULL);
    if (err == 0 && type)
        r->head.type = rota__arena_copy(&r->arena, (rota_str){type, strlen(type)});
    if (err == 0 && type && !r->head.type)
        err = rota__http_plain(-ENOMEM);
    if (err < 0)
        return err;
    r->head_is_due = true;
    begun(r);
    return 0;
}

/* Whether the reply accepts more data. */
static int check_begun(const rota_http_request *r)
{
    int err = r->error ? r->error : -EPIPE;
    if (r->writing)
        return another_replies();
    switch (r->state) {
    case ROTA__REPLY_BEGUN:
        return 0;
    case ROTA__REPLY_CUT:
        return rota_error_set(err, "write reply: it was cut off before: %s", rota_strerror(err));
    case ROTA__REPLY_ENDED:
        return rota_error_set(-EALREADY, "write reply: the reply has ended");
    case ROTA__REPLY_NONE:
        break;
    }
    return rota_error_set(-EINVAL, "write reply: no reply has begun");
}

static int write_piece(rota_http_request *r, rota_str piece, enum rota__encoder_step step)
{
    bool last = step == ROTA__ENCODER_END;
    int err = check_begun(r);
    if (err < 0)
        return err;
    if (rota__reply_is_bodiless(r->status)) /* for HEAD it is not sent, but its length is checked */
        piece.len = 0;
    if (r->encoder)
        err = rota__reply_encode(r, &piece, step);
    if (err < 0 && (err != -EMSGSIZE || last))
        rota__reply_cut(r, err);
    return err < 0 ? explain(err, last) : send_piece(r, piece, last);
}

int rota_http_write(rota_http_request *r, const void *buf, size_t len)
{
    return write_piece(r, (rota_str){buf, len}, ROTA__ENCODER_ON);
}

int rota_http_flush(rota_http_request *r)
{
    return write_piece(r, (rota_str){"", 0}, ROTA__ENCODER_FLUSH);
}

int rota_http_finish(rota_http_request *r)
{
    return write_piece(r, (rota_str){"", 0}, ROTA__ENCODER_END);
}

/* ---- Another protocol */

/* Whether an element of the list in the fields of that name is `lower`. */
static bool lists(const rota_http_request *r, const char *name, const char *lower)
{
    struct rota__fields_list list = {0};
    rota_str named = rota__str_of(name), element;
    while (rota__fields_list_next(r->fields, r->count, named, &list, &element)) {
        if (rota__str_is(element, lower))
            return true;
    }
    return false;
}

int rota_http_upgrade(rota_http_request *r, const char *protocol, rota_stream **ret_stream)
{
    int err = check_none(r);
    if (err == 0 && r->reading)
        err = rota_error_set(-EBUSY, "upgrade to %s: another task is reading the body", protocol);
    if (err == 0)
        err = rota__reply_check_fields(r);
    if (err < 0)
        return err;
    if (!r->kind->upgrade || rota_str_equal(r->version, "HTTP/1.0") ||
        !lists(r, "connection", "upgrade") || !lists(r, "upgrade", protocol))
        return rota_error_set(-EPROTO, "upgrade to %s: the client has not asked for it", protocol);
    r->writing = true;
    err = r->kind->upgrade(r, protocol);
    r->writing = false;
    if (err == -EPROTO)
        return rota_error_set(err, "upgrade to %s: the body was not read to its end", protocol);
    if (err < 0) {
        rota__reply_cut(r, err);
        return explain(err, false);
    }
    r->status = 101;
    r->state = ROTA__REPLY_ENDED;
    *ret_stream = r->stream;
    return 0;
}

/* ---- Interim replies */

int rota_http_interim(rota_http_request *r, int status)
{
    int err = check_none(r);
    if (err < 0)
        return err;
    if (status < 102 || status > 199)
        return rota_error_set(-EINVAL, "interim reply: the status %d is not between 102 and 199",
                              status);
    err = rota__reply_check_fields(r);
    r->writing = true;
    if (err == 0)
        err = explain(r->kind->interim(r, status), false);
    r->writing = false;
    r->added = NULL;
    r->added_end = &r->added;
    return err;
}
