/* Scopes: what suspending calls return before they do anything.
 *
 * A task's scopes form a list, innermost first, that ends with the task's own. fiber->interrupt is
 * what follows from them, and is recomputed whenever a scope is opened, closed, cancelled or
 * expires:
 *
 *     walking outwards up to the first shield: -ECANCELED if a scope is cancelled,
 *     else -ETIMEDOUT if one has expired, else 0
 *
 * 1. Nothing but recompute sets fiber->interrupt; a change from 0 aborts the wait of a parked task.
 * 2. Scopes may be closed in any order, because C does not nest what it does not have to. */
#include "base/alloc.h"
#include "base/log.h"
#include "task/task.h"

/* After so many calls in a row, a task that goes on although it is interrupted is reported. */
#define IGNORED_REPORTED 1000

static int effective(const struct rota__fiber *fiber)
{
    int result = 0;
    rota__list_each (node, &fiber->scopes) {
        const struct rota__scope *scope = rota__container_of(node, struct rota__scope, node);
        if (scope->cancelled)
            return -ECANCELED;
        if (scope->expired)
            result = -ETIMEDOUT;
        if (scope->kind == ROTA__SCOPE_SHIELD)
            break;
    }
    return result;
}

/* Whether the task was cancelled or is late behind its shields, too. */
static bool any_interrupted(const struct rota__fiber *fiber)
{
    rota__list_each (node, &fiber->scopes) {
        const struct rota__scope *scope = rota__container_of(node, struct rota__scope, node);
        if (scope->cancelled || scope->expired)
            return true;
    }
    return false;
}

static void recompute(struct rota__fiber *fiber)
{
    fiber->interrupt = effective(fiber);
    if (!fiber->interrupt && (fiber->ignored < IGNORED_REPORTED || !any_interrupted(fiber)))
        fiber->ignored = 0;
    if (fiber->interrupt && fiber->wait)
        fiber->wait->kind->abort(fiber->wait, fiber->interrupt);
}

/* A scope has been cancelled or has expired. The text of an earlier failure of that kind must not
 * be taken for that of the calls that return `err` from now on. */
static void interrupt(struct rota__fiber *fiber, int err)
{
    if (fiber->error)
        rota__error_forget(&fiber->error, err);
    recompute(fiber);
}

void rota__scope_open(struct rota__scope *scope, enum rota__scope_kind kind,
                      struct rota__fiber *fiber)
{
    scope->fiber = fiber;
    scope->kind = (unsigned char)kind;
    scope->cancelled = scope->expired = false;
    rota__list_prepend(&fiber->scopes, &scope->node);
    if (kind != ROTA__SCOPE_SHIELD)
        return;
    fiber->interrupt = 0;
    if (fiber->ignored < IGNORED_REPORTED)
        fiber->ignored = 0; /* cleaning up, not ignoring */
}

bool rota__scope_is_open(const struct rota__scope *scope, const struct rota__fiber *fiber)
{
    rota__list_each (node, &fiber->scopes)
        if (node == &scope->node)
            return true;
    return false;
}

void rota__scope_close(struct rota__scope *scope)
{
    struct rota__fiber *fiber = scope->fiber;
    if (!fiber)
        return;
    scope->fiber = NULL;
    rota__list_remove(&scope->node);
    if (scope->cancelled || scope->expired || scope->kind == ROTA__SCOPE_SHIELD)
        recompute(fiber);
}

void rota__scope_cancel(struct rota__scope *scope)
{
    if (!scope->fiber || scope->cancelled)
        return;
    scope->cancelled = true;
    interrupt(scope->fiber, -ECANCELED);
}

void rota__scopes_abandon(struct rota__fiber *fiber)
{
    struct rota__list *node;
    while ((node = rota__list_take_first(&fiber->scopes))) {
        struct rota__scope *scope = rota__container_of(node, struct rota__scope, node);
        scope->fiber = NULL;
        if (scope->kind == ROTA__SCOPE_TIMEOUT)
            rota__timer_cancel(&fiber->loop->timers,
                               &rota__container_of(scope, rota_timeout, _scope)->_timer);
        if (scope->kind == ROTA__SCOPE_GROUP)
            rota__group_abandon(rota__container_of(scope, rota_group, _scope));
    }
}

