/* A user's program: compiled against the installed library by the install check, as C and as C++.
 * It uses every public macro. */

#include <assert.h>
#include <rota.h>
#include <rota/http_server.h>
#include <rota/test.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static_assert(ROTA_NEVER > ROTA_MINUTE && ROTA_MICROSECOND == 1000 * ROTA_NANOSECOND, "times");
static_assert(ROTA_TO_END == INT64_MAX && ROTA_HTTP_UNKNOWN_LENGTH == UINT64_MAX, "lengths");
static_assert(ROTA_FDS_MAX > 1 && ROTA_ADDRESS_TEXT > 46 && ROTA_HOST_TEXT > 253, "limits");

static rota_mutex mutex = ROTA_MUTEX_INIT;
static rota_semaphore semaphore = ROTA_SEMAPHORE_INIT(1);
static rota_event event = ROTA_EVENT_INIT;
static rota_cond cond = ROTA_COND_INIT;
static rota_barrier barrier = ROTA_BARRIER_INIT(1);

static int count(rota_gen *gen, void *arg)
{
    int *counted = (int *)arg;
    int err = 0;
    for (*counted = 0; *counted < 3 && err >= 0; ++*counted)
        err = rota_gen_yield(gen, counted);
    return err;
}

static int use_blocks(int *sum)
{
    int counted, err = 0;
    ROTA_AUTO(rota_gen) gen = NULL, never_made = NULL;
    err = rota_gen_new(count, &counted, &gen);
    if (err < 0)
        return err;
    ROTA_FOREACH (int *, number, rota_gen_iter(gen), &err)
        *sum += never_made ? 0 : *number;
    ROTA_LOCK (&mutex, &err)
        *sum += 10;
    ROTA_PERMIT (&semaphore, &err)
        *sum += 100;
    ROTA_SHIELD
    *sum += 1000;
    return err;
}

/* ---- Releases of one's own */

typedef struct word {
    char *text;
} word;

static int words_released;

static word *word_free(word *w)
{
    ROTA_KEEP_ERROR;
    if (w)
        free(w->text);
    free(w);
    words_released++;
    return NULL;
}
ROTA_DEFINE_AUTO(word, word_free);

static void word_fini(word *w)
{
    free(w->text);
    words_released++;
}
ROTA_DEFINE_SCOPED(word, word_fini);

ROTA_PRINTF(1, 2) static void note(const char *format, ...)
{
    (void)format;
}

static int use_releases(void)
{
    {
        ROTA_AUTO(word) made = (word *)calloc(1, sizeof(word));
        ROTA_SCOPED(word) stored = {NULL};
        ROTA_SCOPED(rota_bytes) bytes = ROTA_BYTES_INIT;
        note("%p %p %zu", (void *)made, (void *)stored.text, bytes.len);
    }
    return words_released == 2 ? 0 : -EIO;
}

/* ---- Objects in storage of one's own */

static int use_bytes(void)
{
    char text[32];
    rota_str name = ROTA_STR("rota");
    snprintf(text, sizeof text, "%.*s, %zu", ROTA_STR_ARG(name), ROTA_STR("").len);
    ROTA_IGNORE(rota_yield());
    return strcmp(text, "rota, 0") == 0 ? 0 : -EINVAL;
}

static int use_storage(void)
{
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_timeout timeout = ROTA_TIMEOUT_INIT;
    rota_signals signals = ROTA_SIGNALS_INIT;
    ROTA_SCOPED(rota_job) job = ROTA_JOB_INIT;
    ROTA_GROUP(group);
    rota_signals_fini(&signals);
    rota_timeout_begin(&timeout, ROTA_NEVER);
    rota_handle_cancel(&handle);
    rota_cond_notify_all(&cond);
    rota_event_set(&event);
    int err = rota_event_wait(&event);
    if (err == 0)
        err = rota_barrier_wait(&barrier);
    if (err == 0)
        err = rota_timeout_end(&timeout);
    if (err < 0 || *rota_job_error(&job))
        return -EIO;
    return rota_group_wait(&group);
}

/* ---- Tasks */

static int add(void *arg)
{
    ++*(int *)arg;
    return rota_yield();
}

static int add_copied(void *arg)
{
    return *(int *)arg == 7 ? 0 : -EIO;
}

static int use_tasks(void)
{
    int sum = 0, seven = 7, err;
    rota_gather_call calls[] = {{add, &sum, 0}, {add, &sum, 0}};
    ROTA_GROUP(group);
    ROTA_AUTO(rota_task) task = NULL;
    rota_group_spawn(&group, add, &sum);
    rota_group_spawn_copy(&group, add_copied, &seven, sizeof seven);
    err = rota_spawn_copy(add_copied, &seven, sizeof seven, &task);
    if (err == 0)
        err = rota_group_wait(&group);
    if (err == 0)
        err = rota_gather(calls, 2);
    if (err == 0)
        err = rota_spawn(add, &sum, NULL);
    if (err == 0)
        err = rota_spawn_at(add, &sum, 0, NULL, ROTA_SITE("named"));
    if (err == 0)
        err = rota_loop_spawn_threadsafe(rota_loop_current(), add, &sum);
    if (err == 0)
        err = rota_run_on(rota_loop_current(), add, &sum);
    if (err == 0)
        err = rota_to_thread(add_copied, &seven);
    return err < 0 ? err : sum == 7 ? 0 : -EIO;
}

/* ---- Iterators */

