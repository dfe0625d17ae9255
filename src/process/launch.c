/* Starting a child: what is prepared before, and what the child does up to execve(2).
 *
 *     parent   blocks signals, clones (CLONE_VM | CLONE_VFORK | CLONE_PIDFD), stands still
 *     child    session or group -> descriptors -> working directory -> signals -> execve, or a
 *              report
 *     parent   goes on once the child has another memory or has ended
 *
 * 1. The child shares the parent's memory but not its stack, descriptors or signal handlers, so it
 *    costs the same however large the parent is. It allocates nothing, takes no lock and calls no
 *    function of the library: system calls only. The calls bypass sanitizers, which would take the
 *    child for its parent.
 * 2. No handler of the program runs in the child: signals are let through only when there are none
 *    left.
 * 3. A report is told twice, in memory and through a pipe, because valgrind and qemu-user make a
 *    plain fork of such a clone. `entered` says whether the memory is shared. Where it is, the pipe
 *    is not read: another thread's fork may hold its other end. */
#include "base/alloc.h"
#include "base/log.h"
#include "base/sys.h"
#include "process/process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STACK_SIZE 16384
#define SIGNALS 64
/* Where the environment has no PATH: as execvp(3). */
#define DEFAULT_PATH "/bin:/usr/bin"

enum step { STEP_SESSION, STEP_GROUP, STEP_DESCRIPTOR, STEP_CWD, STEP_PROGRAM };

struct report {
    enum step step;
    int error; /* 0: there is none */
};

struct child {
    const struct rota__launch *launch;
    int report_fd;
    volatile bool entered;
    volatile struct report report;
    _Alignas(16) char stack[STACK_SIZE];
};

/* ---- The child */

#if defined(__clang__) && __has_attribute(disable_sanitizer_instrumentation)
#define IN_CHILD __attribute__((disable_sanitizer_instrumentation))
#else
#define IN_CHILD __attribute__((no_sanitize("address", "thread", "undefined")))
#endif

IN_CHILD static _Noreturn void child_fail(struct child *child, enum step step, int error)
{
    struct report report = {step, error};
    child->report.step = step;
    child->report.error = error;
    syscall(SYS_write, child->report_fd, &report, sizeof report);
    for (;;)
        syscall(SYS_exit_group, 127);
}

/* The lowest number that the child does not use. */
IN_CHILD static long child_first_free(const struct rota__launch *launch)
{
    long last = launch->passed_count ? launch->passed[launch->passed_count - 1].to : 0;
    return last < 3 ? 3 : last + 1;
}

/* Numbers that the child uses may be taken by what is to be passed: that is moved away first. */
IN_CHILD static void child_take_descriptors(struct child *child)
{
    const struct rota__launch *launch = child->launch;
    long first_free = child_first_free(launch);
    long fd = syscall(SYS_fcntl, child->report_fd, F_DUPFD_CLOEXEC, first_free);
    if (fd < 0)
        child_fail(child, STEP_DESCRIPTOR, errno);
    child->report_fd = (int)fd;
    for (size_t i = 0; i < launch->passed_count; i++) {
        struct rota__passed *passed = &launch->passed[i];
        fd = syscall(SYS_fcntl, passed->from, F_DUPFD_CLOEXEC, first_free);
        if (fd < 0)
            child_fail(child, STEP_DESCRIPTOR, errno);
        passed->from = (int)fd;
    }
    for (size_t i = 0; i < launch->passed_count; i++) {
        if (syscall(SYS_dup3, launch->passed[i].from, launch->passed[i].to, 0) < 0)
            child_fail(child, STEP_DESCRIPTOR, errno);
    }
}

IN_CHILD static bool child_close_range(int first, unsigned last)
{
    return syscall(SYS_close_range, first, last, 0) == 0;
}

/* Everything between the numbers that stay. Returns false where seccomp refuses the call. */
IN_CHILD static bool child_close_ranges(const struct child *child)
{
    const struct rota__launch *launch = child->launch;
    int from = 3;
    bool ok = true;
    for (size_t i = 0; i < launch->passed_count; i++) {
        int kept = launch->passed[i].to;
        if (kept > from)
            ok = ok && child_close_range(from, (unsigned)kept - 1);
        if (kept >= from)
            from = kept + 1;
    }
    if (child->report_fd > from)
        ok = ok && child_close_range(from, (unsigned)child->report_fd - 1);
    return ok && child_close_range(child->report_fd + 1, ~0u);
}

