/* http_server: HTTP/1.1 and HTTP/2, as functions that read a request and write a response. In a
 * library of its own (pkg-config rota-http), and not in <rota.h>.
 *
 *     static int hello(rota_http_request *r, void *arg)
 *     {
 *         (void)arg;
 *         if (rota_str_equal(rota_http_request_path(r), "/"))
 *             return rota_http_reply(r, 200, "text/plain", "Hello, world!\n", 14);
 *         return rota_http_reply_status(r, 404);
 *     }
 *
 *     static int serve(void *arg)
 *     {
 *         (void)arg;
 *         ROTA_AUTO(rota_listener) l = NULL;
 *         int err = rota_tcp_listen("localhost", 8080, NULL, &l);
 *         if (err < 0)
 *             return err;
 *         return rota_http_serve(&l, 1, hello, NULL, NULL);   // until cancelled
 *     }
 *
 * A handler runs in a task and may suspend anywhere. It need not know whether the request came over
 * HTTP/1.1 or HTTP/2, encrypted or not. It replies once: with a whole body (rota_http_reply), piece
 * by piece (rota_http_start, rota_http_write), or from a file (rota_http_reply_file).
 *
 * To read the body while it replies, a handler uses two tasks in a group that it waits for. This
 * one connects its client with another server:
 *
 *     struct relay {
 *         rota_http_request *request;
 *         rota_stream *other;
 *     };
 *
 *     static int read_on(void *arg)                       // the reader
 *     {
 *         struct relay *relay = arg;
 *         char buf[16384];
 *         ssize_t n;
 *         while ((n = rota_http_request_read(relay->request, buf, sizeof buf)) > 0) {
 *             int err = rota_stream_write(relay->other, buf, (size_t)n);
 *             if (err < 0)
 *                 return err;
 *         }
 *         return n < 0 ? (int)n : rota_stream_shutdown(relay->other);
 *     }
 *
 *     static int write_on(void *arg)                      // the writer
 *     {
 *         struct relay *relay = arg;
 *         char buf[16384];
 *         ssize_t n;
 *         int err = rota_http_start(relay->request, 200, NULL, ROTA_HTTP_UNKNOWN_LENGTH);
 *         while (err == 0 && (n = rota_stream_read(relay->other, buf, sizeof buf)) != 0)
 *             err = n < 0 ? (int)n : rota_http_write(relay->request, buf, (size_t)n);
 *         return err;
 *     }
 *
 *     static int relay(rota_http_request *r, void *arg)
 *     {
 *         (void)arg;
 *         ROTA_AUTO(rota_stream) other = NULL;
 *         int err = rota_tcp_connect("localhost", 7, NULL, &other);
 *         if (err < 0)
 *             return rota_http_reply_status(r, 502);
 *         struct relay both = {r, other};
 *         ROTA_GROUP(g);
 *         rota_group_spawn(&g, read_on, &both);
 *         rota_group_spawn(&g, write_on, &both);
 *         return rota_group_wait(&g);
 *     }
 *
 * The server sees to the rules of the protocol. A body is as long as announced. Replies to HEAD,
 * and 204 and 304, have no body. What a handler does not read of a request's body is skipped if it
 * is short; otherwise the connection is closed. A client that waits for "100 Continue" gets it when
 * the body is first read.
 *
 * When the client goes away, the handler is cancelled: its suspending calls return -ECANCELED. Put
 * work that must be finished anyway into a shield. A client that only shuts down its sending side
 * counts as gone once everything that it sent has been read. A handler that takes less than a tenth
 * of a second does not notice any of this.
 *
 * When a handler fails before it has replied, the server replies for it: 413 if the body was over
 * the limit, 408 if it did not come in time, 503 if there was no memory for it, otherwise 500. A
 * handler that returns 0 without a reply also becomes a 500. Once part of a reply has been sent, an
 * error cuts it off, so that the client can tell that it is incomplete. Failures that a client
 * cannot have caused are reported to the log hook. */
#ifndef ROTA_HTTP_SERVER_H
#define ROTA_HTTP_SERVER_H

#include <rota/http.h>
#include <rota/net.h>
#include <rota/sync.h>
#include <rota/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A request, and the reply to it. It lives as long as the handler runs, and so does everything that
 * it returns.
 *
 * One task may read the body while another replies. Both have to end before the handler returns;
 * otherwise the reply is cut off. The reader may call rota_http_request_read, _body and _trailer,
 * the writer everything that sends. Both may call rota_http_alloc and the calls that return parts
 * of the head. A second reader, or a second writer, gets -EBUSY. */
