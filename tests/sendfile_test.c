#include "stream/stream.h"

#include "clean_run.h"
#include "ends.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- Setting */

enum { SIZE = 700000 };

/* How long anything may take; long enough for a slow machine, and shorter than a case's limit. */
#define PATIENCE (2 * ROTA_SECOND)

/* Bytes that all look different, as far as SIZE; behind that they begin anew. */
static const char *pattern(void)
{
    static char bytes[2 * SIZE];
    for (size_t i = 0; bytes[sizeof bytes - 1] == 0 && i < sizeof bytes; i++)
        bytes[i] = (char)((i % SIZE + 1) * 2654435761u >> 13 | 1);
    return bytes;
}

static int new_file(size_t size)
{
    static int number;
    char path[128];
    snprintf(path, sizeof path, "%s/%d", test_directory(), number++);
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    CHECK_OK(fd);
    for (size_t done = 0; done < size;) {
        size_t len = size - done < SIZE ? size - done : SIZE;
        CHECK_INT(write(fd, pattern(), len), ==, (long long)len);
        done += len;
    }
    return fd;
}

static void check_file(int fd, int64_t offset, size_t from, size_t len)
{
    static char block[SIZE];
    CHECK_INT(len, <=, SIZE);
    CHECK_INT(pread(fd, block, len, offset), ==, (long long)len);
    CHECK(memcmp(block, pattern() + from, len) == 0);
}

/* The ways in which bytes go from one stream to another. */
enum way { TCP, UNIX, PIPE, MEMORY, FILTERED, WAYS };

/* A filter that changes nothing. */
static ssize_t glass_read(rota_filter *f, void *buf, size_t len)
{
    return rota_filter_read(f->below, buf, len);
}

static ssize_t glass_write(rota_filter *f, const void *buf, size_t len)
{
    return rota_filter_write(f->below, buf, len > 5000 ? 5000 : len);
}

static void glass_close(rota_filter *f)
{
    free(f);
}

static const rota_filter_kind glass_kind = {
    .read = glass_read, .write = glass_write, .close = glass_close};

static void push_glass(rota_stream *s)
{
    rota_filter *glass = calloc(1, sizeof *glass);
    CHECK_PTR(glass, !=, NULL);
    glass->kind = &glass_kind;
    CHECK_INT(rota_stream_push(s, glass), ==, 0);
}

/* What is written to `a` is read from `b`. */
static struct ends ends_of(enum way way)
{
    if (way == TCP)
        return tcp();
    if (way == MEMORY)
        return pair_of(0);
    struct ends e;
    if (way == PIPE) {
        CHECK_OK(rota_pipe(&e.b, &e.a));
        return e;
    }
    e = sockets();
    if (way == FILTERED) {
        push_glass(e.a);
        push_glass(e.b);
    }
    return e;
}

/* A task that sends a file, and one that reads all there is. */
struct job {
    rota_stream *s;
    int fd;
    int64_t offset, len, done;
    int result;
    rota_task *task;
};

static int send_run(void *arg)
{
    struct job *j = arg;
    j->done = -1;
    ROTA_TIMEOUT (PATIENCE) {
        j->result = rota_stream_send_file(j->s, j->fd, j->offset, j->len, &j->done);
    }
    if (j->result == ROTA_EOF)
        CHECK_INT(rota_stream_write(j->s, "x", 1), ==, j->done ? -EPIPE : 0);
    if (rota_stream_shutdown(j->s) < 0 && j->result != -ECANCELED)
        rota_stream_close(j->s); /* the reader need not wait */
    return 0;
}

static int receive_run(void *arg)
{
    struct job *j = arg;
    j->done = -1;
    ROTA_TIMEOUT (PATIENCE) {
        j->result = rota_stream_receive_file(j->s, j->fd, j->offset, j->len, &j->done);
    }
    return 0;
}

static void start(struct job *j, rota_fn *fn)
{
    CHECK_OK(rota_spawn(fn, j, &j->task));
}

static void finish(struct job *j)
{
    CHECK_INT(rota_join(j->task), ==, 0);
}

/* What it holds has to be the bytes of a file from `from` on; ANYTHING is not looked at. */
enum { ANYTHING = -1 };

static size_t read_all(rota_stream *s, int64_t from)
{
    static char block[50000];
    size_t total = 0;
    ssize_t n = 1;
    ROTA_TIMEOUT (PATIENCE) {
        while ((n = rota_stream_read(s, block, sizeof block)) > 0) {
            if (from >= 0)
                CHECK(memcmp(block, pattern() + ((size_t)from + total) % SIZE, (size_t)n) == 0);
            total += (size_t)n;
        }
    }
    CHECK_INT(n, ==, 0);
    return total;
}

