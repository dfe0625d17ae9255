/* The life of a child.
 *
 *     running -> ended (the status is known, or known to be lost) -> freed
 *
 *     ended   process_collect: waitid(2) on the pidfd, by the first call after the exit
 *     freed   rota_process_free; the loop's end does the same, except freeing the memory
 *
 * 1. The pidfd is readable from the exit on, for any number of tasks: each looks for itself.
 * 2. A process is reaped when its end is noticed; the leader of a group only when it is freed,
 *    because until then its number is the group's and cannot be another's.
 * 3. `users` counts the tasks that are inside a call; freeing the process ends it and waits for
 *    them. */
#include "process/process.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/sys.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP 4 /* Linux 6.9 */
#endif

/* Pauses between checks if there is no descriptor to wait for. */
#define PAUSE_FIRST (ROTA_MILLISECOND / 2)
#define PAUSE_MOST (20 * ROTA_MILLISECOND)

enum { IN, OUT, ERR };

struct rota_process {
    struct rota__list node;  /* among the loop's */
    struct rota__loop *loop; /* NULL once that has ended, and this with it */
    rota_stream *streams[3];
    pid_t pid;
    int pidfd; /* -1 where filters refuse it */
    bool group, ended, reaped, closing;
    int error; /* why the status is not known */
    rota_process_status status;
    rota_time grace;
    unsigned users;
    struct rota__wait *closer;
};

/* ---- The processes of a loop */

struct processes {
    struct rota__annex annex;
    struct rota__list all;
};

static const char processes_type;

static void process_end(rota_process *p);

static void processes_close(struct rota__annex *annex)
{
    struct processes *processes = rota__container_of(annex, struct processes, annex);
    struct rota__list *node;
    while ((node = rota__list_first(&processes->all)))
        process_end(rota__container_of(node, rota_process, node));
    rota_free(processes);
}

static struct processes *processes_of(struct rota__loop *loop)
{
    struct rota__annex *annex = rota__loop_annex(loop, &processes_type);
    if (annex)
        return rota__container_of(annex, struct processes, annex);
    struct processes *processes = rota_zalloc(sizeof *processes);
    if (!processes)
        return NULL;
    processes->annex.type = &processes_type;
    processes->annex.close = processes_close;
    rota__list_init(&processes->all);
    rota__loop_annex_add(loop, &processes->annex);
    return processes;
}

/* ---- Starting */

/* The three standard streams while a child is started. */
struct standard {
    struct rota__passed passed[3];
    size_t count;
    int far[3]; /* of ours, to be closed here afterwards; -1 */
    rota_stream *near[3];
};

static void standard_release(struct standard *s)
{
    for (int i = 0; i < 3; i++) {
        rota__sys_close(s->far[i]);
        rota_stream_free(s->near[i]);
    }
}

static int standard_pipe(struct standard *s, int number)
{
    int ends[2];
    int err = (int)rota__sys(EMFILE, pipe2(ends, O_CLOEXEC));
    if (err < 0)
        return err;
    int near = ends[number == IN], far = ends[number != IN];
    s->far[number] = far;
    err = rota_stream_from_fd(near, &s->near[number]);
    if (err < 0)
        rota__sys_close(near);
    return err < 0 ? err : far;
}

static int standard_null(struct standard *s, int number)
{
    return s->far[number] = (int)rota__sys(EMFILE, open("/dev/null", O_RDWR | O_CLOEXEC));
}

/* The descriptor that becomes the child's standard stream `number`, or an error. */
static int standard_open(struct standard *s, int number, int wanted)
{
    switch (wanted) {
    case ROTA_PROCESS_INHERIT:
        return number;
    case ROTA_PROCESS_NULL:
        return standard_null(s, number);
    case ROTA_PROCESS_PIPE:
        return standard_pipe(s, number);
    case ROTA_PROCESS_STDOUT:
        return number == ERR ? s->passed[OUT].from : -EINVAL;
    default:
        return wanted > 0 ? wanted : -EBADF;
    }
}

static int standard_prepare(struct standard *s, const rota_process_options *options)
{
    const int wanted[] = {options->in, options->out, options->err};
    for (int i = 0; i < 3; i++) {
        int fd = standard_open(s, i, wanted[i]);
        if (fd < 0)
            return fd;
        s->passed[i] = (struct rota__passed){fd, i};
    }
    /* A stream that is closed here stays closed in the child. */
    for (int i = 0; i < 3; i++) {
        if (wanted[i] != ROTA_PROCESS_INHERIT)
            s->passed[s->count++] = s->passed[i];
    }
    return 0;
}

