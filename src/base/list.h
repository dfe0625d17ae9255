/* An intrusive circular doubly linked list. A node that is in no list points to itself. */
#ifndef ROTA__BASE_LIST_H
#define ROTA__BASE_LIST_H

#include <rota/base.h>

#define rota__container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void rota__list_init(struct rota__list *l)
{
    l->next = l->prev = l;
}

static inline bool rota__list_empty(const struct rota__list *l)
{
    return l->next == l;
}

static inline void rota__list_append(struct rota__list *l, struct rota__list *node)
{
    node->next = l;
    node->prev = l->prev;
    l->prev->next = node;
    l->prev = node;
}

static inline void rota__list_prepend(struct rota__list *l, struct rota__list *node)
{
    rota__list_append(l->next, node);
}

/* Leaves `node` pointing to itself, so it may be removed again. */
static inline void rota__list_remove(struct rota__list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    rota__list_init(node);
}

static inline struct rota__list *rota__list_first(const struct rota__list *l)
{
    return rota__list_empty(l) ? NULL : l->next;
}

/* Takes the first node out of a list that is not empty, and leaves its links as they are: for nodes
 * that are not removed again. */
static inline struct rota__list *rota__list_pop(struct rota__list *l)
{
    struct rota__list *node = l->next;
    l->next = node->next;
    node->next->prev = l;
    return node;
}

/* rota__list_remove for nodes that are not removed again. */
static inline void rota__list_unlink(struct rota__list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
}

static inline struct rota__list *rota__list_take_first(struct rota__list *l)
{
    struct rota__list *node = rota__list_first(l);
    if (node)
        rota__list_remove(node);
    return node;
}

/* Moves all of `from` to the end of `to`. */
static inline void rota__list_splice(struct rota__list *to, struct rota__list *from)
{
    if (rota__list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    rota__list_init(from);
}

/* The body may remove `node` itself, nothing else. */
#define rota__list_each(node, list)                                                         \
    for (struct rota__list *node = (list)->next, *node##_next = node->next; node != (list); \
         node = node##_next, node##_next = node->next)

#endif
