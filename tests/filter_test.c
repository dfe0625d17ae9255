#include "base/alloc.h"
#include "clean_run.h"
#include "ends.h"

#include <rota.h>

#include <stdlib.h>
#include <string.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- The snippet of the header */

struct veil {
    rota_filter filter; // first, so that the pointers are the same
    unsigned char key;
};

static ssize_t veil_read(rota_filter *f, void *buf, size_t len)
{
    ssize_t n = rota_filter_read(f->below, buf, len);
    for (ssize_t i = 0; i < n; i++)
        ((unsigned char *)buf)[i] ^= ((struct veil *)f)->key;
    return n;
}

static ssize_t veil_write(rota_filter *f, const void *buf, size_t len)
{
    unsigned char veiled[256];
    if (len > sizeof veiled)
        len = sizeof veiled; // the stream calls again for the rest
    for (size_t i = 0; i < len; i++)
        veiled[i] = ((const unsigned char *)buf)[i] ^ ((struct veil *)f)->key;
    return rota_filter_write(f->below, veiled, len);
}

static int veils; /* not closed yet */

static void veil_close(rota_filter *f)
{
    veils--;
    free(f);
}

static const rota_filter_kind veil_kind = {
    .read = veil_read, .write = veil_write, .close = veil_close};

static int veil_push(rota_stream *s, unsigned char key)
{
    struct veil *veil = calloc(1, sizeof *veil);
    if (!veil)
        return -ENOMEM;
    *veil = (struct veil){{.kind = &veil_kind}, key};
    veils++;
    return rota_stream_push(s, &veil->filter); // from here on it is the stream's
}

/* ---- Setting */

/* ---- A filter that notes what happens to it: says hello at its start and bye at the end */

struct polite {
    rota_filter filter;
    int start_result;
    rota_time slow; /* how long farewells take */
    int *closed;
};

static int polite_start(rota_filter *f)
{
    struct polite *p = (struct polite *)f;
    ssize_t n = rota_filter_write(f->below, "hello ", 6);
    return n < 0 ? (int)n : p->start_result;
}

static ssize_t polite_read(rota_filter *f, void *buf, size_t len)
{
    return rota_filter_read(f->below, buf, len);
}

static ssize_t polite_write(rota_filter *f, const void *buf, size_t len)
{
    return rota_filter_write(f->below, buf, len);
}

static void polite_farewell(rota_filter *f)
{
    struct polite *p = (struct polite *)f;
    if (p->slow)
        ROTA_IGNORE(rota_sleep(p->slow));
    rota_filter_write(f->below, "bye", 3);
}

static void polite_close(rota_filter *f)
{
    ++*((struct polite *)f)->closed;
    free(f);
}

static const char *polite_error(rota_filter *f)
{
    return ((struct polite *)f)->start_result < 0 ? "not in the mood" : NULL;
}

static const rota_filter_kind polite_kind = {
    .start = polite_start,
    .read = polite_read,
    .write = polite_write,
    .farewell = polite_farewell,
    .close = polite_close,
    .error = polite_error,
};

static int polite_push(rota_stream *s, const struct polite *wishes)
{
    struct polite *p = malloc(sizeof *p);
    CHECK(p);
    *p = *wishes;
    p->filter.kind = &polite_kind;
    return rota_stream_push(s, &p->filter);
}

/* ---- Cases */

VIRTUAL_TASK_TEST(the_snippet_of_the_header_works)
{
    struct ends e = pair_of(0);
    CHECK_OK(veil_push(e.a, 0x55));
    struct iovec pieces[] = {{(void *)"ab", 2}, {(void *)"cd", 2}};
    rota_stream_cork(e.a);
    put(e.a, "one ");
    CHECK_INT(rota_stream_writev(e.a, pieces, 2), ==, 0);
    CHECK_OK(veil_push(e.b, 0x55));
    CHECK_INT(rota_stream_flush(e.a), ==, 0);
    expect(e.b, "one abcd");
    CHECK_INT(rota_stream_shutdown(e.a), ==, 0);
    char rest;
    CHECK_INT(rota_stream_read(e.b, &rest, 1), ==, 0);
    put(e.b, "back");
    expect(e.a, "back");
    CHECK_STR(rota_stream_peer(e.a), "pair");
    CHECK_PTR(rota_stream_filter(e.a, &veil_kind), !=, NULL);
    CHECK_PTR(rota_stream_filter(e.a, &polite_kind), ==, NULL);
    free_ends(&e);
    CHECK_INT(veils, ==, 0);
}

