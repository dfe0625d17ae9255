/* Groups: policies, which errors are seen where, and that a block never ends before its tasks. */

#include "clean_run.h"

#include "task/task.h"

#include <rota.h>

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MANY 10000

/* What the library reported. */
static char report[8192];

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    strncat(report, message, sizeof report - strlen(report) - 1);
}

static void let_others_run(void)
{
    for (int i = 0; i < 4; i++)
        CHECK_INT(rota_yield(), ==, 0);
}

struct job {
    int seconds;
    int result;
    int saw; /* what its sleep returned */
    bool ended;
};

static int work(void *arg)
{
    struct job *job = arg;
    job->saw = rota_sleep(job->seconds * ROTA_SECOND);
    job->ended = true;
    return job->saw < 0 ? job->saw : job->result;
}

/* Does not look at cancellation until it is done. */
static int work_shielded(void *arg)
{
    struct job *job = arg;
    ROTA_SHIELD
    {
        work(job);
    }
    return job->result;
}

static void spawn_jobs(rota_group *group, struct job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK_OK(rota_group_spawn(group, work, &jobs[i]));
}

static int seconds(void)
{
    return (int)(rota_now() / ROTA_SECOND);
}

/* ---- Rule 14: the end of a group, and the policies */

VIRTUAL_TASK_TEST(group_waits_for_all_its_tasks)
{
    struct job jobs[] = {{1}, {5}, {3}};
    ROTA_GROUP(g);
    spawn_jobs(&g, jobs, 3);
    CHECK_INT(rota_group_running(&g), ==, 3);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(seconds(), ==, 5);
    CHECK_INT(rota_group_running(&g), ==, 0);
    CHECK(jobs[0].ended && jobs[1].ended && jobs[2].ended);
}

VIRTUAL_TASK_TEST(first_failure_cancels_the_others_and_is_what_the_group_returns)
{
    struct job jobs[] = {{4}, {2, -EIO}, {1, 3}, {3, -EPIPE}};
    ROTA_GROUP(g);
    spawn_jobs(&g, jobs, 4);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_INT(seconds(), ==, 2);
    CHECK_INT(jobs[0].saw, ==, -ECANCELED);
    CHECK_INT(jobs[2].saw, ==, 0);
    CHECK_INT(jobs[3].saw, ==, -ECANCELED);
    CHECK_INT(rota_check(), ==, 0);
}

VIRTUAL_TASK_TEST(collecting_group_cancels_nobody_and_returns_the_failure_that_came_first)
{
    struct job jobs[] = {{3, -EPIPE}, {2, -EIO}, {4, 1}};
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
    spawn_jobs(&g, jobs, 3);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_INT(seconds(), ==, 4);
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(jobs[i].saw, ==, 0);
}

VIRTUAL_TASK_TEST(race_is_won_by_the_first_success_and_the_others_are_cancelled)
{
    struct job jobs[] = {{1, -EIO}, {3, 8}, {2, 7}, {2, 9}};
    ROTA_GROUP(g, .policy = ROTA_GROUP_RACE);
    spawn_jobs(&g, jobs, 4);
    CHECK_INT(rota_group_wait(&g), ==, 7);
    CHECK_INT(seconds(), ==, 2);
    CHECK_INT(jobs[1].saw, ==, -ECANCELED);
}

VIRTUAL_TASK_TEST(race_that_all_lose_returns_the_first_failure)
{
    struct job jobs[] = {{3, -EPIPE}, {1, -EIO}, {2, -EBADF}};
    ROTA_GROUP(g, .policy = ROTA_GROUP_RACE);
    spawn_jobs(&g, jobs, 3);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_INT(seconds(), ==, 3);
}

static int cancel_oneself(void *arg)
{
    rota_task_cancel(rota_task_current());
    return rota_yield();
}

VIRTUAL_TASK_TEST(race_whose_tasks_are_all_cancelled_has_no_winner)
{
    struct job jobs[] = {{9}, {8}};
    ROTA_GROUP(cancelled, .policy = ROTA_GROUP_RACE);
    spawn_jobs(&cancelled, jobs, 2);
    rota_group_cancel(&cancelled);
    CHECK_INT(rota_group_wait(&cancelled), ==, -ECANCELED);
    ROTA_GROUP(alone, .policy = ROTA_GROUP_RACE);
    rota_group_spawn(&alone, cancel_oneself, NULL);
    CHECK_INT(rota_group_wait(&alone), ==, -ECANCELED);
    for (int result = -EIO; result <= 0; result += EIO) {
        ROTA_GROUP(with_another, .policy = ROTA_GROUP_RACE);
        jobs[0] = (struct job){1, result};
        rota_group_spawn(&with_another, cancel_oneself, NULL);
        spawn_jobs(&with_another, jobs, 1);
        CHECK_INT(rota_group_wait(&with_another), ==, result);
    }
}

VIRTUAL_TASK_TEST(cancelled_task_is_no_failure)
{
    struct job job = {2};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    rota_group_spawn(&g, cancel_oneself, NULL);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(job.saw, ==, 0);
}

static int claim_cancellation(void *arg)
{
    return -ECANCELED;
}

VIRTUAL_TASK_TEST(task_that_says_cancelled_without_having_been_has_failed)
{
    struct job job = {2};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    rota_group_spawn(&g, claim_cancellation, NULL);
    CHECK_INT(rota_group_wait(&g), ==, -ECANCELED);
    CHECK_INT(job.saw, ==, -ECANCELED);
}

