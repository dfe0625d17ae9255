/* What hostile clients cannot do to others: fill the server with connections that say nothing, or
 * say it slowly. */
#include "certificates.h"
#include "harness.h"
#include "http_talk.h"

#include <rota.h>
#include <rota/http_server.h>

#include <arpa/inet.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define BYTES(s_)            \
    {                        \
        (s_), sizeof(s_) - 1 \
    }
#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

/* ---- Setting */

struct place {
    rota_http_serve_options options;
    rota_http_counters counters;
    rota_http_handler *handler; /* NULL: hello */
    int (*body)(struct place *place);
    void *arg;
    bool secure;     /* the server speaks TLS */
    bool real_clock; /* there is another process */

    rota_listener *listener;
};

static int hello(rota_http_request *r, void *arg)
{
    (void)arg;
    return rota_http_reply(r, 200, NULL, "hello", 5);
}

static int body_run(void *arg)
{
    struct place *place = arg;
    return place->body(place);
}

static int place_run(void *arg)
{
    struct place *place = arg;
    place->options.counters = &place->counters;
    struct http_place p = {.options = &place->options,
                           .handler = place->handler ? place->handler : hello,
                           .handler_arg = place->arg,
                           .body = body_run,
                           .body_arg = place,
                           .listener = &place->listener};
    return http_place_run(&p);
}

static void take_place(struct place *place)
{
    rota_loop_options options = {.virtual_clock = !place->real_clock};
    struct identity identity = {0};
    rota_tls_context *tls = NULL;
    int err = 0;
    if (place->secure) {
        identity = identity_new(NULL, &(struct wanted){0});
        rota_tls_options o = {.cert_pem = identity.cert_pem, .key_pem = identity.key_pem};
        err = rota_tls_context_new(&o, &tls);
        place->options.tls = tls;
    }
    if (err == 0)
        CHECK_OK(rota_run_with(place_run, place, &options));
    rota_tls_context_free(tls);
    if (place->secure)
        identity_free(&identity);
}

static int enter(struct place *place, rota_str first, rota_stream **ret_stream)
{
    int err = rota_tcp_connect("127.0.0.1", rota_listener_port(place->listener), NULL, ret_stream);
    return err == 0 && first.len ? rota_stream_write(*ret_stream, first.ptr, first.len) : err;
}

/* Sends a request and reads the whole reply. */
static int ask(rota_stream *s)
{
    rota_str head;
    char body[5];
    int err = rota_stream_write(s, GET, sizeof GET - 1);
    if (err == 0)
        err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
    if (err == 0)
        err = (int)rota_stream_read_exact(s, body, sizeof body);
    return err;
}

