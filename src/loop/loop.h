/* The loop's inside: what tasks, synchronisation and executors build on. */
#ifndef ROTA__LOOP_LOOP_H
#define ROTA__LOOP_LOOP_H

#include "base/list.h"
#include "coro/coro.h"
#include "loop/op.h"
#include "loop/timer.h"

#include <rota/loop.h>

#include <pthread.h>
#include <stdatomic.h>

struct rota__backend {
    const char *name;
    bool blocking_fds; /* descriptors of ours stay in blocking mode */
    bool takes_files;  /* file operations, too */
    /* Unless it was asked for by name, a backend may refuse where another one would do better. */
    int (*open)(rota_loop *loop, bool asked_for);
    void (*close)(rota_loop *loop);
    bool (*start)(struct rota__op *op);
    void (*withdraw)(struct rota__op *op);
    void (*forget)(struct rota__fd *fd);
    /* Completes what is ready; waits for the first at most `timeout`. 0 or an error. */
    int (*wait)(rota_loop *loop, rota_time timeout);
    /* A descriptor that is readable when wait would complete something; or an error. */
    int (*pollable)(rota_loop *loop);
};

extern const struct rota__backend rota__backend_epoll, rota__backend_uring;

/* A message from another thread. Embedded in what sends it; `run` is called on the loop's thread. */
struct rota__post {
    struct rota__post *next;
    void (*run)(struct rota__post *post, rota_loop *loop);
};

/* What another module keeps with a loop: found by its `type`, closed before the loop goes, last made
 * first. `close` runs in a task of the ending loop and may suspend; without memory for the task it runs
 * outside, all tasks having ended, and may turn the loop. */
struct rota__annex {
    struct rota__list node;
    const void *type;
    void (*close)(struct rota__annex *annex);
};

struct rota_loop {
    uint64_t serial;           /* no other loop of the program has it, nor had */
    struct rota__list running; /* what this turn still has to run */
    struct rota__list ready;   /* what the next turn runs */
    struct rota_task *current; /* NULL in callbacks and outside run */
    struct rota__coro *home;   /* the stack that turns the loop */
    struct rota_task *zombie;  /* ended, still on its stack until the next switch */
    uint64_t resumes;          /* tasks and callbacks run; read by the stall watch */

    size_t pending_ops;                 /* operations that the backend has */
    _Atomic(struct rota__post *) inbox; /* of other threads, newest first */
    bool single_turn;                   /* the caller wants its thread back after this turn */
    bool stopping, in_run;
    uint64_t shuffle; /* state of the random order; 0: first come, first served */

    struct rota__list tasks; /* not ended, oldest first */
    struct rota__stack_pool stacks;
    struct rota_task *main; /* its end stops the loop */
    bool ending;            /* new tasks start cancelled */
    bool abandoned;         /* tasks were left as they stood: what lay on their stacks is gone */
    rota_time trim_at;

    const struct rota__backend *backend;
    void *backend_state;
    atomic_long holds;  /* wake-ups that other threads have promised */
    size_t far_waits;   /* for other threads, who have not promised anything, or for a signal */
    atomic_bool asleep; /* a post has to write wake_fd */
    atomic_bool nudged; /* a hold was taken back since the loop slept */
    atomic_int posting; /* threads that are inside a threadsafe call */
    int wake_fd;

    bool virtual_clock;
    rota_time virtual_now;
    int outer_fd, timer_fd; /* for rota_loop_fd; -1 */
    pthread_t thread;
    rota_time stall_limit;
    struct rota__stall_watch *stall_watch;
    bool turning; /* items run: the loop neither sleeps nor is left; read by the stall watch */
    struct rota__list watches;
    struct rota__list annexes;
    struct rota__list far_calls;   /* tasks that callers on other threads wait for */
    struct rota__list listed;      /* among the loops of the program */
    int (*stuck)(rota_loop *loop); /* nothing can go on though tasks are left; returns the error */
    void (*finish)(rota_loop *loop); /* ends the tasks and annexes before the loop is freed */

    struct rota__timers timers;
};

extern __thread rota_loop *rota__loop_here
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

/* Puts an item at the end of the ready queue. */
static inline void rota__loop_ready(rota_loop *loop, struct rota__item *item)
{
    rota__list_append(&loop->ready, &item->node);
}

/* Stored whole, because the stall watch reads it from its thread. */
static inline void rota__loop_count_resume(rota_loop *loop)
{
    __atomic_store_n(&loop->resumes, loop->resumes + 1, __ATOMIC_RELAXED);
}

/* Watches the loop if its options or ROTA_DEBUG=1 ask for it. 0 or an error. */
int rota__stall_watch_start(rota_loop *loop);
void rota__stall_watch_stop(rota_loop *loop);

/* From any thread, also from a signal handler. Takes no memory. */
void rota__loop_post(rota_loop *loop, struct rota__post *post);

/* For who has a pointer to another thread's loop and no promise that it is still there. The loops of the
 * program are in a list from their making to the beginning of their end. If this one is, returns true
 * and keeps it so until rota__loop_leave: what is posted meanwhile will run. */
bool rota__loop_enter(rota_loop *loop);
void rota__loop_leave(void);
void rota__loop_enlist(rota_loop *loop);
void rota__loop_delist(rota_loop *loop);

/* One turn: poll, timers, run. `timeout` as rota_loop_run_once. */
int rota__loop_turn(rota_loop *loop, rota_time timeout);

/* The turn is used up: takes up the next one without leaving the running stack, if there is nothing
 * but ready items to look at. */
static inline bool rota__loop_next_turn_at_once(rota_loop *loop)
{
    if (loop->pending_ops | loop->timers.count | loop->single_turn | loop->stopping |
        (loop->shuffle != 0) | (atomic_load_explicit(&loop->inbox, memory_order_relaxed) != NULL))
        return false;
    if (rota__list_empty(&loop->ready))
        return false;
    rota__list_splice(&loop->running, &loop->ready);
    return true;
}
/* Whether anything is left that a run has to wait for. */
bool rota__loop_alive(const rota_loop *loop);

void rota__loop_free_watches(rota_loop *loop);
/* Leaves every pending handle idle. No other timer is armed any more. */
void rota__loop_drop_handles(rota_loop *loop);

struct rota__annex *rota__loop_annex(rota_loop *loop, const void *type);
void rota__loop_annex_add(rota_loop *loop, struct rota__annex *annex);

/* For calls that only the loop's thread may make: reports the offence and returns ROTA_ETHREAD. */
int rota__loop_refuse(const char *call);

static inline int rota__loop_check(const rota_loop *loop, const char *call)
{
    return __builtin_expect(rota__loop_here == loop, true) ? 0 : rota__loop_refuse(call);
}

#endif
