#include "base/alloc.h"
#include "base/fault.h"
#include "net/net.h"
#include "net/race.h"

#include "beside.h"
#include "clean_run.h"
#include "ends.h"

#include <rota/dgram.h>
#include <rota/exec.h>
#include <rota/net.h>

#include <netinet/tcp.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- Setting */

/* What the library reported, one line each. */
static char reports[8192];

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    size_t used = strlen(reports);
    if (level >= *(rota_log_level *)arg)
        snprintf(reports + used, sizeof reports - used, "%s\n", message);
}

static void keep_reports(rota_log_level from)
{
    static rota_log_level level;
    level = from;
    reports[0] = '\0';
    rota_log_set(keep_report, &level);
}

static int count_reports(const char *what)
{
    int n = 0;
    for (const char *p = reports; (p = strstr(p, what)); p++)
        n++;
    return n;
}

static rota_listener *listen_on(const char *host)
{
    rota_listener *l;
    CHECK_INT(rota_tcp_listen(host, 0, NULL, &l), ==, 0);
    return l;
}

static rota_stream *connect_to(const rota_listener *l)
{
    rota_stream *s;
    CHECK_INT(rota_tcp_connect("127.0.0.1", rota_listener_port(l), NULL, &s), ==, 0);
    return s;
}

static bool have_v6(void)
{
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool have = fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0;
    close(fd);
    return have;
}

static void require_v6(void)
{
    if (!have_v6())
        SKIP("no IPv6 here");
}

/* A service in a task of its own. */
struct service {
    rota_listener *listener;
    rota_serve_fn *handler;
    void *arg;
    rota_serve_options options;
    rota_task *task;
};

static int service_run(void *arg)
{
    struct service *s = arg;
    return rota_serve(s->listener, s->handler, s->arg, &s->options);
}

static void service_start(struct service *s)
{
    CHECK_OK(rota_spawn(service_run, s, &s->task));
}

static int service_stop(struct service *s)
{
    rota_task_cancel(s->task);
    int result = rota_join(s->task);
    rota_listener_free(s->listener);
    return result;
}

static void ask(rota_stream *s, const char *text)
{
    char reply[64];
    size_t len = strlen(text);
    CHECK_INT(rota_stream_write(s, text, len), ==, 0);
    CHECK_INT(rota_stream_read_exact(s, reply, len), ==, 0);
    CHECK_MEM(reply, text, len);
}

/* ---- An abrupt end */

static void end_abruptly(bool corked)
{
    rota_listener *l = listen_on("127.0.0.1");
    rota_stream *client = connect_to(l), *server;
    char byte;
    CHECK_OK(rota_accept(l, &server));
    if (corked)
        rota_stream_cork(server);
    CHECK_OK(rota_stream_write(server, "x", 1));
    rota_stream_abort(server);
    CHECK_INT(rota_stream_write(server, "y", 1), ==, -EPIPE);
    rota_stream_free(server);
    if (!corked)
        CHECK_INT(rota_stream_read(client, &byte, 1), ==, 1);
    CHECK_INT(rota_stream_read(client, &byte, 1), ==, -ECONNRESET);
    rota_stream_free(client);
    rota_listener_free(l);
}

TASK_TEST(a_stream_that_is_aborted_resets_its_connection)
{
    end_abruptly(false);
    end_abruptly(true);
}

TASK_TEST(a_stream_may_be_aborted_at_any_time)
{
    rota_stream *one, *other;
    CHECK_OK(rota_stream_pair(0, &one, &other));
    rota_stream_abort(one);
    rota_stream_close(one);
    rota_stream_abort(one);
    rota_stream_free(one);
    rota_stream_free(other);
}

/* ---- The snippet of the header */

static int serve(void *arg)
{
    ROTA_AUTO(rota_listener) l = NULL;
    int err = rota_tcp_listen("localhost", 0, NULL, &l);
    if (err < 0)
        return err;
    *(int *)arg = rota_listener_port(l);
    return rota_serve(l, echo, NULL, NULL); // one task for each connection, until cancelled
}

static int ask_snippet(int port, char *ret_reply, size_t len)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_tcp_connect("localhost", port, NULL, &s);
    if (err == 0)
        err = rota_stream_write(s, "hello", 5);
    return err < 0 ? err : rota_stream_read_exact(s, ret_reply, len);
}

TASK_TEST(the_snippet_of_the_header_works)
{
    int port = 0;
    char reply[6] = "";
    rota_task *server;
    CHECK_OK(rota_spawn(serve, &port, &server));
    while (!port && !rota_task_done(server))
        CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(ask_snippet(port, reply, 5), ==, 0);
    CHECK_STR(reply, "hello");
    rota_task_cancel(server);
    CHECK_INT(rota_join(server), ==, -ECANCELED);
}

/* ---- Names */

static int lookup_never(const char *host, rota_address *ret_addresses, size_t max)
{
    FAIL("looked up %s", host);
}

static void check_resolves(const char *host, const char *expected)
{
    rota_address a[8];
    char text[ROTA_ADDRESS_TEXT];
    CHECK_INT(rota_resolve(host, 80, a, 8), >=, 1);
    CHECK_STR(rota_address_text(&a[0], text), expected);
}

TASK_TEST(literals_and_localhost_are_answered_without_a_lookup)
{
    rota_address a[2];
    char text[ROTA_ADDRESS_TEXT];
    rota__lookup = lookup_never;
    check_resolves("192.0.2.7", "192.0.2.7:80");
    check_resolves("::1", "[::1]:80");
    check_resolves("2001:db8::5", "[2001:db8::5]:80");
    check_resolves("fe80::1%lo", "[fe80::1%lo]:80");
    check_resolves("fe80::1%1", "[fe80::1%lo]:80");
    check_resolves("fe80::1%4000000000", "[fe80::1%4000000000]:80");
    check_resolves("localhost", "127.0.0.1:80");
    check_resolves("LocalHost.", "127.0.0.1:80");
    check_resolves("any.localhost", "127.0.0.1:80");
    CHECK_INT(rota_resolve("localhost", 80, a, 2), ==, 2);
    CHECK_STR(rota_address_text(&a[1], text), "[::1]:80");
    CHECK_INT(rota_resolve("localhost", 80, a, 1), ==, 1);
    CHECK_INT(rota_resolve("", 80, a, 1), ==, -EINVAL);
    CHECK_INT(rota_resolve("[::1]", 80, a, 1), ==, -EINVAL);
    CHECK_INT(rota_resolve(NULL, 80, a, 1), ==, -EINVAL);
    CHECK_INT(rota_resolve("::1", 65536, a, 1), ==, -EINVAL);
    CHECK_INT(rota_resolve("::1", -1, a, 1), ==, -EINVAL);
    CHECK_INT(rota_resolve("::1", 80, a, 0), ==, -EINVAL);
}

