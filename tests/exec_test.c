/* Executors. Jobs are held up and let go by semaphores, so nothing here depends on time. */

#include "base/fault.h"
#include "clean_run.h"
#include "exec/exec.h"

#include <rota.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

static rota_executor *threads(unsigned n, size_t queue)
{
    rota_executor *pool;
    rota_thread_pool_options options = {.threads = n, .queue = queue};
    CHECK_OK(rota_thread_pool_new(&options, &pool));
    return pool;
}

static rota_executor *workers(unsigned n)
{
    rota_executor *pool;
    rota_process_pool_options options = {.workers = n};
    CHECK_OK(rota_process_pool_new(&options, &pool));
    return pool;
}

static int seven(void *arg)
{
    return 7;
}

static int increment(void *arg)
{
    return ++*(int *)arg;
}

/* A job that says when it has begun and returns when it is let go. */
struct gate {
    sem_t begun, go;
    int result;
    bool returned;
};

static void gate_init(struct gate *gate, int result)
{
    sem_init(&gate->begun, 0, 0);
    sem_init(&gate->go, 0, 0);
    gate->result = result;
    gate->returned = false;
}

static void sem_wait_surely(sem_t *sem)
{
    while (sem_wait(sem) < 0)
        continue;
}

static int pass_gate(void *arg)
{
    struct gate *gate = arg;
    sem_post(&gate->begun);
    sem_wait_surely(&gate->go);
    gate->returned = true;
    return gate->result;
}

static int open_gate(void *arg)
{
    struct gate *gate = arg;
    for (int i = 0; i < 10; i++)
        ROTA_IGNORE(rota_yield());
    sem_post(&gate->go);
    return 0;
}

static int threads_now(void)
{
    char line[256];
    int n = 0;
    FILE *f = fopen("/proc/self/status", "r");
    CHECK(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    fclose(f);
    return n;
}

/* The kernel counts a thread for a moment longer than pthread_join waits. */
static void wait_for_threads(int n)
{
    while (threads_now() != n)
        sched_yield();
}

/* ---- The snippet of the header */

struct hash {
    const char *path;
    unsigned char digest[32];
};

static int hash(void *arg)
{
    struct hash *h = arg;
    int fd = open(h->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    unsigned char byte;
    for (size_t i = 0; read(fd, &byte, 1) == 1; i++)
        h->digest[i % sizeof h->digest] ^= (unsigned char)(byte + i);
    close(fd);
    return 0;
}

static int one(void *arg)
{
    struct hash h = {.path = "/proc/self/cmdline"};
    return rota_to_thread(hash, &h);
}

static int two_at_once(void *arg)
{
    struct hash a = {.path = "/proc/self/cmdline"}, b = {.path = "/nonexistent"};
    ROTA_SCOPED(rota_job) first = ROTA_JOB_INIT, second = ROTA_JOB_INIT;
    int err = rota_executor_submit(NULL, hash, &a, &first);
    if (err == 0)
        err = rota_executor_submit(NULL, hash, &b, &second);
    if (err == 0)
        err = rota_job_wait(&first);
    return err < 0 ? err : rota_job_wait(&second);
}

TEST(snippet_of_the_header_works)
{
    run(one, NULL);
    CHECK_INT(rota_run(two_at_once, NULL), ==, -ENOENT);
}

/* ---- Awaiting */

static int note_thread(void *arg)
{
    *(pthread_t *)arg = pthread_self();
    return 0;
}

TASK_TEST(function_runs_in_another_thread_and_its_result_returns)
{
    int n = 41;
    pthread_t thread = pthread_self();
    CHECK_INT(rota_to_thread(seven, NULL), ==, 7);
    CHECK_INT(rota_to_thread(increment, &n), ==, 42);
    CHECK_OK(rota_to_thread(note_thread, &thread));
    CHECK(!pthread_equal(thread, pthread_self()));
}

TASK_TEST(tasks_run_while_a_job_blocks_its_thread)
{
    struct gate gate;
    gate_init(&gate, 3);
    CHECK_OK(rota_spawn(open_gate, &gate, NULL));
    CHECK_INT(rota_to_thread(pass_gate, &gate), ==, 3);
}

TEST(outside_a_task_and_without_a_loop_errors_say_so)
{
    rota_executor *pool = NULL;
    rota_loop *loop;
    rota_job job = ROTA_JOB_INIT;
    CHECK_INT(rota_thread_pool_new(NULL, &pool), ==, ROTA_ENOTASK);
    CHECK_INT(rota_process_pool_new(NULL, &pool), ==, ROTA_ENOTASK);
    CHECK_PTR(pool, ==, NULL);
    CHECK_INT(rota_to_thread(seven, NULL), ==, ROTA_ENOTASK);
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_OK(rota_thread_pool_new(NULL, &pool));
    CHECK_INT(rota_executor_submit(pool, seven, NULL, &job), ==, ROTA_ENOTASK);
    CHECK_INT(rota_executor_close(pool, ROTA_EXECUTOR_DRAIN), ==, ROTA_ENOTASK);
    CHECK_PTR(rota_executor_free(pool), ==, NULL);
    CHECK_PTR(rota_executor_free(NULL), ==, NULL);
    rota_loop_free(loop);
}

TASK_TEST(thread_is_started_only_when_none_is_idle)
{
    CHECK_INT(rota_to_thread(seven, NULL), ==, 7);
    int with_one = threads_now();
    for (int i = 0; i < 100; i++)
        CHECK_INT(rota_to_thread(seven, NULL), ==, 7);
    CHECK_INT(threads_now(), ==, with_one);
}

TASK_TEST(job_is_submitted_once_at_a_time_and_may_be_reused)
{
    struct gate gate;
    gate_init(&gate, 0);
    rota_job job = ROTA_JOB_INIT;
    CHECK_INT(rota_job_wait(&job), ==, -EINVAL);
    CHECK_INT(rota_job_cancel(&job), ==, -EALREADY);
    rota_job_fini(&job);
    CHECK_OK(rota_executor_submit(NULL, pass_gate, &gate, &job));
    CHECK_INT(rota_executor_submit(NULL, seven, NULL, &job), ==, -EBUSY);
    sem_post(&gate.go);
    CHECK_INT(rota_job_wait(&job), ==, 0);
    CHECK_INT(rota_job_wait(&job), ==, 0);
    CHECK_OK(rota_executor_submit(NULL, seven, NULL, &job));
    CHECK_INT(rota_job_wait(&job), ==, 7);
    CHECK_STR(rota_job_error(&job), "");
    rota_thread_pool_options many = {.threads = 5000};
    rota_executor *pool;
    CHECK_INT(rota_thread_pool_new(&many, &pool), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL),
              "make a thread pool: 5000 threads and 0 extra threads: the limit is 4096 each");
}

/* ---- Time */

static int sleep_a_second(void *arg)
{
    rota_blocking_sleep(ROTA_SECOND);
    return (int)(intptr_t)arg;
}

VIRTUAL_TASK_TEST(five_threads_sleep_ten_seconds_in_two)
{
    ROTA_AUTO(rota_executor) pool = threads(5, 0);
    rota_job jobs[10] = {{0}};
    rota_time start = rota_now();
    for (intptr_t i = 0; i < 10; i++)
        CHECK_OK(rota_executor_submit(pool, sleep_a_second, (void *)i, &jobs[i]));
    for (int i = 0; i < 10; i++)
        CHECK_INT(rota_job_wait(&jobs[i]), ==, i);
    CHECK_INT(rota_now() - start, ==, 2 * ROTA_SECOND);
}

static int dawdle(void *arg)
{
    for (int i = 0; i < 200; i++)
        sched_yield();
    return *(bool *)arg;
}

static int sleep_then_note(void *arg)
{
    CHECK_OK(rota_sleep(ROTA_MILLISECOND));
    __atomic_store_n((bool *)arg, true, __ATOMIC_RELAXED);
    return 0;
}

static int time_stands_still(void *arg)
{
    bool slept = false;
    rota_task *sleeper;
    CHECK_OK(rota_spawn(sleep_then_note, &slept, &sleeper));
    CHECK_INT(rota_to_thread(dawdle, &slept), ==, 0);
    CHECK_INT(rota_now(), ==, (rota_time)(intptr_t)arg);
    CHECK_OK(rota_join(sleeper));
    return 0;
}

static int time_stands_still_now(void *arg)
{
    return time_stands_still((void *)(intptr_t)rota_now());
}

TEST(virtual_clock_stands_still_while_a_job_computes)
{
    run_virtual(time_stands_still_now, NULL);
}

VIRTUAL_TASK_TEST(blocking_sleep_on_the_loops_thread_moves_its_virtual_clock)
{
    rota_time start = rota_now();
    rota_blocking_sleep(ROTA_SECOND);
    rota_blocking_sleep(-1);
    CHECK_INT(rota_now() - start, ==, ROTA_SECOND);
}

struct napper {
    unsigned seed;
    rota_time slept;
};

static int nap_often(void *arg)
{
    struct napper *napper = arg;
    for (int i = 0; i < 20; i++) {
        rota_time nap = rand_r(&napper->seed) % 1000 * ROTA_MILLISECOND;
        rota_blocking_sleep(nap);
        napper->slept += nap;
    }
    return 0;
}

static int await_napper(void *arg)
{
    struct napper *napper = arg;
    rota_time start = rota_now();
    CHECK_OK(rota_to_thread(nap_often, napper));
    CHECK_INT(rota_now() - start, ==, napper->slept);
    return 0;
}

static int nappers(void *arg)
{
    struct napper napper[6];
    ROTA_GROUP(group);
    for (unsigned i = 0; i < 6; i++) {
        napper[i] = (struct napper){.seed = i};
        rota_group_spawn(&group, await_napper, &napper[i]);
    }
    return rota_group_wait(&group);
}

TEST(job_that_only_sleeps_takes_exactly_that_long_on_the_virtual_clock)
{
    run_virtual(nappers, NULL);
}

VIRTUAL_TASK_TEST(deadline_waits_for_a_running_thread_but_abandons_a_copy)
{
    rota_time start = rota_now();
    int err = 1;
    ROTA_TIMEOUT (300 * ROTA_MILLISECOND) {
        err = rota_to_thread(sleep_a_second, (void *)9);
    }
    CHECK_INT(err, ==, 9);
    CHECK_INT(rota_now() - start, ==, ROTA_SECOND);
    ROTA_TIMEOUT (300 * ROTA_MILLISECOND) {
        err = rota_to_thread(sleep_a_second, (void *)(intptr_t)-EIO);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_now() - start, ==, 2 * ROTA_SECOND);
    char copy = 0;
    ROTA_TIMEOUT (300 * ROTA_MILLISECOND) {
        err = rota_executor_run_copy(NULL, sleep_a_second, &copy, 1);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_now() - start, ==, 2 * ROTA_SECOND + 300 * ROTA_MILLISECOND);
}

static int sleep_ten_seconds(void *arg)
{
    rota_blocking_sleep(10 * ROTA_SECOND);
    return 0;
}

static rota_executor *thread_and_extra(unsigned extra)
{
    rota_executor *pool;
    rota_thread_pool_options options = {.threads = 1, .extra_threads = extra};
    CHECK_OK(rota_thread_pool_new(&options, &pool));
    return pool;
}

VIRTUAL_TASK_TEST(jobs_that_hang_get_extra_threads_beside_them_up_to_a_limit)
{
    ROTA_AUTO(rota_executor) pool = thread_and_extra(2);
    rota_job hanging[3] = {ROTA_JOB_INIT};
    CHECK_OK(rota_executor_submit(pool, sleep_ten_seconds, NULL, &hanging[0]));
    rota_time start = rota_now();
    CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7);
    CHECK_INT(rota_now() - start, <=, 200 * ROTA_MILLISECOND);
    CHECK_OK(rota_executor_submit(pool, sleep_ten_seconds, NULL, &hanging[1]));
    CHECK_OK(rota_executor_submit(pool, sleep_ten_seconds, NULL, &hanging[2]));
    CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7);
    CHECK_INT(rota_now() - start, ==, 10 * ROTA_SECOND);
    for (int i = 0; i < 3; i++)
        CHECK_OK(rota_job_wait(&hanging[i]));
}