VIRTUAL_TASK_TEST(what_was_read_ahead_goes_through_the_filter)
{
    struct ends e = pair_of(0);
    put(e.a, "START\n");
    CHECK_OK(veil_push(e.a, 0x20));
    put(e.a, "veiled and more\n");
    rota_str line;
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 1);
    CHECK_OK(veil_push(e.b, 0x20));
    char some[4] = "";
    CHECK_INT(rota_stream_read(e.b, some, 3), ==, 3);
    CHECK_STR(some, "vei");
    put(e.b, "back");
    expect(e.a, "back");
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 1);
    CHECK_STR(line.ptr, "led and more");
    put(e.a, "later\n");
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 1);
    CHECK_STR(line.ptr, "later");
    put(e.b, "again");
    expect(e.a, "again");
    free_ends(&e);
    CHECK_INT(veils, ==, 0);
}

static int read_one(void *arg)
{
    char c;
    return (int)rota_stream_read(arg, &c, 1);
}

/* A reader takes the last byte that was read ahead while a writer waits further below. */
VIRTUAL_TASK_TEST(the_buffer_read_ahead_goes_while_a_writer_is_below_it)
{
    struct ends e = pair_of(1);
    ROTA_GROUP(g);
    rota_str seen;
    put(e.a, "x");
    CHECK_INT(rota_stream_peek(e.b, 1, &seen), ==, 1);
    CHECK_OK(veil_push(e.b, 0));
    put(e.b, "1");
    rota_group_spawn(&g, read_one, e.b);
    rota_group_spawn(&g, read_one, e.a);
    put(e.b, "2"); /* waits until the tasks have run */
    expect(e.a, "2");
    CHECK_OK(rota_group_wait(&g));
    free_ends(&e);
}

VIRTUAL_TASK_TEST(what_is_held_back_goes_before_the_filter_comes)
{
    struct ends e = pair_of(0);
    rota_stream_cork(e.a);
    put(e.a, "plain ");
    CHECK_OK(veil_push(e.a, 1));
    put(e.a, "n");
    expect(e.b, "plain o");
    free_ends(&e);
}

VIRTUAL_TASK_TEST(a_filter_that_cannot_be_pushed_is_closed)
{
    struct ends e = pair_of(0);
    ROTA_GROUP(g);
    rota_group_spawn(&g, read_one, e.a);
    ROTA_IGNORE(rota_yield());
    CHECK_INT(veil_push(e.a, 1), ==, -EBUSY);
    CHECK_INT(veils, ==, 0);
    put(e.b, "x");
    CHECK_OK(rota_group_wait(&g));
    rota_stream_close(e.a);
    CHECK_INT(veil_push(e.a, 1), ==, ROTA_ECLOSED);
    CHECK_INT(veils, ==, 0);
    free_ends(&e);
}

VIRTUAL_TASK_TEST(a_start_that_fails_leaves_the_filter_to_say_why)
{
    int closed = 0;
    struct ends e = pair_of(0);
    struct polite moody = {.start_result = -EPROTO, .closed = &closed};
    CHECK_INT(polite_push(e.a, &moody), ==, -EPROTO);
    CHECK_INT(closed, ==, 0);
    CHECK_STR(rota_stream_error(e.a), "read from pair: not in the mood");
    free_ends(&e);
    CHECK_INT(closed, ==, 1);
}

static int expect_closed(void *arg)
{
    CHECK_INT(read_one(arg), ==, ROTA_ECLOSED);
    return 0;
}

VIRTUAL_TASK_TEST(a_farewell_is_said_though_a_reader_is_inside)
{
    int closed = 0;
    struct ends e = pair_of(0);
    struct polite slow = {.slow = ROTA_MILLISECOND, .closed = &closed};
    ROTA_GROUP(g);
    CHECK_OK(polite_push(e.a, &slow));
    rota_group_spawn(&g, expect_closed, e.a);
    ROTA_IGNORE(rota_yield());
    CHECK_OK(rota_stream_close(e.a));
    CHECK_INT(closed, ==, 1);
    expect(e.b, "hello bye");
    CHECK_OK(rota_group_wait(&g));
    free_ends(&e);
}

