#include "base/alloc.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/noexcept.h"

#include <rota/base.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static void *malloc_resize(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    return realloc(ptr, size);
}

static void malloc_release(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static const rota_allocator malloc_allocator = {malloc_resize, malloc_release, NULL};
static rota_allocator allocator = {malloc_resize, malloc_release, NULL};
static atomic_long live;

void rota_allocator_set(const rota_allocator *a)
{
    allocator = a ? *a : malloc_allocator;
}

void *rota_resize(void *ptr, size_t size)
{
    if (rota__fault(ROTA__FAULT_ALLOC))
        return NULL;
    void *p = allocator.resize(allocator.ctx, ptr, size);
    ROTA__NOEXCEPT();
    if (p && !ptr)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return p;
}

void *rota_alloc(size_t size)
{
    return rota_resize(NULL, size);
}

void *rota_zalloc(size_t size)
{
    void *p = rota_alloc(size);
    if (p)
        memset(p, 0, size);
    return p;
}

void *rota__alloc_array(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    return rota_zalloc(bytes ? bytes : 1);
}

void rota_free(void *ptr)
{
    if (!ptr)
        return;
    atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    allocator.release(allocator.ctx, ptr);
    ROTA__NOEXCEPT();
}

void rota_bytes_fini(rota_bytes *bytes)
{
    rota_free(bytes->ptr);
    *bytes = (rota_bytes)ROTA_BYTES_INIT;
}

long rota__alloc_live(void)
{
    return atomic_load_explicit(&live, memory_order_relaxed) - rota__error_held();
}