/* ---- Sending */

TASK_TEST(whole_file_arrives_whatever_carries_it)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job j = {.s = e.a, .fd = new_file(SIZE), .len = ROTA_TO_END};
        start(&j, send_run);
        CHECK_INT(read_all(e.b, 0), ==, SIZE);
        finish(&j);
        CHECK_INT(j.result, ==, 0);
        CHECK_INT(j.done, ==, SIZE);
        CHECK_INT(lseek(j.fd, 0, SEEK_CUR), ==, SIZE); /* is not used */
        close(j.fd);
        free_ends(&e);
    }
}

TASK_TEST(range_of_a_file_arrives)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job j = {.s = e.a, .fd = new_file(SIZE), .offset = 12345, .len = 300001};
        start(&j, send_run);
        CHECK_INT(read_all(e.b, 12345), ==, 300001);
        finish(&j);
        CHECK_INT(j.result, ==, 0);
        CHECK_INT(j.done, ==, 300001);
        close(j.fd);
        free_ends(&e);
    }
}

TASK_TEST(what_is_not_in_the_page_cache_is_read_first)
{
    struct ends e = ends_of(TCP);
    struct job j = {.s = e.a, .fd = new_file(SIZE), .len = SIZE};
    CHECK_OK(fdatasync(j.fd));
    CHECK_INT(posix_fadvise(j.fd, 0, 0, POSIX_FADV_DONTNEED), ==, 0);
    start(&j, send_run);
    CHECK_INT(read_all(e.b, 0), ==, SIZE);
    finish(&j);
    CHECK_INT(j.result, ==, 0);
    close(j.fd);
    free_ends(&e);
}

TASK_TEST(held_back_output_goes_before_the_file)
{
    struct ends e = ends_of(UNIX);
    int fd = new_file(1000);
    char head[7];
    int64_t sent = -1;
    rota_stream_cork(e.a);
    CHECK_INT(rota_stream_write(e.a, "header:", 7), ==, 0);
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, 1000, &sent), ==, 0);
    CHECK_INT(sent, ==, 1000);
    CHECK_INT(rota_stream_shutdown(e.a), ==, 0);
    CHECK_INT(rota_stream_read_exact(e.b, head, 7), ==, 0);
    CHECK_MEM(head, "header:", 7);
    CHECK_INT(read_all(e.b, 0), ==, 1000);
    close(fd);
    free_ends(&e);
}

/* Each write becomes a packet. */
TASK_TEST(small_files_go_out_in_one_piece_with_what_was_held_back)
{
    rota_stream *s;
    int ends[2], fd = new_file(16384);
    static char packet[40000];
    int64_t sent = 0;
    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota_stream_from_fd(ends[0], &s));
    rota_stream_cork(s);
    CHECK_INT(rota_stream_write(s, "header:", 7), ==, 0);
    CHECK_INT(rota_stream_send_file(s, fd, 0, 16384, &sent), ==, 0);
    CHECK_INT(sent, ==, 16384);
    CHECK_INT(rota_stream_send_file(s, fd, 100, ROTA_TO_END, &sent), ==, 0);
    CHECK_INT(sent, ==, 16284);
    CHECK_INT(recv(ends[1], packet, sizeof packet, MSG_DONTWAIT), ==, -1);
    CHECK_INT(rota_stream_flush(s), ==, 0);
    CHECK_INT(recv(ends[1], packet, sizeof packet, MSG_DONTWAIT), ==, 7 + 16384 + 16284);
    CHECK_MEM(packet, "header:", 7);
    CHECK(memcmp(packet + 7, pattern(), 16384) == 0);
    CHECK(memcmp(packet + 7 + 16384, pattern() + 100, 16284) == 0);
    close(fd);
    close(ends[1]);
    rota_stream_free(s);
}

TASK_TEST(file_larger_than_what_is_looked_ahead_arrives)
{
    for (int64_t len = 3 * SIZE; len < ROTA_TO_END; len += ROTA_TO_END - 3 * SIZE) {
        struct ends e = tcp();
        struct job j = {.s = e.a, .fd = new_file(3 * SIZE), .len = len};
        start(&j, send_run);
        CHECK_INT(read_all(e.b, 0), ==, 3 * SIZE);
        finish(&j);
        CHECK_INT(j.result, ==, 0);
        CHECK_INT(j.done, ==, 3 * SIZE);
        close(j.fd);
        free_ends(&e);
    }
}

