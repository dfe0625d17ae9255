/* How every micro program in C measures: the best of several repeats, in nanoseconds an operation. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
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
