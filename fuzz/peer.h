/* What the targets of whole programs have in common: a peer that plays the input into a stream, on
 * a clock that jumps, and a run that has to come to its end and leave nothing behind.
 *
 * The input is what the peer sends, with marks in it: ff fe and a letter.
 *
 *     p    wait for a second
 *     P    wait for a minute
 *     s    end this side, and wait for the other one
 *     r    break off
 *     n    what follows belongs to the peer's next connection
 *     w    wait for more from the other side
 *     k    what Sec-WebSocket-Accept answers to the key that was received
 *
 * Behind the last byte the peer ends its side; 'P' before the end makes it a silent one. */
#ifndef PEER_H
#define PEER_H

#include "fuzz.h"

#include "http/ws.h"
#include "http/ws_key.h"

#include <rota.h>
#include <rota/test.h>

#include <malloc.h>

enum { MARK = 3 };
#define PEER_MARKS "pPsrnwk"

/* What a run tells, in memory that is not the library's. */
struct note {
    char *ptr;
    size_t len;
};

static inline void note_add(struct note *note, rota_str s)
{
    if (s.len == 0)
        return;
    note->ptr = realloc(note->ptr, note->len + s.len);
    memcpy(note->ptr + note->len, s.ptr, s.len);
    note->len += s.len;
}

static inline void note_line(struct note *note, rota_str s)
{
    note_add(note, s);
    note_add(note, (rota_str){"\n", 1});
}

/* Ends the program, and shows both, where they differ. */
static inline void note_require_equal(const struct note *a, const struct note *b)
{
    if (is_same((rota_str){a->ptr, a->len}, (rota_str){b->ptr, b->len}))
        return;
    fprintf(stderr, "whole:\n%.*s\nin pieces:\n%.*s\n", (int)a->len, a->ptr ? a->ptr : "",
            (int)b->len, b->ptr ? b->ptr : "");
    abort();
}

static inline void note_fini(struct note *note)
{
    free(note->ptr);
}

struct peer {
    rota_stream *stream;
    rota_str script; /* of this connection */
    size_t piece;    /* at most so many bytes at once; 0: as they come */
    struct note received;
    bool answers;       /* it waits for the other side first */
    bool broke_off;     /* what the other side sees of it is a matter of the moment */
    bool ended;         /* nothing more is received */
    rota_event arrived; /* something was received since it was waited for, or the end */
};

static inline rota_str peer_skip(rota_str s, size_t len)
{
    return (rota_str){len ? s.ptr + len : s.ptr, s.len - len};
}

/* The bytes before the first mark. */
static inline size_t peer_plain(rota_str script)
{
    size_t at = 0;
    while (at + MARK <= script.len && (memcmp(script.ptr + at, "\xff\xfe", 2) != 0 ||
                                       !memchr(PEER_MARKS, script.ptr[at + 2], strlen(PEER_MARKS))))
        at++;
    return at + MARK <= script.len ? at : script.len;
}

/* Takes the part of one connection off the whole script. */
static inline rota_str peer_next(rota_str *script)
{
    rota_str rest = *script;
    while (rest.len) {
        size_t plain = peer_plain(rest);
        bool is_next = plain < rest.len && rest.ptr[plain + 2] == 'n';
        size_t end = (size_t)(rest.ptr - script->ptr) + plain;
        rest = peer_skip(rest, plain < rest.len ? plain + MARK : plain);
        if (is_next) {
            rota_str part = {script->ptr, end};
            *script = rest;
            return part;
        }
    }
    rota_str part = *script;
    *script = rest;
    return part;
}

static inline int peer_send_plain(struct peer *p, rota_str bytes)
{
    while (bytes.len) {
        size_t len = p->piece && p->piece < bytes.len ? p->piece : bytes.len;
        /* In memory of just its size. */
        char *exact = malloc(len);
        memcpy(exact, bytes.ptr, len);
        int err = rota_stream_write(p->stream, exact, len);
        free(exact);
        /* So that the other side reads it before there is more. */
        for (int i = 0; err == 0 && p->piece && i < 3; i++)
            err = rota_yield();
        if (err < 0)
            return err;
        bytes = peer_skip(bytes, len);
    }
    return 0;
}

static inline int peer_await(struct peer *p)
{
    int err = rota_event_wait(&p->arrived);
    if (err == 0 && !p->ended)
        rota_event_clear(&p->arrived);
    return err;
}

