/* What was agreed on with the peer. */
#include "tls/tls.h"

#include <openssl/x509.h>

static SSL *ssl_of(const rota_stream *s)
{
    rota_filter *filter = rota_stream_filter(s, &rota__tls_kind);
    return filter ? rota__tls_of(filter)->ssl : NULL;
}

const char *rota_tls_version_name(const rota_stream *s)
{
    SSL *ssl = ssl_of(s);
    return ssl ? SSL_get_version(ssl) : NULL;
}

const char *rota_tls_cipher(const rota_stream *s)
{
    SSL *ssl = ssl_of(s);
    return ssl ? SSL_get_cipher_name(ssl) : NULL;
}

rota_str rota_tls_alpn(const rota_stream *s)
{
    const unsigned char *name = NULL;
    unsigned len = 0;
    SSL *ssl = ssl_of(s);
    if (ssl)
        SSL_get0_alpn_selected(ssl, &name, &len);
    return (rota_str){(const char *)name, len};
}

bool rota_tls_resumed(const rota_stream *s)
{
    SSL *ssl = ssl_of(s);
    return ssl && SSL_session_reused(ssl);
}

bool rota_tls_in_kernel(const rota_stream *s)
{
    rota_filter *filter = rota_stream_filter(s, &rota__tls_kind);
    return filter && rota__tls_of(filter)->in_kernel;
}

const char *rota_tls_server_name(const rota_stream *s)
{
    SSL *ssl = ssl_of(s);
    if (!ssl || !SSL_is_server(ssl))
        return ssl ? SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) : NULL;
    return rota__tls_of(rota_stream_filter(s, &rota__tls_kind))->server_name;
}

/* Returns 0 and a certificate that is the connection's. */
static int peer_certificate(const rota_stream *s, X509 **ret_cert)
{
    SSL *ssl = ssl_of(s);
    if (!ssl)
        return -ENOTCONN;
    *ret_cert = SSL_get0_peer_certificate(ssl);
    return *ret_cert ? 0 : -ENOENT;
}

int rota_tls_peer_subject(const rota_stream *s, char *ret_text, size_t size)
{
    X509 *cert;
    int err = peer_certificate(s, &cert);
    BIO *bio = err < 0 ? NULL : BIO_new(BIO_s_mem());
    if (!bio) {
        rota__tls_clear_errors();
        return err < 0 ? err : -ENOMEM;
    }
    char *text;
    bool ok = X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0,
                                 XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0;
    long len = BIO_get_mem_data(bio, &text);
    if (!ok || (size_t)len >= size)
        err = ok ? -ENOBUFS : -ENOMEM;
    else
        snprintf(ret_text, size, "%.*s", (int)len, text);
    BIO_free(bio);
    rota__tls_clear_errors();
    return err < 0 ? err : (int)len;
}

int rota_tls_peer_fingerprint(const rota_stream *s, unsigned char ret_sha256[32])
{
    X509 *cert;
    int err = peer_certificate(s, &cert);
    if (err == 0 && !X509_digest(cert, EVP_sha256(), ret_sha256, NULL))
        err = -ENOMEM;
    rota__tls_clear_errors();
    return err;
}
