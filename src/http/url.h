/* URLs by RFC 3986, beneath <rota/url.h>: put together and resolved as they are, into bytes to be sent. */
#ifndef ROTA__HTTP_URL_H
#define ROTA__HTTP_URL_H

#include "http/out.h"

#include <rota/url.h>

/* host [ ":" port ], and not empty. */
bool rota__url_is_authority(rota_str s);

/* Whether two of them name the same, of which either may have the port `port` (":80") or leave it out. */
bool rota__url_same_authority(rota_str a, rota_str b, const char *port);

/* Whether it is an IP address, which stands without brackets here. */
bool rota__host_is_address(rota_str host);
/* Whether the host is below the domain: "a.example.org" is below "example.org". */
bool rota__host_is_below(rota_str host, rota_str domain);

bool rota__url_is_scheme(rota_str s);
/* 0: it has none. */
int rota__url_default_port(rota_str scheme);
/* Section 2.3: what need not be encoded anywhere. */
bool rota__url_is_unreserved(char c);

/* Puts the parts together (section 5.3). */
void rota__url_write(struct rota__out *out, const rota_url *url);

/* What `reference`, found in `base`, means (section 5.2): written to `out`, its path without dot segments. */
void rota__url_resolve(struct rota__out *out, const rota_url *base, const rota_url *reference);

/* Encodes what must not stand in a URL as it is (spaces, controls, quotes and angles, all beyond ASCII, a % that encodes
 * nothing, a second #), and nothing else: for addresses that people typed. */
void rota__url_mend(struct rota__out *out, rota_str text);

/* Encodes everything but unreserved characters (section 2.3): for a value that is put into a URL. */
void rota__url_encode(struct rota__out *out, rota_str text);
/* The opposite. Returns 0, -EINVAL (a % that encodes nothing), -ENOMEM. */
int rota__url_decode(struct rota__out *out, rota_str text);

#endif
