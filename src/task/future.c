/* Futures: pending, then done. A waiter or callback is in the list exactly while it is pending. */
#include "base/alloc.h"
#include "task/task.h"

enum { PENDING, PENDING_THREADSAFE, DONE };

void rota_future_init(rota_future *future)
{
    rota__list_init(&future->_watchers);
    future->_state = PENDING;
    future->_result = 0;
    future->_loop = rota__loop_here;
}

void rota_future_init_threadsafe(rota_future *future)
{
    rota_future_init(future);
    future->_state = PENDING_THREADSAFE;
    rota_loop_hold_threadsafe(future->_loop);
}

int rota_future_set(rota_future *future, int result)
{
    if (future->_state == DONE)
        return -EALREADY;
    int err = future->_loop ? rota__loop_check(future->_loop, "rota_future_set") : 0;
    if (err < 0)
        return err;
    if (future->_state == PENDING_THREADSAFE)
        rota_loop_release_threadsafe(future->_loop);
    future->_state = DONE;
    future->_result = result;
    struct rota__list *node;
    while ((node = rota__list_take_first(&future->_watchers))) {
        struct rota__watcher *watcher = rota__container_of(node, struct rota__watcher, node);
        watcher->notify(watcher);
    }
    return 0;
}

struct far_set {
    struct rota__post post;
    rota_future *future;
    int result;
};

static void far_set_run(struct rota__post *post, rota_loop *loop)
{
    (void)loop;
    struct far_set s = *rota__container_of(post, struct far_set, post);
    rota__free(rota__container_of(post, struct far_set, post));
    rota_future_set(s.future, s.result);
}

int rota_future_set_threadsafe(rota_future *future, int result)
{
    struct far_set *s = rota__alloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    *s = (struct far_set){{NULL, far_set_run}, future, result};
    rota__loop_post(future->_loop, &s->post);
    return 0;
}

bool rota_future_done(const rota_future *future)
{
    return future->_state == DONE;
}

int rota_future_result(const rota_future *future)
{
    return future->_state == DONE ? future->_result : -EINPROGRESS;
}

/* ---- Waiting for one */

void rota__future_notify(struct rota__watcher *watcher)
{
    struct rota__future_wait *w = rota__container_of(watcher, struct rota__future_wait, watcher);
    rota__wake(&w->wait, w->future->_result);
}

void rota__future_abort(struct rota__wait *wait, int reason)
{
    struct rota__future_wait *w = rota__container_of(wait, struct rota__future_wait, wait);
    rota__list_remove(&w->watcher.node);
    rota__wake(wait, reason);
}

static const struct rota__wait_kind future_kind = {"future", rota__future_abort};

int rota_future_wait(rota_future *future)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    if (future->_state == DONE)
        return future->_result;
    return rota__future_park(future, &future_kind);
}

/* ---- Callbacks */

static void done_run(rota_handle *handle, void *arg)
{
    (void)handle;
    rota_done *done = arg;
    done->_fn(done->_future, done->_arg);
}

static void done_notify(struct rota__watcher *watcher)
{
    rota_done *done = rota__container_of(watcher, rota_done, _watcher);
    rota_loop_call_soon(done->_future->_loop, &done->_handle, done_run, done);
}

void rota_future_on_done(rota_future *future, rota_done *done,
                         void (*fn)(rota_future *future, void *arg), void *arg)
{
    *done = (rota_done){._watcher.notify = done_notify, ._fn = fn, ._arg = arg, ._future = future};
    rota__list_init(&done->_watcher.node);
    if (future->_state == DONE)
        done_notify(&done->_watcher);
    else
        rota__list_append(&future->_watchers, &done->_watcher.node);
}

void rota_done_remove(rota_done *done)
{
    rota__list_remove(&done->_watcher.node);
    rota_handle_cancel(&done->_handle);
}

/* ---- Waiting for several */

#define WATCHERS_ON_STACK 16

struct wait_many {
    struct rota__wait wait;
    struct wait_one *ones;
    size_t n;
    rota_wait_mode mode;
};

struct wait_one {
    struct rota__watcher watcher;
    struct wait_many *many;
};

static bool enough(rota_future *const *futures, size_t n, rota_wait_mode mode, int *ret_done)
{
    int done = 0;
    bool failed = false;
    for (size_t i = 0; i < n; i++) {
        done += futures[i]->_state == DONE;
        failed |= futures[i]->_state == DONE && futures[i]->_result < 0;
    }
    *ret_done = done;
    return (size_t)done == n || (mode == ROTA_FIRST_COMPLETED && done) ||
           (mode == ROTA_FIRST_FAILED && failed);
}

static void many_forget(struct wait_many *many)
{
    for (size_t i = 0; i < many->n; i++)
        rota__list_remove(&many->ones[i].watcher.node);
}

/* Wakes at each completion; the waiter counts. */
static void many_notify(struct rota__watcher *watcher)
{
    struct wait_many *many = rota__container_of(watcher, struct wait_one, watcher)->many;
    if (!many->wait.decided)
        rota__wake(&many->wait, 0);
}

static void many_abort(struct rota__wait *wait, int reason)
{
    many_forget(rota__container_of(wait, struct wait_many, wait));
    rota__wake(wait, reason);
}

static const struct rota__wait_kind many_kind = {"futures", many_abort};

static int wait_loop(rota_future *const *futures, struct wait_many *many)
{
    int done, err = 0;
    for (size_t i = 0; i < many->n; i++) {
        many->ones[i] = (struct wait_one){.watcher.notify = many_notify, .many = many};
        rota__list_init(&many->ones[i].watcher.node);
        if (futures[i]->_state != DONE)
            rota__list_append(&futures[i]->_watchers, &many->ones[i].watcher.node);
    }
    while (!enough(futures, many->n, many->mode, &done) && err == 0) {
        many->wait = (struct rota__wait){0};
        err = rota__park(&many->wait, &many_kind, NULL);
        if (err == 0 && !enough(futures, many->n, many->mode, &done))
            err = rota_check();
    }
    many_forget(many);
    return enough(futures, many->n, many->mode, &done) ? done : err;
}

int rota_wait(rota_future *const *futures, size_t n, rota_wait_mode mode)
{
    int err = n ? rota__suspend_check() : -EINVAL;
    if (err < 0)
        return err;
    struct wait_one few[WATCHERS_ON_STACK];
    struct wait_many many = {.ones = few, .n = n, .mode = mode};
    if (n > WATCHERS_ON_STACK)
        many.ones = rota__alloc_array(n, sizeof *few);
    if (!many.ones)
        return -ENOMEM;
    int result = wait_loop(futures, &many);
    if (many.ones != few)
        rota__free(many.ones);
    return result;
}
