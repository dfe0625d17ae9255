/* Mutex, event, condition, semaphore, barrier, queue, select. */

#include "clean_run.h"

#include "base/alloc.h"
#include "base/fault.h"
#include "task/task.h"

#include <rota.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MANY 10000

/* What happened, in order: a letter an event. */
static char history[256];

static void note(char c)
{
    size_t len = strlen(history);
    CHECK_INT(len + 1, <, sizeof history);
    history[len] = c;
    history[len + 1] = '\0';
}

/* What the library reported. */
static char report[8192];

static void keep_report(void *arg, rota_log_level level, const char *message)
{
    strncat(report, message, sizeof report - strlen(report) - 1);
}

static void let_others_run(void)
{
    for (int i = 0; i < 4; i++)
        CHECK_INT(rota_yield(), ==, 0);
}

/* The snippets of the header. */

struct account {
    rota_mutex mutex;
    int balance;
};

static int deposit(void *arg)
{
    struct account *account = arg;
    int err;
    ROTA_LOCK (&account->mutex, &err) {
        int balance = account->balance;
        err = rota_sleep(10 * ROTA_MILLISECOND);
        if (err < 0)
            return err;
        account->balance = balance + 1;
    }
    return err;
}

struct shop {
    rota_queue *jobs;
    int sum;
};

static int worker(void *arg)
{
    struct shop *shop = arg;
    int slot, err;
    ROTA_FOREACH (int *, job, rota_queue_iter(shop->jobs, &slot), &err)
        shop->sum += *job;
    return err;
}

static int produce(void *arg)
{
    struct shop *shop = arg;
    ROTA_AUTO(rota_queue) jobs = NULL;
    int err = rota_queue_new(8, sizeof(int), &jobs);
    if (err < 0)
        return err;
    shop->jobs = jobs;
    ROTA_GROUP(workers);
    rota_group_spawn(&workers, worker, shop);
    rota_group_spawn(&workers, worker, shop);
    for (int i = 1; i <= 100 && err >= 0; i++)
        err = rota_queue_put(jobs, &i);
    rota_queue_close(jobs);
    return rota_group_wait(&workers);
}

static int two_deposits(void *arg)
{
    rota_gather_call calls[] = {{deposit, arg, 0}, {deposit, arg, 0}};
    rota_time start = rota_now();
    int err = rota_gather(calls, 2);
    CHECK_INT(rota_now() - start, ==, 20 * ROTA_MILLISECOND);
    return err;
}

TEST(mutex_keeps_a_change_whole_across_a_suspension)
{
    struct account account = {.balance = 0};
    run_virtual(two_deposits, &account);
    CHECK_INT(account.balance, ==, 2);
}

TEST(workers_take_every_job_and_end_when_the_queue_is_closed)
{
    struct shop shop = {.sum = 0};
    run_virtual(produce, &shop);
    CHECK_INT(shop.sum, ==, 5050);
}

/* ---- Rules 10 and 12: what is waited for, a timeout and a cancellation arrive in one turn.
 *
 * Two tasks wait in line. While they are parked, a third one lets these arrive in the order of a
 * string: R releases what they wait for, C cancels the first task, T lets its deadline pass. The
 * one that came first decides the first task's call; what it does not get must go to the second
 * task. */

struct arena {
    rota_mutex mutex;
    rota_event event;
    rota_cond cond;
    rota_semaphore semaphore;
    rota_queue *queue, *other;
    int item; /* the last one put, or got */
};

struct primitive {
    void (*prepare)(struct arena *a); /* may be NULL, as may the two below */
    void (*before)(struct arena *a);
    void (*after)(struct arena *a);
    int (*wait)(struct arena *a);
    void (*release)(struct arena *a);
    bool once; /* one release is enough for both */
};

struct party {
    struct arena *arena;
    const struct primitive *primitive;
    rota_timeout *timeout;
    int result, next;
    bool ended;
};

static int wait_in_line(void *arg)
{
    struct party *p = arg;
    rota_timeout timeout = ROTA_TIMEOUT_INIT;
    rota_timeout_begin(&timeout, ROTA_MINUTE);
    p->timeout = &timeout;
    p->result = p->primitive->wait(p->arena);
    p->next = rota_yield();
    rota_timeout_end(&timeout);
    if (rota_mutex_owner(&p->arena->mutex) == rota_task_current())
        rota_mutex_unlock(&p->arena->mutex);
    p->ended = true;
    return 0;
}

static void let_deadline_pass(rota_timeout *timeout)
{
    rota__timer_cancel(&rota__loop_here->timers, &timeout->_timer);
    timeout->_timer.fire(&timeout->_timer);
}

static void let_arrive(const char *order, const struct primitive *primitive, struct arena *a,
                       struct party *first, rota_task *task)
{
    if (primitive->before)
        primitive->before(a);
    for (const char *c = order; *c; c++) {
        if (*c == 'R')
            primitive->release(a);
        else if (*c == 'C')
            rota_task_cancel(task);
        else
            let_deadline_pass(first->timeout);
    }
    if (primitive->after)
        primitive->after(a);
}

static void race(const char *order, const struct primitive *primitive)
{
    struct arena a = {.item = 0};
    CHECK_OK(rota_queue_new(0, sizeof(int), &a.queue));
    CHECK_OK(rota_queue_new(2, sizeof(int), &a.other));
    if (primitive->prepare)
        primitive->prepare(&a);

    struct party first = {&a, primitive}, second = {&a, primitive};
    rota_task *tasks[2];
    CHECK_OK(rota_spawn(wait_in_line, &first, &tasks[0]));
    CHECK_OK(rota_spawn(wait_in_line, &second, &tasks[1]));
    let_others_run();
    CHECK(rota_task_waits_for(tasks[0]) && rota_task_waits_for(tasks[1]));

    let_arrive(order, primitive, &a, &first, tasks[0]);
    CHECK(!first.ended);
    let_others_run();
    CHECK(first.ended);

    bool released = strchr(order, 'R'), won = order[0] == 'R';
    int interrupt = strchr(order, 'C') ? -ECANCELED : strchr(order, 'T') ? -ETIMEDOUT : 0;
    int lost = order[0] == 'C' ? -ECANCELED : -ETIMEDOUT;
    CHECK_INT(first.result, ==, won ? 0 : lost);
    CHECK_INT(first.next, ==, interrupt);

    CHECK_INT(second.ended, ==, released && (!won || primitive->once));
    if (!second.ended)
        let_arrive("R", primitive, &a, NULL, NULL);
    let_others_run();
    CHECK(second.ended);
    CHECK_INT(second.result, ==, 0);
    rota_task_free(tasks[0]);
    rota_task_free(tasks[1]);
    rota_queue_free(a.queue);
    rota_queue_free(a.other);
}

static int all_races(void *arg)
{
    static const char *const orders[] = {"R",  "C",   "T",   "RC",  "CR",  "RT",  "TR", "CT",
                                         "TC", "RCT", "RTC", "CRT", "CTR", "TRC", "TCR"};
    for (size_t i = 0; i < COUNT(orders); i++) {
        printf("order %s\n", orders[i]);
        race(orders[i], arg);
    }
    return 0;
}

static void run_races(struct primitive primitive)
{
    run_virtual(all_races, &primitive);
}

static void lock_mutex(struct arena *a)
{
    CHECK_INT(rota_mutex_try_lock(&a->mutex), ==, 0);
}

static void unlock_mutex(struct arena *a)
{
    CHECK_INT(rota_mutex_unlock(&a->mutex), ==, 0);
}

static int wait_mutex(struct arena *a)
{
    return rota_mutex_lock(&a->mutex);
}

TEST(mutex_is_never_lost_between_unlock_timeout_and_cancel)
{
    run_races((struct primitive){
        .prepare = lock_mutex, .wait = wait_mutex, .release = unlock_mutex, .once = true});
}

static int wait_event(struct arena *a)
{
    return rota_event_wait(&a->event);
}

static void set_event(struct arena *a)
{
    CHECK_INT(rota_event_set(&a->event), ==, 0);
}

TEST(event_is_never_lost_between_set_timeout_and_cancel)
{
    run_races((struct primitive){.wait = wait_event, .release = set_event, .once = true});
}

static int wait_cond(struct arena *a)
{
    int err = rota_mutex_lock(&a->mutex);
    if (err < 0)
        return err;
    err = rota_cond_wait(&a->cond, &a->mutex);
    CHECK_PTR(rota_mutex_owner(&a->mutex), ==, rota_task_current());
    rota_mutex_unlock(&a->mutex);
    return err;
}

