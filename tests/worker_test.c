/* Workers: threads and processes. What processes tell their test goes through shared memory. */

#include "coro/coro.h"

#include "harness.h"
#include "worker/worker.h"

#include <rota.h>
#include <rota/test.h>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

#define WORKERS 3

/* In memory that worker processes share. These have one thread each, and are told to stop by
 * signals, which ThreadSanitizer keeps until the program calls something that it intercepts; a loop
 * on io_uring need not do that for long. */
static void *shared(size_t size)
{
    if (ROTA__TSAN)
        SKIP("ThreadSanitizer delivers signals late");
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static int forever(void *arg)
{
    return rota_sleep(1000 * 60 * ROTA_MINUTE);
}

/* ---- Threads: results */

struct roll {
    atomic_int calls[WORKERS];
    atomic_uint count;
    pthread_t threads[WORKERS];
};

static int answer_the_roll(void *arg)
{
    struct roll *roll = arg;
    int index = rota_worker_index();
    roll->calls[index]++;
    roll->count = rota_worker_count();
    roll->threads[index] = pthread_self();
    return rota_yield();
}

TEST(each_worker_runs_once_on_a_thread_of_its_own)
{
    long live = rota_test_allocations();
    int fds = test_open_fds();
    struct roll roll = {0};
    CHECK_INT(rota_run_workers(WORKERS, answer_the_roll, &roll), ==, 0);
    CHECK_INT(roll.count, ==, WORKERS);
    for (int i = 0; i < WORKERS; i++) {
        CHECK_INT(roll.calls[i], ==, 1);
        CHECK(!pthread_equal(roll.threads[i], pthread_self()));
        CHECK(!pthread_equal(roll.threads[i], roll.threads[(i + 1) % WORKERS]));
    }
    CHECK_INT(rota_test_allocations(), ==, live);
    CHECK_INT(test_open_fds(), ==, fds);
}

TEST(elsewhere_there_are_no_workers)
{
    CHECK_INT(rota_worker_index(), ==, -1);
    CHECK_INT(rota_worker_count(), ==, 0);
    CHECK_PTR(rota_worker_loop(0), ==, NULL);
}

static int count_processors(void *arg)
{
    *(atomic_uint *)arg = rota_worker_count();
    return 0;
}

TEST_WITH(as_many_workers_as_processors, .without_faults = true)
{
    cpu_set_t set;
    atomic_uint count = 0;
    CHECK_OK(sched_getaffinity(0, sizeof set, &set));
    CHECK_INT(rota_run_workers(0, count_processors, &count), ==, 0);
    CHECK_INT(count, ==, CPU_COUNT(&set));
    CHECK_INT(rota_run_workers(4097, count_processors, &count), ==, -EINVAL);
}

static int check_pinned(void *arg)
{
    cpu_set_t set;
    CHECK_OK(sched_getaffinity(0, sizeof set, &set));
    CHECK_INT(CPU_COUNT(&set), ==, 1);
    return 0;
}

TEST_WITH(workers_may_be_pinned, .without_faults = true)
{
    cpu_set_t before, after;
    CHECK_OK(sched_getaffinity(0, sizeof before, &before));
    rota_workers_options options = {.pin = true};
    CHECK_INT(rota_run_workers_with(WORKERS, check_pinned, NULL, &options), ==, 0);
    CHECK_OK(sched_getaffinity(0, sizeof after, &after));
    CHECK(CPU_EQUAL(&before, &after));
}

static int second_fails(void *arg)
{
    if (rota_worker_index() == 1)
        return rota_error_set(-EIO, "worker 1: disk on fire");
    int err = forever(NULL);
    CHECK_INT(err, ==, -ECANCELED);
    return err;
}

TEST_WITH(first_failure_cancels_the_others, .without_faults = true)
{
    CHECK_INT(rota_run_workers(WORKERS, second_fails, NULL), ==, -EIO);
    CHECK_STR(rota_error(-EIO), "worker 1: disk on fire");
}

static int interrupt_or_sleep(void *arg)
{
    if (rota_worker_index() == 1)
        raise(SIGINT);
    return forever(NULL);
}

/* rule 3 */
TEST_WITH(sigint_cancels_all_mains, .without_faults = true)
{
    CHECK_INT(rota_run_workers(WORKERS, interrupt_or_sleep, NULL), ==, -ECANCELED);
}

static int stop_gracefully(void *arg)
{
    if (rota_worker_index() == 1)
        rota_task_cancel(rota_task_current());
    return forever(NULL) == -ECANCELED ? 0 : -EIO;
}

TEST_WITH(cancelling_one_main_stops_all, .without_faults = true)
{
    CHECK_INT(rota_run_workers(WORKERS, stop_gracefully, NULL), ==, 0);
}

static int first_is_stuck(void *arg)
{
    return rota_worker_index() == 0 ? rota_sleep(ROTA_NEVER) : forever(NULL);
}

/* rule 15 */
TEST_WITH(a_worker_in_deadlock_ends_all, .without_faults = true)
{
    CHECK_INT(rota_run_workers(WORKERS, first_is_stuck, NULL), ==, -EDEADLK);
}

/* ---- Threads: called by a task */

static int run_from_a_task(void *arg)
{
    CHECK_INT(rota_worker_index(), ==, -1);
    return rota_run_workers(WORKERS, answer_the_roll, arg);
}

TEST(a_task_may_run_workers)
{
    struct roll roll = {0};
    CHECK_OK(rota_run(run_from_a_task, &roll));
    for (int i = 0; i < WORKERS; i++)
        CHECK_INT(roll.calls[i], ==, 1);
}

static int run_for_a_moment(void *arg)
{
    int err = 0;
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        err = rota_run_workers(WORKERS, forever, NULL);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    return 0;
}

TEST_WITH(a_deadline_of_the_caller_ends_workers, .without_faults = true)
{
    CHECK_OK(rota_run(run_for_a_moment, NULL));
}

static int run_workers_forever(void *arg)
{
    return rota_run_workers(WORKERS, forever, NULL);
}

static int cancel_at_every_moment(void *arg)
{
    for (int yields = 0; yields < 6; yields++) {
        rota_task *task = NULL;
        CHECK_OK(rota_spawn(run_workers_forever, NULL, &task));
        for (int i = 0; i < yields; i++)
            ROTA_IGNORE(rota_yield());
        rota_task_cancel(task);
        CHECK_INT(rota_join(task), ==, -ECANCELED);
    }
    return 0;
}

TEST_WITH(cancelling_the_caller_cancels_workers, .without_faults = true)
{
    CHECK_OK(rota_run(cancel_at_every_moment, NULL));
}

static void run_in_a_callback(rota_handle *handle, void *arg)
{
    CHECK_INT(rota_run_workers(1, forever, NULL), ==, ROTA_ENOTASK);
}

TEST(callbacks_cannot_run_workers)
{
    rota_loop *loop = NULL;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_loop_call_soon(loop, &handle, run_in_a_callback, NULL);
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
}

/* ---- Threads: together */

struct relay {
    rota_sender *tx[WORKERS];
    rota_receiver *rx[WORKERS];
};

/* Each adds one and passes the number on, round and round. */
static int pass_on(void *arg)
{
    struct relay *relay = arg;
    int index = rota_worker_index(), n = 0, err = 0;
    ROTA_AUTO(rota_receiver) rx = relay->rx[index];
    ROTA_AUTO(rota_sender) tx = relay->tx[(index + 1) % WORKERS];
    if (index == 0)
        err = rota_channel_send(tx, &n);
    while (err == 0 && (err = rota_channel_receive(rx, &n)) == 0 && n < 300) {
        n++;
        err = rota_channel_send(tx, &n);
    }
    return err == ROTA_ECLOSED ? 0 : err;
}

TEST_WITH(workers_talk_through_channels, .without_faults = true)
{
    struct relay relay;
    for (int i = 0; i < WORKERS; i++)
        CHECK_OK(rota_channel_new(1, sizeof(int), &relay.tx[i], &relay.rx[i]));
    CHECK_INT(rota_run_workers(WORKERS, pass_on, &relay), ==, 0);
}

static int report_index(void *arg)
{
    return rota_worker_index();
}

static int ask_the_next(void *arg)
{
    unsigned next = ((unsigned)rota_worker_index() + 1) % WORKERS;
    rota_loop *loop;
    while (!(loop = rota_worker_loop(next)))
        CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    int result = rota_run_on(loop, report_index, NULL);
    CHECK(result == (int)next || result == ROTA_ECLOSED); /* it may have ended */
    CHECK_PTR(rota_worker_loop(WORKERS), ==, NULL);
    atomic_fetch_add((atomic_int *)arg, result == (int)next);
    while (*(atomic_int *)arg < WORKERS)
        CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    return 0;
}

TEST_WITH(workers_run_functions_on_each_other, .without_faults = true)
{
    atomic_int answers = 0;
    CHECK_INT(rota_run_workers(WORKERS, ask_the_next, &answers), ==, 0);
}

struct kept {
    rota_loop *loop[WORKERS];
    atomic_int there, asked;
};

static int keep_loops(void *arg)
{
    struct kept *kept = arg;
    kept->loop[rota_worker_index()] = rota_worker_loop((unsigned)rota_worker_index());
    kept->there++;
    while (kept->there < WORKERS)
        CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    if (rota_worker_index() != 0)
        return 0;
    while (rota_worker_loop(1)) /* until it has ended */
        CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    CHECK_INT(rota_run_on(kept->loop[1], report_index, NULL), ==, ROTA_ECLOSED);
    return 0;
}

TEST_WITH(a_workers_loop_stays_closed_after_its_end, .without_faults = true)
{
    struct kept kept = {.there = 0};
    CHECK_INT(rota_run_workers(WORKERS, keep_loops, &kept), ==, 0);
    for (int i = 0; i < WORKERS; i++)
        CHECK_INT(rota_run_on(kept.loop[i], report_index, NULL), ==, ROTA_ECLOSED);
}

/* ---- One port */

struct ports {
    atomic_int port[WORKERS][2];
    atomic_int arrived;
};

static int listen_twice(void *arg)
{
    struct ports *ports = arg;
    int index = rota_worker_index();
    ROTA_AUTO(rota_listener) first = NULL;
    ROTA_AUTO(rota_listener) second = NULL;
    int err = rota_worker_listen("127.0.0.1", 0, NULL, &first);
    if (err == 0)
        err = rota_worker_listen("127.0.0.1", 0, NULL, &second);
    if (err < 0)
        return err;
    ports->port[index][0] = rota_listener_port(first);
    ports->port[index][1] = rota_listener_port(second);
    ports->arrived++;
    while (ports->arrived < WORKERS && err == 0)
        err = rota_sleep(ROTA_MILLISECOND);
    return err;
}

TEST(workers_share_a_free_port)
{
    struct ports ports = {0};
    int fds = test_open_fds();
    CHECK_INT(rota_run_workers(WORKERS, listen_twice, &ports), ==, 0);
    for (int i = 0; i < WORKERS; i++) {
        for (int k = 0; k < 2; k++)
            CHECK_INT(ports.port[i][k], ==, ports.port[0][k]);
    }
    CHECK_INT(ports.port[0][0], !=, ports.port[0][1]);
    CHECK_INT(test_open_fds(), ==, fds);
}

static int listen_alone(void *arg)
{
    ROTA_AUTO(rota_listener) l = NULL;
    ROTA_AUTO(rota_listener) again = NULL;
    CHECK_OK(rota_worker_listen("127.0.0.1", 0, NULL, &l));
    CHECK_INT(rota_worker_listen("127.0.0.1", rota_listener_port(l), NULL, &again), ==,
              -EADDRINUSE);
    return 0;
}

TEST(without_workers_a_port_is_not_shared)
{
    CHECK_OK(rota_run(listen_alone, NULL));
}

struct echoes {
    atomic_int port;
    atomic_int served[WORKERS];
    atomic_int left;
};

static int echo_index(rota_stream *s, void *arg)
{
    struct echoes *e = arg;
    char byte;
    ssize_t n = rota_stream_read(s, &byte, 1);
    if (n <= 0)
        return (int)n;
    e->served[rota_worker_index()]++;
    byte = (char)('0' + rota_worker_index());
    int err = rota_stream_write(s, &byte, 1);
    if (--e->left == 0)
        raise(SIGINT);
    return err;
}

static int serve_echoes(void *arg)
{
    struct echoes *e = arg;
    ROTA_AUTO(rota_listener) l = NULL;
    int err = rota_worker_listen("127.0.0.1", 0, NULL, &l);
    if (err < 0)
        return err;
    e->port = rota_listener_port(l);
    err = rota_serve(l, echo_index, e, NULL);
    return err == -ECANCELED ? 0 : err;
}

static int ask_echoes(void *arg)
{
    struct echoes *e = arg;
    for (int i = 0; i < 60; i++) {
        ROTA_AUTO(rota_stream) s = NULL;
        char byte = 'x';
        CHECK_OK(rota_tcp_connect("127.0.0.1", e->port, NULL, &s));
        CHECK_OK(rota_stream_write(s, &byte, 1));
        CHECK_INT(rota_stream_read(s, &byte, 1), ==, 1);
        CHECK(byte >= '0' && byte < '0' + WORKERS);
    }
    return 0;
}

static void *ask_from_a_thread(void *arg)
{
    struct echoes *e = arg;
    while (e->port == 0)
        sched_yield();
    CHECK_OK(rota_run(ask_echoes, e));
    return NULL;
}

TEST_WITH(workers_serve_one_port, .without_faults = true)
{
    struct echoes e = {.left = 60};
    pthread_t client;
    CHECK_INT(pthread_create(&client, NULL, ask_from_a_thread, &e), ==, 0);
    CHECK_INT(rota_run_workers(WORKERS, serve_echoes, &e), ==, 0);
    pthread_join(client, NULL);
    int sum = 0;
    for (int i = 0; i < WORKERS; i++)
        sum += e.served[i];
    CHECK_INT(sum, ==, 60);
}

/* ---- Processes: results and deaths */

struct births {
    atomic_int count[WORKERS];
    atomic_int pid[WORKERS];
    atomic_int fds[WORKERS][2];
    atomic_int all, stage;
};

/* Returns how often this worker was born before. */
static int be_born(struct births *births)
{
    int index = rota_worker_index();
    births->pid[index] = getpid();
    births->all++;
    return births->count[index]++;
}

static int answer_and_return(void *arg)
{
    be_born(arg);
    return rota_worker_count() == WORKERS ? rota_yield() : -EPROTO;
}

TEST(each_worker_is_a_process)
{
    long live = rota_test_allocations();
    int fds = test_open_fds();
    struct births *births = shared(sizeof *births);
    rota_worker_processes_options options = {.failures = 1, .healthy = ROTA_MINUTE};
    CHECK_INT(rota_run_worker_processes_with(WORKERS, answer_and_return, births, &options), ==, 0);
    for (int i = 0; i < WORKERS; i++) {
        CHECK_INT(births->count[i], ==, 1);
        CHECK_INT(births->pid[i], !=, getpid());
        CHECK_INT(births->pid[i], !=, births->pid[(i + 1) % WORKERS]);
    }
    CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1); /* all are reaped */
    CHECK_INT(rota_test_allocations(), ==, live);
    CHECK_INT(test_open_fds(), ==, fds);
}

