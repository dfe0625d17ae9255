/* Workers in threads. One task waits for them all; where there is no loop, one is made for it,
 * which also gets SIGINT. A thread's loop is made, run and freed by rota_run.
 *
 *     a worker  created --worker_main--> has a loop --worker_main--> has none --> ended, posted
 *               home
 *
 * 1. worker.loop is set, under the mutex, exactly while worker_main runs: so what is posted to it
 *    under the mutex comes to a loop that is there.
 * 2. The waiting task returns only when all threads have been joined. */
#include "base/alloc.h"
#include "base/error.h"
#include "worker/worker.h"

#include <sched.h>

struct worker {
    struct rota__worker_place place;
    pthread_t thread;
    rota_loop *loop;
    rota_task *main; /* on its own thread */
    bool cancelled;  /* under the mutex */
    struct rota__post cancel, ended;
    int result;
    struct rota__error *error; /* of a failed result */
    bool stops_all;            /* its main was cancelled */
};

struct rota__workers {
    rota_fn *fn;
    void *arg;
    const rota_site *site;
    const rota_workers_options *options;
    cpu_set_t processors;
    rota_loop *home;
    pthread_mutex_t mutex;
    struct rota__wait wait;
    unsigned count, running;
    /* the first failure that is not a cancellation, and the first cancellation */
    int failure, interrupt;
    struct rota__error *error; /* of the failure */
    struct rota__worker_ports ports;
    struct worker workers[];
};

/* ---- On a worker's thread */

static void set_loop(struct worker *worker, rota_loop *loop)
{
    pthread_mutex_t *mutex = &worker->place.threads->mutex;
    pthread_mutex_lock(mutex);
    worker->loop = loop;
    bool cancelled = worker->cancelled;
    pthread_mutex_unlock(mutex);
    if (loop && cancelled)
        rota_task_cancel(worker->main);
}

static void cancel_main(struct rota__post *post, struct rota__loop *loop)
{
    (void)loop;
    struct worker *worker = rota__container_of(post, struct worker, cancel);
    if (worker->main)
        rota_task_cancel(worker->main);
}

static int worker_main(void *arg)
{
    struct worker *worker = arg;
    worker->main = rota_task_current();
    set_loop(worker, rota_loop_current());
    int result = worker->place.threads->fn(worker->place.threads->arg);
    set_loop(worker, NULL);
    worker->main = NULL;
    worker->stops_all = rota__worker_was_cancelled();
    return result;
}

