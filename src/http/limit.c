#include "http/limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *add_option(char text[ROTA__LIMIT_TEXT], const char *option)
{
    size_t len = strlen(text);
    if (option)
        snprintf(text + len, ROTA__LIMIT_TEXT - len, " (option %s)", option);
    return text;
}

const char *rota__limit_bytes(char text[ROTA__LIMIT_TEXT], const char *what, uint64_t limit,
                              const char *option)
{
    snprintf(text, ROTA__LIMIT_TEXT, "%s longer than %" PRIu64 " bytes", what, limit);
    return add_option(text, option);
}

const char *rota__limit_count(char text[ROTA__LIMIT_TEXT], const char *what, uint64_t limit,
                              const char *option)
{
    snprintf(text, ROTA__LIMIT_TEXT, "more than %" PRIu64 " %s", limit, what);
    return add_option(text, option);
}
