/* The loop: turns, callbacks, running and stopping, other threads, watches, forks, backends. */

#include "asleep.h"
#include "harness.h"

#include "base/alloc.h"
#include "base/fault.h"
#include "loop/loop.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

static rota_loop *new_loop(void)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    return loop;
}

static rota_loop *new_virtual_loop(uint64_t seed)
{
    rota_loop *loop;
    rota_loop_options options = {.virtual_clock = true, .random_seed = seed};
    CHECK_OK(rota_loop_new(&options, &loop));
    return loop;
}

/* A callback that notes its letter. */
static char noted[256];

#define LETTER(c) ((char[]){c})

static void note_letter(char letter)
{
    size_t len = strlen(noted);
    CHECK_INT(len + 1, <, sizeof noted);
    noted[len] = letter;
}

static void note(rota_handle *handle, void *arg)
{
    (void)handle;
    note_letter(*(char *)arg);
}

/* ---- Turns and order */

/* rule 2 */
TEST(ready_callbacks_run_in_the_order_in_which_they_became_ready)
{
    rota_loop *loop = new_loop();
    rota_handle handles[26];
    char letters[] = "abcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < 26; i++) {
        handles[i] = (rota_handle)ROTA_HANDLE_INIT;
        rota_loop_call_soon(loop, &handles[i], note, &letters[i]);
    }
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(noted, "abcdefghijklmnopqrstuvwxyz");
    rota_loop_free(loop);
}

struct again {
    rota_loop *loop;
    int left;
};

static void call_again(rota_handle *handle, void *arg)
{
    struct again *again = arg;
    note_letter('x');
    if (--again->left > 0)
        rota_loop_call_soon(again->loop, handle, call_again, again);
}

/* rule 2 */
TEST(what_becomes_ready_in_a_turn_runs_in_the_next)
{
    rota_loop *loop = new_loop();
    rota_handle x = ROTA_HANDLE_INIT, a = ROTA_HANDLE_INIT;
    struct again again = {loop, 3};
    rota_loop_call_soon(loop, &x, call_again, &again);
    rota_loop_call_soon(loop, &a, note, LETTER('a'));
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_STR(noted, "xa");
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_STR(noted, "xax");
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 0);
    CHECK_STR(noted, "xaxx");
    rota_loop_free(loop);
}

static void ignore_op(struct rota__op *op)
{
    (void)op;
}

/* rule 2 */
TEST(input_is_polled_though_callbacks_are_always_ready)
{
    rota_loop *loop = new_loop();
    rota_handle spin = ROTA_HANDLE_INIT;
    struct again again = {loop, 200};
    int ends[2];
    CHECK_OK(pipe(ends));
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    struct rota__fd fd;
    CHECK_OK(rota__fd_open(&fd, rota__loop_here, ends[1], false));
    struct rota__op op = {.kind = ROTA__OP_POLL,
                          .loop = rota__loop_here,
                          .poll_fd = ends[0],
                          .events = ROTA_READABLE,
                          .done = ignore_op};
    CHECK(!rota__op_start(&op));
    rota_loop_call_soon(loop, &spin, call_again, &again);
    for (int i = 0; i < 10 && op.pending; i++)
        CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK(!op.pending);
    CHECK_INT(again.left, >, 150);
    rota__fd_close(&fd);
    close(ends[0]);
    rota_loop_free(loop);
}

static void run_letters(uint64_t seed, char *ret_order, size_t n)
{
    rota_loop *loop = new_virtual_loop(seed);
    static char letters[] = "abcdefghijklmnopqrstuvwxyz";
    rota_handle handles[26];
    memset(noted, 0, sizeof noted);
    for (size_t i = 0; i < n; i++) {
        handles[i] = (rota_handle)ROTA_HANDLE_INIT;
        rota_loop_call_soon(loop, &handles[i], note, &letters[i]);
    }
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
    CHECK_INT(strlen(noted), ==, n);
    strcpy(ret_order, noted);
}

TEST(seed_decides_the_order_and_repeats_it)
{
    char first[27], second[27], other[27];
    run_letters(1, first, 26);
    run_letters(1, second, 26);
    run_letters(2, other, 26);
    CHECK_STR(first, second);
    CHECK(strcmp(first, other) != 0);
    CHECK(strcmp(first, "abcdefghijklmnopqrstuvwxyz") != 0);
}

/* Not only the ends move: each of the orders of four comes up. */
TEST(seeds_reach_every_order)
{
    char seen[24][5];
    size_t n = 0;
    for (uint64_t seed = 1; seed < 600 && n < 24; seed++) {
        char order[27];
        run_letters(seed, order, 4);
        size_t i = 0;
        while (i < n && strcmp(seen[i], order) != 0)
            i++;
        if (i == n)
            strcpy(seen[n++], order);
    }
    CHECK_INT(n, ==, 24);
}

/* ---- Handles */

