/* The public coroutines: rota_coro over rota__coro, with values, parents and cancellation.
 *
 * A coroutine is
 *   new        -> running: the first rota_coro_switch to it; -> dead: rota_coro_cancel running
 *   -> stopped: rota_coro_switch, rota_coro_cancel of another; -> dead: its function returns
 *   stopped    -> running: somebody switches to it, its child ends, or rota_coro_cancel dead
 *   -> freed: rota_coro_free
 *
 * Coroutines run on top of a host: the thread's own stack, a task or a generator, whichever
 * switched to the first of them. The handle `root` stands for the caller's own host; switching to
 * it continues that host. So each task of a thread may use coroutines, and one that suspends the
 * task keeps running while other tasks run.
 *
 * `refuses` is what a switch to it returns: 0 while it is new or stopped, -EBUSY while it runs or
 * waits in rota_coro_cancel, -ESRCH when it is dead; always 0 for the root.
 *
 * Invariants:
 *   1. A parent is alive: a coroutine that ends leaves its children to its own parent, and the root
 *      never ends.
 *   2. A running coroutine has a host, own.host, which it returns to.
 *   3. A coroutine that waits in rota_coro_cancel is continued by the end of the one that it
 *      cancels and by nothing else; both have the same host.
 *   4. The structure lies at the top of its own stack, so the stack goes when the handle is freed.
 *   5. The handle of a host is the root, once it has used coroutines; before, it is NULL. */
#include "base/list.h"
#include "base/log.h"
#include "coro/coro.h"

#include <rota/coro.h>

#include <stdint.h>

struct rota_coro {
    struct rota__coro own; /* the root has none: it stands for that of the host */
    rota_coro *root;       /* of its thread */
    rota_coro *canceller;  /* continues instead of the parent at the end */
    int refuses;
    bool started;
    void *first; /* the value of the first switch to it */
    rota_coro *parent;
    struct rota__list children, sibling;
    rota_coro_fn *fn;
    void *arg;
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
    struct rota__coro *here = rota__coro_current();
    if (!here->handle)
        here->handle = root_get();
    return here->handle;
}

static void adopt(rota_coro *parent, rota_coro *child)
{
    child->parent = parent;
    rota__list_append(&parent->children, &child->sibling);
}

static void end(rota_coro *coro)
{
    struct rota__list *node;
    coro->refuses = -ESRCH;
    while ((node = rota__list_take_first(&coro->children)))
        adopt(coro->parent, rota__container_of(node, rota_coro, sibling));
    rota__list_remove(&coro->sibling);
}

/* The stack below the coroutines, where `from` is running on `here`. */
static inline struct rota__coro *host_of(const rota_coro *from, struct rota__coro *here)
{
    return is_root(from) ? here : here->host;
}

/* Readies `to` to run on that host; returns the stack to switch to. */
static inline struct rota__coro *enter(rota_coro *to, struct rota__coro *host)
{
    if (is_root(to))
        return host;
    to->own.host = host;
    to->refuses = -EBUSY;
    return &to->own;
}

static inline void hand_over(struct rota__coro *there, void *value)
{
    if (there->ret_value)
        *there->ret_value = value;
}

static struct rota__coro_next run(void *arg)
{
    rota_coro *coro = arg;
    coro->started = true;
    void *result = coro->fn(coro->arg, coro->first);
    end(coro);
    rota_coro *next = coro->canceller ? coro->canceller : coro->parent;
    /* An ancestor may be running or waiting on another host; then it cannot continue here. */
    while (!coro->canceller && next->refuses)
        next = next->parent;
    struct rota__coro *there = enter(next, coro->own.host);
    hand_over(there, result);
    return rota__coro_end(there, 0);
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
    coro->own.ret_value = &coro->first;
    *ret_coro = coro;
    return 0;
}

static __attribute__((noinline, cold)) int refused(const rota_coro *from, const rota_coro *to)
{
    if (to->root != from->root)
        return ROTA_ETHREAD;
    if (from->canceller)
        return -ECANCELED;
    if (to == from)
        return -EINVAL;
    return to->refuses;
}

/* The first call on a stack makes its handle. */
static __attribute__((noinline, cold)) int switch_first(rota_coro *to, void *value,
                                                        void **ret_value)
{
    current();
    return rota_coro_switch(to, value, ret_value);
}

/* Work after the switch is done by the coroutine that switches back. So this function ends in a
 * jump, and no return is mispredicted. Nothing is called but at the end, which spares saving
 * registers. */
int rota_coro_switch(rota_coro *to, void *value, void **ret_value)
{
    struct rota__coro *here = rota__coro_running;
    if (__builtin_expect(!here || !here->handle, false))
        return switch_first(to, value, ret_value);
    rota_coro *from = here->handle;
    if (__builtin_expect(to->root != from->root || from->canceller || to->refuses || to == from,
                         false))
        return refused(from, to);
    struct rota__coro *there = enter(to, host_of(from, here));
    from->refuses = 0;
    here->ret_value = ret_value;
    hand_over(there, value);
    return rota__coro_switch(there, 0);
}

int rota_coro_cancel(rota_coro *coro)
{
    rota_coro *self = current();
    if (coro->root != self->root)
        return ROTA_ETHREAD;
    if (rota_coro_dead(coro))
        return 0;
    if (coro == self || is_root(coro))
        return -EINVAL;
    if (coro->refuses)
        return coro->refuses;
    if (!coro->started) {
        end(coro);
        return 0;
    }
    struct rota__coro *here = rota__coro_running;
    coro->canceller = self;
    here->ret_value = NULL;
    return rota__coro_switch(enter(coro, host_of(self, here)), -ECANCELED);
}

bool rota_coro_dead(const rota_coro *coro)
{
    return coro->refuses == -ESRCH;
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
