/* base: lists, memory, errors, the log hook, injected faults. */

#include "harness.h"

#include "base/alloc.h"
#include "base/fault.h"
#include "base/list.h"
#include "base/log.h"
#include "base/sys.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Lists. */

struct item {
    int number;
    struct rota__list node;
};

static void check_numbers(const struct rota__list *list, const char *expected)
{
    char text[100] = "";

    rota__list_each (node, list) {
        struct item *item = rota__container_of(node, struct item, node);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d ", item->number);
    }
    CHECK_STR(text, expected);
}

static void list_of_three(struct rota__list *list, struct item items[3])
{
    rota__list_init(list);
    for (int i = 0; i < 3; i++) {
        items[i].number = i + 1;
        rota__list_append(list, &items[i].node);
    }
}

TEST(list_keeps_the_order_of_appending)
{
    struct rota__list list;
    struct item items[3], zero = {.number = 0};
    list_of_three(&list, items);
    check_numbers(&list, "1 2 3 ");
    rota__list_prepend(&list, &zero.node);
    check_numbers(&list, "0 1 2 3 ");
}

TEST(removing_a_node_twice_does_no_harm)
{
    struct rota__list list;
    struct item items[3];
    list_of_three(&list, items);
    rota__list_remove(&items[1].node);
    rota__list_remove(&items[1].node);
    check_numbers(&list, "1 3 ");
}

TEST(walk_survives_removal_of_the_node_it_is_at)
{
    struct rota__list list;
    struct item items[3];
    list_of_three(&list, items);
    rota__list_each (node, &list)
        rota__list_remove(node);
    CHECK(rota__list_empty(&list));
}

TEST(taking_from_an_empty_list_gives_null)
{
    struct rota__list list;
    struct item items[3];
    list_of_three(&list, items);
    for (int i = 0; i < 3; i++)
        CHECK_PTR(rota__list_take_first(&list), ==, &items[i].node);
    CHECK_PTR(rota__list_take_first(&list), ==, NULL);
}

TEST(splice_moves_everything_behind_what_is_there)
{
    struct rota__list a, b, empty;
    struct item first[3], second[3];
    list_of_three(&a, first);
    list_of_three(&b, second);
    rota__list_init(&empty);
    rota__list_splice(&a, &b);
    rota__list_splice(&a, &empty);
    check_numbers(&a, "1 2 3 1 2 3 ");
    CHECK(rota__list_empty(&b));
}

/* Memory. */

TEST(array_that_overflows_is_refused)
{
    CHECK_PTR(rota__alloc_array(SIZE_MAX / 2, 3), ==, NULL);
}

TEST(array_is_zeroed_also_when_empty)
{
    char zeros[8] = {0};
    void *array = rota__alloc_array(2, 4), *empty = rota__alloc_array(0, 4);
    CHECK(array && empty);
    CHECK_MEM(array, zeros, 8);
    rota_free(array);
    rota_free(empty);
}

TEST(live_allocations_are_counted)
{
    long before = rota__alloc_live();
    char *copy = rota_alloc(5);
    CHECK(copy);
    CHECK_INT(rota__alloc_live(), ==, before + 1);
    char *larger = rota_resize(copy, 1000);
    CHECK(larger);
    CHECK_INT(rota__alloc_live(), ==, before + 1);
    rota_free(larger);
    rota_free(NULL);
    CHECK_INT(rota__alloc_live(), ==, before);
}

struct counts {
    int resized, released;
};

static void *counting_resize(void *ctx, void *ptr, size_t size)
{
    ((struct counts *)ctx)->resized++;
    return realloc(ptr, size);
}

static void counting_release(void *ctx, void *ptr)
{
    ((struct counts *)ctx)->released++;
    free(ptr);
}

