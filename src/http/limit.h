/* Texts that say which limit was exceeded, its value, and the option that sets it. */
#ifndef ROTA__HTTP_LIMIT_H
#define ROTA__HTTP_LIMIT_H

#include <stdint.h>

#define ROTA__LIMIT_TEXT 96

/* Write a text and return it. `option` is NULL for a limit that cannot be set.
 *
 *     "head longer than 32768 bytes (option head)"
 *     "more than 100 header fields (option fields)" */
const char *rota__limit_bytes(char text[ROTA__LIMIT_TEXT], const char *what, uint64_t limit,
                              const char *option);
const char *rota__limit_count(char text[ROTA__LIMIT_TEXT], const char *what, uint64_t limit,
                              const char *option);

#endif
