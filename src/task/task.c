/* Tasks: a stack each, with a fiber at its top, and a few words beside it that stay longer.
 *
 *     new -> ready -> running -> parked -> ready ... -> running -> ended -> released
 *
 *     spawn   new -> ready             resume        ready -> running
 *     park    running -> parked        rota__wake    parked -> ready
 *     yield   running -> ready         task_main     running -> ended
 *
 * 1. loop->current is the running task, NULL on the loop's own stack. A task that stops picks the
 *    next one and switches to it directly; it goes home only when what runs next is not a task.
 * 2. A task is in loop->tasks until it has ended, with or without a handle. Then it is in
 *    loop->ended until its handle is released, unless a rota_join is about to do that.
 * 3. An ended task that no rota_join waits for is loop->zombie until another one ends or is
 *    spawned: it stands on the stack that is to be given back. There is at most one. Without an
 *    owner it goes, too.
 * 4. A wait is decided once. task->wait is set exactly while the task is parked on an undecided
 *    wait. */
#include "task/task.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/noexcept.h"
#include "coro/watch.h"

#include <string.h>
#include <unistd.h>

/* ---- Switching */

static void task_resume(struct rota__item *item)
{
    struct rota__fiber *fiber = rota__container_of(item, struct rota__fiber, item);
    fiber->loop->current = fiber;
    fiber->budget = ROTA__BUDGET;
    rota__coro_switch(fiber->resume, fiber->woken_with);
}

/* The next item of this turn if it is a task, or NULL: then the loop has to go on. */
static inline struct rota__fiber *next_fiber(struct rota__loop *loop)
{
    if (rota__list_empty(&loop->running) && !rota__loop_next_turn_at_once(loop))
        return NULL;
    struct rota__item *item = rota__container_of(loop->running.next, struct rota__item, node);
    if (item->run != task_resume)
        return NULL;
    rota__list_pop(&loop->running);
    rota__loop_count_resume(loop);
    return rota__container_of(item, struct rota__fiber, item);
}

#if ROTA__CORO_WATCHED
void (*rota__on_stop)(void);
#endif

/* Stops the current task, and returns what it was woken with. */
static inline int fiber_stop(struct rota__fiber *fiber)
{
#if ROTA__CORO_WATCHED
    if (rota__on_stop)
        rota__on_stop();
#endif
    struct rota__loop *loop = fiber->loop;
    struct rota__coro *here = rota__coro_current();
    fiber->resume = here;
    struct rota__fiber *next = next_fiber(loop);
    loop->current = next;
    if (__builtin_expect(next == NULL, false))
        return rota__coro_switch(loop->home, 0);
    next->budget = ROTA__BUDGET;
    if (__builtin_expect(next == fiber, false))
        return fiber->woken_with;
    return rota__coro_switch(next->resume, next->woken_with);
}

int rota__park(struct rota__wait *wait, const struct rota__wait_kind *kind, const void *object)
{
    if (wait->decided)
        return wait->result;
    struct rota__fiber *here = rota__fiber_here();
    wait->kind = kind;
    wait->object = object;
    wait->fiber = here;
    here->wait = wait;
    return fiber_stop(here);
}

void rota__wake(struct rota__wait *wait, int result)
{
    wait->result = result;
    wait->decided = true;
    struct rota__fiber *fiber = wait->fiber;
    if (fiber && fiber->wait == wait) {
        fiber->wait = NULL;
        fiber->woken_with = result;
        rota__loop_ready(fiber->loop, &fiber->item);
        if (__builtin_expect(result < 0, false))
            rota__explain_failure(fiber, result, wait->kind->name);
    }
}

int rota__yield(struct rota__fiber *fiber)
{
    fiber->woken_with = 0;
    rota__loop_ready(fiber->loop, &fiber->item);
    return fiber_stop(fiber);
}

ssize_t rota__let_others_run(ssize_t result)
{
    rota__yield(rota__fiber_here());
    return result;
}

