/* Reports: to the hook, or to standard error.
 *
 * Ten equal reports are passed on in a minute, and a hundred of a kind. Further ones are counted,
 * and their number is reported when the minute is over and something else is reported, or when the
 * program ends.
 *
 * The kind of a warning or error is its format, together with the object that the caller names. So
 * the text of peers makes no new kinds, and one failing task does not hide the failures of another.
 * Other reports have no kind: they are made for a reader who asked for details.
 *
 * 1. The hook is called without the lock: it may report, fork, and wait for threads that report.
 * 2. What a signal handler reports while its thread counts is passed on without being counted. */
#include "base/log.h"
#include "base/noexcept.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- Recipients */

enum { LEVEL_OFF = ROTA_LOG_ERROR + 1, LEVEL_UNSET };

static rota_log_fn *hook;
static void *hook_arg;
static atomic_bool silenced; /* by rota_log_set(NULL, NULL) */
static atomic_int programs;  /* rota_run and its kin, under way */

/* The level that `s` names, else LEVEL_UNSET. */
static int level_of(const char *s)
{
    static const struct {
        const char *name;
        int level;
    } levels[] = {{"debug", ROTA_LOG_DEBUG},
                  {"info", ROTA_LOG_INFO},
                  {"warning", ROTA_LOG_WARNING},
                  {"error", ROTA_LOG_ERROR},
                  {"off", LEVEL_OFF}};
    for (size_t i = 0; s && i < sizeof levels / sizeof *levels; i++)
        if (strcmp(s, levels[i].name) == 0)
            return levels[i].level;
    return LEVEL_UNSET;
}

bool rota__debug(void)
{
    static atomic_int known = -1;
    int debug = atomic_load_explicit(&known, memory_order_relaxed);
    if (debug < 0) {
        const char *s = getenv("ROTA_DEBUG");
        debug = s && *s && strcmp(s, "0") != 0;
        atomic_store_explicit(&known, debug, memory_order_relaxed);
    }
    return debug;
}

/* The lowest level that is written to standard error if there is no hook. */
static int stderr_level(void)
{
    static atomic_int known = -1;
    int wanted = atomic_load_explicit(&known, memory_order_relaxed);
    if (wanted < 0) {
        wanted = level_of(getenv("ROTA_LOG"));
        atomic_store_explicit(&known, wanted, memory_order_relaxed);
    }
    bool is_program = atomic_load_explicit(&programs, memory_order_relaxed) > 0;
    if (atomic_load_explicit(&silenced, memory_order_relaxed) || !(is_program || rota__debug()))
        return LEVEL_OFF;
    if (wanted != LEVEL_UNSET)
        return wanted;
    return rota__debug() ? ROTA_LOG_DEBUG : ROTA_LOG_WARNING;
}

void rota_log_set(rota_log_fn *fn, void *arg)
{
    hook = fn;
    hook_arg = arg;
    silenced = !fn;
}

bool rota__log_wanted(rota_log_level level)
{
    return hook || (int)level >= stderr_level();
}

/* ---- Writing */

/* A report must not end the program: a pipe that nobody reads and a file at its limit send a
 * signal, and outside rota_run the program may not ignore it. A loop's end and rota_main's text
 * come after that. Such a signal goes to the thread that wrote, so it can be blocked and
 * consumed. */
struct write_signals {
    sigset_t before, pending;
};

static void signals_block(struct write_signals *signals)
{
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGPIPE);
    sigaddset(&blocked, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &blocked, &signals->before);
    sigpending(&signals->pending);
}

/* The write may have sent one also if it returned how much it had written before. */
static void signals_restore(const struct write_signals *signals)
{
    static const int numbers[] = {SIGPIPE, SIGXFSZ};
    const struct timespec none = {0};
    sigset_t now, sent;
    sigpending(&now);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!sigismember(&now, numbers[i]) || sigismember(&signals->pending, numbers[i]))
            continue;
        sigemptyset(&sent);
        sigaddset(&sent, numbers[i]);
        sigtimedwait(&sent, NULL, &none);
    }
    pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
}

