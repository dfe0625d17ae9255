/* Scopes: cancellation, deadlines, shields, and how they nest. */

#include "clean_run.h"

#include "loop/loop.h"
#include "loop/timer.h"
#include "task/task.h"

#include <rota.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void let_others_run(void)
{
    for (int i = 0; i < 4; i++)
        CHECK_INT(rota_yield(), ==, 0);
}

static void let_deadline_pass(rota_timeout *timeout)
{
    rota__timer_cancel(&timeout->_scope.fiber->loop->timers, &timeout->_timer);
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
    memset(scope, 0, sizeof *scope);
    switch (n->kinds[i]) {
    case 't':
    case 'E':
        rota_timeout_begin(&scope->timeout, ROTA_MINUTE);
        break;
    case 'g':
    case 'C':
        scope->group.keep = true;
        rota_group_begin(&scope->group);
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
        rota_group_fini(&scope->group);
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

/* Interrupts a task that is parked inside all the scopes, in one turn, from within or from
 * without. */
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
    run_virtual(all_nestings, &depth);
}

TEST(nested_scopes_are_left_cleanly_whatever_fails)
{
    size_t depth = 2;
    run_virtual(all_nestings, &depth);
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
    ROTA_GROUP(group);
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
    rota_group_begin(&f.group);
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
        run_virtual(calls_in_scopes, (void *)(uintptr_t)&suspending[i]);
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
    ROTA_IGNORE(rota_sleep(ROTA_SECOND));
    rota_group_cancel(group);
    static int started_late;
    rota_group_spawn(group, sleep_long, &started_late);
    return 0;
}

VIRTUAL_TASK_TEST(a_group_can_be_cancelled_while_it_is_waited_for)
{
    int result = 0;
    rota_time begin = rota_now();
    ROTA_GROUP(group);
    rota_group_spawn(&group, sleep_long, &result);
    rota_group_spawn(&group, cancel_group_later, &group);
    CHECK_INT(rota_group_wait(&group), ==, 0);
    CHECK_INT(result, ==, -ECANCELED);
    CHECK_INT(rota_now() - begin, ==, ROTA_SECOND);
}

/* ---- Rule 9: deadlines */

VIRTUAL_TASK_TEST(timeout_ends_only_its_own_scope_and_says_so)
{
    rota_timeout outer = ROTA_TIMEOUT_INIT, inner = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&outer, 5 * ROTA_SECOND);
    rota_timeout_begin(&inner, ROTA_SECOND);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
    CHECK_INT(rota_now(), ==, ROTA_SECOND);
    CHECK_INT(rota_timeout_end(&inner), ==, -ETIMEDOUT);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    CHECK_INT(rota_timeout_end(&outer), ==, 0);
    CHECK_INT(rota_timeout_end(&outer), ==, 0);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, 0);
}

VIRTUAL_TASK_TEST(earliest_of_nested_deadlines_counts)
{
    rota_timeout outer = ROTA_TIMEOUT_INIT, inner = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&outer, ROTA_SECOND);
    rota_timeout_begin(&inner, 5 * ROTA_SECOND);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
    CHECK_INT(rota_now(), ==, ROTA_SECOND);
    CHECK_INT(rota_timeout_end(&inner), ==, 0);
    CHECK_INT(rota_yield(), ==, -ETIMEDOUT);
    CHECK_INT(rota_timeout_end(&outer), ==, -ETIMEDOUT);
}

VIRTUAL_TASK_TEST(deadline_comes_before_a_sleep_that_ends_at_the_same_time)
{
    ROTA_TIMEOUT (ROTA_SECOND) {
        CHECK_INT(rota_sleep(ROTA_SECOND), ==, -ETIMEDOUT);
    }
    CHECK_INT(rota_sleep(0), ==, 0);
}

VIRTUAL_TASK_TEST(deadline_can_be_a_point_in_time)
{
    rota_timeout t = ROTA_TIMEOUT_INIT;
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    rota_timeout_begin_at(&t, 3 * ROTA_SECOND);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
    CHECK_INT(rota_now(), ==, 3 * ROTA_SECOND);
    CHECK_INT(rota_timeout_end(&t), ==, -ETIMEDOUT);
}