/* Nothing comes after it that a deadline could lose against, so it looks at the clock itself. */
int rota_yield(void)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    struct rota__fiber *here = rota__fiber_here();
    if (__builtin_expect(here->scopes.next != &here->own.node, false) && rota_check() < 0)
        return rota__interrupted(here);
    return rota__yield(here);
}

/* ---- Operations */

struct op_wait {
    struct rota__wait wait;
    struct rota__op *op;
};

void rota__op_abort(struct rota__wait *wait, int reason)
{
    (void)reason; /* the task's scopes know it when the operation has come back */
    rota__op_withdraw(rota__container_of(wait, struct op_wait, wait)->op);
}

static void op_done(struct rota__op *op)
{
    rota__wake(op->owner, 0);
}

static ssize_t op_run(struct rota__op *op, const struct rota__wait_kind *kind)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    const struct rota__fiber *here = rota__fiber_here();
    op->done = op_done;
    do {
        struct op_wait w = {.op = op};
        op->owner = &w.wait;
        if (rota__op_start(op))
            return rota__done_at_once(op->result);
        rota__park(&w.wait, kind, op->fd);
        bool again = op->result == -EAGAIN;
        if (op->withdrawn && (again || op->result == -ECANCELED))
            return here->interrupt ? here->interrupt : ROTA_ECLOSED;
        if (again && here->interrupt) /* came after completion: nothing would withdraw a new try */
            return here->interrupt;
    } while (op->result == -EAGAIN);
    return op->result;
}

ssize_t rota__op_await(struct rota__op *op, const struct rota__wait_kind *kind)
{
    ssize_t result = op_run(op, kind);
    if (__builtin_expect(result < 0, false))
        rota__explain_failure(rota__fiber_here(), (int)result, kind->name);
    return result;
}

/* ---- The life of a task */

struct rota__deferred {
    struct rota__deferred *next;
    void (*fn)(void *arg);
    void *arg;
};

int rota_defer(void (*fn)(void *arg), void *arg)
{
    struct rota__fiber *here = rota__fiber_here();
    if (!here)
        return rota__error_plain(ROTA_ENOTASK);
    struct rota__deferred *d = rota_alloc(sizeof *d);
    if (!d)
        return rota__error_plain(-ENOMEM);
    *d = (struct rota__deferred){here->deferred, fn, arg};
    here->deferred = d;
    return 0;
}

static struct rota__deferred take_deferred(struct rota__fiber *fiber)
{
    struct rota__deferred d = *fiber->deferred;
    rota_free(fiber->deferred);
    fiber->deferred = d.next;
    return d;
}

static __attribute__((noinline, cold)) void run_deferred(struct rota__fiber *fiber)
{
    ROTA_KEEP_ERROR;
    ROTA_SHIELD
    {
        while (fiber->deferred) {
            struct rota__deferred d = take_deferred(fiber);
            d.fn(d.arg);
        }
    }
}

void rota__task_drop_deferred(struct rota__fiber *fiber)
{
    while (fiber->deferred)
        take_deferred(fiber);
}

/* A loop allocates its first tasks as one block, and keeps about SPARES_MAX others for the next
 * spawns. Under AddressSanitizer and valgrind it keeps no others and hides the spare tasks of the
 * block, so that a use after the release is reported. */
enum { FIRST_TASKS = 32, SPARES_MAX = 256 };

static bool is_of_the_first(const struct rota__loop *loop, const rota_task *task)
{
    const rota_task *block = loop->first_tasks;
    return block && task >= block && task < block + FIRST_TASKS;
}

/* All but the link to the next one. */
static void *hidden_part(rota_task *task, size_t *ret_size)
{
    *ret_size = sizeof *task - offsetof(rota_task, done);
    return &task->done;
}

static bool hides_tasks(const struct rota__loop *loop)
{
    return loop->spares_max == 0;
}

static rota_task **spares_of(struct rota__loop *loop)
{
    return hides_tasks(loop) ? &loop->hidden_tasks : &loop->spare_tasks;
}

