/* Connecting: addresses, proxies and TLS. Runs in the keeper's task. */
#include "base/noexcept.h"
#include "http/client.h"
#include "http/h1_write.h"
#include "http/peek.h"
#include "http/socks5.h"

#include <rota/unix.h>

#include <stdio.h>
#include <string.h>

static void enter(struct rota__http_conn *conn, rota_http_phase phase)
{
    conn->failed_in = phase;
    if (conn->starter)
        rota__http_enter(conn->starter, phase);
}

/* `proxy`: the failure is the proxy's, not the host's behind it. */
static int fail_at(struct rota__http_conn *conn, const struct rota__http_proxy *proxy, int err,
                   const char *why)
{
    if (err == -ECANCELED) /* no call waits for the reason */
        return err;
    int n = snprintf(conn->why, sizeof conn->why, "%s%s%s%s", proxy ? "the proxy " : "",
                     proxy ? proxy->where : "", proxy ? ": " : "",
                     why && *why ? why : rota_strerror(err));
    if (n >= (int)sizeof conn->why)
        memcpy(conn->why + sizeof conn->why - 4, "...", 4);
    return err;
}

static int fail(struct rota__http_conn *conn, int err, const char *why)
{
    return fail_at(conn, NULL, err, why);
}

/* ---- Addresses */

static int resolve(struct rota__http_conn *conn, const char *host, int port,
                   rota_address ret_addresses[ROTA__HTTP_ADDRESSES])
{
    const rota_http_session_options *o = &conn->session->options;
    int count = o->resolve
                    ? o->resolve(o->resolve_arg, host, port, ret_addresses, ROTA__HTTP_ADDRESSES)
                    : rota_resolve(host, port, ret_addresses, ROTA__HTTP_ADDRESSES);
    ROTA__NOEXCEPT();
    return count < ROTA__HTTP_ADDRESSES ? count : ROTA__HTTP_ADDRESSES;
}

static int look_up(struct rota__http_conn *conn, const char *host, int port)
{
    struct rota__http_origin *origin = conn->origin;
    if (origin->count > 0 && rota_now() < origin->expires)
        return 0;
    int count = resolve(conn, host, port, origin->addresses);
    origin->count = count > 0 ? count : 0;
    rota_time now = rota_now(), keep = conn->session->options.dns_cache;
    origin->expires = keep == ROTA_NEVER ? ROTA_NEVER : now + keep;
    return count < 0 ? count : 0;
}

/* Copies the addresses that the session may connect to. */
static int allowed(struct rota__http_conn *conn, const char *host, const rota_address *found,
                   int found_count, rota_address *ret_addresses)
{
    const rota_http_session_options *o = &conn->session->options;
    int count = 0;
    for (int i = 0; i < found_count; i++) {
        bool allow = !o->allow || o->allow(o->allow_arg, host, &found[i]);
        ROTA__NOEXCEPT();
        if (allow)
            ret_addresses[count++] = found[i];
    }
    return count;
}

static int connect_tcp(struct rota__http_conn *conn, const char *host, int port)
{
    const struct rota__http_proxy *proxy = conn->origin->proxy;
    rota_address addresses[ROTA__HTTP_ADDRESSES];
    enter(conn, ROTA_HTTP_RESOLVING);
    int err;
    ROTA_LOCK (&conn->origin->lookup, &err) {
        err = look_up(conn, host, port);
    }
    if (err < 0)
        return fail_at(conn, proxy, err, NULL);
    int count = allowed(conn, host, conn->origin->addresses, conn->origin->count, addresses);
    if (count == 0)
        return fail_at(conn, proxy, -EACCES, "none of its addresses is allowed");
    enter(conn, ROTA_HTTP_CONNECTING);
    err = rota_tcp_connect_any(addresses, (size_t)count, NULL, &conn->stream);
    if (err < 0) {
        conn->origin->expires = 0; /* the host may have moved */
        return fail_at(conn, proxy, err, NULL);
    }
    return 0;
}

/* ---- TLS */

/* Makes the default context. The fingerprint is not for the proxy. */
static int own_context(const rota_http_session *session, bool is_proxy, rota_tls_context **context)
{
    rota_tls_options options = {.insecure_accept_any_certificate = session->pins && !is_proxy,
                                .handshake_timeout = ROTA_NEVER}; /* `connect` limits it */
    return *context ? 0 : rota_tls_context_new(&options, context);
}

