/* The body of a request as a stream. */
#include "http/plain.h"
#include "http/server.h"

#include <rota/filter.h>

#include <stdio.h>

struct body {
    rota_filter filter;
    rota_http_request *request;
    /* Around the call under way. */
    rota_timeout *reading;
    bool interrupted;
};

static struct body *body_of(rota_filter *filter)
{
    return rota__container_of(filter, struct body, filter);
}

static ssize_t body_read(rota_filter *filter, void *buf, size_t len)
{
    struct body *b = body_of(filter);
    if (b->interrupted)
        return ROTA_ECLOSED;
    rota_timeout reading = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&reading, ROTA_NEVER);
    b->reading = &reading;
    ssize_t n = rota_http_request_read(b->request, buf, len);
    b->reading = NULL;
    rota_timeout_end(&reading);
    return n < 0 && b->interrupted ? ROTA_ECLOSED : n;
}

static ssize_t body_write(rota_filter *filter, const void *buf, size_t len)
{
    (void)filter;
    (void)buf;
    (void)len;
    int err = rota_filter_check();
    return err < 0 ? err : -EBADF;
}

static void body_interrupt(rota_filter *filter)
{
    struct body *b = body_of(filter);
    b->interrupted = true;
    if (b->reading)
        rota_timeout_reset(b->reading, 0);
}

static void body_close(rota_filter *filter)
{
    rota_free(body_of(filter));
}

static void body_describe(rota_filter *filter, bool peer, char *ret_text, size_t size)
{
    rota_stream *s = body_of(filter)->request->stream;
    snprintf(ret_text, size, "%s", peer ? rota_stream_peer(s) : rota_stream_local(s));
}

static const rota_filter_kind body_kind = {
    .read = body_read,
    .write = body_write,
    .interrupt = body_interrupt,
    .close = body_close,
    .describe = body_describe,
};

int rota_http_request_body_stream(rota_http_request *r, rota_stream **ret_body)
{
    struct body *b = rota_zalloc(sizeof *b);
    if (!b)
        return rota__http_plain(-ENOMEM);
    *b = (struct body){{.kind = &body_kind}, .request = r};
    int err = rota_stream_from_filter(&b->filter, ret_body);
    if (err < 0)
        rota_free(b);
    return err;
}
