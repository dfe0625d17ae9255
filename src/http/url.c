#include "http/url.h"
#include "http/chars.h"

#include <arpa/inet.h>
#include <errno.h>

/* ---- Taking apart */

static rota_str slice(const char *from, const char *to)
{
    return (rota_str){from, (size_t)(to - from)};
}

#define BIT(c) (UINT64_C(1) << ((c)-32))

/* The first of the characters in `stops`, a sum of their bits, or `end`. */
static inline const char *find_any(const char *at, const char *end, uint64_t stops)
{
    while (at < end && !((unsigned char)(*at - 32) < 64 && stops & BIT(*at)))
        at++;
    return at;
}

/* scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ) */
bool rota__url_is_scheme(rota_str s)
{
    if (!s.len || !rota__char_is_letter(*s.ptr))
        return false;
    for (size_t i = 1; i < s.len; i++) {
        if (!rota__char_is_letter(s.ptr[i]) && !rota__char_is_digit(s.ptr[i]) &&
            !memchr("+-.", s.ptr[i], 3))
            return false;
    }
    return true;
}

static bool encodes(const char *at, const char *end)
{
    return end - at >= 3 && rota__char_hex(at[1]) >= 0 && rota__char_hex(at[2]) >= 0;
}

/* Whether each % in it, which is not empty, encodes something. */
static bool has_whole_escapes(rota_str s)
{
    const char *at = s.ptr, *end = at + s.len;
    while ((at = memchr(at, '%', (size_t)(end - at)))) {
        if (!encodes(at++, end))
            return false;
    }
    return true;
}

/* Whether all of it may stand in a URL as it is. */
static bool is_encoded(rota_str s)
{
    if (!s.len)
        return true;
    const char *end = s.ptr + s.len;
    return rota__scan_target(s.ptr, end) == end && has_whole_escapes(s);
}

int rota__url_default_port(rota_str scheme)
{
    if (rota__str_is(scheme, "http") || rota__str_is(scheme, "ws"))
        return 80;
    return rota__str_is(scheme, "https") || rota__str_is(scheme, "wss") ? 443 : 0;
}

static int parse_port(rota_str text, int *ret_number)
{
    int number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!rota__char_is_digit(text.ptr[i]))
            return -EINVAL;
        number = number * 10 + (text.ptr[i] - '0');
        if (number > 65535)
            return -EINVAL;
    }
    if (text.len) /* "http://a:/" has the default (section 6.2.3) */
        *ret_number = number;
    return 0;
}

bool rota__url_is_authority(rota_str s)
{
    const char *end = s.ptr + s.len, *p = s.ptr;
    if (p < end && *p == '[') {
        for (p++; p < end && *p != ']'; p++) {
            if (!rota__char_is(*p, ROTA__CHAR_HOST) && *p != ':')
                return false;
        }
        if (p == end || p == s.ptr + 1)
            return false;
        p++;
    } else {
        p = rota__scan_name(p, end, ROTA__CHAR_HOST);
        if (p == s.ptr)
            return false;
    }
    int number;
    return has_whole_escapes(s) &&
           (p == end || (*p == ':' && parse_port(slice(p + 1, end), &number) == 0));
}

static rota_str without_port(rota_str authority, const char *port)
{
    size_t len = strlen(port);
    if (authority.len > len && memcmp(authority.ptr + authority.len - len, port, len) == 0)
        authority.len -= len;
    return authority;
}

bool rota_url_same_origin(const rota_url *a, const rota_url *b)
{
    return a->number == b->number && rota__str_same(a->scheme, b->scheme) &&
           rota__str_same(a->host, b->host);
}

bool rota__url_same_authority(rota_str a, rota_str b, const char *port)
{
    return rota__str_same(without_port(a, port), without_port(b, port));
}

