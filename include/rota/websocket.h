/* websocket: messages in both directions (RFC 6455), compressed where both sides know how (RFC
 * 7692). Part of rota-http.
 *
 *     static int echo(rota_http_request *r, void *arg)      // a handler of rota_http_serve
 *     {
 *         (void)arg;
 *         ROTA_AUTO(rota_websocket) ws = NULL;
 *         int err = rota_websocket_accept(r, NULL, &ws);
 *         if (err < 0)
 *             return err;
 *         rota_websocket_message m;
 *         int more;
 *         while ((more = rota_websocket_read(ws, &m)) > 0) {
 *             err = rota_websocket_write(ws, m.type, m.bytes.ptr, m.bytes.len);
 *             if (err < 0)
 *                 return err;
 *         }
 *         return more;                                      // 0: closed in order
 *     }
 *
 *     static int ask(void *arg)                             // a client
 *     {
 *         ROTA_AUTO(rota_websocket) ws = NULL;
 *         int err = rota_websocket_connect(NULL, "ws://localhost:8080/", NULL, &ws);
 *         if (err == 0)
 *             err = rota_websocket_write(ws, ROTA_WEBSOCKET_TEXT, "hello", 5);
 *         rota_websocket_message answer;
 *         if (err == 0)
 *             err = rota_websocket_read(ws, &answer);
 *         return err;
 *     }
 *
 * One task may read and several may write: messages never mix. The task that reads also answers
 * and sends pings, so one task should always be reading. */
#ifndef ROTA_WEBSOCKET_H
#define ROTA_WEBSOCKET_H

#include <rota/http_client.h>
#include <rota/http_server.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_websocket rota_websocket;

typedef enum rota_websocket_type {
    ROTA_WEBSOCKET_TEXT = 1, /* is UTF-8, checked in both directions */
    ROTA_WEBSOCKET_BINARY = 2
} rota_websocket_type;

typedef struct rota_websocket_message {
    rota_websocket_type type;
    rota_str bytes; /* until the next read */
} rota_websocket_message;

/* Zero is the default of each field. Times: ROTA_NEVER sets no limit. */
typedef struct rota_websocket_options {
    const char *const *protocols; /* subprotocols, the preferred first, then NULL */
    const char *const *headers;   /* client: of the request: name, value, ..., NULL */
    /* Server: the Origins that browsers may come from, "https://example.org", then NULL. NULL: only
     * the host that the request names. "*": any. */
    const char *const *origins;
    size_t message;   /* bytes of a message, inflated; 1 MiB: the peer is told 1009 */
    size_t fragments; /* frames of a message; 1024 */
    rota_time ping; /* after a silence of this length the peer is asked for a sign of life; 20 s */
    rota_time pong; /* how long it has for that; 20 s: -ETIMEDOUT */
    rota_time closing; /* how long closing waits for the peer's part; 5 s */
    /* While the peer takes nothing of what is written, or not 128 KiB; 30 s: the connection is
     * cut. */
    rota_time write_stall;
    bool no_compression;
} rota_websocket_options;

/* Makes a WebSocket of a request; free it before the handler returns. Where the request is no
 * handshake, or one that is not acceptable, it is answered (400, 403, 405, 426), and -EPROTO
 * returned.
 *
 * Returns 0, -EPROTO, -EALREADY (a reply has begun), -ENOMEM, or as rota_http_reply. */
ROTA_SUSPENDS int rota_websocket_accept(rota_http_request *r, const rota_websocket_options *options,
                                        rota_websocket **ret_ws);
/* Connects to a URL of ws, wss, http or https, with the session's settings, cookies and
 * credentials; the connection is none of its pool. `session` may be NULL. A response with another
 * status than 101 is no WebSocket, redirects included.
 *
 * Returns 0; -EPROTO (the server refused, or answered wrongly); -E2BIG (more than 60 header
 * fields); or as rota_http_fetch. rota_error has the words. */
ROTA_SUSPENDS int rota_websocket_connect(rota_http_session *session, const char *url,
                                         const rota_websocket_options *options,
                                         rota_websocket **ret_ws);
/* The subprotocol that was agreed on, or NULL. */
ROTA_API const char *rota_websocket_protocol(const rota_websocket *ws);

/* Reads a message. Where it is cancelled or timed out, the pieces that have come stay for the next
 * read.
 *
 * Returns 1; 0 once the peer has closed in order (rota_websocket_close_code says how);
 * ROTA_EPROTOCOL (it broke the protocol, and was told so), ROTA_ELIMIT (a message over the limit),
 * ROTA_ETRUNCATED (the connection ended without a close), -ETIMEDOUT (no pong in time, nothing
 * taken of what was written, or a deadline around the call), -ECANCELED, -EBUSY, -ENOMEM, or
 * another error of rota_stream_read. What ended the connection comes back with each later read. */
ROTA_SUSPENDS int rota_websocket_read(rota_websocket *ws, rota_websocket_message *ret_message);

/* Sends a message. Suspends while the peer does not keep up, and while others write. A peer that
 * takes nothing for `write_stall` has its connection cut, which ends the reader's call, too. Where
 * the call is cancelled, or a deadline around it passes, what was sent in part is the last that can
 * be sent.
 *
 * Returns 0, -EINVAL (text that is not UTF-8), ROTA_ECLOSED (either side has closed), -ETIMEDOUT
 * (the peer took nothing, and rota_websocket_close_code is 1006; or a deadline around the call), or
 * an error of rota_stream_write. */
ROTA_SUSPENDS int rota_websocket_write(rota_websocket *ws, rota_websocket_type type,
                                       const void *buf, size_t len);

/* Closes: tells the peer, and waits for its part, reading and dropping what still comes. `code` 0
 * is 1000, 1005 sends none; `reason` may be NULL. Shields itself.
 *
 * Returns 0, also when it was closed before; -EINVAL (a code or reason that may not be sent); or
 * why it was not closed in order, such as -ETIMEDOUT. */
ROTA_SUSPENDS_SHIELDED int rota_websocket_close(rota_websocket *ws, int code, const char *reason);
/* The code that it was closed with: 1005 where there was none in the close frame, 1006 where there
 * was no close frame; 0: it is open. */
ROTA_API int rota_websocket_close_code(const rota_websocket *ws);
ROTA_API const char *rota_websocket_close_reason(const rota_websocket *ws);

/* Closes by 1001 if it is open, and frees. Calls of other tasks that are inside end, with
 * ROTA_ECLOSED at the latest, and are waited for. Shields itself. Accepts NULL, returns NULL. */
ROTA_SUSPENDS_SHIELDED rota_websocket *rota_websocket_free(rota_websocket *ws);
ROTA_DEFINE_AUTO(rota_websocket, rota_websocket_free);

#ifdef __cplusplus
}
#endif

#endif
