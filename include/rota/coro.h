/* coro: explicit switching between stacks, without a loop. What Python calls a greenlet.
 *
 * A coroutine is a function with a stack of its own. It runs when another coroutine switches to it,
 * and stops where it switches to another one; each switch passes one pointer. Nothing is scheduled
 * and nothing waits: the program itself decides which coroutine runs next. Most programs want tasks
 * (rota/task.h) instead. Coroutines are for producers that are written as loops, for parsers that
 * get their input in pieces, and for your own schedulers.
 *
 *     static void *count(void *arg, void *value)
 *     {
 *         rota_coro *consumer = arg;
 *         (void)value;
 *         for (intptr_t i = 1; i <= 3; i++)
 *             if (rota_coro_switch(consumer, (void *)i, NULL) < 0)
 *                 break;                                  // cancelled: clean up and end
 *         return NULL;
 *     }
 *
 *     ROTA_AUTO(rota_coro) counter = NULL;
 *     int err = rota_coro_new(count, rota_coro_current(), &counter);
 *     if (err < 0)
 *         return err;
 *     void *n;
 *     while (rota_coro_switch(counter, NULL, &n) == 0 && n)
 *         printf("%d\n", (int)(intptr_t)n);               // 1 2 3
 *
 * The thread's own stack is a coroutine too: it is what rota_coro_current returns before the first
 * switch, and it is never freed. Inside a task the same handle stands for the task's stack. A
 * coroutine that a task has switched to belongs to that task while it runs: when it makes a call
 * that suspends, the task waits.
 *
 * Parents. The coroutine that called rota_coro_new is the parent of the new one. When a coroutine's
 * function returns, its parent continues, as if it had been switched to with the function's result.
 * When a parent ends before its child, the child goes to the parent's parent.
 *
 * C++. Exceptions belong to the stack: a coroutine may switch, and a task may wait, inside `try`
 * and `catch`, rethrow afterwards, and be unwound through ROTA_AUTO. An exception that leaves the
 * function of a coroutine, task or generator, or a callback, ends the program by std::terminate.
 *
 * Threads. A coroutine stays on the thread that made it. Free all coroutines before their thread
 * ends: the stacks of those that are left stay mapped. */
#ifndef ROTA_CORO_H
#define ROTA_CORO_H

#include <rota/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_coro rota_coro;

/* What a coroutine runs: `arg` is from rota_coro_new, `value` from the first switch. The result
 * goes to the parent. */
typedef void *rota_coro_fn(void *arg, void *value);

/* Makes a coroutine that will run fn(arg, value) when it is first switched to.
 *
 * It has a stack of 256 KiB of address space, of which only what is touched takes memory. Its last
 * 64 KiB are a guard: overflow ends the program with a message on standard error, unless one
 * function alone has more than that in local variables and was compiled without
 * -fstack-clash-protection. Release it with rota_coro_free.
 *
 * Returns 0, or -ENOMEM. */
ROTA_API int rota_coro_new(rota_coro_fn *fn, void *arg, rota_coro **ret_coro);

/* Stops the running coroutine and continues `to`, handing it `value`. Returns when another
 * coroutine switches back, or when a child of the running coroutine ends, with the pointer that it
 * passed in `ret_value` (which may be NULL).
 *
 * Returns 0, -ECANCELED when the running coroutine was cancelled (every later call returns this,
 * too: clean up and return), -ESRCH when `to` has ended, -EINVAL when `to` is the running coroutine
 * itself, -EBUSY when it is running in another task or waits in rota_coro_cancel, or ROTA_ETHREAD
 * when it belongs to another thread. */
ROTA_API int rota_coro_switch(rota_coro *to, void *value, void **ret_value);

/* Ends a coroutine: its pending rota_coro_switch returns -ECANCELED, as does each further one, so
 * that it cleans up and returns. One that was never switched to ends without having run.
 *
 * Returns when the coroutine has ended; its result is dropped. Until then the caller does not run,
 * and nothing can be switched to it.
 *
 * Returns 0 (also when it had ended before), -EINVAL for the running coroutine and for the thread's
 * own stack, -EBUSY when `coro` waits in rota_coro_cancel itself or is running in another task, or
 * ROTA_ETHREAD. */
ROTA_API int rota_coro_cancel(rota_coro *coro);

/* Whether the coroutine's function has returned, or was cancelled before it began. May be asked
 * from any thread only if that thread knows that the coroutine is not running. */
ROTA_API bool rota_coro_dead(const rota_coro *coro);

/* The running coroutine of this thread. Never NULL. */
ROTA_API rota_coro *rota_coro_current(void);

/* Releases a coroutine and its stack; cancels it first if it has not ended. Accepts NULL; returns
 * NULL. If rota_coro_cancel would return an error, nothing is released, and this is reported to the
 * log hook. */
ROTA_API rota_coro *rota_coro_free(rota_coro *coro);

ROTA_DEFINE_AUTO(rota_coro, rota_coro_free);

/* Names the C++ runtime whose exceptions are kept apart by stacks: `get_globals` is its
 * `__cxa_get_globals`. NULL is ignored. In C++ this header calls it when your code is loaded, and
 * the second one when it is unloaded, so there is nothing to do.
 *
 * A program has one such runtime. If it loads another, that is reported, and tasks must not suspend
 * while they handle an exception of the other one. */
ROTA_API void rota_coro_attach_exceptions(void *(*get_globals)(void));
ROTA_API void rota_coro_detach_exceptions(void *(*get_globals)(void));

#ifdef __cplusplus
/* A name of our own, so that it does not matter how the runtime's header declares it. */
void *rota__get_globals(void) __asm__("__cxa_get_globals") __attribute__((weak));

__attribute__((constructor)) static void rota__attach_exceptions(void)
{
    rota_coro_attach_exceptions(rota__get_globals);
}

__attribute__((destructor)) static void rota__detach_exceptions(void)
{
    rota_coro_detach_exceptions(rota__get_globals);
}
}
#endif

#endif
