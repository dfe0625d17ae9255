/* The same limit over io_uring: multishot accept and receive, a ring of provided buffers,
 * completions run when the thread asks for them (DEFER_TASKRUN), one enter a turn. A buffer goes
 * back to the ring once it has been sent. One message a connection is in flight at a time; were
 * there more, their sends would have to be put in order. */
#include "loopback.h"

#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#define BUFFERS 1024
#define BUFFER_SIZE 4096

enum work { ACCEPT, RECEIVE, SEND };

/* What a completion belongs to, packed into its 64 bits of user data. */
union tag {
    struct {
        int fd;
        unsigned short work;
        unsigned short buffer;
    };
    unsigned long long word;
};

static struct io_uring ring;
static struct io_uring_buf_ring *free_buffers;
static char buffers[BUFFERS][BUFFER_SIZE] __attribute__((aligned(4096)));

static void fail(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, strerror(-err));
    exit(1);
}

static struct io_uring_sqe *next_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (sqe)
        return sqe;
    io_uring_submit(&ring);
    return io_uring_get_sqe(&ring);
}

/* User data is set last: the prep functions clear it. */
static void start_accept(int listener)
{
    union tag tag = {.fd = listener, .work = ACCEPT};
    struct io_uring_sqe *sqe = next_sqe();

    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = tag.word;
}

static void start_receive(int fd)
{
    union tag tag = {.fd = fd, .work = RECEIVE};
    struct io_uring_sqe *sqe = next_sqe();

    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    sqe->user_data = tag.word;
}

static void start_send(int fd, unsigned short buffer, unsigned length)
{
    union tag tag = {.fd = fd, .work = SEND, .buffer = buffer};
    struct io_uring_sqe *sqe = next_sqe();

    io_uring_prep_send(sqe, fd, buffers[buffer], length, MSG_WAITALL | MSG_NOSIGNAL);
    sqe->user_data = tag.word;
}

static void give_buffer(unsigned short buffer)
{
    io_uring_buf_ring_add(free_buffers, buffers[buffer], BUFFER_SIZE, buffer,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(free_buffers, 1);
}

static void received(union tag tag, const struct io_uring_cqe *cqe)
{
    if (cqe->res == 0 || (cqe->res < 0 && cqe->res != -ENOBUFS)) {
        close(tag.fd);
        return;
    }
    if (cqe->res > 0)
        start_send(tag.fd, (unsigned short)(cqe->flags >> IORING_CQE_BUFFER_SHIFT),
                   (unsigned)cqe->res);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        start_receive(tag.fd);
}

static void accepted(union tag tag, const struct io_uring_cqe *cqe)
{
    if (cqe->res >= 0) {
        setsockopt(cqe->res, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        start_receive(cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        start_accept(tag.fd);
}

static void dispatch(const struct io_uring_cqe *cqe)
{
    union tag tag = {.word = cqe->user_data};

    switch (tag.work) {
    case ACCEPT:
        accepted(tag, cqe);
        break;
    case RECEIVE:
        received(tag, cqe);
        break;
    case SEND:
        give_buffer(tag.buffer);
        break;
    }
}

static void provide_buffers(void)
{
    struct io_uring_buf_reg reg = {.ring_entries = BUFFERS, .bgid = 0};

    if (posix_memalign((void **)&free_buffers, 4096, BUFFERS * sizeof(struct io_uring_buf)))
        fail("memory", -ENOMEM);
    reg.ring_addr = (unsigned long)free_buffers;
    int err = io_uring_register_buf_ring(&ring, &reg, 0);
    if (err < 0)
        fail("io_uring_register_buf_ring", err);
    io_uring_buf_ring_init(free_buffers);
    for (unsigned short i = 0; i < BUFFERS; i++)
        give_buffer(i);
}

int main(void)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                     .cq_entries = 4096};
    int err = io_uring_queue_init_params(1024, &ring, &params);
    if (err < 0)
        fail("io_uring_queue_init", err);
    provide_buffers();
    start_accept(loopback_serve(SOCK_STREAM, 0));
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0;
        io_uring_submit_and_wait(&ring, 1);
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            dispatch(cqe);
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
    }
}
