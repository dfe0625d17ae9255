#include "base/alloc.h"
#include "stream/stream.h"

#include "clean_run.h"
#include "ends.h"

#include <rota/stream.h>

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wchar.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- Setting */

static void check_str(rota_str s, const char *expected)
{
    CHECK_INT(s.len, ==, strlen(expected));
    CHECK_MEM(s.ptr, expected, s.len);
}

/* A task that writes a text and shuts down. */
struct script {
    rota_stream *s;
    const char *text;
};

static int write_script(void *arg)
{
    struct script *script = arg;
    int err = rota_stream_write(script->s, script->text, strlen(script->text));
    return err < 0 ? err : rota_stream_shutdown(script->s);
}

/* ---- The snippets of the header */

static int shout(rota_stream *s)
{
    rota_str line;
    int more;
    while ((more = rota_stream_read_line(s, &line)) > 0) {
        struct iovec reply[] = {{(void *)line.ptr, line.len}, {(void *)"!\n", 2}};
        int err = rota_stream_writev(s, reply, 2);
        if (err < 0)
            return err;
    }
    return more; // 0 at the end, or an error
}

static int shout_task(void *arg)
{
    return shout(arg);
}

TASK_TEST(the_snippet_of_the_header_works)
{
    struct ends e = pair_of(0);
    ROTA_GROUP(g);
    rota_group_spawn(&g, shout_task, e.b);
    put(e.a, "hello\nworld\r\n");
    ROTA_IGNORE(rota_stream_shutdown(e.a));
    char reply[32] = "";
    CHECK_INT(rota_stream_read_exact(e.a, reply, 14), ==, 0);
    CHECK_STR(reply, "hello!\nworld!\n");
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_ends(&e);
}

/* ---- Reading */

static int lines_main(void *arg)
{
    size_t capacity = *(size_t *)arg;
    static const char *expected[] = {"one", "", "two words", "\r", "last"};
    struct ends e = pair_of(capacity);
    struct script script = {e.a, "one\n\r\ntwo words\r\n\r\r\nlast"};
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_script, &script);
    size_t n = 0;
    int err;
    ROTA_FOREACH (rota_str *, line, rota_stream_lines(e.b), &err) {
        CHECK_INT(n, <, 5);
        check_str(*line, expected[n]);
        CHECK_STR(line->ptr, expected[n]); /* a NUL is behind it */
        n++;
    }
    CHECK_INT(err, ==, 0);
    CHECK_INT(n, ==, 5);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_ends(&e);
    return 0;
}

TEST(lines_are_the_same_however_they_are_cut)
{
    for (size_t capacity = 1; capacity < 30; capacity++)
        run(lines_main, &capacity);
}

struct cut {
    size_t at;
};

/* "header: x\r\n\r\n", 5 bytes, "tail", written in two parts cut at `at`. */
static int mixed_main(void *arg)
{
    static const char text[] = "header: x\r\n\r\n12345tail";
    size_t at = ((struct cut *)arg)->at;
    struct ends e = sockets();
    ROTA_GROUP(g);
    char first[sizeof text], body[6] = "", tail[8] = "";
    memcpy(first, text, at);
    first[at] = '\0';
    put(e.a, first);
    struct script rest = {e.a, text + at};
    rota_group_spawn(&g, write_script, &rest);

    rota_str got;
    CHECK_INT(rota_stream_peek(e.b, 7, &got), >=, 7);
    CHECK_MEM(got.ptr, "header:", 7);
    CHECK_INT(rota_stream_skip(e.b, 0), ==, 0);
    CHECK_INT(rota_stream_skip(e.b, 3), ==, 3);
    CHECK_INT(rota_stream_read_until(e.b, (rota_str){"\r\n\r\n", 4}, 0, &got), ==, 0);
    check_str(got, "der: x\r\n\r\n");
    CHECK_INT(rota_stream_read_exact(e.b, body, 5), ==, 0);
    CHECK_STR(body, "12345");
    size_t n = 0;
    ssize_t r;
    while ((r = rota_stream_read(e.b, tail + n, sizeof tail - n)) > 0)
        n += (size_t)r;
    CHECK_INT(r, ==, 0);
    CHECK_STR(tail, "tail");
    CHECK_INT(rota_stream_peek(e.b, 1, &got), ==, 0);
    CHECK_INT(rota_stream_skip(e.b, 1), ==, 0);
    CHECK_INT(rota_stream_read_line(e.b, &got), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_ends(&e);
    return 0;
}

TEST(a_message_cut_at_every_byte_reads_the_same)
{
    for (struct cut cut = {1}; cut.at < 22; cut.at++)
        run(mixed_main, &cut);
}

/* rule 19 */
TASK_TEST(a_line_longer_than_the_limit_is_ELIMIT_and_stays_readable)
{
    struct ends e = pair_of(0);
    rota_str line;
    rota_stream_set_limit(e.b, 8);
    put(e.a, "1234567\n12345678\nx");
    ROTA_IGNORE(rota_stream_shutdown(e.a));
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 1); /* exactly the limit */
    check_str(line, "1234567");
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, ROTA_ELIMIT);
    CHECK_STR(rota_stream_error(e.b),
              "read from pair: limit of 8 bytes exceeded (rota_stream_set_limit)");
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, ROTA_ELIMIT);
    CHECK_INT(rota_stream_peek(e.b, 9, &line), ==, ROTA_ELIMIT);
    CHECK_INT(rota_stream_read_until(e.b, (rota_str){"\n", 1}, 3, &line), ==, ROTA_ELIMIT);
    CHECK_STR(rota_error(ROTA_ELIMIT), "read from pair: limit of 3 bytes exceeded");
    CHECK_INT(rota_stream_read_until(e.b, (rota_str){"\n", 1}, 9, &line), ==, 0);
    check_str(line, "12345678\n");
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 1);
    check_str(line, "x");
    free_ends(&e);
}

