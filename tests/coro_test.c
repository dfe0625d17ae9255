#include "harness.h"

#include "base/alloc.h"
#include "base/fault.h"
#include "coro/coro.h"

#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if ROTA__VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_DISABLE_ERROR_REPORTING
#define VALGRIND_ENABLE_ERROR_REPORTING
#endif
#if ROTA__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

/* A coroutine below tasks, with a stack from a pool, that runs a function and ends. */
struct co {
    struct rota__coro coro, *back;
    struct rota__stack_pool *pool;
    struct rota__stack *stack;
    void (*fn)(struct co *co);
    void *data;
    bool ended;
};

static struct rota__coro_next co_body(void *arg)
{
    struct co *co = arg;
    co->fn(co);
    co->ended = true;
    return rota__coro_end(co->back, 0);
}

static void co_start(struct co *co, struct rota__stack_pool *pool, void (*fn)(struct co *),
                     void *data)
{
    *co = (struct co){.back = rota__coro_current(), .pool = pool, .fn = fn, .data = data};
    co->stack = rota__stack_take(pool);
    CHECK(co->stack);
    rota__coro_init(&co->coro, co->stack, co->stack->top, co_body, co);
}

static void co_end(struct co *co)
{
    CHECK(co->ended);
    rota__coro_fini(&co->coro);
    rota__stack_give(co->pool, co->stack);
}

/* Runs fn to its end on a fresh stack of that size. */
static void on_stack(size_t size, const char *name, void (*fn)(struct co *), void *data)
{
    struct rota__stack_pool pool;
    struct co co;
    CHECK_OK(rota__stack_pool_init(&pool, size));
    co_start(&co, &pool, fn, data);
    co.coro.name = name;
    rota__coro_switch(&co.coro, 0);
    co_end(&co);
    rota__stack_pool_fini(&pool);
}

static void yield(struct co *co)
{
    rota__coro_switch(co->back, 0);
}

/* The switch. */

static void count_to_three(struct co *co)
{
    for (int *n = co->data; *n < 3; yield(co))
        ++*n;
}

TEST(switching_continues_where_the_other_stopped)
{
    struct rota__stack_pool pool;
    struct co a, b;
    int n = 0, m = 0;
    rota__stack_pool_init(&pool, 0);
    co_start(&a, &pool, count_to_three, &n);
    co_start(&b, &pool, count_to_three, &m);
    for (int i = 1; i <= 3; i++) {
        rota__coro_switch(&a.coro, 0);
        rota__coro_switch(&b.coro, 0);
        CHECK_INT(n, ==, i);
        CHECK_INT(m, ==, i);
    }
    rota__coro_switch(&a.coro, 0);
    rota__coro_switch(&b.coro, 0);
    co_end(&a);
    co_end(&b);
    rota__stack_pool_fini(&pool);
}

static void note_current(struct co *co)
{
    *(struct rota__coro **)co->data = rota__coro_current();
}

TEST(current_is_the_one_that_runs)
{
    struct rota__stack_pool pool;
    struct rota__coro *own = rota__coro_current(), *seen = NULL;
    struct co co;
    rota__stack_pool_init(&pool, 0);
    co_start(&co, &pool, note_current, &seen);
    CHECK_PTR(rota__coro_current(), ==, own);
    rota__coro_switch(&co.coro, 0);
    CHECK_PTR(seen, ==, &co.coro);
    CHECK_PTR(rota__coro_current(), ==, own);
    co_end(&co);
    rota__stack_pool_fini(&pool);
}

/* void with_registers(uint64_t values[], void (*fn)(void *), void *arg): puts the values into the
 * registers that a callee has to keep, calls fn(arg), and writes back what they hold then. */
void with_registers(uint64_t values[], void (*fn)(void *), void *arg);

#if defined(__x86_64__)
enum { KEPT_REGISTERS = 6 };
__asm__(".text\n"
        ".globl with_registers\n"
        ".type with_registers, @function\n"
        "with_registers:\n"
        "    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
        "    pushq %rdi\n"
        "    movq 0(%rdi), %rbp; movq 8(%rdi), %rbx; movq 16(%rdi), %r12\n"
        "    movq 24(%rdi), %r13; movq 32(%rdi), %r14; movq 40(%rdi), %r15\n"
        "    movq %rdx, %rdi\n"
        "    callq *%rsi\n"
        "    popq %rdi\n"
        "    movq %rbp, 0(%rdi); movq %rbx, 8(%rdi); movq %r12, 16(%rdi)\n"
        "    movq %r13, 24(%rdi); movq %r14, 32(%rdi); movq %r15, 40(%rdi)\n"
        "    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp\n"
        "    ret\n"
        ".size with_registers, . - with_registers\n");
#elif defined(__aarch64__)
enum { KEPT_REGISTERS = 19 };
__asm__(".text\n"
        ".globl with_registers\n"
        ".type with_registers, %function\n"
        "with_registers:\n"
        "    stp x29, x30, [sp, #-176]!\n"
        "    stp x19, x20, [sp, #16]\n    stp x21, x22, [sp, #32]\n"
        "    stp x23, x24, [sp, #48]\n    stp x25, x26, [sp, #64]\n"
        "    stp x27, x28, [sp, #80]\n    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n    str x0, [sp, #160]\n"
        "    ldp x19, x20, [x0]\n    ldp x21, x22, [x0, #16]\n"
        "    ldp x23, x24, [x0, #32]\n    ldp x25, x26, [x0, #48]\n"
        "    ldp x27, x28, [x0, #64]\n    ldp x29, x9, [x0, #80]\n"
        "    fmov d8, x9\n    ldp d9, d10, [x0, #96]\n"
        "    ldp d11, d12, [x0, #112]\n    ldp d13, d14, [x0, #128]\n"
        "    ldr d15, [x0, #144]\n"
        "    mov x0, x2\n"
        "    blr x1\n"
        "    ldr x0, [sp, #160]\n"
        "    stp x19, x20, [x0]\n    stp x21, x22, [x0, #16]\n"
        "    stp x23, x24, [x0, #32]\n    stp x25, x26, [x0, #48]\n"
        "    stp x27, x28, [x0, #64]\n    fmov x9, d8\n    stp x29, x9, [x0, #80]\n"
        "    stp d9, d10, [x0, #96]\n    stp d11, d12, [x0, #112]\n"
        "    stp d13, d14, [x0, #128]\n    str d15, [x0, #144]\n"
        "    ldp x19, x20, [sp, #16]\n    ldp x21, x22, [sp, #32]\n"
        "    ldp x23, x24, [sp, #48]\n    ldp x25, x26, [sp, #64]\n"
        "    ldp x27, x28, [sp, #80]\n    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n    ldp x29, x30, [sp], #176\n"
        "    ret\n"
        ".size with_registers, . - with_registers\n");
