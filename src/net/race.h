/* One task waiting for the first of several operations.
 *
 * 1. The task waits in rota__race_wait only; operations go on between its calls.
 * 2. Operations may be released only after rota__race_end. */
#ifndef ROTA__NET_RACE_H
#define ROTA__NET_RACE_H

#include "base/list.h"
#include "task/task.h"

struct rota__race {
    struct rota__list pending; /* operations under way */
    struct rota__wait *waiter;
    bool news; /* something finished since the last wait */
};

struct rota__racer {
    struct rota__op op;
    struct rota__list node;
    struct rota__race *race;
    bool finished; /* op.result is set; cleared when it is looked at */
};

void rota__race_init(struct rota__race *race);
/* `racer->op` is filled except for `done`. */
void rota__race_start(struct rota__race *race, struct rota__racer *racer);
/* Waits until something has finished since the last wait. Returns 0, or why the task was
 * interrupted; an interrupt by rota__race_abort, which is the `abort` that `kind` has. */
int rota__race_wait(struct rota__race *race, const struct rota__wait_kind *kind);
void rota__race_abort(struct rota__wait *wait, int reason);
/* Makes the wait under way end with `err`. */
void rota__race_interrupt(struct rota__race *race, int err);
/* Withdraws what is pending and waits for it. Shields itself. */
void rota__race_end(struct rota__race *race, const struct rota__wait_kind *kind);

#endif