static int threads_of_process(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

VIRTUAL_TASK_TEST(extra_threads_end_when_no_job_hangs_any_more)
{
    ROTA_AUTO(rota_executor) pool = thread_and_extra(5);
    CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7); /* by its one thread */
    int before = threads_of_process();
    for (int round = 0; round < 3; round++) {
        rota_job hanging[6] = {ROTA_JOB_INIT};
        for (int i = 0; i < 6; i++)
            CHECK_OK(rota_executor_submit(pool, sleep_ten_seconds, NULL, &hanging[i]));
        for (int i = 0; i < 6; i++)
            CHECK_OK(rota_job_wait(&hanging[i]));
        for (int looks = 0; looks < 100000 && threads_of_process() > before; looks++)
            sched_yield();
        CHECK_INT(threads_of_process(), ==, before);
        CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7);
    }
}

VIRTUAL_TASK_TEST(abandoned_job_is_replaced_by_an_extra_thread)
{
    ROTA_AUTO(rota_executor) pool = thread_and_extra(1);
    rota_time start = rota_now();
    for (int i = 0; i < 2; i++) {
        char copy = 0;
        int err = 0;
        ROTA_TIMEOUT (ROTA_MILLISECOND)
            err = rota_executor_run_copy(pool, sleep_ten_seconds, &copy, 1);
        CHECK_INT(err, ==, -ETIMEDOUT);
        if (i == 0)
            CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7);
        CHECK_INT(rota_now() - start, ==, (i + 1) * ROTA_MILLISECOND);
    }
    CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7);
    CHECK_INT(rota_now() - start, ==, 10 * ROTA_SECOND);
}

/* ---- Cancelling */

TASK_TEST(job_that_has_not_begun_is_withdrawn_at_once)
{
    ROTA_AUTO(rota_executor) pool = threads(1, 0);
    struct gate gate;
    int n = 0;
    gate_init(&gate, 5);
    ROTA_SCOPED(rota_job) first = ROTA_JOB_INIT, second = ROTA_JOB_INIT;
    CHECK_OK(rota_executor_submit(pool, pass_gate, &gate, &first));
    CHECK_OK(rota_executor_submit(pool, increment, &n, &second));
    sem_wait_surely(&gate.begun);
    CHECK_INT(rota_job_cancel(&second), ==, 0);
    CHECK_INT(rota_job_cancel(&second), ==, -EALREADY);
    CHECK_INT(rota_job_wait(&second), ==, -ECANCELED);
    CHECK_INT(rota_job_cancel(&first), ==, -EBUSY);
    sem_post(&gate.go);
    CHECK_INT(rota_job_wait(&first), ==, 5);
    CHECK_INT(n, ==, 0);
}

