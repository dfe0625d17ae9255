/* Settings of proxies, and hosts that are excepted from them. There is no standard: this follows
 * what curl, Go and Python's requests have in common, and otherwise whichever accepts more. */
#ifndef ROTA__HTTP_PROXY_H
#define ROTA__HTTP_PROXY_H

#include <rota/host.h>

enum rota__proxy_kind {
    ROTA__PROXY_HTTP,
    /* Over TLS. */
    ROTA__PROXY_HTTPS,
    ROTA__PROXY_SOCKS5,
    /* The proxy looks up names. */
    ROTA__PROXY_SOCKS5H
};

struct rota__proxy {
    enum rota__proxy_kind kind;
    rota_host host;
    /* Default: 80, 443 or 1080. */
    int port;
    /* A slice of the text, still encoded. Its pointer is NULL if there is none. */
    rota_str userinfo;
};

/* Reads "http://user:password@host:port", or the same with https, socks5 (or socks) or socks5h.
 * Returns 0, -EINVAL, and `ret_wrong` says why: "has an invalid port". */
int rota__proxy_parse(rota_str url, struct rota__proxy *ret_proxy, const char **ret_wrong);

/* Whether `list`, a value of NO_PROXY, contains this host. Its entries are separated by commas or
 * blanks:
 *
 *     example.org      the host and its subdomains; .example.org and *.example.org are the same
 *     127.0.0.1        an address in any spelling; an IPv4 address also matches its mapped form
 *     10.0.0.0/8       a network of IPv4 or IPv6 addresses
 *     example.org:80   one port only; an IPv6 address then needs brackets
 *     *                all hosts
 *
 * Other entries are ignored. */
bool rota__proxy_excepts(const char *list, const rota_host *host, int port);

#endif
