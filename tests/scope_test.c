/* Scopes: cancellation, deadlines, shields, and how they nest. */

#include "harness.h"

#include "loop/loop.h"
#include "loop/timer.h"
#include "task/task.h"

#include <rota.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const rota_loop_options virtual_time = {.virtual_clock = true};

#define RUN(fn, arg) rota_run_with(fn, arg, &virtual_time)
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A case that is the main task of a loop on the virtual clock. */
#define TASK_TEST(name)                    \
    static int name(void *arg);            \
    TEST(name)                             \
    {                                      \
        CHECK_INT(RUN(name, NULL), ==, 0); \
    }                                      \
    static int name(__attribute__((unused)) void *arg)

static void let_others_run(void)
{
    for (int i = 0; i < 4; i++)
        CHECK_INT(rota_yield(), ==, 0);
}

static void let_deadline_pass(rota_timeout *timeout)
{
    rota__timer_cancel(&timeout->_scope.task->loop->timers, &timeout->_timer);
    timeout->_timer.fire(&timeout->_timer);
}

/* ---- Every nesting, against a model.
 *
 * A nesting is a string of scopes, outermost first; the task's own scope is around them:
 *
 *     t  a timeout           E  a timeout whose deadline passes
 *     g  a group             C  a group that is cancelled
 *     s  a shield            X  (first only) the task itself is cancelled */

#define DEEPEST 5

union scope {
    rota_timeout timeout;
    rota_group group;
    rota_shield shield;
};

struct nesting {
    const char *kinds;
    size_t depth;
    union scope scopes[DEEPEST];
    bool struck[DEEPEST]; /* was interrupted already */
    rota_task *task;
    int first, second; /* results of the calls at the bottom */
    bool ended;
};

static bool strikes(char kind)
{
    return kind == 'E' || kind == 'C' || kind == 'X';
}

/* What calls return inside the outer `depth` scopes. */
static int expected(const struct nesting *n, size_t depth)
{
    int result = 0;
    for (size_t i = depth; i-- > 0;) {
        if (n->struck[i] && n->kinds[i] != 'E')
            return -ECANCELED;
        if (n->struck[i])
            result = -ETIMEDOUT;
        if (n->kinds[i] == 's')
            break;
    }
    return result;
}

static void open_scope(struct nesting *n, size_t i)
{
    union scope *scope = &n->scopes[i];
    rota_task *ended;
    memset(scope, 0, sizeof *scope);
    switch (n->kinds[i]) {
    case 't':
    case 'E':
        rota_timeout_begin(&scope->timeout, ROTA_MINUTE);
        break;
    case 'g':
    case 'C':
        scope->group.keep = true;
        rota_group_next(&scope->group, &ended); /* the first use opens it */
        break;
    case 's':
        rota_shield_begin(&scope->shield);
        break;
    default:
        break;
    }
}

static void strike(struct nesting *n, size_t i)
{
    n->struck[i] = true;
    if (n->kinds[i] == 'E')
        let_deadline_pass(&n->scopes[i].timeout);
    else if (n->kinds[i] == 'C')
        rota_group_cancel(&n->scopes[i].group);
    else
        rota_task_cancel(n->task);
}

static void close_scope(struct nesting *n, size_t i)
{
    union scope *scope = &n->scopes[i];
    switch (n->kinds[i]) {
    case 't':
    case 'E':
        CHECK_INT(rota_timeout_end(&scope->timeout), ==, n->struck[i] ? -ETIMEDOUT : 0);
        break;
    case 'g':
    case 'C':
        CHECK_INT(rota_group_wait(&scope->group), ==, expected(n, i));
        break;
    case 's':
        rota_shield_end(&scope->shield);
        break;
    default:
        break;
    }
}

static void check_calls(const struct nesting *n, size_t depth)
{
    int result = expected(n, depth);
    CHECK_INT(rota_check(), ==, result);
    CHECK_INT(rota_yield(), ==, result);
    CHECK_INT(rota_sleep(ROTA_NANOSECOND), ==, result);
}

/* The task's own scope cannot be closed. */
static size_t outermost(const struct nesting *n)
{
    return n->kinds[0] == 'X';
}