static int use_iterators(void)
{
    int slot, sum = 0, err, closed;
    ROTA_AUTO(rota_queue) queue = NULL;
    ROTA_AUTO(rota_sender) sender = NULL;
    ROTA_AUTO(rota_receiver) receiver = NULL;
    err = rota_queue_new(4, sizeof slot, &queue);
    if (err == 0)
        err = rota_channel_new(4, sizeof slot, &sender, &receiver);
    for (slot = 1; err == 0 && slot <= 3; slot++) {
        err = rota_queue_put(queue, &slot);
        if (err == 0)
            err = rota_channel_send(sender, &slot);
    }
    closed = err == 0 ? rota_queue_close(queue) : err;
    if (closed < 0)
        return closed;
    rota_channel_close(sender);
    ROTA_FOREACH (int *, n, rota_queue_iter(queue, &slot), &err)
        sum += *n;
    ROTA_FOREACH (int *, n, rota_channel_iter(receiver, &slot), &err) {
        if (*n == 2)
            continue;
        if (*n == 3)
            break;
        sum += 10 * *n;
    }
    return err < 0 ? err : sum == 16 ? 0 : -EIO;
}

static int yield_queue(rota_gen *gen, void *arg)
{
    int slot;
    return rota_gen_yield_from(gen, rota_queue_iter((rota_queue *)arg, &slot));
}

static int use_inner_iterator(void)
{
    int seven = 7, sum = 0, err;
    ROTA_AUTO(rota_queue) queue = NULL;
    ROTA_AUTO(rota_gen) gen = NULL;
    err = rota_queue_new(1, sizeof seven, &queue);
    if (err == 0)
        err = rota_queue_put(queue, &seven);
    if (err == 0)
        err = rota_queue_close(queue);
    if (err == 0)
        err = rota_gen_new(yield_queue, queue, &gen);
    if (err < 0)
        return err;
    ROTA_FOREACH (int *, n, rota_gen_iter(gen), &err)
        sum += *n;
    return err < 0 ? err : sum == 7 ? 0 : -EIO;
}

/* ---- Processes */

static int use_processes(void)
{
    rota_communication c = ROTA_COMMUNICATION_INIT;
    const char *echo = "echo";
    rota_process_status status;
    char text[ROTA_PROCESS_STATUS_TEXT];
    memset(&status, 0, sizeof status);
    int err = rota_process_run(ROTA_ARGV(echo, "word"), NULL, &c);
    bool same = err == 0 && c.out.len == 5 && memcmp(c.out.ptr, "word\n", 5) == 0;
    rota_communication_fini(&c);
    if (err == 0)
        err = rota_process_run(ROTA_SHELL("exit 3"), NULL, NULL);
    rota_process_status_text(&status, text);
    same = same && strcmp(text, "end not known") == 0;
    return same && err == 3 ? 0 : err < 0 ? err : -EIO;
}

static int use_stop(void)
{
    int err = 0;
    ROTA_UNTIL_STOP
    {
        raise(SIGTERM);
        err = rota_sleep(ROTA_SECOND);
    }
    return err == -ECANCELED ? 0 : -EIO;
}

/* ---- Exceptions */

#ifdef __cplusplus
static int wait_in_handler(void *arg)
{
    int number = *(int *)arg;
    try {
        try {
            throw number;
        } catch (int) {
            if (rota_sleep(number * ROTA_MILLISECOND) == 0)
                throw;
        }
    } catch (int caught) {
        return caught == number ? 0 : -EIO;
    }
    return -EIO;
}

static int use_exceptions(void)
{
    int one = 1, two = 2;
    rota_gather_call calls[] = {{wait_in_handler, &one, 0}, {wait_in_handler, &two, 0}};
    return rota_gather(calls, 2);
}
#else
static int use_exceptions(void)
{
    return 0;
}
#endif

static int rest(void *arg)
{
    int *rested = (int *)arg;
    int sum = 0, err = use_blocks(&sum);
    int (*const uses[])(void) = {use_storage,   use_releases,       use_tasks,
                                 use_iterators, use_inner_iterator, use_processes,
                                 use_stop,      use_exceptions,     use_bytes};
    for (size_t i = 0; err == 0 && i < sizeof uses / sizeof *uses; i++)
        err = uses[i]();
    ROTA_TIMEOUT (ROTA_MILLISECOND)
        err = err < 0 ? err : rota_sleep(ROTA_MINUTE);
    if (err != -ETIMEDOUT)
        return err < 0 ? err : -EIO;
    *rested = sum == 1113;
    return 0;
}

static int worker(void *arg)
{
    (void)arg;
    return rota_worker_index();
}

int main(void)
{
    int rested = 0, sum = 0;
    rota_loop_options options = rota_test_options(0);
    int err = rota_run_worker_processes(1, worker, NULL);
    if (err == 0)
        err = rota_run_worker_processes_with(1, worker, NULL, NULL);
    if (err == 0)
        err = rota_run(rest, &rested);
    if (err == 0)
        err = rota_run_with(add, &sum, &options);
    if (err == 0)
        err = rota_main(add, &sum) || rota_main_with(add, &sum, &options);
    if (err == 0)
        err = rota_test_run(add, &sum);
    if (err == 0)
        err = rota_run_workers(1, add, &sum);
    if (err == 0)
        err = rota_run_workers_with(1, add, &sum, NULL);
    if (err == 0)
        err = rota_test_each_fault(ROTA_TEST_ALLOCATION, add, &sum);
    if (err < 0)
        fprintf(stderr, "%s\n", rota_strerror(err));
    printf("rota %s\n", rota_version());
    return err < 0 || !rested;
}
