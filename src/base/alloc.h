/* Memory of the library. Each allocation is a point where tests make it fail. */
#ifndef ROTA__BASE_ALLOC_H
#define ROTA__BASE_ALLOC_H

#include <stddef.h>

void *rota__alloc(size_t size);
void *rota__zalloc(size_t size);
/* Zeroed; NULL also where count * size overflows. */
void *rota__alloc_array(size_t count, size_t size);
void *rota__resize(void *ptr, size_t size);
/* Accepts NULL. */
void rota__free(void *ptr);

/* Allocations that are not freed yet, in the whole process. */
long rota__alloc_live(void);

#endif
