/* Directories, walks, and what is done by name. */
#include "clean_run.h"
#include "directory.h"
#include "file/file.h"

#include <rota.h>

#include <fnmatch.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

TEST_ALL_ON_BOTH_BACKENDS;
TEST_DIRECTORIES_IN_MEMORY;

/* Makes a file or, if the name ends in a slash, a directory. */
static void make(const char *name)
{
    size_t len = strlen(name);
    if (name[len - 1] == '/')
        CHECK_OK(mkdir(in_directory(name), 0700));
    else
        write_text(name, name);
}

#define MAKE(...)                                                      \
    do {                                                               \
        static const char *const names_[] = {__VA_ARGS__};             \
        for (size_t i_ = 0; i_ < sizeof names_ / sizeof *names_; i_++) \
            make(names_[i_]);                                          \
    } while (0)

/* ---- The snippets of the header */

static int list(void *arg)
{
    ROTA_AUTO(rota_dir) dir = NULL;
    int err = rota_dir_open("/etc", &dir);
    if (err < 0)
        return err;
    ROTA_FOREACH (rota_dir_entry *, entry, rota_dir_entries(dir), &err)
        puts(entry->name);
    return err;
}

static int count_sources(void *arg)
{
    ROTA_AUTO(rota_walk) walk = NULL;
    int err = rota_walk_new(in_directory("src"), NULL, &walk), n = 0;
    if (err < 0)
        return err;
    ROTA_FOREACH (rota_walk_entry *, entry, rota_walk_entries(walk), &err) {
        if (entry->event == ROTA_WALK_DIRECTORY && strcmp(entry->name, ".git") == 0)
            rota_walk_skip(walk);
        else if (entry->event == ROTA_WALK_FILE && fnmatch("*.c", entry->name, 0) == 0)
            n++;
    }
    return err < 0 ? err : n;
}

TASK_TEST(snippets_of_the_header_list_and_count)
{
    CHECK_OK(list(NULL));
    MAKE("src/", "src/a.c", "src/.git/", "src/.git/b.c", "src/sub/", "src/sub/c.c", "src/sub/d.h");
    CHECK_INT(count_sources(NULL), ==, 2);
}

static int rotate(void *arg)
{
    int err = rota_path_make_directories(in_directory("log/mine/old"), 0);
    if (err == 0)
        err = rota_path_rename(in_directory("log/mine/log"), in_directory("log/mine/old/log"));
    return err;
}

TASK_TEST(snippet_of_the_header_rotates)
{
    MAKE("log/", "log/mine/", "log/mine/log");
    CHECK_OK(rotate(NULL));
    CHECK(exists(in_directory("log/mine/old/log")));
}

/* ---- One directory */

