/* Directories that are served, inside. */
#ifndef ROTA__HTTP_ROOT_H
#define ROTA__HTTP_ROOT_H

#include "http/out.h"

#include <rota/http_server.h>

#include <sys/stat.h>

struct rota_http_root {
    int fd;
    /* NULL: none. */
    char *index;
    bool list, hidden, precompressed;
    rota_time cache;
};

/* Opens `name` below the root for reading. Returns a descriptor or an error of openat2(2). A thread
 * does it if it may block. Suspends. */
int rota__root_open(const rota_http_root *root, const char *name);

/* Looks at what rota__root_open would open, which has neither to be readable nor a file. Blocks.
 * Returns 0 or an error. */
int rota__root_stat(const rota_http_root *root, const char *name, struct stat *ret_st);

/* Writes a page that lists the directory that stands at `name` below the root, "" or with a slash
 * at its end, and is open as `fd`, which it closes; `path` is what the client asked for. Suspends.
 * Returns 0 or an error. */
int rota__listing_write(struct rota__out *out, const rota_http_root *root, const char *name, int fd,
                        rota_str path);

/* Returns "text/html; charset=utf-8", by the name's ending, or NULL. */
const char *rota__type_of(const char *name);

#endif
