/* Channels: a ring without locks, and a line of waiters at each end under a lock.
 *
 * The ring (after Vyukov's bounded queue). Positions count up for ever; position p belongs to cell
 * p mod capacity in round p / capacity. A cell's turn is 2r when it is to be filled in round r, 2r
 * + 1 when it is to be emptied:
 *
 *     push: claim position `tail` while its cell's turn is 2r, copy in, turn = 2r + 1
 *     pop:  claim position `head` while its cell's turn is 2r + 1, copy out, turn = 2r + 2
 *
 * The line. A call that finds no room or no item gets in line under the lock and looks once more. A
 * call that has pushed or popped looks at the length of the other line, and serves it under the
 * lock if it is not empty:
 *
 *     serve: while one more is possible: pop for the first receiver in line, push for the first
 *     sender;
 *            when closed: send away all senders, and the receivers once nothing is left
 *
 * 1. No waiter is overlooked: it has counted itself in the line before its last look at the ring,
 *    and the other side has changed the cell's turn before it looks at the count. Both are seq_cst.
 * 2. An item moves in the call that decides the wait, into or out of the waiter's own storage. A
 *    waiter that is cancelled after that returns with it; nothing is lost, and nothing to be handed
 *    on.
 * 3. While a line is not empty, newcomers get in line behind.
 * 4. A waiter is decided under the lock by taking it out of the line, and not touched once it is
 *    woken.
 * 5. Closing sets a bit of `tail`, so no position is claimed after it. A channel is at its end when
 *    it is closed and head has come up to tail: a position that is claimed but not yet filled still
 *    counts. */
#include "base/alloc.h"
#include "task/task.h"

#include <rota/channel.h>

#include <semaphore.h>
#include <string.h>

#define CACHE_LINE 64
#define CLOSED ((size_t)1 << (sizeof(size_t) * 8 - 1))

struct cell {
    atomic_size_t turn;
    char item[];
};

struct line {
    _Alignas(CACHE_LINE)
        atomic_size_t length; /* read when pushing and popping; changed under the lock */
    struct rota__list waiters;
};

struct rota_sender {
    atomic_size_t refs;
};

struct rota_receiver {
    atomic_size_t refs;
};

struct channel {
    size_t mask;
    unsigned shift; /* capacity is 1 << shift */
    size_t item_size, stride;
    char *cells;
    void *memory; /* what to free */
    _Alignas(CACHE_LINE) atomic_size_t tail;
    _Alignas(CACHE_LINE) atomic_size_t head;
    struct line senders, receivers;
    _Alignas(CACHE_LINE) pthread_mutex_t lock;
    rota_sender sender;
    rota_receiver receiver;
    atomic_int ends; /* with references */
};

/* A task or a thread in line, in its own storage. */
struct waiter {
    struct rota__list node;
    struct channel *channel;
    struct line *line;
    const void *item; /* to send */
    void *slot;       /* to receive into */
    int result;
    struct rota__loop *loop; /* NULL: a thread that blocks */
    struct rota__post post;
    struct rota__wait wait;
    sem_t woken;
};

static struct channel *channel_of_sender(rota_sender *sender)
{
    return rota__container_of(sender, struct channel, sender);
}

static struct channel *channel_of_receiver(rota_receiver *receiver)
{
    return rota__container_of(receiver, struct channel, receiver);
}

/* ---- The ring */

static inline struct cell *cell_at(const struct channel *c, size_t position)
{
    return (struct cell *)(void *)(c->cells + (position & c->mask) * c->stride);
}

static inline size_t turn_to_fill(const struct channel *c, size_t position)
{
    return (position >> c->shift) * 2;
}

static inline void item_copy(void *to, const void *from, size_t size)
{
    if (size == 8)
        memcpy(to, from, 8);
    else if (size)
        memcpy(to, from, size);
}

/* 0, -EAGAIN (full) or ROTA_ECLOSED. */
static inline int push(struct channel *c, const void *item)
{
    size_t tail = atomic_load_explicit(&c->tail, memory_order_relaxed);
    for (;;) {
        if (tail & CLOSED)
            return ROTA_ECLOSED;
        struct cell *cell = cell_at(c, tail);
        size_t fill = turn_to_fill(c, tail), turn = atomic_load(&cell->turn);
        if (turn == fill) {
            if (!atomic_compare_exchange_weak(&c->tail, &tail, tail + 1))
                continue;
            item_copy(cell->item, item, c->item_size);
            atomic_store(&cell->turn, fill + 1);
            return 0;
        }
        size_t now = atomic_load(&c->tail);
        if (now == tail)
            return -EAGAIN;
        tail = now;
    }
}

/* 0 or -EAGAIN (empty). */
static inline int pop(struct channel *c, void *ret_item)
{
    size_t head = atomic_load_explicit(&c->head, memory_order_relaxed);
    for (;;) {
        struct cell *cell = cell_at(c, head);
        size_t full = turn_to_fill(c, head) + 1, turn = atomic_load(&cell->turn);
        if (turn == full) {
            if (!atomic_compare_exchange_weak(&c->head, &head, head + 1))
                continue;
            item_copy(ret_item, cell->item, c->item_size);
            atomic_store(&cell->turn, full + 1);
            return 0;
        }
        size_t now = atomic_load(&c->head);
        if (now == head)
            return -EAGAIN;
        head = now;
    }
}