static int lookup_two(const char *host, rota_address *ret_addresses, size_t max)
{
    CHECK_STR(host, "two.example");
    CHECK_OK(rota__address_parse("127.0.0.1", 0, &ret_addresses[0]));
    CHECK_OK(rota__address_parse("::1", 0, &ret_addresses[1]));
    return 2;
}

TASK_TEST(a_name_gives_all_its_addresses_as_far_as_there_is_room)
{
    rota_address a[4];
    char text[ROTA_ADDRESS_TEXT];
    rota__lookup = lookup_two;
    CHECK_INT(rota_resolve("two.example", 7, a, 4), ==, 2);
    CHECK_STR(rota_address_text(&a[0], text), "127.0.0.1:7");
    CHECK_STR(rota_address_text(&a[1], text), "[::1]:7");
    CHECK_INT(rota_resolve("two.example", 7, a, 1), ==, 1);
}

static int lookup_none(const char *host, rota_address *ret_addresses, size_t max)
{
    return ROTA_ENOHOST;
}

static int lookup_later(const char *host, rota_address *ret_addresses, size_t max)
{
    return ROTA_EDNS;
}

TASK_TEST(an_unknown_host_is_ENOHOST_and_the_report_names_it)
{
    rota_address a;
    rota_stream *s;
    rota_listener *l;
    char longest[300];
    keep_reports(ROTA_LOG_INFO);
    int err = rota_resolve("no-such-host.invalid", 80, &a, 1);
    CHECK(err == ROTA_ENOHOST || err == ROTA_EDNS);
    rota__lookup = lookup_none;
    CHECK_INT(rota_tcp_connect("nobody.example", 80, NULL, &s), ==, ROTA_ENOHOST);
    CHECK(strstr(reports, "connect to nobody.example: unknown host"));
    CHECK_INT(rota_tcp_listen("nobody.example", 0, NULL, &l), ==, ROTA_ENOHOST);
    CHECK(strstr(reports, "listen on nobody.example: unknown host"));
    rota__lookup = lookup_later;
    CHECK_INT(rota_resolve("nobody.example", 80, &a, 1), ==, ROTA_EDNS);
    CHECK(strstr(rota_error(ROTA_EDNS), "look up nobody.example: "));
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    CHECK_INT(rota_resolve(longest, 80, &a, 1), ==, ROTA_ENOHOST);
}

static int lookup_anything(const char *host, rota_address *ret_addresses, size_t max)
{
    rota__address_parse("127.0.0.1", 0, &ret_addresses[0]);
    return 1;
}

TASK_TEST(odd_spellings_of_an_address_are_not_looked_up)
{
    static const char *const refused[] = {"127.1",      "0x7f.1",      "0x7f000001", "017700000001",
                                          "127.0.0.1.", "1.2.3.4.5",   "0177.0.0.1", "256.1.1.1",
                                          "name.1",     "a%2eexample", "a..b",       "a b",
                                          "[::1",       "::g",         "a\\b"};
    static const char *const looked_up[] = {"127.example",  "0x7f.example", "b\303\274cher.example",
                                            "_srv.example", "dead.beef",    "example."};
    rota_address a;
    rota_stream *s;
    rota__lookup = lookup_anything;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        CHECK_INT(rota_resolve(refused[i], 80, &a, 1), ==, -EINVAL);
    for (size_t i = 0; i < sizeof looked_up / sizeof *looked_up; i++)
        CHECK_INT(rota_resolve(looked_up[i], 80, &a, 1), ==, 1);
    CHECK_INT(rota_tcp_connect("127.1", 80, NULL, &s), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "look up 127.1: not a valid host name or address");
}

static sem_t lookup_gate;

static int lookup_slow(const char *host, rota_address *ret_addresses, size_t max)
{
    while (sem_wait(&lookup_gate) < 0)
        ;
    return ROTA_ENOHOST;
}

static int resolve_task(void *arg)
{
    rota_address a;
    return rota_resolve("slow.example", 80, &a, 1);
}

static int slow_lookup_main(void *arg)
{
    rota_task *task;
    int err = 0;
    rota_address a;
    sem_init(&lookup_gate, 0, 0);
    rota__lookup = lookup_slow;
    CHECK_OK(rota_spawn(resolve_task, NULL, &task));
    CHECK_INT(rota_sleep(5 * ROTA_MILLISECOND), ==, 0); /* the loop goes on meanwhile */
    CHECK(!rota_task_done(task));
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    ROTA_TIMEOUT (5 * ROTA_MILLISECOND)
        err = rota_resolve("slow.example", 80, &a, 1);
    CHECK_INT(err, ==, -ETIMEDOUT);
    sem_post(&lookup_gate);
    sem_post(&lookup_gate);
    return 0;
}

/* The loop does not wait for the threads that were given up: nothing can be said yet about what
 * they leave. */
TEST(a_slow_lookup_can_be_cancelled_and_holds_nobody_up)
{
    CHECK_OK(rota_run(slow_lookup_main, NULL));
}

/* ---- Lookups that hang (rule 23) */

/* Names that begin with "hang" take ten seconds of the loop's clock, others no time. */
static atomic_int lookups;

static int lookup_hanging(const char *host, rota_address *ret_addresses, size_t max)
{
    lookups++;
    if (strncasecmp(host, "hang", 4) == 0)
        rota_blocking_sleep(10 * ROTA_SECOND);
    CHECK_OK(rota__address_parse("127.0.0.1", 0, &ret_addresses[0]));
    return 1;
}

static int resolve_name(void *arg)
{
    rota_address a;
    return rota_resolve(arg, 80, &a, 1);
}

static int give_up(void *arg)
{
    int err = 0;
    ROTA_TIMEOUT (10 * ROTA_MILLISECOND)
        err = resolve_name(arg);
    return err;
}

/* Starts many lookups that hang, each of another name. */
static void hang_many(rota_group *group, char names[][16], int count, rota_fn *fn)
{
    lookups = 0;
    rota__lookup = lookup_hanging;
    for (int i = 0; i < count; i++) {
        snprintf(names[i], 16, "hang%d.test", i);
        rota_group_spawn(group, fn, names[i]);
    }
    CHECK_OK(rota_sleep(ROTA_MILLISECOND));
}

