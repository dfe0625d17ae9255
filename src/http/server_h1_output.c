/* Output of connections of HTTP/1.1: in pieces, held back, watched for stalls. */
#include "http/server_h1.h"

#include <rota/sync.h>

/* Bytes of output after which write_stall begins again; more for files if the client is fast. */
#define PIECE ROTA__SERVER_PIECE
#define PIECE_MOST ((size_t)512 * 1024)

static int flush(void *arg)
{
    struct rota__h1_connection *c = arg;
    c->corked = false;
    c->common.writing = c->server->ticks + 1;
    int err = rota_stream_flush(c->stream);
    c->common.writing = 0;
    return err;
}

/* The handler of the next request has not replied in the turn in which it began. A task that is
 * writing at this time also sends what is held back, or calls again. */
static void flush_begin(rota_handle *handle, void *arg)
{
    (void)handle;
    struct rota__h1_connection *c = arg;
    bool is_due = c->corked && !c->flusher && !c->common.writing;
    if (is_due && rota_spawn(flush, c, &c->flusher) < 0)
        c->flusher = NULL; /* then it is sent with the reply */
}

static int await_flusher(struct rota__h1_connection *c)
{
    rota_task *flusher = c->flusher;
    c->flusher = NULL;
    return flusher ? rota_join(flusher) : 0;
}

static int write_pieces(struct rota__h1_connection *c, const struct iovec *iov, int count)
{
    c->common.writing = c->server->ticks + 1;
    int err = count == 1 ? rota_stream_write(c->stream, iov->iov_base, iov->iov_len)
                         : rota_stream_writev(c->stream, iov, count);
    c->common.writing = 0;
    return err;
}

/* Long output is sent in pieces, so that a slow client does not count as stalled. */
static int write_long(struct rota__h1_connection *c, struct iovec *iov, int count)
{
    while (count > 1 && iov[1].iov_len > PIECE) {
        struct iovec some[] = {iov[0], {iov[1].iov_base, PIECE}};
        int err = write_pieces(c, some, 2);
        if (err < 0)
            return err;
        iov[0].iov_len = 0;
        iov[1].iov_base = (char *)iov[1].iov_base + PIECE;
        iov[1].iov_len -= PIECE;
    }
    return write_pieces(c, iov, count);
}

static int failed(struct rota__h1_connection *c, int err)
{
    rota__h1_connection_end(c, ROTA__H1_BREAK);
    if (err != -ECANCELED || !c->common.stalled)
        return err;
    rota_stream_abort(c->stream);
    return rota_error_set(-ETIMEDOUT, "write reply: the client takes nothing (option write_stall)");
}

static int hold_back(struct rota__h1_connection *c, struct iovec *iov, int count)
{
    if (!c->corked)
        rota_stream_cork(c->stream);
    c->corked = true;
    int err = write_long(c, iov, count);
    if (!rota_handle_pending(&c->flush_soon))
        rota_loop_call_soon(c->server->loop, &c->flush_soon, flush_begin, c);
    return err;
}

int rota__h1_connection_send(struct rota__h1_connection *c, struct iovec *iov, int count, bool hold)
{
    int err = await_flusher(c);
    if (err == 0)
        err = hold ? hold_back(c, iov, count) : write_long(c, iov, count);
    if (err == 0 && c->corked && !hold)
        err = flush(c);
    return err < 0 ? failed(c, err) : 0;
}

/* No request runs, so the sweep does not look. */
int rota__h1_connection_settle(struct rota__h1_connection *c)
{
    int err = 0;
    ROTA_TIMEOUT (c->server->options.write_stall) {
        err = await_flusher(c);
        if (err == 0 && c->corked)
            err = flush(c);
    }
    if (err == -ETIMEDOUT)
        rota_stream_abort(c->stream);
    return err < 0 ? failed(c, err) : 0;
}

/* ---- Files */

/* The kernel takes pieces; how many at once depends on how fast the client has been (see PIECE). */
static int hand_over(struct rota__h1_connection *c, int fd, uint64_t offset, uint64_t len)
{
    size_t most = PIECE;
    int err = 0;
    while (err == 0 && len > 0) {
        size_t piece = len < most ? (size_t)len : most;
        uint64_t began = c->server->ticks;
        c->common.writing = began + 1;
        err = rota_stream_send_file(c->stream, fd, (int64_t)offset, (int64_t)piece, NULL);
        offset += piece;
        len -= piece;
        if (c->server->ticks == began && most < PIECE_MOST)
            most *= 2;
        else if (c->server->ticks != began && most > PIECE)
            most /= 2;
    }
    c->common.writing = 0;
    return err;
}

/* The head is held back, so that it goes out in one piece with the first bytes. */
int rota__h1_connection_send_file(struct rota__h1_connection *c, rota_str head, int fd,
                                  uint64_t offset, uint64_t len)
{
    int err = await_flusher(c);
    struct iovec iov = {(void *)head.ptr, head.len};
    c->corked = true;
    rota_stream_cork(c->stream);
    if (err == 0)
        err = write_pieces(c, &iov, 1);
    if (err == 0)
        err = hand_over(c, fd, offset, len);
    if (err == 0)
        err = flush(c);
    return err < 0 ? failed(c, err) : 0;
}
