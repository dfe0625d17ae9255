/* What a program does wrong, and what it hears of it. */

#include "clean_run.h"

#include "loop/loop.h"

#include <rota.h>

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char reports[4096];

static void collect(void *arg, rota_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    strncat(reports, message, sizeof reports - strlen(reports) - 1);
}

static void run_collecting(rota_fn *fn, void *arg)
{
    rota_log_set(collect, NULL);
    CHECK_OK(rota_test_run(fn, arg));
}

#define MISUSE_TEST(name_) TASK_TEST_BY(run_collecting, name_)

static int sleep_a_second(void *arg)
{
    (void)arg;
    return rota_sleep(ROTA_SECOND);
}

/* ---- Loops */

MISUSE_TEST(a_loop_is_not_freed_from_inside)
{
    rota_loop_free(rota_loop_current());
    CHECK(strstr(reports, "rota_loop_free was called inside the loop, and did nothing"));
    CHECK_OK(rota_sleep(ROTA_SECOND));
}

/* ---- fork */

static int return_in_child(void *arg)
{
    pid_t *child = arg;
    rota_defer(free, malloc(1)); /* the parent's */
    *child = fork();
    if (*child)
        return 0;
    CHECK_INT(rota_sleep(1), ==, ROTA_ENOTASK);
    CHECK_PTR(rota_loop_current(), ==, NULL);
    return -EIO;
}

static int fork_among_others(void *arg)
{
    pid_t child = -1;
    ROTA_AUTO(rota_task) other = NULL;
    ROTA_AUTO(rota_task) forker = NULL;
    rota_spawn(sleep_a_second, NULL, &other);
    rota_spawn(return_in_child, &child, &forker);
    ROTA_IGNORE(rota_future_wait(rota_task_future(forker)));
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    *(int *)arg = status;
    return 0;
}

TEST_WITH(rule_21_a_child_ends_where_its_task_returns, .without_faults = true)
{
    int status = 0;
    CHECK_INT(rota_run(fork_among_others, &status), ==, 0);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 1);
}

static int run_in_child(void *arg)
{
    (void)arg;
    pid_t child = fork();
    if (child == 0)
        _exit(rota_run(sleep_a_second, NULL) == 0 ? 7 : 8);
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), ==, child);
    CHECK_INT(WEXITSTATUS(status), ==, 7);
    return 0;
}

TEST_WITH(rule_21_a_child_may_run_a_loop_of_its_own, .without_faults = true)
{
    CHECK_INT(rota_run(run_in_child, NULL), ==, 0);
}

/* ---- Handles */

MISUSE_TEST(a_task_of_a_group_stays_the_groups)
{
    ROTA_GROUP(group, .keep = true);
    rota_group_spawn(&group, sleep_a_second, NULL);
    rota_task *task;
    CHECK_INT(rota_group_next(&group, &task), ==, 1);
    CHECK_INT(rota_join(task), ==, -EINVAL);
    CHECK_PTR(rota_task_free(task), ==, NULL);
    CHECK_PTR(rota_task_detach(task), ==, NULL);
    CHECK_INT(rota_task_result(task), ==, 0);
    CHECK_OK(rota_group_wait(&group));
}

static int forget_a_group(void *arg)
{
    rota_group *group = arg;
    rota_group_begin(group);
    return rota_group_spawn(group, sleep_a_second, NULL);
}

MISUSE_TEST(a_group_that_nobody_waits_for_is_reported)
{
    rota_group group = {.keep = false};
    rota_task *task;
    CHECK_INT(rota_spawn(forget_a_group, &group, &task), ==, 0);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK(strstr(reports, "task 'forget_a_group' (spawned at "));
    CHECK(strstr(reports, "returned without leaving a scope"));
    memset(&group, 0xff, sizeof group);
    CHECK_OK(rota_sleep(2 * ROTA_SECOND));
}

struct handle {
    rota_task *task;
    int err;
};

static int join_it(void *arg)
{
    struct handle *h = arg;
    h->err = rota_join(h->task);
    return 0;
}

static int free_it(void *arg)
{
    rota_task_free(((struct handle *)arg)->task);
    return 0;
}

static int detach_it(void *arg)
{
    rota_task_detach(((struct handle *)arg)->task);
    return 0;
}

