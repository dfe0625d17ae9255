/* blocking-download: a library that only blocks, used for several downloads at once; it takes as
 * long as the slowest.
 *
 * Python: await asyncio.gather(*(asyncio.to_thread(download, url) for url in urls)) */
#include <rota.h>

#include <stdio.h>

struct download {
    const char *name;
    rota_time takes;
    char body[32];
};

/* Stands for a blocking library: returns the number of bytes. */
static int download_blocking(void *arg)
{
    struct download *d = arg;
    rota_blocking_sleep(d->takes);
    return snprintf(d->body, sizeof d->body, "contents of %s", d->name);
}

static int download(void *arg)
{
    struct download *d = arg;
    int bytes = rota_to_thread(download_blocking, d);
    if (bytes >= 0)
        printf("%s: %d bytes\n", d->name, bytes);
    return bytes;
}

static int download_all(void *arg)
{
    struct download files[] = {
        {"a.txt", 900 * ROTA_MILLISECOND},
        {"bb.txt", 300 * ROTA_MILLISECOND},
        {"ccc.txt", 1500 * ROTA_MILLISECOND},
        {"dddd.txt", 600 * ROTA_MILLISECOND},
    };
    ROTA_GROUP(group);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        rota_group_spawn(&group, download, &files[i]);
    int err = rota_group_wait(&group);
    if (err >= 0)
        printf("all files are here\n");
    return err;
}

int main(void)
{
    return rota_main(download_all, NULL);
}