TEST(pending_handle_is_moved_by_a_second_call)
{
    rota_loop *loop = new_loop();
    rota_handle h = ROTA_HANDLE_INIT, b = ROTA_HANDLE_INIT;
    rota_loop_call_later(loop, &h, ROTA_MINUTE, note, LETTER('x'));
    rota_loop_call_soon(loop, &h, note, LETTER('y'));
    rota_loop_call_soon(loop, &b, note, LETTER('b'));
    rota_loop_call_soon(loop, &h, note, LETTER('z'));
    CHECK(rota_handle_pending(&h));
    CHECK_OK(rota_loop_run(loop));
    CHECK(!rota_handle_pending(&h));
    CHECK_STR(noted, "bz");
    rota_loop_free(loop);
}

TEST(cancelled_handle_is_not_called)
{
    rota_loop *loop = new_loop();
    rota_handle soon = ROTA_HANDLE_INIT, later = ROTA_HANDLE_INIT, idle = ROTA_HANDLE_INIT;
    rota_loop_call_soon(loop, &soon, note, LETTER('s'));
    rota_loop_call_later(loop, &later, 0, note, LETTER('l'));
    rota_handle_cancel(&soon);
    rota_handle_cancel(&soon);
    rota_handle_cancel(&later);
    rota_handle_cancel(&idle);
    CHECK(!rota_handle_pending(&soon) && !rota_handle_pending(&later));
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 0);
    CHECK_STR(noted, "");
    rota_loop_free(loop);
}

struct rearm {
    rota_loop *loop;
    int runs;
};

static void rearm(rota_handle *handle, void *arg)
{
    struct rearm *r = arg;
    CHECK(!rota_handle_pending(handle));
    if (++r->runs < 5)
        rota_loop_call_later(r->loop, handle, ROTA_MINUTE, rearm, r);
}

TEST(handle_may_be_armed_again_in_its_own_callback)
{
    rota_loop *loop = new_virtual_loop(0);
    rota_handle h = ROTA_HANDLE_INIT;
    struct rearm r = {loop, 0};
    rota_loop_call_soon(loop, &h, rearm, &r);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(r.runs, ==, 5);
    CHECK_INT(rota_loop_time(loop), ==, 4 * ROTA_MINUTE);
    rota_loop_free(loop);
}

static void free_handle(rota_handle *handle, void *arg)
{
    (void)arg;
    free(handle);
    note_letter('f');
}

TEST(handle_may_be_freed_in_its_own_callback)
{
    rota_loop *loop = new_virtual_loop(0);
    for (int i = 0; i < 4; i++) {
        rota_handle *h = calloc(1, sizeof *h);
        CHECK(h);
        if (i % 2)
            rota_loop_call_soon(loop, h, free_handle, NULL);
        else
            rota_loop_call_later(loop, h, ROTA_SECOND, free_handle, NULL);
    }
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(noted, "ffff");
    rota_loop_free(loop);
}

static void cancel_other(rota_handle *handle, void *arg)
{
    (void)handle;
    rota_handle_cancel(arg);
}

TEST(callback_may_cancel_one_of_its_own_turn)
{
    rota_loop *loop = new_loop();
    rota_handle first = ROTA_HANDLE_INIT, second = ROTA_HANDLE_INIT;
    rota_loop_call_soon(loop, &first, cancel_other, &second);
    rota_loop_call_soon(loop, &second, note, LETTER('2'));
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(noted, "");
    rota_loop_free(loop);
}

TEST(freed_loop_leaves_handles_idle)
{
    rota_loop *loop = new_loop();
    rota_handle soon = ROTA_HANDLE_INIT, later = ROTA_HANDLE_INIT, never = ROTA_HANDLE_INIT;
    rota_loop_call_soon(loop, &soon, note, LETTER('s'));
    rota_loop_call_later(loop, &later, ROTA_MINUTE, note, LETTER('l'));
    rota_loop_call_at(loop, &never, ROTA_NEVER, note, LETTER('n'));
    rota_loop_free(loop);
    CHECK(!rota_handle_pending(&soon));
    CHECK(!rota_handle_pending(&later));
    CHECK(!rota_handle_pending(&never));
    rota_handle_cancel(&soon);
    rota_handle_cancel(&later);
    loop = new_loop();
    rota_loop_call_soon(loop, &later, note, LETTER('a'));
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(noted, "a");
    rota_loop_free(loop);
}

/* ---- Running and stopping */

TEST(loop_with_nothing_to_do_returns_at_once)
{
    rota_loop *loop = new_loop();
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(rota_loop_run_once(loop, ROTA_NEVER), ==, 0);
    rota_loop_free(loop);
}

static void stop(rota_handle *handle, void *arg)
{
    (void)handle;
    rota_loop_stop(arg);
}

TEST(stop_ends_the_run_after_the_turn)
{
    rota_loop *loop = new_loop();
    rota_handle s = ROTA_HANDLE_INIT, a = ROTA_HANDLE_INIT, later = ROTA_HANDLE_INIT;
    rota_loop_call_later(loop, &later, ROTA_MINUTE, note, LETTER('l'));
    rota_loop_call_soon(loop, &s, stop, loop);
    rota_loop_call_soon(loop, &a, note, LETTER('a'));
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(noted, "a");
    CHECK(rota_handle_pending(&later));
    rota_loop_free(loop);
}