__attribute__((noinline)) static void record_free(struct rota__loop *loop, rota_task *task)
{
    if (!is_of_the_first(loop, task)) {
        rota_free(task);
        return;
    }
    rota_task **spares = spares_of(loop);
    task->next_spare = *spares;
    *spares = task;
    size_t size;
    void *hidden = hidden_part(task, &size);
    if (hides_tasks(loop))
        watch_hide(&loop->stacks, hidden, size);
}

static rota_task *take_spare(struct rota__loop *loop)
{
    rota_task **spares = spares_of(loop), *task = *spares;
    if (!task)
        return NULL;
    *spares = task->next_spare;
    size_t size;
    void *hidden = hidden_part(task, &size);
    if (hides_tasks(loop))
        watch_show(&loop->stacks, hidden, size);
    return task;
}

/* Without memory for the block each task is allocated when it is needed. */
static void spare_tasks_make(struct rota__loop *loop)
{
    loop->spares_max = watch_for_hidden() ? 0 : SPARES_MAX;
    loop->first_tasks = rota__alloc_array(FIRST_TASKS, sizeof *loop->first_tasks);
    for (size_t i = loop->first_tasks ? FIRST_TASKS : 0; i-- > 0;)
        record_free(loop, &loop->first_tasks[i]);
}

static struct rota__error **error_slot(void)
{
    struct rota__fiber *here = rota__fiber_here();
    return here ? &here->error : NULL;
}

static void first_task(struct rota__loop *loop)
{
    loop->stuck = rota__loop_stuck;
    loop->finish = rota__loop_finish;
    rota__error_slots(error_slot);
    spare_tasks_make(loop);
}

/* There is no spare task: either the loop has not had one yet, or all are in use. */
__attribute__((noinline)) static rota_task *record_new_slow(struct rota__loop *loop)
{
    if (!loop->finish)
        first_task(loop);
    rota_task *task = take_spare(loop);
    return task ? task : rota_alloc(sizeof *task);
}

static inline rota_task *record_new(struct rota__loop *loop)
{
    rota_task *task = loop->spare_tasks;
    if (__builtin_expect(!task, false))
        return record_new_slow(loop);
    loop->spare_tasks = task->next_spare;
    return task;
}

/* Keeps or frees a task whose stack has just been given back. */
static inline void record_keep(struct rota__loop *loop, rota_task *task)
{
    if (__builtin_expect(loop->stacks.warm_count >= loop->spares_max, false)) {
        record_free(loop, task);
        return;
    }
    task->next_spare = loop->spare_tasks;
    loop->spare_tasks = task;
}

void rota__spare_tasks_free(struct rota__loop *loop)
{
    for (rota_task *task; (task = take_spare(loop));) {
        if (!is_of_the_first(loop, task))
            rota_free(task);
    }
    rota_free(loop->first_tasks);
    loop->first_tasks = NULL;
}

/* Gives the stack of an ended task back, and the fiber with it. */
static void fiber_release(struct rota__loop *loop, struct rota__fiber *fiber)
{
    struct rota__stack *stack = fiber->coro.stack;
    if (__builtin_expect(fiber->error != NULL, false))
        rota__error_unref(fiber->error);
    rota__coro_fini(&fiber->coro);
    rota__stack_give(&loop->stacks, stack);
    if (loop->trim_at == ROTA_NEVER)
        loop->trim_at = 0; /* the next turn asks when */
}

/* Releases what only some tasks have. */
__attribute__((noinline)) static void untie(struct rota__loop *loop, rota_task *task)
{
    rota__list_remove(&task->ended);
    if (!task->fiberless && loop->zombie == task->fiber)
        loop->zombie = NULL; /* first, because a detail's fini may spawn, which buries the zombie */
    if (task->done._error)
        rota__error_unref(task->done._error);
    if (task->own_name)
        rota_free((void *)(uintptr_t)task->name);
    if (task->own_arg)
        rota_free(task->arg);
}

