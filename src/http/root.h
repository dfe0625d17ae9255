/* Directories that are served, inside. */
#ifndef ROTA__HTTP_ROOT_H
#define ROTA__HTTP_ROOT_H

#include "http/out.h"

#include <rota/http_server.h>

struct rota_http_root {
    int fd;
    char *index; /* NULL: none */
    bool list, hidden, precompressed;
    rota_time cache;
};

/* Opens what stands at `name` below the root, for reading: 0 or more, or an error of openat2(2). Where a disk has to
 * be waited for, a thread does. Suspends. */
int rota__root_open(const rota_http_root *root, const char *name);

/* Writes a page that lists the directory, which it closes; `path` is what the client asked for. Suspends. Returns 0 or an
 * error. */
int rota__listing_write(struct rota__out *out, int directory, rota_str path, bool hidden);

/* "text/html; charset=utf-8", by the name's ending; NULL: nobody knows. */
const char *rota__type_of(const char *name);

#endif
