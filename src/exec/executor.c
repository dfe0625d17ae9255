/* Executors: what thread pools and process pools share.
 *
 *     a job     idle -> admitted -> queued -> running -> finished -> done
 *
 *     admitted  executor_enter: waits in `room` while the executor is full; counts as outstanding
 *     queued    kind->start
 *     running   decided by the thread or worker that takes it
 *     finished  rota__work_finish on the loop's thread, once for each admitted job
 *
 *     cancel    queued -> done (kind->withdraw)
 *               running with a copy -> done; the work goes on as `abandoned` until it is finished,
 *               or orphaned by a closing executor (kind->abandon)
 *
 * 1. All of this is on the loop's thread; only kinds know of others.
 * 2. Work lives in the job itself, or with its copy in one allocation. Only work with a copy
 *    outlives its job, so nothing that runs elsewhere ever has a pointer into storage that may go.
 * 3. Room is made when a job is finished, and belongs at once to the first task that waits for it.
 * 4. A closing executor is drained once nothing is outstanding and no driver is left, not even one
 *    whose work was withdrawn before it began; then kind->stop ends what ran it. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "exec/exec.h"

#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

__thread struct rota__sleeper *rota__sleeper_here;

/* ---- The executors of a loop */

struct executors {
    struct rota__annex annex;
    struct rota__list all;   /* last made first */
    rota_executor *fallback; /* the default pool */
};

static const char executors_type;

static void executors_close(struct rota__annex *annex);

static struct executors *executors_of(struct rota__loop *loop)
{
    struct rota__annex *annex = rota__loop_annex(loop, &executors_type);
    if (annex)
        return rota__container_of(annex, struct executors, annex);
    struct executors *executors = rota_zalloc(sizeof *executors);
    if (!executors)
        return NULL;
    executors->annex.type = &executors_type;
    executors->annex.close = executors_close;
    rota__list_init(&executors->all);
    rota__loop_annex_add(loop, &executors->annex);
    /* A task closes the executors at the loop's end, even if the program never starts one. */
    loop->finish = rota__loop_finish;
    loop->stuck = rota__loop_stuck;
    return executors;
}

int rota__executor_init(rota_executor *executor, const struct rota__executor_kind *kind,
                        unsigned runners, size_t queue, size_t copy_limit)
{
    struct rota__loop *loop = rota__loop_here;
    struct executors *executors = executors_of(loop);
    if (!executors)
        return rota__error_plain(-ENOMEM);
    executor->kind = kind;
    executor->loop = loop;
    if (queue == 0 || __builtin_add_overflow(runners, queue, &executor->limit))
        executor->limit = SIZE_MAX;
    executor->copy_limit = copy_limit;
    rota__list_init(&executor->abandoned);
    rota__list_init(&executor->room);
    rota_future_init(&executor->drained);
    rota__list_prepend(&executors->all, &executor->node);
    return 0;
}

static int default_pool(rota_executor **ret_executor)
{
    struct executors *executors = executors_of(rota__loop_here);
    if (!executors)
        return rota__error_plain(-ENOMEM);
    if (!executors->fallback) {
        int err = rota_thread_pool_new(NULL, &executors->fallback);
        if (err < 0)
            return err;
    }
    *ret_executor = executors->fallback;
    return 0;
}

unsigned rota__processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

/* ---- Keeping the loop from finding itself idle */

void rota__executor_update_hold(rota_executor *executor)
{
    bool needed = executor->loop->virtual_clock
                      ? executor->kind->computes(executor)
                      : executor->outstanding > executor->abandoned_count ||
                            !rota__list_empty(&executor->room);
    if (needed == executor->holds)
        return;
    executor->holds = needed;
    if (needed)
        rota_loop_hold_threadsafe(executor->loop->handle);
    else
        rota_loop_release_threadsafe(executor->loop->handle);
}

/* ---- Admission */

struct room_wait {
    struct rota__list node;
    struct rota__wait wait;
};

static void room_abort(struct rota__wait *wait, int reason)
{
    struct room_wait *w = rota__container_of(wait, struct room_wait, wait);
    rota__list_remove(&w->node);
    rota__wake(wait, reason);
}

static const struct rota__wait_kind room_kind = {"room in an executor", room_abort};

static void note_if_drained(rota_executor *executor)
{
    if (executor->closing && executor->outstanding == 0 && executor->drivers == 0)
        rota_future_set(&executor->drained, 0);
}

void rota__executor_driver_left(rota_executor *executor)
{
    executor->drivers--;
    note_if_drained(executor);
}

