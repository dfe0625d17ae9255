/* Who is inside an object, so that closing it can wait until the last call has left.
 *
 *     open -> closed, somebody inside -> closed, empty
 *
 * 1. Each bit of `inside` is one call; a second one for the same bit is refused with -EBUSY.
 * 2. Nobody enters a closed gate, and the last to leave it touches the object no more. */
#ifndef ROTA__STREAM_GATE_H
#define ROTA__STREAM_GATE_H

#include "task/task.h"

struct rota__gate {
    unsigned char inside;
    bool closed;
    struct rota__wait *closer;
    void (*emptied)(struct rota__gate *gate); /* what the last one calls where nobody can wait */
};

static inline int rota__gate_enter(struct rota__gate *gate, unsigned char who)
{
    if (__builtin_expect(gate->closed || (gate->inside & who), false))
        return gate->closed ? ROTA_ECLOSED : -EBUSY;
    gate->inside |= who;
    return 0;
}

void rota__gate_left_closed(struct rota__gate *gate);

static inline void rota__gate_leave(struct rota__gate *gate, unsigned char who)
{
    gate->inside &= (unsigned char)~who;
    if (__builtin_expect(gate->closed, false))
        rota__gate_left_closed(gate);
}

/* Waits until a closed gate is empty. Shields itself. False outside a task, where it cannot wait:
 * if somebody is inside, the last one to leave will call `emptied`. */
bool rota__gate_wait(struct rota__gate *gate, void (*emptied)(struct rota__gate *gate));

#endif
