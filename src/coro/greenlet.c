/* The public coroutines: rota_coro over rota__coro, with values, parents and cancellation.
 *
 * A coroutine is
 *   new        -> running: the first rota_coro_switch to it; -> dead: rota_coro_cancel
 *   running    thread->current                 -> stopped: rota_coro_switch, rota_coro_cancel of
 *                                                 another; -> dead: its function returns
 *   stopped    -> running: somebody switches to it, its child ends, or rota_coro_cancel
 *   dead       -> freed: rota_coro_free
 *
 * Invariants:
 *   1. A parent is alive: who ends leaves its children to its own parent; the thread's own stack, the
 *      last resort, never ends.
 *   2. While a coroutine waits in rota_coro_cancel (`waits`), every coroutine that runs is cancelled or
 *      waits as well. So nothing but the end of the one it cancels can continue it.
 *   3. The structure lies at the top of its own stack, so the stack goes when the handle is freed. */
#include "base/list.h"
#include "base/log.h"
#include "coro/coro.h"

#include <rota/coro.h>

#include <stdint.h>

struct rota_coro {
    struct rota__coro *at; /* where it continues: &own, or the task or thread that it stands for */
    struct thread *thread;
    rota_coro *parent;
    rota_coro *canceller; /* continues instead of the parent at the end */
    struct rota__list children, sibling;
    rota_coro_fn *fn;
    void *arg;
    bool started, waits, dead;
    struct rota__coro own;
};

struct thread {
    rota_coro *current; /* NULL before the first coroutine */
    rota_coro root;
    void *value; /* in transit */
};

static __thread struct thread this_thread;

static struct thread *thread_get(void)
{
    struct thread *thread = &this_thread;
    if (!thread->current) {
        thread->root.thread = thread;
        thread->root.started = true;
        rota__list_init(&thread->root.children);
        rota__list_init(&thread->root.sibling);
        thread->current = &thread->root;
    }
    return thread;
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

static void run(void *arg)
{
    rota_coro *coro = arg;
    struct thread *thread = coro->thread;
    void *result = coro->fn(coro->arg, thread->value);
    end(coro);
    rota_coro *next = coro->canceller ? coro->canceller : coro->parent;
    thread->value = result;
    thread->current = next;
    rota__coro_exit(next->at, 0);
}

int rota_coro_new(rota_coro_fn *fn, void *arg, rota_coro **ret_coro)
{
    struct thread *thread = thread_get();
    struct rota__stack *stack;
    int err = rota__thread_stack_take(&stack);
    if (err < 0)
        return err;
    rota_coro *coro = (rota_coro *)(((uintptr_t)stack->top - sizeof *coro) & ~(uintptr_t)63);
    *coro = (rota_coro){.at = &coro->own, .thread = thread, .fn = fn, .arg = arg};
    rota__list_init(&coro->children);
    adopt(thread->current, coro);
    rota__coro_init(&coro->own, stack, coro, run, coro);
    *ret_coro = coro;
    return 0;
}

static void leave_for(struct thread *thread, rota_coro *to, void *value)
{
    rota_coro *from = thread->current;
    from->at = rota__coro_current();
    to->started = true;
    thread->value = value;
    thread->current = to;
    rota__coro_switch(to->at, 0);
}

int rota_coro_switch(rota_coro *to, void *value, void **ret_value)
{
    struct thread *thread = thread_get();
    rota_coro *from = thread->current;
    if (to->thread != thread)
        return ROTA_ETHREAD;
    if (from->canceller)
        return -ECANCELED;
    if (to->dead)
        return -ESRCH;
    if (to == from)
        return -EINVAL;
    leave_for(thread, to, value);
    if (from->canceller)
        return -ECANCELED;
    if (ret_value)
        *ret_value = thread->value;
    return 0;
}

int rota_coro_cancel(rota_coro *coro)
{
    struct thread *thread = thread_get();
    rota_coro *self = thread->current;
    if (coro->thread != thread)
        return ROTA_ETHREAD;
    if (coro->dead)
        return 0;
    if (coro == self || coro == &thread->root)
        return -EINVAL;
    if (coro->waits)
        return -EBUSY;
    if (!coro->started) {
        end(coro);
        return 0;
    }
    coro->canceller = self;
    self->waits = true;
    leave_for(thread, coro, NULL);
    self->waits = false;
    return 0;
}

bool rota_coro_dead(const rota_coro *coro)
{
    return coro->dead;
}

rota_coro *rota_coro_current(void)
{
    return thread_get()->current;
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
