/* Inside the client: a session, its pool of connections, and what a request goes through.
 *
 *     rota_http_fetch     a call: requests one after another, until one is not redirected
 *                         client_fetch.c
 *       request           what is sent: URL, fields, body
 *                         client_request.c, _body.c
 *       authentication    credentials, challenges, and answers to them
 *                         client_auth.c
 *       pool              a connection for it, or a place for a new one
 *                         client_pool.c
 *       keeper            the connection's own task: connects, watches while idle, closes
 *                         client_keeper.c, _connect.c
 *       exchange          request out, answer in: HTTP/1.1 or HTTP/2, behind a vtable
 *                         client_h1.c, client_h2.c
 *       upload            a body that is sent beside the reading, by a task of its own
 *                         client_upload.c, _trailers.c
 *     rota_http_response  the answer's head, and its body as it is read
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
#define ROTA__HTTP_ORIGINS 64 /* buckets */
#define ROTA__HTTP_ADDRESSES 16
#define ROTA__HTTP_INTERIMS 20         /* responses of 1xx before the final one */
#define ROTA__HTTP_TRAILERS 100        /* of a request */
#define ROTA__HTTP_CONSENT ROTA_SECOND /* how long 100 (Continue) is waited for */

struct rota__http_conn;
struct rota__http_call;

/* ---- Progress: where a request is, until when, and why it failed (client_progress.c) ---- */

struct rota__http_progress {
    const rota_http_session *session; /* NULL: it is gone */
    rota_str method, url, where;      /* where: "localhost:80" */
    rota_http_phase phase;
    bool reused;
    int status;
    rota_time began, total, ends;
    rota_time now; /* the clock, if nobody has waited since it was read: */
    bool is_now;
    rota_time times[ROTA__HTTP_PHASES]; /* since `began`; -1 */

    rota_timeout scope; /* the earlier of `ends` and what the phase may take */
    bool is_open;
    bool is_late;  /* its deadline had passed when it was closed */
    bool is_total; /* the scope's deadline is `ends` */
    rota_http_limit limit;
    rota_time limit_time;
    rota_http_limit passed; /* the one that ended a wait: */
    rota_time passed_time;
    bool is_callers; /* it was the caller's deadline */

    /* Why a failure with the code `why_err` happened: "Connection refused". Failures with another
     * code have no words of their own. */
    int why_err;
    /* The URL and the options were taken; the request is on its way. */
    bool is_prepared;
    char why[ROTA__HTTP_WHY];
};

void rota__http_enter(struct rota__http_progress *p, rota_http_phase phase);
/* The request has ended, with `err`; the phase stays the one that failed. */
void rota__http_done(struct rota__http_progress *p, int err);
/* From now on waiting ends after `time`, and at `ends` anyway. */
void rota__http_limit(struct rota__http_progress *p, rota_http_limit limit, rota_time time);
/* Closes the scope. Returns `err`, and notes which deadline it was that passed. */
int rota__http_unlimit(struct rota__http_progress *p, int err);
/* Keeps the words for a failure with this code. Returns `err`. */
int rota__http_say(struct rota__http_progress *p, int err, const char *format, ...)
    ROTA_PRINTF(3, 4);
/* A request is about to be sent, perhaps again: no failure of an earlier try counts. */
void rota__http_restart(struct rota__http_progress *p);
/* "connecting to localhost:80: Connection refused", into `ret_words`. */
void rota__http_words(const struct rota__http_progress *p, int err, char *ret_words, size_t size);
/* Makes it the failure of the task, with a detail that knows phase and limit. Returns `err`. */
int rota__http_fail(const struct rota__http_progress *p, int err);
/* A failure with words of its own and no limit. Returns `err`. */
int rota__http_set_error(rota_http_phase phase, int err, const char *format, ...) ROTA_PRINTF(3, 4);

/* ---- Authentication (client_auth.c) ---- */

/* Credentials for a server or proxy. */
struct rota__http_credentials {
    rota_str user, password; /* decoded */
    /* Of Basic or Bearer. Empty: neither may be sent. */
    rota_str value;
    bool is_preemptive; /* `value` goes with each request, whatever the server asks for */
    const char *wrong;  /* why they cannot be sent */
};

