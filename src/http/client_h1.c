/* An exchange over HTTP/1.1: sends the request, in one write if possible, and reads the response.
 *
 * 1. Received bytes stay in the stream's buffer until they are used. `pending` of them were
 *    reported as data.
 * 2. A connection goes back to the pool in one place (at_end), and only if the request was sent
 *    whole, its uploader has ended, Connection and Keep-Alive allow it, and no bytes follow the
 *    response. Otherwise it is over.
 * 3. A connection that is over is not read from, because its stream may be closed. */
#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"
#include "http/h1_write.h"
#include "http/params.h"
#include "http/peek.h"

#include <string.h>

/* ---- Sending */

static int write_head(struct rota__http_conn *conn, struct rota__http_call *call,
                      struct rota__h1_writer *w)
{
    struct rota__http_source *source = &call->source;
    conn->out.len = 0;
    int err = rota__h1_write_request(w, &conn->out, call->method, call->target, call->authority);
    for (size_t i = 0; i < call->count && err == 0; i++) {
        err = rota__h1_write_field(w, call->fields[i].name, call->fields[i].value);
        if (err == -EINVAL)
            rota__http_refuse_field(&call->progress, call->fields[i].name, call->fields[i].value);
    }
    if (err == 0 && call->session->once)
        err = rota__h1_write_field(w, (rota_str){"Connection", 10}, (rota_str){"close", 5});
    if (err < 0)
        return err;
    if (!call->has_body)
        return rota__h1_write_body(w, ROTA__H1_NO_BODY, 0);
    bool says_length = source->is_known && !call->trailer_count;
    err = rota__h1_write_body(w, says_length ? ROTA__H1_LENGTH : ROTA__H1_CHUNKED, source->length);
    if (source->is_known && !says_length) {
        w->is_counted = true;
        w->left = source->length;
    }
    return err;
}

/* Sends `out`, and then a piece of the body. */
static int flush(struct rota__http_conn *conn, rota_str piece)
{
    struct iovec iov[] = {{conn->out.ptr, conn->out.len}, {(void *)piece.ptr, piece.len}};
    int skip = conn->out.len == 0;
    int err = conn->is_over ? ROTA_ECLOSED : 0;
    if (err == 0 && (conn->out.len || piece.len))
        err = piece.len ? rota_stream_writev(conn->stream, iov + skip, 2 - skip)
                        : rota_stream_write(conn->stream, conn->out.ptr, conn->out.len);
    conn->out.len = 0;
    return err;
}

/* Sends a short body with the head. */
static int send_short(struct rota__http_conn *conn, struct rota__http_call *call,
                      struct rota__h1_writer *w)
{
    rota_str piece;
    int err = rota__http_source_next(&call->source, &piece);
    if (err == 0 && piece.len)
        err = rota__h1_write_data(w, piece.len);
    return err < 0 ? err : flush(conn, piece);
}

static bool is_gone(int err)
{
    return err == -EPIPE || err == -ECONNRESET;
}

static int upload_piece(struct rota__http_upload *upload, rota_str piece)
{
    int err = flush(upload->conn, piece);
    upload->is_gone = is_gone(err);
    rota__http_upload_moved(upload);
    return err;
}

/* Whether the announced length was sent. The source is not read further. */
static bool is_complete(const struct rota__h1_writer *w)
{
    return w->body == ROTA__H1_LENGTH && w->left == 0;
}

static int write_trailers(struct rota__http_upload *upload)
{
    rota_http_field field;
    int err = 0;
    for (size_t at = 0; err == 0 && rota__http_trailers_next(upload, &at, &field);) {
        err = rota__h1_write_trailer(&upload->writer, field.name, field.value);
        if (err == -EINVAL)
            rota__http_trailers_refuse(upload, field.name);
    }
    return err;
}

