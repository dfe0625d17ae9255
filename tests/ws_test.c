/* WebSocket frames. Each sequence of the tables is read whole, split at every byte, and byte by
 * byte. */
#include "http/ws.h"

#include "pieces.h"
#include "told.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))

/* ---- A reader that writes down what it is told */

struct reader {
    struct rota__ws ws;
    struct told told;
};

static void tell_event(struct reader *r, int event, const struct rota__ws_item *item)
{
    static const char *const names[] = {"", "text:", "binary:"};
    if (event == ROTA__WS_DATA) {
        if (r->told.len == 0 || r->told.text[r->told.len - 1] == '|')
            tell(&r->told, "%s%s", item->compressed ? "deflated " : "", names[item->opcode]);
        tell(&r->told, "%.*s%s", (int)item->data.len, item->data.ptr, item->last ? "|" : "");
    } else if (item->opcode == ROTA__WS_CLOSE) {
        tell(&r->told, "close %d %.*s|", item->close_code, (int)item->data.len, item->data.ptr);
    } else {
        tell(&r->told, "(%s %.*s)", item->opcode == ROTA__WS_PING ? "ping" : "pong",
             (int)item->data.len, item->data.ptr);
    }
}

static int take(void *arg, rota_str bytes, size_t *ret_used)
{
    struct reader *r = arg;
    struct rota__ws_item item;
    int event = rota__ws_next(&r->ws, (char *)bytes.ptr, bytes.len, ret_used, &item);
    if (event > 0)
        tell_event(r, event, &item);
    return event;
}

enum { CLIENT = 1, COMPRESSES = 2 };

static void check_reading(rota_str bytes, int role, size_t split, size_t piece,
                          const char *expected)
{
    struct reader r = {.told = {.len = 0}};
    rota__ws_init(&r.ws, !(role & CLIENT), role & COMPRESSES, 100000);
    if (read_in_pieces(bytes, split, piece, take, &r) < 0)
        tell(&r.told, "!%d %s", r.ws.close_code, r.ws.error);
    /* Of a text that turns out to be none, more or less was told before. */
    const char *mark = strchr(expected, '!');
    bool same = mark ? strstr(r.told.text, mark) != NULL : strcmp(r.told.text, expected) == 0;
    if (!same)
        FAIL("split at %zu, in pieces of %zu:\n  is   %s\n  want %s", split, piece, r.told.text,
             expected);
}

static void check_every_way(rota_str bytes, int role, const char *expected)
{
    for (size_t split = 0; split <= bytes.len; split++)
        check_reading(bytes, role, split, bytes.len + 1, expected);
    check_reading(bytes, role, 0, 1, expected);
}

struct frames {
    rota_str bytes;
    const char *expected;
    int role;
};

#define B(literal_)                    \
    {                                  \
        literal_, sizeof(literal_) - 1 \
    }
/* A mask of four zeros leaves the payload readable. */
#define M "\0\0\0\0"

