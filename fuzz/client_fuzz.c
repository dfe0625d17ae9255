/* A whole client: the input is what servers (or a proxy) send, connection by connection, played by
 * peer.h in the session's connect hook. It is received whole, byte by byte, and seven bytes at a
 * time. Each time the calls come to an end with a response, or an error that has words, and bodies
 * and memory stay within the limits. Where one request was enough, the first response is the same
 * each time.
 *
 * The first byte chooses the call, the second one the session's options. */
#include "peer.h"

#include "http/chars.h"

#include <rota/http_client.h>
#include <rota/tls.h>
#include <rota/websocket.h>

enum {
    CONNECTIONS = 8,
    BODY = 100000,
    UPLOAD = 40000,
    /* The windows of decoders are of any size that they allow. */
    MEMORY = 32 * 1024 * 1024
};

enum {
    HTTP_2 = 1,
    PROXY = 2,
    SOCKS = 4,
    SMALL_LIMITS = 8,
    RETRY = 16,
    PARALLEL = 32,
    LITTLE = 64,
    CHALLENGED = 128
};

enum call {
    WHOLE,
    STREAM,
    HEAD,
    POST,
    POST_LARGE,
    POST_STREAM,
    EXPECT,
    WEBSOCKET,
    EVENTS,
    UPGRADE,
    HTTPS,
    OPTIONS,
    READ_ALL,
    CALLS
};

struct program {
    enum call call;
    uint8_t options;
    size_t piece;
    rota_str script; /* of the connections to come */
    struct peer peers[CONNECTIONS];
    size_t connections, redirects, requests;
    bool is_simple;    /* one request, and no redirect, brought the first response */
    rota_group *group; /* of the peers' tasks */
    rota_http_session *session;
    struct note told;
};

/* For what is not looked at here; reading the system's authorities takes long. */
static rota_tls_context *tls;

/* ---- Servers */

static int connect_to_peer(void *arg, const char *host, int port, rota_stream **ret_stream)
{
    struct program *p = arg;
    if (p->connections == CONNECTIONS)
        return -ECONNREFUSED;
    struct peer *peer = &p->peers[p->connections++];
    *peer = (struct peer){.script = peer_next(&p->script), .piece = p->piece, .answers = true};
    int err = rota_stream_pair(p->options & LITTLE ? 100 : 0, ret_stream, &peer->stream);
    if (err == 0) {
        rota_group_spawn(p->group, peer_receive, peer);
        rota_group_spawn(p->group, peer_send, peer);
    }
    return err;
}

static void note_phase(void *arg, const rota_http_trace *trace)
{
    struct program *p = arg;
    p->redirects += trace->phase == ROTA_HTTP_REDIRECTED;
    p->requests += trace->phase == ROTA_HTTP_SENDING;
}

/* ---- Calls */

static void tell_error(struct program *p, int err)
{
    const char *words = rota_error(err);
    require(words[0] && strlen(words) <= 512);
    require(rota__chars_are((rota_str){words, strlen(words)}, ROTA__CHAR_VALUE));
    note_line(&p->told, (rota_str){peer_error_name(err), strlen(peer_error_name(err))});
}

static void tell_head(struct program *p, const rota_http_response *r)
{
    size_t count;
    const rota_http_field *fields = rota_http_response_fields(r, &count);
    int status = rota_http_status(r);
    require(status >= 100 && status < 1000);
    char text[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10),
                   (char)('0' + status % 10)};
    note_line(&p->told, (rota_str){text, sizeof text});
    note_line(&p->told, rota_http_response_reason(r));
    for (size_t i = 0; i < count; i++) {
        note_line(&p->told, fields[i].name);
        note_line(&p->told, fields[i].value);
    }
}

