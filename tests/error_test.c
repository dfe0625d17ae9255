/* The error record: its words, its detail, and how both reach the caller (rule 5). */

#include "clean_run.h"
#include "fails.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/fault.h"

#include <rota.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* ---- Words */

TEST(words_are_those_of_the_failure_whose_code_is_asked_for)
{
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
    CHECK_INT(rota_error_set(-EIO, "read \"%s\": %s", "x", rota_strerror(-EIO)), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "read \"x\": Input/output error");
    CHECK_STR(rota_error(-EPIPE), rota_strerror(-EPIPE));
    CHECK_STR(rota_error(0), "success");
    CHECK_INT(rota_error_set(ROTA_EOF, "read a line: %s", rota_strerror(ROTA_EOF)), ==, ROTA_EOF);
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
    CHECK_STR(rota_error(ROTA_EOF), "read a line: end of stream");
}

TEST(success_is_not_recorded)
{
    rota_error_set(-EIO, "disk");
    CHECK_INT(rota_error_set(0, "fine"), ==, 0);
    CHECK_INT(rota_error_set(3, "fine"), ==, 3);
    CHECK_STR(rota_error(-EIO), "disk");
    CHECK_STR(rota_error(3), "success");
}

TEST(setting_words_keeps_errno)
{
    errno = EXDEV;
    rota_error_set(-EIO, "disk");
    CHECK_INT(errno, ==, EXDEV);
    rota_error_wrap(-EIO, "boot");
    CHECK_INT(errno, ==, EXDEV);
}

TEST(words_may_be_built_from_the_words_before)
{
    rota_error_set(-EIO, "disk");
    rota_error_set(-EIO, "save: %s", rota_error(-EIO));
    CHECK_STR(rota_error(-EIO), "save: disk");
    CHECK_INT(rota_error_wrap(-EIO, "job %d", 7), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "job 7: save: disk");
    CHECK_INT(rota_error_wrap(-EPIPE, "send"), ==, -EPIPE);
    CHECK_STR(rota_error(-EPIPE), "send: Broken pipe");
}

