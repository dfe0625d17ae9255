/* Serving: connections, and when they end.
 *
 *     serving -> stopping -> ended    stop: those that rest are told to end, those that run a
 *                                     request close after it
 *
 * The sweep. A request that is answered at once must not pay for what only long ones need: to learn
 * that its client has gone, and that it takes nothing of the reply. So nothing is armed for a
 * request; while any run, a timer looks after those that have been running for more than a tick.
 *
 * 1. Connections of HTTP/1.1 are in `running`, oldest first, while a request runs, and in `resting`
 *    while they wait for anything else: a handshake, a head, the end of what the client sends
 *    behind a reply. They are in neither while they send something that belongs to no request.
 *    Those of HTTP/2, which always read, are in `resting` while no request runs, else in `busy`.
 * 2. The sweep is armed while `running` is not empty, and at most one tick longer. */
#include "http/server.h"
#include "http/date.h"
#include "http/plain.h"

#include <string.h>

#define TICK (100 * ROTA_MILLISECOND)
#define LINGER_GAP (5 * ROTA_SECOND)
#define LINGER_TIME (30 * ROTA_SECOND)
/* When the server stops, a client has this long to read its reply and to notice the end. */
#define FAREWELL (ROTA_SECOND / 2)

/* ---- The sweep */

static void cut_off(struct rota__server_connection *c, bool stalled)
{
    c->gone = true;
    c->stalled = stalled;
    rota_task_cancel(c->task);
}

static bool takes_nothing(const struct rota__server *server,
                          const struct rota__server_connection *c)
{
    rota_time stall = server->options.write_stall;
    return c->writing && stall != ROTA_NEVER &&
           server->ticks + 1 - c->writing > (uint64_t)(stall / TICK);
}

static void sweep_run(rota_handle *handle, void *arg)
{
    struct rota__server *server = arg;
    server->ticks++;
    rota__list_each (node, &server->running) {
        struct rota__server_connection *c =
            rota__container_of(node, struct rota__server_connection, node);
        if (server->ticks - c->since < 2)
            break;
        if (c->gone)
            continue;
        if (takes_nothing(server, c))
            cut_off(c, true);
        else if (rota_stream_hung_up(c->stream, c->seen))
            cut_off(c, false);
    }
    if (!rota__list_empty(&server->running))
        rota_loop_call_later(server->loop, handle, TICK, sweep_run, server);
}

void rota__server_run(struct rota__server_connection *c, struct rota__server *server)
{
    c->since = server->ticks;
    rota__list_append(&server->running, &c->node);
    if (!rota_handle_pending(&server->sweep))
        rota_loop_call_later(server->loop, &server->sweep, TICK, sweep_run, server);
}

/* ---- Without a request */

int rota__server_rest(struct rota__server_connection *c, struct rota__server *server)
{
    c->rests_since = rota_now();
    rota__list_append(&server->resting, &c->node);
    rota__server_tell_door(server);
    return rota_event_is_set(&server->stopping) ? -ECANCELED : 0;
}

int rota__server_be_busy(struct rota__server_connection *c, struct rota__server *server)
{
    rota__list_append(&server->busy, &c->node);
    return rota_event_is_set(&server->stopping) ? -ECANCELED : 0;
}

void rota__server_cancel(struct rota__server_connection *c)
{
    rota_task_cancel(c->task);
}

/* ---- The end of a connection */

static void hurry(struct rota__server_connection *c)
{
    struct rota__server_aftermath *a = rota__container_of(c, struct rota__server_aftermath, common);
    rota_timeout_reset(&a->deadline, FAREWELL);
}

void rota__server_aftermath_begin(struct rota__server_aftermath *a, struct rota__server *server,
                                  rota_task *task, rota_time most)
{
    *a = (struct rota__server_aftermath){.common = {.stop = hurry, .task = task},
                                         .deadline = ROTA_TIMEOUT_INIT};
    int stopped =
        task ? rota__server_rest(&a->common, server) : rota__server_be_busy(&a->common, server);
    if (stopped < 0 && most > FAREWELL)
        most = FAREWELL;
    rota_timeout_begin(&a->deadline, most);
}