/* The first of each dies as `stage` says, the second returns. */
static int die_once(void *arg)
{
    struct births *births = arg;
    int index = rota_worker_index(), before = be_born(births);
    if (before < 2)
        births->fds[index][before] = test_open_fds();
    if (before > 0)
        return 0;
    switch ((births->stage + index) % 4) {
    case 0:
        raise(SIGKILL);
        break;
    case 1:
        abort();
    case 2:
        _exit(3);
    default:
        kill(getpid(), SIGTERM); /* not by the supervisor */
    }
    return forever(NULL) == -ECANCELED ? 0 : -EIO;
}

static struct {
    char all[8000];
    int count;
} reports;

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    size_t len = strlen(reports.all);
    snprintf(reports.all + len, sizeof reports.all - len, "%s\n", message);
    reports.count++;
}

TEST_WITH(a_worker_that_dies_is_replaced, .without_faults = true)
{
    rota_log_set(keep_report, NULL);
    for (int stage = 0; stage < 4; stage += 2) {
        struct births *births = shared(sizeof *births);
        births->stage = stage;
        rota_worker_processes_options options = {.healthy = 1};
        CHECK_INT(rota_run_worker_processes_with(WORKERS, die_once, births, &options), ==, 0);
        for (int i = 0; i < WORKERS; i++) {
            CHECK_INT(births->count[i], ==, 2);
            CHECK_INT(births->fds[i][0], ==, births->fds[i][1]); /* nothing piles up */
            CHECK_INT(births->fds[i][0], ==, births->fds[0][0]);
        }
    }
    CHECK(strstr(reports.all, "was ended by signal 9"));
    CHECK(strstr(reports.all, "exited with status 3"));
}

