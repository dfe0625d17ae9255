/* http: what client and server share.
 *
 * <rota/http_client.h>, <rota/http_server.h> and <rota/websocket.h> include it.
 *
 * HTTP follows RFC 9110, HTTP/1.1 RFC 9112 and HTTP/2 RFC 9113. A message that two parsers could
 * understand differently is refused, not repaired, and never sent. */
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

/* A server-sent event. Empty parts are not sent. */
typedef struct rota_http_event {
    rota_str type; /* Received: "message" if the server set no type. */
    rota_str data;
    rota_str id;     /* Received: the last id that the server sent. */
    rota_time retry; /* How long to wait before connecting again; 0: not given. */
} rota_http_event;

/* Returns the reason phrase of a status, such as "Not Found"; "Unknown" for a status that no RFC
 * names. */
ROTA_API const char *rota_http_reason(int status);

/* For rota_tls_options.alpn of a server: offers HTTP/2 and HTTP/1.1. Sessions set ALPN by
 * themselves. */
extern ROTA_API const char *const rota_http_alpn[];

#ifdef __cplusplus
}
#endif

#endif
