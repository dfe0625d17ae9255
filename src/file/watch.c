/* Watching by inotify: a descriptor of the loop, and a buffer of events that were read and not yet
 * returned. */
#include <rota/watch.h>

#include "base/alloc.h"
#include "base/sys.h"
#include "file/file.h"

#include <stdalign.h>
#include <sys/inotify.h>

static const struct rota__wait_kind waiting = {"file event", rota__op_abort};
static const struct rota__file_wait adding = ROTA__FILE_WAIT("file watch");

enum { NEXT = 1, ADDING = 2 };

struct rota_path_watch {
    struct rota__gate gate;
    size_t adding; /* tasks in rota_path_watch_add */
    struct rota__fd fd;
    bool interrupted;
    rota_path_watch_event event;
    size_t at, len;
    alignas(struct inotify_event) char bytes[16384];
};

/* ---- Words */

static const struct {
    unsigned what;
    uint32_t mask;
} words[] = {
    {ROTA_WATCH_CREATED, IN_CREATE | IN_MOVED_TO},
    {ROTA_WATCH_REMOVED, IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT},
    {ROTA_WATCH_MODIFIED, IN_MODIFY},
    {ROTA_WATCH_WRITTEN, IN_CLOSE_WRITE},
    {ROTA_WATCH_ATTRIBUTES, IN_ATTRIB},
    {ROTA_WATCH_MOVED, IN_MOVED_FROM | IN_MOVED_TO | IN_MOVE_SELF},
    {ROTA_WATCH_OVERFLOW, IN_Q_OVERFLOW},
    {ROTA_WATCH_GONE, IN_IGNORED},
    {ROTA_WATCH_DIRECTORY, IN_ISDIR},
};

#define TO_ASK                                                                            \
    (ROTA_WATCH_CREATED | ROTA_WATCH_REMOVED | ROTA_WATCH_MODIFIED | ROTA_WATCH_WRITTEN | \
     ROTA_WATCH_ATTRIBUTES | ROTA_WATCH_MOVED)

static uint32_t mask_of(unsigned what)
{
    uint32_t mask = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        mask |= what & words[i].what ? words[i].mask : 0;
    return mask & ~(uint32_t)IN_UNMOUNT; /* comes unasked */
}

static unsigned what_of(uint32_t mask)
{
    unsigned what = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        what |= mask & words[i].mask ? words[i].what : 0;
    return what;
}

/* ---- Being told */

static ssize_t fill(rota_path_watch *watch)
{
    struct rota__op op = {
        .kind = ROTA__OP_RECV, .fd = &watch->fd, .buf = watch->bytes, .len = sizeof watch->bytes};
    if (watch->interrupted)
        return rota__error_plain(ROTA_ECLOSED);
    ssize_t n = rota__op_await(&op, &waiting);
    watch->at = 0;
    watch->len = n > 0 ? (size_t)n : 0;
    return n;
}

static void take_event(rota_path_watch *watch)
{
    const struct inotify_event *found = (const void *)(watch->bytes + watch->at);
    watch->at += sizeof *found + found->len;
    watch->event = (rota_path_watch_event){.id = found->wd,
                                           .what = what_of(found->mask),
                                           .cookie = found->cookie,
                                           .name = found->len ? found->name : ""};
}

static int watch_next(rota_path_watch *watch)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    do {
        ssize_t n = watch->at < watch->len ? 1 : fill(watch);
        if (n < 0)
            return (int)n;
        if (watch->at < watch->len)
            take_event(watch);
    } while (!watch->event.what);
    return 1;
}

int rota_path_watch_next(rota_path_watch *watch, rota_path_watch_event **ret_event)
{
    int err = rota__gate_enter(&watch->gate, NEXT);
    if (err < 0)
        return err;
    watch->event.what = 0;
    int more = watch_next(watch);
    if (more > 0 && rota__gate_is_doomed(&watch->gate))
        more = rota__error_plain(ROTA_ECLOSED);
    rota__gate_leave(&watch->gate, NEXT);
    if (more > 0)
        *ret_event = &watch->event;
    return more;
}

static int next_event(void *self, void **ret_item)
{
    rota_path_watch_event *event;
    int more = rota_path_watch_next(self, &event);
    if (more > 0)
        *ret_item = event;
    return more;
}

rota_iter rota_path_watch_events(rota_path_watch *watch)
{
    return (rota_iter){next_event, watch};
}

/* ---- What is watched */

struct add_job {
    int fd;
    const char *path;
    uint32_t mask;
};

static int add_job(void *arg)
{
    struct add_job *job = arg;
    return (int)rota__sys(ENOSPC, inotify_add_watch(job->fd, job->path, job->mask));
}

static int add_enter(rota_path_watch *watch)
{
    int err = watch->gate.closed ? ROTA_ECLOSED : 0;
    if (err == 0 && watch->adding == 0)
        err = rota__gate_enter_for(&watch->gate, ADDING, "rota_path_watch_add");
    watch->adding += err == 0;
    return err;
}

int rota_path_watch_add(rota_path_watch *watch, const char *path, unsigned what)
{
    if (!what || (what & ~TO_ASK))
        return rota__invalid_argument("watch a path: no such events");
    int err = add_enter(watch);
    if (err < 0)
        return err;
    struct add_job job = {watch->fd.fd, path, mask_of(what)};
    int id = rota__file_hop(add_job, &job, &adding);
    if (--watch->adding == 0)
        rota__gate_leave(&watch->gate, ADDING);
    return rota__path_failed(id, "watch", path);
}

int rota_path_watch_remove(rota_path_watch *watch, int id)
{
    if (watch->gate.closed)
        return rota__error_plain(ROTA_ECLOSED);
    int err = (int)rota__sys(EINVAL, inotify_rm_watch(watch->fd.fd, id));
    return err < 0 ? rota_error_set(err, "watch number %d: %s", id, rota_strerror(err)) : 0;
}

/* ---- Beginning and end */

int rota_path_watch_new(rota_path_watch **ret_watch)
{
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    rota_path_watch *watch = rota_zalloc(sizeof *watch);
    if (!watch)
        return rota__error_plain(-ENOMEM);
    rota__gate_init(&watch->gate);
    int fd = (int)rota__sys(EMFILE, inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    int err = fd < 0 ? fd : rota__fd_open(&watch->fd, rota__loop_here, fd, false);
    if (err < 0) {
        rota__sys_close(fd);
        rota_free(watch);
        return rota_error_set(err, "watch files: %s", rota_strerror(err));
    }
    *ret_watch = watch;
    return 0;
}

static void watch_release(struct rota__gate *gate)
{
    rota_path_watch *watch = rota__container_of(gate, rota_path_watch, gate);
    rota__fd_close(&watch->fd);
    rota_free(watch);
}

rota_path_watch *rota_path_watch_free(rota_path_watch *watch)
{
    if (!watch)
        return NULL;
    ROTA_KEEP_ERROR;
    if (rota__gate_close(&watch->gate) <= 0)
        return NULL;
    watch->interrupted = true;
    if (watch->fd.pending[0])
        rota__op_withdraw(watch->fd.pending[0]);
    if (rota__gate_wait(&watch->gate, watch_release))
        watch_release(&watch->gate);
    return NULL;
}
