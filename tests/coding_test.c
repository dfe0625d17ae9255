/* Content codings: RFC 9110, sections 8.4.1 and 12.5.3; RFC 1950, 1951, 1952 and 7932. */
#include "http/coding.h"

#include "out_check.h"

#include <errno.h>
#include <stdlib.h>

/* ---- Accept-Encoding */

enum {
    NONE = -1,
    IDENTITY = ROTA__CODING_IDENTITY,
    GZIP = ROTA__CODING_GZIP,
    DEFLATE = ROTA__CODING_DEFLATE,
    BR = ROTA__CODING_BR
};
#define ALL (1u << GZIP | 1u << DEFLATE | 1u << BR)

static const struct {
    const char *field;
    unsigned offered;
    int chosen;
} wishes[] = {
    /* section 12.5.3 */
    {"compress, gzip", ALL, GZIP},
    {"", ALL, IDENTITY},
    {"*", ALL, BR},
    {"compress;q=0.5, gzip;q=1.0", ALL, GZIP},
    {"gzip;q=1.0, identity; q=0.5, *;q=0", ALL, GZIP},
    {"gzip;q=1.0, identity; q=0.5, *;q=0", 1u << BR, IDENTITY},
    /* what browsers say */
    {"gzip, deflate, br", ALL, BR},
    {"gzip, deflate, br", 1u << GZIP, GZIP},
    {"gzip, deflate, br", 0, IDENTITY},
    {"br;q=0.1, gzip;q=0.2, deflate;q=0.15", ALL, GZIP},
    {"GZip", ALL, GZIP},
    {"x-gzip", ALL, GZIP},
    /* identity */
    {"identity", ALL, IDENTITY},
    {"gzip;q=0.5, identity", ALL, IDENTITY},
    {"gzip;q=0.5, identity;q=0.4", ALL, GZIP},
    {"gzip;q=0.001", ALL, GZIP},
    {"identity;q=0", ALL, NONE},
    {"*;q=0", ALL, NONE},
    {"identity;q=0, br", ALL, BR},
    {"*;q=0, identity;q=0.1", ALL, IDENTITY},
    {"br;q=0, *", ALL, GZIP},
    {"gzip;q=0", ALL, IDENTITY},
    {"gzip;q=0.000", ALL, IDENTITY},
    /* the last word counts, and invalid ones are ignored */
    {"gzip;q=0, gzip", ALL, GZIP},
    {"gzip;q=2", ALL, IDENTITY},
    {"gzip;q=1.001", ALL, IDENTITY},
    {"gzip;q=0.0001", ALL, IDENTITY},
    {"gzip;q=-1", ALL, IDENTITY},
    {"gzip;q=", ALL, IDENTITY},
    {"gzip;q", ALL, IDENTITY},
    {"gzip q=1", ALL, IDENTITY},
    {"gzip;q=.5", ALL, IDENTITY},
    {"gzip;x=y;q=0.5", ALL, GZIP},
    {",, gzip ,", ALL, GZIP},
};

TEST(the_best_coding_is_the_one_that_the_client_wants)
{
    for (size_t i = 0; i < COUNT(wishes); i++) {
        struct rota__coding_wishes w = ROTA__CODING_WISHES_INIT;
        rota__coding_wishes_add(&w, str(wishes[i].field));
        int chosen = rota__coding_choose(&w, wishes[i].offered);
        if (chosen != wishes[i].chosen)
            FAIL("%s: is %d, and not %d", wishes[i].field, chosen, wishes[i].chosen);
    }
}

TEST(a_client_that_says_nothing_gets_no_coding)
{
    struct rota__coding_wishes w = ROTA__CODING_WISHES_INIT;
    CHECK_INT(rota__coding_choose(&w, ALL), ==, IDENTITY);
    rota__coding_wishes_add(&w, str("br;q=0.5"));
    rota__coding_wishes_add(&w, str("gzip"));
    CHECK_INT(rota__coding_choose(&w, ALL), ==, GZIP);
}