static int answer_at_once(void *arg)
{
    return 7;
}

VIRTUAL_TASK_TEST(lookups_that_hang_take_no_thread_of_other_jobs)
{
    static char names[60][16];
    ROTA_GROUP(group);
    hang_many(&group, names, 60, resolve_name);
    rota_time start = rota_now();
    CHECK_INT(rota_to_thread(answer_at_once, NULL), ==, 7);
    CHECK_INT(rota_now(), ==, start);
    CHECK_OK(rota_group_wait(&group));
}

VIRTUAL_TASK_TEST(lookups_that_hang_delay_others_for_moments_only)
{
    static char names[60][16];
    ROTA_GROUP(group);
    hang_many(&group, names, 60, resolve_name);
    rota_time start = rota_now();
    CHECK_INT(resolve_name((char[]){"quick.test"}), ==, 1);
    CHECK_INT(rota_now() - start, <, ROTA_SECOND);
    CHECK_OK(rota_group_wait(&group));
    CHECK_INT(rota_now() - start, <, 11 * ROTA_SECOND);
}

VIRTUAL_TASK_TEST(lookups_that_were_given_up_delay_nobody)
{
    static char names[100][16];
    ROTA_GROUP(group, .policy = ROTA_GROUP_COLLECT);
    hang_many(&group, names, 100, give_up);
    ROTA_IGNORE(rota_group_wait(&group));
    rota_time start = rota_now();
    CHECK_INT(resolve_name((char[]){"quick.test"}), ==, 1);
    CHECK_INT(rota_now(), ==, start);
    CHECK_INT(rota_to_thread(answer_at_once, NULL), ==, 7);
    CHECK_INT(rota_now(), ==, start);
}

VIRTUAL_TASK_TEST(equal_lookups_under_way_are_one)
{
    char lower[] = "hanging.test", mixed[] = "Hanging.Test";
    rota_task *first, *second;
    rota__lookup = lookup_hanging;
    lookups = 0;
    CHECK_OK(rota_spawn(resolve_name, lower, &first));
    CHECK_OK(rota_spawn(resolve_name, mixed, &second));
    CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    CHECK_INT(lookups, ==, 1);
    rota_task_cancel(first);
    CHECK_INT(rota_join(first), ==, -ECANCELED);
    rota_time start = rota_now();
    CHECK_INT(resolve_name((char[]){"hanging.test"}), ==, 1);
    CHECK_INT(rota_now() - start, <, 10 * ROTA_SECOND);
    CHECK_INT(rota_join(second), ==, 1);
    CHECK_INT(lookups, ==, 1);
    CHECK_INT(resolve_name((char[]){"hanging.test"}), ==, 1);
    CHECK_INT(lookups, ==, 2);
}

VIRTUAL_TASK_TEST(nobody_joins_a_lookup_that_was_given_up)
{
    rota__lookup = lookup_hanging;
    lookups = 0;
    CHECK_INT(give_up((char[]){"hanging.test"}), ==, -ETIMEDOUT);
    CHECK_INT(resolve_name((char[]){"hanging.test"}), ==, 1);
    CHECK_INT(lookups, ==, 2);
}

/* ---- Connecting */

/* Addresses for the name that the lookup below answers. */
static const char *racing[4];

static int lookup_racing(const char *host, rota_address *ret_addresses, size_t max)
{
    int n = 0;
    for (; n < 4 && racing[n]; n++)
        CHECK_OK(rota__address_parse(racing[n], 0, &ret_addresses[n]));
    return n;
}

static void race(const char *a, const char *b, const char *c)
{
    rota__lookup = lookup_racing;
    racing[0] = a;
    racing[1] = b;
    racing[2] = c;
}

static int plain_socket(const char *host, int port)
{
    rota_address a;
    CHECK_OK(rota__address_parse(host, port, &a));
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
    CHECK_OK(bind(fd, &a.any, a.len));
    return fd;
}

static int port_of(int fd)
{
    rota_address a = {.len = sizeof a.v6};
    CHECK_OK(getsockname(fd, &a.any, &a.len));
    return ntohs(a.v4.sin_port);
}

/* A port that is taken, so that nobody else listens there, and on which nobody answers: refused. */
static int refusing_port(const char *host, int *ret_fd)
{
    *ret_fd = plain_socket(host, 0);
    return port_of(*ret_fd);
}

/* An address that neither accepts nor answers: a listener whose backlog is full. */
struct silence {
    int listener, filler[8];
};

static void silence_begin(struct silence *s, const char *host, int port)
{
    rota_address a;
    s->listener = plain_socket(host, port);
    CHECK_OK(listen(s->listener, 0));
    CHECK_OK(rota__address_parse(host, port_of(s->listener), &a));
    for (int i = 0; i < 8; i++) {
        s->filler[i] = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(s->filler[i], &a.any, a.len);
    }
}

static void silence_end(struct silence *s)
{
    for (int i = 0; i < 8; i++)
        close(s->filler[i]);
    close(s->listener);
}

TASK_TEST(a_refused_connection_is_ECONNREFUSED_and_the_report_names_the_address)
{
    int holder, port = refusing_port("127.0.0.1", &holder);
    char expected[200];
    rota_stream *s = NULL;
    keep_reports(ROTA_LOG_INFO);
    CHECK_INT(rota_tcp_connect("127.0.0.1", port, NULL, &s), ==, -ECONNREFUSED);
    CHECK_PTR(s, ==, NULL);
    snprintf(expected, sizeof expected, "connect to 127.0.0.1:%d: Connection refused\n", port);
    CHECK_STR(reports, expected);
    rota_connect_options options = {.bind = "no literal"};
    CHECK_INT(rota_tcp_connect("127.0.0.1", port, &options, &s), ==, -EINVAL);
    snprintf(expected, sizeof expected,
             "connect to 127.0.0.1:%d: bind to \"no literal\" (option bind): Invalid argument",
             port);
    CHECK_STR(rota_error(-EINVAL), expected);
    options = (rota_connect_options){.bind_port = port};
    CHECK_INT(rota_tcp_connect("127.0.0.1", port, &options, &s), ==, -EADDRINUSE);
    snprintf(expected, sizeof expected,
             "connect to 127.0.0.1:%d: bind to port %d (option bind_port): Address already in use",
             port, port);
    CHECK_STR(rota_error(-EADDRINUSE), expected);
    options.bind = "127.0.0.1";
    CHECK_INT(rota_tcp_connect("127.0.0.1", port, &options, &s), ==, -EADDRINUSE);
    CHECK(strstr(rota_error(-EADDRINUSE), ": bind to \"127.0.0.1\" and port "));
    CHECK_INT(rota_tcp_connect("127.0.0.1", 70000, NULL, &s), ==, -EINVAL);
    close(holder);
}

