/* url: parse, resolve and encode URLs (RFC 3986). Part of rota-http (pkg-config rota-http).
 *
 *     // Where a link of a page leads, and whether it stays on the site.
 *     static int follow(rota_str page, rota_str link, rota_bytes *ret_target)
 *     {
 *         rota_url from, to;
 *         ROTA_SCOPED(rota_bytes) target = ROTA_BYTES_INIT;
 *         // "../b c#top" in "http://a/x/y" is "http://a/b%20c#top"
 *         int err = rota_url_resolve(page, link, &target);
 *         if (err == 0)
 *             err = rota_url_parse(page, &from);
 *         if (err == 0)
 *             err = rota_url_parse((rota_str){target.ptr, target.len}, &to);
 *         if (err < 0)
 *             return err;
 *         *ret_target = target;
 *         target = (rota_bytes)ROTA_BYTES_INIT; // it is the caller's now
 *         return rota_url_same_origin(&from, &to);
 *     }
 *
 * To compare hosts, use rota_host_parse (rota/host.h). */
#ifndef ROTA_URL_H
#define ROTA_URL_H

#include <rota/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The parts of a URL, as slices of the text, still encoded. An absent part has a NULL pointer; an
 * empty one has not. */
typedef struct rota_url {
    rota_str scheme, userinfo, host, port, path, query, fragment;
    /* Of the port; the scheme's default for http, https, ws and wss; 0 if there is none. */
    int number;
} rota_url;

/* Splits a URL or a relative reference into its parts. An IPv6 host includes its brackets and zone
 * ("[fe80::1%25eth0]").
 *
 * Paths, queries and fragments may have the characters that browsers leave unencoded, such as | and
 * [. Userinfo may have only those of RFC 3986, because parsers that disagree there would find
 * different hosts ("http://good.test\@evil.test/").
 *
 * Returns 0 or -EINVAL (a character that must be encoded, an invalid percent-encoding, an invalid
 * host or port). */
ROTA_API int rota_url_parse(rota_str text, rota_url *ret_url);

/* Returns whether scheme, host and port are the same, as of http://a/x and HTTP://A:80/y, or
 * http://[::1]/ and http://[0:0::1]/. A final dot of the host is ignored, a zone is not. */
ROTA_API bool rota_url_same_origin(const rota_url *a, const rota_url *b);

/* Resolves `reference`, found in `base` (section 5.2). Both may be as people write them: spaces
 * around them are ignored, and characters that must be encoded are encoded, except in the
 * authority. The result is in normal form (section 6.2), so that equivalent URLs are equal: scheme
 * and host in lower case, addresses as inet_ntop(3) writes them, no default port, no dot segments,
 * no needless encoding.
 *
 * With an empty base the reference itself is put into normal form. Release the result with
 * rota_bytes_fini.
 *
 * Returns 0, -EINVAL (an invalid URL), -ENOMEM. */
ROTA_API int rota_url_resolve(rota_str base, rota_str reference, rota_bytes *ret_url);

/* Percent-encodes everything but letters, digits and "-._~". Use it for a value in a path or a
 * query. Release the result with rota_bytes_fini. Returns 0 or -ENOMEM. */
ROTA_API int rota_url_encode(rota_str text, rota_bytes *ret_encoded);
/* Decodes percent-encoding. The result may contain any bytes, also NUL and '/'; a '+' is not
 * changed. Release it with rota_bytes_fini. Returns 0, -EINVAL (an invalid percent-encoding),
 * -ENOMEM. */
ROTA_API int rota_url_decode(rota_str text, rota_bytes *ret_decoded);

#ifdef __cplusplus
}
#endif

#endif
