/* Forks and OpenSSL. A worker process of a pool frees the SSL objects and contexts of the program.
 * That is safe only if no other thread was inside OpenSSL at the fork, half-way through a change or
 * with a lock. So before a fork no other thread may enter, and those that are inside are waited
 * for.
 *
 * 1. `inside` is counted in stripes, so that threads do not contend for one cache line.
 * 2. A thread first counts itself, then looks whether another one forks. The thread that forks
 *    first says so, then counts. So one of the two sees the other.
 * 3. A thread that does not leave in time, because a callback of the program waits, is not waited
 *    for. Then the child leaves everything as it is. */
#include "tls/tls.h"

#include <time.h>

enum { STRIPES = 16, PATIENCE = 1000, PAUSE = 100000 /* ns */ };

static struct {
    _Alignas(64) atomic_int inside;
} stripes[STRIPES];

static pthread_mutex_t fork_mutex = PTHREAD_MUTEX_INITIALIZER; /* held over each fork */
static atomic_bool forking;
static bool nobody_inside; /* at the fork of this process */

static __thread int depth; /* of this thread's calls */
static __thread atomic_int *stripe;

static int count_inside(void)
{
    int count = 0;
    for (int i = 0; i < STRIPES; i++)
        count += atomic_load(&stripes[i].inside);
    return count;
}

static void stop_others(void)
{
    static const struct timespec pause = {.tv_nsec = PAUSE};
    int own = depth > 0, left = PATIENCE * 1000000 / PAUSE;
    pthread_mutex_lock(&fork_mutex);
    atomic_store(&forking, true);
    while (count_inside() > own && left-- > 0)
        nanosleep(&pause, NULL);
    nobody_inside = count_inside() == 0;
}

static void continue_others(void)
{
    atomic_store(&forking, false);
    pthread_mutex_unlock(&fork_mutex);
}

/* The other threads are not in the child. */
static void continue_alone(void)
{
    for (int i = 0; i < STRIPES; i++)
        atomic_store(&stripes[i].inside, 0);
    if (depth > 0)
        atomic_store(stripe, 1);
    continue_others();
}

/* What is registered last runs first at a fork. A thread that is inside may need the lock on the
 * list of secrets, so that is taken when all have left. */
static void watch_forks(void)
{
    rota_secret none = {0};
    rota_secret_add(&none);
    rota_secret_remove(&none);
    pthread_atfork(stop_others, continue_others, continue_alone);
}

static atomic_int *choose_stripe(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static atomic_uint next;
    pthread_once(&once, watch_forks);
    return &stripes[atomic_fetch_add(&next, 1) % STRIPES].inside;
}

static void wait_for_fork(void)
{
    atomic_fetch_sub(stripe, 1);
    pthread_mutex_lock(&fork_mutex);
    pthread_mutex_unlock(&fork_mutex);
    atomic_fetch_add(stripe, 1);
}

void rota__tls_enter(void)
{
    if (depth++ > 0)
        return;
    if (!stripe)
        stripe = choose_stripe();
    atomic_fetch_add(stripe, 1);
    while (__builtin_expect(atomic_load(&forking), false))
        wait_for_fork();
}

void rota__tls_leave(const char *unused)
{
    (void)unused;
    if (--depth == 0)
        atomic_fetch_sub(stripe, 1);
}

bool rota__tls_may_free_in_child(void)
{
    return nobody_inside;
}
