/* URLs by RFC 3986, beneath <rota/url.h>: put together and resolved as they are, into bytes to be
 * sent. */
#ifndef ROTA__HTTP_URL_H
#define ROTA__HTTP_URL_H

#include "http/out.h"

#include <rota/host.h>
#include <rota/url.h>

#define ROTA__HOST_IN_URL (ROTA_HOST_TEXT + 4)

/* host [ ":" port ], and not empty. */
bool rota__url_is_authority(rota_str s);

/* Whether both have the same host and port; one that has no port has `port`. False if either is not
 * valid. */
bool rota__url_same_authority(rota_str a, rota_str b, int port);

/* Writes the host as it stands in a URL: "example.org", "[fe80::1%25eth0]". What is sent to others
 * is without its zone, which means something on this machine only (RFC 6874, section 1). Returns
 * `ret_text`. */
const char *rota__host_write(const rota_host *host, bool with_zone,
                             char ret_text[ROTA__HOST_IN_URL]);

bool rota__url_is_scheme(rota_str s);
/* Does what rota_url_parse does. On -EINVAL `ret_wrong` says what is wrong with the text: "has
 * an invalid port". */
int rota__url_parse(rota_str text, rota_url *ret_url, const char **ret_wrong);
/* 0: it has none. */
int rota__url_default_port(rota_str scheme);
/* Section 2.3: what need not be encoded anywhere. */
bool rota__url_is_unreserved(char c);

/* Copies what fits of a URL, or of what should be one, with "***" for a password and control
 * characters as \xNN: for errors and logs. Where it is not clear what is a password, more than that
 * is hidden. Returns `ret_text`. */
const char *rota__url_redact(rota_str text, char *ret_text, size_t size);

/* Puts the parts together (section 5.3). */
void rota__url_write(struct rota__out *out, const rota_url *url);

/* What `reference`, found in `base`, means (section 5.2): written to `out`, its path without dot
 * segments. */
void rota__url_resolve(struct rota__out *out, const rota_url *base, const rota_url *reference);

/* Encodes what must not stand in a URL as it is (spaces, controls, quotes and angles, all beyond
 * ASCII, a % that encodes nothing, a second #, a backslash in a path), and nothing else: for URLs
 * that people typed. An authority stays as it is: a guess at what was meant could lead to another
 * host. */
void rota__url_mend(struct rota__out *out, rota_str text);

/* Encodes everything but unreserved characters (section 2.3): for a value that is put into a
 * URL. */
void rota__url_encode(struct rota__out *out, rota_str text);
/* The opposite. Returns 0, -EINVAL (a % that encodes nothing), -ENOMEM. */
int rota__url_decode(struct rota__out *out, rota_str text);

#endif
