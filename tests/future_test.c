/* Futures: completion, callbacks, waiting for one and for several. */

#include "clean_run.h"

#include "task/task.h"

#include <pthread.h>
#include <string.h>

static int wait_for(void *arg)
{
    return rota_future_wait(arg);
}

struct later {
    rota_future *future;
    rota_time after;
    int result;
};

static int set_later(void *arg)
{
    struct later *l = arg;
    int err = rota_sleep(l->after);
    return err < 0 ? err : rota_future_set(l->future, l->result);
}

static void spawn_setter(rota_future *future, rota_time after, int result)
{
    struct later l = {future, after, result};
    CHECK_OK(rota_spawn_copy(set_later, &l, sizeof l, NULL));
}

/* ---- One */

VIRTUAL_TASK_TEST(future_is_pending_until_it_is_set_once)
{
    rota_future f;
    rota_future_init(&f);
    CHECK(!rota_future_done(&f));
    CHECK_INT(rota_future_result(&f), ==, -EINPROGRESS);
    CHECK_INT(rota_future_set(&f, 7), ==, 0);
    CHECK(rota_future_done(&f));
    CHECK_INT(rota_future_result(&f), ==, 7);
    CHECK_INT(rota_future_set(&f, 8), ==, -EALREADY);
    CHECK_INT(rota_future_wait(&f), ==, 7);
    CHECK_INT(rota_future_wait(&f), ==, 7);
}

VIRTUAL_TASK_TEST(all_who_wait_get_the_result)
{
    rota_future f;
    rota_task *tasks[10];
    rota_future_init(&f);
    for (int i = 0; i < 10; i++)
        CHECK_OK(rota_spawn(wait_for, &f, &tasks[i]));
    spawn_setter(&f, ROTA_SECOND, -EPROTO);
    for (int i = 0; i < 10; i++)
        CHECK_INT(rota_join(tasks[i]), ==, -EPROTO);
    CHECK_INT(rota_now(), ==, ROTA_SECOND);
}

VIRTUAL_TASK_TEST(one_waiter_may_be_cancelled_and_the_others_wait_on)
{
    rota_future f;
    rota_task *a, *b;
    rota_future_init(&f);
    CHECK_OK(rota_spawn(wait_for, &f, &a));
    CHECK_OK(rota_spawn(wait_for, &f, &b));
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_cancel(a);
    CHECK_INT(rota_join(a), ==, -ECANCELED);
    CHECK_INT(rota_future_set(&f, 1), ==, 0);
    CHECK_INT(rota_join(b), ==, 1);
}

/* rule 10 */
VIRTUAL_TASK_TEST(result_that_came_first_wins_over_the_cancellation)
{
    for (int cancel_first = 0; cancel_first < 2; cancel_first++) {
        rota_future f;
        rota_task *task;
        rota_future_init(&f);
        CHECK_OK(rota_spawn(wait_for, &f, &task));
        CHECK_INT(rota_yield(), ==, 0);
        if (cancel_first)
            rota_task_cancel(task);
        CHECK_INT(rota_future_set(&f, 5), ==, 0);
        if (!cancel_first)
            rota_task_cancel(task);
        CHECK_INT(rota_join(task), ==, cancel_first ? -ECANCELED : 5);
    }
}

static int wait_and_check(void *arg)
{
    int result = rota_future_wait(arg);
    return result == 5 && rota_check() == -ECANCELED && rota_yield() == -ECANCELED ? 0 : -EINVAL;
}

/* rule 10 */
VIRTUAL_TASK_TEST(cancellation_that_lost_arrives_at_the_next_call)
{
    rota_future f;
    rota_task *task;
    rota_future_init(&f);
    CHECK_OK(rota_spawn(wait_and_check, &f, &task));
    CHECK_INT(rota_yield(), ==, 0);
    rota_future_set(&f, 5);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
}

