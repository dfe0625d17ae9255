/* loop: the event loop, and its layer of callbacks.
 *
 * A loop owns one thread's ready queue, timers and descriptors. Programs written with tasks need
 * little of this header: `rota_run` makes a loop, runs it and frees it. What is here is for those
 * who embed a loop in another one, write callbacks, or build a runtime of their own on top.
 *
 *     static void tick(rota_handle *handle, void *arg)
 *     {
 *         *(int *)arg += 1;
 *     }
 *
 *     static int ticks_once(void)
 *     {
 *         rota_loop *loop;
 *         int err = rota_loop_new(NULL, &loop);
 *         if (err < 0)
 *             return err;
 *         int ticks = 0;
 *         rota_handle handle = ROTA_HANDLE_INIT;
 *         rota_loop_call_later(loop, &handle, 10 * ROTA_MILLISECOND, tick, &ticks);
 *         err = rota_loop_run(loop);               // returns when nothing is left to do
 *         rota_loop_free(loop);
 *         return err < 0 ? err : ticks;
 *     }
 *
 * Turns. In each turn the loop polls for I/O, collects the timers that are due and runs what was
 * ready when the turn began, in the order in which it became ready; what becomes ready meanwhile
 * runs in the next turn.
 *
 * Threads. A loop is used by the thread that has entered it: rota_loop_new enters where the thread
 * is in none, and rota_loop_run for the length of the run. A thread may own several loops, and is
 * in one at a time. From other threads only the `..._threadsafe` calls may be used: any other does
 * nothing there, says so to the log hook, and returns ROTA_ETHREAD if it returns an int. A
 * `rota_loop *` stays valid after the loop's end: `..._threadsafe` calls then return ROTA_ECLOSED,
 * and never reach a later loop. 64 bytes of each loop stay allocated for this.
 *
 * After fork(2) the child has no loop, but may make one. It ends by exec(3) or _exit(2): where the
 * function of the task that forked returns in the child, the child ends there, with status 0 or, if
 * it failed, 1. */
#ifndef ROTA_LOOP_H
#define ROTA_LOOP_H

#include <rota/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_loop rota_loop;

typedef enum rota_backend {
    /* What ROTA_BACKEND in the environment names, epoll or uring; else io_uring where the kernel
     * has a good one (Linux 6.15) and nothing forbids it, epoll elsewhere and under valgrind. */
    ROTA_BACKEND_DEFAULT,
    ROTA_BACKEND_EPOLL,
    ROTA_BACKEND_URING /* io_uring; becomes epoll where the kernel refuses it */
} rota_backend;

/* Zero is the default of each field. */
typedef struct rota_loop_options {
    rota_backend backend;
    /* Time stands still, and jumps to the next timer when nothing is runnable. */
    bool virtual_clock;
    uint64_t random_seed; /* not 0: ready tasks run in an order shuffled by this seed, for tests */
    size_t stack_size;    /* address space of a task's stack in bytes; 256 KiB */
    /* Called before (`begins`) and after each wait for events whose timeout is not 0, on the loop's
     * thread: a language binding gives its lock away here. It must not use the loop. */
    void (*on_sleep)(void *arg, bool begins);
    void *on_sleep_arg;
    /* Report a task that holds the thread longer; 25 ms with ROTA_DEBUG=1, else only where this is
     * set; ROTA_NEVER turns it off. */
    rota_time stall_limit;
} rota_loop_options;

/* Makes a loop, and enters it where the calling thread is in none. `options` may be NULL.
 *
 * Returns 0, -EINVAL (an unknown name in ROTA_BACKEND, a stack size under 16 KiB), -ENOMEM, -EMFILE
 * or -ENFILE. */
ROTA_API int rota_loop_new(const rota_loop_options *options, rota_loop **ret_loop);

