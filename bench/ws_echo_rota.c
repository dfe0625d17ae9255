/* rota's side of the WebSocket row: a handler that sends every message back. */
#include <rota.h>
#include <rota/websocket.h>

#include <stdio.h>

static int echo(rota_http_request *r, void *arg)
{
    ROTA_AUTO(rota_websocket) ws = NULL;
    rota_websocket_message m;
    int more = rota_websocket_accept(r, NULL, &ws);

    if (more < 0)
        return more;
    while ((more = rota_websocket_read(ws, &m)) > 0) {
        int err = rota_websocket_write(ws, m.type, m.bytes.ptr, m.bytes.len);
        if (err < 0)
            return err;
    }
    return more;
}

static int serve(void *arg)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    int err = rota_tcp_listen("127.0.0.1", 0, NULL, &listener);

    if (err < 0)
        return err;
    printf("port %d\n", rota_listener_port(listener));
    fflush(stdout);
    return rota_http_serve(&listener, 1, echo, NULL, NULL);
}

int main(void)
{
    int err = rota_run(serve, NULL);

    if (err < 0)
        fprintf(stderr, "ws_echo: %s\n", rota_strerror(err));
    return err < 0;
}
