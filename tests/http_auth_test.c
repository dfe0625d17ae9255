/* Authentication by the client: which challenges it answers, how, and how often. */
#include "harness.h"

#include <rota.h>
#include <rota/http_client.h>
#include <rota/http_server.h>
#include <rota/test.h>

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))

/* ---- A guard: a server, or proxy, that lets in who answers its challenges */

enum { CHALLENGES = 3, SEEN = 12, NONCES = 8 };

struct guard {
    /* Settings. "%s" in a challenge is the nonce. */
    const char *challenges[CHALLENGES];
    const char *user, *password;
    const char *location; /* of a redirect from /away */
    unsigned uses;        /* of a nonce, after which it is stale; 0: no limit */
    bool forgets;         /* each nonce is unknown at once */
    bool is_proxy;
    bool h2;
    bool is_shared;    /* of all users, whose password is "secret"; each path is a realm */
    bool keeps_nonce;  /* the first one serves for ever */
    unsigned together; /* so many requests are answered only when all have come */
    unsigned turns;    /* redirects to come */
    const struct offer *offer;

    rota_listener *listener;
    rota_task *task;
    rota_http_session *session;
    void (*body)(struct guard *g);
    int port;
    unsigned nonce, used;
    unsigned used_of[NONCES]; /* of a shared one */
    unsigned again;           /* requests for /again */
    char name[64];
    rota_event all; /* have come */

    /* What came: "GET /path anonymous", "... Basic", "... Digest". */
    char seen[SEEN][64];
    unsigned count;
    char last[2048]; /* credentials */
};

/* The value of a parameter, without quotes. */
static const char *param(const char *header, const char *name, char *ret_value, size_t size)
{
    char key[32];
    for (int quoted = 1; quoted >= 0; quoted--) {
        snprintf(key, sizeof key, " %s=%s", name, quoted ? "\"" : "");
        const char *at = strstr(header, key);
        if (!at)
            continue;
        at += strlen(key);
        snprintf(ret_value, size, "%.*s", (int)strcspn(at, quoted ? "\"" : ","), at);
        return ret_value;
    }
    *ret_value = '\0';
    return ret_value;
}

static void hash(const char *algorithm, const char *text, char ret_hex[65])
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    bool is_sha = strstr(algorithm, "SHA-256");
    CHECK(EVP_Digest(text, strlen(text), md, &len, is_sha ? EVP_sha256() : EVP_md5(), NULL));
    for (unsigned i = 0; i < len; i++)
        snprintf(ret_hex + 2 * i, 3, "%02x", md[i]);
}

/* Whether the response is right, and its nonce ours. */
static bool is_right(struct guard *g, const char *method, const char *uri, const char *body,
                     bool *ret_is_stale)
{
    char user[64], realm[64], nonce[64], nc[16], cnonce[64], qop[16], algorithm[16], response[80];
    char said[512], ours[64], text[1024], a1[65], a2[65], expected[65];
    const char *h = g->last;
    param(h, "username", user, sizeof user);
    param(h, "realm", realm, sizeof realm);
    param(h, "nonce", nonce, sizeof nonce);
    param(h, "nc", nc, sizeof nc);
    param(h, "cnonce", cnonce, sizeof cnonce);
    param(h, "qop", qop, sizeof qop);
    param(h, "algorithm", algorithm, sizeof algorithm);
    param(h, "response", response, sizeof response);
    param(h, "uri", said, sizeof said);
    snprintf(text, sizeof text, "%s:%s:%s", g->user, realm, g->password);
    hash(algorithm, text, a1);
    if (strstr(algorithm, "-sess")) {
        snprintf(text, sizeof text, "%s:%s:%s", a1, nonce, cnonce);
        hash(algorithm, text, a1);
    }
    hash(algorithm, body, expected);
    bool is_int = strcmp(qop, "auth-int") == 0;
    snprintf(text, sizeof text, "%s:%s%s%s", method, uri, is_int ? ":" : "",
             is_int ? expected : "");
    hash(algorithm, text, a2);
    if (*qop)
        snprintf(text, sizeof text, "%s:%s:%s:%s:%s:%s", a1, nonce, nc, cnonce, qop, a2);
    else
        snprintf(text, sizeof text, "%s:%s:%s", a1, nonce, a2);
    hash(algorithm, text, expected);
    snprintf(ours, sizeof ours, "nonce%u", g->nonce);
    if (strcmp(said, uri) != 0 || strcmp(user, g->user) != 0 || strcmp(response, expected) != 0)
        return false;
    bool counts = !*qop || strtoul(nc, NULL, 16) == g->used + 1;
    *ret_is_stale = strcmp(nonce, ours) != 0 || (g->uses && g->used >= g->uses) || g->forgets;
    g->used++;
    return *ret_is_stale || counts;
}

