/* Reports (rule 6): what is reported, which task it names, and where it goes by default; and
 * rota_main (rule 3). */

#include "clean_run.h"

#include "base/log.h"
#include "base/symbol.h"
#include "coro/coro.h"

#include <rota.h>

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct {
    int count;
    char text[4096];
} reports;

static void collect(void *arg, rota_log_level level, const char *message)
{
    (void)arg;
    if (level < ROTA_LOG_WARNING)
        return;
    reports.count++;
    size_t len = strlen(reports.text);
    snprintf(reports.text + len, sizeof reports.text - len, "%s\n", message);
}

static void check_report(const char *text)
{
    if (reports.count != 1 || !strstr(reports.text, text))
        FAIL("%d reports, not one with \"%s\":\n%s", reports.count, text, reports.text);
}

/* The case's own standard error, read back through its descriptor. */
static void read_stderr(char *text, size_t size)
{
    ssize_t n = pread(STDERR_FILENO, text, size - 1, 0);
    CHECK_OK(n);
    text[n] = '\0';
}

static void check_stderr_has(const char *expected)
{
    static char text[32000];
    read_stderr(text, sizeof text);
    if (!strstr(text, expected))
        FAIL("no \"%s\" in:\n%s", expected, text);
}

static void check_stderr_lacks(const char *unexpected)
{
    static char text[32000];
    read_stderr(text, sizeof text);
    if (strstr(text, unexpected))
        FAIL("\"%s\" in:\n%s", unexpected, text);
}

static void check_stderr_is(const char *expected)
{
    static char text[32000];
    read_stderr(text, sizeof text);
    CHECK_STR(text, expected);
}

static char a_words[] = "a", b_words[] = "b";

static int fail(void *arg)
{
    return rota_error_set(-EIO, "%s", (const char *)arg);
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return rota_sleep(ROTA_NEVER);
}

/* Says no to being cancelled by another failure. */
static int fail_when_cancelled(void *arg)
{
    return rota_sleep(ROTA_MINUTE) < 0 ? fail(arg) : 0;
}

/* ---- Where reports go */

static int succeed(void *arg)
{
    return *(int *)arg;
}

static int fail_with_words_of_its_own(void *arg)
{
    return rota_error_set(-EIO, "attempt %d", ++*(int *)arg);
}

static int fail_in_two_places(void *arg)
{
    (void)arg;
    int attempts = 0;
    for (int i = 0; i < 102; i++)
        CHECK_OK(rota_spawn(fail_with_words_of_its_own, &attempts, NULL));
    CHECK_OK(rota_sleep(0));
    CHECK_OK(rota_spawn(fail_with_words_of_its_own, &attempts, NULL));
    return rota_sleep(0);
}

TEST_WITH(failures_of_tasks_are_counted_by_the_place_of_their_spawn, .without_faults = true)
{
    CHECK_OK(rota_run(fail_in_two_places, NULL));
    check_stderr_has("attempt 100\n");
    check_stderr_lacks("attempt 101\n");
    check_stderr_has("attempt 103\n");
    check_stderr_has("2 more reports like this: ");
}

static int fail_alone(void *arg)
{
    int err = rota_spawn(fail, arg, NULL);
    return err < 0 ? err : rota_sleep(0);
}

TEST_BOTH(program_reports_a_failed_task_on_stderr)
{
    CHECK_OK(rota_run(fail_alone, a_words));
    check_stderr_has("rota: task 'fail' (spawned at ");
    check_stderr_has(") failed, and its result was not read: a\n");
}

TEST(embedded_loop_is_silent)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_OK(rota_spawn(fail_alone, a_words, NULL));
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
    check_stderr_is("");
}

TEST(program_without_reports_writes_nothing)
{
    rota_log_set(NULL, NULL);
    CHECK_OK(rota_run(fail_alone, a_words));
    check_stderr_is("");
}

static int fail_in_a_worker(void *arg)
{
    rota_log_set(NULL, NULL);
    return fail(arg);
}

TEST_WITH(supervisor_reports_a_dead_worker_on_stderr, .without_faults = true)
{
    rota_worker_processes_options options = {.failures = 1};
    CHECK_INT(rota_run_worker_processes_with(1, fail_in_a_worker, a_words, &options), ==, -EIO);
    check_stderr_has("rota: worker 0 (process ");
    check_stderr_has(") failed: a\n");
}

