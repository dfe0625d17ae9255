/* Sessions as most programs have them, with a server of ours: what holds where nobody says
 * otherwise, and what the environment says. */
#include "http/client.h"
#include "net/net.h"

#include "certificates.h"
#include "harness.h"

#include <rota.h>
#include <rota/http_client.h>
#include <rota/http_server.h>
#include <rota/unix.h>

#include <stdlib.h>
#include <string.h>

TEST_ALL_ON_BOTH_BACKENDS;

#define TEST_TOGETHER(name_) TEST_WITH(name_, .without_faults = true)

/* ---- A server and a session */

struct place {
    rota_http_serve_options serve;
    rota_http_session_options options;
    int (*body)(struct place *p);
    rota_http_session *session;
    rota_listener *listener;
    rota_task *server;
    char base[64];
    size_t running, most; /* requests at once */
    rota_http_access access;
};

static int redirect(rota_http_request *r, int more)
{
    char to[32];
    snprintf(to, sizeof to, "/redirect/%d", more - 1);
    if (more == 0)
        return rota_http_reply(r, 200, NULL, "there", 5);
    rota_http_add_header(r, "Location", to);
    return rota_http_reply(r, 302, NULL, NULL, 0);
}

static int drip(rota_http_request *r)
{
    int err = rota_http_start(r, 200, "text/plain", ROTA_HTTP_UNKNOWN_LENGTH);
    while (err == 0) {
        err = rota_sleep(30 * ROTA_SECOND);
        if (err == 0)
            err = rota_http_write(r, "x", 1);
        if (err == 0)
            err = rota_http_flush(r);
    }
    return err;
}

static int send_zeros(rota_http_request *r)
{
    static const char zeros[8 << 20];
    return rota_http_reply(r, 200, "text/plain", zeros, sizeof zeros);
}

static int reply_in_two(rota_http_request *r)
{
    int err = rota_sleep(1 * ROTA_SECOND);
    if (err == 0)
        err = rota_http_start(r, 200, "text/plain", 2);
    if (err == 0)
        err = rota_http_write(r, "a", 1);
    if (err == 0)
        err = rota_http_flush(r);
    if (err == 0)
        err = rota_sleep(2 * ROTA_SECOND);
    return err < 0 ? err : rota_http_write(r, "b", 1);
}

static int send_back(rota_http_request *r)
{
    rota_str body, type = rota_http_request_header(r, "content-type");
    char *copy = rota_http_alloc(r, type.len + 1);
    int err = copy ? rota_http_request_body(r, 0, &body) : -ENOMEM;
    if (err < 0)
        return err;
    memcpy(copy, type.len ? type.ptr : "", type.len);
    copy[type.len] = '\0';
    return rota_http_reply(r, 200, copy, body.ptr, body.len);
}

static int say_who(rota_http_request *r)
{
    char subject[100];
    int len = rota_tls_peer_subject(rota_http_request_stream(r), subject, sizeof subject);
    return rota_http_reply(r, 200, NULL, subject, len < 0 ? 0 : (size_t)len);
}

static int act(rota_http_request *r, const char *path)
{
    int more;
    if (sscanf(path, "/redirect/%d", &more) == 1)
        return redirect(r, more);
    if (strcmp(path, "/drip") == 0)
        return drip(r);
    if (strcmp(path, "/zeros") == 0)
        return send_zeros(r);
    if (strcmp(path, "/two") == 0)
        return reply_in_two(r);
    if (strcmp(path, "/who") == 0)
        return say_who(r);
    if (strcmp(path, "/nap") == 0)
        ROTA_IGNORE(rota_sleep(1 * ROTA_SECOND));
    return send_back(r);
}

static int handle(rota_http_request *r, void *arg)
{
    struct place *p = arg;
    char path[64];
    rota_str said = rota_http_request_path(r);
    snprintf(path, sizeof path, "%.*s", (int)said.len, said.ptr);
    if (++p->running > p->most)
        p->most = p->running;
    int err = act(r, path);
    p->running--;
    return err;
}

static int serve(void *arg)
{
    struct place *p = arg;
    return rota_http_serve(&p->listener, 1, handle, p, &p->serve);
}

static int place_main(void *arg)
{
    struct place *p = arg;
    if (!p->listener)
        CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &p->listener));
    CHECK_OK(rota_spawn(serve, p, &p->server));
    snprintf(p->base, sizeof p->base, "http%s://127.0.0.1:%d/", p->serve.tls ? "s" : "",
             rota_listener_port(p->listener));
    p->options.base_url = p->base;
    if (!p->options.proxy)
        p->options.proxy = "";
    CHECK_OK(rota_http_session_new(&p->options, &p->session));
    int err = p->body(p);
    rota_http_session_free(p->session);
    rota_task_free(p->server);
    rota_listener_free(p->listener);
    return err;
}