VIRTUAL_TASK_TEST(deadline_in_the_past_has_passed_at_the_first_wait)
{
    static const rota_time durations[] = {0, -1, -ROTA_MINUTE, INT64_MIN};
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    for (size_t i = 0; i < COUNT(durations); i++) {
        int err = 0;
        ROTA_TIMEOUT (durations[i]) {
            err = rota_sleep(ROTA_MINUTE);
        }
        CHECK_INT(err, ==, -ETIMEDOUT);
    }
    CHECK_INT(rota_now(), ==, ROTA_SECOND);
}

VIRTUAL_TASK_TEST(never_is_no_deadline)
{
    rota_timeout t = ROTA_TIMEOUT_INIT;
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    rota_timeout_begin(&t, ROTA_NEVER);
    CHECK_INT(rota_sleep(1000000 * ROTA_MINUTE), ==, 0);
    CHECK_INT(rota_timeout_end(&t), ==, 0);
    ROTA_TIMEOUT (ROTA_NEVER - 1) {
        CHECK_INT(rota_sleep(ROTA_MINUTE), ==, 0);
    }
}

VIRTUAL_TASK_TEST(deadline_can_be_moved_until_it_has_passed)
{
    rota_timeout t = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&t, 10 * ROTA_SECOND);
    CHECK_INT(rota_sleep(9 * ROTA_SECOND), ==, 0);
    rota_timeout_reset(&t, 10 * ROTA_SECOND); /* later */
    CHECK_INT(rota_sleep(9 * ROTA_SECOND), ==, 0);
    rota_timeout_reset(&t, ROTA_NEVER);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, 0);
    rota_timeout_reset(&t, 5 * ROTA_SECOND); /* from never */
    rota_timeout_reset(&t, ROTA_SECOND);     /* earlier */
    rota_time start = rota_now();
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
    CHECK_INT(rota_now() - start, ==, ROTA_SECOND);
    rota_timeout_reset(&t, ROTA_MINUTE); /* too late */
    CHECK_INT(rota_yield(), ==, -ETIMEDOUT);
    CHECK_INT(rota_timeout_end(&t), ==, -ETIMEDOUT);
    rota_timeout_reset(&t, ROTA_SECOND); /* closed */
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, 0);
}

struct watched {
    rota_timeout timeout;
    int slept;
};

static int sleep_under_deadline(void *arg)
{
    struct watched *w = arg;
    rota_timeout_begin(&w->timeout, ROTA_SECOND);
    w->slept = rota_sleep(ROTA_MINUTE);
    return rota_timeout_end(&w->timeout);
}

VIRTUAL_TASK_TEST(another_task_may_move_the_deadline)
{
    struct watched w = {.timeout = ROTA_TIMEOUT_INIT};
    rota_task *task;
    CHECK_OK(rota_spawn(sleep_under_deadline, &w, &task));
    CHECK_INT(rota_sleep(ROTA_SECOND / 2), ==, 0);
    rota_timeout_reset(&w.timeout, 7 * ROTA_SECOND);
    CHECK_INT(rota_join(task), ==, -ETIMEDOUT);
    CHECK_INT(w.slept, ==, -ETIMEDOUT);
    CHECK_INT(rota_now(), ==, 7 * ROTA_SECOND + ROTA_SECOND / 2);
}

static int leave_by_return(void)
{
    ROTA_TIMEOUT (ROTA_SECOND) {
        ROTA_SHIELD
        {
            ROTA_TIMEOUT (ROTA_SECOND) {
                return 5;
            }
        }
    }
    return 0;
}

VIRTUAL_TASK_TEST(scopes_are_left_by_return_break_continue_and_goto)
{
    rota_task *here = rota_task_current();
    CHECK_INT(leave_by_return(), ==, 5);
    for (int i = 0; i < 3; i++) {
        ROTA_TIMEOUT (ROTA_SECOND) {
            break;
        }
        ROTA_SHIELD
        {
            continue;
        }
        CHECK_PTR(here->fiber->scopes.next, ==, &here->fiber->own.node);
    }
    ROTA_TIMEOUT (ROTA_SECOND) {
        ROTA_SHIELD
        {
            goto out;
        }
    }
out:
    CHECK_PTR(here->fiber->scopes.next, ==, &here->fiber->own.node);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, 0);
}

