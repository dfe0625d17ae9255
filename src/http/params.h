/* Parameters of a field's value: ";" name [ "=" ( token / quoted-string ) ] (RFC 9110, section
 * 5.6.6). */
#ifndef ROTA__HTTP_PARAMS_H
#define ROTA__HTTP_PARAMS_H

#include "http/out.h"

struct rota__param {
    rota_str name;
    rota_str value; /* NULL: there is none; of a quoted string, what stands between the quotes */
    bool quoted;    /* backslashes in `value` have not been taken out */
};

/* Takes the next parameter, with its semicolon, off `rest`. Returns 1, 0 (nothing is left),
 * -EINVAL. */
int rota__param_next(rota_str *rest, struct rota__param *ret_param);

/* Takes a value off `rest`: a token or a quoted string. Returns whether there is one. */
bool rota__param_take_value(rota_str *rest, struct rota__param *param);
/* Adds the value, without its backslashes. */
void rota__param_unquote(const struct rota__param *param, struct rota__out *out);

/* Takes a token off `rest`; empty where there is none. */
rota_str rota__take_token(rota_str *rest);

/* Takes what stands before the first semicolon off `rest`, without spaces around it. */
rota_str rota__param_head(rota_str *rest);

/* `s` without spaces and tabs around it. */
rota_str rota__trim(rota_str s);

/* Takes what stands before the separator off `rest`, and the separator with it. */
rota_str rota__cut(rota_str *rest, char separator);

/* Takes the decimal digits at the front off `rest`. What 64 bits cannot hold, or hardly, is
 * UINT64_MAX. False: there is no digit. */
bool rota__take_number(rota_str *rest, uint64_t *ret_number);

#endif
