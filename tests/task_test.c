/* Tasks: spawning, joining, cancelling, names, deferred calls, locals. */

#include "clean_run.h"
#include "stack_pages.h"

#include "base/alloc.h"
#include "coro/watch.h"
#include "task/task.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- What was done, in order. */

static char noted[256];

static void note(char letter)
{
    size_t len = strlen(noted);
    CHECK_INT(len + 1, <, sizeof noted);
    noted[len] = letter;
}

/* A letter that lives as long as the program. */
static char *letter(char c)
{
    static char all[256];
    all[(unsigned char)c] = c;
    return &all[(unsigned char)c];
}

static int note_and_end(void *arg)
{
    note(*(char *)arg);
    return *(char *)arg;
}

static int sleep_a_second(void *arg)
{
    return rota_sleep(ROTA_SECOND);
}

static int fail_with_eio(void *arg)
{
    return -EIO;
}

/* The last report that the log hook got, and how many. */
static struct {
    int count;
    char last[4000];
} reports;

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    reports.count++;
    snprintf(reports.last, sizeof reports.last, "%s", message);
}

__attribute__((constructor)) static void keep_reports(void)
{
    rota_log_set(keep_report, NULL);
}

/* ---- Running */

static int return_argument(void *arg)
{
    return *(int *)arg;
}

/* rule 3 */
TEST_BOTH(run_returns_what_main_returns)
{
    int value = 17, error = -EPROTO;
    CHECK_INT(rota_run(return_argument, &value), ==, 17);
    CHECK_INT(rota_run(return_argument, &error), ==, -EPROTO);
    CHECK_PTR(rota_loop_current(), ==, NULL);
}

VIRTUAL_TASK_TEST(run_inside_a_task_is_refused)
{
    int value = 1;
    CHECK_INT(rota_run(return_argument, &value), ==, -EBUSY);
}

static int cleaned;

static int clean_up_slowly(void *arg)
{
    int err = rota_sleep(ROTA_MINUTE);
    CHECK_INT(err, ==, -ECANCELED);
    ROTA_SHIELD
    {
        CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    }
    cleaned++;
    return err;
}

static int leave_ten_tasks(void *arg)
{
    for (int i = 0; i < 10; i++)
        CHECK_OK(rota_spawn(clean_up_slowly, NULL, NULL));
    return rota_yield();
}

/* rule 3, rule 4 */
TEST(run_cancels_what_is_left_and_waits_for_it)
{
    run_virtual(leave_ten_tasks, NULL);
    CHECK_INT(cleaned, ==, 10);
    CHECK_INT(reports.count, ==, 0);
}

static int spawn_at_the_end(void *arg)
{
    int err = rota_sleep(ROTA_MINUTE);
    CHECK_OK(rota_spawn(clean_up_slowly, NULL, NULL));
    return err;
}

static int leave_a_spawner(void *arg)
{
    CHECK_OK(rota_spawn(spawn_at_the_end, NULL, NULL));
    return rota_yield();
}

TEST(task_spawned_while_the_loop_ends_starts_cancelled)
{
    run_virtual(leave_a_spawner, NULL);
    CHECK_INT(cleaned, ==, 1);
}

static int never_asked(void *arg)
{
    note('x');
    return rota_yield();
}

VIRTUAL_TASK_TEST(spawned_task_first_runs_in_the_next_turn)
{
    CHECK_OK(rota_spawn(note_and_end, letter('b'), NULL));
    CHECK_OK(rota_spawn(note_and_end, letter('c'), NULL));
    note('a');
    CHECK_INT(rota_yield(), ==, 0);
    note('d');
    CHECK_STR(noted, "abcd");
}

static int three_steps(void *arg)
{
    for (int i = 0; i < 3; i++) {
        note(*(char *)arg);
        CHECK_INT(rota_yield(), ==, 0);
    }
    return 0;
}

/* rule 2 */
VIRTUAL_TASK_TEST(yielding_tasks_take_turns)
{
    rota_task *a, *b, *c;
    CHECK_OK(rota_spawn(three_steps, letter('a'), &a));
    CHECK_OK(rota_spawn(three_steps, letter('b'), &b));
    CHECK_OK(rota_spawn(three_steps, letter('c'), &c));
    CHECK_INT(rota_join(a), ==, 0);
    CHECK_INT(rota_join(b), ==, 0);
    CHECK_INT(rota_join(c), ==, 0);
    CHECK_STR(noted, "abcabcabc");
}