static void run_inside(rota_handle *handle, void *arg)
{
    (void)handle;
    CHECK_INT(rota_loop_run(arg), ==, -EBUSY);
    CHECK_INT(rota_loop_run_once(arg, 0), ==, -EBUSY);
    note_letter('b');
}

TEST(running_loop_cannot_be_run)
{
    rota_loop *loop = new_loop();
    rota_handle h = ROTA_HANDLE_INIT;
    rota_loop_call_soon(loop, &h, run_inside, loop);
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(noted, "b");
    rota_loop_free(loop);
}

TEST(snippet_of_the_header_counts_one_tick)
{
    rota_loop *loop = new_virtual_loop(0);
    rota_handle h = ROTA_HANDLE_INIT;
    struct rearm ticks = {loop, 4};
    rota_loop_call_later(loop, &h, 10 * ROTA_MILLISECOND, rearm, &ticks);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(ticks.runs, ==, 5);
    rota_loop_free(loop);
}

/* ---- One loop a thread, and its thread only */

static void last_report(void *arg, rota_log_level level, const char *message)
{
    (void)level;
    snprintf(arg, 400, "%s", message);
}

static void *use_foreign_loop(void *arg)
{
    rota_loop *loop = arg;
    rota_handle h = ROTA_HANDLE_INIT;
    rota_watch *watch;
    CHECK_PTR(rota_loop_current(), ==, NULL);
    CHECK_INT(rota_loop_run(loop), ==, -EBUSY);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, -EBUSY);
    CHECK_INT(rota_loop_watch(loop, 0, ROTA_READABLE, NULL, NULL, &watch), ==, ROTA_ETHREAD);
    rota_loop_call_soon(loop, &h, note, LETTER('x'));
    rota_loop_call_later(loop, &h, 0, note, LETTER('x'));
    CHECK(!rota_handle_pending(&h));
    rota_loop *own = new_loop(); /* it may have one of its own */
    rota_loop_free(own);
    return NULL;
}

/* rule 20 */
TEST(other_threads_calls_are_refused_and_reported)
{
    static char report[400];
    rota_loop *loop = new_loop();
    pthread_t thread;
    rota_log_set(last_report, report);
    CHECK_INT(pthread_create(&thread, NULL, use_foreign_loop, loop), ==, 0);
    pthread_join(thread, NULL);
    CHECK(strstr(report, "rota_loop_call_later was called from a thread other than its loop's"));
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 0);
    CHECK_STR(noted, "");
    rota_loop_free(loop);
}

/* rule 21 */
TEST_WITH(child_of_a_fork_has_no_loop_and_may_start_one, .without_faults = true)
{
    rota_loop *loop = new_loop();
    rota_handle h = ROTA_HANDLE_INIT;
    rota_loop_call_soon(loop, &h, note, LETTER('p'));
    pid_t pid = fork();
    if (pid == 0) {
        char letter = 'c';
        rota_handle c = ROTA_HANDLE_INIT;
        CHECK_PTR(rota_loop_current(), ==, NULL);
        CHECK_INT(rota_loop_run(loop), ==, ROTA_ECLOSED);
        rota_loop *own = new_loop();
        rota_loop_call_later(own, &c, ROTA_MILLISECOND, note, &letter);
        CHECK_OK(rota_loop_run(own));
        CHECK_STR(noted, "c");
        rota_loop_free(own);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(noted, "p");
    rota_loop_free(loop);
}

/* ---- Other threads */

enum { THREADS = 4, CALLS = 25000 };

struct caller {
    rota_loop *loop;
    pthread_t thread;
    int id, next;
};

struct message {
    struct caller *caller;
    int number;
};

static int calls_left;

static void take_message(rota_loop *loop, void *arg)
{
    struct message *m = arg;
    CHECK_PTR(loop, ==, rota_loop_current());
    CHECK_INT(m->number, ==, m->caller->next);
    m->caller->next++;
    calls_left--;
    if (m->number == CALLS - 1)
        rota_loop_release_threadsafe(loop);
}

static void *make_calls(void *arg)
{
    struct caller *caller = arg;
    struct message *messages = calloc(CALLS, sizeof *messages);
    CHECK(messages);
    for (int i = 0; i < CALLS; i++) {
        messages[i] = (struct message){caller, i};
        CHECK_OK(rota_loop_call_threadsafe(caller->loop, take_message, &messages[i]));
    }
    return messages;
}

TEST_WITH(calls_of_four_threads_all_arrive_each_threads_in_order, .seconds = 60,
          .without_faults = true)
{
    rota_loop *loop = new_loop();
    struct caller callers[THREADS];
    calls_left = THREADS * CALLS;
    for (int i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){.loop = loop, .id = i};
        rota_loop_hold_threadsafe(loop);
        CHECK_INT(pthread_create(&callers[i].thread, NULL, make_calls, &callers[i]), ==, 0);
    }
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(calls_left, ==, 0);
    for (int i = 0; i < THREADS; i++) {
        void *messages;
        pthread_join(callers[i].thread, &messages);
        free(messages);
    }
    rota_loop_free(loop);
}

