/* Descriptors that come from elsewhere, are waited for, and are given back. */

#include "clean_run.h"

#include "net/net.h"

#include <rota/dgram.h>
#include <rota/net.h>
#include <rota/sync.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* ---- rota_fd_wait_or */

struct waiter {
    int fd, result;
    rota_event *event;
};

static int wait_for_either(void *arg)
{
    struct waiter *w = arg;
    w->result = rota_fd_wait_or(w->fd, ROTA_READABLE, w->event);
    return w->result < 0 ? w->result : 0;
}

static void open_pipe(int ends[2])
{
    CHECK_OK(pipe2(ends, O_CLOEXEC));
}

static void close_pipe(int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static rota_task *start_waiter(struct waiter *w)
{
    rota_task *task = NULL;
    CHECK_OK(rota_spawn(wait_for_either, w, &task));
    CHECK_OK(rota_yield());
    CHECK_OK(rota_yield());
    CHECK(!rota_task_done(task));
    return task;
}

TASK_TEST(a_wait_for_either_ends_with_the_descriptors_events)
{
    rota_event event = ROTA_EVENT_INIT;
    int ends[2];
    open_pipe(ends);
    struct waiter w = {.fd = ends[0], .event = &event};
    rota_task *task = start_waiter(&w);
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    CHECK_OK(rota_join(task));
    CHECK_INT(w.result, ==, ROTA_READABLE);
    CHECK_OK(rota_event_set(&event)); /* wakes nobody */
    close_pipe(ends);
}

TASK_TEST(a_wait_for_either_ends_with_the_event)
{
    rota_event event = ROTA_EVENT_INIT;
    int ends[2];
    open_pipe(ends);
    struct waiter w = {.fd = ends[0], .result = 1, .event = &event};
    rota_task *task = start_waiter(&w);
    CHECK_OK(rota_event_set(&event));
    CHECK_OK(rota_join(task));
    CHECK_INT(w.result, ==, 0);
    CHECK_INT(rota_fd_wait_or(ends[0], ROTA_READABLE, &event), ==, 0);
    CHECK_OK(rota_event_clear(&event));
    CHECK_INT(write(ends[1], "x", 1), ==, 1);
    CHECK_INT(rota_fd_wait_or(ends[0], ROTA_READABLE, &event), ==, ROTA_READABLE);
    close_pipe(ends);
}

TASK_TEST(a_wait_for_either_is_cancelled_and_times_out)
{
    rota_event event = ROTA_EVENT_INIT;
    int ends[2], err = 0;
    open_pipe(ends);
    struct waiter w = {.fd = ends[0], .event = &event};
    rota_task *task = start_waiter(&w);
    rota_task_cancel(task);
    CHECK_INT(rota_join(task), ==, -ECANCELED);
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        err = rota_fd_wait_or(ends[0], ROTA_READABLE, &event);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_fd_wait_or(-1, ROTA_READABLE, &event), ==, -EBADF);
    CHECK_INT(rota_fd_wait_or(ends[0], 0, &event), ==, -EINVAL);
    CHECK_OK(rota_event_set(&event));
    close_pipe(ends);
}

/* A backend on which the first wait for a descriptor ends when and as the case says. */
static struct rota__op *first_wait;
static const struct rota__backend *real_backend;

static bool keep_first_wait(struct rota__op *op)
{
    if (op->kind != ROTA__OP_POLL || first_wait)
        return real_backend->start(op);
    first_wait = op;
    return false;
}

TASK_TEST(an_event_that_is_set_between_two_tries_is_seen)
{
    struct rota__backend backend = *rota__loop_here->backend;
    rota_event event = ROTA_EVENT_INIT;
    int ends[2];
    open_pipe(ends);
    real_backend = rota__loop_here->backend;
    backend.start = keep_first_wait;
    rota__loop_here->backend = &backend;
    struct waiter w = {.fd = ends[0], .result = 1, .event = &event};
    rota_task *task = start_waiter(&w);
    CHECK(first_wait);
    rota__op_complete(first_wait, -EAGAIN); /* the waiter is to try again */
    CHECK_OK(rota_event_set(&event));       /* and is no longer in the event's line */
    CHECK_OK(rota_yield());
    CHECK_OK(rota_yield());
    CHECK(rota_task_done(task));
    CHECK_INT(w.result, ==, 0);
    CHECK_OK(rota_join(task));
    rota__loop_here->backend = real_backend;
    close_pipe(ends);
}

static int listening_socket(struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(bind(fd, (struct sockaddr *)address, len));
    CHECK_OK(listen(fd, 4));
    CHECK_OK(getsockname(fd, (struct sockaddr *)address, &len));
    return fd;
}

static int wait_alone(void *arg)
{
    return rota_fd_wait(*(int *)arg, ROTA_READABLE);
}

