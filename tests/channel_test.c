/* Channels: within a loop, between loops and with plain threads. */

#include "asleep.h"
#include "clean_run.h"

#include "loop/loop.h"

#include <rota.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

TEST_ALL_ON_BOTH_BACKENDS;

struct channel {
    rota_sender *tx;
    rota_receiver *rx;
};

static struct channel channel_of(size_t capacity)
{
    struct channel c = {NULL, NULL};
    CHECK_OK(rota_channel_new(capacity, sizeof(int), &c.tx, &c.rx));
    return c;
}

static void channel_unref(struct channel *c)
{
    c->tx = rota_sender_unref(c->tx);
    c->rx = rota_receiver_unref(c->rx);
}

static int send_int(rota_sender *tx, int n)
{
    return rota_channel_send(tx, &n);
}

/* What was received, or the error; items of these tests are positive. */
static int receive_int(rota_receiver *rx)
{
    int n = 0, err = rota_channel_receive(rx, &n);
    return err < 0 ? err : n;
}

static int try_send_int(rota_sender *tx, int n)
{
    return rota_channel_try_send(tx, &n);
}

static int try_receive_int(rota_receiver *rx)
{
    int n = 0, err = rota_channel_try_receive(rx, &n);
    return err < 0 ? err : n;
}

/* ---- The snippet of the header */

static void *produce(void *arg)
{
    ROTA_AUTO(rota_sender) tx = arg;
    for (int i = 0; i < 1000; i++)
        if (rota_channel_send(tx, &i) < 0)
            break;
    return NULL;
}

static int consume(void *arg)
{
    ROTA_AUTO(rota_receiver) rx = NULL;
    rota_sender *tx;
    int err = rota_channel_new(64, sizeof(int), &tx, &rx);
    if (err < 0)
        return err;
    pthread_t thread;
    if (pthread_create(&thread, NULL, produce, tx) != 0) {
        rota_sender_unref(tx);
        return -EAGAIN;
    }
    int n, *sum = arg;
    while ((err = rota_channel_receive(rx, &n)) == 0)
        *sum += n;
    rx = rota_receiver_unref(rx);
    pthread_join(thread, NULL);
    return err == ROTA_ECLOSED ? 0 : err;
}

TEST(a_thread_sends_to_a_task)
{
    int sum = 0;
    run(consume, &sum);
    CHECK_INT(sum, ==, 499500);
}

/* ---- Without waiting */

TEST(items_come_out_in_order_and_whole)
{
    struct pair {
        char text[24];
        int n;
    } item = {"", 0}, out;
    rota_sender *tx;
    rota_receiver *rx;
    CHECK_OK(rota_channel_new(5, sizeof item, &tx, &rx));
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++) { /* 5 is rounded up */
            item.n = round * 8 + i;
            snprintf(item.text, sizeof item.text, "item %d", item.n);
            CHECK_INT(rota_channel_try_send(tx, &item), ==, 0);
        }
        CHECK_INT(rota_channel_try_send(tx, &item), ==, -EAGAIN);
        for (int i = 0; i < 8; i++) {
            char expected[24];
            CHECK_INT(rota_channel_try_receive(rx, &out), ==, 0);
            CHECK_INT(out.n, ==, round * 8 + i);
            snprintf(expected, sizeof expected, "item %d", out.n);
            CHECK_STR(out.text, expected);
        }
        CHECK_INT(rota_channel_try_receive(rx, &out), ==, -EAGAIN);
    }
    rota_sender_unref(tx);
    rota_receiver_unref(rx);
}

TEST(capacity_of_one)
{
    struct channel c = channel_of(1);
    for (int i = 1; i < 10; i++) {
        CHECK_INT(try_send_int(c.tx, i), ==, 0);
        CHECK_INT(try_send_int(c.tx, 99), ==, -EAGAIN);
        CHECK_INT(try_receive_int(c.rx), ==, i);
        CHECK_INT(try_receive_int(c.rx), ==, -EAGAIN);
    }
    channel_unref(&c);
}

