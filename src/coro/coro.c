#include "coro/coro.h"
#include "coro/watch.h"

#include <pthread.h>

__thread struct rota__coro *rota__coro_running;

/* The coroutine that stands for the thread's own stack. */
static __thread struct rota__coro own;

struct rota__coro *rota__coro_adopt_thread(void)
{
    watch_thread(&own);
    return rota__coro_running = &own;
}

#if ROTA__ASAN

static pthread_key_t own_key;

static void own_end(void *arg)
{
    const struct rota__coro *coro = arg;
    __lsan_unregister_root_region(coro->bottom, coro->size);
}

static void own_key_make(void)
{
    pthread_key_create(&own_key, own_end);
}

/* A program may exit while it runs on a coroutine: then memory that only the thread's own stack
 * points to is not a leak. Without memory for the key, the stack stays registered. */
void rota__coro_watch_own(struct rota__coro *coro)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, own_key_make);
    pthread_setspecific(own_key, coro);
    __lsan_register_root_region(coro->bottom, coro->size);
}

#endif

#if ROTA__CORO_WATCHED

/* Not instrumented: it begins on one stack and ends on another. */
__attribute__((noinline)) WATCH_NOT_INSTRUMENTED int
rota__coro_switch_watched(struct rota__coro *to, int value, bool last)
{
    struct rota__coro *from = rota__coro_running;
    rota__coro_running = to;
    rota__exceptions_ask();
    rota__exceptions_exchange(from, to);
    watch_leave(from, to, last);
    value = rota__coro_jump(&from->sp, to->sp, value);
    watch_arrive(from);
    return value;
}

WATCH_NOT_INSTRUMENTED static struct rota__coro_next begin_watched(void *arg)
{
    struct rota__coro *coro = arg;
    watch_arrive(coro);
    return coro->entry(coro->arg);
}

#endif

void rota__coro_init(struct rota__coro *coro, struct rota__stack *stack, void *top,
                     rota__coro_entry *entry, void *arg)
{
    *coro = (struct rota__coro){.stack = stack};
#if ROTA__CORO_WATCHED
    watch_coro(coro, entry, arg);
    coro->sp = rota__coro_frame(stack, top, begin_watched, coro);
#else
    coro->sp = rota__coro_frame(stack, top, entry, arg);
#endif
}

#if ROTA__TSAN
void rota__coro_fini(struct rota__coro *coro)
{
    __tsan_destroy_fiber(coro->fiber);
}

#endif
