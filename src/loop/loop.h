/* The internals of the loop: what tasks, synchronisation and executors build on. */
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
    int (*open)(struct rota__loop *loop, bool asked_for);
    void (*close)(struct rota__loop *loop);
    bool (*start)(struct rota__op *op);
    void (*withdraw)(struct rota__op *op);
    void (*let_go)(struct rota__op *op); /* of POLL */
    void (*forget)(struct rota__fd *fd);
    /* Completes what is ready; waits for the first at most `timeout`. 0 or an error. */
    int (*wait)(struct rota__loop *loop, rota_time timeout);
    /* A descriptor that is readable when wait would complete something; or an error. */
    int (*pollable)(struct rota__loop *loop);
    /* When the loop is left and entered: takes the operations back from the kernel, and submits
     * them again. NULL if any thread may complete them. 0 or an error, and then nothing has
     * changed. */
    int (*leave)(struct rota__loop *loop);
    int (*enter)(struct rota__loop *loop);
};

extern const struct rota__backend rota__backend_epoll, rota__backend_uring;

/* A message from another thread. Embedded in what sends it; `run` is called on the loop's
 * thread. */
struct rota__post {
    struct rota__post *next;
    void (*run)(struct rota__post *post, struct rota__loop *loop);
};

/* An attachment: what another module keeps with a loop. Found by its `type`, closed before the loop
 * is freed, last made first. `close` runs in a task of the ending loop and may suspend; without
 * memory for the task it runs outside, all tasks having ended, and may turn the loop. */
struct rota__annex {
    struct rota__list node;
    const void *type;
    void (*close)(struct rota__annex *annex);
};

/* What a `rota_loop *` points to: all that other threads may touch of a loop. It is never freed or
 * given to another loop, so a pointer to it always stays valid (loops.c). */
struct rota_loop {
    _Atomic(struct rota__post *)
        inbox; /* of other threads, newest first; ROTA__CLOSED at the end */
    _Atomic(struct rota__loop *) inside; /* NULL once the loop has ended */
    atomic_long holds;                   /* wake-ups that other threads have promised */
    _Atomic(uint64_t) thread; /* rota__thread_serial of the one that has it, or had it last */
    atomic_int posting;       /* threads that may be about to write wake_fd */
    int wake_fd;
    atomic_bool asleep;  /* a post has to write wake_fd */
    atomic_bool nudged;  /* a hold was taken back since the loop slept */
    atomic_bool ending;  /* calls from outside are refused */
    atomic_bool entered; /* some thread has it, or it has ended */
};

#define ROTA__CLOSED ((struct rota__post *)1)

/* The loop itself, which only its thread touches. */
struct rota__loop {
    rota_loop *handle;           /* what it is called outside */
    uint64_t serial;             /* no other loop of the program has it, nor had */
    struct rota__list running;   /* what this turn still has to run */
    struct rota__list ready;     /* what the next turn runs */
    struct rota__fiber *current; /* NULL in callbacks and outside run */
    struct rota__coro *home;     /* the stack that turns the loop */
    struct rota__fiber *zombie;  /* ended, still on its stack until the next switch */
    uint64_t resumes;            /* tasks and callbacks run; read by the stall watch */

    size_t pending_ops; /* operations that the backend has */
    bool single_turn;   /* the caller wants its thread back after this turn */
    bool stopping, in_run;
    uint64_t shuffle; /* state of the random order; 0: first come, first served */

    struct rota__list tasks; /* not ended, oldest first */
    /* Ended, with a handle that was not released yet. */
    struct rota__list ended;
    struct rota_task *spare_tasks;  /* for the next spawns */
    struct rota_task *first_tasks;  /* one block of memory, for the loop's first tasks */
    struct rota_task *hidden_tasks; /* of these, for the next spawns, under ASan and valgrind */
    size_t spares_max;              /* how many spare tasks are kept beside these, about */
    struct rota__stack_pool stacks;
    struct rota_task *main; /* its end stops the loop */
    bool ending;            /* new tasks start cancelled */
    bool abandoned;         /* tasks were abandoned: what was on their stacks is gone */
    rota_time trim_at;

    const struct rota__backend *backend;
    void *backend_state;
    size_t far_waits; /* waits for a signal, or for other threads that do not hold the loop */

    bool virtual_clock;
    rota_time virtual_now;
    int outer_fd, timer_fd; /* for rota_loop_fd; -1 */
    void (*on_sleep)(void *arg, bool begins);
    void *on_sleep_arg;
    rota_time stall_limit;
    struct rota__stall_watch *stall_watch;
    bool turning; /* items run: the loop neither sleeps nor is left; read by the stall watch */
    struct rota__list watches;
    struct rota__list annexes;
    struct rota__list far_calls; /* tasks that callers on other threads wait for */
    int (*stuck)(
        struct rota__loop *loop); /* nothing can go on though tasks are left; returns the error */
    void (*finish)(
        struct rota__loop *loop); /* ends the tasks and attachments before the loop is freed */

