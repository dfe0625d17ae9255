/* Counts the calls inside an object, so that closing it can wait until the last one has left.
 *
 *     open -> closed, somebody inside -> closed, empty
 *
 * 1. Each bit of `inside` is one call; a second one for the same bit is refused with -EBUSY.
 * 2. A closed gate cannot be entered, and the last to leave it no longer touches the object.
 * 3. Tasks of other loops than the object's do not enter.
 * 4. An object may be freed while another task is inside its closing call: freeing waits for that,
 *    or, outside a task, leaves it to the closing call. */
#ifndef ROTA__STREAM_GATE_H
#define ROTA__STREAM_GATE_H

#include "task/task.h"

struct rota__gate {
    struct rota__loop *loop;
    uint64_t serial; /* the loop's: a later one may have the same address */
    unsigned char inside;
    bool closed;
    bool closing; /* a task is inside the closing call */
    struct rota__wait *closer, *freer;
    /* called by the last one to leave if the closing call could not wait */
    void (*emptied)(struct rota__gate *gate);
    /* called at the end of the closing call if the freeing call could not wait for it */
    void (*orphaned)(struct rota__gate *gate);
};

/* The object belongs to this thread's loop, which there must be when it is used. */
static inline void rota__gate_init(struct rota__gate *gate)
{
    struct rota__loop *here = rota__loop_here;
    *gate = (struct rota__gate){.loop = here, .serial = here ? here->serial : 0};
}

/* Whether this thread's loop is the object's. */
static inline bool rota__gate_is_here(const struct rota__gate *gate)
{
    return rota__loop_here && rota__loop_here->serial == gate->serial;
}

/* An object that outlived its loop may be closed in a thread without a loop. */
static inline bool rota__gate_is_foreign(const struct rota__gate *gate)
{
    return rota__loop_here && !rota__gate_is_here(gate);
}

/* The error of a call that may not enter. */
int rota__gate_refuse(const struct rota__gate *gate, const char *call);

#define rota__gate_enter(gate, who) rota__gate_enter_for(gate, who, __func__)

static inline int rota__gate_enter_for(struct rota__gate *gate, unsigned char who, const char *call)
{
    bool refused = !rota__gate_is_here(gate) || gate->closed || (gate->inside & who);
    if (__builtin_expect(refused, false))
        return rota__gate_refuse(gate, call);
    gate->inside |= who;
    return 0;
}

#define rota__gate_close(gate) rota__gate_close_for(gate, __func__)

/* Closes the gate. Returns 1 (rota__gate_end_closing is due), 0 if it was closed before, or
 * ROTA_ETHREAD. */
static inline int rota__gate_close_for(struct rota__gate *gate, const char *call)
{
    if (gate->closed)
        return 0;
    if (rota__gate_is_foreign(gate))
        return rota__loop_refuse(call);
    gate->closed = gate->closing = true;
    return 1;
}

void rota__gate_left_closed(struct rota__gate *gate);

static inline void rota__gate_leave(struct rota__gate *gate, unsigned char who)
{
    gate->inside &= (unsigned char)~who;
    if (__builtin_expect(gate->closed, false))
        rota__gate_left_closed(gate);
}

/* Whether the object goes at once when the calls inside have left. What they would lend to their
 * callers would go with it. */
static inline bool rota__gate_is_doomed(const struct rota__gate *gate)
{
    return gate->emptied;
}

/* Waits until a closed gate is empty. Shields itself. False outside a task, where it cannot wait:
 * if a call is inside, the last one to leave will call `emptied`. */
bool rota__gate_wait(struct rota__gate *gate, void (*emptied)(struct rota__gate *gate));
/* The closing call ends. The object may be gone afterwards. */
void rota__gate_end_closing(struct rota__gate *gate);
/* Waits until a closed gate is empty and its closing call has ended. Shields itself. False outside
 * a task, where it cannot wait: then `emptied` is called when that is so. */
bool rota__gate_wait_to_free(struct rota__gate *gate, void (*emptied)(struct rota__gate *gate));

#endif