static bool closed(const struct channel *c)
{
    return atomic_load(&c->tail) & CLOSED;
}

static bool at_end(const struct channel *c)
{
    size_t tail = atomic_load(&c->tail);
    return (tail & CLOSED) && (tail & ~CLOSED) == atomic_load(&c->head);
}

/* ---- The lines; all under the lock */

static void line_init(struct line *line)
{
    atomic_init(&line->length, 0);
    rota__list_init(&line->waiters);
}

static bool line_empty(const struct line *line)
{
    return atomic_load(&line->length) == 0;
}

static void line_enter(struct waiter *w)
{
    rota__list_append(&w->line->waiters, &w->node);
    atomic_fetch_add(&w->line->length, 1);
}

static void line_leave(struct waiter *w)
{
    rota__list_remove(&w->node);
    atomic_fetch_sub(&w->line->length, 1);
}

static struct waiter *line_first(const struct line *line)
{
    struct rota__list *node = rota__list_first(&line->waiters);
    return node ? rota__container_of(node, struct waiter, node) : NULL;
}

/* The waiter may be gone when this returns. */
static void waiter_decide(struct waiter *w, int result)
{
    line_leave(w);
    w->result = result;
    if (w->loop)
        rota__loop_post(w->loop->handle, &w->post);
    else
        sem_post(&w->woken);
}

static bool serve_receiver(struct channel *c)
{
    struct waiter *w = line_first(&c->receivers);
    if (!w || pop(c, w->slot) < 0)
        return false;
    waiter_decide(w, 0);
    return true;
}

static bool serve_sender(struct channel *c)
{
    struct waiter *w = line_first(&c->senders);
    int result = w ? push(c, w->item) : -EAGAIN;
    if (result == -EAGAIN)
        return false;
    waiter_decide(w, result);
    return true;
}

static void serve_locked(struct channel *c)
{
    while (serve_receiver(c) || serve_sender(c))
        continue;
    if (at_end(c))
        for (struct waiter *w; (w = line_first(&c->receivers));)
            waiter_decide(w, ROTA_ECLOSED);
}

static __attribute__((noinline)) void serve(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    serve_locked(c);
    pthread_mutex_unlock(&c->lock);
}

/* ---- Waiting */

static void waiter_run(struct rota__post *post, struct rota__loop *loop)
{
    (void)loop;
    struct waiter *w = rota__container_of(post, struct waiter, post);
    rota__wake(&w->wait, w->result);
}

/* A waiter that is out of the line already has a post on its way. */
static void waiter_abort(struct rota__wait *wait, int reason)
{
    struct waiter *w = rota__container_of(wait, struct waiter, wait);
    pthread_mutex_lock(&w->channel->lock);
    bool in_line = !rota__list_empty(&w->node);
    if (in_line)
        line_leave(w);
    pthread_mutex_unlock(&w->channel->lock);
    if (in_line)
        rota__wake(wait, reason);
}

static const struct rota__wait_kind sending = {"channel send", waiter_abort};
static const struct rota__wait_kind receiving = {"channel receive", waiter_abort};

static int wait_as_task(struct waiter *w)
{
    w->loop->far_waits++;
    int result = rota__park(&w->wait, w->slot ? &receiving : &sending, w->channel);
    w->loop->far_waits--;
    return result;
}

static int wait_as_thread(struct waiter *w)
{
    while (sem_wait(&w->woken) < 0)
        continue;
    return rota__result_plain(w->result);
}

/* Gets in line, is served at once if that is possible, and waits otherwise. */
static int wait_in_line(struct waiter *w)
{
    w->loop = rota__loop_here;
    w->post.run = waiter_run;
    w->wait.decided = false;
    if (!w->loop)
        sem_init(&w->woken, 0, 0);
    pthread_mutex_lock(&w->channel->lock);
    line_enter(w);
    serve_locked(w->channel);
    pthread_mutex_unlock(&w->channel->lock);
    if (w->loop)
        return wait_as_task(w);
    int result = wait_as_thread(w);
    sem_destroy(&w->woken);
    return result;
}

/* What goes on without waiting counts against the task's budget, so that others get their turn. */
static inline int gone_on(int result)
{
    struct rota__fiber *here = rota__fiber_here();
    if (here && --here->budget <= 0)
        rota__yield(here);
    return rota__result_plain(result);
}

/* ---- Sending and receiving */

static inline int send_now(struct channel *c, const void *item)
{
    if (!line_empty(&c->senders))
        return closed(c) ? ROTA_ECLOSED : -EAGAIN;
    int err = push(c, item);
    if (err == 0 && !line_empty(&c->receivers))
        serve(c);
    return err;
}

