#include "net/dgram.h"

#include "beside.h"
#include "clean_run.h"
#include "directory.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- Setting */

static rota_dgram *open_udp(void)
{
    rota_dgram *s;
    CHECK_INT(rota_udp_open("127.0.0.1", 0, NULL, &s), ==, 0);
    return s;
}

static rota_dgram *connect_udp(int port)
{
    rota_dgram *s;
    CHECK_INT(rota_udp_connect("127.0.0.1", port, NULL, &s), ==, 0);
    return s;
}

static void tell(rota_dgram *s, const char *text, const rota_address *to)
{
    CHECK_INT(rota_dgram_send(s, text, strlen(text), to), ==, 0);
}

static void hear(rota_dgram *s, const char *expected)
{
    char buf[64];
    ssize_t n = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        n = rota_dgram_receive(s, buf, sizeof buf, NULL);
    }
    CHECK_INT(n, ==, strlen(expected));
    CHECK_MEM(buf, expected, strlen(expected));
}

static rota_dgram *open_unix(const char *path)
{
    rota_dgram *s;
    CHECK_INT(rota_unix_dgram_open(path, NULL, &s), ==, 0);
    return s;
}

static rota_dgram *connect_unix(const char *path)
{
    rota_dgram *s;
    CHECK_INT(rota_unix_dgram_connect(path, NULL, &s), ==, 0);
    return s;
}

/* ---- The snippets of the header */

static int echo(void *arg)
{
    static char room[32][2048];
    rota_packet packets[32];
    ROTA_AUTO(rota_dgram) s = NULL;
    int n = rota_udp_open("localhost", 0, NULL, &s);
    if (n == 0)
        *(int *)arg = rota_dgram_port(s);
    for (int i = 0; i < 32; i++)
        packets[i] = (rota_packet){.data = room[i], .size = sizeof room[i]};
    while (n >= 0) {
        n = rota_dgram_receive_many(s, packets, 32); // what is there, at least one
        if (n > 0)
            n = rota_dgram_send_many(s, packets, (size_t)n); // each goes back where it came from
    }
    return n;
}

static ssize_t ask(int port, char *ret_reply, size_t len)
{
    ROTA_AUTO(rota_dgram) s = NULL;
    int err = rota_udp_connect("localhost", port, NULL, &s);
    if (err == 0)
        err = rota_dgram_send(s, "hello", 5, NULL);
    return err < 0 ? err : rota_dgram_receive(s, ret_reply, len, NULL);
}

TASK_TEST(the_snippet_of_the_header_works)
{
    int port = 0;
    char reply[16];
    rota_task *server;
    CHECK_OK(rota_spawn(echo, &port, &server));
    while (!port && !rota_task_done(server))
        CHECK_INT(rota_yield(), ==, 0);
    ssize_t n = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        n = ask(port, reply, sizeof reply);
    }
    CHECK_INT(n, ==, 5);
    CHECK_MEM(reply, "hello", 5);
    rota_task_cancel(server);
    CHECK_INT(rota_join(server), ==, -ECANCELED);
}

/* ---- One at a time */

TASK_TEST(datagram_says_who_sent_it)
{
    ROTA_AUTO(rota_dgram) a = open_udp();
    ROTA_AUTO(rota_dgram) b = open_udp();
    rota_address from;
    char buf[16];
    tell(a, "one", rota_dgram_local(b));
    CHECK_INT(rota_dgram_receive(b, buf, sizeof buf, &from), ==, 3);
    CHECK_MEM(buf, "one", 3);
    CHECK_INT(from.v4.sin_port, ==, rota_dgram_local(a)->v4.sin_port);
    tell(b, "two", &from);
    hear(a, "two");
}

TASK_TEST(empty_datagram_is_no_end)
{
    ROTA_AUTO(rota_dgram) a = open_udp();
    ROTA_AUTO(rota_dgram) b = connect_udp(rota_dgram_port(a));
    tell(b, "", NULL);
    tell(b, "x", NULL);
    hear(a, "");
    hear(a, "x");
}

static int late_run(void *arg)
{
    rota_dgram *s = arg;
    hear(s, "late");
    return 0;
}

