/* rota's side of the echo table: a task a connection, as any server would be written. */
#include <rota.h>

#include <stdio.h>

static int echo(rota_stream *stream, void *arg)
{
    char buffer[16384];
    ssize_t n;

    while ((n = rota_stream_read(stream, buffer, sizeof buffer)) > 0) {
        int err = rota_stream_write(stream, buffer, (size_t)n);
        if (err < 0)
            return err;
    }
    return (int)n;
}

static int serve(void *arg)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    int err = rota_tcp_listen("127.0.0.1", 0, NULL, &listener);

    if (err < 0)
        return err;
    printf("port %d\n", rota_listener_port(listener));
    fflush(stdout);
    return rota_serve(listener, echo, NULL, NULL);
}

int main(void)
{
    int err = rota_run(serve, NULL);

    if (err < 0)
        fprintf(stderr, "echo: %s\n", rota_strerror(err));
    return err < 0;
}
