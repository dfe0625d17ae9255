/* executor: blocking calls in the default pool, in a pool of threads, in a pool of processes; the
 * loop keeps ticking meanwhile.
 *
 * Python: await loop.run_in_executor(pool, blocking) */
#include <rota.h>

#include <stdio.h>

static int ticks(void *arg)
{
    for (;;) {
        printf("tick\n");
        int err = rota_sleep(200 * ROTA_MILLISECOND);
        if (err < 0)
            return err;
    }
}

static int blocking_io(void *arg)
{
    rota_blocking_sleep(450 * ROTA_MILLISECOND);
    return 100;
}

struct sum {
    long upto, total;
};

/* In a process its argument is a copy, which comes back when it returns. */
static int cpu_bound(void *arg)
{
    struct sum *sum = arg;
    for (long i = 1; i <= sum->upto; i++)
        sum->total += i;
    rota_blocking_sleep(450 * ROTA_MILLISECOND);
    return 0;
}

static int run_in_each(rota_executor *threads, rota_executor *processes)
{
    int result = rota_to_thread(blocking_io, NULL);
    if (result < 0)
        return result;
    printf("default pool: %d\n", result);
    result = rota_executor_run(threads, blocking_io, NULL);
    if (result < 0)
        return result;
    printf("thread pool: %d\n", result);
    struct sum sum = {.upto = 1000000};
    result = rota_executor_run_copy(processes, cpu_bound, &sum, sizeof sum);
    if (result < 0)
        return result;
    printf("process pool: %ld\n", sum.total);
    return 0;
}

static int executor(void *arg)
{
    ROTA_AUTO(rota_task) ticker = NULL;
    ROTA_AUTO(rota_executor) threads = NULL;
    ROTA_AUTO(rota_executor) processes = NULL;
    int err = rota_thread_pool_new(NULL, &threads);
    if (err == 0)
        err = rota_process_pool_new(NULL, &processes);
    if (err == 0)
        err = rota_spawn(ticks, NULL, &ticker);
    return err < 0 ? err : run_in_each(threads, processes);
}

int main(void)
{
    return rota_main(executor, NULL);
}