TEST(what_is_small_or_compressed_already_is_not_worth_it)
{
    static const char *const worth[] = {
        "text/html; charset=utf-8", "TEXT/css",      "application/json",
        "application/ld+json",      "image/svg+xml", "application/wasm"};
    static const char *const not_worth[] = {"",
                                            "text",
                                            "image/png",
                                            "video/mp4",
                                            "font/woff2",
                                            "application/zip",
                                            "application/octet-stream",
                                            "+json"};
    for (size_t i = 0; i < COUNT(worth); i++) {
        CHECK(rota__coding_is_worth(str(worth[i]), 1024));
        CHECK(rota__coding_is_worth(str(worth[i]), UINT64_MAX));
        CHECK(!rota__coding_is_worth(str(worth[i]), 1023));
    }
    for (size_t i = 0; i < COUNT(not_worth); i++)
        CHECK(!rota__coding_is_worth(str(not_worth[i]), UINT64_MAX));
    CHECK(!rota__coding_is_worth((rota_str){NULL, 0}, UINT64_MAX));
}

TEST(codings_of_several_fields_are_one_list)
{
    struct rota__codings codings = {.count = 0};
    CHECK_OK(rota__codings_add(&codings, str("gzip , identity,, X-GZIP")));
    CHECK_OK(rota__codings_add(&codings, (rota_str){NULL, 0}));
    CHECK_OK(rota__codings_add(&codings, str("br")));
    CHECK_INT(codings.count, ==, 3);
    CHECK_INT(codings.list[2], ==, BR);
    CHECK_INT(rota__codings_add(&codings, str("compress")), ==, -ENOTSUP);
    CHECK_INT(rota__codings_add(&codings, str("gzip;q=1")), ==, -ENOTSUP);
    CHECK_INT(rota__codings_add(&codings, str("gzip, gzip")), ==, -ENOTSUP);
}

/* ---- Decoding */

/* Reads to the end, of bytes in pieces, into rooms of that size; each lies in memory of just its
 * size. */
static int decode(const char *codings, rota_str coded, size_t piece, size_t room,
                  const struct rota__decoder_limits *limits, struct rota__out *told)
{
    struct rota__codings list = {.count = 0};
    struct rota__decoder *d = NULL;
    char *to = malloc(room);
    ssize_t n = rota__codings_add(&list, str(codings));
    if (n == 0)
        n = rota__decoder_new(&list, limits, &d);
    for (size_t at = 0; n == 0 && at < coded.len; at += piece) {
        size_t len = coded.len - at < piece ? coded.len - at : piece;
        char *exact = malloc(len);
        memcpy(exact, coded.ptr + at, len);
        rota_str in = {exact, len};
        while ((n = rota__decoder_read(d, &in, to, room)) > 0) {
            CHECK_INT(n, <=, room);
            rota__out_add(told, to, (size_t)n);
        }
        CHECK(n < 0 || in.len == 0);
        free(exact);
    }
    if (n == 0)
        n = rota__decoder_finish(d);
    rota__decoder_free(d);
    free(to);
    return (int)n;
}

static void check_decoded(const char *codings, rota_str coded, rota_str expected)
{
    static const struct {
        size_t piece, room;
    } ways[] = {{1, 1}, {1, 100000}, {100000, 1}, {100000, 100000}, {7, 5}};
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct rota__out told = {0};
        CHECK_OK(decode(codings, coded, ways[i].piece, ways[i].room, NULL, &told));
        CHECK_OK(told.err);
        CHECK_INT(told.len, ==, expected.len);
        CHECK(!told.len || memcmp(told.ptr, expected.ptr, told.len) == 0);
        rota__out_fini(&told);
    }
}

static int decode_whole(const char *codings, rota_str coded)
{
    struct rota__out told = {0};
    int err = decode(codings, coded, SIZE_MAX / 2, 4096, NULL, &told);
    rota__out_fini(&told);
    return err;
}

#define GZIP_HELLO                                                                     \
    "\x1f\x8b\x08\x08\x00\x00\x00\x00\x02\xff\x66\x2e\x74\x78\x74\x00\xcb\x48\xcd\xc9" \
    "\xc9\x57\xc8\x00\x91\x00\x40\xa6\x2d\x01\x0b\x00\x00\x00"
#define ZLIB_HELLO "\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x00\x91\x00\x19\x91\x04\x49"
#define RAW_HELLO "\xcb\x48\xcd\xc9\xc9\x57\xc8\x00\x91\x00"
#define BR_HELLO "\x0b\x05\x80hello world\x03"

