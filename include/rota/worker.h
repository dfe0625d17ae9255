/* worker: use many cores by running the same function in several threads or processes, each with
 * its own loop.
 *
 *     int echo(rota_stream *s, void *arg);           // as in rota/net.h
 *
 *     static int serve(void *arg)
 *     {
 *         ROTA_AUTO(rota_listener) l = NULL;
 *         int err = rota_worker_listen("localhost", 7000, NULL, &l);  // all on one port
 *         return err < 0 ? err : rota_serve(l, echo, NULL, NULL);
 *     }
 *
 *     int main(void) { return rota_run_workers(0, serve, NULL) < 0; }  // a thread per processor
 *
 * Threads or processes. Threads share the program's memory: they exchange messages through channels
 * (rota/channel.h) and run functions on each other's loops (rota_run_on). A crash ends all of them.
 * Processes share no memory, and a supervisor replaces one that dies.
 *
 * Tasks, groups, scopes and queues belong to one loop, so they are not shared between workers. */
#ifndef ROTA_WORKER_H
#define ROTA_WORKER_H

#include <rota/net.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Threads ---- */

/* Zero selects the default of each field. */
typedef struct rota_workers_options {
    /* Bind each worker to a processor; if there are more workers than processors, they share
     * them. */
    bool pin;
    /* Options of each worker's loop. */
    rota_loop_options loop;
} rota_workers_options;

/* Runs fn(arg) as the main task of `n` loops, each on its own thread, and waits until all have
 * ended. Each loop ends as in rota_run. If `n` is 0 there are as many workers as processors that
 * this process may use.
 *
 * Call it where the thread has no loop, usually in main(), or in a task. Without a loop, the call
 * blocks, and the first SIGINT cancels the main tasks of the workers, as rota_run does with its
 * own. In a task, the call suspends, and cancelling the task cancels the main tasks; in a
 * ROTA_UNTIL_STOP block this also happens on SIGTERM (rota/signal.h). If one main task is
 * cancelled, by rota_task_cancel or a signal, all are. If one worker fails, the others are
 * cancelled.
 *
 * Returns the first failure; -ECANCELED or -ETIMEDOUT if workers failed only because they were
 * cancelled; 0 if none failed; -EINVAL (more than 4096 workers), -ENOMEM, -EAGAIN (a thread could
 * not be started), ROTA_ENOTASK (in a callback of a loop), or an error of rota_loop_new. */
#define rota_run_workers(n, fn, arg) rota_run_workers_at(n, fn, arg, NULL, ROTA_SITE(#fn))
#define rota_run_workers_with(n, fn, arg, options) \
    rota_run_workers_at(n, fn, arg, options, ROTA_SITE(#fn))
ROTA_SUSPENDS int rota_run_workers_at(unsigned n, rota_fn *fn, void *arg,
                                      const rota_workers_options *options, const rota_site *site);

/* rota_worker_index returns the index of this worker, from 0, and rota_worker_count the number of
 * workers. Outside a worker they return -1 and 0. */
ROTA_API int rota_worker_index(void);
ROTA_API unsigned rota_worker_count(void);

/* Returns the loop of another worker thread, for rota_run_on. NULL if that worker is not running,
 * or outside worker threads. The pointer stays valid: after that loop has ended, rota_run_on
 * returns ROTA_ECLOSED. */
ROTA_API rota_loop *rota_worker_loop(unsigned index);

/* ---- One port for all ---- */

/* Listens as rota_tcp_listen does, on a port that all workers share. The kernel distributes the
 * connections among the workers that listen. With port 0 all workers get the same free port: the
 * first such call of every worker shares one port, the second call another one, and so on for up to
 * 64 ports. Outside a worker this is rota_tcp_listen.
 *
 * When a worker stops listening, the kernel resets the connections that it has not accepted yet. */
ROTA_SUSPENDS int rota_worker_listen(const char *host, int port, const rota_listen_options *options,
                                     rota_listener **ret_listener);

/* ---- Processes, supervised ---- */

/* Zero selects the default of each field. */
typedef struct rota_worker_processes_options {
    /* Time between telling a worker to stop and killing it by SIGKILL. Default: 10 s. */
    rota_time grace;
    /* A worker that dies sooner than this after its start counts as an early death. Default: 1
     * s. */
    rota_time healthy;
    /* After this many early deaths of one worker in a row, all workers are stopped. Default: 5. */
    unsigned failures;
    rota_loop_options loop;
} rota_worker_processes_options;

/* Forks `n` processes (0: as many as processors that this process may use), runs fn(arg) in each as
 * the main task of a loop, and supervises them until all have ended. Blocks the thread. Call it
 * early in main(), before there are loops and threads, because each worker gets a copy of all
 * memory and all descriptors.
 *
 * A worker whose function returns 0 or more has ended for good. A worker that fails or dies is
 * replaced: at once if it had run for `healthy`, otherwise after 100 ms, 200 ms, 400 ms, and so on
 * up to 5 s. After `failures` early deaths in a row the other workers are stopped. Workers never
 * outlive the supervisor, even if it is killed. Each death is reported ("Reports" in
 * rota/base.h).
 *
 * Signals of the supervisor (those that the program ignores stay ignored): SIGINT and SIGTERM stop
 * the workers, which cancels their main tasks. Workers still running after `grace` are killed; a
 * second signal kills them at once. SIGHUP replaces the workers one by one: it stops one, starts
 * its successor, and goes on with the next one once the successor listens (rota_worker_listen) or
 * has run for `healthy`. In a worker, SIGTERM cancels the main task, and SIGINT is ignored.
 *
 * Returns 0 when all workers have ended. After a stop, returns -ECANCELED if a worker's function
 * returned that, as rota_serve does after a graceful end, or -ETIMEDOUT if a worker had to be
 * killed. After too many early deaths, returns the last result of the worker, or ROTA_ECRASHED.
 * rota_error then returns the text of that worker's failure, or tells how it died. Other errors:
 * -EBUSY (this thread has a loop), -EINVAL (more than 4096 workers), -ENOMEM. */
#define rota_run_worker_processes(n, fn, arg) \
    rota_run_worker_processes_at(n, fn, arg, NULL, ROTA_SITE(#fn))
#define rota_run_worker_processes_with(n, fn, arg, options) \
    rota_run_worker_processes_at(n, fn, arg, options, ROTA_SITE(#fn))
ROTA_API int rota_run_worker_processes_at(unsigned n, rota_fn *fn, void *arg,
                                          const rota_worker_processes_options *options,
                                          const rota_site *site);

#ifdef __cplusplus
}
#endif

#endif
