/* A loop inside a foreign poll loop: rota_loop_fd and rota_loop_run_once(loop, 0). */

#include "harness.h"

#include "loop/loop.h"

#include <rota/task.h>

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* The foreign loop: nothing but poll(2). */
struct foreign {
    rota_loop *loop;
    int fd;
    int turns;
};

static struct foreign start(void)
{
    struct foreign f = {0};
    CHECK_OK(rota_loop_new(NULL, &f.loop));
    f.fd = rota_loop_fd(f.loop);
    CHECK_OK(f.fd);
    return f;
}

static bool readable(const struct foreign *f, int ms)
{
    struct pollfd p = {.fd = f->fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

/* Runs the loop when poll says so, until *what is reached. */
static void drive(struct foreign *f, const int *what, int until)
{
    while (*what < until) {
        if (!readable(f, 5000 * test_scale()))
            FAIL("asleep with %d of %d done", *what, until);
        CHECK_OK(rota_loop_run_once(f->loop, 0));
        CHECK_INT(++f->turns, <, 10000);
    }
}

/* Runs what is left until the descriptor is quiet, which it has to become: no loop may spin. */
static void settle(struct foreign *f)
{
    int turns = 0;
    while (readable(f, 0)) {
        CHECK_OK(rota_loop_run_once(f->loop, 0));
        CHECK_INT(++turns, <, 20);
    }
}

static void count(rota_handle *handle, void *arg)
{
    (void)handle;
    ++*(int *)arg;
}

TEST(idle_loop_is_quiet)
{
    struct foreign f = start();
    settle(&f);
    CHECK(!readable(&f, 5));
    CHECK_INT(rota_loop_fd(f.loop), ==, f.fd);
    settle(&f);
    rota_loop_free(f.loop);
}

TEST(timers_make_it_readable_in_time)
{
    struct foreign f = start();
    rota_handle h = ROTA_HANDLE_INIT;
    int calls = 0;
    rota_time began = rota_now();
    rota_loop_call_later(f.loop, &h, 20 * ROTA_MILLISECOND, count, &calls);
    CHECK_INT(rota_loop_run_once(f.loop, 0), ==, 1);
    drive(&f, &calls, 1);
    CHECK_INT(rota_now() - began, >=, 20 * ROTA_MILLISECOND);
    CHECK_INT(f.turns, <, 10);
    settle(&f);
    rota_loop_free(f.loop);
}

/* What is asked of the loop between its turns counts once rota_loop_fd was called again. */
TEST(rota_loop_fd_takes_note_of_what_was_added_outside_a_turn)
{
    struct foreign f = start();
    rota_handle soon = ROTA_HANDLE_INIT, later = ROTA_HANDLE_INIT;
    int calls = 0;
    settle(&f);
    rota_loop_call_soon(f.loop, &soon, count, &calls);
    CHECK_INT(rota_loop_fd(f.loop), ==, f.fd);
    drive(&f, &calls, 1);
    settle(&f);
    rota_loop_call_later(f.loop, &later, ROTA_MILLISECOND, count, &calls);
    CHECK_INT(rota_loop_fd(f.loop), ==, f.fd);
    drive(&f, &calls, 2);
    settle(&f);
    rota_loop_free(f.loop);
}

static void see(rota_watch *watch, int events, void *arg)
{
    (void)watch;
    CHECK_INT(events, ==, ROTA_READABLE);
    int *pair = arg;
    char byte;
    CHECK_INT(read(pair[0], &byte, 1), ==, 1);
    pair[2]++;
}

TEST(input_makes_it_readable_again_and_again)
{
    struct foreign f = start();
    int pair[3] = {0};
    rota_watch *watch;
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    CHECK_OK(rota_loop_watch(f.loop, pair[0], ROTA_READABLE, see, pair, &watch));
    CHECK_INT(rota_loop_run_once(f.loop, 0), ==, 1);
    for (int i = 0; i < 20; i++) {
        settle(&f);
        CHECK(!readable(&f, 0));
        CHECK_INT(write(pair[1], "x", 1), ==, 1);
        drive(&f, &pair[2], i + 1);
    }
    rota_watch_free(watch);
    rota_loop_free(f.loop);
}

static void count_event(rota_watch *watch, int events, void *arg)
{
    (void)watch;
    CHECK_INT(events, ==, ROTA_READABLE);
    int *eventfd_and_count = arg;
    eventfd_t value;
    CHECK_OK(eventfd_read(eventfd_and_count[0], &value));
    eventfd_and_count[1]++;
}

/* One eventfd that tells of another is where the kernel has to be helped. */
TEST(watched_eventfd_makes_it_readable_again_and_again)
{
    struct foreign f = start();
    int event[2] = {eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 0};
    rota_watch *watch;
    CHECK_OK(rota_loop_watch(f.loop, event[0], ROTA_READABLE, count_event, event, &watch));
    CHECK_INT(rota_loop_run_once(f.loop, 0), ==, 1);
    for (int i = 0; i < 20; i++) {
        settle(&f);
        CHECK_OK(eventfd_write(event[0], 1));
        drive(&f, &event[1], i + 1);
    }
    rota_watch_free(watch);
    close(event[0]);
    rota_loop_free(f.loop);
}

static int posted;

static void post_count(rota_loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    posted++;
}

static void *post_some(void *arg)
{
    for (int i = 0; i < 5; i++)
        CHECK_OK(rota_loop_call_threadsafe(arg, post_count, NULL));
    return NULL;
}

TEST(calls_of_other_threads_make_it_readable_again_and_again)
{
    struct foreign f = start();
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        settle(&f);
        CHECK_INT(pthread_create(&thread, NULL, post_some, f.loop), ==, 0);
        drive(&f, &posted, 5 * i + 5);
        pthread_join(thread, NULL);
    }
    rota_loop_free(f.loop);
}

struct talk {
    rota_loop *loop;
    int done;
};

static int sleeper(void *arg)
{
    struct talk *talk = arg;
    for (int i = 0; i < 3; i++) {
        CHECK_INT(rota_sleep(ROTA_MILLISECOND), ==, 0);
        CHECK_INT(rota_yield(), ==, 0);
    }
    talk->done++;
    return 0;
}

TEST(tasks_run_inside_a_foreign_loop)
{
    struct foreign f = start();
    struct talk talk = {f.loop, 0};
    for (int i = 0; i < 10; i++)
        CHECK_OK(rota_spawn(sleeper, &talk, NULL));
    CHECK_INT(rota_loop_run_once(f.loop, 0), ==, 1);
    drive(&f, &talk.done, 10);
    settle(&f);
    CHECK_INT(rota_loop_run_once(f.loop, 0), ==, 0);
    rota_loop_free(f.loop);
}

struct echo {
    struct rota__fd fd;
    char buf[4];
    int received;
};

static void received(struct rota__op *op)
{
    struct echo *e = op->owner;
    CHECK_INT(op->result, ==, 1);
    e->received++;
}

/* An operation that a callback starts in one turn is the kernel's when the turn is over. */
static void receive_again(rota_handle *handle, void *arg)
{
    (void)handle;
    struct rota__op *op = arg;
    CHECK(!rota__op_start(op));
}

TEST(operation_started_in_a_turn_makes_it_readable)
{
    struct foreign f = start();
    int ends[2];
    struct echo e;
    rota_handle h = ROTA_HANDLE_INIT;
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    CHECK_OK(rota__fd_open(&e.fd, rota__loop_here, ends[0], true));
    e.received = 0;
    for (int i = 0; i < 20; i++) {
        struct rota__op op = {.kind = ROTA__OP_RECV,
                              .fd = &e.fd,
                              .buf = e.buf,
                              .len = 4,
                              .done = received,
                              .owner = &e};
        rota_loop_call_soon(f.loop, &h, receive_again, &op);
        CHECK_INT(rota_loop_run_once(f.loop, 0), ==, 1);
        settle(&f);
        CHECK_INT(write(ends[1], "x", 1), ==, 1);
        drive(&f, &e.received, i + 1);
    }
    rota__fd_close(&e.fd);
    rota_loop_free(f.loop);
}
