/* Running functions on another thread's loop. */

#include "clean_run.h"

#include "task/task.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* Another thread with a loop that sleeps until it is stopped. */
struct other {
    pthread_t thread;
    rota_loop *_Atomic loop;
    rota_task *main;
    sem_t up;
    int result;
};

static int other_main(void *arg)
{
    struct other *other = arg;
    other->main = rota_task_current();
    other->loop = rota_loop_current();
    rota_loop_hold_threadsafe(rota_loop_current()); /* another thread is going to post */
    sem_post(&other->up);
    int err = rota_sleep(ROTA_NEVER);
    rota_loop_release_threadsafe(rota_loop_current());
    return err;
}

static void *other_run(void *arg)
{
    struct other *other = arg;
    other->result = rota_run(other_main, other);
    if (!other->loop)
        sem_post(&other->up);
    return NULL;
}

static void other_start(struct other *other)
{
    *other = (struct other){.loop = NULL};
    sem_init(&other->up, 0, 0);
    CHECK_INT(pthread_create(&other->thread, NULL, other_run, other), ==, 0);
    while (sem_wait(&other->up) < 0)
        continue;
    if (!other->loop)
        FAIL("no loop");
}

static int cancel_other(void *arg)
{
    rota_task_cancel(((struct other *)arg)->main);
    return 0;
}

/* Without memory for a task the loop is told in the way that needs none. */
struct stop {
    struct rota__post post;
    struct other *other;
};

static void stop_run(struct rota__post *post, struct rota__loop *loop)
{
    cancel_other(rota__container_of(post, struct stop, post)->other);
}

static void other_stop(struct other *other)
{
    struct stop stop = {.post.run = stop_run, .other = other};
    rota__loop_post(other->loop, &stop.post); /* an injected cancellation may have ended it */
    pthread_join(other->thread, NULL);
    sem_destroy(&other->up);
}

/* ---- Results */

static int name_thread(void *arg)
{
    *(pthread_t *)arg = pthread_self();
    CHECK_OK(rota_yield());
    return 7;
}

static int ask_other(void *arg)
{
    struct other *other = arg;
    pthread_t there = pthread_self();
    CHECK_INT(rota_run_on(other->loop, name_thread, &there), ==, 7);
    CHECK(pthread_equal(there, other->thread));
    return 0;
}

TEST_WITH(a_task_runs_a_function_on_another_loop, .without_faults = true)
{
    struct other other;
    other_start(&other);
    run(ask_other, &other);
    other_stop(&other);
    CHECK_INT(other.result, ==, -ECANCELED);
}

TEST_WITH(a_thread_blocks_until_the_task_has_ended, .without_faults = true)
{
    struct other other;
    other_start(&other);
    ask_other(&other);
    other_stop(&other);
}

TASK_TEST(a_loop_may_be_its_own_target)
{
    pthread_t there;
    CHECK_INT(rota_run_on(rota_loop_current(), name_thread, &there), ==, 7);
    CHECK(pthread_equal(there, pthread_self()));
}

static int fail(void *arg)
{
    return -EIO;
}

static int ask_to_fail(void *arg)
{
    struct other *other = arg;
    CHECK_INT(rota_run_on(other->loop, fail, NULL), ==, -EIO);
    return 0;
}

static void fail_on_report(void *arg, rota_log_level level, const char *message)
{
    FAIL("%s", message);
}

TEST_WITH(a_failure_is_returned_and_not_reported, .without_faults = true)
{
    struct other other;
    other_start(&other);
    rota_log_set(fail_on_report, NULL);
    run(ask_to_fail, &other);
    other_stop(&other);
}

static void ask_in_a_callback(rota_handle *handle, void *arg)
{
    pthread_t there;
    CHECK_INT(rota_run_on(rota_loop_current(), name_thread, &there), ==, ROTA_ENOTASK);
}

TEST(callbacks_cannot_run_on)
{
    rota_loop *loop = NULL;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_loop_call_soon(loop, &handle, ask_in_a_callback, NULL);
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
}

