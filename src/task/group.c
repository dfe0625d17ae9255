/* Groups: tasks that end before the block does.
 *
 *     unused -> open: the first use, by the owner      open -> unused: rota_group_wait
 *
 * 1. While it is open the group's scope is in the owner's list, so what cancels the group cancels the
 *    owner's calls too.
 * 2. _running counts _tasks; a task leaves _tasks when it ends, before anybody else runs.
 * 3. _result is the first failure, until _settled: then it is what the group returns.
 * 4. A task that was cancelled and says so has not failed.
 * 5. While the owner waits, the scope is closed; then _interrupted says that the group is cancelled. */
#include "base/log.h"
#include "task/task.h"

static void list_init_once(struct rota__list *list)
{
    if (!list->next)
        rota__list_init(list);
}

/* Where the group is in use, it is so on one loop. */
static int group_check(const rota_group *group, const char *call)
{
    const rota_task *any = group->_scope.task;
    if (!any && group->_running)
        any = rota__container_of(group->_tasks.next, rota_task, member);
    return any ? rota__loop_check(any->loop, call) : 0;
}

static int group_open(rota_group *group)
{
    rota_task *here = rota__task_here();
    list_init_once(&group->_tasks);
    list_init_once(&group->_ended);
    if (group->_scope.task)
        return 0;
    if (!here)
        return ROTA_ENOTASK;
    group->_settled = group->_lost = false;
    group->_result = 0;
    rota__scope_open(&group->_scope, ROTA__SCOPE_GROUP, here);
    return 0;
}

/* Whether `here` owns it, or may come to. While the owner waits for all, the scope is closed. */
static bool owned_by(const rota_group *group, const rota_task *here)
{
    return group->_scope.task ? group->_scope.task == here : group->_running == 0;
}

static void cancel_tasks(rota_group *group)
{
    rota__list_each (node, &group->_tasks)
        rota_task_cancel(rota__container_of(node, rota_task, member));
}

void rota_group_cancel(rota_group *group)
{
    bool waited_for = !group->_scope.task;
    if ((waited_for && !group->_running) || group_check(group, "rota_group_cancel") < 0)
        return;
    group->_interrupted = waited_for;
    cancel_tasks(group);
    rota__scope_cancel(&group->_scope);
}

size_t rota_group_running(const rota_group *group)
{
    return group->_running;
}

/* Takes a result into account, as the policy says. */
static void count_result(rota_group *group, int result)
{
    if (group->_settled)
        return;
    bool decides = group->policy == ROTA_GROUP_RACE ? result >= 0 : result < 0;
    if (decides && group->policy != ROTA_GROUP_COLLECT) {
        group->_settled = true;
        group->_result = result;
        rota_group_cancel(group);
    } else if (result < 0 && group->_result == 0) {
        group->_result = result;
    }
}

