/* Timers: a hierarchical wheel for distant deadlines, a pairing heap for near ones. Arming and
 * cancelling take constant time for distant timers; due timers come out in the exact order
 * (deadline, arming). */
#ifndef ROTA__LOOP_TIMER_H
#define ROTA__LOOP_TIMER_H

#include <rota/loop.h>

#define ROTA__WHEEL_LEVELS 8
#define ROTA__WHEEL_SLOTS 64

struct rota__timers {
    int64_t tick; /* every timer of this tick or an earlier one is in the heap */
    struct rota__timer *heap;
    size_t count;
    uint64_t order;
    uint64_t occupied[ROTA__WHEEL_LEVELS]; /* a bit a slot */
    struct rota__slot {
        struct rota__timer *first;
        rota_time earliest; /* not later than the earliest in the slot */
    } slots[ROTA__WHEEL_LEVELS][ROTA__WHEEL_SLOTS];
};

void rota__timers_init(struct rota__timers *timers, rota_time now);
/* `timer->fire` and `deadline` are set by the caller; it must not be armed. */
void rota__timer_arm(struct rota__timers *timers, struct rota__timer *timer);
/* Harmless when it is not armed. */
void rota__timer_cancel(struct rota__timers *timers, struct rota__timer *timer);
bool rota__timer_armed(const struct rota__timer *timer);
/* A lower bound of the next deadline that is exact once it has come: waiting for it again and again
 * ends at the timer. ROTA_NEVER when none is armed. */
rota_time rota__timers_next(struct rota__timers *timers);
/* Takes out the first timer that is due at `now`, or NULL. */
struct rota__timer *rota__timers_pop(struct rota__timers *timers, rota_time now);

#endif
