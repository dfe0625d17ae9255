#include "stream/buffer.h"
#include "base/alloc.h"

#include <string.h>

void rota__buffer_fini(struct rota__buffer *b)
{
    rota_free(b->data);
    *b = (struct rota__buffer){0};
}

static bool buffer_resize(struct rota__buffer *b, size_t size)
{
    char *data = rota_resize(b->data, size);
    if (!data)
        return false;
    b->data = data;
    b->size = size;
    return true;
}

bool rota__buffer_reserve(struct rota__buffer *b, size_t more)
{
    size_t count = rota__buffer_count(b);
    size_t need;
    if (__builtin_add_overflow(count, more, &need) || __builtin_add_overflow(need, 1, &need))
        return false;
    if (count == 0 && b->size / 4 > need)
        rota__buffer_fini(b); /* grown by a burst that is over */
    if (b->tail + more < b->size)
        return true;
    if (b->head > 0) {
        memmove(b->data, rota__buffer_front(b), count);
        b->head = 0;
        b->tail = count;
    }
    if (need <= b->size)
        return true;
    size_t doubled = b->size * 2;
    return buffer_resize(b, need > doubled ? need : doubled);
}

bool rota__buffer_append(struct rota__buffer *b, const void *bytes, size_t len)
{
    if (!rota__buffer_reserve(b, len))
        return false;
    memcpy(b->data + b->tail, bytes, len);
    b->tail += len;
    return true;
}

void rota__buffer_take(struct rota__buffer *b, size_t len)
{
    b->head += len;
    if (b->head == b->tail)
        b->head = b->tail = 0;
}

size_t rota__buffer_get(struct rota__buffer *b, void *buf, size_t len)
{
    size_t count = rota__buffer_count(b);
    if (len > count)
        len = count;
    memcpy(buf, rota__buffer_front(b), len);
    rota__buffer_take(b, len);
    return len;
}
