/* WebSockets over pairs in memory: two of ours, or one and a peer that writes what it likes. */
#include "http/websocket.h"
#include "http/ws.h"
#include "http/ws_key.h"

#include "clean_run.h"
#include "fails.h"

#include <rota.h>
#include <rota/http_server.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* Of cases on the real clock; less than a case may take where faults are injected. */
#define PATIENCE (2 * ROTA_SECOND)

/* ---- Setting */

static void free_stream(void *stream)
{
    rota_stream_free(stream);
}

struct sockets {
    rota_websocket *client, *server;
};

static rota_websocket *socket_on(rota_stream *s, bool is_server,
                                 const struct rota__ws_deflate_terms *terms,
                                 const rota_websocket_options *options)
{
    struct rota__websocket_setup setup = {.stream = s,
                                          .is_server = is_server,
                                          .deflate = terms,
                                          .release = free_stream,
                                          .release_arg = s};
    rota_websocket *ws = NULL;
    CHECK_OK(rota__websocket_new(&setup, options, &ws));
    return ws;
}

static struct sockets pair_with(size_t capacity, const struct rota__ws_deflate_terms *terms,
                                const rota_websocket_options *options)
{
    rota_stream *a, *b;
    CHECK_OK(rota_stream_pair(capacity, &a, &b));
    return (struct sockets){socket_on(a, false, terms, options),
                            socket_on(b, true, terms, options)};
}

static int close_one(void *ws)
{
    return rota_websocket_close(ws, 0, NULL);
}

/* Both at once, as each waits for the other. */
static void free_pair(struct sockets *s)
{
    ROTA_GROUP(g);
    rota_group_spawn(&g, close_one, s->client);
    rota_group_spawn(&g, close_one, s->server);
    ROTA_IGNORE(rota_group_wait(&g));
    rota_websocket_free(s->client);
    rota_websocket_free(s->server);
}

/* A server beside a peer of the test's own. */
struct scene {
    rota_stream *peer;
    rota_websocket *ws;
};

static struct scene scene_with(const struct rota__ws_deflate_terms *terms,
                               const rota_websocket_options *options)
{
    struct scene scene;
    rota_stream *s;
    CHECK_OK(rota_stream_pair(0, &scene.peer, &s));
    scene.ws = socket_on(s, true, terms, options);
    return scene;
}

static void free_scene(struct scene *scene)
{
    rota_stream_free(scene->peer);
    rota_websocket_free(scene->ws);
}

/* A frame of a client, masked by zeroes, which change nothing. */
static void put_frame(rota_stream *s, unsigned first, const void *payload, size_t len)
{
    unsigned char head[8] = {(unsigned char)first};
    size_t size = 2;
    if (len < 126) {
        head[1] = (unsigned char)(0x80 | len);
    } else {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(len >> 8);
        head[3] = (unsigned char)len;
        size = 4;
    }
    struct iovec pieces[] = {{head, size + 4}, {(void *)payload, len}};
    CHECK_OK(rota_stream_writev(s, pieces, 2));
}

static void put_text(rota_stream *s, unsigned first, const char *text)
{
    put_frame(s, first, text, strlen(text));
}

/* What the server sends next. */
static void check_frame(rota_stream *s, unsigned first, const void *payload, size_t len)
{
    unsigned char head[2];
    char got[ROTA__WS_CONTROL_MAX];
    CHECK_OK(rota_stream_read_exact(s, head, 2));
    CHECK_INT(head[0], ==, first);
    CHECK_INT(head[1], ==, len);
    CHECK_OK(len ? rota_stream_read_exact(s, got, len) : 0);
    CHECK_MEM(got, payload, len);
}

/* That it sent a close frame with this code. */
static void check_told(rota_stream *s, int code)
{
    unsigned char head[4];
    CHECK_OK(rota_stream_read_exact(s, head, 4));
    CHECK_INT(head[0], ==, 0x88);
    CHECK_INT(head[2] << 8 | head[3], ==, code);
}

enum { TEXT = 0x81, BINARY = 0x82, CLOSE = 0x88, PING = 0x89, PONG = 0x8a, NOT_LAST = -0x80 };

static void check_message(rota_websocket *ws, rota_websocket_type type, const char *expected,
                          size_t len)
{
    rota_websocket_message m;
    CHECK_INT(rota_websocket_read(ws, &m), ==, 1);
    CHECK_INT(m.type, ==, type);
    CHECK_INT(m.bytes.len, ==, len);
    CHECK_MEM(m.bytes.ptr, expected, len);
}

static void check_text(rota_websocket *ws, const char *expected)
{
    check_message(ws, ROTA_WEBSOCKET_TEXT, expected, strlen(expected));
}

/* ---- Messages */

static int echo(void *arg)
{
    rota_websocket *ws = arg;
    rota_websocket_message m;
    int more;
    while ((more = rota_websocket_read(ws, &m)) > 0) {
        int err = rota_websocket_write(ws, m.type, m.bytes.ptr, m.bytes.len);
        if (err < 0)
            return err;
    }
    return more;
}

static void echo_all_sizes(size_t capacity, const struct rota__ws_deflate_terms *terms)
{
    static const size_t sizes[] = {0, 1, 63, 64, 125, 126, 4000, 65535, 65536, 300000};
    struct sockets s = pair_with(capacity, terms, NULL);
    ROTA_GROUP(g);
    rota_group_spawn(&g, echo, s.server);
    char *text = malloc(sizes[9]);
    for (size_t i = 0; i < sizes[9]; i++)
        text[i] = (char)('a' + i % 23);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rota_websocket_type type = i % 2 ? ROTA_WEBSOCKET_TEXT : ROTA_WEBSOCKET_BINARY;
        CHECK_OK(rota_websocket_write(s.client, type, text, sizes[i]));
        check_message(s.client, type, text, sizes[i]);
    }
    free(text);
    CHECK_INT(rota_websocket_close(s.client, 0, NULL), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(rota_websocket_close_code(s.server), ==, 1000);
    free_pair(&s);
}

VIRTUAL_TASK_TEST(messages_of_all_sizes_come_back_as_they_were)
{
    echo_all_sizes(0, NULL);
}

VIRTUAL_TASK_TEST(deflated_messages_do_too)
{
    echo_all_sizes(0, &(struct rota__ws_deflate_terms){0});
    echo_all_sizes(0, &(struct rota__ws_deflate_terms){
                          .server_no_context = true, .client_no_context = true, .client_bits = 10});
}

