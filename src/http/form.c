#include "http/form.h"
#include "http/chars.h"
#include "http/params.h"

/* The application/x-www-form-urlencoded percent-encode set leaves these as they are. */
static bool is_plain(char c)
{
    return rota__char_is_letter(c) || rota__char_is_digit(c) || memchr("*-._", c, 4);
}

static void add_encoded(struct rota__out *out, rota_str text)
{
    char *to = text.len ? rota__out_reserve(out, 3 * text.len) : NULL;
    if (!to)
        return;
    char *at = to;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (is_plain((char)c) || c == ' ') {
            *at++ = c == ' ' ? '+' : (char)c;
            continue;
        }
        *at++ = '%';
        *at++ = "0123456789ABCDEF"[c >> 4];
        *at++ = "0123456789ABCDEF"[c & 15];
    }
    out->len += (size_t)(at - to);
}

void rota__form_add(struct rota__out *out, rota_str name, rota_str value)
{
    if (out->len)
        rota__out_add_literal(out, "&");
    add_encoded(out, name);
    rota__out_add_literal(out, "=");
    add_encoded(out, value);
}

bool rota__form_next(rota_str *text, rota_str *ret_name, rota_str *ret_value)
{
    while (text->len) {
        rota_str pair = rota__cut(text, '&');
        if (!pair.len)
            continue;
        *ret_name = rota__cut(&pair, '=');
        *ret_value = pair;
        return true;
    }
    return false;
}

int rota__form_decode(struct rota__out *out, rota_str text)
{
    char *to = text.len ? rota__out_reserve(out, text.len) : NULL;
    if (!to)
        return out->err;
    char *at = to;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%' && text.len - i > 2 && rota__char_hex(text.ptr[i + 1]) >= 0 &&
            rota__char_hex(text.ptr[i + 2]) >= 0) {
            c = (char)(rota__char_hex(text.ptr[i + 1]) << 4 | rota__char_hex(text.ptr[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        *at++ = c;
    }
    out->len += (size_t)(at - to);
    return 0;
}