/* Of a failure, without "start TLS with" and the peer: the caller names both. */
static const char *cause(rota_stream *s)
{
    const char *text = rota_stream_error(s), *peer = rota_stream_peer(s);
    const char *found = strstr(text, peer);
    size_t len = strlen(peer);
    return found && strncmp(found + len, ": ", 2) == 0 ? found + len + 2 : text;
}

/* Proxies use HTTP/1.1. */
static int start_tls(struct rota__http_conn *conn, const char *host, bool is_proxy)
{
    rota_http_session *session = conn->session;
    rota_tls_context *context = session->options.tls;
    const struct rota__http_proxy *proxy = is_proxy ? conn->origin->proxy : NULL;
    bool only_h1 = is_proxy || conn->origin->only_h1 || session->options.version == ROTA_HTTP_1_1;
    int err = 0;
    enter(conn, ROTA_HTTP_ENCRYPTING);
    if (!context) {
        rota_tls_context **own = is_proxy ? &session->proxy_tls : &session->own_tls;
        err = own_context(session, is_proxy, own);
        context = *own;
    }
    if (err < 0)
        return fail_at(conn, proxy, err, rota_error(err));
    err = rota_tls_start_client(conn->stream, context, host, rota_http_alpn + only_h1);
    if (err < 0)
        return fail_at(conn, proxy, err, cause(conn->stream));
    if (only_h1 && rota_str_equal(rota_tls_alpn(conn->stream), "h2"))
        return fail_at(conn, proxy, ROTA_EPROTOCOL, "HTTP/2 was chosen, which was not offered");
    return 0;
}

static int check_pin(struct rota__http_conn *conn)
{
    unsigned char sha256[32];
    if (!conn->session->pins)
        return 0;
    int err = rota_tls_peer_fingerprint(conn->stream, sha256);
    if (err < 0)
        return fail(conn, err, NULL);
    if (memcmp(sha256, conn->session->pin, sizeof sha256) != 0)
        return fail(conn, ROTA_ECERT, "the certificate has another fingerprint");
    return 0;
}

/* ---- Through a proxy (RFC 9110, section 9.3.6) */

static struct rota__http_auth_request auth_request_of(const struct rota__http_conn *conn)
{
    return (struct rota__http_auth_request){
        .method = {"CONNECT", 7}, .uri = conn->origin->authority, .has_bytes = true};
}

static int write_proxy_authorization(const struct rota__http_conn *conn,
                                     struct rota__http_auth *auth, struct rota__h1_writer *w)
{
    const struct rota__http_proxy *proxy = conn->origin->proxy;
    struct rota__http_auth_request request = auth_request_of(conn);
    struct rota__arena arena = {.blocks = NULL};
    rota_str value = {NULL, 0};
    int err = 0;
    if (proxy->credentials)
        err =
            rota__http_auth_write(&arena, proxy->credentials, &request, proxy->auth, auth, &value);
    if (err == 0 && value.len)
        err = rota__h1_write_field(w, (rota_str){"Proxy-Authorization", 19}, value);
    rota__arena_fini(&arena, NULL);
    return err;
}

static int ask_proxy(struct rota__http_conn *conn, struct rota__http_auth *auth)
{
    const struct rota__http_origin *o = conn->origin;
    struct rota__out out = {0};
    struct rota__h1_writer w;
    int err =
        rota__h1_write_request(&w, &out, (rota_str){"CONNECT", 7}, o->authority, o->authority);
    if (err == 0)
        err = write_proxy_authorization(conn, auth, &w);
    if (err == 0)
        err = rota__h1_write_body(&w, ROTA__H1_NO_BODY, 0);
    if (err == 0)
        err = rota_stream_write(conn->stream, out.ptr, out.len);
    rota__out_fini(&out);
    return err;
}

/* The proxy's response to CONNECT. */
struct connect_response {
    int status;
    char reason[100];
    /* It has a challenge that can be answered. */
    bool is_answerable;
    /* Why not. */
    char why[ROTA__HTTP_WHY];
};

static int take_connect_response(struct rota__http_conn *conn, const struct rota__h1_head *head,
                                 struct connect_response *response, struct rota__http_auth *auth)
{
    const struct rota__http_proxy *proxy = conn->origin->proxy;
    struct rota__http_auth_request request = auth_request_of(conn);
    struct rota__http_challenge_fields fields = {ROTA__HTTP_PROXY, head->fields, head->count};
    response->status = head->status;
    snprintf(response->reason, sizeof response->reason, "%.*s", (int)head->reason.len,
             head->reason.ptr);
    if (head->status != 407)
        return 0;
    int more = rota__http_auth_challenge(proxy->credentials, &request, &fields, proxy->auth, auth,
                                         response->why);
    response->is_answerable = more > 0;
    return more < 0 ? more : 0;
}

