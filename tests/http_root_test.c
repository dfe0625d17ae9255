/* What can be reached below a root, and what cannot: with openat2, and by hand where a filter
 * refuses it. */
#include "http/root.h"

#include "harness.h"

#include <rota.h>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- Setting */

static const char *path_of(const char *name)
{
    static char path[2][4096];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", test_directory(), name);
    return path[turn];
}

static void put_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    CHECK(f && fputs(text, f) >= 0);
    fclose(f);
}

static void put_directory(const char *name)
{
    CHECK_OK(mkdir(path_of(name), 0755));
}

static void put_link(const char *name, const char *to)
{
    CHECK_OK(symlink(to, path_of(name)));
}

/* root/, a secret beside it, and all ways that lead there. */
static void make_site(void)
{
    char longest[256], name[300];
    put_file("secret", "secret");
    put_directory("outside");
    put_file("outside/index.html", "secret");
    put_directory("root");
    put_file("root/a.txt", "a");
    put_directory("root/docs");
    put_directory("root/docs/deep");
    put_file("root/docs/index.html", "index");
    put_file("root/docs/deep/b.txt", "b");
    put_file("root/docs/deep/index.html", "index");
    put_link("root/inside", "a.txt");
    put_link("root/inside_dir", "docs");
    put_link("root/docs/up", "../a.txt");
    put_link("root/docs/up_and_out", "../../secret");
    put_link("root/escape", "../secret");
    put_link("root/absolute", path_of("secret"));
    put_link("root/absolute_inside", path_of("root/a.txt"));
    put_link("root/out", "../outside");
    put_link("root/docs/out", path_of("outside"));
    put_link("root/there_and_back", "../root/a.txt");
    put_link("root/slash", "/");
    put_link("root/proc", "/proc/self/root");
    put_link("root/circle", "circle");
    put_link("root/by_link", "out/index.html");
    CHECK_OK(mkfifo(path_of("root/pipe"), 0644));
    memset(longest, 'n', 255);
    longest[255] = '\0';
    snprintf(name, sizeof name, "root/%s", longest);
    put_file(name, "long");
}

struct ask {
    rota_http_root *root;
    char request[1000];
    char reply[8192];
    size_t len;
    rota_stream *client, *server;
};

static int answer(rota_http_request *r, void *root)
{
    return rota_http_reply_file(r, root, rota_http_request_path(r));
}

static int serve(void *arg)
{
    struct ask *ask = arg;
    int err = rota_http_serve_stream(ask->server, answer, ask->root, NULL);
    rota_stream_close(ask->server);
    return err;
}

static int ask_in_task(void *arg)
{
    struct ask *ask = arg;
    CHECK_OK(rota_stream_pair(0, &ask->client, &ask->server));
    ROTA_GROUP(g);
    rota_group_spawn(&g, serve, ask);
    CHECK_OK(rota_stream_write(ask->client, ask->request, strlen(ask->request)));
    ssize_t n;
    while ((n = rota_stream_read(ask->client, ask->reply + ask->len,
                                 sizeof ask->reply - 1 - ask->len)) > 0)
        ask->len += (size_t)n;
    CHECK_OK(n);
    CHECK_OK(rota_group_wait(&g));
    rota_stream_free(ask->client);
    rota_stream_free(ask->server);
    return 0;
}

static struct ask ask;

/* The status of the reply, which never has the secret. */
static int status_of(rota_http_root *root, const char *target)
{
    ask = (struct ask){.root = root};
    snprintf(ask.request, sizeof ask.request,
             "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", target);
    CHECK_OK(rota_run_with(ask_in_task, &ask, &(rota_loop_options){.virtual_clock = true}));
    if (strstr(ask.reply, "secret"))
        FAIL("%s leads out:\n%s", target, ask.reply);
    CHECK(ask.len > 12);
    return atoi(ask.reply + 9);
}

TEST(a_directory_that_cannot_be_opened_is_named)
{
    rota_http_root *root;
    CHECK_INT(rota_http_root_open("/nowhere", NULL, &root), ==, -ENOENT);
    CHECK_STR(rota_error(-ENOENT), "open directory \"/nowhere\": No such file or directory");
}