/* Best effort: it only matters for speed. */
static void pin(const struct worker *worker)
{
    const cpu_set_t *all = &worker->place.threads->processors;
    int wanted = worker->place.index % CPU_COUNT(all);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, all) || wanted-- > 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(i, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static void *worker_thread(void *arg)
{
    struct worker *worker = arg;
    struct rota__workers *all = worker->place.threads;
    rota__worker_here = &worker->place;
    if (all->options->pin && CPU_COUNT(&all->processors) > 0)
        pin(worker);
    worker->result = rota_run_at(worker_main, worker, &all->options->loop, all->site);
    worker->error = rota__error_take(worker->result);
    rota__loop_post(all->home, &worker->ended);
    return NULL;
}

rota_loop *rota_worker_loop(unsigned index)
{
    struct rota__workers *all = rota__worker_here ? rota__worker_here->threads : NULL;
    if (!all || index >= all->count)
        return NULL;
    pthread_mutex_lock(&all->mutex);
    rota_loop *loop = all->workers[index].loop;
    pthread_mutex_unlock(&all->mutex);
    return loop;
}

/* ---- On the thread that waits */

static void cancel_all(struct rota__workers *all)
{
    pthread_mutex_lock(&all->mutex);
    for (unsigned i = 0; i < all->count; i++) {
        struct worker *worker = &all->workers[i];
        if (worker->loop && !worker->cancelled)
            rota__loop_post(worker->loop, &worker->cancel);
        worker->cancelled = true;
    }
    pthread_mutex_unlock(&all->mutex);
}

/* Takes over the reference. */
static void note_result(struct rota__workers *all, int result, struct rota__error *error)
{
    int *which = result == -ECANCELED ? &all->interrupt : &all->failure;
    if (result < 0 && *which == 0) {
        *which = result;
        if (which == &all->failure) {
            all->error = error;
            return;
        }
    }
    rota__error_unref(error);
}

static void worker_ended(struct rota__post *post, struct rota__loop *loop)
{
    (void)loop;
    struct worker *worker = rota__container_of(post, struct worker, ended);
    struct rota__workers *all = worker->place.threads;
    pthread_join(worker->thread, NULL);
    note_result(all, worker->result, worker->error);
    if (worker->result < 0 || worker->stops_all)
        cancel_all(all);
    if (--all->running == 0)
        rota__wake(&all->wait, 0);
}

static void workers_abort(struct rota__wait *wait, int reason)
{
    (void)reason; /* the task's scopes know it when the workers have ended */
    cancel_all(rota__container_of(wait, struct rota__workers, wait));
}

static const struct rota__wait_kind workers_kind = {"workers", workers_abort};

static int worker_start(struct rota__workers *all, unsigned index)
{
    struct worker *worker = &all->workers[index];
    worker->place = (struct rota__worker_place){
        .index = (int)index, .count = all->count, .ports = &all->ports, .threads = all};
    worker->cancel.run = cancel_main;
    worker->ended.run = worker_ended;
    int err = rota__fault(ROTA__FAULT_SYSCALL)
                  ? -EAGAIN
                  : -pthread_create(&worker->thread, NULL, worker_thread, worker);
    if (err == 0)
        all->running++;
    return err;
}

static void start_and_wait(struct rota__workers *all)
{
    for (unsigned i = 0; i < all->count && all->failure == 0; i++)
        note_result(all, worker_start(all, i), NULL);
    if (all->failure < 0)
        cancel_all(all);
    if (all->running == 0)
        return;
    rota__loop_here->far_waits++;
    rota__park(&all->wait, &workers_kind, NULL);
    rota__loop_here->far_waits--;
}

/* ---- In a task, or in a loop of its own */

struct call {
    unsigned n;
    rota_fn *fn;
    void *arg;
    const rota_workers_options *options;
    const rota_site *site;
};

static int run_in_task(void *arg)
{
    const struct call *call = arg;
    const struct rota__fiber *here = rota__fiber_here();
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    struct rota__workers *all = rota_zalloc(sizeof *all + (size_t)call->n * sizeof all->workers[0]);
    if (!all)
        return rota__error_plain(-ENOMEM);
    all->fn = call->fn;
    all->arg = call->arg;
    all->site = call->site;
    all->options = call->options;
    all->count = call->n;
    all->home = rota__handle_here;
    pthread_mutex_init(&all->mutex, NULL);
    if (sched_getaffinity(0, sizeof all->processors, &all->processors) < 0)
        CPU_ZERO(&all->processors);
    start_and_wait(all);
    int interrupt = all->interrupt && here->interrupt ? here->interrupt : all->interrupt;
    int result = all->failure ? all->failure : interrupt;
    if (result < 0)
        rota__error_give(all->error);
    pthread_mutex_destroy(&all->mutex);
    rota_free(all);
    return result;
}

int rota_run_workers_at(unsigned n, rota_fn *fn, void *arg, const rota_workers_options *options,
                        const rota_site *site)
{
    static const rota_workers_options defaults;
    int count = rota__worker_count_of(n);
    if (count < 0)
        return rota__error_plain(count);
    struct call call = {(unsigned)count, fn, arg, options ? options : &defaults, site};
    if (rota__task_here())
        return run_in_task(&call);
    return rota__loop_here ? rota__error_plain(ROTA_ENOTASK)
                           : rota_run_at(run_in_task, &call, NULL, ROTA_SITE("workers"));
}
