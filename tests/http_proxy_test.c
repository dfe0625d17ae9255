/* Proxies: what settings mean, SOCKS5 at every byte, and requests of all kinds through them. */
#include "http/client.h"
#include "http/proxy.h"
#include "http/socks5.h"
#include "net/net.h"

#include "certificates.h"
#include "harness.h"

#include <rota.h>
#include <rota/http_client.h>
#include <rota/http_server.h>
#include <rota/test.h>
#include <rota/websocket.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST_ALL_ON_BOTH_BACKENDS;

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))
#define TEST_TOGETHER(name_) TEST_WITH(name_, .without_faults = true)

static rota_str str(const char *text)
{
    return (rota_str){text, strlen(text)};
}

/* ---- Settings */

TEST_TOGETHER(a_setting_names_kind_host_port_and_user)
{
    static const struct {
        const char *text, *host, *userinfo;
        int port;
        enum rota__proxy_kind kind;
    } cases[] = {
        {"http://proxy", "proxy", NULL, 80, ROTA__PROXY_HTTP},
        {"http://Proxy:3128/", "proxy", NULL, 3128, ROTA__PROXY_HTTP},
        {"HTTPS://u:p@proxy.example.", "proxy.example", "u:p", 443, ROTA__PROXY_HTTPS},
        {"socks://10.0.0.1", "10.0.0.1", NULL, 1080, ROTA__PROXY_SOCKS5},
        {"socks5://[0:0::1]:9", "::1", NULL, 9, ROTA__PROXY_SOCKS5},
        {"socks5h://u@localhost:9050", "localhost", "u", 9050, ROTA__PROXY_SOCKS5H},
        {"http://[fe80::1%25eth0]:1", "fe80::1%eth0", NULL, 1, ROTA__PROXY_HTTP},
    };
    const char *why;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rota__proxy proxy;
        CHECK_OK(rota__proxy_parse(str(cases[i].text), &proxy, &why));
        CHECK_STR(proxy.host.text, cases[i].host);
        CHECK_INT(proxy.port, ==, cases[i].port);
        CHECK_INT(proxy.kind, ==, cases[i].kind);
        if (cases[i].userinfo)
            CHECK(rota_str_equal(proxy.userinfo, cases[i].userinfo));
        else
            CHECK_PTR(proxy.userinfo.ptr, ==, NULL);
    }
    static const struct {
        const char *text, *why;
    } wrong[] = {{"", "has no host"},
                 {"proxy", "has no host"},
                 {"ftp://proxy", "is not the URL of an http, https, socks5 or socks5h proxy"},
                 {"socks4://proxy", "is not the URL of an http, https, socks5 or socks5h proxy"},
                 {"http://", "has no host"},
                 {"http://a b", "has an invalid host"},
                 {"http://proxy:0", "has an invalid port"},
                 {"http://proxy:65536", "has an invalid port"},
                 {"http://[v1.x]", "has an invalid host"},
                 {"http://127.1", "has an invalid host"},
                 {"http://[localhost]", "has an invalid host"},
                 {"http://u\\x@proxy", "has an invalid user or password"}};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct rota__proxy proxy;
        if (rota__proxy_parse(str(wrong[i].text), &proxy, &why) != -EINVAL)
            FAIL("\"%s\" was taken", wrong[i].text);
        CHECK_STR(why, wrong[i].why);
    }
}

