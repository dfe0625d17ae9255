/* Process pools: the parent's side.
 *
 *     work      queued -> running -> finished; a driver takes it, and finishes it
 *     a driver  a task that is started when work arrives, at most one for each possible worker;
 *               takes work until none is left, and ends
 *     a worker  forked by a driver that finds none idle; idle -> busy -> idle, or ended when it
 *               died, was killed, or sent something other than a result
 *
 * 1. A driver has one worker while it has work, so there are never more workers than possible
 *    drivers.
 * 2. Only a driver reaps its worker, so a worker that runs somebody's work can be killed by its
 *    number.
 * 3. Whatever happens to a worker ends its socket, and that is what the driver waits for: it cannot
 *    hang.
 * 4. Abandoned work is finished by its driver like any other; killing the worker makes that soon.
 * 5. A worker that was killed gets no other work, also where its answer came before it died. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "exec/exec.h"

#include <rota/sync.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define WORKERS_MAX 4096
#define COPY_LIMIT (1024 * 1024)
#define ENDS_TEXT 80 /* room for how a worker ended */
/* A worker that is still running this long after its socket ended has only closed the socket. */
#define EXIT_TIME (100 * ROTA_MILLISECOND)

struct pool {
    rota_executor executor;
    struct rota__list queue;
    struct rota__list idle; /* last used first */
    unsigned drivers_max;
    unsigned computing; /* drivers whose worker computes */
};

struct worker {
    struct rota__list node;
    struct rota__fd fd;
    pid_t pid;
    /* We sent SIGKILL; it may take a while to die. */
    bool killed;
    /* It was still running EXIT_TIME after its socket had ended. */
    bool outlived;
    /* Set when its job is given up; also ends its nap. */
    rota_event abandoned;
    /* What it did wrong before it ended, other than closing its socket; or NULL. */
    const char *fault;
};

static const char lacked_memory[] = "could not get memory and ended";
static const char sent_nonsense[] = "sent data that is not a result, and was killed";

static struct pool *pool_of(rota_executor *executor)
{
    return rota__container_of(executor, struct pool, executor);
}

/* ---- Workers */

/* Forks with signals blocked, so that no handler of the program runs in the child. */
static pid_t fork_quietly(sigset_t *ret_before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
    return (pid_t)rota__sys(EAGAIN, fork());
}

static int worker_fork(struct pool *pool, struct worker *worker, int far_end)
{
    struct rota__loop *loop = pool->executor.loop;
    size_t copy_limit = pool->executor.copy_limit;
    pid_t parent = getpid();
    sigset_t before;
    pid_t pid = fork_quietly(&before);
    if (pid == 0)
        rota__worker_main(far_end, parent, loop->virtual_clock, copy_limit);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    worker->pid = pid;
    return pid < 0 ? pid : 0;
}

