/* Choosing a content coding: Accept-Encoding, Content-Encoding, and what is worth encoding. */
#include "http/coding.h"
#include "http/chars.h"
#include "http/params.h"

#include <errno.h>

/* A smaller body fits into one packet without encoding. */
#define WORTH_SIZE 1024

static const char *const names[ROTA__CODINGS] = {"identity", "gzip", "deflate", "br", "zstd"};

const char *rota__coding_name(enum rota__coding coding)
{
    return names[coding];
}

bool rota__coding_is_known(enum rota__coding coding)
{
#ifdef ROTA__HAS_ZSTD
    return true;
#else
    return coding != ROTA__CODING_ZSTD;
#endif
}

/* A coding, or -1. x-gzip is gzip (RFC 9110, section 8.4.1.3). */
static int coding_of(rota_str name)
{
    for (int i = 0; i < ROTA__CODINGS; i++) {
        if (rota__str_is(name, names[i]))
            return i;
    }
    return rota__str_is(name, "x-gzip") ? ROTA__CODING_GZIP : -1;
}

/* ---- Accept-Encoding */

/* ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] ), in thousandths; -1 if it is invalid. */
static int read_weight(rota_str s)
{
    int weight = 0, digit = 1000;
    if (!s.len || s.len > 5 || (*s.ptr != '0' && *s.ptr != '1') || (s.len > 1 && s.ptr[1] != '.'))
        return -1;
    for (size_t i = 0; i < s.len; i++) {
        if (i == 1)
            continue;
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return -1;
        weight += (s.ptr[i] - '0') * digit;
        digit /= 10;
    }
    return weight <= 1000 ? weight : -1;
}

static int find_weight(rota_str params)
{
    struct rota__param param;
    int weight = 1000, more;
    while ((more = rota__param_next(&params, &param)) > 0) {
        if (rota__str_is(param.name, "q"))
            weight = read_weight(param.value);
    }
    return more < 0 ? -1 : weight;
}

void rota__coding_wishes_add(struct rota__coding_wishes *wishes, rota_str field)
{
    while (field.len) {
        rota_str element = rota__cut(&field, ',');
        rota_str name = rota__param_head(&element);
        int coding = coding_of(name), weight = find_weight(element);
        if (weight < 0)
            continue;
        if (coding >= 0)
            wishes->weight[coding] = (short)weight;
        else if (rota__str_is(name, "*"))
            wishes->others = (short)weight;
    }
}

int rota__coding_choose(const struct rota__coding_wishes *wishes, unsigned offered)
{
    static const enum rota__coding by_size[] = {ROTA__CODING_BR, ROTA__CODING_ZSTD,
                                                ROTA__CODING_GZIP, ROTA__CODING_DEFLATE,
                                                ROTA__CODING_IDENTITY};
    int best = -1, best_weight = 0;
    for (size_t i = 0; i < ROTA__CODINGS; i++) {
        enum rota__coding coding = by_size[i];
        bool identity = coding == ROTA__CODING_IDENTITY;
        int weight = wishes->weight[coding] >= 0 ? wishes->weight[coding] : wishes->others;
        if (weight < 0 && identity)
            weight = best < 0 ? 1 : 0; /* acceptable unless excluded */
        if (weight > best_weight && (identity || offered & 1u << coding)) {
            best = (int)coding;
            best_weight = weight;
        }
    }
    return best;
}

/* ---- What is worth it */

static bool ends_with(rota_str s, const char *tail)
{
    size_t len = strlen(tail);
    return s.len > len && rota__str_is((rota_str){s.ptr + s.len - len, len}, tail);
}

bool rota__coding_is_worth(rota_str content_type, uint64_t size)
{
    static const char *const types[] = {
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/svg+xml",
        "image/vnd.microsoft.icon",
        "image/x-icon",
    };
    rota_str type = rota__param_head(&content_type);
    if (size < WORTH_SIZE)
        return false;
    if (type.len > 5 && rota__str_is((rota_str){type.ptr, 5}, "text/"))
        return true;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (rota__str_is(type, types[i]))
            return true;
    }
    return ends_with(type, "+json") || ends_with(type, "+xml");
}

/* ---- Content-Encoding */

int rota__codings_add(struct rota__codings *codings, rota_str field)
{
    while (field.len) {
        rota_str name = rota__trim(rota__cut(&field, ','));
        int coding = name.len ? coding_of(name) : ROTA__CODING_IDENTITY;
        if (coding == ROTA__CODING_IDENTITY)
            continue;
        if (coding < 0 || !rota__coding_is_known((enum rota__coding)coding) ||
            codings->count == ROTA__DECODER_STAGES)
            return -ENOTSUP;
        codings->list[codings->count++] = (enum rota__coding)coding;
    }
    return 0;
}
