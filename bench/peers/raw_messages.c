/* The limit of the message row: two threads and a bounded ring under one mutex, with a condition
 * for each side, of which only one that is waited for is signalled.
 *
 *     raw_messages OPERATIONS [REPEATS] */
#include "clock.h"

#include <pthread.h>
#include <stdlib.h>

#define CAPACITY 1024

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER, emptied = PTHREAD_COND_INITIALIZER;
static uint64_t ring[CAPACITY];
static uint64_t head, tail;
static int receiver_waits, sender_waits;

static void send_message(uint64_t message)
{
    pthread_mutex_lock(&mutex);
    while (tail - head == CAPACITY) {
        sender_waits = 1;
        pthread_cond_wait(&emptied, &mutex);
        sender_waits = 0;
    }
    ring[tail++ % CAPACITY] = message;
    int wake = receiver_waits;
    pthread_mutex_unlock(&mutex);
    if (wake)
        pthread_cond_signal(&filled);
}

static uint64_t receive_message(void)
{
    pthread_mutex_lock(&mutex);
    while (tail == head) {
        receiver_waits = 1;
        pthread_cond_wait(&filled, &mutex);
        receiver_waits = 0;
    }
    uint64_t message = ring[head++ % CAPACITY];
    int wake = sender_waits;
    pthread_mutex_unlock(&mutex);
    if (wake)
        pthread_cond_signal(&emptied);
    return message;
}

static void *send_all(void *arg)
{
    uint64_t *operations = arg;

    for (uint64_t n = 0; n < *operations; n++)
        send_message(n);
    return NULL;
}

static void pipeline(uint64_t operations)
{
    pthread_t sender;

    if (pthread_create(&sender, NULL, send_all, &operations) != 0)
        exit(1);
    for (uint64_t n = 0; n < operations; n++)
        if (receive_message() != n) {
            fputs("raw_messages: a message was lost\n", stderr);
            exit(1);
        }
    pthread_join(sender, NULL);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: raw_messages OPERATIONS [REPEATS]\n", stderr);
        return 2;
    }
    clock_best(pipeline, strtoull(argv[1], NULL, 10), argc > 2 ? atoi(argv[2]) : 5);
    return 0;
}