static int await_gate(void *arg)
{
    return rota_to_thread(pass_gate, arg);
}

static void cancel_running(int result, int expected)
{
    struct gate gate;
    rota_task *task;
    gate_init(&gate, result);
    CHECK_OK(rota_spawn(await_gate, &gate, &task));
    while (sem_trywait(&gate.begun) < 0) {
        CHECK(!rota_task_done(task));
        CHECK_OK(rota_yield());
    }
    rota_task_cancel(task);
    for (int i = 0; i < 10; i++)
        CHECK_OK(rota_yield());
    CHECK(!rota_task_done(task));
    sem_post(&gate.go);
    CHECK_INT(rota_join(task), ==, expected);
    CHECK(gate.returned);
}

TASK_TEST(cancelled_caller_waits_for_a_function_that_runs)
{
    cancel_running(4, 4);
    cancel_running(-EIO, -ECANCELED);
}

TASK_TEST(nothing_is_submitted_in_a_cancelled_scope)
{
    int n = 0;
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_to_thread(increment, &n), ==, -ECANCELED);
    CHECK_INT(n, ==, 0);
}

TASK_TEST(result_that_is_there_outranks_a_cancellation)
{
    rota_job job = ROTA_JOB_INIT;
    CHECK_OK(rota_executor_submit(NULL, seven, NULL, &job));
    CHECK_INT(rota_future_wait(&job.done), ==, 7);
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_job_wait(&job), ==, 7);
    CHECK_INT(rota_yield(), ==, -ECANCELED);
}

/* Blocks the loop until the function of the job has returned. */
static void wait_until_returned(const rota_job *job)
{
    while (__atomic_load_n(&job->_work->state, __ATOMIC_ACQUIRE) != ROTA__WORK_FINISHED)
        sched_yield();
}

static int fail_after_writing(void *arg)
{
    *(int *)arg = 1;
    return -EIO;
}

TASK_TEST(cancelling_tells_a_function_that_runs_from_one_that_has_returned)
{
    ROTA_AUTO(rota_executor) pool = threads(1, 0);
    struct gate gate;
    gate_init(&gate, 3);
    ROTA_SCOPED(rota_job) job = ROTA_JOB_INIT;
    CHECK_INT(rota_job_cancel(&job), ==, -EALREADY);
    CHECK_OK(rota_executor_submit(pool, pass_gate, &gate, &job));
    sem_wait_surely(&gate.begun);
    CHECK_INT(rota_job_cancel(&job), ==, -EBUSY);
    sem_post(&gate.go);
    wait_until_returned(&job);
    CHECK_INT(rota_job_cancel(&job), ==, -EINPROGRESS);
    CHECK_INT(rota_job_wait(&job), ==, 3);
    CHECK_INT(rota_job_cancel(&job), ==, -EALREADY);
}

static int cancel_after_return(void *arg)
{
    int n = 0;
    rota_job job = {.copy = *(size_t *)arg};
    CHECK_OK(rota_executor_submit(NULL, fail_after_writing, &n, &job));
    wait_until_returned(&job);
    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_job_wait(&job), ==, -EIO);
    CHECK_INT(n, ==, 1);
    return rota_yield();
}

TASK_TEST(failure_that_came_before_the_cancellation_is_the_result)
{
    rota_task *task;
    size_t copy = 0;
    CHECK_OK(rota_spawn(cancel_after_return, &copy, &task));
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    copy = sizeof(int);
    CHECK_OK(rota_spawn(cancel_after_return, &copy, &task));
    CHECK_INT(rota_join(task), ==, -ECANCELED);
}

static char last_report[200];
static int reports;

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    if (level < ROTA_LOG_WARNING)
        return;
    snprintf(last_report, sizeof last_report, "%s", message);
    reports++;
}

TASK_TEST(failure_that_lost_against_a_cancellation_is_reported)
{
    rota_log_set(keep_report, NULL);
    cancel_running(-ENOSPC, -ECANCELED);
    CHECK_INT(reports, ==, 1);
    CHECK(strstr(last_report, strerror(ENOSPC)));
    cancel_running(-ECANCELED, -ECANCELED);
    cancel_running(0, 0);
    CHECK_INT(reports, ==, 1);
}

TASK_TEST(leaving_the_block_withdraws_jobs_and_waits_for_those_that_run)
{
    struct gate gate;
    int n = 0;
    ROTA_AUTO(rota_executor) pool = threads(1, 0);
    gate_init(&gate, 0);
    CHECK_OK(rota_spawn(open_gate, &gate, NULL));
    {
        ROTA_SCOPED(rota_job) running = ROTA_JOB_INIT, queued = ROTA_JOB_INIT;
        CHECK_OK(rota_executor_submit(pool, pass_gate, &gate, &running));
        CHECK_OK(rota_executor_submit(pool, increment, &n, &queued));
        sem_wait_surely(&gate.begun);
    }
    CHECK(gate.returned);
    CHECK_INT(n, ==, 0);
}

/* ---- Copies */

TASK_TEST(copy_is_copied_back)
{
    int n = 1;
    CHECK_INT(rota_executor_run_copy(NULL, increment, &n, sizeof n), ==, 2);
    CHECK_INT(n, ==, 2);
}

/* What a copied job shares with its test. */
static struct gate shared;
static sem_t discarded;
static int discards;

struct request {
    int n;
};

static int serve_request(void *arg)
{
    struct request *request = arg;
    request->n++;
    return pass_gate(&shared);
}

static void discard_request(void *copy)
{
    struct request *request = copy;
    CHECK_INT(request->n, ==, 1);
    discards++;
    sem_post(&discarded);
}

static void shared_init(void)
{
    gate_init(&shared, 0);
    sem_init(&discarded, 0, 0);
    discards = 0;
}

TASK_TEST(abandoned_job_touches_nothing_of_its_caller_and_is_discarded)
{
    struct request request = {0};
    rota_job job = {.copy = sizeof request, .discard = discard_request};
    shared_init();
    CHECK_OK(rota_executor_submit(NULL, serve_request, &request, &job));
    sem_wait_surely(&shared.begun);
    CHECK_INT(rota_job_cancel(&job), ==, 0);
    CHECK_INT(rota_job_wait(&job), ==, -ECANCELED);
    CHECK_INT(request.n, ==, 0);
    CHECK_INT(discards, ==, 0);
    sem_post(&shared.go);
    while (discards == 0)
        CHECK_OK(rota_yield());
    CHECK_INT(request.n, ==, 0);
}

/* What outlives the loop has memory, but no descriptors. */
static void run_and_leave(rota_fn *fn, void *arg)
{
    int before = test_open_fds();
    CHECK_OK(rota_run(fn, arg));
    CHECK_INT(test_open_fds(), ==, before);
}

static int abandon_then_end(void *arg)
{
    struct request request = {0};
    rota_job job = {.copy = sizeof request, .discard = discard_request};
    shared_init();
    CHECK_OK(rota_executor_submit(NULL, serve_request, &request, &job));
    sem_wait_surely(&shared.begun);
    CHECK_INT(rota_job_cancel(&job), ==, 0);
    return 0;
}

