/* Inside the client: a session, its pool of connections, and the steps of a request.
 *
 *     rota_http_fetch     a call: sends requests until a response is neither a redirect nor a
 *                         challenge that can be answered
 *                         client_fetch.c
 *       request           URL, fields and body
 *                         client_request.c, _body.c
 *       authentication    credentials, challenges, and answers to them
 *                         client_auth.c
 *       pool              finds a connection for the request, or room for a new one
 *                         client_pool.c
 *       keeper            the connection's own task: connects, watches while idle, closes
 *                         client_keeper.c, _connect.c
 *       exchange          sends the request and reads the response: HTTP/1.1 or HTTP/2, by a vtable
 *                         client_h1.c, client_h2.c
 *       upload            a body that a task of its own sends while the response is read
 *                         client_upload.c, _trailers.c
 *     rota_http_response  head and body of the response
 *                         client_response.c, _read.c */
#ifndef ROTA__HTTP_CLIENT_H
#define ROTA__HTTP_CLIENT_H

#include "base/list.h"
#include "http/arena.h"
#include "http/coding.h"
#include "http/cookie.h"
#include "http/digest.h"
#include "http/h1.h"
#include "http/h1_write.h"
#include "http/multipart.h"
#include "http/out.h"
#include "http/proxy.h"
#include "http/sse.h"
#include "http/url.h"

#include <rota/backoff.h>
#include <rota/file.h>
#include <rota/http_client.h>
#include <rota/sync.h>

#define ROTA__HTTP_WHY 192
#define ROTA__HTTP_PHASES (ROTA_HTTP_DONE + 1)
/* Buckets of the hash table of origins. */
#define ROTA__HTTP_ORIGINS 64
#define ROTA__HTTP_ADDRESSES 16
/* Most responses with status 1xx before the final one. */
#define ROTA__HTTP_INTERIMS 20
/* Most trailers of a request. */
#define ROTA__HTTP_TRAILERS 100
/* How long a request waits for 100 (Continue). */
#define ROTA__HTTP_CONSENT ROTA_SECOND

struct rota__http_conn;
struct rota__http_call;

/* ---- Progress: phase, time limits and failure of a request (client_progress.c) ---- */

struct rota__http_progress {
    /* NULL once the session may be freed. */
    const rota_http_session *session;
    rota_str method, url;
    /* "localhost:80" */
    rota_str where;
    rota_http_phase phase;
    bool reused;
    int status;
    rota_time began, total, ends;
    /* The clock; valid while `is_now`, which waiting clears. */
    rota_time now;
    bool is_now;
    /* When each phase began, from `began` on; or -1. */
    rota_time times[ROTA__HTTP_PHASES];

    /* Ends at `ends` or at the phase's limit, whichever is earlier. */
    rota_timeout scope;
    bool is_open;
    /* The deadline had passed when the scope was closed. */
    bool is_late;
    /* The scope's deadline is `ends`. */
    bool is_total;
    rota_http_limit limit;
    rota_time limit_time;
    /* The limit that ended the last wait. */
    rota_http_limit passed;
    rota_time passed_time;
    /* It was the caller's deadline. */
    bool is_callers;

    /* URL and options are valid; the request can be sent. */
    bool is_prepared;
    /* Why a failure with the code `why_err` happened: "Connection refused". Failures with another
     * code have no text of their own. */
    int why_err;
    char why[ROTA__HTTP_WHY];
};

/* Begins a phase. */
void rota__http_enter(struct rota__http_progress *p, rota_http_phase phase);
/* The request has ended, with `err`. `phase` stays the one that failed. */
void rota__http_done(struct rota__http_progress *p, int err);
/* Limits waiting to `time` from now, and to `ends`. */
void rota__http_limit(struct rota__http_progress *p, rota_http_limit limit, rota_time time);
/* Closes the scope and notes which deadline passed. Returns `err`. */
int rota__http_unlimit(struct rota__http_progress *p, int err);
/* Keeps the text for a failure with this code. Returns `err`. */
int rota__http_say(struct rota__http_progress *p, int err, const char *format, ...)
    ROTA_PRINTF(3, 4);
