/* http_client: requests to servers of HTTP/1.1 and HTTP/2. In a library of its own (pkg-config
 * rota-http), and not in <rota.h>.
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
 * A program that asks more than once keeps a session: connections, cookies and addresses are used
 * again, and settings are made once.
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
 * A response is whole when the call returns, unless it was asked to be streamed; then the body is
 * read by rota_http_read. Statuses are no errors: 404 is an answer.
 *
 * Any number of tasks may use a session at once. Deadlines of your own are a ROTA_TIMEOUT around a
 * call; what is cancelled or timed out closes its connection, so nobody ever gets another's
 * bytes. */
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

/* What a request is doing. */
typedef enum rota_http_phase {
    ROTA_HTTP_QUEUED,     /* waits for a place in the pool */
    ROTA_HTTP_RESOLVING,  /* looks up the host */
    ROTA_HTTP_CONNECTING, /* of the proxy, where there is one */
    ROTA_HTTP_ENCRYPTING, /* the TLS handshake */
    ROTA_HTTP_SENDING,
    /* for the first byte of the answer; the body is out. None where the answer is quicker */
    ROTA_HTTP_WAITING,
    ROTA_HTTP_READING, /* the body */
    ROTA_HTTP_REDIRECTED,
    ROTA_HTTP_DONE
} rota_http_phase;

/* What takes too long, by the session's options. */
typedef enum rota_http_limit {
    /* none of them: where the error is -ETIMEDOUT, a deadline of the caller's */
    ROTA_HTTP_LIMIT_NONE,
    ROTA_HTTP_LIMIT_TOTAL,
    ROTA_HTTP_LIMIT_QUEUE_TIME,
    ROTA_HTTP_LIMIT_CONNECT,
    ROTA_HTTP_LIMIT_GAP
} rota_http_limit;

/* Told at the beginning of each phase. Valid while the hook runs. */
typedef struct rota_http_trace {
    rota_http_phase phase;
    rota_time since; /* the call began */
    const char *method, *url;
    bool reused; /* from SENDING on: over a connection that had served before */
    int status;  /* from READING on */
    int err;     /* of DONE */
} rota_http_trace;

/* Called for each phase; must not suspend. It may run in another task than the request's:
 * connections are made, and larger bodies sent, by tasks of their own. */
typedef void rota_http_trace_fn(void *arg, const rota_http_trace *trace);

/* Whether the session may connect to this address, which `host` has (or the proxy): against
 * requests that somebody else steers to places of your network. Must not suspend. */
typedef bool rota_http_allow_fn(void *arg, const char *host, const rota_address *address);

/* Looks up a host in place of rota_resolve: stores at most `most` addresses, with that port, and
 * returns how many, or an error. It may suspend; `connect` of the session's options limits it. The
 * results are kept like others, and `allow` sees them. */
typedef int rota_http_resolve_fn(void *arg, const char *host, int port, rota_address *ret_addresses,
                                 size_t most);

/* Connects to a host, or to the proxy, in place of the client: through a tunnel, to a server in
 * memory, over another kind of socket. The stream is the session's from then on; TLS is begun on it
 * where the URL says https. It may suspend; `connect` of the session's options limits it. `resolve`
 * and `allow` are not called. Returns 0 or an error. */
typedef int rota_http_connect_fn(void *arg, const char *host, int port, rota_stream **ret_stream);

/* ---- Sessions ---- */

typedef enum rota_http_version {
    ROTA_HTTP_ANY, /* HTTP/2 where ALPN agrees on it (https), else HTTP/1.1 */
    ROTA_HTTP_1_1,
    ROTA_HTTP_2_DIRECTLY /* HTTP/2 by prior knowledge, in the clear, too */
} rota_http_version;

/* How user and password are sent to a server, or to a proxy. */
typedef enum rota_http_auth {
    /* Basic (RFC 7617), with each request. Everybody who can read the request learns the
     * password. */
    ROTA_HTTP_AUTH_BASIC,
    /* Digest (RFC 7616), and nothing else: the password is never sent. */
    ROTA_HTTP_AUTH_DIGEST,
    /* What the server asks for: Digest if that is offered, else Basic. Whoever can change the
     * response can ask for Basic, so use this only over TLS. */
    ROTA_HTTP_AUTH_ANY
} rota_http_auth;

