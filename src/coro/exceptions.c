/* Finds the C++ runtime.
 *
 * One that the program is linked with is found when this library is loaded, by a weak reference.
 * One that comes later, with a plug-in or an extension module, is attached by the header
 * <rota/coro.h>, from a constructor of each source file in C++; that file's destructor detaches it,
 * because dlclose may unload the runtime as well.
 *
 * 1. At most one runtime is attached: `attached` counts by how many. Others are reported.
 * 2. Destructors that run because the process ends detach nothing: other threads go on until the
 *    last moment. */
#include "base/log.h"
#include "coro/coro.h"

#include <rota/coro.h>

#include <pthread.h>
#include <stdlib.h>

extern void *__cxa_get_globals(void) __attribute__((weak));

unsigned rota__exceptions_runtime;
__thread struct rota__exceptions_here rota__exceptions_here;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *(*accessor)(void);
static unsigned attached, last_runtime;
static bool exiting;

static void begin_exit(void)
{
    pthread_mutex_lock(&lock);
    exiting = true;
    pthread_mutex_unlock(&lock);
}

void rota__exceptions_ask(void)
{
    static __thread struct rota__exceptions none;
    unsigned runtime = __atomic_load_n(&rota__exceptions_runtime, __ATOMIC_RELAXED);
    if (runtime == rota__exceptions_here.runtime && rota__exceptions_here.state)
        return;
    pthread_mutex_lock(&lock);
    rota__exceptions_here.state = accessor ? accessor() : &none;
    rota__exceptions_here.runtime = rota__exceptions_runtime;
    pthread_mutex_unlock(&lock);
}

int rota__coro_switch_asking(struct rota__coro *to, int value)
{
    rota__exceptions_ask();
    return rota__coro_switch(to, value);
}

static void set_runtime(void *(*get_globals)(void))
{
    accessor = get_globals;
    __atomic_store_n(&rota__exceptions_runtime, get_globals ? ++last_runtime : 0, __ATOMIC_RELAXED);
}

void rota_coro_attach_exceptions(void *(*get_globals)(void))
{
    static bool watching_exit;
    if (!get_globals)
        return;
    pthread_mutex_lock(&lock);
    bool other = attached && accessor != get_globals;
    if (!watching_exit)
        watching_exit = atexit(begin_exit) == 0;
    if (!attached)
        set_runtime(get_globals);
    attached += !other;
    pthread_mutex_unlock(&lock);
    if (other)
        rota_log(ROTA_LOG_WARNING, "a second C++ runtime is in this program; tasks must not wait "
                                   "while they handle its exceptions");
}

void rota_coro_detach_exceptions(void *(*get_globals)(void))
{
    pthread_mutex_lock(&lock);
    if (!exiting && attached && accessor == get_globals && --attached == 0)
        set_runtime(NULL);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void attach_linked(void)
{
    rota_coro_attach_exceptions(__cxa_get_globals);
}
