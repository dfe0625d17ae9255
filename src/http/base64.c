#include "http/base64.h"

#include <errno.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void rota__base64_encode(char *to, const void *bytes, size_t len)
{
    const unsigned char *from = bytes;
    for (; len; to += 4) {
        size_t n = len < 3 ? len : 3;
        unsigned group =
            (unsigned)from[0] << 16 | (n > 1 ? (unsigned)from[1] << 8 : 0) | (n > 2 ? from[2] : 0);
        to[0] = digits[group >> 18];
        to[1] = digits[group >> 12 & 63];
        to[2] = n > 1 ? digits[group >> 6 & 63] : '=';
        to[3] = n > 2 ? digits[group & 63] : '=';
        from += n;
        len -= n;
    }
}

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes four characters to one to three bytes. Returns 0 if they are invalid. */
static size_t decode_group(const char *text, bool last, char bytes[3])
{
    size_t n = !last || text[3] != '=' ? 4 : text[2] != '=' ? 3 : 2;
    unsigned group = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i < n ? digit(text[i]) : 0;
        if (value < 0)
            return 0;
        group = group << 6 | (unsigned)value;
    }
    if ((n == 3 && (group & 0xff)) || (n == 2 && (group & 0xffff)))
        return 0;
    bytes[0] = (char)(group >> 16);
    bytes[1] = (char)(group >> 8);
    bytes[2] = (char)group;
    return n - 1;
}

int rota__base64_decode(struct rota__out *out, rota_str text)
{
    size_t before = out->len;
    if (text.len % 4)
        return -EINVAL;
    for (size_t at = 0; at < text.len; at += 4) {
        char bytes[3];
        size_t n = decode_group(text.ptr + at, at + 4 == text.len, bytes);
        if (!n) {
            out->len = before;
            return -EINVAL;
        }
        rota__out_add(out, bytes, n);
    }
    return out->err;
}