/* Whether it is so for one of many users, nonces and realms. */
static bool is_right_of_many(struct guard *g, const char *method, const char *uri)
{
    char nonce[64], realm[64];
    bool is_stale;
    param(g->last, "username", g->name, sizeof g->name);
    param(g->last, "nonce", nonce, sizeof nonce);
    param(g->last, "realm", realm, sizeof realm);
    unsigned long number = strncmp(nonce, "nonce", 5) == 0 ? strtoul(nonce + 5, NULL, 10) : 0;
    if (number == 0 || number >= NONCES || strcmp(realm, uri) != 0)
        return false;
    g->user = g->name;
    g->used = g->used_of[number];
    unsigned latest = g->nonce;
    g->nonce = (unsigned)number;
    bool enters = is_right(g, method, uri, "", &is_stale);
    g->nonce = latest;
    g->used_of[number] = g->used;
    return enters;
}

static int challenge(struct guard *g, rota_http_request *r, bool is_stale)
{
    const char *name = g->is_proxy ? "Proxy-Authenticate" : "WWW-Authenticate";
    char nonce[160], value[512], realm[64] = "";
    rota_str path = rota_http_request_path(r);
    if (g->is_shared)
        snprintf(realm, sizeof realm, "realm=\"%.*s\", ", (int)path.len, path.ptr);
    if (!g->keeps_nonce || !g->nonce) {
        g->nonce++;
        g->used = 0;
    }
    snprintf(nonce, sizeof nonce, "%snonce=\"nonce%u\"%s", realm, g->nonce,
             is_stale && !g->forgets ? ", stale=true" : "");
    for (size_t i = 0; i < CHALLENGES && g->challenges[i]; i++) {
        const char *at = g->challenges[i];
        size_t len = 0;
        for (const char *mark; (mark = strstr(at, "%s")); at = mark + 2)
            len += (size_t)snprintf(value + len, sizeof value - len, "%.*s%s", (int)(mark - at), at,
                                    nonce);
        snprintf(value + len, sizeof value - len, "%s", at);
        rota_http_add_header(r, name, value);
    }
    int status = g->is_proxy ? 407 : 401;
    if (!g->is_shared)
        return rota_http_reply(r, status, "text/plain", "who?", 4);
    int err = rota_http_start(r, status, "text/plain", 4); /* the heads of all come first */
    if (err == 0)
        err = rota_http_write(r, "wh", 2);
    if (err == 0)
        err = rota_sleep(ROTA_SECOND);
    return err < 0 ? err : rota_http_write(r, "o?", 2);
}

/* Lets a request wait for all that are to come at once. */
static int gather(struct guard *g)
{
    if (g->together == 0)
        return 0;
    if (--g->together == 0)
        rota_event_set(&g->all);
    return rota_event_wait(&g->all);
}

static bool is(rota_str s, const char *text)
{
    return rota_str_equal(s, text);
}

static int handle(rota_http_request *r, void *arg)
{
    struct guard *g = arg;
    rota_str method = rota_http_request_method(r), path = rota_http_request_path(r);
    rota_str query = rota_http_request_query(r), body = {"", 0};
    rota_str said =
        rota_http_request_header(r, g->is_proxy ? "Proxy-Authorization" : "Authorization");
    char uri[128], verb[16];
    snprintf(g->last, sizeof g->last, "%.*s", (int)said.len, said.len ? said.ptr : "");
    snprintf(uri, sizeof uri, "%.*s%s%.*s", (int)path.len, path.ptr, query.ptr ? "?" : "",
             (int)query.len, query.len ? query.ptr : "");
    snprintf(verb, sizeof verb, "%.*s", (int)method.len, method.ptr);
    CHECK(g->count < SEEN);
    snprintf(g->seen[g->count++], sizeof g->seen[0], "%s %.30s %.*s", verb, uri,
             said.len ? (int)strcspn(g->last, " ") : 9, said.len ? g->last : "anonymous");
    if (!is(rota_http_request_header(r, "Expect"), "100-continue") || said.len) {
        int err = rota_http_request_body(r, 0, &body);
        if (err < 0)
            return err;
    }
    int err = gather(g);
    if (err < 0)
        return err;
    snprintf(g->last, sizeof g->last, "%.*s", (int)said.len, said.len ? said.ptr : "");
    if (is(path, "/free"))
        return rota_http_reply(r, 200, "text/plain", "free", 4);
    bool is_stale = false;
    bool enters =
        strncmp(g->last, "Digest ", 7) == 0 && g->is_shared ? is_right_of_many(g, verb, uri)
        : strncmp(g->last, "Digest ", 7) == 0
            ? is_right(g, verb, uri, body.len ? body.ptr : "", &is_stale)
            : strncmp(g->last, "Basic ", 6) == 0 && g->challenges[0] &&
                  strstr(g->challenges[0], "Basic") && strcmp(g->last, "Basic bWU6c2VjcmV0") == 0;
    if (!enters || is_stale || (is(path, "/again") && g->again++ == 0))
        return challenge(g, r, is_stale);
    if (g->turns && g->turns--) {
        rota_http_add_header(r, "Location", "/turn");
        return rota_http_reply_status(r, 302);
    }
    if (g->location && is(path, "/away")) {
        rota_http_add_header(r, "Location", g->location);
        return rota_http_reply_status(r, 302);
    }
    return rota_http_reply(r, 200, "text/plain", "enter", 5);
}

static int serve(void *arg)
{
    struct guard *g = arg;
    return rota_http_serve(&g->listener, 1, handle, g, NULL);
}

