/* A client and a server of HTTP that talk in one loop: over a pair of streams, or over TCP. */
#ifndef HTTP_TALK_H
#define HTTP_TALK_H

#include <rota.h>
#include <rota/http_server.h>

/* Makes a pair of streams, runs each of the functions as a task with `arg` until all have ended,
 * and frees the pair. The functions close their ends. */
static inline int talk_over_pair(size_t capacity, rota_stream **client, rota_stream **server,
                                 rota_fn *const *tasks, size_t count, void *arg)
{
    int err = rota_stream_pair(capacity, client, server);
    if (err < 0)
        return err;
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        for (size_t i = 0; err == 0 && i < count; i++)
            err = rota_group_spawn(&g, tasks[i], arg);
        if (err < 0) { /* ends those that run */
            rota_stream_close(*client);
            rota_stream_close(*server);
        }
        ROTA_IGNORE(rota_group_wait(&g));
    }
    rota_stream_free(*client);
    rota_stream_free(*server);
    return 0;
}

/* A server on a free port, for as long as `body` runs. */
struct http_place {
    rota_http_serve_options *options;
    rota_http_handler *handler;
    void *handler_arg;
    int (*body)(void *arg);
    void *body_arg;
    rota_listener **listener; /* set while the body runs */
};

static inline int http_place_serve(void *arg)
{
    struct http_place *p = arg;
    ROTA_IGNORE(rota_http_serve(p->listener, 1, p->handler, p->handler_arg, p->options));
    return 0;
}

static inline int http_place_run(struct http_place *p)
{
    rota_task *server;
    int err = rota_tcp_listen("127.0.0.1", 0, NULL, p->listener);
    if (err == 0)
        err = rota_spawn(http_place_serve, p, &server);
    if (err == 0) {
        err = p->body(p->body_arg);
        rota_task_cancel(server);
        ROTA_IGNORE(rota_join(server));
    }
    rota_listener_free(*p->listener);
    return err;
}

#endif