/* Every allocation, system call and suspension here and there fails in turn. */
static int ask_whatever_fails(void *arg)
{
    struct other *other = arg;
    pthread_t there;
    int result = rota_run_on(other->loop, name_thread, &there);
    return result < 0 ? result : 0;
}

static int ask_from_a_task(void *arg)
{
    return rota_run_at(ask_whatever_fails, arg, NULL, ROTA_SITE("ask"));
}

TEST(ends_cleanly_whatever_fails)
{
    struct other other;
    other_start(&other);
    int result = ask_from_a_task(&other);
    other_stop(&other);
    CHECK_OK(result);
}

/* ---- Cancellation */

struct sleeper {
    struct other *other;
    sem_t began;
    int saw;
    int returns;
};

static int sleep_there(void *arg)
{
    struct sleeper *s = arg;
    sem_post(&s->began);
    s->saw = rota_sleep(ROTA_NEVER);
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_yield());
    }
    return s->returns ? s->returns : s->saw;
}

static int ask_to_sleep(void *arg)
{
    struct sleeper *s = arg;
    return rota_run_on(s->other->loop, sleep_there, s);
}

static int cancel_the_caller(void *arg)
{
    struct sleeper *s = arg;
    rota_task *task = NULL;
    CHECK_OK(rota_spawn(ask_to_sleep, s, &task));
    CHECK_OK(rota_yield());
    while (sem_wait(&s->began) < 0)
        continue;
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, s->returns ? s->returns : -ECANCELED);
    CHECK_INT(s->saw, ==, -ECANCELED);
    return 0;
}

TEST_WITH(cancelling_the_caller_cancels_the_task_there, .without_faults = true)
{
    struct other other;
    other_start(&other);
    for (int returns = -2; returns <= 2; returns++) {
        struct sleeper s = {.other = &other, .returns = returns};
        sem_init(&s.began, 0, 0);
        run(cancel_the_caller, &s);
    }
    other_stop(&other);
}

static int time_out_the_caller(void *arg)
{
    struct sleeper *s = arg;
    int err = 0;
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        err = ask_to_sleep(s);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(s->saw, ==, -ECANCELED);
    return 0;
}

TEST_WITH(a_deadline_of_the_caller_counts, .without_faults = true)
{
    struct other other;
    other_start(&other);
    struct sleeper s = {.other = &other};
    sem_init(&s.began, 0, 0);
    run(time_out_the_caller, &s);
    other_stop(&other);
}

/* The cancellation and the end of the task meet at every moment. */
static int end_soon(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++)
        ROTA_IGNORE(rota_yield());
    return 0;
}

struct race {
    struct other *other;
    int yields;
};

static int ask_to_end_soon(void *arg)
{
    struct race *r = arg;
    return rota_run_on(r->other->loop, end_soon, &r->yields);
}

static int race_with_the_end(void *arg)
{
    for (int i = 0; i < 2000; i++) {
        struct race r = {arg, i % 7};
        rota_task *task;
        CHECK_OK(rota_spawn(ask_to_end_soon, &r, &task));
        for (int k = 0; k <= i % 5; k++)
            ROTA_IGNORE(rota_yield());
        rota_task_cancel(task);
        int result = rota_join(task);
        CHECK(result == 0 || result == -ECANCELED);
    }
    return 0;
}

TEST_WITH(cancellation_races_with_the_end, .without_faults = true)
{
    struct other other;
    other_start(&other);
    run(race_with_the_end, &other);
    other_stop(&other);
}

/* ---- The target ends */

TEST_WITH(a_loop_that_has_ended_is_closed, .without_faults = true)
{
    struct other other;
    other_start(&other);
    rota_loop *loop = other.loop;
    other_stop(&other);
    CHECK_INT(rota_run_on(loop, fail, NULL), ==, ROTA_ECLOSED);
}

