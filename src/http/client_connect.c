/* Connecting: which address, by which way, encrypted or not. In the keeper's task. */
#include "base/noexcept.h"
#include "http/client.h"
#include "http/h1_write.h"
#include "http/peek.h"

#include <rota/unix.h>

#include <stdio.h>
#include <string.h>

static void enter(struct rota__http_conn *conn, rota_http_phase phase)
{
    conn->failed_in = phase;
    if (conn->starter)
        rota__http_enter(conn->starter, phase);
}

/* `proxy`: it is about that one, and not about the host behind it. */
static int fail_at(struct rota__http_conn *conn, const struct rota__http_proxy *proxy, int err,
                   const char *why)
{
    snprintf(conn->why, sizeof conn->why, "%s%s%s%s", proxy ? "the proxy " : "",
             proxy ? proxy->where : "", proxy ? ": " : "", why && *why ? why : rota_strerror(err));
    return err;
}

static int fail(struct rota__http_conn *conn, int err, const char *why)
{
    return fail_at(conn, NULL, err, why);
}

/* ---- Addresses */

static int look_up(struct rota__http_conn *conn, const char *host, int port)
{
    struct rota__http_origin *origin = conn->origin;
    if (origin->count > 0 && rota_now() < origin->expires)
        return 0;
    const rota_http_session_options *o = &conn->session->options;
    int count =
        o->resolve ? o->resolve(o->resolve_arg, host, port, origin->addresses, ROTA__HTTP_ADDRESSES)
                   : rota_resolve(host, port, origin->addresses, ROTA__HTTP_ADDRESSES);
    if (count > ROTA__HTTP_ADDRESSES)
        count = ROTA__HTTP_ADDRESSES;
    origin->count = count > 0 ? count : 0;
    rota_time now = rota_now(), keep = o->dns_cache;
    origin->expires = keep == ROTA_NEVER ? ROTA_NEVER : now + keep;
    return count < 0 ? count : 0;
}

