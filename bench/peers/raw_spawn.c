/* The limit of the row of processes: posix_spawn and waitpid, one child after the other, from a
 * parent that holds memory. Prints nanoseconds a spawn.
 *
 *     raw_spawn GIGABYTES SPAWNS */
#include "clock.h"
#include "memory.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

static void spawn_each(uint64_t count)
{
    static char program[] = "/bin/true";
    char *argv[] = {program, NULL};

    for (uint64_t n = 0; n < count; n++) {
        pid_t pid;
        int status;
        if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
            waitpid(pid, &status, 0) != pid || status != 0) {
            fputs("raw_spawn: /bin/true did not end well\n", stderr);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: raw_spawn GIGABYTES SPAWNS\n", stderr);
        return 2;
    }
    memory_hold(strtoull(argv[1], NULL, 10));
    clock_best(spawn_each, strtoull(argv[2], NULL, 10), 5);
    return 0;
}
