#include "http/range.h"
#include "http/chars.h"
#include "http/multipart.h"
#include "http/params.h"

#include <errno.h>

/* A gap of fewer bytes costs less than the head of a part. */
#define GAP 80

static bool take(rota_str *s, char c)
{
    if (!s->len || *s->ptr != c)
        return false;
    *s = (rota_str){s->ptr + 1, s->len - 1};
    return true;
}

/* ---- Range */

/* Section 14.1.2. Returns 1, 0 (there are no such bytes), -EINVAL. */
static int read_spec(rota_str s, uint64_t size, struct rota__range *range)
{
    uint64_t from = 0, to = UINT64_MAX, tail;
    if (take(&s, '-')) {
        if (!rota__take_number(&s, &tail) || s.len)
            return -EINVAL;
        *range =
            tail < size ? (struct rota__range){size - tail, tail} : (struct rota__range){0, size};
        return tail > 0;
    }
    if (!rota__take_number(&s, &from) || !take(&s, '-') || (s.len && !rota__take_number(&s, &to)) ||
        s.len || to < from)
        return -EINVAL;
    if (from >= size)
        return 0;
    *range = (struct rota__range){from, (to < size ? to + 1 : size) - from};
    return 1;
}

static bool is_near(const struct rota__range *a, const struct rota__range *b)
{
    const struct rota__range *first = a->from <= b->from ? a : b, *second = first == a ? b : a;
    uint64_t end = first->from + first->len;
    return second->from <= end || second->from - end < GAP;
}

static void unite(struct rota__range *a, const struct rota__range *b)
{
    uint64_t a_end = a->from + a->len, b_end = b->from + b->len;
    a->from = a->from < b->from ? a->from : b->from;
    a->len = (a_end > b_end ? a_end : b_end) - a->from;
}

/* Adds a range in place of the first that it touches, and merges the others that it touches, also
 * after it has grown. Returns the number of ranges, or -1 if there are too many. */
static int add(struct rota__range *ranges, int count, struct rota__range range)
{
    int kept = 0, place = -1;
    for (int i = 0; i < count; i++) {
        if (!is_near(&ranges[i], &range)) {
            ranges[kept++] = ranges[i];
            continue;
        }
        unite(&range, &ranges[i]);
        if (place < 0)
            place = kept++;
    }
    if (place < 0)
        place = kept++;
    if (place == ROTA__RANGES)
        return -1;
    ranges[place] = range;
    return kept;
}

int rota__range_parse(rota_str field, uint64_t size, struct rota__range ranges[ROTA__RANGES])
{
    rota_str unit = rota__trim(rota__cut(&field, '='));
    bool asked = false;
    int count = 0;
    /* An empty file has no ranges. */
    if (!rota__str_is(unit, "bytes") || !size)
        return 0;
    while (field.len) {
        struct rota__range range;
        rota_str spec = rota__trim(rota__cut(&field, ','));
        if (!spec.len)
            continue;
        int there = read_spec(spec, size, &range);
        if (there < 0)
            return 0;
        asked = true;
        if (there)
            count = add(ranges, count, range);
        if (count < 0)
            return 0;
    }
    return count || !asked ? count : -ERANGE;
}

/* ---- Content-Range (section 14.4) */

void rota__content_range_write(struct rota__out *out, const struct rota__content_range *range)
{
    rota__out_add_literal(out, "bytes ");
    if (range->range.len) {
        rota__out_add_number(out, range->range.from, 10);
        rota__out_add_literal(out, "-");
        rota__out_add_number(out, range->range.from + range->range.len - 1, 10);
    } else {
        rota__out_add_literal(out, "*");
    }
    rota__out_add_literal(out, "/");
    if (range->size == UINT64_MAX)
        rota__out_add_literal(out, "*");
    else
        rota__out_add_number(out, range->size, 10);
}

/* ---- multipart/byteranges */

void rota__byteranges_write_part(struct rota__out *out, const char *boundary, rota_str type,
                                 const struct rota__range *range, uint64_t size, bool first)
{
    struct rota__content_range content = {*range, size};
    rota__multipart_write_delimiter(out, boundary, first);
    rota__out_add_literal(out, "\r\n");
    if (type.len) {
        rota__out_add_literal(out, "Content-Type: ");
        rota__out_add_str(out, type);
        rota__out_add_literal(out, "\r\n");
    }
    rota__out_add_literal(out, "Content-Range: ");
    rota__content_range_write(out, &content);
    rota__out_add_literal(out, "\r\n\r\n");
}

int rota__byteranges_length(const char *boundary, rota_str type, const struct rota__range *ranges,
                            size_t count, uint64_t size, uint64_t *ret_length)
{
    struct rota__out heads = {0};
    uint64_t data = 0;
    for (size_t i = 0; i < count; i++) {
        rota__byteranges_write_part(&heads, boundary, type, &ranges[i], size, i == 0);
        data += ranges[i].len;
    }
    int err = rota__multipart_write_end(&heads, boundary, count == 0);
    if (err == 0)
        *ret_length = heads.len + data;
    rota__out_fini(&heads);
    return err;
}
