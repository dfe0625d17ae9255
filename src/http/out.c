#include "http/out.h"

#include <errno.h>

char *rota__out_grow(struct rota__out *out, size_t len)
{
    if (out->err < 0)
        return NULL;
    size_t room = out->room ? out->room * 2 : 512;
    while (room - out->len < len)
        room *= 2;
    char *ptr = rota_resize(out->lent ? NULL : out->ptr, room);
    if (!ptr) {
        out->err = -ENOMEM;
        return NULL;
    }
    if (out->lent)
        memcpy(ptr, out->ptr, out->len);
    out->lent = false;
    out->ptr = ptr;
    out->room = room;
    return ptr + out->len;
}

void rota__out_add_number(struct rota__out *out, uint64_t number, unsigned base)
{
    char digits[20];
    char *at = digits + sizeof digits;
    if (base == 16) {
        do
            *--at = "0123456789abcdef"[number % 16];
        while (number /= 16);
    } else { /* by a constant, because a division takes as long as fifty other instructions */
        do
            *--at = (char)('0' + number % 10);
        while (number /= 10);
    }
    rota__out_add(out, at, (size_t)(digits + sizeof digits - at));
}

void rota__out_fini(struct rota__out *out)
{
    if (!out->lent)
        rota_free(out->ptr);
    *out = (struct rota__out){0};
}
