/* Listening: one listener may have several sockets, one for each address of its name.
 *
 * 1. One task accepts at a time. With one socket it awaits the one operation; with several they
 *    race, and what the losers accepted meanwhile is kept for the next call. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "net/net.h"
#include "net/race.h"
#include "net/unix.h"

#include <sys/socket.h>

static const struct rota__wait_kind accepting = {"accept", rota__op_abort};
static const struct rota__wait_kind accepting_any = {"accept", rota__race_abort};

enum { ACCEPTING = 1, PORT_TRIES = 16 };

struct door {
    struct rota__fd fd;
    rota_address address;
    struct rota__unix_file file;
    struct rota__racer racer;
    rota_address peer;
};

struct rota_listener {
    struct rota__gate gate;
    struct rota__race race;
    int port;
    size_t count, next; /* next: which socket is tried first, so that none is always last */
    struct door doors[];
};

/* ---- Opening */

static int door_bind(int fd, rota_address *address, const rota_listen_options *options, bool v6only)
{
    const int on = 1, only = v6only;
    int err = (int)rota__sys(ENOBUFS, setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    if (err == 0 && options->reuse_port)
        err = (int)rota__sys(ENOBUFS, setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on));
    if (err == 0 && address->any.sa_family == AF_INET6)
        err =
            (int)rota__sys(ENOBUFS, setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only));
    if (err == 0)
        err = (int)rota__sys(EADDRINUSE, bind(fd, &address->any, address->len));
    if (err == 0)
        err =
            (int)rota__sys(EADDRINUSE, listen(fd, options->backlog ? options->backlog : SOMAXCONN));
    if (err == 0)
        err = (int)rota__sys(ENOBUFS, getsockname(fd, &address->any, &address->len));
    return err;
}

static int door_open(struct door *door, struct rota__loop *loop, const rota_listen_options *options,
                     bool v6only)
{
    int fd = rota__tcp_socket(door->address.any.sa_family, options->nagle, options->keepalive);
    int err = fd < 0 ? fd : door_bind(fd, &door->address, options, v6only);
    if (err == 0)
        err = rota__fd_open(&door->fd, loop, fd, true);
    if (err < 0)
        rota__sys_close(fd);
    return err;
}

static void door_close(struct door *door)
{
    if (door->racer.finished && door->racer.op.result >= 0)
        rota__sys_close((int)door->racer.op.result);
    door->racer.finished = false;
    rota__unix_remove(&door->address, &door->file);
    rota__fd_close(&door->fd);
}

bool rota__address_is_absent(int err)
{
    return err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT;
}

/* Gives the failure its text, and reports it. */
static int refused(const rota_address *address, int err)
{
    char text[ROTA_ADDRESS_TEXT];
    rota_error_set(err, "listen on %s: %s", rota_address_text(address, text), rota_strerror(err));
    rota_log(ROTA_LOG_INFO, "%s", rota_error(err));
    return err;
}

/* Opens a socket for each address that exists. With port 0 all get the port of the first one. */
static int open_doors(rota_listener *l, const rota_address *addresses, size_t count,
                      const rota_listen_options *options)
{
    int err = -EADDRNOTAVAIL;
    l->count = 0;
    for (size_t i = 0; i < count; i++) {
        struct door *door = &l->doors[l->count];
        *door = (struct door){.address = addresses[i]};
        if (l->count > 0)
            rota__address_set_port(&door->address, l->port);
        err = door_open(door, l->gate.loop, options, options->v6only || count > 1);
        if (err < 0 && rota__address_is_absent(err))
            continue;
        if (err < 0)
            return refused(&door->address, err);
        l->port = rota__address_port(&door->address);
        l->count++;
    }
    return l->count ? 0 : refused(&addresses[0], err);
}

static void close_doors(rota_listener *l)
{
    for (size_t i = 0; i < l->count; i++)
        door_close(&l->doors[i]);
    l->count = 0;
}

