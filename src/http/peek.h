/* Waiting for more bytes for a parser. */
#ifndef ROTA__HTTP_PEEK_H
#define ROTA__HTTP_PEEK_H

#include <rota/stream.h>

/* Waits for more than the `have` bytes that were parsed, and shows all that arrived. Returns 0,
 * ROTA_EOF, or an error of rota_stream_peek. */
static inline int rota__peek_more(rota_stream *s, size_t have, rota_str *ret_bytes)
{
    ssize_t n = rota_stream_peek(s, have + 1, ret_bytes);
    if (n < 0)
        return (int)n;
    return (size_t)n > have ? 0 : ROTA_EOF;
}

#endif