/* Forgets the text of earlier tries. Call it before a request is sent, each time. */
void rota__http_restart(struct rota__http_progress *p);
/* Writes "connecting to localhost:80: Connection refused". */
void rota__http_words(const struct rota__http_progress *p, int err, char *ret_words, size_t size);
/* Makes it the task's failure, with phase and limit as its detail. Returns `err`. */
int rota__http_fail(const struct rota__http_progress *p, int err);
/* A failure without a request, and so without a limit. Returns `err`. */
int rota__http_set_error(rota_http_phase phase, int err, const char *format, ...) ROTA_PRINTF(3, 4);

/* ---- Authentication (client_auth.c) ---- */

/* Credentials for a server or proxy. */
struct rota__http_credentials {
    /* Decoded. */
    rota_str user, password;
    /* Of Basic or Bearer. Empty: neither may be sent. */
    rota_str value;
    /* `value` is sent with each request, without a challenge. */
    bool is_preemptive;
    /* Why they cannot be sent. */
    const char *wrong;
};

/* A challenge that is being answered: one nonce of Digest, or Basic. Shared by the requests that
 * use it, and by the cache. */
struct rota__http_auth_state {
    /* In the cache. */
    struct rota__http_auth_state *next;
    int refs;
    /* Otherwise Basic. */
    bool is_digest;
    struct rota__digest digest;
    char cnonce[ROTA__DIGEST_CNONCE];
    /* The user, `user_len` bytes, and the text that `digest` points to. */
    struct rota__out text;
    size_t user_len;
};

/* The latest challenge of an origin or proxy for each user and realm, the newest first. */
struct rota__http_auth_cache {
    /* How many origins share the cache. Unused for a proxy's. */
    int refs;
    struct rota__http_auth_state *first;
};

/* The authentication of one request to a server or proxy. All zeros: nothing was sent yet. */
struct rota__http_auth {
    /* The challenge that the request answers, or NULL. */
    struct rota__http_auth_state *state;
    /* Challenges answered so far. */
    int attempts;
};

enum rota__http_side { ROTA__HTTP_SERVER, ROTA__HTTP_PROXY, ROTA__HTTP_SIDES };

/* Make credentials in `arena`: from user and password, from a Bearer token, from the userinfo of a
 * URL. Return 0, -EINVAL, -ENOMEM. */
int rota__http_credentials_new(struct rota__arena *arena, rota_str user, rota_str password,
                               struct rota__http_credentials **ret_credentials);
int rota__http_credentials_bearer(struct rota__arena *arena, rota_str token,
                                  struct rota__http_credentials **ret_credentials);
int rota__http_credentials_parse(struct rota__arena *arena, rota_str userinfo,
                                 struct rota__http_credentials **ret_credentials);
/* Prepares them for HTTP. Returns 0, -EINVAL (`wrong` says why they cannot be sent), -ENOMEM. */
int rota__http_credentials_use(struct rota__arena *arena, rota_http_auth auth,
                               struct rota__http_credentials *credentials);

/* The parts of a request that an answer to a challenge depends on. */
struct rota__http_auth_request {
    rota_str method, uri;
    /* The body is in memory, or there is none. */
    bool has_bytes;
    rota_str body;
};

/* The head of a 401 or 407. */
struct rota__http_challenge_fields {
    enum rota__http_side side;
    const rota_http_field *fields;
    size_t count;
};

/* Makes the value of Authorization or Proxy-Authorization, in `arena` or as a slice of the
 * credentials. Empty: the request is sent without. Notes in `auth` what is sent. Returns 0 or
 * -ENOMEM. */
int rota__http_auth_write(struct rota__arena *arena,
                          const struct rota__http_credentials *credentials,
                          const struct rota__http_auth_request *request,
                          const struct rota__http_auth_cache *cache, struct rota__http_auth *auth,
                          rota_str *ret_value);
