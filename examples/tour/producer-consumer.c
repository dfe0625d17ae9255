/* producer-consumer: two producers, three consumers, and a queue that holds at most four items. The
 * last producer closes it, and that is how the consumers know.
 *
 * Python: queue = asyncio.Queue(maxsize=4) */
#include <rota.h>

#include <stdio.h>

enum { ITEMS = 10 }; /* from each producer */

struct shop {
    rota_queue *queue;
    int producers, made, consumed, sum;
};

static int producer(void *arg)
{
    struct shop *shop = arg;
    int err = 0;
    for (int i = 0; i < ITEMS && err == 0; i++) {
        int item = ++shop->made;
        err = rota_queue_put(shop->queue, &item);
    }
    if (--shop->producers == 0)
        rota_queue_close(shop->queue);
    return err;
}

static int consumer(void *arg)
{
    struct shop *shop = arg;
    int slot, err;
    ROTA_FOREACH (int *, item, rota_queue_iter(shop->queue, &slot), &err) {
        printf("%s took %d\n", rota_task_name(rota_task_current()), *item);
        shop->consumed++;
        shop->sum += *item;
        ROTA_IGNORE(rota_sleep(100 * ROTA_MILLISECOND));
    }
    return err;
}

static int producer_consumer(void *arg)
{
    ROTA_AUTO(rota_queue) queue = NULL;
    int err = rota_queue_new(4, sizeof(int), &queue);
    if (err < 0)
        return err;
    struct shop shop = {.queue = queue, .producers = 2};
    ROTA_GROUP(group);
    for (int i = 0; i < 3; i++)
        rota_group_spawn(&group, consumer, &shop);
    for (int i = 0; i < shop.producers; i++)
        rota_group_spawn(&group, producer, &shop);
    err = rota_group_wait(&group);
    printf("%d items, sum %d\n", shop.consumed, shop.sum);
    return err;
}

int main(void)
{
    return rota_main(producer_consumer, NULL);
}