/* A challenge that is being answered: one nonce of Digest, or Basic. Shared by the requests that
 * use it, and by the cache. */
struct rota__http_auth_state {
    struct rota__http_auth_state *next; /* in the cache */
    int refs;
    bool is_digest; /* else Basic */
    struct rota__digest digest;
    char cnonce[ROTA__DIGEST_CNONCE];
    struct rota__out text; /* the user that it is for, and the digest's slices */
    size_t user_len;
};

/* What an origin or a proxy has asked for, the latest first; one for each user and realm. */
struct rota__http_auth_cache {
    /* Of an origin's cache: how many share it. */
    int refs;
    struct rota__http_auth_state *first;
};

/* What one request has sent to a server or a proxy. All zeros: nothing yet. */
struct rota__http_auth {
    struct rota__http_auth_state *state; /* that it carries; NULL: none */
    int attempts;                        /* challenges that were answered */
};

/* The server's, or the proxy's. */
enum rota__http_side { ROTA__HTTP_SERVER, ROTA__HTTP_PROXY, ROTA__HTTP_SIDES };

/* Makes credentials in `arena`: of user and password, of a token for Bearer, of what stands in a
 * URL. Returns 0, -EINVAL, -ENOMEM. */
int rota__http_credentials_new(struct rota__arena *arena, rota_str user, rota_str password,
                               struct rota__http_credentials **ret_credentials);
int rota__http_credentials_bearer(struct rota__arena *arena, rota_str token,
                                  struct rota__http_credentials **ret_credentials);
int rota__http_credentials_parse(struct rota__arena *arena, rota_str userinfo,
                                 struct rota__http_credentials **ret_credentials);
/* Gets them ready for HTTP. Returns 0, -EINVAL (`wrong` says why they cannot be sent), -ENOMEM. */
int rota__http_credentials_use(struct rota__arena *arena, rota_http_auth auth,
                               struct rota__http_credentials *credentials);

/* A request, as answers to challenges see it. */
struct rota__http_auth_request {
    rota_str method, uri;
    bool has_bytes; /* the body is here, or there is none: */
    rota_str body;
};

/* The head of a 401 or 407. */
struct rota__http_challenge_fields {
    enum rota__http_side side;
    const rota_http_field *fields;
    size_t count;
};

/* The value of Authorization or Proxy-Authorization: in `arena`, or the credentials'. Empty:
 * nothing is to be sent yet. Notes in `auth` what it is. Returns 0 or -ENOMEM. */
int rota__http_auth_write(struct rota__arena *arena,
                          const struct rota__http_credentials *credentials,
                          const struct rota__http_auth_request *request,
                          const struct rota__http_auth_cache *cache, struct rota__http_auth *auth,
                          rota_str *ret_value);
/* A server or proxy has refused the request that `auth` is about. `credentials` may be NULL.
 * Returns 1: rota__http_auth_write has an answer; 0: no challenge can be answered, or the
 * credentials are wrong, and `ret_why` says so; or an error. */
int rota__http_auth_challenge(const struct rota__http_credentials *credentials,
                              const struct rota__http_auth_request *request,
                              const struct rota__http_challenge_fields *fields,
                              struct rota__http_auth_cache *cache, struct rota__http_auth *auth,
                              char ret_why[ROTA__HTTP_WHY]);
/* The next request is another one: it has answered nothing. */
void rota__http_auth_reset(struct rota__http_auth *auth);
void rota__http_auth_cache_fini(struct rota__http_auth_cache *cache);
/* Frees a cache of origins with its last one. */
void rota__http_auth_cache_unref(struct rota__http_auth_cache *cache);

/* Whether to send the call's request once more, because `r` has a challenge that can be answered.
 * Returns 1, 0 (and stores in `r` why not), or an error. */
int rota__http_authenticate(struct rota__http_call *call, rota_http_response *r);
/* Adds what is to be said to the call's fields. */
int rota__http_add_authorization(struct rota__http_call *call);
/* What follows is another request, or a new try. Also frees what the call has. */
void rota__http_call_reset_auth(struct rota__http_call *call);

