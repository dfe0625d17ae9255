/* A stream and its filters, internally; see <rota/filter.h> for filters.
 *
 * 1. The stream lets one task read and one task write at a time; `shutdown` counts as writing.
 * 2. `interrupt` goes to all filters before `close`, which comes when no call is inside, from top
 *    to bottom.
 * 3. A filter reports what happened below unchanged; the stream decides which errors are final. */
#ifndef ROTA__STREAM_STREAM_H
#define ROTA__STREAM_STREAM_H

#include "loop/op.h"
#include "stream/buffer.h"
#include "stream/gate.h"

#include <rota/filter.h>

#include <netinet/in.h>
#include <stdalign.h>

#define ROTA__STREAM_LIMIT 65536
/* How long closing may take to send held-back output and the filters' closing messages. */
#define ROTA__STREAM_CLOSE_TIME ROTA_SECOND

#define ROTA__ADDRESS_TEXT 112

struct rota__stream_texts {
    char peer[ROTA__ADDRESS_TEXT], local[ROTA__ADDRESS_TEXT];
    char error[256];
    char limit[80];
};

enum { ROTA__STREAM_READING = 1, ROTA__STREAM_WRITING = 2 };

struct rota_stream {
    struct rota__gate gate;
    bool corked;
    bool torn; /* a write was cut short: nothing may follow */
    /* a write found the connection reset: an end that is read is not the true end */
    bool reset;
    int read_error;        /* final */
    int error;             /* the last one, and in which direction */
    const char *failed_to; /* "read from" */
    size_t limit;
    size_t exceeded; /* by the last read that failed with ROTA_ELIMIT */
    size_t step;     /* bytes to ask for when the buffer is filled */
    rota_filter *top;
    struct rota__buffer in, out;
    rota_str line; /* the item of rota_stream_lines */
    struct rota__stream_texts *texts;
    alignas(max_align_t) char bottom[]; /* the bottom filter */
};

/* Makes a stream with a bottom filter of `size` zeroed bytes, of which `kind` is set. NULL: no
 * memory. */
rota_stream *rota__stream_new(const rota_filter_kind *kind, size_t size);
static inline void *rota__stream_bottom(rota_stream *s)
{
    return s->bottom;
}

/* Notes an error for rota_stream_error, gives it its text unless the task was interrupted, and
 * returns it. */
int rota__stream_failed(rota_stream *s, int err, bool writing);
/* The same; `what` stands before the peer's name: "read from". */
int rota__stream_failed_to(rota_stream *s, int err, const char *what);
/* The same of a read for which a limit is too low. */
int rota__stream_exceeded(rota_stream *s, size_t limit);
/* The reason for an error, as the stream describes it if it is the stream's last error. */
const char *rota__stream_why(rota_stream *s, int err);
/* What the end (`err` 0) or an error of reading below means: final or not. Returns 0 or an
 * error. */
ssize_t rota__stream_read_failed(rota_stream *s, ssize_t err);
/* The caller is inside as the writer. Sends all; `partly`: what belongs before it has been sent. */
int rota__stream_send(rota_stream *s, const char *bytes, size_t len, bool partly);
int rota__stream_send_failed(rota_stream *s, ssize_t err, bool partly);
/* Sends the held-back output. The caller is inside as the writer. */
int rota__stream_send_held(rota_stream *s);
/* The same, and nothing is held back any more. */
int rota__stream_uncork(rota_stream *s);

/* ---- Sockets and other descriptors */

struct rota__socket {
    rota_filter filter;
    struct rota__fd fd;
    bool interrupted;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer; /* AF_UNSPEC: not asked yet */
};

/* `peer` may be NULL. Takes over `fd` if it succeeds. */
int rota__stream_from_socket(struct rota__loop *loop, int fd, const struct sockaddr *peer,
                             rota_stream **ret_stream);
/* Reads through the filters; what fails is noted. 1 to `len` bytes, 0 at the end, or an error. */
ssize_t rota__stream_pull(rota_stream *s, void *buf, size_t len);

/* The socket or other descriptor at the bottom; NULL if the stream has none. */
struct rota__socket *rota__stream_socket(rota_stream *s);
/* Whether only the end can be read. With `unread`, data may come before it. With `more` bytes
 * above, it is false. A reset counts in any case. */
bool rota__socket_hung_up(struct rota__socket *socket, bool unread, bool more);
/* The same of an end of a pair, which knows no reset; false of all other filters. */
bool rota__pair_hung_up(rota_filter *filter, bool unread);

/* "127.0.0.1:80", "[::1]:80", "/run/x.sock", "@abstract", "unix". */
void rota__address_text(const struct sockaddr *address, socklen_t len, char *ret_text, size_t size);

#endif
