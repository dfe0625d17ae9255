/* Locals: each task refers to an immutable table of bindings, which it shares with the tasks that
 * it spawned since its last change. A table that nobody shares is changed in place. */
#include "base/alloc.h"
#include "task/task.h"

#include <string.h>

struct rota__bindings {
    size_t refs;
    size_t n;
    struct binding {
        const rota_local *local;
        void *value;
    } at[];
};

static struct binding *find(struct rota__bindings *b, const rota_local *local)
{
    for (size_t i = 0; b && i < b->n; i++)
        if (b->at[i].local == local)
            return &b->at[i];
    return NULL;
}

struct rota__bindings *rota__locals_inherit(struct rota__fiber *parent)
{
    parent->locals->refs++;
    return parent->locals;
}

void rota__locals_release(struct rota__bindings *b)
{
    if (--b->refs == 0)
        rota_free(b);
}

void *rota_local_get(const rota_local *local)
{
    struct rota__fiber *here = rota__fiber_here();
    struct binding *found = here ? find(here->locals, local) : NULL;
    return found ? found->value : local->initial;
}

int rota_local_set(const rota_local *local, void *value)
{
    struct rota__fiber *here = rota__fiber_here();
    if (!here)
        return rota__error_plain(ROTA_ENOTASK);
    struct rota__bindings *old = here->locals;
    struct binding *found = find(old, local);
    if (!found || old->refs > 1) {
        size_t n = old ? old->n : 0;
        size_t at = found ? (size_t)(found - old->at) : n;
        struct rota__bindings *b = rota_alloc(sizeof *b + (n + 1) * sizeof *b->at);
        if (!b)
            return rota__error_plain(-ENOMEM);
        b->refs = 1;
        b->n = found ? n : n + 1;
        if (old)
            memcpy(b->at, old->at, n * sizeof *b->at);
        b->at[at].local = local;
        if (old)
            rota__locals_release(old);
        here->locals = b;
        found = &b->at[at];
    }
    found->value = value;
    return 0;
}
