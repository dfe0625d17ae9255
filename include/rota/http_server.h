/* http_server: HTTP/1.1 and HTTP/2, as functions that read a request and write a response. In a library of
 * its own (pkg-config rota-http), and not in <rota.h>.
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
 * A handler runs in a task and may suspend anywhere. Whether the request came by HTTP/1.1 or HTTP/2, in the
 * clear or encrypted, is all the same to it. It replies once: at once (rota_http_reply), piece by piece
 * (rota_http_start, rota_http_write), or from a file (rota_http_reply_file).
 *
 * A handler that reads the body while it replies does so with two tasks, in a group that it waits for. Here the handler
 * connects its client with another server:
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
 * What the protocol demands is kept for it: bodies are as long as announced, an answer to HEAD has none, nor
 * has 204 or 304; the rest of a body that it did not read is passed over, or the connection closed; a client that
 * waits for "100 Continue" gets it when the body is first read.
 *
 * When the client goes away, the handler is cancelled: its suspending calls return -ECANCELED. What has to be
 * finished nevertheless belongs into a shield. A client that only shuts down its sending side has gone away,
 * too, as soon as everything that it sent has been read. Handlers that are done in a tenth of a second do not
 * notice either.
 *
 * A handler that returns an error before it has replied is answered for: 413 where the body was over the limit,
 * 408 where it did not come in time, 503 where there was no memory for it, else 500; and one that returns 0 without a reply also by 500. Once some of a
 * reply was sent, an error cuts it off, so that the client sees that it is not whole. The log hook is told
 * of what a client cannot have caused. */
#ifndef ROTA_HTTP_SERVER_H
#define ROTA_HTTP_SERVER_H

#include <rota/http.h>
#include <rota/net.h>
#include <rota/sync.h>
#include <rota/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A request, and the reply to it. Lives as long as the handler runs, and so does everything it gives.
 *
 * One task may read the body while another replies; both have ended when the handler returns, else the reply is cut off. The
 * reader's are
 * rota_http_request_read, _body and _trailer; the writer's is all that adds to the reply, sends it or sends before it; what
 * tells of the head, and rota_http_alloc, are everybody's. A second task that reads, or replies, while one is inside gets
 * -EBUSY. */
typedef struct rota_http_request rota_http_request;

typedef int rota_http_handler(rota_http_request *r, void *arg);

/* ---- Serving ---- */

/* What a server has done and does; it counts while it runs, and may be read by tasks of its loop. */
typedef struct rota_http_counters {
    uint64_t connections, requests; /* in all */
    uint64_t bytes_in, bytes_out;   /* of bodies */
    uint64_t refused;               /* requests that broke the protocol or a limit */
    uint64_t evicted;           /* connections without a request, closed to make room for others */
    uint64_t turned_away;       /* connections closed because their address has too many */
    uint64_t status[6];         /* replies by their hundreds; [0]: cut off, or without one */
    size_t open, idle, running; /* now: connections, those of them without a request, requests */
    size_t memory;              /* now: bytes that count for the limit of that name */
} rota_http_counters;

/* A line of the access log, for a request that is over. Valid during the call. What was refused has of its head what was
 * understood; the rest is empty. */
typedef struct rota_http_access {
    const char *peer; /* "127.0.0.1:4711" */
    rota_str method, target, version;
    int status;                       /* 0: no reply was begun */
    uint64_t bytes_in, bytes_out;     /* of the bodies */
    rota_time first_byte, total;      /* from the request's head to the reply's, and to its end */
    int err;                          /* 0, or why it was cut off */
    const rota_http_request *request; /* for its header fields */
} rota_http_access;

/* Called in the request's task; must not suspend. */
typedef void rota_http_access_fn(void *arg, const rota_http_access *access);

