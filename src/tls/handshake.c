#include "tls/tls.h"

#include <rota/host.h>

#include <openssl/x509v3.h>
#include <string.h>

/* ---- The handshake */

/* 0 when it is complete, -EAGAIN where it needs to read. */
static int step(struct rota__tls *t)
{
    ROTA__TLS_INSIDE;
    rota__tls_clear_errors();
    int ok = SSL_do_handshake(t->ssl);
    if (ok == 1)
        return 0;
    if (SSL_get_error(t->ssl, ok) == SSL_ERROR_WANT_READ)
        return -EAGAIN;
    if (!t->why[0])
        return rota__tls_failed(t);
    ERR_clear_error();
    return t->failed = ROTA_ECERT; /* as rota__tls_verified says */
}

/* A server of TLS 1.3 ends with tickets, which are sent with its first data: the client does not
 * wait for them. */
static bool can_wait(struct rota__tls *t)
{
    return SSL_is_server(t->ssl) && SSL_version(t->ssl) == TLS1_3_VERSION;
}

static int shake_hands(struct rota__tls *t)
{
    for (;;) {
        int err = step(t);
        if (err == 0 && can_wait(t))
            return 0;
        int sent = rota__tls_flush(t); /* also the alert that goes with a failure */
        if (err != -EAGAIN)
            return err < 0 ? err : sent;
        if (sent == 0)
            sent = rota__tls_fill(t);
        if (sent < 0)
            return sent;
    }
}

/* After any error the handshake cannot be continued. */
static void give_up(struct rota__tls *t, int err, bool out_of_time)
{
    if (t->failed)
        return;
    t->failed = err == -ECANCELED || err == -ETIMEDOUT ? ROTA_ETLS : err;
    if (out_of_time)
        snprintf(t->why, sizeof t->why, "TLS handshake not complete within %.3g s",
                 (double)t->context->handshake_timeout / (double)ROTA_SECOND);
    else if (err == ROTA_ETRUNCATED)
        snprintf(t->why, sizeof t->why, "peer closed the connection during the TLS handshake");
    else
        snprintf(t->why, sizeof t->why, "TLS handshake broken off: %s", rota_strerror(err));
}

/* Where a server of TLS 1.2 replaces the ticket of a session that is resumed, OpenSSL makes the
 * session that was kept useless, and does not report the new one. */
static void keep_renewed(struct rota__tls *t)
{
    if (!t->resumes || !SSL_session_reused(t->ssl) || SSL_version(t->ssl) >= TLS1_3_VERSION)
        return;
    ROTA__TLS_INSIDE;
    SSL_SESSION *kept = rota__tls_sessions_take(&t->context->sessions, t->resumes);
    SSL_SESSION *made = kept ? NULL : SSL_get1_session(t->ssl);
    SSL_SESSION_free(kept);
    if (made && !rota__tls_sessions_put(&t->context->sessions, t->resumes, made))
        SSL_SESSION_free(made);
}

int rota__tls_start(rota_filter *filter)
{
    struct rota__tls *t = rota__tls_of(filter);
    rota_timeout limit = ROTA_TIMEOUT_INIT;
    rota__tls_kernel_prepare(t);
    rota_timeout_begin(&limit, t->context->handshake_timeout);
    int err = shake_hands(t);
    bool out_of_time = rota_timeout_end(&limit) < 0 && err == -ETIMEDOUT;
    if (err < 0)
        give_up(t, err, out_of_time);
    else
        keep_renewed(t);
    return err;
}

int rota__tls_verified(int good, X509_STORE_CTX *chain)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct rota__tls *t = SSL_get_app_data(ssl);
    if (!good && !t->why[0])
        rota__tls_why_not(chain, t->why, sizeof t->why);
    return good;
}

/* ---- Clients */

/* An address is never sent as a server's name (RFC 6066, section 3), and a certificate's has no
 * zone. */
static int expect_address(struct rota__tls *t, const rota_host *host)
{
    size_t len = host->kind == ROTA_HOST_IPV4 ? 4 : 16;
    return X509_VERIFY_PARAM_set1_ip(SSL_get0_param(t->ssl), host->address, len) ? 0 : -ENOMEM;
}

