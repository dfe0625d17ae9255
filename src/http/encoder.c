/* Encoding: see coding.h. */
#include "http/brotli_stream.h"
#include "http/coding.h"
#include "http/zlib_stream.h"

#include <errno.h>

/* On the fly: docs/design/http.md has what these and others take. */
#define ZLIB_LEVEL 5
#define BROTLI_LEVEL 4

#define ZLIB_MEMORY 8
/* Of brotli: 256 KiB. A larger window would be taken for each body, and helps few of them. */
#define BROTLI_WINDOW 18

struct rota__encoder {
    bool is_brotli;
    z_stream z;
    struct rota__brotli br;
};

static int open_zlib(struct rota__encoder *e, int level, int window_bits)
{
    rota__zlib_init(&e->z);
    return rota__zlib_error(deflateInit2(&e->z, level ? level : ZLIB_LEVEL, Z_DEFLATED, window_bits,
                                         ZLIB_MEMORY, Z_DEFAULT_STRATEGY));
}

int rota__encoder_new(enum rota__coding coding, int level, struct rota__encoder **ret_encoder)
{
    bool is_brotli = coding == ROTA__CODING_BR;
    if (coding == ROTA__CODING_IDENTITY || coding == ROTA__CODING_ZSTD || level < 0 ||
        level > (is_brotli ? 11 : 9))
        return -EINVAL;
    struct rota__encoder *e = rota_zalloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    e->is_brotli = is_brotli;
    int err = is_brotli ? rota__brotli_open(&e->br, level ? level : BROTLI_LEVEL, BROTLI_WINDOW)
                        : open_zlib(e, level, MAX_WBITS + (coding == ROTA__CODING_GZIP ? 16 : 0));
    if (err < 0) {
        rota_free(e);
        return err;
    }
    *ret_encoder = e;
    return 0;
}

void rota__encoder_free(struct rota__encoder *encoder)
{
    if (!encoder)
        return;
    if (encoder->is_brotli)
        rota__brotli_close(&encoder->br);
    else
        deflateEnd(&encoder->z);
    rota_free(encoder);
}

int rota__encoder_write(struct rota__encoder *encoder, rota_str bytes, enum rota__encoder_step step,
                        struct rota__out *out)
{
    static const int flushes[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    static const BrotliEncoderOperation operations[] = {
        BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_FINISH};
    if (encoder->is_brotli)
        return rota__brotli_write(&encoder->br, bytes, operations[step], out);
    return rota__zlib_deflate(&encoder->z, bytes, flushes[step], out);
}
