/* channel: a bounded queue between loops and threads.
 *
 * A channel has two ends: a sender and a receiver. Any number of tasks, loops and plain threads may
 * use each end at once. Ends are reference-counted: take a reference (rota_sender_ref,
 * rota_receiver_ref) for each user that may outlive the reference it was given. When the last
 * reference to the sender is dropped, receivers get the remaining items and then ROTA_ECLOSED. When
 * the last reference to the receiver is dropped, senders get ROTA_ECLOSED at once. So no call waits
 * for a side that is gone.
 *
 *     static void *produce(void *arg)                  // a plain thread
 *     {
 *         ROTA_AUTO(rota_sender) tx = arg;
 *         for (int i = 0; i < 1000; i++)
 *             if (rota_channel_send(tx, &i) < 0) // blocks the thread while the channel is full
 *                 break;
 *         return NULL;
 *     }
 *
 *     static int consume(void *arg)                    // a task
 *     {
 *         ROTA_AUTO(rota_receiver) rx = NULL;
 *         rota_sender *tx;
 *         int err = rota_channel_new(64, sizeof(int), &tx, &rx);
 *         if (err < 0)
 *             return err;
 *         pthread_t thread;
 *         if (pthread_create(&thread, NULL, produce, tx) != 0) {
 *             rota_sender_unref(tx);
 *             return -EAGAIN;
 *         }
 *         pthread_detach(thread);
 *         int n, *sum = arg;
 *         while ((err = rota_channel_receive(rx, &n)) == 0)  // suspends the task while it is empty
 *             *sum += n;
 *         return err == ROTA_ECLOSED ? 0 : err;
 *     }
 *
 * Order. Items come out in the order in which they went in. Tasks of one loop that wait at the same
 * end are served first come, first served.
 *
 * Cost. While there is room and there are items, sending and receiving take no lock and make no
 * system call. A sleeping loop whose task waits at the other end is woken by one system call,
 * however many items are sent before it runs.
 *
 * Deadlocks. Another thread may always come to send or to receive. So a loop with a task that waits
 * at a channel goes on waiting, and does not report a deadlock. A task that only receives should
 * drop its reference to the sender; otherwise the channel never closes. Within one loop use
 * rota_queue. */
#ifndef ROTA_CHANNEL_H
#define ROTA_CHANNEL_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_sender rota_sender;
typedef struct rota_receiver rota_receiver;

/* Makes a channel for `capacity` items (rounded up to a power of two) of `item_size` bytes each,
 * and returns one reference to each end. Items are copied in and out. May be called on any thread.
 *
 * Returns 0, -EINVAL (`capacity` is 0) or -ENOMEM. */
ROTA_API int rota_channel_new(size_t capacity, size_t item_size, rota_sender **ret_sender,
                              rota_receiver **ret_receiver);

/* Takes another reference to the same end. Returns its argument. */
ROTA_API rota_sender *rota_sender_ref(rota_sender *sender);
ROTA_API rota_receiver *rota_receiver_ref(rota_receiver *receiver);

/* Drops a reference. Items still in the channel when the last receiver reference is dropped are
 * discarded. Both accept NULL and return NULL. ROTA_AUTO(rota_sender) and ROTA_AUTO(rota_receiver)
 * call them. */
ROTA_API rota_sender *rota_sender_unref(rota_sender *sender);
ROTA_API rota_receiver *rota_receiver_unref(rota_receiver *receiver);
ROTA_DEFINE_AUTO(rota_sender, rota_sender_unref);
ROTA_DEFINE_AUTO(rota_receiver, rota_receiver_unref);

/* Appends a copy of `item`. While the channel is full, a task is suspended, and a thread without a
 * loop is blocked.
 *
 * Returns 0, ROTA_ECLOSED, -ECANCELED, -ETIMEDOUT, or ROTA_ENOTASK (called in a callback of a
 * loop). After an error the item was not sent. */
ROTA_SUSPENDS int rota_channel_send(rota_sender *sender, const void *item);

/* Takes the first item. While the channel is empty, a task is suspended, and a thread without a
 * loop is blocked.
 *
 * Returns 0, ROTA_ECLOSED (the channel is closed and empty), -ECANCELED, -ETIMEDOUT, ROTA_ENOTASK
 * (called in a callback of a loop). */
ROTA_SUSPENDS int rota_channel_receive(rota_receiver *receiver, void *ret_item);

/* Send or receive without waiting. Return -EAGAIN where the waiting call would wait, and
 * ROTA_ECLOSED as it does. May be called anywhere. */
ROTA_API int rota_channel_try_send(rota_sender *sender, const void *item);
ROTA_API int rota_channel_try_receive(rota_receiver *receiver, void *ret_item);

/* Closes the channel for all senders. Further sends, and sends that are waiting, return
 * ROTA_ECLOSED; receives go on until the channel is empty. Closing again does nothing. The
 * reference stays yours. */
ROTA_API void rota_channel_close(rota_sender *sender);

struct rota__channel_reader {
    rota_receiver *receiver;
    void *slot;
};

static inline int rota__channel_next(void *reader, void **ret_item)
{
    struct rota__channel_reader *r = (struct rota__channel_reader *)reader;
    int err = rota_channel_receive(r->receiver, r->slot);
    if (err < 0)
        return err == ROTA_ECLOSED ? 0 : err;
    *ret_item = r->slot;
    return 1;
}

/* Iterates over the items until the channel is closed and empty, as rota_queue_iter does over a
 * queue. */
#ifdef __cplusplus
#define rota_channel_iter(receiver, slot) (rota__channel_iter{{(receiver), (slot)}})

struct rota__channel_iter {
    struct rota__channel_reader reader;
    operator rota_iter()
    {
        return {rota__channel_next, &reader};
    }
};
#else
#define rota_channel_iter(receiver, slot) \
    ((rota_iter){rota__channel_next, &(struct rota__channel_reader){(receiver), (slot)}})
#endif

#ifdef __cplusplus
}
#endif

#endif
