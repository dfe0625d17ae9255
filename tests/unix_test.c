#include "net/unix.h"

#include "clean_run.h"
#include "directory.h"
#include "ends.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- Setting */

static rota_listener *listen_at(const char *path)
{
    rota_listener *l;
    CHECK_INT(rota_unix_listen(path, NULL, &l), ==, 0);
    return l;
}

static rota_stream *connect_to(const char *path)
{
    rota_stream *s;
    CHECK_INT(rota_unix_connect(path, &s), ==, 0);
    return s;
}

static int refusal(const char *path)
{
    rota_listener *l;
    int err = rota_unix_listen(path, NULL, &l);
    CHECK_INT(err, <, 0);
    return err;
}

/* ---- The snippets of the header */

static int serve(void *arg)
{
    ROTA_AUTO(rota_listener) l = NULL;
    int err = rota_unix_listen(arg, NULL, &l);
    return err < 0 ? err : rota_serve(l, echo, NULL, NULL); // as with TCP
}

static int ask(const char *path, char *ret_reply, size_t len)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int err = rota_unix_connect(path, &s);
    if (err == 0)
        err = rota_stream_write(s, "hello", 5);
    return err < 0 ? err : rota_stream_read_exact(s, ret_reply, len);
}

static int snippet_main(void *arg)
{
    rota_task *server;
    char reply[6] = "";
    CHECK_OK(rota_spawn(serve, arg, &server));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    CHECK_INT(ask(arg, reply, 5), ==, 0);
    CHECK_STR(reply, "hello");
    rota_task_cancel(server);
    CHECK_INT(rota_join(server), ==, -ECANCELED);
    return 0;
}

TEST(the_snippets_of_the_header_work)
{
    char *path = strdup(in_directory("s"));
    run(snippet_main, path);
    CHECK(!exists(path));
    free(path);
}

TEST(abstract_name_needs_no_file)
{
    char name[40];
    snprintf(name, sizeof name, "@rota-unix-%d", (int)getpid());
    run(snippet_main, name);
    CHECK(!exists(name));
}

/* ---- Names */

TEST(names_have_a_form)
{
    rota_address a;
    char text[ROTA_ADDRESS_TEXT], name[200] = "";
    CHECK_INT(rota_unix_address("", &a), ==, -EINVAL);
    CHECK_INT(rota_unix_address(NULL, &a), ==, -EINVAL);
    CHECK_INT(rota_unix_address("@", &a), ==, -EINVAL);
    memset(name, 'a', 107);
    CHECK_INT(rota_unix_address(name, &a), ==, 0);
    CHECK_STR(rota_address_text(&a, text), name);
    name[107] = 'a';
    CHECK_INT(rota_unix_address(name, &a), ==, -ENAMETOOLONG);
    CHECK_INT(rota_unix_address("@a\tb", &a), ==, 0);
    CHECK_STR(rota_address_text(&a, text), "@a?b");
    a.len = sizeof a.un.sun_family;
    CHECK_STR(rota_address_text(&a, text), "unix");
    CHECK_INT(rota_unix_address("./@x", &a), ==, 0);
    CHECK_STR(rota_address_text(&a, text), "./@x");
}

TASK_TEST(streams_say_where_they_are)
{
    const char *path = in_directory("s");
    rota_listener *l = listen_at(path);
    rota_stream *c = connect_to(path), *s;
    CHECK_INT(rota_accept(l, &s), ==, 0);
    CHECK_STR(rota_stream_peer(c), path);
    CHECK_STR(rota_stream_local(c), "unix");
    CHECK_STR(rota_stream_peer(s), "unix");
    CHECK_STR(rota_stream_local(s), path);
    CHECK_INT(rota_listener_port(l), ==, 0);
    rota_stream_free(c);
    rota_stream_free(s);
    rota_listener_free(l);
}

/* ---- Files */

