/* Coroutines below tasks: a stack, and where it stopped. Tasks and generators embed one. Nothing
 * here knows of loops; a thread needs no set-up beyond the first rota__coro_current(). */
#ifndef ROTA__CORO_CORO_H
#define ROTA__CORO_CORO_H

#include "base/list.h"

#include <rota/coro.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef ROTA__VALGRIND
#define ROTA__VALGRIND 0
#endif
#ifdef __has_feature
#define ROTA__HAS_FEATURE(feature) __has_feature(feature)
#else
#define ROTA__HAS_FEATURE(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || ROTA__HAS_FEATURE(address_sanitizer)
#define ROTA__ASAN 1
#else
#define ROTA__ASAN 0
#endif
#if defined(__SANITIZE_THREAD__) || ROTA__HAS_FEATURE(thread_sanitizer)
#define ROTA__TSAN 1
#else
#define ROTA__TSAN 0
#endif
#define ROTA__CORO_WATCHED (ROTA__ASAN || ROTA__TSAN)

/* The stack size that 0 stands for: address space, including the guard. */
#define ROTA__STACK_SIZE (256 * 1024)

/* A stack that is in use. Kept beside its slab and not on the stack itself, so that an unused stack
 * touches no page. */
struct rota__stack {
    char *top; /* where use begins, coloured, aligned to 64 */
    struct rota__list node;
    struct rota__slab *slab;
#if ROTA__VALGRIND
    unsigned valgrind_id;
#endif
};

/* The stacks of one thread; not locked. */
struct rota__stack_pool {
    struct rota__list warm; /* free, last used first; they may hold pages */
    struct rota__list cold; /* free, and their pages are the kernel's again */
    size_t used, warm_count;
    struct rota__list slabs;
    struct rota__slab *growing; /* the slab with stacks that were never taken, or NULL */
    size_t stride, guard;       /* bytes from one stack to the next, and of its guard */
    size_t peak;                /* greatest `used` since the mark last moved */
    size_t mark; /* free stacks are kept warm up to here, counted with those in use */
    rota_time decays_at;
    bool on_valgrind;
};

/* A stack takes `stack_size` bytes of address space, its guard included, rounded up to what makes
 * sense; 0 is ROTA__STACK_SIZE. Allocates nothing yet. Returns 0, or -EINVAL if the size is out of
 * range. */
int rota__stack_pool_init(struct rota__stack_pool *pool, size_t stack_size);
/* All stacks must be back. */
void rota__stack_pool_fini(struct rota__stack_pool *pool);
/* NULL: out of memory, address space or mappings. */
struct rota__stack *rota__stack_take(struct rota__stack_pool *pool);
void rota__stack_give(struct rota__stack_pool *pool, struct rota__stack *stack);
/* Gives pages of stacks that were not needed lately back to the kernel, a bounded number per call.
 * Returns when to call again; ROTA_NEVER: there is nothing to give until the next
 * rota__stack_give. */
rota_time rota__stack_pool_trim(struct rota__stack_pool *pool, rota_time now);

/* Gives the pages of the running stack below the caller's frame back to the kernel. */
void rota__stack_trim(const struct rota__stack *stack);

/* The lowest usable byte; the guard lies below. Fit for a signal handler. */
char *rota__stack_low(const struct rota__stack *stack);

/* Stacks of the calling thread's own pool, where there is no loop: coroutines and generators. take
 * returns 0 or an error; give comes from the same thread. */
int rota__thread_stack_take(struct rota__stack **ret_stack);
void rota__thread_stack_give(struct rota__stack *stack);
/* Ends the calling thread's pool, if no stack of it is in use. */
void rota__thread_stacks_drop(void);

/* Where the guard begins and how far it is to the next stack's; fit for a signal handler. */
void rota__stack_extent(const struct rota__stack *stack, char **ret_guard, size_t *ret_stride);

/* How stacks are guarded: decided by the first one of the process, unless a test forces it. */
enum rota__guard {
    ROTA__GUARD_UNKNOWN,
    ROTA__GUARD_MADVISE, /* MADV_GUARD_INSTALL: costs no mapping */
    ROTA__GUARD_MPROTECT /* two mappings a stack */
};
extern enum rota__guard rota__guard;

/* What a C++ runtime knows of a thread's exceptions: __cxa_eh_globals of the Itanium C++ ABI
 * (2.2.2), which libstdc++ and libc++abi share. The count is an `unsigned int`, padded. */
struct rota__exceptions {
    void *caught; /* those whose handlers are running, innermost first */
    uintptr_t uncaught;
};

/* Where the thread goes on when a coroutine has ended: what its entry returns, by
 * rota__coro_end. */
struct rota__coro_next {
    void *sp;
    intptr_t value;
};
typedef struct rota__coro_next rota__coro_entry(void *arg);

struct rota__coro {
    void *sp;                  /* where it stopped; meaningless while it runs */
    struct rota__stack *stack; /* NULL: the thread's own stack */
    struct rota__exceptions exceptions;
    const char *name;         /* for the overflow report; borrowed; may be NULL */
    struct rota_coro *handle; /* of a public coroutine, else NULL */
    struct rota__coro *host; /* generators and public coroutines that run: inside which other one */
    void **ret_value;        /* of its pending rota_coro_switch */
#if ROTA__CORO_WATCHED
    rota__coro_entry *entry;
    void *arg;
#endif
#if ROTA__ASAN
    void *fake_stack;
    const void *bottom;
    size_t size;
#endif
#if ROTA__TSAN
    void *fiber;
#endif
};

