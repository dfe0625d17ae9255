/* never: a future that nobody sets. asyncio would hang for ever, silently. rota sees that nothing
 * can go on, names each task with what it waits for, and ends the program.
 *
 * Python: await loop.create_future() */
#include <rota.h>

#include <stdio.h>

static int wait_for_godot(void *arg)
{
    return rota_future_wait(arg);
}

static int never(void *arg)
{
    rota_future godot;
    rota_future_init(&godot);
    ROTA_GROUP(group);
    rota_group_spawn(&group, wait_for_godot, &godot);
    printf("waiting for Godot\n");
    return rota_group_wait(&group);
}

int main(void)
{
    rota_log_set(rota_log_stderr, NULL);
    int err = rota_run(never, NULL);
    printf("rota_run returned: %s\n", rota_strerror(err));
    return err != -EDEADLK;
}
