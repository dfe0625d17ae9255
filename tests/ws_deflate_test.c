/* permessage-deflate: RFC 7692. */
#include "http/ws.h"
#include "http/ws_deflate.h"

#include "inflate.h"
#include "out_check.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

/* ---- Agreeing */

static const struct rota__ws_deflate_terms any;

static void check_terms(const struct rota__ws_deflate_terms *terms, const char *expected)
{
    struct rota__out out = {0};
    rota__ws_deflate_write_answer(&out, terms);
    check_out(&out, expected);
    rota__out_fini(&out);
}

#define X "permessage-deflate"

/* What a server that is ready for `own` answers; NULL: nothing. */
static const struct {
    const char *offers;
    struct rota__ws_deflate_terms own;
    const char *answer;
} offers[] = {
    {"", {0}, NULL},
    {X, {0}, X},
    {" Permessage-Deflate ", {0}, X},
    {"x-webkit-deflate-frame, " X, {0}, X},
    {"foo; bar=\"" X ", baz\", " X "; client_no_context_takeover",
     {0},
     X "; client_no_context_takeover"},
    {"foo", {0}, NULL},
    {X "ed", {0}, NULL},
    /* section 7.1 */
    {X "; client_max_window_bits; server_max_window_bits=10", {0}, X "; server_max_window_bits=10"},
    {X "; client_max_window_bits; server_max_window_bits=10, " X "; client_max_window_bits",
     {0},
     X "; server_max_window_bits=10"},
    {X "; server_no_context_takeover; client_max_window_bits=\"12\"",
     {0},
     X "; server_no_context_takeover; client_max_window_bits=12"},
    {X "; server_max_window_bits=8", {0}, X "; server_max_window_bits=8"},
    /* what the server wants itself */
    {X,
     {.server_no_context = true, .client_no_context = true, .server_bits = 9},
     X "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9"},
    {X "; server_max_window_bits=10", {.server_bits = 9}, X "; server_max_window_bits=9"},
    {X "; server_max_window_bits=10", {.server_bits = 12}, X "; server_max_window_bits=10"},
    {X "; client_max_window_bits", {.client_bits = 9}, X "; client_max_window_bits=9"},
    {X "; client_max_window_bits=10", {.client_bits = 12}, X "; client_max_window_bits=10"},
    {X, {.client_bits = 9}, NULL}, /* section 7.1.2.2: it does not know how */
    {X, {.client_bits = 15}, X},
    {X ", " X "; client_max_window_bits", {.client_bits = 9}, X "; client_max_window_bits=9"},
    /* section 7.1: declined, but another may follow */
    {X "; foo", {0}, NULL},
    {X "; foo, " X, {0}, X},
    {X "; server_no_context_takeover=1", {0}, NULL},
    {X "; server_no_context_takeover; server_no_context_takeover", {0}, NULL},
    {X "; client_max_window_bits; client_max_window_bits=10", {0}, NULL},
    {X "; client_max_window_bits=10; client_max_window_bits", {0}, NULL},
    {X "; server_max_window_bits", {0}, NULL},
    {X "; server_max_window_bits=7", {0}, NULL},
    {X "; server_max_window_bits=16", {0}, NULL},
    {X "; server_max_window_bits=08", {0}, NULL},
    {X "; server_max_window_bits=10x", {0}, NULL},
    {X "; server_max_window_bits=", {0}, NULL},
    {X "; client_max_window_bits=\"\"", {0}, NULL},
    {X "; =1", {0}, NULL},
    {X " client_max_window_bits", {0}, NULL},
};

TEST(the_first_offer_that_a_server_can_is_accepted)
{
    for (size_t i = 0; i < COUNT(offers); i++) {
        struct rota__ws_deflate_terms agreed;
        int done = rota__ws_deflate_accept(str(offers[i].offers), &offers[i].own, &agreed);
        if (done != (offers[i].answer != NULL))
            FAIL("%s: is %d", offers[i].offers, done);
        if (done)
            check_terms(&agreed, offers[i].answer);
    }
    CHECK_INT(
        rota__ws_deflate_accept((rota_str){NULL, 0}, &any, &(struct rota__ws_deflate_terms){0}), ==,
        0);
}