static rota_http_root *open_root(const char *path, rota_http_root_options options)
{
    rota_http_root *root;
    CHECK_OK(rota_http_root_open(path, &options, &root));
    return root;
}

/* From now on openat2 fails with `error`. */
static void refuse_openat2(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT(filter), filter};
    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        SKIP("no seccomp filters here: %s", strerror(errno));
    CHECK(syscall(SYS_openat2, -1, NULL, NULL, 0) < 0 && errno == error);
}

static void need_openat2(void)
{
    if (syscall(SYS_openat2, -1, NULL, NULL, 0) < 0 && (errno == ENOSYS || errno == EPERM))
        SKIP("no openat2 here: %s", strerror(errno));
}

/* ---- What is there */

static const char *const files[] = {
    "/a.txt", "/docs/", "/docs/index.html", "/docs/deep/b.txt", "//docs//deep///b.txt", "/%61.txt"};

/* Links that stay inside are followed where the kernel watches over it, and never by hand. */
static const char *const links_inside[] = {"/inside", "/inside_dir/", "/inside_dir/index.html",
                                           "/docs/up", "/inside_dir/deep/b.txt"};

/* To these nobody gets. */
static const char *const ways_out[] = {
    /* up */
    "/../secret", "/docs/../../secret", "/docs/..", "/..", "/../", "/%2e%2e/secret", "/.%2e/secret",
    "/docs/%2E%2E/%2e%2e/secret", "/....//secret", "//../secret", "/..\\secret", "/..;/secret",
    "/docs/.", "/%2e/a.txt", "/docs/%2e%2e/a.txt",
    /* encoded slashes and NUL */
    "/..%2fsecret", "/..%2Fsecret", "/docs%2findex.html", "/docs/..%2f..%2fsecret",
    "/%2fetc%2fpasswd", "/a.txt%00.html", "/%00", "/..%00/secret", "/%252e%252e/secret", "/%ff",
    /* links, at the end and in the middle */
    "/escape", "/absolute", "/absolute_inside", "/out", "/out/", "/out/index.html",
    "/docs/out/index.html", "/docs/out/", "/docs/up_and_out", "/inside_dir/up_and_out",
    "/inside_dir/out/index.html", "/by_link", "/there_and_back", "/slash/etc/passwd", "/slash/",
    "/proc/etc/passwd", "/proc/", "/circle", "/circle/x", "/escape/", "/absolute/",
    /* slashes behind a file */
    "/a.txt/", "/a.txt//", "/a.txt/.", "/a.txt/../../secret", "/inside/", "/a.txt/b",
    /* not a file */
    "/pipe", "/pipe/", "/nobody", "/docs/deep/nobody/x"};

static void make_site_and_refuse(int error)
{
    make_site();
    if (error)
        refuse_openat2(error);
    else
        need_openat2();
}

/* `error`: why there is no openat2; 0: there is. */
static void check_all(int error)
{
    make_site_and_refuse(error);
    int before = test_open_fds();
    for (int hidden = 0; hidden < 2; hidden++) {
        rota_http_root *root =
            open_root(path_of("root"), (rota_http_root_options){.hidden = hidden});
        for (size_t i = 0; i < COUNT(files); i++)
            if (status_of(root, files[i]) != 200)
                FAIL("%s is not served", files[i]);
        for (size_t i = 0; i < COUNT(links_inside); i++)
            if (status_of(root, links_inside[i]) != (error ? 404 : 200))
                FAIL("%s is %sserved", links_inside[i], error ? "" : "not ");
        for (size_t i = 0; i < COUNT(ways_out); i++)
            if (status_of(root, ways_out[i]) != 404)
                FAIL("%s is there", ways_out[i]);
        rota_http_root_free(root);
    }
    CHECK_INT(test_open_fds(), ==, before);
}

TEST_WITH(nothing_outside_is_reached, .without_faults = true)
{
    check_all(0);
}