/* rule 9, rule 10: set and deadline in one turn, in both orders of their timers */
VIRTUAL_TASK_TEST(deadline_and_result_in_one_turn)
{
    for (int set_first = 0; set_first < 2; set_first++) {
        rota_future f;
        int err = 0, passed;
        rota_timeout timeout = ROTA_TIMEOUT_INIT;
        rota_future_init(&f);
        if (set_first) {
            spawn_setter(&f, ROTA_SECOND, 3);
            CHECK_INT(rota_yield(), ==, 0);
        }
        rota_timeout_begin(&timeout, ROTA_SECOND);
        if (!set_first)
            spawn_setter(&f, ROTA_SECOND, 3);
        err = rota_future_wait(&f);
        passed = rota_timeout_end(&timeout);
        CHECK_INT(err, ==, -ETIMEDOUT); /* the setter itself has only become ready */
        CHECK_INT(passed, ==, -ETIMEDOUT);
        CHECK_INT(rota_future_wait(&f), ==, 3);
    }
}

/* ---- Callbacks */

static char noted[32];

static void note(rota_future *future, void *arg)
{
    CHECK(rota_future_done(future));
    CHECK_PTR(rota_task_current(), ==, NULL);
    noted[strlen(noted)] = *(char *)arg;
}

VIRTUAL_TASK_TEST(callbacks_run_in_the_next_turn_in_their_order)
{
    static char letters[] = "abcd";
    rota_future f;
    rota_done done[4];
    rota_future_init(&f);
    for (int i = 0; i < 3; i++)
        rota_future_on_done(&f, &done[i], note, &letters[i]);
    CHECK_INT(rota_future_set(&f, 0), ==, 0);
    CHECK_STR(noted, "");
    rota_future_on_done(&f, &done[3], note, &letters[3]);
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(noted, "abcd");
}

VIRTUAL_TASK_TEST(removed_callback_is_not_called_before_or_after_completion)
{
    static char letters[] = "abc";
    rota_future f;
    rota_done done[3];
    rota_future_init(&f);
    for (int i = 0; i < 3; i++)
        rota_future_on_done(&f, &done[i], note, &letters[i]);
    rota_done_remove(&done[0]);
    rota_done_remove(&done[0]);
    rota_future_set(&f, 0);
    rota_done_remove(&done[1]);
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(noted, "c");
    rota_done_remove(&done[2]);
}

static void remove_other(rota_future *future, void *arg)
{
    rota_done_remove(arg);
}

VIRTUAL_TASK_TEST(callback_may_remove_another_of_its_turn)
{
    static char letter = 'x';
    rota_future f;
    rota_done first, second;
    rota_future_init(&f);
    rota_future_on_done(&f, &first, remove_other, &second);
    rota_future_on_done(&f, &second, note, &letter);
    rota_future_set(&f, 0);
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(noted, "");
}

VIRTUAL_TASK_TEST(task_is_a_future)
{
    static char letter = 't';
    rota_future f;
    rota_task *task;
    rota_done done;
    rota_future_init(&f);
    CHECK_OK(rota_spawn(wait_for, &f, &task));
    rota_future_on_done(rota_task_future(task), &done, note, &letter);
    spawn_setter(&f, ROTA_SECOND, 9);
    CHECK_INT(rota_future_wait(rota_task_future(task)), ==, 9);
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(noted, "t");
    CHECK_INT(rota_join(task), ==, 9);
}

/* ---- Several */

enum { MANY = 40 };

struct several {
    rota_future futures[MANY];
    rota_future *list[MANY];
};

/* Completes in the order of the list, one a second, with these results; the rest stays pending. */
static void start(struct several *s, const int *results, int n)
{
    for (int i = 0; i < MANY; i++) {
        rota_future_init(&s->futures[i]);
        s->list[i] = &s->futures[i];
    }
    for (int i = 0; i < n; i++)
        spawn_setter(&s->futures[i], (i + 1) * ROTA_SECOND, results[i]);
}

