#include "http/proxy.h"
#include "http/chars.h"
#include "http/url.h"

#include <errno.h>
#include <string.h>

/* ---- A setting */

static const struct {
    const char *scheme;
    enum rota__proxy_kind kind;
    int port;
} kinds[] = {
    {"http", ROTA__PROXY_HTTP, 80},         {"https", ROTA__PROXY_HTTPS, 443},
    {"socks", ROTA__PROXY_SOCKS5, 1080},    {"socks5", ROTA__PROXY_SOCKS5, 1080},
    {"socks5h", ROTA__PROXY_SOCKS5H, 1080},
};

int rota__proxy_parse(rota_str text, struct rota__proxy *ret_proxy, const char **ret_wrong)
{
    rota_url url;
    if (rota__url_parse(text, &url, ret_wrong) < 0)
        return -EINVAL;
    *ret_wrong = url.host.len ? "has an invalid host" : "has no host";
    if (rota_host_parse(url.host, &ret_proxy->host) < 0 || ret_proxy->host.kind == ROTA_HOST_FUTURE)
        return -EINVAL;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!rota__str_is(url.scheme, kinds[i].scheme))
            continue;
        ret_proxy->kind = kinds[i].kind;
        ret_proxy->port = url.port.len ? url.number : kinds[i].port;
        ret_proxy->userinfo = url.userinfo;
        *ret_wrong = "has an invalid port";
        return ret_proxy->port ? 0 : -EINVAL;
    }
    *ret_wrong = "is not the URL of an http, https, socks5 or socks5h proxy";
    return -EINVAL;
}

/* ---- Exceptions */

/* An address, for comparison with a network. A mapped IPv4 address counts as IPv4. */
struct address {
    const unsigned char *bytes;
    int bits;
};

static bool address_of(const rota_host *host, struct address *ret_address)
{
    static const unsigned char mapped[12] = {[10] = 0xff, 0xff};
    if (host->kind == ROTA_HOST_IPV4)
        *ret_address = (struct address){host->address, 32};
    else if (host->kind == ROTA_HOST_IPV6 && memcmp(host->address, mapped, sizeof mapped) == 0)
        *ret_address = (struct address){host->address + 12, 32};
    else if (host->kind == ROTA_HOST_IPV6)
        *ret_address = (struct address){host->address, 128};
    else
        return false;
    return true;
}

static bool starts_alike(struct address a, struct address b, int bits)
{
    int bytes = bits / 8, rest = bits % 8;
    if (a.bits != b.bits || memcmp(a.bytes, b.bytes, (size_t)bytes) != 0)
        return false;
    return !rest || (a.bytes[bytes] ^ b.bytes[bytes]) >> (8 - rest) == 0;
}

/* Returns a number up to `most`, without a sign, or -1. */
static int read_number(rota_str s, int most)
{
    int number = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (!rota__char_is_digit(s.ptr[i]) || (number = number * 10 + (s.ptr[i] - '0')) > most)
            return -1;
    }
    return s.len ? number : -1;
}

/* Cuts `s` before the sign. Returns what follows the sign. */
static rota_str cut_behind(rota_str *s, const char *sign)
{
    const char *end = s->ptr + s->len;
    s->len = (size_t)(sign - s->ptr);
    return (rota_str){sign + 1, (size_t)(end - sign - 1)};
}

/* An address with a zone matches only that zone; one without matches all zones. */
static bool is_host(const rota_host *entry, const rota_host *host)
{
    struct address one, other;
    if (rota_host_equal(entry, host))
        return true;
    return !strchr(entry->text, '%') && address_of(entry, &one) && address_of(host, &other) &&
           starts_alike(one, other, one.bits);
}

static bool is_in_network(rota_str network, rota_str length, const rota_host *host)
{
    rota_host parsed;
    struct address one, other;
    if (rota_host_parse(network, &parsed) < 0 || !address_of(&parsed, &one) ||
        !address_of(host, &other))
        return false;
    bool is_mapped = parsed.kind == ROTA_HOST_IPV6 && one.bits == 32;
    int bits = read_number(length, 128) - (is_mapped ? 96 : 0);
    return bits >= 0 && bits <= one.bits && starts_alike(one, other, bits);
}

/* "*.example.org", ".example.org" and "example.org" match the host and its subdomains. */
static bool is_in_domain(rota_str name, const rota_host *host)
{
    rota_host entry;
    if (name.len > 1 && *name.ptr == '*' && name.ptr[1] == '.')
        name = (rota_str){name.ptr + 1, name.len - 1};
    if (name.len && *name.ptr == '.')
        name = (rota_str){name.ptr + 1, name.len - 1};
    return rota_host_parse(name, &entry) == 0 &&
           (is_host(&entry, host) || rota_host_is_below(host, rota__str_of(entry.text)));
}

/* Returns the colon before a port, or NULL. It is the only colon, or follows a bracket. */
static const char *find_port(rota_str entry)
{
    const char *colon = memrchr(entry.ptr, ':', entry.len);
    if (!colon || colon == entry.ptr)
        return NULL;
    bool is_alone = !memchr(entry.ptr, ':', (size_t)(colon - entry.ptr));
    return is_alone || colon[-1] == ']' ? colon : NULL;
}

static bool has(rota_str entry, const rota_host *host, int port)
{
    const char *colon = find_port(entry);
    if (colon && read_number(cut_behind(&entry, colon), 65535) != port)
        return false;
    if (rota_str_equal(entry, "*"))
        return true;
    const char *slash = memrchr(entry.ptr, '/', entry.len);
    if (!slash)
        return is_in_domain(entry, host);
    rota_str length = cut_behind(&entry, slash);
    return is_in_network(entry, length, host);
}

bool rota__proxy_excepts(const char *list, const rota_host *host, int port)
{
    static const char between[] = ", \t\r\n";
    for (list += strspn(list, between); *list; list += strspn(list, between)) {
        rota_str entry = {list, strcspn(list, between)};
        if (has(entry, host, port))
            return true;
        list += entry.len;
    }
    return false;
}
