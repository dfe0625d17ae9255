/* The entries of one directory. The job that opens it fetches the first ones. */
#include <rota/dir.h>

#include "base/alloc.h"
#include "base/sys.h"
#include "file/batch.h"
#include "file/file.h"

static const struct rota__file_wait opening = ROTA__FILE_WAIT("directory open");
static const struct rota__file_wait reading = ROTA__FILE_WAIT("directory read");

struct rota_dir {
    struct rota__loop *loop;
    bool inside; /* a task waits for entries */
    rota_dir_entry entry;
    struct rota__batch batch;
};

struct open_job {
    rota_dir *dir;
    const char *path;
};

static int open_job(void *arg)
{
    struct open_job *job = arg;
    return rota__batch_open(&job->dir->batch, AT_FDCWD, job->path, true);
}

int rota_dir_open(const char *path, rota_dir **ret_dir)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    rota_dir *dir = rota_alloc(sizeof *dir);
    if (!dir)
        return rota__path_failed(-ENOMEM, "open directory", path);
    dir->loop = rota__loop_here;
    dir->inside = false;
    dir->batch.fd = -1;
    struct open_job job = {dir, path};
    err = rota__file_hop(open_job, &job, &opening);
    if (err < 0)
        rota_dir_free(dir);
    else
        *ret_dir = dir;
    return rota__path_failed(err, "open directory", path);
}

static int fill_job(void *arg)
{
    return rota__batch_fill(arg);
}

static int dir_fetch(rota_dir *dir)
{
    dir->inside = true;
    int err = rota__file_hop(fill_job, &dir->batch, &reading);
    dir->inside = false;
    return err;
}

int rota_dir_next(rota_dir *dir, rota_dir_entry **ret_entry)
{
    int err = rota__suspend_check();
    if (err == 0)
        err = rota__loop_check(dir->loop, __func__);
    if (err < 0 || dir->inside)
        return err < 0 ? err : -EBUSY;
    const struct dirent64 *found = rota__batch_next(&dir->batch);
    if (found)
        rota__file_done_at_once();
    while (!found && !dir->batch.ended) {
        err = dir_fetch(dir);
        if (err < 0)
            return err;
        found = rota__batch_next(&dir->batch);
    }
    if (!found)
        return 0;
    dir->entry = (rota_dir_entry){found->d_name, found->d_ino, DTTOIF(found->d_type)};
    *ret_entry = &dir->entry;
    return 1;
}

static int next_entry(void *self, void **ret_item)
{
    rota_dir_entry *entry;
    int more = rota_dir_next(self, &entry);
    if (more > 0)
        *ret_item = entry;
    return more;
}

rota_iter rota_dir_entries(rota_dir *dir)
{
    return (rota_iter){next_entry, dir};
}

int rota_dir_fd(const rota_dir *dir)
{
    return dir->batch.fd;
}

rota_dir *rota_dir_free(rota_dir *dir)
{
    if (!dir)
        return NULL;
    rota__batch_close(&dir->batch);
    rota_free(dir);
    return NULL;
}