/* ---- Rule 8: cancelling a task in each of its states */

struct nap {
    rota_time length;
    int first, second;
    bool begun;
};

static int nap(void *arg)
{
    struct nap *n = arg;
    n->begun = true;
    n->first = rota_sleep(n->length);
    n->second = rota_yield();
    return n->second;
}

VIRTUAL_TASK_TEST(rule_8_task_that_has_not_begun_runs_and_sees_its_cancellation)
{
    struct nap n = {ROTA_SECOND};
    rota_task *task;
    CHECK_OK(rota_spawn(nap, &n, &task));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK(n.begun);
    CHECK_INT(n.first, ==, -ECANCELED);
    CHECK_INT(n.second, ==, -ECANCELED);
}

VIRTUAL_TASK_TEST(rule_8_cancellation_of_a_parked_task_comes_back)
{
    struct nap n = {ROTA_SECOND};
    rota_task *task;
    CHECK_OK(rota_spawn(nap, &n, &task));
    let_others_run();
    rota_task_cancel(task);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_INT(n.first, ==, -ECANCELED);
    CHECK_INT(n.second, ==, -ECANCELED);
    CHECK_INT(rota_now(), ==, 0);
}

VIRTUAL_TASK_TEST(rule_8_ready_task_returns_what_it_was_woken_with_and_then_the_cancellation)
{
    struct nap n = {0};
    rota_task *task;
    CHECK_OK(rota_spawn(nap, &n, &task));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK(n.begun && !rota_task_waits_for(task));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_INT(n.first, ==, 0);
    CHECK_INT(n.second, ==, -ECANCELED);
}

static int cancel_oneself(void *arg)
{
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_check(), ==, -ECANCELED);
    return rota_sleep(ROTA_SECOND);
}

VIRTUAL_TASK_TEST(rule_8_running_task_may_cancel_itself)
{
    rota_task *task;
    CHECK_OK(rota_spawn(cancel_oneself, NULL, &task));
    CHECK_INT(rota_join(task), ==, -ECANCELED);
}

static int five(void *arg)
{
    return 5;
}

VIRTUAL_TASK_TEST(rule_8_task_that_has_ended_is_left_alone)
{
    rota_task *task;
    CHECK_OK(rota_spawn(five, NULL, &task));
    let_others_run();
    CHECK(rota_task_done(task));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 5);
}

/* ---- Rule 13: shields */

VIRTUAL_TASK_TEST(rule_13_shield_may_have_a_deadline_of_its_own)
{
    rota_task_cancel(rota_task_current());
    rota_timeout t = ROTA_TIMEOUT_INIT;
    ROTA_SHIELD
    {
        CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
        rota_timeout_begin(&t, ROTA_SECOND);
        CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
        CHECK_INT(rota_timeout_end(&t), ==, -ETIMEDOUT);
        CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    }
    CHECK_INT(rota_yield(), ==, -ECANCELED);
    CHECK_INT(rota_now(), ==, 3 * ROTA_SECOND);
}

static int shielded_nap(void *arg)
{
    struct nap *n = arg;
    ROTA_TIMEOUT (ROTA_SECOND) {
        ROTA_SHIELD
        {
            n->first = rota_sleep(n->length);
        }
        n->second = rota_yield();
    }
    return rota_yield();
}

VIRTUAL_TASK_TEST(rule_13_what_arrives_during_a_shield_is_seen_after_it)
{
    struct nap n = {5 * ROTA_SECOND};
    rota_task *task;
    CHECK_OK(rota_spawn(shielded_nap, &n, &task));
    CHECK_INT(rota_sleep(3 * ROTA_SECOND), ==, 0);
    CHECK_STR(rota_task_waits_for(task), "sleep");
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_INT(n.first, ==, 0);
    CHECK_INT(n.second, ==, -ECANCELED);
    CHECK_INT(rota_now(), ==, 5 * ROTA_SECOND);
    n = (struct nap){5 * ROTA_SECOND};
    CHECK_OK(rota_spawn(shielded_nap, &n, &task));
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(n.first, ==, 0);
    CHECK_INT(n.second, ==, -ETIMEDOUT);
}

/* ---- Rule 10: a result, a deadline and a cancellation in one turn, in each order */

