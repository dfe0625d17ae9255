/* The task layer's inside: parking and waking, on which every primitive that waits is built.
 *
 * A primitive that waits does this:
 *
 *     int err = rota__suspend_check();            // ROTA_ENOTASK, -ECANCELED or -ETIMEDOUT
 *     if (err < 0)
 *         return err;
 *     if (can be had at once)
 *         return it;
 *     struct my_waiter w = {...};
 *     rota__list_append(&object->waiters, &w.node);
 *     return rota__park(&w.wait, &my_wait_kind, object);
 *
 * The code that has the result takes the waiter out of the list, stores the result in it and calls
 * rota__wake(&w->wait, result). Cancellation calls kind->abort(wait, reason), which takes the
 * waiter out of its list and calls rota__wake(wait, reason), or arranges for that later. Thus a
 * waiter leaves its list at the moment it is decided, the first decision counts, and what was
 * handed to it is never lost: rota__park returns exactly what the one rota__wake said. */
#ifndef ROTA__TASK_TASK_H
#define ROTA__TASK_TASK_H

#include "base/error.h"
#include "base/fault.h"
#include "loop/loop.h"

#include <rota/task.h>

struct rota__wait;

struct rota__wait_kind {
    const char *name; /* "mutex": what reports say the task waits for */
    void (*abort)(struct rota__wait *wait, int reason);
    /* the task that holds the object, for reports; may be NULL */
    const rota_task *(*holder)(const void *object);
};

/* One task waiting for one thing; on that task's stack. */
struct rota__wait {
    const struct rota__wait_kind *kind;
    const void *object; /* for reports */
    struct rota__fiber *fiber;
    int result;
    bool decided; /* woken, though perhaps not yet run */
};

enum rota__scope_kind {
    ROTA__SCOPE_TASK,
    ROTA__SCOPE_GROUP,
    ROTA__SCOPE_TIMEOUT,
    ROTA__SCOPE_SHIELD,
    ROTA__SCOPE_STOP /* of rota/signal.h */
};

/* A task has two parts. The fiber lies at the top of the stack and goes with it when the task has
 * ended. The task itself, which handles point to, stays until the last one is released. */
struct rota__fiber {
    struct rota__item item;
    struct rota__coro *resume; /* the coroutine to continue: its own, or a generator's */
    struct rota__loop *loop;
    rota_task *task;
    struct rota__wait *wait;  /* what it is parked on, until that is decided */
    struct rota__list scopes; /* innermost first; `own` is the last */
    int interrupt;            /* what suspending calls return: 0, -ECANCELED, -ETIMEDOUT */
    int woken_with;           /* what rota__park returns */
    int budget;               /* calls that may still be done at once before it has to yield */
    int ignored;              /* calls in a row that an interrupt has ended at once */
    struct rota__scope own;
    struct rota__coro coro;
    rota_fn *fn;
    void *arg;
    rota_group *group;
    struct rota__list all;    /* in loop->tasks */
    struct rota__list member; /* in the group's _tasks */
    struct rota__bindings *locals;
    struct rota__deferred *deferred;
    struct rota__error *error; /* text of its last failure */
    char name[32];             /* if it was given one */
};

struct rota_task {
    union {
        struct rota__fiber *fiber;
        void *arg;             /* once the fiber is gone */
        rota_task *next_spare; /* while it is nobody's */
    };
    rota_future done;        /* _error: the text of its result */
    struct rota__list ended; /* in loop->ended, or in the group's _ended */
    const rota_site *site;
    const char *name;
    unsigned index; /* in its group, while it is in one */
    bool owned;     /* somebody has the handle, or the group keeps it */
    bool joining;   /* a rota_join is under way */
    bool read;      /* somebody has seen the result */
    unsigned char grouped : 1;
    unsigned char fiberless : 1; /* it has ended, and its stack was given back */
    unsigned char tied : 1;      /* it has ended, and is more than a result and a stack: untie */
    unsigned char own_name : 1;  /* `name` is its own memory */
    unsigned char own_arg : 1;   /* `arg` is */
    unsigned char copied : 1;    /* its argument lies on its stack */
    unsigned char pinned : 1;    /* somebody has asked where: the stack stays with the task */
    unsigned char cancelled : 1; /* its own scope was, when it failed */
};

