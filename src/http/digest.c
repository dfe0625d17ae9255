#include "http/digest.h"
#include "http/challenge.h"
#include "http/chars.h"
#include "http/url.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>

#define HEX_MAX (2 * EVP_MAX_MD_SIZE)

/* From weak to strong. The second of each pair has a key for each session. */
static const struct {
    const char *name, *lower, *openssl;
} algorithms[] = {
    {"MD5", "md5", "MD5"},
    {"MD5-sess", "md5-sess", "MD5"},
    {"SHA-256", "sha-256", "SHA256"},
    {"SHA-256-sess", "sha-256-sess", "SHA256"},
    {"SHA-512-256", "sha-512-256", "SHA512-256"},
    {"SHA-512-256-sess", "sha-512-256-sess", "SHA512-256"},
};

#define ALGORITHMS (int)(sizeof algorithms / sizeof *algorithms)

/* ---- Challenges */

static int find_algorithm(rota_str name)
{
    for (int i = 0; i < ALGORITHMS; i++) {
        if (rota__str_is(name, algorithms[i].lower))
            return i;
    }
    return -EINVAL;
}

/* MD5 is unavailable in FIPS mode. */
static bool is_available(int algorithm)
{
    ERR_set_mark();
    EVP_MD *type = EVP_MD_fetch(NULL, algorithms[algorithm].openssl, NULL);
    ERR_pop_to_mark();
    EVP_MD_free(type);
    return type;
}

/* Reads a list, or an unquoted value as a list of one. Returns NULL, or why it cannot be
 * answered. */
static const char *read_qop(rota_str list, bool can_hash_body, enum rota__digest_qop *ret_qop)
{
    bool has_auth = false, has_auth_int = false;
    while (list.len) {
        rota_str element = rota__trim(rota__cut(&list, ','));
        has_auth |= rota__str_is(element, "auth");
        has_auth_int |= rota__str_is(element, "auth-int");
    }
    *ret_qop = has_auth ? ROTA__DIGEST_AUTH : ROTA__DIGEST_AUTH_INT;
    if (has_auth || (has_auth_int && can_hash_body))
        return NULL;
    return has_auth_int ? "auth-int needs a body in memory" : "unknown qop";
}

enum { REALM, NONCE, OPAQUE, STALE, ALGORITHM, QOP, CHARSET, USERHASH, NAMES };

static const char *const names[NAMES] = {"realm",     "nonce", "opaque",  "stale",
                                         "algorithm", "qop",   "charset", "userhash"};

/* A duplicate parameter is ambiguous: reject the challenge. */
static int read_params(rota_str params, struct rota__out *out, rota_str ret_values[NAMES])
{
    struct rota__param param;
    int more;
    while ((more = rota__challenge_param(&params, &param)) > 0) {
        int i = 0;
        while (i < NAMES && !rota__str_is(param.name, names[i]))
            i++;
        if (i == NAMES)
            continue;
        if (ret_values[i].ptr)
            return -EINVAL;
        size_t from = out->len;
        rota__param_unquote(&param, out);
        ret_values[i] = (rota_str){out->ptr + from, out->len - from};
    }
    return more;
}

static int refuse(const char *why, const char **ret_why)
{
    *ret_why = why;
    return -EINVAL;
}

int rota__digest_read(rota_str params, bool can_hash_body, struct rota__out *out,
                      struct rota__digest *ret_digest, const char **ret_why)
{
    rota_str v[NAMES] = {{NULL, 0}};
    if (!params.len)
        return refuse("no parameters", ret_why);
    if (!rota__out_reserve(out, params.len)) /* the slices must not move */
        return -ENOMEM;
    if (read_params(params, out, v) < 0)
        return refuse("malformed or duplicate parameter", ret_why);
    if (!v[REALM].ptr || !v[NONCE].ptr)
        return refuse("no realm or nonce", ret_why);
    struct rota__digest digest = {.realm = v[REALM],
                                  .nonce = v[NONCE],
                                  .opaque = v[OPAQUE],
                                  .says_algorithm = v[ALGORITHM].ptr,
                                  .hashes_user = rota__str_is(v[USERHASH], "true"),
                                  .is_utf8 = rota__str_is(v[CHARSET], "utf-8"),
                                  .is_stale = rota__str_is(v[STALE], "true")};
    if (v[ALGORITHM].ptr)
        digest.algorithm = find_algorithm(v[ALGORITHM]);
    if (digest.algorithm < 0)
        return refuse("unknown algorithm", ret_why);
    if (!is_available(digest.algorithm))
        return refuse("OpenSSL does not have the algorithm", ret_why);
    const char *why = v[QOP].ptr ? read_qop(v[QOP], can_hash_body, &digest.qop) : NULL;
    if (why)
        return refuse(why, ret_why);
    *ret_digest = digest;
    return 0;
}

int rota__digest_strength(const struct rota__digest *digest)
{
    return digest->algorithm / 2 * 2 + (digest->qop != ROTA__DIGEST_NO_QOP);
}

/* ---- Hashes */

static rota_str text(const char *s)
{
    return (rota_str){s, strlen(s)};
}

