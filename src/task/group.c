/* Groups: tasks that end before the block does.
 *
 *     closed -> open: rota_group_begin
 *     open -> waited for: rota_group_wait, rota_group_fini
 *     waited for -> closed: the last task ends, or there was none
 *     open -> closed: rota__group_abandon (the owner has ended without either)
 *
 * 1. A zeroed group is closed. Nothing leaves the closed state but rota_group_begin.
 * 2. While it is open the group's scope is in the owner's list, so what cancels the group cancels
 *    the owner's calls too. While it is waited for, the scope is closed and _cancelled alone
 *    remembers.
 * 3. _owner is alive while the group is not closed. Afterwards it is only compared.
 * 4. _running counts _tasks; a task leaves _tasks when it ends, before anybody else runs.
 * 5. _result is the first failure, until _settled: then it is what the group returns. Once the
 *    owner has waited, it is what rota_group_wait returned. _error has its text.
 * 6. A task that was cancelled and says so has not failed. */
#include "base/log.h"
#include "task/task.h"

enum { CLOSED, OPEN, WAITED_FOR };

/* A group that is not closed is used on one loop. */
static int group_check(const rota_group *group, const char *call)
{
    return group->_state == CLOSED ? 0 : rota__loop_check(group->_owner->fiber->loop, call);
}

void rota_group_begin(rota_group *group)
{
    struct rota__fiber *here = rota__fiber_here();
    if (here && rota__scope_is_open(&group->_scope, here)) {
        rota_log(ROTA_LOG_ERROR, "rota_group_begin was called on an open group, and did nothing");
        return;
    }
    *group = (rota_group){
        .policy = group->policy, .keep = group->keep, ._owner = here ? here->task : NULL};
    rota__list_init(&group->_tasks);
    rota__list_init(&group->_ended);
    if (!here)
        return;
    group->_state = OPEN;
    rota__scope_open(&group->_scope, ROTA__SCOPE_GROUP, here);
}

static void cancel_tasks(rota_group *group)
{
    rota__list_each (node, &group->_tasks)
        rota_task_cancel(rota__container_of(node, struct rota__fiber, member)->task);
}

void rota_group_cancel(rota_group *group)
{
    if (group->_state == CLOSED || group_check(group, "rota_group_cancel") < 0)
        return;
    group->_cancelled = true;
    cancel_tasks(group);
    rota__scope_cancel(&group->_scope);
}

size_t rota_group_running(const rota_group *group)
{
    return group->_running;
}

static void set_result(rota_group *group, int result, const rota_task *task)
{
    struct rota__error *error = task ? task->done._error : NULL;
    group->_result = result;
    group->_failed = task ? task->site : NULL;
    if (result < 0 || group->_error)
        rota__error_put(&group->_error, result < 0 ? rota__error_ref(error) : NULL);
}

/* Takes a result into account, as the policy says: of a task, or of none where it could not
 * start. */
static void count_result(rota_group *group, int result, const rota_task *task)
{
    if (group->_settled)
        return;
    bool decides = group->policy == ROTA_GROUP_RACE ? result >= 0 : result < 0;
    if (decides && group->policy != ROTA_GROUP_COLLECT) {
        group->_settled = true;
        set_result(group, result, task);
        rota_group_cancel(group);
    } else if (result < 0 && group->_result == 0) {
        set_result(group, result, task);
    }
}

/* The group is closed, or was never open because no task began it. */
static int refuse_spawn(const rota_group *group, const rota_site *site)
{
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    rota__log_about(ROTA_LOG_WARNING, site, "task '%s' (spawned at %s:%d) was not started: %s",
                    site->name, site->file, site->line,
                    group->_owner ? "its group is closed"
                                  : "its group was begun outside of a task");
    return rota__error_plain(group->_owner ? ROTA_ECLOSED : ROTA_ENOTASK);
}