static int port_is_taken(void *arg)
{
    be_born(arg);
    if (rota_worker_index() != 1)
        return forever(NULL);
    return rota_error_set(-EADDRINUSE, "listen on \x1b[31m:80: in the way");
}

TEST_WITH(a_worker_that_always_fails_ends_all_with_its_error, .without_faults = true)
{
    rota_log_set(keep_report, NULL);
    struct births *births = shared(sizeof *births);
    rota_worker_processes_options options = {.failures = 2, .healthy = ROTA_MINUTE};
    rota_time before = rota_now();
    CHECK_INT(rota_run_worker_processes_with(WORKERS, port_is_taken, births, &options), ==,
              -EADDRINUSE);
    CHECK_INT(births->count[0], ==, 1);
    CHECK_INT(births->count[1], ==, 2);
    CHECK_INT(rota_now() - before, >=, 100 * ROTA_MILLISECOND); /* it was not in a hurry */
    CHECK(strstr(reports.all, "giving up"));
    CHECK(strstr(reports.all, ") failed: listen on \\x1b[31m:80: in the way\n"));
    CHECK_STR(rota_error(-EADDRINUSE), "listen on \\x1b[31m:80: in the way");
}

static int fail_without_words(void *arg)
{
    return -EADDRINUSE;
}

