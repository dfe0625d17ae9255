/* filter: the layers of a stream, and how to add your own.
 *
 * A stream is a stack of filters. The bottom one has the bytes (a descriptor, a pair in memory);
 * those above transform them, as TLS does. The stream calls the top one, each calls the one below.
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
 * 1. At most one task reads and one writes at a time; `shutdown` counts as writing. The two may be
 *    inside at once, so whatever both use is in order wherever the filter calls below.
 * 2. Errors from below are passed on as they are; the stream decides which of them are final.
 * 3. A read that fails has lost nothing: what it took from below is still there for the next one.
 * 4. A write that fails has sent nothing, or fails from then on.
 * 5. `below` may change between two calls, so it is read anew for each. */
#ifndef ROTA_FILTER_H
#define ROTA_FILTER_H

#include <rota/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_filter rota_filter;

/* All calls but these may be NULL: `read`, `write`, `close`. */
typedef struct rota_filter_kind {
    /* Called when the filter has been pushed, before anybody reads or writes: a handshake.
     * Suspends. Where it fails, reads and writes have to fail from then on. */
    int (*start)(rota_filter *filter);
    /* Reads 1 to `len` bytes; 0 at the end. Suspends. */
    ssize_t (*read)(rota_filter *filter, void *buf, size_t len);
    /* Writes 1 to `len` bytes. Suspends. */
    ssize_t (*write)(rota_filter *filter, const void *buf, size_t len);
    /* The same from several pieces. NULL: the stream joins them. */
    ssize_t (*writev)(rota_filter *filter, const struct iovec *iov, int count);
    /* Writes 1 to `len` bytes of a file from `offset` on, which are in the page cache as far as can
     * be known; 0 at the file's end. Suspends. -EOPNOTSUPP, or NULL: the stream reads the file and
     * writes. */
    ssize_t (*send_file)(rota_filter *filter, int fd, int64_t offset, size_t len);
    /* Ends the write side. Suspends. NULL: what is below does. */
    int (*shutdown)(rota_filter *filter);
    /* Makes the calls that are inside end with ROTA_ECLOSED, and those that follow. Does not
     * suspend. What is below is interrupted too, so a filter that only waits there needs no
     * `interrupt`. */
    void (*interrupt)(rota_filter *filter);
    /* The stream is about to be closed: what is to be said at the end. Suspends, but is shielded
     * and has a second. A reader may still be inside. Does not come where a write was cut short,
     * nor where the stream is closed outside a task. */
    void (*farewell)(rota_filter *filter);
    /* Lets go of everything, also of the filter itself. Nobody is inside any more. Does not
     * suspend. */
    void (*close)(rota_filter *filter);
    /* The TCP socket that gets unchanged what is written here, for the options that the kernel has
     * for it. Returns it, or -EOPNOTSUPP, as does NULL. Does not suspend. */
    int (*tcp_socket)(rota_filter *filter);
    /* Writes the address of one end as text, at most `size` bytes. NULL: what is below knows. */
    void (*describe)(rota_filter *filter, bool peer, char *ret_text, size_t size);
    /* What there is to say about its last failure, for rota_stream_error; NULL if nothing. */
    const char *(*error)(rota_filter *filter);
} rota_filter_kind;

/* The head of a filter, in storage of yours. Set `kind`, leave the rest zero. */
struct rota_filter {
    const rota_filter_kind *kind;
    rota_filter *below; /* NULL at the bottom */
};

/* Puts a filter on top of a stream in use, sends before what is held back, and lets the filter
 * start. From the call on the filter belongs to the stream: it is closed with it, or at once if it
 * could not be pushed.
 *
 * What the stream has read ahead and nobody has taken is what the filter reads first: bytes that
 * the peer sent before the change never pass for bytes that went through the filter.
 *
 * Returns 0; what `start` returned, and then the filter is on top and the stream of no more use
 * than the filter says; or, not pushed, -EBUSY (a task is inside), ROTA_ECLOSED, -ENOMEM,
 * -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ETHREAD, or an error of rota_stream_flush or of an
 * earlier read. */
ROTA_SUSPENDS int rota_stream_push(rota_stream *s, rota_filter *filter);

/* Makes a stream of a filter that has the bytes itself: nothing is below. `start` is not called.
 * The filter is the stream's if that succeeds. Returns 0, -ENOMEM, ROTA_ENOTASK (this thread has no
 * loop). */
ROTA_API int rota_stream_from_filter(rota_filter *filter, rota_stream **ret_stream);

/* The topmost filter of that kind, or NULL. */
ROTA_API rota_filter *rota_stream_filter(const rota_stream *s, const rota_filter_kind *kind);

/* For a filter that can answer without calling below: what every suspending call checks first.
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_filter_check(void);

/* Calls of the one below. */
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
