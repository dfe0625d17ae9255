#include "http/url.h"
#include "base/escape.h"
#include "http/chars.h"

#include <errno.h>
#include <stdio.h>

/* ---- Taking apart */

static rota_str slice(const char *from, const char *to)
{
    return (rota_str){from, (size_t)(to - from)};
}

#define BIT(c) (UINT64_C(1) << ((c)-32))

/* Returns the first of the characters in `stops`, a sum of their bits, or `end`. */
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

/* Whether each % encodes something. `s` is not empty. */
static bool has_whole_escapes(rota_str s)
{
    const char *at = s.ptr, *end = at + s.len;
    while ((at = memchr(at, '%', (size_t)(end - at)))) {
        if (!encodes(at++, end))
            return false;
    }
    return true;
}

/* Browsers encode these everywhere. In a path they take a backslash for a slash. */
static bool must_be_encoded(char c, bool in_path)
{
    return c == '"' || c == '<' || c == '>' || (in_path && c == '\\');
}

/* Whether every character may occur in a URL unencoded. */
static bool is_encoded(rota_str s, bool in_path)
{
    if (!s.len)
        return true;
    const char *end = s.ptr + s.len;
    for (const char *at = s.ptr; at < end; at++) {
        if (must_be_encoded(*at, in_path))
            return false;
    }
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

/* host [ ":" port ]; `ret_port` begins at the colon, and is empty where there is none. */
static bool split_authority(rota_str s, rota_str *ret_host, rota_str *ret_port)
{
    *ret_host = *ret_port = s;
    if (!s.len)
        return false;
    const char *end = s.ptr + s.len;
    const char *from = *s.ptr == '[' ? memchr(s.ptr, ']', s.len) : s.ptr;
    const char *colon = from ? memchr(from, ':', (size_t)(end - from)) : NULL;
    const char *at = colon ? colon : end;
    *ret_host = slice(s.ptr, at);
    *ret_port = slice(at, end);
    return true;
}

static bool read_authority(rota_str s, rota_str *ret_host, int *ret_number)
{
    rota_str port;
    return split_authority(s, ret_host, &port) && rota_host_is_valid(*ret_host) &&
           (!port.len || parse_port(slice(port.ptr + 1, port.ptr + port.len), ret_number) == 0);
}

bool rota__url_is_authority(rota_str s)
{
    rota_str host;
    int number;
    return read_authority(s, &host, &number);
}

static bool is_same_host(rota_str a, rota_str b)
{
    rota_host one, other;
    return rota_host_parse(a, &one) == 0 && rota_host_parse(b, &other) == 0 &&
           rota_host_equal(&one, &other);
}

bool rota_url_same_origin(const rota_url *a, const rota_url *b)
{
    if (a->number != b->number || !rota__str_same(a->scheme, b->scheme))
        return false;
    return (!a->host.len && !b->host.len) || is_same_host(a->host, b->host);
}

bool rota__url_same_authority(rota_str a, rota_str b, int port)
{
    rota_str host_a, host_b;
    int port_a = port, port_b = port;
    if (a.len && a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0)
        return true;
    return read_authority(a, &host_a, &port_a) && read_authority(b, &host_b, &port_b) &&
           port_a == port_b && is_same_host(host_a, host_b);
}

const char *rota__host_write(const rota_host *host, bool with_zone,
                             char ret_text[ROTA__HOST_IN_URL])
{
    bool is_v6 = host->kind == ROTA_HOST_IPV6;
    const char *percent = is_v6 ? strchr(host->text, '%') : NULL; /* a zone follows */
    char *to = ret_text;
    if (is_v6)
        *to++ = '[';
    to = mempcpy(to, host->text, percent ? (size_t)(percent - host->text) : strlen(host->text));
    if (percent && with_zone)
        to = stpcpy(stpcpy(to, "%25"), percent + 1);
    strcpy(to, is_v6 ? "]" : host->is_rooted ? "." : "");
    return ret_text;
}

/* *( unreserved / pct-encoded / sub-delims / ":" ): with other characters two parsers may find
 * different hosts. */
static bool is_userinfo(rota_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!rota__char_is(s.ptr[i], ROTA__CHAR_HOST) && s.ptr[i] != ':')
            return false;
    }
    return !s.len || has_whole_escapes(s);
}

static int refuse(const char *wrong, const char **ret_wrong)
{
    *ret_wrong = wrong;
    return -EINVAL;
}