TEST_WITH(a_worker_that_fails_without_words_has_those_of_its_code, .without_faults = true)
{
    rota_log_set(keep_report, NULL);
    rota_worker_processes_options options = {.failures = 1, .healthy = ROTA_MINUTE};
    CHECK_INT(rota_run_worker_processes_with(1, fail_without_words, NULL, &options), ==,
              -EADDRINUSE);
    CHECK_STR(rota_error(-EADDRINUSE), rota_strerror(-EADDRINUSE));
    CHECK(strstr(reports.all, ") failed: Address already in use\n"));
}

static int write_anything(void *arg)
{
    struct rota__worker_report *report = rota__worker_here->report;
    memset(report->words, 'x', sizeof report->words);
    memcpy(report->words, "\x1b[31m\n\xff", 7);
    atomic_store(&report->result, -EADDRINUSE);
    _exit(1);
}

TEST_WITH(what_a_worker_has_written_is_escaped, .without_faults = true)
{
    rota_log_set(keep_report, NULL);
    rota_worker_processes_options options = {.failures = 1, .healthy = ROTA_MINUTE};
    CHECK_INT(rota_run_worker_processes_with(1, write_anything, NULL, &options), ==, -EADDRINUSE);
    CHECK(strstr(reports.all, ") failed: \\x1b[31m\\x0a\\xffxxx"));
    CHECK(!strpbrk(reports.all, "\x1b\xff"));
    CHECK(strstr(rota_error(-EADDRINUSE), "\\x1b[31m\\x0a\\xffxxx"));
}