TEST(items_without_a_size_are_counted)
{
    rota_sender *tx;
    rota_receiver *rx;
    CHECK_OK(rota_channel_new(2, 0, &tx, &rx));
    CHECK_INT(rota_channel_try_send(tx, NULL), ==, 0);
    CHECK_INT(rota_channel_try_send(tx, NULL), ==, 0);
    CHECK_INT(rota_channel_try_send(tx, NULL), ==, -EAGAIN);
    CHECK_INT(rota_channel_try_receive(rx, NULL), ==, 0);
    CHECK_INT(rota_channel_try_receive(rx, NULL), ==, 0);
    CHECK_INT(rota_channel_try_receive(rx, NULL), ==, -EAGAIN);
    rota_sender_unref(tx);
    rota_receiver_unref(rx);
}

TEST(impossible_sizes_are_refused)
{
    rota_sender *tx = NULL;
    rota_receiver *rx = NULL;
    CHECK_INT(rota_channel_new(0, 4, &tx, &rx), ==, -EINVAL);
    CHECK_INT(rota_channel_new(SIZE_MAX, 4, &tx, &rx), ==, -ENOMEM);
    CHECK_INT(rota_channel_new(1024, SIZE_MAX / 16, &tx, &rx), ==, -ENOMEM);
    CHECK_INT(rota_channel_new(1, SIZE_MAX, &tx, &rx), ==, -ENOMEM);
    CHECK_PTR(tx, ==, NULL);
    CHECK_PTR(rx, ==, NULL);
    CHECK_PTR(rota_sender_unref(NULL), ==, NULL);
    CHECK_PTR(rota_receiver_unref(NULL), ==, NULL);
}

TEST(closed_channel_gives_what_it_has)
{
    struct channel c = channel_of(4);
    CHECK_INT(try_send_int(c.tx, 1), ==, 0);
    CHECK_INT(try_send_int(c.tx, 2), ==, 0);
    rota_channel_close(c.tx);
    rota_channel_close(c.tx);
    CHECK_INT(try_send_int(c.tx, 3), ==, ROTA_ECLOSED);
    CHECK_INT(send_int(c.tx, 3), ==, ROTA_ECLOSED);
    CHECK_INT(try_receive_int(c.rx), ==, 1);
    CHECK_INT(receive_int(c.rx), ==, 2);
    CHECK_INT(try_receive_int(c.rx), ==, ROTA_ECLOSED);
    CHECK_INT(receive_int(c.rx), ==, ROTA_ECLOSED);
    channel_unref(&c);
}

TEST(last_sender_closes)
{
    struct channel c = channel_of(4);
    rota_sender *second = rota_sender_ref(c.tx);
    CHECK_PTR(second, ==, c.tx);
    CHECK_INT(try_send_int(c.tx, 1), ==, 0);
    rota_sender_unref(second);
    CHECK_INT(try_send_int(c.tx, 2), ==, 0);
    rota_sender_unref(c.tx);
    CHECK_INT(receive_int(c.rx), ==, 1);
    CHECK_INT(receive_int(c.rx), ==, 2);
    CHECK_INT(receive_int(c.rx), ==, ROTA_ECLOSED);
    rota_receiver_unref(c.rx);
}

TEST(without_receivers_nothing_is_sent)
{
    struct channel c = channel_of(4);
    rota_receiver *second = rota_receiver_ref(c.rx);
    rota_receiver_unref(c.rx);
    CHECK_INT(try_send_int(c.tx, 1), ==, 0);
    rota_receiver_unref(second);
    CHECK_INT(try_send_int(c.tx, 2), ==, ROTA_ECLOSED);
    CHECK_INT(send_int(c.tx, 2), ==, ROTA_ECLOSED);
    rota_sender_unref(c.tx);
}

