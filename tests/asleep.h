/* For threads that have to come while a loop sleeps. */
#ifndef ASLEEP_H
#define ASLEEP_H

#include "harness.h"

#include "loop/loop.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

/* Whether the kernel has put the program's first thread to sleep. */
static inline bool first_thread_sleeps(void)
{
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_OK(fd);
    CHECK_OK(read(fd, text, sizeof text - 1));
    close(fd);
    const char *name_end = strrchr(text, ')');
    return name_end && strncmp(name_end, ") S", 3) == 0;
}

/* Returns when a loop that the first thread runs waits in the kernel, not before, and not on its
 * way there. */
static inline void wait_until_asleep(rota_loop *loop)
{
    while (!atomic_load(&loop->asleep) || !first_thread_sleeps())
        sched_yield();
}

#endif
