/* rota's side of the HTTP rows: 25 bytes for every request.
 *
 *     http_hello_rota [CERTIFICATE KEY]     with them over TLS, by HTTP/1.1 and HTTP/2 */
#include <rota.h>
#include <rota/http_server.h>

#include <stdio.h>

static int hello(rota_http_request *r, void *arg)
{
    return rota_http_reply(r, 200, "text/plain", "Hello from the benchmark\n", 25);
}

static int serve(void *tls)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    rota_http_serve_options options = {.tls = tls};
    int err = rota_tcp_listen("127.0.0.1", 0, NULL, &listener);

    if (err < 0)
        return err;
    printf("port %d\n", rota_listener_port(listener));
    fflush(stdout);
    return rota_http_serve(&listener, 1, hello, NULL, &options);
}

int main(int argc, char **argv)
{
    ROTA_AUTO(rota_tls_context) tls = NULL;
    int err = 0;

    if (argc != 1 && argc != 3) {
        fputs("usage: http_hello_rota [CERTIFICATE KEY]\n", stderr);
        return 2;
    }
    if (argc == 3) {
        rota_tls_options options = {
            .cert_file = argv[1], .key_file = argv[2], .alpn = rota_http_alpn};
        err = rota_tls_context_new(&options, &tls);
    }
    if (err < 0) {
        fprintf(stderr, "http_hello: %s\n", rota_tls_error());
        return 1;
    }
    err = rota_run(serve, tls);
    if (err < 0)
        fprintf(stderr, "http_hello: %s\n", rota_strerror(err));
    return err < 0;
}