typedef struct rota_http_request rota_http_request;

typedef int rota_http_handler(rota_http_request *r, void *arg);

/* ---- Serving ---- */

/* What a server has done so far, and what it is doing. Kept up to date while it runs; tasks of its
 * loop may read it at any time. */
typedef struct rota_http_counters {
    uint64_t connections, requests; /* Since it was started. */
    uint64_t bytes_in, bytes_out;   /* Of bodies. */
    uint64_t refused;               /* Requests that broke the protocol or a limit. */
    uint64_t evicted;     /* Connections without a request, closed to make room for others. */
    uint64_t turned_away; /* Connections reset because their address had too many. */
    uint64_t status[6];   /* Replies by the first digit of their status; [0]: cut off or none. */
    size_t open, idle, running; /* Now: connections, those without a request, running requests. */
    size_t memory;              /* Now: bytes that count for the limit `memory`. */
} rota_http_counters;

/* An entry of the access log, for a request that is over. Valid during the call. For a refused
 * request it has the parts of the head that could be parsed; the rest is empty. */
typedef struct rota_http_access {
    const char *peer; /* For example "127.0.0.1:4711". */
    rota_str method, target, version;
    int status;                       /* 0: no reply was started. */
    uint64_t bytes_in, bytes_out;     /* Of the bodies. */
    rota_time first_byte, total;      /* From the request's head to the reply's, and to its end. */
    int err;                          /* 0, or why the reply was cut off. */
    const rota_http_request *request; /* For its header fields. */
} rota_http_access;

/* Called in the request's task; must not suspend. */
typedef void rota_http_access_fn(void *arg, const rota_http_access *access);

/* A field that is 0 has its default. ROTA_NEVER turns a time limit off. */
typedef struct rota_http_serve_options {
    /* NULL: no TLS. HTTP/2 is spoken if the context's `alpn` has "h2" (see rota_http_alpn). Without
     * TLS it is spoken with clients that start with it. */
    rota_tls_context *tls;

    /* Connections at once, on all listeners together. Default: 10,000. When one more arrives, the
     * connection that has been without a request for longest is closed, once it has been so for a
     * second: an idle one, one in a TLS handshake, or one in the middle of a head. Until then, and
     * if all of them have requests, the new one waits. */
    size_t connections;
    /* Connections at once from one IPv4 address, or from one IPv6 network of 64 bits. Further ones
     * are reset. Default: no limit, because behind a proxy all clients have its address.
     * Connections over Unix sockets do not count. */
    size_t connections_per_address;
    /* Requests that run at once, on all connections together. Further ones get 503. Default: as
     * many as `connections`. */
    size_t requests;
    /* Bytes that all clients together can make the server keep. Default: 512 MiB.
     *
     * These count: 8 KiB for each connection (32 KiB over TLS) and 8 KiB for each request of
     * HTTP/2, for stacks and buffers; what requests and rota_http_alloc allocate; bodies that wait
     * to be read, or are read by rota_http_request_body; incomplete heads; state and output of
     * HTTP/2; compressors; fragmented messages of WebSockets. What handlers allocate by themselves
     * does not count.
     *
     * At the limit, the connection that has been without a request for longest is closed, and new
     * connections wait. New requests get 503. A stream of HTTP/2 is reset if there is no room for
     * its body, and a connection is closed if there is none for its state (both ENHANCE_YOUR_CALM).
     * Replies and new WebSockets are not compressed. rota_http_request_body returns -ENOMEM. */
    size_t memory;
    size_t head;    /* Bytes of a request's head. Default: 32 KiB; then 431. */
    size_t fields;  /* Header fields of a request. Default: 100; then 431. */
    uint64_t body;  /* Bytes of a request's body. Default: 16 MiB; then 413. */
    size_t streams; /* Requests at once on a connection of HTTP/2. Default: 100. */
    /* Requests of HTTP/2 that a client resets, or makes the server reset: burst limit; refills at a
     * quarter of this per second. Default: 200. Then the connection is closed
     * (ENHANCE_YOUR_CALM). */
    size_t resets;

    /* Time limit for a request's head. The first one on a connection has this time from the
     * connection's first moment on, TLS handshake included. Later ones have it from their first
     * byte on. Default: 10 s; then 408. Where nothing has come, and over HTTP/2, the connection is
     * just closed. */
    rota_time head_time;
    /* Longest pause between two pieces of a body. Default: 30 s; then reads fail with
     * -ETIMEDOUT. */
    rota_time body_gap;
    /* Least bytes of a body for each second that reads have waited, beyond a first `body_gap`.
     * Default: 1024; then reads fail with -ETIMEDOUT. For bodies that come now and then, such as
     * one side of a conversation, set this to 1, or `body_gap` to ROTA_NEVER, which turns both off.
     * Replies have `write_stall` instead. */
    size_t body_rate;
    /* Longest pause between two requests on a connection. Default: 75 s. */
    rota_time idle;
    /* How long a client may take for each 128 KiB of a reply. Default: 30 s; then the connection is
     * reset. Over HTTP/2, if only the client's flow control stops a reply, its stream is reset. */
    rota_time write_stall;
    /* How long running requests may go on when serving ends. What still runs then is cancelled, and
     * reported. Default: 0: cancelled at once. */
    rota_time grace;

    bool compress; /* Compress what is worth it, by gzip or brotli, for clients that ask for it. */
    const char *server; /* The Server field; NULL: not sent. */

    rota_http_access_fn *access;
    void *access_arg;
    rota_http_counters *counters; /* Yours; must outlive the call. */
} rota_http_serve_options;