static void guard_start(struct guard *g)
{
    if (!g->user) {
        g->user = "me";
        g->password = "secret";
    }
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &g->listener));
    g->port = rota_listener_port(g->listener);
    CHECK_OK(rota_spawn(serve, g, &g->task));
}

static void guard_stop(struct guard *g)
{
    rota_task_free(g->task);
    rota_listener_free(g->listener);
}

static int guard_main(void *arg)
{
    struct guard *g = arg;
    guard_start(g);
    g->body(g);
    rota_http_session_free(g->session);
    guard_stop(g);
    return 0;
}

static void run(struct guard *g, void (*body)(struct guard *g))
{
    rota_loop_options options = {.virtual_clock = true};
    g->body = body;
    CHECK_OK(rota_run_with(guard_main, g, &options));
}

static const char *url_of(const struct guard *g, const char *path)
{
    static char urls[4][128];
    static int at;
    char *url = urls[at++ % 4];
    snprintf(url, sizeof urls[0], "http://127.0.0.1:%d%s", g->port, path);
    return url;
}

/* With "me" and this password for the guard. */
static void enter_session(struct guard *g, rota_http_auth auth, const char *password)
{
    rota_http_session_free(g->session);
    rota_http_session_options options = {.base_url = url_of(g, "/"),
                                         .user = "me",
                                         .password = password,
                                         .auth = auth,
                                         .proxy = "",
                                         .version = g->h2 ? ROTA_HTTP_2_DIRECTLY : ROTA_HTTP_ANY};
    CHECK_OK(rota_http_session_new(&options, &g->session));
}

static void expect(struct guard *g, const char *url, const rota_http_fetch_options *options,
                   int status)
{
    rota_http_response *r = NULL;
    int err = rota_http_fetch(g->session, url, options, &r);
    if (err < 0)
        FAIL("%s: %s", url, rota_error(err));
    CHECK_INT(rota_http_status(r), ==, status);
    rota_http_response_free(r);
}

/* What is refused, and why no challenge was answered. */
static void expect_refusal(struct guard *g, const char *url, const rota_http_fetch_options *options,
                           const char *why)
{
    rota_http_response *r = NULL;
    int err = rota_http_fetch(g->session, url, options, &r);
    if (err < 0)
        FAIL("%s: %s", url, rota_error(err));
    CHECK_INT(rota_http_status(r), ==, g->is_proxy ? 407 : 401);
    CHECK_STR(rota_http_response_auth_error(r), why);
    rota_http_response_free(r);
}

/* All requests since the last call, one after another. */
static void check_seen(struct guard *g, const char *expected)
{
    char all[SEEN * 66] = "";
    for (unsigned i = 0; i < g->count; i++)
        strcat(strcat(all, i ? ", " : ""), g->seen[i]);
    g->count = 0;
    CHECK_STR(all, expected);
}

#define DIGEST "Digest realm=\"guarded\", %s, qop=\"auth\""

/* ---- Digest */

static void enters(struct guard *g)
{
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "/a?b=c", NULL, 200);
    check_seen(g, "GET /a?b=c anonymous, GET /a?b=c Digest");
    expect(g, "/d", NULL, 200); /* by the same nonce */
    expect(g, "/e", &(rota_http_fetch_options){.body.bytes = {"x=y", 3}}, 200);
    expect(g, "", &(rota_http_fetch_options){.method = "HEAD"}, 200);
    check_seen(g, "GET /d Digest, POST /e Digest, HEAD / Digest");
    CHECK_INT(g->nonce, ==, 1);
    CHECK_INT(g->used, ==, 4);
}

TEST(digest_answers_a_challenge_and_later_requests_at_once)
{
    static const char *const challenges[] = {
        DIGEST,
        "Digest realm=\"guarded\", %s",
        DIGEST ", algorithm=MD5, opaque=\"a\\\"b\"",
        DIGEST ", algorithm=SHA-256",
        DIGEST ", algorithm=SHA-256-sess",
        DIGEST ", algorithm=MD5-sess, charset=UTF-8",
        "Digest realm=\"guarded\", %s, qop=auth-int",
        "Basic realm=\"x\", " DIGEST ", Negotiate",
    };
    for (size_t i = 0; i < COUNT(challenges); i++) {
        for (int h2 = 0; h2 < 2; h2++) {
            struct guard g = {.challenges = {challenges[i]}, .h2 = h2};
            run(&g, enters);
        }
    }
}

static void chooses(struct guard *g)
{
    char text[64];
    enter_session(g, ROTA_HTTP_AUTH_ANY, "secret");
    expect(g, "/", NULL, 200);
    check_seen(g, "GET / anonymous, GET / Digest");
    CHECK_STR(param(g->last, "algorithm", text, sizeof text), "SHA-256");
    CHECK_STR(param(g->last, "realm", text, sizeof text), "second");
}

