/* greenlet: two coroutines that switch to each other by name; there is no loop.
 *
 * Python: greenlet(test1).switch() */
#include <rota.h>

#include <stdio.h>

static rota_coro *first, *second;

static void *test1(void *arg, void *value)
{
    printf("1\n");
    if (rota_coro_switch(second, NULL, NULL) < 0)
        return NULL; /* cancelled: somebody frees this coroutine before its end */
    printf("2\n");
    rota_coro_switch(second, NULL, NULL);
    return NULL;
}

static void *test2(void *arg, void *value)
{
    printf("3\n");
    if (rota_coro_switch(first, NULL, NULL) < 0)
        return NULL;
    printf("4\n");
    return NULL; /* goes on in the parent: the coroutine that made this one */
}

int main(void)
{
    int err = rota_coro_new(test1, NULL, &first);
    if (err == 0)
        err = rota_coro_new(test2, NULL, &second);
    if (err == 0)
        err = rota_coro_switch(first, NULL, NULL);
    second = rota_coro_free(second);
    first = rota_coro_free(first);
    return err < 0;
}