static void notify_one(struct arena *a)
{
    CHECK_INT(rota_cond_notify(&a->cond, 1), ==, 0);
}

/* Rule 12: no lost wake-ups; here and in the cases named `never_lost`. */
TEST(notification_is_never_lost_between_notify_timeout_and_cancel)
{
    run_races((struct primitive){.wait = wait_cond, .release = notify_one});
}

TEST(notification_under_the_mutex_is_never_lost_either)
{
    run_races((struct primitive){
        .before = lock_mutex, .wait = wait_cond, .release = notify_one, .after = unlock_mutex});
}

static int wait_semaphore(struct arena *a)
{
    return rota_semaphore_acquire(&a->semaphore);
}

static void release_semaphore(struct arena *a)
{
    CHECK_INT(rota_semaphore_release(&a->semaphore), ==, 0);
}

TEST(permit_is_never_lost_between_release_timeout_and_cancel)
{
    run_races((struct primitive){.wait = wait_semaphore, .release = release_semaphore});
}

/* Each task has to get the item that was put for it: nothing is lost, and the order is kept. */
static int expect_item(struct arena *a, int err, int got)
{
    if (err == 0)
        CHECK_INT(got, ==, ++a->item);
    return err;
}

static int wait_get(struct arena *a)
{
    int got = 0;
    int err = rota_queue_get(a->queue, &got);
    CHECK(err == 0 || got == 0);
    return expect_item(a, err, got);
}

static void put_item(struct arena *a)
{
    int item = a->item + 1;
    CHECK_INT(rota_queue_try_put(a->queue, &item), ==, 0);
}

TEST(item_is_never_lost_between_put_timeout_and_cancel)
{
    run_races((struct primitive){.wait = wait_get, .release = put_item});
}

static int wait_put(struct arena *a)
{
    int item = 42;
    return rota_queue_put(a->queue, &item);
}

static void get_item(struct arena *a)
{
    int got = 0;
    CHECK_INT(rota_queue_try_get(a->queue, &got), ==, 0);
    CHECK_INT(got, ==, 42);
}

TEST(put_is_done_or_not_between_get_timeout_and_cancel)
{
    run_races((struct primitive){.wait = wait_put, .release = get_item});
}

static void fill_queue(struct arena *a)
{
    rota_queue *unused = a->queue;
    a->queue = a->other;
    a->other = unused;
    for (int item = 42; rota_queue_try_put(a->queue, &item) == 0;)
        continue;
}

TEST(put_into_a_full_queue_is_done_or_not_between_get_timeout_and_cancel)
{
    run_races((struct primitive){.prepare = fill_queue, .wait = wait_put, .release = get_item});
}

static int wait_select(struct arena *a)
{
    int got = 0, unwanted = 0;
    size_t index = 99;
    rota_case cases[] = {{.queue = a->other, .get = &unwanted}, {.queue = a->queue, .get = &got}};
    int err = rota_select(cases, 2, &index);
    CHECK_INT(index, ==, err == 0 ? 1 : 99);
    return expect_item(a, err, got);
}

TEST(select_loses_nothing_between_put_timeout_and_cancel)
{
    run_races((struct primitive){.wait = wait_select, .release = put_item});
}

static void put_without_task_done(struct arena *a)
{
    int item;
    CHECK_INT(rota_queue_try_put(a->other, &(int){1}), ==, 0);
    CHECK_INT(rota_queue_try_get(a->other, &item), ==, 0);
}

static int wait_join(struct arena *a)
{
    return rota_queue_join(a->other);
}

static void report_done(struct arena *a)
{
    CHECK_INT(rota_queue_task_done(a->other), ==, 0);
}

TEST(join_of_a_queue_ends_once_between_task_done_timeout_and_cancel)
{
    run_races((struct primitive){
        .prepare = put_without_task_done, .wait = wait_join, .release = report_done, .once = true});
}

/* ---- Every call that suspends is a cancellation point, also when it need not wait: rule 7. */

VIRTUAL_TASK_TEST(calls_in_a_cancelled_task_return_at_once_and_take_nothing)
{
    struct arena a = {.semaphore = ROTA_SEMAPHORE_INIT(1)};
    rota_barrier barrier = ROTA_BARRIER_INIT(1);
    CHECK_OK(rota_queue_new(1, sizeof(int), &a.queue));
    CHECK_OK(rota_queue_try_put(a.queue, &(int){1}));
    CHECK_OK(rota_event_set(&a.event));
    int item = 1;
    size_t index = 99;
    rota_case get = {.queue = a.queue, .get = &item};

    rota_task_cancel(rota_task_current());
    CHECK_INT(rota_mutex_lock(&a.mutex), ==, -ECANCELED);
    CHECK_INT(rota_event_wait(&a.event), ==, -ECANCELED);
    CHECK_INT(rota_semaphore_acquire(&a.semaphore), ==, -ECANCELED);
    CHECK_INT(rota_barrier_wait(&barrier), ==, -ECANCELED);
    CHECK_INT(rota_queue_get(a.queue, &item), ==, -ECANCELED);
    CHECK_INT(rota_queue_put(a.queue, &item), ==, -ECANCELED);
    CHECK_INT(rota_select(&get, 1, &index), ==, -ECANCELED);
    CHECK_INT(index, ==, 99);
    CHECK_INT(rota_mutex_try_lock(&a.mutex), ==, 0);
    CHECK_INT(rota_cond_wait(&a.cond, &a.mutex), ==, -ECANCELED);
    CHECK_PTR(rota_mutex_owner(&a.mutex), ==, rota_task_current());
    CHECK_INT(rota_mutex_unlock(&a.mutex), ==, 0);
    CHECK_INT(rota_semaphore_value(&a.semaphore), ==, 1);
    CHECK_INT(rota_queue_len(a.queue), ==, 1);
    rota_queue_free(a.queue);
}

TEST(calls_that_suspend_are_refused_outside_a_task)
{
    struct arena a = {.item = 0};
    rota_barrier barrier = ROTA_BARRIER_INIT(2);
    int item = 1;
    size_t index;
    CHECK_OK(rota_queue_new(1, sizeof(int), &a.queue));
    rota_case get = {.queue = a.queue, .get = &item};
    CHECK_INT(rota_mutex_lock(&a.mutex), ==, ROTA_ENOTASK);
    CHECK_INT(rota_mutex_try_lock(&a.mutex), ==, ROTA_ENOTASK);
    CHECK_INT(rota_event_wait(&a.event), ==, ROTA_ENOTASK);
    CHECK_INT(rota_cond_wait(&a.cond, &a.mutex), ==, ROTA_ENOTASK);
    CHECK_INT(rota_semaphore_acquire(&a.semaphore), ==, ROTA_ENOTASK);
    CHECK_INT(rota_barrier_wait(&barrier), ==, ROTA_ENOTASK);
    CHECK_INT(rota_queue_put(a.queue, &item), ==, ROTA_ENOTASK);
    CHECK_INT(rota_queue_get(a.queue, &item), ==, ROTA_ENOTASK);
    CHECK_INT(rota_queue_join(a.queue), ==, ROTA_ENOTASK);
    CHECK_INT(rota_select(&get, 1, &index), ==, ROTA_ENOTASK);
    CHECK_INT(rota_queue_try_put(a.queue, &item), ==, 0);
    CHECK_INT(rota_queue_try_get(a.queue, &item), ==, 0);
    rota_queue_free(a.queue);
}

/* ---- Another thread */

struct foreign {
    struct arena arena;
    rota_barrier barrier;
};