VIRTUAL_TASK_TEST(task_that_shields_itself_is_waited_for_and_does_not_change_the_result)
{
    struct job failing = {1, -EIO}, late = {5, -EPIPE}, fine = {4, 2};
    ROTA_GROUP(g);
    rota_group_spawn(&g, work, &failing);
    rota_group_spawn(&g, work_shielded, &late);
    rota_group_spawn(&g, work_shielded, &fine);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_INT(seconds(), ==, 5);
    CHECK_INT(late.saw, ==, 0);
    CHECK_INT(fine.saw, ==, 0);
}

static int report_copy(void *arg)
{
    return *(int *)arg;
}

VIRTUAL_TASK_TEST(copied_argument_outlives_the_original)
{
    ROTA_GROUP(g, .policy = ROTA_GROUP_RACE);
    int value = 5;
    CHECK_OK(rota_group_spawn_copy(&g, report_copy, &value, sizeof value));
    value = 6;
    CHECK_INT(rota_group_wait(&g), ==, 5);
}

VIRTUAL_TASK_TEST(ten_thousand_tasks_fit_in_a_group)
{
    static struct job jobs[MANY];
    ROTA_GROUP(g);
    for (size_t i = 0; i < MANY; i++) {
        jobs[i].seconds = 1 + (int)(i % 7);
        CHECK_OK(rota_group_spawn(&g, work, &jobs[i]));
    }
    CHECK_INT(rota_group_running(&g), ==, MANY);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    for (size_t i = 0; i < MANY; i++)
        CHECK(jobs[i].ended);
}

VIRTUAL_TASK_TEST(one_failure_cancels_ten_thousand_tasks)
{
    static struct job jobs[MANY];
    ROTA_GROUP(g);
    for (size_t i = 0; i < MANY; i++) {
        jobs[i] = (struct job){i == MANY / 2 ? 1 : 2, -EIO};
        CHECK_OK(rota_group_spawn(&g, work, &jobs[i]));
    }
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_INT(seconds(), ==, 1);
    CHECK_INT(jobs[0].saw, ==, -ECANCELED);
    CHECK_INT(jobs[MANY - 1].saw, ==, -ECANCELED);
}

/* ---- Leaving the block */

static int leave_by_return(void *arg)
{
    ROTA_GROUP(g);
    rota_group_spawn(&g, work, arg);
    rota_group_spawn(&g, work_shielded, (struct job *)arg + 1);
    if (rota_yield() < 0)
        return rota_group_wait(&g);
    return -EBADF;
}

VIRTUAL_TASK_TEST(rule_14_block_left_by_return_cancels_its_tasks_and_waits_for_them)
{
    struct job jobs[] = {{60}, {3}};
    CHECK_INT(leave_by_return(jobs), ==, -EBADF);
    CHECK_INT(jobs[0].saw, ==, -ECANCELED);
    CHECK(jobs[1].ended);
    CHECK_INT(jobs[1].saw, ==, 0);
    CHECK_INT(seconds(), ==, 3);
    CHECK_INT(rota_check(), ==, 0);
}

VIRTUAL_TASK_TEST(block_left_by_break_or_goto_cancels_its_tasks_and_waits_for_them)
{
    struct job jobs[] = {{1}, {2}};
    for (;;) {
        ROTA_GROUP(g);
        spawn_jobs(&g, &jobs[0], 1);
        break;
    }
    CHECK_INT(jobs[0].saw, ==, -ECANCELED);
    {
        ROTA_GROUP(g);
        spawn_jobs(&g, &jobs[1], 1);
        goto out;
    }
out:
    CHECK_INT(jobs[1].saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 0);
}

VIRTUAL_TASK_TEST(the_end_of_a_block_is_shielded)
{
    struct job stubborn = {3};
    rota_task_cancel(rota_task_current());
    {
        ROTA_GROUP(g);
        rota_group_spawn(&g, work_shielded, &stubborn);
    }
    CHECK(stubborn.ended);
    CHECK_INT(seconds(), ==, 3);
}

static int leave_running(void *arg)
{
    ROTA_GROUP(g);
    rota_group_spawn(&g, work, arg);
    rota_group_spawn(&g, work, arg);
    return rota_sleep(ROTA_SECOND);
}

static int leave_twice(void *arg)
{
    struct job job = {30};
    rota_task *task;
    CHECK_OK(rota_spawn(leave_running, &job, &task));
    CHECK_INT(rota_join(task), ==, 0);
    CHECK(strstr(report, "task 'leave_running' left the block of a group without rota_group_wait, "
                         "which cancels 2 of its tasks: 'work' (spawned at "));
    report[0] = '\0';
    CHECK_OK(rota_spawn(leave_running, &job, &task));
    let_others_run();
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_STR(report, "");
    return 0;
}

TEST(rule_14_block_that_cancels_running_tasks_is_reported_in_debug_mode)
{
    setenv("ROTA_DEBUG", "1", 1);
    rota_log_set(keep_report, NULL);
    run_virtual(leave_twice, NULL);
}

static int leave_cancelled(void *arg)
{
    ROTA_GROUP(g);
    rota_group_spawn(&g, work, arg);
    return rota_sleep(ROTA_MINUTE);
}

VIRTUAL_TASK_TEST(block_left_because_its_task_is_cancelled_cancels_the_group)
{
    struct job job = {30};
    rota_task *task;
    CHECK_OK(rota_spawn(leave_cancelled, &job, &task));
    let_others_run();
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_INT(job.saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 0);
}

