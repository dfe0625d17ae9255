/* Open files, whole files, lines. A case that needs an offloaded call makes the attempt on the
 * loop's thread fail. */
#include "beside.h"
#include "clean_run.h"
#include "directory.h"
#include "file/file.h"

#include <rota.h>

#include <dirent.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/xattr.h>

TEST_ALL_ON_BOTH_BACKENDS;
TEST_DIRECTORIES_ON_DISK;

static rota_file *opened(const char *name, int flags)
{
    rota_file *file;
    CHECK_OK(rota_file_open(in_directory(name), flags, 0, &file));
    return file;
}

/* Every call on it leaves the loop's thread. */
static rota_file *opened_slow(const char *name, int flags)
{
    rota_file *file = opened(name, flags);
    file->no_read_try = file->no_write_try = file->asked_where = true;
    return file;
}

static void fill_pattern(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7 + i / 251);
}

static char *pattern(size_t len)
{
    char *bytes = malloc(len + 1);
    fill_pattern(bytes, len);
    return bytes;
}

static int entries_of(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    CHECK(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

/* ---- The snippets of the header */

static int shouted;

static int shout(void *arg)
{
    ROTA_AUTO(rota_file) in = NULL;
    int err = rota_file_open("/etc/passwd", O_RDONLY, 0, &in);
    if (err < 0)
        return err;
    ROTA_FOREACH (rota_str *, line, rota_file_lines(in), &err)
        shouted += printf("%s!\n", line->ptr);
    return err;
}

TEST(snippet_of_the_header_reads_lines)
{
    run(shout, NULL);
    CHECK_INT(shouted, >, 0);
}

TASK_TEST(loaded_text_can_be_saved_again)
{
    write_text("letter.txt", "dear all\n");
    ROTA_SCOPED(rota_bytes) text = ROTA_BYTES_INIT;
    CHECK_OK(rota_file_load(in_directory("letter.txt"), 0, &text));
    CHECK_STR(text.ptr, "dear all\n");
    CHECK_INT(text.len, ==, 9);
    CHECK_OK(rota_file_save(in_directory("letter.txt"), text.ptr, 4, NULL));
    CHECK_STR(text_of("letter.txt"), "dear");
    CHECK_INT(entries_of(in_directory("")), ==, 1);
}

/* ---- Hops */

static int threads_here(void)
{
    return entries_of("/proc/self/task");
}

static bool can_tell_what_is_cached(const char *path)
{
    char byte;
    struct iovec iov = {&byte, 1};
    int fd = rota__open_cached(path, O_RDONLY);
    bool can = fd >= 0 && preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == 1;
    if (fd >= 0)
        close(fd);
    return can;
}

TASK_TEST(what_the_kernel_has_in_memory_needs_no_thread)
{
    char *bytes = pattern(8192), buf[8192];
    write_file("cached", bytes, 8192);
    if (!can_tell_what_is_cached(in_directory("cached")))
        SKIP("no openat2 with RESOLVE_CACHED, or no RWF_NOWAIT here");
    int before = threads_here();
    for (int i = 0; i < 10; i++) {
        ROTA_AUTO(rota_file) file = opened("cached", O_RDONLY);
        CHECK_INT(rota_file_read(file, buf, sizeof buf), ==, 8192);
        CHECK_INT(rota_file_read(file, buf, sizeof buf), ==, 0);
        CHECK_OK(rota_file_close(file));
        ROTA_SCOPED(rota_bytes) all = ROTA_BYTES_INIT;
        write_file("odd", bytes, 5000);
        CHECK_OK(rota_file_load(in_directory("odd"), 0, &all));
        CHECK_INT(all.len, ==, 5000);
    }
    CHECK_INT(threads_here(), ==, before);
    free(bytes);
}

TASK_TEST(without_openat2_files_open_all_the_same)
{
    atomic_store(&rota__open_cached_refused, true);
    write_text("plain", "text");
    ROTA_AUTO(rota_file) file = opened("plain", O_RDONLY);
    char buf[8];
    CHECK_INT(rota_file_read(file, buf, sizeof buf), ==, 4);
    ROTA_SCOPED(rota_bytes) all = ROTA_BYTES_INIT;
    CHECK_OK(rota_file_load(in_directory("plain"), 0, &all));
    rota_file *none;
    CHECK_INT(rota_file_open(in_directory("none"), O_RDONLY, 0, &none), ==, -ENOENT);
}

TASK_TEST(what_is_not_in_memory_is_read_whole_by_one_call)
{
    size_t len = 3000000;
    char *bytes = pattern(len), *buf = malloc(len + 10);
    write_file("cold", bytes, len);
    ROTA_AUTO(rota_file) file = opened("cold", O_RDWR);
    CHECK_OK(rota_file_sync(file));
    CHECK_OK(posix_fadvise(rota_file_fd(file), 8192, 0, POSIX_FADV_DONTNEED));
    CHECK_INT(rota_file_read(file, buf, 200000), ==, 200000);
    CHECK_MEM(buf, bytes, 200000);
    CHECK_OK(posix_fadvise(rota_file_fd(file), 0, 0, POSIX_FADV_DONTNEED));
    CHECK_INT(rota_file_pread(file, buf, len + 10, 0), ==, (ssize_t)len);
    CHECK_MEM(buf, bytes, len);
    free(buf);
    free(bytes);
}

TASK_TEST(a_large_write_is_written_whole)
{
    size_t len = 3000000;
    char *bytes = pattern(len), *back = malloc(len);
    ROTA_AUTO(rota_file) file = opened("large", O_RDWR | O_CREAT);
    CHECK_OK(rota_file_write(file, bytes, len));
    CHECK_INT(rota_file_progress(file), ==, len);
    CHECK_OK(rota_file_pwrite(file, bytes, 500000, 100));
    CHECK_INT(rota_file_pread(file, back, len, 0), ==, (ssize_t)len);
    CHECK_MEM(back + 100, bytes, 500000);
    CHECK_MEM(back + 500100, bytes + 500100, len - 500100);
    free(back);
    free(bytes);
}

TASK_TEST(after_one_hop_files_in_memory_need_no_other)
{
    int fd = memfd_create("memory", MFD_CLOEXEC);
    char buf[4];
    ROTA_AUTO(rota_file) file = NULL;
    CHECK_OK(fd);
    CHECK_OK(rota_file_from_fd(fd, &file));
    CHECK_OK(rota_file_write(file, "text", 4));
    CHECK(file->in_memory || !file->no_write_try);
    CHECK_OK(rota_file_write(file, "more", 4));
    CHECK_INT(rota_file_pread(file, buf, 4, 2), ==, 4);
    CHECK_MEM(buf, "xtmo", 4);
}

static int count_turns(void *arg)
{
    int *turns = arg;
    for (;;) {
        int err = rota_yield();
        if (err < 0)
            return err;
        ++*turns;
    }
}

TASK_TEST(one_who_reads_cached_bytes_lets_others_run)
{
    write_text("cached", "text");
    ROTA_AUTO(rota_file) file = opened("cached", O_RDONLY);
    int turns = 0;
    ROTA_AUTO(rota_task) other = NULL;
    CHECK_OK(rota_spawn(count_turns, &turns, &other));
    char buf[4];
    for (int i = 0; i < 1000; i++)
        CHECK_INT(rota_file_pread(file, buf, sizeof buf, 0), ==, 4);
    CHECK_INT(turns, >, 5);
}

/* ---- The position */

TASK_TEST(reading_and_writing_move_the_position)
{
    ROTA_AUTO(rota_file) file = opened("new", O_RDWR | O_CREAT);
    char buf[16];
    CHECK_OK(rota_file_write(file, "hello, ", 7));
    CHECK_OK(rota_file_write(file, "world", 5));
    CHECK_INT(rota_file_progress(file), ==, 5);
    CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, 12);
    CHECK_INT(rota_file_seek(file, 7, SEEK_SET), ==, 7);
    CHECK_INT(rota_file_read(file, buf, sizeof buf), ==, 5);
    CHECK_MEM(buf, "world", 5);
    CHECK_INT(rota_file_read(file, buf, sizeof buf), ==, 0);
    CHECK_INT(rota_file_seek(file, -5, SEEK_END), ==, 7);
    CHECK_INT(rota_file_seek(file, -8, SEEK_CUR), ==, -EINVAL);
    CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, 7);
    CHECK_OK(rota_file_write(file, "W", 1));
    CHECK_STR(text_of("new"), "hello, World");
}