/* The subject's common name is not looked at (RFC 9525, section 2). */
static int expect_name(struct rota__tls *t, const char *name)
{
    SSL_set_hostflags(t->ssl,
                      X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set1_host(t->ssl, name) && SSL_set_tlsext_host_name(t->ssl, name) ? 0 : -ENOMEM;
}

static int expect_host(struct rota__tls *t, const rota_host *host)
{
    return host->kind == ROTA_HOST_NAME ? expect_name(t, host->text) : expect_address(t, host);
}

/* 1, 0 (no host, and any is accepted), -EINVAL. */
static int read_host(const rota_tls_context *context, const char *text, rota_host *ret_host)
{
    bool is_named = text && *text;
    if (!is_named && context->insecure)
        return 0;
    if (is_named && rota_host_parse((rota_str){text, strlen(text)}, ret_host) == 0 &&
        ret_host->kind != ROTA_HOST_FUTURE)
        return 1;
    if (is_named)
        return rota_error_set(-EINVAL, "start TLS: \"%s\" is not a valid host name or address",
                              text);
    return rota_error_set(-EINVAL, "start TLS: no host name to verify the certificate against");
}

static int offer_protocols(struct rota__tls *t, const char *const *names)
{
    unsigned char *wire;
    unsigned len;
    int err = rota__tls_write_protocols(names, &wire, &len);
    if (err < 0)
        return err;
    err = SSL_set_alpn_protos(t->ssl, wire, len) == 0 ? 0 : -ENOMEM;
    rota_free(wire);
    return err;
}

/* Sessions are kept by host, as it was verified, and port. */
static int offer_session(struct rota__tls *t, const char *host, const char *peer)
{
    const char *port = strrchr(peer, ':');
    if (!t->context->sessions.limit)
        return 0;
    if (!port)
        port = peer;
    size_t len = strlen(host) + strlen(port) + 2;
    t->resumes = rota_alloc(len);
    if (!t->resumes)
        return -ENOMEM;
    snprintf(t->resumes, len, "%s %s", host, port);
    SSL_SESSION *session = rota__tls_sessions_take(&t->context->sessions, t->resumes);
    if (session)
        SSL_set_session(t->ssl, session); /* or else the handshake is a full one */
    SSL_SESSION_free(session);
    return 0;
}

static int start(rota_stream *s, struct rota__tls *t, int err)
{
    if (err < 0) {
        rota__tls_kind.close(&t->filter);
        ERR_clear_error();
        return err;
    }
    return rota_stream_push(s, &t->filter);
}

/* `host` is NULL where any is accepted. */
static int prepare_client(struct rota__tls *t, const rota_host *host, const char *const *alpn,
                          const char *peer)
{
    ROTA__TLS_INSIDE;
    SSL_set_connect_state(t->ssl);
    SSL_set_verify(t->ssl, SSL_VERIFY_PEER, rota__tls_verified);
    int err = host ? expect_host(t, host) : 0;
    if (err == 0 && alpn)
        err = offer_protocols(t, alpn);
    if (err == 0 && host)
        err = offer_session(t, host->text, peer);
    return err;
}

int rota_tls_start_client(rota_stream *s, rota_tls_context *context, const char *host,
                          const char *const *alpn)
{
    struct rota__tls *t;
    rota_host expected;
    int has_host = read_host(context, host, &expected);
    int err = has_host < 0 ? has_host : rota__tls_trust_system(context);
    if (err == 0)
        err = rota__tls_new(context, &t);
    if (err < 0)
        return err;
    err = prepare_client(t, has_host ? &expected : NULL, alpn, rota_stream_peer(s));
    return start(s, t, err);
}

int rota_tls_connect(const char *host, int port, rota_tls_context *context,
                     const rota_connect_options *options, rota_stream **ret_stream)
{
    rota_stream *s;
    int err = rota__tls_trust_system(context); /* which says by itself what is wrong */
    if (err < 0)
        return err;
    err = rota_tcp_connect(host, port, options, &s);
    if (err < 0)
        return err;
    err = rota_tls_start_client(s, context, host, NULL);
    if (err < 0)
        rota_stream_free(s);
    else
        *ret_stream = s;
    return err;
}

/* ---- Servers */

int rota_tls_start_server(rota_stream *s, rota_tls_context *context)
{
    static const int modes[] = {
        [ROTA_TLS_CLIENTS_ANONYMOUS] = SSL_VERIFY_NONE,
        [ROTA_TLS_CLIENTS_MAY_IDENTIFY] = SSL_VERIFY_PEER,
        [ROTA_TLS_CLIENTS_MUST_IDENTIFY] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };
    struct rota__tls *t;
    if (!context->has_certificate && !context->choose)
        return rota_error_set(-EINVAL,
                              "start TLS: a server's context needs a certificate, or `choose`");
    int err = rota__tls_new(context, &t);
    if (err < 0)
        return err;
    SSL_set_accept_state(t->ssl);
    SSL_set_verify(t->ssl, modes[context->clients], rota__tls_verified);
    return start(s, t, 0);
}
