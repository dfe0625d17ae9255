/* What the primitives share: a line of waiting tasks, and the thread an object belongs to. */
#ifndef ROTA__SYNC_SYNC_H
#define ROTA__SYNC_SYNC_H

#include "base/list.h"
#include "task/task.h"

#include <rota/sync.h>

/* A task in a line; on its own stack. */
struct rota__waiter {
    struct rota__wait wait;
    struct rota__list node;
};

/* A line that was only zeroed is an empty one, so that initialisers are constants. */
static inline void rota__line_append(struct rota__list *line, struct rota__list *node)
{
    if (!line->next)
        rota__list_init(line);
    rota__list_append(line, node);
}

static inline struct rota__waiter *rota__line_take(struct rota__list *line)
{
    struct rota__list *node = line->next ? rota__list_take_first(line) : NULL;
    return node ? rota__container_of(node, struct rota__waiter, node) : NULL;
}

/* Decides all in the line, first come first. */
static inline void rota__line_wake(struct rota__list *line, int result)
{
    for (struct rota__waiter *w; (w = rota__line_take(line));)
        rota__wake(&w->wait, result);
}

/* The abort of a wait in which standing in the line is all there is to take back. */
void rota__line_leave(struct rota__wait *wait, int reason);

/* Stops the current task until it is taken out of the line, or cancelled. */
static inline int rota__line_wait(struct rota__list *line, const struct rota__wait_kind *kind,
                                  const void *object)
{
    struct rota__waiter w = {.wait = {.decided = false}};
    rota__line_append(line, &w.node);
    return rota__park(&w.wait, kind, object);
}

int rota__home_settle(const void **home, const void *there, const char *call);

/* 0 if the object may be used by the calling thread; else the call is reported and refused with
 * ROTA_ETHREAD. It belongs to the first loop in which it is used, until that has ended, and goes
 * with it from thread to thread. Atomic, because the point is to notice calls from other
 * threads. */
static inline int rota__home_check(const void **home, const char *call)
{
    const void *here = rota__handle_here, *there = __atomic_load_n(home, __ATOMIC_RELAXED);
    return __builtin_expect(there == here, true) ? 0 : rota__home_settle(home, there, call);
}

/* What every call that suspends begins with: 0, ROTA_ETHREAD, or as rota__suspend_check. */
static inline int rota__sync_enter(const void **home, const char *call)
{
    int err = rota__home_check(home, call);
    return __builtin_expect(err < 0, false) ? err : rota__suspend_check();
}

/* A task that is to have a mutex. */
struct rota__mutex_waiter {
    struct rota__waiter in;
    rota_mutex *mutex;
    int result; /* of its call, once it has the mutex */
};

const rota_task *rota__mutex_holder(const void *mutex);
/* Gives the mutex to the first in line, or makes it free. */
void rota__mutex_pass_on(rota_mutex *mutex);

#endif