static int read_to_end(rota_stream *s, char *ret_text, size_t size)
{
    ssize_t n = 1;
    size_t len = 0;
    while (n > 0 && len < size - 1) {
        n = rota_stream_read(s, ret_text + len, size - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    }
    ret_text[len] = '\0';
    return (int)n;
}

/* Not for ever: where something fails, it never comes to that. */
static int until_open(struct place *place, size_t count)
{
    int err = 0;
    for (int i = 0; err == 0 && place->counters.open != count; i++)
        err = i < 1000 ? rota_sleep(ROTA_MILLISECOND) : -ETIMEDOUT;
    return err;
}

/* ---- The limit of connections */

struct crowd {
    rota_str first; /* what each of them says */
    bool asks;      /* it has had a request */
};

/* Four connections fill the server; then a fifth sends a request. */
static int crowd_body(struct place *place)
{
    const struct crowd *crowd = place->arg;
    rota_stream *streams[4] = {NULL}, *s = NULL;
    char byte;
    int err = 0;
    for (size_t i = 0; err == 0 && i < COUNT(streams); i++) {
        err = enter(place, crowd->first, &streams[i]);
        if (err == 0 && crowd->asks)
            err = ask(streams[i]);
        if (err == 0)
            err = until_open(place, i + 1);
        if (err == 0)
            err = rota_sleep(10 * ROTA_MILLISECOND);
    }
    rota_time began = rota_now();
    if (err == 0)
        err = enter(place, (rota_str){"", 0}, &s);
    if (err == 0 && !place->secure)
        err = ask(s);
    if (err == 0) /* one that does not ask gets in when another has rested for a second */
        err = rota_sleep(place->secure ? 1100 * ROTA_MILLISECOND : 10 * ROTA_MILLISECOND);
    if (err == 0) {
        CHECK_INT(rota_now() - began, <, 2 * ROTA_SECOND);
        CHECK_INT(place->counters.evicted, ==, 1);
        CHECK_INT(place->counters.open, ==, 4);
        ROTA_TIMEOUT (ROTA_SECOND) { /* the first one has left, perhaps with a GOAWAY */
            while ((err = (int)rota_stream_read(streams[0], &byte, 1)) > 0)
                ;
        }
        CHECK_INT(err, ==, 0);
    }
    rota_stream_free(s);
    for (size_t i = 0; i < COUNT(streams); i++)
        rota_stream_free(streams[i]);
    return err;
}

static void fill_with(struct crowd crowd, bool secure)
{
    struct place place = {.body = crowd_body, .arg = &crowd, .options.connections = 4};
    place.secure = secure;
    take_place(&place);
}

/* More than there may be come at once, and take a moment before they ask. */
static int burst_body(struct place *place)
{
    rota_stream *streams[12] = {NULL};
    int err = 0;
    for (size_t i = 0; err == 0 && i < COUNT(streams); i++)
        err = enter(place, (rota_str){"", 0}, &streams[i]);
    if (err == 0)
        err = rota_sleep(50 * ROTA_MILLISECOND);
    for (size_t i = 0; i < COUNT(streams); i++) {
        if (err == 0)
            err = ask(streams[i]);
        rota_stream_free(streams[i]);
    }
    if (err == 0)
        CHECK_INT(place->counters.evicted, ==, 0);
    return err;
}

TEST_BOTH(a_burst_of_clients_is_served_one_after_another)
{
    struct place place = {.body = burst_body, .options.connections = 4};
    take_place(&place);
}

TEST_BOTH(clients_that_say_nothing_do_not_keep_others_out)
{
    fill_with((struct crowd){.first = BYTES("")}, false);
}

TEST_BOTH(clients_that_say_half_do_not_keep_others_out)
{
    fill_with((struct crowd){.first = BYTES("GET / HTTP/1.1\r\n")}, false);
    fill_with((struct crowd){.first = BYTES("PRI * HTTP/2")}, false);
}

TEST_BOTH(clients_that_idle_do_not_keep_others_out)
{
    fill_with((struct crowd){.asks = true}, false);
    fill_with((struct crowd){.first = BYTES(PREFACE)}, false);
}

TEST_BOTH(handshakes_that_stop_do_not_keep_others_out)
{
    fill_with((struct crowd){.first = BYTES("")}, true);
    fill_with((struct crowd){.first = BYTES("\x16\3\1")}, true);
}

/* The rest of a refused request: the server waits for the client to close. */
TEST_BOTH(clients_that_do_not_close_do_not_keep_others_out)
{
    fill_with((struct crowd){.first = BYTES("BAD\r\n\r\n")}, false);
}

static int slowly(rota_http_request *r, void *arg)
{
    int err = rota_sleep(20 * ROTA_SECOND);
    return err < 0 ? err : hello(r, arg);
}

static int busy_body(struct place *place)
{
    rota_stream *busy = NULL, *late = NULL;
    int err = enter(place, (rota_str)BYTES(GET), &busy);
    if (err == 0)
        err = rota_sleep(ROTA_SECOND);
    if (err == 0)
        err = enter(place, (rota_str){"", 0}, &late);
    if (err == 0)
        err = ask(late);
    if (err == 0) {
        CHECK_INT(rota_now() / ROTA_SECOND, ==, 41);
        CHECK_INT(place->counters.evicted, ==, 1);
        CHECK_INT(place->counters.status[2], ==, 2);
    }
    rota_stream_free(busy);
    rota_stream_free(late);
    return err;
}

/* It is let in when that has become idle, and closed for it. */
TEST_BOTH(a_client_waits_for_those_that_have_requests)
{
    struct place place = {.body = busy_body, .handler = slowly, .options.connections = 1};
    take_place(&place);
}

static int waiting_body(struct place *place)
{
    rota_stream *busy = NULL, *late = NULL;
    char byte;
    int err = enter(place, (rota_str)BYTES(GET), &busy);
    if (err == 0)
        err = enter(place, (rota_str){"", 0}, &late);
    if (err == 0)
        err = rota_sleep(ROTA_SECOND);
    rota_listener_close(place->listener);
    if (err == 0)
        CHECK_INT(rota_stream_read(late, &byte, 1), ==, 0);
    rota_stream_free(busy);
    rota_stream_free(late);
    return err;
}

TEST_BOTH(a_client_that_waits_hears_of_the_end_at_once)
{
    struct place place = {.body = waiting_body, .handler = slowly, .options.connections = 1};
    place.options.grace = ROTA_MINUTE;
    take_place(&place);
    CHECK_INT(place.counters.requests, ==, 1);
}

/* ---- The default */

#define DEFAULT_CONNECTIONS 10000

/* In a process of its own, because both ends together are more descriptors than most machines let
 * one have. */
static pid_t begin_crowd(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    to.sin_port = htons((uint16_t)port);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    for (int i = 0; i <= DEFAULT_CONNECTIONS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
            _exit(1);
    }
    pause();
    _exit(0);
}

static int default_body(struct place *place)
{
    pid_t crowd = begin_crowd(rota_listener_port(place->listener));
    CHECK_INT(crowd, >, 0);
    int err = 0;
    while (err == 0 && place->counters.connections < DEFAULT_CONNECTIONS + 1) {
        CHECK_INT(place->counters.evicted, ==, 0);
        CHECK_INT(waitpid(crowd, NULL, WNOHANG), ==, 0);
        err = rota_sleep(ROTA_MILLISECOND);
    }
    while (err == 0 && place->counters.evicted == 0)
        err = rota_sleep(ROTA_MILLISECOND);
    while (err == 0 && place->counters.open < DEFAULT_CONNECTIONS)
        err = rota_sleep(ROTA_MILLISECOND);
    if (err == 0)
        CHECK_INT(place->counters.evicted, ==, 1);
    kill(crowd, SIGKILL);
    waitpid(crowd, NULL, 0);
    return err;
}

TEST_WITH(ten_thousand_connections_are_open_at_once_by_default, .seconds = 60,
          .both_backends = true, .without_faults = true)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_max < DEFAULT_CONNECTIONS + 100 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
        SKIP("needs %d descriptors", DEFAULT_CONNECTIONS + 100);
    struct place place = {.body = default_body, .options.head_time = ROTA_NEVER};
    place.options.idle = ROTA_NEVER;
    place.real_clock = true;
    take_place(&place);
}

