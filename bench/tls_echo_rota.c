/* rota's side of the TLS rows: a task a connection, as any server would be written.
 *
 *     tls_echo_rota CERTIFICATE KEY */
#include "serving.h"

#include <rota/tls.h>

static int echo(rota_stream *stream, void *tls)
{
    char buffer[16384];
    ssize_t n = rota_tls_start_server(stream, tls);

    while (n >= 0 && (n = rota_stream_read(stream, buffer, sizeof buffer)) > 0)
        n = rota_stream_write(stream, buffer, (size_t)n);
    return (int)n;
}

static int serve(void *tls)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    int err = listen_and_announce(&listener);

    return err < 0 ? err : rota_serve(listener, echo, tls, NULL);
}

int main(int argc, char **argv)
{
    ROTA_AUTO(rota_tls_context) tls = NULL;

    if (argc != 3) {
        fputs("usage: tls_echo_rota CERTIFICATE KEY\n", stderr);
        return 2;
    }
    rota_tls_options options = {.cert_file = argv[1], .key_file = argv[2]};
    int err = rota_tls_context_new(&options, &tls);
    if (err < 0) {
        fprintf(stderr, "tls_echo: %s\n", rota_error(err));
        return 1;
    }
    return exit_status(rota_run(serve, tls));
}
