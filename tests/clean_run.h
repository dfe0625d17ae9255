/* Runs of a loop that leave nothing behind, and cases that are such runs. */
#ifndef CLEAN_RUN_H
#define CLEAN_RUN_H

#include "harness.h"

#include <rota/test.h>

#include <sys/wait.h>

/* A case whose body is the main task of a loop:
 *
 *     TASK_TEST(sleeping_for_no_time_yields)
 *     {
 *         CHECK_OK(rota_sleep(0));
 *     }
 *
 * A virtual one does not wait for time to pass. What stands behind the name is as for TEST_WITH. */
#define TASK_TEST(name_, ...) TASK_TEST_BY(run, name_, __VA_ARGS__)
#define VIRTUAL_TASK_TEST(name_, ...) TASK_TEST_BY(run_virtual, name_, __VA_ARGS__)

/* The same, run by `run_(fn, NULL)`: by what a test program has set up for its cases. */
#define TASK_TEST_BY(run_, name_, ...)                       \
    static void name_##_body(void);                          \
    static int name_##_task(__attribute__((unused)) void *a) \
    {                                                        \
        name_##_body();                                      \
        return 0;                                            \
    }                                                        \
    TEST_WITH(name_, __VA_ARGS__)                            \
    {                                                        \
        run_(name_##_task, NULL);                            \
    }                                                        \
    static void name_##_body(void)

/* Runs a task on a loop of its own and returns its result. No descriptor, memory or child is left
 * of it. */
static inline int run_clean(rota_fn *fn, void *arg, bool virtual_clock)
{
    int fds = test_open_fds();
    long live = rota_test_allocations();
    rota_loop_options options = {.virtual_clock = virtual_clock};
    int result = rota_run_at(fn, arg, &options, ROTA_SITE("main"));
    CHECK_INT(test_open_fds(), ==, fds);
    CHECK_INT(rota_test_allocations(), ==, live);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
    return result;
}

static inline void run(rota_fn *fn, void *arg)
{
    CHECK_OK(run_clean(fn, arg, false));
}

static inline void run_virtual(rota_fn *fn, void *arg)
{
    CHECK_OK(run_clean(fn, arg, true));
}

#endif
