/* http_client: requests to HTTP/1.1 and HTTP/2 servers. Part of a separate library (pkg-config
 * rota-http); not included by <rota.h>.
 *
 *     static int title(void *arg)
 *     {
 *         ROTA_AUTO(rota_http_response) r = NULL;
 *         int err = rota_http_get(arg, &r);
 *         if (err < 0) {
 *             // "connecting to localhost:80: Connection refused"
 *             fprintf(stderr, "%s\n", rota_error(err));
 *             return err;
 *         }
 *         rota_str body = rota_http_body(r);
 *         printf("%d, %zu bytes\n", rota_http_status(r), body.len);
 *         return 0;
 *     }
 *
 * A program that sends more than one request should keep a session. It reuses connections, cookies
 * and addresses, and holds the settings.
 *
 *     static int talk(rota_http_session *session, rota_str json)
 *     {
 *         ROTA_AUTO(rota_http_response) r = NULL;
 *         const char *headers[] = {"Accept", "application/json", NULL};
 *         rota_http_fetch_options options = {
 *             .method = "POST",
 *             .headers = headers,
 *             .body = {.bytes = json},
 *             .type = "application/json"};
 *         int err = rota_http_fetch(session, "https://localhost/items", &options, &r);
 *         return err < 0 ? err : rota_http_status(r);
 *     }
 *
 * The call returns a complete response, unless you ask for streaming (`stream`); then read the body
 * with rota_http_read. A status is not an error: 404 is a response like any other.
 *
 * Any number of tasks may use a session at once. For a deadline of your own, put a ROTA_TIMEOUT
 * around a call. A call that is cancelled or timed out closes its connection, so a later request
 * never reads the bytes of an earlier one. */
#ifndef ROTA_HTTP_CLIENT_H
#define ROTA_HTTP_CLIENT_H

#include <rota/backoff.h>
#include <rota/http.h>
#include <rota/net.h>
#include <rota/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_http_session rota_http_session;
typedef struct rota_http_response rota_http_response;

/* ---- Hooks ---- */

/* The phases of a request. */
typedef enum rota_http_phase {
    /* Checking the options, then waiting for a place in the pool. */
    ROTA_HTTP_QUEUED,
    /* Looking up the host. */
    ROTA_HTTP_RESOLVING,
    /* Connecting to the server, or to the proxy if there is one. */
    ROTA_HTTP_CONNECTING,
    /* TLS handshake. */
    ROTA_HTTP_ENCRYPTING,
    ROTA_HTTP_SENDING,
    /* The request, body included, is sent; waiting for the first byte of the response. Skipped if
     * the response arrives sooner. */
    ROTA_HTTP_WAITING,
    /* Reading the body. */
    ROTA_HTTP_READING,
    ROTA_HTTP_REDIRECTED,
    ROTA_HTTP_DONE
} rota_http_phase;

/* The time limits of a session. */
typedef enum rota_http_limit {
    /* No limit of the session. If the error is -ETIMEDOUT, it was a deadline of the caller. */
    ROTA_HTTP_LIMIT_NONE,
    ROTA_HTTP_LIMIT_TOTAL,
    ROTA_HTTP_LIMIT_QUEUE_TIME,
    ROTA_HTTP_LIMIT_CONNECT,
    ROTA_HTTP_LIMIT_GAP
} rota_http_limit;

/* Passed at the beginning of each phase. Valid while the hook runs. */
typedef struct rota_http_trace {
    rota_http_phase phase;
    /* Time from the beginning of the call. */
    rota_time since;
    const char *method, *url;
    /* From SENDING on: the connection has served a request before. */
    bool reused;
    /* From READING on. */
    int status;
    /* In DONE. */
    int err;
} rota_http_trace;

/* Called at the beginning of each phase. Must not suspend. It may run in another task than the
 * request's: separate tasks make connections and send larger bodies. */
typedef void rota_http_trace_fn(void *arg, const rota_http_trace *trace);

/* Returns whether the session may connect to this address of `host` (or of the proxy). Use it to
 * keep requests whose URL comes from outside away from your internal network. Must not suspend. */
typedef bool rota_http_allow_fn(void *arg, const char *host, const rota_address *address);

/* Looks up a host instead of rota_resolve. Stores at most `most` addresses, with the port set, and
 * returns their number, or an error. May suspend; the session's option `connect` limits the time.
 * The results are cached, and checked by `allow`, as those of rota_resolve are. */
typedef int rota_http_resolve_fn(void *arg, const char *host, int port, rota_address *ret_addresses,
                                 size_t most);

