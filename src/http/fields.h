/* The fields of a head, found by name. Letters are the same in either case (RFC 9110, section
 * 5.1). */
#ifndef ROTA__HTTP_FIELDS_H
#define ROTA__HTTP_FIELDS_H

#include <rota/http.h>

/* The next field of that name from `*from` on, which is then behind it; NULL: there is none. */
const rota_http_field *rota__fields_next(const rota_http_field *fields, size_t count, rota_str name,
                                         size_t *from);

/* The value of the first field of that name; its `ptr` is NULL where there is none. */
rota_str rota__fields_find(const rota_http_field *fields, size_t count, const char *name);

/* A list: what all fields of a name say together (RFC 9110, section 5.3). All zeros is before its
 * first element. */
struct rota__fields_list {
    size_t from;
    rota_str rest; /* of the value of the field before `from` */
};

/* Takes the next element. False: there is no further one. */
bool rota__fields_list_next(const rota_http_field *fields, size_t count, rota_str name,
                            struct rota__fields_list *list, rota_str *ret_element);

/* How many names with a value there are in a list of a caller: name, value, ..., NULL. One that it
 * ends with and that has no value is not counted. NULL: none. */
size_t rota__fields_pairs(const char *const *pairs);

/* The bytes of all names and values. */
size_t rota__fields_text(const rota_http_field *fields, size_t count);

#endif