/* authority = [ userinfo "@" ] host [ ":" port ] */
static int parse_authority(rota_str text, rota_url *url, const char **ret_wrong)
{
    rota_str port, rest = text;
    const char *end = text.ptr + text.len, *sign = memrchr(text.ptr, '@', text.len);
    if (sign) {
        url->userinfo = slice(text.ptr, sign);
        rest = slice(sign + 1, end);
        if (!is_userinfo(url->userinfo))
            return refuse("has an invalid user or password", ret_wrong);
    }
    if (!split_authority(rest, &url->host, &port))
        return 0;
    if (!rota_host_is_valid(url->host))
        return refuse("has an invalid host", ret_wrong);
    if (!port.len)
        return 0;
    url->port = slice(port.ptr + 1, end);
    return parse_port(url->port, &url->number) < 0 ? refuse("has an invalid port", ret_wrong) : 0;
}

int rota_url_parse(rota_str text, rota_url *ret_url)
{
    const char *wrong;
    return rota__url_parse(text, ret_url, &wrong);
}

int rota__url_parse(rota_str text, rota_url *ret_url, const char **ret_wrong)
{
    rota_url url = {0};
    const char *at = text.ptr, *end = at + text.len;
    const char *colon = find_any(at, end, BIT(':') | BIT('/') | BIT('?') | BIT('#'));
    if (colon < end && *colon == ':') {
        url.scheme = slice(at, colon);
        if (!rota__url_is_scheme(url.scheme))
            /* a relative path may have no colon in its first segment (section 4.2) */
            return refuse("has an invalid scheme", ret_wrong);
        url.number = rota__url_default_port(url.scheme);
        at = colon + 1;
    }
    if (end - at >= 2 && at[0] == '/' && at[1] == '/') {
        const char *authority = at + 2;
        at = find_any(authority, end, BIT('/') | BIT('?') | BIT('#'));
        int err = parse_authority(slice(authority, at), &url, ret_wrong);
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
    if (!is_encoded(url.path, true) || !is_encoded(url.query, false) ||
        !is_encoded(url.fragment, false))
        return refuse("has an unencoded or invalid character after the host", ret_wrong);
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

/* A path that would be parsed as a host or a scheme gets "/." or "./" before it
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

/* ---- For errors and logs */

/* Finds what is or may be a password: from the first colon to the last @. Empty: none. */
static rota_str find_password(rota_str text)
{
    rota_url url;
    const char *end = text.ptr + text.len;
    const char *at = text.len ? memrchr(text.ptr, '@', text.len) : NULL;
    rota_str where = {NULL, 0};
    if (rota_url_parse(text, &url) == 0 && url.host.len) {
        where = url.userinfo;
    } else if (at) {
        /* slashes further on may be in the password */
        const char *scheme = memchr(text.ptr, ':', (size_t)(at - text.ptr));
        const char *from = scheme && starts(scheme + 1, at, "//") ? scheme + 3
                           : starts(text.ptr, at, "//")           ? text.ptr + 2
                                                                  : text.ptr;
        where = slice(from, at);
    }
    const char *colon = where.len ? memchr(where.ptr, ':', where.len) : NULL;
    return colon ? slice(colon + 1, where.ptr + where.len) : slice(end, end);
}

const char *rota__url_redact(rota_str text, char *ret_text, size_t size)
{
    rota_str password = find_password(text);
    const char *at = text.ptr, *end = at + text.len;
    size_t len = 0;
    while (at < end && len + ROTA__ESCAPED_MAX < size) {
        if (password.len && at == password.ptr) {
            memcpy(ret_text + len, "***", 3);
            len += 3;
            at += password.len;
        } else {
            len += rota__escape(ret_text + len, &at, (size_t)(end - at));
        }
    }
    ret_text[len] = '\0';
    return ret_text;
}

/* ---- Encoding */

static void add_encoded(struct rota__out *out, unsigned char c)
{
    char text[3] = {'%', "0123456789ABCDEF"[c >> 4], "0123456789ABCDEF"[c & 15]};
    rota__out_add(out, text, 3);
}

/* Returns the text from the authority on, or the whole text without one. */
static const char *find_path(rota_str text)
{
    const char *end = text.ptr + text.len;
    const char *at = find_any(text.ptr, end, BIT(':') | BIT('/') | BIT('?') | BIT('#'));
    at = at < end && *at == ':' ? at + 1 : text.ptr;
    return starts(at, end, "//") ? find_any(at + 2, end, BIT('/') | BIT('?') | BIT('#')) : text.ptr;
}

void rota__url_mend(struct rota__out *out, rota_str text)
{
    bool in_path = true, in_fragment = false;
    const char *at = text.len ? find_path(text) : text.ptr;
    rota__out_add(out, text.ptr, (size_t)(at - text.ptr));
    for (const char *end = text.ptr + text.len; at < end; at++) {
        bool opens = *at == '#' && !in_fragment;
        in_fragment |= opens;
        in_path &= !opens && *at != '?';
        bool fine = rota__char_is(*at, ROTA__CHAR_TARGET) && !must_be_encoded(*at, in_path) &&
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
