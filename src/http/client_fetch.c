/* A call: sends requests, each over a connection of the pool, until a response is to be returned.
 *
 *     queued -> [ resolving, connecting, encrypting ] -> sending -> waiting -> reading -> done
 *                  ^                                                             |
 *                  +------------------------- redirected ------------------------+
 *
 * 1. One deadline limits the whole call.
 * 2. Without a retry policy a request is sent again only in these cases: once, if a reused
 *    connection broke before the first byte of the response, and the method is idempotent (RFC
 *    9110, section 9.2.2); up to REFUSALS times, if the server declares it unprocessed (RFC 9113,
 *    section 8.7); once, with HTTP/1.1, if the server requires that. */
#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define REFUSALS 10
/* After the second refusal, on average. */
#define PAUSE (50 * ROTA_MILLISECOND)

/* Whether the server may have closed an idle connection when the request was sent. */
static bool may_be_stale(int err)
{
    return err == ROTA_ETRUNCATED || err == -ECONNRESET || err == -EPIPE;
}

static int attempt(struct rota__http_call *call, bool fresh, bool *ret_reused,
                   rota_http_response **ret_response)
{
    struct rota__http_conn *conn;
    if (call->session->options.trace)
        rota__http_enter(&call->progress, ROTA_HTTP_QUEUED);
    call->progress.phase = ROTA_HTTP_QUEUED;
    call->progress.is_prepared = true;
    int err = rota__http_pool_take(call, fresh, &conn);
    if (err < 0)
        return err;
    if (!conn->kind)
        err = rota__http_conn_ready(conn, call);
    *ret_reused = call->progress.reused = conn->reused;
    call->began = call->refused = call->wants_h1 = false;
    if (err < 0) {
        rota__http_pool_give_up(conn, false);
        return err;
    }
    conn->reserved--;
    err = conn->kind->exchange(conn, call, ret_response);
    if (err < 0) {
        *ret_reused = conn->reused;
        rota__http_pool_give_up(conn, true);
    }
    return err;
}

static bool may_be_repeated(const struct rota__http_call *call, int err, bool reused)
{
    return may_be_stale(err) && !call->began &&
           (call->refused || (reused && rota__http_is_idempotent(call->method)));
}

/* The first retry is immediate. Returns `err` if the deadline would come before the next one. */
static int pause(struct rota__http_call *call, rota_backoff *backoff, int refusals, int err)
{
    if (refusals < 2)
        return 0;
    rota__http_limit(&call->progress, ROTA_HTTP_LIMIT_QUEUE_TIME, ROTA_NEVER);
    return rota_backoff_wait(backoff, err);
}

static int exchange(struct rota__http_call *call, rota_http_response **ret_response)
{
    bool reused = false, fresh = false;
    rota_backoff backoff = {.first = PAUSE};
    int refusals = 0;
    call->ticket = 0;
    for (;;) {
        rota__http_restart(&call->progress);
        int err = rota__http_call_write(call); /* each time, because a Digest answer is sent once */
        if (err < 0)
            return err;
        err = attempt(call, fresh, &reused, ret_response);
        refusals += call->refused;
        bool downgrades = err < 0 && call->wants_h1 && !call->only_h1;
        if (!downgrades && (!may_be_repeated(call, err, reused) || refusals > REFUSALS ||
                            (fresh && !call->refused)))
            return err;
        if (rota__http_upload_take_back(call) < 0)
            return err;
        fresh |= !call->refused && !downgrades;
        err = downgrades ? rota__http_call_downgrade(call) : pause(call, &backoff, refusals, err);
        if (err < 0)
            return err;
    }
}

static int take_cookies(struct rota__http_call *call, const rota_http_response *r)
{
    if (call->session->options.no_cookies)
        return 0;
    const rota_http_field *field;
    for (size_t at = 0;
         (field = rota__fields_next(r->fields, r->count, rota__str_of("set-cookie"), &at));) {
        struct rota__cookie_target target = rota__http_cookie_target(call);
        int err = rota__cookie_set(&call->session->jar, &target, field->value, time(NULL));
        if (err < 0)
            return err;
    }
    return 0;
}

/* Gets the last response, before its body is read. */
static int follow_all(struct rota__http_call *call, rota_http_response **ret_response)
{
    for (;;) {
        rota_http_response *r = NULL;
        int more = exchange(call, &r);
        more = rota__http_retry(call, more, &r);
        if (more > 0)
            continue;
        if (more < 0)
            return more;
        more = take_cookies(call, r);
        if (more == 0)
            more = rota__http_authenticate(call, r);
        if (more == 0)
            more = rota__http_follow(call, r);
        if (more == 0) {
            *ret_response = r;
            return 0;
        }
        rota_http_response_free(r);
        if (more < 0)
            return more;
    }
}

/* CONNECT asks for a tunnel, not for a response (RFC 9110, section 9.3.6). */
static int check_method(struct rota__http_call *call)
{
    if (rota__chars_are(call->method, ROTA__CHAR_TOKEN) && call->method.len &&
        !rota_str_equal(call->method, "CONNECT"))
        return 0;
    return rota__http_say(&call->progress, -EINVAL, "\"%s\" is not a valid request method",
                          call->method.ptr);
}