TASK_TEST(dead_sockets_file_is_replaced_and_a_live_ones_is_not)
{
    const char *path = in_directory("s");
    rota_address address;
    CHECK_OK(rota_unix_address(path, &address));
    int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(bind(dead, &address.any, address.len));
    CHECK_OK(listen(dead, 1));
    CHECK_INT(refusal(path), ==, -EADDRINUSE);
    CHECK(exists(path));
    close(dead);
    rota_listener *l = listen_at(path);
    rota_stream *s = connect_to(path);
    CHECK_INT(refusal(path), ==, -EADDRINUSE);
    rota_stream_free(s);
    rota_listener_free(l);
    CHECK(!exists(path));
}

TASK_TEST(listener_with_a_full_backlog_is_alive)
{
    const char *path = in_directory("s");
    rota_unix_listen_options options = {.backlog = 1};
    ROTA_AUTO(rota_listener) l = NULL;
    CHECK_INT(rota_unix_listen(path, &options, &l), ==, 0);
    rota_stream *held[2] = {connect_to(path), connect_to(path)};
    CHECK_INT(refusal(path), ==, -EADDRINUSE);
    rota_stream_free(held[0]);
    rota_stream_free(held[1]);
}

TASK_TEST(what_is_no_socket_is_never_touched)
{
    const char *file = in_directory("file"), *dir = in_directory("dir"),
               *link = in_directory("link");
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK_OK(mkdir(dir, 0700));
    CHECK_OK(symlink("nowhere", link));
    CHECK_INT(refusal(file), ==, -ENOTSOCK);
    CHECK_INT(refusal(dir), ==, -ENOTSOCK);
    CHECK_INT(refusal(link), ==, -ENOTSOCK);
    CHECK(exists(file) && exists(dir) && exists(link));
    CHECK_INT(refusal(in_directory("none/s")), ==, -ENOENT);
    CHECK_INT(refusal(""), ==, -EINVAL);
    rota_unix_listen_options bad = {.backlog = -1};
    rota_listener *l;
    CHECK_INT(rota_unix_listen(file, &bad, &l), ==, -EINVAL);
}

TASK_TEST(closing_removes_only_its_own_file)
{
    const char *path = in_directory("s"), *moved = in_directory("moved");
    rota_listener *first = listen_at(path);
    CHECK_OK(rename(path, moved));
    rota_listener *second = listen_at(path);
    rota_listener_free(first);
    CHECK(exists(path)); /* the second one's */
    CHECK(exists(moved));
    rota_listener_free(second);
    CHECK(!exists(path));
    rota_listener *third = listen_at(path);
    CHECK_OK(unlink(path));
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    rota_listener_free(third);
    CHECK(exists(path)); /* a file by now */
}

/* As in a chroot without /proc before Linux 6.6. */
int fchmodat(int fd, const char *path, mode_t mode, int flags)
{
    errno = EOPNOTSUPP;
    return -1;
}

TASK_TEST(file_has_the_mode_that_was_asked_for)
{
    const char *path = in_directory("s");
    struct stat about;
    rota_unix_listen_options private = {.mode = 0600}, open_to_all = {.mode = 0777};
    mode_t before = umask(022);
    rota_listener *l;
    CHECK_INT(rota_unix_listen(path, &private, &l), ==, 0);
    CHECK_OK(stat(path, &about));
    CHECK_INT(about.st_mode & 0777, ==, 0600);
    rota_listener_free(l);
    CHECK_INT(rota_unix_listen(path, &open_to_all, &l), ==, 0);
    CHECK_OK(stat(path, &about));
    CHECK_INT(about.st_mode & 0777, ==, 0777);
    rota_listener_free(l);
    l = listen_at(path);
    CHECK_OK(stat(path, &about));
    CHECK_INT(about.st_mode & 0777, ==, 0755);
    rota_listener_free(l);
    umask(before);
}