struct party {
    rota_future future;
    int sockets[2];
    rota_stream *near, *far;
    rota_task *subject;
    int (*wait)(struct party *p);
    rota_timeout timeout;
    int first, second;
};

static int wait_for_future(struct party *p)
{
    return rota_future_wait(&p->future);
}

static int wait_for_subject(struct party *p)
{
    rota_future *one = rota_task_future(p->subject);
    int done = rota_wait(&one, 1, ROTA_ALL_COMPLETED);
    return done == 1 ? rota_future_result(one) : done;
}

static int wait_for_bytes(struct party *p)
{
    char c[8];
    return (int)rota_stream_read(p->near, c, sizeof c);
}

static int one_party(void *arg)
{
    struct party *p = arg;
    rota_timeout_begin(&p->timeout, ROTA_MINUTE);
    p->first = p->wait(p);
    p->second = rota_yield();
    rota_timeout_end(&p->timeout);
    return 0;
}

static int wait_then_seven(void *arg)
{
    struct party *p = arg;
    return rota_future_wait(&p->future);
}

/* Bytes in memory and futures are there the moment they are given. */
static void check_order(const char *order, int (*wait)(struct party *p))
{
    struct party p = {.wait = wait};
    rota_task *task;
    rota_future_init(&p.future);
    CHECK_OK(rota_stream_pair(64, &p.near, &p.far));
    CHECK_OK(rota_spawn(wait_then_seven, &p, &p.subject));
    CHECK_OK(rota_spawn(one_party, &p, &task));
    let_others_run();
    CHECK(rota_task_waits_for(task));
    for (const char *c = order; *c; c++) {
        if (*c == 'C')
            rota_task_cancel(task);
        else if (*c == 'T')
            let_deadline_pass(&p.timeout);
        else if (wait == wait_for_bytes)
            CHECK_INT(rota_stream_write(p.far, "1234567", 7), ==, 0);
        else
            rota_future_set(&p.future, 7);
    }
    CHECK_INT(rota_join(task), ==, 0);
    bool cancelled = strchr(order, 'C'), late = strchr(order, 'T');
    /* A task's result is there a turn after what it waits for. */
    bool won = order[0] == 'R' && (wait != wait_for_subject || !order[1]);
    if (wait == wait_for_subject && !won)
        won = p.first == 7;
    CHECK_INT(p.first, ==, won ? 7 : order[order[0] == 'R'] == 'C' ? -ECANCELED : -ETIMEDOUT);
    CHECK_INT(p.second, ==, cancelled ? -ECANCELED : late ? -ETIMEDOUT : 0);
    if (wait == wait_for_bytes && !won && strchr(order, 'R'))
        CHECK_INT(wait_for_bytes(&p), ==, 7); /* nothing read is lost */
    rota_future_set(&p.future, 7);
    rota_task_free(p.subject);
    rota_stream_free(p.near);
    rota_stream_free(p.far);
}

VIRTUAL_TASK_TEST(rule_10_what_arrives_first_in_a_turn_decides_and_nothing_is_lost)
{
    static const char *const orders[] = {"R",  "C",   "T",   "RC",  "CR",  "RT",  "TR", "CT",
                                         "TC", "RCT", "RTC", "CRT", "CTR", "TRC", "TCR"};
    static int (*const waits[])(struct party * p) = {wait_for_future, wait_for_subject,
                                                     wait_for_bytes};
    for (size_t w = 0; w < COUNT(waits); w++)
        for (size_t i = 0; i < COUNT(orders); i++) {
            printf("wait %zu, order %s\n", w, orders[i]);
            check_order(orders[i], waits[w]);
        }
}

static int read_socket(void *arg)
{
    struct party *p = arg;
    char buf[8];
    p->first = (int)rota_stream_read(p->near, buf, sizeof buf);
    ROTA_SHIELD
    {
        p->second = p->first < 0 ? (int)rota_stream_read(p->near, buf, sizeof buf) : 0;
    }
    return rota_yield();
}