TASK_TEST(file_that_tells_no_size_is_sent_to_its_end)
{
    struct ends e = ends_of(UNIX);
    int fd = open("/proc/version", O_RDONLY | O_CLOEXEC);
    char text[1024], got[1024];
    ssize_t len = pread(fd, text, sizeof text, 0);
    int64_t sent = 0;
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, ROTA_TO_END, &sent), ==, 0);
    CHECK_INT(sent, ==, len);
    CHECK_INT(rota_stream_read_exact(e.b, got, (size_t)len), ==, 0);
    CHECK_MEM(got, text, (size_t)len);
    close(fd);
    free_ends(&e);
}

/* Neither splice nor sendfile puts a file into a terminal. */
TASK_TEST(terminal_takes_a_file)
{
    char name[64];
    struct termios mode;
    struct ends e;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_OK(master);
    CHECK_OK(grantpt(master));
    CHECK_OK(unlockpt(master));
    CHECK_INT(ptsname_r(master, name, sizeof name), ==, 0);
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_OK(tcgetattr(slave, &mode));
    cfmakeraw(&mode);
    CHECK_OK(tcsetattr(slave, TCSANOW, &mode));
    CHECK_OK(rota_stream_from_fd(slave, &e.a));
    CHECK_OK(rota_stream_from_fd(master, &e.b));
    struct job j = {.s = e.a, .fd = new_file(SIZE), .len = 70000};
    start(&j, send_run);
    static char got[70000];
    CHECK_INT(rota_stream_read_exact(e.b, got, sizeof got), ==, 0);
    CHECK(memcmp(got, pattern(), sizeof got) == 0);
    finish(&j);
    CHECK_INT(j.done, ==, 70000);
    close(j.fd);
    free_ends(&e);
}

TASK_TEST(file_that_ends_early_is_told_with_how_much_went_out)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job j = {.s = e.a, .fd = new_file(SIZE), .len = SIZE};
        start(&j, send_run);
        CHECK_INT(rota_yield(), ==, 0);
        CHECK_OK(ftruncate(j.fd, SIZE / 2));  /* too late, if all is in large buffers */
        size_t got = read_all(e.b, ANYTHING); /* what was on its way may have been cleared */
        finish(&j);
        CHECK_INT(got, ==, j.done);
        CHECK_INT(j.result, ==, j.done == SIZE ? 0 : ROTA_EOF);
        free_ends(&e);

        e = ends_of(way);
        CHECK_OK(ftruncate(j.fd, 70000));
        j = (struct job){.s = e.a, .fd = j.fd, .len = 100000};
        start(&j, send_run);
        CHECK_INT(read_all(e.b, 0), ==, 70000);
        finish(&j);
        CHECK_INT(j.result, ==, ROTA_EOF);
        CHECK_INT(j.done, ==, 70000);
        close(j.fd);
        free_ends(&e);
    }
}

TASK_TEST(cancelled_sending_knows_how_much_went_out)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job j = {.s = e.a, .fd = new_file(20 * SIZE), .len = ROTA_TO_END};
        start(&j, send_run);
        CHECK_INT(rota_sleep(3 * ROTA_MILLISECOND), ==, 0);
        CHECK_INT(rota_stream_write(e.a, "x", 1), ==, -EBUSY);
        rota_task_cancel(j.task);
        finish(&j);
        CHECK_INT(j.result, ==, -ECANCELED);
        CHECK_INT(j.done, <, 20 * SIZE);
        CHECK_INT(rota_stream_write(e.a, "x", 1), ==, j.done ? -EPIPE : 0);
        rota_stream_close(e.a);
        if (j.done)
            CHECK_INT(read_all(e.b, 0), ==, j.done);
        close(j.fd);
        free_ends(&e);
    }
}

TASK_TEST(sending_ends_with_the_connection)
{
    struct ends e = ends_of(UNIX);
    int fd = new_file(SIZE);
    int64_t sent = -1;
    rota_stream_free(e.b);
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, SIZE, &sent), ==, -EPIPE);
    CHECK_INT(sent, ==, 0);
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, SIZE, NULL), ==, -EPIPE);
    rota_stream_free(e.a);
    e = ends_of(PIPE);
    rota_stream_free(e.b);
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, SIZE, &sent), ==, -EPIPE); /* and no SIGPIPE */
    CHECK_INT(sent, ==, 0);
    rota_stream_free(e.a);
    e = ends_of(TCP);
    struct job j = {.s = e.a, .fd = fd, .len = SIZE};
    start(&j, send_run);
    CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
    CHECK_INT(rota_stream_close(e.a), ==, 0);
    finish(&j);
    CHECK(j.result == ROTA_ECLOSED || j.done == SIZE);
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, SIZE, NULL), ==, ROTA_ECLOSED);
    close(fd);
    free_ends(&e);
}

