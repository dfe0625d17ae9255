/* Memory of the library. Each allocation is a point where tests make it fail. */
#ifndef ROTA__BASE_ALLOC_H
#define ROTA__BASE_ALLOC_H

#include <rota/base.h>

/* Zeroed; NULL also where count * size overflows. */
void *rota__alloc_array(size_t count, size_t size);

/* Allocations that are not freed yet, in the whole process; without the calling thread's error
 * record. */
long rota__alloc_live(void);

#endif