VIRTUAL_TASK_TEST(messages_that_come_in_small_pieces_are_whole)
{
    echo_all_sizes(97, NULL);
    echo_all_sizes(97, &(struct rota__ws_deflate_terms){0});
}

VIRTUAL_TASK_TEST(fragments_make_one_message_with_pings_between_them)
{
    struct scene scene = scene_with(NULL, NULL);
    put_text(scene.peer, TEXT + NOT_LAST, "one ");
    put_text(scene.peer, PING, "?");
    put_text(scene.peer, 0, "two ");
    put_text(scene.peer, 0, "");
    put_text(scene.peer, 0x80, "three");
    check_text(scene.ws, "one two three");
    check_frame(scene.peer, PONG, "?", 1);
    put_text(scene.peer, BINARY, "");
    check_message(scene.ws, ROTA_WEBSOCKET_BINARY, "", 0);
    put_text(scene.peer, CLOSE, "");
    free_scene(&scene);
}

struct burst {
    rota_websocket *ws;
    char letter;
};

static int write_burst(void *arg)
{
    struct burst *burst = arg;
    char text[5000];
    memset(text, burst->letter, sizeof text);
    for (size_t len = 1; len <= sizeof text; len += 700) {
        int err = rota_websocket_write(burst->ws, ROTA_WEBSOCKET_TEXT, text, len);
        if (err < 0)
            return err;
    }
    return 0;
}

VIRTUAL_TASK_TEST(messages_of_many_writers_do_not_mix)
{
    struct sockets s = pair_with(100, NULL, NULL);
    ROTA_GROUP(g);
    for (char letter = 'a'; letter < 'f'; letter++)
        rota_group_spawn_copy(&g, write_burst, (&(struct burst){s.client, letter}),
                              sizeof(struct burst));
    size_t next[5] = {1, 1, 1, 1, 1};
    for (int i = 0; i < 5 * 8; i++) {
        rota_websocket_message m;
        CHECK_INT(rota_websocket_read(s.server, &m), ==, 1);
        int who = m.bytes.ptr[0] - 'a';
        CHECK_INT(m.bytes.len, ==, next[who]);
        CHECK_INT(m.bytes.ptr[m.bytes.len - 1], ==, 'a' + who);
        next[who] += 700;
    }
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_pair(&s);
}

static int write_large(void *arg)
{
    static char large[500000];
    return rota_websocket_write(arg, ROTA_WEBSOCKET_BINARY, large, sizeof large);
}

VIRTUAL_TASK_TEST(peers_that_write_to_each_other_at_once_and_ping_do_not_wait_for_ever)
{
    struct sockets s = pair_with(1000, NULL, NULL);
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_large, s.client);
    rota_group_spawn(&g, write_large, s.server);
    rota_websocket_message m;
    CHECK_INT(rota_websocket_read(s.client, &m), ==, 1);
    CHECK_INT(rota_websocket_read(s.server, &m), ==, 1);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_pair(&s);
}