/* Connects to a host, or to the proxy, instead of the client: through a tunnel, to a server in
 * memory, over another kind of socket. Returns 0 or an error. The session takes ownership of the
 * stream, and starts TLS on it for an https URL. May suspend; the session's option `connect` limits
 * the time. `resolve` and `allow` are not called. */
typedef int rota_http_connect_fn(void *arg, const char *host, int port, rota_stream **ret_stream);

/* ---- Sessions ---- */

typedef enum rota_http_version {
    /* HTTP/2 if ALPN selects it (https), otherwise HTTP/1.1 */
    ROTA_HTTP_ANY,
    ROTA_HTTP_1_1,
    /* HTTP/2 with prior knowledge, also without TLS */
    ROTA_HTTP_2_DIRECTLY
} rota_http_version;

/* How user and password are sent to a server, or to a proxy. */
typedef enum rota_http_auth {
    /* Basic (RFC 7617), with each request. Anyone who can read the request learns the password. */
    ROTA_HTTP_AUTH_BASIC,
    /* Only Digest (RFC 7616): the password itself is never sent. */
    ROTA_HTTP_AUTH_DIGEST,
    /* The scheme that the server asks for: Digest if it is offered, otherwise Basic. An attacker
     * that can change the response can ask for Basic, so use this only over TLS. */
    ROTA_HTTP_AUTH_ANY
} rota_http_auth;

/* Zero selects the default of each field. Everything is copied, except the `..._arg` pointers and
 * `tls`, which must stay valid until the session is freed. For times, ROTA_NEVER sets no limit.
 *
 * Cookies are kept and sent as RFC 6265 requires, and the prefixes __Host- and __Secure- are
 * enforced (RFC 6265bis, section 4.1.3). Cookies for all hosts of a public suffix such as "co.uk"
 * are refused, by libpsl's list. If rota was built without libpsl, only names without a dot count
 * as public suffixes. */
