/* Byte ranges (RFC 9110, section 14). */
#ifndef ROTA__HTTP_RANGE_H
#define ROTA__HTTP_RANGE_H

#include "http/out.h"

struct rota__range {
    /* `len` is not 0. */
    uint64_t from, len;
};

/* Largest number of ranges in a response: a request for more gets the whole. */
#define ROTA__RANGES 16

/* The ranges that a Range field asks for of `size` bytes, in its order. Those that overlap, or
 * nearly touch, become one (section 14.2). Returns how many; 0: the field does not count (another
 * unit, no ranges, too many), and all is sent; -ERANGE: none of them is there (416). */
int rota__range_parse(rota_str field, uint64_t size, struct rota__range ranges[ROTA__RANGES]);

struct rota__content_range {
    /* `len` is 0 for the Content-Range of a 416. */
    struct rota__range range;
    /* Size of the whole; UINT64_MAX: unknown. */
    uint64_t size;
};

void rota__content_range_write(struct rota__out *out, const struct rota__content_range *range);

/* ---- Several ranges in one answer: multipart/byteranges (section 14.6) ---- */

/* Ends the part before, unless it is the `first`, and writes the head of this one; its bytes come
 * behind it. `type` may be empty. rota__multipart_write_end ends the last one. */
void rota__byteranges_write_part(struct rota__out *out, const char *boundary, rota_str type,
                                 const struct rota__range *range, uint64_t size, bool first);

/* Computes the length of the whole body. Returns 0, -ENOMEM. */
int rota__byteranges_length(const char *boundary, rota_str type, const struct rota__range *ranges,
                            size_t count, uint64_t size, uint64_t *ret_length);

#endif
