/* Running a function on another loop: a call in the caller's storage travels there and comes back.
 *
 *     RUNNING --call_ended--> ENDED, the reply is posted
 *     RUNNING --far_abort (the caller is cancelled)--> CANCELLING, a cancellation is posted
 *     CANCELLING --call_cancel--> RUNNING, the task is cancelled; or ENDED, if it had ended
 *     meanwhile
 *
 * 1. The caller waits for the reply whatever happens, so its storage may hold the call.
 * 2. Only the caller makes it CANCELLING, and at most once; only the target's thread does anything
 *    else. So no post is on its way when the reply is.
 * 3. A call is in the target's far_calls while its task is there. What is left there when the loop
 *    ends (a task that stayed stuck) is answered then. */
#include "task/task.h"

#include <semaphore.h>

enum { RUNNING, CANCELLING, ENDED };

struct far_call {
    struct rota__post start, cancel, reply;
    rota_loop *target;
    rota_loop *home; /* the caller's; NULL: it is a thread that blocks */
    rota_fn *fn;
    void *arg;
    const rota_site *site;
    atomic_int state;
    int result;
    struct rota__error *error; /* its text */
    /* On the target's thread. */
    rota_task *task; /* NULL: it has ended */
    struct rota__watcher watcher;
    struct rota__list node;
    /* On the caller's. */
    struct rota__wait wait;
    bool cancelled;
    sem_t replied;
};

/* ---- On the target's thread */

static void call_reply(struct far_call *call)
{
    if (call->home)
        rota__loop_post(call->home, &call->reply);
    else
        sem_post(&call->replied);
}

static void call_ended(struct far_call *call, int result, struct rota__error *error)
{
    int running = RUNNING;
    call->task = NULL;
    call->result = result;
    call->error = rota__error_ref(error);
    if (atomic_compare_exchange_strong(&call->state, &running, ENDED))
        call_reply(call);
}

/* A task that was cancelled because its loop ends has not been asked to by the caller. */
static void call_task_ended(struct rota__watcher *watcher)
{
    struct far_call *call = rota__container_of(watcher, struct far_call, watcher);
    struct rota__error *error = call->task->done._error;
    int result = call->task->done._result;
    rota__list_remove(&call->node);
    if (result == -ECANCELED && rota__loop_here->ending)
        call_ended(call, ROTA_ECLOSED, NULL);
    else
        call_ended(call, result, result < 0 ? error : NULL);
}

static void call_start(struct rota__post *post, struct rota__loop *loop)
{
    struct far_call *call = rota__container_of(post, struct far_call, start);
    rota_task *task =
        loop->ending ? NULL : rota__task_new(loop, call->fn, call->arg, 0, call->site);
    if (!task) {
        call_ended(call, loop->ending ? ROTA_ECLOSED : -ENOMEM, NULL);
        return;
    }
    task->read = true;
    call->task = task;
    call->watcher.notify = call_task_ended;
    rota__list_append(&rota_task_future(task)->_watchers, &call->watcher.node);
    rota__list_append(&loop->far_calls, &call->node);
}

static void call_cancel(struct rota__post *post, struct rota__loop *loop)
{
    (void)loop;
    struct far_call *call = rota__container_of(post, struct far_call, cancel);
    if (!call->task) {
        call_reply(call);
        return;
    }
    atomic_store(&call->state, RUNNING);
    rota_task_cancel(call->task);
}

void rota__far_calls_abandon(struct rota__loop *loop)
{
    struct rota__list *node;
    while ((node = rota__list_take_first(&loop->far_calls)))
        call_ended(rota__container_of(node, struct far_call, node), ROTA_ECLOSED, NULL);
}

/* ---- On the caller's */

static void call_replied(struct rota__post *post, struct rota__loop *loop)
{
    (void)loop;
    rota__wake(&rota__container_of(post, struct far_call, reply)->wait, 0);
}

/* A target that has closed has also ended the call, and left it to call_cancel to say so. */
static void far_abort(struct rota__wait *wait, int reason)
{
    (void)reason;
    struct far_call *call = rota__container_of(wait, struct far_call, wait);
    int running = RUNNING;
    if (call->cancelled)
        return;
    call->cancelled = true;
    if (!atomic_compare_exchange_strong(&call->state, &running, CANCELLING))
        return;
    if (rota__loop_post(call->target, &call->cancel) < 0)
        rota__wake(&call->wait, 0);
}

static const struct rota__wait_kind far_kind = {"task on another loop", far_abort};

static int run_from_task(struct far_call *call)
{
    const struct rota__fiber *here = rota__fiber_here();
    int err = rota__loop_post_from_outside(call->target, &call->start);
    if (err < 0)
        return err;
    rota_loop_hold_threadsafe(call->home);
    rota__park(&call->wait, &far_kind, NULL);
    rota_loop_release_threadsafe(call->home);
    if (call->result < 0)
        rota__error_give(call->error);
    return call->result == -ECANCELED && here->interrupt ? here->interrupt : call->result;
}

static int run_from_thread(struct far_call *call)
{
    sem_init(&call->replied, 0, 0);
    int err = rota__loop_post_from_outside(call->target, &call->start);
    while (err == 0 && sem_wait(&call->replied) < 0)
        continue;
    sem_destroy(&call->replied);
    if (err == 0 && call->result < 0)
        rota__error_give(call->error);
    return err < 0 ? err : call->result;
}

int rota_run_on_at(rota_loop *loop, rota_fn *fn, void *arg, const rota_site *site)
{
    int err = rota__loop_here ? rota__suspend_check() : 0;
    if (err < 0)
        return err;
    struct far_call call = {
        .start.run = call_start,
        .cancel.run = call_cancel,
        .reply.run = call_replied,
        .target = loop,
        .home = rota__handle_here,
        .fn = fn,
        .arg = arg,
        .site = site,
    };
    return call.home ? run_from_task(&call) : run_from_thread(&call);
}