/* Zero is the default of each field. Times: ROTA_NEVER is none. */
typedef struct rota_http_serve_options {
    rota_tls_context *
        tls; /* NULL: in the clear. HTTP/2 is spoken where its `alpn` has "h2" (rota_http_alpn), and
                              in the clear with clients that begin with it */

    /* Connections at once, of all listeners together; 10000. When one more comes, the connection that has been without a
     * request for longest is closed: idle, in a handshake, or in the middle of a head. Where all have requests, it waits. */
    size_t connections;
    /* Connections at once from one IPv4 address, or from one IPv6 network of 64 bits; further ones are reset. Default: no
     * limit, because behind a proxy all clients have its address. Connections of Unix sockets are not counted. */
    size_t connections_per_address;
    /* Requests that run at once, of all connections together; as many as `connections`: further ones get 503. */
    size_t requests;
    /* Bytes that all clients together can make the server keep; 512 MiB. What is counted: 8 KiB for each connection (over TLS
     * 32 KiB) and 8 KiB for each request of HTTP/2, for stacks and buffers; what requests and rota_http_alloc allocate; bodies that
     * are put by, or read by rota_http_request_body; heads that are not whole; the state and output of HTTP/2; compressors;
     * messages of a WebSocket that come in pieces. Not counted is what handlers allocate by themselves. When it is used up, the connection
     * that has been without a request for longest is closed, and new ones wait; new requests get 503; a stream of HTTP/2 whose
     * body has no room is reset (ENHANCE_YOUR_CALM), as is a connection that would need more; replies and further WebSockets are not compressed; and
     * rota_http_request_body returns -ENOMEM. */
    size_t memory;
    size_t head;    /* bytes of a request's head; 32 KiB: 431 */
    size_t fields;  /* header fields of a request; 100: 431 */
    uint64_t body;  /* bytes of a request's body; 16 MiB: 413 */
    size_t streams; /* requests at once on a connection of HTTP/2; 100 */
    /* Requests of HTTP/2 that their client resets, or makes us reset: so many at once, and a quarter of them a second; 200.
     * A connection with more is closed with ENHANCE_YOUR_CALM. */
    size_t resets;

    /* For a head. The first one has this time from the connection's first moment on, TLS handshake included; those behind
     * it, from their first byte on. 10 s; then 408, or, where nothing has come and over HTTP/2, the connection is closed. */
    rota_time head_time;
    /* Between two pieces of a body; 30 s: the read fails with -ETIMEDOUT. */
    rota_time body_gap;
    /* Bytes of a body that have to come for each second that reads have waited for them, beyond a first body_gap; 1024: the read
     * fails with -ETIMEDOUT. For bodies that come now and then, as of a conversation, set 1, or body_gap to ROTA_NEVER, which
     * turns both off. The other direction has write_stall. */
    size_t body_rate;
    rota_time idle; /* between two requests; 75 s */
    /* While the client takes nothing, or less than 128 KiB; 30 s: the connection is reset. */
    rota_time write_stall;
    rota_time
        grace; /* how long running requests may go on when serving ends; 0: cancelled at once */

    bool compress;      /* gzip or brotli what is worth it, for clients that ask for it */
    const char *server; /* the Server field; NULL: none is sent */

    rota_http_access_fn *access;
    void *access_arg;
    rota_http_counters *counters; /* yours; outlives the call */
} rota_http_serve_options;

/* Accepts connections on all `count` listeners and runs handler(request, arg) for each request, until it is
 * cancelled, timed out, or a listener is closed. Then the listeners and idle connections are closed, running
 * requests have `grace` to end, are cancelled, and are waited for.
 *
 * Returns as rota_serve; -EINVAL (no listeners). */
ROTA_SUSPENDS int rota_http_serve(rota_listener *const *listeners, size_t count,
                                  rota_http_handler *handler, void *arg,
                                  const rota_http_serve_options *options);

/* The same for one connection that is there already, such as a pair in memory in a test of your handler. The
 * stream stays yours, but is of no more use. Returns 0 when the connection is over, however that came; -ECANCELED,
 * -ETIMEDOUT, -ENOMEM, ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_http_serve_stream(rota_stream *s, rota_http_handler *handler, void *arg,
                                         const rota_http_serve_options *options);

/* ---- The request ---- */

/* "GET", as it was sent. */
ROTA_API rota_str rota_http_request_method(const rota_http_request *r);
/* What stands before the "?", percent-encoded as it was sent; begins with "/". "*" of OPTIONS, the authority
 * of CONNECT. */
ROTA_API rota_str rota_http_request_path(const rota_http_request *r);
/* What stands behind the "?"; its pointer is NULL where there is none. */
ROTA_API rota_str rota_http_request_query(const rota_http_request *r);
/* The host, and port, that the client means. */
ROTA_API rota_str rota_http_request_authority(const rota_http_request *r);
/* The value of the first header field of that name, in any case. Its pointer is NULL where there is none. */
ROTA_API rota_str rota_http_request_header(const rota_http_request *r, const char *name);
/* All of them, in order. Those of HTTP/2 are in lower case. */
ROTA_API const rota_http_field *rota_http_request_fields(const rota_http_request *r,
                                                         size_t *ret_count);
/* "HTTP/1.0", "HTTP/1.1" or "HTTP/2". */
ROTA_API rota_str rota_http_request_version(const rota_http_request *r);
/* The connection, to ask it for its peer and of TLS; not to be read or written. */
ROTA_API rota_stream *rota_http_request_stream(const rota_http_request *r);

#define ROTA_HTTP_UNKNOWN_LENGTH UINT64_MAX