VIRTUAL_TASK_TEST(directory_in_which_another_binds_is_waited_for)
{
    const char *path = in_directory("s");
    rota_listener *l;
    int lock = open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
    CHECK_OK(flock(lock, LOCK_EX));
    ROTA_TIMEOUT (5 * ROTA_MILLISECOND) {
        err = rota_unix_listen(path, NULL, &l);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    close(lock);
    rota_listener_free(listen_at(path));
}

TASK_TEST(failures_of_unix_sockets_name_the_path)
{
    char words[400];
    rota_stream *s;
    rota_listener *l;
    CHECK_INT(rota_unix_connect(in_directory("none"), &s), ==, -ENOENT);
    snprintf(words, sizeof words, "connect to %s: %s", in_directory("none"), strerror(ENOENT));
    CHECK_STR(rota_error(-ENOENT), words);
    CHECK_INT(rota_unix_listen(in_directory("none/s"), NULL, &l), ==, -ENOENT);
    snprintf(words, sizeof words, "listen on %s: %s", in_directory("none/s"), strerror(ENOENT));
    CHECK_STR(rota_error(-ENOENT), words);
}

VIRTUAL_TASK_TEST(lock_that_somebody_keeps_prevents_no_listener)
{
    const char *path = in_directory("s");
    int lock = open(test_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_OK(flock(lock, LOCK_EX));
    rota_time start = rota_now();
    rota_listener *l = listen_at(path);
    CHECK_INT(rota_now() - start, <, 2 * ROTA_SECOND);
    CHECK_INT(refusal(path), ==, -EADDRINUSE); /* by its own socket */
    rota_listener_free(l);
    close(lock);
}

static int starter(void *arg)
{
    rota_listener *l;
    int err = rota_unix_listen(arg, NULL, &l);
    if (err < 0)
        return err == -EADDRINUSE ? 0 : err;
    rota_stream *s = connect_to(arg); /* as long as it is there, it is reachable */
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    rota_stream_free(s);
    rota_listener_free(l);
    return 1;
}

static int starter_process(void *arg)
{
    for (int i = 0; i < 20; i++)
        CHECK_OK(starter(arg));
    return 0;
}

TEST_WITH(servers_that_start_at_once_do_not_take_each_others_path, .without_faults = true)
{
    char *path = strdup(in_directory("s"));
    for (int i = 0; i < 4; i++) {
        if (fork() == 0)
            _exit(rota_run(starter_process, path) < 0);
    }
    for (int i = 0; i < 4; i++) {
        int status;
        CHECK_OK(wait(&status));
        CHECK_INT(status, ==, 0);
    }
    CHECK(!exists(path));
    free(path);
}

/* ---- Connecting */

TASK_TEST(connecting_fails_by_name)
{
    rota_stream *s;
    const char *path = in_directory("s"), *file = in_directory("file");
    CHECK_INT(rota_unix_connect(path, &s), ==, -ENOENT);
    CHECK_INT(rota_unix_connect("@rota-nobody-is-here", &s), ==, -ECONNREFUSED);
    CHECK_INT(rota_unix_connect("", &s), ==, -EINVAL);
    close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK_INT(rota_unix_connect(file, &s), ==, -ECONNREFUSED);
}

struct late {
    const char *path;
    rota_stream *stream;
};

static int late_run(void *arg)
{
    struct late *late = arg;
    return rota_unix_connect(late->path, &late->stream);
}

/* Such a connect gives EAGAIN, and there is no event. */
VIRTUAL_TASK_TEST(connecting_waits_for_room_in_the_backlog)
{
    const char *path = in_directory("s");
    rota_unix_listen_options options = {.backlog = 1};
    rota_listener *l;
    rota_stream *held[3], *s;
    rota_task *task;
    int err = 0;
    CHECK_INT(rota_unix_listen(path, &options, &l), ==, 0);
    for (int i = 0; i < 2; i++)
        held[i] = connect_to(path);
    ROTA_TIMEOUT (300 * ROTA_MILLISECOND) {
        err = rota_unix_connect(path, &s);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    struct late late = {.path = path};
    CHECK_OK(rota_spawn(late_run, &late, &task));
    CHECK_INT(rota_sleep(100 * ROTA_MILLISECOND), ==, 0);
    CHECK(!rota_task_done(task));
    CHECK_INT(rota_accept(l, &held[2]), ==, 0);
    CHECK_INT(rota_join(task), ==, 0);
    for (int i = 0; i < 3; i++)
        rota_stream_free(held[i]);
    rota_stream_free(late.stream);
    rota_listener_free(l);
}

TASK_TEST(peer_says_who_it_is)
{
    const char *path = in_directory("s");
    ROTA_AUTO(rota_listener) l = listen_at(path);
    rota_stream *c = connect_to(path);
    ROTA_AUTO(rota_stream) s = NULL;
    ROTA_AUTO(rota_stream) one = NULL;
    ROTA_AUTO(rota_stream) other = NULL;
    rota_credentials who;
    CHECK_INT(rota_accept(l, &s), ==, 0);
    CHECK_INT(rota_unix_peer(s, &who), ==, 0);
    CHECK_INT(who.pid, ==, getpid());
    CHECK_INT(who.uid, ==, getuid());
    CHECK_INT(who.gid, ==, getgid());
    CHECK_INT(rota_stream_pair(0, &one, &other), ==, 0);
    CHECK_INT(rota_unix_peer(one, &who), ==, -ENOTSOCK);
    CHECK_OK(rota_stream_close(s));
    CHECK_INT(rota_unix_peer(s, &who), ==, ROTA_ECLOSED);
    rota_stream_free(c);
}

/* ---- Descriptors */

static void send_pipe(rota_stream *s, const char *text, int count)
{
    int ends[2];
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    rota_fds fds = {.fds = ends, .count = (size_t)count};
    CHECK_INT(rota_unix_send_fds(s, text, strlen(text), &fds), ==, 0);
    close(ends[0]);
    close(ends[1]);
}

TASK_TEST(descriptors_travel_with_bytes)
{
    struct ends e = sockets();
    int got[4];
    char buf[32];
    rota_fds fds = {.fds = got, .size = 4, .count = 3, .cut = true};
    send_pipe(e.a, "pipe", 2);
    CHECK_INT(rota_stream_write(e.a, "none", 4), ==, 0);
    CHECK_INT(rota_unix_receive_fds(e.b, buf, sizeof buf, &fds), ==, 4);
    CHECK_MEM(buf, "pipe", 4);
    CHECK_INT(fds.count, ==, 2);
    CHECK(!fds.cut);
    CHECK_INT(fcntl(got[0], F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    CHECK_INT(write(got[1], "x", 1), ==, 1);
    CHECK_INT(read(got[0], buf, 1), ==, 1);
    close(got[0]);
    close(got[1]);
    CHECK_INT(rota_unix_receive_fds(e.b, buf, sizeof buf, &fds), ==, 4);
    CHECK_INT(fds.count, ==, 0);
    CHECK_INT(rota_stream_shutdown(e.a), ==, 0);
    CHECK_INT(rota_unix_receive_fds(e.b, buf, sizeof buf, &fds), ==, 0);
    CHECK_INT(fds.count, ==, 0);
    free_ends(&e);
}

TASK_TEST(excess_descriptors_are_closed_and_that_is_told)
{
    struct ends e = sockets();
    int got[1], before = test_open_fds();
    char buf[32];
    rota_fds fds = {.fds = got, .size = 1};
    send_pipe(e.a, "two", 2);
    CHECK_INT(rota_unix_receive_fds(e.b, buf, sizeof buf, &fds), ==, 3);
    CHECK_INT(fds.count, ==, 1);
    CHECK(fds.cut);
    close(got[0]);
    fds.size = 0;
    send_pipe(e.a, "one", 1);
    CHECK_INT(rota_unix_receive_fds(e.b, buf, sizeof buf, &fds), ==, 3);
    CHECK_INT(fds.count, ==, 0);
    CHECK(fds.cut);
    CHECK_INT(test_open_fds(), ==, before);
    free_ends(&e);
}

TASK_TEST(descriptors_over_the_limit_of_the_process_are_told)
{
    struct ends e = sockets();
    int got[2], lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char buf[32];
    struct rlimit limit, before;
    rota_fds fds = {.fds = got, .size = 2};
    close(lowest);
    send_pipe(e.a, "two", 2);
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &before));
    limit = before;
    limit.rlim_cur = (rlim_t)lowest + 1;
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &limit));
    ssize_t n = rota_unix_receive_fds(e.b, buf, sizeof buf, &fds);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &before));
    CHECK_INT(n, ==, 3);
    CHECK_INT(fds.count, ==, 1);
    CHECK(fds.cut);
    close(got[0]);
    free_ends(&e);
}

