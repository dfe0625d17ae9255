/* Handlers with two tasks: one reads the body while the other replies. */
#ifndef RELAY_H
#define RELAY_H

#include <rota.h>
#include <rota/http_server.h>

enum { RELAY_PIECE = 16384 };

/* What a reader and a writer share. */
struct relay {
    rota_http_request *request;
    rota_stream *in, *out; /* what goes in comes out, to be sent back */
    uint64_t length;       /* of the request's body */
    int read, written;     /* how the two ended */
};

static inline int read_on(void *arg)
{
    struct relay *relay = arg;
    char buf[RELAY_PIECE];
    ssize_t n;
    int err = 0;
    while (err == 0 && (n = rota_http_request_read(relay->request, buf, sizeof buf)) != 0)
        err = n < 0 ? (int)n : rota_stream_write(relay->in, buf, (size_t)n);
    if (err == 0)
        err = rota_stream_shutdown(relay->in);
    return relay->read = err;
}

static inline int read_all(void *arg)
{
    struct relay *relay = arg;
    char buf[RELAY_PIECE];
    ssize_t n;
    while ((n = rota_http_request_read(relay->request, buf, sizeof buf)) > 0)
        ;
    return relay->read = (int)n;
}

static inline int write_on(void *arg)
{
    struct relay *relay = arg;
    char buf[RELAY_PIECE];
    ssize_t n;
    int err = rota_http_start(relay->request, 200, NULL, relay->length);
    while (err == 0 && (n = rota_stream_read(relay->out, buf, sizeof buf)) != 0)
        err = n < 0 ? (int)n : rota_http_write(relay->request, buf, (size_t)n);
    return relay->written = err;
}

static inline int relay_with(struct relay *relay, rota_http_request *r, rota_fn *reader,
                             rota_fn *writer)
{
    relay->request = r;
    relay->length = rota_http_request_length(r);
    int err = rota_stream_pair(4096, &relay->in, &relay->out);
    if (err < 0)
        return err;
    {
        ROTA_GROUP(g);
        rota_group_spawn(&g, reader, relay);
        rota_group_spawn(&g, writer, relay);
        err = rota_group_wait(&g);
    }
    rota_stream_free(relay->in);
    rota_stream_free(relay->out);
    return err;
}

static inline int echo_both_ways(rota_http_request *r, void *arg)
{
    return relay_with(arg, r, read_on, write_on);
}

/* In one task: each piece of up to `most` bytes is sent back before the next is read. */
static inline int echo_piece_by_piece(rota_http_request *r, size_t most)
{
    char buf[RELAY_PIECE];
    ssize_t n;
    int err = rota_http_start(r, 200, "text/plain", ROTA_HTTP_UNKNOWN_LENGTH);
    if (err == 0)
        err = rota_http_flush(r);
    while (err == 0 && (n = rota_http_request_read(r, buf, most)) != 0) {
        err = n < 0 ? (int)n : rota_http_write(r, buf, (size_t)n);
        if (err == 0)
            err = rota_http_flush(r);
    }
    return err;
}

#endif