TEST(end_of_the_loop_does_not_wait_for_an_abandoned_job)
{
    run_and_leave(abandon_then_end, NULL);
    CHECK_INT(discards, ==, 0);
    sem_post(&shared.go);
    sem_wait_surely(&discarded);
}

TASK_TEST(copy_of_a_job_that_never_began_is_not_discarded)
{
    ROTA_AUTO(rota_executor) pool = threads(1, 0);
    struct gate gate;
    struct request request = {0};
    gate_init(&gate, 0);
    ROTA_SCOPED(rota_job) first = ROTA_JOB_INIT;
    rota_job second = {.copy = sizeof request, .discard = discard_request};
    discards = 0;
    CHECK_OK(rota_executor_submit(pool, pass_gate, &gate, &first));
    CHECK_OK(rota_executor_submit(pool, serve_request, &request, &second));
    sem_wait_surely(&gate.begun);
    rota_job_fini(&second);
    CHECK_INT(rota_future_result(&second.done), ==, -ECANCELED);
    sem_post(&gate.go);
    CHECK_OK(rota_job_wait(&first));
    CHECK_INT(discards, ==, 0);
}

/* ---- Bounds */

struct submission {
    rota_executor *pool;
    rota_job job;
    int *order;
    int result;
};

static int record(void *arg)
{
    int *order = arg;
    return ++*order;
}

static int submit_one(void *arg)
{
    struct submission *s = arg;
    int err = rota_executor_submit(s->pool, record, s->order, &s->job);
    s->result = err < 0 ? err : rota_job_wait(&s->job);
    return 0;
}

/* One thread, held up at the gate, and one job that waits for it: the pool is full. */
struct full {
    rota_executor *pool;
    struct gate gate;
    rota_job running, queued;
    int order;
};

static void fill(struct full *full)
{
    full->pool = threads(1, 1);
    full->order = 0;
    full->running = full->queued = (rota_job)ROTA_JOB_INIT;
    gate_init(&full->gate, 0);
    CHECK_OK(rota_executor_submit(full->pool, pass_gate, &full->gate, &full->running));
    CHECK_OK(rota_executor_submit(full->pool, record, &full->order, &full->queued));
    sem_wait_surely(&full->gate.begun);
}

static void yield_often(void)
{
    for (int i = 0; i < 5; i++)
        CHECK_OK(rota_yield());
}

TASK_TEST(submitting_to_a_full_pool_waits_first_come_first_served)
{
    struct full full;
    rota_task *tasks[3];
    struct submission s[3];
    fill(&full);
    for (int i = 0; i < 3; i++) {
        s[i] = (struct submission){.pool = full.pool, .order = &full.order};
        CHECK_OK(rota_spawn(submit_one, &s[i], &tasks[i]));
    }
    yield_often();
    CHECK_STR(rota_task_waits_for(tasks[0]), "room in an executor");
    rota_task_cancel(tasks[1]);
    CHECK_OK(rota_join(tasks[1]));
    CHECK_INT(s[1].result, ==, -ECANCELED);
    sem_post(&full.gate.go);
    CHECK_OK(rota_join(tasks[0]));
    CHECK_OK(rota_join(tasks[2]));
    CHECK_INT(rota_job_wait(&full.queued), ==, 1);
    CHECK_INT(s[0].result, ==, 2);
    CHECK_INT(s[2].result, ==, 3);
    rota_executor_free(full.pool);
}

/* The first waiter is given the room and cancelled in the same turn. */
TASK_TEST(room_given_to_a_task_that_is_cancelled_in_the_same_turn_is_not_lost)
{
    struct full full;
    rota_task *tasks[2];
    struct submission s[2];
    fill(&full);
    for (int i = 0; i < 2; i++) {
        s[i] = (struct submission){.pool = full.pool, .order = &full.order};
        CHECK_OK(rota_spawn(submit_one, &s[i], &tasks[i]));
    }
    yield_often();
    CHECK_INT(rota_job_cancel(&full.queued), ==, 0);
    rota_task_cancel(tasks[0]);
    yield_often();
    CHECK(!rota_task_done(tasks[1]));
    sem_post(&full.gate.go);
    CHECK_OK(rota_join(tasks[0]));
    CHECK_OK(rota_join(tasks[1]));
    CHECK_INT(s[1].result, >, 0);
    CHECK_INT(rota_job_wait(&full.queued), ==, -ECANCELED);
    rota_executor_free(full.pool);
}

/* ---- Closing */

TASK_TEST(draining_close_runs_every_job)
{
    ROTA_AUTO(rota_executor) pool = threads(2, 0);
    rota_job jobs[50] = {{0}};
    int n[50] = {0};
    CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7);
    int with_one = threads_now();
    for (int i = 0; i < 50; i++)
        CHECK_OK(rota_executor_submit(pool, increment, &n[i], &jobs[i]));
    CHECK_OK(rota_executor_close(pool, ROTA_EXECUTOR_DRAIN));
    wait_for_threads(with_one - 1);
    for (int i = 0; i < 50; i++)
        CHECK_INT(rota_future_result(&jobs[i].done), ==, 1);
    CHECK_INT(rota_executor_submit(pool, seven, NULL, &jobs[0]), ==, ROTA_ECLOSED);
    CHECK_INT(rota_executor_run(pool, seven, NULL), ==, ROTA_ECLOSED);
}

TASK_TEST(cancelling_close_waits_only_for_what_runs)
{
    struct full full;
    struct submission s;
    rota_task *task;
    fill(&full);
    s = (struct submission){.pool = full.pool, .order = &full.order};
    CHECK_OK(rota_spawn(submit_one, &s, &task));
    CHECK_OK(rota_spawn(open_gate, &full.gate, NULL));
    CHECK_OK(rota_yield());
    CHECK_OK(rota_executor_close(full.pool, ROTA_EXECUTOR_CANCEL));
    CHECK(full.gate.returned);
    CHECK_INT(rota_future_result(&full.running.done), ==, 0);
    CHECK_INT(rota_future_result(&full.queued.done), ==, -ECANCELED);
    CHECK_OK(rota_join(task));
    CHECK_INT(s.result, ==, ROTA_ECLOSED);
    rota_executor_free(full.pool);
}

static rota_executor *outlives;

static int make_and_leave(void *arg)
{
    outlives = threads(2, 0);
    CHECK_INT(rota_executor_run(outlives, seven, NULL), ==, 7);
    *(int *)arg = threads_now();
    return 0;
}

TEST(loop_closes_the_executors_that_are_left)
{
    int with_one;
    run_and_leave(make_and_leave, &with_one);
    wait_for_threads(with_one - 1);
    CHECK_PTR(rota_executor_free(outlives), ==, NULL);
}

static struct gate held;
static rota_job held_job;

static int submit_and_stop(void *arg)
{
    rota_executor *pool = arg;
    gate_init(&held, 1);
    CHECK_OK(rota_executor_submit(pool, pass_gate, &held, &held_job));
    sem_wait_surely(&held.begun);
    rota_loop_stop(rota_loop_current());
    return 0;
}

