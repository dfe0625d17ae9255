/* task: tasks, futures, groups, scopes, locals, generators.
 *
 * A task is a function `int fn(void *arg)` with a stack of its own. It runs until it calls
 * something that has to wait; then another task runs. (Any call marked ROTA_SUSPENDS may let other
 * tasks run, even if it does not have to wait.) Inside a task, code reads like blocking code:
 *
 *     struct fetch { const char *url; size_t bytes; };
 *
 *     static int fetch(void *arg)
 *     {
 *         struct fetch *f = arg;
 *         int err = rota_sleep(10 * ROTA_MILLISECOND);
 *         if (err < 0)
 *             return err;
 *         f->bytes = 42;
 *         return 0;
 *     }
 *
 *     static int both(void *arg)
 *     {
 *         struct fetch pages[] = {{"http://a/", 0}, {"http://b/", 0}};
 *         ROTA_GROUP(g);
 *         for (size_t i = 0; i < 2; i++)
 *             rota_group_spawn(&g, fetch, &pages[i]);   // pages outlives the group
 *         return rota_group_wait(&g);                   // the first failure, or 0
 *     }
 *
 *     int main(void) { return rota_main(both, NULL); }
 *
 * Scopes. Cancellation and deadlines belong to scopes: a task, a group, a timeout, a shield. Inside
 * a cancelled scope every suspending call returns -ECANCELED until the scope is left, and inside
 * one whose deadline has passed -ETIMEDOUT; cancellation outranks the deadline. A result that came
 * first outranks both: a call that already has its result when its task is cancelled returns that
 * result, and the next call returns -ECANCELED. */
#ifndef ROTA_TASK_H
#define ROTA_TASK_H

#include <rota/coro.h>
#include <rota/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_task rota_task;
typedef struct rota_future rota_future;
typedef int rota_fn(void *arg);

/* Where in your program a task was spawned, for reports. Made by the spawn macros. */
typedef struct rota_site {
    /* Of the function; the task has this name until it is renamed. */
    const char *name;
    const char *file;
    int line;
} rota_site;

#define ROTA_SITE(what)                                                 \
    (__extension__({                                                    \
        static const rota_site rota__site = {what, __FILE__, __LINE__}; \
        &rota__site;                                                    \
    }))

/* ---- Running ---- */

/* Starts a loop on this thread, runs main(arg) as its first task, then cancels the tasks that are
 * left, waits for them, stops the executors and frees the loop.
 *
 * The first SIGINT cancels main; a second one, or one after main has returned, ends the process. A
 * SIGINT that the program's parent ignored stays ignored. During the call SIGPIPE and SIGXFSZ are
 * ignored, so that calls that write return -EPIPE and -EFBIG, and reports go to standard error
 * unless the program has set a log hook: see rota_log_set.
 *
 * Returns main's result, -EDEADLK (no task can ever continue; a report says what each one waits
 * for), -EBUSY (this thread runs a loop already), or an error of rota_loop_new. */
#define rota_run(main, arg) rota_run_at(main, arg, NULL, ROTA_SITE(#main))
#define rota_run_with(main, arg, options) rota_run_at(main, arg, options, ROTA_SITE(#main))
ROTA_API int rota_run_at(rota_fn *main, void *arg, const rota_loop_options *options,
                         const rota_site *site);

/* Like rota_run, but meant as the last line of main(): if the task fails, it prints the error on
 * standard error, after the program's name. Returns the exit status: 0; 1 after a failure; 130,
 * without a message, if SIGINT cancelled main and main returned -ECANCELED.
 *
 *     int main(void)
 *     {
 *         return rota_main(serve, NULL);
 *     } */
#define rota_main(main, arg) rota_main_at(main, arg, NULL, ROTA_SITE(#main))
#define rota_main_with(main, arg, options) rota_main_at(main, arg, options, ROTA_SITE(#main))
ROTA_API int rota_main_at(rota_fn *main, void *arg, const rota_loop_options *options,
                          const rota_site *site);