/* ---- Sessions (client_session.c) ---- */

/* Where connections go when not to the host itself. */
struct rota__http_proxy {
    enum rota__proxy_kind kind;
    /* To look up; and "localhost:80". */
    char *host, *where;
    int port;
    /* NULL: there is no user. */
    struct rota__http_credentials *credentials;
    struct rota__http_auth_cache *auth;
    /* Why the setting is not usable; NULL: it is. */
    char *wrong;
};

static inline bool rota__http_is_socks(const struct rota__http_proxy *proxy)
{
    return proxy->kind == ROTA__PROXY_SOCKS5 || proxy->kind == ROTA__PROXY_SOCKS5H;
}

/* Scheme, host and port: what shares connections, credentials and a line to wait in. */
struct rota__http_origin {
    struct rota__list node;
    bool secure;
    bool only_h1; /* for upgrades, which HTTP/2 has not */
    int port;
    rota_host host;
    const char *name;   /* to look up: the host's text, with its final dot */
    rota_str authority; /* "localhost:80", NUL-terminated; no zone */
    const struct rota__http_proxy *proxy;
    size_t uses; /* calls that are for it */

    size_t open;                    /* connections, and those that are being made */
    struct rota__list idle;         /* the newest first */
    struct rota__list line;         /* waiters, the first one first */
    struct rota__list hungry;       /* in the session's, while a request waits */
    struct rota__http_conn *shared; /* of HTTP/2, which takes several requests at once */
    size_t making;                  /* connections that are being made */
    bool may_share; /* of those, the first will tell whether it can be shared: one is enough */

    rota_mutex lookup; /* one looks up, the others wait for what it finds */
    rota_address addresses[ROTA__HTTP_ADDRESSES];
    int count;
    rota_time expires;

    /* Shared by the two origins of one scheme, host and port: with HTTP/1.1 only, and without that
     * limit. */
    struct rota__http_auth_cache *auth;
};

/* Whether its requests go to a proxy, and not through one. Upgrades go through (RFC 6455, section
 * 4.1). */
static inline bool rota__http_asks_proxy(const struct rota__http_origin *o)
{
    return o->proxy && !o->secure && !o->only_h1 && !rota__http_is_socks(o->proxy);
}

struct rota_http_session {
    int uses; /* the owner's, and one for each call */
    bool closed;
    rota_http_session_options options; /* with the defaults filled in */
    struct rota__arena arena;          /* what the options point to */
    rota_str base_text;
    rota_url base;
    rota_http_field *fields; /* sent with each request */
    size_t field_count;
    struct rota__http_credentials *credentials; /* for the origin of `base` */
    bool once;                                  /* closes its connection after the first answer */
    rota_tls_context *own_tls, *proxy_tls;      /* where the user has none */
    bool pins;
    unsigned char pin[32];
    struct rota__http_proxy *http_proxy, *https_proxy;
    const char *no_proxy;

    struct rota__list origins[ROTA__HTTP_ORIGINS];
    size_t origin_count;
    struct rota__http_origin *last; /* that was asked for */
    size_t open;                    /* connections, and those that are being made */
    struct rota__list conns, idle;  /* idle: the newest first */
    struct rota__list hungry;       /* origins with a line; whose first came first, first */
    uint64_t ticket;
    size_t keepers;
    rota_event gone; /* the last keeper has ended */
    rota_handle watch, expiry;
    struct rota__cookie_jar jar;
    rota_http_field *head; /* of a head that is being read; nobody suspends meanwhile */
};

void rota__http_session_unref(rota_http_session *session);

/* Of a response, over HTTP/1.1. */
struct rota__h1_limits rota__http_head_limits(const rota_http_session *session);

/* Finds out which proxies there are; fills in session->*_proxy. Returns 0, -EINVAL, -ENOMEM. */
int rota__http_proxies_init(rota_http_session *session);
void rota__http_proxies_fini(rota_http_session *session);
/* The proxy for a host, or NULL. */
const struct rota__http_proxy *rota__http_proxy_for(const rota_http_session *session, bool secure,
                                                    const rota_host *host, int port);