/* ---- Tasks of one loop */

#define TASKS 4

struct served {
    struct channel c;
    int order[TASKS], count;
    int results[TASKS];
};

struct one {
    struct served *all;
    int index;
};

static int receive_one(void *arg)
{
    struct one *one = arg;
    int result = receive_int(one->all->c.rx);
    one->all->results[one->index] = result;
    one->all->order[one->all->count++] = one->index;
    return result < 0 ? result : 0;
}

static int send_one(void *arg)
{
    struct one *one = arg;
    int result = send_int(one->all->c.tx, 100 + one->index);
    one->all->results[one->index] = result;
    one->all->order[one->all->count++] = one->index;
    return result;
}

static void spawn_each(rota_group *g, rota_fn *fn, struct served *s)
{
    for (int i = 0; i < TASKS; i++) {
        struct one one = {s, i};
        rota_group_spawn_copy(g, fn, &one, sizeof one);
    }
}

static rota_task *spawn_one(rota_fn *fn, struct served *s, int index)
{
    struct one one = {s, index};
    rota_task *task = NULL;
    CHECK_OK(rota_spawn_copy(fn, &one, sizeof one, &task));
    return task;
}

TASK_TEST(receivers_are_served_first_come_first_served)
{
    struct served s = {.c = channel_of(1)};
    ROTA_GROUP(g);
    spawn_each(&g, receive_one, &s);
    CHECK_OK(rota_yield());
    for (int i = 1; i <= TASKS; i++)
        CHECK_INT(try_send_int(s.c.tx, i), ==, 0); /* each goes to a waiter: no room is needed */
    CHECK_INT(try_receive_int(s.c.rx), ==, -EAGAIN);
    CHECK_OK(rota_group_wait(&g));
    for (int i = 0; i < TASKS; i++) {
        CHECK_INT(s.order[i], ==, i);
        CHECK_INT(s.results[i], ==, i + 1);
    }
    channel_unref(&s.c);
}

TASK_TEST(senders_wait_for_room_in_line)
{
    struct served s = {.c = channel_of(1)};
    CHECK_INT(try_send_int(s.c.tx, 99), ==, 0);
    ROTA_GROUP(g);
    spawn_each(&g, send_one, &s);
    CHECK_OK(rota_yield());
    CHECK_INT(s.count, ==, 0);
    CHECK_INT(receive_int(s.c.rx), ==, 99);
    for (int i = 0; i < TASKS; i++) {
        if (i < TASKS - 1)
            CHECK_INT(try_send_int(s.c.tx, 5), ==, -EAGAIN); /* nobody passes those in line */
        CHECK_INT(receive_int(s.c.rx), ==, 100 + i);
    }
    CHECK_OK(rota_group_wait(&g));
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(s.order[i], ==, i);
    channel_unref(&s.c);
}

TASK_TEST(closing_sends_receivers_away)
{
    struct served s = {.c = channel_of(1)};
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
    spawn_each(&g, receive_one, &s);
    CHECK_OK(rota_yield());
    CHECK_INT(try_send_int(s.c.tx, 7), ==, 0);
    s.c.tx = rota_sender_unref(s.c.tx);
    CHECK_INT(rota_group_wait(&g), ==, ROTA_ECLOSED);
    CHECK_INT(s.results[0], ==, 7);
    for (int i = 1; i < TASKS; i++)
        CHECK_INT(s.results[i], ==, ROTA_ECLOSED);
    channel_unref(&s.c);
}