static void count_call(rota_loop *loop, void *arg)
{
    (void)loop;
    ++*(int *)arg;
}

/* How often the eventfd is written is its count. */
TEST(batch_of_calls_wakes_the_loop_once)
{
    rota_loop *loop = new_loop();
    int calls = 0;
    atomic_store(&loop->asleep, true);
    for (int i = 0; i < 100; i++)
        CHECK_OK(rota_loop_call_threadsafe(loop, count_call, &calls));
    eventfd_t writes;
    CHECK_OK(eventfd_read(loop->wake_fd, &writes));
    CHECK_INT(writes, ==, 1);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(calls, ==, 100);
    rota_loop_free(loop);
}

TEST(calls_while_the_loop_is_awake_need_no_system_call)
{
    rota_loop *loop = new_loop();
    int calls = 0;
    for (int i = 0; i < 100; i++)
        CHECK_OK(rota_loop_call_threadsafe(loop, count_call, &calls));
    eventfd_t writes;
    CHECK_INT(eventfd_read(loop->wake_fd, &writes), ==, -1);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(calls, ==, 100);
    rota_loop_free(loop);
}

struct ping {
    rota_loop *loop;
    atomic_int answered;
    int rounds;
};

static void answer(rota_loop *loop, void *arg)
{
    (void)loop;
    struct ping *ping = arg;
    atomic_fetch_add(&ping->answered, 1);
}

static void *ping_sleeping_loop(void *arg)
{
    struct ping *ping = arg;
    for (int i = 0; i < ping->rounds; i++) {
        CHECK_OK(rota_loop_call_threadsafe(ping->loop, answer, ping));
        while (atomic_load(&ping->answered) <= i)
            sched_yield();
    }
    rota_loop_release_threadsafe(ping->loop);
    return NULL;
}

/* Each call finds the loop about to sleep, asleep, or about to wake. */
TEST_WITH(call_that_finds_the_loop_falling_asleep_is_not_lost, .seconds = 60,
          .without_faults = true)
{
    struct ping ping = {.loop = new_loop(), .rounds = 3000};
    pthread_t thread;
    rota_loop_hold_threadsafe(ping.loop);
    CHECK_INT(pthread_create(&thread, NULL, ping_sleeping_loop, &ping), ==, 0);
    CHECK_OK(rota_loop_run(ping.loop));
    CHECK_INT(ping.answered, ==, ping.rounds);
    pthread_join(thread, NULL);
    rota_loop_free(ping.loop);
}

static void *release_soon(void *arg)
{
    rota_loop_release_threadsafe(arg);
    return NULL;
}

/* The loop may be gone the moment the last promise is taken back: the thread must not touch it
 * then. */
TEST_WITH(loop_may_be_freed_as_soon_as_a_release_lets_it_end, .seconds = 60)
{
    for (int i = 0; i < 300; i++) {
        rota_loop *loop = new_loop();
        pthread_t thread;
        rota_loop_hold_threadsafe(loop);
        if (pthread_create(&thread, NULL, release_soon, loop) != 0)
            rota_loop_release_threadsafe(loop);
        CHECK_OK(rota_loop_run(loop));
        rota_loop_free(loop);
        pthread_join(thread, NULL);
    }
}

TEST(hold_keeps_an_idle_loop_waiting)
{
    rota_loop *loop = new_loop();
    rota_loop_hold_threadsafe(loop);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    rota_loop_release_threadsafe(loop);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 0);
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
}

static void note_end(rota_loop *loop, void *arg)
{
    (void)loop;
    note_letter(*(char *)arg);
}

TEST(call_that_was_posted_before_the_loop_is_freed_still_runs)
{
    rota_loop *loop = new_loop();
    CHECK_OK(rota_loop_call_threadsafe(loop, note_end, LETTER('e')));
    rota_loop_free(loop);
    CHECK_STR(noted, "e");
}

/* ---- Watches */

struct seen {
    int calls, events, stop_after;
    rota_watch *watch;
    int fd;
};

static void see(rota_watch *watch, int events, void *arg)
{
    struct seen *seen = arg;
    char byte;
    seen->calls++;
    seen->events |= events;
    if (seen->fd >= 0) {
        CHECK_INT(events, ==, ROTA_READABLE); /* or the read would hang, under injected faults */
        CHECK_INT(read(seen->fd, &byte, 1), ==, 1);
    }
    if (seen->calls == seen->stop_after)
        rota_watch_free(watch);
}

static rota_watch *watch(rota_loop *loop, int fd, int events, struct seen *seen)
{
    CHECK_OK(rota_loop_watch(loop, fd, events, see, seen, &seen->watch));
    return seen->watch;
}

