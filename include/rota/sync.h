/* sync: locks, events, queues and other ways for tasks of one thread to wait for one another.
 *
 * Another task runs only when a call suspends, so plain variables need no lock between two such
 * calls. A mutex protects data across suspending calls:
 *
 *     struct account {
 *         rota_mutex mutex;                      // = ROTA_MUTEX_INIT, or zeroed
 *         int balance;
 *     };
 *
 *     static int deposit(void *arg)
 *     {
 *         struct account *account = arg;
 *         int err;
 *         ROTA_LOCK(&account->mutex, &err) {
 *             int balance = account->balance;
 *             err = rota_sleep(10 * ROTA_MILLISECOND);  // other tasks run, but not in here
 *             if (err < 0)
 *                 return err;                    // unlocks, like every other way out
 *             account->balance = balance + 1;
 *         }
 *         return err;
 *     }
 *
 * A queue passes items from task to task. Closing it tells the consumers that no more items follow:
 *
 *     struct shop {
 *         rota_queue *jobs;
 *         int sum;
 *     };
 *
 *     static int worker(void *arg)
 *     {
 *         struct shop *shop = arg;
 *         int slot, err;
 *         ROTA_FOREACH(int *, job, rota_queue_iter(shop->jobs, &slot), &err)
 *             shop->sum += *job;
 *         return err;                            // 0: closed and empty
 *     }
 *
 *     static int produce(void *arg)
 *     {
 *         struct shop *shop = arg;
 *         ROTA_AUTO(rota_queue) jobs = NULL;
 *         int err = rota_queue_new(8, sizeof(int), &jobs);
 *         if (err < 0)
 *             return err;
 *         shop->jobs = jobs;
 *         ROTA_GROUP(workers);
 *         rota_group_spawn(&workers, worker, shop);
 *         rota_group_spawn(&workers, worker, shop);
 *         for (int i = 1; i <= 100 && err >= 0; i++)
 *             err = rota_queue_put(jobs, &i);
 *         rota_queue_close(jobs);
 *         return rota_group_wait(&workers);
 *     }
 *
 * Storage. All of them except the queue live in your storage, static or not. Each ..._INIT is a
 * constant, and a zeroed object is initialised as well (a semaphore without permits, a barrier for
 * one task). They allocate nothing and need no release. Do not copy or move them once used.
 *
 * Order. Waiters are served first come, first served. A released object is handed to the first
 * waiter, so a newcomer cannot take it first.
 *
 * Cancellation. Each suspending call returns -ECANCELED or -ETIMEDOUT in a cancelled scope or past
 * a deadline, and then it has taken nothing. If it already had its object when the cancellation
 * came, it succeeds, and the cancellation arrives at the next call. So nothing that is handed over
 * is lost.
 *
 * Threads. An object belongs to the loop in which it is first used, until that loop ends, and goes
 * with it from thread to thread. Other threads are refused with ROTA_ETHREAD and a report to the
 * log hook. Calls that do not suspend may also be made by callbacks of the loop. To reach a loop
 * from another thread, use rota_loop_call_threadsafe. */
#ifndef ROTA_SYNC_H
#define ROTA_SYNC_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Mutex: asyncio's Lock ---- */

typedef struct rota_mutex {
    rota_task *_owner;
    struct rota__list _waiters;
    const void *_home;
} rota_mutex;

#define ROTA_MUTEX_INIT          \
    {                            \
        NULL, {NULL, NULL}, NULL \
    }

/* Waits until the mutex is free and locks it. Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK,
 * -EDEADLK (the caller has locked it already) or ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_mutex_lock(rota_mutex *mutex);

/* Locks the mutex if it is free. Returns 0, -EAGAIN, ROTA_ENOTASK or ROTA_ETHREAD. */
ROTA_API int rota_mutex_try_lock(rota_mutex *mutex);