/* Rule 19: what input decides has a limit, with a default and an option. */
TASK_TEST(the_limit_is_64_KiB_and_can_be_raised)
{
    struct ends e = pair_of(0);
    enum { LEN = 200000 };
    char *text = malloc(LEN + 1);
    memset(text, 'x', LEN);
    text[LEN - 1] = '\n';
    text[LEN] = '\0';
    struct script script = {e.a, text};
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_script, &script);
    rota_str line;
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, ROTA_ELIMIT);
    rota_stream_set_limit(e.b, LEN);
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 1);
    CHECK_INT(line.len, ==, LEN - 1);
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free(text);
    free_ends(&e);
}

TASK_TEST(what_read_exact_could_not_complete_stays_readable)
{
    struct ends e = sockets();
    char buf[16] = "";
    rota_str got;
    put(e.a, "abcdef");
    CHECK_INT(rota_stream_shutdown(e.a), ==, 0);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 2), ==, 0);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 10), ==, ROTA_EOF);
    CHECK_INT(rota_stream_read_until(e.b, (rota_str){"zz", 2}, 0, &got), ==, ROTA_EOF);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 4), ==, 0);
    CHECK_MEM(buf, "cdef", 4);
    CHECK_INT(rota_stream_read(e.b, buf, sizeof buf), ==, 0);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 1), ==, ROTA_EOF);
    free_ends(&e);
}

VIRTUAL_TASK_TEST(a_timeout_loses_nothing_that_was_read)
{
    struct ends e = sockets();
    char buf[16] = "";
    rota_str line;
    int err = 0;
    put(e.a, "abc");
    ROTA_TIMEOUT (10 * ROTA_MILLISECOND)
        err = rota_stream_read_exact(e.b, buf, 6);
    CHECK_INT(err, ==, -ETIMEDOUT);
    ROTA_TIMEOUT (10 * ROTA_MILLISECOND)
        err = rota_stream_read_line(e.b, &line);
    CHECK_INT(err, ==, -ETIMEDOUT);
    put(e.a, "def\n");
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 1);
    check_str(line, "abcdef");
    free_ends(&e);
}

struct reader {
    rota_stream *s;
    char text[64];
    size_t got;
};

/* Reads in every way until it is cancelled, and keeps what it got. */
static int read_variously(void *arg)
{
    struct reader *r = arg;
    for (int i = 0;; i++) {
        char buf[3];
        rota_str s = {buf, 0};
        ssize_t n = i % 3 == 0   ? rota_stream_read_exact(r->s, buf, 3)
                    : i % 3 == 1 ? rota_stream_read_until(r->s, (rota_str){"c", 1}, 0, &s)
                                 : rota_stream_read(r->s, buf, 2);
        if (n < 0)
            return (int)n;
        size_t len = i % 3 == 0 ? 3 : i % 3 == 1 ? s.len : (size_t)n;
        memcpy(r->text + r->got, s.ptr, len);
        r->got += len;
    }
}

/* Cancels the reader after each number of bytes; the main task reads the rest. */
VIRTUAL_TASK_TEST(cancelling_a_reader_at_any_byte_loses_nothing)
{
    static const char text[] = "aabaacbbccabcabcaabbccabcacb";
    for (size_t at = 0; at < sizeof text; at++) {
        struct ends e = sockets();
        struct reader r = {.s = e.b};
        rota_task *task;
        CHECK_OK(rota_spawn(read_variously, &r, &task));
        for (size_t i = 0; i < at && i < sizeof text - 1; i++) {
            CHECK_INT(rota_stream_write(e.a, text + i, 1), ==, 0);
            CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
        }
        rota_task_cancel(task);
        CHECK_INT(rota_join(task), ==, -ECANCELED);
        put(e.a, text + (at < sizeof text ? at : sizeof text - 1));
        size_t rest = sizeof text - 1 - r.got;
        CHECK_INT(rota_stream_read_exact(e.b, r.text + r.got, rest), ==, 0);
        CHECK_STR(r.text, text);
        free_ends(&e);
    }
}