/* How long the body is, as the client has announced it, or ROTA_HTTP_UNKNOWN_LENGTH. 0: there is none. */
ROTA_API uint64_t rota_http_request_length(const rota_http_request *r);
/* Reads 1 to `len` bytes of the body; 0 at its end. Suspends until they come; nothing is read ahead of who
 * asks, so a slow handler slows the client.
 *
 * Returns their number; ROTA_ELIMIT (the body is longer than the server takes), ROTA_EPROTOCOL (its framing is
 * broken), ROTA_EOF (the client left in the middle of it), -ETIMEDOUT (the body's gap or rate, or a deadline around
 * the call), -ECANCELED, -EBUSY (another task is reading), -EINVAL (`len` is 0). Errors but the last four are
 * final. */
ROTA_SUSPENDS ssize_t rota_http_request_read(rota_http_request *r, void *buf, size_t len);
/* Reads what remains of the body, at most `limit` bytes (0: what the server takes), NUL-terminated, of the
 * request's memory. Returns 0, ROTA_ELIMIT, -ENOMEM (also where the server's `memory` is used up; returned by the handler, it
 * becomes 503), or an error of rota_http_request_read. */
ROTA_SUSPENDS int rota_http_request_body(rota_http_request *r, size_t limit, rota_str *ret_body);
/* Makes a stream of the body, for what reads streams: by lines, into a file, or to send it on with a request of
 * rota_http_fetch, while the handler replies. Who reads it reads the body, with the same errors; it cannot be written to. To be
 * freed before the handler returns. Returns 0, -ENOMEM. */
ROTA_API int rota_http_request_body_stream(rota_http_request *r, rota_stream **ret_body);
/* A field behind the body, once that was read to its end. */
ROTA_API rota_str rota_http_request_trailer(const rota_http_request *r, const char *name);

/* An event that is set once serving is about to end, at the beginning of the grace. A handler that would go on for long has
 * it to wait for, and returns then; only what is still running when the grace is over is cancelled. To be waited for
 * and asked, not to be set or cleared. A server of rota_http_serve_stream has no grace, and does not set it. */
ROTA_API rota_event *rota_http_stopping(rota_http_request *r);

/* Memory that lasts as long as the request and is freed with it, in one go. NULL without memory, or where the server's
 * `memory` is used up. */
ROTA_API void *rota_http_alloc(rota_http_request *r, size_t size);

/* ---- The reply ---- */

/* Adds a header field; several of a name may be added. Content-Length, Transfer-Encoding, Date and Host are not yours to
 * set, nor is what is said of a connection: Connection, Keep-Alive, Proxy-Connection, TE, Upgrade. A Content-Type counts only where the call that replies names none. Returns 0, -EINVAL (one of these, not a name, not a value: control characters), -EALREADY (the reply
 * has begun), -EBUSY (another task is replying), -ENOMEM; whoever does not look at the first or last finds that the reply
 * fails with it. */
ROTA_API int rota_http_add_header(rota_http_request *r, const char *name, const char *value);

/* Replies. `type` is the Content-Type; NULL: none is sent. Returns 0, -EALREADY, -EINVAL (no final status), what
 * rota_http_add_header had returned, -EBUSY (another task is replying), or why it could not be sent: -ETIMEDOUT
 * (write stall, or a deadline around the call), -ECANCELED, -EPIPE, -ECONNRESET. */
ROTA_SUSPENDS int rota_http_reply(rota_http_request *r, int status, const char *type,
                                  const void *body, size_t len);
/* Replies with a status and a line of text that names it. Returns as rota_http_reply. */
ROTA_SUSPENDS int rota_http_reply_status(rota_http_request *r, int status);

/* Replies with text that is formatted as by printf(3), of any length.
 *
 *     return rota_http_reply_printf(r, 200, "text/plain", "hello, %.*s\n", ROTA_STR_ARG(name));
 *
 * Returns as rota_http_reply, or -ENOMEM, or what vsnprintf(3) failed with: -EILSEQ, -EOVERFLOW; no reply has begun then. */
ROTA_SUSPENDS int rota_http_reply_printf(rota_http_request *r, int status, const char *type,
                                         const char *format, ...) ROTA_PRINTF(4, 5);

/* Begins a reply whose body of `length` bytes follows by rota_http_write. It is sent with the first piece, or a
 * flush; until then a client that waits for "100 Continue" still gets it when the body is read. Does not suspend. Returns as
 * rota_http_reply. */
ROTA_API int rota_http_start(rota_http_request *r, int status, const char *type, uint64_t length);
/* Sends a piece of the body. Suspends while the client does not keep up. Returns 0, -EMSGSIZE (more than was
 * announced; nothing of it is sent), -EINVAL (no reply was begun), or as rota_http_reply. */
