/* Tasks: a stack each, with the task itself at its top.
 *
 *     new -> ready -> running -> parked -> ready ... -> running -> ended -> released
 *
 *     spawn   new -> ready             resume        ready -> running
 *     park    running -> parked        rota__wake    parked -> ready
 *     yield   running -> ready         task_main     running -> ended
 *
 * 1. loop->current is the running task, NULL on the loop's own stack. A task that stops picks the
 *    next one and switches to it directly; it goes home only when the next thing to run is no task.
 * 2. A task is in loop->tasks until it has ended, with or without a handle; one that failed is then
 *    in loop->failed until its handle is released.
 * 3. An ended task without an owner is loop->zombie until somebody else runs: it stands on the
 *    stack that is to be released. There is at most one.
 * 4. A wait is decided once. task->wait is set exactly while the task is parked on an undecided
 *    wait. */
#include "task/task.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/noexcept.h"

#include <string.h>
#include <unistd.h>

/* ---- Switching */

static void task_resume(struct rota__item *item)
{
    rota_task *task = rota__container_of(item, rota_task, item);
    task->loop->current = task;
    task->budget = ROTA__BUDGET;
    rota__coro_switch(task->resume, task->woken_with);
}

/* The next item of this turn if it is a task, or NULL: then the loop has to go on. */
static inline rota_task *next_task(struct rota__loop *loop)
{
    if (rota__list_empty(&loop->running) && !rota__loop_next_turn_at_once(loop))
        return NULL;
    struct rota__item *item = rota__container_of(loop->running.next, struct rota__item, node);
    if (item->run != task_resume)
        return NULL;
    rota__list_pop(&loop->running);
    rota__loop_count_resume(loop);
    return rota__container_of(item, rota_task, item);
}

/* Stops the current task, and returns what it was woken with. */
static inline int task_stop(rota_task *task)
{
    struct rota__loop *loop = task->loop;
    struct rota__coro *here = rota__coro_current();
    task->resume = here;
    rota_task *next = next_task(loop);
    loop->current = next;
    if (__builtin_expect(next == NULL, false))
        return rota__coro_switch(loop->home, 0);
    next->budget = ROTA__BUDGET;
    if (__builtin_expect(next == task, false))
        return task->woken_with;
    return rota__coro_switch(next->resume, next->woken_with);
}

int rota__park(struct rota__wait *wait, const struct rota__wait_kind *kind, const void *object)
{
    if (wait->decided)
        return wait->result;
    rota_task *task = rota__task_here();
    wait->kind = kind;
    wait->object = object;
    wait->task = task;
    task->wait = wait;
    return task_stop(task);
}

void rota__wake(struct rota__wait *wait, int result)
{
    wait->result = result;
    wait->decided = true;
    rota_task *task = wait->task;
    if (task && task->wait == wait) {
        task->wait = NULL;
        task->woken_with = result;
        rota__loop_ready(task->loop, &task->item);
    }
}

int rota__yield(rota_task *task)
{
    task->woken_with = 0;
    rota__loop_ready(task->loop, &task->item);
    return task_stop(task);
}

ssize_t rota__let_others_run(ssize_t result)
{
    rota__yield(rota__task_here());
    return result;
}

/* Nothing comes after it that a deadline could lose against, so it looks at the clock itself. */
int rota_yield(void)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    rota_task *task = rota__task_here();
    if (__builtin_expect(task->scopes.next != &task->own.node, false) && rota_check() < 0)
        return rota__interrupted(task);
    return rota__yield(task);
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
    rota_task *task = rota__task_here();
    op->done = op_done;
    do {
        struct op_wait w = {.op = op};
        op->owner = &w.wait;
        if (rota__op_start(op))
            return rota__done_at_once(op->result);
        rota__park(&w.wait, kind, op->fd);
        bool again = op->result == -EAGAIN;
        if (op->withdrawn && (again || op->result == -ECANCELED))
            return task->interrupt ? task->interrupt : ROTA_ECLOSED;
        if (again && task->interrupt) /* came after completion: nothing would withdraw a new try */
            return task->interrupt;
    } while (op->result == -EAGAIN);
    return op->result;
}

ssize_t rota__op_await(struct rota__op *op, const struct rota__wait_kind *kind)
{
    ssize_t result = op_run(op, kind);
    return __builtin_expect(result < 0, false) ? rota__error_plain((int)result) : result;
}

/* ---- The life of a task */

struct rota__deferred {
    struct rota__deferred *next;
    void (*fn)(void *arg);
    void *arg;
};

int rota_defer(void (*fn)(void *arg), void *arg)
{
    rota_task *task = rota__task_here();
    if (!task)
        return ROTA_ENOTASK;
    struct rota__deferred *d = rota_alloc(sizeof *d);
    if (!d)
        return -ENOMEM;
    *d = (struct rota__deferred){task->deferred, fn, arg};
    task->deferred = d;
    return 0;
}