static const struct frames understood[] = {
    {B("\x81\x05hello"), "text:hello|", CLIENT},
    {B("\x81\x85" M "hello"), "text:hello|", 0},
    {B("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "text:Hello|", 0}, /* section 5.7 */
    {B("\x01\x03Hel\x80\x02lo"), "text:Hello|", CLIENT},                   /* section 5.7 */
    {B("\x82\x02\xff\xfe\x82\x00"), "binary:\xff\xfe|binary:|", CLIENT},
    {B("\x02\x01x\x89\x02hi\x00\x01y\x8a\x00\x80\x01z"), "binary:x(ping hi)y(pong )z|", CLIENT},
    {B("\x01\x02\xe2\x82\x80\x01\xac"), "text:\xe2\x82\xac|", CLIENT},
    {B("\x88\x00"), "close 1005 |", CLIENT},
    {B("\x88\x05\x03\xe8"
       "bye\x81\x01x"),
     "close 1000 bye|", CLIENT},
    {B("\x88\x82" M "\x0f\xa0"), "close 4000 |", 0},
    {B("\xc1\x03"
       "\xf2\x48\xcd"),
     "deflated text:\xf2\x48\xcd|", CLIENT | COMPRESSES},
};

TEST(frames_are_read_alike_however_they_are_split)
{
    for (size_t i = 0; i < COUNT(understood); i++)
        check_every_way(understood[i].bytes, understood[i].role, understood[i].expected);
}

static const struct frames refused[] = {
    {B("\x91\x00"), "!1002 a reserved bit", CLIENT},
    {B("\xa1\x00"), "!1002 a reserved bit", CLIENT},
    {B("\xc1\x00"), "!1002 a reserved bit", CLIENT},
    {B("\x01\x00\xc0\x00"), "!1002 a reserved bit", CLIENT | COMPRESSES},
    {B("\xc9\x00"), "!1002 a reserved bit", CLIENT | COMPRESSES},
    {B("\x83\x00"), "!1002 unknown frame type", CLIENT},
    {B("\x8b\x00"), "!1002 unknown frame type", CLIENT},
    {B("\x81\x80" M), "!1002 a server masks", CLIENT},
    {B("\x81\x00"), "!1002 a client does not", 0},
    {B("\x80\x00"), "!1002 continuation frame outside a message", CLIENT},
    {B("\x01\x01x\x81\x01y"), "!1002 a message within another", CLIENT},
    {B("\x09\x00"), "!1002 fragmented control frame", CLIENT},
    {B("\x89\x7e\x00\x7e"), "!1002 control frame too long", CLIENT},
    {B("\x82\x7e\x00\x7d"), "!1002 frame length not minimally encoded", CLIENT},
    {B("\x82\x7f\0\0\0\0\0\0\xff\xff"), "!1002 frame length not minimally encoded", CLIENT},
    {B("\x82\x7f\x80\0\0\0\0\0\0\0"), "!1002 frame length above", CLIENT},
    {B("\x82\x7f\0\0\0\0\0\x01\x86\xa1"), "!1009 message longer than 100000 bytes (option message)",
     CLIENT},
    {B("\x88\x01\x03"), "!1002 half a close code", CLIENT},
    {B("\x88\x02\x03\xe7"), "!1002 invalid close code", CLIENT},
    {B("\x88\x02\x03\xec"), "!1002 invalid close code", CLIENT},
    {B("\x88\x02\x03\xed"), "!1002 invalid close code", CLIENT},
    {B("\x88\x02\x13\x88"), "!1002 invalid close code", CLIENT},
    {B("\x88\x03\x03\xe8\xff"), "!1007 a reason", CLIENT},
    {B("\x81\x02\xc0\x80"), "!1007 a text", CLIENT},
    {B("\x81\x03\xed\xa0\x80"), "!1007 a text", CLIENT},
    {B("\x81\x02\xe2\x82"), "!1007 a text", CLIENT},
    {B("\x01\x01\xe2\x80\x01x"), "!1007 a text", CLIENT},
};

TEST(what_breaks_the_protocol_is_refused_with_the_code_for_it)
{
    for (size_t i = 0; i < COUNT(refused); i++)
        check_every_way(refused[i].bytes, refused[i].role, refused[i].expected);
}

TEST(many_small_frames_of_a_message_meet_its_limit)
{
    struct rota__ws ws;
    struct rota__ws_item item;
    size_t used;
    rota__ws_init(&ws, false, false, 10);
    char first[] = "\x02\x04"
                   "abcd",
         next[] = "\x00\x04"
                  "abcd";
    CHECK_INT(rota__ws_next(&ws, first, 6, &used, &item), ==, ROTA__WS_DATA);
    CHECK_INT(rota__ws_next(&ws, next, 6, &used, &item), ==, ROTA__WS_DATA);
    CHECK_INT(rota__ws_next(&ws, next, 6, &used, &item), ==, -EBADMSG);
    CHECK_INT(ws.close_code, ==, ROTA__WS_TOO_BIG);
    CHECK_INT(rota__ws_next(&ws, next, 6, &used, &item), ==, -EBADMSG);
}

/* ---- Writing */

static void check_round_trip(size_t len, bool masked)
{
    static const unsigned char mask[4] = {0xde, 0xad, 0xbe, 0xef};
    char *payload = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        payload[i] = (char)(i * 7);
    struct rota__out out = {0};
    rota__ws_write_head(&out, ROTA__WS_BINARY, true, false, len, masked ? mask : NULL);
    size_t head = out.len;
    rota__out_add(&out, payload, len);
    if (out.err == 0) {
        if (masked)
            rota__ws_mask(out.ptr + head, len, mask, 0);
        struct rota__ws ws;
        rota__ws_init(&ws, masked, false, 0);
        struct rota__ws_item item = {.last = false};
        size_t at = 0, got = 0, used;
        while (at < out.len || !item.last) {
            size_t piece = out.len - at < 1000 ? out.len - at : 1000;
            if (rota__ws_next(&ws, out.ptr + at, piece, &used, &item) == ROTA__WS_DATA) {
                CHECK_MEM(item.data.ptr, payload + got, item.data.len);
                got += item.data.len;
            }
            at += used;
        }
        CHECK_INT(got, ==, len);
    }
    rota__out_fini(&out);
    free(payload);
}

TEST(a_frame_of_any_length_is_read_as_it_was_written)
{
    static const size_t lengths[] = {0, 1, 3, 7, 8, 9, 125, 126, 127, 1001, 65535, 65536, 70000};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        check_round_trip(lengths[i], false);
        check_round_trip(lengths[i], true);
    }
}

TEST(a_mask_may_be_applied_in_pieces)
{
    static const unsigned char mask[4] = {1, 2, 3, 4};
    for (size_t split = 0; split <= 40; split++) {
        char whole[40] = {0}, pieces[40] = {0};
        rota__ws_mask(whole, 40, mask, 0);
        rota__ws_mask(pieces, split, mask, 0);
        rota__ws_mask(pieces + split, 40 - split, mask, split);
        CHECK_MEM(whole, pieces, 40);
    }
}

TEST(only_close_frames_that_may_be_sent_are_written)
{
    struct rota__out out = {0};
    char reason[124];
    memset(reason, 'x', sizeof reason);
    CHECK_INT(rota__ws_write_close(&out, 1006, (rota_str){"", 0}, NULL), ==, -EINVAL);
    CHECK_INT(rota__ws_write_close(&out, 999, (rota_str){"", 0}, NULL), ==, -EINVAL);
    CHECK_INT(rota__ws_write_close(&out, 1000, (rota_str){"\xff", 1}, NULL), ==, -EINVAL);
    CHECK_INT(rota__ws_write_close(&out, 1000, (rota_str){reason, 124}, NULL), ==, -EINVAL);
    CHECK_INT(out.len, ==, 0);
    CHECK_OK(rota__ws_write_close(&out, 1000, (rota_str){reason, 123}, NULL));
    CHECK_INT(out.len, ==, 127);
    CHECK_OK(rota__ws_write_close(&out, ROTA__WS_NO_CODE, (rota_str){"", 0}, NULL));
    CHECK_MEM(out.ptr + 127, "\x88\0", 2);
    rota__out_fini(&out);
}

/* ---- UTF-8 */

/* The table 3-7 of Unicode, the plain way: the length of the character at `s`, 0 if there is
 * none. */
static size_t character(const unsigned char *s, size_t len)
{
    static const unsigned char rows[][9] = {
        {1, 0x00, 0x7f},
        {2, 0xc2, 0xdf, 0x80, 0xbf},
        {3, 0xe0, 0xe0, 0xa0, 0xbf, 0x80, 0xbf},
        {3, 0xe1, 0xec, 0x80, 0xbf, 0x80, 0xbf},
        {3, 0xed, 0xed, 0x80, 0x9f, 0x80, 0xbf},
        {3, 0xee, 0xef, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf0, 0xf0, 0x90, 0xbf, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf1, 0xf3, 0x80, 0xbf, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf4, 0xf4, 0x80, 0x8f, 0x80, 0xbf, 0x80, 0xbf},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        size_t n = rows[r][0], i = 0;
        while (i < n && i < len && s[i] >= rows[r][1 + 2 * i] && s[i] <= rows[r][2 + 2 * i])
            i++;
        if (i == n)
            return n;
    }
    return 0;
}

static void check_utf8(const unsigned char *text, size_t len)
{
    size_t at = 0, n;
    while (at < len && (n = character(text + at, len - at)))
        at += n;
    uint32_t state = 0;
    bool valid = rota__utf8_check(&state, (const char *)text, len) && !state;
    CHECK_INT(valid, ==, at == len);
}

TEST(utf8_is_what_unicode_says)
{
    static const unsigned char edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                          0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed,
                                          0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    unsigned char text[4];
    for (unsigned first = 0; first < 256; first++) {
        text[0] = (unsigned char)first;
        check_utf8(text, 1);
        for (unsigned second = 0; second < 256; second++) {
            text[1] = (unsigned char)second;
            check_utf8(text, 2);
            /* All endings where the character may go on, a few elsewhere: qemu is slow. */
            bool goes_on = first >= 0xc0 && (second & 0xc0) == 0x80;
            size_t step = goes_on ? 1 : COUNT(edges) + 1;
            for (size_t i = 0; i < COUNT(edges) * COUNT(edges); i += step) {
                text[2] = edges[i / COUNT(edges)];
                text[3] = edges[i % COUNT(edges)];
                check_utf8(text, 3);
                check_utf8(text, 4);
            }
        }
    }
}

TEST(utf8_may_be_checked_in_pieces)
{
    static const char text[] =
        "plain ASCII for a while, then \xe2\x82\xac and \xf0\x9f\x98\x80 and on";
    for (size_t split = 0; split < sizeof text; split++) {
        uint32_t state = 0;
        CHECK(rota__utf8_check(&state, text, split));
        CHECK(rota__utf8_check(&state, text + split, sizeof text - split));
        CHECK_INT(state, ==, 0);
    }
}