/* ---- Time for the first head */

struct silence {
    rota_str first;
    rota_time pause; /* before `first` */
    const char *reply;
    rota_time took;
};

static int silence_body(struct place *place)
{
    const struct silence *silence = place->arg;
    ROTA_AUTO(rota_stream) s = NULL;
    char text[1000];
    int err = enter(place, (rota_str){"", 0}, &s);
    rota_time began = rota_now();
    if (err == 0 && silence->pause)
        err = rota_sleep(silence->pause);
    if (err == 0)
        err = rota_stream_write(s, silence->first.ptr, silence->first.len);
    if (err == 0)
        err = read_to_end(s, text, sizeof text);
    if (err == 0) {
        CHECK_INT((rota_now() - began + 50 * ROTA_MILLISECOND) / ROTA_SECOND, ==,
                  silence->took / ROTA_SECOND);
        CHECK(strncmp(text, silence->reply, strlen(silence->reply)) == 0);
    }
    return err;
}

static void be_silent(struct silence silence, bool secure)
{
    struct place place = {.body = silence_body, .arg = &silence, .secure = secure};
    take_place(&place);
}

TEST_BOTH(a_client_that_says_nothing_is_closed_in_time_for_a_head)
{
    be_silent((struct silence){.reply = "", .took = 10 * ROTA_SECOND}, false);
    be_silent((struct silence){.reply = "", .took = 10 * ROTA_SECOND}, true);
    be_silent((struct silence){.first = BYTES("\x16\3\1"), .reply = "", .took = 10 * ROTA_SECOND},
              true);
}

