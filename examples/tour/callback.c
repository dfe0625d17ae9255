/* callback: a function is called when a task has ended.
 *
 * Python: task.add_done_callback(on_done) */
#include <rota.h>

#include <stdio.h>

static int hello_world(void *arg)
{
    int err = rota_sleep(1 * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("Hello World\n");
    return 42;
}

static void on_done(rota_future *future, void *arg)
{
    printf("Done: %s returned %d\n", (const char *)arg, rota_future_result(future));
}

static int callback(void *arg)
{
    ROTA_AUTO(rota_task) task = NULL;
    int err = rota_spawn(hello_world, NULL, &task);
    if (err < 0)
        return err;
    rota_done done; /* in our storage until the callback has run, or is removed */
    rota_future_on_done(rota_task_future(task), &done, on_done, "hello_world");
    err = rota_sleep(1500 * ROTA_MILLISECOND);
    rota_done_remove(&done);
    return err;
}

int main(void)
{
    return rota_main(callback, NULL);
}