static int end_the_target(void *arg)
{
    struct sleeper *s = arg;
    rota_task *task = NULL;
    CHECK_OK(rota_spawn(ask_to_sleep, s, &task));
    CHECK_OK(rota_yield());
    while (sem_wait(&s->began) < 0)
        continue;
    other_stop(s->other);
    CHECK_INT(rota_join(task), ==, s->returns ? s->returns : ROTA_ECLOSED);
    CHECK_INT(s->saw, ==, -ECANCELED);
    return 0;
}

TEST_WITH(a_loop_that_ends_ends_the_call, .without_faults = true)
{
    for (int returns = -1; returns <= 0; returns++) {
        struct other other;
        other_start(&other);
        struct sleeper s = {.other = &other, .returns = returns};
        sem_init(&s.began, 0, 0);
        CHECK_OK(rota_run(end_the_target, &s));
    }
}

/* A task that stays stuck when its loop ends is given up; its caller is not. */
static int stay_stuck(void *arg)
{
    sem_post(arg);
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_sleep(ROTA_NEVER));
    }
    return 0;
}

struct blocked {
    rota_loop *loop;
    sem_t began;
    int result;
};

static void *block_on_it(void *arg)
{
    struct blocked *b = arg;
    b->result = rota_run_on(b->loop, stay_stuck, &b->began);
    return NULL;
}

TEST_WITH(a_task_given_up_by_its_loop_answers_its_caller, .without_faults = true)
{
    struct other other;
    other_start(&other);
    struct blocked b = {.loop = other.loop};
    pthread_t thread;
    sem_init(&b.began, 0, 0);
    CHECK_INT(pthread_create(&thread, NULL, block_on_it, &b), ==, 0);
    while (sem_wait(&b.began) < 0)
        continue;
    other_stop(&other);
    pthread_join(thread, NULL);
    CHECK_INT(b.result, ==, ROTA_ECLOSED);
}

/* Callers come while the loop ends: each gets an answer. */
static void *ask_again_and_again(void *arg)
{
    rota_loop *loop = arg;
    int yields = 1, result;
    do
        result = rota_run_on(loop, end_soon, &yields);
    while (result == 0);
    CHECK(result == ROTA_ECLOSED || result == -ECANCELED);
    return NULL;
}

TEST_WITH(callers_race_with_the_end_of_the_loop, .without_faults = true)
{
    for (int round = 0; round < 50; round++) {
        struct other other;
        pthread_t threads[2];
        other_start(&other);
        for (int i = 0; i < 2; i++)
            CHECK_INT(pthread_create(&threads[i], NULL, ask_again_and_again, other.loop), ==, 0);
        if (round % 2)
            sched_yield();
        other_stop(&other);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
    }
}

/* ---- After the end (rule 20) */

static void never_called(rota_loop *loop, void *arg)
{
    FAIL("a call for another loop");
}

static int never_run(void *arg)
{
    FAIL("a task for another loop");
    return 0;
}

static int keep_the_loop(void *arg)
{
    *(rota_loop **)arg = rota_loop_current();
    return 0;
}

static void check_closed(rota_loop *loop)
{
    CHECK_INT(rota_loop_call_threadsafe(loop, never_called, NULL), ==, ROTA_ECLOSED);
    CHECK_INT(rota_loop_spawn_threadsafe(loop, never_run, NULL), ==, ROTA_ECLOSED);
    if (rota_task_current() || !rota_loop_current())
        CHECK_INT(rota_run_on(loop, never_run, NULL), ==, ROTA_ECLOSED);
    rota_loop_hold_threadsafe(loop);
    rota_loop_release_threadsafe(loop);
}

/* As many as will do for the allocator to hand out the same memory again. */
enum { LATER_LOOPS = 70 };

TEST_WITH(calls_for_a_loop_that_has_ended_are_refused, .without_faults = true)
{
    rota_loop *first = NULL;
    CHECK_OK(rota_run(keep_the_loop, &first));
    check_closed(first);
    for (int i = 0; i < LATER_LOOPS; i++) {
        rota_loop *later;
        CHECK_OK(rota_loop_new(NULL, &later));
        CHECK(later != first);
        check_closed(first);
        CHECK_INT(rota_loop_run_once(later, 0), ==, 0);
        rota_loop_free(later);
        check_closed(later);
    }
    CHECK_INT(rota_test_allocations(), ==, 0);
}

