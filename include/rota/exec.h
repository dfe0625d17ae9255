/* exec: run functions that block or compute for a long time in threads or processes beside the
 * loop.
 *
 * A task that called such a function directly would hold up every other task. An executor runs the
 * function elsewhere, while the task waits as for anything else:
 *
 *     struct hash { const char *path; unsigned char digest[32]; };
 *     int hash(void *arg);                           // reads the file, which blocks
 *
 *     static int one(void *arg)
 *     {
 *         struct hash h = {.path = "/etc/hosts"};
 *         return rota_to_thread(hash, &h);           // runs hash(&h) in the loop's default pool
 *     }
 *
 *     static int two_at_once(void *arg)
 *     {
 *         struct hash a = {.path = "/etc/hosts"}, b = {.path = "/etc/passwd"};
 *         ROTA_SCOPED(rota_job) first = ROTA_JOB_INIT, second = ROTA_JOB_INIT;
 *         int err = rota_executor_submit(NULL, hash, &a, &first);
 *         if (err == 0)
 *             err = rota_executor_submit(NULL, hash, &b, &second);
 *         if (err == 0)
 *             err = rota_job_wait(&first);
 *         return err < 0 ? err : rota_job_wait(&second);
 *     }
 *
 * A job is an ordinary task function `int fn(void *arg)`, except that it must not call functions
 * that suspend, because no task runs it. Its return value is the result of the job.
 *
 * Cancelling. A job that has not begun is withdrawn at once. A function that already runs in a
 * thread cannot be stopped, and may be writing to your stack. So a cancelled task goes on waiting
 * until the function returns. To avoid this, give the job a copy of its argument (the `copy` field
 * of rota_job, or rota_executor_run_copy). Such a job touches none of your memory. When its caller
 * is cancelled it is abandoned at once: a thread runs on by itself, a worker process is killed. If
 * a function fails after its caller was cancelled or timed out, the error is reported to the log
 * hook, because no caller receives it.
 *
 * Forking. If a job calls fork(2) and its function returns in the child, the child exits there,
 * with status 0, or 1 if the function failed. Exit handlers do not run.
 *
 * An executor belongs to the loop of the thread that made it, and may be used on that thread
 * only. */
#ifndef ROTA_EXEC_H
#define ROTA_EXEC_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_executor rota_executor;

/* ---- Executors ---- */

/* Zero selects the default of each field. */
typedef struct rota_thread_pool_options {
    /* Largest number of threads. Default: processors + 4, at most 32. */
    unsigned threads;
    /* How many jobs may wait for a thread before submitting suspends. Default: no limit. */
    size_t queue;
    /* Largest number of threads in addition to `threads`, for jobs that hang. They are started
     * while jobs wait and none has begun for 100 ms, and for each abandoned job that still runs.
     * Default: 0. */
    unsigned extra_threads;
} rota_thread_pool_options;

/* Makes an executor that runs its jobs in threads. A thread is started when a job finds no idle
 * one, and stays until the executor is closed. `options` may be NULL.
 *
 * Put jobs that may hang, such as calls to a server that may be down, into a pool of their own with
 * `extra_threads`: there they hold up neither other jobs nor each other. The extra threads end once
 * no job waits or hangs.
 *
 * The threads block all signals, so signals arrive at your threads.
 *
 * Returns 0, ROTA_ENOTASK (this thread has no loop), -ENOMEM, -EINVAL (more than 4096 threads or
 * extra threads). */
ROTA_API int rota_thread_pool_new(const rota_thread_pool_options *options,
                                  rota_executor **ret_executor);

typedef struct rota_process_pool_options {
    /* Largest number of worker processes. Default: the number of processors. */
    unsigned workers;
    /* How many jobs may wait for a worker before submitting suspends. Default: no limit. */
    size_t queue;
    /* Largest argument of a job, in bytes. Default: 1 MiB. */
    size_t copy_limit;
} rota_process_pool_options;

/* Makes an executor that runs its jobs in worker processes. Use it for computations that may crash,
 * that must be killed on cancellation, or that call code that is not thread-safe. `options` may be
 * NULL.
 *
 * A worker is forked when a job finds no idle one. It sees the program's memory as it was at that
 * moment, except the secrets named by rota_secret_add. It has no loop, its standard input is
 * /dev/null, and of the other descriptors it keeps only 1 and 2. Signals have their default action,
 * except that SIGINT and SIGPIPE are ignored. Its stack has 8 MiB. A worker serves one job after
 * another, and ends with the executor or the program, whichever ends first. What a job prints to
 * stdout is flushed when the job ends.
 *
 * Jobs need `copy`: the bytes of the argument are sent to the worker, and sent back when the
 * function has returned. Pointers in the argument are valid in the worker only if they point to
 * memory that the program had when the worker was forked.
 *
 * If a worker dies, its job ends with ROTA_ECRASHED, and rota_job_error says how the worker died. A
 * new worker is forked when the next job needs one.
 *
 * Returns 0, ROTA_ENOTASK (this thread has no loop), -ENOMEM, -EINVAL (more than 4096 workers). */
