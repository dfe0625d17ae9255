/* What the targets have in common. */
#ifndef FUZZ_H
#define FUZZ_H

#include "http/out.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program, and says so, where it does not hold. */
#define require(holds_) require_at(holds_, #holds_, __FILE__, __LINE__)

static inline void require_at(bool holds, const char *text, const char *file, int line)
{
    if (holds)
        return;
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, text);
    abort();
}

static inline rota_str written(const struct rota__out *out)
{
    require(out->err == 0);
    return (rota_str){out->ptr, out->len};
}

static inline bool is_same(rota_str a, rota_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

#endif