typedef struct rota_http_session_options {
    /* The base of relative URLs. */
    const char *base_url;
    /* Sent with each request: name, value, ..., NULL. */
    const char *const *headers;
    /* User and password, or a Bearer token (RFC 6750), for the origin of `base_url` only. */
    const char *user, *password;
    const char *bearer;
    /* How to send `user` and `password`, and those in the URL of a request. Default: BASIC. With
     * DIGEST and ANY the first request is sent without them. If the server answers 401 with a
     * challenge, the request is sent again with the credentials; later requests to the same origin
     * include them at once, over HTTP/1.1 and HTTP/2. If the password is wrong, or no challenge can
     * be answered, the response with status 401 is returned, and rota_http_response_auth_error says
     * why. A request with its own Authorization header (Proxy-Authorization for a proxy) never
     * answers a challenge.
     *
     * Limits: A request answers at most 3 challenges; the count starts again after a redirect and
     * in each try of `retry`. For each origin and proxy the session keeps the latest 8 challenges
     * that were answered, one for each user and realm. When it knows 1,024 origins, it forgets
     * those without requests or connections. A nonce is used for at most 4,294,967,295 requests.
     * Challenges, user and password have no length limit of their own: `head` limits the
     * challenges, and SOCKS5 limits user and password to 255 bytes each.
     *
     * Supported are MD5, SHA-256 and SHA-512-256, each also with -sess; of several challenges the
     * strongest is answered. qop may be absent, "auth", or for bodies in memory "auth-int". If user
     * or password are not ASCII, write them in UTF-8.
     *
     * The requests that use a nonce are numbered (nc) when they are written. Over several
     * connections they may arrive in a different order. A server that insists on the order answers
     * with a new challenge. Authentication-Info is ignored: rspauth is not checked, and nextnonce
     * is not used. */
    rota_http_auth auth;

    /* Trusted authorities and own certificate. Default: the system's authorities. The protocols
     * offered by ALPN depend on `version` and on upgrades, not on this context. */
    rota_tls_context *tls;
    /* SHA-256 of the only certificate to accept, as hexadecimal digits. Without `tls` nothing else
     * is checked. */
    const char *fingerprint;
    /* Connect to this Unix socket, whatever the host. */
    const char *unix_path;
    /* "http://user:password@host:port", or https, socks5 or socks5h; "" for no proxy. The default
     * port is 80, 443 or 1080. With socks5 the client looks up names; with the others the proxy
     * does, so `allow` sees only the addresses of the proxy.
     *
     * NULL: use HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY of the environment, in upper or
     * lower case, unless the program runs with raised privileges (secure_getenv(3)). In a CGI
     * program HTTP_PROXY in upper case is ignored. An invalid setting fails the requests that would
     * use it. NO_PROXY lists hosts (which include their subdomains), addresses and networks
     * (10.0.0.0/8), each optionally with a port; or it is "*". */
    const char *proxy;
    /* How to send the user and password in the proxy's URL. Default: BASIC. Not used for SOCKS5,
     * which has its own authentication. If a proxy refuses a tunnel, the request fails with
     * -ECONNREFUSED; rota_error tells the status, and for 407 why no challenge was answered. */
    rota_http_auth proxy_auth;
    rota_http_version version;

    /* Connections at once. Default: 100. If there is no free descriptor for a new connection
     * (-EMFILE, -ENFILE), the client closes idle connections, the longest idle first, and tries
     * again after each. */
    size_t connections;
    /* Connections at once to one host, port and scheme. Default: no limit besides `connections`. */
    size_t connections_host;
    /* How long an idle connection is kept, unless its server asks for less. Default: 15 s. */
    rota_time keep_alive;
    /* How long addresses are cached. Default: 10 s. */
    rota_time dns_cache;

    /* Time limit for a request, including redirects and the body. Default: 5 min. */
    rota_time total;
    /* Time limit for a place in the pool. Default: none. */
    rota_time queue_time;
    /* Time limit for resolving, connecting and the TLS handshake. Default: 30 s. */
    rota_time connect;
    /* Time limit without progress: nothing is received, and nothing of the body is accepted.
     * Default: 60 s. */
    rota_time gap;

    /* How many redirects to follow. Default: 10; -1: none. */
    int redirects;
    /* Fail with ROTA_EREDIRECTS on a redirect to http, whatever the request began with. Otherwise a
     * redirect from https to http is followed like one to another origin: without credentials and
     * Secure cookies. */
    bool only_https_redirects;
    /* Largest head of a response, and largest trailers, in bytes. Default: 32 KiB; then
     * ROTA_ELIMIT. */
    size_t head;
    /* Largest number of header fields of a response, and of its trailers; at most 10,000. Default:
     * 100; then ROTA_ELIMIT. */
    size_t fields;
    /* Largest body that is read whole, in bytes after decoding. Default: 64 MiB; then
     * ROTA_ELIMIT. */
    uint64_t body;
    /* How many times larger a body may become by decoding, beyond 1 MiB. Default: 200. */
    unsigned ratio;
    /* Neither keep nor send cookies. */
    bool no_cookies;
    /* Return bodies without decoding, and do not send Accept-Encoding. */
    bool no_decoding;

    /* When to try again after a failure that may pass: how often, and after which pauses. Default:
     * never.
     *
     * The client tries again after a failure to resolve (ROTA_EDNS), connect or encrypt, and if
     * there were no descriptors for a connection. For idempotent methods (RFC 9110, section 9.2.2)
     * it also does if the connection breaks, or makes no progress for `gap`, before the head of the
     * response; and for the statuses 408, 429, 502, 503 and 504. The body must be one that can be
     * sent twice. Retry-After is obeyed, even beyond the backoff's `most`; a response that asks for
     * more than an hour is returned. `total` and the caller's deadline limit all tries together: if
     * the next pause would not end in time, the call returns at once. It returns the result of the
     * last try. */
    const rota_backoff *retry;

    rota_http_trace_fn *trace;
    void *trace_arg;
    rota_http_allow_fn *allow;
    void *allow_arg;
    rota_http_resolve_fn *resolve;
    void *resolve_arg;
    rota_http_connect_fn *connect_to;
    void *connect_arg;
} rota_http_session_options;

/* Makes a session for this thread's loop. `options` may be NULL. Returns 0, -ENOMEM, -EINVAL (an
 * invalid URL, header, proxy or fingerprint; a Host header or one that frames messages; a negative
 * time; an unknown version, `auth` or `proxy_auth`; credentials that cannot be sent: a control
 * character in user or password, or a colon in the user unless `auth` is DIGEST; rota_error says
 * which), ROTA_ENOTASK (this thread has no loop). */
ROTA_API int rota_http_session_new(const rota_http_session_options *options,
                                   rota_http_session **ret_session);
/* Frees the session. Requests under way are aborted: calls of other tasks return ROTA_ECLOSED.
 * Shields itself. Responses stay valid, but reading the rest of one returns ROTA_ECLOSED. Accepts
 * NULL, returns NULL. ROTA_AUTO(rota_http_session) calls this. */