/* Cancels the tasks that are left, waits for them, and frees the loop. Handles and watches of yours
 * that are still pending are cancelled. Accepts NULL. A loop that no thread is in may be freed by
 * any, also by one that is in another loop; if it has tasks, only by the thread that started them.
 * Called from inside the loop, or while another thread is in it, this does nothing, and says so to
 * the log hook. */
ROTA_API rota_loop *rota_loop_free(rota_loop *loop);

/* The loop that the calling thread is in, or NULL. */
ROTA_API rota_loop *rota_loop_current(void);

/* Makes the loop the calling thread's, until it leaves. Entering a loop that the thread is in does
 * nothing.
 *
 * A loop may be entered by any thread, one after the other; while tasks are left in it, only by the
 * thread that started them. Timers, callbacks and watches go with the loop. With io_uring the first
 * entry by another thread opens a new ring, and may fail for that.
 *
 * Returns 0; -EBUSY (the thread is in another loop, another thread is in this one, or it has tasks
 * of another thread); ROTA_ECLOSED (it has ended, or this is the child of a fork); -ENOMEM,
 * -EMFILE, -ENFILE, or what io_uring_setup(2) returns. */
ROTA_API int rota_loop_enter(rota_loop *loop);

/* Gives the loop up. What it has asked the kernel for is taken back first, so that it depends on
 * this thread no more; results that are there are kept, and the rest is asked for again by the next
 * rota_loop_enter. Waits for file operations that cannot be taken back. With nothing pending it
 * costs nothing.
 *
 * Returns 0, -EBUSY (called inside a run), ROTA_ETHREAD (the thread is not in this loop), or an
 * error of the backend: then the thread is still in it. */
ROTA_API int rota_loop_leave(rota_loop *loop);

/* Runs turns until nothing is left: no task, callback, timer, operation, or promise of a wake-up
 * from another thread; or until rota_loop_stop. Enters the loop where needed, and then leaves it
 * again.
 *
 * Returns 0, -EDEADLK if tasks are left of which none can ever go on (each is reported through the
 * log hook with what it waits for), -EBUSY (it runs already), an error of rota_loop_enter, or of
 * the backend. */
ROTA_API int rota_loop_run(rota_loop *loop);

/* Runs one turn, waiting at most `timeout` for something to do (0 does not wait, ROTA_NEVER does).
 * Returns 1 if something is left to do, 0 if nothing is, or an error as rota_loop_run. */
ROTA_API int rota_loop_run_once(rota_loop *loop, rota_time timeout);

/* Makes rota_loop_run return at the end of the turn. */
ROTA_API void rota_loop_stop(rota_loop *loop);

/* One descriptor for a foreign poll loop: readable whenever rota_loop_run_once(loop, 0) has
 * something to do, timers included. It stays the loop's. After using the loop outside a turn
 * (call_soon, spawn, a future that is set by the foreign loop), call this again or run a turn, so
 * that it takes note. Returns it, or a negative error (-EMFILE, -ENOMEM). */
ROTA_API int rota_loop_fd(rota_loop *loop);

/* "epoll" or "io_uring": what the loop uses in fact. */
ROTA_API const char *rota_loop_backend(const rota_loop *loop);

/* The loop's clock now: CLOCK_MONOTONIC, or the virtual clock. Only on the loop's thread. */
ROTA_API rota_time rota_loop_time(const rota_loop *loop);

/* The clock of the calling thread's loop; CLOCK_MONOTONIC where there is none. */
ROTA_API rota_time rota_now(void);

/* ---- Callbacks: asyncio's call_soon, call_later, call_at ---- */

typedef struct rota_handle rota_handle;
typedef void rota_handle_fn(rota_handle *handle, void *arg);

/* Something that can be put in the ready queue. */
struct rota__item {
    struct rota__list node;
    void (*run)(struct rota__item *item);
};

struct rota__timer {
    struct rota__timer *next, *prev, *child;
    rota_time deadline;
    uint64_t order;
    void (*fire)(struct rota__timer *timer);
    int where;
};

/* A callback that is to come. It lives in your storage, which must stay until it has run or been
 * cancelled; inside the callback it may already be reused or freed. */
