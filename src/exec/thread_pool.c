/* Thread pools.
 *
 *     work      queued -> running (take) -> finished (thread_run) -> collected (collect, on the
 *                                                                      loop's thread)
 *                                        -> orphaned (pool_abandon): its thread frees it and ends
 *     a thread  takes work while there is some; then looks for it for a moment (at most one thread
 *               at a time); then sleeps on `wanted` until it is given a token
 *
 * 1. The mutex guards the queue and what is counted beside it. The lists of threads and of finished
 *    work need none: the first is the loop's alone, the second is pushed to atomically and taken
 *    whole.
 * 2. Only the thread that pushes finished work onto an empty list posts to the loop. However many
 *    jobs have ended when the loop looks, it was woken once, and the post is never in the inbox
 *    twice.
 * 3. A thread that sleeps is idle. To wake it, it is taken off that count and a token is left for
 *    it.
 * 4. A thread that has a token, looks out, or has finished work and not come back yet, is coming:
 *    it will see what is queued now. While one is coming none is woken: it takes the first job and,
 *    if that leaves others, wakes the next. So short jobs do not wake every thread, and long ones
 *    soon do.
 * 5. While jobs are queued and threads idle, one is coming. A thread is started where those that
 *    come and those that are idle are fewer than the jobs.
 * 6. A thread whose work was orphaned touches neither the pool nor the loop again.
 * 7. With `threads_extra`, jobs that hang do not keep the others from running: each abandoned job
 *    makes room for another thread, and while jobs wait and none begins for PATIENCE (`watch`),
 *    half as many threads more may be started.
 * 8. `surplus` threads end where they would sleep, and are joined when the loop next looks at the
 *    pool: those beyond what is allowed, once no job waits. A thread that finds a job takes it. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "exec/exec.h"

#include <signal.h>
#include <unistd.h>

#define THREADS_MAX 4096
/* How often an idle thread looks again before it sleeps: a few microseconds, less than a futex
 * costs. */
#define LOOKS 200
/* How long no job may begin before those that run are taken to hang. */
#define PATIENCE (100 * ROTA_MILLISECOND)

struct pool {
    rota_executor executor;
    unsigned threads_max, threads_extra;
    bool can_spin;

    /* Of the loop's thread. */
    struct rota__list threads;
    unsigned thread_count;
    unsigned stuck;    /* so many extra threads were allowed because jobs hang */
    size_t seen_begun; /* what `begun` was when `watch` was armed */
    rota_handle watch;
    unsigned naps;    /* jobs that wait on the virtual clock */
    uint64_t batches; /* how often finished work was collected */

    pthread_mutex_t mutex;
    pthread_cond_t wanted; /* a token was left, or the pool ends */
    pthread_cond_t woken;  /* a nap is over */
    struct rota__list queue;
    atomic_size_t queued;  /* written under the mutex */
    size_t begun;          /* jobs that threads have taken */
    atomic_uint returning; /* threads that have finished work and not yet come back for more */
    unsigned idle, tokens, looking;
    unsigned surplus;    /* so many threads are to end when they find no work */
    struct thread *left; /* those that have, to be joined */
    bool ending;

    _Alignas(64) _Atomic(struct rota__work *) finished; /* newest first */
    struct rota__post collect;
};

struct thread {
    struct rota__sleeper sleeper;
    struct rota__list node;
    struct pool *pool;
    struct thread *next_left;
    pthread_t id;
    bool began; /* has had work */
    bool virtual_clock;
};

static struct pool *pool_of(rota_executor *executor)
{
    return rota__container_of(executor, struct pool, executor);
}

/* ---- In the threads */

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void look_out(struct pool *pool)
{
    pool->looking++;
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < LOOKS; i++) {
        if (atomic_load_explicit(&pool->queued, memory_order_relaxed))
            break;
        relax();
    }
    pthread_mutex_lock(&pool->mutex);
    pool->looking--;
}

static void sleep_until_wanted(struct pool *pool)
{
    pool->idle++;
    while (!pool->tokens && !pool->surplus && !pool->ending)
        pthread_cond_wait(&pool->wanted, &pool->mutex);
    if (pool->tokens)
        pool->tokens--;
    else
        pool->idle--;
}

