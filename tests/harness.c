/* Runs cases one after another. A case is forked into a process group of its own, with stdin empty
 * and stdout and stderr going into a memory file, so that nothing it does reaches its neighbours:
 *
 *   running -> ended by itself: child_wait, then verdict_of judges its status
 *           -> time is up:      child_wait kills it
 *
 * Either way the whole group is killed afterwards, so nothing that a case started outlives it.
 *
 * With --fail=KIND a case is run once to count the points where something of that kind can fail,
 * and then once for each point, which fails. Checks may then fail, of course; signals, hangs, leaks
 * and what a sanitizer finds may not. */

#include "harness.h"
#include "suspensions.h"

#include "base/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

enum { DEFAULT_SECONDS = 20, STATUS_CHECK_FAILED = 76, STATUS_SKIPPED = 77 };

/* How many points of a case are failed: all of them up to EVERY_POINT, unless the case is slow;
 * else as many as fit into about a second (ROTA_TEST_FAULT_SECONDS), but at least SOME_POINTS. A
 * CROWD does one thing over and over. */
enum { EVERY_POINT = 64, SLOW = 10, SOME_POINTS = 16, CROWD = 2000, SOME_OF_A_CROWD = 4 };

enum verdict { PASSED, FAILED, SKIPPED };

/* One run of a case. */
struct run {
    const struct test_case *test;
    char name[200];
    const char *backend; /* or NULL */
    uint64_t fault;      /* the point to fail; 0 for none */
    int limit;           /* seconds */

    /* How it ended. */
    enum verdict verdict;
    char why[200];
    char *output; /* all it wrote; to be freed */
    double seconds;
};

struct program {
    const char *name;
    char **words; /* name filters, NULL-terminated */
    bool list, verbose, no_fork;
    FILE *out;
    int counts[3]; /* by verdict */
};

static const char *const fault_names[ROTA__FAULT_KINDS] = {
    [ROTA__FAULT_ALLOC] = "alloc",
    [ROTA__FAULT_SYSCALL] = "syscall",
    [ROTA__FAULT_SUSPEND] = "suspend",
};

bool test_all_on_both_backends;

/* What --fail asked for, and, shared with the cases, how many points the last one passed. */
static struct {
    enum rota__fault_kind kind;
    uint64_t *points;
} faults = {.kind = ROTA__FAULT_KINDS};

static struct test_case *first_case;
static struct test_case **next_case = &first_case;

void test_register(struct test_case *test)
{
    *next_case = test;
    next_case = &test->next;
}

/* --- inside a case --- */

static void count_fault_points(void)
{
    if (faults.kind == ROTA__FAULT_KINDS)
        return;
    *faults.points = rota__fault_count(faults.kind);
    rota__fault_disarm();
}

static _Noreturn void end_case(int status)
{
    count_fault_points();
    fflush(NULL);
    /* Not exit(): this may be any thread and any stack, and leaks do not matter any more. */
    _exit(status);
}

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s:%d: ", file, line);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    end_case(STATUS_CHECK_FAILED);
}

static void print_int(const char *side, long long value, int error)
{
    printf(", %s is %lld", side, value);
    if (value == -1) /* of this library, or of libc */
        printf(" (%s; errno: %s)", strerror(1), strerror(error));
    else if (value < 0 && value >= -133)
        printf(" (%s)", strerror((int)-value));
}

_Noreturn void test_fail_int(const char *file, int line, const char *what, long long a, long long b)
{
    int error = errno;
    printf("%s:%d: CHECK_INT(%s)", file, line, what);
    print_int("left", a, error);
    print_int("right", b, error);
    printf("\n");
    end_case(STATUS_CHECK_FAILED);
}

void test_check_str(const char *file, int line, const char *what, const char *a, const char *b)
{
    if (a == b || (a && b && strcmp(a, b) == 0))
        return;
    test_fail(file, line, "CHECK_STR(%s): left is \"%s\", right is \"%s\"", what, a ? a : "(null)",
              b ? b : "(null)");
}

void test_check_mem(const char *file, int line, const char *what, const void *a, const void *b,
                    size_t len)
{
    const unsigned char *left = a, *right = b;

    for (size_t i = 0; i < len; i++)
        if (left[i] != right[i])
            test_fail(file, line,
                      "CHECK_MEM(%s): byte %zu is 0x%02x on the left, 0x%02x on the right", what, i,
                      left[i], right[i]);
}

