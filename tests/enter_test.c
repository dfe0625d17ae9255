/* Loops that go from thread to thread, several in a thread, and the hook around their sleep. */

#include "harness.h"

#include "base/alloc.h"
#include "loop/loop.h"
#include "task/task.h"

#include <rota/sync.h>
#include <rota/test.h>

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

static rota_loop *new_loop(void)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    return loop;
}

/* One that no thread is in. */
static rota_loop *new_idle_loop(void)
{
    rota_loop *loop = new_loop();
    CHECK_OK(rota_loop_leave(loop));
    return loop;
}

static void in_thread(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, fn, arg), ==, 0);
    pthread_join(thread, NULL);
}

static void count(rota_handle *handle, void *arg)
{
    (void)handle;
    ++*(int *)arg;
}

static void check_nothing_left(void)
{
    CHECK_INT(rota_test_allocations(), ==, 0);
    CHECK_PTR(rota_loop_current(), ==, NULL);
}

/* ---- Several loops in a thread */

/* rule 3 */
TEST(a_thread_is_in_one_of_its_loops_at_a_time)
{
    int fds = test_open_fds(), ones = 0, twos = 0;
    rota_handle one = ROTA_HANDLE_INIT, two = ROTA_HANDLE_INIT;
    rota_loop *first = new_loop(), *second = new_loop();
    CHECK_PTR(rota_loop_current(), ==, first);
    CHECK_INT(rota_loop_enter(second), ==, -EBUSY);
    CHECK_INT(rota_loop_run(second), ==, -EBUSY);
    CHECK_INT(rota_loop_leave(second), ==, ROTA_ETHREAD);
    CHECK_OK(rota_loop_enter(first));
    rota_loop_call_soon(first, &one, count, &ones);
    CHECK_OK(rota_loop_leave(first));
    CHECK_PTR(rota_loop_current(), ==, NULL);
    CHECK_OK(rota_loop_enter(second));
    rota_loop_call_soon(second, &two, count, &twos);
    CHECK_OK(rota_loop_run(second));
    CHECK_INT(ones * 10 + twos, ==, 1);
    CHECK_OK(rota_loop_leave(second));
    CHECK_OK(rota_loop_run(first));
    CHECK_INT(ones * 10 + twos, ==, 11);
    CHECK_PTR(rota_loop_current(), ==, NULL);
    rota_loop_free(first);
    rota_loop_free(second);
    CHECK_INT(test_open_fds(), ==, fds);
    check_nothing_left();
}

TEST(run_enters_the_loop_and_leaves_it)
{
    int runs = 0;
    rota_handle h = ROTA_HANDLE_INIT;
    rota_loop *loop = new_loop();
    rota_loop_call_later(loop, &h, ROTA_MILLISECOND, count, &runs);
    CHECK_OK(rota_loop_leave(loop));
    CHECK_INT(rota_loop_run_once(loop, 0), >=, 0);
    CHECK_PTR(rota_loop_current(), ==, NULL);
    CHECK_OK(rota_loop_run(loop));
    CHECK_PTR(rota_loop_current(), ==, NULL);
    CHECK_INT(runs, ==, 1);
    rota_loop_free(loop);
    check_nothing_left();
}

static void leave_inside(rota_handle *handle, void *arg)
{
    (void)handle;
    CHECK_INT(rota_loop_leave(arg), ==, -EBUSY);
}

TEST(a_running_loop_is_not_left)
{
    rota_handle h = ROTA_HANDLE_INIT;
    rota_loop *loop = new_loop();
    rota_loop_call_soon(loop, &h, leave_inside, loop);
    CHECK_OK(rota_loop_run(loop));
    CHECK_PTR(rota_loop_current(), ==, loop);
    rota_loop_free(loop);
}

TEST(a_loop_that_has_ended_cannot_be_entered)
{
    rota_loop *loop = new_loop();
    rota_loop_free(loop);
    CHECK_INT(rota_loop_enter(loop), ==, ROTA_ECLOSED);
    CHECK_INT(rota_loop_run(loop), ==, ROTA_ECLOSED);
}

