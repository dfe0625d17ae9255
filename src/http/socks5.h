/* SOCKS5, the client's side (RFC 1928), with a user and a password (RFC 1929). */
#ifndef ROTA__HTTP_SOCKS5_H
#define ROTA__HTTP_SOCKS5_H

#include <rota/host.h>
#include <rota/stream.h>

#define ROTA__SOCKS5_TEXT 255 /* bytes of a user, and of a password */

struct rota__socks5 {
    /* The destination: a name for the proxy to look up, or an address. */
    const rota_host *host;
    int port;
    /* `user.ptr` is NULL if there is none. */
    rota_str user, password;
};

/* Asks the proxy at the other end of the stream for a connection. Bytes of the host stay in the
 * stream. Suspends.
 *
 * Returns 0; ROTA_EPROTOCOL (not SOCKS5), -EACCES (the proxy refuses us), -ENETUNREACH,
 * -EHOSTUNREACH, -ECONNREFUSED, -EOPNOTSUPP, -EAFNOSUPPORT (it cannot reach the host),
 * ROTA_ETRUNCATED, or an error of the stream. `*ret_why` is set to a text, or to NULL if the code
 * says it all. */
int rota__socks5_connect(rota_stream *s, const struct rota__socks5 *what, const char **ret_why);

#endif
