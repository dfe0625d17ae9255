/* The handshake of a WebSocket, the client's part (RFC 6455, section 4.1). */
#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"
#include "http/websocket.h"
#include "http/ws_key.h"

#include <stdio.h>
#include <string.h>

/* Most header fields: the caller's and five of ours. */
#define HEADERS_MOST 64

/* The handshake: what is sent, and what the response must match. */
struct handshake {
    const rota_websocket_options *options;
    char key[ROTA__WS_KEY_LEN + 1];
    struct rota__out url, protocols, offer;
    const char *headers[2 * HEADERS_MOST + 1];
    size_t count;
};

static int refused(const char *url, const char *why)
{
    return rota__http_set_error(ROTA_HTTP_WAITING, -EPROTO, "%s: %s", url, why);
}

static int add(struct handshake *h, const char *name, const char *value)
{
    if (h->count == HEADERS_MOST)
        return rota__http_set_error(ROTA_HTTP_QUEUED, -E2BIG, "more than %d header fields",
                                    HEADERS_MOST);
    h->headers[2 * h->count] = name;
    h->headers[2 * h->count++ + 1] = value;
    return 0;
}

static int no_value(const char *name)
{
    return rota__http_set_error(ROTA_HTTP_QUEUED, -EINVAL, "\"%s\" has no value", name);
}

/* "ws" and "wss" are "http" and "https" to a session. */
static void write_url(struct handshake *h, const char *url)
{
    const char *colon = strchr(url, ':');
    rota_str scheme = {url, colon ? (size_t)(colon - url) : 0};
    bool is_ws = rota__str_is(scheme, "ws") || rota__str_is(scheme, "wss");
    if (is_ws)
        rota__out_add_literal(&h->url, "http");
    rota__out_add(&h->url, url + 2 * is_ws, strlen(url) + 1 - (size_t)(2 * is_ws));
}

static void write_protocols(struct handshake *h)
{
    const char *const *name = h->options->protocols;
    for (; name && *name; name++) {
        if (h->protocols.len)
            rota__out_add_literal(&h->protocols, ", ");
        rota__out_add(&h->protocols, *name, strlen(*name));
    }
    if (h->protocols.len)
        rota__out_add(&h->protocols, "", 1);
}

static int prepare(struct handshake *h, const char *url)
{
    static const struct rota__ws_deflate_terms ready;
    int err = rota__ws_key_new(h->key);
    if (err < 0)
        return err;
    write_url(h, url);
    write_protocols(h);
    rota__ws_deflate_write_offer(&h->offer, &ready);
    rota__out_add(&h->offer, "", 1);
    if (h->url.err < 0 || h->protocols.err < 0 || h->offer.err < 0)
        return -ENOMEM;
    const char *const *more = h->options->headers;
    for (; more && more[0] && err == 0; more += 2) {
        if (!more[1])
            return no_value(more[0]);
        err = add(h, more[0], more[1]);
    }
    if (err == 0)
        err = add(h, "Sec-WebSocket-Version", "13");
    if (err == 0)
        err = add(h, "Sec-WebSocket-Key", h->key);
    if (err == 0 && h->protocols.len)
        err = add(h, "Sec-WebSocket-Protocol", h->protocols.ptr);
    if (err == 0 && !h->options->no_compression)
        err = add(h, "Sec-WebSocket-Extensions", h->offer.ptr);
    return err;
}

/* The server must choose from what was offered. */
static bool is_offered(const struct handshake *h, rota_str protocol)
{
    const char *const *name = h->options->protocols;
    for (; name && *name; name++) {
        if (rota_str_equal(protocol, *name))
            return true;
    }
    return !protocol.ptr;
}

/* Gets the value of a field that may occur at most once in a response (section 11.3). Its `ptr` is
 * NULL if there is none. Returns false if it occurs twice. */
