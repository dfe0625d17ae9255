/* What a process holds, as the kernel counts it. */
#pragma once

#include <stdint.h>
#include <stdio.h>

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
