/* Credentials: basic (RFC 7617) and bearer (RFC 6750), as values of Authorization and
 * Proxy-Authorization. */
#ifndef ROTA__HTTP_AUTH_H
#define ROTA__HTTP_AUTH_H

#include "http/out.h"

/* Whether it contains no control characters. */
bool rota__auth_is_text(rota_str s);
/* Returns 0, -EINVAL (a control character, or a colon in `user`; nothing was added), -ENOMEM. */
int rota__auth_write_basic(struct rota__out *out, rota_str user, rota_str password);
/* Returns 0, -EINVAL (not a token; nothing was added), -ENOMEM. */
int rota__auth_write_bearer(struct rota__out *out, rota_str token);

/* Decodes a received value into `out`; the results point into it. Returns 0, -EINVAL (another
 * scheme, or malformed), -ENOMEM. */
int rota__auth_read_basic(rota_str field, struct rota__out *out, rota_str *ret_user,
                          rota_str *ret_password);
/* The token points into the field. Returns 0, -EINVAL. */
int rota__auth_read_bearer(rota_str field, rota_str *ret_token);

#endif