#else
enum { KEPT_REGISTERS = 0 };
#endif

static void fill(uint64_t values[], uint64_t seed)
{
    for (int i = 0; i < KEPT_REGISTERS; i++)
        values[i] = seed + (uint64_t)i;
}

static void switch_to(void *coro)
{
    rota__coro_switch(coro, 0);
}

static void keep_registers(struct co *co)
{
    uint64_t mine[KEPT_REGISTERS + 1];
    fill(mine, 0xc0c0c0c0c0c00000);
#if defined(__x86_64__) || defined(__aarch64__)
    with_registers(mine, switch_to, co->back);
#endif
    for (int i = 0; i < KEPT_REGISTERS; i++)
        CHECK(mine[i] == 0xc0c0c0c0c0c00000 + (uint64_t)i);
}

TEST(callee_saved_registers_survive_a_switch)
{
#if defined(__x86_64__) || defined(__aarch64__)
    struct rota__stack_pool pool;
    struct co co;
    uint64_t mine[KEPT_REGISTERS];
    rota__stack_pool_init(&pool, 0);
    co_start(&co, &pool, keep_registers, NULL);
    for (int round = 0; round < 2; round++) {
        fill(mine, 0xa0a0a0a0a0a00000);
        with_registers(mine, switch_to, &co.coro);
        for (int i = 0; i < KEPT_REGISTERS; i++)
            CHECK(mine[i] == 0xa0a0a0a0a0a00000 + (uint64_t)i);
    }
    co_end(&co);
    rota__stack_pool_fini(&pool);
#else
    SKIP("which registers are kept is not known for this architecture");
#endif
}

static void use_aligned(struct co *co)
{
    _Alignas(16) char buf[64];
    CHECK_INT((uintptr_t)buf % 16, ==, 0);
    CHECK_INT((uintptr_t)__builtin_frame_address(0) % 16, ==, 0);
    double *d = co->data;
    snprintf(buf, sizeof buf, "%.3f", *d);
    CHECK_STR(buf, "2.500");
}

TEST(a_coroutine_begins_with_an_aligned_stack)
{
    double d = 2.5;
    struct rota__stack_pool pool;
    rota__stack_pool_init(&pool, 0);
    for (size_t below = 0; below < 64; below += 8) {
        struct co co;
        co_start(&co, &pool, use_aligned, &d);
        rota__coro_init(&co.coro, co.stack, co.stack->top - below, co_body, &co);
        rota__coro_switch(&co.coro, 0);
        co_end(&co);
    }
    rota__stack_pool_fini(&pool);
}

static void trace(struct co *co)
{
    void *frames[64];
    *(int *)co->data = backtrace(frames, 64);
}

TEST(unwinding_ends_where_the_coroutine_began)
{
    int depth = 0;
    on_stack(0, NULL, trace, &depth);
    CHECK_INT(depth, >=, 2);
    CHECK_INT(depth, <, 10);
}

__attribute__((noinline)) static void gdb_stops_here(struct co *co)
{
    __asm__ volatile("" ::"r"(co) : "memory");
}

TEST(gdb_is_shown_a_coroutine)
{
    int depth = 0;
    on_stack(0, NULL, gdb_stops_here, &depth);
}

TEST_WITH(gdb_backtrace_ends_cleanly, .seconds = 60)
{
    if (ROTA__CORO_WATCHED || RUNNING_ON_VALGRIND)
        SKIP("gdb is asked in the plain build");
#ifdef ROTA__CORO_UCONTEXT
    SKIP("makecontext's own entry does not end the stack");
#endif
    if (system("gdb --version >/dev/null 2>&1") != 0)
        SKIP("gdb is not installed");
    char self[512], command[1024], line[1024], all[16384] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    CHECK_OK(n);
    self[n] = 0;
    snprintf(command, sizeof command,
             "DEBUGINFOD_URLS= gdb -nx -batch -ex 'set breakpoint pending on' "
             "-ex 'break gdb_stops_here' -ex run -ex bt -ex kill --args %s --no-fork "
             "gdb_is_shown_a_coroutine 2>&1",
             self);
    FILE *gdb = popen(command, "r");
    CHECK(gdb);
    while (fgets(line, sizeof line, gdb))
        strncat(all, line, sizeof all - strlen(all) - 1);
    pclose(gdb);
    const char *bt = strstr(all, "#0  ");
    if (!bt)
        SKIP("gdb cannot trace here: %s", all);
    CHECK(strstr(bt, "co_body"));
    CHECK(!strstr(bt, "Backtrace stopped"));
    CHECK(!strstr(bt, "?? ()"));
    CHECK(!strstr(bt, "#6  "));
}

/* Stacks. */

static bool readable(const char *address)
{
    int fds[2];
    CHECK_OK(pipe(fds));
    VALGRIND_DISABLE_ERROR_REPORTING;
    ssize_t n = write(fds[1], address, 1);
    VALGRIND_ENABLE_ERROR_REPORTING;
    close(fds[0]);
    close(fds[1]);
    return n == 1;
}

static void check_stack(const struct rota__stack *stack, size_t stride)
{
    /* An advice that guards nothing must not have been trusted either: qemu ignores unknown
     * ones. */
    char *guard;
    size_t size;
    rota__stack_extent(stack, &guard, &size);
    CHECK_INT(size, ==, (long long)stride);
    CHECK(!readable(guard));
    CHECK(!readable(rota__stack_low(stack) - 1));
    CHECK_INT((uintptr_t)stack->top % 64, ==, 0);
    CHECK(stack->top <= guard + size);
    CHECK(stack->top > guard + size - 1024 - 1);
    memset(rota__stack_low(stack), 0x5a, (size_t)(stack->top - rota__stack_low(stack)));
}