VIRTUAL_TASK_TEST(a_read_that_is_timed_out_in_the_middle_of_a_message_loses_nothing)
{
    struct scene scene = scene_with(NULL, NULL);
    rota_websocket_message m;
    put_text(scene.peer, TEXT + NOT_LAST, "first ");
    for (int i = 0; i < 3; i++) {
        int got = 0;
        ROTA_TIMEOUT (ROTA_SECOND)
            got = rota_websocket_read(scene.ws, &m);
        CHECK_INT(got, ==, -ETIMEDOUT);
        put_text(scene.peer, 0, "more ");
    }
    put_text(scene.peer, 0x80, "last");
    check_text(scene.ws, "first more more more last");
    put_text(scene.peer, CLOSE, "");
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(text_that_is_not_utf8_is_not_sent)
{
    struct sockets s = pair_with(0, NULL, NULL);
    CHECK_FAILS(rota_websocket_write(s.client, ROTA_WEBSOCKET_TEXT, "\xff", 1), -EINVAL,
                "write WebSocket message to pair: the text is not UTF-8");
    CHECK_FAILS(rota_websocket_write(s.client, ROTA_WEBSOCKET_TEXT, "\xc3", 1), -EINVAL,
                "the text is not UTF-8");
    CHECK_FAILS(rota_websocket_write(s.client, (rota_websocket_type)8, "", 0), -EINVAL,
                "8 is not a type of message");
    CHECK_OK(rota_websocket_write(s.client, ROTA_WEBSOCKET_BINARY, "\xff", 1));
    check_message(s.server, ROTA_WEBSOCKET_BINARY, "\xff", 1);
    free_pair(&s);
}

/* ---- Signs of life */

VIRTUAL_TASK_TEST(a_silent_peer_is_asked_and_then_given_up)
{
    rota_websocket_options options = {.ping = 30 * ROTA_SECOND, .pong = 10 * ROTA_SECOND};
    struct scene scene = scene_with(NULL, &options);
    rota_websocket_message m;
    rota_time before = rota_now();
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, -ETIMEDOUT);
    CHECK_INT(rota_now() - before, >=, 40 * ROTA_SECOND);
    CHECK_INT(rota_now() - before, <, 45 * ROTA_SECOND);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, -ETIMEDOUT);
    check_frame(scene.peer, PING, "", 0);
    check_told(scene.peer, ROTA__WS_POLICY);
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(a_pong_that_came_while_nobody_read_is_not_late)
{
    rota_websocket_options options = {.ping = 30 * ROTA_SECOND, .pong = 10 * ROTA_SECOND};
    struct scene scene = scene_with(NULL, &options);
    static const unsigned char both[] = {PONG, 0x80, 0, 0, 0, 0, TEXT, 0x81, 0, 0, 0, 0, 't'};
    rota_websocket_message m;
    int got = 0;
    ROTA_TIMEOUT (35 * ROTA_SECOND)
        got = rota_websocket_read(scene.ws, &m);
    CHECK_INT(got, ==, -ETIMEDOUT);
    check_frame(scene.peer, PING, "", 0);
    CHECK_OK(rota_stream_write(scene.peer, both, sizeof both));
    CHECK_OK(rota_sleep(ROTA_MINUTE));
    check_message(scene.ws, ROTA_WEBSOCKET_TEXT, "t", 1);
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(a_peer_that_reads_shows_that_it_lives)
{
    struct sockets s = pair_with(0, NULL, NULL);
    ROTA_GROUP(g);
    rota_group_spawn(&g, echo, s.server);
    rota_websocket_message m;
    int got = 0;
    ROTA_TIMEOUT (ROTA_MINUTE * 60)
        got = rota_websocket_read(s.client, &m);
    CHECK_INT(got, ==, -ETIMEDOUT);
    CHECK_OK(rota_websocket_write(s.client, ROTA_WEBSOCKET_TEXT, "x", 1));
    check_text(s.client, "x");
    CHECK_INT(rota_websocket_close(s.client, 0, NULL), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_pair(&s);
}

VIRTUAL_TASK_TEST(a_flood_of_pings_to_one_who_cannot_answer_takes_no_memory)
{
    rota_stream *peer, *s;
    CHECK_OK(rota_stream_pair(64, &peer, &s));
    struct scene scene = {peer, socket_on(s, true, NULL, NULL)};
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_large, scene.ws); /* gets stuck, as the peer does not read */
    rota_group_spawn(&g, echo, scene.ws);
    for (int i = 0; i < 1000; i++)
        put_frame(peer, PING, "0123456789", 10);
    CHECK_INT(rota_test_allocations(), <, 60);
    rota_group_cancel(&g);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_scene(&scene);
}

/* ---- Peers that take nothing */

static int write_noise(void *arg)
{
    static char noise[100000];
    uint64_t x = 1;
    for (size_t i = 0; i < sizeof noise; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        noise[i] = (char)(x >> 56);
    }
    return rota_websocket_write(arg, ROTA_WEBSOCKET_BINARY, noise, sizeof noise);
}

static int expect_timeout_of_write(void *arg)
{
    CHECK_INT(write_large(arg), ==, -ETIMEDOUT);
    return 0;
}

static int expect_closed_write(void *arg)
{
    CHECK_INT(rota_websocket_write(arg, ROTA_WEBSOCKET_TEXT, "later", 5), ==, ROTA_ECLOSED);
    return 0;
}

#define TOOK_NOTHING "the peer took nothing for too long (option write_stall)"

static int expect_timeout_of_read(void *arg)
{
    rota_websocket_message m;
    CHECK_FAILS(rota_websocket_read(arg, &m), -ETIMEDOUT, TOOK_NOTHING);
    return 0;
}

/* Two writers and a reader of one whose peer does nothing but to keep the connection. */
static void check_cut_off(rota_websocket *ws, rota_time after)
{
    rota_websocket_message m;
    ROTA_GROUP(g);
    rota_time before = rota_now();
    rota_group_spawn(&g, expect_timeout_of_read, ws);
    rota_group_spawn(&g, expect_timeout_of_write, ws);
    rota_group_spawn(&g, expect_closed_write, ws);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(rota_now() - before, >=, after);
    CHECK_INT(rota_now() - before, <=, after + after / 4);
    CHECK_INT(rota_websocket_close_code(ws), ==, 1006);
    CHECK_FAILS(rota_websocket_read(ws, &m), -ETIMEDOUT, TOOK_NOTHING);
    CHECK_FAILS(rota_websocket_write(ws, ROTA_WEBSOCKET_TEXT, "", 0), ROTA_ECLOSED,
                "the WebSocket is closed");
    CHECK_FAILS(rota_websocket_close(ws, 0, NULL), -ETIMEDOUT, TOOK_NOTHING);
}

VIRTUAL_TASK_TEST(a_peer_that_takes_nothing_is_cut_off)
{
    for (int is_server = 0; is_server < 2; is_server++) {
        rota_websocket_options options = {.ping = ROTA_NEVER};
        rota_stream *peer, *s;
        CHECK_OK(rota_stream_pair(1000, &peer, &s));
        rota_websocket *ws = socket_on(s, is_server, NULL, &options);
        check_cut_off(ws, 30 * ROTA_SECOND);
        rota_websocket_free(ws);
        rota_stream_free(peer);
    }
}

VIRTUAL_TASK_TEST(a_peer_behind_a_socket_that_takes_nothing_is_cut_off)
{
    rota_websocket_options options = {.write_stall = 3 * ROTA_SECOND};
    int ends[2];
    rota_stream *s;
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota_stream_from_fd(ends[0], &s));
    rota_websocket *ws = socket_on(s, true, &(struct rota__ws_deflate_terms){0}, &options);
    CHECK_OK(write_noise(ws));
    rota_time before = rota_now();
    while (rota_websocket_close_code(ws) == 0) {
        int err = write_noise(ws);
        CHECK_INT(err, ==, err < 0 ? -ETIMEDOUT : 0);
    }
    CHECK_INT(rota_now() - before, >=, 3 * ROTA_SECOND);
    CHECK_INT(rota_now() - before, <, 4 * ROTA_SECOND);
    rota_websocket_free(ws);
    close(ends[1]);
}

VIRTUAL_TASK_TEST(a_peer_that_takes_slowly_has_neither_stalled_nor_fallen_silent)
{
    struct scene scene;
    rota_stream *s;
    rota_websocket_message m;
    char some[5000];
    CHECK_OK(rota_stream_pair(sizeof some, &scene.peer, &s));
    scene.ws = socket_on(s, true, NULL, NULL);
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_large, scene.ws);
    rota_group_spawn(&g, echo, scene.ws);
    for (size_t taken = 0; taken < 500000 + 10; taken += sizeof some) {
        CHECK_OK(rota_sleep(ROTA_SECOND));
        CHECK_OK(rota_stream_read_exact(scene.peer, some,
                                        taken < 500000 ? sizeof some : 500000 + 10 - taken));
    }
    check_frame(scene.peer, PING, "",
                0); /* was due all the time; now there are 20 s for the answer */
    CHECK_OK(rota_sleep(15 * ROTA_SECOND));
    put_text(scene.peer, PONG, "");
    put_text(scene.peer, CLOSE, "");
    CHECK_INT(rota_group_wait(&g), ==, 0);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, 0);
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(an_idle_connection_has_not_stalled)
{
    rota_websocket_options options = {.ping = ROTA_NEVER, .write_stall = ROTA_SECOND};
    struct sockets s = pair_with(0, NULL, &options);
    for (int i = 0; i < 10; i++) {
        CHECK_OK(rota_websocket_write(s.client, ROTA_WEBSOCKET_TEXT, "x", 1));
        CHECK_OK(rota_sleep(i * 300 * ROTA_MILLISECOND));
        check_text(s.server, "x");
    }
    free_pair(&s);
}

