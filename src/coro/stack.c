/* Stacks: slabs of address space, and a pool that hands them out.
 *
 * A stack is
 *   fresh     part of a slab, never taken: no guard, no page     -> used: rota__stack_take
 *   used      somebody has it                                    -> warm: rota__stack_give
 *   warm      free, on pool->warm, may hold pages                -> used, or cold: purge_coldest
 *   cold      free, on pool->cold, guarded, holds no page        -> used, or unmapped with its slab
 *
 * Invariants:
 *   1. Taking prefers warm to cold to fresh stacks, and the last one given among the warm.
 *   2. Only pool->growing has fresh stacks; slab->fresh is the index of the next.
 *   3. slab->live counts its used and warm stacks. A slab is unmapped when that falls to 0 by
 *      purging.
 *   4. Each stack that was ever taken is guarded until its slab is unmapped: neither MADV_DONTNEED
 *      nor a reuse removes a guard. */
#include "base/alloc.h"
#include "base/sys.h"
#include "coro/coro.h"
#include "coro/watch.h"

#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum {
    SLAB_STACKS = 64,
    SLAB_BYTES = 16 << 20,
    COLOURS = 16,
    COLOUR_BYTES = 64,
    SMALLEST_STACK = 16 << 10,
    GUARD_MAX = 64 << 10,
    KEPT_WARM = 16,      /* this many free stacks never decay: a small program is left alone */
    PURGES_A_CALL = 128, /* about a third of a millisecond */
};

#define DECAY_PERIOD ROTA_SECOND
#define PURGE_PAUSE ROTA_MILLISECOND

struct rota__slab {
    struct rota__list node;
    char *base;
    size_t stride, guard;
    unsigned count, fresh, live;
    struct rota__stack stacks[];
};

enum rota__guard rota__guard;

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

int rota__stack_pool_init(struct rota__stack_pool *pool, size_t stack_size)
{
    if (stack_size > SIZE_MAX / 2 / SLAB_STACKS)
        return -EINVAL;
    size_t page = page_size();
    size_t size = stack_size ? stack_size : ROTA__STACK_SIZE;
    if (size < SMALLEST_STACK)
        size = SMALLEST_STACK;
    if (size < 4 * page)
        size = 4 * page;
    size = round_up(size, page);
    size_t guard = size / 4 / page * page;
    *pool = (struct rota__stack_pool){
        .stride = size,
        .guard = guard < GUARD_MAX ? guard : round_up(GUARD_MAX, page),
        .mark = KEPT_WARM,
        .on_valgrind = watch_by_valgrind(),
    };
    rota__list_init(&pool->warm);
    rota__list_init(&pool->cold);
    rota__list_init(&pool->slabs);
    return 0;
}

static size_t slab_size(const struct rota__slab *slab)
{
    return slab->stride * slab->count;
}

static struct rota__slab *slab_new(struct rota__stack_pool *pool)
{
    size_t fitting = SLAB_BYTES / pool->stride;
    unsigned count = fitting > SLAB_STACKS ? SLAB_STACKS : fitting ? (unsigned)fitting : 1;
    struct rota__slab *slab = rota_alloc(sizeof *slab + count * sizeof slab->stacks[0]);
    if (!slab)
        return NULL;
    *slab = (struct rota__slab){.stride = pool->stride, .guard = pool->guard, .count = count};
    void *base = rota__fault(ROTA__FAULT_SYSCALL)
                     ? MAP_FAILED
                     : mmap(NULL, slab_size(slab), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base == MAP_FAILED) {
        rota_free(slab);
        return NULL;
    }
    /* A huge page would commit eight stacks when one is used. It does not matter if a kernel
     * without huge pages refuses this. */
    madvise(base, slab_size(slab), MADV_NOHUGEPAGE);
    slab->base = base;
    watch_slab(pool, base, slab_size(slab));
    rota__list_append(&pool->slabs, &slab->node);
    return slab;
}

static int slab_unmap(struct rota__stack_pool *pool, struct rota__slab *slab)
{
    int err = (int)rota__sys(ENOMEM, munmap(slab->base, slab_size(slab)));
    if (err < 0)
        return err;
    rota__list_remove(&slab->node);
    if (pool->growing == slab)
        pool->growing = NULL;
    rota_free(slab);
    return 0;
}

void rota__stack_pool_fini(struct rota__stack_pool *pool)
{
    rota__list_each (node, &pool->slabs) {
        struct rota__slab *slab = rota__container_of(node, struct rota__slab, node);
        munmap(slab->base, slab_size(slab));
        rota_free(slab);
    }
    rota__list_init(&pool->slabs);
}

/* An advice that the kernel does not know may be ignored instead of refused (qemu does so), so the
 * first guard is tested. */
static bool guard_holds(char *guard)
{
    return madvise(guard, page_size(), MADV_POPULATE_READ) < 0 && errno != EINVAL;
}

static int guard_install(char *guard, size_t size)
{
    enum rota__guard kind = __atomic_load_n(&rota__guard, __ATOMIC_RELAXED);
    if (kind != ROTA__GUARD_MPROTECT) {
        int err = (int)rota__sys(ENOMEM, madvise(guard, size, MADV_GUARD_INSTALL));
        if (err == 0 && (kind == ROTA__GUARD_MADVISE || guard_holds(guard))) {
            __atomic_store_n(&rota__guard, ROTA__GUARD_MADVISE, __ATOMIC_RELAXED);
            return 0;
        }
        /* EINVAL: unknown before Linux 6.13, and refused in memory that mlockall(2) has locked. */
        if (err < 0 && err != -EINVAL)
            return err;
        __atomic_store_n(&rota__guard, ROTA__GUARD_MPROTECT, __ATOMIC_RELAXED);
    }
    return (int)rota__sys(ENOMEM, mprotect(guard, size, PROT_NONE));
}