VIRTUAL_TASK_TEST(failure_of_a_group_that_nobody_waited_for_is_reported)
{
    rota_log_set(keep_report, NULL);
    struct job jobs[] = {{1, -EIO}, {2}};
    {
        ROTA_GROUP(g);
        spawn_jobs(&g, jobs, 2);
    }
    CHECK_STR(report, "");
    CHECK_INT(jobs[0].saw, ==, -ECANCELED);
    {
        ROTA_GROUP(g);
        spawn_jobs(&g, jobs, 2);
        CHECK_INT(rota_sleep(5 * ROTA_SECOND), ==, -ECANCELED);
    }
    CHECK(strstr(report, rota_strerror(-EIO)));
    CHECK_INT(jobs[1].saw, ==, -ECANCELED);
    report[0] = '\0';
    jobs[0].saw = 0;
    {
        ROTA_GROUP(g);
        spawn_jobs(&g, jobs, 2);
        CHECK_INT(rota_group_wait(&g), ==, -EIO);
    }
    CHECK_STR(report, "");
}

/* rule 6 */
VIRTUAL_TASK_TEST(failures_that_a_collecting_group_does_not_return_are_read_or_reported)
{
    rota_log_set(keep_report, NULL);
    for (int keep = 0; keep < 2; keep++) {
        struct job jobs[] = {{2, -EPIPE}, {1, -EIO}, {3, 1}};
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT, .keep = keep);
        report[0] = '\0';
        spawn_jobs(&g, jobs, 3);
        rota_task *task;
        for (int i = 0; keep && i < 3; i++) {
            CHECK_INT(rota_group_next(&g, &task), ==, 1);
            rota_task_result(task);
        }
        CHECK_INT(rota_group_wait(&g), ==, -EIO);
        CHECK_INT(strstr(report, rota_strerror(-EPIPE)) != NULL, ==, !keep);
        CHECK(!strstr(report, rota_strerror(-EIO)));
    }
    struct job jobs[] = {{1, -EIO}, {2, -EPIPE}};
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT, .keep = true);
        spawn_jobs(&g, jobs, 2);
        CHECK_INT(rota_group_wait(&g), ==, -EIO);
        CHECK_STR(report, "");
    }
    CHECK(strstr(report, rota_strerror(-EPIPE)));
}

VIRTUAL_TASK_TEST(group_without_tasks_is_harmless)
{
    ROTA_GROUP(g);
    rota_group_cancel(&g);
    CHECK_INT(rota_group_running(&g), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(rota_yield(), ==, 0);
}

VIRTUAL_TASK_TEST(rule_14_wait_may_be_repeated_and_returns_the_same)
{
    struct job bad[] = {{1, -EIO}, {2}}, good[] = {{1, 7}, {2}}, slow = {60};
    ROTA_GROUP(failed);
    spawn_jobs(&failed, bad, 2);
    CHECK_INT(rota_group_wait(&failed), ==, -EIO);
    ROTA_GROUP(won, .policy = ROTA_GROUP_RACE);
    spawn_jobs(&won, good, 2);
    CHECK_INT(rota_group_wait(&won), ==, 7);
    ROTA_GROUP(late);
    spawn_jobs(&late, &slow, 1);
    ROTA_TIMEOUT (ROTA_SECOND)
        CHECK_INT(rota_group_wait(&late), ==, -ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(rota_group_wait(&failed), ==, -EIO);
        CHECK_INT(rota_group_wait(&won), ==, 7);
        CHECK_INT(rota_group_wait(&late), ==, -ETIMEDOUT);
        CHECK_INT(rota_yield(), ==, 0);
    }
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_group_wait(&won), ==, 7);
}

VIRTUAL_TASK_TEST(rule_14_a_group_is_for_one_use)
{
    rota_log_set(keep_report, NULL);
    struct job jobs[] = {{1}, {2}};
    ROTA_GROUP(g);
    spawn_jobs(&g, jobs, 1);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_STR(report, "");
    CHECK_INT(rota_group_spawn(&g, work, &jobs[1]), ==, ROTA_ECLOSED);
    CHECK(strstr(report, "task 'work' (spawned at "));
    CHECK(strstr(report, "was not started: its group is closed"));
    CHECK_INT(rota_group_running(&g), ==, 0);
    rota_group_cancel(&g);
    CHECK_INT(rota_sleep(9 * ROTA_SECOND), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK(!jobs[1].ended);
}

VIRTUAL_TASK_TEST(a_group_that_is_waited_for_empty_is_closed_too)
{
    rota_log_set(keep_report, NULL);
    struct job job = {1};
    ROTA_GROUP(g);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(rota_group_spawn(&g, work, &job), ==, ROTA_ECLOSED);
    CHECK(strstr(report, "its group is closed"));
}

VIRTUAL_TASK_TEST(rule_14_cancel_before_the_first_spawn_counts)
{
    struct job jobs[] = {{5}, {6}};
    ROTA_GROUP(g);
    rota_group_cancel(&g);
    CHECK_INT(rota_yield(), ==, -ECANCELED);
    spawn_jobs(&g, jobs, 1);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, -ECANCELED);
    spawn_jobs(&g, &jobs[1], 1);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(jobs[0].saw, ==, -ECANCELED);
    CHECK_INT(jobs[1].saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 0);
}

/* ---- Spawning by others */

struct nursery {
    rota_group *group;
    struct job *job;
    int turns; /* to let pass before the spawn */
    int err;
};