/* Accepts connections on all `count` listeners and runs handler(request, arg) for each request,
 * until it is cancelled, a deadline passes, or one of the listeners is closed. Then it closes the
 * listeners and idle connections, lets running requests end within `grace`, cancels those that
 * remain, and waits for them.
 *
 * Returns as rota_serve; -EINVAL (no listeners), -ENOMEM. */
ROTA_SUSPENDS int rota_http_serve(rota_listener *const *listeners, size_t count,
                                  rota_http_handler *handler, void *arg,
                                  const rota_http_serve_options *options);

/* Serves one connection that exists already, such as a pair in memory in a test of a handler. The
 * stream stays yours, but is of no more use. Returns 0 when the connection has ended, for whatever
 * reason; -ECANCELED, -ETIMEDOUT, -ENOMEM, ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_http_serve_stream(rota_stream *s, rota_http_handler *handler, void *arg,
                                         const rota_http_serve_options *options);

/* ---- The request ---- */

/* "GET", as it was sent. */
ROTA_API rota_str rota_http_request_method(const rota_http_request *r);
/* The part before the "?", percent-encoded as it was sent. Begins with "/"; "*" for OPTIONS *, the
 * authority for CONNECT. */
ROTA_API rota_str rota_http_request_path(const rota_http_request *r);
/* The part after the "?". Its pointer is NULL if there is none. */
ROTA_API rota_str rota_http_request_query(const rota_http_request *r);
/* The host, and perhaps the port, that the request is for. An absolute target wins over the Host
 * field (RFC 9112, section 3.2.2). */
ROTA_API rota_str rota_http_request_authority(const rota_http_request *r);
/* The value of the first header field with that name, in any case. Its pointer is NULL if there is
 * none. */
ROTA_API rota_str rota_http_request_header(const rota_http_request *r, const char *name);
/* All header fields, in order. Over HTTP/2 their names are in lower case. */
ROTA_API const rota_http_field *rota_http_request_fields(const rota_http_request *r,
                                                         size_t *ret_count);
/* "HTTP/1.0", "HTTP/1.1" or "HTTP/2". */
ROTA_API rota_str rota_http_request_version(const rota_http_request *r);
/* The connection, to ask for its peer or about TLS. Neither read from it nor write to it. */
ROTA_API rota_stream *rota_http_request_stream(const rota_http_request *r);

#define ROTA_HTTP_UNKNOWN_LENGTH UINT64_MAX

/* The length of the body that the client has announced, or ROTA_HTTP_UNKNOWN_LENGTH. 0: no body. */
ROTA_API uint64_t rota_http_request_length(const rota_http_request *r);
/* Reads between 1 and `len` bytes of the body.
 *
 * Suspends until some have come. Nothing is read ahead, so a slow handler slows its client down.
 *
 * Returns the number of bytes; 0 at the end; ROTA_ELIMIT (the body is longer than the server
 * takes), ROTA_EPROTOCOL (its framing is broken), ROTA_EOF (the client left in the middle),
 * -ETIMEDOUT (it came too slowly, or a deadline around the call passed), -ECANCELED, -EBUSY
 * (another task is reading), -EINVAL (`len` is 0). All errors but the last four are final. */
