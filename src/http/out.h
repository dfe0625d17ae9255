/* Bytes to be sent, put together piece by piece. Want of memory is remembered: what follows does
 * nothing, and `err` tells at the end. */
#ifndef ROTA__HTTP_OUT_H
#define ROTA__HTTP_OUT_H

#include <rota/base.h>

#include <string.h>

struct rota__out {
    char *ptr;
    size_t len, room;
    int err;   /* 0 or -ENOMEM */
    bool lent; /* `ptr` is somebody else's, and stays so; more room is our own */
};

/* The same where there is no room yet. */
char *rota__out_grow(struct rota__out *out, size_t len);

/* Makes room for `len` bytes (not 0) and returns where they go; NULL without memory. They count
 * once `len` is raised. */
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

/* Where it is a queue: drops the first `*at` bytes, which were taken, once that is at least as much
 * as is left to be moved. Otherwise a consumer that is always a little behind would make it grow
 * without a limit. */
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
