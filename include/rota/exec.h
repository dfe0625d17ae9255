/* exec: functions that block or compute for long, run beside the loop by threads or processes.
 *
 * A task that called such a function itself would hold up every other task. An executor runs it
 * elsewhere, and the task waits as for anything else:
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
 * A job is an ordinary task function `int fn(void *arg)`, except that it must not call what
 * suspends: no task runs it. What it returns is the result of the job.
 *
 * Cancelling. A job that has not begun is withdrawn at once. A function that runs in a thread
 * cannot be stopped, so a task that waits for it goes on waiting: it may be writing to your stack.
 * Give the job a copy of its argument (`copy`, rota_executor_run_copy), and it touches nothing of
 * yours: then it is abandoned at once when its caller is cancelled, and a worker process is killed.
 * If a function fails after its caller was cancelled or timed out, nobody gets that error: the log
 * hook is told.
 *
 * Forking. If a job calls fork(2) and its function returns in the child, the child ends there: with
 * status 0, or 1 if the function failed. Exit handlers do not run.
 *
 * An executor belongs to the loop of the thread that made it, and is used on that thread only. */
#ifndef ROTA_EXEC_H
#define ROTA_EXEC_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_executor rota_executor;

/* ---- Executors ---- */

/* Zero is the default of each field. */
typedef struct rota_thread_pool_options {
    unsigned threads; /* at most; min(32, processors + 4) */
    size_t queue;     /* jobs that may wait for a thread before submitting has to wait; no bound */
    /* Further threads at most, for when jobs hang: while jobs wait and none has begun for 100 ms,
     * and one for each abandoned job that still runs; 0. */
    unsigned extra_threads;
} rota_thread_pool_options;

/* Makes an executor whose jobs run in threads. A thread is started when a job finds none idle, and
 * stays until the executor is closed. `options` may be NULL.
 *
 * Jobs that may hang, such as calls to a server that may be gone, belong in a pool of their own
 * with `extra_threads`: there they hold up neither other jobs nor each other. The extra threads end
 * when no job waits or hangs any more.
 *
 * Signals are blocked in the threads: they arrive at yours.
 *
 * Returns 0, ROTA_ENOTASK (this thread has no loop), -ENOMEM, -EINVAL (more than 4096 threads, or
 * extra threads). */
ROTA_API int rota_thread_pool_new(const rota_thread_pool_options *options,
                                  rota_executor **ret_executor);

typedef struct rota_process_pool_options {
    unsigned workers;  /* at most; the number of processors */
    size_t queue;      /* jobs that may wait for a worker before submitting has to wait; no bound */
    size_t copy_limit; /* bytes of a job's argument at most; 1 MiB */
} rota_process_pool_options;

/* Makes an executor whose jobs run in worker processes, for computations that may crash, that have
 * to be stopped, or that call what is not fit for threads.
 *
 * A worker is forked when a job finds none idle, so it sees the program's memory as it was then,
 * but for what was named by rota_secret_add; it has no loop, no input and no descriptor but 1 and
 * 2, default signal handling except that SIGINT and SIGPIPE are ignored, and 8 MiB of stack. It
 * serves one job after another and ends with the executor or the program, whichever goes first.
 * What a job prints to stdout is flushed when it ends.
 *
 * Jobs need `copy`: the bytes of the argument are sent to the worker, and come back when the
 * function has returned. Pointers in them mean nothing there, except to what already existed in
 * this program.
 *
 * A worker that dies takes its job with it (ROTA_ECRASHED; rota_job_error says how it died) and is
 * replaced when the next job needs one.
 *
 * Returns 0, ROTA_ENOTASK (this thread has no loop), -ENOMEM, -EINVAL (more than 4096 workers). */
ROTA_API int rota_process_pool_new(const rota_process_pool_options *options,
                                   rota_executor **ret_executor);

typedef enum rota_executor_close_mode {
    ROTA_EXECUTOR_DRAIN, /* every job that was submitted still runs */
    ROTA_EXECUTOR_CANCEL /* what has not begun ends with -ECANCELED */
} rota_executor_close_mode;

