/* Failures without a text of their own. An earlier failure with the same code may have left its
 * text; it must not be taken for theirs. */
#ifndef ROTA__HTTP_PLAIN_H
#define ROTA__HTTP_PLAIN_H

#include <rota/task.h>

/* The failure has only the text of its code. Returns `err`, which may be 0. */
static inline int rota__http_plain(int err)
{
    return err < 0 ? rota_error_set(err, "%s", rota_strerror(err)) : 0;
}

/* As rota_check, for calls that return the interrupt as their own failure. */
static inline int rota__http_check(void)
{
    return rota_check() < 0 ? rota_yield() : 0;
}

#endif
