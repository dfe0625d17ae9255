/* The life of a worker process: forked by a task on the loop's thread, it drops what it inherited
 * and serves one job after another until its socket is closed.
 *
 * 1. It ends with its parent: by a signal when the parent's thread dies, otherwise by the end of
 *    the socket.
 * 2. It holds no descriptor of the parent's: a connection there is closed when the parent closes
 *    it, and a sibling's socket ends when the parent closes it.
 * 3. It does not run on the small stack of the task that forked it. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"
#include "exec/exec.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define STACK_SIZE (8 * 1024 * 1024)

static struct worker {
    struct rota__sleeper sleeper;
    int fd;
    size_t copy_limit;
    char *bytes;
    size_t capacity;
} self;

/* ---- The wire. After an error there the parent is gone, so the worker exits. */

static void receive(void *buf, size_t len)
{
    for (char *p = buf; len > 0;) {
        ssize_t n = recv(self.fd, p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(0);
        p += n;
        len -= (size_t)n;
    }
}

static void transmit(const void *buf, size_t len, int flags)
{
    for (const char *p = buf; len > 0;) {
        ssize_t n = send(self.fd, p, len, MSG_NOSIGNAL | flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(0);
        p += n;
        len -= (size_t)n;
    }
}

static void worker_sleep(struct rota__sleeper *sleeper, rota_time duration)
{
    (void)sleeper;
    struct rota__frame frame = {.kind = ROTA__FRAME_SLEEP, .duration = duration};
    transmit(&frame, sizeof frame, 0);
    receive(&frame, sizeof frame);
}

/* Takes what is left of the job first: the pool listens only after it has sent everything. */
static _Noreturn void end_without_memory(size_t left)
{
    char bytes[1024];
    for (size_t n; left > 0; left -= n) {
        n = left < sizeof bytes ? left : sizeof bytes;
        receive(bytes, n);
    }
    struct rota__frame frame = {.kind = ROTA__FRAME_NO_MEMORY};
    transmit(&frame, sizeof frame, 0);
    _exit(ENOMEM);
}

static void make_room(size_t size)
{
    if (size <= self.capacity)
        return;
    rota_free(self.bytes);
    self.bytes = size <= self.copy_limit ? rota_alloc(size) : NULL;
    if (!self.bytes)
        end_without_memory(size);
    self.capacity = size;
}

static _Noreturn void serve_jobs(void)
{
    struct rota__frame frame;
    for (;;) {
        receive(&frame, sizeof frame);
        size_t size = frame.size;
        make_room(size);
        receive(self.bytes, size);
        int result = frame.fn(self.bytes);
        if (self.fd < 0)
            _exit(result < 0); /* in a child that the job forked */
        struct rota__error *error = rota__error_take(result);
        const char *words = error ? rota__error_words(error, result) : "";
        fflush(stdout);
        fflush(stderr);
        frame = (struct rota__frame){
            .kind = ROTA__FRAME_RESULT, .result = result, .size = size, .words = strlen(words)};
        transmit(&frame, sizeof frame, MSG_MORE);
        transmit(self.bytes, size, frame.words ? MSG_MORE : 0);
        transmit(words, frame.words, 0);
        rota__error_unref(error);
    }
}

static struct rota__coro_next serve(void *arg)
{
    (void)arg;
    serve_jobs();
}

/* ---- Shedding */

static void reset_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        if (number == SIGPIPE || number == SIGINT)
            action.sa_handler = SIG_IGN;
        sigaction(number, &action, NULL);
    }
    stack_t none = {.ss_flags = SS_DISABLE};
    sigaltstack(&none, NULL);
    sigset_t empty;
    sigemptyset(&empty);
    sigprocmask(SIG_SETMASK, &empty, NULL);
}

/* Where seccomp refuses close_range(2). */
static void close_listed_but(int kept)
{
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = atoi(entry->d_name);
        if (fd >= 3 && fd != kept && fd != dirfd(dir))
            close(fd);
    }
    closedir(dir);
}

static void close_all_but(int kept)
{
    if (kept > 3 && syscall(SYS_close_range, 3, kept - 1, 0) < 0)
        close_listed_but(kept);
    else if (syscall(SYS_close_range, kept + 1, ~0u, 0) < 0)
        close_listed_but(kept);
}

/* Keeps stdout and stderr and the worker's own socket. */
static void shed_descriptors(int fd)
{
    /* dup3 needs no free descriptor, and 3 would be closed anyway. */
    self.fd = fd < 3 ? dup3(fd, 3, O_CLOEXEC) : fd;
    if (self.fd < 0)
        _exit(EMFILE);
    close_all_but(self.fd);
    if (fd < 3)
        close(fd);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing > 0) {
        dup2(nothing, STDIN_FILENO);
        close(nothing);
    }
}

/* A child that a job forks must not keep the socket open after the worker has died, and must not
 * answer for it. */
static void close_socket_in_child(void)
{
    close(self.fd);
    self.fd = -1;
    rota__sleeper_here = NULL;
}

_Noreturn void rota__worker_main(int fd, pid_t parent, bool virtual_clock, size_t copy_limit)
{
    rota__loop_become_here(NULL);
    self.copy_limit = copy_limit;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    rota__secrets_forget();
    shed_descriptors(fd);
    reset_signals();
    /* Output that the parent has buffered is written by the parent. */
    __fpurge(stdout);
    __fpurge(stderr);
    pthread_atfork(NULL, NULL, close_socket_in_child);
    self.sleeper.sleep = worker_sleep;
    if (virtual_clock)
        rota__sleeper_here = &self.sleeper;

    /* Not in this frame, which AddressSanitizer may keep apart and free when the stack is left. */
    static struct rota__stack_pool stacks;
    static struct rota__coro coro;
    struct rota__stack *stack = NULL;
    if (rota__stack_pool_init(&stacks, STACK_SIZE) == 0)
        stack = rota__stack_take(&stacks);
    if (!stack) {
        struct rota__frame frame;
        receive(&frame, sizeof frame);
        end_without_memory(frame.size);
    }
    rota__coro_init(&coro, stack, stack->top, serve, NULL);
    coro.name = "worker";
    rota__coro_exit(&coro, 0);
}