/* One call, so that lines of several threads and processes do not mix. */
void rota__write_line(const char *before, const char *text)
{
    int saved = errno;
    struct write_signals signals;
    signals_block(&signals);
    struct iovec parts[] = {{(void *)(uintptr_t)before, strlen(before)},
                            {(void *)(uintptr_t)text, strlen(text)},
                            {(void *)(uintptr_t) "\n", 1}};
    ssize_t n;
    do
        n = writev(STDERR_FILENO, parts, 3);
    while (n < 0 && errno == EINTR);
    signals_restore(&signals);
    errno = saved;
}

void rota_log_stderr(void *arg, rota_log_level level, const char *message)
{
    (void)arg;
    (void)level;
    rota__write_line("rota: ", message);
}

static void pass_on(rota_log_level level, const char *text)
{
    if (hook)
        hook(hook_arg, level, text);
    else
        rota_log_stderr(NULL, level, text);
    ROTA__NOEXCEPT();
}

/* ---- Repetitions */

enum { REMEMBERED = 32, EQUAL_MAX = 10, ALIKE_MAX = 100, HEAD = 160 };

struct remembered {
    uint64_t kind; /* 0: free */
    rota_time since;
    unsigned count;
    rota_log_level level;
    char head[HEAD];
};

static struct memory {
    unsigned max;
    struct remembered all[REMEMBERED];
} equal = {.max = EQUAL_MAX}, alike = {.max = ALIKE_MAX};
static pthread_mutex_t remembered_lock = PTHREAD_MUTEX_INITIALIZER;
static __thread volatile sig_atomic_t is_counting; /* this thread has the lock, or waits for it */

/* Says how many reports were held back. */
struct summary {
    rota_log_level level;
    char text[HEAD + 64]; /* empty: none */
};

static rota_time monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * ROTA_SECOND + t.tv_nsec;
}

rota_time (*rota__log_clock)(void) = monotonic;

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3;
    return hash | 1;
}

/* 0: none. "%s" alone says nothing about the kind of a report that has no object. */
static uint64_t kind_of(rota_log_level level, const void *object, const char *format)
{
    if (level < ROTA_LOG_WARNING || (!object && strcmp(format, "%s") == 0))
        return 0;
    return (hash_of(format) ^ (uintptr_t)object) | 1;
}

/* Returns whether there is something to be said of it, which is then in `ret_summary`. */
static bool forget(const struct memory *memory, struct remembered *r, struct summary *ret_summary)
{
    unsigned more = r->count > memory->max ? r->count - memory->max : 0;
    r->kind = 0;
    if (!more || !rota__log_wanted(r->level))
        return false;
    ret_summary->level = r->level;
    snprintf(ret_summary->text, sizeof ret_summary->text, "%u more report%s like this: %s", more,
             more == 1 ? "" : "s", r->head);
    return true;
}

/* `ret_summary` is of the report that is forgotten for it. */
static struct remembered *remember(struct memory *memory, rota_log_level level, uint64_t kind,
                                   const char *text, rota_time now, struct summary *ret_summary)
{
    struct remembered *oldest = &memory->all[0];
    for (struct remembered *r = memory->all; r < memory->all + REMEMBERED; r++) {
        if (r->kind == kind && r->level == level)
            return r;
        if (oldest->kind && (!r->kind || r->since < oldest->since))
            oldest = r;
    }
    if (oldest->kind)
        forget(memory, oldest, ret_summary);
    *oldest = (struct remembered){.kind = kind, .since = now, .level = level};
    snprintf(oldest->head, HEAD, "%.*s", (int)strcspn(text, "\n"), text);
    return oldest;
}

/* A child starts to count anew. The parent reports what it held back. Another thread may have held
 * the mutex. */
