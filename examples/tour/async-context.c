/* async-context: a connection that takes time to open and to close. Declared with ROTA_AUTO it is
 * closed however the block is left: by an early return, by failure, by cancellation.
 *
 * Python: async with connect() as c: ... */
#include <rota.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct connection {
    const char *name;
} connection;

static int connection_open(const char *name, connection **ret_connection)
{
    int err = rota_sleep(100 * ROTA_MILLISECOND);
    if (err < 0)
        return err;
    connection *c = malloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    c->name = name;
    printf("%s: open\n", name);
    *ret_connection = c;
    return 0;
}

/* What waits while it releases is shielded: it has to come to its end in a cancelled task, too. */
static void connection_close(connection *c)
{
    if (!c)
        return;
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_sleep(100 * ROTA_MILLISECOND));
    }
    printf("%s: close\n", c->name);
    free(c);
}
ROTA_DEFINE_AUTO(connection, connection_close);

static int use(void *arg)
{
    const char *how = arg;
    ROTA_AUTO(connection) c = NULL;
    int err = connection_open(how, &c);
    if (err < 0)
        return err;
    printf("%s: work\n", how);
    if (strcmp(how, "early return") == 0)
        return 0;
    if (strcmp(how, "failure") == 0)
        return -EPROTO;
    err = rota_sleep(ROTA_MINUTE);
    printf("%s: %s\n", how, rota_error(err));
    return err;
}

static int async_context(void *arg)
{
    int err = use("early return");
    if (err < 0)
        return err;
    err = use("failure");
    if (err != -EPROTO)
        return err;

    rota_task *task;
    err = rota_spawn(use, "cancellation", &task);
    if (err < 0)
        return err;
    err = rota_sleep(200 * ROTA_MILLISECOND);
    rota_task_free(task); /* cancels it, and waits for its end */
    return err;
}

int main(void)
{
    return rota_main(async_context, NULL);
}