static void stacks_are_guarded(enum rota__guard guard)
{
    rota__guard = guard;
    struct rota__stack_pool pool;
    struct rota__stack *stacks[100];
    rota__stack_pool_init(&pool, 64 << 10);
    for (int i = 0; i < 100; i++) {
        stacks[i] = rota__stack_take(&pool);
        CHECK(stacks[i]);
        check_stack(stacks[i], 64 << 10);
    }
    for (int i = 0; i < 100; i++)
        rota__stack_give(&pool, stacks[i]);
    for (int i = 0; i < 100; i++)
        CHECK(!readable(rota__stack_low(stacks[i]) - 1));
    rota__stack_pool_fini(&pool);
}

/* Rule 16: stacks are guarded, and an overflow ends the program with the task's name. */
TEST(stacks_are_guarded_by_what_the_kernel_offers)
{
    stacks_are_guarded(ROTA__GUARD_UNKNOWN);
    CHECK(rota__guard != ROTA__GUARD_UNKNOWN);
}

TEST(stacks_are_guarded_by_mprotect)
{
    stacks_are_guarded(ROTA__GUARD_MPROTECT);
}

TEST(a_reused_stack_is_the_last_one_given)
{
    struct rota__stack_pool pool;
    rota__stack_pool_init(&pool, 0);
    struct rota__stack *a = rota__stack_take(&pool), *b = rota__stack_take(&pool);
    CHECK(a && b);
    rota__stack_give(&pool, a);
    rota__stack_give(&pool, b);
    CHECK_PTR(rota__stack_take(&pool), ==, b);
    CHECK_PTR(rota__stack_take(&pool), ==, a);
    rota__stack_give(&pool, a);
    rota__stack_give(&pool, b);
    rota__stack_pool_fini(&pool);
}

TEST(tops_of_neighbours_do_not_share_cache_sets)
{
    struct rota__stack_pool pool;
    struct rota__stack *stacks[16];
    rota__stack_pool_init(&pool, 0);
    for (int i = 0; i < 16; i++) {
        stacks[i] = rota__stack_take(&pool);
        CHECK(stacks[i]);
        for (int j = 0; j < i; j++)
            CHECK_INT((uintptr_t)stacks[i]->top % 4096, !=, (uintptr_t)stacks[j]->top % 4096);
    }
    for (int i = 0; i < 16; i++)
        rota__stack_give(&pool, stacks[i]);
    rota__stack_pool_fini(&pool);
}

TEST(sizes_are_rounded_up_and_absurd_ones_refused)
{
    struct rota__stack_pool pool;
    CHECK_OK(rota__stack_pool_init(&pool, 1));
    CHECK_INT(pool.stride, >=, 16 << 10);
    CHECK_INT(pool.guard, >, 0);
    CHECK_OK(rota__stack_pool_init(&pool, (1 << 20) + 1));
    CHECK_INT(pool.stride, >, 1 << 20);
    CHECK_INT(pool.stride % (size_t)sysconf(_SC_PAGESIZE), ==, 0);
    CHECK_INT(rota__stack_pool_init(&pool, SIZE_MAX), ==, -EINVAL);
    CHECK_INT(rota__stack_pool_init(&pool, SIZE_MAX / 64), ==, -EINVAL);
}

enum { MANY = 200 };

static size_t resident(struct rota__stack *const stacks[], int count)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), found = 0;
    for (int i = 0; i < count; i++) {
        unsigned char in;
        char *top = (char *)((uintptr_t)(stacks[i]->top - 1) & ~(page - 1));
        found += mincore(top, page, &in) == 0 && (in & 1);
    }
    return found;
}

static void take_and_touch(struct rota__stack_pool *pool, struct rota__stack *stacks[], int count)
{
    for (int i = 0; i < count; i++) {
        stacks[i] = rota__stack_take(pool);
        CHECK(stacks[i]);
        memset(stacks[i]->top - 1024, 1, 1024);
    }
}

static void give_all(struct rota__stack_pool *pool, struct rota__stack *stacks[], int count)
{
    for (int i = 0; i < count; i++)
        rota__stack_give(pool, stacks[i]);
}

TEST(pages_of_stacks_not_needed_lately_go_back_by_halves)
{
    struct rota__stack_pool pool;
    struct rota__stack *stacks[MANY];
    rota__stack_pool_init(&pool, 0);
    CHECK_INT(rota__stack_pool_trim(&pool, 0), ==, ROTA_NEVER);
    take_and_touch(&pool, stacks, MANY);
    CHECK_INT(rota__stack_pool_trim(&pool, 2 * ROTA_SECOND), ==, ROTA_NEVER);
    give_all(&pool, stacks, MANY);
    CHECK_INT(resident(stacks, MANY), ==, MANY);

    rota_time now = 2 * ROTA_SECOND + ROTA_MILLISECOND;
    rota_time next = rota__stack_pool_trim(&pool, now);
    CHECK_INT(next, ==, 3 * ROTA_SECOND);
    CHECK_INT(pool.warm_count, ==, MANY);

    size_t warm = MANY;
    int rounds = 0;
    for (; next != ROTA_NEVER; next = rota__stack_pool_trim(&pool, next)) {
        CHECK_INT(pool.warm_count, <=, warm);
        CHECK_INT(pool.warm_count, >=, warm / 2);
        warm = pool.warm_count;
        CHECK_INT(++rounds, <, 30);
    }
    CHECK_INT(rounds, >=, 4);
    CHECK_INT(pool.warm_count, ==, 16);
    rota__stack_pool_fini(&pool);
}