/* rule 5, rule 7 */
TEST(suspending_calls_outside_a_task_say_so)
{
    rota_future f;
    ROTA_GROUP(g);
    rota_task *t = NULL;
    rota_future *list[] = {&f};
    CHECK_INT(rota_yield(), ==, ROTA_ENOTASK);
    CHECK_INT(rota_sleep(1), ==, ROTA_ENOTASK);
    CHECK_INT(rota_sleep(0), ==, ROTA_ENOTASK);
    CHECK_INT(rota_spawn(never_asked, NULL, &t), ==, ROTA_ENOTASK);
    CHECK_INT(rota_group_wait(&g), ==, ROTA_ENOTASK);
    CHECK_INT(rota_group_spawn(&g, never_asked, NULL), ==, ROTA_ENOTASK);
    CHECK_INT(rota_defer(free, NULL), ==, ROTA_ENOTASK);
    CHECK_INT(rota_check(), ==, 0);
    CHECK_PTR(rota_task_current(), ==, NULL);
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_future_init(&f);
    CHECK_INT(rota_future_wait(&f), ==, ROTA_ENOTASK);
    CHECK_INT(rota_wait(list, 1, ROTA_ALL_COMPLETED), ==, ROTA_ENOTASK);
    CHECK_OK(rota_spawn(never_asked, NULL, &t));
    CHECK_INT(rota_join(t), ==, ROTA_ENOTASK);
    rota_task_detach(t);
    rota_loop_free(loop);
    CHECK_STR(noted, "x");
}

VIRTUAL_TASK_TEST(hundred_thousand_tasks_run)
{
    enum { N = 100000 };
    static rota_task *tasks[N];
    static int values[N];
    /* Guards by mprotect cost two mappings each, and the kernel allows 65,530. */
    int n = (rota__guard == ROTA__GUARD_MPROTECT ? 20000 : N) / test_scale();
    for (int i = 0; i < n; i++) {
        values[i] = i;
        int err = rota_spawn(return_argument, &values[i], &tasks[i]);
        if (err < 0)
            FAIL("task %d: %s", i, rota_strerror(err));
    }
    for (int i = 0; i < n; i++)
        CHECK_INT(rota_join(tasks[i]), ==, i);
}

/* ---- Joining */

VIRTUAL_TASK_TEST(joins_in_any_order_give_each_result)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int pause = 0; pause < 2; pause++) {
        for (int i = 0; i < 6; i++) {
            rota_task *t[3];
            int value[3] = {10, 20, 30};
            for (int k = 0; k < 3; k++)
                CHECK_OK(rota_spawn(return_argument, &value[k], &t[k]));
            if (pause)
                CHECK_INT(rota_yield(), ==, 0);
            for (int k = 0; k < 3; k++)
                CHECK_INT(rota_join(t[orders[i][k]]), ==, value[orders[i][k]]);
        }
    }
}

VIRTUAL_TASK_TEST(task_cannot_join_itself)
{
    CHECK_INT(rota_join(rota_task_current()), ==, -EDEADLK);
}

static int join_argument(void *arg)
{
    return rota_join(arg);
}

VIRTUAL_TASK_TEST(second_joiner_is_refused)
{
    rota_task *target, *joiner;
    CHECK_OK(rota_spawn(sleep_a_second, NULL, &target));
    CHECK_OK(rota_spawn(join_argument, target, &joiner));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(rota_join(target), ==, -EBUSY);
    CHECK_INT(rota_join(joiner), ==, 0);
}

VIRTUAL_TASK_TEST(cancelled_joiner_cancels_and_waits_for_the_end)
{
    rota_task *target, *joiner;
    CHECK_OK(rota_spawn(clean_up_slowly, NULL, &target));
    CHECK_OK(rota_spawn(join_argument, target, &joiner));
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    rota_task_cancel(joiner);
    CHECK_INT(cleaned, ==, 0);
    CHECK_INT(rota_join(joiner), ==, -ECANCELED);
    CHECK_INT(cleaned, ==, 1);
    CHECK_INT(rota_now(), ==, 2 * ROTA_SECOND);
}

static int succeed_although_cancelled(void *arg)
{
    CHECK_INT(rota_sleep(ROTA_MINUTE), ==, -ECANCELED);
    return 42;
}

VIRTUAL_TASK_TEST(cancelled_joiner_still_gets_a_success)
{
    rota_task *target, *joiner;
    CHECK_OK(rota_spawn(succeed_although_cancelled, NULL, &target));
    CHECK_OK(rota_spawn(join_argument, target, &joiner));
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_cancel(joiner);
    CHECK_INT(rota_join(joiner), ==, 42);
}