static int spawn_from_outside(void *arg)
{
    struct nursery *n = arg;
    ROTA_IGNORE(rota_sleep(ROTA_SECOND));
    for (int i = 0; i < n->turns; i++)
        ROTA_IGNORE(rota_yield());
    n->err = rota_group_spawn(n->group, work, n->job);
    return 0;
}

VIRTUAL_TASK_TEST(rule_14_another_task_may_spawn_first_and_owns_nothing)
{
    struct job job = {2};
    struct nursery n = {.job = &job};
    {
        ROTA_GROUP(g);
        n.group = &g;
        rota_task *task;
        CHECK_OK(rota_spawn(spawn_from_outside, &n, &task));
        CHECK_INT(rota_join(task), ==, 0);
        CHECK_INT(n.err, ==, 0);
        CHECK_INT(rota_group_wait(&g), ==, 0);
        CHECK_INT(seconds(), ==, 3);
    }
    CHECK_INT(job.saw, ==, 0);
}

/* In each turn around the one in which the last member ends. */
VIRTUAL_TASK_TEST(rule_14_spawn_in_the_turn_in_which_the_group_ends_is_right_or_refused)
{
    rota_log_set(keep_report, NULL);
    bool refused = false, done = false;
    for (int turns = 0; turns < 4; turns++) {
        for (int first = 0; first < 2; first++) {
            struct job member = {1, -EIO}, job = {1};
            rota_task *task;
            ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
            struct nursery n = {.group = &g, .job = &job, .turns = turns};
            if (first)
                spawn_jobs(&g, &member, 1);
            CHECK_OK(rota_spawn(spawn_from_outside, &n, &task));
            if (!first)
                spawn_jobs(&g, &member, 1);
            CHECK_INT(rota_group_wait(&g), ==, -EIO);
            CHECK_INT(rota_join(task), ==, 0);
            CHECK_INT(rota_group_running(&g), ==, 0);
            CHECK_INT(job.ended, ==, n.err == 0);
            refused |= n.err == ROTA_ECLOSED;
            done |= n.err == 0;
        }
    }
    CHECK(refused && done);
}

static void spawn_by_callback(rota_handle *handle, void *arg)
{
    struct nursery *n = arg;
    n->err = rota_group_spawn(n->group, work, n->job);
}

VIRTUAL_TASK_TEST(a_callback_may_spawn_into_an_open_group)
{
    struct job jobs[] = {{2}, {3}};
    ROTA_GROUP(g);
    struct nursery n = {.group = &g, .job = &jobs[1], .err = 1};
    rota_handle handle = {0};
    spawn_jobs(&g, jobs, 1);
    rota_loop_call_later(rota_loop_current(), &handle, ROTA_SECOND, spawn_by_callback, &n);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(n.err, ==, 0);
    CHECK_INT(jobs[1].saw, ==, 0);
    CHECK_INT(seconds(), ==, 4);
}

static void begin_and_spawn(rota_handle *handle, void *arg)
{
    struct nursery *n = arg;
    ROTA_GROUP(g);
    n->err = rota_group_spawn(&g, work, n->job);
}

VIRTUAL_TASK_TEST(a_group_that_a_callback_begins_takes_no_tasks)
{
    rota_log_set(keep_report, NULL);
    struct job job = {1};
    struct nursery n = {.job = &job, .err = 1};
    rota_handle handle = {0};
    rota_loop_call_later(rota_loop_current(), &handle, ROTA_SECOND, begin_and_spawn, &n);
    CHECK_OK(rota_sleep(3 * ROTA_SECOND));
    CHECK_INT(n.err, ==, ROTA_ENOTASK);
    CHECK(strstr(report, "its group was begun outside of a task"));
    CHECK(!job.ended);
}

/* ---- Groups in structures */

VIRTUAL_TASK_TEST(group_in_a_structure_keeps_its_options_and_may_be_opened_again_after_its_end)
{
    struct service {
        rota_group tasks;
    } s = {.tasks = {.policy = ROTA_GROUP_COLLECT, .keep = true}};
    for (int round = 0; round < 2; round++) {
        struct job jobs[] = {{1, -EIO}, {2}, {60}};
        rota_task *task;
        rota_group_begin(&s.tasks);
        spawn_jobs(&s.tasks, jobs, 3);
        CHECK_INT(rota_group_next(&s.tasks, &task), ==, 1);
        CHECK_INT(rota_task_result(task), ==, -EIO);
        CHECK_INT(rota_group_next(&s.tasks, &task), ==, 1);
        rota_group_fini(&s.tasks);
        rota_group_fini(&s.tasks);
        CHECK_INT(jobs[1].saw, ==, 0);
        CHECK_INT(jobs[2].saw, ==, -ECANCELED);
    }
    CHECK_INT(seconds(), ==, 4);
}

VIRTUAL_TASK_TEST(opening_an_open_group_is_reported_and_changes_nothing)
{
    rota_log_set(keep_report, NULL);
    struct job job = {1};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    rota_group_begin(&g);
    CHECK(strstr(report, "rota_group_begin was called on an open group"));
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(job.saw, ==, 0);
}

static int fini_of_another(void *arg)
{
    rota_group_fini(arg);
    return 0;
}

VIRTUAL_TASK_TEST(only_the_owner_ends_a_group)
{
    rota_log_set(keep_report, NULL);
    struct job job = {2};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    CHECK_OK(rota_spawn(fini_of_another, &g, NULL));
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK(strstr(report, "rota_group_fini was called by a task that does not own the group"));
    CHECK_INT(job.saw, ==, 0);
}

