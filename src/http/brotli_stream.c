#include "http/brotli_stream.h"

#include <errno.h>

/* Before each allocation; sixteen bytes, so that what follows is aligned for all types. */
struct block {
    struct rota__list link;
};

static void *take(void *opaque, size_t size)
{
    struct rota__brotli *b = opaque;
    struct block *block = rota_alloc(sizeof *block + size);
    if (!block)
        longjmp(*b->failed, 1);
    rota__list_append(&b->blocks, &block->link);
    return block + 1;
}

static void give_back(void *opaque, void *memory)
{
    struct block *block = memory ? (struct block *)memory - 1 : NULL;
    if (block)
        rota__list_remove(&block->link);
    rota_free(block);
}

static void drop(struct rota__brotli *b)
{
    struct rota__list *link;
    b->state = NULL;
    while ((link = rota__list_take_first(&b->blocks)))
        rota_free(rota__container_of(link, struct block, link));
}

int rota__brotli_open(struct rota__brotli *b, int level, int window_bits)
{
    jmp_buf failed;
    rota__list_init(&b->blocks);
    b->failed = &failed;
    if (setjmp(failed) != 0) {
        drop(b);
        return -ENOMEM;
    }
    b->state = BrotliEncoderCreateInstance(take, give_back, b);
    BrotliEncoderSetParameter(b->state, BROTLI_PARAM_QUALITY, (uint32_t)level);
    BrotliEncoderSetParameter(b->state, BROTLI_PARAM_LGWIN, (uint32_t)window_bits);
    return 0;
}

static int encode(BrotliEncoderState *state, rota_str bytes, BrotliEncoderOperation operation,
                  struct rota__out *out)
{
    size_t unread = bytes.len, none = 0;
    const uint8_t *at = (const uint8_t *)bytes.ptr;
    do {
        size_t len = 0;
        if (!BrotliEncoderCompressStream(state, operation, &unread, &at, &none, NULL, NULL))
            return -ENOMEM;
        const uint8_t *coded = BrotliEncoderTakeOutput(state, &len);
        rota__out_add(out, (const char *)coded, len);
    } while (unread || BrotliEncoderHasMoreOutput(state));
    return out->err;
}

int rota__brotli_write(struct rota__brotli *b, rota_str bytes, BrotliEncoderOperation operation,
                       struct rota__out *out)
{
    jmp_buf failed;
    if (!b->state)
        return -ENOMEM;
    b->failed = &failed;
    if (setjmp(failed) != 0) {
        drop(b);
        return -ENOMEM;
    }
    return encode(b->state, bytes, operation, out);
}

/* Frees what the encoder has left. Its destructor would do no more. */
void rota__brotli_close(struct rota__brotli *b)
{
    drop(b);
}
