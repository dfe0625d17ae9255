/* timeout: a deadline for all that happens in a block, however deep. Of nested ones the earliest
 * counts, and each block can tell whether it was its own. A shield keeps deadlines out.
 *
 * Python: async with asyncio.timeout(1): ... */
#include <rota.h>

#include <stdio.h>

static int slow(void)
{
    return rota_sleep(10 * ROTA_SECOND);
}

/* Takes longer than its caller has, and still cleans up. */
static int save(void)
{
    int err = slow();
    ROTA_SHIELD
    {
        printf("saving\n");
        ROTA_IGNORE(rota_sleep(300 * ROTA_MILLISECOND));
        printf("saved\n");
    }
    return err;
}

static int timeout_main(void *arg)
{
    int err = 0;
    ROTA_TIMEOUT (500 * ROTA_MILLISECOND) {
        err = slow();
    }
    printf("a slow call: %s\n", rota_error(err));
    if (err != -ETIMEDOUT)
        return err;

    rota_timeout outer, inner;
    rota_timeout_begin(&outer, 1 * ROTA_SECOND);
    rota_timeout_begin(&inner, 500 * ROTA_MILLISECOND);
    slow();
    printf("inner deadline passed: %s\n", rota_timeout_end(&inner) < 0 ? "yes" : "no");
    rota_timeout_begin(&inner, 3 * ROTA_SECOND);
    slow();
    printf("second inner deadline passed: %s\n", rota_timeout_end(&inner) < 0 ? "yes" : "no");
    printf("outer deadline passed: %s\n", rota_timeout_end(&outer) < 0 ? "yes" : "no");

    ROTA_TIMEOUT (500 * ROTA_MILLISECOND) {
        err = save();
    }
    return err == -ETIMEDOUT ? 0 : err;
}

int main(void)
{
    return rota_main(timeout_main, NULL);
}