static inline int receive_now(struct channel *c, void *ret_item)
{
    int err = line_empty(&c->receivers) ? pop(c, ret_item) : -EAGAIN;
    if (err == 0 && !line_empty(&c->senders))
        serve(c);
    return err == -EAGAIN && at_end(c) ? ROTA_ECLOSED : err;
}

static inline int suspend_check(void)
{
    return rota__loop_here ? rota__suspend_check() : 0;
}

int rota_channel_try_send(rota_sender *sender, const void *item)
{
    return rota__result_plain(send_now(channel_of_sender(sender), item));
}

int rota_channel_try_receive(rota_receiver *receiver, void *ret_item)
{
    return rota__result_plain(receive_now(channel_of_receiver(receiver), ret_item));
}

static __attribute__((noinline)) int send_wait(struct channel *c, const void *item)
{
    return wait_in_line(&(struct waiter){.channel = c, .line = &c->senders, .item = item});
}

int rota_channel_send(rota_sender *sender, const void *item)
{
    int err = suspend_check();
    if (err < 0)
        return err;
    struct channel *c = channel_of_sender(sender);
    err = send_now(c, item);
    return err == -EAGAIN ? send_wait(c, item) : gone_on(err);
}

static __attribute__((noinline)) int receive_wait(struct channel *c, void *slot)
{
    return wait_in_line(&(struct waiter){.channel = c, .line = &c->receivers, .slot = slot});
}

int rota_channel_receive(rota_receiver *receiver, void *ret_item)
{
    int err = suspend_check();
    if (err < 0)
        return err;
    struct channel *c = channel_of_receiver(receiver);
    err = receive_now(c, ret_item);
    return err == -EAGAIN ? receive_wait(c, ret_item) : gone_on(err);
}

/* ---- Making, closing, freeing */

static bool size_of(size_t capacity, size_t item_size, size_t *ret_stride, size_t *ret_bytes)
{
    size_t stride, bytes;
    if (__builtin_add_overflow(item_size, sizeof(struct cell) + _Alignof(struct cell) - 1, &stride))
        return false;
    stride -= stride % _Alignof(struct cell);
    if (__builtin_mul_overflow(capacity, stride, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct channel) + CACHE_LINE, &bytes))
        return false;
    *ret_stride = stride;
    *ret_bytes = bytes;
    return true;
}

static void *align(void *memory)
{
    return (void *)(((uintptr_t)memory + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
}

int rota_channel_new(size_t capacity, size_t item_size, rota_sender **ret_sender,
                     rota_receiver **ret_receiver)
{
    unsigned shift = 0;
    size_t stride, bytes;
    if (capacity == 0)
        return rota_error_set(-EINVAL, "make a channel: its capacity is 0");
    while (shift < sizeof(size_t) * 8 - 2 && ((size_t)1 << shift) < capacity)
        shift++;
    if (((size_t)1 << shift) < capacity || !size_of((size_t)1 << shift, item_size, &stride, &bytes))
        return rota__error_plain(-ENOMEM);
    void *memory = rota_zalloc(bytes);
    if (!memory)
        return rota__error_plain(-ENOMEM);
    struct channel *c = align(memory);
    c->memory = memory;
    c->cells = (char *)(c + 1);
    c->shift = shift;
    c->mask = ((size_t)1 << shift) - 1;
    c->item_size = item_size;
    c->stride = stride;
    line_init(&c->senders);
    line_init(&c->receivers);
    pthread_mutex_init(&c->lock, NULL);
    atomic_init(&c->sender.refs, 1);
    atomic_init(&c->receiver.refs, 1);
    atomic_init(&c->ends, 2);
    *ret_sender = &c->sender;
    *ret_receiver = &c->receiver;
    return 0;
}

static void channel_close(struct channel *c)
{
    pthread_mutex_lock(&c->lock);
    atomic_fetch_or(&c->tail, CLOSED);
    serve_locked(c);
    pthread_mutex_unlock(&c->lock);
}

void rota_channel_close(rota_sender *sender)
{
    channel_close(channel_of_sender(sender));
}

static void end_gone(struct channel *c)
{
    channel_close(c);
    if (atomic_fetch_sub(&c->ends, 1) > 1)
        return;
    pthread_mutex_destroy(&c->lock);
    rota_free(c->memory);
}

rota_sender *rota_sender_ref(rota_sender *sender)
{
    atomic_fetch_add(&sender->refs, 1);
    return sender;
}

rota_receiver *rota_receiver_ref(rota_receiver *receiver)
{
    atomic_fetch_add(&receiver->refs, 1);
    return receiver;
}

rota_sender *rota_sender_unref(rota_sender *sender)
{
    if (sender && atomic_fetch_sub(&sender->refs, 1) == 1)
        end_gone(channel_of_sender(sender));
    return NULL;
}

rota_receiver *rota_receiver_unref(rota_receiver *receiver)
{
    if (receiver && atomic_fetch_sub(&receiver->refs, 1) == 1)
        end_gone(channel_of_receiver(receiver));
    return NULL;
}