/* ---- Connections (client_keeper.c) ---- */

struct rota__http_kind {
    /* The keeper of an open connection, until it is to be closed. */
    void (*keep)(struct rota__http_conn *conn);
    /* Sends the call's request and receives the head of its answer. If it fails, the connection is
     * still the caller's. */
    int (*exchange)(struct rota__http_conn *conn, struct rota__http_call *call,
                    rota_http_response **ret_response);
    /* Reads from the body as it came; at its end, and only then, 0, and the connection has been
     * given back. */
    ssize_t (*read)(rota_http_response *r, void *buf, size_t len);
    /* Lets go of an answer that was not read to its end. */
    void (*drop)(rota_http_response *r);
};

extern const struct rota__http_kind rota__http_h1, rota__http_h2;

struct rota__http_conn {
    rota_http_session *session; /* this and the origin until the keeper has ended */
    struct rota__http_origin *origin;
    struct rota__list all, idle, aged; /* in the session's, the origin's, the session's idle ones */
    rota_stream *stream;
    rota_task *keeper; /* while its function runs */
    int refs;

    const struct rota__http_kind *kind; /* NULL: not connected yet */
    bool is_idle, is_over;
    bool is_made; /* or will never be */
    bool reused;
    bool watching;   /* the keeper is inside a read */
    rota_event turn; /* the keeper's */
    rota_event news; /* connected, or failed, or bytes have come */
    /* Its stream is closed. */
    rota_event closed;
    rota_time idle_since; /* 0: since this turn */
    rota_time patience;   /* how long the server may be kept waiting; ROTA_NEVER: it has not said */
    rota_handle expiry;   /* of its patience, while the connection is idle */
    uint64_t left;        /* requests that the server takes on it; UINT64_MAX: it has not said */

    struct rota__http_progress *starter; /* whose phases these are while it connects */
    rota_http_phase failed_in;
    int err;
    char why[ROTA__HTTP_WHY];

    /* of HTTP/2 */
    struct rota__http_shared *shared; /* while it is open */
    /* requests that have taken it; more than one only if it is shared */
    size_t users;
    size_t reserved; /* of those, the ones not begun yet */
    bool is_leaving; /* it takes no more requests */

    /* of HTTP/1.1 */
    struct rota__h1 h1;
    struct rota__out out;             /* the uploader's, while there is one */
    struct rota__http_upload *upload; /* while its task runs */
    size_t pending; /* bytes at the stream's front that the parser has passed as data */
    bool sent;      /* the request went out whole, and nobody writes any more */
};

/* Makes a connection to the origin, which counts from now on. It is busy, for the call of that
 * progress. Returns 0 or -ENOMEM. */
int rota__http_conn_new(rota_http_session *session, struct rota__http_origin *origin,
                        struct rota__http_progress *starter, struct rota__http_conn **ret_conn);
/* Waits until it is connected. */
int rota__http_conn_ready(struct rota__http_conn *conn, struct rota__http_call *call);
/* Ends a connection, if it is not over already: the keeper closes it, its place in the pool is
 * free. Does not suspend. */
void rota__http_conn_close(struct rota__http_conn *conn);
/* The same, and gives the place to a waiter. */
void rota__http_conn_end(struct rota__http_conn *conn);
void rota__http_conn_unref(struct rota__http_conn *conn);

/* The keeper has opened it: wakes the waiters. */
void rota__http_conn_opened(struct rota__http_conn *conn);
/* Whether it is HTTP/2 that is spoken there, once it is connected. */
bool rota__http_may_be_h2(const rota_http_session *session, const struct rota__http_origin *origin);
/* A keeper that watches while the connection is idle. */
void rota__http_keep_watching(struct rota__http_conn *conn);
/* Requests that a shared connection may take now. */
size_t rota__http_h2_free(const struct rota__http_conn *conn);

/* In the keeper's task: makes conn->stream and conn->kind. Returns 0 or an error, with words in
 * conn->why. */