/* Passes one place on to the first task that waits for room, if there is one. */
static void executor_leave(rota_executor *executor)
{
    struct rota__list *node = rota__list_take_first(&executor->room);
    if (node)
        rota__wake(&rota__container_of(node, struct room_wait, node)->wait, 0);
    else
        executor->outstanding--;
    note_if_drained(executor);
    rota__executor_update_hold(executor);
}

static int refuse_closed(void)
{
    return rota_error_set(ROTA_ECLOSED, "submit a job: the executor is closed");
}

static int executor_enter(rota_executor *executor)
{
    if (executor->closing)
        return refuse_closed();
    if (executor->outstanding < executor->limit) {
        executor->outstanding++;
        return 0;
    }
    struct room_wait w = {.wait = {0}};
    rota__list_append(&executor->room, &w.node);
    rota__executor_update_hold(executor);
    int err = rota__park(&w.wait, &room_kind, executor);
    if (err == 0 && executor->closing) {
        executor_leave(executor);
        return refuse_closed();
    }
    return err;
}

/* ---- Work */

void rota__job_report_lost(int result, const struct rota__error *error)
{
    if (result < 0 && result != -ECANCELED)
        rota_log(ROTA_LOG_WARNING, "a job failed after its caller had given up: %s",
                 rota__error_words(error, result));
}

void rota__work_discard(struct rota__work *work)
{
    struct rota__copied *copied = rota__copied_of(work);
    if (work->returned)
        rota__job_report_lost(work->result, work->error);
    if (work->returned && copied->discard)
        copied->discard(copied->bytes);
    rota__error_unref(work->error);
    rota_free(copied);
}

static struct rota__work *work_copied(rota_job *job, const void *arg)
{
    size_t size;
    if (__builtin_add_overflow(sizeof(struct rota__copied), job->copy, &size))
        return NULL;
    struct rota__copied *copied = rota_alloc(size);
    if (!copied)
        return NULL;
    copied->discard = job->discard;
    copied->frame.size = job->copy;
    memcpy(copied->bytes, arg, job->copy);
    copied->work.arg = copied->bytes;
    return &copied->work;
}

/* The job is done; the work that it had is freed, unless that goes on alone. */
static void job_done(rota_job *job, int result, struct rota__error *error)
{
    job->_work = NULL;
    job->_error = job->done._error = error;
    rota_future_set(&job->done, result);
}

static void job_finish(rota_job *job, struct rota__work *work)
{
    int result = work->result;
    struct rota__error *error = work->error;
    if (job->copy) {
        if (work->returned)
            memcpy(job->_arg, work->arg, job->copy);
        rota_free(rota__copied_of(work));
    }
    job_done(job, result, error);
}

void rota__work_finish(struct rota__work *work)
{
    rota_executor *executor = work->executor;
    if (work->job) {
        job_finish(work->job, work);
    } else {
        rota__list_remove(&work->node);
        executor->abandoned_count--;
        rota__work_discard(work);
    }
    executor_leave(executor);
}

static void work_abandon(struct rota__work *work)
{
    rota_executor *executor = work->executor;
    rota_job *job = work->job;
    work->job = NULL;
    rota__list_append(&executor->abandoned, &work->node);
    executor->abandoned_count++;
    job_done(job, -ECANCELED, NULL);
}

/* The executor lets go of abandoned work as far as its kind can. */
static void work_let_go(struct rota__work *work)
{
    rota_executor *executor = work->executor;
    rota__list_remove(&work->node);
    if (executor->kind->abandon(executor, work)) {
        executor->abandoned_count--;
        executor_leave(executor);
    } else {
        rota__list_append(&executor->abandoned, &work->node);
        rota__executor_update_hold(executor);
    }
}

/* ---- Jobs */

static int check_submit(const rota_executor *executor, const rota_job *job)
{
    if (executor->loop != rota__loop_here)
        return executor->loop ? rota__error_plain(ROTA_ETHREAD) : refuse_closed();
    if (job->_work)
        return rota__error_plain(-EBUSY);
    if (executor->kind->needs_copy && !job->copy)
        return rota_error_set(-ENOTSUP,
                              "submit a job: a process pool needs a copy of its argument");
    if (job->copy > executor->copy_limit)
        return rota_error_set(ROTA_ELIMIT,
                              "submit a job: its argument of %zu bytes exceeds copy_limit (%zu)",
                              job->copy, executor->copy_limit);
    return 0;
}