static struct rota__work *queue_pop(struct pool *pool)
{
    struct rota__list *node = rota__list_take_first(&pool->queue);
    if (!node)
        return NULL;
    atomic_fetch_sub_explicit(&pool->queued, 1, memory_order_relaxed);
    return rota__container_of(node, struct rota__work, node);
}

/* Leaves a token if a thread sleeps and none is on its way already; the mutex is held, and the
 * caller signals `wanted` once it is not. */
static bool call_sleeper(struct pool *pool)
{
    if (pool->idle == 0 || pool->tokens + pool->looking > 0)
        return false;
    pool->idle--;
    pool->tokens++;
    return true;
}

/* Whether the thread, which has found no work, is to end; the mutex is held. */
static bool leave(struct thread *thread)
{
    struct pool *pool = thread->pool;
    if (!pool->surplus)
        return false;
    pool->surplus--;
    thread->next_left = pool->left;
    pool->left = thread;
    return true;
}

/* The next work, or NULL if the thread is to end. */
static struct rota__work *thread_take(struct thread *thread)
{
    struct pool *pool = thread->pool;
    struct rota__work *work;
    pthread_mutex_lock(&pool->mutex);
    if (thread->began)
        atomic_fetch_sub_explicit(&pool->returning, 1, memory_order_relaxed);
    thread->began = true;
    for (bool looked = false; !(work = queue_pop(pool)) && !pool->ending && !leave(thread);
         looked = true) {
        if (!looked && pool->can_spin && pool->looking == 0)
            look_out(pool);
        else
            sleep_until_wanted(pool);
    }
    bool call = false;
    if (work) {
        pool->begun++;
        work->runner = thread;
        __atomic_store_n(&work->state, ROTA__WORK_RUNNING, __ATOMIC_RELEASE);
        call = !rota__list_empty(&pool->queue) && call_sleeper(pool);
    }
    pthread_mutex_unlock(&pool->mutex);
    if (call)
        pthread_cond_signal(&pool->wanted);
    return work;
}

static void pool_finished(struct pool *pool, struct rota__work *work)
{
    atomic_fetch_add_explicit(&pool->returning, 1, memory_order_relaxed);
    struct rota__work *head = atomic_load_explicit(&pool->finished, memory_order_relaxed);
    do
        work->next = head;
    while (!atomic_compare_exchange_weak_explicit(&pool->finished, &head, work,
                                                  memory_order_acq_rel, memory_order_relaxed));
    if (!head)
        rota__loop_post(pool->executor.loop->handle, &pool->collect);
}

/* The job has forked, and this is the only thread of the child: the pool and its loop are the
 * parent's. */
static __thread bool is_child;

