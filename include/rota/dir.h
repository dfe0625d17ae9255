/* dir: list a directory, or walk a whole tree.
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
 * A walk goes through a tree, each directory before its contents. Each entry says where it is:
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
 * Entries come in no particular order, and are fetched many at a time. Files made or removed during
 * the listing may or may not be included. A walk does not follow symbolic links, and enters each
 * directory by the descriptor of its parent. So renaming files cannot lead it out of the tree or in
 * a circle. */
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
    /* The file type bits of st_mode: S_IFREG, S_IFDIR, S_IFLNK, ...; always known. */
    mode_t type;
} rota_dir_entry;

/* Opens a directory. Returns 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, or an error of
 * open(2): -ENOENT, -ENOTDIR, -EACCES, ... */
ROTA_SUSPENDS int rota_dir_open(const char *path, rota_dir **ret_dir);

/* Gets the next entry, without "." and "..". The entry is valid until the next call. Suspends once
 * for many entries.
 *
 * Returns 1, 0 at the end, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBUSY (another task is in this
 * call), -ENOMEM, -ENOENT (the directory was removed), -EIO. */
ROTA_SUSPENDS int rota_dir_next(rota_dir *dir, rota_dir_entry **ret_entry);
/* Returns an iterator over the entries, as rota_dir_entry. */
ROTA_API rota_iter rota_dir_entries(rota_dir *dir);

/* Returns the descriptor, for openat(2) and similar calls. It still belongs to the directory. */
ROTA_API int rota_dir_fd(const rota_dir *dir);

/* Closes and frees the directory. No task may be inside a call on it. Accepts NULL, returns NULL.
 * ROTA_AUTO(rota_dir) calls this. */
ROTA_API rota_dir *rota_dir_free(rota_dir *dir);
ROTA_DEFINE_AUTO(rota_dir, rota_dir_free);

/* ---- A tree ---- */

typedef struct rota_walk rota_walk;

typedef enum rota_walk_event {
    /* anything but a directory; also a symbolic link to one */
    ROTA_WALK_FILE,
    /* a directory; its contents come next */
    ROTA_WALK_DIRECTORY,
    /* the end of a directory's contents; only with the option `leave` */
    ROTA_WALK_LEAVE,
    /* a directory that cannot be read, or not to its end; `error` says why */
    ROTA_WALK_FAILED
} rota_walk_event;

typedef struct rota_walk_entry {
    rota_walk_event event;
    /* The reason of ROTA_WALK_FAILED: -EACCES, -EIO, ROTA_ELIMIT (too deep), -ENOMEM, -EMFILE,
     * ... */
    int error;
    /* A path that can be opened: it begins with the path passed to rota_walk_new. */
    const char *path;
    /* The last part of `path`. */
    const char *name;
    /* 1 for entries directly in the directory where the walk began. */
    size_t depth;
    uint64_t inode;
    /* As in rota_dir_entry. */
    mode_t type;
    /* Descriptor of the directory that contains `name`, for openat(2) and similar calls. */
    int directory;
} rota_walk_entry;

typedef struct rota_walk_options {
    /* Report entries down to this depth only. Default: 256; a directory at that depth is then
     * reported as ROTA_WALK_FAILED with ROTA_ELIMIT. Each level takes a descriptor. */
    size_t depth;
    /* Also report the end of each directory. */
    bool leave;
    /* Do not enter other file systems. */
    bool one_device;
} rota_walk_options;

/* Begins a walk through the directory at `path`, which may be a symbolic link. The first
 * rota_walk_next opens the directory. `options` may be NULL. Returns 0, -ENOMEM, ROTA_ENOTASK (this
 * thread has no loop). */
ROTA_API int rota_walk_new(const char *path, const rota_walk_options *options,
                           rota_walk **ret_walk);

/* Gets the next entry; it is valid until the next call. Directories that have vanished since they
 * were listed are skipped. A directory that cannot be read is reported as ROTA_WALK_FAILED and
 * skipped. Suspends about once for each directory.
 *
 * Returns 1, or 0 at the end. These errors end the walk: those of opening the directory where it
 * begins, and -ENOMEM. After -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK and -EBUSY (another task is in
 * this call) the walk can go on. */
ROTA_SUSPENDS int rota_walk_next(rota_walk *walk, rota_walk_entry **ret_entry);
/* Returns an iterator over the entries, as rota_walk_entry. */
ROTA_API rota_iter rota_walk_entries(rota_walk *walk);

/* Skips entries. If the last entry was a ROTA_WALK_DIRECTORY, skips the contents of that directory
 * and its ROTA_WALK_LEAVE; otherwise skips the rest of the directory that contains the last
 * entry. */
ROTA_API void rota_walk_skip(rota_walk *walk);

/* Ends the walk and frees it. No task may be inside a call on it. Accepts NULL, returns NULL.
 * ROTA_AUTO(rota_walk) calls this. */
ROTA_API rota_walk *rota_walk_free(rota_walk *walk);
ROTA_DEFINE_AUTO(rota_walk, rota_walk_free);

/* ---- Temporary directories ---- */

typedef struct rota_temp_dir rota_temp_dir;

/* Makes a new directory in `parent` (NULL: $TMPDIR, or /tmp) that only this user may enter. Returns
 * 0, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -ENOMEM, or an error of mkdir(2). */
ROTA_SUSPENDS int rota_temp_dir_new(const char *parent, rota_temp_dir **ret_temp);
ROTA_API const char *rota_temp_dir_path(const rota_temp_dir *temp);
/* Removes the directory with all its contents, as rota_path_remove_all does, and frees the object.
 * Shields itself; outside a task it blocks. If something cannot be removed, this is reported to the
 * log hook. Accepts NULL, returns NULL. ROTA_AUTO(rota_temp_dir) calls this. */
ROTA_SUSPENDS_SHIELDED rota_temp_dir *rota_temp_dir_free(rota_temp_dir *temp);
ROTA_DEFINE_AUTO(rota_temp_dir, rota_temp_dir_free);

#ifdef __cplusplus
}
#endif

#endif