TEST(an_offer_says_what_the_client_wants)
{
    static const struct {
        struct rota__ws_deflate_terms own;
        const char *offer;
    } own[] = {
        {{0}, X "; client_max_window_bits"},
        {{.client_no_context = true, .client_bits = 10},
         X "; client_no_context_takeover; client_max_window_bits=10"},
        {{.server_no_context = true, .server_bits = 11},
         X "; server_no_context_takeover; server_max_window_bits=11; client_max_window_bits"},
    };
    for (size_t i = 0; i < COUNT(own); i++) {
        struct rota__out out = {0};
        struct rota__ws_deflate_terms agreed;
        rota__ws_deflate_write_offer(&out, &own[i].own);
        CHECK_OK(out.err);
        CHECK_INT(rota__ws_deflate_accept((rota_str){out.ptr, out.len}, &any, &agreed), ==, 1);
        check_out(&out, own[i].offer);
        rota__out_fini(&out);
    }
}

/* What a client that offered `own` makes of an answer; NULL: it has to close. */
static const struct {
    const char *answer;
    struct rota__ws_deflate_terms own;
    const char *agreed;
} answers[] = {
    {X, {0}, X},
    {X,
     {.client_no_context = true, .client_bits = 9},
     X "; client_no_context_takeover; client_max_window_bits=9"},
    {X "; client_max_window_bits=10", {.client_bits = 12}, X "; client_max_window_bits=10"},
    {X "; client_max_window_bits=12", {.client_bits = 10}, X "; client_max_window_bits=10"},
    /* unasked, but allowed (sections 7.1.1.1, 7.1.1.2 and 7.1.2.1) */
    {X "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8",
     {0},
     X "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8"},
    {X "; server_max_window_bits=9", {.server_bits = 10}, X "; server_max_window_bits=9"},
    /* not what was asked for */
    {X, {.server_no_context = true}, NULL},
    {X, {.server_bits = 10}, NULL},
    {X "; server_max_window_bits=11", {.server_bits = 10}, NULL},
    /* sections 5.1 and 7.1 */
    {X "; client_max_window_bits", {0}, NULL},
    {X "; client_max_window_bits=16", {0}, NULL},
    {X "; server_max_window_bits", {0}, NULL},
    {X "; foo", {0}, NULL},
    {X "; client_no_context_takeover; client_no_context_takeover", {0}, NULL},
    {X ", " X, {0}, NULL},
    {"foo", {0}, NULL},
    {"foo, " X, {0}, NULL},
    {X ", foo", {0}, NULL},
    {", " X, {0}, NULL},
};

TEST(an_answer_that_was_not_offered_is_refused)
{
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct rota__ws_deflate_terms agreed;
        int done = rota__ws_deflate_read_answer(str(answers[i].answer), &answers[i].own, &agreed);
        if (done != (answers[i].agreed ? 1 : -EBADMSG))
            FAIL("%s: is %d", answers[i].answer, done);
        if (done > 0)
            check_terms(&agreed, answers[i].agreed);
    }
    CHECK_INT(rota__ws_deflate_read_answer(str(""), &any, &(struct rota__ws_deflate_terms){0}), ==,
              0);
}

/* ---- Inflating */

static int inflate_one(const struct rota__ws_deflate_terms *terms, rota_str message)
{
    struct rota__ws_deflate *d = NULL;
    struct rota__out told = {0};
    int err = rota__ws_deflate_new(terms, true, 0, 0, &d);
    if (err == 0)
        err = inflate_message(d, message, 100, 100, &told);
    rota__ws_deflate_free(d);
    rota__out_fini(&told);
    return err;
}

#define HELLO BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00")