int rota_group_spawn_at(rota_group *group, rota_fn *fn, const void *arg, size_t copy,
                        const rota_site *site)
{
    rota_loop *loop = rota__loop_here;
    int err = group_check(group, "rota_group_spawn");
    if (err == 0 && !group->_running)
        err = group_open(group);
    if (err < 0)
        return err;
    rota_task *task = copy <= 2048 ? rota__task_new(loop, fn, arg, copy, site) : NULL;
    if (!task) {
        err = copy <= 2048 ? -ENOMEM : -E2BIG;
        count_result(group, err);
        return err;
    }
    task->group = group;
    task->owned = group->keep;
    task->read = true; /* by the group, until it has another failure to return */
    rota__list_append(&group->_tasks, &task->member);
    group->_running++;
    if (group->_scope.cancelled || group->_settled || group->_interrupted)
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

void rota__group_task_ended(rota_task *task)
{
    rota_group *group = task->group;
    int result = task->done._result;
    rota__list_remove(&task->member);
    group->_running--;
    if (group->keep)
        rota__list_append(&group->_ended, &task->member);
    struct rota__wait *waiter = group->_waiter;
    if (waiter && (group->_running == 0 || waiter->kind == &next_kind)) {
        group->_waiter = NULL;
        rota__wake(waiter, 0); /* before what this result may cancel */
    }
    /* One failure is what a collecting group returns; the others are for rota_group_next. */
    task->read = group->policy != ROTA_GROUP_COLLECT || group->_result == 0;
    if (!(result == -ECANCELED && task->own.cancelled))
        count_result(group, result);
    else
        group->_lost = true;
}

/* Waits for all tasks whatever happens; what interrupts the wait cancels them. */
static int drain(rota_group *group)
{
    int interrupt = rota__task_here()->interrupt;
    if (group->_running && !interrupt)
        interrupt = group_park(group, &all_kind);
    if (interrupt < 0 && group->_running) {
        group->_interrupted = true;
        cancel_tasks(group);
        ROTA_SHIELD
        {
            group_park(group, &all_kind);
        }
    }
    group->_interrupted = false;
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
    while ((node = rota__list_take_first(&group->_tasks))) {
        rota_task *task = rota__container_of(node, rota_task, member);
        task->group = NULL;
        task->owned = false;
        rota_task_cancel(task);
    }
    release_given(group);
    while ((node = rota__list_take_first(&group->_ended)))
        release_kept(rota__container_of(node, rota_task, member));
}

int rota_group_wait(rota_group *group)
{
    rota_task *here = rota__task_here();
    if (!here)
        return ROTA_ENOTASK;
    if (rota__fault(ROTA__FAULT_SUSPEND))
        rota__cancel_by_fault(here);
    if (!owned_by(group, here))
        return -EPERM;
    release_given(group);
    if (!group->_scope.task)
        return here->interrupt; /* never used */
    rota__scope_close(&group->_scope);
    int interrupt = drain(group);
    if (interrupt < 0)
        return interrupt;
    return nobody_won(group) ? -ECANCELED : group->_result;
}

int rota_group_next(rota_group *group, rota_task **ret_task)
{
    int err = group->keep ? group_check(group, "rota_group_next") : -EINVAL;
    if (err == 0 && !owned_by(group, rota__task_here()))
        err = -EPERM;
    if (err == 0)
        err = group_open(group);
    if (err == 0)
        err = rota__suspend_check();
    if (err < 0)
        return err;
    release_given(group);
    if (rota__list_empty(&group->_ended) && group->_running) {
        err = group_park(group, &next_kind);
        if (err < 0)
            return err;
    }
    struct rota__list *node = rota__list_take_first(&group->_ended);
    if (!node)
        return 0;
    *ret_task = group->_given = rota__container_of(node, rota_task, member);
    return 1;
}

static void report_unread(const rota_group *group)
{
    if (group->_result < 0)
        rota_log(ROTA_LOG_WARNING, "a task of a group failed and nobody waited for the group: %s",
                 rota_strerror(group->_result));
}

void rota_group_fini(rota_group *group)
{
    if (group->_scope.task && rota__task_here() == group->_scope.task) {
        rota__scope_close(&group->_scope);
        drain(group);
        report_unread(group);
    }
    release_given(group);
    struct rota__list *node;
    while (group->_ended.next && (node = rota__list_take_first(&group->_ended)))
        release_kept(rota__container_of(node, rota_task, member));
}

/* ---- Gather */

static int gather_run(void *arg)
{
    rota_call *call = arg;
    return call->result = call->fn(call->arg);
}

int rota_gather_at(rota_call *calls, size_t n, const rota_site *site)
{
    ROTA_SCOPED(rota_group) group = ROTA_GROUP_INIT;
    for (size_t i = 0; i < n; i++) {
        calls[i].result = -ECANCELED;
        int err = rota_group_spawn_at(&group, gather_run, &calls[i], 0, site);
        if (err < 0)
            calls[i].result = err;
    }
    return rota_group_wait(&group);
}
