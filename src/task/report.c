/* What rota says of its tasks: rota_dump, and the deadlock report. */
#include "base/log.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>

static void print_task(const rota_task *task, FILE *out)
{
    fprintf(out, "\n  %-20s ", rota_task_name(task));
    if (task == task->loop->current)
        fprintf(out, "running");
    else if (task->wait && task->wait->object)
        fprintf(out, "waits for %s %p", task->wait->kind->name, task->wait->object);
    else if (task->wait)
        fprintf(out, "waits for %s", task->wait->kind->name);
    else
        fprintf(out, "ready");
    if (task->interrupt)
        fprintf(out, ", %s", task->interrupt == -ECANCELED ? "cancelled" : "timed out");
    fprintf(out, ", spawned at %s:%d", task->site->file, task->site->line);
}

char *rota__task_table(rota_loop *loop, const char *headline)
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

char *rota_dump(rota_loop *loop)
{
    size_t n = 0;
    rota__list_each (node, &loop->tasks)
        n++;
    char headline[64];
    snprintf(headline, sizeof headline, "%zu task%s", n, n == 1 ? "" : "s");
    return rota__task_table(loop, headline);
}

int rota__loop_stuck(rota_loop *loop)
{
    if (!rota__log_wanted())
        return -EDEADLK;
    char *text = rota__task_table(loop, "deadlock: no task can go on, and nothing is pending:");
    rota__log_text(ROTA_LOG_ERROR,
                   text ? text : "deadlock: no task can go on, and nothing is pending");
    free(text);
    return -EDEADLK;
}
