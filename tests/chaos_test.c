/* Random programs: tasks that open scopes, wait, spawn, cancel and fail at random, in a random
 * order. What holds whatever happens is checked on the way; at the end nothing may be left. */

#include "harness.h"

#include "task/task.h"

#include <rota/test.h>

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

enum { SHARED = 4, SOCKETS = 2, STEPS = 14, DEPTH = 4 };

/* What all tasks of a program share. */
struct chaos {
    uint64_t state;
    int tasks; /* spawned so far */
    rota_future futures[SHARED];
    struct rota__fd sockets[SOCKETS];
};

struct actor {
    struct chaos *chaos;
    int depth;
};

static unsigned pick(struct chaos *c, unsigned n)
{
    c->state ^= c->state << 13;
    c->state ^= c->state >> 7;
    c->state ^= c->state << 17;
    return (unsigned)(c->state >> 33) % n;
}

static int act(void *arg);

/* rule 8: inside a cancelled scope every call says so. */
static void check_level(int err)
{
    if (err == -ECANCELED && rota_check() == -ECANCELED)
        CHECK_INT(rota_yield(), ==, -ECANCELED);
}

static int step(struct actor *a);

static int some_steps(struct actor *a)
{
    int err = 0;
    unsigned n = pick(a->chaos, STEPS);
    for (unsigned i = 0; i < n; i++) {
        err = step(a);
        if (err < 0 && pick(a->chaos, 3)) /* else the error is ignored */
            break;
    }
    return err;
}

static int step_timeout(struct actor *a)
{
    rota_timeout timeout = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&timeout, pick(a->chaos, 5) * ROTA_MILLISECOND);
    int err = some_steps(a);
    check_level(err);
    int passed = rota_timeout_end(&timeout);
    CHECK(passed == 0 || passed == -ETIMEDOUT);
    return passed ? 0 : err;
}

static int step_shield(struct actor *a)
{
    int err = 0;
    ROTA_SHIELD
    {
        CHECK_INT(rota_check(), ==, 0);
        err = rota_sleep(pick(a->chaos, 3) * ROTA_MILLISECOND);
        CHECK_INT(err, ==, 0);
    }
    return err;
}

static int step_group(struct actor *a)
{
    ROTA_GROUP(group, .policy = (unsigned char)pick(a->chaos, 3), .keep = pick(a->chaos, 2));
    unsigned n = a->depth < DEPTH ? pick(a->chaos, 4) : 0;
    for (unsigned i = 0; i < n; i++) {
        struct actor child = {a->chaos, a->depth + 1};
        a->chaos->tasks++;
        rota_group_spawn_copy(&group, act, &child, sizeof child);
    }
    int err = some_steps(a);
    if (pick(a->chaos, 4) == 0)
        rota_group_cancel(&group);
    if (pick(a->chaos, 4) == 0)
        return err; /* the block is left without waiting: ROTA_SCOPED does */
    rota_task *ended;
    while (group.keep && pick(a->chaos, 3) && rota_group_next(&group, &ended) > 0)
        CHECK(rota_task_done(ended));
    int result = rota_group_wait(&group);
    CHECK_INT(rota_group_running(&group), ==, 0);
    return result < 0 && pick(a->chaos, 2) ? result : 0;
}

static int step_spawn(struct actor *a)
{
    struct actor child = {a->chaos, a->depth + 1};
    rota_task *task = NULL;
    if (a->depth >= DEPTH)
        return rota_yield();
    a->chaos->tasks++;
    int err = rota_spawn_copy(act, &child, sizeof child, &task);
    if (err < 0)
        return err;
    if (pick(a->chaos, 2))
        err = some_steps(a);
    switch (pick(a->chaos, 4)) {
    case 0:
        rota_task_cancel(task);
        ROTA_IGNORE(rota_join(task));
        return 0;
    case 1:
        rota_task_free(task);
        return err;
    case 2:
        rota_task_detach(task);
        return err;
    default:
        ROTA_IGNORE(rota_join(task));
        return err;
    }
}

static int step_wait(struct actor *a)
{
    rota_future *list[SHARED];
    for (int i = 0; i < SHARED; i++)
        list[i] = &a->chaos->futures[i];
    int err = 0;
    ROTA_TIMEOUT (ROTA_MILLISECOND *(1 + pick(a->chaos, 4))) {
        err = pick(a->chaos, 2) ? rota_future_wait(list[pick(a->chaos, SHARED)])
                                : rota_wait(list, SHARED, (rota_wait_mode)pick(a->chaos, 3));
    }
    return err == -ETIMEDOUT ? rota_check() : err < 0 ? err : 0;
}

