/* The life of a stream: made, closed, freed; and what it says about itself. */
#include "stream/stream.h"
#include "base/alloc.h"
#include "base/list.h"

#include <stdio.h>

rota_stream *rota__stream_new(const struct rota__filter_kind *kind, size_t size)
{
    rota_stream *s = rota__zalloc(sizeof *s + size);
    if (!s)
        return NULL;
    s->gate.loop = rota__loop_here;
    s->limit = ROTA__STREAM_LIMIT;
    s->top = rota__stream_bottom(s);
    s->top->kind = kind;
    return s;
}

void rota__stream_push(rota_stream *s, struct rota__filter *filter)
{
    filter->below = s->top;
    s->top = filter;
}

void rota_stream_set_limit(rota_stream *s, size_t limit)
{
    s->limit = limit ? limit : ROTA__STREAM_LIMIT;
}

/* ---- Closing */

static void stream_interrupt(rota_stream *s)
{
    for (struct rota__filter *f = s->top; f; f = f->below)
        f->kind->interrupt(f);
}

static void stream_close_filters(rota_stream *s)
{
    struct rota__filter *f = s->top;
    s->top = NULL;
    while (f) {
        struct rota__filter *below = f->below;
        f->kind->close(f);
        f = below;
    }
}

static int stream_send_rest(rota_stream *s)
{
    int err = 0;
    if (!rota__buffer_count(&s->out) || s->torn || (s->gate.inside & ROTA__STREAM_WRITING))
        return 0;
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (ROTA__STREAM_CLOSE_TIME) {
            err = rota__stream_send_held(s);
        }
    }
    return err;
}

/* The last one inside a stream that was closed or freed where nobody could wait. */
static void stream_emptied_closed(struct rota__gate *gate)
{
    stream_close_filters(rota__container_of(gate, rota_stream, gate));
}

static void stream_release(rota_stream *s)
{
    if (s->top)
        stream_close_filters(s);
    rota__buffer_fini(&s->in);
    rota__buffer_fini(&s->out);
    rota__free(s->texts);
    rota__free(s);
}

static void stream_emptied_freed(struct rota__gate *gate)
{
    stream_release(rota__container_of(gate, rota_stream, gate));
}

int rota_stream_close(rota_stream *s)
{
    if (s->gate.closed)
        return 0;
    if (rota__gate_is_foreign(&s->gate))
        return rota__loop_refuse(__func__);
    s->gate.closed = true;
    int err = rota__task_here() ? stream_send_rest(s) : 0;
    if (s->gate.inside)
        stream_interrupt(s);
    if (rota__gate_wait(&s->gate, stream_emptied_closed))
        stream_close_filters(s);
    return err;
}

rota_stream *rota_stream_free(rota_stream *s)
{
    if (!s || rota_stream_close(s) == ROTA_ETHREAD)
        return NULL;
    if (rota__gate_wait(&s->gate, stream_emptied_freed))
        stream_release(s);
    return NULL;
}

/* ---- Texts */

int rota__stream_failed(rota_stream *s, int err, bool writing)
{
    s->error = err;
    s->error_in_writing = writing;
    return err;
}

static struct rota__stream_texts *stream_texts(rota_stream *s)
{
    if (!s->texts)
        s->texts = rota__zalloc(sizeof *s->texts);
    return s->texts;
}

static void stream_describe(rota_stream *s, bool peer, char *ret_text)
{
    struct rota__filter *f = s->top;
    while (f && !f->kind->describe)
        f = f->below;
    if (f)
        f->kind->describe(f, peer, ret_text, ROTA__ADDRESS_TEXT);
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

static const char *stream_detail(rota_stream *s)
{
    const char *detail = NULL;
    for (struct rota__filter *f = s->top; f && !detail; f = f->below)
        detail = f->kind->error ? f->kind->error(f) : NULL;
    if (!detail && s->error == -EPIPE && s->torn)
        detail = "an earlier write was cut short";
    return detail ? detail : rota_strerror(s->error);
}

const char *rota_stream_error(rota_stream *s)
{
    if (!s->error)
        return "";
    struct rota__stream_texts *texts = stream_texts(s);
    if (!texts)
        return rota_strerror(s->error);
    snprintf(texts->error, sizeof texts->error, "%s %s: %s",
             s->error_in_writing ? "write to" : "read from", rota_stream_peer(s), stream_detail(s));
    return texts->error;
}
