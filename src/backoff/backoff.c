#include "task/task.h"

#include <rota/backoff.h>

#include <sys/random.h>

#define DEFAULT_FIRST (100 * ROTA_MILLISECOND)
#define DEFAULT_MOST (30 * ROTA_SECOND)

/* splitmix64, begun anywhere: enough to spread clients. */
static uint64_t next_random(uint64_t *state)
{
    if (!*state && getrandom(state, sizeof *state, GRND_NONBLOCK) < 0)
        *state = (uint64_t)rota_now() ^ (uintptr_t)state;
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* first * 2^(failures - 1), at most `most`. */
static rota_time step_of(const rota_backoff *b)
{
    rota_time step = b->first > 0 ? b->first : DEFAULT_FIRST;
    rota_time most = b->most > 0 ? b->most : DEFAULT_MOST;
    for (unsigned i = 1; i < b->_failures && step < most; i++)
        step = step > most / 2 ? most : step * 2;
    return step < most ? step : most;
}

rota_time rota_backoff_next(rota_backoff *b)
{
    if (b->_failures < UINT32_MAX)
        b->_failures++;
    rota_time at_least = b->at_least;
    b->at_least = 0;
    if (b->tries && b->_failures >= b->tries)
        return ROTA_NEVER;
    rota_time half = step_of(b) / 2;
    rota_time pause = half + (rota_time)(next_random(&b->_random) % ((uint64_t)half + 1));
    return pause > at_least ? pause : at_least;
}

int rota_backoff_wait(rota_backoff *b, int err)
{
    rota_check(); /* a deadline may have passed since the loop last looked */
    int interrupt = rota__suspend_check();
    if (interrupt < 0)
        return interrupt;
    if (err >= 0)
        return rota_error_set(-EINVAL, "wait before the next try: %d is not an error code", err);
    rota_time pause = rota_backoff_next(b);
    rota_time deadline = rota_deadline();
    if (pause == ROTA_NEVER || (deadline != ROTA_NEVER && pause >= deadline - rota_now()))
        return err;
    return rota_sleep(pause);
}

void rota_backoff_reset(rota_backoff *b)
{
    b->_failures = 0;
    b->at_least = 0;
}
