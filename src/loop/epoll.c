/* The epoll backend.
 *
 * Our descriptors are registered once, edge-triggered, at the first operation that has to wait. Foreign
 * ones (POLL) are registered level-triggered while somebody waits for them.
 *
 * 1. Between an attempt that would have blocked and the next event for that direction no attempt is
 *    made: rota__fd.read_drained and write_full say so, and only an event clears them. A read that was
 *    short counts as one that would have blocked, but not once an event has told of the end: that
 *    event may have told of the last bytes, too, and there will be no other. Nor once it has told of
 *    urgent data, at which a read stops though more stands behind.
 * 2. Completing an operation runs no user code (it only makes tasks and callbacks ready), so the
 *    objects that one batch of events points to live until the batch is done. */
#include "base/alloc.h"
#include "base/sys.h"
#include "loop/loop.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define BATCH 256

/* A foreign descriptor that somebody waits for. */
struct foreign {
    int fd;
    struct rota__list ops;
};

struct epoll {
    int fd;
    struct foreign **foreigns; /* by descriptor number */
    size_t foreign_count;
    struct epoll_event events[BATCH];
};

/* What an event's pointer leads to. */
enum { TAG_OWN = 0, TAG_FOREIGN = 1 };

static struct epoll *epoll_of(struct rota__loop *loop)
{
    return loop->backend_state;
}

static int epoll_open(struct rota__loop *loop, bool asked_for)
{
    (void)asked_for;
    struct epoll *e = rota_zalloc(sizeof *e);
    if (!e)
        return -ENOMEM;
    e->fd = (int)rota__sys(EMFILE, epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event wake = {.events = EPOLLIN, .data.ptr = NULL};
    int err =
        e->fd < 0
            ? e->fd
            : (int)rota__sys(ENOMEM, epoll_ctl(e->fd, EPOLL_CTL_ADD, loop->handle->wake_fd, &wake));
    if (err < 0) {
        rota__sys_close(e->fd);
        rota_free(e);
        return err;
    }
    loop->backend_state = e;
    return 0;
}

static void epoll_close(struct rota__loop *loop)
{
    struct epoll *e = epoll_of(loop);
    rota__sys_close(e->fd);
    for (size_t i = 0; i < e->foreign_count; i++)
        rota_free(e->foreigns[i]);
    rota_free(e->foreigns);
    rota_free(e);
}

/* ---- Foreign descriptors */

static struct foreign **foreign_slot(struct epoll *e, int fd)
{
    size_t want = (size_t)fd + 1;
    if (want > e->foreign_count) {
        size_t count = want > 64 ? want + want / 2 : 64;
        struct foreign **grown = rota_resize(e->foreigns, count * sizeof(struct foreign *));
        if (!grown)
            return NULL;
        for (size_t i = e->foreign_count; i < count; i++)
            grown[i] = NULL;
        e->foreigns = grown;
        e->foreign_count = count;
    }
    return &e->foreigns[fd];
}

/* Makes the registration fit the operations that wait. */
static int foreign_update(struct epoll *e, struct foreign *f, int how)
{
    struct epoll_event event = {.data.u64 = (uint64_t)(uintptr_t)f | TAG_FOREIGN};
    rota__list_each (node, &f->ops) {
        struct rota__op *op = rota__container_of(node, struct rota__op, node);
        event.events |= (op->events & ROTA_READABLE ? EPOLLIN | EPOLLRDHUP : 0) |
                        (op->events & ROTA_WRITABLE ? EPOLLOUT : 0);
    }
    int err = (int)rota__sys(ENOMEM, epoll_ctl(e->fd, how, f->fd, &event));
    if (err == -ENOENT && how == EPOLL_CTL_MOD) /* closed and reused behind our back */
        err = (int)rota__sys(ENOMEM, epoll_ctl(e->fd, EPOLL_CTL_ADD, f->fd, &event));
    return err;
}

static void foreign_drop_if_unused(struct epoll *e, struct foreign *f)
{
    if (!rota__list_empty(&f->ops)) {
        foreign_update(e, f, EPOLL_CTL_MOD);
        return;
    }
    epoll_ctl(e->fd, EPOLL_CTL_DEL, f->fd, NULL); /* fails only if the owner has closed it */
    e->foreigns[f->fd] = NULL;
    rota_free(f);
}

static bool foreign_start(struct epoll *e, struct rota__op *op)
{
    struct foreign **slot = op->poll_fd >= 0 ? foreign_slot(e, op->poll_fd) : NULL;
    op->result = op->poll_fd >= 0 ? -ENOMEM : -EBADF;
    if (!slot)
        return true;
    int how = *slot ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (!*slot) {
        *slot = rota_zalloc(sizeof **slot);
        if (!*slot)
            return true;
        (*slot)->fd = op->poll_fd;
        rota__list_init(&(*slot)->ops);
    }
    struct foreign *f = *slot;
    rota__list_append(&f->ops, &op->node);
    op->result = foreign_update(e, f, how);
    if (op->result == 0)
        return false;
    rota__list_remove(&op->node);
    foreign_drop_if_unused(e, f);
    return true;
}

static void foreign_event(struct epoll *e, struct foreign *f, uint32_t events)
{
    int gone = events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) ? ROTA_HANGUP : 0;
    int ready = (events & EPOLLIN ? ROTA_READABLE : 0) | (events & EPOLLOUT ? ROTA_WRITABLE : 0);
    rota__list_each (node, &f->ops) {
        struct rota__op *op = rota__container_of(node, struct rota__op, node);
        int result = (ready & op->events) | gone;
        if (!result)
            continue;
        rota__list_remove(node);
        rota__op_complete(op, result);
    }
    foreign_drop_if_unused(e, f);
}