static int end_in_shield(void *arg)
{
    int err = rota_sleep(ROTA_NEVER);
    ROTA_SHIELD
    {
        ROTA_IGNORE(rota_sleep(ROTA_MILLISECOND));
    }
    ++*(int *)arg;
    return err;
}

static void free_other(rota_handle *handle, void *arg)
{
    (void)handle;
    rota_loop *here = rota_loop_current();
    rota_loop_free(arg);
    CHECK_PTR(rota_loop_current(), ==, here);
}

TEST(a_callback_of_one_loop_may_free_another)
{
    int ended = 0;
    rota_handle h = ROTA_HANDLE_INIT;
    rota_loop *other = new_loop();
    CHECK_OK(rota_spawn(end_in_shield, &ended, NULL));
    CHECK_OK(rota_loop_run_once(other, 0));
    CHECK_OK(rota_loop_leave(other));
    rota_loop *loop = new_loop();
    rota_loop_call_soon(loop, &h, free_other, other);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(ended, ==, 1);
    rota_loop_free(loop);
    check_nothing_left();
}

static int run_a_loop(void *arg)
{
    rota_loop *here = rota_loop_current();
    CHECK_INT(rota_run(run_a_loop, NULL), ==, -EBUSY);
    CHECK_PTR(rota_loop_current(), ==, here);
    return 0;
}

TEST(a_task_cannot_run_another_loop)
{
    CHECK_OK(rota_run(run_a_loop, NULL));
}

/* ---- From thread to thread */

static void *run_it(void *arg)
{
    CHECK_OK(rota_loop_run(arg));
    CHECK_PTR(rota_loop_current(), ==, NULL);
    return NULL;
}

/* rule 1 */
TEST_WITH(a_loop_is_made_in_one_thread_and_run_in_another, .without_faults = true)
{
    int runs = 0;
    rota_handle soon = ROTA_HANDLE_INIT, later = ROTA_HANDLE_INIT;
    rota_loop *loop = new_loop();
    rota_loop_call_soon(loop, &soon, count, &runs);
    rota_loop_call_later(loop, &later, ROTA_MILLISECOND, count, &runs);
    CHECK_OK(rota_loop_leave(loop));
    in_thread(run_it, loop);
    CHECK_INT(runs, ==, 2);
    rota_loop_free(loop);
    check_nothing_left();
}

static void *is_refused(void *arg)
{
    CHECK_INT(rota_loop_enter(arg), ==, -EBUSY);
    CHECK_INT(rota_loop_run(arg), ==, -EBUSY);
    rota_loop_free(arg);
    return NULL;
}

TEST_WITH(another_thread_is_refused_while_one_is_in_the_loop, .without_faults = true)
{
    rota_loop *loop = new_loop();
    in_thread(is_refused, loop);
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
    check_nothing_left();
}

static int wait_for_event(void *arg)
{
    return rota_event_wait(arg);
}

/* rule 3 */
TEST_WITH(a_loop_with_tasks_stays_with_their_thread, .without_faults = true)
{
    rota_event event = ROTA_EVENT_INIT;
    rota_loop *loop = new_loop();
    CHECK_OK(rota_spawn(wait_for_event, &event, NULL));
    CHECK_OK(rota_loop_run_once(loop, 0));
    CHECK_OK(rota_loop_leave(loop));
    in_thread(is_refused, loop);
    CHECK_OK(rota_event_set(&event));
    CHECK_OK(rota_loop_run(loop));
    in_thread(run_it, loop);
    rota_loop_free(loop);
    check_nothing_left();
}

static void called(rota_loop *loop, void *arg)
{
    CHECK_PTR(loop, ==, rota_loop_current());
    ++*(int *)arg;
}

TEST_WITH(calls_from_outside_wait_for_the_next_to_enter, .without_faults = true)
{
    int calls = 0;
    rota_loop *loop = new_idle_loop();
    CHECK_OK(rota_loop_call_threadsafe(loop, called, &calls));
    in_thread(run_it, loop);
    CHECK_INT(calls, ==, 1);
    rota_loop_free(loop);
}