/* ---- Taking tasks in the order in which they end */

VIRTUAL_TASK_TEST(next_gives_tasks_in_the_order_in_which_they_end)
{
    struct job jobs[] = {{3, 30}, {1, 10}, {2, -EIO}, {4, 40}};
    static const int order[] = {1, 2, 0, 3};
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT, .keep = true);
    spawn_jobs(&g, jobs, 4);
    rota_task *task;
    for (size_t i = 0; i < 4; i++) {
        CHECK_INT(rota_group_next(&g, &task), ==, 1);
        CHECK_PTR(rota_task_arg(task), ==, &jobs[order[i]]);
        CHECK_INT(rota_task_result(task), ==, jobs[order[i]].result);
        CHECK_INT(seconds(), ==, jobs[order[i]].seconds);
    }
    CHECK_INT(rota_group_next(&g, &task), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
}

VIRTUAL_TASK_TEST(tasks_that_ended_unseen_are_given_at_once)
{
    struct job jobs[] = {{2, 1}, {1, 2}};
    ROTA_GROUP(g, .keep = true);
    spawn_jobs(&g, jobs, 2);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, 0);
    rota_task *task;
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_PTR(rota_task_arg(task), ==, &jobs[1]);
}

VIRTUAL_TASK_TEST(kept_tasks_are_given_after_the_wait_too)
{
    struct job jobs[] = {{2, 1}, {1, 2}};
    ROTA_GROUP(g, .keep = true);
    spawn_jobs(&g, jobs, 2);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    rota_task *task;
    int sum = 0;
    while (rota_group_next(&g, &task) > 0)
        sum += rota_task_result(task);
    CHECK_INT(sum, ==, 3);
}

VIRTUAL_TASK_TEST(next_gives_the_task_whose_failure_cancels_the_group)
{
    struct job jobs[] = {{1, 1}, {2, -EIO}, {3}};
    ROTA_GROUP(g, .keep = true);
    spawn_jobs(&g, jobs, 3);
    rota_task *task;
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_PTR(rota_task_arg(task), ==, &jobs[0]);
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_PTR(rota_task_arg(task), ==, &jobs[1]);
    CHECK_INT(rota_task_result(task), ==, -EIO);
    CHECK_INT(rota_group_next(&g, &task), ==, -ECANCELED);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_PTR(rota_task_arg(task), ==, &jobs[2]);
    CHECK_INT(rota_group_next(&g, &task), ==, 0);
}

VIRTUAL_TASK_TEST(next_gives_the_winner_of_a_race)
{
    struct job jobs[] = {{3, 3}, {1, -EIO}, {2, 7}};
    ROTA_GROUP(g, .policy = ROTA_GROUP_RACE, .keep = true);
    spawn_jobs(&g, jobs, 3);
    rota_task *task;
    do
        CHECK_INT(rota_group_next(&g, &task), ==, 1);
    while (rota_task_result(task) < 0);
    CHECK_PTR(rota_task_arg(task), ==, &jobs[2]);
    CHECK_INT(rota_group_wait(&g), ==, 7);
}

VIRTUAL_TASK_TEST(next_needs_keep)
{
    struct job job = {1};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    rota_task *task = NULL;
    CHECK_INT(rota_group_next(&g, &task), ==, -EINVAL);
    CHECK_PTR(task, ==, NULL);
}

VIRTUAL_TASK_TEST(next_that_runs_into_a_deadline_leaves_the_tasks_running)
{
    struct job job = {5, 3};
    ROTA_GROUP(g, .keep = true);
    spawn_jobs(&g, &job, 1);
    rota_task *task = NULL;
    ROTA_TIMEOUT (ROTA_SECOND) {
        CHECK_INT(rota_group_next(&g, &task), ==, -ETIMEDOUT);
    }
    CHECK_PTR(task, ==, NULL);
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_INT(rota_task_result(task), ==, 3);
    CHECK_INT(seconds(), ==, 5);
}

/* ---- Spawning while the group runs */

struct tree {
    rota_group *group;
    int depth;
    int *count;
};

static int grow(void *arg)
{
    struct tree tree = *(struct tree *)arg;
    ++*tree.count;
    int err = rota_sleep(ROTA_SECOND);
    if (tree.depth-- > 0) {
        rota_group_spawn_copy(tree.group, grow, &tree, sizeof tree);
        rota_group_spawn_copy(tree.group, grow, &tree, sizeof tree);
    }
    return err;
}

VIRTUAL_TASK_TEST(tasks_may_add_tasks_while_the_group_is_waited_for)
{
    int count = 0;
    ROTA_GROUP(g);
    struct tree tree = {&g, 6, &count};
    rota_group_spawn(&g, grow, &tree);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(count, ==, 127);
    CHECK_INT(seconds(), ==, 7);
}

struct late {
    rota_group *group;
    struct job job;
    int err;
};

static int spawn_late(void *arg)
{
    struct late *late = arg;
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_sleep(2 * ROTA_SECOND));
    }
    late->err = rota_group_spawn(late->group, work, &late->job);
    return 0;
}

VIRTUAL_TASK_TEST(task_added_to_a_failed_group_starts_cancelled)
{
    struct job failing = {1, -EIO};
    ROTA_GROUP(g);
    struct late late = {&g, {9}};
    spawn_jobs(&g, &failing, 1);
    rota_group_spawn(&g, spawn_late, &late);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_INT(late.err, ==, 0);
    CHECK_INT(late.job.saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 2);
}