TASK_TEST(receiving_waits_for_a_datagram)
{
    ROTA_AUTO(rota_dgram) a = open_udp();
    ROTA_AUTO(rota_dgram) b = connect_udp(rota_dgram_port(a));
    rota_task *task;
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rota_spawn(late_run, a, &task));
        CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
        tell(b, "late", NULL);
        CHECK_INT(rota_join(task), ==, 0);
    }
}

TASK_TEST(what_does_not_fit_is_told)
{
    ROTA_AUTO(rota_dgram) a = open_udp();
    ROTA_AUTO(rota_dgram) b = connect_udp(rota_dgram_port(a));
    char buf[4];
    rota_packet p = {.data = buf, .size = sizeof buf};
    tell(b, "too long", NULL);
    CHECK_INT(rota_dgram_receive(a, buf, sizeof buf, NULL), ==, -EMSGSIZE);
    tell(b, "too long", NULL);
    CHECK_INT(rota_dgram_receive_many(a, &p, 1), ==, 1);
    CHECK_INT(p.len, ==, 4);
    CHECK_INT(p.cut, ==, 4);
    CHECK_MEM(buf, "too ", 4);
    tell(b, "fits", NULL);
    CHECK_INT(rota_dgram_receive_many(a, &p, 1), ==, 1);
    CHECK_INT(p.len, ==, 4);
    CHECK_INT(p.cut, ==, 0);
    static char huge[70000];
    CHECK_INT(rota_dgram_send(b, huge, sizeof huge, NULL), ==, -EMSGSIZE);
    CHECK_INT(rota_dgram_send(a, "x", 1, NULL), ==, -EDESTADDRREQ);
    CHECK_INT(rota_dgram_receive_many(a, &p, 0), ==, -EINVAL);
    CHECK_INT(rota_dgram_send_many(a, &p, 0), ==, -EINVAL);
}

static char words_of_receiver[200];

static int receive_four(void *arg)
{
    char buf[4];
    ssize_t n = rota_dgram_receive(arg, buf, sizeof buf, NULL);
    snprintf(words_of_receiver, sizeof words_of_receiver, "%s", rota_error((int)n));
    return (int)n;
}

static void free_soon(rota_handle *handle, void *arg)
{
    (void)handle;
    rota_dgram_free(arg);
}

TASK_TEST(a_socket_may_be_freed_by_a_callback_while_a_task_receives)
{
    char words[200], address[ROTA_ADDRESS_TEXT];
    rota_dgram *a = open_udp();
    ROTA_AUTO(rota_dgram) b = connect_udp(rota_dgram_port(a));
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_task *receiver;
    snprintf(words, sizeof words, "receive datagram on %s: %s",
             rota_address_text(&a->local, address), rota_strerror(-EMSGSIZE));
    CHECK_OK(rota_spawn(receive_four, a, &receiver));
    CHECK_OK(rota_yield());
    tell(b, "too long", NULL);
    rota_loop_call_soon(rota_loop_current(), &handle, free_soon, a);
    CHECK_INT(rota_join(receiver), ==, -EMSGSIZE);
    CHECK_STR(words_of_receiver, words);
}

TASK_TEST(negative_buffers_are_refused)
{
    rota_dgram *s = NULL;
    rota_udp_options in = {.receive_buffer = -1}, out = {.send_buffer = -1};
    rota_unix_dgram_options unix_in = {.receive_buffer = -1};
    CHECK_INT(rota_udp_open("127.0.0.1", 0, &in, &s), ==, -EINVAL);
    CHECK_INT(rota_udp_open("127.0.0.1", 0, &out, &s), ==, -EINVAL);
    CHECK_INT(rota_udp_connect("127.0.0.1", 7, &in, &s), ==, -EINVAL);
    CHECK_INT(rota_unix_dgram_open(NULL, &unix_in, &s), ==, -EINVAL);
    CHECK_PTR(s, ==, NULL);
}

/* ---- Many at a time */

enum { MANY = 150 };