/* Messages of one connection, one after another. */
static const struct {
    rota_str messages[4];
    const char *expected;
} sequences[] = {
    {{HELLO}, "Hello|"},                                                         /* 7.2.3.1 */
    {{HELLO, BYTES("\xf2\x00\x11\x00\x00")}, "Hello|Hello|"},                    /* 7.2.3.2 */
    {{BYTES("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")}, "Hello|"},         /* 7.2.3.3 */
    {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, "Hello|"},                     /* 7.2.3.4 */
    {{BYTES("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")}, "Hello|"}, /* 7.2.3.5 */
    {{BYTES("\x00"), HELLO, BYTES("\x00"), HELLO}, "|Hello||Hello|"},            /* 7.2.3.6 */
    /* the window goes on behind a last block */
    {{BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), BYTES("\xf2\x00\x11\x00\x00")}, "Hello|Hello|"},
    {{BYTES("\x01\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x01")}, "Hello|"},
};

TEST(the_examples_of_the_rfc_are_inflated)
{
    static const struct {
        size_t piece, room;
    } ways[] = {{1, 1}, {1, 100}, {100, 1}, {100, 100}, {2, 3}};
    for (size_t i = 0; i < COUNT(sequences) * COUNT(ways); i++) {
        struct rota__ws_deflate *d = NULL;
        struct rota__out told = {0};
        size_t s = i / COUNT(ways), way = i % COUNT(ways);
        CHECK_OK(rota__ws_deflate_new(&any, true, 0, 0, &d));
        for (size_t m = 0; m < 4 && sequences[s].messages[m].ptr; m++) {
            CHECK_OK(inflate_message(d, sequences[s].messages[m], ways[way].piece, ways[way].room,
                                     &told));
            rota__out_add_literal(&told, "|");
        }
        check_out(&told, sequences[s].expected);
        rota__out_fini(&told);
        rota__ws_deflate_free(d);
    }
}

TEST(a_message_that_is_not_deflated_is_refused)
{
    static const rota_str messages[] = {
        BYTES("\x06"),                                 /* an invalid kind of block */
        BYTES("\x00\x05\x00\xfa\xfe"),                 /* a length and its complement */
        BYTES("\xf2\x00\x11\x00\x00"),                 /* looks back at nothing */
        BYTES("\xf2\x48\xcd\xc9\xc9"),                 /* cut off in a block */
        BYTES("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c"), /* the same, so the tail would be data */
        BYTES("\xf3\x48\xcd\xc9\xc9\x07\x00"), /* a last block, and nothing for the tail to end */
        BYTES("\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff"), /* half a tail of its own */
        BYTES("Hello"),
        BYTES(""), /* without even the three bits before the tail */
    };
    for (size_t i = 0; i < COUNT(messages); i++)
        CHECK_INT(inflate_one(&any, messages[i]), ==, -EBADMSG);
}

TEST(a_message_whose_context_was_not_taken_over_stands_for_itself)
{
    struct rota__ws_deflate *d = NULL;
    struct rota__out told = {0};
    const struct rota__ws_deflate_terms terms = {.client_no_context = true};
    CHECK_OK(rota__ws_deflate_new(&terms, true, 0, 0, &d));
    CHECK_OK(inflate_message(d, HELLO, 100, 100, &told));
    CHECK_OK(inflate_message(d, HELLO, 100, 100, &told));
    check_out(&told, "HelloHello");
    CHECK_INT(inflate_message(d, BYTES("\xf2\x00\x11\x00\x00"), 100, 100, &told), ==, -EBADMSG);
    rota__out_fini(&told);
    rota__ws_deflate_free(d);
}

TEST(a_peer_that_looks_back_beyond_its_window_is_refused)
{
    const struct rota__ws_deflate_terms terms = {.client_bits = 8};
    struct rota__ws_deflate *d = NULL;
    struct rota__out wide = {0}, told = {0};
    char text[1200];
    for (size_t i = 0; i < sizeof text; i++) /* repeats itself after 600 bytes only */
        text[i] = (char)((i % 600) * 7919 >> 3);
    CHECK_OK(rota__ws_deflate_new(&any, false, 9, 0, &d));
    CHECK_OK(rota__ws_deflate_write(d, (rota_str){text, sizeof text}, true, &wide));
    CHECK_OK(inflate_one(&any, (rota_str){wide.ptr, wide.len}));
    CHECK_INT(inflate_one(&terms, (rota_str){wide.ptr, wide.len}), ==, -EBADMSG);
    rota__out_fini(&told);
    rota__out_fini(&wide);
    rota__ws_deflate_free(d);
}

