#include "http/sse.h"
#include "http/chars.h"
#include "http/params.h"

#include <errno.h>

#define DEFAULT_LIMIT (1024 * 1024)

/* The longest `retry`, in milliseconds: about three years. */
#define RETRY_MOST UINT64_C(99999999999)

/* The byte order mark. */
#define MARK "\xef\xbb\xbf"

void rota__sse_init(struct rota__sse *sse, size_t limit)
{
    *sse = (struct rota__sse){.limit = limit ? limit : DEFAULT_LIMIT};
}

void rota__sse_fini(struct rota__sse *sse)
{
    rota__out_fini(&sse->line);
    rota__out_fini(&sse->type);
    rota__out_fini(&sse->data);
    rota__out_fini(&sse->id);
    rota__out_fini(&sse->last_id);
}

static rota_str text_of(const struct rota__out *out)
{
    return (rota_str){out->ptr, out->len};
}

static void set(struct rota__out *out, rota_str text)
{
    out->len = 0;
    rota__out_add_str(out, text);
}

/* ---- Reading: a line, a field, an event */

static void read_retry(struct rota__sse *sse, rota_str value)
{
    uint64_t retry;
    if (!rota__take_number(&value, &retry) || value.len)
        return;
    if (retry > RETRY_MOST)
        retry = RETRY_MOST;
    sse->retry = retry ? retry : 1; /* 0 means that none was given */
}

static void read_field(struct rota__sse *sse, rota_str name, rota_str value)
{
    if (rota_str_equal(name, "data")) {
        rota__out_add_str(&sse->data, value);
        rota__out_add_literal(&sse->data, "\n");
    } else if (rota_str_equal(name, "event")) {
        set(&sse->type, value);
    } else if (rota_str_equal(name, "id")) {
        if (!value.len || !memchr(value.ptr, '\0', value.len))
            set(&sse->id, value);
    } else if (rota_str_equal(name, "retry")) {
        read_retry(sse, value);
    }
}

/* Ends an event. Returns whether there is one to report. */
static bool end_event(struct rota__sse *sse)
{
    set(&sse->last_id, text_of(&sse->id));
    if (!sse->data.len)
        sse->type.len = 0;
    return sse->data.len > 0;
}

/* Returns whether the line ends an event. */
static bool read_line(struct rota__sse *sse, rota_str line)
{
    if (!sse->begun && rota__str_begins(line, MARK))
        line = (rota_str){line.ptr + strlen(MARK), line.len - strlen(MARK)};
    sse->begun = true;
    if (!line.len)
        return end_event(sse);
    const char *colon = memchr(line.ptr, ':', line.len);
    size_t name = colon ? (size_t)(colon - line.ptr) : line.len;
    size_t at = colon ? name + 1 : name;
    if (at < line.len && line.ptr[at] == ' ')
        at++;
    if (name) /* otherwise it is a comment */
        read_field(sse, (rota_str){line.ptr, name}, (rota_str){line.ptr + at, line.len - at});
    return false;
}

static size_t find_line_end(rota_str s)
{
    const char *at = s.ptr, *end = at + s.len;
    while ((at = rota__scan_value(at, end)) < end && *at != '\n' && *at != '\r')
        at++;
    return (size_t)(at - s.ptr);
}

static int check(struct rota__sse *sse)
{
    if (sse->line.err < 0 || sse->type.err < 0 || sse->data.err < 0 || sse->id.err < 0 ||
        sse->last_id.err < 0)
        sse->err = -ENOMEM;
    return sse->err;
}

static void tell(struct rota__sse *sse, struct rota__sse_event *event)
{
    *event = (struct rota__sse_event){
        .type = sse->type.len ? text_of(&sse->type) : (rota_str){"message", 7},
        .data = {sse->data.ptr, sse->data.len - 1}, /* each line includes its end */
        .id = sse->last_id.len ? text_of(&sse->last_id) : (rota_str){"", 0},
        .retry = sse->retry};
    sse->told = true;
}

static void advance(rota_str *s, size_t count)
{
    *s = (rota_str){s->ptr + count, s->len - count};
}

/* Takes a line, or the available part of one. Returns 1 at the end of an event. */
static int take_line(struct rota__sse *sse, rota_str *in)
{
    size_t len = find_line_end(*in);
    rota_str line = {in->ptr, len};
    bool ended = len < in->len;
    if (sse->line.len + sse->type.len + sse->data.len + sse->id.len + len > sse->limit)
        return sse->err = ROTA_ELIMIT;
    if (!ended || sse->line.len) {
        rota__out_add_str(&sse->line, line);
        line = text_of(&sse->line);
    }
    advance(in, len);
    if (!ended)
        return check(sse);
    sse->after_cr = *in->ptr == '\r';
    advance(in, 1);
    bool told = check(sse) == 0 && read_line(sse, line);
    sse->line.len = 0;
    return check(sse) < 0 ? sse->err : told;
}

int rota__sse_next(struct rota__sse *sse, rota_str *in, struct rota__sse_event *ret_event)
{
    int done = sse->err;
    if (sse->told)
        sse->data.len = sse->type.len = 0;
    sse->told = false;
    while (done == 0 && in->len) {
        if (sse->after_cr && *in->ptr == '\n')
            advance(in, 1);
        sse->after_cr = false;
        if (in->len)
            done = take_line(sse, in);
    }
    if (done > 0)
        tell(sse, ret_event);
    return done;
}

/* ---- Writing */

static bool has_any(rota_str s, const char *chars, size_t count)
{
    for (size_t i = 0; i < s.len; i++) {
        if (memchr(chars, s.ptr[i], count))
            return true;
    }
    return false;
}

static void write_field(struct rota__out *out, const char *name, rota_str value)
{
    rota__out_add(out, name, strlen(name));
    rota__out_add_literal(out, ": ");
    rota__out_add_str(out, value);
    rota__out_add_literal(out, "\n");
}

/* A field for each line. */
static void write_lines(struct rota__out *out, const char *name, rota_str text)
{
    for (bool more = true; more;) {
        size_t len = find_line_end(text);
        write_field(out, name, (rota_str){text.ptr, len});
        more = len < text.len;
        if (more)
            advance(&text,
                    len + (text.len - len > 1 && memcmp(text.ptr + len, "\r\n", 2) == 0 ? 2 : 1));
    }
}

int rota__sse_write(struct rota__out *out, const struct rota__sse_event *event)
{
    if (has_any(event->type, "\r\n", 2) || has_any(event->id, "\r\n\0", 3))
        return -EINVAL;
    if (event->retry) {
        rota__out_add_literal(out, "retry: ");
        rota__out_add_number(out, event->retry, 10);
        rota__out_add_literal(out, "\n");
    }
    if (event->id.ptr)
        write_field(out, "id", event->id);
    if (event->type.len)
        write_field(out, "event", event->type);
    if (event->data.ptr)
        write_lines(out, "data", event->data);
    rota__out_add_literal(out, "\n");
    return out->err;
}