/* A server or proxy has answered the request of `auth` with 401 or 407. `credentials` may be NULL.
 * Returns 1 (rota__http_auth_write has an answer), 0 (no challenge can be answered, or the
 * credentials were refused: `ret_why` says so), or an error. */
int rota__http_auth_challenge(const struct rota__http_credentials *credentials,
                              const struct rota__http_auth_request *request,
                              const struct rota__http_challenge_fields *fields,
                              struct rota__http_auth_cache *cache, struct rota__http_auth *auth,
                              char ret_why[ROTA__HTTP_WHY]);
/* The next request is a new one, which has answered no challenge. */
void rota__http_auth_reset(struct rota__http_auth *auth);
void rota__http_auth_cache_fini(struct rota__http_auth_cache *cache);
/* Drops an origin's reference to the cache. The last one frees it. */
void rota__http_auth_cache_unref(struct rota__http_auth_cache *cache);

/* Whether to send the call's request again, to answer a challenge in `r`. Returns 1, 0 (and stores
 * in `r` why not), or an error. */
int rota__http_authenticate(struct rota__http_call *call, rota_http_response *r);
/* Adds Authorization and Proxy-Authorization to the call's fields. */
int rota__http_add_authorization(struct rota__http_call *call);
/* Releases the call's states: before another request, before a new try, and at the end. */
void rota__http_call_reset_auth(struct rota__http_call *call);

/* ---- Sessions (client_session.c) ---- */

struct rota__http_proxy {
    enum rota__proxy_kind kind;
    /* The name to look up. */
    char *host;
    /* "localhost:80" */
    char *where;
    int port;
    /* Or NULL. */
    struct rota__http_credentials *credentials;
    struct rota__http_auth_cache *auth;
    /* Why the setting cannot be used, or NULL. */
    char *wrong;
};

static inline bool rota__http_is_socks(const struct rota__http_proxy *proxy)
{
    return proxy->kind == ROTA__PROXY_SOCKS5 || proxy->kind == ROTA__PROXY_SOCKS5H;
}

/* Scheme, host and port. Requests to one origin share connections, credentials and a queue. */
struct rota__http_origin {
    struct rota__list node;
    bool secure;
    /* For upgrades, which HTTP/2 does not have, and for servers that require HTTP/1.1. */
    bool only_h1;
    int port;
    rota_host host;
    /* The name to look up: the host's text, with its final dot. */
    const char *name;
    /* "localhost:80", with a NUL; without a zone. */
    rota_str authority;
    /* For error texts: with the zone. */
    rota_str where;
    const struct rota__http_proxy *proxy;
    /* Calls and keepers that point to it. */
    size_t uses;

    /* Connections, including those that are being made. */
    size_t open;
    /* The newest first. */
    struct rota__list idle;
    /* The queue of waiters, the oldest first. */
    struct rota__list line;
    /* In the session's `waiting` while the queue is not empty. */
    struct rota__list waiting;
    /* A connection of HTTP/2, which takes several requests at once. */
    struct rota__http_conn *shared;
    /* Connections that are being made. */
    size_t making;
    /* A connection that is being made may turn out to be shared, so one at a time is enough. */
    bool may_share;

    /* Held for a lookup; other connections wait for its result. */
    rota_mutex lookup;
    rota_address addresses[ROTA__HTTP_ADDRESSES];
    int count;
    rota_time expires;

    /* Shared by the two origins of one scheme, host and port: with HTTP/1.1 only, and without that
     * limit. */
    struct rota__http_auth_cache *auth;
};

/* Whether requests are sent to the proxy itself, not through a tunnel. Upgrades need a tunnel
 * (RFC 6455, section 4.1). */
static inline bool rota__http_asks_proxy(const struct rota__http_origin *o)
{
    return o->proxy && !o->secure && !o->only_h1 && !rota__http_is_socks(o->proxy);
}