void rota__task_release(rota_task *task)
{
    struct rota__loop *loop = rota__loop_here;
    if (__builtin_expect(task->tied, false)) {
        untie(loop, task);
        if (task->fiberless) {
            record_free(loop, task);
            return;
        }
    }
    fiber_release(loop, task->fiber);
    record_keep(loop, task);
}

/* The name of a task that is about to lose its stack. */
static void keep_name(rota_task *task)
{
    size_t size = strlen(task->name) + 1;
    char *name = rota_alloc(size);
    task->own_name = name != NULL;
    task->name = name ? memcpy(name, task->name, size) : task->site->name;
}

/* The argument of a task that is about to lose its stack; NULL: no memory for it. */
static void *keep_arg(rota_task *task)
{
    const struct rota__fiber *fiber = task->fiber;
    size_t size = (size_t)((const char *)fiber - (const char *)fiber->arg);
    void *copy = rota_alloc(size);
    task->own_arg = copy != NULL;
    return copy ? memcpy(copy, fiber->arg, size) : NULL;
}

/* The task stays until its handle is released. The stack stays with it if somebody knows the
 * address of a copied argument, or if there is no memory to move the argument to. */
static void give_stack_back(struct rota__loop *loop, struct rota__fiber *fiber)
{
    rota_task *task = fiber->task;
    if (task->pinned)
        return;
    void *arg = task->copied ? keep_arg(task) : fiber->arg;
    if (task->copied && !arg)
        return;
    if (task->name == fiber->name)
        keep_name(task);
    fiber_release(loop, fiber);
    task->arg = arg;
    task->fiberless = true;
}

__attribute__((noinline)) static void bury(struct rota__loop *loop, struct rota__fiber *fiber)
{
    loop->zombie = NULL;
    if (fiber->task->owned)
        give_stack_back(loop, fiber);
    else
        rota__task_release(fiber->task);
}

static inline void bury_zombie(struct rota__loop *loop)
{
    if (__builtin_expect(loop->zombie != NULL, false))
        bury(loop, loop->zombie);
}

void rota__task_report_unread(rota_task *task)
{
    int result = task->done._result;
    if (result >= 0 || task->read || (result == -ECANCELED && task->cancelled))
        return;
    rota_log_level level = rota__failure_level(result);
    if (!rota__log_wanted(level))
        return;
    struct rota__task_text text;
    rota__log_about(level, rota__task_kind(task), "%s failed, and its result was not read: %s",
                    rota__task_describe(task, &text), rota__error_words(task->done._error, result));
}

void rota__tasks_give_up_ended(struct rota__loop *loop)
{
    struct rota__list *node;
    while ((node = rota__list_first(&loop->ended))) {
        rota_task *task = rota__container_of(node, rota_task, ended);
        rota__task_report_unread(task);
        rota__task_release(task);
    }
}

/* The storage of the scopes is below the stack pointer by now: whatever is called may write over
 * it. */
static void scopes_forgotten(struct rota__fiber *fiber)
{
    const rota_task *task = fiber->task;
    rota__scopes_abandon(fiber);
    rota__log_about(
        ROTA_LOG_ERROR, task->site,
        "task '%s' (spawned at %s:%d) returned without leaving a scope: a timeout or shield "
        "without its end, or a group without rota_group_wait; ROTA_SCOPED sees to that",
        rota_task_name(task), task->site->file, task->site->line);
}

/* What becomes of an ended task that nobody is about to release, or that has failed. */
static __attribute__((noinline)) void let_go(struct rota__fiber *fiber)
{
    struct rota__loop *loop = fiber->loop;
    rota_task *task = fiber->task;
    task->tied = true;
    if (!task->owned) {
        rota__list_init(&task->ended);
        rota__task_report_unread(task);
    } else if (!task->grouped) {
        rota__list_append(&loop->ended, &task->ended);
    }
    if (!task->joining && !(task->owned && task->pinned)) {
        bury_zombie(loop);
        loop->zombie = fiber;
    }
}

