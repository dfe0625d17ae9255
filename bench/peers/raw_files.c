/* The limit of the file rows: open, read 4 KiB, close, by plain blocking calls of one thread.
 * Prints the CPU time and the wall time of all of it, in nanoseconds.
 *
 *     raw_files DIRECTORY FILES OPENS
 *
 * The files of the directory are named by their numbers, from 0, and hold 4 KiB; they are read in
 * turn. */
#include "clock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static char buffer[4096];

static void read_file(const char *directory, uint64_t number)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%llu", directory, (unsigned long long)number);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, buffer, sizeof buffer) != sizeof buffer) {
        perror(path);
        exit(1);
    }
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: raw_files DIRECTORY FILES OPENS\n", stderr);
        return 2;
    }
    uint64_t files = strtoull(argv[2], NULL, 10), opens = strtoull(argv[3], NULL, 10);
    uint64_t cpu = clock_cpu_ns(), wall = clock_ns();

    for (uint64_t n = 0; n < opens; n++)
        read_file(argv[1], n % files);
    printf("%llu %llu\n", (unsigned long long)(clock_cpu_ns() - cpu),
           (unsigned long long)(clock_ns() - wall));
    return 0;
}