static int points_main(void *arg)
{
    struct ends e = pair_of(0);
    char c;
    rota_str line;
    put(e.a, "abc\n");
    CHECK_INT(rota_stream_peek(e.b, 4, &line), ==, 4);
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_stream_read(e.b, &c, 1), ==, -ECANCELED);
    CHECK_INT(rota_stream_read_exact(e.b, &c, 1), ==, -ECANCELED);
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, -ECANCELED);
    CHECK_INT(rota_stream_read_until(e.b, (rota_str){"b", 1}, 0, &line), ==, -ECANCELED);
    CHECK_INT(rota_stream_peek(e.b, 1, &line), ==, -ECANCELED);
    CHECK_INT(rota_stream_write(e.a, "x", 1), ==, -ECANCELED);
    CHECK_INT(rota_stream_write(e.a, "x", 0), ==, -ECANCELED);
    CHECK_INT(rota_stream_writev(e.a, &(struct iovec){(void *)"x", 1}, 1), ==, -ECANCELED);
    CHECK_INT(rota_stream_flush(e.a), ==, -ECANCELED);
    CHECK_INT(rota_stream_shutdown(e.a), ==, -ECANCELED);
    free_ends(&e);
    return -ECANCELED;
}

TEST(every_call_is_a_cancellation_point_also_when_it_need_not_wait)
{
    CHECK_INT(rota_run(points_main, NULL), ==, -ECANCELED);
}

TEST(outside_a_task_calls_that_suspend_are_refused)
{
    rota_loop *loop;
    struct ends e;
    char c;
    CHECK_INT(rota_stream_pair(0, &e.a, &e.b), ==, ROTA_ENOTASK);
    CHECK_OK(rota_loop_new(NULL, &loop));
    e = sockets();
    CHECK_INT(rota_stream_read(e.a, &c, 1), ==, ROTA_ENOTASK);
    CHECK_INT(rota_stream_write(e.a, "x", 1), ==, ROTA_ENOTASK);
    CHECK_INT(rota_stream_flush(e.a), ==, ROTA_ENOTASK);
    free_ends(&e);
    rota_loop_free(loop);
}

TASK_TEST(reading_and_writing_nothing)
{
    struct ends e = sockets();
    char c;
    rota_str s;
    CHECK_INT(rota_stream_read(e.a, &c, 0), ==, -EINVAL);
    CHECK_INT(rota_stream_read_exact(e.a, &c, 0), ==, 0);
    CHECK_INT(rota_stream_read_until(e.a, (rota_str){"", 0}, 0, &s), ==, -EINVAL);
    CHECK_INT(rota_stream_write(e.a, "", 0), ==, 0);
    CHECK_INT(rota_stream_writev(e.a, NULL, 0), ==, 0);
    CHECK_INT(rota_stream_writev(e.a, &(struct iovec){(void *)"x", 1}, -1), ==, -EINVAL);
    CHECK_INT(rota_stream_peek(e.a, 0, &s), ==, 0);
    free_ends(&e);
    CHECK_PTR(rota_stream_free(NULL), ==, NULL);
}

/* ---- Several tasks on one stream */

static int read_one(void *arg)
{
    char c;
    return (int)rota_stream_read(arg, &c, 1);
}

static int fill_up(void *arg)
{
    static const char zeros[65536];
    for (;;) {
        int err = rota_stream_write(arg, zeros, sizeof zeros);
        if (err < 0)
            return err;
    }
}

static int busy_main(void *arg)
{
    struct ends e = *(bool *)arg ? sockets() : pair_of(0);
    rota_task *reader, *writer;
    char c;
    rota_str line;
    CHECK_OK(rota_spawn(read_one, e.a, &reader));
    CHECK_OK(rota_spawn(fill_up, e.a, &writer));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    CHECK(!rota_task_done(reader) && !rota_task_done(writer));
    CHECK_INT(rota_stream_read(e.a, &c, 1), ==, -EBUSY);
    CHECK_INT(rota_stream_read_line(e.a, &line), ==, -EBUSY);
    CHECK_INT(rota_stream_write(e.a, "x", 1), ==, -EBUSY);
    CHECK_INT(rota_stream_shutdown(e.a), ==, -EBUSY);
    CHECK_INT(rota_stream_close(e.a), ==, 0);
    CHECK(rota_task_done(reader) && rota_task_done(writer));
    CHECK_INT(rota_join(reader), ==, ROTA_ECLOSED);
    CHECK_INT(rota_join(writer), ==, ROTA_ECLOSED);
    CHECK_INT(rota_stream_read(e.a, &c, 1), ==, ROTA_ECLOSED);
    CHECK_INT(rota_stream_write(e.a, "x", 1), ==, ROTA_ECLOSED);
    CHECK_INT(rota_stream_close(e.a), ==, 0);
    free_ends(&e);
    return 0;
}

TEST(a_direction_in_use_is_EBUSY_and_closing_ends_the_calls_inside)
{
    run_virtual(busy_main, &(bool){true});
    run_virtual(busy_main, &(bool){false});
}

TASK_TEST(closing_shields_itself)
{
    struct ends e = sockets();
    rota_task *reader;
    CHECK_OK(rota_spawn(read_one, e.a, &reader));
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_cancel(rota_task_current());
    free_ends(&e);
    CHECK(rota_task_done(reader));
    rota_task_free(reader);
}

static void free_soon(rota_handle *handle, void *arg)
{
    free_ends(arg);
}

