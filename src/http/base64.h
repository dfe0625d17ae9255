/* Base64 (RFC 4648, section 4). */
#ifndef ROTA__HTTP_BASE64_H
#define ROTA__HTTP_BASE64_H

#include "http/out.h"

static inline size_t rota__base64_len(size_t len)
{
    return (len + 2) / 3 * 4;
}

/* Writes rota__base64_len(len) characters, without a NUL. */
void rota__base64_encode(char *to, const void *bytes, size_t len);

/* Adds the decoded text. Returns 0, -EINVAL (another character, no padding, bits after the end),
 * -ENOMEM. */
int rota__base64_decode(struct rota__out *out, rota_str text);

#endif
