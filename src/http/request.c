/* A request as its handler sees it, and what happens around the handler. */
#include "http/fields.h"
#include "http/out.h"
#include "http/plain.h"
#include "http/reply.h"

#include <stdio.h>
#include <string.h>

#define BODY_STEP 4096

void *rota__request_new(struct rota__server *server, const struct rota__request_kind *kind,
                        rota_stream *stream, size_t size)
{
    struct rota__arena arena;
    if (rota__arena_init(&arena, &server->blocks) < 0)
        return NULL;
    rota_http_request *r = rota__arena_alloc(&arena, size); /* fits: the block was made for it */
    memset(r, 0, size);
    r->kind = kind;
    r->server = server;
    r->stream = stream;
    r->arena = arena;
    r->read_within = server->options.body_gap;
    r->added_end = &r->added;
    r->trailing_end = &r->trailing;
    return r;
}

void rota__request_free(rota_http_request *r)
{
    struct rota__arena arena = r->arena;
    rota__reply_drop_encoder(r);
    rota__out_fini(&r->encoded);
    rota__arena_fini(&arena, &r->server->blocks);
}

void rota__request_set(rota_http_request *r, rota_str method, rota_str target, rota_str authority,
                       const rota_http_field *fields, size_t count)
{
    r->method = method;
    r->is_head = rota_str_equal(method, "HEAD");
    r->is_connect = rota_str_equal(method, "CONNECT");
    r->authority = authority;
    r->fields = fields;
    r->count = count;
    r->target = target;
    rota_str path = target;
    if (target.len && *target.ptr != '/' && !r->is_connect && target.len > 1) { /* absolute form */
        const char *host = memmem(target.ptr, target.len, "://", 3);
        const char *at = host ? host + 3 : target.ptr, *end = target.ptr + target.len;
        while (at < end && *at != '/' && *at != '?')
            at++;
        path = (rota_str){at, (size_t)(end - at)};
    }
    const char *mark = path.len ? memchr(path.ptr, '?', path.len) : NULL;
    r->path = path;
    r->query = (rota_str){NULL, 0};
    if (mark) {
        r->path.len = (size_t)(mark - path.ptr);
        r->query = (rota_str){mark + 1, path.len - r->path.len - 1};
    }
    if (!r->path.len) /* "http://host" means its root (RFC 9110, section 4.2.3) */
        r->path = (rota_str){"/", 1};
}

/* ---- What was asked */

rota_str rota_http_request_method(const rota_http_request *r)
{
    return r->method;
}

rota_str rota_http_request_path(const rota_http_request *r)
{
    return r->path;
}

rota_str rota_http_request_query(const rota_http_request *r)
{
    return r->query;
}

rota_str rota_http_request_authority(const rota_http_request *r)
{
    return r->authority;
}

rota_str rota_http_request_header(const rota_http_request *r, const char *name)
{
    return rota__fields_find(r->fields, r->count, name);
}

const rota_http_field *rota_http_request_fields(const rota_http_request *r, size_t *ret_count)
{
    *ret_count = r->count;
    return r->fields;
}

rota_str rota_http_request_version(const rota_http_request *r)
{
    return r->version;
}

rota_stream *rota_http_request_stream(const rota_http_request *r)
{
    return r->stream;
}

rota_str rota_http_request_trailer(const rota_http_request *r, const char *name)
{
    return rota__fields_find(r->trailers, r->trailer_count, name);
}

uint64_t rota_http_request_length(const rota_http_request *r)
{
    return r->length;
}

rota_event *rota_http_stopping(rota_http_request *r)
{
    return &r->server->stopping;
}

void *rota_http_alloc(rota_http_request *r, size_t size)
{
    return rota__arena_alloc(&r->arena, size);
}

/* ---- The body */

static bool is_final(ssize_t err)
{
    return err != -ECANCELED && err != -ETIMEDOUT && err != -EINVAL;
}

/* The client has `body_gap`, and the time that its bytes so far take at `body_rate`. Time between
 * two reads does not count. */
static rota_time time_to_read(const rota_http_request *r)
{
    const rota_http_serve_options *o = &r->server->options;
    if (o->body_gap == ROTA_NEVER)
        return ROTA_NEVER;
    uint64_t seconds = r->bytes_in / o->body_rate;
    if (seconds > (uint64_t)(r->read_for / ROTA_SECOND)) /* it is ahead */
        return o->body_gap;
    rota_time explained = (rota_time)seconds * ROTA_SECOND +
                          (rota_time)(r->bytes_in % o->body_rate * ROTA_SECOND / o->body_rate);
    rota_time left = o->body_gap + explained - r->read_for;
    if (left < 1)
        return 1; /* a deadline in the past would keep the call from bytes that have arrived */
    return left < o->body_gap ? left : o->body_gap;
}

