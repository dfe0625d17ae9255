/* The life of a stream: made, closed, freed; and its texts. */
#include "stream/stream.h"
#include "base/alloc.h"
#include "base/list.h"
#include "base/noexcept.h"

#include <stdio.h>

rota_stream *rota__stream_new(const rota_filter_kind *kind, size_t size)
{
    rota_stream *s = rota_zalloc(sizeof *s + size);
    if (!s)
        return NULL;
    rota__gate_init(&s->gate);
    s->limit = ROTA__STREAM_LIMIT;
    s->top = rota__stream_bottom(s);
    s->top->kind = kind;
    return s;
}

void rota_stream_set_limit(rota_stream *s, size_t limit)
{
    s->limit = limit ? limit : ROTA__STREAM_LIMIT;
}

/* ---- Closing */

static void stream_interrupt(rota_stream *s)
{
    for (rota_filter *f = s->top; f; f = f->below) {
        if (f->kind->interrupt)
            f->kind->interrupt(f);
        ROTA__NOEXCEPT();
    }
}

static void stream_close_filters(rota_stream *s)
{
    rota_filter *f = s->top;
    s->top = NULL;
    while (f) {
        rota_filter *below = f->below;
        f->kind->close(f);
        ROTA__NOEXCEPT();
        f = below;
    }
}

static bool has_filters(rota_stream *s)
{
    return s->top != rota__stream_bottom(s);
}

static void say_farewell(rota_stream *s)
{
    for (rota_filter *f = s->top; f; f = f->below) {
        if (f->kind->farewell)
            f->kind->farewell(f);
        ROTA__NOEXCEPT();
    }
}

/* Sends held-back output, and the closing messages of filters. */
static int stream_finish(rota_stream *s)
{
    int err = 0;
    if (s->torn || (s->gate.inside & ROTA__STREAM_WRITING))
        return 0;
    if (!rota__buffer_count(&s->out) && !has_filters(s))
        return 0;
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (ROTA__STREAM_CLOSE_TIME) {
            err = rota__stream_send_held(s);
            if (err == 0)
                say_farewell(s);
        }
    }
    return err;
}

void rota_stream_abort(rota_stream *s)
{
    struct linger none = {.l_onoff = 1};
    struct rota__socket *socket = s->top ? rota__stream_socket(s) : NULL;
    s->torn = true;
    if (socket && socket->fd.is_socket && socket->fd.fd >= 0)
        setsockopt(socket->fd.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

static void stream_release(rota_stream *s)
{
    if (s->top)
        stream_close_filters(s);
    rota__buffer_fini(&s->in);
    rota__buffer_fini(&s->out);
    rota_free(s->texts);
    rota_free(s);
}

/* Called by the last one to leave a stream that was closed or freed where that call could not
 * wait. */
static void stream_emptied_closed(struct rota__gate *gate)
{
    stream_close_filters(rota__container_of(gate, rota_stream, gate));
}

static void stream_emptied_freed(struct rota__gate *gate)
{
    stream_release(rota__container_of(gate, rota_stream, gate));
}

int rota_stream_close(rota_stream *s)
{
    int closing = rota__gate_close(&s->gate);
    if (closing <= 0)
        return closing;
    int err = rota__task_here() ? stream_finish(s) : 0;
    if (s->gate.inside)
        stream_interrupt(s);
    if (rota__gate_wait(&s->gate, stream_emptied_closed))
        stream_close_filters(s);
    rota__gate_end_closing(&s->gate);
    return err;
}

rota_stream *rota_stream_free(rota_stream *s)
{
    if (!s)
        return NULL;
    ROTA_KEEP_ERROR;
    if (rota_stream_close(s) == ROTA_ETHREAD)
        return NULL;
    if (rota__gate_wait_to_free(&s->gate, stream_emptied_freed))
        stream_release(s);
    return NULL;
}

/* ---- Texts */

static struct rota__stream_texts *stream_texts(rota_stream *s)
{
    if (!s->texts)
        s->texts = rota_zalloc(sizeof *s->texts);
    return s->texts;
}

static void stream_describe(rota_stream *s, bool peer, char *ret_text)
{
    rota_filter *f = s->top;
    while (f && !f->kind->describe)
        f = f->below;
    if (f)
        f->kind->describe(f, peer, ret_text, ROTA__ADDRESS_TEXT);
    ROTA__NOEXCEPT();
}

const char *rota_stream_peer(rota_stream *s)
{
    struct rota__stream_texts *texts = stream_texts(s);
    if (!texts)
        return "";
    if (!texts->peer[0])
        stream_describe(s, true, texts->peer);
    return texts->peer;
}

const char *rota_stream_local(rota_stream *s)
{
    struct rota__stream_texts *texts = stream_texts(s);
    if (!texts)
        return "";
    if (!texts->local[0])
        stream_describe(s, false, texts->local);
    return texts->local;
}

/* The limit is the stream's, or the argument of rota_stream_read_until. */
static const char *limit_detail(rota_stream *s)
{
    struct rota__stream_texts *texts = stream_texts(s);
    if (!texts)
        return rota_strerror(ROTA_ELIMIT);
    snprintf(texts->limit, sizeof texts->limit, "limit of %zu bytes exceeded%s", s->exceeded,
             s->exceeded == s->limit ? " (rota_stream_set_limit)" : "");
    return texts->limit;
}

static const char *stream_detail(rota_stream *s)
{
    const char *detail = NULL;
    for (rota_filter *f = s->top; f && !detail; f = f->below)
        detail = f->kind->error ? f->kind->error(f) : NULL;
    ROTA__NOEXCEPT();
    if (!detail && s->error == -EPIPE && s->torn)
        detail = "an earlier write was cut short";
    if (!detail && s->error == ROTA_ELIMIT && s->exceeded)
        detail = limit_detail(s);
    return detail ? detail : rota_strerror(s->error);
}

int rota__stream_failed_to(rota_stream *s, int err, const char *what)
{
    s->error = err;
    s->failed_to = what;
    if (!rota__was_interrupted(err))
        rota_error_set(err, "%s %s: %s", what, rota_stream_peer(s), stream_detail(s));
    return err;
}

int rota__stream_failed(rota_stream *s, int err, bool writing)
{
    return rota__stream_failed_to(s, err, writing ? "write to" : "read from");
}

int rota__stream_exceeded(rota_stream *s, size_t limit)
{
    s->exceeded = limit;
    return rota__stream_failed(s, ROTA_ELIMIT, false);
}

const char *rota__stream_why(rota_stream *s, int err)
{
    return s->error == err ? stream_detail(s) : rota_strerror(err);
}

const char *rota_stream_error(rota_stream *s)
{
    if (!s->error)
        return "";
    struct rota__stream_texts *texts = stream_texts(s);
    if (!texts)
        return rota_strerror(s->error);
    snprintf(texts->error, sizeof texts->error, "%s %s: %s", s->failed_to, rota_stream_peer(s),
             stream_detail(s));
    return texts->error;
}
