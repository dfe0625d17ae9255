/* Reading and writing at an offset.
 *
 *     try    what the kernel can do without waiting, on the loop's thread
 *     op     the rest, where the loop's backend takes file operations
 *     job    otherwise the rest: one job until all is moved
 *
 * 1. What was moved is reported, whatever ended the call; only a call that moved nothing fails. */
#include "base/sys.h"
#include "file/file.h"

#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#define WINDOW 16
/* A read that stops because pages are not cached ends at a page boundary; any other short read ends
 * at the end of the file. */
#define PAGE_MIN 4096
/* More than that is not copied on the loop's thread: it would take longer than a job. */
#define COPY_MAX (1 << 20)

static const struct rota__file_wait reading = ROTA__FILE_WAIT("file read");
static const struct rota__file_wait writing = ROTA__FILE_WAIT("file write");
static const struct rota__file_wait syncing = ROTA__FILE_WAIT("file sync");

struct transfer {
    rota_file *file;
    bool write;
    const struct iovec *iov; /* pieces that are left; of the first, `skip` bytes are done */
    int count;
    size_t skip, left;
    int64_t offset; /* of the next byte; -1: wherever the file is appended to */
    size_t done;
};

/* The next pieces, as many as fit. */
static int window(const struct transfer *t, struct iovec *ret_iov)
{
    int n = 0;
    size_t skip = t->skip;
    for (int i = 0; i < t->count && n < WINDOW; i++) {
        ret_iov[n] = (struct iovec){(char *)t->iov[i].iov_base + skip, t->iov[i].iov_len - skip};
        n += ret_iov[n].iov_len > 0;
        skip = 0;
    }
    return n;
}

static void advance(struct transfer *t, size_t moved)
{
    t->done += moved;
    t->left -= moved;
    if (t->offset >= 0)
        t->offset += (int64_t)moved;
    moved += t->skip;
    while (t->left > 0 && moved >= t->iov->iov_len) {
        moved -= t->iov->iov_len;
        t->iov++;
        t->count--;
    }
    t->skip = moved;
}

/* ---- Without waiting */

/* The C library has these calls only in newer versions. On 64 bits an offset is one word. */
static ssize_t move_cached(struct transfer *t, const struct iovec *iov, int n)
{
    long call = t->write ? SYS_pwritev2 : SYS_preadv2;
    return rota__sys(EAGAIN, syscall(call, t->file->fd, iov, n, t->offset, 0L, RWF_NOWAIT));
}

static ssize_t move_waiting(struct transfer *t, const struct iovec *iov, int n)
{
    int fd = t->file->fd;
    if (!t->write)
        return rota__sys(EIO, preadv(fd, iov, n, t->offset));
    return t->offset < 0 ? rota__sys(ENOSPC, writev(fd, iov, n))
                         : rota__sys(ENOSPC, pwritev(fd, iov, n, t->offset));
}

/* Moves what one system call can; `ret_short` says whether that was less than it was asked for. */
static ssize_t move(struct transfer *t,
                    ssize_t (*call)(struct transfer *t, const struct iovec *iov, int n),
                    bool *ret_short)
{
    struct iovec iov[WINDOW];
    size_t asked = 0;
    int n = window(t, iov);
    if (n == 1)
        iov[0].iov_len = rota__sys_shorten(iov[0].iov_len);
    for (int i = 0; i < n; i++)
        asked += iov[i].iov_len;
    ssize_t moved = call(t, iov, n);
    *ret_short = moved >= 0 && (size_t)moved < asked;
    if (moved > 0)
        advance(t, (size_t)moved);
    return moved;
}

static bool *no_try(const struct transfer *t)
{
    return t->write ? &t->file->no_write_try : &t->file->no_read_try;
}

/* 1: the call is over; 0: the rest has to wait; or an error. */
static int try_cached(struct transfer *t)
{
    while (t->left > 0) {
        bool cut;
        ssize_t moved = move(t, move_cached, &cut);
        if (moved == -EOPNOTSUPP || moved == -ENOSYS || moved == -EPERM)
            *no_try(t) = true;
        if (moved == -EAGAIN || moved == -EINTR || *no_try(t))
            return 0;
        if (moved < 0)
            return (int)moved;
        if (moved == 0 || (!t->write && cut && t->offset % PAGE_MIN != 0))
            return 1;
    }
    return 1;
}

/* Until all is moved, or the file or an error ends it. */
static int move_all(struct transfer *t)
{
    while (t->left > 0) {
        bool cut;
        ssize_t moved = move(t, move_waiting, &cut);
        if (moved < 0 && moved != -EINTR)
            return (int)moved;
        if (moved == 0)
            break;
    }
    return 0;
}

