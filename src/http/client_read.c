/* Reading the body of a response: raw, decoded, whole, as events, into a file. */
#include "http/chars.h"
#include "http/client.h"
#include "http/params.h"
#include "http/plain.h"

#include <rota/path.h>

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Bytes that are decoded at once. */
#define CODED 16384
#define STEP 16384
/* Most bytes that are allocated in advance, because the server announced them. */
#define AT_ONCE (1 << 20)

ssize_t rota__http_read_raw(rota_http_response *r, void *buf, size_t len)
{
    if (r->raw_ended)
        return 0;
    if (!r->conn)
        return ROTA_ECLOSED;
    if (!r->conn->session)
        r->own.session = NULL; /* it may be freed */
    if (!r->is_here)
        rota__http_limit(r->progress, ROTA_HTTP_LIMIT_GAP,
                         r->upload && r->upload->is_asking ? ROTA_NEVER : r->gap);
    return r->conn->kind->read(r, buf, len);
}

/* ---- Decoding */

static int undecodable(rota_http_response *r, ssize_t err)
{
    if (err == -EBADMSG)
        return rota__http_say(r->progress, ROTA_EPROTOCOL,
                              "the body is not encoded as Content-Encoding says");
    if (err == ROTA_ELIMIT)
        rota__http_say(r->progress, ROTA_ELIMIT,
                       "the decoded body is too large for its encoded size (option ratio)");
    return (int)err;
}

static ssize_t read_decoded(rota_http_response *r, char *buf, size_t len)
{
    if (!r->coded)
        r->coded = rota_alloc(CODED);
    if (!r->coded)
        return -ENOMEM;
    for (;;) {
        ssize_t n = rota__decoder_read(r->decoder, &r->left, buf, len);
        if (n != 0)
            return n < 0 ? undecodable(r, n) : n;
        if (r->raw_ended)
            return rota__decoder_finish(r->decoder) < 0
                       ? rota__http_say(r->progress, ROTA_ETRUNCATED, "the encoded body has no end")
                       : 0;
        n = rota__http_read_raw(r, r->coded, CODED);
        if (n < 0)
            return n;
        r->left = (rota_str){r->coded, (size_t)n};
    }
}

/* ---- Piece by piece */

/* The body may have arrived whole before reading it fails. */
static void set_phase(rota_http_response *r)
{
    if (r->progress->phase == ROTA_HTTP_DONE)
        r->progress->phase = ROTA_HTTP_READING;
}

/* Makes `err` the failure of the call that reads. */
static int fail(rota_http_response *r, int err)
{
    set_phase(r);
    r->failed = err;
    r->words = NULL;
    return rota__http_fail(r->progress, err);
}

/* Whether reading was only interrupted. */
static bool may_go_on(const rota_http_response *r, ssize_t err)
{
    return (err == -ECANCELED || err == -ETIMEDOUT) && (r->conn || r->raw_ended);
}

/* Reading has failed for good. */
static void give_up(rota_http_response *r, int err)
{
    r->err = err;
    set_phase(r);
    if (r->conn)
        r->conn->kind->drop(r);
}

static ssize_t read_some(rota_http_response *r, void *buf, size_t len)
{
    if (r->err < 0)
        return r->err;
    if (r->ended)
        return 0;
    ssize_t n = r->decoder ? read_decoded(r, buf, len) : rota__http_read_raw(r, buf, len);
    r->ended = n == 0;
    if (n < 0 && !may_go_on(r, n))
        give_up(r, (int)n);
    return n;
}

/* Ends a call that waited under limits of the response. */
static ssize_t waited(rota_http_response *r, ssize_t n)
{
    int err = rota__http_unlimit(r->progress, n < 0 ? (int)n : 0);
    if (err == -ETIMEDOUT && r->progress->is_late)
        give_up(r, err);
    if (err < 0)
        fail(r, err);
    else
        r->failed = 0; /* reading continues after an interruption */
    return n;
}

static ssize_t give(rota_http_response *r, void *buf, size_t len)
{
    if (len > r->body.len - r->given)
        len = r->body.len - r->given;
    memcpy(buf, r->body.ptr + r->given, len);
    r->given += len;
    return (ssize_t)len;
}

ssize_t rota_http_read(rota_http_response *r, void *buf, size_t len)
{
    if (len == 0) {
        int err = rota__http_check();
        return err < 0 ? err
                       : rota_error_set(-EINVAL,
                                        "reading the response from %s: the buffer has length 0",
                                        rota_http_response_url(r));
    }
    if (r->is_whole)
        return r->given < r->body.len ? give(r, buf, len) : 0;
    return waited(r, read_some(r, buf, len));
}

/* ---- Whole */

/* Makes room for more, and for a NUL; in the response's own block if there is space for it. */
static int make_room(rota_http_response *r)
{
    struct rota__out *body = &r->body;
    if (body->room - body->len > 1)
        return 0;
    uint64_t wanted = r->has_length && !r->decoder ? r->length - body->len + 1 : STEP;
    if (!body->ptr && wanted + 16 <= (uint64_t)(r->arena.end - r->arena.at)) {
        body->ptr = rota__arena_alloc(&r->arena, (size_t)wanted);
        body->room = (size_t)wanted;
        body->lent = true;
        return 0;
    }
    if (wanted > AT_ONCE)
        wanted = AT_ONCE;
    return rota__out_reserve(body, (size_t)wanted) ? 0 : -ENOMEM;
}

