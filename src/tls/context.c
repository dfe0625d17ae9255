/* From options to an SSL_CTX. */
#include "base/noexcept.h"
#include "tls/tls.h"

#include <rota/host.h>

#include <limits.h>
#include <openssl/pem.h>
#include <string.h>

enum { SESSIONS = 256 };
#define HANDSHAKE_TIMEOUT (10 * ROTA_SECOND)

static int out_of_memory(void)
{
    ERR_clear_error();
    return rota_error_set(-ENOMEM, "%s", rota_strerror(-ENOMEM));
}

static int contradiction(const char *what)
{
    return rota_error_set(-EINVAL, "%s", what);
}

/* The error of OpenSSL about a file, or about the text that replaces it. */
static int refused(const char *what)
{
    char why[ROTA__TLS_WHY];
    int err = rota__tls_why(why, sizeof why);
    return rota_error_set(err, "%s: %s", what, why);
}

/* ---- Trusted authorities */

static int trust_pem(SSL_CTX *ctx, rota_str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    int found = 0, added = 1;
    X509 *authority;
    if (!bio)
        return out_of_memory();
    while (added && (authority = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        added = X509_STORE_add_cert(store, authority);
        X509_free(authority);
        found++;
    }
    BIO_free(bio);
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (!added || !found || !at_end)
        return refused("ca_pem");
    ERR_clear_error();
    return 0;
}

/* Takes some 10 ms and a MiB, so it waits until there is something to verify. */
int rota__tls_trust_system(rota_tls_context *context)
{
    if (!context->ctx)
        return ROTA_ECLOSED; /* in a worker process: see context_forget */
    int err = 0;
    ROTA__TLS_INSIDE;
    pthread_mutex_lock(&context->system_mutex);
    if (context->needs_system && !SSL_CTX_set_default_verify_paths(context->ctx))
        err = refused("the system's authorities");
    context->needs_system &= err < 0;
    pthread_mutex_unlock(&context->system_mutex);
    return err;
}

static bool names_authorities(const rota_tls_options *o)
{
    return o->ca_file || o->ca_path || o->ca_pem.len;
}

static int use_authorities(SSL_CTX *ctx, const rota_tls_options *o)
{
    if (o->ca_file && !SSL_CTX_load_verify_file(ctx, o->ca_file))
        return refused(o->ca_file);
    if (o->ca_path && !SSL_CTX_load_verify_dir(ctx, o->ca_path))
        return refused(o->ca_path);
    if (o->ca_pem.len)
        return trust_pem(ctx, o->ca_pem);
    return 0;
}

static int use_revocations(SSL_CTX *ctx, const rota_tls_options *o)
{
    if (!o->crl_file)
        return 0;
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (!lookup)
        return out_of_memory();
    if (X509_load_crl_file(lookup, o->crl_file, X509_FILETYPE_PEM) <= 0)
        return refused(o->crl_file);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return 0;
}

static int accept_any(X509_STORE_CTX *chain, void *arg)
{
    (void)chain;
    (void)arg;
    return 1;
}

/* The authorities that a server tells its clients about. */
static int name_client_authorities(SSL_CTX *ctx, const rota_tls_options *o)
{
    if (o->clients == ROTA_TLS_CLIENTS_ANONYMOUS || !o->ca_file)
        return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->ca_file);
    if (!names)
        return refused(o->ca_file);
    SSL_CTX_set_client_CA_list(ctx, names);
    return 0;
}

/* ---- Own certificate */

static int use_certificate_pem(SSL_CTX *ctx, rota_str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    if (!bio)
        return out_of_memory();
    X509 *cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    bool ok = cert && SSL_CTX_use_certificate(ctx, cert);
    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        ok = SSL_CTX_add0_chain_cert(ctx, cert);
        if (!ok)
            X509_free(cert);
    }
    BIO_free(bio);
    if (!ok || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return refused("cert_pem");
    ERR_clear_error();
    return 0;
}

