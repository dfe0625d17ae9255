/* A body that a task of its own, the uploader, sends while the caller's task reads the response.
 *
 *     sending -> whole | gone | failed | stopped
 *
 * 1. It has ended before its exchange is repeated, redirected or given back, before its response is
 *    freed, and before a call returns without a response that is still to be read.
 * 2. `progress` belongs to the call, which stops the upload before it releases `progress`. The
 *    session is used only while the connection is not over.
 * 3. It has no deadline of its own: it moves the deadline of the call that waits for the
 *    response. */
#include "http/client.h"

/* ---- Progress, for the reader's limits and the hook */

static struct rota__http_progress *progress_of(const struct rota__http_upload *upload)
{
    return upload->conn->is_over ? NULL : upload->progress;
}

/* Restarts the gap. ROTA_NEVER suspends it. */
static void set_gap(struct rota__http_upload *upload, rota_time gap)
{
    struct rota__http_progress *p = progress_of(upload);
    if (!p || !p->is_open || p->limit != ROTA_HTTP_LIMIT_GAP)
        return;
    p->is_now = false;
    rota__http_limit(p, ROTA_HTTP_LIMIT_GAP, gap);
}

void rota__http_upload_moved(struct rota__http_upload *upload)
{
    set_gap(upload, upload->gap);
}

int rota__http_upload_next(struct rota__http_upload *upload, rota_str *ret_piece)
{
    if (upload->is_stopped)
        return -ECANCELED;
    upload->is_asking = true;
    set_gap(upload, ROTA_NEVER);
    int err = rota__http_source_next(&upload->source, ret_piece);
    upload->is_asking = false;
    rota__http_upload_moved(upload);
    return err;
}

int rota__http_upload_say(struct rota__http_upload *upload, int err, const char *words)
{
    return upload->progress ? rota__http_say(upload->progress, err, "%s", words) : err;
}

static void tell_whole(struct rota__http_upload *upload)
{
    struct rota__http_progress *p = progress_of(upload);
    upload->is_whole = true;
    if (p && p->phase == ROTA_HTTP_SENDING) {
        p->is_now = false;
        rota__http_enter(p, ROTA_HTTP_WAITING);
    }
    rota__http_upload_moved(upload);
}

static void tell_failed(struct rota__http_upload *upload, int err)
{
    upload->err = err;
    if (upload->is_gone || !upload->progress)
        return;
    upload->progress->phase = ROTA_HTTP_SENDING;
}

/* ---- The uploader */

static int uploader(void *arg)
{
    struct rota__http_upload *upload = arg;
    struct rota__http_conn *conn = upload->conn;
    upload->task = rota_task_current();
    rota_task_set_name(upload->task, "http upload");
    int err = upload->send(upload);
    if (err < 0 && !upload->is_stopped)
        tell_failed(upload, err);
    if (err == 0)
        tell_whole(upload);
    upload->task = NULL;
    if (conn->upload == upload)
        conn->upload = NULL;
    if (upload->is_ours)
        rota__http_source_fini(&upload->source);
    rota_event_set(&upload->over);
    rota__http_upload_unref(upload);
    return 0;
}

int rota__http_upload_start(struct rota__http_call *call, const struct rota__http_upload *from)
{
    struct rota__http_upload *upload = rota_alloc(sizeof *upload);
    if (!upload)
        return -ENOMEM;
    *upload = *from;
    upload->source = call->source;
    upload->progress = &call->progress;
    upload->gap = call->gap;
    upload->trailers = call->options->trailers;
    upload->trailer_count = call->trailer_count;
    upload->refs = 2;
    int err = rota_spawn(uploader, upload, NULL);
    if (err < 0) {
        rota_free(upload);
        return err;
    }
    upload->conn->refs++;
    call->source = (struct rota__http_source){0};
    call->upload = upload;
    return 0;
}

void rota__http_upload_unref(struct rota__http_upload *upload)
{
    if (--upload->refs > 0)
        return;
    rota__http_source_fini(&upload->source);
    rota__http_conn_unref(upload->conn);
    rota_free(upload);
}

/* ---- Its end */

void rota__http_upload_cancel(struct rota__http_upload *upload)
{
    if (!upload || (upload->task && upload->task == rota_task_current()))
        return;
    upload->is_stopped = true;
    if (upload->task)
        rota_task_cancel(upload->task);
}

void rota__http_upload_stop(struct rota__http_upload *upload)
{
    if (rota_event_is_set(&upload->over))
        return;
    upload->progress = NULL;
    rota__http_upload_cancel(upload);
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_event_wait(&upload->over));
    }
}

int rota__http_upload_wait(struct rota__http_upload *upload)
{
    int err = rota_event_wait(&upload->over);
    return err < 0 ? err : upload->err;
}

int rota__http_upload_verdict(const struct rota__http_upload *upload, bool began, int err)
{
    bool counts = upload->err < 0 && !(upload->is_gone && began);
    return counts && err != -ECANCELED && err != -ETIMEDOUT ? upload->err : err;
}

/* ---- Ownership */

void rota__http_upload_recall(struct rota__http_call *call)
{
    struct rota__http_upload *upload = call->upload;
    if (!upload)
        return;
    rota__http_upload_stop(upload);
    call->source = upload->source;
    call->upload = NULL;
    upload->source = (struct rota__http_source){0};
    rota__http_upload_unref(upload);
}

int rota__http_upload_take_back(struct rota__http_call *call)
{
    rota__http_upload_recall(call);
    return call->has_body ? rota__http_source_rewind(&call->source) : 0;
}

void rota__http_upload_leave(struct rota__http_call *call)
{
    struct rota__http_upload *upload = call->upload;
    if (!upload)
        return;
    upload->is_ours = true;
    if (rota_event_is_set(&upload->over))
        rota__http_source_fini(&upload->source);
    call->upload = NULL;
    rota__http_upload_unref(upload);
}

void rota__http_response_adopt(rota_http_response *r, struct rota__http_call *call)
{
    if (!call->upload)
        return;
    r->upload = call->upload;
    r->upload->refs++;
}

void rota__http_response_stop(rota_http_response *r)
{
    struct rota__http_upload *upload = r->upload;
    if (!upload)
        return;
    rota__http_upload_stop(upload);
    if (!upload->conn->session)
        r->own.session = NULL; /* it may have been freed meanwhile */
    r->upload = NULL;
    rota__http_upload_unref(upload);
}