TEST_BOTH(the_first_head_has_its_time_from_the_beginning)
{
    be_silent((struct silence){.first = BYTES("GET / HTTP/1.1\r\n"),
                               .pause = 6 * ROTA_SECOND,
                               .reply = "HTTP/1.1 408 ",
                               .took = 10 * ROTA_SECOND},
              false);
    be_silent((struct silence){.first = BYTES("PRI * HT"),
                               .pause = 6 * ROTA_SECOND,
                               .reply = "HTTP/1.1 408 ",
                               .took = 10 * ROTA_SECOND},
              false);
}

TEST_BOTH(a_connection_of_http_2_without_a_request_is_closed_in_time_for_a_head)
{
    be_silent((struct silence){.first = BYTES(PREFACE),
                               .pause = 6 * ROTA_SECOND,
                               .reply = "",
                               .took = 10 * ROTA_SECOND},
              false);
}

/* ---- Heads of HTTP/2 */

/* Whole, and behind it one that stops coming. */
#define POST "\0\0\6\1\4\0\0\0\1\x83\x86\x84\x41\1a"
#define HALF_FRAME "\0\0\6\1\5\0\0\0\3\x82\x86"
#define HALF_HEAD "\0\0\2\1\1\0\0\0\3\x82\x86"
#define ENHANCE_YOUR_CALM "\0\0\0\x0b"

struct half {
    rota_str bytes;
};

static int half_body(struct place *place)
{
    const struct half *half = place->arg;
    ROTA_AUTO(rota_stream) s = NULL;
    char got[1000];
    ssize_t n = 1;
    size_t len = 0;
    int err = enter(place, half->bytes, &s);
    rota_time began = rota_now();
    while (err == 0 && n > 0 && len < sizeof got) {
        n = rota_stream_read(s, got + len, sizeof got - len);
        len += n > 0 ? (size_t)n : 0;
    }
    if (err == 0) {
        CHECK_INT((rota_now() - began + 50 * ROTA_MILLISECOND) / ROTA_SECOND, ==, 10);
        CHECK(memmem(got, len, ENHANCE_YOUR_CALM, 4));
    }
    return err;
}

static int wait_long(rota_http_request *r, void *arg)
{
    (void)r;
    (void)arg;
    return rota_sleep(ROTA_NEVER);
}

TEST_BOTH(a_head_of_http_2_has_a_time)
{
    struct half halves[] = {{BYTES(PREFACE POST HALF_FRAME)}, {BYTES(PREFACE POST HALF_HEAD)}};
    for (size_t i = 0; i < COUNT(halves); i++) {
        struct place place = {.body = half_body, .handler = wait_long, .arg = &halves[i]};
        take_place(&place);
    }
}

