/* Processes. Children are the small programs that every system has; what they do next is told to
 * them through their pipes, so nothing here depends on time. */

#include "base/alloc.h"
#include "clean_run.h"
#include "coro/coro.h"

#include <rota.h>
#include <rota/test.h>

#include <elf.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

static const rota_process_options piped = {
    .in = ROTA_PROCESS_PIPE, .out = ROTA_PROCESS_PIPE, .err = ROTA_PROCESS_PIPE};

static char reports[8000];

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    size_t len = strlen(reports);
    snprintf(reports + len, sizeof reports - len, "%s\n", message);
}

static rota_process *spawn(const char *const *argv, const rota_process_options *options)
{
    rota_process *p = NULL;
    CHECK_OK(rota_process_spawn(argv, options, &p));
    return p;
}

/* A child that says "ready" when it runs `script`. */
static rota_process *spawn_ready(const char *script)
{
    char text[500];
    rota_str line;
    snprintf(text, sizeof text, "%s", script);
    rota_process *p = spawn(ROTA_SHELL(text), &piped);
    CHECK_INT(rota_stream_read_line(rota_process_out(p), &line), ==, 1);
    CHECK_STR(line.ptr, "ready");
    return p;
}

/* What a program that succeeds says. */
static void expect(const char *const *argv, const rota_process_options *options, const char *said)
{
    ROTA_SCOPED(rota_communication) c = ROTA_COMMUNICATION_INIT;
    CHECK_INT(rota_process_run(argv, options, &c), ==, 0);
    CHECK_STR(c.out.ptr, said);
}

/* ---- The snippets of the header */

static int sorted(void *arg)
{
    ROTA_SCOPED(rota_communication) c = {.input = {"pear\napple\n", 11}};
    int code = rota_process_run(ROTA_ARGV("sort"), NULL, &c);
    if (code != 0)
        return code < 0 ? code : -EIO;
    fputs(c.out.ptr, stdout);
    CHECK_STR(c.out.ptr, "apple\npear\n");
    CHECK_INT(c.input.len, ==, 0);
    return 0;
}

static int first_answer(void *arg)
{
    ROTA_AUTO(rota_process) bc = NULL;
    rota_process_options o = {.in = ROTA_PROCESS_PIPE, .out = ROTA_PROCESS_PIPE};
    int err = rota_process_spawn(ROTA_SHELL("read x; echo $(($x))"), &o, &bc);
    if (err < 0)
        return err;
    err = rota_stream_write(rota_process_in(bc), "6 * 7\n", 6);
    if (err < 0)
        return err;
    rota_str line;
    err = rota_stream_read_line(rota_process_out(bc), &line);
    return err > 0 ? atoi(line.ptr) : err;
}

TEST(snippets_of_the_header_work)
{
    run(sorted, NULL);
    CHECK_INT(run_clean(first_answer, NULL, false), ==, 42);
}

/* ---- Starting */

static int fail_to_start(void *arg)
{
    rota_log_set(keep_report, NULL);
    rota_process *p = NULL;
    rota_process_options nowhere = {.cwd = "/nonexistent"}, in_a_file = {.cwd = "/etc/passwd"};
    rota_process_options closed = {.out = 999};
    rota_process_options unknown = {.err = -5};
    CHECK_INT(rota_process_spawn(ROTA_ARGV("nosuchprogram"), NULL, &p), ==, -ENOENT);
    CHECK(strstr(reports, "spawn nosuchprogram: No such file"));
    CHECK_INT(rota_process_spawn(ROTA_ARGV("/etc/passwd"), NULL, &p), ==, -EACCES);
    CHECK_INT(rota_process_spawn(ROTA_ARGV("/etc/passwd/x"), NULL, &p), ==, -ENOTDIR);
    CHECK_INT(rota_process_spawn(ROTA_ARGV(""), NULL, &p), ==, -ENOENT);
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &nowhere, &p), ==, -ENOENT);
    CHECK(strstr(reports, "spawn true: change to /nonexistent: No such file"));
    CHECK_STR(rota_error(-ENOENT), "spawn true: change to /nonexistent: No such file or directory");
    CHECK_INT(rota_process_run(ROTA_ARGV("nosuchprogram"), NULL, NULL), ==, -ENOENT);
    CHECK_STR(rota_error(-ENOENT), "spawn nosuchprogram: No such file or directory");
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &in_a_file, &p), ==, -ENOTDIR);
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &closed, &p), ==, -EBADF);
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &unknown, &p), ==, -EBADF);
    CHECK_INT(rota_process_spawn((const char *[]){NULL}, NULL, &p), ==, -EINVAL);
    CHECK_INT(rota_process_spawn(NULL, NULL, &p), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "spawn nothing: Invalid argument");
    CHECK_PTR(p, ==, NULL);
    return 0;
}

TEST(spawn_says_why_a_program_cannot_be_run)
{
    run(fail_to_start, NULL);
}

TASK_TEST(arguments_that_are_too_long_are_refused)
{
    enum { SIZE = 8 * 1024 * 1024 };
    char *text = malloc(SIZE);
    rota_process *p = NULL;
    CHECK(text);
    memset(text, 'x', SIZE - 1);
    text[SIZE - 1] = '\0';
    int err = rota_process_spawn(ROTA_ARGV("true", text), NULL, &p);
    free(text);
    CHECK_INT(err, ==, -E2BIG);
}

/* A file in the directory of the case. */
static void make_program(char path[120], const void *bytes, size_t len, int mode)
{
    snprintf(path, 120, "%s/program", test_directory());
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    CHECK_OK(fd);
    CHECK_INT(write(fd, bytes, len), ==, (ssize_t)len);
    close(fd);
}