VIRTUAL_TASK_TEST(families_take_turns_and_a_failure_starts_the_next_attempt_at_once)
{
    require_v6();
    int holder, port = refusing_port("127.0.0.1", &holder);
    char expected[200];
    rota_stream *s;
    rota_time start = rota_now();
    race("127.0.0.2", "127.0.0.3", "::1");
    keep_reports(ROTA_LOG_INFO);
    CHECK_INT(rota_tcp_connect("racing.example", port, NULL, &s), ==, -ECONNREFUSED);
    snprintf(expected, sizeof expected,
             "connect to 127.0.0.2:%d: Connection refused\n"
             "connect to [::1]:%d: Connection refused\n"
             "connect to 127.0.0.3:%d: Connection refused\n",
             port, port, port);
    CHECK_STR(reports, expected);
    CHECK_INT(rota_now(), ==, start); /* a failure starts the next one at once */
    close(holder);
}

TASK_TEST(addresses_that_are_known_are_tried_in_turn)
{
    rota_listener *l = listen_on("127.0.0.3");
    rota_address known[2];
    rota_stream *s = NULL;
    CHECK_OK(rota__address_parse("127.0.0.2", rota_listener_port(l), &known[0]));
    CHECK_OK(rota__address_parse("127.0.0.3", rota_listener_port(l), &known[1]));
    CHECK_INT(rota_tcp_connect_any(known, 0, NULL, &s), ==, -EINVAL);
    CHECK_INT(rota_tcp_connect_any(known, 1, NULL, &s), ==, -ECONNREFUSED);
    CHECK_INT(rota_tcp_connect_any(known, 2, NULL, &s), ==, 0);
    CHECK_MEM(rota_stream_peer(s), "127.0.0.3:", 10);
    rota_stream_free(s);
    rota_listener_free(l);
}

VIRTUAL_TASK_TEST(an_address_that_does_not_answer_for_250_ms_gets_a_rival)
{
    struct silence silence;
    rota_listener *l = listen_on("127.0.0.3");
    rota_stream *s;
    silence_begin(&silence, "127.0.0.2", rota_listener_port(l));
    int fds = test_open_fds();
    race("127.0.0.2", "127.0.0.3", NULL);
    rota_time start = rota_now();
    int err = 0;
    ROTA_TIMEOUT (ROTA_MINUTE)
        err = rota_tcp_connect("racing.example", rota_listener_port(l), NULL, &s);
    CHECK_INT(err, ==, 0);
    CHECK_INT(rota_now() - start, ==, 250 * ROTA_MILLISECOND);
    CHECK(strncmp(rota_stream_peer(s), "127.0.0.3:", 10) == 0);
    CHECK_INT(test_open_fds(), ==, fds + 1); /* the loser is gone */
    rota_stream_free(s);
    silence_end(&silence);
    rota_listener_free(l);
}

static int connect_task(void *arg)
{
    rota_stream *s = NULL;
    int err = rota_tcp_connect("racing.example", *(int *)arg, NULL, &s);
    rota_stream_free(s);
    return err;
}

VIRTUAL_TASK_TEST(a_connect_under_way_ends_with_its_deadline_or_when_cancelled)
{
    struct silence silence;
    rota_task *task;
    int err = 0;
    silence_begin(&silence, "127.0.0.2", 0);
    int port = port_of(silence.listener), fds = test_open_fds();
    race("127.0.0.2", NULL, NULL);
    rota_time start = rota_now();
    ROTA_TIMEOUT (5 * ROTA_SECOND)
        err = connect_task(&port);
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_now() - start, ==, 5 * ROTA_SECOND);
    CHECK_INT(test_open_fds(), ==, fds);

    /* Cancelled before, during and after the pause between two attempts. */
    race("127.0.0.2", "127.0.0.2", "127.0.0.2");
    for (int ms = 0; ms < 900; ms += 100) {
        CHECK_OK(rota_spawn(connect_task, &port, &task));
        CHECK_INT(rota_sleep(ms * ROTA_MILLISECOND), ==, 0);
        rota_task_cancel(task);
        CHECK_INT(rota_join(task), ==, -ECANCELED);
        CHECK_INT(test_open_fds(), ==, fds);
    }
    silence_end(&silence);
}

TASK_TEST(the_error_that_says_most_is_returned)
{
    int holder, port = refusing_port("127.0.0.1", &holder);
    rota_stream *s;
    rota_connect_options from_loopback = {.bind = "127.0.0.1"};
    race("127.0.0.1", "::1", NULL); /* the second cannot be reached from there */
    CHECK_INT(rota_tcp_connect("racing.example", port, &from_loopback, &s), ==, -ECONNREFUSED);
    close(holder);
}

static int option_of(rota_stream *s, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    CHECK_OK(getsockopt(fd_of(s), level, name, &value, &size));
    return value;
}

TASK_TEST(options_of_sockets)
{
    rota_listener *l;
    rota_stream *a, *b;
    rota_listen_options lo = {.keepalive = 60 * ROTA_SECOND};
    CHECK_INT(rota_tcp_listen("127.0.0.1", 0, &lo, &l), ==, 0);
    rota_connect_options co = {.nagle = true, .bind = "127.0.0.9", .keepalive = ROTA_MILLISECOND};
    CHECK_INT(rota_tcp_connect("127.0.0.1", rota_listener_port(l), &co, &a), ==, 0);
    CHECK_INT(rota_accept(l, &b), ==, 0);
    CHECK(strncmp(rota_stream_peer(b), "127.0.0.9:", 10) == 0);
    CHECK_STR(rota_stream_peer(b), rota_stream_local(a));
    CHECK_INT(option_of(a, IPPROTO_TCP, TCP_NODELAY), ==, 0);
    CHECK_INT(option_of(b, IPPROTO_TCP, TCP_NODELAY), ==, 1);
    CHECK_INT(option_of(a, IPPROTO_TCP, TCP_KEEPIDLE), ==, 1);
    CHECK_INT(option_of(b, SOL_SOCKET, SO_KEEPALIVE), ==, 1);
    CHECK_INT(option_of(b, IPPROTO_TCP, TCP_KEEPIDLE), ==, 60);
    rota_stream_free(a);
    rota_stream_free(b);
    rota_listener_free(l);
}