TEST(executor_freed_outside_a_task_is_finished_by_its_loop)
{
    rota_loop *loop;
    rota_executor *pool;
    held_job = (rota_job)ROTA_JOB_INIT;
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_OK(rota_thread_pool_new(NULL, &pool));
    CHECK_OK(rota_spawn(submit_and_stop, pool, NULL));
    CHECK_OK(rota_loop_run(loop));
    rota_executor_free(pool);
    sem_post(&held.go);
    rota_loop_free(loop);
    CHECK_INT(rota_future_result(&held_job.done), ==, 1);
}

/* ---- Threads and loops */

static void *use_foreign_pool(void *arg)
{
    rota_loop *loop;
    rota_job job = ROTA_JOB_INIT;
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_INT(rota_executor_close(arg, ROTA_EXECUTOR_DRAIN), ==, ROTA_ETHREAD);
    rota_executor_free(arg); /* is refused */
    rota_loop_free(loop);
    CHECK_INT(rota_job_cancel(&job), ==, -EALREADY);
    return NULL;
}

TASK_TEST(executor_is_refused_to_other_threads)
{
    ROTA_AUTO(rota_executor) pool = threads(1, 0);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, use_foreign_pool, pool), ==, 0);
    pthread_join(thread, NULL);
    CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7);
}

static void *cancel_foreign_job(void *arg)
{
    CHECK_INT(rota_job_cancel(arg), ==, ROTA_ETHREAD);
    return NULL;
}

TASK_TEST(jobs_are_refused_to_other_threads, .without_faults = true)
{
    struct gate gate;
    gate_init(&gate, 7);
    rota_job running = ROTA_JOB_INIT, queued = ROTA_JOB_INIT;
    ROTA_AUTO(rota_executor) pool = threads(1, 0);
    CHECK_OK(rota_executor_submit(pool, pass_gate, &gate, &running));
    CHECK_OK(rota_executor_submit(pool, seven, NULL, &queued));
    rota_job *jobs[] = {&running, &queued};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        CHECK_INT(pthread_create(&thread, NULL, cancel_foreign_job, jobs[i]), ==, 0);
        pthread_join(thread, NULL);
    }
    sem_post(&gate.go);
    CHECK_INT(rota_job_wait(&running), ==, 7);
    CHECK_INT(rota_job_wait(&queued), ==, 7);
}

static int many_jobs(void *arg)
{
    for (int i = 0; i < 200; i++) {
        int n = i;
        CHECK_INT(rota_to_thread(increment, &n), ==, i + 1);
    }
    return 0;
}

static int crowd(void *arg)
{
    ROTA_GROUP(group);
    for (int i = 0; i < 50; i++)
        rota_group_spawn(&group, many_jobs, NULL);
    return rota_group_wait(&group);
}

TEST(ten_thousand_jobs_each_get_their_own_result)
{
    run(crowd, NULL);
}

static void *run_crowd(void *arg)
{
    CHECK_OK(rota_run(crowd, NULL));
    return NULL;
}

TEST(loops_of_several_threads_have_pools_of_their_own)
{
    pthread_t others[3];
    for (int i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&others[i], NULL, run_crowd, NULL), ==, 0);
    for (int i = 0; i < 3; i++)
        pthread_join(others[i], NULL);
}

static int run_seven(void *arg)
{
    return rota_to_thread(seven, NULL);
}

static int run_loop_of_its_own(void *arg)
{
    return rota_run(run_seven, NULL);
}

TASK_TEST(job_is_no_task_but_may_run_a_loop_of_its_own)
{
    CHECK_INT(rota_to_thread(run_loop_of_its_own, NULL), ==, 7);
    CHECK_INT(rota_to_thread(run_seven, NULL), ==, ROTA_ENOTASK);
}

static pthread_barrier_t meeting;

static int meet(void *arg)
{
    pthread_barrier_wait(&meeting);
    return 0;
}

/* Each round ends only if five threads run at once, however sleepy they are. */
TASK_TEST(each_job_finds_a_thread_while_there_is_one, .without_faults = true)
{
    ROTA_AUTO(rota_executor) pool = threads(5, 0);
    pthread_barrier_init(&meeting, NULL, 5);
    for (int round = 0; round < 200; round++) {
        rota_job jobs[5] = {{0}};
        for (int i = 0; i < 5; i++)
            CHECK_OK(rota_executor_submit(pool, meet, NULL, &jobs[i]));
        for (int i = 0; i < 5; i++)
            CHECK_OK(rota_job_wait(&jobs[i]));
        while (round % 10 == 0 && rota__thread_pool_idle(pool) < 5)
            sched_yield();
    }
}

static sem_t all_done;

static int count_down(void *arg)
{
    if (__atomic_sub_fetch((int *)arg, 1, __ATOMIC_ACQ_REL) == 0)
        sem_post(&all_done);
    return 0;
}

TASK_TEST(results_come_back_in_batches)
{
    ROTA_AUTO(rota_executor) pool = threads(1, 0);
    struct gate gate;
    rota_job first = ROTA_JOB_INIT, last = ROTA_JOB_INIT, jobs[100] = {{0}};
    int left = 100;
    sem_init(&all_done, 0, 0);
    gate_init(&gate, 0);
    CHECK_OK(rota_executor_submit(pool, pass_gate, &gate, &first));
    for (int i = 0; i < 100; i++)
        CHECK_OK(rota_executor_submit(pool, count_down, &left, &jobs[i]));
    CHECK_OK(rota_executor_submit(pool, seven, NULL, &last));
    sem_post(&gate.go);
    sem_wait_surely(&all_done); /* holds up the loop */
    CHECK_OK(rota_job_wait(&first));
    for (int i = 0; i < 100; i++)
        CHECK_OK(rota_job_wait(&jobs[i]));
    CHECK_INT(rota_job_wait(&last), ==, 7);
    CHECK_INT(rota__thread_pool_batches(pool), <=, 3);
}

/* Jobs that are cancelled before, while and after they run, without any order. */
struct race {
    rota_executor *pool;
    unsigned seed;
};

static int race_one(void *arg)
{
    struct race *race = arg;
    for (int i = 0; i < 100; i++) {
        int n = 0;
        rota_job job = {.copy = i % 2 ? sizeof n : 0};
        CHECK_OK(rota_executor_submit(race->pool, increment, &n, &job));
        for (int yields = rand_r(&race->seed) % 4; yields > 0; yields--)
            CHECK_OK(rota_yield());
        if (rand_r(&race->seed) % 2)
            rota_job_cancel(&job);
        int result = rota_job_wait(&job);
        CHECK(result == 1 ? n == 1 : result == -ECANCELED && n == 0);
    }
    return 0;
}

static int races(void *arg)
{
    ROTA_AUTO(rota_executor) pool = threads(3, 4);
    struct race race[20];
    ROTA_GROUP(group);
    for (unsigned i = 0; i < 20; i++) {
        race[i] = (struct race){pool, i};
        rota_group_spawn(&group, race_one, &race[i]);
    }
    return rota_group_wait(&group);
}

TEST(cancelling_races_with_running)
{
    run(races, NULL);
}

static int fail_thread(void *arg)
{
    rota_job job = ROTA_JOB_INIT;
    CHECK_INT(rota_to_thread(seven, NULL), ==, -EAGAIN);
    rota__fault_disarm();
    CHECK_INT(rota_to_thread(seven, NULL), ==, 7);
    struct gate gate;
    gate_init(&gate, 2);
    CHECK_OK(rota_executor_submit(NULL, pass_gate, &gate, &job));
    CHECK_OK(rota_spawn(open_gate, &gate, NULL));
    rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
    CHECK_INT(rota_to_thread(seven, NULL), ==, 7);
    rota__fault_disarm();
    CHECK_INT(rota_job_wait(&job), ==, 2);
    return 0;
}

