/* Bodies of requests: bytes, files, streams, forms and multipart forms, given out in pieces. */
#include "http/client.h"
#include "http/form.h"
#include "http/multipart.h"

#include <rota/file.h>

#include <string.h>

#define PIECE 65536
/* A body of this size fits into the buffers of a connection, before the server reads anything. */
#define SHORT 16384

static rota_str str_of(const char *text)
{
    return (rota_str){text, text ? strlen(text) : 0};
}

bool rota__http_source_is_empty(const rota_http_body_source *from)
{
    return !from->bytes.ptr && !from->path && !from->stream && !from->form && !from->parts;
}

/* ---- Forms */

static int form_init(struct rota__http_source *source)
{
    struct rota__out *out = &source->made;
    for (const char *const *pair = source->from.form; pair[0]; pair += 2) {
        if (!pair[1]) {
            source->about = pair[0];
            return -EINVAL;
        }
        rota__form_add(out, str_of(pair[0]), str_of(pair[1]));
    }
    source->text = (rota_str){out->ptr, out->len};
    source->type = str_of("application/x-www-form-urlencoded");
    source->length = out->len;
    source->is_known = true;
    return out->err;
}

/* ---- Files */

static int open_file(struct rota__http_source *source, const char *path, uint64_t *ret_size)
{
    struct stat st;
    int err = rota_file_open(path, O_RDONLY, 0, &source->file);
    if (err == 0)
        err = rota_file_stat(source->file, &st);
    if (err == 0 && !S_ISREG(st.st_mode)) /* the size of others is unknown */
        err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (err == 0 && ret_size)
        *ret_size = (uint64_t)st.st_size;
    if (err < 0)
        source->about = path;
    return err;
}

static int read_file(struct rota__http_source *source, rota_str *ret_piece)
{
    ssize_t n = rota_file_read(source->file, source->buf, PIECE);
    if (n < 0)
        return (int)n;
    *ret_piece = (rota_str){source->buf, (size_t)n};
    return 0;
}

/* ---- Parts */

/* Bytes are given out in pieces, so that progress counts. */
static rota_str take_piece(struct rota__http_source *source, rota_str bytes)
{
    uint64_t left = bytes.len - source->at;
    if (!left)
        return (rota_str){NULL, 0};
    rota_str piece = {bytes.ptr + source->at, left < PIECE ? (size_t)left : PIECE};
    source->at += piece.len;
    return piece;
}

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static struct rota__part part_of(const rota_http_part *from, uint64_t length)
{
    const char *filename = from->filename ? from->filename
                           : from->path   ? last_component(from->path)
                                          : NULL;
    return (struct rota__part){.name = str_of(from->name),
                               .filename = str_of(filename),
                               .type = str_of(from->type),
                               .length = length};
}

static int part_fails(struct rota__http_source *source, const char *about)
{
    source->about = about;
    return -EINVAL;
}

/* The length is right only if no file changes before it is sent. If one does, the request fails. */
static int parts_length(struct rota__http_source *source)
{
    const rota_http_body_source *from = &source->from;
    struct rota__part *parts = rota_alloc((from->count + 1) * sizeof *parts);
    int err = parts ? 0 : -ENOMEM;
    for (size_t i = 0; i < from->count && err == 0; i++) {
        uint64_t length = from->parts[i].bytes.len;
        if (!from->parts[i].name)
            err = part_fails(source, "a part without a name");
        else if (from->parts[i].path)
            err = open_file(source, from->parts[i].path, &length);
        source->file = rota_file_free(source->file);
        parts[i] = part_of(&from->parts[i], length);
    }
    if (err == 0)
        err = rota__multipart_length(source->boundary, parts, from->count, &source->length);
    if (err == -EINVAL && !source->about)
        source->about = "a part whose name or type cannot be sent";
    rota_free(parts);
    source->is_known = true;
    return err;
}

static int parts_init(struct rota__http_source *source, struct rota__arena *arena)
{
    struct rota__out out = {0};
    int err = rota__boundary_new(source->boundary);
    if (err < 0)
        return err;
    rota__multipart_write_type(&out, source->boundary);
    err = rota__arena_settle(arena, &out, 0, &source->type);
    return err < 0 ? err : parts_length(source);
}

