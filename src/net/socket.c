#include "base/sys.h"
#include "net/net.h"

#include <arpa/inet.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void rota__address_set_port(rota_address *address, int port)
{
    in_port_t number = htons((uint16_t)port);
    if (address->any.sa_family == AF_INET)
        address->v4.sin_port = number;
    else
        address->v6.sin6_port = number;
}

int rota__address_port(const rota_address *address)
{
    switch (address->any.sa_family) {
    case AF_INET:
        return ntohs(address->v4.sin_port);
    case AF_INET6:
        return ntohs(address->v6.sin6_port);
    default:
        return 0;
    }
}

/* An interface's name, or its number. 0: there is none. */
static unsigned scope_of(const char *zone)
{
    unsigned scope = if_nametoindex(zone);
    char *end;
    if (scope || *zone < '0' || *zone > '9')
        return scope;
    unsigned long number = strtoul(zone, &end, 10);
    return *end || number > UINT32_MAX ? 0 : (unsigned)number;
}

static int parse_v6(const char *host, rota_address *ret_address)
{
    rota_address a = {.v6 = {.sin6_family = AF_INET6}, .len = sizeof a.v6};
    char literal[INET6_ADDRSTRLEN];
    size_t len = strcspn(host, "%");
    if (len >= sizeof literal)
        return -EINVAL;
    memcpy(literal, host, len);
    literal[len] = '\0';
    if (inet_pton(AF_INET6, literal, &a.v6.sin6_addr) != 1)
        return -EINVAL;
    if (host[len] && !(a.v6.sin6_scope_id = scope_of(host + len + 1)))
        return -EINVAL;
    *ret_address = a;
    return 0;
}

int rota__address_parse(const char *host, int port, rota_address *ret_address)
{
    rota_address a = {.v4 = {.sin_family = AF_INET}, .len = sizeof a.v4};
    if (inet_pton(AF_INET, host, &a.v4.sin_addr) != 1) {
        int err = parse_v6(host, &a);
        if (err < 0)
            return err;
    }
    rota__address_set_port(&a, port);
    *ret_address = a;
    return 0;
}

const char *rota_address_text(const rota_address *address, char *ret_text)
{
    rota__address_text(&address->any, address->len, ret_text, ROTA_ADDRESS_TEXT);
    return ret_text;
}

int rota__socket_set(int fd, int level, int name, int value)
{
    return (int)rota__sys(ENOBUFS, setsockopt(fd, level, name, &value, sizeof value));
}

int rota__socket_bind(int fd, int family, const char *host, int port)
{
    const char *any = family == AF_INET ? "0.0.0.0" : "::";
    rota_address local;
    int err = rota__address_parse(host ? host : any, port, &local);
    if (err < 0)
        return err;
    if (local.any.sa_family != family)
        return -EAFNOSUPPORT;
    return (int)rota__sys(EADDRINUSE, bind(fd, &local.any, local.len));
}

/* A peer that was silent for `idle` is probed five times within the same time again. */
static int set_keepalive(int fd, rota_time idle)
{
    rota_time seconds = idle / ROTA_SECOND + (idle % ROTA_SECOND != 0);
    int wait = seconds > 32767 ? 32767 : (int)seconds; /* the kernel's bound */
    int err = rota__socket_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (err == 0)
        err = rota__socket_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, wait);
    if (err == 0)
        err = rota__socket_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, (wait + 4) / 5);
    return err < 0 ? err : rota__socket_set(fd, IPPROTO_TCP, TCP_KEEPCNT, 5);
}

int rota__tcp_socket(int family, bool nagle, rota_time keepalive)
{
    int fd = (int)rota__sys(EMFILE, socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return fd;
    int err = nagle ? 0 : rota__socket_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (err == 0 && keepalive > 0)
        err = set_keepalive(fd, keepalive);
    if (err < 0)
        rota__sys_close(fd);
    return err < 0 ? err : fd;
}
