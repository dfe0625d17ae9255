/* Counts the bytes that a server keeps for its clients, and limits their sum. Requests beyond it
 * are refused; nothing waits for memory. */
#ifndef ROTA__HTTP_BUDGET_H
#define ROTA__HTTP_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

struct rota__budget {
    size_t limit, used;
    /* The same, for others to see. */
    size_t *shown;
};

static inline bool rota__budget_take(struct rota__budget *budget, size_t bytes)
{
    if (__builtin_expect(bytes > budget->limit - budget->used, 0))
        return false;
    *budget->shown = budget->used += bytes;
    return true;
}

static inline void rota__budget_give(struct rota__budget *budget, size_t bytes)
{
    *budget->shown = budget->used -= bytes;
}

/* Changes the amount that one holder has taken, `*held`, to `bytes`. Returns false if it does not
 * fit; then nothing has changed. */
static inline bool rota__budget_hold(struct rota__budget *budget, size_t *held, size_t bytes)
{
    if (bytes > *held && !rota__budget_take(budget, bytes - *held))
        return false;
    if (bytes < *held)
        rota__budget_give(budget, *held - bytes);
    *held = bytes;
    return true;
}

#endif