TEST(a_stack_whose_pages_went_back_is_still_guarded)
{
    struct rota__stack_pool pool;
    struct rota__stack *stacks[MANY];
    rota__stack_pool_init(&pool, 0);
    take_and_touch(&pool, stacks, MANY);
    /* One of each slab stays in use, so that no slab is unmapped. */
    for (int i = 0; i < MANY; i++)
        if (i % 16 != 0)
            rota__stack_give(&pool, stacks[i]);
    rota_time next = 0;
    while ((next = rota__stack_pool_trim(&pool, next)) != ROTA_NEVER)
        ;
    CHECK_INT(pool.warm_count, <=, 16);
    if (!RUNNING_ON_VALGRIND)
        CHECK_INT(resident(stacks, MANY), <=, MANY / 16 + 1 + 16);
    for (int i = 0; i < MANY; i++)
        CHECK(!readable(rota__stack_low(stacks[i]) - 1));
    for (int i = 0; i < MANY; i++)
        if (i % 16 != 0)
            stacks[i] = rota__stack_take(&pool);
    for (int i = 0; i < MANY; i++)
        check_stack(stacks[i], pool.stride);
    give_all(&pool, stacks, MANY);
    rota__stack_pool_fini(&pool);
}

TEST(a_slab_that_nobody_needs_is_unmapped)
{
    long live = rota__alloc_live();
    struct rota__stack_pool pool;
    struct rota__stack *stacks[MANY];
    rota__stack_pool_init(&pool, 0);
    take_and_touch(&pool, stacks, MANY);
    CHECK_INT(rota__alloc_live() - live, >=, 3);
    give_all(&pool, stacks, MANY);
    rota_time next = 0;
    while ((next = rota__stack_pool_trim(&pool, next)) != ROTA_NEVER)
        ;
    CHECK_INT(rota__alloc_live() - live, <=, 2);
    take_and_touch(&pool, stacks, MANY);
    give_all(&pool, stacks, MANY);
    rota__stack_pool_fini(&pool);
    CHECK_INT(rota__alloc_live(), ==, live);
}

TEST(a_slab_that_cannot_be_unmapped_stays_usable)
{
    struct rota__stack_pool pool;
    struct rota__stack *stacks[MANY];
    rota__stack_pool_init(&pool, 0);
    for (int nth = 1; nth <= 3; nth++) {
        take_and_touch(&pool, stacks, MANY);
        give_all(&pool, stacks, MANY);
        rota_time next = 0;
        rota__fault_arm(ROTA__FAULT_SYSCALL, (uint64_t)nth);
        while ((next = rota__stack_pool_trim(&pool, next)) != ROTA_NEVER)
            ;
        rota__fault_disarm();
    }
    take_and_touch(&pool, stacks, MANY);
    give_all(&pool, stacks, MANY);
    rota__stack_pool_fini(&pool);
}

TEST(a_load_that_repeats_within_a_second_keeps_its_pages)
{
    struct rota__stack_pool pool;
    struct rota__stack *stacks[MANY];
    rota__stack_pool_init(&pool, 0);
    for (rota_time now = 0; now < 10 * ROTA_SECOND; now += 100 * ROTA_MILLISECOND) {
        take_and_touch(&pool, stacks, MANY);
        give_all(&pool, stacks, MANY);
        rota__stack_pool_trim(&pool, now);
        CHECK_INT(pool.warm_count, ==, MANY);
    }
    rota__stack_pool_fini(&pool);
}

TEST(taking_fails_cleanly_at_each_allocation_and_call)
{
    long live = rota__alloc_live();
    for (int kind = ROTA__FAULT_ALLOC; kind <= ROTA__FAULT_SYSCALL; kind++) {
        for (int guard = ROTA__GUARD_UNKNOWN; guard <= ROTA__GUARD_MPROTECT; guard++) {
            bool failed = true;
            for (uint64_t nth = 1; failed; nth++) {
                CHECK_INT(nth, <, 10);
                struct rota__stack_pool pool;
                rota__guard = (enum rota__guard)guard;
                rota__stack_pool_init(&pool, 0);
                rota__fault_arm((enum rota__fault_kind)kind, nth);
                struct rota__stack *stack = rota__stack_take(&pool);
                failed = rota__fault_count((enum rota__fault_kind)kind) >= nth;
                rota__fault_disarm();
                CHECK(failed == !stack);
                if (failed)
                    stack = rota__stack_take(&pool);
                CHECK(stack);
                rota__stack_give(&pool, stack);
                rota__stack_pool_fini(&pool);
                CHECK_INT(rota__alloc_live(), ==, live);
            }
        }
    }
}

static void park(struct co *co)
{
    yield(co);
}