/* Gives the mutex to the first waiter, which becomes ready; the caller goes on. Returns 0, -EPERM
 * (the caller has not locked it) or ROTA_ETHREAD. */
ROTA_API int rota_mutex_unlock(rota_mutex *mutex);

/* The task that has locked the mutex, or NULL. */
ROTA_API rota_task *rota_mutex_owner(const rota_mutex *mutex);

typedef struct rota__lock {
    rota_mutex *mutex;
    bool held;
} rota__lock;

static inline bool rota__lock_enter(rota__lock *lock, int *ret_err)
{
    *ret_err = rota_mutex_lock(lock->mutex);
    lock->held = *ret_err >= 0;
    return lock->held;
}

static inline void rota__lock_leave(rota__lock *lock)
{
    if (lock->held)
        rota_mutex_unlock(lock->mutex);
}
ROTA_DEFINE_SCOPED(rota__lock, rota__lock_leave);

/* Runs the block with the mutex locked, and unlocks it however the block is left: at its end, by
 * break, return or goto. A break in it leaves only this block, not a loop around it. `*err` is what
 * rota_mutex_lock returned; when that is an error, the block is skipped. */
#define ROTA_LOCK(mutex, err)                                                               \
    ROTA__ONCE(ROTA__UNIQUE(rota__enter_lock),                                              \
               ROTA_SCOPED(rota__lock) ROTA__UNIQUE(rota__locked) = ROTA__HOLDER_OF(mutex), \
               rota__lock_enter(&ROTA__UNIQUE(rota__locked), (err)))
#define ROTA__HOLDER_OF(object) \
    {                           \
        (object), false         \
    }

/* ---- Event: a flag to wait for ---- */

typedef struct rota_event {
    bool _set;
    struct rota__list _waiters;
    const void *_home;
} rota_event;

#define ROTA_EVENT_INIT           \
    {                             \
        false, {NULL, NULL}, NULL \
    }

/* Waits until the event is set; returns at once if it already is. It stays set. Returns 0,
 * -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK or ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_event_wait(rota_event *event);

/* Sets the event: all waiters become ready, even if it is cleared before they run. Returns 0 or
 * ROTA_ETHREAD. */
ROTA_API int rota_event_set(rota_event *event);
ROTA_API int rota_event_clear(rota_event *event);
ROTA_API bool rota_event_is_set(const rota_event *event);

/* ---- Condition: wait until data protected by a mutex has changed ---- */

typedef struct rota_cond {
    struct rota__list _waiters;
    const void *_home;
} rota_cond;

#define ROTA_COND_INIT     \
    {                      \
        {NULL, NULL}, NULL \
    }

/* Unlocks the mutex, waits until notified, and locks it again. There are no spurious wake-ups, but
 * others may have had the mutex in between, so wait in a loop:
 *
 *     while (err == 0 && !stock)
 *         err = rota_cond_wait(&changed, &mutex);
 *
 * The mutex is locked again whatever is returned: a cancellation ends the wait for the
 * notification, but not the one for the mutex. Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK,
 * -EPERM (the caller has not locked the mutex) or ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_cond_wait(rota_cond *cond, rota_mutex *mutex);

/* Wakes the first `n` waiters, or all; each goes on when it has locked its mutex. The caller may
 * hold that mutex, but need not. Returns 0 or ROTA_ETHREAD. */
ROTA_API int rota_cond_notify(rota_cond *cond, size_t n);
ROTA_API int rota_cond_notify_all(rota_cond *cond);

/* ---- Semaphore: at most n at once ---- */

typedef struct rota_semaphore {
    size_t _value;
    struct rota__list _waiters;
    const void *_home;
} rota_semaphore;

/* Begins with `n` permits. */
#define ROTA_SEMAPHORE_INIT(n)  \
    {                           \
        (n), {NULL, NULL}, NULL \
    }

