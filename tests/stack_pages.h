/* What the stacks of tasks take. */
#ifndef STACK_PAGES_H
#define STACK_PAGES_H

#include "task/task.h"

#include <sys/mman.h>
#include <unistd.h>

/* Bytes of memory that a task's stack has touched and not given back; -1 where they cannot be
 * counted. */
static inline long stack_bytes(const rota_task *task)
{
    const struct rota__stack *stack = task->fiber->coro.stack;
    long page = sysconf(_SC_PAGESIZE), found = 0;
    for (char *at = rota__stack_low(stack); at < stack->top; at += page) {
        unsigned char in;
        if (mincore(at, (size_t)page, &in) < 0)
            return -1;
        found += in & 1 ? page : 0;
    }
    return task->fiber->loop->stacks.on_valgrind ? -1 : found;
}

enum { DEEP = 60000 };

/* By alloca, since AddressSanitizer may keep arrays elsewhere. */
static __attribute__((noinline, unused)) void go_deep(void)
{
    volatile char *much = __builtin_alloca(DEEP);
    for (size_t i = 0; i < DEEP; i += 64)
        much[i] = 1;
}

#endif