static void forget_in_child(void)
{
    memset(equal.all, 0, sizeof equal.all);
    memset(alike.all, 0, sizeof alike.all);
    remembered_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    is_counting = false;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_in_child);
}

static bool lock(void)
{
    if (is_counting)
        return false;
    is_counting = true;
    pthread_mutex_lock(&remembered_lock);
    return true;
}

static void unlock(void)
{
    pthread_mutex_unlock(&remembered_lock);
    is_counting = false;
}

/* Forgets what is so old, up to the first report of which there is something to be said. */
static bool forget_older(struct memory *memory, rota_time age, rota_time now,
                         struct summary *ret_summary)
{
    for (struct remembered *r = memory->all; r < memory->all + REMEMBERED; r++) {
        if (r->kind && now - r->since >= age && forget(memory, r, ret_summary))
            return true;
    }
    return false;
}

static bool take_summary(rota_time age, rota_time now, struct summary *ret_summary)
{
    if (!lock())
        return false;
    bool found =
        forget_older(&equal, age, now, ret_summary) || forget_older(&alike, age, now, ret_summary);
    unlock();
    return found;
}

static void tell_summaries(rota_time age, rota_time now)
{
    struct summary summary;
    while (take_summary(age, now, &summary))
        pass_on(summary.level, summary.text);
}

/* Counts it, and says whether that was once too often. */
static bool is_too_often(struct memory *memory, rota_log_level level, uint64_t kind,
                         const char *text, rota_time now, struct summary *ret_summary)
{
    return ++remember(memory, level, kind, text, now, ret_summary)->count > memory->max;
}

/* Whether such a report has been made often enough. */
static bool is_repeated(rota_log_level level, uint64_t kind, const char *text)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct summary summaries[2] = {{.text = ""}, {.text = ""}};
    pthread_once(&once, watch_forks);
    rota_time now = rota__log_clock();
    tell_summaries(ROTA_MINUTE, now);
    if (!lock())
        return false;
    bool repeated = is_too_often(&equal, level, hash_of(text), text, now, &summaries[0]) ||
                    (kind && is_too_often(&alike, level, kind, text, now, &summaries[1]));
    unlock();
    for (size_t i = 0; i < 2; i++) {
        if (summaries[i].text[0])
            pass_on(summaries[i].level, summaries[i].text);
    }
    return repeated;
}

static void check_level(void)
{
    static atomic_flag checked = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&checked))
        return;
    const char *s = getenv("ROTA_LOG");
    if (s && *s && level_of(s) == LEVEL_UNSET)
        rota_log(ROTA_LOG_WARNING,
                 "ROTA_LOG \"%s\": unknown level, use debug, info, warning, error or off", s);
}

void rota__log_program_begins(void)
{
    atomic_fetch_add(&programs, 1);
    check_level();
}

void rota__log_program_ends(void)
{
    if (atomic_load(&programs) == 1)
        tell_summaries(0, ROTA_NEVER);
    atomic_fetch_sub(&programs, 1);
}

/* ---- Reporting */

static void report(rota_log_level level, uint64_t kind, const char *text)
{
    if (!is_repeated(level, kind, text))
        pass_on(level, text);
}

void rota__log_text(rota_log_level level, const char *text)
{
    if (rota__log_wanted(level))
        report(level, 0, text);
}

__attribute__((format(printf, 3, 0))) static void
report_args(rota_log_level level, const void *object, const char *format, va_list args)
{
    char text[8192];
    vsnprintf(text, sizeof text, format, args);
    report(level, kind_of(level, object, format), text);
}

void rota__log_about(rota_log_level level, const void *object, const char *format, ...)
{
    if (!rota__log_wanted(level))
        return;
    va_list args;
    va_start(args, format);
    report_args(level, object, format, args);
    va_end(args);
}

void rota_log(rota_log_level level, const char *format, ...)
{
    if (!rota__log_wanted(level))
        return;
    va_list args;
    va_start(args, format);
    report_args(level, NULL, format, args);
    va_end(args);
}
