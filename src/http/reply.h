/* Replies: what RFC 9110 demands of any, above what the two protocols do with them. */
#ifndef ROTA__HTTP_REPLY_H
#define ROTA__HTTP_REPLY_H

#include "http/server.h"

/* The client is to see that it does not get the whole reply, because of `err`. */
void rota__reply_cut(rota_http_request *r, int err);

/* Sends bytes of a file, as part of the body. Only where the kind has a call for it. */
int rota__reply_send_file(rota_http_request *r, int fd, uint64_t offset, uint64_t len);

#endif
