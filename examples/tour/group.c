/* group: tasks that belong together. One fails, the others are cancelled, and the group returns the
 * failure when the last one has ended. No task is left behind.
 *
 * Python: async with asyncio.TaskGroup() as tg: tg.create_task(...) */
#include <rota.h>

#include <stdio.h>

static int sibling(void *arg)
{
    printf("%s begins\n", (const char *)arg);
    int err = rota_sleep(10 * ROTA_SECOND);
    printf("%s: %s\n", (const char *)arg, rota_error(err));
    return err;
}

static int failing(void *arg)
{
    printf("failing begins\n");
    int err = rota_sleep(1 * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("failing fails\n");
    return rota_error_set(-ENOENT, "open settings: No such file or directory");
}

static int group_main(void *arg)
{
    ROTA_GROUP(group);
    rota_group_spawn(&group, sibling, "sibling 1");
    rota_group_spawn(&group, failing, NULL);
    rota_group_spawn(&group, sibling, "sibling 2");
    int err = rota_group_wait(&group);
    printf("the group: %s\n", rota_error(err));
    return err == -ENOENT ? 0 : err;
}

int main(void)
{
    return rota_main(group_main, NULL);
}