static long status_kb(const char *key)
{
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    CHECK(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            kb = atol(line + strlen(key));
    fclose(f);
    return kb;
}

TEST_WITH(a_hundred_thousand_stay_within_4800_bytes_each, .seconds = 60)
{
    if (ROTA__CORO_WATCHED || RUNNING_ON_VALGRIND)
        SKIP("meant for the plain build");
    enum { COUNT = 100000 };
    struct rota__stack_pool pool;
    rota__stack_pool_init(&pool, 0);
    struct rota__stack *probe = rota__stack_take(&pool);
    rota__stack_give(&pool, probe);
    if (rota__guard != ROTA__GUARD_MADVISE)
        SKIP("this kernel has no MADV_GUARD_INSTALL, and mprotect runs out of mappings");
    if (sysconf(_SC_PAGESIZE) != 4096)
        SKIP("pages are larger than 4 KiB");
    struct co *all = calloc(COUNT, sizeof *all);
    CHECK(all);
    memset(all, 1, COUNT * sizeof *all);
    long before = status_kb("VmRSS:") + status_kb("VmPTE:");
    for (int i = 0; i < COUNT; i++) {
        co_start(&all[i], &pool, park, NULL);
        rota__coro_switch(&all[i].coro, 0);
    }
    long each = (status_kb("VmRSS:") + status_kb("VmPTE:") - before) * 1024 / COUNT;
    CHECK_INT(each, <=, 4800);
    for (int i = 0; i < COUNT; i++) {
        rota__coro_switch(&all[i].coro, 0);
        co_end(&all[i]);
    }
    rota__stack_pool_fini(&pool);
    free(all);
}

/* Overflow. */

__attribute__((noinline)) static size_t recurse(size_t bytes)
{
    volatile char frame[512];
    frame[0] = (char)bytes;
    if (bytes < sizeof frame)
        return (size_t)frame[0];
    return recurse(bytes - sizeof frame) + (size_t)frame[0];
}

static void recurse_on_stack(struct co *co)
{
    size_t *bytes = co->data;
    *bytes = recurse(*bytes);
}

TEST(a_coroutine_recurses_as_deep_as_its_stack)
{
    size_t bytes = ROTA__CORO_WATCHED ? 32 << 10 : 150 << 10;
    on_stack(0, NULL, recurse_on_stack, &bytes);
    bytes = ROTA__CORO_WATCHED ? 1 << 20 : 6 << 20;
    on_stack(8 << 20, NULL, recurse_on_stack, &bytes);
}

static void overflow(const char *name)
{
    size_t bytes = 64 << 20;
    CHECK_OK(rota__overflow_watch_start());
    on_stack(0, name, recurse_on_stack, &bytes);
}

#if ROTA__ASAN
#define TEST_OVERFLOWS(name_, text_) TEST_EXITS(name_, 1, text_)
#elif ROTA__TSAN
#define TEST_OVERFLOWS(name_, text_) TEST_EXITS(name_, 66, text_)
#else
#define TEST_OVERFLOWS(name_, text_) TEST_DIES(name_, SIGSEGV, text_)
#endif

/* rule 16 */
TEST_OVERFLOWS(overflow_ends_the_program_with_the_name,
               "rota: stack overflow in task 'mill': 256 KiB stack at 0x")
{
    overflow("mill");
}

TEST_OVERFLOWS(overflow_of_the_nameless_is_reported_too, "stack overflow in a coroutine: 256 KiB")
{
    overflow(NULL);
}

TEST_OVERFLOWS(overflow_is_reported_where_mprotect_guards, "stack overflow in task 'mill'")
{
    rota__guard = ROTA__GUARD_MPROTECT;
    overflow("mill");
}

__attribute__((noinline)) static void use_large_frame(struct co *co)
{
    volatile char frame[48 << 10];
    frame[0] = 1;
    *(size_t *)co->data = (size_t)frame[0];
    if (frame[0])
        use_large_frame(co);
    frame[1] = 1;
}

TEST_OVERFLOWS(overflow_by_a_large_frame_is_caught_too, "stack overflow in task 'mill'")
{
    size_t sink;
    CHECK_OK(rota__overflow_watch_start());
    on_stack(0, "mill", use_large_frame, &sink);
}

/* A buffer that is filled from its beginning, as read(2) does. The guard is smaller: without probes
 * on each page the first touch would be in the stack below. */
__attribute__((noinline)) static void use_part_of_a_larger_frame(struct co *co)
{
    char frame[400 << 10];
    CHECK_OK(snprintf(frame, sizeof frame, "%p", co->data));
    CHECK(frame[0]);
}

TEST_OVERFLOWS(overflow_by_a_frame_larger_than_the_stack_is_caught, "stack overflow in task 'mill'")
{
    CHECK_OK(rota__overflow_watch_start());
    on_stack(0, "mill", use_part_of_a_larger_frame, NULL);
}

static void *overflow_in_coroutine(void *arg, void *value)
{
    recurse(64 << 20);
    return NULL;
}

static void switch_to_overflow(struct co *co)
{
    rota_coro *coro;
    CHECK_OK(rota_coro_new(overflow_in_coroutine, NULL, &coro));
    rota_coro_switch(coro, NULL, NULL);
}

TEST_OVERFLOWS(overflow_in_a_coroutine_names_the_task,
               "stack overflow in a coroutine of task 'mill'")
{
    on_stack(0, "mill", switch_to_overflow, NULL);
}

TEST(the_next_user_of_a_stack_finds_no_red_zones)
{
#if ROTA__ASAN
    struct rota__stack_pool pool;
    rota__stack_pool_init(&pool, 0);
    struct rota__stack *stack = rota__stack_take(&pool);
    CHECK(stack);
    size_t size = (size_t)(stack->top - rota__stack_low(stack));
    __asan_poison_memory_region(rota__stack_low(stack), size); /* as frames do that never return */
    rota__stack_give(&pool, stack);
    CHECK_PTR(rota__stack_take(&pool), ==, stack);
    CHECK_PTR(__asan_region_is_poisoned(rota__stack_low(stack), size), ==, NULL);
    rota__stack_give(&pool, stack);
    rota__stack_pool_fini(&pool);
#else
    SKIP("only AddressSanitizer has red zones");
#endif
}

static void *overflow_on_thread(void *arg)
{
    overflow(arg);
    return NULL;
}

TEST_OVERFLOWS(overflow_is_reported_on_each_thread_that_watches, "stack overflow in task 'other'")
{
    pthread_t thread;
    char name[] = "other";
    CHECK_OK(rota__overflow_watch_start());
    CHECK_INT(pthread_create(&thread, NULL, overflow_on_thread, name), ==, 0);
    pthread_join(thread, NULL);
}

static void former_handler(int sig)
{
    const char text[] = "former handler\n";
    CHECK_OK(write(STDERR_FILENO, text, sizeof text - 1));
    signal(sig, SIG_DFL);
    raise(sig);
}

static void fault_elsewhere(struct co *co)
{
    volatile char *nowhere = co->data;
    *nowhere = 1;
}

TEST_DIES(other_faults_go_to_the_former_handler, SIGSEGV, "former handler")
{
    void *nowhere = mmap(NULL, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    signal(SIGSEGV, former_handler);
    CHECK_OK(rota__overflow_watch_start());
    on_stack(0, "mill", fault_elsewhere, nowhere);
}

TEST_DIES(a_signal_from_outside_still_ends_the_program, SIGSEGV, "")
{
    signal(SIGSEGV, SIG_DFL);
    CHECK_OK(rota__overflow_watch_start());
    kill(getpid(), SIGSEGV);
}

TEST(watching_ends_with_the_handler_of_before)
{
    struct sigaction before, after;
    stack_t alternate_before, alternate_after;
    sigaction(SIGSEGV, NULL, &before);
    sigaltstack(NULL, &alternate_before);
    long live = rota__alloc_live();
    CHECK_OK(rota__overflow_watch_start());
    CHECK_OK(rota__overflow_watch_start());
    rota__overflow_watch_stop();
    sigaction(SIGSEGV, NULL, &after);
    CHECK(before.sa_handler != after.sa_handler);
    rota__overflow_watch_stop();
    sigaction(SIGSEGV, NULL, &after);
    CHECK(before.sa_handler == after.sa_handler);
    sigaltstack(NULL, &alternate_after);
    CHECK_INT(alternate_before.ss_flags, ==, alternate_after.ss_flags);
    CHECK_INT(rota__alloc_live(), ==, live);
}

TEST(watching_fails_cleanly_without_memory)
{
    if (ROTA__CORO_WATCHED)
        SKIP("the sanitizer has an alternate stack already");
    for (int kind = ROTA__FAULT_ALLOC; kind <= ROTA__FAULT_SYSCALL; kind++) {
        rota__fault_arm((enum rota__fault_kind)kind, 1);
        CHECK_INT(rota__overflow_watch_start(), ==, -ENOMEM);
        rota__fault_disarm();
        CHECK_OK(rota__overflow_watch_start());
        rota__overflow_watch_stop();
    }
}

/* Sanitizers. */

static void leave_red_zones(struct co *co)
{
    char buf[30000];
    memset(buf, (int)(intptr_t)co->data, sizeof buf);
    co->ended = true;
    rota__coro_exit(co->back, 0);
}

static void fill_stack(struct co *co)
{
    /* The sanitizer's memset has a frame of some kilobytes. */
    char *low = rota__stack_low(co->stack), *top = (char *)__builtin_frame_address(0) - 8192;
    memset(low, 1, (size_t)(top - low));
}

TEST(a_reused_stack_has_no_traces_of_the_frames_before)
{
    struct rota__stack_pool pool;
    rota__stack_pool_init(&pool, 0);
    for (int i = 0; i < 10; i++) {
        struct co co;
        co_start(&co, &pool, leave_red_zones, NULL);
        rota__coro_switch(&co.coro, 0);
        co_end(&co);
        co_start(&co, &pool, fill_stack, NULL);
        rota__coro_switch(&co.coro, 0);
        co_end(&co);
    }
    rota__stack_pool_fini(&pool);
}

static void hold_memory(struct co *co)
{
    void *volatile held = malloc(100);
    yield(co);
    free(held);
}

TEST(memory_held_by_a_stopped_coroutine_is_no_leak)
{
    struct rota__stack_pool pool;
    struct co co;
    rota__stack_pool_init(&pool, 0);
    co_start(&co, &pool, hold_memory, NULL);
    rota__coro_switch(&co.coro, 0);
#if ROTA__ASAN
    CHECK_INT(__lsan_do_recoverable_leak_check(), ==, 0);
#endif
    rota__coro_switch(&co.coro, 0);
    co_end(&co);
    rota__stack_pool_fini(&pool);
}

static void check_leaks(struct co *co)
{
    (void)co;
#if ROTA__ASAN
    CHECK_INT(__lsan_do_recoverable_leak_check(), ==, 0);
#endif
}

static void *hold_on_own_stack(void *arg)
{
    (void)arg;
    void *volatile held = malloc(100);
    on_stack(0, NULL, check_leaks, NULL);
    free(held);
    return NULL;
}

TEST(memory_held_by_the_thread_below_a_coroutine_is_no_leak)
{
    pthread_t thread;
    hold_on_own_stack(NULL);
    CHECK_INT(pthread_create(&thread, NULL, hold_on_own_stack, NULL), ==, 0);
    pthread_join(thread, NULL);
}

/* The public coroutines. */

static void *count(void *arg, void *value)
{
    rota_coro *consumer = arg;
    (void)value;
    for (intptr_t i = 1; i <= 3; i++)
        if (rota_coro_switch(consumer, (void *)i, NULL) < 0)
            break; /* cancelled: clean up and end */
    return NULL;
}

static int sum_of_count(int *ret_sum)
{
    ROTA_AUTO(rota_coro) counter = NULL;
    int err = rota_coro_new(count, rota_coro_current(), &counter);
    if (err < 0)
        return err;
    void *n;
    while (rota_coro_switch(counter, NULL, &n) == 0 && n)
        *ret_sum += (int)(intptr_t)n;
    return 0;
}

TEST(the_snippet_in_the_header_counts)
{
    int sum = 0;
    CHECK_OK(sum_of_count(&sum));
    CHECK_INT(sum, ==, 6);
}

static void *echo(void *arg, void *value)
{
    rota_coro *peer = arg;
    for (int i = 0; i < 3; i++)
        if (rota_coro_switch(peer, (char *)value + 1, &value) < 0)
            return NULL;
    return (char *)value + 100;
}

TEST(each_switch_hands_one_value_over)
{
    char base[256];
    rota_coro *coro;
    void *value = NULL;
    CHECK_OK(rota_coro_new(echo, rota_coro_current(), &coro));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rota_coro_switch(coro, base + 10 * i, &value));
        CHECK_PTR(value, ==, base + 10 * i + 1);
        CHECK(!rota_coro_dead(coro));
    }
    CHECK_OK(rota_coro_switch(coro, base + 50, &value));
    CHECK_PTR(value, ==, base + 150);
    CHECK(rota_coro_dead(coro));
    CHECK_PTR(rota_coro_free(coro), ==, NULL);
}

