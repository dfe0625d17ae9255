/* The io_uring backend.
 *
 * Operations that could not be done at once become submissions; the kernel is entered at most once
 * a turn, with the next timer as its timeout: a turn that does not wait looks first whether there
 * is a reason to. The wake-up descriptor is watched by a poll that is renewed each time.
 *
 *     start: queue a submission     withdraw: queue a cancellation     completion:
 *                                                                      rota__op_complete
 *
 * A loop that is left takes its operations back: they are cancelled, and those that the
 * cancellation ended are handed over again when the loop is entered. What had a result has it.
 *
 *     in the kernel (`sent`) --uring_leave, complete--> taken back (`kept`) --send_kept--> in the
 *     kernel
 *
 * 1. An operation is pending from its submission to its completion, also after it was withdrawn, so
 *    a buffer on a stack is safe: nobody returns before the completion.
 * 2. A submission's user_data is the operation, or one of the small numbers below.
 * 3. A ring is used by the thread that opened it: another one that enters the loop opens a new one.
 *    The kernel refuses other threads, and ends the operations of a thread that exits.
 * 4. Sockets and pipes of ours are in blocking mode: io_uring gives up with EAGAIN on others.
 *    Terminals and other devices are not, and are only polled here, then attempted: the kernel
 *    itself would make a write as soon as there is some room, and wait for more in the middle of a
 *    submission (6.18). */
#include "base/alloc.h"
#include "base/sys.h"
#include "coro/coro.h"
#include "loop/loop.h"

#include <liburing.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#if ROTA__TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define ENTRIES 256
#define COMPLETIONS 4096
/* Until withdrawals are asked for again that the kernel did not take. */
#define UNASKED_PAUSE ROTA_MILLISECOND
/* Between two polls for room at a peer that sends no more. */
#define ROOM_PAUSE (10 * ROTA_MILLISECOND)

enum { DATA_IGNORED, DATA_WAKE, DATA_SMALL };

/* Since 6.15; liburing's headers may be older. */
#define FEAT_NO_IOWAIT (1U << 17)
#define ENTER_NO_IOWAIT (1U << 7)

/* Without NODROP completions could be lost; without EXT_ARG a timeout would be an operation. */
#define FEATS_NEEDED (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG)

struct uring {
    struct io_uring ring;
    unsigned wait_flags;    /* for an enter that may sleep */
    uint16_t recv_flags;    /* for a receive that has been tried, or need not be */
    struct rota__list sent; /* operations in the kernel */
    /* the same, of which the kernel has still to be told that they are withdrawn */
    struct rota__list unasked;
    struct rota__list kept; /* taken back, or not handed over again yet */
    size_t kept_count;
    rota_time kept_until; /* CLOCK_MONOTONIC; 0: they may be handed over at once */
    bool leaving;
    uint64_t thread; /* whose ring it is */
    int notify_fd;   /* made readable by completions, once it was asked for; -1 */
    bool wake_armed;
};

static struct uring *uring_of(struct rota__loop *loop)
{
    return loop->backend_state;
}

/* The entries of the submission queue in their order, once and for all: so enter() may hand over
 * new ones by moving the tail. Newer versions of liburing have no such array. */
static void ring_map(struct io_uring *ring)
{
    for (unsigned i = 0; ring->sq.array && i < ring->sq.ring_entries; i++)
        ring->sq.array[i] = i;
}

/* liburing maps and unmaps by bare system calls. So ThreadSanitizer has to be told that a ring
 * which lies where another thread's was is a new one. */
#if ROTA__TSAN
static char rings;
#define RING_BEGINS() __tsan_acquire(&rings)
#define RING_ENDS() __tsan_release(&rings)
#else
#define RING_BEGINS() ((void)0)
#define RING_ENDS() ((void)0)
#endif

/* The flags that the kernel may know, best first: 6.1, 6.0, 5.19, 5.11. */
static int ring_open(struct io_uring *ring, unsigned wanted)
{
    static const unsigned degrees[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
            IORING_SETUP_CLAMP,
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
            IORING_SETUP_CLAMP,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CLAMP,
        0,
    };
    int err = -ENOSYS;
    for (size_t i = 0; i < sizeof degrees / sizeof degrees[0]; i++) {
        struct io_uring_params params = {.flags = degrees[i] | IORING_SETUP_CQSIZE,
                                         .cq_entries = COMPLETIONS};
        err = rota__fault(ROTA__FAULT_SYSCALL) ? -EPERM
                                               : io_uring_queue_init_params(ENTRIES, ring, &params);
        if (err < 0 && err != -EINVAL)
            return err;
        if (err < 0)
            continue;
        if ((params.features & wanted) == wanted) {
            RING_BEGINS();
            ring_map(ring);
            return 0;
        }
        io_uring_queue_exit(ring);
        return -ENOSYS;
    }
    return err;
}