/* Gives failures of reading that have no text one. Returns `err`. */
static ssize_t explain(ssize_t err)
{
    switch (err) {
    case ROTA_EOF:
        return rota_error_set(ROTA_EOF, "read request body: the client left in the middle");
    case -ETIMEDOUT:
        return rota_check() < 0
                   ? err
                   : rota_error_set(-ETIMEDOUT, "read request body: the client is too slow "
                                                "(options body_gap and body_rate)");
    case -ENOMEM:
        return rota__http_plain(-ENOMEM);
    default:
        return err;
    }
}

ssize_t rota_http_request_read(rota_http_request *r, void *buf, size_t len)
{
    int err = !len || r->reading ? rota__http_check() : 0;
    if (err < 0)
        return err;
    if (!len)
        return rota_error_set(-EINVAL, "read request body: the buffer has length 0");
    if (r->reading)
        return rota_error_set(-EBUSY, "read request body: another task is reading it");
    if (r->body_error < 0 && is_final(r->body_error))
        return rota_error_set(r->body_error, "read request body: an earlier read failed: %s",
                              rota_strerror(r->body_error));
    r->reading = true;
    r->reader = rota_task_current();
    rota_time began = rota_now();
    r->read_within = time_to_read(r);
    ssize_t n = r->kind->read(r, buf, len);
    r->read_for += rota_now() - began;
    r->reading = false;
    if (n < 0) {
        r->body_error = (int)n;
        return explain(n);
    }
    r->bytes_in += (uint64_t)n;
    r->server->counters->bytes_in += (uint64_t)n;
    return n;
}

/* The text grows in the arena's newest block where it can, so what is read once is mostly not
 * copied. */
static int read_all(rota_http_request *r, size_t limit, struct rota__out *out, size_t *held)
{
    for (;;) {
        size_t room = out->len < BODY_STEP ? BODY_STEP : out->len;
        char *to = rota__out_reserve(out, room);
        if (!to || !rota__budget_hold(&r->server->budget, held, out->room))
            return r->body_error = -ENOMEM;
        ssize_t n = rota_http_request_read(r, to, room);
        if (n <= 0)
            return (int)n;
        out->len += (size_t)n;
        if (out->len > limit)
            return rota_error_set(ROTA_ELIMIT,
                                  "read request body: more than %zu bytes (argument limit)", limit);
    }
}

int rota_http_request_body(rota_http_request *r, size_t limit, rota_str *ret_body)
{
    struct rota__out out = {0};
    size_t held = 0;
    int err = read_all(r, limit ? limit : SIZE_MAX, &out, &held);
    err = rota__arena_settle(&r->arena, &out, err, ret_body);
    if (err == ROTA_ELIMIT || err == -ENOMEM)
        r->body_error = err;
    rota__budget_hold(&r->server->budget, &held, 0);
    return err == -ENOMEM ? rota__http_plain(err) : err;
}

/* ---- Around the handler */

/* The status for a handler that failed, or did not reply. */
static int status_for(const rota_http_request *r, int err)
{
    if (err != r->body_error)
        return 500;
    if (r->body_status)
        return r->body_status;
    if (err == ROTA_ELIMIT)
        return 413;
    if (err == -ETIMEDOUT)
        return 408;
    if (err == -ENOMEM)
        return 503;
    return 500;
}

static void reply_instead(rota_http_request *r, int err)
{
    int status = status_for(r, err);
    const char *why = err < 0        ? rota_error(err)
                      : r->error < 0 ? rota_error(rota__reply_check_fields(r))
                                     : "the handler has not replied";
    if (status == 500)
        rota_log(ROTA_LOG_WARNING, "http: %.*s %.*s: %s", (int)r->method.len, r->method.ptr,
                 (int)r->path.len, r->path.ptr, why);
    rota__reply_withdraw(r);
    ROTA_IGNORE(rota_http_reply_status(r, status));
}

/* Whether the client can receive a reply. Other failures of reading a body have ended its
 * connection or stream. */
static bool may_reply(const rota_http_request *r)
{
    switch (r->body_error) {
    case 0:
    case ROTA_ELIMIT:
    case ROTA_EPROTOCOL:
    case -ETIMEDOUT:
    case -ECANCELED:
    case -ENOMEM:
        return rota_check() == 0;
    default:
        return false;
    }
}