VIRTUAL_TASK_TEST(a_pong_that_is_not_taken_holds_up_no_reader_and_ends_the_connection)
{
    rota_stream *peer, *s;
    CHECK_OK(rota_stream_pair(2000, &peer, &s));
    struct scene scene = {peer, socket_on(s, true, NULL, NULL)};
    char fill[1990] = "";
    rota_websocket_message m;
    CHECK_OK(rota_websocket_write(scene.ws, ROTA_WEBSOCKET_BINARY, fill, sizeof fill));
    put_text(peer, PING, "does not fit");
    put_text(peer, TEXT, "but this arrives");
    check_text(scene.ws, "but this arrives");
    rota_time before = rota_now();
    ROTA_TIMEOUT (ROTA_SECOND)
        CHECK_INT(rota_websocket_read(scene.ws, &m), ==, -ETIMEDOUT);
    CHECK_INT(rota_websocket_close_code(scene.ws), ==, 0);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, -ETIMEDOUT);
    CHECK_INT(rota_websocket_close_code(scene.ws), ==, 1006);
    CHECK_INT(rota_now() - before, <=, 30 * ROTA_SECOND / 4 * 5);
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(the_deadline_of_a_reader_does_not_tear_its_pong)
{
    rota_stream *peer, *s;
    CHECK_OK(rota_stream_pair(64, &peer, &s));
    struct scene scene = {peer, socket_on(s, true, NULL, NULL)};
    char fill[50] = "", got[52];
    rota_websocket_message m;
    CHECK_OK(rota_websocket_write(scene.ws, ROTA_WEBSOCKET_BINARY, fill, sizeof fill));
    put_text(peer, PING, "fits in part only");
    ROTA_TIMEOUT (ROTA_SECOND)
        CHECK_INT(rota_websocket_read(scene.ws, &m), ==, -ETIMEDOUT);
    CHECK_OK(rota_stream_read_exact(peer, got, sizeof got));
    check_frame(peer, PONG, "fits in part only", 17);
    CHECK_OK(rota_websocket_write(scene.ws, ROTA_WEBSOCKET_TEXT, "whole", 5));
    check_frame(peer, TEXT, "whole", 5);
    put_text(peer, CLOSE, "");
    free_scene(&scene);
}

/* ---- The end */

VIRTUAL_TASK_TEST(either_side_closes_with_a_code_and_a_reason)
{
    for (int i = 0; i < 2; i++) {
        struct sockets s = pair_with(0, NULL, NULL);
        rota_websocket *one = i ? s.client : s.server, *other = i ? s.server : s.client;
        ROTA_GROUP(g);
        rota_group_spawn(&g, echo, other);
        CHECK_INT(rota_websocket_close(one, 4711, "that is all"), ==, 0);
        CHECK_INT(rota_group_wait(&g), ==, 0);
        CHECK_INT(rota_websocket_close_code(other), ==, 4711);
        CHECK_STR(rota_websocket_close_reason(other), "that is all");
        CHECK_INT(rota_websocket_close_code(one), ==, 4711);
        CHECK_INT(rota_websocket_write(other, ROTA_WEBSOCKET_TEXT, "", 0), ==, ROTA_ECLOSED);
        CHECK_INT(rota_websocket_write(one, ROTA_WEBSOCKET_TEXT, "", 0), ==, ROTA_ECLOSED);
        CHECK_INT(rota_websocket_close(one, 0, NULL), ==, 0);
        free_pair(&s);
    }
}

VIRTUAL_TASK_TEST(closing_while_another_task_reads_ends_that_read)
{
    struct sockets s = pair_with(0, NULL, NULL);
    ROTA_GROUP(g);
    rota_group_spawn(&g, echo, s.server);
    rota_group_spawn(&g, echo, s.client);
    CHECK_OK(rota_yield());
    CHECK_INT(rota_websocket_close(s.client, 0, NULL), ==, 0);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_pair(&s);
}

static int read_one(void *ws)
{
    rota_websocket_message m;
    CHECK_FAILS(rota_websocket_read(ws, &m), ROTA_ECLOSED, ": closed");
    return ROTA_ECLOSED;
}

VIRTUAL_TASK_TEST(freeing_ends_the_calls_of_other_tasks_and_waits_for_them)
{
    static rota_fn *const calls[] = {write_large, write_large, read_one};
    rota_websocket_options options = {.closing = ROTA_SECOND};
    struct sockets s = pair_with(1000, NULL, &options);
    rota_task *tasks[3] = {NULL};
    for (int i = 0; i < 3; i++)
        CHECK_OK(rota_spawn(calls[i], s.client, &tasks[i]));
    CHECK_OK(rota_yield());
    s.client = rota_websocket_free(s.client);
    for (int i = 0; i < 3; i++) {
        CHECK(rota_task_done(tasks[i]));
        CHECK_INT(rota_join(tasks[i]), ==, ROTA_ECLOSED);
    }
    rota_websocket_free(s.server);
}

VIRTUAL_TASK_TEST(bad_codes_and_reasons_are_refused)
{
    struct sockets s = pair_with(0, NULL, NULL);
    char longest[125] = "";
    memset(longest, 'x', 124);
    CHECK_FAILS(rota_websocket_close(s.client, 1006, NULL), -EINVAL,
                "close WebSocket: invalid code 1006 or reason");
    CHECK_INT(rota_websocket_close(s.client, 999, NULL), ==, -EINVAL);
    CHECK_INT(rota_websocket_close(s.client, 1000, longest), ==, -EINVAL);
    CHECK_INT(rota_websocket_close(s.client, 1000, "\xff"), ==, -EINVAL);
    CHECK_OK(rota_websocket_write(s.client, ROTA_WEBSOCKET_TEXT, "still open", 10));
    check_text(s.server, "still open");
    free_pair(&s);
}

