/* Reads the input's two lines as hosts, and asks everything that compares hosts whether they are
 * the same: URLs, origins, cookies, the server's Host and :authority, certificates, exceptions from
 * proxies. All give the same answer. */
#include "fuzz.h"

#include "http/chars.h"
#include "http/cookie.h"
#include "http/params.h"
#include "http/proxy.h"
#include "http/url.h"

#include <openssl/x509v3.h>

enum { NOW = 1700000000 };

/* A host, by way of a URL. False: no URL has it. */
static bool read_host(rota_str text, rota_url *url, rota_host *host, char whole[600])
{
    if (text.len > 500 || (text.len && memchr(text.ptr, '\0', text.len)))
        return false;
    int len = snprintf(whole, 600, "https://%.*s/", (int)text.len, text.ptr);
    bool is_valid =
        rota_host_is_valid(text) && (!memchr(text.ptr, ':', text.len) || *text.ptr == '[');
    if (rota_url_parse((rota_str){whole, (size_t)len}, url) < 0 || !url->host.len) {
        require(!is_valid);
        return false;
    }
    require(rota_host_parse(url->host, host) == 0);
    return is_same(url->host, text);
}

/* The URL's normal form has the same host, and its canonical text is a host itself. */
static void check_alone(const rota_url *url, const rota_host *host, const char *whole)
{
    char again[ROTA__HOST_IN_URL];
    rota_bytes normal;
    rota_url other;
    rota_host parsed;
    require(rota_url_resolve((rota_str){NULL, 0}, rota__str_of(whole), &normal) == 0);
    require(rota_url_parse((rota_str){normal.ptr, normal.len}, &other) == 0);
    require(rota_url_same_origin(url, &other));
    rota_bytes_fini(&normal);
    require(rota_host_parse(rota__str_of(host->text), &parsed) == 0 &&
            rota_host_equal(host, &parsed));
    rota__host_write(host, true, again);
    require(rota_host_parse(rota__str_of(again), &parsed) == 0 && rota_host_equal(host, &parsed));
    require(rota__url_is_authority(rota__str_of(rota__host_write(host, false, again))));
}

/* Whether a cookie of `a` goes to `b`. */
static bool shares_cookies(const rota_host *a, const rota_host *b)
{
    struct rota__cookie_jar jar = {0};
    struct rota__out out = {0};
    struct rota__cookie_target target = {.host = a, .secure = true};
    require(rota__cookie_set(&jar, &target, (rota_str){"n=v", 3}, NOW) == 1);
    target.host = b;
    rota__cookie_write(&jar, &target, &out, NOW);
    bool is_sent = written(&out).len > 0;
    rota__out_fini(&out);
    rota__cookie_jar_fini(&jar);
    return is_sent;
}

/* A certificate for `host`, and nothing else. */
static X509 *certificate_for(const rota_host *host)
{
    X509 *cert = X509_new();
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    bool is_name = host->kind == ROTA_HOST_NAME;
    ASN1_STRING *text = ASN1_STRING_type_new(is_name ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);
    if (is_name)
        ASN1_STRING_set(text, host->text, -1);
    else
        ASN1_STRING_set(text, host->address, host->kind == ROTA_HOST_IPV4 ? 4 : 16);
    GENERAL_NAME_set0_value(name, is_name ? GEN_DNS : GEN_IPADD, text);
    sk_GENERAL_NAME_push(names, name);
    require(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1);
    GENERAL_NAMES_free(names);
    return cert;
}

/* Whether a connection to `a` takes a certificate for `b`, as src/tls/handshake.c asks OpenSSL. */
static bool is_verified(const rota_host *a, const rota_host *b)
{
    X509 *cert = certificate_for(b);
    unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
    bool is_good =
        a->kind == ROTA_HOST_NAME
            ? X509_check_host(cert, a->text, 0, flags, NULL) == 1
            : X509_check_ip(cert, a->address, a->kind == ROTA_HOST_IPV4 ? 4 : 16, 0) == 1;
    X509_free(cert);
    return is_good;
}

static bool has(const rota_host *host, char c)
{
    return strchr(host->text, c);
}

/* "*.a.test" is an entry for all that is below a.test, and may be a host. */
static bool is_below(const rota_host *host, const rota_host *entry)
{
    const char *domain = strncmp(entry->text, "*.", 2) == 0 ? entry->text + 2 : entry->text;
    return rota_host_is_below(host, rota__str_of(domain)) || strcmp(host->text, domain) == 0;
}

/* Which NO_PROXY compares without zones, and mapped ones as IPv4. */
static bool is_address(const rota_host *host)
{
    return host->kind == ROTA_HOST_IPV4 || host->kind == ROTA_HOST_IPV6;
}

static void check_pair(const rota_url *a, const rota_host *host_a, const rota_url *b,
                       const rota_host *host_b)
{
    bool same = rota_host_equal(host_a, host_b);
    require(rota_url_same_origin(a, b) == same);
    require(shares_cookies(host_a, host_b) == same);
    require(rota__url_same_authority(a->host, b->host, 443) == same);
    if (host_a->kind == ROTA_HOST_FUTURE || host_b->kind == ROTA_HOST_FUTURE)
        return;                                                      /* nobody connects to it */
    if (!has(host_a, '%') && !has(host_b, '%') && !has(host_b, '*')) /* zones, and wildcards */
        require(is_verified(host_a, host_b) == same);
    if (has(host_a, ',')) /* which separates entries */
        return;
    bool is_excepted = rota__proxy_excepts(host_a->text, host_b, 443);
    require(!same || is_excepted);
    require(!is_excepted || same || is_below(host_b, host_a) || is_address(host_a) ||
            strcmp(host_a->text, "*") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size + 1), whole_a[600], whole_b[600];
    memcpy(exact, data, size);
    rota_str text_b = {exact, size}, text_a = rota__cut(&text_b, '\n');
    rota_url a, b;
    rota_host host_a, host_b;
    bool is_a = read_host(text_a, &a, &host_a, whole_a),
         is_b = read_host(text_b, &b, &host_b, whole_b);
    if (is_a)
        check_alone(&a, &host_a, whole_a);
    if (is_a && is_b) {
        check_pair(&a, &host_a, &b, &host_b);
        check_pair(&b, &host_b, &a, &host_a);
    }
    free(exact);
    return 0;
}