struct rota_http_session {
    /* The owner's, and one for each call. */
    int uses;
    bool closed;
    /* With the defaults filled in. What they point to is in `arena`. */
    rota_http_session_options options;
    struct rota__arena arena;
    rota_str base_text;
    rota_url base;
    /* Sent with each request. */
    rota_http_field *fields;
    size_t field_count;
    /* For the origin of `base`. */
    struct rota__http_credentials *credentials;
    /* Close each connection after one response. */
    bool once;
    /* Used where the options have none. */
    rota_tls_context *own_tls, *proxy_tls;
    /* Only a certificate with the fingerprint `pin` is accepted. */
    bool pins;
    unsigned char pin[32];
    struct rota__http_proxy *http_proxy, *https_proxy;
    const char *no_proxy;

    struct rota__list origins[ROTA__HTTP_ORIGINS];
    size_t origin_count;
    /* The origin that was looked for last. */
    struct rota__http_origin *last;
    /* Connections, including those that are being made. */
    size_t open;
    struct rota__list conns;
    /* The newest first. */
    struct rota__list idle;
    /* Origins with a queue, in the order of their first waiters. */
    struct rota__list waiting;
    uint64_t ticket;
    size_t keepers;
    /* The last keeper has ended. */
    rota_event gone;
    rota_handle watch, expiry;
    struct rota__cookie_jar jar;
    /* Fields of a head that is being parsed. No task suspends while they are in use. */
    rota_http_field *head;
};

void rota__http_session_unref(rota_http_session *session);

/* Limits for the heads of HTTP/1.1. */
struct rota__h1_limits rota__http_head_limits(const rota_http_session *session);

/* Reads the settings of the session or the environment. Returns 0, -EINVAL, -ENOMEM. */
int rota__http_proxies_init(rota_http_session *session);
void rota__http_proxies_fini(rota_http_session *session);
/* The proxy for a host, or NULL. */
const struct rota__http_proxy *rota__http_proxy_for(const rota_http_session *session, bool secure,
                                                    const rota_host *host, int port);

/* ---- Connections (client_keeper.c) ---- */

struct rota__http_kind {
    /* Runs in the keeper's task until the open connection is to be closed. */
    void (*keep)(struct rota__http_conn *conn);
    /* Sends the call's request and receives the head of the response. If it fails, the caller keeps
     * the connection. */
    int (*exchange)(struct rota__http_conn *conn, struct rota__http_call *call,
                    rota_http_response **ret_response);
    /* Reads from the body, not decoded. Returns 0 only at its end, and then the connection has been
     * given back. */
    ssize_t (*read)(rota_http_response *r, void *buf, size_t len);
    /* Releases the connection of a response that was not read to its end. */
    void (*drop)(rota_http_response *r);
};

extern const struct rota__http_kind rota__http_h1, rota__http_h2;

struct rota__http_conn {
    /* Both until the keeper has ended. */
    rota_http_session *session;
    struct rota__http_origin *origin;
    /* Nodes in the session's list of connections, in the origin's idle ones, and in the session's
     * idle ones. */
    struct rota__list all, idle, aged;
    rota_stream *stream;
    /* While its function runs. */
    rota_task *keeper;
    int refs;

    /* NULL until it is connected. */
    const struct rota__http_kind *kind;
    bool is_idle, is_over;
    /* Connecting has ended, with success or not. */
    bool is_made;
    bool reused;
    /* The keeper is inside a read. */
    bool watching;
    /* For the keeper: look again. */
    rota_event turn;
    /* For others: it is connected, or has failed, or bytes have arrived. */
    rota_event news;
    /* Its stream is closed. */
    rota_event closed;
    /* 0: since this turn of the loop. */
    rota_time idle_since;
    /* How long the server lets it be idle; ROTA_NEVER: unknown. */
    rota_time idle_limit;
    /* Ends it at `idle_limit`. */
    rota_handle expiry;
    /* Requests that the server still accepts on it; UINT64_MAX: unknown. */
    uint64_t left;

