/* The epoll backend.
 *
 * Our descriptors are registered once, edge-triggered, at the first operation that has to wait.
 * Foreign ones (POLL) are registered level-triggered while somebody waits for them, and for a
 * lasting POLL also between two events: an event then costs no epoll_ctl.
 *
 * A descriptor that is both ours and waited for by POLL is registered twice, which takes a second
 * epoll set: `beside`, made for the first of them and itself registered in the first set.
 *
 * 1. Between an attempt that would have blocked and the next event for that direction no attempt is
 *    made: rota__fd.read_drained and write_full say so, and only an event clears them. A read that
 *    was short counts as one that would have blocked, but not once an event has told of the end:
 *    that event may have told of the last bytes, too, and there will be no other. Nor once it has
 *    told of urgent data, at which a read stops though more stands behind.
 * 2. Completing an operation runs no user code (it only makes tasks and callbacks ready), so the
 *    objects that one batch of events points to live until the batch is done. */
#include "base/alloc.h"
#include "base/sys.h"
#include "loop/loop.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define BATCH 256

/* A foreign descriptor that is waited for. */
struct foreign {
    int fd;
    int set; /* the epoll set where it is registered; -1: none */
    uint32_t events;
    struct rota__list ops;  /* pending */
    struct rota__list idle; /* of lasting ones, between two events */
};

struct epoll {
    int fd, beside;
    struct foreign **foreigns; /* by descriptor number */
    size_t foreign_count;
    struct epoll_event events[BATCH];
};

/* What an event carries: a pointer to a descriptor of ours; NULL for the wake-up; or the number of
 * a foreign descriptor, shifted by 2, with this tag; or BESIDE. */
enum { TAG_FOREIGN = 1, BESIDE = 2 };

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
    e->beside = -1;
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
    rota__sys_close(e->beside);
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

static uint32_t events_of(const struct rota__list *ops)
{
    uint32_t events = 0;
    rota__list_each (node, ops) {
        struct rota__op *op = rota__container_of(node, struct rota__op, node);
        events |= (op->events & ROTA_READABLE ? EPOLLIN | EPOLLRDHUP : 0) |
                  (op->events & ROTA_WRITABLE ? EPOLLOUT : 0);
    }
    return events;
}

static int foreign_control(struct foreign *f, int set, int how)
{
    struct epoll_event event = {.events = events_of(&f->ops) | events_of(&f->idle),
                                .data.u64 = (uint64_t)f->fd << 2 | TAG_FOREIGN};
    int err = (int)rota__sys(ENOMEM, epoll_ctl(set, how, f->fd, &event));
    if (err == 0) {
        f->set = set;
        f->events = event.events;
    }
    return err;
}

static int beside_open(struct epoll *e)
{
    if (e->beside >= 0)
        return 0;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = BESIDE};
    int fd = (int)rota__sys(EMFILE, epoll_create1(EPOLL_CLOEXEC));
    int err = fd < 0 ? fd : (int)rota__sys(ENOMEM, epoll_ctl(e->fd, EPOLL_CTL_ADD, fd, &event));
    if (err < 0) {
        rota__sys_close(fd);
        return err;
    }
    e->beside = fd;
    return 0;
}

static int foreign_move_beside(struct epoll *e, struct foreign *f)
{
    int err = beside_open(e);
    if (err == 0)
        err = foreign_control(f, e->beside, EPOLL_CTL_ADD);
    return err;
}

static int foreign_register(struct epoll *e, struct foreign *f)
{
    int err = f->set < 0 ? -ENOENT : foreign_control(f, f->set, EPOLL_CTL_MOD);
    if (err == -ENOENT) /* or closed and reused behind our back */
        err = foreign_control(f, e->fd, EPOLL_CTL_ADD);
    return err == -EEXIST ? foreign_move_beside(e, f) : err;
}

/* Makes the registration fit the operations that are left. */
static void foreign_settle(struct epoll *e, struct foreign *f)
{
    bool used = !rota__list_empty(&f->ops) || !rota__list_empty(&f->idle);
    if (used && f->set >= 0 && (events_of(&f->ops) | events_of(&f->idle)) != f->events)
        foreign_control(f, f->set, EPOLL_CTL_MOD);
    if (used)
        return;
    if (f->set >= 0)
        epoll_ctl(f->set, EPOLL_CTL_DEL, f->fd, NULL); /* fails only if the owner has closed it */
    e->foreigns[f->fd] = NULL;
    rota_free(f);
}

static struct foreign *foreign_of(struct epoll *e, int fd)
{
    return (size_t)fd < e->foreign_count ? e->foreigns[fd] : NULL;
}

