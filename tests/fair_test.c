/* Calls that never have to wait: others still get their turn, and deadlines are seen. */

#include "harness.h"

#include <rota.h>

#include <stdlib.h>
#include <string.h>

#define RUN(fn) CHECK_INT(rota_run(fn, NULL), ==, 0)

/* Everything here is ready at once, for ever, or for MANY calls. */
enum { MANY = 20000 };

static struct world {
    rota_queue *queue;
    rota_mutex mutex;
    rota_event event;
    rota_semaphore semaphore;
    rota_barrier barrier;
    rota_future future;
    rota_gen *gen;
    rota_stream *stream, *peer;
    rota_case select;
    int item;
} world;

static int queue_call(void)
{
    int item = 1, err = rota_queue_put(world.queue, &item);
    return err < 0 ? err : rota_queue_get(world.queue, &item);
}

static int select_call(void)
{
    size_t index;
    int err = rota_queue_try_put(world.queue, &world.item);
    return err < 0 ? err : rota_select(&world.select, 1, &index);
}

static int queue_join_call(void)
{
    return rota_queue_join(world.queue);
}

static int mutex_call(void)
{
    int err = rota_mutex_lock(&world.mutex);
    return err < 0 ? err : rota_mutex_unlock(&world.mutex);
}

static int event_call(void)
{
    return rota_event_wait(&world.event);
}

static int semaphore_call(void)
{
    int err = rota_semaphore_acquire(&world.semaphore);
    return err < 0 ? err : rota_semaphore_release(&world.semaphore);
}

static int barrier_call(void)
{
    return rota_barrier_wait(&world.barrier);
}

static int future_call(void)
{
    return rota_future_wait(&world.future);
}

static int futures_call(void)
{
    int n = rota_wait(&(rota_future *){&world.future}, 1, ROTA_FIRST_COMPLETED);
    return n < 0 ? n : 0;
}

static int gen_call(void)
{
    void *item;
    int more = rota_gen_next(world.gen, &item);
    return more == 1 ? 0 : more;
}

static int resolve_call(void)
{
    rota_address address;
    int n = rota_resolve("127.0.0.1", 80, &address, 1);
    return n == 1 ? 0 : n;
}

static int read_call(void)
{
    char byte;
    ssize_t n = rota_stream_read(world.stream, &byte, 1);
    return n == 1 ? 0 : (int)n;
}

static int read_exact_call(void)
{
    char byte;
    return rota_stream_read_exact(world.stream, &byte, 1);
}

static int line_call(void)
{
    rota_str line;
    int more = rota_stream_read_line(world.stream, &line);
    return more == 1 ? 0 : more;
}

static int peek_call(void)
{
    rota_str bytes;
    ssize_t n = rota_stream_peek(world.stream, 1, &bytes);
    return n < 0 ? (int)n : 0;
}

static int corked_write_call(void)
{
    rota_stream_cork(world.peer);
    return rota_stream_write(world.peer, "x", 1);
}

/* Each byte written into the pair's memory is there to be read at once. */
static int pair_call(void)
{
    char byte;
    int err = rota_stream_write(world.stream, "x", 1);
    if (err < 0)
        return err;
    ssize_t n = rota_stream_read(world.peer, &byte, 1);
    return n == 1 ? 0 : (int)n;
}

static const struct {
    const char *name;
    int (*call)(void);
} calls[] = {
    {"queue put and get", queue_call},
    {"select", select_call},
    {"queue join", queue_join_call},
    {"mutex", mutex_call},
    {"event", event_call},
    {"semaphore", semaphore_call},
    {"barrier", barrier_call},
    {"future", future_call},
    {"futures", futures_call},
    {"generator", gen_call},
    {"resolve", resolve_call},
    {"read", read_call},
    {"read_exact", read_exact_call},
    {"read_line", line_call},
    {"peek", peek_call},
    {"corked write", corked_write_call},
    {"pair", pair_call},
};

static int numbers(rota_gen *gen, void *arg)
{
    int err = 0;
    while (err == 0)
        err = rota_gen_yield(gen, &world.item);
    return err;
}

/* The reader's buffer holds MANY lines, empty ones. */
static int fill_buffer(void)
{
    static char lines[MANY];
    rota_str seen;
    memset(lines, '\n', sizeof lines);
    rota_stream_set_limit(world.stream, 2 * MANY);
    int err = rota_stream_write(world.peer, lines, sizeof lines);
    if (err < 0)
        return err;
    ssize_t n = rota_stream_peek(world.stream, sizeof lines, &seen);
    return n < 0 ? (int)n : 0;
}

