/* Memory that is freed at once: of a request's parser, reply and handler, or of a response.
 *
 * The first block comes from a store, which keeps some for later requests, or is allocated for a
 * given size, or is the caller's. Further blocks are allocated as needed. */
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
    /* What arenas take is counted there; NULL: nowhere. */
    struct rota__budget *budget;
};

struct rota__arena {
    /* The last one is the store's, if there is one. */
    struct rota__arena_block *blocks;
    char *at, *end;
    struct rota__budget *budget;
    /* Taken from the budget. */
    size_t taken;
};

/* Returns 0 or -ENOMEM, also if the budget is exhausted. */
int rota__arena_init(struct rota__arena *arena, struct rota__arena_store *store);
/* Without a store: the first block has `size` bytes. Returns 0 or -ENOMEM. */
int rota__arena_init_for(struct rota__arena *arena, size_t size);
/* The first block is the caller's. */
static inline struct rota__arena rota__arena_on(void *memory, size_t size)
{
    return (struct rota__arena){.at = (char *)memory, .end = (char *)memory + size};
}
/* Frees everything that came from the arena, which may be part of that memory. `store` is NULL if
 * it was made without one. */
void rota__arena_fini(struct rota__arena *arena, struct rota__arena_store *store);
void rota__arena_store_fini(struct rota__arena_store *store);

/* In a new block. */
void *rota__arena_grow(struct rota__arena *arena, size_t size);

/* Returns NULL without memory. */
static inline void *rota__arena_alloc(struct rota__arena *arena, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    if (__builtin_expect(rounded < size || rounded > (size_t)(arena->end - arena->at), 0))
        return rota__arena_grow(arena, size);
    void *ptr = arena->at;
    arena->at += rounded;
    return ptr;
}

/* Returns a copy followed by a NUL; NULL without memory. */
char *rota__arena_copy(struct rota__arena *arena, rota_str s);

/* Moves the content of `out` to the arena, with a NUL after it, and releases `out`. `err`: an error
 * of writing it; then nothing is moved. Returns 0, `err`, or -ENOMEM. */
int rota__arena_settle(struct rota__arena *arena, struct rota__out *out, int err,
                       rota_str *ret_text);

/* Returns a copy that includes the text; NULL without memory. */
rota_http_field *rota__arena_copy_fields(struct rota__arena *arena, const rota_http_field *fields,
                                         size_t count);

#endif
