/* Finds the fields of a head by name, in any case (RFC 9110, section 5.1). */
#ifndef ROTA__HTTP_FIELDS_H
#define ROTA__HTTP_FIELDS_H

#include <rota/http.h>

/* Returns the next field of that name from `*from` on and moves `*from` behind it, or NULL. */
const rota_http_field *rota__fields_next(const rota_http_field *fields, size_t count, rota_str name,
                                         size_t *from);

/* Returns the value of the first field of that name. Its `ptr` is NULL if there is none. */
rota_str rota__fields_find(const rota_http_field *fields, size_t count, const char *name);

/* A list: the values of all fields of one name (RFC 9110, section 5.3). All zeros is before its
 * first element. */
struct rota__fields_list {
    size_t from;
    /* Of the value of the field before `from`. */
    rota_str rest;
};

/* Takes the next element. Returns false at the end. */
bool rota__fields_list_next(const rota_http_field *fields, size_t count, rota_str name,
                            struct rota__fields_list *list, rota_str *ret_element);

/* Counts the pairs in a caller's list: name, value, ..., NULL. A last name without a value is not
 * counted. The list may be NULL. */
size_t rota__fields_pairs(const char *const *pairs);

/* Returns the length of all names and values. */
size_t rota__fields_text(const rota_http_field *fields, size_t count);

#endif
