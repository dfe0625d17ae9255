/* Whatever fails: each allocation, each system call, and cancellation at each suspending call, over
 * programs that use the whole of the core. None may crash, hang or leave anything behind. */

#include "harness.h"

#include "base/fault.h"
#include "task/task.h"

#include <rota/test.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- The scenarios. Their errors are handed on, and nothing is checked but what has to hold. */

static void yield_deferred(void *arg)
{
    ROTA_IGNORE(rota_yield());
}

static int work(void *arg)
{
    rota_defer(yield_deferred, NULL);
    int err = rota_sleep(10 * ROTA_MILLISECOND);
    return err < 0 ? err : rota_yield();
}

static int groups(void *arg)
{
    ROTA_GROUP(outer);
    for (int i = 0; i < 3; i++)
        rota_group_spawn(&outer, work, NULL);
    ROTA_GROUP(inner, .policy = ROTA_GROUP_COLLECT, .keep = true);
    for (int i = 0; i < 3; i++)
        rota_group_spawn_copy(&inner, work, &i, sizeof i);
    rota_task *ended;
    while (rota_group_next(&inner, &ended) > 0)
        rota_task_result(ended);
    int err = rota_group_wait(&inner);
    int second = rota_group_wait(&outer);
    return err < 0 ? err : second;
}

static int joins(void *arg)
{
    ROTA_AUTO(rota_task) a = NULL;
    rota_task *b = NULL;
    int err = rota_spawn(work, NULL, &a);
    if (err == 0)
        err = rota_spawn(work, NULL, &b);
    if (err < 0)
        return err;
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        err = rota_join(b);
    }
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_sleep(ROTA_MILLISECOND));
    }
    return err == -ETIMEDOUT ? 0 : err;
}

static int set_later(void *arg)
{
    ROTA_IGNORE(rota_sleep(ROTA_MILLISECOND));
    return rota_future_set(arg, 1);
}

/* More futures than rota_wait has room for without memory. */
static int many_futures(void *arg)
{
    enum { N = 20 };
    rota_future futures[N], *list[N];
    ROTA_GROUP(group);
    for (int i = 0; i < N; i++) {
        rota_future_init(&futures[i]);
        list[i] = &futures[i];
        rota_group_spawn(&group, set_later, &futures[i]);
    }
    int err = rota_wait(list, N, ROTA_ALL_COMPLETED);
    int second = rota_group_wait(&group);
    return err < 0 ? err : second;
}

static int count_slowly(rota_gen *gen, void *arg)
{
    for (intptr_t i = 1; i < 5; i++) {
        int err = rota_sleep(ROTA_MILLISECOND);
        if (err == 0)
            err = rota_gen_yield(gen, (void *)i);
        if (err < 0)
            return err;
    }
    return 0;
}

static int generators(void *arg)
{
    static const rota_local local;
    ROTA_AUTO(rota_gen) gen = NULL;
    int err = rota_gen_new(count_slowly, NULL, &gen);
    if (err == 0)
        err = rota_local_set(&local, gen);
    if (err < 0)
        return err;
    intptr_t sum = 0;
    ROTA_FOREACH (intptr_t, item, rota_gen_iter(gen), &err) {
        sum += item;
        if (item == 3)
            break;
    }
    CHECK(err < 0 || sum == 6);
    return err;
}

static ssize_t transfer(struct rota__fd *fd, enum rota__op_kind kind, void *buf, size_t len)
{
    static const struct rota__wait_kind waits = {.name = "socket", .abort = rota__op_abort};
    struct rota__op op = {.kind = (unsigned char)kind, .fd = fd, .buf = buf, .len = len};
    return rota__op_await(&op, &waits);
}

static int echo_five(void *arg)
{
    char buf[8];
    for (int i = 0; i < 5; i++) {
        ssize_t n = transfer(arg, ROTA__OP_RECV, buf, sizeof buf);
        if (n > 0)
            n = transfer(arg, ROTA__OP_SEND, buf, (size_t)n);
        if (n <= 0)
            return (int)n;
    }
    return 0;
}

