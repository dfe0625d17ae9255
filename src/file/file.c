/* Files as objects: opening, calls under way, the position, closing. */
#include "file/file.h"
#include "base/alloc.h"
#include "base/sys.h"

#include <stdio.h>
#include <string.h>

static const struct rota__file_wait opening = ROTA__FILE_WAIT("file open");
static const struct rota__file_wait closing = ROTA__FILE_WAIT("file close");
static const struct rota__file_wait asking = ROTA__FILE_WAIT("file status");
static const struct rota__file_wait cutting = ROTA__FILE_WAIT("file truncation");

/* ---- Failures */

int64_t rota__file_failed(int64_t err, const char *call, const rota_file *file)
{
    if (err == ROTA_ELIMIT)
        return rota_error_set((int)err, "%s %s: longer than %zu bytes (rota_file_set_limit)", call,
                              file->name, rota__file_line_limit(file));
    return err < 0 ? rota__path_failed((int)err, call, file->name) : err;
}

int rota__file_refused(int err, const char *call, const rota_file *file)
{
    if (err == -EBUSY)
        return rota_error_set(err, "%s %s: another task is using the file position", call,
                              file->name);
    return rota__path_failed(err, call, file->name);
}

/* ---- Being inside */

int rota__file_enter_for(rota_file *file, unsigned char how, const char *call)
{
    if (how == ROTA__FILE_ELSEWHERE && file->elsewhere > 0 && !file->gate.closed &&
        rota__gate_is_here(&file->gate)) {
        file->elsewhere++;
        return 0;
    }
    int err = rota__gate_enter_for(&file->gate, how, call);
    if (err == 0 && how == ROTA__FILE_ELSEWHERE)
        file->elsewhere = 1;
    return err;
}

int64_t rota__file_leave(rota_file *file, unsigned char how, int64_t result, const char *call)
{
    rota__file_failed(result, call, file);
    if (how != ROTA__FILE_ELSEWHERE || --file->elsewhere == 0)
        rota__gate_leave(&file->gate, how);
    return result;
}

/* ---- Opening */

static rota_file *file_new(const char *kind, const char *name)
{
    size_t kind_size = strlen(kind), size = strlen(name) + 1;
    rota_file *file = rota_zalloc(sizeof *file + kind_size + size);
    if (!file)
        return NULL;
    memcpy(file->name, kind, kind_size);
    memcpy(file->name + kind_size, name, size);
    rota__gate_init(&file->gate);
    file->fd = -1;
    return file;
}

/* `fd` is a descriptor or an error. */
static int file_opened(rota_file *file, int fd, int flags, rota_file **ret_file)
{
    if (fd < 0) {
        rota_free(file);
        return fd;
    }
    file->fd = fd;
    file->append = flags & O_APPEND;
    file->nonblocking = true;
    *ret_file = file;
    return 0;
}

int rota_file_open(const char *path, int flags, mode_t mode, rota_file **ret_file)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    rota_file *file = file_new("", path);
    if (!file)
        return rota__path_failed(-ENOMEM, "open", path);
    int fd = rota__open(path, flags, mode ? mode : 0666, &opening);
    return rota__path_failed(file_opened(file, fd, flags, ret_file), "open", path);
}

static int not_taken(int fd, int err)
{
    return rota_error_set(err, "take descriptor %d as a file: %s", fd, rota_strerror(err));
}

int rota_file_from_fd(int fd, rota_file **ret_file)
{
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    int flags = (int)rota__sys(EBADF, fcntl(fd, F_GETFL));
    if (flags < 0)
        return not_taken(fd, flags);
    int64_t position = rota__sys(ESPIPE, lseek(fd, 0, SEEK_CUR));
    if (position < 0)
        return not_taken(fd, (int)position);
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    rota_file *file = file_new("descriptor ", number);
    if (!file)
        return rota__error_plain(-ENOMEM);
    file->fd = fd;
    file->append = flags & O_APPEND;
    file->nonblocking = flags & O_NONBLOCK;
    file->position = position;
    *ret_file = file;
    return 0;
}

/* ---- Temporary files */

struct temp_job {
    const char *directory;
    int fd;
};

/* Where the file system has no nameless files, the name is removed at once. */
static int open_named_temp(const char *directory)
{
    char path[4096], name[32];
    for (int tries = 0; tries < 100; tries++) {
        rota__temp_name("rota", name, sizeof name);
        if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path)
            return -ENAMETOOLONG;
        int fd = rota__open_blocking(path, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd >= 0)
            unlink(path);
        if (fd != -EEXIST)
            return fd;
    }
    return -EEXIST;
}

static int temp_job(void *arg)
{
    struct temp_job *job = arg;
    job->fd = rota__fault(ROTA__FAULT_SYSCALL)
                  ? -EOPNOTSUPP
                  : rota__open_blocking(job->directory, O_TMPFILE | O_RDWR | O_EXCL, 0600);
    /* EISDIR, ENOENT: kernels and file systems that do not know O_TMPFILE see the rest of its
     * bits. */
    if (job->fd == -EOPNOTSUPP || job->fd == -EISDIR || job->fd == -ENOENT || job->fd == -EINVAL)
        job->fd = open_named_temp(job->directory);
    return job->fd;
}

int rota_file_temp(const char *directory, rota_file **ret_file)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    struct temp_job job = {.directory = rota__temp_directory(directory)};
    rota_file *file = file_new("a temporary file in ", job.directory);
    if (!file)
        return rota__error_plain(-ENOMEM);
    int fd = rota__file_hop(temp_job, &job, &opening);
    if (fd >= 0)
        file->written = true; /* closing frees its blocks */
    return rota__path_failed(file_opened(file, fd, O_RDWR, ret_file), "make a temporary file in",
                             job.directory);
}