    /* Gets the phases of connecting. */
    struct rota__http_progress *starter;
    rota_http_phase failed_in;
    int err;
    char why[ROTA__HTTP_WHY];

    /* HTTP/2: */

    /* While it is open. */
    struct rota__http_shared *shared;
    /* Requests that hold it. More than one only if it is shared. */
    size_t users;
    /* Those of them that have not begun. */
    size_t reserved;
    /* It accepts no more requests. */
    bool is_leaving;

    /* HTTP/1.1: */

    struct rota__h1 h1;
    /* Belongs to the uploader while there is one. */
    struct rota__out out;
    /* While its task runs. */
    struct rota__http_upload *upload;
    /* Bytes at the front of the stream's buffer that the parser has reported as data. */
    size_t pending;
    /* The request was sent whole, and its uploader has ended. */
    bool sent;
};

/* Makes a connection to the origin, held by the call of `starter`, and starts its keeper. Returns 0
 * or -ENOMEM. */
int rota__http_conn_new(rota_http_session *session, struct rota__http_origin *origin,
                        struct rota__http_progress *starter, struct rota__http_conn **ret_conn);
/* Waits until it is connected. */
int rota__http_conn_ready(struct rota__http_conn *conn, struct rota__http_call *call);
/* Ends a connection: its place in the pool is free at once, and the keeper closes it. Does nothing
 * if it is over. Does not suspend. */
void rota__http_conn_close(struct rota__http_conn *conn);
/* Does the same, and gives the place to a waiter. */
void rota__http_conn_end(struct rota__http_conn *conn);
void rota__http_conn_unref(struct rota__http_conn *conn);

/* The connection is open: wakes the waiters. */
void rota__http_conn_opened(struct rota__http_conn *conn);
/* Whether a connection to the origin may turn out to be HTTP/2. */
bool rota__http_may_be_h2(const rota_http_session *session, const struct rota__http_origin *origin);
/* Watches the connection while it is idle. */
void rota__http_keep_watching(struct rota__http_conn *conn);
/* How many more requests a shared connection accepts now. */
size_t rota__http_h2_free(const struct rota__http_conn *conn);

/* Runs in the keeper's task: sets conn->stream and conn->kind. Returns 0, or an error described by
 * conn->why. */
int rota__http_connect(struct rota__http_conn *conn);

/* ---- The pool (client_pool.c) ---- */

/* Finds the origin or makes one. */
int rota__http_origin_get(rota_http_session *session, bool secure, bool only_h1,
                          const rota_host *host, int port, struct rota__http_origin **ret_origin);
void rota__http_origins_fini(rota_http_session *session);

/* Gets a connection for the call, connected or not. Waits for a place if necessary. `fresh`: one
 * that has not served a request. */
int rota__http_pool_take(struct rota__http_call *call, bool fresh,
                         struct rota__http_conn **ret_conn);
/* Gives a connection back after a complete exchange. */
void rota__http_pool_put(struct rota__http_conn *conn);
/* Gives a connection back without an exchange, or after one that failed (`asked`). */
void rota__http_pool_give_up(struct rota__http_conn *conn, bool asked);
/* The connection accepts no more requests. Those under way continue. */
void rota__http_pool_unshare(struct rota__http_conn *conn);
/* A place is free: serves the waiters. */
void rota__http_pool_serve(rota_http_session *session);
/* A shared connection accepts more requests: serves its waiters. */
void rota__http_pool_serve_shared(struct rota__http_conn *conn);
/* Connecting has ended. */
void rota__http_pool_made(struct rota__http_conn *conn);
/* Removes the connection from the pool. */
void rota__http_pool_forget(struct rota__http_conn *conn);
/* Ends the connection that has been idle longest and waits until its descriptor is free. Returns 1,
 * 0 (none is idle), -ECANCELED. */
int rota__http_pool_close_idle(rota_http_session *session);
/* Fails all waiters, and ends all connections. */
void rota__http_pool_close(rota_http_session *session);

/* ---- Bodies to send (client_body.c) ---- */