/* Completes one of the futures, and makes it new when nobody waits for it any more. */
static int step_set(struct actor *a)
{
    rota_future *f = &a->chaos->futures[pick(a->chaos, SHARED)];
    if (rota_future_set(f, (int)pick(a->chaos, 3) - 1) == -EALREADY)
        rota_future_init(f);
    return 0;
}

static const struct rota__wait_kind socket_kind = {.name = "socket", .abort = rota__op_abort};

static int step_socket(struct actor *a)
{
    char bytes[3] = "ab";
    struct rota__op op = {.kind = pick(a->chaos, 2) ? ROTA__OP_RECV : ROTA__OP_SEND,
                          .fd = &a->chaos->sockets[pick(a->chaos, SOCKETS)],
                          .buf = bytes,
                          .len = 1 + pick(a->chaos, 2)};
    ssize_t n = -EBUSY;
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        n = rota__op_await(&op, &socket_kind);
    }
    CHECK(!op.pending);
    return n == -ECANCELED ? -ECANCELED : rota_check();
}

static int generate(rota_gen *gen, void *arg)
{
    struct actor *a = arg;
    int err = 0;
    for (intptr_t i = 1; err >= 0 && i < 4; i++) {
        err = pick(a->chaos, 2) ? rota_yield() : rota_sleep(ROTA_MILLISECOND);
        if (err == 0)
            err = rota_gen_yield(gen, (void *)i);
    }
    return err;
}

static int step_generator(struct actor *a)
{
    ROTA_AUTO(rota_gen) gen = NULL;
    int err = rota_gen_new(generate, a, &gen);
    if (err < 0)
        return err;
    ROTA_FOREACH (intptr_t, item, rota_gen_iter(gen), &err) {
        if (item == pick(a->chaos, 5))
            break;
    }
    return err;
}

static int step(struct actor *a)
{
    static int (*const steps[])(struct actor *) = {step_timeout, step_shield,   step_group,
                                                   step_spawn,   step_wait,     step_set,
                                                   step_socket,  step_generator};
    unsigned kind = pick(a->chaos, 12);
    if (a->chaos->tasks > 300)
        return rota_yield();
    if (kind < 8)
        return steps[kind](a);
    if (kind == 8)
        return rota_yield();
    if (kind == 9)
        return pick(a->chaos, 10) ? 0 : -EIO;
    return rota_sleep(pick(a->chaos, 4) * ROTA_MILLISECOND);
}

static void rest(void *arg)
{
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
}

static int act(void *arg)
{
    struct actor *a = arg;
    if (pick(a->chaos, 4) == 0)
        rota_defer(rest, NULL);
    int err = some_steps(a);
    check_level(err);
    return err;
}

static int chaos_main(void *arg)
{
    struct chaos *c = arg;
    int ends[2];
    for (int i = 0; i < SHARED; i++)
        rota_future_init(&c->futures[i]);
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    for (int i = 0; i < SOCKETS; i++)
        CHECK_OK(rota__fd_open(&c->sockets[i], rota__loop_here, ends[i], true));
    {
        ROTA_GROUP(group, .policy = ROTA_GROUP_COLLECT);
        for (int i = 0; i < 4; i++) {
            struct actor a = {c, 0};
            rota_group_spawn_copy(&group, act, &a, sizeof a);
        }
        ROTA_IGNORE(rota_group_wait(&group));
    }
    /* Those that were detached still use the sockets. */
    ROTA_SHIELD
    {
        while (rota__loop_here->tasks.next != rota__loop_here->tasks.prev)
            CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    }
    for (int i = 0; i < SOCKETS; i++)
        rota__fd_close(&c->sockets[i]);
    return 0;
}

/* Half of them in a shuffled order; a fourth is cancelled somewhere. */
static void run_chaos(uint64_t seed)
{
    struct chaos c = {.state = seed * 0x9e3779b97f4a7c15u};
    rota_loop_options options = rota_test_options(seed % 2 ? seed : 0);
    long live = rota_test_allocations();
    if (seed % 4 == 0)
        rota_test_fail(ROTA_TEST_SUSPENSION, 1 + seed % 97);
    int result = rota_run_with(chaos_main, &c, &options);
    rota_test_fail_none();
    if (result != 0 || rota_test_allocations() != live)
        FAIL("seed %llu: %s, %ld allocations left", (unsigned long long)seed, rota_strerror(result),
             rota_test_allocations() - live);
}

TEST_WITH(random_programs_end_and_leave_nothing, .seconds = 60, .without_faults = true)
{
    int fds = test_open_fds();
    rota_gen *gen;
    CHECK_OK(rota_gen_new(generate, NULL, &gen)); /* the thread keeps the first stack */
    rota_gen_free(gen);
    for (uint64_t seed = 1; seed <= 200; seed++) {
        printf("seed %llu\n", (unsigned long long)seed);
        run_chaos(seed);
    }
    CHECK_INT(test_open_fds(), ==, fds);
}