static int make_world(void)
{
    world = (struct world){
        .mutex = ROTA_MUTEX_INIT,
        .event = ROTA_EVENT_INIT,
        .semaphore = ROTA_SEMAPHORE_INIT(1),
        .barrier = ROTA_BARRIER_INIT(1),
    };
    rota_future_init(&world.future);
    rota_future_set(&world.future, 0);
    rota_event_set(&world.event);
    int err = rota_queue_new(8, sizeof(int), &world.queue);
    if (err == 0)
        err = rota_gen_new(numbers, NULL, &world.gen);
    if (err == 0)
        err = rota_stream_pair(2 * MANY, &world.stream, &world.peer);
    world.select = (rota_case){.queue = world.queue, .get = &world.item};
    return err < 0 ? err : fill_buffer();
}

static void end_world(void)
{
    rota_gen_free(world.gen);
    rota_queue_free(world.queue);
    rota_stream_free(world.stream);
    rota_stream_free(world.peer);
}

/* ---- The others */

static int cancel_it(void *arg)
{
    rota_task_cancel(arg);
    return 0;
}

static int call_for_ever(void *arg)
{
    int (*const *call)(void) = arg;
    for (int i = 0;; i++) {
        int err = (*call)();
        if (err < 0 || i > 4 * MANY)
            return err;
    }
}

static int each_is_cancelled(void *arg)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        int err = make_world();
        rota_task *caller = NULL, *other = NULL;
        if (err == 0)
            err = rota_spawn(call_for_ever, (void *)&calls[i].call, &caller);
        if (err == 0)
            err = rota_spawn(cancel_it, caller, &other);
        if (other)
            ROTA_IGNORE(rota_join(other));
        int result = caller ? rota_join(caller) : 0;
        end_world();
        if (err < 0)
            return err;
        if (result != -ECANCELED)
            FAIL("%s: the other task had no turn (%s)", calls[i].name, rota_strerror(result));
    }
    return 0;
}

TEST(others_get_their_turn_beside_calls_that_never_wait)
{
    RUN(each_is_cancelled);
}

/* ---- Deadlines */

static int each_times_out(void *arg)
{
    int err = make_world();
    for (size_t i = 0; i < sizeof calls / sizeof *calls && err == 0; i++) {
        if (calls[i].call != queue_call && calls[i].call != gen_call && calls[i].call != peek_call)
            continue;
        int seen = 0;
        ROTA_TIMEOUT (2 * ROTA_MILLISECOND) {
            while (seen == 0)
                seen = calls[i].call();
        }
        if (seen != -ETIMEDOUT)
            FAIL("%s: %s", calls[i].name, rota_strerror(seen));
    }
    end_world();
    return err;
}

TEST(deadline_is_seen_by_calls_that_never_wait)
{
    RUN(each_times_out);
}

/* A consumer that falls behind, a producer that has always room. */
static int produced, consumed;

static int consume(void *arg)
{
    int item;
    while (rota_queue_get(arg, &item) == 0)
        consumed++;
    return 0;
}

static int produce_in_time(void *arg)
{
    ROTA_AUTO(rota_queue) queue = NULL;
    int err = rota_queue_new(1000000, sizeof(int), &queue);
    rota_task *consumer = NULL;
    if (err == 0)
        err = rota_spawn(consume, queue, &consumer);
    if (err < 0)
        return err;
    ROTA_TIMEOUT (5 * ROTA_MILLISECOND) {
        while ((err = rota_queue_put(queue, &produced)) == 0)
            CHECK_INT(++produced - consumed, <=, 1000);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    rota_queue_close(queue);
    return rota_join(consumer);
}

TEST(producer_with_room_ends_in_time_and_does_not_run_far_ahead)
{
    RUN(produce_in_time);
    CHECK_INT(consumed, ==, produced);
}

/* ---- A generator that two tasks share */

static int take_some(void *arg)
{
    int *taken = arg, err = 0;
    for (int i = 0; i < 1000 && err >= 0; i++) {
        void *item;
        err = rota_gen_next(world.gen, &item);
        if (err == -EBUSY)
            err = rota_yield();
        else if (err == 1)
            ++*taken;
    }
    return err < 0 ? err : 0;
}

static int share_generator(void *arg)
{
    int taken[2] = {0}, err = make_world();
    if (err == 0) {
        ROTA_GROUP(group);
        rota_group_spawn(&group, take_some, &taken[0]);
        rota_group_spawn(&group, take_some, &taken[1]);
        err = rota_group_wait(&group);
    }
    end_world();
    if (err == 0) {
        CHECK_INT(taken[0], >, 0);
        CHECK_INT(taken[1], >, 0);
    }
    return err;
}

TEST(generator_that_lets_others_run_is_busy_meanwhile)
{
    RUN(share_generator);
}

/* ---- Rule 8: tasks that ignore their cancellation */

static char told[8192];
static int reports;

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    snprintf(told, sizeof told, "%s", message);
    reports++;
}

