/* Compressed replies (RFC 9110, sections 8.4 and 12.5.3): which clients and replies, and the
 * encoding itself. */
#include "http/chars.h"
#include "http/coding.h"
#include "http/fields.h"
#include "http/reply.h"

static const struct rota__added *find(const rota_http_request *r, const char *lower)
{
    const struct rota__added *a = r->added;
    while (a && !rota__str_is(a->field.name, lower))
        a = a->next;
    return a;
}

bool rota__reply_may_be_coded(const rota_http_request *r, const char *type, uint64_t length)
{
    return r->server->options.compress && type &&
           rota__coding_is_worth((rota_str){type, strlen(type)}, length);
}

int rota__reply_choose_coding(const rota_http_request *r, unsigned offered)
{
    struct rota__coding_wishes wishes = ROTA__CODING_WISHES_INIT;
    const rota_http_field *field;
    for (size_t at = 0;
         (field = rota__fields_next(r->fields, r->count, rota__str_of("accept-encoding"), &at));)
        rota__coding_wishes_add(&wishes, field->value);
    int coding = rota__coding_choose(&wishes, offered);
    return coding < 0 ? ROTA__CODING_IDENTITY : coding; /* rather than 406 */
}

/* Parts, encoded replies, and replies that must not be transformed are not compressed. */
static bool is_fixed(const rota_http_request *r, int status)
{
    if (status == 206 || find(r, "content-encoding") || find(r, "content-range"))
        return true;
    const struct rota__added *cache = find(r, "cache-control");
    return cache && memmem(cache->field.value.ptr, cache->field.value.len, "no-transform", 12);
}

/* A compressed reply is only semantically equal, so its tag is weak (section 8.8.1). */
static void weaken_tag(rota_http_request *r)
{
    for (struct rota__added *a = r->added; a; a = a->next) {
        rota_str value = a->field.value;
        if (!rota__str_is(a->field.name, "etag") || !value.len || *value.ptr == 'W')
            continue;
        char *weak = rota__arena_alloc(&r->arena, value.len + 2);
        if (!weak)
            return;
        memcpy(weak, "W/", 2);
        memcpy(weak + 2, value.ptr, value.len);
        a->field.value = (rota_str){weak, value.len + 2};
    }
}

/* Memory of an encoder at the level of encoder.c; measured. */
static size_t encoder_memory(int coding)
{
    return (size_t)(coding == ROTA__CODING_BR ? 2200 : 280) * 1024;
}

static int begin_encoder(rota_http_request *r, int coding)
{
    int err = rota__encoder_new(coding, 0, &r->encoder);
    if (err < 0)
        rota__budget_hold(&r->server->budget, &r->encoder_memory, 0);
    return err;
}

void rota__reply_drop_encoder(rota_http_request *r)
{
    if (r->encoder)
        rota__encoder_free(r->encoder);
    r->encoder = NULL;
    rota__budget_hold(&r->server->budget, &r->encoder_memory, 0);
}

int rota__reply_code(rota_http_request *r, int status, const char *type, uint64_t length)
{
    if (rota__reply_is_bodiless(status) || !rota__reply_may_be_coded(r, type, length) ||
        is_fixed(r, status))
        return 0;
    int err = find(r, "vary") ? 0 : rota_http_add_header(r, "Vary", "Accept-Encoding");
    int coding = rota__reply_choose_coding(r, 1u << ROTA__CODING_GZIP | 1u << ROTA__CODING_BR);
    if (err < 0 || coding == ROTA__CODING_IDENTITY)
        return err;
    if (!rota__budget_hold(&r->server->budget, &r->encoder_memory, encoder_memory(coding)))
        return 0; /* then it is sent as it is */
    err = rota_http_add_header(r, "Content-Encoding", rota__coding_name(coding));
    if (err == 0)
        err = begin_encoder(r, coding);
    if (err == 0)
        weaken_tag(r);
    r->left = length;
    return err;
}

/* The announced length is the length of what the handler writes. */
static int count(rota_http_request *r, size_t len, bool last)
{
    if (r->left == ROTA_HTTP_UNKNOWN_LENGTH || r->has_no_body)
        return 0;
    if (len > r->left || (last && len < r->left))
        return -EMSGSIZE;
    r->left -= len;
    return 0;
}

int rota__reply_encode(rota_http_request *r, rota_str *piece, enum rota__encoder_step step)
{
    int err = count(r, piece->len, step == ROTA__ENCODER_END);
    r->encoded.len = 0;
    if (err == 0 && !r->has_no_body)
        err = rota__encoder_write(r->encoder, *piece, step, &r->encoded);
    *piece = (rota_str){r->encoded.ptr, r->encoded.len};
    return err;
}