static inline int peer_send_accept(struct peer *p)
{
    static const char name[] = "Sec-WebSocket-Key: ";
    char accept[ROTA__WS_ACCEPT_LEN];
    const char *key =
        p->received.len ? memmem(p->received.ptr, p->received.len, name, strlen(name)) : NULL;
    if (!key ||
        p->received.ptr + p->received.len - key < (ptrdiff_t)strlen(name) + ROTA__WS_KEY_LEN)
        return 0;
    if (rota__ws_key_accept((rota_str){key + strlen(name), ROTA__WS_KEY_LEN}, accept) < 0)
        return 0;
    return peer_send_plain(p, (rota_str){accept, sizeof accept});
}

/* Returns 1 at a mark that ends it. */
static inline int peer_obey(struct peer *p, char mark)
{
    switch (mark) {
    case 'p':
        return rota_sleep(ROTA_SECOND);
    case 'P':
        return rota_sleep(ROTA_MINUTE);
    case 'w':
        return peer_await(p);
    case 'k':
        return peer_send_accept(p);
    case 'r':
        p->broke_off = true;
        rota_stream_abort(p->stream);
        rota_stream_close(p->stream);
        return 1;
    default:
        return 1;
    }
}

/* A task that sends the script, and then ends the side. */
static inline int peer_send(void *arg)
{
    struct peer *p = arg;
    rota_str rest = p->script;
    int err = p->answers ? peer_await(p) : 0;
    while (err == 0 && rest.len) {
        size_t plain = peer_plain(rest);
        err = peer_send_plain(p, (rota_str){rest.ptr, plain});
        rest = peer_skip(rest, plain);
        if (err == 0 && rest.len) {
            err = peer_obey(p, rest.ptr[2]);
            rest = peer_skip(rest, MARK);
        }
    }
    ROTA_IGNORE(rota_stream_shutdown(p->stream));
    return 0;
}

/* A task that keeps what comes. */
static inline int peer_receive(void *arg)
{
    struct peer *p = arg;
    char buf[4096];
    ssize_t n;
    while ((n = rota_stream_read(p->stream, buf, sizeof buf)) > 0) {
        note_add(&p->received, (rota_str){buf, (size_t)n});
        rota_event_set(&p->arrived);
    }
    p->ended = true;
    rota_event_set(&p->arrived);
    return 0;
}

/* Frames of a WebSocket that our side sent are understood; the last one may be cut. */
static inline void peer_check_frames(rota_str bytes, bool by_client)
{
    struct rota__ws ws;
    struct rota__ws_item item;
    size_t used;
    char *frames = malloc(bytes.len + 1);
    memcpy(frames, bytes.ptr, bytes.len);
    rota__ws_init(&ws, by_client, true, 0);
    int event = 1;
    for (size_t at = 0; event > 0; at += used)
        event = rota__ws_next(&ws, frames + at, bytes.len - at, &used, &item);
    require(event == 0);
    free(frames);
}

/* The name of an error. What is wrong with a head is seen early if its lines come at once; in
 * pieces, it may turn out to be cut off, late or too long before that. */
static inline const char *peer_error_name(int err)
{
    bool is_either = err == ROTA_ETRUNCATED || err == ROTA_ELIMIT || err == -ETIMEDOUT;
    return rota_strerror(is_either ? ROTA_EPROTOCOL : err);
}

/* ---- The run */

/* Bytes that the library holds, and the most that it held since they were last looked at. */
static size_t peer_memory, peer_memory_most;

static inline void peer_count(size_t before, size_t after)
{
    size_t now = __atomic_add_fetch(&peer_memory, after - before, __ATOMIC_RELAXED);
    if (now > peer_memory_most)
        peer_memory_most = now;
}

static inline void *peer_resize(void *ctx, void *ptr, size_t size)
{
    size_t before = malloc_usable_size(ptr);
    void *resized = realloc(ptr, size);
    if (resized)
        peer_count(before, malloc_usable_size(resized));
    return resized;
}

static inline void peer_release(void *ctx, void *ptr)
{
    peer_count(malloc_usable_size(ptr), 0);
    free(ptr);
}

/* Before anything else of the library. */
static inline void peer_begin(void)
{
    static const rota_allocator allocator = {.resize = peer_resize, .release = peer_release};
    rota_allocator_set(&allocator);
    rota_log_set(NULL, NULL);
}

/* Runs it on a virtual clock: it comes to an end, and frees what it allocated. Of the first run
 * some memory is kept for good. */
static inline void peer_run(rota_fn *fn, void *arg)
{
    static bool is_warm;
    long before = rota_test_allocations();
    require(rota_test_run_at(fn, arg, ROTA_SITE("fuzz")) == 0);
    require(!is_warm || rota_test_allocations() == before);
    is_warm = true;
}

#endif
