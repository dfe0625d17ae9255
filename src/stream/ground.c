/* Streams that are filters all the way down: at the bottom is nothing. */
#include "stream/stream.h"

static ssize_t ground_read(rota_filter *filter, void *buf, size_t len)
{
    (void)filter;
    (void)buf;
    (void)len;
    return rota__suspend_check();
}

static ssize_t ground_write(rota_filter *filter, const void *buf, size_t len)
{
    (void)filter;
    (void)buf;
    (void)len;
    int err = rota__suspend_check();
    return err < 0 ? err : -EPIPE;
}

static int ground_shutdown(rota_filter *filter)
{
    (void)filter;
    return 0;
}

static void ground_close(rota_filter *filter)
{
    (void)filter; /* a part of its stream */
}

static const rota_filter_kind ground_kind = {
    .read = ground_read,
    .write = ground_write,
    .shutdown = ground_shutdown,
    .close = ground_close,
};

int rota_stream_from_filter(rota_filter *filter, rota_stream **ret_stream)
{
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    rota_stream *s = rota__stream_new(&ground_kind, sizeof(rota_filter));
    if (!s)
        return rota__error_plain(-ENOMEM);
    filter->below = s->top;
    s->top = filter;
    *ret_stream = s;
    return 0;
}