TASK_TEST(calls_with_an_offset_leave_the_position)
{
    ROTA_AUTO(rota_file) file = opened("new", O_RDWR | O_CREAT);
    char buf[16];
    CHECK_OK(rota_file_pwrite(file, "abc", 3, 3));
    CHECK_INT(rota_file_pread(file, buf, sizeof buf, 0), ==, 6);
    CHECK_MEM(buf, "\0\0\0abc", 6);
    CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, 0);
    CHECK_INT(rota_file_pread(file, buf, sizeof buf, 6), ==, 0);
    CHECK_INT(rota_file_pread(file, buf, sizeof buf, -1), ==, -EINVAL);
    CHECK_INT(rota_file_pwrite(file, buf, sizeof buf, -1), ==, -EINVAL);
}

TASK_TEST(pieces_are_moved_in_order)
{
    enum { PIECES = 40 };
    ROTA_AUTO(rota_file) file = opened("new", O_RDWR | O_CREAT);
    char out[1000], in[1000] = {0};
    fill_pattern(out, sizeof out);
    struct iovec iov[PIECES];
    for (int i = 0; i < PIECES; i++)
        iov[i] = (struct iovec){out + i * 25, i % 3 ? 25 : 0};
    CHECK_OK(rota_file_writev(file, iov, PIECES));
    CHECK_INT(rota_file_progress(file), ==, 26 * 25);
    for (int i = 0; i < PIECES; i++)
        iov[i].iov_base = in + i * 25;
    CHECK_INT(rota_file_preadv(file, iov, PIECES, 0), ==, 26 * 25);
    for (int i = 0; i < PIECES; i++)
        CHECK_MEM((char *)iov[i].iov_base, out + i * 25, iov[i].iov_len);
    CHECK_OK(rota_file_pwritev(file, iov, PIECES, 5));
    CHECK_INT(rota_file_seek(file, 0, SEEK_SET), ==, 0);
    CHECK_INT(rota_file_readv(file, iov, PIECES), ==, 26 * 25);
    CHECK_INT(rota_file_readv(file, NULL, 0), ==, 0);
    CHECK_INT(rota_file_readv(file, iov, -1), ==, -EINVAL);
    CHECK_INT(rota_file_preadv(file, iov, -1, 0), ==, -EINVAL);
    CHECK_INT(rota_file_writev(file, iov, -1), ==, -EINVAL);
    CHECK_INT(rota_file_pwritev(file, iov, -1, 0), ==, -EINVAL);
}

TASK_TEST(appending_follows_the_end)
{
    write_text("log", "one\n");
    ROTA_AUTO(rota_file) file = opened("log", O_RDWR | O_APPEND);
    ROTA_AUTO(rota_file) other = opened("log", O_WRONLY | O_APPEND);
    CHECK_OK(rota_file_write(file, "two\n", 4));
    CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, 8);
    CHECK_OK(rota_file_write(other, "three\n", 6));
    CHECK_OK(rota_file_write(file, "four\n", 5));
    CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, 19);
    CHECK_STR(text_of("log"), "one\ntwo\nthree\nfour\n");
}

TASK_TEST(a_descriptor_brings_its_position)
{
    write_text("text", "0123456789");
    int fd = open(in_directory("text"), O_RDONLY | O_CLOEXEC);
    CHECK_INT(lseek(fd, 4, SEEK_SET), ==, 4);
    ROTA_AUTO(rota_file) file = NULL;
    CHECK_OK(rota_file_from_fd(fd, &file));
    CHECK_INT(rota_file_fd(file), ==, fd);
    char buf[3];
    CHECK_INT(rota_file_read(file, buf, 3), ==, 3);
    CHECK_MEM(buf, "456", 3);
}

static ssize_t read_result;

static int read_at_position(void *arg)
{
    char buf[4];
    read_result = rota_file_read(arg, buf, sizeof buf);
    return 0;
}

TASK_TEST(the_position_is_one_tasks_at_a_time)
{
    write_text("text", "0123456789");
    ROTA_AUTO(rota_file) file = opened_slow("text", O_RDWR);
    ROTA_AUTO(rota_task) other = NULL;
    char buf[4];
    CHECK_OK(rota_spawn(read_at_position, file, &other));
    CHECK_OK(rota_yield());
    CHECK_STR(rota_task_waits_for(other), "file read");
    CHECK_INT(rota_file_read(file, buf, 4), ==, -EBUSY);
    CHECK_INT(rota_file_seek(file, 0, SEEK_SET), ==, -EBUSY);
    CHECK_INT(rota_file_write(file, "x", 1), ==, -EBUSY);
    CHECK_INT(rota_file_pread(file, buf, 4, 2), ==, 4);
    CHECK_OK(rota_join(other));
    other = NULL;
    CHECK_INT(read_result, ==, 4);
    CHECK_INT(rota_file_read(file, buf, 4), ==, 4);
    CHECK_MEM(buf, "4567", 4);
}

