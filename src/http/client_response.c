#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"

#include <string.h>

/* Bodies up to this size are stored in the block of their response. */
#define BODY_INSIDE 65536

static size_t body_room(const struct rota__http_call *call, const struct rota__http_head *head)
{
    if (!head->has_length || head->bodiless || head->length > BODY_INSIDE || call->options->stream)
        return 0;
    return (size_t)head->length + 1;
}

int rota__http_response_new(struct rota__http_call *call, const struct rota__http_head *head,
                            rota_http_response **ret_response)
{
    struct rota__arena arena;
    size_t size = sizeof(rota_http_response) + (head->count + 1) * sizeof(rota_http_field) +
                  rota__fields_text(head->fields, head->count) + head->reason.len + call->text.len +
                  body_room(call, head) + 128;
    int err = rota__arena_init_for(&arena, size);
    if (err < 0)
        return err;
    /* the block is large enough for everything here */
    rota_http_response *r = rota__arena_alloc(&arena, sizeof *r);
    *r = (rota_http_response){
        .progress = &call->progress,
        .status = head->status,
        .reason = {rota__arena_copy(&arena, head->reason), head->reason.len},
        .version = head->version,
        .count = head->count,
        .keep_alive = head->keep_alive,
        .has_length = head->has_length,
        .length = head->length,
        .is_here = head->bodiless || (head->has_length && head->length <= head->behind),
        .gap = call->gap,
    };
    r->fields = rota__arena_copy_fields(&arena, head->fields, head->count);
    r->arena = arena;
    *ret_response = r;
    return 0;
}

static int copy_history(rota_http_response *r, const struct rota__http_redirect *from)
{
    struct rota__http_redirect **at = &r->history;
    for (; from; from = from->next) {
        *at = rota__arena_alloc(&r->arena, sizeof **at);
        if (!*at)
            return -ENOMEM;
        **at = (struct rota__http_redirect){.status = from->status, .url.len = from->url.len};
        (*at)->url.ptr = rota__arena_copy(&r->arena, from->url);
        if (!(*at)->url.ptr)
            return -ENOMEM;
        at = &(*at)->next;
    }
    return 0;
}

/* A body with an unknown coding is not decoded, and neither is a part of an encoded one. The field
 * Content-Encoding tells. */
static int set_decoder(rota_http_response *r, const rota_http_session_options *o)
{
    struct rota__codings codings = {.count = 0};
    if (o->no_decoding || r->status == 206 || r->raw_ended)
        return 0;
    const rota_http_field *field;
    for (size_t at = 0;
         (field = rota__fields_next(r->fields, r->count, rota__str_of("content-encoding"), &at));) {
        if (rota__codings_add(&codings, field->value) < 0)
            return 0;
    }
    if (!codings.count)
        return 0;
    struct rota__decoder_limits limits = {.ratio = o->ratio};
    return rota__decoder_new(&codings, &limits, &r->decoder);
}

int rota__http_response_finish(rota_http_response *r, const struct rota__http_call *call)
{
    const rota_http_session_options *o = &call->session->options;
    r->limit = o->body;
    r->url = (rota_str){rota__arena_copy(&r->arena, call->text), call->text.len};
    if (!r->url.ptr)
        return -ENOMEM;
    if (o->trace && call->options->stream) {
        r->own.method.ptr = rota__arena_copy(&r->arena, call->method);
        if (!r->own.method.ptr)
            return -ENOMEM;
    }
    int err = call->history ? copy_history(r, call->history) : 0;
    return err < 0 ? err : set_decoder(r, o);
}

void rota__http_response_detach(rota_http_response *r)
{
    struct rota__http_progress *p = r->progress, *own = &r->own;
    own->session = r->ended ? NULL : p->session;
    own->url = own->where = r->url;
    own->is_prepared = true;
    own->phase = p->phase;
    own->reused = p->reused;
    own->status = p->status;
    own->began = p->began;
    own->total = p->total;
    own->ends = p->ends;
    memcpy(own->times, p->times, sizeof own->times);
    r->progress = own;
    if (!r->upload)
        return;
    own->why_err = p->why_err;
    memcpy(own->why, p->why, sizeof own->why);
    r->upload->progress = own;
}

