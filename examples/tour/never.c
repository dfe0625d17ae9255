/* never: a future that is never set. asyncio would hang for ever, silently. rota sees that no task
 * can go on, ends the program with status 1, and reports on standard error what each task waits for
 * and where it was spawned.
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
    return rota_main(never, NULL);
}
