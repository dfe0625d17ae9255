/* The pool: limits on connections, in all and to one origin, and requests that wait for a place.
 *
 *     a connection    busy -> idle -> busy -> ... -> over
 *
 *     -> busy: take, serve    busy -> idle: rota__http_pool_put    -> over: rota__http_conn_end
 *
 * 1. A connection has its place from the moment the client begins to make it until it is over.
 *    There are never more than `connections`, nor more to one origin than `connections_host`.
 * 2. Code that frees a place or a connection serves the waiters at once. So no request waits that
 *    could be served, and a new request never overtakes one.
 * 3. A waiter is given its place or connection before it runs. If it was cancelled meanwhile, it
 *    gives that back, which serves the next one.
 * 4. If all places are taken, some of them by idle connections to other origins, the connection
 *    that has been idle longest is closed. So it is if there are no descriptors.
 * 5. An idle connection is watched from the next turn on. It is over when bytes or its end arrive,
 *    or when it has been idle for `keep_alive` or for the time that its server announced. */
#include "http/client.h"

#include <stdio.h>
#include <string.h>

#define conn_of(node_, member) rota__container_of(node_, struct rota__http_conn, member)
#define origin_of(node_, member) rota__container_of(node_, struct rota__http_origin, member)

/* Unused origins are kept, because of their addresses, until there are this many. */
#define ORIGINS_KEPT 1024

struct waiter {
    /* In the origin's queue. */
    struct rota__list node;
    uint64_t ticket;
    bool fresh;
    struct rota__http_progress *progress;
    rota_event served;
    int err;
    struct rota__http_conn *conn;
};

#define waiter_of(node_) rota__container_of(node_, struct waiter, node)

/* ---- Origins */

static bool is_origin(const struct rota__http_origin *o, bool secure, bool only_h1,
                      const rota_host *host, int port)
{
    return o->port == port && o->secure == secure && o->only_h1 == only_h1 &&
           o->host.is_rooted == host->is_rooted && rota_host_equal(&o->host, host);
}

