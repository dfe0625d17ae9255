#include "http/condition.h"
#include "http/chars.h"
#include "http/date.h"
#include "http/fields.h"
#include "http/params.h"

/* ---- Entity-tags */

static rota_str without_weak(rota_str etag)
{
    return rota__str_begins(etag, "W/") ? (rota_str){etag.ptr + 2, etag.len - 2} : etag;
}

/* %x21 / %x23-7E / obs-text */
static bool is_etag_char(char c)
{
    return c != '"' && c != ' ' && c != '\t' && rota__char_is(c, ROTA__CHAR_VALUE);
}

/* Takes an entity-tag off `list`. */
static bool take_etag(rota_str *list, rota_str *ret_etag)
{
    if (!list->len)
        return false;
    const char *from = list->ptr, *end = from + list->len, *at = without_weak(*list).ptr;
    if (at == end || *at++ != '"')
        return false;
    while (at < end && is_etag_char(*at))
        at++;
    if (at == end || *at != '"')
        return false;
    *ret_etag = (rota_str){from, (size_t)(at + 1 - from)};
    *list = (rota_str){at + 1, (size_t)(end - at - 1)};
    return true;
}

bool rota__etag_is(rota_str etag)
{
    return take_etag(&etag, &(rota_str){NULL, 0}) && !etag.len;
}

bool rota__etag_equal(rota_str a, rota_str b, bool strongly)
{
    rota_str x = without_weak(a), y = without_weak(b);
    if (strongly && (x.len != a.len || y.len != b.len))
        return false;
    return x.len == y.len && x.len && memcmp(x.ptr, y.ptr, x.len) == 0;
}

/* ---- Lists of tags: several fields with one name are one list */

enum match { ABSENT, MATCHES, DIFFERS, MALFORMED };

static enum match match_list(rota_str list, const struct rota__validators *v, bool strongly)
{
    enum match match = DIFFERS;
    list = rota__trim(list);
    if (list.len == 1 && *list.ptr == '*')
        return v->exists ? MATCHES : DIFFERS;
    while (list.len) {
        rota_str etag;
        if (*list.ptr != ',') {
            if (!take_etag(&list, &etag))
                return MALFORMED;
            if (v->exists && rota__etag_equal(etag, v->etag, strongly))
                match = MATCHES;
            list = rota__trim(list);
            if (list.len && *list.ptr != ',')
                return MALFORMED;
        }
        if (list.len)
            list = rota__trim((rota_str){list.ptr + 1, list.len - 1});
    }
    return match;
}

static enum match match_fields(const rota_http_field *fields, size_t count, const char *name,
                               const struct rota__validators *v, bool strongly)
{
    enum match all = ABSENT;
    const rota_http_field *field;
    for (size_t at = 0; (field = rota__fields_next(fields, count, rota__str_of(name), &at));) {
        enum match one = match_list(field->value, v, strongly);
        if (one == MALFORMED || all == MALFORMED)
            all = MALFORMED;
        else if (all != MATCHES)
            all = one;
    }
    return all;
}

/* Reads the date of a field that occurs exactly once. */
static bool find_date(const rota_http_field *fields, size_t count, const char *name, int64_t now,
                      int64_t *ret_date)
{
    size_t at = 0;
    rota_str named = rota__str_of(name);
    const rota_http_field *field = rota__fields_next(fields, count, named, &at);
    return field && !rota__fields_next(fields, count, named, &at) &&
           rota__date_parse(rota__trim(field->value), now, ret_date) == 0;
}

/* ---- Section 13.2.2 */

static bool is_reading(rota_str method)
{
    return rota_str_equal(method, "GET") || rota_str_equal(method, "HEAD");
}

/* Steps 1 and 2. */
static bool may_go_on(const rota_http_field *fields, size_t count, const struct rota__validators *v,
                      int64_t now)
{
    int64_t date;
    enum match match = match_fields(fields, count, "if-match", v, true);
    if (match != ABSENT)
        return match == MATCHES;
    return v->modified == ROTA__MODIFIED_UNKNOWN ||
           !find_date(fields, count, "if-unmodified-since", now, &date) || v->modified <= date;
}

enum rota__condition rota__condition_check(const rota_http_field *fields, size_t count,
                                           rota_str method,
                                           const struct rota__validators *validators, int64_t now)
{
    int64_t date;
    bool reading = is_reading(method);
    if (!may_go_on(fields, count, validators, now))
        return ROTA__CONDITION_FAILED;
    switch (match_fields(fields, count, "if-none-match", validators, false)) {
    case MATCHES:
        return reading ? ROTA__CONDITION_NOT_MODIFIED : ROTA__CONDITION_FAILED;
    case MALFORMED:
        return reading ? ROTA__CONDITION_GO : ROTA__CONDITION_FAILED;
    case DIFFERS:
        return ROTA__CONDITION_GO;
    case ABSENT:
        break;
    }
    bool unmodified = reading && validators->modified != ROTA__MODIFIED_UNKNOWN &&
                      find_date(fields, count, "if-modified-since", now, &date) &&
                      validators->modified <= date;
    return unmodified ? ROTA__CONDITION_NOT_MODIFIED : ROTA__CONDITION_GO;
}

/* A file may change twice within one second. Until the second of its date is over, the date is a
 * weak validator (section 8.8.2.2). */
static bool is_strong_date(int64_t modified, int64_t now)
{
    return modified != ROTA__MODIFIED_UNKNOWN && modified < now - 1;
}

bool rota__condition_range(const rota_http_field *fields, size_t count,
                           const struct rota__validators *validators, int64_t now)
{
    size_t at = 0;
    int64_t date;
    rota_str name = rota__str_of("if-range");
    const rota_http_field *field = rota__fields_next(fields, count, name, &at);
    if (!field)
        return true;
    if (rota__fields_next(fields, count, name, &at))
        return false;
    rota_str value = rota__trim(field->value);
    if (rota__etag_is(value))
        return rota__etag_equal(value, validators->etag, true);
    return rota__date_parse(value, now, &date) == 0 && date == validators->modified &&
           is_strong_date(date, now);
}