VIRTUAL_TASK_TEST(join_that_times_out_cancels_the_task)
{
    rota_task *target;
    int err = 0;
    CHECK_OK(rota_spawn(clean_up_slowly, NULL, &target));
    ROTA_TIMEOUT (ROTA_SECOND) {
        err = rota_join(target);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(cleaned, ==, 1);
}

VIRTUAL_TASK_TEST(freed_handle_cancels_the_task_and_waits)
{
    {
        ROTA_AUTO(rota_task) task = NULL;
        CHECK_OK(rota_spawn(clean_up_slowly, NULL, &task));
        CHECK_INT(rota_yield(), ==, 0);
    }
    CHECK_INT(cleaned, ==, 1);
    CHECK_PTR(rota_task_free(NULL), ==, NULL);
    CHECK_PTR(rota_task_detach(NULL), ==, NULL);
}

static int note_when_cancelled(void *arg)
{
    int err = rota_sleep(ROTA_MINUTE);
    note(*(char *)arg);
    return err;
}

VIRTUAL_TASK_TEST(two_handles_of_one_declaration_are_released_last_first)
{
    {
        ROTA_AUTO(rota_task) a = NULL, b = NULL;
        CHECK_OK(rota_spawn(note_when_cancelled, letter('a'), &a));
        CHECK_OK(rota_spawn(note_when_cancelled, letter('b'), &b));
        CHECK_INT(rota_yield(), ==, 0);
    }
    CHECK_STR(noted, "ba");
}

static int finish_later(void *arg)
{
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    note('z');
    return 0;
}

/* rule 4 */
VIRTUAL_TASK_TEST(detached_task_goes_on)
{
    rota_task *task;
    CHECK_OK(rota_spawn(finish_later, NULL, &task));
    CHECK_PTR(rota_task_detach(task), ==, NULL);
    CHECK_INT(rota_sleep(2 * ROTA_SECOND), ==, 0);
    CHECK_STR(noted, "z");
}

VIRTUAL_TASK_TEST(handle_of_an_ended_task_can_be_detached_or_freed)
{
    rota_task *a, *b;
    CHECK_OK(rota_spawn(note_and_end, letter('a'), &a));
    CHECK_OK(rota_spawn(note_and_end, letter('b'), &b));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK(rota_task_done(a) && rota_task_done(b));
    rota_task_detach(a);
    rota_task_free(b);
}

/* ---- Cancelling */

static int report_start(void *arg)
{
    note('s');
    int err = rota_yield();
    note(err == -ECANCELED ? 'c' : '?');
    return err;
}

VIRTUAL_TASK_TEST(task_cancelled_before_it_began_learns_at_its_first_call)
{
    rota_task *task;
    CHECK_OK(rota_spawn(report_start, NULL, &task));
    rota_task_cancel(task);
    CHECK_STR(noted, "");
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_STR(noted, "sc");
}

static int cancel_self(void *arg)
{
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_check(), ==, -ECANCELED);
    return rota_sleep(ROTA_MINUTE);
}

VIRTUAL_TASK_TEST(task_may_cancel_itself)
{
    rota_task *task;
    CHECK_OK(rota_spawn(cancel_self, NULL, &task));
    CHECK_INT(rota_join(task), ==, -ECANCELED);
}

VIRTUAL_TASK_TEST(cancelling_an_ended_task_changes_nothing)
{
    rota_task *task;
    CHECK_OK(rota_spawn(note_and_end, letter('a'), &task));
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, 'a');
}

/* ---- Failures that nobody reads */

/* rule 6 */
VIRTUAL_TASK_TEST(failure_that_nobody_reads_is_reported)
{
    CHECK_OK(rota_spawn(fail_with_eio, NULL, NULL));
    int line = __LINE__ - 1;
    CHECK_INT(rota_yield(), ==, 0);
    char expected[300];
    snprintf(expected, sizeof expected,
             "task 'fail_with_eio' (spawned at %s:%d) failed, and its result was not read: %s",
             __FILE__, line, strerror(EIO));
    CHECK_STR(reports.last, expected);
    CHECK_INT(reports.count, ==, 1);
}

VIRTUAL_TASK_TEST(detached_and_freed_failures_are_reported_too)
{
    rota_task *a, *b, *c;
    CHECK_OK(rota_spawn(fail_with_eio, NULL, &a));
    CHECK_OK(rota_spawn(fail_with_eio, NULL, &b));
    CHECK_OK(rota_spawn(fail_with_eio, NULL, &c));
    rota_task_detach(a);
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(reports.count, ==, 1);
    rota_task_detach(b);
    CHECK_INT(reports.count, ==, 2);
    rota_task_free(c);
    CHECK_INT(reports.count, ==, 3);
}

