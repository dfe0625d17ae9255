/* Datagrams: one recvmmsg(2) takes what is there, one sendmmsg(2) sends what there is.
 *
 * 1. A batch that was not filled has emptied the socket, so the next attempt would block. That does
 *    not hold once an event has reported an error, which the kernel reports before or after the
 *    datagrams; then only EAGAIN counts.
 * 2. One task receives, one sends. Further ones that send wait in `senders`, and the turn is handed
 *    over to them: a waiter that leaves the list owns it, or has been told that the socket is
 *    closed.
 * 3. A Unix socket that is not connected is always writable, and yet a receiver may have no room.
 *    No event tells when it has, so the sender pauses and tries again. */
#include "net/dgram.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/sys.h"

#include <limits.h>

enum { RECEIVING = 1, SENDING = 2, BATCH = 64, PLACES_MIN = 4 };

/* Gives a failure its text, unless it is an interruption. `peer` may be NULL, or have no
 * length. */
static int failed(const rota_dgram *s, int err, const char *call, const rota_address *peer)
{
    char text[ROTA_ADDRESS_TEXT];
    if (rota__was_interrupted(err) || err == ROTA_ECLOSED)
        return rota__error_plain(err);
    bool has_peer = peer && peer->len;
    return rota_error_set(err, "%s %s %s: %s", call, has_peer ? "to" : "on",
                          rota_address_text(has_peer ? peer : &s->local, text), rota_strerror(err));
}

/* ---- Receiving */

struct batch {
    struct rota__op op;
    unsigned count;
    bool full; /* the receiver had no room, and no event will report it */
    struct mmsghdr *messages;
};

static ssize_t attempt_receive(struct rota__op *op)
{
    struct batch *b = rota__container_of(op, struct batch, op);
    struct rota__fd *fd = op->fd;
    int flags = MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC;
    ssize_t n = rota__sys(ECONNREFUSED, recvmmsg(fd->fd, b->messages, b->count, flags, NULL));
    fd->read_drained = n > 0 && n < b->count && !fd->hung_up;
    fd->hung_up &= n != -EAGAIN;
    return n;
}

static void expect_packet(rota_packet *packet, struct iovec *iov, struct mmsghdr *message)
{
    *iov = (struct iovec){packet->data, packet->size};
    message->msg_hdr = (struct msghdr){.msg_name = &packet->address.any,
                                       .msg_namelen = sizeof packet->address.un,
                                       .msg_iov = iov,
                                       .msg_iovlen = 1};
}

static void fill_packet(rota_packet *packet, const struct mmsghdr *message)
{
    size_t whole = message->msg_len; /* by MSG_TRUNC: also of what did not fit */
    packet->len = whole < packet->size ? whole : packet->size;
    packet->cut = whole - packet->len;
    packet->address.len = message->msg_hdr.msg_namelen;
}

/* Preparing places costs a tenth of an echo if there are 64 of them for one datagram. */
static void adapt_places(rota_dgram *s, unsigned prepared, unsigned filled)
{
    if (filled == prepared && prepared == s->places && s->places < BATCH)
        s->places *= 2;
    else if (filled < s->places / 4 && s->places > PLACES_MIN)
        s->places /= 2;
}

static const struct rota__wait_kind receiving = {"datagram", rota__op_abort};

/* At most BATCH packets; descriptors come with the first one. */
static int receive_batch(rota_dgram *s, rota_packet *packets, unsigned count, rota_fds *fds)
{
    struct mmsghdr messages[BATCH];
    struct iovec iovs[BATCH];
    struct rota__fds_room room;
    for (unsigned i = 0; i < count; i++)
        expect_packet(&packets[i], &iovs[i], &messages[i]);
    if (fds)
        rota__fds_expect(&messages[0].msg_hdr, &room);
    struct batch b = {.count = count, .messages = messages};
    b.op.kind = ROTA__OP_CALL_IN;
    b.op.fd = &s->fd;
    b.op.call = attempt_receive;
    int n = (int)rota__op_await(&b.op, &receiving);
    if (n < 0)
        return failed(s, n, "receive datagram", NULL);
    for (int i = 0; i < n; i++)
        fill_packet(&packets[i], &messages[i]);
    if (n > 0)
        adapt_places(s, count, (unsigned)n);
    if (n > 0 && fds)
        rota__fds_take(&messages[0].msg_hdr, fds);
    return n;
}

static int receive(rota_dgram *s, rota_packet *packets, size_t count, rota_fds *fds)
{
    if (count == 0)
        return rota__invalid_argument("receive datagrams: no packets to fill");
    int err = rota__gate_enter(&s->gate, RECEIVING);
    if (err < 0)
        return err;
    err = fds ? rota__result_plain(rota__fds_check(s->fd.fd, fds)) : 0;
    if (err == 0)
        err = receive_batch(s, packets, count < s->places ? (unsigned)count : s->places, fds);
    rota__gate_leave(&s->gate, RECEIVING);
    return err;
}

int rota_dgram_receive_many(rota_dgram *s, rota_packet *packets, size_t count)
{
    return receive(s, packets, count, NULL);
}

