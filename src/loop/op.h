/* Operations: what the loop asks of the kernel. Receive, send, accept, connect, readiness and files
 * all fill one struct; a backend starts, withdraws and completes it, exactly once.
 *
 *     states    idle -> pending -> idle
 *     start     idle -> idle when it could be done at once (returns true, `result` is set)
 *               idle -> pending otherwise (returns false)
 *     done()    called once for each pending operation, by the loop or inside withdraw
 *
 * 1. While an operation is pending the backend may use its buffer and its descriptor.
 * 2. Withdrawing asks; only done() says that the kernel has let go. `result` is then -ECANCELED, or
 *    what the operation achieved all the same.
 * 3. A descriptor of ours has at most one pending operation in each direction (-EBUSY). */
#ifndef ROTA__LOOP_OP_H
#define ROTA__LOOP_OP_H

#include <rota/loop.h>

#include <sys/socket.h>
#include <sys/uio.h>

enum rota__op_kind {
    ROTA__OP_RECV, /* buf, len: recv(2); read(2) on what is not a socket */
    /* addr, addr_len (in/out): accept4 with SOCK_CLOEXEC; result is the descriptor */
    ROTA__OP_ACCEPT,
    ROTA__OP_CALL_IN,  /* call: attempts of the owner's, when it may be readable */
    ROTA__OP_SEND,     /* buf, len: send(2) with MSG_NOSIGNAL; write(2) on what is not a socket */
    ROTA__OP_WRITEV,   /* iov, iov_count: sendmsg(2) with MSG_NOSIGNAL */
    ROTA__OP_CONNECT,  /* addr, *addr_len */
    ROTA__OP_CALL_OUT, /* call: the same when it may be writable */
    ROTA__OP_POLL,     /* events; fd is not ours; result is the events that are ready */
    /* Of files, by number, only where the backend takes_files: */
    ROTA__OP_FILE_READ,  /* file_iov, at file_offset: preadv(2) */
    ROTA__OP_FILE_WRITE, /* the same: pwritev(2); at -1 writev(2) */
    ROTA__OP_FILE_SYNC   /* fsync(2), or with file_data_only fdatasync(2) */
};

struct rota__op;

/* A descriptor that the loop owns. Embedded in sockets and the like. */
struct rota__fd {
    int fd;              /* -1 after close */
    bool is_socket;      /* recv and send; else read and write */
    bool is_tcp;         /* a short read has emptied it: not so with all else */
    bool unblocked;      /* has O_NONBLOCK */
    bool came_unblocked; /* had it when it came */
    bool is_device;      /* neither a socket nor a pipe: backends poll it and attempt */
    bool registered;     /* the backend knows it */
    bool read_drained;   /* the last read was short or would have blocked */
    bool write_full;     /* the last write would have blocked */
    bool hung_up;        /* the end, an error or urgent data is among the data: never drained */
    struct rota__loop *loop;
    struct rota__op *pending[2]; /* [0] RECV, ACCEPT and CALL_IN, [1] the rest */
};

struct rota__op {
    unsigned char kind;
    bool pending;
    bool withdrawn;
    bool taken_back; /* pending, but not in the kernel, because the loop was left */
    bool resumed;    /* was taken back, and is in the kernel again */
    /* a POLL that is started again after each event: the backend may keep it registered */
    bool lasting;
    bool idle; /* lasting, registered, and not pending */
    struct rota__loop *loop;
    struct rota__fd *fd; /* NULL for POLL and files */
    union {
        struct {
            void *buf;
            size_t len;
        };
        struct {
            const struct iovec *iov;
            int iov_count;
        };
        struct {
            struct sockaddr *addr;
            socklen_t *addr_len;
        };
        struct {
            int poll_fd;
            int events;
        };
        /* One attempt, which does not block: a result or -EAGAIN. It may set fd->read_drained, to
         * say that another one would block. Runs no code of users. */
        ssize_t (*call)(struct rota__op *op);
        struct {
            const struct iovec *file_iov;
            int64_t file_offset;
            int file_iov_count;
            int file_fd;
            bool file_data_only;
        };
    };
    struct msghdr msg; /* scratch of the backend, for WRITEV */
    ssize_t result;
    void (*done)(struct rota__op *op);
    void *owner;            /* belongs to the code that set `done` */
    struct rota__list node; /* of the backend */
};

/* Takes over `fd`: sets the mode that the backend needs. The descriptor is closed by rota__fd_close
 * only. Returns 0 or an error of fcntl(2), and then the descriptor is still the caller's. */
int rota__fd_open(struct rota__fd *fd, struct rota__loop *loop, int number, bool is_socket);
/* No operation may be pending: withdraw and wait first. Harmless when closed. */
void rota__fd_close(struct rota__fd *fd);
/* Returns the descriptor to the caller, unregistered; it is -1 afterwards. */
int rota__fd_release(struct rota__fd *fd);

/* Makes a socket non-blocking for good, for calls that have no flag to say so: 0, or an error of
 * fcntl(2). Both backends allow this: io_uring's receive and send use only their own flags. Not for
 * listening sockets. */
int rota__fd_unblock(struct rota__fd *fd);

/* Whether a POLL can wait for it: 0, -EBADF, -EPERM (a regular file or a directory). Both backends
 * refuse the same: io_uring would call a regular file always ready, and finds a closed descriptor
 * only later. */
int rota__fd_check_pollable(int fd);

/* True: done at once, `op->result` is set (also -EBUSY, -EBADF). False: op->done will be called. */
bool rota__op_start(struct rota__op *op);
void rota__op_withdraw(struct rota__op *op);
/* Ends a POLL at once, whether it is pending or idle: when this returns the kernel has let go of
 * the descriptor. Still pending afterwards only if the backend has failed. */
void rota__op_let_go(struct rota__op *op);

/* ---- for backends ---- */

/* One attempt that does not block. Returns the result, or -EAGAIN. */
ssize_t rota__op_attempt(struct rota__op *op);
void rota__op_complete(struct rota__op *op, ssize_t result);
static inline int rota__op_direction(const struct rota__op *op)
{
    return op->kind > ROTA__OP_CALL_IN;
}

#endif
