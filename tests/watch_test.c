/* Watching directories. Events are in the queue as soon as the call that causes them has
 * returned. */
#include "clean_run.h"
#include "directory.h"

#include <rota.h>

TEST_ALL_ON_BOTH_BACKENDS;
TEST_DIRECTORIES_IN_MEMORY;

static rota_path_watch *watching(unsigned what, int *ret_id)
{
    rota_path_watch *watch;
    CHECK_OK(rota_path_watch_new(&watch));
    *ret_id = rota_path_watch_add(watch, in_directory(""), what);
    CHECK_OK(*ret_id);
    return watch;
}

static rota_path_watch_event *next(rota_path_watch *watch)
{
    rota_path_watch_event *event;
    CHECK_INT(rota_path_watch_next(watch, &event), ==, 1);
    return event;
}

static void check_next(rota_path_watch *watch, unsigned what, const char *name)
{
    rota_path_watch_event *event = next(watch);
    CHECK_STR(event->name, name);
    CHECK_INT(event->what, ==, what);
}

static int reloads;

static int reload_on_change(void *arg)
{
    ROTA_AUTO(rota_path_watch) watch = NULL;
    int err = rota_path_watch_new(&watch);
    if (err == 0)
        err = rota_path_watch_add(watch, in_directory(""), ROTA_WATCH_CHANGED);
    if (err < 0)
        return err;
    write_text("config", "one");
    ROTA_FOREACH (rota_path_watch_event *, event, rota_path_watch_events(watch), &err) {
        reloads++;
        if (event->what & ROTA_WATCH_WRITTEN)
            break;
    }
    return err;
}

TASK_TEST(snippet_of_the_header_sees_changes)
{
    CHECK_OK(reload_on_change(NULL));
    CHECK_INT(reloads, ==, 2);
}

TASK_TEST(files_that_are_made_written_and_removed_are_told_of)
{
    int id;
    ROTA_AUTO(rota_path_watch)
    watch = watching(ROTA_WATCH_CHANGED | ROTA_WATCH_MODIFIED | ROTA_WATCH_ATTRIBUTES, &id);
    write_text("file", "text");
    CHECK_OK(chmod(in_directory("file"), 0600));
    CHECK_OK(mkdir(in_directory("directory"), 0700));
    CHECK_OK(unlink(in_directory("file")));
    check_next(watch, ROTA_WATCH_CREATED, "file");
    check_next(watch, ROTA_WATCH_MODIFIED, "file");
    check_next(watch, ROTA_WATCH_WRITTEN, "file");
    check_next(watch, ROTA_WATCH_ATTRIBUTES, "file");
    check_next(watch, ROTA_WATCH_CREATED | ROTA_WATCH_DIRECTORY, "directory");
    check_next(watch, ROTA_WATCH_REMOVED, "file");
}

TASK_TEST(both_halves_of_a_rename_have_one_cookie)
{
    int id;
    write_text("from", "text");
    ROTA_AUTO(rota_path_watch) watch = watching(ROTA_WATCH_CHANGED, &id);
    CHECK_OK(rename(in_directory("from"), in_directory("to")));
    rota_path_watch_event *event = next(watch);
    CHECK_STR(event->name, "from");
    CHECK_INT(event->what, ==, ROTA_WATCH_REMOVED | ROTA_WATCH_MOVED);
    CHECK_INT(event->id, ==, id);
    uint32_t cookie = event->cookie;
    CHECK(cookie != 0);
    event = next(watch);
    CHECK_STR(event->name, "to");
    CHECK_INT(event->what, ==, ROTA_WATCH_CREATED | ROTA_WATCH_MOVED);
    CHECK_INT(event->cookie, ==, cookie);
}

TASK_TEST(a_watched_directory_that_is_removed_tells_so)
{
    ROTA_AUTO(rota_path_watch) watch = NULL;
    CHECK_OK(mkdir(in_directory("directory"), 0700));
    CHECK_OK(rota_path_watch_new(&watch));
    int id = rota_path_watch_add(watch, in_directory("directory"), ROTA_WATCH_REMOVED);
    CHECK_OK(id);
    CHECK_OK(rmdir(in_directory("directory")));
    check_next(watch, ROTA_WATCH_REMOVED, "");
    rota_path_watch_event *event = next(watch);
    CHECK_INT(event->what & ~(unsigned)ROTA_WATCH_DIRECTORY, ==, ROTA_WATCH_GONE);
    CHECK_INT(event->id, ==, id);
    CHECK_INT(rota_path_watch_remove(watch, id), ==, -EINVAL);
}