static void *meddle(void *arg)
{
    struct foreign *f = arg;
    struct arena *a = &f->arena;
    int item = 1;
    size_t index;
    rota_case get = {.queue = a->queue, .get = &item};
    CHECK_INT(rota_mutex_lock(&a->mutex), ==, ROTA_ETHREAD);
    CHECK_INT(rota_mutex_try_lock(&a->mutex), ==, ROTA_ETHREAD);
    CHECK_INT(rota_mutex_unlock(&a->mutex), ==, ROTA_ETHREAD);
    CHECK_INT(rota_event_wait(&a->event), ==, ROTA_ETHREAD);
    CHECK_INT(rota_event_set(&a->event), ==, ROTA_ETHREAD);
    CHECK_INT(rota_event_clear(&a->event), ==, ROTA_ETHREAD);
    CHECK_INT(rota_cond_notify(&a->cond, 1), ==, ROTA_ETHREAD);
    CHECK_INT(rota_cond_notify_all(&a->cond), ==, ROTA_ETHREAD);
    CHECK_INT(rota_semaphore_acquire(&a->semaphore), ==, ROTA_ETHREAD);
    CHECK_INT(rota_semaphore_try_acquire(&a->semaphore), ==, ROTA_ETHREAD);
    CHECK_INT(rota_semaphore_release(&a->semaphore), ==, ROTA_ETHREAD);
    CHECK_INT(rota_barrier_wait(&f->barrier), ==, ROTA_ETHREAD);
    CHECK_INT(rota_barrier_break(&f->barrier), ==, ROTA_ETHREAD);
    CHECK_INT(rota_queue_put(a->queue, &item), ==, ROTA_ETHREAD);
    CHECK_INT(rota_queue_get(a->queue, &item), ==, ROTA_ETHREAD);
    CHECK_INT(rota_queue_try_put(a->queue, &item), ==, ROTA_ETHREAD);
    CHECK_INT(rota_queue_try_get(a->queue, &item), ==, ROTA_ETHREAD);
    CHECK_INT(rota_queue_close(a->queue), ==, ROTA_ETHREAD);
    CHECK_INT(rota_queue_join(a->queue), ==, ROTA_ETHREAD);
    CHECK_INT(rota_queue_task_done(a->queue), ==, ROTA_ETHREAD);
    CHECK_INT(rota_try_select(&get, 1, &index), ==, ROTA_ETHREAD);
    return NULL;
}

static int use_then_let_meddle(void *arg)
{
    struct foreign f = {.barrier = ROTA_BARRIER_INIT(1)};
    struct arena *a = &f.arena;
    CHECK_OK(rota_queue_new(1, sizeof(int), &a->queue));
    CHECK_INT(rota_mutex_lock(&a->mutex), ==, 0);
    CHECK_INT(rota_event_clear(&a->event), ==, 0);
    CHECK_INT(rota_cond_notify(&a->cond, 1), ==, 0);
    CHECK_INT(rota_semaphore_release(&a->semaphore), ==, 0);
    CHECK_INT(rota_barrier_wait(&f.barrier), ==, 0);
    CHECK_INT(rota_queue_put(a->queue, &(int){1}), ==, 0);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, meddle, &f), ==, 0);
    pthread_join(thread, NULL);
    CHECK_INT(rota_semaphore_value(&a->semaphore), ==, 1);
    CHECK(!rota_event_is_set(&a->event));
    rota_mutex_unlock(&a->mutex);
    rota_queue_free(a->queue);
    return 0;
}

TEST(objects_in_use_by_a_loop_are_refused_to_other_threads)
{
    rota_log_set(keep_report, NULL);
    run_virtual(use_then_let_meddle, NULL);
    CHECK(strstr(report, "rota_event_set was called from a thread other than its loop's"));
    CHECK(strstr(report, "rota_barrier_break was called from a thread other than its loop's"));
}

static void *use_unused(void *queue)
{
    int item = 1;
    CHECK_INT(rota_queue_try_put(queue, &item), ==, ROTA_ETHREAD);
    CHECK_INT(rota_queue_close(queue), ==, ROTA_ETHREAD);
    return NULL;
}

static int make_a_queue(void *arg)
{
    (void)arg;
    ROTA_AUTO(rota_queue) queue = NULL;
    CHECK_OK(rota_queue_new(1, sizeof(int), &queue));
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, use_unused, queue), ==, 0);
    pthread_join(thread, NULL);
    CHECK_INT(rota_queue_len(queue), ==, 0);
    CHECK_OK(rota_queue_try_put(queue, &(int){1}));
    return 0;
}

TEST(queue_belongs_to_the_loop_in_which_it_was_made)
{
    rota_log_set(keep_report, NULL);
    run_virtual(make_a_queue, NULL);
    CHECK(strstr(report, "rota_queue_try_put was called from a thread other than its loop's"));
}

TEST(objects_of_a_loop_are_refused_to_another_loop_of_the_same_thread)
{
    rota_semaphore semaphore = ROTA_SEMAPHORE_INIT(3);
    rota_loop *a, *b;
    rota_log_set(keep_report, NULL);
    CHECK_OK(rota_loop_new(NULL, &a));
    CHECK_OK(rota_semaphore_try_acquire(&semaphore));
    CHECK_OK(rota_loop_leave(a));
    CHECK_OK(rota_loop_new(NULL, &b));
    CHECK_INT(rota_semaphore_try_acquire(&semaphore), ==, ROTA_ETHREAD);
    CHECK(strstr(report,
                 "rota_semaphore_try_acquire was called from a thread other than its loop's"));
    CHECK_OK(rota_loop_leave(b));
    CHECK_OK(rota_loop_enter(a));
    CHECK_OK(rota_semaphore_try_acquire(&semaphore));
    rota_loop_free(a);
    CHECK_OK(rota_loop_enter(b));
    CHECK_OK(rota_semaphore_try_acquire(&semaphore)); /* it is nobody's any more */
    rota_loop_free(b);
}

static rota_mutex static_mutex = ROTA_MUTEX_INIT;
static rota_semaphore static_semaphore = ROTA_SEMAPHORE_INIT(2);

static int use_static_objects(void *arg)
{
    int err, sum = 0;
    ROTA_LOCK (&static_mutex, &err) {
        ROTA_PERMIT (&static_semaphore, &err) {
            CHECK_INT(rota_semaphore_value(&static_semaphore), ==, 1);
            sum++;
        }
    }
    CHECK_PTR(rota_mutex_owner(&static_mutex), ==, NULL);
    CHECK_INT(rota_semaphore_value(&static_semaphore), ==, 2);
    return err < 0 ? err : sum;
}

TEST(static_objects_serve_one_loop_of_a_thread_after_the_other)
{
    CHECK_INT(rota_test_run(use_static_objects, NULL), ==, 1);
    CHECK_INT(rota_test_run(use_static_objects, NULL), ==, 1);
}

/* ---- Mutex */

struct turn {
    rota_mutex *mutex;
    char name;
};

static int lock_and_note(void *arg)
{
    struct turn *turn = arg;
    int err;
    ROTA_LOCK (turn->mutex, &err) {
        note(turn->name);
        err = rota_yield();
    }
    if (err < 0)
        note('!');
    return err;
}

static int mutex_order(void *arg)
{
    rota_mutex mutex = ROTA_MUTEX_INIT;
    struct turn turns[] = {{&mutex, 'a'}, {&mutex, 'b'}, {&mutex, 'c'}, {&mutex, 'd'}};
    rota_task *tasks[4];
    CHECK_INT(rota_mutex_lock(&mutex), ==, 0);
    for (int i = 0; i < 4; i++)
        CHECK_OK(rota_spawn(lock_and_note, &turns[i], &tasks[i]));
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_cancel(tasks[1]);
    CHECK_INT(rota_mutex_unlock(&mutex), ==, 0);
    CHECK_INT(rota_mutex_try_lock(&mutex), ==, -EAGAIN);
    for (int i = 0; i < 4; i++)
        CHECK_INT(rota_join(tasks[i]), ==, i == 1 ? -ECANCELED : 0);
    CHECK_PTR(rota_mutex_owner(&mutex), ==, NULL);
    return 0;
}

TEST(mutex_goes_to_tasks_in_the_order_in_which_they_came)
{
    run_virtual(mutex_order, NULL);
    CHECK_STR(history, "!acd");
}

static int take_again(void *arg)
{
    rota_mutex *mutex = arg;
    int err = rota_mutex_lock(mutex);
    if (err < 0)
        return err;
    note('w');
    return rota_mutex_unlock(mutex);
}

static int barge(void *arg)
{
    rota_mutex mutex = ROTA_MUTEX_INIT;
    rota_task *task;
    CHECK_INT(rota_mutex_lock(&mutex), ==, 0);
    CHECK_OK(rota_spawn(take_again, &mutex, &task));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(rota_mutex_unlock(&mutex), ==, 0);
    CHECK_PTR(rota_mutex_owner(&mutex), ==, task);
    CHECK_INT(rota_mutex_lock(&mutex), ==, 0);
    note('m');
    CHECK_INT(rota_mutex_unlock(&mutex), ==, 0);
    return rota_join(task);
}

TEST(mutex_cannot_be_snatched_from_the_task_it_was_handed_to)
{
    run_virtual(barge, NULL);
    CHECK_STR(history, "wm");
}

