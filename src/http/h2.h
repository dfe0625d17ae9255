/* HTTP/2 without a socket (RFC 9113), on libnghttp2: bytes in, events out; heads and bodies in,
 * bytes out. Of both roles. libnghttp2 knows frames, HPACK, windows and the states of streams; this
 * knows messages, limits and floods.
 *
 * Reading. Give rota__h2_next what has arrived, from the first byte that it has not used. It
 * returns one event at a time. A request's head is taken with rota__h2_take, which gives its stream
 * an owner; events name the owner.
 *
 *     a stream     IDLE -> OPEN -> CLOSED    rota__h2_take or _request; both sides have ended, a
 *                                            reset, or _drop
 *     its peer     HEAD, DATA..., TRAILERS, END; RESET instead of the rest at any time. A client
 *                  gets INTERIM before
 *     the whole    until BROKEN: fail. What `out` holds then (it says why) is sent, and the
 *                  connection closed
 *
 * Writing. Each call adds to `out`, in the order in which it is to be sent, and so does
 * rota__h2_next (answers to pings and settings, resets, windows): look at `out` after each call.
 * The caller sends what it holds, or takes the whole structure and leaves an empty one. A body is
 * written as far as window and frame allow:
 *
 *     n = rota__h2_data(h2, s, len, end)     the head of a frame; its n bytes come behind `out`,
 *                                            before all else
 *     n = -EAGAIN                            wait for WINDOW, then again
 *
 * 1. There are no callbacks: many tasks may own streams, and one of them reads.
 * 2. Bytes of a body hold their part of the windows, the stream's and the connection's, until
 *    rota__h2_consumed or _drop: a slow reader stops its own stream, not the others, and no more
 *    than a window has to be kept.
 * 3. A stream that was told stays counted until it is dropped, even when its peer has reset it: no
 *    peer has more of them worked on than twice `limits.streams`.
 * 4. What a peer makes us send does not pile up: `out` has a limit, over which the connection
 *    breaks. Writers wait while `out` holds ROTA__H2_HIGH_WATER.
 * 5. Bytes of a body are counted: more than announced are refused, and less fail the end. */
#ifndef ROTA__HTTP_H2_H
#define ROTA__HTTP_H2_H

#include "http/limit.h"
#include "http/out.h"

#include <rota/http.h>

#include <sys/types.h>

struct nghttp2_session;
struct nghttp2_session_callbacks;

/* Section 7. */
enum rota__h2_code {
    ROTA__H2_NO_ERROR = 0,
    ROTA__H2_PROTOCOL_ERROR = 1,
    ROTA__H2_INTERNAL_ERROR = 2,
    ROTA__H2_FLOW_CONTROL_ERROR = 3,
    ROTA__H2_SETTINGS_TIMEOUT = 4,
    ROTA__H2_STREAM_CLOSED = 5,
    ROTA__H2_FRAME_SIZE_ERROR = 6,
    /* Nothing was done: it may be sent again. */
    ROTA__H2_REFUSED_STREAM = 7,
    ROTA__H2_CANCEL = 8,
    ROTA__H2_COMPRESSION_ERROR = 9,
    ROTA__H2_CONNECT_ERROR = 10,
    ROTA__H2_ENHANCE_YOUR_CALM = 11,
    ROTA__H2_INADEQUATE_SECURITY = 12,
    ROTA__H2_HTTP_1_1_REQUIRED = 13
};

/* Zero is the default of each field. */
struct rota__h2_limits {
    /* Bytes of a head, and of trailers, as section 6.5.2 counts them; 32 KiB. */
    size_t head;
    /* Fields of a head, and of trailers; 100. */
    size_t fields;
    /* Requests of the peer at a time; 100. */
    uint32_t streams;
    /* Bytes of a body that may come unconsumed; 256 KiB. */
    uint32_t stream_window;
    /* The same for all bodies of the connection, 65535 or more; 1 MiB. */
    uint32_t window;
    /* Bytes that `out` may hold while the peer sends; 256 KiB. */
    size_t out;
    /* Burst limit of streams reset by the peer or through its fault. Default: 200. */
    uint32_t resets;
    /* Refill of `resets` per second. Default: 50. */
    uint32_t reset_rate;
    /* Burst limit of frames without effect (pings, empty data). Default: 2,000. */
    uint32_t idle_frames;
    /* Refill of `idle_frames` per second. Default: 500. */
    uint32_t idle_rate;
};

/* Of a request: method, scheme, authority, target; of a response: status. CONNECT has neither
 * scheme nor target. A message to be sent has no framing among its fields, and no Host: they are
 * refused. */
struct rota__h2_head {
    rota_str method, scheme, authority, target;
    int status;