TEST_WITH(nothing_outside_is_reached_where_openat2_is_missing, .without_faults = true)
{
    check_all(ENOSYS);
}

TEST_WITH(nothing_outside_is_reached_where_openat2_is_forbidden, .without_faults = true)
{
    check_all(EPERM);
}

static bool is_listed(const char *name)
{
    char link[64];
    snprintf(link, sizeof link, "<a href=\"./%s\">", name);
    return strstr(ask.reply, link) != NULL;
}

/* Not even how long a file outside is. */
static void check_lists(int error)
{
    static const char *const out[] = {"escape", "absolute", "absolute_inside", "out/",   "slash/",
                                      "proc/",  "circle",   "by_link",         "pipe",   "out",
                                      "slash",  "proc",     "there_and_back",  "circle/"};
    make_site_and_refuse(error);
    rota_http_root *root =
        open_root(path_of("root"), (rota_http_root_options){.list = true, .index = ""});
    CHECK_INT(status_of(root, "/"), ==, 200);
    CHECK(is_listed("a.txt") && is_listed("docs/"));
    CHECK_INT(is_listed("inside"), ==, !error);
    CHECK_INT(is_listed("inside_dir/"), ==, !error);
    for (size_t i = 0; i < COUNT(out); i++)
        if (is_listed(out[i]))
            FAIL("%s is listed", out[i]);
    CHECK_INT(status_of(root, "/docs/"), ==, 200);
    CHECK(is_listed("index.html") && is_listed("deep/"));
    CHECK_INT(is_listed("up"), ==, !error);
    CHECK(!is_listed("up_and_out") && !is_listed("out/"));
    rota_http_root_free(root);
}

TEST(only_what_is_served_is_listed)
{
    check_lists(0);
}

TEST(only_what_is_served_is_listed_by_hand)
{
    check_lists(ENOSYS);
}

/* With faults. */
static void check_some(int error)
{
    make_site_and_refuse(error);
    rota_http_root *root = open_root(path_of("root"), (rota_http_root_options){0});
    CHECK_INT(status_of(root, "/docs/deep/b.txt"), ==, 200);
    CHECK_INT(status_of(root, "/docs/"), ==, 200);
    CHECK_INT(status_of(root, "/out/index.html"), ==, 404);
    rota_http_root_free(root);
}

TEST(some_files_are_served)
{
    check_some(0);
}

TEST(some_files_are_served_by_hand)
{
    check_some(ENOSYS);
}

/* ---- Names that no file can have */

static void check_long_names(int error)
{
    char name[5000] = "/";
    make_site_and_refuse(error);
    rota_http_root *root = open_root(path_of("root"), (rota_http_root_options){0});
    memset(name + 1, 'n', 255);
    CHECK_INT(status_of(root, name), ==, 200);
    name[256] = 'n';
    CHECK_INT(status_of(root, name), ==, 404);
    strcpy(name + 257, "/a.txt");
    CHECK_INT(status_of(root, name), ==, 404);
    rota_http_root_free(root);
}

TEST(a_name_that_is_too_long_is_not_cut_short)
{
    check_long_names(0);
}

TEST(a_name_that_is_too_long_is_not_cut_short_by_hand)
{
    check_long_names(EPERM);
}

/* ---- Links that the kernel makes up */