static int crash(void *arg)
{
    abort();
}

TEST_WITH(a_worker_that_always_crashes_has_a_name, .without_faults = true)
{
    rota_worker_processes_options options = {.failures = 1, .healthy = ROTA_MINUTE};
    CHECK_INT(rota_run_worker_processes_with(1, crash, NULL, &options), ==, ROTA_ECRASHED);
    CHECK(strstr(rota_error(ROTA_ECRASHED), "worker 0 (process "));
    CHECK(strstr(rota_error(ROTA_ECRASHED), ") was ended by signal 6 ("));
}

static int report_repeatedly(void *arg)
{
    (void)arg;
    for (int i = 0; i < 12; i++)
        rota_log(ROTA_LOG_WARNING, "disk");
    return 0;
}

TEST_WITH(a_worker_tells_at_its_end_what_it_held_back, .without_faults = true)
{
    char text[2000];
    CHECK_OK(rota_run_worker_processes(1, report_repeatedly, NULL));
    ssize_t n = pread(STDERR_FILENO, text, sizeof text - 1, 0);
    CHECK_OK(n);
    text[n] = '\0';
    CHECK(strstr(text, "rota: 2 more reports like this: disk\n"));
}

static int run_processes_in_a_loop(void *arg)
{
    return rota_run_worker_processes(1, crash, NULL);
}

TEST(a_task_cannot_supervise)
{
    CHECK_INT(rota_run(run_processes_in_a_loop, NULL), ==, -EBUSY);
    CHECK_INT(rota_run_worker_processes(4097, crash, NULL), ==, -EINVAL);
}