TEST(the_strongest_of_several_challenges_is_answered)
{
    struct guard g = {.challenges = {"Basic realm=\"x\", Digest realm=\"first\", %s, qop=auth",
                                     "Digest realm=\"fourth\", %s, qop=auth, algorithm=SHA-1, "
                                     "Digest realm=\"second\", %s, qop=auth, algorithm=SHA-256",
                                     "Digest realm=\"third\", %s, qop=auth, algorithm=SHA-256"}};
    run(&g, chooses);
}

static void is_turned_away(struct guard *g)
{
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "wrong");
    expect_refusal(g, "/", NULL, "the credentials were refused");
    check_seen(g, "GET / anonymous, GET / Digest");
    expect(g, "/", NULL, 401);
    check_seen(g, "GET / anonymous, GET / Digest");
    g->password = "wrong";
    expect(g, "/", NULL, 200);
    g->password = "changed"; /* the nonce is still good, but nothing else */
    check_seen(g, "GET / anonymous, GET / Digest");
    expect(g, "/", NULL, 401);
    check_seen(g, "GET / Digest, GET / Digest");
}

TEST(a_wrong_password_is_tried_once)
{
    struct guard g = {.challenges = {DIGEST}};
    run(&g, is_turned_away);
}

static void grows_stale(struct guard *g)
{
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    for (int i = 0; i < 3; i++)
        expect(g, "/", NULL, 200);
    check_seen(g, "GET / anonymous, GET / Digest, GET / Digest, GET / Digest, GET / Digest");
    CHECK_INT(g->nonce, ==, 2);
}

TEST(a_stale_nonce_is_replaced)
{
    struct guard g = {.challenges = {DIGEST}, .uses = 2};
    run(&g, grows_stale);
}

static void never_ends(struct guard *g)
{
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "/", NULL, 401);
    check_seen(g, "GET / anonymous, GET / Digest");
    g->forgets = false;
    g->challenges[0] = DIGEST ", stale=true"; /* whatever it is answered with */
    g->password = "other";
    expect_refusal(g, "/", NULL, "challenged again after 3 answers");
    check_seen(g, "GET / anonymous, GET / Digest, GET / Digest, GET / Digest");
}

TEST(a_server_that_takes_no_nonce_is_not_asked_for_ever)
{
    struct guard g = {.challenges = {DIGEST}, .forgets = true};
    run(&g, never_ends);
}

struct offer {
    const char *challenge, *why;
};

static void offers_nothing_known(struct guard *g)
{
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect_refusal(g, "/", NULL, g->offer->why);
    check_seen(g, "GET / anonymous");
    rota_http_response *r = NULL;
    char url[128];
    snprintf(url, sizeof url, "http://me:secret@127.0.0.1:%d/", g->port);
    CHECK_OK(rota_http_fetch(g->session, url, NULL, &r));
    CHECK_INT(rota_http_status(r), ==, 401);
    rota_http_response_free(r);
    check_seen(g, "GET / anonymous");
}

TEST(basic_is_never_sent_where_digest_is_wanted)
{
    static const struct offer offers[] = {
        {"Basic realm=\"x\"", "Basic: not allowed by the session's options"},
        {"Digest realm=\"x\"", "Digest: no realm or nonce"},
        {"Digest realm=\"x\", %s, algorithm=SHA-1", "Digest: unknown algorithm"},
        {"Digest realm=\"x\", %s, qop=\"auth-conf\", Basic realm=\"x\"",
         "Digest: unknown qop; Basic: not allowed by the session's options"},
        {"Digest realm=\"x\" %s, Basic realm=\"x\"", "malformed challenge"},
        {"Digest realm=\"x\", realm=\"y\", %s", "Digest: malformed or duplicate parameter"},
        {"Negotiate, Bearer realm=\"x\"", "Negotiate: not supported; Bearer: not supported"},
        {NULL, "no challenge"},
    };
    for (size_t i = 0; i < COUNT(offers); i++) {
        struct guard g = {.challenges = {offers[i].challenge}, .offer = &offers[i]};
        run(&g, offers_nothing_known);
    }
}

static void falls_back(struct guard *g)
{
    enter_session(g, ROTA_HTTP_AUTH_ANY, "secret");
    expect(g, "/", NULL, 200);
    expect(g, "/", NULL, 200);
    check_seen(g, "GET / anonymous, GET / Basic, GET / Basic");
    enter_session(g, ROTA_HTTP_AUTH_ANY, "wrong");
    expect(g, "/", NULL, 401);
    check_seen(g, "GET / anonymous, GET / Basic");
    enter_session(g, ROTA_HTTP_AUTH_BASIC, "secret");
    expect(g, "/", NULL, 200);
    check_seen(g, "GET / Basic");
    enter_session(g, ROTA_HTTP_AUTH_BASIC, "wrong");
    expect_refusal(g, "/", NULL, "the credentials were refused");
    check_seen(g, "GET / Basic");
}

TEST(basic_is_sent_at_once_or_when_it_is_asked_for)
{
    struct guard g = {.challenges = {"Basic realm=\"x\""}};
    run(&g, falls_back);
}

/* Stands before that of libc: counts what a cnonce would be made of. */
static int draws;

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
    draws += len == 16;
    return syscall(SYS_getrandom, buf, len, flags);
}