/* ---- Our descriptors */

/* TCP tells of room when a write has had to wait for it. Other sockets tell whenever something they sent
 * was taken, which would be an event for each datagram: they are asked only while a write waits. */
static bool tells_too_much(const struct rota__fd *fd)
{
    return fd->is_socket && !fd->is_tcp;
}

static int own_control(struct epoll *e, struct rota__fd *fd, int how, bool room)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET |
                                          (room ? EPOLLOUT : 0),
                                .data.ptr = fd};
    return (int)rota__sys(ENOMEM, epoll_ctl(e->fd, how, fd->fd, &event));
}

static int own_wait(struct epoll *e, struct rota__op *op)
{
    struct rota__fd *fd = op->fd;
    bool writing = rota__op_direction(op);
    if (fd->registered)
        return writing && tells_too_much(fd) ? own_control(e, fd, EPOLL_CTL_MOD, true) : 0;
    int err = own_control(e, fd, EPOLL_CTL_ADD, writing || !tells_too_much(fd));
    fd->registered = err == 0;
    return err;
}

static bool epoll_start(struct rota__op *op)
{
    struct epoll *e = epoll_of(op->loop);
    struct rota__fd *fd = op->fd;
    if (op->kind == ROTA__OP_POLL)
        return foreign_start(e, op);
    bool in_vain = fd->registered && (rota__op_direction(op) ? fd->write_full : fd->read_drained);
    op->result = in_vain ? -EAGAIN : rota__op_attempt(op);
    if (op->result != -EAGAIN)
        return true;
    op->result = own_wait(e, op);
    return op->result != 0;
}

static void own_retry(struct rota__op *op)
{
    ssize_t result = op ? rota__op_attempt(op) : -EAGAIN;
    if (result != -EAGAIN)
        rota__op_complete(op, result);
}

static void own_event(struct rota__fd *fd, uint32_t events)
{
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI))
        fd->hung_up = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        fd->read_drained = false;
        own_retry(fd->pending[0]);
    }
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        fd->write_full = false;
        own_retry(fd->pending[1]);
        if ((events & EPOLLOUT) && tells_too_much(fd) && !fd->pending[1])
            own_control(epoll_of(fd->loop), fd, EPOLL_CTL_MOD, false);
    }
}

static void epoll_withdraw(struct rota__op *op)
{
    if (op->kind == ROTA__OP_POLL) {
        struct epoll *e = epoll_of(op->loop);
        rota__list_remove(&op->node);
        foreign_drop_if_unused(e, e->foreigns[op->poll_fd]);
    }
    rota__op_complete(op, -ECANCELED);
}

static void epoll_forget(struct rota__fd *fd)
{
    /* close(2) alone would not do where the descriptor was duplicated or inherited. */
    epoll_ctl(epoll_of(fd->loop)->fd, EPOLL_CTL_DEL, fd->fd, NULL);
}

/* ---- Waiting */

static int wait_events(struct epoll *e, rota_time timeout)
{
    static atomic_bool no_pwait2;
    if (timeout <= 0 || timeout == ROTA_NEVER)
        return (int)rota__sys(EINTR, epoll_wait(e->fd, e->events, BATCH, timeout ? -1 : 0));
    if (!atomic_load_explicit(&no_pwait2, memory_order_relaxed)) {
        struct timespec ts = {timeout / ROTA_SECOND, timeout % ROTA_SECOND};
        int n = (int)rota__sys(EINTR, epoll_pwait2(e->fd, e->events, BATCH, &ts, NULL));
        if (n != -ENOSYS && n != -EPERM)
            return n;
        atomic_store_explicit(&no_pwait2, true, memory_order_relaxed);
    }
    rota_time ms = timeout / ROTA_MILLISECOND + 1; /* too late rather than too early */
    return (int)rota__sys(EINTR,
                          epoll_wait(e->fd, e->events, BATCH, ms > INT_MAX ? INT_MAX : (int)ms));
}

static int epoll_backend_wait(struct rota__loop *loop, rota_time timeout)
{
    struct epoll *e = epoll_of(loop);
    int n = wait_events(e, timeout);
    if (n < 0)
        return n == -EINTR ? 0 : n;
    for (int i = 0; i < n; i++) {
        uint64_t data = e->events[i].data.u64;
        uint32_t events = e->events[i].events;
        if (!data) {
            eventfd_t ignored;
            eventfd_read(loop->handle->wake_fd, &ignored);
        } else if (data & TAG_FOREIGN) {
            foreign_event(e, (struct foreign *)(uintptr_t)(data & ~(uint64_t)TAG_FOREIGN), events);
        } else {
            own_event((struct rota__fd *)(uintptr_t)data, events);
        }
    }
    return 0;
}

static int epoll_pollable(struct rota__loop *loop)
{
    return epoll_of(loop)->fd;
}

const struct rota__backend rota__backend_epoll = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .start = epoll_start,
    .withdraw = epoll_withdraw,
    .forget = epoll_forget,
    .wait = epoll_backend_wait,
    .pollable = epoll_pollable,
};