static int upload_pieces(struct rota__http_upload *upload)
{
    struct rota__h1_writer *w = &upload->writer;
    rota_str piece = {NULL, 0};
    /* do not let the head wait for it */
    int err = upload->source.from.stream ? upload_piece(upload, piece) : 0;
    while (err == 0 && !is_complete(w)) {
        err = rota__http_upload_next(upload, &piece);
        if (err < 0 || !piece.len)
            break;
        err = rota__h1_write_data(w, piece.len);
        if (err == -EMSGSIZE)
            return rota__http_upload_say(upload, err, "the body is longer than announced");
        if (err >= 0)
            err = upload_piece(upload, piece);
    }
    if (err == 0 && !(w->is_counted && w->left))
        err = write_trailers(upload);
    if (err == 0)
        err = rota__h1_write_end(w);
    if (err == -EMSGSIZE)
        return rota__http_upload_say(upload, err, "the body is shorter than announced");
    return err < 0 ? err : upload_piece(upload, (rota_str){NULL, 0});
}

static int send_upload(struct rota__http_upload *upload)
{
    struct rota__http_conn *conn = upload->conn;
    int err = upload->is_stopped ? -ECANCELED : upload_pieces(upload);
    conn->sent = err == 0;
    if (err < 0 && !upload->is_gone)
        /* otherwise the reader would wait for a response that does not come */
        rota__http_conn_end(conn);
    return err;
}

static int start_upload(struct rota__http_conn *conn, struct rota__http_call *call,
                        const struct rota__h1_writer *w)
{
    struct rota__http_upload upload = {.conn = conn, .send = send_upload, .writer = *w};
    int err = rota__http_upload_start(call, &upload);
    if (err == 0)
        conn->upload = call->upload;
    return err;
}

/* ---- Receiving the head */

/* Waits for more than `have` bytes, and shows all that arrived. Returns 0, ROTA_EOF, or an
 * error. */
static int fetch_more(struct rota__http_conn *conn, size_t have, rota_str *ret_bytes)
{
    if (conn->watching) {
        int err = rota_event_wait(&conn->news);
        if (err < 0)
            return err;
    }
    if (conn->is_over)
        return ROTA_ECLOSED;
    return rota__peek_more(conn->stream, have, ret_bytes);
}

static int refuse(struct rota__http_conn *conn, struct rota__http_progress *p)
{
    bool too_large = conn->h1.status == 413 || conn->h1.status == 414 || conn->h1.status == 431;
    return rota__http_say(p, too_large ? ROTA_ELIMIT : ROTA_EPROTOCOL, "%s", conn->h1.error);
}

/* Describes the end of the connection. Returns other errors as they are. */
static int cut_short(struct rota__http_progress *p, bool began, int err)
{
    if (err == ROTA_EOF)
        return rota__http_say(p, ROTA_ETRUNCATED,
                              began ? "the connection ended before the response did"
                                    : "the connection ended without a response");
    return err;
}

/* Gets the next head, which may be an interim one. Its bytes stay in the buffer. */
static int next_head(struct rota__http_conn *conn, struct rota__http_call *call,
                     struct rota__h1_item *item, rota_str *ret_bytes, size_t *ret_used)
{
    for (size_t have = 0;;) {
        int err = fetch_more(conn, have, ret_bytes);
        if (err < 0)
            return cut_short(&call->progress, call->began, err);
        call->began = true;
        int event = rota__h1_next(&conn->h1, *ret_bytes, ret_used, item);
        if (event < 0)
            return refuse(conn, &call->progress);
        if (event == ROTA__H1_HEAD)
            return 0;
        rota_stream_skip(conn->stream, *ret_used); /* an empty line at most */
        have = ret_bytes->len - *ret_used;
    }
}

/* Skips an interim head. Returns 1 if it allows the body to be sent, 0, or an error. */
static int pass_interim(struct rota__http_conn *conn, struct rota__http_call *call, int *left,
                        int status, size_t used)
{
    rota_stream_skip(conn->stream, used);
    if (--*left == 0)
        return rota__http_say(&call->progress, ROTA_EPROTOCOL, "too many interim responses");
    return status == 100;
}

