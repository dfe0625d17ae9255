/* A result, a cancellation and a deadline in one turn, in each order and for each way to wait. */

#include "harness.h"

#include "task/task.h"

#include <rota/test.h>

#include <sys/socket.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

enum event { COMPLETE, CANCEL, EXPIRE, NOTHING };

static const enum event orders[][3] = {
    {COMPLETE, CANCEL, EXPIRE},  {COMPLETE, EXPIRE, CANCEL},  {CANCEL, COMPLETE, EXPIRE},
    {CANCEL, EXPIRE, COMPLETE},  {EXPIRE, COMPLETE, CANCEL},  {EXPIRE, CANCEL, COMPLETE},
    {COMPLETE, CANCEL, NOTHING}, {CANCEL, COMPLETE, NOTHING}, {COMPLETE, EXPIRE, NOTHING},
    {EXPIRE, COMPLETE, NOTHING}, {CANCEL, EXPIRE, NOTHING},   {EXPIRE, CANCEL, NOTHING},
};

/* The waiting task, and what happens to it. */
struct race {
    rota_task *waiter;
    rota_timeout timeout;
    rota_future future; /* its completion is the result */
    struct rota__fd fd;
    int peer;
    int (*wait)(struct race *race);
    int result, next, end; /* of the wait, of the next call, of the timeout's end */
};

static void expire(struct race *race)
{
    struct rota__timer *timer = &race->timeout._timer;
    rota__timer_cancel(&rota__loop_here->timers, timer);
    timer->fire(timer);
}

struct act {
    struct race *race;
    enum event event;
};

static int act(void *arg)
{
    struct act *a = arg;
    switch (a->event) {
    case COMPLETE:
        rota_future_set(&a->race->future, 7);
        if (write(a->race->peer, "x", 1) != 1)
            return -errno;
        break;
    case CANCEL:
        rota_task_cancel(a->race->waiter);
        break;
    case EXPIRE:
        expire(a->race);
        break;
    case NOTHING:
        break;
    }
    return 0;
}

static int wait_main(void *arg)
{
    struct race *race = arg;
    rota_timeout_begin(&race->timeout, ROTA_MINUTE);
    race->result = race->wait(race);
    race->next = rota_yield();
    race->end = rota_timeout_end(&race->timeout);
    return 0;
}

static bool contains(const enum event order[3], enum event event)
{
    return order[0] == event || order[1] == event || order[2] == event;
}

static void run_race(struct race *race, const enum event order[3])
{
    int ends[2];
    rota_future_init(&race->future);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota__fd_open(&race->fd, rota__loop_here, ends[0], true));
    race->peer = ends[1];
    CHECK_OK(rota_spawn(wait_main, race, &race->waiter));
    for (int i = 0; i < 3; i++)
        CHECK_INT(rota_yield(), ==, 0);
    for (int i = 0; i < 3; i++) {
        struct act a = {race, order[i]};
        CHECK_OK(rota_spawn_copy(act, &a, sizeof a, NULL));
    }
    CHECK_INT(rota_join(race->waiter), ==, 0);
    rota__fd_close(&race->fd);
    close(race->peer);
}

static int expected_next(const enum event order[3])
{
    return contains(order, CANCEL) ? -ECANCELED : -ETIMEDOUT;
}

static void check_after(const struct race *race, const enum event order[3])
{
    CHECK_INT(race->next, ==, expected_next(order));
    CHECK_INT(race->end, ==, contains(order, EXPIRE) ? -ETIMEDOUT : 0);
}

/* ---- The ways to wait */

static int wait_future(struct race *race)
{
    return rota_future_wait(&race->future);
}

static int wait_futures(struct race *race)
{
    rota_future *list[] = {&race->future};
    int n = rota_wait(list, 1, ROTA_ALL_COMPLETED);
    return n == 1 ? 7 : n;
}

