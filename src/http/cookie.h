/* Cookies (RFC 6265): a jar keeps what servers set and selects what is sent back. It uses no clock
 * and no files: the caller passes the time, in seconds since 1970, and the text of a saved jar. */
#ifndef ROTA__HTTP_COOKIE_H
#define ROTA__HTTP_COOKIE_H

#include "http/out.h"

#include <rota/host.h>

struct rota__cookie {
    struct rota__cookie *next;
    /* Of one allocation, which is the cookie's. */
    char *name, *value, *domain, *path;
    /* expires: ROTA__COOKIE_SESSION if it lives as long as the jar. */
    int64_t created, expires;
    bool host_only, secure, http_only;
};

#define ROTA__COOKIE_SESSION INT64_MAX

struct rota__cookie_limits {
    /* Bytes of name and value; 4096. */
    size_t each;
    /* Cookies of a domain; 50. */
    size_t domain;
    /* Cookies; 3000. */
    size_t all;
};

struct rota__cookie_jar {
    /* The oldest first. */
    struct rota__cookie *first;
    struct rota__cookie_limits limits;
    /* Whether the domain is a public suffix ("com", "co.uk"), for which no cookie may be set. NULL:
     * only names without a dot are. */
    bool (*is_public_suffix)(const char *domain);
};

/* Where a request goes. */
struct rota__cookie_target {
    const rota_host *host;
    /* Without query; empty is "/" */
    rota_str path;
    bool secure;
};

/* For jars: what the list says. Where rota was built without one there is no such function. */
bool rota__cookie_is_public_suffix(const char *domain);

void rota__cookie_jar_fini(struct rota__cookie_jar *jar);

/* Takes the value of a Set-Cookie field of an answer from `target` (sections 5.2 and 5.3). Returns
 * 1 (kept, or an old one removed), 0 (not acceptable, or unreadable), -ENOMEM. */
int rota__cookie_set(struct rota__cookie_jar *jar, const struct rota__cookie_target *target,
                     rota_str field, int64_t now);

/* Writes the value of the Cookie field for a request to `target` (section 5.4), longest paths
 * first, then the oldest. Nothing where there are no cookies for it. */
void rota__cookie_write(struct rota__cookie_jar *jar, const struct rota__cookie_target *target,
                        struct rota__out *out, int64_t now);

/* The jar as text that curl and wget understand: a line a cookie, of seven fields separated by
 * tabs. Session cookies, which end with the program, are left out. */
void rota__cookie_save(const struct rota__cookie_jar *jar, struct rota__out *out, int64_t now);
/* Adds the cookies of such a text. Returns the number of invalid lines, or -ENOMEM. */
int rota__cookie_load(struct rota__cookie_jar *jar, rota_str text, int64_t now);

/* Reads a date leniently, as section 5.1.1 requires. Returns false if there is none. */
bool rota__cookie_date(rota_str text, int64_t *ret_seconds);

#endif
