/* Timers: their order, against a model; the clocks. */

#include "harness.h"

#include "loop/loop.h"

#include <stdlib.h>
#include <string.h>

static uint64_t random_state = 88172645463325252u;

static uint64_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* ---- The wheel alone */

struct alarm {
    struct rota__timer timer;
    rota_time deadline; /* as asked for */
    uint64_t order;
    bool armed;
};

static void arm(struct rota__timers *timers, struct alarm *a, rota_time when)
{
    static uint64_t order;
    a->deadline = when < 0 ? 0 : when;
    a->order = order++;
    a->armed = true;
    a->timer.deadline = when;
    rota__timer_arm(timers, &a->timer);
}

static struct alarm *pop(struct rota__timers *timers, rota_time now)
{
    struct rota__timer *timer = rota__timers_pop(timers, now);
    struct alarm *a = timer ? rota__container_of(timer, struct alarm, timer) : NULL;
    if (a)
        a->armed = false;
    return a;
}

/* Lets time pass as a loop does, until the next timer is due. */
static struct alarm *pop_next(struct rota__timers *timers)
{
    for (;;) {
        rota_time next = rota__timers_next(timers);
        struct alarm *a = pop(timers, next);
        if (a || next == ROTA_NEVER)
            return a;
    }
}

TEST(timers_come_out_by_deadline)
{
    static struct rota__timers timers;
    struct alarm alarms[6] = {0};
    rota_time when[6] = {
        5 * ROTA_SECOND,    1, 400 * 24 * 60 * ROTA_MINUTE, 30 * ROTA_MILLISECOND, 2 * ROTA_MINUTE,
        5 * ROTA_SECOND + 1};
    int expected[6] = {1, 3, 0, 5, 4, 2};
    rota__timers_init(&timers, 0);
    for (int i = 0; i < 6; i++)
        arm(&timers, &alarms[i], when[i]);
    for (int i = 0; i < 6; i++)
        CHECK_PTR(pop_next(&timers), ==, &alarms[expected[i]]);
    CHECK_PTR(pop_next(&timers), ==, NULL);
    CHECK_INT(timers.count, ==, 0);
}

TEST(equal_deadlines_come_out_as_they_were_armed)
{
    static struct rota__timers timers;
    static struct alarm alarms[3000];
    rota_time when[3] = {1000, 40 * ROTA_SECOND, 3 * ROTA_MILLISECOND};
    rota__timers_init(&timers, 0);
    for (int i = 0; i < 3000; i++)
        arm(&timers, &alarms[i], when[i / 1000]);
    int start[3] = {0, 2000, 1000};
    for (int group = 0; group < 3; group++)
        for (int i = 0; i < 1000; i++)
            CHECK_PTR(pop_next(&timers), ==, &alarms[start[group] + i]);
}

TEST(nothing_comes_out_before_it_is_due)
{
    static struct rota__timers timers;
    struct alarm a = {0};
    for (rota_time start = 0; start < 80 * ROTA_SECOND; start = start * 3 + 1) {
        for (rota_time delay = 1; delay < 1000 * ROTA_MINUTE; delay = delay * 5 + 3) {
            rota__timers_init(&timers, start);
            arm(&timers, &a, start + delay);
            CHECK_PTR(pop(&timers, start), ==, NULL);
            CHECK_PTR(pop(&timers, start + delay / 2), ==, NULL);
            CHECK_PTR(pop(&timers, start + delay - 1), ==, NULL);
            CHECK_INT(rota__timers_next(&timers), <=, start + delay);
            CHECK_PTR(pop(&timers, start + delay), ==, &a);
        }
    }
}

TEST(extreme_deadlines_keep_their_order)
{
    static struct rota__timers timers;
    struct alarm never = {0}, year = {0}, century = {0}, past = {0}, least = {0}, before = {0};
    rota_time now = 1000 * ROTA_SECOND, a_year = 365 * 24 * 60 * ROTA_MINUTE;
    rota__timers_init(&timers, now);
    arm(&timers, &never, ROTA_NEVER);
    arm(&timers, &century, now + 100 * a_year);
    arm(&timers, &before, ROTA_NEVER - 1);
    arm(&timers, &year, now + a_year);
    arm(&timers, &past, now - 1);
    arm(&timers, &least, INT64_MIN);
    CHECK_PTR(pop(&timers, now), ==, &least);
    CHECK_PTR(pop(&timers, now), ==, &past);
    CHECK_PTR(pop(&timers, now), ==, NULL);
    CHECK_PTR(pop_next(&timers), ==, &year);
    CHECK_PTR(pop_next(&timers), ==, &century);
    CHECK_PTR(pop_next(&timers), ==, &before);
    CHECK_PTR(pop(&timers, ROTA_NEVER), ==, &never);
    CHECK_INT(timers.count, ==, 0);
}