static int unlock_it(void *arg)
{
    return rota_mutex_unlock(arg);
}

static int misuse_mutex(void *arg)
{
    rota_mutex mutex = ROTA_MUTEX_INIT;
    rota_cond cond = ROTA_COND_INIT;
    rota_task *task;
    CHECK_INT(rota_mutex_unlock(&mutex), ==, -EPERM);
    CHECK_INT(rota_cond_wait(&cond, &mutex), ==, -EPERM);
    CHECK_INT(rota_mutex_lock(&mutex), ==, 0);
    CHECK_INT(rota_mutex_lock(&mutex), ==, -EDEADLK);
    CHECK_INT(rota_mutex_try_lock(&mutex), ==, -EAGAIN);
    CHECK_OK(rota_spawn(unlock_it, &mutex, &task));
    CHECK_INT(rota_join(task), ==, -EPERM);
    CHECK_PTR(rota_mutex_owner(&mutex), ==, rota_task_current());
    return rota_mutex_unlock(&mutex);
}

TEST(mutex_knows_its_owner)
{
    run_virtual(misuse_mutex, NULL);
}

static int leave_in_each_way(void *arg)
{
    rota_mutex mutex = ROTA_MUTEX_INIT;
    int err = 1;
    ROTA_LOCK (&mutex, &err) {
        CHECK_INT(err, ==, 0);
        if (rota_mutex_owner(&mutex))
            break;
        note('?');
    }
    CHECK_PTR(rota_mutex_owner(&mutex), ==, NULL);
    ROTA_LOCK (&mutex, &err) {
        goto out;
    }
out:
    CHECK_PTR(rota_mutex_owner(&mutex), ==, NULL);
    rota_task_cancel(rota_task_current());
    ROTA_LOCK (&mutex, &err) {
        note('?');
    }
    CHECK_INT(err, ==, -ECANCELED);
    return 0;
}

TEST(lock_block_unlocks_however_it_is_left_and_is_skipped_on_failure)
{
    run_virtual(leave_in_each_way, NULL);
    CHECK_STR(history, "");
}

struct crowd {
    rota_mutex mutex;
    rota_semaphore semaphore;
    rota_event event;
    rota_cond cond;
    rota_barrier barrier;
    rota_queue *queue;
    int inside, most, done;
    long sum;
    int places[MANY];
};

static int crowd_run(rota_group *group, rota_fn *fn, struct crowd *crowd)
{
    for (int i = 0; i < MANY; i++)
        rota_group_spawn(group, fn, crowd);
    return 0;
}

static void crowd_enter(struct crowd *crowd)
{
    if (++crowd->inside > crowd->most)
        crowd->most = crowd->inside;
}

static int crowd_mutex(void *arg)
{
    struct crowd *crowd = arg;
    int err;
    ROTA_LOCK (&crowd->mutex, &err) {
        crowd_enter(crowd);
        err = rota_yield();
        crowd->inside--;
        crowd->done++;
    }
    return err;
}

static int crowd_permit(void *arg)
{
    struct crowd *crowd = arg;
    int err;
    ROTA_PERMIT (&crowd->semaphore, &err) {
        crowd_enter(crowd);
        err = rota_yield();
        crowd->inside--;
        crowd->done++;
    }
    return err;
}

static int crowd_at_mutex(void *arg)
{
    ROTA_GROUP(group);
    crowd_run(&group, crowd_mutex, arg);
    return rota_group_wait(&group);
}

static int crowd_at_semaphore(void *arg)
{
    ROTA_GROUP(group);
    crowd_run(&group, crowd_permit, arg);
    return rota_group_wait(&group);
}

static struct crowd crowd;

TEST_WITH(ten_thousand_tasks_have_the_mutex_one_at_a_time, .seconds = 60)
{
    run_virtual(crowd_at_mutex, &crowd);
    CHECK_INT(crowd.done, ==, MANY);
    CHECK_INT(crowd.most, ==, 1);
}

TEST_WITH(ten_thousand_tasks_share_seven_permits, .seconds = 60)
{
    crowd.semaphore = (rota_semaphore)ROTA_SEMAPHORE_INIT(7);
    run_virtual(crowd_at_semaphore, &crowd);
    CHECK_INT(crowd.done, ==, MANY);
    CHECK_INT(crowd.most, ==, 7);
    CHECK_INT(rota_semaphore_value(&crowd.semaphore), ==, 7);
}

/* ---- Event */

static int crowd_event(void *arg)
{
    struct crowd *c = arg;
    int err = rota_event_wait(&c->event);
    c->done++;
    return err;
}

static int crowd_at_event(void *arg)
{
    struct crowd *c = arg;
    ROTA_GROUP(group);
    crowd_run(&group, crowd_event, c);
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(c->done, ==, 0);
    CHECK_INT(rota_event_set(&c->event), ==, 0);
    CHECK_INT(rota_event_clear(&c->event), ==, 0);
    return rota_group_wait(&group);
}

TEST_WITH(set_releases_ten_thousand_tasks_even_if_cleared_before_they_run, .seconds = 60)
{
    run_virtual(crowd_at_event, &crowd);
    CHECK_INT(crowd.done, ==, MANY);
    CHECK(!rota_event_is_set(&crowd.event));
}