VIRTUAL_TASK_TEST(failure_that_was_read_is_not_reported)
{
    rota_task *a, *b, *c;
    CHECK_OK(rota_spawn(fail_with_eio, NULL, &a));
    CHECK_OK(rota_spawn(fail_with_eio, NULL, &b));
    CHECK_OK(rota_spawn(sleep_a_second, NULL, &c));
    CHECK_INT(rota_join(a), ==, -EIO);
    CHECK_INT(rota_task_result(b), ==, -EIO);
    rota_task_free(b);
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_free(c); /* its cancellation is not a failure */
    CHECK_INT(reports.count, ==, 0);
}

/* ---- Copies of arguments */

struct large {
    char bytes[2048];
};

static int check_copy(void *arg)
{
    struct large *l = arg;
    CHECK_INT((uintptr_t)arg % 16, ==, 0);
    for (size_t i = 0; i < sizeof l->bytes; i++)
        CHECK_INT(l->bytes[i], ==, (char)i);
    memset(l->bytes, 0, sizeof l->bytes);
    return 0;
}

VIRTUAL_TASK_TEST(argument_is_copied_onto_the_stack)
{
    rota_task *task;
    struct large l;
    for (size_t i = 0; i < sizeof l.bytes; i++)
        l.bytes[i] = (char)i;
    CHECK_OK(rota_spawn_copy(check_copy, &l, sizeof l, &task));
    memset(&l, 0xff, sizeof l);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(rota_spawn_copy(check_copy, &l, sizeof l + 1, &task), ==, -E2BIG);
    for (int i = 1; i < 40; i++) {
        char letter = 'q';
        char bytes[40] = {letter};
        CHECK_OK(rota_spawn_copy(note_and_end, bytes, (size_t)i, &task));
        bytes[0] = 'x';
        CHECK_INT(rota_join(task), ==, 'q');
    }
}

/* ---- Names and lists */

VIRTUAL_TASK_TEST(tasks_have_the_names_of_their_functions_until_renamed)
{
    rota_task *task;
    CHECK_OK(rota_spawn(sleep_a_second, NULL, &task));
    CHECK_STR(rota_task_name(rota_task_current()), "main");
    CHECK_STR(rota_task_name(task), "sleep_a_second");
    rota_task_set_name(task, "a name that is longer than thirty-one bytes");
    CHECK_STR(rota_task_name(task), "a name that is longer than thir");
    rota_task_set_name(task, "sleeper");
    CHECK_STR(rota_task_name(task), "sleeper");
    CHECK_PTR(rota_task_waits_for(task), ==, NULL);
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(rota_task_waits_for(task), "sleep");
    rota_task_free(task);
}

static void list_name(rota_task *task, void *arg)
{
    strcat(strcat(arg, rota_task_name(task)), " ");
}

static void cancel_others(rota_task *task, void *arg)
{
    if (task != rota_task_current())
        rota_task_cancel(task);
}

VIRTUAL_TASK_TEST(each_visits_tasks_oldest_first_and_may_cancel_them)
{
    char names[200] = "";
    rota_task *a, *b;
    CHECK_OK(rota_spawn(sleep_a_second, NULL, &a));
    CHECK_OK(rota_spawn(clean_up_slowly, NULL, &b));
    rota_task_each(rota_loop_current(), list_name, names);
    CHECK_STR(names, "main sleep_a_second clean_up_slowly ");
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_each(rota_loop_current(), cancel_others, NULL);
    CHECK_INT(rota_join(a), ==, -ECANCELED);
    CHECK_INT(rota_join(b), ==, -ECANCELED);
    names[0] = 0;
    rota_task_each(rota_loop_current(), list_name, names);
    CHECK_STR(names, "main ");
}

static int wait_for_future(void *arg)
{
    return rota_future_wait(arg);
}

