/* What rota says of its tasks: rota_dump, and the deadlock report. */
#include "base/log.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>

/* The task that has what `wait` is for, if it has not ended with it. */
static const rota_task *holder_of(const struct rota__wait *wait)
{
    const rota_task *holder = wait->kind->holder ? wait->kind->holder(wait->object) : NULL;
    rota__list_each (node, &wait->task->loop->tasks)
        if (rota__container_of(node, rota_task, all) == holder)
            return holder;
    return NULL;
}

static void print_wait(const struct rota__wait *wait, FILE *out)
{
    fprintf(out, "waits for %s", wait->kind->name);
    if (wait->object)
        fprintf(out, " %p", wait->object);
    const rota_task *holder = holder_of(wait);
    if (holder)
        fprintf(out, ", which %s has", rota_task_name(holder));
}

static void print_task(const rota_task *task, FILE *out)
{
    fprintf(out, "\n  %-20s ", rota_task_name(task));
    if (task == task->loop->current)
        fprintf(out, "running");
    else if (task->wait)
        print_wait(task->wait, out);
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
    fputs(headline, out);
    rota__list_each (node, &loop->tasks)
        print_task(rota__container_of(node, rota_task, all), out);
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
    size_t n = 0;
    rota__list_each (node, &loop->tasks)
        n++;
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
