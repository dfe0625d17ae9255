/* Challenges: values of WWW-Authenticate and Proxy-Authenticate (RFC 9110, section 11.6.1). A value
 * may contain several; commas separate both challenges and their parameters. */
#ifndef ROTA__HTTP_CHALLENGE_H
#define ROTA__HTTP_CHALLENGE_H

#include "http/params.h"

struct rota__challenge {
    rota_str scheme;
    /* From the first parameter to the last, or a token68. */
    rota_str params;
};

/* Takes the next challenge off `rest`. Returns 1, 0 (nothing is left), -EINVAL (malformed: ignore
 * the rest, too). */
int rota__challenge_next(rota_str *rest, struct rota__challenge *ret_challenge);

/* Takes the next parameter off the challenge's `params`. Returns 1, 0, -EINVAL. */
int rota__challenge_param(rota_str *params, struct rota__param *ret_param);

#endif