TASK_TEST(file_that_is_no_program_is_refused)
{
    char path[120];
    rota_process *p = NULL;
    make_program(path, "rubbish", 7, 0755);
    int err = rota_process_spawn((const char *[]){path, NULL}, NULL, &p);
    CHECK_INT(err, ==, -ENOEXEC);
}

/* The kernel finds out that nothing can be mapped there when the old program is gone already. */
TASK_TEST(child_that_dies_while_it_is_started_counts_as_started)
{
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment;
    } file = {.segment = {.p_type = PT_LOAD, .p_flags = PF_R, .p_align = 4096}};
    char path[120];
    rota_process_status status = {0};
    int sh = open("/bin/sh", O_RDONLY | O_CLOEXEC);
    CHECK_INT(read(sh, &file.header, sizeof file.header), ==, sizeof file.header);
    close(sh);
    file.header.e_type = ET_EXEC;
    file.header.e_phoff = sizeof file.header;
    file.header.e_phnum = 1;
    file.segment.p_vaddr = UINT64_C(0xffff800000000000);
    file.segment.p_filesz = file.segment.p_memsz = sizeof file;
    make_program(path, &file, sizeof file, 0755);
    ROTA_AUTO(rota_process) p = NULL;
    int err = rota_process_spawn((const char *[]){path, NULL}, NULL, &p);
    CHECK_OK(err);
    CHECK_INT(rota_process_wait(p, &status), >, 128);
    CHECK_INT(status.signal, !=, 0);
}

static int search(void *arg)
{
    const char *directory = test_directory();
    char path[120], variable[200], two[240];
    static const char script[] = "#!/bin/sh\necho found $0 $1";
    make_program(path, script, sizeof script - 1, 0755);
    snprintf(variable, sizeof variable, "PATH=%s", directory);
    snprintf(two, sizeof two, "found %s x\n", path);
    rota_process_options there = {.env = (const char *[]){variable, NULL}};
    expect(ROTA_ARGV("program", "x"), &there, two);
    snprintf(variable, sizeof variable, "PATH=/etc/passwd:/nonexistent::%s", directory);
    expect(ROTA_ARGV("program", "x"), &there, two);
    /* An empty entry is the working directory, and the search is made there. */
    rota_process_options in_cwd = {.cwd = directory, .env = (const char *[]){"PATH=:/bin", NULL}};
    expect(ROTA_ARGV("program", "x"), &in_cwd, "found program x\n");
    expect(ROTA_ARGV("./program", "x"), &in_cwd, "found ./program x\n");
    rota_process_options other = {.program = "program", .env = there.env};
    expect(ROTA_ARGV("other", "x"), &other, two);
    chmod(path, 0600);
    rota_process *p = NULL;
    CHECK_INT(rota_process_spawn(ROTA_ARGV("program"), &there, &p), ==, -EACCES);
    rota_process_options no_path = {.env_only = true};
    expect(ROTA_ARGV("echo", "x"), &no_path, "x\n");
    return 0;
}

TEST(program_is_looked_up_in_the_path_of_the_child)
{
    run(search, NULL);
}

TASK_TEST(environment_is_changed_or_replaced)
{
    setenv("ROTA_KEPT", "1", 1);
    setenv("ROTA_GONE", "2", 1);
    setenv("ROTA_SET", "3", 1);
    rota_process_options changed = {
        .env = (const char *[]){"ROTA_GONE", "ROTA_SET=no", "ROTA_SET=4", "ROTA_NEW=5=6", NULL}};
    expect(ROTA_SHELL("env | grep ^ROTA_[KGSN] | sort"), &changed,
           "ROTA_KEPT=1\nROTA_NEW=5=6\nROTA_SET=4\n");
    changed.env_only = true;
    expect(ROTA_ARGV("env"), &changed, "ROTA_SET=4\nROTA_NEW=5=6\n");
    rota_process_options nothing = {.env_only = true};
    expect(ROTA_ARGV("env"), &nothing, "");
}

TASK_TEST(long_path_does_not_push_the_reason_out)
{
    char path[4000] = "/nonexistent/";
    memset(path + strlen(path), 'x', sizeof path - strlen(path) - 1);
    rota_process_options o = {.cwd = path};
    const char *why = rota_error(rota_process_run(ROTA_ARGV("true"), &o, NULL));
    CHECK(strstr(why, "spawn true: change to /nonexistent/xxx"));
    CHECK_PTR(strstr(why, "xxx: "), !=, NULL);
}

TASK_TEST(working_directory_is_set)
{
    rota_process_options o = {.cwd = "/proc"};
    expect(ROTA_ARGV("pwd", "-P"), &o, "/proc\n");
}

/* ---- Descriptors */

static void expect_in_file(int fd, const char *said)
{
    char buf[200];
    ssize_t n = pread(fd, buf, sizeof buf - 1, 0);
    CHECK_OK(n);
    buf[n] = '\0';
    CHECK_STR(buf, said);
}

TASK_TEST(standard_streams_go_where_they_are_sent)
{
    FILE *file = tmpfile();
    CHECK(file);
    int fd = fileno(file);
    rota_process_options to_file = {.out = fd, .err = ROTA_PROCESS_STDOUT};
    CHECK_INT(rota_process_run(ROTA_SHELL("echo a; echo b >&2"), &to_file, NULL), ==, 0);
    expect_in_file(fd, "a\nb\n");

    rota_process_options merged = {.err = ROTA_PROCESS_STDOUT};
    expect(ROTA_SHELL("echo a; echo b >&2"), &merged, "a\nb\n");

    rota_process_options nothing = {.in = ROTA_PROCESS_NULL, .err = ROTA_PROCESS_NULL};
    expect(ROTA_SHELL("cat; echo lost >&2; readlink /proc/self/fd/0"), &nothing, "/dev/null\n");

    lseek(fd, 0, SEEK_SET);
    rota_process_options from_file = {.in = fd};
    expect(ROTA_ARGV("cat"), &from_file, "a\nb\n");

    rota_process_options nonsense = {.out = ROTA_PROCESS_STDOUT};
    rota_process *p = NULL;
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &nonsense, &p), ==, -EINVAL);
    fclose(file);
}