/* Rule 5: results of a failed call are untouched. */
TEST(failed_calls_leave_their_results_alone)
{
    int mark;
    rota_loop *loop = (rota_loop *)(void *)&mark;
    rota_watch *watch = (rota_watch *)(void *)&mark;
    CHECK_INT(rota_loop_new(&(rota_loop_options){.stack_size = 1}, &loop), ==, -EINVAL);
    CHECK_PTR(loop, ==, &mark);
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_INT(rota_loop_watch(loop, -1, ROTA_READABLE, see, NULL, &watch), ==, -EBADF);
    CHECK_INT(rota_loop_watch(loop, 0, 0, see, NULL, &watch), ==, -EINVAL);
    CHECK_PTR(watch, ==, &mark);
    rota_loop_free(loop);
}

TEST(watch_calls_in_each_turn_in_which_the_descriptor_is_ready)
{
    rota_loop *loop = new_loop();
    int ends[2];
    struct seen seen = {.stop_after = 4, .fd = -1};
    CHECK_OK(pipe(ends));
    seen.fd = ends[0];
    watch(loop, ends[0], ROTA_READABLE, &seen);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(seen.calls, ==, 0);
    CHECK_INT(write(ends[1], "123", 3), ==, 3);
    for (int i = 0; i < 20; i++)
        CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(seen.calls, ==, 3);
    CHECK_INT(seen.events, ==, ROTA_READABLE);
    CHECK_INT(write(ends[1], "4", 1), ==, 1);
    CHECK_OK(rota_loop_run(loop)); /* the fourth call frees the watch, and nothing is left */
    CHECK_INT(seen.calls, ==, 4);
    close(ends[0]);
    close(ends[1]);
    rota_loop_free(loop);
}

TEST(several_watches_share_a_descriptor)
{
    rota_loop *loop = new_loop();
    int ends[2];
    struct seen a = {.fd = -1}, b = {.fd = -1}, w = {.stop_after = 1, .fd = -1};
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    watch(loop, ends[0], ROTA_READABLE, &a);
    watch(loop, ends[0], ROTA_READABLE, &b);
    watch(loop, ends[0], ROTA_WRITABLE, &w);
    while (!w.calls)
        CHECK_INT(rota_loop_run_once(loop, ROTA_SECOND), ==, 1);
    CHECK_INT(a.calls + b.calls, ==, 0);
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    while (!a.calls || !b.calls)
        CHECK_INT(rota_loop_run_once(loop, ROTA_SECOND), ==, 1);
    rota_watch_free(a.watch);
    int before = a.calls;
    for (int i = 0; i < 5; i++)
        CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(a.calls, ==, before);
    CHECK_INT(b.calls, >, 1);
    rota_watch_free(b.watch);
    CHECK_OK(rota_loop_run(loop));
    close(ends[0]);
    close(ends[1]);
    rota_loop_free(loop);
}

TEST(watch_reports_a_hangup_nobody_asked_for)
{
    rota_loop *loop = new_loop();
    int ends[2];
    struct seen seen = {.stop_after = 1, .fd = -1};
    CHECK_OK(pipe(ends));
    watch(loop, ends[1], ROTA_WRITABLE, &seen);
    close(ends[0]);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(seen.events & ROTA_HANGUP, ==, ROTA_HANGUP);
    close(ends[1]);
    rota_loop_free(loop);
}

static void free_the_other(rota_watch *unused, int events, void *arg)
{
    (void)unused;
    (void)events;
    struct seen *seen = arg;
    note_letter('f');
    seen->watch = rota_watch_free(seen->watch);
}

TEST(watch_freed_by_a_callback_of_the_same_turn_is_not_called)
{
    rota_loop *loop = new_loop();
    int ends[2];
    struct seen victim = {.fd = -1};
    rota_watch *killer;
    CHECK_OK(pipe(ends));
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    CHECK_OK(rota_loop_watch(loop, ends[0], ROTA_READABLE, free_the_other, &victim, &killer));
    watch(loop, ends[0], ROTA_READABLE, &victim);
    while (!noted[0])
        CHECK_INT(rota_loop_run_once(loop, ROTA_SECOND), ==, 1);
    CHECK_INT(victim.calls, ==, 0);
    rota_watch_free(killer);
    CHECK_OK(rota_loop_run(loop));
    close(ends[0]);
    close(ends[1]);
    rota_loop_free(loop);
}

TEST(regular_file_cannot_be_watched)
{
    rota_loop *loop = new_loop();
    struct seen seen = {0};
    int file = memfd_create("file", 0), closed = dup(file), dir = open("/", O_RDONLY);
    close(closed);
    CHECK_INT(rota_loop_watch(loop, file, ROTA_READABLE, see, &seen, &seen.watch), ==, -EPERM);
    CHECK_INT(rota_loop_watch(loop, dir, ROTA_READABLE, see, &seen, &seen.watch), ==, -EPERM);
    CHECK_INT(rota_loop_watch(loop, closed, ROTA_READABLE, see, &seen, &seen.watch), ==, -EBADF);
    CHECK_INT(rota_loop_watch(loop, -1, ROTA_READABLE, see, &seen, &seen.watch), ==, -EBADF);
    CHECK_INT(rota_loop_watch(loop, 0, 0, see, &seen, &seen.watch), ==, -EINVAL);
    CHECK_INT(rota_loop_watch(loop, 0, ROTA_HANGUP, see, &seen, &seen.watch), ==, -EINVAL);
    CHECK_PTR(seen.watch, ==, NULL);
    CHECK_OK(rota_loop_run(loop));
    close(file);
    close(dir);
    rota_loop_free(loop);
}