TEST_WITH(memory_comes_from_the_allocator_that_was_set, .without_faults = true)
{
    struct counts counts = {0, 0};
    rota_allocator_set(&(rota_allocator){counting_resize, counting_release, &counts});
    rota_free(rota_zalloc(10));
    rota_allocator_set(NULL);
    rota_free(rota_alloc(10));
    CHECK_INT(counts.resized, ==, 1);
    CHECK_INT(counts.released, ==, 1);
}

/* Injected faults. */

TEST_WITH(only_the_armed_point_fails, .without_faults = true)
{
    rota__fault_arm(ROTA__FAULT_ALLOC, 2);
    void *first = rota_alloc(1), *second = rota_alloc(1), *third = rota_alloc(1);
    CHECK_INT(rota__fault_count(ROTA__FAULT_ALLOC), ==, 3);
    rota__fault_disarm();
    CHECK(first && !second && third);
    rota_free(first);
    rota_free(third);
}

TEST_WITH(disarmed_points_neither_fail_nor_count, .without_faults = true)
{
    rota__fault_arm(ROTA__FAULT_ALLOC, 1);
    rota__fault_disarm();
    void *memory = rota_alloc(1);
    CHECK(memory);
    rota_free(memory);
    CHECK_INT(rota__fault_count(ROTA__FAULT_ALLOC), ==, 0);
}

TEST_WITH(system_call_that_fails_is_not_made, .without_faults = true)
{
    int before = test_open_fds();
    rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
    CHECK_INT(rota__sys(EMFILE, open("/dev/null", O_RDONLY)), ==, -EMFILE);
    rota__fault_disarm();
    CHECK_INT(test_open_fds(), ==, before);
    CHECK_INT(rota__sys(EMFILE, open("/does/not/exist", O_RDONLY)), ==, -ENOENT);
}

TEST_WITH(shortened_transfer_is_one_byte, .without_faults = true)
{
    CHECK_INT(rota__sys_shorten(100), ==, 100);
    rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
    CHECK_INT(rota__sys_shorten(100), ==, 1);
    CHECK_INT(rota__sys_shorten(100), ==, 100);
}

/* Errors. */

/* Rule 5: words for all codes. */
TEST(every_rota_code_has_words_of_its_own)
{
    for (int a = ROTA_EOF; a >= ROTA_EREDIRECTS; a--) {
        CHECK(strcmp(rota_strerror(a), "unknown error") != 0);
        for (int b = ROTA_EOF; b > a; b--)
            CHECK(strcmp(rota_strerror(a), rota_strerror(b)) != 0);
    }
}

TEST(borrowed_bytes_are_compared_with_text)
{
    CHECK(rota_str_equal((rota_str){"abcd", 3}, "abc"));
    CHECK(rota_str_equal((rota_str){0}, ""));
    CHECK(!rota_str_equal((rota_str){"abcd", 4}, "abc"));
    CHECK(!rota_str_equal((rota_str){"abcd", 3}, "abcd"));
    CHECK(!rota_str_equal((rota_str){"a\0c", 3}, "a"));
}

TEST(borrowed_bytes_are_made_of_literals_and_printed)
{
    rota_str name = ROTA_STR("rota"), with_nul = ROTA_STR("a\0c");
    CHECK(rota_str_equal(name, "rota"));
    CHECK_INT(ROTA_STR("").len, ==, 0);
    CHECK_INT(with_nul.len, ==, 3);
    char line[32];
    snprintf(line, sizeof line, "<%.*s%.*s>", ROTA_STR_ARG(((rota_str){name.ptr, 2})),
             ROTA_STR_ARG(((rota_str){0})));
    CHECK_STR(line, "<ro>");
    rota_str huge = {"text", SIZE_MAX};
    snprintf(line, sizeof line, "<%.*s>", ROTA_STR_ARG(huge));
    CHECK_STR(line, "<text>");
}

TEST(system_errors_keep_their_words)
{
    CHECK_STR(rota_strerror(-ECONNREFUSED), strerror(ECONNREFUSED));
    CHECK_STR(rota_strerror(0), "success");
    CHECK_STR(rota_strerror(17), "success");
}

