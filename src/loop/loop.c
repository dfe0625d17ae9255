/* The loop: two queues and a turn.
 *
 *     ready    what has become ready and waits for the next turn: rota__loop_ready
 *     running  what this turn still has to run; filled from `ready` when the turn begins
 *
 * A turn: take posts of other threads, poll (waiting only if nothing is ready), take the timers
 * that are due, move `ready` to `running`, run it to the end. A task that stops switches straight
 * to the next task of `running` and never comes back here while there is one.
 *
 * 1. Only the loop's thread touches it. Other threads touch its handle (loops.c).
 * 2. A post that finds `asleep` set writes wake_fd, and clears it: one write wakes the loop however
 *    many posts there are. The loop sets `asleep` before it looks at the inbox for the last time.
 *    `nudged` is a post without content.
 * 3. The end: what is left is cancelled and waited for, with all posts still taken; then posts of
 *    users are refused, and it goes on until none is left; then all are. */
#include "loop/loop.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/noexcept.h"
#include "base/sys.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

__thread struct rota__loop *rota__loop_here;
__thread rota_loop *rota__handle_here;

/* ---- The clock */

static rota_time real_time(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * ROTA_SECOND + ts.tv_nsec;
}

rota_time rota__loop_time(const struct rota__loop *loop)
{
    return loop->virtual_clock ? loop->virtual_now : real_time();
}

rota_time rota_loop_time(const rota_loop *loop)
{
    const struct rota__loop *here = rota__loop_mine(loop, "rota_loop_time");
    return here ? rota__loop_time(here) : real_time();
}

rota_time rota_now(void)
{
    return rota__loop_here ? rota__loop_time(rota__loop_here) : real_time();
}

/* ---- Posts of other threads */

static bool inbox_empty(struct rota__loop *loop)
{
    return !atomic_load(&loop->handle->inbox);
}

static void take_posts(struct rota__loop *loop)
{
    if (inbox_empty(loop))
        return;
    struct rota__post *newest = atomic_exchange(&loop->handle->inbox, NULL), *oldest = NULL;
    while (newest) {
        struct rota__post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct rota__post *next = oldest->next;
        oldest->run(oldest, loop);
        oldest = next;
    }
}

struct call {
    struct rota__post post;
    rota_threadsafe_fn *fn;
    void *arg;
};

static void call_run(struct rota__post *post, struct rota__loop *loop)
{
    struct call call = *rota__container_of(post, struct call, post);
    rota_free(rota__container_of(post, struct call, post));
    call.fn(loop->handle, call.arg);
}

int rota_loop_call_threadsafe(rota_loop *loop, rota_threadsafe_fn *fn, void *arg)
{
    struct call *call = rota_alloc(sizeof *call);
    if (!call)
        return -ENOMEM;
    *call = (struct call){.post.run = call_run, .fn = fn, .arg = arg};
    int err = rota__loop_post_from_outside(loop, &call->post);
    if (err < 0)
        rota_free(call);
    return err;
}

/* ---- Making and freeing */

enum { STACK_LEAST = 16384 };

static int choose_backend(const rota_loop_options *o, rota_backend *ret_backend)
{
    rota_backend backend = o->backend;
    const char *name = getenv("ROTA_BACKEND");
    if (backend == ROTA_BACKEND_DEFAULT && name && *name) {
        if (strcmp(name, "epoll") == 0)
            backend = ROTA_BACKEND_EPOLL;
        else if (strcmp(name, "uring") == 0)
            backend = ROTA_BACKEND_URING;
        else
            return rota_error_set(-EINVAL,
                                  "ROTA_BACKEND \"%s\": unknown backend, use epoll or uring", name);
    }
    if ((unsigned)backend > ROTA_BACKEND_URING)
        return rota_error_set(-EINVAL, "make a loop: %d is not a backend", (int)backend);
    *ret_backend = backend;
    return 0;
}

