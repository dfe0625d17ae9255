/* Replies: what RFC 9110 demands of any, above what the two protocols do with them. */
#ifndef ROTA__HTTP_REPLY_H
#define ROTA__HTTP_REPLY_H

#include "http/server.h"

/* The client is to see that it does not get the whole reply, because of `err`. */
void rota__reply_cut(rota_http_request *r, int err);

#endif
