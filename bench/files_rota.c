/* rota's side of the file rows: open, read 4 KiB, close, by many tasks at once. Prints the CPU time
 * and the wall time of all of it, in nanoseconds.
 *
 *     files_rota DIRECTORY FILES OPENS TASKS
 *
 * The files are those of peers/raw_files.c; each task takes the next one that nobody has taken. */
#include "peers/clock.h"

#include <rota.h>

#include <errno.h>
#include <stdlib.h>

static struct {
    const char *directory;
    uint64_t files, opens, taken;
    unsigned tasks;
} work;

static int read_file(uint64_t number)
{
    char path[4096], buffer[4096];
    ROTA_AUTO(rota_file) file = NULL;

    snprintf(path, sizeof path, "%s/%llu", work.directory, (unsigned long long)number);
    int err = rota_file_open(path, O_RDONLY, 0, &file);
    if (err < 0)
        return err;
    ssize_t n = rota_file_read(file, buffer, sizeof buffer);
    return n == sizeof buffer ? 0 : n < 0 ? (int)n : -EIO;
}

static int read_files(void *arg)
{
    while (work.taken < work.opens) {
        int err = read_file(work.taken++ % work.files);
        if (err < 0)
            return err;
    }
    return 0;
}

static int read_all(void *arg)
{
    ROTA_GROUP(group);

    for (unsigned i = 0; i < work.tasks; i++)
        rota_group_spawn(&group, read_files, NULL);
    return rota_group_wait(&group);
}

static int measure(void *arg)
{
    uint64_t cpu = clock_cpu_ns(), wall = clock_ns();
    int err = read_all(NULL);

    if (err < 0)
        return err;
    printf("%llu %llu\n", (unsigned long long)(clock_cpu_ns() - cpu),
           (unsigned long long)(clock_ns() - wall));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fputs("usage: files_rota DIRECTORY FILES OPENS TASKS\n", stderr);
        return 2;
    }
    work.directory = argv[1];
    work.files = strtoull(argv[2], NULL, 10);
    work.opens = strtoull(argv[3], NULL, 10);
    work.tasks = (unsigned)strtoul(argv[4], NULL, 10);
    int err = rota_run(measure, NULL);
    if (err < 0)
        fprintf(stderr, "files_rota: %s\n", rota_strerror(err));
    return err < 0;
}