ROTA_SUSPENDS ssize_t rota_http_request_read(rota_http_request *r, void *buf, size_t len);
/* Reads the rest of the body, at most `limit` bytes (0: the server's limit), into memory of the
 * request. A NUL follows it.
 *
 * Returns 0, ROTA_ELIMIT, -ENOMEM (also at the server's limit `memory`; returned by the handler, it
 * becomes a 503), or an error of rota_http_request_read. */
ROTA_SUSPENDS int rota_http_request_body(rota_http_request *r, size_t limit, rota_str *ret_body);
/* Makes a stream of the body, for code that reads streams: by lines, into a file, or to pass it on
 * with rota_http_fetch while the handler replies. Reading the stream reads the body, with the same
 * errors. It cannot be written to. Free it before the handler returns. Returns 0, -ENOMEM. */
ROTA_API int rota_http_request_body_stream(rota_http_request *r, rota_stream **ret_body);
/* A trailer field: one that follows the body. Available once the body has been read to its end. */
ROTA_API rota_str rota_http_request_trailer(const rota_http_request *r, const char *name);

/* An event that is set when serving is about to end, at the beginning of the grace. A handler that
 * would run for long should wait for it, too, and return then; what still runs after the grace is
 * cancelled. Wait for it or ask it, but neither set nor clear it. rota_http_serve_stream has no
 * grace and does not set it. */
ROTA_API rota_event *rota_http_stopping(rota_http_request *r);

/* Allocates memory that is freed with the request. Returns NULL if there is none, or at the
 * server's limit `memory`. */
ROTA_API void *rota_http_alloc(rota_http_request *r, size_t size);

/* ---- The reply ---- */

/* Adds a header field to the reply. Adding a name again adds another field. A Content-Type counts
 * only if the call that replies passes none. The server sets Content-Length, Transfer-Encoding,
 * Date and Host, and all connection headers: Connection, Keep-Alive, Proxy-Connection, TE, Upgrade.
 *
 * Returns 0, -EINVAL (one of these; not a valid name; a control character in the value), -EALREADY
 * (the reply has started), -EBUSY (another task is replying), -ENOMEM. -EINVAL and -ENOMEM are
 * sticky: the reply itself fails with them, so checking here is optional. */
ROTA_API int rota_http_add_header(rota_http_request *r, const char *name, const char *value);

/* Replies with a whole body. `type` is the Content-Type; NULL: none is sent.
 *
 * Returns 0, -EALREADY, -EINVAL (not a final status), what rota_http_add_header returned, -EBUSY
 * (another task is replying), or why it could not be sent: -ETIMEDOUT (the client takes nothing, or
 * a deadline around the call passed), -ECANCELED, -EPIPE, -ECONNRESET. */
ROTA_SUSPENDS int rota_http_reply(rota_http_request *r, int status, const char *type,
                                  const void *body, size_t len);
/* Replies with a status and a line of text that names it. Returns as rota_http_reply. */
ROTA_SUSPENDS int rota_http_reply_status(rota_http_request *r, int status);

/* Replies with text that is formatted as by printf(3), of any length.
 *
 *     return rota_http_reply_printf(r, 200, "text/plain", "hello, %.*s\n", ROTA_STR_ARG(name));
 *
 * Returns as rota_http_reply, or -ENOMEM, or the error of vsnprintf(3): -EILSEQ, -EOVERFLOW; then
 * no reply has started. */
ROTA_SUSPENDS int rota_http_reply_printf(rota_http_request *r, int status, const char *type,
                                         const char *format, ...) ROTA_PRINTF(4, 5);

/* Starts a reply. Its body of `length` bytes, or ROTA_HTTP_UNKNOWN_LENGTH, follows by
 * rota_http_write.
 *
 * Does not suspend: the head is sent with the first piece, or by a flush. Until then a client that
 * waits for "100 Continue" still gets it when the body is read. Returns as rota_http_reply. */
ROTA_API int rota_http_start(rota_http_request *r, int status, const char *type, uint64_t length);
/* Sends a piece of the body. Suspends while the client does not keep up. Returns 0, -EMSGSIZE (more
 * than announced; none of it is sent), -EINVAL (no reply was started), or as rota_http_reply. */
ROTA_SUSPENDS int rota_http_write(rota_http_request *r, const void *buf, size_t len);
/* Sends what was written so far at once. Only needed where the reply is compressed: a compressor
 * holds back what it wants to see more of. Returns as rota_http_write. */
ROTA_SUSPENDS int rota_http_flush(rota_http_request *r);
/* Adds a trailer field: one that follows the body. Sent only if the body's length was not
 * announced. Returns as rota_http_add_header. */