static int talk_five(void *arg)
{
    char buf[8] = "message";
    for (int i = 0; i < 5; i++) {
        ssize_t n = transfer(arg, ROTA__OP_SEND, buf, sizeof buf);
        if (n > 0)
            n = transfer(arg, ROTA__OP_RECV, buf, sizeof buf);
        if (n <= 0)
            return (int)n;
    }
    return 0;
}

static int sockets(void *arg)
{
    int ends[2];
    struct rota__fd fds[2] = {{.fd = -1}, {.fd = -1}};
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    int err = 0;
    for (int i = 0; i < 2; i++) {
        int opened = rota__fd_open(&fds[i], rota__loop_here, ends[i], true);
        if (opened < 0) {
            err = opened;
            close(ends[i]);
            fds[i].fd = -1;
        }
    }
    if (err == 0) {
        ROTA_GROUP(group);
        ROTA_TIMEOUT (ROTA_SECOND) {
            rota_group_spawn(&group, echo_five, &fds[0]);
            rota_group_spawn(&group, talk_five, &fds[1]);
            err = rota_group_wait(&group);
        }
    }
    rota__fd_close(&fds[0]);
    rota__fd_close(&fds[1]);
    return err;
}

static void read_one(rota_watch *watch, int events, void *arg)
{
    rota_future_set(arg, events);
}

static int watches(void *arg)
{
    int ends[2];
    rota_future seen;
    rota_future_init(&seen);
    CHECK_OK(pipe(ends));
    int err;
    {
        ROTA_AUTO(rota_watch) watch = NULL;
        err = rota_loop_watch(rota_loop_current(), ends[0], ROTA_READABLE, read_one, &seen, &watch);
        CHECK_INT(write(ends[1], "x", 1), ==, 1);
        if (err == 0)
            err = rota_future_wait(&seen);
    }
    close(ends[0]);
    close(ends[1]);
    return err;
}

static int gathers(void *arg)
{
    int unused = 0;
    rota_gather_call calls[] = {{groups, NULL, 0}, {joins, NULL, 0}, {generators, &unused, 0}};
    return rota_gather(calls, 3);
}

static const struct {
    const char *name;
    rota_fn *main;
} scenarios[] = {
    {"groups", groups},         {"joins", joins},     {"many_futures", many_futures},
    {"generators", generators}, {"sockets", sockets}, {"watches", watches},
    {"gathers", gathers},
};

enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

static void print_report(void *arg, rota_log_level level, const char *message)
{
    if (level == ROTA_LOG_ERROR)
        printf("%s\n", message);
}

static void fail_each(rota_test_fault kind)
{
    rota_log_set(print_report, NULL);
    for (int i = 0; i < SCENARIOS; i++) {
        rota_site site = {scenarios[i].name, __FILE__, __LINE__};
        CHECK_INT(rota_test_run_at(scenarios[i].main, NULL, &site), >=, 0);
        int points = rota_test_each_fault_at(kind, scenarios[i].main, NULL, &site);
        if (points < 0)
            FAIL("%s: %s", scenarios[i].name, rota_strerror(points));
        printf("%s: %d points\n", scenarios[i].name, points);
    }
}

TEST_WITH(any_allocation_may_fail, .without_faults = true)
{
    fail_each(ROTA_TEST_ALLOCATION);
}

TEST_WITH(any_system_call_may_fail, .without_faults = true, .seconds = 60)
{
    fail_each(ROTA_TEST_SYSCALL);
}

TEST_WITH(program_may_be_cancelled_at_any_suspending_call, .without_faults = true)
{
    fail_each(ROTA_TEST_SUSPENSION);
}

