/* The pool that file calls go to. It is not the loop's default pool, so long jobs of the program do
 * not hold up its files, and it may have more threads than there are processors: they wait for
 * devices. A file system whose server is gone keeps its threads for long: then there are more for
 * the others. */
#include "base/alloc.h"
#include "file/file.h"

#define THREADS 16
#define EXTRA_THREADS 112

struct file_pool {
    struct rota__annex annex;
    rota_executor *executor;
};

static const char pool_type;

static void pool_close(struct rota__annex *annex)
{
    struct file_pool *pool = rota__container_of(annex, struct file_pool, annex);
    rota_executor_free(pool->executor);
    rota_free(pool);
}

static int pool_make(struct file_pool **ret_pool)
{
    struct file_pool *pool = rota_zalloc(sizeof *pool);
    if (!pool)
        return -ENOMEM;
    rota_thread_pool_options options = {.threads = THREADS, .extra_threads = EXTRA_THREADS};
    int err = rota_thread_pool_new(&options, &pool->executor);
    if (err < 0) {
        rota_free(pool);
        return err;
    }
    pool->annex.type = &pool_type;
    pool->annex.close = pool_close;
    rota__loop_annex_add(rota__loop_here, &pool->annex);
    *ret_pool = pool;
    return 0;
}

int rota__file_hop(rota_fn *fn, void *arg, const struct rota__file_wait *wait)
{
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    struct rota__annex *annex = rota__loop_annex(rota__loop_here, &pool_type);
    struct file_pool *pool = annex ? rota__container_of(annex, struct file_pool, annex) : NULL;
    if (!pool)
        err = pool_make(&pool);
    return err < 0 ? err : rota__executor_run(pool->executor, fn, arg, &wait->job);
}