ROTA_SUSPENDS_SHIELDED rota_http_session *rota_http_session_free(rota_http_session *session);
ROTA_DEFINE_AUTO(rota_http_session, rota_http_session_free);

/* Writes the persistent cookies to a file, in the format of curl and wget. Only the owner may read
 * the file, even if an older file allowed others. Returns 0, -ENOMEM, or an error of
 * rota_file_save. */
ROTA_SUSPENDS int rota_http_session_save_cookies(rota_http_session *session, const char *path);
/* Adds the cookies of such a file. Returns 0, -EBADMSG (some lines are not cookies; the others were
 * added), -ENOMEM, or an error of rota_file_load. */
ROTA_SUSPENDS int rota_http_session_load_cookies(rota_http_session *session, const char *path);

/* ---- Requests ---- */

/* One part of a multipart form (RFC 7578). */
typedef struct rota_http_part {
    const char *name;
    rota_str bytes;
    /* A file to send instead of bytes, read while it is sent. */
    const char *path;
    /* File name for the server. Default: the last component of `path`. */
    const char *filename;
    const char *type;
} rota_http_part;

/* The body of a request: one of these. The memory behind the pointers is borrowed until the call
 * returns. With `stream` of rota_http_fetch_options it is borrowed until the response was read to
 * its end, has failed, or was freed. */
typedef struct rota_http_body_source {
    rota_str bytes;
    /* A regular file. */
    const char *path;
    /* A stream, read to its end or for `length` bytes. A task of the client reads it, with the
     * caller's locals; it may suspend for any time. No other task may read it meanwhile. If reading
     * fails, the request fails with that error. It cannot be sent twice: if a redirect or a
     * challenge requires that, the call returns -ESPIPE. */
    rota_stream *stream;
    /* Length of `stream` in bytes; 0: unknown. */
    uint64_t length;
    /* Name, value, ..., NULL; sent as application/x-www-form-urlencoded. */
    const char *const *form;
    /* `count` parts; sent as multipart/form-data. */
    const rota_http_part *parts;
    size_t count;
} rota_http_body_source;

/* Zero selects the default of each field. */
typedef struct rota_http_fetch_options {
    /* Default: GET, or POST if there is a body. OPTIONS for a URL without path and query asks about
     * the server as a whole: "*" (RFC 9110, section 9.3.7). */
    const char *method;
    /* Name, value, ..., NULL. Sent in addition to the session's headers, and instead of those with
     * the same name. */
    const char *const *headers;
    rota_http_body_source body;
    /* Header fields sent after the body: name, value, ..., NULL; at most 100. The names are
     * announced in the head, unless the call has its own Trailer header. The pointers are borrowed
     * as those of the body. The values are read after the body has been sent, so a stream can store
     * a checksum there meanwhile. Over HTTP/1.1 the body is sent in chunks. Without a body the call
     * returns -EINVAL, as it does for fields that must come before the body (RFC 9110, section
     * 6.5.1): those for framing, routing, content (except Content-Digest), credentials and
     * conditions. */
    const char *const *trailers;
    /* Asks the server to change to this protocol, in lower case (RFC 9110, section 7.8). If the
     * server agrees, the status is 101, and rota_http_take_stream returns the connection. */
    const char *upgrade;
    /* Content-Type of `body`, if its kind does not imply one. */
    const char *type;
    /* Return when the head has arrived; read the body with rota_http_read. */
    bool stream;
    /* Wait, for at most a second, until the server agrees (100 Continue) before sending the
     * body. */
    bool expect;
    /* Instead of the session's time limit; ROTA_NEVER: no limit. */
    rota_time total, gap;
    int redirects;
    /* Instead of the session's retry policy; one with `tries` = 1 never tries again. */
    const rota_backoff *retry;
} rota_http_fetch_options;