VIRTUAL_TASK_TEST(event_stays_set_until_it_is_cleared)
{
    rota_event event = ROTA_EVENT_INIT;
    CHECK(!rota_event_is_set(&event));
    CHECK_INT(rota_event_set(&event), ==, 0);
    CHECK_INT(rota_event_wait(&event), ==, 0);
    CHECK_INT(rota_event_wait(&event), ==, 0);
    CHECK_INT(rota_event_clear(&event), ==, 0);
    int err = 0;
    ROTA_TIMEOUT (10 * ROTA_MILLISECOND) {
        err = rota_event_wait(&event);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
}

static void set_in_callback(rota_handle *handle, void *arg)
{
    CHECK_INT(rota_event_set(arg), ==, 0);
}

static int wait_for_callback(void *arg)
{
    rota_event event = ROTA_EVENT_INIT;
    rota_handle handle = ROTA_HANDLE_INIT;
    rota_time start = rota_now();
    rota_loop_call_later(rota_loop_current(), &handle, ROTA_SECOND, set_in_callback, &event);
    int err = rota_event_wait(&event);
    CHECK_INT(rota_now() - start, ==, ROTA_SECOND);
    return err;
}

TEST(callback_of_the_loop_may_set_an_event)
{
    run_virtual(wait_for_callback, NULL);
}

/* ---- Condition */

static int crowd_cond(void *arg)
{
    struct crowd *c = arg;
    int err;
    ROTA_LOCK (&c->mutex, &err) {
        while (err == 0 && c->done == 0)
            err = rota_cond_wait(&c->cond, &c->mutex);
        CHECK_PTR(rota_mutex_owner(&c->mutex), ==, rota_task_current());
        c->sum++;
    }
    return err;
}

static int crowd_at_cond(void *arg)
{
    struct crowd *c = arg;
    ROTA_GROUP(group);
    crowd_run(&group, crowd_cond, c);
    CHECK_INT(rota_yield(), ==, 0);
    int err;
    ROTA_LOCK (&c->mutex, &err) {
        c->done = 1;
        CHECK_INT(rota_cond_notify_all(&c->cond), ==, 0);
        let_others_run();
        CHECK_INT(c->sum, ==, 0);
    }
    return rota_group_wait(&group);
}

TEST_WITH(notify_all_lets_ten_thousand_tasks_have_the_mutex_in_turn, .seconds = 60)
{
    run_virtual(crowd_at_cond, &crowd);
    CHECK_INT(crowd.sum, ==, MANY);
}

struct listener {
    struct arena *arena;
    char name;
    int result;
};

static int listen_once(void *arg)
{
    struct listener *l = arg;
    int err;
    ROTA_LOCK (&l->arena->mutex, &err) {
        l->result = rota_cond_wait(&l->arena->cond, &l->arena->mutex);
        CHECK_PTR(rota_mutex_owner(&l->arena->mutex), ==, rota_task_current());
        note(l->result == 0 ? l->name : '!');
    }
    return err;
}

VIRTUAL_TASK_TEST(notify_skips_a_waiter_that_was_cancelled_before)
{
    struct arena a = {.item = 0};
    struct listener l[] = {{&a, 'a'}, {&a, 'b'}, {&a, 'c'}, {&a, 'd'}};
    rota_task *tasks[4];
    for (int i = 0; i < 4; i++)
        CHECK_OK(rota_spawn(listen_once, &l[i], &tasks[i]));
    let_others_run();
    rota_task_cancel(tasks[1]);
    CHECK_INT(rota_cond_notify(&a.cond, 2), ==, 0);
    let_others_run();
    CHECK_STR(history, "!ac");
    CHECK_INT(rota_cond_notify(&a.cond, 5), ==, 0);
    for (int i = 0; i < 4; i++)
        ROTA_IGNORE(rota_join(tasks[i]));
    CHECK_STR(history, "!acd");
    CHECK_INT(rota_cond_notify(&a.cond, 1), ==, 0);
}

static int cancel_while_the_mutex_is_held(void *arg)
{
    struct arena a = {.item = 0};
    struct listener l = {&a, 'a', 1};
    rota_task *task;
    CHECK_OK(rota_spawn(listen_once, &l, &task));
    let_others_run();
    CHECK_STR(rota_task_waits_for(task), "condition");
    CHECK_INT(rota_mutex_lock(&a.mutex), ==, 0);
    rota_task_cancel(task);
    let_others_run();
    CHECK_STR(rota_task_waits_for(task), "mutex");
    CHECK_STR(history, "");
    CHECK_INT(rota_mutex_unlock(&a.mutex), ==, 0);
    ROTA_IGNORE(rota_join(task));
    CHECK_INT(l.result, ==, -ECANCELED);
    CHECK_PTR(rota_mutex_owner(&a.mutex), ==, NULL);
    return 0;
}

TEST(cancelled_condition_returns_only_with_its_mutex)
{
    run_virtual(cancel_while_the_mutex_is_held, NULL);
    CHECK_STR(history, "!");
}

/* ---- Semaphore */

VIRTUAL_TASK_TEST(semaphore_counts_permits)
{
    rota_semaphore semaphore = ROTA_SEMAPHORE_INIT(2);
    CHECK_INT(rota_semaphore_acquire(&semaphore), ==, 0);
    CHECK_INT(rota_semaphore_try_acquire(&semaphore), ==, 0);
    CHECK_INT(rota_semaphore_try_acquire(&semaphore), ==, -EAGAIN);
    int err = 0;
    ROTA_TIMEOUT (ROTA_SECOND) {
        err = rota_semaphore_acquire(&semaphore);
    }
    CHECK_INT(err, ==, -ETIMEDOUT);
    CHECK_INT(rota_semaphore_value(&semaphore), ==, 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(rota_semaphore_release(&semaphore), ==, 0);
    CHECK_INT(rota_semaphore_value(&semaphore), ==, 3);
}

struct taker {
    rota_semaphore *semaphore;
    char name;
};

static int take_permit(void *arg)
{
    struct taker *t = arg;
    int err = rota_semaphore_acquire(t->semaphore);
    note(err == 0 ? t->name : '!');
    return err;
}

static int permits_in_order(void *arg)
{
    rota_semaphore semaphore = ROTA_SEMAPHORE_INIT(0);
    struct taker takers[] = {{&semaphore, 'a'}, {&semaphore, 'b'}, {&semaphore, 'c'}};
    rota_task *tasks[3];
    for (int i = 0; i < 3; i++)
        CHECK_OK(rota_spawn(take_permit, &takers[i], &tasks[i]));
    CHECK_INT(rota_yield(), ==, 0);
    rota_semaphore_release(&semaphore);
    CHECK_INT(rota_semaphore_try_acquire(&semaphore), ==, -EAGAIN);
    rota_task_cancel(tasks[1]);
    rota_semaphore_release(&semaphore);
    for (int i = 0; i < 3; i++)
        ROTA_IGNORE(rota_join(tasks[i]));
    return 0;
}

TEST(permits_go_to_tasks_in_order_and_not_to_newcomers)
{
    run_virtual(permits_in_order, NULL);
    CHECK_STR(history, "a!c");
}

/* ---- Barrier */

static int crowd_barrier(void *arg)
{
    struct crowd *c = arg;
    for (int round = 0; round < 2; round++) {
        c->inside++;
        int place = rota_barrier_wait(&c->barrier);
        if (place < 0)
            return place;
        CHECK_INT(c->inside, >=, (round + 1) * MANY);
        c->places[place]++;
    }
    return 0;
}

static int crowd_at_barrier(void *arg)
{
    ROTA_GROUP(group);
    crowd_run(&group, crowd_barrier, arg);
    return rota_group_wait(&group);
}

TEST_WITH(barrier_holds_ten_thousand_tasks_and_gives_each_a_place, .seconds = 60)
{
    crowd.barrier = (rota_barrier)ROTA_BARRIER_INIT(MANY);
    run_virtual(crowd_at_barrier, &crowd);
    for (int i = 0; i < MANY; i++)
        CHECK_INT(crowd.places[i], ==, 2);
}

struct arrival {
    rota_barrier *barrier;
    int result;
};

static int arrive(void *arg)
{
    struct arrival *a = arg;
    a->result = rota_barrier_wait(a->barrier);
    return 0;
}

VIRTUAL_TASK_TEST(barrier_waits_for_another_in_place_of_a_cancelled_task)
{
    rota_barrier barrier = ROTA_BARRIER_INIT(3);
    struct arrival a[] = {{&barrier, 9}, {&barrier, 9}, {&barrier, 9}};
    rota_task *tasks[3];
    for (int i = 0; i < 2; i++)
        CHECK_OK(rota_spawn(arrive, &a[i], &tasks[i]));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(rota_barrier_waiting(&barrier), ==, 2);
    rota_task_cancel(tasks[0]);
    CHECK_INT(rota_barrier_waiting(&barrier), ==, 1);
    CHECK_OK(rota_spawn(arrive, &a[2], &tasks[2]));
    let_others_run();
    CHECK_INT(rota_barrier_waiting(&barrier), ==, 2);
    CHECK_INT(rota_barrier_wait(&barrier), ==, 2);
    rota_task_cancel(tasks[1]);
    for (int i = 0; i < 3; i++)
        ROTA_IGNORE(rota_join(tasks[i]));
    CHECK_INT(a[0].result, ==, -ECANCELED);
    CHECK_INT(a[1].result, ==, 0);
    CHECK_INT(a[2].result, ==, 1);
    CHECK_INT(rota_barrier_waiting(&barrier), ==, 0);
}

VIRTUAL_TASK_TEST(broken_barrier_sends_everybody_away_until_it_is_reset)
{
    rota_barrier barrier = ROTA_BARRIER_INIT(2);
    struct arrival a = {&barrier, 9};
    rota_task *task;
    CHECK_OK(rota_spawn(arrive, &a, &task));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(rota_barrier_break(&barrier), ==, 0);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(a.result, ==, ROTA_ECLOSED);
    CHECK_INT(rota_barrier_wait(&barrier), ==, ROTA_ECLOSED);

    CHECK_INT(rota_barrier_reset(&barrier), ==, 0);
    CHECK_OK(rota_spawn(arrive, &a, &task));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(rota_barrier_wait(&barrier), ==, 1);
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(a.result, ==, 0);
}

/* ---- Queue */

VIRTUAL_TASK_TEST(queue_returns_items_of_any_size_in_order)
{
    static const size_t sizes[] = {0, 1, 3, 4, 8, 16, 24, 100};
    unsigned char in[100], out[100];
    for (size_t s = 0; s < COUNT(sizes); s++) {
        ROTA_AUTO(rota_queue) q = NULL;
        CHECK_OK(rota_queue_new(3, sizes[s], &q));
        unsigned char next_in = 0, next_out = 0;
        for (int round = 0; round < 20; round++) {
            for (int i = 0; i <= round % 3; i++) {
                memset(in, next_in++, sizeof in);
                CHECK_INT(rota_queue_try_put(q, in), ==, 0);
            }
            CHECK_INT(rota_queue_len(q), ==, round % 3 + 1);
            while (rota_queue_len(q)) {
                memset(in, next_out++, sizeof in);
                CHECK_INT(rota_queue_try_get(q, out), ==, 0);
                CHECK_MEM(out, in, sizes[s]);
            }
        }
        for (int i = 0; i < 3; i++)
            CHECK_INT(rota_queue_put(q, in), ==, 0);
        CHECK_INT(rota_queue_try_put(q, in), ==, -EAGAIN);
        for (int i = 0; i < 3; i++)
            CHECK_INT(rota_queue_get(q, out), ==, 0);
        CHECK_INT(rota_queue_try_get(q, out), ==, -EAGAIN);
    }
}

struct pipe_job {
    rota_queue *queue;
    int n;
    uint64_t resumes;
};

static int put_numbers(void *arg)
{
    struct pipe_job *job = arg;
    int err = 0;
    for (int i = 1; i <= job->n && err == 0; i++)
        err = rota_queue_put(job->queue, &i);
    rota_queue_close(job->queue);
    return err;
}

static int pipe_through(size_t capacity, int n, uint64_t *ret_resumes)
{
    ROTA_AUTO(rota_queue) q = NULL;
    CHECK_OK(rota_queue_new(capacity, sizeof(int), &q));
    struct pipe_job job = {q, n, 0};
    rota_task *task;
    uint64_t before = rota__loop_here->resumes;
    CHECK_OK(rota_spawn(put_numbers, &job, &task));
    int item, last = 0, err;
    while ((err = rota_queue_get(q, &item)) == 0)
        CHECK_INT(item, ==, ++last);
    CHECK_INT(err, ==, ROTA_ECLOSED);
    CHECK_INT(last, ==, n);
    *ret_resumes = rota__loop_here->resumes - before;
    return rota_join(task);
}

VIRTUAL_TASK_TEST(queue_passes_items_in_order_whatever_its_capacity)
{
    static const size_t capacities[] = {0, 1, 2, 7, 64, 1000};
    uint64_t resumes;
    for (size_t i = 0; i < COUNT(capacities); i++)
        CHECK_INT(pipe_through(capacities[i], 500, &resumes), ==, 0);
}

VIRTUAL_TASK_TEST(queue_switches_tasks_twice_a_filling_not_at_each_item)
{
    uint64_t resumes;
    CHECK_INT(pipe_through(64, 6400, &resumes), ==, 0);
    CHECK_INT(resumes, <=, 2 * 6400 / 64 + 4);
    CHECK_INT(pipe_through(0, 6400, &resumes), ==, 0);
    CHECK_INT(resumes, <=, 6400 + 4);
}

static int rendezvous_put(void *arg)
{
    rota_queue *q = arg;
    int err = rota_queue_put(q, &(int){7});
    note('p');
    return err;
}

VIRTUAL_TASK_TEST(put_without_capacity_waits_for_its_get)
{
    ROTA_AUTO(rota_queue) q = NULL;
    int item;
    CHECK_OK(rota_queue_new(0, sizeof(int), &q));
    CHECK_INT(rota_queue_try_put(q, &(int){1}), ==, -EAGAIN);
    CHECK_INT(rota_queue_try_get(q, &item), ==, -EAGAIN);
    rota_task *task;
    CHECK_OK(rota_spawn(rendezvous_put, q, &task));
    let_others_run();
    CHECK_STR(history, "");
    CHECK_INT(rota_queue_len(q), ==, 0);
    CHECK_INT(rota_queue_get(q, &item), ==, 0);
    CHECK_INT(item, ==, 7);
    CHECK_STR(history, "");
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_STR(history, "p");
}

static int put_tokens(void *arg)
{
    int err = 0;
    for (int i = 0; i < 3 && err == 0; i++)
        err = rota_queue_put(arg, NULL);
    return err;
}

VIRTUAL_TASK_TEST(items_without_a_size_need_no_address)
{
    for (size_t capacity = 0; capacity < 3; capacity++) {
        ROTA_AUTO(rota_queue) q = NULL;
        CHECK_OK(rota_queue_new(capacity, 0, &q));
        rota_task *task;
        CHECK_OK(rota_spawn(put_tokens, q, &task));
        CHECK_INT(rota_yield(), ==, 0);
        CHECK_INT(rota_queue_len(q), ==, capacity);
        for (int i = 0; i < 3; i++)
            CHECK_INT(rota_queue_get(q, NULL), ==, 0);
        CHECK_INT(rota_queue_try_get(q, NULL), ==, -EAGAIN);
        CHECK_INT(rota_queue_len(q), ==, 0);
        CHECK_INT(rota_join(task), ==, 0);
    }
}

struct putter {
    rota_queue *queue;
    int item, result;
};

static int put_one(void *arg)
{
    struct putter *p = arg;
    p->result = rota_queue_put(p->queue, &p->item);
    return 0;
}

VIRTUAL_TASK_TEST(putters_move_up_in_order_and_a_cancelled_one_puts_nothing)
{
    ROTA_AUTO(rota_queue) q = NULL;
    CHECK_OK(rota_queue_new(1, sizeof(int), &q));
    CHECK_INT(rota_queue_put(q, &(int){100}), ==, 0);
    struct putter p[] = {{q, 1, 9}, {q, 2, 9}, {q, 3, 9}};
    rota_task *tasks[3];
    for (int i = 0; i < 3; i++)
        CHECK_OK(rota_spawn(put_one, &p[i], &tasks[i]));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(rota_task_waits_for(tasks[0]), "queue put");
    rota_task_cancel(tasks[1]);
    int item;
    static const int expected[] = {100, 1, 3};
    for (int i = 0; i < 3; i++) {
        CHECK_INT(rota_queue_get(q, &item), ==, 0);
        CHECK_INT(item, ==, expected[i]);
        CHECK_INT(rota_queue_try_put(q, &item), ==, i < 2 ? -EAGAIN : 0);
    }
    for (int i = 0; i < 3; i++)
        ROTA_IGNORE(rota_join(tasks[i]));
    CHECK_INT(p[0].result, ==, 0);
    CHECK_INT(p[1].result, ==, -ECANCELED);
    CHECK_INT(p[2].result, ==, 0);
}

struct getter {
    rota_queue *queue;
    int item, result;
};

static int get_one(void *arg)
{
    struct getter *g = arg;
    g->result = rota_queue_get(g->queue, &g->item);
    return 0;
}

VIRTUAL_TASK_TEST(getters_are_served_in_order_and_a_cancelled_one_takes_nothing)
{
    ROTA_AUTO(rota_queue) q = NULL;
    CHECK_OK(rota_queue_new(4, sizeof(int), &q));
    struct getter g[] = {{q, 0, 9}, {q, 0, 9}, {q, 0, 9}};
    rota_task *tasks[3];
    for (int i = 0; i < 3; i++)
        CHECK_OK(rota_spawn(get_one, &g[i], &tasks[i]));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(rota_task_waits_for(tasks[0]), "queue get");
    rota_task_cancel(tasks[1]);
    for (int i = 1; i <= 3; i++)
        CHECK_INT(rota_queue_put(q, &i), ==, 0);
    CHECK_INT(rota_queue_len(q), ==, 1);
    for (int i = 0; i < 3; i++)
        ROTA_IGNORE(rota_join(tasks[i]));
    CHECK_INT(g[0].item, ==, 1);
    CHECK_INT(g[1].result, ==, -ECANCELED);
    CHECK_INT(g[2].item, ==, 2);
}

VIRTUAL_TASK_TEST(closed_queue_refuses_puts_and_is_drained_by_gets)
{
    rota_queue *full, *empty;
    int item;
    CHECK_OK(rota_queue_new(1, sizeof(int), &full));
    CHECK_OK(rota_queue_new(1, sizeof(int), &empty));
    CHECK_INT(rota_queue_put(full, &(int){5}), ==, 0);
    struct putter p = {full, 6, 9};
    struct getter g = {empty, 0, 9};
    rota_task *tasks[2];
    CHECK_OK(rota_spawn(put_one, &p, &tasks[0]));
    CHECK_OK(rota_spawn(get_one, &g, &tasks[1]));
    CHECK_INT(rota_yield(), ==, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(rota_queue_close(full), ==, 0);
        CHECK_INT(rota_queue_close(empty), ==, 0);
    }
    ROTA_IGNORE(rota_join(tasks[0]));
    ROTA_IGNORE(rota_join(tasks[1]));
    CHECK_INT(p.result, ==, ROTA_ECLOSED);
    CHECK_INT(g.result, ==, ROTA_ECLOSED);
    CHECK_INT(rota_queue_put(full, &item), ==, ROTA_ECLOSED);
    CHECK_INT(rota_queue_try_put(empty, &item), ==, ROTA_ECLOSED);
    CHECK_INT(rota_queue_get(full, &item), ==, 0);
    CHECK_INT(item, ==, 5);
    CHECK_INT(rota_queue_get(full, &item), ==, ROTA_ECLOSED);
    CHECK_INT(rota_queue_try_get(full, &item), ==, ROTA_ECLOSED);
    CHECK_PTR(rota_queue_free(full), ==, NULL);
    CHECK_PTR(rota_queue_free(empty), ==, NULL);
    CHECK_PTR(rota_queue_free(NULL), ==, NULL);
}

struct joiner {
    rota_queue *queue;
    int result;
};

static int join_queue(void *arg)
{
    struct joiner *j = arg;
    j->result = rota_queue_join(j->queue);
    note('j');
    return 0;
}

VIRTUAL_TASK_TEST(freeing_a_queue_sends_everybody_away)
{
    rota_queue *q;
    CHECK_OK(rota_queue_new(0, sizeof(int), &q));
    CHECK_INT(rota_queue_join(q), ==, 0);
    struct putter p = {q, 1, 9};
    struct getter g = {q, 0, 9};
    struct joiner j = {q, 9};
    rota_task *tasks[4];
    CHECK_OK(rota_spawn(put_one, &p, &tasks[0]));
    CHECK_OK(rota_spawn(get_one, &g, &tasks[1]));
    let_others_run();
    CHECK_OK(rota_spawn(join_queue, &j, &tasks[2]));
    CHECK_OK(rota_spawn(get_one, &g, &tasks[3]));
    let_others_run();
    CHECK_INT(p.result, ==, 0);
    rota_queue_free(q);
    for (int i = 0; i < 4; i++)
        ROTA_IGNORE(rota_join(tasks[i]));
    CHECK_INT(g.result, ==, ROTA_ECLOSED);
    CHECK_INT(j.result, ==, ROTA_ECLOSED);
}

static int join_after_work(void *arg)
{
    ROTA_AUTO(rota_queue) q = NULL;
    CHECK_OK(rota_queue_new(4, sizeof(int), &q));
    CHECK_INT(rota_queue_task_done(q), ==, -EINVAL);
    struct joiner j = {q, 9};
    rota_task *task;
    int item;
    for (int i = 0; i < 2; i++)
        CHECK_INT(rota_queue_put(q, &i), ==, 0);
    CHECK_OK(rota_spawn(join_queue, &j, &task));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(rota_queue_get(q, &item), ==, 0);
        let_others_run();
        CHECK_STR(history, "");
        CHECK_INT(rota_queue_task_done(q), ==, 0);
    }
    CHECK_INT(rota_queue_task_done(q), ==, -EINVAL);
    CHECK_INT(rota_join(task), ==, 0);
    return j.result;
}

TEST(join_waits_until_the_work_is_finished_not_only_fetched)
{
    run_virtual(join_after_work, NULL);
    CHECK_STR(history, "j");
}

static int crowd_put(void *arg)
{
    struct crowd *c = arg;
    int item = ++c->done;
    return rota_queue_put(c->queue, &item);
}

static int crowd_at_queue(void *arg)
{
    struct crowd *c = arg;
    ROTA_AUTO(rota_queue) q = NULL;
    CHECK_OK(rota_queue_new(3, sizeof(int), &q));
    c->queue = q;
    ROTA_GROUP(group);
    crowd_run(&group, crowd_put, c);
    int item;
    for (int i = 1; i <= MANY; i++) {
        CHECK_INT(rota_queue_get(q, &item), ==, 0);
        CHECK_INT(item, ==, i);
    }
    return rota_group_wait(&group);
}

TEST_WITH(ten_thousand_producers_are_served_in_order, .seconds = 60)
{
    run_virtual(crowd_at_queue, &crowd);
}

VIRTUAL_TASK_TEST(foreach_over_a_queue_ends_with_break_and_with_cancellation)
{
    ROTA_AUTO(rota_queue) q = NULL;
    CHECK_OK(rota_queue_new(4, sizeof(int), &q));
    for (int i = 1; i <= 4; i++)
        CHECK_INT(rota_queue_put(q, &i), ==, 0);
    int slot, err = 1;
    ROTA_FOREACH (int *, item, rota_queue_iter(q, &slot), &err)
        if (*item == 2)
            break;
    CHECK_INT(err, ==, 0);
    CHECK_INT(rota_queue_len(q), ==, 2);
    rota_task_cancel(rota_task_current());
    ROTA_FOREACH (int *, item, rota_queue_iter(q, &slot), &err)
        FAIL("took %d", *item);
    CHECK_INT(err, ==, -ECANCELED);
}

/* ---- Select */

VIRTUAL_TASK_TEST(select_takes_each_of_several_ready_queues_as_often)
{
    rota_queue *q[3];
    int got[3], counts[3] = {0};
    rota_case cases[3];
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rota_queue_new(1, sizeof(int), &q[i]));
        CHECK_INT(rota_queue_put(q[i], &i), ==, 0);
        cases[i] = (rota_case){.queue = q[i], .get = &got[i]};
    }
    for (int i = 0; i < 3000; i++) {
        size_t index = 99;
        CHECK_INT(rota_select(cases, 3, &index), ==, 0);
        CHECK_INT(got[index], ==, index);
        counts[index]++;
        CHECK_INT(rota_queue_put(q[index], &(int){(int)index}), ==, 0);
    }
    for (int i = 0; i < 3; i++) {
        CHECK_INT(counts[i], >, 800);
        rota_queue_free(q[i]);
    }
}