void rota__server_aftermath_end(struct rota__server_aftermath *a)
{
    rota_timeout_end(&a->deadline);
    rota__list_remove(&a->common.node);
}

void rota__server_linger(struct rota__server *server, rota_stream *stream)
{
    struct rota__server_aftermath a;
    rota_str bytes;
    rota__server_aftermath_begin(&a, server, rota_task_current(), LINGER_TIME);
    ssize_t n = rota_stream_shutdown(stream) < 0 ? 0 : 1;
    while (n > 0) {
        ROTA_TIMEOUT (LINGER_GAP) {
            n = rota_stream_peek(stream, 1, &bytes);
        }
        if (n > 0)
            rota_stream_skip(stream, (size_t)n);
    }
    rota__server_aftermath_end(&a);
}

/* ---- The date */

const char *rota__server_date(struct rota__server *server)
{
    time_t now = time(NULL);
    if (now != server->date_of) {
        rota__date_write(server->date, now);
        server->date_of = now;
    }
    return server->date;
}

/* ---- Connections */

/* Not inlined, because a waiting connection keeps the stack frame. */
static __attribute__((noinline)) int start_tls(struct rota__server *server, rota_stream *stream,
                                               rota_time head_by)
{
    struct rota__server_connection c = {.task = rota_task_current(), .stop = rota__server_cancel};
    rota_timeout deadline = ROTA_TIMEOUT_INIT;
    int err = rota__server_rest(&c, server);
    rota_timeout_begin_at(&deadline, head_by);
    if (err == 0)
        err = rota_tls_start_server(stream, server->options.tls);
    rota_timeout_end(&deadline);
    rota__list_remove(&c.node);
    return err;
}

static int speak(struct rota__server *server, rota_stream *stream)
{
    rota_time head_by = rota__server_head_by(server);
    int err = server->options.tls ? start_tls(server, stream, head_by) : 0;
    if (err < 0)
        return err;
    bool is_h2 = server->options.tls && rota_str_equal(rota_tls_alpn(stream), "h2");
    if (is_h2) /* the handshake needed more stack than the rest will */
        rota_task_trim();
    return is_h2 ? rota__server_h2(server, stream, head_by)
                 : rota__server_h1(server, stream, head_by);
}

/* A connection that ends with an error is not a failure of the server: only the log hook is
 * told. */
static int connection_run(rota_stream *stream, void *arg)
{
    struct rota__server *server = arg;
    struct rota__server_visitor visitor;
    server->counters->connections++;
    int err = rota__server_admit(server, stream, &visitor);
    if (err < 0)
        return 0;
    server->counters->open++;
    err = speak(server, stream);
    if (err < 0 && err != -ECANCELED)
        rota_log(ROTA_LOG_DEBUG, "http: connection ended: %s", rota_stream_error(stream));
    server->counters->open--;
    rota__server_dismiss(server, &visitor);
    return 0;
}

/* ---- The whole */

struct port {
    struct rota__server *server;
    rota_listener *listener;
    rota_group *ports;
};

static void tell_all(struct rota__list *list)
{
    rota__list_each (node, list) {
        struct rota__server_connection *c =
            rota__container_of(node, struct rota__server_connection, node);
        c->stop(c);
    }
}

/* A listener was closed: closes the others, and accepts no new requests. */
static void stop(void *arg, int err)
{
    const struct port *port = arg;
    struct rota__server *server = port->server;
    if (err != -ECANCELED && server->result == 0)
        server->result = err;
    if (rota_event_is_set(&server->stopping))
        return;
    rota_event_set(&server->stopping);
    server->stopped = rota_now();
    tell_all(&server->resting);
    tell_all(&server->busy);
    rota_group_cancel(port->ports);
}

/* One connection beyond the limit is accepted: it waits at the door until another one leaves. */
static int port_run(void *arg)
{
    struct port *port = arg;
    const rota_http_serve_options *o = &port->server->options;
    rota_serve_options options = {.connections = o->connections < SIZE_MAX ? o->connections + 1
                                                                           : o->connections,
                                  .grace = o->grace,
                                  .stopping = stop,
                                  .stopping_arg = port};
    return rota_serve(port->listener, connection_run, port->server, &options);
}

