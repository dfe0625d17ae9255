/* The file module's inside: how its calls leave the loop's thread, and what an open file is.
 *
 * Each call tries first what cannot block (openat2 with RESOLVE_CACHED, preadv2 and pwritev2 with
 * RWF_NOWAIT). What that does not finish is offloaded once: to a job in the file pool, or to an
 * operation where the loop's backend takes file operations. */
#ifndef ROTA__FILE_FILE_H
#define ROTA__FILE_FILE_H

#include "exec/exec.h"
#include "stream/buffer.h"
#include "stream/gate.h"

#include <rota/file.h>

#include <stdatomic.h>

/* ---- Hops */

/* What a caller waits for, whichever way it goes. */
struct rota__file_wait {
    struct rota__wait_kind job, op;
};
#define ROTA__FILE_WAIT(name_)                                             \
    {                                                                      \
        .job = {name_, rota__future_abort}, .op = {name_, rota__op_abort}, \
    }

/* Runs fn(arg) in a thread of the loop's file pool, as rota_executor_run: if it is cancelled before
 * it begins it never runs, and once it runs the call returns after it. */
int rota__file_hop(rota_fn *fn, void *arg, const struct rota__file_wait *wait);

/* To be called when something was done at once: yields when the task's budget is used up. */
static inline void rota__file_done_at_once(void)
{
    struct rota__fiber *here = rota__fiber_here();
    if (--here->budget <= 0)
        rota__yield(here);
}

/* ---- Failures */

/* Gives a failure of a call on a path its text, unless it is an interruption. Returns `err`. */
int rota__path_failed(int err, const char *call, const char *path);
/* The same for a call on an open file. */
int64_t rota__file_failed(int64_t err, const char *call, const rota_file *file);
/* The same for a call that rota__file_enter has refused. */
int rota__file_refused(int err, const char *call, const rota_file *file);

/* ---- Opening */

/* Opens what is there already if that needs no waiting: the descriptor, an error, or -EAGAIN. */
int rota__open_cached(const char *path, int flags);
/* Opens in the calling thread. Like the above, it adds O_CLOEXEC and O_NONBLOCK: opening a FIFO
 * without another end would block for ever. */
int rota__open_blocking(const char *path, int flags, mode_t mode);
/* Both: the first, and if that has to wait the second one in a job. The descriptor or an error. */
int rota__open(const char *path, int flags, mode_t mode, const struct rota__file_wait *wait);

/* The kernel, or a filter, does not allow openat2: it is not tried again. Set by tests, too. */
extern atomic_bool rota__open_cached_refused;

/* ---- Asking without waiting */

/* The status of a descriptor, if its file system is known to answer at once: 0, -EAGAIN or an
 * error. */
int rota__stat_now(int fd, struct stat *ret_stat);
/* In a thread, beside an fstat(2): makes the file system known if it is one of those. */
void rota__device_learn(int fd, dev_t device);

/* ---- Temporary names, and removing */

struct rota__removal;

/* Removing a tree, some hundred names a step, each of which blocks. NULL: no memory. `path` is
 * borrowed. */
struct rota__removal *rota__removal_new(const char *path);
/* Returns 1 if there is more to do, or 0. */
int rota__removal_step(struct rota__removal *removal);
/* Returns 0 or the first error. */
int rota__removal_free(struct rota__removal *removal);

/* A name that is most likely free: "." `like` "." and ten letters; `like` may be cut. */
void rota__temp_name(const char *like, char *ret_name, size_t size);
/* The directory for temporary files: `asked`, $TMPDIR, or /tmp. */
const char *rota__temp_directory(const char *asked);

/* ---- Open files */

enum { ROTA__FILE_AT_POSITION = 1, ROTA__FILE_ELSEWHERE = 2 };

/* 1. One task uses the position, `ahead`, `line`; any number reads and writes elsewhere.
 * 2. `ahead` holds bytes of the file from `position` on. Whatever moves the position or writes
 *    through it takes or drops them.
 * 3. `fd` is closed when no call is inside. */
struct rota_file {
    struct rota__gate gate;
    size_t elsewhere; /* tasks inside calls that do not use the position */
    int fd;
    bool append;
    bool nonblocking; /* O_NONBLOCK is set */
    bool written;
    bool no_read_try, no_write_try; /* the file system cannot say whether it would block */
    bool in_memory;                 /* the file system has no device: nothing blocks */
    bool asked_where;               /* in_memory is known */
    int64_t position;
    size_t limit; /* of a line; 0: the default */
    size_t progress;
    struct rota__buffer ahead;
    rota_str line;
    char name[]; /* for error texts: its path when it was opened */
};

static inline size_t rota__file_line_limit(const rota_file *file)
{
    return file->limit ? file->limit : 65536;
}

/* Enters a file for one call. 0 or an error. */
#define rota__file_enter(file, how) rota__file_enter_for(file, how, __func__)
int rota__file_enter_for(rota_file *file, unsigned char how, const char *call);
/* Gives a failure its text, as rota__file_failed does, and leaves. The file may be gone afterwards.
 * Returns `result`. */
int64_t rota__file_leave(rota_file *file, unsigned char how, int64_t result, const char *call);

/* Reads until `iov` is full or the file ends. Returns how much, or an error if there was
 * nothing. */
ssize_t rota__file_read_at(rota_file *file, const struct iovec *iov, int count, int64_t offset);

/* Reads what was read ahead, and the rest. */
ssize_t rota__file_read_ahead(rota_file *file, const struct iovec *iov, int count);
/* Drops what was read ahead. */
static inline void rota__file_drop_ahead(rota_file *file)
{
    file->ahead.head = file->ahead.tail = 0;
}

#endif
