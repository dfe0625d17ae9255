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
    rota_loop_hold_threadsafe(rota_loop_current()); /* somebody is going to come */
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

static void stop_run(struct rota__post *post, rota_loop *loop)
{
    cancel_other(rota__container_of(post, struct stop, post)->other);
}

static void other_stop(struct other *other)
{
    struct stop stop = {.post.run = stop_run, .other = other};
    if (rota__loop_enter(other->loop)) { /* an injected cancellation may have ended it */
        rota__loop_post(other->loop, &stop.post);
        rota__loop_leave();
    }
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
        rota_yield();
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
        rota_yield();
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
            rota_yield();
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
        rota_sleep(ROTA_NEVER);
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