int rota_group_spawn_at(rota_group *group, rota_fn *fn, const void *arg, size_t copy,
                        const rota_site *site)
{
    if (group->_state == CLOSED)
        return refuse_spawn(group, site);
    int err = group_check(group, "rota_group_spawn");
    if (err < 0)
        return err;
    struct rota__loop *loop = rota__loop_here;
    rota_task *task = copy <= ROTA__COPY_MAX ? rota__task_new(loop, fn, arg, copy, site) : NULL;
    if (!task) {
        err = rota__spawn_failed(copy, site);
        count_result(group, err, NULL);
        return err;
    }
    task->fiber->group = group;
    task->grouped = true;
    task->index = group->_spawned++;
    task->owned = group->keep;
    task->read = true; /* by the group, until it has another failure to return */
    rota__list_append(&group->_tasks, &task->fiber->member);
    group->_running++;
    if (group->_cancelled)
        rota_task_cancel(task);
    return 0;
}

/* ---- Waiting */

static void group_abort(struct rota__wait *wait, int reason)
{
    rota_group *group = (rota_group *)(uintptr_t)wait->object;
    group->_waiter = NULL;
    rota__wake(wait, reason);
}

static const struct rota__wait_kind all_kind = {"group", group_abort};
static const struct rota__wait_kind next_kind = {"next task of a group", group_abort};

static int group_park(rota_group *group, const struct rota__wait_kind *kind)
{
    struct rota__wait wait = {0};
    group->_waiter = &wait;
    return rota__park(&wait, kind, group);
}

/* Whether the group returns a failure that comes now. The others are for rota_group_next, or are
 * reported. In a race tasks are expected to fail: they are alternatives. */
static bool is_for_the_group(const rota_group *group)
{
    if (group->policy == ROTA_GROUP_RACE)
        return true;
    bool has_one = group->policy == ROTA_GROUP_COLLECT ? group->_result < 0 : group->_settled;
    return !has_one && !group->_unheard;
}

void rota__group_task_ended(rota_task *task)
{
    rota_group *group = task->fiber->group;
    int result = task->done._result;
    rota__list_remove(&task->fiber->member);
    if (--group->_running == 0 && group->_state == WAITED_FOR)
        group->_state = CLOSED;
    if (group->keep)
        rota__list_append(&group->_ended, &task->ended);
    struct rota__wait *waiter = group->_waiter;
    if (waiter && (group->_running == 0 || waiter->kind == &next_kind)) {
        group->_waiter = NULL;
        rota__wake(waiter, 0); /* before what this result may cancel */
    }
    task->read = is_for_the_group(group);
    if (group->_unheard)
        return;
    if (!(result == -ECANCELED && task->cancelled))
        count_result(group, result, task);
    else
        group->_lost = true;
}

/* From now on the group closes when its last task ends. */
static void begin_wait(rota_group *group)
{
    rota__scope_close(&group->_scope);
    group->_state = group->_running ? WAITED_FOR : CLOSED;
}

/* Cancels the tasks and waits for them whatever happens. */
static void end_tasks(rota_group *group)
{
    rota_group_cancel(group);
    ROTA_SHIELD
    {
        if (group->_running)
            group_park(group, &all_kind);
    }
}

/* Waits for all tasks; what interrupts the wait cancels them. */
static int drain(rota_group *group)
{
    int interrupt = rota__suspend_check();
    if (!interrupt)
        interrupt = group->_running ? group_park(group, &all_kind) : (int)rota__done_at_once(0);
    if (interrupt < 0) {
        group->_unheard = true;
        end_tasks(group);
    }
    return interrupt;
}

/* A race whose tasks were all cancelled has no winner, and no failure to show for it. */
static bool nobody_won(const rota_group *group)
{
    return group->policy == ROTA_GROUP_RACE && group->_lost && !group->_settled && !group->_result;
}

static void release_kept(rota_task *task)
{
    rota__task_report_unread(task);
    rota__task_release(task);
}

static void release_given(rota_group *group)
{
    if (group->_given)
        release_kept(group->_given);
    group->_given = NULL;
}

void rota__group_abandon(rota_group *group)
{
    struct rota__list *node;
    group->_state = CLOSED;
    while ((node = rota__list_take_first(&group->_tasks))) {
        struct rota__fiber *fiber = rota__container_of(node, struct rota__fiber, member);
        rota_task *task = fiber->task;
        fiber->group = NULL;
        task->grouped = task->owned = false;
        rota_task_cancel(task);
    }
    release_given(group);
    rota__error_put(&group->_error, NULL);
    while ((node = rota__list_take_first(&group->_ended)))
        release_kept(rota__container_of(node, rota_task, ended));
}

static int group_result(const rota_group *group)
{
    if (group->_result < 0)
        rota__error_give(rota__error_ref(group->_error));
    return group->_result;
}