static void draws_nothing(struct guard *g)
{
    draws = 0;
    enter_session(g, ROTA_HTTP_AUTH_ANY, "secret");
    expect(g, "/", NULL, 200);
    check_seen(g, "GET / anonymous, GET / Basic");
    CHECK_INT(draws, ==, 0);
    g->challenges[0] = DIGEST;
    expect(g, "/", NULL, 200);
    check_seen(g, "GET / Basic, GET / Digest");
    CHECK_INT(draws, ==, 1);
}

TEST(random_bytes_are_drawn_for_digest_only)
{
    struct guard g = {.challenges = {"Basic realm=\"x\""}};
    run(&g, draws_nothing);
}

static void counts_on(struct guard *g)
{
    char text[16];
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "/", NULL, 200);
    expect(g, "/again", NULL, 200);
    check_seen(g, "GET / anonymous, GET / Digest, GET /again Digest, GET /again Digest");
    CHECK_STR(param(g->last, "nc", text, sizeof text), "00000003");
    CHECK_STR(param(g->last, "nonce", text, sizeof text), "nonce1");
}

TEST(a_nonce_that_comes_again_is_counted_on)
{
    struct guard g = {.challenges = {DIGEST}, .keeps_nonce = true};
    run(&g, counts_on);
}

/* ---- Requests at the same time */

struct asker {
    struct guard *g;
    const char *user, *path;
    const rota_http_fetch_options *options;
    int status;
};

static int ask(void *arg)
{
    struct asker *a = arg;
    rota_http_response *r = NULL;
    char url[128];
    if (a->g->is_proxy)
        snprintf(url, sizeof url, "http://%s", a->path);
    else
        snprintf(url, sizeof url, "http://%s:secret@127.0.0.1:%d%s", a->user, a->g->port, a->path);
    int err = rota_http_fetch(a->g->session, url, a->options, &r);
    if (err < 0)
        FAIL("%s: %s", url, rota_error(err));
    a->status = rota_http_status(r);
    rota_http_response_free(r);
    return 0;
}

/* All ask at once, and enter. */
static void expect_all(struct guard *g, struct asker *askers, size_t count)
{
    g->together = (unsigned)count;
    g->count = 0;
    rota_event_clear(&g->all);
    ROTA_GROUP(group);
    for (size_t i = 0; i < count; i++) {
        askers[i].g = g;
        rota_group_spawn(&group, ask, &askers[i]);
    }
    CHECK_OK(rota_group_wait(&group));
    for (size_t i = 0; i < count; i++)
        CHECK_INT(askers[i].status, ==, 200);
}

static void open_session(struct guard *g, rota_http_auth auth)
{
    rota_http_session_free(g->session);
    rota_http_session_options options = {.auth = auth, .proxy = ""};
    CHECK_OK(rota_http_session_new(&options, &g->session));
}

static void enter_together(struct guard *g)
{
    struct asker users[] = {{.user = "me", .path = "/a"}, {.user = "you", .path = "/a"}};
    struct asker realms[] = {{.user = "me", .path = "/a"}, {.user = "me", .path = "/b"}};
    open_session(g, ROTA_HTTP_AUTH_DIGEST);
    expect_all(g, users, COUNT(users));
    CHECK_INT(g->count, ==, 4);
    expect_all(g, users, COUNT(users)); /* each has its own nonce */
    CHECK_INT(g->count, ==, 2);
    open_session(g, ROTA_HTTP_AUTH_DIGEST);
    expect_all(g, realms, COUNT(realms));
    CHECK_INT(g->count, ==, 4);
}

TEST(requests_of_several_users_and_realms_are_answered_at_once)
{
    struct guard g = {.challenges = {"Digest %s, qop=auth"}, .is_shared = true};
    run(&g, enter_together);
}

static void all_by_basic(struct guard *g)
{
    struct asker askers[] = {
        {.user = "me", .path = "/"}, {.user = "me", .path = "/"}, {.user = "me", .path = "/"}};
    open_session(g, ROTA_HTTP_AUTH_ANY);
    expect_all(g, askers, COUNT(askers));
    CHECK_INT(g->count, ==, 6);
    expect_all(g, askers, COUNT(askers));
    CHECK_INT(g->count, ==, 3);
}

TEST(requests_at_once_fall_back_to_basic)
{
    struct guard g = {.challenges = {"Basic realm=\"x\""}};
    run(&g, all_by_basic);
}

/* ---- Requests that are sent again */

/* Ends the connection where it would answer for the second time. */
static int answer_twice(rota_stream *s, void *arg)
{
    struct guard *g = arg;
    for (int i = 0; i < 2 || g->again; i++) {
        rota_str head;
        char text[1024];
        int err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
        if (err < 0)
            return err == ROTA_EOF || err == ROTA_ETRUNCATED ? 0 : err;
        snprintf(text, sizeof text, "%.*s", (int)head.len, head.ptr);
        const char *said = strstr(text, "Authorization: ");
        CHECK(g->count < SEEN);
        if (said)
            param(said, "nc", g->seen[g->count++], sizeof g->seen[0]);
        const char *reply = said ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                                 : "HTTP/1.1 401 Who\r\nContent-Length: 0\r\nWWW-Authenticate: "
                                   "Digest realm=\"x\", nonce=\"y\", qop=\"auth\"\r\n\r\n";
        err = rota_stream_write(s, reply, strlen(reply));
        if (err < 0)
            return err;
    }
    rota_str head;
    int err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
    if (err < 0)
        return 0;
    char text[1024];
    snprintf(text, sizeof text, "%.*s", (int)head.len, head.ptr);
    param(text, "nc", g->seen[g->count++], sizeof g->seen[0]);
    g->again = 1;
    return 0;
}