/* The executor has admitted the job. */
static int job_start(rota_executor *executor, rota_fn *fn, void *arg, rota_job *job)
{
    struct rota__work *work = &job->_own;
    if (job->copy)
        work = work_copied(job, arg);
    else
        work->arg = arg;
    if (!work)
        return rota__error_plain(-ENOMEM);
    rota__list_init(&work->node);
    work->executor = executor;
    work->fn = fn;
    work->job = job;
    work->runner = NULL;
    work->error = NULL;
    work->state = ROTA__WORK_QUEUED;
    work->returned = false;
    job->_work = work;
    job->_arg = arg;
    rota__error_put(&job->_error, NULL);
    rota_future_init(&job->done);
    int err = executor->kind->start(executor, work);
    if (err < 0) {
        job->_work = NULL;
        if (job->copy)
            rota_free(rota__copied_of(work));
    }
    return err;
}

int rota_executor_submit(rota_executor *executor, rota_fn *fn, void *arg, rota_job *job)
{
    int err = rota__suspend_check();
    if (err == 0 && !executor)
        err = default_pool(&executor);
    if (err == 0)
        err = check_submit(executor, job);
    if (err == 0)
        err = executor_enter(executor);
    if (err < 0)
        return err;
    err = job_start(executor, fn, arg, job);
    if (err < 0)
        executor_leave(executor);
    else
        rota__executor_update_hold(executor);
    return (int)rota__done_at_once(err);
}

int rota_job_cancel(rota_job *job)
{
    struct rota__work *work = job->_work;
    if (!work)
        return rota__error_plain(-EALREADY);
    int err = rota__loop_check(work->executor->loop, "rota_job_cancel");
    if (err < 0)
        return err;
    if (work->executor->kind->withdraw(work->executor, work)) {
        work->result = -ECANCELED;
        rota__work_finish(work);
        return 0;
    }
    if (__atomic_load_n(&work->state, __ATOMIC_ACQUIRE) == ROTA__WORK_FINISHED)
        return rota__error_plain(-EINPROGRESS);
    if (!job->copy)
        return rota__error_plain(-EBUSY);
    work_abandon(work);
    work_let_go(work);
    return 0;
}

static void job_wait_shielded(rota_job *job, const struct rota__wait_kind *kind)
{
    ROTA_SHIELD
    {
        if (!rota_future_done(&job->done))
            rota__future_park(&job->done, kind);
    }
}

static int job_result(const rota_job *job)
{
    int result = job->done._result;
    if (result < 0)
        rota__error_give(rota__error_ref(job->_error));
    return result;
}

static int job_wait(rota_job *job, const struct rota__wait_kind *kind)
{
    int err = rota__suspend_check();
    if (err == ROTA_ENOTASK)
        return err;
    if (err == 0 && !rota_future_done(&job->done))
        err = rota__future_park(&job->done, kind);
    if (rota_future_done(&job->done))
        return job_result(job);
    int refused = rota_job_cancel(job);
    if (refused < 0)
        job_wait_shielded(job, kind);
    int result = job->done._result;
    /* A result that was returned before the cancellation outranks it. */
    if (result >= 0 || refused == -EINPROGRESS)
        return job_result(job);
    rota__job_report_lost(result, job->_error);
    return rota__error_plain(err); /* not with the text that the wait has brought */
}

static const struct rota__wait_kind waiting_for_job = {"job", rota__future_abort};

int rota_job_wait(rota_job *job)
{
    if (!job->done._loop)
        return rota__error_plain(-EINVAL);
    if (rota__loop_here && job->done._loop != rota__handle_here)
        return rota__loop_refuse(__func__);
    return job_wait(job, &waiting_for_job);
}

const char *rota_job_error(const rota_job *job)
{
    return job->_error ? rota__error_words(job->_error, job->done._result) : "";
}

void rota_job_fini(rota_job *job)
{
    ROTA_KEEP_ERROR;
    int refused = rota_job_cancel(job);
    if ((refused == -EBUSY || refused == -EINPROGRESS) && rota__task_here()) {
        job_wait_shielded(job, &waiting_for_job);
        rota__job_report_lost(job->done._result, job->_error);
    }
    if (!job->_work)
        rota__error_put(&job->_error, NULL);
}

/* The job is done when this returns. */
static int job_run(rota_job *job, const struct rota__wait_kind *kind)
{
    int result = job_wait(job, kind);
    rota__error_unref(job->_error);
    return result;
}

int rota__executor_run(rota_executor *executor, rota_fn *fn, void *arg,
                       const struct rota__wait_kind *kind)
{
    rota_job job = ROTA_JOB_INIT;
    int err = rota_executor_submit(executor, fn, arg, &job);
    return err < 0 ? err : job_run(&job, kind);
}

