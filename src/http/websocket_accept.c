/* The handshake of a WebSocket, the server's part (RFC 6455, section 4.2). */
#include "http/chars.h"
#include "http/fields.h"
#include "http/plain.h"
#include "http/reply.h"
#include "http/url.h"
#include "http/websocket.h"
#include "http/ws_key.h"

#include <rota/http_server.h>

#include <errno.h>

/* Refuses a handshake. */
static int refuse(rota_http_request *r, int status)
{
    int err = rota_http_reply_status(r, status);
    return err < 0 ? err
                   : rota_error_set(-EPROTO, "accept WebSocket: refused the handshake with %d %s",
                                    status, rota_http_reason(status));
}

/* Tells what would be accepted (RFC 6455, section 4.4; RFC 9110, section 15.5.22). HTTP/2 has no
 * such field (RFC 9113, section 8.2.2). */
static int ask_for_upgrade(rota_http_request *r)
{
    rota_http_add_header(r, "Sec-WebSocket-Version", "13");
    if (!rota_str_equal(rota_http_request_version(r), "HTTP/2"))
        rota__reply_add_header(r, "Upgrade", "websocket");
    return refuse(r, 426);
}

static const char *chosen_protocol(rota_http_request *r, const char *const *ours)
{
    size_t count;
    const rota_http_field *fields = rota_http_request_fields(r, &count);
    rota_str name = rota__str_of("sec-websocket-protocol"), one;
    for (; ours && *ours; ours++) {
        struct rota__fields_list theirs = {0};
        while (rota__fields_list_next(fields, count, name, &theirs, &one)) {
            if (rota_str_equal(one, *ours))
                return *ours;
        }
    }
    return NULL;
}

/* Whether the origin, "https://example.org:8443", is that of the request. */
static bool is_own(rota_http_request *r, rota_str origin)
{
    const char *mark = memmem(origin.ptr, origin.len, "://", 3);
    if (!mark)
        return false;
    rota_str host = {mark + 3, origin.len - (size_t)(mark + 3 - origin.ptr)};
    int port = mark - origin.ptr == 5 ? 443 : 80;
    return rota__url_same_authority(host, rota_http_request_authority(r), port);
}

/* A page of another site must not use the cookies of its visitors here (section 10.2). Only
 * browsers send an Origin. */
static bool is_welcome(rota_http_request *r, const char *const *origins)
{
    rota_str origin = rota_http_request_header(r, "origin");
    if (!origin.ptr)
        return true;
    if (!origins)
        return is_own(r, origin);
    for (; *origins; origins++) {
        if (strcmp(*origins, "*") == 0 || rota_str_equal(origin, *origins))
            return true;
    }
    return false;
}

/* Adds the fields of the response. `text` is memory for their values. */
static int answer(rota_http_request *r, const char *accept, const char *protocol,
                  const struct rota__ws_deflate_terms *terms, struct rota__out *text)
{
    rota_http_add_header(r, "Sec-WebSocket-Accept", accept);
    if (protocol)
        rota_http_add_header(r, "Sec-WebSocket-Protocol", protocol);
    if (!terms)
        return 0;
    rota__ws_deflate_write_answer(text, terms);
    rota__out_add(text, "", 1);
    if (text->err == 0)
        rota_http_add_header(r, "Sec-WebSocket-Extensions", text->ptr);
    return rota__http_plain(text->err);
}

static int accept_with(rota_http_request *r, const rota_websocket_options *options,
                       const char *accept, rota_websocket **ret_ws)
{
    static const struct rota__ws_deflate_terms ready;
    struct rota__ws_deflate_terms terms;
    const char *protocol = chosen_protocol(r, options->protocols);
    rota_str offers = rota_http_request_header(r, "sec-websocket-extensions");
    bool deflates = !options->no_compression && offers.ptr &&
                    rota__ws_deflate_accept(offers, &ready, &terms) > 0;
    struct rota__budget *budget = &r->server->budget;
    deflates = deflates && budget->limit - budget->used >= ROTA__WEBSOCKET_DEFLATE;
    struct rota__websocket_setup setup = {.is_server = true,
                                          .deflate = deflates ? &terms : NULL,
                                          .protocol = {protocol, protocol ? strlen(protocol) : 0}};
    struct rota__out text = {0};
    setup.stream = rota_http_request_stream(r);
    rota_websocket *ws;
    int err = rota__websocket_new(&setup, options, &ws);
    if (err < 0)
        return err;
    ws->budget = budget;
    rota__websocket_account(ws); /* it fits: checked above */
    err = answer(r, accept, protocol, setup.deflate, &text);
    rota__out_fini(&text);
    if (err == 0)
        err = rota_http_upgrade(r, "websocket", &setup.stream);
    if (err < 0)
        rota__websocket_drop(ws);
    else
        *ret_ws = ws;
    return err == -EPROTO ? ask_for_upgrade(r) : err;
}

int rota_websocket_accept(rota_http_request *r, const rota_websocket_options *options,
                          rota_websocket **ret_ws)
{
    static const rota_websocket_options defaults;
    char accept[ROTA__WS_ACCEPT_LEN + 1] = "";
    if (!options)
        options = &defaults;
    if (!rota_str_equal(rota_http_request_method(r), "GET"))
        return refuse(r, 405);
    rota_str version = rota_http_request_header(r, "sec-websocket-version");
    if (!version.ptr || !rota_str_equal(version, "13") ||
        rota_str_equal(rota_http_request_version(r), "HTTP/2"))
        return ask_for_upgrade(r);
    int err = rota__ws_key_accept(rota_http_request_header(r, "sec-websocket-key"), accept);
    if (err < 0)
        return err == -EINVAL ? refuse(r, 400) : rota__http_plain(err);
    if (!is_welcome(r, options->origins))
        return refuse(r, 403);
    return accept_with(r, options, accept, ret_ws);
}