static void run(struct place *p, int (*body)(struct place *p))
{
    rota_loop_options options = {.virtual_clock = true};
    p->body = body;
    CHECK_OK(rota_run_with(place_main, p, &options));
}

/* Gets a path; returns what the call did. */
static int get(struct place *p, const char *path)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    int err = rota_http_fetch(p->session, path, NULL, &r);
    return err < 0 ? err : rota_http_status(r);
}

/* ---- What holds where nobody says otherwise */

static int take_a_nap(void *arg)
{
    CHECK_INT(get(arg, "/nap"), ==, 200);
    return 0;
}

static int crowd(struct place *p)
{
    ROTA_GROUP(g);
    for (int i = 0; i < 120; i++)
        rota_group_spawn(&g, take_a_nap, p);
    return rota_group_wait(&g);
}

TEST_TOGETHER(a_session_has_at_most_100_connections)
{
    rota_http_counters counters = {0};
    struct place p = {.serve.counters = &counters};
    run(&p, crowd);
    CHECK_INT(p.most, ==, 100);
    CHECK_INT(counters.connections, ==, 100);
    CHECK_INT(counters.requests, ==, 120);
}

TEST_TOGETHER(a_connection_of_HTTP_2_has_at_most_100_requests_at_once)
{
    rota_http_counters counters = {0};
    struct place p = {.serve.counters = &counters, .options.version = ROTA_HTTP_2_DIRECTLY};
    run(&p, crowd);
    CHECK_INT(p.most, ==, 100);
    CHECK_INT(counters.connections, ==, 1);
    CHECK_INT(counters.requests, ==, 120);
}

static int redirected(struct place *p)
{
    CHECK_INT(get(p, "/redirect/10"), ==, 200);
    CHECK_INT(get(p, "/redirect/11"), ==, ROTA_EREDIRECTS);
    return 0;
}

TEST_TOGETHER(ten_redirects_are_followed)
{
    struct place p = {0};
    run(&p, redirected);
}

static int wait_too_long(struct place *p)
{
    rota_time start = rota_now();
    CHECK_INT(get(p, "/drip"), ==, -ETIMEDOUT);
    CHECK_INT(rota_http_failed_limit(-ETIMEDOUT), ==, ROTA_HTTP_LIMIT_TOTAL);
    CHECK_INT((rota_now() - start) / ROTA_SECOND, ==, 300);
    return 0;
}

TEST_TOGETHER(a_request_has_five_minutes)
{
    struct place p = {0};
    run(&p, wait_too_long);
}

static int unpack(struct place *p)
{
    CHECK_INT(get(p, "/zeros"), ==, ROTA_ELIMIT);
    rota_http_session_options options = {.base_url = p->base, .proxy = "", .ratio = 100000};
    rota_http_session_free(p->session);
    CHECK_OK(rota_http_session_new(&options, &p->session));
    CHECK_INT(get(p, "/zeros"), ==, 200);
    return 0;
}

TEST_TOGETHER(bodies_do_not_grow_without_measure_by_decoding)
{
    struct place p = {.serve.compress = true};
    run(&p, unpack);
}

static int lookups;

static int look_up_here(const char *host, rota_address *ret_addresses, size_t max)
{
    lookups++;
    return rota__address_parse("127.0.0.1", 0, &ret_addresses[0]) < 0 ? ROTA_EDNS : 1;
}

static int ask_by_name(struct place *p)
{
    char url[80];
    int (*before)(const char *, rota_address *, size_t) = rota__lookup;
    rota__lookup = look_up_here;
    snprintf(url, sizeof url, "http://here.example:%d/", rota_listener_port(p->listener));
    CHECK_INT(get(p, url), ==, 200);
    ROTA_IGNORE(rota_sleep(9 * ROTA_SECOND));
    CHECK_INT(get(p, url), ==, 200);
    CHECK_INT(lookups, ==, 1);
    ROTA_IGNORE(rota_sleep(2 * ROTA_SECOND));
    CHECK_INT(get(p, url), ==, 200);
    CHECK_INT(lookups, ==, 2);
    rota__lookup = before;
    return 0;
}

TEST_TOGETHER(addresses_are_kept_for_ten_seconds)
{
    struct place p = {.options.keep_alive = ROTA_SECOND};
    run(&p, ask_by_name);
}

/* ---- Times */

static void note_time(void *arg, const rota_http_trace *trace)
{
    ((rota_time *)arg)[trace->phase] = trace->since;
}

