/* Putting a filter on a stream in use.
 *
 * What the stream had read ahead goes below the new filter, in a filter of its own that takes
 * itself out once it is read. Left in the stream's buffer it would be taken for data that came
 * through the new filter: bytes injected before a STARTTLS would pass for encrypted data of the
 * peer (CVE-2011-0411). */
#include "base/alloc.h"
#include "base/noexcept.h"
#include "stream/stream.h"

#include <string.h>

struct ahead {
    rota_filter filter;
    rota_filter *above;
    struct rota__buffer bytes;
};

static struct ahead *ahead_of(rota_filter *filter)
{
    return rota__container_of(filter, struct ahead, filter);
}

static void ahead_close(rota_filter *filter)
{
    struct ahead *ahead = ahead_of(filter);
    rota__buffer_fini(&ahead->bytes);
    rota_free(ahead);
}

/* A task suspends inside it only in calls of the filter below, so it may be freed. */
static void ahead_take_out(struct ahead *ahead)
{
    ahead->above->below = ahead->filter.below;
    ahead_close(&ahead->filter);
}

static ssize_t ahead_read(rota_filter *filter, void *buf, size_t len)
{
    struct ahead *ahead = ahead_of(filter);
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    len = rota__buffer_get(&ahead->bytes, buf, len);
    if (!rota__buffer_count(&ahead->bytes))
        ahead_take_out(ahead);
    return (ssize_t)len;
}

static ssize_t ahead_write(rota_filter *filter, const void *buf, size_t len)
{
    return rota_filter_write(filter->below, buf, len);
}

static int ahead_tcp_socket(rota_filter *filter)
{
    rota_filter *below = filter->below;
    return below->kind->tcp_socket ? below->kind->tcp_socket(below) : -EOPNOTSUPP;
}

static const rota_filter_kind ahead_kind = {
    .read = ahead_read,
    .write = ahead_write,
    .close = ahead_close,
    .tcp_socket = ahead_tcp_socket,
};

static int put_on_top(rota_stream *s, rota_filter *filter)
{
    filter->below = s->top;
    if (rota__buffer_count(&s->in)) {
        struct ahead *ahead = rota_zalloc(sizeof *ahead);
        if (!ahead)
            return rota__stream_failed(s, -ENOMEM, false);
        *ahead = (struct ahead){{&ahead_kind, s->top}, filter, s->in};
        s->in = (struct rota__buffer){0};
        filter->below = &ahead->filter;
    }
    s->top = filter;
    return 0;
}

static int prepare(rota_stream *s)
{
    int err = rota__suspend_check();
    if (err == 0 && s->read_error)
        err = rota__stream_failed(s, s->read_error, false);
    return err < 0 ? err : rota__stream_uncork(s);
}

static const char *start_of(const rota_filter *filter)
{
    return filter->kind->starting ? filter->kind->starting : "read from";
}

enum { BOTH = ROTA__STREAM_READING | ROTA__STREAM_WRITING };

int rota_stream_push(rota_stream *s, rota_filter *filter)
{
    int err = rota__gate_enter(&s->gate, BOTH);
    bool inside = err == 0;
    if (inside)
        err = prepare(s);
    if (err == 0)
        err = put_on_top(s, filter);
    if (err < 0) {
        filter->below = NULL;
        filter->kind->close(filter);
        ROTA__NOEXCEPT();
    } else if (filter->kind->start) {
        err = filter->kind->start(filter);
        ROTA__NOEXCEPT();
        if (err < 0)
            rota__stream_failed_to(s, err, start_of(filter));
    }
    if (inside)
        rota__gate_leave(&s->gate, BOTH);
    return err;
}

rota_filter *rota_stream_filter(const rota_stream *s, const rota_filter_kind *kind)
{
    rota_filter *f = s->top;
    while (f && f->kind != kind)
        f = f->below;
    return f;
}

int rota_filter_check(void)
{
    return rota__suspend_check();
}
