/* The contract of backends: every operation on each, at once, pending, withdrawn, in every
 * order. */

#include "harness.h"

#include "base/alloc.h"
#include "base/fault.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

TEST_ALL_ON_BOTH_BACKENDS;

/* An operation, and what became of it. */
struct job {
    struct rota__op op;
    int done;
};

static void job_done(struct rota__op *op)
{
    rota__container_of(op, struct job, op)->done++;
}

static rota_loop *new_loop(void)
{
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    return loop;
}

static void start(struct job *job)
{
    job->op.done = job_done;
    if (rota__op_start(&job->op))
        job->done = 1;
}

/* Starts an operation that cannot be done yet. */
static void start_pending(struct job *job)
{
    start(job);
    CHECK_INT(job->done, ==, 0);
    CHECK(job->op.pending);
}

static void run_until_done(rota_loop *loop, struct job *job)
{
    while (!job->done)
        CHECK_OK(rota_loop_run_once(loop, ROTA_SECOND));
    CHECK(!job->op.pending);
}

static ssize_t finish(rota_loop *loop, struct job *job)
{
    start(job);
    run_until_done(loop, job);
    CHECK_INT(job->done, ==, 1);
    return job->op.result;
}

static void turn(rota_loop *loop)
{
    CHECK_OK(rota_loop_run_once(loop, 0));
}

static struct job job_recv(struct rota__fd *fd, void *buf, size_t len)
{
    return (struct job){.op = {.kind = ROTA__OP_RECV, .fd = fd, .buf = buf, .len = len}};
}

static struct job job_send(struct rota__fd *fd, const void *buf, size_t len)
{
    return (struct job){
        .op = {.kind = ROTA__OP_SEND, .fd = fd, .buf = (void *)(uintptr_t)buf, .len = len}};
}

/* A socket of ours and its other end, which blocks. */
static void open_pair(rota_loop *loop, struct rota__fd *fd, int *ret_peer)
{
    int ends[2];
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota__fd_open(fd, rota__loop_here, ends[0], true));
    *ret_peer = ends[1];
}

static void open_pipe(rota_loop *loop, struct rota__fd *fd, bool reading, int *ret_peer)
{
    int ends[2];
    CHECK_OK(pipe2(ends, O_CLOEXEC));
    CHECK_OK(rota__fd_open(fd, rota__loop_here, ends[!reading], false));
    *ret_peer = ends[reading];
}

static void put(int fd, const char *text)
{
    CHECK_INT(write(fd, text, strlen(text)), ==, (long long)strlen(text));
}

/* What stands in the way of a sender: the socket's buffers are full. */
static size_t fill(rota_loop *loop, struct rota__fd *fd, struct job *last)
{
    static char block[65536];
    size_t total = 0;
    for (;;) {
        *last = job_send(fd, block, sizeof block);
        start(last);
        /* io_uring may take a little more when it first tries. */
        for (int i = 0; i < 5 && !last->done; i++)
            turn(loop);
        if (!last->done)
            return total;
        CHECK_INT(last->op.result, >, 0);
        total += (size_t)last->op.result;
    }
}

static size_t drain(int fd, size_t limit)
{
    static char block[65536];
    size_t total = 0;
    while (total < limit) {
        size_t want = limit - total < sizeof block ? limit - total : sizeof block;
        ssize_t n = recv(fd, block, want, MSG_DONTWAIT);
        if (n <= 0)
            break;
        total += (size_t)n;
    }
    return total;
}

static void withdraw_and_wait(rota_loop *loop, struct job *job)
{
    rota__op_withdraw(&job->op);
    run_until_done(loop, job);
    CHECK_INT(job->done, ==, 1);
}

static struct sockaddr_in loopback(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int listen_here(struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *ret_address;
    *ret_address = loopback();
    CHECK_OK(bind(fd, (struct sockaddr *)ret_address, size));
    CHECK_OK(listen(fd, 16));
    CHECK_OK(getsockname(fd, (struct sockaddr *)ret_address, &size));
    return fd;
}

/* ---- Done at once */

TEST(data_that_is_there_is_received)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[10];
    open_pair(loop, &fd, &peer);
    put(peer, "hello");
    struct job r = job_recv(&fd, buf, sizeof buf);
    CHECK_INT(finish(loop, &r), ==, 5);
    CHECK_MEM(buf, "hello", 5);
    rota__fd_close(&fd);
    CHECK_INT(fd.fd, ==, -1);
    close(peer);
    rota_loop_free(loop);
}

