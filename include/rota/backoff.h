/* backoff: pauses between tries of something that may fail for a while.
 *
 * Each pause is about twice as long as the one before, up to a limit, and partly random, so that
 * many clients of a server that was down do not all come back at once.
 *
 *     int fetch(void *page);
 *
 *     static int fetch_patiently(void *page)
 *     {
 *         rota_backoff backoff = {.tries = 5};
 *         for (;;) {
 *             int err = fetch(page);
 *             if (err != -ECONNREFUSED && err != ROTA_EDNS)
 *                 return err;                            // it worked, or will never work
 *             err = rota_backoff_wait(&backoff, err);
 *             if (err < 0)
 *                 return err;                            // the last failure, or -ECANCELED
 *         }
 *     }
 *
 * To limit the whole loop, put a ROTA_TIMEOUT around it. */
#ifndef ROTA_BACKOFF_H
#define ROTA_BACKOFF_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In your storage; needs no release. Zero is the default of each field, so {0} is a backoff. */
typedef struct rota_backoff {
    /* The pause after the first failure. Default: 100 ms. */
    rota_time first;
    /* Limit of each pause. Default: 30 s. */
    rota_time most;
    /* Limit of tries, the first one included. Default: none. */
    unsigned tries;
    /* The next pause is not shorter, even if that is more than `most`: for what a server asks for,
     * such as Retry-After. Applies once. */
    rota_time at_least;
    unsigned _failures;
    uint64_t _random;
} rota_backoff;

/* Waits before the next try; `err`, which is negative, is what the last one failed with.
 *
 * Returns `err` at once, without waiting, if the limit of tries is reached or the pause would not
 * end before the caller's deadline (rota_deadline). The text of that failure is kept (rota_error).
 *
 * Returns 0: try again; `err`: give up; -EINVAL (`err` is not negative), -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_backoff_wait(rota_backoff *backoff, int err);

/* Counts a failure and returns the pause before the next try, for callbacks, which cannot wait.
 * ROTA_NEVER: the limit of tries is reached. A pause is a random time between half and the whole of
 * its step (`first`, doubled for each failure before, at most `most`). */
ROTA_API rota_time rota_backoff_next(rota_backoff *backoff);

/* Forgets the failures, after a success: the next pause is about `first` again. */
ROTA_API void rota_backoff_reset(rota_backoff *backoff);

#ifdef __cplusplus
}
#endif

#endif