static int open_backend(struct rota__loop *loop, rota_backend backend)
{
    if (backend != ROTA_BACKEND_EPOLL) {
        loop->backend = &rota__backend_uring;
        if (loop->backend->open(loop, backend == ROTA_BACKEND_URING) == 0)
            return 0;
    }
    loop->backend = &rota__backend_epoll;
    return loop->backend->open(loop, backend == ROTA_BACKEND_EPOLL);
}

static atomic_uint_fast64_t serials;

static int loop_init(struct rota__loop *loop, const rota_loop_options *o, rota_backend backend)
{
    rota__list_init(&loop->running);
    rota__list_init(&loop->ready);
    rota__list_init(&loop->tasks);
    rota__list_init(&loop->ended);
    rota__list_init(&loop->annexes);
    rota__list_init(&loop->watches);
    rota__list_init(&loop->far_calls);
    loop->serial = atomic_fetch_add(&serials, 1) + 1;
    loop->outer_fd = loop->timer_fd = -1;
    loop->on_sleep = o->on_sleep;
    loop->on_sleep_arg = o->on_sleep_arg;
    loop->virtual_clock = o->virtual_clock;
    loop->shuffle = o->random_seed;
    loop->stall_limit = o->stall_limit;
    loop->trim_at = ROTA_NEVER;
    loop->home = rota__coro_current();
    rota__timers_init(&loop->timers, rota__loop_time(loop));
    int err = rota__stack_pool_init(&loop->stacks, o->stack_size);
    if (err < 0)
        return err;
    int wake_fd = (int)rota__sys(EMFILE, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    loop->handle->wake_fd = wake_fd;
    err = wake_fd < 0 ? wake_fd : open_backend(loop, backend);
    if (err >= 0) {
        err = rota__stall_watch_start(loop);
        if (err < 0)
            loop->backend->close(loop);
    }
    if (err < 0) {
        rota__sys_close(wake_fd);
        rota__stack_pool_fini(&loop->stacks);
    }
    return err;
}

static int check_stack_size(size_t size)
{
    if (size == 0 || size >= STACK_LEAST)
        return 0;
    return rota_error_set(-EINVAL, "stack_size %zu: too small, use %d bytes or more", size,
                          STACK_LEAST);
}

static int loop_make(const rota_loop_options *o, rota_backend backend, struct rota__loop **ret_loop)
{
    struct rota__loop *loop = rota_zalloc(sizeof *loop);
    rota_loop *handle = loop ? rota__handle_new() : NULL;
    int err = -ENOMEM;
    if (handle) {
        loop->handle = handle;
        err = loop_init(loop, o, backend);
    }
    if (err < 0) {
        if (handle)
            rota__handle_unmake(handle);
        rota_free(loop);
        return err;
    }
    atomic_store(&handle->inside, loop);
    *ret_loop = loop;
    return 0;
}

static void loop_close(struct rota__loop *loop)
{
    rota__stall_watch_stop(loop);
    loop->backend->close(loop);
    rota__stack_pool_fini(&loop->stacks);
    rota__sys_close(loop->handle->wake_fd);
    rota__sys_close(loop->timer_fd);
    rota__sys_close(loop->outer_fd);
}

int rota_loop_new(const rota_loop_options *options, rota_loop **ret_loop)
{
    static const rota_loop_options none;
    const rota_loop_options *o = options ? options : &none;
    rota_backend backend = o->backend;
    struct rota__loop *loop;
    int err = choose_backend(o, &backend);
    if (err == 0)
        err = check_stack_size(o->stack_size);
    if (err < 0)
        return err;
    err = loop_make(o, backend, &loop);
    if (err < 0)
        return rota_error_set(err, "make a loop: %s", rota_strerror(err));
    err = rota__loop_here ? 0 : rota_loop_enter(loop->handle);
    if (err < 0) {
        loop_close(loop);
        rota__handle_unmake(loop->handle);
        rota_free(loop);
        return err;
    }
    *ret_loop = loop->handle;
    return 0;
}

/* Ends all that could still make something ready, as far as it is there now. */
static void end_all(struct rota__loop *loop)
{
    take_posts(loop);
    ROTA__NOEXCEPT();
    if (loop->finish)
        loop->finish(loop);
    rota__loop_free_watches(loop);
    while (loop->pending_ops && rota__loop_wait(loop, ROTA_SECOND) == 0)
        continue;
}

static void loop_end(struct rota__loop *loop)
{
    rota_loop *handle = loop->handle;
    loop->ending = true;
    end_all(loop);
    atomic_store(&handle->ending, true);
    while (!rota__handle_close(handle))
        end_all(loop);
    rota__loop_drop_handles(loop);
    loop_close(loop);
    rota_free(loop);
}

rota_loop *rota_loop_free(rota_loop *handle)
{
    struct rota__loop *before, *loop = handle ? rota__loop_borrow(handle, &before) : NULL;
    if (!loop)
        return NULL;
    if (loop->in_run || loop->ending) {
        rota_log(ROTA_LOG_ERROR, "rota_loop_free was called inside the loop, and did nothing");
        return NULL;
    }
    loop_end(loop);
    rota__loop_become_here(before == loop ? NULL : before);
    return NULL;
}

rota_loop *rota_loop_current(void)
{
    return rota__handle_here;
}

const char *rota_loop_backend(const rota_loop *loop)
{
    const struct rota__loop *here = rota__loop_mine(loop, "rota_loop_backend");
    return here ? here->backend->name : "";
}

struct rota__annex *rota__loop_annex(struct rota__loop *loop, const void *type)
{
    rota__list_each (node, &loop->annexes) {
        struct rota__annex *annex = rota__container_of(node, struct rota__annex, node);
        if (annex->type == type)
            return annex;
    }
    return NULL;
}

void rota__loop_annex_add(struct rota__loop *loop, struct rota__annex *annex)
{
    rota__list_prepend(&loop->annexes, &annex->node);
}

/* ---- Turns */

#define SHUFFLE_ROUNDS 16

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void begin_turn(struct rota__loop *loop)
{
    if (!loop->shuffle) {
        rota__list_splice(&loop->running, &loop->ready);
        return;
    }
    /* Sorts by random keys, one bit per round: every order is possible, and nearly as likely. */
    for (int round = 0; round < SHUFFLE_ROUNDS; round++) {
        struct rota__list ones, *node;
        rota__list_init(&ones);
        while ((node = rota__list_take_first(&loop->ready)))
            rota__list_append(random_next(&loop->shuffle) >> 63 ? &ones : &loop->running, node);
        rota__list_splice(&loop->running, &ones);
        rota__list_splice(&loop->ready, &loop->running);
    }
    rota__list_splice(&loop->running, &loop->ready);
}

static bool runnable(const struct rota__loop *loop)
{
    return !rota__list_empty(&loop->ready) || !rota__list_empty(&loop->running);
}

bool rota__loop_alive(const struct rota__loop *loop)
{
    return runnable(loop) || loop->timers.count || loop->pending_ops || loop->far_waits ||
           atomic_load(&loop->handle->holds) > 0 || atomic_load(&loop->handle->inbox);
}

/* Runs what is due: timers, and the decay of unused stacks. Reads the clock once. */
static void pass_time(struct rota__loop *loop)
{
    if (!loop->timers.count && loop->trim_at == ROTA_NEVER)
        return;
    rota_time now = rota__loop_time(loop);
    struct rota__timer *timer;
    while ((timer = rota__timers_pop(&loop->timers, now)))
        timer->fire(timer);
    if (loop->trim_at <= now)
        loop->trim_at = rota__stack_pool_trim(&loop->stacks, now);
}

int rota__loop_wait(struct rota__loop *loop, rota_time timeout)
{
    bool hooked = timeout != 0 && loop->on_sleep;
    if (__builtin_expect(hooked, false))
        loop->on_sleep(loop->on_sleep_arg, true);
    int err = loop->backend->wait(loop, timeout);
    if (__builtin_expect(hooked, false))
        loop->on_sleep(loop->on_sleep_arg, false);
    ROTA__NOEXCEPT();
    return err;
}

/* Polls, sleeping only if no post has come. */
static int wait_for(struct rota__loop *loop, rota_time timeout)
{
    if (timeout == 0 && !loop->pending_ops && loop->outer_fd < 0)
        return 0;
    if (timeout != 0) {
        atomic_store(&loop->handle->asleep, true);
        if (!inbox_empty(loop) || atomic_exchange(&loop->handle->nudged, false))
            timeout = 0;
    }
    int err = rota__loop_wait(loop, timeout);
    atomic_store_explicit(&loop->handle->asleep, false, memory_order_relaxed);
    return err;
}

static rota_time until_next(struct rota__loop *loop, rota_time limit)
{
    if (runnable(loop) || loop->stopping)
        return 0;
    rota_time next = rota__timers_next(&loop->timers);
    if (loop->trim_at < next)
        next = loop->trim_at;
    if (next == ROTA_NEVER)
        return limit;
    rota_time wait = next - real_time();
    return wait < 0 ? 0 : wait < limit ? wait : limit;
}

/* On the virtual clock time passes only here: when nothing is runnable, no input is on its way and
 * no other thread has promised a wake-up. A millisecond of grace lets the kernel deliver over
 * loopback. */
static int poll_virtual(struct rota__loop *loop, rota_time limit)
{
    int err = wait_for(loop, 0);
    if (err < 0 || runnable(loop) || loop->stopping || limit == 0)
        return err;
    rota_time next = rota__timers_next(&loop->timers);
    if (atomic_load(&loop->handle->holds) > 0 || next == ROTA_NEVER)
        return wait_for(loop, limit);
    if (loop->pending_ops || loop->far_waits) {
        err = wait_for(loop, ROTA_MILLISECOND);
        if (err < 0 || runnable(loop) || !inbox_empty(loop))
            return err;
    }
    if (next - loop->virtual_now > limit)
        next = loop->virtual_now + limit;
    if (next > loop->virtual_now)
        loop->virtual_now = next;
    return 0;
}

/* Makes the descriptor of rota_loop_fd readable when the next turn has something to do. A look at
 * the backend hands over what was started since the last one. */
static void arm_outer(struct rota__loop *loop)
{
    atomic_store(&loop->handle->asleep, true);
    loop->backend->wait(loop, 0);
    rota_time next = rota__timers_next(&loop->timers);
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (runnable(loop) || !inbox_empty(loop) || (loop->virtual_clock && next != ROTA_NEVER))
        when.it_value.tv_nsec = 1;
    else if (next != ROTA_NEVER)
        when.it_value = (struct timespec){next / ROTA_SECOND, next % ROTA_SECOND + 1};
    if (when.it_value.tv_nsec >= ROTA_SECOND)
        when.it_value = (struct timespec){when.it_value.tv_sec + 1, 0};
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

int rota__loop_turn(struct rota__loop *loop, rota_time timeout)
{
    take_posts(loop);
    if (!rota__loop_alive(loop))
        timeout = 0; /* the posts were all there was */
    int err = loop->virtual_clock ? poll_virtual(loop, runnable(loop) ? 0 : timeout)
                                  : wait_for(loop, until_next(loop, timeout));
    if (err < 0)
        return err;
    take_posts(loop);
    pass_time(loop);
    begin_turn(loop);
    __atomic_store_n(&loop->turning, true, __ATOMIC_RELAXED);
    struct rota__list *node;
    while ((node = rota__list_take_first(&loop->running))) {
        struct rota__item *item = rota__container_of(node, struct rota__item, node);
        rota__loop_count_resume(loop);
        item->run(item);
        ROTA__NOEXCEPT();
        if (rota__loop_here != loop)
            return ROTA_ETHREAD; /* a callback has forked, and this is the child */
    }
    __atomic_store_n(&loop->turning, false, __ATOMIC_RELAXED);
    return 0;
}

int rota__loop_refuse(const char *call)
{
    rota__log_about(ROTA_LOG_ERROR, call,
                    "%s was called from a thread other than its loop's, or after that loop had "
                    "ended, and did nothing",
                    call);
    return rota__error_plain(ROTA_ETHREAD);
}

/* Makes the loop the calling thread's, if it is not, for a run. 0 or an error. */
static int begin_run(rota_loop *handle, bool *ret_entered)
{
    *ret_entered = rota__handle_here != handle;
    int err = rota_loop_enter(handle);
    if (err < 0)
        return err;
    if (rota__loop_here->in_run)
        return rota_error_set(-EBUSY, "run a loop: it is already running");
    rota__loop_here->home = rota__coro_current();
    rota__loop_here->in_run = true;
    return 0;
}

/* In the child of a fork the loop is gone. */
static int end_run(rota_loop *handle, bool entered, int result)
{
    if (rota__handle_here != handle)
        return result;
    rota__loop_here->in_run = rota__loop_here->single_turn = rota__loop_here->stopping = false;
    int err = entered ? rota_loop_leave(handle) : 0;
    return result >= 0 && err < 0 ? err : result;
}

static int run_once(struct rota__loop *loop, rota_time timeout)
{
    int err;
    loop->single_turn = true;
    if (timeout != 0 && !rota__loop_alive(loop) && !rota__list_empty(&loop->tasks))
        err = loop->stuck(loop);
    else
        err = rota__loop_turn(loop, timeout);
    if (rota__loop_here != loop)
        return err;
    if (loop->outer_fd >= 0)
        arm_outer(loop);
    return err < 0 ? err : rota__loop_alive(loop) || !rota__list_empty(&loop->tasks);
}

int rota_loop_run_once(rota_loop *handle, rota_time timeout)
{
    bool entered;
    int err = begin_run(handle, &entered);
    return err < 0 ? err : end_run(handle, entered, run_once(rota__loop_here, timeout));
}

static int run(struct rota__loop *loop)
{
    int err = 0;
    while (!loop->stopping && err >= 0) {
        if (rota__loop_alive(loop))
            err = rota__loop_turn(loop, ROTA_NEVER);
        else if (!rota__list_empty(&loop->tasks))
            err = loop->stuck(loop);
        else
            break;
    }
    return err;
}

int rota_loop_run(rota_loop *handle)
{
    bool entered;
    int err = begin_run(handle, &entered);
    return err < 0 ? err : end_run(handle, entered, run(rota__loop_here));
}

void rota_loop_stop(rota_loop *handle)
{
    struct rota__loop *loop = rota__loop_mine(handle, "rota_loop_stop");
    if (loop)
        loop->stopping = true;
}

static int outer_open(struct rota__loop *loop)
{
    int inner = loop->backend->pollable(loop);
    if (inner < 0)
        return inner;
    int outer = (int)rota__sys(EMFILE, epoll_create1(EPOLL_CLOEXEC));
    if (outer < 0)
        return outer;
    int timer = (int)rota__sys(EMFILE, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    struct epoll_event event = {.events = EPOLLIN};
    int err = timer;
    if (err >= 0)
        err = (int)rota__sys(ENOMEM, epoll_ctl(outer, EPOLL_CTL_ADD, timer, &event));
    if (err >= 0)
        err = (int)rota__sys(ENOMEM, epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event));
    if (err < 0) {
        rota__sys_close(timer);
        rota__sys_close(outer);
        return err;
    }
    loop->timer_fd = timer;
    return outer;
}

int rota_loop_fd(rota_loop *handle)
{
    struct rota__loop *loop = rota__loop_mine(handle, "rota_loop_fd");
    if (!loop)
        return ROTA_ETHREAD;
    if (loop->outer_fd < 0) {
        int fd = outer_open(loop);
        if (fd < 0)
            return fd;
        loop->outer_fd = fd;
    }
    if (!loop->in_run)
        arm_outer(loop);
    return loop->outer_fd;
}