/* NULL only when the kernel does not take what is queued. */
static struct io_uring_sqe *next_sqe(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (!sqe && io_uring_submit(&u->ring) > 0)
        sqe = io_uring_get_sqe(&u->ring);
    return sqe;
}

static void arm_wake(struct rota__loop *loop)
{
    struct uring *u = uring_of(loop);
    struct io_uring_sqe *sqe = u->wake_armed ? NULL : next_sqe(u);
    if (!sqe)
        return;
    io_uring_prep_poll_add(sqe, loop->handle->wake_fd, POLLIN);
    sqe->user_data = DATA_WAKE;
    u->wake_armed = true;
}

/* Unless it was asked for, the ring is opened only where it is not worse than epoll. Before 6.15 a
 * thread that sleeps in a ring counts as one that waits for a disk, and monitors show a core at its
 * limit. Reads of pipes took a thread each before 6.4. Valgrind (3.19) lets no other thread run
 * meanwhile, and does not know what the kernel has written. */
static int uring_open(struct rota__loop *loop, bool asked_for)
{
    if (!asked_for && loop->stacks.on_valgrind)
        return -ENOSYS;
    struct uring *u = rota_zalloc(sizeof *u);
    if (!u)
        return -ENOMEM;
    u->notify_fd = -1;
    u->thread = rota__thread_serial();
    rota__list_init(&u->sent);
    rota__list_init(&u->unasked);
    rota__list_init(&u->kept);
    int err = ring_open(&u->ring, FEATS_NEEDED | (asked_for ? 0 : FEAT_NO_IOWAIT));
    if (err < 0) {
        rota_free(u);
        return err;
    }
    if (u->ring.features & FEAT_NO_IOWAIT)
        u->wait_flags = ENTER_NO_IOWAIT;
    if (u->ring.flags & IORING_SETUP_TASKRUN_FLAG) /* both came with 5.19 */
        u->recv_flags = IORING_RECVSEND_POLL_FIRST;
    loop->backend_state = u;
    return 0;
}

static void uring_close(struct rota__loop *loop)
{
    struct uring *u = uring_of(loop);
    rota__sys_close(u->notify_fd);
    RING_ENDS();
    io_uring_queue_exit(&u->ring);
    rota_free(u);
}

static unsigned poll_mask(int events)
{
    return (events & ROTA_READABLE ? POLLIN | POLLRDHUP : 0) |
           (events & ROTA_WRITABLE ? POLLOUT : 0);
}

/* The kernel tells when it may be attempted, here. A connection that was begun goes on without its
 * operation, and cannot be begun again. */
static bool is_attempted(const struct rota__op *op)
{
    return op->kind == ROTA__OP_CALL_IN || op->kind == ROTA__OP_CALL_OUT ||
           (op->fd && op->fd->is_device) || (op->kind == ROTA__OP_CONNECT && op->resumed);
}