TEST(the_limit_is_of_the_inflated_message)
{
    struct rota__ws_deflate *client = NULL, *server = NULL;
    struct rota__out out = {0}, told = {0};
    static const char zeros[100001];
    CHECK_OK(rota__ws_deflate_new(&any, false, 0, 0, &client));
    CHECK_OK(rota__ws_deflate_new(&any, true, 0, 100000, &server));
    for (size_t i = 0; i < 4; i++) { /* of each message anew */
        out.len = told.len = 0;
        CHECK_OK(rota__ws_deflate_write(client, (rota_str){zeros, 100000}, true, &out));
        CHECK_OK(inflate_message(server, (rota_str){out.ptr, out.len}, 10, 1000, &told));
        CHECK_INT(told.len, ==, 100000);
    }
    out.len = told.len = 0;
    CHECK_OK(rota__ws_deflate_write(client, (rota_str){zeros, 100001}, true, &out));
    CHECK_INT(out.len, <, 200);
    CHECK_INT(inflate_message(server, (rota_str){out.ptr, out.len}, 10, 1000, &told), ==,
              ROTA_ELIMIT);
    CHECK_INT(told.len, <=, 100000);
    rota__out_fini(&told);
    rota__out_fini(&out);
    rota__ws_deflate_free(client);
    rota__ws_deflate_free(server);
}

/* ---- Deflating */

TEST(messages_are_deflated_as_in_the_examples_of_the_rfc)
{
    struct rota__ws_deflate *d = NULL;
    struct rota__out out = {0};
    CHECK_OK(rota__ws_deflate_new(&any, true, 0, 0, &d));
    CHECK_OK(rota__ws_deflate_write(d, str("Hello"), true, &out));
    CHECK_INT(out.len, ==, 7);
    CHECK_MEM(out.ptr, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
    out.len = 0;
    CHECK_OK(rota__ws_deflate_write(d, str("Hello"), true, &out));
    CHECK_INT(out.len, ==, 5);
    CHECK_MEM(out.ptr, "\xf2\x00\x11\x00\x00", 5);
    out.len = 0;
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rota__ws_deflate_write(d, (rota_str){NULL, 0}, true, &out));
        CHECK_INT(out.len, ==, 1);
        CHECK_MEM(out.ptr, "\0", 1);
        out.len = 0;
    }
    rota__out_fini(&out);
    rota__ws_deflate_free(d);
}

static char text[70000];

static void fill(void)
{
    unsigned seed = 7;
    for (size_t i = 0; i < sizeof text; i++) {
        seed = seed * 1103515245u + 12345u;
        text[i] = i >= 240 && seed >> 30 ? text[i - (seed >> 16) % 240 - 1] : (char)(seed >> 16);
    }
}

/* Messages through a pair, each in pieces that are put together again. */
static void talk(const struct rota__ws_deflate_terms *terms, bool from_server, size_t piece)
{
    static const size_t sizes[] = {5, 0, 1000, 1000, 0, 70000, 1, 33000};
    struct rota__ws_deflate *from = NULL, *to = NULL;
    struct rota__out out = {0}, told = {0};
    CHECK_OK(rota__ws_deflate_new(terms, from_server, 0, 0, &from));
    CHECK_OK(rota__ws_deflate_new(terms, !from_server, 0, 0, &to));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        bool last = false;
        for (size_t at = 0; !last; at += piece) {
            size_t len = sizes[i] - at < piece ? sizes[i] - at : piece;
            last = at + len == sizes[i];
            CHECK_OK(rota__ws_deflate_write(from, (rota_str){text + at, len}, last, &out));
        }
        CHECK_OK(inflate_message(to, (rota_str){out.ptr, out.len}, 999, 1234, &told));
        CHECK_INT(told.err, ==, 0);
        CHECK_INT(told.len, ==, sizes[i]);
        CHECK(!told.len || memcmp(told.ptr, text, told.len) == 0);
        told.len = out.len = 0;
    }
    rota__out_fini(&told);
    rota__out_fini(&out);
    rota__ws_deflate_free(from);
    rota__ws_deflate_free(to);
}

