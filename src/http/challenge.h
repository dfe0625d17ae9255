/* Challenges: values of WWW-Authenticate and Proxy-Authenticate (RFC 9110, section 11.6.1). One
 * value may hold several, and their parameters are separated by commas as well. */
#ifndef ROTA__HTTP_CHALLENGE_H
#define ROTA__HTTP_CHALLENGE_H

#include "http/params.h"

struct rota__challenge {
    rota_str scheme;
    /* From the first parameter to the last; of other schemes a token68. */
    rota_str params;
};

/* Takes the next challenge off `rest`. Returns 1, 0 (nothing is left), -EINVAL: where a value is
 * malformed, nothing behind it can be trusted. */
int rota__challenge_next(rota_str *rest, struct rota__challenge *ret_challenge);

/* Takes the next parameter off the challenge's `params`. Returns as above. */
int rota__challenge_param(rota_str *params, struct rota__param *ret_param);

#endif
