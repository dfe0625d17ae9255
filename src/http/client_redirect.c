/* Redirects (RFC 9110, section 15.4). */
#include "http/chars.h"
#include "http/client.h"

#include <string.h>

/* A body up to this size is read to its end, so that its connection can be used again. */
#define WORTH_READING 16384

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static bool becomes_get(int status, rota_str method)
{
    if (status == 303)
        return !rota_str_equal(method, "HEAD");
    return (status == 301 || status == 302) && rota_str_equal(method, "POST");
}

static int remember(struct rota__http_call *call, int status)
{
    struct rota__http_redirect *redirect = rota__arena_alloc(&call->arena, sizeof *redirect);
    if (!redirect)
        return -ENOMEM;
    *redirect = (struct rota__http_redirect){.url = call->text, .status = status};
    if (call->last_redirect)
        call->last_redirect->next = redirect;
    else
        call->history = redirect;
    call->last_redirect = redirect;
    return 0;
}

void rota__http_response_read_off(rota_http_response *r)
{
    char ignored[2048];
    if (r->upload && !r->upload->is_whole)
        return;
    if (r->has_length && r->length > WORTH_READING)
        return;
    for (size_t read = 0; read < WORTH_READING && !r->raw_ended;) {
        ssize_t n = rota__http_read_raw(r, ignored, sizeof ignored);
        if (n <= 0)
            return;
        read += (size_t)n;
    }
}

static int change_method(struct rota__http_call *call, int status)
{
    if (!becomes_get(status, call->method))
        return rota__http_upload_take_back(call);
    rota__http_upload_recall(call);
    call->method = call->progress.method = (rota_str){"GET", 3};
    call->has_body = false;
    return 0;
}

int rota__http_follow(struct rota__http_call *call, rota_http_response *r)
{
    struct rota__http_progress *p = &call->progress;
    rota_str location = rota_http_response_header(r, "Location");
    if (!is_redirect(r->status) || !location.len || call->redirects < 0)
        return 0;
    int most = call->redirects, count = 0;
    for (struct rota__http_redirect *redirect = call->history; redirect; redirect = redirect->next)
        count++;
    rota__http_enter(p, ROTA_HTTP_REDIRECTED);
    if (count >= most)
        return rota__http_say(p, ROTA_EREDIRECTS, "more than %d redirects", most);
    int err = remember(call, r->status);
    if (err == 0)
        err = change_method(call, r->status);
    if (err == -ESPIPE)
        rota__http_say(p, err, "the body is a stream, which cannot be sent twice");
    if (err < 0)
        return err;
    const struct rota__http_origin *before = call->origin;
    err = rota__http_call_move(call, location);
    if (err == -EINVAL)
        return p->why_err = ROTA_EPROTOCOL; /* with the same text */
    if (err < 0)
        return err;
    call->moved |= call->origin != before;
    rota__http_call_reset_auth(call);
    if (call->session->options.only_https_redirects && !call->secure)
        return rota__http_say(p, ROTA_EREDIRECTS, "redirected to %.*s, which is not encrypted",
                              (int)(call->text.len < 120 ? call->text.len : 120), call->text.ptr);
    rota__http_response_read_off(r);
    return 1;
}
