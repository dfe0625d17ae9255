/* Server-sent events: WHATWG HTML, section 9.2. Each stream of the table is read whole, split at
 * every byte, and byte by byte. */
#include "http/sse.h"

#include "out_check.h"

#include <errno.h>
#include <stdlib.h>

static void tell(struct rota__out *told, const struct rota__sse_event *event)
{
    rota__out_add_str(told, event->type);
    rota__out_add_literal(told, "(");
    rota__out_add_str(told, event->data);
    rota__out_add_literal(told, ")");
    rota__out_add_str(told, event->id);
    if (event->retry) {
        rota__out_add_literal(told, "+");
        rota__out_add_number(told, event->retry, 10);
    }
    rota__out_add_literal(told, " ");
}

/* Reads bytes that lie in memory of just that size. */
static int take(struct rota__sse *sse, rota_str bytes, struct rota__out *told)
{
    char *exact = malloc(bytes.len + 1);
    if (bytes.len)
        memcpy(exact, bytes.ptr, bytes.len);
    rota_str in = {exact, bytes.len};
    struct rota__sse_event event;
    int done;
    while ((done = rota__sse_next(sse, &in, &event)) > 0)
        tell(told, &event);
    CHECK(done < 0 || in.len == 0);
    free(exact);
    return done;
}

static int read_split(rota_str stream, size_t split, size_t piece, size_t limit,
                      struct rota__out *told)
{
    struct rota__sse sse;
    rota__sse_init(&sse, limit);
    int done = take(&sse, (rota_str){stream.ptr, split}, told);
    for (size_t at = split; done == 0 && at < stream.len; at += piece) {
        size_t len = stream.len - at < piece ? stream.len - at : piece;
        done = take(&sse, (rota_str){stream.ptr + at, len}, told);
    }
    rota__sse_fini(&sse);
    return done;
}

static const struct {
    rota_str stream;
    const char *expected;
} table[] = {
    {BYTES(""), ""},
    /* section 9.2.6 */
    {BYTES("data: YHOO\ndata: +2\ndata: 10\n\n"), "message(YHOO\n+2\n10) "},
    {BYTES(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third "
           "event\n\n"),
     "message(first event)1 message(second event) message( third event) "},
    {BYTES("data\n\ndata\ndata\n\ndata:"), "message() message(\n) "},
    {BYTES("data:test\n\ndata: test\n\n"), "message(test) message(test) "},
    /* line ends */
    {BYTES("data: a\r\n\r\ndata: b\r\rdata: c\n\n"), "message(a) message(b) message(c) "},
    {BYTES("data: a\r\ndata: b\rdata: c\n\r\n"), "message(a\nb\nc) "},
    {BYTES("data: a\n\r"), "message(a) "},
    {BYTES("\r\n\n\r\rdata: a\r\n\n\n"), "message(a) "},
    /* fields */
    {BYTES("event: add\ndata: 1\n\ndata: 2\n\n"), "add(1) message(2) "},
    {BYTES("event: lost\n\ndata: 2\n\n"), "message(2) "},
    {BYTES("event: a\nevent: b\nevent\ndata: 2\n\n"), "message(2) "},
    {BYTES("id: 7\n\ndata: a\n\nid: 8\nid: x\0y\ndata: b\n\n"), "message(a)7 message(b)8 "},
    {BYTES("retry: 1500\ndata: a\n\nretry: 2s\nretry: -1\nretry:\ndata: b\n\n"),
     "message(a)+1500 message(b)+1500 "},
    {BYTES("retry: 5\nretry: 0\ndata: a\n\n"), "message(a)+1 "},
    {BYTES("retry: 99999999999999999999999999\ndata: a\n\n"), "message(a)+99999999999 "},
    {BYTES("Data: a\n data: b\ndatax: c\nfoo\n:data: d\ndata: e:f\n\n"), "message(e:f) "},
    {BYTES("data: \xc3\xa4\x01\x7f\t\n\n"), "message(\xc3\xa4\x01\x7f\t) "},
    {BYTES("data: one line that is longer than sixteen bytes\ndata: and another one of them\n\n"),
     "message(one line that is longer than sixteen bytes\nand another one of them) "},
    /* the byte order mark */
    {BYTES("\xef\xbb\xbf"
           "data: a\n\n\xef\xbb\xbf"
           "data: b\n\n"),
     "message(a) "},
    {BYTES("\xef\xbb\xbf\ndata: a\n\n"), "message(a) "},
    /* the end */
    {BYTES("data: a\n\ndata: b\n"), "message(a) "},
    {BYTES("data: a"), ""},
};