ROTA_API int rota_process_pool_new(const rota_process_pool_options *options,
                                   rota_executor **ret_executor);

typedef enum rota_executor_close_mode {
    /* run every job that was submitted */
    ROTA_EXECUTOR_DRAIN,
    /* end jobs that have not begun with -ECANCELED */
    ROTA_EXECUTOR_CANCEL
} rota_executor_close_mode;

/* Closes the executor: it accepts no more jobs, waits for those that are left, and ends its threads
 * or workers. Calls that submit a job, or are waiting to submit one, return ROTA_ECLOSED. Shields
 * itself. Abandoned jobs are not waited for: their thread ends when the function returns. Closing
 * an executor again waits for the same end; closing with CANCEL cuts a DRAIN short.
 *
 * Returns 0, ROTA_ENOTASK, ROTA_ETHREAD. */
ROTA_SUSPENDS_SHIELDED_RESULT int rota_executor_close(rota_executor *executor,
                                                      rota_executor_close_mode mode);

/* Closes the executor with CANCEL and frees it. Accepts NULL, returns NULL.
 * ROTA_AUTO(rota_executor) calls this. Outside a task it cannot wait: if jobs are still running,
 * the end of the loop completes the release. The end of a loop closes its executors, but you still
 * have to free them. */
ROTA_SUSPENDS_SHIELDED rota_executor *rota_executor_free(rota_executor *executor);
ROTA_DEFINE_AUTO(rota_executor, rota_executor_free);

/* ---- Awaiting a function ---- */

/* Runs fn(arg) in a thread of the loop's default pool, and returns its result.
 *
 * If the caller is cancelled or timed out before the function has begun, the function never runs.
 * Once it runs, the call returns only after the function has returned: with the function's result
 * if that is a success, else with -ECANCELED or -ETIMEDOUT. If the function had already returned
 * when the cancellation arrived, the call returns its result, even a failure.
 *
 * Returns the function's result, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, -EAGAIN (no thread
 * could be started), ROTA_ECLOSED (the loop is ending and has closed its pool). */
#define rota_to_thread(fn, arg) rota_executor_run(NULL, fn, arg)

/* Runs fn(arg) in `executor`, as rota_to_thread does in the default pool. NULL selects the loop's
 * default pool, which is made when it is first used. A process pool returns -ENOTSUP: it needs a
 * copy of the argument. */
ROTA_SUSPENDS int rota_executor_run(rota_executor *executor, rota_fn *fn, void *arg);

/* Runs fn(copy) on a copy of the `size` bytes at `arg`, in a thread pool or a process pool. When
 * the function has returned, the bytes are copied back to `arg` and the function's result is
 * returned. If `size` is 0 the function must not read through its pointer.
 *
 * If the caller is cancelled or timed out while the function runs, the call returns at once and
 * leaves `arg` unchanged. A thread then runs the function to its end; a worker process is killed.
 * If the function has already returned, the call returns its result and copies the bytes back. So
 * `arg` is written exactly when the call returns the function's result.
 *
 * Returns as rota_executor_run does; with a process pool also ROTA_ECRASHED (the worker died;
 * rota_error says how), ROTA_ELIMIT (`size` exceeds the pool's `copy_limit`), or an error of
 * fork(2) or socketpair(2). */
ROTA_SUSPENDS int rota_executor_run_copy(rota_executor *executor, rota_fn *fn, void *arg,
                                         size_t size);

/* ---- Jobs: submit now, wait later ---- */

struct rota__work {
    struct rota__list node;
    struct rota__work *next;
    rota_executor *executor;
    rota_fn *fn;
    void *arg;
    /* NULL: abandoned. */
    struct rota_job *job;
    /* The thread or worker that runs it. */
    void *runner;
    int result;
    /* Error record of a failed result. */
    struct rota__error *error;
    int state;
    /* The function has returned, and the copy is to be copied back. */
    bool returned;
};

/* A job in your storage. The storage must stay valid until the job is done, and be released by
 * rota_job_fini. ROTA_SCOPED ensures both.
 *
 *     ROTA_SCOPED(rota_job) job = {.copy = sizeof request, .discard = request_discard}; */
typedef struct rota_job {
    /* If not 0, the job works on a copy of this many bytes of the argument, and can be
     * abandoned. */
    size_t copy;
    /* Only with `copy`, in a thread pool: releases what the function left in the copy, if the job
     * was abandoned after it had begun. May be called on any thread. */
    void (*discard)(void *copy);
    /* Becomes complete with the job's result. Once the job was submitted, use it with rota_wait and
     * rota_future_on_done. */
    rota_future done;
    struct rota__work *_work;
    struct rota__work _own;
    void *_arg;
    /* Error record of a failed result. */
    struct rota__error *_error;
} rota_job;