#define ZSTD_HELLO "\x28\xb5\x2f\xfd\x04\x58\x59\x00\x00hello hello\xc5\xbd\xfb\x61"
#define ZSTD_HELLO_NO_SUM "\x28\xb5\x2f\xfd\x00\x58\x59\x00\x00hello hello"
#define ZSTD_SKIPPED "\x50\x2a\x4d\x18\x02\x00\x00\x00xx"

/* Made by other programs. */
static const struct {
    const char *codings;
    rota_str coded, plain;
} golden[] = {
    {"gzip", BYTES(GZIP_HELLO), BYTES("hello hello")},
    {"gzip", BYTES(GZIP_HELLO GZIP_HELLO),
     BYTES("hello hellohello hello")}, /* RFC 1952, section 2.2 */
    {"x-gzip", BYTES(GZIP_HELLO), BYTES("hello hello")},
    {"deflate", BYTES(ZLIB_HELLO), BYTES("hello hello")},
    {"deflate", BYTES(RAW_HELLO), BYTES("hello hello")},
    {"deflate", BYTES("\x03\x00"), BYTES("")},
    {"br", BYTES(BR_HELLO), BYTES("hello world")},
    {"br", BYTES("\x3b"), BYTES("")},
    {"gzip", BYTES(""), BYTES("")},
    {"deflate", BYTES(""), BYTES("")},
    {"br, gzip", BYTES(""), BYTES("")},
#ifdef ROTA__HAS_ZSTD
    {"zstd", BYTES(ZSTD_HELLO), BYTES("hello hello")},
    {"zstd", BYTES(ZSTD_HELLO_NO_SUM), BYTES("hello hello")},
    {"zstd", BYTES(""), BYTES("")},
#endif
};

TEST(what_others_have_encoded_is_decoded)
{
    for (size_t i = 0; i < COUNT(golden); i++)
        check_decoded(golden[i].codings, golden[i].coded, golden[i].plain);
}

TEST(a_body_that_is_cut_short_is_none)
{
    for (size_t i = 0; i < COUNT(golden); i++) {
        for (size_t len = 1; len < golden[i].coded.len; len++) {
            rota_str cut = {golden[i].coded.ptr, len};
            bool whole_member = i == 1 && len == golden[0].coded.len;
            CHECK_INT(decode_whole(golden[i].codings, cut), ==, whole_member ? 0 : -EBADMSG);
        }
    }
}

TEST(bytes_behind_the_end_are_refused)
{
    CHECK_INT(decode_whole("gzip", BYTES(GZIP_HELLO "x")), ==, -EBADMSG);
    CHECK_INT(decode_whole("gzip", BYTES(GZIP_HELLO "\0")), ==, -EBADMSG);
    CHECK_INT(decode_whole("gzip", BYTES(GZIP_HELLO "\x1f")), ==, -EBADMSG);
    CHECK_INT(decode_whole("deflate", BYTES(ZLIB_HELLO "x")), ==, -EBADMSG);
    CHECK_INT(decode_whole("deflate", BYTES(ZLIB_HELLO ZLIB_HELLO)), ==, -EBADMSG);
    CHECK_INT(decode_whole("deflate", BYTES(RAW_HELLO "\0")), ==, -EBADMSG);
    CHECK_INT(decode_whole("br", BYTES(BR_HELLO BR_HELLO)), ==, -EBADMSG);
}

TEST(a_body_that_is_not_so_coded_is_refused)
{
    static const char *const codings[] = {"gzip", "deflate", "br", "br, gzip", "gzip, br"};
    for (size_t i = 0; i < COUNT(codings); i++)
        CHECK_INT(decode_whole(codings[i], BYTES("<!DOCTYPE html><html>")), ==, -EBADMSG);
    CHECK_INT(decode_whole("gzip", BYTES(ZLIB_HELLO)), ==, -EBADMSG);
    CHECK_INT(decode_whole("deflate", BYTES(GZIP_HELLO)), ==, -EBADMSG);
    /* a preset dictionary, which HTTP has no way to agree on */
    CHECK_INT(decode_whole("deflate", BYTES("\x78\xbb\x01\x02\x03\x04\x03\x00")), ==, -EBADMSG);
    /* a wrong sum */
    CHECK_INT(decode_whole("deflate", BYTES("\x78\x9c\x03\x00\x00\x00\x00\x02")), ==, -EBADMSG);
}