static int close_on_senders(void *arg)
{
    struct served s = {.c = channel_of(1)};
    CHECK_INT(try_send_int(s.c.tx, 99), ==, 0);
    ROTA_GROUP(g, .policy = ROTA_GROUP_COLLECT);
    spawn_each(&g, send_one, &s);
    CHECK_OK(rota_yield());
    if (arg)
        s.c.rx = rota_receiver_unref(s.c.rx);
    else
        rota_channel_close(s.c.tx);
    CHECK_INT(rota_group_wait(&g), ==, ROTA_ECLOSED);
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(s.results[i], ==, ROTA_ECLOSED);
    if (s.c.rx) {
        CHECK_INT(receive_int(s.c.rx), ==, 99);
        CHECK_INT(receive_int(s.c.rx), ==, ROTA_ECLOSED);
    }
    channel_unref(&s.c);
    return 0;
}

TEST(closing_sends_senders_away)
{
    run(close_on_senders, NULL);
}

TEST(senders_do_not_wait_for_receivers_that_left)
{
    int yes;
    run(close_on_senders, &yes);
}

/* rules 10 and 12 */
TASK_TEST(what_was_served_outranks_cancellation)
{
    struct served s = {.c = channel_of(1)};
    rota_task *first, *second;
    first = spawn_one(receive_one, &s, 0);
    second = spawn_one(receive_one, &s, 1);
    CHECK_OK(rota_yield());
    CHECK_INT(try_send_int(s.c.tx, 5), ==, 0);
    rota_task_cancel(first);
    rota_task_cancel(second);
    CHECK_INT(rota_join(first), ==, 0);
    CHECK_INT(rota_join(second), ==, -ECANCELED);
    CHECK_INT(s.results[0], ==, 5);
    channel_unref(&s.c);
}

TASK_TEST(a_cancelled_wait_leaves_the_line)
{
    struct served s = {.c = channel_of(1)};
    rota_task *first, *second;
    first = spawn_one(receive_one, &s, 0);
    second = spawn_one(receive_one, &s, 1);
    CHECK_OK(rota_yield());
    rota_task_cancel(first);
    CHECK_INT(try_send_int(s.c.tx, 5), ==, 0);
    CHECK_INT(rota_join(first), ==, -ECANCELED);
    CHECK_INT(rota_join(second), ==, 0);
    CHECK_INT(s.results[1], ==, 5);

    CHECK_INT(try_send_int(s.c.tx, 6), ==, 0);
    first = spawn_one(send_one, &s, 2);
    CHECK_OK(rota_yield());
    rota_task_cancel(first);
    CHECK_INT(rota_join(first), ==, -ECANCELED);
    CHECK_INT(receive_int(s.c.rx), ==, 6);
    CHECK_INT(try_receive_int(s.c.rx), ==, -EAGAIN); /* what was not sent is not there */
    channel_unref(&s.c);
}

