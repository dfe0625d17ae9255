/* HTTP/1.1 without a socket: bytes in, events out; a head in, bytes out. Of both roles.
 * RFC 9112 is the syntax, RFC 9110 the meaning.
 *
 * Reading. Give rota__h1_next what has arrived, from the first byte that it has not used. It
 * returns one event at a time:
 *
 *     states    HEAD -> BODY -> HEAD -> ...     a message after another
 *               BODY    how it goes on is `body`: a length, chunks, or all until the end
 *               OVER    nothing more is read: a tunnel, or a body until the end has ended
 *               BROKEN  the peer is not understood: nothing after it can be trusted
 *
 *     HEAD -> BODY: finish_head    BODY -> HEAD: end_message    -> BROKEN: rota__h1_refuse
 *
 * 1. A head is looked at once when it arrives whole; of one that comes in pieces, each byte is
 *    looked at once more at most.
 * 2. What the events give are slices of the caller's bytes.
 * 3. Two parsers must not be able to understand it differently: what RFC 9112 lets a recipient
 *    repair, and others repair otherwise, is refused.
 * 4. A folded line is refused in a request. A user agent has to accept it (RFC 9112, section 5.2):
 *    in a response the parser writes spaces over the line ends in the caller's bytes. */
#ifndef ROTA__HTTP_H1_H
#define ROTA__HTTP_H1_H

#include "http/limit.h"

#include <rota/http.h>

#include <sys/types.h>

enum rota__h1_body {
    ROTA__H1_NO_BODY,
    ROTA__H1_LENGTH,
    ROTA__H1_CHUNKED,
    ROTA__H1_UNTIL_END, /* of the connection; only responses */
    ROTA__H1_TUNNEL     /* what follows is not HTTP: after CONNECT, or 101 */
};

struct rota__h1_head {
    int minor; /* HTTP/1.minor, 0 or 1 */

    rota_str method, target; /* of a request */
    rota_str authority;      /* its Host field, or what an absolute target says */

    int status; /* of a response */
    rota_str reason;

    rota_http_field *fields;
    size_t count;

    enum rota__h1_body body;
    uint64_t length;      /* with LENGTH */
    bool keep_alive;      /* the peer lets the connection live on after this message */
    bool expect_continue; /* it waits for 100 (Continue) before it sends the body */
    bool upgrade;         /* Connection names Upgrade, and there is such a field */
};

/* Zero is the default of each field. */
struct rota__h1_limits {
    size_t line;   /* bytes of the first line; 8 KiB */
    size_t head;   /* bytes of a head, and of trailers; 32 KiB */
    size_t fields; /* fields of a head, and of trailers; 100 */
    uint64_t body; /* bytes of a request's body; no limit */
};

enum rota__h1_state {
    ROTA__H1_AT_HEAD,
    ROTA__H1_AT_DATA, /* `left` bytes, or all until the end */
    ROTA__H1_AT_CHUNK_SIZE,
    ROTA__H1_AT_CHUNK_END, /* the line end behind a chunk */
    ROTA__H1_AT_TRAILERS,
    ROTA__H1_AT_END, /* of a message, not yet told */
    ROTA__H1_OVER,
    ROTA__H1_BROKEN
};

struct rota__h1 {
    enum rota__h1_state state;
    bool is_server;    /* reads requests */
    bool answers_head; /* client: the next response answers HEAD: it has no body */
    bool answers_connect;
    bool until_end;   /* of AT_DATA: all until the end of the connection */
    bool chunked;     /* of AT_DATA: the rest of a chunk */
    bool passed_line; /* an empty line before the head */
    bool searched;    /* the head was incomplete: look for its end before parsing */
    size_t scanned;   /* so many bytes of it have been searched */
    uint64_t left;    /* of the body or chunk */
    uint64_t total;   /* of the body so far */
    uint64_t framing; /* bytes that chunk sizes and extensions took, against hidden floods */
    struct rota__h1_limits limits;
    rota_http_field *fields;           /* the caller's, limits.fields of them */
    int status;                        /* BROKEN: what a server answers before it closes */
    const char *error;                 /* BROKEN: the reason */
    char limit_text[ROTA__LIMIT_TEXT]; /* the reason, if it is a limit */
};

enum rota__h1_event {
    ROTA__H1_MORE,    /* it needs more bytes than there are */
    ROTA__H1_HEAD,    /* `head`; interim responses (1xx) are heads, too, without an end */
    ROTA__H1_DATA,    /* `data`, a piece of the body */
    ROTA__H1_TRAILER, /* `head.fields`, behind a chunked body */
    ROTA__H1_END      /* the message is complete */
};

struct rota__h1_item {
    struct rota__h1_head head;
    rota_str data;
};

/* `fields` has room for limits->fields (or the default) of them, and stays until the parser
 * goes. */
void rota__h1_init(struct rota__h1 *h1, bool is_server, const struct rota__h1_limits *limits,
                   rota_http_field *fields);

#define ROTA__H1_FIELDS 100
#define ROTA__H1_HEAD_LIMIT 32768

/* The next event in `bytes`, which a client's must be able to change; `*ret_used` says how many of
 * them are done with. Returns an event, or -EBADMSG: then `status` and `error` say why, and every
 * later call does the same; of a head that is refused, item->head has what was understood. */
int rota__h1_next(struct rota__h1 *h1, rota_str bytes, size_t *ret_used,
                  struct rota__h1_item *item);

/* The connection has ended behind the last byte. Returns END (of a body that lasts until then),
 * MORE (between messages: an orderly end), or -EBADMSG (in the middle of one). */
int rota__h1_finish(struct rota__h1 *h1);

/* Bytes of the body that may go past the parser, straight into the reader's buffer; then say how
 * many did. */
static inline uint64_t rota__h1_direct(const struct rota__h1 *h1)
{
    return h1->state == ROTA__H1_AT_DATA ? (h1->until_end ? UINT64_MAX : h1->left) : 0;
}
void rota__h1_took(struct rota__h1 *h1, uint64_t count);

/* Goes on to the next message, without the END event, if the present one has come whole. */
static inline bool rota__h1_pass_end(struct rota__h1 *h1)
{
    if (h1->state != ROTA__H1_AT_END)
        return false;
    h1->state = ROTA__H1_AT_HEAD;
    h1->passed_line = false;
    return true;
}

/* Takes the next element of a comma-separated list (RFC 9110, section 5.6.1) off `list`. */
bool rota__h1_list_next(rota_str *list, rota_str *ret_element);

/* Whether a field must not come behind the body, because it frames or routes the message. */
bool rota__h1_is_forbidden_trailer(rota_str name);

/* ---- for the parser's files ---- */

int rota__h1_refuse(struct rota__h1 *h1, int status, const char *why);
int rota__h1_refuse_body(struct rota__h1 *h1);

/* Fields up to the empty line, of a head or of trailers. Returns 1 (*ret_at stands behind the empty
 * line), 0 (incomplete), -EBADMSG. */
int rota__h1_fields(struct rota__h1 *h1, const char **at, const char *end, size_t *ret_count);

int rota__h1_parse_head(struct rota__h1 *h1, rota_str bytes, size_t *ret_used,
                        struct rota__h1_head *head);

#endif