/* Sends a request and waits for the response: the whole response, or with `stream` its head.
 * `options` may be NULL.
 *
 * A challenge (401 or 407) is answered according to `auth` and `proxy_auth` of the session, and the
 * request is sent again, unless the caller set that Authorization header. That needs a body that
 * can be sent twice. For a stream, set `expect`, so that a server can refuse before the body is
 * read.
 *
 * Redirects are followed as RFC 9110, section 15.4, requires: 303, and 301 or 302 after a POST,
 * with GET and without a body; 307 and 308 with the same method and body. Credentials and cookies
 * of the call are not sent to another origin.
 *
 * Some requests are sent again, with any retry policy or none. An idempotent request is sent once
 * more, over a new connection, if a reused connection breaks before the first byte of the response.
 * A request that an HTTP/2 server declares unprocessed (RFC 9113, section 8.7) is sent again up to
 * ten times, whatever its method; one for which the server requires HTTP/1.1, once, with HTTP/1.1.
 *
 * A body of more than 16 KiB, or one that is not in memory, is sent by a separate task while this
 * one reads. So a server may respond while it reads. With `stream` the call returns when the head
 * has arrived, even if the body is still being sent; sending continues in the background.
 *
 *     static int both_ways(rota_http_session *session, rota_stream *up, rota_stream *down)
 *     {
 *         char buf[16384];
 *         ssize_t n;
 *         ROTA_AUTO(rota_http_response) r = NULL;
 *         rota_http_fetch_options options = {.body = {.stream = up}, .stream = true};
 *         int err = rota_http_fetch(session, "http://localhost/echo", &options, &r);
 *         while (err == 0 && (n = rota_http_read(r, buf, sizeof buf)) != 0)
 *             err = n < 0 ? (int)n : rota_stream_write(down, buf, (size_t)n);
 *         return err;
 *     }
 *
 * Sending ends with the response: if the response is complete, fails, or is freed before the whole
 * body was sent, the rest is not sent. If the source of the body fails, reading the response fails
 * with that error. Time spent waiting for the source does not count for `gap`.
 *
 * If the caller is cancelled or timed out, the connection is closed.
 *
 * Returns 0 or an error. rota_error describes it, and rota_http_failed_phase returns its phase.
 * ROTA_ENOHOST, ROTA_EDNS (resolving); -EACCES (`allow` refused all addresses); -ECONNREFUSED, ...
 * (connecting); -EMFILE, -ENFILE (no descriptor for a connection); -ECONNRESET, -EPIPE (the server
 * closed the connection); ROTA_ECERT, ROTA_ETLS; -ETIMEDOUT (rota_http_failed_limit returns which
 * limit passed); ROTA_EPROTOCOL (the response is not valid HTTP, or redirects to an invalid URL);
 * ROTA_EREDIRECTS; ROTA_ETRUNCATED (the response was cut off); ROTA_ELIMIT (head or body too
 * large); -EINVAL (an invalid URL, header, trailer or method, more than one body, or a negative
 * time); -EMSGSIZE (the body does not have the declared length); -ESPIPE (a stream would have to be
 * sent twice, for a redirect or to answer a challenge); an error of the body's file or stream;
 * -ECANCELED; ROTA_ECLOSED (the session was freed); -ENOMEM. */
ROTA_SUSPENDS int rota_http_fetch(rota_http_session *session, const char *url,
                                  const rota_http_fetch_options *options,
                                  rota_http_response **ret_response);

/* Gets a URL, with a temporary session. Returns as rota_http_fetch does. */
ROTA_SUSPENDS int rota_http_get(const char *url, rota_http_response **ret_response);
/* Posts a body of the given type, with a temporary session. Returns as rota_http_fetch does. */
ROTA_SUSPENDS int rota_http_post(const char *url, const char *type, rota_str body,
                                 rota_http_response **ret_response);

/* Returns the phase in which the task's last failure happened, if that failure returned `err` and
 * is one of this module; otherwise ROTA_HTTP_QUEUED, which alone does not tell that the failure was
 * one of HTTP. Like the text of rota_error, the phase belongs to the failure and travels with
 * it. */
ROTA_API rota_http_phase rota_http_failed_phase(int err);
/* Returns which time limit passed, if the task's last failure returned `err`, which is -ETIMEDOUT,
 * and was caused by a limit of this module; otherwise ROTA_HTTP_LIMIT_NONE. */
ROTA_API rota_http_limit rota_http_failed_limit(int err);

/* ---- Responses ---- */

/* Returns the status, such as 200. */
ROTA_API int rota_http_status(const rota_http_response *r);
/* Returns the reason phrase that the server sent, such as "Not Found". Empty with HTTP/2. */
ROTA_API rota_str rota_http_response_reason(const rota_http_response *r);
/* Returns "HTTP/1.1" or "HTTP/2". */
ROTA_API rota_str rota_http_response_version(const rota_http_response *r);
/* Returns the URL of the response, after all redirects, without credentials and fragment. */
ROTA_API const char *rota_http_response_url(const rota_http_response *r);
/* Returns why no challenge of a response with status 401 or 407 was answered, for example "the
 * credentials were refused", or for each challenge why it cannot be answered: "Negotiate: not
 * supported; Digest: unknown algorithm". Empty for any other status. Valid as long as the
 * response. */
