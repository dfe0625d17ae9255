/* Frames of HTTP/2 by hand (RFC 9113, section 4.1). */
#ifndef H2_FRAMES_H
#define H2_FRAMES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH_PROMISE,
    PING,
    GOAWAY,
    WINDOW_UPDATE,
    CONTINUATION,
    UNKNOWN = 0xef
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };
enum { FRAME_HEAD = 9 };

static inline void write_frame_head(char ret_head[FRAME_HEAD], size_t len, int type, int flags,
                                    uint32_t id)
{
    const char head[FRAME_HEAD] = {(char)(len >> 16), (char)(len >> 8), (char)len,
                                   (char)type,        (char)flags,      (char)(id >> 24),
                                   (char)(id >> 16),  (char)(id >> 8),  (char)id};
    memcpy(ret_head, head, FRAME_HEAD);
}

#endif