bool rota__host_is_address(rota_str host)
{
    char text[64];
    unsigned char address[sizeof(struct in6_addr)];
    if (host.len >= sizeof text)
        return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

bool rota__host_is_below(rota_str host, rota_str domain)
{
    if (host.len <= domain.len)
        return false;
    rota_str tail = {host.ptr + host.len - domain.len, domain.len};
    return tail.ptr[-1] == '.' && rota__str_same(tail, domain);
}

/* authority = [ userinfo "@" ] host [ ":" port ] */
static int parse_authority(rota_str text, rota_url *url)
{
    const char *at = text.ptr, *end = at + text.len;
    const char *sign = memrchr(at, '@', text.len);
    if (sign) {
        url->userinfo = slice(at, sign);
        if (!is_encoded(url->userinfo) || memchr(at, '@', url->userinfo.len))
            return -EINVAL;
        at = sign + 1;
    }
    if (at < end && !rota__url_is_authority(slice(at, end)))
        return -EINVAL;
    const char *name_end = at < end && *at == '[' ? find_any(at, end, BIT(']')) : at;
    const char *host_end = find_any(name_end, end, BIT(':'));
    url->host = slice(at, host_end);
    if (host_end == end)
        return 0;
    url->port = slice(host_end + 1, end);
    return parse_port(url->port, &url->number);
}

int rota_url_parse(rota_str text, rota_url *ret_url)
{
    rota_url url = {0};
    const char *at = text.ptr, *end = at + text.len;
    const char *colon = find_any(at, end, BIT(':') | BIT('/') | BIT('?') | BIT('#'));
    if (colon < end && *colon == ':') {
        url.scheme = slice(at, colon);
        if (!rota__url_is_scheme(url.scheme))
            return -EINVAL; /* a relative path may have no colon in its first segment (section 4.2) */
        url.number = rota__url_default_port(url.scheme);
        at = colon + 1;
    }
    if (end - at >= 2 && at[0] == '/' && at[1] == '/') {
        const char *authority = at + 2;
        at = find_any(authority, end, BIT('/') | BIT('?') | BIT('#'));
        int err = parse_authority(slice(authority, at), &url);
        if (err < 0)
            return err;
    }
    const char *path = at;
    at = find_any(at, end, BIT('?') | BIT('#'));
    url.path = slice(path, at);
    if (at < end && *at == '?') {
        const char *query = at + 1;
        at = find_any(query, end, BIT('#'));
        url.query = slice(query, at);
    }
    if (at < end)
        url.fragment = slice(at + 1, end);
    if (!is_encoded(url.path) || !is_encoded(url.query) || !is_encoded(url.fragment))
        return -EINVAL;
    *ret_url = url;
    return 0;
}

/* ---- Putting together */

static void write_parts(struct rota__out *out, const rota_url *url, bool with_path)
{
    if (url->scheme.ptr) {
        rota__out_add_str(out, url->scheme);
        rota__out_add_literal(out, ":");
    }
    if (url->host.ptr) {
        rota__out_add_literal(out, "//");
        if (url->userinfo.ptr) {
            rota__out_add_str(out, url->userinfo);
            rota__out_add_literal(out, "@");
        }
        rota__out_add_str(out, url->host);
        if (url->port.ptr) {
            rota__out_add_literal(out, ":");
            rota__out_add_str(out, url->port);
        }
    }
    if (with_path)
        rota__out_add_str(out, url->path);
}

static void write_tail(struct rota__out *out, rota_str query, rota_str fragment)
{
    if (query.ptr) {
        rota__out_add_literal(out, "?");
        rota__out_add_str(out, query);
    }
    if (fragment.ptr) {
        rota__out_add_literal(out, "#");
        rota__out_add_str(out, fragment);
    }
}

void rota__url_write(struct rota__out *out, const rota_url *url)
{
    write_parts(out, url, true);
    write_tail(out, url->query, url->fragment);
}

static bool starts(const char *at, const char *end, const char *with)
{
    size_t len = strlen(with);
    return (size_t)(end - at) >= len && memcmp(at, with, len) == 0;
}

static bool is_rest(const char *at, const char *end, const char *rest)
{
    return (size_t)(end - at) == strlen(rest) && starts(at, end, rest);
}

/* Section 5.2.4, in place: what was added to `out` behind `from`. */
static void remove_dots(struct rota__out *out, size_t from)
{
    if (out->err < 0 || out->len == from)
        return;
    char *base = out->ptr + from, *to = base;
    const char *at = base, *end = out->ptr + out->len;
    while (at < end) {
        if (starts(at, end, "../")) {
            at += 3;
        } else if (starts(at, end, "./") || starts(at, end, "/./")) {
            at += 2;
        } else if (is_rest(at, end, "/.")) {
            *to++ = '/';
            break;
        } else if (starts(at, end, "/../") || is_rest(at, end, "/..")) {
            while (to > base && *--to != '/')
                ;
            bool last = is_rest(at, end, "/..");
            at += 3;
            if (last) {
                *to++ = '/';
                break;
            }
        } else if (is_rest(at, end, ".") || is_rest(at, end, "..")) {
            break;
        } else {
            do
                *to++ = *at++;
            while (at < end && *at != '/');
        }
    }
    out->len = (size_t)(to - out->ptr);
}

/* Section 5.2.3. */
static void merge(struct rota__out *out, const rota_url *base, rota_str path)
{
    const char *slash = base->path.len ? memrchr(base->path.ptr, '/', base->path.len) : NULL;
    if (base->host.ptr && !base->path.len)
        rota__out_add_literal(out, "/");
    else if (slash)
        rota__out_add_str(out, slice(base->path.ptr, slash + 1));
    rota__out_add_str(out, path);
}

/* A path without a host before it that would be read as one, or as a scheme, gets a segment that means nothing
 * (sections 3.3 and 4.2). */
static void keep_a_path(struct rota__out *out, size_t from, const rota_url *url)
{
    if (out->err < 0 || url->host.ptr || out->len == from)
        return;
    const char *path = out->ptr + from, *end = out->ptr + out->len;
    const char *stop = find_any(path, end, BIT(':') | BIT('/'));
    bool is_host = starts(path, end, "//");
    if (!is_host && (url->scheme.ptr || stop == end || *stop == '/'))
        return;
    size_t len = out->len - from;
    if (!rota__out_reserve(out, 2))
        return;
    memmove(out->ptr + from + 2, out->ptr + from, len);
    memcpy(out->ptr + from, is_host ? "/." : "./", 2);
    out->len += 2;
}

void rota__url_resolve(struct rota__out *out, const rota_url *base, const rota_url *reference)
{
    rota_url target = *reference;
    if (!reference->scheme.ptr) {
        target.scheme = base->scheme;
        if (!reference->host.ptr) {
            target.userinfo = base->userinfo;
            target.host = base->host;
            target.port = base->port;
        }
    }
    write_parts(out, &target, false);
    size_t from = out->len;
    bool own_root = reference->scheme.ptr || reference->host.ptr;
    if (own_root || (reference->path.len && *reference->path.ptr == '/'))
        rota__out_add_str(out, reference->path);
    else if (reference->path.len)
        merge(out, base, reference->path);
    else
        rota__out_add_str(out, base->path);
    remove_dots(out, from);
    keep_a_path(out, from, &target);
    bool base_query = !own_root && !reference->path.len && !reference->query.ptr;
    write_tail(out, base_query ? base->query : reference->query, reference->fragment);
}

/* ---- Encoding */

static void add_encoded(struct rota__out *out, unsigned char c)
{
    char text[3] = {'%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15]};
    rota__out_add(out, text, 3);
}

void rota__url_mend(struct rota__out *out, rota_str text)
{
    bool in_fragment = false;
    for (const char *at = text.ptr, *end = at + text.len; at < end; at++) {
        bool opens = *at == '#' && !in_fragment;
        in_fragment |= opens;
        bool fine = rota__char_is(*at, ROTA__CHAR_TARGET) && !memchr("\"<>", *at, 3) &&
                    (*at != '%' || encodes(at, end));
        if (fine || opens)
            rota__out_add(out, at, 1);
        else
            add_encoded(out, (unsigned char)*at);
    }
}

bool rota__url_is_unreserved(char c)
{
    return rota__char_is_letter(c) || rota__char_is_digit(c) || memchr("-._~", c, 4);
}

void rota__url_encode(struct rota__out *out, rota_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (rota__url_is_unreserved(c))
            rota__out_add(out, &c, 1);
        else
            add_encoded(out, (unsigned char)c);
    }
}

int rota__url_decode(struct rota__out *out, rota_str text)
{
    for (const char *at = text.ptr, *end = at + text.len; at < end; at++) {
        char c = *at;
        if (c == '%') {
            if (!encodes(at, end))
                return -EINVAL;
            c = (char)(rota__char_hex(at[1]) << 4 | rota__char_hex(at[2]));
            at += 2;
        }
        rota__out_add(out, &c, 1);
    }
    return out->err;
}