#ifdef ROTA__HAS_ZSTD

TEST(zstd_may_have_several_frames)
{
    check_decoded("zstd", BYTES(ZSTD_HELLO ZSTD_HELLO_NO_SUM), BYTES("hello hellohello hello"));
    check_decoded("zstd", BYTES(ZSTD_SKIPPED ZSTD_HELLO ZSTD_SKIPPED), BYTES("hello hello"));
}

TEST(a_broken_frame_of_zstd_is_refused)
{
    static const char wrong_sum[] = ZSTD_HELLO;
    char bytes[sizeof wrong_sum];
    memcpy(bytes, wrong_sum, sizeof bytes);
    bytes[sizeof bytes - 2] ^= 1;
    CHECK_INT(decode_whole("zstd", (rota_str){bytes, sizeof bytes - 1}), ==, -EBADMSG);
    CHECK_INT(decode_whole("zstd", BYTES(ZSTD_HELLO "x")), ==, -EBADMSG);
    CHECK_INT(decode_whole("zstd", BYTES("<!DOCTYPE html><html>")), ==, -EBADMSG);
    /* A window of 32 MiB: RFC 9659 has a limit of 8. */
    CHECK_INT(decode_whole("zstd", BYTES("\x28\xb5\x2f\xfd\x00\x78\x01\x00\x00")), ==, -EBADMSG);
}

TEST(a_bomb_of_zstd_is_cut)
{
    /* 64 blocks of 128 KiB, each of one byte repeated. */
    static const char block[] = {'\x02', '\x00', '\x10', 'x'};
    char bomb[6 + 64 * sizeof block] = "\x28\xb5\x2f\xfd\x00\x38";
    for (size_t i = 0; i < 64; i++)
        memcpy(bomb + 6 + i * sizeof block, block, sizeof block);
    CHECK_INT(decode_whole("zstd", (rota_str){bomb, sizeof bomb}), ==, ROTA_ELIMIT);
}

#endif

/* ---- Encoding */

static void fill(char *text, size_t len)
{
    unsigned seed = 1;
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        text[i] = "abcdefgh \nrota"[seed >> 16 & (i % 100 < 50 ? 15 : 3) % 14];
    }
}

/* Encodes in pieces; `flushes` after each of them, when all so far has to be decodable. */
static int encode(enum rota__coding coding, int level, rota_str plain, size_t piece, bool flushes,
                  struct rota__out *out)
{
    struct rota__encoder *e = NULL;
    int err = rota__encoder_new(coding, level, &e);
    for (size_t at = 0; err == 0 && at < plain.len; at += piece) {
        rota_str bytes = {plain.ptr + at, plain.len - at < piece ? plain.len - at : piece};
        err = rota__encoder_write(e, bytes, flushes ? ROTA__ENCODER_FLUSH : ROTA__ENCODER_ON, out);
        if (!flushes || err < 0)
            continue;
        struct rota__out told = {0};
        int status = decode(rota__coding_name(coding), (rota_str){out->ptr, out->len}, 4096, 4096,
                            NULL, &told);
        CHECK(status == -EBADMSG || status == -ENOMEM); /* it is not at its end */
        CHECK(status == -ENOMEM || told.err < 0 || told.len == at + bytes.len);
        rota__out_fini(&told);
    }
    if (err == 0)
        err = rota__encoder_write(e, (rota_str){NULL, 0}, ROTA__ENCODER_END, out);
    rota__encoder_free(e);
    return err;
}

static const enum rota__coding encodings[] = {ROTA__CODING_GZIP, ROTA__CODING_DEFLATE,
                                              ROTA__CODING_BR};

static char text[60000];

TEST(what_is_encoded_is_decoded)
{
    fill(text, sizeof text);
    static const size_t sizes[] = {0, 1, 100, 5000, sizeof text};
    for (size_t i = 0; i < COUNT(encodings); i++) {
        for (size_t s = 0; s < COUNT(sizes); s++) {
            struct rota__out out = {0};
            CHECK_OK(encode(encodings[i], 0, (rota_str){text, sizes[s]}, 1000, false, &out));
            check_decoded(rota__coding_name(encodings[i]), (rota_str){out.ptr, out.len},
                          (rota_str){text, sizes[s]});
            CHECK(sizes[s] < 5000 || out.len < sizes[s] * 3 / 4);
            rota__out_fini(&out);
        }
    }
}

