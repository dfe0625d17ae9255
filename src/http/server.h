/* The server, inside.
 *
 *     server        listeners, options, counters, the sweep                             server.c
 *     door          how many connections there may be, and from one address
 *                   server_door.c
 *     connection    a stream and its task, of HTTP/1.1 or HTTP/2
 *                   server_h1*.c, server_h2*.c
 *     request       what a handler sees: the same for both, above a small vtable        request.c
 *     reply         what RFC 9110 demands of any; compressed; of events                 reply.c,
 *                   _coding.c, _events.c
 *     files         what a path names, conditions, ranges; below a directory
 *                   reply_file.c, root.c, listing.c
 *
 * A request:
 *
 *     NONE -> BEGUN -> ENDED      reply_begin; reply_send with `last`
 *          -> CUT                 from NONE or BEGUN, when the reply cannot be sent as it should
 *     BEGUN -> NONE               the handler failed before any of it was sent
 *
 * 1. Nothing but reply.c changes the reply's state.
 * 2. What a request has, is in its arena: it lies there itself.
 * 3. One task is inside of what reads the body, and one of what sends (`reading`, `writing`); a
 *    second one is refused. The reader sends nothing but 100 (Continue), which must not come behind
 *    the reply's head, nor into what else is being sent. */
#ifndef ROTA__HTTP_SERVER_H
#define ROTA__HTTP_SERVER_H

#include "base/list.h"
#include "http/arena.h"
#include "http/h1.h"
#include "http/out.h"

#include <rota/http_server.h>
#include <rota/sync.h>

#include <time.h>

#define ROTA__SERVER_DATE_LEN 29
/* A connection that has been idle this long is likely to stay idle. */
#define ROTA__SERVER_SETTLED (2 * ROTA_SECOND)
/* What a connection counts for in the budget: its task's stack, its stream, its buffer. TLS adds
 * OpenSSL's part. */
#define ROTA__SERVER_CONNECTION ((size_t)8 * 1024)
#define ROTA__SERVER_TLS ((size_t)24 * 1024)
/* Bytes that a client must accept within write_stall. */
#define ROTA__SERVER_PIECE ((size_t)128 * 1024)

/* See server_door.c. */
struct rota__server_door {
    /* Connections that were let in. */
    size_t inside;
    /* At the door. */
    size_t waiting;
    /* One has left, or rests: those at the door look again. */
    rota_event room;
    /* Visitors by a hash of their addresses; NULL if they are not counted. */
    struct rota__list *addresses;
    /* A power of two. */
    size_t buckets;
    uint64_t seed;
};

/* A connection, for as long as it is inside. */
struct rota__server_visitor {
    /* In a bucket of `addresses`. */
    struct rota__list node;
    unsigned char address[16];
};

struct rota__server {
    rota_http_handler *handler;
    void *arg;
    /* Without zeros. */
    rota_http_serve_options options;
    rota_http_counters *counters;
    rota_http_counters own_counters;
    rota_loop *loop;
    struct rota__arena_store blocks;
    struct rota__budget budget;
    /* That run. */
    size_t requests;

    /* Connections without a request, longest first: see rota__server_rest. */
    struct rota__list resting;
    /* The others that are told when the server stops. */
    struct rota__list busy;
    /* Those of HTTP/1.1 with a request, oldest first. */
    struct rota__list running;
    rota_handle sweep;
    /* Sweeps so far: the clock of what does not need a better one. */
    uint64_t ticks;
    rota_event stopping;
    /* When `stopping` was set. */
    rota_time stopped;
    /* Why a listener ended by itself; 0: none has. */
    int result;
    struct rota__server_door door;

    time_t date_of;
    char date[ROTA__SERVER_DATE_LEN + 1];
};

enum rota__reply_state { ROTA__REPLY_NONE, ROTA__REPLY_BEGUN, ROTA__REPLY_ENDED, ROTA__REPLY_CUT };

/* A field that the handler has added. */
struct rota__added {
    struct rota__added *next;
    rota_http_field field;
};