TEST(cancelled_timers_are_gone_wherever_they_were)
{
    static struct rota__timers timers;
    static struct alarm alarms[1000];
    rota__timers_init(&timers, 0);
    for (int i = 0; i < 1000; i++)
        arm(&timers, &alarms[i], i < 500 ? i : i * ROTA_MILLISECOND * 50);
    for (int i = 0; i < 1000; i += 2) {
        rota__timer_cancel(&timers, &alarms[i].timer);
        rota__timer_cancel(&timers, &alarms[i].timer);
        CHECK(!rota__timer_armed(&alarms[i].timer));
    }
    for (int i = 1; i < 1000; i += 2)
        CHECK_PTR(pop_next(&timers), ==, &alarms[i]);
    CHECK_PTR(pop_next(&timers), ==, NULL);
    CHECK_INT(rota__timers_next(&timers), ==, ROTA_NEVER);
}

/* Deadlines of all magnitudes: nanoseconds to decades. */
static rota_time random_delay(void)
{
    rota_time delay = (rota_time)(random_number() >> (1 + random_number() % 62));
    return random_number() % 16 == 0 ? -delay : delay / 4;
}

static int compare_alarms(const void *a, const void *b)
{
    const struct alarm *x = *(struct alarm *const *)a, *y = *(struct alarm *const *)b;
    if (x->deadline != y->deadline)
        return x->deadline < y->deadline ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Each timer that comes out is the least of those that are armed, and due; checked against
 * sorting. */
TEST_WITH(hundred_thousand_random_timers_agree_with_sorting, .seconds = 60)
{
    enum { N = 100000 };
    static struct rota__timers timers;
    static struct alarm alarms[N], *sorted[N];
    rota_time now = 12345678901;
    rota__timers_init(&timers, now);
    for (int i = 0; i < N; i++)
        arm(&timers, &alarms[i], now + random_delay());
    for (int i = 0; i < N / 2; i++) {
        struct alarm *a = &alarms[random_number() % N];
        rota__timer_cancel(&timers, &a->timer);
        a->armed = false;
        if (random_number() % 2)
            arm(&timers, a, now + random_delay());
    }
    size_t n = 0;
    for (int i = 0; i < N; i++)
        if (alarms[i].armed)
            sorted[n++] = &alarms[i];
    CHECK_INT(timers.count, ==, n);
    qsort(sorted, n, sizeof *sorted, compare_alarms);
    for (size_t i = 0; i < n; i++)
        CHECK_PTR(pop_next(&timers), ==, sorted[i]);
    CHECK_INT(timers.count, ==, 0);
}

static struct alarm *least_due(struct alarm *alarms, int n, rota_time now)
{
    struct alarm *least = NULL;
    for (int i = 0; i < n; i++)
        if (alarms[i].armed && alarms[i].deadline <= now)
            if (!least || alarms[i].deadline < least->deadline ||
                (alarms[i].deadline == least->deadline && alarms[i].order < least->order))
                least = &alarms[i];
    return least;
}

/* Arming, cancelling and the passing of time in any mixture. */
TEST_WITH(any_mixture_of_arming_cancelling_and_waiting_agrees_with_a_table, .seconds = 60)
{
    enum { N = 40 };
    static struct rota__timers timers;
    static struct alarm alarms[N];
    rota_time now = 0;
    rota__timers_init(&timers, now);
    for (int step = 0; step < 200000; step++) {
        struct alarm *a = &alarms[random_number() % N];
        switch (random_number() % 4) {
        case 0:
        case 1:
            rota__timer_cancel(&timers, &a->timer);
            arm(&timers, a, now + (rota_time)(random_number() >> (20 + random_number() % 40)));
            break;
        case 2:
            rota__timer_cancel(&timers, &a->timer);
            a->armed = false;
            break;
        case 3:
            now += (rota_time)(random_number() >> (24 + random_number() % 38));
            for (struct alarm *due; (due = least_due(alarms, N, now));)
                CHECK_PTR(pop(&timers, now), ==, due);
            CHECK_PTR(pop(&timers, now), ==, NULL);
        }
    }
}

/* ---- In a loop */

static char order[64];

static void note(rota_handle *handle, void *arg)
{
    (void)handle;
    CHECK_INT(strlen(order), <, 60);
    order[strlen(order)] = *(char *)arg;
}

#define LETTER(c) ((char[]){c})

static rota_loop *virtual_loop(void)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(&(rota_loop_options){.virtual_clock = true}, &loop));
    return loop;
}

