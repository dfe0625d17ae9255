/* HTTP/1.1 without a socket. Each message of the tables is read whole, split at every byte, and
 * byte by byte: it has to mean the same. */
#include "http/chars.h"
#include "http/fields.h"
#include "http/h1.h"
#include "http/h1_write.h"

#include "pieces.h"
#include "refusals.h"
#include "told.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- A reader that writes down what it is told */

struct reader {
    struct rota__h1 h1;
    rota_http_field fields[ROTA__H1_FIELDS];
    struct told told;
    bool in_data;
};

#define STR(s_) (int)(s_).len, (s_).ptr

static void tell_head(struct reader *r, const struct rota__h1_head *head)
{
    static const char *const bodies[] = {"", " length", " chunked", " until-end", " tunnel"};
    if (head->status)
        tell(&r->told, "<%d %.*s 1.%d", head->status, STR(head->reason), head->minor);
    else
        tell(&r->told, "<%.*s %.*s 1.%d @%.*s", STR(head->method), STR(head->target), head->minor,
             STR(head->authority));
    for (size_t i = 0; i < head->count; i++)
        tell(&r->told, " %.*s=%.*s", STR(head->fields[i].name), STR(head->fields[i].value));
    tell(&r->told, "%s%s%s%s>", bodies[head->body], head->keep_alive ? " keep" : "",
         head->expect_continue ? " expect" : "", head->upgrade ? " upgrade" : "");
}

static void tell_event(struct reader *r, int event, const struct rota__h1_item *item)
{
    if (event == ROTA__H1_DATA) {
        tell(&r->told, "%s%.*s", r->in_data ? "" : "[", STR(item->data));
        r->in_data = true;
        return;
    }
    if (r->in_data)
        tell(&r->told, "]");
    r->in_data = false;
    if (event == ROTA__H1_HEAD)
        tell_head(r, &item->head);
    else if (event == ROTA__H1_TRAILER)
        for (size_t i = 0; i < item->head.count; i++)
            tell(&r->told, " +%.*s=%.*s", STR(item->head.fields[i].name),
                 STR(item->head.fields[i].value));
    else if (event == ROTA__H1_END)
        tell(&r->told, "$");
}

static int take(void *arg, rota_str bytes, size_t *ret_used)
{
    struct reader *r = arg;
    struct rota__h1_item item;
    int event = rota__h1_next(&r->h1, bytes, ret_used, &item);
    if (event > 0)
        tell_event(r, event, &item);
    return event;
}

static void read_all(struct reader *r, rota_str bytes, size_t split, size_t piece)
{
    int event = read_in_pieces(bytes, split, piece, take, r);
    if (event < 0) {
        CHECK_INT(event, ==, -EBADMSG);
        tell(&r->told, "%s!%d %s", r->in_data ? "]" : "", r->h1.status, r->h1.error);
        return;
    }
    event = rota__h1_finish(&r->h1);
    if (event == ROTA__H1_END)
        tell_event(r, event, NULL);
    else if (event < 0)
        tell(&r->told, "%s!%s", r->in_data ? "]" : "", r->h1.error);
}

enum { SERVER = 1, HEAD_ANSWER = 2, CONNECT_ANSWER = 4 };

static void check_reading(const char *name, int role, const struct rota__h1_limits *limits,
                          rota_str bytes, size_t split, size_t piece, const char *expected)
{
    struct reader *r = calloc(1, sizeof *r);
    rota__h1_init(&r->h1, role & SERVER, limits, r->fields);
    r->h1.answers_head = role & HEAD_ANSWER;
    r->h1.answers_connect = role & CONNECT_ANSWER;
    read_all(r, bytes, split, piece);
    if (strncmp(r->told.text, expected, strlen(expected)) != 0 ||
        (!strchr(expected, '!') && strcmp(r->told.text, expected) != 0))
        FAIL("%s, split at %zu, in pieces of %zu:\n  is   %s\n  want %s", name, split, piece,
             r->told.text, expected);
    free(r);
}

static void check_every_way(const char *name, int role, const struct rota__h1_limits *limits,
                            rota_str bytes, const char *expected)
{
    for (size_t split = 0; split <= bytes.len; split++)
        check_reading(name, role, limits, bytes, split, bytes.len + 1, expected);
    check_reading(name, role, limits, bytes, 0, 1, expected);
    check_reading(name, role, limits, bytes, 0, 7, expected);
}