/* Reads heads until the final one. The next head may arrive in one segment with an interim one. */
static int read_connect_response(struct rota__http_conn *conn, struct connect_response *response,
                                 struct rota__http_auth *auth)
{
    struct rota__h1 h1;
    struct rota__h1_item item;
    rota_str bytes = {NULL, 0};
    struct rota__h1_limits limits = rota__http_head_limits(conn->session);
    rota__h1_init(&h1, false, &limits, conn->session->head);
    h1.answers_connect = true;
    for (int interims = ROTA__HTTP_INTERIMS;;) {
        size_t used = 0;
        int event = bytes.len ? rota__h1_next(&h1, bytes, &used, &item) : ROTA__H1_MORE;
        bool is_head = event == ROTA__H1_HEAD;
        if (event < 0 || (is_head && (item.head.status == 101 || interims-- == 0)))
            return ROTA_EPROTOCOL;
        int err = is_head ? take_connect_response(conn, &item.head, response, auth) : 0;
        if (err < 0)
            return err;
        rota_stream_skip(conn->stream, used);
        if (used) /* otherwise there may be no bytes at all */
            bytes = (rota_str){bytes.ptr + used, bytes.len - used};
        if (is_head && item.head.status >= 200)
            return bytes.len && item.head.body == ROTA__H1_TUNNEL ? ROTA_EPROTOCOL : 0;
        err = event == ROTA__H1_MORE ? rota__peek_more(conn->stream, bytes.len, &bytes) : 0;
        if (err < 0)
            return err == ROTA_EOF ? ROTA_ETRUNCATED : err;
    }
}

/* Returns 0, 1 (ask again, over a new connection: the rest of this response is discarded),
 * or an error. */
static int tunnel(struct rota__http_conn *conn, struct rota__http_auth *auth)
{
    struct connect_response v = {.status = 0};
    char why[sizeof v.reason + sizeof v.why + 40];
    int err = ask_proxy(conn, auth);
    if (err == 0)
        err = read_connect_response(conn, &v, auth);
    if (err < 0)
        return fail(conn, err, err == ROTA_EPROTOCOL ? "the proxy's reply is invalid" : NULL);
    if (v.status / 100 == 2 || v.is_answerable)
        return v.is_answerable;
    snprintf(why, sizeof why, "the proxy refused: %d %s%s%s", v.status,
             *v.reason ? v.reason : rota_http_reason(v.status), *v.why ? ": " : "", v.why);
    return fail(conn, -ECONNREFUSED, why);
}

/* Connects to the host or the proxy: by TCP, a Unix socket or the session's hook. */
static int connect_by_session(struct rota__http_conn *conn, const char *host, int port)
{
    const rota_http_session_options *o = &conn->session->options;
    if (!o->unix_path && !o->connect_to)
        return connect_tcp(conn, host, port);
    enter(conn, ROTA_HTTP_CONNECTING);
    int err = o->connect_to ? o->connect_to(o->connect_arg, host, port, &conn->stream)
                            : rota_unix_connect(o->unix_path, &conn->stream);
    ROTA__NOEXCEPT();
    return err < 0 ? fail(conn, err, NULL) : 0;
}

/* ---- Through a SOCKS5 proxy */

static int socks_to(struct rota__http_conn *conn, const rota_host *target)
{
    const struct rota__http_origin *o = conn->origin;
    const char *why = NULL;
    struct rota__socks5 what = {.host = target, .port = o->port};
    if (o->proxy->credentials) {
        what.user = o->proxy->credentials->user;
        what.password = o->proxy->credentials->password;
    }
    int err = connect_by_session(conn, o->proxy->host, o->proxy->port);
    if (err < 0)
        return err;
    err = rota__socks5_connect(conn->stream, &what, &why);
    return err < 0 ? fail_at(conn, o->proxy, err, why) : 0;
}

static rota_host host_of(const rota_address *address)
{
    rota_host host = {.kind = ROTA_HOST_IPV4};
    if (address->any.sa_family == AF_INET) {
        memcpy(host.address, &address->v4.sin_addr, 4);
    } else {
        host.kind = ROTA_HOST_IPV6;
        memcpy(host.address, &address->v6.sin6_addr, 16);
    }
    return host;
}

static bool may_reach_another(int err)
{
    return err == -ECONNREFUSED || err == -ENETUNREACH || err == -EHOSTUNREACH ||
           err == -EAFNOSUPPORT;
}

