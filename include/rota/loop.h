/* loop: the event loop and its callback layer.
 *
 * A loop owns the ready queue, the timers and the watched descriptors of one thread. Programs
 * written with tasks need little of this header: `rota_run` makes a loop, runs it and frees it. Use
 * this header to embed a loop in another one, to write callbacks, or to build your own runtime on a
 * loop.
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
 * Turns. In each turn the loop polls for I/O, collects the timers that are due and runs everything
 * that was ready when the turn began, in the order in which it became ready. Anything that becomes
 * ready during the turn runs in the next one.
 *
 * Threads. Only the thread that has entered a loop may use it. rota_loop_new enters the new loop if
 * the calling thread is not in a loop yet; rota_loop_run enters the loop for the length of the run.
 * A thread may own several loops, but is in one at a time. Other threads may call only the
 * functions whose name ends in `_threadsafe`. Any other call from another thread does nothing,
 * reports this to the log hook, and returns ROTA_ETHREAD if it returns an int. A `rota_loop *`
 * stays valid after the end of its loop: `..._threadsafe` calls then return ROTA_ECLOSED, and never
 * reach a later loop. For this, 64 bytes of each loop stay allocated.
 *
 * Forks. After fork(2) the child has no loop, but may make one. If a task forks and its function
 * returns in the child, the child exits there by _exit(2), with status 0, or 1 if the function
 * failed. A child should therefore call exec(3) or _exit(2). */
#ifndef ROTA_LOOP_H
#define ROTA_LOOP_H

#include <rota/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_loop rota_loop;

typedef enum rota_backend {
    /* The backend named by the environment variable ROTA_BACKEND ("epoll" or "uring"). Without it,
     * io_uring where the kernel is Linux 6.15 or later and allows it, and epoll elsewhere and under
     * valgrind. */
    ROTA_BACKEND_DEFAULT,
    ROTA_BACKEND_EPOLL,
    /* io_uring; falls back to epoll where the kernel refuses it */
    ROTA_BACKEND_URING
} rota_backend;

/* Zero selects the default of each field. */
typedef struct rota_loop_options {
    rota_backend backend;
    /* Use a virtual clock: time stands still while something is runnable, and jumps to the next
     * timer when nothing is. */
    bool virtual_clock;
    /* If not 0, ready tasks run in an order shuffled by this seed. For tests. */
    uint64_t random_seed;
    /* Address space of each task's stack, in bytes. Default: 256 KiB; minimum: 16 KiB. */
    size_t stack_size;
    /* Called on the loop's thread before (`begins` is true) and after each wait for events whose
     * timeout is not 0. A language binding can release its interpreter's lock here. The function
     * must not use the loop. */
    void (*on_sleep)(void *arg, bool begins);
    void *on_sleep_arg;
    /* Report a task that holds the thread for longer than this. Default: 25 ms with ROTA_DEBUG=1,
     * otherwise off. ROTA_NEVER turns it off. */
    rota_time stall_limit;
} rota_loop_options;

/* Makes a loop, and enters it if the calling thread is not in a loop. `options` may be NULL.
 *
 * Returns 0, -EINVAL (an unknown name in ROTA_BACKEND, or a `stack_size` below 16 KiB), -ENOMEM,
 * -EMFILE, -ENFILE, or -EAGAIN (no thread for `stall_limit`). */
ROTA_API int rota_loop_new(const rota_loop_options *options, rota_loop **ret_loop);

/* Cancels the tasks that are left, waits for them, and frees the loop. Your pending handles and
 * watches are cancelled. Accepts NULL, returns NULL.
 *
 * If no thread is in the loop, any thread may free it, even one that is in another loop; a loop
 * that still has tasks can be freed only by the thread that started them. Called from inside the
 * loop, or while another thread is in it, this does nothing and reports an error to the log
 * hook. */
ROTA_API rota_loop *rota_loop_free(rota_loop *loop);

/* Returns the loop that the calling thread is in, or NULL. */
ROTA_API rota_loop *rota_loop_current(void);

/* Enters the loop: it belongs to the calling thread until rota_loop_leave. Does nothing if the
 * thread is in this loop already.
 *
 * Threads may enter a loop one after another. While the loop has tasks, only the thread that
 * started them may enter. Timers, callbacks and watches move with the loop. With io_uring, the
 * first entry by another thread opens a new ring, which may fail.
 *
 * Returns 0; -EBUSY (the calling thread is in another loop, another thread is in this one, or this
 * one has tasks of another thread); ROTA_ECLOSED (the loop has ended, or this process is the child
 * of a fork); -ENOMEM, -EMFILE, -ENFILE, or an error of io_uring_setup(2). */
ROTA_API int rota_loop_enter(rota_loop *loop);

/* Leaves the loop, so that another thread may enter it. Operations in the kernel are withdrawn
 * first, because they depend on this thread. Results that have arrived are kept, and the next
 * rota_loop_enter submits the other operations again. Waits for file operations that cannot be
 * withdrawn. Costs nothing if no operation is pending.
 *
 * Returns 0; -EBUSY (called inside a run); ROTA_ETHREAD (the thread is not in this loop); or an
 * error of the backend, and then the thread is still in the loop. */
ROTA_API int rota_loop_leave(rota_loop *loop);

/* Runs turns until nothing is left to do, or until rota_loop_stop. Nothing is left when the loop
 * has no task, callback, timer or operation, and expects no wake-up from another thread
 * (rota_loop_hold_threadsafe). Enters the loop if the thread is not in it, and leaves it again at
 * the end.
 *
 * Returns 0; -EDEADLK (tasks are left but none of them can ever continue; the log hook gets a
 * report of each, with what it waits for); -EBUSY (the loop is running already); an error of
 * rota_loop_enter or of the backend. */