TEST(control_characters_and_broken_utf8_are_escaped)
{
    static const char *const rows[][2] = {
        {"a\nb\tc\r", "a\\x0ab\\x09c\\x0d"},
        {"\033[31mred\177", "\\x1b[31mred\\x7f"},
        {"stra\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x98\x80",
         "stra\xc3\x9f"
         "e \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b31m"}, /* CSI as one character */
        {"\x9b"
         "31m",
         "\\x9b31m"},
        {"\xc3(", "\\xc3("},
        {"\xc3", "\\xc3"},
        {"\xe2\x82", "\\xe2\\x82"},
        {"\xc0\xaf", "\\xc0\\xaf"},
        {"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
        {"\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf"},
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
        {"\xff", "\\xff"},
        {"c:\\x1b", "c:\\x1b"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rota_error_set(-EIO, "%s", rows[i][0]);
        CHECK_STR(rota_error(-EIO), rows[i][1]);
    }
}

/* Text of `n` bytes, of which the last are `tail`. */
static char *text_of(size_t n, const char *tail)
{
    char *text = malloc(n + 1);
    CHECK(text);
    memset(text, 'x', n);
    memcpy(text + n - strlen(tail), tail, strlen(tail) + 1);
    return text;
}

static void check_cut(size_t n, const char *tail, size_t len, const char *end)
{
    char *text = text_of(n, tail);
    rota_error_set(-EIO, "%s", text);
    CHECK_INT(strlen(rota_error(-EIO)), ==, len);
    CHECK_STR(rota_error(-EIO) + len - strlen(end), end);
    free(text);
}

TEST(long_words_are_cut_between_characters)
{
    check_cut(511, "xyz", 511, "xyz");
    check_cut(512, "xyz", 511, "x...");
    check_cut(100000, "", 511, "x...");
    check_cut(511, "\xe2\x82\xac", 511, "\xe2\x82\xac");
    check_cut(512, "\xe2\x82\xac", 511, "x...");
    check_cut(512, "\xe2\x82\xac|", 511, "x...");
    check_cut(513, "\xe2\x82\xac||||", 509, "x...");
    check_cut(508, "\n", 511, "\\x0a");
    check_cut(509, "\n", 511, "x...");
    check_cut(509, "\n|", 510, "x...");
}

/* ---- Details */

struct row {
    int code;
    char *text; /* owned */
};

static int rows_freed;

static void row_fini(void *detail)
{
    struct row *row = detail;
    rows_freed++;
    free(row->text);
    row->text = NULL;
}

static int rows_written;

static void row_words(const void *detail, int err, char *ret_words, size_t size)
{
    const struct row *row = detail;
    rows_written++;
    snprintf(ret_words, size, "row %d,\n%s: %s", row->code, row->text, rota_strerror(err));
}

static const rota_error_type row_type = {
    .size = sizeof(struct row), .fini = row_fini, .words = row_words};
static const rota_error_type other_type = {.size = sizeof(int)};

static int fail_with_row(int err, int code)
{
    struct row row = {code, strdup("users_pkey")};
    CHECK(row.text);
    return rota_error_set_detail(err, &row_type, &row, "insert: duplicate key");
}

static int code_of(int err)
{
    const struct row *row = rota_error_detail(err, &row_type);
    return row ? row->code : -1;
}

TEST(detail_goes_with_its_failure_and_its_type)
{
    CHECK_PTR(rota_error_detail(-EEXIST, &row_type), ==, NULL);
    CHECK_INT(fail_with_row(-EEXIST, 23505), ==, -EEXIST);
    CHECK_STR(rota_error(-EEXIST), "insert: duplicate key");
    const struct row *row = rota_error_detail(-EEXIST, &row_type);
    CHECK(row);
    CHECK_INT(row->code, ==, 23505);
    CHECK_STR(row->text, "users_pkey");
    CHECK_PTR(rota_error_detail(-EEXIST, &other_type), ==, NULL);
    CHECK_PTR(rota_error_detail(-EIO, &row_type), ==, NULL);
    CHECK_INT(rows_freed, ==, 0);
}

static int fail_with_row_later(int err, int code)
{
    struct row row = {code, strdup("users_pkey")};
    CHECK(row.text);
    return rota_error_set_deferred(err, &row_type, &row);
}

TEST(deferred_words_are_made_when_somebody_asks)
{
    CHECK_INT(fail_with_row_later(-EPERM, 7), ==, -EPERM);
    CHECK_INT(code_of(-EPERM), ==, 7);
    CHECK_STR(rota_error(-EEXIST), rota_strerror(-EEXIST));
    CHECK_INT(rows_written, ==, 0);
    const char *words = rota_error(-EPERM);
    CHECK_STR(words, "row 7,\\x0ausers_pkey: Operation not permitted");
    CHECK_PTR(rota_error(-EPERM), ==, words);
    CHECK_INT(rows_written, ==, 1);
    rota_error_wrap(-EPERM, "insert");
    CHECK_STR(rota_error(-EPERM), "insert: row 7,\\x0ausers_pkey: Operation not permitted");
    CHECK_INT(code_of(-EPERM), ==, 7);
    CHECK_INT(rows_freed, ==, 0);
    fail_with_row_later(-EIO, 8);
    CHECK_INT(rows_freed, ==, 1);
    CHECK_INT(rows_written, ==, 1);
    fail_with_row(-EIO, 9);
    CHECK_STR(rota_error(-EIO), "insert: duplicate key");
    fail_with_row_later(0, 10);
    CHECK_INT(rows_freed, ==, 3);
    CHECK_STR(rota_error(-EIO), "insert: duplicate key");
}

TEST_WITH(without_memory_deferred_words_are_those_of_the_code, .without_faults = true)
{
    fail_with_row_later(-EPERM, 1);
    rota__fault_arm(ROTA__FAULT_ALLOC, 1);
    CHECK_STR(rota_error(-EPERM), rota_strerror(-EPERM));
    rota__fault_disarm();
    CHECK_STR(rota_error(-EPERM), "row 1,\\x0ausers_pkey: Operation not permitted");
    rota__fault_arm(ROTA__FAULT_ALLOC, 1);
    fail_with_row_later(-EPERM, 2); /* its detail */
    rota__fault_disarm();
    CHECK_STR(rota_error(-EPERM), rota_strerror(-EPERM));
    CHECK_INT(rows_freed, ==, 2);
}

TEST(detail_is_freed_by_the_next_failure)
{
    fail_with_row(-EEXIST, 1);
    fail_with_row(-EEXIST, 2);
    CHECK_INT(rows_freed, ==, 1);
    CHECK_INT(code_of(-EEXIST), ==, 2);
    rota_error_set(-EEXIST, "again");
    CHECK_INT(rows_freed, ==, 2);
    CHECK_PTR(rota_error_detail(-EEXIST, &row_type), ==, NULL);
}

TEST(wrapping_keeps_the_detail)
{
    fail_with_row(-EEXIST, 5);
    rota_error_wrap(-EEXIST, "migrate");
    rota_error_wrap(-EEXIST, "start");
    CHECK_STR(rota_error(-EEXIST), "start: migrate: insert: duplicate key");
    CHECK_INT(code_of(-EEXIST), ==, 5);
    rota_error_wrap(-EIO, "something else");
    CHECK_INT(rows_freed, ==, 1);
    CHECK_PTR(rota_error_detail(-EEXIST, &row_type), ==, NULL);
}

TEST_WITH(without_memory_the_code_has_its_own_words, .without_faults = true)
{
    rota__fault_arm(ROTA__FAULT_ALLOC, 1);
    CHECK_INT(rota_error_set(-EIO, "disk"), ==, -EIO);
    rota__fault_disarm();
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));

    rota__fault_arm(ROTA__FAULT_ALLOC, 1);
    CHECK_INT(fail_with_row(-EEXIST, 1), ==, -EEXIST);
    rota__fault_disarm();
    CHECK_INT(rows_freed, ==, 1);
    CHECK_STR(rota_error(-EEXIST), rota_strerror(-EEXIST));
}

TEST_WITH(without_memory_for_its_detail_a_failure_keeps_its_words, .without_faults = true)
{
    rota_error_set(-EIO, "disk");
    rota__fault_arm(ROTA__FAULT_ALLOC, 1);
    CHECK_INT(fail_with_row(-EEXIST, 1), ==, -EEXIST);
    rota__fault_disarm();
    CHECK_INT(rows_freed, ==, 1);
    CHECK_STR(rota_error(-EEXIST), "insert: duplicate key");
    CHECK_PTR(rota_error_detail(-EEXIST, &row_type), ==, NULL);
}

/* ---- Threads and tasks have a record each */

static void *fail_in_thread(void *arg)
{
    (void)arg;
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
    fail_with_row(-EIO, 1);
    return NULL;
}

