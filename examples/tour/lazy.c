/* lazy: calling is running. In Python, hello() alone does nothing but make a "coroutine object",
 * and forgetting to await it is a classic mistake. In C there is no such object to forget.
 *
 * Python: hello(); await hello(); asyncio.create_task(hello()) */
#include <rota.h>

#include <stdio.h>

static int hello(void *arg)
{
    printf("  hello, %s\n", (const char *)arg);
    return rota_sleep(200 * ROTA_MILLISECOND);
}

static int lazy(void *arg)
{
    printf("a call runs, and is awaited by being called:\n");
    int err = hello("call");
    if (err < 0)
        return err;

    printf("a spawned task begins when this one steps aside:\n");
    rota_task *task;
    err = rota_spawn(hello, "task", &task);
    if (err < 0)
        return err;
    printf("  not yet\n");
    err = rota_join(task);
    if (err < 0)
        return err;

    printf("a rota_gather_call is a call for later:\n");
    rota_gather_call later = {hello, "later"};
    printf("  nothing ran\n");
    return rota_gather(&later, 1);
}

int main(void)
{
    return rota_main(lazy, NULL);
}
