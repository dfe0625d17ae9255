/* What rota says of its tasks: rota_dump, and the deadlock report. */
#include "base/alloc.h"
#include "base/log.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>

/* The loop's tasks by address: whether what a mutex has for its owner is a task that still runs. */
struct living {
    const rota_task **tasks;
    size_t n;
};

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (const rota_task *const *)a;
    uintptr_t y = (uintptr_t) * (const rota_task *const *)b;
    return (x > y) - (x < y);
}

static size_t count_tasks(const struct rota__loop *loop)
{
    size_t n = 0;
    rota__list_each (node, &loop->tasks)
        n++;
    return n;
}

/* Without memory nobody is said to have anything. */
static struct living living_of(const struct rota__loop *loop)
{
    size_t n = count_tasks(loop);
    struct living living = {n ? rota__alloc_array(n, sizeof *living.tasks) : NULL, 0};
    if (!living.tasks)
        return living;
    rota__list_each (node, &loop->tasks)
        living.tasks[living.n++] = rota__container_of(node, rota_task, all);
    qsort(living.tasks, living.n, sizeof *living.tasks, by_address);
    return living;
}

/* The task that has what `wait` is for, if it has not ended with it. */
static const rota_task *holder_of(const struct rota__wait *wait, const struct living *living)
{
    const rota_task *holder = wait->kind->holder ? wait->kind->holder(wait->object) : NULL;
    bool lives = holder && living->n &&
                 bsearch(&holder, living->tasks, living->n, sizeof holder, by_address);
    return lives ? holder : NULL;
}

static void print_wait(const struct rota__wait *wait, const struct living *living, FILE *out)
{
    fprintf(out, "waits for %s", wait->kind->name);
    if (wait->object)
        fprintf(out, " %p", wait->object);
    const rota_task *holder = holder_of(wait, living);
    if (holder)
        fprintf(out, ", which %s has", rota_task_name(holder));
}

static void print_task(const rota_task *task, const struct living *living, FILE *out)
{
    fprintf(out, "\n  %-20s ", rota_task_name(task));
    if (task == task->loop->current)
        fprintf(out, "running");
    else if (task->wait)
        print_wait(task->wait, living, out);
    else
        fprintf(out, "ready");
    if (task->interrupt)
        fprintf(out, ", %s", task->interrupt == -ECANCELED ? "cancelled" : "timed out");
    fprintf(out, ", spawned at %s:%d", task->site->file, task->site->line);
}

/* The text of rota_dump, under a headline. */
static char *task_table(struct rota__loop *loop, const char *headline)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    struct living living = living_of(loop);
    fputs(headline, out);
    rota__list_each (node, &loop->tasks)
        print_task(rota__container_of(node, rota_task, all), &living, out);
    rota_free(living.tasks);
    bool failed = ferror(out);
    if (fclose(out) == 0 && !failed)
        return text;
    free(text);
    return NULL;
}

char *rota_dump(rota_loop *handle)
{
    struct rota__loop *loop = rota__loop_mine(handle, "rota_dump");
    if (!loop)
        return NULL;
    size_t n = count_tasks(loop);
    char headline[64];
    snprintf(headline, sizeof headline, "%zu task%s", n, n == 1 ? "" : "s");
    return task_table(loop, headline);
}

int rota__loop_stuck(struct rota__loop *loop)
{
    if (!rota__log_wanted())
        return -EDEADLK;
    char *text = task_table(loop, "deadlock: no task can go on, and nothing is pending:");
    rota__log_text(ROTA_LOG_ERROR,
                   text ? text : "deadlock: no task can go on, and nothing is pending");
    free(text);
    return -EDEADLK;
}