VIRTUAL_TASK_TEST(dump_has_a_line_for_each_task)
{
    rota_task *a, *b, *c;
    rota_future f;
    char line[300];
    rota_future_init(&f);
    CHECK_OK(rota_spawn(sleep_a_second, NULL, &a));
    CHECK_OK(rota_spawn(wait_for_future, &f, &b));
    int at = __LINE__ - 2;
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_OK(rota_spawn(sleep_a_second, NULL, &c));
    char *text = rota_dump(rota_loop_current());
    CHECK(text);
    CHECK(strncmp(text, "4 tasks\n", 8) == 0);
    CHECK(strstr(text, "\n  main                 running"));
    snprintf(line, sizeof line, "\n  sleep_a_second       waits for sleep, spawned at %s:%d",
             __FILE__, at);
    CHECK(strstr(text, line));
    snprintf(line, sizeof line, "\n  wait_for_future      waits for future %p", (void *)&f);
    CHECK(strstr(text, line));
    CHECK(strstr(text, "\n  sleep_a_second       ready"));
    free(text);
    rota_task_free(a);
    rota_task_free(b);
    rota_task_free(c);
}

/* ---- Deferred calls */

static void note_deferred(void *arg)
{
    note(*(char *)arg);
}

static void suspend_deferred(void *arg)
{
    CHECK_INT(rota_check(), ==, 0);
    CHECK_INT(rota_sleep(ROTA_SECOND), ==, 0);
    note('d');
    CHECK_OK(rota_defer(note_deferred, letter('l')));
}

static int defer_three(void *arg)
{
    CHECK_OK(rota_defer(note_deferred, letter('1')));
    CHECK_OK(rota_defer(suspend_deferred, NULL));
    CHECK_OK(rota_defer(note_deferred, letter('3')));
    int err = rota_sleep(ROTA_MINUTE);
    note('b');
    return err;
}

/* rule 13 */
VIRTUAL_TASK_TEST(deferred_calls_run_last_first_and_are_shielded)
{
    rota_task *task;
    CHECK_OK(rota_spawn(defer_three, NULL, &task));
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_STR(noted, "b3dl1");
}

/* ---- Locals */

static const rota_local user = {(char[]){"nobody"}}, depth = {NULL};

static int check_user(void *arg)
{
    CHECK_STR(rota_local_get(&user), arg);
    CHECK_PTR(rota_local_get(&depth), ==, NULL);
    CHECK_OK(rota_local_set(&user, (void *)(uintptr_t) "child"));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(rota_local_get(&user), "child");
    return 0;
}

static int check_depth(void *arg)
{
    CHECK_STR(rota_local_get(&user), "second");
    CHECK_STR(rota_local_get(&depth), "1");
    return 0;
}

VIRTUAL_TASK_TEST(locals_are_inherited_at_spawn_and_private_afterwards)
{
    rota_task *a, *b, *c;
    CHECK_STR(rota_local_get(&user), "nobody");
    CHECK_OK(rota_spawn(check_user, "nobody", &a));
    CHECK_OK(rota_local_set(&user, (void *)(uintptr_t) "first"));
    CHECK_OK(rota_spawn(check_user, "first", &b));
    CHECK_OK(rota_local_set(&user, (void *)(uintptr_t) "second"));
    CHECK_OK(rota_local_set(&depth, (void *)(uintptr_t) "1"));
    CHECK_OK(rota_spawn(check_depth, NULL, &c));
    CHECK_INT(rota_join(a), ==, 0);
    CHECK_INT(rota_join(b), ==, 0);
    CHECK_INT(rota_join(c), ==, 0);
    CHECK_STR(rota_local_get(&user), "second");
}

TEST(locals_outside_tasks_have_their_initial_value)
{
    CHECK_STR(rota_local_get(&user), "nobody");
    CHECK_INT(rota_local_set(&user, (void *)(uintptr_t) "x"), ==, ROTA_ENOTASK);
}

/* ---- Budget */

static int always_ready(void *arg)
{
    struct rota__fd *fd = arg;
    for (int i = 0; i < 1000; i++) {
        char byte = 'x';
        struct rota__op op = {
            .kind = ROTA__OP_SEND, .loop = rota__loop_here, .fd = fd, .buf = &byte, .len = 1};
        static const struct rota__wait_kind kind = {.name = "send", .abort = rota__op_abort};
        CHECK_INT(rota__op_await(&op, &kind), ==, 1);
        op = (struct rota__op){
            .kind = ROTA__OP_RECV, .loop = rota__loop_here, .fd = fd + 1, .buf = &byte, .len = 1};
        CHECK_INT(rota__op_await(&op, &kind), ==, 1);
    }
    note('e');
    return 0;
}

static int count_yields(void *arg)
{
    int *yields = arg;
    while (!noted[0]) {
        ++*yields;
        CHECK_INT(rota_yield(), ==, 0);
    }
    return 0;
}

