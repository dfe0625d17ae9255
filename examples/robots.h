/* robots.txt by RFC 9309: which paths of a site a crawler may fetch. */
#ifndef ROBOTS_H
#define ROBOTS_H

#include <stdbool.h>
#include <stddef.h>

struct robots;

/* Reads the rules for a crawler with that product token. NULL without memory. */
struct robots *robots_parse(const char *text, size_t len, const char *agent);

/* Whether a path with its query may be fetched. Without rules everything may. */
bool robots_allow(const struct robots *robots, const char *path);

void robots_free(struct robots *robots);

#endif