static int cancel_with_data(void *arg)
{
    bool data_first = *(bool *)arg;
    struct party p = {.sockets = {-1, -1}};
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p.sockets));
    CHECK_OK(rota_stream_from_fd(p.sockets[0], &p.near));
    rota_task *task;
    CHECK_OK(rota_spawn(read_socket, &p, &task));
    let_others_run();
    if (data_first)
        CHECK_INT(write(p.sockets[1], "1234567", 7), ==, 7);
    rota_task_cancel(task);
    if (!data_first)
        CHECK_INT(write(p.sockets[1], "1234567", 7), ==, 7);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    /* Either the read won and has the bytes, or they are there for the next one. */
    CHECK(p.first == 7 || (p.first == -ECANCELED && p.second == 7));
    rota_stream_free(p.near);
    close(p.sockets[1]);
    return 0;
}

TEST_BOTH(rule_10_bytes_that_meet_a_cancellation_in_the_kernel_are_not_lost)
{
    CHECK_INT(rota_run(cancel_with_data, &(bool){true}), ==, 0);
    CHECK_INT(rota_run(cancel_with_data, &(bool){false}), ==, 0);
}

/* A kernel that leaves it to the test when an operation is complete. */

static bool start_by_hand(struct rota__op *op)
{
    return false;
}

static void withdraw_by_hand(struct rota__op *op)
{
    rota__op_complete(op, -ECANCELED);
}

static const struct rota__wait_kind by_hand = {"hand", rota__op_abort};

static int await_by_hand(void *arg)
{
    return (int)rota__op_await(arg, &by_hand);
}

VIRTUAL_TASK_TEST(cancellation_that_meets_an_operation_to_be_tried_again_is_not_lost)
{
    const struct rota__backend *real = rota__loop_here->backend;
    struct rota__backend fake = *real;
    fake.start = start_by_hand;
    fake.withdraw = withdraw_by_hand;
    rota__loop_here->backend = &fake;
    struct rota__op op = {.kind = ROTA__OP_POLL, .loop = rota__loop_here};
    rota_task *task;
    CHECK_OK(rota_spawn(await_by_hand, &op, &task));
    let_others_run();
    rota__op_complete(&op, -EAGAIN);
    let_others_run();
    CHECK_STR(rota_task_waits_for(task), "hand");
    rota__op_complete(&op, -EAGAIN);
    rota_task_cancel(task);
    int result = rota_join(task);
    rota__loop_here->backend = real;
    CHECK_INT(result, ==, -ECANCELED);
}

/* ---- Where scopes are not used as they should */

TEST(scopes_outside_a_task_do_nothing)
{
    rota_timeout t = ROTA_TIMEOUT_INIT;
    rota_shield s;
    CHECK_INT(rota_check(), ==, 0);
    rota_timeout_begin(&t, 0);
    rota_timeout_reset(&t, 0);
    CHECK_INT(rota_timeout_end(&t), ==, 0);
    rota_shield_begin(&s);
    rota_shield_end(&s);
    ROTA_TIMEOUT (0) {
        CHECK_INT(rota_sleep(0), ==, ROTA_ENOTASK);
        CHECK_INT(rota_yield(), ==, ROTA_ENOTASK);
    }
}

static int forget_scopes(void *arg)
{
    union scope *scopes = arg;
    rota_timeout_begin(&scopes[0].timeout, ROTA_SECOND);
    rota_shield_begin(&scopes[1].shield);
    rota_timeout_begin(&scopes[2].timeout, 2 * ROTA_SECOND);
    return 0;
}

VIRTUAL_TASK_TEST(scopes_that_a_task_leaves_open_are_closed_at_its_end)
{
    union scope scopes[3] = {{ROTA_TIMEOUT_INIT}, {ROTA_TIMEOUT_INIT}, {ROTA_TIMEOUT_INIT}};
    rota_task *task;
    CHECK_OK(rota_spawn(forget_scopes, scopes, &task));
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, 0);
    CHECK_INT(rota_timeout_end(&scopes[0].timeout), ==, 0);
    rota_shield_end(&scopes[1].shield);
    CHECK_INT(rota_timeout_end(&scopes[2].timeout), ==, 0);
}

