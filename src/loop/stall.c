/* The stall watch: reports a task or callback that holds the loop's thread for too long.
 *
 * A thread of its own looks at loop->resumes four times in each limit. If the count stands still
 * though the loop does not sleep, it sends the loop's thread SIGURG (which is ignored by default),
 * and the handler notes the running task and its backtrace. Where the program handles SIGURG
 * itself, the report has no backtrace.
 *
 * The loop pays one relaxed store for each resume, watched or not. */
#include "base/alloc.h"
#include "base/log.h"
#include "base/symbol.h"
#include "base/sys.h"
#include "loop/loop.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define HAVE_BACKTRACE 1
#else
#define HAVE_BACKTRACE 0
#endif

#define LOOKS_A_LIMIT 4
#define FRAMES 32

struct rota__stall_watch {
    struct rota__loop *loop;
    rota_time limit;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t stopped;
    bool stop;
    bool entered;     /* some thread has the loop, */
    pthread_t looked; /* this one; under the mutex it cannot leave, and end */
};

/* What the handler found; one stall is examined at a time. */
static struct {
    pthread_mutex_t mutex;
    sem_t taken;
    char name[64];
    void *frames[FRAMES];
    int depth;
    bool turning; /* the loop ran something just then, */
    uint64_t resumes;
    bool installed;
} sample = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void on_urgent(int number)
{
    (void)number;
    int saved = errno;
    const struct rota__loop *loop = rota__loop_here;
    sample.turning = loop && loop->turning;
    sample.resumes = loop ? loop->resumes : 0;
    const struct rota__coro *coro = rota__coro_current();
    while (coro->host && coro->host->stack)
        coro = coro->host; /* a generator, inside a task */
    const char *name = coro->name;
    size_t len = name ? strnlen(name, sizeof sample.name - 1) : 0;
    memcpy(sample.name, name ? name : "", len);
    sample.name[len] = '\0';
#if HAVE_BACKTRACE
    sample.depth = backtrace(sample.frames, FRAMES);
#endif
    sem_post(&sample.taken);
    errno = saved;
}

static void install_handler(void)
{
    struct sigaction before, ours = {.sa_handler = on_urgent, .sa_flags = SA_RESTART | SA_ONSTACK};
    sem_init(&sample.taken, 0, 0);
#if HAVE_BACKTRACE
    void *frame;
    backtrace(&frame, 1); /* the first call loads a library, which a handler must not do */
#endif
    if (sigaction(SIGURG, NULL, &before) == 0 && before.sa_handler == SIG_DFL)
        sample.installed = sigaction(SIGURG, &ours, NULL) == 0;
}

static bool send_urgent(struct rota__stall_watch *watch)
{
    pthread_mutex_lock(&watch->mutex);
    bool sent = watch->entered && pthread_kill(watch->looked, SIGURG) == 0;
    pthread_mutex_unlock(&watch->mutex);
    return sent;
}

/* Fills `sample`; false if the loop's thread did not answer. */
static bool look_at(struct rota__stall_watch *watch)
{
    if (!sample.installed || !send_urgent(watch))
        return false;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    return sem_timedwait(&sample.taken, &until) == 0;
}

#if HAVE_BACKTRACE
/* The command that finds the places without a name: those in the file of the first of them. */
static void print_command(const struct rota__symbol *nameless, int n, FILE *out)
{
    fprintf(out, "\n  addr2line -Cfpie %s", nameless[0].file);
    for (int i = 0; i < n; i++)
        if (strcmp(nameless[i].file, nameless[0].file) == 0)
            fprintf(out, " 0x%zx", (size_t)nameless[i].in_file);
}

static void print_frames(FILE *out)
{
    static struct rota__symbol symbol, nameless[FRAMES]; /* guarded as `sample` is */
    int n = 0;
    /* The first two are the handler and the signal's frame. */
    for (int i = 2; i < sample.depth; i++) {
        /* A return address may be the beginning of the next function. */
        rota__symbol_find((char *)sample.frames[i] - (i > 2), &symbol);
        const char *slash = strrchr(symbol.file, '/');
        const char *file = slash ? slash + 1 : symbol.file;
        if (*symbol.name)
            fprintf(out, "\n  %s+0x%zx (%s)", symbol.name, symbol.offset, file);
        else
            fprintf(out, "\n  %s+0x%zx", file, (size_t)symbol.in_file);
        if (!*symbol.name && slash) /* the kernel's vdso is not a file */
            nameless[n++] = symbol;
    }
    if (n)
        print_command(nameless, n, out);
}
#else
static void print_frames(FILE *out)
{
    (void)out;
}
#endif

