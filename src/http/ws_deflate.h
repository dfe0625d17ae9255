/* permessage-deflate (RFC 7692) for WebSocket: what the peers agree on, and messages smaller and
 * back.
 *
 * 1. A message ends where its last piece does; the empty block that ends it for zlib (00 00 ff ff)
 *    is cut off by the sender and put back by the receiver.
 * 2. Without context takeover each message stands for itself; with it, the window goes on.
 * 3. Each direction takes its memory with its first message. */
#ifndef ROTA__HTTP_WS_DEFLATE_H
#define ROTA__HTTP_WS_DEFLATE_H

#include "http/out.h"

/* What was agreed on, and before that, what one is ready for. Zero is the default: context
 * takeover, all of the window. */
struct rota__ws_deflate_terms {
    bool server_no_context, client_no_context;
    /* Of the windows, 8 to 15; 0: not named, which means 15. */
    int server_bits, client_bits;
};

/* ---- Agreeing: fields of Sec-WebSocket-Extensions ---- */

/* Server: takes the first offer in `offers` that it can, with windows no larger and contexts no
 * longer than `own` says. Returns 1, 0: none, and the answer names no extension. */
int rota__ws_deflate_accept(rota_str offers, const struct rota__ws_deflate_terms *own,
                            struct rota__ws_deflate_terms *ret_agreed);
/* Server: writes the response. */
void rota__ws_deflate_write_answer(struct rota__out *out,
                                   const struct rota__ws_deflate_terms *agreed);

/* Client: the offer, of which all that `own` says is a part. */
void rota__ws_deflate_write_offer(struct rota__out *out, const struct rota__ws_deflate_terms *own);
/* Client: reads the server's response. Returns 1, 0 (an empty field: no extension), -EBADMSG (not
 * offered, or invalid: the connection must be closed). */
int rota__ws_deflate_read_answer(rota_str answer, const struct rota__ws_deflate_terms *own,
                                 struct rota__ws_deflate_terms *ret_agreed);

/* ---- Messages ---- */

struct rota__ws_deflate;

/* `level` 0: 6, else zlib's 1 to 9. `limit`: bytes of a message, inflated; 0: none. Returns 0,
 * -ENOMEM. */
int rota__ws_deflate_new(const struct rota__ws_deflate_terms *agreed, bool is_server, int level,
                         uint64_t limit, struct rota__ws_deflate **ret_deflate);

/* Deflates the next piece of a message and adds to `out` what can go. What `last` adds is the end
 * of the message. Returns 0, -ENOMEM: then the connection cannot go on. */
int rota__ws_deflate_write(struct rota__ws_deflate *deflate, rota_str piece, bool last,
                           struct rota__out *out);

/* Inflates: takes bytes off `in` and puts up to `room` (not 0) at `to`. `last`: `in` ends the
 * message; it has ended when then 0 is returned. Text is not checked. Returns how many bytes; 0:
 * all of `in` was taken; -EBADMSG (not deflated), ROTA_ELIMIT, -ENOMEM: then the connection cannot
 * go on. */
ssize_t rota__ws_inflate(struct rota__ws_deflate *deflate, rota_str *in, bool last, char *to,
                         size_t room);

void rota__ws_deflate_free(struct rota__ws_deflate *deflate);

#endif
