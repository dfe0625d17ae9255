#include "http/zstd_stream.h"

#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

/* A frame that needs a larger window than 8 MiB is refused (RFC 9659, section 3). */
#define WINDOW_LOG 23

struct rota__zstd {
    ZSTD_DStream *stream;
};

struct rota__zstd *rota__zstd_open(void)
{
    struct rota__zstd *zstd = rota_zalloc(sizeof *zstd);
    if (zstd && !(zstd->stream = ZSTD_createDStream())) {
        rota_free(zstd);
        return NULL;
    }
    if (zstd)
        ZSTD_DCtx_setParameter(zstd->stream, ZSTD_d_windowLogMax, WINDOW_LOG);
    return zstd;
}

int rota__zstd_decode(struct rota__zstd *zstd, rota_str *in, char *to, size_t room, size_t *ret_put)
{
    ZSTD_inBuffer from = {in->ptr, in->len, 0};
    ZSTD_outBuffer out = {to, room, 0};
    size_t left = ZSTD_decompressStream(zstd->stream, &out, &from);
    *in = (rota_str){in->ptr + from.pos, in->len - from.pos};
    *ret_put = out.pos;
    if (!ZSTD_isError(left))
        return left == 0;
    return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM : -EBADMSG;
}

void rota__zstd_close(struct rota__zstd *zstd)
{
    if (zstd)
        ZSTD_freeDStream(zstd->stream);
    rota_free(zstd);
}