TEST_WITH(threads_have_records_of_their_own_that_end_with_them, .without_faults = true)
{
    rota_error_set(-EIO, "mine");
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, fail_in_thread, NULL), ==, 0);
    pthread_join(thread, NULL);
    CHECK_STR(rota_error(-EIO), "mine");
    CHECK_INT(rows_freed, ==, 1);
    CHECK_INT(rota__alloc_live(), ==, 0);
}

static int fail_and_yield(void *arg)
{
    char words[32];
    snprintf(words, sizeof words, "failure %d", *(const int *)arg);
    rota_error_set(-EIO, "%s", words);
    int err = rota_yield();
    if (err < 0)
        return err;
    CHECK_STR(rota_error(-EIO), words);
    return -EIO;
}

TASK_TEST(words_survive_suspension)
{
    int one = 1, two = 2;
    ROTA_AUTO(rota_task) a = NULL, b = NULL;
    CHECK_OK(rota_spawn(fail_and_yield, &one, &a));
    CHECK_OK(rota_spawn(fail_and_yield, &two, &b));
    rota_error_set(-EIO, "mine");
    CHECK_OK(rota_yield());
    CHECK_STR(rota_error(-EIO), "mine");
    rota_task *t = a;
    a = NULL;
    CHECK_INT(rota_join(t), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "failure 1");
}

/* ---- Words travel with results */

static char a_words[] = "a", b_words[] = "b";

static int fail_named(void *arg)
{
    return rota_error_set(-EIO, "%s", (const char *)arg);
}

static int fail_without_words(void *arg)
{
    rota_error_set(-EPIPE, "of another failure");
    (void)arg;
    return -EIO;
}

static rota_task *spawned(rota_fn *fn, void *arg)
{
    rota_task *task = NULL;
    CHECK_OK(rota_spawn(fn, arg, &task));
    return task;
}

