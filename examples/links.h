/* Addresses that stand inside of other texts: in attributes of HTML, and in style sheets. */
#ifndef LINKS_H
#define LINKS_H

#include <stddef.h>

typedef void links_found(void *arg, const char *address);

/* An address as browsers read it (URL Standard, section 4.4): without spaces around it, without
 * tabs and line ends in it, and with "http:page" as "page" where `base` has that scheme, else as
 * "http://page". NULL: no memory. To be freed. */
char *links_read(const char *base, const char *text);

/* The candidates of `srcset` (HTML, section 4.8.4.2.1). */
void links_in_srcset(const char *value, links_found *found, void *arg);

/* Where `<meta http-equiv=refresh content=...>` leads (HTML, section 4.2.5.3), if it names an
 * address. */
void links_in_refresh(const char *content, links_found *found, void *arg);

/* What a style sheet, or a style attribute, imports and loads: `@import` and `url()` (CSS Syntax
 * Level 3). Text in comments and other strings is not a link, and neither are names (`@namespace`)
 * and places in the document itself (`#x`). */
void links_in_css(const char *text, size_t len, links_found *found, void *arg);

#endif
