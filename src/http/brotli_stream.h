/* Brotli's encoder with rota's memory.
 *
 * As distributions build it, it ends the program if an allocation fails. So the allocator does not
 * return then, but jumps out of the encoder, which is plain C. Its allocations are recorded here,
 * and freed. */
#ifndef ROTA__HTTP_BROTLI_STREAM_H
#define ROTA__HTTP_BROTLI_STREAM_H

#include "base/list.h"
#include "http/out.h"

#include <brotli/encode.h>
#include <setjmp.h>

struct rota__brotli {
    /* NULL: it has failed. */
    BrotliEncoderState *state;
    struct rota__list blocks;
    jmp_buf *failed;
};

/* `window_bits`: 10 to 24. Returns 0, -ENOMEM. */
int rota__brotli_open(struct rota__brotli *b, int level, int window_bits);

/* Encodes all of `bytes` and adds the available output to `out`. Returns 0 or -ENOMEM, which is
 * final. */
int rota__brotli_write(struct rota__brotli *b, rota_str bytes, BrotliEncoderOperation operation,
                       struct rota__out *out);

void rota__brotli_close(struct rota__brotli *b);

#endif
