/* rota_run, and the end of a loop. */
#include "base/log.h"
#include "base/sys.h"
#include "task/task.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

/* ---- The end: tasks are cancelled and waited for, then what other modules keep with the loop. */

static void cancel_one(rota_task *task, void *arg)
{
    (void)arg;
    rota_task_cancel(task);
}

/* A task that stays stuck though it was cancelled (it shields itself and waits for what nobody will
 * bring) was reported; its stack goes without being unwound. */
static void abandon_one(rota_task *task, void *arg)
{
    struct rota__loop *loop = arg;
    struct rota__fiber *fiber = task->fiber;
    loop->abandoned = true;
    rota__scopes_abandon(fiber);
    rota__task_drop_deferred(fiber);
    if (fiber->locals)
        rota__locals_release(fiber->locals);
    rota__list_remove(&fiber->all);
    rota__task_release(task);
}

static void run_to_the_end(struct rota__loop *loop)
{
    while (!rota__list_empty(&loop->tasks)) {
        if (rota__loop_alive(loop)) {
            if (rota__loop_turn(loop, ROTA_NEVER) < 0)
                break;
        } else {
            loop->stuck(loop);
            break;
        }
    }
    rota_task_each(loop->handle, abandon_one, loop);
}

static int close_annexes(void *arg)
{
    struct rota__loop *loop = arg;
    ROTA_SHIELD
    {
        struct rota__list *node;
        while ((node = rota__list_take_first(&loop->annexes))) {
            struct rota__annex *annex = rota__container_of(node, struct rota__annex, node);
            annex->close(annex);
        }
    }
    return 0;
}

void rota__loop_finish(struct rota__loop *loop)
{
    loop->home = rota__coro_current();
    loop->main = NULL;
    loop->stopping = false;
    loop->in_run = true;
    rota_task_each(loop->handle, cancel_one, NULL);
    run_to_the_end(loop);
    rota__far_calls_abandon(loop);
    if (!rota__list_empty(&loop->annexes)) {
        /* Closing may wait for threads, which is a task's way; without memory it blocks. */
        if (rota__task_new(loop, close_annexes, loop, 0, ROTA_SITE("close executors")))
            run_to_the_end(loop);
        else
            close_annexes(loop);
    }
    rota__tasks_give_up_ended(loop);
    if (loop->zombie)
        rota__task_release(loop->zombie->task);
    rota__spare_tasks_free(loop);
    loop->in_run = false;
}

/* ---- Signals */

static struct {
    atomic_flag taken; /* by the one loop of the process that gets SIGINT: the first that runs */
    struct rota__loop *_Atomic loop;
    atomic_int handling; /* threads in the handler: the loop must stay */
    struct rota__post post;
    struct sigaction before;
    bool watching;
    int number;
} interrupt = {.taken = ATOMIC_FLAG_INIT, .number = SIGINT};

void rota__interrupt_by(int number)
{
    interrupt.number = number;
}

/* What calls that write return as an error. */
static struct {
    int number;
    bool changed;
    struct sigaction before;
} ignored[] = {{.number = SIGPIPE}, {.number = SIGXFSZ}};

/* Whether the run under way, or the last one, of this thread was. */
static __thread bool main_interrupted;

static void cancel_main(struct rota__post *post, struct rota__loop *loop)
{
    (void)post;
    if (loop->main) {
        main_interrupted = true;
        rota_task_cancel(loop->main);
    }
}

/* The first signal becomes a cancellation; the second one does what it would have done. */
static void on_interrupt(int number)
{
    atomic_fetch_add(&interrupt.handling, 1);
    struct rota__loop *loop = atomic_exchange(&interrupt.loop, NULL);
    if (loop) {
        int saved = errno;
        rota__loop_post(loop->handle, &interrupt.post);
        errno = saved;
    }
    atomic_fetch_sub(&interrupt.handling, 1);
    if (loop)
        return;
    signal(number, SIG_DFL);
    raise(number);
}

