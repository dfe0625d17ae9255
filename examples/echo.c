/* A TCP echo server: sends back what it receives, a task a connection, until SIGINT. */
#include <rota.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int echo(rota_stream *s, void *arg)
{
    char buf[16384];
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
    const int *port = arg;
    ROTA_AUTO(rota_listener) l = NULL;
    int err = rota_tcp_listen("localhost", *port, NULL, &l);
    if (err < 0) {
        fprintf(stderr, "echo: cannot listen on port %d: %s\n", *port, rota_strerror(err));
        return err;
    }
    printf("port %d\n", rota_listener_port(l));
    fflush(stdout);
    err = rota_serve(l, echo, NULL, NULL);
    return err == -ECANCELED ? 0 : err; /* SIGINT is how it ends */
}

static int usage(FILE *out)
{
    fprintf(out,
            "usage: echo PORT\n"
            "Sends back what connections to PORT of this machine send. With 0 it takes a free\n"
            "port. Prints `port N` once it listens; ends on SIGINT.\n");
    return out == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
    char *end;
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    if (argc != 2)
        return usage(stderr);
    int port = (int)strtol(argv[1], &end, 10);
    if (end == argv[1] || *end || port < 0 || port > 65535) {
        fprintf(stderr, "echo: no port: %s\n", argv[1]);
        return 2;
    }
    return rota_run(serve, &port) < 0;
}
