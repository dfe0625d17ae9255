/* Byte ranges: RFC 9110, section 14. */
#include "http/multipart.h"
#include "http/range.h"

#include "out_check.h"

#include <errno.h>

/* What a field asks for of so many bytes, as "from+len from+len". */
static const struct {
    const char *field;
    uint64_t size;
    const char *expected;
} table[] = {
    /* section 14.1.2 */
    {"bytes=0-499", 10000, "0+500"},
    {"bytes=500-999", 10000, "500+500"},
    {"bytes=-500", 10000, "9500+500"},
    {"bytes=9500-", 10000, "9500+500"},
    {"bytes=0-0,-1", 10000, "0+1 9999+1"},
    {"bytes= 0-999, 4500-5499, -1000", 10000, "0+1000 4500+1000 9000+1000"},
    {"bytes=500-600,601-999", 10000, "500+500"},
    {"bytes=500-700,601-999", 10000, "500+500"},
    /* clipped */
    {"bytes=0-", 1, "0+1"},
    {"bytes=9999-20000", 10000, "9999+1"},
    {"bytes=0-99999999999999999999999999", 10, "0+10"},
    {"bytes=-99999999999999999999999999", 10, "0+10"},
    {"bytes=-10001", 10000, "0+10000"},
    {"bytes=-10000", 10000, "0+10000"},
    {"BYTES=1-2", 10, "1+2"},
    {"bytes=,,1-2,", 10, "1+2"},
    {"bytes=1-2\t, 5-5", 10, "1+5"}, /* so near that one part is shorter */
    /* united, in the place of the first */
    {"bytes=0-9,1000-1009,5-19", 10000, "0+20 1000+10"},
    {"bytes=1000-1009,0-9,20-999", 10000, "0+1010"},
    {"bytes=5000-5009,0-9,89-90", 10000, "5000+10 0+91"},
    {"bytes=5000-5009,0-9,90-91", 10000, "5000+10 0+10 90+2"},
    {"bytes=0-0,200-200,400-400,0-9999", 10000, "0+10000"},
    /* partly there */
    {"bytes=0-9,10000-", 10000, "0+10"},
    {"bytes=0-9,-0", 10000, "0+10"},
    /* not there */
    {"bytes=10000-", 10000, "416"},
    {"bytes=10000-10001", 10000, "416"},
    {"bytes=-0", 10000, "416"},
    {"bytes=18446744073709551616-", 10, "416"},
    /* not for us to understand */
    {"", 10, "all"},
    {"bytes", 10, "all"},
    {"bytes=", 10, "all"},
    {"bytes=,", 10, "all"},
    {"bytes=-", 10, "all"},
    {"bytes=5-4", 10, "all"},
    {"bytes=a-b", 10, "all"},
    {"bytes=1", 10, "all"},
    {"bytes=1-2-3", 10, "all"},
    {"bytes=1 - 2", 10, "all"},
    {"bytes=+1-2", 10, "all"},
    {"bytes=--1", 10, "all"},
    {"bytes=0-1,x", 10, "all"},
    {"bytes 0-1", 10, "all"},
    {"lines=0-1", 10, "all"},
    {"bytes=0-", 0, "all"},
    {"bytes=-1", 0, "all"},
};

TEST(ranges_are_what_the_rfc_says)
{
    for (size_t i = 0; i < COUNT(table); i++) {
        struct rota__range ranges[ROTA__RANGES];
        char told[256] = "";
        size_t len = 0;
        int count = rota__range_parse(str(table[i].field), table[i].size, ranges);
        for (int r = 0; r < count; r++)
            len += (size_t)snprintf(told + len, sizeof told - len, "%s%llu+%llu", r ? " " : "",
                                    (unsigned long long)ranges[r].from,
                                    (unsigned long long)ranges[r].len);
        const char *is = count == 0 ? "all" : count == -ERANGE ? "416" : told;
        if (strcmp(is, table[i].expected) != 0)
            FAIL("%s of %llu: is %s, and not %s", table[i].field, (unsigned long long)table[i].size,
                 is, table[i].expected);
    }
}

static void write_many(struct rota__out *out, unsigned count, unsigned stride)
{
    out->len = 0;
    rota__out_add_literal(out, "bytes=");
    for (unsigned i = 0; i < count; i++) {
        rota__out_add_number(out, (uint64_t)i * stride, 10);
        rota__out_add_literal(out, "-");
        rota__out_add_number(out, (uint64_t)i * stride, 10);
        rota__out_add_literal(out, ",");
    }
    CHECK_OK(out->err);
}

TEST(many_ranges_are_the_whole_unless_they_unite)
{
    struct rota__out out = {0};
    struct rota__range ranges[ROTA__RANGES];
    write_many(&out, ROTA__RANGES, 1000);
    CHECK_INT(rota__range_parse((rota_str){out.ptr, out.len}, 1000000, ranges), ==, ROTA__RANGES);
    write_many(&out, ROTA__RANGES + 1, 1000);
    CHECK_INT(rota__range_parse((rota_str){out.ptr, out.len}, 1000000, ranges), ==, 0);
    write_many(&out, 1000, 50);
    CHECK_INT(rota__range_parse((rota_str){out.ptr, out.len}, 1000000, ranges), ==, 1);
    rota__out_fini(&out);
}

/* ---- Content-Range */

static const struct {
    const char *field;
    struct rota__content_range range;
} content[] = {
    {"bytes 42-1233/1234", {{42, 1192}, 1234}}, /* section 14.4 */
    {"bytes 42-1233/*", {{42, 1192}, UINT64_MAX}},
    {"bytes */1234", {{0, 0}, 1234}},
    {"bytes 0-0/1", {{0, 1}, 1}},
    {"bytes */0", {{0, 0}, 0}},
};

TEST(content_ranges_are_written)
{
    struct rota__out out = {0};
    for (size_t i = 0; i < COUNT(content); i++) {
        rota__content_range_write(&out, &content[i].range);
        check_out(&out, content[i].field);
    }
    rota__out_fini(&out);
}

/* ---- Several in one answer */

TEST(parts_of_ranges_are_as_long_as_announced)
{
    static const struct rota__range ranges[] = {{500, 3}, {7000, 2}};
    struct rota__out out = {0};
    uint64_t length = 0;
    CHECK_OK(rota__byteranges_length("SEP", str("text/plain"), ranges, 2, 8000, &length));
    rota__byteranges_write_part(&out, "SEP", str("text/plain"), &ranges[0], 8000, true);
    rota__out_add_literal(&out, "abc");
    rota__byteranges_write_part(&out, "SEP", str("text/plain"), &ranges[1], 8000, false);
    rota__out_add_literal(&out, "de");
    CHECK_OK(rota__multipart_write_end(&out, "SEP", false));
    CHECK_INT(out.len, ==, length);
    check_out(
        &out,
        "--SEP\r\nContent-Type: text/plain\r\nContent-Range: bytes 500-502/8000\r\n\r\nabc"
        "\r\n--SEP\r\nContent-Type: text/plain\r\nContent-Range: bytes 7000-7001/8000\r\n\r\nde"
        "\r\n--SEP--\r\n");
    rota__out_fini(&out);
}
