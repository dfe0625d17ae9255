/* rota's side of the row of processes: one child after the other, from a parent that holds memory.
 * Prints nanoseconds a spawn.
 *
 *     spawn_rota GIGABYTES SPAWNS */
#include "peers/clock.h"
#include "peers/memory.h"

#include <rota.h>

static void spawn_each(uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        int code = rota_process_run(ROTA_ARGV("/bin/true"), NULL, NULL);
        if (code != 0) {
            fprintf(stderr, "spawn_rota: /bin/true: %d\n", code);
            exit(1);
        }
    }
}

static int spawn(void *arg)
{
    clock_best(spawn_each, *(uint64_t *)arg, 5);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: spawn_rota GIGABYTES SPAWNS\n", stderr);
        return 2;
    }
    uint64_t spawns = strtoull(argv[2], NULL, 10);
    memory_hold(strtoull(argv[1], NULL, 10));
    return rota_run(spawn, &spawns) < 0;
}