    /* Read: names are in lower case. */
    const rota_http_field *fields;
    size_t count;

    /* Nothing follows: no body, no trailers. */
    bool end;
    /* There is a Content-Length. */
    bool has_length;
    uint64_t length;

    /* Read: the peer waits for 100 (Continue) before it sends the body. */
    bool expect_continue;
};

/* Part of what its owner keeps for a stream. Zeroed before it is opened. Read only for others. */
struct rota__h2_stream {
    int32_t id;
    /* Until rota__h2_drop. */
    bool is_taken;
    /* Neither reset nor complete on both sides. */
    bool is_open;
    /* The peer's side is complete. */
    bool read_ended;
    /* Our side is complete. */
    bool write_ended;
    /* Of a response, the final one. */
    bool wrote_head;
    /* The request's method was HEAD. */
    bool answers_head;
    /* Client: the response has no body, by its status or the method. */
    bool reads_none;
    /* `left` bytes of our body are still to come. */
    bool has_length;
    /* Its RESET was not reported yet. */
    bool has_news;
    uint64_t left;
    /* Bytes that were told and hold their part of the windows. */
    uint64_t unread;
    /* Of the reset. */
    uint32_t code;
    const char *reason;
    struct rota__h2_stream *next_reset;
};

enum rota__h2_event {
    /* More bytes are needed. */
    ROTA__H2_MORE,
    /* `head`: a request, to be taken before the next call; or the response of `stream` */
    ROTA__H2_HEAD,
    /* `head`, of status 1xx; only to clients. */
    ROTA__H2_INTERIM,
    /* `data`, a piece of the body. */
    ROTA__H2_DATA,
    /* `head.fields` */
    ROTA__H2_TRAILERS,
    /* The peer's message is complete. */
    ROTA__H2_END,
    /* the stream is over; `code`, and `reason` as text if it was reset on this side */
    ROTA__H2_RESET,
    /* `stream`, or any if it is NULL, may have become free to write. */
    ROTA__H2_WINDOW,
    /* of the peer: as WINDOW for all, and rota__h2_free may say something else */
    ROTA__H2_SETTINGS,
    /* The peer follows our settings. */
    ROTA__H2_SETTLED,
    /* the peer takes no more streams: `code`. What it did not work on is reset: REFUSED_STREAM */
    ROTA__H2_GOAWAY,
    /* a request was answered with `head.status` and is over: `reason`. For the log */
    ROTA__H2_REFUSED
};

struct rota__h2_item {
    int32_t id;
    struct rota__h2_stream *stream;
    /* Its slices stay until the next call of rota__h2_next. */
    struct rota__h2_head head;
    /* A slice of the caller's bytes. */
    rota_str data;
    uint32_t code;
    const char *reason;
};

/* The fields of a head while it is read: their lengths, and their text one behind the other. */
struct rota__h2_block {
    struct rota__out text;
    /* Cookie fields, joined (section 8.2.3). */
    struct rota__out cookie;
    rota_http_field *fields;
    size_t count, room;
    /* As section 6.5.2 counts. */
    size_t size;
    /* A limit is exceeded: further fields are not kept. */
    bool is_over;
};

/* The streams of the peer that are closed, as far as it matters how: see h2_strays.c. */
#define ROTA__H2_RESETS_KEPT 128
#define ROTA__H2_GAPS_KEPT 8
struct rota__h2_past {
    /* The highest id for which a head arrived. */
    int32_t last;
    /* Reset by this side, the latest ones. */
    int32_t ours[ROTA__H2_RESETS_KEPT];
    /* Reset by the peer. */
    int32_t theirs[ROTA__H2_RESETS_KEPT];
    /* Ids that were skipped: the first and the last one. */
    int32_t gaps[ROTA__H2_GAPS_KEPT][2];
    unsigned our_count, their_count, gap_count;
};

struct rota__h2 {
    /* Bytes to send. */
    struct rota__out out;
    bool is_server;
    /* Open streams, of either side. */
    uint32_t open;
    /* Streams that have owners. */
    uint32_t taken;
    /* GOAWAY was sent, and says which streams are still worked on. */
    bool is_going;
    /* GOAWAY was received. */
    bool was_told;

    /* Some of a head (HEADERS and what continues it) is there, and not all of it. */
    bool in_head;
    /* When the present head began. */
    rota_time head_began;

    /* -EBADMSG (the peer broke the protocol), -ENOMEM, -ESHUTDOWN (rota__h2_close); then: */
    int err;
    uint32_t code;
    /* A text. */
    const char *error;