/* A free port of one address may be taken on another one: then another free port. */
static int open_all(rota_listener *l, const rota_address *addresses, size_t count,
                    const rota_listen_options *options)
{
    bool any_port = rota__address_port(&addresses[0]) == 0;
    int err = -EADDRINUSE;
    for (int tries = 0; tries < PORT_TRIES && err == -EADDRINUSE; tries++) {
        err = open_doors(l, addresses, count, options);
        if (err < 0)
            close_doors(l);
        if (!any_port)
            break;
    }
    return err;
}

static int listener_new(const rota_address *addresses, size_t count,
                        const rota_listen_options *options, rota_listener **ret_listener)
{
    static const rota_listen_options defaults;
    rota_listener *l = rota_zalloc(sizeof *l + count * sizeof l->doors[0]);
    if (!l)
        return rota__error_plain(-ENOMEM);
    rota__gate_init(&l->gate);
    rota__race_init(&l->race);
    int err = open_all(l, addresses, count, options ? options : &defaults);
    if (err < 0)
        rota_free(l);
    else
        *ret_listener = l;
    return err;
}

/* Every address: IPv6's takes IPv4 too, where there is IPv6. */
static int listen_everywhere(int port, const rota_listen_options *options,
                             rota_listener **ret_listener)
{
    int err = rota__suspend_check();
    if (err < 0 || port < 0 || port > 65535)
        return rota__error_plain(err < 0 ? err : -EINVAL);
    rota_address any;
    rota__address_parse("::", port, &any);
    err = listener_new(&any, 1, options, ret_listener);
    if (!rota__address_is_absent(err) || (options && options->v6only))
        return err;
    rota__address_parse("0.0.0.0", port, &any);
    return listener_new(&any, 1, options, ret_listener);
}

int rota_tcp_listen(const char *host, int port, const rota_listen_options *options,
                    rota_listener **ret_listener)
{
    rota_address addresses[ROTA__ADDRESSES];
    if (!host || !*host)
        return listen_everywhere(port, options, ret_listener);
    int count = rota_resolve(host, port, addresses, ROTA__ADDRESSES);
    if (count < 0) {
        rota_log(ROTA_LOG_INFO, "listen on %s: %s", host, rota_strerror(count));
        return count;
    }
    return listener_new(addresses, (size_t)count, options, ret_listener);
}

int rota__listener_take(int fd, const rota_address *address, const struct rota__unix_file *file,
                        rota_listener **ret_listener)
{
    rota_listener *l = rota_zalloc(sizeof *l + sizeof l->doors[0]);
    if (!l)
        return -ENOMEM;
    rota__gate_init(&l->gate);
    rota__race_init(&l->race);
    int err = rota__fd_open(&l->doors[0].fd, l->gate.loop, fd, true);
    if (err < 0) {
        rota_free(l);
        return err;
    }
    l->doors[0].address = *address;
    l->doors[0].file = *file;
    l->port = rota__address_port(address);
    l->count = 1;
    *ret_listener = l;
    return 0;
}

int rota_listener_port(const rota_listener *listener)
{
    return listener->port;
}

const char *rota__listener_text(const rota_listener *listener, char *ret_text)
{
    if (listener->count == 0)
        ret_text[0] = '\0';
    else
        rota_address_text(&listener->doors[0].address, ret_text);
    return ret_text;
}

/* ---- Accepting */

static void fill_accept(struct rota__op *op, struct door *door)
{
    door->peer.len = sizeof door->peer.un;
    op->kind = ROTA__OP_ACCEPT;
    op->fd = &door->fd;
    op->addr = &door->peer.any;
    op->addr_len = &door->peer.len;
}

static ssize_t accept_at(struct door *door)
{
    struct rota__op op;
    fill_accept(&op, door);
    return rota__op_await(&op, &accepting);
}

static struct door *finished_door(rota_listener *l)
{
    for (size_t i = 0; i < l->count; i++) {
        struct door *door = &l->doors[(l->next + i) % l->count];
        if (door->racer.finished) {
            l->next = (size_t)(door - l->doors + 1) % l->count;
            return door;
        }
    }
    return NULL;
}