static int read_elsewhere(void *arg)
{
    char buf[10];
    ssize_t n = rota_file_pread(arg, buf, sizeof buf, 0);
    return n < 0 ? (int)n : n == 10 && memcmp(buf, "0123456789", 10) == 0 ? 0 : -EBADMSG;
}

TASK_TEST(any_number_reads_elsewhere)
{
    write_text("text", "0123456789");
    ROTA_AUTO(rota_file) file = opened_slow("text", O_RDONLY);
    ROTA_GROUP(g);
    for (int i = 0; i < 100; i++)
        rota_group_spawn(&g, read_elsewhere, file);
    CHECK_OK(rota_group_wait(&g));
    CHECK_INT(file->elsewhere, ==, 0);
}

/* ---- Cancelling and closing */

TASK_TEST(a_cancelled_read_has_let_go_of_the_buffer)
{
    char *bytes = pattern(500000);
    write_file("big", bytes, 500000);
    ROTA_AUTO(rota_file) file = opened_slow("big", O_RDONLY);
    for (int i = 0; i < 20; i++) {
        char *buf = malloc(500000);
        ssize_t n = 0;
        ROTA_TIMEOUT (i * 20 * ROTA_MICROSECOND) {
            n = rota_file_pread(file, buf, 500000, 0);
        }
        CHECK(n == 500000 || n == -ETIMEDOUT);
        if (n > 0)
            CHECK_MEM(buf, bytes, 500000);
        free(buf);
    }
    free(bytes);
}

TASK_TEST(a_cancelled_write_happened_or_did_not)
{
    char out[10000], in[10000];
    fill_pattern(out, sizeof out);
    for (int i = 0; i < 20; i++) {
        ROTA_AUTO(rota_file) file = opened_slow("new", O_RDWR | O_CREAT | O_TRUNC);
        int err = 0;
        ROTA_TIMEOUT (i * 10 * ROTA_MICROSECOND) {
            err = rota_file_write(file, out, sizeof out);
        }
        CHECK(err == 0 || err == -ETIMEDOUT);
        ssize_t n = rota_file_pread(file, in, sizeof in, 0);
        CHECK_INT(n, ==, (ssize_t)rota_file_progress(file));
        CHECK_INT(n, ==, err == 0 ? 10000 : 0);
        CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, n);
    }
}

static int cancelled_calls(void *arg)
{
    rota_file *file = arg, *none = NULL;
    char buf[4];
    struct stat about;
    rota_bytes all = ROTA_BYTES_INIT;
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_file_read(file, buf, 4), ==, -ECANCELED);
    CHECK_INT(rota_file_write(file, buf, 4), ==, -ECANCELED);
    CHECK_INT(rota_file_sync(file), ==, -ECANCELED);
    CHECK_INT(rota_file_stat(file, &about), ==, -ECANCELED);
    CHECK_INT(rota_file_truncate(file, 0), ==, -ECANCELED);
    CHECK_INT(rota_file_open(in_directory("text"), O_RDONLY, 0, &none), ==, -ECANCELED);
    CHECK_INT(rota_file_temp(NULL, &none), ==, -ECANCELED);
    CHECK_INT(rota_file_load(in_directory("text"), 0, &all), ==, -ECANCELED);
    CHECK_INT(rota_file_save(in_directory("text"), "x", 1, NULL), ==, -ECANCELED);
    CHECK_PTR(none, ==, NULL);
    return 0;
}

TASK_TEST(rule_7_each_call_is_a_cancellation_point)
{
    write_text("text", "text");
    ROTA_AUTO(rota_file) file = opened("text", O_RDWR);
    rota_task *task;
    CHECK_OK(rota_spawn(cancelled_calls, file, &task));
    CHECK_OK(rota_join(task));
    CHECK_STR(text_of("text"), "text");
}

TASK_TEST(closing_waits_for_those_inside)
{
    write_text("text", "0123456789");
    ROTA_AUTO(rota_file) file = opened_slow("text", O_RDONLY);
    ROTA_GROUP(g);
    for (int i = 0; i < 3; i++)
        rota_group_spawn(&g, read_elsewhere, file);
    rota_group_spawn(&g, read_at_position, file);
    CHECK_OK(rota_yield());
    CHECK_OK(rota_file_close(file));
    CHECK_INT(rota_file_fd(file), ==, -1);
    CHECK_OK(rota_group_wait(&g));
    CHECK_INT(read_result, ==, 4);
    char buf[4];
    CHECK_INT(rota_file_read(file, buf, 4), ==, ROTA_ECLOSED);
    CHECK_INT(rota_file_pread(file, buf, 4, 0), ==, ROTA_ECLOSED);
    CHECK_INT(rota_file_sync(file), ==, ROTA_ECLOSED);
    CHECK_INT(rota_file_seek(file, 0, SEEK_SET), ==, ROTA_ECLOSED);
    CHECK_OK(rota_file_close(file));
}

static rota_file *left_open;

static int leave_open(void *arg)
{
    left_open = opened("text", O_RDWR | O_CREAT);
    return rota_file_write(left_open, "text", 4);
}

static char words_of_reader[600];

static int read_a_line(void *arg)
{
    rota_str line = {0};
    int more = rota_file_read_line(arg, &line);
    snprintf(words_of_reader, sizeof words_of_reader, "%s", rota_error(more));
    return more;
}

static void free_soon(rota_handle *handle, void *arg)
{
    rota_file_free(arg);
}

static void close_soon(rota_handle *handle, void *arg)
{
    CHECK_OK(rota_file_close(arg));
}

/* Reads a line of `file` in a task, and has `end` called meanwhile. */
static int read_a_line_until(rota_file *file, rota_handle_fn *end)
{
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_task *reader;
    CHECK_OK(rota_spawn(read_a_line, file, &reader));
    CHECK_OK(rota_yield());
    CHECK_STR(rota_task_waits_for(reader), "file read");
    rota_loop_call_soon(rota_loop_current(), &handle, end, file);
    return rota_join(reader);
}