TEST_TOGETHER(exceptions_are_hosts_domains_addresses_networks_and_ports)
{
    static const struct {
        const char *list, *host;
        int port;
        bool is_excepted;
    } cases[] = {
        {"", "a.test", 80, false},
        {"*", "a.test", 80, true},
        {"*", "::1", 80, true},
        {" , a.test", "a.test", 80, true},
        {"b.test a.test", "a.test", 80, true},
        {"b.test,c.test", "a.test", 80, false},
        /* names */
        {"a.test", "x.A.test", 80, true},
        {".a.test", "a.test", 80, true},
        {".a.test", "x.y.a.test", 80, true},
        {"*.a.test", "x.a.test", 80, true},
        {"a.test", "ba.test", 80, false},
        {"a.test.", "a.test", 80, true},
        {"a.test", "a.test.", 80, true},
        {".a.test.", "x.a.test.", 80, true},
        {"A.TEST", "a.test", 80, true},
        {"test", "a.test", 80, true},
        {"x.a.test", "a.test", 80, false},
        /* ports */
        {"a.test:80", "a.test", 80, true},
        {"a.test:80", "a.test", 81, false},
        {"a.test.:80", "a.test", 80, true},
        {"*:81", "a.test", 80, false},
        {"a.test:", "a.test", 80, false},
        {"a.test:x", "a.test", 80, false},
        {"[::1]:80", "::1", 80, true},
        {"[::1]:80", "::1", 81, false},
        {"127.0.0.1:80", "127.0.0.1", 80, true},
        /* addresses */
        {"127.0.0.1", "127.0.0.1", 80, true},
        {"127.0.0.1", "127.0.0.11", 80, false},
        {"0.0.1", "127.0.0.1", 80, false},
        {"::1", "[0:0:0:0:0:0:0:1]", 80, true},
        {"0:0::0:1", "::1", 80, true},
        {"[::1]", "::1", 80, true},
        {"2001:DB8::1", "2001:db8::1", 80, true},
        {"127.0.0.1", "::ffff:127.0.0.1", 80, true},
        {"::ffff:7f00:1", "127.0.0.1", 80, true},
        {"fe80::1", "fe80::1%eth0", 80, true},
        {"fe80::1%eth0", "fe80::1%eth0", 80, true},
        {"fe80::1%eth1", "fe80::1%eth0", 80, false},
        /* networks */
        {"10.0.0.0/8", "10.1.2.3", 80, true},
        {"10.0.0.0/8", "11.1.2.3", 80, false},
        {"10.9.9.9/8", "10.1.2.3", 80, true},
        {"192.168.0.0/23", "192.168.1.255", 80, true},
        {"192.168.0.0/23", "192.168.2.0", 80, false},
        {"0.0.0.0/0", "192.0.2.1", 80, true},
        {"0.0.0.0/0", "a.test", 80, false},
        {"0.0.0.0/0", "::1", 80, false},
        {"1.2.3.4/32", "1.2.3.4", 80, true},
        {"1.2.3.4/32", "1.2.3.5", 80, false},
        {"10.0.0.0/8:80", "10.1.2.3", 80, true},
        {"10.0.0.0/8:80", "10.1.2.3", 81, false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", 80, true},
        {"fd00::/8", "fd00::1", 80, true},
        {"fd00::/8", "fe00::1", 80, false},
        {"[fd00::]/8", "fd12::1", 80, true},
        {"fe80::/10", "febf::1%eth0", 80, true},
        {"::/0", "::1", 80, true},
        {"::/0", "127.0.0.1", 80, false},
        {"::ffff:0.0.0.0/96", "127.0.0.1", 80, true},
        {"::1/128", "::1", 80, true},
        {"10.0.0.0/33", "10.0.0.0", 80, false},
        {"10.0.0.0/", "10.0.0.0", 80, false},
        {"10.0.0.0/x", "10.0.0.0", 80, false},
        {"10.0.0.0/-1", "10.0.0.0", 80, false},
        {"/8", "10.0.0.0", 80, false},
        {"a.test/8", "a.test", 80, false},
        {"10/8", "10.1.2.3", 80, false},
        {"::1/129", "::1", 80, false},
        /* what means nothing */
        {":80", "a.test", 80, false},
        {":", "a.test", 80, false},
        {"/", "a.test", 80, false},
        {".", "a.test", 80, false},
        {"*.", "a.test", 80, false},
        {"[", "a.test", 80, false},
        {"a..test", "a.test", 80, false},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rota_host host;
        CHECK_OK(rota_host_parse(str(cases[i].host), &host));
        if (rota__proxy_excepts(cases[i].list, &host, cases[i].port) != cases[i].is_excepted)
            FAIL("\"%s\" and %s, port %d", cases[i].list, cases[i].host, cases[i].port);
    }
}

/* ---- SOCKS5, by itself */

/* What the proxy has to be told, and says, by turns; an odd one is the proxy's. */
struct talk {
    const char *user, *password, *host;
    rota_str turns[6];
    int expected;
    const char *why;
    bool bytewise;
    rota_stream *ours, *theirs;
};

#define BYTES(literal)                  \
    {                                   \
        "" literal, sizeof(literal) - 1 \
    }

static int play_proxy(void *arg)
{
    struct talk *t = arg;
    char buf[600];
    for (size_t i = 0; i < COUNT(t->turns) && t->turns[i].ptr; i++) {
        rota_str turn = t->turns[i];
        int err = 0;
        if (i % 2 == 0) {
            err = rota_stream_read_exact(t->theirs, buf, turn.len);
            CHECK_MEM(buf, turn.ptr, turn.len);
        }
        for (size_t at = 0; i % 2 == 1 && at < turn.len && err == 0; at++) {
            err = t->bytewise ? rota_stream_write(t->theirs, turn.ptr + at, 1)
                              : rota_stream_write(t->theirs, turn.ptr, turn.len);
            if (!t->bytewise)
                break;
            for (int j = 0; j < 3 && err == 0; j++)
                err = rota_yield();
        }
        CHECK_OK(err);
    }
    return rota_stream_shutdown(t->theirs);
}

static int talk_main(void *arg)
{
    struct talk *t = arg;
    rota_host host;
    const char *why = NULL;
    CHECK_OK(rota_host_parse(str(t->host ? t->host : "a.test"), &host));
    struct rota__socks5 what = {.host = &host, .port = 0x1234};
    if (t->user) {
        what.user = str(t->user);
        what.password = str(t->password);
    }
    rota_task *proxy;
    CHECK_OK(rota_stream_pair(0, &t->ours, &t->theirs));
    CHECK_OK(rota_spawn(play_proxy, t, &proxy));
    int err = rota__socks5_connect(t->ours, &what, &why);
    if (err != t->expected)
        FAIL("%s instead of %s", rota_strerror(err), rota_strerror(t->expected));
    if (t->why)
        CHECK_STR(why, t->why);
    char rest[8] = "";
    if (err == 0)
        CHECK_OK(rota_stream_read_exact(t->ours, rest, 4)); /* it is the host's */
    CHECK_STR(rest, err == 0 ? "host" : "");
    CHECK_OK(rota_join(proxy));
    rota_stream_free(t->ours);
    rota_stream_free(t->theirs);
    return 0;
}

#define HELLO BYTES("\5\1\0")
#define NO_AUTH BYTES("\5\0")
#define ASK BYTES("\5\1\0\3\6a.test\x12\x34")

static const struct talk talks[] = {
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\0\0\1\1\2\3\4\5\6host")}},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\0\0\4................\5\6host")}},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\0\0\3\3abc\5\6host")}},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\0\0\3\0\5\6host")}},
    {.host = "127.0.0.1",
     .turns = {HELLO, NO_AUTH, BYTES("\5\1\0\1\x7f\0\0\1\x12\x34"),
               BYTES("\5\0\0\1\1\2\3\4\5\6host")}},
    {.host = "::1%lo",
     .turns = {HELLO, NO_AUTH, BYTES("\5\1\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\x12\x34"),
               BYTES("\5\0\0\1\1\2\3\4\5\6host")}},
    /* RFC 1929 */
    {.user = "me",
     .password = "pass",
     .turns = {BYTES("\5\2\0\2"), BYTES("\5\2"), BYTES("\1\2me\4pass"), BYTES("\1\0"), ASK,
               BYTES("\5\0\0\1\1\2\3\4\5\6host")}},
    {.user = "me",
     .password = "",
     .turns = {BYTES("\5\2\0\2"), BYTES("\5\0"), ASK, BYTES("\5\0\0\1\1\2\3\4\5\6host")}},
    {.user = "me",
     .password = "",
     .turns = {BYTES("\5\2\0\2"), BYTES("\5\2"), BYTES("\1\2me\0"), BYTES("\1\1")},
     .expected = -EACCES,
     .why = "it refused user and password"},
    /* refusals */
    {.turns = {HELLO, BYTES("\5\xff")},
     .expected = -EACCES,
     .why = "it wants a user and a password"},
    {.user = "me",
     .password = "pass",
     .turns = {BYTES("\5\2\0\2"), BYTES("\5\xff")},
     .expected = -EACCES,
     .why = "it accepts neither user and password nor no authentication"},
    {.turns = {HELLO, BYTES("\5\2")},
     .expected = ROTA_EPROTOCOL,
     .why = "it chose an authentication that was not offered"},
    {.turns = {HELLO, BYTES("\5\1")}, .expected = ROTA_EPROTOCOL},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\1\0\1\0\0\0\0\0\0")},
     .expected = -ECONNREFUSED,
     .why = "it failed"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\2\0\1\0\0\0\0\0\0")},
     .expected = -EACCES,
     .why = "its rules do not allow the connection"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\3\0\1\0\0\0\0\0\0")},
     .expected = -ENETUNREACH,
     .why = "it cannot reach the network"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\4\0\1\0\0\0\0\0\0")},
     .expected = -EHOSTUNREACH,
     .why = "it cannot reach the host"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\5\0\1\0\0\0\0\0\0")},
     .expected = -ECONNREFUSED,
     .why = "the host refused the connection"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\6\0\1\0\0\0\0\0\0")},
     .expected = -EHOSTUNREACH,
     .why = "the host is too far away (TTL expired)"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\7\0\1\0\0\0\0\0\0")},
     .expected = -EOPNOTSUPP,
     .why = "it does not support CONNECT"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\10\0\1\0\0\0\0\0\0")},
     .expected = -EAFNOSUPPORT,
     .why = "it does not support this type of address"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\11\0\1\0\0\0\0\0\0")},
     .expected = -ECONNREFUSED,
     .why = "it refused with an unknown code"},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\377")}, .expected = ROTA_ETRUNCATED},
    /* no SOCKS5 */
    {.turns = {HELLO, BYTES("HTTP/1.1 400 Bad Request\r\n\r\n")},
     .expected = ROTA_EPROTOCOL,
     .why = "it does not speak SOCKS5"},
    {.turns = {HELLO, BYTES("\4\0")}, .expected = ROTA_EPROTOCOL},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\4\0\0\1")}, .expected = ROTA_EPROTOCOL},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\0\0\2")}, .expected = ROTA_EPROTOCOL},
    /* ends */
    {.turns = {HELLO}, .expected = ROTA_ETRUNCATED},
    {.turns = {HELLO, BYTES("\5")}, .expected = ROTA_ETRUNCATED},
    {.turns = {HELLO, NO_AUTH, ASK}, .expected = ROTA_ETRUNCATED},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\0\0\1\1\2\3\4\5")}, .expected = ROTA_ETRUNCATED},
    {.turns = {HELLO, NO_AUTH, ASK, BYTES("\5\0\0\3")}, .expected = ROTA_ETRUNCATED},
};