/* Zero is the default of each field. Everything is copied but the `..._arg`s and `tls`, which stay
 * until the session is freed. Times: ROTA_NEVER is no limit.
 *
 * Cookies are kept and sent as RFC 6265 says, and the prefixes __Host- and __Secure- hold what they
 * promise (RFC 6265bis, section 4.1.3). None is taken that is for all hosts of a public suffix,
 * such as "co.uk": by the list that libpsl brings along, and where rota was built without it, only
 * of a name without a dot. */
typedef struct rota_http_session_options {
    const char *base_url;       /* what relative URLs are relative to */
    const char *const *headers; /* sent with each request: name, value, ..., NULL */
    /* User and password, or a Bearer token (RFC 6750), for the origin of `base_url` only. */
    const char *user, *password;
    const char *bearer;
    /* How to send user and password: these, and those in the URL of a request. With DIGEST and ANY
     * a first request goes without them. The server answers 401 with a challenge, and the request
     * is sent again with an answer; later requests to the same origin carry an answer at once. A
     * response with status 401 is returned if the password is wrong, or if no challenge can be
     * answered.
     *
     * Known are MD5, SHA-256 and SHA-512-256, each also with -sess; of several challenges the
     * strongest is answered. qop may be absent or "auth", or "auth-int" for bodies in memory.
     * Write a user and password that are not ASCII in UTF-8. */
    rota_http_auth auth;

    /* Whom to trust and who we are; NULL: the system's authorities. `version` and upgrades decide
     * what is offered by ALPN, not this. */
    rota_tls_context *tls;
    /* SHA-256 of the only certificate that is taken, as hexadecimal digits; without `tls` that is
     * all that is checked. */
    const char *fingerprint;
    const char *unix_path; /* connect to this Unix socket, whatever the host */
    /* "http://user:password@host:port", or https, socks5 or socks5h; "": none. The proxy's default
     * port is 80, 443 or 1080. With socks5 names are looked up here, with the others by the proxy;
     * then `allow` sees the proxy's addresses only.
     *
     * NULL: as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY of the environment say, in either
     * case, unless the program runs with more rights than its user (secure_getenv(3)). HTTP_PROXY
     * in capitals does not count in a CGI program. A setting that makes no sense fails the requests
     * that would use it. NO_PROXY lists hosts (with all below them), addresses, networks
     * (10.0.0.0/8), each perhaps with a port, or "*". */
    const char *proxy;
    /* How to send the user and password of the proxy's URL. SOCKS5 has its own way. */
    rota_http_auth proxy_auth;
    rota_http_version version;

    size_t connections;      /* in all; 100 */
    size_t connections_host; /* to one host, port and scheme; as many as in all */
    rota_time keep_alive;    /* how long an idle one is kept, unless its server says less; 15 s */
    rota_time dns_cache;     /* how long addresses are; 10 s */

    rota_time total;      /* for a request, redirects and body included; 5 min */
    rota_time queue_time; /* for a place in the pool; none */
    rota_time connect;    /* to resolve, connect and encrypt; 30 s */
    rota_time gap;        /* in which nothing comes, nor is anything of the body taken; 60 s */

    int redirects; /* that are followed; 10; -1: none */
    /* A redirect to http fails with ROTA_EREDIRECTS, whatever the request began with. Without this,
     * one that leads from https to http is followed as one to another origin: without credentials
     * and Secure cookies. */
    bool only_https_redirects;
    size_t head;   /* bytes of a response's head, and of its trailers; 32 KiB: ROTA_ELIMIT */
    size_t fields; /* header fields of a response, and trailers, 10,000 at most; 100: ROTA_ELIMIT */
    uint64_t body; /* bytes of a body that is read whole, decoded; 64 MiB */
    unsigned ratio;   /* how much larger a body may become by decoding, beyond 1 MiB; 200 */
    bool no_cookies;  /* neither kept nor sent (RFC 6265) */
    bool no_decoding; /* bodies as they come; Accept-Encoding is not sent */

    /* How often, and after which pauses, to try again what may pass. NULL: never.
     *
     * Tried again are a failure to resolve (ROTA_EDNS), connect or encrypt; and, of idempotent
     * methods (RFC 9110, section 9.2.2), a connection that breaks off, or falls silent for `gap`,
     * before the response's head, and the statuses 408, 429, 502, 503 and 504. A body must be one
     * that can be sent twice. Retry-After is obeyed, even beyond the backoff's `most`; but a
     * response that asks for more than an hour is returned. `total` and the caller's deadline bound
     * all tries together: a pause that would not end in time is not begun. The call returns what
     * the last try brought. */
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

/* Makes a session of this thread's loop. `options` may be NULL. Returns 0, -ENOMEM, -EINVAL (an
 * invalid URL, header, proxy or fingerprint, Host or a header that frames messages, a negative
 * time, an unknown version; rota_error says which), ROTA_ENOTASK (this thread has no loop). */
ROTA_API int rota_http_session_new(const rota_http_session_options *options,
                                   rota_http_session **ret_session);
/* Cuts off what is under way and frees the session: calls of other tasks return ROTA_ECLOSED.
 * Shields itself. Responses stay valid; those that are still being read end with ROTA_ECLOSED.
 * Accepts NULL, returns NULL; what ROTA_AUTO(rota_http_session) calls. */
ROTA_SUSPENDS_SHIELDED rota_http_session *rota_http_session_free(rota_http_session *session);
ROTA_DEFINE_AUTO(rota_http_session, rota_http_session_free);

/* Writes the cookies that outlive the program to a file that only its owner may read, also where
 * there was one that others could read, in the format of curl and wget. Returns 0, -ENOMEM, or an
 * error of rota_file_save. */
ROTA_SUSPENDS int rota_http_session_save_cookies(rota_http_session *session, const char *path);
/* Adds the cookies of such a file. Returns 0, -EBADMSG (some lines are no cookies; the others
 * count), -ENOMEM, or an error of rota_file_load. */
ROTA_SUSPENDS int rota_http_session_load_cookies(rota_http_session *session, const char *path);

/* ---- Requests ---- */

/* One part of a form of files (RFC 7578). */
typedef struct rota_http_part {
    const char *name;
    rota_str bytes;
    const char *path;     /* a file instead; sent as it is read */
    const char *filename; /* what the server is told; of a file its last component */
    const char *type;
} rota_http_part;

/* What is sent: one of these. What the pointers point to is borrowed until the call returns; with
 * `stream` of rota_http_fetch_options until the answer has been read to its end or has failed, or
 * the response was freed. Then nobody reads it any more. */
typedef struct rota_http_body_source {
    rota_str bytes;
    const char *path; /* a regular file */
    /* Until its end, or `length`. It is read by a task of the client's, which has inherited the
     * caller's locals, and by nobody else meanwhile; it may suspend as it likes. What is cut short
     * ends the request with that error. Cannot be sent twice: -ESPIPE where a redirect or a
     * challenge requires that. */
    rota_stream *stream;
    uint64_t length;             /* of `stream`; 0: unknown */
    const char *const *form;     /* name, value, ..., NULL: application/x-www-form-urlencoded */
    const rota_http_part *parts; /* `count` of them: multipart/form-data */
    size_t count;
} rota_http_body_source;

/* Zero is the default of each field. */
typedef struct rota_http_fetch_options {
    /* GET, or POST where there is a body. OPTIONS of a URL without path and query asks of the
     * server as a whole: "*" (RFC 9110, section 9.3.7). */
    const char *method;
    /* Name, value, ..., NULL; sent beside those of the session, and instead of those with the same
     * name. */
    const char *const *headers;
    rota_http_body_source body;
    /* Fields that follow the body: name, value, ..., NULL; 100 at most. The names are announced
     * (Trailer). The pointers are borrowed like the body, and the values are read when the body has
     * been sent, so a stream can write a checksum into place meanwhile. Over HTTP/1.1 the body is
     * sent in chunks. -EINVAL without a body, and for names that have to stand before one (RFC
     * 9110, section 6.5.1): of framing, routing, content, credentials and conditions. */
    const char *const *trailers;
    /* Asks for this protocol, in lower case (RFC 9110, section 7.8). Where the server agrees, the
     * status is 101, and rota_http_take_stream gives the connection. */
    const char *upgrade;
    /* Content-Type of `body`, where its kind does not say it. */
    const char *type;
    /* Return when the head has come; the body is read by rota_http_read. */
    bool stream;
    /* Wait for the server's consent (100 Continue), a second at most, before sending the body. */
    bool expect;
    /* Instead of the session's; ROTA_NEVER is without. */
    rota_time total, gap;
    int redirects;
    /* Instead of the session's; one with `tries` = 1 never tries again. */
    const rota_backoff *retry;
} rota_http_fetch_options;

/* Sends a request and waits for the response: whole, or with `stream` its head.
 *
 * A challenge (401 or 407) is answered as `auth` and `proxy_auth` of the session say, and the
 * request sent again. That needs a body that can be sent twice: for a stream, ask with `expect`,
 * so that a server can refuse before the body is read.
 *
 * Redirects are followed as RFC 9110, section 15.4, says: 303, and 301 or 302 of POST, by GET
 * without a body; 307 and 308 as it was. Credentials and cookies of the call do not go to another
 * origin. An idempotent request on a reused connection that dies before a byte of an answer is sent
 * once more, on a fresh one. What a server of HTTP/2 says that it has not worked on (RFC 9113,
 * section 8.7) is sent again whatever its method, up to ten times; what it requires HTTP/1.1 for,
 * once by that.
 *
 * A body of more than 16 KiB, or that is not in memory, is sent by a task of its own while this one
 * reads: so a server may answer while it reads, and with `stream` this returns when the head is
 * there, though the body is still being sent; that goes on whatever the caller does meanwhile.
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
 * Sending ends with the answer: where that is complete before the body was sent, the rest is not
 * sent. It ends, too, where the answer fails or is freed; and a body that fails makes reading the
 * answer fail, with its error. `gap` does not count while the body's own source is waited for.
 *
 * A caller that is cancelled, or whose deadline passes, closes the connection. `options` may be
 * NULL.
 *
 * Returns 0, or what went wrong, of which rota_error has words and rota_http_failed_phase the
 * phase: ROTA_ENOHOST, ROTA_EDNS (resolving); -EACCES (`allow` refused all addresses);
 * -ECONNREFUSED, ... (connecting); -ECONNRESET, -EPIPE (the server broke the connection off);
 * ROTA_ECERT, ROTA_ETLS; -ETIMEDOUT (rota_http_failed_limit says which); ROTA_EPROTOCOL (the
 * response is not HTTP, or redirects to an invalid URL); ROTA_EREDIRECTS; ROTA_ETRUNCATED (cut off
 * before its end); ROTA_ELIMIT (head or body too large); -EINVAL (an invalid URL, header, trailer
 * or method, more than one body, or a negative time); -EMSGSIZE (the body is not as long as was
 * said); -ESPIPE (a stream would have to be sent twice: for a redirect, or to answer a challenge);
 * an error of the body's file or stream; -ECANCELED; ROTA_ECLOSED (the session was freed);
 * -ENOMEM. */
ROTA_SUSPENDS int rota_http_fetch(rota_http_session *session, const char *url,
                                  const rota_http_fetch_options *options,
                                  rota_http_response **ret_response);

/* Gets a URL, in a session of its own. Returns as rota_http_fetch. */
ROTA_SUSPENDS int rota_http_get(const char *url, rota_http_response **ret_response);
/* Posts a body of that type, in a session of its own. Returns as rota_http_fetch. */
ROTA_SUSPENDS int rota_http_post(const char *url, const char *type, rota_str body,
                                 rota_http_response **ret_response);

/* The phase in which the task's last failure happened, if that was `err` and of this module, else
 * ROTA_HTTP_QUEUED. It is part of the failure like its words (rota_error), and travels with
 * them. */
ROTA_API rota_http_phase rota_http_failed_phase(int err);
/* Which limit had passed, if the task's last failure was `err` = -ETIMEDOUT, of this module, and by
 * its limits, else ROTA_HTTP_LIMIT_NONE. */
ROTA_API rota_http_limit rota_http_failed_limit(int err);

/* ---- Responses ---- */

/* The status: 200. */
ROTA_API int rota_http_status(const rota_http_response *r);
/* The words behind it, as the server chose them: "Not Found". Empty from HTTP/2. */
ROTA_API rota_str rota_http_response_reason(const rota_http_response *r);
/* "HTTP/1.1", "HTTP/2". */
ROTA_API rota_str rota_http_response_version(const rota_http_response *r);
/* Where it came from, at the end of all redirects; without credentials and fragment. */
ROTA_API const char *rota_http_response_url(const rota_http_response *r);
/* How many redirects led there. */
ROTA_API size_t rota_http_response_redirects(const rota_http_response *r);
/* Where the nth of them, from 0, came from, and its status (unless `ret_status` is NULL). NULL:
 * there were fewer. */
ROTA_API const char *rota_http_response_redirect(const rota_http_response *r, size_t nth,
                                                 int *ret_status);
/* The value of the first header field of that name, in any case; its pointer is NULL where there is
 * none. */
ROTA_API rota_str rota_http_response_header(const rota_http_response *r, const char *name);
/* All header fields, as they came. */
ROTA_API const rota_http_field *rota_http_response_fields(const rota_http_response *r,
                                                          size_t *ret_count);
/* The value of the first trailer of that name, a field that follows the body. Its pointer is NULL
 * where there is none, and until the body was read to its end. */
ROTA_API rota_str rota_http_response_trailer(const rota_http_response *r, const char *name);
/* All trailers, as they came. None until the body was read to its end: until rota_http_read has
 * returned 0. `head` and `fields` of the session limit them. */
ROTA_API const rota_http_field *rota_http_response_trailers(const rota_http_response *r,
                                                            size_t *ret_count);
/* When a phase began, counted from the call; -1 where there was none. Of the last request, after
 * redirects. */
ROTA_API rota_time rota_http_response_time(const rota_http_response *r, rota_http_phase phase);

/* The whole body with a NUL behind it, of a response that was not streamed, or that
 * rota_http_read_all has read. Empty otherwise. */
ROTA_API rota_str rota_http_body(const rota_http_response *r);

/* Reads 1 to `len` bytes of the body, decoded; 0 at its end. A streamed one comes from the
 * connection; a whole one is given out piece by piece.
 *
 * After a cancellation or your own deadline you can keep reading. Returns as rota_http_fetch does,
 * from the phase `reading` on; other errors are final, and rota_http_response_error has words for
 * them. */
ROTA_SUSPENDS ssize_t rota_http_read(rota_http_response *r, void *buf, size_t len);
/* Reads the rest of it for rota_http_body; at most `limit` bytes (0: the session's). Returns 0 or
 * as rota_http_read. */
ROTA_SUSPENDS int rota_http_read_all(rota_http_response *r, uint64_t limit);
/* Reads the rest of it into a file, which takes the name `path` when it is complete and on the
 * disk. Returns 0, or as rota_http_read, or an error of the file. */
ROTA_SUSPENDS int rota_http_save(rota_http_response *r, const char *path);
/* Why reading failed: "reading the answer of ...". Empty if it did not. Stays as long as the
 * response. */
ROTA_API const char *rota_http_response_error(const rota_http_response *r);

/* The events of a streamed response of text/event-stream, as rota_http_event; one is valid until
 * the next. A source that may be silent for long is fetched without `gap`, and one that lasts
 * without `total`. For any other response, iteration ends with ROTA_EPROTOCOL.
 *
 *     int err;
 *     ROTA_FOREACH(rota_http_event *, event, rota_http_events(r), &err)
 *         printf("%.*s\n", (int)event->data.len, event->data.ptr); */
ROTA_API rota_iter rota_http_events(rota_http_response *r);

/* Takes over the connection of a response with status 101, which speaks the protocol that `upgrade`
 * asked for. It is yours, and no longer the session's. NULL where there is none, or it was taken
 * before. */
ROTA_API rota_stream *rota_http_take_stream(rota_http_response *r);

/* Frees the response; a connection whose answer was read to its end goes back to the pool, another
 * is closed. A body that is still being sent is cut off, and its task waited for. Shields itself.
 * Accepts NULL, returns NULL; what ROTA_AUTO(rota_http_response) calls. */
ROTA_SUSPENDS_SHIELDED rota_http_response *rota_http_response_free(rota_http_response *r);
ROTA_DEFINE_AUTO(rota_http_response, rota_http_response_free);

#ifdef __cplusplus
}
#endif

#endif
