/* The task layer's inside: parking and waking, on which every primitive that waits is built.
 *
 * A primitive that waits does this:
 *
 *     int err = rota__suspend_check();            // ROTA_ENOTASK, -ECANCELED or -ETIMEDOUT
 *     if (err < 0)
 *         return err;
 *     if (can be had at once)
 *         return it;
 *     struct my_waiter w = {...};
 *     rota__list_append(&object->waiters, &w.node);
 *     return rota__park(&w.wait, &my_wait_kind, object);
 *
 * Whoever has the result takes the waiter out of the list, stores the result in it and calls
 * rota__wake(&w->wait, result). Cancellation calls kind->abort(wait, reason), which takes the waiter
 * out of its list and calls rota__wake(wait, reason), or asks somebody to do so later. Thus a waiter
 * leaves its list at the moment it is decided, the first decision counts, and what was handed to it is
 * never lost: rota__park returns exactly what the one rota__wake said. */
#ifndef ROTA__TASK_TASK_H
#define ROTA__TASK_TASK_H

#include "loop/loop.h"

#include <rota/task.h>

struct rota__wait;

struct rota__wait_kind {
    const char *name; /* "mutex": what reports say the task waits for */
    void (*abort)(struct rota__wait *wait, int reason);
};

/* One task waiting for one thing; on the stack of the one who waits. */
struct rota__wait {
    const struct rota__wait_kind *kind;
    const void *object; /* for reports */
    rota_task *task;
    int result;
    bool decided; /* woken, though perhaps not yet run */
};

enum rota__scope_kind { ROTA__SCOPE_TASK, ROTA__SCOPE_GROUP, ROTA__SCOPE_TIMEOUT, ROTA__SCOPE_SHIELD };

struct rota_task {
    struct rota__item item;
    struct rota__coro *resume; /* the coroutine to continue: its own, or a generator's */
    rota_loop *loop;
    int interrupt; /* what suspending calls return: 0, -ECANCELED, -ETIMEDOUT */
    int budget;    /* operations it may still do at once before it has to yield */
    struct rota__wait *wait;
    rota_fn *fn;
    void *arg;
    const rota_site *site;
    struct rota__list scopes; /* innermost first */
    struct rota__scope own;
    struct rota__coro coro;
    struct rota__stack *stack;
    struct rota__list all; /* in loop->tasks */
    rota_future done;
    rota_group *group;
    struct rota__list member; /* in the group's list */
    struct rota__bindings *locals;
    struct rota__deferred *deferred;
    bool ended, owned, joining, read; /* owned: somebody has the handle; read: the result was seen */
    char name[32];
};

/* The running task, or NULL. */
static inline rota_task *rota__task_here(void)
{
    return rota__loop_here ? rota__loop_here->current : NULL;
}

/* To be called first by whatever may suspend: 0, ROTA_ENOTASK, -ECANCELED or -ETIMEDOUT. */
int rota__suspend_check(void);

/* Stops the current task until rota__wake; returns the result given there. Outside a shield, an
 * interrupt that arrives meanwhile calls kind->abort. The caller has done rota__suspend_check. */
int rota__park(struct rota__wait *wait, const struct rota__wait_kind *kind, const void *object);

/* Decides a wait: the task becomes ready. Each wait is decided exactly once: the caller has taken it
 * out of whatever list it was in. The wait may be decided before rota__park is called. */
void rota__wake(struct rota__wait *wait, int result);

/* Runs an operation to its end: starts it, parks, withdraws it on cancellation and returns only when
 * the kernel has let go of it. Returns op->result. An operation that is done at once counts against the
 * task's budget, and yields when that is used up. Does rota__suspend_check itself. op->done is set here. */
ssize_t rota__op_await(struct rota__op *op, const char *name);

#endif
