/* echo: a TCP server that sends back what it gets, and a hundred clients, all in one thread.
 *
 * Python: server = await asyncio.start_server(echo, "localhost", 0) */
#include <rota.h>

#include <stdio.h>
#include <string.h>

enum { CLIENTS = 100 };

static int echo(rota_stream *s, void *arg)
{
    char buf[1024];
    ssize_t n;
    while ((n = rota_stream_read(s, buf, sizeof buf)) > 0) {
        int err = rota_stream_write(s, buf, (size_t)n);
        if (err < 0)
            return err;
    }
    return (int)n;
}

static int serve(void *arg)
{
    return rota_serve(arg, echo, NULL, NULL); /* one task for each connection, until cancelled */
}

static int client(void *arg)
{
    char text[64], reply[64];
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_tcp_connect("127.0.0.1", rota_listener_port(arg), NULL, &s);
    if (err < 0)
        return err;
    int len = snprintf(text, sizeof text, "hello from %s", rota_stream_local(s));
    err = rota_stream_write(s, text, (size_t)len);
    if (err == 0)
        err = rota_stream_read_exact(s, reply, (size_t)len);
    if (err == 0 && memcmp(text, reply, (size_t)len) != 0)
        err = -EBADMSG;
    return err;
}

static int echo_main(void *arg)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    int err = rota_tcp_listen("127.0.0.1", 0, NULL, &listener);
    if (err < 0)
        return err;
    ROTA_AUTO(rota_task) server = NULL; /* cancelled when this function is left */
    err = rota_spawn(serve, listener, &server);
    if (err < 0)
        return err;

    printf("%d clients\n", CLIENTS);
    ROTA_GROUP(clients);
    for (int i = 0; i < CLIENTS; i++)
        rota_group_spawn(&clients, client, listener);
    err = rota_group_wait(&clients);
    printf("%s\n", err < 0 ? rota_error(err) : "each got its own words back");
    return err;
}

int main(void)
{
    return rota_main(echo_main, NULL);
}