static void print_stall(const struct rota__stall_watch *watch, bool seen, FILE *out)
{
    if (seen && sample.name[0])
        fprintf(out, "stall: task '%s' has held the thread", sample.name);
    else
        fprintf(out, "stall: a %s has held the thread", seen ? "callback" : "task or callback");
    fprintf(out, " for more than %lld ms", (long long)(watch->limit / ROTA_MILLISECOND));
    if (seen)
        print_frames(out);
}

/* A task that was stalled at `resumes` may go on just before it is examined. Then the sample shows
 * something else, such as the loop in its poll. */
static void report(struct rota__stall_watch *watch, uint64_t resumes)
{
    char *text = NULL;
    size_t size;
    FILE *out = rota__log_wanted(ROTA_LOG_WARNING) ? open_memstream(&text, &size) : NULL;
    if (!out)
        return;
    pthread_mutex_lock(&sample.mutex);
    bool seen = look_at(watch);
    bool over = seen && (!sample.turning || sample.resumes != resumes);
    if (!over)
        print_stall(watch, seen, out);
    pthread_mutex_unlock(&sample.mutex);
    if (fclose(out) == 0 && !over)
        rota__log_text(ROTA_LOG_WARNING, text);
    free(text);
}

/* Waits for the next look; true when the watch is to end. */
static bool nap(struct rota__stall_watch *watch)
{
    rota_time pause = watch->limit / LOOKS_A_LIMIT + 1;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    rota_time at = until.tv_nsec + pause;
    until.tv_sec += at / ROTA_SECOND;
    until.tv_nsec = at % ROTA_SECOND;
    pthread_mutex_lock(&watch->mutex);
    if (!watch->stop)
        pthread_cond_timedwait(&watch->stopped, &watch->mutex, &until);
    bool stop = watch->stop;
    pthread_mutex_unlock(&watch->mutex);
    return stop;
}

static void *watch_main(void *arg)
{
    struct rota__stall_watch *watch = arg;
    struct rota__loop *loop = watch->loop;
    uint64_t seen = 0;
    int same = 0;
    while (!nap(watch)) {
        uint64_t resumes = __atomic_load_n(&loop->resumes, __ATOMIC_RELAXED);
        bool busy = __atomic_load_n(&loop->turning, __ATOMIC_RELAXED);
        same = busy && resumes == seen ? same + 1 : 0;
        seen = resumes;
        if (same == LOOKS_A_LIMIT)
            report(watch, seen);
    }
    return NULL;
}

static void watch_free(struct rota__stall_watch *watch)
{
    pthread_cond_destroy(&watch->stopped);
    pthread_mutex_destroy(&watch->mutex);
    rota_free(watch);
}

static struct rota__stall_watch *watch_new(struct rota__loop *loop, rota_time limit)
{
    struct rota__stall_watch *watch = rota_zalloc(sizeof *watch);
    if (!watch)
        return NULL;
    watch->loop = loop;
    watch->limit = limit;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->stopped, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&watch->mutex, NULL);
    return watch;
}

/* The watch's thread blocks all signals. */
static int start_thread(struct rota__stall_watch *watch)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = rota__fault(ROTA__FAULT_SYSCALL)
                  ? EAGAIN
                  : pthread_create(&watch->thread, NULL, watch_main, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

int rota__stall_watch_start(struct rota__loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    rota_time limit = loop->stall_limit;
    if (limit == 0 && rota__debug())
        limit = 25 * ROTA_MILLISECOND;
    if (limit <= 0 || limit == ROTA_NEVER)
        return 0;
    pthread_once(&once, install_handler);
    struct rota__stall_watch *watch = watch_new(loop, limit);
    if (!watch)
        return -ENOMEM;
    int err = start_thread(watch);
    if (err < 0) {
        watch_free(watch);
        return err;
    }
    loop->stall_watch = watch;
    return 0;
}

void rota__stall_watch_stop(struct rota__loop *loop)
{
    struct rota__stall_watch *watch = loop->stall_watch;
    if (!watch)
        return;
    pthread_mutex_lock(&watch->mutex);
    watch->stop = true;
    pthread_cond_signal(&watch->stopped);
    pthread_mutex_unlock(&watch->mutex);
    pthread_join(watch->thread, NULL);
    watch_free(watch);
    loop->stall_watch = NULL;
}

static void look(struct rota__stall_watch *watch, bool entered)
{
    if (!watch)
        return;
    pthread_mutex_lock(&watch->mutex);
    watch->entered = entered;
    watch->looked = pthread_self();
    pthread_mutex_unlock(&watch->mutex);
}

void rota__stall_watch_enter(struct rota__loop *loop)
{
    look(loop->stall_watch, true);
}

void rota__stall_watch_leave(struct rota__loop *loop)
{
    look(loop->stall_watch, false);
}
