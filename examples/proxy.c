/* proxy: forwards TCP connections to a target, a task for each direction. See `proxy --help`. */
#include <rota.h>

#include <err.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: proxy LISTEN TARGET [OPTION VALUE]...   where LISTEN and TARGET are HOST:PORT\n\n"
    "Forwards TCP connections from LISTEN to TARGET. On Ctrl-C or SIGTERM it accepts no more\n"
    "connections, waits for the open ones, and prints statistics. Port 0 selects a free port.\n\n"
    "  --connect-timeout SECONDS  how long TARGET may take to answer (default 5)\n"
    "  --idle-timeout SECONDS     end a connection when nothing was sent either way (default 300)\n"
    "  --limit N                  most connections at once; others wait (default 10000)\n"
    "  --grace SECONDS            how long open connections may go on after Ctrl-C (default 5)\n";

static struct option {
    const char *name;
    double value;
} opts[] = {{"--connect-timeout", 5}, {"--idle-timeout", 300}, {"--limit", 10000}, {"--grace", 5}};
enum { CONNECT_TIMEOUT, IDLE_TIMEOUT, LIMIT, GRACE, OPTIONS };

static struct endpoint {
    char host[256];
    int port;
} listen_at, target_at;

static struct {
    unsigned long connections, failed, idle, broken, sent, received;
} stats;

static rota_time seconds(int option)
{
    return (rota_time)(opts[option].value * (double)ROTA_SECOND);
}

struct flow {
    rota_stream *from, *to;
    rota_timeout *idle;
    unsigned long *bytes;
};

/* Copies one direction up to its end, and hands that on; the other one may have more to say. */
static int forward(void *arg)
{
    struct flow *flow = arg;
    char buf[32 * 1024];
    ssize_t n;
    while ((n = rota_stream_read(flow->from, buf, sizeof buf)) > 0) {
        int err = rota_stream_write(flow->to, buf, (size_t)n);
        if (err < 0)
            return err;
        *flow->bytes += (unsigned long)n;
        rota_timeout_reset(flow->idle, seconds(IDLE_TIMEOUT));
    }
    return n < 0 ? (int)n : rota_stream_shutdown(flow->to);
}

/* Runs for each connection. What fails here ends this one only. */
static int serve(rota_stream *client, void *arg)
{
    ROTA_AUTO(rota_stream) target = NULL;
    int err = 0;
    stats.connections++;
    ROTA_TIMEOUT (seconds(CONNECT_TIMEOUT)) {
        err = rota_tcp_connect(target_at.host, target_at.port, NULL, &target);
    }
    if (err < 0) {
        stats.failed++;
        warnx("%s", rota_error(err));
        return 0;
    }
    rota_timeout idle;
    rota_timeout_begin(&idle, seconds(IDLE_TIMEOUT));
    struct flow up = {client, target, &idle, &stats.sent};
    struct flow down = {target, client, &idle, &stats.received};
    ROTA_GROUP(group);
    rota_group_spawn(&group, forward, &up);
    rota_group_spawn(&group, forward, &down);
    err = rota_group_wait(&group); /* one that fails ends the other */
    bool was_idle = rota_timeout_end(&idle) < 0;
    stats.idle += was_idle;
    stats.broken += !was_idle && err < 0;
    return 0;
}

static int proxy(void *arg)
{
    rota_address address;
    ROTA_AUTO(rota_listener) listener = NULL;
    int err = rota_resolve(target_at.host, target_at.port, &address, 1);
    if (err == ROTA_ENOHOST)
        return rota_error_set(err, "%s; check its name", rota_error(err));
    err = rota_tcp_listen(listen_at.host, listen_at.port, NULL, &listener);
    if (err < 0)
        return rota_error_set(err, "%s; select another port, or 0 for a free one", rota_error(err));
    printf("port %d\n", rota_listener_port(listener));
    fflush(stdout);
    rota_serve_options serving = {(size_t)opts[LIMIT].value, seconds(GRACE)};
    ROTA_UNTIL_STOP
    {
        err = rota_serve(listener, serve, NULL, &serving);
    }
    printf("%lu connections: %lu failed to connect, %lu idle too long, %lu broken off\n"
           "%lu bytes to the target, %lu back\n",
           stats.connections, stats.failed, stats.idle, stats.broken, stats.sent, stats.received);
    return err == -ECANCELED ? 0 : err;
}

static void parse_endpoint(struct endpoint *e, const char *text)
{
    char more;
    if ((sscanf(text, "[%255[^]]]:%d%c", e->host, &e->port, &more) != 2 &&
         sscanf(text, "%255[^][:]:%d%c", e->host, &e->port, &more) != 2) ||
        e->port < 0 || e->port > 65535)
        errx(2, "%s is not HOST:PORT, such as localhost:8080 or [::1]:8080", text);
}

static void parse_option(const char *name, const char *text)
{
    char more;
    for (int i = 0; i < OPTIONS; i++) {
        if (strcmp(opts[i].name, name) != 0)
            continue;
        if (text && sscanf(text, "%lf%c", &opts[i].value, &more) == 1 && opts[i].value > 0)
            return;
        errx(2, "%s needs a number above 0", name);
    }
    errx(2, "unknown option %s; see proxy --help", name);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(usage, stdout) < 0;
    if (argc < 3)
        errx(2, "LISTEN and TARGET are missing; see proxy --help");
    parse_endpoint(&listen_at, argv[1]);
    parse_endpoint(&target_at, argv[2]);
    for (int i = 3; i < argc; i += 2)
        parse_option(argv[i], argv[i + 1]);
    return rota_main(proxy, NULL);
}