static int arm_then_fail_thread(void *arg)
{
    rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
    return fail_thread(arg);
}

TEST_WITH(without_any_thread_submitting_fails_and_with_one_it_does_not, .without_faults = true)
{
    run(arm_then_fail_thread, NULL);
}

/* ---- Processes */

struct work {
    int action, number;
    char text[64];
};

enum { DOUBLE, SEGV, KILL, EXIT, PAUSE, PID, FDS, STACK, PRINT, CLOSE, STARVE, NONSENSE };

static int use_stack(int depth)
{
    volatile char page[4096];
    page[0] = (char)depth;
    return depth ? use_stack(depth - 1) + page[0] - (char)depth : 0;
}

static int work(void *arg)
{
    struct work *w = arg;
    switch (w->action) {
    case DOUBLE:
        w->number *= 2;
        snprintf(w->text, sizeof w->text, "done by %s", "a worker");
        return 0;
    case SEGV:
        return raise(SIGSEGV);
    case KILL:
        return kill(getpid(), SIGKILL);
    case EXIT:
        _exit(3);
    case PAUSE:
        for (;;)
            pause();
    case PID:
        w->number = getpid();
        return 0;
    case FDS:
        w->number = test_open_fds();
        return 0;
    case STACK:
        return use_stack(1000);
    case STARVE:
        rota__fault_arm(ROTA__FAULT_ALLOC, 1);
        return 0;
    case PRINT:
        printf("printed by a job\n");
        return 0;
    case CLOSE:
        for (int fd = 3; fd < 20; fd++)
            close(fd);
        for (;;)
            pause();
    case NONSENSE:
        for (int fd = 3; fd < 20; fd++)
            send(fd, arg, sizeof *w, MSG_NOSIGNAL);
        for (;;)
            pause();
    default:
        return -EINVAL;
    }
}

static int call(rota_executor *pool, struct work *w)
{
    return rota_executor_run_copy(pool, work, w, sizeof *w);
}

static void check_doubles(rota_executor *pool)
{
    struct work w = {.action = DOUBLE, .number = 21};
    CHECK_OK(call(pool, &w));
    CHECK_INT(w.number, ==, 42);
    CHECK_STR(w.text, "done by a worker");
}

static int worker_doubles(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    struct work pid = {.action = PID}, again = {.action = PID};
    check_doubles(pool);
    CHECK_OK(call(pool, &pid));
    CHECK_OK(call(pool, &again));
    CHECK_INT(pid.number, !=, getpid());
    CHECK_INT(pid.number, ==, again.number);
    struct work unknown = {.action = -1};
    CHECK_INT(call(pool, &unknown), ==, -EINVAL);
    return 0;
}

static void check_no_children(void)
{
    CHECK_INT(waitpid(-1, NULL, WNOHANG), ==, -1);
}

TEST(worker_process_gets_bytes_and_gives_bytes_back)
{
    run(worker_doubles, NULL);
    check_no_children();
}

static void crash(rota_executor *pool, int action, const char *how)
{
    struct work w = {.action = action};
    ROTA_SCOPED(rota_job) job = {.copy = sizeof w};
    CHECK_OK(rota_executor_submit(pool, work, &w, &job));
    CHECK_INT(rota_job_wait(&job), ==, ROTA_ECRASHED);
    printf("%s\n", rota_job_error(&job));
    CHECK(strstr(rota_job_error(&job), how));
    check_doubles(pool);
}

static int worker_starves(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    struct work starve = {.action = STARVE};
    static struct work large[1000];
    CHECK_OK(call(pool, &starve));
    CHECK_INT(rota_executor_run_copy(pool, work, large, sizeof large), ==, ROTA_ECRASHED);
    printf("%s\n", rota_error(ROTA_ECRASHED));
    CHECK(strstr(rota_error(ROTA_ECRASHED), "could not get memory"));
    check_doubles(pool);
    return 0;
}

TEST_WITH(worker_without_memory_says_so, .both_backends = true, .without_faults = true)
{
    run(worker_starves, NULL);
    check_no_children();
}

static int note_turn(void *arg)
{
    *(bool *)arg = true;
    return 0;
}

static int free_beside_a_task(void *arg)
{
    rota_executor *pool = workers(1);
    bool had_a_turn = false;
    check_doubles(pool);
    CHECK_OK(rota_spawn(note_turn, &had_a_turn, NULL));
    rota_executor_free(pool);
    CHECK(had_a_turn);
    return 0;
}

TEST_WITH(freeing_a_process_pool_lets_other_tasks_run, .both_backends = true,
          .without_faults = true)
{
    run(free_beside_a_task, NULL);
    check_no_children();
}

static int worker_crashes(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    crash(pool, SEGV, "was ended by signal 11 (Segmentation fault)");
    crash(pool, KILL, "was ended by signal 9 (Killed)");
    crash(pool, EXIT, "exited with status 3");
    crash(pool, CLOSE, "worker ");
    crash(pool, NONSENSE, "sent data that is not a result, and was killed");
    return 0;
}

TEST(crash_of_a_worker_fails_its_job_and_the_worker_is_replaced)
{
    run(worker_crashes, NULL);
    check_no_children();
}

static int worker_is_killed(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    crash(pool, CLOSE, "closed its socket to the pool, and was killed");
    return 0;
}

TEST_WITH(pool_says_when_it_has_killed_a_worker_itself, .both_backends = true,
          .without_faults = true)
{
    run(worker_is_killed, NULL);
    check_no_children();
}

/* On the virtual clock the pool does not wait whether the worker ends by itself. */
static int worker_is_killed_at_once(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    crash(pool, CLOSE, " ended or closed its socket to the pool, and was killed");
    return 0;
}

TEST_WITH(pool_does_not_say_of_a_worker_what_it_has_not_seen, .both_backends = true,
          .without_faults = true)
{
    run_virtual(worker_is_killed_at_once, NULL);
    check_no_children();
}

static int fork_with_two_descriptors(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    struct rlimit before, few;
    int fds[64], n = 0;
    CHECK_OK(getrlimit(RLIMIT_NOFILE, &before));
    few = (struct rlimit){64, before.rlim_max};
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
    while (n < 64 && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n++;
    CHECK_INT(n, >=, 2);
    close(fds[--n]);
    close(fds[--n]);
    check_doubles(pool);
    while (n > 0)
        close(fds[--n]);
    CHECK_OK(setrlimit(RLIMIT_NOFILE, &before));
    return 0;
}

TEST_WITH(worker_needs_no_descriptor_beside_its_socket, .both_backends = true,
          .without_faults = true)
{
    run(fork_with_two_descriptors, NULL);
    check_no_children();
}

static int crash_task(void *arg)
{
    struct work w = {.action = SEGV};
    CHECK_INT(call(arg, &w), ==, ROTA_ECRASHED);
    return 0;
}

static int double_task(void *arg)
{
    check_doubles(arg);
    return 0;
}

static int crashes_among_others(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(3);
    ROTA_GROUP(group);
    for (int i = 0; i < 40; i++)
        rota_group_spawn(&group, i % 4 ? double_task : crash_task, pool);
    return rota_group_wait(&group);
}

TASK_TEST(argument_may_be_empty)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    CHECK_INT(rota_executor_run_copy(pool, seven, NULL, 0), ==, 7);
    CHECK_INT(rota_executor_run_copy(NULL, seven, NULL, 0), ==, 7);
}

