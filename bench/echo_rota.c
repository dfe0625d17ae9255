/* rota's side of the echo table: a task a connection, as any server would be written. */
#include "serving.h"

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
    int err = listen_and_announce(&listener);

    return err < 0 ? err : rota_serve(listener, echo, NULL, NULL);
}

int main(void)
{
    return exit_status(rota_run(serve, NULL));
}