/* ---- Handles */

static int fail_with_handle(void *arg)
{
    rota_task *task;
    CHECK_OK(rota_spawn(fail, arg, &task));
    return rota_sleep(0);
}

TEST_WITH(failed_task_that_nobody_joined_is_reported_at_the_end, .both_backends = true,
          .without_faults = true)
{
    rota_log_set(collect, NULL);
    run(fail_with_handle, a_words);
    check_report("task 'fail' (spawned at ");
    check_report(") failed, and its result was not read: a\n");
}

static int fail_detached(void *arg)
{
    rota_task *task;
    CHECK_OK(rota_spawn(fail, arg, &task));
    CHECK_OK(rota_sleep(0));
    rota_task_detach(task);
    CHECK_INT(reports.count, ==, 1);
    return 0;
}

TEST_WITH(failed_task_that_is_detached_is_reported_at_once, .without_faults = true)
{
    rota_log_set(collect, NULL);
    run(fail_detached, a_words);
    check_report("failed, and its result was not read: a\n");
}

static int fail_or_be_cancelled(void *arg)
{
    return arg ? fail_when_cancelled(arg) : sleep_for_ever(NULL);
}

static int never_join(void *arg)
{
    rota_task *task;
    CHECK_OK(rota_spawn(fail_or_be_cancelled, arg, &task));
    return rota_sleep(0);
}

TEST_WITH(task_that_fails_while_the_loop_ends_is_reported, .without_faults = true)
{
    rota_log_set(collect, NULL);
    run(never_join, a_words);
    check_report("task 'fail_or_be_cancelled' (spawned at ");
}

static int read_without_joining(void *arg)
{
    rota_task *task;
    CHECK_OK(rota_spawn(fail, arg, &task));
    CHECK_OK(rota_sleep(0));
    CHECK_INT(rota_task_result(task), ==, -EIO);
    return 0;
}

TEST_WITH(failure_that_was_read_or_is_a_cancellation_is_not_reported, .without_faults = true)
{
    rota_log_set(collect, NULL);
    run(read_without_joining, a_words);
    run(never_join, NULL);
    CHECK_INT(reports.count, ==, 0);
}

static int run_inside(void *arg)
{
    int zero = 0;
    (void)arg;
    CHECK_INT(rota_run(succeed, &zero), ==, -EBUSY);
    CHECK_STR(rota_error(-EBUSY), "run 'succeed': this thread has a loop already, use rota_spawn");
    return 0;
}

TEST(run_inside_a_task_says_what_to_do)
{
    run(run_inside, NULL);
}

TEST(unknown_level_is_reported_once)
{
    int zero = 0;
    setenv("ROTA_LOG", "verbose", 1);
    CHECK_OK(rota_run(succeed, &zero));
    CHECK_OK(rota_run(succeed, &zero));
    check_stderr_is("rota: ROTA_LOG \"verbose\": unknown level, use debug, info, warning, error or "
                    "off\n");
}

/* ---- rota_main */

TEST(main_that_succeeds_exits_with_0)
{
    int zero = 0, seven = 7;
    CHECK_INT(rota_main(succeed, &zero), ==, 0);
    CHECK_INT(rota_main(succeed, &seven), ==, 0);
    check_stderr_is("");
}

TEST_BOTH(main_that_fails_says_why_and_exits_with_1)
{
    CHECK_INT(rota_main(fail, a_words), ==, 1);
    check_stderr_is("report_test: a\n");
}

TEST(words_of_main_that_a_full_file_refuses_do_not_end_the_program)
{
    struct rlimit before, none;
    CHECK_OK(getrlimit(RLIMIT_FSIZE, &before));
    none = (struct rlimit){0, before.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &none));
    int status = rota_main(fail, a_words);
    rota_log_stderr(NULL, ROTA_LOG_ERROR, "more");
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &before));
    CHECK_INT(status, ==, 1);
    check_stderr_is("");
}