TASK_TEST(standard_error_is_read_by_itself)
{
    rota_process_options o = {.err = ROTA_PROCESS_PIPE};
    ROTA_AUTO(rota_process) p = spawn(ROTA_SHELL("echo trouble >&2"), &o);
    rota_str line;
    CHECK_PTR(rota_process_in(p), ==, NULL);
    CHECK_PTR(rota_process_out(p), ==, NULL);
    CHECK_INT(rota_stream_read_line(rota_process_err(p), &line), ==, 1);
    CHECK_STR(line.ptr, "trouble");
    CHECK_INT(rota_stream_read_line(rota_process_err(p), &line), ==, 0);
}

/* Numbers that cross each other, and the child's own needs. */
TASK_TEST(descriptors_are_passed_under_the_numbers_that_are_asked_for)
{
    int a[2], b[2];
    CHECK_OK(pipe(a));
    CHECK_OK(pipe(b));
    CHECK_INT(write(a[1], "a\n", 2), ==, 2);
    CHECK_INT(write(b[1], "b\n", 2), ==, 2);
    close(a[1]);
    close(b[1]);
    rota_process_fd fds[] = {{b[0], a[0]}, {a[0], b[0]}, {a[0], 3}};
    rota_process_options o = {.fds = fds, .fd_count = 2};
    char script[100];
    snprintf(script, sizeof script, "cat <&%d; cat <&%d", a[0], b[0]);
    expect(ROTA_SHELL(script), &o, "b\na\n");
    rota_process *p = NULL;
    rota_process_fd low = {a[0], 2}, high = {a[0], INT_MAX}, twice[] = {{a[0], 7}, {b[0], 7}};
    rota_process_options bad = {.fds = &low, .fd_count = 1};
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &bad, &p), ==, -EINVAL);
    bad.fds = &high;
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &bad, &p), ==, -EINVAL);
    bad = (rota_process_options){.fds = twice, .fd_count = 2};
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &bad, &p), ==, -EINVAL);
    close(a[0]);
    close(b[0]);
}

static int leak_nothing(void *arg)
{
    int sloppy[4];
    for (int i = 0; i < 4; i++)
        CHECK_OK(sloppy[i] = open("/dev/null", O_RDONLY)); /* without O_CLOEXEC */
    rota_process_fd fds[] = {{sloppy[3], 5}, {sloppy[0], 9}};
    rota_process_options o = {.in = ROTA_PROCESS_NULL};
    /* What ls opens itself takes the lowest free number. */
    expect(ROTA_ARGV("ls", "/proc/self/fd"), &o, "0\n1\n2\n3\n");
    o.fds = fds;
    o.fd_count = 2;
    expect(ROTA_ARGV("ls", "/proc/self/fd"), &o, "0\n1\n2\n3\n5\n9\n");
    for (int i = 0; i < 4; i++)
        close(sloppy[i]);
    return 0;
}

TEST(no_other_descriptor_leaks_into_a_child)
{
    run(leak_nothing, NULL);
}

static int without_standard_streams(void *arg)
{
    rota_process_options o = {.in = ROTA_PROCESS_NULL};
    expect(ROTA_ARGV("echo", "x"), &o, "x\n");
    expect(ROTA_SHELL("cat; echo y >&2"), &o, "");
    return 0;
}

TEST(pipes_work_where_the_standard_streams_are_closed)
{
    int kept[3];
    for (int i = 0; i < 3; i++) {
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        close(i);
    }
    run(without_standard_streams, NULL);
    for (int i = 0; i < 3; i++)
        dup2(kept[i], i);
}

/* ---- Signals of the child */

static void do_nothing(int number)
{
}

/* A shell starts what is to run beside it with some ignored. */
static void ignore_none(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            signal(number, SIG_DFL);
    }
}

TASK_TEST(child_has_default_signals_but_for_those_that_are_ignored)
{
    sigset_t set;
    ignore_none();
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK_INT(pthread_sigmask(SIG_BLOCK, &set, NULL), ==, 0);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR2, do_nothing);
    expect(ROTA_ARGV("sed", "-n", "/^Sig[BIC]/s/.*\t//p", "/proc/self/status"), NULL,
           "0000000000000000\n0000000000000001\n0000000000000000\n");
    sigset_t now;
    CHECK_INT(pthread_sigmask(SIG_SETMASK, NULL, &now), ==, 0);
    CHECK_INT(sigismember(&now, SIGUSR1), ==, 1);
    CHECK_INT(sigismember(&now, SIGUSR2), ==, 0);
}

/* ---- Waiting */

static int all_ends(void *arg)
{
    char text[ROTA_PROCESS_STATUS_TEXT];
    rota_process_status status;
    ROTA_AUTO(rota_process) a = spawn(ROTA_SHELL("exit 3"), NULL);
    ROTA_AUTO(rota_process) b = spawn(ROTA_SHELL("kill -9 $$"), NULL);
    CHECK_INT(rota_process_wait(a, &status), ==, 3);
    CHECK_INT(status.code, ==, 3);
    CHECK_INT(status.signal, ==, 0);
    CHECK_STR(rota_process_status_text(&status, text), "exit code 3");
    CHECK_INT(rota_process_wait(a, NULL), ==, 3);
    CHECK(rota_process_done(a));
    CHECK_INT(rota_process_kill(a, SIGTERM), ==, -ESRCH);
    CHECK_INT(rota_process_terminate(a, ROTA_SECOND, NULL), ==, 3);
    CHECK_INT(rota_process_wait(b, &status), ==, 137);
    CHECK_INT(status.signal, ==, SIGKILL);
    CHECK_STR(rota_process_status_text(&status, text), "signal 9 (Killed)");
    return 0;
}

