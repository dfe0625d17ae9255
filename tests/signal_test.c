/* Signals. They are sent by the test itself, so it is known when they have come. */

#include "base/alloc.h"
#include "clean_run.h"
#include "coro/coro.h"

#include <rota.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

static void *handler_of(int number)
{
    struct sigaction now;
    CHECK_OK(sigaction(number, NULL, &now));
    return (void *)now.sa_handler;
}

static void listen_for(rota_signals *s, int number)
{
    CHECK_OK(rota_signals_add(s, number));
}

static int send_it(void *arg)
{
    int number = *(const int *)arg;
    for (int i = 0; i < 3; i++)
        CHECK_OK(rota_yield());
    raise(number);
    return 0;
}

/* ---- The snippets of the header */

static int reloads;

static void reload(void)
{
    reloads++;
}

static int reload_on_hangup(void *arg)
{
    ROTA_SCOPED(rota_signals) hangups = ROTA_SIGNALS_INIT;
    int err = rota_signals_add(&hangups, SIGHUP);
    if (err < 0)
        return err;
    ROTA_FOREACH (const int *, number, rota_signals_iter(&hangups), &err) {
        reload();
        CHECK_INT(*number, ==, SIGHUP);
    }
    return err;
}

TASK_TEST(snippet_of_the_header_works, .without_faults = true)
{
    rota_task *task;
    CHECK_OK(rota_spawn(reload_on_hangup, NULL, &task));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rota_sleep(ROTA_MILLISECOND));
        raise(SIGHUP);
    }
    CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    CHECK_INT(reloads, ==, 3);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
}

/* ---- Waiting */

TASK_TEST(one_of_several_signals_is_waited_for, .without_faults = true)
{
    static const int numbers[] = {SIGUSR1, SIGUSR2};
    static const int *const second = &numbers[1];
    CHECK_OK(rota_spawn(send_it, (void *)(uintptr_t)second, NULL));
    CHECK_INT(rota_signal_wait(numbers, 2), ==, SIGUSR2);
    CHECK_PTR(handler_of(SIGUSR1), ==, SIG_DFL);
    CHECK_PTR(handler_of(SIGUSR2), ==, SIG_DFL);
}

static int listen_and_time_out(void *arg)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    int err = 0;
    listen_for(&s, SIGUSR1);
    ROTA_TIMEOUT (ROTA_MINUTE) {
        err = rota_signals_next(&s);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    raise(SIGUSR1);
    CHECK_INT(rota_signals_next(&s), ==, SIGUSR1);
    return 0;
}

TEST(waiting_ends_at_a_deadline_and_goes_on_later)
{
    CHECK_OK(run_clean(listen_and_time_out, NULL, true));
}

static int raise_before_waiting(void *arg)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    listen_for(&s, SIGUSR2);
    listen_for(&s, SIGUSR1);
    listen_for(&s, SIGUSR1);
    raise(SIGUSR2);
    raise(SIGUSR2);
    raise(SIGUSR1);
    CHECK_OK(rota_yield());
    CHECK_OK(rota_yield());
    CHECK_INT(rota_signals_next(&s), ==, SIGUSR1);
    CHECK_INT(rota_signals_next(&s), ==, SIGUSR2); /* the two are one */
    raise(SIGRTMIN);
    return 0;
}

static int ignore_and_raise_before_waiting(void *arg)
{
    signal(SIGRTMIN, SIG_IGN);
    return raise_before_waiting(arg);
}

TEST(signals_that_come_before_the_wait_are_kept)
{
    run(ignore_and_raise_before_waiting, NULL);
}

static int next_of(void *arg)
{
    return rota_signals_next(arg);
}

TASK_TEST(cancelled_wait_loses_no_signal)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    rota_task *task;
    listen_for(&s, SIGUSR1);
    CHECK_OK(rota_spawn(next_of, &s, &task));
    CHECK_OK(rota_yield());
    CHECK_STR(rota_task_waits_for(task), "signal");
    CHECK_INT(rota_signals_next(&s), ==, -EBUSY);
    rota_task_cancel(task);
    raise(SIGUSR1);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    CHECK_INT(rota_signals_next(&s), ==, SIGUSR1); /* nothing lost */

    CHECK_OK(rota_spawn(next_of, &s, &task));
    CHECK_OK(rota_yield());
    rota_signals_fini(&s);
    CHECK_INT(rota_join(task), ==, ROTA_ECLOSED);
    CHECK_INT(rota_signals_next(&s), ==, -EINVAL);
}

