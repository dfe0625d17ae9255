/* Messages of HTTP/1.1 event by event: heads by h1_head.c, bodies and trailers here (RFC 9112,
 * sections 6 and 7). */
#include "http/h1.h"
#include "http/chars.h"

#include <errno.h>

#define DEFAULT_LINE 8192

/* A chunk's size line, extensions and all. */
#define CHUNK_LINE 1024
/* Most bytes of chunk framing beyond those that the amount of data justifies. */
#define FRAMING_SLACK 65536

void rota__h1_init(struct rota__h1 *h1, bool is_server, const struct rota__h1_limits *limits,
                   rota_http_field *fields)
{
    *h1 = (struct rota__h1){.is_server = is_server, .fields = fields};
    if (limits)
        h1->limits = *limits;
    if (h1->limits.line == 0)
        h1->limits.line = DEFAULT_LINE;
    if (h1->limits.head == 0)
        h1->limits.head = ROTA__H1_HEAD_LIMIT;
    if (h1->limits.fields == 0)
        h1->limits.fields = ROTA__H1_FIELDS;
    if (h1->limits.body == 0)
        h1->limits.body = UINT64_MAX;
}

/* ---- Heads */

static enum rota__h1_state state_after(const struct rota__h1_head *head)
{
    switch (head->body) {
    case ROTA__H1_LENGTH:
        return head->length ? ROTA__H1_AT_DATA : ROTA__H1_AT_END;
    case ROTA__H1_CHUNKED:
        return ROTA__H1_AT_CHUNK_SIZE;
    case ROTA__H1_UNTIL_END:
        return ROTA__H1_AT_DATA;
    case ROTA__H1_TUNNEL:
        return ROTA__H1_OVER;
    case ROTA__H1_NO_BODY:
        break;
    }
    return ROTA__H1_AT_END;
}

static bool is_interim(const struct rota__h1_head *head)
{
    return head->status >= 100 && head->status < 200 && head->status != 101;
}

static int at_head(struct rota__h1 *h1, rota_str bytes, size_t *ret_used,
                   struct rota__h1_head *head)
{
    *head = (struct rota__h1_head){.fields = h1->fields};
    /* Ignore one empty line before a request (RFC 9112, section 2.2). */
    if (h1->is_server && !h1->passed_line && rota__str_begins(bytes, "\r\n")) {
        h1->passed_line = true;
        *ret_used = 2;
        return ROTA__H1_MORE;
    }
    if (bytes.len == 0 || (bytes.len == 1 && *bytes.ptr == '\r' && !h1->passed_line))
        return ROTA__H1_MORE;
    int event = rota__h1_parse_head(h1, bytes, ret_used, head);
    if (event != ROTA__H1_HEAD || is_interim(head))
        return event;
    h1->left = head->body == ROTA__H1_LENGTH ? head->length : 0;
    h1->until_end = head->body == ROTA__H1_UNTIL_END;
    h1->chunked = head->body == ROTA__H1_CHUNKED;
    h1->total = h1->framing = 0;
    h1->state = state_after(head);
    return event;
}

/* ---- Bodies */

void rota__h1_took(struct rota__h1 *h1, uint64_t count)
{
    h1->total += count;
    if (h1->until_end)
        return;
    h1->left -= count;
    if (h1->left == 0)
        h1->state = h1->chunked ? ROTA__H1_AT_CHUNK_END : ROTA__H1_AT_END;
}

static int at_data(struct rota__h1 *h1, rota_str bytes, size_t *ret_used, rota_str *ret_data)
{
    if (bytes.len == 0)
        return ROTA__H1_MORE;
    uint64_t direct = rota__h1_direct(h1);
    size_t len = bytes.len < direct ? bytes.len : (size_t)direct;
    *ret_data = (rota_str){bytes.ptr, len};
    *ret_used = len;
    rota__h1_took(h1, len);
    return ROTA__H1_DATA;
}

