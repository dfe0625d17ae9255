#include "http/multipart.h"
#include "http/chars.h"
#include "http/params.h"

#include <errno.h>

#define DEFAULT_HEAD 8192
#define DEFAULT_PARTS 1000

/* bchars (RFC 2046, section 5.1.1); the last one is not a space. */
static bool is_boundary(rota_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!rota__char_is_letter(c) && !rota__char_is_digit(c) && !memchr("'()+_,-./:=? ", c, 13))
            return false;
    }
    return s.len >= 1 && s.len <= ROTA__BOUNDARY_MAX && s.ptr[s.len - 1] != ' ';
}

int rota__multipart_init(struct rota__multipart *m, rota_str content_type,
                         const struct rota__multipart_limits *limits)
{
    struct rota__param param;
    rota_str boundary = {NULL, 0};
    int more;
    if (!rota__str_is(rota__param_head(&content_type), "multipart/form-data"))
        return -EINVAL;
    while ((more = rota__param_next(&content_type, &param)) > 0) {
        if (!rota__str_is(param.name, "boundary"))
            continue;
        if (boundary.ptr || !param.value.ptr)
            return -EINVAL;
        boundary = param.value;
    }
    if (more < 0 || !is_boundary(boundary))
        return -EINVAL;
    *m = (struct rota__multipart){.delimiter_len = 4 + boundary.len};
    if (limits)
        m->limits = *limits;
    if (m->limits.head == 0)
        m->limits.head = DEFAULT_HEAD;
    if (m->limits.parts == 0)
        m->limits.parts = DEFAULT_PARTS;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.ptr, boundary.len);
    return 0;
}

static int refuse(struct rota__multipart *m, int status, const char *why)
{
    m->state = ROTA__MULTIPART_BROKEN;
    m->status = status;
    m->error = why;
    return -EBADMSG;
}

/* ---- Boundaries */

/* Reads what follows a delimiter at `at`: a line end, or two dashes after the last part. Returns
 * -EBADMSG, 0 (incomplete), or the number of bytes, and sets the next state. */
static int behind_delimiter(struct rota__multipart *m, rota_str bytes, size_t at)
{
    size_t left = bytes.len - at;
    const char *found = bytes.ptr + at;
    if (left && *found != '\r' && *found != '-')
        return refuse(m, 400, "data after a boundary");
    if (left < 2)
        return 0;
    if (memcmp(found, "\r\n", 2) == 0)
        m->state = ROTA__MULTIPART_AT_HEAD;
    else if (memcmp(found, "--", 2) == 0)
        m->state = ROTA__MULTIPART_OVER;
    else
        return refuse(m, 400, "data after a boundary");
    return 2;
}

/* The first delimiter has no line end before it. */
static int at_start(struct rota__multipart *m, rota_str bytes, size_t *ret_used)
{
    size_t len = m->delimiter_len - 2, n = bytes.len < len ? bytes.len : len;
    if (n && memcmp(bytes.ptr, m->delimiter + 2, n) != 0)
        return refuse(m, 400, "it does not begin with the boundary");
    if (bytes.len <= len)
        return ROTA__MULTIPART_MORE;
    int done = behind_delimiter(m, bytes, len);
    if (done > 0)
        *ret_used = len + (size_t)done;
    return done < 0 ? done : ROTA__MULTIPART_MORE;
}

/* Returns the position of the delimiter, or of a beginning of one at the end. */
static size_t find_delimiter(const struct rota__multipart *m, rota_str bytes)
{
    const char *found = memmem(bytes.ptr, bytes.len, m->delimiter, m->delimiter_len);
    if (found)
        return (size_t)(found - bytes.ptr);
    size_t tail = m->delimiter_len - 1;
    size_t from = bytes.len > tail ? bytes.len - tail : 0;
    for (const char *at = bytes.ptr + from, *end = bytes.ptr + bytes.len; at < end; at++) {
        at = memchr(at, '\r', (size_t)(end - at));
        if (!at)
            break;
        if (memcmp(at, m->delimiter, (size_t)(end - at)) == 0)
            return (size_t)(at - bytes.ptr);
    }
    return bytes.len;
}