static bool take_once(const rota_http_response *r, const char *name, rota_str *ret_value)
{
    size_t count, at = 0;
    const rota_http_field *fields = rota_http_response_fields(r, &count);
    const rota_http_field *first = rota__fields_next(fields, count, rota__str_of(name), &at);
    *ret_value = first ? first->value : (rota_str){NULL, 0};
    return !first || !rota__fields_next(fields, count, rota__str_of(name), &at);
}

/* Returns why the response is not a valid handshake, or NULL. `*ret_deflates`: the extension was
 * agreed on. */
static const char *check(const struct handshake *h, const rota_http_response *r,
                         struct rota__ws_deflate_terms *terms, bool *ret_deflates)
{
    static const struct rota__ws_deflate_terms ready;
    char accept[ROTA__WS_ACCEPT_LEN + 1] = "";
    rota_str upgrade = rota_http_response_header(r, "upgrade");
    rota_str accepted, protocol, extensions;
    if (!upgrade.ptr || !rota__str_is(upgrade, "websocket"))
        return "the server changed to another protocol";
    if (!take_once(r, "sec-websocket-accept", &accepted) ||
        !take_once(r, "sec-websocket-protocol", &protocol) ||
        !take_once(r, "sec-websocket-extensions", &extensions))
        return "the server repeated a field of the handshake";
    if (rota__ws_key_accept((rota_str){h->key, ROTA__WS_KEY_LEN}, accept) < 0 || !accepted.ptr ||
        !rota_str_equal(accepted, accept))
        return "the server answered to another key";
    if (!is_offered(h, protocol))
        return "the server chose a protocol that was not offered";
    *ret_deflates = extensions.ptr && extensions.len;
    if (*ret_deflates && (h->options->no_compression ||
                          rota__ws_deflate_read_answer(extensions, &ready, terms) <= 0))
        return "the server chose an extension that was not offered";
    return NULL;
}

static void free_stream(void *stream)
{
    rota_stream_free(stream);
}

static int finish(const struct handshake *h, const char *url, rota_http_response *r,
                  rota_websocket **ret_ws)
{
    struct rota__ws_deflate_terms terms = {0};
    bool deflates = false;
    if (rota_http_status(r) != 101) {
        char why[64];
        snprintf(why, sizeof why, "the server answered %d %s", rota_http_status(r),
                 rota_http_reason(rota_http_status(r)));
        return refused(url, why);
    }
    const char *why = check(h, r, &terms, &deflates);
    if (why)
        return refused(url, why);
    rota_stream *stream = rota_http_take_stream(r);
    struct rota__websocket_setup setup = {
        .stream = stream,
        .deflate = deflates ? &terms : NULL,
        .protocol = rota_http_response_header(r, "sec-websocket-protocol"),
        .release = free_stream,
        .release_arg = stream};
    int err = rota__websocket_new(&setup, h->options, ret_ws);
    if (err < 0)
        rota_stream_free(stream);
    return err;
}

static int connect_in(rota_http_session *session, struct handshake *h, const char *url,
                      rota_websocket **ret_ws)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    int err = prepare(h, url);
    rota_http_fetch_options options = {
        .headers = h->headers, .upgrade = "websocket", .redirects = -1};
    if (err == 0)
        err = rota_http_fetch(session, h->url.ptr, &options, &r);
    return err < 0 ? err : finish(h, url, r, ret_ws);
}

int rota_websocket_connect(rota_http_session *session, const char *url,
                           const rota_websocket_options *options, rota_websocket **ret_ws)
{
    static const rota_websocket_options defaults;
    ROTA_AUTO(rota_http_session) own = NULL;
    struct handshake h = {.options = options ? options : &defaults};
    int err = session ? 0 : rota_http_session_new(NULL, &own);
    if (err == 0)
        err = connect_in(session ? session : own, &h, url, ret_ws);
    rota__out_fini(&h.url);
    rota__out_fini(&h.protocols);
    rota__out_fini(&h.offer);
    return err;
}