TEST(virtual_clock_jumps_over_years_at_once)
{
    rota_loop *loop = virtual_loop();
    rota_handle a = ROTA_HANDLE_INIT, b = ROTA_HANDLE_INIT;
    rota_time year = 365 * 24 * 60 * ROTA_MINUTE;
    CHECK_INT(rota_loop_time(loop), ==, 0);
    rota_loop_call_later(loop, &b, 50 * year, note, LETTER('b'));
    rota_loop_call_later(loop, &a, year, note, LETTER('a'));
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(order, "ab");
    CHECK_INT(rota_loop_time(loop), ==, 50 * year);
    CHECK_INT(rota_now(), ==, 50 * year);
    rota_loop_free(loop);
    CHECK_INT(rota_now(), <, 50 * year);
}

TEST(virtual_clock_stands_still_while_something_is_ready)
{
    rota_loop *loop = virtual_loop();
    rota_handle later = ROTA_HANDLE_INIT, soon = ROTA_HANDLE_INIT;
    rota_loop_call_later(loop, &later, ROTA_SECOND, note, LETTER('l'));
    for (int i = 0; i < 10; i++) {
        rota_loop_call_soon(loop, &soon, note, LETTER('s'));
        CHECK_INT(rota_loop_run_once(loop, ROTA_NEVER), ==, 1);
        CHECK_INT(rota_loop_time(loop), ==, 0);
    }
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(order, "ssssssssssl");
    rota_loop_free(loop);
}

TEST(virtual_clock_goes_no_further_than_run_once_may_wait)
{
    rota_loop *loop = virtual_loop();
    rota_handle later = ROTA_HANDLE_INIT;
    rota_loop_call_later(loop, &later, ROTA_SECOND, note, LETTER('l'));
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(rota_loop_time(loop), ==, 0);
    CHECK_INT(rota_loop_run_once(loop, ROTA_SECOND - 1), ==, 1);
    CHECK_INT(rota_loop_time(loop), ==, ROTA_SECOND - 1);
    CHECK_STR(order, "");
    CHECK_INT(rota_loop_run_once(loop, 1), ==, 0);
    CHECK_STR(order, "l");
    rota_loop_free(loop);
}

TEST(negative_delay_runs_in_the_next_turn)
{
    rota_loop *loop = virtual_loop();
    rota_handle a = ROTA_HANDLE_INIT, b = ROTA_HANDLE_INIT, c = ROTA_HANDLE_INIT;
    rota_loop_call_later(loop, &a, -ROTA_SECOND, note, LETTER('a'));
    rota_loop_call_at(loop, &b, INT64_MIN, note, LETTER('b'));
    rota_loop_call_later(loop, &c, INT64_MIN, note, LETTER('c'));
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 0);
    CHECK_STR(order, "abc");
    CHECK_INT(rota_loop_time(loop), ==, 0);
    rota_loop_free(loop);
}

/* Never is not a time that comes: nothing waits for it. */
TEST_BOTH(call_that_never_comes_does_not_keep_the_loop)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_handle never = ROTA_HANDLE_INIT, later = ROTA_HANDLE_INIT;
    rota_loop_call_later(loop, &never, ROTA_NEVER, note, LETTER('n'));
    CHECK(!rota_handle_pending(&never));
    CHECK_OK(rota_loop_run(loop));
    rota_loop_call_later(loop, &later, 0, note, LETTER('x'));
    rota_loop_call_at(loop, &later, ROTA_NEVER, note, LETTER('n'));
    CHECK(!rota_handle_pending(&later));
    rota_loop_call_later(loop, &later, 0, note, LETTER('l'));
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(order, "l");
    rota_handle_cancel(&never);
    CHECK(!rota_handle_pending(&never));
    rota_loop_free(loop);
}

TEST_BOTH(real_timers_are_never_early)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_handle h = ROTA_HANDLE_INIT;
    for (rota_time delay = 1; delay < 3 * ROTA_MILLISECOND; delay *= 7) {
        rota_time start = rota_now();
        rota_loop_call_later(loop, &h, delay, note, LETTER('t'));
        CHECK_OK(rota_loop_run(loop));
        CHECK_INT(rota_now() - start, >=, delay);
    }
    rota_loop_free(loop);
}

TEST_BOTH(run_once_waits_no_longer_than_it_may)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_handle h = ROTA_HANDLE_INIT;
    rota_loop_call_later(loop, &h, ROTA_MINUTE, note, LETTER('t'));
    CHECK_INT(rota_loop_run_once(loop, ROTA_MILLISECOND), ==, 1);
    CHECK_STR(order, "");
    rota_loop_free(loop);
}
