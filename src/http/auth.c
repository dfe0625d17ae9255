#include "http/auth.h"
#include "http/base64.h"
#include "http/chars.h"
#include "http/params.h"

#include <errno.h>

/* Neither user nor password may contain control characters (RFC 7617, section 2). Other bytes
 * beyond ASCII are in the caller's charset. */
bool rota__auth_is_text(rota_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    }
    return true;
}

int rota__auth_write_basic(struct rota__out *out, rota_str user, rota_str password)
{
    if (!rota__auth_is_text(user) || !rota__auth_is_text(password) ||
        (user.len && memchr(user.ptr, ':', user.len)))
        return -EINVAL;
    struct rota__out plain = {0};
    rota__out_add_str(&plain, user);
    rota__out_add_literal(&plain, ":");
    rota__out_add_str(&plain, password);
    int err = plain.err;
    char *to = err < 0 ? NULL : rota__out_reserve(out, 6 + rota__base64_len(plain.len));
    if (to) {
        memcpy(to, "Basic ", 6);
        rota__base64_encode(to + 6, plain.ptr, plain.len);
        out->len += 6 + rota__base64_len(plain.len);
    }
    rota__out_fini(&plain);
    return err < 0 ? err : out->err;
}

/* token68 (RFC 9110, section 11.2). */
static bool is_token68(rota_str s)
{
    size_t len = s.len;
    while (len && s.ptr[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        char c = s.ptr[i];
        if (!rota__char_is_letter(c) && !rota__char_is_digit(c) && !memchr("-._~+/", c, 6))
            return false;
    }
    return len > 0;
}

int rota__auth_write_bearer(struct rota__out *out, rota_str token)
{
    if (!is_token68(token))
        return -EINVAL;
    rota__out_add_literal(out, "Bearer ");
    rota__out_add_str(out, token);
    return out->err;
}

/* Returns what follows the scheme; empty if the field has another scheme. */
static rota_str behind_scheme(rota_str field, const char *scheme)
{
    field = rota__trim(field);
    if (!field.len)
        return field;
    const char *end = field.ptr + field.len, *at = rota__scan_token(field.ptr, end);
    rota_str name = {field.ptr, (size_t)(at - field.ptr)};
    if (at == end || *at != ' ' || !rota__str_is(name, scheme))
        return (rota_str){end, 0};
    return rota__trim((rota_str){at, (size_t)(end - at)});
}

int rota__auth_read_basic(rota_str field, struct rota__out *out, rota_str *ret_user,
                          rota_str *ret_password)
{
    size_t before = out->len;
    rota_str coded = behind_scheme(field, "basic");
    int err = coded.len ? rota__base64_decode(out, coded) : -EINVAL;
    if (err < 0)
        return err;
    rota_str plain = {out->ptr + before, out->len - before};
    const char *colon = memchr(plain.ptr, ':', plain.len);
    if (!colon || !rota__auth_is_text(plain)) {
        out->len = before;
        return -EINVAL;
    }
    *ret_user = (rota_str){plain.ptr, (size_t)(colon - plain.ptr)};
    *ret_password = (rota_str){colon + 1, plain.len - ret_user->len - 1};
    return 0;
}

int rota__auth_read_bearer(rota_str field, rota_str *ret_token)
{
    rota_str token = behind_scheme(field, "bearer");
    if (!is_token68(token))
        return -EINVAL;
    *ret_token = token;
    return 0;
}