TEST(wait_tells_how_a_process_ended_as_often_as_it_is_asked)
{
    run(all_ends, NULL);
}

static int wait_for_it(void *arg)
{
    return rota_process_wait(arg, NULL);
}

TASK_TEST(several_tasks_may_wait_for_one_process)
{
    enum { N = 5 };
    rota_task *tasks[N];
    ROTA_AUTO(rota_process) p = spawn(ROTA_SHELL("read x; exit 4"), &piped);
    for (int i = 0; i < N; i++)
        CHECK_OK(rota_spawn(wait_for_it, p, &tasks[i]));
    CHECK_OK(rota_yield());
    CHECK(!rota_process_done(p));
    CHECK_STR(rota_task_waits_for(tasks[0]), "process exit");
    rota_task_cancel(tasks[1]);
    CHECK_INT(rota_join(tasks[1]), ==, -ECANCELED);
    CHECK_OK(rota_stream_write(rota_process_in(p), "\n", 1));
    for (int i = 0; i < N; i++) {
        if (i != 1)
            CHECK_INT(rota_join(tasks[i]), ==, 4);
    }
}

static int free_under_waiters(void *arg)
{
    rota_task *task;
    rota_process *p = spawn_ready("echo ready; exec sleep 1000");
    CHECK_OK(rota_spawn(wait_for_it, p, &task));
    CHECK_OK(rota_yield());
    CHECK_PTR(rota_process_free(p), ==, NULL);
    CHECK_INT(rota_join(task), ==, 128 + SIGKILL);
    CHECK_PTR(rota_process_free(NULL), ==, NULL);
    return 0;
}

TEST(who_waits_for_a_process_that_is_freed_learns_how_it_ended)
{
    run(free_under_waiters, NULL);
}