/* All of it, or none where it breaks off: then it depends on the pieces how much comes before. */
static void read_streamed(struct program *p, rota_http_response *r)
{
    struct note body = {0};
    char buf[333];
    ssize_t n;
    while ((n = rota_http_read(r, buf, sizeof buf)) > 0)
        note_add(&body, (rota_str){buf, (size_t)n});
    if (n == 0)
        note_line(&p->told, (rota_str){body.ptr, body.len});
    else
        tell_error(p, (int)n);
    require(n == 0 || rota_http_response_error(r)[0]);
    note_fini(&body);
}

static void read_events(struct program *p, rota_http_response *r)
{
    int err;
    ROTA_FOREACH (rota_http_event *, event, rota_http_events(r), &err) {
        note_line(&p->told, event->type);
        note_line(&p->told, event->data);
        note_line(&p->told, event->id);
    }
    if (err < 0)
        tell_error(p, err);
}

static void use_upgraded(rota_http_response *r)
{
    ROTA_AUTO(rota_stream) s = rota_http_take_stream(r);
    char buf[100];
    require((s != NULL) == (rota_http_status(r) == 101));
    while (s && rota_stream_read(s, buf, sizeof buf) > 0)
        ;
}

static void use_response(struct program *p, rota_http_response *r)
{
    tell_head(p, r);
    switch (p->call) {
    case STREAM:
        read_streamed(p, r);
        note_line(&p->told, rota_http_response_trailer(r, "x-t"));
        return;
    case EVENTS:
        read_events(p, r);
        return;
    case UPGRADE:
        use_upgraded(r);
        return;
    case READ_ALL: {
        int err = rota_http_read_all(r, 1000);
        require(rota_http_body(r).len <= 1000);
        if (err < 0)
            tell_error(p, err);
        return;
    }
    default:
        require(rota_http_body(r).len <= BODY);
        note_line(&p->told, rota_http_body(r));
        note_line(&p->told, rota_http_response_trailer(r, "x-t"));
    }
}

/* A stream that has a body. */
static rota_stream *body_stream(void)
{
    static const char bytes[UPLOAD];
    rota_stream *from, *to;
    require(rota_stream_pair(0, &from, &to) == 0);
    require(rota_stream_write(from, bytes, sizeof bytes) == 0);
    rota_stream_free(from);
    return to;
}

static void fetch(struct program *p, const char *url)
{
    static const char bytes[UPLOAD];
    enum call call = p->call;
    rota_http_fetch_options options = {.stream =
                                           call == STREAM || call == EVENTS || call == READ_ALL,
                                       .expect = call == EXPECT,
                                       .upgrade = call == UPGRADE ? "echo" : NULL,
                                       .method = call == HEAD      ? "HEAD"
                                                 : call == OPTIONS ? "OPTIONS"
                                                                   : NULL};
    ROTA_AUTO(rota_stream) body = call == POST_STREAM ? body_stream() : NULL;
    ROTA_AUTO(rota_http_response) r = NULL;
    options.body.stream = body;
    if (call == POST || call == EXPECT)
        options.body.bytes = (rota_str){bytes, 10};
    else if (call == POST_LARGE)
        options.body.bytes = (rota_str){bytes, sizeof bytes};
    int err = rota_http_fetch(p->session, url, &options, &r);
    if (err < 0)
        tell_error(p, err);
    else
        use_response(p, r);
}

static void talk(struct program *p)
{
    ROTA_AUTO(rota_websocket) ws = NULL;
    rota_websocket_message m;
    int err = rota_websocket_connect(p->session, "ws://a/", NULL, &ws);
    if (err == 0)
        note_line(&p->told, (rota_str){"open", 4});
    while (err >= 0 && (err = rota_websocket_read(ws, &m)) > 0)
        note_line(&p->told, m.bytes);
    if (err < 0)
        tell_error(p, err);
}

static int ask_on(void *arg)
{
    struct program *p = arg;
    size_t first = p->told.len;
    fetch(p, "http://u:p@a/y?z");
    p->told.len = first; /* which request gets what depends on the pieces */
    return 0;
}