/* ---- Storms */

enum { STORM = 100000 };

static atomic_bool storm_over;
static pthread_t stormy;

static void *storm(void *arg)
{
    for (int i = STORM / test_scale(); i > 0; i--)
        pthread_kill(stormy, SIGUSR1);
    atomic_store(&storm_over, true);
    pthread_kill(stormy, SIGUSR1);
    return NULL;
}

static int count_turns(void *arg)
{
    int err;
    while ((err = rota_yield()) == 0)
        ++*(int *)arg;
    return err;
}

TASK_TEST(storm_of_signals_starves_nobody_and_its_last_one_is_heard, .without_faults = true)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    pthread_t thread;
    rota_task *other;
    int turns = 0, heard = 0;
    bool over;
    listen_for(&s, SIGUSR1);
    CHECK_OK(rota_spawn(count_turns, &turns, &other));
    stormy = pthread_self();
    CHECK_INT(pthread_create(&thread, NULL, storm, NULL), ==, 0);
    do {
        CHECK_INT(rota_signals_next(&s), ==, SIGUSR1);
        over = atomic_load(&storm_over);
        heard++;
    } while (!over);
    CHECK_INT(turns, >, 0);
    CHECK_INT(heard, <=, STORM + 1);
    pthread_join(thread, NULL);
    rota_task_cancel(other);
    CHECK_INT(rota_join(other), ==, -ECANCELED);
}

/* ---- A storm from another process on loops in several threads */

enum { LOOPS = 4, ROUNDS = 20 };

static const int kinds[] = {SIGUSR1, SIGCHLD, SIGTERM};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Shared with the sender. */
struct outside {
    atomic_int round;               /* the sender's; beyond ROUNDS it is over */
    atomic_int heard[LOOPS][KINDS]; /* the round that it was when the signal was heard last */
    atomic_int ended;
    atomic_long sent;
};

static struct outside *outside;

static bool all_have_heard(int round)
{
    for (int i = 0; i < LOOPS * KINDS; i++) {
        if (outside->heard[i / KINDS][i % KINDS] < round)
            return false;
    }
    return true;
}

/* Whatever of a round gets lost in the crowd, what is sent last has to be heard by everybody. */
static _Noreturn void send_storm(pid_t to)
{
    long in_a_round = STORM / ROUNDS / test_scale();
    while (outside->round == 0)
        sched_yield();
    for (int round = 1; round <= ROUNDS; round++) {
        for (long i = 0; i < in_a_round; i++)
            kill(to, kinds[i % KINDS]);
        outside->round = round;
        for (int i = 0; i < KINDS; i++)
            kill(to, kinds[i]);
        outside->sent += in_a_round + KINDS;
        while (!all_have_heard(round))
            sched_yield();
    }
    outside->round = ROUNDS + 1;
    while (outside->ended < LOOPS) {
        kill(to, SIGUSR1);
        sched_yield();
    }
    _exit(0);
}

static pthread_barrier_t listening, done;
static long allocations;

static int kind_of(int number)
{
    for (int i = 0; i < KINDS; i++) {
        if (kinds[i] == number)
            return i;
    }
    FAIL("signal %d", number);
}

static int weather_outside(void *arg)
{
    atomic_int *heard = arg;
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    rota_task *other;
    int turns = 0;
    for (int i = 0; i < KINDS; i++)
        listen_for(&s, kinds[i]);
    CHECK_OK(rota_spawn(count_turns, &turns, &other));
    CHECK_OK(rota_yield());
    pthread_barrier_wait(&listening); /* all are here */
    pthread_barrier_wait(&listening); /* all is counted */
    do {
        int kind = kind_of(rota_signals_next(&s));
        heard[kind] = outside->round;
        CHECK_INT(rota__alloc_live(), <=, allocations); /* a storm takes no room */
    } while (outside->round <= ROUNDS);
    CHECK_INT(turns, >, ROUNDS);
    outside->ended++;
    pthread_barrier_wait(&done); /* a thread that ends earlier would make room */
    rota_task_cancel(other);
    CHECK_INT(rota_join(other), ==, -ECANCELED);
    return 0;
}