static int hex_size(struct rota__h1 *h1, const char **at, const char *end, uint64_t *ret_size)
{
    uint64_t size = 0;
    const char *p = *at;
    int digit;
    while (p < end && (digit = rota__char_hex(*p)) >= 0) {
        if (size > (uint64_t)INT64_MAX >> 4)
            return rota__h1_refuse(h1, 400, "chunk size too large");
        size = size << 4 | (uint64_t)digit;
        p++;
    }
    if (p == *at && p < end)
        return rota__h1_refuse(h1, 400, "a chunk without a size");
    *at = p;
    *ret_size = size;
    return 0;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* Scans a quoted-string (RFC 9110, section 5.6.4) after its first quote. Returns the position after
 * the last quote; `end` if it is incomplete; NULL if it is invalid. */
static const char *quoted_string(const char *at, const char *end)
{
    while (at < end && *at != '"') {
        bool is_escape = *at == '\\';
        at += is_escape;
        if (at < end && !rota__char_is(*at, ROTA__CHAR_VALUE))
            return NULL;
        at += at < end;
    }
    return at < end ? at + 1 : end;
}

/* chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ) (RFC 9112, section
 * 7.1.1). They are ignored, but must end where other parsers find their end. Returns that position;
 * `end` if they are incomplete; NULL if they are invalid. */
static const char *chunk_extensions(const char *at, const char *end)
{
    const char *p;
    while ((p = skip_blanks(at, end)) < end && *p == ';') {
        const char *name = skip_blanks(p + 1, end);
        at = rota__scan_token(name, end);
        if (at == end)
            return end;
        if (at == name)
            return NULL;
        p = skip_blanks(at, end);
        if (p == end || *p != '=')
            continue;
        const char *value = skip_blanks(p + 1, end);
        if (value == end)
            return end;
        at = *value == '"' ? quoted_string(value + 1, end) : rota__scan_token(value, end);
        if (!at || at == value)
            return NULL;
        if (at == end)
            return end;
    }
    return p == end ? end : at; /* blanks without an extension are invalid */
}

/* chunk-size [ chunk-ext ] CRLF */
static int at_chunk_size(struct rota__h1 *h1, rota_str bytes, size_t *ret_used)
{
    const char *at = bytes.ptr, *end = at + bytes.len;
    uint64_t size = 0;
    int err = hex_size(h1, &at, end, &size);
    if (err < 0)
        return err;
    if (at < end && *at != '\r')
        at = chunk_extensions(at, end);
    if ((size_t)((at ? at : end) - bytes.ptr) > CHUNK_LINE)
        return rota__h1_refuse(
            h1, 400,
            rota__limit_bytes(h1->limit_text, "chunk size and extensions", CHUNK_LINE, NULL));
    if (!at || (at < end && *at != '\r'))
        return rota__h1_refuse(h1, 400, "invalid chunk size or extension");
    if (end - at < 2)
        return ROTA__H1_MORE;
    if (at[1] != '\n')
        return rota__h1_refuse(h1, 400, "bare CR");

    *ret_used = (size_t)(at + 2 - bytes.ptr);
    h1->framing += *ret_used;
    if (h1->framing > FRAMING_SLACK + 16 * h1->total)
        return rota__h1_refuse(h1, 400, "more chunk extensions than data");
    if (size > h1->limits.body || h1->total > h1->limits.body - size)
        return rota__h1_refuse_body(h1);
    h1->left = size;
    h1->state = size ? ROTA__H1_AT_DATA : ROTA__H1_AT_TRAILERS;
    return ROTA__H1_MORE;
}

static int at_chunk_end(struct rota__h1 *h1, rota_str bytes, size_t *ret_used)
{
    size_t len = bytes.len < 2 ? bytes.len : 2;
    if (memcmp(bytes.ptr, "\r\n", len) != 0)
        return rota__h1_refuse(h1, 400, "a chunk that is longer than its size");
    if (len < 2)
        return ROTA__H1_MORE;
    *ret_used = 2;
    h1->state = ROTA__H1_AT_CHUNK_SIZE;
    return ROTA__H1_MORE;
}

/* Fields that frame or route a message must not be trailers (RFC 9110, section 6.5.1). */
bool rota__h1_is_forbidden_trailer(rota_str name)
{
    static const char *const forbidden[] = {"content-length", "transfer-encoding", "host",
                                            "trailer",        "content-encoding",  "content-type",
                                            "content-range"};
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        if (rota__str_is(name, forbidden[i]))
            return true;
    }
    return false;
}