VIRTUAL_TASK_TEST(waiting_that_is_interrupted_leaves_the_process_alone)
{
    int err = 0;
    ROTA_AUTO(rota_process) p = spawn_ready("echo ready; read x; exit 5");
    ROTA_TIMEOUT (ROTA_SECOND) {
        err = rota_process_wait(p, NULL);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK(!rota_process_done(p));
    CHECK_OK(rota_stream_close(rota_process_in(p)));
    CHECK_INT(rota_process_wait(p, NULL), ==, 5);
}

static int hold_and_sleep(void *arg)
{
    ROTA_AUTO(rota_process) p = spawn_ready("echo ready; exec sleep 1000");
    *(pid_t *)arg = rota_process_pid(p);
    return rota_sleep(ROTA_NEVER);
}

static int cancel_holder(void *arg)
{
    rota_task *task;
    pid_t pid = 0;
    CHECK_OK(rota_spawn(hold_and_sleep, &pid, &task));
    while (!pid)
        CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_INT(kill(pid, 0), ==, -1);
    return 0;
}

TEST(process_ends_with_the_block_of_a_cancelled_task)
{
    run(cancel_holder, NULL);
}

VIRTUAL_TASK_TEST(process_ends_with_the_block_that_a_deadline_ends)
{
    pid_t pid = 0;
    int err = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        ROTA_AUTO(rota_process) p = NULL;
        ROTA_SHIELD
        {
            p = spawn_ready("echo ready; exec sleep 1000");
        }
        pid = rota_process_pid(p);
        err = rota_sleep(ROTA_NEVER);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(kill(pid, 0), ==, -1);
}

static int spawn_talk_and_wait(void *arg)
{
    ROTA_SCOPED(rota_communication) c = {.input = {"x\n", 2}};
    int code = rota_process_run(ROTA_SHELL("cat; echo y >&2"), NULL, &c);
    if (code < 0)
        return code;
    ROTA_AUTO(rota_process) p = NULL;
    rota_process_options o = {.out = ROTA_PROCESS_PIPE, .group = true, .grace = ROTA_MINUTE};
    int err = rota_process_spawn(ROTA_SHELL("sleep 1000 & echo; sleep 1000"), &o, &p);
    rota_str line;
    if (err == 0)
        err = rota_stream_read_line(rota_process_out(p), &line);
    return err < 0 ? err : rota_process_terminate(p, ROTA_MINUTE, NULL);
}

/* A zombie would stay, so one look at the end finds it whichever run has left it. */
TEST_WITH(whatever_fails_no_child_is_left, .without_faults = true, .seconds = 60)
{
    static const rota_test_fault faults[] = {ROTA_TEST_ALLOCATION, ROTA_TEST_SYSCALL,
                                             ROTA_TEST_SUSPENSION};
    for (int i = 0; i < 3; i++) {
        CHECK_INT(rota_test_each_fault(faults[i], spawn_talk_and_wait, NULL), >=, 0);
        CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
    }
}

static int leave_running(void *arg)
{
    rota_process **processes = arg;
    processes[0] = spawn_ready("echo ready; exec sleep 1000");
    processes[1] = spawn(ROTA_ARGV("true"), NULL);
    CHECK_INT(rota_process_wait(processes[1], NULL), ==, 0);
    return 0;
}

TEST_WITH(process_that_is_left_ends_with_the_loop, .without_faults = true)
{
    rota_process *processes[2];
    rota_loop_options options = {0};
    CHECK_OK(rota_run_with(leave_running, processes, &options));
    CHECK_INT(kill(rota_process_pid(processes[0]), 0), ==, -1);
    CHECK(rota_process_done(processes[0]));
    CHECK_PTR(rota_process_in(processes[0]), ==, NULL);
    rota_process_free(processes[0]);
    rota_process_free(processes[1]);
    CHECK_INT(rota__alloc_live(), ==, 0);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
}

/* ---- Ending */

static int terminate_willing(void *arg)
{
    ROTA_AUTO(rota_process) p = spawn_ready("trap 'exit 6' TERM; echo ready; read x");
    CHECK_INT(rota_process_terminate(p, ROTA_MINUTE, NULL), ==, 6);
    ROTA_AUTO(rota_process) plain = spawn_ready("echo ready; read x");
    CHECK_INT(rota_process_terminate(plain, ROTA_MINUTE, NULL), ==, 128 + SIGTERM);
    ROTA_AUTO(rota_process) at_once = spawn_ready("echo ready; read x");
    CHECK_INT(rota_process_terminate(at_once, 0, NULL), ==, 128 + SIGKILL);
    return 0;
}

TEST(terminated_process_may_clean_up)
{
    run(terminate_willing, NULL);
}

TASK_TEST(stopped_process_hears_that_it_is_to_end)
{
    ROTA_AUTO(rota_process) p = spawn_ready("trap 'exit 7' TERM; echo ready; read x");
    CHECK_INT(rota_process_kill(p, SIGSTOP), ==, 0);
    siginfo_t info;
    CHECK_OK(waitid(P_PID, (id_t)rota_process_pid(p), &info, WSTOPPED | WNOWAIT));
    CHECK(!rota_process_done(p));
    CHECK_INT(rota_process_terminate(p, ROTA_MINUTE, NULL), ==, 7);
}

VIRTUAL_TASK_TEST(process_that_does_not_end_in_its_grace_is_killed)
{
    ROTA_AUTO(rota_process) p = spawn_ready("trap '' TERM; echo ready; read x");
    CHECK_INT(rota_process_terminate(p, ROTA_MINUTE, NULL), ==, 128 + SIGKILL);
}

VIRTUAL_TASK_TEST(interrupted_grace_leaves_the_process_alone)
{
    ROTA_AUTO(rota_process) p = spawn_ready("trap '' TERM; echo ready; read x; exit 8");
    int err = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        err = rota_process_terminate(p, ROTA_MINUTE, NULL);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_OK(rota_stream_close(rota_process_in(p)));
    CHECK_INT(rota_process_wait(p, NULL), ==, 8);
}

TASK_TEST(freed_process_has_the_grace_of_its_options)
{
    int ends[2];
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    rota_process_fd fd = {ends[1], 3};
    rota_process_options o = {.in = ROTA_PROCESS_PIPE,
                              .out = ROTA_PROCESS_PIPE,
                              .fds = &fd,
                              .fd_count = 1,
                              .grace = ROTA_MINUTE};
    rota_process *p = spawn(
        ROTA_SHELL(
            "trap 'echo bye >&3; exit' TERM; echo ready; while :; do sleep 1000 3>&- & wait; done"),
        &o);
    close(ends[1]);
    rota_str line;
    CHECK_INT(rota_stream_read_line(rota_process_out(p), &line), ==, 1);
    rota_process_free(p);
    char said[10] = "";
    CHECK_INT(read(ends[0], said, sizeof said - 1), ==, 4);
    CHECK_STR(said, "bye\n");
    close(ends[0]);
}

static int spawn_group(void *arg)
{
    /* The grandchild keeps the pipe open as long as it lives. */
    rota_process_options o = {.out = ROTA_PROCESS_PIPE, .group = true};
    rota_process *p = spawn(ROTA_SHELL("sleep 1000 & echo ready; exit 9"), &o);
    rota_str line;
    CHECK_INT(rota_stream_read_line(rota_process_out(p), &line), ==, 1);
    CHECK_INT(rota_process_wait(p, NULL), ==, 9);
    CHECK_INT(rota_process_wait(p, NULL), ==, 9);
    CHECK_INT(rota_process_kill(p, SIGTERM), ==, 0); /* the grandchild hears it */
    char byte;
    CHECK_INT(rota_stream_read(rota_process_out(p), &byte, 1), ==, 0);
    rota_process_free(p);
    return 0;
}

TEST(signals_reach_the_whole_group_also_after_its_leader_has_ended)
{
    run(spawn_group, NULL);
}

static int free_group(void *arg)
{
    int ends[2];
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    rota_process_fd fd = {ends[1], 3};
    rota_process_options o = {.out = ROTA_PROCESS_PIPE,
                              .fds = &fd,
                              .fd_count = 1,
                              .session = *(bool *)arg,
                              .group = true};
    rota_process *p = spawn(ROTA_SHELL("sleep 1000 & echo ready"), &o);
    close(ends[1]);
    rota_str line;
    CHECK_INT(rota_stream_read_line(rota_process_out(p), &line), ==, 1);
    rota_process_free(p);
    char byte;
    CHECK_INT(read(ends[0], &byte, 1), ==, 0); /* no process has it any more */
    close(ends[0]);
    return 0;
}

TEST(freeing_a_group_ends_all_of_it)
{
    bool session = false;
    CHECK_OK(run_clean(free_group, &session, false));
    session = true;
    CHECK_OK(run_clean(free_group, &session, false));
}

TASK_TEST(grace_of_a_group_ends_with_its_leader)
{
    int ends[2];
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    rota_process_fd fd = {ends[1], 3};
    rota_process_options o = {.in = ROTA_PROCESS_PIPE,
                              .out = ROTA_PROCESS_PIPE,
                              .fds = &fd,
                              .fd_count = 1,
                              .group = true,
                              .grace = ROTA_NEVER};
    rota_process *p = spawn(
        ROTA_SHELL("(trap '' TERM; exec sleep 60) & trap 'echo bye >&3; exit' TERM; echo ready; "
                   "while kill -0 $! 2>/dev/null; do wait; done"),
        &o);
    close(ends[1]);
    rota_str line;
    CHECK_INT(rota_stream_read_line(rota_process_out(p), &line), ==, 1);
    rota_process_free(p);
    char said[10] = "";
    CHECK_INT(read(ends[0], said, sizeof said - 1), ==, 4);
    CHECK_STR(said, "bye\n");
    CHECK_INT(read(ends[0], said, sizeof said), ==, 0);
    close(ends[0]);
}

TASK_TEST(child_leads_a_group_or_session_if_it_is_to)
{
    static const char script[] = "read pid name state parent group session rest </proc/self/stat; "
                                 "[ $$ = $group ] && echo -n g; [ $$ = $session ] && echo -n s; :";
    rota_process_options o = {.group = true};
    expect(ROTA_SHELL(script), &o, "g");
    o.session = true;
    expect(ROTA_SHELL(script), &o, "gs");
    rota_process_options none = {0};
    expect(ROTA_SHELL(script), &none, "");
}

/* ---- SIGCHLD belongs to the program */

static int lose_status(void *arg)
{
    rota_log_set(keep_report, NULL);
    ROTA_AUTO(rota_process) p = spawn_ready("echo ready; read x");
    CHECK_OK(rota_stream_close(rota_process_in(p)));
    CHECK_INT(rota_process_wait(p, NULL), ==, -ECHILD);
    CHECK_INT(rota_process_wait(p, NULL), ==, -ECHILD);
    CHECK_INT(rota_process_kill(p, SIGTERM), ==, -ESRCH);
    CHECK(strstr(reports, "its status is lost"));
    ROTA_SCOPED(rota_communication) c = {.input = {"x", 1}};
    CHECK_INT(rota_process_run(ROTA_ARGV("cat"), NULL, &c), ==, -ECHILD);
    CHECK_STR(c.out.ptr, "x");
    rota_process_options o = {.group = true};
    ROTA_AUTO(rota_process) group = spawn(ROTA_ARGV("true"), &o);
    CHECK_INT(rota_process_wait(group, NULL), ==, -ECHILD);
    return 0;
}

TEST(program_that_ignores_sigchld_loses_the_status_only)
{
    signal(SIGCHLD, SIG_IGN);
    run(lose_status, NULL);
    struct sigaction now;
    sigaction(SIGCHLD, NULL, &now);
    CHECK(now.sa_handler == SIG_IGN);
}

static void reap_all(int number)
{
    int saved = errno;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    errno = saved;
}

TEST_WITH(program_that_reaps_every_child_loses_the_status_only, .without_faults = true)
{
    if (ROTA__TSAN)
        SKIP("ThreadSanitizer delivers signals late");
    signal(SIGCHLD, reap_all);
    run(lose_status, NULL);
}

/* ---- Communicating */

/* More than pipes hold, in both directions at once. */
TASK_TEST(much_input_and_output_do_not_block_each_other, .without_faults = true)
{
    enum { SIZE = 300 * 1000 };
    char *text = malloc(SIZE);
    CHECK(text);
    for (int i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i % 23);
    {
        ROTA_SCOPED(rota_communication) c = {.input = {text, SIZE}};
        CHECK_INT(rota_process_run(ROTA_ARGV("tee", "/dev/stderr"), NULL, &c), ==, 0);
        CHECK_INT(c.out.len, ==, SIZE);
        CHECK_INT(c.err.len, ==, SIZE);
        CHECK_MEM(c.out.ptr, text, SIZE);
        CHECK_MEM(c.err.ptr, text, SIZE);
        CHECK_INT(c.out.ptr[SIZE], ==, '\0');
    }
    free(text);
}

TASK_TEST(run_feeds_collects_and_waits)
{
    ROTA_SCOPED(rota_communication) c = {.input = {"one\n", 4}};
    CHECK_INT(rota_process_run(ROTA_SHELL("cat; echo two >&2; exit 3"), NULL, &c), ==, 3);
    CHECK_STR(c.out.ptr, "one\n");
    CHECK_STR(c.err.ptr, "two\n");
    CHECK_INT(c.status.code, ==, 3);
    rota_communication_fini(&c);
    CHECK_PTR(c.out.ptr, ==, NULL);
    CHECK_INT(rota_process_run(ROTA_SHELL("exit 4"), NULL, NULL), ==, 4);
    /* Piped, and read by no one. */
    CHECK_INT(rota_process_run(ROTA_SHELL("echo x"), &piped, NULL), ==, 0);
}

static int feed_the_unwilling(void *arg)
{
    static char text[200 * 1000];
    memset(text, 'x', sizeof text);
    ROTA_SCOPED(rota_communication) c = {.input = {text, sizeof text}};
    CHECK_INT(rota_process_run(ROTA_ARGV("true"), NULL, &c), ==, 0);
    CHECK_INT(c.input.len, >, 0);
    ROTA_AUTO(rota_process) p = spawn(ROTA_ARGV("true"), &piped);
    CHECK_INT(rota_process_wait(p, NULL), ==, 0);
    CHECK_INT(rota_stream_write(rota_process_in(p), "x", 1), ==, -EPIPE);
    return 0;
}

TEST(child_that_reads_no_input_is_no_error_of_communicate_but_of_a_write)
{
    run(feed_the_unwilling, NULL);
}

TASK_TEST(output_beyond_the_limit_is_an_error_that_keeps_what_came)
{
    ROTA_SCOPED(rota_communication) c = {.limit = 10};
    CHECK_INT(rota_process_run(ROTA_ARGV("yes"), NULL, &c), ==, ROTA_ELIMIT);
    CHECK_STR(c.out.ptr, "y\ny\ny\ny\ny\n");
    ROTA_SCOPED(rota_communication) exact = {.limit = 10};
    CHECK_INT(rota_process_run(ROTA_ARGV("echo", "123456789"), NULL, &exact), ==, 0);
    CHECK_INT(exact.out.len, ==, 10);
    /* The rest can still be had. */
    ROTA_AUTO(rota_process) p = spawn(ROTA_SHELL("echo 123456789abc; read x"), &piped);
    ROTA_SCOPED(rota_communication) cut = {.limit = 9};
    CHECK_INT(rota_process_communicate(p, &cut), ==, ROTA_ELIMIT);
    CHECK_STR(cut.out.ptr, "123456789");
    rota_str line;
    CHECK_INT(rota_stream_read_line(rota_process_out(p), &line), ==, 1);
    CHECK_STR(line.ptr, "abc");
}

TASK_TEST(both_outputs_beyond_the_limit_are_one_failure)
{
    ROTA_SCOPED(rota_communication) c = {.limit = 1};
    rota_log_set(keep_report, NULL);
    CHECK_INT(rota_process_run(ROTA_SHELL("echo abc; echo abc >&2"), NULL, &c), ==, ROTA_ELIMIT);
    CHECK_STR(reports, "");
}

VIRTUAL_TASK_TEST(pipe_that_a_grandchild_holds_does_not_hang_communicate)
{
    ROTA_SCOPED(rota_communication) c = {.linger = ROTA_MINUTE};
    rota_process_options o = {.group = true};
    CHECK_INT(rota_process_run(ROTA_SHELL("sleep 1000 & echo said; exit 3"), &o, &c), ==,
              ROTA_EHELD);
    CHECK_STR(c.out.ptr, "said\n");
    CHECK_INT(c.status.code, ==, 3);
}

static int speak_and_hold(void *arg)
{
    int fd = *(int *)arg;
    ROTA_IGNORE(rota_sleep(45 * ROTA_SECOND));
    CHECK_INT(write(fd, "late\n", 5), ==, 5);
    return 0;
}

/* The child has ended, and this program holds its output. */
VIRTUAL_TASK_TEST(silence_counts_from_the_last_byte)
{
    char path[50];
    rota_process *p = spawn_ready("echo ready; read x; exit 3");
    snprintf(path, sizeof path, "/proc/%d/fd/1", (int)rota_process_pid(p));
    int held = open(path, O_WRONLY | O_CLOEXEC);
    CHECK_OK(held);
    CHECK_OK(rota_stream_close(rota_process_in(p)));
    CHECK_INT(rota_process_wait(p, NULL), ==, 3);
    ROTA_SCOPED(rota_communication) c = {.linger = ROTA_MINUTE};
    rota_time begin = rota_now();
    rota_task *speaker;
    CHECK_OK(rota_spawn(speak_and_hold, &held, &speaker));
    CHECK_INT(rota_process_communicate(p, &c), ==, ROTA_EHELD);
    CHECK_INT((rota_now() - begin) / ROTA_SECOND, ==, 45 + 60);
    CHECK_STR(c.out.ptr, "late\n");
    CHECK_OK(rota_join(speaker));
    rota_process_free(p);
    close(held);
}

TASK_TEST(status_of_a_run_before_is_not_taken_for_that_of_the_next)
{
    ROTA_SCOPED(rota_communication) c = ROTA_COMMUNICATION_INIT;
    CHECK_INT(rota_process_run(ROTA_ARGV("true"), NULL, &c), ==, 0);
    CHECK(c.status.known);
    CHECK_INT(rota_process_run(ROTA_ARGV("nosuchprogram"), NULL, &c), ==, -ENOENT);
    CHECK(!c.status.known);
}

TASK_TEST(output_of_a_grandchild_is_waited_for_where_that_is_wanted)
{
    /* The grandchild goes on when the child has ended, and is waited for. */
    ROTA_SCOPED(rota_communication) c = {.linger = ROTA_NEVER};
    int code = rota_process_run(
        ROTA_SHELL("child=$$; (while kill -0 $child 2>/dev/null; do :; done; echo late) & exit 0"),
        NULL, &c);
    CHECK_INT(code, ==, 0);
    CHECK_STR(c.out.ptr, "late\n");
}

VIRTUAL_TASK_TEST(child_that_closes_its_pipes_is_waited_for_all_the_same)
{
    ROTA_SCOPED(rota_communication) c = {.input = {"x", 1}};
    /* Both lines at once: time must not jump to the deadline while the child has not spoken yet. */
    ROTA_AUTO(rota_process)
    p = spawn_ready("printf 'ready\\nsaid\\n'; exec <&- >&- 2>&-; while :; do :; done");
    int err = 0;
    ROTA_TIMEOUT (ROTA_MINUTE) {
        err = rota_process_communicate(p, &c);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    char text[ROTA_PROCESS_STATUS_TEXT];
    CHECK(!c.status.known);
    CHECK_STR(rota_process_status_text(&c.status, text), "end not known");
    CHECK_INT(rota_process_kill(p, SIGKILL), ==, 0);
    CHECK_INT(rota_process_communicate(p, &c), ==, 128 + SIGKILL);
    CHECK_STR(rota_process_status_text(&c.status, text), "signal 9 (Killed)");
    CHECK_STR(c.out.ptr, "said\n");
}

VIRTUAL_TASK_TEST(interrupted_communication_goes_on_where_it_was, .without_faults = true)
{
    enum { SIZE = 200 * 1000 };
    static char text[SIZE];
    memset(text, 'x', sizeof text);
    int ends[2];
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    rota_process_fd fd = {ends[0], 3};
    rota_process_options o = piped;
    o.fds = &fd;
    o.fd_count = 1;
    ROTA_SCOPED(rota_communication) c = {.input = {text, SIZE}};
    ROTA_AUTO(rota_process) p = spawn(ROTA_SHELL("echo a; read x <&3; wc -c"), &o);
    close(ends[0]);
    int err = 0;
    ROTA_TIMEOUT (ROTA_MINUTE) {
        err = rota_process_communicate(p, &c);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(c.input.len, >, 0);
    CHECK_INT(c.input.len, <, SIZE);
    CHECK_INT(write(ends[1], "\n", 1), ==, 1);
    close(ends[1]);
    CHECK_INT(rota_process_communicate(p, &c), ==, 0);
    CHECK_STR(c.out.ptr, "a\n200000\n");
}

/* ---- Many */

enum { MANY = 1000 };

static int spawn_many(void *arg)
{
    static rota_process *all[MANY];
    int n = MANY / test_scale();
    for (int i = 0; i < n; i++) {
        rota_process_options o = {.in = ROTA_PROCESS_PIPE};
        all[i] = spawn(ROTA_SHELL("read x; exit $x"), &o);
    }
    for (int i = 0; i < n; i++) {
        char line[10];
        snprintf(line, sizeof line, "%d\n", i % 100);
        CHECK_OK(rota_stream_write(rota_process_in(all[i]), line, strlen(line)));
    }
    for (int i = 0; i < n; i++)
        CHECK_INT(rota_process_wait(all[i], NULL), ==, i % 100);
    for (int i = 0; i < n; i++)
        rota_process_free(all[i]);
    return 0;
}

TEST_WITH(a_thousand_children_at_once, .seconds = 60, .without_faults = true)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 4096 ? limit.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * MANY + 100)
        SKIP("only %ld descriptors are allowed", (long)limit.rlim_cur);
    run(spawn_many, NULL);
}

static int spawn_until_refused(void *arg)
{
    rota_process *p = NULL;
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), &piped, &p), ==, -EAGAIN);
    return 0;
}

