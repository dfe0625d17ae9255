/* Serving: a task for each connection.
 *
 *     accepting <-> pausing (at the limit, or no descriptors) -> draining -> ended
 *
 * 1. `running` counts the connections whose stream is not yet closed.
 * 2. Handlers run in a group that collects, so none ends another; the group ends before rota_serve
 *    does. */
#include "base/log.h"
#include "net/net.h"

#include <string.h>

enum { CONNECTIONS = 65536 };

#define PAUSE_FIRST (10 * ROTA_MILLISECOND)
#define PAUSE_LONGEST ROTA_SECOND
/* A shortage is over, and this is reported, when nothing was lacking for this time: connections
 * that come and go at the limit are one shortage. */
#define SHORTAGE_ENDS ROTA_SECOND

struct server {
    rota_listener *listener;
    char name[ROTA_ADDRESS_TEXT]; /* of the listener, which is closed before the end */
    rota_serve_fn *handler;
    void *arg;
    size_t limit, running;
    struct rota__wait *waiter; /* for a connection to end */
    rota_time pause;           /* not 0: the last attempt to accept lacked something */
    bool short_of;             /* something, last at: */
    rota_time lacked;
    rota_group group;
};

struct connection {
    struct server *server;
    rota_stream *stream;
};

static void server_abort(struct rota__wait *wait, int reason)
{
    ((struct server *)(uintptr_t)wait->object)->waiter = NULL;
    rota__wake(wait, reason);
}

static const struct rota__wait_kind full = {"connections to end", server_abort};

static int wait_for_an_end(struct server *server)
{
    struct rota__wait wait = {0};
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    server->waiter = &wait;
    return rota__park(&wait, &full, server);
}

static void connection_ended(struct server *server)
{
    struct rota__wait *waiter = server->waiter;
    server->running--;
    server->waiter = NULL;
    if (waiter)
        rota__wake(waiter, 0);
}

/* Errors that a peer can cause at any time are not failures of this program. */
static bool is_the_peers_doing(int err)
{
    switch (err) {
    case -ECANCELED:
    case -ECONNRESET:
    case -EPIPE:
    case -ETIMEDOUT:
    case -EHOSTUNREACH:
    case ROTA_EOF:
    case ROTA_ETRUNCATED:
    case ROTA_EPROTOCOL:
    case ROTA_ELIMIT:
    case ROTA_ETLS:
    case ROTA_ECERT:
        return true;
    default:
        return false;
    }
}

/* Without the peer's port, so that equal failures have equal reports. */
static void report_failure(const struct server *server, rota_stream *stream, int err)
{
    rota_log_level level = is_the_peers_doing(err) ? ROTA_LOG_DEBUG : ROTA_LOG_WARNING;
    if (!rota__log_wanted(level))
        return;
    const char *peer = rota_stream_peer(stream), *port = strrchr(peer, ':');
    const char *words = rota_error(err);
    if (words == rota_strerror(err) || strcmp(words, rota_stream_error(stream)) == 0)
        words = rota__stream_why(stream, err);
    rota__log_about(level, server, "connection from %.*s: %s",
                    (int)(port ? port - peer : (long)strlen(peer)), peer, words);
}

static int connection_run(void *arg)
{
    struct connection *c = arg;
    int err = c->server->handler(c->stream, c->server->arg);
    if (err < 0)
        report_failure(c->server, c->stream, err);
    rota_stream_free(c->stream);
    connection_ended(c->server);
    return 0;
}

static bool lacks_resources(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM;
}

/* Until a connection has ended or some time has passed. */
static int pause_for(struct server *server, int why)
{
    if (!server->short_of && rota__log_wanted(ROTA_LOG_WARNING))
        rota__log_about(ROTA_LOG_WARNING, server, "accept on %s: %s; pausing", server->name,
                        rota_strerror(why));
    server->short_of = true;
    server->lacked = rota_now();
    server->pause = server->pause ? 2 * server->pause : PAUSE_FIRST;
    if (server->pause > PAUSE_LONGEST)
        server->pause = PAUSE_LONGEST;
    rota_timeout pause = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&pause, server->pause);
    int err = wait_for_an_end(server);
    bool over = rota_timeout_end(&pause) < 0;
    return err == -ETIMEDOUT && over ? 0 : err;
}

static void recovered(struct server *server)
{
    server->pause = 0;
    if (!server->short_of || rota_now() - server->lacked < SHORTAGE_ENDS)
        return;
    server->short_of = false;
    if (rota__log_wanted(ROTA_LOG_INFO))
        rota_log(ROTA_LOG_INFO, "accept on %s: resumed", server->name);
}

static int serve_one(struct server *server)
{
    struct connection c = {.server = server};
    int err = rota_accept(server->listener, &c.stream);
    if (err < 0)
        return err;
    err = rota_group_spawn_copy(&server->group, connection_run, &c, sizeof c);
    if (err < 0)
        rota_stream_free(c.stream);
    else
        server->running++;
    return err;
}

static int accept_until_stopped(struct server *server)
{
    int err = 0;
    while (err == 0) {
        if (server->running >= server->limit) {
            err = wait_for_an_end(server);
            continue;
        }
        err = serve_one(server);
        if (err == 0)
            recovered(server);
        else if (lacks_resources(err))
            err = pause_for(server, err);
    }
    return err;
}

static void report_outlived(const struct server *server, rota_time grace)
{
    rota_log(
        ROTA_LOG_WARNING,
        "serve on %s: cancelled %zu connection%s, still open when the grace period of %.3g s ended",
        server->name, server->running, server->running == 1 ? "" : "s",
        (double)grace / (double)ROTA_SECOND);
}

static void drain(struct server *server, rota_time grace)
{
    ROTA_KEEP_ERROR;
    int err = 0;
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (grace) {
            while (grace > 0 && err == 0 && server->running)
                err = wait_for_an_end(server);
        }
    }
    if (grace > 0 && server->running)
        report_outlived(server, grace);
    rota_group_cancel(&server->group);
    ROTA_IGNORE(rota_group_wait(&server->group)); /* each failure was reported when it happened */
    rota_group_fini(&server->group);
}

int rota_serve(rota_listener *listener, rota_serve_fn *handler, void *arg,
               const rota_serve_options *options)
{
    static const rota_serve_options defaults;
    if (!options)
        options = &defaults;
    struct server server = {
        .listener = listener,
        .handler = handler,
        .arg = arg,
        .limit = options->connections ? options->connections : CONNECTIONS,
        .group = {.policy = ROTA_GROUP_COLLECT},
    };
    int err = rota__suspend_check();
    if (err == ROTA_ENOTASK)
        return err;
    rota__listener_text(listener, server.name);
    rota_group_begin(&server.group);
    err = accept_until_stopped(&server);
    if (err != -EBUSY) /* another task accepts, and may go on */
        rota_listener_close(listener);
    if (options->stopping)
        options->stopping(options->stopping_arg, err);
    drain(&server, options->grace);
    return err;
}