int rota__http_connect(struct rota__http_conn *conn);

/* ---- The pool (client_pool.c) ---- */

/* Finds the origin or makes one. */
int rota__http_origin_get(rota_http_session *session, bool secure, bool only_h1,
                          const rota_host *host, int port, struct rota__http_origin **ret_origin);
void rota__http_origins_fini(rota_http_session *session);

/* A connection for the call, connected or not; waits for a place if it has to. `fresh`: none that
 * has served. */
int rota__http_pool_take(struct rota__http_call *call, bool fresh,
                         struct rota__http_conn **ret_conn);
/* Its exchange is over, and has left it in order. */
void rota__http_pool_put(struct rota__http_conn *conn);
/* There was no exchange, or it has failed. */
void rota__http_pool_give_up(struct rota__http_conn *conn, bool asked);
/* It takes no more requests; those that it has go on. */
void rota__http_pool_unshare(struct rota__http_conn *conn);
/* A place has become free: serves the waiters. */
void rota__http_pool_serve(rota_http_session *session);
/* A shared connection takes more requests: serves its waiters. */
void rota__http_pool_serve_shared(struct rota__http_conn *conn);
/* It is not being made any more. */
void rota__http_pool_made(struct rota__http_conn *conn);
/* Takes the connection out of the pool. */
void rota__http_pool_forget(struct rota__http_conn *conn);
/* Ends the connection that has been idle longest and waits until its descriptor is free. Returns 1,
 * 0 (none is idle), -ECANCELED. */
int rota__http_pool_close_idle(rota_http_session *session);
/* Wakes all waiters with an error, and ends all connections. */
void rota__http_pool_close(rota_http_session *session);

/* ---- Bodies to send (client_body.c) ---- */

struct rota__http_source {
    rota_http_body_source from; /* what it points to is the caller's */
    const char *about; /* what failed: a file, a part, a name; NULL: nothing that has one */
    rota_str type;     /* of the content, where its kind says it */
    bool is_known;     /* how long it is: */
    uint64_t length;
    rota_str text; /* of a form; bytes */
    uint64_t at;   /* how much of it was given out */
    rota_file *file;
    char *buf;
    bool began;
    size_t part; /* of a multipart, whose head is next */
    bool in_part;
    char boundary[ROTA__BOUNDARY_SIZE];
    struct rota__out made; /* the form's text; a part's head */
};

/* Finds out kind, type and length. Suspends for files. */
int rota__http_source_init(struct rota__http_source *source, const rota_http_body_source *from,
                           struct rota__arena *arena);
void rota__http_source_fini(struct rota__http_source *source);
bool rota__http_source_is_empty(const rota_http_body_source *from);
/* Whether it is in memory, and so short that it goes out with the head. */
bool rota__http_source_is_short(const struct rota__http_source *source);
/* Whether it can be sent from its beginning: not a stream that has been read. */
bool rota__http_source_can_rewind(const struct rota__http_source *source);
/* To the beginning again. Returns 0, -ESPIPE: a stream that has been read. */
int rota__http_source_rewind(struct rota__http_source *source);
/* The next piece, valid until the next call; empty at the end. */
int rota__http_source_next(struct rota__http_source *source, rota_str *ret_piece);

/* ---- Uploads: bodies that are sent beside the reading of the answer (client_upload.c) ---- */

struct rota__http_upload {
    struct rota__http_source source;
    struct rota__http_conn *conn; /* a reference */
    /* The progress of the waiting call; NULL: none waits any more. */
    struct rota__http_progress *progress;
    /* Sends it, in the uploader's task; also when it is stopped before it began. What it does about
     * a failure is its protocol's. */
    int (*send)(struct rota__http_upload *upload);
    void *exchange;                /* of HTTP/2: the stream */
    struct rota__h1_writer writer; /* of HTTP/1.1 */
    const char *const *trailers;   /* the caller's: */
    size_t trailer_count;
    rota_time gap;