static int try_now(struct transfer *t)
{
    if (t->left > COPY_MAX)
        return 0;
    if (t->file->in_memory) {
        int err = move_all(t);
        return err < 0 ? err : 1;
    }
    return *no_try(t) || t->offset < 0 ? 0 : try_cached(t);
}

/* ---- In a thread */

static bool is_in_memory(int fd)
{
    struct statfs about;
    return rota__sys(EIO, fstatfs(fd, &about)) == 0 &&
           (about.f_type == TMPFS_MAGIC || about.f_type == RAMFS_MAGIC);
}

struct transfer_job {
    struct transfer t;
    bool asks_where, in_memory;
};

static int transfer_job(void *arg)
{
    struct transfer_job *job = arg;
    if (job->asks_where)
        job->in_memory = is_in_memory(job->t.file->fd);
    return move_all(&job->t);
}

static int move_by_job(struct transfer *t)
{
    struct transfer_job job = {.t = *t, .asks_where = *no_try(t) && !t->file->asked_where};
    int err = rota__file_hop(transfer_job, &job, t->write ? &writing : &reading);
    *t = job.t;
    if (job.asks_where && err == 0) {
        t->file->asked_where = true;
        t->file->in_memory = job.in_memory;
    }
    return err;
}

/* ---- As an operation */

/* A backend that takes file operations gives up on descriptors that do not block. What has no
 * offset must not get there: a read of a pipe would wait. */
static int make_blocking(rota_file *file)
{
    if (!file->nonblocking)
        return 0;
    if (lseek(file->fd, 0, SEEK_CUR) < 0)
        return -errno;
    int flags = (int)rota__sys(EBADF, fcntl(file->fd, F_GETFL));
    int err =
        flags < 0 ? flags : (int)rota__sys(EBADF, fcntl(file->fd, F_SETFL, flags & ~O_NONBLOCK));
    file->nonblocking = err < 0;
    return err;
}

/* On a virtual clock time stands still until a device has answered, as it does for threads. */
static ssize_t await_op(struct rota__op *op, const struct rota__file_wait *wait)
{
    bool hold = op->loop->virtual_clock;
    if (rota__fault(ROTA__FAULT_SYSCALL))
        return -EIO;
    if (hold)
        rota_loop_hold_threadsafe(op->loop->handle);
    ssize_t result = rota__op_await(op, &wait->op);
    if (hold)
        rota_loop_release_threadsafe(op->loop->handle);
    return result;
}

static int move_by_ops(struct transfer *t)
{
    int err = make_blocking(t->file);
    if (err < 0)
        return err;
    while (t->left > 0) {
        struct iovec iov[WINDOW];
        struct rota__op op = {.kind = t->write ? ROTA__OP_FILE_WRITE : ROTA__OP_FILE_READ,
                              .loop = t->file->gate.loop,
                              .file_fd = t->file->fd,
                              .file_iov = iov,
                              .file_iov_count = window(t, iov),
                              .file_offset = t->offset};
        ssize_t moved = await_op(&op, t->write ? &writing : &reading);
        if (moved == -EAGAIN)
            return move_by_job(t); /* the backend takes no more now */
        if (moved <= 0)
            return (int)moved;
        advance(t, (size_t)moved);
    }
    return 0;
}

/* ---- All of it */

static int transfer(struct transfer *t)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    err = try_now(t);
    if (err != 0) {
        rota__file_done_at_once();
        return err < 0 ? err : 0;
    }
    /* A backend may copy what is cached on the loop's thread; and only a job asks. */
    bool ask = *no_try(t) && !t->file->asked_where;
    bool by_ops = t->file->gate.loop->backend->takes_files && t->left <= COPY_MAX && !ask;
    return by_ops ? move_by_ops(t) : move_by_job(t);
}

static struct transfer prepare(rota_file *file, bool write, const struct iovec *iov, int count,
                               int64_t offset)
{
    struct transfer t = {
        .file = file, .write = write, .iov = iov, .count = count, .offset = offset};
    for (int i = 0; i < count; i++)
        t.left += iov[i].iov_len;
    return t;
}

ssize_t rota__file_read_at(rota_file *file, const struct iovec *iov, int count, int64_t offset)
{
    struct transfer t = prepare(file, false, iov, count, offset);
    int err = transfer(&t);
    return t.done > 0 ? (ssize_t)t.done : err;
}

/* Writes all of `iov`; `ret_done` is how much was written in any case. 0 or an error. */
static int write_at(rota_file *file, const struct iovec *iov, int count, int64_t offset,
                    size_t *ret_done)
{
    struct transfer t = prepare(file, true, iov, count, file->append ? -1 : offset);
    file->written = true;
    int err = transfer(&t);
    *ret_done = t.done;
    return t.left == 0 ? 0 : err < 0 ? err : -EIO;
}