TEST_TOGETHER(socks5_is_spoken_whole_and_byte_by_byte)
{
    for (size_t i = 0; i < COUNT(talks); i++) {
        for (int bytewise = 0; bytewise < 2; bytewise++) {
            struct talk talk = talks[i];
            talk.bytewise = bytewise;
            CHECK_OK(rota_run(talk_main, &talk));
        }
    }
}

/* ---- Servers, with a proxy before them */

struct proxy {
    rota_listener *listener;
    rota_task *task;
    int port, connections;
    const char *user, *password;
    const char *reply; /* of HTTP: to CONNECT */
    int code;          /* of SOCKS: the answer to the first request */
    char seen[2000];
};

struct place {
    struct proxy proxy;
    int (*talk)(rota_stream *s, void *arg); /* the proxy's */
    void (*body)(struct place *p);
    rota_tls_context *server_tls, *client_tls;
    rota_listener *plain, *secure;
    int plain_port, secure_port;
};

ROTA_PRINTF(2, 3) static void note(struct proxy *p, const char *format, ...)
{
    size_t len = strlen(p->seen);
    va_list args;
    va_start(args, format);
    vsnprintf(p->seen + len, sizeof p->seen - len, format, args);
    va_end(args);
}

static int pump(void *arg)
{
    rota_stream **pair = arg;
    char buf[4096];
    ssize_t n;
    while ((n = rota_stream_read(pair[0], buf, sizeof buf)) > 0) {
        int err = rota_stream_write(pair[1], buf, (size_t)n);
        if (err < 0)
            return 0;
    }
    ROTA_IGNORE(rota_stream_shutdown(pair[1]));
    return 0;
}

