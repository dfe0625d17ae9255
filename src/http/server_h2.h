/* Connections of HTTP/2.
 *
 *     connection    the reader, the writer, the end                                     server_h2.c
 *     exchange      a request, its task, its reply
 *                   server_h2_exchange.c
 *
 *     reader     the connection's task: bytes into the engine; a task for each request
 *     handlers   read what the reader has put by, write into the engine's output
 *     writer     a task, while there is output: sends it
 *
 * 1. Only the writer writes to the stream, so a handler that is cancelled leaves no frame
 *    unfinished. It runs in the turn after the first output came, and so takes what all handlers of
 *    that turn have put out.
 * 2. A handler waits by its exchange's event: for a body to come, for window, for room in the
 *    output. Code that changes one of these sets it, and the handler looks again.
 * 3. A piece of a body holds its part of the windows until the handler has it; so no more than a
 *    window is put by.
 * 4. The connection is in the server's list `busy` while it has exchanges, else in `resting`.
 * 5. An exchange ends with its task. The connection does not before its tasks have. */
#ifndef ROTA__HTTP_SERVER_H2_H
#define ROTA__HTTP_SERVER_H2_H

#include "http/h2.h"
#include "http/server.h"

#include <rota/sync.h>

struct rota__h2_connection {
    struct rota__server_connection common;
    struct rota__server *server;
    rota_stream *stream;
    struct rota__h2 h2;
    struct rota__list exchanges;
    size_t running;
    rota_group tasks;
    /* Of the reader. */
    rota_timeout idle;
    /* For the reader: it has waited so long that it is likely to wait longer. */
    rota_timeout settled;
    /* For the reader: time limit of the head that began at `head_began`. */
    rota_timeout head;
    rota_time head_began;
    /* Bytes of replies' bodies. */
    uint64_t moved;
    /* There is a writer. */
    bool writing;
    /* No further requests. */
    bool closing;
    /* Nothing can be sent any more. */
    bool broken;
    /* The client may still be reading, and sends as it does. */
    bool lingers;
    /* The reader has ended. */
    bool left;
    /* The writer has ended. */
    rota_event silent;
    struct rota__out spare;
    /* Room of the output that is being sent. */
    size_t sending;
    /* Taken of the server's budget. */
    size_t held;
    /* A handler waits for room in that. */
    bool starves;
};

struct rota__h2_exchange {
    rota_http_request request;
    struct rota__h2_connection *c;
    struct rota__h2_stream stream;
    struct rota__list node;
    rota_task *task;
    rota_event news;
    /* Buffered, from `taken` on. */
    struct rota__out body;
    size_t taken;
    /* Taken of the server's budget. */
    size_t held;
    uint64_t came;
    /* 0: incomplete; 1: complete; or the error. */
    int body_end;
    bool may_continue;
    bool was_reset;
};

/* Counts what the connection keeps by now. False: the server has no memory for that, and counts
 * less. */
bool rota__h2_connection_account(struct rota__h2_connection *c);
/* What the engine has put out is to be sent. */
void rota__h2_connection_begin_writer(struct rota__h2_connection *c);

static inline void rota__h2_connection_put_out(struct rota__h2_connection *c)
{
    if (c->h2.out.len && !c->writing && !c->broken)
        rota__h2_connection_begin_writer(c);
}

/* ---- What the reader tells an exchange */

/* Takes a request and begins its task. The engine refuses a request that is not taken. */
void rota__h2_exchange_begin(struct rota__h2_connection *c, const struct rota__h2_item *item);
/* A piece of the body. */
void rota__h2_exchange_put_by(struct rota__h2_exchange *x, rota_str data);
void rota__h2_exchange_set_trailers(struct rota__h2_exchange *x, const struct rota__h2_head *head);
/* 1: the body is complete; or the error. */
void rota__h2_exchange_end_body(struct rota__h2_exchange *x, int how);
/* Its stream is. */
void rota__h2_exchange_be_reset(struct rota__h2_exchange *x);

#endif
