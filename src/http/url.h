/* URLs by RFC 3986: taken apart, put together, resolved against one another. Internationalised names are the
 * caller's business: a host is ASCII here. */
#ifndef ROTA__HTTP_URL_H
#define ROTA__HTTP_URL_H

#include "http/out.h"

/* Slices of the text. A part that is not there has a NULL pointer; one that is empty has not. */
struct rota__url {
    rota_str scheme, userinfo, host, port, path, query, fragment;
    int number; /* of the port; the scheme's default for http, https, ws and wss; 0 if there is none */
};

/* Takes a URL or a relative reference apart. An IPv6 host comes with its brackets. Returns 0 or -EINVAL: a
 * character that has to be encoded, a % that encodes nothing, or a host or port that is none. */
int rota__url_parse(rota_str text, struct rota__url *ret_url);

/* host [ ":" port ], and not empty. */
bool rota__url_is_authority(rota_str s);

/* Whether two of them name the same, of which either may have the port `port` (":80") or leave it out. */
bool rota__url_same_authority(rota_str a, rota_str b, const char *port);

bool rota__url_is_scheme(rota_str s);

/* Puts the parts together (section 5.3). */
void rota__url_write(struct rota__out *out, const struct rota__url *url);

/* What `reference`, found in `base`, means (section 5.2): written to `out`, its path without dot segments. */
void rota__url_resolve(struct rota__out *out, const struct rota__url *base,
                       const struct rota__url *reference);

/* Encodes what must not stand in a URL as it is (spaces, controls, all beyond ASCII, a % that encodes
 * nothing), and nothing else: for addresses that people typed. */
void rota__url_mend(struct rota__out *out, rota_str text);

/* Encodes everything but unreserved characters (section 2.3): for a value that is put into a URL. */
void rota__url_encode(struct rota__out *out, rota_str text);
/* The opposite. Returns 0, -EINVAL (a % that encodes nothing), -ENOMEM. */
int rota__url_decode(struct rota__out *out, rota_str text);

#endif