TASK_TEST(a_file_may_be_freed_by_a_callback_while_a_task_reads)
{
    char words[600];
    write_text("text", "0123456789\n");
    for (int slow = 0; slow < 2; slow++) {
        rota_file *file = opened_slow("text", O_RDWR);
        file->written = slow; /* closing it leaves the loop's thread */
        rota_file_set_limit(file, 4);
        CHECK_INT(read_a_line_until(file, free_soon), ==, ROTA_ELIMIT);
        snprintf(words, sizeof words,
                 "read a line of %s: longer than 4 bytes (rota_file_set_limit)",
                 in_directory("text"));
        CHECK_STR(words_of_reader, words);
        file = opened_slow("text", O_WRONLY);
        file->written = slow;
        CHECK_INT(read_a_line_until(file, free_soon), ==, -EBADF);
        snprintf(words, sizeof words, "read a line of %s: %s", in_directory("text"),
                 rota_strerror(-EBADF));
        CHECK_STR(words_of_reader, words);
    }
}

TASK_TEST(a_line_whose_buffer_is_gone_is_not_handed_out)
{
    write_text("text", "0123456789\n");
    CHECK_INT(read_a_line_until(opened_slow("text", O_RDONLY), free_soon), ==, ROTA_ECLOSED);
    ROTA_AUTO(rota_file) file = opened_slow("text", O_RDONLY);
    CHECK_INT(read_a_line_until(file, close_soon), ==, ROTA_ECLOSED);
}

TEST(a_file_may_be_freed_after_its_loop)
{
    in_directory("");
    int before = test_open_fds();
    CHECK_OK(rota_run(leave_open, NULL));
    char buf[4];
    CHECK_INT(rota_file_read(left_open, buf, 4), ==, ROTA_ENOTASK);
    rota_file_free(left_open);
    CHECK_INT(test_open_fds(), ==, before);
    CHECK_PTR(rota_file_free(NULL), ==, NULL);
}

static int sleep_a_minute(void *arg)
{
    int err = rota_sleep(ROTA_MINUTE);
    *(bool *)arg = err == 0;
    return err;
}

static int work_on_virtual_clock(void *arg)
{
    bool slept = false;
    ROTA_AUTO(rota_task) sleeper = NULL;
    CHECK_OK(rota_spawn(sleep_a_minute, &slept, &sleeper));
    ROTA_AUTO(rota_file) file = opened_slow("text", O_RDWR | O_CREAT);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(rota_file_write(file, "text", 4));
        CHECK_OK(rota_file_sync_data(file));
    }
    CHECK(!slept);
    return 0;
}

TEST(virtual_time_stands_still_while_a_file_is_worked_on)
{
    in_directory("");
    rota_loop_options options = {.virtual_clock = true};
    CHECK_OK(rota_run_with(work_on_virtual_clock, NULL, &options));
}

/* ---- Lines */

TASK_TEST(lines_end_in_newlines_or_at_the_end)
{
    write_text("lines", "one\r\n\ntwo\rthree\nlast");
    ROTA_AUTO(rota_file) file = opened("lines", O_RDONLY);
    rota_str line;
    static const char *const expected[] = {"one", "", "two\rthree", "last"};
    static const int positions[] = {5, 6, 16, 20};
    for (int i = 0; i < 4; i++) {
        CHECK_INT(rota_file_read_line(file, &line), ==, 1);
        CHECK_STR(line.ptr, expected[i]);
        CHECK_INT(line.len, ==, strlen(expected[i]));
        CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, positions[i]);
    }
    CHECK_INT(rota_file_read_line(file, &line), ==, 0);
}

TASK_TEST(many_lines_cross_what_is_read_at_once)
{
    enum { LINES = 5000 };
    FILE *out = fopen(in_directory("lines"), "we");
    for (int i = 0; i < LINES; i++)
        fprintf(out, "%d:%*s\n", i, i % 200, "");
    fclose(out);
    ROTA_AUTO(rota_file) file = opened("lines", O_RDONLY);
    int n = 0, err;
    ROTA_FOREACH (rota_str *, line, rota_file_lines(file), &err) {
        CHECK_INT(atoi(line->ptr), ==, n);
        CHECK_INT(strchr(line->ptr, ':') - line->ptr + 1 + (n % 200), ==, (int)line->len);
        n++;
    }
    CHECK_OK(err);
    CHECK_INT(n, ==, LINES);
}

TASK_TEST(a_line_over_the_limit_stays)
{
    char long_line[300];
    memset(long_line, 'x', sizeof long_line);
    long_line[299] = '\n';
    write_file("lines", long_line, sizeof long_line);
    ROTA_AUTO(rota_file) file = opened("lines", O_RDONLY);
    rota_str line;
    rota_file_set_limit(file, 299);
    CHECK_INT(rota_file_read_line(file, &line), ==, ROTA_ELIMIT);
    CHECK(strstr(rota_error(ROTA_ELIMIT), ": longer than 299 bytes (rota_file_set_limit)"));
    CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, 0);
    CHECK_INT(rota_file_read_line(file, &line), ==, ROTA_ELIMIT);
    rota_file_set_limit(file, 0);
    CHECK_INT(rota_file_read_line(file, &line), ==, 1);
    CHECK_INT(line.len, ==, 299);
}

TASK_TEST(lines_reads_and_writes_share_the_position)
{
    write_text("mixed", "one\ntwo\nthree\nfour\n");
    ROTA_AUTO(rota_file) file = opened("mixed", O_RDWR);
    rota_str line;
    char buf[6] = "";
    CHECK_INT(rota_file_read_line(file, &line), ==, 1);
    CHECK_INT(rota_file_read(file, buf, 4), ==, 4);
    CHECK_STR(buf, "two\n");
    CHECK_OK(rota_file_write(file, "THREE", 5));
    CHECK_INT(rota_file_read_line(file, &line), ==, 1);
    CHECK_STR(line.ptr, "");
    struct iovec iov[] = {{buf, 0}, {buf, 2}, {buf + 2, 4}};
    CHECK_INT(rota_file_seek(file, 4, SEEK_SET), ==, 4);
    CHECK_INT(rota_file_read_line(file, &line), ==, 1);
    CHECK_INT(rota_file_readv(file, iov, 3), ==, 6);
    CHECK_MEM(buf, "THREE\n", 6);
    CHECK_STR(text_of("mixed"), "one\ntwo\nTHREE\nfour\n");
}

/* ---- Whole files */

TASK_TEST(files_of_every_size_are_loaded)
{
    static const size_t sizes[] = {0,    1,     4095,    4096,          4097,
                                   8192, 65536, 1 << 20, (1 << 20) + 1, 3 << 20};
    char *bytes = pattern(3 << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ROTA_SCOPED(rota_bytes) all = ROTA_BYTES_INIT;
        write_file("sized", bytes, sizes[i]);
        CHECK_OK(rota_file_load(in_directory("sized"), 0, &all));
        CHECK_INT(all.len, ==, sizes[i]);
        CHECK_MEM(all.ptr, bytes, sizes[i]);
        CHECK_INT(all.ptr[all.len], ==, 0);
    }
    free(bytes);
}

