#include "coro/coro.h"
#include "coro/watch.h"

__thread struct rota__coro *rota__coro_running;

/* The coroutine that stands for the thread's own stack. */
static __thread struct rota__coro own;

struct rota__coro *rota__coro_adopt_thread(void)
{
    watch_thread(&own);
    return rota__coro_running = &own;
}

#if ROTA__CORO_WATCHED

/* Not instrumented: it begins on one stack and ends on another. */
__attribute__((noinline)) WATCH_NOT_INSTRUMENTED int
rota__coro_switch_watched(struct rota__coro *to, int value, bool last)
{
    struct rota__coro *from = rota__coro_running;
    rota__coro_running = to;
    watch_leave(from, to, last);
    value = rota__coro_jump(&from->sp, to->sp, value);
    watch_arrive(from);
    return value;
}

WATCH_NOT_INSTRUMENTED static void begin_watched(void *arg)
{
    struct rota__coro *coro = arg;
    watch_arrive(coro);
    coro->entry(coro->arg);
}

#endif

void rota__coro_init(struct rota__coro *coro, struct rota__stack *stack, void *top,
                     void (*entry)(void *), void *arg)
{
    *coro = (struct rota__coro){.stack = stack};
#if ROTA__CORO_WATCHED
    watch_coro(coro, entry, arg);
    coro->sp = rota__coro_frame(stack->low, top, begin_watched, coro);
#else
    coro->sp = rota__coro_frame(stack->low, top, entry, arg);
#endif
}

void rota__coro_fini(struct rota__coro *coro)
{
    watch_coro_end(coro);
}