/* ---- Processes: stopping */

static int stop_the_supervisor(void *arg)
{
    struct births *births = arg;
    be_born(births);
    while (births->all < WORKERS) {
        int err = rota_sleep(ROTA_MILLISECOND);
        if (err < 0)
            return err;
    }
    raise(SIGINT); /* does nothing here */
    if (rota_worker_index() == 0)
        kill(getppid(), births->stage ? births->stage : SIGTERM);
    return forever(NULL);
}

TEST_WITH(a_stop_is_passed_on, .without_faults = true)
{
    static const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        struct births *births = shared(sizeof *births);
        births->stage = signals[i];
        CHECK_INT(rota_run_worker_processes(WORKERS, stop_the_supervisor, births), ==, -ECANCELED);
        CHECK_INT(births->all, ==, WORKERS);
    }
}

static int stop_with_success(void *arg)
{
    return stop_the_supervisor(arg) == -ECANCELED ? 0 : -EIO;
}

TEST_WITH(workers_that_stop_gracefully_are_a_success, .without_faults = true)
{
    struct births *births = shared(sizeof *births);
    CHECK_INT(rota_run_worker_processes(WORKERS, stop_with_success, births), ==, 0);
}

static int do_not_stop(void *arg)
{
    int err = stop_the_supervisor(arg);
    if (rota_worker_index() == 0)
        kill(getppid(), ((struct births *)arg)->stage);
    ROTA_SHIELD
    {
        if (rota_worker_index() < 2)
            forever(NULL);
    }
    return err;
}

TEST_WITH(who_does_not_stop_in_time_is_killed, .without_faults = true)
{
    rota_log_set(keep_report, NULL);
    struct births *births = shared(sizeof *births);
    rota_worker_processes_options options = {.grace = 20 * ROTA_MILLISECOND};
    CHECK_INT(rota_run_worker_processes_with(WORKERS, do_not_stop, births, &options), ==,
              -ETIMEDOUT);
    CHECK(strstr(reports.all, "did not stop in time"));
    CHECK(strstr(rota_error(-ETIMEDOUT), "did not stop in time and was killed"));
}

TEST_WITH(a_second_stop_leaves_no_grace, .without_faults = true)
{
    struct births *births = shared(sizeof *births);
    births->stage = SIGTERM;
    rota_worker_processes_options options = {.grace = ROTA_NEVER};
    CHECK_INT(rota_run_worker_processes_with(WORKERS, do_not_stop, births, &options), ==,
              -ETIMEDOUT);
}

