/* Server-sent events (WHATWG HTML, section 9.2): text/event-stream, read and written.
 *
 * 1. What is kept is the line and the event that are incomplete, and the last id; `limit` holds for
 *    their sum.
 * 2. An event that the end cuts off is none. */
#ifndef ROTA__HTTP_SSE_H
#define ROTA__HTTP_SSE_H

#include "http/out.h"

struct rota__sse_event {
    rota_str type;  /* read: "message" where nothing else was said; written: none where empty */
    rota_str data;  /* lines are separated by \n; written: none where the pointer is NULL */
    rota_str id;    /* read: the last one that was given; written: none where the pointer is NULL */
    uint64_t retry; /* milliseconds, at least 1; read: the last one that was given; 0: none */
};

struct rota__sse {
    struct rota__out line, type, data, id;
    struct rota__out last_id; /* what a client says when it connects again (Last-Event-ID) */
    uint64_t retry;           /* after so many milliseconds; 0: nothing was said */
    size_t limit;
    bool begun;    /* the first line is over, before which there may be a byte order mark */
    bool after_cr; /* a line feed now belongs to the line before */
    bool told;     /* `type` and `data` belong to an event that was told */
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