ROTA_API const char *rota_http_response_auth_error(const rota_http_response *r);
/* Returns the number of redirects that were followed. */
ROTA_API size_t rota_http_response_redirects(const rota_http_response *r);
/* Gets the URL of redirect number `n`, from 0, and its status in `ret_status`, which may be NULL.
 * Returns NULL if there were fewer. */
ROTA_API const char *rota_http_response_redirect(const rota_http_response *r, size_t nth,
                                                 int *ret_status);
/* Returns the value of the first header field with that name, in any case. Its pointer is NULL if
 * there is none. */
ROTA_API rota_str rota_http_response_header(const rota_http_response *r, const char *name);
/* Returns all header fields, in the order received. */
ROTA_API const rota_http_field *rota_http_response_fields(const rota_http_response *r,
                                                          size_t *ret_count);
/* Returns the value of the first trailer (a field after the body) with that name. Its pointer is
 * NULL if there is none, or if the body was not read to its end yet. */
ROTA_API rota_str rota_http_response_trailer(const rota_http_response *r, const char *name);
/* Returns all trailers, in the order received. There are none until the body was read to its end,
 * that is, until rota_http_read has returned 0. The session's options `head` and `fields` limit
 * them. */
ROTA_API const rota_http_field *rota_http_response_trailers(const rota_http_response *r,
                                                            size_t *ret_count);
/* Returns the time from the beginning of the call to the beginning of a phase, or -1 if that phase
 * did not occur. After redirects, for the last request. */
ROTA_API rota_time rota_http_response_time(const rota_http_response *r, rota_http_phase phase);

/* Returns the whole body, followed by a NUL byte, of a response that was not streamed or was read
 * by rota_http_read_all. Empty otherwise. */
ROTA_API rota_str rota_http_body(const rota_http_response *r);

/* Reads between 1 and `len` bytes of the decoded body. Returns 0 at the end. A streamed body is
 * read from the connection; a whole one is returned piece by piece.
 *
 * After a cancellation or your own deadline you can keep reading, and after -EINVAL (`len` is 0),
 * which only rota_error describes. Other errors are final: as of rota_http_fetch in the phase
 * READING. rota_http_response_error describes them. */
ROTA_SUSPENDS ssize_t rota_http_read(rota_http_response *r, void *buf, size_t len);
/* Reads the rest of the body for rota_http_body, at most `limit` bytes (0: the session's limit).
 * Returns 0, or an error as rota_http_read does. */
ROTA_SUSPENDS int rota_http_read_all(rota_http_response *r, uint64_t limit);
/* Reads the rest of the body into a file, which gets the name `path` once it is complete and on the
 * disk. Returns 0, an error as rota_http_read does, or an error of the file. */
ROTA_SUSPENDS int rota_http_save(rota_http_response *r, const char *path);
/* Returns why the last read failed: "reading the response from ...". Empty if it did not fail.
 * Valid as long as the response. */
ROTA_API const char *rota_http_response_error(const rota_http_response *r);

/* Iterates over the events of a streamed response of type text/event-stream, as
 * rota_http_event. An event is valid until the next one. If the source may be silent for long,
 * fetch it without `gap`; if it is to last, without `total`. For any other response, iteration ends
 * with ROTA_EPROTOCOL.
 *
 *     int err;
 *     ROTA_FOREACH(rota_http_event *, event, rota_http_events(r), &err)
 *         printf("%.*s\n", (int)event->data.len, event->data.ptr); */
ROTA_API rota_iter rota_http_events(rota_http_response *r);

/* Takes the connection of a response with status 101, which now speaks the protocol named by
 * `upgrade`. It is yours, and no longer belongs to the session. Returns NULL if there is none, or
 * if it was taken before. */
ROTA_API rota_stream *rota_http_take_stream(rota_http_response *r);

/* Frees the response. If it was read to its end, its connection returns to the pool; otherwise the
 * connection is closed. If a body is still being sent, sending stops, and its task is waited for.
 * Shields itself. Accepts NULL, returns NULL. ROTA_AUTO(rota_http_response) calls this. */
ROTA_SUSPENDS_SHIELDED rota_http_response *rota_http_response_free(rota_http_response *r);
ROTA_DEFINE_AUTO(rota_http_response, rota_http_response_free);

#ifdef __cplusplus
}
#endif

#endif