static int process_start(rota_process *p, const char *const *argv,
                         const rota_process_options *options)
{
    struct standard s = {.far = {-1, -1, -1}};
    struct rota__launch launch;
    int err = standard_prepare(&s, options);
    if (err == 0)
        err = rota__launch_init(&launch, argv, options, s.passed, s.count);
    if (err < 0)
        rota__launch_failed(argv, options, err);
    if (err == 0) {
        err = rota__launch_run(&launch, &p->pid, &p->pidfd);
        rota__launch_fini(&launch);
    }
    if (err == 0) {
        memcpy(p->streams, s.near, sizeof s.near);
        memset(s.near, 0, sizeof s.near);
    }
    standard_release(&s);
    return err;
}

static int spawn(const char *const *argv, const rota_process_options *o, rota_process **ret_process)
{
    struct processes *processes = processes_of(rota__loop_here);
    rota_process *p = processes ? rota_zalloc(sizeof *p) : NULL;
    if (!p)
        return rota__launch_failed(argv, o, -ENOMEM);
    p->loop = rota__loop_here;
    p->group = o->group || o->session;
    p->grace = o->grace;
    int err = process_start(p, argv, o);
    if (err < 0) {
        rota_free(p);
        return err;
    }
    rota__list_append(&processes->all, &p->node);
    *ret_process = p;
    return (int)rota__done_at_once(0);
}

int rota_process_spawn(const char *const *argv, const rota_process_options *options,
                       rota_process **ret_process)
{
    static const rota_process_options defaults;
    int err = rota__suspend_check();
    return err < 0 ? err : spawn(argv, options ? options : &defaults, ret_process);
}

pid_t rota_process_pid(const rota_process *p)
{
    return p->pid;
}

rota_stream *rota_process_in(const rota_process *p)
{
    return p->streams[IN];
}

rota_stream *rota_process_out(const rota_process *p)
{
    return p->streams[OUT];
}

rota_stream *rota_process_err(const rota_process *p)
{
    return p->streams[ERR];
}

/* ---- The end of a child */

static void process_note_lost(rota_process *p)
{
    p->error = -ECHILD;
    p->reaped = true;
    rota_log(ROTA_LOG_WARNING,
             "process %d has ended, but its status is lost: the program ignores SIGCHLD, or waits "
             "for its children elsewhere",
             (int)p->pid);
}

/* Whether it has ended; `how` is WNOHANG, or 0 to block. */
static bool process_collect(rota_process *p, int how)
{
    siginfo_t info = {.si_pid = 0};
    int err = 0;
    if (p->ended)
        return true;
    do
        err =
            rota__process_waitid(p->pid, p->pidfd, &info, WEXITED | how | (p->group ? WNOWAIT : 0));
    while (err == -EINTR);
    if (err == 0 && info.si_pid == 0)
        return false;
    p->ended = true;
    if (err < 0) {
        process_note_lost(p);
        return true;
    }
    p->reaped = !p->group;
    bool exited = info.si_code == CLD_EXITED;
    p->status = (rota_process_status){
        .known = true,
        .code = exited ? info.si_status : 128 + info.si_status,
        .signal = exited ? 0 : info.si_status,
        .core = info.si_code == CLD_DUMPED,
    };
    return true;
}

static int process_answer(const rota_process *p, rota_process_status *ret_status)
{
    if (p->error)
        return p->error;
    if (ret_status)
        *ret_status = p->status;
    return p->status.code;
}

static int process_check(const rota_process *p, const char *call)
{
    return rota__loop_here == p->loop || !p->loop ? 0 : rota__loop_refuse(call);
}

static const struct rota__wait_kind exiting = {"process exit", rota__op_abort};

static int process_await_pidfd(rota_process *p)
{
    struct rota__op op = {
        .kind = ROTA__OP_POLL, .loop = p->loop, .poll_fd = p->pidfd, .events = ROTA_READABLE};
    return (int)rota__op_await(&op, &exiting);
}

/* Without a pidfd the end is polled, with growing pauses. */
static int process_await(rota_process *p)
{
    rota_time pause = PAUSE_FIRST;
    int err = 0;
    while (err >= 0 && !process_collect(p, WNOHANG)) {
        err = p->pidfd < 0 ? rota_sleep(pause) : process_await_pidfd(p);
        pause = 2 * pause < PAUSE_MOST ? 2 * pause : PAUSE_MOST;
    }
    return err < 0 ? err : 0;
}

int rota_process_wait(rota_process *p, rota_process_status *ret_status)
{
    int err = rota__suspend_check();
    if (err == 0)
        err = process_check(p, __func__);
    if (err == 0 && p->closing)
        err = ROTA_ECLOSED;
    if (err < 0)
        return err;
    bool at_once = process_collect(p, WNOHANG);
    p->users++;
    err = at_once ? 0 : process_await(p);
    int answer = err < 0 ? err : process_answer(p, ret_status);
    if (--p->users == 0 && p->closer)
        rota__wake(p->closer, 0);
    return at_once ? (int)rota__done_at_once(answer) : answer;
}