TEST(freed_loop_frees_its_watches)
{
    int before = test_open_fds();
    long live = rota__alloc_live();
    rota_loop *loop = new_loop();
    int ends[2];
    struct seen a = {.fd = -1}, b = {.fd = -1};
    CHECK_OK(pipe(ends));
    watch(loop, ends[0], ROTA_READABLE, &a);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    watch(loop, ends[0], ROTA_READABLE, &b);
    rota_loop_free(loop);
    close(ends[0]);
    close(ends[1]);
    CHECK_INT(rota__alloc_live(), ==, live);
    CHECK_INT(test_open_fds(), ==, before);
}

/* Each turn polls once: that is one system call, and the only one. */
TEST_WITH(an_event_of_a_watch_costs_no_system_call, .without_faults = true)
{
    enum { EVENTS = 50 };
    rota_loop *loop = new_loop();
    int ends[2];
    struct seen seen = {.fd = -1};
    CHECK_OK(pipe(ends));
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    watch(loop, ends[0], ROTA_READABLE, &seen);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    int before = seen.calls;
    rota__fault_arm(ROTA__FAULT_SYSCALL, 0);
    for (int i = 0; i < EVENTS; i++)
        CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    uint64_t calls = rota__fault_count(ROTA__FAULT_SYSCALL);
    rota__fault_disarm();
    CHECK_INT(seen.calls - before, ==, EVENTS);
    CHECK_INT(calls, <=, EVENTS);
    rota_watch_free(seen.watch);
    close(ends[0]);
    close(ends[1]);
    rota_loop_free(loop);
}

static int listener_on(struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(bind(fd, (struct sockaddr *)address, len));
    CHECK_OK(listen(fd, 1));
    CHECK_OK(getsockname(fd, (struct sockaddr *)address, &len));
    return fd;
}

/* Both while it waits and between two events. */
TEST(a_listener_that_was_watched_frees_its_port_when_it_is_closed)
{
    rota_loop *loop = new_loop();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct seen seen = {.fd = -1};
    for (int i = 0; i < 4; i++) {
        int fd = listener_on(&address);
        watch(loop, fd, ROTA_READABLE, &seen);
        if (i > 0)
            CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
        rota_watch_free(seen.watch);
        close(fd);
    }
    CHECK_INT(seen.calls, ==, 0);
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
}

static void free_and_close(rota_watch *watch, int events, void *arg)
{
    struct seen *seen = arg;
    seen->calls++;
    seen->events = events;
    rota_watch_free(watch);
    close(seen->fd);
}

TEST(a_watch_may_be_freed_and_its_descriptor_closed_in_the_callback)
{
    rota_loop *loop = new_loop();
    for (int i = 0; i < 3; i++) { /* the number is used again */
        int ends[2];
        struct seen seen = {0};
        CHECK_OK(pipe(ends));
        seen.fd = ends[0];
        CHECK_INT(write(ends[1], "x", 1), ==, 1);
        CHECK_OK(rota_loop_watch(loop, ends[0], ROTA_READABLE, free_and_close, &seen, &seen.watch));
        CHECK_OK(rota_loop_run(loop));
        CHECK_INT(seen.calls, ==, 1);
        close(ends[1]);
    }
    rota_loop_free(loop);
}

TEST(watches_of_a_descriptor_get_what_each_has_asked_for)
{
    rota_loop *loop = new_loop();
    int ends[2];
    struct seen r = {.fd = -1}, w = {.fd = -1};
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    watch(loop, ends[0], ROTA_READABLE, &r);
    watch(loop, ends[0], ROTA_WRITABLE, &w);
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    for (int i = 0; i < 5; i++)
        CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(r.events, ==, ROTA_READABLE);
    CHECK_INT(w.events, ==, ROTA_WRITABLE);
    CHECK_OK(shutdown(ends[1], SHUT_WR)); /* reported to watches for reading */
    for (int i = 0; i < 5; i++)
        CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(r.events, ==, ROTA_READABLE | ROTA_HANGUP);
    CHECK_INT(w.events, ==, ROTA_WRITABLE);
    rota_watch_free(r.watch);
    rota_watch_free(w.watch);
    CHECK_OK(rota_loop_run(loop));
    close(ends[0]);
    close(ends[1]);
    rota_loop_free(loop);
}

static void fill_socket(int fd)
{
    static const char bytes[4096];
    CHECK_OK(fcntl(fd, F_SETFL, O_NONBLOCK));
    while (write(fd, bytes, sizeof bytes) > 0)
        continue;
}