/* All names are this machine. */
static int carry(rota_stream *s, int port)
{
    ROTA_AUTO(rota_stream) there = NULL;
    int err = rota_tcp_connect("127.0.0.1", port, NULL, &there);
    if (err < 0)
        return err;
    rota_stream *out[] = {s, there}, *back[] = {there, s};
    ROTA_GROUP(g);
    rota_group_spawn(&g, pump, out);
    rota_group_spawn(&g, pump, back);
    return rota_group_wait(&g);
}

/* A length, and as many bytes. */
static int read_text(rota_stream *s, char ret_text[256])
{
    unsigned char len;
    int err = rota_stream_read_exact(s, &len, 1);
    if (err == 0 && len)
        err = rota_stream_read_exact(s, ret_text, len);
    ret_text[err == 0 ? len : 0] = '\0';
    return err;
}

static int read_user(rota_stream *s, struct proxy *p)
{
    char version, user[256], password[256];
    int err = rota_stream_read_exact(s, &version, 1);
    if (err == 0)
        err = read_text(s, user);
    if (err == 0)
        err = read_text(s, password);
    if (err == 0)
        note(p, "user %s:%s\n", user, password);
    return err < 0 ? err : rota_stream_write(s, "\1\0", 2);
}

static int talk_socks(rota_stream *s, void *arg)
{
    struct proxy *p = arg;
    unsigned char head[4], methods[255], address[256] = "", port[2];
    p->connections++;
    int err = rota_stream_read_exact(s, head, 2);
    if (err == 0)
        err = rota_stream_read_exact(s, methods, head[1]);
    if (err == 0)
        err = rota_stream_write(s, p->user ? "\5\2" : "\5\0", 2);
    if (err == 0 && p->user)
        err = read_user(s, p);
    if (err == 0)
        err = rota_stream_read_exact(s, head, 4);
    unsigned char len = head[3] == 1 ? 4 : 16;
    if (err == 0 && head[3] == 3)
        err = rota_stream_read_exact(s, &len, 1);
    if (err == 0)
        err = rota_stream_read_exact(s, address, len);
    if (err == 0)
        err = rota_stream_read_exact(s, port, 2);
    if (err < 0)
        return err;
    if (head[3] == 3)
        note(p, "name %s\n", (char *)address);
    else
        note(p, "address %d %d.%d\n", len, address[0], address[len - 1]);
    unsigned char reply[10] = {5, (unsigned char)p->code, 0, 1};
    bool refuses = p->code;
    p->code = 0;
    for (size_t i = 0; i < sizeof reply && err == 0; i++)
        err = rota_stream_write(s, reply + i, 1);
    return err < 0 || refuses ? err : carry(s, port[0] << 8 | port[1]);
}

