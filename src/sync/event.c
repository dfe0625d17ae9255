#include "sync/sync.h"

static const struct rota__wait_kind event_kind = {"event", rota__line_leave};

int rota_event_wait(rota_event *event)
{
    int err = rota__sync_enter(&event->_home, __func__);
    if (err < 0)
        return err;
    if (!event->_set)
        return rota__line_wait(&event->_waiters, &event_kind, event);
    return (int)rota__done_at_once(0);
}

int rota_event_set(rota_event *event)
{
    int err = rota__home_check(&event->_home, __func__);
    if (err < 0)
        return err;
    event->_set = true;
    rota__line_wake(&event->_waiters, 0);
    return 0;
}

int rota_event_clear(rota_event *event)
{
    int err = rota__home_check(&event->_home, __func__);
    if (err < 0)
        return err;
    event->_set = false;
    return 0;
}

bool rota_event_is_set(const rota_event *event)
{
    return event->_set;
}