/* Calls that a task may have done at once before the others get their turn. */
#define ROTA__BUDGET 64

/* What runs, or NULL outside of a task. */
static inline struct rota__fiber *rota__fiber_here(void)
{
    return rota__loop_here ? rota__loop_here->current : NULL;
}

/* The running task, or NULL. */
static inline rota_task *rota__task_here(void)
{
    struct rota__fiber *here = rota__fiber_here();
    return here ? here->task : NULL;
}

void rota__cancel_by_fault(struct rota__fiber *fiber);
/* What a suspending call does in a scope that is cancelled or expired: counts against the budget,
 * so that a task that ignores it stops nobody, and reports such a task. Returns
 * fiber->interrupt. */
int rota__interrupted(struct rota__fiber *fiber);

/* Most bytes that a task's argument may have that is copied. */
#define ROTA__COPY_MAX 2048

/* The failure of a spawn, with its text. */
int rota__spawn_failed(size_t copy, const rota_site *site);

/* To be called first by whatever may suspend: 0, ROTA_ENOTASK, -ECANCELED or -ETIMEDOUT. */
static inline int rota__suspend_check(void)
{
    struct rota__fiber *here = rota__fiber_here();
    if (!here)
        return rota__error_plain(ROTA_ENOTASK);
    if (rota__fault(ROTA__FAULT_SUSPEND))
        rota__cancel_by_fault(here);
    return __builtin_expect(here->interrupt != 0, false) ? rota__interrupted(here) : 0;
}

/* What a suspending call with invalid arguments returns: inside a cancelled scope it is interrupted
 * like any other. */
static inline int rota__invalid_argument(const char *text)
{
    int err = rota__suspend_check();
    return err < 0 ? err : rota_error_set(-EINVAL, "%s", text);
}

/* Whether a suspending call that returned `err` was interrupted: by a scope, not by a failure. */
static inline bool rota__was_interrupted(ssize_t err)
{
    const struct rota__fiber *here = rota__fiber_here();
    return err == -ECANCELED || (err == -ETIMEDOUT && here && here->interrupt == err);
}

/* Stops the current task until rota__wake; returns the result given there. An interrupt that
 * arrives meanwhile calls kind->abort. The caller has done rota__suspend_check. */
int rota__park(struct rota__wait *wait, const struct rota__wait_kind *kind, const void *object);

#if ROTA__CORO_WATCHED
/* Called where a task stops, on its stack: tests look at what it is inside. NULL: nobody looks. */
extern void (*rota__on_stop)(void);
#endif

/* Decides a wait: the task becomes ready. A failure drops the task's text for that code, so a
 * caller that has a text for it puts it into the task's slot afterwards. Each wait is decided
 * exactly once: the caller has taken it out of whatever list it was in. A success may be decided
 * before rota__park is called. */
void rota__wake(struct rota__wait *wait, int result);

/* Lets the other ready tasks run, whatever scopes say. Returns 0. */
int rota__yield(struct rota__fiber *fiber);

/* Yields, and returns `result`. */
ssize_t rota__let_others_run(ssize_t result);

/* What may suspend and did not have to ends with this: when the task's budget is used up, the
 * others get their turn, and deadlines are looked at. What others may free must not be touched
 * afterwards. Returns `result`. */
static inline ssize_t rota__done_at_once(ssize_t result)
{
    bool may_go_on = --rota__loop_here->current->budget > 0;
    return __builtin_expect(may_go_on, true) ? result : rota__let_others_run(result);
}

/* Runs an operation to its end: starts it, parks, withdraws it on cancellation and returns only
 * when the kernel has let go of it. Returns op->result; -ECANCELED or -ETIMEDOUT by the task's
 * scopes; ROTA_ECLOSED if somebody else withdrew it. An operation that is done at once counts
 * against the task's budget, and yields when that is used up. A failure has no text yet: the
 * caller knows the object. */
ssize_t rota__op_await(struct rota__op *op, const struct rota__wait_kind *kind);

/* The `abort` of kinds that are given to rota__op_await. */
void rota__op_abort(struct rota__wait *wait, int reason);