/* Waits for a permit and takes it. Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK or
 * ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_semaphore_acquire(rota_semaphore *semaphore);

/* Takes a permit if there is one. Returns 0, -EAGAIN or ROTA_ETHREAD. */
ROTA_API int rota_semaphore_try_acquire(rota_semaphore *semaphore);

/* Gives a permit back, or adds one. Any task or callback of the loop may call this. Returns 0 or
 * ROTA_ETHREAD. */
ROTA_API int rota_semaphore_release(rota_semaphore *semaphore);

/* The number of free permits. */
ROTA_API size_t rota_semaphore_value(const rota_semaphore *semaphore);

typedef struct rota__permit {
    rota_semaphore *semaphore;
    bool held;
} rota__permit;

static inline bool rota__permit_enter(rota__permit *permit, int *ret_err)
{
    *ret_err = rota_semaphore_acquire(permit->semaphore);
    permit->held = *ret_err >= 0;
    return permit->held;
}

static inline void rota__permit_leave(rota__permit *permit)
{
    if (permit->held)
        rota_semaphore_release(permit->semaphore);
}
ROTA_DEFINE_SCOPED(rota__permit, rota__permit_leave);

/* Runs the block with a permit, as ROTA_LOCK does with a mutex. */
#define ROTA_PERMIT(semaphore, err)                                      \
    ROTA__ONCE(ROTA__UNIQUE(rota__enter_permit),                         \
               ROTA_SCOPED(rota__permit) ROTA__UNIQUE(rota__permitted) = \
                   ROTA__HOLDER_OF(semaphore),                           \
               rota__permit_enter(&ROTA__UNIQUE(rota__permitted), (err)))

/* ---- Barrier: no task goes on before all have arrived ---- */

typedef struct rota_barrier {
    int _parties;
    int _waiting;
    bool _broken;
    struct rota__list _waiters;
    const void *_home;
} rota_barrier;

/* For `n` tasks. */
#define ROTA_BARRIER_INIT(n)              \
    {                                     \
        (n), 0, false, {NULL, NULL}, NULL \
    }

/* Waits until as many tasks have arrived as the barrier is for. Then all go on, and the barrier is
 * ready for the next round. A task whose wait is cancelled does not count as arrived.
 *
 * Returns the task's order of arrival, from 0, so that one task can do what has to be done once;
 * -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ECLOSED (it is or was broken) or
 * ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_barrier_wait(rota_barrier *barrier);

/* Breaks the barrier: tasks that wait there now or arrive later get ROTA_ECLOSED. Use it when one
 * of the tasks will not arrive. rota_barrier_reset ends the waits in the same way, and makes the
 * barrier usable again. Both return 0 or ROTA_ETHREAD. */
ROTA_API int rota_barrier_break(rota_barrier *barrier);
ROTA_API int rota_barrier_reset(rota_barrier *barrier);

/* The number of waiting tasks. */
ROTA_API int rota_barrier_waiting(const rota_barrier *barrier);

/* ---- Queue: asyncio's Queue, Go's channel ---- */

typedef struct rota_queue rota_queue;

/* Makes a queue for at most `capacity` items of `item_size` bytes, which are copied in and out.
 * Unlike in asyncio, a capacity of 0 does not mean unlimited: each put waits for its get (a
 * rendezvous). Items may have the size 0; then pointers to them are ignored. A queue that is made
 * inside a loop belongs to that loop, any other to the loop that first uses it. Returns 0 or
 * -ENOMEM. */
ROTA_API int rota_queue_new(size_t capacity, size_t item_size, rota_queue **ret_queue);

/* Closes and frees the queue and its items. Tasks that still wait get ROTA_ECLOSED, and must
 * not use it again. Accepts NULL, returns NULL. */
ROTA_API rota_queue *rota_queue_free(rota_queue *queue);
ROTA_DEFINE_AUTO(rota_queue, rota_queue_free);

