/* rota's micro rows. Each takes the operations of one repeat and prints the best of the repeats, in
 * nanoseconds an operation; `parked` takes a number of tasks and prints bytes a task.
 *
 *     micro switch|coro|yield|spawn|queue0|queue64|timer|pool OPERATIONS [REPEATS]
 *     micro parked TASKS */
#include "peers/clock.h"
#include "peers/memory.h"

#include "coro/coro.h" /* the switch below rota_coro is what compares with other libraries' jump */

#include <rota.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define ARMED 1000000
#define WORKERS 2
#define WINDOW 256
#define STACK_SIZE (256 * 1024)
#define PAGE 4096

static uint64_t operations;
static int repeats = 5;

static void must(int err, const char *what)
{
    if (err >= 0)
        return;
    fprintf(stderr, "micro: %s: %s\n", what, rota_strerror(err));
    exit(1);
}

static struct rota__coro other;
static struct rota__coro *asker;

static struct rota__coro_next answer(void *arg)
{
    while (rota__coro_switch(asker, 0) == 0)
        ;
    return rota__coro_end(asker, 0);
}

/* A round trip is two switches. */
static void switch_stacks(uint64_t count)
{
    for (uint64_t n = 0; n < count; n += 2)
        rota__coro_switch(&other, 0);
}

static int switch_row(void *arg)
{
    struct rota__stack *stack;

    asker = rota__coro_current();
    must(rota__thread_stack_take(&stack), "stack");
    rota__coro_init(&other, stack, stack->top, answer, NULL);
    clock_best(switch_stacks, operations, repeats);
    rota__coro_fini(&other);
    rota__thread_stack_give(stack);
    return 0;
}

static void *answer_coro(void *arg, void *value)
{
    while (rota_coro_switch(arg, NULL, NULL) == 0)
        ;
    return NULL;
}

static rota_coro *answering;

static void switch_coros(uint64_t count)
{
    for (uint64_t n = 0; n < count; n += 2)
        must(rota_coro_switch(answering, NULL, NULL), "switch");
}

static int coro_row(void *arg)
{
    must(rota_coro_new(answer_coro, rota_coro_current(), &answering), "coroutine");
    clock_best(switch_coros, operations, repeats);
    rota_coro_free(answering);
    return 0;
}

/* Two tasks take turns. */
static int yield_half(void *arg)
{
    for (uint64_t n = 0; n < operations / 2; n++)
        ROTA_IGNORE(rota_yield());
    return 0;
}

static void yield_turns(uint64_t count)
{
    rota_task *first, *second;

    must(rota_spawn(yield_half, NULL, &first), "spawn");
    must(rota_spawn(yield_half, NULL, &second), "spawn");
    must(rota_join(first), "join");
    must(rota_join(second), "join");
}

static int yield_row(void *arg)
{
    clock_best(yield_turns, operations, repeats);
    return 0;
}

static int nothing(void *arg)
{
    return 0;
}

static void spawn_each(uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        rota_task *task;
        must(rota_spawn(nothing, NULL, &task), "spawn");
        must(rota_join(task), "join");
    }
}

static int spawn_row(void *arg)
{
    clock_best(spawn_each, operations, repeats);
    return 0;
}

static rota_queue *messages;

static int send_all(void *arg)
{
    for (uint64_t n = 0; n < operations; n++)
        must(rota_queue_put(messages, &n), "put");
    return 0;
}

static void queue_messages(uint64_t count)
{
    rota_task *sender;

    must(rota_spawn(send_all, NULL, &sender), "spawn");
    for (uint64_t n = 0; n < count; n++) {
        uint64_t message;
        must(rota_queue_get(messages, &message), "get");
        if (message != n)
            must(-EBADMSG, "message");
    }
    must(rota_join(sender), "join");
}

static int queue_row(size_t capacity)
{
    must(rota_queue_new(capacity, sizeof(uint64_t), &messages), "queue");
    clock_best(queue_messages, operations, repeats);
    rota_queue_free(messages);
    return 0;
}

static int queue0_row(void *arg)
{
    return queue_row(0);
}

static int queue64_row(void *arg)
{
    return queue_row(64);
}

/* Between one hour and two, spread evenly. */
static rota_time deadline(void)
{
    static uint32_t random = 1;

    random = random * 1664525 + 1013904223;
    return 3600 * ROTA_SECOND + (rota_time)(((uint64_t)random * 3600 >> 32) * ROTA_SECOND);
}

static void expired(rota_handle *handle, void *arg)
{
}

static void arm_and_cancel(uint64_t count)
{
    rota_loop *loop = rota_loop_current();
    rota_handle handle = ROTA_HANDLE_INIT;

    for (uint64_t n = 0; n < count; n++) {
        rota_loop_call_later(loop, &handle, deadline(), expired, NULL);
        rota_handle_cancel(&handle);
    }
}

