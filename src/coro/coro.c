#include "coro/coro.h"

#include <stdint.h>
#include <string.h>

__thread struct rota__coro *rota__coro_running;

/* The coroutine that stands for the thread's own stack. */
static __thread struct rota__coro own;

struct rota__coro *rota__coro_adopt_thread(void)
{
    return rota__coro_running = &own;
}

/* In the assembly: moves entry and argument to where the ABI wants them. */
ROTA__HIDDEN void rota__coro_begin(void);

/* Lays out what rota__coro_jump finds on a stack that it continues; indices count words from its
 * stack pointer. */
#if defined(__x86_64__)
enum { FRAME_WORDS = 7, FRAME_ENTRY = 3, FRAME_ARG = 2, FRAME_CONTINUE = 6 };
#elif defined(__aarch64__)
enum { FRAME_WORDS = 20, FRAME_ENTRY = 0, FRAME_ARG = 1, FRAME_CONTINUE = 11 };
#endif

void rota__coro_init(struct rota__coro *coro, struct rota__stack *stack, void *top,
                     void (*entry)(void *), void *arg)
{
    uintptr_t *end = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15);
    uintptr_t *frame = end - FRAME_WORDS;
    memset(frame, 0, FRAME_WORDS * sizeof *frame);
    frame[FRAME_ENTRY] = (uintptr_t)entry;
    frame[FRAME_ARG] = (uintptr_t)arg;
    frame[FRAME_CONTINUE] = (uintptr_t)rota__coro_begin;
    *coro = (struct rota__coro){.sp = frame, .stack = stack};
}

void rota__coro_fini(struct rota__coro *coro)
{
    (void)coro;
}
