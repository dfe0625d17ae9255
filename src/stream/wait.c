/* Waiting for descriptors that rota does not own. */
#include "sync/sync.h"

#include <rota/stream.h>

static const struct rota__wait_kind waiting = {"descriptor", rota__op_abort};

static int check_wait(int fd, int events)
{
    int err = !events || events & ~(ROTA_READABLE | ROTA_WRITABLE) ? -EINVAL
                                                                   : rota__fd_check_pollable(fd);
    return err < 0 ? rota_error_set(err, "wait for descriptor %d: %s", fd, rota_strerror(err)) : 0;
}

int rota_fd_wait(int fd, int events)
{
    int err = rota__suspend_check();
    if (err == 0)
        err = check_wait(fd, events);
    if (err < 0)
        return err;
    struct rota__op op = {
        .kind = ROTA__OP_POLL, .loop = rota__loop_here, .poll_fd = fd, .events = events};
    return (int)rota__op_await(&op, &waiting);
}

/* ---- A descriptor or an event: one wait, which is in the event's list and belongs to an
 * operation. The one that decides it takes it out of the list; the operation is ended by the task
 * itself. */

struct fd_or_event {
    struct rota__op op;
    struct rota__waiter in;
};

static void ready_first(struct rota__op *op)
{
    struct fd_or_event *w = rota__container_of(op, struct fd_or_event, op);
    if (w->in.wait.decided)
        return;
    rota__list_remove(&w->in.node);
    rota__wake(&w->in.wait, (int)op->result);
}

static const struct rota__wait_kind waiting_for_either = {"descriptor or event", rota__line_leave};

/* What the operation had achieved when the event came is returned: nothing is lost. */
static int wait_for_either(struct fd_or_event *w, rota_event *event)
{
    w->in.wait.decided = false;
    if (rota__op_start(&w->op))
        return (int)rota__done_at_once(w->op.result);
    rota__line_append(&event->_waiters, &w->in.node);
    int result = rota__park(&w->in.wait, &waiting_for_either, event);
    while (w->op.pending)
        rota__op_let_go(&w->op);
    return w->op.result > 0 ? (int)w->op.result : result;
}

int rota_fd_wait_or(int fd, int events, rota_event *event)
{
    int err = rota__sync_enter(&event->_home, __func__);
    if (err == 0)
        err = check_wait(fd, events);
    if (err < 0)
        return err;
    struct fd_or_event w = {.op = {.kind = ROTA__OP_POLL,
                                   .loop = rota__loop_here,
                                   .poll_fd = fd,
                                   .events = events,
                                   .done = ready_first}};
    int result;
    do {
        /* Also before another try: the event may have been set after the operation had woken us. */
        if (event->_set)
            return (int)rota__done_at_once(0);
        result = wait_for_either(&w, event);
    } while (result == -EAGAIN && (result = rota__suspend_check()) == 0);
    return result;
}
