/* A server that sends every message back, for websocket_peer_test.py to set other programs against.
 *
 *     websocket_peer [OPTION VALUE]...     prints "port N", then serves until it is ended
 *
 * Prints a line for each WebSocket that is over: "closed CODE REASON" in order, else "cut CODE
 * why". */
#include <rota.h>
#include <rota/http_server.h>
#include <rota/tls.h>
#include <rota/websocket.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *protocols[] = {"superchat", "chat", NULL};
static rota_websocket_options settings = {.protocols = protocols};
static rota_tls_options identity;

static void set_option(const char *name, const char *value)
{
    if (strcmp(name, "--cert") == 0)
        identity.cert_file = value;
    else if (strcmp(name, "--key") == 0)
        identity.key_file = value;
    else if (strcmp(name, "--message") == 0)
        settings.message = (size_t)atoll(value);
    else if (strcmp(name, "--fragments") == 0)
        settings.fragments = (size_t)atoll(value);
    else if (strcmp(name, "--ping") == 0)
        settings.ping = (rota_time)(atof(value) * (double)ROTA_SECOND);
    else if (strcmp(name, "--pong") == 0)
        settings.pong = (rota_time)(atof(value) * (double)ROTA_SECOND);
    else
        errx(2, "there is no option %s", name);
}

static int echo(rota_http_request *r, void *arg)
{
    ROTA_AUTO(rota_websocket) ws = NULL;
    int more = rota_websocket_accept(r, &settings, &ws);
    if (more < 0)
        return more == -EPROTO ? 0 : more;
    rota_websocket_message m;
    while ((more = rota_websocket_read(ws, &m)) > 0) {
        if (m.bytes.len == 6 && memcmp(m.bytes.ptr, "leave!", 6) == 0)
            more = rota_websocket_close(ws, 4321, "as you wish");
        else
            more = rota_websocket_write(ws, m.type, m.bytes.ptr, m.bytes.len);
        if (more < 0)
            break;
    }
    if (more == 0)
        printf("closed %d %s\n", rota_websocket_close_code(ws), rota_websocket_close_reason(ws));
    else
        printf("cut %d %s\n", rota_websocket_close_code(ws), rota_strerror(more));
    return 0;
}

static int serve(void *tls)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    rota_http_serve_options options = {.tls = tls};
    int error = rota_tcp_listen("127.0.0.1", 0, NULL, &listener);
    if (error < 0)
        return error;
    printf("port %d\n", rota_listener_port(listener));
    return rota_http_serve(&listener, 1, echo, NULL, &options);
}

int main(int argc, char **argv)
{
    if (argc % 2 == 0)
        errx(2, "usage: see the source");
    for (int i = 1; i < argc; i += 2)
        set_option(argv[i], argv[i + 1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    ROTA_AUTO(rota_tls_context) tls = NULL;
    int error = identity.cert_file ? rota_tls_context_new(&identity, &tls) : 0;
    if (error < 0)
        errx(1, "%s", rota_error(error));
    error = rota_run(serve, tls);
    if (error < 0)
        errx(1, "%s", rota_strerror(error));
    return 0;
}
