/* Watches: a POLL operation that is started again after each callback.
 *
 *     waiting  the operation is pending       ready  an event waits for its callback, in the ready
 * queue */
#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "loop/loop.h"

#include <sys/stat.h>

struct rota_watch {
    struct rota__op op;
    struct rota__item item;
    struct rota__list all; /* in loop->watches */
    rota_watch_fn *fn;
    void *arg;
    bool *freed; /* set while the callback runs: tells it that the watch is gone */
};

static void watch_done(struct rota__op *op)
{
    rota__loop_ready(op->loop, &rota__container_of(op, rota_watch, op)->item);
}

static void watch_let_go(struct rota__op *op)
{
    (void)op;
}

static void watch_done_late(struct rota__op *op)
{
    rota_free(rota__container_of(op, rota_watch, op));
}

static bool is_passing(ssize_t result)
{
    return result == -ENOMEM || result == -EAGAIN || result == -EINTR;
}

static void watch_run(struct rota__item *item)
{
    rota_watch *watch = rota__container_of(item, rota_watch, item);
    bool freed = false;
    watch->freed = &freed;
    /* An error of the operation shows when the user tries the descriptor; a lack of memory
     * passes. */
    int events = watch->op.result > 0 ? (int)watch->op.result : ROTA_HANGUP;
    if (!is_passing(watch->op.result))
        watch->fn(watch, events, watch->arg);
    if (freed)
        return;
    watch->freed = NULL;
    if (rota__op_start(&watch->op))
        rota__loop_ready(watch->op.loop, item);
}

int rota__fd_check_pollable(int fd)
{
    struct stat st;
    int err = (int)rota__sys(EBADF, fstat(fd, &st));
    if (err < 0)
        return err;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? -EPERM : 0;
}

int rota_loop_watch(rota_loop *handle, int fd, int events, rota_watch_fn *fn, void *arg,
                    rota_watch **ret_watch)
{
    if (!events || events & ~(ROTA_READABLE | ROTA_WRITABLE))
        return rota__error_plain(-EINVAL);
    struct rota__loop *loop = rota__loop_mine(handle, "rota_loop_watch");
    if (!loop)
        return ROTA_ETHREAD;
    rota_watch *watch = rota_zalloc(sizeof *watch);
    if (!watch)
        return rota__error_plain(-ENOMEM);
    watch->op = (struct rota__op){.kind = ROTA__OP_POLL,
                                  .loop = loop,
                                  .lasting = true,
                                  .poll_fd = fd,
                                  .events = events,
                                  .done = watch_done};
    watch->item.run = watch_run;
    rota__list_init(&watch->item.node);
    watch->fn = fn;
    watch->arg = arg;
    int err = rota__fd_check_pollable(fd);
    bool at_once = err == 0 && rota__op_start(&watch->op);
    if (at_once && watch->op.result < 0)
        err = (int)watch->op.result;
    if (err < 0) {
        rota_free(watch);
        return rota__error_plain(err);
    }
    if (at_once)
        rota__loop_ready(loop, &watch->item);
    rota__list_append(&loop->watches, &watch->all);
    *ret_watch = watch;
    return 0;
}

rota_watch *rota_watch_free(rota_watch *watch)
{
    if (!watch || rota__loop_check(watch->op.loop, "rota_watch_free") < 0)
        return NULL;
    rota__list_remove(&watch->all);
    rota__list_remove(&watch->item.node);
    if (watch->freed)
        *watch->freed = true;
    watch->op.done = watch_let_go;
    rota__op_let_go(&watch->op);
    watch->op.done = watch_done_late;
    if (!watch->op.pending)
        rota_free(watch);
    return NULL;
}

void rota__loop_free_watches(struct rota__loop *loop)
{
    rota__list_each (node, &loop->watches)
        rota_watch_free(rota__container_of(node, rota_watch, all));
}
