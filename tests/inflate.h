/* Messages in pieces, for the inflater's test and its fuzz target. */
#ifndef INFLATE_H
#define INFLATE_H

#include "http/out.h"
#include "http/ws_deflate.h"

#include <stdlib.h>
#include <string.h>

/* Inflates a message that comes in pieces, into rooms of that size; each lies in memory of just its
 * size. */
static inline int inflate_message(struct rota__ws_deflate *d, rota_str message, size_t piece,
                                  size_t room, struct rota__out *told)
{
    char *to = malloc(room);
    ssize_t n = 0;
    bool last = false;
    for (size_t at = 0; n == 0 && !last; at += piece) {
        size_t len = message.len - at < piece ? message.len - at : piece;
        last = at + len == message.len;
        char *exact = malloc(len ? len : 1);
        if (len)
            memcpy(exact, message.ptr + at, len);
        rota_str in = {exact, len};
        while ((n = rota__ws_inflate(d, &in, last, to, room)) > 0) {
            if ((size_t)n > room)
                abort();
            rota__out_add(told, to, (size_t)n);
        }
        if (n == 0 && in.len)
            abort();
        free(exact);
    }
    free(to);
    return (int)n;
}

#endif
