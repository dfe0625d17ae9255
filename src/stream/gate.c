#include "stream/gate.h"
#include "base/error.h"

int rota__gate_refuse(const struct rota__gate *gate, const char *call)
{
    if (!rota__gate_is_here(gate))
        return rota__loop_here ? rota__loop_refuse(call) : rota__error_plain(ROTA_ENOTASK);
    return gate->closed ? rota_error_set(ROTA_ECLOSED, "%s: the object is closed", call)
                        : rota_error_set(-EBUSY, "%s: another task is inside such a call", call);
}

/* What the call that leaves has to tell its caller stays. */
static void empty(struct rota__gate *gate)
{
    ROTA_KEEP_ERROR;
    gate->emptied(gate);
}

void rota__gate_left_closed(struct rota__gate *gate)
{
    if (gate->inside)
        return;
    if (gate->closer)
        rota__wake(gate->closer, 0);
    else if (gate->emptied)
        empty(gate);
}

/* Never called: the waits are shielded. */
static void closing_abort(struct rota__wait *wait, int reason)
{
    (void)wait;
    (void)reason;
}

static const struct rota__wait_kind closing = {"close", closing_abort};

/* Waits until somebody wakes the wait that is in `place`. */
static void wait_shielded(struct rota__gate *gate, struct rota__wait **place)
{
    struct rota__wait wait = {0};
    *place = &wait;
    ROTA_SHIELD
    {
        rota__park(&wait, &closing, gate);
    }
    *place = NULL;
}

bool rota__gate_wait(struct rota__gate *gate, void (*emptied)(struct rota__gate *gate))
{
    if (!gate->inside)
        return true;
    if (!rota__task_here()) {
        gate->emptied = emptied;
        return false;
    }
    wait_shielded(gate, &gate->closer);
    return true;
}

void rota__gate_end_closing(struct rota__gate *gate)
{
    gate->closing = false;
    if (gate->freer)
        rota__wake(gate->freer, 0);
    else if (gate->orphaned)
        gate->orphaned(gate);
}

bool rota__gate_wait_to_free(struct rota__gate *gate, void (*emptied)(struct rota__gate *gate))
{
    if (gate->closing && !rota__task_here()) {
        gate->orphaned = emptied;
        return false;
    }
    if (gate->closing)
        wait_shielded(gate, &gate->freer);
    return rota__gate_wait(gate, emptied);
}