TEST(words_of_main_that_nobody_reads_do_not_end_the_program)
{
    int ends[2], saved = dup(STDERR_FILENO);
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    close(ends[0]);
    CHECK_OK(dup2(ends[1], STDERR_FILENO));
    int status = rota_main(fail, a_words);
    CHECK_OK(dup2(saved, STDERR_FILENO));
    close(saved);
    close(ends[1]);
    CHECK_INT(status, ==, 1);
}

static int interrupt_main(void *arg)
{
    raise(SIGINT);
    int err = rota_sleep(ROTA_NEVER);
    return arg ? fail(arg) : err;
}

TEST_BOTH(interrupted_main_exits_with_130_without_a_word)
{
    CHECK_INT(rota_main(interrupt_main, NULL), ==, 130);
    check_stderr_is("");
}

TEST_BOTH(interrupted_main_that_fails_exits_with_1)
{
    CHECK_INT(rota_main(interrupt_main, a_words), ==, 1);
    check_stderr_is("report_test: a\n");
}

static int cancel_itself(void *arg)
{
    (void)arg;
    rota_task_cancel(rota_task_current());
    return rota_sleep(0);
}

TEST(main_that_was_cancelled_otherwise_has_failed)
{
    CHECK_INT(rota_main(cancel_itself, NULL), ==, 1);
    check_stderr_is("report_test: Operation canceled\n");
}

TEST(main_in_a_deadlock_says_who_waits_for_what)
{
    CHECK_INT(rota_main(sleep_for_ever, NULL), ==, 1);
    check_stderr_has(
        "rota: deadlock: no task can go on, and nothing is pending:\n  sleep_for_ever");
    check_stderr_has("\nreport_test: deadlock: no task can go on, and nothing is pending\n");
}

/* ---- Groups */

static int group_of_two(void *arg)
{
    (void)arg;
    ROTA_GROUP(g);
    rota_group_spawn(&g, fail_when_cancelled, b_words);
    rota_group_spawn(&g, fail, a_words);
    int err = rota_group_wait(&g);
    CHECK_INT(err, ==, -EIO);
    CHECK_STR(rota_error(err), "a");
    return 0;
}

TEST_WITH(failure_beside_the_one_that_a_group_returns_is_reported, .without_faults = true)
{
    rota_log_set(collect, NULL);
    run_virtual(group_of_two, NULL);
    check_report("task 'fail_when_cancelled' (the 1st task of its group, spawned at ");
    check_report(") failed, and its result was not read: b\n");
}

static int group_of_many(void *arg)
{
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
    for (int i = 0; i < 23; i++)
        rota_group_spawn(&g, fail, arg);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    return 0;
}

static rota_time each_report_in_a_minute_of_its_own(void)
{
    static rota_time now;
    return now += ROTA_MINUTE;
}

TEST_WITH(tasks_of_a_group_are_counted_from_1, .without_faults = true)
{
    rota__log_clock = each_report_in_a_minute_of_its_own;
    rota_log_set(collect, NULL);
    run_virtual(group_of_many, a_words);
    static const char *const ordinals[] = {"2nd",  "3rd",  "4th",  "11th", "12th",
                                           "13th", "21st", "22nd", "23rd"};
    for (size_t i = 0; i < sizeof ordinals / sizeof *ordinals; i++) {
        char text[64];
        snprintf(text, sizeof text, "(the %s task of its group, ", ordinals[i]);
        CHECK(strstr(reports.text, text));
    }
}

static int group_of_cancelled(void *arg)
{
    (void)arg;
    ROTA_GROUP(g);
    rota_group_spawn(&g, sleep_for_ever, NULL);
    rota_group_spawn(&g, fail, a_words);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    return 0;
}

TEST_WITH(task_that_a_group_cancelled_is_not_reported, .without_faults = true)
{
    rota_log_set(collect, NULL);
    run_virtual(group_of_cancelled, NULL);
    CHECK_INT(reports.count, ==, 0);
}

static int wait_for_group(void *arg)
{
    ROTA_GROUP(g);
    rota_group_spawn(&g, fail_when_cancelled, arg);
    return rota_group_wait(&g);
}

static int cancel_the_owner(void *arg)
{
    rota_task *task;
    CHECK_OK(rota_spawn(wait_for_group, arg, &task));
    CHECK_OK(rota_sleep(ROTA_SECOND));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    return 0;
}