static void task_end(struct rota__fiber *fiber, int result)
{
    struct rota__loop *loop = fiber->loop;
    rota_task *task = fiber->task;
    if (__builtin_expect(fiber->scopes.next != &fiber->own.node, false))
        scopes_forgotten(fiber);
    if (__builtin_expect(fiber->locals != NULL, false))
        rota__locals_release(fiber->locals);
    rota__list_unlink(&fiber->all);
    if (__builtin_expect(result < 0, false)) {
        task->done._error = rota__error_take_from(&fiber->error, result);
        task->cancelled = fiber->own.cancelled;
    }
    bool is_awaited = task->joining && result >= 0;
    rota__future_settle(&task->done, result);
    if (fiber->group)
        rota__group_task_ended(task);
    if (task == loop->main)
        loop->stopping = true;
    if (__builtin_expect(!is_awaited, false))
        let_go(fiber);
}

/* The task has forked, and its function has returned in the child, which has no loop to return to.
 * What was deferred is the parent's. */
static _Noreturn void end_child(const rota_task *task, int result)
{
    rota_log(ROTA_LOG_DEBUG, "task '%s' returned in a child of fork(2), which ends here",
             rota_task_name(task));
    _exit(result < 0);
}

static struct rota__coro_next task_main(void *arg)
{
    struct rota__fiber *fiber = arg;
    int result = fiber->fn(fiber->arg);
    if (__builtin_expect(rota__loop_here != fiber->loop, false))
        end_child(fiber->task, result);
    if (__builtin_expect(fiber->deferred != NULL, false))
        run_deferred(fiber);
    struct rota__loop *loop = fiber->loop;
    task_end(fiber, result);
    struct rota__fiber *next = loop->current = next_fiber(loop);
    if (!next)
        return rota__coro_end(loop->home, 0);
    next->budget = ROTA__BUDGET;
    return rota__coro_end(next->resume, next->woken_with);
}

#define ALIGN_DOWN(p, n) ((char *)((uintptr_t)(p) & ~(uintptr_t)((n)-1)))

static inline void task_init(const struct rota__loop *loop, rota_task *task,
                             struct rota__fiber *fiber, const rota_site *site)
{
    task->fiber = fiber;
    rota__list_init(&task->done._watchers);
    task->done._state = ROTA__FUTURE_PENDING;
    task->done._loop = loop->handle;
    task->done._error = NULL;
    task->site = site;
    task->name = site->name;
    task->owned = task->joining = task->read = false;
    task->grouped = task->fiberless = task->tied = task->own_name = false;
    task->own_arg = task->copied = task->pinned = task->cancelled = false;
}

rota_task *rota__task_new(struct rota__loop *loop, rota_fn *fn, const void *arg, size_t copy,
                          const rota_site *site)
{
    bury_zombie(loop);
    rota_task *task = record_new(loop);
    struct rota__stack *stack = task ? rota__stack_take(&loop->stacks) : NULL;
    if (!stack) {
        if (task)
            record_free(loop, task);
        return NULL;
    }
    struct rota__fiber *fiber =
        (struct rota__fiber *)(void *)ALIGN_DOWN(stack->top - sizeof *fiber, 64);
    char *top = (char *)fiber;
    task_init(loop, task, fiber, site);
    if (copy) {
        top = ALIGN_DOWN(top - copy, 16);
        arg = memcpy(top, arg, copy);
        task->copied = true;
    }
    fiber->item.run = task_resume;
    fiber->resume = &fiber->coro;
    fiber->loop = loop;
    fiber->task = task;
    fiber->wait = NULL;
    fiber->interrupt = fiber->ignored = 0;
    fiber->fn = fn;
    fiber->arg = (void *)(uintptr_t)arg;
    fiber->group = NULL;
    fiber->deferred = NULL;
    fiber->error = NULL;
    fiber->locals =
        loop->current && loop->current->locals ? rota__locals_inherit(loop->current) : NULL;
    fiber->own.fiber = fiber;
    fiber->own.kind = ROTA__SCOPE_TASK;
    fiber->own.cancelled = fiber->own.expired = false;
    fiber->scopes.next = fiber->scopes.prev = &fiber->own.node;
    fiber->own.node.next = fiber->own.node.prev = &fiber->scopes;
    rota__coro_init(&fiber->coro, stack, top, task_main, fiber);
    fiber->coro.name = site->name;
    rota__list_append(&loop->tasks, &fiber->all);
    if (loop->ending)
        rota__scope_cancel(&fiber->own);
    rota__loop_ready(loop, &fiber->item);
    return task;
}