int rota_executor_run(rota_executor *executor, rota_fn *fn, void *arg)
{
    return rota__executor_run(executor, fn, arg, &waiting_for_job);
}

int rota_executor_run_copy(rota_executor *executor, rota_fn *fn, void *arg, size_t size)
{
    char nothing = 0;
    if (size == 0) {
        arg = &nothing;
        size = 1;
    }
    rota_job job = {.copy = size};
    int err = rota_executor_submit(executor, fn, arg, &job);
    return err < 0 ? err : job_run(&job, &waiting_for_job);
}

/* ---- The end */

static void close_begin(rota_executor *executor)
{
    executor->closing = true;
    struct rota__list *node;
    while ((node = rota__list_take_first(&executor->room)))
        rota__wake(&rota__container_of(node, struct room_wait, node)->wait, ROTA_ECLOSED);
    struct rota__list abandoned;
    rota__list_init(&abandoned);
    rota__list_splice(&abandoned, &executor->abandoned);
    while ((node = rota__list_first(&abandoned)))
        work_let_go(rota__container_of(node, struct rota__work, node));
    note_if_drained(executor);
}

static void cancel_queued(rota_executor *executor)
{
    struct rota__work *work;
    while ((work = executor->kind->take_queued(executor))) {
        work->result = -ECANCELED;
        rota__work_finish(work);
    }
}

static void stop_if_drained(rota_executor *executor)
{
    if (!rota_future_done(&executor->drained) || executor->stopped)
        return;
    executor->stopped = true;
    executor->kind->stop(executor);
}

int rota_executor_close(rota_executor *executor, rota_executor_close_mode mode)
{
    if (!executor->loop)
        return 0;
    if (executor->loop != rota__loop_here)
        return rota__error_plain(ROTA_ETHREAD);
    if (!rota__task_here())
        return rota__error_plain(ROTA_ENOTASK);
    if (!executor->closing)
        close_begin(executor);
    if (mode == ROTA_EXECUTOR_CANCEL)
        cancel_queued(executor);
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_future_wait(&executor->drained));
    }
    stop_if_drained(executor);
    return 0;
}

/* Outside a task this cannot wait. */
static void close_outside_task(rota_executor *executor)
{
    if (!executor->closing)
        close_begin(executor);
    cancel_queued(executor);
    stop_if_drained(executor);
}

rota_executor *rota_executor_free(rota_executor *executor)
{
    if (!executor)
        return NULL;
    ROTA_KEEP_ERROR;
    if (executor->loop) {
        /* The loop belongs to another thread, or this is the child of a fork. */
        if (executor->loop != rota__loop_here)
            return NULL;
        if (rota_executor_close(executor, ROTA_EXECUTOR_CANCEL) == ROTA_ENOTASK)
            close_outside_task(executor);
        executor->ownerless = !executor->stopped;
        if (executor->ownerless)
            return NULL; /* what still runs is left to the end of the loop */
        rota__list_remove(&executor->node);
    }
    executor->kind->free(executor);
    return NULL;
}

/* The loop has no tasks left, except perhaps the one that runs this. */
static void close_with_loop(rota_executor *executor)
{
    if (rota_executor_close(executor, ROTA_EXECUTOR_CANCEL) != ROTA_ENOTASK)
        return;
    close_outside_task(executor);
    while (!executor->stopped && rota__loop_turn(executor->loop, ROTA_NEVER) == 0)
        stop_if_drained(executor);
}

static void executors_close(struct rota__annex *annex)
{
    struct executors *executors = rota__container_of(annex, struct executors, annex);
    struct rota__list *node;
    while ((node = rota__list_first(&executors->all))) {
        rota_executor *executor = rota__container_of(node, rota_executor, node);
        close_with_loop(executor);
        rota__list_remove(&executor->node);
        executor->loop = NULL;
        if (executor == executors->fallback || executor->ownerless)
            executor->kind->free(executor);
    }
    rota_free(executors);
}

/* ---- For jobs */

static void sleep_for_real(rota_time duration)
{
    struct timespec left = {duration / ROTA_SECOND, duration % ROTA_SECOND};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
}

void rota_blocking_sleep(rota_time duration)
{
    if (duration <= 0)
        return;
    if (rota__loop_here && rota__loop_here->virtual_clock)
        rota__loop_here->virtual_now += duration;
    else if (!rota__loop_here && rota__sleeper_here)
        rota__sleeper_here->sleep(rota__sleeper_here, duration);
    else
        sleep_for_real(duration);
}