TEST_WITH(too_many_processes_are_an_error, .without_faults = true)
{
    struct rlimit before, one;
    CHECK_OK(getrlimit(RLIMIT_NPROC, &before));
    one = (struct rlimit){1, before.rlim_max};
    if (getuid() == 0 && (setgroups(0, NULL) < 0 || setresuid(65534, 65534, 65534) < 0))
        SKIP("root cannot be limited, and another user not be taken on");
    CHECK_OK(setrlimit(RLIMIT_NPROC, &one));
    run(spawn_until_refused, NULL);
    CHECK_OK(setrlimit(RLIMIT_NPROC, &before)); /* leak checkers start a thread */
}

/* One that stays must not hold another's pipe: then that one's output would not end. */
static int spawn_some(void *arg)
{
    ROTA_AUTO(rota_process) stays = spawn(ROTA_ARGV("cat"), &piped);
    for (int i = 0; i < 10; i++) {
        rota_process_options o = {.in = ROTA_PROCESS_NULL};
        expect(ROTA_ARGV("ls", "/proc/self/fd"), &o, "0\n1\n2\n3\n");
    }
    CHECK(!rota_process_done(stays));
    return 0;
}

static void *run_some(void *arg)
{
    CHECK_OK(rota_run(spawn_some, NULL));
    return NULL;
}

