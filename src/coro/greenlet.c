/* The public coroutines: rota_coro over rota__coro, with values, parents and cancellation.
 *
 * A coroutine is
 *   new        -> running: the first rota_coro_switch to it; -> dead: rota_coro_cancel
 *   running    -> stopped: rota_coro_switch, rota_coro_cancel of another; -> dead: its function returns
 *   stopped    -> running: somebody switches to it, its child ends, or rota_coro_cancel
 *   dead       -> freed: rota_coro_free
 *
 * Coroutines run on top of a host: the thread's own stack, a task or a generator, whichever switched to
 * the first of them. The handle `root` stands for the host, whoever that is; to switch to it is to
 * continue one's own host. So each task of a thread may use coroutines, and one that suspends the task
 * stays `running` while other tasks run.
 *
 * Invariants:
 *   1. A parent is alive: who ends leaves its children to its own parent, and the root never ends.
 *   2. A running coroutine has a host, the one it returns to.
 *   3. A coroutine that waits in rota_coro_cancel (`waits`) is continued by the end of the one that it
 *      cancels and by nothing else; both have the same host.
 *   4. The structure lies at the top of its own stack, so the stack goes when the handle is freed. */
#include "base/list.h"
#include "base/log.h"
#include "coro/coro.h"

#include <rota/coro.h>

#include <stdint.h>

/* The stack below the coroutines, and where its pending call wants the value. */
struct host {
    struct rota__coro *coro;
    void **ret_value;
};

struct rota_coro {
    struct host host;
    void **ret_value; /* of its pending call */
    void *first;      /* the value of the first switch to it */
    rota_coro *root;  /* of its thread */
    rota_coro *parent;
    rota_coro *canceller; /* continues instead of the parent at the end */
    struct rota__list children, sibling;
    rota_coro_fn *fn;
    void *arg;
    bool started, running, waits, dead;
    struct rota__coro own;
};

static __thread rota_coro root_of_thread;

static rota_coro *root_get(void)
{
    rota_coro *root = &root_of_thread;
    if (!root->root) {
        root->root = root;
        rota__list_init(&root->children);
    }
    return root;
}

static bool is_root(const rota_coro *coro)
{
    return coro == coro->root;
}

static rota_coro *current(void)
{
    rota_coro *coro = rota__coro_current()->handle;
    return coro ? coro : root_get();
}

static void adopt(rota_coro *parent, rota_coro *child)
{
    child->parent = parent;
    rota__list_append(&parent->children, &child->sibling);
}

static void end(rota_coro *coro)
{
    struct rota__list *node;
    coro->dead = true;
    while ((node = rota__list_take_first(&coro->children)))
        adopt(coro->parent, rota__container_of(node, rota_coro, sibling));
    rota__list_remove(&coro->sibling);
}

/* Readies `to` to run on that host; returns the stack to switch to. */
static inline struct rota__coro *enter(rota_coro *to, struct host host, void *value, int result)
{
    void **ret_value = is_root(to) ? host.ret_value : to->ret_value;
    if (ret_value && result == 0)
        *ret_value = value;
    if (is_root(to))
        return host.coro;
    if (!to->started)
        to->first = value;
    to->host = host;
    to->started = to->running = true;
    return &to->own;
}

/* Stops `from`, whose call stores the value that comes back in `ret_value`, and continues `to`, whose
 * call returns `result`. What follows the switch is done by the one who switches back: so this is a
 * jump to the end of the caller's caller, and no return is mispredicted. */
static inline int leave_for(rota_coro *from, void **ret_value, rota_coro *to, void *value,
                            int result)
{
    struct host host = from->host;
    if (is_root(from))
        host = (struct host){rota__coro_current(), ret_value};
    from->ret_value = ret_value;
    from->running = false;
    return rota__coro_switch(enter(to, host, value, result), result);
}

/* An ancestor may be running or waiting on another host; then it cannot continue here. */
static rota_coro *heir(const rota_coro *coro)
{
    if (coro->canceller)
        return coro->canceller;
    rota_coro *parent = coro->parent;
    while (parent->running || parent->waits)
        parent = parent->parent;
    return parent;
}

static void run(void *arg)
{
    rota_coro *coro = arg;
    void *result = coro->fn(coro->arg, coro->first);
    end(coro);
    rota_coro *next = heir(coro);
    coro->running = next->waits = false;
    rota__coro_exit(enter(next, coro->host, result, 0), 0);
}

int rota_coro_new(rota_coro_fn *fn, void *arg, rota_coro **ret_coro)
{
    struct rota__stack *stack;
    int err = rota__thread_stack_take(&stack);
    if (err < 0)
        return err;
    rota_coro *coro = (rota_coro *)(((uintptr_t)stack->top - sizeof *coro) & ~(uintptr_t)63);
    *coro = (rota_coro){.root = root_get(), .fn = fn, .arg = arg};
    rota__list_init(&coro->children);
    adopt(current(), coro);
    rota__coro_init(&coro->own, stack, coro, run, coro);
    coro->own.handle = coro;
    *ret_coro = coro;
    return 0;
}

int rota_coro_switch(rota_coro *to, void *value, void **ret_value)
{
    rota_coro *from = current();
    if (to->root != from->root)
        return ROTA_ETHREAD;
    if (from->canceller)
        return -ECANCELED;
    if (to->dead)
        return -ESRCH;
    if (to == from)
        return -EINVAL;
    if (to->running || to->waits)
        return -EBUSY;
    return leave_for(from, ret_value, to, value, 0);
}

int rota_coro_cancel(rota_coro *coro)
{
    rota_coro *self = current();
    if (coro->root != self->root)
        return ROTA_ETHREAD;
    if (coro->dead)
        return 0;
    if (coro == self || is_root(coro))
        return -EINVAL;
    if (coro->running || coro->waits)
        return -EBUSY;
    if (!coro->started) {
        end(coro);
        return 0;
    }
    coro->canceller = self;
    self->waits = !is_root(self);
    return leave_for(self, NULL, coro, NULL, -ECANCELED);
}

bool rota_coro_dead(const rota_coro *coro)
{
    return coro->dead;
}

rota_coro *rota_coro_current(void)
{
    return current();
}

rota_coro *rota_coro_free(rota_coro *coro)
{
    if (!coro)
        return NULL;
    int err = rota_coro_cancel(coro);
    if (err < 0) {
        rota_log(ROTA_LOG_ERROR, "a coroutine was not freed: %s", rota_strerror(err));
        return NULL;
    }
    struct rota__stack *stack = coro->own.stack;
    rota__coro_fini(&coro->own);
    rota__thread_stack_give(stack);
    return NULL;
}
