/* Temporary directories, and names for what is temporary. */
#include <rota/dir.h>
#include <rota/path.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/sys.h"
#include "file/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define TRIES 100

static const struct rota__file_wait making = ROTA__FILE_WAIT("temporary directory");

static uint64_t random_number(void)
{
    static atomic_uint_least64_t counter;
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        number = (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15 ^ (uint64_t)getpid() << 32;
    }
    return number + atomic_fetch_add(&counter, 1);
}

void rota__temp_name(const char *like, char *ret_name, size_t size)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";
    char random[11];
    uint64_t number = random_number();
    for (size_t i = 0; i < sizeof random - 1; i++, number >>= 5)
        random[i] = letters[number & 31];
    random[sizeof random - 1] = '\0';
    snprintf(ret_name, size, ".%.*s.%s", (int)(size - sizeof random - 2), like, random);
}

const char *rota__temp_directory(const char *asked)
{
    const char *named = asked ? asked : getenv("TMPDIR");
    return named && *named ? named : "/tmp";
}

/* ---- Directories */

struct rota_temp_dir {
    size_t name_at; /* where the name begins that rota__temp_name made */
    char path[];
};

#define NAME_SIZE 32

static int make_job(void *arg)
{
    rota_temp_dir *temp = arg;
    int err = -EEXIST;
    for (int tries = 0; err == -EEXIST && tries < TRIES; tries++) {
        rota__temp_name("rota", temp->path + temp->name_at, NAME_SIZE);
        err = (int)rota__sys(EACCES, mkdir(temp->path, 0700));
    }
    return err;
}

int rota_temp_dir_new(const char *parent, rota_temp_dir **ret_temp)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    parent = rota__temp_directory(parent);
    size_t len = strlen(parent);
    rota_temp_dir *temp = rota_zalloc(sizeof *temp + len + 1 + NAME_SIZE);
    if (!temp)
        return -ENOMEM;
    memcpy(temp->path, parent, len);
    temp->path[len] = '/';
    temp->name_at = len + 1;
    err = rota__file_hop(make_job, temp, &making);
    if (err < 0)
        rota_free(temp);
    else
        *ret_temp = temp;
    return rota__path_failed(err, "make a temporary directory in", parent);
}

const char *rota_temp_dir_path(const rota_temp_dir *temp)
{
    return temp->path;
}

static int remove_blocking(const char *path)
{
    struct rota__removal *removal = rota__removal_new(path);
    if (!removal)
        return -ENOMEM;
    while (rota__removal_step(removal) > 0)
        continue;
    return rota__removal_free(removal);
}

static int remove_shielded(const char *path)
{
    int err = 0;
    ROTA_SHIELD
    {
        err = rota_path_remove_all(path);
    }
    return err;
}

rota_temp_dir *rota_temp_dir_free(rota_temp_dir *temp)
{
    if (!temp)
        return NULL;
    ROTA_KEEP_ERROR;
    int err = rota__task_here() ? remove_shielded(temp->path) : remove_blocking(temp->path);
    if (err < 0)
        rota_log(ROTA_LOG_WARNING, "temporary directory %s could not be removed: %s", temp->path,
                 rota_strerror(err));
    rota_free(temp);
    return NULL;
}