struct rota_handle {
    struct rota__item _item;
    struct rota__timer _timer;
    struct rota__loop *_loop;
    rota_handle_fn *_fn;
    void *_arg;
    int _state;
};

#ifdef __cplusplus
#define ROTA_HANDLE_INIT \
    {                    \
    }
#else
#define ROTA_HANDLE_INIT \
    {                    \
        0                \
    }
#endif

/* Calls fn(handle, arg) in the next turn, in order. Allocates nothing and cannot fail. A handle
 * that is pending already is moved. `fn` must not suspend; it may spawn tasks. */
ROTA_API void rota_loop_call_soon(rota_loop *loop, rota_handle *handle, rota_handle_fn *fn,
                                  void *arg);

/* Calls fn(handle, arg) after `delay`, or at a point of the loop's clock. What is in the past runs
 * in the next turn. ROTA_NEVER only cancels. Equal times run in the order of these calls. Arming
 * and cancelling take constant time. */
ROTA_API void rota_loop_call_later(rota_loop *loop, rota_handle *handle, rota_time delay,
                                   rota_handle_fn *fn, void *arg);
ROTA_API void rota_loop_call_at(rota_loop *loop, rota_handle *handle, rota_time when,
                                rota_handle_fn *fn, void *arg);

/* Makes sure that the callback will not be called. Harmless when it is not pending. */
ROTA_API void rota_handle_cancel(rota_handle *handle);
ROTA_API bool rota_handle_pending(const rota_handle *handle);

typedef void rota_threadsafe_fn(rota_loop *loop, void *arg);

/* Calls fn(loop, arg) on the loop's thread, soon and in order of these calls. May be called from
 * any thread, at any time.
 *
 * Returns 0, and then `fn` will be called, if need be while the loop ends; ROTA_ECLOSED: the loop
 * has ended; or -ENOMEM. */
ROTA_API int rota_loop_call_threadsafe(rota_loop *loop, rota_threadsafe_fn *fn, void *arg);

/* Tells the loop that another thread is going to use call_threadsafe, so that it waits instead of
 * finding itself idle or in deadlock; release takes that back. Both may be called from any thread,
 * and do nothing after the loop's end. */
ROTA_API void rota_loop_hold_threadsafe(rota_loop *loop);
ROTA_API void rota_loop_release_threadsafe(rota_loop *loop);

/* ---- Descriptors that rota does not own: asyncio's add_reader ---- */

/* What a descriptor is ready for. */
enum {
    ROTA_READABLE = 1,
    ROTA_WRITABLE = 2,
    ROTA_HANGUP = 4 /* reported whether asked for or not: the other side is gone, or an error */
};

typedef struct rota_watch rota_watch;
typedef void rota_watch_fn(rota_watch *watch, int events, void *arg);

/* Calls fn(watch, events, arg) in each turn in which `fd` is ready for one of `events`
 * (ROTA_READABLE, ROTA_WRITABLE), until rota_watch_free. The descriptor stays yours; close it after
 * the watch is gone. Several watches may share a descriptor, also one that belongs to a stream or a
 * listener; they are called in no particular order. A peer that has ended its side of a connection
 * is a hangup for those who asked for ROTA_READABLE.
 *
 * Returns 0, -EBADF, -EPERM (a descriptor that cannot be waited for, such as a regular file),
 * -ENOMEM, -EINVAL (no or unknown events). */
ROTA_API int rota_loop_watch(rota_loop *loop, int fd, int events, rota_watch_fn *fn, void *arg,
                             rota_watch **ret_watch);
/* Lets go of the descriptor before it returns, so that closing it takes effect at once. No callback
 * comes after it. Accepts NULL. May be called in the callback. */
ROTA_API rota_watch *rota_watch_free(rota_watch *watch);

ROTA_DEFINE_AUTO(rota_watch, rota_watch_free);

#ifdef __cplusplus
}
#endif

#endif