static void *current(void *arg, void *value)
{
    *(rota_coro **)arg = rota_coro_current();
    return value;
}

TEST(current_names_the_running_coroutine)
{
    rota_coro *coro, *seen = NULL, *own = rota_coro_current();
    CHECK(own);
    CHECK_OK(rota_coro_new(current, &seen, &coro));
    CHECK_OK(rota_coro_switch(coro, NULL, NULL));
    CHECK_PTR(seen, ==, coro);
    CHECK_PTR(rota_coro_current(), ==, own);
    CHECK(!rota_coro_dead(own));
    rota_coro_free(coro);
}

struct family {
    rota_coro *root, *parent, *child;
    char log[32];
    int err;
};

static char from_child[] = "from child", from_parent[] = "from parent";

static void note(struct family *f, const char *what)
{
    strcat(f->log, what);
}

static void *child_ends(void *arg, void *value)
{
    note(arg, "c");
    (void)value;
    return from_child;
}

static void *parent_waits(void *arg, void *value)
{
    struct family *f = arg;
    note(f, "p");
    CHECK_OK(rota_coro_new(child_ends, f, &f->child));
    CHECK_OK(rota_coro_switch(f->root, NULL, &value));
    note(f, value ? value : "-");
    return from_parent;
}

TEST(the_end_of_a_coroutine_continues_its_parent)
{
    struct family f = {.root = rota_coro_current()};
    void *value;
    CHECK_OK(rota_coro_new(parent_waits, &f, &f.parent));
    CHECK_OK(rota_coro_switch(f.parent, NULL, NULL));
    CHECK_OK(rota_coro_switch(f.child, NULL, &value));
    CHECK_STR(f.log, "pcfrom child");
    CHECK_STR(value, "from parent");
    rota_coro_free(f.child);
    rota_coro_free(f.parent);
}

