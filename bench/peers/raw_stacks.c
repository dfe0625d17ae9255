/* The limit of the parked row: stacks of 256 KiB in one mapping, one page of each touched. Prints
 * bytes a stack, page tables counted; the guards cost nothing more, as they live in the same
 * tables.
 *
 *     raw_stacks COUNT */
#include "memory.h"

#include <stdlib.h>
#include <sys/mman.h>

#define STRIDE (256 * 1024)
#define PAGE 4096

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: raw_stacks COUNT\n", stderr);
        return 2;
    }
    size_t count = strtoull(argv[1], NULL, 10);
    char *stacks = mmap(NULL, count * STRIDE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED || madvise(stacks, count * STRIDE, MADV_NOHUGEPAGE) < 0) {
        perror("stacks");
        return 1;
    }
    uint64_t before = memory_held();
    for (size_t i = 0; i < count; i++)
        stacks[(i + 1) * STRIDE - PAGE] = 1;
    printf("%.1f\n", (double)(memory_held() - before) / (double)count);
    return 0;
}
