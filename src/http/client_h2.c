/* Exchanges over HTTP/2: many on one connection.
 *
 * The keeper reads and dispatches events to the streams. A second task, the sender, writes, so that
 * reading never waits for a peer that does not read. Adding to `out` wakes the sender.
 *
 *     a stream    requested -> head received -> ended          or failed, at any time
 *
 * 1. The keeper makes a response from a stream's head while its slices are valid. Data is kept for
 *    the reader, at most one window. Once it has been read, the peer may send more.
 * 2. The reader of a stream waits for `news`, looks at the state, and waits again. Its uploader
 *    does the same with `room`. So no event can get lost.
 * 3. When the connection ends, all streams fail before the keeper ends. After that no code uses
 *    `h2`. */
#include "http/client.h"
#include "http/h2.h"
#include "http/peek.h"

#include <string.h>

/* The window of a connection is practically unlimited. Each stream has its own window, and a stream
 * that is not read must not block the others. */
#define WINDOW (1 << 30)

struct stream {
    /* Comes first: events point to it. */
    struct rota__h2_stream s;
    /* In the connection's list. */
    struct rota__list node;
    struct rota__http_conn *conn;
    /* While it waits for the head. */
    struct rota__http_call *call;
    /* Once the head has arrived. */
    rota_http_response *response;
    /* The exchange's, and the uploader's. */
    int refs;
    /* While its task runs. */
    struct rota__http_upload *upload;
    /* For the reader. */
    rota_event news;
    /* For the uploader. */
    rota_event room;
    bool ended;
    /* 100 (Continue) has arrived. */
    bool consents;
    int interims;
    int err;
    /* A copy of its own: the stream may outlive the keeper, and so what describes the connection.
     * NULL: the code says enough, or there was no memory. */
    char *why;
    /* The name of the error code with which the server reset it. */
    const char *code;
    /* Received and not read: from `at` on. */
    struct rota__out data;
    size_t at;
};

struct rota__http_shared {
    struct rota__h2 h2;
    struct rota__list streams;
    /* There is something to send. */
    rota_event dirty;
    /* The server has sent GOAWAY with HTTP_1_1_REQUIRED. */
    bool wants_h1;
    /* A write has failed, perhaps in the middle of a frame: nothing more may be sent. */
    bool is_cut;
};

static struct stream *stream_of(struct rota__h2_stream *s)
{
    return (struct stream *)s;
}

/* Also ends the connection if an exchange has run out of memory. */
static void wake_sender(struct rota__http_conn *conn)
{
    struct rota__http_shared *shared = conn->shared;
    if (shared->h2.err < 0 && !conn->is_leaving)
        rota__http_pool_unshare(conn);
    if (shared->h2.out.len || shared->h2.out.err < 0 || shared->h2.err < 0)
        rota_event_set(&shared->dirty);
}

size_t rota__http_h2_free(const struct rota__http_conn *conn)
{
    uint32_t room = rota__h2_free(&conn->shared->h2);
    return room > conn->reserved ? room - conn->reserved : 0;
}

/* ---- What comes: in the keeper */

static char *copy(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copied = rota_alloc(size);
    return copied ? memcpy(copied, text, size) : NULL;
}

static void tell(struct stream *st, int err, const char *why)
{
    if (err < 0 && st->err == 0 && !st->ended) {
        st->err = err;
        st->why = why ? copy(why) : NULL;
    }
    if (st->err < 0 || st->ended) /* the server accepts no more of the body */
        rota__http_upload_cancel(st->upload);
    rota_event_set(&st->news);
}

static void tell_all(struct rota__http_conn *conn, int err, const char *why)
{
    rota__list_each (node, &conn->shared->streams)
        tell(rota__container_of(node, struct stream, node), err, why);
}

/* Wakes uploaders that wait for window or output space. */
static void tell_uploaders(struct rota__http_conn *conn)
{
    rota__list_each (node, &conn->shared->streams)
        rota_event_set(&rota__container_of(node, struct stream, node)->room);
}

