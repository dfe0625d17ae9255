/* What a crawler knows of a site: its pages, the links between them, and what is wrong with
 * them. */
#ifndef CRAWL_SITE_H
#define CRAWL_SITE_H

#include <rota/base.h>

#include <string.h>

/* An address of the site, without fragment. */
struct page {
    char *url;             /* first, as in all that is kept in trees */
    void *anchors;         /* a tree of struct anchor: what a fragment may name */
    struct link *redirect; /* only where it redirects inside of the site */
    char *problem;         /* why a link to it is broken */
    bool done, is_html, is_cut;
};

/* An address with its fragment, and the pages that link to it. */
struct link {
    char *url;
    struct page *to; /* NULL: not a valid address */
    char *fragment;  /* decoded; NULL: none */
    char *raw;       /* the same as it was written */
    void *pages;     /* a tree of struct page */
};

/* Begins with an address in normal form. What is found is freed by the end of the program. Each
 * page that is new is given to `found`, with what follows the host in its address. */
void site_open(const char *url, void (*found)(struct page *page, const char *path));

/* Finds the link to an address that stands in `base`, and remembers that `from` has it (unless it
 * is NULL). NULL: it leads to another site. */
struct link *site_add_link(struct page *from, const char *base, const char *text);
void site_add_anchor(struct page *page, const char *name);
void site_add_problem(struct page *page, const char *why);

struct site_counts {
    size_t links, broken, outside;
};

/* Prints each link that is broken, with the pages that have it: all, or a few of them. */
struct site_counts site_report(bool all_pages);

static inline rota_str str_of(const char *text)
{
    return (rota_str){text, strlen(text)};
}

/* Memory, or the end of the program. */
void *must(void *memory);

#endif