/* Every scenario under many orders of its tasks. */
TEST(no_scenario_depends_on_the_order_of_tasks)
{
    for (uint64_t seed = 1; seed < 50; seed++) {
        rota_loop_options options = rota_test_options(seed);
        for (int i = 0; i < SCENARIOS; i++)
            CHECK_INT(rota_run_with(scenarios[i].main, NULL, &options), >=, 0);
    }
}

/* ---- The means themselves */

static int two_sleeps(void *arg)
{
    int err = rota_sleep(60 * ROTA_MINUTE);
    if (err == 0)
        err = rota_sleep(60 * ROTA_MINUTE);
    return err;
}

TEST_WITH(suspending_calls_are_counted_and_cancelled_there, .without_faults = true)
{
    rota_test_fail(ROTA_TEST_SUSPENSION, 0);
    CHECK_INT(rota_test_run(two_sleeps, NULL), ==, 0);
    CHECK_INT(rota_test_points(ROTA_TEST_SUSPENSION), ==, 2);
    rota_test_fail(ROTA_TEST_SUSPENSION, 2);
    CHECK_INT(rota_test_run(two_sleeps, NULL), ==, -ECANCELED);
    rota_test_fail_none();
    CHECK_INT(rota_test_run(two_sleeps, NULL), ==, 0);
    CHECK_INT(rota_test_each_fault(ROTA_TEST_SUSPENSION, two_sleeps, NULL), ==, 2);
}

/* The example of the header. */
static int twice(void *arg)
{
    int *tries = arg, err;
    do
        err = rota_sleep(60 * ROTA_MINUTE);
    while (err == 0 && ++*tries < 2);
    return err;
}

TEST_WITH(example_of_the_header_takes_no_time_and_is_clean, .without_faults = true)
{
    int tries = 0;
    rota_time before = rota_now();
    CHECK(rota_test_run(twice, &tries) == 0 && tries == 2);
    tries = 0;
    CHECK_INT(rota_test_each_fault(ROTA_TEST_ALLOCATION, twice, &tries), >=, 0);
    CHECK_INT(rota_now() - before, <, 60 * ROTA_MINUTE);
}

static rota_gen *leaked[100];
static int leaks;

static int never_called(rota_gen *gen, void *arg)
{
    return 0;
}

static int leak_when_cancelled(void *arg)
{
    if (rota_sleep(1) < 0)
        rota_gen_new(never_called, NULL, &leaked[leaks++]);
    return 0;
}

static int yield_twice(rota_gen *gen, void *arg)
{
    int err = rota_gen_yield(gen, arg);
    return err < 0 ? err : rota_gen_yield(gen, arg);
}

static int iterate(void *arg)
{
    int err;
    ROTA_AUTO(rota_gen) gen = NULL;
    err = rota_gen_new(yield_twice, NULL, &gen);
    if (err < 0)
        return err;
    ROTA_FOREACH (void *, item, rota_gen_iter(gen), &err)
        CHECK(!item);
    return err;
}

/* Its stack comes from a pool that stays with the thread. */
TEST_WITH(first_generator_of_a_thread_leaves_nothing_behind, .without_faults = true)
{
    CHECK_INT(rota_test_each_fault(ROTA_TEST_ALLOCATION, iterate, NULL), >, 0);
    CHECK_INT(rota_test_each_fault(ROTA_TEST_SYSCALL, iterate, NULL), >, 0);
}

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    snprintf(arg, 200, "%s", message);
}

TEST_WITH(what_a_fault_leaves_behind_is_noticed, .without_faults = true)
{
    char report[200] = "";
    rota_log_set(keep_report, report);
    CHECK_INT(rota_test_each_fault(ROTA_TEST_SUSPENSION, leak_when_cancelled, NULL), ==,
              -ENOTEMPTY);
    CHECK(strstr(report, "'leak_when_cancelled' with fault 1 leaves "));
    while (leaks)
        rota_gen_free(leaked[--leaks]);
}