/* rule 2 */
static int input_against_yields(void *arg)
{
    int ends[2], yields = 0;
    struct rota__fd fds[2];
    rota_task *io, *other;
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    for (int i = 0; i < 2; i++)
        CHECK_OK(rota__fd_open(&fds[i], rota__loop_here, ends[i], true));
    CHECK_OK(rota_spawn(always_ready, fds, &io));
    CHECK_OK(rota_spawn(count_yields, &yields, &other));
    CHECK_INT(rota_join(io), ==, 0);
    CHECK_INT(rota_join(other), ==, 0);
    CHECK_INT(yields, >=, 2000 / ROTA__BUDGET - 1);
    rota__fd_close(&fds[0]);
    rota__fd_close(&fds[1]);
    return 0;
}

TEST_BOTH(input_that_is_always_ready_still_yields)
{
    CHECK_INT(rota_run(input_against_yields, NULL), ==, 0);
}

/* ---- Stacks */

static int trim_here(void *arg)
{
    char kept[20000];
    (void)arg;
    memset(kept, 7, sizeof kept);
    go_deep();
    long before = stack_bytes(rota_task_current());
    rota_task_trim();
    long after = stack_bytes(rota_task_current());
    for (size_t i = 0; i < sizeof kept; i++)
        CHECK_INT(kept[i], ==, 7);
    go_deep(); /* what went back may be used again */
    if (before < 0)
        return 0;
    CHECK_INT(before, >=, DEEP);
    CHECK_INT(after, <=, before - DEEP + 10000);
    return 0;
}

TEST(a_task_gives_back_what_deeper_calls_have_touched)
{
    rota_task_trim(); /* not a task: nothing to do */
    CHECK_OK(rota_run(trim_here, NULL));
}

/* ---- Ended tasks whose handles are not released yet */

enum { UNJOINED = 10000 };

static size_t bytes_allocated;

static void *counting_resize(void *arg, void *p, size_t size)
{
    size_t before = p ? malloc_usable_size(p) : 0;
    void *resized = realloc(p, size);
    if (resized)
        bytes_allocated += malloc_usable_size(resized) - before;
    return resized;
}

static void counting_release(void *arg, void *p)
{
    bytes_allocated -= malloc_usable_size(p);
    free(p);
}

static const rota_allocator counting = {counting_resize, counting_release, NULL};

static int give_back(void *arg)
{
    return *(int *)arg;
}

/* Each is spawned before the first one runs, so all need a stack for a moment. */
static int keep_many(void *arg)
{
    static rota_task *tasks[UNJOINED];
    static int results[UNJOINED];
    const struct rota__stack_pool *stacks = &rota__loop_here->stacks;
    size_t before = stacks->used, bytes = bytes_allocated;
    CHECK_OK(rota_spawn(give_back, &results[0], &tasks[0]));
    CHECK_OK(rota_yield());
    size_t slabs = bytes_allocated - bytes;
    for (int i = 1; i < UNJOINED; i++) {
        results[i] = i % 7;
        CHECK_OK(rota_spawn(give_back, &results[i], &tasks[i]));
        if (arg)
            CHECK_OK(rota_yield());
    }
    CHECK_OK(rota_yield());
    CHECK_INT(stacks->used, <=, before + 1); /* the last one's, until another task ends */
    if (arg)
        CHECK_INT(bytes_allocated - bytes - slabs, <=, UNJOINED * 112UL);
    else
        CHECK_INT(bytes_allocated - bytes, <=, UNJOINED * 192UL);
    char *dump = rota_dump(rota_loop_current());
    CHECK(strncmp(dump, "1 task\n", 7) == 0);
    free(dump);
    for (int i = 0; i < UNJOINED; i++)
        CHECK_INT(rota_join(tasks[i]), ==, i % 7);
    return 0;
}

TEST(an_ended_task_gives_its_stack_back_before_it_is_joined)
{
    rota_allocator_set(&counting);
    CHECK_OK(rota_run(keep_many, &(char){0}));
    CHECK_OK(rota_run(keep_many, NULL));
    CHECK_INT(bytes_allocated, ==, 0);
    rota_allocator_set(NULL);
}

struct letters {
    char all[2000];
    rota_task *other;
};

static int sum_of_letters(void *arg)
{
    struct letters *letters = arg;
    int sum = 0;
    for (size_t i = 0; i < sizeof letters->all; i++)
        sum += letters->all[i];
    memset(letters->all, 'y', sizeof letters->all);
    return sum;
}