TASK_TEST(many_go_and_come_in_order)
{
    static char out[MANY][8], in[MANY][8];
    static rota_packet packets[MANY];
    rota_udp_options options = {.receive_buffer = 1 << 20};
    ROTA_AUTO(rota_dgram) a = NULL;
    CHECK_INT(rota_udp_open("127.0.0.1", 0, &options, &a), ==, 0);
    ROTA_AUTO(rota_dgram) b = connect_udp(rota_dgram_port(a));
    for (int i = 0; i < MANY; i++)
        packets[i] =
            (rota_packet){.data = out[i], .len = (size_t)snprintf(out[i], sizeof out[i], "n%d", i)};
    CHECK_INT(rota_dgram_send_many(b, packets, MANY), ==, MANY);
    for (int i = 0; i < MANY; i++)
        packets[i] = (rota_packet){.data = in[i], .size = sizeof in[i]};
    for (int got = 0; got < MANY;) {
        int n = rota_dgram_receive_many(a, packets + got, MANY - (size_t)got);
        CHECK_INT(n, >, 0);
        CHECK_INT(n, <=, 64);
        got += n;
    }
    for (int i = 0; i < MANY; i++)
        CHECK_STR(in[i], out[i]);
    CHECK_INT(rota_dgram_send_many(a, packets, MANY), ==, MANY);
    for (int i = 0; i < MANY; i++)
        hear(b, out[i]);
}

TASK_TEST(sending_says_how_many_went_out)
{
    ROTA_AUTO(rota_dgram) a = open_udp();
    ROTA_AUTO(rota_dgram) b = open_udp();
    static char huge[70000];
    rota_packet packets[] = {
        {.data = (char[]){"1"}, .len = 1, .address = *rota_dgram_local(b)},
        {.data = (char[]){"2"}, .len = 1, .address = *rota_dgram_local(b)},
        {.data = huge, .len = sizeof huge, .address = *rota_dgram_local(b)},
        {.data = (char[]){"4"}, .len = 1, .address = *rota_dgram_local(b)},
    };
    CHECK_INT(rota_dgram_send_many(a, packets, 4), ==, 2);
    CHECK_INT(rota_dgram_send_many(a, packets + 2, 2), ==, -EMSGSIZE);
    CHECK_INT(rota_dgram_send_many(a, packets + 3, 1), ==, 1);
    hear(b, "1");
    hear(b, "2");
    hear(b, "4");
}

/* ---- Errors of the network */

TASK_TEST(refusal_is_told_once_and_the_socket_goes_on)
{
    rota_dgram *gone = open_udp();
    int port = rota_dgram_port(gone);
    ROTA_AUTO(rota_dgram) s = connect_udp(port);
    char buf[8];
    rota_dgram_free(gone);
    for (int i = 0; i < 3; i++) {
        tell(s, "anybody?", NULL);
        CHECK_INT(rota_dgram_receive(s, buf, sizeof buf, NULL), ==, -ECONNREFUSED);
    }
    rota_dgram *back;
    CHECK_INT(rota_udp_open("127.0.0.1", port, NULL, &back), ==, 0);
    tell(s, "there?", NULL);
    hear(back, "there?");
    tell(back, "yes", rota_dgram_local(s));
    hear(s, "yes");
    rota_dgram_free(back);
}

struct waiting {
    rota_dgram *s;
    ssize_t result;
};

static int waiting_run(void *arg)
{
    struct waiting *w = arg;
    char buf[16];
    w->result = rota_dgram_receive(w->s, buf, sizeof buf, NULL);
    return 0;
}