TASK_TEST(a_deadline_ends_the_wait)
{
    struct channel c = channel_of(1);
    int err = 0, n = 0;
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        err = rota_channel_receive(c.rx, &n);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_OK(send_int(c.tx, 1));
    ROTA_TIMEOUT (ROTA_MILLISECOND) {
        err = send_int(c.tx, 2);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(try_receive_int(c.rx), ==, 1);
    CHECK_INT(try_receive_int(c.rx), ==, -EAGAIN);
    channel_unref(&c);
}

static int time_out_virtually(void *arg)
{
    rota_time before = rota_now();
    struct channel c = channel_of(1);
    int err = 0, n;
    ROTA_TIMEOUT (60 * ROTA_MINUTE) {
        err = rota_channel_receive(c.rx, &n);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_now() - before, ==, 60 * ROTA_MINUTE);
    channel_unref(&c);
    return 0;
}

TEST(waiting_does_not_stop_the_virtual_clock)
{
    CHECK_OK(rota_test_run(time_out_virtually, NULL));
}

static void call_outside_a_task(rota_handle *handle, void *arg)
{
    struct channel *c = arg;
    CHECK_INT(send_int(c->tx, 1), ==, ROTA_ENOTASK);
    CHECK_INT(receive_int(c->rx), ==, ROTA_ENOTASK);
    CHECK_INT(try_send_int(c->tx, 2), ==, 0);
    CHECK_INT(try_receive_int(c->rx), ==, 2);
}

TEST(callbacks_cannot_wait)
{
    struct channel c = channel_of(1);
    rota_loop *loop = NULL;
    CHECK_OK(rota_loop_new(NULL, &loop));
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_loop_call_soon(loop, &handle, call_outside_a_task, &c);
    CHECK_OK(rota_loop_run(loop));
    rota_loop_free(loop);
    channel_unref(&c);
}

static int set_flag(void *arg)
{
    *(bool *)arg = true;
    return 0;
}

/* rule 2 */
TASK_TEST(a_busy_channel_starves_nobody)
{
    struct channel c = channel_of(1);
    bool other_ran = false;
    CHECK_OK(rota_spawn(set_flag, &other_ran, NULL));
    for (int i = 0; i < 1000 && !other_ran; i++) {
        CHECK_OK(send_int(c.tx, 1));
        CHECK_INT(receive_int(c.rx), ==, 1);
    }
    CHECK(other_ran);
    channel_unref(&c);
}

TASK_TEST(iterates_until_closed)
{
    struct channel c = channel_of(4);
    for (int i = 1; i < 4; i++)
        CHECK_OK(send_int(c.tx, i));
    c.tx = rota_sender_unref(c.tx);
    int slot, err = 0, sum = 0;
    ROTA_FOREACH (int *, n, rota_channel_iter(c.rx, &slot), &err)
        sum += *n;
    CHECK_OK(err);
    CHECK_INT(sum, ==, 6);
    channel_unref(&c);
}

/* ---- Wake-ups */

enum { POSTED = 100, TAKERS = 4 };

struct taken {
    struct channel c;
    int sum;
};

static int take_all(void *arg)
{
    struct taken *taken = arg;
    int n;
    while ((n = receive_int(taken->c.rx)) > 0)
        taken->sum += n;
    return n == ROTA_ECLOSED ? 0 : n;
}

/* How often the eventfd is written is its count. */
TEST(a_batch_of_messages_wakes_the_loop_once)
{
    struct taken taken = {channel_of(POSTED), 0};
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    for (int i = 0; i < TAKERS; i++)
        CHECK_OK(rota_loop_spawn_threadsafe(loop, take_all, &taken));
    CHECK_OK(rota_loop_run_once(loop, 0));
    atomic_store(&loop->asleep, true);
    for (int i = 0; i < POSTED; i++)
        CHECK_INT(try_send_int(taken.c.tx, 1), ==, 0);
    eventfd_t writes;
    CHECK_OK(eventfd_read(loop->wake_fd, &writes));
    CHECK_INT(writes, ==, 1);
    rota_channel_close(taken.c.tx);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(taken.sum, ==, POSTED);
    rota_loop_free(loop);
    channel_unref(&taken.c);
}

TEST(messages_to_a_loop_that_is_awake_need_no_system_call)
{
    struct taken taken = {channel_of(POSTED), 0};
    rota_loop *loop;
    CHECK_OK(rota_loop_new(NULL, &loop));
    CHECK_OK(rota_loop_spawn_threadsafe(loop, take_all, &taken));
    CHECK_OK(rota_loop_run_once(loop, 0));
    eventfd_t writes;
    eventfd_read(loop->wake_fd, &writes);
    for (int i = 0; i < POSTED; i++)
        CHECK_INT(try_send_int(taken.c.tx, 1), ==, 0);
    CHECK_INT(eventfd_read(loop->wake_fd, &writes), ==, -1);
    rota_channel_close(taken.c.tx);
    CHECK_OK(rota_loop_run(loop));
    CHECK_INT(taken.sum, ==, POSTED);
    rota_loop_free(loop);
    channel_unref(&taken.c);
}

/* ---- Between loops and threads */

#define MESSAGES 5000
#define PARTIES 3

static struct {
    struct channel c;
    _Atomic(long) sum, received;
    _Atomic(unsigned char) seen[PARTIES * MESSAGES];
} many;

static int send_many(int party)
{
    ROTA_AUTO(rota_sender) tx = many.c.tx;
    for (int i = 0; i < MESSAGES; i++) {
        int err = send_int(tx, party * MESSAGES + i + 1);
        if (err < 0)
            return err;
    }
    return 0;
}

static int receive_many(void)
{
    ROTA_AUTO(rota_receiver) rx = many.c.rx;
    int latest[PARTIES] = {0}, n;
    while ((n = receive_int(rx)) > 0) {
        int party = (n - 1) / MESSAGES;
        CHECK_INT(n, >, latest[party]); /* what one sends stays in order */
        latest[party] = n;
        CHECK_INT(many.seen[n - 1]++, ==, 0);
        many.received++;
        many.sum += n;
    }
    return n == ROTA_ECLOSED ? 0 : n;
}

static void *send_as_thread(void *arg)
{
    send_many((int)(intptr_t)arg);
    return NULL;
}

static void *receive_as_thread(void *arg)
{
    receive_many();
    return NULL;
}

static int send_as_task(void *arg)
{
    return send_many((int)(intptr_t)arg);
}

static int receive_as_task(void *arg)
{
    return receive_many();
}

static void *run_sender(void *arg)
{
    if (rota_run(send_as_task, arg) == -ENOMEM)
        FAIL("no loop"); /* then nobody releases the reference */
    return NULL;
}

static void *run_receiver(void *arg)
{
    CHECK_OK(rota_run(receive_as_task, arg));
    return NULL;
}

/* Two loops and a thread at each end. */
static void exchange(size_t capacity)
{
    many.c = channel_of(capacity);
    pthread_t threads[2 * PARTIES];
    for (int i = 0; i < PARTIES; i++) {
        if (i > 0) {
            rota_sender_ref(many.c.tx);
            rota_receiver_ref(many.c.rx);
        }
        void *party = (void *)(intptr_t)i;
        CHECK_INT(pthread_create(&threads[i], NULL, i ? run_sender : send_as_thread, party), ==, 0);
        CHECK_INT(
            pthread_create(&threads[PARTIES + i], NULL, i ? run_receiver : receive_as_thread, NULL),
            ==, 0);
    }
    for (int i = 0; i < 2 * PARTIES; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(many.received, ==, PARTIES * MESSAGES);
    CHECK_INT(many.sum, ==, (long)PARTIES * MESSAGES * (PARTIES * MESSAGES + 1) / 2);
}

TEST_WITH(many_send_many_receive_nothing_is_lost_or_doubled, .without_faults = true)
{
    long live = rota_test_allocations();
    exchange(16);
    CHECK_INT(rota_test_allocations(), ==, live);
}

TEST_WITH(many_exchange_through_a_single_place, .without_faults = true)
{
    exchange(1);
}

/* Receivers that are cancelled again and again, while another thread sends. */
struct restless {
    struct channel c;
    long sum;
    int cancelled;
};

static int receive_restlessly(void *arg)
{
    struct restless *r = arg;
    int n;
    while ((n = receive_int(r->c.rx)) > 0)
        r->sum += n;
    return n;
}

static void *send_in_bursts(void *arg)
{
    ROTA_AUTO(rota_sender) tx = arg;
    for (int i = 1; i <= MESSAGES; i++)
        if (send_int(tx, i) < 0)
            break;
    return NULL;
}

TASK_TEST(a_cancelled_receiver_loses_no_message, .without_faults = true)
{
    struct restless r = {.c = channel_of(4)};
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, send_in_bursts, r.c.tx), ==, 0);
    int result = 0;
    while (result != ROTA_ECLOSED) {
        rota_task *task;
        CHECK_OK(rota_spawn(receive_restlessly, &r, &task));
        ROTA_IGNORE(rota_yield());
        ROTA_IGNORE(
            rota_sleep(ROTA_MICROSECOND)); /* not a yield: valgrind runs one thread at a time */
        rota_task_cancel(task);
        result = rota_join(task);
        r.cancelled += result == -ECANCELED;
    }
    pthread_join(thread, NULL);
    CHECK_INT(r.sum, ==, (long)MESSAGES * (MESSAGES + 1) / 2);
    CHECK_INT(r.cancelled, >, 0);
    rota_receiver_unref(r.c.rx);
}