TEST_WITH(failure_in_a_group_whose_owner_was_cancelled_is_reported, .without_faults = true)
{
    rota_log_set(collect, NULL);
    run_virtual(cancel_the_owner, a_words);
    check_report("failed, and its result was not read: a\n");
}

static int race(void *arg)
{
    (void)arg;
    int zero = 0;
    ROTA_GROUP(g, .policy = ROTA_GROUP_RACE);
    rota_group_spawn(&g, fail, a_words);
    rota_group_spawn(&g, succeed, &zero);
    return rota_group_wait(&g);
}

TEST_WITH(alternatives_that_lost_a_race_are_not_reported, .without_faults = true)
{
    rota_log_set(collect, NULL);
    run_virtual(race, NULL);
    CHECK_INT(reports.count, ==, 0);
}

static int gather_two(void *arg)
{
    (void)arg;
    rota_gather_call calls[] = {{fail, a_words, 0}, {fail_when_cancelled, b_words, 0}};
    CHECK_INT(rota_gather(calls, 2), ==, -EIO);
    return 0;
}

TEST_WITH(call_of_gather_is_named_by_its_function_and_index, .without_faults = true)
{
    rota_log_set(collect, NULL);
    run_virtual(gather_two, NULL);
    check_report("task 'fail_when_cancelled' (call 1 of rota_gather at ");
}

/* ---- Jobs */

static sem_t job_began, job_may_go;

static int job_that_fails(void *arg)
{
    sem_post(&job_began);
    while (sem_wait(&job_may_go) < 0)
        continue;
    return fail(arg);
}

static int wait_for_job(void *arg)
{
    return rota_to_thread(job_that_fails, arg);
}

static int cancel_wait_for_job(void *arg)
{
    rota_task *task;
    sem_init(&job_began, 0, 0);
    sem_init(&job_may_go, 0, 0);
    CHECK_OK(rota_spawn(wait_for_job, arg, &task));
    CHECK_OK(rota_sleep(0));
    while (sem_trywait(&job_began) < 0)
        CHECK_OK(rota_yield());
    rota_task_cancel(task);
    CHECK_OK(rota_yield());
    sem_post(&job_may_go);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    return 0;
}

TEST_WITH(failure_of_a_job_whose_caller_was_cancelled_is_reported, .both_backends = true,
          .without_faults = true)
{
    rota_log_set(collect, NULL);
    run(cancel_wait_for_job, a_words);
    check_report("a job failed after its caller had given up: a\n");
}

/* ---- Names */

TEST(static_functions_have_names)
{
    struct rota__symbol symbol;
    rota__symbol_find((char *)(uintptr_t)wait_for_job + 1, &symbol);
    CHECK_STR(symbol.name, "wait_for_job");
    CHECK_INT(symbol.offset, ==, 1);
    CHECK(strstr(symbol.file, "report_test"));
    rota__symbol_find(&symbol, &symbol);
    CHECK_STR(symbol.name, "");
    CHECK_STR(symbol.file, "");
}

#if ROTA__ASAN
#define TEST_OVERFLOWS(name_, text_) TEST_EXITS(name_, 1, text_)
#elif ROTA__TSAN
#define TEST_OVERFLOWS(name_, text_) TEST_EXITS(name_, 66, text_)
#else
#define TEST_OVERFLOWS(name_, text_) TEST_DIES(name_, SIGSEGV, text_)
#endif

__attribute__((noinline)) static size_t recurse(size_t bytes)
{
    volatile char frame[512];
    frame[0] = (char)bytes;
    if (bytes < sizeof frame)
        return (size_t)frame[0];
    return recurse(bytes - sizeof frame) + (size_t)frame[0];
}

static int overflow(rota_gen *gen, void *arg)
{
    (void)gen;
    (void)arg;
    return (int)recurse(64 << 20);
}

static int use_generator(void *arg)
{
    (void)arg;
    ROTA_AUTO(rota_gen) gen = NULL;
    CHECK_OK(rota_gen_new(overflow, NULL, &gen));
    void *item;
    return rota_gen_next(gen, &item);
}

TEST_OVERFLOWS(overflow_in_a_generator_names_its_task,
               "rota: stack overflow in a generator of task 'use_generator': ")
{
    rota_run(use_generator, NULL);
}
