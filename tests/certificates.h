/* Certificates for tests: an authority in memory, and what it signs. */
#ifndef CERTIFICATES_H
#define CERTIFICATES_H

#include <rota/base.h>

#include <openssl/x509.h>

struct authority {
    EVP_PKEY *key;
    X509 *cert;
    rota_str pem; /* its certificate */
};

struct wanted {
    const char *subject; /* common name; "localhost" */
    /* as in "DNS:a.example,IP:127.0.0.1"; "DNS:localhost,IP:127.0.0.1"; "": none */
    const char *names;
    long ends_in; /* seconds; an hour */
};

struct identity {
    X509 *cert;
    rota_str cert_pem, key_pem;
};

struct authority authority_new(const char *name);
void authority_free(struct authority *authority);

/* What `issuer` signs; by NULL it is self-signed. */
struct identity identity_new(const struct authority *issuer, const struct wanted *wanted);
void identity_free(struct identity *identity);

/* A list in PEM that revokes `cert`, or nothing; to be freed with free(3). */
char *revocation_list(const struct authority *issuer, X509 *cert);

#endif
