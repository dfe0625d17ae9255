/* watch: notifications of changes to files and directories (inotify).
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
 * Watching a directory reports changes to it and to its direct entries, not to deeper ones. Changes
 * by other machines or by mmap(2) are not reported. Several small writes may be reported as one
 * event. */
#ifndef ROTA_WATCH_H
#define ROTA_WATCH_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_path_watch rota_path_watch;

enum {
    ROTA_WATCH_CREATED = 1 << 0, /* an entry was made, linked, or moved into the directory */
    /* an entry was removed or moved away, or the watched object was removed */
    ROTA_WATCH_REMOVED = 1 << 1,
    ROTA_WATCH_MODIFIED = 1 << 2,   /* written or truncated; the writer may not have finished */
    ROTA_WATCH_WRITTEN = 1 << 3,    /* closed after being open for writing */
    ROTA_WATCH_ATTRIBUTES = 1 << 4, /* permissions, owner, times, number of names */
    /* with CREATED or REMOVED: by a rename; both events have the same `cookie` */
    ROTA_WATCH_MOVED = 1 << 5,
    /* The events after which there is something new to read. */
    ROTA_WATCH_CHANGED = ROTA_WATCH_CREATED | ROTA_WATCH_REMOVED | ROTA_WATCH_WRITTEN,

    /* Reported without being requested. */
    ROTA_WATCH_OVERFLOW = 1 << 6, /* events were lost, so look at everything again; `id` is -1 */
    /* the watched object is gone (removed, unmounted, rota_path_watch_remove): the last event of
     * this `id` */
    ROTA_WATCH_GONE = 1 << 7,
    ROTA_WATCH_DIRECTORY = 1 << 8 /* the event is about a directory */
};

typedef struct rota_path_watch_event {
    /* From rota_path_watch_add. */
    int id;
    /* ROTA_WATCH_... */
    unsigned what;
    /* The same in both events of a rename between watched directories; otherwise 0. */
    uint32_t cookie;
    /* Name in the watched directory; "" for the watched object itself. */
    const char *name;
} rota_path_watch_event;

/* Makes a watch; add paths with rota_path_watch_add. Returns 0, -ENOMEM, ROTA_ENOTASK (this thread
 * has no loop), -EMFILE (also: too many of them for this user). */
ROTA_API int rota_path_watch_new(rota_path_watch **ret_watch);

/* Watches a file or directory; symbolic links are followed. Watching the same path again changes
 * the requested events. Events are queued from now on.
 *
 * Returns an id, 0 or more; -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, ROTA_ECLOSED, -EINVAL (no events
 * requested, or unknown ones), -ENOENT, -EACCES, -ENOSPC (the user's limit of watches), -ENOMEM. */
ROTA_SUSPENDS int rota_path_watch_add(rota_path_watch *watch, const char *path, unsigned what);
/* Stops watching. A ROTA_WATCH_GONE follows the queued events. Returns 0, -EINVAL (no such id),
 * ROTA_ECLOSED. */
ROTA_API int rota_path_watch_remove(rota_path_watch *watch, int id);

/* Waits for the next event and returns it; it is valid until the next call. Cancellation loses no
 * event. Returns 1, -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK, -EBUSY (another task is waiting),
 * ROTA_ECLOSED. */
ROTA_SUSPENDS int rota_path_watch_next(rota_path_watch *watch, rota_path_watch_event **ret_event);
/* Returns an iterator over the events, as rota_path_watch_event. It does not end by itself. */
ROTA_API rota_iter rota_path_watch_events(rota_path_watch *watch);

/* Frees the watch. A task that waits for an event gets ROTA_ECLOSED. Accepts NULL, returns NULL.
 * ROTA_AUTO(rota_path_watch) calls this. */
ROTA_SUSPENDS_SHIELDED rota_path_watch *rota_path_watch_free(rota_path_watch *watch);
ROTA_DEFINE_AUTO(rota_path_watch, rota_path_watch_free);

#ifdef __cplusplus
}
#endif

#endif