/* Starts fn(arg) as a task of this thread's loop. It first runs in the next turn.
 *
 * With `ret_task` you get a handle, which you must pass to rota_join, rota_task_free or
 * rota_task_detach. A failure that you have not read by then, or by the end of the loop, is
 * reported. If `ret_task` is NULL the loop alone owns the task, and its failure is reported to the
 * log hook.
 *
 * While the loop is ending, a new task starts cancelled.
 *
 * Returns 0, -ENOMEM, or ROTA_ENOTASK (this thread has no loop). */
#define rota_spawn(fn, arg, ret_task) rota_spawn_at(fn, arg, 0, ret_task, ROTA_SITE(#fn))
/* Does the same, and copies the `size` bytes at `arg` onto the task's stack (at most 2048 bytes,
 * else -E2BIG). When the task has ended, the copy moves off the stack, unless rota_task_arg was
 * called before. So an address inside the copy, for example one that the task stored in the copy
 * itself, is valid only until the task ends. */
#define rota_spawn_copy(fn, arg, size, ret_task) \
    rota_spawn_at(fn, arg, size, ret_task, ROTA_SITE(#fn))
ROTA_API int rota_spawn_at(rota_fn *fn, const void *arg, size_t copy, rota_task **ret_task,
                           const rota_site *site);

/* Runs fn(arg) as a task of another thread's loop, waits until it has ended and returns its result.
 * A task is suspended meanwhile; a thread without a loop is blocked.
 *
 * If the caller is cancelled or timed out, it cancels the task, waits for its end, and returns
 * -ECANCELED or -ETIMEDOUT; but if the task's result is not -ECANCELED, it returns that.
 *
 * Also returns ROTA_ECLOSED: the loop has ended, or ended before the task did; -ENOMEM;
 * ROTA_ENOTASK (in a callback of a loop). */
#define rota_run_on(loop, fn, arg) rota_run_on_at(loop, fn, arg, ROTA_SITE(#fn))
ROTA_SUSPENDS int rota_run_on_at(rota_loop *loop, rota_fn *fn, void *arg, const rota_site *site);

/* Starts a task on another thread's loop, and does not wait. Returns 0, ROTA_ECLOSED (the loop has
 * ended), -ENOMEM. */
#define rota_loop_spawn_threadsafe(loop, fn, arg) \
    rota_loop_spawn_threadsafe_at(loop, fn, arg, ROTA_SITE(#fn))
ROTA_API int rota_loop_spawn_threadsafe_at(rota_loop *loop, rota_fn *fn, void *arg,
                                           const rota_site *site);

/* Waits until the task has ended, releases the handle and returns the task's result.
 *
 * If the caller is cancelled or timed out, it cancels the task, waits for its end, and returns
 * -ECANCELED or -ETIMEDOUT; but if the task's result is not -ECANCELED, it returns that. The handle
 * is released except after these errors: -EDEADLK (a task cannot join itself), ROTA_ENOTASK,
 * ROTA_ETHREAD, -EBUSY (another task is waiting for it, in rota_join or rota_task_free), -EINVAL
 * (the task has no handle: it was spawned without one, or is main's, or a group's: rota_task_result
 * says how it ended).
 *
 * A task that you join is not declared with ROTA_AUTO, which would release the handle again. A task
 * that may outlive an early return belongs in a group. */
ROTA_SUSPENDS int rota_join(rota_task *task);

/* Cancels the task if it still runs, waits for its end, and releases the handle. Shields itself. If
 * another task is waiting for this one, or if it has no handle, the task is only cancelled, and the
 * call is reported as a mistake; the other task releases the handle. A group's task is only
 * cancelled.
 *
 * Where it cannot wait, in the task itself and in callbacks, it cancels the task, releases the
 * handle at once and returns. The task then goes on to its end, as after rota_task_detach.
 *
 * Accepts NULL, returns NULL. ROTA_AUTO(rota_task) calls this: use it for tasks that you do not
 * join, because rota_join has released the handle, which may be another task's by then. */
ROTA_SUSPENDS_SHIELDED rota_task *rota_task_free(rota_task *task);
ROTA_DEFINE_AUTO(rota_task, rota_task_free);

/* Releases the handle and leaves the task running. Accepts NULL, returns NULL. */
ROTA_API rota_task *rota_task_detach(rota_task *task);

/* Cancels the task's own scope. Returns at once; the task ends when it has cleaned up. Does nothing
 * if the task has ended. */
ROTA_API void rota_task_cancel(rota_task *task);

/* The running task; NULL outside a task. */
ROTA_API rota_task *rota_task_current(void);

/* Whether the task's function has returned. */
ROTA_API bool rota_task_done(const rota_task *task);

/* Names the task, for reports. Copies at most 31 bytes of `name`. Before, a task has the name of
 * its function. Does nothing if the task has ended. */
ROTA_API void rota_task_set_name(rota_task *task, const char *name);
/* Returns the name, never NULL. A name that was set is stored on the task's stack, so the pointer
 * is valid until the next call that suspends, spawns a task, or renames or releases this one. */
ROTA_API const char *rota_task_name(const rota_task *task);

/* Gives unused memory of the running task's stack back to the kernel: the part below the current
 * frame, which earlier calls have touched. Otherwise a stack keeps this memory until its task ends.
 * Use it in tasks that wait for a long time, if there are many of them. Costs a system call; does
 * not suspend. */
ROTA_API void rota_task_trim(void);

/* What the task waits for, such as "sleep" or "mutex"; NULL if it is not waiting. */
ROTA_API const char *rota_task_waits_for(const rota_task *task);

/* The task as a future, for rota_wait and rota_future_on_done. Lives as long as the handle. The
 * result then counts as read, so a failure is no longer reported. */
ROTA_API rota_future *rota_task_future(rota_task *task);

/* Calls fn(task, arg) for each task of the loop that has not ended, oldest first. `fn` may cancel
 * tasks, but not suspend. */
ROTA_API void rota_task_each(rota_loop *loop, void (*fn)(rota_task *task, void *arg), void *arg);

/* Writes a line for each task of the loop: name, state, what it waits for, where it was spawned.
 * Returns the text, to be freed with free(3), or NULL. */
ROTA_API char *rota_dump(rota_loop *loop);

/* Runs fn(arg) on the current task's stack after its function has returned. The last deferred call
 * runs first. It may suspend, and is shielded. Returns 0, -ENOMEM or ROTA_ENOTASK. */
ROTA_API int rota_defer(void (*fn)(void *arg), void *arg);

/* ---- Time ---- */

/* Waits for `duration`, or until a point of the loop's clock. A time in the past just yields.
 * ROTA_NEVER waits until the task is cancelled, and counts as a deadlock if nothing can cancel it.
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_sleep(rota_time duration);
ROTA_SUSPENDS int rota_sleep_until(rota_time when);

/* Lets the other ready tasks run first. */
ROTA_SUSPENDS int rota_yield(void);

/* Returns what a suspending call would return now because of a scope: 0, -ECANCELED or -ETIMEDOUT.
 * For long computations: it reads the clock itself. Does not suspend. */
ROTA_API int rota_check(void);

/* The earliest deadline of the scopes around the caller, on the loop's clock; those outside a
 * shield do not count. It may have passed. ROTA_NEVER without a deadline, and outside a task. */
ROTA_API rota_time rota_deadline(void);

/* ---- Scopes ---- */

struct rota__scope {
    struct rota__list node;    /* In the task's scopes, innermost first. */
    struct rota__fiber *fiber; /* NULL: not open. */
    unsigned char kind;
    bool cancelled;
    bool expired;
};

/* A scope with a deadline. */
typedef struct rota_timeout {
    struct rota__scope _scope;
    struct rota__timer _timer;
} rota_timeout;

#ifdef __cplusplus
#define ROTA_TIMEOUT_INIT \
    {                     \
    }
#else
#define ROTA_TIMEOUT_INIT          \
    {                              \
        ._scope = {.fiber = NULL } \
    }
#endif

/* Opens the scope in the current task: calls inside return -ETIMEDOUT once `duration` has passed
 * (or the clock has reached `when`). ROTA_NEVER sets no deadline. If the deadline has already
 * passed, the first call inside returns -ETIMEDOUT. Enclosing scopes stay in effect. If the timeout
 * is still open, it is ended first. rota_error then tells what the call waited for: "deadline
 * passed while waiting (connect)".
 *
 * The scope must end before its storage is gone, or the loop is corrupted. ROTA_TIMEOUT sees to
 * that. If you need the result of rota_timeout_end, let ROTA_SCOPED do it, so that you may return
 * in between; ending it twice is fine:
 *
 *     ROTA_SCOPED(rota_timeout) one_try = ROTA_TIMEOUT_INIT;
 *     rota_timeout_begin(&one_try, 1 * ROTA_SECOND); */
ROTA_API void rota_timeout_begin(rota_timeout *timeout, rota_time duration);
ROTA_API void rota_timeout_begin_at(rota_timeout *timeout, rota_time when);
/* Moves the deadline of an open scope. Has no effect once it has passed. */
ROTA_API void rota_timeout_reset(rota_timeout *timeout, rota_time duration);
/* Leaves the scope. Returns -ETIMEDOUT if the deadline of this scope had passed, else 0. */
ROTA_API int rota_timeout_end(rota_timeout *timeout);

static inline void rota__timeout_leave(rota_timeout *timeout)
{
    rota_timeout_end(timeout);
}
ROTA_DEFINE_SCOPED(rota_timeout, rota__timeout_leave);

/* A block under a deadline; it may be left by break, return or goto. A break or continue in it
 * leaves only this block, not a loop around it.
 *
 *     int err;
 *     ROTA_TIMEOUT(5 * ROTA_SECOND) {
 *         err = fetch(&page);
 *     }
 *     if (err == -ETIMEDOUT)
 *         ... */
#define ROTA_TIMEOUT(after)                                                               \
    ROTA__ONCE(ROTA__UNIQUE(rota__enter_timeout),                                         \
               ROTA_SCOPED(rota_timeout) ROTA__UNIQUE(rota__timeout) = ROTA_TIMEOUT_INIT, \
               rota_timeout_begin(&ROTA__UNIQUE(rota__timeout), (after)), true)

/* Runs the block that follows once, if the last expression is true. For ROTA_TIMEOUT it is the
 * constant true, so that even without inlining a compiler knows that the block runs, and does not
 * warn that what it sets may be uninitialised. */
#define ROTA__ONCE(enter, declaration, ...) \
    for (bool enter = true; enter;)         \
        for (declaration; enter && (enter = false, __VA_ARGS__);)

/* A scope that hides cancellation and deadlines of the scopes around it. A timeout opened inside it
 * gives it a deadline of its own. */
typedef struct rota_shield {
    struct rota__scope _scope;
} rota_shield;

/* Opens the scope in the current task, and leaves it. It must be left before its storage is gone,
 * or the loop is corrupted: ROTA_SHIELD sees to that, also if you return in between. */
ROTA_API void rota_shield_begin(rota_shield *shield);
ROTA_API void rota_shield_end(rota_shield *shield);
ROTA_DEFINE_SCOPED(rota_shield, rota_shield_end);

/* A block inside a shield; it may be left by break, return or goto. A break or continue in it
 * leaves only this block, not a loop around it. */
#define ROTA_SHIELD                                                                     \
    ROTA__ONCE(ROTA__UNIQUE(rota__enter_shield),                                        \
               ROTA_SCOPED(rota_shield) ROTA__UNIQUE(rota__shield) = ROTA_TIMEOUT_INIT, \
               rota_shield_begin(&ROTA__UNIQUE(rota__shield)), true)

/* ---- Futures ---- */

/* A result that becomes known later: an int, 0 or more for success, negative for failure. Keep any
 * other result in your own structure. A future lives in your storage. */
struct rota_future {
    struct rota__list _watchers;
    int _result;
    int _state;
    rota_loop *_loop;
    /* Text of a failure; its task or job owns it. */
    struct rota__error *_error;
};

/* Makes the future pending. It belongs to the calling thread's loop; if there is none, to the loop
 * in which it is first used. */
ROTA_API void rota_future_init(rota_future *future);
/* The same for a future that another thread will complete: the loop waits for it instead of
 * reporting a deadlock. Every such future must be completed, by rota_future_set_threadsafe or
 * rota_future_set. */
ROTA_API void rota_future_init_threadsafe(rota_future *future);

/* Completes the future: wakes the waiting tasks, and calls the callbacks in the next turn. Returns
 * 0, or -EALREADY if it was completed before, or ROTA_ETHREAD. */
ROTA_API int rota_future_set(rota_future *future, int result);
/* The same from any thread; the future is complete in one of the loop's next turns. Returns 0,
 * -ENOMEM, ROTA_ECLOSED (its loop has ended), or ROTA_ENOTASK (it was made before there was a loop,
 * and has not been used yet). */
ROTA_API int rota_future_set_threadsafe(rota_future *future, int result);

/* Whether the future is complete. */
ROTA_API bool rota_future_done(const rota_future *future);
/* The result, or -EINPROGRESS. */
ROTA_API int rota_future_result(const rota_future *future);

/* Waits for completion and returns the result; or -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK,
 * ROTA_ETHREAD. Any number of tasks may wait. */
ROTA_SUSPENDS int rota_future_wait(rota_future *future);

struct rota__watcher {
    struct rota__list node;
    void (*notify)(struct rota__watcher *watcher);
};

/* A callback for the end of a future, in your storage until it has run or been removed. */
typedef struct rota_done {
    struct rota__watcher _watcher;
    rota_handle _handle;
    void (*_fn)(rota_future *future, void *arg);
    void *_arg;
    rota_future *_future;
} rota_done;

/* Calls fn(future, arg) in the turn after the future was completed (in the next turn if it is
 * already). */
ROTA_API void rota_future_on_done(rota_future *future, rota_done *done,
                                  void (*fn)(rota_future *future, void *arg), void *arg);
ROTA_API void rota_done_remove(rota_done *done);

typedef enum rota_wait_mode {
    ROTA_ALL_COMPLETED,
    ROTA_FIRST_COMPLETED,
    /* until one fails, or all have completed */
    ROTA_FIRST_FAILED
} rota_wait_mode;

/* Waits until enough of the futures are done; rota_future_done tells which. Nothing is
 * cancelled and no handle is released. For a deadline, put a ROTA_TIMEOUT around the call.
 *
 * Returns the number that is done, or -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ETHREAD, -ENOMEM
 * (more than 16 futures need memory), -EINVAL (none to wait for). */
ROTA_SUSPENDS int rota_wait(rota_future *const *futures, size_t n, rota_wait_mode mode);

/* ---- Groups ---- */

typedef enum rota_group_policy {
    /* The first failure cancels the others and is what the group returns. If a task cancelled this
     * way returns a failure other than -ECANCELED, that is reported. */
    ROTA_GROUP_FAIL_FAST,
    /* failures cancel no task; after all tasks have ended the group returns the first failure, and
     * reports those of the others that were not read */
    ROTA_GROUP_COLLECT,
    ROTA_GROUP_RACE /* the first success cancels the others and is what the group returns */
} rota_group_policy;

/* Tasks that end before the block does. Declared by ROTA_GROUP, in the task that owns it. */
typedef struct rota_group {
    unsigned char policy; /* A rota_group_policy. */
    /* Keep ended tasks for rota_group_next; else they are released as they end. */
    bool keep;
    unsigned char _state;
    bool _cancelled;
    /* The group's result is known. */
    bool _settled;
    /* A task ended because it was cancelled. */
    bool _lost;
    /* The owner's wait was interrupted and will not return a later failure. */
    bool _unheard;
    int _result;
    /* Text of the result. */
    struct rota__error *_error;
    /* Where the task with this result was spawned. */
    const rota_site *_failed;
    unsigned _spawned;
    size_t _running;
    rota_task *_owner;
    struct rota__scope _scope;
    struct rota__list _tasks; /* Running. */
    /* Kept, in the order in which they ended. */
    struct rota__list _ended;
    /* Returned by rota_group_next, until the next call. */
    rota_task *_given;
    struct rota__wait *_waiter;
} rota_group;

/* Declares a group, with options if the defaults are not what you want:
 *
 *     ROTA_GROUP(g);
 *     ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT, .keep = true);
 *
 * The group belongs to the task and the block that declare it, and from this line on it is a scope
 * of that task: if the group is cancelled, also by a failure under FAIL_FAST, the owner's calls in
 * the block return -ECANCELED, until rota_group_wait returns. That call knows the cause: return its
 * result, not -ECANCELED.
 *
 * rota_group_wait is the normal end. A block that is left without it (by an early return, break,
 * goto, a C++ exception) cancels the tasks that still run and waits for them, shielded: no task
 * outlives the block, and no early return waits for a task that has no end. With ROTA_DEBUG=1 that
 * is reported, unless the owner was cancelled or ran into a deadline.
 *
 * A group is for one use. It closes for good when its owner waits and no task is left, or when its
 * block is left. */
#define ROTA_GROUP(...) \
    ROTA__GROUP_FORM(__VA_ARGS__, ROTA__GROUP_2, ROTA__GROUP_1, ROTA__GROUP_0, )(__VA_ARGS__)
#define ROTA__GROUP_FORM(name, option, other, form, ...) form
#define ROTA__GROUP_0(name)                                \
    ROTA_SCOPED(rota_group) name = rota__group_unopened(); \
    rota_group_begin(&name)
/* Not an initialiser, because C++17 has no designated ones. */
#define ROTA__GROUP_1(name, option)                        \
    ROTA_SCOPED(rota_group) name = rota__group_unopened(); \
    name option;                                           \
    rota_group_begin(&name)
#define ROTA__GROUP_2(name, option, other)                 \
    ROTA_SCOPED(rota_group) name = rota__group_unopened(); \
    name option;                                           \
    name other;                                            \
    rota_group_begin(&name)

/* Opens a group that is a field of your structure, as ROTA_GROUP does: the current task owns it.
 * Set its options and zero the rest before. End it by rota_group_fini. Only the owner may call
 * these two.
 *
 *     struct service s = {.tasks = {.policy = ROTA_GROUP_COLLECT}};
 *     rota_group_begin(&s.tasks);
 *     ...
 *     rota_group_fini(&s.tasks); */
ROTA_API void rota_group_begin(rota_group *group);

/* Ends a group as the end of its block does: cancels the tasks that still run, waits for them,
 * shielded, and releases those that were kept. No caller gets the result, so a failure is reported.
 * After rota_group_wait it only releases. Does nothing to a group that was never opened, and to one
 * that another task owns (which is reported). */
ROTA_SUSPENDS_SHIELDED void rota_group_fini(rota_group *group);
ROTA_DEFINE_SCOPED(rota_group, rota_group_fini);

static inline rota_group rota__group_unopened(void)
{
    rota_group group;
    __builtin_memset(&group, 0, sizeof group);
    return group;
}

/* Starts fn(arg) in the group. Any task or callback of the loop may call this while the group is
 * open, even from outside the group, and while the owner waits. In a cancelled group the task
 * starts cancelled.
 *
 * A failure to spawn counts as the failure of a task, so the return value may be ignored.
 *
 * Returns 0, ROTA_ECLOSED (the group is closed; nothing was started, and that was reported),
 * -ENOMEM, -E2BIG, ROTA_ENOTASK (this thread has no loop, or no task began the group),
 * ROTA_ETHREAD. */
#define rota_group_spawn(group, fn, arg) rota_group_spawn_at(group, fn, arg, 0, ROTA_SITE(#fn))
#define rota_group_spawn_copy(group, fn, arg, size) \
    rota_group_spawn_at(group, fn, arg, size, ROTA_SITE(#fn))
ROTA_API int rota_group_spawn_at(rota_group *group, rota_fn *fn, const void *arg, size_t copy,
                                 const rota_site *site);

/* Waits until all tasks have ended, and closes the group for good. If the caller is cancelled or
 * timed out meanwhile, the tasks are cancelled and waited for, and the call returns -ECANCELED or
 * -ETIMEDOUT. Calling it again returns the same.
 *
 * Returns by policy: FAIL_FAST and COLLECT the first failure or 0, RACE the first success or, if
 * there is none, the first failure (-ECANCELED if all were cancelled); or -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK, -EPERM (the caller does not own the group). */
ROTA_SUSPENDS int rota_group_wait(rota_group *group);

/* Waits for the next task to end and returns it, in the order in which they end. Use
 * rota_task_result for its result. The task still belongs to the group, and is valid until the next
 * call on the group. Needs the option `keep`. Returns 1; 0 if none is left; -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK, ROTA_ETHREAD, -EPERM (the caller does not own the group), -EINVAL (without
 * `keep`). */
ROTA_SUSPENDS int rota_group_next(rota_group *group, rota_task **ret_task);

/* The result of a task that has ended, or -EINPROGRESS. */
ROTA_API int rota_task_result(rota_task *task);
/* Returns the argument that a task was spawned with. A copied argument stays at the returned
 * address until the task is released. The task then keeps its stack after its end, unless the copy
 * has already moved. */
ROTA_API void *rota_task_arg(rota_task *task);

/* Cancels the tasks of the group, and the group as a scope of its owner. It stays cancelled: tasks
 * that are spawned into it later start cancelled. Any task of the loop may call this, also while
 * the owner waits for the group. rota_group_wait then still returns 0 if all tasks end with 0 or
 * -ECANCELED, so a task can end the others when the work is done. Does nothing to a group that is
 * closed. */
ROTA_API void rota_group_cancel(rota_group *group);
/* The number of tasks that have not ended. */
ROTA_API size_t rota_group_running(const rota_group *group);

/* A call for rota_gather, and its result. */
typedef struct rota_gather_call {
    rota_fn *fn;
    void *arg;
    int result;
} rota_gather_call;

/* Runs the calls at once, as tasks, and waits for all; the first failure cancels the others.
 * `result` of each call is set. Returns the first failure, or 0.
 *
 *     int err = rota_gather((rota_gather_call[]){{fetch, &a}, {fetch, &b}}, 2); */
#define rota_gather(...) rota_gather_at(__VA_ARGS__, ROTA_SITE("gather"))
ROTA_SUSPENDS int rota_gather_at(rota_gather_call *calls, size_t n, const rota_site *site);

/* ---- Locals: one value for each task, inherited at spawn ---- */

/* Define it as a variable of static storage; its address is the key. */
typedef struct rota_local {
    void *initial;
} rota_local;

/* The current task's value, or `initial`. */
ROTA_API void *rota_local_get(const rota_local *local);
/* Sets the value for this task and for the tasks that it spawns from now on. You still own it.
 * Returns 0, -ENOMEM, ROTA_ENOTASK. */
ROTA_API int rota_local_set(const rota_local *local, void *value);

/* ---- Iterators and generators ---- */

/* Anything that can be iterated: `next` returns 1 and stores an item, 0 at the end, or an error. It
 * may suspend. */
typedef struct rota_iter {
    int (*next)(void *self, void **ret_item);
    void *self;
} rota_iter;

struct rota__foreach {
    rota_iter iter;
    void *value;
    /* The block was entered and has not ended: if the loop ends now, it was left by break. */
    bool inside;
};

static inline bool rota__foreach_more(struct rota__foreach *each, int *err)
{
    if (each->inside) /* break */
        return false;
    int more = each->iter.next(each->iter.self, &each->value);
    each->inside = more > 0;
    *err = more < 0 ? more : 0;
    return each->inside;
}

/* Runs the block for each item; break and continue work as usual. `*err` is 0 while the block runs;
 * after the last item it is 0, or the error that ended the iteration. After a break it is what the
 * block has left in it.
 *
 *     int err;
 *     ROTA_FOREACH(const char *, line, rota_gen_iter(lines), &err)
 *         puts(line); */
#define ROTA_FOREACH(type, name, iterator, err) \
    ROTA__FOREACH(type, name, iterator, err, ROTA__UNIQUE(rota__each))
#ifdef __cplusplus
#define ROTA__FOREACH(type, name, iterator, err, each)                              \
    for (auto each = rota__foreach_of(iterator); rota__foreach_more(&each, (err));) \
        for (type name __attribute__((unused)) = (type)each.value; each.inside; each.inside = false)

extern "C++" {
/* Keeps the object that the iterator refers to until the loop ends. */
template <class source> struct rota__foreach_kept : rota__foreach {
    source kept;

    explicit rota__foreach_kept(source s) : rota__foreach(), kept(s)
    {
        iter = kept;
    }
};

template <class source> rota__foreach_kept<source> rota__foreach_of(source s)
{
    return rota__foreach_kept<source>(s);
}
}
#else
#define ROTA__FOREACH(type, name, iterator, err, each)                                             \
    for (struct rota__foreach each = {(iterator), NULL, false}; rota__foreach_more(&each, (err));) \
        for (type name __attribute__((unused)) = (type)each.value; each.inside; each.inside = false)
#endif

typedef struct rota_gen rota_gen;

/* Makes a generator: fn(gen, arg) runs on a stack of its own and produces items with
 * rota_gen_yield. It starts at the first rota_gen_next. Inside a task its body may call functions
 * that suspend; outside a task a generator works, too, but its body must not. Returns 0 or
 * -ENOMEM. */
ROTA_API int rota_gen_new(int (*fn)(rota_gen *gen, void *arg), void *arg, rota_gen **ret_gen);

/* Runs the generator up to its next item. Returns 1 and the item; 0 when its function returned 0 or
 * more; what the function returned when that is an error; -EBUSY if it is running; -ECANCELED or
 * -ETIMEDOUT inside a task; ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_gen_next(rota_gen *gen, void **ret_item);

/* In the generator's function: hands out `item` and continues at the next rota_gen_next. Returns 0;
 * -ECANCELED when the generator is being freed, so clean up and return; ROTA_ESCOPE, without
 * yielding, if a scope opened inside the generator is still open; -EPERM if called from
 * elsewhere. */
ROTA_API int rota_gen_yield(rota_gen *gen, void *item);

/* Hands out all items of `inner`, as Python's `yield from` does. Suspends if `inner` does.
 * Returns 0, or inner's error. */
ROTA_SUSPENDS int rota_gen_yield_from(rota_gen *gen, rota_iter inner);

/* The generator's items, for ROTA_FOREACH and rota_gen_yield_from. */
ROTA_API rota_iter rota_gen_iter(rota_gen *gen);

/* Lets a suspended generator clean up (its rota_gen_yield returns -ECANCELED), then frees it.
 * Accepts NULL, returns NULL. If the generator is running, frees nothing and reports that. */
ROTA_SUSPENDS_SHIELDED rota_gen *rota_gen_free(rota_gen *gen);
ROTA_DEFINE_AUTO(rota_gen, rota_gen_free);

#ifdef __cplusplus
}
#endif

#endif
