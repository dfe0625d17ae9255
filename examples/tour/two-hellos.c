/* two-hellos: two tasks share one thread; while one sleeps, the other runs.
 *
 * Python: await asyncio.gather(hello(), hello()) */
#include <rota.h>

#include <pthread.h>
#include <stdio.h>

static int hello(void *arg)
{
    printf("Hello world! (thread %lx)\n", (unsigned long)pthread_self());
    int err = rota_sleep(1 * ROTA_SECOND);
    if (err < 0)
        return err;
    printf("Hello again! (thread %lx)\n", (unsigned long)pthread_self());
    return 0;
}

static int two_hellos(void *arg)
{
    return rota_gather((rota_gather_call[]){{hello}, {hello}}, 2);
}

int main(void)
{
    return rota_main(two_hellos, NULL);
}