static void *run_outside(void *arg)
{
    CHECK_OK(rota_run(weather_outside, arg));
    return NULL;
}

/* Is interrupted in the midst of what a handler must not do. */
static void *allocate_all_the_time(void *arg)
{
    while (outside->round <= ROUNDS)
        free(memset(malloc(100), 1, 100));
    return NULL;
}

TEST_WITH(storm_from_another_process_loses_no_last_signal_in_any_thread, .without_faults = true,
          .seconds = 60)
{
    outside =
        mmap(NULL, sizeof *outside, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(outside != MAP_FAILED);
    pid_t here = getpid(), sender = fork();
    if (sender == 0)
        send_storm(here);
    pthread_t threads[LOOPS + 1];
    pthread_barrier_init(&listening, NULL, LOOPS + 1);
    pthread_barrier_init(&done, NULL, LOOPS);
    for (int i = 0; i < LOOPS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, run_outside, outside->heard[i]), ==, 0);
    CHECK_INT(pthread_create(&threads[LOOPS], NULL, allocate_all_the_time, NULL), ==, 0);
    sigset_t all;
    sigfillset(&all); /* the kernel would always choose this thread */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_barrier_wait(&listening);
    allocations = rota__alloc_live();
    pthread_barrier_wait(&listening);
    outside->round = 1;
    for (int i = 0; i <= LOOPS; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(waitpid(sender, NULL, 0), ==, sender);
    CHECK_INT(outside->sent, >=, STORM / test_scale());
    for (int i = 0; i < KINDS; i++)
        CHECK_PTR(handler_of(kinds[i]), ==, SIG_DFL);
}

/* ---- Several listeners */

static int two_listeners(void *arg)
{
    ROTA_SCOPED(rota_signals) a = ROTA_SIGNALS_INIT, b = ROTA_SIGNALS_INIT;
    listen_for(&a, SIGUSR1);
    listen_for(&b, SIGUSR1);
    listen_for(&b, SIGUSR2);
    raise(SIGUSR1);
    CHECK_INT(rota_signals_next(&a), ==, SIGUSR1);
    CHECK_INT(rota_signals_next(&b), ==, SIGUSR1);
    rota_signals_fini(&a);
    raise(SIGUSR1);
    CHECK_INT(rota_signals_next(&b), ==, SIGUSR1);
    return 0;
}

TEST(each_listener_of_a_loop_gets_the_signal)
{
    run(two_listeners, NULL);
    CHECK_PTR(handler_of(SIGUSR1), ==, SIG_DFL);
}

static int listen_in_thread(void *arg)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    listen_for(&s, SIGUSR1);
    pthread_barrier_wait(&listening);
    CHECK_INT(rota_signals_next(&s), ==, SIGUSR1);
    pthread_barrier_wait(&done);
    return 0;
}

static void *run_listener(void *arg)
{
    CHECK_OK(rota_run(listen_in_thread, NULL));
    return NULL;
}

TEST_WITH(each_loop_that_listens_gets_the_signal, .without_faults = true)
{
    pthread_t threads[LOOPS];
    pthread_barrier_init(&listening, NULL, LOOPS + 1);
    pthread_barrier_init(&done, NULL, LOOPS + 1);
    for (int i = 0; i < LOOPS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, run_listener, NULL), ==, 0);
    pthread_barrier_wait(&listening);
    CHECK_OK(kill(getpid(), SIGUSR1));
    pthread_barrier_wait(&done);
    for (int i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    CHECK_PTR(handler_of(SIGUSR1), ==, SIG_DFL);
    CHECK_PTR(handler_of(SIGINT), ==, SIG_DFL);
}

/* Loops come and go while signals are handled. */
static atomic_int asked, running;