TASK_TEST(files_that_do_not_say_their_size_are_loaded)
{
    ROTA_SCOPED(rota_bytes) status = ROTA_BYTES_INIT;
    CHECK_OK(rota_file_load("/proc/self/status", 0, &status));
    CHECK(strstr(status.ptr, "Name:"));
    CHECK_INT(strlen(status.ptr), ==, status.len);
}

TASK_TEST(a_file_over_the_limit_is_not_loaded)
{
    ROTA_SCOPED(rota_bytes) all = ROTA_BYTES_INIT;
    write_text("text", "0123456789");
    CHECK_INT(rota_file_load(in_directory("text"), 9, &all), ==, ROTA_ELIMIT);
    CHECK_INT(rota_file_load("/proc/self/status", 20, &all), ==, ROTA_ELIMIT);
    CHECK_STR(rota_error(ROTA_ELIMIT), "load /proc/self/status: larger than the limit of 20 bytes");
    CHECK_PTR(all.ptr, ==, NULL);
    CHECK_OK(rota_file_load(in_directory("text"), 10, &all));
    rota_bytes_fini(&all);
    CHECK_OK(rota_file_load(in_directory("text"), SIZE_MAX, &all));
}

TASK_TEST(what_cannot_be_loaded_is_named)
{
    ROTA_SCOPED(rota_bytes) all = ROTA_BYTES_INIT;
    CHECK_INT(rota_file_load(in_directory("none"), 0, &all), ==, -ENOENT);
    CHECK_INT(rota_file_load(in_directory(""), 0, &all), ==, -EISDIR);
    CHECK_OK(mkfifo(in_directory("fifo"), 0600));
    CHECK_INT(rota_file_load(in_directory("fifo"), 0, &all), ==, -ESPIPE);
    CHECK_PTR(all.ptr, ==, NULL);
}

struct changer {
    char path[300];
    atomic_bool stop;
};

static void *change_length(void *arg)
{
    struct changer *c = arg;
    int fd = open(c->path, O_RDWR | O_CLOEXEC);
    for (int i = 0; !atomic_load(&c->stop); i++) {
        if (ftruncate(fd, i % 3 * 40000) < 0)
            break;
        sched_yield();
    }
    close(fd);
    return NULL;
}

TASK_TEST(a_file_that_shrinks_and_grows_meanwhile_is_read_to_some_end)
{
    struct changer c = {.stop = false};
    pthread_t thread;
    write_text("moving", "");
    snprintf(c.path, sizeof c.path, "%s", in_directory("moving"));
    CHECK_INT(pthread_create(&thread, NULL, change_length, &c), ==, 0);
    ROTA_AUTO(rota_file) file = opened_slow("moving", O_RDONLY);
    int err = 0;
    ssize_t n = 0;
    char *buf = malloc(100000);
    for (int i = 0; i < 300 && err == 0 && n >= 0; i++) {
        ROTA_SCOPED(rota_bytes) all = ROTA_BYTES_INIT;
        err = rota_file_load(c.path, 0, &all);
        n = rota_file_pread(file, buf, 100000, 0);
        CHECK(all.len <= 80000 && n <= 80000);
    }
    atomic_store(&c.stop, true);
    pthread_join(thread, NULL);
    free(buf);
    CHECK_OK(err);
    CHECK_OK(n);
}

TASK_TEST(saving_keeps_permissions_and_follows_links)
{
    struct stat about;
    write_text("old", "old");
    CHECK_OK(chmod(in_directory("old"), 0640));
    CHECK_OK(link(in_directory("old"), in_directory("hard")));
    CHECK_OK(symlink("old", in_directory("soft")));
    CHECK_OK(rota_file_save(in_directory("soft"), "new", 3, NULL));
    CHECK_OK(lstat(in_directory("soft"), &about));
    CHECK(S_ISLNK(about.st_mode));
    CHECK_OK(stat(in_directory("old"), &about));
    CHECK_INT(about.st_mode & 07777, ==, 0640);
    CHECK_STR(text_of("old"), "new");
    CHECK_STR(text_of("hard"), "old");
    umask(022);
    rota_file_save_options options = {.mode = 0660, .unsynced = true, .exclusive = true};
    CHECK_OK(rota_file_save(in_directory("made"), "made", 4, &options));
    CHECK_OK(stat(in_directory("made"), &about));
    CHECK_INT(about.st_mode & 07777, ==, 0640);
    CHECK_INT(rota_file_save(in_directory("made"), "again", 5, &options), ==, -EEXIST);
    CHECK_STR(text_of("made"), "made");
    CHECK_INT(entries_of(in_directory("")), ==, 4);
}

TASK_TEST(saving_makes_what_a_link_leads_to)
{
    struct stat about;
    char far[300];
    CHECK_OK(mkdir(in_directory("sub"), 0700));
    CHECK_OK(symlink("sub/second", in_directory("first")));
    snprintf(far, sizeof far, "%s", in_directory("made"));
    CHECK_OK(symlink(far, in_directory("sub/second")));
    rota_file_save_options exclusive = {.exclusive = true};
    CHECK_INT(rota_file_save(in_directory("first"), "x", 1, &exclusive), ==, -EEXIST);
    CHECK_OK(rota_file_save(in_directory("first"), "new", 3, NULL));
    CHECK_STR(text_of("made"), "new");
    CHECK_OK(lstat(in_directory("first"), &about));
    CHECK(S_ISLNK(about.st_mode));
    CHECK_OK(lstat(in_directory("sub/second"), &about));
    CHECK(S_ISLNK(about.st_mode));
    CHECK_OK(rota_file_save(in_directory("first"), "newer", 5, NULL));
    CHECK_STR(text_of("made"), "newer");
    CHECK_INT(entries_of(in_directory("")), ==, 3);
    CHECK_INT(entries_of(in_directory("sub")), ==, 1);
    CHECK_OK(symlink("none/x", in_directory("lost")));
    CHECK_INT(rota_file_save(in_directory("lost"), "x", 1, NULL), ==, -ENOENT);
    CHECK_OK(symlink("round", in_directory("round")));
    CHECK_INT(rota_file_save(in_directory("round"), "x", 1, NULL), ==, -ELOOP);
}

/* ---- Permissions of saved files */

static void check_owner(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
    struct stat about;
    CHECK_OK(lstat(in_directory(name), &about));
    CHECK_INT(about.st_uid, ==, uid);
    CHECK_INT(about.st_gid, ==, gid);
    CHECK_INT(about.st_mode & 07777, ==, mode);
}