/* Makes the next part's head, or the end of the form. */
static int next_part(struct rota__http_source *source, rota_str *ret_piece)
{
    const rota_http_body_source *from = &source->from;
    int err = 0;
    source->made.len = 0;
    if (source->part < from->count) {
        const rota_http_part *part = &from->parts[source->part];
        struct rota__part written = part_of(part, 0);
        err = rota__multipart_write_part(&source->made, source->boundary, &written,
                                         source->part == 0);
        source->in_part = true;
        source->at = 0;
        if (err == 0 && part->path)
            err = open_file(source, part->path, NULL);
    } else if (source->part == from->count) {
        err = rota__multipart_write_end(&source->made, source->boundary, from->count == 0);
    }
    source->part++;
    *ret_piece = (rota_str){source->made.ptr, source->made.len};
    return err;
}

static int parts_next(struct rota__http_source *source, rota_str *ret_piece)
{
    if (source->in_part) {
        const rota_http_part *part = &source->from.parts[source->part - 1];
        rota_str piece = {NULL, 0};
        int err = 0;
        if (source->file)
            err = read_file(source, &piece);
        else if (!part->path)
            piece = take_piece(source, part->bytes);
        if (err < 0 || piece.len) {
            *ret_piece = piece;
            return err;
        }
        source->file = rota_file_free(source->file);
        source->in_part = false;
    }
    return next_part(source, ret_piece);
}

/* ---- All of them */

static int make(struct rota__http_source *source, struct rota__arena *arena)
{
    const rota_http_body_source *from = &source->from;
    if (from->parts)
        return parts_init(source, arena);
    if (from->form)
        return form_init(source);
    if (from->path) {
        source->is_known = true;
        return open_file(source, from->path, &source->length);
    }
    if (from->stream) {
        source->is_known = from->length > 0;
        source->length = from->length;
        return 0;
    }
    source->text = from->bytes;
    source->length = from->bytes.len;
    source->is_known = true;
    return 0;
}

int rota__http_source_init(struct rota__http_source *source, const rota_http_body_source *from,
                           struct rota__arena *arena)
{
    *source = (struct rota__http_source){.from = *from};
    int err = make(source, arena);
    if (err == 0 && (from->parts || from->path || from->stream)) {
        source->buf = rota_alloc(PIECE);
        err = source->buf ? 0 : -ENOMEM;
    }
    return err;
}

bool rota__http_source_is_short(const struct rota__http_source *source)
{
    const rota_http_body_source *from = &source->from;
    return !from->parts && !from->path && !from->stream && source->text.len <= SHORT;
}

void rota__http_source_fini(struct rota__http_source *source)
{
    rota_file_free(source->file);
    rota__out_fini(&source->made);
    rota_free(source->buf);
    *source = (struct rota__http_source){0};
}

bool rota__http_source_can_rewind(const struct rota__http_source *source)
{
    return !source->began || !source->from.stream;
}

int rota__http_source_rewind(struct rota__http_source *source)
{
    if (!rota__http_source_can_rewind(source))
        return -ESPIPE;
    if (!source->began)
        return 0;
    source->began = source->in_part = false;
    source->at = source->part = 0;
    if (source->from.parts)
        source->file = rota_file_free(source->file);
    if (!source->file)
        return 0;
    int64_t at = rota_file_seek(source->file, 0, SEEK_SET);
    return at < 0 ? (int)at : 0;
}

static int stream_next(struct rota__http_source *source, rota_str *ret_piece)
{
    size_t len = PIECE;
    if (source->is_known && source->length - source->at < len)
        len = (size_t)(source->length - source->at);
    ssize_t n = len ? rota_stream_read(source->from.stream, source->buf, len) : 0;
    if (n < 0)
        return (int)n;
    source->at += (uint64_t)n;
    *ret_piece = (rota_str){source->buf, (size_t)n};
    return 0;
}

int rota__http_source_next(struct rota__http_source *source, rota_str *ret_piece)
{
    const rota_http_body_source *from = &source->from;
    source->began = true;
    if (from->parts)
        return parts_next(source, ret_piece);
    if (from->path)
        return read_file(source, ret_piece);
    if (from->stream)
        return stream_next(source, ret_piece);
    *ret_piece = take_piece(source, source->text);
    return 0;
}