ROTA_API int rota_loop_run(rota_loop *loop);

/* Runs one turn. Waits at most `timeout` for something to do: 0 does not wait, ROTA_NEVER waits
 * without a limit. Returns 1 if something is left to do, 0 if nothing is, or an error as
 * rota_loop_run does. */
ROTA_API int rota_loop_run_once(rota_loop *loop, rota_time timeout);

/* Makes rota_loop_run return at the end of the current turn. */
ROTA_API void rota_loop_stop(rota_loop *loop);

/* Gets one descriptor to watch from a foreign poll loop. It is readable whenever
 * rota_loop_run_once(loop, 0) has something to do, timers included. It belongs to the loop; do not
 * close it.
 *
 * If you use the loop outside a turn (rota_loop_call_soon, rota_spawn, setting a future), call this
 * again or run a turn afterwards: only then does the descriptor reflect the change. Returns the
 * descriptor, -EMFILE, -ENOMEM or ROTA_ETHREAD. */
ROTA_API int rota_loop_fd(rota_loop *loop);

/* Returns the backend in use: "epoll" or "io_uring". */
ROTA_API const char *rota_loop_backend(const rota_loop *loop);

/* Returns the current time of the loop's clock: CLOCK_MONOTONIC, or the virtual clock. Call it on
 * the loop's thread only. */
ROTA_API rota_time rota_loop_time(const rota_loop *loop);

/* Returns the current time of the calling thread's loop; CLOCK_MONOTONIC if the thread is in no
 * loop. */
ROTA_API rota_time rota_now(void);

/* ---- Callbacks: asyncio's call_soon, call_later, call_at ---- */

typedef struct rota_handle rota_handle;
typedef void rota_handle_fn(rota_handle *handle, void *arg);

/* An entry of the ready queue. */
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

/* A scheduled callback. It lives in your storage, which must stay valid until the callback has been
 * called or cancelled. Inside the callback you may already reuse or free it. */
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

/* Calls fn(handle, arg) in the next turn, in the order of these calls. Allocates nothing and cannot
 * fail. A handle that is already pending is rescheduled. `fn` must not suspend; it may spawn
 * tasks. */
ROTA_API void rota_loop_call_soon(rota_loop *loop, rota_handle *handle, rota_handle_fn *fn,
                                  void *arg);

/* Calls fn(handle, arg) after `delay`, or at the time `when` of the loop's clock. A time in the
 * past runs `fn` in the next turn. ROTA_NEVER only cancels a pending call. Callbacks due at the
 * same time run in the order of these calls. Arming and cancelling take constant time. */
ROTA_API void rota_loop_call_later(rota_loop *loop, rota_handle *handle, rota_time delay,
                                   rota_handle_fn *fn, void *arg);
ROTA_API void rota_loop_call_at(rota_loop *loop, rota_handle *handle, rota_time when,
                                rota_handle_fn *fn, void *arg);

/* Cancels the callback if it is pending: it will not be called. Does nothing otherwise. */
ROTA_API void rota_handle_cancel(rota_handle *handle);
ROTA_API bool rota_handle_pending(const rota_handle *handle);

typedef void rota_threadsafe_fn(rota_loop *loop, void *arg);

/* Calls fn(loop, arg) on the loop's thread, in one of its next turns and in the order of these
 * calls. May be called from any thread at any time.
 *
 * Returns 0, and then `fn` is certain to be called, at the latest while the loop ends; ROTA_ECLOSED
 * (the loop has ended); or -ENOMEM. */
ROTA_API int rota_loop_call_threadsafe(rota_loop *loop, rota_threadsafe_fn *fn, void *arg);

/* Announces that another thread is going to call rota_loop_call_threadsafe: until the matching
 * release, the loop waits instead of ending as idle or reporting a deadlock. Both may be called
 * from any thread, and do nothing after the end of the loop. */
ROTA_API void rota_loop_hold_threadsafe(rota_loop *loop);
ROTA_API void rota_loop_release_threadsafe(rota_loop *loop);

/* ---- Descriptors that rota does not own: asyncio's add_reader ---- */

/* Events of a descriptor. */
enum {
    ROTA_READABLE = 1,
    ROTA_WRITABLE = 2,
    /* the other side has closed, or an error occurred; reported even if not asked for */
    ROTA_HANGUP = 4
};

typedef struct rota_watch rota_watch;
typedef void rota_watch_fn(rota_watch *watch, int events, void *arg);

/* Calls fn(watch, events, arg) in each turn in which `fd` is ready for one of `events`
 * (ROTA_READABLE, ROTA_WRITABLE), until rota_watch_free. The descriptor stays yours; close it only
 * after rota_watch_free. Several watches may share a descriptor, which may also belong to a stream
 * or a listener; their callbacks run in no particular order. When the peer of a connection has
 * ended its side, watches for ROTA_READABLE also get ROTA_HANGUP.
 *
 * Returns 0, -EBADF, -EPERM (the descriptor cannot be waited for, such as a regular file), -ENOMEM,
 * -EINVAL (no events, or unknown ones), ROTA_ETHREAD. */
ROTA_API int rota_loop_watch(rota_loop *loop, int fd, int events, rota_watch_fn *fn, void *arg,
                             rota_watch **ret_watch);
/* Frees the watch. The descriptor is released before this returns, so closing it takes effect at
 * once. No callback runs afterwards. May be called inside the callback. Accepts NULL, returns
 * NULL. */
ROTA_API rota_watch *rota_watch_free(rota_watch *watch);

ROTA_DEFINE_AUTO(rota_watch, rota_watch_free);

#ifdef __cplusplus
}
#endif

#endif