/* Parks until the future, which is pending, is set. */
struct rota__future_wait {
    struct rota__watcher watcher;
    struct rota__wait wait;
    rota_future *future;
};

void rota__future_notify(struct rota__watcher *watcher);
void rota__future_abort(struct rota__wait *wait, int reason);

enum rota__future_state {
    ROTA__FUTURE_PENDING,
    ROTA__FUTURE_PENDING_THREADSAFE,
    ROTA__FUTURE_DONE,
};

static inline bool rota__future_is_done(const rota_future *future)
{
    return future->_state == ROTA__FUTURE_DONE;
}

/* Sets a future of this loop that is pending, and not threadsafe. */
void rota__future_settle(rota_future *future, int result);

static inline int rota__future_park(rota_future *future, const struct rota__wait_kind *kind)
{
    struct rota__future_wait w;
    w.watcher.notify = rota__future_notify;
    w.wait.decided = false;
    w.future = future;
    rota__list_append(&future->_watchers, &w.watcher.node);
    return rota__park(&w.wait, kind, future);
}

/* ---- inside the task module ---- */

void rota__scope_open(struct rota__scope *scope, enum rota__scope_kind kind,
                      struct rota__fiber *fiber);
void rota__scope_close(struct rota__scope *scope);
/* What rota_error says of a failure for which the caller has no text: of a deadline, what the task
 * waited for; of all others, the code's own text. `fiber`: the task's, or NULL outside of one;
 * `waited_for` may be NULL. */
void rota__explain_failure(struct rota__fiber *fiber, int err, const char *waited_for);
/* Whether the task has opened it and not left it; what is in its storage does not matter. */
bool rota__scope_is_open(const struct rota__scope *scope, const struct rota__fiber *fiber);
void rota__scope_cancel(struct rota__scope *scope);
/* Closes scopes that a task forgot to leave. */
void rota__scopes_abandon(struct rota__fiber *fiber);

rota_task *rota__task_new(struct rota__loop *loop, rota_fn *fn, const void *arg, size_t copy,
                          const rota_site *site);
/* An ended task goes, and its stack with it; it must not be running. */
void rota__task_release(rota_task *task);
/* Gives memory back that is kept for the next spawns. */
void rota__spare_tasks_free(struct rota__loop *loop);
void rota__task_report_unread(rota_task *task);
/* A connection that its peer dropped is not a warning. */
static inline rota_log_level rota__failure_level(int err)
{
    return err == -ECONNRESET || err == -EPIPE ? ROTA_LOG_DEBUG : ROTA_LOG_WARNING;
}
/* Reports and releases the ended tasks that still have a handle when their loop ends. */
void rota__tasks_give_up_ended(struct rota__loop *loop);

/* Describes a task for reports: "task 'fetch' (spawned at crawl.c:12)". Returns text->text. */
struct rota__task_text {
    char text[256];
};
const char *rota__task_describe(const rota_task *task, struct rota__task_text *text);
/* The object by which reports of the task are counted: where it was spawned. */
const void *rota__task_kind(const rota_task *task);
/* The function that rota_gather runs by this task, or NULL. */
rota_fn *rota__task_gathers(const rota_task *task);
void rota__group_task_ended(rota_task *task);
/* The owner has ended without waiting: the group's storage is gone, its tasks go on cancelled. */
void rota__group_abandon(rota_group *group);
/* Forgets the deferred calls of a task that is abandoned. */
void rota__task_drop_deferred(struct rota__fiber *fiber);

struct rota__bindings *rota__locals_inherit(struct rota__fiber *parent);
void rota__locals_release(struct rota__bindings *bindings);

/* From the next rota_run on, this signal takes the place of SIGINT. */
void rota__interrupt_by(int number);
/* Wakes the callers that wait for tasks of a loop that ends. */
void rota__far_calls_abandon(struct rota__loop *loop);

int rota__loop_stuck(struct rota__loop *loop);
void rota__loop_finish(struct rota__loop *loop);
/* If this is the signal that cancels main, somebody else has used it: the next one ends the
 * process. */
void rota__interrupt_spend(int number);

#endif
