/* future: a task waits for a result that another task brings.
 *
 * Python: fut = loop.create_future(); fut.set_result(666); await fut */
#include <rota.h>

#include <stdio.h>

static int set_after_a_while(void *arg)
{
    rota_future *future = arg;
    int err = rota_sleep(2 * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("setting\n");
    rota_future_set(future, 666);
    return 0;
}

static int future_main(void *arg)
{
    rota_future future;
    rota_future_init(&future);
    ROTA_GROUP(group);
    rota_group_spawn(&group, set_after_a_while, &future);

    printf("waiting\n");
    int result = rota_future_wait(&future);
    if (result < 0)
        return result;
    printf("the future brought %d\n", result);
    return rota_group_wait(&group);
}

int main(void)
{
    return rota_main(future_main, NULL);
}