#ifdef __cplusplus
#define ROTA_JOB_INIT \
    {                 \
    }
#else
#define ROTA_JOB_INIT \
    {                 \
        0             \
    }
#endif

/* Hands fn(arg) to the executor (NULL: the loop's default pool). `arg` is borrowed until the job is
 * done. Jobs begin in the order in which they were submitted. A job that is done may be submitted
 * again.
 *
 * Suspends only if the executor has a `queue` limit and has reached it, until another job is done;
 * waiting tasks are served first come, first served.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ECLOSED, ROTA_ETHREAD, -EBUSY (the job is
 * already submitted and not done), -ENOMEM, -EAGAIN (no thread could be started), -ENOTSUP (a
 * process pool needs `copy`), ROTA_ELIMIT (`copy` exceeds the pool's `copy_limit`). After an error
 * nothing was submitted. */
ROTA_SUSPENDS int rota_executor_submit(rota_executor *executor, rota_fn *fn, void *arg,
                                       rota_job *job);

/* Waits for the job and returns its result. If the caller is cancelled or timed out, it cancels the
 * job as rota_job_cancel does, waits for a function that still runs on the caller's memory, and
 * returns -ECANCELED or -ETIMEDOUT; but if the job succeeded nevertheless, it returns the job's
 * result. Other tasks may wait for `job->done` meanwhile.
 *
 * Also returns -EINVAL (the job was never submitted), ROTA_ENOTASK, ROTA_ETHREAD. */
ROTA_SUSPENDS int rota_job_wait(rota_job *job);

/* Ends the job with -ECANCELED: withdraws it if it has not begun, and abandons it if it works on a
 * copy. Does not suspend.
 *
 * Returns 0, -EALREADY (the job was done, or never submitted), -EBUSY (the function is running on
 * your memory; the job ends when it returns), -EINPROGRESS (the function has returned; the job ends
 * with its result in the next turn of the loop), ROTA_ETHREAD. After -EBUSY and -EINPROGRESS the
 * storage of the job must stay valid until the job is done. */
ROTA_API int rota_job_cancel(rota_job *job);

/* Returns a text for the job's failure: the text that its function set by rota_error_set, or for
 * example "worker 4711 was ended by signal 11 (Segmentation fault)". Empty if there is nothing to
 * add to the result code. Valid until the job is submitted again or released. */
ROTA_API const char *rota_job_error(const rota_job *job);

/* Cancels the job if it is not done, and waits until its storage is no longer in use. ROTA_SCOPED
 * calls this. Shields itself. Does nothing to a job that was never submitted. */
ROTA_SUSPENDS_SHIELDED void rota_job_fini(rota_job *job);
ROTA_DEFINE_SCOPED(rota_job, rota_job_fini);

/* ---- Secrets ---- */

/* Memory that worker processes of a pool must not have, such as a key. Workers are forked from the
 * program; without this, a job that is exploited or crashes could disclose the secret.
 *
 *     static unsigned char key[32];
 *     static rota_secret secret = {.ptr = key, .len = sizeof key};
 *     ...
 *     rota_secret_add(&secret);
 *
 * Each new worker, before it runs jobs, calls `forget` if it is set, and then overwrites the bytes
 * with zeros. Both act on the worker's own copy of the memory, so do not name memory that processes
 * share. Children that you fork yourself and the processes of rota_run_worker_processes keep all
 * secrets. */
typedef struct rota_secret {
    /* The secret bytes; may be NULL if `len` is 0. */
    void *ptr;
    size_t len;
    /* Optional. Releases what overwriting bytes cannot, such as handles of a library. It runs in
     * the worker, where only the calling thread exists: do not touch objects that another thread
     * may have been changing or may have locked at the moment of the fork. rota-tls frees the
     * connections of the forking thread's loop here; those of other threads' loops stay, with the
     * keys that they use. */
    void (*forget)(struct rota_secret *secret);
    struct rota__list _node;
} rota_secret;

/* Registers a secret. The structure stays in your storage and must be removed before that storage
 * is released. May be called on any thread. */
ROTA_API void rota_secret_add(rota_secret *secret);
/* Removes a secret. Does nothing if it was not added. It does not overwrite the bytes; use
 * explicit_bzero(3). May be called on any thread. */
ROTA_API void rota_secret_remove(rota_secret *secret);

/* ---- For jobs ---- */

/* Blocks the calling thread for `duration`, as sleep(3) does. Use it in jobs. In a job of a loop
 * with a virtual clock it waits on that clock instead: time stands still while a job computes, and
 * jumps when all running jobs are in this call. Called on a loop's own thread it holds up the loop,
 * as any blocking call does. */
ROTA_API void rota_blocking_sleep(rota_time duration);

#ifdef __cplusplus
}
#endif

#endif
