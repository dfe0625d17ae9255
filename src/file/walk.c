/* Walking a tree: a stack of directories, each held open by descriptor and entered from the one
 * above.
 *
 *     told of a directory -> enter it (one job: open, first entries) -> its entries -> leave it
 *
 * 1. A directory is opened by its name in the descriptor of the one above, never through a symbolic
 *    link. So renaming what is above leads nowhere else, and what took its place is not a directory
 *    or is in the tree.
 * 2. A call that fails has changed nothing: the next one tries the same again.
 * 3. `path` is the path of the top directory, followed by the name of the entry that was told
 * of. */
#include <rota/dir.h>

#include "base/alloc.h"
#include "base/sys.h"
#include "file/batch.h"
#include "file/file.h"

#include <string.h>

#define DEPTH_DEFAULT 256

static const struct rota__file_wait walking = ROTA__FILE_WAIT("directory walk");

struct level {
    struct level *up;
    size_t path_len;
    uint64_t inode;
    dev_t device;
    struct rota__batch batch;
};

struct rota_walk {
    struct rota__loop *loop;
    rota_walk_options options;
    bool inside; /* a task is in rota_walk_next */
    bool begun;
    bool enter; /* the directory that was told of is to be entered */
    struct level *top, *spare;
    size_t depth; /* of what is in the top directory */
    char *path;
    size_t path_size;
    rota_walk_entry entry;
};

/* ---- Paths */