TASK_TEST(a_stream_may_be_freed_by_a_callback_while_a_task_reads)
{
    struct ends e = sockets();
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_task *reader;
    CHECK_OK(rota_spawn(read_one, e.a, &reader));
    CHECK_INT(rota_yield(), ==, 0);
    rota_loop_call_soon(rota_loop_current(), &handle, free_soon, &e);
    CHECK_INT(rota_join(reader), ==, ROTA_ECLOSED);
}

static bool ends_are_freed;

static void free_and_say_so(rota_handle *handle, void *arg)
{
    (void)handle;
    free_ends(arg);
    ends_are_freed = true;
}

static int read_one_line(void *arg)
{
    rota_str line;
    int more = rota_stream_read_line(arg, &line);
    CHECK(more == ROTA_ECLOSED || !ends_are_freed);
    return more;
}

TASK_TEST(a_line_whose_stream_is_gone_is_not_handed_out)
{
    struct ends e = sockets();
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_task *reader;
    CHECK_OK(rota_spawn(read_one_line, e.a, &reader));
    CHECK_OK(rota_yield());
    CHECK_OK(rota_stream_write(e.b, "line\n", 5));
    rota_loop_call_soon(rota_loop_current(), &handle, free_and_say_so, &e);
    int more = rota_join(reader);
    CHECK(more == 1 || more == ROTA_ECLOSED);
}

static int both_ways(void *arg)
{
    char buf[1000];
    ssize_t n;
    while ((n = rota_stream_read(arg, buf, sizeof buf)) > 0) {
        int err = rota_stream_write(arg, buf, (size_t)n);
        if (err < 0)
            return err;
    }
    return n < 0 ? (int)n : rota_stream_shutdown(arg);
}

/* ---- Much data */

enum { MUCH = 4 << 20 };

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 13);
}

static int write_much(void *arg)
{
    unsigned char buf[50000];
    for (size_t i = 0; i < MUCH;) {
        size_t n = MUCH - i < sizeof buf ? MUCH - i : sizeof buf;
        for (size_t k = 0; k < n; k++)
            buf[k] = byte_at(i + k);
        int err = rota_stream_write(arg, buf, n);
        if (err < 0)
            return err;
        i += n;
    }
    return rota_stream_shutdown(arg);
}

static void check_much(rota_stream *s)
{
    unsigned char buf[30000];
    size_t i = 0;
    ssize_t n;
    while ((n = rota_stream_read(s, buf, sizeof buf)) > 0) {
        for (ssize_t k = 0; k < n; k++, i++) {
            if (buf[k] != byte_at(i))
                FAIL("byte %zu is wrong", i);
        }
    }
    CHECK_INT(n, ==, 0);
    CHECK_INT(i, ==, MUCH);
}

static int much_main(void *arg)
{
    struct ends e = ((struct ends(*)(void))arg)();
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_much, e.a);
    rota_group_spawn(&g, both_ways, e.b);
    check_much(e.a);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_ends(&e);
    return 0;
}

static struct ends default_pair(void)
{
    return pair_of(0);
}

static struct ends odd_pair(void)
{
    return pair_of(977);
}

TEST(much_data_goes_and_comes_back_over_sockets)
{
    run(much_main, (void *)sockets);
    run(much_main, (void *)tcp);
}

TEST(much_data_goes_and_comes_back_in_memory)
{
    run(much_main, (void *)default_pair);
    run(much_main, (void *)odd_pair);
}

/* ---- Writing */

static int pieces_main(void *arg)
{
    struct ends e = ((struct ends(*)(void))arg)();
    enum { COUNT = 100, EACH = 7001 };
    struct iovec iov[COUNT];
    char *text = malloc(COUNT * EACH);
    for (int i = 0; i < COUNT * EACH; i++)
        text[i] = (char)byte_at((size_t)i);
    for (int i = 0; i < COUNT; i++)
        iov[i] = (struct iovec){text + i * EACH, i % 10 == 3 ? 0 : EACH};
    ROTA_GROUP(g);
    rota_group_spawn(&g, both_ways, e.b);
    char *got = malloc(COUNT * EACH);
    for (int i = 0; i < COUNT; i += 20) {
        CHECK_INT(rota_stream_writev(e.a, iov + i, 20), ==, 0);
        for (int k = i; k < i + 20; k++) {
            CHECK_INT(rota_stream_read_exact(e.a, got, iov[k].iov_len), ==, 0);
            CHECK_MEM(got, iov[k].iov_base, iov[k].iov_len);
        }
    }
    ROTA_IGNORE(rota_stream_shutdown(e.a));
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free(text);
    free(got);
    free_ends(&e);
    return 0;
}

TEST(pieces_arrive_in_order)
{
    run(pieces_main, (void *)default_pair);
    run(pieces_main, (void *)sockets);
}

static int print_and_shut_down(void *s)
{
    int err = rota_stream_printf(s, "%s, %.*s %d!\n", "hello", ROTA_STR_ARG(ROTA_STR("rota")), 7);
    for (int width = 500; width < 520 && err == 0; width++)
        err = rota_stream_printf(s, "%*d\n", width, 1);
    if (err == 0)
        err = rota_stream_printf(s, "%0*d", 1 << 20, 1);
    return err < 0 ? err : rota_stream_shutdown(s);
}