IN_CHILD static bool child_keeps(const struct child *child, int fd)
{
    const struct rota__launch *launch = child->launch;
    for (size_t i = 0; i < launch->passed_count; i++) {
        if (launch->passed[i].to == fd)
            return true;
    }
    return fd < 3 || fd == child->report_fd;
}

/* The number that a name in /proc/self/fd is, or -1. */
IN_CHILD static int child_number(const char *name)
{
    int n = 0;
    for (; *name; name++) {
        if (*name < '0' || *name > '9')
            return -1;
        n = n * 10 + (*name - '0');
    }
    return n;
}

/* As getdents64(2) writes it. */
struct entry {
    uint64_t inode;
    int64_t next;
    unsigned short size;
    unsigned char type;
    char name[];
};

IN_CHILD static void child_close_listed(const struct child *child)
{
    _Alignas(struct entry) char entries[2048];
    long list = syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY), len;
    while (list >= 0 && (len = syscall(SYS_getdents64, list, entries, sizeof entries)) > 0) {
        for (long at = 0; at < len;) {
            const struct entry *entry = (const struct entry *)(const void *)(entries + at);
            int fd = child_number(entry->name);
            if (fd >= 0 && fd != list && !child_keeps(child, fd))
                syscall(SYS_close, fd);
            at += entry->size;
        }
    }
    if (list >= 0)
        syscall(SYS_close, list);
}

/* All but what is passed, whether or not it is marked close-on-exec. Without /proc only that mark
 * counts. */
IN_CHILD static void child_close_others(const struct child *child)
{
    if (!child_close_ranges(child))
        child_close_listed(child);
}

/* In the kernel's own layout, in which the handler stands first and zero is the default action. */
IN_CHILD static void child_reset_signals(void)
{
    static const unsigned long by_default[8];
    static const uint64_t none;
    for (int number = 1; number <= SIGNALS; number++) {
        unsigned long now[8];
        if (syscall(SYS_rt_sigaction, number, NULL, now, sizeof none) < 0)
            continue;
        bool is_ignored = now[0] == (unsigned long)SIG_IGN;
        if (now[0] && (!is_ignored || number == SIGPIPE || number == SIGXFSZ))
            syscall(SYS_rt_sigaction, number, by_default, NULL, sizeof none);
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

IN_CHILD static bool child_may_try_next(int error)
{
    return error == EACCES || error == ENOENT || error == ENOTDIR || error == ENODEV ||
           error == ESTALE || error == ETIMEDOUT;
}

IN_CHILD static int child_exec(const struct rota__launch *launch)
{
    int error = ENOENT;
    for (char **program = launch->programs; *program; program++) {
        syscall(SYS_execve, *program, launch->argv, launch->env);
        if (!child_may_try_next(errno))
            return errno;
        if (error != EACCES)
            error = errno;
    }
    return error;
}

IN_CHILD static int child_main(void *arg)
{
    struct child *child = arg;
    const rota_process_options *options = child->launch->options;
    child->entered = true;
    if (options->session && syscall(SYS_setsid) < 0)
        child_fail(child, STEP_SESSION, errno);
    if (options->group && !options->session && syscall(SYS_setpgid, 0, 0) < 0)
        child_fail(child, STEP_GROUP, errno);
    child_take_descriptors(child);
    child_close_others(child);
    if (options->cwd && syscall(SYS_chdir, options->cwd) < 0)
        child_fail(child, STEP_CWD, errno);
    child_reset_signals();
    child_fail(child, STEP_PROGRAM, child_exec(child->launch));
}

/* ---- The parent */

/* ThreadSanitizer takes its clone for a fork and prepares the child, that is to say its own
 * memory. */
#if ROTA__TSAN
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
#define CLONE __clone
#else
#define CLONE clone
#endif

/* qemu-user does not know CLONE_PIDFD. The child cannot have been reaped in between, so its process
 * ID is not reused. Where filters refuse pidfd_open(2), too, -1 stands for the descriptor. */
static int clone_and_open(struct child *child, int flags, int *ret_pidfd)
{
    pid_t pid = (pid_t)rota__sys_result(
        CLONE(child_main, child->stack + STACK_SIZE, flags, child, NULL, NULL, NULL));
    if (pid < 0)
        return pid;
    int fd = (int)rota__sys_result(syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0 && !rota__process_refused(fd)) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return fd;
    }
    *ret_pidfd = fd < 0 ? -1 : fd;
    return pid;
}

static pid_t child_clone(struct child *child, int *ret_pidfd)
{
    const int flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
    const uint64_t all = ~UINT64_C(0);
    uint64_t before;
    /* Also those that the C library keeps for itself and would leave out. */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
    pid_t pid = (pid_t)rota__sys(EAGAIN, CLONE(child_main, child->stack + STACK_SIZE,
                                               flags | CLONE_PIDFD, child, ret_pidfd, NULL, NULL));
    if (pid == -EINVAL)
        pid = clone_and_open(child, flags, ret_pidfd);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof all);
    return pid;
}

