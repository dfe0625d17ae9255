/* alternate: two endless generators, driven in turn. Freed in the middle, they clean up.
 *
 * Python: next(one); print("main"); next(two) */
#include <rota.h>

#include <stdio.h>

static int forever(rota_gen *gen, void *name)
{
    for (;;) {
        printf("before %s\n", (const char *)name);
        int err = rota_gen_yield(gen, name);
        if (err < 0) {
            printf("clean-up of %s\n", (const char *)name);
            return err;
        }
        printf("after %s\n", (const char *)name);
    }
}

int main(void)
{
    ROTA_AUTO(rota_gen) one = NULL;
    ROTA_AUTO(rota_gen) two = NULL;
    int err = rota_gen_new(forever, "1", &one);
    if (err == 0)
        err = rota_gen_new(forever, "2", &two);
    for (int round = 0; round < 3 && err >= 0; round++) {
        void *item;
        err = rota_gen_next(one, &item);
        if (err < 0)
            break;
        printf("main\n");
        err = rota_gen_next(two, &item);
    }
    return err < 0;
}
