/* The first frame of a coroutine, for the switches in assembly. */
#include "coro/coro.h"

#include <stdint.h>
#include <string.h>

/* In the assembly: moves entry and argument to where the ABI wants them. */
ROTA__HIDDEN void rota__coro_begin(void);

/* Words from the stack pointer, as rota__coro_jump finds them. */
#if defined(__x86_64__)
enum { WORDS = 7, ENTRY = 3, ARG = 2, CONTINUE = 6 };
#elif defined(__aarch64__)
enum { WORDS = 20, ENTRY = 0, ARG = 1, CONTINUE = 11 };
#endif

void *rota__coro_frame(const struct rota__stack *stack, void *top, rota__coro_entry *entry,
                       void *arg)
{
    (void)stack;
    uintptr_t *frame = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15) - WORDS;
    memset(frame, 0, WORDS * sizeof *frame);
    frame[ENTRY] = (uintptr_t)entry;
    frame[ARG] = (uintptr_t)arg;
    frame[CONTINUE] = (uintptr_t)rota__coro_begin;
    return frame;
}