static int serve_twice(void *arg)
{
    struct guard *g = arg;
    return rota_serve(g->listener, answer_twice, g, NULL);
}

static int twice_main(void *arg)
{
    struct guard *g = arg;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &g->listener));
    g->port = rota_listener_port(g->listener);
    CHECK_OK(rota_spawn(serve_twice, g, &g->task));
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "/", NULL, 200);
    expect(g, "/", NULL, 200); /* on a connection that ends without an answer, and another one */
    check_seen(g, "00000001, 00000002, 00000003");
    rota_http_session_free(g->session);
    guard_stop(g);
    return 0;
}

TEST(an_answer_is_not_sent_twice_when_the_connection_is_stale)
{
    struct guard g = {.port = 0};
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(twice_main, &g, &options));
}

/* ---- Whose credentials they are */

static void by_url(struct guard *g)
{
    rota_http_session_options options = {.auth = ROTA_HTTP_AUTH_DIGEST, .proxy = ""};
    char me[128], you[128];
    CHECK_OK(rota_http_session_new(&options, &g->session));
    snprintf(me, sizeof me, "http://me:secret@127.0.0.1:%d/", g->port);
    snprintf(you, sizeof you, "http://y%%6Fu:secret@127.0.0.1:%d/", g->port);
    expect(g, me, NULL, 200);
    expect(g, me, NULL, 200);
    check_seen(g, "GET / anonymous, GET / Digest, GET / Digest");
    expect_refusal(g, url_of(g, "/"), NULL, "no credentials");
    check_seen(g, "GET / anonymous");
    expect(g, you, NULL, 401); /* not by the nonce of the other one */
    check_seen(g, "GET / anonymous, GET / Digest");
    char text[64];
    CHECK_STR(param(g->last, "username", text, sizeof text), "you");
    expect(g, me, NULL, 200); /* whose nonce is kept, but stale */
    check_seen(g, "GET / Digest, GET / Digest");
    static const char *const headers[] = {"Authorization", "Other x", NULL};
    expect_refusal(g, me, &(rota_http_fetch_options){.headers = headers},
                   "the request has its own Authorization header");
    check_seen(g, "GET / Other"); /* the caller answers by itself */
}

TEST(each_user_has_a_nonce_and_a_header_of_the_callers_stays)
{
    struct guard g = {.challenges = {DIGEST}};
    run(&g, by_url);
}

static void leads_away(struct guard *g)
{
    struct guard other = {.challenges = {DIGEST}};
    char location[128];
    guard_start(&other);
    snprintf(location, sizeof location, "http://me:secret@127.0.0.1:%d/there", other.port);
    g->location = location;
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "/away", NULL, 401);
    check_seen(g, "GET /away anonymous, GET /away Digest");
    check_seen(&other, "GET /there anonymous");
    g->location = "/here";
    expect(g, "/away", NULL, 200);
    check_seen(g, "GET /away Digest, GET /here Digest");
    guard_stop(&other);
}

TEST(a_challenge_of_another_origin_is_not_answered)
{
    struct guard g = {.challenges = {DIGEST}};
    run(&g, leads_away);
}

static void upgrades(struct guard *g)
{
    static const rota_http_fetch_options upgrade = {.upgrade = "other"};
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "/", NULL, 200);
    expect(g, "/up", &upgrade, 200); /* by HTTP/1.1, whatever the session speaks otherwise */
    check_seen(g, "GET / anonymous, GET / Digest, GET /up Digest");
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "/up", &upgrade, 200);
    expect(g, "/", NULL, 200);
    check_seen(g, "GET /up anonymous, GET /up Digest, GET / Digest");
}

TEST(a_nonce_is_used_for_all_protocols_of_an_origin)
{
    for (int h2 = 0; h2 < 2; h2++) {
        struct guard g = {.challenges = {DIGEST}, .h2 = h2};
        run(&g, upgrades);
    }
}

/* ---- Bodies */

static rota_stream *stream_of(const char *text)
{
    rota_stream *a, *b;
    CHECK_OK(rota_stream_pair(0, &a, &b));
    CHECK_OK(rota_stream_write(a, text, strlen(text)));
    CHECK_OK(rota_stream_shutdown(a));
    rota_stream_free(a);
    return b;
}