void rota__cancel_by_fault(struct rota__fiber *fiber)
{
    rota_task_cancel(fiber->loop->main ? fiber->loop->main : fiber->task);
}

static void report_ignoring(const struct rota__fiber *fiber)
{
    bool cancelled = fiber->interrupt == -ECANCELED;
    rota__log_about(
        ROTA_LOG_WARNING, fiber->task->site,
        "task '%s' (spawned at %s:%d) goes on although %s: %d calls in a row have returned %s; a "
        "loop has to end when a call fails",
        rota_task_name(fiber->task), fiber->task->site->file, fiber->task->site->line,
        cancelled ? "it was cancelled" : "its deadline has passed", IGNORED_REPORTED,
        cancelled ? "-ECANCELED" : "-ETIMEDOUT");
}

void rota__explain_failure(struct rota__fiber *fiber, int err, const char *waited_for)
{
    if (!fiber)
        rota__error_plain(err);
    else if (err == -ETIMEDOUT && fiber->interrupt == err)
        rota__error_late(&fiber->error, waited_for);
    else if (fiber->error)
        rota__error_forget(&fiber->error, err);
}

int rota__interrupted(struct rota__fiber *fiber)
{
    int interrupt = fiber->interrupt;
    rota__explain_failure(fiber, interrupt, NULL);
    if (fiber->ignored < IGNORED_REPORTED && ++fiber->ignored == IGNORED_REPORTED)
        report_ignoring(fiber);
    if (--fiber->budget <= 0)
        rota__yield(fiber);
    return interrupt;
}

/* ---- Timeouts */

static void timeout_fire(struct rota__timer *timer)
{
    rota_timeout *timeout = rota__container_of(timer, rota_timeout, _timer);
    timeout->_scope.expired = true;
    interrupt(timeout->_scope.fiber, -ETIMEDOUT);
}

static void timeout_arm(rota_timeout *timeout, rota_time when)
{
    if (when == ROTA_NEVER)
        return;
    timeout->_timer.deadline = when;
    timeout->_timer.fire = timeout_fire;
    rota__timer_arm(&timeout->_scope.fiber->loop->timers, &timeout->_timer);
}

/* Timers fire in the next turn, which a task that only computes never lets begin. So the clock is
 * read here. */
static void expire_overdue(struct rota__fiber *fiber)
{
    rota_time now = 0;
    rota__list_each (node, &fiber->scopes) {
        struct rota__scope *scope = rota__container_of(node, struct rota__scope, node);
        if (scope->kind == ROTA__SCOPE_SHIELD)
            break;
        if (scope->kind != ROTA__SCOPE_TIMEOUT)
            continue;
        rota_timeout *timeout = rota__container_of(scope, rota_timeout, _scope);
        if (!rota__timer_armed(&timeout->_timer))
            continue;
        if (!now)
            now = rota__loop_time(fiber->loop);
        if (timeout->_timer.deadline <= now) {
            rota__timer_cancel(&fiber->loop->timers, &timeout->_timer);
            timeout_fire(&timeout->_timer);
        }
    }
}

int rota_check(void)
{
    struct rota__fiber *fiber = rota__fiber_here();
    if (fiber && !fiber->interrupt)
        expire_overdue(fiber);
    return fiber ? fiber->interrupt : 0;
}

rota_time rota_deadline(void)
{
    struct rota__fiber *fiber = rota__fiber_here();
    rota_time earliest = ROTA_NEVER;
    if (!fiber)
        return earliest;
    rota__list_each (node, &fiber->scopes) {
        const struct rota__scope *scope = rota__container_of(node, struct rota__scope, node);
        if (scope->kind == ROTA__SCOPE_SHIELD)
            break;
        if (scope->kind != ROTA__SCOPE_TIMEOUT)
            continue;
        const rota_timeout *timeout = rota__container_of(scope, rota_timeout, _scope);
        bool counts = scope->expired || rota__timer_armed(&timeout->_timer);
        if (counts && timeout->_timer.deadline < earliest)
            earliest = timeout->_timer.deadline;
    }
    return earliest;
}

