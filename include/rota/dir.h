/* dir: what is in a directory, and in those below it.
 *
 *     static int list(void *arg)
 *     {
 *         ROTA_AUTO(rota_dir) dir = NULL;
 *         int err = rota_dir_open("/etc", &dir);
 *         if (err < 0)
 *             return err;
 *         ROTA_FOREACH(rota_dir_entry *, entry, rota_dir_entries(dir), &err)
 *             puts(entry->name);
 *         return err;
 *     }
 *
 * A walk goes through a whole tree, each directory before what is in it, and says of each thing
 * where it is:
 *
 *     static int count_sources(void *arg)
 *     {
 *         ROTA_AUTO(rota_walk) walk = NULL;
 *         int err = rota_walk_new("src", NULL, &walk), n = 0;
 *         if (err < 0)
 *             return err;
 *         ROTA_FOREACH(rota_walk_entry *, entry, rota_walk_entries(walk), &err) {
 *             if (entry->event == ROTA_WALK_DIRECTORY && strcmp(entry->name, ".git") == 0)
 *                 rota_walk_skip(walk);
 *             else if (entry->event == ROTA_WALK_FILE && fnmatch("*.c", entry->name, 0) == 0)
 *                 n++;
 *         }
 *         return err < 0 ? err : n;
 *     }
 *
 * Entries come in the order of the file system, which is none, and are fetched many at a time: what
 * is made or removed meanwhile may or may not be among them. A walk follows no symbolic link and
 * goes from directory to directory by descriptor, so it cannot be led out of the tree, nor in a
 * circle, by whoever renames things. */
#ifndef ROTA_DIR_H
#define ROTA_DIR_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- One directory ---- */

typedef struct rota_dir rota_dir;

typedef struct rota_dir_entry {
    const char *name;
    uint64_t inode;
    mode_t type; /* S_IFREG, S_IFDIR, S_IFLNK, ...: the S_IFMT part of st_mode; never unknown */
} rota_dir_entry;

/* Opens a directory. Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, or an error of
 * open(2): -ENOENT, -ENOTDIR, -EACCES, ... */
ROTA_SUSPENDS int rota_dir_open(const char *path, rota_dir **ret_dir);

/* Gives the next entry, without "." and ".."; it is valid until the next call. Suspends once for
 * many entries. Returns 1, 0 at the end, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBUSY (another task
 * is in this call), -ENOMEM, -ENOENT (the directory was removed), -EIO. */
ROTA_SUSPENDS int rota_dir_next(rota_dir *dir, rota_dir_entry **ret_entry);
/* The entries as rota_dir_entry. */
ROTA_API rota_iter rota_dir_entries(rota_dir *dir);

/* The descriptor, for openat(2) and its like. It stays the directory's. */
ROTA_API int rota_dir_fd(const rota_dir *dir);

/* Closes and frees the directory; nobody may be inside a call. Accepts NULL, returns NULL; what
 * ROTA_AUTO(rota_dir) calls. */
ROTA_API rota_dir *rota_dir_free(rota_dir *dir);
ROTA_DEFINE_AUTO(rota_dir, rota_dir_free);

/* ---- A tree ---- */

typedef struct rota_walk rota_walk;

typedef enum rota_walk_event {
    ROTA_WALK_FILE,      /* anything but a directory; also a symbolic link to one */
    ROTA_WALK_DIRECTORY, /* what is in it comes next */
    ROTA_WALK_LEAVE,     /* a directory again, after what is in it; only with `leave` */
    ROTA_WALK_FAILED     /* a directory that cannot be read, or not to its end: `error` says why */
} rota_walk_event;

typedef struct rota_walk_entry {
    rota_walk_event event;
    /* of ROTA_WALK_FAILED: -EACCES, -EIO, ROTA_ELIMIT (too deep), -ENOMEM, -EMFILE, ... */
    int error;
    const char *path; /* as it can be opened: it begins with that of rota_walk_new */
    const char *name; /* its last part */
    size_t depth;     /* 1: directly in the directory where the walk began */
    uint64_t inode;
    mode_t type; /* as in rota_dir_entry */
    /* the descriptor of the directory that `name` is in, for openat(2) and its like */
    int directory;
} rota_walk_entry;

typedef struct rota_walk_options {
    size_t depth;    /* go no deeper; 256 directories, each of which takes a descriptor */
    bool leave;      /* also tell when a directory is left */
    bool one_device; /* do not enter other file systems */
} rota_walk_options;

/* Begins a walk through the directory at `path`, which may be a symbolic link; it is opened by the
 * first rota_walk_next. `options` may be NULL. Returns 0, -ENOMEM, ROTA_ENOTASK (this thread has no
 * loop). */
ROTA_API int rota_walk_new(const char *path, const rota_walk_options *options,
                           rota_walk **ret_walk);

/* Gives the next entry, valid until the next call. A directory that has vanished since it was found
 * is passed over; one that cannot be read is told of and passed over. Suspends about once for each
 * directory.
 *
 * Returns 1; 0 at the end; an error that ends the walk: that of opening the directory where it
 * begins, -ENOMEM; or -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBUSY (another task is in this call),
 * after which it may go on. */
ROTA_SUSPENDS int rota_walk_next(rota_walk *walk, rota_walk_entry **ret_entry);
/* The entries as rota_walk_entry. */
ROTA_API rota_iter rota_walk_entries(rota_walk *walk);

/* Passes over what is in the directory that was told of last (and over its ROTA_WALK_LEAVE); after
 * anything else over the rest of the directory that it was in. */
ROTA_API void rota_walk_skip(rota_walk *walk);

/* Ends the walk and frees it; nobody may be inside a call. Accepts NULL, returns NULL; what
 * ROTA_AUTO(rota_walk) calls. */
ROTA_API rota_walk *rota_walk_free(rota_walk *walk);
ROTA_DEFINE_AUTO(rota_walk, rota_walk_free);

/* ---- A directory for a while ---- */

typedef struct rota_temp_dir rota_temp_dir;

/* Makes a new directory in `parent` (NULL: $TMPDIR, or /tmp), which only this user may enter.
 * Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, or an error of mkdir(2). */
ROTA_SUSPENDS int rota_temp_dir_new(const char *parent, rota_temp_dir **ret_temp);
ROTA_API const char *rota_temp_dir_path(const rota_temp_dir *temp);
/* Removes the directory with all that is in it, as rota_path_remove_all, and frees it. Shields
 * itself; outside a task it blocks. What cannot be removed is told to the log hook. Accepts NULL,
 * returns NULL; what ROTA_AUTO(rota_temp_dir) calls. */
ROTA_SUSPENDS_SHIELDED rota_temp_dir *rota_temp_dir_free(rota_temp_dir *temp);
ROTA_DEFINE_AUTO(rota_temp_dir, rota_temp_dir_free);

#ifdef __cplusplus
}
#endif

#endif