static inline void fill(struct rota__op *op, struct io_uring_sqe *sqe)
{
    int fd = op->fd ? op->fd->fd : -1;
    if (is_attempted(op)) {
        io_uring_prep_poll_add(sqe, fd, rota__op_direction(op) ? POLLOUT : POLLIN | POLLRDHUP);
        return;
    }
    switch ((enum rota__op_kind)op->kind) {
    case ROTA__OP_RECV:
        if (op->fd->is_socket) {
            io_uring_prep_recv(sqe, fd, op->buf, op->len, 0);
            sqe->ioprio = uring_of(op->loop)->recv_flags;
        } else {
            io_uring_prep_read(sqe, fd, op->buf, (unsigned)op->len, (uint64_t)-1);
        }
        break;
    case ROTA__OP_SEND:
        if (op->fd->is_socket)
            io_uring_prep_send(sqe, fd, op->buf, op->len, MSG_NOSIGNAL);
        else
            io_uring_prep_write(sqe, fd, op->buf, (unsigned)op->len, (uint64_t)-1);
        break;
    case ROTA__OP_WRITEV:
        op->msg = (struct msghdr){.msg_iov = (struct iovec *)op->iov,
                                  .msg_iovlen = (size_t)op->iov_count};
        if (op->fd->is_socket)
            io_uring_prep_sendmsg(sqe, fd, &op->msg, MSG_NOSIGNAL);
        else
            io_uring_prep_writev(sqe, fd, op->iov, (unsigned)op->iov_count, (uint64_t)-1);
        break;
    case ROTA__OP_ACCEPT:
        io_uring_prep_accept(sqe, fd, op->addr, op->addr_len, SOCK_CLOEXEC);
        break;
    case ROTA__OP_CONNECT:
        io_uring_prep_connect(sqe, fd, op->addr, *op->addr_len);
        break;
    case ROTA__OP_CALL_IN:
    case ROTA__OP_CALL_OUT:
        break;
    case ROTA__OP_POLL:
        io_uring_prep_poll_add(sqe, op->poll_fd, poll_mask(op->events));
        break;
    case ROTA__OP_FILE_READ:
        io_uring_prep_readv(sqe, op->file_fd, op->file_iov, (unsigned)op->file_iov_count,
                            (uint64_t)op->file_offset);
        break;
    case ROTA__OP_FILE_WRITE:
        io_uring_prep_writev(sqe, op->file_fd, op->file_iov, (unsigned)op->file_iov_count,
                             (uint64_t)op->file_offset);
        break;
    case ROTA__OP_FILE_SYNC:
        io_uring_prep_fsync(sqe, op->file_fd, op->file_data_only ? IORING_FSYNC_DATASYNC : 0);
        break;
    }
}

static inline void prepare(struct rota__op *op, struct io_uring_sqe *sqe)
{
    fill(op, sqe);
    sqe->user_data = (uint64_t)(uintptr_t)op;
    rota__list_append(&uring_of(op->loop)->sent, &op->node);
}

/* Only a receive that is likely to find something. Sends go with all that the turn has gathered, in
 * one enter: a system call each, which seldom would block, cost a tenth of an echo server's
 * time. */
static bool may_try(const struct rota__op *op)
{
    if (is_attempted(op))
        return !(rota__op_direction(op) ? op->fd->write_full : op->fd->read_drained);
    return op->kind == ROTA__OP_RECV && op->fd->is_socket && !op->fd->read_drained;
}

static bool uring_start(struct rota__op *op)
{
    op->result = may_try(op) ? rota__op_attempt(op) : -EAGAIN;
    if (op->result != -EAGAIN)
        return true;
    op->result = op->kind == ROTA__OP_POLL && op->poll_fd < 0 ? -EBADF : 0;
    struct io_uring_sqe *sqe = op->result ? NULL : next_sqe(uring_of(op->loop));
    if (!sqe) {
        op->result = op->result ? op->result : -EAGAIN;
        return true;
    }
    prepare(op, sqe);
    return false;
}

static bool ask_to_cancel(struct uring *u, struct rota__op *op)
{
    struct io_uring_sqe *sqe = rota__fault(ROTA__FAULT_SYSCALL) ? NULL : next_sqe(u);
    if (!sqe)
        return false;
    io_uring_prep_cancel(sqe, op, 0);
    sqe->user_data = DATA_IGNORED;
    return true;
}

static void uring_withdraw(struct rota__op *op)
{
    struct uring *u = uring_of(op->loop);
    if (op->taken_back) {
        rota__list_remove(&op->node);
        u->kept_count--;
        rota__op_complete(op, -ECANCELED);
    } else if (!ask_to_cancel(u, op)) {
        rota__list_remove(&op->node);
        rota__list_append(&u->unasked, &op->node);
    }
}

static void uring_let_go(struct rota__op *op)
{
    rota__op_withdraw(op);
    for (rota_time pause = 0; op->pending; pause = UNASKED_PAUSE) {
        if (rota__loop_wait(op->loop, pause) < 0)
            return;
    }
}

/* False: some are left, for which nothing will wake the loop. */
static bool ask_again(struct uring *u)
{
    rota__list_each (node, &u->unasked) {
        if (!ask_to_cancel(u, rota__container_of(node, struct rota__op, node)))
            return false;
        rota__list_remove(node);
        rota__list_append(&u->sent, node);
    }
    return true;
}

static rota_time monotonic(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * ROTA_SECOND + ts.tv_nsec;
}

