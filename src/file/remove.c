/* Removing a tree.
 *
 * 1. Names are removed from the descriptor of the directory that they were found in, which was
 *    opened without following links: nothing outside the tree is touched, whatever is renamed
 *    meanwhile.
 * 2. A directory is removed when a pass over it found nothing more. One that is refilled meanwhile
 *    is tried PASSES_MAX times.
 * 3. What lies deeper than DEPTH_MAX is moved up to the first level and comes later: the number of
 *    descriptors is bounded, the depth is not. */
#include "base/alloc.h"
#include "base/sys.h"
#include "file/batch.h"
#include "file/file.h"

#include <rota/path.h>

#include <stdio.h>
#include <string.h>

#define STEP_NAMES 256
#define PASSES_MAX 16
#define DEPTH_MAX 64

struct level {
    struct level *up;
    unsigned passes;
    bool kept; /* something in it could not be removed */
    char name[NAME_MAX + 1];
    struct rota__batch batch;
};

struct rota__removal {
    const char *path;
    struct level *top, *bottom;
    size_t depth;
    bool begun;
    int error; /* the first */
};

/* Removes a name. 0, also if it is not there; -EISDIR; or an error. */
static int remove_name(int directory, const char *name, int flags)
{
    int err = (int)rota__sys(EACCES, unlinkat(directory, name, flags));
    return err == -ENOENT ? 0 : err;
}

static void failed(struct rota__removal *r, int err)
{
    if (r->error == 0)
        r->error = err;
    if (r->top)
        r->top->kept = true;
}

static int level_enter(struct rota__removal *r, int from, const char *name)
{
    struct level *level = rota_alloc(sizeof *level);
    if (!level)
        return -ENOMEM;
    int err = rota__batch_open(&level->batch, from, name, false);
    if (err < 0) {
        rota_free(level);
        return err;
    }
    level->up = r->top;
    level->passes = 0;
    level->kept = false;
    snprintf(level->name, sizeof level->name, "%s", r->top ? name : "");
    r->top = level;
    r->bottom = r->bottom ? r->bottom : level;
    r->depth++;
    return 0;
}

static void level_leave(struct rota__removal *r)
{
    struct level *level = r->top;
    r->top = level->up;
    r->depth--;
    if (r->top)
        r->top->kept |= level->kept;
    rota__batch_close(&level->batch);
    rota_free(level);
}

/* Puts a directory that is too deep into the first one, under a new name. */
static int hoist(struct rota__removal *r, const char *name)
{
    char free_name[32];
    rota__temp_name("deep", free_name, sizeof free_name);
    int err =
        (int)rota__sys(EACCES, renameat(r->top->batch.fd, name, r->bottom->batch.fd, free_name));
    if (err == 0)
        r->bottom->passes = 0; /* there is something new to be found */
    return err == -ENOENT ? 0 : err;
}

/* Goes into the directory; if it has become something else meanwhile, removes that. */
static int remove_directory(struct rota__removal *r, int from, const char *name)
{
    int err = r->depth >= DEPTH_MAX ? hoist(r, name) : level_enter(r, from, name);
    if (err == -ENOTDIR || err == -ELOOP)
        err = remove_name(from, name, 0);
    return err == -ENOENT ? 0 : err;
}

static void remove_entry(struct rota__removal *r, const struct dirent64 *entry)
{
    int directory = r->top->batch.fd;
    int err = entry->d_type == DT_DIR ? -EISDIR : remove_name(directory, entry->d_name, 0);
    if (err == -EISDIR)
        err = remove_directory(r, directory, entry->d_name);
    if (err < 0)
        failed(r, err);
}

/* Entries may have been passed over while others were removed: looks again. */
static void rewind_batch(struct rota__batch *batch)
{
    lseek(batch->fd, 0, SEEK_SET);
    batch->ended = false;
    batch->at = batch->len = 0;
}

/* The pass has come to its end. */
static void end_of_level(struct rota__removal *r)
{
    struct level *level = r->top;
    int from = level->up ? level->up->batch.fd : AT_FDCWD;
    const char *name = level->up ? level->name : r->path;
    int err = level->kept ? 0 : remove_name(from, name, AT_REMOVEDIR);
    if ((err == -ENOTEMPTY || err == -EEXIST) && level->passes++ < PASSES_MAX) {
        rewind_batch(&level->batch);
        return;
    }
    if (err < 0)
        failed(r, err);
    level_leave(r);
}

/* Not "/", ".", "..", however they are reached: those could be emptied, but not removed. */
static bool is_named(const char *path)
{
    size_t end = strlen(path), start;
    if (end == 0)
        return true;
    while (end > 0 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/'; start--)
        ;
    bool dots =
        path[start] == '.' && (end - start == 1 || (end - start == 2 && path[start + 1] == '.'));
    return end > start && !dots;
}

static void begin(struct rota__removal *r)
{
    r->begun = true;
    int err = is_named(r->path) ? remove_name(AT_FDCWD, r->path, 0) : -EINVAL;
    if (err == -EISDIR)
        err = remove_directory(r, AT_FDCWD, r->path);
    if (err < 0)
        failed(r, err);
}

static void advance(struct rota__removal *r)
{
    const struct dirent64 *entry = rota__batch_next(&r->top->batch);
    if (entry) {
        remove_entry(r, entry);
        return;
    }
    int err = r->top->batch.ended ? 0 : rota__batch_fill(&r->top->batch);
    if (err < 0) {
        r->top->batch.ended = true;
        if (err != -ENOENT) /* it was removed elsewhere */
            failed(r, err);
    }
    if (r->top->batch.ended && r->top->batch.at == r->top->batch.len)
        end_of_level(r);
}

int rota__removal_step(struct rota__removal *r)
{
    if (!r->begun)
        begin(r);
    for (int n = 0; r->top && n < STEP_NAMES; n++)
        advance(r);
    return r->top ? 1 : 0;
}

struct rota__removal *rota__removal_new(const char *path)
{
    struct rota__removal *r = rota_zalloc(sizeof *r);
    if (r)
        r->path = path;
    return r;
}

int rota__removal_free(struct rota__removal *r)
{
    int error = r->error;
    while (r->top)
        level_leave(r);
    rota_free(r);
    return error;
}

/* ---- For tasks */

static const struct rota__file_wait removing = ROTA__FILE_WAIT("removal");

static int step_job(void *arg)
{
    return rota__removal_step(arg);
}

int rota_path_remove_all(const char *path)
{
    struct rota__removal *removal = rota__removal_new(path);
    if (!removal)
        return rota__path_failed(-ENOMEM, "remove", path);
    int more;
    do
        more = rota__file_hop(step_job, removal, &removing);
    while (more > 0);
    int err = rota__removal_free(removal);
    return more < 0 ? more : rota__path_failed(err, "remove", path);
}
