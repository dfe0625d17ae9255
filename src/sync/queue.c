/* Queue and select. What waits at a queue is always a rota_case: a put or a get that suspends is a
 * select over a single case.
 *
 *     put: to the first getter in line, else into the ring, else in line (rota__selection_wait)
 *     get: from the ring, and the first putter in line moves up; else from that putter (capacity
 *     0);
 *          else in line
 *     in line --another task's put, get or close--> decided (case_decide), out of all its lines
 *     in line --cancel--> out of all its lines (selection_abort)
 *
 * Invariants:
 * 1. Getters stand in line only while the ring is empty and no putter does; putters only while it
 *    is full. So a task that finds room or an item overtakes no waiter.
 * 2. A closed queue has no waiters.
 * 3. An item moves in the call that decides the wait, not when the woken task runs: a getter that
 *    is cancelled after that returns with its item, and nothing needs to be handed on.
 *
 * A put wakes a getter, but does not switch to it: the producer goes on and fills the ring, then
 * the consumer empties it, so a ring of 64 costs about two switches for 64 items. */
#include "base/alloc.h"
#include "sync/sync.h"

#include <string.h>

struct rota_queue {
    size_t len, capacity;
    size_t item_size;
    char *read, *write; /* where the first item is, and where the next one goes */
    char *end;
    const void *home;
    bool closed;
    size_t unfinished; /* put, and not reported by rota_queue_task_done */
    struct rota__list getters, putters, joiners;
    _Alignas(max_align_t) char ring[];
};

struct rota__selection {
    struct rota__wait wait;
    rota_case *cases;
    size_t n;
    rota_case *chosen;
};

/* For functions that only waiting needs: put and get themselves then need no stack frame. */
#define NOINLINE __attribute__((noinline))

/* ---- The ring ---- */

/* Most items are a number or a pointer or two: for these a call of memcpy would be most of the
 * work. */
static inline void item_copy(void *to, const void *from, size_t size)
{
    switch (size) {
    case 0:
        return;
    case 4:
        memcpy(to, from, 4);
        return;
    case 8:
        memcpy(to, from, 8);
        return;
    case 16:
        memcpy(to, from, 16);
        return;
    default:
        memcpy(to, from, size);
    }
}

static inline char *ring_after(rota_queue *q, char *slot)
{
    slot += q->item_size;
    return slot == q->end ? q->ring : slot;
}

static inline void ring_push(rota_queue *q, const void *item)
{
    item_copy(q->write, item, q->item_size);
    q->write = ring_after(q, q->write);
    q->len++;
}

static inline void ring_pop(rota_queue *q, void *ret_item)
{
    item_copy(ret_item, q->read, q->item_size);
    q->read = ring_after(q, q->read);
    q->len--;
}

/* ---- Waiters ---- */

static rota_case *line_first(struct rota__list *line)
{
    return rota__container_of(line->next, rota_case, _node);
}

static void selection_unlink(struct rota__selection *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->cases[i].queue)
            rota__list_remove(&s->cases[i]._node);
}

/* The case has been done, or its queue was closed. */
static void case_decide(rota_case *c, int result)
{
    struct rota__selection *s = c->_selection;
    s->chosen = c;
    if (s->n == 1)
        rota__list_remove(&c->_node);
    else
        selection_unlink(s);
    rota__wake(&s->wait, result);
}

static void selection_abort(struct rota__wait *wait, int reason)
{
    struct rota__selection *s = rota__container_of(wait, struct rota__selection, wait);
    selection_unlink(s);
    rota__wake(wait, reason);
}

static const struct rota__wait_kind put_kind = {"queue put", selection_abort};
static const struct rota__wait_kind get_kind = {"queue get", selection_abort};
static const struct rota__wait_kind select_kind = {"select", selection_abort};
static const struct rota__wait_kind join_kind = {"queue join", rota__line_leave};

/* Puts each case in line and waits until one is decided. */
static int selection_wait(struct rota__selection *s, const struct rota__wait_kind *kind,
                          const void *object)
{
    for (size_t i = 0; i < s->n; i++) {
        rota_case *c = &s->cases[i];
        if (!c->queue)
            continue;
        c->_selection = s;
        rota__list_append(c->put ? &c->queue->putters : &c->queue->getters, &c->_node);
    }
    return rota__park(&s->wait, kind, object);
}

/* ---- Put and get ---- */

static NOINLINE void getter_serve(rota_queue *q, const void *item)
{
    rota_case *getter = line_first(&q->getters);
    item_copy(getter->get, item, q->item_size);
    case_decide(getter, 0);
}

static inline int put_now(rota_queue *q, const void *item)
{
    if (q->closed)
        return rota__error_plain(ROTA_ECLOSED);
    if (!rota__list_empty(&q->getters)) {
        getter_serve(q, item);
    } else if (q->len < q->capacity) {
        ring_push(q, item);
    } else {
        return -EAGAIN;
    }
    q->unfinished++;
    return 0;
}

/* Into the ring, in which a get has made room; with a capacity of 0, to the getter itself. */
static NOINLINE void putter_move_up(rota_queue *q, void *ret_item)
{
    rota_case *putter = line_first(&q->putters);
    if (q->capacity)
        ring_push(q, putter->put);
    else
        item_copy(ret_item, putter->put, q->item_size);
    q->unfinished++;
    case_decide(putter, 0);
}

static inline int get_now(rota_queue *q, void *ret_item)
{
    if (q->len) {
        ring_pop(q, ret_item);
        if (!rota__list_empty(&q->putters))
            putter_move_up(q, ret_item);
        return 0;
    }
    if (!rota__list_empty(&q->putters)) {
        putter_move_up(q, ret_item);
        return 0;
    }
    return q->closed ? rota__error_plain(ROTA_ECLOSED) : -EAGAIN;
}