/* ---- Messages that are understood */

struct message {
    const char *name, *bytes, *expected;
    int role;
    size_t len; /* where a NUL is in it */
};

static void check_messages(const struct message *messages, size_t count, int role)
{
    for (size_t i = 0; i < count; i++) {
        const struct message *m = &messages[i];
        rota_str bytes = {m->bytes, m->len ? m->len : strlen(m->bytes)};
        check_every_way(m->name, role | m->role, NULL, bytes, m->expected);
    }
}

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))

static const struct message requests[] = {
    {"a request without a body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
     "<GET / 1.1 @a Host=a keep>$"},
    {"two in a row", "GET /1 HTTP/1.1\r\nHost:a\r\n\r\nHEAD /2 HTTP/1.1\r\nHost:\t a \t\r\n\r\n",
     "<GET /1 1.1 @a Host=a keep>$<HEAD /2 1.1 @a Host=a keep>$"},
    {"an empty line before it", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
     "<GET / 1.1 @a Host=a keep>$"},
    {"HTTP/1.0 ends the connection", "GET / HTTP/1.0\r\n\r\n", "<GET / 1.0 @>$"},
    {"HTTP/1.0 keeps it when asked to", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
     "<GET / 1.0 @ Connection=Keep-Alive keep>$"},
    {"a later minor version is 1.1", "GET / HTTP/1.7\r\nHost: a\r\n\r\n",
     "<GET / 1.1 @a Host=a keep>$"},
    {"close among other options", "GET / HTTP/1.1\r\nHost: a\r\nConnection: te,, Close ,x\r\n\r\n",
     "<GET / 1.1 @a Host=a Connection=te,, Close ,x>$"},
    {"a length", "POST /x?y=%20 HTTP/1.1\r\nHost: a:8080\r\nContent-Length: 5\r\n\r\nhello",
     "<POST /x?y=%20 1.1 @a:8080 Host=a:8080 Content-Length=5 length keep>[hello]$"},
    {"a length of nothing", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 000\r\n\r\n",
     "<POST / 1.1 @a Host=a Content-Length=000 length keep>$"},
    {"chunks",
     "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
     "5\r\nhello\r\n00001;name=\"va;lue\"\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n",
     "<PUT / 1.1 @a Host=a Transfer-Encoding=Chunked chunked keep>[hello 0123456789]$"},
    {"trailers",
     "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
     "1\r\nx\r\n0\r\nSum: 1\r\nOther:\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
     "<PUT / 1.1 @a Host=a Transfer-Encoding=chunked chunked keep>[x] +Sum=1 +Other=$"
     "<GET / 1.1 @b Host=b keep>$"},
    {"100-continue",
     "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
     "<PUT / 1.1 @a Host=a Expect=100-Continue Content-Length=1 length keep expect>[x]$"},
    {"an upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
     "<GET / 1.1 @a Host=a Connection=Upgrade Upgrade=websocket keep upgrade>$"},
    {"Upgrade that Connection does not name",
     "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
     "<GET / 1.1 @a Host=a Upgrade=websocket keep>$"},
    {"an absolute target", "GET http://A:80/x HTTP/1.1\r\nHost: a\r\n\r\n",
     "<GET http://A:80/x 1.1 @A:80 Host=A:80 keep>$"},
    {"an absolute target and another Host", "GET http://b/ HTTP/1.1\r\nX: y\r\nhost: a\r\n\r\n",
     "<GET http://b/ 1.1 @b X=y host=b keep>$"},
    {"an absolute target in HTTP/1.0", "GET https://b:1?c HTTP/1.0\r\n\r\n",
     "<GET https://b:1?c 1.0 @b:1>$"},
    {"extensions of chunks",
     "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
     "1;a\r\nb\r\n1 ; a\t=\tb ;c= \"d\\\";\\\\ e\";f\r\nc\r\n"
     "1;a=\"\"\r\nd\r\n0;g=h\r\n\r\n",
     "<PUT / 1.1 @a Host=a Transfer-Encoding=chunked chunked keep>[bcd]$"},
    {"CONNECT", "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n",
     "<CONNECT [::1]:443 1.1 @[::1]:443 Host=[::1]:443 keep>$"},
    {"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "<OPTIONS * 1.1 @a Host=a keep>$"},
    {"bytes beyond ASCII in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\tb\r\n\r\n",
     "<GET / 1.1 @a Host=a X=\xc3\xa4\tb keep>$"},
    {"an unknown method", "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n",
     "<BREW /pot 1.1 @a Host=a keep>$"},
    {"methods have a case", "connect / HTTP/1.1\r\nHost: a\r\n\r\n",
     "<connect / 1.1 @a Host=a keep>$"},
    {"nothing", "", ""},
};

TEST(requests_are_read_alike_however_they_are_split)
{
    check_messages(requests, COUNT(requests), SERVER);
}

static const struct message responses[] = {
    {"a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
     "<200 OK 1.1 Content-Length=2 length keep>[ok]$"},
    {"no reason", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
     "<404  1.1 Content-Length=0 length keep>$"},
    {"not even its space", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
     "<404  1.1 Content-Length=0 length keep>$"},
    {"until the end", "HTTP/1.1 200 OK\r\n\r\nall of it", "<200 OK 1.1 until-end>[all of it]$"},
    {"until the end, which comes at once", "HTTP/1.1 200 OK\r\n\r\n", "<200 OK 1.1 until-end>$"},
    {"interim ones before it",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
     "HTTP/1.1 204 No Content\r\n\r\n",
     "<100 Continue 1.1 keep><103 Early Hints 1.1 Link=x keep><204 No Content 1.1 keep>$"},
    {"204 has no body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
     "<204 No Content 1.1 Content-Length=5 keep>$"},
    {"304 has none", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
     "<304 Not Modified 1.1 Content-Length=5 keep>$"},
    {"nor has the answer to HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
     "<200 OK 1.1 Transfer-Encoding=chunked keep>$", HEAD_ANSWER},
    {"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
     "<200 OK 1.1 Transfer-Encoding=chunked chunked keep>[abc]$"},
    {"a tunnel by CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
     "<200 OK 1.1 Content-Length=5 tunnel keep>", CONNECT_ANSWER},
    {"a refused CONNECT", "HTTP/1.1 403 No\r\nContent-Length: 1\r\n\r\nx",
     "<403 No 1.1 Content-Length=1 length keep>[x]$", CONNECT_ANSWER},
    {"an upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n",
     "<101 Switching Protocols 1.1 Connection=upgrade Upgrade=w tunnel keep upgrade>"},
    {"folded lines",
     "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\nX: a\r\n\tb \r\n  \r\n c\r\n\r\n \n",
     "<200 OK 1.1 Content-Length=2 X=a  \tb        c length keep>[ \n]$"},
    {"a folded trailer",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n0\r\nSum: 1\r\n 2\r\n\r\n",
     "<200 OK 1.1 Transfer-Encoding=chunked chunked keep> +Sum=1   2$"},
    {"a fold that divides a length", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n\r\nx",
     "!400 invalid Content-Length"},
    {"a fold without a field", "HTTP/1.1 200 OK\r\n X: a\r\n\r\n", "!400 a folded line"},
    {"a fold behind a bare LF", "HTTP/1.1 200 OK\r\nX: a\n b\r\n\r\n",
     "!400 a line ends with a bare LF"},
    {"a cut head", "HTTP/1.1 200 OK\r\nContent-", "!the connection ended within a head"},
    {"a cut body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
     "<200 OK 1.1 Content-Length=9 length keep>[abc]!the connection ended within a body"},
    {"a cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
     "<200 OK 1.1 Transfer-Encoding=chunked chunked keep>[abc]!the connection ended within a body"},
    {"no response", "220 mail.example ESMTP\r\n", "!400 no HTTP version"},
    {"an invalid status", "HTTP/1.1 20x OK\r\n\r\n", "!502 no status"},
    {"another version", "HTTP/2.0 200 OK\r\n\r\n", "!505 unsupported HTTP version"},
    {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
     "!400 more than one Content-Length"},
};

TEST(responses_are_read_alike_however_they_are_split)
{
    check_messages(responses, COUNT(responses), 0);
}

/* ---- Requests that are refused: what two parsers could understand differently */

static void check_refusal(const struct refusal *f)
{
    size_t len = f->len ? f->len : strlen(f->bytes);
    char expected[512], *told = expected;
    if (*f->expected != '!')
        told += sprintf(told, "<POST / 1.1 @a Host=a Transfer-Encoding=chunked ");
    strcpy(told, f->expected);
    char name[64];
    snprintf(name, sizeof name, "RFC %s, \"%.30s\"", f->rfc, f->bytes + (len > 30 ? len - 30 : 0));
    check_every_way(name, SERVER, NULL, (rota_str){f->bytes, len}, expected);
}

TEST(what_two_parsers_could_understand_differently_is_refused)
{
    for (size_t i = 0; i < COUNT(refusals); i++)
        check_refusal(&refusals[i]);
}

/* ---- Limits */

static void check_limit(const char *bytes, struct rota__h1_limits limits, const char *expected)
{
    check_every_way(bytes, SERVER, &limits, (rota_str){bytes, strlen(bytes)}, expected);
}

TEST(each_size_has_a_limit)
{
    check_limit("GET /12345 HTTP/1.1\r\nHost: a\r\n\r\n", (struct rota__h1_limits){.line = 21},
                "<GET /12345 1.1 @a Host=a keep>$");
    check_limit("GET /123456 HTTP/1.1\r\nHost: a\r\n\r\n", (struct rota__h1_limits){.line = 21},
                "!414 first line longer than 21 bytes");
    check_limit("GET / HTTP/1.1\r\nHost: a\r\n\r\n", (struct rota__h1_limits){.head = 27},
                "<GET / 1.1 @a Host=a keep>$");
    check_limit("GET / HTTP/1.1\r\nHost: ab\r\n\r\n", (struct rota__h1_limits){.head = 27},
                "!431 head longer than 27 bytes (option head)");
    check_limit("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n", (struct rota__h1_limits){.fields = 1},
                "!431 more than 1 header fields (option fields)");
    check_limit(HEAD "Content-Length: 6\r\n\r\n", (struct rota__h1_limits){.body = 5},
                "!413 body longer than 5 bytes (option body)");
    check_limit(CHUNKED "3\r\nabc\r\n3\r\ndef\r\n", (struct rota__h1_limits){.body = 5},
                "<POST / 1.1 @a Host=a Transfer-Encoding=chunked chunked keep>[abc]!413 body "
                "longer than 5 bytes (option body)");
    check_limit(CHUNKED "0\r\nX: 1234567890123456789012345678901234567890123456789012345678901234"
                        "567890\r\n\r\n",
                (struct rota__h1_limits){.head = 70},
                "<POST / 1.1 @a Host=a Transfer-Encoding=chunked chunked keep>!431 trailers "
                "longer than 70 bytes (option head)");
}

TEST(an_endless_head_is_refused_before_its_end)
{
    static struct reader r;
    rota__h1_init(&r.h1, true, NULL, r.fields);
    size_t len = 0;
    char *head = malloc(1 << 20);
    len += (size_t)sprintf(head, "GET / HTTP/1.1\r\n");
    while (len < 40000)
        len += (size_t)sprintf(head + len, "X-%zu: y\r\n", len);
    size_t used;
    struct rota__h1_item item;
    for (size_t at = 1; at <= len; at++) {
        int event = rota__h1_next(&r.h1, (rota_str){head, at}, &used, &item);
        if (event < 0) {
            CHECK_INT(at, <=, 32768);
            CHECK_INT(r.h1.status, ==, 431);
            free(head);
            return;
        }
    }
    FAIL("took %zu bytes", len);
}

TEST(extensions_of_chunks_cannot_outweigh_the_data)
{
    static struct reader r;
    struct rota__h1_item item;
    rota__h1_init(&r.h1, true, NULL, r.fields);
    size_t used, total = 0;
    CHECK_INT(rota__h1_next(&r.h1, (rota_str){CHUNKED, sizeof CHUNKED - 1}, &used, &item), ==,
              ROTA__H1_HEAD);
    char chunk[1100] = "1;";
    memset(chunk + 2, 'x', 900);
    strcpy(chunk + 902, "\r\nd\r\n");
    int event = 0;
    for (; event >= 0 && total < 10000000; total += strlen(chunk)) {
        rota_str rest = {chunk, strlen(chunk)};
        while ((event = rota__h1_next(&r.h1, rest, &used, &item)) > 0)
            rest = (rota_str){rest.ptr + used, rest.len - used};
    }
    CHECK_INT(event, ==, -EBADMSG);
    CHECK_INT(total, <, 100000);
}

/* ---- Hosts */

static const struct {
    const char *host;
    bool is_valid;
} hosts[] = {
    {"a", true},
    {"A.Example", true},
    {"a.example.", true},
    {"a_b.example", true},
    {"a:80", true},
    {"a:", true},
    {"a:0", true},
    {"a:65535", true},
    {"127.0.0.1", true},
    {"127.0.0.1:8080", true},
    {"[::1]", true},
    {"[::1]:80", true},
    {"[::ffff:127.0.0.1]:80", true},
    {"[fe80::1%25eth0]:80", true},
    {"[v1.x]", true},
    {"1and1.example", true},
    {"a;b", true},
    {":80", false},
    {":", false},
    {".", false},
    {".a", false},
    {"a..b", false},
    {"a..", false},
    {"a:b", false},
    {"a:80:80", false},
    {"a:65536", false},
    {"a:-1", false},
    {"a: 80", false},
    {"a b", false},
    {"a,b", true}, /* of RFC 3986, section 3.2.2 */
    {"a@b", false},
    {"u:p@b", false},
    {"a/b", false},
    {"a\\b", false},
    {"a?b", false},
    {"a#b", false},
    {"a\"b", false},
    {"<a>", false},
    {"a%2eb", false},
    {"%61", false},
    {"a%25.b", false},
    {"a%", false},
    {"\xc3\xa4", false},
    {"127.1", false},
    {"0x7f.0.0.1", false},
    {"017700000001", false},
    {"2130706433:80", false},
    {"127.0.0.1.", false},
    {"1.2.3.4.5", false},
    {"::1", false},
    {"::1:80", false},
    {"[", false},
    {"[]", false},
    {"[::1", false},
    {"[::1]x", false},
    {"[::1]80", false},
    {"[::1]:x", false},
    {"x[::1]", false},
    {"[a]", false},
    {"[127.0.0.1]", false},
    {"[::1%25]", false},
    {"[::1%lo]", false},
    {"[::%31]", false},
    {"[:::1]", false},
};

/* The status of the answer to a request with this host; 0: it is taken. */
static int status_of(const char *before, const char *host, const char *behind)
{
    static struct reader r;
    char text[200];
    struct rota__h1_item item;
    size_t used;
    int len = snprintf(text, sizeof text, "%s%s%s", before, host, behind);
    rota__h1_init(&r.h1, true, NULL, r.fields);
    int event = rota__h1_next(&r.h1, (rota_str){text, (size_t)len}, &used, &item);
    return event == ROTA__H1_HEAD ? 0 : event < 0 ? r.h1.status : -1;
}

TEST(a_host_that_readers_disagree_about_is_refused)
{
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        const char *host = hosts[i].host;
        bool in_target = !strpbrk(host, " /?#\xc3"); /* which end it, or stand in no target */
        int expected = hosts[i].is_valid ? 0 : 400;
        int as_field = status_of("GET / HTTP/1.1\r\nHost: ", host, "\r\n\r\n");
        int as_target = status_of("GET http://", host, "/ HTTP/1.1\r\nHost: a\r\n\r\n");
        if (as_field != expected || (in_target && as_target != expected))
            FAIL("\"%s\": %d as Host, %d in a target", host, as_field, as_target);
    }
}