TASK_TEST(join_brings_the_words_of_the_task)
{
    CHECK_INT(rota_join(spawned(fail_named, a_words)), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
    CHECK_INT(rota_join(spawned(fail_without_words, NULL)), ==, -EIO);
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
}

static int fail_with_detail(void *arg)
{
    (void)arg;
    return fail_with_row(-EEXIST, 42);
}

TASK_TEST(join_brings_the_detail_of_the_task)
{
    CHECK_INT(rota_join(spawned(fail_with_detail, NULL)), ==, -EEXIST);
    CHECK_INT(code_of(-EEXIST), ==, 42);
}

TASK_TEST(result_of_an_ended_task_brings_its_words)
{
    rota_task *task = spawned(fail_named, a_words);
    CHECK_INT(rota_future_wait(rota_task_future(task)), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
    rota_error_set(-EIO, "mine");
    CHECK_INT(rota_task_result(task), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
    rota_error_set(-EIO, "mine");
    CHECK_INT(rota_future_wait(rota_task_future(task)), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
    rota_task_free(task);
    CHECK_STR(rota_error(-EIO), "a");
}

TASK_TEST(future_of_no_task_has_no_words)
{
    rota_future future;
    rota_future_init(&future);
    rota_error_set(-EIO, "mine");
    rota_future_set(&future, -EIO);
    CHECK_INT(rota_future_wait(&future), ==, -EIO);
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
}

TASK_TEST(group_returns_the_words_of_its_first_failure)
{
    ROTA_GROUP(g);
    CHECK_OK(rota_group_spawn(&g, fail_named, a_words));
    CHECK_OK(rota_group_spawn(&g, fail_named, b_words));
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
    rota_error_set(-EIO, "mine");
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
}

TASK_TEST(collecting_group_brings_the_words_of_each_task)
{
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT, .keep = true);
    CHECK_OK(rota_group_spawn(&g, fail_named, a_words));
    CHECK_OK(rota_group_spawn(&g, fail_named, b_words));
    rota_task *task;
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_INT(rota_task_result(task), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
    CHECK_INT(rota_group_next(&g, &task), ==, 1);
    CHECK_INT(rota_task_result(task), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "b");
    CHECK_INT(rota_group_wait(&g), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
}

static int sleep_for_ever(void *arg)
{
    (void)arg;
    return rota_sleep(ROTA_NEVER);
}

TASK_TEST(gather_returns_the_words_of_the_first_failure)
{
    rota_gather_call calls[] = {{.fn = sleep_for_ever, .arg = NULL},
                                {.fn = fail_named, .arg = a_words}};
    CHECK_INT(rota_gather(calls, 2), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
}

static int two_then_fail(rota_gen *gen, void *arg)
{
    for (int i = 0; i < 2; i++) {
        int err = rota_gen_yield(gen, arg);
        if (err < 0)
            return err;
    }
    return fail_named(arg);
}

static int use_generator(void *arg)
{
    (void)arg;
    ROTA_AUTO(rota_gen) gen = NULL;
    CHECK_OK(rota_gen_new(two_then_fail, a_words, &gen));
    void *item;
    CHECK_INT(rota_gen_next(gen, &item), ==, 1);
    CHECK_INT(rota_gen_next(gen, &item), ==, 1);
    CHECK_INT(rota_gen_next(gen, &item), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
    rota_error_set(-EIO, "mine");
    CHECK_INT(rota_gen_next(gen, &item), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a");
    return 0;
}

TEST(generator_that_failed_says_so_each_time)
{
    CHECK_OK(rota_run(use_generator, NULL));
}

static int fail_and_leave_others(void *arg)
{
    rota_task *other;
    int err = rota_spawn(fail_and_yield, arg, &other);
    if (err < 0)
        return err;
    return rota_error_set(-EIO, "main");
}

TEST_BOTH(run_brings_the_words_of_main)
{
    int one = 1;
    CHECK_INT(run_clean(fail_and_leave_others, &one, false), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "main");
}

/* ---- Executors */

static int use_thread(void *arg)
{
    int err = rota_to_thread(fail_named, arg);
    CHECK_INT(err, ==, -EIO);
    CHECK_STR(rota_error(err), arg);
    CHECK_INT(rota_to_thread(fail_with_detail, NULL), ==, -EEXIST);
    CHECK_INT(code_of(-EEXIST), ==, 42);
    CHECK_INT(rota_to_thread(fail_without_words, NULL), ==, -EIO);
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
    return 0;
}

TEST_WITH(thread_pool_brings_the_words_of_the_job, .both_backends = true, .without_faults = true)
{
    test_valgrind_knows_no_uring();
    run(use_thread, a_words);
}

static int succeed(void *arg)
{
    (void)arg;
    return 0;
}

static int use_one_thread(void *arg)
{
    rota_thread_pool_options options = {.threads = 1};
    ROTA_AUTO(rota_executor) pool = NULL;
    CHECK_OK(rota_thread_pool_new(&options, &pool));
    CHECK_INT(rota_executor_run(pool, fail_named, arg), ==, -EIO);
    CHECK_INT(rota_executor_run(pool, succeed, NULL), ==, 0);
    CHECK_INT(rota_executor_run(pool, fail_without_words, NULL), ==, -EIO);
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
    return 0;
}

TEST_WITH(job_does_not_speak_with_the_words_of_an_earlier_one, .without_faults = true)
{
    run(use_one_thread, a_words);
}

static int fail_with_long_words(void *arg)
{
    char *words = text_of(600, "");
    int err = rota_error_set(-EIO, "%s%s", (char *)arg, words);
    free(words);
    return err;
}

static int kill_itself(void *arg)
{
    (void)arg;
    raise(SIGKILL);
    return 0;
}

static int use_process(void *arg)
{
    char text[] = "a\nb";
    ROTA_AUTO(rota_executor) pool = NULL;
    rota_process_pool_options options = {.workers = 1};
    CHECK_OK(rota_process_pool_new(&options, &pool));
    (void)arg;
    CHECK_INT(rota_executor_run_copy(pool, fail_named, text, sizeof text), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "a\\x0ab");
    CHECK_INT(rota_executor_run_copy(pool, fail_with_long_words, text, sizeof text), ==, -EIO);
    CHECK_INT(strlen(rota_error(-EIO)), ==, 511);
    CHECK_INT(rota_executor_run_copy(pool, fail_without_words, NULL, 0), ==, -EIO);
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
    CHECK_INT(rota_executor_run_copy(pool, kill_itself, NULL, 0), ==, ROTA_ECRASHED);
    CHECK(strstr(rota_error(ROTA_ECRASHED), "was ended by signal 9 (Killed)"));
    return 0;
}

TEST_WITH(process_pool_brings_the_words_of_the_job, .both_backends = true, .without_faults = true)
{
    test_valgrind_knows_no_uring();
    run(use_process, NULL);
}

static int use_job(void *arg)
{
    ROTA_SCOPED(rota_job) job = ROTA_JOB_INIT;
    CHECK_OK(rota_executor_submit(NULL, fail_named, arg, &job));
    CHECK_INT(rota_future_wait(&job.done), ==, -EIO);
    CHECK_STR(rota_error(-EIO), arg);
    CHECK_STR(rota_job_error(&job), arg);
    rota_error_set(-EIO, "mine");
    CHECK_INT(rota_job_wait(&job), ==, -EIO);
    CHECK_STR(rota_error(-EIO), arg);
    return 0;
}

TEST_WITH(job_keeps_its_words, .both_backends = true, .without_faults = true)
{
    test_valgrind_knows_no_uring();
    run(use_job, a_words);
}

/* ---- Other loops */

struct other {
    pthread_t thread;
    rota_loop *loop;
    rota_future *started;
};

static int other_main(void *arg)
{
    struct other *other = arg;
    other->loop = rota_loop_current();
    CHECK_OK(rota_future_set_threadsafe(other->started, 0));
    rota_loop_hold_threadsafe(other->loop);
    int err = rota_sleep(ROTA_NEVER);
    rota_loop_release_threadsafe(other->loop);
    return err;
}

static void *other_thread(void *arg)
{
    rota_run(other_main, arg);
    return NULL;
}

static void cancel_one(rota_task *task, void *arg)
{
    (void)arg;
    rota_task_cancel(task);
}

static int cancel_all(void *arg)
{
    rota_task_each(rota_loop_current(), cancel_one, arg);
    return 0;
}

static int ask_other_loop(void *arg)
{
    rota_future started;
    struct other other = {.started = &started};
    rota_future_init_threadsafe(&started);
    CHECK_INT(pthread_create(&other.thread, NULL, other_thread, &other), ==, 0);
    CHECK_OK(rota_future_wait(&started));
    CHECK_INT(rota_run_on(other.loop, fail_named, arg), ==, -EIO);
    CHECK_STR(rota_error(-EIO), arg);
    CHECK_INT(rota_run_on(other.loop, fail_with_detail, NULL), ==, -EEXIST);
    CHECK_INT(code_of(-EEXIST), ==, 42);
    CHECK_INT(rota_run_on(other.loop, fail_without_words, NULL), ==, -EIO);
    CHECK_STR(rota_error(-EIO), rota_strerror(-EIO));
    CHECK_OK(rota_run_on(other.loop, cancel_all, NULL));
    pthread_join(other.thread, NULL);
    return 0;
}

TEST_WITH(another_loop_brings_the_words_of_its_task, .both_backends = true, .without_faults = true)
{
    test_valgrind_knows_no_uring();
    run(ask_other_loop, a_words);
}

/* ---- What returns no code */

static void fail_deferred(void *arg)
{
    (void)arg;
    rota_error_set(-EIO, "deferred");
}

static int fail_with_cleanup(void *arg)
{
    (void)arg;
    CHECK_OK(rota_defer(fail_deferred, NULL));
    return rota_error_set(-EIO, "body");
}

TASK_TEST(deferred_calls_leave_the_record)
{
    CHECK_INT(rota_join(spawned(fail_with_cleanup, NULL)), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "body");
}

static int fail_in_generator_that_is_closed(rota_gen *gen, void *arg)
{
    rota_gen_yield(gen, arg);
    return rota_error_set(-EIO, "closed");
}

static int fail_with_objects(void *arg)
{
    (void)arg;
    ROTA_AUTO(rota_task) task = spawned(fail_named, a_words);
    ROTA_GROUP(g);
    CHECK_OK(rota_group_spawn(&g, fail_named, b_words));
    ROTA_AUTO(rota_gen) gen = NULL;
    CHECK_OK(rota_gen_new(fail_in_generator_that_is_closed, NULL, &gen));
    void *item;
    CHECK_INT(rota_gen_next(gen, &item), ==, 1);
    CHECK(!rota_task_done(task));
    return rota_error_set(-EIO, "body");
}

TEST(what_the_end_of_a_block_frees_leaves_the_record)
{
    CHECK_INT(rota_run(fail_with_objects, NULL), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "body");
}

/* ---- Interrupts have texts of their own, and take none of an earlier failure for theirs. */

VIRTUAL_TASK_TEST(deadline_says_what_was_late)
{
    rota_error_set(-ETIMEDOUT, "an earlier one");
    ROTA_TIMEOUT (ROTA_SECOND) {
        CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
        CHECK_STR(rota_error(-ETIMEDOUT), "deadline passed while waiting (sleep)");
        CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
        CHECK_STR(rota_error(-ETIMEDOUT), "deadline passed");
        rota_error_set(-ETIMEDOUT, "ours");
    }
    CHECK_STR(rota_error(-ETIMEDOUT), "ours");
}

static int wait_too_long(void *arg)
{
    int err = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        err = rota_event_wait(arg);
    }
    return err;
}

VIRTUAL_TASK_TEST(text_of_a_deadline_travels_with_the_result)
{
    rota_event never = ROTA_EVENT_INIT;
    CHECK_INT(rota_join(spawned(wait_too_long, &never)), ==, -ETIMEDOUT);
    CHECK_STR(rota_error(-ETIMEDOUT), "deadline passed while waiting (event)");
    CHECK_INT(rota_error_wrap(-ETIMEDOUT, "open the gate"), ==, -ETIMEDOUT);
    CHECK_STR(rota_error(-ETIMEDOUT), "open the gate: deadline passed while waiting (event)");
}

static int wait_for_event(void *arg)
{
    return rota_event_wait(arg);
}

static int join_event(void *event)
{
    return rota_join(spawned(wait_for_event, event));
}

static int wait_for_group(void *event)
{
    ROTA_GROUP(g);
    ROTA_IGNORE(rota_group_spawn(&g, wait_for_event, event));
    return rota_group_wait(&g);
}

static int wait_for_process(void *arg)
{
    ROTA_AUTO(rota_process) p = NULL;
    rota_process_status status;
    int err = rota_process_spawn(ROTA_ARGV("sleep", "60"), NULL, &p);
    return err < 0 ? err : rota_process_wait(p, &status);
}

/* What a deadline says of the call that it ended. */
#define CHECK_LATE(call, name)                                                         \
    do {                                                                               \
        ROTA_TIMEOUT (ROTA_MILLISECOND) {                                              \
            CHECK_INT((call), ==, -ETIMEDOUT);                                         \
        }                                                                              \
        CHECK_STR(rota_error(-ETIMEDOUT), "deadline passed while waiting (" name ")"); \
    } while (0)

TASK_TEST(deadline_says_which_wait_was_late)
{
    char byte;
    int item;
    rota_stream *a, *b, *c;
    ROTA_AUTO(rota_listener) l = NULL;
    rota_event event = ROTA_EVENT_INIT;
    ROTA_AUTO(rota_queue) q = NULL;
    CHECK_OK(rota_queue_new(1, sizeof item, &q));
    CHECK_OK(rota_stream_pair(0, &a, &b));
    CHECK_OK(rota_tcp_listen("localhost", 0, NULL, &l));
    CHECK_LATE(rota_event_wait(&event), "event");
    CHECK_LATE(rota_queue_get(q, &item), "queue get");
    CHECK_LATE(join_event(&event), "task");
    CHECK_LATE(wait_for_group(&event), "group");
    CHECK_LATE(wait_for_process(NULL), "process exit");
    CHECK_LATE(rota_stream_read(a, &byte, 1), "read");
    CHECK_LATE(rota_accept(l, &c), "accept");
    rota_stream_free(a);
    rota_stream_free(b);
}

static int fail_late(void *arg)
{
    (void)arg;
    return -ETIMEDOUT;
}

VIRTUAL_TASK_TEST(timeout_of_another_kind_is_no_deadline)
{
    CHECK_INT(rota_join(spawned(fail_late, NULL)), ==, -ETIMEDOUT);
    CHECK_STR(rota_error(-ETIMEDOUT), "timed out");
}

static void check_that_sleep_has_no_words(int err, int code, const char *text)
{
    fail_with_row(err, code);
    CHECK_STR(rota_error(err), "insert: duplicate key");
    CHECK_INT(code_of(err), ==, code);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, err);
    CHECK_STR(rota_error(err), text);
    CHECK_INT(code_of(err), ==, -1);
    fail_with_row(err, code);
    CHECK_INT(rota_yield(), ==, err);
    CHECK_STR(rota_error(err), text);
}

VIRTUAL_TASK_TEST(calls_after_a_deadline_have_no_words_of_the_one_before)
{
    ROTA_TIMEOUT (ROTA_SECOND) {
        CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ETIMEDOUT);
        check_that_sleep_has_no_words(-ETIMEDOUT, 1, "deadline passed");
    }
    rota_task_cancel(rota_task_current());
    check_that_sleep_has_no_words(-ECANCELED, 2, rota_strerror(-ECANCELED));
}

/* ---- A call that fails by itself brings no words, and takes none of an earlier failure. */

static void check_refused_at(int line, int result, int err)
{
    if (result != err || strcmp(rota_error(err), rota_strerror(err)) != 0)
        test_fail(__FILE__, line, "%d \"%s\" instead of %d \"%s\"", result, rota_error(err), err,
                  rota_strerror(err));
}

/* `call` fails with the code `err` alone. */
#define CHECK_REFUSED(call, err)                      \
    do {                                              \
        rota_error_set(err, "of an earlier failure"); \
        check_refused_at(__LINE__, (int)(call), err); \
    } while (0)

static int put_into_queue(void *arg)
{
    int item = 1;
    return rota_queue_put(arg, &item);
}

TASK_TEST(select_that_waits_and_succeeds_keeps_the_text_of_a_failure)
{
    ROTA_AUTO(rota_queue) q = NULL;
    int item;
    size_t index;
    CHECK_OK(rota_queue_new(1, sizeof item, &q));
    rota_case cases[] = {{.queue = q, .get = &item}};
    rota_task *putter = spawned(put_into_queue, q);
    rota_error_set(-EAGAIN, "of an earlier failure");
    CHECK_OK(rota_select(cases, 1, &index));
    CHECK_STR(rota_error(-EAGAIN), "of an earlier failure");
    CHECK_OK(rota_join(putter));
}

static int return_at_once(void *arg)
{
    (void)arg;
    return 0;
}

static int refuse_sync(void *arg)
{
    rota_mutex mutex = ROTA_MUTEX_INIT;
    rota_cond cond = ROTA_COND_INIT;
    rota_semaphore semaphore = ROTA_SEMAPHORE_INIT(0);
    rota_barrier barrier = ROTA_BARRIER_INIT(2);
    CHECK_FAILS(rota_mutex_unlock(&mutex), -EPERM, "has not locked it");
    CHECK_REFUSED(rota_cond_wait(&cond, &mutex), -EPERM);
    CHECK_OK(rota_mutex_lock(&mutex));
    CHECK_FAILS(rota_mutex_lock(&mutex), -EDEADLK, "has locked it already");
    CHECK_REFUSED(rota_mutex_try_lock(&mutex), -EAGAIN);
    CHECK_OK(rota_mutex_unlock(&mutex));
    CHECK_REFUSED(rota_semaphore_try_acquire(&semaphore), -EAGAIN);
    CHECK_OK(rota_barrier_break(&barrier));
    CHECK_REFUSED(rota_barrier_wait(&barrier), ROTA_ECLOSED);
    return 0;
}

TEST(refused_locks_have_no_words_of_an_earlier_failure)
{
    CHECK_OK(rota_run(refuse_sync, NULL));
    rota_mutex mutex = ROTA_MUTEX_INIT;
    CHECK_REFUSED(rota_mutex_lock(&mutex), ROTA_ENOTASK);
    CHECK_REFUSED(rota_mutex_try_lock(&mutex), ROTA_ENOTASK);
}

static int refuse_queues(void *arg)
{
    int item = 0;
    size_t index;
    ROTA_AUTO(rota_queue) q = NULL;
    ROTA_AUTO(rota_sender) sender = NULL;
    ROTA_AUTO(rota_receiver) receiver = NULL;
    CHECK_OK(rota_queue_new(1, sizeof item, &q));
    CHECK_REFUSED(rota_queue_try_get(q, &item), -EAGAIN);
    CHECK_REFUSED(rota_queue_task_done(q), -EINVAL);
    CHECK_OK(rota_queue_put(q, &item));
    CHECK_REFUSED(rota_queue_try_put(q, &item), -EAGAIN);
    rota_case cases[] = {{.queue = q, .put = &item}};
    CHECK_REFUSED(rota_try_select(cases, 1, &index), -EAGAIN);
    CHECK_REFUSED(rota_select(cases, 0, &index), -EINVAL);
    CHECK_OK(rota_queue_close(q));
    CHECK_REFUSED(rota_queue_put(q, &item), ROTA_ECLOSED);
    CHECK_REFUSED(rota_select(cases, 1, &index), ROTA_ECLOSED);
    CHECK_OK(rota_queue_get(q, &item));
    CHECK_REFUSED(rota_queue_get(q, &item), ROTA_ECLOSED);
    CHECK_REFUSED(rota_queue_new(SIZE_MAX, 2, &q), -ENOMEM);

    CHECK_FAILS(rota_channel_new(0, 1, &sender, &receiver), -EINVAL, "its capacity is 0");
    CHECK_OK(rota_channel_new(1, sizeof item, &sender, &receiver));
    CHECK_REFUSED(rota_channel_try_receive(receiver, &item), -EAGAIN);
    CHECK_OK(rota_channel_send(sender, &item));
    CHECK_REFUSED(rota_channel_try_send(sender, &item), -EAGAIN);
    sender = rota_sender_unref(sender);
    CHECK_OK(rota_channel_receive(receiver, &item));
    CHECK_REFUSED(rota_channel_receive(receiver, &item), ROTA_ECLOSED);
    return 0;
}

TEST(refused_queues_have_no_words_of_an_earlier_failure)
{
    CHECK_OK(rota_run(refuse_queues, NULL));
}

static void ignore_report(void *arg, rota_log_level level, const char *text)
{
}

static int refuse_in_generator(rota_gen *gen, void *arg)
{
    void *item;
    CHECK_REFUSED(rota_gen_next(gen, &item), -EBUSY);
    return 0;
}

static int refuse_tasks(void *arg)
{
    static char large[4096];
    void *item;
    rota_task *task;
    rota_future future;
    ROTA_AUTO(rota_gen) gen = NULL;
    ROTA_GROUP(g);
    CHECK_FAILS(rota_join(rota_task_current()), -EDEADLK, "cannot wait for itself");
    CHECK_FAILS(rota_spawn_copy(return_at_once, large, sizeof large, &task), -E2BIG,
                "spawn return_at_once: an argument of 4096 bytes exceeds the limit of 2048");
    CHECK_REFUSED(rota_group_next(&g, &task), -EINVAL);
    CHECK_OK(rota_group_wait(&g));
    rota_log_set(ignore_report, NULL);
    CHECK_REFUSED(rota_group_spawn(&g, return_at_once, NULL), ROTA_ECLOSED);
    rota_future_init(&future);
    CHECK_REFUSED(rota_future_result(&future), -EINPROGRESS);
    CHECK_FAILS(rota_wait(NULL, 0, ROTA_ALL_COMPLETED), -EINVAL, "there are none");
    CHECK_OK(rota_future_set(&future, 0));
    CHECK_REFUSED(rota_future_set(&future, 0), -EALREADY);
    CHECK_OK(rota_gen_new(refuse_in_generator, NULL, &gen));
    CHECK_REFUSED(rota_gen_yield(gen, NULL), -EPERM);
    CHECK_INT(rota_gen_next(gen, &item), ==, 0);
    return 0;
}

TEST(refused_calls_on_tasks_have_no_words_of_an_earlier_failure)
{
    CHECK_INT(rota_run(refuse_tasks, NULL), ==, 0);
    rota_task *task;
    CHECK_REFUSED(rota_spawn(return_at_once, NULL, &task), ROTA_ENOTASK);
    CHECK_REFUSED(rota_sleep(1), ROTA_ENOTASK);
    CHECK_REFUSED(rota_yield(), ROTA_ENOTASK);
}

static int refuse_jobs(void *arg)
{
    rota_job job = ROTA_JOB_INIT;
    CHECK_REFUSED(rota_job_wait(&job), -EINVAL);
    CHECK_REFUSED(rota_job_cancel(&job), -EALREADY);
    return 0;
}

TEST_WITH(refused_jobs_have_no_words_of_an_earlier_failure, .without_faults = true)
{
    CHECK_OK(rota_run(refuse_jobs, NULL));
}

static int refuse_io(void *arg)
{
    rota_stream *one, *other;
    rota_str data;
    char byte;
    CHECK_OK(rota_stream_pair(1, &one, &other));
    CHECK_FAILS(rota_stream_read_until(one, ROTA_STR(""), 1, &data), -EINVAL, "it is empty");
    CHECK_FAILS(rota_stream_writev(one, NULL, -1), -EINVAL, "is negative");
    CHECK_REFUSED(rota_unix_send_fds(one, &byte, 1, NULL), -EOPNOTSUPP);
    CHECK_OK(rota_stream_close(one));
    CHECK_FAILS(rota_stream_read(one, &byte, 1), ROTA_ECLOSED, "rota_stream_read: the object is");
    rota_stream_free(one);
    rota_stream_free(other);
    rota_watch *watch;
    CHECK_REFUSED(rota_loop_watch(rota_loop_current(), 0, 0, NULL, NULL, &watch), -EINVAL);
    return 0;
}

TEST_BOTH(refused_io_has_no_words_of_an_earlier_failure)
{
    CHECK_OK(rota_run(refuse_io, NULL));
}

/* Rule 8: also where the arguments are invalid. */
static int ask_when_cancelled(void *arg)
{
    rota_stream *one, *other, *none;
    rota_file *file;
    rota_dgram *dgram;
    rota_path_watch *watch;
    rota_address address;
    rota_packet packet;
    rota_str data;
    char byte = 0;
    (void)arg;
    CHECK_OK(rota_stream_pair(1, &one, &other));
    CHECK_OK(rota_file_open("/dev/null", O_RDWR, 0, &file));
    CHECK_OK(rota_udp_open("127.0.0.1", 0, NULL, &dgram));
    CHECK_OK(rota_path_watch_new(&watch));
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_wait(NULL, 0, ROTA_ALL_COMPLETED), ==, -ECANCELED);
    CHECK_INT(rota_select(NULL, 0, NULL), ==, -ECANCELED);
    CHECK_INT(rota_resolve("", 0, &address, 1), ==, -ECANCELED);
    CHECK_INT(rota_tcp_connect_any(&address, 0, NULL, &none), ==, -ECANCELED);
    CHECK_INT(rota_stream_read(one, &byte, 0), ==, -ECANCELED);
    CHECK_INT(rota_stream_read_until(one, ROTA_STR(""), 1, &data), ==, -ECANCELED);
    CHECK_INT(rota_stream_writev(one, NULL, -1), ==, -ECANCELED);
    CHECK_INT(rota_unix_send_fds(one, &byte, 0, NULL), ==, -ECANCELED);
    CHECK_INT(rota_unix_receive_fds(one, &byte, 0, NULL), ==, -ECANCELED);
    CHECK_INT(rota_dgram_receive_many(dgram, &packet, 0), ==, -ECANCELED);
    CHECK_INT(rota_dgram_receive_fds(dgram, &packet, NULL), ==, -ECANCELED);
    CHECK_INT(rota_dgram_send_many(dgram, &packet, 0), ==, -ECANCELED);
    CHECK_INT(rota_file_readv(file, NULL, -1), ==, -ECANCELED);
    CHECK_INT(rota_file_writev(file, NULL, -1), ==, -ECANCELED);
    CHECK_INT(rota_file_pread(file, &byte, 1, -1), ==, -ECANCELED);
    CHECK_INT(rota_file_pwrite(file, &byte, 1, -1), ==, -ECANCELED);
    CHECK_INT(rota_path_watch_add(watch, "/", 0), ==, -ECANCELED);
    rota_path_watch_free(watch);
    rota_dgram_free(dgram);
    rota_file_free(file);
    rota_stream_free(one);
    rota_stream_free(other);
    return 0;
}

TEST_BOTH(rule_8_calls_with_invalid_arguments_are_interrupted_too)
{
    test_valgrind_knows_no_uring();
    CHECK_OK(rota_run(ask_when_cancelled, NULL));
}

static int be_told_why(void *arg)
{
    rota_signals s = ROTA_SIGNALS_INIT;
    rota_stream *one, *other;
    rota_executor *pool;
    rota_file *file;
    char bytes[4];
    CHECK_INT(rota_signals_next(&s), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "wait for a signal: none was added");
    CHECK_INT(rota_file_from_fd(-1, &file), ==, -EBADF);
    CHECK_STR(rota_error(-EBADF), "take descriptor -1 as a file: Bad file descriptor");

    CHECK_OK(rota_stream_pair(sizeof bytes, &one, &other));
    CHECK_INT(rota_stream_read(one, bytes, 0), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "read pair: the buffer has length 0");
    CHECK_OK(rota_stream_write(other, "abc", 3));
    CHECK_OK(rota_stream_shutdown(other));
    CHECK_INT(rota_stream_read_exact(one, bytes, 4), ==, ROTA_EOF);
    CHECK_STR(rota_error(ROTA_EOF), "read pair: the stream ended after 3 of 4 bytes");
    rota_stream_free(one);
    rota_stream_free(other);

    CHECK_OK(rota_thread_pool_new(NULL, &pool));
    CHECK_OK(rota_executor_close(pool, ROTA_EXECUTOR_DRAIN));
    CHECK_INT(rota_executor_run(pool, return_at_once, NULL), ==, ROTA_ECLOSED);
    CHECK_STR(rota_error(ROTA_ECLOSED), "submit a job: the executor is closed");
    rota_executor_free(pool);
    return 0;
}

TEST_WITH(what_is_refused_is_told_why, .without_faults = true)
{
    CHECK_OK(rota_run(be_told_why, NULL));
}

/* A wait that another task ends with a failure brings no words. */
static int get_from_queue(void *arg)
{
    int item;
    CHECK_REFUSED(rota_queue_get(arg, &item), ROTA_ECLOSED);
    return 0;
}

static int wait_for_barrier(void *arg)
{
    CHECK_REFUSED(rota_barrier_wait(arg), ROTA_ECLOSED);
    return 0;
}

static int receive_from_channel(void *arg)
{
    int item;
    CHECK_REFUSED(rota_channel_receive(arg, &item), ROTA_ECLOSED);
    return 0;
}

static int wait_for_failure(void *arg)
{
    CHECK_REFUSED(rota_future_wait(arg), -EIO);
    return 0;
}

static int end_waits(void *arg)
{
    ROTA_AUTO(rota_queue) q = NULL;
    ROTA_AUTO(rota_sender) sender = NULL;
    ROTA_AUTO(rota_receiver) receiver = NULL;
    rota_barrier barrier = ROTA_BARRIER_INIT(2);
    rota_future future;
    rota_future_init(&future);
    CHECK_OK(rota_queue_new(1, sizeof(int), &q));
    CHECK_OK(rota_channel_new(1, sizeof(int), &sender, &receiver));
    ROTA_GROUP(g);
    CHECK_OK(rota_group_spawn(&g, get_from_queue, q));
    CHECK_OK(rota_group_spawn(&g, wait_for_barrier, &barrier));
    CHECK_OK(rota_group_spawn(&g, receive_from_channel, receiver));
    CHECK_OK(rota_group_spawn(&g, wait_for_failure, &future));
    CHECK_OK(rota_yield());
    CHECK_OK(rota_queue_close(q));
    CHECK_OK(rota_barrier_break(&barrier));
    sender = rota_sender_unref(sender);
    CHECK_OK(rota_future_set(&future, -EIO));
    return rota_group_wait(&g);
}

TEST(waits_that_others_end_have_no_words_of_an_earlier_failure)
{
    CHECK_OK(rota_run(end_waits, NULL));
}
