/* What a reader was told, as text to compare. */
#ifndef TOLD_H
#define TOLD_H

#include "harness.h"

#include <stdarg.h>
#include <string.h>

struct told {
    char text[8192];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static inline void tell(struct told *told, const char *format,
                                                              ...)
{
    va_list args;
    va_start(args, format);
    told->len +=
        (size_t)vsnprintf(told->text + told->len, sizeof told->text - told->len, format, args);
    va_end(args);
    CHECK(told->len < sizeof told->text);
}

#endif
