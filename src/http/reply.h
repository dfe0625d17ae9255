/* Replies: what RFC 9110 demands of any, above what the two protocols do with them. */
#ifndef ROTA__HTTP_REPLY_H
#define ROTA__HTTP_REPLY_H

#include "http/coding.h"
#include "http/server.h"

/* Whether replies of that status have no body, and announce none (RFC 9110, sections 15.3.5 and
 * 15.4.5). */
static inline bool rota__reply_is_bodiless(int status)
{
    return status == 204 || status == 304;
}

/* As rota_http_add_header, also for a field that is not the handler's to set. */
int rota__reply_add_header(rota_http_request *r, const char *name, const char *value);

/* Returns what adding header fields has failed with, or 0. */
int rota__reply_check_fields(const rota_http_request *r);

/* Nothing was sent yet: another reply may replace it. */
void rota__reply_withdraw(rota_http_request *r);

/* The client is to see that it does not get the whole reply, because of `err`. */
void rota__reply_cut(rota_http_request *r, int err);

/* Sends bytes of a file, as part of the body. Only where the kind has a call for it. */
int rota__reply_send_file(rota_http_request *r, int fd, uint64_t offset, uint64_t len);

/* Whether a reply of that type and length is one that clients may get compressed, and so has a
 * Vary. */
bool rota__reply_may_be_coded(const rota_http_request *r, const char *type, uint64_t length);
/* The best of what is offered, by the request's Accept-Encoding. */
int rota__reply_choose_coding(const rota_http_request *r, unsigned offered);
/* Begins to compress the reply, where that is wished and worth it: sets its fields, and
 * `encoder`. */
int rota__reply_code(rota_http_request *r, int status, const char *type, uint64_t length);
/* The reply is compressed no more. */
void rota__reply_drop_encoder(rota_http_request *r);
/* Compresses a piece; it then is what is to be sent. Returns 0, -EMSGSIZE (other than announced),
 * -ENOMEM. */
int rota__reply_encode(rota_http_request *r, rota_str *piece, enum rota__encoder_step step);

#endif
