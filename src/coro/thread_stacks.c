/* Stacks of a thread, for coroutines and generators, which need no loop. The pool begins with the
 * first stack that is taken and ends with the thread. */
#include "base/log.h"
#include "coro/coro.h"

#include <pthread.h>
#include <time.h>

static __thread struct stacks {
    struct rota__stack_pool pool;
    rota_time trim_at;
    bool started;
} stacks;

static pthread_key_t thread_end_key;
static bool thread_end_key_made;

static void thread_end(void *arg)
{
    struct stacks *s = arg;
    s->started = false;
    rota__overflow_watch_stop();
    if (s->pool.used > 0)
        rota_log(ROTA_LOG_WARNING, "%zu coroutines were left when their thread ended",
                 s->pool.used);
    else
        rota__stack_pool_fini(&s->pool);
}

void rota__thread_stacks_drop(void)
{
    if (!stacks.started || stacks.pool.used > 0)
        return;
    pthread_setspecific(thread_end_key, NULL);
    thread_end(&stacks);
}

static void thread_end_key_make(void)
{
    thread_end_key_made = pthread_key_create(&thread_end_key, thread_end) == 0;
}

static int start(struct stacks *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, thread_end_key_make);
    if (!thread_end_key_made)
        return -ENOMEM;
    int err = rota__overflow_watch_start();
    if (err < 0)
        return err;
    if (pthread_setspecific(thread_end_key, s) != 0) {
        rota__overflow_watch_stop();
        return -ENOMEM;
    }
    rota__stack_pool_init(&s->pool, 0);
    s->trim_at = 0;
    s->started = true;
    return 0;
}

int rota__thread_stack_take(struct rota__stack **ret_stack)
{
    int err = stacks.started ? 0 : start(&stacks);
    struct rota__stack *stack = err < 0 ? NULL : rota__stack_take(&stacks.pool);
    if (!stack)
        return err < 0 ? err : -ENOMEM;
    *ret_stack = stack;
    return 0;
}

static rota_time now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * ROTA_SECOND + t.tv_nsec;
}

void rota__thread_stack_give(struct rota__stack *stack)
{
    rota__stack_give(&stacks.pool, stack);
    rota_time at = now();
    if (stacks.trim_at == ROTA_NEVER || at >= stacks.trim_at)
        stacks.trim_at = rota__stack_pool_trim(&stacks.pool, at);
}
