/* zlib with rota's memory, and its results in rota's way. */
#ifndef ROTA__HTTP_ZLIB_STREAM_H
#define ROTA__HTTP_ZLIB_STREAM_H

#include "http/out.h"

#include <zlib.h>

/* Before inflateInit2 or deflateInit2. */
void rota__zlib_init(z_stream *z);

/* 0, -ENOMEM or -EBADMSG for what a call of zlib returned. */
int rota__zlib_error(int status);

/* Deflates all of `bytes`, and with Z_SYNC_FLUSH or Z_FINISH all that was kept back. Returns 0,
 * -ENOMEM. */
int rota__zlib_deflate(z_stream *z, rota_str bytes, int flush, struct rota__out *out);

/* Inflates: takes bytes off `in` and puts up to `room` at `to`. Returns as inflate; `*ret_put` says
 * how many. */
int rota__zlib_inflate(z_stream *z, rota_str *in, char *to, size_t room, size_t *ret_put);

#endif