_Noreturn void test_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    end_case(STATUS_SKIPPED);
}

const char *test_place_of_directories = "/tmp";

/* ROTA_TEST_RUN is a number by which tools/test.py finds what a run has left behind. */
static void directory_of(pid_t pid, char *ret_path, size_t size)
{
    const char *run = getenv("ROTA_TEST_RUN");
    snprintf(ret_path, size, "%s/rota-test-%d-%d", test_place_of_directories, run ? atoi(run) : 0,
             (int)pid);
}

const char *test_directory(void)
{
    static char path[64];
    static pid_t
        owner; /* what a case forks shares its directory: the case's process group is its name */
    if (owner != getpgrp()) {
        owner = getpgrp();
        directory_of(owner, path, sizeof path);
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            FAIL("mkdir %s: %s", path, strerror(errno));
    }
    return path;
}

int test_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    if (!dir)
        FAIL("/proc/self/fd: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* without the directory itself */
}

int test_scale(void)
{
    const char *scale = getenv("ROTA_TEST_SCALE");
    int value = scale ? atoi(scale) : 1;
    return value > 0 ? value : 1;
}

static void require_backend(const char *backend)
{
    if (!backend)
        return;
    /* With a null argument a kernel that has io_uring answers EFAULT, one that refuses it ENOSYS or
     * EPERM. */
    if (strcmp(backend, "uring") == 0 && syscall(SYS_io_uring_setup, 0, NULL) < 0 &&
        errno != EFAULT && errno != EINVAL)
        SKIP("io_uring is not available here: %s", strerror(errno));
    setenv("ROTA_BACKEND", backend, 1);
}

void test_valgrind_knows_no_uring(void)
{
    const char *backend = getenv("ROTA_BACKEND");
    if (RUNNING_ON_VALGRIND && backend && strcmp(backend, "uring") == 0)
        SKIP("valgrind does not know io_uring");
}

static bool is_child(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Moves what is in the directory `name` of `top` up into `top`. */
static void lift(int top, const char *name)
{
    static unsigned lifted;
    fchmodat(top, name, 0700, 0);
    DIR *dir = fdopendir(openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char free_name[32];
        snprintf(free_name, sizeof free_name, "lifted-%u", ++lifted);
        if (is_child(entry))
            renameat(dirfd(dir), entry->d_name, top, free_name);
    }
    if (dir)
        closedir(dir);
}

static bool remove_from(int top, const char *name)
{
    if (unlinkat(top, name, 0) == 0)
        return true;
    lift(top, name);
    return unlinkat(top, name, AT_REMOVEDIR) == 0;
}

/* Whatever is in it: trees may be deeper than a path is long, and than a process has
 * descriptors. */
static bool remove_directory(pid_t pid)
{
    char path[64];
    directory_of(pid, path, sizeof path);
    chmod(path, 0700);
    DIR *dir = opendir(path);
    for (bool more = dir; more; rewinddir(dir)) {
        more = false;
        for (struct dirent *entry; (entry = readdir(dir));)
            more |= is_child(entry) && remove_from(dirfd(dir), entry->d_name);
    }
    if (dir)
        closedir(dir);
    return rmdir(path) == 0 || errno == ENOENT;
}

static _Noreturn void child_run(const struct run *run, int output, const sigset_t *signals)
{
    signal(SIGINT, SIG_DFL); /* ignored in what a script starts in the background */
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    setpgid(0, 0);
    /* The group does not get a Ctrl-C meant for the harness. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    sigprocmask(SIG_SETMASK, signals, NULL);
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close(null);
    close(output);
    remove_directory(getpid()); /* of a case that had this number, and whose harness was killed */
    setenv("TMPDIR", test_directory(), 1);
    require_backend(run->backend);
    if (faults.kind != ROTA__FAULT_KINDS)
        rota__fault_arm(faults.kind, run->fault);
    run->test->body();
    count_fault_points();
    exit(EXIT_SUCCESS); /* exit handlers run, and with them the leak check */
}

/* --- around a case --- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits for the end of `pid`, at most until the deadline. Returns whether it ended by itself;
 * otherwise it has been killed. SIGCHLD is blocked, so its arrival cannot be missed. */
static bool child_wait(pid_t pid, double deadline, int *ret_status)
{
    sigset_t child;
    bool ended;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    while (!(ended = waitpid(pid, ret_status, WNOHANG) == pid)) {
        double left = deadline - now();
        if (left <= 0)
            break;
        struct timespec timeout = {(time_t)left, (long)((left - (double)(time_t)left) * 1e9)};
        sigtimedwait(&child, NULL, &timeout);
    }
    kill(-pid, SIGKILL);
    if (!ended)
        waitpid(pid, ret_status, 0);
    return ended;
}

/* The whole of what a case wrote, to be freed. */
static char *read_output(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)size + 1);

    if (text && pread(fd, text, (size_t)size, 0) < 0)
        text[0] = '\0';
    return text;
}

