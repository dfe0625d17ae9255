/* Workers in processes, and the supervisor that forks them.
 *
 * The supervisor has neither a loop nor threads nor descriptors of its own, so a worker inherits
 * nothing from it: it blocks the signals that it handles and takes them one by one.
 *
 *     a worker  waiting (until `due`) --fork_due--> running --reap--> ended, or waiting again
 *
 *     running   told to stop: `deadline` says when it is killed
 *     renewed   told to stop by SIGHUP, and to be replaced
 *
 * What a worker's function returned travels home in memory that both share; its exit status alone
 * has no room for it. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sys.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define GRACE (10 * ROTA_SECOND)
#define HEALTHY ROTA_SECOND
#define FAILURES 5
#define DELAY (100 * ROTA_MILLISECOND)
#define DELAY_MAX (5 * ROTA_SECOND)

struct shared {
    struct rota__worker_ports ports;
    struct rota__worker_report reports[];
};

struct worker {
    pid_t pid;          /* 0: it does not run */
    rota_time due;      /* when it is to be forked; ROTA_NEVER */
    rota_time deadline; /* when it is to be killed; ROTA_NEVER */
    rota_time born;
    unsigned failures; /* deaths at once, in a row */
    bool renew;
    bool fresh; /* took the place of one that was renewed, and is waited for */
    bool killed;
};

struct supervisor {
    rota_fn *fn;
    void *arg;
    const rota_site *site;
    const rota_worker_processes_options *options;
    pid_t pid;
    struct shared *shared;
    size_t shared_size;
    sigset_t taken, mask_before;
    struct sigaction child_before;
    bool stopping;
    int failure, interrupt;
    struct rota__error *error; /* text of the failure */
    unsigned count;
    struct worker workers[];
};

/* ---- In a worker */

struct child {
    const struct supervisor *s;
    struct rota__worker_report *report;
};

static int child_main(void *arg)
{
    struct child *child = arg;
    const struct supervisor *s = child->s;
    sigset_t mask = s->mask_before;
    sigdelset(&mask, SIGTERM);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    int result = s->fn(s->arg);
    atomic_store(&child->report->stopped, rota__worker_was_cancelled());
    return result;
}

static _Noreturn void child_run(const struct supervisor *s, unsigned index)
{
    struct child child = {s, &s->shared->reports[index]};
    struct rota__worker_place place = {
        .index = (int)index, .count = s->count, .ports = &s->shared->ports, .report = child.report};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != s->pid)
        _exit(0);
    sigaction(SIGCHLD, &s->child_before, NULL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    rota__interrupt_by(SIGTERM);
    rota__log_program_ends(); /* the supervisor's; rota_run_at begins the worker's own */
    rota__worker_here = &place;
    int result = rota_run_at(child_main, &child, &s->options->loop, s->site);
    if (result < 0)
        snprintf(child.report->words, sizeof child.report->words, "%s", rota_error(result));
    atomic_store(&child.report->result, result < 0 ? result : 0);
    fflush(NULL);
    _exit(result < 0);
}

/* ---- Deaths */

struct death {
    char text[ROTA__WORKER_WORDS + 64];
};

/* The report of a worker that did not end as it should. `words` is the text of its failure. */
static rota_log_level describe_death(const struct worker *worker, unsigned index, int status,
                                     int result, const char *words, struct death *ret_death)
{
    rota_log_level level = worker->deadline == ROTA_NEVER ? ROTA_LOG_WARNING : ROTA_LOG_INFO;
    char *text = ret_death->text;
    int n =
        snprintf(text, sizeof ret_death->text, "worker %u (process %d) ", index, (int)worker->pid);
    size_t left = sizeof ret_death->text - (size_t)n;
    text += n;
    if (worker->killed) {
        snprintf(text, left, "did not stop in time and was killed");
        return ROTA_LOG_WARNING;
    }
    if (WIFSIGNALED(status))
        snprintf(text, left, "was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (result == ROTA_ECRASHED)
        snprintf(text, left, "exited with status %d", WEXITSTATUS(status));
    else if (result == -ECANCELED && worker->deadline != ROTA_NEVER)
        snprintf(text, left, "has stopped");
    else
        snprintf(text, left, "failed: %s", words);
    return level;
}

static rota_time after(rota_time duration)
{
    rota_time when, now = rota_now();
    return __builtin_add_overflow(now, duration, &when) ? ROTA_NEVER : when;
}

/* The call returns the first failure. */
static void note_result(struct supervisor *s, int result, const char *words)
{
    int *which = result == -ECANCELED ? &s->interrupt : &s->failure;
    if (result >= 0 || *which < 0)
        return;
    *which = result;
    if (which == &s->failure)
        s->error = rota__error_new(result, words);
}

static void tell_to_stop(struct supervisor *s, struct worker *worker)
{
    kill(worker->pid, SIGTERM);
    worker->deadline = after(s->options->grace ? s->options->grace : GRACE);
}

/* The first time they have `grace`, then none. */
static void stop_all(struct supervisor *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        struct worker *worker = &s->workers[i];
        worker->due = ROTA_NEVER;
        if (worker->pid && s->stopping)
            worker->deadline = 0;
        else if (worker->pid)
            tell_to_stop(s, worker);
    }
    s->stopping = true;
}