/* ---- Words of failures */

__attribute__((format(printf, 1, 2))) static const char *formatted(const char *format, ...)
{
    static char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return text;
}

TASK_TEST(a_failed_connect_says_where_and_not_what_failed_before)
{
    int holder, port = refusing_port("127.0.0.1", &holder);
    rota_stream *s = NULL;
    rota_error_set(-ECONNREFUSED, "another");
    CHECK_INT(rota_tcp_connect("127.0.0.1", port, NULL, &s), ==, -ECONNREFUSED);
    CHECK_STR(rota_error(-ECONNREFUSED),
              formatted("connect to 127.0.0.1:%d: Connection refused", port));
    race("127.0.0.1", NULL, NULL);
    CHECK_INT(rota_tcp_connect("racing.example", port, NULL, &s), ==, -ECONNREFUSED);
    CHECK_STR(rota_error(-ECONNREFUSED),
              formatted("connect to racing.example:%d (127.0.0.1): Connection refused", port));
    rota_error_set(-EINVAL, "another");
    CHECK_INT(rota_tcp_connect_any(NULL, 0, NULL, &s), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "connect: no addresses, or too many");
    close(holder);
}

TASK_TEST(a_failed_listen_says_where)
{
    ROTA_AUTO(rota_listener) l = listen_on("127.0.0.1");
    rota_listener *other = NULL;
    int port = rota_listener_port(l);
    CHECK_INT(rota_tcp_listen("127.0.0.1", port, NULL, &other), ==, -EADDRINUSE);
    CHECK_STR(rota_error(-EADDRINUSE),
              formatted("listen on 127.0.0.1:%d: Address already in use", port));
    rota_error_set(-EINVAL, "another");
    CHECK_INT(rota_tcp_listen(NULL, 70000, NULL, &other), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), rota_strerror(-EINVAL));
}

TASK_TEST(a_failed_datagram_says_to_whom)
{
    char big[70000] = "";
    rota_address to;
    rota_dgram *other = NULL;
    ROTA_AUTO(rota_dgram) s = NULL;
    CHECK_OK(rota_udp_open("127.0.0.1", 0, NULL, &s));
    int port = rota_dgram_port(s);
    CHECK_INT(rota_udp_open("127.0.0.1", port, NULL, &other), ==, -EADDRINUSE);
    CHECK_STR(rota_error(-EADDRINUSE),
              formatted("open UDP socket on 127.0.0.1:%d: Address already in use", port));
    CHECK_OK(rota__address_parse("127.0.0.1", port, &to));
    CHECK_INT(rota_dgram_send(s, big, sizeof big, &to), ==, -EMSGSIZE);
    CHECK_STR(rota_error(-EMSGSIZE),
              formatted("send datagram to 127.0.0.1:%d: Message too long", port));
    CHECK_OK(rota_dgram_send(s, "long", 4, &to));
    CHECK_INT(rota_dgram_receive(s, big, 1, NULL), ==, -EMSGSIZE);
    CHECK_STR(rota_error(-EMSGSIZE),
              formatted("receive datagram on 127.0.0.1:%d: Message too long", port));
}

TASK_TEST(a_failed_read_or_write_has_the_words_of_its_stream)
{
    ROTA_AUTO(rota_stream) a = NULL;
    rota_stream *b;
    rota_str line;
    char bytes[8];
    CHECK_OK(rota_stream_pair(64, &a, &b));
    rota_stream_set_limit(a, 4);
    CHECK_OK(rota_stream_write(b, "too long", 8));
    CHECK_INT(rota_stream_read_line(a, &line), ==, ROTA_ELIMIT);
    CHECK_STR(rota_error(ROTA_ELIMIT), rota_stream_error(a));
    rota_stream_free(b);
    CHECK_INT(rota_stream_write(a, "x", 1), ==, -EPIPE);
    CHECK_STR(rota_error(-EPIPE), rota_stream_error(a));
    CHECK(strncmp(rota_error(-EPIPE), "write to ", 9) == 0);
    CHECK_OK(rota_stream_read_exact(a, bytes, sizeof bytes));
    rota_error_set(ROTA_EOF, "another");
    CHECK_INT(rota_stream_read_exact(a, bytes, 1), ==, ROTA_EOF);
    CHECK_STR(rota_error(ROTA_EOF), "read pair: the stream ended after 0 of 1 bytes");
}

static int fail_beside_a_stream_that_cannot_be_flushed(void)
{
    ROTA_AUTO(rota_listener) l = listen_on("127.0.0.1");
    ROTA_AUTO(rota_stream) a = NULL, b = NULL;
    CHECK(l);
    CHECK_OK(rota_stream_pair(64, &a, &b));
    rota_stream_cork(a);
    CHECK_OK(rota_stream_write(a, "x", 1));
    b = rota_stream_free(b);
    return rota_error_set(-EPIPE, "mine");
}

TASK_TEST(an_early_return_keeps_its_words_while_objects_are_released)
{
    CHECK_INT(fail_beside_a_stream_that_cannot_be_flushed(), ==, -EPIPE);
    CHECK_STR(rota_error(-EPIPE), "mine");
}

/* ---- Listening and accepting */

TASK_TEST(a_port_in_use_is_EADDRINUSE_and_the_report_names_it)
{
    char expected[80];
    rota_listener *l = listen_on("127.0.0.1"), *other = NULL;
    int port = rota_listener_port(l);
    keep_reports(ROTA_LOG_INFO);
    CHECK_INT(rota_tcp_listen("127.0.0.1", port, NULL, &other), ==, -EADDRINUSE);
    CHECK_PTR(other, ==, NULL);
    snprintf(expected, sizeof expected, "listen on 127.0.0.1:%d: Address already in use\n", port);
    CHECK_STR(reports, expected);
    rota_listener_free(l);

    rota_listen_options shared = {.reuse_port = true};
    CHECK_INT(rota_tcp_listen("127.0.0.1", 0, &shared, &l), ==, 0);
    CHECK_INT(rota_tcp_listen("127.0.0.1", rota_listener_port(l), &shared, &other), ==, 0);
    rota_listener_free(l);
    rota_listener_free(other);
    CHECK_PTR(rota_listener_free(NULL), ==, NULL);
    CHECK_INT(rota_tcp_listen("192.0.2.1", 0, NULL, &l), ==, -EADDRNOTAVAIL);
}

