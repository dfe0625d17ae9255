/* ticker: a blocking call runs in a thread, main goes on, and a callback tells of the call's end.
 *
 * Python: future = pool.submit(blocking); future.add_done_callback(on_done) */
#include <rota.h>

#include <stdio.h>

static int blocking(void *arg)
{
    rota_blocking_sleep(1 * ROTA_SECOND + 50 * ROTA_MILLISECOND);
    return 666;
}

static void on_done(rota_future *future, void *arg)
{
    int *result = arg;
    *result = rota_future_result(future);
    printf("the call returned %d\n", *result);
}

static int ticker(void *arg)
{
    ROTA_SCOPED(rota_job) job = ROTA_JOB_INIT;
    int err = rota_executor_submit(NULL, blocking, NULL, &job);
    if (err < 0)
        return err;
    int result = 0;
    rota_done done;
    rota_future_on_done(&job.done, &done, on_done, &result);
    while (result == 0 && err == 0) {
        printf("waiting\n");
        err = rota_sleep(100 * ROTA_MILLISECOND);
    }
    rota_done_remove(&done);
    return err;
}

int main(void)
{
    return rota_main(ticker, NULL);
}
