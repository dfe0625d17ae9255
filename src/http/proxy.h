/* What a setting for a proxy says, and which hosts are excepted. There is no standard: this is what
 * curl, Go and Python's requests agree on, and the wider of their readings where one knows more. */
#ifndef ROTA__HTTP_PROXY_H
#define ROTA__HTTP_PROXY_H

#include <rota/host.h>

enum rota__proxy_kind {
    ROTA__PROXY_HTTP,
    ROTA__PROXY_HTTPS, /* spoken to by TLS */
    ROTA__PROXY_SOCKS5,
    ROTA__PROXY_SOCKS5H /* the proxy looks names up */
};

struct rota__proxy {
    enum rota__proxy_kind kind;
    rota_host host;
    int port;          /* by default 80, 443 or 1080 */
    rota_str userinfo; /* of the text, still encoded; NULL: there is none */
};

/* "http://user:password@host:port", of http, https, socks5 (or socks) and socks5h. Returns 0,
 * -EINVAL, and `ret_wrong` says why: "has an invalid port". */
int rota__proxy_parse(rota_str url, struct rota__proxy *ret_proxy, const char **ret_wrong);

/* Whether `list`, a value of NO_PROXY, has this host. Its entries are separated by commas or
 * blanks:
 *
 *     example.org      the host and all below it; .example.org and *.example.org are the same
 *     127.0.0.1        an address in any spelling; an IPv4 address is also found in its mapped form
 *     10.0.0.0/8       a network of IPv4 or IPv6
 *     example.org:80   one port only; IPv6 then in brackets
 *     *                all hosts
 *
 * Entries that are none of these mean nothing. */
bool rota__proxy_excepts(const char *list, const rota_host *host, int port);

#endif
