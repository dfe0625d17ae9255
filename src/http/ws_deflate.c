/* Messages deflated and inflated (RFC 7692, section 7.2). */
#include "http/ws_deflate.h"
#include "http/zlib_stream.h"

#include <errno.h>

#define LEVEL 6
#define MEMORY 8

/* The empty block that Z_SYNC_FLUSH ends with, behind its three bits. */
static const char tail_of_flush[] = "\x00\x00\xff\xff";
#define TAIL_LEN 4

/* Of data_type after inflate: it stands between blocks; and so many bits of the last byte are
 * unread. */
#define BETWEEN_BLOCKS 128
#define UNREAD_BITS 63

struct direction {
    z_stream z;
    bool open;
    /* No context takeover. */
    bool resets;
    int bits;
};

struct rota__ws_deflate {
    struct direction out, in;
    int level;
    /* Something of the message has been deflated. */
    bool written;
    /* Of the message that is being inflated. */
    uint64_t limit, total;
    /* Bytes of the tail that have been inflated. */
    size_t tail;
    /* Inflating stands between blocks, at a whole byte. */
    bool between;
};

static int bits_or_all(int bits)
{
    return bits ? bits : MAX_WBITS;
}

int rota__ws_deflate_new(const struct rota__ws_deflate_terms *agreed, bool is_server, int level,
                         uint64_t limit, struct rota__ws_deflate **ret_deflate)
{
    struct rota__ws_deflate *d = rota_zalloc(sizeof *d);
    if (!d)
        return -ENOMEM;
    struct direction server = {.resets = agreed->server_no_context,
                               .bits = bits_or_all(agreed->server_bits)};
    struct direction client = {.resets = agreed->client_no_context,
                               .bits = bits_or_all(agreed->client_bits)};
    *d = (struct rota__ws_deflate){.out = is_server ? server : client,
                                   .in = is_server ? client : server,
                                   .level = level ? level : LEVEL,
                                   .limit = limit ? limit : UINT64_MAX};
    *ret_deflate = d;
    return 0;
}

void rota__ws_deflate_free(struct rota__ws_deflate *deflate)
{
    if (!deflate)
        return;
    if (deflate->out.open)
        deflateEnd(&deflate->out.z);
    if (deflate->in.open)
        inflateEnd(&deflate->in.z);
    rota_free(deflate);
}

/* ---- Out */

/* zlib deflates no bare stream with a window of 256 bytes. With one of 512 it looks back 250 bytes
 * at most (MIN_LOOKAHEAD is 262), so a receiver with a window of 256 understands it. */
static int open_out(struct rota__ws_deflate *d)
{
    if (d->out.open)
        return 0;
    rota__zlib_init(&d->out.z);
    int bits = d->out.bits == 8 ? 9 : d->out.bits;
    int err = rota__zlib_error(
        deflateInit2(&d->out.z, d->level, Z_DEFLATED, -bits, MEMORY, Z_DEFAULT_STRATEGY));
    d->out.open = err == 0;
    return err;
}

/* Section 7.2.1. A flush of nothing is nothing, so a message of nothing is the byte that section
 * 7.2.3.6 has for it. */
static int end_message(struct rota__ws_deflate *d, struct rota__out *out)
{
    if (!d->written) {
        rota__out_add(out, tail_of_flush, 1);
        return out->err;
    }
    int err = rota__zlib_deflate(&d->out.z, (rota_str){NULL, 0}, Z_SYNC_FLUSH, out);
    if (err < 0)
        return err;
    out->len -= TAIL_LEN;
    d->written = false;
    if (d->out.resets)
        deflateReset(&d->out.z);
    return 0;
}

int rota__ws_deflate_write(struct rota__ws_deflate *deflate, rota_str piece, bool last,
                           struct rota__out *out)
{
    int err = open_out(deflate);
    if (err == 0 && piece.len) {
        deflate->written = true;
        err = rota__zlib_deflate(&deflate->out.z, piece, Z_NO_FLUSH, out);
    }
    return err < 0 || !last ? err : end_message(deflate, out);
}

/* ---- In */

static int open_in(struct rota__ws_deflate *d)
{
    if (d->in.open)
        return 0;
    rota__zlib_init(&d->in.z);
    int err = rota__zlib_error(inflateInit2(&d->in.z, -d->in.bits));
    d->in.open = err == 0;
    return err;
}

/* Inflates from `in`. A block may say that it is the last one (section 7.2.3.4): then others follow
 * all the same, with the same window, which inflateReset would clear. */
static int inflate_some(struct rota__ws_deflate *d, rota_str *in, char *to, size_t room,
                        size_t *ret_put)
{
    size_t had = in->len;
    int status = rota__zlib_inflate(&d->in.z, in, to, room, ret_put);
    int state = d->in.z.data_type;
    if (in->len < had)
        d->between = status == Z_STREAM_END || (state & BETWEEN_BLOCKS && !(state & UNREAD_BITS));
    if (status == Z_STREAM_END)
        status = inflateResetKeep(&d->in.z);
    d->total += *ret_put;
    if (d->total > d->limit)
        return ROTA_ELIMIT;
    return rota__zlib_error(status);
}

/* Section 7.2.2: the tail has ended a block, or else the message was cut off. */
static int end_in(struct rota__ws_deflate *d)
{
    d->tail = 0;
    d->total = 0;
    if (!d->between)
        return -EBADMSG;
    if (d->in.resets)
        inflateReset(&d->in.z);
    return 0;
}

ssize_t rota__ws_inflate(struct rota__ws_deflate *deflate, rota_str *in, bool last, char *to,
                         size_t room)
{
    size_t put = 0;
    int err = open_in(deflate);
    do
        err = err < 0 ? err : inflate_some(deflate, in, to, room, &put);
    while (err == 0 && !put && in->len);
    while (err == 0 && !put && last && deflate->tail < TAIL_LEN) {
        rota_str tail = {tail_of_flush + deflate->tail, TAIL_LEN - deflate->tail};
        err = inflate_some(deflate, &tail, to, room, &put);
        deflate->tail = TAIL_LEN - tail.len;
    }
    if (err < 0 || put)
        return err < 0 ? err : (ssize_t)put;
    return last ? end_in(deflate) : 0;
}