static void on_head(struct stream *st, const struct rota__h2_head *from)
{
    struct rota__http_call *call = st->call;
    if (!call)
        return;
    struct rota__http_head head = {.status = from->status,
                                   .reason = {"", 0},
                                   .version = {"HTTP/2", 6},
                                   .fields = from->fields,
                                   .count = from->count,
                                   .has_length = from->has_length && !from->end,
                                   .bodiless = from->end,
                                   .length = from->length};
    call->began = true;
    call->progress.status = from->status;
    int err = rota__http_response_new(call, &head, &st->response);
    if (err == 0) {
        st->response->conn = st->conn;
        st->response->exchange = st;
    }
    tell(st, err, NULL);
}

static void on_data(struct rota__http_shared *shared, struct stream *st, rota_str data)
{
    rota__out_drop(&st->data, &st->at);
    rota__out_add_str(&st->data, data);
    tell(st, st->data.err, NULL);
}

static void on_interim(struct stream *st, const struct rota__h2_head *head)
{
    st->consents |= head->status == 100;
    bool endless = ++st->interims == ROTA__HTTP_INTERIMS;
    tell(st, endless ? ROTA_EPROTOCOL : 0, "too many interim responses");
}

static void on_trailers(struct stream *st, const struct rota__h2_head *head)
{
    if (st->response)
        tell(st, rota__http_response_trailers(st->response, head->fields, head->count), NULL);
}

static void on_reset(struct stream *st, const struct rota__h2_item *item)
{
    bool refused = item->code == ROTA__H2_REFUSED_STREAM;
    if (st->call) {
        st->call->wants_h1 = !st->response && (item->code == ROTA__H2_HTTP_1_1_REQUIRED ||
                                               (refused && st->conn->shared->wants_h1));
        st->call->refused = refused;
        st->call->began = !refused; /* it may have been processed */
    }
    if (!item->reason)
        st->code = rota__h2_code_name(item->code);
    bool too_large = item->reason && item->code == ROTA__H2_ENHANCE_YOUR_CALM;
    tell(st,
         too_large      ? ROTA_ELIMIT
         : item->reason ? ROTA_EPROTOCOL
                        : ROTA_ETRUNCATED,
         item->reason ? item->reason
         : refused    ? "the server refused to work on it"
                      : "the server broke it off");
}

static void on_event(struct rota__http_conn *conn, int event, const struct rota__h2_item *item)
{
    struct stream *st = item->stream ? stream_of(item->stream) : NULL;
    switch (event) {
    case ROTA__H2_HEAD:
        on_head(st, &item->head);
        break;
    case ROTA__H2_INTERIM:
        on_interim(st, &item->head);
        break;
    case ROTA__H2_DATA:
        on_data(conn->shared, st, item->data);
        break;
    case ROTA__H2_TRAILERS:
        on_trailers(st, &item->head);
        break;
    case ROTA__H2_END:
        st->ended = true;
        tell(st, 0, NULL);
        break;
    case ROTA__H2_RESET:
        on_reset(st, item);
        break;
    case ROTA__H2_WINDOW:
        if (st)
            rota_event_set(&st->room);
        else
            tell_uploaders(conn);
        break;
    case ROTA__H2_SETTINGS:
        tell_uploaders(conn);
        rota__http_pool_serve_shared(conn);
        break;
    case ROTA__H2_GOAWAY:
        conn->shared->wants_h1 = item->code == ROTA__H2_HTTP_1_1_REQUIRED;
        rota__http_pool_unshare(conn);
        break;
    default:
        break;
    }
}