VIRTUAL_TASK_TEST(task_added_while_the_interrupted_owner_waits_starts_cancelled)
{
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
    struct late late = {&g, {9}};
    rota_group_spawn(&g, spawn_late, &late);
    ROTA_TIMEOUT (ROTA_SECOND) {
        CHECK_INT(rota_group_wait(&g), ==, -ETIMEDOUT);
    }
    CHECK_INT(late.job.saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 2);
}

static int cancel_group_later(void *arg)
{
    struct late *late = arg;
    int err = rota_sleep(ROTA_SECOND);
    rota_group_cancel(late->group);
    late->err = rota_group_spawn(late->group, work, &late->job);
    return err;
}

VIRTUAL_TASK_TEST(task_may_cancel_the_group_that_its_owner_waits_for)
{
    struct job job = {9};
    ROTA_GROUP(g);
    struct late late = {&g, {9}};
    spawn_jobs(&g, &job, 1);
    rota_group_spawn(&g, cancel_group_later, &late);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(job.saw, ==, -ECANCELED);
    CHECK_INT(late.err, ==, 0);
    CHECK_INT(late.job.saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 1);
}

VIRTUAL_TASK_TEST(task_that_cannot_be_spawned_fails_its_group)
{
    struct job job = {5};
    char big[2049] = "";
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    CHECK_INT(rota_group_spawn_copy(&g, report_copy, big, sizeof big), ==, -E2BIG);
    CHECK_INT(rota_yield(), ==, -ECANCELED);
    CHECK_INT(rota_group_wait(&g), ==, -E2BIG);
    CHECK_INT(job.saw, ==, -ECANCELED);
}

static int spawn_until_memory_is_gone(void *arg)
{
    static struct job jobs[1000];
    ROTA_GROUP(g, .policy = *(unsigned char *)arg);
    spawn_jobs(&g, jobs, 1);
    rota_test_fail(ROTA_TEST_SYSCALL, 1);
    int err = 0;
    for (size_t i = 1; i < COUNT(jobs) && err == 0; i++) {
        jobs[i].seconds = 1;
        err = rota_group_spawn(&g, work, &jobs[i]);
    }
    CHECK_INT(err, ==, -ENOMEM);
    return rota_group_wait(&g);
}

TEST_WITH(spawn_without_memory_counts_as_the_failure_of_a_task, .without_faults = true)
{
    unsigned char policy = ROTA_GROUP_FAIL_FAST;
    CHECK_INT(rota_test_run(spawn_until_memory_is_gone, &policy), ==, -ENOMEM);
    policy = ROTA_GROUP_COLLECT;
    CHECK_INT(rota_test_run(spawn_until_memory_is_gone, &policy), ==, -ENOMEM);
    policy = ROTA_GROUP_RACE;
    run_virtual(spawn_until_memory_is_gone, &policy);
}

/* ---- The group as a scope of its owner */

VIRTUAL_TASK_TEST(owner_of_a_cancelled_group_sees_it_until_the_group_is_left)
{
    struct job job = {5};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    rota_group_cancel(&g);
    CHECK_INT(rota_check(), ==, -ECANCELED);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, -ECANCELED);
    CHECK_INT(rota_yield(), ==, -ECANCELED);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(job.saw, ==, -ECANCELED);
    CHECK_INT(rota_yield(), ==, 0);
}

VIRTUAL_TASK_TEST(failure_of_a_task_interrupts_what_the_owner_does)
{
    struct job job = {1, -EIO};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 1);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
}

VIRTUAL_TASK_TEST(success_in_a_race_interrupts_what_the_owner_does)
{
    struct job job = {1, 3};
    ROTA_GROUP(g, .policy = ROTA_GROUP_RACE);
    spawn_jobs(&g, &job, 1);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ECANCELED);
    CHECK_INT(rota_group_wait(&g), ==, 3);
}

VIRTUAL_TASK_TEST(failure_in_a_collecting_group_leaves_the_owner_alone)
{
    struct job job = {1, -EIO};
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
    spawn_jobs(&g, &job, 1);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
}

VIRTUAL_TASK_TEST(deadline_around_a_group_cancels_its_tasks)
{
    struct job jobs[] = {{1, 1}, {5, 5}};
    ROTA_GROUP(g);
    ROTA_TIMEOUT (3 * ROTA_SECOND) {
        spawn_jobs(&g, jobs, 2);
        CHECK_INT(rota_group_wait(&g), ==, -ETIMEDOUT);
    }
    CHECK_INT(seconds(), ==, 3);
    CHECK_INT(jobs[0].saw, ==, 0);
    CHECK_INT(jobs[1].saw, ==, -ECANCELED);
    CHECK_INT(rota_yield(), ==, 0);
}

VIRTUAL_TASK_TEST(group_outlives_a_timeout_in_which_it_was_used)
{
    struct job jobs[] = {{5, 1}, {6, 2}};
    ROTA_GROUP(g);
    ROTA_TIMEOUT (3 * ROTA_SECOND) {
        spawn_jobs(&g, jobs, 2);
        CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
    }
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    rota_group_cancel(&g);
    CHECK_INT(rota_yield(), ==, -ECANCELED);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(jobs[0].saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 4);
}