static int talk_http(rota_stream *s, void *arg)
{
    struct proxy *p = arg;
    rota_str head;
    p->connections++;
    int err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
    if (err < 0)
        return err;
    note(p, "%.*s", (int)head.len, head.ptr);
    int port = 0;
    sscanf(p->seen, "CONNECT behind.test:%d ", &port);
    err = rota_stream_write(s, p->reply, strlen(p->reply));
    return err < 0 || !strstr(p->reply, " 200 ") ? err : carry(s, port);
}

static int echo(rota_http_request *r)
{
    ROTA_AUTO(rota_websocket) ws = NULL;
    rota_websocket_message m;
    int err = rota_websocket_accept(r, NULL, &ws);
    if (err == 0 && (err = rota_websocket_read(ws, &m)) > 0)
        err = rota_websocket_write(ws, ROTA_WEBSOCKET_TEXT, m.bytes.ptr, m.bytes.len);
    if (err == 0)
        err = rota_websocket_close(ws, 1000, NULL);
    return err;
}

static int handle(rota_http_request *r, void *arg)
{
    if (rota_str_equal(rota_http_request_path(r), "/ws"))
        return echo(r);
    rota_str version = rota_http_request_version(r);
    return rota_http_reply(r, 200, "text/plain", version.ptr, version.len);
}

static int serve_proxy(void *arg)
{
    struct place *p = arg;
    return rota_serve(p->proxy.listener, p->talk, &p->proxy, NULL);
}

static int serve_plain(void *arg)
{
    struct place *p = arg;
    return rota_http_serve(&p->plain, 1, handle, NULL, NULL);
}

static int serve_secure(void *arg)
{
    struct place *p = arg;
    return rota_http_serve(&p->secure, 1, handle, NULL,
                           &(rota_http_serve_options){.tls = p->server_tls});
}

