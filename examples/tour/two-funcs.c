/* two-funcs: two functions that each wait 2 seconds, at once: 2 seconds in all.
 *
 * Python: await asyncio.gather(func1(), func2()) */
#include <rota.h>

#include <stdio.h>

static int func1(void *arg)
{
    printf("1\n");
    int err = rota_sleep(2 * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("2\n");
    return 0;
}

static int func2(void *arg)
{
    printf("3\n");
    int err = rota_sleep(2 * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("4\n");
    return 0;
}

static int both(void *arg)
{
    ROTA_GROUP(group);
    rota_group_spawn(&group, func1, NULL);
    rota_group_spawn(&group, func2, NULL);
    return rota_group_wait(&group);
}

int main(void)
{
    return rota_main(both, NULL);
}
