/* What AddressSanitizer, ThreadSanitizer and valgrind have to be told about stacks and switches.
 * All of it is empty in other builds. */
#ifndef ROTA__CORO_WATCH_H
#define ROTA__CORO_WATCH_H

#include "coro/coro.h"

#if ROTA__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>
#endif
#if ROTA__TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if ROTA__VALGRIND
#include <valgrind/memcheck.h>
#endif

#define WATCH_NOT_INSTRUMENTED __attribute__((no_sanitize_address, no_sanitize_thread))

#if ROTA__ASAN
/* The coroutine that was left, for the one that arrives: AddressSanitizer tells the bounds only
 * then. */
static __thread struct rota__coro *watch_left;
#endif

/* The thread's own stack becomes a coroutine. */
static inline void watch_thread(struct rota__coro *own)
{
    (void)own;
#if ROTA__TSAN
    own->fiber = __tsan_get_current_fiber();
#endif
}

static inline void watch_coro(struct rota__coro *coro, rota__coro_entry *entry, void *arg)
{
#if ROTA__CORO_WATCHED
    coro->entry = entry;
    coro->arg = arg;
#endif
#if ROTA__ASAN
    char *low = rota__stack_low(coro->stack);
    coro->bottom = low;
    coro->size = (size_t)(coro->stack->top - low);
#endif
#if ROTA__TSAN
    coro->fiber = __tsan_create_fiber(0);
#endif
    (void)coro;
    (void)entry;
    (void)arg;
}

#if ROTA__CORO_WATCHED

WATCH_NOT_INSTRUMENTED static inline void watch_leave(struct rota__coro *from,
                                                      struct rota__coro *to, bool last)
{
    (void)from;
    (void)last;
#if ROTA__ASAN
    watch_left = from;
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->bottom, to->size);
#endif
#if ROTA__TSAN
    /* Flag 0: what happened before the switch happened before what follows it, as it did. */
    __tsan_switch_to_fiber(to->fiber, 0);
#endif
}

WATCH_NOT_INSTRUMENTED static inline void watch_arrive(struct rota__coro *self)
{
    (void)self;
#if ROTA__ASAN
    struct rota__coro *left = watch_left;
    bool unknown = !left->bottom;
    __sanitizer_finish_switch_fiber(self->fake_stack, &left->bottom, &left->size);
    if (unknown)
        rota__coro_watch_own(left);
#endif
}

#endif

/* Memcheck would otherwise take a new slab for sixteen megabytes of defined zeroes. */
static inline void watch_slab(const struct rota__stack_pool *pool, void *base, size_t size)
{
    (void)pool;
    (void)base;
    (void)size;
#if ROTA__VALGRIND
    if (pool->on_valgrind)
        (void)VALGRIND_MAKE_MEM_NOACCESS(base, size);
#endif
}

/* Memory that must not be used until it is shown again; then it is as uninitialised. */
static inline void watch_hide(const struct rota__stack_pool *pool, void *memory, size_t size)
{
    (void)pool;
    (void)memory;
    (void)size;
#if ROTA__ASAN
    __asan_poison_memory_region(memory, size);
#endif
#if ROTA__VALGRIND
    if (pool->on_valgrind)
        (void)VALGRIND_MAKE_MEM_NOACCESS(memory, size);
#endif
}

static inline void watch_show(const struct rota__stack_pool *pool, void *memory, size_t size)
{
    (void)pool;
    (void)memory;
    (void)size;
#if ROTA__ASAN
    __asan_unpoison_memory_region(memory, size);
#endif
#if ROTA__VALGRIND
    if (pool->on_valgrind)
        (void)VALGRIND_MAKE_MEM_UNDEFINED(memory, size);
#endif
}

static inline void watch_stack_taken(const struct rota__stack_pool *pool, struct rota__stack *stack)
{
    (void)pool;
    (void)stack;
#if ROTA__ASAN || ROTA__VALGRIND
    char *low = rota__stack_low(stack);
#endif
#if ROTA__ASAN
    __lsan_register_root_region(low, (size_t)(stack->top - low));
#endif
#if ROTA__VALGRIND
    if (pool->on_valgrind) {
        (void)VALGRIND_MAKE_MEM_UNDEFINED(low, stack->top - low);
        stack->valgrind_id = (unsigned)VALGRIND_STACK_REGISTER(low, stack->top);
    }
#endif
}

static inline void watch_stack_given(const struct rota__stack_pool *pool, struct rota__stack *stack)
{
    (void)pool;
    (void)stack;
#if ROTA__ASAN || ROTA__VALGRIND
    char *low = rota__stack_low(stack);
#endif
#if ROTA__ASAN
    __lsan_unregister_root_region(low, (size_t)(stack->top - low));
    /* Frames that never returned leave their red zones: the last ones of a coroutine that ended,
     * and all of one that was given up. */
    __asan_unpoison_memory_region(low, (size_t)(stack->top - low));
#endif
#if ROTA__VALGRIND
    if (pool->on_valgrind) {
        VALGRIND_STACK_DEREGISTER(stack->valgrind_id);
        (void)VALGRIND_MAKE_MEM_NOACCESS(low, stack->top - low);
    }
#endif
}

/* Whether a tool sees the use of hidden memory: of valgrind's only memcheck. */
static inline bool watch_for_hidden(void)
{
#if ROTA__VALGRIND
    char byte = 0, bits;
    if (VALGRIND_GET_VBITS(&byte, &bits, 1) == 1)
        return true;
#endif
    return ROTA__ASAN;
}

static inline bool watch_by_valgrind(void)
{
#if ROTA__VALGRIND
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

#endif