/* Waits for 100 (Continue), at most a second. Returns 1 (send the body), 0 (the response has
 * arrived), or an error. */
static int await_consent(struct rota__http_conn *conn, struct rota__http_call *call, int *interims)
{
    struct rota__h1 before = conn->h1;
    int consent = 0;
    ROTA_TIMEOUT (ROTA__HTTP_CONSENT) {
        while (consent == 0) {
            struct rota__h1_item item;
            rota_str bytes;
            size_t used;
            consent = next_head(conn, call, &item, &bytes, &used);
            if (consent == 0 && item.head.status >= 200) {
                conn->h1 = before; /* the head is parsed again */
                return 0;
            }
            if (consent == 0)
                consent = pass_interim(conn, call, interims, item.head.status, used);
        }
    }
    if (consent == -ETIMEDOUT && rota_check() == 0)
        return 1;
    return consent;
}

/* ---- Keep-Alive: how long the server waits for the next request, and how many more it takes on
 * this connection. RFC 9112, appendix C.2.2, names the field; what it says is in RFC 2068, section
 * 19.7.1.1. */

/* Stops using the connection before the server closes it: a request sent in that moment would be
 * lost. */
static rota_time idle_limit_of(uint64_t seconds)
{
    rota_time time = seconds < 1000000 ? (rota_time)seconds * ROTA_SECOND : ROTA_NEVER;
    return time > 2 * ROTA_SECOND ? time - ROTA_SECOND : time / 2;
}

static void note_keep_alive(struct rota__http_conn *conn, const struct rota__h1_head *head)
{
    rota_str list = rota__fields_find(head->fields, head->count, "Keep-Alive"), value;
    uint64_t number;
    if (conn->left < UINT64_MAX && conn->left > 0)
        conn->left--;
    while (rota__h1_list_next(&list, &value)) {
        rota_str name = rota__trim(rota__cut(&value, '='));
        value = rota__trim(value);
        if (!rota__take_number(&value, &number) || value.len)
            continue;
        if (rota__str_is(name, "timeout"))
            conn->idle_limit = idle_limit_of(number);
        else if (rota__str_is(name, "max"))
            conn->left = number;
    }
}

/* ---- The end of an answer */

static bool may_go_on(const rota_http_response *r)
{
    const struct rota__http_conn *conn = r->conn;
    return !conn->is_over && r->keep_alive && conn->sent && !conn->session->once &&
           conn->idle_limit > 0 && conn->left > 0 && rota_stream_skip(conn->stream, SIZE_MAX) == 0;
}

static void at_end(rota_http_response *r)
{
    struct rota__http_conn *conn = r->conn;
    rota__http_response_stop(r);
    if (may_go_on(r)) {
        rota__http_pool_put(conn);
    } else {
        rota__http_conn_end(conn);
        rota__http_conn_unref(conn);
    }
    r->conn = NULL;
    rota__http_response_ended(r);
}

/* Gives the connection back if the end has arrived already. */
static void end_early(rota_http_response *r)
{
    if (r->conn->h1.state == ROTA__H1_AT_END && !r->conn->pending)
        at_end(r);
}

/* The connection changes to another protocol and leaves the session. */
static void give_away(rota_http_response *r)
{
    struct rota__http_conn *conn = r->conn;
    r->stream = conn->stream;
    conn->stream = NULL;
    r->keep_alive = false;
    at_end(r);
}

/* Waits for the end of the request first (RFC 9110, section 7.8). */
static int change_protocol(rota_http_response *r)
{
    int err = r->upload ? rota__http_upload_wait(r->upload) : 0;
    if (err == 0 && r->conn->is_over)
        err = ROTA_ECLOSED;
    if (err == 0) {
        give_away(r);
        return 0;
    }
    r->conn = NULL;
    rota_http_response_free(r);
    return err;
}