    /* ---- for the files of h2 ---- */
    struct nghttp2_session *session;
    /* Its allocations. */
    struct rota__list memory;
    /* Their size in bytes. */
    size_t held;
    /* It must not be called any more. */
    bool lacks_memory;
    struct rota__h2_limits limits;
    struct rota__h2_stream *first_reset;
    struct rota__h2_block block;
    /* A request that was told and has to be taken. */
    int32_t offered;
    /* The first of two GOAWAYs was sent. */
    bool shuts_down;
    /* A stream that its owner is resetting. */
    int32_t resetting;
    /* Why the last frame's stream is being reset. */
    const char *why;
    /* The code of that reset, if this side chose it. */
    uint32_t why_code;
    char words[96];
    /* What `why` says of a limit. Two texts, because streams keep pointers to them. */
    char head_limit_text[ROTA__LIMIT_TEXT], fields_limit_text[ROTA__LIMIT_TEXT];

    /* Where the next frame begins. */
    /* Missing bytes of the client's preface. */
    unsigned preface;
    /* Its head. */
    unsigned char frame[9];
    /* Bytes of the head so far. */
    unsigned gathered;
    /* Missing bytes of the frame. */
    uint32_t payload;
    /* The present frame is a head's last one. */
    bool head_ends;
    /* It follows the peer's own RST_STREAM. */
    bool is_stray;
    struct rota__h2_past past;

    /* Events of the last frame, and what they tell. */
    unsigned char events[4];
    unsigned first_event, event_count;
    struct rota__h2_item item;
    /* The status that refuses a request. */
    int answer;

    /* The body's piece that is being framed. */
    struct rota__h2_stream *writing;
    size_t piece;
    bool piece_ends, piece_done;

    /* Bytes that were consumed, of the connection's window, and the peer does not know. */
    int32_t returned;

    /* Floods; see spend(). */
    rota_time now, resets_paid, idle_paid;
    /* Describes a flood, once one is detected. */
    const char *flood;
    /* Frames that are justified by other traffic. */
    uint32_t idle_credit;
};

/* Writers wait while `out` holds more. */
#define ROTA__H2_HIGH_WATER 65536

/* Begins a connection: `out` holds our side's preface. Returns 0, -ENOMEM. */
int rota__h2_init(struct rota__h2 *h2, bool is_server, const struct rota__h2_limits *limits);
/* All streams have been dropped before. Harmless on a zeroed one. */
void rota__h2_fini(struct rota__h2 *h2);

/* Bytes that the connection keeps, without what its streams' owners do. */
size_t rota__h2_memory(const struct rota__h2 *h2);

/* Whether a connection begins with HTTP/2's preface (prior knowledge): 1, 0 (too few bytes to
 * tell), -EBADMSG. */
int rota__h2_is_preface(rota_str bytes);

/* The next event in `bytes`, which came before `now`; `*ret_used` says how many of them are done
 * with. Returns an event; -EBADMSG or -ENOMEM: the connection is broken, every later call does the
 * same. Events of what came before are told first. */
int rota__h2_next(struct rota__h2 *h2, rota_time now, rota_str bytes, size_t *ret_used,
                  struct rota__h2_item *item);

/* Takes the request that was just reported; `s` is the owner's. A request that is not taken before
 * the next call of rota__h2_next is reset with REFUSED_STREAM. */
void rota__h2_take(struct rota__h2 *h2, struct rota__h2_stream *s,
                   const struct rota__h2_item *item);

/* Answers the request that was just told with a status and nothing else, instead of taking it.
 * Returns 0, or the error that broke the connection. */
int rota__h2_turn_down(struct rota__h2 *h2, const struct rota__h2_item *item, int status);

/* Whether a head may have this field: not one that frames the message, or belongs to a connection
 * of HTTP/1.1. */
bool rota__h2_is_field(rota_str name, rota_str value);
/* How many requests a client may begin now. 0 for good after GOAWAY. */
uint32_t rota__h2_free(const struct rota__h2 *h2);
/* Begins a request. Returns 0; -EAGAIN (rota__h2_free says 0 and may change), -EINVAL (a part of
 * the head that must not be sent), -EMSGSIZE (a head over 64 KiB), -ESHUTDOWN (this connection
 * accepts no more requests), or the error that broke it. */
int rota__h2_request(struct rota__h2 *h2, struct rota__h2_stream *s,
                     const struct rota__h2_head *head);
/* The head of a response; of status 1xx before another one. Returns 0, -EINVAL, -EMSGSIZE,
 * -ECONNRESET (the stream is over), or the error that broke the connection. */
int rota__h2_respond(struct rota__h2 *h2, struct rota__h2_stream *s,
                     const struct rota__h2_head *head);

