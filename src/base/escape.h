/* Text from elsewhere, made safe to print: control characters, which could move a terminal's cursor
 * or end a line of a log, and bytes that are not UTF-8 become "\xNN". */
#ifndef ROTA__BASE_ESCAPE_H
#define ROTA__BASE_ESCAPE_H

#include <stddef.h>
#include <string.h>

/* The longest that one character becomes. */
#define ROTA__ESCAPED_MAX 4

/* The length of the UTF-8 character at the beginning of the `left` bytes at `text`; 0 for a control
 * character, and for bytes that are not UTF-8. */
static inline size_t rota__printable(const char *text, size_t left)
{
    static const unsigned char second_min[] = {[0x0] = 0xa0, [0x10] = 0x90};
    const unsigned char *s = (const unsigned char *)text;
    unsigned char lead = s[0];
    if (lead < 0x80)
        return lead >= 0x20 && lead != 0x7f;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((lead == 0xe0 || lead == 0xf0) && s[1] < second_min[lead - 0xe0])
        return 0; /* overlong */
    if ((lead == 0xed && s[1] > 0x9f) || (lead == 0xf4 && s[1] > 0x8f))
        return 0; /* a surrogate, or beyond U+10FFFF */
    return lead == 0xc2 && s[1] < 0xa0 ? 0 : len;
}

/* Writes the first character of the `left` bytes at `*text`, or its escape, without a NUL, and
 * moves `*text` behind it. Returns how many bytes were written. `left` is not 0. */
static inline size_t rota__escape(char ret_escaped[ROTA__ESCAPED_MAX], const char **text,
                                  size_t left)
{
    size_t len = rota__printable(*text, left);
    if (len) {
        memcpy(ret_escaped, *text, len);
        *text += len;
        return len;
    }
    unsigned char c = (unsigned char)*(*text)++;
    const char *digits = "0123456789abcdef";
    memcpy(ret_escaped, (char[]){'\\', 'x', digits[c >> 4], digits[c & 15]}, 4);
    return 4;
}

#endif