/* Waits, where the memory is not shared, until the child has begun its program. */
static struct report child_report(struct child *child, int report_fd)
{
    struct report report = {STEP_PROGRAM, 0};
    if (child->entered)
        return (struct report){child->report.step, child->report.error};
    ssize_t n;
    do
        n = read(report_fd, &report, sizeof report);
    while (n < 0 && errno == EINTR);
    return report;
}

/* A longer path must not leave no room for the reason. */
enum { PATH_SHOWN = 150 };

static const char *program_name(const char *const *argv, const rota_process_options *options)
{
    return options->program ? options->program : argv && argv[0] ? argv[0] : "nothing";
}

static int launch_failed_at(const char *name, const char *step, const char *what, int err)
{
    rota_error_set(err, "spawn %.*s: %s%.*s%s%s", PATH_SHOWN, name, step, PATH_SHOWN, what,
                   *step ? ": " : "", rota_strerror(err));
    rota_log(ROTA_LOG_INFO, "%s", rota_error(err));
    return err;
}

int rota__launch_failed(const char *const *argv, const rota_process_options *options, int err)
{
    return launch_failed_at(program_name(argv, options), "", "", err);
}

static int report_failure(const struct rota__launch *launch, struct report report)
{
    static const char *const steps[] = {
        [STEP_SESSION] = "begin a session",
        [STEP_GROUP] = "begin a process group",
        [STEP_DESCRIPTOR] = "pass a descriptor",
        [STEP_CWD] = "change to ",
        [STEP_PROGRAM] = "",
    };
    return launch_failed_at(program_name(launch->argv, launch->options), steps[report.step],
                            report.step == STEP_CWD ? launch->options->cwd : "", -report.error);
}

static void reap_failed(pid_t pid, int pidfd)
{
    siginfo_t info;
    while (rota__process_waitid(pid, pidfd, &info, WEXITED) == -EINTR)
        continue;
    rota__sys_close(pidfd);
}

