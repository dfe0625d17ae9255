/* Cookies (RFC 6265): what servers set, kept in a jar, and sent back where they belong. No clock
 * and no file: the caller says what time it is, in seconds since 1970, and moves the text of a
 * saved jar. */
#ifndef ROTA__HTTP_COOKIE_H
#define ROTA__HTTP_COOKIE_H

#include "http/out.h"

#include <rota/host.h>

struct rota__cookie {
    struct rota__cookie *next;
    char *name, *value, *domain, *path; /* of one allocation, which is the cookie's */
    int64_t created, expires; /* expires: ROTA__COOKIE_SESSION if it lives as long as the jar */
    bool host_only, secure, http_only;
};

#define ROTA__COOKIE_SESSION INT64_MAX

struct rota__cookie_limits {
    size_t each;   /* bytes of name and value; 4096 */
    size_t domain; /* cookies of a domain; 50 */
    size_t all;    /* cookies; 3000 */
};

struct rota__cookie_jar {
    struct rota__cookie *first; /* the oldest first */
    struct rota__cookie_limits limits;
    /* Whether anybody may register a name below this domain ("com", "co.uk"): no cookie is set for
     * all of those. NULL: only names without a dot. */
    bool (*is_public_suffix)(const char *domain);
};

/* Where a request goes. */
struct rota__cookie_target {
    const rota_host *host;
    rota_str path; /* without query; empty is "/" */
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
/* Adds what such text holds. Returns the number of lines that were not understood, or -ENOMEM. */
int rota__cookie_load(struct rota__cookie_jar *jar, rota_str text, int64_t now);

/* A date as section 5.1.1 reads it, leniently. False: it is none. */
bool rota__cookie_date(rota_str text, int64_t *ret_seconds);

#endif