static void make_file(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
    write_text(name, "old");
    CHECK_OK(chown(in_directory(name), uid, gid));
    CHECK_OK(chmod(in_directory(name), mode));
}

static void require_root(void)
{
    if (geteuid() != 0)
        SKIP("files of other users take root");
}

static int save_it(void *arg)
{
    return rota_file_save(arg, "new", 3, NULL);
}

/* In a process of another user, whose group is 100; `group` is a further one, or 0. */
static void save_as(uid_t uid, gid_t group, const char *name)
{
    int status;
    char *path = strdup(in_directory(name));
    pid_t pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        bool is_other = setgroups(group != 0, &group) == 0 && setgid(100) == 0 && setuid(uid) == 0;
        _exit(is_other && rota_run(save_it, path) == 0 ? 0 : 1);
    }
    free(path);
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
}

TEST_WITH(saving_by_another_user_lets_in_nobody_else, .without_faults = true)
{
    static const mode_t modes[][2] = {{0640, 0600}, {0644, 0644}, {0664, 0644},
                                      {0604, 0600}, {0666, 0666}, {06755, 0755}};
    require_root();
    CHECK_OK(chmod(test_directory(), 0777));
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        make_file("f", 0, 42, modes[i][0]);
        save_as(1500, 42, "f");
        check_owner("f", 1500, 42, modes[i][0] & 0777);
        make_file("f", 0, 42, modes[i][0]);
        save_as(1500, 0, "f");
        check_owner("f", 1500, 100, modes[i][1]);
        CHECK_STR(text_of("f"), "new");
    }
}

TASK_TEST(saving_by_root_keeps_owner_and_group)
{
    require_root();
    make_file("f", 1500, 42, 04640);
    CHECK_OK(rota_file_save(in_directory("f"), "new", 3, NULL));
    check_owner("f", 1500, 42, 04640);
}

TASK_TEST(file_for_its_owner_only_shuts_out_those_whom_the_old_one_let_in)
{
    struct stat about;
    rota_file_save_options options = {.mode = 0666, .owner_only = true};
    umask(0);
    CHECK_OK(rota_file_save(in_directory("f"), "new", 3, &options));
    CHECK_OK(stat(in_directory("f"), &about));
    CHECK_INT(about.st_mode & 07777, ==, 0600);
    CHECK_OK(chmod(in_directory("f"), 0664));
    CHECK_OK(rota_file_save(in_directory("f"), "new", 3, &options));
    CHECK_OK(stat(in_directory("f"), &about));
    CHECK_INT(about.st_mode & 07777, ==, 0600);
}

#define ACL "system.posix_acl_access"
#define DEFAULT_ACL "system.posix_acl_default"

/* As the kernel reads it, acl(5): version; tag, permissions and id of each entry. */
struct acl {
    uint32_t version;
    struct {
        uint16_t tag, perm;
        uint32_t id;
    } entries[5];
};

/* User 1500 may read; so says the mask, and the group bits of the mode with it. */
static const struct acl for_user = {
    2,
    {{0x01, 6, -1u}, {0x02, 4, 1500}, {0x04, 0, -1u}, {0x10, 4, -1u}, {0x20, 0, -1u}},
};

static void set_acl(const char *name, const char *kind)
{
    if (setxattr(in_directory(name), kind, &for_user, sizeof for_user, 0) < 0)
        SKIP("no access control lists here: %s", strerror(errno));
}

TASK_TEST(saving_keeps_the_access_control_list)
{
    struct acl now;
    write_text("f", "old");
    set_acl("f", ACL);
    CHECK_OK(rota_file_save(in_directory("f"), "new", 3, NULL));
    CHECK_INT(getxattr(in_directory("f"), ACL, &now, sizeof now), ==, sizeof now);
    CHECK_MEM(&now, &for_user, sizeof now);
    rota_file_save_options options = {.owner_only = true};
    CHECK_OK(rota_file_save(in_directory("f"), "new", 3, &options));
    check_owner("f", geteuid(), getegid(), 0600);
}

TASK_TEST(saving_takes_nothing_from_the_directorys_default_list)
{
    struct acl now;
    write_text("f", "old");
    CHECK_OK(chmod(in_directory("f"), 0640));
    set_acl("", DEFAULT_ACL);
    CHECK_OK(rota_file_save(in_directory("f"), "new", 3, NULL));
    CHECK_INT(getxattr(in_directory("f"), ACL, &now, sizeof now), ==, -1);
    check_owner("f", geteuid(), getegid(), 0640);
}

TEST_WITH(list_that_cannot_be_kept_leaves_the_file_to_its_owner, .without_faults = true)
{
    require_root();
    CHECK_OK(chmod(test_directory(), 0777));
    make_file("f", 0, 42, 0640);
    set_acl("f", ACL);
    save_as(1501, 0, "f");
    check_owner("f", 1501, 100, 0600);
}

static void make_link(const char *name, const char *target, uid_t uid)
{
    CHECK_OK(symlink(target, in_directory(name)));
    CHECK_OK(lchown(in_directory(name), uid, uid));
}

TASK_TEST(links_and_files_of_others_in_sticky_directories_are_refused)
{
    require_root();
    write_text("target", "old");
    CHECK_OK(mkdir(in_directory("shared"), 0777));
    CHECK_OK(chmod(in_directory("shared"), 01777));
    make_link("shared/theirs", "../target", 1500);
    make_link("shared/ours", "../target", geteuid());
    make_file("shared/file", 1500, 1500, 0666);
    CHECK_INT(rota_file_save(in_directory("shared/theirs"), "new", 3, NULL), ==, -EACCES);
    CHECK_INT(rota_file_save(in_directory("shared/file"), "new", 3, NULL), ==, -EACCES);
    CHECK_STR(text_of("target"), "old");
    CHECK_STR(text_of("shared/file"), "old");
    CHECK_OK(rota_file_save(in_directory("shared/ours"), "new", 3, NULL));
    CHECK_STR(text_of("target"), "new");
    CHECK_OK(rota_file_save(in_directory("shared/new"), "new", 3, NULL));
    CHECK_OK(chown(in_directory("shared"), 1500, 1500));
    CHECK_OK(rota_file_save(in_directory("shared/theirs"), "newer", 5, NULL));
    CHECK_STR(text_of("target"), "newer");
    CHECK_OK(rota_file_save(in_directory("shared/file"), "new", 3, NULL));
}

