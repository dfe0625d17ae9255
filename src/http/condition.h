/* Conditional requests (RFC 9110, section 13): evaluates the preconditions of a request. */
#ifndef ROTA__HTTP_CONDITION_H
#define ROTA__HTTP_CONDITION_H

#include <rota/http.h>

/* The current state of the resource. */
struct rota__validators {
    bool exists;
    /* With its quotes, and W/ if it is weak. Empty: none. */
    rota_str etag;
    /* Seconds since 1970, or ROTA__MODIFIED_UNKNOWN. */
    int64_t modified;
};
#define ROTA__MODIFIED_UNKNOWN INT64_MIN

/* Whether it is an entity-tag (RFC 9110, section 8.8.3). */
bool rota__etag_is(rota_str etag);
/* Compares strongly or weakly (section 8.8.3.2). A strong comparison with a weak tag is false. */
bool rota__etag_equal(rota_str a, rota_str b, bool strongly);

enum rota__condition {
    /* Perform the request. */
    ROTA__CONDITION_GO,
    /* 304 */
    ROTA__CONDITION_NOT_MODIFIED,
    /* 412 */
    ROTA__CONDITION_FAILED
};

/* Steps 1 to 4 of section 13.2.2. Invalid dates are ignored. Invalid entity-tags match nothing, and
 * fail the request if its method changes something. `now` is as for rota__date_parse. */
enum rota__condition rota__condition_check(const rota_http_field *fields, size_t count,
                                           rota_str method,
                                           const struct rota__validators *validators, int64_t now);

/* Step 5: whether to obey a Range field, which may come without If-Range. The resource must
 * exist. */
bool rota__condition_range(const rota_http_field *fields, size_t count,
                           const struct rota__validators *validators, int64_t now);

#endif
