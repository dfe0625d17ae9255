/* gather: three calls at once, each with a result; the results stand in the order of the calls,
 * whichever ends first. 3 seconds in all, not 6.
 *
 * Python: res = await asyncio.gather(wait(1), wait(2), wait(3)) */
#include <rota.h>

#include <stdio.h>

static int wait_seconds(void *arg)
{
    int seconds = *(int *)arg;
    printf("Waiting %d\n", seconds);
    int err = rota_sleep(seconds * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("Done %d\n", seconds);
    return seconds;
}

static int gather(void *arg)
{
    int seconds[] = {1, 2, 3};
    rota_gather_call calls[] = {
        {wait_seconds, &seconds[0]},
        {wait_seconds, &seconds[1]},
        {wait_seconds, &seconds[2]},
    };
    int err = rota_gather(calls, 3);
    if (err < 0)
        return err;
    for (int i = 0; i < 3; i++)
        printf("Res %d\n", calls[i].result);
    return 0;
}

int main(void)
{
    return rota_main(gather, NULL);
}
