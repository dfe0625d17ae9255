/* GETs of one URL by many tasks at once, over connections that are kept; prints CPU and wall time
 * in nanoseconds.
 *
 *     http_client_rota URL REQUESTS TASKS */
#include "peers/clock.h"

#include <rota.h>
#include <rota/http_client.h>

#include <stdlib.h>

struct work {
    const char *url;
    rota_http_session *session;
    long left;
};

static int get(void *arg)
{
    struct work *work = arg;
    while (work->left-- > 0) {
        ROTA_AUTO(rota_http_response) r = NULL;
        int err = rota_http_fetch(work->session, work->url, NULL, &r);
        if (err < 0) {
            fprintf(stderr, "%s\n", rota_error(err));
            return err;
        }
        if (rota_http_status(r) != 200 || !rota_http_body(r).len)
            return -EBADMSG;
    }
    return 0;
}

struct arguments {
    const char *url;
    long requests, tasks;
};

static int get_all(void *arg)
{
    struct arguments *a = arg;
    ROTA_AUTO(rota_http_session) session = NULL;
    rota_http_session_options options = {.proxy = "", .connections = (size_t)a->tasks};
    int err = rota_http_session_new(&options, &session);
    if (err < 0)
        return err;
    uint64_t cpu = clock_cpu_ns(), wall = clock_ns();
    struct work work = {a->url, session, a->requests};
    ROTA_GROUP(g);
    for (long i = 0; i < a->tasks; i++)
        rota_group_spawn(&g, get, &work);
    err = rota_group_wait(&g);
    if (err == 0)
        printf("%llu %llu\n", (unsigned long long)(clock_cpu_ns() - cpu),
               (unsigned long long)(clock_ns() - wall));
    return err;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: http_client_rota URL REQUESTS TASKS\n");
        return 2;
    }
    struct arguments a = {argv[1], atol(argv[2]), atol(argv[3])};
    return rota_run(get_all, &a) < 0;
}
