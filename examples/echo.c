/* A TCP echo server: sends back what it receives, one task for each connection, until SIGINT or
 * SIGTERM. On one loop, or on many in threads or processes. */
#include <rota.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

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
    int err = rota_worker_listen("localhost", *port, NULL, &l);
    if (err < 0)
        return err;
    if (rota_worker_index() <= 0) { /* all have the same */
        printf("port %d\n", rota_listener_port(l));
        fflush(stdout);
    }
    rota_serve_options options = {.grace = 5 * ROTA_SECOND};
    return rota_serve(l, echo, NULL, &options);
}

struct how {
    int threads; /* -1: none but this one */
    int port;
};

/* Stopping the one task stops whatever it waits for. Processes have a supervisor for that. */
static int serve_until_stop(void *arg)
{
    struct how *how = arg;
    int err = 0;
    ROTA_UNTIL_STOP
    {
        err = how->threads < 0 ? serve(&how->port)
                               : rota_run_workers((unsigned)how->threads, serve, &how->port);
    }
    return err == -ECANCELED ? 0 : err; /* a signal is how it ends */
}

static int usage(FILE *out)
{
    fprintf(
        out,
        "usage: echo [--workers N | --processes N] PORT\n"
        "Listens on PORT of localhost and sends back what each connection sends. Port 0\n"
        "selects a free port. Prints `port N` once it listens. On SIGINT or SIGTERM it accepts\n"
        "no more connections, and gives the open ones five seconds to end.\n"
        "\n"
        "  --workers N    run N threads, each with its own loop; 0: one for each processor\n"
        "  --processes N  run N processes, and replace those that die\n");
    return out == stderr ? 2 : 0;
}

/* A whole number from 0 to `most`, or -1 and a message. */
static int number(const char *text, int most, const char *what)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end != text && !*end && n >= 0 && n <= most)
        return (int)n;
    fprintf(stderr, "echo: %s must be 0 to %d: %s\n", what, most, text);
    return -1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"workers", required_argument, NULL, 'w'},
                                            {"processes", required_argument, NULL, 'p'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int option = 0, n = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'h')
            return usage(stdout);
        if (c == '?' || option)
            return usage(stderr);
        option = c;
        n = number(optarg, 4096, "N");
    }
    if (optind != argc - 1)
        return usage(stderr);
    int port = number(argv[optind], 65535, "PORT");
    if (n < 0 || port < 0)
        return 2;
    struct how how = {option == 'w' ? n : -1, port};
    if (option != 'p')
        return rota_main(serve_until_stop, &how);
    int err = rota_run_worker_processes((unsigned)n, serve, &port);
    if (err == 0 || err == -ECANCELED)
        return 0;
    fprintf(stderr, "echo: %s\n", rota_error(err));
    return 1;
}
