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

struct rota_coro {
    struct rota__coro *host;
    struct thread *thread;
    rota_coro *parent;
    rota_coro *canceller; /* continues instead of the parent at the end */
    struct rota__list children, sibling;
    rota_coro_fn *fn;
    void *arg;
    bool started, running, waits, dead;
    struct rota__coro own;
};

struct thread {
    rota_coro root;
    void *value; /* in transit */
};

static __thread struct thread this_thread;

static struct thread *thread_get(void)
{
    struct thread *thread = &this_thread;
    if (!thread->root.thread) {
        thread->root.thread = thread;
        rota__list_init(&thread->root.children);
    }
    return thread;
}

static bool is_root(const rota_coro *coro)
{
    return coro == &coro->thread->root;
}

static rota_coro *current(struct thread *thread)
{
    rota_coro *coro = rota__coro_current()->handle;
    return coro ? coro : &thread->root;
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

/* The stack to switch to for `to`, which will run on that host. */
static struct rota__coro *enter(rota_coro *to, struct rota__coro *host, void *value)
{
    to->thread->value = value;
    if (is_root(to))
        return host;
    to->host = host;
    to->started = to->running = true;
    return &to->own;
}

static void leave_for(rota_coro *from, rota_coro *to, void *value)
{
    struct rota__coro *host = is_root(from) ? rota__coro_current() : from->host;
    from->running = false;
    rota__coro_switch(enter(to, host, value), 0);
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
    void *result = coro->fn(coro->arg, coro->thread->value);
    end(coro);
    coro->running = false;
    rota__coro_exit(enter(heir(coro), coro->host, result), 0);
}

int rota_coro_new(rota_coro_fn *fn, void *arg, rota_coro **ret_coro)
{
    struct thread *thread = thread_get();
    struct rota__stack *stack;
    int err = rota__thread_stack_take(&stack);
    if (err < 0)
        return err;
    rota_coro *coro = (rota_coro *)(((uintptr_t)stack->top - sizeof *coro) & ~(uintptr_t)63);
    *coro = (rota_coro){.thread = thread, .fn = fn, .arg = arg};
    rota__list_init(&coro->children);
    adopt(current(thread), coro);
    rota__coro_init(&coro->own, stack, coro, run, coro);
    coro->own.handle = coro;
    *ret_coro = coro;
    return 0;
}

int rota_coro_switch(rota_coro *to, void *value, void **ret_value)
{
    struct thread *thread = thread_get();
    if (to->thread != thread)
        return ROTA_ETHREAD;
    rota_coro *from = current(thread);
    if (from->canceller)
        return -ECANCELED;
    if (to->dead)
        return -ESRCH;
    if (to == from)
        return -EINVAL;
    if (to->running || to->waits)
        return -EBUSY;
    leave_for(from, to, value);
    if (from->canceller)
        return -ECANCELED;
    if (ret_value)
        *ret_value = thread->value;
    return 0;
}

int rota_coro_cancel(rota_coro *coro)
{
    struct thread *thread = thread_get();
    if (coro->thread != thread)
        return ROTA_ETHREAD;
    rota_coro *self = current(thread);
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
    leave_for(self, coro, NULL);
    self->waits = false;
    return 0;
}

bool rota_coro_dead(const rota_coro *coro)
{
    return coro->dead;
}

rota_coro *rota_coro_current(void)
{
    return current(thread_get());
}

rota_coro *rota_coro_free(rota_coro *coro)
{
    if (!coro)
        return NULL;
    int err = rota_coro_cancel(coro);
    if (err < 0) {
        rota__log(ROTA_LOG_ERROR, "a coroutine was not freed: %s", rota_strerror(err));
        return NULL;
    }
    struct rota__stack *stack = coro->own.stack;
    rota__coro_fini(&coro->own);
    rota__thread_stack_give(stack);
    return NULL;
}
