/* For tests of what HTTP's protocols write. */
#ifndef TESTS_OUT_CHECK_H
#define TESTS_OUT_CHECK_H

#include "http/out.h"

#include "harness.h"

#include <string.h>

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))
/* The bytes of a literal, NULs and all. */
#define BYTES(literal_) ((rota_str){"" literal_, sizeof(literal_) - 1})

static inline rota_str str(const char *text)
{
    return (rota_str){text, strlen(text)};
}

static inline void check_str(rota_str s, const char *expected)
{
    if (s.len != strlen(expected) || (s.len && memcmp(s.ptr, expected, s.len) != 0))
        FAIL("it is \"%.*s\", and not \"%s\"", (int)s.len, s.len ? s.ptr : "", expected);
}

/* Checks what has been written, and forgets it. */
static inline void check_out(struct rota__out *out, const char *expected)
{
    CHECK_INT(out->err, ==, 0);
    check_str((rota_str){out->ptr, out->len}, expected);
    out->len = 0;
}

#endif