    int refs;
    rota_task *task; /* while its function runs */
    rota_event over; /* it has ended */
    bool is_stopped; /* nobody wants it any more */
    bool is_ours;    /* the call has left: the source is the uploader's */
    bool is_asking;  /* the source is waited for, not the server */
    bool is_gone;    /* the server takes no more; it may have said why */
    bool is_whole;   /* all was sent */
    int err;
};

/* Begins to send the call's body, whose source is the upload's until it is recalled. Returns 0 or
 * -ENOMEM. */
int rota__http_upload_start(struct rota__http_call *call, const struct rota__http_upload *from);
/* The next piece, for its `send`. */
int rota__http_upload_next(struct rota__http_upload *upload, rota_str *ret_piece);
/* The server has taken something. */
void rota__http_upload_moved(struct rota__http_upload *upload);
/* It fails with these words. Returns `err`. */
int rota__http_upload_say(struct rota__http_upload *upload, int err, const char *words);
/* Ends it; it may take a while. NULL: there is none. Does not suspend. */
void rota__http_upload_cancel(struct rota__http_upload *upload);
/* Ends it, and waits for that, unless this is no task. Shields itself. */
void rota__http_upload_stop(struct rota__http_upload *upload);
/* Waits until all has been sent. Returns 0, why it failed, -ECANCELED, -ETIMEDOUT. */
int rota__http_upload_wait(struct rota__http_upload *upload);
/* What a failure of the exchange comes from: the upload's own, where that counts. */
int rota__http_upload_verdict(const struct rota__http_upload *upload, bool began, int err);
void rota__http_upload_unref(struct rota__http_upload *upload);
/* Ends the call's upload, if there is one: the source is the call's again. */
void rota__http_upload_recall(struct rota__http_call *call);
/* Does so, and rewinds the source, so that the request can be sent again. Returns 0, -ESPIPE (a
 * stream that has been read), or an error of the file. */
int rota__http_upload_take_back(struct rota__http_call *call);
/* The call is over; its upload goes on, if a response has it. */
void rota__http_upload_leave(struct rota__http_call *call);
/* The response's: begins to be; is ended. */
void rota__http_response_adopt(rota_http_response *r, struct rota__http_call *call);
void rota__http_response_stop(rota_http_response *r);

/* ---- Trailers of a request (client_trailers.c) ---- */

/* Whether those of the call's options can be sent; counts them. Returns 0 or -EINVAL. */
int rota__http_trailers_check(struct rota__http_call *call);
/* "Name, Name": the value of Trailer. */
int rota__http_trailers_announce(struct rota__http_call *call, rota_str *ret_names);
/* The next one behind the body; `*at` begins with 0. */
bool rota__http_trailers_next(const struct rota__http_upload *upload, size_t *at,
                              rota_http_field *ret_field);
/* Its value cannot be sent. Returns -EINVAL. */
int rota__http_trailers_refuse(struct rota__http_upload *upload, rota_str name);

/* ---- Calls (client_fetch.c) ---- */

struct rota__http_hop {
    struct rota__http_hop *next;
    rota_str url;
    int status;
};

struct rota__http_call {
    rota_http_session *session;
    const rota_http_fetch_options *options;
    struct rota__http_progress progress;
    struct rota__arena arena;
    rota_str text; /* the URL, without userinfo and fragment */
    rota_url url;
    bool secure;
    struct rota__http_origin *origin;
    /* that the URL said, or the session has for this origin */
    struct rota__http_credentials *credentials;
    bool adds_credentials[ROTA__HTTP_SIDES]; /* else its caller does, or nobody */
    struct rota__http_auth auth[ROTA__HTTP_SIDES];

    rota_str method, target, authority;
    rota_http_field *fields;
    size_t count;
    struct rota__http_source source;
    struct rota__http_upload *upload; /* that has the source */
    bool has_body;
    size_t trailer_count; /* of the options */