/* The kernel ends a read where descriptors were passed, though more stands behind. */
TASK_TEST(other_reads_drop_descriptors_and_go_on)
{
    struct ends e = sockets();
    int before = test_open_fds();
    char buf[32];
    rota_fds fds = {.count = 0};
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        ROTA_IGNORE(rota_stream_read(e.b, buf,
                                     sizeof buf)); /* now it is registered, and known to be empty */
    }
    for (int i = 0; i < 3; i++)
        send_pipe(e.a, "abc", 2);
    size_t got = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        while (got < 9) {
            ssize_t n = rota_stream_read(e.b, buf, sizeof buf);
            CHECK_INT(n, >, 0);
            got += (size_t)n;
        }
    }
    CHECK_INT(test_open_fds(), ==, before);
    /* What was read ahead has lost its descriptors, too. */
    send_pipe(e.a, "ab\ncd", 2);
    rota_str line;
    CHECK_INT(rota_stream_read_line(e.b, &line), ==, 1);
    CHECK_INT(rota_unix_receive_fds(e.b, buf, sizeof buf, &fds), ==, 2);
    CHECK_INT(fds.count, ==, 0);
    CHECK_INT(test_open_fds(), ==, before);
    free_ends(&e);
}

TASK_TEST(held_back_output_goes_before_descriptors)
{
    struct ends e = sockets();
    char buf[32];
    int got[2];
    rota_fds fds = {.fds = got, .size = 2};
    rota_stream_cork(e.a);
    CHECK_INT(rota_stream_write(e.a, "held", 4), ==, 0);
    send_pipe(e.a, "with", 1);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 4), ==, 0);
    CHECK_MEM(buf, "held", 4);
    CHECK_INT(rota_unix_receive_fds(e.b, buf, sizeof buf, &fds), ==, 4);
    CHECK_INT(fds.count, ==, 1);
    close(got[0]);
    free_ends(&e);
}

