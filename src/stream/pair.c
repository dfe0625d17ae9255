/* Two streams in memory. Each direction is a ring of bytes with at most one reader and one writer.
 *
 * 1. A task waits for a ring only while it is empty (reader) or full (writer), and the task that
 *    changes that wakes it. One that was woken finds what it waited for, or the end.
 * 2. The rings live until both ends are closed. */
#include "base/alloc.h"
#include "stream/stream.h"

#include <stdio.h>
#include <string.h>

enum { PAIR_CAPACITY = 65536 };

struct ring {
    char *bytes;
    size_t capacity, head, count;
    bool ended;  /* the writer has shut down */
    bool broken; /* the reader is gone */
    struct rota__wait *reader, *writer;
};

struct pair {
    int ends;
    struct ring rings[2];
    char bytes[];
};

struct end {
    rota_filter filter;
    struct pair *pair;
    struct ring *in, *out;
    bool interrupted;
};

struct ring_wait {
    struct rota__wait wait;
    struct rota__wait **place;
};

static void ring_abort(struct rota__wait *wait, int reason)
{
    *rota__container_of(wait, struct ring_wait, wait)->place = NULL;
    rota__wake(wait, reason);
}

static const struct rota__wait_kind reading = {"read", ring_abort};
static const struct rota__wait_kind writing = {"write", ring_abort};

static int ring_wait(struct ring *ring, struct rota__wait **place,
                     const struct rota__wait_kind *kind)
{
    struct ring_wait w = {.place = place};
    *place = &w.wait;
    return rota__park(&w.wait, kind, ring);
}

static void ring_wake(struct rota__wait **place, int result)
{
    struct rota__wait *wait = *place;
    *place = NULL;
    if (wait)
        rota__wake(wait, result);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t ring_get(struct ring *ring, char *buf, size_t len)
{
    len = least(len, ring->count);
    size_t first = least(len, ring->capacity - ring->head);
    memcpy(buf, ring->bytes + ring->head, first);
    memcpy(buf + first, ring->bytes, len - first);
    ring->head = (ring->head + len) % ring->capacity;
    ring->count -= len;
    return len;
}

static size_t ring_put(struct ring *ring, const char *buf, size_t len)
{
    len = least(len, ring->capacity - ring->count);
    size_t tail = (ring->head + ring->count) % ring->capacity;
    size_t first = least(len, ring->capacity - tail);
    memcpy(ring->bytes + tail, buf, first);
    memcpy(ring->bytes, buf + first, len - first);
    ring->count += len;
    return len;
}

static struct end *end_of(rota_filter *filter)
{
    return rota__container_of(filter, struct end, filter);
}

static ssize_t pair_read(rota_filter *filter, void *buf, size_t len)
{
    struct end *end = end_of(filter);
    struct ring *in = end->in;
    int err = end->interrupted ? ROTA_ECLOSED : rota__suspend_check();
    while (err == 0 && in->count == 0 && !in->ended)
        err = ring_wait(in, &in->reader, &reading);
    if (err < 0)
        return err;
    size_t n = ring_get(in, buf, len);
    if (n > 0)
        ring_wake(&in->writer, 0);
    return rota__done_at_once((ssize_t)n);
}

static ssize_t pair_write(rota_filter *filter, const void *buf, size_t len)
{
    struct end *end = end_of(filter);
    struct ring *out = end->out;
    int err = end->interrupted ? ROTA_ECLOSED : rota__suspend_check();
    while (err == 0 && out->count == out->capacity && !out->broken && !out->ended)
        err = ring_wait(out, &out->writer, &writing);
    if (err < 0)
        return err;
    if (out->broken || out->ended)
        return -EPIPE;
    size_t n = ring_put(out, buf, len);
    ring_wake(&out->reader, 0);
    return rota__done_at_once((ssize_t)n);
}

static int pair_shutdown(rota_filter *filter)
{
    struct end *end = end_of(filter);
    end->out->ended = true;
    ring_wake(&end->out->reader, 0);
    return 0;
}

static void pair_interrupt(rota_filter *filter)
{
    struct end *end = end_of(filter);
    end->interrupted = true;
    ring_wake(&end->in->reader, ROTA_ECLOSED);
    ring_wake(&end->out->writer, ROTA_ECLOSED);
}

static void pair_close(rota_filter *filter)
{
    struct end *end = end_of(filter);
    pair_shutdown(filter);
    end->in->broken = true;
    ring_wake(&end->in->writer, 0);
    if (--end->pair->ends == 0)
        rota_free(end->pair);
}

static void pair_describe(rota_filter *filter, bool peer, char *ret_text, size_t size)
{
    (void)filter;
    (void)peer;
    snprintf(ret_text, size, "pair");
}

static const rota_filter_kind pair_kind = {
    .read = pair_read,
    .write = pair_write,
    .shutdown = pair_shutdown,
    .interrupt = pair_interrupt,
    .close = pair_close,
    .describe = pair_describe,
};

bool rota__pair_hung_up(rota_filter *filter, bool unread)
{
    if (filter->kind != &pair_kind)
        return false;
    const struct end *end = end_of(filter);
    return end->out->broken || (end->in->ended && (unread || !end->in->count));
}

static struct pair *pair_new(size_t capacity)
{
    size_t bytes;
    if (__builtin_mul_overflow(capacity, 2, &bytes) || bytes > PTRDIFF_MAX / 2)
        return NULL;
    struct pair *pair = rota_alloc(sizeof *pair + bytes);
    if (!pair)
        return NULL;
    pair->ends = 2;
    for (size_t i = 0; i < 2; i++)
        pair->rings[i] = (struct ring){.bytes = pair->bytes + i * capacity, .capacity = capacity};
    return pair;
}

static rota_stream *end_new(struct pair *pair, int in)
{
    rota_stream *s = rota__stream_new(&pair_kind, sizeof(struct end));
    if (!s)
        return NULL;
    struct end *end = rota__stream_bottom(s);
    end->pair = pair;
    end->in = &pair->rings[in];
    end->out = &pair->rings[!in];
    return s;
}

int rota_stream_pair(size_t capacity, rota_stream **ret_one, rota_stream **ret_other)
{
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    struct pair *pair = pair_new(capacity ? capacity : PAIR_CAPACITY);
    if (!pair)
        return rota__error_plain(-ENOMEM);
    rota_stream *one = end_new(pair, 0);
    rota_stream *other = one ? end_new(pair, 1) : NULL;
    if (!other) {
        if (one)
            pair->ends = 1; /* freed with the one that was made */
        else
            rota_free(pair);
        rota_stream_free(one);
        return rota__error_plain(-ENOMEM);
    }
    *ret_one = one;
    *ret_other = other;
    return 0;
}