/* Judges how a case ended by itself. */
static void judge(struct run *run, int status)
{
    const struct test_case *test = run->test;

    run->verdict = FAILED;
    if (WIFSIGNALED(status) && WTERMSIG(status) != test->dies_of)
        snprintf(run->why, sizeof run->why, "ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED)
        run->verdict = SKIPPED;
    else if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_CHECK_FAILED && run->fault)
        run->verdict = PASSED;
    else if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_CHECK_FAILED)
        snprintf(run->why, sizeof run->why, "check failed");
    else if (WIFEXITED(status) && test->dies_of)
        snprintf(run->why, sizeof run->why, "should have ended by signal %d (%s), exited with %d",
                 test->dies_of, strsignal(test->dies_of), WEXITSTATUS(status));
    else if (WIFEXITED(status) && WEXITSTATUS(status) != test->exits_with)
        snprintf(run->why, sizeof run->why, "exited with %d", WEXITSTATUS(status));
    else if (test->says && !strstr(run->output, test->says))
        snprintf(run->why, sizeof run->why, "did not say \"%s\"", test->says);
    else
        run->verdict = PASSED;
}

static void print_indented(FILE *out, const char *text)
{
    while (*text) {
        int len = (int)strcspn(text, "\n");
        fprintf(out, "    %.*s\n", len, text);
        text += len;
        text += *text == '\n';
    }
}

static void report(struct program *program, const struct run *run)
{
    const struct test_case *test = run->test;

    program->counts[run->verdict]++;
    if (run->verdict == FAILED) {
        fprintf(program->out, "FAIL %s (%s:%d): %s\n", run->name, test->file, test->line, run->why);
        print_indented(program->out, run->output);
    } else if (run->verdict == SKIPPED) {
        fprintf(program->out, "SKIP %s: %.*s\n", run->name, (int)strcspn(run->output, "\n"),
                run->output);
    } else if (program->verbose) {
        fprintf(program->out, "ok   %s (%.3f s)\n", run->name, run->seconds);
    }
    fflush(program->out);
}

static void run_forked(struct run *run)
{
    int output = memfd_create("output", MFD_CLOEXEC), status = 0;
    sigset_t blocked, before;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    fflush(NULL);
    double start = now();
    pid_t pid = fork();
    if (pid == 0)
        child_run(run, output, &before);
    if (pid < 0 || output < 0) {
        perror("cannot start a test case");
        exit(EXIT_FAILURE);
    }
    setpgid(pid, pid); /* both processes do it, so that it is done whichever runs first */
    bool ended = child_wait(pid, start + run->limit, &status);
    sigprocmask(SIG_SETMASK, &before, NULL);
    bool removed = remove_directory(pid);

    run->seconds = now() - start;
    run->output = read_output(output);
    close(output);
    run->verdict = FAILED;
    if (!removed)
        snprintf(run->why, sizeof run->why, "its directory cannot be removed");
    else if (ended)
        judge(run, status);
    else
        snprintf(run->why, sizeof run->why, "hung: killed after %d s", run->limit);
}

static uint64_t points_to_fail(const struct run *run, uint64_t points)
{
    bool every = (run->test->every_suspend && faults.kind == ROTA__FAULT_SUSPEND) ||
                 getenv("ROTA_TEST_EVERY");
    const char *asked = getenv("ROTA_TEST_FAULT_SECONDS");
    double budget = asked ? atof(asked) : 1, each = run->seconds + 1e-3;
    uint64_t fit = (uint64_t)(budget / each) + (points < CROWD ? SOME_POINTS : SOME_OF_A_CROWD);
    bool few = points <= EVERY_POINT && (double)points * each <= SLOW * budget;
    return every || few || points <= fit ? points : fit;
}

/* Fails each point in turn; a case without points does not count. Where some are left out, the
 * first ones are all failed, and the rest is sampled. */