/* Puts a copy of `item` at the end, waiting for room; with a capacity of 0, for a getter. When it
 * returns an error, the item was not put: ROTA_ECLOSED, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK or
 * ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_queue_put(rota_queue *queue, const void *item);

/* Takes the first item, waiting until there is one. Returns 0; ROTA_ECLOSED (closed, and all items
 * have been taken), -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK or ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_queue_get(rota_queue *queue, void *ret_item);

/* Put and get without waiting: return -EAGAIN where the others would wait. */
ROTA_API int rota_queue_try_put(rota_queue *queue, const void *item);
ROTA_API int rota_queue_try_get(rota_queue *queue, void *ret_item);

/* Closes the queue: puts, also those that wait, return ROTA_ECLOSED; gets go on until the queue is
 * empty. Does nothing if it is closed. Returns 0 or ROTA_ETHREAD. */
ROTA_API int rota_queue_close(rota_queue *queue);

/* The number of items in the queue. */
ROTA_API size_t rota_queue_len(const rota_queue *queue);

/* Waits until rota_queue_task_done was called once for each item that was put, so until all work is
 * finished. Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK or ROTA_ETHREAD;
 * ROTA_ECLOSED (the queue was freed meanwhile). */
ROTA_SUSPENDS int rota_queue_join(rota_queue *queue);

/* Says that the work on an item is finished, for rota_queue_join. Returns 0, -EINVAL (called more
 * often than items were put) or ROTA_ETHREAD. */
ROTA_API int rota_queue_task_done(rota_queue *queue);

struct rota__queue_reader {
    rota_queue *queue;
    void *slot;
};

static inline int rota__queue_next(void *reader, void **ret_item)
{
    struct rota__queue_reader *r = (struct rota__queue_reader *)reader;
    int err = rota_queue_get(r->queue, r->slot);
    if (err < 0)
        return err == ROTA_ECLOSED ? 0 : err;
    *ret_item = r->slot;
    return 1;
}

/* Iterates over the items until the queue is closed and empty. Each is copied to your *slot, so
 * several tasks may iterate over one queue. The iterator lives as long as the block in
 * which it is written; in C++ as long as ROTA_FOREACH or the call that it is written in. */
#ifdef __cplusplus
#define rota_queue_iter(queue, slot) (rota__queue_iter{{(queue), (slot)}})

struct rota__queue_iter {
    struct rota__queue_reader reader;
    operator rota_iter()
    {
        return {rota__queue_next, &reader};
    }
};
#else
#define rota_queue_iter(queue, slot) \
    ((rota_iter){rota__queue_next, &(struct rota__queue_reader){(queue), (slot)}})
#endif

/* ---- Select: the first of several queues ---- */

/* A put or a get that may be done. Lives in your storage:
 *
 *     rota_case cases[] = {{.queue = jobs, .get = &job}, {.queue = log, .put = &line}}; */
typedef struct rota_case {
    /* NULL: this case is left out. */
    rota_queue *queue;
    /* Where to copy the item. */
    void *get;
    /* Not NULL: put this item instead of getting one. */
    const void *put;
    struct rota__list _node;
    struct rota__selection *_selection;
} rota_case;

/* Waits until one of the cases can be done, does it, and stores which one. Exactly one is done. If
 * several can be done, one of them is taken at random, so that a busy queue does not starve
 * another; to prefer one of them, call rota_queue_try_get on it before. Any number of cases is
 * allowed; nothing is allocated.
 *
 * A closed queue counts as ready, and is the one case in which an index is stored with an error:
 * to go on with the others, set cases[index].queue to NULL.
 *
 * Returns 0; ROTA_ECLOSED (of cases[*ret_index]); -EINVAL (no case has a queue), -ECANCELED,
 * -ETIMEDOUT, ROTA_ENOTASK or ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_select(rota_case *cases, size_t n, size_t *ret_index);

/* Selects without waiting: -EAGAIN when no case can be done at once. */
ROTA_API int rota_try_select(rota_case *cases, size_t n, size_t *ret_index);

#ifdef __cplusplus
}
#endif

#endif