VIRTUAL_TASK_TEST(group_outlives_a_shield_in_which_it_was_used)
{
    struct job jobs[] = {{5}};
    ROTA_GROUP(g);
    rota_task_cancel(rota_task_current());
    ROTA_SHIELD
    {
        spawn_jobs(&g, jobs, 1);
        CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    }
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, -ECANCELED);
    CHECK_INT(rota_group_wait(&g), ==, -ECANCELED);
    CHECK_INT(jobs[0].saw, ==, -ECANCELED);
}

struct owner {
    struct job jobs[2];
    unsigned char policy;
    bool shielded;
    int waited, after;
};

static int own_a_group(void *arg)
{
    struct owner *o = arg;
    ROTA_GROUP(g, .policy = o->policy);
    spawn_jobs(&g, o->jobs, 2);
    if (o->shielded)
        ROTA_SHIELD
        {
            o->waited = rota_group_wait(&g);
        }
    else
        o->waited = rota_group_wait(&g);
    o->after = rota_yield();
    return o->waited;
}

VIRTUAL_TASK_TEST(owner_that_is_cancelled_while_it_waits_takes_its_tasks_along)
{
    for (unsigned char policy = 0; policy <= ROTA_GROUP_RACE; policy++) {
        struct owner owner = {.jobs = {{9}, {9}}, .policy = policy};
        rota_task *task;
        CHECK_OK(rota_spawn(own_a_group, &owner, &task));
        let_others_run();
        rota_task_cancel(task);
        CHECK_INT(rota_join(task), ==, -ECANCELED);
        CHECK_INT(owner.jobs[0].saw, ==, -ECANCELED);
        CHECK_INT(owner.jobs[1].saw, ==, -ECANCELED);
        CHECK_INT(owner.after, ==, -ECANCELED);
    }
    CHECK_INT(seconds(), ==, 0);
}

VIRTUAL_TASK_TEST(shielded_owner_waits_undisturbed)
{
    struct owner owner = {.jobs = {{9}, {4}}, .shielded = true};
    rota_task *task;
    CHECK_OK(rota_spawn(own_a_group, &owner, &task));
    let_others_run();
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(owner.jobs[0].saw, ==, 0);
    CHECK_INT(owner.after, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 9);
}

VIRTUAL_TASK_TEST(wait_of_a_cancelled_owner_cancels_waits_and_says_why)
{
    struct job job = {9}, stubborn = {3};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    rota_group_spawn(&g, work_shielded, &stubborn);
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_group_wait(&g), ==, -ECANCELED);
    CHECK_INT(job.saw, ==, -ECANCELED);
    CHECK_INT(stubborn.saw, ==, 0);
    CHECK_INT(rota_group_running(&g), ==, 0);
    CHECK_INT(seconds(), ==, 3);
}

struct ending {
    rota_future go;
    rota_task *owner;
    int waited, after;
};

static int end_when_told(void *arg)
{
    struct ending *e = arg;
    int result = rota_future_wait(&e->go);
    rota_task_cancel(e->owner); /* in the turn in which the group ends */
    return result;
}

static int wait_for_ending(void *arg)
{
    struct ending *e = arg;
    ROTA_GROUP(g, .policy = ROTA_GROUP_RACE);
    rota_group_spawn(&g, end_when_told, e);
    e->waited = rota_group_wait(&g);
    e->after = rota_yield();
    return 0;
}

static int cancel_owner(void *arg)
{
    struct ending *e = arg;
    int result = rota_future_wait(&e->go);
    rota_task_cancel(e->owner);
    return result;
}

VIRTUAL_TASK_TEST(rule_10_cancellation_before_the_last_task_ended_is_what_the_wait_returns)
{
    struct ending e = {0};
    rota_future_init(&e.go);
    CHECK_OK(rota_spawn(wait_for_ending, &e, &e.owner));
    let_others_run();
    rota_future_set(&e.go, 7);
    CHECK_INT(rota_join(e.owner), ==, 0);
    CHECK_INT(e.waited, ==, -ECANCELED);
    CHECK_INT(e.after, ==, -ECANCELED);
}

static int win(void *arg)
{
    return rota_future_wait(&((struct ending *)arg)->go);
}

static int wait_for_winner(void *arg)
{
    struct ending *e = arg;
    ROTA_GROUP(g, .policy = ROTA_GROUP_RACE);
    rota_group_spawn(&g, win, e);
    e->waited = rota_group_wait(&g);
    e->after = rota_yield();
    return 0;
}

VIRTUAL_TASK_TEST(rule_10_result_of_a_group_that_ended_wins_over_a_later_cancellation)
{
    struct ending e = {0};
    rota_future_init(&e.go);
    rota_task *canceller;
    CHECK_OK(rota_spawn(wait_for_winner, &e, &e.owner));
    let_others_run();
    CHECK_OK(rota_spawn(cancel_owner, &e, &canceller));
    let_others_run();
    rota_future_set(&e.go, 7); /* wakes the task in the group, then the one that cancels */
    CHECK_INT(rota_join(canceller), ==, 7);
    CHECK_INT(rota_join(e.owner), ==, 0);
    CHECK_INT(e.waited, ==, 7);
    CHECK_INT(e.after, ==, -ECANCELED);
}

static int meddle(void *arg)
{
    return rota_group_wait(arg);
}

VIRTUAL_TASK_TEST(only_the_owner_waits)
{
    struct job job = {2};
    ROTA_GROUP(g);
    spawn_jobs(&g, &job, 1);
    rota_task *task;
    CHECK_OK(rota_spawn(meddle, &g, &task));
    CHECK_INT(rota_join(task), ==, -EPERM);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(job.saw, ==, 0);
}

