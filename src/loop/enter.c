/* Which thread has a loop.
 *
 *     nobody's --rota_loop_enter--> a thread's --rota_loop_leave--> nobody's
 *
 * 1. `entered` decides between threads: the thread that has set it may look at what is inside.
 * 2. Tasks stay with the thread that started them: while some are left only that thread may enter.
 * 3. While a loop is nobody's, the kernel does nothing for it in the name of the thread that
 * left. */
#include "loop/loop.h"

#include "base/error.h"
#include "base/log.h"

uint64_t rota__thread_serial(void)
{
    static atomic_uint_fast64_t threads;
    static __thread uint64_t mine;
    if (!mine)
        mine = atomic_fetch_add(&threads, 1) + 1;
    return mine;
}

void rota__loop_become_here(struct rota__loop *loop)
{
    rota__loop_here = loop;
    rota__handle_here = loop ? loop->handle : NULL;
}

static int take_over(struct rota__loop *loop)
{
    uint64_t here = rota__thread_serial();
    if (atomic_load(&loop->handle->thread) != here && !rota__list_empty(&loop->tasks))
        return -EBUSY;
    int err = loop->backend->enter ? loop->backend->enter(loop) : 0;
    if (err < 0)
        return err;
    atomic_store(&loop->handle->thread, here);
    rota__stall_watch_enter(loop);
    rota__loop_become_here(loop);
    return 0;
}

int rota_loop_enter(rota_loop *handle)
{
    bool nobodys = false;
    if (rota__handle_here)
        return rota__handle_here == handle ? 0 : rota__error_plain(-EBUSY);
    if (!atomic_compare_exchange_strong(&handle->entered, &nobodys, true))
        return rota__error_plain(atomic_load(&handle->ending) ? ROTA_ECLOSED : -EBUSY);
    int err = take_over(atomic_load(&handle->inside));
    if (err < 0)
        atomic_store(&handle->entered, false);
    return rota__result_plain(err);
}

int rota_loop_leave(rota_loop *handle)
{
    struct rota__loop *loop = rota__loop_mine(handle, "rota_loop_leave");
    if (!loop)
        return ROTA_ETHREAD;
    if (loop->in_run || loop->ending)
        return rota__error_plain(-EBUSY);
    int err = loop->backend->leave ? loop->backend->leave(loop) : 0;
    if (err < 0)
        return rota__error_plain(err);
    rota__stall_watch_leave(loop);
    rota__loop_become_here(NULL);
    atomic_store(&handle->entered, false);
    return 0;
}

struct rota__loop *rota__loop_borrow(rota_loop *handle, struct rota__loop **ret_before)
{
    *ret_before = rota__loop_here;
    if (rota__handle_here == handle)
        return rota__loop_here;
    rota__loop_become_here(NULL);
    int err = rota_loop_enter(handle);
    if (err == 0)
        return rota__loop_here;
    rota__loop_become_here(*ret_before);
    rota_log(ROTA_LOG_ERROR, "rota_loop_free did nothing: %s",
             err == -EBUSY ? "another thread has the loop, or started its tasks"
                           : rota_strerror(err));
    return NULL;
}