/* The first call waits, and releases the handle. */
MISUSE_TEST(a_handle_that_somebody_waits_with_is_released_once)
{
    static rota_fn *const pairs[][2] = {
        {join_it, free_it}, {free_it, join_it}, {free_it, free_it}, {join_it, detach_it}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct handle h = {.err = 1};
        reports[0] = '\0';
        CHECK_OK(rota_spawn(sleep_a_second, NULL, &h.task));
        ROTA_GROUP(group);
        rota_group_spawn(&group, pairs[i][0], &h);
        rota_group_spawn(&group, pairs[i][1], &h);
        CHECK_INT(rota_group_wait(&group), ==, 0);
        bool second_joins = pairs[i][1] == join_it;
        CHECK_INT(h.err, ==, second_joins ? -EBUSY : h.err);
        CHECK_INT(strstr(reports, "which another task is waiting for") != NULL, ==, !second_joins);
    }
}

static int be_known(void *arg)
{
    struct handle *h = arg;
    h->task = rota_task_current();
    return rota_sleep(ROTA_SECOND);
}

MISUSE_TEST(a_task_without_a_handle_is_not_joined)
{
    struct handle h = {NULL, 0}, main_task = {rota_task_current(), 0};
    CHECK_OK(rota_spawn(be_known, &h, NULL));
    CHECK_OK(rota_yield());
    CHECK_OK(rota_yield());
    CHECK_INT(rota_join(h.task), ==, -EINVAL);
    rota_task_detach(h.task);
    CHECK(strstr(reports, "rota_task_detach was called on task 'be_known'"));
    CHECK(strstr(reports, "which has no handle to release"));
    rota_task_free(h.task); /* only cancels */
    CHECK(strstr(reports, "rota_task_free was called on task 'be_known'"));
    CHECK_OK(rota_yield());
    rota_task *joiner;
    CHECK_OK(rota_spawn(join_it, &main_task, &joiner));
    CHECK_INT(rota_join(joiner), ==, 0);
    CHECK_INT(main_task.err, ==, -EINVAL);
}

/* ---- Generators */

static int free_itself(rota_gen *gen, void *arg)
{
    (void)arg;
    rota_gen_free(gen);
    return rota_gen_yield(gen, reports);
}

MISUSE_TEST(a_running_generator_is_not_freed)
{
    ROTA_AUTO(rota_gen) gen = NULL;
    CHECK_INT(rota_gen_new(free_itself, NULL, &gen), ==, 0);
    void *item;
    CHECK_INT(rota_gen_next(gen, &item), ==, 1);
    CHECK(strstr(reports, "rota_gen_free was called while the generator runs, and did nothing"));
}

/* ---- Futures */

static rota_future early;

static void count(rota_future *future, void *arg)
{
    *(int *)arg += rota_future_result(future);
}

static int set_early(void *arg)
{
    (void)arg;
    return rota_future_set(&early, 5);
}

static int use_early(void *arg)
{
    rota_done done;
    rota_future_on_done(&early, &done, count, arg);
    rota_spawn(set_early, NULL, NULL);
    CHECK_INT(rota_future_wait(&early), ==, 5);
    return rota_yield();
}

TEST(a_future_may_be_made_before_the_loop)
{
    int sum = 0;
    rota_future_init(&early);
    CHECK_INT(rota_future_set_threadsafe(&early, 1), ==, ROTA_ENOTASK);
    CHECK_INT(rota_run(use_early, &sum), ==, 0);
    CHECK_INT(sum, ==, 5);
}

/* ---- Threads */

struct shared {
    rota_loop *loop;
    rota_task *task;
    rota_future future;
    rota_group group;
};