/* Takes no more jobs (ROTA_ECLOSED, also for those who wait to submit), waits for those that are
 * left, and ends the threads or workers. Shields itself. Abandoned jobs are not waited for: their
 * thread ends when the function returns. Closing again waits for the same end, and CANCEL hastens a
 * DRAIN.
 *
 * Returns 0, ROTA_ENOTASK, ROTA_ETHREAD. */
ROTA_SUSPENDS_SHIELDED int rota_executor_close(rota_executor *executor,
                                               rota_executor_close_mode mode);

/* Closes with CANCEL and frees the executor. Accepts NULL, returns NULL; what
 * ROTA_AUTO(rota_executor) calls. Outside a task it cannot wait: if jobs still run, the end of the
 * loop does the rest. An executor that outlived its loop was closed by it, but is still to be
 * freed. */
ROTA_SUSPENDS_SHIELDED rota_executor *rota_executor_free(rota_executor *executor);
ROTA_DEFINE_AUTO(rota_executor, rota_executor_free);

/* ---- Awaiting a function ---- */

/* Runs fn(arg) in a thread of the loop's default pool, and returns its result.
 *
 * If the caller is cancelled or timed out before the function has begun, it never runs. Once it
 * runs the call returns only when it has returned: its result if that is a success, else -ECANCELED
 * or -ETIMEDOUT. A function that had returned before that has won the race: the call returns its
 * result, a failure, too.
 *
 * Returns the function's result, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, -EAGAIN (no thread
 * could be started), ROTA_ECLOSED (the loop is ending and has closed its pool). */
#define rota_to_thread(fn, arg) rota_executor_run(NULL, fn, arg)

/* Runs fn(arg) in an executor as rota_to_thread does; NULL is the loop's default pool, made when it
 * is first used. A process pool refuses it with -ENOTSUP: it needs a copy. */
ROTA_SUSPENDS int rota_executor_run(rota_executor *executor, rota_fn *fn, void *arg);

/* Runs fn(copy) on a copy of the `size` bytes at `arg`; when it has returned, the bytes are copied
 * back to `arg` and its result is returned. In a thread or a process alike. With a `size` of 0
 * there is nothing to be read at the pointer that the function gets.
 *
 * A caller that is cancelled or timed out while the function runs returns at once and `arg` stays
 * as it was. The function then goes on in its thread unseen; a worker process is killed. If the
 * function has already returned, so does the call, with its result and the bytes copied back: `arg`
 * is written exactly if the result is the function's.
 *
 * Returns what rota_executor_run does; of process pools also ROTA_ECRASHED (the worker died; the
 * log hook is told how), ROTA_ELIMIT (`size` is over the pool's limit) or an error of fork(2) or
 * socketpair(2). */
ROTA_SUSPENDS int rota_executor_run_copy(rota_executor *executor, rota_fn *fn, void *arg,
                                         size_t size);

/* ---- Jobs: submit now, wait later ---- */

struct rota__work {
    struct rota__list node;
    struct rota__work *next;
    rota_executor *executor;
    rota_fn *fn;
    void *arg;
    struct rota_job *job; /* NULL: abandoned */
    void *runner;         /* the thread or worker that has it */
    int result;
    struct rota__error *error; /* words of a failed result */
    int state;
    bool returned; /* the function did, and its copy is to be copied back */
};

/* A job in your storage, which has to stay until it is done and ends with rota_job_fini:
 * ROTA_SCOPED sees to both.
 *
 *     ROTA_SCOPED(rota_job) job = {.copy = sizeof request, .discard = request_discard}; */
