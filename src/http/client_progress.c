/* Where a request is, how long it may take, and why it failed.
 *
 * There is one scope with a deadline, and what it stands for is known: the whole, or the phase. So
 * a timeout can say which one it was, and that of a caller is not taken for it. */
#include "base/noexcept.h"
#include "http/client.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local struct rota__http_failure failure;

struct rota__http_failure *rota__http_failure(void)
{
    return &failure;
}

int rota__http_set_error(rota_http_phase phase, int err, const char *format, ...)
{
    char words[512];
    va_list args;
    failure.phase = phase;
    failure.limit = ROTA_HTTP_LIMIT_NONE;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return rota_error_set(err, "%s", words);
}

rota_http_phase rota_http_failed_phase(void)
{
    return failure.phase;
}

rota_http_limit rota_http_failed_limit(void)
{
    return failure.limit;
}

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

/* A phase in which something is waited for. */
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
    p->is_now = false; /* what is limited takes time */
    if (left > time)
        left = time;
    if (p->is_open) {
        rota_timeout_reset(&p->scope, left);
        return;
    }
    rota_timeout_begin_at(&p->scope, left == ROTA_NEVER ? ROTA_NEVER : now + left);
    p->is_open = true;
}

static void say_which(struct rota__http_progress *p)
{
    static const char *const words[] = {
        [ROTA_HTTP_LIMIT_TOTAL] = "not complete within",
        [ROTA_HTTP_LIMIT_QUEUE_TIME] = "no connection was free for",
        [ROTA_HTTP_LIMIT_CONNECT] = "not connected within",
        [ROTA_HTTP_LIMIT_GAP] = "nothing came for",
    };
    p->passed = p->is_total ? ROTA_HTTP_LIMIT_TOTAL : p->limit;
    rota_time time = p->is_total ? p->total : p->limit_time;
    snprintf(p->why, sizeof p->why, "%s %.3g s", words[p->passed],
             (double)time / (double)ROTA_SECOND);
}

int rota__http_unlimit(struct rota__http_progress *p, int err)
{
    if (!p->is_open)
        return err;
    p->is_open = false;
    p->is_late = rota_timeout_end(&p->scope) < 0;
    if (err == -ETIMEDOUT && p->is_late) {
        say_which(p);
    } else if (err == -ETIMEDOUT && rota_check() == -ETIMEDOUT) {
        p->passed = ROTA_HTTP_LIMIT_NONE;
        snprintf(p->why, sizeof p->why, "the caller's deadline has passed");
    }
    return err;
}

/* ---- Words */

int rota__http_say(struct rota__http_progress *p, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->why, sizeof p->why, format, args);
    va_end(args);
    return err;
}

void rota__http_words(const struct rota__http_progress *p, int err, char *ret_words, size_t size)
{
    static const char *const doing[ROTA__HTTP_PHASES] = {
        [ROTA_HTTP_QUEUED] = "waiting for a connection to",
        [ROTA_HTTP_RESOLVING] = "looking up the address of",
        [ROTA_HTTP_CONNECTING] = "connecting to",
        [ROTA_HTTP_ENCRYPTING] = "starting TLS with",
        [ROTA_HTTP_SENDING] = "sending to",
        [ROTA_HTTP_WAITING] = "waiting for the answer of",
        [ROTA_HTTP_READING] = "reading the answer of",
        [ROTA_HTTP_REDIRECTED] = "following a redirect of",
        [ROTA_HTTP_DONE] = "after the answer of",
    };
    const char *why = *p->why ? p->why : rota_strerror(err);
    if (p->where.len)
        snprintf(ret_words, size, "%s %.*s: %s", doing[p->phase], (int)p->where.len, p->where.ptr,
                 why);
    else
        snprintf(ret_words, size, "%s", why); /* it has not come so far as to know a server */
}