TASK_TEST(what_is_no_longer_watched_is_gone)
{
    int id;
    ROTA_AUTO(rota_path_watch) watch = watching(ROTA_WATCH_CREATED, &id);
    write_text("file", "");
    CHECK_OK(rota_path_watch_remove(watch, id));
    write_text("other", "");
    check_next(watch, ROTA_WATCH_CREATED, "file");
    check_next(watch, ROTA_WATCH_GONE, "");
}

TASK_TEST(what_cannot_be_watched_is_named)
{
    ROTA_AUTO(rota_path_watch) watch = NULL;
    CHECK_OK(rota_path_watch_new(&watch));
    CHECK_INT(rota_path_watch_add(watch, in_directory("none"), ROTA_WATCH_CHANGED), ==, -ENOENT);
    CHECK_INT(rota_path_watch_add(watch, in_directory(""), 0), ==, -EINVAL);
    CHECK_INT(rota_path_watch_add(watch, in_directory(""), ROTA_WATCH_OVERFLOW), ==, -EINVAL);
    CHECK_INT(rota_path_watch_remove(watch, 17), ==, -EINVAL);
    CHECK_PTR(rota_path_watch_free(NULL), ==, NULL);
}

static int wait_for_event(void *arg)
{
    rota_path_watch_event *event;
    return rota_path_watch_next(arg, &event);
}

TASK_TEST(one_who_waits_is_let_go_when_the_watch_is_freed)
{
    int id;
    rota_path_watch *watch = watching(ROTA_WATCH_CREATED, &id);
    rota_task *waiter;
    rota_path_watch_event *event;
    CHECK_OK(rota_spawn(wait_for_event, watch, &waiter));
    CHECK_OK(rota_yield());
    CHECK_STR(rota_task_waits_for(waiter), "file event");
    CHECK_INT(rota_path_watch_next(watch, &event), ==, -EBUSY);
    rota_path_watch_free(watch);
    CHECK_INT(rota_join(waiter), ==, ROTA_ECLOSED);
}

TASK_TEST(a_cancelled_wait_loses_no_event)
{
    int id, seen = 0;
    ROTA_AUTO(rota_path_watch) watch = watching(ROTA_WATCH_CREATED, &id);
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        rota_task *waiter;
        CHECK_OK(rota_spawn(wait_for_event, watch, &waiter));
        CHECK_OK(rota_yield());
        write_text(name, "");
        rota_task_cancel(waiter);
        int more = rota_join(waiter);
        CHECK(more == 1 || more == -ECANCELED);
        seen += more == 1;
    }
    for (; seen < 20; seen++)
        next(watch);
    int more = 0;
    rota_path_watch_event *event;
    ROTA_TIMEOUT (0) {
        more = rota_path_watch_next(watch, &event);
    }
    CHECK_INT(more, ==, -ETIMEDOUT);
}

static long queue_limit(void)
{
    FILE *in = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    long limit = 0;
    if (!in || fscanf(in, "%ld", &limit) != 1 || limit > 100000)
        SKIP("the queue of events is too long to be filled");
    fclose(in);
    return limit;
}

TASK_TEST(events_that_were_lost_are_told_of)
{
    int id;
    long limit = queue_limit();
    ROTA_AUTO(rota_path_watch) watch = watching(ROTA_WATCH_ATTRIBUTES, &id);
    write_text("a", "");
    write_text("b", "");
    char a[300], b[300];
    snprintf(a, sizeof a, "%s", in_directory("a"));
    snprintf(b, sizeof b, "%s", in_directory("b"));
    for (long i = 0; i <= limit; i++) /* two alike in a row would be one */
        CHECK_OK(chmod(i % 2 ? a : b, 0600));
    long told = 0;
    rota_path_watch_event *event;
    while (!((event = next(watch))->what & ROTA_WATCH_OVERFLOW))
        told++;
    CHECK_INT(event->id, ==, -1);
    CHECK_INT(told, ==, limit);
}