    struct rota__timers timers;
};

extern __thread struct rota__loop *rota__loop_here
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

/* The same loop's handle. Kept apart, because many calls only compare it. */
extern __thread rota_loop *rota__handle_here
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

/* Puts an item at the end of the ready queue. */
static inline void rota__loop_ready(struct rota__loop *loop, struct rota__item *item)
{
    rota__list_append(&loop->ready, &item->node);
}

/* Stored whole, because the stall watch reads it from its thread. */
static inline void rota__loop_count_resume(struct rota__loop *loop)
{
    __atomic_store_n(&loop->resumes, loop->resumes + 1, __ATOMIC_RELAXED);
}

/* Watches the loop if its options or ROTA_DEBUG=1 ask for it. 0 or an error. */
int rota__stall_watch_start(struct rota__loop *loop);
void rota__stall_watch_stop(struct rota__loop *loop);
/* This thread is the one to look at; none is. */
void rota__stall_watch_enter(struct rota__loop *loop);
void rota__stall_watch_leave(struct rota__loop *loop);

/* Identifies a thread for ever, while a pthread_t is reused. */
uint64_t rota__thread_serial(void);
/* Makes `loop`, which may be NULL, the calling thread's. */
void rota__loop_become_here(struct rota__loop *loop);
/* Makes the loop the calling thread's for its end, also beside another that it has, which then is
 * `ret_before`. NULL: it cannot be had; that was reported. */
struct rota__loop *rota__loop_borrow(rota_loop *handle, struct rota__loop **ret_before);

/* Hands `post` to the loop's thread. From any thread, also from a signal handler; takes no lock and
 * no memory. Returns 0: it will run; or ROTA_ECLOSED: the loop has ended, and the post is the
 * caller's again. Posts of the library's own are taken until the loop has nothing left that could
 * wait for one. */
int rota__loop_post(rota_loop *loop, struct rota__post *post);
/* The same for calls of users, which are refused from the moment at which the loop's tasks have
 * ended. */
int rota__loop_post_from_outside(rota_loop *loop, struct rota__post *post);

/* A handle for a loop that is being made; NULL: no memory. */
rota_loop *rota__handle_new(void);
/* Nobody has seen it. */
void rota__handle_unmake(rota_loop *handle);
/* Closes the inbox if it is empty, waits until no thread uses wake_fd, and returns true. Else
 * returns false. */
bool rota__handle_close(rota_loop *handle);

/* The backend's wait, between the two calls of the hook if it may sleep. */
int rota__loop_wait(struct rota__loop *loop, rota_time timeout);
/* One turn: poll, timers, run. `timeout` as rota_loop_run_once. */
int rota__loop_turn(struct rota__loop *loop, rota_time timeout);

/* The turn is used up: takes up the next one without leaving the running stack, if there is nothing
 * but ready items to look at. */
static inline bool rota__loop_next_turn_at_once(struct rota__loop *loop)
{
    if (loop->pending_ops | loop->timers.count | loop->single_turn | loop->stopping |
        (loop->shuffle != 0) |
        (atomic_load_explicit(&loop->handle->inbox, memory_order_relaxed) != NULL))
        return false;
    if (rota__list_empty(&loop->ready))
        return false;
    rota__list_splice(&loop->running, &loop->ready);
    return true;
}
/* Whether anything is left that a run has to wait for. */
bool rota__loop_alive(const struct rota__loop *loop);

void rota__loop_free_watches(struct rota__loop *loop);
/* Leaves every pending handle idle. No other timer is armed any more. */
void rota__loop_drop_handles(struct rota__loop *loop);

struct rota__annex *rota__loop_annex(struct rota__loop *loop, const void *type);
void rota__loop_annex_add(struct rota__loop *loop, struct rota__annex *annex);

/* For calls that only the loop's thread may make: reports the misuse and returns ROTA_ETHREAD. */
int rota__loop_refuse(const char *call);

static inline int rota__loop_check(const struct rota__loop *loop, const char *call)
{
    return __builtin_expect(rota__loop_here == loop, true) ? 0 : rota__loop_refuse(call);
}

/* The loop that a user means, if it is this thread's; else NULL, and the misuse is reported. */
static inline struct rota__loop *rota__loop_mine(const rota_loop *handle, const char *call)
{
    struct rota__loop *here = rota__loop_here;
    if (__builtin_expect(rota__handle_here == handle && here, true))
        return here;
    rota__loop_refuse(call);
    return NULL;
}

rota_time rota__loop_time(const struct rota__loop *loop);

#endif