static void *parent_ends(void *arg, void *value)
{
    struct family *f = arg;
    CHECK_OK(rota_coro_new(child_ends, f, &f->child));
    return value;
}

TEST(a_child_goes_to_the_grandparent_when_its_parent_ends)
{
    struct family f = {.root = rota_coro_current()};
    void *value;
    CHECK_OK(rota_coro_new(parent_ends, &f, &f.parent));
    CHECK_OK(rota_coro_switch(f.parent, NULL, NULL));
    CHECK(rota_coro_dead(f.parent));
    rota_coro_free(f.parent);
    CHECK_OK(rota_coro_switch(f.child, NULL, &value));
    CHECK_STR(value, "from child");
    rota_coro_free(f.child);
}

static void *wait_for_cancel(void *arg, void *value)
{
    struct family *f = arg;
    note(f, "[");
    f->err = rota_coro_switch(f->root, value, NULL);
    note(f, "]");
    CHECK_INT(rota_coro_switch(f->root, value, NULL), ==, -ECANCELED);
    return from_child;
}

TEST(cancelling_lets_a_coroutine_clean_up_and_end)
{
    struct family f = {.root = rota_coro_current()};
    CHECK_OK(rota_coro_new(wait_for_cancel, &f, &f.child));
    CHECK_OK(rota_coro_switch(f.child, NULL, NULL));
    CHECK(!rota_coro_dead(f.child));
    CHECK_OK(rota_coro_cancel(f.child));
    CHECK(rota_coro_dead(f.child));
    CHECK_INT(f.err, ==, -ECANCELED);
    CHECK_STR(f.log, "[]");
    CHECK_OK(rota_coro_cancel(f.child));
    CHECK_INT(rota_coro_switch(f.child, NULL, NULL), ==, -ESRCH);
    rota_coro_free(f.child);
}

TEST(cancelling_one_that_never_ran_does_not_run_it)
{
    struct family f = {.root = rota_coro_current()};
    CHECK_OK(rota_coro_new(wait_for_cancel, &f, &f.child));
    CHECK_OK(rota_coro_cancel(f.child));
    CHECK(rota_coro_dead(f.child));
    CHECK_STR(f.log, "");
    rota_coro_free(f.child);
}

TEST(freeing_cancels_first)
{
    struct family f = {.root = rota_coro_current()};
    CHECK_OK(rota_coro_new(wait_for_cancel, &f, &f.child));
    CHECK_OK(rota_coro_switch(f.child, NULL, NULL));
    CHECK_PTR(rota_coro_free(f.child), ==, NULL);
    CHECK_STR(f.log, "[]");
    CHECK_PTR(rota_coro_free(NULL), ==, NULL);
}

static void *cancel_parent(void *arg, void *value)
{
    struct family *f = arg;
    (void)value;
    CHECK_OK(rota_coro_cancel(f->parent));
    CHECK(rota_coro_dead(f->parent));
    note(f, "c");
    return from_child;
}

static void *parent_of_canceller(void *arg, void *value)
{
    struct family *f = arg;
    CHECK_OK(rota_coro_new(cancel_parent, f, &f->child));
    f->err = rota_coro_switch(f->child, value, NULL);
    note(f, "p");
    return NULL;
}

TEST(a_child_may_cancel_its_parent)
{
    struct family f = {.root = rota_coro_current()};
    void *value;
    CHECK_OK(rota_coro_new(parent_of_canceller, &f, &f.parent));
    CHECK_OK(rota_coro_switch(f.parent, NULL, &value));
    CHECK_STR(value, "from child");
    CHECK_STR(f.log, "pc");
    CHECK_INT(f.err, ==, -ECANCELED);
    rota_coro_free(f.child);
    rota_coro_free(f.parent);
}

static void *cancel_back(void *arg, void *value)
{
    struct family *f = arg;
    CHECK_INT(rota_coro_switch(f->root, value, NULL), ==, -ECANCELED);
    f->err = rota_coro_cancel(f->parent);
    return NULL;
}

static void *cancel_child(void *arg, void *value)
{
    struct family *f = arg;
    (void)value;
    CHECK_OK(rota_coro_cancel(f->child));
    return NULL;
}

TEST(who_waits_for_a_cancel_cannot_be_cancelled_by_it)
{
    struct family f = {.root = rota_coro_current()};
    CHECK_OK(rota_coro_new(cancel_child, &f, &f.parent));
    CHECK_OK(rota_coro_new(cancel_back, &f, &f.child));
    CHECK_OK(rota_coro_switch(f.child, NULL, NULL));
    CHECK_OK(rota_coro_switch(f.parent, NULL, NULL));
    CHECK_INT(f.err, ==, -EBUSY);
    CHECK(rota_coro_dead(f.parent));
    rota_coro_free(f.child);
    rota_coro_free(f.parent);
}

TEST(switching_to_oneself_is_refused)
{
    CHECK_INT(rota_coro_switch(rota_coro_current(), NULL, NULL), ==, -EINVAL);
    CHECK_INT(rota_coro_cancel(rota_coro_current()), ==, -EINVAL);
}

/* Two tasks as coro sees them: stacks below it, each the host of coroutines of its own. */

struct host {
    struct co co;
    struct rota__coro *resume; /* where the task goes on: on its own stack or a coroutine's */
    rota_coro *coro;
    struct host *other;
    char log[32];
};

