/* Hosts are read here and nowhere else (RFC 3986, section 3.2.2; zones: RFC 6874). */
#include <rota/host.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    NAME_MAX_LEN = 253, /* RFC 1035, section 2.3.4, as text without the final dot */
    ZONE_MAX_LEN = 15   /* IFNAMSIZ without the NUL */
};

/* Of the characters of names and zones; 0: of neither. */
enum {
    UNRESERVED = 1, /* but the dot */
    DOT = 2,
    DELIMITER = 4 /* sub-delims */
};

static const unsigned char classes[256] = {
    ['0' ... '9'] = UNRESERVED,
    ['A' ... 'Z'] = UNRESERVED,
    ['a' ... 'z'] = UNRESERVED,
    ['-'] = UNRESERVED,
    ['_'] = UNRESERVED,
    ['~'] = UNRESERVED,
    ['.'] = DOT,
    ['!'] = DELIMITER,
    ['$'] = DELIMITER,
    ['&' ... ','] = DELIMITER,
    [';'] = DELIMITER,
    ['='] = DELIMITER,
};

static inline bool is_one_of(char c, unsigned char of)
{
    return classes[(unsigned char)c] & of;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static rota_str rest_of(rota_str s, size_t from)
{
    return (rota_str){s.ptr + from, s.len - from};
}

/* ---- Addresses */

/* Four decimal numbers and dots. Some programs read a number with a leading zero as octal. */
static bool read_v4(rota_str s, unsigned char ret_address[4])
{
    unsigned number = 0, count = 0;
    bool has_digit = false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.ptr[i] - '0';
        if (digit > 9) {
            if (s.ptr[i] != '.' || !has_digit || count == 3)
                return false;
            ret_address[count++] = (unsigned char)number;
            number = 0;
            has_digit = false;
        } else {
            if (has_digit && !number)
                return false;
            number = number * 10 + digit;
            has_digit = true;
            if (number > 255)
                return false;
        }
    }
    ret_address[3] = (unsigned char)number;
    return has_digit && count == 3;
}

static bool read_v6_address(rota_str s, unsigned char ret_address[16])
{
    char literal[INET6_ADDRSTRLEN];
    if (!s.len || s.len >= sizeof literal || memchr(s.ptr, '\0', s.len))
        return false;
    memcpy(literal, s.ptr, s.len);
    literal[s.len] = '\0';
    return inet_pton(AF_INET6, literal, ret_address) == 1;
}

/* 1*( unreserved / pct-encoded ), which may encode unreserved characters only: an interface with
 * other characters in its name can be named by its number. */
static bool read_zone(rota_str s, bool is_encoded, char ret_zone[ZONE_MAX_LEN + 1])
{
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (is_encoded && c == '%') {
            if (s.len - i < 3 || hex(s.ptr[i + 1]) < 0 || hex(s.ptr[i + 2]) < 0)
                return false;
            c = (char)(hex(s.ptr[i + 1]) << 4 | hex(s.ptr[i + 2]));
            i += 2;
        }
        if (!is_one_of(c, UNRESERVED | DOT) || len == ZONE_MAX_LEN)
            return false;
        ret_zone[len++] = c;
    }
    ret_zone[len] = '\0';
    return len > 0;
}

/* `sign`: what stands before a zone, "%25" in a URL and "%" elsewhere. */
static int read_v6(rota_str s, const char *sign, rota_host *host)
{
    char zone[ZONE_MAX_LEN + 1] = "", address[INET6_ADDRSTRLEN];
    const char *percent = s.len ? memchr(s.ptr, '%', s.len) : NULL;
    rota_str literal = {s.ptr, percent ? (size_t)(percent - s.ptr) : s.len};
    if (!read_v6_address(literal, host->address))
        return -EINVAL;
    if (percent) {
        rota_str behind = rest_of(s, literal.len);
        size_t len = strlen(sign);
        if (behind.len < len || memcmp(behind.ptr, sign, len) != 0 ||
            !read_zone(rest_of(behind, len), len > 1, zone))
            return -EINVAL;
    }
    host->kind = ROTA_HOST_IPV6;
    inet_ntop(AF_INET6, host->address, address, sizeof address);
    snprintf(host->text, sizeof host->text, "%s%s%s", address, *zone ? "%" : "", zone);
    return 0;
}

/* IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" ) */
static bool is_future(rota_str s)
{
    size_t at = 1;
    if (s.len < 4 || (*s.ptr | 0x20) != 'v')
        return false;
    while (at < s.len && hex(s.ptr[at]) >= 0)
        at++;
    if (at == 1 || s.len - at < 2 || s.ptr[at++] != '.')
        return false;
    while (at < s.len && (is_one_of(s.ptr[at], UNRESERVED | DOT | DELIMITER) || s.ptr[at] == ':'))
        at++;
    return at == s.len;
}

