/* wait: until the first of several tasks has ended, until a deadline, or until all have ended. Each
 * time, some are done and the others pending. Nothing is cancelled by waiting.
 *
 * Python: done, pending = await asyncio.wait(tasks, return_when=FIRST_COMPLETED) */
#include <rota.h>

#include <stdio.h>

enum { N = 3 };

static int nap(void *arg)
{
    return rota_sleep(*(rota_time *)arg);
}

static void show(const char *when, rota_task *const *naps)
{
    printf("%s:", when);
    for (int i = 0; i < N; i++)
        printf(" %s", rota_task_done(naps[i]) ? "done" : "pending");
    printf("\n");
}

static int wait_three_times(rota_task *const *naps)
{
    rota_future *futures[N];
    for (int i = 0; i < N; i++)
        futures[i] = rota_task_future(naps[i]);

    int err = rota_wait(futures, N, ROTA_FIRST_COMPLETED);
    if (err < 0)
        return err;
    show("first completed", naps);

    ROTA_TIMEOUT (500 * ROTA_MILLISECOND) {
        err = rota_wait(futures, N, ROTA_ALL_COMPLETED);
    }
    if (err < 0 && err != -ETIMEDOUT)
        return err;
    show("half a second later", naps);

    err = rota_wait(futures, N, ROTA_ALL_COMPLETED);
    if (err < 0)
        return err;
    show("all completed", naps);
    return 0;
}

static int wait_main(void *arg)
{
    rota_time durations[N] = {500 * ROTA_MILLISECOND, 900 * ROTA_MILLISECOND, 2 * ROTA_SECOND};
    rota_task *naps[N] = {NULL};
    int err = 0;
    for (int i = 0; i < N && err == 0; i++)
        err = rota_spawn(nap, &durations[i], &naps[i]);
    if (err == 0)
        err = wait_three_times(naps);
    for (int i = 0; i < N; i++)
        rota_task_free(naps[i]);
    return err;
}

int main(void)
{
    return rota_main(wait_main, NULL);
}