struct big {
    rota_stream *s;
    char *bytes;
    size_t len;
};

static int big_run(void *arg)
{
    struct big *big = arg;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    rota_fds fds = {.fds = &null, .count = 1};
    int err = rota_unix_send_fds(big->s, big->bytes, big->len, &fds);
    close(null);
    return err;
}

TASK_TEST(bytes_that_do_not_fit_follow)
{
    struct ends e = sockets();
    struct big big = {e.a, calloc(1, 4 << 20), 4 << 20};
    char *in = malloc(4 << 20);
    int got[2];
    rota_fds fds = {.fds = got, .size = 2};
    rota_task *task;
    for (size_t i = 0; i < big.len; i++)
        big.bytes[i] = (char)(i * 7 >> 3);
    CHECK_OK(rota_spawn(big_run, &big, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    ssize_t n = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        n = rota_unix_receive_fds(e.b, in, big.len, &fds);
    }
    CHECK_INT(n, >, 0);
    CHECK_INT(fds.count, ==, 1);
    close(got[0]);
    int err = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        err = rota_stream_read_exact(e.b, in + n, big.len - (size_t)n);
    }
    CHECK_INT(err, ==, 0);
    CHECK_MEM(in, big.bytes, big.len);
    CHECK_INT(rota_join(task), ==, 0);
    free(big.bytes);
    free(in);
    free_ends(&e);
}

struct taker {
    rota_stream *s;
    ssize_t result;
    size_t count;
};