VIRTUAL_TASK_TEST(wait_for_all_takes_as_long_as_the_slowest)
{
    struct several s;
    start(&s, (int[]){1, -EIO, 3}, 3);
    CHECK_INT(rota_wait(s.list, 3, ROTA_ALL_COMPLETED), ==, 3);
    CHECK_INT(rota_now(), ==, 3 * ROTA_SECOND);
    CHECK_INT(rota_wait(s.list, 3, ROTA_ALL_COMPLETED), ==, 3);
}

VIRTUAL_TASK_TEST(wait_for_the_first_leaves_the_others_pending)
{
    struct several s;
    start(&s, (int[]){1, 2, 3}, 3);
    CHECK_INT(rota_wait(s.list, 3, ROTA_FIRST_COMPLETED), ==, 1);
    CHECK_INT(rota_now(), ==, ROTA_SECOND);
    CHECK(rota_future_done(s.list[0]) && !rota_future_done(s.list[1]));
    CHECK_INT(rota_wait(s.list, 3, ROTA_FIRST_COMPLETED), ==, 1); /* still true */
    CHECK_INT(rota_wait(&s.list[1], 2, ROTA_FIRST_COMPLETED), ==, 1);
    CHECK_INT(rota_now(), ==, 2 * ROTA_SECOND);
    CHECK_INT(rota_sleep(2 * ROTA_SECOND), ==, 0);
}

VIRTUAL_TASK_TEST(wait_for_a_failure_goes_past_successes)
{
    struct several s;
    start(&s, (int[]){1, 2, -EIO, 4}, 4);
    CHECK_INT(rota_wait(s.list, 4, ROTA_FIRST_FAILED), ==, 3);
    CHECK_INT(rota_now(), ==, 3 * ROTA_SECOND);
    CHECK_INT(rota_wait(s.list, 2, ROTA_FIRST_FAILED), ==, 2); /* none failed: all */
    CHECK_INT(rota_sleep(2 * ROTA_SECOND), ==, 0);
}

VIRTUAL_TASK_TEST(wait_for_more_than_the_stack_holds)
{
    struct several s;
    int results[MANY];
    for (int i = 0; i < MANY; i++)
        results[i] = i;
    start(&s, results, MANY);
    for (int i = 1; i < MANY; i++)
        CHECK_INT(rota_wait(s.list + i, MANY - (size_t)i, ROTA_FIRST_COMPLETED), ==, 1);
    CHECK_INT(rota_wait(s.list, MANY, ROTA_ALL_COMPLETED), ==, MANY);
    CHECK_INT(rota_now(), ==, MANY * ROTA_SECOND);
}

VIRTUAL_TASK_TEST(deadline_around_a_wait_keeps_what_is_done)
{
    struct several s;
    int err = 0, done = 0;
    start(&s, (int[]){1, 2, 3}, 3);
    ROTA_TIMEOUT (2 * ROTA_SECOND + 1) {
        err = rota_wait(s.list, 5, ROTA_ALL_COMPLETED);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    for (int i = 0; i < 5; i++)
        done += rota_future_done(s.list[i]);
    CHECK_INT(done, ==, 2);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0); /* the third does not wake anybody any more */
}

struct waiter {
    rota_future **list;
    size_t n;
};

static int wait_for_list(void *arg)
{
    struct waiter *w = arg;
    return rota_wait(w->list, w->n, ROTA_ALL_COMPLETED);
}

VIRTUAL_TASK_TEST(cancelled_wait_forgets_its_futures)
{
    struct several s;
    start(&s, NULL, 0);
    for (size_t n = 1; n <= MANY; n += 13) {
        struct waiter w = {s.list, n};
        rota_task *task;
        CHECK_OK(rota_spawn(wait_for_list, &w, &task));
        CHECK_INT(rota_yield(), ==, 0);
        CHECK_STR(rota_task_waits_for(task), "futures");
        rota_task_cancel(task);
        CHECK_INT(rota_join(task), ==, -ECANCELED);
    }
    for (int i = 0; i < MANY; i++)
        CHECK_INT(rota_future_set(s.list[i], 0), ==, 0);
}