struct rota__reply_head {
    int status;
    const char *type;
    /* NO_BODY, LENGTH or CHUNKED: its length is not known. */
    enum rota__h1_body body;
    uint64_t length;
};

/* What the two protocols do differently. */
struct rota__request_kind {
    /* Reads a piece of the body; 0 at its end. Suspends. */
    ssize_t (*read)(rota_http_request *r, void *buf, size_t len);
    /* Puts the head of the reply together; it goes with what is sent next. Returns 0, -ENOMEM. */
    int (*head)(rota_http_request *r, const struct rota__reply_head *head);
    /* Sends it and a piece of the body, with `last` the end, too. Suspends. -EMSGSIZE: other than
     * announced. */
    int (*send)(rota_http_request *r, rota_str piece, bool last);
    /* Sends the head, if it was not yet, and `len` bytes of a file. Suspends. NULL: they go by
     * `send`. */
    int (*send_file)(rota_http_request *r, int fd, uint64_t offset, uint64_t len);
    /* Sends a head of its own, with the fields that were added. Suspends. */
    int (*interim)(rota_http_request *r, int status);
    /* Sends 101 and gives the connection away. Suspends. -EPROTO: not yet, a body is unread. NULL:
     * this version of HTTP has no such thing. */
    int (*upgrade)(rota_http_request *r, const char *protocol);
    /* The reply ends here, and the client must notice that it is incomplete. */
    void (*cut)(rota_http_request *r);
    /* Makes the calls that are inside end. May suspend. */
    void (*interrupt)(rota_http_request *r);
};

struct rota_http_request {
    const struct rota__request_kind *kind;
    struct rota__server *server;
    rota_stream *stream;
    struct rota__arena arena;

    rota_str method, target, path, query, authority, version;
    const rota_http_field *fields;
    size_t count;
    const rota_http_field *trailers;
    size_t trailer_count;
    /* Of the body, or ROTA_HTTP_UNKNOWN_LENGTH. */
    uint64_t length;
    /* Of reading the body: final. */
    int body_error;
    /* The status for that; 0: the usual one. */
    int body_status;
    /* A task is inside. */
    bool reading, writing;
    /* The task that last read from the body; only compared. */
    const rota_task *reader;
    /* How long the present read may wait for the client. */
    rota_time read_within;
    /* How long those before it have waited. */
    rota_time read_for;
    /* Taken of the budget. */
    size_t encoder_memory;

    enum rota__reply_state state;
    /* Of the reply. */
    struct rota__reply_head head;
    /* It has begun, and its head goes with the first piece. */
    bool head_is_due;
    /* The method. */
    bool is_head, is_connect;
    /* The reply: by its status, or to HEAD. */
    bool has_no_body;
    /* Of the reply. */
    int status;
    /* Of adding a field, or why the reply was cut. */
    int error;
    /* The name of the first header field that was refused, cut; NULL: none, or no memory. */
    const char *refused;
    struct rota__added *added, **added_end;
    struct rota__added *trailing, **trailing_end;

    /* NULL: the reply is not compressed. */
    struct rota__encoder *encoder;
    struct rota__out encoded;
    /* With an encoder: bytes that the handler has announced, or ROTA_HTTP_UNKNOWN_LENGTH. */
    uint64_t left;

    uint64_t bytes_in, bytes_out;
    /* For the access log. */
    rota_time began, replied;
};

/* Makes a request in an arena of its own, `size` bytes that begin with it. NULL without memory. */
void *rota__request_new(struct rota__server *server, const struct rota__request_kind *kind,
                        rota_stream *stream, size_t size);
void rota__request_free(rota_http_request *r);

/* Whether 100 (Continue) would come before the reply (RFC 9110, section 10.1.1). */
static inline bool rota__request_may_continue(const rota_http_request *r)
{
    return r->state == ROTA__REPLY_NONE || r->head_is_due;
}

/* Takes `target` apart, and the rest over. */
void rota__request_set(rota_http_request *r, rota_str method, rota_str target, rota_str authority,
                       const rota_http_field *fields, size_t count);

