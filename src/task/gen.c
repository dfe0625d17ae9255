/* Generators: a coroutine that runs inside the task that asks for the next item.
 *
 *     new -> running -> suspended -> running ... -> ended
 *
 * Whatever suspends in the body parks the task with the generator's coroutine as the one to resume,
 * so a body may wait like any other code.
 *
 * 1. coro.host, the caller, is set exactly while the generator runs.
 * 2. A generator is left with the scopes that were open when it was entered: yielding out of a
 *    scope would put it around code that it was not written around. */
#include "base/alloc.h"
#include "base/log.h"
#include "base/noexcept.h"
#include "task/task.h"

enum { NEW, SUSPENDED, RUNNING, ENDED };

struct rota_gen {
    struct rota__coro coro;
    struct rota__stack *stack;
    int (*fn)(rota_gen *gen, void *arg);
    void *arg;
    void *item;
    int result;
    struct rota__error *error; /* the text of a failed result */
    int state;
    bool closing;
    const void *home;         /* names the thread that made it */
    struct rota__list *scope; /* innermost of the task when entered; NULL outside a task */
};

static struct rota__list *innermost_scope(void)
{
    struct rota__fiber *here = rota__fiber_here();
    return here ? here->scopes.next : NULL;
}

static struct rota__coro_next gen_main(void *arg)
{
    rota_gen *gen = arg;
    gen->result = gen->fn(gen, gen->arg);
    if (gen->result < 0)
        gen->error = rota__error_take(gen->result);
    gen->state = ENDED;
    return rota__coro_end(gen->coro.host, 0);
}

int rota_gen_new(int (*fn)(rota_gen *gen, void *arg), void *arg, rota_gen **ret_gen)
{
    rota_gen *gen = rota_zalloc(sizeof *gen);
    if (!gen)
        return rota__error_plain(-ENOMEM);
    int err = rota__thread_stack_take(&gen->stack);
    if (err < 0) {
        rota_free(gen);
        return rota__error_plain(err);
    }
    gen->fn = fn;
    gen->arg = arg;
    rota__coro_init(&gen->coro, gen->stack, gen->stack->top, gen_main, gen);
    gen->coro.name = "a generator";
    gen->home = &rota__loop_here;
    *ret_gen = gen;
    return 0;
}

/* Runs the generator until it yields or ends. */
static void gen_enter(rota_gen *gen)
{
    gen->coro.host = rota__coro_current();
    gen->scope = innermost_scope();
    gen->state = RUNNING;
    rota__coro_switch(&gen->coro, 0);
    gen->coro.host = NULL;
}

/* Another task that asks meanwhile would replace the item: it is told that the generator runs. */
static void gen_done_at_once(rota_gen *gen)
{
    int state = gen->state;
    gen->state = RUNNING;
    rota__done_at_once(0);
    gen->state = state;
}

int rota_gen_next(rota_gen *gen, void **ret_item)
{
    if (gen->home != &rota__loop_here)
        return rota__loop_refuse(__func__);
    if (gen->state == RUNNING)
        return rota__error_plain(-EBUSY);
    int err = rota__fiber_here() ? rota__suspend_check() : ROTA_ENOTASK;
    if (err < 0 && err != ROTA_ENOTASK)
        return err;
    if (gen->state != ENDED)
        gen_enter(gen);
    if (err == 0)
        gen_done_at_once(gen);
    if (gen->state == ENDED) {
        if (gen->result < 0)
            rota__error_give(rota__error_ref(gen->error));
        return gen->result < 0 ? gen->result : 0;
    }
    *ret_item = gen->item;
    return 1;
}

int rota_gen_yield(rota_gen *gen, void *item)
{
    if (gen->state != RUNNING || rota__coro_current() != &gen->coro)
        return rota__error_plain(-EPERM);
    if (gen->closing)
        return rota__error_plain(-ECANCELED);
    if (innermost_scope() != gen->scope)
        return rota__error_plain(ROTA_ESCOPE);
    gen->item = item;
    gen->state = SUSPENDED;
    rota__coro_switch(gen->coro.host, 0);
    return gen->closing ? rota__error_plain(-ECANCELED) : 0;
}

static int next_of(rota_iter iter, void **ret_item)
{
    int more = iter.next(iter.self, ret_item);
    ROTA__NOEXCEPT();
    return more;
}

int rota_gen_yield_from(rota_gen *gen, rota_iter inner)
{
    void *item;
    int more;
    while ((more = next_of(inner, &item)) > 0) {
        int err = rota_gen_yield(gen, item);
        if (err < 0)
            return err;
    }
    return more;
}

static int gen_iter_next(void *self, void **ret_item)
{
    return rota_gen_next(self, ret_item);
}

rota_iter rota_gen_iter(rota_gen *gen)
{
    return (rota_iter){gen_iter_next, gen};
}

rota_gen *rota_gen_free(rota_gen *gen)
{
    if (!gen)
        return NULL;
    if (gen->home != &rota__loop_here) {
        rota__loop_refuse(__func__);
        return NULL;
    }
    if (gen->state == RUNNING) {
        rota_log(ROTA_LOG_ERROR,
                 "rota_gen_free was called while the generator runs, and did nothing");
        return NULL;
    }
    gen->closing = true;
    if (gen->state == SUSPENDED) {
        ROTA_KEEP_ERROR;
        ROTA_SHIELD
        {
            gen_enter(gen);
        }
    }
    rota__error_unref(gen->error);
    rota__coro_fini(&gen->coro);
    rota__thread_stack_give(gen->stack);
    rota_free(gen);
    return NULL;
}