static int come_and_go(void *arg)
{
    for (int i = 0; i < 10; i++) {
        ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
        listen_for(&s, SIGUSR1);
        atomic_fetch_add(&asked, 1);
        CHECK_INT(rota_signals_next(&s), ==, SIGUSR1);
    }
    return 0;
}

static void *run_come_and_go(void *arg)
{
    for (int i = 0; i < 5; i++)
        CHECK_OK(rota_run(come_and_go, NULL));
    atomic_fetch_sub(&running, 1);
    return NULL;
}

TEST_WITH(loops_end_while_signals_arrive, .without_faults = true)
{
    if (ROTA__TSAN)
        SKIP("ThreadSanitizer delivers signals late, also to a handler that is not there any more");
    pthread_t threads[LOOPS];
    atomic_store(&running, LOOPS);
    signal(SIGUSR1, SIG_IGN);
    for (int i = 0; i < LOOPS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, run_come_and_go, NULL), ==, 0);
    while (atomic_load(&running)) {
        if (atomic_exchange(&asked, 0))
            kill(getpid(), SIGUSR1);
        else
            sched_yield();
    }
    for (int i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    CHECK_PTR(handler_of(SIGUSR1), ==, SIG_IGN);
}

/* ---- What signals did before */

static int calls;

static void count_call(int number)
{
    calls++;
}

static int borrow_handlers(void *arg)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    listen_for(&s, SIGUSR1);
    listen_for(&s, SIGUSR2);
    listen_for(&s, SIGALRM);
    raise(SIGUSR1);
    CHECK_INT(rota_signals_next(&s), ==, SIGUSR1);
    CHECK_INT(calls, ==, 0);
    signal(SIGALRM, count_call); /* the program sets a handler of its own */
    return 0;
}

TEST(signals_do_again_what_they_did_before)
{
    signal(SIGUSR1, count_call);
    signal(SIGUSR2, SIG_IGN);
    run(borrow_handlers, NULL);
    CHECK_PTR(handler_of(SIGUSR1), ==, count_call);
    CHECK_PTR(handler_of(SIGUSR2), ==, SIG_IGN);
    CHECK_PTR(handler_of(SIGALRM), ==, count_call);
    raise(SIGUSR1);
    CHECK_INT(calls, ==, 1);
}

static rota_signals left;

static int leave_listening(void *arg)
{
    rota_signals_add(&left, SIGUSR1);
    raise(SIGUSR1);
    return 0;
}

TEST_WITH(loop_that_ends_listens_no_more, .without_faults = true)
{
    run(leave_listening, NULL);
    CHECK_PTR(handler_of(SIGUSR1), ==, SIG_DFL);
}

static int abandon_listener(void *arg)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    rota_future never;
    rota_future_init(&never);
    listen_for(&s, SIGUSR1);
    rota_task_cancel(arg);
    raise(SIGUSR1);
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_future_wait(&never));
    }
    return 0;
}

static int leave_stuck_listener(void *arg)
{
    CHECK_OK(rota_spawn(abandon_listener, rota_task_current(), NULL));
    CHECK_INT(rota_sleep(ROTA_NEVER), ==, -ECANCELED);
    raise(SIGUSR1);
    return 0;
}

TEST_WITH(listener_of_an_abandoned_task_is_forgotten, .without_faults = true)
{
    CHECK_INT(rota_run(leave_stuck_listener, NULL), ==, 0);
    CHECK_PTR(handler_of(SIGUSR1), ==, SIG_DFL);
}

static int fork_while_listening(void *arg)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    listen_for(&s, SIGUSR1);
    pid_t pid = fork();
    if (pid == 0) {
        rota_signals_fini(&s);
        raise(SIGUSR1);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    raise(SIGUSR1);
    CHECK_INT(rota_signals_next(&s), ==, SIGUSR1);
    return 0;
}

TEST_WITH(child_of_a_fork_has_no_listeners, .without_faults = true)
{
    if (ROTA__TSAN)
        SKIP("ThreadSanitizer withholds signals from the child of a fork");
    run(fork_while_listening, NULL);
}

/* ---- rota_run and SIGINT */

