/* Clocks, and how every micro program in C measures: the best of several repeats, in nanoseconds an
 * operation. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <time.h>

static inline uint64_t clock_read(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_ns(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

/* What all threads of the process have used, those that the kernel runs for a ring among them. */
static inline uint64_t clock_cpu_ns(void)
{
    return clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

/* Runs `work(operations)` `repeats` times and prints the fastest. */
static inline void clock_best(void (*work)(uint64_t operations), uint64_t operations, int repeats)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < repeats; i++) {
        uint64_t start = clock_ns();
        work(operations);
        uint64_t took = clock_ns() - start;
        if (took < least)
            least = took;
    }
    printf("%.2f\n", (double)least / (double)operations);
}
