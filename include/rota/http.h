/* http: what client and server share.
 *
 * <rota/http_client.h>, <rota/http_server.h> and <rota/websocket.h> bring it along.
 *
 * HTTP by RFC 9110, HTTP/1.1 by RFC 9112, HTTP/2 by RFC 9113. What lets two parsers understand a
 * message differently is refused, never repaired, and nothing is written that could be. */
#ifndef ROTA_HTTP_H
#define ROTA_HTTP_H

#include <rota/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A header field or a trailer. */
typedef struct rota_http_field {
    rota_str name, value;
} rota_http_field;

/* A server-sent event. Of one that is sent, empty parts are left out. */
typedef struct rota_http_event {
    rota_str type; /* received: "message" where the server said nothing else */
    rota_str data;
    rota_str id;     /* received: the last one that the server gave */
    rota_time retry; /* how long to wait before connecting again; 0: it did not say */
} rota_http_event;

/* "Not Found"; "Unknown" for what RFC 9110 and its kin do not name. */
ROTA_API const char *rota_http_reason(int status);

/* What a server says by ALPN (rota_tls_options.alpn): HTTP/2, else HTTP/1.1. Sessions do so by
 * themselves. */
extern ROTA_API const char *const rota_http_alpn[];

#ifdef __cplusplus
}
#endif

#endif
