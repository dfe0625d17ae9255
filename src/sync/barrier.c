/* Barrier. A round ends in the call of the last to arrive: at once the line is empty and the next
 * round begins, though the released tasks have not run yet. */
#include "sync/sync.h"

static void barrier_abort(struct rota__wait *wait, int reason)
{
    rota_barrier *barrier = (rota_barrier *)wait->object;
    barrier->_waiting--;
    rota__line_leave(wait, reason);
}

static const struct rota__wait_kind barrier_kind = {"barrier", barrier_abort};

int rota_barrier_wait(rota_barrier *barrier)
{
    int err = rota__sync_enter(&barrier->_home, __func__);
    if (err < 0)
        return err;
    if (barrier->_broken)
        return rota__error_plain(ROTA_ECLOSED);
    if (barrier->_waiting + 1 < barrier->_parties) {
        barrier->_waiting++;
        return rota__line_wait(&barrier->_waiters, &barrier_kind, barrier);
    }
    int place = 0;
    for (struct rota__waiter *w; (w = rota__line_take(&barrier->_waiters)); place++)
        rota__wake(&w->wait, place);
    barrier->_waiting = 0;
    return (int)rota__done_at_once(place);
}

static int barrier_dismiss(rota_barrier *barrier, bool broken, const char *call)
{
    int err = rota__home_check(&barrier->_home, call);
    if (err < 0)
        return err;
    barrier->_broken = broken;
    barrier->_waiting = 0;
    rota__line_wake(&barrier->_waiters, ROTA_ECLOSED);
    return 0;
}

int rota_barrier_break(rota_barrier *barrier)
{
    return barrier_dismiss(barrier, true, __func__);
}

int rota_barrier_reset(rota_barrier *barrier)
{
    return barrier_dismiss(barrier, false, __func__);
}

int rota_barrier_waiting(const rota_barrier *barrier)
{
    return barrier->_waiting;
}