static int child_start(struct child *child, pid_t *ret_pid, int *ret_pidfd)
{
    int report_pipe[2], pidfd = -1;
    int err = (int)rota__sys(EMFILE, pipe2(report_pipe, O_CLOEXEC));
    if (err < 0)
        return rota__launch_failed(child->launch->argv, child->launch->options, err);
    child->report_fd = report_pipe[1];
    pid_t pid = child_clone(child, &pidfd);
    rota__sys_close(report_pipe[1]);
    struct report report = {STEP_PROGRAM, 0};
    if (pid > 0)
        report = child_report(child, report_pipe[0]);
    rota__sys_close(report_pipe[0]);
    if (pid < 0)
        return rota__launch_failed(child->launch->argv, child->launch->options, pid);
    if (report.error) {
        reap_failed(pid, pidfd);
        return report_failure(child->launch, report);
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}

int rota__launch_run(struct rota__launch *launch, pid_t *ret_pid, int *ret_pidfd)
{
    struct child *child = rota_alloc(sizeof *child);
    if (!child)
        return rota__launch_failed(launch->argv, launch->options, -ENOMEM);
    child->launch = launch;
    child->entered = false;
    child->report.error = 0;
    int err = child_start(child, ret_pid, ret_pidfd);
    rota_free(child);
    return err;
}

/* ---- Environment */

/* Whether `list` sets or removes the variable of `entry`. */
static bool names_variable(const char *const *list, const char *entry)
{
    size_t len = strcspn(entry, "=");
    for (; list && *list; list++) {
        if (strncmp(*list, entry, len) == 0 && ((*list)[len] == '=' || (*list)[len] == '\0'))
            return true;
    }
    return false;
}

static size_t list_length(const char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static int launch_set_env(struct rota__launch *launch)
{
    const rota_process_options *options = launch->options;
    const char *const *here = options->env_only ? NULL : (const char *const *)environ;
    launch->env =
        rota__alloc_array(list_length(here) + list_length(options->env) + 1, sizeof *launch->env);
    if (!launch->env)
        return -ENOMEM;
    char **next = launch->env;
    for (; here && *here; here++) {
        if (!names_variable(options->env, *here))
            *next++ = (char *)(uintptr_t)*here;
    }
    for (const char *const *set = options->env; set && *set; set++) {
        if (strchr(*set, '=') && !names_variable(set + 1, *set))
            *next++ = (char *)(uintptr_t)*set;
    }
    return 0;
}

static const char *search_path(char *const *env)
{
    for (; *env; env++) {
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    }
    return DEFAULT_PATH;
}

/* ---- Programs to try */

static int launch_set_programs(struct rota__launch *launch)
{
    const char *name = launch->options->program ? launch->options->program : launch->argv[0];
    const char *path = strchr(name, '/') ? "" : search_path(launch->env);
    size_t directories = 1;
    for (const char *p = path; *p; p++)
        directories += *p == ':';
    size_t room = strlen(path) + directories * (strlen(name) + 2);
    launch->programs = rota_zalloc((directories + 1) * sizeof *launch->programs + room);
    if (!launch->programs)
        return -ENOMEM;
    if (!*name)
        return 0; /* nothing has no name */
    char *text = (char *)(launch->programs + directories + 1);
    for (size_t i = 0; i < directories; i++) {
        size_t len = strcspn(path, ":"); /* an empty one is the working directory */
        launch->programs[i] = text;
        text += 1 + sprintf(text, "%.*s%s%s", (int)len, path, len ? "/" : "", name);
        path += len + 1;
    }
    return 0;
}

/* ---- Descriptors */

static int launch_set_passed(struct rota__launch *launch, const struct rota__passed *standard,
                             size_t standard_count)
{
    const rota_process_options *options = launch->options;
    launch->passed =
        rota__alloc_array(standard_count + options->fd_count + 1, sizeof *launch->passed);
    if (!launch->passed)
        return -ENOMEM;
    memcpy(launch->passed, standard, standard_count * sizeof *standard);
    launch->passed_count = standard_count;
    for (size_t i = 0; i < options->fd_count; i++) {
        struct rota__passed added = {options->fds[i].fd, options->fds[i].as};
        size_t at = launch->passed_count++;
        if (added.to < 3)
            return -EINVAL;
        for (; at > 0 && launch->passed[at - 1].to > added.to; at--)
            launch->passed[at] = launch->passed[at - 1];
        if (at > 0 && launch->passed[at - 1].to == added.to)
            return -EINVAL;
        launch->passed[at] = added;
    }
    return 0;
}

int rota__launch_init(struct rota__launch *launch, const char *const *argv,
                      const rota_process_options *options, const struct rota__passed *standard,
                      size_t standard_count)
{
    *launch = (struct rota__launch){.argv = argv, .options = options};
    int err = argv && argv[0] ? launch_set_env(launch) : -EINVAL;
    if (err == 0)
        err = launch_set_programs(launch);
    if (err == 0)
        err = launch_set_passed(launch, standard, standard_count);
    if (err < 0)
        rota__launch_fini(launch);
    return err;
}

void rota__launch_fini(struct rota__launch *launch)
{
    rota_free(launch->env);
    rota_free(launch->programs);
    rota_free(launch->passed);
}
