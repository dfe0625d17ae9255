/* Handles: what a `rota_loop *` points to, and what outlives the loop.
 *
 *     open     posts of all callers are taken
 *     ending   the loop's tasks have ended: calls of users are refused, the library's own posts are
 *              taken
 *     closed   no post is taken, for ever: rota__handle_close
 *
 * 1. A handle is never freed, and never becomes another loop's. So code that has a pointer to one
 *    may use it on any thread and at any time, and learns that the loop has ended. It costs a cache
 *    line per loop. Handles lie in pages of their own: no allocator misses them, and no leak
 *    checker finds them.
 * 2. A post that was taken runs: `inbox` becomes ROTA__CLOSED in the same step that finds it empty.
 * 3. `posting` counts the threads that may write wake_fd. A thread that finds the inbox closed does
 *    not write, so once it was closed and `posting` was 0, the descriptor may be closed. Late
 *    visitors come and go without being waited for.
 * 4. The child of a fork has no loop: there all handles are closed. */
#include "base/error.h"
#include "base/fault.h"
#include "loop/loop.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define LINE 64

_Static_assert(sizeof(rota_loop) <= LINE, "what stays of a loop is a cache line");

union slot {
    rota_loop handle;
    union slot
        *next; /* of a page's first slot: the page before; of a spare one: the next spare one */
    char line[LINE];
};

static struct {
    pthread_mutex_t mutex;
    union slot *page;  /* the newest */
    size_t used;       /* of the newest */
    union slot *spare; /* were taken for loops that could not be made */
} handles = {.mutex = PTHREAD_MUTEX_INITIALIZER};

#define SLOTS (PAGE / sizeof(union slot))

/* ---- Forks */

static void lock_for_fork(void)
{
    pthread_mutex_lock(&handles.mutex);
}

static void unlock_in_parent(void)
{
    pthread_mutex_unlock(&handles.mutex);
}

static void close_in_child(rota_loop *handle)
{
    if (!atomic_load(&handle->inside))
        return;
    atomic_store(&handle->inside, NULL);
    atomic_store(&handle->inbox, ROTA__CLOSED);
    atomic_store(&handle->asleep, false);
    atomic_store(&handle->ending, true);
    atomic_store(&handle->entered, true);
}

static void forget_in_child(void)
{
    size_t used = handles.used;
    for (union slot *page = handles.page; page; page = page->next) {
        for (size_t i = 1; i < used; i++)
            close_in_child(&page[i].handle);
        used = SLOTS;
    }
    rota__loop_become_here(NULL);
    pthread_mutex_unlock(&handles.mutex);
}

static void watch_forks(void)
{
    pthread_atfork(lock_for_fork, unlock_in_parent, forget_in_child);
}

/* ---- Making */

static bool page_new(void)
{
    void *memory = rota__fault(ROTA__FAULT_ALLOC) ? MAP_FAILED
                                                  : mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    union slot *page = memory;
    page->next = handles.page;
    handles.page = page;
    handles.used = 1;
    return true;
}

static union slot *slot_take(void)
{
    union slot *slot = handles.spare;
    if (slot) {
        handles.spare = slot->next;
        return slot;
    }
    if (handles.page && handles.used < SLOTS)
        return &handles.page[handles.used++];
    return page_new() ? &handles.page[handles.used++] : NULL;
}

rota_loop *rota__handle_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&handles.mutex);
    union slot *slot = slot_take();
    if (slot)
        slot->handle = (rota_loop){.wake_fd = -1};
    pthread_mutex_unlock(&handles.mutex);
    return slot ? &slot->handle : NULL;
}

void rota__handle_unmake(rota_loop *handle)
{
    union slot *slot = rota__container_of(handle, union slot, handle);
    pthread_mutex_lock(&handles.mutex);
    slot->handle = (rota_loop){.wake_fd = -1};
    slot->next = handles.spare;
    handles.spare = slot;
    pthread_mutex_unlock(&handles.mutex);
}

/* ---- Posting */

static void wake_if_asleep(rota_loop *loop)
{
    if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false)) {
        uint64_t one = 1;
        /* Fails only if the counter is full, and then the loop is awake. */
        ssize_t ignored = write(loop->wake_fd, &one, sizeof one);
        (void)ignored;
    }
}

static bool push(rota_loop *loop, struct rota__post *post)
{
    struct rota__post *head = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
    do {
        if (head == ROTA__CLOSED)
            return false;
        post->next = head;
    } while (!atomic_compare_exchange_weak(&loop->inbox, &head, post));
    return true;
}

int rota__loop_post(rota_loop *loop, struct rota__post *post)
{
    if (atomic_load_explicit(&loop->inbox, memory_order_acquire) == ROTA__CLOSED)
        return ROTA_ECLOSED;
    atomic_fetch_add(&loop->posting, 1);
    bool taken = push(loop, post);
    if (taken)
        wake_if_asleep(loop);
    atomic_fetch_sub(&loop->posting, 1);
    return taken ? 0 : ROTA_ECLOSED;
}

int rota__loop_post_from_outside(rota_loop *loop, struct rota__post *post)
{
    int err = atomic_load(&loop->ending) ? ROTA_ECLOSED : rota__loop_post(loop, post);
    return rota__result_plain(err);
}

void rota_loop_hold_threadsafe(rota_loop *loop)
{
    atomic_fetch_add(&loop->holds, 1);
}

void rota_loop_release_threadsafe(rota_loop *loop)
{
    if (atomic_load(&loop->inbox) == ROTA__CLOSED)
        return;
    atomic_fetch_add(&loop->posting, 1);
    atomic_fetch_sub(&loop->holds, 1);
    /* The loop may sleep for this hold alone, and has to look again. */
    atomic_store(&loop->nudged, true);
    wake_if_asleep(loop);
    atomic_fetch_sub(&loop->posting, 1);
}

bool rota__handle_close(rota_loop *handle)
{
    struct rota__post *none = NULL;
    atomic_store(&handle->asleep, false);
    if (!atomic_compare_exchange_strong(&handle->inbox, &none, ROTA__CLOSED))
        return false;
    while (atomic_load(&handle->posting))
        sched_yield();
    atomic_store(&handle->inside, NULL);
    return true;
}