static NOINLINE int put_wait(rota_queue *q, const void *item)
{
    /* Items without a size need no address, but a case without one would be a get. */
    rota_case c = {.queue = q, .put = item ? item : ""};
    struct rota__selection s = {.cases = &c, .n = 1};
    return selection_wait(&s, &put_kind, q);
}

int rota_queue_put(rota_queue *queue, const void *item)
{
    int err = rota__sync_enter(&queue->home, __func__);
    if (err < 0)
        return err;
    err = put_now(queue, item);
    return err == -EAGAIN ? put_wait(queue, item) : (int)rota__done_at_once(err);
}

static NOINLINE int get_wait(rota_queue *q, void *ret_item)
{
    rota_case c = {.queue = q, .get = ret_item};
    struct rota__selection s = {.cases = &c, .n = 1};
    return selection_wait(&s, &get_kind, q);
}

int rota_queue_get(rota_queue *queue, void *ret_item)
{
    int err = rota__sync_enter(&queue->home, __func__);
    if (err < 0)
        return err;
    err = get_now(queue, ret_item);
    return err == -EAGAIN ? get_wait(queue, ret_item) : (int)rota__done_at_once(err);
}

int rota_queue_try_put(rota_queue *queue, const void *item)
{
    int err = rota__home_check(&queue->home, __func__);
    return err < 0 ? err : rota__result_plain(put_now(queue, item));
}

int rota_queue_try_get(rota_queue *queue, void *ret_item)
{
    int err = rota__home_check(&queue->home, __func__);
    return err < 0 ? err : rota__result_plain(get_now(queue, ret_item));
}

/* ---- Select ---- */

/* Where to begin looking. Not the quality of the numbers counts but that no pattern of calls can
 * fall in step with them; each thread draws the same ones, so that a program on the virtual clock
 * repeats. */
static size_t any_below(size_t n)
{
    static __thread uint32_t state = 2463534242;
    if (n < 2)
        return 0;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % n;
}

static int case_do(rota_case *c)
{
    int err = rota__home_check(&c->queue->home, "rota_select");
    if (err < 0)
        return err;
    return c->put ? put_now(c->queue, c->put) : get_now(c->queue, c->get);
}

/* Leaves the error record alone. */
static int try_cases(rota_case *cases, size_t n, size_t *ret_index)
{
    int err = -EINVAL;
    size_t first = any_below(n);
    for (size_t i = 0; i < n; i++) {
        size_t at = i < n - first ? first + i : i - (n - first);
        if (!cases[at].queue)
            continue;
        err = case_do(&cases[at]);
        if (err == -EAGAIN)
            continue;
        if (err != ROTA_ETHREAD)
            *ret_index = at;
        return err;
    }
    return err;
}

int rota_try_select(rota_case *cases, size_t n, size_t *ret_index)
{
    return rota__result_plain(try_cases(cases, n, ret_index));
}

int rota_select(rota_case *cases, size_t n, size_t *ret_index)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    err = try_cases(cases, n, ret_index);
    if (err != -EAGAIN)
        return (int)rota__done_at_once(rota__result_plain(err));
    struct rota__selection s = {.cases = cases, .n = n};
    err = selection_wait(&s, &select_kind, cases);
    if (err == 0 || err == ROTA_ECLOSED)
        *ret_index = (size_t)(s.chosen - cases);
    return err;
}

/* ---- The rest ---- */

int rota_queue_new(size_t capacity, size_t item_size, rota_queue **ret_queue)
{
    size_t bytes;
    if (__builtin_mul_overflow(capacity, item_size, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(rota_queue), &bytes))
        return rota__error_plain(-ENOMEM);
    rota_queue *q = rota_alloc(bytes);
    if (!q)
        return rota__error_plain(-ENOMEM);
    *q = (rota_queue){.capacity = capacity, .item_size = item_size, .home = rota__handle_here};
    q->read = q->write = q->ring;
    q->end = q->ring + capacity * item_size;
    rota__list_init(&q->getters);
    rota__list_init(&q->putters);
    rota__list_init(&q->joiners);
    *ret_queue = q;
    return 0;
}

static void queue_shut(rota_queue *q)
{
    q->closed = true;
    while (!rota__list_empty(&q->putters))
        case_decide(line_first(&q->putters), ROTA_ECLOSED);
    while (!rota__list_empty(&q->getters))
        case_decide(line_first(&q->getters), ROTA_ECLOSED);
}

int rota_queue_close(rota_queue *queue)
{
    int err = rota__home_check(&queue->home, __func__);
    if (err < 0)
        return err;
    queue_shut(queue);
    return 0;
}

rota_queue *rota_queue_free(rota_queue *queue)
{
    if (queue) {
        queue_shut(queue);
        rota__line_wake(&queue->joiners, ROTA_ECLOSED);
        rota_free(queue);
    }
    return NULL;
}

size_t rota_queue_len(const rota_queue *queue)
{
    return queue->len;
}

int rota_queue_join(rota_queue *queue)
{
    int err = rota__sync_enter(&queue->home, __func__);
    if (err < 0)
        return err;
    if (queue->unfinished)
        return rota__line_wait(&queue->joiners, &join_kind, queue);
    return (int)rota__done_at_once(0);
}

int rota_queue_task_done(rota_queue *queue)
{
    int err = rota__home_check(&queue->home, __func__);
    if (err < 0)
        return err;
    if (!queue->unfinished)
        return rota__error_plain(-EINVAL);
    if (--queue->unfinished == 0)
        rota__line_wake(&queue->joiners, 0);
    return 0;
}