/* A result that came first is returned, and what interrupts comes with the next call. */
static void check_first_counts(int (*wait)(struct race *race))
{
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        struct race race = {.timeout = ROTA_TIMEOUT_INIT, .wait = wait};
        run_race(&race, orders[i]);
        if (orders[i][0] == COMPLETE)
            CHECK_INT(race.result, ==, 7);
        else
            CHECK(race.result == 7 || race.result == -ECANCELED || race.result == -ETIMEDOUT);
        if (orders[i][0] == CANCEL && race.result != 7)
            CHECK_INT(race.result, ==, -ECANCELED);
        check_after(&race, orders[i]);
    }
}

static int race_future(void *arg)
{
    check_first_counts(wait_future);
    return 0;
}

/* rule 10 */
TEST(future_in_one_turn_with_cancellation_and_deadline)
{
    CHECK_INT(rota_test_run(race_future, NULL), ==, 0);
}

static int race_futures(void *arg)
{
    check_first_counts(wait_futures);
    return 0;
}

/* rule 10 */
TEST(wait_for_several_in_one_turn_with_cancellation_and_deadline)
{
    CHECK_INT(rota_test_run(race_futures, NULL), ==, 0);
}

static int child(void *arg)
{
    struct race *race = arg;
    return rota_future_wait(&race->future);
}

static int wait_join(struct race *race)
{
    rota_task *task;
    int err = rota_spawn(child, race, &task);
    return err < 0 ? err : rota_join(task);
}

static int wait_group(struct race *race)
{
    ROTA_GROUP(group, .policy = ROTA_GROUP_RACE);
    rota_group_spawn(&group, child, race);
    return rota_group_wait(&group);
}

static int wait_next(struct race *race)
{
    ROTA_GROUP(group, .keep = true);
    rota_task *ended;
    rota_group_spawn(&group, child, race);
    int err = rota_group_next(&group, &ended);
    return err == 1 ? rota_task_result(ended) : err;
}

/* A task that has its result hands it on, or was cancelled with its owner; nobody hangs either
 * way. */
static int race_tasks(void *arg)
{
    static int (*const ways[])(struct race * race) = {wait_join, wait_group, wait_next};
    for (int way = 0; way < 3; way++) {
        for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
            struct race race = {.timeout = ROTA_TIMEOUT_INIT, .wait = ways[way]};
            run_race(&race, orders[i]);
            CHECK(race.result == 7 || race.result == -ECANCELED || race.result == -ETIMEDOUT);
            check_after(&race, orders[i]);
        }
    }
    return 0;
}

/* rule 10, rule 14 */
TEST(task_in_one_turn_with_cancellation_and_deadline)
{
    CHECK_INT(rota_test_run(race_tasks, NULL), ==, 0);
}

static const struct rota__wait_kind receive_kind = {.name = "receive", .abort = rota__op_abort};

static int wait_receive(struct race *race)
{
    char byte;
    struct rota__op op = {.kind = ROTA__OP_RECV, .fd = &race->fd, .buf = &byte, .len = 1};
    ssize_t n = rota__op_await(&op, &receive_kind);
    if (n == 1)
        return 7;
    ROTA_SHIELD
    {
        /* What was not received is still there. */
        op = (struct rota__op){.kind = ROTA__OP_RECV, .fd = &race->fd, .buf = &byte, .len = 1};
        if (rota_future_wait(&race->future) == 7)
            CHECK_INT(rota__op_await(&op, &receive_kind), ==, 1);
    }
    return (int)n;
}

static int race_receive(void *arg)
{
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        if (!contains(orders[i], COMPLETE))
            continue;
        struct race race = {.timeout = ROTA_TIMEOUT_INIT, .wait = wait_receive};
        run_race(&race, orders[i]);
        CHECK(race.result == 7 || race.result == -ECANCELED || race.result == -ETIMEDOUT);
        check_after(&race, orders[i]);
    }
    return 0;
}

/* rule 10, rule 11 */
TEST(receive_in_one_turn_with_cancellation_and_deadline)
{
    CHECK_INT(rota_test_run(race_receive, NULL), ==, 0);
}
