/* tasks: two tasks are started, main goes on at once, and awaits both later.
 *
 * Python: task = asyncio.create_task(func(), name="first"); ...; await task */
#include <rota.h>

#include <stdio.h>

/* A task's argument carries inputs and outputs; it has to outlive the task. */
struct work {
    const char *result;
};

static int func(void *arg)
{
    struct work *work = arg;
    printf("1, in %s\n", rota_task_name(rota_task_current()));
    int err = rota_sleep(2 * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("2, in %s\n", rota_task_name(rota_task_current()));
    work->result = "a result";
    return 0;
}

static int tasks(void *arg)
{
    struct work a = {"none"}, b = {"none"};
    rota_task *first, *second;
    int err = rota_spawn(func, &a, &first);
    if (err < 0)
        return err;
    err = rota_spawn(func, &b, &second);
    if (err < 0) {
        rota_task_free(first); /* cancels it, and waits for its end */
        return err;
    }
    rota_task_set_name(first, "first");
    rota_task_set_name(second, "second");
    printf("main begins\n");

    err = rota_join(first);
    int err2 = rota_join(second);
    if (err < 0 || err2 < 0)
        return err < 0 ? err : err2;
    printf("first has %s, second has %s\n", a.result, b.result);
    printf("main ends\n");
    return 0;
}

int main(void)
{
    return rota_main(tasks, NULL);
}