static rota_time healthy_of(const struct supervisor *s)
{
    return s->options->healthy ? s->options->healthy : HEALTHY;
}

static rota_time delay_of(unsigned failures)
{
    rota_time delay = DELAY;
    while (--failures && delay < DELAY_MAX)
        delay *= 2;
    return delay < DELAY_MAX ? delay : DELAY_MAX;
}

static void replace(struct supervisor *s, struct worker *worker, int result, const char *words)
{
    unsigned limit = s->options->failures ? s->options->failures : FAILURES;
    bool at_once = rota_now() - worker->born < healthy_of(s);
    worker->failures = at_once ? worker->failures + 1 : 0;
    if (worker->failures == limit) {
        rota_log(ROTA_LOG_ERROR, "worker %u has died %u times at once; giving up",
                 (unsigned)(worker - s->workers), limit);
        note_result(s, result, words);
        stop_all(s);
    } else {
        worker->due = at_once ? after(delay_of(worker->failures)) : 0;
    }
}

/* A worker that was told to stop before it listened for the signal has stopped, too. */
static int result_of(const struct worker *worker, const struct rota__worker_report *report,
                     int status)
{
    int result = atomic_load(&report->result);
    if (worker->killed)
        return -ETIMEDOUT;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM && worker->deadline != ROTA_NEVER)
        return 0;
    return result == ROTA__WORKER_RUNS || WIFSIGNALED(status) ? ROTA_ECRASHED : result;
}

/* The text of the worker's failure, escaped. The bytes may be anything, and change while
 * they are read: every worker can write to them. */
static struct rota__error *error_of(const struct rota__worker_report *report, int result)
{
    char words[ROTA__WORKER_WORDS];
    memcpy(words, report->words, sizeof words - 1);
    words[sizeof words - 1] = '\0';
    return rota__error_new(result, words);
}

static void renewed(struct worker *worker)
{
    worker->due = 0;
    worker->fresh = true;
}

static void worker_ended(struct supervisor *s, struct worker *worker, int status)
{
    unsigned index = (unsigned)(worker - s->workers);
    struct rota__worker_report *report = &s->shared->reports[index];
    int result = result_of(worker, report, status);
    bool failed = atomic_load(&report->result) == result && !WIFSIGNALED(status);
    struct rota__error *error = error_of(report, result);
    const char *told = rota__error_words(error, result);
    struct death death;
    rota_log_level level = describe_death(worker, index, status, result, told, &death);
    if (result < 0 || WIFSIGNALED(status))
        rota__log_about(level, worker, "%s", death.text);
    const char *words = failed ? told : death.text;
    worker->pid = 0;
    worker->deadline = ROTA_NEVER;
    if (s->stopping)
        note_result(s, result, words);
    else if (worker->renew)
        renewed(worker);
    else if (result < 0 || atomic_load(&report->stopped))
        replace(s, worker, result, words);
    worker->renew = false;
    rota__error_unref(error);
}

static void reap(struct supervisor *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        struct worker *worker = &s->workers[i];
        int status = 0;
        pid_t pid = worker->pid ? waitpid(worker->pid, &status, WNOHANG) : 0;
        if (pid > 0 || (pid < 0 && errno == ECHILD))
            worker_ended(s, worker, status);
    }
}

/* ---- What time brings */

static void fork_worker(struct supervisor *s, struct worker *worker)
{
    unsigned index = (unsigned)(worker - s->workers);
    struct rota__worker_report *report = &s->shared->reports[index];
    atomic_store(&report->result, ROTA__WORKER_RUNS);
    atomic_store(&report->stopped, false);
    atomic_store(&report->listens, false);
    fflush(NULL); /* or the worker would write it, too */
    pid_t pid = (pid_t)rota__sys(EAGAIN, fork());
    if (pid == 0)
        child_run(s, index);
    worker->due = ROTA_NEVER;
    worker->killed = false;
    worker->born = rota_now();
    if (pid > 0) {
        worker->pid = pid;
        return;
    }
    struct death none;
    snprintf(none.text, sizeof none.text, "worker %u could not be forked: %s", index,
             rota_strerror(pid));
    rota__log_about(ROTA_LOG_WARNING, worker, "%s", none.text);
    replace(s, worker, pid, none.text);
}

static void do_what_is_due(struct supervisor *s)
{
    rota_time now = rota_now();
    for (unsigned i = 0; i < s->count; i++) {
        struct worker *worker = &s->workers[i];
        if (worker->due <= now)
            fork_worker(s, worker);
        if (worker->pid && worker->deadline <= now) {
            worker->killed = true;
            worker->deadline = ROTA_NEVER;
            kill(worker->pid, SIGKILL);
        }
    }
}

