/* The edges of a program: signals, deadlocks, forks, the end of the loop, calls from other
 * threads. */

#include "asleep.h"
#include "harness.h"

#include "base/alloc.h"
#include "task/task.h"

#include <rota/test.h>

#include <alloca.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

static struct {
    int count;
    char all[8000];
} reports;

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    reports.count++;
    size_t len = strlen(reports.all);
    snprintf(reports.all + len, sizeof reports.all - len, "%s\n", message);
}

static int run_clean(rota_fn *main, void *arg)
{
    long live = rota_test_allocations();
    int fds = test_open_fds();
    rota_log_set(keep_report, NULL);
    int result = rota_run(main, arg);
    CHECK_INT(rota_test_allocations(), ==, live);
    CHECK_INT(test_open_fds(), ==, fds);
    return result;
}

/* ---- SIGINT, SIGPIPE */

static int interrupt_self(void *arg)
{
    raise(SIGINT);
    int err = rota_sleep(ROTA_NEVER);
    CHECK_INT(rota_check(), ==, -ECANCELED);
    return err;
}

/* rule 3 */
TEST_WITH(first_sigint_cancels_main, .without_faults = true)
{
    CHECK_INT(run_clean(interrupt_self, NULL), ==, -ECANCELED);
    CHECK_INT(run_clean(interrupt_self, NULL), ==, -ECANCELED); /* the next run begins anew */
    struct sigaction now;
    sigaction(SIGINT, NULL, &now);
    CHECK(now.sa_handler == SIG_DFL);
    CHECK_INT(reports.count, ==, 0);
}

static void *interrupt_the_process(void *arg)
{
    wait_until_asleep(arg);
    kill(getpid(), SIGINT);
    return NULL;
}

static int sleep_an_hour(void *arg)
{
    return rota_sleep(60 * ROTA_MINUTE);
}

/* What is left of the stack does not hold the frame that the kernel makes for a handler. */
static int raise_at_the_end_of_the_stack(void *arg)
{
    char *low = rota__stack_low(rota__coro_current()->stack);
    volatile char *used = alloca((size_t)((char *)__builtin_frame_address(0) - low) - 2048);
    used[0] = 1;
    raise(SIGINT);
    return rota_sleep(ROTA_NEVER);
}

TEST_WITH(sigint_needs_no_room_on_the_stack_of_a_task, .without_faults = true)
{
    if (ROTA__CORO_WATCHED)
        SKIP("meant for the plain build");
    CHECK_INT(rota_run(raise_at_the_end_of_the_stack, NULL), ==, -ECANCELED);
}

static int check_handlers(void *arg)
{
    int handlers = 0;
    for (int number = 1; number < NSIG; number++) {
        struct sigaction now;
        if (sigaction(number, NULL, &now) < 0 || now.sa_handler == SIG_DFL ||
            now.sa_handler == SIG_IGN)
            continue;
        CHECK(now.sa_flags & SA_ONSTACK);
        handlers++;
    }
    CHECK_INT(handlers, >=, 4); /* SIGINT, SIGURG, SIGSEGV, SIGBUS */
    return 0;
}

TEST_WITH(handlers_of_the_library_use_the_alternate_stack, .without_faults = true)
{
    if (ROTA__CORO_WATCHED)
        SKIP("sanitizers have handlers of their own");
    rota_loop_options options = {.stall_limit = ROTA_MINUTE};
    CHECK_OK(rota_run_with(check_handlers, NULL, &options));
}

/* Begun by a task: before there is a loop, SIGINT ends the process. */
static int sleep_until_interrupted(void *arg)
{
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, interrupt_the_process, rota_loop_current()), ==, 0);
    int err = sleep_an_hour(NULL);
    pthread_join(thread, NULL);
    return err;
}

TEST_WITH(sigint_wakes_a_loop_that_sleeps, .without_faults = true)
{
    CHECK_INT(rota_run(sleep_until_interrupted, NULL), ==, -ECANCELED);
}

static int interrupt_twice(void *arg)
{
    raise(SIGINT);
    CHECK_INT(rota_sleep(ROTA_NEVER), ==, -ECANCELED);
    raise(SIGINT);
    return 0;
}

