/* application/x-www-form-urlencoded (WHATWG URL, section 5): names and values. */
#ifndef ROTA__HTTP_FORM_H
#define ROTA__HTTP_FORM_H

#include "http/out.h"

/* Adds name=value, behind an & unless `out` is empty. */
void rota__form_add(struct rota__out *out, rota_str name, rota_str value);

/* Takes the next pair, still encoded, off `text`. Returns false at the end. */
bool rota__form_next(rota_str *text, rota_str *ret_name, rota_str *ret_value);

/* Adds a decoded name or value. A % that encodes nothing stands for itself. Returns 0, -ENOMEM. */
int rota__form_decode(struct rota__out *out, rota_str text);

#endif
