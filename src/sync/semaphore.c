/* Semaphore. A permit that is released while somebody waits goes to the first in line and is never
 * counted as free; so with somebody in line, the count is 0. */
#include "sync/sync.h"

static const struct rota__wait_kind semaphore_kind = {"semaphore", rota__line_leave};

int rota_semaphore_acquire(rota_semaphore *semaphore)
{
    int err = rota__sync_enter(&semaphore->_home, __func__);
    if (err < 0)
        return err;
    if (!semaphore->_value)
        return rota__line_wait(&semaphore->_waiters, &semaphore_kind, semaphore);
    semaphore->_value--;
    return (int)rota__done_at_once(0);
}

int rota_semaphore_try_acquire(rota_semaphore *semaphore)
{
    int err = rota__home_check(&semaphore->_home, __func__);
    if (err < 0)
        return err;
    if (!semaphore->_value)
        return rota__error_plain(-EAGAIN);
    semaphore->_value--;
    return 0;
}

int rota_semaphore_release(rota_semaphore *semaphore)
{
    int err = rota__home_check(&semaphore->_home, __func__);
    if (err < 0)
        return err;
    struct rota__waiter *w = rota__line_take(&semaphore->_waiters);
    if (w)
        rota__wake(&w->wait, 0);
    else
        semaphore->_value++;
    return 0;
}

size_t rota_semaphore_value(const rota_semaphore *semaphore)
{
    return semaphore->_value;
}