VIRTUAL_TASK_TEST(closing_gives_up_a_peer_that_does_not_close)
{
    rota_websocket_options options = {.closing = 3 * ROTA_SECOND};
    struct scene scene = scene_with(NULL, &options);
    rota_time before = rota_now();
    put_text(scene.peer, TEXT, "late");
    CHECK_FAILS(rota_websocket_close(scene.ws, 0, NULL), -ETIMEDOUT,
                "close WebSocket to pair: no close frame came in time (option closing)");
    CHECK_INT(rota_now() - before, >=, 3 * ROTA_SECOND);
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(a_connection_that_just_ends_is_cut_off)
{
    struct scene scene = scene_with(NULL, NULL);
    rota_websocket_message m;
    put_text(scene.peer, TEXT + NOT_LAST, "and then");
    rota_stream_close(scene.peer);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, ROTA_ETRUNCATED);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, ROTA_ETRUNCATED);
    CHECK_INT(rota_websocket_close_code(scene.ws), ==, 1006);
    CHECK_FAILS(rota_websocket_close(scene.ws, 0, NULL), ROTA_ETRUNCATED,
                "close WebSocket to pair: the connection ended without a close frame");
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(closing_tells_why_the_peer_did_not_close_in_order)
{
    struct scene scene = scene_with(NULL, NULL);
    put_text(scene.peer, 0x83, "no such opcode");
    CHECK_FAILS(rota_websocket_close(scene.ws, 0, NULL), ROTA_EPROTOCOL,
                "close WebSocket to pair: ");
    CHECK(strstr(rota_error(ROTA_EPROTOCOL), rota_websocket_close_reason(scene.ws)));
    free_scene(&scene);
    scene = scene_with(NULL, NULL);
    CHECK_OK(rota_stream_shutdown(scene.peer));
    CHECK_FAILS(rota_websocket_close(scene.ws, 0, NULL), ROTA_ETRUNCATED,
                "close WebSocket to pair: the connection ended without a close frame");
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(a_connection_that_is_reset_is_cut_off)
{
    int ends[2];
    rota_stream *s;
    rota_websocket_message m;
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota_stream_from_fd(ends[0], &s));
    rota_websocket *ws = socket_on(s, true, NULL, NULL);
    CHECK_OK(rota_websocket_write(ws, ROTA_WEBSOCKET_TEXT, "never read", 10));
    close(ends[1]);
    CHECK_INT(rota_websocket_read(ws, &m), ==, -ECONNRESET);
    CHECK_FAILS(rota_websocket_read(ws, &m), -ECONNRESET, "Connection reset by peer");
    CHECK_INT(rota_websocket_close_code(ws), ==, 1006);
    CHECK_INT(rota_websocket_write(ws, ROTA_WEBSOCKET_TEXT, "", 0), ==, ROTA_ECLOSED);
    rota_websocket_free(ws);
}

/* ---- Peers that break the protocol, or limits */

static void check_refused(const struct rota__ws_deflate_terms *terms, unsigned first,
                          const void *payload, size_t len, int result, int code)
{
    rota_websocket_options options = {.message = 1000, .fragments = 10};
    struct scene scene = scene_with(terms, &options);
    rota_websocket_message m;
    put_frame(scene.peer, first, payload, len);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, result);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, result);
    CHECK(strstr(rota_error(result), "read WebSocket message from "));
    CHECK(strstr(rota_error(result), rota_websocket_close_reason(scene.ws)));
    CHECK_INT(rota_websocket_close_code(scene.ws), ==, code);
    CHECK_INT(rota_websocket_write(scene.ws, ROTA_WEBSOCKET_TEXT, "", 0), ==, ROTA_ECLOSED);
    check_told(scene.peer, code);
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(what_breaks_the_protocol_is_refused_and_the_peer_told_why)
{
    static const char zeroes[1001];
    struct rota__ws_deflate_terms terms = {0};
    check_refused(NULL, 0xc1, "x", 1, ROTA_EPROTOCOL, 1002);     /* RSV1, not agreed on */
    check_refused(&terms, 0xa1, "x", 1, ROTA_EPROTOCOL, 1002);   /* RSV2 */
    check_refused(NULL, 0x80, "x", 1, ROTA_EPROTOCOL, 1002);     /* continues nothing */
    check_refused(NULL, 0x83, "x", 1, ROTA_EPROTOCOL, 1002);     /* no such opcode */
    check_refused(NULL, 0x09, "x", 1, ROTA_EPROTOCOL, 1002);     /* a ping in pieces */
    check_refused(NULL, TEXT, "\xff", 1, ROTA_EPROTOCOL, 1007);  /* no UTF-8 */
    check_refused(NULL, TEXT, "\xc3", 1, ROTA_EPROTOCOL, 1007);  /* half a character */
    check_refused(NULL, CLOSE, "\x01", 1, ROTA_EPROTOCOL, 1002); /* half a code */
    check_refused(NULL, BINARY, zeroes, 1001, ROTA_ELIMIT, 1009);
    check_refused(&terms, 0xc2, "\xff\xff\xff", 3, ROTA_EPROTOCOL, 1007); /* not deflated */
}

VIRTUAL_TASK_TEST(deflated_messages_are_limited_by_what_they_become)
{
    struct rota__ws_deflate_terms terms = {0};
    rota_websocket_options options = {.message = 100000};
    struct scene scene = scene_with(&terms, &options);
    struct rota__ws_deflate *deflate;
    struct rota__out bomb = {0};
    rota_websocket_message m;
    char *zeroes = calloc(1, 200000);
    CHECK_OK(rota__ws_deflate_new(&terms, false, 0, 0, &deflate));
    CHECK_OK(rota__ws_deflate_write(deflate, (rota_str){zeroes, 200000}, true, &bomb));
    CHECK_INT(bomb.len, <, 1000);
    put_frame(scene.peer, 0xc2, bomb.ptr, bomb.len);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, ROTA_ELIMIT);
    check_told(scene.peer, 1009);
    rota__out_fini(&bomb);
    rota__ws_deflate_free(deflate);
    free(zeroes);
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(a_message_of_the_limit_is_taken_though_deflating_made_it_longer)
{
    rota_websocket_options options = {.message = 100000};
    struct sockets s = pair_with(0, &(struct rota__ws_deflate_terms){0}, &options);
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_noise, s.client);
    rota_websocket_message m;
    CHECK_INT(rota_websocket_read(s.server, &m), ==, 1);
    CHECK_INT(m.bytes.len, ==, 100000);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    free_pair(&s);
}