static int take_body(struct rota__http_call *call, const rota_http_body_source *body)
{
    if (!!body->bytes.ptr + !!body->path + !!body->stream + !!body->form + !!body->parts > 1)
        return rota__http_say(&call->progress, -EINVAL, "more than one body");
    int err = rota__http_source_init(&call->source, body, &call->arena);
    call->has_body = true;
    if (err < 0 && call->source.about)
        rota__http_say(&call->progress, err, "%s: %s", call->source.about, rota_strerror(err));
    return err;
}

static int check_options(struct rota__http_call *call)
{
    const rota_http_fetch_options *o = call->options;
    const char *wrong = o->total < 0        ? "total"
                        : o->gap < 0        ? "gap"
                        : o->redirects < -1 ? "redirects"
                                            : NULL;
    return wrong ? rota__http_say(&call->progress, -EINVAL,
                                  "the option `%s` cannot have this value", wrong)
                 : 0;
}

/* Sets the URL for traces until it has been parsed. */
static int name_url(struct rota__http_call *call, rota_str url)
{
    if (!call->session->options.trace)
        return 0;
    char *text = rota__arena_alloc(&call->arena, url.len + 16);
    if (text)
        call->progress.url = rota__str_of(rota__url_redact(url, text, url.len + 16));
    return text ? 0 : -ENOMEM;
}

static int get_ready(struct rota__http_call *call, const char *url)
{
    const rota_http_fetch_options *options = call->options;
    bool empty = rota__http_source_is_empty(&options->body);
    const char *method = options->method ? options->method : empty ? "GET" : "POST";
    call->method = call->progress.method = (rota_str){method, strlen(method)};
    int err = name_url(call, rota__str_of(url));
    if (err == 0)
        err = rota__http_call_set_url(call, url);
    if (err == 0)
        err = check_method(call);
    if (err == 0)
        err = check_options(call);
    if (err == 0 && !empty)
        err = take_body(call, &options->body);
    if (err == 0 && empty &&
        (rota_str_equal(call->method, "POST") || rota_str_equal(call->method, "PUT") ||
         rota_str_equal(call->method, "PATCH"))) {
        static const rota_http_body_source nothing = {.bytes = {"", 0}};
        err = take_body(call, &nothing); /* sent with Content-Length: 0 */
    }
    return err < 0 ? err : rota__http_trailers_check(call);
}

static int run(struct rota__http_call *call, const char *url, rota_http_response **ret_response)
{
    rota_http_response *r = NULL;
    int err = get_ready(call, url);
    if (err == 0)
        err = follow_all(call, &r);
    if (err == 0)
        err = rota__http_response_finish(r, call);
    if (err == 0 && !call->options->stream)
        err = rota__http_read_whole(r, r->limit);
    err = rota__http_unlimit(&call->progress, err);
    if (err < 0) {
        rota_http_response_free(r);
        return err;
    }
    rota__http_response_detach(r);
    *ret_response = r;
    return 0;
}

static void begin(struct rota__http_progress *p, rota_http_session *session,
                  const rota_http_fetch_options *options)
{
    *p = (struct rota__http_progress){.session = session, .began = rota_now(), .is_now = true};
    p->now = p->began;
    for (int i = 0; i < ROTA__HTTP_PHASES; i++)
        p->times[i] = -1;
    p->times[ROTA_HTTP_QUEUED] = 0;
    p->total = options->total > 0 ? options->total : session->options.total;
    if (__builtin_add_overflow(p->began, p->total, &p->ends))
        p->ends = ROTA_NEVER;
}

int rota_http_fetch(rota_http_session *session, const char *url,
                    const rota_http_fetch_options *options, rota_http_response **ret_response)
{
    static const rota_http_fetch_options defaults;
    _Alignas(16) char memory[1024];
    struct rota__http_call call = {.session = session, .options = options ? options : &defaults};
    call.arena = rota__arena_on(memory, sizeof memory);
    call.redirects = call.options->redirects ? call.options->redirects : session->options.redirects;
    const rota_backoff *retry = call.options->retry ? call.options->retry : session->options.retry;
    call.retries = retry != NULL;
    call.backoff = retry ? *retry : (rota_backoff){0};
    call.gap = call.options->gap ? call.options->gap : session->options.gap;
    begin(&call.progress, session, call.options);
    session->uses++;
    int err = run(&call, url, ret_response);
    if (err < 0)
        rota__http_done(&call.progress, err);
    rota__http_upload_leave(&call);
    rota__http_source_fini(&call.source);
    if (err < 0)
        rota__http_fail(&call.progress, err);
    rota__http_call_reset_auth(&call);
    rota__arena_fini(&call.arena, NULL);
    if (call.origin)
        call.origin->uses--;
    rota__http_session_unref(session);
    return err;
}

/* ---- Without a session */

static int fetch_once(const char *url, const rota_http_fetch_options *options,
                      rota_http_response **ret_response)
{
    rota_http_session *session;
    int err = rota_http_session_new(NULL, &session);
    if (err < 0)
        return err;
    session->once = true;
    err = rota_http_fetch(session, url, options, ret_response);
    rota_http_session_free(session);
    return err;
}

int rota_http_get(const char *url, rota_http_response **ret_response)
{
    return fetch_once(url, NULL, ret_response);
}

int rota_http_post(const char *url, const char *type, rota_str body,
                   rota_http_response **ret_response)
{
    if (!body.ptr)
        body.ptr = "";
    return fetch_once(
        url, &(rota_http_fetch_options){.method = "POST", .type = type, .body = {.bytes = body}},
        ret_response);
}