struct rota__http_source {
    /* What it points to is the caller's. */
    rota_http_body_source from;
    /* The file, part or name that failed, or NULL. */
    const char *about;
    /* Content-Type, if the kind of the body implies one. */
    rota_str type;
    /* `length` is known. */
    bool is_known;
    uint64_t length;
    /* The bytes, or the encoded form. */
    rota_str text;
    /* Bytes given out so far. */
    uint64_t at;
    rota_file *file;
    char *buf;
    bool began;
    /* The part of a multipart form whose head comes next. */
    size_t part;
    bool in_part;
    char boundary[ROTA__BOUNDARY_SIZE];
    /* The form's text, or a part's head. */
    struct rota__out made;
};

/* Finds out kind, type and length. Suspends for files. */
int rota__http_source_init(struct rota__http_source *source, const rota_http_body_source *from,
                           struct rota__arena *arena);
void rota__http_source_fini(struct rota__http_source *source);
bool rota__http_source_is_empty(const rota_http_body_source *from);
/* Whether it is in memory and short enough to be sent with the head. */
bool rota__http_source_is_short(const struct rota__http_source *source);
/* Whether it can be sent from its beginning: not a stream that has been read. */
bool rota__http_source_can_rewind(const struct rota__http_source *source);
/* Goes back to the beginning. Returns 0, -ESPIPE (a stream that has been read), or an error of the
 * file. */
int rota__http_source_rewind(struct rota__http_source *source);
/* Gets the next piece, valid until the next call. Empty at the end. */
int rota__http_source_next(struct rota__http_source *source, rota_str *ret_piece);

/* ---- Uploads: bodies that are sent while the response is read (client_upload.c) ---- */

struct rota__http_upload {
    struct rota__http_source source;
    /* A reference. */
    struct rota__http_conn *conn;
    /* The waiting call's, or NULL. */
    struct rota__http_progress *progress;
    /* Runs in the uploader's task, even if the upload was stopped before it began. Handles failures
     * as its protocol requires. */
    int (*send)(struct rota__http_upload *upload);
    /* HTTP/2: the stream. */
    void *exchange;
    /* HTTP/1.1. */
    struct rota__h1_writer writer;
    /* The caller's. */
    const char *const *trailers;
    size_t trailer_count;
    rota_time gap;

    int refs;
    /* While its function runs. */
    rota_task *task;
    /* It has ended. */
    rota_event over;
    /* The rest is not needed any more. */
    bool is_stopped;
    /* The call has returned: the source belongs to the uploader. */
    bool is_ours;
    /* It waits for the source, not for the server. */
    bool is_asking;
    /* The server accepts no more. It may have sent a reason. */
    bool is_gone;
    /* Everything was sent. */
    bool is_whole;
    int err;
};

/* Begins to send the call's body. The source belongs to the upload until it is recalled. Returns 0
 * or -ENOMEM. */
int rota__http_upload_start(struct rota__http_call *call, const struct rota__http_upload *from);
/* Gets the next piece, for `send`. */
int rota__http_upload_next(struct rota__http_upload *upload, rota_str *ret_piece);
/* The server has accepted some bytes. */
void rota__http_upload_moved(struct rota__http_upload *upload);
/* Keeps the text of a failure. Returns `err`. */
int rota__http_upload_say(struct rota__http_upload *upload, int err, const char *words);
/* Tells it to end. Accepts NULL. Does not suspend. */
void rota__http_upload_cancel(struct rota__http_upload *upload);
/* Tells it to end and waits for that, except outside tasks. Shields itself. */
void rota__http_upload_stop(struct rota__http_upload *upload);
/* Waits until everything was sent. Returns 0, its error, -ECANCELED, -ETIMEDOUT. */
int rota__http_upload_wait(struct rota__http_upload *upload);
/* Returns the upload's error where it is the cause of `err`, otherwise `err`. */
int rota__http_upload_verdict(const struct rota__http_upload *upload, bool began, int err);
void rota__http_upload_unref(struct rota__http_upload *upload);
/* Ends the call's upload, if there is one: the source is the call's again. */
void rota__http_upload_recall(struct rota__http_call *call);
/* Does so, and rewinds the source, so that the request can be sent again. Returns 0, -ESPIPE (a
 * stream that has been read), or an error of the file. */