/* ROTA_NEVER from now is never, whatever the clock says. */
static rota_time from(rota_time now, rota_time duration)
{
    rota_time when;
    if (__builtin_add_overflow(now, duration, &when))
        when = duration > 0 ? ROTA_NEVER : 0;
    return when;
}

static rota_time from_now(const struct rota__loop *loop, rota_time duration)
{
    return from(rota__loop_time(loop), duration);
}

/* A deadline that has passed already needs no timer, and is seen by the first call inside. */
static void timeout_begin(rota_timeout *timeout, rota_time when, rota_time now)
{
    struct rota__fiber *fiber = rota__fiber_here();
    if (fiber && rota__scope_is_open(&timeout->_scope, fiber))
        rota_timeout_end(timeout);
    *timeout = (rota_timeout){0};
    if (!fiber)
        return;
    rota__scope_open(&timeout->_scope, ROTA__SCOPE_TIMEOUT, fiber);
    if (when <= now)
        timeout_fire(&timeout->_timer);
    else
        timeout_arm(timeout, when);
}

void rota_timeout_begin_at(rota_timeout *timeout, rota_time when)
{
    struct rota__fiber *fiber = rota__fiber_here();
    timeout_begin(timeout, when, fiber ? rota__loop_time(fiber->loop) : 0);
}

void rota_timeout_begin(rota_timeout *timeout, rota_time duration)
{
    struct rota__fiber *fiber = rota__fiber_here();
    rota_time now = fiber ? rota__loop_time(fiber->loop) : 0;
    timeout_begin(timeout, from(now, duration), now);
}

void rota_timeout_reset(rota_timeout *timeout, rota_time duration)
{
    struct rota__fiber *fiber = timeout->_scope.fiber;
    if (!fiber || timeout->_scope.expired)
        return;
    rota__timer_cancel(&fiber->loop->timers, &timeout->_timer);
    timeout_arm(timeout, from_now(fiber->loop, duration));
}

int rota_timeout_end(rota_timeout *timeout)
{
    struct rota__fiber *fiber = timeout->_scope.fiber;
    if (!fiber)
        return timeout->_scope.expired ? -ETIMEDOUT : 0;
    rota__timer_cancel(&fiber->loop->timers, &timeout->_timer);
    rota__scope_close(&timeout->_scope);
    return timeout->_scope.expired ? -ETIMEDOUT : 0;
}

/* ---- Shields */

void rota_shield_begin(rota_shield *shield)
{
    struct rota__fiber *fiber = rota__fiber_here();
    if (fiber && rota__scope_is_open(&shield->_scope, fiber))
        rota__scope_close(&shield->_scope);
    shield->_scope.fiber = NULL;
    if (fiber)
        rota__scope_open(&shield->_scope, ROTA__SCOPE_SHIELD, fiber);
}

void rota_shield_end(rota_shield *shield)
{
    rota__scope_close(&shield->_scope);
}

/* ---- Sleeping */

struct sleep_wait {
    struct rota__wait wait;
    struct rota__timer timer;
};

static void sleep_fire(struct rota__timer *timer)
{
    rota__wake(&rota__container_of(timer, struct sleep_wait, timer)->wait, 0);
}

static void sleep_abort(struct rota__wait *wait, int reason)
{
    struct sleep_wait *s = rota__container_of(wait, struct sleep_wait, wait);
    rota__timer_cancel(&wait->fiber->loop->timers, &s->timer);
    rota__wake(wait, reason);
}

static const struct rota__wait_kind sleep_kind = {"sleep", sleep_abort};

int rota_sleep_until(rota_time when)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    struct rota__fiber *fiber = rota__fiber_here();
    struct sleep_wait s = {.timer = {.deadline = when, .fire = sleep_fire}};
    if (when != ROTA_NEVER) /* a timer that never fires must not hide a deadlock */
        rota__timer_arm(&fiber->loop->timers, &s.timer);
    return rota__park(&s.wait, &sleep_kind, NULL);
}

int rota_sleep(rota_time duration)
{
    struct rota__fiber *fiber = rota__fiber_here();
    if (duration <= 0 || !fiber)
        return rota_yield();
    return rota_sleep_until(from_now(fiber->loop, duration));
}