TEST_WITH(signals_are_given_back, .without_faults = true)
{
    sigset_t before, after;
    signal(SIGINT, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    sigprocmask(SIG_SETMASK, NULL, &before);
    struct births *births = shared(sizeof *births);
    CHECK_INT(rota_run_worker_processes(WORKERS, answer_and_return, births), ==, 0);
    sigprocmask(SIG_SETMASK, NULL, &after);
    for (int number = 1; number < SIGRTMAX; number++)
        CHECK_INT(sigismember(&before, number), ==, sigismember(&after, number));
    struct sigaction now;
    sigaction(SIGCHLD, NULL, &now);
    CHECK(now.sa_handler == SIG_IGN);
}

/* The pipe's other end is in the workers: it ends when they have. */
static int outlive_the_supervisor(void *arg)
{
    struct births *births = arg;
    be_born(births);
    return forever(NULL);
}

TEST_WITH(workers_end_with_their_supervisor, .without_faults = true)
{
    int ends[2];
    struct births *births = shared(sizeof *births);
    CHECK_OK(pipe(ends));
    pid_t supervisor = fork();
    if (supervisor == 0) {
        rota_run_worker_processes(WORKERS, outlive_the_supervisor, births);
        _exit(0);
    }
    close(ends[1]);
    while (births->all < WORKERS)
        sched_yield();
    kill(supervisor, SIGKILL);
    char byte;
    CHECK_INT(read(ends[0], &byte, 1), ==, 0);
    CHECK_INT(waitpid(supervisor, NULL, 0), ==, supervisor);
    close(ends[0]);
}

/* As a terminal does, which sends Ctrl-C to all: the workers hear it twice. */
static int stop_in_a_block(void *arg)
{
    struct births *births = arg;
    int index = rota_worker_index(), err = 0;
    ROTA_UNTIL_STOP
    {
        be_born(births);
        while (births->all < WORKERS && err == 0)
            err = rota_sleep(ROTA_MILLISECOND);
        if (index == 0)
            kill(0, SIGINT);
        err = forever(NULL);
        ROTA_SHIELD
        {
            ROTA_IGNORE(
                rota_sleep(5 * ROTA_MILLISECOND)); /* the supervisor's word comes meanwhile */
        }
    }
    births->stage += err == -ECANCELED;
    return 0;
}

TEST_WITH(a_stop_block_in_a_worker_is_stopped_once_by_ctrl_c, .without_faults = true)
{
    struct births *births = shared(sizeof *births);
    CHECK_INT(rota_run_worker_processes(WORKERS, stop_in_a_block, births), ==, 0);
    CHECK_INT(births->all, ==, WORKERS);
    CHECK_INT(births->stage, ==, WORKERS);
}

static int stop_threads_in_a_block(void *arg)
{
    atomic_int *arrived = arg;
    int err = 0;
    ROTA_UNTIL_STOP
    {
        if (++*arrived == WORKERS)
            kill(getpid(), SIGTERM);
        err = forever(NULL);
    }
    CHECK_OK(rota_check());
    return err == -ECANCELED ? 0 : -EIO;
}

TEST_WITH(a_stop_block_in_each_worker_thread_is_left_by_one_signal, .without_faults = true)
{
    atomic_int arrived = 0;
    CHECK_INT(rota_run_workers(WORKERS, stop_threads_in_a_block, &arrived), ==, 0);
}

static int count_and_sleep(void *arg)
{
    if (++*(atomic_int *)arg == WORKERS)
        kill(getpid(), SIGTERM);
    return forever(NULL);
}

static int run_until_stop(void *arg)
{
    int err = 0;
    ROTA_UNTIL_STOP
    {
        err = rota_run_workers(WORKERS, count_and_sleep, arg);
    }
    CHECK_OK(rota_check());
    return err;
}

TEST_WITH(a_stop_block_around_worker_threads_cancels_them, .without_faults = true)
{
    atomic_int arrived = 0;
    CHECK_INT(rota_run(run_until_stop, &arrived), ==, -ECANCELED);
}

/* ---- Processes: renewal, and load */

static int listen_until_renewed(void *arg)
{
    struct births *births = arg;
    ROTA_AUTO(rota_listener) l = NULL;
    int err = rota_worker_listen("127.0.0.1", 0, NULL, &l);
    if (err < 0)
        return err;
    be_born(births);
    int expected = 0;
    if (births->all == WORKERS && atomic_compare_exchange_strong(&births->stage, &expected, 1))
        kill(getppid(), SIGHUP);
    if (births->all == 2 * WORKERS)
        kill(getppid(), SIGTERM);
    err = forever(NULL);
    return err == -ECANCELED ? 0 : err;
}

TEST_WITH(sighup_replaces_the_workers_one_by_one, .without_faults = true)
{
    signal(SIGHUP, SIG_DFL); /* nohup(1) has it ignored, and then it stays so */
    struct births *births = shared(sizeof *births);
    rota_worker_processes_options options = {.healthy = 60 * ROTA_MINUTE};
    CHECK_INT(rota_run_worker_processes_with(WORKERS, listen_until_renewed, births, &options), ==,
              0);
    for (int i = 0; i < WORKERS; i++)
        CHECK_INT(births->count[i], ==, 2);
}

#define REQUESTS 400
#define KILLS 8
#define CLIENTS 4

/* Goes there and back, and is more than one segment. */
struct message {
    int request;
    pid_t worker; /* of the reply */
    char body[100 * 1000];
};

static void message_fill(struct message *m, int request)
{
    m->request = request;
    memset(m->body, 'a' + request % 26, sizeof m->body);
}

static bool message_is_whole(const struct message *m)
{
    for (size_t i = 0; i < sizeof m->body; i++) {
        if (m->body[i] != 'a' + m->request % 26)
            return false;
    }
    return true;
}

/* The durable state of a service: what is acknowledged is noted here before. */
struct ledger {
    atomic_int port;
    atomic_bool noted[REQUESTS];
    atomic_int births;
    atomic_int pid[WORKERS]; /* of those that listen */
};

static int note_requests(rota_stream *s, void *arg)
{
    struct ledger *ledger = arg;
    struct message *m = malloc(sizeof *m);
    CHECK(m);
    while (rota_stream_read_exact(s, m, sizeof *m) >= 0) {
        CHECK(message_is_whole(m));
        ledger->noted[m->request] = true;
        m->worker = getpid();
        if (rota_stream_write(s, m, sizeof *m) < 0)
            break;
    }
    free(m);
    return 0;
}

static int serve_the_ledger(void *arg)
{
    struct ledger *ledger = arg;
    ROTA_AUTO(rota_listener) l = NULL;
    int err = rota_worker_listen("127.0.0.1", 0, NULL, &l);
    if (err < 0)
        return err;
    ledger->port = rota_listener_port(l);
    ledger->births++;
    ledger->pid[rota_worker_index()] = getpid();
    err = rota_serve(l, note_requests, ledger, NULL);
    return err == -ECANCELED ? 0 : err;
}

struct load {
    struct ledger *ledger;
    int next, answered;
};

static void ask_until_answered(const struct ledger *ledger, rota_stream **s, int request)
{
    static struct message messages[CLIENTS];
    struct message *m = &messages[request % CLIENTS];
    for (;;) {
        int err = *s ? 0 : rota_tcp_connect("127.0.0.1", ledger->port, NULL, s);
        message_fill(m, request);
        if (err == 0)
            err = rota_stream_write(*s, m, sizeof *m);
        if (err == 0)
            err = rota_stream_read_exact(*s, m, sizeof *m);
        if (err >= 0)
            break;
        *s = rota_stream_free(*s); /* reset, refused: it tries again */
        CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    }
    CHECK_INT(m->request, ==, request);
    CHECK_INT(m->worker, !=, 0);
    CHECK(message_is_whole(m));
    CHECK(ledger->noted[request]); /* nothing acknowledged is lost */
}

static int ask_the_ledger(void *arg)
{
    struct load *load = arg;
    ROTA_AUTO(rota_stream) s = NULL;
    int first = load->next++;
    for (int request = first; request < REQUESTS; request += CLIENTS) {
        ask_until_answered(load->ledger, &s, request);
        load->answered++;
        if (request % 5 == 0)
            s = rota_stream_free(s);
    }
    return 0;
}

/* Each is killed but once: so many deaths are so many births. */
static int kill_at_random(void *arg)
{
    struct load *load = arg;
    int killed[WORKERS] = {0};
    unsigned random = 1;
    for (int kills = 0; kills < KILLS;) {
        int worker = rand_r(&random) % WORKERS, pid = load->ledger->pid[worker];
        CHECK_OK(rota_sleep(rand_r(&random) % 1000 * ROTA_MICROSECOND));
        if (pid == killed[worker] || load->answered < kills * REQUESTS / (KILLS + 2))
            continue;
        CHECK_OK(kill(pid, SIGKILL));
        killed[worker] = pid;
        kills++;
    }
    return 0;
}

static int load_and_kill(void *arg)
{
    struct load load = {.ledger = arg};
    ROTA_GROUP(g);
    for (int i = 0; i < CLIENTS; i++)
        rota_group_spawn(&g, ask_the_ledger, &load);
    rota_group_spawn(&g, kill_at_random, &load);
    CHECK_OK(rota_group_wait(&g));
    CHECK_INT(load.answered, ==, REQUESTS);
    while (load.ledger->births < WORKERS + KILLS) /* the new ones listen, too */
        CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    return 0;
}

TEST_WITH(workers_killed_under_load_lose_nothing_acknowledged, .without_faults = true,
          .seconds = 60)
{
    int fds = test_open_fds();
    struct ledger *ledger = shared(sizeof *ledger);
    pid_t supervisor = getpid(), load = fork();
    if (load == 0) {
        while (ledger->port == 0)
            sched_yield();
        int err = rota_run(load_and_kill, ledger);
        kill(supervisor, SIGTERM);
        _exit(err < 0);
    }
    rota_worker_processes_options options = {.healthy = 1};
    CHECK_INT(rota_run_worker_processes_with(WORKERS, serve_the_ledger, ledger, &options), ==, 0);
    int status;
    CHECK_INT(waitpid(load, &status, 0), ==, load);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1); /* none is left */
    CHECK_INT(test_open_fds(), ==, fds);
    for (int i = 0; i < WORKERS; i++)
        CHECK_INT(kill(ledger->pid[i], 0), ==, -1);
}
