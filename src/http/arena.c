#include "http/arena.h"
#include "http/fields.h"

#include <errno.h>
#include <string.h>

/* Most first blocks that are kept for later requests. */
#define KEPT 64
/* Minimum size of further blocks. */
#define GROWTH 4096
#define HEAD 16

int rota__arena_init(struct rota__arena *arena, struct rota__arena_store *store)
{
    struct rota__arena_block *block = store->free;
    struct rota__budget *budget = store->budget;
    if (budget && !rota__budget_take(budget, store->size))
        return -ENOMEM;
    if (block) {
        store->free = block->next;
        store->count--;
    } else {
        block = rota_alloc(store->size);
    }
    if (!block) {
        if (budget)
            rota__budget_give(budget, store->size);
        return -ENOMEM;
    }
    block->next = NULL;
    *arena = (struct rota__arena){.blocks = block,
                                  .at = (char *)block + HEAD,
                                  .end = (char *)block + store->size,
                                  .budget = budget,
                                  .taken = store->size};
    return 0;
}

int rota__arena_init_for(struct rota__arena *arena, size_t size)
{
    struct rota__arena_block *block = rota_alloc(HEAD + size);
    if (!block)
        return -ENOMEM;
    block->next = NULL;
    *arena = (struct rota__arena){
        .blocks = block, .at = (char *)block + HEAD, .end = (char *)block + HEAD + size};
    return 0;
}

void rota__arena_fini(struct rota__arena *arena, struct rota__arena_store *store)
{
    struct rota__arena_block *block = arena->blocks, *next;
    if (arena->budget)
        rota__budget_give(arena->budget, arena->taken);
    for (; block && (next = block->next); block = next)
        rota_free(block);
    if (!store || store->count == KEPT) {
        rota_free(block);
        return;
    }
    block->next = store->free;
    store->free = block;
    store->count++;
}

void rota__arena_store_fini(struct rota__arena_store *store)
{
    struct rota__arena_block *block;
    while ((block = store->free)) {
        store->free = block->next;
        rota_free(block);
    }
}

void *rota__arena_grow(struct rota__arena *arena, size_t size)
{
    if (size > PTRDIFF_MAX - HEAD - 16)
        return NULL;
    size_t rounded = (size + 15) & ~(size_t)15;
    size_t room = rounded < GROWTH - HEAD ? GROWTH - HEAD : rounded;
    struct rota__budget *budget = arena->budget;
    if (budget && !rota__budget_hold(budget, &arena->taken, arena->taken + HEAD + room))
        return NULL;
    struct rota__arena_block *block = rota_alloc(HEAD + room);
    if (!block) {
        if (budget)
            rota__budget_hold(budget, &arena->taken, arena->taken - HEAD - room);
        return NULL;
    }
    block->next = arena->blocks;
    arena->blocks = block;
    char *bytes = (char *)block + HEAD;
    /* Continue with the block that has more space left: a new block may have been allocated for
     * exactly this size. */
    if (room - rounded > (size_t)(arena->end - arena->at)) {
        arena->at = bytes + rounded;
        arena->end = bytes + room;
    }
    return bytes;
}

char *rota__arena_copy(struct rota__arena *arena, rota_str s)
{
    char *copy = s.len < SIZE_MAX ? rota__arena_alloc(arena, s.len + 1) : NULL;
    if (!copy)
        return NULL;
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

int rota__arena_settle(struct rota__arena *arena, struct rota__out *out, int err,
                       rota_str *ret_text)
{
    if (err == 0)
        err = out->err;
    char *text = err < 0 ? NULL : rota__arena_copy(arena, (rota_str){out->ptr, out->len});
    if (text)
        *ret_text = (rota_str){text, out->len};
    rota__out_fini(out);
    return err < 0 ? err : text ? 0 : -ENOMEM;
}

static rota_str append(char **at, rota_str s)
{
    char *to = *at;
    *at = s.len ? mempcpy(to, s.ptr, s.len) : to;
    return (rota_str){to, s.len};
}

rota_http_field *rota__arena_copy_fields(struct rota__arena *arena, const rota_http_field *fields,
                                         size_t count)
{
    rota_http_field *copies = rota__arena_alloc(arena, (count + 1) * sizeof *copies);
    char *at = rota__arena_alloc(arena, rota__fields_text(fields, count) + 1);
    if (!copies || !at)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        copies[i].name = append(&at, fields[i].name);
        copies[i].value = append(&at, fields[i].value);
    }
    return copies;
}