TEST(sent_data_arrives)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[20] = "";
    open_pair(loop, &fd, &peer);
    struct job s = job_send(&fd, "hello", 5);
    CHECK_INT(finish(loop, &s), ==, 5);
    struct iovec iov[] = {{(char[]){"wor"}, 3}, {(char[]){"ld"}, 2}};
    struct job v = {.op = {.kind = ROTA__OP_WRITEV, .fd = &fd, .iov = iov, .iov_count = 2}};
    CHECK_INT(finish(loop, &v), ==, 5);
    CHECK_INT(read(peer, buf, sizeof buf), ==, 10);
    CHECK_STR(buf, "helloworld");
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

TEST(pipes_are_read_and_written)
{
    rota_loop *loop = new_loop();
    struct rota__fd in, out;
    int to, from;
    char buf[10];
    open_pipe(loop, &in, true, &to);
    open_pipe(loop, &out, false, &from);
    struct job r = job_recv(&in, buf, sizeof buf);
    start_pending(&r);
    put(to, "abc");
    run_until_done(loop, &r);
    CHECK_INT(r.op.result, ==, 3);
    struct iovec iov[] = {{(char[]){"x"}, 1}, {(char[]){"yz"}, 2}};
    struct job v = {.op = {.kind = ROTA__OP_WRITEV, .fd = &out, .iov = iov, .iov_count = 2}};
    CHECK_INT(finish(loop, &v), ==, 3);
    struct job s = job_send(&out, "!", 1);
    CHECK_INT(finish(loop, &s), ==, 1);
    CHECK_INT(read(from, buf, sizeof buf), ==, 4);
    CHECK_MEM(buf, "xyz!", 4);
    close(to);
    struct job end = job_recv(&in, buf, sizeof buf);
    CHECK_INT(finish(loop, &end), ==, 0);
    rota__fd_close(&in);
    rota__fd_close(&out);
    close(from);
    rota_loop_free(loop);
}

TEST(closed_descriptor_is_refused)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[1];
    open_pair(loop, &fd, &peer);
    rota__fd_close(&fd);
    rota__fd_close(&fd);
    struct job r = job_recv(&fd, buf, 1);
    CHECK_INT(finish(loop, &r), ==, -EBADF);
    close(peer);
    rota_loop_free(loop);
}

TEST(release_gives_the_descriptor_back)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[4];
    open_pair(loop, &fd, &peer);
    struct job r = job_recv(&fd, buf, sizeof buf);
    start_pending(&r);
    withdraw_and_wait(loop, &r);
    int number = rota__fd_release(&fd);
    put(peer, "mine");
    turn(loop);
    CHECK_INT(read(number, buf, sizeof buf), ==, 4);
    close(number);
    close(peer);
    rota_loop_free(loop);
}

/* ---- Pending, then completed */

TEST(receive_waits_for_data)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[10];
    open_pair(loop, &fd, &peer);
    struct job r = job_recv(&fd, buf, sizeof buf);
    start_pending(&r);
    turn(loop);
    CHECK_INT(r.done, ==, 0);
    put(peer, "late");
    run_until_done(loop, &r);
    CHECK_INT(r.op.result, ==, 4);
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

TEST(many_messages_are_received_one_after_another)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[10];
    open_pair(loop, &fd, &peer);
    for (int i = 0; i < 50; i++) {
        struct job r = job_recv(&fd, buf, sizeof buf);
        if (i % 2)
            put(peer, "ab");
        start(&r);
        if (i % 2 == 0)
            put(peer, "cd");
        run_until_done(loop, &r);
        CHECK_INT(r.op.result, ==, 2);
    }
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

/* The end may come in the same event as the last bytes. */
static void check_end_after_data(void (*open_end)(rota_loop *, struct rota__fd *, int *))
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[100];
    open_end(loop, &fd, &peer);
    struct job first = job_recv(&fd, buf, sizeof buf);
    start_pending(&first);
    put(peer, "last words");
    close(peer);
    run_until_done(loop, &first);
    CHECK_INT(first.op.result, ==, 10);
    for (int i = 0; i < 3; i++) {
        struct job end = job_recv(&fd, buf, sizeof buf);
        CHECK_INT(finish(loop, &end), ==, 0);
    }
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

