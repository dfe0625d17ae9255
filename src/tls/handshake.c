#include "tls/tls.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <string.h>

/* ---- The handshake */

/* 0 when it is complete, -EAGAIN where it needs to read. */
static int step(struct rota__tls *t)
{
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

/* A server of TLS 1.3 ends with tickets, which go with its first words: the client waits for none. */
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

/* Whatever ended it: there is no way on from the middle of a handshake. */
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

/* Where a server of TLS 1.2 replaces the ticket of a session that is resumed, OpenSSL makes the session that was kept useless, and
 * does not tell of the new one. */
static void keep_renewed(struct rota__tls *t)
{
    if (!t->resumes || !SSL_session_reused(t->ssl) || SSL_version(t->ssl) >= TLS1_3_VERSION)
        return;
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

static bool is_address(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* The certificate's name without what certificates do not have: a scope, a last dot. */
static char *bare_host(const char *host)
{
    size_t len = strcspn(host, "%");
    if (len > 0 && host[len - 1] == '.')
        len--;
    char *bare = rota_alloc(len + 1);
    if (bare) {
        memcpy(bare, host, len);
        bare[len] = '\0';
    }
    return bare;
}

static int expect_bare_host(struct rota__tls *t, const char *host)
{
    if (is_address(host)) /* which is never sent as a server's name (RFC 6066, section 3) */
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), host) ? 0 : -ENOMEM;
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!SSL_set1_host(t->ssl, host) || !SSL_set_tlsext_host_name(t->ssl, host))
        return strlen(host) > TLSEXT_MAXLEN_host_name ? -EINVAL : -ENOMEM;
    return 0;
}

static int expect_host(struct rota__tls *t, const char *host)
{
    if (!host || !*host)
        return t->context->insecure ? 0 : -EINVAL;
    char *bare = bare_host(host);
    int err = bare ? expect_bare_host(t, bare) : -ENOMEM;
    rota_free(bare);
    return err;
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

/* Sessions are kept by host and port. */
static int offer_session(struct rota__tls *t, const char *host, const char *peer)
{
    const char *port = strrchr(peer, ':');
    if (!host || !t->context->sessions.limit)
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

int rota_tls_start_client(rota_stream *s, rota_tls_context *context, const char *host,
                          const char *const *alpn)
{
    struct rota__tls *t;
    int err = rota__tls_trust_system(context);
    if (err == 0)
        err = rota__tls_new(context, &t);
    if (err < 0)
        return err;
    SSL_set_connect_state(t->ssl);
    SSL_set_verify(t->ssl, SSL_VERIFY_PEER, rota__tls_verified);
    err = expect_host(t, host);
    if (err == 0 && alpn)
        err = offer_protocols(t, alpn);
    if (err == 0)
        err = offer_session(t, host, rota_stream_peer(s));
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
    if (err < 0) {
        rota__tls_set_error("connect to %s, port %d: %s", host, port, rota_strerror(err));
        return err;
    }
    err = rota_tls_start_client(s, context, host, NULL);
    if (err < 0) {
        const char *why = rota_stream_error(s);
        char text[ROTA__TLS_WHY + 100];
        snprintf(text, sizeof text, "%s", *why ? why : rota_strerror(err));
        rota_stream_free(s); /* suspends */
        rota__tls_set_error("%s", text);
        return err;
    }
    *ret_stream = s;
    return 0;
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
        return -EINVAL;
    int err = rota__tls_new(context, &t);
    if (err < 0)
        return err;
    SSL_set_accept_state(t->ssl);
    SSL_set_verify(t->ssl, modes[context->clients], rota__tls_verified);
    return start(s, t, 0);
}
