/* Memory that goes in one free: what a request's parser, reply and handler allocate, or what a
 * response is made of.
 *
 * The first block comes from a store, which keeps some for the next requests, or is made to
 * measure, or is the caller's; what does not fit gets blocks of its own. */
#ifndef ROTA__HTTP_ARENA_H
#define ROTA__HTTP_ARENA_H

#include "http/budget.h"
#include "http/out.h"

#include <rota/http.h>

struct rota__arena_block {
    struct rota__arena_block *next;
};

/* First blocks, all of one size. */
struct rota__arena_store {
    struct rota__arena_block *free;
    size_t size, count;
    struct rota__budget *budget; /* what arenas take is counted there; NULL: nowhere */
};

struct rota__arena {
    struct rota__arena_block *blocks; /* the last one is the store's, if there is one */
    char *at, *end;
    struct rota__budget *budget;
    size_t taken; /* of it */
};

/* Returns 0 or -ENOMEM, also where the budget is used up. */
int rota__arena_init(struct rota__arena *arena, struct rota__arena_store *store);
/* Without a store: the first block has `size` bytes. Returns 0 or -ENOMEM. */
int rota__arena_init_for(struct rota__arena *arena, size_t size);
/* The first block is the caller's. */
static inline struct rota__arena rota__arena_on(void *memory, size_t size)
{
    return (struct rota__arena){.at = (char *)memory, .end = (char *)memory + size};
}
/* Frees everything that came from the arena, which may lie in it itself. Without a store it is
 * NULL. */
void rota__arena_fini(struct rota__arena *arena, struct rota__arena_store *store);
void rota__arena_store_fini(struct rota__arena_store *store);

/* In a new block. */
void *rota__arena_grow(struct rota__arena *arena, size_t size);

/* NULL without memory. */
static inline void *rota__arena_alloc(struct rota__arena *arena, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    if (__builtin_expect(rounded < size || rounded > (size_t)(arena->end - arena->at), 0))
        return rota__arena_grow(arena, size);
    void *ptr = arena->at;
    arena->at += rounded;
    return ptr;
}

/* A copy, with a NUL behind it; NULL without memory. */
char *rota__arena_copy(struct rota__arena *arena, rota_str s);

/* Moves what was written to `out`, if that went well, and ends `out`. `err` says how it went.
 * `ret_text` ends with a NUL. Returns 0, `err`, or -ENOMEM. */
int rota__arena_settle(struct rota__arena *arena, struct rota__out *out, int err,
                       rota_str *ret_text);

/* A copy, text and all; NULL without memory. */
rota_http_field *rota__arena_copy_fields(struct rota__arena *arena, const rota_http_field *fields,
                                         size_t count);

#endif
