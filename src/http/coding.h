/* Content codings (RFC 9110, section 8.4.1): gzip (RFC 1952), deflate (in zlib's wrapping, RFC
 * 1950, and bare, as some send it), br (RFC 7932), and, where libzstd is present and to decode
 * only, zstd (RFC 8878). Which one is wanted, decoding what comes, encoding what goes. */
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

/* "gzip"; what stands in Content-Encoding. */
const char *rota__coding_name(enum rota__coding coding);

/* ---- Accept-Encoding (RFC 9110, section 12.5.3) ---- */

/* What the client says, in thousandths: 0 is "not acceptable". Start from
 * ROTA__CODING_WISHES_INIT. */
struct rota__coding_wishes {
    short weight[ROTA__CODINGS], others; /* -1: not named */
};
#define ROTA__CODING_WISHES_INIT                     \
    {                                                \
        .weight = {-1, -1, -1, -1, -1}, .others = -1 \
    }

/* Adds what a field says; there may be several. Elements that make no sense say nothing. */
void rota__coding_wishes_add(struct rota__coding_wishes *wishes, rota_str field);

/* The best of those that are offered (a sum of 1u << coding; identity always is): the one with the
 * greatest weight, br before gzip before deflate where they are equal. Identity for a client that
 * says nothing. -1: not even that is acceptable. */
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

/* More of them than any sender has a reason for. */
#define ROTA__DECODER_STAGES 4

struct rota__codings {
    enum rota__coding
        list[ROTA__DECODER_STAGES]; /* in the order in which they were applied; no identity */
    unsigned count;
};

/* Adds the codings of a Content-Encoding field; there may be several. Returns 0, -ENOTSUP (one that
 * is not known, or too many). */
int rota__codings_add(struct rota__codings *codings, rota_str field);

/* Zero is the default of each field. */
struct rota__decoder_limits {
    uint64_t ratio; /* 256 */
    uint64_t slack; /* bytes; 1 MiB */
};

struct rota__decoder;

/* Of one coding or more. Returns 0, -ENOMEM. */
int rota__decoder_new(const struct rota__codings *codings,
                      const struct rota__decoder_limits *limits,
                      struct rota__decoder **ret_decoder);

/* Takes bytes off `in` and puts up to `room` (not 0) decoded ones at `to`. Returns how many; 0: all
 * of `in` was taken, and it needs more; -EBADMSG (`in` is not so coded, or goes on behind the end),
 * ROTA_ELIMIT (a bomb), -ENOMEM. A decoder that has failed fails ever after. */
ssize_t rota__decoder_read(struct rota__decoder *decoder, rota_str *in, char *to, size_t room);

/* After the last byte, when rota__decoder_read has returned 0. Returns 0, -EBADMSG: it was cut
 * short. */
int rota__decoder_finish(const struct rota__decoder *decoder);

void rota__decoder_free(struct rota__decoder *decoder);

/* ---- Encoding ---- */

struct rota__encoder;

/* Of gzip, deflate or br. Another is -EINVAL. `level` 0 is what pays when encoding on the fly; else
 * zlib's 1 to 9, or brotli's 1 to 11. Returns 0, -EINVAL, -ENOMEM. */
int rota__encoder_new(enum rota__coding coding, int level, struct rota__encoder **ret_encoder);

enum rota__encoder_step {
    ROTA__ENCODER_ON,    /* more comes: it may keep what it likes */
    ROTA__ENCODER_FLUSH, /* all that was given so far can be decoded from what is put out */
    ROTA__ENCODER_END
};

/* Encodes `bytes` and adds to `out` what can go. Returns 0, -ENOMEM: then the body cannot go on. */
int rota__encoder_write(struct rota__encoder *encoder, rota_str bytes, enum rota__encoder_step step,
                        struct rota__out *out);

void rota__encoder_free(struct rota__encoder *encoder);

#endif