static int place_main(void *arg)
{
    struct place *p = arg;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &p->proxy.listener));
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &p->plain));
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &p->secure));
    p->proxy.port = rota_listener_port(p->proxy.listener);
    p->plain_port = rota_listener_port(p->plain);
    p->secure_port = rota_listener_port(p->secure);
    rota_task *tasks[3];
    CHECK_OK(rota_spawn(serve_proxy, p, &tasks[0]));
    CHECK_OK(rota_spawn(serve_plain, p, &tasks[1]));
    CHECK_OK(rota_spawn(serve_secure, p, &tasks[2]));
    p->body(p);
    for (int i = 0; i < 3; i++)
        rota_task_free(tasks[i]);
    rota_listener_free(p->proxy.listener);
    rota_listener_free(p->plain);
    rota_listener_free(p->secure);
    return 0;
}

static void run(struct place *p, int (*talk)(rota_stream *, void *), void (*body)(struct place *))
{
    struct authority authority = authority_new("Test Authority");
    struct identity id = identity_new(
        &authority, &(struct wanted){.names = "DNS:behind.test,DNS:localhost,IP:127.0.0.1"});
    CHECK_OK(rota_tls_context_new(
        &(rota_tls_options){.cert_pem = id.cert_pem, .key_pem = id.key_pem, .alpn = rota_http_alpn},
        &p->server_tls));
    CHECK_OK(rota_tls_context_new(&(rota_tls_options){.ca_pem = authority.pem}, &p->client_tls));
    rota_loop_options options = {.virtual_clock = true};
    p->talk = talk;
    p->body = body;
    CHECK_OK(rota_run_with(place_main, p, &options));
    rota_tls_context_free(p->server_tls);
    rota_tls_context_free(p->client_tls);
    identity_free(&id);
    authority_free(&authority);
}

static rota_http_session *session_by(struct place *p, const char *scheme)
{
    char proxy[100];
    rota_http_session *session = NULL;
    snprintf(proxy, sizeof proxy, "%s127.0.0.1:%d", scheme, p->proxy.port);
    rota_http_session_options options = {.proxy = proxy, .tls = p->client_tls};
    CHECK_OK(rota_http_session_new(&options, &session));
    return session;
}

/* A URL of a server behind the proxy; valid until the next call. */
static const char *url_at(struct place *p, const char *scheme, const char *host, const char *path)
{
    static char url[200];
    bool secure = strcmp(scheme, "https") == 0 || strcmp(scheme, "wss") == 0;
    snprintf(url, sizeof url, "%s://%s:%d%s", scheme, host, secure ? p->secure_port : p->plain_port,
             path);
    return url;
}

static void expect(rota_http_session *session, const char *url, const char *body)
{
    rota_http_response *r = NULL;
    int err = rota_http_fetch(session, url, NULL, &r);
    if (err < 0)
        FAIL("%s: %s", url, rota_error(err));
    CHECK_STR(rota_http_body(r).ptr, body);
    rota_http_response_free(r);
}

static void expect_failure(rota_http_session *session, const char *url, int expected,
                           const char *words)
{
    rota_http_response *r = NULL;
    int err = rota_http_fetch(session, url, NULL, &r);
    if (err != expected || !strstr(rota_error(err), words))
        FAIL("%s: %s", rota_strerror(err), rota_error(err));
}

static void expect_echo(rota_http_session *session, const char *url)
{
    ROTA_AUTO(rota_websocket) ws = NULL;
    rota_websocket_message m;
    CHECK_OK(rota_websocket_connect(session, url, NULL, &ws));
    CHECK_OK(rota_websocket_write(ws, ROTA_WEBSOCKET_TEXT, "hello", 5));
    CHECK_INT(rota_websocket_read(ws, &m), ==, 1);
    CHECK_MEM(m.bytes.ptr, "hello", 5);
    CHECK_OK(rota_websocket_close(ws, 1000, NULL));
}

/* ---- SOCKS5 */

static int look_up_never(const char *host, rota_address *ret_addresses, size_t max)
{
    FAIL("looked up %s", host);
}

static void remote(struct place *p)
{
    rota_http_session *session = session_by(p, "socks5h://");
    int (*before)(const char *, rota_address *, size_t) = rota__lookup;
    rota__lookup = look_up_never;
    expect(session, url_at(p, "http", "behind.test", "/"), "HTTP/1.1");
    CHECK_STR(p->proxy.seen, "name behind.test\n");
    expect(session, url_at(p, "https", "behind.test.", "/"), "HTTP/2");
    expect_echo(session, url_at(p, "ws", "behind.test", "/ws"));
    expect_echo(session, url_at(p, "wss", "behind.test", "/ws"));
    p->proxy.seen[0] = '\0';
    expect(session, url_at(p, "http", "127.0.0.1", "/"), "HTTP/1.1");
    CHECK_STR(p->proxy.seen, "address 4 127.1\n");
    rota__lookup = before;
    rota_http_session_free(session);
}