TEST(each_level_can_be_decoded)
{
    fill(text, sizeof text);
    for (size_t i = 0; i < COUNT(encodings); i++) {
        for (int level = 1; level <= (encodings[i] == ROTA__CODING_BR ? 11 : 9); level++) {
            struct rota__out out = {0}, told = {0};
            CHECK_OK(encode(encodings[i], level, (rota_str){text, 20000}, 20000, false, &out));
            CHECK_OK(decode(rota__coding_name(encodings[i]), (rota_str){out.ptr, out.len}, 500, 500,
                            NULL, &told));
            CHECK_INT(told.len, ==, 20000);
            CHECK_MEM(told.ptr, text, told.len);
            rota__out_fini(&told);
            rota__out_fini(&out);
        }
    }
}

TEST(what_was_flushed_can_be_decoded_at_once)
{
    fill(text, sizeof text);
    for (size_t i = 0; i < COUNT(encodings); i++) {
        struct rota__out out = {0};
        CHECK_OK(encode(encodings[i], 0, (rota_str){text, 3000}, 150, true, &out));
        rota__out_fini(&out);
    }
}

TEST(a_flush_of_nothing_adds_little_and_breaks_nothing)
{
    for (size_t i = 0; i < COUNT(encodings); i++) {
        struct rota__encoder *e = NULL;
        struct rota__out out = {0};
        CHECK_OK(rota__encoder_new(encodings[i], 0, &e));
        for (int n = 0; n < 100; n++)
            CHECK_OK(rota__encoder_write(e, (rota_str){NULL, 0}, ROTA__ENCODER_FLUSH, &out));
        CHECK_OK(rota__encoder_write(e, str("x"), ROTA__ENCODER_END, &out));
        CHECK_INT(out.len, <, 100);
        check_decoded(rota__coding_name(encodings[i]), (rota_str){out.ptr, out.len}, str("x"));
        rota__encoder_free(e);
        rota__out_fini(&out);
    }
}

TEST(only_codings_and_levels_that_there_are_make_an_encoder)
{
    struct rota__encoder *e = NULL;
    CHECK_INT(rota__encoder_new(ROTA__CODING_IDENTITY, 0, &e), ==, -EINVAL);
    CHECK_INT(rota__encoder_new(ROTA__CODING_GZIP, 10, &e), ==, -EINVAL);
    CHECK_INT(rota__encoder_new(ROTA__CODING_BR, 12, &e), ==, -EINVAL);
    CHECK_INT(rota__encoder_new(ROTA__CODING_BR, -1, &e), ==, -EINVAL);
    rota__encoder_free(NULL);
    rota__decoder_free(NULL);
}

/* ---- Several, one upon another */

TEST(codings_are_undone_from_the_outside)
{
    fill(text, sizeof text);
    for (size_t a = 0; a < COUNT(encodings); a++) {
        for (size_t b = 0; b < COUNT(encodings); b++) {
            struct rota__out inner = {0}, outer = {0};
            char names[32];
            snprintf(names, sizeof names, "%s, %s", rota__coding_name(encodings[a]),
                     rota__coding_name(encodings[b]));
            CHECK_OK(encode(encodings[a], 0, (rota_str){text, 9000}, 9000, false, &inner));
            CHECK_OK(encode(encodings[b], 0, (rota_str){inner.ptr, inner.len}, 77, false, &outer));
            check_decoded(names, (rota_str){outer.ptr, outer.len}, (rota_str){text, 9000});
            for (size_t len = 1; len < outer.len; len += 100)
                CHECK_INT(decode_whole(names, (rota_str){outer.ptr, len}), ==, -EBADMSG);
            rota__out_fini(&inner);
            rota__out_fini(&outer);
        }
    }
}

