/* async-iterator: an object that takes its time for each item, read in a loop.
 *
 * Python: async for n in Reader(): ... */
#include <rota.h>

#include <stdio.h>

struct reader {
    int count;
};

/* Any structure with such a function can be iterated over: 1 is an item, 0 the end. */
static int reader_next(void *self, void **ret_item)
{
    struct reader *reader = self;
    if (reader->count == 99)
        return 0;
    int err = rota_sleep(10 * ROTA_MILLISECOND);
    if (err < 0)
        return err;
    reader->count++;
    *ret_item = &reader->count;
    return 1;
}

static int async_iterator(void *arg)
{
    struct reader reader = {0};
    int err;
    ROTA_FOREACH (int *, n, ((rota_iter){reader_next, &reader}), &err)
        printf("%d%s", *n, *n % 11 ? " " : "\n");
    return err;
}

int main(void)
{
    return rota_main(async_iterator, NULL);
}
