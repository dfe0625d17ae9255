/* The characters of HTTP, and scans over them. The scans read sixteen bytes at a time, never beyond
 * `end`, and return the first other byte, or `end`. */
#ifndef ROTA__HTTP_CHARS_H
#define ROTA__HTTP_CHARS_H

#include <rota/base.h>

#include <string.h>

enum {
    /* RFC 9110, section 5.6.2. */
    ROTA__CHAR_TOKEN = 1,
    /* A request's target: visible ASCII but '#'. More than RFC 3986 allows, because browsers send
     * it, and it cannot be mistaken for anything else. */
    ROTA__CHAR_TARGET = 2,
    /* A field's value: visible, space, tab, obs-text (RFC 9110, section 5.5). */
    ROTA__CHAR_VALUE = 4,
    /* Of a host's name (RFC 3986, section 3.2.2). */
    ROTA__CHAR_HOST = 8
};

extern const unsigned char rota__char_classes[256];

static inline bool rota__char_is(char c, int classes)
{
    return rota__char_classes[(unsigned char)c] & classes;
}

static inline bool rota__char_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool rota__char_is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* Whether all characters belong to these classes. */
static inline bool rota__chars_are(rota_str s, int classes)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!rota__char_is(s.ptr[i], classes))
            return false;
    }
    return true;
}

/* The value of a hexadecimal digit, or -1. */
static inline int rota__char_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ASCII letters in lower case, whatever the locale says. */
static inline char rota__char_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Writes `s` in lower case to `to`, which may be `s.ptr`. */
static inline void rota__str_lower(char *to, rota_str s)
{
    for (size_t i = 0; i < s.len; i++)
        to[i] = rota__char_lower(s.ptr[i]);
}

static inline rota_str rota__str_of(const char *text)
{
    return (rota_str){text, strlen(text)};
}

/* Compares without regard to the case of ASCII letters. `lower` must be in lower case. */
static inline bool rota__str_is(rota_str s, const char *lower)
{
    size_t len = strlen(lower);
    if (s.len != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s.ptr[i] != lower[i] && rota__char_lower(s.ptr[i]) != lower[i])
            return false;
    }
    return true;
}

/* Does the same; neither needs to be in lower case. */
static inline bool rota__str_same(rota_str a, rota_str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (a.ptr[i] != b.ptr[i] && rota__char_lower(a.ptr[i]) != rota__char_lower(b.ptr[i]))
            return false;
    }
    return true;
}

static inline bool rota__str_begins(rota_str s, const char *prefix)
{
    size_t len = strlen(prefix);
    return s.len >= len && memcmp(s.ptr, prefix, len) == 0;
}

/* Whether `s` begins with `lower`, without regard to the case of ASCII letters. */
static inline bool rota__str_begins_any_case(rota_str s, const char *lower)
{
    size_t len = strlen(lower);
    return s.len >= len && rota__str_is((rota_str){s.ptr, len}, lower);
}

typedef unsigned char rota__chars __attribute__((vector_size(16)));
typedef char rota__plain_chars __attribute__((vector_size(16)));

/* Returns the index of the first byte of a comparison's result that is set, or 16. */
static inline int rota__chars_first(rota__chars mask)
{
#ifdef __SSE2__
    unsigned bits = (unsigned)__builtin_ia32_pmovmskb128((rota__plain_chars)mask);
    return bits ? __builtin_ctz(bits) : 16;
#else
    uint64_t half[2];
    memcpy(half, &mask, sizeof half);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    half[0] = __builtin_bswap64(half[0]);
    half[1] = __builtin_bswap64(half[1]);
#endif
    if (half[0])
        return __builtin_ctzll(half[0]) / 8;
    return half[1] ? 8 + __builtin_ctzll(half[1]) / 8 : 16;
#endif
}

static inline const char *rota__scan_value(const char *at, const char *end)
{
    for (; end - at >= 16; at += 16) {
        rota__chars c;
        memcpy(&c, at, sizeof c);
        int stop = rota__chars_first((rota__chars)(((c < 0x20) & (c != '\t')) | (c == 0x7f)));
        if (stop < 16)
            return at + stop;
    }
    while (at < end && rota__char_is(*at, ROTA__CHAR_VALUE))
        at++;
    return at;
}

static inline const char *rota__scan_target(const char *at, const char *end)
{
    for (; end - at >= 16; at += 16) {
        rota__chars c;
        memcpy(&c, at, sizeof c);
        int stop = rota__chars_first((rota__chars)((c < 0x21) | (c > 0x7e) | (c == '#')));
        if (stop < 16)
            return at + stop;
    }
    while (at < end && rota__char_is(*at, ROTA__CHAR_TARGET))
        at++;
    return at;
}

/* Names are short, and their ends are predicted well: this is faster byte by byte than by
 * sixteen. */
static inline const char *rota__scan_name(const char *at, const char *end, int classes)
{
    for (; end - at >= 4; at += 4) {
        if (!rota__char_is(at[0], classes))
            return at;
        if (!rota__char_is(at[1], classes))
            return at + 1;
        if (!rota__char_is(at[2], classes))
            return at + 2;
        if (!rota__char_is(at[3], classes))
            return at + 3;
    }
    while (at < end && rota__char_is(*at, classes))
        at++;
    return at;
}

static inline const char *rota__scan_token(const char *at, const char *end)
{
    return rota__scan_name(at, end, ROTA__CHAR_TOKEN);
}

#endif
