/* await: a function that waits is called like any other, and returns its result. Two calls in a row
 * take twice the time: only tasks run at once.
 *
 * Python: result = await slow(20) */
#include <rota.h>

#include <stdio.h>

/* Returns twice `number` after a while, or an error. */
static int slow(int number)
{
    printf("start\n");
    int err = rota_sleep(2 * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("end\n");
    return 2 * number;
}

static int await(void *arg)
{
    int result = slow(5);
    if (result < 0)
        return result;
    printf("result: %d\n", result);

    int first = slow(20);
    if (first < 0)
        return first;
    int second = slow(30);
    if (second < 0)
        return second;
    printf("results: %d and %d\n", first, second);
    return 0;
}

int main(void)
{
    return rota_main(await, NULL);
}