VIRTUAL_TASK_TEST(deflated_text_has_to_be_utf8_too)
{
    struct rota__ws_deflate_terms terms = {0};
    struct scene scene = scene_with(&terms, NULL);
    struct rota__ws_deflate *deflate;
    struct rota__out frame = {0};
    rota_websocket_message m;
    CHECK_OK(rota__ws_deflate_new(&terms, false, 0, 0, &deflate));
    CHECK_OK(rota__ws_deflate_write(deflate, (rota_str){"abc\xc3", 4}, true, &frame));
    put_frame(scene.peer, 0xc1, frame.ptr, frame.len);
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, ROTA_EPROTOCOL);
    check_told(scene.peer, 1007);
    rota__out_fini(&frame);
    rota__ws_deflate_free(deflate);
    free_scene(&scene);
}

VIRTUAL_TASK_TEST(endless_fragments_are_refused)
{
    rota_websocket_options options = {.fragments = 10};
    struct scene scene = scene_with(NULL, &options);
    rota_websocket_message m;
    put_text(scene.peer, TEXT + NOT_LAST, "");
    for (int i = 0; i < 10; i++)
        put_text(scene.peer, 0, "");
    CHECK_INT(rota_websocket_read(scene.ws, &m), ==, ROTA_ELIMIT);
    check_told(scene.peer, ROTA__WS_POLICY);
    free_scene(&scene);
}

/* ---- Handshakes */

static int greet(rota_http_request *r, void *arg)
{
    ROTA_AUTO(rota_websocket) ws = NULL;
    int err = rota_websocket_accept(r, arg, &ws);
    if (err < 0)
        return err == -EPROTO ? 0 : err;
    const char *protocol = rota_websocket_protocol(ws);
    err = rota_websocket_write(ws, ROTA_WEBSOCKET_TEXT, protocol ? protocol : "-",
                               protocol ? strlen(protocol) : 1);
    return err < 0 ? err : echo(ws);
}

struct host {
    rota_listener *listener;
    rota_websocket_options options;
    rota_event over;
    int flooded;  /* why the handler ended */
    bool is_good; /* the answer that it gives */
};

static int serve(void *arg)
{
    struct host *host = arg;
    return rota_http_serve(&host->listener, 1, greet, &host->options, NULL);
}

/* Sends a request with these fields more, and checks how the answer begins. With 101, the rest is
 * read up to the frames. */
static rota_stream *ask(struct host *host, const char *method, const char *fields,
                        const char *expected)
{
    rota_stream *s = NULL;
    char request[1024];
    rota_str head;
    CHECK_OK(rota_tcp_connect("127.0.0.1", rota_listener_port(host->listener), NULL, &s));
    snprintf(request, sizeof request, "%s /chat HTTP/1.1\r\nHost: example.org:8080\r\n%s\r\n",
             method, fields);
    CHECK_OK(rota_stream_write(s, request, strlen(request)));
    CHECK_OK(rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head));
    for (const char *line = expected; *line; line += strlen(line) + 1)
        if (!memmem(head.ptr, head.len, line, strlen(line)))
            FAIL("no \"%s\" in: %.*s", line, (int)head.len, head.ptr);
    return s;
}

#define HELLO                                         \
    "Upgrade: h2c, WebSocket\r\n"                     \
    "Connection: keep-alive\r\n"                      \
    "Connection: Upgrade\r\n"                         \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" \
    "Sec-WebSocket-Version: 13\r\n"