    bool moved;      /* to another origin: what was meant for the first one is not sent */
    bool began;      /* bytes of an answer have come */
    bool refused;    /* the server has said that it did nothing */
    bool wants_h1;   /* ... and wants to be asked by HTTP/1.1 */
    bool only_h1;    /* it is, from now on */
    bool is_busy;    /* ... and that it could not; else it has moved on to another connection */
    uint64_t ticket; /* in the line; 0: it has not been there */
    int redirects;
    bool retries; /* by this policy: */
    rota_backoff backoff;
    rota_time gap;
    struct rota__http_hop *hops, *last_hop;
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
/* Takes the URL, relative to the session's or, of a redirect, to the call's. */
int rota__http_call_set_url(struct rota__http_call *call, const char *url);
int rota__http_call_move(struct rota__http_call *call, rota_str reference);
/* From now on it is asked by HTTP/1.1. */
int rota__http_call_downgrade(struct rota__http_call *call);
/* Puts the request together: target, authority, fields. */
int rota__http_call_write(struct rota__http_call *call);
bool rota__http_is_idempotent(rota_str method);
struct rota__cookie_target rota__http_cookie_target(const struct rota__http_call *call);

/* (client_retry.c) An exchange has failed, with `err`, or brought `*r`. Returns 1 after a pause:
 * ask again, and `*r` is freed; or `err`; or what ended the pause. */
int rota__http_retry(struct rota__http_call *call, int err, rota_http_response **r);

/* (client_redirect.c) Whether the answer leads on: 1, and the call has its next URL and method; 0;
 * or an error. */
int rota__http_follow(struct rota__http_call *call, rota_http_response *r);

/* ---- Responses (client_response.c, client_read.c) ---- */

struct rota_http_response {
    struct rota__arena arena;             /* in which it lies itself */
    struct rota__http_conn *conn;         /* until the body's end */
    void *exchange;                       /* of HTTP/2: the stream */
    struct rota__http_upload *upload;     /* until its end, or that of the body */
    rota_stream *stream;                  /* after an upgrade */
    struct rota__http_progress *progress; /* the call's, then `own` */
    struct rota__http_progress own;

    int status;
    rota_str reason, version;
    rota_http_field *fields, *trailers;
    size_t count, trailer_count;
    rota_str url;
    struct rota__http_hop *hops;

    bool keep_alive;
    bool has_length;
    uint64_t length;
    bool is_here;   /* all of the body has come */
    uint64_t limit; /* of a body that is read whole */
    rota_time gap;
    int err; /* reading has failed: for good */
    /* Why no challenge was answered. */
    const char *auth_error;
    int failed;        /* of the last call that read: */
    const char *words; /* made when somebody asks */

    bool raw_ended, ended;
    bool is_whole;
    struct rota__out body; /* read whole; lent by the arena if it fitted */
    size_t given;          /* bytes of it that rota_http_read has given out */

    struct rota__decoder *decoder;
    char *coded; /* what came and is not decoded yet */
    rota_str left;

    struct rota__sse sse;
    bool has_sse;
    char *text; /* what came for the events */
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
    size_t behind; /* bytes that have come behind it */
    bool keep_alive;
};

/* Of a head that has come for a call. Returns 0 or -ENOMEM. */
int rota__http_response_new(struct rota__http_call *call, const struct rota__http_head *head,
                            rota_http_response **ret_response);
/* It is the one that the caller gets: it says where it came from, and how its body is to be
 * read. */
int rota__http_response_finish(rota_http_response *r, const struct rota__http_call *call);
/* The call is over: what it says from now on, it says itself. */
void rota__http_response_detach(rota_http_response *r);
/* Keeps the fields behind the body. Returns 0 or -ENOMEM. */
int rota__http_response_trailers(rota_http_response *r, const rota_http_field *fields,
                                 size_t count);
/* The body's end has come; the connection has been given back. */
void rota__http_response_ended(rota_http_response *r);
/* Reads a short answer to its end, so that its connection can be used again; not where the request
 * was not sent whole. */
void rota__http_response_read_off(rota_http_response *r);
/* Reads all of it that is left. */
int rota__http_read_whole(rota_http_response *r, uint64_t limit);
/* From the body as it came; 0 at its end. */
ssize_t rota__http_read_raw(rota_http_response *r, void *buf, size_t len);

#endif
