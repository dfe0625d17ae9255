#include "http/params.h"
#include "http/chars.h"

#include <errno.h>

rota_str rota__trim(rota_str s)
{
    while (s.len && (*s.ptr == ' ' || *s.ptr == '\t'))
        s = (rota_str){s.ptr + 1, s.len - 1};
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

rota_str rota__cut(rota_str *rest, char separator)
{
    rota_str part = *rest;
    const char *at = part.len ? memchr(part.ptr, separator, part.len) : NULL;
    if (!at) {
        rest->len = 0;
        return part;
    }
    *rest = (rota_str){at + 1, (size_t)(part.ptr + part.len - at - 1)};
    return (rota_str){part.ptr, (size_t)(at - part.ptr)};
}

static void advance(rota_str *s, const char *to)
{
    *s = (rota_str){to, (size_t)(s->ptr + s->len - to)};
}

static bool starts_with(rota_str s, char c)
{
    return s.len && *s.ptr == c;
}

rota_str rota__param_head(rota_str *rest)
{
    rota_str head = *rest;
    const char *semicolon = head.len ? memchr(head.ptr, ';', head.len) : NULL;
    if (semicolon)
        head.len = (size_t)(semicolon - head.ptr);
    *rest = (rota_str){semicolon, semicolon ? rest->len - head.len : 0};
    return rota__trim(head);
}

rota_str rota__take_token(rota_str *s)
{
    const char *end = rota__scan_token(s->ptr, s->ptr + s->len);
    rota_str token = {s->ptr, (size_t)(end - s->ptr)};
    advance(s, end);
    return token;
}

/* Scans a quoted string after its opening quote. Returns whether it is closed. */
static bool take_quoted(rota_str *s, rota_str *ret_value)
{
    const char *at = s->ptr, *end = at + s->len;
    while (at < end && *at != '"' && rota__char_is(*at, ROTA__CHAR_VALUE))
        at += *at == '\\' && at + 1 < end ? 2 : 1;
    if (at >= end || *at != '"')
        return false;
    *ret_value = (rota_str){s->ptr, (size_t)(at - s->ptr)};
    advance(s, at + 1);
    return rota__chars_are(*ret_value, ROTA__CHAR_VALUE);
}

bool rota__take_number(rota_str *rest, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t count = 0;
    for (; count < rest->len && rota__char_is_digit(rest->ptr[count]); count++) {
        unsigned digit = (unsigned)(rest->ptr[count] - '0');
        number = number < UINT64_MAX / 10 ? number * 10 + digit : UINT64_MAX;
    }
    if (count == 0)
        return false;
    *rest = (rota_str){rest->ptr + count, rest->len - count};
    *ret_number = number;
    return true;
}

bool rota__param_take_value(rota_str *rest, struct rota__param *param)
{
    rota_str s = *rest;
    param->quoted = starts_with(s, '"');
    if (param->quoted)
        advance(&s, s.ptr + 1);
    else
        param->value = rota__take_token(&s);
    if (param->quoted ? !take_quoted(&s, &param->value) : !param->value.len)
        return false;
    *rest = s;
    return true;
}

void rota__param_unquote(const struct rota__param *param, struct rota__out *out)
{
    rota_str value = param->value;
    for (size_t i = 0; i < value.len; i++) {
        i += param->quoted && value.ptr[i] == '\\';
        rota__out_add(out, value.ptr + i, 1);
    }
}

int rota__param_next(rota_str *rest, struct rota__param *ret_param)
{
    struct rota__param param = {.quoted = false};
    rota_str s = rota__trim(*rest);
    if (!s.len) {
        *rest = s;
        return 0;
    }
    if (!starts_with(s, ';'))
        return -EINVAL;
    s = rota__trim((rota_str){s.ptr + 1, s.len - 1});
    param.name = rota__take_token(&s);
    if (!param.name.len)
        return -EINVAL;
    if (starts_with(s, '=')) {
        advance(&s, s.ptr + 1);
        if (!rota__param_take_value(&s, &param))
            return -EINVAL;
    }
    *rest = s;
    *ret_param = param;
    return 1;
}
