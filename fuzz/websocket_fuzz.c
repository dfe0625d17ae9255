/* A WebSocket of either side: the input is the peer's handshake and its frames, played by peer.h.
 * It is received whole, byte by byte, and seven bytes at a time: the messages are the same each
 * time, and so is the end. Messages stay within the limit, texts are UTF-8, and what our side sends
 * is understood by our own parser.
 *
 * The first byte chooses the side and the options; with READY a good handshake comes before the
 * input. */
#include "peer.h"

#include <rota/http_client.h>
#include <rota/tls.h>
#include <rota/websocket.h>

enum { SERVER = 1, READY = 2, COMPRESS = 4, PROTOCOLS = 8, NARROW = 16, ANSWERS = 32 };

enum { LIMIT = 5000 };

struct talk {
    struct peer peer;
    rota_stream *stream;
    rota_group *group;
    uint8_t options;
    struct note told;
};

static rota_tls_context *tls;

static void tell_text(struct talk *t, const char *text)
{
    note_line(&t->told, (rota_str){text, strlen(text)});
}

static void check_message(const rota_websocket_message *m)
{
    uint32_t utf8 = 0;
    require(m->bytes.len <= LIMIT);
    require(m->type == ROTA_WEBSOCKET_BINARY ||
            (rota__utf8_check(&utf8, m->bytes.ptr, m->bytes.len) && utf8 == 0));
}

static void read_all(struct talk *t, rota_websocket *ws)
{
    rota_websocket_message m;
    int more;
    tell_text(t, "open");
    if (rota_websocket_protocol(ws))
        tell_text(t, rota_websocket_protocol(ws));
    while ((more = rota_websocket_read(ws, &m)) > 0) {
        check_message(&m);
        note_line(&t->told, m.bytes);
        if (t->options & ANSWERS)
            ROTA_IGNORE(rota_websocket_write(ws, m.type, m.bytes.ptr, m.bytes.len));
    }
    char code[16];
    snprintf(code, sizeof code, "%d", rota_websocket_close_code(ws));
    tell_text(t, more < 0 ? peer_error_name(more) : "closed");
    tell_text(t, code);
    tell_text(t, rota_websocket_close_reason(ws));
}

static rota_websocket_options options_of(const struct talk *t)
{
    static const char *const protocols[] = {"b", "a", NULL};
    return (rota_websocket_options){.message = LIMIT,
                                    .fragments = 10,
                                    .no_compression = !(t->options & COMPRESS),
                                    .protocols = t->options & PROTOCOLS ? protocols : NULL};
}

/* ---- The server's side */

static int handle(rota_http_request *r, void *arg)
{
    struct talk *t = arg;
    rota_websocket_options options = options_of(t);
    ROTA_AUTO(rota_websocket) ws = NULL;
    int err = rota_websocket_accept(r, &options, &ws);
    if (err < 0)
        tell_text(t, peer_error_name(err));
    else
        read_all(t, ws);
    return err;
}

static void be_server(struct talk *t)
{
    require(rota_stream_pair(t->options & NARROW ? 50 : 0, &t->stream, &t->peer.stream) == 0);
    rota_group_spawn(t->group, peer_receive, &t->peer);
    rota_group_spawn(t->group, peer_send, &t->peer);
    require(rota_http_serve_stream(t->stream, handle, t, NULL) == 0);
    t->stream = rota_stream_free(t->stream);
}

/* ---- The client's side */

static int connect_to_peer(void *arg, const char *host, int port, rota_stream **ret_stream)
{
    struct talk *t = arg;
    if (t->peer.stream)
        return -ECONNREFUSED;
    int err = rota_stream_pair(t->options & NARROW ? 50 : 0, ret_stream, &t->peer.stream);
    if (err < 0)
        return err;
    rota_group_spawn(t->group, peer_receive, &t->peer);
    rota_group_spawn(t->group, peer_send, &t->peer);
    return 0;
}

static void be_client(struct talk *t)
{
    rota_websocket_options options = options_of(t);
    const rota_http_session_options how = {
        .tls = tls, .proxy = "", .connect_to = connect_to_peer, .connect_arg = t};
    ROTA_AUTO(rota_http_session) session = NULL;
    ROTA_AUTO(rota_websocket) ws = NULL;
    require(rota_http_session_new(&how, &session) == 0);
    int err = rota_websocket_connect(session, "ws://a/b", &options, &ws);
    require(err == 0 || rota_error(err)[0]);
    if (err < 0)
        tell_text(t, peer_error_name(err));
    else
        read_all(t, ws);
}

/* ---- The run */

static int run_talk(void *arg)
{
    struct talk *t = arg;
    {
        ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
        t->group = &g;
        if (t->options & SERVER)
            be_server(t);
        else
            be_client(t);
        require(rota_group_wait(&g) == 0);
    }
    rota_stream_free(t->peer.stream);
    return 0;
}

/* Behind our side's head, where it was a handshake, there are frames. */
static void check_sent(const struct talk *t)
{
    rota_str sent = {t->peer.received.ptr, t->peer.received.len};
    const char *end = sent.len ? memmem(sent.ptr, sent.len, "\r\n\r\n", 4) : NULL;
    if (!end || (t->options & SERVER && strncmp(sent.ptr, "HTTP/1.1 101 ", 13) != 0))
        return;
    peer_check_frames(peer_skip(sent, (size_t)(end + 4 - sent.ptr)), !(t->options & SERVER));
}

static void talk_in_pieces(struct talk *t, uint8_t options, rota_str script, size_t piece)
{
    memset(t, 0, sizeof *t);
    t->options = options;
    t->peer = (struct peer){.script = script, .piece = piece, .answers = !(options & SERVER)};
    peer_run(run_talk, t);
    check_sent(t);
    note_fini(&t->peer.received);
}

static void add_text(struct note *note, const char *text)
{
    note_add(note, (rota_str){text, strlen(text)});
}

/* A good handshake, of the peer. */
static void add_handshake(struct note *script, uint8_t options)
{
    if (options & SERVER)
        add_text(script, "GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    else
        add_text(script, "HTTP/1.1 101 Hello\r\nSec-WebSocket-Accept: \xff\xfek\r\n");
    add_text(script, "Connection: upgrade\r\nUpgrade: websocket\r\n");
    if (options & COMPRESS)
        add_text(script, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    if (options & PROTOCOLS)
        add_text(script, "Sec-WebSocket-Protocol: a\r\n");
    add_text(script, "\r\n");
}

static void begin(void)
{
    static const rota_tls_options options = {.insecure_accept_any_certificate = true};
    peer_begin();
    require(rota_tls_context_new(&options, &tls) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct talk whole, bytes, sevens;
    struct note script = {0};
    if (!tls)
        begin();
    if (size < 1)
        return 0;
    if (data[0] & READY)
        add_handshake(&script, data[0]);
    note_add(&script, (rota_str){(const char *)data + 1, size - 1});
    rota_str all = {script.ptr, script.len};
    talk_in_pieces(&whole, data[0], all, 0);
    talk_in_pieces(&bytes, data[0], all, 1);
    talk_in_pieces(&sevens, data[0], all, 7);
    if (!whole.peer.broke_off && !bytes.peer.broke_off && !sevens.peer.broke_off) {
        note_require_equal(&whole.told, &bytes.told);
        note_require_equal(&whole.told, &sevens.told);
    }
    note_fini(&whole.told);
    note_fini(&bytes.told);
    note_fini(&sevens.told);
    note_fini(&script);
    return 0;
}