int rota__http_upload_take_back(struct rota__http_call *call);
/* The call is over. Its upload continues if a response has it. */
void rota__http_upload_leave(struct rota__http_call *call);
/* Gives the response a reference to the call's upload. */
void rota__http_response_adopt(rota_http_response *r, struct rota__http_call *call);
/* Ends the response's upload. */
void rota__http_response_stop(rota_http_response *r);

/* ---- Trailers of a request (client_trailers.c) ---- */

/* Counts those of the call's options. Returns 0, or -EINVAL for one that cannot be sent. */
int rota__http_trailers_check(struct rota__http_call *call);
/* Makes the value of Trailer: "Name, Name". */
int rota__http_trailers_announce(struct rota__http_call *call, rota_str *ret_names);
/* Gets the next one. `*at` begins with 0. */
bool rota__http_trailers_next(const struct rota__http_upload *upload, size_t *at,
                              rota_http_field *ret_field);
/* Its value cannot be sent. Returns -EINVAL. */
int rota__http_trailers_refuse(struct rota__http_upload *upload, rota_str name);

/* ---- Calls (client_fetch.c) ---- */

/* One that was followed. */
struct rota__http_redirect {
    struct rota__http_redirect *next;
    rota_str url;
    int status;
};

struct rota__http_call {
    rota_http_session *session;
    const rota_http_fetch_options *options;
    struct rota__http_progress progress;
    struct rota__arena arena;
    /* The URL, without userinfo and fragment. */
    rota_str text;
    rota_url url;
    bool secure;
    struct rota__http_origin *origin;
    /* Those of the URL, or of the session for this origin; or NULL. */
    struct rota__http_credentials *credentials;
    /* Whether the client adds the header. Not if the caller does, or there are no credentials. */
    bool adds_credentials[ROTA__HTTP_SIDES];
    struct rota__http_auth auth[ROTA__HTTP_SIDES];

    rota_str method, target, authority;
    rota_http_field *fields;
    size_t count;
    struct rota__http_source source;
    /* Has the source, while it is not NULL. */
    struct rota__http_upload *upload;
    bool has_body;
    /* Of the options. */
    size_t trailer_count;

    /* To another origin: fields for the first one are not sent. */
    bool moved;
    /* Bytes of a response have arrived. */
    bool began;
    /* The server has not processed the request. */
    bool refused;
    /* The server requires HTTP/1.1. */
    bool wants_h1;
    /* HTTP/1.1 is used from now on. */
    bool only_h1;
    /* In the queue for a connection. 0: it has not waited yet. */
    uint64_t ticket;
    /* How many are followed at most. */
    int redirects;
    /* `backoff` is to be used. */
    bool retries;
    rota_backoff backoff;
    rota_time gap;
    struct rota__http_redirect *history, *last_redirect;
};

/* The body, which an upload may have. */
static inline const struct rota__http_source *
rota__http_call_source(const struct rota__http_call *call)
{
    return call->upload ? &call->upload->source : &call->source;
}

/* (client_request.c) Returns why no request can be sent to such a URL, such as "has no host"; or
 * NULL, and its host. */
const char *rota__http_url_wrong(const rota_url *url, rota_host *ret_host);
/* Sets the URL, which may be relative to the session's base. */
int rota__http_call_set_url(struct rota__http_call *call, const char *url);
/* Sets the URL of a redirect, which may be relative to the call's. */
int rota__http_call_move(struct rota__http_call *call, rota_str reference);
/* Uses HTTP/1.1 from now on. */
int rota__http_call_downgrade(struct rota__http_call *call);
/* Puts the request together: target, authority, fields. */
int rota__http_call_write(struct rota__http_call *call);
/* Says why a header field cannot be sent. Returns -EINVAL. */
int rota__http_refuse_field(struct rota__http_progress *p, rota_str name, rota_str value);
/* The same, to follow the field's name in an error text. */
const char *rota__http_field_wrong(rota_str value);
bool rota__http_is_idempotent(rota_str method);
struct rota__cookie_target rota__http_cookie_target(const struct rota__http_call *call);

