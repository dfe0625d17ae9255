/* rota's side of the HTTP rows: 25 bytes for /hello, else the files of a directory.
 *
 *     http_rota DIRECTORY [CERTIFICATE KEY]     with them over TLS, by HTTP/1.1 and HTTP/2 */
#include "serving.h"

#include <rota/http_server.h>

struct site {
    rota_http_root *root;
    rota_tls_context *tls;
};

static int answer(rota_http_request *r, void *arg)
{
    const struct site *site = arg;
    rota_str path = rota_http_request_path(r);

    if (rota_str_equal(path, "/hello"))
        return rota_http_reply(r, 200, "text/plain", "Hello from the benchmark\n", 25);
    return rota_http_reply_file(r, site->root, path);
}

static int serve(void *arg)
{
    const struct site *site = arg;
    ROTA_AUTO(rota_listener) listener = NULL;
    rota_http_serve_options options = {.tls = site->tls};
    int err = listen_and_announce(&listener);

    return err < 0 ? err : rota_http_serve(&listener, 1, answer, arg, &options);
}

int main(int argc, char **argv)
{
    ROTA_AUTO(rota_http_root) root = NULL;
    ROTA_AUTO(rota_tls_context) tls = NULL;

    if (argc != 2 && argc != 4) {
        fputs("usage: http_rota DIRECTORY [CERTIFICATE KEY]\n", stderr);
        return 2;
    }
    int err = rota_http_root_open(argv[1], NULL, &root);
    if (err == 0 && argc == 4) {
        rota_tls_options options = {
            .cert_file = argv[2], .key_file = argv[3], .alpn = rota_http_alpn};
        err = rota_tls_context_new(&options, &tls);
    }
    if (err == 0) {
        struct site site = {root, tls};
        err = rota_run(serve, &site);
    }
    return exit_status(err);
}
