/* Brotli's encoder with rota's memory.
 *
 * As distributions build it, it ends the program where an allocation fails. So ours never returns
 * then, but jumps out of the encoder, which is plain C and holds nothing else: what it had
 * allocated is known here, and freed. */
#ifndef ROTA__HTTP_BROTLI_STREAM_H
#define ROTA__HTTP_BROTLI_STREAM_H

#include "base/list.h"
#include "http/out.h"

#include <brotli/encode.h>
#include <setjmp.h>

struct rota__brotli {
    BrotliEncoderState *state; /* NULL: it has failed */
    struct rota__list blocks;
    jmp_buf *failed;
};

/* `window_bits`: 10 to 24. Returns 0, -ENOMEM. */
int rota__brotli_open(struct rota__brotli *b, int level, int window_bits);

/* Encodes all of `bytes` and adds to `out` what can go. Returns 0, -ENOMEM: then it cannot go
 * on. */
int rota__brotli_write(struct rota__brotli *b, rota_str bytes, BrotliEncoderOperation operation,
                       struct rota__out *out);

void rota__brotli_close(struct rota__brotli *b);

#endif
