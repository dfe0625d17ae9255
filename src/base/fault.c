#include "base/fault.h"

#include <stdatomic.h>

bool rota__fault_armed;

static struct {
    bool armed;
    atomic_uint_least64_t passed;
    uint64_t nth;
} points[ROTA__FAULT_KINDS];

void rota__fault_arm(enum rota__fault_kind kind, uint64_t nth)
{
    atomic_store(&points[kind].passed, 0);
    points[kind].nth = nth;
    points[kind].armed = true;
    __atomic_store_n(&rota__fault_armed, true, __ATOMIC_RELAXED);
}

void rota__fault_disarm(void)
{
    __atomic_store_n(&rota__fault_armed, false, __ATOMIC_RELAXED);
    for (int kind = 0; kind < ROTA__FAULT_KINDS; kind++)
        points[kind].armed = false;
}

bool rota__fault_hit(enum rota__fault_kind kind)
{
    if (!points[kind].armed)
        return false;
    uint64_t now = atomic_fetch_add(&points[kind].passed, 1) + 1;
    return now == points[kind].nth;
}

uint64_t rota__fault_count(enum rota__fault_kind kind)
{
    return atomic_load(&points[kind].passed);
}
