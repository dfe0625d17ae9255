/* Pauses between tries. */
#include "clean_run.h"

#include <rota.h>

#include <string.h>

#define MS ROTA_MILLISECOND

static void check_between(rota_time pause, rota_time least, rota_time most)
{
    CHECK_INT(pause, >=, least);
    CHECK_INT(pause, <=, most);
}

TEST(pauses_double_up_to_the_limit)
{
    rota_backoff b = {.first = 100 * MS, .most = 1000 * MS};
    static const int steps[] = {100, 200, 400, 800, 1000, 1000};
    for (int i = 0; i < 6; i++)
        check_between(rota_backoff_next(&b), steps[i] / 2 * MS, steps[i] * MS);
    for (int i = 0; i < 100000; i++)
        check_between(rota_backoff_next(&b), 500 * MS, 1000 * MS);
    rota_backoff_reset(&b);
    check_between(rota_backoff_next(&b), 50 * MS, 100 * MS);
}

TEST(zero_is_the_default_of_each_field)
{
    rota_backoff b = {0};
    check_between(rota_backoff_next(&b), 50 * MS, 100 * MS);
    for (int i = 0; i < 20; i++)
        rota_backoff_next(&b);
    check_between(rota_backoff_next(&b), 15 * ROTA_SECOND, 30 * ROTA_SECOND);
}

TEST(huge_settings_do_not_overflow)
{
    rota_backoff b = {.first = ROTA_NEVER - 1, .most = ROTA_NEVER - 1};
    for (int i = 0; i < 100; i++)
        check_between(rota_backoff_next(&b), ROTA_NEVER / 2 - 1, ROTA_NEVER - 1);
}

TEST(two_backoffs_pause_differently)
{
    rota_backoff a = {.first = ROTA_SECOND}, b = {.first = ROTA_SECOND};
    int same = 0;
    for (int i = 0; i < 20; i++)
        same += rota_backoff_next(&a) == rota_backoff_next(&b);
    CHECK_INT(same, <, 5);
}

TEST(the_last_try_has_no_pause)
{
    rota_backoff b = {.tries = 3};
    CHECK_INT(rota_backoff_next(&b), <, ROTA_SECOND);
    CHECK_INT(rota_backoff_next(&b), <, ROTA_SECOND);
    CHECK_INT(rota_backoff_next(&b), ==, ROTA_NEVER);
    CHECK_INT(rota_backoff_next(&b), ==, ROTA_NEVER);
}

TEST(a_pause_that_is_asked_for_applies_once)
{
    rota_backoff b = {.most = ROTA_SECOND, .at_least = 5 * ROTA_SECOND};
    CHECK_INT(rota_backoff_next(&b), ==, 5 * ROTA_SECOND);
    CHECK_INT(rota_backoff_next(&b), <, ROTA_SECOND);
}

VIRTUAL_TASK_TEST(waiting_takes_the_pause_and_then_says_to_try_again)
{
    rota_backoff b = {.first = ROTA_SECOND};
    rota_time before = rota_now();
    CHECK_INT(rota_backoff_wait(&b, -ECONNREFUSED), ==, 0);
    check_between(rota_now() - before, 500 * MS, ROTA_SECOND);
}

VIRTUAL_TASK_TEST(after_the_last_try_its_failure_is_returned_at_once)
{
    rota_backoff b = {.tries = 2};
    CHECK_INT(rota_backoff_wait(&b, -ECONNREFUSED), ==, 0);
    rota_time before = rota_now();
    CHECK_INT(rota_backoff_wait(&b, -ECONNRESET), ==, -ECONNRESET);
    CHECK_INT(rota_now(), ==, before);
}

VIRTUAL_TASK_TEST(a_pause_beyond_the_deadline_is_not_begun)
{
    rota_backoff b = {.first = 10 * ROTA_SECOND};
    rota_time before = rota_now();
    ROTA_TIMEOUT (4 * ROTA_SECOND)
        CHECK_INT(rota_backoff_wait(&b, -ECONNREFUSED), ==, -ECONNREFUSED);
    CHECK_INT(rota_now(), ==, before);
    rota_backoff_reset(&b);
    ROTA_TIMEOUT (20 * ROTA_SECOND)
        CHECK_INT(rota_backoff_wait(&b, -ECONNREFUSED), ==, 0);
}

static int wait_long(void *arg)
{
    rota_backoff b = {.first = (60 * ROTA_MINUTE), .most = (60 * ROTA_MINUTE)};
    return rota_backoff_wait(&b, -ECONNREFUSED);
}

VIRTUAL_TASK_TEST(a_cancelled_pause_ends_at_once)
{
    rota_task *task = NULL;
    CHECK_OK(rota_spawn(wait_long, NULL, &task));
    CHECK_OK(rota_sleep(ROTA_SECOND));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_INT(rota_now(), <, (60 * ROTA_MINUTE) / 2);
}

VIRTUAL_TASK_TEST(an_interrupt_is_not_told_with_the_text_of_the_failure)
{
    rota_backoff b = {0};
    ROTA_TIMEOUT (ROTA_SECOND) {
        CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
        rota_error_set(-ETIMEDOUT, "fetch http://a/: the server does not answer");
        CHECK_INT(rota_backoff_wait(&b, -ETIMEDOUT), ==, -ETIMEDOUT);
        CHECK(!strstr(rota_error(-ETIMEDOUT), "fetch"));
    }
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_backoff_wait(&b, 0), ==, -ECANCELED);
}

TASK_TEST(what_is_no_failure_is_not_tried_again)
{
    rota_backoff b = {.tries = 2};
    CHECK_INT(rota_backoff_wait(&b, 0), ==, -EINVAL);
    CHECK_INT(rota_backoff_wait(&b, 503), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "wait before the next try: 503 is not an error code");
}

TEST(outside_a_task_nothing_waits)
{
    rota_backoff b = {0};
    CHECK_INT(rota_backoff_wait(&b, -EIO), ==, ROTA_ENOTASK);
}

VIRTUAL_TASK_TEST(the_deadline_is_the_earliest_one_inside_the_shield)
{
    CHECK_INT(rota_deadline(), ==, ROTA_NEVER);
    rota_time begin = rota_now();
    ROTA_TIMEOUT (3 * ROTA_SECOND) {
        ROTA_TIMEOUT (5 * ROTA_SECOND)
            CHECK_INT(rota_deadline(), ==, begin + 3 * ROTA_SECOND);
        ROTA_TIMEOUT (ROTA_NEVER)
            CHECK_INT(rota_deadline(), ==, begin + 3 * ROTA_SECOND);
        ROTA_SHIELD
        {
            CHECK_INT(rota_deadline(), ==, ROTA_NEVER);
            ROTA_TIMEOUT (5 * ROTA_SECOND)
                CHECK_INT(rota_deadline(), ==, begin + 5 * ROTA_SECOND);
        }
        CHECK_INT(rota_sleep((60 * ROTA_MINUTE)), ==, -ETIMEDOUT);
        CHECK_INT(rota_deadline(), ==, begin + 3 * ROTA_SECOND);
    }
}