static int too_long(rota_http_response *r, uint64_t limit)
{
    return rota__http_say(r->progress, ROTA_ELIMIT, "the body is longer than %llu bytes",
                          (unsigned long long)limit);
}

static int read_rest(rota_http_response *r, uint64_t limit)
{
    struct rota__out *body = &r->body;
    if (r->has_length && !r->decoder && r->length > limit && !r->raw_ended)
        return too_long(r, limit);
    while (!(r->raw_ended && !r->decoder) && !r->ended) {
        int err = make_room(r);
        if (err < 0)
            return err;
        ssize_t n = read_some(r, body->ptr + body->len, body->room - body->len - 1);
        if (n < 0)
            return (int)n;
        body->len += (size_t)n;
        if (body->len > limit)
            return too_long(r, limit);
    }
    r->ended = true;
    return 0;
}

int rota__http_read_whole(rota_http_response *r, uint64_t limit)
{
    int err = read_rest(r, limit);
    if (err < 0) {
        if (!may_go_on(r, err))
            give_up(r, err);
        return err;
    }
    if (r->body.ptr)
        r->body.ptr[r->body.len] = '\0';
    r->is_whole = true;
    return 0;
}

int rota_http_read_all(rota_http_response *r, uint64_t limit)
{
    if (r->err < 0)
        return fail(r, r->err);
    return r->is_whole ? 0 : (int)waited(r, rota__http_read_whole(r, limit ? limit : r->limit));
}

rota_str rota_http_body(const rota_http_response *r)
{
    return r->body.ptr ? (rota_str){r->body.ptr, r->body.len} : (rota_str){"", 0};
}

/* ---- Events */

static int more_text(rota_http_response *r)
{
    if (!r->text)
        r->text = rota_alloc(STEP);
    if (!r->text)
        return fail(r, -ENOMEM);
    ssize_t n = rota_http_read(r, r->text, STEP);
    if (n > 0)
        r->text_left = (rota_str){r->text, (size_t)n};
    return n < 0 ? (int)n : n > 0;
}

static bool is_event_stream(const rota_http_response *r)
{
    rota_str type = rota_http_response_header(r, "Content-Type");
    return r->status == 200 && rota__str_is(rota__param_head(&type), "text/event-stream");
}

static int next_event(void *self, void **ret_item)
{
    rota_http_response *r = self;
    if (!r->has_sse && !is_event_stream(r))
        return fail(r, rota__http_say(r->progress, ROTA_EPROTOCOL, "not an event stream"));
    if (!r->has_sse)
        rota__sse_init(&r->sse, 0);
    r->has_sse = true;
    for (;;) {
        struct rota__sse_event event;
        int more = rota__sse_next(&r->sse, &r->text_left, &event);
        if (more > 0) {
            r->event = (rota_http_event){event.type, event.data, event.id,
                                         (rota_time)event.retry * ROTA_MILLISECOND};
            *ret_item = &r->event;
            return 1;
        }
        if (more == ROTA_ELIMIT)
            rota__http_say(r->progress, more, "an event is too long");
        if (more < 0)
            return fail(r, more);
        more = more_text(r);
        if (more <= 0)
            return more;
    }
}

rota_iter rota_http_events(rota_http_response *r)
{
    return (rota_iter){next_event, r};
}

/* ---- Into a file */

/* Makes a file with a unique name beside `path`. */
static int open_beside(const char *path, char *ret_name, size_t size, rota_file **ret_file)
{
    int err = -EEXIST;
    for (int tries = 0; err == -EEXIST && tries < 100; tries++) {
        uint64_t number;
        if (getrandom(&number, sizeof number, 0) < 0)
            return rota_error_set(-errno, "%s", rota_strerror(-errno));
        if (snprintf(ret_name, size, "%s.%016llx", path, (unsigned long long)number) >= (int)size)
            return rota_error_set(-ENAMETOOLONG, "\"%.40s...\" is too long for a path", path);
        err = rota_file_open(ret_name, O_WRONLY | O_CREAT | O_EXCL, 0, ret_file);
    }
    return err;
}

static int copy_to(rota_http_response *r, rota_file *file)
{
    char *buf = rota_alloc(4 * STEP);
    ssize_t n = buf ? 1 : fail(r, -ENOMEM);
    while (n > 0) {
        n = rota_http_read(r, buf, 4 * STEP);
        int err = n > 0 ? rota_file_write(file, buf, (size_t)n) : 0;
        if (err < 0)
            n = err;
    }
    rota_free(buf);
    return n < 0 ? (int)n : rota_file_sync(file);
}

static void remove_quietly(const char *name)
{
    ROTA_KEEP_ERROR;
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_path_unlink(name));
    }
}

int rota_http_save(rota_http_response *r, const char *path)
{
    char name[4096];
    rota_file *file = NULL;
    int err = open_beside(path, name, sizeof name, &file);
    if (err < 0)
        return rota_error_wrap(err, "save the response from %s", r->url.ptr);
    err = copy_to(r, file);
    rota_file_free(file);
    if (err == 0)
        err = rota_path_rename(name, path);
    if (err < 0)
        remove_quietly(name);
    return err;
}