int rota__spawn_failed(size_t copy, const rota_site *site)
{
    if (copy <= ROTA__COPY_MAX)
        return rota_error_set(-ENOMEM, "spawn %s: no memory for a task", site->name);
    return rota_error_set(-E2BIG, "spawn %s: an argument of %zu bytes exceeds the limit of %d",
                          site->name, copy, ROTA__COPY_MAX);
}

int rota_spawn_at(rota_fn *fn, const void *arg, size_t copy, rota_task **ret_task,
                  const rota_site *site)
{
    struct rota__loop *loop = rota__loop_here;
    if (!loop)
        return rota__error_plain(ROTA_ENOTASK);
    rota_task *task = copy <= ROTA__COPY_MAX ? rota__task_new(loop, fn, arg, copy, site) : NULL;
    if (!task)
        return rota__spawn_failed(copy, site);
    if (ret_task) {
        task->owned = true;
        *ret_task = task;
    }
    return 0;
}

struct far_spawn {
    struct rota__post post;
    rota_fn *fn;
    void *arg;
    const rota_site *site;
};

static void far_spawn_run(struct rota__post *post, struct rota__loop *loop)
{
    struct far_spawn s = *rota__container_of(post, struct far_spawn, post);
    rota_free(rota__container_of(post, struct far_spawn, post));
    if (!rota__task_new(loop, s.fn, s.arg, 0, s.site))
        rota__log_about(ROTA_LOG_ERROR, s.site,
                        "task '%s' (spawned at %s:%d) could not be started: %s", s.site->name,
                        s.site->file, s.site->line, rota_strerror(-ENOMEM));
}

int rota_loop_spawn_threadsafe_at(rota_loop *loop, rota_fn *fn, void *arg, const rota_site *site)
{
    struct far_spawn *s = rota_alloc(sizeof *s);
    if (!s)
        return rota__error_plain(-ENOMEM);
    *s = (struct far_spawn){{NULL, far_spawn_run}, fn, arg, site};
    int err = rota__loop_post_from_outside(loop, &s->post);
    if (err < 0)
        rota_free(s);
    return err;
}

/* ---- Handles */

static const struct rota__wait_kind join_kind = {"task", rota__future_abort};

/* Waits for the end whatever scopes say. */
static void await_end(rota_task *task)
{
    ROTA_KEEP_ERROR;
    ROTA_SHIELD
    {
        rota__future_park(&task->done, &join_kind);
    }
}

int rota_join(rota_task *task)
{
    const struct rota__fiber *here = rota__fiber_here();
    if (!here)
        return rota__error_plain(ROTA_ENOTASK);
    if (!rota__loop_mine(task->done._loop, "rota_join"))
        return ROTA_ETHREAD;
    if (task == here->task)
        return rota_error_set(-EDEADLK, "join: a task cannot wait for itself");
    if (task->joining)
        return rota_error_set(-EBUSY, "join task '%s': another task is waiting for it",
                              rota_task_name(task));
    if (task->grouped || !task->owned || task == here->loop->main)
        return rota__error_plain(-EINVAL);
    task->joining = true;
    /* What has ended is joined whatever scopes say: that ignores no cancellation. */
    bool waits = !rota__future_is_done(&task->done);
    int interrupted = waits ? rota__suspend_check() : here->interrupt;
    if (!interrupted && waits) {
        rota__future_park(&task->done, &join_kind);
        interrupted = rota__future_is_done(&task->done) ? 0 : here->interrupt;
    }
    if (__builtin_expect(interrupted != 0, false)) {
        rota_task_cancel(task);
        if (!rota__future_is_done(&task->done))
            await_end(task);
    }
    int result = task->done._result;
    if (interrupted == -ETIMEDOUT && result == -ECANCELED)
        result = interrupted; /* with the deadline's text, which is there */
    else if (__builtin_expect(result < 0, false))
        rota__error_give(rota__error_take_from(&task->done._error, result));
    rota__task_release(task);
    return result;
}

