/* A stream's filter: passes data through OpenSSL, and waits around its calls. */
#include "tls/tls.h"

#include <string.h>

/* How much is read below at once: from a request's worth to one that holds the longest record.
 * Output is sent when about OUT_MOST bytes are encrypted. Small blocks are kept, so that a request
 * allocates none. */
enum { STEP_MIN = 2048, STEP_MAX = 18432, OUT_MOST = 65536, KEPT = 2048 };

/* New keys cost a peer 27 bytes, and us more, which OpenSSL does not count: so many bytes without
 * any data are read at once, and so many of answers to them may wait for a writer. */
enum { BARREN_MOST = 65536, ANSWERS_MOST = 16384 };

int rota__tls_fill(struct rota__tls *t)
{
    t->in.head = t->in.tail = 0;
    if (t->in.size != t->step)
        rota__tls_bytes_fini(&t->in);
    if (!rota__tls_reserve(&t->in, t->step))
        return -ENOMEM;
    ssize_t n = rota_filter_read(t->filter.below, t->in.data, t->step);
    if (n <= 0)
        return n < 0 ? (int)n : ROTA_ETRUNCATED;
    t->in.tail = (size_t)n;
    if (t->in.tail == t->step && t->step < STEP_MAX)
        t->step *= 3;
    else if (t->in.tail < t->step / 8 && t->step > STEP_MIN)
        t->step /= 3;
    return 0;
}

/* What OpenSSL writes while a write waits must not move the bytes that are being sent. */
static void lend_out(struct rota__tls *t)
{
    struct rota__tls_bytes sent = t->sending;
    t->sending = t->out;
    t->out = (struct rota__tls_bytes){.data = sent.data, .size = sent.size};
}

/* All has been sent: keeps one block, if it is a small one. */
static void keep_block(struct rota__tls *t)
{
    if (t->out.data)
        rota__tls_bytes_fini(&t->sending);
    else
        lend_out(t);
    if (t->out.size > KEPT)
        rota__tls_bytes_fini(&t->out);
}

int rota__tls_flush(struct rota__tls *t)
{
    if (t->in_kernel)
        return rota__tls_kernel_flush(t);
    while (rota__tls_count(&t->sending) || rota__tls_count(&t->out)) {
        if (!rota__tls_count(&t->sending))
            lend_out(t);
        ssize_t n = rota_filter_write(t->filter.below, t->sending.data + t->sending.head,
                                      rota__tls_count(&t->sending));
        if (n < 0)
            return (int)n;
        t->sending.head += (size_t)n;
    }
    keep_block(t);
    return 0;
}

int rota__tls_failed(struct rota__tls *t)
{
    t->failed = rota__tls_why(t->why, sizeof t->why);
    return t->failed;
}

/* ---- Reading */

static int truncated(struct rota__tls *t)
{
    snprintf(t->why, sizeof t->why, "%s", rota_strerror(ROTA_ETRUNCATED));
    return t->failed = ROTA_ETRUNCATED;
}

static int endless(struct rota__tls *t)
{
    snprintf(t->why, sizeof t->why, "too many key updates from the peer");
    return t->failed = ROTA_ETLS;
}

/* Before TLS 1.3, the output that reading causes is an alert: that it fails, or that it does not
 * renegotiate. The latter would wait for a writer, the peer for it, and more for both. */
static int check_answers(struct rota__tls *t)
{
    if (t->in_kernel && SSL_get_key_update_type(t->ssl) != SSL_KEY_UPDATE_NONE) {
        snprintf(t->why, sizeof t->why, "peer asks for new keys, which the kernel does not take");
        return t->failed = ROTA_ETLS;
    }
    if (SSL_version(t->ssl) >= TLS1_3_VERSION)
        return rota__tls_count(&t->out) > ANSWERS_MOST ? endless(t) : 0;
    if (!rota__tls_count(&t->out))
        return 0;
    snprintf(t->why, sizeof t->why, "peer wants to renegotiate, which is refused");
    return t->failed = ROTA_ETLS;
}

/* Reads what has arrived. Returns -EAGAIN if that is not a whole record. */
static ssize_t read_here(struct rota__tls *t, void *buf, size_t len)
{
    size_t n;
    ROTA__TLS_INSIDE;
    rota__tls_clear_errors();
    int ok = SSL_read_ex(t->ssl, buf, len, &n);
    if (ok)
        return (ssize_t)n;
    switch (SSL_get_error(t->ssl, ok)) {
    case SSL_ERROR_WANT_READ:
        return check_answers(t) < 0 ? t->failed : -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        t->ended = true;
        return 0;
    default:
        return rota__tls_failed(t);
    }
}

static ssize_t read_inside(struct rota__tls *t, void *buf, size_t len)
{
    ssize_t n = -EAGAIN;
    size_t barren = 0;
    if (rota__tls_count(&t->in) || SSL_has_pending(t->ssl)) {
        int err = rota_filter_check();
        n = err < 0 ? err : read_here(t, buf, len);
    }
    while (n == -EAGAIN) {
        int err = rota__tls_fill(t);
        if (err < 0)
            return err == ROTA_ETRUNCATED ? truncated(t) : err;
        barren += rota__tls_count(&t->in);
        n = barren > BARREN_MOST ? endless(t) : read_here(t, buf, len);
    }
    return n;
}

static ssize_t tls_read(rota_filter *filter, void *buf, size_t len)
{
    struct rota__tls *t = rota__tls_of(filter);
    if (t->failed || t->ended || check_answers(t) < 0)
        return t->failed;
    t->reading = true;
    ssize_t n = read_inside(t, buf, len);
    t->reading = false;
    return n;
}

/* ---- Writing */