/* False as above. */
static bool send_kept(struct uring *u)
{
    if (u->kept_until && monotonic() < u->kept_until)
        return false;
    u->kept_until = 0;
    rota__list_each (node, &u->kept) {
        struct rota__op *op = rota__container_of(node, struct rota__op, node);
        struct io_uring_sqe *sqe = next_sqe(u);
        if (!sqe)
            return false;
        rota__list_remove(node);
        u->kept_count--;
        op->taken_back = false;
        op->resumed = true;
        prepare(op, sqe);
    }
    return true;
}

/* Pending operations are withdrawn and awaited before a descriptor is closed: nothing to forget. */
static void uring_forget(struct rota__fd *fd)
{
    (void)fd;
}

/* Readers are told that a peer has ended its side, as with epoll. */
static ssize_t poll_result(const struct rota__op *op, unsigned mask)
{
    unsigned gone = POLLHUP | POLLERR | (op->events & ROTA_READABLE ? POLLRDHUP : 0);
    int result = (mask & POLLIN ? ROTA_READABLE : 0) | (mask & POLLOUT ? ROTA_WRITABLE : 0);
    return (result & op->events) | (mask & gone ? ROTA_HANGUP : 0);
}

static void keep(struct uring *u, struct rota__op *op)
{
    op->taken_back = true;
    rota__list_append(&u->kept, &op->node);
    u->kept_count++;
}

/* False: it has a result, or was withdrawn. */
static bool take_back(struct uring *u, struct rota__op *op, int res)
{
    if (op->withdrawn || (res != -ECANCELED && res != -EINTR))
        return false;
    keep(u, op);
    return true;
}

static bool waits_for_room(const struct rota__op *op)
{
    return op->kind == ROTA__OP_POLL ? !(op->events & ROTA_READABLE)
                                     : is_attempted(op) && rota__op_direction(op);
}

/* The kernel ends each poll when the peer sends no more, also one for room only (POLLRDHUP cannot
 * be left out, 6.18). It would do so at once each time. So such a poll is made again after a
 * pause. */
static bool polled_in_vain(struct uring *u, struct rota__op *op, int res)
{
    if (res != POLLRDHUP || op->withdrawn || !waits_for_room(op))
        return false;
    keep(u, op);
    if (!u->kept_until)
        u->kept_until = monotonic() + ROOM_PAUSE;
    return true;
}

static void complete(struct uring *u, struct rota__op *op, int res)
{
    ssize_t result = res;
    rota__list_remove(&op->node);
    if (polled_in_vain(u, op, res) || (u->leaving && take_back(u, op, res)))
        return;
    if (op->kind == ROTA__OP_RECV)
        op->fd->read_drained = res > 0 && (size_t)res < op->len;
    if (op->kind == ROTA__OP_POLL && res > 0)
        result = poll_result(op, (unsigned)res);
    if (is_attempted(op) && res > 0)
        result = op->withdrawn ? -ECANCELED : rota__op_attempt(op);
    if (res == -EINTR && !op->withdrawn)
        result = -EAGAIN;
    if (res == -EINTR && op->withdrawn)
        result = -ECANCELED;
    rota__op_complete(op, result);
}

static void reap(struct rota__loop *loop)
{
    struct uring *u = uring_of(loop);
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
        uint64_t data = cqe->user_data;
        int res = cqe->res;
        io_uring_cqe_seen(&u->ring, cqe);
        if (data == DATA_WAKE) {
            eventfd_t ignored;
            eventfd_read(loop->handle->wake_fd, &ignored);
            u->wake_armed = false;
        } else if (data >= DATA_SMALL) {
            complete(u, (struct rota__op *)(uintptr_t)data, res);
        }
    }
}

/* The kernel signals a completion that was caused by writing another eventfd to ours through RCU,
 * and only once for each registration (seen with Linux 6.18). */
static void renew_notification(struct uring *u)
{
    eventfd_t ignored;
    if (eventfd_read(u->notify_fd, &ignored) < 0)
        return;
    io_uring_unregister_eventfd(&u->ring);
    io_uring_register_eventfd(&u->ring, u->notify_fd);
}

/* The shared memory tells whether the kernel has something to take or to give. Before 5.19, where
 * the flag for deferred work is missing, no work is deferred. */