static int taker_run(void *arg)
{
    struct taker *t = arg;
    char buf[8];
    int got[2];
    rota_fds fds = {.fds = got, .size = 2};
    t->result = rota_unix_receive_fds(t->s, buf, sizeof buf, &fds);
    t->count = t->result > 0 ? fds.count : 0;
    for (size_t i = 0; i < t->count; i++)
        close(got[i]);
    return 0;
}

/* rule 10: a result that is there wins, and no descriptor is left behind */
static int race_main(void *arg)
{
    struct ends e = sockets();
    struct taker t = {.s = e.b};
    rota_task *task;
    int before = test_open_fds();
    CHECK_OK(rota_spawn(taker_run, &t, &task));
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    send_pipe(e.a, "x", 2);
    if (*(bool *)arg) {
        CHECK_INT(rota_yield(), ==, 0);
        CHECK_INT(rota_yield(), ==, 0);
    }
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 0);
    if (t.result == -ECANCELED) {
        t.result = 0;
        CHECK_INT(taker_run(&t), ==, 0);
    }
    CHECK_INT(t.result, ==, 1);
    CHECK_INT(t.count, ==, 2);
    CHECK_INT(test_open_fds(), ==, before);
    free_ends(&e);
    return 0;
}

TEST(descriptors_that_race_with_a_cancellation_are_not_lost)
{
    bool late = false;
    run(race_main, &late);
    late = true;
    run(race_main, &late);
}

TASK_TEST(what_cannot_travel_is_refused)
{
    struct ends e = sockets(), pair;
    char buf[8];
    int closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(closed);
    rota_fds one = {.fds = &closed, .count = 1}, many = {.count = ROTA_FDS_MAX + 1};
    CHECK_INT(rota_unix_send_fds(e.a, "x", 1, &one), ==, -EBADF);
    CHECK_INT(rota_unix_send_fds(e.a, "x", 1, &many), ==, -EINVAL);
    CHECK_INT(rota_unix_send_fds(e.a, "x", 1, NULL), ==, -EINVAL);
    CHECK_INT(rota_unix_send_fds(e.a, "x", 0, &one), ==, -EINVAL);
    CHECK_INT(rota_unix_receive_fds(e.a, buf, 0, &one), ==, -EINVAL);
    CHECK_INT(rota_stream_pair(0, &pair.a, &pair.b), ==, 0);
    CHECK_INT(rota_unix_send_fds(pair.a, "x", 1, &one), ==, -EOPNOTSUPP);
    CHECK_INT(rota_unix_receive_fds(pair.a, buf, 1, &one), ==, -EOPNOTSUPP);
    CHECK_INT(rota_stream_write(e.a, "fine", 4), ==, 0);
    CHECK_INT(rota_stream_read_exact(e.b, buf, 4), ==, 0);
    free_ends(&pair);
    free_ends(&e);
}

TASK_TEST(tcp_passes_no_descriptors)
{
    ROTA_AUTO(rota_listener) l = NULL;
    ROTA_AUTO(rota_stream) s = NULL;
    char buf[8];
    int null = 0;
    rota_fds fds = {.fds = &null, .count = 1};
    CHECK_INT(rota_tcp_listen("127.0.0.1", 0, NULL, &l), ==, 0);
    CHECK_INT(rota_tcp_connect("127.0.0.1", rota_listener_port(l), NULL, &s), ==, 0);
    CHECK_INT(rota_unix_send_fds(s, "x", 1, &fds), ==, -EOPNOTSUPP);
    CHECK_INT(rota_unix_receive_fds(s, buf, 1, &fds), ==, -EOPNOTSUPP);
}

TEST(outside_a_task_nothing_is_opened)
{
    rota_stream *s;
    rota_listener *l;
    CHECK_INT(rota_unix_connect("@x", &s), ==, ROTA_ENOTASK);
    CHECK_INT(rota_unix_listen("@x", NULL, &l), ==, ROTA_ENOTASK);
}
