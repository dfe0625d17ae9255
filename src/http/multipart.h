/* multipart/form-data (RFC 7578, RFC 2046): parts written as they are sent, and read as they come.
 *
 * Writing. Names and file names are escaped as browsers do (WHATWG HTML, multipart/form-data
 * encoding):
 *
 *     for each part:   rota__multipart_write_part, then its bytes, as they come
 *     at the end:      rota__multipart_write_end
 *
 * Reading. As with h1.h: give rota__multipart_next what has arrived, from the first byte that it
 * has not used.
 *
 *     states    START -> HEAD -> DATA -> HEAD -> ... -> OVER      or BROKEN
 *
 *     START -> HEAD: at_start    HEAD -> DATA: at_head    DATA -> HEAD, OVER: at_data    -> BROKEN:
 *                                                         refuse
 *
 * 1. Slices of the caller's bytes; nothing is kept, and nothing is copied.
 * 2. What parsers are known to understand differently is refused: a preamble, an epilogue, spaces
 *    behind a boundary, bare CR or LF in a head, folded lines, filename*, parameters that are
 *    repeated. */
#ifndef ROTA__HTTP_MULTIPART_H
#define ROTA__HTTP_MULTIPART_H

#include "http/limit.h"
#include "http/out.h"

/* RFC 2046, section 5.1.1. */
#define ROTA__BOUNDARY_MAX 70

/* ---- Writing ---- */

/* Characters of a boundary that is made here, and a NUL. */
#define ROTA__BOUNDARY_SIZE 33

struct rota__part {
    rota_str name;
    /* NULL if it is not a file. */
    rota_str filename;
    /* Empty: none, or for a file application/octet-stream. */
    rota_str type;
    /* Of its bytes, for rota__multipart_length. */
    uint64_t length;
};

/* Makes a random boundary, so that no sender of a part can guess it. Returns 0 or an error of
 * getrandom(2). */
int rota__boundary_new(char boundary[ROTA__BOUNDARY_SIZE]);

/* The value of Content-Type. */
void rota__multipart_write_type(struct rota__out *out, const char *boundary);

/* Ends the part before, unless it is the `first`, and writes the head of this one; its bytes come
 * behind it. Returns 0, -EINVAL (a control character other than a line end, or a name that ends
 * with a backslash: nothing was added), -ENOMEM. */
int rota__multipart_write_part(struct rota__out *out, const char *boundary,
                               const struct rota__part *part, bool first);
/* The same without the head of the part, for other kinds of multipart. */
void rota__multipart_write_delimiter(struct rota__out *out, const char *boundary, bool first);
/* `none`: there was no part. Returns 0, -ENOMEM. */
int rota__multipart_write_end(struct rota__out *out, const char *boundary, bool none);

/* Computes the length of the whole body. Returns 0, or as rota__multipart_write_part does. */
int rota__multipart_length(const char *boundary, const struct rota__part *parts, size_t count,
                           uint64_t *ret_length);

/* ---- Reading ---- */

/* Zero is the default of each field. */
struct rota__multipart_limits {
    /* Bytes of the head of a part; 8 KiB. */
    size_t head;
    /* 1000 */
    size_t parts;
};

struct rota__multipart {
    enum {
        ROTA__MULTIPART_AT_START,
        ROTA__MULTIPART_AT_HEAD,
        ROTA__MULTIPART_AT_DATA,
        ROTA__MULTIPART_OVER,
        ROTA__MULTIPART_BROKEN
    } state;
    struct rota__multipart_limits limits;
    /* CRLF, two dashes, the boundary. */
    char delimiter[4 + ROTA__BOUNDARY_MAX];
    size_t delimiter_len;
    /* Bytes of an incomplete head that were searched for its end. */
    size_t scanned;
    /* Bytes behind the end: a line end, at most. */
    size_t tail;
    /* Parts so far. */
    size_t count;
    /* BROKEN: what a server answers. */
    int status;
    const char *error;
    char limit_text[ROTA__LIMIT_TEXT];
};

enum rota__multipart_event {
    /* More bytes are needed. */
    ROTA__MULTIPART_MORE,
    /* `name`, `filename`, `type`. */
    ROTA__MULTIPART_PART,
    /* `data`, a piece of the part. */
    ROTA__MULTIPART_DATA,
    ROTA__MULTIPART_PART_END
};

struct rota__multipart_item {
    rota_str name,
        /* As received, see rota__multipart_unescape. `filename` is NULL if it is not a file. */
        filename;
    /* NULL: none. */
    rota_str type;
    rota_str data;
};

/* `content_type` is the value of that field. Returns 0, -EINVAL: it is not multipart/form-data with
 * one boundary. */
int rota__multipart_init(struct rota__multipart *m, rota_str content_type,
                         const struct rota__multipart_limits *limits);

/* The next event in `bytes`; `*ret_used` says how many of them are done with. Returns an event, or
 * -EBADMSG: then `status` and `error` say why, and every later call does the same. The caller's
 * room has to hold a head. */
int rota__multipart_next(struct rota__multipart *m, rota_str bytes, size_t *ret_used,
                         struct rota__multipart_item *item);

/* The body has ended. Returns 0, -EBADMSG: it was cut short. */
int rota__multipart_finish(struct rota__multipart *m);

/* Undoes what browsers (%22, %0D, %0A) and others (backslashes) did to a name. Returns 0,
 * -ENOMEM. */
int rota__multipart_unescape(struct rota__out *out, rota_str text);

#endif
