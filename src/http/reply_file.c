/* Replies from files: paths, conditions, ranges (RFC 9110, sections 13 and 14), and sending the
 * bytes. */
#include "http/condition.h"
#include "http/date.h"
#include "http/multipart.h"
#include "http/plain.h"
#include "http/range.h"
#include "http/reply.h"
#include "http/root.h"
#include "http/url.h"

#include <rota/file.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE ((size_t)32 * 1024)

struct serving {
    rota_http_request *r;
    rota_http_root *root;
    /* Below the root, decoded. */
    const char *name;
    int fd;
    /* Has taken `fd` over, if the file is read in pieces. */
    rota_file *file;
    uint64_t size;
    int64_t modified;
    char etag[64];
    const char *type;
    /* Coding of a compressed file beside it, or NULL. */
    const char *coding;
};

/* ---- The bytes */

/* Mostly the kernel has the file in its cache, and then the loop's thread reads it. */
static int send_by_pieces(struct serving *f, uint64_t offset, uint64_t len)
{
    int err = f->file ? 0 : rota_file_from_fd(f->fd, &f->file);
    char *buf = rota_alloc(PIECE);
    if (!buf)
        err = -ENOMEM;
    while (err == 0 && len > 0) {
        size_t most = len < PIECE ? (size_t)len : PIECE;
        ssize_t n = rota_file_pread(f->file, buf, most, (int64_t)offset);
        err = n < 0 ? (int)n : n == 0 ? ROTA_EOF : rota_http_write(f->r, buf, (size_t)n);
        offset += n > 0 ? (uint64_t)n : 0;
        len -= n > 0 ? (uint64_t)n : 0;
    }
    rota_free(buf);
    return err;
}

static int send_range(struct serving *f, uint64_t from, uint64_t len)
{
    rota_http_request *r = f->r;
    if (r->has_no_body || len == 0)
        return 0;
    if (!r->kind->send_file || r->encoder)
        return send_by_pieces(f, from, len);
    return rota__reply_send_file(r, f->fd, from, len);
}

/* ---- Fields */

static void add_date(rota_http_request *r, const char *name, int64_t seconds)
{
    char text[ROTA__DATE_LEN + 1] = "";
    rota__date_write(text, seconds);
    rota_http_add_header(r, name, text);
}

static void add_fields(const struct serving *f)
{
    char text[64];
    add_date(f->r, "Last-Modified", f->modified);
    rota_http_add_header(f->r, "ETag", f->etag);
    if (!f->root->cache)
        return;
    snprintf(text, sizeof text, "max-age=%lld", (long long)(f->root->cache / ROTA_SECOND));
    rota_http_add_header(f->r, "Cache-Control", text);
}

/* ---- Ranges */

static int send_whole(struct serving *f)
{
    rota_http_add_header(f->r, "Accept-Ranges", "bytes");
    int err = rota_http_start(f->r, 200, f->type, f->size);
    return err < 0 ? err : send_range(f, 0, f->size);
}

static int add_content_range(const struct serving *f, const struct rota__range *range)
{
    struct rota__out out = {0};
    struct rota__content_range content = {{0, 0}, f->size};
    if (range)
        content.range = *range;
    rota__content_range_write(&out, &content);
    rota__out_add(&out, "", 1);
    int err = out.err < 0 ? out.err : rota_http_add_header(f->r, "Content-Range", out.ptr);
    rota__out_fini(&out);
    return err;
}

static int send_one(struct serving *f, const struct rota__range *range)
{
    int err = add_content_range(f, range);
    if (err == 0)
        err = rota_http_start(f->r, 206, f->type, range->len);
    return err < 0 ? err : send_range(f, range->from, range->len);
}

/* Random, so that no file can contain it on purpose. */
static void make_boundary(char text[17])
{
    uint64_t random;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint64_t)rota_now() * 0x9e3779b97f4a7c15u;
    snprintf(text, 17, "%016llx", (unsigned long long)random);
}

static int send_part(struct serving *f, const char *boundary, const struct rota__range *range,
                     bool first)
{
    struct rota__out out = {0};
    rota_str type = {f->type, strlen(f->type)};
    rota__byteranges_write_part(&out, boundary, type, range, f->size, first);
    int err = out.err < 0 ? out.err : rota_http_write(f->r, out.ptr, out.len);
    rota__out_fini(&out);
    return err < 0 ? err : send_range(f, range->from, range->len);
}