TASK_TEST(peer_that_goes_away_in_the_middle_is_an_error)
{
    struct ends e = tcp();
    struct job j = {.s = e.a, .fd = new_file(20 * SIZE), .len = ROTA_TO_END};
    char some[1000];
    start(&j, send_run);
    CHECK_INT(rota_stream_read_exact(e.b, some, sizeof some), ==, 0);
    rota_stream_free(e.b); /* with more unread: that resets */
    finish(&j);
    CHECK(j.result == -ECONNRESET || j.result == -EPIPE);
    CHECK_INT(j.done, <, 20 * SIZE);
    close(j.fd);
    rota_stream_free(e.a);
}

TASK_TEST(what_is_no_file_is_refused)
{
    struct ends e = ends_of(UNIX);
    int fd = new_file(10), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int directory = open("/", O_RDONLY | O_CLOEXEC), pipe[2];
    CHECK_OK(pipe2(pipe, O_CLOEXEC));
    int read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int64_t done = -1;
    for (int64_t len = 1; len < 100000; len += 90000) {
        CHECK_INT(rota_stream_send_file(e.a, pipe[0], 0, len, &done), ==, -ESPIPE);
        CHECK_INT(rota_stream_send_file(e.a, directory, 0, len, &done), ==, -EISDIR);
        CHECK_INT(rota_stream_send_file(e.a, null, 0, len, &done), ==, ROTA_EOF);
        CHECK_INT(rota_stream_send_file(e.a, -1, 0, len, &done), ==, -EBADF);
        CHECK_INT(done, ==, 0);
    }
    CHECK_INT(rota_stream_send_file(e.a, fd, -1, 1, NULL), ==, -EINVAL);
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, -1, NULL), ==, -EINVAL);
    CHECK_INT(rota_stream_receive_file(e.b, null, 0, 1, &done), ==, -EINVAL);
    CHECK_INT(rota_stream_receive_file(e.b, read_only, 0, 1, NULL), ==, -EBADF);
    CHECK_INT(rota_stream_receive_file(e.b, -1, 0, 1, NULL), ==, -EBADF);
    CHECK_INT(rota_stream_receive_file(e.b, fd, -1, 1, NULL), ==, -EINVAL);
    CHECK_OK(fcntl(fd, F_SETFL, O_APPEND));
    CHECK_INT(rota_stream_receive_file(e.b, fd, 0, 1, NULL), ==, -EINVAL);
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, 0, &done), ==, 0);
    CHECK_INT(rota_stream_send_file(e.a, fd, 0, 10, &done), ==, 0);
    CHECK_INT(done, ==, 10);
    close(fd);
    close(null);
    close(directory);
    close(pipe[0]);
    close(pipe[1]);
    close(read_only);
    free_ends(&e);
}

/* ---- Receiving */

TASK_TEST(stream_goes_into_a_file_whatever_carries_it)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job out = {.s = e.a, .fd = new_file(SIZE), .len = ROTA_TO_END};
        struct job in = {.s = e.b, .fd = new_file(0), .offset = 77, .len = ROTA_TO_END};
        start(&out, send_run);
        start(&in, receive_run);
        finish(&out);
        finish(&in);
        CHECK_INT(in.result, ==, 0);
        CHECK_INT(in.done, ==, SIZE);
        check_file(in.fd, 77, 0, SIZE);
        close(out.fd);
        close(in.fd);
        free_ends(&e);
    }
}

TASK_TEST(only_what_was_asked_for_is_taken)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job out = {.s = e.a, .fd = new_file(SIZE), .len = ROTA_TO_END};
        struct job in = {.s = e.b, .fd = new_file(0), .len = 300000};
        rota_str ahead;
        start(&out, send_run);
        CHECK_INT(rota_stream_peek(e.b, 100, &ahead), >=, 100);
        start(&in, receive_run);
        finish(&in);
        CHECK_INT(in.result, ==, 0);
        CHECK_INT(in.done, ==, 300000);
        check_file(in.fd, 0, 0, 300000);
        CHECK_INT(read_all(e.b, 300000), ==, SIZE - 300000);
        finish(&out);
        CHECK_INT(rota_stream_receive_file(e.b, in.fd, 0, 1, &in.done), ==, ROTA_EOF);
        CHECK_INT(in.done, ==, 0);
        close(out.fd);
        close(in.fd);
        free_ends(&e);
    }
}

