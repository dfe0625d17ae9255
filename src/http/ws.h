/* WebSocket (RFC 6455) without a socket: bytes in, events out; frames in, bytes out. Of both roles.
 *
 *     states    FRAME -> PAYLOAD -> FRAME -> ...
 *               CLOSED   a close frame was read: nothing after it counts
 *               BROKEN   the peer broke the protocol: `close_code` is what it is to be told
 *
 *     FRAME -> PAYLOAD, -> CLOSED: at_frame    PAYLOAD -> FRAME: at_payload    -> BROKEN: refuse
 *
 * 1. Messages are told in the pieces in which they come, and nothing is kept: the caller joins
 *    them, and limits them, if it wants them whole; `limit` refuses longer ones as soon as a frame
 *    says so.
 * 2. Control frames are told whole, also between the pieces of a message.
 * 3. Text is UTF-8 (section 8.1), checked as it comes: what was told of a text so far is right. */
#ifndef ROTA__HTTP_WS_H
#define ROTA__HTTP_WS_H

#include "http/limit.h"
#include "http/out.h"

enum rota__ws_opcode {
    ROTA__WS_CONTINUATION = 0,
    ROTA__WS_TEXT = 1,
    ROTA__WS_BINARY = 2,
    ROTA__WS_CLOSE = 8,
    ROTA__WS_PING = 9,
    ROTA__WS_PONG = 10
};

/* Section 7.4.1. */
enum rota__ws_close_code {
    ROTA__WS_NORMAL = 1000,
    ROTA__WS_GOING_AWAY = 1001,
    ROTA__WS_PROTOCOL_ERROR = 1002,
    ROTA__WS_UNSUPPORTED = 1003,
    /* Never sent: the close frame was empty. */
    ROTA__WS_NO_CODE = 1005,
    /* Never sent: the connection ended without one. */
    ROTA__WS_CUT_OFF = 1006,
    ROTA__WS_BAD_DATA = 1007,
    ROTA__WS_POLICY = 1008,
    ROTA__WS_TOO_BIG = 1009,
    ROTA__WS_FAILURE = 1011
};

#define ROTA__WS_CONTROL_MAX 125
/* The longest head of a frame: two bytes, a length of eight, a mask. */
#define ROTA__WS_HEAD_MAX 14

struct rota__ws {
    enum { ROTA__WS_AT_FRAME, ROTA__WS_AT_PAYLOAD, ROTA__WS_CLOSED, ROTA__WS_BROKEN } state;
    /* Reads masked frames, writes unmasked ones. */
    bool is_server;
    /* Permessage-deflate was agreed on: RSV1 has a meaning (RFC 7692). */
    bool compresses;
    /* Bytes of a message; some more where it is deflated, as what does not compress grows. */
    uint64_t limit;

    /* The message. */
    /* TEXT or BINARY; 0 between messages. */
    int message;
    bool compressed;
    uint64_t total;
    /* State of rota__utf8_check. */
    uint32_t utf8;

    /* The frame. */
    bool final;
    uint64_t left;
    unsigned char mask[4];
    /* Bytes of the payload so far, modulo 4. */
    unsigned masked;

    int close_code;
    /* BROKEN: the reason. */
    const char *error;
    char limit_text[ROTA__LIMIT_TEXT];
};

enum rota__ws_event {
    /* More bytes are needed. */
    ROTA__WS_MORE,
    /* `data`, a piece of a message, perhaps an empty one; `last`. */
    ROTA__WS_DATA,
    ROTA__WS_CONTROL
};

struct rota__ws_item {
    /* TEXT or BINARY, for each piece of a message. */
    int opcode;
    bool last, compressed;
    /* Of a close frame without its code. */
    rota_str data;
    int close_code;
};

/* `limit` 0: none. */
void rota__ws_init(struct rota__ws *ws, bool is_server, bool compresses, uint64_t limit);

/* The text for a message longer than the limit. */
const char *rota__ws_message_limit(struct rota__ws *ws);

/* The next event in `len` bytes, which it unmasks in place; `*ret_used` says how many are done
 * with, also with MORE. Returns an event, or -EBADMSG: then `close_code` and `error` say why, and
 * every later call does the same. */
int rota__ws_next(struct rota__ws *ws, char *bytes, size_t len, size_t *ret_used,
                  struct rota__ws_item *item);

/* Writes the head of a frame whose payload of `len` bytes comes behind it. `mask` is NULL for a
 * server; a client masks the payload by rota__ws_mask with the same. */
void rota__ws_write_head(struct rota__out *out, int opcode, bool final, bool compressed,
                         uint64_t len, const unsigned char *mask);

/* Masks or unmasks `len` bytes, of which the first is byte `at` of the payload. */
void rota__ws_mask(char *bytes, size_t len, const unsigned char mask[4], uint64_t at);

/* A close frame. `code` NO_CODE makes an empty one. Returns 0, -EINVAL (a code that must not be
 * sent; a reason that is too long or not UTF-8), -ENOMEM. */
int rota__ws_write_close(struct rota__out *out, int code, rota_str reason,
                         const unsigned char *mask);

/* Goes on checking UTF-8 in the next `len` bytes; `*state` is 0 at the beginning, and again
 * wherever a character is complete. False: they are invalid. */
bool rota__utf8_check(uint32_t *state, const char *bytes, size_t len);

#endif
