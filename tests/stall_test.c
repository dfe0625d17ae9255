#include "harness.h"

#include <rota/task.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>

static char reports[4096];

static void collect(void *arg, rota_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    strncat(reports, message, sizeof reports - strlen(reports) - 1);
}

/* Real time is what it is about. */
static void spin(rota_time duration)
{
    for (rota_time begin = rota_now(); rota_now() - begin < duration;)
        continue;
}

static int hog(void *arg)
{
    (void)arg;
    spin(200 * ROTA_MILLISECOND);
    return 0;
}

static int run_hog(void *arg)
{
    (void)arg;
    ROTA_AUTO(rota_task) task = NULL;
    int err = rota_spawn(hog, NULL, &task);
    return err < 0 ? err : rota_future_wait(rota_task_future(task));
}

static int many_turns(void *arg)
{
    (void)arg;
    for (rota_time begin = rota_now(); rota_now() - begin < 100 * ROTA_MILLISECOND;)
        ROTA_IGNORE(rota_yield());
    return 0;
}

static int long_sleep(void *arg)
{
    (void)arg;
    return rota_sleep(100 * ROTA_MILLISECOND);
}

TEST(a_task_that_holds_the_thread_is_named)
{
    rota_log_set(collect, NULL);
    CHECK_INT(
        rota_run_with(run_hog, NULL, (&(rota_loop_options){.stall_limit = 20 * ROTA_MILLISECOND})),
        ==, 0);
    CHECK(strstr(reports, "stall: task 'hog' has held the thread for more than 20 ms"));
}

TEST(a_stall_comes_with_a_backtrace)
{
    rota_log_set(collect, NULL);
    CHECK_INT(
        rota_run_with(run_hog, NULL, (&(rota_loop_options){.stall_limit = 20 * ROTA_MILLISECOND})),
        ==, 0);
    CHECK(strstr(reports, "\n  hog+0x"));
    /* The clock is read in the vdso, which is no file that the command could look into. */
    CHECK(!strstr(reports, "addr2line -Cfpie linux-vdso"));
}

TEST(yielding_and_sleeping_are_no_stalls)
{
    rota_log_set(collect, NULL);
    const rota_loop_options options = {.stall_limit = 80 * ROTA_MILLISECOND};
    CHECK_INT(rota_run_with(many_turns, NULL, &options), ==, 0);
    CHECK_INT(rota_run_with(long_sleep, NULL, &options), ==, 0);
    CHECK_STR(reports, "");
}

/* The signal that looks at a stall waits until the loop is about to sleep. */
static void hold_urgent(bool hold)
{
    sigset_t urgent;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    pthread_sigmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &urgent, NULL);
}

static void let_urgent_come(void *arg, bool begins)
{
    (void)arg;
    if (begins)
        hold_urgent(false);
}

static int hog_unseen(void *arg)
{
    hold_urgent(true);
    hog(arg);
    return rota_sleep(ROTA_MILLISECOND);
}

TEST(a_stall_that_is_over_when_it_is_looked_at_is_not_reported)
{
    rota_log_set(collect, NULL);
    rota_loop_options options = {.stall_limit = 20 * ROTA_MILLISECOND, .on_sleep = let_urgent_come};
    CHECK_INT(rota_run_with(hog_unseen, NULL, &options), ==, 0);
    CHECK_STR(reports, "");
}

TEST(without_a_limit_nobody_watches)
{
    rota_log_set(collect, NULL);
    CHECK_INT(rota_run(run_hog, NULL), ==, 0);
    CHECK_STR(reports, "");
}
