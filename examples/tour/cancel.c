/* cancel: a task is cancelled while it holds things. Its call returns -ECANCELED, and so does each
 * further one, so it cannot be missed; on the way out the task puts everything back.
 *
 * Python: task.cancel(); try: ... finally: ... */
#include <rota.h>

#include <stdio.h>

static void put_back(void *what)
{
    ROTA_IGNORE(rota_sleep(100 * ROTA_MILLISECOND)); /* what is deferred is shielded: it may wait */
    printf("put back %s\n", (const char *)what);
}

static int holder(void *arg)
{
    printf("taking a lamp and a rope\n");
    int err = rota_defer(put_back, "the lamp");
    if (err == 0)
        err = rota_defer(put_back, "the rope");
    if (err < 0)
        return err;

    err = rota_sleep(ROTA_MINUTE);
    printf("sleep: %s\n", rota_error(err));
    err = rota_sleep(ROTA_MINUTE);
    printf("sleep again: %s\n", rota_error(err));
    return err;
}

static int cancel(void *arg)
{
    rota_task *task;
    int err = rota_spawn(holder, NULL, &task);
    if (err < 0)
        return err;
    err = rota_sleep(1 * ROTA_SECOND);
    printf("cancelling\n");
    rota_task_cancel(task);
    int result = rota_join(task);
    printf("the task: %s\n", rota_error(result));
    return err;
}

int main(void)
{
    return rota_main(cancel, NULL);
}
