#include "net/race.h"

void rota__race_init(struct rota__race *race)
{
    *race = (struct rota__race){0};
    rota__list_init(&race->pending);
}

void rota__race_interrupt(struct rota__race *race, int err)
{
    struct rota__wait *waiter = race->waiter;
    race->waiter = NULL;
    if (waiter)
        rota__wake(waiter, err);
}

static void racer_finished(struct rota__racer *racer)
{
    racer->finished = true;
    racer->race->news = true;
    rota__race_interrupt(racer->race, 0);
}

static void racer_done(struct rota__op *op)
{
    struct rota__racer *racer = rota__container_of(op, struct rota__racer, op);
    rota__list_remove(&racer->node);
    racer_finished(racer);
}

void rota__race_start(struct rota__race *race, struct rota__racer *racer)
{
    racer->race = race;
    racer->finished = false;
    racer->op.done = racer_done;
    if (rota__op_start(&racer->op))
        racer_finished(racer);
    else
        rota__list_append(&race->pending, &racer->node);
}

void rota__race_abort(struct rota__wait *wait, int reason)
{
    rota__race_interrupt((struct rota__race *)(uintptr_t)wait->object, reason);
}

int rota__race_wait(struct rota__race *race, const struct rota__wait_kind *kind)
{
    int err = rota__suspend_check();
    if (err == 0 && !race->news) {
        struct rota__wait wait = {0};
        race->waiter = &wait;
        err = rota__park(&wait, kind, race);
    }
    race->news = false;
    return err;
}

void rota__race_end(struct rota__race *race, const struct rota__wait_kind *kind)
{
    rota__list_each (node, &race->pending)
        rota__op_withdraw(&rota__container_of(node, struct rota__racer, node)->op);
    ROTA_SHIELD
    {
        while (!rota__list_empty(&race->pending))
            rota__race_wait(race, kind);
    }
    race->news = false;
}