/* (client_retry.c) An exchange has failed with `err`, or returned `*r`. Returns 1 after a pause
 * (the request is to be sent again; `*r` was freed), `err`, or what ended the pause. */
int rota__http_retry(struct rota__http_call *call, int err, rota_http_response **r);

/* (client_redirect.c) Returns 1 (a redirect: the call has its next URL and method), 0, or an
 * error. */
int rota__http_follow(struct rota__http_call *call, rota_http_response *r);

/* ---- Responses (client_response.c, client_read.c) ---- */

struct rota_http_response {
    /* Contains the response itself. */
    struct rota__arena arena;
    /* Until the end of the body. */
    struct rota__http_conn *conn;
    /* HTTP/2: the stream. */
    void *exchange;
    /* Until it has ended, or the body. */
    struct rota__http_upload *upload;
    /* After an upgrade. */
    rota_stream *stream;
    /* The call's; once that has returned, `own`. */
    struct rota__http_progress *progress;
    struct rota__http_progress own;

    int status;
    rota_str reason, version;
    rota_http_field *fields, *trailers;
    size_t count, trailer_count;
    rota_str url;
    struct rota__http_redirect *history;

    bool keep_alive;
    bool has_length;
    uint64_t length;
    /* The whole body has arrived. */
    bool is_here;
    /* For a body that is read whole. */
    uint64_t limit;
    rota_time gap;
    /* Why no challenge was answered. */
    const char *auth_error;
    /* Reading has failed for good. */
    int err;
    /* The error of the last call that read. */
    int failed;
    /* Its text, made on demand. */
    const char *words;

    bool raw_ended, ended;
    bool is_whole;
    /* The whole body; lent by the arena if it fitted. */
    struct rota__out body;
    /* Bytes of it that rota_http_read has returned. */
    size_t given;

    struct rota__decoder *decoder;
    /* Bytes that are not decoded yet. */
    char *coded;
    rota_str left;

    struct rota__sse sse;
    bool has_sse;
    /* Bytes that are not parsed as events yet. */
    char *text;
    rota_str text_left;
    rota_http_event event;
};

struct rota__http_head {
    int status;
    rota_str reason, version;
    const rota_http_field *fields;
    size_t count;
    bool has_length, bodiless;
    uint64_t length;
    /* Bytes that have arrived after it. */
    size_t behind;
    bool keep_alive;
};

/* Makes a response from its head. Returns 0 or -ENOMEM. */
int rota__http_response_new(struct rota__http_call *call, const struct rota__http_head *head,
                            rota_http_response **ret_response);
/* Completes the response that the caller gets: its URL and redirects, and how to read its body. */
int rota__http_response_finish(rota_http_response *r, const struct rota__http_call *call);
/* The call is over: the response uses its own progress from now on. */
void rota__http_response_detach(rota_http_response *r);
/* Keeps the trailers. Returns 0 or -ENOMEM. */
int rota__http_response_trailers(rota_http_response *r, const rota_http_field *fields,
                                 size_t count);
/* The end of the body has arrived; the connection has been given back. */
void rota__http_response_ended(rota_http_response *r);
/* Reads a short body to its end, so that the connection can be used again. Does nothing if the
 * request was not sent whole. */
void rota__http_response_read_off(rota_http_response *r);
/* Reads the rest of the body. */
int rota__http_read_whole(rota_http_response *r, uint64_t limit);
/* Reads from the body, not decoded. Returns 0 at its end. */
ssize_t rota__http_read_raw(rota_http_response *r, void *buf, size_t len);

#endif