/* ---- Smaller parts */

TEST(scans_stop_at_every_place)
{
    char text[48];
    for (size_t len = 0; len < sizeof text; len++) {
        memset(text, 'a', sizeof text);
        CHECK_PTR(rota__scan_value(text, text + len), ==, text + len);
        CHECK_PTR(rota__scan_target(text, text + len), ==, text + len);
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                text[at] = (char)c;
                bool value = rota__char_is((char)c, ROTA__CHAR_VALUE);
                bool target = rota__char_is((char)c, ROTA__CHAR_TARGET);
                CHECK_PTR(rota__scan_value(text, text + len), ==, text + (value ? len : at));
                CHECK_PTR(rota__scan_target(text, text + len), ==, text + (target ? len : at));
            }
            text[at] = 'a';
        }
    }
}

TEST(bodies_may_go_past_the_parser)
{
    static struct reader r;
    struct rota__h1_item item;
    rota__h1_init(&r.h1, true, NULL, r.fields);
    static const char head[] = HEAD "Content-Length: 100\r\n\r\n";
    size_t used;
    CHECK_INT(rota__h1_direct(&r.h1), ==, 0);
    CHECK_INT(rota__h1_next(&r.h1, (rota_str){head, sizeof head - 1}, &used, &item), ==,
              ROTA__H1_HEAD);
    CHECK_INT(rota__h1_direct(&r.h1), ==, 100);
    rota__h1_took(&r.h1, 60);
    CHECK_INT(rota__h1_direct(&r.h1), ==, 40);
    rota__h1_took(&r.h1, 40);
    CHECK_INT(rota__h1_next(&r.h1, (rota_str){"", 0}, &used, &item), ==, ROTA__H1_END);
}