/* Prepares `coro` so that the first switch to it calls entry(arg) on `stack`, starting below `top`
 * (on the stack: its owner may keep a structure above that). */
void rota__coro_init(struct rota__coro *coro, struct rota__stack *stack, void *top,
                     rota__coro_entry *entry, void *arg);
/* After the coroutine ended, or when it is dropped without having run: releases what sanitizers
 * hold. The stack is given back by the owner. */
#if ROTA__TSAN
void rota__coro_fini(struct rota__coro *coro);
#else
static inline void rota__coro_fini(struct rota__coro *coro)
{
    (void)coro;
}
#endif

/* Hidden, so that shared code reaches them without the global offset table where that is
 * possible. */
#define ROTA__HIDDEN __attribute__((visibility("hidden")))

ROTA__HIDDEN extern __thread struct rota__coro *rota__coro_running
    __attribute__((tls_model("initial-exec")));
/* The value is what the call returns on the other side. */
ROTA__HIDDEN int rota__coro_jump(void **save_sp, void *sp, int value);
/* The `sp` of a coroutine that will begin with entry(arg). */
ROTA__HIDDEN void *rota__coro_frame(const struct rota__stack *stack, void *top,
                                    rota__coro_entry *entry, void *arg);
ROTA__HIDDEN struct rota__coro *rota__coro_adopt_thread(void);
#if ROTA__ASAN
ROTA__HIDDEN void rota__coro_watch_own(struct rota__coro *own);
#endif
#if ROTA__CORO_WATCHED
ROTA__HIDDEN int rota__coro_switch_watched(struct rota__coro *to, int value, bool last);
#endif

/* The running one of this thread (the thread's own stack counts as one). Hot: one TLS load. */
static inline struct rota__coro *rota__coro_current(void)
{
    struct rota__coro *coro = rota__coro_running;
    return __builtin_expect(coro != NULL, true) ? coro : rota__coro_adopt_thread();
}

/* The C++ runtime that is attached, by a number that no other one has had; 0: none. */
ROTA__HIDDEN extern unsigned rota__exceptions_runtime;
/* Where that runtime keeps the state of this thread, and the number of the runtime that was
 * asked. */
struct rota__exceptions_here {
    struct rota__exceptions *state;
    unsigned runtime;
};
ROTA__HIDDEN extern __thread struct rota__exceptions_here rota__exceptions_here
    __attribute__((tls_model("initial-exec")));
/* Asks the runtime of now. */
ROTA__HIDDEN void rota__exceptions_ask(void);
/* rota__coro_switch, on a thread that has not asked. */
ROTA__HIDDEN int rota__coro_switch_asking(struct rota__coro *to, int value);

/* Exceptions belong to the stack on which they are thrown and handled, but a C++ runtime keeps them
 * by thread: a switch takes along those of the stack that stops and brings back the other's. */
static inline void rota__exceptions_exchange(struct rota__coro *from, const struct rota__coro *to)
{
    struct rota__exceptions *state = rota__exceptions_here.state;
    from->exceptions = *state;
    *state = to->exceptions;
}

/* Stops the running coroutine and continues `to`, which must be another one of this thread; `value`
 * is what the call returns there. Returns when another coroutine switches back.
 * rota__coro_current() must have been called once on this thread.
 *
 * Callers that return what this returns become jumps themselves: then no return address of theirs
 * is left behind in the processor's return predictor, which would mispredict each return after a
 * switch. */
static inline int rota__coro_switch(struct rota__coro *to, int value)
{
#if ROTA__CORO_WATCHED
    return rota__coro_switch_watched(to, value, false);
#else
    struct rota__coro *from = rota__coro_running;
    unsigned runtime = __atomic_load_n(&rota__exceptions_runtime, __ATOMIC_RELAXED);
    if (__builtin_expect(runtime != 0, false)) {
        if (__builtin_expect(rota__exceptions_here.runtime != runtime, false))
            return rota__coro_switch_asking(to, value);
        rota__exceptions_exchange(from, to);
    }
    rota__coro_running = to;
    return rota__coro_jump(&from->sp, to->sp, value);
#endif
}

/* The same for the last time, without a return: the running coroutine never continues. */
static inline _Noreturn void rota__coro_exit(struct rota__coro *to, int value)
{
#if ROTA__CORO_WATCHED
    rota__coro_switch_watched(to, value, true);
#else
    rota__coro_switch(to, value);
#endif
    __builtin_unreachable();
}

/* How an entry ends: returns what this returns, and the thread goes on in `to`. Nothing is done in
 * between. */
static inline struct rota__coro_next rota__coro_end(struct rota__coro *to, int value)
{
#if ROTA__CORO_WATCHED
    rota__coro_exit(to, value);
#else
    unsigned runtime = __atomic_load_n(&rota__exceptions_runtime, __ATOMIC_RELAXED);
    if (__builtin_expect(runtime != 0, false)) {
        rota__exceptions_ask();
        rota__exceptions_exchange(rota__coro_running, to);
    }
    rota__coro_running = to;
    return (struct rota__coro_next){to->sp, value};
#endif
}

/* Arms the overflow report (SIGSEGV/SIGBUS on an alternate stack) for this thread; calls are
 * counted. The former handler is called for other faults, and restored at the end. */
int rota__overflow_watch_start(void);
void rota__overflow_watch_stop(void);

#endif