/* Hashes the parts, joined by colons, and writes hexadecimal digits. */
static int hash(const struct rota__digest *digest, const rota_str *parts, size_t count,
                char ret_hex[HEX_MAX + 1])
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_MD *type = EVP_MD_fetch(NULL, algorithms[digest->algorithm].openssl, NULL);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = type && ctx && EVP_DigestInit_ex(ctx, type, NULL);
    for (size_t i = 0; i < count && ok; i++)
        ok = (i == 0 || EVP_DigestUpdate(ctx, ":", 1)) &&
             (!parts[i].len || EVP_DigestUpdate(ctx, parts[i].ptr, parts[i].len));
    ok = ok && EVP_DigestFinal_ex(ctx, md, &len);
    EVP_MD_CTX_free(ctx);
    EVP_MD_free(type);
    for (unsigned i = 0; i < len; i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", md[i]);
    OPENSSL_cleanse(md, sizeof md);
    return ok ? 0 : -ENOMEM;
}

#define HASH(digest_, hex_, ...)               \
    hash((digest_), (rota_str[]){__VA_ARGS__}, \
         sizeof((rota_str[]){__VA_ARGS__}) / sizeof(rota_str), (hex_))

/* A1, which contains the password. */
static int make_key(const struct rota__digest *d, const struct rota__digest_request *request,
                    char ret_hex[HEX_MAX + 1])
{
    int err = HASH(d, ret_hex, request->user, d->realm, request->password);
    if (err == 0 && d->algorithm % 2)
        err = HASH(d, ret_hex, text(ret_hex), d->nonce, d->cnonce);
    return err;
}

static int hash_request(const struct rota__digest *d, const struct rota__digest_request *request,
                        char ret_hex[HEX_MAX + 1])
{
    if (d->qop != ROTA__DIGEST_AUTH_INT)
        return HASH(d, ret_hex, request->method, request->uri);
    char body[HEX_MAX + 1];
    int err = HASH(d, body, request->body);
    return err < 0 ? err : HASH(d, ret_hex, request->method, request->uri, text(body));
}

/* ---- Answers */

static const char *name_of(enum rota__digest_qop qop)
{
    return qop == ROTA__DIGEST_AUTH ? "auth" : "auth-int";
}

static int make_response(const struct rota__digest *d, const struct rota__digest_request *request,
                         const char *count, char ret_hex[HEX_MAX + 1])
{
    char key[HEX_MAX + 1], what[HEX_MAX + 1];
    int err = make_key(d, request, key);
    if (err == 0)
        err = hash_request(d, request, what);
    if (err == 0 && d->qop == ROTA__DIGEST_NO_QOP)
        err = HASH(d, ret_hex, text(key), d->nonce, text(what));
    else if (err == 0)
        err = HASH(d, ret_hex, text(key), d->nonce, text(count), d->cnonce, text(name_of(d->qop)),
                   text(what));
    OPENSSL_cleanse(key, sizeof key);
    return err;
}

static void add_quoted(struct rota__out *out, const char *name, rota_str value)
{
    rota__out_add_str(out, text(name));
    rota__out_add_literal(out, "=\"");
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '"' || value.ptr[i] == '\\')
            rota__out_add_literal(out, "\\");
        rota__out_add(out, value.ptr + i, 1);
    }
    rota__out_add_literal(out, "\"");
}

static void add_plain(struct rota__out *out, const char *name, const char *value)
{
    rota__out_add_str(out, text(name));
    rota__out_add_str(out, text(value));
}

static bool is_ascii(rota_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] > 0x7f)
            return false;
    }
    return true;
}

static int add_user(struct rota__out *out, const struct rota__digest *d, rota_str user)
{
    if (d->hashes_user) {
        char hex[HEX_MAX + 1];
        int err = HASH(d, hex, user, d->realm);
        if (err == 0)
            add_quoted(out, "username", text(hex));
        return err;
    }
    if (d->is_utf8 && !is_ascii(user)) { /* section 3.4 */
        rota__out_add_literal(out, "username*=UTF-8''");
        rota__url_encode(out, user);
        return 0;
    }
    add_quoted(out, "username", user);
    return 0;
}

int rota__digest_write(struct rota__out *out, struct rota__digest *d,
                       const struct rota__digest_request *request)
{
    char count[9], response[HEX_MAX + 1];
    if (d->count == UINT32_MAX)
        return -EOVERFLOW;
    snprintf(count, sizeof count, "%08x", ++d->count);
    int err = make_response(d, request, count, response);
    if (err < 0)
        return err;
    rota__out_add_literal(out, "Digest ");
    err = add_user(out, d, request->user);
    add_quoted(out, ", realm", d->realm);
    add_quoted(out, ", uri", request->uri);
    if (d->says_algorithm)
        add_plain(out, ", algorithm=", algorithms[d->algorithm].name);
    add_quoted(out, ", nonce", d->nonce);
    if (d->qop != ROTA__DIGEST_NO_QOP) {
        add_plain(out, ", nc=", count);
        add_quoted(out, ", cnonce", d->cnonce);
        add_plain(out, ", qop=", name_of(d->qop));
    } else if (d->algorithm % 2) {
        add_quoted(out, ", cnonce", d->cnonce);
    }
    add_quoted(out, ", response", text(response));
    if (d->opaque.ptr)
        add_quoted(out, ", opaque", d->opaque);
    if (d->hashes_user)
        rota__out_add_literal(out, ", userhash=true");
    return err < 0 ? err : out->err;
}
