/* The switch for architectures without an assembly one. Some fifty times slower, because
 * swapcontext saves the signal mask with a system call. A "stack pointer" is here the context that
 * lies on the stack which stopped. */
#include "base/noexcept.h"
#include "coro/coro.h"

#include <stdint.h>
#include <ucontext.h>

static __thread int value_in_transit;

int rota__coro_jump(void **save_sp, void *sp, int value)
{
    ucontext_t here;
    ucontext_t *volatile address = &here;
    *save_sp = address;
    value_in_transit = value;
    swapcontext(&here, sp);
    return value_in_transit;
}

/* makecontext passes int arguments only. */
static void begin(unsigned entry_high, unsigned entry_low, unsigned arg_high, unsigned arg_low)
{
    uintptr_t entry = (uintptr_t)((uint64_t)entry_high << 32 | entry_low);
    uintptr_t arg = (uintptr_t)((uint64_t)arg_high << 32 | arg_low);
    struct rota__coro_next next = ((rota__coro_entry *)entry)((void *)arg);
    ROTA__NOEXCEPT();
    value_in_transit = (int)next.value;
    setcontext(next.sp);
}

void *rota__coro_frame(const struct rota__stack *stack, void *top, rota__coro_entry *entry,
                       void *arg)
{
    char *low = rota__stack_low(stack);
    ucontext_t *context = (ucontext_t *)(((uintptr_t)top - sizeof *context) & ~(uintptr_t)63);
    getcontext(context);
    context->uc_stack.ss_sp = low;
    context->uc_stack.ss_size = (size_t)((char *)context - low);
    context->uc_link = NULL;
    uint64_t e = (uintptr_t)entry, a = (uintptr_t)arg;
    makecontext(context, (void (*)(void))begin, 4, (unsigned)(e >> 32), (unsigned)e,
                (unsigned)(a >> 32), (unsigned)a);
    return context;
}