static void ask_all(struct program *p)
{
    rota_group *others = p->options & PARALLEL ? p->group : NULL;
    if (others)
        rota_group_spawn(others, ask_on, p);
    if (p->call == WEBSOCKET)
        talk(p);
    else
        fetch(p, p->call == HTTPS     ? "https://a/x"
                 : p->call == OPTIONS ? "http://a"
                                      : "http://a/x/y");
    /* What a server sends into a tunnel before it is asked is refused where it is seen. */
    bool is_tunnel = p->options & PROXY && (p->call == HTTPS || p->call == WEBSOCKET);
    p->is_simple = !others && !is_tunnel && p->connections == 1 && !p->peers[0].broke_off &&
                   p->redirects == 0 && p->requests <= 1;
    if (!others && p->call != WEBSOCKET)
        ask_on(p);
}

static int run_program(void *arg)
{
    struct program *p = arg;
    static const rota_backoff retry = {.tries = 3};
    bool is_small = p->options & SMALL_LIMITS, is_challenged = p->options & CHALLENGED;
    rota_http_auth auth = is_challenged ? ROTA_HTTP_AUTH_ANY : ROTA_HTTP_AUTH_BASIC;
    const rota_http_session_options options = {.version = p->options & HTTP_2 ? ROTA_HTTP_2_DIRECTLY
                                                                              : ROTA_HTTP_ANY,
                                               .proxy = p->options & PROXY   ? "http://u:p@p"
                                                        : p->options & SOCKS ? "socks5h://u:p@p"
                                                                             : "",
                                               .base_url = is_challenged ? "http://a" : NULL,
                                               .user = is_challenged ? "u" : NULL,
                                               .password = is_challenged ? "p" : NULL,
                                               .auth = auth,
                                               .proxy_auth = auth,
                                               .body = BODY,
                                               .head = is_small ? 400 : 0,
                                               .fields = is_small ? 4 : 0,
                                               .ratio = is_small ? 3 : 0,
                                               .connections_host = is_small ? 1 : 0,
                                               .retry = p->options & RETRY ? &retry : NULL,
                                               .trace = note_phase,
                                               .trace_arg = p,
                                               .tls = tls,
                                               .connect_to = connect_to_peer,
                                               .connect_arg = p};
    require(rota_http_session_new(&options, &p->session) == 0);
    {
        ROTA_GROUP(peers, .policy = ROTA_GROUP_COLLECT);
        p->group = &peers;
        ask_all(p);
        if (!(p->options & PARALLEL))
            p->session = rota_http_session_free(p->session);
        require(rota_group_wait(&peers) == 0);
    }
    rota_http_session_free(p->session);
    for (size_t i = 0; i < p->connections; i++)
        rota_stream_free(p->peers[i].stream);
    return 0;
}

static void run_in_pieces(struct program *p, const uint8_t *data, size_t size, size_t piece)
{
    memset(p, 0, sizeof *p);
    p->call = data[0] % CALLS;
    p->options = data[1];
    p->piece = piece;
    p->script = (rota_str){(const char *)data + 2, size - 2};
    size_t before = peer_memory;
    peer_memory_most = before;
    peer_run(run_program, p);
    require(peer_memory_most - before < MEMORY);
    for (size_t i = 0; i < p->connections; i++)
        note_fini(&p->peers[i].received);
}

static void begin(void)
{
    peer_begin();
    static const rota_tls_options options = {.insecure_accept_any_certificate = true};
    require(rota_tls_context_new(&options, &tls) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct program whole, bytes, sevens;
    if (size < 2)
        return 0;
    if (!tls)
        begin();
    run_in_pieces(&whole, data, size, 0);
    run_in_pieces(&bytes, data, size, 1);
    run_in_pieces(&sevens, data, size, 7);
    if (whole.is_simple && bytes.is_simple)
        note_require_equal(&whole.told, &bytes.told);
    if (whole.is_simple && sevens.is_simple)
        note_require_equal(&whole.told, &sevens.told);
    note_fini(&whole.told);
    note_fini(&bytes.told);
    note_fini(&sevens.told);
    return 0;
}
