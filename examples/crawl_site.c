#include "crawl_site.h"
#include "links.h"

#include <rota/url.h>

#include <err.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIRECTS_MOST 10
#define PAGES_SHOWN 3

static struct {
    rota_url origin;
    void (*found)(struct page *page, const char *path);
    void *pages, *links; /* trees */
    size_t outside;
} site;

struct anchor {
    char *name;
};

void *must(void *memory)
{
    if (!memory)
        err(2, NULL);
    return memory;
}

void site_open(const char *url, void (*found)(struct page *page, const char *path))
{
    site.found = found;
    rota_url_parse(str_of(url), &site.origin);
}

/* ---- Trees of search.h, whose elements begin with a text */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Puts an element into a tree, or frees it where its like is there already. Returns the one that is
 * there. */
static void *put(void **tree, void *element)
{
    void *known = *(void **)must(tsearch(element, tree, by_text));
    if (known != element) {
        free(*(char **)element);
        free(element);
    }
    return known;
}

static bool comes_in_order(VISIT order)
{
    return order == postorder || order == leaf;
}

/* ---- What is found */

static struct page *find_page(const char *url, const rota_url *parts)
{
    size_t len = parts->fragment.ptr ? (size_t)(parts->fragment.ptr - 1 - url) : strlen(url);
    struct page *page = must(calloc(1, sizeof *page));
    page->url = must(strndup(url, len));
    struct page *known = put(&site.pages, page);
    if (known == page)
        site.found(page, page->url + (parts->path.ptr - url));
    return known;
}

/* Text from a page that cannot be encoded, because it is not a valid address, must not reach the
 * terminal as it is. */
static char *copy_visible(const char *text)
{
    char *copy = must(strdup(text));
    for (char *at = copy; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    }
    return copy;
}

/* What follows ":~:" is for the browser (URL Fragment Text Directives): `#x:~:text=y` leads to
 * x. */
static size_t fragment_len(rota_str fragment)
{
    const char *directive = fragment.len ? memmem(fragment.ptr, fragment.len, ":~:", 3) : NULL;
    return directive ? (size_t)(directive - fragment.ptr) : fragment.len;
}

/* The fragment of an address as it was written. */
static char *copy_fragment(const char *text)
{
    const char *hash = strchr(text, '#');
    rota_str fragment = str_of(hash ? hash + 1 : "");
    return must(strndup(fragment.ptr, fragment_len(fragment)));
}

static struct link *add_read_link(struct page *from, const char *base, const char *text)
{
    ROTA_SCOPED(rota_bytes) url = ROTA_BYTES_INIT, fragment = ROTA_BYTES_INIT;
    rota_url parts;
    bool valid = rota_url_resolve(str_of(base), str_of(text), &url) == 0 &&
                 rota_url_parse((rota_str){url.ptr, url.len}, &parts) == 0;
    if (valid && !rota_url_same_origin(&parts, &site.origin)) {
        site.outside += from != NULL;
        return NULL;
    }
    if (valid && parts.fragment.ptr) {
        parts.fragment.len = fragment_len(parts.fragment);
        url.len = (size_t)(parts.fragment.ptr - url.ptr) + parts.fragment.len;
        url.len -= !parts.fragment.len; /* "#" is the page itself */
        url.ptr[url.len] = '\0';
    }
    struct link *link = must(calloc(1, sizeof *link));
    link->url = valid ? must(strdup(url.ptr)) : copy_visible(text);
    struct link *known = put(&site.links, link);
    if (known == link && valid) {
        link->to = find_page(url.ptr, &parts);
        if (parts.fragment.len && rota_url_decode(parts.fragment, &fragment) == 0) {
            link->fragment = must(strdup(fragment.ptr));
            link->raw = copy_fragment(text);
        }
    }
    if (from)
        must(tsearch(from, &known->pages, by_text));
    return known;
}

struct link *site_add_link(struct page *from, const char *base, const char *text)
{
    char *address = must(links_read(base, text));
    struct link *link = add_read_link(from, base, address);
    free(address);
    return link;
}

void site_add_anchor(struct page *page, const char *name)
{
    struct anchor *anchor = must(malloc(sizeof *anchor));
    anchor->name = must(strdup(name));
    put(&page->anchors, anchor);
}

void site_add_problem(struct page *page, const char *why)
{
    page->problem = must(strdup(why));
}

/* ---- The report */

static bool has_anchor(const struct page *page, const char *name)
{
    return tfind(&(struct anchor){(char *)(uintptr_t)name}, &page->anchors, by_text);
}

/* What is wrong with a link, or the one that its redirects end with; NULL if nothing is known. */
static const char *find_problem(const struct link *link, const struct link **ret_end)
{
    const struct link *place = link; /* whose fragment counts */
    for (int i = 0; link->to && link->to->redirect; i++) {
        if (i == REDIRECTS_MOST)
            return "too many redirects";
        link = link->to->redirect;
        place = link->fragment ? link : place;
    }
    *ret_end = link;
    const struct page *page = link->to;
    if (!page)
        return "not a valid address";
    if (page->problem || !page->done)
        return page->problem;
    if (!place->fragment || !page->is_html || page->is_cut ||
        strcasecmp(place->fragment, "top") == 0)
        return NULL;
    bool named = has_anchor(page, place->raw) || has_anchor(page, place->fragment);
    return named ? NULL : "no such anchor in the page";
}

struct mentions {
    size_t count, shown;
};

static void report_page(const void *node, VISIT order, void *arg)
{
    const struct page *page = *(struct page *const *)node;
    struct mentions *mentions = arg;
    if (comes_in_order(order) && mentions->count++ < mentions->shown)
        printf("    in %s\n", page->url);
}

struct walk {
    struct site_counts counts;
    size_t pages_shown;
};

static void report_link(const void *node, VISIT order, void *arg)
{
    struct walk *walk = arg;
    const struct link *link = *(struct link *const *)node;
    if (!comes_in_order(order) || !link->pages)
        return;
    const struct link *end = link;
    const char *problem = find_problem(link, &end);
    struct mentions mentions = {.shown = problem ? walk->pages_shown : 0};
    if (problem)
        printf("%s%s%s: %s\n", link->url, end != link ? " -> " : "", end != link ? end->url : "",
               problem);
    twalk_r(link->pages, report_page, &mentions);
    if (problem && mentions.count > mentions.shown)
        printf("    and %zu more\n", mentions.count - mentions.shown);
    walk->counts.links += mentions.count;
    walk->counts.broken += problem ? mentions.count : 0;
}

struct site_counts site_report(bool all_pages)
{
    struct walk walk = {.counts.outside = site.outside,
                        .pages_shown = all_pages ? SIZE_MAX : PAGES_SHOWN};
    twalk_r(site.links, report_link, &walk);
    return walk.counts;
}