struct shared {
    rota_loop *loop;
    rota_event event;
};

static void *use_shared(void *arg)
{
    struct shared *s = arg;
    CHECK_OK(rota_loop_enter(s->loop));
    CHECK_OK(rota_event_set(&s->event));
    CHECK_OK(rota_event_clear(&s->event));
    CHECK_OK(rota_loop_leave(s->loop));
    return NULL;
}

static void *use_shared_without_the_loop(void *arg)
{
    struct shared *s = arg;
    CHECK_INT(rota_event_set(&s->event), ==, ROTA_ETHREAD);
    return NULL;
}

TEST_WITH(an_event_goes_with_its_loop_from_thread_to_thread, .without_faults = true)
{
    struct shared s = {.loop = new_loop(), .event = ROTA_EVENT_INIT};
    CHECK_OK(rota_event_set(&s.event));
    in_thread(use_shared_without_the_loop, &s);
    CHECK_OK(rota_loop_leave(s.loop));
    in_thread(use_shared, &s);
    rota_loop_free(s.loop);
    CHECK_OK(rota_event_set(&s.event)); /* its loop has ended: anybody's */
}

/* ---- Operations */

struct job {
    struct rota__op op;
    int done;
};

static void job_done(struct rota__op *op)
{
    rota__container_of(op, struct job, op)->done++;
}

static void start_pending(struct job *job)
{
    job->op.done = job_done;
    CHECK(!rota__op_start(&job->op));
}

/* A loop with a receive, a wait for a descriptor and an accept that have nothing yet. */
struct pending {
    rota_loop *loop;
    struct rota__fd fd, listener;
    int peer, pipe[2];
    char buf[8];
    struct sockaddr_in address;
    struct job receive, poll, accept;
    int watched;
};

static void listen_on(struct pending *p)
{
    socklen_t len = sizeof p->address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_OK(bind(fd, (struct sockaddr *)&p->address, len));
    CHECK_OK(listen(fd, 4));
    CHECK_OK(getsockname(fd, (struct sockaddr *)&p->address, &len));
    CHECK_OK(rota__fd_open(&p->listener, rota__loop_here, fd, true));
}

static void begin(struct pending *p)
{
    int ends[2];
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(pipe(p->pipe));
    p->loop = new_loop();
    p->peer = ends[1];
    CHECK_OK(rota__fd_open(&p->fd, rota__loop_here, ends[0], true));
    listen_on(p);
    p->receive = (struct job){
        .op = {.kind = ROTA__OP_RECV, .fd = &p->fd, .buf = p->buf, .len = sizeof p->buf}};
    p->poll = (struct job){.op = {.kind = ROTA__OP_POLL,
                                  .loop = rota__loop_here,
                                  .poll_fd = p->pipe[0],
                                  .events = ROTA_READABLE}};
    p->accept = (struct job){.op = {.kind = ROTA__OP_ACCEPT, .fd = &p->listener}};
    start_pending(&p->receive);
    start_pending(&p->poll);
    start_pending(&p->accept);
    CHECK_OK(rota_loop_run_once(p->loop, 0));
}

static void *begin_and_leave(void *arg)
{
    struct pending *p = arg;
    begin(p);
    CHECK_OK(rota_loop_leave(p->loop));
    return NULL;
}

static int connect_to(const struct pending *p)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(connect(fd, (const struct sockaddr *)&p->address, sizeof p->address));
    return fd;
}

static void *finish(void *arg)
{
    struct pending *p = arg;
    int client = connect_to(p);
    CHECK_INT(write(p->peer, "abc", 3), ==, 3);
    CHECK_INT(write(p->pipe[1], "x", 1), ==, 1);
    CHECK_OK(rota_loop_enter(p->loop));
    CHECK_INT(p->receive.done + p->poll.done + p->accept.done, ==, 0);
    CHECK_OK(rota_loop_run(p->loop));
    CHECK_INT(p->receive.op.result, ==, 3);
    CHECK(memcmp(p->buf, "abc", 3) == 0);
    CHECK_INT(p->poll.op.result, ==, ROTA_READABLE);
    CHECK_OK((int)p->accept.op.result);
    CHECK_INT(p->receive.done + p->poll.done + p->accept.done, ==, 3);
    close((int)p->accept.op.result);
    close(client);
    CHECK_OK(rota_loop_leave(p->loop));
    return NULL;
}

