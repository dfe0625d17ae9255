/* Mutex.
 *
 *     free --lock--> owned --unlock, nobody in line--> free
 *                    owned --unlock--> owned by the first in line
 *
 * Invariants:
 * 1. A free mutex has no waiters, so a task that finds it free may take it.
 * 2. Ownership moves in unlock, not when the new owner runs: a newcomer finds the mutex owned. */
#include "sync/sync.h"

int rota__home_settle(const void **home, const void *there, const char *call)
{
    const rota_loop *owner = there;
    bool free = !owner || !atomic_load(&owner->inside);
    /* A thread that is in no loop may still use what belongs to the loop that it has left. */
    if (!free && (rota__handle_here || atomic_load(&owner->thread) != rota__thread_serial()))
        return rota__loop_refuse(call);
    if (free)
        __atomic_store_n(home, rota__handle_here, __ATOMIC_RELAXED);
    return 0;
}

void rota__line_leave(struct rota__wait *wait, int reason)
{
    struct rota__waiter *w = rota__container_of(wait, struct rota__waiter, wait);
    rota__list_remove(&w->node);
    rota__wake(wait, reason);
}

const rota_task *rota__mutex_holder(const void *mutex)
{
    return ((const rota_mutex *)mutex)->_owner;
}

static const struct rota__wait_kind mutex_kind = {"mutex", rota__line_leave, rota__mutex_holder};

int rota_mutex_lock(rota_mutex *mutex)
{
    int err = rota__sync_enter(&mutex->_home, __func__);
    if (err < 0)
        return err;
    rota_task *task = rota__task_here();
    if (!mutex->_owner) {
        mutex->_owner = task;
        return (int)rota__done_at_once(0);
    }
    if (mutex->_owner == task)
        return rota_error_set(-EDEADLK, "lock a mutex: this task has locked it already");
    struct rota__mutex_waiter w = {.mutex = mutex};
    rota__line_append(&mutex->_waiters, &w.in.node);
    return rota__park(&w.in.wait, &mutex_kind, mutex);
}

int rota_mutex_try_lock(rota_mutex *mutex)
{
    int err = rota__home_check(&mutex->_home, __func__);
    if (err < 0)
        return err;
    rota_task *task = rota__task_here();
    if (!task)
        return rota__error_plain(ROTA_ENOTASK);
    if (mutex->_owner)
        return rota__error_plain(-EAGAIN);
    mutex->_owner = task;
    return 0;
}

void rota__mutex_pass_on(rota_mutex *mutex)
{
    struct rota__waiter *first = rota__line_take(&mutex->_waiters);
    if (!first) {
        mutex->_owner = NULL;
        return;
    }
    struct rota__mutex_waiter *w = rota__container_of(first, struct rota__mutex_waiter, in);
    mutex->_owner = w->in.wait.fiber->task;
    rota__wake(&w->in.wait, w->result);
}

int rota_mutex_unlock(rota_mutex *mutex)
{
    int err = rota__home_check(&mutex->_home, __func__);
    if (err < 0)
        return err;
    if (!mutex->_owner || mutex->_owner != rota__task_here())
        return rota_error_set(-EPERM, "unlock a mutex: this task has not locked it");
    rota__mutex_pass_on(mutex);
    return 0;
}

rota_task *rota_mutex_owner(const rota_mutex *mutex)
{
    return mutex->_owner;
}