TEST(messages_arrive_whatever_was_agreed_on)
{
    fill();
    for (int bits = 0; bits <= 15; bits = bits ? bits + 1 : 8) {
        for (int way = 0; way < 8; way++) {
            const struct rota__ws_deflate_terms terms = {.server_no_context = way & 1,
                                                         .client_no_context = way & 2,
                                                         .server_bits = bits,
                                                         .client_bits = bits};
            talk(&terms, way & 4, way & 1 ? 70000 : 700);
        }
    }
}

/* Inflates with zlib alone, byte by byte, with a window of just 256 bytes. */
static int inflate_by_zlib(const struct rota__out *message, size_t expected)
{
    z_stream z = {.next_in = (unsigned char *)message->ptr, .avail_in = (unsigned)message->len};
    unsigned char tail[] = {0, 0, 0xff, 0xff}, byte;
    size_t len = 0;
    if (inflateInit2(&z, -8) != Z_OK)
        return -ENOMEM;
    int status = Z_OK;
    while (status == Z_OK) {
        z.next_out = &byte;
        z.avail_out = 1;
        status = inflate(&z, Z_SYNC_FLUSH);
        if (z.avail_out == 0) {
            CHECK_INT((char)byte, ==, text[len]);
            len++;
        } else if (z.avail_in == 0 && z.next_in != tail + 4) {
            z.next_in = tail;
            z.avail_in = 4;
            status = Z_OK;
        }
    }
    inflateEnd(&z);
    CHECK_INT(status, ==, Z_BUF_ERROR);
    CHECK_INT(len, ==, expected);
    return 0;
}

TEST(a_window_of_256_bytes_is_kept_to)
{
    const struct rota__ws_deflate_terms terms = {.server_bits = 8};
    fill();
    for (int level = 1; level <= 9; level++) {
        struct rota__ws_deflate *d = NULL;
        struct rota__out out = {0};
        CHECK_OK(rota__ws_deflate_new(&terms, true, level, 0, &d));
        CHECK_OK(rota__ws_deflate_write(d, (rota_str){text, sizeof text}, true, &out));
        CHECK_OK(inflate_by_zlib(&out, sizeof text));
        rota__out_fini(&out);
        rota__ws_deflate_free(d);
    }
}

/* ---- With the frames */

TEST(a_text_is_checked_behind_the_inflating)
{
    static const struct {
        rota_str text;
        bool is_text;
    } texts[] = {{BYTES("\xe2\x82\xac and \xf0\x9f\x98\x80"), true},
                 {BYTES("abc\xed\xa0\x80"), false},
                 {BYTES("abc\xe2\x82"), false}};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct rota__ws_deflate *d = NULL;
        struct rota__out payload = {0}, frame = {0};
        struct rota__ws ws;
        struct rota__ws_item item;
        size_t used;
        char room[3];
        uint32_t utf8 = 0;
        bool is_text = true;
        ssize_t n;
        CHECK_OK(rota__ws_deflate_new(&any, true, 0, 0, &d));
        CHECK_OK(rota__ws_deflate_write(d, texts[i].text, true, &payload));
        rota__ws_write_head(&frame, ROTA__WS_TEXT, true, true, payload.len, NULL);
        rota__out_add(&frame, payload.ptr, payload.len);
        CHECK_OK(frame.err);
        rota__ws_init(&ws, false, true, 0);
        CHECK_INT(rota__ws_next(&ws, frame.ptr, frame.len, &used, &item), ==, ROTA__WS_DATA);
        CHECK(item.compressed && item.last);
        struct rota__ws_deflate *peer = NULL;
        CHECK_OK(rota__ws_deflate_new(&any, false, 0, 0, &peer));
        while ((n = rota__ws_inflate(peer, &item.data, item.last, room, sizeof room)) > 0)
            is_text &= rota__utf8_check(&utf8, room, (size_t)n);
        CHECK_OK(n);
        CHECK_INT(is_text && !utf8, ==, texts[i].is_text);
        rota__ws_deflate_free(peer);
        rota__ws_deflate_free(d);
        rota__out_fini(&frame);
        rota__out_fini(&payload);
    }
    rota__ws_deflate_free(NULL);
}