/* Leaves those that may be connected to. */
static int allowed(struct rota__http_conn *conn, const char *host, rota_address *ret_addresses)
{
    const rota_http_session_options *o = &conn->session->options;
    struct rota__http_origin *origin = conn->origin;
    int count = 0;
    for (int i = 0; i < origin->count; i++) {
        bool allow = !o->allow || o->allow(o->allow_arg, host, &origin->addresses[i]);
        ROTA__NOEXCEPT();
        if (allow)
            ret_addresses[count++] = origin->addresses[i];
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
    int count = allowed(conn, host, addresses);
    if (count == 0)
        return fail_at(conn, proxy, -EACCES, "none of its addresses is allowed");
    enter(conn, ROTA_HTTP_CONNECTING);
    err = rota_tcp_connect_any(addresses, (size_t)count, NULL, &conn->stream);
    if (err < 0) {
        conn->origin->expires = 0; /* it may have moved */
        return fail_at(conn, proxy, err, NULL);
    }
    return 0;
}

/* ---- TLS */

/* Who the user trusts, with whom he does not say otherwise. The fingerprint is not meant for the proxy. */
static int own_context(const rota_http_session *session, bool is_proxy, rota_tls_context **context)
{
    rota_tls_options options = {.insecure_accept_any_certificate = session->pins && !is_proxy,
                                .handshake_timeout = ROTA_NEVER}; /* `connect` limits it */
    return *context ? 0 : rota_tls_context_new(&options, context);
}

/* A proxy is spoken to by HTTP/1.1. */
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
        return fail_at(conn, proxy, err, rota_tls_error());
    err = rota_tls_start_client(conn->stream, context, host, rota_http_alpn + only_h1);
    if (err < 0)
        return fail_at(conn, proxy, err, rota_stream_error(conn->stream));
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

static int ask_proxy(struct rota__http_conn *conn)
{
    const struct rota__http_origin *o = conn->origin;
    struct rota__out out = {0};
    struct rota__h1_writer w;
    int err =
        rota__h1_write_request(&w, &out, (rota_str){"CONNECT", 7}, o->authority, o->authority);
    if (err == 0 && o->proxy->authorization)
        err = rota__h1_write_field(
            &w, (rota_str){"Proxy-Authorization", 19},
            (rota_str){o->proxy->authorization, strlen(o->proxy->authorization)});
    if (err == 0)
        err = rota__h1_write_body(&w, ROTA__H1_NO_BODY, 0);
    if (err == 0)
        err = rota_stream_write(conn->stream, out.ptr, out.len);
    rota__out_fini(&out);
    return err;
}

/* What follows an interim head is the next one. */
static int read_verdict(struct rota__http_conn *conn, int *ret_status)
{
    struct rota__h1 h1;
    struct rota__h1_item item;
    struct rota__h1_limits limits = rota__http_head_limits(conn->session);
    rota__h1_init(&h1, false, &limits, conn->session->head);
    h1.answers_connect = true;
    for (size_t have = 0;;) {
        rota_str bytes;
        size_t used;
        int err = rota__peek_more(conn->stream, have, &bytes);
        if (err < 0)
            return err == ROTA_EOF ? ROTA_ETRUNCATED : err;
        int event = rota__h1_next(&h1, bytes, &used, &item);
        if (event < 0)
            return ROTA_EPROTOCOL;
        rota_stream_skip(conn->stream, used);
        have = bytes.len - used;
        if (event != ROTA__H1_HEAD || item.head.status < 200)
            continue;
        *ret_status = item.head.status;
        return have && item.head.body == ROTA__H1_TUNNEL ? ROTA_EPROTOCOL : 0;
    }
}

static int tunnel(struct rota__http_conn *conn)
{
    char why[64];
    int status = 0;
    int err = ask_proxy(conn);
    if (err == 0)
        err = read_verdict(conn, &status);
    if (err < 0)
        return fail(conn, err, err == ROTA_EPROTOCOL ? "the proxy's answer makes no sense" : NULL);
    if (status / 100 == 2)
        return 0;
    snprintf(why, sizeof why, "the proxy refused: %d %s", status, rota_http_reason(status));
    return fail(conn, -ECONNREFUSED, why);
}

/* ---- All of it */

static int connect_somewhere(struct rota__http_conn *conn)
{
    const rota_http_session_options *options = &conn->session->options;
    const struct rota__http_origin *o = conn->origin;
    const char *host = o->proxy ? o->proxy->host : o->name;
    int port = o->proxy ? o->proxy->port : o->port;
    if (!options->unix_path && !options->connect_to)
        return connect_tcp(conn, host, port);
    enter(conn, ROTA_HTTP_CONNECTING);
    int err = options->connect_to
                  ? options->connect_to(options->connect_arg, host, port, &conn->stream)
                  : rota_unix_connect(options->unix_path, &conn->stream);
    return err < 0 ? fail(conn, err, NULL) : 0;
}

/* A proxy that is not gone through but asked is spoken to by HTTP/1.1. */
bool rota__http_may_be_h2(const rota_http_session *session, const struct rota__http_origin *o)
{
    rota_http_version version = session->options.version;
    if (o->only_h1 || version == ROTA_HTTP_1_1)
        return false;
    return o->secure || (version == ROTA_HTTP_2_DIRECTLY && !o->proxy);
}

static bool speaks_h2(const struct rota__http_conn *conn)
{
    const struct rota__http_origin *o = conn->origin;
    bool directly = conn->session->options.version == ROTA_HTTP_2_DIRECTLY;
    return (directly && rota__http_may_be_h2(conn->session, o)) ||
           (o->secure && rota_str_equal(rota_tls_alpn(conn->stream), "h2"));
}

int rota__http_connect(struct rota__http_conn *conn)
{
    const struct rota__http_origin *o = conn->origin;
    int err = connect_somewhere(conn);
    if (err == 0 && o->proxy && o->proxy->secure)
        err = start_tls(conn, o->proxy->host, true);
    if (err == 0 && o->proxy && o->secure)
        err = tunnel(conn);
    if (err == 0 && o->secure)
        err = start_tls(conn, o->name, false);
    if (err == 0 && o->secure)
        err = check_pin(conn);
    if (err == 0)
        conn->kind = speaks_h2(conn) ? &rota__http_h2 : &rota__http_h1;
    return err;
}