static int timer_row(void *arg)
{
    rota_handle *armed = calloc(ARMED, sizeof(rota_handle));

    must(armed ? 0 : -ENOMEM, "timers");
    for (size_t i = 0; i < ARMED; i++)
        rota_loop_call_later(rota_loop_current(), &armed[i], deadline(), expired, NULL);
    clock_best(arm_and_cancel, operations, repeats);
    for (size_t i = 0; i < ARMED; i++)
        rota_handle_cancel(&armed[i]);
    free(armed);
    return 0;
}

static rota_executor *workers;

static int one(void *arg)
{
    return 1;
}

/* Always WINDOW jobs under way. */
static void pipeline(uint64_t count)
{
    static rota_job jobs[WINDOW];
    uint64_t sum = 0;

    for (uint64_t n = 0; n < count + WINDOW; n++) {
        rota_job *job = &jobs[n % WINDOW];
        if (n >= WINDOW) {
            int result = rota_job_wait(job);
            must(result, "job");
            sum += (uint64_t)result;
        }
        if (n < count)
            must(rota_executor_submit(workers, one, NULL, job), "submit");
    }
    must(sum == count ? 0 : -EBADMSG, "results");
}

static int pool_row(void *arg)
{
    must(rota_thread_pool_new(&(rota_thread_pool_options){.threads = WORKERS}, &workers), "pool");
    clock_best(pipeline, operations < WINDOW ? WINDOW : operations, repeats);
    rota_executor_free(workers);
    return 0;
}

/* One job at a time. */
static void hand_over(uint64_t count)
{
    uint64_t sum = 0;

    for (uint64_t n = 0; n < count; n++) {
        int result = rota_executor_run(workers, one, NULL);
        must(result, "job");
        sum += (uint64_t)result;
    }
    must(sum == count ? 0 : -EBADMSG, "results");
}

static int handover_row(void *arg)
{
    must(rota_thread_pool_new(&(rota_thread_pool_options){.threads = WORKERS}, &workers), "pool");
    clock_best(hand_over, operations, repeats);
    rota_executor_free(workers);
    return 0;
}

static rota_event gate = ROTA_EVENT_INIT;

/* One in a thousand tells where its stack is. */
static int park(void *arg)
{
    char **ret_stack = arg;
    char here;

    if (ret_stack)
        *ret_stack = &here;
    return rota_event_wait(&gate);
}

/* Looks for the page below a stack that cannot be read, without touching it. Pages of the stack
 * that were never used read as zeros. */
static int guarded(char *stack)
{
    char byte;
    struct iovec local = {.iov_base = &byte, .iov_len = 1};

    for (size_t below = 0; below <= STACK_SIZE; below += PAGE) {
        struct iovec remote = {.iov_base = stack - below, .iov_len = 1};
        if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) < 0)
            return errno == EFAULT;
    }
    return 0;
}

static int parked_row(void *arg)
{
    size_t count = (size_t)operations, samples = count / 1000;
    rota_task **tasks = calloc(count, sizeof(rota_task *));
    char **stacks = calloc(samples + 1, sizeof(char *));

    must(tasks && stacks ? 0 : -ENOMEM, "tasks");
    memset(tasks, 1, count * sizeof(rota_task *)); /* resident before the first measurement */
    uint64_t before = memory_held();
    for (size_t i = 0; i < count; i++)
        must(rota_spawn(park, i % 1000 == 0 ? &stacks[i / 1000] : NULL, &tasks[i]), "spawn");
    must(rota_yield(), "yield");
    printf("%.1f\n", (double)(memory_held() - before) / (double)count);
    for (size_t i = 0; i < samples; i++)
        must(guarded(stacks[i]) ? 0 : -EFAULT, "a stack without a guard");
    rota_event_set(&gate);
    for (size_t i = 0; i < count; i++)
        must(rota_join(tasks[i]), "join");
    free(tasks);
    free(stacks);
    return 0;
}

static const struct row {
    const char *name;
    rota_fn *run;
} rows[] = {
    {"switch", switch_row},     {"coro", coro_row},     {"yield", yield_row},
    {"spawn", spawn_row},       {"queue0", queue0_row}, {"queue64", queue64_row},
    {"timer", timer_row},       {"parked", parked_row}, {"pool", pool_row},
    {"handover", handover_row},
};

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: micro ROW OPERATIONS [REPEATS]\n", stderr);
        return 2;
    }
    operations = strtoull(argv[2], NULL, 10);
    if (argc > 3)
        repeats = atoi(argv[3]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(argv[1], rows[i].name) != 0)
            continue;
        must(rota_run(rows[i].run, NULL), rows[i].name);
        return 0;
    }
    fprintf(stderr, "micro: no such row: %s\n", argv[1]);
    return 2;
}
