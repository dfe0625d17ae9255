/* Heads of HTTP/1.1: the first line, the fields, and what they say about the body and the
 * connection. */
#include "http/chars.h"
#include "http/h1.h"
#include "http/params.h"
#include "http/url.h"

#include <errno.h>

enum { MORE = 0, DONE = 1 }; /* or -EBADMSG */

int rota__h1_refuse(struct rota__h1 *h1, int status, const char *why)
{
    h1->state = ROTA__H1_BROKEN;
    h1->status = status;
    h1->error = why;
    return -EBADMSG;
}

int rota__h1_refuse_body(struct rota__h1 *h1)
{
    return rota__h1_refuse(h1, 413,
                           rota__limit_bytes(h1->limit_text, "body", h1->limits.body, "body"));
}

/* ---- Lines */

/* Only CR LF ends a line. RFC 9112, section 2.2, allows a bare LF, which some parsers accept and
 * some do not. `*at` is the first byte after the last part of the line. */
static int end_line(struct rota__h1 *h1, const char **at, const char *end, const char *otherwise)
{
    const char *p = *at;
    if (p == end)
        return MORE;
    if (*p == '\n')
        return rota__h1_refuse(h1, 400, "a line ends with a bare LF");
    if (*p != '\r')
        return rota__h1_refuse(h1, 400, otherwise);
    if (p + 1 == end)
        return MORE;
    if (p[1] != '\n')
        return rota__h1_refuse(h1, 400, "bare CR");
    *at = p + 2;
    return DONE;
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static rota_str trim(const char *from, const char *to)
{
    while (from < to && is_blank(*from))
        from++;
    while (to > from && is_blank(to[-1]))
        to--;
    return (rota_str){from, (size_t)(to - from)};
}

/* Whether a character of a field's value is a blank: all others are above. */
static inline bool is_blank_in_value(char c)
{
    return (unsigned char)c <= ' ';
}

static int refuse_name(struct rota__h1 *h1, const char *name, const char *p)
{
    if (p == name)
        return rota__h1_refuse(h1, 400,
                               is_blank(*p) ? "a folded line"
                               : *p == ':'  ? "a field without a name"
                                            : "invalid field name");
    return rota__h1_refuse(h1, 400, is_blank(*p) ? "space before a colon" : "invalid field name");
}

/* Joins the next line to this one if it continues it (RFC 9112, section 5.2), by writing spaces
 * over the line end at `p`. Only for responses. */
static bool unfold(const struct rota__h1 *h1, const char *p, const char *next, const char *end)
{
    if (h1->is_server || next == end || !is_blank(*next))
        return false;
    memset((char *)p, ' ', (size_t)(next - p));
    return true;
}

/* field-line = field-name ":" OWS field-value OWS (RFC 9112, section 5) */
static int field_line(struct rota__h1 *h1, const char **at, const char *end, rota_http_field *field)
{
    const char *name = *at, *p = rota__scan_token(name, end);
    if (p == end)
        return MORE;
    if (p == name || *p != ':')
        return refuse_name(h1, name, p);
    field->name = (rota_str){name, (size_t)(p - name)};
    const char *value = p + 1;
    int done;
    *at = value;
    do {
        *at = p = rota__scan_value(*at, end);
        done = end_line(h1, at, end, "a control character in a field");
    } while (done == DONE && unfold(h1, p, *at, end));
    value += value < p && *value == ' '; /* most have one, and no more */
    field->value = p > value && (is_blank_in_value(*value) || is_blank_in_value(p[-1]))
                       ? trim(value, p)
                       : (rota_str){value, (size_t)(p - value)};
    return done;
}

int rota__h1_fields(struct rota__h1 *h1, const char **at, const char *end, size_t *ret_count)
{
    const char *p = *at;
    size_t count = 0;
    int done = DONE;
    while (done == DONE && p != end && *p != '\r' && *p != '\n') {
        if (count == h1->limits.fields)
            return rota__h1_refuse(
                h1, 431,
                rota__limit_count(h1->limit_text, "header fields", h1->limits.fields, "fields"));
        done = field_line(h1, &p, end, &h1->fields[count++]);
    }
    *ret_count = count;
    if (done == DONE)
        done = end_line(h1, &p, end, "");
    *at = p;
    return done;
}

/* ---- The first line */

/* "HTTP/1.1" or lower. Moves `*at` after it. */
static int version(struct rota__h1 *h1, const char **at, const char *end, int *ret_minor)
{
    static const char name[] = "HTTP/";
    const char *p = *at;
    size_t there = (size_t)(end - p), len = sizeof name - 1;
    if (there >= len + 3 && memcmp(p, "HTTP/1.1", len + 3) == 0) {
        *ret_minor = 1;
        *at = p + len + 3;
        return DONE;
    }
    if (memcmp(p, name, there < len ? there : len) != 0)
        return rota__h1_refuse(h1, 400, "no HTTP version");
    if (there < len + 3)
        return MORE;
    char major = p[len], minor = p[len + 2];
    if (major < '0' || major > '9' || p[len + 1] != '.' || minor < '0' || minor > '9')
        return rota__h1_refuse(h1, 400, "no HTTP version");
    if (major != '1')
        return rota__h1_refuse(h1, 505, "unsupported HTTP version");
    *ret_minor = minor > '0';
    *at = p + len + 3;
    return DONE;
}

/* request-line = method SP request-target SP HTTP-version (RFC 9112, section 3) */
static int request_line(struct rota__h1 *h1, const char **at, const char *end,
                        struct rota__h1_head *head)
{
    const char *method = *at, *p = rota__scan_token(method, end);
    if (p == end)
        return MORE;
    if (p == method || *p != ' ')
        return rota__h1_refuse(h1, 400, "no method");
    const char *target = p + 1;
    head->method = (rota_str){method, (size_t)(p - method)};
    p = rota__scan_target(target, end);
    if (p == end)
        return MORE;
    if (p == target || *p != ' ')
        return rota__h1_refuse(h1, 400, "invalid target or version");
    head->target = (rota_str){target, (size_t)(p - target)};
    *at = p + 1;
    int done = version(h1, at, end, &head->minor);
    return done == DONE ? end_line(h1, at, end, "extra characters after the version") : done;
}

/* status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112, section 4). The second
 * space may be missing together with the reason. */
static int status_line(struct rota__h1 *h1, const char **at, const char *end,
                       struct rota__h1_head *head)
{
    int done = version(h1, at, end, &head->minor);
    if (done != DONE)
        return done;
    const char *p = *at;
    if (end - p < 5)
        return MORE;
    int status = 0;
    for (int i = 1; i <= 3; i++)
        status = p[i] >= '0' && p[i] <= '9' ? status * 10 + (p[i] - '0') : -1000;
    if (*p != ' ' || status < 100)
        return rota__h1_refuse(h1, 502, "no status");
    head->status = status;
    p += 4;
    const char *reason = p + (*p == ' ');
    if (*p == ' ')
        p = rota__scan_value(reason, end);
    head->reason = (rota_str){reason, (size_t)(p - reason)};
    *at = p;
    return end_line(h1, at, end, "malformed status line");
}

/* ---- What the fields say */

struct said {
    rota_str host, length, coding;
    int hosts, lengths, codings;
    bool close, keep_alive, upgrade, upgrade_to;
    bool expect_continue, expect_other;
};

bool rota__h1_list_next(rota_str *list, rota_str *ret_element)
{
    while (list->len) {
        const char *from = list->ptr, *end = from + list->len;
        const char *comma = memchr(from, ',', list->len);
        const char *to = comma ? comma : end;
        *list = comma ? (rota_str){comma + 1, (size_t)(end - comma - 1)} : (rota_str){end, 0};
        *ret_element = trim(from, to);
        if (ret_element->len)
            return true;
    }
    return false;
}

static void note_connection(struct said *said, rota_str value)
{
    rota_str token;
    while (rota__h1_list_next(&value, &token)) {
        said->close |= rota__str_is(token, "close");
        said->keep_alive |= rota__str_is(token, "keep-alive");
        said->upgrade |= rota__str_is(token, "upgrade");
    }
}

static void note_once(int *times, rota_str *kept, rota_str value)
{
    ++*times;
    *kept = value;
}

static void note(struct said *said, const rota_http_field *field)
{
    rota_str name = field->name;
    switch (name.len) {
    case 4:
        if (rota__str_is(name, "host"))
            note_once(&said->hosts, &said->host, field->value);
        break;
    case 6:
        if (rota__str_is(name, "expect")) {
            bool known = rota__str_is(field->value, "100-continue");
            said->expect_continue |= known;
            said->expect_other |= !known;
        }
        break;
    case 7:
        said->upgrade_to |= rota__str_is(name, "upgrade");
        break;
    case 10:
        if (rota__str_is(name, "connection"))
            note_connection(said, field->value);
        break;
    case 14:
        if (rota__str_is(name, "content-length"))
            note_once(&said->lengths, &said->length, field->value);
        break;
    case 17:
        if (rota__str_is(name, "transfer-encoding"))
            note_once(&said->codings, &said->coding, field->value);
        break;
    default:
        break;
    }
}

/* ---- The body (RFC 9112, section 6.3) */

static int content_length(struct rota__h1 *h1, rota_str digits, uint64_t *ret_length)
{
    uint64_t length;
    if (digits.len == 0)
        return rota__h1_refuse(h1, 400, "an empty Content-Length");
    if (!rota__take_number(&digits, &length) || digits.len)
        return rota__h1_refuse(h1, 400, "invalid Content-Length");
    if (length > INT64_MAX)
        return rota__h1_refuse(h1, 400, "Content-Length too large");
    *ret_length = length;
    return DONE;
}

static int transfer_coding(struct rota__h1 *h1, const struct said *said, int minor)
{
    if (said->lengths)
        return rota__h1_refuse(h1, 400, "both Content-Length and Transfer-Encoding");
    if (minor == 0)
        return rota__h1_refuse(h1, 400, "Transfer-Encoding in HTTP/1.0");
    if (said->codings > 1)
        return rota__h1_refuse(h1, 400, "more than one Transfer-Encoding");
    if (rota__str_is(said->coding, "chunked"))
        return DONE;
    rota_str list = said->coding, coding = {"", 0};
    int chunked = 0;
    while (rota__h1_list_next(&list, &coding))
        chunked += rota__str_is(coding, "chunked");
    if (chunked == 1 && rota__str_is(coding, "chunked"))
        return rota__h1_refuse(h1, 501, "unknown transfer coding");
    return rota__h1_refuse(h1, 400, "Transfer-Encoding does not end with chunked");
}

/* Whether a response has no body, regardless of its fields. */
static bool is_bodiless(const struct rota__h1 *h1, int status)
{
    return h1->answers_head || status < 200 || status == 204 || status == 304;
}

static int find_body(struct rota__h1 *h1, const struct said *said, struct rota__h1_head *head)
{
    if (said->lengths > 1)
        return rota__h1_refuse(h1, 400, "more than one Content-Length");
    int ok = said->lengths ? content_length(h1, said->length, &head->length) : DONE;
    if (ok == DONE && said->codings)
        ok = transfer_coding(h1, said, head->minor);
    if (ok < 0)
        return ok;
    head->body = said->codings   ? ROTA__H1_CHUNKED
                 : said->lengths ? ROTA__H1_LENGTH
                 : h1->is_server ? ROTA__H1_NO_BODY
                                 : ROTA__H1_UNTIL_END;
    if (h1->is_server) {
        if (head->length > h1->limits.body)
            return rota__h1_refuse_body(h1);
        if (rota_str_equal(head->method, "CONNECT") && head->body != ROTA__H1_NO_BODY)
            return rota__h1_refuse(h1, 400, "CONNECT with a body");
        return DONE;
    }
    bool tunnel = head->status == 101 || (h1->answers_connect && head->status / 100 == 2);
    if (tunnel)
        head->body = ROTA__H1_TUNNEL;
    else if (is_bodiless(h1, head->status))
        head->body = ROTA__H1_NO_BODY;
    return DONE;
}

/* ---- Host and target (RFC 9112, section 3.2) */

/* Gets the authority of "http://a:80/x". Returns false for any other target. */
static bool absolute_form(rota_str target, rota_str *ret_authority)
{
    size_t scheme = target.len > 8 && rota__str_is((rota_str){target.ptr, 8}, "https://")  ? 8
                    : target.len > 7 && rota__str_is((rota_str){target.ptr, 7}, "http://") ? 7
                                                                                           : 0;
    const char *from = target.ptr + scheme, *p = from, *end = target.ptr + target.len;
    while (p < end && *p != '/' && *p != '?')
        p++;
    *ret_authority = (rota_str){from, (size_t)(p - from)};
    return scheme != 0;
}

/* The authority of an absolute target replaces the Host field (RFC 9112, section 3.2.2), so that no
 * handler trusts the other. */
static void replace_host(struct rota__h1_head *head, rota_str authority)
{
    for (size_t i = 0; i < head->count; i++) {
        if (rota__str_is(head->fields[i].name, "host"))
            head->fields[i].value = authority;
    }
}

static int find_authority(struct rota__h1 *h1, const struct said *said, struct rota__h1_head *head)
{
    if (said->hosts > 1)
        return rota__h1_refuse(h1, 400, "more than one Host");
    if (said->hosts == 0 && head->minor > 0)
        return rota__h1_refuse(h1, 400, "no Host");
    if (said->hosts && !rota__url_is_authority(said->host))
        return rota__h1_refuse(h1, 400, "invalid Host");
    head->authority = said->host;

    rota_str target = head->target, stated;
    bool is_absolute = false;
    if (rota_str_equal(head->method, "CONNECT"))
        stated = target;
    else if (*target.ptr == '/')
        return DONE;
    else if (target.len == 1 && *target.ptr == '*')
        return rota_str_equal(head->method, "OPTIONS")
                   ? DONE
                   : rota__h1_refuse(h1, 400, "the target * without OPTIONS");
    else if (!(is_absolute = absolute_form(target, &stated)))
        return rota__h1_refuse(h1, 400, "invalid target");
    if (!rota__url_is_authority(stated))
        return rota__h1_refuse(h1, 400, "invalid host in the target");
    if (is_absolute)
        replace_host(head, stated);
    else if (said->hosts && !rota__url_same_authority(stated, said->host, 0))
        return rota__h1_refuse(h1, 400, "target and Host differ");
    head->authority = stated;
    return DONE;
}

/* ---- The whole */

static int finish_head(struct rota__h1 *h1, struct rota__h1_head *head)
{
    struct said said = {0};
    for (size_t i = 0; i < head->count; i++)
        note(&said, &head->fields[i]);
    int ok = find_body(h1, &said, head);
    if (ok == DONE && h1->is_server)
        ok = find_authority(h1, &said, head);
    if (ok == DONE && h1->is_server && said.expect_other)
        ok = rota__h1_refuse(h1, 417, "unknown expectation");
    if (ok < 0)
        return ok;
    head->keep_alive = (head->minor ? !said.close : said.keep_alive && !said.close) &&
                       head->body != ROTA__H1_UNTIL_END;
    head->expect_continue = said.expect_continue && head->minor;
    head->upgrade = said.upgrade && said.upgrade_to && head->minor;
    return DONE;
}

static int refuse_line(struct rota__h1 *h1)
{
    return rota__h1_refuse(h1, 414,
                           rota__limit_bytes(h1->limit_text, "first line", h1->limits.line, NULL));
}

static int refuse_head(struct rota__h1 *h1)
{
    return rota__h1_refuse(h1, 431,
                           rota__limit_bytes(h1->limit_text, "head", h1->limits.head, "head"));
}

static int parse(struct rota__h1 *h1, rota_str bytes, size_t *ret_used, struct rota__h1_head *head)
{
    const char *at = bytes.ptr, *end = at + bytes.len;
    int done = h1->is_server ? request_line(h1, &at, end, head) : status_line(h1, &at, end, head);
    if (done == DONE && (size_t)(at - bytes.ptr) > h1->limits.line)
        return refuse_line(h1);
    if (done == DONE)
        done = rota__h1_fields(h1, &at, end, &head->count);
    if (done != DONE)
        return done;
    *ret_used = (size_t)(at - bytes.ptr);
    if (*ret_used > h1->limits.head)
        return refuse_head(h1);
    return finish_head(h1, head);
}

/* Whether the empty line has arrived. Looks only at bytes that were not searched before. */
static int search_end(struct rota__h1 *h1, rota_str bytes)
{
    const char *end = bytes.ptr + bytes.len, *at = bytes.ptr + h1->scanned;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        size_t line = (size_t)(at - bytes.ptr);
        if (line == 0 || at[-1] != '\r')
            return rota__h1_refuse(h1, 400, "a line ends with a bare LF");
        if (line >= 3 && at[-2] == '\n')
            return DONE;
        at++;
    }
    h1->scanned = bytes.len;
    return MORE;
}

static int check_incomplete(struct rota__h1 *h1, rota_str bytes)
{
    if (bytes.len > h1->limits.line && !memchr(bytes.ptr, '\n', h1->limits.line))
        return refuse_line(h1);
    if (bytes.len >= h1->limits.head)
        return refuse_head(h1);
    return MORE;
}

int rota__h1_parse_head(struct rota__h1 *h1, rota_str bytes, size_t *ret_used,
                        struct rota__h1_head *head)
{
    int done = h1->searched ? search_end(h1, bytes) : DONE;
    if (done == DONE)
        done = parse(h1, bytes, ret_used, head);
    if (done == MORE) {
        if (!h1->searched)
            h1->scanned = 0;
        h1->searched = true;
        done = check_incomplete(h1, bytes);
    }
    if (done == DONE)
        h1->searched = false;
    return done;
}