/* Returns an error when the connection is broken. */
static int take_in(struct rota__http_conn *conn, rota_str bytes, size_t *ret_used)
{
    struct rota__h2 *h2 = &conn->shared->h2;
    struct rota__h2_item item;
    rota_time now = rota_now();
    int event;
    *ret_used = 0;
    do {
        size_t used;
        rota_str rest = {bytes.ptr + *ret_used, bytes.len - *ret_used};
        event = rota__h2_next(h2, now, rest, &used, &item);
        *ret_used += used;
        if (event >= 0)
            on_event(conn, event, &item);
    } while (event >= 0 && event != ROTA__H2_MORE);
    wake_sender(conn);
    return event < 0 ? event : 0;
}

static int read_all(struct rota__http_conn *conn)
{
    for (size_t have = 0;;) {
        rota_str bytes;
        size_t used = 0;
        int err = rota__peek_more(conn->stream, have, &bytes);
        if (err == 0)
            err = take_in(conn, bytes, &used);
        if (err < 0)
            return err == ROTA_EOF ? ROTA_ETRUNCATED : err;
        if (conn->is_over) /* the server has sent GOAWAY, and no request is left */
            return -ECANCELED;
        rota_stream_skip(conn->stream, used);
        have = bytes.len - used;
    }
}

/* ---- What goes: in the sender */

static int send_all(void *arg)
{
    struct rota__http_conn *conn = arg;
    struct rota__http_shared *shared = conn->shared;
    struct rota__h2 *h2 = &shared->h2;
    struct rota__out out = {0};
    int err = 0;
    while (err == 0) {
        err = rota_event_wait(&shared->dirty);
        rota_event_clear(&shared->dirty);
        if (err == 0)
            err = rota_check(); /* the keeper still sends GOAWAY */
        if (err == 0)
            err = h2->out.err; /* the output is incomplete */
        if (err == 0 && !h2->out.len)
            err = h2->err;
        if (err < 0 || !h2->out.len)
            continue;
        struct rota__out spare = out;
        out = h2->out;
        h2->out = spare;
        h2->out.len = 0;
        err = rota_stream_write(conn->stream, out.ptr, out.len);
        out.len = 0;
        shared->is_cut = err < 0;
        if (err == -EPIPE || err == -ECONNRESET) { /* what the server has sent still counts */
            rota__http_pool_unshare(conn);
            break;
        }
        tell_uploaders(conn);
        wake_sender(conn);
    }
    rota__out_fini(&out);
    return err == -EPIPE || err == -ECONNRESET ? 0 : err;
}

/* ---- The connection */

static void fail_all(struct rota__http_conn *conn, int err)
{
    struct rota__http_shared *shared = conn->shared;
    const char *why = shared->h2.err == -EBADMSG ? shared->h2.error : "the connection was lost";
    if (conn->session->closed)
        err = ROTA_ECLOSED;
    else if (shared->h2.err == -EBADMSG || err == -EBADMSG)
        err = ROTA_EPROTOCOL;
    else if (err != -ENOMEM)
        err = ROTA_ETRUNCATED;
    tell_all(conn, err, err == ROTA_ECLOSED ? NULL : why);
    rota__list_each (node, &shared->streams) {
        struct stream *st = rota__container_of(node, struct stream, node);
        rota__list_remove(&st->node);
        rota__h2_drop(&shared->h2, &st->s, ROTA__H2_CANCEL);
    }
}

/* Sends GOAWAY, for at most a second. */
static void say_goodbye(struct rota__http_conn *conn)
{
    struct rota__h2 *h2 = &conn->shared->h2;
    rota__h2_close(h2, h2->err < 0 ? h2->code : ROTA__H2_NO_ERROR, "");
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (ROTA_SECOND) {
            if (h2->out.len)
                ROTA_IGNORE(rota_stream_write(conn->stream, h2->out.ptr, h2->out.len));
        }
    }
}