/* Bytes of the body that can be written now. */
size_t rota__h2_window(const struct rota__h2 *h2, const struct rota__h2_stream *s);
/* Adds the head of a frame for the next bytes of the body, at most `len`, and returns how many: the
 * caller adds these to `out`, or sends them behind it, before anything else is called. `end`: these
 * `len` bytes are the last; with `len` 0, none follow. Returns -EAGAIN (wait for WINDOW), -EMSGSIZE
 * (more than announced, or at the end less), -ECONNRESET, or the error that broke the
 * connection. */
ssize_t rota__h2_data(struct rota__h2 *h2, struct rota__h2_stream *s, size_t len, bool end);
/* Ends a body with trailers. Returns 0 or an error as above. */
int rota__h2_trailers(struct rota__h2 *h2, struct rota__h2_stream *s, const rota_http_field *fields,
                      size_t count);

/* The owner is done with `len` bytes of data that were told: the peer may send as many again. */
void rota__h2_consumed(struct rota__h2 *h2, struct rota__h2_stream *s, size_t len);
/* The owner lets go of the stream, whatever its state; one that is still open is reset with `code`
 * (NO_ERROR where a server has answered before it has read all). Harmless on one that was never
 * opened. */
void rota__h2_drop(struct rota__h2 *h2, struct rota__h2_stream *s, uint32_t code);

/* No new streams; those that exist go on. A server says so twice (section 6.8): what was under way
 * before the peer knew is still taken, until it has answered a ping. Then `is_going`, and once
 * nothing is `open`, the connection can be closed. */
int rota__h2_shut_down(struct rota__h2 *h2);
/* "REFUSED_STREAM" */
const char *rota__h2_code_name(uint32_t code);
/* Ends the connection at once: `out` tells the peer why. Returns the error that every later call
 * gives. */
int rota__h2_close(struct rota__h2 *h2, uint32_t code, const char *why);

/* ---- for the files of h2 ---- */

/* The ping between the two GOAWAYs. */
#define ROTA__H2_SHUTDOWN_PING ((const uint8_t *)"rota bye")

/* The connection breaks. Returns `err`. */
int rota__h2_fail(struct rota__h2 *h2, int err, uint32_t code, const char *why);
/* libnghttp2 cannot go on, for a reason of its own. */
int rota__h2_fail_by_library(struct rota__h2 *h2, ssize_t reason);
/* Moves to `out` what libnghttp2 has to send. Returns 0 or the error that broke the connection. */
int rota__h2_pump(struct rota__h2 *h2);
/* Counts a frame that moves nothing on; `h2->flood` says if there were too many. */
void rota__h2_spend_idle(struct rota__h2 *h2);
/* What explains some of them has happened. */
void rota__h2_earn_idle(struct rota__h2 *h2);
/* The stream of the frame whose head was the last one to be whole. */
static inline int32_t rota__h2_frame_stream(const struct rota__h2 *h2)
{
    const unsigned char *id = h2->frame + 5;
    return (int32_t)((uint32_t)(id[0] & 0x7f) << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 |
                     id[3]);
}

/* Servers: looks at the head of a frame before libnghttp2 does. Returns 0, or the error that broke
 * the connection. */
int rota__h2_check_stray(struct rota__h2 *h2);
/* Notes that a stream was reset. */
void rota__h2_note_reset(struct rota__h2 *h2, int32_t id, bool by_peer);

/* Bytes are consumed, as far as the connection's window goes. Returns 0 or less. */
int rota__h2_return_window(struct rota__h2 *h2, size_t len);
/* With the settings on their way. Returns 0 or less. */
int rota__h2_make_session(struct rota__h2 *h2);
void rota__h2_free_session(struct rota__h2 *h2);
/* Has libnghttp2 write bodies as rota__h2_data says (h2_write.c). */
void rota__h2_set_writer(struct nghttp2_session_callbacks *callbacks);

/* Fields of a head as they come (h2_head.c). Returns 0 or -ENOMEM. */
void rota__h2_block_begin(struct rota__h2_block *block);
int rota__h2_block_add(struct rota__h2 *h2, rota_str name, rota_str value);
/* Gives back what only a large head needed. */
void rota__h2_block_trim(struct rota__h2_block *block);
void rota__h2_block_fini(struct rota__h2_block *block);

/* The text that says which limit the head that is being read exceeds. */
const char *rota__h2_head_limit(struct rota__h2 *h2);

/* Makes a head of them. Returns 0; or `h2->why` says why the message is refused, and this how: the
 * status (431, 417) that answers the request, or the code for the reset, negated. */
int rota__h2_read_request(struct rota__h2 *h2, struct rota__h2_head *head);
int rota__h2_read_response(struct rota__h2 *h2, struct rota__h2_head *head);
int rota__h2_read_trailers(struct rota__h2 *h2, struct rota__h2_head *head);

#endif