static int at_data(struct rota__multipart *m, rota_str bytes, size_t *ret_used,
                   struct rota__multipart_item *item)
{
    if (!bytes.len)
        return ROTA__MULTIPART_MORE;
    size_t len = find_delimiter(m, bytes);
    if (len) {
        *item = (struct rota__multipart_item){.data = {bytes.ptr, len}};
        *ret_used = len;
        return ROTA__MULTIPART_DATA;
    }
    if (bytes.len <= m->delimiter_len)
        return ROTA__MULTIPART_MORE;
    int done = behind_delimiter(m, bytes, m->delimiter_len);
    if (done <= 0)
        return done < 0 ? done : ROTA__MULTIPART_MORE;
    *ret_used = m->delimiter_len + (size_t)done;
    *item = (struct rota__multipart_item){.data = {NULL, 0}};
    return ROTA__MULTIPART_PART_END;
}

/* ---- Heads */

/* Content-Disposition: form-data; name="..."; filename="..." */
static int read_disposition(struct rota__multipart *m, rota_str value,
                            struct rota__multipart_item *item)
{
    struct rota__param param;
    int more;
    if (item->name.ptr)
        return refuse(m, 400, "a part with two Content-Dispositions");
    if (!rota__str_is(rota__param_head(&value), "form-data"))
        return refuse(m, 400, "a part that is not form-data");
    while ((more = rota__param_next(&value, &param)) > 0) {
        bool name = rota__str_is(param.name, "name");
        rota_str *kept = name ? &item->name : &item->filename;
        if (rota__str_is(param.name, "filename*")) /* RFC 7578, section 4.2 */
            return refuse(m, 400, "a file name that is coded by RFC 5987");
        if (!name && !rota__str_is(param.name, "filename"))
            continue;
        if (kept->ptr || !param.value.ptr)
            return refuse(m, 400, "a part with two names");
        *kept = param.value;
    }
    if (more < 0)
        return refuse(m, 400, "invalid Content-Disposition");
    return item->name.ptr ? 0 : refuse(m, 400, "a part without a name");
}

static int read_field(struct rota__multipart *m, rota_str line, struct rota__multipart_item *item)
{
    const char *end = line.ptr + line.len, *colon = rota__scan_token(line.ptr, end);
    rota_str name = {line.ptr, (size_t)(colon - line.ptr)};
    if (!name.len || colon == end || *colon != ':')
        return refuse(m, 400, "a field of a part without a name");
    rota_str value = rota__trim((rota_str){colon + 1, (size_t)(end - colon - 1)});
    if (!rota__chars_are(value, ROTA__CHAR_VALUE))
        return refuse(m, 400, "a control character in the head of a part");
    if (rota__str_is(name, "content-disposition"))
        return read_disposition(m, value, item);
    if (rota__str_is(name, "content-type")) {
        if (item->type.ptr)
            return refuse(m, 400, "a part with two types");
        item->type = value;
    }
    if (rota__str_is(name, "content-transfer-encoding") && !rota__str_is(value, "binary") &&
        !rota__str_is(value, "8bit") && !rota__str_is(value, "7bit"))
        return refuse(m, 400, "a part that is encoded");
    return 0;
}

/* The lines of a head, each with its end. */
static int read_fields(struct rota__multipart *m, rota_str head, struct rota__multipart_item *item)
{
    while (head.len) {
        const char *lf = memchr(head.ptr, '\n', head.len);
        size_t len = (size_t)(lf - head.ptr);
        if (len == 0 || lf[-1] != '\r')
            return refuse(m, 400, "bare LF");
        int err = read_field(m, (rota_str){head.ptr, len - 1}, item);
        if (err < 0)
            return err;
        head = (rota_str){lf + 1, head.len - len - 1};
    }
    return item->name.ptr ? 0 : refuse(m, 400, "a part without a Content-Disposition");
}

/* Returns the length of a head including its empty line, or 0 if it is incomplete. Looks at each
 * byte once. */
static size_t find_head_end(struct rota__multipart *m, rota_str bytes)
{
    if (rota__str_begins(bytes, "\r\n"))
        return 2;
    size_t from = m->scanned;
    const char *found = memmem(bytes.ptr + from, bytes.len - from, "\r\n\r\n", 4);
    m->scanned = bytes.len < 3 ? 0 : bytes.len - 3;
    return found ? (size_t)(found + 4 - bytes.ptr) : 0;
}

