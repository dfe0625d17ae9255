/* websocket: messages in both directions over one connection (RFC 6455), compressed if both sides
 * support it (RFC 7692). Part of rota-http.
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
 * One task may read and several may write; messages of different writers never mix. The reading
 * task also answers pings and sends its own, so one task should always be reading. */
#ifndef ROTA_WEBSOCKET_H
#define ROTA_WEBSOCKET_H

#include <rota/http_client.h>
#include <rota/http_server.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_websocket rota_websocket;

typedef enum rota_websocket_type {
    /* UTF-8, checked in both directions */
    ROTA_WEBSOCKET_TEXT = 1,
    ROTA_WEBSOCKET_BINARY = 2
} rota_websocket_type;

typedef struct rota_websocket_message {
    rota_websocket_type type;
    /* Valid until the next read. */
    rota_str bytes;
} rota_websocket_message;

/* Zero selects the default of each field. For times, ROTA_NEVER sets no limit. */
typedef struct rota_websocket_options {
    /* Subprotocols, the preferred one first, then NULL. */
    const char *const *protocols;
    /* Client: extra header fields of the request: name, value, ..., NULL. */
    const char *const *headers;
    /* Server: the origins (such as "https://example.org") from which browsers may connect, then
     * NULL; "*" allows any. Default: only the host that the request names. */
    const char *const *origins;
    /* Largest message in bytes, after decompression. Default: 1 MiB; then the peer gets close code
     * 1009. */
    size_t message;
    /* Largest number of frames of a message. Default: 1024. */
    size_t fragments;
    /* Send a ping after the peer has been silent for this long. Default: 20 s. */
    rota_time ping;
    /* Time limit for the answer to a ping. Default: 20 s; then -ETIMEDOUT. */
    rota_time pong;
    /* How long closing waits for the peer's close frame. Default: 5 s. */
    rota_time closing;
    /* Close the connection if, for this long while data waits to be written, the peer takes less
     * than 128 KiB and not all of it. Default: 30 s. */
    rota_time write_stall;
    bool no_compression;
} rota_websocket_options;

/* Server: turns a request into a WebSocket. Free it before the handler returns. If the request is
 * not a valid handshake, or is not acceptable, it is answered with an error status (400, 403, 405
 * or 426), and -EPROTO is returned. `options` may be NULL.
 *
 * Returns 0, -EPROTO, -EALREADY (a reply has begun), -ENOMEM, or an error of rota_http_reply. */
ROTA_SUSPENDS int rota_websocket_accept(rota_http_request *r, const rota_websocket_options *options,
                                        rota_websocket **ret_ws);
/* Client: connects to a ws, wss, http or https URL, with the settings, cookies and credentials of
 * the session. The connection does not count for the session's pool. `session` and `options` may be
 * NULL. Any response with a status other than 101 is an error; redirects are not followed.
 *
 * Returns 0; -EPROTO (the server refused, or answered wrongly); -E2BIG (more than 60 header
 * fields); or an error of rota_http_fetch. rota_error says what went wrong. */
ROTA_SUSPENDS int rota_websocket_connect(rota_http_session *session, const char *url,
                                         const rota_websocket_options *options,
                                         rota_websocket **ret_ws);
/* Returns the negotiated subprotocol, or NULL. */
ROTA_API const char *rota_websocket_protocol(const rota_websocket *ws);

/* Reads a message. Suspends until it is complete. If the call is cancelled or timed out, the
 * fragments received so far are kept for the next read.
 *
 * Returns 1; 0 after the peer has closed the connection in order (rota_websocket_close_code tells
 * how); ROTA_EPROTOCOL (the peer violated the protocol, and was told so), ROTA_ELIMIT (`message` or
 * `fragments` exceeded), ROTA_ETRUNCATED (the connection ended without a close frame), -ETIMEDOUT
 * (`pong` or `write_stall` passed, or a deadline around the call), -ECANCELED, -EBUSY (another task
 * is reading), -ENOMEM, or another error of rota_stream_read. An error that ends the connection is
 * returned by every later read. */
ROTA_SUSPENDS int rota_websocket_read(rota_websocket *ws, rota_websocket_message *ret_message);

/* Sends a message. Suspends while the peer does not keep up, and while other tasks write. If
 * `write_stall` passes, the connection is closed, which also ends the call of the reading task. If
 * the call is cancelled or timed out after a part of the message was sent, nothing more can be
 * sent.
 *
 * Returns 0, -EINVAL (text that is not UTF-8), ROTA_ECLOSED (either side has closed), -ETIMEDOUT
 * (`write_stall` passed, and rota_websocket_close_code is 1006; or a deadline around the call), or
 * an error of rota_stream_write. */
ROTA_SUSPENDS int rota_websocket_write(rota_websocket *ws, rota_websocket_type type,
                                       const void *buf, size_t len);

/* Closes the WebSocket: sends a close frame and waits for the peer's, reading and dropping other
 * messages. `code` 0 stands for 1000; 1005 sends no code. `reason` may be NULL. Shields itself.
 *
 * Returns 0, also if it was closed before; -EINVAL (an invalid code or reason); or the reason why
 * the peer did not close in order, such as -ETIMEDOUT: then messages that were sent may be lost. */
ROTA_SUSPENDS_SHIELDED_RESULT int rota_websocket_close(rota_websocket *ws, int code,
                                                       const char *reason);
/* Returns the code with which the connection was closed: 1005 if the close frame had none, 1006 if
 * there was no close frame; 0 while it is open. */
ROTA_API int rota_websocket_close_code(const rota_websocket *ws);
ROTA_API const char *rota_websocket_close_reason(const rota_websocket *ws);

/* Closes the WebSocket with code 1001 if it is open, and frees it. Calls of other tasks on it are
 * ended, at the latest with ROTA_ECLOSED, and waited for. Shields itself. Accepts NULL, returns
 * NULL. */
ROTA_SUSPENDS_SHIELDED rota_websocket *rota_websocket_free(rota_websocket *ws);
ROTA_DEFINE_AUTO(rota_websocket, rota_websocket_free);

#ifdef __cplusplus
}
#endif

#endif
