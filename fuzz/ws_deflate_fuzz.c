/* Inflates the input as messages, whole and in pieces: both have to come to the same. Then deflates
 * it and inflates that. The first byte chooses what was agreed on, the second one the pieces. */
#include "../tests/inflate.h"
#include "fuzz.h"

#define LIMIT 20000

/* The first half as a message, then the second one. */
static int inflate_both(const struct rota__ws_deflate_terms *terms, rota_str input, size_t piece,
                        size_t room, struct rota__out *told)
{
    struct rota__ws_deflate *d;
    require(rota__ws_deflate_new(terms, true, 0, LIMIT, &d) == 0);
    size_t half = input.len / 2;
    int err = inflate_message(d, (rota_str){input.ptr, half}, piece, room, told);
    require(told->len <= LIMIT);
    if (err == 0)
        err = inflate_message(d, (rota_str){input.ptr + half, input.len - half}, piece, room, told);
    rota__ws_deflate_free(d);
    return err;
}

static void deflate_and_inflate(const struct rota__ws_deflate_terms *terms, rota_str input,
                                size_t piece)
{
    struct rota__ws_deflate *from, *to;
    require(rota__ws_deflate_new(terms, true, 0, 0, &from) == 0);
    require(rota__ws_deflate_new(terms, false, 0, 0, &to) == 0);
    for (int i = 0; i < 2; i++) {
        struct rota__out out = {0}, told = {0};
        for (size_t at = 0; at < input.len; at += piece) {
            size_t len = input.len - at < piece ? input.len - at : piece;
            require(rota__ws_deflate_write(from, (rota_str){input.ptr + at, len}, false, &out) ==
                    0);
        }
        require(rota__ws_deflate_write(from, (rota_str){NULL, 0}, true, &out) == 0);
        require(inflate_message(to, written(&out), piece, piece, &told) == 0);
        require(is_same(written(&told), input));
        rota__out_fini(&told);
        rota__out_fini(&out);
    }
    rota__ws_deflate_free(from);
    rota__ws_deflate_free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct rota__ws_deflate_terms terms = {.server_no_context = data[0] & 8,
                                                 .client_no_context = data[0] & 16,
                                                 .server_bits = 8 + (data[0] & 7),
                                                 .client_bits = 8 + (data[0] & 7)};
    struct rota__out whole = {0}, split = {0};
    rota_str input = {(const char *)data + 2, size - 2};
    int one = inflate_both(&terms, input, size, 4096, &whole);
    int other = inflate_both(&terms, input, data[1] + 1u, data[1] % 16 + 1u, &split);
    require((one < 0) == (other < 0));
    require(one < 0 || is_same(written(&whole), written(&split)));
    deflate_and_inflate(&terms, input, data[1] + 1u);
    rota__out_fini(&whole);
    rota__out_fini(&split);
    return 0;
}
