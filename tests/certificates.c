#include "certificates.h"
#include "harness.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

enum { HOUR = 3600 };

static rota_str text_of(BIO *bio)
{
    char *bytes;
    long len = BIO_get_mem_data(bio, &bytes);
    char *copy = malloc((size_t)len + 1);
    CHECK(copy);
    memcpy(copy, bytes, (size_t)len);
    copy[len] = '\0';
    BIO_free(bio);
    return (rota_str){copy, (size_t)len};
}

static rota_str cert_pem(X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    CHECK(PEM_write_bio_X509(bio, cert));
    return text_of(bio);
}

static rota_str key_pem(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    CHECK(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL));
    return text_of(bio);
}

static void add_extension(X509 *cert, X509 *issuer, int which, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, which, value);
    CHECK(extension);
    CHECK(X509_add_ext(cert, extension, -1));
    X509_EXTENSION_free(extension);
}

static X509 *cert_for(EVP_PKEY *key, const char *subject, long ends_in)
{
    static long serial = 1;
    X509 *cert = X509_new();
    CHECK(cert);
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), -2L * HOUR);
    X509_gmtime_adj(X509_getm_notAfter(cert), ends_in);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
                               (const unsigned char *)subject, -1, -1, 0);
    return cert;
}

static void sign(X509 *cert, X509 *issuer, EVP_PKEY *key)
{
    X509_set_issuer_name(cert, X509_get_subject_name(issuer));
    add_extension(cert, issuer, NID_subject_key_identifier, "hash");
    add_extension(cert, issuer, NID_authority_key_identifier, "keyid");
    CHECK(X509_sign(cert, key, EVP_sha256()));
}

struct authority authority_new(const char *name)
{
    struct authority a = {.key = EVP_EC_gen("P-256")};
    CHECK(a.key);
    a.cert = cert_for(a.key, name, HOUR);
    add_extension(a.cert, a.cert, NID_basic_constraints, "critical,CA:TRUE");
    sign(a.cert, a.cert, a.key);
    a.pem = cert_pem(a.cert);
    return a;
}

void authority_free(struct authority *a)
{
    EVP_PKEY_free(a->key);
    X509_free(a->cert);
    free((void *)a->pem.ptr);
}

struct identity identity_new(const struct authority *issuer, const struct wanted *wanted)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    CHECK(key);
    X509 *cert = cert_for(key, wanted->subject ? wanted->subject : "localhost",
                          wanted->ends_in ? wanted->ends_in : HOUR);
    X509 *signer = issuer ? issuer->cert : cert;
    const char *names = wanted->names ? wanted->names : "DNS:localhost,IP:127.0.0.1";
    if (*names)
        add_extension(cert, signer, NID_subject_alt_name, names);
    sign(cert, signer, issuer ? issuer->key : key);
    struct identity id = {cert, cert_pem(cert), key_pem(key)};
    EVP_PKEY_free(key);
    return id;
}

void identity_free(struct identity *id)
{
    X509_free(id->cert);
    free((void *)id->cert_pem.ptr);
    free((void *)id->key_pem.ptr);
}

static void add_entry(X509_CRL *list, X509 *cert, ASN1_TIME *when)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    CHECK(entry);
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(cert));
    X509_REVOKED_set_revocationDate(entry, when);
    CHECK(X509_CRL_add0_revoked(list, entry));
}

char *revocation_list(const struct authority *issuer, X509 *cert)
{
    X509_CRL *list = X509_CRL_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *next = X509_gmtime_adj(NULL, HOUR);
    CHECK(list && now && next);
    X509_CRL_set_version(list, X509_CRL_VERSION_2);
    X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer->cert));
    X509_CRL_set1_lastUpdate(list, now);
    X509_CRL_set1_nextUpdate(list, next);
    if (cert)
        add_entry(list, cert, now);
    CHECK(X509_CRL_sign(list, issuer->key, EVP_sha256()));
    BIO *bio = BIO_new(BIO_s_mem());
    CHECK(PEM_write_bio_X509_CRL(bio, list));
    X509_CRL_free(list);
    ASN1_TIME_free(now);
    ASN1_TIME_free(next);
    return (char *)text_of(bio).ptr;
}
