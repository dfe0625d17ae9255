/* The phase of a request, its time limits, and why it failed.
 *
 * A request has one scope with a deadline, and notes whether that is the limit of the whole call or
 * of the phase. So a timeout tells which limit passed, and is not confused with the caller's. */
#include "base/noexcept.h"
#include "http/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Phases */

static void tell(const struct rota__http_progress *p, int err)
{
    const rota_http_session_options *o = &p->session->options;
    rota_http_trace trace = {.phase = p->phase,
                             .since = p->times[p->phase],
                             .method = p->method.ptr,
                             .url = p->url.ptr,
                             .reused = p->reused,
                             .status = p->status,
                             .err = err};
    o->trace(o->trace_arg, &trace);
    ROTA__NOEXCEPT();
}

static rota_time clock_of(struct rota__http_progress *p)
{
    if (!p->is_now)
        p->now = rota_now();
    p->is_now = true;
    return p->now;
}

/* Whether the task waits in this phase. */
static bool is_wait(rota_http_phase phase)
{
    return phase >= ROTA_HTTP_RESOLVING && phase <= ROTA_HTTP_WAITING && phase != ROTA_HTTP_SENDING;
}

static void begin(struct rota__http_progress *p, rota_http_phase phase, int err)
{
    p->phase = phase;
    p->times[phase] = clock_of(p) - p->began;
    p->is_now = !is_wait(phase);
    if (p->session && p->session->options.trace)
        tell(p, err);
}

void rota__http_enter(struct rota__http_progress *p, rota_http_phase phase)
{
    begin(p, phase, 0);
}

void rota__http_done(struct rota__http_progress *p, int err)
{
    rota_http_phase phase = p->phase;
    begin(p, ROTA_HTTP_DONE, err);
    if (err < 0)
        p->phase = phase;
}

/* ---- Limits */

void rota__http_limit(struct rota__http_progress *p, rota_http_limit limit, rota_time time)
{
    rota_time now = clock_of(p), left = p->ends == ROTA_NEVER ? ROTA_NEVER : p->ends - now;
    p->is_total = left <= time && left != ROTA_NEVER;
    p->limit = limit;
    p->limit_time = time;
    p->is_now = false; /* the caller is going to wait */
    if (left > time)
        left = time;
    if (p->is_open) {
        rota_timeout_reset(&p->scope, left);
        return;
    }
    rota_timeout_begin_at(&p->scope, left == ROTA_NEVER ? ROTA_NEVER : now + left);
    p->is_open = true;
}

static void note_which(struct rota__http_progress *p)
{
    p->passed = p->is_total ? ROTA_HTTP_LIMIT_TOTAL : p->limit;
    p->passed_time = p->is_total ? p->total : p->limit_time;
}

int rota__http_unlimit(struct rota__http_progress *p, int err)
{
    if (!p->is_open)
        return err;
    p->is_open = false;
    p->is_late = rota_timeout_end(&p->scope) < 0;
    if (err != -ETIMEDOUT)
        return err;
    p->passed = ROTA_HTTP_LIMIT_NONE;
    p->is_callers = !p->is_late && rota_check() == -ETIMEDOUT;
    if (p->is_late)
        note_which(p);
    return err;
}

/* ---- Texts */

int rota__http_say(struct rota__http_progress *p, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->why, sizeof p->why, format, args);
    va_end(args);
    p->why_err = err;
    return err;
}

void rota__http_restart(struct rota__http_progress *p)
{
    p->why_err = 0;
}

/* The detail of a failure whose text is written at once. */
struct place {
    rota_http_phase phase;
    rota_http_limit limit;
};

static const rota_error_type place_type = {.size = sizeof(struct place)};

/* The detail of a failure whose text is written when it is read. */
struct failure {
    struct place place;
    rota_time limit_time;
    bool is_callers, is_prepared;
    /* Empty if the server is not known yet. */
    char where[256];
    char why[ROTA__HTTP_WHY];
};