static int ask_slowly(struct place *p)
{
    const rota_time *seen = p->options.trace_arg;
    ROTA_AUTO(rota_http_response) r = NULL;
    CHECK_OK(rota_http_fetch(p->session, "/two", NULL, &r));
    for (rota_http_phase phase = ROTA_HTTP_QUEUED; phase <= ROTA_HTTP_DONE; phase++) {
        rota_time began = rota_http_response_time(r, phase);
        if (phase == ROTA_HTTP_ENCRYPTING || phase == ROTA_HTTP_REDIRECTED) {
            CHECK_INT(began, ==, -1);
            continue;
        }
        int second = phase == ROTA_HTTP_DONE ? 3 : phase == ROTA_HTTP_READING ? 1 : 0;
        CHECK(began >= 0 && began / ROTA_SECOND == second);
        CHECK_INT(seen[phase] / ROTA_SECOND, ==, second);
    }
    return 0;
}

TEST_TOGETHER(each_phase_has_its_time)
{
    rota_time seen[ROTA_HTTP_DONE + 1];
    struct place p = {.options = {.trace = note_time, .trace_arg = seen}};
    run(&p, ask_slowly);
}

/* ---- Identities */

struct people {
    struct authority authority;
    struct identity server, client;
};

static void people_fini(struct people *people)
{
    identity_free(&people->client);
    identity_free(&people->server);
    authority_free(&people->authority);
}

static void people_init(struct people *people)
{
    people->authority = authority_new("Test Authority");
    people->server = identity_new(&people->authority, &(struct wanted){0});
    people->client = identity_new(&people->authority, &(struct wanted){.subject = "somebody"});
}

static int ask_as_somebody(struct place *p)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    CHECK_OK(rota_http_fetch(p->session, "/who", NULL, &r));
    CHECK_STR(rota_http_body(r).ptr, "CN=somebody");
    return 0;
}

static int ask_as_nobody(struct place *p)
{
    CHECK_INT(get(p, "/who"), <, 0);
    CHECK_INT(p->most, ==, 0);
    return 0;
}

TEST_TOGETHER(clients_show_their_certificate)
{
    struct people people;
    people_init(&people);
    rota_tls_context *server, *somebody, *nobody;
    rota_tls_options options = {.ca_pem = people.authority.pem,
                                .cert_pem = people.server.cert_pem,
                                .key_pem = people.server.key_pem,
                                .clients = ROTA_TLS_CLIENTS_MUST_IDENTIFY};
    CHECK_OK(rota_tls_context_new(&options, &server));
    options = (rota_tls_options){.ca_pem = people.authority.pem};
    CHECK_OK(rota_tls_context_new(&options, &nobody));
    options.cert_pem = people.client.cert_pem;
    options.key_pem = people.client.key_pem;
    CHECK_OK(rota_tls_context_new(&options, &somebody));
    struct place known = {.serve.tls = server, .options.tls = somebody};
    run(&known, ask_as_somebody);
    struct place unknown = {.serve.tls = server, .options.tls = nobody};
    run(&unknown, ask_as_nobody);
    rota_tls_context_free(somebody);
    rota_tls_context_free(nobody);
    rota_tls_context_free(server);
    people_fini(&people);
}

/* The place is the proxy here, which has a certificate that nobody has vouched for. */
static int ask_through(struct place *p)
{
    rota_http_session *session;
    char proxy[64], pin[65] = "";
    memset(pin, 'a', 64);
    snprintf(proxy, sizeof proxy, "https://127.0.0.1:%d", rota_listener_port(p->listener));
    rota_http_session_options options = {.proxy = proxy, .fingerprint = pin};
    CHECK_OK(rota_http_session_new(&options, &session));
    ROTA_AUTO(rota_http_response) r = NULL;
    CHECK_INT(rota_http_fetch(session, "https://example.invalid/", NULL, &r), ==, ROTA_ECERT);
    CHECK(strstr(rota_error(ROTA_ECERT), "the proxy 127.0.0.1:"));
    rota_http_session_free(session);
    CHECK_INT(p->most, ==, 0);
    return 0;
}

TEST_TOGETHER(a_fingerprint_vouches_for_no_proxy)
{
    struct people people;
    people_init(&people);
    rota_tls_context *server;
    rota_tls_options options = {.cert_pem = people.server.cert_pem,
                                .key_pem = people.server.key_pem};
    CHECK_OK(rota_tls_context_new(&options, &server));
    struct place p = {.serve.tls = server};
    run(&p, ask_through);
    rota_tls_context_free(server);
    people_fini(&people);
}

/* ---- One line */

static int ask_once(struct place *p)
{
    char url[80];
    ROTA_AUTO(rota_http_response) got = NULL, posted = NULL;
    snprintf(url, sizeof url, "%sa", p->base);
    CHECK_OK(rota_http_get(url, &got));
    CHECK_INT(rota_http_status(got), ==, 200);
    CHECK_OK(rota_http_post(url, "text/x-note", (rota_str){"a note", 6}, &posted));
    CHECK_STR(rota_http_body(posted).ptr, "a note");
    CHECK(rota_str_equal(rota_http_response_header(posted, "content-type"), "text/x-note"));
    return 0;
}