static void check_magic_links(int error)
{
    static const char *const ways[] = {"/root/etc/passwd",
                                       "/root/",
                                       "/cwd/",
                                       "/exe",
                                       "/cwd/secret",
                                       "/fd/0",
                                       "/self/root/etc/passwd",
                                       "/task/../root/etc/passwd"};
    char opened[64];
    make_site_and_refuse(error);
    int fd = open(path_of("outside"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_OK(fd);
    snprintf(opened, sizeof opened, "/fd/%d/index.html", fd);
    rota_http_root *root = open_root("/proc/self", (rota_http_root_options){0});
    CHECK_INT(status_of(root, "/comm"), ==, 200);
    CHECK_INT(status_of(root, opened), ==, 404);
    for (size_t i = 0; i < COUNT(ways); i++)
        if (status_of(root, ways[i]) != 404)
            FAIL("%s is there", ways[i]);
    rota_http_root_free(root);
    close(fd);
}

TEST(links_of_proc_lead_nowhere)
{
    check_magic_links(0);
}

TEST(links_of_proc_lead_nowhere_by_hand)
{
    check_magic_links(ENOSYS);
}

/* ---- Mounts: what is mounted inside belongs there */

static void mount_elsewhere(void)
{
    if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        SKIP("no namespaces here: %s", strerror(errno));
    put_directory("elsewhere");
    put_file("elsewhere/index.html", "mounted");
    put_link("elsewhere/back", "../a.txt");
    put_link("elsewhere/out", "../../secret");
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(path_of("elsewhere"), path_of("root/docs"), NULL, MS_BIND, NULL) < 0)
        SKIP("no mounts here: %s", strerror(errno));
}

static void check_mounts(int error)
{
    make_site();
    mount_elsewhere();
    if (error)
        refuse_openat2(error);
    else
        need_openat2();
    rota_http_root *root = open_root(path_of("root"), (rota_http_root_options){0});
    CHECK_INT(status_of(root, "/docs/index.html"), ==, 200);
    CHECK_INT(status_of(root, "/docs/deep/b.txt"), ==, 404);
    CHECK_INT(status_of(root, "/docs/back"), ==, error ? 404 : 200);
    CHECK_INT(status_of(root, "/docs/out"), ==, 404);
    rota_http_root_free(root);
}

TEST_WITH(what_is_mounted_inside_is_served, .without_faults = true)
{
    check_mounts(0);
}

TEST_WITH(what_is_mounted_inside_is_served_by_hand, .without_faults = true)
{
    check_mounts(ENOSYS);
}

/* ---- Directories that become links on the way */

static struct {
    const char *name, *link;
    char paths[2][4096];
    atomic_bool over;
} swap;

static void *swap_all_the_time(void *arg)
{
    while (!atomic_load(&swap.over))
        CHECK_OK(renameat2(AT_FDCWD, swap.paths[0], AT_FDCWD, swap.paths[1], RENAME_EXCHANGE));
    return arg;
}

static int open_meanwhile(void *root)
{
    int found = 0, missed = 0;
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, swap_all_the_time, NULL), ==, 0);
    for (int i = 0; i < 100000 && (i < 2000 || !found || !missed); i++) {
        char got[8] = "";
        int fd = rota__root_open(root, swap.name);
        if (fd >= 0) {
            CHECK_OK(read(fd, got, sizeof got - 1));
            close(fd);
        }
        CHECK(strcmp(got, "secret") != 0);
        found += fd >= 0;
        missed += fd < 0;
    }
    atomic_store(&swap.over, true);
    pthread_join(thread, NULL);
    CHECK(found && missed);
    return 0;
}

static void check_swaps(const char *name, const char *directory, const char *link, int error)
{
    make_site_and_refuse(error);
    swap.name = name;
    strcpy(swap.paths[0], path_of(directory));
    strcpy(swap.paths[1], path_of(link));
    rota_http_root *root = open_root(path_of("root"), (rota_http_root_options){0});
    CHECK_OK(rota_run(open_meanwhile, root));
    rota_http_root_free(root);
}

TEST_WITH(a_directory_that_becomes_a_link_leads_nowhere, .without_faults = true)
{
    check_swaps("docs/index.html", "root/docs", "root/out", 0);
}

TEST_WITH(a_directory_that_becomes_a_link_leads_nowhere_by_hand, .without_faults = true)
{
    check_swaps("docs/index.html", "root/docs", "root/out", ENOSYS);
}

TEST_WITH(a_directory_further_down_that_becomes_a_link_leads_nowhere_by_hand,
          .without_faults = true)
{
    check_swaps("docs/out/index.html", "root/docs/out", "root/docs/deep", ENOSYS);
}

TEST_WITH(a_file_that_becomes_a_link_leads_nowhere_by_hand, .without_faults = true)
{
    check_swaps("a.txt", "root/a.txt", "root/escape", ENOSYS);
}