static void open_reading_pipe(rota_loop *loop, struct rota__fd *fd, int *ret_peer)
{
    open_pipe(loop, fd, true, ret_peer);
}

static void open_tcp(rota_loop *loop, struct rota__fd *fd, int *ret_peer)
{
    struct sockaddr_in address;
    int listener = listen_here(&address);
    *ret_peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(connect(*ret_peer, (struct sockaddr *)&address, sizeof address));
    CHECK_OK(rota__fd_open(fd, rota__loop_here, accept(listener, NULL, NULL), true));
    close(listener);
}

TEST(end_that_comes_with_the_last_data_is_seen_on_a_socket_pair)
{
    check_end_after_data(open_pair);
}

TEST(end_that_comes_with_the_last_data_is_seen_on_a_pipe)
{
    check_end_after_data(open_reading_pipe);
}

TEST(end_that_comes_with_the_last_data_is_seen_on_tcp)
{
    check_end_after_data(open_tcp);
}

TEST(reset_after_data_is_an_error_and_not_a_wait_for_ever)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[100];
    open_tcp(loop, &fd, &peer);
    struct job first = job_recv(&fd, buf, sizeof buf);
    start_pending(&first);
    struct linger now = {1, 0};
    CHECK_OK(setsockopt(peer, SOL_SOCKET, SO_LINGER, &now, sizeof now));
    close(peer);
    run_until_done(loop, &first);
    CHECK_INT(first.op.result, ==, -ECONNRESET);
    struct job again = job_recv(&fd, buf, sizeof buf);
    CHECK_INT(finish(loop, &again), ==, 0);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

/* A short read says nothing about what a pipe in packet mode still holds. */
TEST(packets_of_a_pipe_are_all_received)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int ends[2];
    char buf[100];
    CHECK_OK(pipe2(ends, O_CLOEXEC | O_DIRECT));
    CHECK_OK(rota__fd_open(&fd, rota__loop_here, ends[0], false));
    struct job first = job_recv(&fd, buf, sizeof buf);
    start_pending(&first);
    put(ends[1], "one");
    put(ends[1], "three");
    run_until_done(loop, &first);
    CHECK_INT(first.op.result, ==, 3);
    struct job second = job_recv(&fd, buf, sizeof buf);
    CHECK_INT(finish(loop, &second), ==, 5);
    rota__fd_close(&fd);
    close(ends[1]);
    rota_loop_free(loop);
}

/* Nor about datagrams. */
TEST(datagrams_are_all_received)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int ends[2];
    char buf[100];
    CHECK_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota__fd_open(&fd, rota__loop_here, ends[0], true));
    struct job first = job_recv(&fd, buf, sizeof buf);
    start_pending(&first);
    put(ends[1], "one");
    put(ends[1], "three");
    run_until_done(loop, &first);
    CHECK_INT(first.op.result, ==, 3);
    struct job second = job_recv(&fd, buf, sizeof buf);
    CHECK_INT(finish(loop, &second), ==, 5);
    rota__fd_close(&fd);
    close(ends[1]);
    rota_loop_free(loop);
}

/* Somebody else may have been quicker. */
TEST(event_without_data_leaves_the_operation_pending)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[10];
    open_pair(loop, &fd, &peer);
    int copy = dup(fd.fd);
    struct job r = job_recv(&fd, buf, sizeof buf);
    start_pending(&r);
    turn(loop);
    put(peer, "gone");
    CHECK_INT(recv(copy, buf, sizeof buf, MSG_DONTWAIT), ==, 4);
    turn(loop);
    turn(loop);
    CHECK_INT(r.done, ==, 0);
    put(peer, "mine");
    run_until_done(loop, &r);
    CHECK_INT(r.op.result, ==, 4);
    CHECK_MEM(buf, "mine", 4);
    rota__fd_close(&fd);
    close(copy);
    close(peer);
    rota_loop_free(loop);
}

TEST(send_waits_for_room)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    struct job s;
    open_pair(loop, &fd, &peer);
    size_t sent = fill(loop, &fd, &s);
    size_t got = 0;
    while (!s.done) {
        got += drain(peer, 65536);
        turn(loop);
    }
    CHECK_INT(s.op.result, >, 0);
    sent += (size_t)s.op.result;
    got += drain(peer, sent);
    CHECK_INT(got, ==, sent);
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