/* Interrupts each scope as soon as it is open: what is inside is opened under an interrupt. */
static int struck_when_opened(void *arg)
{
    struct nesting *n = arg;
    n->task = rota_task_current();
    for (size_t i = 0; i < n->depth; i++) {
        open_scope(n, i);
        check_calls(n, i + 1);
        if (strikes(n->kinds[i]))
            strike(n, i);
        check_calls(n, i + 1);
    }
    for (size_t i = n->depth; i-- > outermost(n);) {
        close_scope(n, i);
        check_calls(n, i);
    }
    n->ended = true;
    return 0;
}

static int waits_at_the_bottom(void *arg)
{
    struct nesting *n = arg;
    for (size_t i = 0; i < n->depth; i++)
        open_scope(n, i);
    n->first = rota_sleep(ROTA_SECOND);
    n->second = rota_yield();
    for (size_t i = n->depth; i-- > outermost(n);) {
        check_calls(n, i + 1);
        close_scope(n, i);
    }
    n->ended = true;
    return 0;
}

/* Interrupts a task that is parked inside all the scopes, in one turn, from within or from without. */
static void strike_while_parked(struct nesting *n, bool inwards)
{
    CHECK_OK(rota_spawn(waits_at_the_bottom, n, &n->task));
    let_others_run();
    CHECK_STR(rota_task_waits_for(n->task), "sleep");
    int first = 0;
    for (size_t k = 0; k < n->depth; k++) {
        size_t i = inwards ? k : n->depth - 1 - k;
        if (strikes(n->kinds[i]))
            strike(n, i);
        first = first ? first : expected(n, n->depth);
    }
    CHECK_INT(rota_join(n->task), ==, 0);
    CHECK_INT(n->first, ==, first);
    CHECK_INT(n->second, ==, expected(n, n->depth));
    CHECK(n->ended);
}

static void check_nesting(const char *kinds)
{
    printf("nesting %s\n", kinds);
    struct nesting n = {.kinds = kinds, .depth = strlen(kinds)};
    rota_task *task;
    CHECK_OK(rota_spawn(struck_when_opened, &n, &task));
    CHECK_INT(rota_join(task), ==, 0);
    CHECK(n.ended);
    for (int inwards = 0; inwards < 2; inwards++) {
        n = (struct nesting){.kinds = kinds, .depth = strlen(kinds)};
        strike_while_parked(&n, inwards);
    }
}

/* Spells out all nestings of up to `depth` further scopes. */
static void each_nesting(char *kinds, size_t depth)
{
    size_t len = strlen(kinds);
    check_nesting(kinds);
    for (const char *kind = len ? "tEgCs" : "tEgCsX"; *kind && depth; kind++) {
        kinds[len] = *kind;
        each_nesting(kinds, depth - 1);
        kinds[len] = '\0';
    }
}

static int all_nestings(void *arg)
{
    char kinds[DEEPEST + 1] = "";
    each_nesting(kinds, *(size_t *)arg);
    return 0;
}

/* Rules 8, 9, 10 and 13. */
TEST_WITH(every_nesting_of_scopes_interrupts_as_the_innermost_shield_lets_it, .seconds = 60,
          .without_faults = true)
{
    size_t depth = 4;
    CHECK_INT(RUN(all_nestings, &depth), ==, 0);
}

TEST(nested_scopes_are_left_cleanly_whatever_fails)
{
    size_t depth = 2;
    CHECK_INT(RUN(all_nestings, &depth), ==, 0);
}

/* ---- Rule 7: each suspending call is a cancellation point, also when it need not wait. */

static int no_items(void *self, void **ret_item)
{
    return rota_yield();
}

struct fixture {
    rota_future done;
    rota_group group;
    rota_mutex mutex;
    rota_event event;
    rota_semaphore semaphore;
    rota_stream *near, *far;
};

static int call_group_wait(struct fixture *f)
{
    rota_group group = ROTA_GROUP_INIT;
    return rota_group_wait(&group);
}

static int call_group_next(struct fixture *f)
{
    rota_task *task;
    return rota_group_next(&f->group, &task);
}

static int call_gather(struct fixture *f)
{
    return rota_gather(NULL, 0);
}

static int call_wait(struct fixture *f)
{
    return rota_wait((rota_future *[]){&f->done}, 1, ROTA_ALL_COMPLETED);
}

static int call_future(struct fixture *f)
{
    return rota_future_wait(&f->done);
}

static int call_yield(struct fixture *f)
{
    return rota_yield();
}

static int call_sleep(struct fixture *f)
{
    return rota_sleep(0);
}

static int call_sleep_until(struct fixture *f)
{
    return rota_sleep_until(0);
}

