/* The limit of the thread pool row: two threads, one queue in each direction, each under its own
 * mutex and condition, a fixed number of jobs under way.
 *
 *     raw_pool OPERATIONS [REPEATS] */
#include "clock.h"

#include <pthread.h>
#include <stdlib.h>

#define WORKERS 2
#define WINDOW 256

struct job {
    uint64_t (*fn)(struct job *job);
    uint64_t result;
};

/* Never holds more than WINDOW jobs, so putting cannot block. */
struct queue {
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct job *jobs[WINDOW];
    unsigned head, tail, waiting;
};

static struct queue todo = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0, 0, 0};
static struct queue done = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {0}, 0, 0, 0};
static struct job jobs[WINDOW];

static void put(struct queue *queue, struct job *job)
{
    pthread_mutex_lock(&queue->mutex);
    queue->jobs[queue->tail++ % WINDOW] = job;
    if (queue->waiting > 0)
        pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->mutex);
}

static struct job *get(struct queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    while (queue->head == queue->tail) {
        queue->waiting++;
        pthread_cond_wait(&queue->filled, &queue->mutex);
        queue->waiting--;
    }
    struct job *job = queue->jobs[queue->head++ % WINDOW];
    pthread_mutex_unlock(&queue->mutex);
    return job;
}

static void *work(void *arg)
{
    (void)arg;
    for (;;) {
        struct job *job = get(&todo);
        job->result = job->fn(job);
        put(&done, job);
    }
    return NULL;
}

static uint64_t one(struct job *job)
{
    (void)job;
    return 1;
}

static void pipeline(uint64_t operations)
{
    uint64_t sum = 0;

    for (uint64_t n = 0; n < operations + WINDOW; n++) {
        struct job *job = n < WINDOW ? &jobs[n] : get(&done);
        if (n >= WINDOW)
            sum += job->result;
        if (n >= operations)
            continue;
        job->fn = one;
        put(&todo, job);
    }
    if (sum != operations) {
        fputs("raw_pool: a job was lost\n", stderr);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    pthread_t thread;

    if (argc < 2) {
        fputs("usage: raw_pool OPERATIONS [REPEATS]\n", stderr);
        return 2;
    }
    for (int i = 0; i < WORKERS; i++)
        if (pthread_create(&thread, NULL, work, NULL) != 0)
            return 1;
    clock_best(pipeline, strtoull(argv[1], NULL, 10), argc > 2 ? atoi(argv[2]) : 5);
    return 0;
}