TEST_DIES(second_sigint_ends_the_process, SIGINT, "")
{
    rota_run(interrupt_twice, NULL);
}

static sig_atomic_t own_handler_calls;

static void own_handler(int number)
{
    own_handler_calls++;
}

static int raise_and_yield(void *arg)
{
    raise(SIGINT);
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    return 0;
}

TEST_WITH(programs_own_handler_stays, .without_faults = true)
{
    signal(SIGINT, own_handler);
    CHECK_INT(run_clean(raise_and_yield, NULL), ==, 0);
    CHECK_INT(own_handler_calls, ==, 1);
    struct sigaction now;
    sigaction(SIGINT, NULL, &now);
    CHECK(now.sa_handler == own_handler);
    signal(SIGINT, SIG_IGN);
    CHECK_INT(run_clean(raise_and_yield, NULL), ==, 0);
    sigaction(SIGINT, NULL, &now);
    CHECK(now.sa_handler == SIG_IGN);
}

static int write_to_nobody(void *arg)
{
    int ends[2];
    CHECK_OK(pipe(ends));
    close(ends[0]);
    CHECK_INT(write(ends[1], "x", 1), ==, -1);
    close(ends[1]);
    return 0;
}

TEST_WITH(sigpipe_is_ignored_while_a_loop_runs, .without_faults = true)
{
    CHECK_INT(run_clean(write_to_nobody, NULL), ==, 0);
    struct sigaction now;
    sigaction(SIGPIPE, NULL, &now);
    CHECK(now.sa_handler == SIG_DFL);
}

static int write_too_much(void *arg)
{
    struct rlimit limit = {10, 10};
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
    int fd = memfd_create("small", MFD_CLOEXEC);
    CHECK_OK(fd);
    CHECK_INT(pwrite(fd, "x", 1, 10), ==, -1);
    CHECK_INT(errno, ==, EFBIG);
    close(fd);
    return 0;
}

TEST_WITH(sigxfsz_is_ignored_while_a_loop_runs, .without_faults = true)
{
    CHECK_INT(run_clean(write_too_much, NULL), ==, 0);
}

/* ---- Forks */

static int fork_inside(void *arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_PTR(rota_loop_current(), ==, NULL);
        CHECK_INT(rota_yield(), ==, ROTA_ENOTASK);
        _exit(rota_run(interrupt_self, NULL) == -ECANCELED ? 0 : 1);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    return rota_sleep(ROTA_MILLISECOND);
}

/* rule 21 */
TEST_WITH(child_of_a_task_runs_a_loop_of_its_own_and_gets_sigint, .without_faults = true)
{
    CHECK_INT(rota_run(fork_inside, NULL), ==, 0);
}

static int fork_and_interrupt_child(void *arg)
{
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGINT);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    return 0;
}

TEST_WITH(sigint_of_a_child_without_a_loop_ends_it, .without_faults = true)
{
    if (ROTA__TSAN)
        SKIP("ThreadSanitizer withholds signals from the child of a fork");
    CHECK_INT(rota_run(fork_and_interrupt_child, NULL), ==, 0);
}

/* ---- Deadlocks */

static rota_future never;

static int wait_for_never(void *arg)
{
    return rota_future_wait(&never);
}

static int wait_with_helpers(void *arg)
{
    rota_future_init(&never);
    CHECK_OK(rota_spawn(wait_for_never, NULL, NULL));
    ROTA_AUTO(rota_task) other = NULL;
    CHECK_OK(rota_spawn(wait_for_never, NULL, &other));
    rota_task_set_name(other, "second");
    int err = rota_future_wait(&never);
    CHECK_INT(err, ==, -ECANCELED);
    CHECK_INT(rota_sleep(1), ==, -ECANCELED);
    *(bool *)arg = true;
    return 0;
}

/* rule 15 */
TEST(deadlock_is_reported_with_every_task_and_what_it_waits_for)
{
    bool cleaned = false;
    char line[100];
    CHECK_INT(run_clean(wait_with_helpers, &cleaned), ==, -EDEADLK);
    CHECK(cleaned);
    CHECK_INT(reports.count, ==, 1);
    CHECK(strstr(reports.all, "deadlock: no task can go on, and nothing is pending:\n"));
    static const char *const names[] = {"main", "wait_for_never", "second"};
    for (int i = 0; i < 3; i++) {
        snprintf(line, sizeof line, "\n  %-20s waits for future %p, spawned at %s", names[i],
                 (void *)&never, __FILE__);
        if (!strstr(reports.all, i ? line : "waits for future"))
            FAIL("no line for %s in:\n%s", names[i], reports.all);
    }
}

