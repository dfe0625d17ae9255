/* Connecting: several addresses race (RFC 8305), the first to answer wins.
 *
 * 1. At most one attempt is started at a time; the next one follows a failure at once, else after
 *    ROTA__ATTEMPT_DELAY.
 * 2. Every attempt owns its socket as a stream from the beginning: the winner's is the result. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "net/net.h"
#include "net/race.h"

#include <stdio.h>
#include <string.h>

enum { WHY = 200 };

static const struct rota__wait_kind connecting = {"connect", rota__race_abort};

struct attempt {
    struct rota__racer racer;
    rota_address *address;
    rota_stream *stream;
    bool cannot_bind; /* as the options say */
};

struct connection {
    struct rota__race race;
    const rota_connect_options *options;
    struct attempt *attempts;
    int count, started, failed;
    const char *host; /* as the caller wrote it; NULL: addresses are all there is */
    int error;        /* the most informative error so far, and its attempt */
    const struct attempt *culprit;
    rota_stream *winner;
};

/* Section 4: families by turns, beginning with the preferred address's. Keeps the order in each. */
static void interleave(rota_address *addresses, int count)
{
    for (int i = 1; i < count; i++) {
        int wanted = addresses[i - 1].any.sa_family == AF_INET6 ? AF_INET : AF_INET6;
        int next = i;
        while (next < count && addresses[next].any.sa_family != wanted)
            next++;
        if (next == count)
            return; /* the rest is of one family */
        rota_address moved = addresses[next];
        for (; next > i; next--)
            addresses[next] = addresses[next - 1];
        addresses[i] = moved;
    }
}

/* A bound socket as a stream. */
static int attempt_prepare(struct attempt *a, const rota_connect_options *options)
{
    int fd = rota__tcp_socket(a->address->any.sa_family, options->nagle, options->keepalive);
    int err = fd < 0 ? fd : 0;
    if (err == 0 && (options->bind || options->bind_port))
        err = rota__socket_bind(fd, a->address->any.sa_family, options->bind, options->bind_port);
    a->cannot_bind = fd >= 0 && err < 0;
    if (err == 0)
        err = rota__stream_from_socket(rota__loop_here, fd, &a->address->any, &a->stream);
    if (err < 0)
        rota__sys_close(fd);
    return err;
}

/* Whether it says more about the peer than that this machine has no route to it. */
static bool is_telling(int err)
{
    return err != -ENETUNREACH && err != -EAFNOSUPPORT && err != -EADDRNOTAVAIL;
}

static void attempt_failed(struct connection *c, struct attempt *a, int err)
{
    char text[ROTA_ADDRESS_TEXT];
    if (rota__log_wanted(ROTA_LOG_INFO))
        rota_log(ROTA_LOG_INFO, "connect to %s: %s", rota_address_text(a->address, text),
                 rota_strerror(err));
    a->stream = rota_stream_free(a->stream);
    c->failed++;
    if (!c->error || is_telling(err) || !is_telling(c->error)) {
        c->error = err;
        c->culprit = a;
    }
}

static void start_next(struct connection *c)
{
    struct attempt *a = &c->attempts[c->started++];
    int err = attempt_prepare(a, c->options);
    if (err < 0) {
        attempt_failed(c, a, err);
        return;
    }
    struct rota__socket *socket = rota__stream_bottom(a->stream);
    a->racer.op.kind = ROTA__OP_CONNECT;
    a->racer.op.fd = &socket->fd;
    a->racer.op.addr = &a->address->any;
    a->racer.op.addr_len = &a->address->len;
    rota__race_start(&c->race, &a->racer);
}

static void collect(struct connection *c)
{
    for (int i = 0; i < c->started; i++) {
        struct attempt *a = &c->attempts[i];
        if (!a->racer.finished)
            continue;
        a->racer.finished = false;
        if (a->racer.op.result < 0) {
            attempt_failed(c, a, (int)a->racer.op.result);
        } else if (!c->winner) {
            c->winner = a->stream;
            a->stream = NULL;
        }
    }
}

