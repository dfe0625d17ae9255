/* Secrets of the program, which worker processes of a pool do not get.
 *
 * 1. The lock is held over each fork, so the list is whole in the child, and free.
 * 2. What is forgotten is the worker's copy. Its one thread does it before any job runs. */
#include "base/list.h"
#include "exec/exec.h"

#include <pthread.h>
#include <string.h>

static struct {
    pthread_mutex_t mutex;
    struct rota__list all;
} secrets = {PTHREAD_MUTEX_INITIALIZER, {&secrets.all, &secrets.all}};

static void lock_for_fork(void)
{
    pthread_mutex_lock(&secrets.mutex);
}

static void unlock_after_fork(void)
{
    pthread_mutex_unlock(&secrets.mutex);
}

static void watch_forks(void)
{
    pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork);
}

void rota_secret_add(rota_secret *secret)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&secrets.mutex);
    rota__list_append(&secrets.all, &secret->_node);
    pthread_mutex_unlock(&secrets.mutex);
}

void rota_secret_remove(rota_secret *secret)
{
    pthread_mutex_lock(&secrets.mutex);
    if (secret->_node.next) {
        rota__list_remove(&secret->_node);
        secret->_node.next = NULL;
    }
    pthread_mutex_unlock(&secrets.mutex);
}

void rota__secrets_forget(void)
{
    struct rota__list *node;
    while ((node = rota__list_take_first(&secrets.all))) {
        rota_secret *secret = rota__container_of(node, rota_secret, _node);
        if (secret->forget)
            secret->forget(secret);
        if (secret->len)
            explicit_bzero(secret->ptr, secret->len);
    }
}