ROTA_API int rota_http_add_trailer(rota_http_request *r, const char *name, const char *value);
/* Ends the reply. Returning from the handler does so, too. Returns 0, -EMSGSIZE (less was written
 * than announced; the reply is cut off), or as rota_http_write. */
ROTA_SUSPENDS int rota_http_finish(rota_http_request *r);

/* Sends an interim reply (102, 103; RFC 9110, section 15.2) with the header fields that were added
 * so far, and forgets these. Sends nothing to clients of HTTP/1.0. Returns 0, -EALREADY (the reply
 * has started), -EINVAL (not an interim status; or 100 or 101, which the server sends itself), or
 * as rota_http_reply. */
ROTA_SUSPENDS int rota_http_interim(rota_http_request *r, int status);

/* ---- Other protocols ---- */

/* Switches the connection to another protocol (RFC 9110, section 7.8): replies 101 with the header
 * fields that were added. From then on the stream is the handler's, until it returns. `protocol` is
 * in lower case. For a WebSocket there is rota_websocket_accept.
 *
 * Returns 0, -EPROTO (the client did not ask for this protocol, it speaks HTTP/2 or 1.0, or the
 * request has a body that was not read to its end), -EBUSY (another task is reading or replying),
 * -EALREADY (the reply has started), or as rota_http_reply. */
ROTA_SUSPENDS int rota_http_upgrade(rota_http_request *r, const char *protocol,
                                    rota_stream **ret_stream);

/* ---- Files ---- */

/* A directory whose files are served. Nothing outside of it can be reached, neither by ".." nor by
 * symbolic links. */
typedef struct rota_http_root rota_http_root;

typedef struct rota_http_root_options {
    const char *index;  /* The file served for a directory. Default: "index.html"; "" for none. */
    bool list;          /* List directories that have no such file. */
    bool hidden;        /* Also serve names that begin with a dot. */
    rota_time cache;    /* The max-age of Cache-Control; 0: the field is not sent. */
    bool precompressed; /* Send "x.br" or "x.gz" in place of "x" to clients that take it. */
} rota_http_root_options;

/* Opens a directory. It may be moved afterwards. Blocks; may be called outside of tasks. `options`
 * may be NULL. Returns 0, -ENOENT, -ENOTDIR, -EACCES, -ENOMEM, or another error of open(2). */
ROTA_API int rota_http_root_open(const char *path, const rota_http_root_options *options,
                                 rota_http_root **ret_root);
/* Frees the root. No server may be using it. Accepts NULL, returns NULL. ROTA_AUTO(rota_http_root)
 * calls this. */
ROTA_API rota_http_root *rota_http_root_free(rota_http_root *root);
ROTA_DEFINE_AUTO(rota_http_root, rota_http_root_free);

/* Replies with the file that `path` names below the root, percent-encoded as rota_http_request_path
 * returns it.
 *
 * Sends ETag and Last-Modified, and obeys the client's conditions (304, 412; RFC 9110, section 13)
 * and ranges (206, 416; section 14). A directory is served by its index, as a list, or by a
 * redirect to the path with "/". Other methods than GET and HEAD get 405, missing files 404,
 * unreadable ones 403.
 *
 * Returns 0 for all of these, or as rota_http_reply. */
ROTA_SUSPENDS int rota_http_reply_file(rota_http_request *r, rota_http_root *root, rota_str path);

/* ---- Server-sent events (WHATWG HTML, section 9.2) ----
 *
 * A stream of events has no end, so it should end when the server stops. This one sends an event
 * every five seconds:
 *
 *     static int clock_events(rota_http_request *r, void *arg)
 *     {
 *         (void)arg;
 *         rota_event *stopping = rota_http_stopping(r);
 *         int err = rota_http_start_events(r);
 *         while (err == 0 && !rota_event_is_set(stopping)) {
 *             err = rota_http_send_event(r, &(rota_http_event){.data = {"tick", 4}});
 *             ROTA_TIMEOUT (5 * ROTA_SECOND) {
 *                 ROTA_IGNORE(rota_event_wait(stopping));
 *             }
 *         }
 *         return err;
 *     } */

/* Starts a reply of events: text/event-stream, not to be cached. Returns as rota_http_start. */
ROTA_SUSPENDS int rota_http_start_events(rota_http_request *r);
/* Sends an event at once. Returns -EINVAL (a line end in `type` or `id`, or a NUL in `id`), or as
 * rota_http_write. */
ROTA_SUSPENDS int rota_http_send_event(rota_http_request *r, const rota_http_event *event);

#ifdef __cplusplus
}
#endif

#endif