/* ---- Closing */

static int close_fd(int fd)
{
    int err = fd < 0 || close(fd) == 0 ? 0 : -errno;
    if (rota__fault(ROTA__FAULT_SYSCALL))
        err = -EIO;
    return err == -EINTR ? 0 : err; /* the descriptor is closed even then */
}

struct close_job {
    int fd; /* -1 once it is closed */
    int result;
};

static int close_job(void *arg)
{
    struct close_job *job = arg;
    job->result = close_fd(job->fd);
    job->fd = -1;
    return 0;
}

/* Closing a file that was only read just frees memory. One that was written may have to be sent
 * to a server first, or, if its name is gone, its blocks are to be freed. */
static int file_shut(rota_file *file)
{
    struct close_job job = {.fd = file->fd};
    file->fd = -1;
    rota__buffer_fini(&file->ahead);
    if (file->written && job.fd >= 0 && rota__task_here()) {
        ROTA_SHIELD
        {
            rota__file_hop(close_job, &job, &closing);
        }
    }
    if (job.fd >= 0)
        close_job(&job);
    return job.result;
}

static void file_emptied_closed(struct rota__gate *gate)
{
    file_shut(rota__container_of(gate, rota_file, gate));
}

static void file_release(rota_file *file)
{
    file_shut(file);
    rota_free(file);
}

static void file_emptied_freed(struct rota__gate *gate)
{
    file_release(rota__container_of(gate, rota_file, gate));
}

int rota_file_close(rota_file *file)
{
    int err = rota__gate_close(&file->gate);
    if (err <= 0)
        return err;
    err = rota__gate_wait(&file->gate, file_emptied_closed) ? file_shut(file) : 0;
    rota__file_failed(err, "close", file);
    rota__gate_end_closing(&file->gate);
    return err;
}

rota_file *rota_file_free(rota_file *file)
{
    if (!file)
        return NULL;
    ROTA_KEEP_ERROR;
    if (rota_file_close(file) == ROTA_ETHREAD)
        return NULL;
    if (rota__gate_wait_to_free(&file->gate, file_emptied_freed))
        file_release(file);
    return NULL;
}

int rota_file_fd(const rota_file *file)
{
    return file->fd;
}

/* ---- What needs the descriptor only */

struct fd_job {
    int fd;
    int64_t number;
    int whence;
    struct stat *about;
};

/* Runs `fn` on the file in a thread. */
static int file_call(rota_file *file, rota_fn *fn, struct fd_job *job,
                     const struct rota__file_wait *wait, const char *call)
{
    int err = rota__file_enter(file, ROTA__FILE_ELSEWHERE);
    if (err < 0)
        return rota__file_refused(err, call, file);
    job->fd = file->fd;
    err = rota__file_hop(fn, job, wait);
    return (int)rota__file_leave(file, ROTA__FILE_ELSEWHERE, err, call);
}

static int stat_job(void *arg)
{
    struct fd_job *job = arg;
    int err = (int)rota__sys(EIO, fstat(job->fd, job->about));
    if (err == 0)
        rota__device_learn(job->fd, job->about->st_dev);
    return err;
}

int rota_file_stat(rota_file *file, struct stat *ret_stat)
{
    struct stat about;
    struct fd_job job = {.about = &about};
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    bool mine = file->gate.loop == rota__loop_here && !file->gate.closed;
    if (!mine || rota__stat_now(file->fd, &about) < 0)
        err = file_call(file, stat_job, &job, &asking, "look at");
    else
        rota__file_done_at_once();
    if (err == 0)
        *ret_stat = about;
    return err;
}

static int truncate_job(void *arg)
{
    struct fd_job *job = arg;
    int err;
    do
        err = (int)rota__sys(EIO, ftruncate(job->fd, job->number));
    while (err == -EINTR);
    return err;
}

int rota_file_truncate(rota_file *file, int64_t size)
{
    struct fd_job job = {.number = size};
    file->written = true;
    return file_call(file, truncate_job, &job, &cutting, "truncate");
}

static int seek_job(void *arg)
{
    struct fd_job *job = arg;
    job->number = rota__sys(ENXIO, lseek(job->fd, job->number, job->whence));
    return job->number < 0 ? (int)job->number : 0;
}

/* The descriptor's own position is not used, except by appending writes, which set it. */
static int64_t seek_target(rota_file *file, int64_t offset, int whence)
{
    struct fd_job job = {.fd = file->fd, .number = offset, .whence = whence};
    if (whence == SEEK_SET || whence == SEEK_CUR) {
        int64_t base = whence == SEEK_CUR ? file->position : 0, target;
        return __builtin_add_overflow(base, offset, &target) || target < 0 ? -EINVAL : target;
    }
    int err = rota__file_hop(seek_job, &job, &asking);
    return err < 0 ? err : job.number;
}

int64_t rota_file_seek(rota_file *file, int64_t offset, int whence)
{
    int err = rota__suspend_check();
    if (err == 0)
        err = rota__file_enter(file, ROTA__FILE_AT_POSITION);
    if (err < 0)
        return rota__file_refused(err, "seek in", file);
    int64_t target = seek_target(file, offset, whence);
    if (target >= 0) {
        rota__file_drop_ahead(file);
        file->position = target;
    }
    return rota__file_leave(file, ROTA__FILE_AT_POSITION, target, "seek in");
}