static int worker_new(struct pool *pool, struct worker **ret_worker)
{
    int ends[2];
    struct worker *worker = rota_zalloc(sizeof *worker);
    if (!worker)
        return rota__error_plain(-ENOMEM);
    int err = (int)rota__sys(EMFILE, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
    if (err < 0) {
        rota_free(worker);
        return err;
    }
    err = rota__fd_open(&worker->fd, pool->executor.loop, ends[0], true);
    if (err < 0) {
        rota__sys_close(ends[0]);
    } else {
        err = worker_fork(pool, worker, ends[1]);
        if (err < 0)
            rota__fd_close(&worker->fd);
    }
    rota__sys_close(ends[1]);
    if (err < 0) {
        rota_free(worker);
        return err;
    }
    rota__list_init(&worker->node);
    *ret_worker = worker;
    return 0;
}

/* Words for how a worker died; `status` is that of wait(2). */
static void describe_end(const struct worker *worker, pid_t waited, int status, char *text,
                         size_t size)
{
    pid_t pid = worker->pid;
    bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (worker->fault)
        snprintf(text, size, "worker %d %s", (int)pid, worker->fault);
    else if (worker->killed && (was_killed || waited < 0))
        snprintf(text, size, "worker %d %sclosed its socket to the pool, and was killed", (int)pid,
                 worker->outlived ? "" : "ended or ");
    else if (waited < 0)
        snprintf(text, size, "worker %d died; another part of the program collected its status",
                 (int)pid);
    else if (WIFSIGNALED(status))
        snprintf(text, size, "worker %d was ended by signal %d (%s)", (int)pid, WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(text, size, "worker %d exited with status %d", (int)pid, WEXITSTATUS(status));
}

/* Where the program has its children reaped by the kernel, the process ID may already be reused. */
static void worker_kill(struct worker *worker)
{
    siginfo_t info;
    worker->killed = true;
    if (waitid(P_PID, (id_t)worker->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        kill(worker->pid, SIGKILL);
}

/* Closes its socket and kills it. If it is already dying, its exit status does not change. */
static void worker_close(struct worker *worker)
{
    siginfo_t info = {.si_pid = 0};
    rota__fd_close(&worker->fd);
    int err = waitid(P_PID, (id_t)worker->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    if (err == 0 && info.si_pid == 0)
        worker_kill(worker);
}

static const struct rota__wait_kind exit_kind = {"worker process to end", rota__op_abort};

/* Waits until worker_reap need not block, for at most `limit`. A large process may take long to
 * die. Where there is no task or no pidfd, worker_reap blocks. Under a virtual clock, time stands
 * still meanwhile. Returns whether it was still running after the whole of `limit`. */
static bool worker_await_exit(const struct worker *worker, rota_time limit)
{
    int err = 0;
    if (!rota__task_here())
        return false;
    rota_loop *loop = rota__handle_here;
    int fd = (int)rota__sys(EMFILE, syscall(SYS_pidfd_open, worker->pid, 0));
    if (fd < 0)
        return false;
    struct rota__op op = {
        .kind = ROTA__OP_POLL, .loop = rota__loop_here, .poll_fd = fd, .events = ROTA_READABLE};
    rota_loop_hold_threadsafe(loop);
    ROTA_SHIELD
    {
        ROTA_TIMEOUT (limit) {
            err = (int)rota__op_await(&op, &exit_kind);
        }
    }
    rota_loop_release_threadsafe(loop);
    rota__sys_close(fd);
    return err == -ETIMEDOUT;
}

/* Called when its socket has ended. If the process died, it is a zombie almost at once. */
static void worker_await_own_end(const struct pool *pool, struct worker *worker)
{
    if (!worker->fault && !worker->killed && !pool->executor.loop->virtual_clock)
        worker->outlived = worker_await_exit(worker, EXIT_TIME);
}

static void worker_reap(struct worker *worker, char *text, size_t size)
{
    int status = 0;
    pid_t waited;
    do
        waited = waitpid(worker->pid, &status, 0);
    while (waited < 0 && errno == EINTR);
    describe_end(worker, waited, status, text, size);
    rota_free(worker);
}

/* An idle worker sends nothing: if there is something to read, it has ended or misbehaves. */
static bool worker_is_fit(struct worker *worker)
{
    char byte;
    ssize_t n = recv(worker->fd.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0)
        worker->fault = sent_nonsense;
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

static int worker_get(struct pool *pool, struct worker **ret_worker)
{
    struct rota__list *node;
    while ((node = rota__list_take_first(&pool->idle))) {
        struct worker *worker = rota__container_of(node, struct worker, node);
        if (worker_is_fit(worker)) {
            *ret_worker = worker;
            return 0;
        }
        /* Without suspending: the work that is to be run may still be withdrawn. */
        char text[ENDS_TEXT];
        worker_close(worker);
        worker_reap(worker, text, sizeof text);
        rota_log(ROTA_LOG_WARNING, "process pool: %s while it was idle", text);
    }
    return worker_new(pool, ret_worker);
}

/* ---- Talking to a worker */

static const struct rota__wait_kind wire_kind = {"worker process", rota__op_abort};

/* ROTA_EOF: the worker is gone. */
static int wire_error(ssize_t n)
{
    return n == 0 || n == -ECONNRESET || n == -EPIPE ? ROTA_EOF : (int)n;
}

static int transmit(struct worker *worker, const void *buf, size_t len)
{
    for (const char *p = buf; len > 0;) {
        struct rota__op op = {.kind = ROTA__OP_SEND, .loop = worker->fd.loop, .fd = &worker->fd};
        op.buf = (void *)(uintptr_t)p;
        op.len = len;
        ssize_t n = rota__op_await(&op, &wire_kind);
        if (n <= 0)
            return wire_error(n);
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Receives until `*have` is at least `want`, and not more than `len`. */
static int receive(struct worker *worker, char *buf, size_t len, size_t want, size_t *have)
{
    while (*have < want) {
        struct rota__op op = {.kind = ROTA__OP_RECV, .loop = worker->fd.loop, .fd = &worker->fd};
        op.buf = buf + *have;
        op.len = len - *have;
        ssize_t n = rota__op_await(&op, &wire_kind);
        if (n <= 0)
            return wire_error(n);
        *have += (size_t)n;
    }
    return 0;
}

static void set_computing(struct pool *pool, bool computing)
{
    pool->computing += computing ? 1 : -1u;
    rota__executor_update_hold(&pool->executor);
}

/* The worker waits on the loop's clock, until its work is abandoned. */
static int nap(struct pool *pool, struct worker *worker, const struct rota__frame *frame)
{
    struct rota__frame over = *frame;
    rota_timeout awake = ROTA_TIMEOUT_INIT;
    set_computing(pool, false);
    rota_timeout_begin(&awake, over.duration);
    int err = rota_event_wait(&worker->abandoned);
    if (rota_timeout_end(&awake) < 0 && err == -ETIMEDOUT)
        err = 0;
    set_computing(pool, true);
    return err < 0 ? err : transmit(worker, &over, sizeof over);
}

/* Waits for the result; naps come before it. */
static int converse(struct pool *pool, struct worker *worker, struct rota__copied *copied,
                    size_t size)
{
    struct rota__frame *frame = &copied->frame;
    size_t whole = sizeof *frame + size;
    for (;;) {
        size_t have = 0;
        int err = receive(worker, (char *)frame, whole, sizeof *frame, &have);
        if (err < 0)
            return err;
        if (frame->kind == ROTA__FRAME_SLEEP && have == sizeof *frame)
            err = nap(pool, worker, frame);
        else if (frame->kind == ROTA__FRAME_RESULT && frame->size == size &&
                 frame->words < ROTA__FRAME_WORDS)
            return receive(worker, (char *)frame, whole, whole, &have);
        else {
            worker->fault = frame->kind == ROTA__FRAME_NO_MEMORY ? lacked_memory : sent_nonsense;
            return ROTA_EOF;
        }
        if (err < 0)
            return err;
    }
}

static int receive_words(struct worker *worker, struct rota__copied *copied)
{
    char words[ROTA__FRAME_WORDS];
    size_t len = copied->frame.words, have = 0;
    int err = receive(worker, words, len, len, &have);
    if (err < 0 || len == 0)
        return err;
    words[len] = '\0';
    copied->work.error = rota__error_new(copied->frame.result, words);
    return 0;
}

static int worker_serve(struct pool *pool, struct worker *worker, struct rota__copied *copied)
{
    size_t size = copied->frame.size;
    copied->frame =
        (struct rota__frame){.kind = ROTA__FRAME_CALL, .fn = copied->work.fn, .size = size};
    set_computing(pool, true);
    int err = transmit(worker, &copied->frame, sizeof copied->frame + size);
    if (err == 0)
        err = converse(pool, worker, copied, size);
    if (err == 0)
        err = receive_words(worker, copied);
    set_computing(pool, false);
    if (err < 0)
        return err;
    copied->work.result = copied->frame.result;
    copied->work.returned = true;
    return 0;
}

/* ---- Drivers */

static void report_crash(struct rota__work *work, const char *text)
{
    if (!work->job)
        return; /* it was killed because its job was given up */
    work->error = rota__error_new(ROTA_ECRASHED, text);
    rota_log(ROTA_LOG_WARNING, "process pool: %s while it ran a job", text);
}

static void drive_work(struct pool *pool, struct worker *worker, struct rota__work *work)
{
    work->state = ROTA__WORK_RUNNING;
    work->runner = worker;
    char end[ENDS_TEXT];
    int err = worker_serve(pool, worker, rota__copied_of(work));
    if (err == 0 && !worker->killed) {
        rota__list_prepend(&pool->idle, &worker->node);
    } else {
        if (err == ROTA_EOF)
            worker_await_own_end(pool, worker);
        worker_close(worker);
        worker_await_exit(worker, ROTA_NEVER);
        worker_reap(worker, end, sizeof end);
    }
    if (err < 0)
        work->result = err;
    if (err == ROTA_EOF) {
        work->result = ROTA_ECRASHED;
        report_crash(work, end);
    }
    /* What a function left in its copy is in the worker's memory, so there is nothing to discard
     * here. */
    if (!work->job && work->returned) {
        rota__job_report_lost(work->result, work->error);
        work->returned = false;
    }
}

static struct rota__work *pool_take_queued(rota_executor *executor)
{
    struct rota__list *node = rota__list_take_first(&pool_of(executor)->queue);
    return node ? rota__container_of(node, struct rota__work, node) : NULL;
}

static int drive(void *arg)
{
    struct pool *pool = arg;
    struct rota__work *work;
    while ((work = pool_take_queued(&pool->executor))) {
        struct worker *worker = NULL;
        int interrupted = rota_check();
        int err = interrupted ? interrupted : worker_get(pool, &worker);
        if (err < 0 && !interrupted && pool->executor.drivers > 1) {
            /* No further worker can be started; the existing ones will take the work. */
            rota__list_prepend(&pool->queue, &work->node);
            break;
        }
        if (err < 0)
            work->result = err;
        else
            drive_work(pool, worker, work);
        rota__work_finish(work);
    }
    rota__executor_driver_left(&pool->executor);
    return 0;
}

/* ---- The executor */

static int pool_start(rota_executor *executor, struct rota__work *work)
{
    struct pool *pool = pool_of(executor);
    rota__list_append(&pool->queue, &work->node);
    if (pool->executor.drivers == pool->drivers_max)
        return 0;
    int err = rota_spawn_at(drive, pool, 0, NULL, ROTA_SITE("process pool"));
    if (err == 0) {
        pool->executor.drivers++;
        return 0;
    }
    if (pool->executor.drivers > 0)
        return 0; /* one of them will come to it */
    rota__list_remove(&work->node);
    return err;
}

static bool pool_withdraw(rota_executor *executor, struct rota__work *work)
{
    (void)executor;
    if (work->state != ROTA__WORK_QUEUED)
        return false;
    rota__list_remove(&work->node);
    return true;
}

static bool pool_abandon(rota_executor *executor, struct rota__work *work)
{
    (void)executor;
    struct worker *worker = work->runner;
    worker_kill(worker);
    rota_event_set(&worker->abandoned);
    return false;
}

static bool pool_computes(rota_executor *executor)
{
    return pool_of(executor)->computing > 0;
}

static void pool_stop(rota_executor *executor)
{
    struct rota__list workers, *node;
    char text[ENDS_TEXT];
    rota__executor_update_hold(executor);
    rota__list_init(&workers);
    rota__list_splice(&workers, &pool_of(executor)->idle);
    rota__list_each (each, &workers)
        worker_close(rota__container_of(each, struct worker, node));
    while ((node = rota__list_take_first(&workers))) {
        struct worker *worker = rota__container_of(node, struct worker, node);
        worker_await_exit(worker, ROTA_NEVER);
        worker_reap(worker, text, sizeof text);
    }
}

static void pool_free(rota_executor *executor)
{
    rota_free(pool_of(executor));
}

static const struct rota__executor_kind process_pool = {
    .needs_copy = true,
    .start = pool_start,
    .withdraw = pool_withdraw,
    .take_queued = pool_take_queued,
    .abandon = pool_abandon,
    .computes = pool_computes,
    .stop = pool_stop,
    .free = pool_free,
};

int rota_process_pool_new(const rota_process_pool_options *options, rota_executor **ret_executor)
{
    static const rota_process_pool_options none;
    const rota_process_pool_options *o = options ? options : &none;
    if (!rota__loop_here)
        return rota__error_plain(ROTA_ENOTASK);
    if (o->workers > WORKERS_MAX)
        return rota_error_set(-EINVAL, "make a process pool: %u workers exceed the limit of %d",
                              o->workers, WORKERS_MAX);
    struct pool *pool = rota_zalloc(sizeof *pool);
    if (!pool)
        return rota__error_plain(-ENOMEM);
    pool->drivers_max = o->workers ? o->workers : rota__processors();
    rota__list_init(&pool->queue);
    rota__list_init(&pool->idle);
    int err = rota__executor_init(&pool->executor, &process_pool, pool->drivers_max, o->queue,
                                  o->copy_limit ? o->copy_limit : COPY_LIMIT);
    if (err < 0) {
        rota_free(pool);
        return err;
    }
    *ret_executor = &pool->executor;
    return 0;
}