static int crash_unseen(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    crash(pool, SEGV, "collected its status");
    crash(pool, CLOSE, "worker ");
    return 0;
}

TEST(crash_is_noticed_where_the_kernel_reaps_children)
{
    signal(SIGCHLD, SIG_IGN);
    run(crash_unseen, NULL);
}

TEST(crash_of_a_worker_harms_no_other_job)
{
    run(crashes_among_others, NULL);
    check_no_children();
}

static int idle_worker_dies(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    struct work w = {.action = PID};
    CHECK_OK(call(pool, &w));
    CHECK_OK(kill(w.number, SIGKILL));
    siginfo_t info;
    CHECK_OK(waitid(P_PID, (id_t)w.number, &info, WEXITED | WNOWAIT));
    check_doubles(pool);
    return 0;
}

TEST(worker_that_died_while_idle_fails_nobody)
{
    run(idle_worker_dies, NULL);
    check_no_children();
}

/* Lets the loop run until the job has a worker. */
static void wait_until_running(const rota_job *job)
{
    while (job->_work && job->_work->state == ROTA__WORK_QUEUED)
        CHECK_OK(rota_yield());
}

static int kill_by_cancel(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    struct work w = {.action = PAUSE};
    rota_job job = {.copy = sizeof w};
    CHECK_OK(rota_executor_submit(pool, work, &w, &job));
    wait_until_running(&job);
    CHECK_INT(rota_job_cancel(&job), ==, 0);
    CHECK_INT(rota_job_wait(&job), ==, -ECANCELED);
    check_doubles(pool);
    return 0;
}

TEST(cancelling_a_process_job_kills_its_worker)
{
    run(kill_by_cancel, NULL);
    check_no_children();
}

/* The lowest descriptor that is a socket and was not in `before`. */
static int new_socket(const bool before[64])
{
    for (int fd = 0; fd < 64; fd++) {
        struct stat about;
        if (!before[fd] && fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode))
            return fd;
    }
    FAIL("the worker has no socket");
}

/* With so much memory a worker that is killed keeps its socket for a while. */
static int touch_memory(void *arg)
{
    enum { MUCH = 256 << 20 };
    char *memory = malloc(MUCH);
    if (memory)
        memset(memory, 1, MUCH);
    return 0;
}

/* Blocks the loop. A ring may take the answer at once, unseen, so there is an end to looking. */
static void wait_for_answer(int fd, size_t size)
{
    int n = 0;
    for (rota_time end = rota_now() + 20 * ROTA_MILLISECOND; n < (int)size && rota_now() < end;) {
        CHECK_OK(ioctl(fd, FIONREAD, &n));
        sched_yield();
    }
}

TASK_TEST(worker_that_is_being_killed_gets_no_other_job, .without_faults = true)
{
    bool before[64];
    for (int fd = 0; fd < 64; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    ROTA_AUTO(rota_executor) pool = workers(1);
    char nothing = 0;
    CHECK_OK(rota_executor_run_copy(pool, touch_memory, &nothing, 1));
    int fd = new_socket(before);
    for (int round = 0; round < 3; round++) {
        int n = 0;
        rota_job job = {.copy = sizeof n};
        CHECK_OK(rota_executor_submit(pool, increment, &n, &job));
        wait_until_running(&job);
        wait_for_answer(fd, sizeof(struct rota__frame) + sizeof n);
        if (rota_job_cancel(&job) == -EALREADY)
            continue; /* the loop was quicker */
        n = 0;
        CHECK_INT(rota_executor_run_copy(pool, increment, &n, sizeof n), ==, 1);
        CHECK_OK(rota_executor_run_copy(pool, touch_memory, &nothing, 1));
    }
}

static char key[] = "key";
static char *letter = (char[]){"letter"};
static char forgotten[] = "forgotten";

static void burn_letter(rota_secret *secret)
{
    CHECK_STR(key, "key");
    letter = NULL;
}

/* Returns what a job finds: 1 the key, 2 the letter, 4 a secret that was removed. */
static int look_for_secrets(void *arg)
{
    return (key[0] || key[2] ? 1 : 0) | (letter ? 2 : 0) | (forgotten[0] ? 4 : 0);
}

TASK_TEST(worker_processes_do_not_have_the_secrets_of_the_program)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    rota_secret bytes = {.ptr = key, .len = sizeof key}, object = {.forget = burn_letter};
    rota_secret removed = {.ptr = forgotten, .len = sizeof forgotten};
    char nothing = 0;
    rota_secret_add(&object);
    rota_secret_add(&removed);
    rota_secret_add(&bytes);
    rota_secret_remove(&removed);
    rota_secret_remove(&removed);
    CHECK_INT(look_for_secrets(NULL), ==, 7);
    CHECK_INT(rota_executor_run_copy(pool, look_for_secrets, &nothing, 1), ==, 4);
    CHECK_INT(look_for_secrets(NULL), ==, 7);
    rota_secret_remove(&bytes);
    rota_secret_remove(&object);
}

static int pause_task(void *arg)
{
    struct work w = {.action = PAUSE};
    return call(arg, &w);
}

static int close_with_process_jobs(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(2);
    rota_task *tasks[5];
    for (int i = 0; i < 5; i++)
        CHECK_OK(rota_spawn(pause_task, pool, &tasks[i]));
    yield_often();
    for (int i = 0; i < 5; i++)
        rota_task_cancel(tasks[i]);
    CHECK_OK(rota_executor_close(pool, ROTA_EXECUTOR_CANCEL));
    for (int i = 0; i < 5; i++)
        CHECK_INT(rota_join(tasks[i]), ==, -ECANCELED);
    return 0;
}

TEST(process_pool_closes_with_jobs_under_way)
{
    run(close_with_process_jobs, NULL);
    check_no_children();
}

/* Nothing is left to do, but the task that was to do it has not begun. */
TASK_TEST(process_pool_is_freed_with_a_withdrawn_job)
{
    rota_executor *pool = workers(1);
    int number = 1;
    rota_job job = {.copy = sizeof number};
    CHECK_OK(rota_executor_submit(pool, increment, &number, &job));
    CHECK_OK(rota_job_cancel(&job));
    rota_executor_free(pool);
    CHECK_INT(rota_job_wait(&job), ==, -ECANCELED);
}

static int leave_process_jobs(void *arg)
{
    outlives = workers(2);
    for (int i = 0; i < 5; i++)
        CHECK_OK(rota_spawn(pause_task, outlives, NULL));
    yield_often();
    return 0;
}

TEST(end_of_the_loop_kills_workers_whose_callers_are_cancelled)
{
    run_and_leave(leave_process_jobs, NULL);
    check_no_children();
    rota_executor_free(outlives);
}

