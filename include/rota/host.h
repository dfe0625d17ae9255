/* host: one canonical form for the name or the address of a machine.
 *
 * URLs, cookies, the names in certificates, origins and proxies all compare hosts. They read each
 * host by rota_host_parse and compare what it wrote, so that no two of them see different machines
 * in one text.
 *
 *     // Whether a URL leads to our own machines.
 *     static bool is_ours(rota_str host)
 *     {
 *         rota_host wanted;
 *         if (rota_host_parse(host, &wanted) < 0)
 *             return false;
 *         return wanted.kind == ROTA_HOST_NAME &&
 *                rota_host_is_below(&wanted, (rota_str){"example.org", 11});
 *     }
 *
 * A name consists of the ASCII characters of RFC 3986, section 3.2.2. Convert internationalised
 * names before. Spellings that other programs read in several ways are refused: percent-encoding
 * (except in a zone), backslashes, empty labels, and the numeric forms of IPv4 that inet_aton(3)
 * takes (127.1, 0x7f.1, 017700000001; RFC 3986, 7.4). An IPv4 address has four decimal numbers and
 * nothing else. Browsers rewrite the other forms, so a list of forbidden addresses that is compared
 * with the text never sees the address that is reached. Here text and address agree. */
#ifndef ROTA_HOST_H
#define ROTA_HOST_H

#include <rota/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rota_host_kind {
    ROTA_HOST_NAME,
    ROTA_HOST_IPV4,
    ROTA_HOST_IPV6,
    ROTA_HOST_FUTURE /* IPvFuture, "[v1.x]": a URL may have it, and nothing can connect to it */
} rota_host_kind;

/* Room for the longest name (253 bytes), with a dot and the final NUL. */
#define ROTA_HOST_TEXT 256

typedef struct rota_host {
    rota_host_kind kind;
    /* The name ended with a dot: lookups add no search domain. It is the same host, so `text` is
     * without it. */
    bool is_rooted;
    /* Of an address: 4 or 16 bytes, in network order. */
    unsigned char address[16];
    /* "example.org", "127.0.0.1", "::1", "fe80::1%eth0" or "[v1.x]": in lower case (a zone keeps
     * its case), without brackets around IPv6, and addresses as inet_ntop(3) writes them. */
    char text[ROTA_HOST_TEXT];
} rota_host;

/* Reads a host as it stands in a URL or in a Host field ("example.org", "[::1]",
 * "[fe80::1%25eth0]"), without a port, or as people write an address ("::1", "fe80::1%eth0"). Does
 * not look anything up.
 *
 * Returns 0 or -EINVAL: no host, or one of the spellings that are refused. */
ROTA_API int rota_host_parse(rota_str text, rota_host *ret_host);

/* Whether rota_host_parse would return 0. */
ROTA_API bool rota_host_is_valid(rota_str text);

/* Whether both are the same host. A zone counts: fe80::1%eth0 and fe80::1%eth1 are two machines. */
ROTA_API bool rota_host_equal(const rota_host *a, const rota_host *b);

/* Whether `host` is a name below `domain`: "a.example.org" is below "example.org", in any case. A
 * host is not below itself, and nothing is below an address. */
ROTA_API bool rota_host_is_below(const rota_host *host, rota_str domain);

#ifdef __cplusplus
}
#endif

#endif
