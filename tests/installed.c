/* A user's program: compiled against the installed library by the install check. */

#include <rota.h>
#include <stdio.h>

static int rest(void *arg)
{
    int *rested = arg;
    int err = rota_sleep(ROTA_MILLISECOND);
    if (err < 0)
        return err;
    *rested = 1;
    return 0;
}

int main(void)
{
    int rested = 0;
    int err = rota_run(rest, &rested);
    if (err < 0)
        fprintf(stderr, "%s\n", rota_strerror(err));
    printf("rota %s\n", rota_version());
    return err < 0 || !rested;
}
