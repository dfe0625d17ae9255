/* Calls that fail and say why. */
#ifndef FAILS_H
#define FAILS_H

#include "harness.h"

#include <rota.h>

#include <string.h>

static inline void check_fails_at(const char *file, int line, int result, int err,
                                  const char *words)
{
    if (result != err || !strstr(rota_error(err), words))
        test_fail(file, line, "%d \"%s\" instead of %d \"%s\"", result, rota_error(result), err,
                  words);
}

/* `call_` fails with that code and a text that contains `words_`. The text is not that of an
 * earlier failure with the same code. */
#define CHECK_FAILS(call_, err_, words_)                                \
    do {                                                                \
        rota_error_set(err_, "of an earlier failure");                  \
        check_fails_at(__FILE__, __LINE__, (int)(call_), err_, words_); \
    } while (0)

#endif