TASK_TEST(printed_text_of_any_length_arrives_whole)
{
    struct ends e = pair_of(0);
    ROTA_GROUP(g);
    rota_group_spawn(&g, print_and_shut_down, e.a);
    rota_str line;
    CHECK_INT(rota_stream_read_line(e.b, &line), >, 0);
    CHECK_STR(line.ptr, "hello, rota 7!");
    for (size_t width = 500; width < 520; width++) {
        CHECK_INT(rota_stream_read_line(e.b, &line), >, 0);
        CHECK_INT(line.len, ==, width);
        CHECK(line.ptr[0] == ' ' && line.ptr[width - 1] == '1');
    }
    char *rest = malloc(1 << 20), more;
    CHECK_INT(rota_stream_read_exact(e.b, rest, 1 << 20), ==, 0);
    CHECK(rest[0] == '0' && rest[(1 << 20) - 1] == '1');
    CHECK_INT(rota_stream_read(e.b, &more, 1), ==, 0);
    free(rest);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_ends(&e);
}

TASK_TEST(what_cannot_be_formatted_is_not_written)
{
    struct ends e = pair_of(0);
    CHECK_INT(rota_stream_printf(e.a, "seen %lc", (wint_t)0xd800), ==, -EILSEQ);
    CHECK_INT(rota_stream_write(e.a, "x", 1), ==, 0);
    char c[2];
    CHECK_INT(rota_stream_read(e.b, c, 2), ==, 1);
    free_ends(&e);
}

TASK_TEST(corked_output_goes_at_flush_over_the_limit_and_at_close)
{
    struct ends e = sockets();
    char buf[64];
    rota_stream_cork(e.a);
    put(e.a, "one ");
    CHECK_INT(rota_stream_writev(e.a, (struct iovec[]){{(void *)"two", 3}, {(void *)" ", 1}}, 2),
              ==, 0);
    put(e.a, "three");
    CHECK_INT(recv(fd_of(e.b), buf, sizeof buf, MSG_DONTWAIT), ==, -1);
    CHECK_INT(rota_stream_flush(e.a), ==, 0);
    CHECK_INT(recv(fd_of(e.b), buf, sizeof buf, MSG_DONTWAIT), ==, 13);
    CHECK_MEM(buf, "one two three", 13);
    put(e.a, "at once");
    CHECK_INT(recv(fd_of(e.b), buf, sizeof buf, MSG_DONTWAIT), ==, 7);

    rota_stream_set_limit(e.a, 10);
    rota_stream_cork(e.a);
    put(e.a, "12345678");
    put(e.a, "abcd"); /* over the limit: the first part goes */
    CHECK_INT(recv(fd_of(e.b), buf, sizeof buf, MSG_DONTWAIT), ==, 8);
    put(e.a, "0123456789x"); /* alone over the limit: all of it goes */
    CHECK_INT(recv(fd_of(e.b), buf, sizeof buf, MSG_DONTWAIT), ==, 15);
    CHECK_MEM(buf, "abcd0123456789x", 15);
    put(e.a, "the end");
    CHECK_INT(rota_stream_close(e.a), ==, 0);
    CHECK_INT(recv(fd_of(e.b), buf, sizeof buf, MSG_DONTWAIT), ==, 7);
    free_ends(&e);
}

VIRTUAL_TASK_TEST(a_flush_that_timed_out_goes_on_with_the_next_write)
{
    struct ends e = pair_of(10);
    char buf[26];
    int err = 0;
    rota_stream_cork(e.a);
    put(e.a, "abcdefghijklm");
    ROTA_TIMEOUT (ROTA_MILLISECOND)
        err = rota_stream_flush(e.a);
    CHECK_INT(err, ==, -ETIMEDOUT);
    ROTA_GROUP(g);
    struct script rest = {e.a, "nopqrstuvwxyz"};
    rota_group_spawn(&g, write_script, &rest);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 26), ==, 0);
    CHECK_MEM(buf, "abcdefghijklmnopqrstuvwxyz", 26);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_ends(&e);
}

VIRTUAL_TASK_TEST(nothing_is_written_behind_a_write_that_was_cut_short)
{
    struct ends e = pair_of(10);
    char buf[32];
    int err = 0;
    ROTA_TIMEOUT (ROTA_MILLISECOND)
        err = rota_stream_write(e.a, "abcdefghijklm", 13);
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_stream_read(e.b, buf, sizeof buf), ==, 10);
    CHECK_INT(rota_stream_write(e.a, "next", 4), ==, -EPIPE);
    CHECK_STR(rota_stream_error(e.a), "write to pair: an earlier write was cut short");
    CHECK_INT(rota_stream_flush(e.a), ==, -EPIPE);
    free_ends(&e);
}

VIRTUAL_TASK_TEST(a_write_that_sent_nothing_may_be_repeated)
{
    struct ends e = pair_of(4);
    char buf[16];
    int err = 0;
    put(e.a, "full");
    ROTA_TIMEOUT (ROTA_MILLISECOND)
        err = rota_stream_write(e.a, "late", 4);
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_stream_read(e.b, buf, sizeof buf), ==, 4);
    put(e.a, "next");
    CHECK_INT(rota_stream_read(e.b, buf, sizeof buf), ==, 4);
    CHECK_MEM(buf, "next", 4);
    free_ends(&e);
}