static void handshakes(struct host *host)
{
    static const char *const protocols[] = {"first", "second", NULL};
    static const char *const origins[] = {"https://elsewhere", NULL};
    rota_stream *s;

    /* The example of RFC 6455, section 1.3. */
    s = ask(host, "GET", HELLO,
            "HTTP/1.1 101 \0Upgrade: websocket\r\n\0Connection: Upgrade\r\n\0"
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\0");
    check_frame(s, TEXT, "-", 1);
    put_text(s, TEXT, "to and fro");
    check_frame(s, TEXT, "to and fro", 10);
    put_text(s, CLOSE, "\x0f\xa0");
    check_told(s, 4000);
    rota_stream_free(s);

    host->options.protocols = protocols;
    s = ask(host, "GET", HELLO "Sec-WebSocket-Protocol: third, second, first\r\n",
            "HTTP/1.1 101 \0Sec-WebSocket-Protocol: first\r\n\0");
    check_frame(s, TEXT, "first", 5);
    rota_stream_free(s);

    /* A list may come in several fields. */
    s = ask(host, "GET",
            HELLO "Sec-WebSocket-Protocol: third\r\nSec-WebSocket-Protocol: fourth, second\r\n",
            "HTTP/1.1 101 \0Sec-WebSocket-Protocol: second\r\n\0");
    rota_stream_free(s);

    s = ask(host, "GET", HELLO "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            "HTTP/1.1 101 \0Sec-WebSocket-Extensions: permessage-deflate\0");
    rota_stream_free(s);

    rota_stream_free(
        ask(host, "GET", HELLO "Origin: http://EXAMPLE.org:8080\r\n", "HTTP/1.1 101 \0"));
    rota_stream_free(ask(host, "GET", HELLO "Origin: http://example.org\r\n", "HTTP/1.1 403 \0"));
    rota_stream_free(ask(host, "GET", HELLO "Origin: null\r\n", "HTTP/1.1 403 \0"));
    host->options.origins = origins;
    rota_stream_free(ask(host, "GET", HELLO "Origin: https://elsewhere\r\n", "HTTP/1.1 101 \0"));
    rota_stream_free(ask(host, "GET", HELLO "Origin: http://elsewhere\r\n", "HTTP/1.1 403 \0"));

    rota_stream_free(ask(host, "POST", HELLO "Content-Length: 0\r\n", "HTTP/1.1 405 \0"));
    rota_stream_free(ask(host, "GET", "", "HTTP/1.1 426 \0Sec-WebSocket-Version: 13\r\n\0"));
    rota_stream_free(ask(host, "GET", "Sec-WebSocket-Version: 13\r\n", "HTTP/1.1 400 \0"));
    rota_stream_free(ask(host, "GET",
                         "Sec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                         "HTTP/1.1 426 \0Upgrade: websocket\r\n\0"));
}

/* Writes to a client that does not read. */
static int flood(rota_http_request *r, void *arg)
{
    struct host *host = arg;
    ROTA_AUTO(rota_websocket) ws = NULL;
    int err = rota_websocket_accept(r, &host->options, &ws);
    while (err == 0)
        err = write_large(ws);
    host->flooded = err;
    rota_event_set(&host->over);
    return err;
}

static int serve_flood(void *arg)
{
    struct host *host = arg;
    return rota_http_serve(&host->listener, 1, flood, host, NULL);
}

static int flooding_in_task(__attribute__((unused)) void *arg)
{
    struct host host = {.options.write_stall = 50 * ROTA_MILLISECOND, .over = ROTA_EVENT_INIT};
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &host.listener));
    ROTA_GROUP(g);
    rota_group_spawn(&g, serve_flood, &host);
    ROTA_TIMEOUT (PATIENCE) {
        rota_stream *s = ask(&host, "GET", HELLO, "HTTP/1.1 101 \0");
        CHECK_OK(rota_event_wait(&host.over));
        CHECK_INT(host.flooded, ==, -ETIMEDOUT);
        rota_stream_free(s);
    }
    rota_group_cancel(&g);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    rota_listener_free(host.listener);
    return 0;
}

TEST(a_handler_whose_client_takes_nothing_is_told_so)
{
    long live = rota_test_allocations();
    CHECK_OK(rota_run(flooding_in_task, NULL));
    CHECK_INT(rota_test_allocations(), ==, live);
}

/* Its reader may be busy with the message for long. */
VIRTUAL_TASK_TEST(a_due_pong_leaves_before_the_next_message_is_handed_on)
{
    struct scene scene = scene_with(NULL, NULL);
    static const unsigned char both[] = {PING, 0x81, 0, 0, 0, 0, 'p', TEXT, 0x81, 0, 0, 0, 0, 't'};
    rota_str pong = {NULL, 0};
    CHECK_OK(rota_stream_write(scene.peer, both, sizeof both));
    check_message(scene.ws, ROTA_WEBSOCKET_TEXT, "t", 1);
    CHECK(!scene.ws->pong_due);
    CHECK_INT(rota_stream_peek(scene.peer, 3, &pong), ==, 3);
    CHECK_MEM(pong.ptr, "\x8a\1p", 3);
    free_scene(&scene);
}

/* ---- Clients */

static int answer_oddly(rota_http_request *r, void *arg)
{
    const char *const *headers = arg;
    rota_stream *s;
    for (; headers[0]; headers += 2)
        rota_http_add_header(r, headers[0], headers[1]);
    return rota_http_upgrade(r, "websocket", &s);
}

static int refuse_all(rota_http_request *r, __attribute__((unused)) void *arg)
{
    return rota_http_reply_status(r, 404);
}

static int serve_oddly(void *arg)
{
    struct host *host = arg;
    return rota_http_serve(&host->listener, 1, answer_oddly, (void *)host->options.headers, NULL);
}

static int serve_elsewhere(void *arg)
{
    struct host *host = arg;
    return rota_http_serve(&host->listener, 1, refuse_all, NULL, NULL);
}

static void with_server(rota_fn *server, struct host *host, void (*fn)(struct host *, const char *))
{
    char url[64];
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &host->listener));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/chat?x", rota_listener_port(host->listener));
    ROTA_GROUP(g);
    host->options.closing = ROTA_SECOND;
    rota_group_spawn(&g, server, host);
    ROTA_TIMEOUT (PATIENCE) { /* a server that a fault has ended does not answer */
        fn(host, url);
    }
    rota_group_cancel(&g);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    rota_listener_free(host->listener);
}

static void talk(struct host *host, const char *url)
{
    static const char *const protocols[] = {"second", "first", NULL};
    static const char *const headers[] = {"Origin", "http://127.0.0.1", NULL};
    char large[5000];
    memset(large, 'x', sizeof large);
    for (int i = 0; i < 4; i++) {
        ROTA_AUTO(rota_http_session) session = NULL;
        ROTA_AUTO(rota_websocket) ws = NULL;
        rota_websocket_options options = {
            .protocols = protocols, .no_compression = i & 1, .closing = ROTA_SECOND};
        CHECK_OK(rota_http_session_new(NULL, &session));
        host->options.protocols = i < 2 ? NULL : protocols;
        CHECK_OK(rota_websocket_connect(i < 3 ? session : NULL, url, &options, &ws));
        session = rota_http_session_free(session); /* what is connected is not the session's */
        check_text(ws, i < 2 ? "-" : "second");
        CHECK_OK(rota_websocket_write(ws, ROTA_WEBSOCKET_TEXT, large, sizeof large));
        check_message(ws, ROTA_WEBSOCKET_TEXT, large, sizeof large);
        CHECK_INT(rota_websocket_close(ws, 0, NULL), ==, 0);
    }
    rota_websocket *ws = NULL;
    rota_websocket_options foreign = {.headers = headers};
    CHECK_INT(rota_websocket_connect(NULL, url, &foreign, &ws), ==, -EPROTO);
    CHECK(strstr(rota_error(-EPROTO), "403"));
    static const char *const lone[] = {"Origin", NULL};
    CHECK_INT(rota_websocket_connect(NULL, url, &(rota_websocket_options){.headers = lone}, &ws),
              ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "\"Origin\" has no value");
    CHECK_INT(rota_websocket_connect(NULL, "ftp://x", NULL, &ws), ==, -EINVAL);
    CHECK_PTR(ws, ==, NULL);
}

/* HTTP/2 has no upgrade, and no field of that name. */
static void ask_by_h2(__attribute__((unused)) struct host *host, const char *url)
{
    static const char *const fields[] = {"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key",
                                         "dGhlIHNhbXBsZSBub25jZQ==", NULL};
    char web[80];
    snprintf(web, sizeof web, "http%s", url + 2);
    ROTA_AUTO(rota_http_session) session = NULL;
    rota_http_session_options options = {.version = ROTA_HTTP_2_DIRECTLY, .proxy = ""};
    CHECK_OK(rota_http_session_new(&options, &session));
    for (int with_fields = 0; with_fields < 2; with_fields++) {
        ROTA_AUTO(rota_http_response) r = NULL;
        rota_http_fetch_options asked = {.headers = with_fields ? fields : NULL};
        CHECK_OK(rota_http_fetch(session, web, &asked, &r));
        CHECK_INT(rota_http_status(r), ==, 426);
        CHECK(rota_str_equal(rota_http_response_header(r, "sec-websocket-version"), "13"));
        CHECK_PTR(rota_http_response_header(r, "sec-websocket-accept").ptr, ==, NULL);
    }
}

