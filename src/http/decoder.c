/* Decoding: see coding.h. Each stage reads from the next outer one; the outermost reads the
 * caller's bytes. */
#include "http/coding.h"
#include "http/zlib_stream.h"
#include "http/zstd_stream.h"

#include <brotli/decode.h>
#include <errno.h>

#define DEFAULT_RATIO 256
#define DEFAULT_SLACK (1024 * 1024)
#define BETWEEN 4096

struct stage {
    enum rota__coding coding;
    enum { FRESH, OPEN, ENDED } state;
    /* Gzip and deflate. */
    z_stream z;
    BrotliDecoderState *br;
    struct rota__zstd *zstd;
    /* Deflate: the byte that tells, with the next, how it is wrapped. */
    char first;
    bool has_first;
    /* Bytes that it has put out. */
    uint64_t put;
    /* Output of the next outer stage; NULL for the outermost. */
    char *between;
    /* Of that. */
    rota_str unread;
};

struct rota__decoder {
    struct rota__decoder_limits limits;
    /* Of the caller's bytes. */
    uint64_t taken;
    int err;
    unsigned count;
    /* The outermost first. */
    struct stage stages[];
};

static void *take(void *opaque, size_t size)
{
    return rota_alloc(size);
}

static void give_back(void *opaque, void *memory)
{
    rota_free(memory);
}

/* ---- Making */

int rota__decoder_new(const struct rota__codings *codings,
                      const struct rota__decoder_limits *limits, struct rota__decoder **ret_decoder)
{
    struct rota__decoder *d = rota_zalloc(sizeof *d + codings->count * sizeof *d->stages);
    if (!d)
        return -ENOMEM;
    if (limits)
        d->limits = *limits;
    if (d->limits.ratio == 0)
        d->limits.ratio = DEFAULT_RATIO;
    if (d->limits.slack == 0)
        d->limits.slack = DEFAULT_SLACK;
    d->count = codings->count;
    for (unsigned i = 0; i < d->count; i++) {
        d->stages[i].coding = codings->list[d->count - 1 - i];
        if (i > 0 && !(d->stages[i].between = rota_alloc(BETWEEN))) {
            rota__decoder_free(d);
            return -ENOMEM;
        }
    }
    *ret_decoder = d;
    return 0;
}

void rota__decoder_free(struct rota__decoder *decoder)
{
    for (unsigned i = 0; decoder && i < decoder->count; i++) {
        struct stage *s = &decoder->stages[i];
        bool is_zlib = s->coding == ROTA__CODING_GZIP || s->coding == ROTA__CODING_DEFLATE;
        if (s->state != FRESH && is_zlib)
            inflateEnd(&s->z);
        if (s->br)
            BrotliDecoderDestroyInstance(s->br);
        rota__zstd_close(s->zstd);
        rota_free(s->between);
    }
    rota_free(decoder);
}

/* ---- A stage */

static int open_zlib(struct stage *s, int window_bits)
{
    rota__zlib_init(&s->z);
    int err = rota__zlib_error(inflateInit2(&s->z, window_bits));
    if (err == 0)
        s->state = OPEN;
    return err;
}

static int decode_zlib(struct stage *s, rota_str *in, char *to, size_t room, size_t *ret_put)
{
    int status = rota__zlib_inflate(&s->z, in, to, room, ret_put);
    if (status == Z_STREAM_END)
        s->state = ENDED;
    return rota__zlib_error(status);
}

/* CM 8, a valid window, and a sum divisible by 31 (RFC 1950, section 2.2). A raw block that begins
 * like this would have bits set in its padding, which no encoder does. */
static bool is_wrapped(char first, char second)
{
    unsigned cmf = (unsigned char)first, flg = (unsigned char)second;
    return (cmf & 15) == 8 && cmf >> 4 <= 7 && (cmf << 8 | flg) % 31 == 0;
}

/* Opens it once two bytes are there; the first one has been taken off then. */
static int open_deflate(struct stage *s, rota_str *in)
{
    if (in->len && !s->has_first) {
        s->first = *in->ptr;
        s->has_first = true;
        *in = (rota_str){in->ptr + 1, in->len - 1};
    }
    if (!in->len)
        return 0;
    int err = open_zlib(s, is_wrapped(s->first, *in->ptr) ? MAX_WBITS : -MAX_WBITS);
    rota_str first = {&s->first, 1};
    char none;
    size_t put;
    return err < 0 ? err
                   : decode_zlib(s, &first, &none, 1, &put); /* a byte alone decodes to none */
}

static int open_brotli(struct stage *s)
{
    s->br = BrotliDecoderCreateInstance(take, give_back, NULL);
    if (!s->br)
        return -ENOMEM;
    s->state = OPEN;
    return 0;
}