/* io_uring's polls end when the peer sends no more, whatever they ask for. */
TEST(a_watch_for_room_is_not_called_because_the_peer_sends_no_more)
{
    rota_loop *loop = new_loop();
    int ends[2];
    char bytes[4096];
    struct seen w = {.fd = -1};
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    fill_socket(ends[0]);
    CHECK_OK(shutdown(ends[1], SHUT_WR));
    watch(loop, ends[0], ROTA_WRITABLE, &w);
    for (int i = 0; i < 20; i++)
        CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(w.calls, ==, 0);
    CHECK_OK(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    while (read(ends[1], bytes, sizeof bytes) > 0)
        continue;
    while (!w.calls)
        CHECK_INT(rota_loop_run_once(loop, ROTA_SECOND), ==, 1);
    CHECK_INT(w.events, ==, ROTA_WRITABLE);
    rota_watch_free(w.watch);
    CHECK_OK(rota_loop_run(loop));
    close(ends[0]);
    close(ends[1]);
    rota_loop_free(loop);
}

static void count_done(struct rota__op *op)
{
    ++*(int *)op->owner;
}

/* Whichever comes first, the watch or the operation that has to wait. */
static void share_with_the_loop(bool watch_first)
{
    rota_loop *loop = new_loop();
    int ends[2], done = 0;
    char byte;
    struct rota__fd fd;
    struct seen seen = {.fd = -1};
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota__fd_open(&fd, rota__loop_here, ends[0], true));
    struct rota__op op = {.kind = ROTA__OP_RECV,
                          .fd = &fd,
                          .buf = &byte,
                          .len = 1,
                          .done = count_done,
                          .owner = &done};
    if (watch_first)
        watch(loop, ends[0], ROTA_READABLE, &seen);
    CHECK(!rota__op_start(&op));
    if (!watch_first)
        watch(loop, ends[0], ROTA_READABLE, &seen);
    CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(seen.calls + done, ==, 0);
    CHECK_INT(write(ends[1], "12", 2), ==, 2);
    for (int i = 0; i < 10; i++)
        CHECK_INT(rota_loop_run_once(loop, 0), ==, 1);
    CHECK_INT(done, ==, 1);
    CHECK_INT(seen.calls, >=, 8); /* one byte is left all the time */
    CHECK_INT(seen.events, ==, ROTA_READABLE);
    rota_watch_free(seen.watch);
    CHECK(rota__op_start(&op));
    CHECK(!rota__op_start(&op)); /* the operations go on without the watch */
    CHECK_INT(write(ends[1], "3", 1), ==, 1);
    while (done < 2)
        CHECK_INT(rota_loop_run_once(loop, ROTA_SECOND), >=, 0);
    rota__fd_close(&fd);
    CHECK_INT(read(ends[1], &byte, 1), ==, 0); /* it is closed */
    close(ends[1]);
    rota_loop_free(loop);
}

TEST(a_descriptor_of_the_loops_may_be_watched)
{
    int fds = test_open_fds();
    share_with_the_loop(false);
    CHECK_INT(test_open_fds(), ==, fds);
}

TEST(a_watched_descriptor_may_become_the_loops)
{
    int fds = test_open_fds();
    share_with_the_loop(true);
    CHECK_INT(test_open_fds(), ==, fds);
}

/* ---- Signals in system calls */

static atomic_int interruptions;

static void count_interruption(int number)
{
    (void)number;
    atomic_fetch_add(&interruptions, 1);
}

struct sleeper {
    rota_loop *loop;
    pthread_t thread;
};

static void *interrupt_again_and_again(void *arg)
{
    struct sleeper *sleeper = arg;
    for (int i = 0; i < 20; i++) {
        wait_until_asleep(sleeper->loop);
        pthread_kill(sleeper->thread, SIGUSR1);
        while (atomic_load(&interruptions) <= i)
            sched_yield();
    }
    rota_loop_release_threadsafe(sleeper->loop);
    return NULL;
}