/* A task of the handler still uses the request, which is about to be freed. */
static void end_stragglers(rota_http_request *r)
{
    rota_log(ROTA_LOG_ERROR, "http: %.*s %.*s: the handler returned while one of its tasks was %s",
             (int)r->method.len, r->method.ptr, (int)r->path.len, r->path.ptr,
             r->reading ? "reading" : "replying");
    ROTA_SHIELD
    {
        rota__reply_cut(r, -ECANCELED);
        r->kind->interrupt(r);
        while (r->reading || r->writing)
            ROTA_IGNORE(rota_yield());
    }
}

/* A failure of the handler. The client only sees a reply that is cut off. */
static void report_cut(const rota_http_request *r, int err)
{
    if (err != r->error && err != r->body_error && rota_check() == 0)
        rota_log(ROTA_LOG_WARNING, "http: %.*s %.*s: the reply was cut off: %s", (int)r->method.len,
                 r->method.ptr, (int)r->path.len, r->path.ptr, rota_error(err));
}

static void conclude(rota_http_request *r, int err)
{
    if (r->reading || r->writing)
        end_stragglers(r);
    bool is_unsaid = r->state == ROTA__REPLY_NONE || (r->head_is_due && err < 0);
    if (is_unsaid && may_reply(r))
        reply_instead(r, err);
    else if (r->state == ROTA__REPLY_BEGUN && err < 0)
        report_cut(r, err);
    else if (r->state == ROTA__REPLY_BEGUN && err >= 0)
        ROTA_IGNORE(rota_http_finish(r));
    rota__reply_cut(r, err < 0 ? err : -ECANCELED); /* unless it has ended */
}

static void count(rota_http_request *r)
{
    rota_http_counters *counters = r->server->counters;
    bool is_whole = r->state == ROTA__REPLY_ENDED;
    counters->status[is_whole ? r->status / 100 : 0]++;
}

static void tell(rota_http_request *r)
{
    const rota_http_serve_options *options = &r->server->options;
    if (!options->access)
        return;
    rota_time now = rota_now();
    rota_http_access access = {
        .peer = rota_stream_peer(r->stream),
        .method = r->method,
        .target = r->target,
        .version = r->version,
        .status = r->status,
        .bytes_in = r->bytes_in,
        .bytes_out = r->bytes_out,
        .first_byte = r->replied ? r->replied - r->began : 0,
        .total = now - r->began,
        .err = r->state == ROTA__REPLY_CUT ? r->error : 0,
        .request = r,
    };
    options->access(options->access_arg, &access);
}

/* The server ended before the handler did. That cuts off no complete reply, and no connection with
 * another protocol. */
static void report_outlived(const rota_http_request *r)
{
    const struct rota__server *server = r->server;
    double grace = (double)server->options.grace / (double)ROTA_SECOND;
    if (!rota_event_is_set(&server->stopping) || r->state == ROTA__REPLY_ENDED ||
        rota_check() != -ECANCELED || rota_now() - server->stopped < server->options.grace)
        return;
    if (server->options.grace > 0)
        rota_log(
            ROTA_LOG_WARNING,
            "http: %.*s %.*s from %s: cancelled, still running %.3g s after the server stopped",
            (int)r->method.len, r->method.ptr, (int)r->path.len, r->path.ptr,
            rota_stream_peer(r->stream), grace);
    else
        rota_log(
            ROTA_LOG_WARNING,
            "http: %.*s %.*s from %s: cancelled, because the server stopped without a grace period",
            (int)r->method.len, r->method.ptr, (int)r->path.len, r->path.ptr,
            rota_stream_peer(r->stream));
}

void rota__request_run(rota_http_request *r)
{
    struct rota__server *server = r->server;
    server->counters->requests++;
    server->counters->running++;
    server->requests++;
    if (server->options.access)
        r->began = rota_now();
    int err = server->handler(r, server->arg);
    report_outlived(r);
    conclude(r, err);
    server->counters->running--;
    server->requests--;
    count(r);
    tell(r);
}

void rota__request_refuse(rota_http_request *r, int status, const char *why)
{
    r->server->counters->refused++;
    if (r->server->options.access)
        r->began = rota_now();
    char *text = rota_http_alloc(r, 256);
    int len = text ? snprintf(text, 256, "%d %s: %s\n", status, rota_http_reason(status), why) : 0;
    if (rota_http_reply(r, status, "text/plain", text, (size_t)len) < 0)
        rota__reply_cut(r, -ECANCELED);
    count(r);
    tell(r);
}
