/* Content codings (RFC 9110, section 8.4.1): gzip (RFC 1952), deflate (in zlib's format, RFC 1950,
 * and raw, as some servers send it), br (RFC 7932), and with libzstd, for decoding only, zstd (RFC
 * 8878). Chooses codings, decodes and encodes. */
#ifndef ROTA__HTTP_CODING_H
#define ROTA__HTTP_CODING_H

#include "http/out.h"

enum rota__coding {
    ROTA__CODING_IDENTITY,
    ROTA__CODING_GZIP,
    ROTA__CODING_DEFLATE,
    ROTA__CODING_BR,
    ROTA__CODING_ZSTD
};
#define ROTA__CODINGS 5

/* Whether this build can decode it. */
bool rota__coding_is_known(enum rota__coding coding);

/* "gzip": the name in Content-Encoding. */
const char *rota__coding_name(enum rota__coding coding);

/* ---- Accept-Encoding (RFC 9110, section 12.5.3) ---- */

/* The client's weights in thousandths; 0 is "not acceptable". Start from
 * ROTA__CODING_WISHES_INIT. */
struct rota__coding_wishes {
    /* -1: not named. */
    short weight[ROTA__CODINGS], others;
};
#define ROTA__CODING_WISHES_INIT                     \
    {                                                \
        .weight = {-1, -1, -1, -1, -1}, .others = -1 \
    }

/* Adds a field; there may be several. Invalid elements are ignored. */
void rota__coding_wishes_add(struct rota__coding_wishes *wishes, rota_str field);

/* Chooses among the offered codings (a sum of 1u << coding; identity is always offered): the
 * greatest weight, and of equal ones br before gzip before deflate. Identity if the client sent no
 * such field; -1 if not even that is acceptable. */
int rota__coding_choose(const struct rota__coding_wishes *wishes, unsigned offered);

/* Whether a body of that Content-Type and size (UINT64_MAX: unknown) gets smaller by as much as
 * encoding costs. */
bool rota__coding_is_worth(rota_str content_type, uint64_t size);

/* ---- Decoding
 *
 * 1. Codings lie one upon another, the last one outside; each has a stage, which pulls from the one
 *    outside of it.
 * 2. No stage puts out more than `ratio` times what came in, and `slack`, so neither memory nor
 *    time grows with what a bomb claims to hold.
 * 3. The end is a coding's own end, and nothing comes behind it but another member of gzip or frame
 *    of zstd. A body of no bytes at all decodes to none, because servers say Content-Encoding of
 *    those, too. ---- */

/* More than any sender needs. */
#define ROTA__DECODER_STAGES 4

struct rota__codings {
    enum rota__coding
        /* In the order in which they were applied; no identity. */
        list[ROTA__DECODER_STAGES];
    unsigned count;
};

/* Adds the codings of a Content-Encoding field; there may be several. Returns 0, -ENOTSUP (one that
 * is not known, or too many). */
int rota__codings_add(struct rota__codings *codings, rota_str field);

/* Zero is the default of each field. */
struct rota__decoder_limits {
    /* 256 */
    uint64_t ratio;
    /* Bytes; 1 MiB. */
    uint64_t slack;
};

struct rota__decoder;

/* For one coding or more. Returns 0, -ENOMEM. */
int rota__decoder_new(const struct rota__codings *codings,
                      const struct rota__decoder_limits *limits,
                      struct rota__decoder **ret_decoder);

/* Takes bytes off `in` and writes up to `room` (not 0) decoded ones to `to`. Returns how many; 0
 * (all of `in` was taken, and more is needed); -EBADMSG (`in` is not encoded so, or continues after
 * the end); ROTA_ELIMIT (a bomb); -ENOMEM. Errors are final. */
ssize_t rota__decoder_read(struct rota__decoder *decoder, rota_str *in, char *to, size_t room);

/* Call it after the last byte, when rota__decoder_read has returned 0. Returns 0, or -EBADMSG if
 * the body was cut short. */
int rota__decoder_finish(const struct rota__decoder *decoder);

void rota__decoder_free(struct rota__decoder *decoder);

/* ---- Encoding ---- */

struct rota__encoder;

/* For gzip, deflate or br; otherwise returns -EINVAL. `level` 0 is a good one for encoding on the
 * fly; otherwise 1 to 9 of zlib, or 1 to 11 of brotli. Returns 0, -EINVAL, -ENOMEM. */
int rota__encoder_new(enum rota__coding coding, int level, struct rota__encoder **ret_encoder);

enum rota__encoder_step {
    /* More comes: it may keep what it likes. */
    ROTA__ENCODER_ON,
    /* All that was given so far can be decoded from what is put out. */
    ROTA__ENCODER_FLUSH,
    ROTA__ENCODER_END
};

/* Encodes `bytes` and adds the available output to `out`. Returns 0 or -ENOMEM, which is final. */
int rota__encoder_write(struct rota__encoder *encoder, rota_str bytes, enum rota__encoder_step step,
                        struct rota__out *out);

void rota__encoder_free(struct rota__encoder *encoder);

#endif
