/* Futures: pending, then done. A waiter or callback is in the list exactly while it is pending. */
#include "base/alloc.h"
#include "task/task.h"

void rota_future_init(rota_future *future)
{
    rota__list_init(&future->_watchers);
    future->_state = ROTA__FUTURE_PENDING;
    future->_result = 0;
    future->_loop = rota__handle_here;
    future->_error = NULL;
}

void rota_future_init_threadsafe(rota_future *future)
{
    rota_future_init(future);
    if (!future->_loop)
        return;
    future->_state = ROTA__FUTURE_PENDING_THREADSAFE;
    rota_loop_hold_threadsafe(future->_loop);
}

/* A future that was made before there was a loop belongs to the first that uses it. */
static int future_check(rota_future *future, const char *call)
{
    if (!future->_loop)
        future->_loop = rota__handle_here;
    return rota__loop_mine(future->_loop, call) ? 0 : ROTA_ETHREAD;
}

void rota__future_settle(rota_future *future, int result)
{
    future->_state = ROTA__FUTURE_DONE;
    future->_result = result;
    struct rota__list *node;
    while ((node = rota__list_take_first(&future->_watchers))) {
        struct rota__watcher *watcher = rota__container_of(node, struct rota__watcher, node);
        watcher->notify(watcher);
    }
}

int rota_future_set(rota_future *future, int result)
{
    if (future->_state == ROTA__FUTURE_DONE)
        return rota__error_plain(-EALREADY);
    int err = future_check(future, "rota_future_set");
    if (err < 0)
        return err;
    if (future->_state == ROTA__FUTURE_PENDING_THREADSAFE)
        rota_loop_release_threadsafe(future->_loop);
    rota__future_settle(future, result);
    return 0;
}

struct far_set {
    struct rota__post post;
    rota_future *future;
    int result;
};

static void far_set_run(struct rota__post *post, struct rota__loop *loop)
{
    (void)loop;
    struct far_set s = *rota__container_of(post, struct far_set, post);
    rota_free(rota__container_of(post, struct far_set, post));
    rota_future_set(s.future, s.result);
}

int rota_future_set_threadsafe(rota_future *future, int result)
{
    if (!future->_loop)
        return rota__error_plain(ROTA_ENOTASK);
    struct far_set *s = rota_alloc(sizeof *s);
    if (!s)
        return rota__error_plain(-ENOMEM);
    *s = (struct far_set){{NULL, far_set_run}, future, result};
    int err = rota__loop_post_from_outside(future->_loop, &s->post);
    if (err < 0)
        rota_free(s);
    return err;
}

bool rota_future_done(const rota_future *future)
{
    return future->_state == ROTA__FUTURE_DONE;
}

int rota_future_result(const rota_future *future)
{
    if (future->_state != ROTA__FUTURE_DONE)
        return rota__error_plain(-EINPROGRESS);
    if (future->_result < 0)
        rota__error_give(rota__error_ref(future->_error));
    return future->_result;
}

/* ---- Waiting for one */

/* The future may be gone when the waiter runs, so the text goes with the failure. */
__attribute__((noinline, cold)) static void notify_failed(struct rota__future_wait *w)
{
    rota__wake(&w->wait, w->future->_result);
    rota__error_put(&w->wait.fiber->error, rota__error_ref(w->future->_error));
}

void rota__future_notify(struct rota__watcher *watcher)
{
    struct rota__future_wait *w = rota__container_of(watcher, struct rota__future_wait, watcher);
    if (__builtin_expect(w->future->_result < 0, false))
        notify_failed(w);
    else
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
    if (err == 0)
        err = future_check(future, "rota_future_wait");
    if (err < 0)
        return err;
    if (future->_state != ROTA__FUTURE_DONE)
        return rota__future_park(future, &future_kind);
    if (future->_result < 0)
        rota__error_give(rota__error_ref(future->_error));
    return (int)rota__done_at_once(future->_result);
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
    if (future_check(future, "rota_future_on_done") < 0)
        return;
    if (future->_state == ROTA__FUTURE_DONE)
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
    size_t done;
    bool failed; /* one of those that are done */
};

struct wait_one {
    struct rota__watcher watcher;
    rota_future *future;
    struct wait_many *many;
};

static bool enough(const struct wait_many *many)
{
    return many->done == many->n || (many->mode == ROTA_FIRST_COMPLETED && many->done) ||
           (many->mode == ROTA_FIRST_FAILED && many->failed);
}

static void many_count(struct wait_many *many, const rota_future *future)
{
    many->done++;
    many->failed |= future->_result < 0;
}

/* Until the waiter runs it goes on counting. */
static void many_notify(struct rota__watcher *watcher)
{
    struct wait_one *one = rota__container_of(watcher, struct wait_one, watcher);
    many_count(one->many, one->future);
    if (!one->many->wait.decided && enough(one->many))
        rota__wake(&one->many->wait, 0);
}

static void many_abort(struct rota__wait *wait, int reason)
{
    rota__wake(wait, reason);
}

static const struct rota__wait_kind many_kind = {"futures", many_abort};

static int many_wait(rota_future *const *futures, struct wait_many *many)
{
    for (size_t i = 0; i < many->n; i++) {
        struct wait_one *one = &many->ones[i];
        *one = (struct wait_one){{.notify = many_notify}, futures[i], many};
        rota__list_init(&one->watcher.node);
        if (futures[i]->_state == ROTA__FUTURE_DONE)
            many_count(many, futures[i]);
        else
            rota__list_append(&futures[i]->_watchers, &one->watcher.node);
    }
    bool at_once = enough(many);
    int err = at_once ? 0 : rota__park(&many->wait, &many_kind, NULL);
    for (size_t i = 0; i < many->n; i++)
        rota__list_remove(&many->ones[i].watcher.node);
    int result = enough(many) ? (int)many->done : err;
    return at_once ? (int)rota__done_at_once(result) : result;
}

int rota_wait(rota_future *const *futures, size_t n, rota_wait_mode mode)
{
    int err =
        n ? rota__suspend_check() : rota__invalid_argument("wait for futures: there are none");
    for (size_t i = 0; i < n && err == 0; i++)
        err = future_check(futures[i], "rota_wait");
    if (err < 0)
        return err;
    struct wait_one few[WATCHERS_ON_STACK];
    struct wait_many many = {.ones = few, .n = n, .mode = mode};
    if (n > WATCHERS_ON_STACK)
        many.ones = rota__alloc_array(n, sizeof *few);
    if (!many.ones)
        return rota__error_plain(-ENOMEM);
    int result = many_wait(futures, &many);
    if (many.ones != few)
        rota_free(many.ones);
    return result;
}