static void forget_proxies(void)
{
    static const char *const names[] = {"http_proxy",  "HTTP_PROXY", "https_proxy",
                                        "HTTPS_PROXY", "all_proxy",  "ALL_PROXY",
                                        "no_proxy",    "NO_PROXY",   "REQUEST_METHOD"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

TEST_TOGETHER(who_asks_once_needs_no_session)
{
    struct place p = {0};
    forget_proxies();
    run(&p, ask_once);
}

/* ---- The environment */

/* The port of the proxy for such a URL; 0: none. */
static int proxy_port(bool secure)
{
    rota_http_session *session;
    CHECK_OK(rota_http_session_new(NULL, &session));
    static const rota_host host = {.text = "www.example"};
    const struct rota__http_proxy *proxy =
        rota__http_proxy_for(session, secure, &host, secure ? 443 : 80);
    int port = proxy ? proxy->port : 0;
    rota_http_session_free(session);
    return port;
}

static int read_environment(void *arg)
{
    forget_proxies();
    CHECK_INT(proxy_port(false) + proxy_port(true), ==, 0);
    setenv("ALL_PROXY", "http://proxy:1", 1);
    CHECK_INT(proxy_port(false), ==, 1);
    CHECK_INT(proxy_port(true), ==, 1);
    setenv("HTTP_PROXY", "http://proxy:2", 1);
    setenv("HTTPS_PROXY", "http://proxy:3", 1);
    CHECK_INT(proxy_port(false), ==, 2);
    CHECK_INT(proxy_port(true), ==, 3);
    setenv("http_proxy", "proxy:4", 1);
    setenv("https_proxy", "proxy:5", 1);
    CHECK_INT(proxy_port(false), ==, 4);
    CHECK_INT(proxy_port(true), ==, 5);
    unsetenv("http_proxy");
    setenv("REQUEST_METHOD", "GET", 1); /* a CGI: HTTP_PROXY may be a field of the request */
    CHECK_INT(proxy_port(false), ==, 1);
    setenv("NO_PROXY", "*", 1);
    CHECK_INT(proxy_port(false) + proxy_port(true), ==, 0);
    forget_proxies();
    return 0;
}

TEST_TOGETHER(proxies_are_those_of_the_environment)
{
    CHECK_OK(rota_run(read_environment, NULL));
}

/* ---- The server's side */

static int ask_locally(struct place *p)
{
    CHECK_INT(get(p, "/a"), ==, 200);
    return 0;
}

static int serve_locally(void *arg)
{
    struct place *p = arg;
    char path[300];
    snprintf(path, sizeof path, "%s/socket", test_directory());
    CHECK_OK(rota_unix_listen(path, NULL, &p->listener));
    p->options.unix_path = path;
    return place_main(p);
}

TEST_TOGETHER(a_server_listens_on_a_unix_socket)
{
    struct place p = {.body = ask_locally};
    CHECK_OK(rota_run(serve_locally, &p));
    CHECK_INT(p.most, ==, 1);
}

static void note_access(void *arg, const rota_http_access *access)
{
    ((struct place *)arg)->access = *access;
}

static int ask_for_two(struct place *p)
{
    CHECK_INT(get(p, "/two"), ==, 200);
    ROTA_IGNORE(rota_yield());
    return 0;
}

TEST_TOGETHER(the_access_log_has_the_times)
{
    struct place p = {.serve.access = note_access};
    p.serve.access_arg = &p;
    run(&p, ask_for_two);
    CHECK_INT(p.access.first_byte / ROTA_SECOND, ==, 1);
    CHECK_INT(p.access.total / ROTA_SECOND, ==, 3);
}

static int stop_soon(void *arg)
{
    struct place *p = arg;
    ROTA_IGNORE(rota_sleep(500 * ROTA_MILLISECOND));
    rota_task_cancel(p->server);
    return 0;
}

static int ask_meanwhile(struct place *p)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    ROTA_GROUP(g);
    rota_group_spawn(&g, stop_soon, p);
    CHECK_OK(rota_http_fetch(p->session, "/nap", NULL, &r));
    CHECK_INT(rota_http_status(r), ==, 200);
    CHECK(rota_str_equal(rota_http_response_header(r, "connection"), "close"));
    return rota_group_wait(&g);
}

TEST_TOGETHER(a_reply_says_that_the_server_stops)
{
    struct place p = {.serve.grace = 10 * ROTA_SECOND};
    run(&p, ask_meanwhile);
}
