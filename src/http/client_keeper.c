/* A connection's own task: connects, watches while the connection is idle, closes it.
 *
 *     connecting -> [ parked <-> watching ] -> closing
 *
 * 1. Everything but the exchange happens here, so ending a connection does not suspend the caller.
 * 2. During an exchange the keeper is parked, or still inside the read with which it watched. Then
 *    the exchange waits for `news` before it reads. Only one task reads at a time.
 * 3. The keeper is cancelled only by rota__http_conn_close, or by the end of the loop. */
#include "http/client.h"

#include <stdio.h>
#include <string.h>

void rota__http_conn_unref(struct rota__http_conn *conn)
{
    if (--conn->refs > 0)
        return;
    rota__out_fini(&conn->out);
    rota_free(conn);
}

void rota__http_conn_close(struct rota__http_conn *conn)
{
    if (conn->is_over)
        return;
    rota__http_pool_forget(conn);
    conn->is_over = true;
    conn->starter = NULL;
    rota__list_remove(&conn->all);
    rota__http_upload_cancel(conn->upload);
    if (conn->keeper && conn->keeper != rota_task_current())
        rota_task_cancel(conn->keeper);
    rota_event_set(&conn->news);
}

void rota__http_conn_end(struct rota__http_conn *conn)
{
    if (conn->is_over)
        return;
    rota_http_session *session = conn->session;
    rota__http_conn_close(conn);
    rota__http_pool_serve(session);
}

/* ---- The keeper */

/* An idle connection is over when bytes or its end arrive, or when it is cancelled. Returns whether
 * to continue. */
static bool watch(struct rota__http_conn *conn)
{
    rota_str bytes;
    rota_event_clear(&conn->news);
    conn->watching = true;
    ssize_t n = rota_stream_peek(conn->stream, 1, &bytes);
    conn->watching = false;
    rota_event_set(&conn->news); /* an exchange that has begun reads the same bytes */
    return !conn->is_idle && n != -ECANCELED;
}

void rota__http_keep_watching(struct rota__http_conn *conn)
{
    bool more = true;
    rota__http_conn_opened(conn);
    while (more && !conn->is_over && rota_event_wait(&conn->turn) == 0) {
        rota_event_clear(&conn->turn);
        if (conn->is_idle)
            more = watch(conn);
    }
}

void rota__http_conn_opened(struct rota__http_conn *conn)
{
    struct rota__http_origin *origin = conn->origin;
    rota__http_pool_made(conn);
    origin->may_share = conn->shared != NULL;
    if (conn->shared)
        origin->shared = conn;
    rota_event_set(&conn->news);
    rota__http_pool_serve_shared(conn);
    rota__http_pool_serve(conn->session);
}

static void keep(struct rota__http_conn *conn)
{
    conn->err = rota__http_connect(conn);
    conn->starter = NULL;
    if (conn->err < 0 && conn->err != -ECANCELED)
        conn->origin->may_share = false; /* or waiting requests would fail one after another */
    if (conn->err == 0 && !conn->is_over)
        conn->kind->keep(conn);
}

static int keeper(void *arg)
{
    struct rota__http_conn *conn = arg;
    rota_http_session *session = conn->session;
    char name[32];
    conn->keeper = rota_task_current();
    snprintf(name, sizeof name, "http %s", conn->origin->authority.ptr);
    rota_task_set_name(conn->keeper, name);
    if (!conn->is_over)
        keep(conn);
    rota__http_conn_end(conn);
    conn->stream = rota_stream_free(conn->stream);
    rota_event_set(&conn->closed);
    conn->keeper = NULL;
    conn->origin->uses--;
    conn->origin = NULL;
    conn->session = NULL;
    if (--session->keepers == 0)
        rota_event_set(&session->gone);
    rota__http_conn_unref(conn);
    return 0;
}

int rota__http_conn_new(rota_http_session *session, struct rota__http_origin *origin,
                        struct rota__http_progress *starter, struct rota__http_conn **ret_conn)
{
    struct rota__http_conn *conn = rota_zalloc(sizeof *conn);
    if (!conn)
        return -ENOMEM;
    conn->session = session;
    conn->origin = origin;
    conn->starter = starter;
    conn->refs = 2;
    conn->idle_limit = ROTA_NEVER;
    conn->left = UINT64_MAX;
    conn->users = conn->reserved = 1;
    rota__list_init(&conn->idle);
    rota__list_init(&conn->aged);
    int err = rota_spawn(keeper, conn, NULL);
    if (err < 0) {
        rota_free(conn);
        return err;
    }
    rota__list_append(&session->conns, &conn->all);
    session->keepers++;
    rota_event_clear(&session->gone);
    session->open++;
    origin->open++;
    origin->making++;
    origin->uses++;
    *ret_conn = conn;
    return 0;
}

int rota__http_conn_ready(struct rota__http_conn *conn, struct rota__http_call *call)
{
    struct rota__http_progress *p = &call->progress;
    rota__http_limit(p, ROTA_HTTP_LIMIT_CONNECT, call->session->options.connect);
    int err = rota_event_wait(&conn->news);
    conn->starter = NULL;
    rota_event_clear(&conn->news);
    if (err < 0)
        return err;
    if (call->session->closed)
        return ROTA_ECLOSED;
    if (conn->kind && !conn->is_over)
        return 0;
    p->phase = conn->failed_in;
    return rota__http_say(p, conn->err < 0 ? conn->err : -ECANCELED, "%s", conn->why);
}