TEST(an_inner_body_that_ends_early_is_refused)
{
    static const rota_str inner[] = {BYTES(""), BYTES("\x1f\x8b"), BYTES(GZIP_HELLO "x")};
    for (size_t i = 0; i < COUNT(inner); i++) {
        struct rota__out outer = {0};
        CHECK_OK(encode(ROTA__CODING_BR, 0, inner[i], 100, false, &outer));
        CHECK_INT(decode_whole("gzip, br", (rota_str){outer.ptr, outer.len}), ==, -EBADMSG);
        rota__out_fini(&outer);
    }
}

/* ---- Bombs */

/* Zeros, encoded by all of these. */
static int make_bomb(const enum rota__coding *codings, size_t count, struct rota__out *bomb)
{
    static const char zeros[100000];
    int err = encode(codings[0], 0, (rota_str){zeros, sizeof zeros}, sizeof zeros, false, bomb);
    for (size_t i = 1; i < count && err == 0; i++) {
        struct rota__out outer = {0};
        err = encode(codings[i], 0, (rota_str){bomb->ptr, bomb->len}, 100, false, &outer);
        rota__out_fini(bomb);
        *bomb = outer;
    }
    return err;
}

TEST(a_bomb_is_refused_before_it_has_put_out_much)
{
    static const struct {
        const char *names;
        enum rota__coding codings[2];
        size_t count;
    } bombs[] = {
        {"gzip", {ROTA__CODING_GZIP}, 1},
        {"deflate", {ROTA__CODING_DEFLATE}, 1},
        {"br", {ROTA__CODING_BR}, 1},
        {"gzip, br", {ROTA__CODING_GZIP, ROTA__CODING_BR}, 2},
        {"br, gzip", {ROTA__CODING_BR, ROTA__CODING_GZIP}, 2},
    };
    static const struct rota__decoder_limits limits = {.ratio = 10, .slack = 20000};
    for (size_t i = 0; i < COUNT(bombs); i++) {
        struct rota__out bomb = {0}, told = {0};
        CHECK_OK(make_bomb(bombs[i].codings, bombs[i].count, &bomb));
        rota_str coded = {bomb.ptr, bomb.len};
        CHECK_INT(decode(bombs[i].names, coded, 64, 1000, &limits, &told), ==, ROTA_ELIMIT);
        CHECK_INT(told.len, <=, 20000 + 10 * bomb.len);
        told.len = 0;
        CHECK_OK(decode(bombs[i].names, coded, 64, 1000, NULL, &told)); /* below the slack */
        CHECK_INT(told.len, ==, 100000);
        rota__out_fini(&told);
        rota__out_fini(&bomb);
    }
}

TEST(an_outer_coding_alone_may_be_the_bomb)
{
    static const char names[] = "deflate, gzip";
    static const struct rota__decoder_limits limits = {.ratio = 10, .slack = 20000};
    struct rota__out empty_blocks = {0}, bomb = {0}, told = {0};
    /* Stored blocks of nothing: much between the stages, and nothing at the end. */
    for (int i = 0; i < 20000; i++)
        rota__out_add_literal(&empty_blocks, "\x00\x00\x00\xff\xff");
    CHECK_OK(empty_blocks.err);
    CHECK_OK(encode(ROTA__CODING_GZIP, 9, (rota_str){empty_blocks.ptr, empty_blocks.len}, 1000,
                    false, &bomb));
    CHECK_INT(decode(names, (rota_str){bomb.ptr, bomb.len}, 64, 1000, &limits, &told), ==,
              ROTA_ELIMIT);
    CHECK_INT(told.len, ==, 0);
    rota__out_fini(&bomb);
    rota__out_fini(&empty_blocks);
}

TEST(a_decoder_that_has_failed_fails_ever_after)
{
    struct rota__codings codings = {{ROTA__CODING_GZIP}, 1};
    struct rota__decoder *d = NULL;
    char room[64];
    rota_str bad = BYTES("no gzip"), good = BYTES(GZIP_HELLO);
    CHECK_OK(rota__decoder_new(&codings, NULL, &d));
    CHECK_INT(rota__decoder_read(d, &bad, room, sizeof room), ==, -EBADMSG);
    CHECK_INT(rota__decoder_read(d, &good, room, sizeof room), ==, -EBADMSG);
    CHECK_INT(rota__decoder_finish(d), ==, -EBADMSG);
    rota__decoder_free(d);
}