/* Senders that are cancelled: each either says that it sent, and then the item comes out, or
 * not. */
static _Atomic(long) drained;

static void *drain(void *arg)
{
    ROTA_AUTO(rota_receiver) rx = arg;
    for (int n; (n = receive_int(rx)) > 0;)
        drained += n;
    return NULL;
}

struct sending {
    rota_sender *tx;
    int next;
    long sent;
};

static int send_until_cancelled(void *arg)
{
    struct sending *s = arg;
    int err;
    while ((err = send_int(s->tx, s->next)) == 0)
        s->sent += s->next++;
    return err;
}

TASK_TEST(a_cancelled_send_sends_or_does_not, .without_faults = true)
{
    struct channel c = channel_of(2);
    struct sending s = {.tx = c.tx, .next = 1};
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, drain, c.rx), ==, 0);
    for (int i = 0; i < 300; i++) {
        rota_task *task;
        CHECK_OK(rota_spawn(send_until_cancelled, &s, &task));
        ROTA_IGNORE(rota_yield());
        ROTA_IGNORE(rota_yield());
        rota_task_cancel(task);
        CHECK_INT(rota_join(task), ==, -ECANCELED);
    }
    rota_sender_unref(c.tx);
    pthread_join(thread, NULL);
    CHECK_INT(drained, ==, s.sent);
}