static int use_key_pem(SSL_CTX *ctx, rota_str pem)
{
    BIO *bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
    if (!bio)
        return out_of_memory();
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    bool ok = key && SSL_CTX_use_PrivateKey(ctx, key);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return ok ? 0 : refused("key_pem");
}

static int use_identity(SSL_CTX *ctx, const rota_tls_options *o)
{
    const char *key_file = o->key_file ? o->key_file : o->cert_file;
    int err = 0;
    if (!o->cert_file && !o->cert_pem.len)
        return 0;
    if (o->cert_file && SSL_CTX_use_certificate_chain_file(ctx, o->cert_file) != 1)
        return refused(o->cert_file);
    if (o->cert_pem.len)
        err = use_certificate_pem(ctx, o->cert_pem);
    if (err < 0)
        return err;
    if (o->key_pem.len || o->cert_pem.len)
        err = use_key_pem(ctx, o->key_pem.len ? o->key_pem : o->cert_pem);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1)
        err = refused(key_file);
    if (err == 0 && SSL_CTX_check_private_key(ctx) != 1)
        err = refused("certificate and key");
    return err;
}

/* ---- Names, protocols, versions */

/* SSL_set_SSL_CTX would also change the connection's trusted authorities and its protocols. */
static bool lend_certificate(SSL *ssl, SSL_CTX *lender)
{
    STACK_OF(X509) *chain = NULL;
    X509 *cert = SSL_CTX_get0_certificate(lender);
    EVP_PKEY *key = SSL_CTX_get0_privatekey(lender);
    if (!cert || !key)
        return false;
    SSL_CTX_get0_chain_certs(lender, &chain);
    SSL_certs_clear(ssl); /* or one with another kind of key would stay beside it */
    return SSL_use_cert_and_key(ssl, cert, key, chain, 1);
}

/* The canonical name that a client asks for, or NULL: an address is not a name (RFC 6066, section
 * 3). Returns 0, -EINVAL, -ENOMEM. */
static int read_server_name(SSL *ssl, struct rota__tls *t)
{
    const char *text = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    rota_host host;
    rota_free(t->server_name); /* of an earlier hello in the same handshake */
    t->server_name = NULL;
    if (!text)
        return 0;
    if (rota_host_parse((rota_str){text, strlen(text)}, &host) < 0)
        return -EINVAL;
    if (host.kind != ROTA_HOST_NAME)
        return 0;
    size_t size = strlen(host.text) + 1;
    t->server_name = rota_alloc(size);
    if (!t->server_name)
        return -ENOMEM;
    memcpy(t->server_name, host.text, size);
    return 0;
}

