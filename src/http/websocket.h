/* A WebSocket whose handshake is over. */
#ifndef ROTA__HTTP_WEBSOCKET_H
#define ROTA__HTTP_WEBSOCKET_H

#include "http/ws_deflate.h"

#include <rota/websocket.h>

struct rota__websocket_setup {
    rota_stream *stream;
    bool is_server;
    const struct rota__ws_deflate_terms *deflate; /* NULL: nothing is compressed */
    rota_str protocol;                            /* copied */
    void (*release)(void *arg);                   /* lets go of the stream; may suspend */
    void *release_arg;
};

/* Returns 0 or -ENOMEM; then `release` has not been called. `options` may be NULL. */
int rota__websocket_new(const struct rota__websocket_setup *setup,
                        const rota_websocket_options *options, rota_websocket **ret_ws);
/* Frees one whose handshake failed after all; nothing is sent. */
void rota__websocket_drop(rota_websocket *ws);

#endif