static void set_options(struct rota__server *server, const rota_http_serve_options *given)
{
    rota_http_serve_options *o = &server->options;
    if (given)
        *o = *given;
    o->connections = o->connections ? o->connections : 10000;
    o->head = o->head ? o->head : (size_t)32 * 1024;
    o->fields = o->fields ? o->fields : 100;
    o->body = o->body ? o->body : 16 * 1024 * 1024;
    o->requests = o->requests ? o->requests : o->connections;
    o->memory = o->memory ? o->memory : (size_t)512 * 1024 * 1024;
    o->body_rate = o->body_rate ? o->body_rate : 1024;
    o->streams = o->streams ? o->streams : 100;
    o->resets = o->resets ? o->resets : 200;
    o->head_time = o->head_time ? o->head_time : 10 * ROTA_SECOND;
    o->body_gap = o->body_gap ? o->body_gap : 30 * ROTA_SECOND;
    o->idle = o->idle ? o->idle : 75 * ROTA_SECOND;
    o->write_stall = o->write_stall ? o->write_stall : 30 * ROTA_SECOND;
    server->counters = o->counters ? o->counters : &server->own_counters;
}

/* A request's first block: the request, the fields, the head of its reply, and some for the
 * handler. */
static size_t block_size(const rota_http_serve_options *options)
{
    return 4096 + options->fields * sizeof(rota_http_field);
}

static int init(struct rota__server *server, rota_http_handler *handler, void *arg,
                const rota_http_serve_options *options)
{
    *server = (struct rota__server){
        .handler = handler, .arg = arg, .loop = rota_loop_current(), .stopping = ROTA_EVENT_INIT};
    set_options(server, options);
    if (server->options.fields > SIZE_MAX / 64)
        return rota_error_set(-EINVAL, "serve: the option `fields` is too large");
    server->blocks.size = block_size(&server->options);
    server->blocks.budget = &server->budget;
    server->budget.limit = server->options.memory;
    server->budget.shown = &server->counters->memory;
    rota__list_init(&server->resting);
    rota__list_init(&server->busy);
    rota__list_init(&server->running);
    return rota__http_plain(server->loop ? rota__server_door_init(server) : ROTA_ENOTASK);
}

static void fini(struct rota__server *server)
{
    rota_handle_cancel(&server->sweep);
    rota__server_door_fini(server);
    rota__arena_store_fini(&server->blocks);
}

static int serve_ports(struct rota__server *server, rota_listener *const *listeners, size_t count)
{
    ROTA_GROUP(ports);
    for (size_t i = 0; i < count; i++) {
        struct port port = {server, listeners[i], &ports};
        rota_group_spawn_copy(&ports, port_run, &port, sizeof port);
    }
    int err = rota_group_wait(&ports);
    for (size_t i = 0; i < count && err != -EBUSY; i++) /* also if no task could be started */
        rota_listener_close(listeners[i]);
    return server->result < 0 ? server->result : err;
}

int rota_http_serve(rota_listener *const *listeners, size_t count, rota_http_handler *handler,
                    void *arg, const rota_http_serve_options *options)
{
    struct rota__server server;
    int err = init(&server, handler, arg, options);
    if (err == 0)
        err = count ? serve_ports(&server, listeners, count)
                    : rota_error_set(-EINVAL, "serve: there is no listener");
    fini(&server);
    return err;
}

struct single {
    struct rota__server *server;
    rota_stream *stream;
};

static int single_run(void *arg)
{
    const struct single *single = arg;
    return connection_run(single->stream, single->server);
}

/* In a task of its own, because the sweep cancels the connection's. */
int rota_http_serve_stream(rota_stream *s, rota_http_handler *handler, void *arg,
                           const rota_http_serve_options *options)
{
    struct rota__server server;
    int err = init(&server, handler, arg, options);
    struct single single = {&server, s};
    ROTA_GROUP(group);
    if (err == 0) {
        rota_group_spawn(&group, single_run, &single);
        err = rota_group_wait(&group);
    }
    fini(&server);
    return err;
}