static int send_several(struct serving *f, const struct rota__range *ranges, size_t count)
{
    char boundary[17], type[64];
    uint64_t length;
    make_boundary(boundary);
    int err = rota__byteranges_length(boundary, (rota_str){f->type, strlen(f->type)}, ranges, count,
                                      f->size, &length);
    snprintf(type, sizeof type, "multipart/byteranges; boundary=%s", boundary);
    if (err == 0)
        err = rota_http_start(f->r, 206, type, length);
    for (size_t i = 0; err == 0 && i < count; i++)
        err = send_part(f, boundary, &ranges[i], i == 0);
    struct rota__out end = {0};
    if (err == 0)
        err = rota__multipart_write_end(&end, boundary, false);
    if (err == 0)
        err = rota_http_write(f->r, end.ptr, end.len);
    rota__out_fini(&end);
    return err;
}

static int send_file(struct serving *f, bool may_be_part)
{
    struct rota__range ranges[ROTA__RANGES];
    rota_str asked = rota_http_request_header(f->r, "range");
    int count = asked.ptr && may_be_part ? rota__range_parse(asked, f->size, ranges) : 0;
    if (count == -ERANGE) {
        add_content_range(f, NULL);
        return rota_http_reply_status(f->r, 416);
    }
    if (count <= 0)
        return send_whole(f);
    return count == 1 ? send_one(f, ranges) : send_several(f, ranges, (size_t)count);
}

/* ---- Conditions */

static int reply_with(struct serving *f)
{
    rota_http_request *r = f->r;
    struct rota__validators now = {true, {f->etag, strlen(f->etag)}, f->modified};
    int64_t clock = time(NULL);
    enum rota__condition met = rota__condition_check(r->fields, r->count, r->method, &now, clock);
    if (met == ROTA__CONDITION_FAILED)
        return rota_http_reply_status(r, 412);
    add_fields(f);
    if (f->root->precompressed || rota__reply_may_be_coded(r, f->type, f->size))
        rota_http_add_header(r, "Vary", "Accept-Encoding");
    if (f->coding)
        rota_http_add_header(r, "Content-Encoding", f->coding);
    if (met == ROTA__CONDITION_NOT_MODIFIED)
        return rota_http_reply_status(r, 304);
    return send_file(f, !r->is_head && rota__condition_range(r->fields, r->count, &now, clock));
}

/* ---- Directories */

static int reply_list(struct serving *f)
{
    struct rota__out page = {0};
    int fd = f->fd;
    f->fd = -1;
    int err = rota__listing_write(&page, f->root, f->name, fd, f->r->path);
    if (err == 0)
        err = rota_http_reply(f->r, 200, "text/html; charset=utf-8", page.ptr, page.len);
    rota__out_fini(&page);
    return err;
}

/* Relative to the request's path, so it is right wherever the root is mounted. "./" keeps a colon
 * in the name from ending a scheme. */
static int redirect(rota_http_request *r)
{
    const char *slash = memrchr(r->path.ptr, '/', r->path.len);
    const char *from = slash ? slash + 1 : r->path.ptr;
    size_t len = (size_t)(r->path.ptr + r->path.len - from);
    size_t size = len + r->query.len + 5;
    char *to = rota_http_alloc(r, size);
    if (!to)
        return -ENOMEM;
    snprintf(to, size, "./%.*s/%s%.*s", (int)len, from, r->query.ptr ? "?" : "", (int)r->query.len,
             r->query.len ? r->query.ptr : "");
    rota_http_add_header(r, "Location", to);
    return rota_http_reply_status(r, 301);
}

/* ---- Finding the file */

static int status_of(int err)
{
    switch (err) {
    case -EACCES:
    case -EPERM:
        return 403;
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -EAGAIN:
        return 503;
    case -ENOENT:
    case -ENOTDIR:
    case -ELOOP:
    case -EXDEV:
    case -ENXIO:
    case -ENODEV:
    case -ENAMETOOLONG:
        return 404;
    default:
        return 500;
    }
}

/* Whether a component of the name begins with a dot. "." and ".." are never allowed. */
static bool is_dotted(const char *name, bool hidden)
{
    for (const char *at = name; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (*at != '.')
            continue;
        size_t dots = strspn(at, ".");
        if (!hidden || (dots <= 2 && (at[dots] == '/' || !at[dots])))
            return true;
    }
    return false;
}

/* No name contains an encoded slash or NUL. */
static bool is_strange(rota_str path)
{
    if (!memchr(path.ptr, '%', path.len))
        return false;
    return memmem(path.ptr, path.len, "%2f", 3) || memmem(path.ptr, path.len, "%2F", 3) ||
           memmem(path.ptr, path.len, "%00", 3);
}

/* Sets the name below the root, in the request's memory, or NULL if no file can have it. */
static int find_name(struct serving *f, rota_str path)
{
    struct rota__out out = {0};
    f->name = NULL;
    while (path.len && *path.ptr == '/') {
        path.ptr++;
        path.len--;
    }
    rota_str name;
    int err = path.len && is_strange(path) ? -EINVAL : rota__url_decode(&out, path);
    err = rota__arena_settle(&f->r->arena, &out, err, &name);
    if (err == 0 && !is_dotted(name.ptr, f->root->hidden))
        f->name = name.ptr;
    return err == -ENOMEM ? err : 0;
}