static void keep_shared(struct rota__http_conn *conn)
{
    struct rota__http_shared shared = {0};
    bool lost = true;
    const rota_http_session_options *o = &conn->session->options;
    struct rota__h2_limits limits = {.window = WINDOW, .head = o->head, .fields = o->fields};
    int err = rota__h2_init(&shared.h2, false, &limits);
    rota__list_init(&shared.streams);
    conn->shared = &shared;
    conn->watching = true;
    if (err == 0) {
        ROTA_GROUP(g);
        rota_group_spawn(&g, send_all, conn);
        wake_sender(conn);
        rota__http_conn_opened(conn);
        err = read_all(conn);
        lost = !conn->is_over;
        rota__http_conn_end(conn); /* before another task begins a request on it */
        rota_group_cancel(&g);
        ROTA_IGNORE(rota_group_wait(&g));
    }
    rota__http_conn_end(conn);
    fail_all(conn, err);
    if ((!lost || shared.h2.err < 0) && !shared.is_cut)
        say_goodbye(conn);
    conn->shared = NULL;
    rota__h2_fini(&shared.h2);
    conn->err = err;
}

/* ---- Exchanges: in the caller's task */

static int failed(struct stream *st, struct rota__http_progress *p)
{
    if (st->why && st->code)
        return rota__http_say(p, st->err, "%s (%s)", st->why, st->code);
    return st->why ? rota__http_say(p, st->err, "%s", st->why) : st->err;
}

static int await_news(struct stream *st)
{
    int err = rota_event_wait(&st->news);
    rota_event_clear(&st->news);
    return err;
}

/* Resets the stream: with CANCEL, or if the response is complete before the request is, with
 * NO_ERROR. */
static void leave(struct stream *st)
{
    struct rota__http_conn *conn = st->conn;
    if (!conn->shared || !st->s.is_taken)
        return;
    rota__list_remove(&st->node);
    rota__h2_drop(&conn->shared->h2, &st->s, st->ended ? ROTA__H2_NO_ERROR : ROTA__H2_CANCEL);
    wake_sender(conn);
}

static void stream_unref(struct stream *st)
{
    if (--st->refs > 0)
        return;
    rota__out_fini(&st->data);
    rota_free(st->why);
    rota_free(st);
}

static void stream_free(struct stream *st)
{
    leave(st);
    stream_unref(st);
}

/* Nothing of the request has been sent. */
static int not_sent(const struct rota__http_conn *conn, struct rota__http_call *call,
                    const char *why)
{
    call->refused = true;
    call->wants_h1 = conn->shared && conn->shared->wants_h1;
    return rota__http_say(&call->progress, ROTA_ETRUNCATED, "%s", why);
}

static int refuse(struct rota__http_call *call)
{
    size_t i = 0;
    while (i < call->count && rota__h2_is_field(call->fields[i].name, call->fields[i].value))
        i++;
    if (i == call->count)
        return rota__http_say(&call->progress, -EINVAL, "the request cannot be sent");
    return rota__http_refuse_field(&call->progress, call->fields[i].name, call->fields[i].value);
}

static int request(struct stream *st, struct rota__http_call *call)
{
    struct rota__http_conn *conn = st->conn;
    bool has_length = call->has_body && call->source.is_known;
    bool is_empty = !call->has_body || (has_length && !call->source.length && !call->trailer_count);
    struct rota__h2_head head = {.method = call->method,
                                 .scheme =
                                     call->secure ? (rota_str){"https", 5} : (rota_str){"http", 4},
                                 .authority = call->authority,
                                 .target = call->target,
                                 .fields = call->fields,
                                 .count = call->count,
                                 .end = is_empty,
                                 .has_length = has_length,
                                 .length = has_length ? call->source.length : 0};
    if (!conn->shared || conn->is_over || conn->shared->h2.err < 0)
        return not_sent(conn, call, "the connection was lost");
    int err = rota__h2_request(&conn->shared->h2, &st->s, &head);
    if (err == 0)
        rota__list_append(&conn->shared->streams, &st->node);
    if (err == -EAGAIN || err == -ESHUTDOWN)
        return not_sent(conn, call, "the server accepts no more requests");
    wake_sender(conn);
    return err == -EINVAL ? refuse(call) : err;
}

