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
    /* Of the connection; only responses. */
    ROTA__H1_UNTIL_END,
    /* What follows is not HTTP: after CONNECT, or 101. */
    ROTA__H1_TUNNEL
};

struct rota__h1_head {
    /* HTTP/1.minor, 0 or 1. */
    int minor;

    /* Of a request. */
    rota_str method, target;
    /* Its Host field, or what an absolute target says. */
    rota_str authority;

    /* Of a response. */
    int status;
    rota_str reason;

    rota_http_field *fields;
    size_t count;

    enum rota__h1_body body;
    /* With LENGTH. */
    uint64_t length;
    /* The peer lets the connection live on after this message. */
    bool keep_alive;
    /* It waits for 100 (Continue) before it sends the body. */
    bool expect_continue;
    /* Connection names Upgrade, and there is such a field. */
    bool upgrade;
};

/* Zero is the default of each field. */
struct rota__h1_limits {
    /* Bytes of the first line; 8 KiB. */
    size_t line;
    /* Bytes of a head, and of trailers; 32 KiB. */
    size_t head;
    /* Fields of a head, and of trailers; 100. */
    size_t fields;
    /* Bytes of a request's body; no limit. */
    uint64_t body;
};

enum rota__h1_state {
    ROTA__H1_AT_HEAD,
    /* `left` bytes, or all until the end. */
    ROTA__H1_AT_DATA,
    ROTA__H1_AT_CHUNK_SIZE,
    /* The line end after a chunk. */
    ROTA__H1_AT_CHUNK_END,
    ROTA__H1_AT_TRAILERS,
    /* Of a message, not yet told. */
    ROTA__H1_AT_END,
    ROTA__H1_OVER,
    ROTA__H1_BROKEN
};

struct rota__h1 {
    enum rota__h1_state state;
    /* Reads requests. */
    bool is_server;
    /* Client: the next response answers HEAD: it has no body. */
    bool answers_head;
    bool answers_connect;
    /* Of AT_DATA: all until the end of the connection. */
    bool until_end;
    /* Of AT_DATA: the rest of a chunk. */
    bool chunked;
    /* An empty line before the head. */
    bool passed_line;
    /* The head was incomplete: look for its end before parsing. */
    bool searched;
    /* Bytes that have been searched. */
    size_t scanned;
    /* Of the body or chunk. */
    uint64_t left;
    /* Of the body so far. */
    uint64_t total;
    /* Bytes that chunk sizes and extensions took, against hidden floods. */
    uint64_t framing;
    struct rota__h1_limits limits;
    /* The caller's, limits.fields of them. */
    rota_http_field *fields;
    /* BROKEN: what a server answers before it closes. */
    int status;
    /* BROKEN: the reason. */
    const char *error;
    /* The reason, if it is a limit. */
    char limit_text[ROTA__LIMIT_TEXT];
};

enum rota__h1_event {
    /* It needs more bytes than there are. */
    ROTA__H1_MORE,
    /* `head`; interim responses (1xx) are heads, too, without an end. */
    ROTA__H1_HEAD,
    /* `data`, a piece of the body. */
    ROTA__H1_DATA,
    /* `head.fields`, after a chunked body. */
    ROTA__H1_TRAILER,
    /* The message is complete. */
    ROTA__H1_END
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

/* Whether a field must not be a trailer, because it frames or routes the message. */
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