struct intruder {
    rota_group *group;
    int waited, next;
};

static int intrude(void *arg)
{
    struct intruder *i = arg;
    rota_task *task;
    i->waited = rota_group_wait(i->group);
    i->next = rota_group_next(i->group, &task);
    return rota_sleep(ROTA_SECOND);
}

VIRTUAL_TASK_TEST(only_the_owner_waits_also_while_it_does)
{
    struct job job = {2, 5};
    ROTA_GROUP(g, .keep = true);
    struct intruder inside = {&g}, outside = {&g};
    spawn_jobs(&g, &job, 1);
    rota_group_spawn(&g, intrude, &inside);
    CHECK_OK(rota_spawn(intrude, &outside, NULL));
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(inside.waited, ==, -EPERM);
    CHECK_INT(inside.next, ==, -EPERM);
    CHECK_INT(outside.waited, ==, -EPERM);
    CHECK_INT(outside.next, ==, -EPERM);
    CHECK_INT(job.saw, ==, 0);
    CHECK_INT(seconds(), ==, 2);
}

VIRTUAL_TASK_TEST(only_the_owner_takes_tasks)
{
    struct job job = {2, 5};
    ROTA_GROUP(g, .keep = true);
    struct intruder inside = {&g};
    spawn_jobs(&g, &job, 1);
    rota_group_spawn(&g, intrude, &inside);
    rota_task *task;
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_PTR(rota_task_arg(task), ==, &job);
    CHECK_INT(inside.next, ==, -EPERM);
}

TEST(groups_outside_a_task_say_so)
{
    ROTA_GROUP(g, .keep = true);
    rota_task *task;
    CHECK_INT(rota_group_spawn(&g, work, NULL), ==, ROTA_ENOTASK);
    CHECK_INT(rota_group_next(&g, &task), ==, ROTA_ENOTASK);
    CHECK_INT(rota_group_wait(&g), ==, ROTA_ENOTASK);
    CHECK_INT(rota_gather(NULL, 0), ==, ROTA_ENOTASK);
    rota_group_cancel(&g);
    rota_group_fini(&g);
}

/* ---- Nesting */

VIRTUAL_TASK_TEST(failure_passes_outwards_through_nested_groups)
{
    struct owner inner = {.jobs = {{2, -EIO}, {9}}};
    struct job beside = {9};
    ROTA_GROUP(g);
    rota_group_spawn(&g, own_a_group, &inner);
    spawn_jobs(&g, &beside, 1);
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_INT(inner.jobs[1].saw, ==, -ECANCELED);
    CHECK_INT(beside.saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 2);
}

VIRTUAL_TASK_TEST(cancellation_passes_inwards_through_nested_groups)
{
    struct owner inner = {.jobs = {{9}, {9}}};
    ROTA_GROUP(g);
    rota_group_spawn(&g, own_a_group, &inner);
    let_others_run();
    rota_group_cancel(&g);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(inner.waited, ==, -ECANCELED);
    CHECK_INT(inner.jobs[0].saw, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 0);
}

VIRTUAL_TASK_TEST(groups_of_one_task_fail_apart_from_each_other)
{
    struct job bad = {1, -EIO}, good = {3};
    ROTA_GROUP(outer);
    spawn_jobs(&outer, &good, 1);
    {
        ROTA_GROUP(inner);
        spawn_jobs(&inner, &bad, 1);
        CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ECANCELED);
        CHECK_INT(rota_group_wait(&inner), ==, -EIO);
    }
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    CHECK_INT(rota_group_wait(&outer), ==, 0);
    CHECK_INT(good.saw, ==, 0);
}

/* ---- Gather */

VIRTUAL_TASK_TEST(gather_runs_calls_at_once_and_sets_each_result)
{
    struct job a = {2, 20}, b = {3, 30};
    rota_gather_call calls[] = {{work, &a}, {work, &b}};
    CHECK_INT(rota_gather(calls, 2), ==, 0);
    CHECK_INT(calls[0].result, ==, 20);
    CHECK_INT(calls[1].result, ==, 30);
    CHECK_INT(seconds(), ==, 3);
}

VIRTUAL_TASK_TEST(gather_returns_the_first_failure_and_cancels_the_others)
{
    struct job a = {2, 20}, b = {3, -EIO}, c = {4};
    rota_gather_call calls[] = {{work, &a}, {work, &b}, {work, &c}};
    CHECK_INT(rota_gather(calls, 3), ==, -EIO);
    CHECK_INT(calls[0].result, ==, 20);
    CHECK_INT(calls[1].result, ==, -EIO);
    CHECK_INT(calls[2].result, ==, -ECANCELED);
    CHECK_INT(seconds(), ==, 3);
}

VIRTUAL_TASK_TEST(gather_of_nothing_is_done)
{
    CHECK_INT(rota_gather(NULL, 0), ==, 0);
}

VIRTUAL_TASK_TEST(gather_under_a_deadline_keeps_the_results_that_came)
{
    struct job a = {1, 10}, b = {9};
    rota_gather_call calls[] = {{work, &a}, {work, &b}};
    ROTA_TIMEOUT (3 * ROTA_SECOND) {
        CHECK_INT(rota_gather(calls, 2), ==, -ETIMEDOUT);
    }
    CHECK_INT(calls[0].result, ==, 10);
    CHECK_INT(calls[1].result, ==, -ECANCELED);
}