VIRTUAL_TASK_TEST(closing_waits_a_second_at_most_for_a_peer_that_does_not_read)
{
    struct ends e = pair_of(4);
    rota_time start = rota_now();
    rota_stream_cork(e.a);
    put(e.a, "more than four");
    CHECK_INT(rota_stream_close(e.a), ==, -ETIMEDOUT);
    CHECK_INT(rota_now() - start, ==, ROTA__STREAM_CLOSE_TIME);
    free_ends(&e);
}

/* ---- Ends and errors of sockets */

static int half_close_main(void *arg)
{
    struct ends e = ((struct ends(*)(void))arg)();
    char buf[16];
    put(e.a, "question");
    CHECK_INT(rota_stream_shutdown(e.a), ==, 0);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 8), ==, 0);
    CHECK_INT(rota_stream_read(e.b, buf, sizeof buf), ==, 0);
    put(e.b, "answer");
    CHECK_INT(rota_stream_close(e.b), ==, 0);
    CHECK_INT(rota_stream_read_exact(e.a, buf, 6), ==, 0);
    CHECK_INT(rota_stream_read(e.a, buf, sizeof buf), ==, 0);
    CHECK_INT(rota_stream_read(e.a, buf, sizeof buf), ==, 0);
    CHECK_INT(rota_stream_write(e.a, "x", 1), ==, -EPIPE);
    free_ends(&e);
    return 0;
}

TEST(after_a_half_close_the_other_direction_goes_on)
{
    run(half_close_main, (void *)tcp);
    run(half_close_main, (void *)sockets);
    run(half_close_main, (void *)default_pair);
}

static int read_all(void *arg)
{
    struct reader *r = arg;
    ssize_t n;
    while ((n = rota_stream_read(r->s, r->text + r->got, sizeof r->text - r->got)) > 0)
        r->got += (size_t)n;
    return (int)n;
}