/* Nothing that arrived is lost where the file has no room for it. */
TASK_TEST(what_the_file_does_not_take_stays_readable)
{
    struct rlimit before, limit;
    signal(SIGXFSZ, SIG_IGN);
    CHECK_OK(getrlimit(RLIMIT_FSIZE, &before));
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job out = {.s = e.a, .fd = new_file(SIZE), .len = ROTA_TO_END};
        struct job in = {.s = e.b, .fd = new_file(0), .len = ROTA_TO_END};
        limit = before;
        limit.rlim_cur = 400000;
        CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
        start(&out, send_run);
        start(&in, receive_run);
        finish(&in);
        CHECK_OK(setrlimit(RLIMIT_FSIZE, &before));
        CHECK_INT(in.result, ==, -EFBIG);
        CHECK_INT(in.done, ==, 400000);
        check_file(in.fd, 0, 0, 400000);
        CHECK_INT(read_all(e.b, 400000), ==, SIZE - 400000);
        finish(&out);
        close(out.fd);
        close(in.fd);
        free_ends(&e);
    }
}

/* A file of the kernel's own, which is not spliced to. */
TASK_TEST(file_that_cannot_be_spliced_to_is_written)
{
    struct ends e = ends_of(UNIX);
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    char text[32] = "";
    int64_t received = 0;
    CHECK_INT(rota_stream_write(e.a, "500 and more", 12), ==, 0);
    CHECK_INT(rota_stream_receive_file(e.b, fd, 0, 3, &received), ==, 0);
    CHECK_INT(received, ==, 3);
    CHECK_INT(pread(fd, text, sizeof text, 0), ==, 4);
    CHECK_STR(text, "500\n");
    CHECK_INT(rota_stream_read_exact(e.b, text, 9), ==, 0);
    CHECK_MEM(text, " and more", 9);
    close(fd);
    free_ends(&e);
}

TASK_TEST(cancelled_receiving_knows_what_is_in_the_file)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job in = {.s = e.b, .fd = new_file(0), .len = ROTA_TO_END};
        const char *some = pattern();
        start(&in, receive_run);
        CHECK_INT(rota_stream_write(e.a, some, 600), ==, 0);
        CHECK_INT(rota_sleep(3 * ROTA_MILLISECOND), ==, 0);
        CHECK_INT(rota_stream_write(e.a, some + 600, 400), ==, 0);
        rota_task_cancel(in.task);
        finish(&in);
        CHECK_INT(in.result, ==, -ECANCELED);
        check_file(in.fd, 0, 0, (size_t)in.done);
        CHECK_INT(rota_stream_shutdown(e.a), ==, 0);
        CHECK_INT(read_all(e.b, in.done), ==, 1000 - in.done);
        close(in.fd);
        free_ends(&e);
    }
}

TASK_TEST(closing_ends_receiving)
{
    for (enum way way = 0; way < WAYS; way++) {
        struct ends e = ends_of(way);
        struct job in = {.s = e.b, .fd = new_file(0), .len = ROTA_TO_END};
        start(&in, receive_run);
        CHECK_INT(rota_stream_write(e.a, "abc", 3), ==, 0);
        CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
        CHECK_OK(rota_stream_close(e.b));
        finish(&in);
        CHECK_INT(in.result, ==, ROTA_ECLOSED);
        close(in.fd);
        free_ends(&e);
    }
}

TEST(outside_a_task_nothing_is_transferred)
{
    rota_stream *r, *w;
    CHECK_INT(rota_pipe(&r, &w), ==, ROTA_ENOTASK);
}

/* ---- Pipes */

TASK_TEST(pipe_carries_bytes_to_its_end)
{
    rota_stream *r, *w;
    char buf[8];
    CHECK_INT(rota_pipe(&r, &w), ==, 0);
    CHECK_INT(rota_stream_write(w, "hello", 5), ==, 0);
    CHECK_INT(rota_stream_read_exact(r, buf, 5), ==, 0);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(rota_stream_shutdown(w), ==, 0);
    CHECK_INT(rota_stream_read(r, buf, 5), ==, 0);
    rota_stream_free(w);
    rota_stream_free(r);
    CHECK_INT(rota_pipe(&r, &w), ==, 0);
    rota_stream_free(r);
    CHECK_INT(rota_stream_write(w, "x", 1), ==, -EPIPE);
    rota_stream_free(w);
}
