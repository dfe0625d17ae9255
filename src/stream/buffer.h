/* Bytes between `head` and `tail`, in memory that exists only while it is needed. One byte behind
 * `tail` is always there, for a NUL. */
#ifndef ROTA__STREAM_BUFFER_H
#define ROTA__STREAM_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct rota__buffer {
    char *data;
    size_t size, head, tail;
};

static inline size_t rota__buffer_count(const struct rota__buffer *b)
{
    return b->tail - b->head;
}

static inline char *rota__buffer_front(const struct rota__buffer *b)
{
    return b->head ? b->data + b->head : b->data;
}

/* Makes room for `more` bytes at the tail. Moves what is there, so that borrowers lose it. */
bool rota__buffer_reserve(struct rota__buffer *b, size_t more);
bool rota__buffer_append(struct rota__buffer *b, const void *bytes, size_t len);
/* Drops `len` bytes at the front; the memory stays as it is until the next reserve. */
void rota__buffer_take(struct rota__buffer *b, size_t len);
/* Copies at most `len` bytes out and drops them. Returns how many. */
size_t rota__buffer_get(struct rota__buffer *b, void *buf, size_t len);
void rota__buffer_fini(struct rota__buffer *b);

#endif