/* Guards are installed one by one as stacks are first taken, so that a program pays for those it
 * uses. */
static struct rota__stack *take_fresh(struct rota__stack_pool *pool)
{
    if (!pool->growing)
        pool->growing = slab_new(pool);
    struct rota__slab *slab = pool->growing;
    if (!slab)
        return NULL;
    char *base = slab->base + slab->fresh * pool->stride;
    if (guard_install(base, pool->guard) < 0)
        return NULL;
    /* All tops at the same offset in a page would share one cache set. */
    size_t colour = slab->fresh % COLOURS * COLOUR_BYTES;
    struct rota__stack *stack = &slab->stacks[slab->fresh++];
    *stack = (struct rota__stack){
        .top = base + pool->stride - colour,
        .slab = slab,
    };
    if (slab->fresh == slab->count)
        pool->growing = NULL;
    slab->live++;
    return stack;
}

/* Apart, so that taking a warm one saves no registers. */
static __attribute__((noinline)) struct rota__stack *
take_cold_or_fresh(struct rota__stack_pool *pool)
{
    if (rota__list_empty(&pool->cold))
        return take_fresh(pool);
    struct rota__stack *stack =
        rota__container_of(rota__list_pop(&pool->cold), struct rota__stack, node);
    stack->slab->live++;
    return stack;
}

struct rota__stack *rota__stack_take(struct rota__stack_pool *pool)
{
    struct rota__stack *stack;
    if (__builtin_expect(pool->warm_count != 0, true)) {
        stack = rota__container_of(rota__list_pop(&pool->warm), struct rota__stack, node);
        pool->warm_count--;
    } else {
        stack = take_cold_or_fresh(pool);
        if (!stack)
            return NULL;
    }
    if (++pool->used > pool->peak)
        pool->peak = pool->used;
    watch_stack_taken(pool, stack);
    return stack;
}

void rota__stack_give(struct rota__stack_pool *pool, struct rota__stack *stack)
{
    watch_stack_given(pool, stack);
    pool->used--;
    pool->warm_count++;
    rota__list_prepend(&pool->warm, &stack->node);
}

/* The slab's stacks are all cold or fresh. Where the kernel refuses (unmapping from the middle
 * takes one more mapping) they stay as they are, good for use. */
static void slab_drop(struct rota__stack_pool *pool, struct rota__slab *slab)
{
    for (unsigned i = 0; i < slab->fresh; i++)
        rota__list_remove(&slab->stacks[i].node);
    if (slab_unmap(pool, slab) < 0)
        for (unsigned i = 0; i < slab->fresh; i++)
            rota__list_prepend(&pool->cold, &slab->stacks[i].node);
}

static void purge_coldest(struct rota__stack_pool *pool)
{
    struct rota__stack *stack = rota__container_of(pool->warm.prev, struct rota__stack, node);
    struct rota__slab *slab = stack->slab;
    /* Fails for locked memory only, which then stays. */
    madvise(rota__stack_low(stack), pool->stride - pool->guard, MADV_DONTNEED);
    rota__list_remove(&stack->node);
    rota__list_prepend(&pool->cold, &stack->node);
    pool->warm_count--;
    if (--slab->live == 0)
        slab_drop(pool, slab);
}

/* Not inlined: what counts is how far this call reaches. What it calls itself has room to stand. */
__attribute__((noinline)) void rota__stack_trim(const struct rota__stack *stack)
{
    const size_t room = 1024;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0) - room;
    char *low = rota__stack_low(stack);
    uintptr_t end = here / page_size() * page_size();
    if (end > (uintptr_t)low)
        madvise(low, end - (uintptr_t)low, MADV_DONTNEED);
}

void rota__stack_extent(const struct rota__stack *stack, char **ret_guard, size_t *ret_stride)
{
    const struct rota__slab *slab = stack->slab;
    *ret_guard = slab->base + (size_t)(stack - slab->stacks) * slab->stride;
    *ret_stride = slab->stride;
}

char *rota__stack_low(const struct rota__stack *stack)
{
    const struct rota__slab *slab = stack->slab;
    return slab->base + (size_t)(stack - slab->stacks) * slab->stride + slab->guard;
}

static void decay(struct rota__stack_pool *pool, rota_time now)
{
    size_t floor = pool->peak > KEPT_WARM ? pool->peak : KEPT_WARM;
    pool->mark = pool->mark > floor ? floor + (pool->mark - floor) / 2 : floor;
    pool->peak = pool->used;
    pool->decays_at = now + DECAY_PERIOD;
}

rota_time rota__stack_pool_trim(struct rota__stack_pool *pool, rota_time now)
{
    if (pool->mark < pool->peak)
        pool->mark = pool->peak;
    if (now >= pool->decays_at)
        decay(pool, now);
    int purged = 0;
    while (pool->warm_count > 0 && pool->used + pool->warm_count > pool->mark) {
        if (purged++ == PURGES_A_CALL)
            return now + PURGE_PAUSE;
        purge_coldest(pool);
    }
    bool settled = pool->warm_count == 0 || pool->used + pool->warm_count <= KEPT_WARM;
    return settled ? ROTA_NEVER : pool->decays_at;
}