TASK_TEST(each_entry_comes_once_with_its_type)
{
    enum { FILES = 3000 };
    static char seen[FILES];
    char name[64];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "a-rather-long-name-of-a-file-%d", i);
        close(open(in_directory(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    MAKE("directory/");
    CHECK_OK(symlink("nowhere", in_directory("link")));
    CHECK_OK(mkfifo(in_directory("fifo"), 0600));
    ROTA_AUTO(rota_dir) dir = NULL;
    CHECK_OK(rota_dir_open(in_directory(""), &dir));
    CHECK_INT(rota_dir_fd(dir), >, 2);
    int err, files = 0, others = 0;
    ROTA_FOREACH (rota_dir_entry *, entry, rota_dir_entries(dir), &err) {
        if (entry->type == S_IFREG) {
            int i = atoi(strrchr(entry->name, '-') + 1);
            CHECK_INT(seen[i]++, ==, 0);
            files++;
        } else {
            CHECK_INT(entry->type, ==,
                      *entry->name == 'l'   ? S_IFLNK
                      : *entry->name == 'd' ? S_IFDIR
                                            : S_IFIFO);
            others++;
        }
        CHECK(entry->inode != 0);
    }
    CHECK_OK(err);
    CHECK_INT(files, ==, FILES);
    CHECK_INT(others, ==, 3);
    rota_dir_entry *none;
    CHECK_INT(rota_dir_next(dir, &none), ==, 0);
}

TASK_TEST(what_is_no_directory_cannot_be_opened_as_one)
{
    rota_dir *dir = NULL;
    MAKE("file");
    CHECK_INT(rota_dir_open(in_directory("none"), &dir), ==, -ENOENT);
    CHECK_INT(rota_dir_open(in_directory("file"), &dir), ==, -ENOTDIR);
    CHECK_PTR(dir, ==, NULL);
    CHECK_PTR(rota_dir_free(NULL), ==, NULL);
}

/* ---- Walks */

/* Writes what a walk tells into one line, such as "+a f1 -a", names sorted by nothing. */
static const char *walk_line(const char *name, const rota_walk_options *options,
                             void (*meet)(rota_walk *walk, rota_walk_entry *entry))
{
    static char line[4096];
    static const char marks[] = {[ROTA_WALK_FILE] = '.',
                                 [ROTA_WALK_DIRECTORY] = '+',
                                 [ROTA_WALK_LEAVE] = '-',
                                 [ROTA_WALK_FAILED] = '!'};
    ROTA_AUTO(rota_walk) walk = NULL;
    int err;
    line[0] = '\0';
    CHECK_OK(rota_walk_new(in_directory(name), options, &walk));
    ROTA_FOREACH (rota_walk_entry *, entry, rota_walk_entries(walk), &err) {
        struct stat about;
        size_t len = strlen(line);
        snprintf(line + len, sizeof line - len, "%c%s ", marks[entry->event], entry->name);
        CHECK(strlen(entry->path) >= strlen(entry->name));
        CHECK_STR(entry->path + strlen(entry->path) - strlen(entry->name), entry->name);
        if (!meet && entry->event != ROTA_WALK_FAILED) {
            CHECK_OK(fstatat(entry->directory, entry->name, &about, AT_SYMLINK_NOFOLLOW));
            CHECK_INT(about.st_ino, ==, entry->inode);
            CHECK_INT(about.st_mode & S_IFMT, ==, entry->type);
            CHECK_OK(lstat(entry->path, &about));
        }
        if (meet)
            meet(walk, entry);
    }
    CHECK_OK(err);
    return line;
}

TASK_TEST(a_walk_tells_of_a_directory_before_what_is_in_it)
{
    MAKE("t/", "t/a/", "t/a/b/", "t/a/b/c/", "t/a/b/c/file");
    CHECK_STR(walk_line("t", NULL, NULL), "+a +b +c .file ");
    rota_walk_options leave = {.leave = true};
    CHECK_STR(walk_line("t/", &leave, NULL), "+a +b +c .file -c -b -a ");
    rota_walk_options shallow = {.depth = 2, .leave = true, .one_device = true};
    CHECK_STR(walk_line("t", &shallow, NULL), "+a +b -a ");
}

static void check_depth(rota_walk *walk, rota_walk_entry *entry)
{
    size_t slashes = 0;
    for (const char *p = strstr(entry->path, "/t/") + 3; *p; p++)
        slashes += *p == '/';
    CHECK_INT(entry->depth, ==, slashes + 1);
}

TASK_TEST(depth_is_counted_from_where_the_walk_began)
{
    rota_walk_options leave = {.leave = true};
    MAKE("t/", "t/a/", "t/a/b/", "t/a/b/file", "t/c", "t/d/");
    walk_line("t", &leave, check_depth);
}

static void skip_b(rota_walk *walk, rota_walk_entry *entry)
{
    if (strcmp(entry->name, "b") == 0)
        rota_walk_skip(walk);
}

TASK_TEST(a_skipped_directory_is_not_entered)
{
    rota_walk_options leave = {.leave = true};
    MAKE("t/", "t/a/", "t/a/b/", "t/a/b/file");
    CHECK_STR(walk_line("t", &leave, skip_b), "+a +b -a ");
}

static void skip_file(rota_walk *walk, rota_walk_entry *entry)
{
    if (entry->event == ROTA_WALK_FILE)
        rota_walk_skip(walk);
}

TASK_TEST(skipping_at_a_file_passes_over_its_siblings)
{
    MAKE("t/", "t/a/", "t/a/1", "t/a/2", "t/a/3");
    CHECK_INT(strlen(walk_line("t", NULL, skip_file)), ==, strlen("+a .1 "));
}

TASK_TEST(links_are_not_followed)
{
    MAKE("t/", "t/a/", "outside/", "outside/file");
    CHECK_OK(symlink("../../outside", in_directory("t/a/link")));
    CHECK_OK(symlink("..", in_directory("t/a/up")));
    rota_walk_options leave = {.leave = true};
    const char *line = walk_line("t", &leave, NULL);
    CHECK(strcmp(line, "+a .link .up -a ") == 0 || strcmp(line, "+a .up .link -a ") == 0);
    CHECK_OK(symlink("t", in_directory("start")));
    CHECK_INT(strlen(walk_line("start", NULL, NULL)), ==, strlen("+a .link .up "));
}

static void swap_for_link(rota_walk *walk, rota_walk_entry *entry)
{
    if (entry->event != ROTA_WALK_DIRECTORY)
        return;
    CHECK_OK(rename(entry->path, in_directory("moved")));
    CHECK_OK(symlink(in_directory("outside"), entry->path));
}

TASK_TEST(a_directory_that_became_a_link_is_passed_over)
{
    MAKE("t/", "t/a/", "t/a/file", "outside/", "outside/secret");
    CHECK_STR(walk_line("t", NULL, swap_for_link), "+a ");
}

static void move_top(rota_walk *walk, rota_walk_entry *entry)
{
    if (strcmp(entry->name, "b") == 0) {
        CHECK_OK(rename(in_directory("t/a"), in_directory("moved")));
        CHECK_OK(symlink(in_directory("outside"), in_directory("t/a")));
    }
}

TASK_TEST(renaming_what_is_above_leads_nowhere_else)
{
    MAKE("t/", "t/a/", "t/a/b/", "t/a/b/file", "outside/", "outside/b/", "outside/b/secret");
    CHECK_STR(walk_line("t", NULL, move_top), "+a +b .file ");
}

static void remove_met(rota_walk *walk, rota_walk_entry *entry)
{
    if (entry->event == ROTA_WALK_DIRECTORY)
        CHECK_OK(rmdir(entry->path));
}

TASK_TEST(a_directory_that_vanished_is_passed_over)
{
    MAKE("t/", "t/a/", "t/b/");
    CHECK_INT(strlen(walk_line("t", NULL, remove_met)), ==, strlen("+a +b "));
}

TASK_TEST(a_directory_that_cannot_be_read_is_told_of)
{
    bool is_root = geteuid() == 0;
    ROTA_AUTO(rota_walk) walk = NULL;
    rota_walk_entry *entry;
    MAKE("t/", "t/a/");
    CHECK_OK(chmod(test_directory(), 0755));
    CHECK_OK(chmod(in_directory("t"), 0755));
    CHECK_OK(chmod(in_directory("t/a"), 0));
    if (is_root)
        CHECK_OK(seteuid(65534));
    CHECK_OK(rota_walk_new(in_directory("t"), NULL, &walk));
    CHECK_INT(rota_walk_next(walk, &entry), ==, 1);
    CHECK_INT(entry->event, ==, ROTA_WALK_DIRECTORY);
    int more = rota_walk_next(walk, &entry);
    if (is_root)
        CHECK_OK(seteuid(0));
    CHECK_INT(more, ==, 1);
    CHECK_INT(entry->event, ==, ROTA_WALK_FAILED);
    CHECK_INT(entry->error, ==, -EACCES);
    CHECK_STR(entry->name, "a");
    CHECK_INT(rota_walk_next(walk, &entry), ==, 0);
}

TASK_TEST(a_walk_may_stay_on_one_file_system)
{
    struct stat root, proc;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* emulators have a root of their own */
    CHECK_OK(fstat(fd, &root));
    bool is_there = fstatat(fd, "proc", &proc, 0) == 0 && root.st_dev != proc.st_dev;
    close(fd);
    if (!is_there)
        SKIP("there is no /proc of its own");
    rota_walk_options options = {.depth = 2, .one_device = true};
    ROTA_AUTO(rota_walk) walk = NULL;
    CHECK_OK(rota_walk_new("/", &options, &walk));
    int err, told = 0;
    ROTA_FOREACH (rota_walk_entry *, entry, rota_walk_entries(walk), &err) {
        told += strcmp(entry->path, "/proc") == 0;
        CHECK(strncmp(entry->path, "/proc/", 6) != 0);
    }
    CHECK_OK(err);
    CHECK_INT(told, ==, 1);
}

TASK_TEST(a_walk_of_nothing_is_an_error)
{
    ROTA_AUTO(rota_walk) walk = NULL;
    rota_walk_entry *entry;
    CHECK_OK(rota_walk_new(in_directory("none"), NULL, &walk));
    CHECK_INT(rota_walk_next(walk, &entry), ==, -ENOENT);
    make("none/");
    CHECK_INT(rota_walk_next(walk, &entry), ==, 0);
    CHECK_INT(rota_walk_next(walk, &entry), ==, 0);
    CHECK_PTR(rota_walk_free(NULL), ==, NULL);
}

/* A chain of directories, each in the one before, `depth` deep. */
static void make_chain(const char *name, int depth)
{
    make(name);
    int at = open(in_directory(name), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < depth; i++) {
        CHECK_OK(mkdirat(at, "deeper", 0700));
        int next = openat(at, "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK_OK(next);
        close(at);
        at = next;
    }
    close(openat(at, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    close(at);
}

TASK_TEST(a_walk_has_a_limit_of_depth)
{
    make_chain("t/", 300);
    ROTA_AUTO(rota_walk) walk = NULL;
    CHECK_OK(rota_walk_new(in_directory("t"), NULL, &walk));
    int err, last = 0;
    size_t depth = 0;
    ROTA_FOREACH (rota_walk_entry *, entry, rota_walk_entries(walk), &err) {
        depth = entry->depth;
        last = entry->error;
    }
    CHECK_OK(err);
    CHECK_INT(depth, ==, 256);
    CHECK_INT(last, ==, ROTA_ELIMIT);
}

TASK_TEST(a_cancelled_walk_may_go_on)
{
    MAKE("t/", "t/a/", "t/a/b/", "t/a/b/file");
    ROTA_AUTO(rota_walk) walk = NULL;
    rota_walk_entry *entry;
    int told = 0;
    CHECK_OK(rota_walk_new(in_directory("t"), NULL, &walk));
    for (int rounds = 0; told < 3; rounds++) {
        int more = 0;
        ROTA_TIMEOUT (rounds % 3 * 20 * ROTA_MICROSECOND) {
            more = rota_walk_next(walk, &entry);
        }
        CHECK(more == 1 || more == -ETIMEDOUT);
        told += more == 1;
    }
    CHECK_STR(entry->name, "file");
    CHECK_INT(rota_walk_next(walk, &entry), ==, 0);
}

struct meddler {
    char path[300];
    atomic_bool stop;
};

static void *meddle(void *arg)
{
    struct meddler *m = arg;
    int top = open(m->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char name[32], inner[48];
    for (int i = 0; !atomic_load(&m->stop); i++) {
        snprintf(name, sizeof name, "d%d", i % 50);
        snprintf(inner, sizeof inner, "d%d/x%d", i % 50, i % 7);
        if (mkdirat(top, name, 0700) < 0)
            unlinkat(top, inner, AT_REMOVEDIR);
        else
            mkdirat(top, inner, 0700);
        if (i % 3 == 0)
            unlinkat(top, name, AT_REMOVEDIR);
        if (i % 100 == 0)
            sched_yield();
    }
    close(top);
    return NULL;
}

TASK_TEST(a_directory_that_changes_while_it_is_walked_or_removed_is_survived)
{
    struct meddler m = {.stop = false};
    pthread_t thread;
    MAKE("t/", "t/kept/", "t/kept/file");
    snprintf(m.path, sizeof m.path, "%s", in_directory("t"));
    CHECK_INT(pthread_create(&thread, NULL, meddle, &m), ==, 0);
    int err = 0, kept = 0, failed = 0, rounds = 40;
    for (int i = 0; i < rounds && err == 0; i++) {
        ROTA_AUTO(rota_walk) walk = NULL;
        err = rota_walk_new(m.path, NULL, &walk);
        if (err < 0)
            break;
        ROTA_FOREACH (rota_walk_entry *, entry, rota_walk_entries(walk), &err) {
            kept += strcmp(entry->name, "file") == 0;
            failed += entry->event == ROTA_WALK_FAILED;
        }
    }
    int removed = rota_path_remove_all(m.path);
    atomic_store(&m.stop, true);
    pthread_join(thread, NULL);
    CHECK_OK(err);
    CHECK_INT(kept, ==, rounds);
    CHECK_INT(failed, ==, 0);
    if (removed != -ENOTEMPTY)
        CHECK_OK(removed);
    CHECK_OK(rota_path_remove_all(m.path));
    CHECK(!exists(in_directory("t")));
}

/* ---- By name */

TASK_TEST(names_are_made_changed_and_removed)
{
    struct stat about;
    MAKE("file");
    CHECK_INT(rota_path_exists(in_directory("file")), ==, 1);
    CHECK_INT(rota_path_exists(in_directory("none")), ==, 0);
    CHECK_INT(rota_path_exists(in_directory("file/none")), ==, 0);
    CHECK_OK(rota_path_stat(in_directory("file"), &about));
    CHECK_INT(about.st_size, ==, 4);
    CHECK_INT(rota_path_stat(in_directory("none"), &about), ==, -ENOENT);
    CHECK_OK(rota_path_link(in_directory("file"), in_directory("second")));
    CHECK_OK(rota_path_symlink("nowhere", in_directory("soft")));
    CHECK_OK(rota_path_stat_link(in_directory("soft"), &about));
    CHECK(S_ISLNK(about.st_mode));
    CHECK_INT(rota_path_exists(in_directory("soft")), ==, 0);
    ROTA_SCOPED(rota_bytes) target = ROTA_BYTES_INIT;
    CHECK_OK(rota_path_readlink(in_directory("soft"), &target));
    CHECK_STR(target.ptr, "nowhere");
    CHECK_INT(target.len, ==, 7);
    CHECK_INT(rota_path_readlink(in_directory("file"), &target), ==, -EINVAL);
    CHECK_OK(rota_path_rename(in_directory("second"), in_directory("third")));
    CHECK_OK(rota_path_unlink(in_directory("file")));
    CHECK_INT(rota_path_unlink(in_directory("file")), ==, -ENOENT);
    CHECK_STR(text_of("third"), "file");
    CHECK_OK(rota_path_mkdir(in_directory("directory"), 0700));
    CHECK_INT(rota_path_mkdir(in_directory("directory"), 0), ==, -EEXIST);
    CHECK_OK(rota_path_rmdir(in_directory("directory")));
    CHECK(!exists(in_directory("directory")));
}

TASK_TEST(a_status_that_is_asked_again_is_up_to_date)
{
    struct stat about;
    MAKE("file");
    CHECK_OK(mkfifo(in_directory("fifo"), 0));
    ROTA_AUTO(rota_file) file = NULL;
    CHECK_OK(rota_file_open(in_directory("file"), O_RDONLY, 0, &file));
    for (int size = 10; size < 14; size++) {
        CHECK_OK(truncate(in_directory("file"), size));
        CHECK_OK(rota_path_stat(in_directory("file"), &about));
        CHECK_INT(about.st_size, ==, size);
        CHECK_OK(rota_file_stat(file, &about));
        CHECK_INT(about.st_size, ==, size);
        CHECK_OK(rota_path_stat(in_directory("fifo"), &about));
        CHECK(S_ISFIFO(about.st_mode));
        CHECK_INT(rota_path_exists(in_directory("none")), ==, 0);
    }
    CHECK_OK(unlink(in_directory("file")));
    CHECK_INT(rota_path_exists(in_directory("file")), ==, 0);
    CHECK_OK(rota_file_stat(file, &about));
    CHECK_INT(about.st_nlink, ==, 0);
}

TASK_TEST(missing_directories_are_made)
{
    struct stat about;
    umask(022);
    CHECK_OK(rota_path_make_directories(in_directory("a/b//c/d/"), 0770));
    CHECK_OK(stat(in_directory("a/b/c/d"), &about));
    CHECK_INT(about.st_mode & 0777, ==, 0750);
    CHECK_OK(rota_path_make_directories(in_directory("a/b//c/d/"), 0770));
    CHECK_OK(rota_path_make_directories("/", 0));
    CHECK_INT(rota_path_make_directories("", 0), ==, -ENOENT);
    MAKE("a/file");
    CHECK_INT(rota_path_make_directories(in_directory("a/file"), 0), ==, -ENOTDIR);
    CHECK_INT(rota_path_make_directories(in_directory("a/file/x/y"), 0), ==, -ENOTDIR);
    CHECK_OK(chdir(in_directory("")));
    CHECK_OK(rota_path_make_directories("r/s/t", 0));
    CHECK_OK(rota_path_make_directories("./r/../u", 0));
    CHECK(exists(in_directory("r/s/t")) && exists(in_directory("u")));
}

TASK_TEST(a_tree_is_removed_with_all_that_is_in_it)
{
    char name[64];
    MAKE("outside/", "outside/file", "t/", "t/a/", "t/a/b/", "t/a/b/file", "t/c", "t/many/");
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "t/many/a-rather-long-name-of-a-file-%d", i);
        close(open(in_directory(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    CHECK_OK(symlink(in_directory("outside"), in_directory("t/a/link")));
    CHECK_OK(rota_path_remove_all(in_directory("t")));
    CHECK(!exists(in_directory("t")));
    CHECK(exists(in_directory("outside/file")));
    CHECK_OK(rota_path_remove_all(in_directory("t")));
    CHECK_OK(symlink("outside", in_directory("link")));
    CHECK_OK(rota_path_remove_all(in_directory("link")));
    CHECK(!exists(in_directory("link")));
    CHECK_OK(rota_path_remove_all(in_directory("outside/file")));
    CHECK_INT(rota_path_remove_all(in_directory("outside/")), ==, 0);
    CHECK(!exists(in_directory("outside")));
}

TASK_TEST(a_directory_that_is_not_named_is_not_emptied)
{
    const char *const ways[] = {"t/.", "t/./", "t/a/..", "t/a/..//"};
    MAKE("t/", "t/a/", "t/.b/", "t/..c");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        CHECK_INT(rota_path_remove_all(in_directory(ways[i])), ==, -EINVAL);
    CHECK(exists(in_directory("t/a")));
    CHECK_OK(rota_path_remove_all(in_directory("t/.b")));
    CHECK_OK(rota_path_remove_all(in_directory("t/..c")));
    CHECK(!exists(in_directory("t/.b")) && !exists(in_directory("t/..c")));
}

TASK_TEST(a_tree_of_any_depth_is_removed_with_few_descriptors)
{
    make_chain("t/", 1000);
    CHECK_OK(rota_path_remove_all(in_directory("t")));
    CHECK(!exists(in_directory("t")));
}

TASK_TEST(removing_can_be_cancelled)
{
    char name[64];
    make("t/");
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "t/%d", i);
        close(open(in_directory(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    int err = 0;
    ROTA_TIMEOUT (ROTA_MICROSECOND) {
        err = rota_path_remove_all(in_directory("t"));
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK(exists(in_directory("t")));
    CHECK_OK(rota_path_remove_all(in_directory("t")));
}

TASK_TEST(a_temporary_directory_goes_with_its_block)
{
    char path[300] = "";
    {
        ROTA_AUTO(rota_temp_dir) temp = NULL;
        struct stat about;
        CHECK_OK(rota_temp_dir_new(in_directory(""), &temp));
        snprintf(path, sizeof path, "%s/sub/sub", rota_temp_dir_path(temp));
        CHECK_OK(stat(rota_temp_dir_path(temp), &about));
        CHECK_INT(about.st_mode & 0777, ==, 0700);
        CHECK_OK(rota_path_make_directories(path, 0));
    }
    CHECK_INT(access(path, F_OK), ==, -1);
    rota_temp_dir *none = NULL;
    CHECK_INT(rota_temp_dir_new(in_directory("none"), &none), ==, -ENOENT);
    CHECK_PTR(none, ==, NULL);
}

static rota_temp_dir *left;

static int leave_temp(void *arg)
{
    return rota_temp_dir_new(in_directory(""), &left);
}

TEST(a_temporary_directory_may_be_freed_after_its_loop)
{
    CHECK_OK(rota_run(leave_temp, NULL));
    CHECK_OK(access(rota_temp_dir_path(left), F_OK));
    CHECK_PTR(rota_temp_dir_free(left), ==, NULL);
    CHECK_OK(rmdir(test_directory()));
}