int rota_dgram_receive_fds(rota_dgram *s, rota_packet *packet, rota_fds *fds)
{
    if (!fds)
        return rota__invalid_argument("receive a datagram: no place for descriptors");
    int n = receive(s, packet, 1, fds);
    return n < 0 ? n : 0;
}

ssize_t rota_dgram_receive(rota_dgram *s, void *buf, size_t len, rota_address *ret_from)
{
    rota_packet packet;
    packet.data = buf;
    packet.size = len;
    int n = rota__gate_enter(&s->gate, RECEIVING);
    if (n < 0)
        return n;
    n = receive_batch(s, &packet, 1, NULL);
    if (n > 0 && packet.cut)
        n = failed(s, -EMSGSIZE, "receive datagram", NULL);
    rota__gate_leave(&s->gate, RECEIVING);
    if (n < 0)
        return n;
    if (ret_from)
        *ret_from = packet.address;
    return (ssize_t)packet.len;
}

/* ---- Turns of senders */

struct sender {
    struct rota__list node;
    struct rota__wait wait;
};

static void turn_abort(struct rota__wait *wait, int reason)
{
    rota__list_remove(&rota__container_of(wait, struct sender, wait)->node);
    rota__wake(wait, reason);
}

static const struct rota__wait_kind turn = {"turn to send", turn_abort};

static void leave_sending(rota_dgram *s)
{
    struct rota__list *next = rota__list_take_first(&s->senders);
    if (next)
        rota__wake(&rota__container_of(next, struct sender, node)->wait, 0);
    else
        rota__gate_leave(&s->gate, SENDING);
}

static int wait_for_turn(rota_dgram *s)
{
    struct sender sender = {0};
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    rota__list_append(&s->senders, &sender.node);
    return rota__park(&sender.wait, &turn, s);
}

static int enter_sending(rota_dgram *s)
{
    int err = rota__gate_enter(&s->gate, SENDING);
    return err == -EBUSY ? wait_for_turn(s) : err;
}

/* ---- Sending */

static ssize_t attempt_send(struct rota__op *op)
{
    struct batch *b = rota__container_of(op, struct batch, op);
    ssize_t n =
        rota__sys(EPERM, sendmmsg(op->fd->fd, b->messages, b->count, MSG_DONTWAIT | MSG_NOSIGNAL));
    const struct sockaddr *to = b->messages[0].msg_hdr.msg_name;
    b->full = n == -EAGAIN && to && to->sa_family == AF_UNIX;
    return b->full ? 0 : n;
}

static const struct rota__wait_kind sending = {"room for a datagram", rota__op_abort};

/* How many of them went out: 0 if the receiver has no room. */
static ssize_t send_messages(rota_dgram *s, struct mmsghdr *messages, unsigned count)
{
    if (s->gate.closed)
        return ROTA_ECLOSED;
    struct batch b = {.count = count, .messages = messages};
    b.op.kind = ROTA__OP_CALL_OUT;
    b.op.fd = &s->fd;
    b.op.call = attempt_send;
    return rota__op_await(&b.op, &sending);
}

static void pause_abort(struct rota__wait *wait, int reason)
{
    ((rota_dgram *)(uintptr_t)wait->object)->pausing = NULL;
    rota__wake(wait, reason);
}

static const struct rota__wait_kind pausing = {"room at the receiver", pause_abort};

static int pause_for(rota_dgram *s, rota_time duration)
{
    rota_timeout pause = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&pause, duration);
    int err = rota__suspend_check();
    if (err == 0) {
        struct rota__wait wait = {0};
        s->pausing = &wait;
        err = rota__park(&wait, &pausing, s);
    }
    bool over = rota_timeout_end(&pause) < 0;
    return err == -ETIMEDOUT && over ? 0 : err;
}

static ssize_t send_some(rota_dgram *s, struct mmsghdr *messages, unsigned count)
{
    rota_time pause = ROTA__PAUSE_FIRST;
    ssize_t n;
    while ((n = send_messages(s, messages, count)) == 0) {
        int err = pause_for(s, pause);
        if (err < 0)
            return err;
        pause = rota__pause_after(pause);
    }
    return n;
}

static void address_packet(const rota_packet *packet, struct iovec *iov, struct mmsghdr *message)
{
    *iov = (struct iovec){packet->data, packet->len};
    message->msg_hdr = (struct msghdr){.msg_iov = iov, .msg_iovlen = 1};
    if (packet->address.len) {
        message->msg_hdr.msg_name = (void *)(uintptr_t)&packet->address.any;
        message->msg_hdr.msg_namelen = packet->address.len;
    }
}

/* At most BATCH packets; descriptors go with the first one. */
static int send_batch(rota_dgram *s, const rota_packet *packets, unsigned count,
                      const rota_fds *fds)
{
    struct mmsghdr messages[BATCH];
    struct iovec iovs[BATCH];
    struct rota__fds_room room;
    for (unsigned i = 0; i < count; i++)
        address_packet(&packets[i], &iovs[i], &messages[i]);
    if (fds)
        rota__fds_attach(&messages[0].msg_hdr, fds, &room);
    unsigned sent = 0;
    ssize_t n = 0;
    while (sent < count && (n = send_some(s, messages + sent, count - sent)) > 0)
        sent += (unsigned)n;
    if (sent > 0)
        return (int)sent;
    return n < 0 ? failed(s, (int)n, "send datagram", &packets[0].address) : 0;
}

