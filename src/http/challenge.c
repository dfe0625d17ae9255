#include "http/challenge.h"
#include "http/chars.h"

#include <errno.h>

static rota_str behind(rota_str s, size_t count)
{
    return (rota_str){s.ptr + count, s.len - count};
}

/* Lists may have empty elements (RFC 9110, section 5.6.1.2). */
static rota_str skip_commas(rota_str s)
{
    s = rota__trim(s);
    while (s.len && *s.ptr == ',')
        s = rota__trim(behind(s, 1));
    return s;
}

static bool is_element_end(rota_str s)
{
    return !s.len || *s.ptr == ',';
}

/* Takes name = value, with optional spaces around the sign (section 11.2), up to a comma or the
 * end. Otherwise returns false and takes nothing. */
static bool take_param(rota_str *rest, struct rota__param *param)
{
    rota_str s = *rest;
    param->name = rota__take_token(&s);
    s = rota__trim(s);
    if (!param->name.len || !s.len || *s.ptr != '=')
        return false;
    s = rota__trim(behind(s, 1));
    if (!rota__param_take_value(&s, param))
        return false;
    s = rota__trim(s);
    if (!is_element_end(s))
        return false;
    *rest = s;
    return true;
}

static bool take_token68(rota_str *rest)
{
    size_t len = 0;
    rota_str s = *rest;
    while (len < s.len && (rota__char_is_letter(s.ptr[len]) || rota__char_is_digit(s.ptr[len]) ||
                           memchr("-._~+/", s.ptr[len], 6)))
        len++;
    if (!len)
        return false;
    while (len < s.len && s.ptr[len] == '=')
        len++;
    s = rota__trim(behind(s, len));
    if (!is_element_end(s))
        return false;
    *rest = s;
    return true;
}

static void take_params(rota_str *rest)
{
    struct rota__param param;
    rota_str s = skip_commas(*rest);
    while (take_param(&s, &param)) {
        *rest = s;
        s = skip_commas(s);
    }
}

int rota__challenge_next(rota_str *rest, struct rota__challenge *ret_challenge)
{
    rota_str s = skip_commas(*rest);
    if (!s.len) {
        *rest = s;
        return 0;
    }
    rota_str scheme = rota__take_token(&s);
    bool has_space = s.len && *s.ptr == ' ';
    s = rota__trim(s);
    if (!scheme.len || !(has_space || is_element_end(s)))
        return -EINVAL;
    rota_str params = s;
    if (!is_element_end(s)) {
        take_params(&s);
        if (s.ptr == params.ptr && !take_token68(&s))
            return -EINVAL;
    }
    params.len -= s.len;
    *rest = s;
    *ret_challenge = (struct rota__challenge){scheme, params};
    return 1;
}

int rota__challenge_param(rota_str *params, struct rota__param *ret_param)
{
    *params = skip_commas(*params);
    if (!params->len)
        return 0;
    return take_param(params, ret_param) ? 1 : -EINVAL;
}
