/* Server-sent events (WHATWG HTML, section 9.2): reads and writes text/event-stream.
 *
 * 1. The parser keeps the incomplete line and event, and the last id. `limit` applies to their sum.
 * 2. An event that is cut off by the end of the stream is dropped. */
#ifndef ROTA__HTTP_SSE_H
#define ROTA__HTTP_SSE_H

#include "http/out.h"

struct rota__sse_event {
    /* Read: "message" by default. Written: omitted if empty. */
    rota_str type;
    /* Lines are separated by \n. Written: omitted if the pointer is NULL. */
    rota_str data;
    /* Read: the last one received. Written: omitted if the pointer is NULL. */
    rota_str id;
    /* Milliseconds, at least 1. Read: the last one received. 0: none. */
    uint64_t retry;
};

struct rota__sse {
    struct rota__out line, type, data, id;
    /* For Last-Event-ID when the client connects again. */
    struct rota__out last_id;
    /* Milliseconds until the client connects again; 0: not given. */
    uint64_t retry;
    size_t limit;
    /* The first line is over, before which there may be a byte order mark. */
    bool begun;
    /* A line feed now belongs to the line before. */
    bool after_cr;
    /* `type` and `data` belong to an event that was reported. */
    bool told;
    int err;
};

/* `limit`: bytes of an event; 0: 1 MiB. */
void rota__sse_init(struct rota__sse *sse, size_t limit);

/* Takes bytes off `in`, up to the end of an event. Returns 1: `*ret_event`, valid until the next
 * call; 0: all was taken; ROTA_ELIMIT, -ENOMEM: and so does every later call. That text is UTF-8 is
 * not checked. */
int rota__sse_next(struct rota__sse *sse, rota_str *in, struct rota__sse_event *ret_event);

void rota__sse_fini(struct rota__sse *sse);

/* Writes an event. Line ends of all three kinds in `data` begin a line. Returns 0, -EINVAL (a line
 * end in `type` or `id`, a NUL in `id`: nothing was added), -ENOMEM. */
int rota__sse_write(struct rota__out *out, const struct rota__sse_event *event);

#endif