static void end(struct pending *p)
{
    CHECK_OK(rota_loop_enter(p->loop));
    rota__fd_close(&p->fd);
    rota__fd_close(&p->listener);
    rota_loop_free(p->loop);
    close(p->peer);
    close(p->pipe[0]);
    close(p->pipe[1]);
    check_nothing_left();
}

/* The kernel ends what a thread has begun when the thread exits. */
TEST_WITH(operations_outlive_the_thread_that_began_them, .without_faults = true)
{
    struct pending p = {.peer = -1};
    in_thread(begin_and_leave, &p);
    in_thread(finish, &p);
    end(&p);
}

TEST_WITH(operations_go_on_when_their_thread_comes_back, .without_faults = true)
{
    struct pending p = {.peer = -1};
    begin_and_leave(&p);
    finish(&p);
    end(&p);
}

TEST(what_has_arrived_when_the_loop_is_left_is_kept)
{
    struct pending p = {.peer = -1};
    begin(&p);
    CHECK_INT(write(p.peer, "abc", 3), ==, 3);
    CHECK_OK(rota_loop_leave(p.loop));
    CHECK_OK(rota_loop_enter(p.loop));
    CHECK_OK(rota_loop_run_once(p.loop, 0));
    CHECK_INT(p.receive.done, ==, 1);
    CHECK_INT(p.receive.op.result, ==, 3);
    rota__op_withdraw(&p.poll.op);
    rota__op_withdraw(&p.accept.op);
    CHECK_OK(rota_loop_run(p.loop));
    CHECK_INT(p.poll.op.result, ==, -ECANCELED);
    CHECK_INT(p.accept.op.result, ==, -ECANCELED);
    CHECK_OK(rota_loop_leave(p.loop));
    end(&p);
}

TEST(a_loop_that_was_left_may_be_freed_with_what_is_pending_withdrawn)
{
    struct pending p = {.peer = -1};
    begin(&p);
    rota__op_withdraw(&p.receive.op);
    CHECK_OK(rota_loop_leave(p.loop));
    CHECK_INT(p.receive.op.result, ==, -ECANCELED);
    CHECK_INT(p.receive.done, ==, 1);
    CHECK_OK(rota_loop_enter(p.loop));
    rota__op_withdraw(&p.poll.op);
    rota__op_withdraw(&p.accept.op);
    CHECK_OK(rota_loop_leave(p.loop));
    CHECK_INT(p.poll.done + p.accept.done, ==, 2);
    end(&p);
}

/* The listener's queue is full: the kernel asks again after a second. */
TEST_WITH(a_connection_that_was_begun_is_made_in_the_next_thread, .without_faults = true)
{
    struct pending p = {.loop = new_loop()};
    int fill[8], n = 0;
    struct rota__fd fd;
    socklen_t len = sizeof p.address;
    listen_on(&p);
    CHECK_OK(listen(p.listener.fd, 0));
    for (; n < 2; n++) {
        fill[n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fill[n], (struct sockaddr *)&p.address, sizeof p.address);
    }
    CHECK_OK(
        rota__fd_open(&fd, rota__loop_here, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), true));
    struct job job = {.op = {.kind = ROTA__OP_CONNECT,
                             .fd = &fd,
                             .addr = (struct sockaddr *)&p.address,
                             .addr_len = &len}};
    start_pending(&job);
    CHECK_OK(rota_loop_run_once(p.loop, 0));
    CHECK_OK(rota_loop_leave(p.loop));
    CHECK(job.op.pending);
    for (int i = 0; i < n; i++) {
        int accepted = accept4(p.listener.fd, NULL, NULL, SOCK_CLOEXEC);
        if (accepted >= 0)
            close(accepted);
        close(fill[i]);
        if (i == 0)
            break; /* one place is enough */
    }
    in_thread(run_it, p.loop);
    CHECK_INT(job.op.result, ==, 0);
    CHECK_OK(rota_loop_enter(p.loop));
    close(fill[1]);
    rota__fd_close(&fd);
    rota__fd_close(&p.listener);
    rota_loop_free(p.loop);
}