/* Servers: selects the certificate for a client. OpenSSL calls this for clients, too. */
static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
    rota_tls_context *context = arg;
    struct rota__tls *t = SSL_get_app_data(ssl);
    if (!SSL_is_server(ssl))
        return SSL_TLSEXT_ERR_OK;
    int err = read_server_name(ssl, t);
    if (err < 0) {
        *alert = err == -ENOMEM ? SSL_AD_INTERNAL_ERROR : SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    if (!context->choose)
        return SSL_TLSEXT_ERR_OK;
    rota_tls_context *chosen = context->choose(context->choose_arg, t->server_name);
    ROTA__NOEXCEPT();
    if (chosen && (chosen == context || lend_certificate(ssl, chosen->ctx)))
        return SSL_TLSEXT_ERR_OK;
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int choose_protocol(SSL *ssl, const unsigned char **ret_chosen, unsigned char *ret_len,
                           const unsigned char *offered, unsigned len, void *arg)
{
    rota_tls_context *context = arg;
    unsigned char *chosen;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, ret_len, context->alpn, context->alpn_len, offered, len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret_chosen = chosen;
    return SSL_TLSEXT_ERR_OK;
}

int rota__tls_write_protocols(const char *const *names, unsigned char **ret_wire, unsigned *ret_len)
{
    size_t len = 0;
    for (size_t i = 0; names[i]; i++) {
        size_t n = strlen(names[i]);
        if (n == 0 || n > 255)
            return contradiction("alpn: a name is empty or longer than 255 bytes");
        len += 1 + n;
    }
    if (len == 0 || len > UINT16_MAX)
        return contradiction("alpn: no names, or too many");
    unsigned char *wire = rota_alloc(len), *at = wire;
    if (!wire)
        return out_of_memory();
    for (size_t i = 0; names[i]; i++) {
        size_t n = strlen(names[i]);
        *at++ = (unsigned char)n;
        memcpy(at, names[i], n);
        at += n;
    }
    *ret_wire = wire;
    *ret_len = (unsigned)len;
    return 0;
}

static int use_protocols(rota_tls_context *context, const rota_tls_options *o)
{
    if (!o->alpn)
        return 0;
    int err = rota__tls_write_protocols(o->alpn, &context->alpn, &context->alpn_len);
    if (err < 0)
        return err;
    if (SSL_CTX_set_alpn_protos(context->ctx, context->alpn, context->alpn_len) != 0)
        return out_of_memory();
    SSL_CTX_set_alpn_select_cb(context->ctx, choose_protocol, context);
    return 0;
}

static int version_number(rota_tls_version version, int otherwise)
{
    switch (version) {
    case ROTA_TLS_1_2:
        return TLS1_2_VERSION;
    case ROTA_TLS_1_3:
        return TLS1_3_VERSION;
    case ROTA_TLS_DEFAULT:
        break;
    }
    return otherwise;
}

static int use_versions(SSL_CTX *ctx, const rota_tls_options *o)
{
    SSL_CTX_set_min_proto_version(ctx, version_number(o->min_version, TLS1_2_VERSION));
    SSL_CTX_set_max_proto_version(ctx, version_number(o->max_version, 0));
    if (o->ciphers && !SSL_CTX_set_cipher_list(ctx, o->ciphers))
        return refused("ciphers");
    if (o->ciphersuites && !SSL_CTX_set_ciphersuites(ctx, o->ciphersuites))
        return refused("ciphersuites");
    return 0;
}

/* ---- Resumption */

static int session_made(SSL *ssl, SSL_SESSION *session)
{
    struct rota__tls *t = SSL_get_app_data(ssl);
    return t->resumes && rota__tls_sessions_put(&t->context->sessions, t->resumes, session);
}

static void use_resumption(rota_tls_context *context, const rota_tls_options *o)
{
    static const unsigned char same_for_all[] = "rota";
    if (o->no_resumption) {
        SSL_CTX_set_session_cache_mode(context->ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(context->ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context->ctx, 0);
        return;
    }
    context->sessions.limit = o->sessions ? o->sessions : SESSIONS;
    /* Servers keep nothing: clients bring their tickets. */
    SSL_CTX_set_session_cache_mode(context->ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context->ctx, session_made);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context->ctx, rota__tls_ticket_key);
    /* What a ticket vouches for is its context's key; OpenSSL wants this where clients identify. */
    SSL_CTX_set_session_id_context(context->ctx, same_for_all, sizeof same_for_all);
}

/* ---- The whole */

static bool is_version(rota_tls_version version)
{
    return version == ROTA_TLS_DEFAULT || version == ROTA_TLS_1_2 || version == ROTA_TLS_1_3;
}

static int check_options(const rota_tls_options *o)
{
    if (!is_version(o->min_version) || !is_version(o->max_version))
        return contradiction("min_version or max_version is not a version of TLS");
    if (o->max_version && o->min_version > o->max_version)
        return contradiction("min_version is higher than max_version");
    if (o->clients != ROTA_TLS_CLIENTS_ANONYMOUS && !names_authorities(o) &&
        !o->insecure_accept_any_certificate)
        return contradiction(
            "client certificates are asked for, but no authority to verify them is named");
    if ((o->key_file || o->key_pem.len) && !o->cert_file && !o->cert_pem.len)
        return contradiction("a key without a certificate");
    if ((o->cert_file && o->cert_pem.len) || (o->key_file && o->key_pem.len))
        return contradiction("a certificate or a key both as a file and in memory");
    if ((o->cert_pem.len | o->key_pem.len | o->ca_pem.len) > INT_MAX)
        return contradiction("more than 2 GiB in memory");
    return 0;
}

static int configure(rota_tls_context *context, const rota_tls_options *o)
{
    SSL_CTX *ctx = context->ctx;
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    /* The chain is that of the certificate file. OpenSSL would look for the rest of it among the
     * authorities, in the system's directory and in each handshake. */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
    SSL_CTX_set_tlsext_servername_arg(ctx, context);
    if (o->insecure_accept_any_certificate)
        SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
    use_resumption(context, o);
    int err = use_versions(ctx, o);
    if (err == 0)
        err = use_authorities(ctx, o);
    if (err == 0)
        err = use_revocations(ctx, o);
    if (err == 0)
        err = name_client_authorities(ctx, o);
    if (err == 0)
        err = use_identity(ctx, o);
    return err < 0 ? err : use_protocols(context, o);
}

/* In a worker process of a pool. */
static void context_forget(rota_secret *secret)
{
    rota_tls_context *context = (rota_tls_context *)(void *)secret;
    OPENSSL_cleanse(&context->tickets, sizeof context->tickets);
    if (rota__tls_may_free_in_child()) {
        rota__tls_sessions_fini(&context->sessions);
        SSL_CTX_free(context->ctx);
    }
    context->ctx = NULL;
}

static rota_tls_context *context_alloc(const rota_tls_options *o)
{
    rota_tls_context *context = rota_zalloc(sizeof *context);
    if (!context)
        return NULL;
    context->ctx = SSL_CTX_new(TLS_method());
    if (!context->ctx) {
        rota_free(context);
        return NULL;
    }
    context->uses = 1;
    context->handshake_timeout = o->handshake_timeout ? o->handshake_timeout : HANDSHAKE_TIMEOUT;
    context->insecure = o->insecure_accept_any_certificate;
    context->has_certificate = o->cert_file || o->cert_pem.len;
    context->clients = o->clients;
    context->use_kernel = o->use_kernel;
    context->choose = o->choose;
    context->choose_arg = o->choose_arg;
    context->needs_system = !names_authorities(o) && !o->insecure_accept_any_certificate;
    pthread_mutex_init(&context->system_mutex, NULL);
    rota__tls_sessions_init(&context->sessions, 0);
    if (rota__tls_tickets_init(&context->tickets) < 0)
        return rota_tls_context_free(context);
    return context;
}

int rota_tls_context_new(const rota_tls_options *options, rota_tls_context **ret_context)
{
    static const rota_tls_options defaults;
    const rota_tls_options *o = options ? options : &defaults;
    int err = check_options(o);
    if (err < 0)
        return err;
    ROTA__TLS_INSIDE;
    rota__tls_clear_errors();
    rota_tls_context *context = context_alloc(o);
    if (!context)
        return out_of_memory();
    err = configure(context, o);
    if (err == 0 && !context->has_certificate)
        err = rota__tls_trust_system(context); /* it can only be for clients */
    if (err < 0) {
        rota_tls_context_free(context);
        return err;
    }
    context->secret.forget = context_forget;
    rota_secret_add(&context->secret);
    *ret_context = context;
    return 0;
}

void rota__tls_context_use(rota_tls_context *context)
{
    atomic_fetch_add_explicit(&context->uses, 1, memory_order_relaxed);
}

rota_tls_context *rota_tls_context_free(rota_tls_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->uses, 1, memory_order_acq_rel) > 1)
        return NULL;
    ROTA_KEEP_ERROR;
    ROTA__TLS_INSIDE;
    rota_secret_remove(&context->secret);
    SSL_CTX_free(context->ctx);
    rota__tls_sessions_fini(&context->sessions);
    rota__tls_tickets_fini(&context->tickets);
    pthread_mutex_destroy(&context->system_mutex);
    rota_free(context->alpn);
    rota_free(context);
    return NULL;
}