TEST_WITH(loops_in_several_threads_spawn_at_once, .without_faults = true)
{
    pthread_t threads[4];
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, run_some, NULL), ==, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* ---- Old kernels, and the filters of containers, that refuse what is newer than fork(2) */

#define REFUSE(call, error)                                \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)(error))

static void refuse_new_calls(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        REFUSE(close_range, error),
        REFUSE(pidfd_open, error),
        REFUSE(pidfd_send_signal, error),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_PIDFD, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        SKIP("no seccomp filters here: %s", strerror(errno));
}

static int do_it_the_old_way(void *arg)
{
    CHECK_OK(leak_nothing(NULL));
    CHECK_OK(fail_to_start(NULL));
    CHECK_OK(all_ends(NULL));
    CHECK_OK(free_under_waiters(NULL));
    CHECK_OK(cancel_holder(NULL));
    CHECK_OK(terminate_willing(NULL));
    CHECK_OK(spawn_group(NULL));
    return feed_the_unwilling(NULL);
}

TEST(unknown_calls_are_done_without)
{
    refuse_new_calls(ENOSYS);
    run(do_it_the_old_way, NULL);
}

TEST(forbidden_calls_are_done_without)
{
    refuse_new_calls(EPERM);
    run(do_it_the_old_way, NULL);
}