/* ---- Bodies to send */

/* Adds as much of a piece as window and output allow. Returns how much, -EAGAIN, or an error. */
static ssize_t put(struct stream *st, rota_str piece, bool end)
{
    struct rota__h2 *h2 = &st->conn->shared->h2;
    if (h2->out.len > ROTA__H2_HIGH_WATER)
        return -EAGAIN;
    ssize_t n = rota__h2_data(h2, &st->s, piece.len, end);
    if (n > 0)
        rota__out_add(&h2->out, piece.ptr, (size_t)n);
    if (n >= 0 && h2->out.err < 0)
        n = h2->out.err;
    wake_sender(st->conn);
    return n;
}

static bool is_over(const struct stream *st)
{
    return st->err < 0 || st->ended;
}

static int upload_piece(struct rota__http_upload *upload, struct stream *st, rota_str piece,
                        bool end)
{
    do {
        if (upload->is_stopped || is_over(st))
            return -ECANCELED;
        ssize_t n = put(st, piece, end);
        if (n == -EAGAIN) {
            rota_event_clear(&st->room);
            n = rota_event_wait(&st->room);
            if (n < 0)
                return (int)n;
            continue;
        }
        if (n == -EMSGSIZE)
            return rota__http_upload_say(upload, -EMSGSIZE, "the body is not as long as announced");
        if (n < 0)
            return (int)n;
        rota__http_upload_moved(upload);
        piece = (rota_str){piece.len ? piece.ptr + n : NULL, piece.len - (size_t)n};
    } while (!st->s.write_ended && (piece.len || end));
    return 0;
}

/* Trailers end the body, and need no window. */
static int upload_trailers(struct rota__http_upload *upload, struct stream *st)
{
    rota_http_field fields[ROTA__HTTP_TRAILERS];
    size_t count = 0;
    if (upload->is_stopped || is_over(st))
        return -ECANCELED;
    while (rota__http_trailers_next(upload, &count, &fields[count])) {
        if (!rota__h2_is_field(fields[count - 1].name, fields[count - 1].value))
            return rota__http_trailers_refuse(upload, fields[count - 1].name);
    }
    int err = rota__h2_trailers(&st->conn->shared->h2, &st->s, fields, count);
    if (err == -EMSGSIZE)
        return rota__http_upload_say(upload, err, "the body is not as long as announced");
    wake_sender(st->conn);
    return err;
}

static int upload_pieces(struct rota__http_upload *upload, struct stream *st)
{
    int err = 0;
    while (err == 0 && !st->s.write_ended) {
        rota_str piece;
        err = rota__http_upload_next(upload, &piece);
        bool end = err == 0 && (!piece.len || (st->s.has_length && piece.len == st->s.left));
        if (err == 0 && (piece.len || !upload->trailer_count))
            err = upload_piece(upload, st, piece, end && !upload->trailer_count);
        else if (err == 0)
            err = upload_trailers(upload, st);
    }
    return err;
}

static int send_upload(struct rota__http_upload *upload)
{
    struct stream *st = upload->exchange;
    int err = upload_pieces(upload, st);
    st->upload = NULL;
    upload->is_gone = is_over(st);
    if (err < 0 && !upload->is_stopped && !upload->is_gone) {
        tell(st, err, NULL);
        leave(st);
    }
    stream_unref(st);
    return err;
}

static int start_upload(struct stream *st, struct rota__http_call *call)
{
    struct rota__http_upload upload = {.conn = st->conn, .send = send_upload, .exchange = st};
    int err = rota__http_upload_start(call, &upload);
    if (err < 0)
        return err;
    st->upload = call->upload;
    st->refs++;
    return 0;
}