TEST(fields_are_found_without_regard_to_case)
{
    rota_http_field fields[] = {{{"X-A", 3}, {"1", 1}}, {{"x-a", 3}, {"2", 1}}};
    CHECK_MEM(rota__fields_find(fields, 2, "x-A").ptr, "1", 1);
    CHECK(!rota__fields_find(fields, 2, "x-b").ptr);
    CHECK(!rota__fields_find(fields, 2, "x-").ptr);
}

/* ---- Writing */

#define S(literal_) ((rota_str){"" literal_, sizeof(literal_) - 1})

static void check_written(const struct rota__out *out, const char *expected)
{
    CHECK_OK(out->err);
    if (out->len != strlen(expected) || memcmp(out->ptr, expected, out->len) != 0)
        FAIL("is:\n%.*s\nwant:\n%s", (int)out->len, out->ptr, expected);
}

TEST(a_request_is_written)
{
    struct rota__out out = {0};
    struct rota__h1_writer w;
    CHECK_OK(rota__h1_write_request(&w, &out, S("GET"), S("/x?y"), S("a:80")));
    CHECK_OK(rota__h1_write_field(&w, S("Accept"), S("*/*")));
    CHECK_OK(rota__h1_write_field(&w, S("X"), S("")));
    CHECK_OK(rota__h1_write_body(&w, ROTA__H1_NO_BODY, 0));
    CHECK_OK(rota__h1_write_end(&w));
    check_written(&out, "GET /x?y HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\nX: \r\n\r\n");
    rota__out_fini(&out);
}

