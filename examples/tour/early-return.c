/* early-return: a block is left by a return while a task of its group still runs. The task is
 * cancelled, cleans up and ends. Only then does the error reach the caller, with its words.
 *
 * Python: an exception that leaves async with asyncio.TaskGroup() */
#include <rota.h>

#include <stdio.h>

static int watch(void *arg)
{
    printf("watching %s\n", (const char *)arg);
    int err = rota_sleep(ROTA_MINUTE);
    printf("cancelled: %s\n", rota_error(err));
    ROTA_SHIELD
    {
        if (rota_sleep(500 * ROTA_MILLISECOND) == 0)
            printf("cleaned up\n");
    }
    return err;
}

static int load(const char *name)
{
    ROTA_GROUP(group);
    rota_group_spawn(&group, watch, name);
    int err = rota_sleep(1 * ROTA_SECOND);
    if (err < 0)
        return err;
    return rota_error_set(-ENOENT, "open %s: No such file or directory", name);
}

static int early_return_main(void *arg)
{
    int err = load("settings");
    printf("load: %s\n", rota_error(err));
    return err == -ENOENT ? 0 : err;
}

int main(void)
{
    return rota_main(early_return_main, NULL);
}