/* ---- The exchange */

static int receive(struct rota__http_conn *conn, struct rota__http_call *call, int interims,
                   rota_http_response **ret_response)
{
    struct rota__h1_item item;
    rota_str bytes;
    size_t used;
    int err;
    for (;;) {
        err = next_head(conn, call, &item, &bytes, &used);
        if (err < 0)
            return err;
        if (item.head.status >= 200 || item.head.status == 101)
            break;
        err = pass_interim(conn, call, &interims, item.head.status, used);
        if (err < 0)
            return err;
    }
    bool upgraded = item.head.body == ROTA__H1_TUNNEL;
    if (upgraded && !call->options->upgrade)
        return rota__http_say(&call->progress, ROTA_EPROTOCOL,
                              "another protocol, which was not requested");
    if (upgraded && !item.head.upgrade) /* RFC 9110, section 7.8 */
        return rota__http_say(&call->progress, ROTA_EPROTOCOL,
                              "101 without Connection: upgrade and an Upgrade field");
    note_keep_alive(conn, &item.head);
    call->progress.status = item.head.status;
    rota__http_enter(&call->progress, ROTA_HTTP_READING);
    struct rota__http_head head = {
        .status = item.head.status,
        .reason = item.head.reason,
        .version = {item.head.minor ? "HTTP/1.1" : "HTTP/1.0", 8},
        .fields = item.head.fields,
        .count = item.head.count,
        .has_length = item.head.body == ROTA__H1_LENGTH,
        .bodiless = upgraded || item.head.body == ROTA__H1_NO_BODY,
        .length = item.head.length,
        .behind = bytes.len - used,
        .keep_alive = item.head.keep_alive,
    };
    err = rota__http_response_new(call, &head, ret_response);
    if (err < 0)
        return err;
    rota_stream_skip(conn->stream, used);
    (*ret_response)->conn = conn;
    rota__http_response_adopt(*ret_response, call);
    if (!upgraded)
        end_early(*ret_response);
    return upgraded ? change_protocol(*ret_response) : 0;
}

static int give_up_upload(struct rota__http_call *call, int err)
{
    struct rota__http_upload *upload = call->upload;
    upload->refs++;
    rota__http_upload_recall(call);
    err = rota__http_upload_verdict(upload, call->began, err);
    rota__http_upload_unref(upload);
    return err;
}

/* Sends the head and a short body, or starts an upload. */
static int send_rest(struct rota__http_conn *conn, struct rota__http_call *call,
                     struct rota__h1_writer *w)
{
    if (call->has_body && (call->trailer_count || !rota__http_source_is_short(&call->source)))
        return start_upload(conn, call, w);
    int err = call->has_body ? send_short(conn, call, w) : flush(conn, (rota_str){NULL, 0});
    conn->sent = err == 0;
    return err;
}

static int exchange(struct rota__http_conn *conn, struct rota__http_call *call,
                    rota_http_response **ret_response)
{
    struct rota__h1_writer w;
    int interims = ROTA__HTTP_INTERIMS, go_on = 1;
    struct rota__h1_limits limits = rota__http_head_limits(call->session);
    rota__h1_init(&conn->h1, false, &limits, call->session->head);
    conn->h1.answers_head = rota_str_equal(call->method, "HEAD");
    conn->pending = 0;
    conn->sent = false;
    rota__http_enter(&call->progress, ROTA_HTTP_SENDING);
    rota__http_limit(&call->progress, ROTA_HTTP_LIMIT_GAP, call->gap);
    int err = write_head(conn, call, &w);
    if (err < 0)
        return err;
    if (call->has_body && call->options->expect) {
        err = flush(conn, (rota_str){NULL, 0});
        if (err == 0)
            go_on = await_consent(conn, call, &interims);
        if (err == 0 && go_on < 0)
            err = go_on;
    }
    if (err == 0 && go_on)
        err = send_rest(conn, call, &w);
    if (err < 0 && !is_gone(err)) /* the peer may have sent a reason before it closed */
        return err;
    int failed = err;
    if (!call->upload)
        rota__http_enter(&call->progress, ROTA_HTTP_WAITING);
    if (call->has_body)
        rota__http_limit(&call->progress, ROTA_HTTP_LIMIT_GAP, call->gap);
    err = receive(conn, call, interims, ret_response);
    if (err < 0 && failed < 0 && !call->began)
        err = failed;
    return err < 0 && call->upload ? give_up_upload(call, err) : err;
}