/* ---- At the position */

ssize_t rota_file_readv(rota_file *file, const struct iovec *iov, int count)
{
    int err =
        count < 0 ? rota__invalid_argument("") : rota__file_enter(file, ROTA__FILE_AT_POSITION);
    if (err < 0)
        return rota__file_refused(err, "read", file);
    ssize_t n = rota__buffer_count(&file->ahead)
                    ? rota__file_read_ahead(file, iov, count)
                    : rota__file_read_at(file, iov, count, file->position);
    if (n > 0)
        file->position += n;
    return rota__file_leave(file, ROTA__FILE_AT_POSITION, n, "read");
}

ssize_t rota_file_read(rota_file *file, void *buf, size_t len)
{
    struct iovec iov = {buf, len};
    return rota_file_readv(file, &iov, 1);
}

/* What is appended goes wherever the end is; the descriptor's position tells. */
static void move_position(rota_file *file, size_t written)
{
    int64_t end = file->append && written ? lseek(file->fd, 0, SEEK_CUR) : -1;
    file->position = end >= 0 ? end : file->position + (int64_t)written;
}

int rota_file_writev(rota_file *file, const struct iovec *iov, int count)
{
    size_t done = 0;
    int err =
        count < 0 ? rota__invalid_argument("") : rota__file_enter(file, ROTA__FILE_AT_POSITION);
    if (err < 0)
        return rota__file_refused(err, "write", file);
    rota__file_drop_ahead(file);
    err = write_at(file, iov, count, file->position, &done);
    file->progress = done;
    move_position(file, done);
    return (int)rota__file_leave(file, ROTA__FILE_AT_POSITION, err, "write");
}

int rota_file_write(rota_file *file, const void *buf, size_t len)
{
    struct iovec iov = {(void *)buf, len};
    return rota_file_writev(file, &iov, 1);
}

/* ---- Elsewhere */

ssize_t rota_file_preadv(rota_file *file, const struct iovec *iov, int count, int64_t offset)
{
    int err = offset < 0 || count < 0 ? rota__invalid_argument("")
                                      : rota__file_enter(file, ROTA__FILE_ELSEWHERE);
    if (err < 0)
        return rota__file_refused(err, "read", file);
    ssize_t n = rota__file_read_at(file, iov, count, offset);
    return rota__file_leave(file, ROTA__FILE_ELSEWHERE, n, "read");
}

ssize_t rota_file_pread(rota_file *file, void *buf, size_t len, int64_t offset)
{
    struct iovec iov = {buf, len};
    return rota_file_preadv(file, &iov, 1, offset);
}

int rota_file_pwritev(rota_file *file, const struct iovec *iov, int count, int64_t offset)
{
    size_t done = 0;
    int err = offset < 0 || count < 0 ? rota__invalid_argument("")
                                      : rota__file_enter(file, ROTA__FILE_ELSEWHERE);
    if (err < 0)
        return rota__file_refused(err, "write", file);
    err = write_at(file, iov, count, offset, &done);
    file->progress = done;
    return (int)rota__file_leave(file, ROTA__FILE_ELSEWHERE, err, "write");
}

int rota_file_pwrite(rota_file *file, const void *buf, size_t len, int64_t offset)
{
    struct iovec iov = {(void *)buf, len};
    return rota_file_pwritev(file, &iov, 1, offset);
}

size_t rota_file_progress(const rota_file *file)
{
    return file->progress;
}

/* ---- To the disk */

struct sync_job {
    int fd;
    bool data_only;
};

static int sync_job(void *arg)
{
    struct sync_job *job = arg;
    return (int)rota__sys(EIO, job->data_only ? fdatasync(job->fd) : fsync(job->fd));
}

static int sync_by_op(rota_file *file, bool data_only)
{
    int err = make_blocking(file);
    struct rota__op op = {.kind = ROTA__OP_FILE_SYNC,
                          .loop = file->gate.loop,
                          .file_fd = file->fd,
                          .file_data_only = data_only};
    return err < 0 ? err : (int)await_op(&op, &syncing);
}

static int file_sync(rota_file *file, bool data_only)
{
    struct sync_job job = {file->fd, data_only};
    int err = rota__file_enter_for(file, ROTA__FILE_ELSEWHERE, "rota_file_sync");
    if (err < 0)
        return rota__file_refused(err, "sync", file);
    err = file->gate.loop->backend->takes_files ? sync_by_op(file, data_only)
                                                : rota__file_hop(sync_job, &job, &syncing);
    return (int)rota__file_leave(file, ROTA__FILE_ELSEWHERE, err, "sync");
}

int rota_file_sync(rota_file *file)
{
    return file_sync(file, false);
}

int rota_file_sync_data(rota_file *file)
{
    return file_sync(file, true);
}