VIRTUAL_TASK_TEST(data_that_comes_together_with_the_end_is_read_and_then_the_end)
{
    struct ends e = tcp();
    struct reader r = {.s = e.b};
    rota_task *task;
    CHECK_OK(rota_spawn(read_all, &r, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    put(e.a, "first");
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    /* The next turn sees these bytes and the end at once. */
    put(e.a, " last");
    CHECK_INT(rota_stream_close(e.a), ==, 0);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_STR(r.text, "first last");
    free_ends(&e);
}

TASK_TEST(a_reset_is_ECONNRESET_now_and_later_and_never_an_end)
{
    struct ends e = tcp();
    char buf[16];
    put(e.a, "data");
    set_linger_zero(e.a);
    CHECK_INT(rota_stream_close(e.a), ==, 0);
    ssize_t n = rota_stream_read(e.b, buf, sizeof buf);
    if (n > 0) /* what came before a reset may be lost, by the kernel's choice */
        n = rota_stream_read(e.b, buf, sizeof buf);
    CHECK_INT(n, ==, -ECONNRESET);
    CHECK_INT(rota_stream_read(e.b, buf, sizeof buf), ==, -ECONNRESET);
    CHECK(strstr(rota_stream_error(e.b), "read from 127.0.0.1:"));
    CHECK(strstr(rota_stream_error(e.b), "Connection reset by peer"));
    CHECK_INT(rota_stream_write(e.b, "x", 1), ==, -EPIPE);
    CHECK(strstr(rota_stream_error(e.b), "write to 127.0.0.1:"));
    free_ends(&e);
}

VIRTUAL_TASK_TEST(a_reset_that_a_write_sees_is_no_end_for_the_reader)
{
    struct ends e = tcp();
    rota_task *writer;
    char c;
    CHECK_OK(rota_spawn(fill_up, e.b, &writer));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    set_linger_zero(e.a);
    rota_stream_close(e.a);
    int err = rota_join(writer);
    CHECK(err == -ECONNRESET || err == -EPIPE);
    CHECK_INT(rota_stream_read(e.b, &c, 1), ==, -ECONNRESET);
    free_ends(&e);
}

TASK_TEST(a_pipe_is_a_stream)
{
    int fds[2];
    rota_stream *in, *out;
    char buf[16];
    CHECK_OK(pipe2(fds, O_CLOEXEC));
    CHECK_OK(rota_stream_from_fd(fds[0], &in));
    CHECK_OK(rota_stream_from_fd(fds[1], &out));
    put(out, "through");
    CHECK_INT(rota_stream_writev(out, (struct iovec[]){{(void *)" a ", 3}, {(void *)"pipe", 4}}, 2),
              ==, 0);
    CHECK_INT(rota_stream_shutdown(out), ==, 0);
    CHECK_INT(rota_stream_read_exact(in, buf, 14), ==, 0);
    CHECK_MEM(buf, "through a pipe", 14);
    CHECK_INT(rota_stream_read(in, buf, sizeof buf), ==, 0);
    CHECK_INT(rota_stream_shutdown(in), ==, -EOPNOTSUPP);
    rota_stream_free(in);
    rota_stream_free(out);

    CHECK_OK(pipe2(fds, O_CLOEXEC));
    CHECK_OK(rota_stream_from_fd(fds[1], &out));
    close(fds[0]);
    CHECK_INT(rota_stream_write(out, "x", 1), ==, -EPIPE); /* and no SIGPIPE */
    rota_stream_free(out);
    CHECK_INT(rota_stream_from_fd(-1, &out), ==, -EBADF);
}

TASK_TEST(a_stream_knows_its_addresses)
{
    struct ends e = tcp();
    CHECK(strncmp(rota_stream_peer(e.a), "127.0.0.1:", 10) == 0);
    CHECK_STR(rota_stream_peer(e.a), rota_stream_local(e.b));
    CHECK_STR(rota_stream_peer(e.b), rota_stream_local(e.a));
    CHECK_STR(rota_stream_error(e.a), "");
    free_ends(&e);
    e = sockets();
    CHECK_STR(rota_stream_peer(e.a), "unix");
    free_ends(&e);
}

/* ---- Resources */

TASK_TEST(reading_and_writing_directly_allocates_nothing)
{
    struct ends e = sockets();
    long live = rota__alloc_live();
    char buf[4096];
    for (int i = 0; i < 10; i++) {
        put(e.a, "request");
        CHECK_INT(rota_stream_read(e.b, buf, sizeof buf), ==, 7);
        CHECK_INT(rota_stream_write(e.b, buf, 7), ==, 0);
        CHECK_INT(rota_stream_read_exact(e.a, buf, 7), ==, 0);
    }
    CHECK_INT(rota__alloc_live(), ==, live);
    CHECK_INT(sizeof(struct rota_stream) + sizeof(struct rota__socket), <=, 320);
    free_ends(&e);
}

/* The stream is closed while its operation is under way, and the number is given to another one. */
VIRTUAL_TASK_TEST(a_reused_descriptor_number_gets_nothing_of_its_predecessor)
{
    for (int i = 0; i < 50; i++) {
        struct ends e = tcp();
        rota_task *reader;
        int number = fd_of(e.b);
        CHECK_OK(rota_spawn(read_one, e.b, &reader));
        CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
        put(e.a, "old"); /* in the same turn as the close: data, then nobody */
        rota_stream_close(e.b);
        int err = rota_join(reader);
        CHECK(err == ROTA_ECLOSED || err == 1);

        int fds[2];
        CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
        CHECK(fds[0] == number || fds[1] == number);
        struct ends f;
        CHECK_OK(rota_stream_from_fd(fds[0] == number ? fds[0] : fds[1], &f.a));
        CHECK_OK(rota_stream_from_fd(fds[0] == number ? fds[1] : fds[0], &f.b));
        CHECK_OK(rota_spawn(read_one, f.a, &reader));
        CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
        CHECK(!rota_task_done(reader)); /* nothing of the old connection arrives */
        put(f.b, "n");
        CHECK_INT(rota_join(reader), ==, 1);
        free_ends(&f);
        free_ends(&e);
    }
}

/* ---- Urgent data */

static rota_time cpu_time(void)
{
    struct timespec now;
    CHECK_OK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now));
    return now.tv_sec * ROTA_SECOND + now.tv_nsec;
}

static void send_urgent(rota_stream *s)
{
    CHECK_INT(send(fd_of(s), "!", 1, MSG_OOB), ==, 1);
}

static int urgent_soon(void *arg)
{
    send_urgent(arg);
    return 0;
}

/* Waits for what does not come, and measures how much CPU time passes. */
static void check_idle(rota_stream *s)
{
    char byte;
    rota_time before = cpu_time();
    ROTA_TIMEOUT (100 * ROTA_MILLISECOND) {
        CHECK_INT(rota_stream_read(s, &byte, 1), ==, -ETIMEDOUT);
    }
    CHECK_INT(cpu_time() - before, <, 50 * ROTA_MILLISECOND * test_scale());
}

TASK_TEST(urgent_data_is_passed_over_and_keeps_nobody_busy)
{
    char buf[8];
    struct ends e = tcp();
    send_urgent(e.a); /* before anybody waits */
    check_idle(e.b);
    CHECK_OK(rota_spawn(urgent_soon, e.a, NULL)); /* meanwhile */
    check_idle(e.b);
    int foreign = dup(fd_of(e.b));
    ROTA_TIMEOUT (100 * ROTA_MILLISECOND) {
        CHECK_INT(rota_fd_wait(foreign, ROTA_READABLE), ==, -ETIMEDOUT);
    }
    close(foreign);
    CHECK_INT(rota_stream_write(e.a, "ab", 2), ==, 0);
    send_urgent(e.a);
    CHECK_INT(rota_stream_write(e.a, "cd", 2), ==, 0);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 4), ==, 0);
    CHECK_MEM(buf, "abcd", 4);
    rota_stream_free(e.a);
    CHECK_INT(rota_stream_read(e.b, buf, 1), ==, 0);
    rota_stream_free(e.b);
}

/* ---- Standard streams, which others have too */