TEST(events_are_read_alike_however_they_are_split)
{
    struct rota__out told = {0};
    for (size_t i = 0; i < COUNT(table); i++) {
        for (size_t split = 0; split <= table[i].stream.len; split++) {
            CHECK_OK(read_split(table[i].stream, split, table[i].stream.len, 0, &told));
            check_out(&told, table[i].expected);
        }
        CHECK_OK(read_split(table[i].stream, 0, 1, 0, &told));
        check_out(&told, table[i].expected);
    }
    rota__out_fini(&told);
}

TEST(an_event_over_the_limit_is_refused_in_whatever_it_is_long)
{
    static const char *const streams[] = {
        "data: 0123456789012345\n\n",
        ": 01234567890123456789\n\n",
        "data: 012345678\ndata: 67890123\n\n",
        "event: 012345678\ndata: 67890123\n\n",
        "id: 0123456789\ndata: 67890123\n\n",
        "data:\ndata:\ndata:\ndata:\ndata: 012345\ndata: 67890123\n\n",
    };
    struct rota__out told = {0};
    for (size_t i = 0; i < COUNT(streams); i++) {
        CHECK_INT(read_split(str(streams[i]), 0, 1, 20, &told), ==, ROTA_ELIMIT);
        CHECK_INT(read_split(str(streams[i]), 0, 1000, 20, &told), ==, ROTA_ELIMIT);
        check_out(&told, "");
        CHECK_OK(read_split(str(streams[i]), 0, 1, 40, &told));
        told.len = 0;
    }
    rota__out_fini(&told);
}

TEST(the_limit_is_of_an_event_and_not_of_the_stream)
{
    struct rota__sse sse;
    struct rota__out told = {0};
    rota__sse_init(&sse, 20);
    for (int i = 0; i < 100; i++) {
        CHECK_OK(take(&sse, str("id: 1\ndata: abc\n\n: comment\n"), &told));
        check_out(&told, "message(abc)1 ");
    }
    CHECK_INT(take(&sse, str("data: 0123456789012345"), &told), ==, ROTA_ELIMIT);
    CHECK_INT(take(&sse, str("\n\n"), &told), ==, ROTA_ELIMIT);
    rota__sse_fini(&sse);
    rota__out_fini(&told);
}

TEST(what_a_client_has_to_say_when_it_comes_back_is_known)
{
    struct rota__sse sse;
    struct rota__out told = {0};
    rota__sse_init(&sse, 0);
    CHECK_OK(take(&sse, str("id: 1\nretry: 10\n\nid: 2\ndata: cut o"), &told));
    check_out(&told, "");
    check_str((rota_str){sse.last_id.ptr, sse.last_id.len}, "1");
    CHECK_INT(sse.retry, ==, 10);
    rota__sse_fini(&sse);
    rota__out_fini(&told);
}

/* ---- Writing */

TEST(what_is_written_is_read_as_it_was)
{
    static const struct {
        struct rota__sse_event event;
        const char *written, *read;
    } events[] = {
        {{.data = BYTES("a")}, "data: a\n\n", "message(a) "},
        {{.data = BYTES("")}, "data: \n\n", "message() "},
        {{.data = BYTES(" a\nb\r\nc\rd\n")},
         "data:  a\ndata: b\ndata: c\ndata: d\ndata: \n\n",
         "message( a\nb\nc\nd\n) "},
        {{.type = BYTES("t"), .data = BYTES("a"), .id = BYTES("1"), .retry = 5},
         "retry: 5\nid: 1\nevent: t\ndata: a\n\n",
         "t(a)1+5 "},
        {{.id = BYTES("")}, "id: \n\n", ""},
        {{.retry = 100}, "retry: 100\n\n", ""},
    };
    struct rota__out out = {0}, told = {0};
    for (size_t i = 0; i < COUNT(events); i++) {
        CHECK_OK(rota__sse_write(&out, &events[i].event));
        CHECK_OK(read_split((rota_str){out.ptr, out.len}, 0, 1000, 0, &told));
        check_out(&out, events[i].written);
        check_out(&told, events[i].read);
    }
    rota__out_fini(&out);
    rota__out_fini(&told);
}

TEST(an_event_that_would_be_read_as_another_is_refused)
{
    static const struct rota__sse_event events[] = {
        {.type = BYTES("a\ndata: b"), .data = BYTES("x")},
        {.type = BYTES("a\rb"), .data = BYTES("x")},
        {.id = BYTES("1\n"), .data = BYTES("x")},
        {.id = BYTES("1\r"), .data = BYTES("x")},
        {.id = BYTES("1\0"), .data = BYTES("x")},
    };
    struct rota__out out = {0};
    for (size_t i = 0; i < COUNT(events); i++)
        CHECK_INT(rota__sse_write(&out, &events[i]), ==, -EINVAL);
    check_out(&out, "");
    rota__out_fini(&out);
}