TEST(nonsense_is_an_unknown_error)
{
    CHECK_STR(rota_strerror(-4000), "unknown error");
    CHECK_STR(rota_strerror(INT32_MIN), "unknown error");
}

/* The log hook. */

static void keep_message(void *arg, rota_log_level level, const char *message)
{
    snprintf(arg, 100, "%d %zu %.50s", (int)level, strlen(message), message);
}

TEST(hook_gets_level_and_text)
{
    char seen[100] = "";
    rota_log_set(keep_message, seen);
    CHECK(rota__log_wanted(ROTA_LOG_DEBUG));
    rota_log(ROTA_LOG_WARNING, "task %s failed", "reader");
    CHECK_STR(seen, "2 18 task reader failed");
}

TEST(long_report_is_cut_at_8_kib)
{
    char seen[100] = "", *text = malloc(20000);
    CHECK(text);
    memset(text, 'x', 19999);
    text[19999] = 0;
    rota_log_set(keep_message, seen);
    rota_log(ROTA_LOG_ERROR, "%s", text);
    CHECK(strncmp(seen, "3 8191 xxx", 10) == 0);
    rota__log_text(ROTA_LOG_ERROR, text);
    CHECK(strncmp(seen, "3 19999 xxx", 11) == 0);
    free(text);
}

/* The case's own output, read back through its descriptor. */
static void check_stderr(const char *expected)
{
    char text[200] = "";
    fflush(stderr);
    CHECK_OK(pread(STDERR_FILENO, text, sizeof text - 1, 0));
    CHECK_STR(text, expected);
}

TEST(library_is_silent_without_a_hook)
{
    setenv("ROTA_DEBUG", "0", 1);
    CHECK(!rota__log_wanted(ROTA_LOG_ERROR));
    rota_log(ROTA_LOG_ERROR, "nobody asked");
    check_stderr("");
}

TEST(debug_mode_reports_to_stderr)
{
    setenv("ROTA_DEBUG", "1", 1);
    CHECK(rota__log_wanted(ROTA_LOG_DEBUG));
    rota_log(ROTA_LOG_ERROR, "somebody asked");
    check_stderr("rota: somebody asked\n");
}

TEST(program_reports_warnings_and_errors_to_stderr)
{
    rota__log_program_begins();
    rota_log(ROTA_LOG_INFO, "all is well");
    rota_log(ROTA_LOG_WARNING, "low on %s", "water");
    rota_log(ROTA_LOG_ERROR, "out of water");
    rota__log_program_ends();
    rota_log(ROTA_LOG_ERROR, "afterwards");
    check_stderr("rota: low on water\nrota: out of water\n");
}

TEST(environment_moves_the_limit_of_what_is_written)
{
    setenv("ROTA_LOG", "error", 1);
    setenv("ROTA_DEBUG", "1", 1);
    rota_log(ROTA_LOG_WARNING, "not this");
    rota_log(ROTA_LOG_ERROR, "this");
    check_stderr("rota: this\n");
}

TEST(environment_lets_a_program_tell_more)
{
    setenv("ROTA_LOG", "info", 1);
    rota_log(ROTA_LOG_ERROR, "of an embedded loop");
    rota__log_program_begins();
    rota_log(ROTA_LOG_DEBUG, "not this");
    rota_log(ROTA_LOG_INFO, "this");
    rota__log_program_ends();
    check_stderr("rota: this\n");
}

TEST(environment_silences)
{
    setenv("ROTA_LOG", "off", 1);
    setenv("ROTA_DEBUG", "1", 1);
    rota__log_program_begins();
    CHECK(!rota__log_wanted(ROTA_LOG_ERROR));
    rota_log(ROTA_LOG_ERROR, "nobody asked");
    rota__log_program_ends();
    check_stderr("");
}

TEST(removing_the_hook_silences)
{
    setenv("ROTA_DEBUG", "1", 1);
    rota_log_set(NULL, NULL);
    rota__log_program_begins();
    rota_log(ROTA_LOG_ERROR, "nobody asked");
    rota__log_program_ends();
    check_stderr("");
}