static bool is_brotli_out_of_memory(BrotliDecoderErrorCode code)
{
    return code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
           code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
}

static int decode_brotli(struct stage *s, rota_str *in, char *to, size_t room, size_t *ret_put)
{
    size_t unread = in->len, left = room;
    const uint8_t *at = (const uint8_t *)in->ptr;
    uint8_t *put = (uint8_t *)to;
    switch (BrotliDecoderDecompressStream(s->br, &unread, &at, &left, &put, NULL)) {
    case BROTLI_DECODER_RESULT_SUCCESS:
        s->state = ENDED;
        break;
    case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
    case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
        break;
    case BROTLI_DECODER_RESULT_ERROR:
        return is_brotli_out_of_memory(BrotliDecoderGetErrorCode(s->br)) ? -ENOMEM : -EBADMSG;
    }
    *in = (rota_str){(const char *)at, unread};
    *ret_put = room - left;
    return 0;
}

static int open_zstd(struct stage *s)
{
    s->zstd = rota__zstd_open();
    if (!s->zstd)
        return -ENOMEM;
    s->state = OPEN;
    return 0;
}

static int decode_zstd(struct stage *s, rota_str *in, char *to, size_t room, size_t *ret_put)
{
    int status = rota__zstd_decode(s->zstd, in, to, room, ret_put);
    if (status > 0)
        s->state = ENDED;
    return status < 0 ? status : 0;
}

/* Another member of gzip (RFC 1952, section 2.2), another frame of zstd (RFC 8878, section 3.1). */
static int begin_again(struct stage *s)
{
    if (s->coding != ROTA__CODING_GZIP && s->coding != ROTA__CODING_ZSTD)
        return -EBADMSG;
    s->state = OPEN;
    return s->zstd ? 0 : rota__zlib_error(inflateReset(&s->z));
}

/* Prepares for the bytes in `in`, which may follow the end of a member. */
static int open_stage(struct stage *s, rota_str *in)
{
    if (s->state == OPEN || !in->len)
        return 0;
    if (s->state == ENDED)
        return begin_again(s);
    switch (s->coding) {
    case ROTA__CODING_GZIP:
        return open_zlib(s, MAX_WBITS + 16);
    case ROTA__CODING_DEFLATE:
        return open_deflate(s, in);
    case ROTA__CODING_ZSTD:
        return open_zstd(s);
    default:
        return open_brotli(s);
    }
}

static int decode(struct stage *s, rota_str *in, char *to, size_t room, size_t *ret_put)
{
    *ret_put = 0;
    int err = open_stage(s, in);
    if (err < 0 || s->state != OPEN)
        return err;
    return s->br     ? decode_brotli(s, in, to, room, ret_put)
           : s->zstd ? decode_zstd(s, in, to, room, ret_put)
                     : decode_zlib(s, in, to, room, ret_put);
}

/* ---- The stages together */

static bool is_bomb(const struct rota__decoder *d, const struct stage *s)
{
    return s->put > d->limits.slack && (s->put - d->limits.slack) / d->limits.ratio > d->taken;
}

/* Reads from the stage `at`, which gets its input from the next outer one. */
static ssize_t pull(struct rota__decoder *d, unsigned at, rota_str *in, char *to, size_t room)
{
    struct stage *s = &d->stages[at];
    rota_str *from = at ? &s->unread : in;
    for (;;) {
        size_t had = from->len, put;
        int err = decode(s, from, to, room, &put);
        if (!at)
            d->taken += had - from->len;
        s->put += put;
        if (err < 0)
            return err;
        if (is_bomb(d, s))
            return ROTA_ELIMIT;
        if (put)
            return (ssize_t)put;
        if (from->len)
            continue; /* after the end of a member */
        if (!at)
            return 0;
        ssize_t n = pull(d, at - 1, in, s->between, BETWEEN);
        if (n <= 0)
            return n;
        s->unread = (rota_str){s->between, (size_t)n};
    }
}

ssize_t rota__decoder_read(struct rota__decoder *decoder, rota_str *in, char *to, size_t room)
{
    if (decoder->err < 0)
        return decoder->err;
    ssize_t n = pull(decoder, decoder->count - 1, in, to, room);
    if (n < 0)
        decoder->err = (int)n;
    return n;
}

int rota__decoder_finish(const struct rota__decoder *decoder)
{
    if (decoder->err < 0)
        return decoder->err;
    for (unsigned i = 0; decoder->taken && i < decoder->count; i++) {
        if (decoder->stages[i].state != ENDED)
            return -EBADMSG;
    }
    return 0;
}
