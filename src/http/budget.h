/* What clients make a server keep, in bytes: counted, and limited as a whole. What does not fit is
 * refused; nothing waits for others to give something back. */
#ifndef ROTA__HTTP_BUDGET_H
#define ROTA__HTTP_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

struct rota__budget {
    size_t limit, used;
    size_t *shown; /* the same, for others to see */
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

/* Changes what one holder has taken, `*held`, to `bytes`. False: it does not fit, and nothing has
 * changed. */
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
