/* A wheel of 8 levels with 64 slots each, in ticks of 2^20 ns (about a millisecond), and a pairing
 * heap.
 *
 *     far     in slots[l][s]: l is the highest group of 6 bits in which the timer's tick differs
 *             from
 *             timers->tick, s is that group of the timer's tick
 *     near    in the heap: its tick is timers->tick or earlier
 *
 *     idle -> far, near: arm       far -> near: pull, as time passes      far, near -> idle:
 *                                                                         cancel, pop
 *
 * 1. Every timer of a lower level is due before every timer of a higher one; within a level a lower
 *    slot is due before a higher one, and slots up to the current one are empty.
 * 2. slot->earliest is never later than the earliest timer of its slot; a bit in `occupied` is set
 *    exactly while its slot holds a timer.
 * 3. The heap is ordered by (deadline, order), so equal deadlines fire as they were armed.
 *
 * A plain heap would cost a million timers 10 cache misses each; a plain wheel would round. */
#include "loop/timer.h"

#include <string.h>

#define TICK_BITS 20
#define SLOT_BITS 6
#define SLOT_MASK (ROTA__WHEEL_SLOTS - 1)

enum { IDLE, NEAR, FAR };

/* ---- The heap: child is the first child, next the next sibling, prev the previous one or the
 * parent. */

static bool timer_before(const struct rota__timer *a, const struct rota__timer *b)
{
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->order < b->order;
}

static struct rota__timer *heap_merge(struct rota__timer *a, struct rota__timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (timer_before(b, a)) {
        struct rota__timer *swap = a;
        a = b;
        b = swap;
    }
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    b->prev = a;
    a->child = b;
    a->next = NULL;
    a->prev = NULL;
    return a;
}

/* Two passes: pairs from the left, then all of them from the right. */
static struct rota__timer *heap_merge_siblings(struct rota__timer *first)
{
    struct rota__timer *pairs = NULL;
    while (first) {
        struct rota__timer *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        a = heap_merge(a, b);
        a->next = pairs;
        pairs = a;
    }
    struct rota__timer *root = NULL;
    while (pairs) {
        struct rota__timer *next = pairs->next;
        pairs->next = NULL;
        root = heap_merge(root, pairs);
        pairs = next;
    }
    return root;
}

static void heap_insert(struct rota__timers *timers, struct rota__timer *timer)
{
    timer->next = timer->prev = timer->child = NULL;
    timer->where = NEAR;
    timers->heap = heap_merge(timers->heap, timer);
}

static void heap_remove(struct rota__timers *timers, struct rota__timer *timer)
{
    struct rota__timer *rest = heap_merge_siblings(timer->child);
    if (timer == timers->heap) {
        timers->heap = rest;
        return;
    }
    if (timer->prev->child == timer)
        timer->prev->child = timer->next;
    else
        timer->prev->next = timer->next;
    if (timer->next)
        timer->next->prev = timer->prev;
    timers->heap = heap_merge(timers->heap, rest);
}

/* ---- The wheel */

static int64_t tick_of(rota_time time)
{
    return time >> TICK_BITS;
}

static void wheel_insert(struct rota__timers *timers, struct rota__timer *timer)
{
    uint64_t tick = (uint64_t)tick_of(timer->deadline);
    int level = (63 - __builtin_clzll(tick ^ (uint64_t)timers->tick)) / SLOT_BITS;
    int index = (int)(tick >> (level * SLOT_BITS)) & SLOT_MASK;
    struct rota__slot *slot = &timers->slots[level][index];
    if (!slot->first || timer->deadline < slot->earliest)
        slot->earliest = timer->deadline;
    timer->where = FAR + level * ROTA__WHEEL_SLOTS + index;
    timer->prev = NULL;
    timer->next = slot->first;
    if (slot->first)
        slot->first->prev = timer;
    slot->first = timer;
    timers->occupied[level] |= UINT64_C(1) << index;
}

static void wheel_remove(struct rota__timers *timers, struct rota__timer *timer)
{
    int at = timer->where - FAR;
    struct rota__slot *slot = &timers->slots[at / ROTA__WHEEL_SLOTS][at & SLOT_MASK];
    if (timer->prev)
        timer->prev->next = timer->next;
    else
        slot->first = timer->next;
    if (timer->next)
        timer->next->prev = timer->prev;
    if (!slot->first)
        timers->occupied[at / ROTA__WHEEL_SLOTS] &= ~(UINT64_C(1) << (at & SLOT_MASK));
}

/* The first slot that holds a timer, and the tick at which it begins. */
static struct rota__slot *wheel_first(struct rota__timers *timers, int64_t *ret_tick)
{
    for (int level = 0; level < ROTA__WHEEL_LEVELS; level++) {
        if (!timers->occupied[level])
            continue;
        int index = __builtin_ctzll(timers->occupied[level]);
        int shift = level * SLOT_BITS;
        /* The highest level has only some of its bits left in 64. */
        int above = shift + SLOT_BITS;
        int64_t group = above < 63 ? timers->tick >> above << above : 0;
        *ret_tick = group | (int64_t)index << shift;
        return &timers->slots[level][index];
    }
    return NULL;
}

static void place(struct rota__timers *timers, struct rota__timer *timer)
{
    if (tick_of(timer->deadline) <= timers->tick)
        heap_insert(timers, timer);
    else
        wheel_insert(timers, timer);
}

/* Lets time pass until `now`: what comes near goes to the heap. */
static void pull(struct rota__timers *timers, rota_time now)
{
    int64_t until = tick_of(now), start;
    if (until <= timers->tick)
        return;
    for (struct rota__slot *slot; (slot = wheel_first(timers, &start)) && start <= until;) {
        struct rota__timer *timer = slot->first;
        slot->first = NULL;
        int at = timer->where - FAR;
        timers->occupied[at / ROTA__WHEEL_SLOTS] &= ~(UINT64_C(1) << (at & SLOT_MASK));
        timers->tick = start;
        while (timer) {
            struct rota__timer *next = timer->next;
            place(timers, timer);
            timer = next;
        }
    }
    timers->tick = until;
}

void rota__timers_init(struct rota__timers *timers, rota_time now)
{
    memset(timers, 0, sizeof *timers);
    timers->tick = tick_of(now);
}

void rota__timer_arm(struct rota__timers *timers, struct rota__timer *timer)
{
    if (timer->deadline < 0)
        timer->deadline = 0;
    timer->order = timers->order++;
    timers->count++;
    place(timers, timer);
}

void rota__timer_cancel(struct rota__timers *timers, struct rota__timer *timer)
{
    if (timer->where == IDLE)
        return;
    if (timer->where == NEAR)
        heap_remove(timers, timer);
    else
        wheel_remove(timers, timer);
    timer->where = IDLE;
    timers->count--;
}

bool rota__timer_armed(const struct rota__timer *timer)
{
    return timer->where != IDLE;
}

rota_time rota__timers_next(struct rota__timers *timers)
{
    if (timers->heap)
        return timers->heap->deadline;
    int64_t start;
    struct rota__slot *slot = wheel_first(timers, &start);
    return slot ? slot->earliest : ROTA_NEVER;
}

struct rota__timer *rota__timers_pop(struct rota__timers *timers, rota_time now)
{
    pull(timers, now);
    struct rota__timer *timer = timers->heap;
    if (!timer || timer->deadline > now)
        return NULL;
    rota__timer_cancel(timers, timer);
    return timer;
}
