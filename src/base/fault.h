/* Injected faults: the k-th allocation fails, the k-th system call fails or is cut short, the
 * running task is cancelled at its k-th suspension. Points count across all threads of the process.
 * Unarmed, a point costs one load of a flag that is never written. */
#ifndef ROTA__BASE_FAULT_H
#define ROTA__BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum rota__fault_kind {
    ROTA__FAULT_ALLOC,
    ROTA__FAULT_SYSCALL,
    ROTA__FAULT_SUSPEND,
    ROTA__FAULT_KINDS
};

extern bool rota__fault_armed;

/* Counts one point of that kind. Returns true if this one has to fail. */
bool rota__fault_hit(enum rota__fault_kind kind);

/* From now on the `nth` point of that kind is hit (the first is 1); 0 counts without hitting. */
void rota__fault_arm(enum rota__fault_kind kind, uint64_t nth);
void rota__fault_disarm(void);
/* Points passed since they were armed. */
uint64_t rota__fault_count(enum rota__fault_kind kind);

static inline bool rota__fault(enum rota__fault_kind kind)
{
    return __builtin_expect(__atomic_load_n(&rota__fault_armed, __ATOMIC_RELAXED), false) &&
           rota__fault_hit(kind);
}

#endif