static struct rota__deferred take_deferred(rota_task *task)
{
    struct rota__deferred d = *task->deferred;
    rota_free(task->deferred);
    task->deferred = d.next;
    return d;
}

static __attribute__((noinline, cold)) void run_deferred(rota_task *task)
{
    ROTA_KEEP_ERROR;
    ROTA_SHIELD
    {
        while (task->deferred) {
            struct rota__deferred d = take_deferred(task);
            d.fn(d.arg);
        }
    }
}

void rota__task_drop_deferred(rota_task *task)
{
    while (task->deferred)
        take_deferred(task);
}

void rota__task_release(rota_task *task)
{
    struct rota__loop *loop = task->loop;
    struct rota__stack *stack = task->stack;
    rota__list_remove(&task->all);
    if (__builtin_expect(task->error != NULL, false))
        rota__error_unref(task->error);
    rota__coro_fini(&task->coro);
    rota__stack_give(&loop->stacks, stack);
    if (loop->trim_at == ROTA_NEVER)
        loop->trim_at = 0; /* the next turn asks when */
}

static void bury_zombie(struct rota__loop *loop)
{
    if (!loop->zombie)
        return;
    rota_task *task = loop->zombie;
    loop->zombie = NULL;
    rota__task_release(task);
}

void rota__task_report_unread(rota_task *task)
{
    int result = task->done._result;
    if (result >= 0 || task->read || (result == -ECANCELED && task->own.cancelled))
        return;
    rota_log_level level = rota__failure_level(result);
    if (!rota__log_wanted(level))
        return;
    struct rota__task_text text;
    rota_log(level, "%s failed, and its result was not read: %s", rota__task_describe(task, &text),
             rota__error_words(task->error, result));
}

void rota__tasks_give_up_failed(struct rota__loop *loop)
{
    struct rota__list *node;
    while ((node = rota__list_first(&loop->failed))) {
        rota_task *task = rota__container_of(node, rota_task, all);
        rota__task_report_unread(task);
        rota__task_release(task);
    }
}

/* The storage of the scopes is below the stack pointer by now: whatever is called may write over
 * it. */
static void scopes_forgotten(rota_task *task)
{
    rota__scopes_abandon(task);
    rota_log(ROTA_LOG_ERROR,
             "task '%s' (spawned at %s:%d) returned without leaving a scope: a timeout or shield "
             "without its end, or a group without rota_group_wait; ROTA_SCOPED sees to that",
             rota_task_name(task), task->site->file, task->site->line);
}

static void task_end(rota_task *task, int result)
{
    struct rota__loop *loop = task->loop;
    if (__builtin_expect(task->scopes.next != &task->own.node, false))
        scopes_forgotten(task);
    if (__builtin_expect(task->locals != NULL, false))
        rota__locals_release(task->locals);
    rota__list_remove(&task->all);
    if (result < 0) {
        task->error = rota__error_take_from(&task->error, result);
        task->done._error = task->error;
    }
    rota__future_settle(&task->done, result);
    if (task->group)
        rota__group_task_ended(task);
    if (task == loop->main)
        loop->stopping = true;
    if (!task->owned) {
        rota__task_report_unread(task);
        bury_zombie(loop);
        loop->zombie = task;
    } else if (result < 0 && !task->group) {
        rota__list_append(&loop->failed, &task->all);
    }
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
    rota_task *task = arg;
    int result = task->fn(task->arg);
    if (__builtin_expect(rota__loop_here != task->loop, false))
        end_child(task, result);
    if (__builtin_expect(task->deferred != NULL, false))
        run_deferred(task);
    struct rota__loop *loop = task->loop;
    task_end(task, result);
    rota_task *next = loop->current = next_task(loop);
    if (!next)
        return rota__coro_end(loop->home, 0);
    next->budget = ROTA__BUDGET;
    return rota__coro_end(next->resume, next->woken_with);
}

static struct rota__error **error_slot(void)
{
    rota_task *here = rota__task_here();
    return here ? &here->error : NULL;
}

#define ALIGN_DOWN(p, n) ((char *)((uintptr_t)(p) & ~(uintptr_t)((n)-1)))

