/* worker: many cores. The same function in several threads or processes, a loop in each.
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
 *     int main(void) { return rota_run_workers(0, serve, NULL) < 0; }  // a thread a processor
 *
 * Threads or processes. Threads share the program's memory: they pass one another messages through
 * channels (rota/channel.h) and run functions on each other's loops (rota_run_on); a crash ends all
 * of them. Processes share nothing, and a supervisor replaces one that dies.
 *
 * What one worker does, none of the others sees: tasks, groups, scopes and queues belong to a
 * loop. */
#ifndef ROTA_WORKER_H
#define ROTA_WORKER_H

#include <rota/net.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Threads ---- */

/* Zero is the default of each field. */
typedef struct rota_workers_options {
    bool pin;               /* each worker to a processor of its own, while there are enough */
    rota_loop_options loop; /* of each worker */
} rota_workers_options;

/* Runs fn(arg) as the main task of `n` loops, each on a thread of its own, and waits until all have
 * ended; each ends as rota_run does. With 0 there are as many as processors that this process may
 * use.
 *
 * May be called where there is no loop, usually in main(), and then the first SIGINT cancels the
 * workers' mains, as rota_run does with one; or by a task, which is suspended: cancelling it
 * cancels them. In a ROTA_UNTIL_STOP block it so ends on SIGTERM, too (rota/signal.h). Whatever
 * cancels one main (rota_task_cancel, a signal) cancels all. The first worker that fails cancels
 * the others.
 *
 * Returns the first failure; -ECANCELED or -ETIMEDOUT if workers failed for no other reason than
 * having been cancelled; 0 if none failed; -EINVAL (more than 4096), -ENOMEM, -EAGAIN (no more
 * threads), or an error of rota_loop_new. */
#define rota_run_workers(n, fn, arg) rota_run_workers_at(n, fn, arg, NULL, ROTA_SITE(#fn))
#define rota_run_workers_with(n, fn, arg, options) \
    rota_run_workers_at(n, fn, arg, options, ROTA_SITE(#fn))
ROTA_SUSPENDS int rota_run_workers_at(unsigned n, rota_fn *fn, void *arg,
                                      const rota_workers_options *options, const rota_site *site);

/* Which of the workers this is, from 0, and how many there are. -1 and 0 elsewhere. */
ROTA_API int rota_worker_index(void);
ROTA_API unsigned rota_worker_count(void);

/* The loop of another worker thread, for rota_run_on; NULL while that one does not run, or where
 * there are no worker threads. The pointer stays valid: once that loop has ended, rota_run_on
 * returns ROTA_ECLOSED. */
ROTA_API rota_loop *rota_worker_loop(unsigned index);

/* ---- One port for all ---- */

/* rota_tcp_listen on a port that all workers share: the kernel spreads the connections over those
 * that listen. With port 0, all workers get the same free one: the first port that each asks for is
 * the same in all, the second again, and so on, up to 64. Where there are no workers it is
 * rota_tcp_listen.
 *
 * A worker that stops listening resets the connections that wait for it to accept them. */
ROTA_SUSPENDS int rota_worker_listen(const char *host, int port, const rota_listen_options *options,
                                     rota_listener **ret_listener);

/* ---- Processes, supervised ---- */

/* Zero is the default of each field. */
typedef struct rota_worker_processes_options {
    rota_time grace;   /* between a stop and SIGKILL; 10 s */
    rota_time healthy; /* a worker that dies sooner has died at once; 1 s */
    unsigned failures; /* so many deaths at once in a row of one worker end all; 5 */
    rota_loop_options loop;
} rota_worker_processes_options;

/* Forks `n` processes (0: as many as processors that this process may use), which each run fn(arg)
 * as the main task of a loop, and watches over them until all have ended. Blocks; call it early in
 * main(), before there are loops and threads: the workers have a copy of all memory and all
 * descriptors.
 *
 * A worker whose function returns 0 or more has ended. One that fails or dies is replaced: at once
 * if it was healthy, else after 100 ms, 200 ms, 400 ms, ... up to 5 s; after too many deaths at
 * once the others are stopped. Workers end with the supervisor, whatever ends it.
 *
 * Signals, in the supervisor, but for those the program ignores: SIGINT and SIGTERM stop the
 * workers: their mains are cancelled, and who still runs after `grace` is killed; a second one
 * kills at once. SIGHUP replaces the workers one by one: each is stopped so, and the next when its
 * successor has begun. In a worker, SIGTERM cancels its main, and SIGINT is ignored. The log hook
 * hears of each death.
 *
 * Returns 0 when all have ended; after a stop -ECANCELED if a worker's function returned that, as
 * rota_serve does when it has ended gracefully, or -ETIMEDOUT if one had to be killed; after too
 * many deaths what the last function returned, or ROTA_ECRASHED. -EBUSY (this thread has a loop),
 * -EINVAL (more than 4096 workers), -ENOMEM. */
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