/* ---- The body */

/* After a cancellation or a timeout, reading can continue. */
static int fail(rota_http_response *r, int err)
{
    struct rota__http_conn *conn = r->conn;
    if (err == -ECANCELED || err == -ETIMEDOUT)
        return err;
    err = cut_short(r->progress, true, err);
    rota__http_conn_end(conn);
    if (r->upload)
        err = rota__http_upload_verdict(r->upload, true, err);
    rota__http_response_stop(r);
    rota__http_conn_unref(conn);
    r->conn = NULL;
    return err;
}

/* Reads directly into the caller's memory. */
static ssize_t read_data(rota_http_response *r, void *buf, size_t len, uint64_t direct)
{
    struct rota__http_conn *conn = r->conn;
    if (len > direct)
        len = (size_t)direct;
    ssize_t n = rota_stream_read(conn->stream, buf, len);
    if (n > 0 && conn->pending)
        conn->pending -= (size_t)n;
    else if (n > 0)
        rota__h1_took(&conn->h1, (uint64_t)n);
    return n;
}

/* Reads the framing of the body up to its next piece. Returns 1, 0 at the end of the message. */
static int read_framing(rota_http_response *r)
{
    struct rota__http_conn *conn = r->conn;
    for (size_t have = 0;;) {
        struct rota__h1_item item;
        rota_str bytes;
        size_t used;
        int err = fetch_more(conn, have, &bytes);
        if (err < 0)
            return err;
        int event = rota__h1_next(&conn->h1, bytes, &used, &item);
        if (event < 0)
            return refuse(conn, r->progress);
        if (event == ROTA__H1_TRAILER)
            err = rota__http_response_trailers(r, item.head.fields, item.head.count);
        if (err < 0)
            return err;
        conn->pending = event == ROTA__H1_DATA ? item.data.len : 0;
        rota_stream_skip(conn->stream, used - conn->pending);
        have = bytes.len - used;
        if (event != ROTA__H1_MORE)
            return event == ROTA__H1_DATA;
    }
}

/* The end of the connection ends the body. */
static int at_connection_end(rota_http_response *r)
{
    if (rota__h1_finish(&r->conn->h1) != ROTA__H1_END)
        return ROTA_EOF;
    at_end(r);
    return 0;
}

static ssize_t read_body(rota_http_response *r, void *buf, size_t len)
{
    struct rota__http_conn *conn = r->conn;
    for (;;) {
        if (conn->is_over)
            return fail(r, ROTA_ECLOSED);
        uint64_t direct = conn->pending ? conn->pending : rota__h1_direct(&conn->h1);
        if (direct) {
            ssize_t n = read_data(r, buf, len, direct);
            if (n == 0)
                n = at_connection_end(r);
            if (n < 0)
                return fail(r, (int)n);
            if (n > 0 && r->conn)
                end_early(r);
            return n;
        }
        int more = conn->h1.state == ROTA__H1_AT_END ? 0 : read_framing(r);
        if (more < 0)
            return fail(r, more);
        if (more == 0) {
            at_end(r);
            return 0;
        }
    }
}

static void drop(rota_http_response *r)
{
    rota__http_conn_end(r->conn);
    rota__http_response_stop(r);
    rota__http_conn_unref(r->conn);
    r->conn = NULL;
}

const struct rota__http_kind rota__http_h1 = {rota__http_keep_watching, exchange, read_body, drop};