static int listen_for_interrupts(void *arg)
{
    {
        ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
        listen_for(&s, SIGINT);
        raise(SIGINT);
        CHECK_INT(rota_signals_next(&s), ==, SIGINT);
        raise(SIGINT);
        CHECK_INT(rota_signals_next(&s), ==, SIGINT);
        CHECK_INT(rota_check(), ==, 0);
    }
    raise(SIGINT);
    return rota_sleep(ROTA_NEVER);
}

TEST_WITH(sigint_is_the_listeners_while_there_is_one_and_cancels_main_afterwards,
          .without_faults = true)
{
    CHECK_INT(run_clean(listen_for_interrupts, NULL, false), ==, -ECANCELED);
    CHECK_PTR(handler_of(SIGINT), ==, SIG_DFL);
}

/* ---- Stopping */

static int stop_by(void *arg)
{
    int err = 0, number = *(const int *)arg;
    CHECK_OK(rota_spawn(send_it, arg, NULL));
    ROTA_UNTIL_STOP
    {
        err = rota_sleep(ROTA_NEVER);
        CHECK_INT(rota_yield(), ==, -ECANCELED);
    }
    CHECK_INT(err, ==, -ECANCELED);
    CHECK_OK(rota_yield());
    rota_stop stop;
    CHECK_OK(rota_stop_begin(&stop));
    raise(number);
    CHECK_INT(rota_sleep(ROTA_NEVER), ==, -ECANCELED);
    CHECK_INT(rota_stop_end(&stop), ==, number);
    CHECK_INT(rota_stop_end(&stop), ==, number);
    CHECK_OK(rota_check());
    CHECK_OK(rota_stop_begin(&stop));
    CHECK_OK(rota_yield());
    CHECK_INT(rota_stop_end(&stop), ==, 0);
    return 0;
}

TEST_WITH(block_until_stop_is_cancelled_by_sigint_and_sigterm, .without_faults = true)
{
    static int numbers[] = {SIGINT, SIGTERM};
    CHECK_OK(run_clean(stop_by, &numbers[0], false));
    CHECK_OK(run_clean(stop_by, &numbers[1], false));
    CHECK_PTR(handler_of(SIGINT), ==, SIG_DFL);
    CHECK_PTR(handler_of(SIGTERM), ==, SIG_DFL);
}

static int ignore_interrupts(void *arg)
{
    int err = 0;
    ROTA_UNTIL_STOP
    {
        raise(SIGINT);
        CHECK_OK(rota_sleep(0));
        CHECK_PTR(handler_of(SIGINT), ==, SIG_IGN);
        raise(SIGTERM);
        err = rota_sleep(ROTA_NEVER);
    }
    CHECK_INT(err, ==, -ECANCELED);
    return 0;
}

TEST_WITH(block_until_stop_leaves_alone_what_is_ignored, .without_faults = true)
{
    signal(SIGINT, SIG_IGN);
    run(ignore_interrupts, NULL);
    CHECK_PTR(handler_of(SIGINT), ==, SIG_IGN);
}

static int listen_to_what_is_ignored(void *arg)
{
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    CHECK_OK(rota_signals_add(&s, SIGINT));
    ROTA_UNTIL_STOP
    {
        raise(SIGINT);
        CHECK_INT(rota_signals_next(&s), ==, SIGINT);
        CHECK_OK(rota_check());
    }
    return 0;
}

TEST_WITH(ignored_signal_reaches_its_listener_and_stops_no_block, .without_faults = true)
{
    signal(SIGINT, SIG_IGN);
    run(listen_to_what_is_ignored, NULL);
}

static int block_for_ever(void *arg)
{
    int err = 0;
    ROTA_UNTIL_STOP
    {
        err = rota_sleep(ROTA_NEVER);
    }
    return err;
}

TEST(block_until_stop_is_a_deadlock_where_both_signals_are_ignored)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    CHECK_INT(run_clean(block_for_ever, NULL, false), ==, -EDEADLK);
}

static int stop_itself(void *arg)
{
    ROTA_UNTIL_STOP
    {
        if (rota_check() == 0) /* else it could not listen */
            raise(SIGTERM);
        CHECK_INT(rota_sleep(ROTA_NEVER), ==, -ECANCELED);
    }
    ROTA_UNTIL_STOP
    break;
    return rota_check();
}