/* The mode belongs to the open file, not to the descriptor. */
TASK_TEST(file_opened_anew_leaves_the_mode_of_the_shared_one_alone)
{
    char name[64], path[64];
    rota_stream *s;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_OK(master);
    CHECK_OK(grantpt(master));
    CHECK_OK(unlockpt(master));
    CHECK_INT(ptsname_r(master, name, sizeof name), ==, 0);
    int shared = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", shared);
    int own = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_INT(rota_stream_from_fd(own, &s), ==, 0);
    CHECK_INT(write(master, "typed\n", 6), ==, 6);
    CHECK_INT(rota_stream_read_exact(s, name, 6), ==, 0);
    CHECK_MEM(name, "typed\n", 6);
    CHECK_INT(fcntl(shared, F_GETFL) & O_NONBLOCK, ==, 0);
    CHECK_INT(fcntl(own, F_GETFL) & O_NONBLOCK, ==, O_NONBLOCK);
    close(shared);
    rota_stream_free(s);
    close(master);
}

/* A terminal that takes no more holds up its writer only. */
static int fill_terminal(void *arg)
{
    static char block[1 << 20];
    return rota_stream_write(arg, block, sizeof block);
}

TASK_TEST(terminal_that_takes_no_more_does_not_hold_up_the_loop)
{
    char name[64];
    rota_stream *s;
    rota_task *writer;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_OK(grantpt(master));
    CHECK_OK(unlockpt(master));
    CHECK_INT(ptsname_r(master, name, sizeof name), ==, 0);
    CHECK_INT(rota_stream_from_fd(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC), &s), ==, 0);
    CHECK_OK(rota_spawn(fill_terminal, s, &writer));
    CHECK_INT(rota_sleep(5 * ROTA_MILLISECOND), ==, 0);
    rota_task_cancel(writer);
    CHECK_INT(rota_join(writer), ==, -ECANCELED);
    rota_stream_free(s);
    close(master);
}

/* ---- Descriptors that are not rota's */

static int write_a_byte(void *arg)
{
    CHECK_INT(write(*(int *)arg, "x", 1), ==, 1);
    return 0;
}

TASK_TEST(fd_wait_returns_when_the_descriptor_is_ready)
{
    int ends[2];
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    CHECK_INT(rota_fd_wait(ends[1], ROTA_WRITABLE), ==, ROTA_WRITABLE);
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        CHECK_INT(rota_fd_wait(ends[0], ROTA_READABLE), ==, -ETIMEDOUT);
    }
    if (rota_spawn(write_a_byte, &ends[1], NULL) == 0)
        CHECK_INT(rota_fd_wait(ends[0], ROTA_READABLE), ==, ROTA_READABLE);
    close(ends[1]);
    CHECK_INT(rota_fd_wait(ends[0], ROTA_READABLE) & ROTA_HANGUP, ==, ROTA_HANGUP);
    close(ends[0]);
}

static int fd_wait_refuses(void *arg)
{
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK_INT(rota_fd_wait(file, ROTA_READABLE), ==, -EPERM);
    CHECK_INT(rota_fd_wait(file, 0), ==, -EINVAL);
    CHECK_INT(rota_fd_wait(file, ROTA_HANGUP), ==, -EINVAL);
    close(file);
    CHECK_INT(rota_fd_wait(file, ROTA_READABLE), ==, -EBADF);
    return 0;
}

TEST(fd_wait_refuses_what_cannot_be_waited_for)
{
    CHECK_INT(rota_fd_wait(0, ROTA_READABLE), ==, ROTA_ENOTASK);
    run(fd_wait_refuses, NULL);
}

/* ---- Hanging up */

static void hang_up(struct ends e)
{
    rota_str bytes;
    CHECK(!rota_stream_hung_up(e.a, 0));
    put(e.b, "abc");
    CHECK_OK(rota_stream_shutdown(e.b));
    CHECK(!rota_stream_hung_up(e.a, 0)); /* there is something to be read */
    CHECK_INT(rota_stream_peek(e.a, 3, &bytes), ==, 3);
    CHECK(!rota_stream_hung_up(e.a, 2));
    CHECK(rota_stream_hung_up(e.a, 3));
    CHECK_INT(rota_stream_skip(e.a, 3), ==, 3);
    CHECK(rota_stream_hung_up(e.a, 0));
    CHECK(!rota_stream_hung_up(e.b, 0));
    rota_stream_close(e.a);
    CHECK(rota_stream_hung_up(e.b, 0));
    free_ends(&e);
}

TASK_TEST(a_hang_up_is_seen_without_reading)
{
    hang_up(pair_of(0));
    hang_up(sockets());
    hang_up(tcp());
}

TASK_TEST(a_reset_is_a_hang_up_whatever_is_unread)
{
    struct ends e = tcp();
    rota_str bytes;
    put(e.b, "abc");
    CHECK_INT(rota_stream_peek(e.a, 3, &bytes), ==, 3);
    CHECK(!rota_stream_hung_up(e.a, 1));
    set_linger_zero(e.b);
    rota_stream_close(e.b);
    CHECK(rota_stream_hung_up(e.a, 1));
    free_ends(&e);
}