static void write_cause(const struct failure *f, int err, char *ret_words, size_t size)
{
    static const char *const words[] = {
        [ROTA_HTTP_LIMIT_TOTAL] = "not complete within",
        [ROTA_HTTP_LIMIT_QUEUE_TIME] = "no connection was free for",
        [ROTA_HTTP_LIMIT_CONNECT] = "not connected within",
        [ROTA_HTTP_LIMIT_GAP] = "nothing came for",
    };
    if (err == -ETIMEDOUT && f->place.limit)
        snprintf(ret_words, size, "%s %.3g s", words[f->place.limit],
                 (double)f->limit_time / (double)ROTA_SECOND);
    else if (err == -ETIMEDOUT && f->is_callers)
        snprintf(ret_words, size, "the caller's deadline has passed");
    else
        snprintf(ret_words, size, "%s", *f->why ? f->why : rota_strerror(err));
}

static void write_failure(const void *detail, int err, char *ret_words, size_t size)
{
    static const char *const doing[ROTA__HTTP_PHASES] = {
        [ROTA_HTTP_QUEUED] = "waiting for a connection to",
        [ROTA_HTTP_RESOLVING] = "looking up the address of",
        [ROTA_HTTP_CONNECTING] = "connecting to",
        [ROTA_HTTP_ENCRYPTING] = "starting TLS with",
        [ROTA_HTTP_SENDING] = "sending to",
        [ROTA_HTTP_WAITING] = "waiting for the response from",
        [ROTA_HTTP_READING] = "reading the response from",
        [ROTA_HTTP_REDIRECTED] = "following a redirect from",
        [ROTA_HTTP_DONE] = "after the response from",
    };
    const struct failure *f = detail;
    char why[ROTA__HTTP_WHY];
    write_cause(f, err, why, sizeof why);
    if (*f->where)
        snprintf(ret_words, size, "%s %s: %s",
                 f->is_prepared ? doing[f->place.phase] : "preparing the request to", f->where,
                 why);
    else
        snprintf(ret_words, size, "%s", why);
}

static const rota_error_type failure_type = {.size = sizeof(struct failure),
                                             .words = write_failure};

static void take_down(const struct rota__http_progress *p, int err, struct failure *f)
{
    size_t len = p->where.len < sizeof f->where ? p->where.len : sizeof f->where - 1;
    f->place = (struct place){p->phase, p->passed};
    f->limit_time = p->passed_time;
    f->is_callers = p->is_callers;
    f->is_prepared = p->is_prepared;
    if (len)
        memcpy(f->where, p->where.ptr, len);
    f->where[len] = '\0';
    f->why[0] = '\0';
    if (p->why_err == err)
        memcpy(f->why, p->why, sizeof f->why);
}

void rota__http_words(const struct rota__http_progress *p, int err, char *ret_words, size_t size)
{
    struct failure f;
    take_down(p, err, &f);
    write_failure(&f, err, ret_words, size);
}

int rota__http_fail(const struct rota__http_progress *p, int err)
{
    struct failure f;
    take_down(p, err, &f);
    if (err != -ETIMEDOUT)
        f.place.limit = ROTA_HTTP_LIMIT_NONE;
    if (err == -ECANCELED || err == -ETIMEDOUT)
        return rota_error_set_deferred(err, &failure_type, &f);
    char words[ROTA__HTTP_WHY + 300];
    write_failure(&f, err, words, sizeof words);
    return rota_error_set_detail(err, &place_type, &f.place, "%s", words);
}

int rota__http_set_error(rota_http_phase phase, int err, const char *format, ...)
{
    char words[512];
    struct place place = {.phase = phase};
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return rota_error_set_detail(err, &place_type, &place, "%s", words);
}

static const struct place *place_of(int err)
{
    const struct failure *f = rota_error_detail(err, &failure_type);
    return f ? &f->place : rota_error_detail(err, &place_type);
}

rota_http_phase rota_http_failed_phase(int err)
{
    const struct place *place = place_of(err);
    return place ? place->phase : ROTA_HTTP_QUEUED;
}

rota_http_limit rota_http_failed_limit(int err)
{
    const struct place *place = place_of(err);
    return place ? place->limit : ROTA_HTTP_LIMIT_NONE;
}