typedef struct rota_job {
    size_t copy; /* not 0: the job works on a copy of that many bytes, and can be abandoned */
    /* With `copy`, in a thread: releases what the function left in its copy, if the job was
     * abandoned after it had begun. Called on any thread. */
    void (*discard)(void *copy);
    rota_future done; /* for rota_wait and rota_future_on_done, once it was submitted */
    struct rota__work *_work;
    struct rota__work _own;
    void *_arg;
    struct rota__error *_error; /* words of a failed result */
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
 * Suspends only where the executor has a bound and it is reached, until a job is done; first come,
 * first served.
 *
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ECLOSED, ROTA_ETHREAD, -EBUSY (the job is
 * under way), -ENOMEM, -EAGAIN (no thread could be started), -ENOTSUP (a process pool needs
 * `copy`), ROTA_ELIMIT (`copy` is over the limit). After an error nothing was submitted. */
ROTA_SUSPENDS int rota_executor_submit(rota_executor *executor, rota_fn *fn, void *arg,
                                       rota_job *job);

/* Waits for the job and returns its result. A caller that is cancelled or timed out cancels the job
 * as rota_job_cancel does, waits if it has to, and then returns -ECANCELED or -ETIMEDOUT, or the
 * result if the job succeeded all the same. Others may wait for `job->done` meanwhile.
 *
 * Returns also -EINVAL (it was never submitted), ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_job_wait(rota_job *job);

/* Ends the job with -ECANCELED: withdraws it if it has not begun, abandons it if it has a copy.
 * Does not suspend.
 *
 * Returns 0, -EALREADY (it was done or never submitted), -EBUSY (its function runs on memory of
 * yours; the job ends when it returns), -EINPROGRESS (its function has returned; the job ends with
 * that result in the next turn of the loop), ROTA_ETHREAD. After -EBUSY and -EINPROGRESS the job
 * keeps its storage until it is done. */
ROTA_API int rota_job_cancel(rota_job *job);

/* Returns the words of the job's failure: those of its function's rota_error_set, or "worker 4711
 * was ended by signal 11 (Segmentation fault)". Empty where there is no more to say than its result
 * does. Valid until the job is submitted again or finished. */
ROTA_API const char *rota_job_error(const rota_job *job);

/* Cancels the job if it is under way, and waits until its storage is free; what ROTA_SCOPED calls.
 * Shields itself. Harmless on a job that was never submitted. */
ROTA_SUSPENDS_SHIELDED void rota_job_fini(rota_job *job);
ROTA_DEFINE_SCOPED(rota_job, rota_job_fini);

/* ---- Secrets ---- */

/* Something that worker processes of a pool must not have, such as a key. They are forked from the
 * program, so else a job that is tricked or crashes could give it away.
 *
 *     static unsigned char key[32];
 *     static rota_secret secret = {.ptr = key, .len = sizeof key};
 *     ...
 *     rota_secret_add(&secret);
 *
 * In each new worker, before it runs jobs, `forget` is called (if it is set) and the bytes are
 * overwritten with zeros. Both concern the worker's own copy, so memory that processes share must
 * not be named here. Children that you fork yourself, and the processes of
 * rota_run_worker_processes, keep all secrets. */
typedef struct rota_secret {
    void *ptr; /* may be NULL where `len` is 0 */
    size_t len;
    /* Releases what is not bytes alone. Only the thread that calls it is left: what another thread
     * was in the middle of stays half done, and what it had locked stays locked, so leave that
     * alone. rota-tls frees the connections of the forking thread's loop, and not those of others,
     * which keep the keys that they use. */
    void (*forget)(struct rota_secret *secret);
    struct rota__list _node;
} rota_secret;

/* Adds a secret; it stays in your storage and has to be removed before that goes. Any thread. */
ROTA_API void rota_secret_add(rota_secret *secret);
/* Removes it; harmless if it was not added. Overwrite the bytes yourself (explicit_bzero). Any
 * thread. */
ROTA_API void rota_secret_remove(rota_secret *secret);

/* ---- For jobs ---- */

/* Blocks the calling thread for `duration`: what sleep(3) is for a job. In a job of a loop with a
 * virtual clock it waits on that clock instead: time stands still while a job computes, and jumps
 * when all that run are in this call. On a loop's own thread it holds up the loop, as any blocking
 * call. */
ROTA_API void rota_blocking_sleep(rota_time duration);

#ifdef __cplusplus
}
#endif

#endif