static int keep_arguments(void *arg)
{
    struct letters letters = {.other = rota_task_current()};
    rota_task *task, *asked, *later;
    memset(letters.all, 'x', sizeof letters.all);
    CHECK_OK(rota_spawn_copy(sum_of_letters, &letters, sizeof letters, &task));
    CHECK_OK(rota_spawn_copy(sum_of_letters, &letters, sizeof letters, &asked));
    const struct letters *before = rota_task_arg(asked);
    CHECK_OK(rota_yield());
    CHECK_OK(rota_spawn(give_back, &(int){0}, &later)); /* takes the stack that is free */
    CHECK_OK(rota_yield());
    const struct letters *after = rota_task_arg(task);
    CHECK_PTR(after->other, ==, rota_task_current());
    CHECK_INT(after->all[1999], ==, 'y');
    CHECK_PTR(rota_task_arg(asked), ==, before); /* where it was while the task ran */
    CHECK_INT(before->all[1999], ==, 'y');
    CHECK_INT(rota_join(task), ==, 2000 * 'x');
    CHECK_INT(rota_join(asked), ==, 2000 * 'x');
    CHECK_INT(rota_join(later), ==, 0);
    return 0;
}

TEST(the_copied_argument_of_an_ended_task_stays)
{
    CHECK_OK(rota_run(keep_arguments, NULL));
}

static int sum_by_name(void *arg)
{
    rota_task_set_name(rota_task_current(), "alice");
    return sum_of_letters(arg);
}

/* Of a task that stands on its stack, until another one ends or is spawned. */
static int ask_the_last(void *arg)
{
    struct letters letters = {.other = rota_task_current()};
    memset(letters.all, 'x', sizeof letters.all);
    ROTA_GROUP(g, .keep = true);
    rota_task *task, *member;
    CHECK_OK(rota_spawn_copy(sum_by_name, &letters, sizeof letters, &task));
    CHECK_OK(rota_yield());
    rota_task_set_name(task, "bob"); /* it has its last name */
    CHECK_STR(rota_task_name(task), "alice");
    const struct letters *of_task = rota_task_arg(task);
    CHECK_OK(rota_group_spawn_copy(&g, sum_by_name, &letters, sizeof letters));
    CHECK_INT(rota_group_next(&g, &member), ==, 1);
    const struct letters *of_member = rota_task_arg(member);
    CHECK_PTR(of_member, !=, of_task);
    CHECK_OK(rota_group_spawn_copy(&g, sum_of_letters, &letters, sizeof letters));
    CHECK_INT(of_task->all[1999], ==, 'y');
    CHECK_INT(of_member->all[1999], ==, 'y');
    CHECK_PTR(of_task->other, ==, letters.other);
    CHECK_PTR(rota_task_arg(task), ==, of_task);
    CHECK_PTR(rota_task_arg(member), ==, of_member);
    CHECK_STR(rota_task_name(task), "alice");
    CHECK_STR(rota_task_name(member), "alice");
    CHECK_INT(rota_join(task), ==, 2000 * 'x');
    return rota_group_wait(&g);
}

TEST(the_argument_of_a_task_that_has_just_ended_stays_where_it_is)
{
    CHECK_OK(rota_run(ask_the_last, NULL));
}

/* A failure whose detail spawns a task when it is freed. */

static rota_task *spawned_by_fini;

static void spawn_by_fini(void *detail)
{
    static int seven = 7;
    CHECK_OK(rota_spawn(give_back, &seven, &spawned_by_fini));
}

static int fail_with_detail(void *arg)
{
    static const rota_error_type type = {.size = sizeof(int), .fini = spawn_by_fini};
    return rota_error_set_detail(-EIO, &type, &(int){0}, "disk");
}

static void check_that_both_run(void)
{
    rota_task *task;
    CHECK_OK(rota_spawn(give_back, &(int){3}, &task));
    CHECK(spawned_by_fini);
    CHECK_PTR(task, !=, spawned_by_fini);
    CHECK_INT(rota_join(task), ==, 3);
    CHECK_INT(rota_join(spawned_by_fini), ==, 7);
    spawned_by_fini = NULL;
}

static int end_with_details(void *arg)
{
    CHECK_OK(rota_spawn(fail_with_detail, NULL, NULL));
    CHECK_OK(rota_yield());
    CHECK_PTR(spawned_by_fini, ==, NULL);
    check_that_both_run(); /* the first spawn buries the task */
    rota_task *task;
    CHECK_OK(rota_spawn(fail_with_detail, NULL, &task));
    CHECK_OK(rota_yield());
    rota_task_detach(task);
    check_that_both_run();
    return 0;
}

TEST(a_detail_may_spawn_when_it_is_freed_with_its_task)
{
    CHECK_OK(rota_run(end_with_details, NULL));
}