static rota_time log_time = ROTA_SECOND;

static rota_time log_clock(void)
{
    return log_time;
}

struct counted {
    int calls;
    char last[300];
};

static void count_message(void *arg, rota_log_level level, const char *message)
{
    struct counted *counted = arg;
    (void)level;
    counted->calls++;
    snprintf(counted->last, sizeof counted->last, "%s", message);
}

TEST(equal_reports_are_counted_after_ten)
{
    struct counted counted = {0};
    rota__log_clock = log_clock;
    rota_log_set(count_message, &counted);
    for (int i = 0; i < 31; i++)
        rota_log(ROTA_LOG_WARNING, "disk\nfull");
    CHECK_INT(counted.calls, ==, 10);
    rota_log(ROTA_LOG_WARNING, "another");
    CHECK_INT(counted.calls, ==, 11);
    log_time += ROTA_MINUTE;
    rota_log(ROTA_LOG_WARNING, "disk\nfull");
    CHECK_INT(counted.calls, ==, 13); /* the number, and the first of a new minute */
    CHECK_STR(counted.last, "disk\nfull");
}

TEST(number_of_equal_reports_is_told_at_the_end)
{
    struct counted counted = {0};
    rota__log_clock = log_clock;
    rota_log_set(count_message, &counted);
    rota__log_program_begins();
    for (int i = 0; i < 31; i++)
        rota_log(ROTA_LOG_WARNING, "disk\nfull");
    rota__log_program_ends();
    CHECK_INT(counted.calls, ==, 11);
    CHECK_STR(counted.last, "21 more reports like this: disk");
}

TEST(many_different_reports_are_all_passed_on)
{
    struct counted counted = {0};
    rota_log_set(count_message, &counted);
    for (int i = 0; i < 1000; i++) {
        char text[20];
        snprintf(text, sizeof text, "report %d", i);
        rota_log(ROTA_LOG_WARNING, "%s", text);
    }
    CHECK_INT(counted.calls, ==, 1000);
}

TEST(reports_that_differ_in_words_of_a_peer_are_of_one_kind)
{
    struct counted counted = {0};
    rota_log_set(count_message, &counted);
    rota__log_program_begins();
    for (int i = 0; i < 1000; i++)
        rota_log(ROTA_LOG_WARNING, "connection from 127.0.0.%d: reset", i);
    CHECK_INT(counted.calls, ==, 100);
    rota_log(ROTA_LOG_ERROR, "connection from 127.0.0.%d: reset", 1);
    CHECK_INT(counted.calls, ==, 101);
    rota__log_program_ends();
    CHECK_INT(counted.calls, ==, 102);
    CHECK_STR(counted.last, "900 more reports like this: connection from 127.0.0.0: reset");
}

TEST(reports_about_different_objects_are_counted_apart)
{
    struct counted counted = {0};
    int one, other;
    rota_log_set(count_message, &counted);
    for (int i = 0; i < 120; i++)
        rota__log_about(ROTA_LOG_WARNING, &one, "failure %d", i);
    CHECK_INT(counted.calls, ==, 100);
    rota__log_about(ROTA_LOG_WARNING, &other, "failure %d", 120);
    CHECK_INT(counted.calls, ==, 101);
}

TEST(a_failure_that_repeats_hides_no_other_of_its_kind)
{
    struct counted counted = {0};
    rota_log_set(count_message, &counted);
    for (int i = 0; i < 1000; i++)
        rota_log(ROTA_LOG_WARNING, "GET %s: %s", "/a", "disk full");
    CHECK_INT(counted.calls, ==, 10);
    rota_log(ROTA_LOG_WARNING, "GET %s: %s", "/b", "not found");
    CHECK_INT(counted.calls, ==, 11);
}

