/* The report of a stack overflow: a handler for SIGSEGV and SIGBUS on an alternate stack. It knows
 * an overflow by the fault's address, which lies in the guard of the stack that is running; every
 * other fault belongs to the handler that was there before. It writes to standard error, which the
 * library never does elsewhere: the process is about to end and nothing else can be trusted any
 * more. */
#include "base/alloc.h"
#include "base/sys.h"
#include "coro/coro.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* Room for other handlers on our alternate stack, in addition to what the kernel puts there. */
enum { ALTERNATE_BYTES = 32 << 10 };

static const int watched[] = {SIGSEGV, SIGBUS};
enum { WATCHED = sizeof watched / sizeof *watched };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned watching_threads;
static struct sigaction former[WATCHED];

static __thread unsigned watches;
static __thread void *alternate;

struct text {
    char bytes[512];
    size_t len;
};

static void put(struct text *text, const char *s)
{
    while (*s && text->len < sizeof text->bytes)
        text->bytes[text->len++] = *s++;
}

static void put_number(struct text *text, uintptr_t n, unsigned base)
{
    char digits[24], *p = digits + sizeof digits;
    *--p = 0;
    do
        *--p = "0123456789abcdef"[n % base];
    while (n /= base);
    put(text, base == 16 ? "0x" : "");
    put(text, p);
}

/* "a generator of task 'mill'". */
static void put_owner(struct text *text, const struct rota__coro *coro)
{
    for (; coro->host; coro = coro->host) {
        put(text, coro->name ? coro->name : "a coroutine");
        if (!coro->host->stack)
            return; /* the thread's own */
        put(text, " of ");
    }
    if (!coro->name) {
        put(text, "a coroutine");
        return;
    }
    put(text, "task '");
    put(text, coro->name);
    put(text, "'");
}

static void report(const struct rota__coro *coro, const char *guard, size_t size, const char *fault)
{
    struct text text = {.len = 0};
    put(&text, "rota: stack overflow in ");
    put_owner(&text, coro);
    put(&text, ": ");
    put_number(&text, size >> 10, 10);
    put(&text, " KiB stack at ");
    put_number(&text, (uintptr_t)guard, 16);
    put(&text, ", fault at ");
    put_number(&text, (uintptr_t)fault, 16);
    put(&text, "; give it a larger stack, or keep less on it\n");
    ssize_t n = write(STDERR_FILENO, text.bytes, text.len);
    (void)n;
}

static bool report_overflow(const siginfo_t *info)
{
    const struct rota__coro *coro = rota__coro_running;
    if (info->si_code <= 0 || !coro || !coro->stack)
        return false;
    char *guard, *fault = info->si_addr;
    size_t stride;
    rota__stack_extent(coro->stack, &guard, &stride);
    if (fault < guard || fault >= rota__stack_low(coro->stack))
        return false;
    report(coro, guard, stride, fault);
    return true;
}

/* The instruction runs again on return, and faults into `next`. */
static void hand_over(int sig, const struct sigaction *next, const siginfo_t *info)
{
    sigaction(sig, next, NULL);
    if (info->si_code <= 0)
        raise(sig);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    const struct sigaction *next = &former[sig == watched[0] ? 0 : 1];
    if (report_overflow(info) || next->sa_handler == SIG_DFL)
        hand_over(sig, next, info);
    else if (next->sa_flags & SA_SIGINFO)
        next->sa_sigaction(sig, info, context);
    else if (next->sa_handler != SIG_IGN)
        next->sa_handler(sig);
    else if (info->si_code > 0)
        hand_over(sig, next, info);
}

static void handlers_install(void)
{
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&ours.sa_mask);
    for (int i = 0; i < WATCHED; i++)
        sigaction(watched[i], &ours, &former[i]);
}

/* A handler that was installed over ours stays, and may still call ours. */
static void handlers_restore(void)
{
    for (int i = 0; i < WATCHED; i++) {
        struct sigaction now;
        sigaction(watched[i], NULL, &now);
        if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault)
            sigaction(watched[i], &former[i], NULL);
    }
}

static int alternate_start(void)
{
    stack_t there;
    if (sigaltstack(NULL, &there) == 0 && !(there.ss_flags & SS_DISABLE))
        return 0;
    size_t size = ALTERNATE_BYTES + getauxval(AT_MINSIGSTKSZ);
    alternate = rota_alloc(size);
    if (!alternate)
        return -ENOMEM;
    int err =
        (int)rota__sys(ENOMEM, sigaltstack(&(stack_t){.ss_sp = alternate, .ss_size = size}, NULL));
    if (err < 0) {
        rota_free(alternate);
        alternate = NULL;
    }
    return err;
}

static void alternate_stop(void)
{
    if (!alternate)
        return;
    stack_t there;
    if (sigaltstack(NULL, &there) == 0 && there.ss_sp == alternate)
        sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
    rota_free(alternate);
    alternate = NULL;
}

int rota__overflow_watch_start(void)
{
    if (watches == 0) {
        int err = alternate_start();
        if (err < 0)
            return err;
        pthread_mutex_lock(&lock);
        if (watching_threads++ == 0)
            handlers_install();
        pthread_mutex_unlock(&lock);
    }
    watches++;
    return 0;
}

void rota__overflow_watch_stop(void)
{
    if (--watches > 0)
        return;
    pthread_mutex_lock(&lock);
    if (--watching_threads == 0)
        handlers_restore();
    pthread_mutex_unlock(&lock);
    alternate_stop();
}