static int fail_by_name(void *arg)
{
    rota_task_set_name(rota_task_current(), "alice");
    return rota_error_set(-EIO, "the words of %s", "alice");
}

static int ask_the_ended(void *arg)
{
    rota_task *task, *cancelled, *given_up;
    CHECK_OK(rota_spawn(fail_by_name, NULL, &task));
    CHECK_OK(rota_spawn(fail_by_name, NULL, &given_up));
    CHECK_OK(rota_spawn(sleep_a_second, NULL, &cancelled));
    CHECK_OK(rota_yield());
    rota_task_cancel(cancelled);
    CHECK_OK(rota_yield());
    CHECK_OK(rota_yield());
    CHECK(rota_task_done(task) && rota_task_done(cancelled));
    CHECK_STR(rota_task_name(task), "alice");
    CHECK_PTR(rota_task_waits_for(task), ==, NULL);
    rota_task_set_name(task, "bob"); /* it has its last name */
    rota_task_cancel(task);
    CHECK_STR(rota_task_name(task), "alice");
    CHECK_INT(rota_future_wait(rota_task_future(task)), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "the words of alice");
    CHECK_INT(rota_join(task), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "the words of alice");
    CHECK_INT(rota_join(cancelled), ==, -ECANCELED);
    CHECK_INT(reports.count, ==, 0);
    rota_task_free(given_up);
    CHECK(strstr(reports.last, "task 'alice' (spawned at"));
    CHECK(strstr(reports.last, "the words of alice"));
    return 0;
}

TEST(an_ended_task_still_has_its_name_its_result_and_its_words)
{
    CHECK_OK(rota_run(ask_the_ended, NULL));
}

static int forget_the_ended(void *arg)
{
    static int nothing; /* they may run when this function has returned */
    rota_task *forgotten;
    for (int i = 0; i < 3; i++)
        CHECK_OK(rota_spawn(give_back, &nothing, &forgotten));
    return rota_yield();
}

TEST(an_ended_task_that_is_forgotten_goes_with_its_loop)
{
    rota_allocator_set(&counting);
    CHECK_OK(rota_run(forget_the_ended, NULL));
    CHECK_INT(bytes_allocated, ==, 0);
    rota_allocator_set(NULL);
}

TASK_TEST(asan_and_valgrind_see_a_use_after_the_join)
{
    rota_task *task;
    CHECK_OK(rota_spawn(give_back, &(int){0}, &task));
    CHECK_OK(rota_join(task));
#if ROTA__ASAN
    CHECK(__asan_address_is_poisoned(&task->done));
#endif
#if ROTA__VALGRIND
    char bits[1];
    if (rota__loop_here->stacks.on_valgrind)
        CHECK_INT(VALGRIND_GET_VBITS(&task->done, bits, sizeof bits), ==, 3); /* not addressable */
#endif
}

static void wiping_release(void *arg, void *p)
{
    memset(p, 0xff, malloc_usable_size(p));
    __asm__ volatile("" : : "r"(p) : "memory"); /* or the compiler leaves out what nobody reads */
    free(p);
}

/* Also under AddressSanitizer and valgrind, which are told that spare tasks may not be used. */
TEST(an_allocator_may_write_to_memory_that_it_gets_back)
{
    rota_allocator_set(&(rota_allocator){counting_resize, wiping_release, NULL});
    CHECK_OK(rota_run(forget_the_ended, NULL));
    rota_allocator_set(NULL);
}

/* ---- Seeded order */

static int mixed_work(void *arg)
{
    rota_task *t[5];
    for (int i = 0; i < 5; i++)
        CHECK_OK(rota_spawn_copy(three_steps, &(char){(char)('a' + i)}, 1, &t[i]));
    for (int i = 0; i < 5; i++)
        CHECK_INT(rota_join(t[i]), ==, 0);
    return 0;
}

TEST(seed_repeats_the_order_of_tasks)
{
    char first[64];
    rota_loop_options options = rota_test_options(7);
    CHECK_INT(rota_run_with(mixed_work, NULL, &options), ==, 0);
    strcpy(first, noted);
    memset(noted, 0, sizeof noted);
    CHECK_INT(rota_run_with(mixed_work, NULL, &options), ==, 0);
    CHECK_STR(noted, first);
    memset(noted, 0, sizeof noted);
    options = rota_test_options(8);
    CHECK_INT(rota_run_with(mixed_work, NULL, &options), ==, 0);
    CHECK(strcmp(noted, first) != 0);
}
