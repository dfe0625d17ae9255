/* The retry policy: sends requests again after failures that may pass.
 *
 * Requests that a server did not process are sent again with any policy or none
 * (client_fetch.c). */
#include "http/chars.h"
#include "http/client.h"
#include "http/date.h"
#include "http/params.h"

#include <time.h>

/* A response that asks for a longer pause is returned. */
#define RETRY_AFTER_MAX (60 * ROTA_MINUTE)

static bool passes_status(int status)
{
    return status == 408 || status == 429 || status == 502 || status == 503 || status == 504;
}

static bool is_broken_off(int err)
{
    return err == ROTA_ETRUNCATED || err == -ECONNRESET || err == -EPIPE;
}

/* Only the limit of a phase may be followed by another try, not that of the call or the caller. */
static bool passes_timeout(const struct rota__http_progress *p)
{
    return rota_check() == 0 && !(p->is_late && p->is_total);
}

/* Nothing was sent yet, so the method does not matter. */
static bool passes_connecting(const struct rota__http_progress *p, int err)
{
    switch (err) {
    case -ETIMEDOUT:
        return passes_timeout(p);
    case ROTA_EDNS:
    case -ECONNREFUSED:
    case -ECONNABORTED:
    case -EHOSTUNREACH:
    case -EHOSTDOWN:
    case -ENETUNREACH:
    case -ENETDOWN:
    case -EMFILE:
    case -ENFILE:
        return true;
    default:
        return is_broken_off(err);
    }
}

static bool may_pass(const struct rota__http_call *call, int err, const rota_http_response *r)
{
    const struct rota__http_progress *p = &call->progress;
    bool repeatable = rota__http_is_idempotent(call->method);
    if (err == 0)
        return repeatable && passes_status(r->status);
    switch (p->phase) {
    case ROTA_HTTP_RESOLVING:
    case ROTA_HTTP_CONNECTING:
    case ROTA_HTTP_ENCRYPTING:
        return passes_connecting(p, err);
    case ROTA_HTTP_SENDING:
    case ROTA_HTTP_WAITING:
        return repeatable && (is_broken_off(err) || (err == -ETIMEDOUT && passes_timeout(p)));
    default:
        return false;
    }
}

/* Retry-After: seconds, or a date (RFC 9110, section 10.2.3). 0: not given or invalid;
 * ROTA_NEVER: too long. */
static rota_time asked_for(const rota_http_response *r)
{
    rota_str value = rota_http_response_header(r, "retry-after"), rest = value;
    uint64_t number;
    int64_t seconds, now = time(NULL);
    if (!value.len)
        return 0;
    if (rota__take_number(&rest, &number) && !rest.len)
        seconds = number < INT32_MAX ? (int64_t)number : INT32_MAX;
    else if (rota__date_parse(value, now, &seconds) == 0)
        seconds -= now;
    else
        return 0;
    if (seconds > RETRY_AFTER_MAX / ROTA_SECOND)
        return ROTA_NEVER;
    return seconds > 0 ? seconds * ROTA_SECOND : 0;
}

/* The pause before the next try. ROTA_NEVER: there is no next try, or it would come too late. */
static rota_time pause_for(struct rota__http_call *call, const rota_http_response *r)
{
    rota_time ends = rota_deadline();
    if (ends > call->progress.ends)
        ends = call->progress.ends;
    call->backoff.at_least = r ? asked_for(r) : 0;
    if (call->backoff.at_least == ROTA_NEVER)
        return ROTA_NEVER;
    rota_time pause = rota_backoff_next(&call->backoff);
    return ends == ROTA_NEVER || pause < ends - rota_now() ? pause : ROTA_NEVER;
}

int rota__http_retry(struct rota__http_call *call, int err, rota_http_response **r)
{
    struct rota__http_progress *p = &call->progress;
    if (!call->retries)
        return err;
    err = rota__http_unlimit(p, err); /* from now on only the whole call is limited */
    if (!may_pass(call, err, *r))
        return err;
    if (call->has_body && !rota__http_source_can_rewind(rota__http_call_source(call)))
        return err;
    rota_time pause = pause_for(call, *r);
    if (pause == ROTA_NEVER)
        return err;
    /* This may end the connection, and with it the response. */
    int rewound = rota__http_upload_take_back(call);
    if (*r && rewound == 0)
        rota__http_response_read_off(*r);
    *r = rota_http_response_free(*r);
    if (rewound < 0)
        return err < 0 ? err : rewound;
    rota__http_call_reset_auth(call);
    rota__http_limit(p, ROTA_HTTP_LIMIT_QUEUE_TIME, ROTA_NEVER);
    err = rota_sleep(pause);
    return err < 0 ? err : 1;
}
