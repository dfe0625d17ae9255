/* Texts for OpenSSL's codes that help to find the cause of a failure. */
#include "base/escape.h"
#include "tls/tls.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <string.h>

/* ---- The error queue */

static const char *words_for(int reason)
{
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_UNKNOWN_PROTOCOL:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_DATA_LENGTH_TOO_LONG:
    case SSL_R_RECORD_TOO_SMALL:
        return "peer does not speak TLS";
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return "peer speaks HTTP, not TLS";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "no TLS version in common";
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_CIPHERS_AVAILABLE:
        return "no cipher in common";
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
        return "no application protocol in common";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "peer shows no certificate";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "peer wants a certificate of ours";
    case SSL_R_CALLBACK_FAILED:
        return "no certificate for the name that the client asks for";
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
        return "a record was damaged or forged";
    default:
        return NULL;
    }
}

/* Reasons for alerts of the peer begin here (SSL_AD_REASON_OFFSET in OpenSSL). */
enum { ALERTS = 1000, ALERTS_END = 1256 };

static void describe(unsigned long error, const char *data, char *ret_why, size_t size)
{
    int reason = ERR_GET_REASON(error);
    bool of_tls = ERR_GET_LIB(error) == ERR_LIB_SSL;
    const char *words = of_tls ? words_for(reason) : NULL;
    const char *theirs = ERR_reason_error_string(error);
    if (words)
        snprintf(ret_why, size, "%s", words);
    else if (of_tls && reason >= ALERTS && reason < ALERTS_END)
        snprintf(ret_why, size, "peer says: %s", SSL_alert_desc_string_long(reason - ALERTS));
    else if (ERR_SYSTEM_ERROR(error))
        snprintf(ret_why, size, "%s", rota_strerror(-reason));
    else
        snprintf(ret_why, size, "%s%s%s", theirs ? theirs : "OpenSSL failed without a reason",
                 data && *data ? ": " : "", data && *data ? data : "");
}

int rota__tls_why(char *ret_why, size_t size)
{
    const char *data;
    int flags, code = ROTA_ETLS;
    unsigned long error = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);
    describe(error, flags & ERR_TXT_STRING ? data : NULL, ret_why, size);
    for (; error; error = ERR_get_error()) {
        if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE)
            code = -ENOMEM;
    }
    if (code == -ENOMEM)
        snprintf(ret_why, size, "%s", rota_strerror(code));
    return code;
}

/* ---- Certificates */

struct text {
    char *at;
    size_t left;
};

static void add_bytes(struct text *text, const char *bytes, size_t len)
{
    if (len >= text->left)
        len = text->left - 1;
    memcpy(text->at, bytes, len);
    text->at += len;
    *text->at = '\0';
    text->left -= len;
}

static void add(struct text *text, const char *what)
{
    add_bytes(text, what, strlen(what));
}

/* Text of a certificate, in UTF-8. It cannot be trusted. */
static void add_foreign(struct text *text, const unsigned char *bytes, size_t len)
{
    const char *at = (const char *)bytes, *end = at + len;
    while (at < end) {
        char escaped[ROTA__ESCAPED_MAX];
        add_bytes(text, escaped, rota__escape(escaped, &at, (size_t)(end - at)));
    }
}

static void add_string(struct text *text, const ASN1_STRING *string)
{
    unsigned char *bytes;
    int len = ASN1_STRING_to_UTF8(&bytes, string);
    if (len < 0) {
        add(text, "something unreadable");
        return;
    }
    add_foreign(text, bytes, (size_t)len);
    OPENSSL_free(bytes);
}

/* The common name in a subject or issuer, if there is one. */
static void add_common_name(struct text *text, const X509_NAME *of, const char *before)
{
    int at = X509_NAME_get_index_by_NID(of, NID_commonName, -1);
    if (at < 0)
        return;
    add(text, before);
    add_string(text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(of, at)));
}

static void add_address(struct text *text, const ASN1_OCTET_STRING *address)
{
    char words[INET6_ADDRSTRLEN] = "an address";
    if (address->length == 4 || address->length == 16)
        inet_ntop(address->length == 4 ? AF_INET : AF_INET6, address->data, words, sizeof words);
    add(text, words);
}

static void add_name(struct text *text, const GENERAL_NAME *name)
{
    if (name->type == GEN_DNS)
        add_string(text, name->d.dNSName);
    else if (name->type == GEN_IPADD)
        add_address(text, name->d.iPAddress);
    else
        add(text, "something else");
}

/* "certificate is for a.example, b.example". Returns whether it names any host. */
static bool add_names(struct text *text, X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;
    add(text, count ? "certificate is for " : "certificate names no host in subjectAltName");
    for (int i = 0; i < count && i < 3; i++) {
        add(text, i ? ", " : "");
        add_name(text, sk_GENERAL_NAME_value(names, i));
    }
    add(text, count > 3 ? ", ..." : "");
    GENERAL_NAMES_free(names);
    return count > 0;
}

static void other_host(X509_STORE_CTX *chain, struct text *text)
{
    X509_VERIFY_PARAM *wanted = X509_STORE_CTX_get0_param(chain);
    char *address = X509_VERIFY_PARAM_get1_ip_asc(wanted);
    const char *host = X509_VERIFY_PARAM_get0_host(wanted, 0);
    bool has_names = add_names(text, X509_STORE_CTX_get0_cert(chain));
    add(text, has_names ? ", not " : ", so it is not for ");
    add(text, address ? address : host ? host : "this host");
    OPENSSL_free(address);
}

static void of_unknown(X509_STORE_CTX *chain, struct text *text)
{
    X509 *cert = X509_STORE_CTX_get_current_cert(chain);
    add(text, "unknown certificate authority");
    if (cert)
        add_common_name(text, X509_get_issuer_name(cert), ": ");
}

void rota__tls_why_not(X509_STORE_CTX *chain, char *ret_why, size_t size)
{
    struct text text = {ret_why, size};
    int error = X509_STORE_CTX_get_error(chain);
    switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        other_host(chain, &text);
        break;
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        of_unknown(chain, &text);
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        add(&text, "certificate is self-signed");
        break;
    case X509_V_ERR_CERT_REVOKED:
        add(&text, "certificate has been revoked");
        break;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        add(&text, "no revocation list of the certificate's issuer");
        break;
    default:
        add(&text, X509_verify_cert_error_string(error));
    }
}
