/* Digest authentication (RFC 7616), the client's part. A challenge without qop is answered as
 * RFC 2069 says.
 *
 *     a challenge     rota__digest_read, then a cnonce; or rota__digest_strength says that another
 *                     one is stronger
 *     each request    rota__digest_write, which counts them
 *
 * One cnonce serves for all requests of a nonce. The key of a "-sess" algorithm is made of both, so
 * servers that make it once and servers that make it for each request agree on it. */
#ifndef ROTA__HTTP_DIGEST_H
#define ROTA__HTTP_DIGEST_H

#include "http/out.h"

#define ROTA__DIGEST_CNONCE 32

enum rota__digest_qop {
    ROTA__DIGEST_NO_QOP,
    ROTA__DIGEST_AUTH,
    ROTA__DIGEST_AUTH_INT /* the body counts, too */
};

struct rota__digest {
    int algorithm; /* digest.c has their names */
    bool says_algorithm;
    bool hashes_user;
    bool is_utf8;  /* user and password */
    bool is_stale; /* the server rejected only the nonce */
    enum rota__digest_qop qop;
    rota_str realm, nonce;
    rota_str opaque; /* NULL: it has none */

    rota_str cnonce; /* the caller's */
    uint32_t count;  /* requests with this nonce */
};

struct rota__digest_request {
    rota_str user, password;
    rota_str method, uri;
    rota_str body; /* with AUTH_INT */
};

/* Reads the parameters of a challenge. Its slices are of `out`, to which nothing may be added as
 * long as they are used. `can_hash_body`: an answer may be AUTH_INT, if the server wants nothing
 * else. Returns 0, -EINVAL (malformed, or an unknown algorithm or qop: `ret_why` says which),
 * -ENOMEM. */
int rota__digest_read(rota_str params, bool can_hash_body, struct rota__out *out,
                      struct rota__digest *ret_digest, const char **ret_why);

/* The strongest of several challenges is answered. */
int rota__digest_strength(const struct rota__digest *digest);

/* Adds the value of Authorization for a request. Returns 0, -EOVERFLOW (the nonce has been used too
 * often), -ENOMEM. */
int rota__digest_write(struct rota__out *out, struct rota__digest *digest,
                       const struct rota__digest_request *request);

#endif