TEST_TOGETHER(socks5h_lets_the_proxy_look_up_names_for_all_protocols)
{
    struct place p = {0};
    run(&p, talk_socks, remote);
}

static int look_up_three(const char *host, rota_address *ret_addresses, size_t max)
{
    CHECK_OK(rota__address_parse("192.0.2.1", 0, &ret_addresses[0]));
    CHECK_OK(rota__address_parse("2001:db8::2", 0, &ret_addresses[1]));
    CHECK_OK(rota__address_parse("192.0.2.3", 0, &ret_addresses[2]));
    return 3;
}

static bool allow_not_the_second(void *arg, const char *host, const rota_address *address)
{
    return address->any.sa_family != AF_INET6;
}

static void local(struct place *p)
{
    rota_http_session *session = session_by(p, "socks5://me:p%40ss@");
    int (*before)(const char *, rota_address *, size_t) = rota__lookup;
    rota__lookup = look_up_three;
    p->proxy.code = 4; /* of the first address: another one may be reached */
    expect(session, url_at(p, "https", "behind.test", "/"), "HTTP/2");
    CHECK_STR(p->proxy.seen, "user me:p@ss\naddress 4 192.1\nuser me:p@ss\naddress 16 32.2\n");
    rota_http_session_free(session);

    char proxy[100];
    snprintf(proxy, sizeof proxy, "socks5://127.0.0.1:%d", p->proxy.port);
    rota_http_session_options options = {.proxy = proxy, .allow = allow_not_the_second};
    CHECK_OK(rota_http_session_new(&options, &session));
    p->proxy.user = NULL;
    p->proxy.seen[0] = '\0';
    p->proxy.code = 5;
    expect(session, url_at(p, "http", "behind.test", "/"), "HTTP/1.1");
    CHECK_STR(p->proxy.seen, "address 4 192.1\naddress 4 192.3\n");
    p->proxy.code = 2;
    rota_http_session_free(session);
    session = session_by(p, "socks5h://");
    expect_failure(session, url_at(p, "http", "other.test", "/"), -EACCES,
                   "its rules do not allow the connection");
    CHECK(strstr(rota_error(-EACCES), ": the proxy 127.0.0.1:"));
    rota__lookup = before;
    rota_http_session_free(session);
}

TEST_TOGETHER(socks5_looks_up_names_here_and_tries_each_address)
{
    struct place p = {.proxy.user = "me"};
    run(&p, talk_socks, local);
}

