/* Bytes in pieces: a reader has to understand the same however they are cut. */
#ifndef PIECES_H
#define PIECES_H

#include <rota/base.h>

#include <stdlib.h>
#include <string.h>

/* What a reader does with bytes: it returns an event (above 0) or an error, or 0 when it needs
 * more, and sets in any case how many bytes it used. It may change them. */
typedef int take_fn(void *reader, rota_str bytes, size_t *ret_used);

/* Gives the reader pieces of `piece` bytes, cut at `split` too, until it returns an error. Each
 * piece lies, behind what was left unread of the one before, in memory of just that size, so that a
 * look past its end is found. Returns what the reader returned last. */
static inline int read_in_pieces(rota_str bytes, size_t split, size_t piece, take_fn *take,
                                 void *reader)
{
    int event = 0;
    for (size_t at = 0, end = 0; event >= 0 && end < bytes.len;) {
        size_t limit = end < split ? split : bytes.len;
        end = limit - end < piece ? limit : end + piece;
        size_t unread = end - at, used;
        char *exact = malloc(unread);
        memcpy(exact, bytes.ptr + at, unread);
        do {
            event = take(reader, (rota_str){exact + (end - at - unread), unread}, &used);
            if (used > unread)
                abort();
            unread -= used;
        } while (event > 0);
        free(exact);
        at = end - unread;
    }
    return event;
}

#endif
