#include "http/fields.h"
#include "http/chars.h"
#include "http/h1.h"

const rota_http_field *rota__fields_next(const rota_http_field *fields, size_t count, rota_str name,
                                         size_t *from)
{
    for (; *from < count; ++*from) {
        if (rota__str_same(fields[*from].name, name))
            return &fields[(*from)++];
    }
    return NULL;
}

rota_str rota__fields_find(const rota_http_field *fields, size_t count, const char *name)
{
    size_t at = 0;
    const rota_http_field *field = rota__fields_next(fields, count, rota__str_of(name), &at);
    return field ? field->value : (rota_str){NULL, 0};
}

bool rota__fields_list_next(const rota_http_field *fields, size_t count, rota_str name,
                            struct rota__fields_list *list, rota_str *ret_element)
{
    while (!rota__h1_list_next(&list->rest, ret_element)) {
        const rota_http_field *field = rota__fields_next(fields, count, name, &list->from);
        if (!field)
            return false;
        list->rest = field->value;
    }
    return true;
}

size_t rota__fields_pairs(const char *const *pairs)
{
    size_t count = 0;
    while (pairs && pairs[2 * count] && pairs[2 * count + 1])
        count++;
    return count;
}

size_t rota__fields_text(const rota_http_field *fields, size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += fields[i].name.len + fields[i].value.len;
    return len;
}
