/* Writing HTTP/1.1: a head, then a body that is as long as the head said.
 *
 *     HEAD -> BODY -> OVER      rota__h1_write_request or _response, _field..., _body; _data...;
 *                               _end
 *
 * 1. Nothing is written that a peer could understand differently: no control character gets into a
 *    name, a value, a target or a reason, and what frames a message or names its host comes from
 *    these calls only.
 * 2. The bytes of a body are counted: more than announced are refused, fewer make _end fail, and
 *    then the connection has to be closed.
 * 3. A refused call has added nothing. */
#ifndef ROTA__HTTP_H1_WRITE_H
#define ROTA__HTTP_H1_WRITE_H

#include "http/h1.h"
#include "http/out.h"

struct rota__h1_writer {
    struct rota__out *out;
    enum rota__h1_body body;
    /* The body is announced but not sent: an answer to HEAD. */
    bool silent;
    /* The status has none: nothing is announced either. */
    bool bodiless;
    /* A chunk has been begun. */
    bool in_chunks;
    bool in_trailers;
    /* Of CHUNKED: the caller knows how long it is, and has set: */
    bool is_counted;
    /* With LENGTH. */
    uint64_t left;
};

/* "GET /x HTTP/1.1" and the Host field. `host` is the authority of a URL that has been parsed: here
 * it only must not end the line. Returns 0, -EINVAL (no method, target or host), -ENOMEM. */
int rota__h1_write_request(struct rota__h1_writer *w, struct rota__out *out, rota_str method,
                           rota_str target, rota_str host);
/* "HTTP/1.1 200 OK". An empty reason is the usual one. `silent`: it answers HEAD. Returns 0,
 * -EINVAL (no status, or a reason with control characters), -ENOMEM. */
int rota__h1_write_response(struct rota__h1_writer *w, struct rota__out *out, int status,
                            rota_str reason, bool silent);
/* Whether it may be written: not if the name or the value is invalid, or if it is Content-Length,
 * Transfer-Encoding or Host. */
bool rota__h1_is_field(rota_str name, rota_str value);
/* Returns 0, -EINVAL (it may not be written), -ENOMEM. */
int rota__h1_write_field(struct rota__h1_writer *w, rota_str name, rota_str value);

/* One of ours, or one that was checked before. */
static inline void rota__h1_write_own(struct rota__h1_writer *w, rota_str name, rota_str value)
{
    struct rota__out *out = w->out;
    char *to = rota__out_reserve(out, name.len + value.len + 4);
    if (!to)
        return;
    memcpy(to, name.ptr, name.len);
    to += name.len;
    memcpy(to, ": ", 2);
    to += 2;
    if (value.len)
        memcpy(to, value.ptr, value.len);
    memcpy(to + value.len, "\r\n", 2);
    out->len += name.len + value.len + 4;
}

/* Ends the head, saying how the body is framed. `length` counts with LENGTH. Returns 0, -ENOMEM. */
int rota__h1_write_body(struct rota__h1_writer *w, enum rota__h1_body body, uint64_t length);

/* Adds what stands before the next `len` bytes of the body, which the caller sends behind it.
 * Returns 1; 0: they are not to be sent; -EMSGSIZE (more than announced), -ENOMEM. */
int rota__h1_write_data(struct rota__h1_writer *w, size_t len);

/* Adds a field behind the body; after that nothing but more of them, and the end. Left out where
 * the body is not chunked. Returns 0, -EINVAL (not a name or value, or a field that must not come
 * there), -ENOMEM. */
int rota__h1_write_trailer(struct rota__h1_writer *w, rota_str name, rota_str value);

/* Ends the body. Returns 0, -EMSGSIZE (less than announced), -ENOMEM. */
int rota__h1_write_end(struct rota__h1_writer *w);

#endif