/* Waits for a result, at most until the next attempt is due. */
static int wait_for_news(struct connection *c)
{
    rota_timeout delay = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&delay, c->started < c->count ? ROTA__ATTEMPT_DELAY : ROTA_NEVER);
    int err = rota__race_wait(&c->race, &connecting);
    bool due = rota_timeout_end(&delay) < 0;
    return err == -ETIMEDOUT && due ? 0 : err;
}

static bool is_name(const char *host)
{
    rota_address address;
    return host && rota__address_parse(host, 0, &address) < 0;
}

/* "bind to \"127.0.0.9\" (option bind): Address already in use" */
static void say_why(const struct connection *c, char *text, size_t size)
{
    const char *host = c->options->bind, *why = rota_strerror(c->error);
    int port = c->options->bind_port;
    if (!c->culprit->cannot_bind)
        snprintf(text, size, "%s", why);
    else if (!host)
        snprintf(text, size, "bind to port %d (option bind_port): %s", port, why);
    else if (!port)
        snprintf(text, size, "bind to \"%s\" (option bind): %s", host, why);
    else
        snprintf(text, size, "bind to \"%s\" and port %d (options bind and bind_port): %s", host,
                 port, why);
}

/* "connect to localhost:80 (127.0.0.1): Connection refused" */
static int all_failed(const struct connection *c)
{
    char text[ROTA_ADDRESS_TEXT], why[WHY];
    say_why(c, why, sizeof why);
    rota_address_text(c->culprit->address, text);
    if (!is_name(c->host))
        return rota_error_set(c->error, "connect to %s: %s", text, why);
    const char *port = strrchr(text, ':');
    return rota_error_set(c->error, "connect to %s%s (%.*s): %s", c->host, port, (int)(port - text),
                          text, why);
}

static int race_for_it(struct connection *c)
{
    while (!c->winner && c->failed < c->count) {
        int failed = c->failed;
        if (c->started < c->count)
            start_next(c);
        int err = c->failed > failed ? 0 : wait_for_news(c);
        collect(c);
        if (err < 0 && !c->winner)
            return rota__error_plain(err);
    }
    return c->winner ? 0 : all_failed(c);
}

static int connect_any(struct connection *c, rota_stream **ret_stream)
{
    rota__race_init(&c->race);
    int err = race_for_it(c);
    rota__race_end(&c->race, &connecting);
    for (int i = 0; i < c->started; i++)
        rota_stream_free(c->attempts[i].stream);
    if (err == 0)
        *ret_stream = c->winner;
    return err;
}

static int connect_to(const char *host, const rota_address *addresses, size_t count,
                      const rota_connect_options *options, rota_stream **ret_stream)
{
    static const rota_connect_options defaults;
    rota_address ordered[ROTA__ADDRESSES];
    memcpy(ordered, addresses, count * sizeof *addresses);
    interleave(ordered, (int)count);
    struct connection c = {
        .options = options ? options : &defaults, .host = host, .count = (int)count};
    c.attempts = rota__alloc_array(count, sizeof *c.attempts);
    if (!c.attempts)
        return rota__error_plain(-ENOMEM);
    for (size_t i = 0; i < count; i++)
        c.attempts[i].address = &ordered[i];
    int err = connect_any(&c, ret_stream);
    rota_free(c.attempts);
    return err;
}

int rota_tcp_connect_any(const rota_address *addresses, size_t count,
                         const rota_connect_options *options, rota_stream **ret_stream)
{
    if (count == 0 || count > ROTA__ADDRESSES)
        return rota__invalid_argument("connect: no addresses, or too many");
    if (!rota__task_here())
        return rota__error_plain(ROTA_ENOTASK);
    return connect_to(NULL, addresses, count, options, ret_stream);
}

int rota_tcp_connect(const char *host, int port, const rota_connect_options *options,
                     rota_stream **ret_stream)
{
    rota_address addresses[ROTA__ADDRESSES];
    int count = rota_resolve(host, port, addresses, ROTA__ADDRESSES);
    if (count < 0) {
        rota_log(ROTA_LOG_INFO, "connect to %s: %s", host ? host : "(no host)",
                 rota_strerror(count));
        return count;
    }
    return connect_to(host, addresses, (size_t)count, options, ret_stream);
}
