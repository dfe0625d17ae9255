/* The keys of a WebSocket's handshake (RFC 6455, section 4). */
#ifndef ROTA__HTTP_WS_KEY_H
#define ROTA__HTTP_WS_KEY_H

#include <rota/base.h>

#define ROTA__WS_KEY_LEN 24
#define ROTA__WS_ACCEPT_LEN 28

/* A random one, without a NUL. Returns 0 or an error of getrandom(2). */
int rota__ws_key_new(char key[ROTA__WS_KEY_LEN]);

/* What the server answers to `key`, without a NUL. Returns 0, -EINVAL (not a key: sixteen bytes in
 * base64), -ENOMEM. */
int rota__ws_key_accept(rota_str key, char accept[ROTA__WS_ACCEPT_LEN]);

#endif