TEST(whatever_fails_a_stop_block_is_left_clean)
{
    run(stop_itself, NULL);
}

static int stop_twice(void *arg)
{
    int number = *(const int *)arg;
    ROTA_UNTIL_STOP
    {
        raise(number);
        CHECK_INT(rota_sleep(ROTA_NEVER), ==, -ECANCELED);
        raise(number);
        ROTA_SHIELD
        {
            ROTA_IGNORE(rota_sleep(ROTA_MILLISECOND));
        }
    }
    return 0;
}

TEST_DIES(second_sigint_in_a_stop_block_ends_the_process, SIGINT, "")
{
    int number = SIGINT;
    rota_run(stop_twice, &number);
}

TEST_DIES(second_sigterm_in_a_stop_block_ends_the_process, SIGTERM, "")
{
    int number = SIGTERM;
    rota_run(stop_twice, &number);
}

static int answered;

static int answer_slowly(rota_stream *s, void *arg)
{
    char byte;
    CHECK_INT(rota_stream_read(s, &byte, 1), ==, 1);
    raise(SIGTERM);
    CHECK_OK(rota_sleep(10 * ROTA_MILLISECOND));
    CHECK_OK(rota_stream_write(s, &byte, 1));
    answered++;
    return 0;
}

static int ask(void *arg)
{
    ROTA_AUTO(rota_stream) s = NULL;
    char byte = 'x';
    CHECK_OK(rota_tcp_connect("127.0.0.1", *(int *)arg, NULL, &s));
    CHECK_OK(rota_stream_write(s, &byte, 1));
    CHECK_INT(rota_stream_read(s, &byte, 1), ==, 1);
    return 0;
}

TASK_TEST(server_that_is_stopped_answers_what_it_has_begun, .without_faults = true)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    CHECK_OK(rota_tcp_listen("127.0.0.1", 0, NULL, &listener));
    int port = rota_listener_port(listener), err = 0;
    rota_task *client;
    CHECK_OK(rota_spawn(ask, &port, &client));
    ROTA_UNTIL_STOP
    {
        rota_serve_options options = {.grace = 5 * ROTA_SECOND};
        err = rota_serve(listener, answer_slowly, NULL, &options);
    }
    CHECK_INT(err, ==, -ECANCELED);
    CHECK_INT(answered, ==, 1);
    CHECK_OK(rota_join(client));
}

/* ---- Misuse */

static void *listen_elsewhere(void *arg)
{
    CHECK_INT(rota_signals_add(arg, SIGUSR1), ==, ROTA_ENOTASK);
    CHECK_INT(rota_signals_next(arg), ==, ROTA_ENOTASK);
    return NULL;
}

static int misuse(void *arg)
{
    static const int refused[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL,
                                  SIGTRAP, SIGSYS,  0,       -1,     65,     32};
    ROTA_SCOPED(rota_signals) s = ROTA_SIGNALS_INIT;
    CHECK_INT(rota_signals_next(&s), ==, -EINVAL);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        CHECK_INT(rota_signals_add(&s, refused[i]), ==, -EINVAL);
    CHECK_INT(rota_signal_wait(refused, 1), ==, -EINVAL);
    CHECK_INT(rota_signal_wait(NULL, 0), ==, -EINVAL);
    CHECK_INT(rota_signals_next(&s), ==, -EINVAL);
    listen_for(&s, SIGUSR1);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, listen_elsewhere, &s), ==, 0);
    pthread_join(thread, NULL);
    return 0;
}

TEST_WITH(misuse_is_refused, .without_faults = true)
{
    run(misuse, NULL);
    rota_signals s = ROTA_SIGNALS_INIT;
    rota_stop stop;
    CHECK_INT(rota_signals_add(&s, SIGUSR1), ==, ROTA_ENOTASK);
    CHECK_INT(rota_stop_begin(&stop), ==, ROTA_ENOTASK);
    CHECK_INT(rota_stop_end(&stop), ==, 0);
    rota_signals_fini(&s);
}