static int ask_a_loop_that_has_ended(void *arg)
{
    check_closed(arg);
    return 0;
}

TEST_WITH(tasks_are_refused_by_a_loop_that_has_ended, .without_faults = true)
{
    rota_loop *first = NULL;
    CHECK_OK(rota_run(keep_the_loop, &first));
    run(ask_a_loop_that_has_ended, first);
}

TEST_WITH(a_future_is_not_set_for_a_loop_that_has_ended, .without_faults = true)
{
    rota_loop *loop;
    rota_future future;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_future_init(&future);
    rota_loop_free(loop);
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_INT(rota_future_set_threadsafe(&future, 1), ==, ROTA_ECLOSED);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 0);
    CHECK(!rota_future_done(&future));
    rota_loop_free(loop);
    CHECK_INT(rota_test_allocations(), ==, 0);
}

/* Loops come and go, and threads use whichever they saw last, in every way there is. */
struct storm {
    rota_loop *_Atomic loop;
    atomic_bool over;
    atomic_long taken, run;
};

static void storm_called(rota_loop *loop, void *arg)
{
    CHECK_PTR(loop, ==, rota_loop_current());
    atomic_fetch_add(&((struct storm *)arg)->run, 1);
}

static int storm_task(void *arg)
{
    atomic_fetch_add(&((struct storm *)arg)->run, 1);
    return 0;
}

static void *storm_thread(void *arg)
{
    struct storm *storm = arg;
    for (int i = 0; !atomic_load(&storm->over); i++) {
        rota_loop *loop = atomic_load(&storm->loop);
        int result = 0;
        if (i % 4 == 0)
            result = rota_loop_call_threadsafe(loop, storm_called, storm);
        else if (i % 4 == 1)
            result = rota_loop_spawn_threadsafe(loop, storm_task, storm);
        else if (i % 4 == 2)
            result = rota_run_on(loop, storm_task, storm);
        else
            rota_loop_hold_threadsafe(loop), rota_loop_release_threadsafe(loop);
        CHECK(result == 0 || result == ROTA_ECLOSED || result == -ECANCELED);
        if (i % 4 != 3 && result == 0)
            atomic_fetch_add(&storm->taken, 1);
        if (result == ROTA_ECLOSED)
            sched_yield();
    }
    return NULL;
}

TEST_WITH(what_a_storm_of_calls_hands_to_ending_loops_runs_or_is_refused, .without_faults = true,
          .seconds = 60)
{
    enum { STORM_THREADS = 3, STORM_LOOPS = 200 };
    struct storm storm = {.loop = NULL};
    pthread_t threads[STORM_THREADS];
    for (int i = 0; i < STORM_LOOPS; i++) {
        rota_loop *loop;
        CHECK_OK(rota_loop_new(NULL, &loop));
        atomic_store(&storm.loop, loop);
        for (int t = 0; i == 0 && t < STORM_THREADS; t++)
            CHECK_INT(pthread_create(&threads[t], NULL, storm_thread, &storm), ==, 0);
        for (int turns = 0; turns < i % 7; turns++)
            CHECK_OK(rota_loop_run_once(loop, 0));
        rota_loop_free(loop);
    }
    atomic_store(&storm.over, true);
    for (int t = 0; t < STORM_THREADS; t++)
        pthread_join(threads[t], NULL);
    CHECK_INT(storm.run, >=, storm.taken); /* a call that was cancelled may have run, too */
    CHECK_INT(rota_test_allocations(), ==, 0);
}

/* rule 21 */
TEST_WITH(in_the_child_of_a_fork_the_parents_loops_have_ended, .without_faults = true)
{
    struct other other;
    other_start(&other);
    pid_t pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        check_closed(other.loop);
        run(ask_a_loop_that_has_ended, other.loop);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    run(ask_other, &other);
    other_stop(&other);
}
