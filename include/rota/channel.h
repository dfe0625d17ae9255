/* channel: a bounded queue between loops and threads.
 *
 * It has two ends: a sender and a receiver. Each may be used by any number of tasks, loops and
 * plain threads at once. An end is shared by references: whoever uses it for longer than somebody
 * else surely keeps it takes one of its own. When the last reference to the senders is gone,
 * receivers get what is left and then ROTA_ECLOSED; when the last one to the receivers is gone,
 * senders get ROTA_ECLOSED at once. So nobody waits for somebody who has left.
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
 * Order. Items come out in the order in which they went in. The tasks of a loop that wait at one
 * end are served first come, first served.
 *
 * Cost. Sending and receiving take no lock and make no system call while there is room and there
 * are items; a loop that sleeps is woken once, however many items are sent until it comes to look.
 *
 * Deadlocks. Somebody on another thread may always come to send or to receive, so a loop in which a
 * task waits at a channel waits, too, and does not report a deadlock. A task that only receives
 * gives away its sender, or it waits for itself. Within one loop use rota_queue. */
#ifndef ROTA_CHANNEL_H
#define ROTA_CHANNEL_H

#include <rota/task.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rota_sender rota_sender;
typedef struct rota_receiver rota_receiver;

/* Makes a channel for `capacity` items (rounded up to a power of two) of `item_size` bytes, which
 * are copied in and out, and one reference to each end. May be called on any thread.
 *
 * Returns 0, -EINVAL (no capacity) or -ENOMEM. */
ROTA_API int rota_channel_new(size_t capacity, size_t item_size, rota_sender **ret_sender,
                              rota_receiver **ret_receiver);

/* Another reference to the same end. Returns its argument. */
ROTA_API rota_sender *rota_sender_ref(rota_sender *sender);
ROTA_API rota_receiver *rota_receiver_ref(rota_receiver *receiver);

/* Gives a reference back. What nobody has received when the receivers are gone is dropped. Both
 * accept NULL and return NULL; what ROTA_AUTO(rota_sender) and ROTA_AUTO(rota_receiver) call. */
ROTA_API rota_sender *rota_sender_unref(rota_sender *sender);
ROTA_API rota_receiver *rota_receiver_unref(rota_receiver *receiver);
ROTA_DEFINE_AUTO(rota_sender, rota_sender_unref);
ROTA_DEFINE_AUTO(rota_receiver, rota_receiver_unref);

/* Puts a copy of `item` at the end. While there is no room, a task is suspended, and a thread
 * without a loop is blocked.
 *
 * When it returns an error, the item was not sent: ROTA_ECLOSED, -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK (in a callback of a loop). */
ROTA_SUSPENDS int rota_channel_send(rota_sender *sender, const void *item);

/* Takes the first item. While there is none, a task is suspended, and a thread without a loop is
 * blocked. Returns 0; ROTA_ECLOSED (closed, and all items have been taken), -ECANCELED, -ETIMEDOUT,
 * ROTA_ENOTASK. */
ROTA_SUSPENDS int rota_channel_receive(rota_receiver *receiver, void *ret_item);

/* Send and receive without waiting: -EAGAIN where they would have to. May be called anywhere. */
ROTA_API int rota_channel_try_send(rota_sender *sender, const void *item);
ROTA_API int rota_channel_try_receive(rota_receiver *receiver, void *ret_item);

/* No more items, from nobody: sends, also those that wait, return ROTA_ECLOSED; receives go on
 * until the channel is empty. Closing it twice does no harm. The reference stays. */
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