VIRTUAL_TASK_TEST(select_knows_ready_closed_and_left_out_queues)
{
    ROTA_AUTO(rota_queue) in = NULL;
    ROTA_AUTO(rota_queue) out = NULL;
    CHECK_OK(rota_queue_new(1, sizeof(int), &in));
    CHECK_OK(rota_queue_new(1, sizeof(int), &out));
    int got = 0, sent = 8;
    size_t index = 99;
    rota_case cases[] = {{.queue = in, .get = &got}, {.queue = out, .put = &sent}, {.queue = NULL}};

    CHECK_INT(rota_select(cases, 0, &index), ==, -EINVAL);
    CHECK_INT(rota_select(&cases[2], 1, &index), ==, -EINVAL);
    CHECK_INT(rota_try_select(cases, 1, &index), ==, -EAGAIN);
    CHECK_INT(index, ==, 99);
    CHECK_INT(rota_select(cases, 3, &index), ==, 0);
    CHECK_INT(index, ==, 1);
    CHECK_INT(rota_try_select(cases, 3, &index), ==, -EAGAIN);
    CHECK_INT(rota_queue_get(out, &got), ==, 0);
    CHECK_INT(got, ==, 8);

    cases[1].queue = NULL;
    CHECK_INT(rota_queue_put(in, &(int){9}), ==, 0);
    CHECK_INT(rota_queue_close(in), ==, 0);
    CHECK_INT(rota_select(cases, 3, &index), ==, 0);
    CHECK_INT(index, ==, 0);
    CHECK_INT(got, ==, 9);
    index = 99;
    CHECK_INT(rota_select(cases, 3, &index), ==, ROTA_ECLOSED);
    CHECK_INT(index, ==, 0);
}