static rota_time until_next(const struct supervisor *s)
{
    rota_time next = ROTA_NEVER, now = rota_now();
    for (unsigned i = 0; i < s->count; i++) {
        const struct worker *worker = &s->workers[i];
        if (worker->due < next)
            next = worker->due;
        if (worker->pid && worker->deadline < next)
            next = worker->deadline;
        if (worker->fresh && worker->born + healthy_of(s) < next)
            next = worker->born + healthy_of(s);
    }
    return next == ROTA_NEVER ? next : next > now ? next - now : 0;
}

static bool has_begun(const struct supervisor *s, const struct worker *worker)
{
    const struct rota__worker_report *report = &s->shared->reports[worker - s->workers];
    return !worker->pid || atomic_load(&report->listens) ||
           rota_now() - worker->born >= healthy_of(s);
}

/* One after the other: no other worker is being renewed, or waits to be forked. */
static void renew_next(struct supervisor *s)
{
    struct worker *next = NULL;
    for (unsigned i = s->count; i-- > 0;) {
        struct worker *worker = &s->workers[i];
        if (worker->due != ROTA_NEVER || worker->deadline != ROTA_NEVER)
            return;
        worker->fresh = worker->fresh && !has_begun(s, worker);
        if (worker->fresh)
            return;
        if (worker->renew)
            next = worker;
    }
    if (next)
        tell_to_stop(s, next);
}

static void renew_all(struct supervisor *s)
{
    for (unsigned i = 0; i < s->count; i++)
        s->workers[i].renew = s->workers[i].pid != 0 && !s->stopping;
}

static bool anybody_left(const struct supervisor *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->workers[i].pid || s->workers[i].due != ROTA_NEVER)
            return true;
    }
    return false;
}

/* ---- Signals */

static void take_signals(struct supervisor *s)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    sigemptyset(&s->taken);
    sigaddset(&s->taken, SIGCHLD);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction now;
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&s->taken, numbers[i]);
    }
    /* If SIGCHLD is ignored, deaths of children are not noticed. */
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &action, &s->child_before);
    pthread_sigmask(SIG_BLOCK, &s->taken, &s->mask_before);
}

static void give_signals_back(const struct supervisor *s)
{
    sigaction(SIGCHLD, &s->child_before, NULL);
    pthread_sigmask(SIG_SETMASK, &s->mask_before, NULL);
}

/* The signal, or 0 when the time is over. */
static int wait_for_signal(const struct supervisor *s, rota_time timeout)
{
    if (timeout > 3600 * ROTA_SECOND)
        timeout = 3600 * ROTA_SECOND;
    struct timespec ts = {timeout / ROTA_SECOND, timeout % ROTA_SECOND};
    int number = sigtimedwait(&s->taken, NULL, &ts);
    return number > 0 ? number : 0;
}

static int supervise(struct supervisor *s)
{
    do_what_is_due(s);
    while (anybody_left(s)) {
        int number = wait_for_signal(s, until_next(s));
        if (number == SIGINT || number == SIGTERM)
            stop_all(s);
        else if (number == SIGHUP)
            renew_all(s);
        reap(s);
        do_what_is_due(s);
        renew_next(s);
    }
    return s->failure ? s->failure : s->interrupt;
}

/* ---- From beginning to end */

static int supervisor_new(unsigned count, struct supervisor **ret_supervisor)
{
    struct supervisor *s = rota_zalloc(sizeof *s + (size_t)count * sizeof s->workers[0]);
    if (!s)
        return -ENOMEM;
    s->shared_size = sizeof *s->shared + (size_t)count * sizeof s->shared->reports[0];
    s->shared =
        rota__fault(ROTA__FAULT_SYSCALL)
            ? MAP_FAILED
            : mmap(NULL, s->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s->shared == MAP_FAILED) {
        rota_free(s);
        return -ENOMEM;
    }
    s->count = count;
    s->pid = getpid();
    for (unsigned i = 0; i < count; i++) {
        s->workers[i].deadline = ROTA_NEVER;
        s->shared->reports[i].supervisor = s->pid;
    }
    *ret_supervisor = s;
    return 0;
}

int rota_run_worker_processes_at(unsigned n, rota_fn *fn, void *arg,
                                 const rota_worker_processes_options *options,
                                 const rota_site *site)
{
    static const rota_worker_processes_options defaults;
    struct supervisor *s;
    int count = rota__loop_here ? -EBUSY : rota__worker_count_of(n);
    int err = count < 0 ? count : supervisor_new((unsigned)count, &s);
    if (err < 0)
        return rota__error_plain(err);
    s->fn = fn;
    s->arg = arg;
    s->site = site;
    s->options = options ? options : &defaults;
    rota__log_program_begins();
    take_signals(s);
    int result = supervise(s);
    give_signals_back(s);
    rota__log_program_ends();
    if (result < 0 && result == s->failure)
        rota__error_give(s->error);
    else
        rota__error_unref(s->error);
    munmap(s->shared, s->shared_size);
    rota_free(s);
    return result;
}
