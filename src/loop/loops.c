/* The loops of the program: a pointer to a loop that has gone is told from one to a loop that is there. */
#include "loop/loop.h"

static struct {
    pthread_mutex_t mutex;
    struct rota__list all;
} loops = {PTHREAD_MUTEX_INITIALIZER, {&loops.all, &loops.all}};

static void lock_for_fork(void)
{
    pthread_mutex_lock(&loops.mutex);
}

static void unlock_in_parent(void)
{
    pthread_mutex_unlock(&loops.mutex);
}

/* The loops are the parent's. */
static void forget_in_child(void)
{
    rota__list_init(&loops.all);
    rota__loop_here = NULL;
    pthread_mutex_unlock(&loops.mutex);
}

static void watch_forks(void)
{
    pthread_atfork(lock_for_fork, unlock_in_parent, forget_in_child);
}

void rota__loop_enlist(rota_loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&loops.mutex);
    rota__list_append(&loops.all, &loop->listed);
    pthread_mutex_unlock(&loops.mutex);
}

void rota__loop_delist(rota_loop *loop)
{
    pthread_mutex_lock(&loops.mutex);
    rota__list_remove(&loop->listed);
    pthread_mutex_unlock(&loops.mutex);
}

bool rota__loop_enter(rota_loop *loop)
{
    pthread_mutex_lock(&loops.mutex);
    rota__list_each (node, &loops.all) {
        if (node == &loop->listed)
            return true;
    }
    pthread_mutex_unlock(&loops.mutex);
    return false;
}

void rota__loop_leave(void)
{
    pthread_mutex_unlock(&loops.mutex);
}