rota_task *rota__task_new(struct rota__loop *loop, rota_fn *fn, const void *arg, size_t copy,
                          const rota_site *site)
{
    bury_zombie(loop);
    struct rota__stack *stack = rota__stack_take(&loop->stacks);
    if (!stack)
        return NULL;
    rota_task *task = (rota_task *)(void *)ALIGN_DOWN(stack->top - sizeof *task, 64);
    char *top = (char *)task;
    if (copy) {
        top = ALIGN_DOWN(top - copy, 16);
        arg = memcpy(top, arg, copy);
    }
    task->item.run = task_resume;
    task->resume = &task->coro;
    task->loop = loop;
    task->wait = NULL;
    task->interrupt = task->ignored = 0;
    task->stack = stack;
    task->fn = fn;
    task->arg = (void *)(uintptr_t)arg;
    task->site = site;
    task->group = NULL;
    task->deferred = NULL;
    task->error = NULL;
    task->owned = task->joining = task->read = false;
    task->name[0] = '\0';
    task->locals =
        loop->current && loop->current->locals ? rota__locals_inherit(loop->current) : NULL;
    task->own.task = task;
    task->own.kind = ROTA__SCOPE_TASK;
    task->own.cancelled = task->own.expired = false;
    task->scopes.next = task->scopes.prev = &task->own.node;
    task->own.node.next = task->own.node.prev = &task->scopes;
    rota__list_init(&task->done._watchers);
    task->done._state = ROTA__FUTURE_PENDING;
    task->done._loop = loop->handle;
    rota__coro_init(&task->coro, stack, top, task_main, task);
    task->coro.name = site->name;
    rota__list_append(&loop->tasks, &task->all);
    if (!loop->finish) {
        loop->stuck = rota__loop_stuck;
        loop->finish = rota__loop_finish;
        rota__error_slots(error_slot);
    }
    if (loop->ending)
        rota__scope_cancel(&task->own);
    rota__loop_ready(loop, &task->item);
    return task;
}

int rota_spawn_at(rota_fn *fn, const void *arg, size_t copy, rota_task **ret_task,
                  const rota_site *site)
{
    struct rota__loop *loop = rota__loop_here;
    if (!loop)
        return ROTA_ENOTASK;
    if (copy > 2048)
        return -E2BIG;
    rota_task *task = rota__task_new(loop, fn, arg, copy, site);
    if (!task)
        return -ENOMEM;
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
        rota_log(ROTA_LOG_ERROR, "task '%s' (spawned at %s:%d) could not be started: %s",
                 s.site->name, s.site->file, s.site->line, rota_strerror(-ENOMEM));
}

int rota_loop_spawn_threadsafe_at(rota_loop *loop, rota_fn *fn, void *arg, const rota_site *site)
{
    struct far_spawn *s = rota_alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
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
    ROTA_SHIELD
    {
        rota__future_park(&task->done, &join_kind);
    }
}

int rota_join(rota_task *task)
{
    rota_task *here = rota__task_here();
    if (!here)
        return ROTA_ENOTASK;
    int err = rota__loop_check(task->loop, "rota_join");
    if (err < 0)
        return err;
    if (task == here)
        return -EDEADLK;
    if (task->joining)
        return -EBUSY;
    if (task->group || !task->owned || task == task->loop->main)
        return -EINVAL;
    task->joining = true;
    int interrupted = rota__suspend_check();
    if (!interrupted && !rota__future_is_done(&task->done)) {
        rota__future_park(&task->done, &join_kind);
        interrupted = rota__future_is_done(&task->done) ? 0 : here->interrupt;
    }
    if (__builtin_expect(interrupted != 0, false)) {
        rota_task_cancel(task);
        if (!rota__future_is_done(&task->done))
            await_end(task);
    }
    int result = task->done._result;
    if (interrupted && result == -ECANCELED)
        result = interrupted;
    if (__builtin_expect(result < 0, false))
        rota__error_give(rota__error_take_from(&task->error, result));
    rota__task_release(task);
    return result;
}

/* Whether the handle is there to be released. A task that was spawned without one belongs to the
 * loop, and while somebody waits in rota_join or rota_task_free, that call releases it. */
static bool has_handle(const rota_task *task, const char *call)
{
    if (task->owned && !task->joining)
        return true;
    rota_log(ROTA_LOG_ERROR, "%s was called on task '%s' (spawned at %s:%d), %s", call,
             rota_task_name(task), task->site->file, task->site->line,
             task->joining ? "which another task is waiting for: that one releases it"
                           : "which has no handle to release");
    return false;
}

rota_task *rota_task_free(rota_task *task)
{
    if (!task || rota__loop_check(task->loop, "rota_task_free") < 0)
        return NULL;
    ROTA_KEEP_ERROR;
    rota_task_cancel(task);
    if (task->group || !has_handle(task, "rota_task_free"))
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
    if (!task || task->group || rota__loop_check(task->loop, "rota_task_detach") < 0 ||
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
    if (!rota__future_is_done(&task->done) && rota__loop_check(task->loop, "rota_task_cancel") == 0)
        rota__scope_cancel(&task->own);
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
    int result = rota_future_result(&task->done);
    if (result < 0)
        rota__error_give(rota__error_ref(task->error));
    return result;
}

void *rota_task_arg(const rota_task *task)
{
    return task->arg;
}

void rota_task_set_name(rota_task *task, const char *name)
{
    strncpy(task->name, name, sizeof task->name - 1);
    task->name[sizeof task->name - 1] = '\0';
    task->coro.name = task->name;
}

const char *rota_task_name(const rota_task *task)
{
    return task->coro.name;
}

const char *rota_task_waits_for(const rota_task *task)
{
    return task->wait ? task->wait->kind->name : NULL;
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
        fn(rota__container_of(node, rota_task, all), arg);
    ROTA__NOEXCEPT();
}
