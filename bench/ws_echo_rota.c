/* rota's side of the WebSocket row: a handler that sends every message back. */
#include "serving.h"

#include <rota/websocket.h>

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
    int err = listen_and_announce(&listener);

    return err < 0 ? err : rota_http_serve(&listener, 1, echo, NULL, NULL);
}

int main(void)
{
    return exit_status(rota_run(serve, NULL));
}
