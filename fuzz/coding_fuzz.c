/* Decodes the input, whole and in pieces: both have to come to the same. Then encodes it and
 * decodes that. The first byte chooses the codings, the second one the pieces. */
#include "fuzz.h"

#include "http/coding.h"

#include <errno.h>

static int decode(const struct rota__codings *codings, rota_str coded, size_t piece, size_t room,
                  struct rota__out *told)
{
    static const struct rota__decoder_limits limits = {.ratio = 100, .slack = 10000};
    struct rota__decoder *d;
    char *to = malloc(room);
    ssize_t n = 0;
    require(to && rota__decoder_new(codings, &limits, &d) == 0);
    for (size_t at = 0; n == 0 && at < coded.len; at += piece) {
        size_t len = coded.len - at < piece ? coded.len - at : piece;
        char *exact = malloc(len);
        memcpy(exact, coded.ptr + at, len);
        rota_str in = {exact, len};
        while ((n = rota__decoder_read(d, &in, to, room)) > 0)
            rota__out_add(told, to, (size_t)n);
        require(n < 0 || in.len == 0);
        free(exact);
    }
    if (n == 0)
        n = rota__decoder_finish(d);
    require(told->len <= 10000 + 100 * coded.len);
    rota__decoder_free(d);
    free(to);
    return (int)n;
}

static void encode_and_decode(enum rota__coding coding, rota_str plain, size_t piece)
{
    struct rota__codings codings = {{coding}, 1};
    struct rota__encoder *e;
    struct rota__out out = {0}, told = {0};
    require(rota__encoder_new(coding, 0, &e) == 0);
    for (size_t at = 0; at < plain.len; at += piece) {
        rota_str bytes = {plain.ptr + at, plain.len - at < piece ? plain.len - at : piece};
        require(rota__encoder_write(e, bytes, (at / piece) & 1, &out) == 0);
    }
    require(rota__encoder_write(e, (rota_str){NULL, 0}, ROTA__ENCODER_END, &out) == 0);
    require(decode(&codings, written(&out), piece, piece, &told) == 0);
    require(is_same(written(&told), plain));
    rota__encoder_free(e);
    rota__out_fini(&out);
    rota__out_fini(&told);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct rota__codings codings = {.count = 0};
    struct rota__out whole = {0}, split = {0};
    rota_str input = {(const char *)data + 2, size - 2};
    for (unsigned how = data[0]; codings.count < 3 && (how & 3 || !codings.count); how >>= 2)
        codings.list[codings.count++] = how & 3 ? how & 3 : ROTA__CODING_GZIP;
    int one = decode(&codings, input, size, 4096, &whole);
    int other = decode(&codings, input, data[1] + 1u, data[1] % 16 + 1u, &split);
    if (one != ROTA_ELIMIT && other != ROTA_ELIMIT) {
        require(one == other);
        require(one < 0 || is_same(written(&whole), written(&split)));
    }
    encode_and_decode(codings.list[0], input, data[1] + 1u);
    rota__out_fini(&whole);
    rota__out_fini(&split);
    return 0;
}
