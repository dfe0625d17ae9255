/* Frees an object while another task is inside its closing call, which waits for a third one. */
#ifndef BESIDE_H
#define BESIDE_H

#include "harness.h"

#include <rota.h>

struct beside {
    void *object;
    rota_fn *use; /* is inside when the object is closed */
    rota_fn *close;
    void (*free)(void *object);
    bool outside; /* of a task */
};

static inline void beside_free(rota_handle *handle, void *arg)
{
    const struct beside *b = arg;
    (void)handle;
    b->free(b->object);
}

static inline void free_beside_close(struct beside b)
{
    rota_handle handle = ROTA_HANDLE_INIT;
    ROTA_GROUP(g);
    CHECK_OK(rota_group_spawn(&g, b.use, b.object));
    ROTA_IGNORE(rota_yield());
    CHECK_OK(rota_group_spawn(&g, b.close, b.object));
    ROTA_IGNORE(rota_yield());
    if (b.outside)
        rota_loop_call_soon(rota_loop_current(), &handle, beside_free, &b);
    else
        b.free(b.object);
    CHECK_OK(rota_group_wait(&g));
}

#endif
