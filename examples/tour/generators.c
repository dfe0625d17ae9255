/* generators: a generator that hands out what another one makes.
 *
 * Python: yield 1; yield from inner(); yield 2 */
#include <rota.h>

#include <stdio.h>

static int inner(rota_gen *gen, void *arg)
{
    int err = rota_gen_yield(gen, "3");
    return err < 0 ? err : rota_gen_yield(gen, "4");
}

static int outer(rota_gen *gen, void *arg)
{
    ROTA_AUTO(rota_gen) delegate = NULL;
    int err = rota_gen_new(inner, NULL, &delegate);
    if (err == 0)
        err = rota_gen_yield(gen, "1");
    if (err == 0)
        err = rota_gen_yield_from(gen, rota_gen_iter(delegate));
    if (err == 0)
        err = rota_gen_yield(gen, "2");
    return err;
}

/* Generators need no loop, and no task: this is main itself. */
int main(void)
{
    ROTA_AUTO(rota_gen) numbers = NULL;
    int err = rota_gen_new(outer, NULL, &numbers);
    if (err < 0)
        return 1;
    ROTA_FOREACH (const char *, number, rota_gen_iter(numbers), &err)
        printf("%s\n", number);
    return err < 0;
}