static int send_all(rota_dgram *s, const rota_packet *packets, size_t count)
{
    size_t sent = 0;
    while (sent < count) {
        unsigned some = count - sent < BATCH ? (unsigned)(count - sent) : BATCH;
        int n = send_batch(s, packets + sent, some, NULL);
        if (n < 0)
            return sent ? (int)sent : n;
        sent += (size_t)n;
        if ((unsigned)n < some)
            break;
    }
    return (int)sent;
}

int rota_dgram_send_many(rota_dgram *s, const rota_packet *packets, size_t count)
{
    if (count == 0 || count > INT_MAX)
        return rota__invalid_argument("send datagrams: no packets, or too many");
    int n = enter_sending(s);
    if (n < 0)
        return n;
    n = send_all(s, packets, count);
    leave_sending(s);
    return n;
}

int rota_dgram_send(rota_dgram *s, const void *buf, size_t len, const rota_address *to)
{
    rota_packet packet;
    packet.data = (void *)(uintptr_t)buf;
    packet.len = len;
    packet.address.len = 0;
    if (to)
        packet.address = *to;
    int n = rota_dgram_send_many(s, &packet, 1);
    return n < 0 ? n : 0;
}

int rota_dgram_send_fds(rota_dgram *s, const rota_packet *packet, const rota_fds *fds)
{
    int n = enter_sending(s);
    if (n < 0)
        return n;
    n = rota__result_plain(rota__fds_check(s->fd.fd, fds));
    if (n == 0)
        n = send_batch(s, packet, 1, fds);
    leave_sending(s);
    return n < 0 ? n : 0;
}

/* ---- The whole */

int rota__dgram_set_buffers(int fd, int receive, int send)
{
    int err = receive < 0 || send < 0 ? -EINVAL : 0; /* the kernel takes it for much */
    if (err == 0 && receive)
        err = rota__socket_set(fd, SOL_SOCKET, SO_RCVBUF, receive);
    if (err == 0 && send)
        err = rota__socket_set(fd, SOL_SOCKET, SO_SNDBUF, send);
    return err;
}

int rota__dgram_new(int fd, const struct rota__unix_file *file, rota_dgram **ret_socket)
{
    rota_dgram *s = rota_zalloc(sizeof *s);
    if (!s)
        return -ENOMEM;
    rota__gate_init(&s->gate);
    rota__list_init(&s->senders);
    s->places = PLACES_MIN;
    s->local.len = sizeof s->local.un;
    int err = (int)rota__sys(ENOBUFS, getsockname(fd, &s->local.any, &s->local.len));
    if (err == 0)
        err = rota__fd_open(&s->fd, s->gate.loop, fd, true);
    if (err < 0) {
        rota_free(s);
        return err;
    }
    s->file = *file;
    *ret_socket = s;
    return 0;
}

const rota_address *rota_dgram_local(const rota_dgram *s)
{
    return &s->local;
}

int rota_dgram_port(const rota_dgram *s)
{
    return rota__address_port(&s->local);
}

static void dgram_shut(rota_dgram *s)
{
    rota__unix_remove(&s->local, &s->file);
    rota__fd_close(&s->fd);
}

/* Called by the last one to leave a socket that was closed or freed where that call could not
 * wait. */
static void emptied_closed(struct rota__gate *gate)
{
    dgram_shut(rota__container_of(gate, rota_dgram, gate));
}

static void emptied_freed(struct rota__gate *gate)
{
    emptied_closed(gate);
    rota_free(rota__container_of(gate, rota_dgram, gate));
}

static void interrupt_all(rota_dgram *s)
{
    struct rota__list *node;
    while ((node = rota__list_take_first(&s->senders)))
        rota__wake(&rota__container_of(node, struct sender, node)->wait, ROTA_ECLOSED);
    if (s->pausing)
        pause_abort(s->pausing, ROTA_ECLOSED);
    for (int direction = 0; direction < 2; direction++) {
        if (s->fd.pending[direction])
            rota__op_withdraw(s->fd.pending[direction]);
    }
}

void rota_dgram_close(rota_dgram *s)
{
    if (rota__gate_close(&s->gate) <= 0)
        return;
    interrupt_all(s);
    if (rota__gate_wait(&s->gate, emptied_closed))
        dgram_shut(s);
    rota__gate_end_closing(&s->gate);
}

rota_dgram *rota_dgram_free(rota_dgram *s)
{
    if (!s)
        return NULL;
    ROTA_KEEP_ERROR;
    rota_dgram_close(s);
    if (!s->gate.closed)
        return NULL;
    if (rota__gate_wait_to_free(&s->gate, emptied_freed)) {
        dgram_shut(s);
        rota_free(s);
    }
    return NULL;
}
