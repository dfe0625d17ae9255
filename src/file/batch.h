/* Many entries of a directory, fetched at once. */
#ifndef ROTA__FILE_BATCH_H
#define ROTA__FILE_BATCH_H

#include <dirent.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rota__batch {
    int fd;         /* of the directory; -1: none */
    size_t at, len; /* what is left */
    bool ended;     /* nothing comes after this batch */
    alignas(struct dirent64) char bytes[32768];
};

/* Opens the directory `name`, as seen from the directory `at`, and fetches the first entries. The
 * last part of a `followed` name may be a symbolic link. Blocks. 0 or an error. */
int rota__batch_open(struct rota__batch *batch, int at, const char *name, bool followed);
/* Fetches the next entries when none is left. Blocks. 0 or an error. */
int rota__batch_fill(struct rota__batch *batch);
/* The next entry, with a known d_type and never "." or ".."; NULL when none is left. */
const struct dirent64 *rota__batch_next(struct rota__batch *batch);
void rota__batch_close(struct rota__batch *batch);

#endif