/* Tries each address over a connection of its own, because a proxy that refuses one closes the
 * connection. */
static int socks_to_any(struct rota__http_conn *conn)
{
    const struct rota__http_origin *o = conn->origin;
    rota_address found[ROTA__HTTP_ADDRESSES], addresses[ROTA__HTTP_ADDRESSES];
    enter(conn, ROTA_HTTP_RESOLVING);
    int count = resolve(conn, o->name, o->port, found);
    if (count < 0)
        return fail(conn, count, NULL);
    count = allowed(conn, o->name, found, count, addresses);
    int err = count ? 0 : fail(conn, -EACCES, "none of its addresses is allowed");
    for (int i = 0; i < count; i++) {
        rota_host target = host_of(&addresses[i]);
        conn->stream = rota_stream_free(conn->stream);
        err = socks_to(conn, &target);
        if (!conn->stream || !may_reach_another(err))
            break;
    }
    return err;
}

/* ---- All of it */

static int connect_to_proxy(struct rota__http_conn *conn)
{
    const struct rota__http_origin *o = conn->origin;
    enter(conn, ROTA_HTTP_CONNECTING);
    if (o->proxy->wrong)
        return fail(conn, -EINVAL, o->proxy->wrong);
    if (!rota__http_is_socks(o->proxy))
        return connect_by_session(conn, o->proxy->host, o->proxy->port);
    bool is_looked_up_here = o->proxy->kind == ROTA__PROXY_SOCKS5 && o->host.kind == ROTA_HOST_NAME;
    return is_looked_up_here ? socks_to_any(conn) : socks_to(conn, &o->host);
}

static int connect_somewhere(struct rota__http_conn *conn)
{
    const struct rota__http_origin *o = conn->origin;
    return o->proxy ? connect_to_proxy(conn) : connect_by_session(conn, o->name, o->port);
}

bool rota__http_may_be_h2(const rota_http_session *session, const struct rota__http_origin *o)
{
    rota_http_version version = session->options.version;
    if (o->only_h1 || version == ROTA_HTTP_1_1)
        return false;
    return o->secure || (version == ROTA_HTTP_2_DIRECTLY && !rota__http_asks_proxy(o));
}

static bool speaks_h2(const struct rota__http_conn *conn)
{
    const struct rota__http_origin *o = conn->origin;
    bool directly = conn->session->options.version == ROTA_HTTP_2_DIRECTLY;
    return (directly && rota__http_may_be_h2(conn->session, o)) ||
           (o->secure && rota_str_equal(rota_tls_alpn(conn->stream), "h2"));
}

/* Returns 0, 1 (try again), or an error. */
static int open_way(struct rota__http_conn *conn, struct rota__http_auth *auth)
{
    const struct rota__http_origin *o = conn->origin;
    int err = connect_somewhere(conn);
    if (err == 0 && o->proxy && o->proxy->kind == ROTA__PROXY_HTTPS)
        err = start_tls(conn, o->proxy->host, true);
    if (err == 0 && o->proxy && !rota__http_is_socks(o->proxy) && !rota__http_asks_proxy(o))
        err = tunnel(conn, auth);
    return err;
}

static bool lacks_descriptors(int err)
{
    return err == -EMFILE || err == -ENFILE;
}

/* Closes idle connections while there is no free descriptor: another request may take the one that
 * the first has freed. Returns as `open_way` does. */
static int open_way_or_close_idle(struct rota__http_conn *conn, struct rota__http_auth *auth)
{
    int err;
    while (lacks_descriptors(err = open_way(conn, auth))) {
        int closed = rota__http_pool_close_idle(conn->session);
        if (closed <= 0)
            return closed < 0 ? closed : err;
        conn->stream = rota_stream_free(conn->stream);
        conn->why[0] = '\0';
    }
    return err;
}

int rota__http_connect(struct rota__http_conn *conn)
{
    const struct rota__http_origin *o = conn->origin;
    struct rota__http_auth auth = {.state = NULL};
    int err;
    while ((err = open_way_or_close_idle(conn, &auth)) > 0)
        conn->stream = rota_stream_free(conn->stream);
    rota__http_auth_reset(&auth);
    if (err == 0 && o->secure)
        err = start_tls(conn, o->name, false);
    if (err == 0 && o->secure)
        err = check_pin(conn);
    if (err == 0)
        conn->kind = speaks_h2(conn) ? &rota__http_h2 : &rota__http_h1;
    return err;
}
