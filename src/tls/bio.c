#include "tls/tls.h"

#include <string.h>

void rota__tls_bytes_fini(struct rota__tls_bytes *b)
{
    rota_free(b->data);
    *b = (struct rota__tls_bytes){0};
}

bool rota__tls_reserve(struct rota__tls_bytes *b, size_t more)
{
    if (b->size - b->tail >= more)
        return true;
    size_t size = b->size * 2 > b->tail + more ? b->size * 2 : b->tail + more;
    char *data = rota_resize(b->data, size);
    if (!data)
        return false;
    b->data = data;
    b->size = size;
    return true;
}

static int bio_write(BIO *bio, const char *bytes, size_t len, size_t *ret_written)
{
    struct rota__tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->in_kernel) {
        *ret_written = len;
        return rota__tls_kernel_write(t, bytes, len);
    }
    if (!rota__tls_reserve(&t->out, len)) {
        ERR_raise(ERR_LIB_BIO, ERR_R_MALLOC_FAILURE);
        return 0;
    }
    memcpy(t->out.data + t->out.tail, bytes, len);
    t->out.tail += len;
    *ret_written = len;
    return 1;
}

static int bio_read(BIO *bio, char *buf, size_t len, size_t *ret_read)
{
    struct rota__tls *t = BIO_get_data(bio);
    size_t count = rota__tls_count(&t->in);
    BIO_clear_retry_flags(bio);
    if (!count) {
        BIO_set_retry_read(bio);
        return 0;
    }
    if (len > count)
        len = count;
    memcpy(buf, t->in.data + t->in.head, len);
    t->in.head += len;
    *ret_read = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int what, long number, void *arg)
{
    struct rota__tls *t = BIO_get_data(bio);
    if (t && t->socket >= 0)
        return rota__tls_kernel_control(t, what, number, arg);
    return what == BIO_CTRL_FLUSH; /* the filter sends when OpenSSL has returned */
}

static BIO_METHOD *method;

static void make_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "rota");
    if (!m)
        return;
    BIO_meth_set_write_ex(m, bio_write);
    BIO_meth_set_read_ex(m, bio_read);
    BIO_meth_set_ctrl(m, bio_ctrl);
    method = m;
}

BIO *rota__tls_bio_new(struct rota__tls *t)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    if (!method)
        make_method();
    pthread_mutex_unlock(&mutex);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (bio) {
        BIO_set_data(bio, t);
        BIO_set_init(bio, 1);
    }
    return bio;
}
