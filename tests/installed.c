/* A user's program: compiled against the installed library by the install check, as C and as C++. */

#include <rota.h>
#include <stdio.h>

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

static int use_storage(void)
{
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_timeout timeout = ROTA_TIMEOUT_INIT;
    ROTA_SCOPED(rota_job) job = ROTA_JOB_INIT;
    ROTA_GROUP(group);
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

static int rest(void *arg)
{
    int *rested = (int *)arg;
    int sum = 0, err = use_blocks(&sum);
    if (err == 0)
        err = use_storage();
    ROTA_TIMEOUT (ROTA_MILLISECOND)
        err = err < 0 ? err : rota_sleep(ROTA_MINUTE);
    if (err != -ETIMEDOUT)
        return err < 0 ? err : -EIO;
    *rested = sum == 1113;
    return 0;
}

int main(void)
{
    int rested = 0;
    int err = rota_run(rest, &rested);
    if (err < 0)
        fprintf(stderr, "%s\n", rota_strerror(err));
    printf("rota %s\n", rota_version());
    return err < 0 || !rested;
}
