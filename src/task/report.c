/* What rota says of its tasks: names for reports, rota_dump, and the deadlock report. */
#include "base/alloc.h"
#include "base/log.h"
#include "base/symbol.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Names */

/* The name of a function in the program's files, or where addr2line(1) finds it. */
static void print_function(rota_fn *fn, char *text, size_t size)
{
    struct rota__symbol symbol;
    rota__symbol_find((const void *)(uintptr_t)fn, &symbol);
    if (*symbol.name)
        snprintf(text, size, "%.90s", symbol.name);
    else
        snprintf(text, size, "%.70s+0x%zx", basename(symbol.file), (size_t)symbol.in_file);
}

static const char *ordinal_suffix(unsigned n)
{
    static const char *const suffixes[] = {"th", "st", "nd", "rd"};
    bool teens = n / 10 % 10 == 1;
    return n % 10 < 4 && !teens ? suffixes[n % 10] : "th";
}

const char *rota__task_describe(const rota_task *task, struct rota__task_text *text)
{
    const char *file = task->site->file;
    int line = task->site->line;
    rota_fn *gathered = rota__task_gathers(task);
    if (gathered) {
        char name[sizeof text->text / 2];
        print_function(gathered, name, sizeof name);
        snprintf(text->text, sizeof text->text, "task '%s' (call %u of rota_gather at %s:%d)", name,
                 task->index, file, line);
    } else if (task->grouped) {
        snprintf(text->text, sizeof text->text,
                 "task '%s' (the %u%s task of its group, spawned at %s:%d)", rota_task_name(task),
                 task->index + 1, ordinal_suffix(task->index + 1), file, line);
    } else {
        snprintf(text->text, sizeof text->text, "task '%s' (spawned at %s:%d)",
                 rota_task_name(task), file, line);
    }
    return text->text;
}

/* All calls of one rota_gather have its site, but their functions differ. */
const void *rota__task_kind(const rota_task *task)
{
    rota_fn *gathered = rota__task_gathers(task);
    return gathered ? (const void *)(uintptr_t)gathered : task->site;
}

/* ---- The table of tasks */

/* The loop's tasks in the order of their addresses: what is not among them has ended. */
struct alive {
    const rota_task **tasks;
    size_t n;
};

static int by_address(const void *a, const void *b)
{
    uintptr_t one = (uintptr_t) * (rota_task *const *)a,
              other = (uintptr_t) * (rota_task *const *)b;
    return one < other ? -1 : one > other;
}

static size_t task_count(const struct rota__loop *loop)
{
    size_t n = 0;
    rota__list_each (node, &loop->tasks)
        n++;
    return n;
}

/* Without memory nobody is known to be alive, and holders are left out. */
static struct alive alive_tasks(const struct rota__loop *loop)
{
    struct alive alive = {.n = 0};
    alive.tasks = rota__alloc_array(task_count(loop), sizeof(rota_task *));
    if (!alive.tasks)
        return alive;
    rota__list_each (node, &loop->tasks)
        alive.tasks[alive.n++] = rota__container_of(node, struct rota__fiber, all)->task;
    qsort(alive.tasks, alive.n, sizeof *alive.tasks, by_address);
    return alive;
}

/* The task that has what `wait` is for, if it has not ended with it. */
static const rota_task *holder_of(const struct rota__wait *wait, const struct alive *alive)
{
    const rota_task *holder = wait->kind->holder ? wait->kind->holder(wait->object) : NULL;
    bool lives = holder && alive->n &&
                 bsearch(&holder, alive->tasks, alive->n, sizeof *alive->tasks, by_address);
    return lives ? holder : NULL;
}

static void print_wait(const struct rota__wait *wait, const struct alive *alive, FILE *out)
{
    fprintf(out, "waits for %s", wait->kind->name);
    if (wait->object)
        fprintf(out, " %p", wait->object);
    const rota_task *holder = holder_of(wait, alive);
    if (holder)
        fprintf(out, ", which %s has", rota_task_name(holder));
}

static void print_task(const struct rota__fiber *fiber, const struct alive *alive, FILE *out)
{
    const rota_task *task = fiber->task;
    rota_fn *gathered = rota__task_gathers(task);
    char name[100];
    if (gathered)
        print_function(gathered, name, sizeof name);
    fprintf(out, "\n  %-20s ", gathered ? name : rota_task_name(task));
    if (fiber == fiber->loop->current)
        fprintf(out, "running");
    else if (fiber->wait)
        print_wait(fiber->wait, alive, out);
    else
        fprintf(out, "ready");
    if (fiber->interrupt)
        fprintf(out, ", %s", fiber->interrupt == -ECANCELED ? "cancelled" : "timed out");
    if (gathered)
        fprintf(out, ", call %u of rota_gather", task->index);
    fprintf(out, "%s at %s:%d", gathered ? "" : ", spawned", task->site->file, task->site->line);
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
    struct alive alive = alive_tasks(loop);
    rota__list_each (node, &loop->tasks)
        print_task(rota__container_of(node, struct rota__fiber, all), &alive, out);
    rota_free(alive.tasks);
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
    size_t n = task_count(loop);
    char headline[64];
    snprintf(headline, sizeof headline, "%zu task%s", n, n == 1 ? "" : "s");
    return task_table(loop, headline);
}

int rota__loop_stuck(struct rota__loop *loop)
{
    static const char words[] = "deadlock: no task can go on, and nothing is pending";
    if (rota__log_wanted(ROTA_LOG_ERROR)) {
        char headline[sizeof words + 1];
        snprintf(headline, sizeof headline, "%s:", words);
        char *text = task_table(loop, headline);
        rota__log_text(ROTA_LOG_ERROR, text ? text : words);
        free(text);
    }
    return rota_error_set(-EDEADLK, "%s", words);
}