ROTA_SUSPENDS int rota_http_write(rota_http_request *r, const void *buf, size_t len);
/* What was written so far goes out now; what is compressed may else wait for more. Returns as rota_http_write. */
ROTA_SUSPENDS int rota_http_flush(rota_http_request *r);
/* A field behind the body, where its length is not announced. Returns as rota_http_add_header. */
ROTA_API int rota_http_add_trailer(rota_http_request *r, const char *name, const char *value);
/* Ends the reply; the handler's end does it, too. Returns 0, -EMSGSIZE (less was written than announced, and so the
 * reply is cut off), or as rota_http_write. */
ROTA_SUSPENDS int rota_http_finish(rota_http_request *r);

/* Sends an interim reply (102, 103; RFC 9110, section 15.2) with the header fields that were added, which it uses up.
 * Nothing is sent to HTTP/1.0. Returns 0, -EALREADY (the reply has begun), -EINVAL (no interim status, or 100 or 101, which are
 * not yours to send), or as rota_http_reply. */
ROTA_SUSPENDS int rota_http_interim(rota_http_request *r, int status);

/* ---- Other protocols ---- */

/* Makes another protocol of the connection (RFC 9110, section 7.8): replies 101 with the header fields that
 * were added, and from then on the stream is the handler's, until it returns. `protocol` is in lower
 * case. For a WebSocket there is rota_websocket_accept.
 *
 * Returns 0, -EPROTO (the client did not ask for this protocol, or it speaks HTTP/2 or 1.0; or its request has a body
 * that was not read to the end), -EBUSY (another task is reading that, or replying), -EALREADY (the reply has begun), or as
 * rota_http_reply. */
ROTA_SUSPENDS int rota_http_upgrade(rota_http_request *r, const char *protocol,
                                    rota_stream **ret_stream);

/* ---- Files ---- */

/* A directory whose files are served; nothing outside of it can be reached, by ".." or symbolic links either. */
typedef struct rota_http_root rota_http_root;

typedef struct rota_http_root_options {
    const char *index;  /* the file of a directory; "index.html"; "" for none */
    bool list;          /* directories without one are listed */
    bool hidden;        /* names that begin with "." are served, too */
    rota_time cache;    /* the max-age of Cache-Control; 0: none is sent */
    bool precompressed; /* "x.br" or "x.gz" beside "x" is sent to who takes it */
} rota_http_root_options;

/* Opens a directory, which may be moved meanwhile. Blocks; may be called outside of tasks. `options` may be NULL. Returns 0,
 * -ENOENT, -ENOTDIR, -EACCES, -ENOMEM, or another error of open(2). */
ROTA_API int rota_http_root_open(const char *path, const rota_http_root_options *options,
                                 rota_http_root **ret_root);
/* Frees the root; not while a server serves from it. Accepts NULL, returns NULL; what ROTA_AUTO(rota_http_root) calls. */
ROTA_API rota_http_root *rota_http_root_free(rota_http_root *root);
ROTA_DEFINE_AUTO(rota_http_root, rota_http_root_free);

/* Replies with the file that `path` names below the root: percent-encoded, as rota_http_request_path gives it.
 * With ETag and Last-Modified, and so with 304 or 412 where the client has conditions (RFC 9110, section 13);
 * with ranges (206, 416; section 14); directories by their index, a list, or a redirect to the path with "/". GET and
 * HEAD only, else 405. What is not there is 404, what may not be read 403.
 *
 * Returns 0 also for these, or as rota_http_reply. */
ROTA_SUSPENDS int rota_http_reply_file(rota_http_request *r, rota_http_root *root, rota_str path);

/* ---- Server-sent events (WHATWG HTML, section 9.2) ----
 *
 * Events without an end should not last the grace when the server stops. Here there is one every five seconds:
 *
 *     static int clock_events(rota_http_request *r, void *arg)
 *     {
 *         (void)arg;
 *         rota_event *stopping = rota_http_stopping(r);
 *         int err = rota_http_start_events(r);
 *         while (err == 0 && !rota_event_is_set(stopping)) {
 *             err = rota_http_send_event(r, &(rota_http_event){.data = {"tick", 4}});
 *             ROTA_TIMEOUT (5 * ROTA_SECOND) {
 *                 rota_event_wait(stopping);
 *             }
 *         }
 *         return err;
 *     } */

/* Begins a reply of events: text/event-stream, not to be cached. Returns as rota_http_start. */
ROTA_SUSPENDS int rota_http_start_events(rota_http_request *r);
/* Sends an event at once. Returns -EINVAL where `type` or `id` has a line end, or `id` a NUL; or as rota_http_write. */
ROTA_SUSPENDS int rota_http_send_event(rota_http_request *r, const rota_http_event *event);

#ifdef __cplusplus
}
#endif

#endif
