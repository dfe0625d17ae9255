/* A user's program with TLS: compiled against the installed libraries by the install check. */

#include <rota.h>
#include <rota/tls.h>
#include <stdio.h>

static int connect_to_nobody(void *arg)
{
    rota_tls_context *tls = arg;
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_tls_connect("127.0.0.1", 1, tls, NULL, &s);
    return err == -ECONNREFUSED ? 0 : -EIO;
}

int main(void)
{
    rota_tls_context *tls;
    rota_tls_options options = {.insecure_accept_any_certificate = true};
    int err = rota_tls_context_new(&options, &tls);
    if (err == 0) {
        err = rota_run(connect_to_nobody, tls);
        rota_tls_context_free(tls);
    }
    if (err < 0)
        fprintf(stderr, "%s: %s\n", rota_strerror(err), rota_error(err));
    return err < 0;
}