static void sends_a_stream(struct guard *g)
{
    rota_http_response *r = NULL;
    rota_http_fetch_options options = {.body.stream = stream_of("hello")};
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    int err = rota_http_fetch(g->session, "/", &options, &r);
    CHECK_INT(err, ==, -ESPIPE);
    if (!strstr(rota_error(err), ": the server requires authentication, but a stream body cannot "
                                 "be sent again"))
        FAIL("%s", rota_error(err));
    rota_stream_free(options.body.stream);
    options.body.stream = stream_of("hello"); /* now there is a nonce */
    expect(g, "/", &options, 200);
    check_seen(g, "POST / anonymous, POST / Digest");
    rota_stream_free(options.body.stream);

    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    options.body.stream = stream_of("hello");
    options.expect = true;
    expect(g, "/", &options, 200);
    check_seen(g, "POST / anonymous, POST / Digest");
    rota_stream_free(options.body.stream);
}

TEST(a_stream_is_sent_once_or_after_consent)
{
    for (int h2 = 0; h2 < 2; h2++) {
        struct guard g = {.challenges = {DIGEST}, .h2 = h2};
        run(&g, sends_a_stream);
    }
}

static void sends_much(struct guard *g)
{
    static char much[100000];
    memset(much, 'x', sizeof much);
    enter_session(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "/", &(rota_http_fetch_options){.body.bytes = {much, sizeof much}}, 200);
    check_seen(g, "POST / anonymous, POST / Digest");
}

TEST(a_large_body_in_memory_is_sent_again)
{
    for (int h2 = 0; h2 < 2; h2++) {
        struct guard g = {.challenges = {DIGEST}, .h2 = h2};
        run(&g, sends_much);
    }
}

/* ---- Proxies */

static void by_proxy(struct guard *g, rota_http_auth auth, const char *password)
{
    char proxy[128];
    rota_http_session_free(g->session);
    snprintf(proxy, sizeof proxy, "http://me:%s@127.0.0.1:%d", password, g->port);
    rota_http_session_options options = {
        .proxy = proxy, .proxy_auth = auth, .auth = ROTA_HTTP_AUTH_DIGEST};
    CHECK_OK(rota_http_session_new(&options, &g->session));
}

static void asks_proxy(struct guard *g)
{
    by_proxy(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "http://behind.test/a?b", NULL, 200);
    expect(g, "http://another.test/c", NULL, 200);
    check_seen(g, "GET /a?b anonymous, GET /a?b Digest, GET /c Digest");
    by_proxy(g, ROTA_HTTP_AUTH_DIGEST, "wrong");
    expect_refusal(g, "http://behind.test/", NULL, "the credentials were refused");
    check_seen(g, "GET / anonymous, GET / Digest");
}

TEST(a_proxy_that_is_asked_gets_an_answer)
{
    struct guard g = {.challenges = {DIGEST}, .is_proxy = true};
    run(&g, asks_proxy);
}