struct chooser {
    rota_queue *in, *out;
    int got, sent, result;
    size_t index;
};

static int choose(void *arg)
{
    struct chooser *c = arg;
    rota_case cases[] = {{.queue = c->in, .get = &c->got}, {.queue = c->out, .put = &c->sent}};
    c->result = rota_select(cases, 2, &c->index);
    return 0;
}

static struct chooser chooser_start(size_t capacity)
{
    struct chooser c = {.sent = 8, .result = 9, .index = 99};
    CHECK_OK(rota_queue_new(capacity, sizeof(int), &c.in));
    CHECK_OK(rota_queue_new(capacity, sizeof(int), &c.out));
    return c;
}

static void chooser_end(struct chooser *c, rota_task *task, int result, size_t index)
{
    CHECK_INT(rota_join(task), ==, 0);
    CHECK_INT(c->result, ==, result);
    CHECK_INT(c->index, ==, index);
    int item;
    CHECK(rota_queue_try_get(c->out, &item) < 0);
    CHECK_INT(rota_queue_try_put(c->in, &item), <, 0);
    rota_queue_free(c->in);
    rota_queue_free(c->out);
}

VIRTUAL_TASK_TEST(select_that_waits_does_exactly_one_case)
{
    rota_task *task;
    int item;

    struct chooser c = chooser_start(0);
    CHECK_OK(rota_spawn(choose, &c, &task));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(rota_task_waits_for(task), "select");
    CHECK_INT(rota_queue_put(c.in, &(int){5}), ==, 0);
    CHECK_INT(c.got, ==, 5);
    chooser_end(&c, task, 0, 0);

    c = chooser_start(0);
    CHECK_OK(rota_spawn(choose, &c, &task));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(rota_queue_get(c.out, &item), ==, 0);
    CHECK_INT(item, ==, 8);
    chooser_end(&c, task, 0, 1);

    c = chooser_start(0);
    CHECK_OK(rota_spawn(choose, &c, &task));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_INT(rota_queue_close(c.out), ==, 0);
    chooser_end(&c, task, ROTA_ECLOSED, 1);

    c = chooser_start(0);
    CHECK_OK(rota_spawn(choose, &c, &task));
    CHECK_INT(rota_yield(), ==, 0);
    rota_task_cancel(task);
    chooser_end(&c, task, -ECANCELED, 99);
}