TEST(reports_for_a_reader_of_details_are_counted_by_their_text)
{
    struct counted counted = {0};
    rota_log_set(count_message, &counted);
    for (int i = 0; i < 20; i++)
        rota_log(ROTA_LOG_INFO, "connect to 127.0.0.%d: refused", i);
    CHECK_INT(counted.calls, ==, 20);
}

TEST(child_counts_reports_from_zero)
{
    struct counted counted = {0};
    rota_log_set(count_message, &counted);
    for (int i = 0; i < 12; i++)
        rota_log(ROTA_LOG_WARNING, "disk");
    pid_t pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        rota__log_program_begins();
        rota__log_program_ends();
        CHECK_INT(counted.calls, ==, 10); /* what was held back is the parent's to tell */
        rota_log(ROTA_LOG_WARNING, "disk");
        CHECK_INT(counted.calls, ==, 11);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
}

static void report_again(void *arg, rota_log_level level, const char *message)
{
    count_message(arg, level, message);
    if (((struct counted *)arg)->calls < 5)
        rota_log(level, "again");
}

TEST(hook_may_report)
{
    struct counted counted = {0};
    rota_log_set(report_again, &counted);
    for (int i = 0; i < 12; i++)
        rota_log(ROTA_LOG_WARNING, "disk");
    log_time += ROTA_MINUTE;
    rota_log(ROTA_LOG_WARNING, "something else");
    CHECK_INT(counted.calls, >, 5);
}

/* Whatever else it is told, it reports the same. */
static void report_much(void *arg, rota_log_level level, const char *message)
{
    count_message(arg, level, message);
    for (int i = 0; strcmp(message, "again") != 0 && i < 50; i++)
        rota_log(level, "again");
}

TEST(reports_of_a_hook_are_counted)
{
    struct counted counted = {0};
    rota__log_clock = log_clock;
    rota_log_set(count_message, &counted);
    for (int i = 0; i < 12; i++)
        rota_log(ROTA_LOG_WARNING, "disk");
    rota_log_set(report_much, &counted);
    log_time += ROTA_MINUTE;
    rota_log(ROTA_LOG_WARNING, "something else");
    CHECK_INT(counted.calls, ==, 10 + 1 + 1 + 10); /* also the number of the first */
}

static void *report_often(void *arg)
{
    for (int i = 0; i < 20000; i++)
        rota_log(ROTA_LOG_WARNING, "disk");
    return arg;
}

static void count_one(void *arg, rota_log_level level, const char *message)
{
    (void)level;
    (void)message;
    atomic_fetch_add((atomic_int *)arg, 1);
}

TEST_WITH(limits_hold_for_threads_that_report_at_once, .without_faults = true)
{
    pthread_t threads[4];
    atomic_int calls = 0;
    rota__log_clock = log_clock;
    rota_log_set(count_one, &calls);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, report_often, NULL), ==, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(calls, ==, 10);
}

static void report_in_a_thread(void *arg, rota_log_level level, const char *message)
{
    pthread_t thread;
    count_message(arg, level, message);
    if (strcmp(message, "disk") == 0)
        return;
    CHECK_INT(pthread_create(&thread, NULL, report_often, NULL), ==, 0);
    pthread_join(thread, NULL);
}

TEST_WITH(hook_may_wait_for_a_thread_that_reports, .without_faults = true)
{
    struct counted counted = {0};
    rota__log_clock = log_clock;
    rota_log_set(report_in_a_thread, &counted);
    for (int i = 0; i < 12; i++)
        rota_log(ROTA_LOG_WARNING, "disk");
    log_time += ROTA_MINUTE;
    rota_log(ROTA_LOG_WARNING, "something else");
    CHECK_INT(counted.calls, ==, 10 + 2 + 10);
}

TEST(debug_mode_reports_to_the_hook_when_there_is_one)
{
    char seen[100] = "";
    setenv("ROTA_DEBUG", "1", 1);
    rota_log_set(keep_message, seen);
    rota_log(ROTA_LOG_INFO, "hello");
    CHECK_STR(seen, "1 5 hello");
    check_stderr("");
}
