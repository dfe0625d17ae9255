/* Conditional requests (RFC 9110, section 13): which of a request's conditions count, and what they
 * come to. */
#ifndef ROTA__HTTP_CONDITION_H
#define ROTA__HTTP_CONDITION_H

#include <rota/http.h>

/* What is there now. */
struct rota__validators {
    bool exists;
    rota_str etag;    /* with its quotes, and W/ if it is weak; empty: none */
    int64_t modified; /* seconds since 1970; or ROTA__MODIFIED_UNKNOWN */
};
#define ROTA__MODIFIED_UNKNOWN INT64_MIN

/* entity-tag (RFC 9110, section 8.8.3). */
bool rota__etag_is(rota_str etag);
/* Section 8.8.3.2. A weak one equals none strongly. */
bool rota__etag_equal(rota_str a, rota_str b, bool strongly);

enum rota__condition {
    ROTA__CONDITION_GO,           /* do what is asked for */
    ROTA__CONDITION_NOT_MODIFIED, /* 304 */
    ROTA__CONDITION_FAILED        /* 412 */
};

/* Steps 1 to 4 of section 13.2.2. Dates that are none say nothing; entity-tags that are none match
 * nothing, and of a method that changes something they fail. `now` is as for rota__date_parse. */
enum rota__condition rota__condition_check(const rota_http_field *fields, size_t count,
                                           rota_str method,
                                           const struct rota__validators *validators, int64_t now);

/* Step 5: whether a Range field counts. It does without If-Range. `validators` has to be of an
 * existing file. */
bool rota__condition_range(const rota_http_field *fields, size_t count,
                           const struct rota__validators *validators, int64_t now);

#endif
