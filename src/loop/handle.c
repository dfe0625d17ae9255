/* Callbacks: a handle is idle, in the ready queue, or armed as a timer. */
#include "loop/loop.h"

enum { IDLE, READY, ARMED };

static void handle_run(struct rota__item *item)
{
    rota_handle *handle = rota__container_of(item, rota_handle, _item);
    handle->_state = IDLE;
    handle->_fn(handle, handle->_arg);
}

static void handle_fire(struct rota__timer *timer)
{
    rota_handle *handle = rota__container_of(timer, rota_handle, _timer);
    handle->_state = READY;
    rota__loop_ready(handle->_loop, &handle->_item);
}

static void handle_set(struct rota__loop *loop, rota_handle *handle, rota_handle_fn *fn, void *arg)
{
    rota_handle_cancel(handle);
    handle->_item.run = handle_run;
    handle->_loop = loop;
    handle->_fn = fn;
    handle->_arg = arg;
}

void rota_loop_call_soon(rota_loop *loop, rota_handle *handle, rota_handle_fn *fn, void *arg)
{
    struct rota__loop *here = rota__loop_mine(loop, "rota_loop_call_soon");
    if (!here)
        return;
    handle_set(here, handle, fn, arg);
    handle->_state = READY;
    rota__loop_ready(here, &handle->_item);
}

static void call_at(struct rota__loop *loop, rota_handle *handle, rota_time when,
                    rota_handle_fn *fn, void *arg)
{
    handle_set(loop, handle, fn, arg);
    if (when == ROTA_NEVER)
        return;
    handle->_state = ARMED;
    handle->_timer.deadline = when;
    handle->_timer.fire = handle_fire;
    rota__timer_arm(&loop->timers, &handle->_timer);
}

void rota_loop_call_at(rota_loop *loop, rota_handle *handle, rota_time when, rota_handle_fn *fn,
                       void *arg)
{
    struct rota__loop *here = rota__loop_mine(loop, "rota_loop_call_at");
    if (here)
        call_at(here, handle, when, fn, arg);
}

void rota_loop_call_later(rota_loop *loop, rota_handle *handle, rota_time delay, rota_handle_fn *fn,
                          void *arg)
{
    struct rota__loop *here = rota__loop_mine(loop, "rota_loop_call_later");
    rota_time when;
    if (!here)
        return;
    if (__builtin_add_overflow(rota__loop_time(here), delay, &when))
        when = delay > 0 ? ROTA_NEVER : 0;
    call_at(here, handle, when, fn, arg);
}

void rota_handle_cancel(rota_handle *handle)
{
    if (handle->_state == IDLE || rota__loop_check(handle->_loop, "rota_handle_cancel") < 0)
        return;
    if (handle->_state == READY)
        rota__list_remove(&handle->_item.node);
    else if (handle->_state == ARMED)
        rota__timer_cancel(&handle->_loop->timers, &handle->_timer);
    handle->_state = IDLE;
}

static void drop_ready(struct rota__list *list)
{
    struct rota__list *node;
    while ((node = rota__list_take_first(list))) {
        struct rota__item *item = rota__container_of(node, struct rota__item, node);
        if (item->run == handle_run)
            rota__container_of(item, rota_handle, _item)->_state = IDLE;
    }
}

void rota__loop_drop_handles(struct rota__loop *loop)
{
    struct rota__timer *timer;
    while ((timer = rota__timers_pop(&loop->timers, ROTA_NEVER)))
        if (timer->fire == handle_fire)
            rota__container_of(timer, rota_handle, _timer)->_state = IDLE;
    drop_ready(&loop->running);
    drop_ready(&loop->ready);
}

bool rota_handle_pending(const rota_handle *handle)
{
    return handle->_state != IDLE;
}