static void turns(struct guard *g)
{
    by_proxy(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    g->turns = 5;
    expect(g, "http://behind.test/", NULL, 200);
    CHECK_INT(g->nonce, ==, 6);
}

TEST(a_proxy_may_challenge_after_each_redirect)
{
    struct guard g = {.challenges = {DIGEST}, .uses = 1, .is_proxy = true};
    run(&g, turns);
}

/* A proxy for CONNECT, behind which is its own server. It ends a connection after a refusal. */
static int talk(rota_stream *s, void *arg)
{
    struct guard *g = arg;
    rota_str head;
    char text[1024], target[64] = "";
    bool is_stale = false;
    int err = rota_stream_read_until(s, (rota_str){"\r\n\r\n", 4}, 0, &head);
    if (err < 0)
        return err;
    snprintf(text, sizeof text, "%.*s", (int)head.len, head.ptr);
    sscanf(text, "CONNECT %63s ", target);
    const char *said = strstr(text, "Proxy-Authorization: ");
    snprintf(g->last, sizeof g->last, "%.*s", said ? (int)strcspn(said + 21, "\r") : 0,
             said ? said + 21 : "");
    CHECK(g->count < SEEN);
    snprintf(g->seen[g->count++], sizeof g->seen[0], "CONNECT %s %.*s", target,
             said ? (int)strcspn(g->last, " ") : 9, said ? g->last : "anonymous");
    err = gather(g);
    if (err < 0)
        return err;
    bool has_basic = said && strcmp(g->last, "Basic bWU6c2VjcmV0") == 0;
    bool enters = g->challenges[0]
                      ? has_basic
                      : said && is_right(g, "CONNECT", target, "", &is_stale) && !is_stale;
    if (enters) {
        err = rota_stream_write(s, "HTTP/1.1 200 OK\r\n\r\n", 19);
        return err < 0 ? err : rota_http_serve_stream(s, handle, g, NULL);
    }
    if (g->challenges[0]) {
        snprintf(text, sizeof text, "HTTP/1.1 407 Who\r\nProxy-Authenticate: %s\r\n\r\n",
                 g->challenges[0]);
        return rota_stream_write(s, text, strlen(text));
    }
    g->nonce++;
    g->used = 0;
    snprintf(text, sizeof text,
             "HTTP/1.1 407 Who\r\nProxy-Authenticate: Digest realm=\"gate\", nonce=\"nonce%u\", "
             "qop=auth%s\r\nContent-Length: 5\r\n\r\nwho?\n",
             g->nonce, is_stale ? ", stale=true" : "");
    return rota_stream_write(s, text, strlen(text));
}

static int serve_gate(void *arg)
{
    struct guard *g = arg;
    return rota_serve(g->listener, talk, g, NULL);
}

/* Requests with an upgrade go through a proxy. */
static int gate_main(void *arg)
{
    static const rota_http_fetch_options upgrade = {.upgrade = "other"};
    struct guard *g = arg;
    rota_http_response *r = NULL;
    g->user = "me";
    g->password = "secret";
    g->uses = 2;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &g->listener));
    g->port = rota_listener_port(g->listener);
    CHECK_OK(rota_spawn(serve_gate, g, &g->task));
    by_proxy(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    expect(g, "http://a.test/free", &upgrade, 200);
    check_seen(g, "CONNECT a.test:80 anonymous, CONNECT a.test:80 Digest, GET /free anonymous");
    expect(g, "http://b.test/free", &upgrade, 200);
    check_seen(g, "CONNECT b.test:80 Digest, GET /free anonymous");
    expect(g, "http://c.test/free", &upgrade, 200); /* the nonce is stale */
    check_seen(g, "CONNECT c.test:80 Digest, CONNECT c.test:80 Digest, GET /free anonymous");
    by_proxy(g, ROTA_HTTP_AUTH_DIGEST, "wrong");
    int err = rota_http_fetch(g->session, "http://a.test/free", &upgrade, &r);
    CHECK_INT(err, ==, -ECONNREFUSED);
    CHECK_STR(rota_error(err), "connecting to a.test:80: the proxy refused: 407 Who: the "
                               "credentials were refused");
    check_seen(g, "CONNECT a.test:80 anonymous, CONNECT a.test:80 Digest");
    by_proxy(g, ROTA_HTTP_AUTH_BASIC, "wrong");
    err = rota_http_fetch(g->session, "http://a.test/free", &upgrade, &r);
    CHECK_INT(err, ==, -ECONNREFUSED);
    CHECK_STR(rota_error(err), "connecting to a.test:80: the proxy refused: 407 Who: the "
                               "credentials were refused");
    check_seen(g, "CONNECT a.test:80 Basic");
    g->challenges[0] =
        "Negotiate, Digest realm=\"x\", nonce=\"y\", algorithm=SHA-1, Basic realm=\"x\"";
    by_proxy(g, ROTA_HTTP_AUTH_DIGEST, "secret");
    err = rota_http_fetch(g->session, "http://a.test/free", &upgrade, &r);
    CHECK_INT(err, ==, -ECONNREFUSED);
    CHECK(strstr(rota_error(err),
                 ": the proxy refused: 407 Who: Negotiate: not supported; Digest: "
                 "unknown algorithm; Basic: not allowed by the session's options"));
    check_seen(g, "CONNECT a.test:80 anonymous");
    rota_http_session_free(g->session);
    guard_stop(g);
    return 0;
}

TEST(a_proxy_that_is_gone_through_gets_an_answer)
{
    struct guard g = {.port = 0};
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(gate_main, &g, &options));
}

static int gates_main(void *arg)
{
    static const rota_http_fetch_options upgrade = {.upgrade = "other"};
    struct asker askers[] = {{.path = "a.test/free", .options = &upgrade},
                             {.path = "b.test/free", .options = &upgrade},
                             {.path = "c.test/free", .options = &upgrade}};
    struct guard *g = arg;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &g->listener));
    g->port = rota_listener_port(g->listener);
    CHECK_OK(rota_spawn(serve_gate, g, &g->task));
    by_proxy(g, ROTA_HTTP_AUTH_ANY, "secret");
    expect_all(g, askers, COUNT(askers));
    CHECK_INT(g->count, ==, 9);
    rota_http_session_free(g->session);
    guard_stop(g);
    return 0;
}

TEST(tunnels_at_once_fall_back_to_basic)
{
    struct guard g = {.challenges = {"Basic realm=\"x\""}, .is_proxy = true};
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(gates_main, &g, &options));
}

/* ---- Settings */

static int settings_main(void *arg)
{
    static const struct {
        rota_http_session_options options;
        int err;
    } cases[] = {
        {{.base_url = "http://a.test", .user = "a:b", .auth = ROTA_HTTP_AUTH_DIGEST}, 0},
        {{.base_url = "http://a.test", .user = "a:b", .auth = ROTA_HTTP_AUTH_ANY}, -EINVAL},
        {{.base_url = "http://a.test", .user = "a:b"}, -EINVAL},
        {{.base_url = "http://a.test", .user = "a\n", .auth = ROTA_HTTP_AUTH_DIGEST}, -EINVAL},
        {{.auth = (rota_http_auth)3}, -EINVAL},
        {{.proxy_auth = (rota_http_auth)-1}, -EINVAL},
        {{.user = "a", .auth = ROTA_HTTP_AUTH_DIGEST}, -EINVAL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rota_http_session *session = NULL;
        CHECK_INT(rota_http_session_new(&cases[i].options, &session), ==, cases[i].err);
        rota_http_session_free(session);
    }
    return 0;
}

TEST(settings_that_make_no_sense_are_refused)
{
    CHECK_OK(rota_run(settings_main, NULL));
}