static void by_environment(struct place *p)
{
    static const char *const names[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
                                        "all_proxy",  "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < COUNT(names); i++)
        unsetenv(names[i]);
    char proxy[100];
    rota_http_session *session = NULL;
    snprintf(proxy, sizeof proxy, "socks5h://127.0.0.1:%d", p->proxy.port);
    setenv("ALL_PROXY", proxy, 1);
    setenv("HTTPS_PROXY", "http://me:secret@pro xy/", 1);
    setenv("NO_PROXY", "127.0.0.0/8", 1);
    CHECK_OK(rota_http_session_new(&(rota_http_session_options){.tls = p->client_tls}, &session));
    expect(session, url_at(p, "http", "behind.test", "/"), "HTTP/1.1");
    CHECK_INT(p->proxy.connections, ==, 1);
    expect(session, url_at(p, "https", "127.0.0.1", "/"), "HTTP/2"); /* without the proxy */
    expect_failure(session, url_at(p, "https", "behind.test", "/"), -EINVAL,
                   "HTTPS_PROXY: \"http://me:***@pro xy/\" has an invalid host");
    CHECK_INT(p->proxy.connections, ==, 1);
    rota_http_session_free(session);
    for (size_t i = 0; i < COUNT(names); i++)
        unsetenv(names[i]);
}

TEST_TOGETHER(an_unusable_setting_fails_only_where_it_would_be_used)
{
    struct place p = {0};
    run(&p, talk_socks, by_environment);
}

/* ---- CONNECT */

#define BYTES_BEHIND "HTTP/1.1 204 Odd\r\nContent-Length: 10\r\n\r\nHTTP/1.1 200 "
#define TWO_INTERIMS                                              \
    "HTTP/1.1 102 Wait\r\nX: y\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" \
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"

static void connected(struct place *p)
{
    static const char *const replies[] = {
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 Connection established\r\n\r\n",
        BYTES_BEHIND,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        TWO_INTERIMS,
    };
    for (size_t i = 0; i < COUNT(replies); i++) {
        rota_http_session *session = session_by(p, "http://me:secret@");
        p->proxy.reply = replies[i];
        p->proxy.seen[0] = '\0';
        if (i == 2)
            expect_failure(session, url_at(p, "https", "behind.test", "/"), ROTA_EPROTOCOL,
                           "the proxy's reply is invalid");
        else
            expect(session, url_at(p, "https", "behind.test", "/"), "HTTP/2");
        if (i != 2) {
            p->proxy.seen[0] = '\0';
            expect_echo(session, url_at(p, "ws", "behind.test", "/ws"));
        }
        CHECK(strstr(p->proxy.seen, "\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n"));
        rota_http_session_free(session);
    }
}

TEST_TOGETHER(interim_answers_to_connect_are_passed_over)
{
    struct place p = {0};
    run(&p, talk_http, connected);
}

static void refused(struct place *p)
{
    static const struct {
        const char *reply, *words;
        int err;
    } cases[] = {
        {"HTTP/1.1 407 Who are you?\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: "
         "9\r\n\r\nnot today",
         "the proxy refused: 407 Who are you?", -ECONNREFUSED},
        {"HTTP/1.1 502 \r\nContent-Length: 0\r\n\r\n", "the proxy refused: 502 Bad Gateway",
         -ECONNREFUSED},
        {"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "the proxy refused: 302 Found",
         -ECONNREFUSED},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\n\r\n", "the proxy refused: 403 No",
         -ECONNREFUSED},
        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "reply is invalid", ROTA_EPROTOCOL},
        {"SSH-2.0-OpenSSH\r\n\r\n", "reply is invalid", ROTA_EPROTOCOL},
        {"HTTP/1.1 100 Continue\r\n\r\n", "", ROTA_ETRUNCATED},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rota_http_session *session = session_by(p, "http://me:secret@");
        p->proxy.reply = cases[i].reply;
        expect_failure(session, url_at(p, "https", "behind.test", "/"), cases[i].err,
                       cases[i].words);
        CHECK(!strstr(rota_error(cases[i].err), "secret"));
        rota_http_session_free(session);
    }
}

TEST_TOGETHER(a_proxy_that_refuses_is_told_in_its_own_words)
{
    struct place p = {0};
    run(&p, talk_http, refused);
}

static void beyond_field_limit(struct place *p)
{
    char reply[1000] = "HTTP/1.1 200 OK\r\n";
    char url[100];
    rota_http_session *session;
    snprintf(url, sizeof url, "http://127.0.0.1:%d", p->proxy.port);
    rota_http_session_options options = {.proxy = url, .fields = 1};
    CHECK_OK(rota_http_session_new(&options, &session));
    for (int i = 0; i < 50; i++)
        strcat(reply, "X: y\r\n");
    p->proxy.reply = strcat(reply, "\r\n");
    expect_failure(session, url_at(p, "https", "behind.test", "/"), ROTA_EPROTOCOL,
                   "the proxy's reply is invalid");
    rota_http_session_free(session);
}

TEST_TOGETHER(a_reply_to_connect_keeps_to_the_limit_of_fields)
{
    struct place p = {0};
    run(&p, talk_http, beyond_field_limit);
}

static void endless(struct place *p)
{
    char reply[2000] = "";
    for (int i = 0; i < 40; i++)
        strcat(reply, "HTTP/1.1 102 Wait\r\n\r\n");
    rota_http_session *session = session_by(p, "http://");
    p->proxy.reply = reply;
    expect_failure(session, url_at(p, "https", "behind.test", "/"), ROTA_EPROTOCOL,
                   "reply is invalid");
    rota_http_session_free(session);
}

TEST_TOGETHER(interim_answers_to_connect_have_an_end)
{
    struct place p = {0};
    run(&p, talk_http, endless);
}