/* rule 10 */
VIRTUAL_TASK_TEST(completion_of_the_last_wins_over_a_cancellation_in_its_turn)
{
    struct several s;
    start(&s, NULL, 0);
    struct waiter w = {s.list, 2};
    rota_task *task;
    CHECK_OK(rota_spawn(wait_for_list, &w, &task));
    CHECK_INT(rota_yield(), ==, 0);
    rota_future_set(s.list[0], 0);
    rota_future_set(s.list[1], 0);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 2);
}

/* The first completion has woken the task, but not satisfied it. */
VIRTUAL_TASK_TEST(cancellation_between_two_completions_is_seen)
{
    struct several s;
    start(&s, NULL, 0);
    struct waiter w = {s.list, 2};
    rota_task *task;
    CHECK_OK(rota_spawn(wait_for_list, &w, &task));
    CHECK_INT(rota_yield(), ==, 0);
    rota_future_set(s.list[0], 0);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
}

VIRTUAL_TASK_TEST(same_future_twice_counts_twice)
{
    struct several s;
    start(&s, (int[]){1}, 1);
    rota_future *twice[] = {s.list[0], s.list[0]};
    CHECK_INT(rota_wait(twice, 2, ROTA_ALL_COMPLETED), ==, 2);
}

VIRTUAL_TASK_TEST(waiting_for_nothing_is_refused)
{
    CHECK_INT(rota_wait(NULL, 0, ROTA_ALL_COMPLETED), ==, -EINVAL);
}

VIRTUAL_TASK_TEST(tasks_are_awaited_like_futures)
{
    rota_future f, g;
    rota_task *a, *b;
    rota_future_init(&f);
    rota_future_init(&g);
    CHECK_OK(rota_spawn(wait_for, &f, &a));
    CHECK_OK(rota_spawn(wait_for, &g, &b));
    spawn_setter(&g, ROTA_SECOND, 2);
    rota_future *list[] = {rota_task_future(a), rota_task_future(b)};
    CHECK_INT(rota_wait(list, 2, ROTA_FIRST_COMPLETED), ==, 1);
    CHECK(!rota_task_done(a) && rota_task_done(b));
    CHECK_INT(rota_join(b), ==, 2);
    rota_task_free(a);
}

/* ---- From other threads */

static void *set_from_here(void *arg)
{
    for (int i = 0; i < MANY; i++)
        CHECK_OK(rota_future_set_threadsafe(&((rota_future *)arg)[i], i));
    return NULL;
}

static int wait_for_thread(void *arg)
{
    rota_future futures[MANY], *list[MANY];
    pthread_t thread;
    for (int i = 0; i < MANY; i++) {
        rota_future_init_threadsafe(&futures[i]);
        list[i] = &futures[i];
    }
    CHECK_INT(pthread_create(&thread, NULL, set_from_here, futures), ==, 0);
    CHECK_INT(rota_wait(list, MANY, ROTA_ALL_COMPLETED), ==, MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(rota_future_result(&futures[i]), ==, i);
    pthread_join(thread, NULL);
    return 0;
}

TEST_WITH(futures_are_set_from_another_thread, .without_faults = true)
{
    for (int i = 0; i < 20; i++)
        CHECK_INT(rota_run(wait_for_thread, NULL), ==, 0);
}

VIRTUAL_TASK_TEST(second_completion_from_another_thread_changes_nothing)
{
    rota_future f;
    rota_future_init_threadsafe(&f);
    int first = rota_future_set_threadsafe(&f, 1);
    int second = rota_future_set_threadsafe(&f, 2);
    if (first < 0 && second < 0)
        rota_future_set(&f, 1);
    int result = rota_future_wait(&f);
    CHECK(result == 1 || first < 0);
}
