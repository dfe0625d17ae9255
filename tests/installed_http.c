/* A user's program with HTTP: compiled against the installed libraries by the install check. */

#include <rota.h>
#include <rota/http_server.h>
#include <stdio.h>
#include <string.h>

static int hello(rota_http_request *r, void *arg)
{
    (void)arg;
    return rota_http_reply(r, 200, "text/plain", "hello", 5);
}

static int serve(void *s)
{
    return rota_http_serve_stream(s, hello, NULL, NULL);
}

static int ask(void *arg)
{
    (void)arg;
    ROTA_AUTO(rota_stream) client = NULL;
    ROTA_AUTO(rota_stream) server = NULL;
    int err = rota_stream_pair(0, &client, &server);
    ROTA_GROUP(g);
    if (err == 0)
        err = rota_group_spawn(&g, serve, server);
    if (err == 0)
        err = rota_stream_write(client, "GET / HTTP/1.0\r\n\r\n", 18);
    if (err == 0)
        err = rota_group_wait(&g);
    rota_str reply;
    if (err == 0)
        err = rota_stream_read_until(client, (rota_str){"hello", 5}, 0, &reply);
    return err;
}

int main(void)
{
    int err = rota_run(ask, NULL);
    if (err < 0)
        fprintf(stderr, "%s\n", rota_strerror(err));
    return err < 0;
}
