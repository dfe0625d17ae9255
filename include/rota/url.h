/* url: addresses, by RFC 3986: taken apart, resolved, encoded. In rota-http (pkg-config rota-http).
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
 * Compare hosts by rota_host_parse (rota/host.h), which says what a host is. */
#ifndef ROTA_URL_H
#define ROTA_URL_H

#include <rota/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The parts, as slices of the text, still encoded. One that is not there has a NULL pointer; one
 * that is empty has not. */
typedef struct rota_url {
    rota_str scheme, userinfo, host, port, path, query, fragment;
    /* of the port; the scheme's default for http, https, ws and wss; 0 if there is none */
    int number;
} rota_url;

/* Takes a URL or a relative reference apart. An IPv6 host comes with its brackets and its zone
 * ("[fe80::1%25eth0]").
 *
 * Paths, queries and fragments may have the characters that browsers leave unencoded, such as | and
 * [. Userinfo may have those of RFC 3986 only: what readers disagree about there
 * ("http://good.test\@evil.test/") decides which host is asked.
 *
 * Returns 0 or -EINVAL: a character that has to be encoded, a % that encodes nothing, an invalid
 * host or port. */
ROTA_API int rota_url_parse(rota_str text, rota_url *ret_url);

/* Whether scheme, host and port are the same: http://a/x and HTTP://A:80/y, http://[::1]/ and
 * http://[0:0::1]/. A final dot makes no difference, a zone does. */
ROTA_API bool rota_url_same_origin(const rota_url *a, const rota_url *b);

/* Resolves `reference`, found in `base` (section 5.2). Both may be as people write them: spaces
 * around them do not count, and characters that have to be encoded are, but for those of an
 * authority. The result is in normal form (section 6.2), so that two addresses of the same are
 * equal: scheme and host in lower case, addresses as inet_ntop(3) writes them, no default port, no
 * dot segments, nothing encoded that need not be.
 *
 * A base of no bytes is none: the reference stands for itself, and is put into normal form. The
 * result is yours, to be released by rota_bytes_fini.
 *
 * Returns 0, -EINVAL (one of them is no URL), -ENOMEM. */
ROTA_API int rota_url_resolve(rota_str base, rota_str reference, rota_bytes *ret_url);

/* Encodes everything but letters, digits and "-._~": for a value that is put into a path or a
 * query. The result is yours, to be released by rota_bytes_fini. Returns 0 or -ENOMEM. */
ROTA_API int rota_url_encode(rota_str text, rota_bytes *ret_encoded);
/* Decodes what is encoded. The result may have any bytes, also NUL and '/'; a '+' stays one. It is
 * yours, too. Returns 0, -EINVAL (a % that encodes nothing), -ENOMEM. */
ROTA_API int rota_url_decode(rota_str text, rota_bytes *ret_decoded);

#ifdef __cplusplus
}
#endif

#endif