TEST_WITH(signals_do_not_end_the_wait, .without_faults = true)
{
    struct sleeper here = {new_loop(), pthread_self()};
    rota_handle h = ROTA_HANDLE_INIT;
    pthread_t thread;
    struct sigaction action = {.sa_handler = count_interruption}; /* without SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
    rota_time start = rota_now();
    rota_loop_call_later(here.loop, &h, 40 * ROTA_MILLISECOND, note, LETTER('t'));
    rota_loop_hold_threadsafe(here.loop);
    CHECK_INT(pthread_create(&thread, NULL, interrupt_again_and_again, &here), ==, 0);
    CHECK_OK(rota_loop_run(here.loop));
    CHECK_INT(interruptions, ==, 20);
    CHECK_STR(noted, "t");
    CHECK_INT(rota_now() - start, >=, 40 * ROTA_MILLISECOND);
    pthread_join(thread, NULL);
    rota_loop_free(here.loop);
}

/* ---- Backends */

TEST(backend_is_what_the_environment_says)
{
    const char *wanted = getenv("ROTA_BACKEND");
    rota_loop *loop = new_loop();
    CHECK_STR(rota_loop_backend(loop), strcmp(wanted, "uring") == 0 ? "io_uring" : "epoll");
    rota_loop_free(loop);
}

TEST(option_outranks_the_environment)
{
    rota_loop *loop;
    rota_loop_options options = {.backend = (rota_backend)77};
    CHECK_INT(rota_loop_new(&options, &loop), ==, -EINVAL);
    options.backend = ROTA_BACKEND_EPOLL;
    CHECK_OK(rota_loop_new(&options, &loop));
    CHECK_STR(rota_loop_backend(loop), "epoll");
    rota_loop_free(loop);
}

/* Whether this kernel's io_uring is the default: it lets a thread sleep without a look of waiting
 * for a disk (6.15), and nobody forbids it. */
static bool uring_is_good_here(void)
{
    struct io_uring_params params = {.flags =
                                         IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
    if (fd >= 0)
        close(fd);
    return fd >= 0 && (params.features & (1U << 17));
}

TEST_WITH(default_is_io_uring_where_the_kernel_has_a_good_one, .without_faults = true)
{
    unsetenv("ROTA_BACKEND");
    rota_loop *loop = new_loop();
    CHECK_STR(rota_loop_backend(loop), uring_is_good_here() ? "io_uring" : "epoll");
    rota_loop_free(loop);
}

TEST(unknown_backend_in_the_environment_is_refused)
{
    rota_loop *loop;
    setenv("ROTA_BACKEND", "kqueue", 1);
    CHECK_INT(rota_loop_new(NULL, &loop), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "ROTA_BACKEND \"kqueue\": unknown backend, use epoll or uring");
    setenv("ROTA_BACKEND", "", 1);
    loop = new_loop();
    rota_loop_free(loop);
}

TEST(absurd_stack_size_is_refused)
{
    rota_loop *loop;
    CHECK_INT(rota_loop_new(&(rota_loop_options){.stack_size = 16383}, &loop), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "stack_size 16383: too small, use 16384 bytes or more");
    CHECK_INT(rota_loop_new(&(rota_loop_options){.stack_size = SIZE_MAX}, &loop), ==, -EINVAL);
    CHECK_PTR(rota_loop_current(), ==, NULL);
}

/* From now on io_uring_setup fails with `error`; a flag in `flags` makes it fail with EINVAL
 * instead. */
static void deny_io_uring(int error, unsigned flags)
{
    (void)flags;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        SKIP("no seccomp filters here: %s", strerror(errno));
}

static void check_fallback(int error, rota_backend backend)
{
    int before = test_open_fds();
    unsetenv("ROTA_BACKEND");
    deny_io_uring(error, 0);
    rota_loop *loop;
    CHECK_OK(rota_loop_new(&(rota_loop_options){.backend = backend}, &loop));
    CHECK_STR(rota_loop_backend(loop), "epoll");
    rota_handle h = ROTA_HANDLE_INIT;
    rota_loop_call_later(loop, &h, ROTA_MILLISECOND, note, LETTER('w'));
    CHECK_OK(rota_loop_run(loop));
    CHECK_STR(noted, "w");
    rota_loop_free(loop);
    CHECK_INT(test_open_fds(), ==, before);
}

TEST(forbidden_io_uring_becomes_epoll)
{
    check_fallback(EPERM, ROTA_BACKEND_URING);
}

TEST(forbidden_default_becomes_epoll)
{
    check_fallback(EPERM, ROTA_BACKEND_DEFAULT);
}

TEST(absent_io_uring_becomes_epoll)
{
    check_fallback(ENOSYS, ROTA_BACKEND_URING);
}

TEST(locked_memory_limit_becomes_epoll)
{
    check_fallback(ENOMEM, ROTA_BACKEND_URING);
}

TEST(io_uring_that_knows_no_flag_becomes_epoll)
{
    check_fallback(EINVAL, ROTA_BACKEND_URING);
}

/* rule 5: descriptors that run out leave nothing half made, and `ret_loop` untouched. */
TEST(loop_without_descriptors_fails_cleanly)
{
    long live = rota__alloc_live();
    struct rlimit before;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &before));
    rota_loop *loop = NULL;
    int opened = test_open_fds(), lowest = dup(0);
    close(lowest);
    for (rlim_t extra = 0; extra < 2; extra++) {
        struct rlimit few = {(rlim_t)lowest + extra, before.rlim_max};
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
        CHECK_INT(rota_loop_new(NULL, &loop), ==, -EMFILE);
        CHECK_STR(rota_error(-EMFILE), "make a loop: Too many open files");
        CHECK_PTR(loop, ==, NULL);
        CHECK_OK(setrlimit(RLIMIT_NOFILE, &before));
        CHECK_INT(test_open_fds(), ==, opened);
    }
    CHECK_INT(rota__alloc_live(), ==, live);
    rota_loop_free(new_loop());
}