bool rota_process_done(rota_process *p)
{
    return process_check(p, __func__) == 0 && process_collect(p, WNOHANG);
}

/* ---- Signals */

/* By its process ID, which is not reused until it is reaped. */
static int process_signal_number(const rota_process *p, int number)
{
    return (int)rota__sys_result(kill(p->group ? -p->pid : p->pid, number));
}

/* Signals a group through its leader, which is not reaped yet. Kernels before 6.9 go by the number,
 * which is the group's unless the kernel reaps children by itself; so do valgrind, and filters that
 * refuse the call. */
static int process_signal(const rota_process *p, int number)
{
    if (p->reaped)
        return -ESRCH;
    if (p->pidfd < 0)
        return process_signal_number(p, number);
    int err = (int)rota__sys_result(syscall(SYS_pidfd_send_signal, p->pidfd, number, NULL,
                                            p->group ? PIDFD_SIGNAL_PROCESS_GROUP : 0));
    if (rota__process_refused(err) || (p->group && err == -EINVAL))
        err = process_signal_number(p, number);
    return err;
}

int rota_process_kill(rota_process *p, int number)
{
    int err = process_check(p, __func__);
    if (err < 0)
        return err;
    if (!p->group)
        process_collect(p, WNOHANG);
    return rota__result_plain(process_signal(p, number));
}

int rota_process_terminate(rota_process *p, rota_time grace, rota_process_status *ret_status)
{
    int err = rota__suspend_check();
    if (err == 0)
        err = process_check(p, __func__);
    if (err < 0)
        return err;
    if (grace > 0) {
        rota_timeout time = ROTA_TIMEOUT_INIT;
        process_signal(p, SIGTERM);
        process_signal(p, SIGCONT);
        rota_timeout_begin(&time, grace);
        int answer = rota_process_wait(p, ret_status);
        bool over = rota_timeout_end(&time) < 0;
        if (answer != -ETIMEDOUT || !over)
            return answer;
    }
    process_signal(p, SIGKILL);
    return rota_process_wait(p, ret_status);
}

/* ---- Freeing */

/* Never called: the wait is shielded. */
static void closing_abort(struct rota__wait *wait, int reason)
{
    (void)wait;
    (void)reason;
}

static const struct rota__wait_kind closing = {"process users", closing_abort};

static void process_wait_for_users(rota_process *p)
{
    while (p->users > 0 && rota__task_here()) {
        struct rota__wait wait = {0};
        p->closer = &wait;
        rota__park(&wait, &closing, p);
        p->closer = NULL;
    }
}

/* Without memory for the wait, or outside a task, the thread blocks; after SIGKILL that does not
 * take long. */
static void process_stop(rota_process *p)
{
    if (rota__task_here() && !process_collect(p, WNOHANG))
        ROTA_IGNORE(rota_process_terminate(p, p->grace, NULL));
    process_signal(p, SIGKILL); /* the rest of the group, or of a failed start */
    process_collect(p, 0);
    if (!p->reaped) {
        siginfo_t info;
        rota__process_waitid(p->pid, p->pidfd, &info, WEXITED | WNOHANG);
        p->reaped = true;
    }
}

/* All but the memory. */
static void process_end(rota_process *p)
{
    ROTA_SHIELD
    {
        for (int i = 0; i < 3; i++)
            p->streams[i] = rota_stream_free(p->streams[i]);
        process_stop(p);
        p->closing = true;
        process_wait_for_users(p);
    }
    rota__sys_close(p->pidfd);
    rota__list_remove(&p->node);
    p->loop = NULL;
}

rota_process *rota_process_free(rota_process *p)
{
    if (!p)
        return NULL;
    ROTA_KEEP_ERROR;
    if (process_check(p, __func__) < 0)
        return NULL;
    if (p->loop)
        process_end(p);
    rota_free(p);
    return NULL;
}

/* ---- Words */

const char *rota_process_status_text(const rota_process_status *status, char *ret_text)
{
    if (!status->known)
        snprintf(ret_text, ROTA_PROCESS_STATUS_TEXT, "end not known");
    else if (status->signal)
        snprintf(ret_text, ROTA_PROCESS_STATUS_TEXT, "signal %d (%s%s)", status->signal,
                 strsignal(status->signal), status->core ? ", core dumped" : "");
    else
        snprintf(ret_text, ROTA_PROCESS_STATUS_TEXT, "exit code %d", status->code);
    return ret_text;
}