TEST(vector_waits_for_room)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    struct job s;
    open_pair(loop, &fd, &peer);
    size_t sent = fill(loop, &fd, &s);
    withdraw_and_wait(loop, &s);
    sent += s.op.result > 0 ? (size_t)s.op.result : 0;
    struct iovec iov[] = {{(char[]){"ab"}, 2}, {(char[]){"cde"}, 3}};
    struct job v = {.op = {.kind = ROTA__OP_WRITEV, .fd = &fd, .iov = iov, .iov_count = 2}};
    start_pending(&v);
    turn(loop);
    CHECK_INT(drain(peer, sent), ==, sent);
    run_until_done(loop, &v);
    CHECK_INT(v.op.result, ==, 5);
    CHECK_INT(drain(peer, 100), ==, 5);
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

TEST(broken_pipe_is_an_error_and_no_signal)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    open_pair(loop, &fd, &peer);
    close(peer);
    struct job s = job_send(&fd, "x", 1);
    CHECK_INT(finish(loop, &s), ==, -EPIPE);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

TEST(accept_waits_for_a_connection)
{
    rota_loop *loop = new_loop();
    struct sockaddr_in address, from;
    socklen_t size = sizeof from;
    struct rota__fd fd;
    int listener = listen_here(&address);
    CHECK_OK(rota__fd_open(&fd, rota__loop_here, listener, true));
    struct job a = {.op = {.kind = ROTA__OP_ACCEPT,
                           .fd = &fd,
                           .addr = (struct sockaddr *)&from,
                           .addr_len = &size}};
    start_pending(&a);
    turn(loop);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(connect(client, (struct sockaddr *)&address, sizeof address));
    run_until_done(loop, &a);
    CHECK_OK(a.op.result);
    CHECK_INT(from.sin_family, ==, AF_INET);
    CHECK_INT(fcntl((int)a.op.result, F_GETFD) & FD_CLOEXEC, ==, FD_CLOEXEC);
    close((int)a.op.result);
    close(client);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

static struct job job_connect(struct rota__fd *fd, struct sockaddr_in *address, socklen_t *size)
{
    return (struct job){.op = {.kind = ROTA__OP_CONNECT,
                               .fd = fd,
                               .addr = (struct sockaddr *)address,
                               .addr_len = size}};
}

TEST(connect_reaches_a_listener)
{
    rota_loop *loop = new_loop();
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    struct rota__fd fd;
    int listener = listen_here(&address);
    CHECK_OK(
        rota__fd_open(&fd, rota__loop_here, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), true));
    struct job c = job_connect(&fd, &address, &size);
    CHECK_INT(finish(loop, &c), ==, 0);
    int other = accept(listener, NULL, NULL);
    struct job s = job_send(&fd, "hi", 2);
    CHECK_INT(finish(loop, &s), ==, 2);
    char buf[2];
    CHECK_INT(read(other, buf, 2), ==, 2);
    close(other);
    close(listener);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

TEST(refused_connection_is_an_error)
{
    rota_loop *loop = new_loop();
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    struct rota__fd fd;
    close(listen_here(&address));
    CHECK_OK(
        rota__fd_open(&fd, rota__loop_here, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), true));
    struct job c = job_connect(&fd, &address, &size);
    CHECK_INT(finish(loop, &c), ==, -ECONNREFUSED);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

/* Linux stops a read at the urgent mark, and there is no event for what stands behind it. */
TEST(read_that_urgent_data_cut_short_has_not_emptied_the_socket)
{
    rota_loop *loop = new_loop();
    struct sockaddr_in address;
    struct rota__fd fd;
    char buf[10];
    int listener = listen_here(&address), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_OK(connect(client, (struct sockaddr *)&address, sizeof address));
    CHECK_OK(rota__fd_open(&fd, rota__loop_here, accept(listener, NULL, NULL), true));
    struct job r = job_recv(&fd, buf, sizeof buf);
    start_pending(&r);
    put(client, "ab");
    CHECK_INT(send(client, "!", 1, MSG_OOB), ==, 1);
    put(client, "cd");
    run_until_done(loop, &r);
    CHECK_INT(r.op.result, ==, 2);
    CHECK_MEM(buf, "ab", 2);
    r = job_recv(&fd, buf, sizeof buf);
    CHECK_INT(finish(loop, &r), ==, 2);
    CHECK_MEM(buf, "cd", 2);
    close(client);
    close(listener);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

/* A listener whose queue is full leaves a connection attempt hanging. */
TEST(connect_can_be_withdrawn)
{
    rota_loop *loop = new_loop();
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int listener = listen_here(&address), clients[64], n = 0;
    CHECK_OK(listen(listener, 0));
    struct rota__fd fd = {.fd = -1};
    struct job c;
    for (;; n++) {
        CHECK_INT(n, <, 64);
        clients[n] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_OK(rota__fd_open(&fd, rota__loop_here, clients[n], true));
        c = job_connect(&fd, &address, &size);
        start(&c);
        for (int i = 0; i < 10 && !c.done; i++)
            CHECK_OK(rota_loop_run_once(loop, ROTA_MILLISECOND));
        if (!c.done)
            break;
        CHECK_INT(c.op.result, ==, 0);
    }
    withdraw_and_wait(loop, &c);
    CHECK_INT(c.op.result, ==, -ECANCELED);
    rota__fd_close(&fd);
    for (int i = 0; i < n; i++)
        close(clients[i]);
    close(listener);
    rota_loop_free(loop);
}

/* ---- Attempts of the owner's */

struct attempts {
    struct job job;
    char buf[10];
    int count;
};

static ssize_t receive_attempt(struct rota__op *op)
{
    struct attempts *a = rota__container_of(op, struct attempts, job.op);
    a->count++;
    ssize_t n = recv(op->fd->fd, a->buf, sizeof a->buf, MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

static ssize_t send_attempt(struct rota__op *op)
{
    struct attempts *a = rota__container_of(op, struct attempts, job.op);
    a->count++;
    ssize_t n = send(op->fd->fd, a->buf, sizeof a->buf, MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

static struct attempts attempts(struct rota__fd *fd, bool sending)
{
    return (struct attempts){.job.op = {.kind = sending ? ROTA__OP_CALL_OUT : ROTA__OP_CALL_IN,
                                        .fd = fd,
                                        .call = sending ? send_attempt : receive_attempt}};
}

static void open_datagrams(rota_loop *loop, struct rota__fd *fd, int *ret_peer)
{
    int ends[2];
    CHECK_OK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends));
    CHECK_OK(rota__fd_open(fd, rota__loop_here, ends[0], true));
    *ret_peer = ends[1];
}

TEST(attempt_is_made_at_once_and_repeated_when_the_descriptor_is_ready)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    open_datagrams(loop, &fd, &peer);
    put(peer, "one");
    struct attempts a = attempts(&fd, false);
    CHECK_INT(finish(loop, &a.job), ==, 3);
    CHECK_INT(a.count, ==, 1);
    a = attempts(&fd, false);
    start_pending(&a.job);
    turn(loop);
    CHECK_INT(a.count, ==, 1);
    put(peer, "four");
    run_until_done(loop, &a.job);
    CHECK_INT(a.job.op.result, ==, 4);
    CHECK_INT(a.count, ==, 2);
    close(peer);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

TEST(withdrawn_attempt_takes_nothing)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    open_datagrams(loop, &fd, &peer);
    struct attempts a = attempts(&fd, false);
    start_pending(&a.job);
    turn(loop);
    put(peer, "one");
    withdraw_and_wait(loop, &a.job);
    CHECK_INT(a.job.op.result, ==, -ECANCELED);
    a = attempts(&fd, false);
    CHECK_INT(finish(loop, &a.job), ==, 3);
    close(peer);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

/* Datagram sockets are asked for room only while something waits for it: each time anew. */
TEST(attempt_to_send_waits_for_room_each_time)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[10];
    open_datagrams(loop, &fd, &peer);
    for (int round = 0; round < 3; round++) {
        struct attempts a;
        do {
            a = attempts(&fd, true);
            start(&a.job);
        } while (a.job.done);
        turn(loop);
        CHECK_INT(a.job.done, ==, 0);
        while (recv(peer, buf, sizeof buf, MSG_DONTWAIT) > 0)
            continue;
        run_until_done(loop, &a.job);
        CHECK_INT(a.job.op.result, ==, sizeof a.buf);
    }
    close(peer);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

/* ---- Withdrawn */

/* rule 11 */
TEST(withdrawn_receive_leaves_the_buffer_alone)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[8] = "untouch";
    open_pair(loop, &fd, &peer);
    struct job r = job_recv(&fd, buf, sizeof buf);
    start_pending(&r);
    turn(loop);
    withdraw_and_wait(loop, &r);
    CHECK_INT(r.op.result, ==, -ECANCELED);
    put(peer, "XXXXXXX");
    turn(loop);
    turn(loop);
    CHECK_STR(buf, "untouch");
    struct job again = job_recv(&fd, buf, sizeof buf);
    CHECK_INT(finish(loop, &again), ==, 7);
    CHECK_INT(again.done, ==, 1);
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

/* io_uring may have no free submission, once and again. */
TEST_WITH(withdrawal_that_the_kernel_does_not_take_is_asked_again, .without_faults = true)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char byte;
    open_pair(loop, &fd, &peer);
    struct job r = job_recv(&fd, &byte, 1);
    start_pending(&r);
    turn(loop);
    rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
    rota__op_withdraw(&r.op);
    for (int i = 0; r.op.pending && i < 100; i++) {
        if (i < 2)
            rota__fault_arm(ROTA__FAULT_SYSCALL, 1);
        CHECK_OK(rota_loop_run_once(loop, ROTA_NEVER));
    }
    rota__fault_disarm();
    CHECK_INT(r.done, ==, 1);
    CHECK_INT(r.op.result, ==, -ECANCELED);
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

TEST(withdrawing_what_was_just_started_is_safe)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[8];
    open_pair(loop, &fd, &peer);
    for (int i = 0; i < 600; i++) { /* more than a submission queue holds */
        struct job r = job_recv(&fd, buf, sizeof buf);
        start_pending(&r);
        rota__op_withdraw(&r.op);
        rota__op_withdraw(&r.op);
        run_until_done(loop, &r);
        CHECK_INT(r.op.result, ==, -ECANCELED);
    }
    CHECK_INT(rota__loop_here->pending_ops, ==, 0);
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

/* rule 10 */
TEST(data_that_races_with_a_withdrawal_is_not_lost)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    open_pair(loop, &fd, &peer);
    for (int i = 0; i < 100; i++) {
        char buf[1] = {0}, sent[2] = {(char)('a' + i % 26), 0};
        struct job r = job_recv(&fd, buf, 1);
        start_pending(&r);
        if (i % 3)
            turn(loop);
        if (i % 2) {
            put(peer, sent);
            rota__op_withdraw(&r.op);
        } else {
            rota__op_withdraw(&r.op);
            put(peer, sent);
        }
        run_until_done(loop, &r);
        if (r.op.result == -ECANCELED) {
            struct job again = job_recv(&fd, buf, 1);
            CHECK_INT(finish(loop, &again), ==, 1);
        } else {
            CHECK_INT(r.op.result, ==, 1);
        }
        CHECK_INT(buf[0], ==, sent[0]);
    }
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

TEST(withdrawn_send_tells_what_was_sent)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    struct job s;
    open_pair(loop, &fd, &peer);
    size_t sent = fill(loop, &fd, &s);
    withdraw_and_wait(loop, &s);
    if (s.op.result != -ECANCELED) {
        CHECK_INT(s.op.result, >, 0);
        sent += (size_t)s.op.result;
    }
    CHECK_INT(drain(peer, SIZE_MAX), ==, sent);
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

TEST(withdrawn_accept_takes_no_connection)
{
    rota_loop *loop = new_loop();
    struct sockaddr_in address, from;
    socklen_t size = sizeof from;
    struct rota__fd fd;
    int listener = listen_here(&address);
    CHECK_OK(rota__fd_open(&fd, rota__loop_here, listener, true));
    struct job a = {.op = {.kind = ROTA__OP_ACCEPT,
                           .fd = &fd,
                           .addr = (struct sockaddr *)&from,
                           .addr_len = &size}};
    start_pending(&a);
    turn(loop);
    withdraw_and_wait(loop, &a);
    CHECK_INT(a.op.result, ==, -ECANCELED);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), before = test_open_fds();
    CHECK_OK(connect(client, (struct sockaddr *)&address, sizeof address));
    turn(loop);
    CHECK_INT(test_open_fds(), ==, before);
    size = sizeof from;
    a.done = 0;
    CHECK_OK(finish(loop, &a));
    close((int)a.op.result);
    close(client);
    rota__fd_close(&fd);
    rota_loop_free(loop);
}

/* ---- Two at a time */

TEST(second_operation_in_one_direction_is_refused)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char a[4], b[4];
    open_pair(loop, &fd, &peer);
    struct job first = job_recv(&fd, a, sizeof a), second = job_recv(&fd, b, sizeof b);
    start_pending(&first);
    CHECK_INT(finish(loop, &second), ==, -EBUSY);
    struct job other_way = job_send(&fd, "ok", 2);
    CHECK_INT(finish(loop, &other_way), ==, 2);
    put(peer, "for a");
    run_until_done(loop, &first);
    CHECK_INT(first.op.result, ==, 4);
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

TEST(both_directions_may_be_pending)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd;
    int peer;
    char buf[4];
    struct job s;
    open_pair(loop, &fd, &peer);
    fill(loop, &fd, &s);
    struct job r = job_recv(&fd, buf, sizeof buf);
    start_pending(&r);
    put(peer, "in");
    run_until_done(loop, &r);
    CHECK_INT(s.done, ==, 0);
    while (!s.done) {
        drain(peer, SIZE_MAX);
        turn(loop);
    }
    rota__fd_close(&fd);
    close(peer);
    rota_loop_free(loop);
}

/* ---- Descriptor numbers that are used again */

/* rule 18: the number of a closed descriptor goes to another one at once, again and again, with
 * data on its way to both. Each buffer may only ever see what was sent to its own descriptor. */
TEST(reused_descriptor_number_gets_nothing_that_was_for_another)
{
    rota_loop *loop = new_loop();
    int number = -1;
    for (int round = 0; round < 200; round++) {
        struct rota__fd old, fresh;
        int old_peer, fresh_peer;
        char old_buf[16] = "", fresh_buf[16] = "";
        open_pair(loop, &old, &old_peer);
        struct job r = job_recv(&old, old_buf, sizeof old_buf);
        start_pending(&r);
        if (round % 3 == 0)
            turn(loop);
        put(old_peer, "old");
        withdraw_and_wait(loop, &r);
        CHECK(r.op.result == -ECANCELED || memcmp(old_buf, "old", 3) == 0);
        int before = old.fd;
        rota__fd_close(&old);
        open_pair(loop, &fresh, &fresh_peer);
        if (fresh.fd == before)
            number = fresh.fd;
        struct job q = job_recv(&fresh, fresh_buf, sizeof fresh_buf);
        start_pending(&q);
        send(old_peer, "late", 4, MSG_NOSIGNAL);
        turn(loop);
        CHECK_INT(q.done, ==, 0);
        put(fresh_peer, "fresh");
        run_until_done(loop, &q);
        CHECK_INT(q.op.result, ==, 5);
        CHECK_MEM(fresh_buf, "fresh", 5);
        CHECK(memcmp(old_buf, "late", 4) != 0);
        rota__fd_close(&fresh);
        close(old_peer);
        close(fresh_peer);
    }
    CHECK_INT(number, >=, 0); /* it did happen */
    rota_loop_free(loop);
}

/* A duplicate keeps the open file alive, and with it a registration that close(2) would not end. */
TEST(closed_descriptor_with_a_duplicate_is_heard_of_no_more)
{
    rota_loop *loop = new_loop();
    struct rota__fd fd, fresh;
    int peer, fresh_peer;
    char buf[8];
    open_pair(loop, &fd, &peer);
    struct job r = job_recv(&fd, buf, sizeof buf);
    start_pending(&r);
    turn(loop);
    int copy = dup(fd.fd);
    withdraw_and_wait(loop, &r);
    rota__fd_close(&fd);
    memset(&fd, 0xa5, sizeof fd);
    open_pair(loop, &fresh, &fresh_peer);
    struct job q = job_recv(&fresh, buf, sizeof buf);
    start_pending(&q);
    put(peer, "to the duplicate");
    turn(loop);
    turn(loop);
    CHECK_INT(q.done, ==, 0);
    withdraw_and_wait(loop, &q);
    rota__fd_close(&fresh);
    close(copy);
    close(peer);
    close(fresh_peer);
    rota_loop_free(loop);
}

/* ---- Readiness of descriptors that are not ours */

static struct job job_poll(rota_loop *loop, int fd, int events)
{
    return (struct job){
        .op = {.kind = ROTA__OP_POLL, .loop = rota__loop_here, .poll_fd = fd, .events = events}};
}

TEST(readiness_is_awaited)
{
    rota_loop *loop = new_loop();
    int ends[2];
    CHECK_OK(pipe(ends));
    struct job p = job_poll(loop, ends[0], ROTA_READABLE);
    start_pending(&p);
    turn(loop);
    CHECK_INT(p.done, ==, 0);
    put(ends[1], "x");
    run_until_done(loop, &p);
    CHECK_INT(p.op.result, ==, ROTA_READABLE);
    struct job again = job_poll(loop, ends[0], ROTA_READABLE);
    CHECK_INT(finish(loop, &again), ==, ROTA_READABLE);
    struct job writable = job_poll(loop, ends[1], ROTA_WRITABLE);
    CHECK_INT(finish(loop, &writable), ==, ROTA_WRITABLE);
    close(ends[1]);
    struct job gone = job_poll(loop, ends[0], ROTA_READABLE);
    CHECK_INT(finish(loop, &gone) & ROTA_HANGUP, ==, ROTA_HANGUP);
    close(ends[0]);
    rota_loop_free(loop);
}

TEST(polls_of_one_descriptor_do_not_disturb_each_other)
{
    rota_loop *loop = new_loop();
    int ends[2];
    CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    struct job a = job_poll(loop, ends[0], ROTA_READABLE);
    struct job b = job_poll(loop, ends[0], ROTA_READABLE);
    struct job w = job_poll(loop, ends[0], ROTA_WRITABLE);
    start_pending(&a);
    start_pending(&b);
    start_pending(&w);
    run_until_done(loop, &w);
    CHECK_INT(a.done + b.done, ==, 0);
    withdraw_and_wait(loop, &a);
    CHECK_INT(a.op.result, ==, -ECANCELED);
    put(ends[1], "x");
    run_until_done(loop, &b);
    CHECK_INT(b.op.result, ==, ROTA_READABLE);
    close(ends[0]);
    close(ends[1]);
    rota_loop_free(loop);
}

TEST(poll_of_no_descriptor_is_an_error)
{
    rota_loop *loop = new_loop();
    struct job p = job_poll(loop, -1, ROTA_READABLE);
    CHECK_INT(finish(loop, &p), ==, -EBADF);
    int closed = dup(0);
    close(closed);
    struct job q = job_poll(loop, closed, ROTA_READABLE);
    CHECK_INT(finish(loop, &q), ==, -EBADF);
    rota_loop_free(loop);
}

/* ---- Many */

TEST(thousand_operations_complete_each_with_its_own_data)
{
    enum { N = 400 };
    static struct rota__fd fds[N];
    static struct job jobs[N];
    static int peers[N];
    static char bufs[N][8];
    rota_loop *loop = new_loop();
    for (int i = 0; i < N; i++) {
        open_pair(loop, &fds[i], &peers[i]);
        jobs[i] = job_recv(&fds[i], bufs[i], 8);
        start_pending(&jobs[i]);
    }
    for (int i = N - 1; i >= 0; i--) {
        char text[8];
        snprintf(text, sizeof text, "%d", i);
        put(peers[i], text);
    }
    for (int i = 0; i < N; i++) {
        run_until_done(loop, &jobs[i]);
        CHECK_INT(jobs[i].op.result, >, 0);
        CHECK_INT(atoi(bufs[i]), ==, i);
    }
    for (int i = 0; i < N; i++) {
        rota__fd_close(&fds[i]);
        close(peers[i]);
    }
    rota_loop_free(loop);
}

TEST(ended_loop_leaves_no_descriptor_and_no_memory)
{
    int before = test_open_fds();
    long live = rota__alloc_live();
    rota_loop *loop = new_loop();
    rota_loop_free(loop);
    CHECK_INT(test_open_fds(), ==, before);
    CHECK_INT(rota__alloc_live(), ==, live);
}
