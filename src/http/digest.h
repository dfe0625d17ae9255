/* Digest authentication (RFC 7616), the client's part. A challenge without qop is answered as
 * RFC 2069 says.
 *
 *     a challenge     rota__digest_read; rota__digest_strength to choose; then set `cnonce`
 *     each request    rota__digest_write, which counts the requests
 *
 * All requests with one nonce use the same cnonce. The key of a "-sess" algorithm is made from
 * both, so it is right for servers that make it once and for those that make it for each
 * request. */
#ifndef ROTA__HTTP_DIGEST_H
#define ROTA__HTTP_DIGEST_H

#include "http/out.h"

#define ROTA__DIGEST_CNONCE 32

enum rota__digest_qop {
    ROTA__DIGEST_NO_QOP,
    ROTA__DIGEST_AUTH,
    /* The body is hashed, too. */
    ROTA__DIGEST_AUTH_INT
};

struct rota__digest {
    /* Index of the table in digest.c. */
    int algorithm;
    /* The challenge names the algorithm, so the answer does. */
    bool says_algorithm;
    bool hashes_user;
    /* User and password are UTF-8. */
    bool is_utf8;
    /* The server rejected only the nonce. */
    bool is_stale;
    enum rota__digest_qop qop;
    rota_str realm, nonce;
    /* Its pointer is NULL if there is none. */
    rota_str opaque;

    /* Set by the caller. */
    rota_str cnonce;
    /* Requests with this nonce. */
    uint32_t count;
};

struct rota__digest_request {
    rota_str user, password;
    rota_str method, uri;
    /* For AUTH_INT. */
    rota_str body;
};

/* Reads the parameters of a challenge. The result points into `out`, to which nothing may be added
 * while it is used. `can_hash_body`: the answer may be AUTH_INT if the server offers nothing else.
 * Returns 0, -EINVAL (malformed, or an unknown algorithm or qop: `ret_why` says which),
 * -ENOMEM. */
int rota__digest_read(rota_str params, bool can_hash_body, struct rota__out *out,
                      struct rota__digest *ret_digest, const char **ret_why);

/* Returns a rank: of several challenges the one with the highest is answered. */
int rota__digest_strength(const struct rota__digest *digest);

/* Adds the value of Authorization for a request. Returns 0, -EOVERFLOW (the nonce was used
 * 4,294,967,295 times), -ENOMEM. */
int rota__digest_write(struct rota__out *out, struct rota__digest *digest,
                       const struct rota__digest_request *request);

#endif
