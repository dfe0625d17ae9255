/* Zstandard's decoder with its results in rota's way (RFC 8878), where libzstd is present. */
#ifndef ROTA__HTTP_ZSTD_STREAM_H
#define ROTA__HTTP_ZSTD_STREAM_H

#include <rota/base.h>

struct rota__zstd;

#ifdef ROTA__HAS_ZSTD

/* NULL without memory. */
struct rota__zstd *rota__zstd_open(void);
/* Takes bytes off `in` and puts up to `room` at `to`; `*ret_put` says how many. Returns 1 at the
 * end of a frame, 0, -EBADMSG, -ENOMEM. */
int rota__zstd_decode(struct rota__zstd *zstd, rota_str *in, char *to, size_t room,
                      size_t *ret_put);
/* Accepts NULL. */
void rota__zstd_close(struct rota__zstd *zstd);

#else

static inline struct rota__zstd *rota__zstd_open(void)
{
    return NULL;
}

static inline int rota__zstd_decode(struct rota__zstd *zstd, rota_str *in, char *to, size_t room,
                                    size_t *ret_put)
{
    return -EBADMSG;
}

static inline void rota__zstd_close(struct rota__zstd *zstd)
{
}

#endif

#endif