static void check_words(int err, const char *call, const char *path)
{
    char words[600];
    CHECK_INT(err, <, 0);
    snprintf(words, sizeof words, "%s %s: %s", call, path, rota_strerror(err));
    CHECK_STR(rota_error(err), words);
}

TASK_TEST(failures_name_the_call_and_its_path)
{
    char path[300];
    rota_file *file;
    rota_dir *dir;
    struct stat about;
    ROTA_SCOPED(rota_bytes) all = ROTA_BYTES_INIT;
    snprintf(path, sizeof path, "%s", in_directory("none/x"));
    check_words(rota_file_open(path, O_RDONLY, 0, &file), "open", path);
    check_words(rota_file_load(path, 0, &all), "load", path);
    check_words(rota_file_save(path, "x", 1, NULL), "save", path);
    check_words(rota_dir_open(path, &dir), "open directory", path);
    check_words(rota_path_stat(path, &about), "look at", path);
    check_words(rota_path_readlink(path, &all), "read link", path);
    check_words(rota_path_mkdir(path, 0), "make directory", path);
    check_words(rota_path_rmdir(path), "remove directory", path);
    check_words(rota_path_unlink(path), "remove", path);
    check_words(rota_file_temp(path, &file), "make a temporary file in", path);
    snprintf(path + strlen(path), 20, " to y");
    CHECK_INT(rota_path_rename(in_directory("none/x"), "y"), ==, -ENOENT);
    check_words(-ENOENT, "rename", path);
}

TASK_TEST(failures_of_an_open_file_name_its_path)
{
    char path[300], byte = 'x', words[600];
    struct stat about;
    rota_str line;
    write_text("note", "text");
    snprintf(path, sizeof path, "%s", in_directory("note"));
    for (int slow = 0; slow < 2; slow++) {
        rota_file *file = (slow ? opened_slow : opened)("note", O_RDONLY);
        check_words(rota_file_write(file, &byte, 1), "write", path);
        check_words(rota_file_pwrite(file, &byte, 1, 0), "write", path);
        check_words(rota_file_truncate(file, 1), "truncate", path);
        check_words((int)rota_file_seek(file, -1, SEEK_SET), "seek in", path);
        check_words((int)rota_file_pread(file, &byte, 1, -1), "read", path);
        CHECK_OK(rota_file_close(file));
        check_words((int)rota_file_read(file, &byte, 1), "read", path);
        check_words(rota_file_sync(file), "sync", path);
        check_words(rota_file_stat(file, &about), "look at", path);
        rota_file_free(file);
        file = (slow ? opened_slow : opened)("note", O_WRONLY);
        check_words((int)rota_file_read(file, &byte, 1), "read", path);
        check_words((int)rota_file_pread(file, &byte, 1, 0), "read", path);
        check_words(rota_file_read_line(file, &line), "read a line of", path);
        file->gate.inside |= ROTA__FILE_AT_POSITION;
        CHECK_INT(rota_file_write(file, &byte, 1), ==, -EBUSY);
        file->gate.inside = 0;
        snprintf(words, sizeof words, "write %s: another task is using the file position", path);
        CHECK_STR(rota_error(-EBUSY), words);
        rota_file_free(file);
    }
}

TASK_TEST(a_busy_device_is_not_taken_for_another_task)
{
    write_text("note", "text");
    ROTA_AUTO(rota_file) file = opened("note", O_RDONLY);
    check_words((int)rota__file_failed(-EBUSY, "read", file), "read", in_directory("note"));
}

TASK_TEST(failures_of_a_file_without_a_path_say_what_it_is)
{
    char byte, words[100];
    rota_file *file;
    int fd = open("/dev/null", O_WRONLY);
    CHECK_OK(rota_file_from_fd(fd, &file));
    snprintf(words, sizeof words, "descriptor %d", fd);
    check_words((int)rota_file_read(file, &byte, 1), "read", words);
    rota_file_free(file);
    CHECK_OK(rota_file_temp(in_directory("."), &file));
    snprintf(words, sizeof words, "a temporary file in %s", in_directory("."));
    CHECK_OK(rota_file_close(file));
    check_words((int)rota_file_read(file, &byte, 1), "read", words);
    rota_file_free(file);
}

TASK_TEST(what_cannot_be_saved_is_named)
{
    CHECK_INT(rota_file_save(in_directory(""), "x", 1, NULL), ==, -EISDIR);
    CHECK_INT(rota_file_save(in_directory("none/x"), "x", 1, NULL), ==, -ENOENT);
    CHECK_INT(rota_file_save("/dev/null", "x", 1, NULL), ==, -EINVAL);
    CHECK_INT(rota_file_save("", "x", 1, NULL), ==, -ENOENT);
}

/* ---- A full disk */

TASK_TEST(a_full_device_is_an_error_of_the_write)
{
    ROTA_AUTO(rota_file) full = NULL;
    CHECK_OK(rota_file_open("/dev/full", O_WRONLY, 0, &full));
    CHECK_INT(rota_file_write(full, "x", 1), ==, -ENOSPC);
    CHECK_INT(rota_file_progress(full), ==, 0);
}

TASK_TEST(a_write_over_the_size_limit_says_how_much_was_written)
{
    struct rlimit limit = {10000, 10000};
    CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
    char *bytes = pattern(16384);
    ROTA_AUTO(rota_file) file = opened("limited", O_RDWR | O_CREAT);
    CHECK_INT(rota_file_write(file, bytes, 16384), ==, -EFBIG);
    CHECK_INT(rota_file_progress(file), ==, 10000);
    CHECK_INT(rota_file_seek(file, 0, SEEK_CUR), ==, 10000);
    CHECK_INT(rota_file_write(file, bytes, 1), ==, -EFBIG);
    char *back = malloc(16384);
    CHECK_INT(rota_file_pread(file, back, 16384, 0), ==, 10000);
    CHECK_MEM(back, bytes, 10000);
    CHECK_OK(rota_file_save(in_directory("small"), "old", 3, NULL));
    CHECK_INT(rota_file_save(in_directory("small"), bytes, 16384, NULL), ==, -EFBIG);
    CHECK_STR(text_of("small"), "old");
    CHECK_INT(entries_of(in_directory("")), ==, 2);
    free(back);
    free(bytes);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        SKIP("%s cannot be written: %s", path, strerror(errno));
    close(fd);
}

