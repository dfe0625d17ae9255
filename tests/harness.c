/* Runs cases one after another. A case is forked into a process group of its own, with stdin empty
 * and stdout and stderr going into a memory file, so that nothing it does reaches its neighbours:
 *
 *   running -> ended by itself: child_wait, then verdict_of judges its status
 *           -> time is up:      child_wait kills it
 *
 * Either way the whole group is killed afterwards, so nothing that a case started outlives it. */

#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_SECONDS = 20, STATUS_SKIPPED = 77 };

enum verdict { PASSED, FAILED, SKIPPED };

struct program {
    const char *name;
    char **words; /* name filters, NULL-terminated */
    bool list, verbose, no_fork;
    FILE *out;
    int counts[3]; /* by verdict */
};

bool test_all_on_both_backends;

static struct test_case *first_case;
static struct test_case **next_case = &first_case;

void test_register(struct test_case *test)
{
    *next_case = test;
    next_case = &test->next;
}

/* --- inside a case --- */

static _Noreturn void end_case(int status)
{
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
    end_case(EXIT_FAILURE);
}

static void print_int(const char *side, long long value)
{
    printf(", %s is %lld", side, value);
    if (value < 0 && value >= -133)
        printf(" (%s)", strerror((int)-value));
}

_Noreturn void test_fail_int(const char *file, int line, const char *what, long long a, long long b)
{
    printf("%s:%d: CHECK_INT(%s)", file, line, what);
    print_int("left", a);
    print_int("right", b);
    printf("\n");
    end_case(EXIT_FAILURE);
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
    /* With a null argument a kernel that has io_uring answers EFAULT, one that refuses it ENOSYS or EPERM. */
    if (strcmp(backend, "uring") == 0 && syscall(SYS_io_uring_setup, 0, NULL) < 0 &&
        errno != EFAULT && errno != EINVAL)
        SKIP("io_uring is not available here: %s", strerror(errno));
    setenv("ROTA_BACKEND", backend, 1);
}

static _Noreturn void child_run(const struct test_case *test, const char *backend, int output,
                                const sigset_t *signals)
{
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
    require_backend(backend);
    test->body();
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

/* Judges how a case ended; `ret_why` gets a line for the report. */
static enum verdict verdict_of(const struct test_case *test, int status, const char *output,
                               char *ret_why, size_t why_size)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) != test->dies_of)
        snprintf(ret_why, why_size, "ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED)
        return SKIPPED;
    else if (WIFEXITED(status) && test->dies_of)
        snprintf(ret_why, why_size, "should have ended by signal %d (%s), exited with %d",
                 test->dies_of, strsignal(test->dies_of), WEXITSTATUS(status));
    else if (WIFEXITED(status) && WEXITSTATUS(status) != test->exits_with)
        snprintf(ret_why, why_size, "exited with %d", WEXITSTATUS(status));
    else if (test->says && !strstr(output, test->says))
        snprintf(ret_why, why_size, "did not say \"%s\"", test->says);
    else
        return PASSED;
    return FAILED;
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

static void report(struct program *program, const struct test_case *test, const char *name,
                   enum verdict verdict, const char *why, const char *output, double seconds)
{
    program->counts[verdict]++;
    if (verdict == FAILED) {
        fprintf(program->out, "FAIL %s (%s:%d): %s\n", name, test->file, test->line, why);
        print_indented(program->out, output);
    } else if (verdict == SKIPPED) {
        fprintf(program->out, "SKIP %s: %.*s\n", name, (int)strcspn(output, "\n"), output);
    } else if (program->verbose) {
        fprintf(program->out, "ok   %s (%.3f s)\n", name, seconds);
    }
    fflush(program->out);
}

static void run_forked(struct program *program, const struct test_case *test, const char *name,
                       const char *backend)
{
    int limit = (test->seconds ? test->seconds : DEFAULT_SECONDS) * test_scale();
    int output = memfd_create("output", MFD_CLOEXEC), status = 0;
    sigset_t blocked, before;
    char why[200];

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    fflush(NULL);
    double start = now();
    pid_t pid = fork();
    if (pid == 0)
        child_run(test, backend, output, &before);
    if (pid < 0 || output < 0) {
        perror("cannot start a test case");
        exit(EXIT_FAILURE);
    }
    setpgid(pid, pid); /* both do it, so that it is done whoever comes first */
    bool ended = child_wait(pid, start + limit, &status);
    sigprocmask(SIG_SETMASK, &before, NULL);

    char *text = read_output(output);
    close(output);
    enum verdict verdict = FAILED;
    if (ended)
        verdict = verdict_of(test, status, text, why, sizeof why);
    else
        snprintf(why, sizeof why, "hung: killed after %d s", limit);
    report(program, test, name, verdict, why, text, now() - start);
    free(text);
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
    char name[200];

    snprintf(name, sizeof name, backend ? "%s[%s]" : "%s", test->name, backend);
    if (!is_wanted(program, name))
        return;
    if (program->list) {
        fprintf(program->out, "%s\n", name);
    } else if (program->no_fork) {
        require_backend(backend);
        test->body();
        program->counts[PASSED]++;
    } else {
        run_forked(program, test, name, backend);
    }
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
        else
            program->words[words++] = argv[i];
    }
}

int test_run(struct test_case *first, int argc, char **argv, FILE *out)
{
    const char *slash = strrchr(argv[0], '/');
    struct program program = {
        .name = slash ? slash + 1 : argv[0],
        .words = calloc((size_t)argc, sizeof(char *)),
        .out = out,
    };

    if (!program.words)
        return EXIT_FAILURE;
    parse_arguments(&program, argc, argv);
    for (struct test_case *test = first; test; test = test->next) {
        if (test->both_backends || test_all_on_both_backends) {
            run_case(&program, test, "epoll");
            run_case(&program, test, "uring");
        } else {
            run_case(&program, test, NULL);
        }
    }
    free(program.words);
    if (!program.list)
        fprintf(out, "# %s: %d passed, %d failed, %d skipped\n", program.name,
                program.counts[PASSED], program.counts[FAILED], program.counts[SKIPPED]);
    return program.counts[FAILED] ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    return test_run(first_case, argc, argv, stdout);
}