/* Each read ends in the middle of a head; none of them is slow. */
static int chopped_body(struct place *place)
{
    ROTA_AUTO(rota_stream) s = NULL;
    char frame[] = "\0\0\6\1\5\0\0\0\3\x82\x86\x84\x41\1a";
    int err = enter(place, (rota_str)BYTES(PREFACE "\0\0\6\1\5\0\0\0\1\x82\x86"), &s);
    for (int id = 3; err == 0 && id < 33; id += 2) {
        err = rota_sleep(2 * ROTA_SECOND);
        frame[8] = (char)id;
        if (err == 0)
            err = rota_stream_write(s, "\x84\x41\1a", 4);
        if (err == 0)
            err = rota_stream_write(s, frame, 11);
    }
    if (err == 0)
        CHECK_INT(place->counters.requests, >=, 14);
    return err;
}

TEST_BOTH(a_head_of_http_2_does_not_inherit_the_time_of_the_one_before_it)
{
    struct place place = {.body = chopped_body};
    take_place(&place);
}

/* ---- The limit by address */

static int connect_from(struct place *place, const char *from, rota_stream **ret_stream)
{
    rota_connect_options options = {.bind = from};
    return rota_tcp_connect("127.0.0.1", rota_listener_port(place->listener), &options, ret_stream);
}

static int address_body(struct place *place)
{
    rota_stream *streams[3] = {NULL}, *other = NULL;
    char byte;
    int err = 0;
    for (size_t i = 0; err == 0 && i < COUNT(streams); i++)
        err = connect_from(place, "127.0.0.1", &streams[i]);
    if (err == 0) {
        ROTA_TIMEOUT (ROTA_SECOND) {
            err = (int)rota_stream_read(streams[2], &byte, 1);
        }
        CHECK_INT(err, ==, -ECONNRESET);
        CHECK_INT(place->counters.turned_away, ==, 1);
        CHECK_INT(place->counters.open, ==, 2);
        err = ask(streams[1]);
    }
    if (err == 0)
        err = connect_from(place, "127.0.0.2", &other);
    if (err == 0)
        err = ask(other);
    streams[0] = rota_stream_free(streams[0]);
    streams[2] = rota_stream_free(streams[2]);
    if (err == 0)
        err = until_open(place, 2);
    if (err == 0)
        err = connect_from(place, "127.0.0.1", &streams[0]);
    if (err == 0)
        err = ask(streams[0]);
    rota_stream_free(other);
    for (size_t i = 0; i < COUNT(streams); i++)
        rota_stream_free(streams[i]);
    return err;
}

TEST_BOTH(an_address_has_no_more_connections_than_it_may)
{
    struct place place = {.body = address_body, .options.connections_per_address = 2};
    take_place(&place);
}

/* ---- Clients that take nothing */

static int send_much(rota_http_request *r, void *arg)
{
    static char zeros[65536];
    int err = rota_http_start(r, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
    (void)arg;
    while (err == 0)
        err = rota_http_write(r, zeros, sizeof zeros);
    return err;
}

struct stall {
    rota_str request;
};

static int stall_body(struct place *place)
{
    const struct stall *stall = place->arg;
    ROTA_AUTO(rota_stream) s = NULL;
    static char ignored[65536];
    ssize_t n = 1;
    int err = enter(place, stall->request, &s);
    if (err == 0)
        err = rota_sleep(ROTA_MINUTE);
    if (err == 0)
        CHECK_INT(place->counters.open, ==, 0);
    while (err == 0 && n > 0)
        n = rota_stream_read(s, ignored, sizeof ignored);
    if (err == 0)
        CHECK_INT(n, ==, -ECONNRESET);
    return err;
}

/* So that the kernel does not keep what it did not take. */
TEST_BOTH(a_client_that_takes_nothing_is_reset)
{
    struct stall stalls[] = {
        {BYTES(GET)},
        {BYTES(PREFACE "\0\0\4\x08\0\0\0\0\0\x7f\xff\0\0"
                       "\0\0\x06\4\0\0\0\0\0\0\4\x7f\xff\xff\xff"
                       "\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1a")},
    };
    for (size_t i = 0; i < COUNT(stalls); i++) {
        struct place place = {.body = stall_body, .handler = send_much, .arg = &stalls[i]};
        take_place(&place);
    }
}
