/* Memory that goes in one free: what a request's parser, reply and handler allocate.
 *
 * The first block comes from a store, which keeps some for the next requests; what does not fit gets blocks
 * of its own. */
#ifndef ROTA__HTTP_ARENA_H
#define ROTA__HTTP_ARENA_H

#include <rota/base.h>

struct rota__arena_block {
    struct rota__arena_block *next;
};

/* First blocks, all of one size. */
struct rota__arena_store {
    struct rota__arena_block *free;
    size_t size, count;
};

struct rota__arena {
    struct rota__arena_block *blocks; /* the last one is the store's */
    char *at, *end;
};

/* Returns 0 or -ENOMEM. */
int rota__arena_init(struct rota__arena *arena, struct rota__arena_store *store);
/* Frees everything that came from the arena. */
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

#endif