int rota__http_response_trailers(rota_http_response *r, const rota_http_field *fields, size_t count)
{
    r->trailers = rota__arena_copy_fields(&r->arena, fields, count);
    r->trailer_count = r->trailers ? count : 0;
    return r->trailers ? 0 : -ENOMEM;
}

void rota__http_response_ended(rota_http_response *r)
{
    r->raw_ended = true;
    rota__http_done(r->progress, 0);
}

rota_http_response *rota_http_response_free(rota_http_response *r)
{
    if (!r)
        return NULL;
    ROTA_KEEP_ERROR;
    if (r->conn)
        r->conn->kind->drop(r);
    rota__http_response_stop(r);
    rota_stream_free(r->stream);
    rota__decoder_free(r->decoder);
    rota_free(r->coded);
    rota_free(r->text);
    if (r->has_sse)
        rota__sse_fini(&r->sse);
    rota__out_fini(&r->body);
    struct rota__arena arena = r->arena;
    rota__arena_fini(&arena, NULL);
    return NULL;
}

rota_stream *rota_http_take_stream(rota_http_response *r)
{
    rota_stream *stream = r->stream;
    r->stream = NULL;
    return stream;
}

/* ---- Properties */

int rota_http_status(const rota_http_response *r)
{
    return r->status;
}

rota_str rota_http_response_reason(const rota_http_response *r)
{
    return r->reason;
}

rota_str rota_http_response_version(const rota_http_response *r)
{
    return r->version;
}

const char *rota_http_response_url(const rota_http_response *r)
{
    return r->url.ptr;
}

size_t rota_http_response_redirects(const rota_http_response *r)
{
    size_t count = 0;
    for (const struct rota__http_redirect *redirect = r->history; redirect;
         redirect = redirect->next)
        count++;
    return count;
}

const char *rota_http_response_redirect(const rota_http_response *r, size_t nth, int *ret_status)
{
    const struct rota__http_redirect *redirect = r->history;
    while (redirect && nth--)
        redirect = redirect->next;
    if (!redirect)
        return NULL;
    if (ret_status)
        *ret_status = redirect->status;
    return redirect->url.ptr;
}

rota_str rota_http_response_header(const rota_http_response *r, const char *name)
{
    return rota__fields_find(r->fields, r->count, name);
}

const rota_http_field *rota_http_response_trailers(const rota_http_response *r, size_t *ret_count)
{
    *ret_count = r->ended ? r->trailer_count : 0;
    return r->ended ? r->trailers : NULL;
}

rota_str rota_http_response_trailer(const rota_http_response *r, const char *name)
{
    size_t count;
    const rota_http_field *trailers = rota_http_response_trailers(r, &count);
    return rota__fields_find(trailers, count, name);
}

const rota_http_field *rota_http_response_fields(const rota_http_response *r, size_t *ret_count)
{
    *ret_count = r->count;
    return r->fields;
}

rota_time rota_http_response_time(const rota_http_response *r, rota_http_phase phase)
{
    return phase <= ROTA_HTTP_DONE ? r->progress->times[phase] : -1;
}

const char *rota_http_response_auth_error(const rota_http_response *r)
{
    return r->auth_error ? r->auth_error : "";
}

static void make_words(rota_http_response *r)
{
    char words[ROTA__HTTP_WHY + 300];
    rota__http_words(r->progress, r->failed, words, sizeof words);
    r->words = rota__arena_copy(&r->arena, rota__str_of(words));
    if (!r->words)
        r->words = rota_strerror(r->failed);
}

const char *rota_http_response_error(const rota_http_response *r)
{
    if (r->failed == 0)
        return "";
    if (!r->words)
        make_words((rota_http_response *)r);
    return r->words;
}
