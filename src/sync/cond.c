/* Condition. A task that waits stands in one line after the other, and runs only when it has the
 * mutex:
 *
 *     wait: gives the mutex up --> in the condition's line
 *     in the condition's line --notify, cancel--> gets the mutex, or in the mutex's line if it is
 *     owned
 *     in the mutex's line --unlock--> has the mutex, and returns
 *
 * Invariants:
 * 1. What ends the first wait (0, -ECANCELED, -ETIMEDOUT) is what the call returns; a cancellation
 *    that comes later is not seen by it. So a notification is either used up by a call that returns
 *    0, or goes to the next in line.
 * 2. The mutex's line cannot be left: the call always returns with the mutex. */
#include "sync/sync.h"

/* The wait for the mutex goes on; the cancellation arrives at the next call that suspends. */
static void cond_stay(struct rota__wait *wait, int reason)
{
    (void)wait;
    (void)reason;
}

static const struct rota__wait_kind cond_relock_kind = {"mutex", cond_stay, rota__mutex_holder};

/* `w` has left the condition's line. */
static void cond_relock(struct rota__mutex_waiter *w, int result)
{
    w->result = result;
    w->in.wait.kind = &cond_relock_kind;
    w->in.wait.object = w->mutex;
    rota__line_append(&w->mutex->_waiters, &w->in.node);
    if (!w->mutex->_owner)
        rota__mutex_pass_on(w->mutex);
}

static void cond_abort(struct rota__wait *wait, int reason)
{
    struct rota__mutex_waiter *w = rota__container_of(wait, struct rota__mutex_waiter, in.wait);
    rota__list_remove(&w->in.node);
    cond_relock(w, reason);
}

static const struct rota__wait_kind cond_kind = {"condition", cond_abort};

int rota_cond_wait(rota_cond *cond, rota_mutex *mutex)
{
    int err = rota__sync_enter(&cond->_home, __func__);
    if (err < 0)
        return err;
    if (mutex->_owner != rota__task_here())
        return rota__error_plain(-EPERM);
    struct rota__mutex_waiter w = {.mutex = mutex};
    rota__line_append(&cond->_waiters, &w.in.node);
    rota__mutex_pass_on(mutex);
    return rota__park(&w.in.wait, &cond_kind, cond);
}

int rota_cond_notify(rota_cond *cond, size_t n)
{
    int err = rota__home_check(&cond->_home, __func__);
    if (err < 0)
        return err;
    for (struct rota__waiter *w; n > 0 && (w = rota__line_take(&cond->_waiters)); n--)
        cond_relock(rota__container_of(w, struct rota__mutex_waiter, in), 0);
    return 0;
}

int rota_cond_notify_all(rota_cond *cond)
{
    return rota_cond_notify(cond, SIZE_MAX);
}
