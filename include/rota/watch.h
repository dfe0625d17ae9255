/* watch: being told when files and directories change (inotify).
 *
 *     int reload(const char *name);
 *
 *     static int reload_on_change(void *arg)
 *     {
 *         ROTA_AUTO(rota_path_watch) watch = NULL;
 *         int err = rota_path_watch_new(&watch);
 *         if (err == 0)
 *             err = rota_path_watch_add(watch, "/etc/mine", ROTA_WATCH_CHANGED);
 *         if (err < 0)
 *             return err;
 *         ROTA_FOREACH(rota_path_watch_event *, event, rota_path_watch_events(watch), &err)
 *             reload(event->name);
 *         return err;
 *     }
 *
 * A watched directory tells of itself and of what is directly in it, not of what is below. What
 * happened through other machines or mmap(2) is not told, and many small writes may come as one
 * event. */
#ifndef ROTA_WATCH_H
#define ROTA_WATCH_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_path_watch rota_path_watch;

enum {
    ROTA_WATCH_CREATED = 1 << 0,    /* in the directory: made, linked, moved here from elsewhere */
    ROTA_WATCH_REMOVED = 1 << 1,    /* from the directory: removed, moved away; or itself removed */
    ROTA_WATCH_MODIFIED = 1 << 2,   /* written or cut, though perhaps not finished yet */
    ROTA_WATCH_WRITTEN = 1 << 3,    /* closed after being open for writing */
    ROTA_WATCH_ATTRIBUTES = 1 << 4, /* permissions, owner, times, number of names */
    ROTA_WATCH_MOVED = 1 << 5, /* with CREATED, REMOVED: by a rename; the pair has one `cookie` */
    /* The events that say when something new can be read. */
    ROTA_WATCH_CHANGED = ROTA_WATCH_CREATED | ROTA_WATCH_REMOVED | ROTA_WATCH_WRITTEN,

    /* Not to be asked for; they come by themselves. */
    ROTA_WATCH_OVERFLOW = 1 << 6, /* events were lost: look at everything again. `id` is -1 */
    ROTA_WATCH_GONE =
        1 << 7, /* what was watched is gone (removed, unmounted, rota_path_watch_remove): the
                                     last event of this `id` */
    ROTA_WATCH_DIRECTORY = 1 << 8 /* what it is about is a directory */
};

typedef struct rota_path_watch_event {
    int id;           /* of rota_path_watch_add */
    unsigned what;    /* ROTA_WATCH_... */
    uint32_t cookie;  /* the same in both halves of a rename within what is watched; else 0 */
    const char *name; /* in the watched directory; "" for the watched thing itself */
} rota_path_watch_event;

/* Makes a watch, of nothing yet. Returns 0, -ENOMEM, ROTA_ENOTASK (this thread has no loop),
 * -EMFILE (also: too many of them for this user). */
ROTA_API int rota_path_watch_new(rota_path_watch **ret_watch);

/* Watches a file or directory; symbolic links are followed. Watching the same again changes what is
 * asked for. Events are queued from now on.
 *
 * Returns an id, 0 or more; -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ECLOSED, -EINVAL (nothing,
 * or something unknown was asked for), -ENOENT, -EACCES, -ENOSPC (the user's limit of watches),
 * -ENOMEM. */
ROTA_SUSPENDS int rota_path_watch_add(rota_path_watch *watch, const char *path, unsigned what);
/* Stops watching; a ROTA_WATCH_GONE follows what is queued. Returns 0, -EINVAL (no such id),
 * ROTA_ECLOSED. */
ROTA_API int rota_path_watch_remove(rota_path_watch *watch, int id);

/* Waits for the next event and gives it to you until the next call. Cancelled, it loses none.
 * Returns 1, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBUSY (another task is waiting),
 * ROTA_ECLOSED. */
ROTA_SUSPENDS int rota_path_watch_next(rota_path_watch *watch, rota_path_watch_event **ret_event);
/* The events as rota_path_watch_event; it never ends by itself. */
ROTA_API rota_iter rota_path_watch_events(rota_path_watch *watch);

/* Ends the wait of a task that is inside with ROTA_ECLOSED, and frees the watch. Accepts NULL,
 * returns NULL. ROTA_AUTO(rota_path_watch) calls this. */
ROTA_SUSPENDS_SHIELDED rota_path_watch *rota_path_watch_free(rota_path_watch *watch);
ROTA_DEFINE_AUTO(rota_path_watch, rota_path_watch_free);

#ifdef __cplusplus
}
#endif

#endif