VIRTUAL_TASK_TEST(timeouts_may_be_closed_in_any_order)
{
    rota_timeout outer = ROTA_TIMEOUT_INIT, inner = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&outer, ROTA_SECOND);
    rota_timeout_begin(&inner, 3 * ROTA_SECOND);
    CHECK_INT(rota_sleep(2 * ROTA_SECOND), ==, -ETIMEDOUT);
    CHECK_INT(rota_timeout_end(&outer), ==, -ETIMEDOUT);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
    CHECK_INT(rota_now(), ==, 3 * ROTA_SECOND);
    CHECK_INT(rota_timeout_end(&inner), ==, -ETIMEDOUT);
}

VIRTUAL_TASK_TEST(rule_9_a_deadline_that_has_passed_is_seen_by_the_first_call)
{
    rota_queue *queue;
    int item = 1;
    rota_mutex mutex = ROTA_MUTEX_INIT;
    CHECK_OK(rota_queue_new(4, sizeof item, &queue));
    CHECK_INT(rota_queue_put(queue, &item), ==, 0);
    for (rota_time after = -ROTA_SECOND; after <= 0; after += ROTA_SECOND) {
        ROTA_TIMEOUT (after)
            CHECK_INT(rota_sleep(0), ==, -ETIMEDOUT);
        ROTA_TIMEOUT (after)
            CHECK_INT(rota_yield(), ==, -ETIMEDOUT);
        ROTA_TIMEOUT (after)
            CHECK_INT(rota_queue_get(queue, &item), ==, -ETIMEDOUT);
        ROTA_TIMEOUT (after)
            CHECK_INT(rota_mutex_lock(&mutex), ==, -ETIMEDOUT);
        rota_timeout timeout;
        rota_timeout_begin_at(&timeout, rota_now() + after);
        CHECK_INT(rota_check(), ==, -ETIMEDOUT);
        CHECK_INT(rota_timeout_end(&timeout), ==, -ETIMEDOUT);
    }
    CHECK_INT(rota_queue_len(queue), ==, 1);
    CHECK_INT(rota_yield(), ==, 0);
    rota_queue_free(queue);
}

static int compute_past_a_deadline(void *arg)
{
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        rota_time end = rota_now() + 2 * ROTA_MILLISECOND;
        while (rota_now() < end)
            continue;
        CHECK_INT(rota_sleep(0), ==, -ETIMEDOUT);
    }
    return rota_sleep(0);
}

TEST(rule_9_a_sleep_of_no_time_sees_that_the_deadline_has_passed_meanwhile)
{
    CHECK_INT(rota_run(compute_past_a_deadline, NULL), ==, 0);
}

VIRTUAL_TASK_TEST(a_scope_that_is_begun_twice_begins_anew)
{
    rota_timeout timeout;
    rota_timeout_begin(&timeout, ROTA_SECOND);
    rota_timeout_begin(&timeout, 5 * ROTA_SECOND);
    CHECK_INT(rota_sleep(2 * ROTA_SECOND), ==, 0);
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
    CHECK_INT(rota_now(), ==, 5 * ROTA_SECOND);
    CHECK_INT(rota_timeout_end(&timeout), ==, -ETIMEDOUT);
    CHECK_INT(rota_sleep(2 * ROTA_SECOND), ==, 0);
    rota_task_cancel(rota_task_current());
    rota_shield shield;
    rota_shield_begin(&shield);
    rota_shield_begin(&shield);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    rota_shield_end(&shield);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, -ECANCELED);
}

VIRTUAL_TASK_TEST(break_and_continue_leave_a_block_and_not_the_loop_around_it)
{
    int rounds = 0, err = 0;
    rota_mutex mutex = ROTA_MUTEX_INIT;
    rota_semaphore semaphore = ROTA_SEMAPHORE_INIT(1);
    for (int i = 0; i < 3; i++) {
        ROTA_TIMEOUT (ROTA_SECOND)
            break;
        ROTA_SHIELD
        break;
        ROTA_LOCK (&mutex, &err)
            continue;
        ROTA_PERMIT (&semaphore, &err)
            break;
        rounds++;
    }
    CHECK_INT(rounds, ==, 3);
    CHECK_PTR(rota_mutex_owner(&mutex), ==, NULL);
    CHECK_INT(rota_semaphore_value(&semaphore), ==, 1);
    CHECK_INT(rota_timeout_end(&(rota_timeout)ROTA_TIMEOUT_INIT), ==, 0);
}