VIRTUAL_TASK_TEST(select_does_not_meet_itself_but_another_select)
{
    ROTA_AUTO(rota_queue) q = NULL;
    CHECK_OK(rota_queue_new(0, sizeof(int), &q));
    struct chooser a = {.in = q, .out = q, .sent = 1, .index = 99},
                   b = {.in = q, .out = q, .sent = 2, .index = 99};
    rota_task *tasks[2];
    CHECK_OK(rota_spawn(choose, &a, &tasks[0]));
    CHECK_INT(rota_yield(), ==, 0);
    CHECK_STR(rota_task_waits_for(tasks[0]), "select");
    CHECK_OK(rota_spawn(choose, &b, &tasks[1]));
    CHECK_INT(rota_join(tasks[0]), ==, 0);
    CHECK_INT(rota_join(tasks[1]), ==, 0);
    CHECK_INT(a.index + b.index, ==, 1);
    CHECK_INT(a.index == 0 ? a.got : b.got, ==, a.index == 0 ? 2 : 1);
}

VIRTUAL_TASK_TEST(select_merges_queues_until_all_are_closed)
{
    rota_queue *q[2];
    struct pipe_job jobs[2];
    int got;
    rota_case cases[2];
    ROTA_GROUP(group);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(rota_queue_new((size_t)i, sizeof(int), &q[i]));
        jobs[i] = (struct pipe_job){q[i], 100, 0};
        cases[i] = (rota_case){.queue = q[i], .get = &got};
        rota_group_spawn(&group, put_numbers, &jobs[i]);
    }
    int sum = 0, err = 0;
    size_t index;
    while (err == 0) {
        err = rota_select(cases, 2, &index);
        if (err == 0)
            sum += got;
        if (err == ROTA_ECLOSED) {
            cases[index].queue = NULL;
            err = 0;
        }
    }
    CHECK_INT(err, ==, -EINVAL);
    CHECK_INT(sum, ==, 2 * 5050);
    CHECK_INT(rota_group_wait(&group), ==, 0);
    rota_queue_free(q[0]);
    rota_queue_free(q[1]);
}

/* ---- Memory: rule 17, and allocations that fail */

static int ring_once(void *arg)
{
    struct arena *a = arg;
    int err;
    size_t index;
    int item;
    ROTA_LOCK (&a->mutex, &err) {
        err = rota_cond_wait(&a->cond, &a->mutex);
    }
    if (err == 0)
        err = rota_event_wait(&a->event);
    if (err == 0)
        err = rota_semaphore_acquire(&a->semaphore);
    if (err == 0)
        err = rota_queue_get(a->queue, &item);
    rota_case cases[] = {{.queue = a->queue, .get = &item}, {.queue = a->other, .get = &item}};
    if (err == 0)
        err = rota_select(cases, 2, &index);
    return err;
}

static int wait_counting_allocations(void *arg)
{
    struct arena a = {.item = 0};
    CHECK_OK(rota_queue_new(0, sizeof(int), &a.queue));
    CHECK_OK(rota_queue_new(0, sizeof(int), &a.other));
    rota_task *task;
    CHECK_OK(rota_spawn(ring_once, &a, &task));
    rota__fault_arm(ROTA__FAULT_ALLOC, 0);
    let_others_run();
    notify_one(&a);
    let_others_run();
    set_event(&a);
    let_others_run();
    release_semaphore(&a);
    let_others_run();
    put_item(&a);
    let_others_run();
    CHECK_INT(rota_queue_put(a.other, &(int){1}), ==, 0);
    CHECK_INT(rota__fault_count(ROTA__FAULT_ALLOC), ==, 0);
    rota__fault_disarm();
    int err = rota_join(task);
    rota_queue_free(a.queue);
    rota_queue_free(a.other);
    return err;
}

TEST_WITH(waiting_and_waking_allocate_nothing, .without_faults = true)
{
    run_virtual(wait_counting_allocations, NULL);
}

TEST_WITH(queue_that_cannot_be_allocated_leaves_no_trace, .without_faults = true)
{
    rota_queue *q = (rota_queue *)1;
    long live = rota__alloc_live();
    rota__fault_arm(ROTA__FAULT_ALLOC, 1);
    CHECK_INT(rota_queue_new(1, 8, &q), ==, -ENOMEM);
    rota__fault_disarm();
    CHECK_INT(rota_queue_new(SIZE_MAX / 4, 8, &q), ==, -ENOMEM);
    CHECK_INT(rota_queue_new(1, SIZE_MAX, &q), ==, -ENOMEM);
    CHECK_PTR(q, ==, (void *)1);
    CHECK_INT(rota__alloc_live(), ==, live);
}

/* ---- The deadlock report: rule 15 */

struct philosopher {
    rota_mutex *first, *second;
};

static int dine(void *arg)
{
    struct philosopher *p = arg;
    int err;
    ROTA_LOCK (p->first, &err) {
        err = rota_yield();
        if (err == 0) {
            ROTA_LOCK (p->second, &err) {
                note('?');
            }
        }
    }
    return err;
}

static int starve(void *arg)
{
    rota_mutex forks[2] = {ROTA_MUTEX_INIT, ROTA_MUTEX_INIT};
    struct philosopher p[] = {{&forks[0], &forks[1]}, {&forks[1], &forks[0]}};
    rota_task *tasks[2];
    CHECK_OK(rota_spawn(dine, &p[0], &tasks[0]));
    CHECK_OK(rota_spawn(dine, &p[1], &tasks[1]));
    rota_task_set_name(tasks[0], "plato");
    rota_task_set_name(tasks[1], "kant");
    ROTA_IGNORE(rota_join(tasks[0]));
    ROTA_IGNORE(rota_join(tasks[1]));
    return 0;
}

TEST(deadlock_report_says_who_waits_for_which_mutex)
{
    rota_log_set(keep_report, NULL);
    CHECK_INT(rota_test_run(starve, NULL), ==, -EDEADLK);
    printf("%s\n", report);
    const char *plato = strstr(report, "plato"), *kant = strstr(report, "kant");
    CHECK(plato && kant);
    CHECK(strstr(report, "which kant has"));
    CHECK(strstr(report, "which plato has"));
    CHECK(strstr(plato, "waits for mutex"));
    CHECK(strstr(kant, "waits for mutex"));
}

static int lock_and_end(void *arg)
{
    return rota_mutex_lock(arg);
}

static int wait_for_the_dead(void *arg)
{
    rota_mutex mutex = ROTA_MUTEX_INIT;
    rota_task *task;
    CHECK_OK(rota_spawn(lock_and_end, &mutex, &task));
    CHECK_INT(rota_join(task), ==, 0);
    return rota_mutex_lock(&mutex);
}

TEST(deadlock_report_does_not_name_a_holder_that_has_ended)
{
    rota_log_set(keep_report, NULL);
    CHECK_INT(rota_test_run(wait_for_the_dead, NULL), ==, -EDEADLK);
    CHECK(strstr(report, "waits for mutex"));
    CHECK(!strstr(report, "which"));
}

static int wait_for_ever(void *arg)
{
    struct arena a = {.item = 0};
    CHECK_OK(rota_queue_new(0, sizeof(int), &a.queue));
    int item;
    int err = rota_queue_get(a.queue, &item);
    rota_queue_free(a.queue);
    return err;
}

TEST(deadlock_report_names_the_queue_that_is_never_filled)
{
    rota_log_set(keep_report, NULL);
    CHECK_INT(rota_test_run(wait_for_ever, NULL), ==, -EDEADLK);
    CHECK(strstr(report, "wait_for_ever"));
    CHECK(strstr(report, "queue get"));
}