/* Whatever ended the wait: the listener is closed at once, and its port is free. */
TASK_TEST(a_wait_that_has_ended_has_let_go_of_the_descriptor)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int how = 0; how < 3; how++) {
        rota_event event = ROTA_EVENT_INIT;
        int fd = listening_socket(&address);
        struct waiter w = {.fd = fd, .event = &event};
        rota_task *task = NULL;
        if (how < 2)
            task = start_waiter(&w);
        else
            CHECK_OK(rota_spawn(wait_alone, &fd, &task));
        CHECK_OK(rota_yield());
        if (how == 0)
            CHECK_OK(rota_event_set(&event));
        else
            rota_task_cancel(task);
        CHECK_INT(rota_join(task), ==, how == 0 ? 0 : -ECANCELED);
        close(fd);
    }
    close(listening_socket(&address));
}

/* ---- rota_stream_take_fd */

TASK_TEST(a_descriptor_comes_back_as_it_was)
{
    for (int mode = 0; mode <= O_NONBLOCK; mode += O_NONBLOCK) {
        int ends[2];
        char byte;
        rota_stream *s;
        CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
        CHECK_OK(fcntl(ends[0], F_SETFL, mode));
        CHECK_OK(rota_stream_from_fd(ends[0], &s));
        CHECK_OK(rota_stream_write(s, "a", 1));
        CHECK_INT(rota_stream_take_fd(s), ==, ends[0]);
        CHECK_INT(fcntl(ends[0], F_GETFL) & O_NONBLOCK, ==, mode);
        CHECK_INT(rota_stream_read(s, &byte, 1), ==, ROTA_ECLOSED);
        CHECK_INT(rota_stream_take_fd(s), ==, ROTA_ECLOSED);
        rota_stream_free(s);
        CHECK_INT(write(ends[0], "b", 1), ==, 1);
        CHECK_INT(read(ends[1], &byte, 1), ==, 1);
        CHECK_INT(byte, ==, 'a');
        close_pipe(ends);
    }
}

static int read_byte(void *arg)
{
    char byte;
    return (int)rota_stream_read(arg, &byte, 1);
}

TASK_TEST(a_descriptor_in_use_is_not_given_away)
{
    int ends[2];
    rota_stream *s, *one, *other;
    rota_task *task = NULL;
    char two[2];
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota_stream_from_fd(ends[0], &s));
    CHECK_OK(rota_spawn(read_byte, s, &task));
    CHECK_OK(rota_yield());
    CHECK_INT(rota_stream_take_fd(s), ==, -EBUSY);
    CHECK_INT(write(ends[1], "1", 1), ==, 1);
    CHECK_INT(rota_join(task), ==, 1);
    CHECK_INT(write(ends[1], "line\nrest", 9), ==, 9);
    rota_str line;
    CHECK_INT(rota_stream_read_line(s, &line), ==, 1);
    CHECK_INT(rota_stream_take_fd(s), ==, -EBUSY);
    CHECK(strstr(rota_error(-EBUSY), "that were not read"));
    CHECK_INT(rota_stream_read_exact(s, two, 2), ==, 0);
    CHECK_INT(rota_stream_take_fd(s), ==, -EBUSY);
    CHECK_INT(rota_stream_read_exact(s, two, 2), ==, 0);
    CHECK_INT(rota_stream_take_fd(s), ==, ends[0]);
    rota_stream_free(s);
    CHECK_OK(rota_stream_pair(16, &one, &other));
    CHECK_INT(rota_stream_take_fd(one), ==, -EOPNOTSUPP);
    rota_stream_free(one);
    rota_stream_free(other);
    close_pipe(ends);
}

/* ---- Sockets that somebody else has opened */

TASK_TEST(a_listening_socket_becomes_a_listener)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = listening_socket(&address), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rota_listener *l;
    rota_stream *s;
    char byte;
    CHECK_OK(rota_listener_from_fd(fd, &l));
    CHECK_INT(rota_listener_port(l), ==, ntohs(address.sin_port));
    CHECK_OK(connect(client, (struct sockaddr *)&address, sizeof address));
    CHECK_INT(write(client, "x", 1), ==, 1);
    CHECK_OK(rota_accept(l, &s));
    CHECK_INT(rota_stream_read(s, &byte, 1), ==, 1);
    rota_stream_free(s);
    close(client);
    rota_listener_free(l);
    CHECK_INT(fcntl(fd, F_GETFD), ==, -1);
}

