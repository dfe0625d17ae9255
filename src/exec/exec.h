/* What the two kinds of executor share: jobs, admission, the end. */
#ifndef ROTA__EXEC_EXEC_H
#define ROTA__EXEC_EXEC_H

#include "task/task.h"

#include <rota/exec.h>

enum rota__work_state {
    ROTA__WORK_QUEUED,
    ROTA__WORK_RUNNING,
    ROTA__WORK_FINISHED,
    ROTA__WORK_ORPHANED /* abandoned by an executor that is gone: its thread frees it */
};

struct rota__executor_kind {
    bool needs_copy;
    /* Queues work. 0 or an error. */
    int (*start)(rota_executor *executor, struct rota__work *work);
    /* True: the work had not begun, and now never will. */
    bool (*withdraw)(rota_executor *executor, struct rota__work *work);
    /* Takes out the first work that has not begun, or NULL. */
    struct rota__work *(*take_queued)(rota_executor *executor);
    /* The work runs, and its result is no longer wanted. True: the executor has nothing more to do
     * with it; false: it will be finished like any other. */
    bool (*abandon)(rota_executor *executor, struct rota__work *work);
    /* Under a virtual clock: whether something computes, so that time has to stand still. */
    bool (*computes)(rota_executor *executor);
    /* Nothing is queued and nothing runs: updates the hold and ends the threads or workers. May
     * suspend in a task, shielded; then the executor may be freed meanwhile. */
    void (*stop)(rota_executor *executor);
    void (*free)(rota_executor *executor);
};

struct rota_executor {
    const struct rota__executor_kind *kind;
    struct rota__loop *loop; /* NULL once that has ended */
    struct rota__list node;  /* among the loop's executors */
    size_t outstanding;      /* admitted and not finished, abandoned ones included */
    size_t limit;            /* of that */
    size_t copy_limit;
    struct rota__list abandoned; /* work that runs on after its job was given up */
    size_t abandoned_count;
    struct rota__list room; /* tasks that wait to submit */
    unsigned drivers;       /* tasks of the executor's own that use it */
    /* Complete when it is closing, nothing is outstanding and no driver left. */
    rota_future drained;
    bool closing, stopped;
    bool ownerless; /* freed where nothing could be waited for: the loop frees it */
    bool holds;     /* the loop waits for us */
};

/* Initialises the common part, and adds the executor to this thread's loop. `runners` is how many
 * jobs can run at once, `queue` how many more may be outstanding (0: any number). 0 or an error. */
int rota__executor_init(rota_executor *executor, const struct rota__executor_kind *kind,
                        unsigned runners, size_t queue, size_t copy_limit);
/* On the loop's thread: the work has ended with `work->result`. It may be freed here. */
void rota__work_finish(struct rota__work *work);
/* Frees work whose job is gone, and what its function left. Reports its failure. Any thread. */
void rota__work_discard(struct rota__work *work);
/* Reports a failure that no caller will read. Any thread. */
void rota__job_report_lost(int result, const struct rota__error *error);
/* On the loop's thread: one of its drivers is about to end and uses the executor no more. */
void rota__executor_driver_left(rota_executor *executor);
/* To be called when what kind->computes says may have changed. */
void rota__executor_update_hold(rota_executor *executor);

/* rota_executor_run, where reports say what kind of job it is; `kind->abort` is
 * rota__future_abort. */
int rota__executor_run(rota_executor *executor, rota_fn *fn, void *arg,
                       const struct rota__wait_kind *kind);

/* For tests: how often a thread pool has collected finished work, and how many of its threads
 * sleep. */
uint64_t rota__thread_pool_batches(rota_executor *executor);
unsigned rota__thread_pool_idle(rota_executor *executor);

/* How many processors this process may use. */
unsigned rota__processors(void);

/* How rota_blocking_sleep sleeps on this thread. */
struct rota__sleeper {
    void (*sleep)(struct rota__sleeper *sleeper, rota_time duration);
};
extern __thread struct rota__sleeper *rota__sleeper_here
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

/* ---- The wire between a process pool and its workers. Both ends are the same program, so fields
 * are sent as they are in memory. ---- */

enum rota__frame_kind {
    ROTA__FRAME_CALL,     /* to the worker; bytes follow */
    ROTA__FRAME_RESULT,   /* from it; bytes follow */
    ROTA__FRAME_SLEEP,    /* from it: wait on the loop's clock, then send this back */
    ROTA__FRAME_NO_MEMORY /* from it: it could not get memory, and ends */
};

struct rota__frame {
    _Alignas(max_align_t) int kind;
    int result;
    rota_fn *fn;
    size_t size;  /* bytes that follow a call or a result */
    size_t words; /* bytes of a failure's text, which follow those of a result */
    rota_time duration;
};

/* The text of a failure has fewer bytes. */
#define ROTA__FRAME_WORDS 512

/* Work on a copy: one allocation, sent to a worker as it stands from `frame` on. */
struct rota__copied {
    struct rota__work work;
    void (*discard)(void *copy);
    struct rota__frame frame;
    char bytes[];
};

static inline struct rota__copied *rota__copied_of(struct rota__work *work)
{
    return rota__container_of(work, struct rota__copied, work);
}

/* In a worker: forgets what rota_secret_add was told of. */
void rota__secrets_forget(void);

/* Runs in the child after fork, with all signals blocked; serves jobs from `fd` until that is
 * closed. */
_Noreturn void rota__worker_main(int fd, pid_t parent, bool virtual_clock, size_t copy_limit);

#endif
