/* Connections of HTTP/1.1.
 *
 *     connection    waits, takes a head apart, has the request run, waits again         server_h1.c
 *     its output    in pieces, held back, watched for stalls
 *                   server_h1_output.c
 *     exchange      a request and its reply: the head, bodies, another protocol
 *                   server_h1_exchange.c
 *
 *     IDLE -> HEAD -> REQUEST -> IDLE ...     await_first; parse; rota__h1_exchange_run
 *     any  -> the end                         `afterwards`: after this reply, or at once
 *
 * The bytes of a request stay in the stream's buffer:
 *
 *     | head | what belongs to it or to the next requests ...
 *
 * 1. A request without a body leaves its head there until it is over, and its fields are slices of
 *    it. Where something may be read behind it, the head is moved into the request's memory before
 *    the handler runs (keep_head), which so may keep what it was given.
 * 2. What is unread of a body when the reply has been sent is passed over, if it is not much; else
 *    the connection closes behind the reply.
 * 3. While another whole head stands in the buffer, what is written is held back, to go out with
 *    the reply to that; where its handler suspends first, a task sends it (flush_soon).
 * 4. If the client waits for 100 (Continue), a sender holds `output`, because the reader may have
 *    to send beside the writer.
 * 5. Frames below a waiting connection are few and small: its stack is most of what an idle one
 *    costs. */
#ifndef ROTA__HTTP_SERVER_H1_H
#define ROTA__HTTP_SERVER_H1_H

#include "http/h1_write.h"
#include "http/server.h"

#include <rota/sync.h>

/* What happens after the present request or reply. Values only increase. */
enum rota__h1_afterwards {
    /* The next request. */
    ROTA__H1_GO_ON,
    /* The end. */
    ROTA__H1_CLOSE,
    /* The same, but the client may still be sending. */
    ROTA__H1_LINGER,
    /* There is nothing to send either. */
    ROTA__H1_BREAK
};

struct rota__h1_connection {
    struct rota__server_connection common;
    struct rota__server *server;
    rota_stream *stream;
    struct rota__h1 parser;
    enum rota__h1_afterwards afterwards;
    /* When the present head must be complete; 0: it has not begun. */
    rota_time head_by;
    bool corked;
    rota_handle flush_soon;
    rota_task *flusher;
};

struct rota__h1_exchange {
    rota_http_request request;
    struct rota__h1_connection *c;
    struct rota__h1_head head;
    /* The head, and the bytes received after it. */
    rota_str shown;
    size_t head_len;
    /* Bytes of the body that the parser has reported and the handler has not read. */
    size_t ahead;
    bool head_kept;
    bool body_over;
    /* The client waits for 100 (Continue). */
    bool may_continue;
    struct rota__h1_writer writer;
    struct rota__out out;
    /* Of the budget: what the stream's buffer has, or may have. */
    size_t held;
    /* Where reader and writer may both have something to send. */
    rota_mutex output;
};

/* Where nothing worse was noted. */
static inline void rota__h1_connection_end(struct rota__h1_connection *c,
                                           enum rota__h1_afterwards how)
{
    if (c->afterwards < how)
        c->afterwards = how;
}

/* ---- Output */

/* Sends it with what is held back, or holds it back, too. Suspends. */
int rota__h1_connection_send(struct rota__h1_connection *c, struct iovec *iov, int count,
                             bool hold);
/* Sends the head of a reply and `len` bytes of a file. Suspends. */
int rota__h1_connection_send_file(struct rota__h1_connection *c, rota_str head, int fd,
                                  uint64_t offset, uint64_t len);
/* Sends what is held back, before a wait for the client. Suspends. */
int rota__h1_connection_settle(struct rota__h1_connection *c);

/* ---- Exchanges */

/* Makes a request for the next head. Returns NULL without memory. */
struct rota__h1_exchange *rota__h1_exchange_new(struct rota__h1_connection *c);
void rota__h1_exchange_free(struct rota__h1_exchange *x);
/* Has the handler reply to `head`, and passes over what that leaves of the body. Suspends. */
void rota__h1_exchange_run(struct rota__h1_exchange *x);
/* Replies if the server lacks memory even for a request. Suspends. */
void rota__h1_connection_turn_down(struct rota__h1_connection *c);
/* Replies to an invalid request. Suspends. */
void rota__h1_exchange_refuse(struct rota__h1_exchange *x, int status, const char *why);

#endif
