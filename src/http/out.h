/* A growing buffer of bytes to send. -ENOMEM is sticky: further calls do nothing, so checking `err`
 * at the end is enough. */
#ifndef ROTA__HTTP_OUT_H
#define ROTA__HTTP_OUT_H

#include <rota/base.h>

#include <string.h>

struct rota__out {
    char *ptr;
    size_t len, room;
    /* 0 or -ENOMEM. */
    int err;
    /* `ptr` is borrowed. If it is too small, a buffer of our own replaces it. */
    bool lent;
};

/* Does what rota__out_reserve does if there is no room yet. */
char *rota__out_grow(struct rota__out *out, size_t len);

/* Makes room for `len` bytes (not 0) and returns where to write them, or NULL without memory. The
 * caller then adds to `len`. */
static inline char *rota__out_reserve(struct rota__out *out, size_t len)
{
    bool fits = out->room - out->len >= len && out->err == 0;
    return __builtin_expect(fits, 1) ? out->ptr + out->len : rota__out_grow(out, len);
}

static inline void rota__out_add(struct rota__out *out, const char *bytes, size_t len)
{
    char *to = len ? rota__out_reserve(out, len) : NULL;
    if (!to)
        return;
    memcpy(to, bytes, len);
    out->len += len;
}

static inline void rota__out_add_str(struct rota__out *out, rota_str s)
{
    rota__out_add(out, s.ptr, s.len);
}

#define rota__out_add_literal(out, literal) rota__out_add((out), "" literal, sizeof(literal) - 1)

/* For a queue: drops the first `*at` bytes, which were consumed, once they are at least as many as
 * the rest, which has to be moved. Otherwise a consumer that is always a little behind would make
 * the buffer grow without a limit. */
static inline void rota__out_drop(struct rota__out *out, size_t *at)
{
    size_t left = out->len - *at;
    if (!*at || *at < left)
        return;
    memmove(out->ptr, out->ptr + *at, left);
    out->len = left;
    *at = 0;
}

/* In the given base, 10 or 16. */
void rota__out_add_number(struct rota__out *out, uint64_t number, unsigned base);

void rota__out_fini(struct rota__out *out);

#endif