static struct foreign *foreign_take(struct epoll *e, int fd)
{
    struct foreign **slot = foreign_slot(e, fd);
    if (!slot || *slot)
        return slot ? *slot : NULL;
    struct foreign *f = rota_zalloc(sizeof *f);
    if (!f)
        return NULL;
    f->fd = fd;
    f->set = -1;
    rota__list_init(&f->ops);
    rota__list_init(&f->idle);
    return *slot = f;
}

static bool foreign_start(struct epoll *e, struct rota__op *op)
{
    struct foreign *f = op->poll_fd >= 0 ? foreign_take(e, op->poll_fd) : NULL;
    op->result = op->poll_fd >= 0 ? -ENOMEM : -EBADF;
    if (!f)
        return true;
    bool idle = op->idle;
    if (idle)
        rota__list_remove(&op->node);
    op->idle = false;
    rota__list_append(&f->ops, &op->node);
    op->result = idle ? 0 : foreign_register(e, f);
    if (op->result == 0)
        return false;
    rota__list_remove(&op->node);
    foreign_settle(e, f);
    return true;
}

/* Which of the events the operation has asked for. That a peer has ended its side is reported to
 * readers only. */
static int result_of(const struct rota__op *op, uint32_t events)
{
    uint32_t gone = EPOLLHUP | EPOLLERR | (op->events & ROTA_READABLE ? EPOLLRDHUP : 0);
    int ready = (events & EPOLLIN ? ROTA_READABLE : 0) | (events & EPOLLOUT ? ROTA_WRITABLE : 0);
    return (ready & op->events) | (events & gone ? ROTA_HANGUP : 0);
}

static void foreign_event(struct epoll *e, struct foreign *f, uint32_t events)
{
    rota__list_each (node, &f->ops) {
        struct rota__op *op = rota__container_of(node, struct rota__op, node);
        int result = result_of(op, events);
        if (!result)
            continue;
        rota__list_remove(node);
        op->idle = op->lasting;
        if (op->idle)
            rota__list_append(&f->idle, node);
        rota__op_complete(op, result);
    }
    foreign_settle(e, f);
}

static void foreign_end(struct epoll *e, struct rota__op *op)
{
    if (!op->pending && !op->idle)
        return;
    op->idle = false;
    rota__list_remove(&op->node);
    foreign_settle(e, e->foreigns[op->poll_fd]);
}

/* ---- Our descriptors */

/* TCP reports room only after a write had to wait. Other sockets report it whenever a receiver has
 * taken something, which would be an event for each datagram, so they are polled for room only
 * while a write waits. */
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

/* The descriptor is also waited for by POLL; that registration makes way. */
static int own_displace(struct epoll *e, struct rota__fd *fd, struct foreign *f, bool room)
{
    int err = foreign_move_beside(e, f);
    if (err < 0)
        return err;
    epoll_ctl(e->fd, EPOLL_CTL_DEL, fd->fd, NULL);
    return own_control(e, fd, EPOLL_CTL_ADD, room);
}

static int own_wait(struct epoll *e, struct rota__op *op)
{
    struct rota__fd *fd = op->fd;
    bool writing = rota__op_direction(op);
    if (fd->registered)
        return writing && tells_too_much(fd) ? own_control(e, fd, EPOLL_CTL_MOD, true) : 0;
    bool room = writing || !tells_too_much(fd);
    int err = own_control(e, fd, EPOLL_CTL_ADD, room);
    struct foreign *f = foreign_of(e, fd->fd);
    if (f && err == 0 && f->set == e->fd)
        f->set = -1; /* of a descriptor that was closed */
    else if (f && err == -EEXIST)
        err = own_displace(e, fd, f, room);
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
    if (op->kind == ROTA__OP_POLL)
        foreign_end(epoll_of(op->loop), op);
    rota__op_complete(op, -ECANCELED);
}

static void epoll_let_go(struct rota__op *op)
{
    foreign_end(epoll_of(op->loop), op);
    if (op->pending)
        rota__op_complete(op, -ECANCELED);
}

static void epoll_forget(struct rota__fd *fd)
{
    /* close(2) alone is not enough if the descriptor was duplicated or inherited. */
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

/* None: the descriptor was closed while it was waited for, and has a duplicate. */
static void foreign_tagged_event(struct epoll *e, const struct epoll_event *event)
{
    struct foreign *f = foreign_of(e, (int)(event->data.u64 >> 2));
    if (f)
        foreign_event(e, f, event->events);
}

/* Events that find no room come again. */
static void beside_event(struct epoll *e)
{
    struct epoll_event events[16];
    int n = (int)rota__sys(EINTR, epoll_wait(e->beside, events, 16, 0));
    for (int i = 0; i < n; i++)
        foreign_tagged_event(e, &events[i]);
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
            foreign_tagged_event(e, &e->events[i]);
        } else if (data == BESIDE) {
            beside_event(e);
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
    .let_go = epoll_let_go,
    .forget = epoll_forget,
    .wait = epoll_backend_wait,
    .pollable = epoll_pollable,
};