/* Sends for a writer: what it has encrypted cannot be encrypted again. */
static int send_all(struct rota__tls *t)
{
    int err = rota__tls_flush(t);
    t->torn |= err < 0 && !t->in_kernel;
    return err;
}

static int check_writer(struct rota__tls *t)
{
    if (t->failed)
        return t->failed;
    return t->torn || t->said_end ? -EPIPE : rota_filter_check();
}

/* Which encrypts what it takes, so a write that is interrupted may be repeated. */
static ssize_t write_by_kernel(struct rota__tls *t, const void *buf, size_t len)
{
    int err = rota__tls_flush(t);
    return err < 0 ? err : rota_filter_write(t->filter.below, buf, len);
}

static ssize_t tls_send_file(rota_filter *filter, int fd, int64_t offset, size_t len)
{
    struct rota__tls *t = rota__tls_of(filter);
    rota_filter *below = filter->below;
    if (!t->in_kernel || !below->kind->send_file)
        return -EOPNOTSUPP;
    int err = check_writer(t);
    if (err == 0)
        err = rota__tls_flush(t);
    return err < 0 ? err : below->kind->send_file(below, fd, offset, len);
}

static bool encrypt(struct rota__tls *t, const void *buf, size_t len, size_t *ret_taken)
{
    ROTA__TLS_INSIDE;
    rota__tls_clear_errors();
    return SSL_write_ex(t->ssl, buf, len, ret_taken);
}

static ssize_t tls_write(rota_filter *filter, const void *buf, size_t len)
{
    struct rota__tls *t = rota__tls_of(filter);
    size_t n;
    int err = check_writer(t);
    if (err < 0)
        return err;
    if (t->in_kernel)
        return write_by_kernel(t, buf, len);
    if (!encrypt(t, buf, len < OUT_MOST ? len : OUT_MOST, &n))
        return rota__tls_failed(t);
    err = send_all(t);
    return err < 0 ? err : (ssize_t)n;
}

/* Encrypts a close_notify. */
static int say_end(struct rota__tls *t)
{
    if (t->said_end)
        return 0;
    ROTA__TLS_INSIDE;
    rota__tls_clear_errors();
    t->said_end = true;
    return SSL_shutdown(t->ssl) < 0 && ERR_peek_error() ? rota__tls_failed(t) : 0;
}

static int tls_shutdown(rota_filter *filter)
{
    struct rota__tls *t = rota__tls_of(filter);
    int err = t->said_end ? rota_filter_check() : check_writer(t);
    if (err == 0)
        err = say_end(t);
    return err < 0 ? err : send_all(t);
}

/* ---- The end */

/* Otherwise the kernel would answer the peer's last bytes, which are not read, with a reset, and
 * that would overtake what we have sent. */
static void await_end(struct rota__tls *t)
{
    char ignored[512];
    while (!t->ended && !t->failed && read_inside(t, ignored, sizeof ignored) > 0)
        ;
}

static void tls_farewell(rota_filter *filter)
{
    struct rota__tls *t = rota__tls_of(filter);
    if (t->torn)
        return;
    if (!t->failed)
        say_end(t);
    if (rota__tls_flush(t) == 0 && !t->reading)
        await_end(t);
}

static void tls_interrupt(rota_filter *filter)
{
    rota__tls_kernel_interrupt(rota__tls_of(filter));
}

static void tls_close(rota_filter *filter)
{
    struct rota__tls *t = rota__tls_of(filter);
    ROTA__TLS_INSIDE;
    rota_secret_remove(&t->secret);
    SSL_free(t->ssl);
    rota_tls_context_free(t->context);
    rota__tls_bytes_fini(&t->in);
    rota__tls_bytes_fini(&t->out);
    rota__tls_bytes_fini(&t->sending);
    rota_free(t->resumes);
    rota_free(t->server_name);
    rota_free(t);
}

static const char *tls_error(rota_filter *filter)
{
    struct rota__tls *t = rota__tls_of(filter);
    return t->why[0] ? t->why : NULL;
}

const rota_filter_kind rota__tls_kind = {
    .start = rota__tls_start,
    .read = tls_read,
    .write = tls_write,
    .send_file = tls_send_file,
    .shutdown = tls_shutdown,
    .interrupt = tls_interrupt,
    .farewell = tls_farewell,
    .close = tls_close,
    .error = tls_error,
    .starting = "start TLS with",
};

/* In a worker process of a pool. */
static void tls_forget(rota_secret *secret)
{
    struct rota__tls *t = (void *)((char *)secret - offsetof(struct rota__tls, secret));
    if (rota__tls_may_free_in_child())
        SSL_free(t->ssl);
    t->ssl = NULL;
}

static int set_up(struct rota__tls *t)
{
    BIO *bio = NULL;
    if (!t->context->ctx)
        return ROTA_ECLOSED; /* it was the program's, and this is a worker process */
    ROTA__TLS_INSIDE;
    t->ssl = SSL_new(t->context->ctx);
    if (t->ssl)
        bio = rota__tls_bio_new(t);
    if (!bio)
        return -ENOMEM;
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    t->secret.forget = tls_forget;
    rota_secret_add(&t->secret);
    return 0;
}

int rota__tls_new(rota_tls_context *context, struct rota__tls **ret_tls)
{
    struct rota__tls *t = rota_zalloc(sizeof *t);
    if (!t)
        return -ENOMEM;
    *t = (struct rota__tls){
        {.kind = &rota__tls_kind}, .context = context, .step = STEP_MIN, .socket = -1};
    rota__tls_context_use(context);
    int err = set_up(t);
    if (err < 0) {
        tls_close(&t->filter);
        return err;
    }
    *ret_tls = t;
    return 0;
}