/* Answers to a handshake that offers "chat" (RFC 6455, section 4.1; RFC 7692, section 7.1). The
 * accept value replaces "@". */
#define UP "Upgrade: websocket\r\n"
#define CON "Connection: Upgrade\r\n"
#define ACC "Sec-WebSocket-Accept: @\r\n"
#define EXT "Sec-WebSocket-Extensions: permessage-deflate"
#define PROTO "Sec-WebSocket-Protocol: "
static const struct {
    const char *fields;
    bool is_good;
} answers[] = {
    {UP CON ACC, true},
    {"upgrade: WebSocket\r\nCONNECTION: keep-alive, upgrade\r\n" ACC, true},
    {UP "Connection: keep-alive\r\n" CON ACC, true},
    {CON ACC, false},
    {UP ACC, false},
    {UP "Connection: keep-alive\r\n" ACC, false},
    {"Upgrade: h2c\r\n" CON ACC, false},
    {UP CON, false},
    {UP CON "Sec-WebSocket-Accept: x@\r\n", false},
    {UP CON ACC "Sec-WebSocket-Accept: x\r\n", false},
    {UP CON "Sec-WebSocket-Accept: x\r\n" ACC, false},
    {UP CON ACC PROTO "chat\r\n", true},
    {UP CON ACC PROTO "Chat\r\n", false},
    {UP CON ACC PROTO "other\r\n", false},
    {UP CON ACC PROTO "chat, chat\r\n", false},
    {UP CON ACC PROTO "chat\r\n" PROTO "chat\r\n", false},
    {UP CON ACC PROTO "\r\n", false},
    {UP CON ACC EXT "\r\n", true},
    {UP CON ACC EXT "; server_no_context_takeover; client_max_window_bits=10\r\n", true},
    {UP CON ACC EXT "\r\n" EXT "\r\n", false},
    {UP CON ACC EXT ", permessage-deflate\r\n", false},
    {UP CON ACC EXT "; x=1\r\n", false},
    {UP CON ACC EXT "; client_max_window_bits\r\n", false},
    {UP CON ACC EXT "; client_max_window_bits=16\r\n", false},
    {UP CON ACC EXT "; server_max_window_bits=7\r\n", false},
    {UP CON ACC EXT "; server_no_context_takeover=1\r\n", false},
    {UP CON ACC "Sec-WebSocket-Extensions: x-unknown\r\n", false},
};

static int answer_handshake(rota_stream *s, void *arg)
{
    const char *fields = arg;
    char text[512], accept[ROTA__WS_ACCEPT_LEN + 1] = "";
    rota_str head;
    int err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
    if (err < 0)
        return err;
    const char *key = memmem(head.ptr, head.len, "Sec-WebSocket-Key: ", 19);
    CHECK(key);
    if (rota__ws_key_accept((rota_str){key + 19, ROTA__WS_KEY_LEN}, accept) < 0)
        return -ENOMEM;
    size_t before = strcspn(fields, "@");
    int len =
        snprintf(text, sizeof text, "HTTP/1.1 101 Switching Protocols\r\n%.*s%s%s\r\n", (int)before,
                 fields, fields[before] ? accept : "", fields + before + !!fields[before]);
    err = rota_stream_write(s, text, (size_t)len);
    while (err == 0 && rota_stream_read(s, text, sizeof text) > 0)
        ;
    return err;
}

static int serve_answer(void *arg)
{
    struct host *host = arg;
    return rota_serve(host->listener, answer_handshake, (void *)host->options.headers, NULL);
}

static void hear_answer(struct host *host, const char *url)
{
    static const char *const protocols[] = {"chat", NULL};
    rota_websocket_options options = {.protocols = protocols, .closing = ROTA_MILLISECOND};
    ROTA_AUTO(rota_websocket) ws = NULL;
    int err = rota_websocket_connect(NULL, url, &options, &ws);
    if (host->is_good ? err < 0 : err != -EPROTO && err != ROTA_EPROTOCOL)
        FAIL("%s: %s", (const char *)host->options.headers, rota_strerror(err));
}

static int answers_in_task(__attribute__((unused)) void *arg)
{
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct host host = {.is_good = answers[i].is_good};
        host.options.headers = (const void *)answers[i].fields;
        with_server(serve_answer, &host, hear_answer);
    }
    return 0;
}

TEST(an_answer_to_a_handshake_is_checked)
{
    CHECK_OK(rota_run(answers_in_task, NULL));
}

static void be_refused(struct host *host, const char *url)
{
    (void)host;
    rota_websocket *ws = NULL;
    CHECK_INT(rota_websocket_connect(NULL, url, NULL, &ws), ==, -EPROTO);
    CHECK(strstr(rota_error(-EPROTO), url));
    CHECK_PTR(ws, ==, NULL);
}

static int clients_in_task(__attribute__((unused)) void *arg)
{
    static const char *const other_key[] = {"Sec-WebSocket-Accept",
                                            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", NULL};
    static const char *const none[] = {NULL};
    with_server(serve, &(struct host){0}, talk);
    with_server(serve, &(struct host){0}, ask_by_h2);
    with_server(serve_elsewhere, &(struct host){0}, be_refused);
    with_server(serve_oddly, &(struct host){.options.headers = other_key}, be_refused);
    with_server(serve_oddly, &(struct host){.options.headers = none}, be_refused);
    return 0;
}

TEST(clients_connect_or_are_told_why_not)
{
    long live = rota_test_allocations();
    CHECK_OK(rota_run(clients_in_task, NULL));
    CHECK_INT(rota_test_allocations(), ==, live);
}

static int handshakes_in_task(__attribute__((unused)) void *arg)
{
    struct host host = {0};
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &host.listener));
    ROTA_GROUP(g);
    host.options.closing = ROTA_SECOND;
    rota_group_spawn(&g, serve, &host);
    ROTA_TIMEOUT (PATIENCE) {
        handshakes(&host);
    }
    rota_group_cancel(&g);
    CHECK_INT(rota_group_wait(&g), ==, 0);
    rota_listener_free(host.listener);
    return 0;
}

TEST(handshakes_are_taken_or_answered)
{
    long live = rota_test_allocations();
    CHECK_OK(rota_run(handshakes_in_task, NULL));
    CHECK_INT(rota_test_allocations(), ==, live);
}