/* Sends a short body at once if there is room, otherwise starts an uploader. */
static int send_body(struct stream *st, struct rota__http_call *call)
{
    struct rota__http_source *source = &call->source;
    if (is_over(st) || !rota__http_source_is_short(source) || call->trailer_count)
        return is_over(st) ? 0 : start_upload(st, call);
    ssize_t n = put(st, source->text, true);
    if (n < 0 && n != -EAGAIN)
        return (int)n;
    source->began = true;
    source->at = n > 0 ? (uint64_t)n : 0;
    return st->s.write_ended ? 0 : start_upload(st, call);
}

/* Waits for 100 (Continue) or the response, at most a second. */
static int await_consent(struct stream *st)
{
    int err = 0;
    ROTA_TIMEOUT (ROTA__HTTP_CONSENT) {
        while (err == 0 && !st->consents && !st->response && st->err == 0)
            err = await_news(st);
    }
    return err == -ETIMEDOUT && rota_check() == 0 ? 0 : err;
}

static int receive(struct stream *st, struct rota__http_call *call)
{
    if (!call->upload)
        rota__http_enter(&call->progress, ROTA_HTTP_WAITING);
    rota__http_limit(&call->progress, ROTA_HTTP_LIMIT_GAP, call->gap);
    while (!st->response) {
        if (st->err < 0)
            return failed(st, &call->progress);
        int err = await_news(st);
        if (err < 0 && !st->response)
            return err;
    }
    return 0;
}

/* A response without a body has ended with its head. */
static void end_early(struct stream *st)
{
    if (st->ended && st->data.len == st->at)
        rota__http_h2.read(st->response, NULL, 0);
}

static int exchange(struct rota__http_conn *conn, struct rota__http_call *call,
                    rota_http_response **ret_response)
{
    struct stream *st = rota_zalloc(sizeof *st);
    if (!st)
        return -ENOMEM;
    st->conn = conn;
    st->call = call;
    st->refs = 1;
    rota__list_init(&st->node);
    rota__http_enter(&call->progress, ROTA_HTTP_SENDING);
    int err = request(st, call);
    if (err == 0 && !st->s.write_ended && call->options->expect)
        err = await_consent(st);
    if (err == 0 && !st->s.write_ended && !st->response)
        err = send_body(st, call);
    if (err == 0)
        err = receive(st, call);
    st->call = NULL;
    if (err < 0) {
        rota__http_upload_recall(call);
        if (st->response) {
            st->response->conn = NULL;
            rota_http_response_free(st->response);
        }
        stream_free(st);
        return err;
    }
    rota__http_enter(&call->progress, ROTA_HTTP_READING);
    *ret_response = st->response;
    rota__http_response_adopt(st->response, call);
    end_early(st);
    return 0;
}

static ssize_t give(struct stream *st, char *buf, size_t len)
{
    size_t there = st->data.len - st->at;
    if (len > there)
        len = there;
    memcpy(buf, st->data.ptr + st->at, len);
    st->at += len;
    if (st->at == st->data.len)
        st->at = st->data.len = 0;
    if (st->conn->shared && st->s.is_taken) {
        rota__h2_consumed(&st->conn->shared->h2, &st->s, len);
        wake_sender(st->conn);
    }
    return (ssize_t)len;
}

static void let_go(rota_http_response *r)
{
    struct stream *st = r->exchange;
    struct rota__http_conn *conn = r->conn;
    rota__http_response_stop(r);
    r->conn = NULL;
    r->exchange = NULL;
    stream_free(st);
    rota__http_pool_put(conn);
}

static ssize_t read_body(rota_http_response *r, void *buf, size_t len)
{
    struct stream *st = r->exchange;
    for (;;) {
        if (st->data.len > st->at)
            return give(st, buf, len);
        if (st->ended) {
            st->conn->reused = true;
            let_go(r);
            rota__http_response_ended(r);
            return 0;
        }
        if (st->err < 0) {
            int err = failed(st, r->progress);
            let_go(r);
            return err;
        }
        int err = await_news(st);
        if (err < 0)
            return err;
    }
}

const struct rota__http_kind rota__http_h2 = {keep_shared, exchange, read_body, let_go};
