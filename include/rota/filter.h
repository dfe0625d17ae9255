/* filter: the layers of a stream, and how to add your own.
 *
 * A stream is a stack of filters. The bottom filter moves the bytes (a descriptor, a pair in
 * memory); the filters above transform them, as TLS does. The stream calls the top filter, and each
 * filter calls the one below.
 *
 *     struct veil {
 *         rota_filter filter;                        // first, so that the pointers are the same
 *         unsigned char key;
 *     };
 *
 *     static ssize_t veil_read(rota_filter *f, void *buf, size_t len)
 *     {
 *         ssize_t n = rota_filter_read(f->below, buf, len);
 *         for (ssize_t i = 0; i < n; i++)
 *             ((unsigned char *)buf)[i] ^= ((struct veil *)f)->key;
 *         return n;
 *     }
 *
 *     static ssize_t veil_write(rota_filter *f, const void *buf, size_t len)
 *     {
 *         unsigned char veiled[256];
 *         if (len > sizeof veiled)
 *             len = sizeof veiled;                   // the stream calls again for the rest
 *         for (size_t i = 0; i < len; i++)
 *             veiled[i] = ((const unsigned char *)buf)[i] ^ ((struct veil *)f)->key;
 *         return rota_filter_write(f->below, veiled, len);
 *     }
 *
 *     static void veil_close(rota_filter *f)
 *     {
 *         free(f);
 *     }
 *
 *     static const rota_filter_kind veil_kind = {
 *         .read = veil_read, .write = veil_write, .close = veil_close};
 *
 *     static int veil_push(rota_stream *s, unsigned char key)
 *     {
 *         struct veil *veil = calloc(1, sizeof *veil);
 *         if (!veil)
 *             return -ENOMEM;
 *         *veil = (struct veil){{.kind = &veil_kind}, key};
 *         return rota_stream_push(s, &veil->filter);   // from here on it is the stream's
 *     }
 *
 * The rules of a filter:
 *
 * 1. At most one task reads and one writes at a time; `shutdown` counts as writing. Both may be
 *    inside at once, so data that both use must be consistent whenever the filter calls below.
 * 2. A filter passes errors from below on unchanged; the stream decides which of them are final.
 * 3. A read that fails loses no data: bytes already taken from below are returned by the next read.
 * 4. A write that fails has sent nothing, or all later writes fail.
 * 5. `below` may change between two calls, so read it anew for each call. */
#ifndef ROTA_FILTER_H
#define ROTA_FILTER_H

#include <rota/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_filter rota_filter;

/* `read`, `write` and `close` are required; the others may be NULL. */
typedef struct rota_filter_kind {
    /* Called when the filter has been pushed, before any read or write; for a handshake. May
     * suspend. If it fails, all reads and writes must fail from then on. */
    int (*start)(rota_filter *filter);
    /* Reads 1 to `len` bytes; returns 0 at the end. May suspend. */
    ssize_t (*read)(rota_filter *filter, void *buf, size_t len);
    /* Writes 1 to `len` bytes. May suspend. */
    ssize_t (*write)(rota_filter *filter, const void *buf, size_t len);
    /* The same from several pieces. NULL: the stream joins them. */
    ssize_t (*writev)(rota_filter *filter, const struct iovec *iov, int count);
    /* Writes 1 to `len` bytes of a file from `offset` on, which should be in the page cache;
     * returns 0 at the end of the file. May suspend. If it is NULL or returns -EOPNOTSUPP, the
     * stream reads the file and calls `write`. */
    ssize_t (*send_file)(rota_filter *filter, int fd, int64_t offset, size_t len);
    /* Ends the write side. May suspend. NULL: the filter below does it. */
    int (*shutdown)(rota_filter *filter);
    /* Makes the calls under way, and all later ones, return ROTA_ECLOSED. Must not suspend. The
     * filters below are interrupted as well, so a filter that only waits below needs no
     * `interrupt`. */
    void (*interrupt)(rota_filter *filter);
    /* Called before the stream is closed, to send a last message. May suspend; it is shielded, and
     * has one second. A reader may still be inside. Not called after a write that was cut short, or
     * if the stream is closed outside a task. */
    void (*farewell)(rota_filter *filter);
    /* Frees the filter and all that it owns. No call is under way any more. Must not suspend. */
    void (*close)(rota_filter *filter);
    /* Returns the TCP socket that receives the written bytes unchanged, for setting socket options;
     * or -EOPNOTSUPP. NULL stands for -EOPNOTSUPP. Must not suspend. */
    int (*tcp_socket)(rota_filter *filter);
    /* Writes the address of one end as text, at most `size` bytes. NULL: the filter below does
     * it. */
    void (*describe)(rota_filter *filter, bool peer, char *ret_text, size_t size);
    /* Returns a text about the filter's last failure, for rota_stream_error, or NULL. */
    const char *(*error)(rota_filter *filter);
    /* What `start` does, for the text of its failure: "start TLS with". NULL stands for "read
     * from". */
    const char *starting;
} rota_filter_kind;

/* The head of a filter, in your storage. Set `kind` and leave the rest zero. */
struct rota_filter {
    const rota_filter_kind *kind;
    rota_filter *below; /* NULL at the bottom. */
};

/* Puts a filter on top of a stream. Sends held-back output first, then calls the filter's `start`.
 * The stream takes ownership of the filter: it closes it at its own end, or at once if the filter
 * cannot be pushed.
 *
 * The filter first reads the bytes that the stream had read ahead. So bytes that the peer sent
 * before the change are never mistaken for bytes that passed through the filter.
 *
 * Returns 0, or an error of `start`: then the filter is on top, and reads and writes fail as it
 * decides. These errors mean that the filter was not pushed: -EBUSY (a task is inside),
 * ROTA_ECLOSED, -ENOMEM, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ETHREAD, or an error of
 * rota_stream_flush or of an earlier read. */
ROTA_SUSPENDS int rota_stream_push(rota_stream *s, rota_filter *filter);

/* Makes a stream from a filter that moves the bytes itself, with no filter below. `start` is not
 * called. On success the stream owns the filter. Returns 0, -ENOMEM, ROTA_ENOTASK (this thread has
 * no loop). */
ROTA_API int rota_stream_from_filter(rota_filter *filter, rota_stream **ret_stream);

/* Returns the topmost filter of that kind, or NULL. */
ROTA_API rota_filter *rota_stream_filter(const rota_stream *s, const rota_filter_kind *kind);

/* Makes the checks of every suspending call, for a filter that can return without calling below.
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_filter_check(void);

/* Call the filter below. */
static inline ssize_t rota_filter_read(rota_filter *below, void *buf, size_t len)
{
    return below->kind->read(below, buf, len);
}

static inline ssize_t rota_filter_write(rota_filter *below, const void *buf, size_t len)
{
    return below->kind->write(below, buf, len);
}

static inline int rota_filter_shutdown(rota_filter *filter)
{
    while (!filter->kind->shutdown)
        filter = filter->below;
    return filter->kind->shutdown(filter);
}

#ifdef __cplusplus
}
#endif

#endif