/* Makes `path` the first `len` bytes of it, and `name`. */
static int path_set(rota_walk *walk, size_t len, const char *name)
{
    size_t more = strlen(name) + 1;
    bool slash = len > 0 && walk->path[len - 1] != '/';
    if (len + slash + more > walk->path_size) {
        size_t size = (len + slash + more) * 2;
        char *grown = rota_resize(walk->path, size);
        if (!grown)
            return -ENOMEM;
        walk->path = grown;
        walk->path_size = size;
    }
    if (slash)
        walk->path[len++] = '/';
    memcpy(walk->path + len, name, more);
    walk->entry.path = walk->path;
    walk->entry.name = walk->path + len;
    return 0;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- Directories */

struct enter_job {
    struct level *level;
    int from; /* the directory above */
    const char *name;
    bool followed, same_device;
    dev_t device;
};

static int enter_job(void *arg)
{
    struct enter_job *job = arg;
    struct rota__batch *batch = &job->level->batch;
    int err = rota__batch_open(batch, job->from, job->name, job->followed);
    struct stat about = {0};
    if (err == 0)
        err = (int)rota__sys(EIO, fstat(batch->fd, &about));
    if (err == 0 && job->same_device && about.st_dev != job->device)
        err = -EXDEV;
    job->level->device = about.st_dev;
    if (err < 0)
        rota__batch_close(batch);
    return err;
}

static struct level *level_new(rota_walk *walk)
{
    struct level *level = walk->spare ? walk->spare : rota_alloc(sizeof *level);
    walk->spare = NULL;
    if (level)
        level->batch.fd = -1;
    return level;
}

static void level_drop(rota_walk *walk, struct level *level)
{
    rota__batch_close(&level->batch);
    rota_free(walk->spare);
    walk->spare = level;
}

static int walk_enter(rota_walk *walk)
{
    struct level *level = level_new(walk), *up = walk->top;
    if (!level)
        return -ENOMEM;
    struct enter_job job = {.level = level,
                            .from = up ? up->batch.fd : AT_FDCWD,
                            .name = up ? walk->entry.name : walk->path,
                            .followed = !up,
                            .same_device = up && walk->options.one_device,
                            .device = up ? up->device : 0};
    int err = rota__file_hop(enter_job, &job, &walking);
    if (err < 0) {
        level_drop(walk, level);
        return err;
    }
    level->up = up;
    level->path_len = strlen(walk->path);
    level->inode = walk->entry.inode;
    walk->top = level;
    walk->depth++;
    return 0;
}

static void walk_leave(rota_walk *walk)
{
    struct level *level = walk->top;
    walk->top = level->up;
    walk->depth--;
    level_drop(walk, level);
}

/* ---- What is told */

static int tell(rota_walk *walk, rota_walk_event event, int error)
{
    walk->entry.event = event;
    walk->entry.error = error;
    walk->entry.depth = walk->depth;
    walk->entry.directory = walk->top ? walk->top->batch.fd : AT_FDCWD;
    return 1;
}

/* The top directory has no more entries, or cannot be read on: `error`. */
static int tell_of_top(rota_walk *walk, rota_walk_event event, int error)
{
    struct level *level = walk->top;
    walk->path[level->path_len] = '\0';
    walk->entry.path = walk->path;
    walk->entry.name = last_part(walk->path);
    walk->entry.inode = level->inode;
    walk->entry.type = S_IFDIR;
    tell(walk, event, error);
    walk->entry.depth--;
    walk->entry.directory = level->up ? level->up->batch.fd : AT_FDCWD;
    return 1;
}

static int tell_of_entry(rota_walk *walk, const struct dirent64 *found)
{
    int err = path_set(walk, walk->top->path_len, found->d_name);
    if (err < 0)
        return err;
    walk->entry.inode = found->d_ino;
    walk->entry.type = DTTOIF(found->d_type);
    walk->enter =
        found->d_type == DT_DIR && (!walk->options.depth || walk->depth < walk->options.depth);
    return tell(walk, found->d_type == DT_DIR ? ROTA_WALK_DIRECTORY : ROTA_WALK_FILE, 0);
}

static bool interrupts(int err)
{
    return err == -ECANCELED || err == -ETIMEDOUT || err == ROTA_ENOTASK || err == ROTA_ECLOSED;
}

/* 0: entered, or skipped; 1: the failure is an entry of the walk; or an error. */
static int enter_told(rota_walk *walk)
{
    bool too_deep = !walk->options.depth && walk->depth >= DEPTH_DEFAULT;
    int err = too_deep ? ROTA_ELIMIT : walk_enter(walk);
    if (interrupts(err))
        return err;
    walk->enter = false;
    bool vanished = err == -ENOENT || err == -ENOTDIR || err == -ELOOP;
    if (err == 0 || vanished || err == -EXDEV)
        return 0;
    return tell(walk, ROTA_WALK_FAILED, err);
}

static int fill_job(void *arg)
{
    return rota__batch_fill(arg);
}

/* No entry is left in the batch. */
static int end_of_batch(rota_walk *walk)
{
    struct rota__batch *batch = &walk->top->batch;
    int err = batch->ended ? 0 : rota__file_hop(fill_job, batch, &walking);
    if (interrupts(err))
        return err;
    batch->ended |= err < 0;
    if (err < 0 && err != -ENOENT) /* which says that the directory was removed meanwhile */
        return tell_of_top(walk, ROTA_WALK_FAILED, err);
    if (!batch->ended || batch->at < batch->len)
        return 0;
    bool tells = walk->options.leave && walk->top->up;
    if (tells)
        tell_of_top(walk, ROTA_WALK_LEAVE, 0);
    walk_leave(walk);
    return tells;
}

static int walk_step(rota_walk *walk)
{
    if (!walk->begun) {
        int err = walk_enter(walk);
        walk->begun = err == 0;
        return err;
    }
    if (walk->enter)
        return enter_told(walk);
    const struct dirent64 *found = rota__batch_next(&walk->top->batch);
    if (!found)
        return end_of_batch(walk);
    struct rota__batch *batch = &walk->top->batch;
    int told = tell_of_entry(walk, found);
    if (told < 0)
        batch->at -= found->d_reclen;
    else
        rota__file_done_at_once();
    return told;
}

int rota_walk_next(rota_walk *walk, rota_walk_entry **ret_entry)
{
    int told = rota__suspend_check();
    if (told == 0)
        told = rota__loop_check(walk->loop, __func__);
    if (told == 0 && walk->inside)
        told = -EBUSY;
    if (told < 0)
        return told;
    walk->inside = true;
    while (told == 0 && (walk->top || !walk->begun))
        told = walk_step(walk);
    walk->inside = false;
    if (told > 0)
        *ret_entry = &walk->entry;
    return told;
}

static int next_entry(void *self, void **ret_item)
{
    rota_walk_entry *entry;
    int more = rota_walk_next(self, &entry);
    if (more > 0)
        *ret_item = entry;
    return more;
}

rota_iter rota_walk_entries(rota_walk *walk)
{
    return (rota_iter){next_entry, walk};
}

void rota_walk_skip(rota_walk *walk)
{
    if (walk->entry.event == ROTA_WALK_DIRECTORY) {
        walk->enter = false;
    } else if (walk->top) {
        walk->top->batch.at = walk->top->batch.len = 0;
        walk->top->batch.ended = true;
    }
}

int rota_walk_new(const char *path, const rota_walk_options *options, rota_walk **ret_walk)
{
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    rota_walk *walk = rota_zalloc(sizeof *walk);
    if (!walk)
        return rota__error_plain(-ENOMEM);
    walk->loop = rota__loop_here;
    if (options)
        walk->options = *options;
    int err = path_set(walk, 0, path);
    if (err < 0) {
        rota_walk_free(walk);
        return rota__error_plain(err);
    }
    *ret_walk = walk;
    return 0;
}

rota_walk *rota_walk_free(rota_walk *walk)
{
    if (!walk)
        return NULL;
    while (walk->top)
        walk_leave(walk);
    rota_free(walk->spare);
    rota_free(walk->path);
    rota_free(walk);
    return NULL;
}