TEST(without_pidfds_the_program_may_reap_its_children_all_the_same)
{
    refuse_new_calls(ENOSYS);
    signal(SIGCHLD, SIG_IGN);
    run(lose_status, NULL);
}

/* ---- Misuse */

static void *use_from_here(void *arg)
{
    CHECK_INT(rota_process_kill(arg, SIGTERM), ==, ROTA_ETHREAD);
    CHECK(!rota_process_done(arg));
    CHECK_PTR(rota_process_free(arg), ==, NULL);
    CHECK_INT(rota_process_wait(arg, NULL), ==, ROTA_ENOTASK);
    return NULL;
}

TASK_TEST(other_threads_are_refused, .without_faults = true)
{
    pthread_t thread;
    ROTA_AUTO(rota_process) p = spawn(ROTA_SHELL("read x; exit 2"), &piped);
    CHECK_INT(pthread_create(&thread, NULL, use_from_here, p), ==, 0);
    pthread_join(thread, NULL);
    CHECK_OK(rota_stream_close(rota_process_in(p)));
    CHECK_INT(rota_process_wait(p, NULL), ==, 2);
}

TEST(outside_a_task_nothing_is_spawned)
{
    rota_process *p = NULL;
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), NULL, &p), ==, ROTA_ENOTASK);
    CHECK_INT(rota_process_run(ROTA_ARGV("true"), NULL, NULL), ==, ROTA_ENOTASK);
}

TASK_TEST(cancelled_task_spawns_nothing)
{
    rota_process *p = NULL;
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_process_spawn(ROTA_ARGV("true"), NULL, &p), ==, -ECANCELED);
}