VIRTUAL_TASK_TEST(a_farewell_has_a_second)
{
    int closed = 0;
    struct ends e = pair_of(0);
    struct polite endless = {.slow = ROTA_NEVER, .closed = &closed};
    CHECK_OK(polite_push(e.a, &endless));
    rota_time start = rota_now();
    rota_stream_free(e.a);
    CHECK_INT(rota_now() - start, ==, ROTA_SECOND);
    CHECK_INT(closed, ==, 1);
    rota_stream_free(e.b);
}

static int close_it(void *arg)
{
    return rota_stream_close(arg);
}

static void free_outside(rota_handle *handle, void *arg)
{
    rota_stream_free(arg);
}

static int freed_meanwhile_main(void *arg)
{
    bool outside = *(bool *)arg;
    int closed = 0;
    struct ends e = pair_of(0);
    struct polite slow = {.slow = ROTA_MILLISECOND, .closed = &closed};
    ROTA_GROUP(g);
    rota_handle handle = ROTA_HANDLE_INIT;
    CHECK_OK(polite_push(e.a, &slow));
    rota_group_spawn(&g, close_it, e.a);
    ROTA_IGNORE(rota_yield());
    if (outside)
        rota_loop_call_soon(rota_loop_current(), &handle, free_outside, e.a);
    else
        rota_stream_free(e.a);
    CHECK_OK(rota_group_wait(&g));
    CHECK_INT(closed, ==, 1);
    rota_stream_free(e.b);
    return 0;
}

TEST(a_stream_may_be_freed_while_another_task_closes_it)
{
    run_virtual(freed_meanwhile_main, &(bool){false});
    run_virtual(freed_meanwhile_main, &(bool){true});
}

/* ---- A stream that is a filter and nothing else */

struct count {
    rota_filter filter;
    int next, last;
    bool *closed;
};

static ssize_t count_read(rota_filter *f, void *buf, size_t len)
{
    struct count *c = (struct count *)f;
    int err = rota_filter_check();
    if (err < 0)
        return err;
    if (c->next > c->last)
        return rota_filter_read(f->below, buf, len); /* nothing */
    char line[16];
    int n = snprintf(line, sizeof line, "%d\n", c->next++);
    CHECK_INT((size_t)n, <=, len);
    memcpy(buf, line, (size_t)n);
    return n;
}

static ssize_t count_write(rota_filter *f, const void *buf, size_t len)
{
    return rota_filter_write(f->below, buf, len);
}

static void count_close(rota_filter *f)
{
    *((struct count *)f)->closed = true;
}

TEST(a_stream_of_a_filter_needs_a_loop)
{
    rota_stream *s = NULL;
    struct count c = {0};
    CHECK_INT(rota_stream_from_filter(&c.filter, &s), ==, ROTA_ENOTASK); /* no loop */
    CHECK_PTR(s, ==, NULL);
}

VIRTUAL_TASK_TEST(a_stream_of_a_filter_reads_and_ends_as_any_other)
{
    static const rota_filter_kind kind = {
        .read = count_read, .write = count_write, .close = count_close};
    bool closed = false;
    struct count c = {{.kind = &kind}, 1, 12, &closed};
    rota_stream *s;
    if (rota_stream_from_filter(&c.filter, &s) < 0)
        return;
    rota_str line;
    for (int i = 1; i <= 12 && rota_stream_read_line(s, &line) == 1; i++)
        CHECK_INT(atoi(line.ptr), ==, i);
    CHECK_INT(rota_stream_read_line(s, &line), ==, 0);
    CHECK_INT(rota_stream_write(s, "x", 1), ==, -EPIPE);
    CHECK(!rota_stream_hung_up(s, 0));
    CHECK_INT(rota_stream_shutdown(s), ==, 0);
    CHECK(!closed);
    rota_stream_free(s);
    CHECK(closed);
}