static int at_head(struct rota__multipart *m, rota_str bytes, size_t *ret_used,
                   struct rota__multipart_item *item)
{
    size_t len = bytes.len ? find_head_end(m, bytes) : 0;
    if (len > m->limits.head || (!len && bytes.len >= m->limits.head))
        return refuse(m, 400,
                      rota__limit_bytes(m->limit_text, "head of a part", m->limits.head, NULL));
    if (!len)
        return ROTA__MULTIPART_MORE;
    if (m->count++ == m->limits.parts)
        return refuse(m, 413, rota__limit_count(m->limit_text, "parts", m->limits.parts, NULL));
    *item = (struct rota__multipart_item){.data = {NULL, 0}};
    int err = read_fields(m, (rota_str){bytes.ptr, len - 2}, item);
    if (err < 0)
        return err;
    m->scanned = 0;
    *ret_used = len;
    m->state = ROTA__MULTIPART_AT_DATA;
    return ROTA__MULTIPART_PART;
}

/* One line end may follow the last boundary. */
static int at_over(struct rota__multipart *m, rota_str bytes, size_t *ret_used)
{
    if (bytes.len > 2 - m->tail || memcmp(bytes.ptr, &"\r\n"[m->tail], bytes.len) != 0)
        return refuse(m, 400, "data after the last part");
    m->tail += bytes.len;
    *ret_used = bytes.len;
    return ROTA__MULTIPART_MORE;
}

static int step(struct rota__multipart *m, rota_str bytes, size_t *ret_used,
                struct rota__multipart_item *item)
{
    switch (m->state) {
    case ROTA__MULTIPART_AT_START:
        return at_start(m, bytes, ret_used);
    case ROTA__MULTIPART_AT_HEAD:
        return at_head(m, bytes, ret_used, item);
    case ROTA__MULTIPART_AT_DATA:
        return at_data(m, bytes, ret_used, item);
    case ROTA__MULTIPART_OVER:
        return at_over(m, bytes, ret_used);
    case ROTA__MULTIPART_BROKEN:
        break;
    }
    return -EBADMSG;
}

int rota__multipart_next(struct rota__multipart *m, rota_str bytes, size_t *ret_used,
                         struct rota__multipart_item *item)
{
    size_t used = 0;
    int event = m->state == ROTA__MULTIPART_BROKEN ? -EBADMSG : ROTA__MULTIPART_MORE;
    *ret_used = 0;
    while (event == ROTA__MULTIPART_MORE &&
           bytes.len) { /* boundaries are used up without an event */
        used = 0;
        event = step(m, bytes, &used, item);
        *ret_used += used;
        bytes = (rota_str){bytes.ptr + used, bytes.len - used};
        if (!used)
            break;
    }
    return event;
}

int rota__multipart_finish(struct rota__multipart *m)
{
    if (m->state == ROTA__MULTIPART_BROKEN)
        return -EBADMSG;
    if (m->state != ROTA__MULTIPART_OVER || m->tail == 1)
        return refuse(m, 400, "it ends in the middle");
    return 0;
}

/* Decodes the three characters that browsers encode; any other % stands for itself. */
static char escaped(rota_str s)
{
    static const char codes[] = "220D0A";
    for (size_t i = 0; s.len >= 3 && *s.ptr == '%' && i < 3; i++) {
        if (s.ptr[1] == codes[2 * i] && (s.ptr[2] & ~0x20) == (codes[2 * i + 1] & ~0x20))
            return "\"\r\n"[i];
    }
    return '\0';
}

int rota__multipart_unescape(struct rota__out *out, rota_str text)
{
    while (text.len) {
        char c = escaped(text);
        size_t len = c ? 3 : 1;
        if (!c && *text.ptr == '\\' && text.len > 1 && (text.ptr[1] == '"' || text.ptr[1] == '\\'))
            c = text.ptr[len++];
        rota__out_add(out, c ? &c : text.ptr, 1);
        text = (rota_str){text.ptr + len, text.len - len};
    }
    return out->err;
}