static bool is_default(int number, struct sigaction *ret_before)
{
    return sigaction(number, NULL, ret_before) == 0 &&
           (ret_before->sa_handler == SIG_DFL || ret_before->sa_handler == on_interrupt);
}

/* The child of a fork has no loop that SIGINT could interrupt, and may run one of its own. */
static void forget_in_child(void)
{
    atomic_store(&interrupt.loop, NULL);
    atomic_store(&interrupt.handling, 0);
    atomic_flag_clear(&interrupt.taken);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* A program's own handlers stay. Returns whether this loop has the signals. */
static bool signals_start(struct rota__loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (atomic_flag_test_and_set(&interrupt.taken))
        return false;
    pthread_once(&once, watch_forks);
    atomic_store(&interrupt.loop, loop);
    interrupt.post.run = cancel_main;
    interrupt.watching = is_default(interrupt.number, &interrupt.before);
    if (interrupt.watching) {
        struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART | SA_ONSTACK};
        sigaction(interrupt.number, &action, NULL);
    }
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        ignored[i].changed = is_default(ignored[i].number, &ignored[i].before);
        if (ignored[i].changed)
            signal(ignored[i].number, SIG_IGN);
    }
    return true;
}

/* From here on SIGINT does what it would have done: the loop is about to go. */
static void signals_disarm(void)
{
    atomic_store(&interrupt.loop, NULL);
    while (atomic_load(&interrupt.handling))
        sched_yield();
}

void rota__interrupt_spend(int number)
{
    if (number == interrupt.number)
        atomic_store(&interrupt.loop, NULL);
}

/* If another loop waits for the signal, its handler stays. It later restores ours, which then acts
 * as the default does. */
static void signals_stop(void)
{
    struct sigaction now;
    if (interrupt.watching && sigaction(interrupt.number, NULL, &now) == 0 &&
        now.sa_handler == on_interrupt)
        sigaction(interrupt.number, &interrupt.before, NULL);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        if (ignored[i].changed)
            sigaction(ignored[i].number, &ignored[i].before, NULL);
    atomic_flag_clear(&interrupt.taken);
}

/* ---- rota_run */

static int run_main(struct rota__loop *loop, rota_fn *main, void *arg, const rota_site *site)
{
    rota_task *task = rota__task_new(loop, main, arg, 0, site);
    if (!task)
        return -ENOMEM;
    task->owned = task->read = true;
    loop->main = task;
    int err = rota_loop_run(loop->handle);
    loop->main = NULL;
    int result = rota_task_done(task) ? rota_task_result(task) : err; /* brings main's text */
    rota_task_detach(task);
    return result;
}

int rota_run_at(rota_fn *main, void *arg, const rota_loop_options *options, const rota_site *site)
{
    rota_loop *handle;
    main_interrupted = false;
    if (rota__loop_here)
        return rota_error_set(-EBUSY, "run '%s': this thread has a loop already, use rota_spawn",
                              site->name);
    int err = rota_loop_new(options, &handle);
    if (err < 0)
        return err;
    struct rota__loop *loop = rota__loop_here;
    rota__log_program_begins();
    err = rota__overflow_watch_start();
    bool watching = err == 0, signals = watching && signals_start(loop);
    if (watching)
        err = run_main(loop, main, arg, site);
    ROTA_KEEP_ERROR;
    if (signals)
        signals_disarm();
    rota_loop_free(handle);
    if (signals)
        signals_stop();
    if (watching)
        rota__overflow_watch_stop();
    rota__log_program_ends();
    return err;
}

int rota_main_at(rota_fn *main, void *arg, const rota_loop_options *options, const rota_site *site)
{
    char before[64];
    int err = rota_run_at(main, arg, options, site);
    if (err >= 0)
        return 0;
    if (err == -ECANCELED && main_interrupted && interrupt.number == SIGINT)
        return 128 + SIGINT;
    snprintf(before, sizeof before, "%.60s: ", program_invocation_short_name);
    rota__write_line(before, rota_error(err));
    return 1;
}
