/* Inside net: sockets with their options, and the lookup that tests replace. */
#ifndef ROTA__NET_NET_H
#define ROTA__NET_NET_H

#include "stream/stream.h"

#include <rota/net.h>

#define ROTA__ADDRESSES 32

/* RFC 8305, section 5: Connection Attempt Delay. */
#define ROTA__ATTEMPT_DELAY (250 * ROTA_MILLISECOND)

/* Looks a name up; blocks. Returns as rota_resolve, ports unset. Tests put another one here. */
extern int (*rota__lookup)(const char *host, rota_address *ret_addresses, size_t max);

/* A literal without a lookup. 0 or -EINVAL. */
int rota__address_parse(const char *host, int port, rota_address *ret_address);
void rota__address_set_port(rota_address *address, int port);
/* 0 if it is not an internet address. */
int rota__address_port(const rota_address *address);
/* Whether an error of bind(2) says that this machine has no such address. */
bool rota__address_is_absent(int err);

/* setsockopt(2) of an int. */
int rota__socket_set(int fd, int level, int name, int value);
/* Binds to a literal, NULL being any address of the family. -EINVAL, -EAFNOSUPPORT, or of
 * bind(2). */
int rota__socket_bind(int fd, int family, const char *host, int port);

/* A TCP socket with the options that connections have (and inherit from a listener). */
int rota__tcp_socket(int family, bool nagle, rota_time keepalive);

/* The text "127.0.0.1:80" of where it listens, for reports. */
const char *rota__listener_text(const rota_listener *listener, char *ret_text);

#endif