/* Whether the handle is there to be released. A task that was spawned without one belongs to the
 * loop, and while somebody waits in rota_join or rota_task_free, that call releases it. */
static bool has_handle(const rota_task *task, const char *call)
{
    if (task->owned && !task->joining)
        return true;
    rota__log_about(ROTA_LOG_ERROR, task->site, "%s was called on task '%s' (spawned at %s:%d), %s",
                    call, rota_task_name(task), task->site->file, task->site->line,
                    task->joining ? "which another task is waiting for: that one releases it"
                                  : "which has no handle to release");
    return false;
}

rota_task *rota_task_free(rota_task *task)
{
    if (!task || !rota__loop_mine(task->done._loop, "rota_task_free"))
        return NULL;
    ROTA_KEEP_ERROR;
    rota_task_cancel(task);
    if (task->grouped || !has_handle(task, "rota_task_free"))
        return NULL;
    if (!rota__future_is_done(&task->done)) {
        rota_task *here = rota__task_here();
        if (!here || here == task)
            return rota_task_detach(task); /* cannot wait here */
        task->joining = true;
        await_end(task);
    }
    rota__task_report_unread(task);
    rota__task_release(task);
    return NULL;
}

rota_task *rota_task_detach(rota_task *task)
{
    if (!task || task->grouped || !rota__loop_mine(task->done._loop, "rota_task_detach") ||
        !has_handle(task, "rota_task_detach"))
        return NULL;
    task->owned = false;
    if (rota__future_is_done(&task->done)) {
        rota__task_report_unread(task);
        rota__task_release(task);
    }
    return NULL;
}

void rota_task_cancel(rota_task *task)
{
    if (!rota__future_is_done(&task->done) && rota__loop_mine(task->done._loop, "rota_task_cancel"))
        rota__scope_cancel(&task->fiber->own);
}

void rota_task_trim(void)
{
    const struct rota__stack *stack = rota__coro_current()->stack;
    if (stack)
        rota__stack_trim(stack);
}

rota_task *rota_task_current(void)
{
    return rota__task_here();
}

bool rota_task_done(const rota_task *task)
{
    return rota__future_is_done(&task->done);
}

int rota_task_result(rota_task *task)
{
    task->read = true;
    return rota_future_result(&task->done);
}

void *rota_task_arg(rota_task *task)
{
    if (task->fiberless)
        return task->arg;
    task->pinned = task->copied;
    return task->fiber->arg;
}

void rota_task_set_name(rota_task *task, const char *name)
{
    if (rota__future_is_done(&task->done))
        return;
    struct rota__fiber *fiber = task->fiber;
    strncpy(fiber->name, name, sizeof fiber->name - 1);
    fiber->name[sizeof fiber->name - 1] = '\0';
    task->name = fiber->coro.name = fiber->name;
}

const char *rota_task_name(const rota_task *task)
{
    return task->name;
}

const char *rota_task_waits_for(const rota_task *task)
{
    const struct rota__wait *wait = task->fiberless ? NULL : task->fiber->wait;
    return wait ? wait->kind->name : NULL;
}

rota_future *rota_task_future(rota_task *task)
{
    task->read = true;
    return &task->done;
}

void rota_task_each(rota_loop *loop, void (*fn)(rota_task *task, void *arg), void *arg)
{
    struct rota__loop *here = rota__loop_mine(loop, "rota_task_each");
    if (!here)
        return;
    rota__list_each (node, &here->tasks)
        fn(rota__container_of(node, struct rota__fiber, all)->task, arg);
    ROTA__NOEXCEPT();
}
