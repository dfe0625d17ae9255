/* A stream is a stack of filters. The bottom one has the bytes (a descriptor, a pair in memory);
 * those above it transform them, as TLS does. Only the top one is called by the stream; each calls
 * the one below.
 *
 * 1. The stream lets one task read and one task write at a time; `shutdown` counts as writing.
 * 2. `interrupt` makes calls that are inside a filter end with ROTA_ECLOSED, and those that follow;
 *    it does not suspend. `close` comes when nobody is inside, from top to bottom.
 * 3. A filter reports what happened below unchanged; the stream decides which errors are final. */
#ifndef ROTA__STREAM_STREAM_H
#define ROTA__STREAM_STREAM_H

#include "loop/op.h"
#include "stream/buffer.h"
#include "stream/gate.h"

#include <rota/stream.h>

#include <netinet/in.h>
#include <stdalign.h>

#define ROTA__STREAM_LIMIT 65536
/* How long closing may take to send what is held back. */
#define ROTA__STREAM_CLOSE_TIME ROTA_SECOND

struct rota__filter;

struct rota__filter_kind {
    const char *name;
    /* Reads 1 to `len` bytes; 0 at the end. Suspends. */
    ssize_t (*read)(struct rota__filter *filter, void *buf, size_t len);
    /* Writes 1 to `len` bytes. Suspends. */
    ssize_t (*write)(struct rota__filter *filter, const void *buf, size_t len);
    /* The same from several pieces. NULL: the stream joins them. */
    ssize_t (*writev)(struct rota__filter *filter, const struct iovec *iov, int count);
    /* Ends the write side. Suspends. */
    int (*shutdown)(struct rota__filter *filter);
    void (*interrupt)(struct rota__filter *filter);
    /* Lets go of everything; one that was pushed frees itself. May suspend, shielded and not for
     * long; outside a task it must not. */
    void (*close)(struct rota__filter *filter);
    /* Writes the address of one end as text. NULL: ask below. */
    void (*describe)(struct rota__filter *filter, bool peer, char *ret_text, size_t size);
    /* What there is to say about its last failure, or NULL. The pointer itself may be NULL. */
    const char *(*error)(struct rota__filter *filter);
};

struct rota__filter {
    const struct rota__filter_kind *kind;
    struct rota__filter *below; /* NULL at the bottom */
};

#define ROTA__ADDRESS_TEXT 80

struct rota__stream_texts {
    char peer[ROTA__ADDRESS_TEXT], local[ROTA__ADDRESS_TEXT];
    char error[256];
};

enum { ROTA__STREAM_READING = 1, ROTA__STREAM_WRITING = 2 };

struct rota_stream {
    struct rota__gate gate;
    bool corked;
    bool torn;      /* a write was cut short: nothing may follow */
    bool reset;     /* a write learned that the connection is gone: what reads as an end is none */
    int read_error; /* final */
    int error;      /* the last one, and in which direction */
    bool error_in_writing;
    size_t limit;
    size_t step; /* bytes to ask for when the buffer is filled */
    struct rota__filter *top;
    struct rota__buffer in, out;
    rota_str line; /* the item of rota_stream_lines */
    struct rota__stream_texts *texts;
    alignas(max_align_t) char bottom[]; /* the bottom filter */
};

/* Makes a stream with a bottom filter of `size` zeroed bytes, of which `kind` is set. NULL: no
 * memory. */
rota_stream *rota__stream_new(const struct rota__filter_kind *kind, size_t size);
static inline void *rota__stream_bottom(rota_stream *s)
{
    return s->bottom;
}

/* Puts a filter on top. Nobody may be inside. */
void rota__stream_push(rota_stream *s, struct rota__filter *filter);

/* Notes an error for rota_stream_error and returns it. */
int rota__stream_failed(rota_stream *s, int err, bool writing);
/* Sends what is held back, for one who is inside as the writer. */
int rota__stream_send_held(rota_stream *s);

/* ---- Sockets and other descriptors */

struct rota__socket {
    struct rota__filter filter;
    struct rota__fd fd;
    bool interrupted;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer; /* AF_UNSPEC: not asked yet */
};

/* `peer` may be NULL. Takes over `fd` if it succeeds. */
int rota__stream_from_socket(rota_loop *loop, int fd, const struct sockaddr *peer,
                             rota_stream **ret_stream);
/* "127.0.0.1:80", "[::1]:80", "unix". */
void rota__address_text(const struct sockaddr *address, char *ret_text, size_t size);

#endif
