/* Opening UDP sockets, and their groups. */
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "net/dgram.h"

#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

static const rota_udp_options defaults;

/* ---- Options */

/* 0 where there is no name. */
static int interface_number(const char *name)
{
    int number = name ? (int)if_nametoindex(name) : 0;
    return name && number == 0 ? -ENODEV : number;
}

/* An option that IPv4 and IPv6 have under different names. An IPv6 socket may carry both. */
static int set_both(int fd, int family, int v4_name, int v6_name, int value)
{
    int err = family == AF_INET6 ? rota__socket_set(fd, IPPROTO_IPV6, v6_name, value) : 0;
    return err < 0 ? err : rota__socket_set(fd, IPPROTO_IP, v4_name, value);
}

static int set_multicast(int fd, int family, const rota_udp_options *o)
{
    int number = interface_number(o->multicast_interface), err = number < 0 ? number : 0;
    if (err == 0 && o->multicast_ttl)
        err = set_both(fd, family, IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS, o->multicast_ttl);
    if (err == 0 && o->multicast_away)
        err = set_both(fd, family, IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP, 0);
    if (err < 0 || number == 0)
        return err;
    struct ip_mreqn by = {.imr_ifindex = number};
    err = (int)rota__sys(ENOBUFS, setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof by));
    if (err == 0 && family == AF_INET6)
        err = rota__socket_set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, number);
    return err;
}

static int set_options(int fd, int family, const rota_udp_options *o)
{
    int err = o->reuse_port ? rota__socket_set(fd, SOL_SOCKET, SO_REUSEPORT, 1) : 0;
    if (err == 0 && family == AF_INET6)
        err = rota__socket_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only);
    if (err == 0 && o->broadcast)
        err = rota__socket_set(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (err == 0 && o->ttl)
        err = set_both(fd, family, IP_TTL, IPV6_UNICAST_HOPS, o->ttl);
    if (err == 0)
        err = set_multicast(fd, family, o);
    return err < 0 ? err : rota__dgram_set_buffers(fd, o->receive_buffer, o->send_buffer);
}

/* ---- Opening */

typedef int attach_fn(int fd, const rota_address *address, const rota_udp_options *options);

/* What is done with the socket, and its name in error texts. */
struct use {
    attach_fn *attach;
    const char *name;
};

static int attach_here(int fd, const rota_address *address, const rota_udp_options *options)
{
    (void)options;
    return (int)rota__sys(EADDRINUSE, bind(fd, &address->any, address->len));
}

static int attach_to_peer(int fd, const rota_address *address, const rota_udp_options *options)
{
    int err = 0;
    if (options->bind || options->bind_port)
        err = rota__socket_bind(fd, address->any.sa_family, options->bind, options->bind_port);
    if (err < 0)
        return err;
    return (int)rota__sys(ENETUNREACH, connect(fd, &address->any, address->len));
}

static const struct use listening = {attach_here, "open UDP socket on"},
                        asking = {attach_to_peer, "connect UDP socket to"};

static int open_one(const rota_address *address, attach_fn *attach, const rota_udp_options *options,
                    rota_dgram **ret_socket)
{
    static const struct rota__unix_file none;
    int family = address->any.sa_family;
    int fd = (int)rota__sys(EMFILE, socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return fd;
    int err = set_options(fd, family, options);
    if (err == 0)
        err = attach(fd, address, options);
    if (err == 0)
        err = rota__dgram_new(fd, &none, ret_socket);
    if (err < 0)
        rota__sys_close(fd);
    return err;
}

/* Whether another address may do better. */
static bool is_of_address(int err)
{
    return rota__address_is_absent(err) || err == -ENETUNREACH || err == -EHOSTUNREACH;
}

static int open_first(const rota_address *addresses, int count, const struct use *use,
                      const rota_udp_options *options, rota_dgram **ret_socket)
{
    char text[ROTA_ADDRESS_TEXT];
    int err = -EADDRNOTAVAIL;
    for (int i = 0; i < count; i++) {
        err = open_one(&addresses[i], use->attach, options, ret_socket);
        if (err == 0)
            return 0;
        rota_error_set(err, "%s %s: %s", use->name, rota_address_text(&addresses[i], text),
                       rota_strerror(err));
        rota_log(ROTA_LOG_INFO, "%s", rota_error(err));
        if (!is_of_address(err))
            break;
    }
    return err;
}

/* Every address: IPv6's takes IPv4 too, where there is IPv6. */
static int open_everywhere(int port, const rota_udp_options *options, rota_dgram **ret_socket)
{
    rota_address any[2];
    int err = rota__suspend_check();
    if (err < 0 || port < 0 || port > 65535)
        return rota__error_plain(err < 0 ? err : -EINVAL);
    rota__address_parse("::", port, &any[0]);
    rota__address_parse("0.0.0.0", port, &any[1]);
    return open_first(any, options->v6only ? 1 : 2, &listening, options, ret_socket);
}

int rota_udp_open(const char *host, int port, const rota_udp_options *options,
                  rota_dgram **ret_socket)
{
    rota_address addresses[ROTA__ADDRESSES];
    if (!options)
        options = &defaults;
    if (!host || !*host)
        return open_everywhere(port, options, ret_socket);
    int count = rota_resolve(host, port, addresses, ROTA__ADDRESSES);
    return count < 0 ? count : open_first(addresses, count, &listening, options, ret_socket);
}

int rota_udp_connect(const char *host, int port, const rota_udp_options *options,
                     rota_dgram **ret_socket)
{
    rota_address addresses[ROTA__ADDRESSES];
    int count = rota_resolve(host, port, addresses, ROTA__ADDRESSES);
    if (count < 0)
        return count;
    return open_first(addresses, count, &asking, options ? options : &defaults, ret_socket);
}

/* ---- Groups */

static int group_failed(int err, const char *verb, const char *group, const char *interface)
{
    if (err >= 0)
        return err;
    return rota_error_set(err, "%s group %s on %s: %s", verb, group,
                          interface ? interface : "any interface", rota_strerror(err));
}

static int change_group(rota_dgram *s, int how, const char *group, const char *interface)
{
    rota_address address;
    if (s->gate.closed)
        return rota__error_plain(ROTA_ECLOSED);
    int err = rota__address_parse(group, 0, &address);
    int number = interface_number(interface);
    if (err < 0 || number < 0)
        return err < 0 ? err : number;
    struct group_req request = {.gr_interface = (uint32_t)number};
    memcpy(&request.gr_group, &address.any, address.len);
    int level = address.any.sa_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    return (int)rota__sys(ENOBUFS, setsockopt(s->fd.fd, level, how, &request, sizeof request));
}

int rota_udp_join(rota_dgram *s, const char *group, const char *interface)
{
    int err = rota__gate_is_here(&s->gate) ? 0 : rota__loop_refuse(__func__);
    if (err == 0)
        err = change_group(s, MCAST_JOIN_GROUP, group, interface);
    return group_failed(err, "join", group, interface);
}

int rota_udp_leave(rota_dgram *s, const char *group, const char *interface)
{
    int err = rota__gate_is_here(&s->gate) ? 0 : rota__loop_refuse(__func__);
    if (err == 0)
        err = change_group(s, MCAST_LEAVE_GROUP, group, interface);
    return group_failed(err, "leave", group, interface);
}