/* However many items are sent while the loop is busy or asleep, it is woken for the first only. */
struct batch {
    struct channel c;
    rota_loop *loop;
    sem_t parked;
};

static void *send_a_batch(void *arg)
{
    struct batch *b = arg;
    wait_until_asleep(b->loop);
    for (int i = 1; i <= 100; i++)
        CHECK_OK(send_int(b->c.tx, i));
    b->c.tx = rota_sender_unref(b->c.tx);
    return NULL;
}

static int receive_a_batch(void *arg)
{
    struct batch *b = arg;
    pthread_t thread;
    b->loop = rota_loop_current();
    CHECK_INT(pthread_create(&thread, NULL, send_a_batch, b), ==, 0);
    int n, expected = 1;
    while ((n = receive_int(b->c.rx)) > 0)
        CHECK_INT(n, ==, expected++);
    CHECK_INT(n, ==, ROTA_ECLOSED);
    CHECK_INT(expected, ==, 101);
    pthread_join(thread, NULL);
    return 0;
}

TEST_WITH(a_sleeping_loop_is_woken, .without_faults = true)
{
    struct batch b = {.c = channel_of(128)};
    run(receive_a_batch, &b);
    rota_receiver_unref(b.c.rx);
}

/* rule 15: nothing is pending here, but another thread may come. */
static void *send_late(void *arg)
{
    struct batch *b = arg;
    wait_until_asleep(b->loop);
    rota_sender_unref(b->c.tx);
    return NULL;
}

static int wait_for_nobody(void *arg)
{
    struct batch *b = arg;
    pthread_t thread;
    b->loop = rota_loop_current();
    CHECK_INT(pthread_create(&thread, NULL, send_late, b), ==, 0);
    CHECK_INT(receive_int(b->c.rx), ==, ROTA_ECLOSED);
    pthread_join(thread, NULL);
    return 0;
}

TEST_WITH(waiting_for_another_thread_is_no_deadlock, .without_faults = true)
{
    struct batch b = {.c = channel_of(1)};
    run(wait_for_nobody, &b);
    rota_receiver_unref(b.c.rx);
}