static int touch_all(void *arg)
{
    struct shared *s = arg;
    rota_future *futures[] = {&s->future};
    rota_done done;
    rota_task *task;
    CHECK_INT(rota_join(s->task), ==, ROTA_ETHREAD);
    rota_task_free(s->task);
    rota_task_detach(s->task);
    rota_task_cancel(s->task);
    CHECK_INT(rota_future_wait(&s->future), ==, ROTA_ETHREAD);
    CHECK_INT(rota_future_set(&s->future, 1), ==, ROTA_ETHREAD);
    CHECK_INT(rota_wait(futures, 1, ROTA_ALL_COMPLETED), ==, ROTA_ETHREAD);
    rota_future_on_done(&s->future, &done, NULL, NULL);
    CHECK_INT(rota_group_spawn(&s->group, sleep_a_second, NULL), ==, ROTA_ETHREAD);
    CHECK_INT(rota_group_next(&s->group, &task), ==, ROTA_ETHREAD);
    CHECK_INT(rota_group_wait(&s->group), ==, -EPERM);
    rota_group_cancel(&s->group);
    rota_loop_stop(s->loop);
    CHECK_INT(rota_loop_run(s->loop), ==, -EBUSY);
    CHECK_PTR(rota_loop_free(s->loop), ==, NULL);
    return 0;
}

static void *with_a_loop(void *arg)
{
    CHECK_INT(rota_run(touch_all, arg), ==, 0);
    return NULL;
}

static void *without_a_loop(void *arg)
{
    struct shared *s = arg;
    CHECK_INT(rota_join(s->task), ==, ROTA_ENOTASK);
    CHECK_INT(rota_future_wait(&s->future), ==, ROTA_ENOTASK);
    CHECK_INT(rota_group_spawn(&s->group, sleep_a_second, NULL), ==, ROTA_ETHREAD);
    CHECK_INT(rota_group_wait(&s->group), ==, ROTA_ENOTASK);
    rota_group_cancel(&s->group);
    return NULL;
}

MISUSE_TEST(rule_20_other_threads_are_refused)
{
    struct shared s = {.loop = rota_loop_current(), .group.keep = true};
    rota_group_begin(&s.group);
    rota_future_init(&s.future);
    CHECK_INT(rota_spawn(sleep_a_second, NULL, &s.task), ==, 0);
    CHECK_INT(rota_group_spawn(&s.group, sleep_a_second, NULL), ==, 0);
    void *(*threads[])(void *) = {with_a_loop, without_a_loop};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        CHECK_INT(pthread_create(&thread, NULL, threads[i], &s), ==, 0);
        pthread_join(thread, NULL);
    }
    CHECK(strstr(reports, "rota_join was called from a thread other than its loop's"));
    CHECK_INT(rota_group_wait(&s.group), ==, 0);
    CHECK_INT(rota_future_set(&s.future, 0), ==, 0);
    CHECK_OK(rota_join(s.task));
    rota_group_fini(&s.group);
}

struct io {
    rota_stream *one, *other;
    rota_listener *listener;
    rota_gen *gen;
};

static int yield_nothing(rota_gen *gen, void *arg)
{
    return rota_gen_yield(gen, arg);
}

static int touch_io(void *arg)
{
    struct io *io = arg;
    char byte;
    rota_stream *accepted;
    void *item;
    CHECK_INT(rota_stream_read(io->one, &byte, 1), ==, ROTA_ETHREAD);
    CHECK_INT(rota_stream_write(io->one, "x", 1), ==, ROTA_ETHREAD);
    CHECK_INT(rota_stream_close(io->one), ==, ROTA_ETHREAD);
    rota_stream_free(io->one);
    CHECK_INT(rota_accept(io->listener, &accepted), ==, ROTA_ETHREAD);
    rota_listener_close(io->listener);
    rota_listener_free(io->listener);
    CHECK_INT(rota_gen_next(io->gen, &item), ==, ROTA_ETHREAD);
    rota_gen_free(io->gen);
    return 0;
}

static void *touch_io_with_a_loop(void *arg)
{
    CHECK_INT(rota_run(touch_io, arg), ==, 0);
    return NULL;
}

MISUSE_TEST(rule_20_streams_are_refused_to_other_threads)
{
    struct io io = {0};
    CHECK_INT(rota_stream_pair(0, &io.one, &io.other), ==, 0);
    CHECK_INT(rota_tcp_listen("127.0.0.1", 0, NULL, &io.listener), ==, 0);
    CHECK_INT(rota_gen_new(yield_nothing, NULL, &io.gen), ==, 0);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, touch_io_with_a_loop, &io), ==, 0);
    pthread_join(thread, NULL);
    CHECK(strstr(reports, "rota_stream_read was called from a thread other than its loop's"));
    CHECK_INT(rota_stream_write(io.one, "x", 1), ==, 0);
    rota_stream_free(io.one);
    rota_stream_free(io.other);
    rota_listener_free(io.listener);
    rota_gen_free(io.gen);
}