static int every_address_main(void *arg)
{
    struct service service = {listen_on(arg), echo};
    int port = rota_listener_port(service.listener);
    rota_stream *v4, *v6;
    service_start(&service);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(rota_tcp_connect("127.0.0.1", port, NULL, &v4), ==, 0);
        CHECK_INT(rota_tcp_connect("::1", port, NULL, &v6), ==, 0);
        ask(v6, "over six");
        ask(v4, "over four");
        rota_stream_free(v4);
        rota_stream_free(v6);
    }
    CHECK_INT(service_stop(&service), ==, -ECANCELED);
    return 0;
}

TEST(localhost_and_no_host_listen_on_both_families)
{
    require_v6();
    run(every_address_main, (void *)"localhost");
    run(every_address_main, NULL);
}

static int six_only_main(void *arg)
{
    rota_listen_options options = {.v6only = true};
    rota_listener *l;
    rota_stream *s = NULL;
    CHECK_OK(rota_tcp_listen(arg, 0, &options, &l));
    int port = rota_listener_port(l);
    CHECK_INT(rota_tcp_connect("127.0.0.1", port, NULL, &s), ==, -ECONNREFUSED);
    CHECK_OK(rota_tcp_connect("::1", port, NULL, &s));
    rota_stream_free(s);
    rota_listener_free(l);
    return 0;
}

TEST(v6only_takes_nothing_over_four)
{
    require_v6();
    run(six_only_main, NULL);
    run(six_only_main, (void *)"::");
}

static int accept_task(void *arg)
{
    rota_stream *s = NULL;
    int err = rota_accept(arg, &s);
    rota_stream_free(s);
    return err;
}