/* A file system of 64 KiB that is this process's alone. */
static void mount_small(void)
{
    char users[32], groups[32];
    snprintf(users, sizeof users, "0 %d 1", (int)getuid());
    snprintf(groups, sizeof groups, "0 %d 1", (int)getgid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        SKIP("no user namespaces here: %s", strerror(errno));
    put("/proc/self/uid_map", users);
    put("/proc/self/setgroups", "deny");
    put("/proc/self/gid_map", groups);
    CHECK_OK(mkdir(in_directory("small"), 0700));
    if (mount("none", in_directory("small"), "tmpfs", 0, "size=64k") < 0)
        SKIP("tmpfs cannot be mounted: %s", strerror(errno));
}

static int fill_small_disk(void *arg)
{
    char *bytes = pattern(100000), *back = malloc(100000);
    CHECK_OK(rota_file_save(in_directory("small/kept"), "kept", 4, NULL));
    CHECK_INT(rota_file_save(in_directory("small/kept"), bytes, 100000, NULL), ==, -ENOSPC);
    CHECK_STR(text_of("small/kept"), "kept");
    CHECK_INT(entries_of(in_directory("small")), ==, 1);

    ROTA_AUTO(rota_file) file = opened("small/log", O_RDWR | O_CREAT);
    for (int round = 0; round < 2; round++) {
        CHECK_INT(rota_file_pwrite(file, bytes, 100000, 0), ==, -ENOSPC);
        size_t written = rota_file_progress(file);
        CHECK(written > 0 && written < 65536);
        CHECK_INT(rota_file_pread(file, back, 100000, 0), ==, (ssize_t)written);
        CHECK_MEM(back, bytes, written);
        CHECK_OK(rota_file_truncate(file, 0));
    }
    CHECK_OK(rota_file_write(file, bytes, 10000));
    free(back);
    free(bytes);
    return 0;
}

TEST(a_full_disk_loses_nothing_that_was_acknowledged)
{
    mount_small();
    run(fill_small_disk, NULL);
    CHECK_OK(umount(in_directory("small")));
}

/* ---- The rest */

TASK_TEST(a_file_has_a_size_that_can_be_changed)
{
    ROTA_AUTO(rota_file) file = opened("new", O_RDWR | O_CREAT);
    struct stat about;
    CHECK_OK(rota_file_write(file, "0123456789", 10));
    CHECK_OK(rota_file_sync(file));
    CHECK_OK(rota_file_sync_data(file));
    CHECK_OK(rota_file_truncate(file, 5));
    CHECK_OK(rota_file_stat(file, &about));
    CHECK_INT(about.st_size, ==, 5);
    CHECK(S_ISREG(about.st_mode));
    CHECK_INT(rota_file_truncate(file, -1), ==, -EINVAL);
}

TASK_TEST(errors_of_opening_are_those_of_the_kernel)
{
    rota_file *file = NULL;
    write_text("text", "text");
    CHECK_INT(rota_file_open(in_directory("none"), O_RDONLY, 0, &file), ==, -ENOENT);
    CHECK_INT(rota_file_open(in_directory("text/none"), O_RDONLY, 0, &file), ==, -ENOTDIR);
    CHECK_INT(rota_file_open(in_directory("text"), O_RDONLY | O_DIRECTORY, 0, &file), ==, -ENOTDIR);
    CHECK_INT(rota_file_open(in_directory(""), O_WRONLY, 0, &file), ==, -EISDIR);
    CHECK_INT(rota_file_open(in_directory("text"), O_WRONLY | O_CREAT | O_EXCL, 0, &file), ==,
              -EEXIST);
    CHECK_INT(rota_file_open("", O_RDONLY, 0, &file), ==, -ENOENT);
    CHECK_PTR(file, ==, NULL);
    ROTA_AUTO(rota_file) reader = opened("text", O_RDONLY);
    char buf[4];
    CHECK_INT(rota_file_write(reader, "x", 1), ==, -EBADF);
    ROTA_AUTO(rota_file) writer = opened("text", O_WRONLY);
    CHECK_INT(rota_file_read(writer, buf, 4), ==, -EBADF);
}

TASK_TEST(a_pipe_is_no_file_and_blocks_nobody)
{
    int fds[2];
    rota_file *file = NULL;
    char buf[4];
    CHECK_OK(pipe2(fds, O_CLOEXEC));
    CHECK_INT(rota_file_from_fd(fds[0], &file), ==, -ESPIPE);
    CHECK_INT(rota_file_from_fd(-1, &file), ==, -EBADF);
    close(fds[0]);
    close(fds[1]);
    CHECK_OK(mkfifo(in_directory("fifo"), 0600));
    CHECK_INT(rota_file_open(in_directory("fifo"), O_WRONLY, 0, &file), ==, -ENXIO);
    CHECK_OK(rota_file_open(in_directory("fifo"), O_RDONLY, 0, &file));
    CHECK_INT(rota_file_read(file, buf, 4), ==, -ESPIPE);
    file->no_read_try = true;
    CHECK_INT(rota_file_read(file, buf, 4), ==, -ESPIPE);
    rota_file_free(file);
}

TASK_TEST(a_temporary_file_has_no_name)
{
    ROTA_AUTO(rota_file) file = NULL;
    char buf[4];
    CHECK_OK(rota_file_temp(in_directory(""), &file));
    CHECK_OK(rota_file_write(file, "temp", 4));
    CHECK_INT(rota_file_pread(file, buf, 4, 0), ==, 4);
    CHECK_INT(entries_of(in_directory("")), ==, 0);
    CHECK_INT(rota_file_temp(in_directory("none"), &file), ==, -ENOENT);
}

TASK_TEST(without_nameless_files_a_temporary_one_loses_its_name, .without_faults = true)
{
    ROTA_AUTO(rota_file) warm = NULL;
    CHECK_OK(rota_file_temp(in_directory(""), &warm)); /* there is a thread now */
    rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
    rota_file *file = NULL;
    int err = rota_file_temp(in_directory(""), &file);
    rota__fault_disarm();
    CHECK_OK(err);
    CHECK_OK(rota_file_write(file, "temp", 4));
    CHECK_INT(entries_of(in_directory("")), ==, 0);
    rota_file_free(file);
}

/* ---- Freed while another task closes it and a third one is inside a call */

static int use_it(void *arg)
{
    CHECK_OK(rota_file_truncate(arg, 10));
    return 0;
}

static int close_it(void *arg)
{
    return rota_file_close(arg);
}

static void free_it(void *arg)
{
    rota_file_free(arg);
}

TASK_TEST(a_file_may_be_freed_while_another_task_closes_it, .without_faults = true)
{
    for (int outside = 0; outside < 2; outside++) {
        rota_file *file;
        CHECK_OK(rota_file_open(in_directory("closed"), O_RDWR | O_CREAT, 0600, &file));
        free_beside_close((struct beside){file, use_it, close_it, free_it, outside});
    }
}