TASK_TEST(only_a_listening_stream_socket_becomes_a_listener)
{
    rota_listener *l = NULL;
    rota_dgram *d = NULL;
    int ends[2], stream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int dgram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int netlink = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    open_pipe(ends);
    CHECK_INT(rota_listener_from_fd(-1, &l), ==, -EBADF);
    CHECK_INT(rota_listener_from_fd(ends[0], &l), ==, -ENOTSOCK);
    CHECK_INT(rota_listener_from_fd(dgram, &l), ==, -EPROTOTYPE);
    CHECK_INT(rota_listener_from_fd(stream, &l), ==, -EINVAL);
    CHECK(strstr(rota_error(-EINVAL), "not a listening socket"));
    CHECK_INT(rota_dgram_from_fd(stream, &d), ==, -EPROTOTYPE);
    CHECK_INT(rota_dgram_from_fd(ends[0], &d), ==, -ENOTSOCK);
    if (netlink >= 0)
        CHECK_INT(rota_dgram_from_fd(netlink, &d), ==, -EAFNOSUPPORT);
    CHECK(!l && !d);
    close(stream);
    close(dgram);
    close(netlink);
    close_pipe(ends);
}

TASK_TEST(a_bound_socket_becomes_a_datagram_socket)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char byte;
    rota_dgram *s;
    CHECK_OK(bind(fd, (struct sockaddr *)&address, sizeof address));
    CHECK_OK(rota_dgram_from_fd(fd, &s));
    CHECK_INT(rota_dgram_port(s), >, 0);
    CHECK_OK(rota_dgram_send(s, "x", 1, rota_dgram_local(s)));
    CHECK_INT(rota_dgram_receive(s, &byte, 1, NULL), ==, 1);
    rota_dgram_free(s);
}

TEST(outside_a_loop_no_descriptor_is_taken)
{
    rota_listener *l;
    rota_dgram *d;
    CHECK_INT(rota_listener_from_fd(0, &l), ==, ROTA_ENOTASK);
    CHECK_INT(rota_dgram_from_fd(0, &d), ==, ROTA_ENOTASK);
}

/* ---- LISTEN_FDS */

static void pass(const char *count, const char *names)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", count, 1);
    unsetenv("LISTEN_FDNAMES");
    if (names)
        setenv("LISTEN_FDNAMES", names, 1);
}

/* Puts pipes where the service manager would put sockets; what is there moves out of the way. */
static void fill_places(void)
{
    int ends[2];
    open_pipe(ends);
    for (int fd = 3; fd < 6; fd++) {
        if (fd == ends[0])
            ends[0] = fcntl(fd, F_DUPFD, 20);
        CHECK_OK(dup2(ends[0], fd));
    }
}

TEST_WITH(descriptors_of_a_service_are_found_by_name, .without_faults = true)
{
    int fds[3] = {-1, -1, -1};
    fill_places();
    pass("3", "http:admin:http");
    CHECK_INT(rota_listen_fds("http", fds, 3), ==, 2);
    CHECK_INT(fds[0] * 10 + fds[1], ==, 35);
    CHECK_INT(fds[2], ==, -1);
    for (int fd = 3; fd < 6; fd++)
        CHECK_INT(fcntl(fd, F_GETFD), ==, FD_CLOEXEC);
    CHECK_INT(rota_listen_fds("admin", fds, 1), ==, 1);
    CHECK_INT(fds[0], ==, 4);
    CHECK_INT(rota_listen_fds("htt", fds, 3), ==, 0);
    CHECK_INT(rota_listen_fds("", fds, 3), ==, 0);
    CHECK_INT(rota_listen_fds(NULL, fds, 1), ==, 3);
    CHECK_INT(fds[0], ==, 3);
    pass("3", NULL);
    CHECK_INT(rota_listen_fds("unknown", fds, 3), ==, 3);
    CHECK_INT(rota_listen_fds("http", fds, 3), ==, 0);
}

TEST_WITH(descriptors_for_another_process_are_not_ours, .without_faults = true)
{
    int fd = -1;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    CHECK_INT(rota_listen_fds(NULL, &fd, 1), ==, 0);
    pass("1", NULL);
    setenv("LISTEN_PID", "1", 1);
    CHECK_INT(rota_listen_fds(NULL, &fd, 1), ==, 0);
    pass("0", NULL);
    CHECK_INT(rota_listen_fds(NULL, &fd, 1), ==, 0);
    CHECK_INT(fd, ==, -1);
}

TEST_WITH(descriptors_of_a_service_that_make_no_sense_are_refused, .without_faults = true)
{
    static const char *const counts[] = {"", "-1", "1x", " 1", "99999999999", "0x1"};
    int fd = -1;
    fill_places();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        pass(counts[i], NULL);
        CHECK_INT(rota_listen_fds(NULL, &fd, 1), ==, -EINVAL);
    }
    pass("3", "a:b");
    CHECK_INT(rota_listen_fds(NULL, &fd, 1), ==, -EINVAL);
    CHECK_STR(rota_error(-EINVAL), "read LISTEN_FDNAMES: 2 names for 3 descriptors");
    pass("1", NULL);
    setenv("LISTEN_PID", "+1", 1);
    CHECK_INT(rota_listen_fds(NULL, &fd, 1), ==, -EINVAL);
    pass("900", NULL);
    CHECK_INT(rota_listen_fds(NULL, &fd, 1), ==, -EBADF);
    CHECK_INT(fd, ==, -1);
}
