/* Parameters of a field's value: ";" name [ "=" ( token / quoted-string ) ] (RFC 9110, section
 * 5.6.6). */
#ifndef ROTA__HTTP_PARAMS_H
#define ROTA__HTTP_PARAMS_H

#include "http/out.h"

struct rota__param {
    rota_str name;
    /* Its pointer is NULL if there is none. Of a quoted string, the text between the quotes. */
    rota_str value;
    /* `value` still contains backslashes. */
    bool quoted;
};

/* Takes the next parameter, with its semicolon, off `rest`. Returns 1, 0 (nothing is left),
 * -EINVAL. */
int rota__param_next(rota_str *rest, struct rota__param *ret_param);

/* Takes a value off `rest`: a token or a quoted string. Returns whether there is one. */
bool rota__param_take_value(rota_str *rest, struct rota__param *param);
/* Adds the value, without its backslashes. */
void rota__param_unquote(const struct rota__param *param, struct rota__out *out);

/* Takes a token off `rest`. Empty if there is none. */
rota_str rota__take_token(rota_str *rest);

/* Takes the text before the first semicolon off `rest`, without spaces around it. */
rota_str rota__param_head(rota_str *rest);

/* `s` without spaces and tabs around it. */
rota_str rota__trim(rota_str s);

/* Takes the text before the separator off `rest`, and drops the separator. */
rota_str rota__cut(rota_str *rest, char separator);

/* Takes the decimal digits at the front off `rest`. A number that is too large for 64 bits, or
 * almost, becomes UINT64_MAX. Returns false without a digit. */
bool rota__take_number(rota_str *rest, uint64_t *ret_number);

#endif