static bool ring_quiet(const struct io_uring *ring)
{
    unsigned flags = IO_URING_READ_ONCE(*ring->sq.kflags);
    return !io_uring_sq_ready(ring) && !io_uring_cq_ready(ring) &&
           !(flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

/* Hands over what is queued and waits for a completion: liburing's functions do not take
 * wait_flags. */
static int enter(struct uring *u, rota_time timeout)
{
    struct io_uring_sq *sq = &u->ring.sq;
    struct __kernel_timespec ts = {timeout / ROTA_SECOND, timeout % ROTA_SECOND};
    struct io_uring_getevents_arg arg = {
        .ts = timeout == ROTA_NEVER ? 0 : (uint64_t)(uintptr_t)&ts,
    };
    unsigned count = io_uring_sq_ready(&u->ring);
    sq->sqe_head = sq->sqe_tail;
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    return io_uring_enter2((unsigned)u->ring.enter_ring_fd, count, io_uring_cq_ready(&u->ring) == 0,
                           IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | u->wait_flags,
                           (sigset_t *)&arg, sizeof arg);
}

static int uring_wait(struct rota__loop *loop, rota_time timeout)
{
    struct uring *u = uring_of(loop);
    arm_wake(loop);
    rota_time limit = ROTA_NEVER; /* what is left over is tried again then */
    if (!ask_again(u))
        limit = UNASKED_PAUSE;
    else if (!rota__list_empty(&u->kept) && !u->leaving && !send_kept(u))
        limit = ROOM_PAUSE;
    if (timeout > limit)
        timeout = limit;
    if (u->notify_fd >= 0)
        renew_notification(u);
    int err;
    if (timeout != 0 && rota__fault(ROTA__FAULT_SYSCALL))
        err = -EINTR;
    else if (timeout == 0)
        err = ring_quiet(&u->ring) ? 0 : io_uring_submit_and_get_events(&u->ring);
    else
        err = enter(u, timeout);
    reap(loop);
    if (u->notify_fd >= 0 && !u->wake_armed) { /* this may not run again before the next post */
        arm_wake(loop);
        io_uring_submit(&u->ring);
    }
    /* Cut short: completions may be left that will not notify again. Or a foreign loop has to come
     * back. */
    if (u->notify_fd >= 0 && ((err < 0 && err != -ETIME) || limit != ROTA_NEVER))
        eventfd_write(u->notify_fd, 1);
    /* EBUSY and EAGAIN: the kernel wants completions taken or memory freed first. */
    if (err < 0 && err != -ETIME && err != -EINTR && err != -EBUSY && err != -EAGAIN)
        return err;
    return 0;
}

static int uring_leave(struct rota__loop *loop)
{
    struct uring *u = uring_of(loop);
    int err = 0;
    u->leaving = true;
    rota__list_splice(&u->unasked, &u->sent);
    while (err == 0 && loop->pending_ops > u->kept_count)
        err = rota__loop_wait(loop, ROTA_SECOND);
    u->leaving = false;
    return err;
}

/* Nothing is in the old ring but the poll of wake_fd. */
static int ring_renew(struct uring *u)
{
    struct io_uring ring;
    int err = ring_open(&ring, FEATS_NEEDED);
    if (err < 0)
        return err;
    err = u->notify_fd < 0 ? 0 : io_uring_register_eventfd(&ring, u->notify_fd);
    if (err < 0) {
        RING_ENDS();
        io_uring_queue_exit(&ring);
        return err;
    }
    RING_ENDS();
    io_uring_queue_exit(&u->ring);
    u->ring = ring;
    u->thread = rota__thread_serial();
    u->wake_armed = false;
    return 0;
}

static int uring_enter(struct rota__loop *loop)
{
    struct uring *u = uring_of(loop);
    int err = u->thread == rota__thread_serial() ? 0 : ring_renew(u);
    if (err == 0)
        send_kept(u);
    return err;
}

static int uring_pollable(struct rota__loop *loop)
{
    struct uring *u = uring_of(loop);
    if (u->notify_fd >= 0)
        return u->notify_fd;
    int fd = (int)rota__sys(EMFILE, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    int err = fd < 0 ? fd : io_uring_register_eventfd(&u->ring, fd);
    if (err < 0) {
        rota__sys_close(fd);
        return err;
    }
    return u->notify_fd = fd;
}

const struct rota__backend rota__backend_uring = {
    .name = "io_uring",
    .blocking_fds = true,
    .takes_files = true,
    .open = uring_open,
    .close = uring_close,
    .start = uring_start,
    .withdraw = uring_withdraw,
    .let_go = uring_let_go,
    .forget = uring_forget,
    .wait = uring_wait,
    .pollable = uring_pollable,
    .leave = uring_leave,
    .enter = uring_enter,
};
