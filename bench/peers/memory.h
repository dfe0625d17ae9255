/* What a process holds, as the kernel counts it, and one that holds much. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Resident memory and page tables of this process, in bytes. */
static inline uint64_t memory_held(void)
{
    FILE *status = fopen("/proc/self/status", "re");
    char line[128];
    uint64_t total = 0;
    unsigned long kilobytes;

    while (status && fgets(line, sizeof line, status)) {
        if (sscanf(line, "VmRSS: %lu", &kilobytes) == 1 ||
            sscanf(line, "VmPTE: %lu", &kilobytes) == 1)
            total += (uint64_t)kilobytes * 1024;
    }
    if (status)
        fclose(status);
    return total;
}

/* Makes this process one that has written to so much memory; ends it when there is not as much. */
static inline void memory_hold(uint64_t gigabytes)
{
    size_t size = (size_t)gigabytes << 30;
    char *held = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (held == MAP_FAILED) {
        perror("memory");
        exit(1);
    }
    for (size_t i = 0; i < size; i += 4096)
        held[i] = 1;
}