TASK_TEST(refusal_wakes_one_who_waits)
{
    rota_dgram *gone = open_udp();
    ROTA_AUTO(rota_dgram) s = connect_udp(rota_dgram_port(gone));
    rota_dgram_free(gone);
    rota_task *task;
    struct waiting w = {.s = s};
    CHECK_OK(rota_spawn(waiting_run, &w, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    tell(s, "anybody?", NULL);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(w.result, ==, -ECONNREFUSED);
}

TASK_TEST(unconnected_socket_is_not_bothered_by_refusals)
{
    rota_dgram *gone = open_udp();
    rota_address to = *rota_dgram_local(gone);
    ROTA_AUTO(rota_dgram) a = open_udp();
    ROTA_AUTO(rota_dgram) b = open_udp();
    rota_dgram_free(gone);
    tell(a, "anybody?", &to);
    tell(b, "hello", rota_dgram_local(a));
    hear(a, "hello");
}

/* ---- Opening */

TASK_TEST(opening_fails_by_name)
{
    ROTA_AUTO(rota_dgram) a = open_udp();
    ROTA_AUTO(rota_dgram) s = NULL;
    rota_udp_options shared = {.reuse_port = true}, bound = {.bind = "127.0.0.1"},
                     bad = {.bind = "x"};
    CHECK_INT(rota_udp_open("127.0.0.1", rota_dgram_port(a), NULL, &s), ==, -EADDRINUSE);
    CHECK_INT(rota_udp_open("192.0.2.1", 0, NULL, &s), ==, -EADDRNOTAVAIL);
    CHECK_INT(rota_udp_open("127.0.0.1", 65536, NULL, &s), ==, -EINVAL);
    CHECK_INT(rota_udp_open(NULL, -1, NULL, &s), ==, -EINVAL);
    CHECK_INT(rota_udp_connect("127.0.0.1", 9, &bad, &s), ==, -EINVAL);
    CHECK_PTR(s, ==, NULL);
    CHECK_INT(rota_udp_open("127.0.0.1", 0, &shared, &s), ==, 0);
    rota_dgram *second;
    CHECK_INT(rota_udp_open("127.0.0.1", rota_dgram_port(s), &shared, &second), ==, 0);
    rota_dgram_free(second);
    bound.bind_port = rota_dgram_port(a);
    CHECK_INT(rota_udp_connect("127.0.0.1", 9, &bound, &second), ==, -EADDRINUSE);
    bound.bind_port = 0;
    CHECK_INT(rota_udp_connect("127.0.0.1", rota_dgram_port(a), &bound, &second), ==, 0);
    tell(second, "bound", NULL);
    hear(a, "bound");
    rota_dgram_free(second);
}

TASK_TEST(no_host_is_every_address_of_both_families)
{
    ROTA_AUTO(rota_dgram) s = NULL;
    CHECK_INT(rota_udp_open(NULL, 0, NULL, &s), ==, 0);
    ROTA_AUTO(rota_dgram) v4 = connect_udp(rota_dgram_port(s));
    char buf[8];
    rota_address from;
    tell(v4, "v4", NULL);
    CHECK_INT(rota_dgram_receive(s, buf, sizeof buf, &from), ==, 2);
    tell(s, "back", &from);
    hear(v4, "back");
    tell(s, "direct", rota_dgram_local(v4));
    hear(v4, "direct");
    if (rota_dgram_local(s)->any.sa_family != AF_INET6)
        return;
    ROTA_AUTO(rota_dgram) v6 = NULL;
    CHECK_INT(rota_udp_connect("::1", rota_dgram_port(s), NULL, &v6), ==, 0);
    tell(v6, "v6", NULL);
    hear(s, "v6");
}

static int option_of(rota_dgram *s, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    CHECK_OK(getsockopt(s->fd.fd, level, name, &value, &size));
    return value;
}

TASK_TEST(options_reach_the_socket)
{
    rota_udp_options options = {.broadcast = true,
                                .ttl = 7,
                                .multicast_ttl = 3,
                                .multicast_away = true,
                                .multicast_interface = "lo",
                                .receive_buffer = 20000,
                                .send_buffer = 30000};
    ROTA_AUTO(rota_dgram) s = NULL;
    int err = rota_udp_open(NULL, 0, &options, &s);
    if (err == -ENOPROTOOPT)
        SKIP("interfaces for multicast cannot be chosen here");
    CHECK_INT(err, ==, 0);
    CHECK_INT(option_of(s, IPPROTO_IP, IP_TTL), ==, 7);
    CHECK_INT(option_of(s, IPPROTO_IP, IP_MULTICAST_TTL), ==, 3);
    CHECK_INT(option_of(s, IPPROTO_IP, IP_MULTICAST_LOOP), ==, 0);
    CHECK_INT(option_of(s, SOL_SOCKET, SO_BROADCAST), ==, 1);
    CHECK_INT(option_of(s, SOL_SOCKET, SO_RCVBUF), ==, 40000);
    CHECK_INT(option_of(s, SOL_SOCKET, SO_SNDBUF), ==, 60000);
    if (rota_dgram_local(s)->any.sa_family == AF_INET6) {
        CHECK_INT(option_of(s, IPPROTO_IPV6, IPV6_UNICAST_HOPS), ==, 7);
        CHECK_INT(option_of(s, IPPROTO_IPV6, IPV6_MULTICAST_HOPS), ==, 3);
        CHECK_INT(option_of(s, IPPROTO_IPV6, IPV6_MULTICAST_IF), ==, (int)if_nametoindex("lo"));
    }
    options.multicast_interface = "no-such-thing";
    rota_dgram *none;
    CHECK_INT(rota_udp_open(NULL, 0, &options, &none), ==, -ENODEV);
}

TASK_TEST(broadcasting_has_to_be_asked_for)
{
    ROTA_AUTO(rota_dgram) s = open_udp();
    rota_address all = *rota_dgram_local(s);
    all.v4.sin_addr.s_addr = htonl(0x7fffffff);
    CHECK_INT(rota_dgram_send(s, "x", 1, &all), ==, -EACCES);
    rota_udp_options options = {.broadcast = true};
    ROTA_AUTO(rota_dgram) b = NULL;
    CHECK_INT(rota_udp_open("0.0.0.0", 0, &options, &b), ==, 0);
    all.v4.sin_port = rota_dgram_local(b)->v4.sin_port;
    tell(b, "all", &all);
    hear(b, "all");
}

TASK_TEST(group_is_joined_and_left)
{
    rota_udp_options options = {.multicast_interface = "lo"};
    ROTA_AUTO(rota_dgram) member = NULL;
    ROTA_AUTO(rota_dgram) sender = NULL;
    CHECK_INT(rota_udp_open("0.0.0.0", 0, NULL, &member), ==, 0);
    int err = rota_udp_open("127.0.0.1", 0, &options, &sender);
    if (err == -ENOPROTOOPT)
        SKIP("interfaces for multicast cannot be chosen here");
    CHECK_INT(err, ==, 0);
    rota_address group = *rota_dgram_local(member);
    group.v4.sin_addr.s_addr = htonl(0xefff2a2a);
    err = rota_udp_join(member, "239.255.42.42", "lo");
    if (err == -ENOPROTOOPT) /* qemu-user */
        SKIP("groups for multicast cannot be joined here");
    CHECK_INT(err, ==, 0);
    CHECK_INT(rota_udp_join(member, "239.255.42.42", "lo"), ==, -EADDRINUSE);
    tell(sender, "members", &group);
    hear(member, "members");
    CHECK_INT(rota_udp_leave(member, "239.255.42.42", "lo"), ==, 0);
    CHECK_INT(rota_udp_leave(member, "239.255.42.42", "lo"), ==, -EADDRNOTAVAIL);
    CHECK_INT(rota_udp_join(member, "127.0.0.1", "lo"), ==, -EINVAL);
    CHECK_INT(rota_udp_join(member, "group", "lo"), ==, -EINVAL);
    CHECK_INT(rota_udp_join(member, "239.255.42.42", "no-such-thing"), ==, -ENODEV);
    tell(sender, "members", &group);
    tell(sender, "you",
         &(rota_address){.v4 = {.sin_family = AF_INET,
                                .sin_port = group.v4.sin_port,
                                .sin_addr = {htonl(INADDR_LOOPBACK)}},
                         .len = sizeof group.v4});
    hear(member, "you");
    rota_dgram_close(member);
    CHECK_INT(rota_udp_join(member, "239.255.42.42", "lo"), ==, ROTA_ECLOSED);
}

/* ---- Calls under way */

VIRTUAL_TASK_TEST(cancelled_receive_takes_nothing)
{
    ROTA_AUTO(rota_dgram) a = open_udp();
    ROTA_AUTO(rota_dgram) b = connect_udp(rota_dgram_port(a));
    char buf[8];
    rota_task *task;
    struct waiting w = {.s = a};
    int err = 0;
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        err = (int)rota_dgram_receive(a, buf, sizeof buf, NULL);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_OK(rota_spawn(waiting_run, &w, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    CHECK_INT(rota_dgram_receive(a, buf, sizeof buf, NULL), ==, -EBUSY);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(w.result, ==, -ECANCELED);
    tell(b, "kept", NULL);
    hear(a, "kept");
}

TASK_TEST(closing_ends_the_calls_of_others)
{
    rota_dgram *a = open_udp();
    struct waiting w = {.s = a};
    rota_task *task;
    CHECK_OK(rota_spawn(waiting_run, &w, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    rota_dgram_close(a);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(w.result, ==, ROTA_ECLOSED);
    CHECK_INT(rota_dgram_send(a, "x", 1, NULL), ==, ROTA_ECLOSED);
    CHECK_INT(rota_dgram_receive(a, NULL, 0, NULL), ==, ROTA_ECLOSED);
    rota_dgram_close(a);
    CHECK_PTR(rota_dgram_free(a), ==, NULL);
    CHECK_PTR(rota_dgram_free(NULL), ==, NULL);
}

/* A Unix receiver takes a few datagrams and then makes senders wait. */
struct crowd {
    rota_dgram *s;
    const rota_address *to;
    int sent, failed;
};

static int crowd_run(void *arg)
{
    struct crowd *c = arg;
    int err = rota_dgram_send(c->s, "x", 1, c->to);
    if (err < 0) {
        c->failed = err;
        return 0;
    }
    c->sent++;
    return 0;
}

static int settle(void)
{
    for (int i = 0; i < 5; i++) {
        int err = rota_sleep(ROTA_MILLISECOND);
        if (err < 0)
            return err;
    }
    return 0;
}

static void fill(struct crowd *c, rota_group *group, int senders)
{
    for (int i = 0; i < senders; i++)
        CHECK_OK(rota_group_spawn(group, crowd_run, c));
    CHECK_INT(settle(), ==, 0);
    CHECK_INT(c->sent, <, senders);
    CHECK_INT(c->failed, ==, 0);
}

static void check_all_arrive(struct crowd *c, rota_dgram *receiver, rota_group *group, int senders)
{
    for (int i = 0; i < senders; i++)
        hear(receiver, "x");
    CHECK_INT(rota_group_wait(group), ==, 0);
    CHECK_INT(c->sent, ==, senders);
}

enum { CROWD = 600 }; /* more than net.unix.max_dgram_qlen */

/* A sender that is connected to its receiver waits for room; for another one's room no event
 * comes. */
static struct crowd crowd_of(rota_dgram *sender, rota_dgram *receiver, bool connected)
{
    const rota_address *to = rota_dgram_local(receiver);
    if (connected)
        CHECK_OK(connect(sender->fd.fd, &to->any, to->len));
    return (struct crowd){.s = sender, .to = connected ? NULL : to};
}

static int crowd_main(void *arg)
{
    ROTA_AUTO(rota_dgram) receiver = open_unix(NULL);
    ROTA_AUTO(rota_dgram) sender = open_unix(NULL);
    struct crowd c = crowd_of(sender, receiver, *(bool *)arg);
    ROTA_GROUP(group);
    fill(&c, &group, CROWD);
    check_all_arrive(&c, receiver, &group, CROWD);
    return 0;
}

TEST(senders_take_turns_while_the_peer_has_no_room)
{
    run_virtual(crowd_main, &(bool){true});
}

/* For that no event comes. */
TEST(senders_take_turns_while_another_receiver_has_no_room)
{
    run_virtual(crowd_main, &(bool){false});
}

static int crowd_closed_main(void *arg)
{
    ROTA_AUTO(rota_dgram) receiver = open_unix(NULL);
    rota_dgram *sender = open_unix(NULL);
    struct crowd c = crowd_of(sender, receiver, *(bool *)arg);
    ROTA_GROUP(group);
    fill(&c, &group, CROWD);
    rota_dgram_free(sender);
    CHECK_INT(rota_group_wait(&group), ==, 0);
    CHECK_INT(c.failed, ==, ROTA_ECLOSED);
    return 0;
}

TEST(closing_ends_all_who_wait_to_send)
{
    run_virtual(crowd_closed_main, &(bool){true});
}

TEST(closing_ends_all_who_wait_for_a_receiver)
{
    run_virtual(crowd_closed_main, &(bool){false});
}

static int crowd_cancelled_main(void *arg)
{
    ROTA_AUTO(rota_dgram) receiver = open_unix(NULL);
    ROTA_AUTO(rota_dgram) sender = open_unix(NULL);
    struct crowd c = crowd_of(sender, receiver, *(bool *)arg);
    {
        ROTA_GROUP(group);
        fill(&c, &group, CROWD);
        rota_group_cancel(&group);
        ROTA_IGNORE(rota_group_wait(&group));
    }
    CHECK_INT(c.failed, ==, -ECANCELED);
    for (int i = 0; i < c.sent; i++)
        hear(receiver, "x");
    tell(sender, "after", rota_dgram_local(receiver));
    hear(receiver, "after");
    return 0;
}

TEST(cancelled_senders_leave_the_turn_to_others)
{
    run_virtual(crowd_cancelled_main, &(bool){true});
}

TEST(cancelled_pauses_leave_the_turn_to_others)
{
    run_virtual(crowd_cancelled_main, &(bool){false});
}

TEST(outside_a_task_nothing_is_sent)
{
    rota_dgram *s;
    CHECK_INT(rota_udp_open("127.0.0.1", 0, NULL, &s), ==, ROTA_ENOTASK);
    CHECK_INT(rota_udp_open(NULL, 0, NULL, &s), ==, ROTA_ENOTASK);
    CHECK_INT(rota_udp_connect("127.0.0.1", 9, NULL, &s), ==, ROTA_ENOTASK);
    CHECK_INT(rota_unix_dgram_open("@x", NULL, &s), ==, ROTA_ENOTASK);
    CHECK_INT(rota_unix_dgram_connect("@x", NULL, &s), ==, ROTA_ENOTASK);
}

static int left_open_main(void *arg)
{
    *(rota_dgram **)arg = open_udp();
    return 0;
}

TEST(socket_that_outlived_its_loop_can_be_freed)
{
    rota_dgram *s = NULL;
    int fds = test_open_fds();
    CHECK_OK(rota_run(left_open_main, &s));
    rota_dgram_free(s);
    CHECK_INT(test_open_fds(), ==, fds);
}

/* ---- Unix sockets */

static int unix_main(void *arg)
{
    const char *path = arg;
    rota_address from;
    char buf[16], text[ROTA_ADDRESS_TEXT];
    ROTA_AUTO(rota_dgram) server = open_unix(path);
    CHECK_STR(rota_address_text(rota_dgram_local(server), text), path);
    CHECK_INT(rota_dgram_port(server), ==, 0);
    ROTA_AUTO(rota_dgram) client = connect_unix(path);
    tell(client, "hello", NULL);
    CHECK_INT(rota_dgram_receive(server, buf, sizeof buf, &from), ==, 5);
    CHECK_INT(from.un.sun_path[0], ==, '\0'); /* the kernel chose a name */
    tell(server, "reply", &from);
    hear(client, "reply");
    rota_address to;
    CHECK_INT(rota_unix_address(path, &to), ==, 0);
    ROTA_AUTO(rota_dgram) other = open_unix(NULL);
    tell(other, "direct", &to);
    hear(server, "direct");
    rota_dgram *taken;
    CHECK_INT(rota_unix_dgram_open(path, NULL, &taken), ==, -EADDRINUSE);
    return 0;
}

TEST(unix_datagrams_go_by_path)
{
    const char *path = in_directory("s");
    run(unix_main, (void *)(uintptr_t)path);
    CHECK(!exists(path));
}

TEST(unix_datagrams_go_by_abstract_name)
{
    char name[64];
    snprintf(name, sizeof name, "@rota-dgram-%d", (int)getpid());
    run(unix_main, name);
}

TASK_TEST(unix_client_may_have_a_path_of_its_own)
{
    const char *path = in_directory("server"), *own = in_directory("client");
    rota_unix_dgram_options options = {.bind = own, .mode = 0600}, bad = {.bind = "@"};
    rota_address from;
    char buf[16], text[ROTA_ADDRESS_TEXT];
    struct stat about;
    rota_dgram *none;
    CHECK_INT(rota_unix_dgram_connect(path, NULL, &none), ==, -ENOENT);
    rota_dgram *server = open_unix(path);
    ROTA_AUTO(rota_dgram) client = NULL;
    CHECK_INT(rota_unix_dgram_connect(path, &bad, &none), ==, -EINVAL);
    CHECK_INT(rota_unix_dgram_connect(path, &options, &client), ==, 0);
    CHECK_OK(stat(own, &about));
    CHECK_INT(about.st_mode & 0777, ==, 0600);
    tell(client, "hello", NULL);
    CHECK_INT(rota_dgram_receive(server, buf, sizeof buf, &from), ==, 5);
    CHECK_STR(rota_address_text(&from, text), own);
    rota_dgram_free(server);
    CHECK_INT(rota_dgram_send(client, "x", 1, NULL), ==, -ECONNREFUSED);
}

/* ---- Descriptors */

TASK_TEST(descriptors_travel_with_datagrams)
{
    ROTA_AUTO(rota_dgram) a = open_unix(NULL);
    ROTA_AUTO(rota_dgram) b = open_unix(NULL);
    int pipe_ends[2], got[4], before = test_open_fds();
    CHECK_OK(pipe(pipe_ends));
    rota_fds out = {.fds = pipe_ends, .count = 2}, in = {.fds = got, .size = 4};
    char buf[8];
    rota_packet p = {.data = (char[]){"two"}, .len = 3, .address = *rota_dgram_local(b)};
    CHECK_INT(rota_dgram_send_fds(a, &p, &out), ==, 0);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    p = (rota_packet){.data = buf, .size = sizeof buf};
    CHECK_INT(rota_dgram_receive_fds(b, &p, &in), ==, 0);
    CHECK_INT(p.len, ==, 3);
    CHECK_INT(in.count, ==, 2);
    CHECK(!in.cut);
    CHECK_INT(fcntl(got[0], F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    CHECK_INT(write(got[1], "x", 1), ==, 1);
    CHECK_INT(read(got[0], buf, 1), ==, 1);
    for (int i = 0; i < 3; i++) { /* no room, not asked for, asked for where there are none */
        p = (rota_packet){.data = buf, .len = 1, .address = *rota_dgram_local(b)};
        out = (rota_fds){.fds = got, .count = i < 2 ? 2 : 0};
        CHECK_INT(rota_dgram_send_fds(a, &p, &out), ==, 0);
        int room[1];
        in = (rota_fds){.fds = room, .size = i == 0};
        p.size = sizeof buf;
        if (i == 1)
            CHECK_INT(rota_dgram_receive_many(b, &p, 1), ==, 1);
        else
            CHECK_INT(rota_dgram_receive_fds(b, &p, &in), ==, 0);
        CHECK_INT(in.count, ==, i == 0);
        CHECK_INT(in.cut, ==, i == 0);
        if (i == 0)
            close(room[0]);
    }
    close(got[0]);
    close(got[1]);
    CHECK_INT(test_open_fds(), ==, before);
}

TASK_TEST(descriptors_travel_by_unix_sockets_only)
{
    ROTA_AUTO(rota_dgram) udp = open_udp();
    ROTA_AUTO(rota_dgram) a = open_unix(NULL);
    int closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(closed);
    rota_fds one = {.fds = &closed, .size = 1, .count = 1}, many = {.count = ROTA_FDS_MAX + 1};
    rota_packet p = {.data = (char[]){""}, .address = *rota_dgram_local(udp)};
    CHECK_INT(rota_dgram_send_fds(udp, &p, &one), ==, -EOPNOTSUPP);
    CHECK_INT(rota_dgram_receive_fds(udp, &p, &one), ==, -EOPNOTSUPP);
    p.address = *rota_dgram_local(a);
    CHECK_INT(rota_dgram_send_fds(a, &p, &one), ==, -EBADF);
    CHECK_INT(rota_dgram_send_fds(a, &p, &many), ==, -EINVAL);
    CHECK_INT(rota_dgram_receive_fds(a, &p, NULL), ==, -EINVAL);
}

/* ---- Freed while another task closes it and a third one is inside a call */

static int use_it(void *arg)
{
    char byte;
    CHECK_INT(rota_dgram_receive(arg, &byte, 1, NULL), ==, ROTA_ECLOSED);
    return 0;
}

static int close_it(void *arg)
{
    rota_dgram_close(arg);
    return 0;
}

static void free_it(void *arg)
{
    rota_dgram_free(arg);
}

TASK_TEST(a_datagram_socket_may_be_freed_while_another_task_closes_it, .without_faults = true)
{
    for (int outside = 0; outside < 2; outside++) {
        rota_dgram *s;
        CHECK_INT(rota_udp_open("127.0.0.1", 0, NULL, &s), ==, 0);
        free_beside_close((struct beside){s, use_it, close_it, free_it, outside});
    }
}