/* The failure that the group would have returned. */
static void report_lost(const rota_group *group, const char *why)
{
    const rota_site *site = group->_failed;
    if (group->_result < 0 && group->policy != ROTA_GROUP_RACE && site)
        rota__log_about(rota__failure_level(group->_result), site,
                        "task '%s' (spawned at %s:%d) failed, and its group %s: %s", site->name,
                        site->file, site->line, why,
                        rota__error_words(group->_error, group->_result));
}

int rota_group_wait(rota_group *group)
{
    rota_task *here = rota__task_here();
    if (!here)
        return rota__error_plain(ROTA_ENOTASK);
    if (group->_owner != here)
        return rota_error_set(-EPERM, "wait for a group: another task has opened it");
    release_given(group);
    if (group->_state == CLOSED)
        return group_result(group);
    begin_wait(group);
    int interrupt = drain(group);
    if (interrupt < 0) {
        report_lost(group, "was interrupted");
        set_result(group, interrupt, NULL);
        rota__error_put(&group->_error, rota__error_take(interrupt));
    } else if (nobody_won(group)) {
        group->_result = -ECANCELED;
    }
    return group_result(group);
}

int rota_group_next(rota_group *group, rota_task **ret_task)
{
    int err = group->keep ? group_check(group, "rota_group_next") : -EINVAL;
    if (err == 0 && rota__task_here() && group->_owner != rota__task_here())
        err = -EPERM;
    if (err == 0)
        err = rota__suspend_check();
    if (err < 0)
        return rota__error_plain(err);
    release_given(group);
    if (rota__list_empty(&group->_ended) && group->_running) {
        err = group_park(group, &next_kind);
        if (err < 0)
            return err;
    }
    struct rota__list *node = rota__list_take_first(&group->_ended);
    if (!node)
        return 0;
    *ret_task = group->_given = rota__container_of(node, rota_task, ended);
    return 1;
}

/* The block was left by an early return: right, but where the tasks were meant to finish, a wait is
 * missing. */
static void report_cancelling(const rota_group *group)
{
    if (!rota__debug() || group->_cancelled || group->_owner->fiber->interrupt)
        return;
    const rota_task *first =
        rota__container_of(group->_tasks.next, struct rota__fiber, member)->task;
    rota__log_about(
        ROTA_LOG_WARNING, group->_owner->site,
        "task '%s' left the block of a group without rota_group_wait, which cancels %zu of "
        "its tasks: '%s' (spawned at %s:%d)%s",
        rota_task_name(group->_owner), group->_running, rota_task_name(first), first->site->file,
        first->site->line, group->_running > 1 ? ", ..." : "");
}

static void leave_block(rota_group *group)
{
    ROTA_KEEP_ERROR;
    begin_wait(group);
    if (group->_running) {
        report_cancelling(group);
        end_tasks(group);
    }
    report_lost(group, "was not waited for");
}

void rota_group_fini(rota_group *group)
{
    if (group->_state != CLOSED) {
        if (rota__task_here() != group->_owner) {
            rota_log(ROTA_LOG_ERROR, "rota_group_fini was called by a task that does not own the "
                                     "group, and did nothing");
            return;
        }
        leave_block(group);
    }
    release_given(group);
    if (group->_error)
        rota__error_put(&group->_error, NULL);
    struct rota__list *node;
    while (group->_ended.next && (node = rota__list_take_first(&group->_ended)))
        release_kept(rota__container_of(node, rota_task, ended));
}

/* ---- Gather */

static int gather_run(void *arg)
{
    rota_gather_call *call = arg;
    return call->result = call->fn(call->arg);
}

rota_fn *rota__task_gathers(const rota_task *task)
{
    bool gathers = task->grouped && !task->fiberless && task->fiber->fn == gather_run;
    return gathers ? ((const rota_gather_call *)task->fiber->arg)->fn : NULL;
}

int rota_gather_at(rota_gather_call *calls, size_t n, const rota_site *site)
{
    ROTA_GROUP(group);
    for (size_t i = 0; i < n; i++) {
        calls[i].result = -ECANCELED;
        int err = rota_group_spawn_at(&group, gather_run, &calls[i], 0, site);
        if (err < 0)
            calls[i].result = err;
    }
    return rota_group_wait(&group);
}
