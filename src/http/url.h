/* URLs (RFC 3986), for <rota/url.h> and the client: writes and resolves them without
 * normalizing. */
#ifndef ROTA__HTTP_URL_H
#define ROTA__HTTP_URL_H

#include "http/out.h"

#include <rota/host.h>
#include <rota/url.h>

#define ROTA__HOST_IN_URL (ROTA_HOST_TEXT + 4)

/* host [ ":" port ], and not empty. */
bool rota__url_is_authority(rota_str s);

/* Whether host and port are the same. The default port is `port`. False if either is invalid. */
bool rota__url_same_authority(rota_str a, rota_str b, int port);

/* Writes the host as in a URL: "example.org", "[fe80::1%25eth0]". Zones are not sent to others,
 * because they have a meaning on this machine only (RFC 6874, section 1). Returns `ret_text`. */
const char *rota__host_write(const rota_host *host, bool with_zone,
                             char ret_text[ROTA__HOST_IN_URL]);

bool rota__url_is_scheme(rota_str s);
/* Does what rota_url_parse does. On -EINVAL `ret_wrong` says what is wrong with the text: "has
 * an invalid port". */
int rota__url_parse(rota_str text, rota_url *ret_url, const char **ret_wrong);
/* Returns 0 for other schemes. */
int rota__url_default_port(rota_str scheme);
/* Section 2.3: characters that are never encoded. */
bool rota__url_is_unreserved(char c);

/* Copies what fits of a URL, valid or not, with "***" for a password and control characters as
 * \xNN: for errors and logs. If it is unclear which part is a password, more is hidden. Returns
 * `ret_text`. */
const char *rota__url_redact(rota_str text, char *ret_text, size_t size);

/* Puts the parts together (section 5.3). */
void rota__url_write(struct rota__out *out, const rota_url *url);

/* Resolves `reference`, found in `base` (section 5.2), without dot segments. */
void rota__url_resolve(struct rota__out *out, const rota_url *base, const rota_url *reference);

/* Encodes the characters that must not occur in a URL (spaces, controls, quotes and angle brackets,
 * all beyond ASCII, a % that encodes nothing, a second #, a backslash in a path), and no others:
 * for URLs that people typed. An authority is not changed, because a guess could lead to another
 * host. */
void rota__url_mend(struct rota__out *out, rota_str text);

/* Encodes everything but unreserved characters (section 2.3): for a value that is put into a
 * URL. */
void rota__url_encode(struct rota__out *out, rota_str text);
/* Decodes. Returns 0, -EINVAL (a % that encodes nothing), -ENOMEM. */
int rota__url_decode(struct rota__out *out, rota_str text);

#endif