static int sleep_for_ever(void *arg)
{
    return rota_sleep(ROTA_NEVER);
}

TEST(sleeping_for_ever_is_a_deadlock_too)
{
    CHECK_INT(run_clean(sleep_for_ever, NULL), ==, -EDEADLK);
    CHECK(strstr(reports.all, "waits for sleep"));
}

static void free_argument(void *arg)
{
    free(arg);
}

static int shield_for_ever(void *arg)
{
    CHECK_OK(rota_defer(free_argument, NULL));
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_future_wait(&never));
    }
    return 0;
}

static int leave_a_shielded_task(void *arg)
{
    static const rota_local local;
    rota_future_init(&never);
    CHECK_OK(rota_local_set(&local, &never));
    CHECK_OK(rota_spawn(shield_for_ever, NULL, NULL));
    return rota_yield();
}

/* The report comes, and the run still ends. */
TEST(task_that_shields_for_ever_is_abandoned)
{
    CHECK_INT(run_clean(leave_a_shielded_task, NULL), ==, 0);
    CHECK_INT(reports.count, ==, 1);
    CHECK(strstr(reports.all, "shield_for_ever"));
}

static int init_and_shield_for_ever(void *arg)
{
    rota_future_init(&never);
    return shield_for_ever(arg);
}

TEST(main_that_shields_for_ever_is_abandoned)
{
    CHECK_INT(run_clean(init_and_shield_for_ever, NULL), ==, -EDEADLK);
}

static int set_never(void *arg)
{
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    return rota_future_set(&never, 5);
}

static int wait_for_a_sleeper(void *arg)
{
    rota_future_init(&never);
    CHECK_OK(rota_spawn(set_never, NULL, NULL));
    return rota_future_wait(&never);
}

TEST(waiting_for_a_task_that_sleeps_is_no_deadlock)
{
    CHECK_INT(run_clean(wait_for_a_sleeper, NULL), ==, 5);
    CHECK_INT(reports.count, ==, 0);
}

TEST(deadlock_of_a_loop_is_told_to_who_runs_it)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_future_init(&never);
    CHECK_OK(rota_spawn(wait_for_never, NULL, NULL));
    CHECK_INT(rota_loop_run(loop), ==, -EDEADLK);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1); /* a foreign loop may still set the future */
    CHECK_INT(rota_loop_run_once(loop, ROTA_NEVER), ==, -EDEADLK);
    CHECK_INT(rota_future_set(&never, 0), ==, 0);
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
}

/* ---- Stopping */

static int stop_and_sleep(void *arg)
{
    rota_loop_stop(rota_loop_current());
    int err = rota_sleep(ROTA_MINUTE);
    *(int *)arg = err;
    return err;
}

TEST(stopped_loop_keeps_its_tasks_until_it_is_freed)
{
    rota_loop *loop;
    int result = 1;
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_OK(rota_spawn(stop_and_sleep, &result, NULL));
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(result, ==, 1);
    rota_loop_free(loop);
    CHECK_INT(result, ==, -ECANCELED);
}

static int run_the_loop(void *arg)
{
    int err = rota_sleep(ROTA_MINUTE);
    CHECK_INT(rota_loop_run(rota_loop_current()), ==, -EBUSY);
    return err;
}

static int leave_a_runner(void *arg)
{
    CHECK_OK(rota_spawn(run_the_loop, NULL, NULL));
    CHECK_INT(rota_loop_run(rota_loop_current()), ==, -EBUSY);
    return rota_yield();
}

TEST(ending_loop_cannot_be_run)
{
    CHECK_INT(run_clean(leave_a_runner, NULL), ==, 0);
}

/* ---- Other threads */

static atomic_int spawned;