static int at_trailers(struct rota__h1 *h1, rota_str bytes, size_t *ret_used,
                       struct rota__h1_head *head)
{
    const char *at = bytes.ptr;
    *head = (struct rota__h1_head){.fields = h1->fields};
    int done = rota__h1_fields(h1, &at, at + bytes.len, &head->count);
    if (done < 0)
        return done;
    if (bytes.len >= h1->limits.head && (!done || (size_t)(at - bytes.ptr) > h1->limits.head))
        return rota__h1_refuse(
            h1, 431, rota__limit_bytes(h1->limit_text, "trailers", h1->limits.head, "head"));
    if (!done)
        return ROTA__H1_MORE;
    for (size_t i = 0; i < head->count; i++) {
        if (rota__h1_is_forbidden_trailer(head->fields[i].name))
            return rota__h1_refuse(h1, 400, "a trailer that frames the message");
    }
    *ret_used = (size_t)(at - bytes.ptr);
    h1->state = ROTA__H1_AT_END;
    return head->count ? ROTA__H1_TRAILER : ROTA__H1_MORE;
}

static int end_message(struct rota__h1 *h1)
{
    rota__h1_pass_end(h1);
    return ROTA__H1_END;
}

/* ---- The whole */

static int step(struct rota__h1 *h1, rota_str bytes, size_t *ret_used, struct rota__h1_item *item)
{
    switch (h1->state) {
    case ROTA__H1_AT_HEAD:
        return at_head(h1, bytes, ret_used, &item->head);
    case ROTA__H1_AT_DATA:
        return at_data(h1, bytes, ret_used, &item->data);
    case ROTA__H1_AT_CHUNK_SIZE:
        return at_chunk_size(h1, bytes, ret_used);
    case ROTA__H1_AT_CHUNK_END:
        return at_chunk_end(h1, bytes, ret_used);
    case ROTA__H1_AT_TRAILERS:
        return at_trailers(h1, bytes, ret_used, &item->head);
    case ROTA__H1_AT_END:
        return end_message(h1);
    case ROTA__H1_OVER:
        return ROTA__H1_MORE;
    case ROTA__H1_BROKEN:
        break;
    }
    return -EBADMSG;
}

int rota__h1_next(struct rota__h1 *h1, rota_str bytes, size_t *ret_used, struct rota__h1_item *item)
{
    size_t all = 0, used;
    int event;
    do { /* framing is used up without an event */
        used = 0;
        event = step(h1, (rota_str){bytes.ptr + all, bytes.len - all}, &used, item);
        all += used;
    } while (event == ROTA__H1_MORE && (used || h1->state == ROTA__H1_AT_END));
    *ret_used = all;
    return event;
}

int rota__h1_finish(struct rota__h1 *h1)
{
    switch (h1->state) {
    case ROTA__H1_AT_HEAD:
        return h1->searched ? rota__h1_refuse(h1, 400, "the connection ended within a head")
                            : ROTA__H1_MORE;
    case ROTA__H1_AT_DATA:
        if (!h1->until_end)
            break;
        h1->state = ROTA__H1_OVER;
        return ROTA__H1_END;
    case ROTA__H1_AT_END:
        return end_message(h1);
    case ROTA__H1_OVER:
        return ROTA__H1_MORE;
    case ROTA__H1_BROKEN:
        return -EBADMSG;
    default:
        break;
    }
    return rota__h1_refuse(h1, 400, "the connection ended within a body");
}