static void watched(rota_watch *watch, int events, void *arg)
{
    struct pending *p = arg;
    char byte;
    CHECK_INT(events, ==, ROTA_READABLE);
    CHECK_INT(read(p->pipe[0], &byte, 1), ==, 1);
    if (++p->watched == 2)
        rota_watch_free(watch);
}

TEST_WITH(a_watch_goes_with_its_loop, .without_faults = true)
{
    struct pending p = {.loop = new_loop()};
    rota_watch *watch;
    CHECK_OK(pipe(p.pipe));
    CHECK_OK(rota_loop_watch(p.loop, p.pipe[0], ROTA_READABLE, watched, &p, &watch));
    CHECK_INT(write(p.pipe[1], "x", 1), ==, 1);
    CHECK_OK(rota_loop_run_once(p.loop, ROTA_SECOND));
    CHECK_INT(p.watched, ==, 1);
    CHECK_OK(rota_loop_leave(p.loop));
    CHECK_INT(write(p.pipe[1], "x", 1), ==, 1);
    in_thread(run_it, p.loop);
    CHECK_INT(p.watched, ==, 2);
    rota_loop_free(p.loop);
    close(p.pipe[0]);
    close(p.pipe[1]);
    check_nothing_left();
}

/* Whatever fails, the operations are there or done, and the loop can be ended. */
TEST(leaving_and_entering_end_cleanly_whatever_fails)
{
    rota_loop *loop;
    int ends[2];
    struct rota__fd fd;
    char byte;
    if (rota_loop_new(NULL, &loop) < 0)
        return;
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    if (rota__fd_open(&fd, rota__loop_here, ends[0], true) == 0) {
        struct job job = {.op = {.kind = ROTA__OP_RECV, .fd = &fd, .buf = &byte, .len = 1}};
        job.op.done = job_done;
        job.done = rota__op_start(&job.op);
        for (int i = 0; i < 3; i++) {
            if (rota_loop_leave(loop) == 0)
                while (rota_loop_enter(loop) < 0)
                    continue;
        }
        rota__op_withdraw(&job.op);
        while (job.op.pending)
            rota_loop_run_once(loop, 0);
        CHECK_INT(job.done, ==, 1);
        rota__fd_close(&fd);
    } else {
        close(ends[0]);
    }
    rota_loop_free(loop);
    close(ends[1]);
    check_nothing_left();
}

/* ---- The hook around the sleep */

struct naps {
    int begun, ended;
};

static void note_nap(void *arg, bool begins)
{
    struct naps *naps = arg;
    CHECK_INT(naps->begun - naps->ended, ==, !begins);
    if (begins)
        naps->begun++;
    else
        naps->ended++;
}

TEST(the_hook_is_called_around_waits_that_may_sleep_and_no_others)
{
    struct naps naps = {0};
    int runs = 0;
    rota_loop_options options = {.on_sleep = note_nap, .on_sleep_arg = &naps};
    rota_handle soon = ROTA_HANDLE_INIT, later = ROTA_HANDLE_INIT;
    rota_loop *loop;
    CHECK_OK(rota_loop_new(&options, &loop));
    rota_loop_call_later(loop, &later, 100 * ROTA_MILLISECOND, count, &runs);
    rota_loop_call_soon(loop, &soon, count, &runs);
    CHECK_OK(rota_loop_run_once(loop, ROTA_SECOND));
    CHECK_OK(rota_loop_run_once(loop, 0));
    CHECK_INT(naps.begun, ==, 0);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(naps.begun, >=, 1);
    CHECK_INT(naps.ended, ==, naps.begun);
    CHECK_INT(runs, ==, 2);
    rota_loop_free(loop);
}