struct ignoring {
    int (*call)(void);
    long rounds, most;
    bool stop, shields, nests;
};

static void shield_twice(void)
{
    ROTA_SHIELD
    {
        ROTA_SHIELD
        {
            ROTA_IGNORE(rota_yield());
        }
        ROTA_IGNORE(rota_yield());
    }
}

static int go_on_regardless(void *arg)
{
    struct ignoring *i = arg;
    while (!i->stop && i->rounds++ < i->most) {
        ROTA_IGNORE(i->call());
        if (i->shields)
            ROTA_SHIELD
            {
                ROTA_IGNORE(rota_yield());
            }
        if (i->nests && i->rounds % 1500 == 0)
            shield_twice();
    }
    return 0;
}

static int sleep_long(void)
{
    return rota_sleep(100 * ROTA_SECOND);
}

static int join_a_group(void)
{
    ROTA_GROUP(g);
    return rota_group_wait(&g);
}

static int ignored_calls_stop_nobody(void *arg)
{
    static int (*const interrupted[])(void) = {sleep_long, queue_call,   event_call,
                                               mutex_call, join_a_group, rota_yield};
    world.mutex = (rota_mutex)ROTA_MUTEX_INIT;
    CHECK_OK(rota_queue_new(1, sizeof(int), &world.queue));
    for (size_t n = 0; n < sizeof interrupted / sizeof *interrupted; n++) {
        struct ignoring i = {.call = interrupted[n], .most = 100 * MANY};
        rota_task *task;
        CHECK_OK(rota_spawn(go_on_regardless, &i, &task));
        CHECK_OK(rota_yield());
        rota_task_cancel(task);
        for (int turn = 0; turn < 100; turn++)
            CHECK_OK(rota_yield());
        CHECK_INT(i.rounds, <, i.most);
        i.stop = true;
        CHECK_INT(rota_join(task), ==, 0);
    }
    rota_queue_free(world.queue);
    return 0;
}

TEST_WITH(rule_8_a_task_that_ignores_its_cancellation_stops_nobody, .without_faults = true)
{
    RUN(ignored_calls_stop_nobody);
}

static int end_at_once(void *arg)
{
    return 0;
}

static int join_many_that_have_ended(void *arg)
{
    enum { ENDED = 1500 };
    static rota_task *tasks[ENDED];
    for (int i = 0; i < ENDED; i++)
        CHECK_OK(rota_spawn(end_at_once, NULL, &tasks[i]));
    CHECK_OK(rota_yield());
    rota_task_cancel(rota_task_current());
    for (int i = 0; i < ENDED; i++)
        CHECK_INT(rota_join(tasks[i]), ==, 0);
    return 0;
}

TEST_WITH(joining_what_has_ended_ignores_no_cancellation, .without_faults = true)
{
    rota_log_set(keep_report, NULL);
    CHECK_OK(rota_run(join_many_that_have_ended, NULL));
    CHECK_INT(reports, ==, 0);
}

static int ignore_once(void *arg)
{
    struct ignoring i = {.call = sleep_long, .most = 5000};
    rota_task *task;
    CHECK_OK(rota_spawn(go_on_regardless, &i, &task));
    CHECK_OK(rota_yield());
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(reports, ==, 1);
    CHECK(strstr(told, "task 'go_on_regardless' (spawned at "));
    CHECK(strstr(told, "goes on although it was cancelled: 1000 calls in a row have returned "
                       "-ECANCELED"));
    i = (struct ignoring){.call = sleep_long, .most = 999};
    CHECK_OK(rota_spawn(go_on_regardless, &i, &task));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
    i = (struct ignoring){.call = sleep_long, .most = 5000, .shields = true};
    CHECK_OK(rota_spawn(go_on_regardless, &i, &task));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
    i = (struct ignoring){.call = sleep_long, .most = 5000, .shields = true, .nests = true};
    CHECK_OK(rota_spawn(go_on_regardless, &i, &task));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(reports, ==, 1);
    i = (struct ignoring){.call = sleep_long, .most = 5000, .nests = true};
    CHECK_OK(rota_spawn(go_on_regardless, &i, &task));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(reports, ==, 2);
    i = (struct ignoring){.call = sleep_long, .most = 5000};
    for (int scope = 0; scope < 2; scope++, i.rounds = 0)
        ROTA_TIMEOUT (-ROTA_SECOND)
            CHECK_INT(go_on_regardless(&i), ==, 0);
    CHECK_INT(reports, ==, 4);
    CHECK(strstr(told, "its deadline has passed: 1000 calls in a row have returned -ETIMEDOUT"));
    return 0;
}

TEST_WITH(rule_8_an_ignored_cancellation_is_reported_once_after_a_thousand_calls,
          .without_faults = true)
{
    rota_log_set(keep_report, NULL);
    RUN(ignore_once);
}