static ssize_t accept_anywhere(rota_listener *l, struct door **ret_door)
{
    int err = rota__suspend_check();
    struct door *door = finished_door(l);
    if (err == 0 && !door) {
        for (size_t i = 0; i < l->count; i++) {
            fill_accept(&l->doors[i].racer.op, &l->doors[i]);
            rota__race_start(&l->race, &l->doors[i].racer);
        }
        err = rota__race_wait(&l->race, &accepting_any);
        rota__race_end(&l->race, &accepting_any);
        for (size_t i = 0; i < l->count; i++) {
            if (l->doors[i].racer.op.result == -ECANCELED)
                l->doors[i].racer.finished = false;
        }
        door = finished_door(l);
    }
    if (err < 0)
        return err; /* what was accepted is kept */
    if (!door)
        return -EAGAIN;
    door->racer.finished = false;
    *ret_door = door;
    return door->racer.op.result;
}

/* The connection ended before it was accepted, or, as accept(2) puts it, had network errors
 * pending. */
static bool passes(ssize_t err)
{
    switch (err) {
    case -ECONNABORTED:
    case -EAGAIN:
    case -EINTR:
    case -EPROTO:
    case -ENOPROTOOPT:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENONET:
    case -EOPNOTSUPP:
    case -EPERM: /* a firewall's word on this peer */
        return true;
    default:
        return false;
    }
}

static int accept_failed(const rota_listener *l, int err)
{
    char text[ROTA_ADDRESS_TEXT];
    if (rota__was_interrupted(err) || err == ROTA_ECLOSED)
        return rota__error_plain(err);
    return rota_error_set(err, "accept on %s: %s", rota__listener_text(l, text),
                          rota_strerror(err));
}

static int accept_one(rota_listener *l, rota_stream **ret_stream)
{
    struct door *door = &l->doors[0];
    ssize_t fd;
    do
        fd = l->count == 1 ? accept_at(door) : accept_anywhere(l, &door);
    while (fd < 0 && passes(fd) && !l->gate.closed);
    if (fd < 0)
        return accept_failed(l, (int)fd);
    int err = rota__stream_from_socket(l->gate.loop, (int)fd, &door->peer.any, ret_stream);
    if (err < 0)
        rota__sys_close((int)fd);
    return err < 0 ? accept_failed(l, err) : 0;
}

int rota_accept(rota_listener *listener, rota_stream **ret_stream)
{
    int err = rota__gate_enter(&listener->gate, ACCEPTING);
    if (err < 0)
        return err;
    err = accept_one(listener, ret_stream);
    rota__gate_leave(&listener->gate, ACCEPTING);
    return err;
}

/* ---- Closing */

static void emptied_closed(struct rota__gate *gate)
{
    close_doors(rota__container_of(gate, rota_listener, gate));
}

static void emptied_freed(struct rota__gate *gate)
{
    emptied_closed(gate);
    rota_free(rota__container_of(gate, rota_listener, gate));
}

void rota_listener_close(rota_listener *listener)
{
    if (rota__gate_close(&listener->gate) <= 0)
        return;
    rota__race_interrupt(&listener->race, ROTA_ECLOSED);
    if (listener->count == 1 && listener->doors[0].fd.pending[0])
        rota__op_withdraw(listener->doors[0].fd.pending[0]);
    if (rota__gate_wait(&listener->gate, emptied_closed))
        close_doors(listener);
    rota__gate_end_closing(&listener->gate);
}

rota_listener *rota_listener_free(rota_listener *listener)
{
    if (!listener)
        return NULL;
    ROTA_KEEP_ERROR;
    rota_listener_close(listener);
    if (!listener->gate.closed)
        return NULL;
    if (rota__gate_wait_to_free(&listener->gate, emptied_freed)) {
        close_doors(listener);
        rota_free(listener);
    }
    return NULL;
}