static void host_wait(struct host *host)
{
    host->resume = rota__coro_current();
    rota__coro_switch(host->co.back, 0);
}

static void *suspend_host(void *arg, void *value)
{
    struct host *host = arg;
    strcat(host->log, "a");
    host_wait(host);
    strcat(host->log, "b");
    if (strcmp(host->other->log, "a") == 0) {
        CHECK_INT(rota_coro_switch(host->other->coro, NULL, NULL), ==, -EBUSY);
        CHECK_INT(rota_coro_cancel(host->other->coro), ==, -EBUSY);
    }
    CHECK_PTR(rota_coro_current(), ==, host->coro);
    CHECK_OK(rota_coro_switch(value, host, &value));
    strcat(host->log, "d");
    return value;
}

static void run_host(struct co *co)
{
    struct host *host = co->data;
    void *value;
    CHECK_OK(rota_coro_new(suspend_host, host, &host->coro));
    CHECK_OK(rota_coro_switch(host->coro, rota_coro_current(), &value));
    CHECK_PTR(value, ==, host);
    strcat(host->log, "c");
    host_wait(host);
    CHECK_OK(rota_coro_switch(host->coro, &host->log, &value));
    CHECK_PTR(value, ==, &host->log);
    strcat(host->log, "e");
    rota_coro_free(host->coro);
}

TEST(coroutines_of_two_tasks_do_not_mix)
{
    struct rota__stack_pool pool;
    struct host a = {0}, b = {0};
    a.other = &b;
    b.other = &a;
    rota__stack_pool_init(&pool, 0);
    co_start(&a.co, &pool, run_host, &a);
    co_start(&b.co, &pool, run_host, &b);
    a.resume = &a.co.coro;
    b.resume = &b.co.coro;
    while (!a.co.ended) {
        rota__coro_switch(a.resume, 0);
        rota__coro_switch(b.resume, 0);
    }
    CHECK_STR(a.log, "abcde");
    CHECK_STR(b.log, "abcde");
    co_end(&a.co);
    co_end(&b.co);
    rota__stack_pool_fini(&pool);
}

static void hear(void *arg, rota_log_level level, const char *message)
{
    CHECK_INT(level, >=, ROTA_LOG_WARNING);
    snprintf(arg, 256, "%s", message);
}

static void *use_foreign(void *arg)
{
    CHECK_INT(rota_coro_switch(arg, NULL, NULL), ==, ROTA_ETHREAD);
    CHECK_INT(rota_coro_cancel(arg), ==, ROTA_ETHREAD);
    rota_coro_free(arg);
    return NULL;
}

TEST(a_coroutine_of_another_thread_is_refused)
{
    struct family f = {.root = rota_coro_current()};
    char heard[256] = "";
    pthread_t thread;
    rota_log_set(hear, heard);
    CHECK_OK(rota_coro_new(wait_for_cancel, &f, &f.child));
    CHECK_INT(pthread_create(&thread, NULL, use_foreign, f.child), ==, 0);
    pthread_join(thread, NULL);
    CHECK(strstr(heard, "not freed"));
    CHECK(!rota_coro_dead(f.child));
    rota_coro_free(f.child);
}

static void *count_on_thread(void *arg)
{
    CHECK_OK(sum_of_count(arg));
    return NULL;
}

TEST(a_thread_takes_its_stacks_with_it_when_it_ends)
{
    long live = rota__alloc_live();
    for (int i = 0; i < 5; i++) {
        pthread_t threads[2];
        int sums[2] = {0};
        for (int j = 0; j < 2; j++)
            CHECK_INT(pthread_create(&threads[j], NULL, count_on_thread, &sums[j]), ==, 0);
        for (int j = 0; j < 2; j++) {
            pthread_join(threads[j], NULL);
            CHECK_INT(sums[j], ==, 6);
        }
    }
    CHECK_INT(rota__alloc_live(), ==, live);
}

static void *leave_coroutine(void *arg)
{
    rota_coro **coro = arg;
    CHECK_OK(rota_coro_new(count, rota_coro_current(), coro));
    return NULL;
}

TEST(coroutines_left_by_a_thread_are_reported)
{
    if (ROTA__ASAN || ROTA__TSAN)
        SKIP("what is left is a leak, and meant to be one");
    char heard[256] = "";
    pthread_t thread;
    rota_coro *left;
    rota_log_set(hear, heard);
    CHECK_INT(pthread_create(&thread, NULL, leave_coroutine, &left), ==, 0);
    pthread_join(thread, NULL);
    CHECK(strstr(heard, "1 coroutines were left"));
    CHECK(!rota_coro_dead(left));
}

TEST(new_fails_cleanly_at_each_allocation_and_call)
{
    for (int kind = ROTA__FAULT_ALLOC; kind <= ROTA__FAULT_SYSCALL; kind++) {
        uint64_t points = 0;
        for (uint64_t nth = 1; nth <= 1 || nth <= points; nth++) {
            pthread_t thread;
            int sum = 0;
            rota__fault_arm((enum rota__fault_kind)kind, 0);
            CHECK_INT(pthread_create(&thread, NULL, count_on_thread, &sum), ==, 0);
            pthread_join(thread, NULL);
            points = rota__fault_count((enum rota__fault_kind)kind);
            rota__fault_disarm();
            CHECK_INT(points, >=, 1);

            rota_coro *coro = NULL;
            rota__fault_arm((enum rota__fault_kind)kind, nth);
            int err = rota_coro_new(count, rota_coro_current(), &coro);
            rota__fault_disarm();
            CHECK(err == -ENOMEM ? !coro : !err);
            rota_coro_free(coro);
        }
    }
}

TEST(many_coroutines_in_a_ring)
{
    enum { COUNT = 1000 };
    static rota_coro *ring[COUNT];
    struct family f = {.root = rota_coro_current()};
    for (int i = 0; i < COUNT; i++)
        CHECK_OK(rota_coro_new(count, f.root, &ring[i]));
    for (intptr_t round = 1; round <= 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            void *n;
            CHECK_OK(rota_coro_switch(ring[i], NULL, &n));
            CHECK_INT((intptr_t)n, ==, round);
        }
    }
    for (int i = 0; i < COUNT; i++)
        rota_coro_free(ring[i]);
}
