/* thread-pool: ten jobs that block for a second each, five threads: two seconds.
 *
 * Python: ThreadPoolExecutor(max_workers=5).map(job, range(10)) */
#include <rota.h>

#include <stdio.h>

/* Runs in a thread of the pool. It may block, and must not call what suspends. */
static int square(void *arg)
{
    int number = *(int *)arg;
    rota_blocking_sleep(1 * ROTA_SECOND);
    return number * number;
}

static int thread_pool(void *arg)
{
    enum { JOBS = 10 };
    ROTA_AUTO(rota_executor) pool = NULL;
    int err = rota_thread_pool_new(&(rota_thread_pool_options){.threads = 5}, &pool);
    int numbers[JOBS];
    rota_job jobs[JOBS] = {ROTA_JOB_INIT};

    for (int i = 0; i < JOBS && err == 0; i++) {
        numbers[i] = i;
        err = rota_executor_submit(pool, square, &numbers[i], &jobs[i]);
    }
    for (int i = 0; i < JOBS && err >= 0; i++) {
        err = rota_job_wait(&jobs[i]);
        if (err >= 0)
            printf("%d * %d = %d\n", i, i, err);
    }
    for (int i = 0; i < JOBS; i++)
        rota_job_fini(&jobs[i]); /* cancels and waits, where one failed */
    return err;
}

int main(void)
{
    return rota_main(thread_pool, NULL);
}