/* Runs the handler, replies in its stead where it has not, and tells the access log. */
void rota__request_run(rota_http_request *r);
/* Whether another request may run; if so, it counts until rota__request_run has ended it. */
static inline bool rota__request_may_run(const struct rota__server *server)
{
    return server->requests < server->options.requests;
}

/* Replies to an invalid request, and tells the access log. `why` is for the client. */
void rota__request_refuse(rota_http_request *r, int status, const char *why);

struct rota__server_connection {
    /* In one of the server's lists, or in none. */
    struct rota__list node;
    /* For those in `resting`: the server stops. */
    void (*stop)(struct rota__server_connection *c);
    rota_task *task;
    rota_stream *stream;
    /* While in `resting`. */
    rota_time rests_since;
    /* Tick at which its request began. */
    uint64_t since;
    /* Tick at which the present piece of output began; 0: none. */
    uint64_t writing;
    /* Bytes of its request that are still in the stream's buffer. */
    size_t seen;
    /* The peer is, or takes nothing: the task was cancelled for it. */
    bool gone;
    /* `gone` for the second reason. */
    bool stalled;
};

/* Enters `running`. The caller leaves it. */
void rota__server_run(struct rota__server_connection *c, struct rota__server *server);

/* Enters `resting`: no request runs, so c->stop(c) is called when the server stops, and c->task is
 * cancelled where room is needed. The caller leaves it. Returns -ECANCELED where the server has
 * stopped. */
int rota__server_rest(struct rota__server_connection *c, struct rota__server *server);
/* Enters `busy`: c->stop(c) is called when the server stops. The caller leaves it. Returns as
 * rota__server_rest. */
int rota__server_be_busy(struct rota__server_connection *c, struct rota__server *server);
/* Is a `stop`: cancels the task. */
void rota__server_cancel(struct rota__server_connection *c);

/* What is read behind a reply, so that the client gets it: a scope that ends soon when the server
 * stops. `task`: the connection's, which may be cancelled where room is needed, or NULL. */
struct rota__server_aftermath {
    struct rota__server_connection common;
    rota_timeout deadline;
};
void rota__server_aftermath_begin(struct rota__server_aftermath *a, struct rota__server *server,
                                  rota_task *task, rota_time most);
void rota__server_aftermath_end(struct rota__server_aftermath *a);

/* Ends our side and reads until the client has ended its own, so that it gets the reply: bytes that
 * it sends to a closed socket would be answered by a reset, which may overtake the reply (RFC 9112,
 * section 9.6). */
void rota__server_linger(struct rota__server *server, rota_stream *stream);

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
const char *rota__server_date(struct rota__server *server);

/* Returns when a head that begins now must be complete. */
static inline rota_time rota__server_head_by(const struct rota__server *server)
{
    rota_time most = server->options.head_time;
    return most == ROTA_NEVER ? most : rota_now() + most;
}

/* Serves a connection that speaks HTTP/1.1, or what begins like it. The first head has to come
 * until `head_by`. */
int rota__server_h1(struct rota__server *server, rota_stream *stream, rota_time head_by);
/* Serves one that speaks HTTP/2; nothing was read yet. */
int rota__server_h2(struct rota__server *server, rota_stream *stream, rota_time head_by);

/* ---- The door */

/* Returns 0, -ENOMEM. */
int rota__server_door_init(struct rota__server *server);
void rota__server_door_fini(struct rota__server *server);
/* Evicts a resting connection. Returns whether there was one. */
bool rota__server_evict(struct rota__server *server);
/* Lets a connection in as soon as there is room, which the one that has rested for longest makes.
 * Suspends. Returns 0, -ECANCELED, -EUSERS (too many from its address). */
int rota__server_admit(struct rota__server *server, rota_stream *stream,
                       struct rota__server_visitor *visitor);
void rota__server_dismiss(struct rota__server *server, struct rota__server_visitor *visitor);
/* Called when there may be room. */
static inline void rota__server_tell_door(struct rota__server *server)
{
    if (server->door.waiting)
        rota_event_set(&server->door.room);
}

#endif
