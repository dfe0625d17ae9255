/* Inside worker: what threads and processes share. */
#ifndef ROTA__WORKER_WORKER_H
#define ROTA__WORKER_WORKER_H

#include "task/task.h"

#include <rota/worker.h>

#include <stdatomic.h>

#define ROTA__WORKERS_MAX 4096
#define ROTA__WORKER_PORTS 64
/* Bytes of a failure's text. */
#define ROTA__WORKER_WORDS 512

/* The ports that were asked for as 0, by the order of asking; 0: no worker has asked yet. Shared by
 * all workers, which may be processes. */
struct rota__worker_ports {
    _Atomic(int) port[ROTA__WORKER_PORTS];
};

struct rota__workers;

/* What a worker process tells its supervisor. */
struct rota__worker_report {
    pid_t supervisor;
    _Atomic(int) result; /* ROTA__WORKER_RUNS, or 0, or an error */
    atomic_bool stopped; /* its main was cancelled */
    atomic_bool listens;
    char words[ROTA__WORKER_WORDS]; /* of the error; written before it */
};

#define ROTA__WORKER_RUNS 1

/* Which worker a thread is. */
struct rota__worker_place {
    int index;
    unsigned count;
    unsigned asked; /* ports */
    struct rota__worker_ports *ports;
    struct rota__workers *threads;      /* NULL in a worker process */
    struct rota__worker_report *report; /* NULL in a worker thread */
};

/* NULL: none. */
extern __thread struct rota__worker_place *rota__worker_here
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

/* What `n` means: 0 is as many as there are processors. Or -EINVAL. */
int rota__worker_count_of(unsigned n);

/* To be called when fn has returned: whether this main was cancelled. */
static inline bool rota__worker_was_cancelled(void)
{
    return rota_check() == -ECANCELED;
}

#endif
