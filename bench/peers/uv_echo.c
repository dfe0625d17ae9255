/* Echo over libuv, in three ways:
 *
 *     uv_echo          as libuv's guide and its own echo server have it: a buffer of the suggested
 *                      size a
 *                      read, handed on to uv_write and freed once that is done
 *     uv_echo --kept   a buffer a client; what was read is copied for uv_write
 *     uv_echo --try    a buffer a client; uv_try_write, and only what the socket refused is copied
 *                      for
 *                      uv_write: as little as libuv can be asked to do */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct client {
    uv_tcp_t tcp;
    char buffer[16384];
};

struct reply {
    uv_write_t write;
    char *bytes;
};

static int keep, try_first;

static void closed(uv_handle_t *handle)
{
    free(handle);
}

static void new_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer)
{
    (void)handle;
    *ret_buffer = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buffer)
{
    struct client *client = (struct client *)handle;

    (void)suggested;
    *ret_buffer = uv_buf_init(client->buffer, sizeof client->buffer);
}

static void written(uv_write_t *write, int status)
{
    struct reply *reply = (struct reply *)write;

    if (status < 0 && !uv_is_closing((uv_handle_t *)write->handle))
        uv_close((uv_handle_t *)write->handle, closed);
    free(reply->bytes);
    free(reply);
}

/* Takes the bytes. */
static void reply(uv_stream_t *stream, char *bytes, size_t length)
{
    struct reply *r = malloc(sizeof *r);
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)length);

    if (!r || !bytes)
        abort();
    r->bytes = bytes;
    if (uv_write(&r->write, stream, &buffer, 1, written) < 0)
        abort();
}

static void received_new(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    if (n > 0) {
        reply(stream, buffer->base, (size_t)n);
        return;
    }
    free(buffer->base);
    if (n < 0)
        uv_close((uv_handle_t *)stream, closed);
}

static void received_kept(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    if (n < 0) {
        uv_close((uv_handle_t *)stream, closed);
        return;
    }
    size_t done = 0;
    if (try_first && n > 0) {
        uv_buf_t all = uv_buf_init(buffer->base, (unsigned)n);
        int sent = uv_try_write(stream, &all, 1);
        done = sent > 0 ? (size_t)sent : 0;
    }
    if (done == (size_t)n)
        return;
    char *rest = malloc((size_t)n - done);
    if (rest)
        memcpy(rest, buffer->base + done, (size_t)n - done);
    reply(stream, rest, (size_t)n - done);
}

static void connected(uv_stream_t *listener, int status)
{
    struct client *client = malloc(sizeof *client);

    if (status < 0 || !client)
        abort();
    uv_tcp_init(listener->loop, &client->tcp);
    if (uv_accept(listener, (uv_stream_t *)&client->tcp) < 0) {
        uv_close((uv_handle_t *)&client->tcp, closed);
        return;
    }
    uv_tcp_nodelay(&client->tcp, 1);
    if (keep)
        uv_read_start((uv_stream_t *)&client->tcp, lend_buffer, received_kept);
    else
        uv_read_start((uv_stream_t *)&client->tcp, new_buffer, received_new);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    int length = sizeof address;

    keep = argc > 1;
    try_first = argc > 1 && strcmp(argv[1], "--try") == 0;
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(loop, &listener);
    if (uv_tcp_bind(&listener, (struct sockaddr *)&address, 0) < 0 ||
        uv_listen((uv_stream_t *)&listener, 1024, connected) < 0 ||
        uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &length) < 0) {
        fputs("cannot listen on 127.0.0.1\n", stderr);
        return 1;
    }
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