static void run_with_faults(struct run *run)
{
    *faults.points = 0;
    run_forked(run);
    uint64_t points = *faults.points;
    uint64_t fit = points_to_fail(run, points);
    uint64_t dense = fit < points ? fit / 2 : points;
    uint64_t stride = fit < points ? (points - dense) / (fit - dense) + 1 : 1;
    double seconds = run->seconds;

    run->limit = (int)(run->seconds * 20) + 5;
    for (uint64_t k = 1; k <= points && run->verdict == PASSED; k += k < dense ? 1 : stride) {
        free(run->output);
        run->fault = k;
        run_forked(run);
        seconds += run->seconds;
        /* A skip is how some cases take a failure of what they need. */
        if (run->verdict == SKIPPED)
            run->verdict = PASSED;
    }
    run->seconds = seconds;
    if (run->fault) {
        size_t len = strlen(run->name);
        snprintf(run->name + len, sizeof run->name - len,
                 " with %s %" PRIu64 " of %" PRIu64 " failing", fault_names[faults.kind],
                 run->fault, points);
    }
}

static bool is_wanted(const struct program *program, const char *name)
{
    if (!program->words[0])
        return true;
    for (char **word = program->words; *word; word++)
        if (strstr(name, *word))
            return true;
    return false;
}

static void run_case(struct program *program, const struct test_case *test, const char *backend)
{
    struct run run = {
        .test = test,
        .backend = backend,
        .limit = (test->seconds ? test->seconds : DEFAULT_SECONDS) * test_scale(),
    };

    snprintf(run.name, sizeof run.name, "%s%s%s%s", test->name, backend ? "[" : "",
             backend ? backend : "", backend ? "]" : "");
    if (!is_wanted(program, run.name))
        return;
    if (program->list) {
        fprintf(program->out, "%s\n", run.name);
        return;
    }
    if (program->no_fork) {
        require_backend(backend);
        test->body();
        remove_directory(getpgrp());
        program->counts[PASSED]++;
        return;
    }
    if (faults.kind == ROTA__FAULT_KINDS)
        run_forked(&run);
    else if (!test->dies_of && !test->exits_with && !test->without_faults)
        run_with_faults(&run);
    if (run.fault || run.verdict == FAILED || faults.kind == ROTA__FAULT_KINDS)
        report(program, &run);
    free(run.output);
}

static enum rota__fault_kind fault_kind_of(const char *name)
{
    for (int kind = 0; kind < ROTA__FAULT_KINDS; kind++)
        if (strcmp(fault_names[kind], name) == 0)
            return (enum rota__fault_kind)kind;
    fprintf(stderr, "--fail=%s: there are alloc, syscall and suspend\n", name);
    exit(EXIT_FAILURE);
}

static void parse_arguments(struct program *program, int argc, char **argv)
{
    int words = 0;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0)
            program->list = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            program->verbose = true;
        else if (strcmp(argv[i], "--no-fork") == 0)
            program->no_fork = true;
        else if (strncmp(argv[i], "--fail=", 7) == 0)
            faults.kind = fault_kind_of(argv[i] + 7);
        else
            program->words[words++] = argv[i];
    }
}

int test_run(struct test_case *first, int argc, char **argv, FILE *out)
{
    typeof(faults) outer = faults; /* the harness's own tests run inside a case */
    const char *slash = strrchr(argv[0], '/');
    struct program program = {
        .name = slash ? slash + 1 : argv[0],
        .words = calloc((size_t)argc, sizeof(char *)),
        .out = out,
    };

    void *shared = mmap(NULL, sizeof *faults.points, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (!program.words || shared == MAP_FAILED)
        return EXIT_FAILURE;
    faults.kind = ROTA__FAULT_KINDS;
    faults.points = shared;
    parse_arguments(&program, argc, argv);
    for (struct test_case *test = first; test; test = test->next) {
        if (test->both_backends || test_all_on_both_backends) {
            run_case(&program, test, "epoll");
            run_case(&program, test, "uring");
        } else {
            run_case(&program, test, NULL);
        }
    }
    munmap(shared, sizeof *faults.points);
    faults = outer;
    free(program.words);
    if (!program.list)
        fprintf(out, "# %s: %d passed, %d failed, %d skipped\n", program.name,
                program.counts[PASSED], program.counts[FAILED], program.counts[SKIPPED]);
    return program.counts[FAILED] ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    stops_watch();
    return test_run(first_case, argc, argv, stdout);
}