static size_t bucket_of(const rota_host *host, int port)
{
    uint32_t hash = 2166136261u ^ (uint32_t)port;
    for (const char *at = host->text; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    return hash % ROTA__HTTP_ORIGINS;
}

static struct rota__http_origin *find_origin(struct rota__list *bucket, bool secure, bool only_h1,
                                             const rota_host *host, int port)
{
    rota__list_each (node, bucket) {
        struct rota__http_origin *o = origin_of(node, node);
        if (is_origin(o, secure, only_h1, host, port))
            return o;
    }
    return NULL;
}

static int origin_new(bool secure, bool only_h1, const rota_host *host, int port,
                      struct rota__http_origin **ret_origin)
{
    char text[ROTA__HOST_IN_URL], zoned[ROTA__HOST_IN_URL];
    size_t len = strlen(host->text) + 2, room = strlen(rota__host_write(host, false, text)) + 8;
    size_t where_room = strlen(rota__host_write(host, true, zoned)) + 8;
    struct rota__http_origin *o = rota_zalloc(sizeof *o + len + room + where_room);
    if (!o)
        return -ENOMEM;
    char *name = (char *)(o + 1), *authority = name + len, *where = authority + room;
    snprintf(name, len, "%s%s", host->text, host->is_rooted ? "." : "");
    int written = snprintf(authority, room, "%s:%d", text, port);
    o->secure = secure;
    o->only_h1 = only_h1;
    o->port = port;
    o->host = *host;
    o->name = name;
    o->authority = (rota_str){authority, (size_t)written};
    written = snprintf(where, where_room, "%s:%d", zoned, port);
    o->where = (rota_str){where, (size_t)written};
    rota__list_init(&o->idle);
    rota__list_init(&o->line);
    rota__list_init(&o->waiting);
    *ret_origin = o;
    return 0;
}

/* The cache of the origin that differs only in `only_h1`, or a new one. */
static int share_auth(struct rota__list *bucket, struct rota__http_origin *o)
{
    struct rota__http_origin *other =
        find_origin(bucket, o->secure, !o->only_h1, &o->host, o->port);
    o->auth = other ? other->auth : rota_zalloc(sizeof *o->auth);
    if (!o->auth)
        return -ENOMEM;
    o->auth->refs++;
    return 0;
}

static bool is_unused(const struct rota__http_origin *o)
{
    return o->open == 0 && o->uses == 0;
}

static void origin_free(rota_http_session *session, struct rota__http_origin *o)
{
    if (session->last == o)
        session->last = NULL;
    rota__list_remove(&o->node);
    session->origin_count--;
    rota__http_auth_cache_unref(o->auth);
    rota_free(o);
}

static void drop_unused(rota_http_session *session)
{
    for (size_t i = 0; i < ROTA__HTTP_ORIGINS; i++) {
        rota__list_each (node, &session->origins[i]) {
            struct rota__http_origin *o = origin_of(node, node);
            if (is_unused(o))
                origin_free(session, o);
        }
    }
}

void rota__http_origins_fini(rota_http_session *session)
{
    for (size_t i = 0; i < ROTA__HTTP_ORIGINS; i++) {
        if (session->origins[i].next) /* otherwise it was never initialized */
            rota__list_each (node, &session->origins[i])
                origin_free(session, origin_of(node, node));
    }
}

int rota__http_origin_get(rota_http_session *session, bool secure, bool only_h1,
                          const rota_host *host, int port, struct rota__http_origin **ret_origin)
{
    struct rota__http_origin *o = session->last;
    if (o && is_origin(o, secure, only_h1, host, port)) {
        *ret_origin = o;
        return 0;
    }
    struct rota__list *bucket = &session->origins[bucket_of(host, port)];
    o = find_origin(bucket, secure, only_h1, host, port);
    if (o) {
        *ret_origin = session->last = o;
        return 0;
    }
    if (session->origin_count >= ORIGINS_KEPT)
        drop_unused(session);
    int err = origin_new(secure, only_h1, host, port, &o);
    if (err < 0)
        return err;
    err = share_auth(bucket, o);
    if (err < 0) {
        rota_free(o);
        return err;
    }
    o->proxy = rota__http_proxy_for(session, secure, host, port);
    o->may_share = rota__http_may_be_h2(session, o);
    rota__list_append(bucket, &o->node);
    session->origin_count++;
    *ret_origin = session->last = o;
    return 0;
}

/* ---- Idle connections */

static void expire_idle(rota_handle *handle, void *arg);

static void await_expiry(rota_http_session *session)
{
    if (rota_handle_pending(&session->expiry) || rota__list_empty(&session->idle) ||
        session->options.keep_alive == ROTA_NEVER)
        return;
    struct rota__http_conn *oldest = conn_of(session->idle.prev, aged);
    rota_loop_call_at(rota_loop_current(), &session->expiry,
                      oldest->idle_since + session->options.keep_alive, expire_idle, session);
}

static void expire_conn(rota_handle *handle, void *arg)
{
    rota__http_conn_end(arg);
}

static void watch_idle(rota_handle *handle, void *arg)
{
    rota_http_session *session = arg;
    rota_time now = rota_now();
    rota__list_each (node, &session->idle) { /* the newest first */
        struct rota__http_conn *conn = conn_of(node, aged);
        if (conn->idle_since)
            break;
        conn->idle_since = now ? now : 1;
        if (conn->idle_limit < session->options.keep_alive)
            rota_loop_call_at(rota_loop_current(), &conn->expiry, now + conn->idle_limit,
                              expire_conn, conn);
        if (!conn->watching)
            rota_event_set(&conn->turn);
    }
    await_expiry(session);
}

static void expire_idle(rota_handle *handle, void *arg)
{
    rota_http_session *session = arg;
    rota_time until = rota_now() - session->options.keep_alive;
    while (!rota__list_empty(&session->idle)) {
        struct rota__http_conn *oldest = conn_of(session->idle.prev, aged);
        if (!oldest->idle_since || oldest->idle_since > until)
            break;
        rota__http_conn_close(oldest);
    }
    rota__http_pool_serve(session);
    if (!rota_handle_pending(&session->watch)) /* otherwise that handle does it */
        await_expiry(session);
}

static void set_idle(struct rota__http_conn *conn)
{
    rota_http_session *session = conn->session;
    conn->is_idle = true;
    conn->reused = true;
    rota__list_prepend(&conn->origin->idle, &conn->idle);
    rota__list_prepend(&session->idle, &conn->aged);
}

static void unset_idle(struct rota__http_conn *conn)
{
    conn->is_idle = false;
    rota_handle_cancel(&conn->expiry);
    rota__list_remove(&conn->idle);
    rota__list_remove(&conn->aged);
}

void rota__http_pool_made(struct rota__http_conn *conn)
{
    if (!conn->is_made)
        conn->origin->making--;
    conn->is_made = true;
}

void rota__http_pool_forget(struct rota__http_conn *conn)
{
    struct rota__http_origin *origin = conn->origin;
    rota__http_pool_made(conn);
    if (conn->is_idle)
        unset_idle(conn);
    if (origin->shared == conn)
        origin->shared = NULL;
    origin->open--;
    conn->session->open--;
}

/* ---- Taking */

/* Whether a connection may be made. If one is shared, or may turn out to be, it is the only one. */
static bool has_room(const rota_http_session *session, const struct rota__http_origin *origin)
{
    const rota_http_session_options *o = &session->options;
    if (origin->shared || (origin->may_share && origin->making > 0))
        return false;
    return origin->open < o->connections_host &&
           (session->open < o->connections || !rota__list_empty(&session->idle));
}

/* The shared connection is the newest one, so it counts as fresh for a request that failed on an
 * older one. */
static struct rota__http_conn *find_open(struct rota__http_origin *origin, bool fresh)
{
    if (origin->shared)
        return rota__http_h2_free(origin->shared) > 0 ? origin->shared : NULL;
    struct rota__list *idle = fresh ? NULL : rota__list_first(&origin->idle);
    return idle ? conn_of(idle, idle) : NULL;
}

/* Returns 1, 0 (none is available now), -ENOMEM. */
static int try_take(rota_http_session *session, struct rota__http_origin *origin, bool fresh,
                    struct rota__http_progress *progress, struct rota__http_conn **ret_conn)
{
    struct rota__http_conn *conn = find_open(origin, fresh);
    if (conn) {
        if (conn->is_idle)
            unset_idle(conn);
        conn->users++;
        conn->reserved++;
        conn->refs++;
        *ret_conn = conn;
        return 1;
    }
    if (fresh && origin->open >= session->options.connections_host &&
        !rota__list_empty(&origin->idle))
        rota__http_conn_close(conn_of(origin->idle.prev, idle));
    if (!has_room(session, origin))
        return 0;
    if (session->open >= session->options.connections)
        rota__http_conn_close(conn_of(session->idle.prev, aged));
    int err = rota__http_conn_new(session, origin, progress, ret_conn);
    return err < 0 ? err : 1;
}

/* ---- Queues */

static uint64_t first_ticket(const struct rota__http_origin *o)
{
    return waiter_of(o->line.next)->ticket;
}

/* Sorts the origin by the first waiter of its queue. */
static void reorder(rota_http_session *session, struct rota__http_origin *o)
{
    rota__list_remove(&o->waiting);
    if (rota__list_empty(&o->line))
        return;
    struct rota__list *before = &session->waiting;
    while (before->prev != &session->waiting &&
           first_ticket(origin_of(before->prev, waiting)) > first_ticket(o))
        before = before->prev;
    rota__list_append(before, &o->waiting);
}

static void leave_line(rota_http_session *session, struct rota__http_origin *o, struct waiter *w)
{
    bool was_first = o->line.next == &w->node;
    rota__list_remove(&w->node);
    if (was_first)
        reorder(session, o);
}

/* Serves the first waiter of the origin. Returns whether that was possible. */
static bool serve_first(rota_http_session *session, struct rota__http_origin *o)
{
    struct waiter *w = waiter_of(o->line.next);
    int got = try_take(session, o, w->fresh, w->progress, &w->conn);
    if (got == 0)
        return false;
    w->err = got < 0 ? got : 0;
    leave_line(session, o, w);
    rota_event_set(&w->served);
    return true;
}

void rota__http_pool_serve(rota_http_session *session)
{
    struct rota__list *node = session->waiting.next;
    while (node != &session->waiting) {
        if (session->open >= session->options.connections && rota__list_empty(&session->idle))
            return;
        bool served = serve_first(session, origin_of(node, waiting));
        node = served ? session->waiting.next : node->next;
    }
}

void rota__http_pool_serve_shared(struct rota__http_conn *conn)
{
    struct rota__http_origin *origin = conn->origin;
    while (origin->shared && !rota__list_empty(&origin->line) &&
           rota__http_h2_free(origin->shared) > 0)
        serve_first(conn->session, origin);
}

/* A request that the server did not process keeps its ticket, and so its place in the queue. */
static void enter_line(rota_http_session *session, struct rota__http_origin *o, struct waiter *w)
{
    struct rota__list *before = &o->line;
    while (before->prev != &o->line && waiter_of(before->prev)->ticket > w->ticket)
        before = before->prev;
    rota__list_append(before, &w->node);
    if (o->line.next == &w->node)
        reorder(session, o);
}

static int wait_in_line(struct rota__http_call *call, bool fresh, struct rota__http_conn **ret_conn)
{
    rota_http_session *session = call->session;
    struct rota__http_origin *origin = call->origin;
    if (!call->ticket)
        call->ticket = ++session->ticket;
    struct waiter w = {.ticket = call->ticket, .fresh = fresh, .progress = &call->progress};
    enter_line(session, origin, &w);
    rota__http_limit(&call->progress, ROTA_HTTP_LIMIT_QUEUE_TIME, session->options.queue_time);
    int err = rota_event_wait(&w.served);
    if (err == 0)
        err = w.err;
    if (!rota_event_is_set(&w.served))
        leave_line(session, origin, &w);
    else if (err < 0 && w.conn)
        rota__http_pool_give_up(w.conn, false);
    if (err == 0)
        *ret_conn = w.conn;
    return err;
}

int rota__http_pool_take(struct rota__http_call *call, bool fresh,
                         struct rota__http_conn **ret_conn)
{
    if (call->session->closed)
        return ROTA_ECLOSED;
    int got = try_take(call->session, call->origin, fresh, &call->progress, ret_conn);
    if (got == 0)
        got = wait_in_line(call, fresh, ret_conn);
    return got < 0 ? got : 0;
}

/* ---- Giving back */

static void rest(struct rota__http_conn *conn)
{
    rota_http_session *session = conn->session;
    conn->idle_since = 0;
    set_idle(conn);
    rota__http_pool_serve(session);
    if (rota__list_empty(&session->idle))
        return;
    if (!rota_handle_pending(&session->watch))
        rota_loop_call_soon(rota_loop_current(), &session->watch, watch_idle, session);
}

void rota__http_pool_put(struct rota__http_conn *conn)
{
    conn->users--;
    bool is_replaced = !conn->is_over && conn->shared && conn->origin->shared != conn;
    if (!conn->is_over && conn->users > 0)
        rota__http_pool_serve_shared(conn);
    else if (!conn->is_over && (conn->is_leaving || is_replaced))
        rota__http_conn_end(conn);
    else if (!conn->is_over)
        rest(conn);
    rota__http_conn_unref(conn);
}

/* Ends a connection that is still being made, and one of HTTP/1.1 in the middle of an exchange. */
void rota__http_pool_give_up(struct rota__http_conn *conn, bool asked)
{
    if (!asked && conn->reserved > 0)
        conn->reserved--;
    if (!conn->kind || (asked && conn->kind == &rota__http_h1))
        rota__http_conn_end(conn);
    rota__http_pool_put(conn);
}

void rota__http_pool_unshare(struct rota__http_conn *conn)
{
    conn->is_leaving = true;
    if (conn->origin->shared == conn)
        conn->origin->shared = NULL;
    if (conn->users == 0)
        rota__http_conn_end(conn);
    else if (!conn->is_over)
        rota__http_pool_serve(conn->session);
}

int rota__http_pool_close_idle(rota_http_session *session)
{
    if (rota__list_empty(&session->idle))
        return 0;
    struct rota__http_conn *oldest = conn_of(session->idle.prev, aged);
    oldest->refs++;
    rota__http_conn_end(oldest);
    int err = rota_event_wait(&oldest->closed);
    rota__http_conn_unref(oldest);
    return err < 0 ? err : 1;
}

void rota__http_pool_close(rota_http_session *session)
{
    while (!rota__list_empty(&session->waiting)) {
        struct rota__http_origin *o = origin_of(session->waiting.next, waiting);
        struct waiter *w = waiter_of(o->line.next);
        w->err = ROTA_ECLOSED;
        leave_line(session, o, w);
        rota_event_set(&w->served);
    }
    while (!rota__list_empty(&session->conns))
        rota__http_conn_close(conn_of(session->conns.next, all));
}