static void write_lower(char *to, rota_str s)
{
    for (size_t i = 0; i < s.len; i++)
        to[i] = lower(s.ptr[i]);
    to[s.len] = '\0';
}

static int read_brackets(rota_str whole, rota_host *host)
{
    rota_str inside = {whole.ptr + 1, whole.len - 2};
    if (whole.len < 3 || whole.ptr[whole.len - 1] != ']')
        return -EINVAL;
    if (!is_future(inside))
        return read_v6(inside, "%25", host);
    if (whole.len >= sizeof host->text)
        return -EINVAL;
    host->kind = ROTA_HOST_FUTURE;
    write_lower(host->text, whole);
    return 0;
}

/* ---- Names */

/* Whether it is a name's syntax: labels with a dot between them, and at most one dot at the end. */
static bool is_name(rota_str s)
{
    const char *at = s.ptr, *end = at + s.len;
    while (at < end) {
        const char *label = at;
        while (at < end && is_one_of(*at, UNRESERVED | DELIMITER))
            at++;
        if (at == label || (at < end && *at++ != '.'))
            return false;
    }
    return s.len > 0;
}

/* Whether inet_aton(3), or a browser, may take it for an address: by its last label, a number or
 * "0x...". */
static bool ends_in_number(rota_str name)
{
    const char *dot = memrchr(name.ptr, '.', name.len);
    rota_str label = dot ? rest_of(name, (size_t)(dot + 1 - name.ptr)) : name;
    if (!is_digit(*label.ptr))
        return false;
    bool is_hex = label.len > 1 && *label.ptr == '0' && (label.ptr[1] | 0x20) == 'x';
    for (size_t i = is_hex ? 2 : 0; i < label.len; i++) {
        if (is_hex ? hex(label.ptr[i]) < 0 : !is_digit(label.ptr[i]))
            return false;
    }
    return true;
}

/* A name, checked, without its final dot: whether it may be one, or is an address (`is_v4`). */
static bool is_plain(rota_str name, bool is_rooted, unsigned char *ret_address, bool *is_v4)
{
    *is_v4 = false;
    if (name.len > NAME_MAX_LEN)
        return false;
    if (!ends_in_number(name))
        return true;
    return *is_v4 = !is_rooted && read_v4(name, ret_address);
}

static bool take_root(rota_str *name)
{
    bool is_rooted = name->ptr[name->len - 1] == '.';
    name->len -= is_rooted;
    return is_rooted;
}

static int read_name(rota_str name, rota_host *host)
{
    bool is_v4;
    if (!is_name(name))
        return -EINVAL;
    host->is_rooted = take_root(&name);
    if (!is_plain(name, host->is_rooted, host->address, &is_v4))
        return -EINVAL;
    host->kind = is_v4 ? ROTA_HOST_IPV4 : ROTA_HOST_NAME;
    write_lower(host->text, name);
    return 0;
}

/* ---- All of them */

int rota_host_parse(rota_str text, rota_host *ret_host)
{
    rota_host host;
    int err;
    if (!text.len)
        return -EINVAL;
    host.is_rooted = false;
    memset(host.address, 0, sizeof host.address);
    if (*text.ptr == '[')
        err = read_brackets(text, &host);
    else if (memchr(text.ptr, ':', text.len))
        err = read_v6(text, "%", &host);
    else
        err = read_name(text, &host);
    if (err == 0)
        *ret_host = host;
    return err;
}

bool rota_host_is_valid(rota_str text)
{
    rota_host host;
    unsigned char address[4];
    bool is_v4;
    if (!is_name(text)) /* which most are */
        return rota_host_parse(text, &host) == 0;
    bool is_rooted = take_root(&text);
    return is_plain(text, is_rooted, address, &is_v4);
}

bool rota_host_equal(const rota_host *a, const rota_host *b)
{
    return a->kind == b->kind && strcmp(a->text, b->text) == 0;
}

bool rota_host_is_below(const rota_host *host, rota_str domain)
{
    size_t len = strlen(host->text);
    if (host->kind != ROTA_HOST_NAME || !domain.len || len <= domain.len)
        return false;
    const char *tail = host->text + len - domain.len;
    for (size_t i = 0; i < domain.len; i++) {
        if (tail[i] != lower(domain.ptr[i]))
            return false;
    }
    return tail[-1] == '.';
}
