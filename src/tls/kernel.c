/* The kernel encrypts what is written (kTLS), with the keys that OpenSSL passes to its BIO.
 *
 *     prepare    the stream is a TCP socket, and the context wants it: `socket` is set
 *     keys       in the handshake, once all before them has left: the kernel takes them, or OpenSSL
 *                goes on by itself
 *     in_kernel  data is written below as it is. What OpenSSL says itself (the last of the
 *                handshake, tickets, alerts) goes out from here, not marked as data. That bypasses
 *                the loop, so where the socket has no room it waits in `out` for the next flush
 *
 * What is read is decrypted by OpenSSL in any case. docs/design/tls.md says why it is done this
 * way. */
#include "tls/tls.h"

#include <fcntl.h>
#include <linux/tls.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* <openssl/bio.h> has names for the answers only; these are in a comment there. */
enum { SET_KEYS = 72, SET_RECORD = 74, CLEAR_RECORD = 75 };

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

void rota__tls_kernel_prepare(struct rota__tls *t)
{
    rota_filter *below = t->filter.below;
    if (!t->context->use_kernel || !below->kind->tcp_socket)
        return;
    t->socket = below->kind->tcp_socket(below);
    if (t->socket >= 0)
        SSL_set_options(t->ssl, SSL_OP_ENABLE_KTLS);
}

/* What was encrypted before the keys must have been sent, in order. */
static void send_before(struct rota__tls *t)
{
    size_t len = rota__tls_count(&t->out);
    ssize_t n = 0;
    if (len)
        n = send(t->socket, t->out.data + t->out.head, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        t->out.head += (size_t)n;
    if (n == (ssize_t)len)
        t->out.head = t->out.tail = 0;
}

/* OpenSSL knows how the kernel wants its keys; its own BIO of sockets passes them on. */
static bool give_keys(struct rota__tls *t, long for_writing, void *keys)
{
    if (!for_writing || rota__tls_count(&t->out))
        return false;
    BIO *bio = BIO_new_socket(t->socket, BIO_NOCLOSE);
    bool taken = bio && BIO_ctrl(bio, SET_KEYS, for_writing, keys) > 0;
    BIO_free(bio);
    return taken;
}

long rota__tls_kernel_control(struct rota__tls *t, int what, long number, void *arg)
{
    switch (what) {
    case BIO_CTRL_FLUSH:
        if (!t->in_kernel)
            send_before(t);
        return 1;
    case SET_KEYS:
        t->in_kernel |= give_keys(t, number, arg);
        return number && t->in_kernel;
    case BIO_CTRL_GET_KTLS_SEND:
        return t->in_kernel;
    case SET_RECORD:
        t->record = (unsigned char)number;
        return 0;
    case CLEAR_RECORD:
        t->record = 0;
        return 0;
    default:
        return 0;
    }
}

/* Never sends a part of a record. */
static ssize_t send_record(struct rota__tls *t, const void *bytes, size_t len)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(1)];
    } control = {
        .head = {.cmsg_level = SOL_TLS, .cmsg_type = TLS_SET_RECORD_TYPE, .cmsg_len = CMSG_LEN(1)}};
    struct iovec iov = {(void *)bytes, len};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.space};
    *CMSG_DATA(&control.head) = t->record;
    ssize_t n = sendmsg(t->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

bool rota__tls_kernel_write(struct rota__tls *t, const char *bytes, size_t len)
{
    if (rota__tls_count(&t->out))
        return false;
    ssize_t n = send_record(t, bytes, len);
    if (n != -EAGAIN)
        return n >= 0;
    t->out.head = t->out.tail = 0;
    if (!rota__tls_reserve(&t->out, len))
        return false;
    memcpy(t->out.data, bytes, len);
    t->out.tail = len;
    return true;
}

/* By a descriptor of its own: the loop knows the other as the stream's. */
static int wait_for_room(struct rota__tls *t)
{
    int fd = fcntl(t->socket, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    t->waiting = true;
    int events = rota_fd_wait(fd, ROTA_WRITABLE);
    t->waiting = false;
    close(fd);
    if (t->interrupted)
        return ROTA_ECLOSED;
    return events < 0 ? events : 0;
}

int rota__tls_kernel_flush(struct rota__tls *t)
{
    while (rota__tls_count(&t->out)) {
        int err = wait_for_room(t);
        if (err < 0)
            return err;
        ssize_t n = send_record(t, t->out.data + t->out.head, rota__tls_count(&t->out));
        if (n >= 0)
            t->out.head = t->out.tail;
        else if (n != -EAGAIN)
            return (int)n;
    }
    return 0;
}

/* Nothing is sent any more, and the stream is about to be closed: what waits hears of that. */
void rota__tls_kernel_interrupt(struct rota__tls *t)
{
    t->interrupted = true;
    if (t->waiting)
        shutdown(t->socket, SHUT_RDWR);
}
