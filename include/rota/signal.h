/* signal: signals as something to wait for.
 *
 * A server ends gracefully:
 *
 *     static int serve_until_stop(rota_listener *listener, rota_serve_fn *handler)
 *     {
 *         int err = 0;
 *         ROTA_UNTIL_STOP {                              // SIGINT or SIGTERM cancels what is inside
 *             rota_serve_options options = {.grace = 5 * ROTA_SECOND};
 *             err = rota_serve(listener, handler, NULL, &options);
 *         }
 *         return err;                                    // -ECANCELED: it was asked to stop
 *     }
 *
 * and something else than ending can be done, too:
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
 * From rota_signals_add on a signal no longer does what it did, and none is missed: what arrives before
 * somebody waits is kept. As in the kernel, several of one kind that were not taken yet are one, so a storm
 * takes no room; what is sent after the last was taken is always seen. Every listener gets the signal, also
 * in other loops and threads. When the last one has left, the signal does again what it did before.
 *
 * Handlers run with SA_RESTART | SA_ONSTACK on whatever thread the kernel chooses, and only make a note
 * there. While nobody listens for SIGINT, rota_run does its own with it. A child of fork(2) has no
 * listeners. */
#ifndef ROTA_SIGNAL_H
#define ROTA_SIGNAL_H

#include <rota/task.h>

#include <signal.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Listening ---- */

/* What one task listens for; it lives in your storage. */
typedef struct rota_signals {
    struct rota__list _node;
    struct rota__signal_hub *_hub; /* its loop's; NULL: it listens for nothing yet */
    uint64_t _wanted, _pending;
    struct rota__wait *_waiter;
    void (*_heard)(struct rota_signals *signals); /* NULL: the waiter is woken */
    int _number;                                  /* taken last */
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

/* Begins to listen for one more signal. Twice does no harm.
 *
 * Returns 0, -EINVAL (SIGKILL and SIGSTOP, which cannot be caught; SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP
 * and SIGSYS, after which the thread cannot go on; numbers that are no signal's or are the C library's
 * own), -ENOMEM, ROTA_ENOTASK, ROTA_ETHREAD. */
ROTA_API int rota_signals_add(rota_signals *signals, int number);

/* Waits for a signal, and takes it; of several that have come, the one with the lowest number.
 *
 * Returns its number; -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ETHREAD, -EBUSY (another task waits here),
 * ROTA_ECLOSED, -EINVAL (nothing to listen for). */
ROTA_SUSPENDS int rota_signals_next(rota_signals *signals);

/* The same as an iterator, whose items are `const int *` and which has no end. */
ROTA_API rota_iter rota_signals_iter(rota_signals *signals);

/* Stops listening. What was not taken is dropped; a task that waits gets ROTA_ECLOSED. What ROTA_SCOPED
 * calls. */
ROTA_API void rota_signals_fini(rota_signals *signals);
ROTA_DEFINE_SCOPED(rota_signals, rota_signals_fini);

/* Listens for the `count` signals, waits for one, and stops listening. Of those that come between two such
 * calls nobody knows; where that matters, keep a rota_signals. Returns as rota_signals_add and
 * rota_signals_next. */
ROTA_SUSPENDS int rota_signal_wait(const int *numbers, size_t count);

/* ---- Stopping ---- */

/* A scope that SIGINT and SIGTERM cancel. */
typedef struct rota_stop {
    struct rota__scope _scope;
    rota_signals _signals;
    int _step;
} rota_stop;

/* Opens the scope in the current task: after the first SIGINT or SIGTERM, calls inside return -ECANCELED.
 * That first one is all that it takes: a second one does what it would have done without (where rota_run
 * has SIGINT to itself: end the process). While the scope is open nothing inside is a deadlock, because a
 * signal may still come.
 *
 * A signal that is ignored when the scope is opened stays ignored: a shell without job control starts
 * background programs that way. To take it all the same, use rota_signals_add.
 *
 * Returns 0, -ENOMEM or ROTA_ENOTASK; the scope is then cancelled from the beginning, so the return value
 * may be ignored. */
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
    stop._scope.task = NULL;
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

/* A block that ends soon after SIGINT or SIGTERM. It may be left by break, return or goto. A break in it
 * leaves this block and no loop around it. */
#define ROTA_UNTIL_STOP                                                           \
    for (ROTA_SCOPED(rota_stop) ROTA__UNIQUE(rota__stop) = rota__stop_unopened(); \
         rota__stop_once(&ROTA__UNIQUE(rota__stop));)

#ifdef __cplusplus
}
#endif

#endif