static int accept_main(void *arg)
{
    rota_listener *l = listen_on(arg);
    rota_task *task;
    rota_stream *s;
    CHECK_OK(rota_spawn(accept_task, l, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    CHECK(!rota_task_done(task));
    CHECK_INT(rota_accept(l, &s), ==, -EBUSY);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_OK(rota_spawn(accept_task, l, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    rota_listener_close(l);
    CHECK(rota_task_done(task));
    CHECK_INT(rota_join(task), ==, ROTA_ECLOSED);
    CHECK_INT(rota_accept(l, &s), ==, ROTA_ECLOSED);
    rota_listener_free(l);
    return 0;
}

TEST(accepting_is_for_one_task_and_ends_when_cancelled_or_closed)
{
    run_virtual(accept_main, (void *)"127.0.0.1");
    run_virtual(accept_main, (void *)"localhost");
}

/* Cancelled in the turn in which a connection arrives: it is had either way. */
static int accept_race_main(void *arg)
{
    rota_listener *l = listen_on(arg);
    for (int i = 0; i < 20; i++) {
        rota_task *task;
        rota_stream *ours, *theirs;
        CHECK_OK(rota_spawn(accept_task, l, &task));
        CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
        ours = connect_to(l);
        rota_task_cancel(task);
        int err = rota_join(task);
        if (err == -ECANCELED) {
            CHECK_INT(rota_accept(l, &theirs), ==, 0);
            rota_stream_free(theirs);
        }
        rota_stream_free(ours);
    }
    rota_listener_free(l);
    return 0;
}

TEST(cancelling_an_accept_loses_no_connection)
{
    run_virtual(accept_race_main, (void *)"127.0.0.1");
    run_virtual(accept_race_main, (void *)"localhost");
}

/* ---- Serving */

static int fail_once(rota_stream *s, void *arg)
{
    int *calls = arg;
    return ++*calls == 1 ? -EPROTO : echo(s, NULL);
}

TASK_TEST(a_handler_that_fails_ends_its_own_connection_only)
{
    int calls = 0;
    char c;
    struct service service = {listen_on("127.0.0.1"), fail_once, &calls};
    keep_reports(ROTA_LOG_INFO);
    service_start(&service);
    rota_stream *first = connect_to(service.listener);
    CHECK_INT(rota_stream_read(first, &c, 1), ==, 0);
    rota_stream *second = connect_to(service.listener);
    ask(second, "still here");
    set_linger_zero(second);
    rota_stream_free(second);
    rota_stream *third = connect_to(service.listener);
    ask(third, "and here");
    CHECK_INT(count_reports("connection from 127.0.0.1: "), ==, 1);
    CHECK_INT(count_reports(": Protocol error\n"), ==, 1);
    rota_stream_free(first);
    rota_stream_free(third);
    CHECK_INT(service_stop(&service), ==, -ECANCELED);
}

struct crowd {
    int inside, most, served;
};

static int count_inside(rota_stream *s, void *arg)
{
    struct crowd *crowd = arg;
    if (++crowd->inside > crowd->most)
        crowd->most = crowd->inside;
    int err = rota_sleep(10 * ROTA_MILLISECOND);
    crowd->inside--;
    crowd->served++;
    return err;
}

VIRTUAL_TASK_TEST(at_the_limit_further_connections_wait_their_turn)
{
    struct crowd crowd = {0};
    struct service service = {listen_on("127.0.0.1"), count_inside, &crowd, {.connections = 3}};
    rota_stream *clients[10];
    char c;
    service_start(&service);
    for (int i = 0; i < 10; i++)
        clients[i] = connect_to(service.listener);
    for (int i = 0; i < 10; i++)
        CHECK_INT(rota_stream_read(clients[i], &c, 1), ==, 0);
    CHECK_INT(crowd.most, ==, 3);
    CHECK_INT(crowd.served, ==, 10);
    CHECK_INT(rota_now(), >=, 40 * ROTA_MILLISECOND);
    for (int i = 0; i < 10; i++)
        rota_stream_free(clients[i]);
    CHECK_INT(service_stop(&service), ==, -ECANCELED);
}

static int answer_after(rota_stream *s, void *arg)
{
    int err = rota_sleep(*(rota_time *)arg);
    return err < 0 ? err : rota_stream_write(s, "done", 4);
}

struct told {
    rota_time at;
    int err, times;
};

static void note_stopping(void *arg, int err)
{
    *(struct told *)arg = (struct told){rota_now(), err, ((struct told *)arg)->times + 1};
}

static int grace_main(void *arg)
{
    rota_time *work = arg;
    struct told told = {0};
    struct service service = {
        listen_on("127.0.0.1"),
        answer_after,
        work,
        {.grace = 10 * ROTA_SECOND, .stopping = note_stopping, .stopping_arg = &told}};
    int port = rota_listener_port(service.listener);
    rota_stream *late, *client = connect_to(service.listener);
    char reply[4];
    service_start(&service);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    rota_time start = rota_now();
    rota_task_cancel(service.task);
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    CHECK_INT(rota_tcp_connect("127.0.0.1", port, NULL, &late), ==, -ECONNREFUSED);
    CHECK_INT(service_stop(&service), ==, -ECANCELED);
    CHECK_INT(told.times, ==, 1);
    CHECK_INT(told.err, ==, -ECANCELED);
    CHECK_INT(told.at, ==, start);
    if (*work < 10 * ROTA_SECOND) {
        CHECK_INT(rota_now() - start, ==, *work - ROTA_SECOND);
        CHECK_INT(rota_stream_read_exact(client, reply, 4), ==, 0);
        CHECK_MEM(reply, "done", 4);
    } else {
        CHECK_INT(rota_now() - start, ==, 10 * ROTA_SECOND);
    }
    CHECK_INT(rota_stream_read(client, reply, 1), ==, 0);
    rota_stream_free(client);
    return 0;
}

static int closed_main(void *arg)
{
    struct told told = {0};
    struct service service = {
        listen_on("127.0.0.1"),
        answer_after,
        arg,
        {.grace = 10 * ROTA_SECOND, .stopping = note_stopping, .stopping_arg = &told}};
    char expected[100];
    snprintf(expected, sizeof expected, "serve on 127.0.0.1:%d: cancelled 1 connection, still open",
             rota_listener_port(service.listener));
    rota_stream *client = connect_to(service.listener);
    service_start(&service);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    rota_time start = rota_now();
    rota_listener_close(service.listener);
    CHECK_INT(service_stop(&service), ==, ROTA_ECLOSED);
    CHECK_INT(told.err, ==, ROTA_ECLOSED);
    CHECK_INT(told.at, ==, start);
    CHECK_INT(rota_now() - start, ==, 10 * ROTA_SECOND);
    CHECK_INT(count_reports(expected), ==, 1);
    rota_stream_free(client);
    return 0;
}

TEST(handlers_can_be_told_when_a_listener_is_closed)
{
    keep_reports(ROTA_LOG_WARNING);
    run_virtual(closed_main, &(rota_time){60 * ROTA_SECOND});
}

TEST(a_server_that_stops_lets_connections_finish_until_the_grace_is_over)
{
    run_virtual(grace_main, &(rota_time){5 * ROTA_SECOND});
    run_virtual(grace_main, &(rota_time){60 * ROTA_SECOND});
}

TASK_TEST(closing_the_listener_ends_the_server)
{
    struct service service = {listen_on("localhost"), echo};
    service_start(&service);
    rota_stream *client = connect_to(service.listener);
    char c;
    ask(client, "hello");
    rota_listener_close(service.listener);
    CHECK_INT(rota_stream_read(client, &c, 1), ==, 0);
    CHECK_INT(service_stop(&service), ==, ROTA_ECLOSED);
    rota_stream_free(client);
}

VIRTUAL_TASK_TEST(serving_ends_with_EBUSY_where_somebody_else_accepts)
{
    struct service service = {listen_on("127.0.0.1"), echo};
    rota_stream *client, *other, *accepted;
    rota_task *task;
    service.options.connections = 1;
    service_start(&service);
    client = connect_to(service.listener);
    ask(client, "served"); /* and at its limit, so that the listener is free */
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    CHECK_OK(rota_spawn(accept_task, service.listener, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    CHECK(!rota_task_done(task));
    rota_stream_free(client);
    CHECK_INT(rota_join(service.task), ==, -EBUSY);
    other = connect_to(service.listener);
    CHECK_INT(rota_join(task), ==, 0);
    rota_stream_free(other);
    other = connect_to(service.listener);
    CHECK_INT(rota_accept(service.listener, &accepted), ==, 0);
    rota_stream_free(accepted);
    rota_stream_free(other);
    rota_listener_free(service.listener);
}

TASK_TEST(peers_that_leave_before_they_are_accepted_do_no_harm)
{
    struct service service = {listen_on("127.0.0.1"), echo};
    for (int i = 0; i < 5; i++) {
        rota_stream *gone = connect_to(service.listener);
        set_linger_zero(gone);
        rota_stream_free(gone);
    }
    service_start(&service);
    rota_stream *client = connect_to(service.listener);
    ask(client, "hello");
    rota_stream_free(client);
    CHECK_INT(service_stop(&service), ==, -ECANCELED);
}

/* ---- Too many open files */

static struct rlimit limit_fds(rlim_t most)
{
    struct rlimit before, now;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &before));
    now = before;
    now.rlim_cur = most;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &now));
    return before;
}

static int highest_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

TASK_TEST(a_lookup_without_descriptors_does_not_call_the_host_unknown)
{
    rota_address addresses[2];
    struct rlimit before = limit_fds((rlim_t)highest_fd());
    int err = rota_resolve("host.invalid", 80, addresses, 2);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &before));
    CHECK_INT(err, ==, -EMFILE);
    CHECK_STR(rota_error(err), "look up host.invalid: Too many open files");
}

VIRTUAL_TASK_TEST(too_many_open_files_pause_the_server_which_says_so_once_and_goes_on)
{
    struct service service = {listen_on("127.0.0.1"), echo};
    rota_stream *clients[4], *extra;
    keep_reports(ROTA_LOG_INFO);
    for (int i = 0; i < 4; i++)
        clients[i] = connect_to(service.listener);
    struct rlimit before = limit_fds((rlim_t)highest_fd() + 2); /* for two of them */
    service_start(&service);
    CHECK_INT(rota_sleep(5 * ROTA_SECOND), ==, 0);
    CHECK_INT(count_reports("Too many open files"), ==, 1);
    CHECK_INT(rota_tcp_connect("127.0.0.1", rota_listener_port(service.listener), NULL, &extra), ==,
              -EMFILE);
    ask(clients[0], "served");
    ask(clients[1], "served too");
    rota_stream_free(clients[0]);
    ask(clients[2], "after one has left");
    ask(clients[3], "and another descriptor came free");
    CHECK_INT(count_reports("pausing"), ==, 1); /* though one came in between */
    setrlimit(RLIMIT_NOFILE, &before);
    CHECK_INT(count_reports("resumed"), ==, 0);
    CHECK_INT(rota_sleep(2 * ROTA_SECOND), ==, 0);
    clients[0] = connect_to(service.listener);
    ask(clients[0], "nothing was lacking for a while");
    CHECK_INT(count_reports("resumed"), ==, 1);
    for (int i = 0; i < 4; i++)
        rota_stream_free(clients[i]);
    CHECK_INT(service_stop(&service), ==, -ECANCELED);
}

