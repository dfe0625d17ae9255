/* Writes down where tasks stop: for tools/check_marks.py, which compares that with the marks of the
 * public functions. ROTA_TEST_STOPS names the file; a line is a program, and the offset of a return
 * address on the stack of a task that stops. Builds that are watched keep frame pointers. */
#ifndef SUSPENSIONS_H
#define SUSPENSIONS_H

#include "task/task.h"

#if ROTA__CORO_WATCHED

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char __executable_start;

enum { STOPS_SEEN = 1 << 14, STOPS_PROGRAM = 200 };

static char stops_program[STOPS_PROGRAM];
static const char *stops_path;
static _Atomic(uintptr_t) stops_seen[STOPS_SEEN];

/* Where the table is full everything has been seen. */
static bool stops_is_new(uintptr_t offset)
{
    for (size_t i = 0, at = offset * 31; i < 16; i++) {
        uintptr_t free = 0;
        _Atomic(uintptr_t) *place = &stops_seen[(at + i) % STOPS_SEEN];
        if (atomic_compare_exchange_strong(place, &free, offset))
            return true;
        if (free == offset)
            return false;
    }
    return false;
}

/* Fails in silence: a case may have left itself no descriptor or no such file. */
static void stops_write(uintptr_t offset)
{
    char line[STOPS_PROGRAM + 32];
    int saved = errno;
    int fd = open(stops_path, O_WRONLY | O_APPEND | O_CLOEXEC);
    int len = snprintf(line, sizeof line, "%s %lx\n", stops_program, (unsigned long)offset);
    if (fd >= 0) {
        ssize_t written = write(fd, line, (size_t)len);
        (void)written;
        close(fd);
    }
    errno = saved;
}

/* Reads what instrumented code would not be allowed to: frames of others. */
__attribute__((noinline, no_sanitize_address, no_sanitize_thread)) static void stops_note(void)
{
    const uintptr_t *frame = __builtin_frame_address(0);
    while (frame[1]) {
        uintptr_t offset = frame[1] - (uintptr_t)&__executable_start;
        if (stops_is_new(offset))
            stops_write(offset);
        const uintptr_t *above = (const uintptr_t *)frame[0];
        if (above <= frame)
            break;
        frame = above;
    }
}

/* To be called before the cases are forked. */
static void stops_watch(void)
{
    stops_path = getenv("ROTA_TEST_STOPS");
    ssize_t len = readlink("/proc/self/exe", stops_program, sizeof stops_program - 1);
    if (stops_path && len > 0)
        rota__on_stop = stops_note;
}

#else

static void stops_watch(void)
{
}

#endif

#endif
