/* signal: wait for signals.
 *
 * A server ends gracefully:
 *
 *     static int serve_until_stop(rota_listener *listener, rota_serve_fn *handler)
 *     {
 *         int err = 0;
 *         ROTA_UNTIL_STOP {                              // SIGINT or SIGTERM cancels the block
 *             rota_serve_options options = {.grace = 5 * ROTA_SECOND};
 *             err = rota_serve(listener, handler, NULL, &options);
 *         }
 *         return err == -ECANCELED ? 0 : err;            // a signal is how it ends
 *     }
 *
 * and a task can do something else with a signal:
 *
 *     static int reload_on_hangup(rota_fn *reload)
 *     {
 *         ROTA_SCOPED(rota_signals) hangups = ROTA_SIGNALS_INIT;
 *         int err = rota_signals_add(&hangups, SIGHUP);
 *         if (err < 0)
 *             return err;
 *         ROTA_FOREACH(const int *, number, rota_signals_iter(&hangups), &err)
 *             reload(NULL);
 *         return err;
 *     }
 *
 * After rota_signals_add the signal no longer has its former effect, and none is missed: a signal
 * that arrives before a task waits for it is kept. As in the kernel, signals of one number that
 * were not taken yet count as one, so any number of them takes no memory. A signal that is sent
 * after the last one was taken is always seen. Every listener gets the signal, also in other loops
 * and threads. When the last listener is gone, the signal has its former effect again.
 *
 * The handler is installed with SA_RESTART | SA_ONSTACK, runs on a thread that the kernel chooses,
 * and only records the signal. While no listener wants SIGINT, rota_run handles it. A child of
 * fork(2) has no listeners. */
#ifndef ROTA_SIGNAL_H
#define ROTA_SIGNAL_H

#include <rota/task.h>

#include <signal.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Listening ---- */

/* The signals that one task listens for, in your storage. */
typedef struct rota_signals {
    struct rota__list _node;
    /* Of its loop; NULL: it does not listen yet. */
    struct rota__signal_hub *_hub;
    uint64_t _wanted, _pending;
    struct rota__wait *_waiter;
    /* NULL: the waiter is woken. */
    void (*_heard)(struct rota_signals *signals);
    /* The signal that was taken last. */
    int _number;
} rota_signals;

#ifdef __cplusplus
#define ROTA_SIGNALS_INIT \
    {                     \
    }
#else
#define ROTA_SIGNALS_INIT \
    {                     \
        ._hub = NULL      \
    }
#endif

/* Begins to listen for one more signal. Does nothing if it was added before.
 *
 * Returns 0, -EINVAL (SIGKILL and SIGSTOP, which cannot be caught; SIGSEGV, SIGBUS, SIGFPE, SIGILL,
 * SIGTRAP and SIGSYS, after which the thread cannot go on; invalid numbers and those that the C
 * library keeps for itself), -ENOMEM, ROTA_ENOTASK, ROTA_ETHREAD. */
ROTA_API int rota_signals_add(rota_signals *signals, int number);

/* Waits for a signal and takes it. If several have come, it takes the one with the lowest number.
 *
 * Returns the number of the signal, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ETHREAD, -EBUSY
 * (another task waits here), ROTA_ECLOSED, -EINVAL (no signal was added). */
ROTA_SUSPENDS int rota_signals_next(rota_signals *signals);

/* The same as an iterator without an end. Its items are `const int *`. */
ROTA_API rota_iter rota_signals_iter(rota_signals *signals);

/* Stops listening. ROTA_SCOPED calls this. Signals that were not taken are dropped. A task that
 * waits gets ROTA_ECLOSED. */
ROTA_API void rota_signals_fini(rota_signals *signals);
ROTA_DEFINE_SCOPED(rota_signals, rota_signals_fini);

/* Listens for the `count` signals, waits for one, and stops listening. Signals that arrive between
 * two such calls are lost; where that matters, keep a rota_signals. Returns what rota_signals_add
 * and rota_signals_next return. */
ROTA_SUSPENDS int rota_signal_wait(const int *numbers, size_t count);

/* ---- Stopping ---- */

/* A scope that SIGINT and SIGTERM cancel. */
typedef struct rota_stop {
    struct rota__scope _scope;
    rota_signals _signals;
    int _step;
} rota_stop;

/* Opens the scope in the current task: after the first SIGINT or SIGTERM, calls inside return
 * -ECANCELED. The scope takes only that first signal. A second one has its usual effect: under
 * rota_run, SIGINT ends the process. While the scope is open, waiting is never a deadlock, because
 * a signal may still come.
 *
 * A signal that is ignored when the scope is opened stays ignored: a shell without job control
 * starts background programs that way. To take it all the same, use rota_signals_add.
 *
 * Returns 0, -ENOMEM or ROTA_ENOTASK. After -ENOMEM the scope is cancelled from the beginning, so
 * you may ignore the result. */
ROTA_API int rota_stop_begin(rota_stop *stop);
/* Leaves the scope. Returns the signal that has come, or 0. */
ROTA_API int rota_stop_end(rota_stop *stop);

static inline void rota__stop_leave(rota_stop *stop)
{
    rota_stop_end(stop);
}
ROTA_DEFINE_SCOPED(rota_stop, rota__stop_leave);

static inline rota_stop rota__stop_unopened(void)
{
    rota_stop stop;
    stop._scope.fiber = NULL;
    stop._signals._hub = NULL;
    stop._step = 0;
    return stop;
}

static inline bool rota__stop_once(rota_stop *stop)
{
    if (stop->_step++)
        return false;
    rota_stop_begin(stop);
    return true;
}

/* A block that ends soon after SIGINT or SIGTERM. It may be left by break, return or goto. A break
 * in it leaves only this block, not a loop around it. */
#define ROTA_UNTIL_STOP                                                           \
    for (ROTA_SCOPED(rota_stop) ROTA__UNIQUE(rota__stop) = rota__stop_unopened(); \
         rota__stop_once(&ROTA__UNIQUE(rota__stop));)

#ifdef __cplusplus
}
#endif

#endif