/* Changes when the file does. Not made by snprintf, which takes 1,200 instructions. */
static void make_etag(struct serving *f, const struct stat *st)
{
    uint64_t time = (uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec;
    struct rota__out out = {.ptr = f->etag, .room = sizeof f->etag, .lent = true};
    rota__out_add_literal(&out, "\"");
    rota__out_add_number(&out, st->st_ino, 16);
    rota__out_add_literal(&out, "-");
    rota__out_add_number(&out, time, 16);
    rota__out_add_literal(&out, "-");
    rota__out_add_number(&out, (uint64_t)st->st_size, 16);
    rota__out_add(&out, "\"", 2); /* with a NUL */
}

static int look_at(struct serving *f, struct stat *ret_st)
{
    if (fstat(f->fd, ret_st) < 0)
        return -errno;
    f->size = (uint64_t)ret_st->st_size;
    f->modified = ret_st->st_mtime;
    make_etag(f, ret_st);
    return 0;
}

static int open_at(struct serving *f, const char *name, struct stat *ret_st)
{
    int fd = rota__root_open(f->root, *name ? name : ".");
    if (fd < 0)
        return fd;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = fd;
    return look_at(f, ret_st);
}

/* Opens the index of the open directory. */
static int open_index(struct serving *f, struct stat *ret_st)
{
    const char *index = f->root->index;
    size_t len = index ? strlen(f->name) + strlen(index) + 1 : 0;
    char *name = index ? rota_http_alloc(f->r, len) : NULL;
    if (!name)
        return index ? -ENOMEM : -ENOENT;
    snprintf(name, len, "%s%s", f->name, index);
    int err = open_at(f, name, ret_st);
    if (err == 0)
        f->name = name;
    return err;
}

/* Serves the compressed file beside it, if there is one and the client accepts it. */
static int prefer_compressed(struct serving *f, struct stat *st)
{
    static const struct {
        enum rota__coding coding;
        const char *ending;
    } kinds[] = {{ROTA__CODING_BR, ".br"}, {ROTA__CODING_GZIP, ".gz"}};
    size_t len = strlen(f->name) + 4;
    char *name = rota_http_alloc(f->r, len);
    if (!name)
        return -ENOMEM;
    for (size_t i = 0; i < 2; i++) {
        struct stat beside = *st;
        snprintf(name, len, "%s%s", f->name, kinds[i].ending);
        if (rota__reply_choose_coding(f->r, 1u << kinds[i].coding) != (int)kinds[i].coding)
            continue;
        int err = open_at(f, name, &beside);
        if (err == -ECANCELED || err == -ETIMEDOUT)
            return err;
        if (err == 0 && S_ISREG(beside.st_mode)) {
            f->coding = rota__coding_name(kinds[i].coding);
            return 0;
        }
        if (err == 0) /* another kind of file has that name */
            return open_at(f, f->name, st);
    }
    return 0;
}

static int reply_found(struct serving *f, struct stat *st)
{
    size_t len = strlen(f->name);
    bool ends_with_slash = len == 0 || f->name[len - 1] == '/';
    int err = 0;
    if (S_ISDIR(st->st_mode)) {
        rota_str path = f->r->path;
        if (path.ptr[path.len - 1] != '/')
            return redirect(f->r);
        err = open_index(f, st);
        if (err == -ENOENT && f->root->list)
            return reply_list(f);
    } else if (ends_with_slash) {
        err = -ENOTDIR;
    }
    if (err == 0 && !S_ISREG(st->st_mode))
        err = -ENOENT;
    f->type = rota__type_of(f->name);
    if (!f->type)
        f->type = "application/octet-stream";
    if (err == 0 && f->root->precompressed)
        err = prefer_compressed(f, st);
    return err < 0 ? rota_http_reply_status(f->r, status_of(err)) : reply_with(f);
}

int rota_http_reply_file(rota_http_request *r, rota_http_root *root, rota_str path)
{
    struct serving f = {.r = r, .root = root, .fd = -1};
    struct stat st;
    if (!r->is_head && !rota_str_equal(r->method, "GET")) {
        rota_http_add_header(r, "Allow", "GET, HEAD");
        return rota_http_reply_status(r, 405);
    }
    int err = rota__http_plain(find_name(&f, path));
    if (err < 0)
        return err;
    err = f.name ? open_at(&f, f.name, &st) : -ENOENT;
    if (err == -ECANCELED || err == -ETIMEDOUT)
        return err;
    err = err < 0 ? rota_http_reply_status(r, status_of(err)) : reply_found(&f, &st);
    if (f.file)
        rota_file_free(f.file);
    else if (f.fd >= 0)
        close(f.fd);
    return err == -ENOMEM ? rota__http_plain(err) : err;
}