/* ---- What outlives its loop */

static int read_for_a_while(void *arg)
{
    struct io *io = arg;
    CHECK_INT(rota_tcp_listen("127.0.0.1", 0, NULL, &io->listener), ==, 0);
    CHECK_INT(rota_tcp_connect("127.0.0.1", rota_listener_port(io->listener), NULL, &io->one), ==,
              0);
    int err = 0;
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        char byte;
        err = (int)rota_stream_read(io->one, &byte, 1);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    return 0;
}

static void *resize(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    return realloc(ptr, size);
}

static void wipe(void *ctx, void *ptr)
{
    (void)ctx;
    memset(ptr, 0xff, malloc_usable_size(ptr));
    __asm__ volatile("" : : "r"(ptr) : "memory"); /* or the compiler leaves out what nobody reads */
    free(ptr);
}

TEST_WITH(streams_may_be_freed_after_their_loop, .both_backends = true, .without_faults = true)
{
    struct io io = {0};
    int fds = test_open_fds();
    rota_allocator_set(&(rota_allocator){resize, wipe, NULL});
    CHECK_INT(rota_run(read_for_a_while, &io), ==, 0);
    rota_stream_free(io.one);
    rota_listener_free(io.listener);
    CHECK_INT(test_open_fds(), ==, fds);
    CHECK_INT(rota_test_allocations(), ==, 0);
}

/* Gives each loop the memory of the one before. */
static char *place_of_loops;

static void *resize_in_place(void *ctx, void *ptr, size_t size)
{
    if (ptr || size != sizeof(struct rota__loop))
        return realloc(ptr, size);
    if (!place_of_loops)
        place_of_loops = malloc(size);
    return place_of_loops;
}

static void keep_place(void *ctx, void *ptr)
{
    if (ptr != place_of_loops)
        free(ptr);
}

static int use_in_second_loop(void *arg)
{
    struct io *io = arg;
    char byte;
    rota_stream *accepted;
    CHECK_PTR(rota__loop_here, ==, (void *)place_of_loops);
    CHECK_INT(rota_stream_read(io->one, &byte, 1), ==, ROTA_ETHREAD);
    CHECK_INT(rota_accept(io->listener, &accepted), ==, ROTA_ETHREAD);
    CHECK_INT(rota_stream_close(io->one), ==, ROTA_ETHREAD);
    return 0;
}

TEST_WITH(second_loop_in_the_same_place_is_another_one, .both_backends = true,
          .without_faults = true)
{
    struct io io = {0};
    rota_allocator_set(&(rota_allocator){resize_in_place, keep_place, NULL});
    CHECK_INT(rota_run(read_for_a_while, &io), ==, 0);
    CHECK_INT(rota_run(use_in_second_loop, &io), ==, 0);
    rota_stream_free(io.one);
    rota_listener_free(io.listener);
    rota_allocator_set(NULL);
    free(place_of_loops);
}

/* ---- SIGINT */

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static bool raised;

static void interrupt_without_loop(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
    if (rota_loop_current())
        return;
    raised = true;
    raise(SIGINT); /* the loop's own memory was the last to go */
}

TEST_WITH(sigint_finds_no_loop_that_is_gone, .dies_of = SIGINT, .without_faults = true)
{
    rota_allocator_set(&(rota_allocator){resize, interrupt_without_loop, NULL});
    rota_run(nothing, NULL);
    if (!raised)
        SKIP("nothing was released without a loop");
}

static void defer_nothing(void *arg)
{
    (void)arg;
}

static int wait_for_ever_shielded(void *arg)
{
    (void)arg;
    rota_event never = ROTA_EVENT_INIT;
    CHECK_INT(rota_defer(defer_nothing, NULL), ==, 0);
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_event_wait(&never));
    }
    return 0;
}

TEST(a_task_that_is_given_up_leaves_nothing_allocated)
{
    CHECK_INT(rota_run(wait_for_ever_shielded, NULL), ==, -EDEADLK);
    CHECK_INT(rota_test_allocations(), ==, 0);
}