static void forget_in_child(void)
{
    is_child = true;
    rota__sleeper_here = NULL;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* The function has returned in the child, which ends as a task's child does. */
static _Noreturn void end_child(int result)
{
    rota_log(ROTA_LOG_DEBUG, "a job returned in a child of fork(2), which ends here");
    _exit(result < 0);
}

/* False: the work was orphaned, and so is the thread. */
static bool thread_run(struct thread *thread, struct rota__work *work)
{
    int result = work->fn(work->arg);
    if (__builtin_expect(is_child, false))
        end_child(result);
    work->result = result;
    work->error = rota__error_take(result); /* of an earlier job, it goes */
    work->returned = true;
    if (__atomic_exchange_n(&work->state, ROTA__WORK_FINISHED, __ATOMIC_ACQ_REL) ==
        ROTA__WORK_ORPHANED) {
        rota__work_discard(work);
        return false;
    }
    pool_finished(thread->pool, work);
    return true;
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    struct rota__work *work;
    if (thread->virtual_clock)
        rota__sleeper_here = &thread->sleeper;
    while ((work = thread_take(thread))) {
        if (!thread_run(thread, work)) {
            rota_free(thread);
            break;
        }
    }
    return NULL;
}

/* ---- Naps: rota_blocking_sleep under a virtual clock. The thread posts a nap to the loop and
 * waits until the loop's timer ends it; from the one to the other it does not count as
 * computing. */

struct nap {
    struct rota__post post;
    rota_handle handle;
    struct pool *pool;
    rota_time duration;
    bool over;
};

static void nap_end(rota_handle *handle, void *arg)
{
    (void)handle;
    struct nap *nap = arg;
    struct pool *pool = nap->pool;
    pool->naps--;
    pthread_mutex_lock(&pool->mutex);
    nap->over = true;
    pthread_cond_broadcast(&pool->woken);
    pthread_mutex_unlock(&pool->mutex);
    rota__executor_update_hold(&pool->executor);
}

static void nap_begin(struct rota__post *post, struct rota__loop *loop)
{
    struct nap *nap = rota__container_of(post, struct nap, post);
    struct pool *pool = nap->pool;
    rota_loop_call_later(loop->handle, &nap->handle, nap->duration, nap_end, nap);
    pool->naps++;
    rota__executor_update_hold(&pool->executor);
}

static void thread_nap(struct rota__sleeper *sleeper, rota_time duration)
{
    struct pool *pool = rota__container_of(sleeper, struct thread, sleeper)->pool;
    struct nap nap = {.post.run = nap_begin, .pool = pool, .duration = duration};
    rota__loop_post(pool->executor.loop->handle, &nap.post);
    pthread_mutex_lock(&pool->mutex);
    while (!nap.over)
        pthread_cond_wait(&pool->woken, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

/* ---- On the loop's thread */

/* Signals go to the loop's thread, except those that a thread causes itself. */
static int thread_create(struct thread *thread)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&blocked, own[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int err = rota__fault(ROTA__FAULT_SYSCALL)
                  ? -EAGAIN
                  : -pthread_create(&thread->id, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

/* Threads that have left: they no longer touch the pool. */
static void join_left(struct pool *pool, struct thread *left)
{
    while (left) {
        struct thread *thread = left;
        left = thread->next_left;
        pthread_join(thread->id, NULL);
        rota__list_remove(&thread->node);
        rota_free(thread);
        pool->thread_count--;
    }
}

/* Sets how many threads are to end, and joins those that have. */
static void pool_settle(struct pool *pool, unsigned allowed)
{
    unsigned count = pool->thread_count;
    pthread_mutex_lock(&pool->mutex);
    struct thread *left = pool->left;
    pool->left = NULL;
    for (const struct thread *thread = left; thread; thread = thread->next_left)
        count--;
    pool->surplus = count > allowed ? count - allowed : 0;
    bool call = pool->surplus && pool->idle;
    pthread_mutex_unlock(&pool->mutex);
    if (call)
        pthread_cond_broadcast(&pool->wanted);
    join_left(pool, left);
}

static int pool_grow(struct pool *pool)
{
    struct thread *thread = rota_zalloc(sizeof *thread);
    if (!thread)
        return rota__error_plain(-ENOMEM);
    thread->sleeper.sleep = thread_nap;
    thread->pool = pool;
    thread->virtual_clock = pool->executor.loop->virtual_clock;
    int err = thread_create(thread);
    if (err < 0) {
        rota_free(thread);
        return err;
    }
    rota__list_append(&pool->threads, &thread->node);
    pool->thread_count++;
    return 0;
}

static bool pool_withdraw(rota_executor *executor, struct rota__work *work)
{
    struct pool *pool = pool_of(executor);
    pthread_mutex_lock(&pool->mutex);
    bool queued = __atomic_load_n(&work->state, __ATOMIC_RELAXED) == ROTA__WORK_QUEUED;
    if (queued) {
        rota__list_remove(&work->node);
        atomic_fetch_sub_explicit(&pool->queued, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&pool->mutex);
    return queued;
}

/* ---- Jobs that hang */

static unsigned threads_allowed(const struct pool *pool)
{
    size_t extra = pool->stuck + pool->executor.abandoned_count;
    return pool->threads_max +
           (extra < pool->threads_extra ? (unsigned)extra : pool->threads_extra);
}

static void watch_arm(struct pool *pool);

/* As many threads as there are jobs for and as are allowed. */
static void pool_grow_for_stuck(struct pool *pool)
{
    size_t queued = atomic_load(&pool->queued);
    pool_settle(pool, threads_allowed(pool));
    while (queued-- > 0 && pool->thread_count < threads_allowed(pool)) {
        if (pool_grow(pool) < 0)
            break;
    }
    rota__executor_update_hold(&pool->executor);
}

static void watch_look(rota_handle *handle, void *arg)
{
    (void)handle;
    struct pool *pool = arg;
    pthread_mutex_lock(&pool->mutex);
    bool progress = pool->begun != pool->seen_begun;
    bool waiting = !rota__list_empty(&pool->queue);
    pthread_mutex_unlock(&pool->mutex);
    if (waiting && !progress) {
        pool->stuck += pool->thread_count / 2 + 1;
        pool_grow_for_stuck(pool);
    }
    if (waiting)
        watch_arm(pool);
    else
        pool->stuck = 0;
}

static void watch_arm(struct pool *pool)
{
    if (pool->thread_count == pool->threads_max + pool->threads_extra)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->seen_begun = pool->begun;
    pthread_mutex_unlock(&pool->mutex);
    rota_loop_call_later(pool->executor.loop->handle, &pool->watch, PATIENCE, watch_look, pool);
}

/* Jobs wait, and there are as many threads as are allowed. */
static void watch_start(struct pool *pool)
{
    if (pool->threads_extra && !rota_handle_pending(&pool->watch))
        watch_arm(pool);
}

/* When no job waits the count of those that hang begins anew. */
static void watch_stop_if_idle(struct pool *pool)
{
    if (!pool->threads_extra || atomic_load_explicit(&pool->queued, memory_order_relaxed))
        return;
    pool->stuck = 0;
    rota_handle_cancel(&pool->watch);
    if (pool->thread_count > threads_allowed(pool))
        pool_settle(pool, threads_allowed(pool));
}

/* ---- The queue, seen from the loop's thread */

static int pool_start(rota_executor *executor, struct rota__work *work)
{
    struct pool *pool = pool_of(executor);
    pthread_mutex_lock(&pool->mutex);
    rota__list_append(&pool->queue, &work->node);
    size_t before = atomic_fetch_add_explicit(&pool->queued, 1, memory_order_relaxed);
    size_t coming =
        pool->tokens + pool->looking + atomic_load_explicit(&pool->returning, memory_order_relaxed);
    bool enough = before < coming + pool->idle;
    bool call = before >= coming && call_sleeper(pool);
    struct thread *left = pool->left;
    pool->left = NULL;
    pthread_mutex_unlock(&pool->mutex);
    if (call)
        pthread_cond_signal(&pool->wanted);
    join_left(pool, left);
    if (enough)
        return 0;
    if (pool->thread_count >= threads_allowed(pool)) {
        watch_start(pool);
        return 0;
    }
    int err = pool_grow(pool);
    if (err == 0 || pool->thread_count > 0)
        return 0; /* the threads that are there will come to it */
    pool_withdraw(executor, work);
    return err;
}

static struct rota__work *pool_take_queued(rota_executor *executor)
{
    struct pool *pool = pool_of(executor);
    pthread_mutex_lock(&pool->mutex);
    struct rota__work *work = queue_pop(pool);
    pthread_mutex_unlock(&pool->mutex);
    return work;
}

/* Only the end of the pool is a reason to leave a thread behind; until then it will be back. A
 * thread that naps on the loop's virtual clock needs the loop, and that costs no time. */
static bool pool_abandon(rota_executor *executor, struct rota__work *work)
{
    struct pool *pool = pool_of(executor);
    struct thread *thread = work->runner;
    if (!executor->closing && pool->threads_extra)
        pool_grow_for_stuck(pool);
    if (!executor->closing || thread->virtual_clock)
        return false;
    /* Once the work is orphaned the thread frees both. */
    pthread_t id = thread->id;
    int running = ROTA__WORK_RUNNING;
    rota__list_remove(&thread->node);
    if (__atomic_compare_exchange_n(&work->state, &running, ROTA__WORK_ORPHANED, false,
                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        pthread_detach(id);
        pool->thread_count--;
        return true;
    }
    rota__list_append(&pool->threads, &thread->node);
    return false;
}

static void collect(struct rota__post *post, struct rota__loop *loop)
{
    (void)loop;
    struct pool *pool = rota__container_of(post, struct pool, collect);
    struct rota__work *newest =
        atomic_exchange_explicit(&pool->finished, NULL, memory_order_acq_rel);
    struct rota__work *oldest = NULL;
    while (newest) {
        struct rota__work *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    pool->batches++;
    while (oldest) {
        struct rota__work *next = oldest->next;
        rota__work_finish(oldest);
        oldest = next;
    }
    watch_stop_if_idle(pool);
}

/* Seen from the loop, a job computes from when a thread could have taken it until it is
 * collected. */
static bool pool_computes(rota_executor *executor)
{
    struct pool *pool = pool_of(executor);
    size_t queued = atomic_load(&pool->queued);
    size_t begun = executor->outstanding - queued;
    return begun > pool->naps || (queued > 0 && begun < pool->thread_count);
}

/* No thread has work, so each comes to its end at once. */
static void pool_stop(rota_executor *executor)
{
    struct pool *pool = pool_of(executor);
    rota_handle_cancel(&pool->watch);
    pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    pthread_cond_broadcast(&pool->wanted);
    pthread_mutex_unlock(&pool->mutex);
    struct rota__list *node;
    while ((node = rota__list_take_first(&pool->threads))) {
        struct thread *thread = rota__container_of(node, struct thread, node);
        pthread_join(thread->id, NULL);
        rota_free(thread);
    }
    pool->thread_count = 0;
    rota__executor_update_hold(executor);
}

static void pool_free(rota_executor *executor)
{
    struct pool *pool = pool_of(executor);
    pthread_cond_destroy(&pool->woken);
    pthread_cond_destroy(&pool->wanted);
    pthread_mutex_destroy(&pool->mutex);
    rota_free(pool);
}

uint64_t rota__thread_pool_batches(rota_executor *executor)
{
    return pool_of(executor)->batches;
}

unsigned rota__thread_pool_idle(rota_executor *executor)
{
    struct pool *pool = pool_of(executor);
    pthread_mutex_lock(&pool->mutex);
    unsigned idle = pool->idle;
    pthread_mutex_unlock(&pool->mutex);
    return idle;
}

static const struct rota__executor_kind thread_pool = {
    .start = pool_start,
    .withdraw = pool_withdraw,
    .take_queued = pool_take_queued,
    .abandon = pool_abandon,
    .computes = pool_computes,
    .stop = pool_stop,
    .free = pool_free,
};

int rota_thread_pool_new(const rota_thread_pool_options *options, rota_executor **ret_executor)
{
    static const rota_thread_pool_options none;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const rota_thread_pool_options *o = options ? options : &none;
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    if (o->threads > THREADS_MAX || o->extra_threads > THREADS_MAX)
        return rota_error_set(
            -EINVAL, "make a thread pool: %u threads and %u extra threads: the limit is %d each",
            o->threads, o->extra_threads, THREADS_MAX);
    struct pool *pool = rota_zalloc(sizeof *pool);
    if (!pool)
        return rota__error_plain(-ENOMEM);
    pthread_once(&once, watch_forks);
    unsigned cores = rota__processors();
    pool->threads_max = o->threads ? o->threads : cores + 4 < 32 ? cores + 4 : 32;
    pool->threads_extra = o->extra_threads;
    pool->can_spin = cores > 1;
    rota__list_init(&pool->threads);
    rota__list_init(&pool->queue);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wanted, NULL);
    pthread_cond_init(&pool->woken, NULL);
    pool->collect.run = collect;
    int err =
        rota__executor_init(&pool->executor, &thread_pool, pool->threads_max, o->queue, SIZE_MAX);
    if (err < 0) {
        pool_free(&pool->executor);
        return err;
    }
    *ret_executor = &pool->executor;
    return 0;
}