static int call_mutex(struct fixture *f)
{
    int err = rota_mutex_lock(&f->mutex);
    if (err == 0)
        rota_mutex_unlock(&f->mutex);
    return err;
}

static int call_event(struct fixture *f)
{
    return rota_event_wait(&f->event);
}

static int call_semaphore(struct fixture *f)
{
    int err = rota_semaphore_acquire(&f->semaphore);
    if (err == 0)
        rota_semaphore_release(&f->semaphore);
    return err;
}

static int call_read(struct fixture *f)
{
    char c;
    ssize_t n = rota_stream_read(f->near, &c, 1);
    return n > 0 ? 0 : (int)n;
}

static int call_write(struct fixture *f)
{
    return rota_stream_write(f->near, "x", 1);
}

static int call_iteration(struct fixture *f)
{
    int err;
    ROTA_FOREACH (void *, item, ((rota_iter){no_items, NULL}), &err)
        CHECK_PTR(item, ==, NULL);
    return err;
}

static int (*const suspending[])(struct fixture *f) = {
    call_group_wait, call_group_next, call_gather,      call_wait,      call_future,
    call_yield,      call_sleep,      call_sleep_until, call_mutex,     call_event,
    call_semaphore,  call_read,       call_write,       call_iteration,
};

static int calls_in_scopes(void *arg)
{
    int (*call)(struct fixture * f) = *(int (*const *)(struct fixture * f)) arg;
    struct fixture f = {.group = {.keep = true}};
    rota_future_init(&f.done);
    rota_future_set(&f.done, 0);
    rota_event_set(&f.event);
    CHECK_INT(rota_semaphore_release(&f.semaphore), ==, 0);
    CHECK_OK(rota_stream_pair(64, &f.near, &f.far));
    CHECK_INT(rota_stream_write(f.far, "12345678", 8), ==, 0);
    CHECK_INT(call(&f), >=, 0);

    rota_timeout timeout = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&timeout, ROTA_SECOND);
    let_deadline_pass(&timeout);
    CHECK_INT(call(&f), ==, -ETIMEDOUT);
    CHECK_INT(call(&f), ==, -ETIMEDOUT);
    rota_task_cancel(rota_task_current());
    CHECK_INT(call(&f), ==, -ECANCELED);
    CHECK_INT(call(&f), ==, -ECANCELED);
    rota_timeout_end(&timeout);
    CHECK_INT(call(&f), ==, -ECANCELED);

    ROTA_SHIELD
    {
        CHECK_INT(call(&f), >=, 0);
    }
    CHECK_INT(call(&f), ==, -ECANCELED);
    rota_stream_free(f.near);
    rota_stream_free(f.far);
    rota_group_fini(&f.group);
    return 0;
}

TEST(rule_7_each_suspending_call_sees_interrupts_though_it_need_not_wait)
{
    for (size_t i = 0; i < COUNT(suspending); i++) {
        printf("call %zu\n", i);
        CHECK_INT(RUN(calls_in_scopes, (void *)(uintptr_t)&suspending[i]), ==, 0);
    }
}

static int compute(void *arg)
{
    (void)arg;
    int err = 0;
    rota_time begin = rota_now();
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        while (err == 0 && rota_now() - begin < 10 * ROTA_SECOND)
            err = rota_check();
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_check(), ==, 0);
    return 0;
}

TEST(a_long_computation_sees_its_deadline_pass)
{
    CHECK_INT(rota_run(compute, NULL), ==, 0);
}

static int sleep_long(void *arg)
{
    int *result = arg;
    return *result = rota_sleep(ROTA_MINUTE);
}

static int cancel_group_later(void *arg)
{
    rota_group *group = arg;
    rota_sleep(ROTA_SECOND);
    rota_group_cancel(group);
    static int started_late;
    rota_group_spawn(group, sleep_long, &started_late);
    return 0;
}

TASK_TEST(a_group_can_be_cancelled_while_it_is_waited_for)
{
    int result = 0;
    rota_time begin = rota_now();
    rota_group group = ROTA_GROUP_INIT;
    rota_group_spawn(&group, sleep_long, &result);
    rota_group_spawn(&group, cancel_group_later, &group);
    CHECK_INT(rota_group_wait(&group), ==, 0);
    CHECK_INT(result, ==, -ECANCELED);
    CHECK_INT(rota_now() - begin, ==, ROTA_SECOND);
    return 0;
}