TASK_TEST(worker_has_no_descriptor_of_its_parent_and_a_large_stack)
{
    ROTA_AUTO(rota_executor) pool = workers(4);
    int fds[2];
    CHECK_OK(pipe(fds));
    struct work w[4];
    rota_job jobs[4];
    for (int i = 0; i < 4; i++) {
        w[i] = (struct work){.action = FDS};
        jobs[i] = (rota_job){.copy = sizeof w[i]};
        CHECK_OK(rota_executor_submit(pool, work, &w[i], &jobs[i]));
    }
    for (int i = 0; i < 4; i++) {
        CHECK_OK(rota_job_wait(&jobs[i]));
        CHECK_INT(w[i].number, ==, 4); /* 0, 1, 2 and its socket */
    }
    struct work deep = {.action = STACK};
    CHECK_OK(call(pool, &deep));
    close(fds[0]);
    close(fds[1]);
}

static int print(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    struct work w = {.action = PRINT};
    printf("printed by main ");
    CHECK_OK(call(pool, &w));
    return 0;
}

TEST(what_a_job_prints_is_written_once)
{
    int fds[2];
    char text[256];
    CHECK_OK(pipe(fds));
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(fds[1], STDOUT_FILENO);
    close(fds[1]);
    int err = rota_run(print, NULL);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    CHECK_OK(err);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    CHECK_INT(n, >, 0);
    text[n] = '\0';
    CHECK_STR(text, "printed by a job\nprinted by main ");
    close(fds[0]);
}

TASK_TEST(process_pool_limits_what_is_copied)
{
    rota_process_pool_options options = {.workers = 1, .copy_limit = 1 << 20};
    rota_executor *pool;
    CHECK_OK(rota_process_pool_new(&options, &pool));
    struct work *big = calloc(1, (1 << 20) + 1);
    CHECK(big);
    CHECK_INT(rota_executor_run_copy(pool, work, big, (1 << 20) + 1), ==, ROTA_ELIMIT);
    CHECK_STR(rota_error(ROTA_ELIMIT),
              "submit a job: its argument of 1048577 bytes exceeds copy_limit (1048576)");
    big->number = 4;
    CHECK_OK(rota_executor_run_copy(pool, work, big, 1 << 20));
    CHECK_INT(big->number, ==, 8);
    CHECK_INT(rota_executor_run(pool, work, big), ==, -ENOTSUP);
    CHECK_STR(rota_error(-ENOTSUP), "submit a job: a process pool needs a copy of its argument");
    free(big);
    rota_executor_free(pool);
    options.workers = 5000;
    CHECK_INT(rota_process_pool_new(&options, &pool), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "make a process pool: 5000 workers exceed the limit of 4096");
}

VIRTUAL_TASK_TEST(worker_processes_sleep_on_the_virtual_clock)
{
    ROTA_AUTO(rota_executor) pool = workers(2);
    char byte[4] = {0};
    rota_job jobs[4];
    rota_time start = rota_now();
    for (int i = 0; i < 4; i++) {
        jobs[i] = (rota_job){.copy = 1};
        CHECK_OK(rota_executor_submit(pool, sleep_a_second, &byte[i], &jobs[i]));
    }
    for (int i = 0; i < 4; i++)
        ROTA_IGNORE(rota_job_wait(&jobs[i]));
    CHECK_INT(rota_now() - start, ==, 2 * ROTA_SECOND);
}

static int sleep_for_good(void *arg)
{
    rota_blocking_sleep(ROTA_NEVER);
    return 0;
}

VIRTUAL_TASK_TEST(abandoned_worker_process_sleeps_no_longer)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    rota_time start = rota_now();
    char byte = 0;
    int err = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        err = rota_executor_run_copy(pool, sleep_for_good, &byte, 1);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    check_doubles(pool);
    CHECK_INT(rota_now() - start, ==, ROTA_SECOND);
}

static int thousand_calls(void *arg)
{
    for (int i = 0; i < 100; i++)
        check_doubles(arg);
    return 0;
}

static int process_crowd(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(2);
    ROTA_GROUP(group);
    for (int i = 0; i < 10; i++)
        rota_group_spawn(&group, thousand_calls, pool);
    return rota_group_wait(&group);
}

TEST(thousand_process_jobs_each_get_their_own_result)
{
    run(process_crowd, NULL);
}

/* Each system call on the way to a new worker fails in turn, until none is left to fail. */
static int fork_fails(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(2);
    struct work w = {.action = DOUBLE};
    int failures = 0;
    for (uint64_t k = 1; k < 20; k++) {
        rota__fault_arm(ROTA__FAULT_SYSCALL, k);
        int err = call(pool, &w);
        rota__fault_disarm();
        if (err == 0)
            break;
        CHECK(err == -EMFILE || err == -EAGAIN || err == -ENOMEM || err == -EBADF ||
              err == ROTA_ECRASHED);
        failures++;
    }
    CHECK_INT(failures, >=, 2);
    check_doubles(pool);
    return 0;
}

TEST_WITH(failure_to_fork_fails_the_job_and_the_pool_recovers, .without_faults = true)
{
    run(fork_fails, NULL);
    check_no_children();
}

static int pause_in_worker(void *arg)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    struct work print = {.action = PRINT}, w = {.action = PAUSE};
    CHECK_OK(call(pool, &print));
    return call(pool, &w);
}

/* The worker has the pipe as its stdout, so the pipe ends when it does. */
TEST_WITH(worker_does_not_outlive_its_parent, .without_faults = true)
{
    int fds[2];
    char text[64];
    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[1]);
        _exit(rota_run(pause_in_worker, NULL) < 0);
    }
    close(fds[1]);
    CHECK_INT(read(fds[0], text, sizeof text), >, 0);
    CHECK_OK(kill(pid, SIGKILL));
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    CHECK_INT(read(fds[0], text, sizeof text), ==, 0);
    close(fds[0]);
}

TASK_TEST(child_of_a_fork_has_no_executors)
{
    ROTA_AUTO(rota_executor) pool = threads(1, 0);
    CHECK_INT(rota_executor_run(pool, seven, NULL), ==, 7);
    pid_t pid = fork();
    CHECK_OK(pid);
    if (pid == 0) {
        rota_executor_free(pool);
        _exit(rota_to_thread(seven, NULL) == ROTA_ENOTASK ? 0 : 1);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK_INT(status, ==, 0);
}

static int fork_and_return(void *arg)
{
    pid_t pid = fork();
    if (pid == 0)
        return arg ? -EIO : 0;
    return pid;
}

static void check_forked(pid_t pid, int expected)
{
    int status;
    CHECK_OK(pid);
    CHECK_INT(waitpid(pid, &status, 0), ==, pid);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, expected);
}

TASK_TEST(job_that_returns_in_a_child_of_a_fork_ends_the_child)
{
    check_forked(rota_to_thread(fork_and_return, NULL), 0);
    check_forked(rota_to_thread(fork_and_return, &(char){0}), 1);
    CHECK_INT(rota_to_thread(seven, NULL), ==, 7);
}

/* The number of the worker's socket is free in the child: what has it then is not the worker's. */
static int fork_and_open(void *arg)
{
    int *status = arg;
    pid_t pid = fork();
    if (pid == 0) {
        int pair[2] = {0, 0};
        while (pair[1] < 40)
            socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        return -EIO;
    }
    return waitpid(pid, status, 0) == pid ? 0 : -ECHILD;
}

TASK_TEST(job_that_returns_in_a_child_of_its_worker_ends_the_child)
{
    ROTA_AUTO(rota_executor) pool = workers(1);
    int status = 0;
    CHECK_OK(rota_executor_run_copy(pool, fork_and_open, &status, sizeof status));
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), ==, 1);
}