/* ---- Ten thousand connections */

enum { ROUNDS = 4 };

struct visitor {
    int port, number, wave;
    int echoed; /* rounds that came back in full */
};

static unsigned next_random(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static bool is_reset(const struct visitor *v)
{
    return v->number % 3 == 0;
}

static int visit(void *arg)
{
    struct visitor *v = arg;
    unsigned random = (unsigned)v->number * 2654435761u + 1;
    char from[32], message[1024], reply[1024];
    rota_connect_options options = {.bind = from};
    int leaves = (int)(next_random(&random) % ROUNDS);
    ROTA_AUTO(rota_stream) s = NULL;
    snprintf(from, sizeof from, "127.0.%d.%d", v->wave, 1 + v->number % 200);
    int err = rota_tcp_connect("127.0.0.1", v->port, &options, &s);
    for (int round = 0; err == 0 && round < ROUNDS; round++) {
        size_t len = 1 + next_random(&random) % sizeof message;
        memset(message, v->number + round, len);
        err = rota_stream_write(s, message, len);
        if (err == 0 && is_reset(v) && round == leaves) {
            set_linger_zero(s);
            return 0;
        }
        if (err == 0)
            err = rota_stream_read_exact(s, reply, len);
        if (err == 0 && memcmp(message, reply, len) == 0)
            v->echoed++;
    }
    return err;
}

static void wave(const struct service *service, struct visitor *visitors, int from, int to)
{
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
    for (int i = from; i < to; i++) {
        visitors[i] =
            (struct visitor){rota_listener_port(service->listener), i, from / (to - from)};
        rota_group_spawn(&g, visit, &visitors[i]);
    }
    CHECK_INT(rota_group_wait(&g), ==, 0);
    for (int i = from; i < to; i++) {
        if (!is_reset(&visitors[i]))
            CHECK_INT(visitors[i].echoed, ==, ROUNDS);
    }
}

static int at_once(void)
{
    struct rlimit limit;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &limit));
    rlim_t most = limit.rlim_cur > 200 ? (limit.rlim_cur - 200) / 2 : 0;
    return most > 5000 ? 5000 : most > 1000 ? 1000 : 100;
}

struct attendance {
    int entered, inside;
};

static int counted_echo(rota_stream *s, void *arg)
{
    struct attendance *a = arg;
    a->entered++;
    a->inside++;
    int err = echo(s, NULL);
    a->inside--;
    return err;
}

/* Until all clients have been there, also those that left before they were accepted, and their
 * streams are closed and freed, which the handlers do not see. */
static void wait_until_gone(const struct attendance *a, int visitors)
{
    long live = -1;
    for (int quiet = 0, tries = 0; quiet < 20 && tries < 2000; tries++) {
        CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
        bool same = rota__alloc_live() == live && !a->inside && a->entered >= visitors;
        quiet = same ? quiet + 1 : 0;
        live = rota__alloc_live();
    }
}

TASK_TEST(ten_thousand_connections_a_third_of_them_reset_lose_nothing, .seconds = 60)
{
    struct attendance attendance = {0};
    int connections = rota__fault_armed ? 100 : 10000;
    int each = rota__fault_armed ? 50 : at_once();
    struct visitor *visitors = calloc((size_t)connections, sizeof *visitors);
    struct service service = {listen_on("127.0.0.1"), counted_echo, &attendance};
    service_start(&service);
    wave(&service, visitors, 0, each);
    wait_until_gone(&attendance, each);
    int fds = test_open_fds();
    long live = rota__alloc_live();
    for (int i = each; i < connections; i += each)
        wave(&service, visitors, i, i + each);
    wait_until_gone(&attendance, connections);
    CHECK_INT(test_open_fds(), ==, fds);
    /* Slabs of stacks stay for a while, depending on how many were in use at once; what is left
     * when the loop has ended is compared exactly. */
    CHECK_INT(rota__alloc_live() - live, <, 100);
    CHECK_INT(service_stop(&service), ==, -ECANCELED);
    free(visitors);
}

/* ---- Several operations at once */

static const struct rota__wait_kind race_kind = {"test", rota__race_abort};

static void fail_next_system_call(rota_handle *handle, void *arg)
{
    rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
}

/* Where the kernel takes no request to withdraw, twice, the end of the race still waits. */
TASK_TEST(race_ends_though_the_kernel_does_not_take_the_withdrawal, .without_faults = true)
{
    struct rota__race race;
    struct rota__fd fd;
    int ends[2];
    char byte;
    rota_handle soon = ROTA_HANDLE_INIT;
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota__fd_open(&fd, rota__loop_here, ends[0], true));
    rota__race_init(&race);
    struct rota__racer racer = {.op = {.kind = ROTA__OP_RECV, .fd = &fd, .buf = &byte, .len = 1}};
    rota__race_start(&race, &racer);
    CHECK_INT(rota_yield(), ==, 0);
    rota_loop_call_soon(rota_loop_current(), &soon, fail_next_system_call, NULL);
    rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
    rota__race_end(&race, &race_kind);
    rota__fault_disarm();
    rota_handle_cancel(&soon); /* which did not run where nothing had to be waited for */
    CHECK(racer.finished);
    CHECK_INT(racer.op.result, ==, -ECANCELED);
    rota__fd_close(&fd);
    close(ends[1]);
}

/* ---- Freed while another task closes it and a third one is inside a call */

static int use_it(void *arg)
{
    rota_stream *s;
    CHECK_INT(rota_accept(arg, &s), ==, ROTA_ECLOSED);
    return 0;
}

static int close_it(void *arg)
{
    rota_listener_close(arg);
    return 0;
}

static void free_it(void *arg)
{
    rota_listener_free(arg);
}

TASK_TEST(a_listener_may_be_freed_while_another_task_closes_it, .without_faults = true)
{
    for (int outside = 0; outside < 2; outside++) {
        rota_listener *l;
        CHECK_OK(rota_tcp_listen("localhost", 0, NULL, &l));
        free_beside_close((struct beside){l, use_it, close_it, free_it, outside});
    }
}