static void add_data(struct rota__h1_writer *w, const char *data)
{
    if (rota__h1_write_data(w, strlen(data)) == 1)
        rota__out_add(w->out, data, strlen(data));
}

static void write_response(struct rota__out *out, int status, bool silent, enum rota__h1_body body,
                           uint64_t length, const char *data)
{
    struct rota__h1_writer w;
    CHECK_OK(rota__h1_write_response(&w, out, status, S(""), silent));
    CHECK_OK(rota__h1_write_body(&w, body, length));
    for (; *data; data++)
        add_data(&w, (char[]){*data, 0});
    CHECK_OK(rota__h1_write_end(&w));
}

TEST(responses_have_the_framing_that_their_status_allows)
{
    static const struct {
        int status;
        bool silent;
        enum rota__h1_body body;
        uint64_t length;
        const char *data, *expected;
    } cases[] = {
        {200, false, ROTA__H1_LENGTH, 2, "ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
        {200, true, ROTA__H1_LENGTH, 2, "ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"},
        {200, true, ROTA__H1_LENGTH, 2, "", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"},
        {200, false, ROTA__H1_CHUNKED, 0, "ab",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"},
        {200, false, ROTA__H1_CHUNKED, 0, "",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {200, true, ROTA__H1_CHUNKED, 0, "a",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {200, false, ROTA__H1_UNTIL_END, 0, "abc", "HTTP/1.1 200 OK\r\n\r\nabc"},
        {204, false, ROTA__H1_LENGTH, 0, "", "HTTP/1.1 204 No Content\r\n\r\n"},
        {304, false, ROTA__H1_LENGTH, 7, "",
         "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"},
        {100, false, ROTA__H1_NO_BODY, 0, "", "HTTP/1.1 100 Continue\r\n\r\n"},
        {599, false, ROTA__H1_LENGTH, 0, "", "HTTP/1.1 599 Unknown\r\nContent-Length: 0\r\n\r\n"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rota__out out = {0};
        write_response(&out, cases[i].status, cases[i].silent, cases[i].body, cases[i].length,
                       cases[i].data);
        check_written(&out, cases[i].expected);
        rota__out_fini(&out);
    }
}

TEST(what_a_peer_could_misread_is_not_written)
{
    struct rota__out out = {0};
    struct rota__h1_writer w;
    CHECK_INT(rota__h1_write_request(&w, &out, S("GET "), S("/"), S("a")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_request(&w, &out, S(""), S("/"), S("a")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_request(&w, &out, S("GET"), S("/ HTTP/1.1\r\n"), S("a")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_request(&w, &out, S("GET"), S(""), S("a")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_request(&w, &out, S("GET"), S("/"), S("a\r\nX: y")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_request(&w, &out, S("GET"), S("/"), S("")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_response(&w, &out, 200, S("O\nK"), false), ==, -EINVAL);
    CHECK_INT(rota__h1_write_response(&w, &out, 99, S(""), false), ==, -EINVAL);
    CHECK_INT(rota__h1_write_response(&w, &out, 1000, S(""), false), ==, -EINVAL);
    CHECK_INT(out.len, ==, 0);

    CHECK_OK(rota__h1_write_response(&w, &out, 200, S(""), false));
    size_t len = out.len;
    static const char bad[] = {'\0', '\r', '\n', '\x7f', '\x01'};
    for (size_t i = 0; i < sizeof bad; i++) {
        char text[] = "text";
        text[2] = bad[i];
        CHECK_INT(rota__h1_write_field(&w, S("X"), (rota_str){text, 4}), ==, -EINVAL);
        CHECK_INT(rota__h1_write_field(&w, (rota_str){text, 4}, S("y")), ==, -EINVAL);
    }
    CHECK_INT(rota__h1_write_field(&w, S(""), S("y")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_field(&w, S("X:"), S("y")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_field(&w, S("X "), S("y")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_field(&w, S("content-length"), S("1")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_field(&w, S("Transfer-Encoding"), S("x")), ==, -EINVAL);
    CHECK_INT(rota__h1_write_field(&w, S("host"), S("x")), ==, -EINVAL);
    CHECK_INT(out.len, ==, len);
    rota__out_fini(&out);
}

TEST(a_body_is_as_long_as_its_head_said)
{
    struct rota__out out = {0};
    struct rota__h1_writer w;
    CHECK_OK(rota__h1_write_response(&w, &out, 200, S(""), false));
    CHECK_OK(rota__h1_write_body(&w, ROTA__H1_LENGTH, 3));
    CHECK_INT(rota__h1_write_data(&w, 2), ==, 1);
    CHECK_INT(rota__h1_write_end(&w), ==, -EMSGSIZE);
    CHECK_INT(rota__h1_write_data(&w, 2), ==, -EMSGSIZE);
    CHECK_INT(rota__h1_write_data(&w, 1), ==, 1);
    CHECK_OK(rota__h1_write_end(&w));

    CHECK_OK(rota__h1_write_response(&w, &out, 204, S(""), false));
    CHECK_OK(rota__h1_write_body(&w, ROTA__H1_LENGTH, 3));
    CHECK_INT(rota__h1_write_data(&w, 1), ==, -EMSGSIZE);

    CHECK_OK(rota__h1_write_response(&w, &out, 200, S(""), true));
    CHECK_OK(rota__h1_write_body(&w, ROTA__H1_LENGTH, 3));
    CHECK_INT(rota__h1_write_data(&w, 2), ==, 0);
    CHECK_INT(rota__h1_write_data(&w, 2), ==, -EMSGSIZE);
    rota__out_fini(&out);
}

TEST(want_of_memory_is_remembered)
{
    struct rota__out out = {0};
    struct rota__h1_writer w;
    char *value = malloc(100000);
    memset(value, 'v', 100000);
    int err = rota__h1_write_response(&w, &out, 200, S(""), false);
    if (err == 0)
        err = rota__h1_write_field(&w, S("X"), (rota_str){value, 100000});
    if (err == 0)
        err = rota__h1_write_body(&w, ROTA__H1_CHUNKED, 0);
    if (err == 0)
        err = rota__h1_write_end(&w);
    CHECK_INT(err, ==, out.err);
    CHECK(err == 0 || err == -ENOMEM);
    rota__out_fini(&out);
    free(value);
}
