/* Frames that the client must not send for a stream (RFC 9113, sections 5.1 and 5.1.1). libnghttp2
 * knows the streams that exist, and ignores frames for others. This module knows why they do not
 * exist.
 *
 *     the stream                          HEADERS or DATA for it
 *     was skipped (3, after 5)            PROTOCOL_ERROR of the connection
 *     has ended                           STREAM_CLOSED of the connection
 *     was reset by the client             STREAM_CLOSED of the stream
 *     was reset by this side              nothing: it may have been under way
 *
 * Only the latest resets and gaps are kept. So a very late frame is treated as one for a stream
 * that has ended. */
#include "http/h2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>

static bool is_kept(const int32_t *resets, int32_t id)
{
    for (unsigned i = 0; i < ROTA__H2_RESETS_KEPT; i++) {
        if (resets[i] == id)
            return true;
    }
    return false;
}

static bool was_passed_over(const struct rota__h2_past *past, int32_t id)
{
    for (unsigned i = 0; i < ROTA__H2_GAPS_KEPT; i++) {
        if (past->gaps[i][0] <= id && id <= past->gaps[i][1])
            return true;
    }
    return false;
}

void rota__h2_note_reset(struct rota__h2 *h2, int32_t id, bool by_peer)
{
    struct rota__h2_past *past = &h2->past;
    if (by_peer)
        past->theirs[past->their_count++ % ROTA__H2_RESETS_KEPT] = id;
    else
        past->ours[past->our_count++ % ROTA__H2_RESETS_KEPT] = id;
}

static void note_new(struct rota__h2_past *past, int32_t id)
{
    int32_t next = past->last ? past->last + 2 : 1;
    if (id > next) {
        int32_t *gap = past->gaps[past->gap_count++ % ROTA__H2_GAPS_KEPT];
        gap[0] = next;
        gap[1] = id - 2;
    }
    past->last = id;
}

/* A frame for a stream that is closed or was never opened. */
static int check_closed(struct rota__h2 *h2, int32_t id)
{
    const struct rota__h2_past *past = &h2->past;
    if (is_kept(past->ours, id))
        return 0;
    if (is_kept(past->theirs, id)) {
        h2->is_stray = true;
        return 0;
    }
    if (was_passed_over(past, id))
        return rota__h2_fail(h2, -EBADMSG, ROTA__H2_PROTOCOL_ERROR,
                             "a stream with a lower number than one before it");
    return rota__h2_fail(h2, -EBADMSG, ROTA__H2_STREAM_CLOSED, "a frame on a closed stream");
}

int rota__h2_check_stray(struct rota__h2 *h2)
{
    int32_t id = rota__h2_frame_stream(h2);
    unsigned char type = h2->frame[3];
    h2->is_stray = false;
    if (type == NGHTTP2_PRIORITY && id == 0) /* section 6.3 */
        return rota__h2_fail(h2, -EBADMSG, ROTA__H2_PROTOCOL_ERROR, "PRIORITY without a stream");
    if ((type != NGHTTP2_HEADERS && type != NGHTTP2_DATA) || id % 2 == 0)
        return 0;
    if (h2->is_going) /* a frame that arrives late for a stream that was never opened is ignored */
        return 0;
    if (type == NGHTTP2_HEADERS && id > h2->past.last) {
        note_new(&h2->past, id);
        return 0;
    }
    bool exists = nghttp2_session_get_stream_remote_close(h2->session, id) >= 0;
    return exists || id > h2->past.last ? 0 : check_closed(h2, id);
}