static int count_spawned(void *arg)
{
    CHECK(rota_task_current());
    int err = rota_yield();
    atomic_fetch_add(&spawned, 1);
    if (rota_task_current() && arg)
        rota_loop_release_threadsafe(rota_loop_current());
    return err;
}

static void *spawn_from_here(void *arg)
{
    rota_loop *loop = arg;
    for (int i = 0; i < 1000; i++)
        CHECK_OK(rota_loop_spawn_threadsafe(loop, count_spawned, i == 999 ? loop : NULL));
    return NULL;
}

TEST_WITH(tasks_are_spawned_from_other_threads, .without_faults = true)
{
    rota_loop *loop;
    pthread_t threads[3];
    CHECK_OK(rota_loop_new(NULL, &loop));
    for (int i = 0; i < 3; i++) {
        rota_loop_hold_threadsafe(loop);
        CHECK_INT(pthread_create(&threads[i], NULL, spawn_from_here, loop), ==, 0);
    }
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(spawned, ==, 3000);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    rota_loop_free(loop);
}

TEST(task_posted_to_an_ending_loop_runs_cancelled)
{
    long live = rota_test_allocations();
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_OK(rota_loop_spawn_threadsafe(loop, count_spawned, NULL));
    rota_loop_free(loop);
    CHECK_INT(spawned, ==, 1);
    CHECK_INT(rota_test_allocations(), ==, live);
}

struct parcel {
    rota_future future;
    int value;
};

static void *deliver(void *arg)
{
    struct parcel *p = arg;
    CHECK_OK(rota_future_set_threadsafe(&p->future, p->value));
    return NULL;
}

static int await_parcels(void *arg)
{
    enum { N = 20 };
    struct parcel parcels[N];
    pthread_t threads[N];
    for (int i = 0; i < N; i++) {
        parcels[i].value = i;
        rota_future_init_threadsafe(&parcels[i].future);
        CHECK_INT(pthread_create(&threads[i], NULL, deliver, &parcels[i]), ==, 0);
    }
    for (int i = 0; i < N; i++) {
        CHECK_INT(rota_future_wait(&parcels[i].future), ==, i);
        pthread_join(threads[i], NULL);
    }
    return 0;
}

TEST_WITH(future_completed_by_another_thread_is_no_deadlock, .without_faults = true)
{
    CHECK_INT(run_clean(await_parcels, NULL), ==, 0);
    CHECK_INT(reports.count, ==, 0);
}

static int parcel_in_virtual_time(void *arg)
{
    struct parcel p = {.value = 3};
    pthread_t thread;
    int result = 0;
    rota_future_init_threadsafe(&p.future);
    CHECK_INT(pthread_create(&thread, NULL, deliver, &p), ==, 0);
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        result = rota_future_wait(&p.future);
    }
    CHECK_INT(result, ==, 3);
    CHECK_INT(rota_now(), ==, 0);
    pthread_join(thread, NULL);
    return 0;
}

/* A thread's promise outlasts every timer. */
TEST_WITH(virtual_time_waits_for_other_threads, .without_faults = true)
{
    for (int i = 0; i < 50; i++)
        CHECK_INT(rota_test_run(parcel_in_virtual_time, NULL), ==, 0);
}

static rota_task *victim;

static void *misuse(void *arg)
{
    rota_task_cancel(victim);
    CHECK_INT(rota_future_set(arg, 1), ==, ROTA_ETHREAD);
    return NULL;
}

static int be_misused(void *arg)
{
    rota_future f;
    pthread_t thread;
    rota_future_init(&f);
    victim = rota_task_current();
    CHECK_INT(pthread_create(&thread, NULL, misuse, &f), ==, 0);
    pthread_join(thread, NULL);
    CHECK_INT(rota_check(), ==, 0);
    CHECK(!rota_future_done(&f));
    return 0;
}

/* rule 20 */
TEST_WITH(calls_from_a_wrong_thread_are_refused_and_reported, .without_faults = true)
{
    CHECK_INT(run_clean(be_misused, NULL), ==, 0);
    CHECK_INT(reports.count, ==, 2);
    CHECK(strstr(reports.all, "rota_task_cancel was called from a thread other than its loop's"));
    CHECK(strstr(reports.all, "rota_future_set was called from a thread other than its loop's"));
}
