/* crawl: checks the links of a site, many at once. See `crawl --help`. */
#include <rota.h>
#include <rota/http_client.h>

#include <libxml/HTMLparser.h>
#include <libxml/hash.h>
#include <libxml/uri.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] = "usage: crawl [OPTION]... URL\n\n"
                            "Follows the links of a site from URL on and reports those that are "
                            "broken, with the pages that have\n"
                            "them. Stays on the URL's host and obeys its robots.txt.\n\n"
                            "  --connections N  so many at once (default 16)\n"
                            "  --limit N        look at no more than N pages (default 100000)\n"
                            "  --quiet          no progress, only what is broken\n\n"
                            "Exits with 0 when all links are good, 1 when some are broken, 2 when "
                            "there was nothing to check.\n";

static struct {
    const char *url;
    long connections, limit;
    bool quiet;
} opts = {.connections = 16, .limit = 100000};

struct referrer {
    struct referrer *next;
    struct page *page;
};

struct page {
    char *url;
    struct referrer *referrers; /* the last one first */
    char *broken;               /* why */
    bool checked;
};

static struct {
    rota_http_session *session;
    char origin[300]; /* "http://localhost:80" */
    char *robots;
    struct page **pages;
    size_t count, room, next, active, checked, links, broken, forbidden;
    uint64_t bytes;
    xmlHashTable *by_url;
    rota_event news; /* there is another page, or nobody looks at one any more */
    rota_time start;
} site;

static void *need(void *memory)
{
    if (!memory)
        err(2, NULL);
    return memory;
}

/* ---- Progress */

static bool on_terminal;

static double seconds(void)
{
    return (double)(rota_now() - site.start) / (double)ROTA_SECOND;
}

static void clear_line(void)
{
    if (on_terminal)
        fputs("\r\033[K", stderr);
}

static int show_progress(void *arg)
{
    int status = 0;
    while (status == 0) {
        double time = seconds();
        clear_line();
        fprintf(stderr, "%zu of %zu pages, %.0f a second, %zu broken", site.checked, site.count,
                time > 0 ? (double)site.checked / time : 0, site.broken);
        status = rota_sleep(200 * ROTA_MILLISECOND);
    }
    clear_line();
    return 0;
}

/* ---- robots.txt (RFC 9309) */

/* Whether a pattern, in which * is anything and a $ at its end the end, matches the beginning of the path. */
static bool pattern_matches(const char *pattern, size_t len, const char *path)
{
    for (; len; pattern++, len--) {
        if (*pattern == '*') {
            do {
                if (pattern_matches(pattern + 1, len - 1, path))
                    return true;
            } while (*path++);
            return false;
        }
        if (*pattern == '$' && len == 1)
            return *path == '\0';
        if (*pattern != *path++)
            return false;
    }
    return true;
}

/* The value of a line "Name: value # comment", or NULL. */
static const char *line_value(const char *line, size_t len, const char *name, size_t *ret_len)
{
    size_t name_len = strlen(name);
    if (len <= name_len || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
        return NULL;
    const char *value = line + name_len + 1, *end = line + len;
    const char *comment = memchr(value, '#', (size_t)(end - value));
    end = comment ? comment : end;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && strchr(" \t\r", end[-1]))
        end--;
    *ret_len = (size_t)(end - value);
    return value;
}

/* The longest rule of the groups for everybody decides; where two are as long, the one that allows. */
static bool is_allowed(const char *path)
{
    bool for_us = false, in_rules = true, allowed = true;
    size_t longest = 0, len;
    for (const char *line = site.robots; line && *line;) {
        size_t line_len = strcspn(line, "\n"), skip = strspn(line, " \t");
        const char *value = line_value(line + skip, line_len - skip, "user-agent", &len);
        if (value) {
            bool all = len == 1 && *value == '*';
            for_us = in_rules ? all : for_us || all;
            in_rules = false;
        }
        for (int allows = 0; allows < 2; allows++) {
            value = line_value(line + skip, line_len - skip, allows ? "allow" : "disallow", &len);
            in_rules |= value != NULL;
            if (value && len && for_us && len >= longest && pattern_matches(value, len, path)) {
                allowed = allows || (len == longest && allowed);
                longest = len;
            }
        }
        line += line_len + (line[line_len] == '\n');
    }
    return allowed;
}

static int load_robots(void)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    char url[400];
    snprintf(url, sizeof url, "%s/robots.txt", site.origin);
    int status = rota_http_fetch(site.session, url, NULL, &r);
    if (status < 0) {
        warnx("%s: %s", url, rota_http_error());
        return status;
    }
    status = rota_http_status(r);
    if (status == 200)
        site.robots = need(strdup(rota_http_body(r).ptr));
    else if (status >= 500) /* section 2.3.1.4 */
        site.robots = need(strdup("User-agent: *\nDisallow: /\n"));
    return 0;
}

/* ---- Pages */

static const char *path_of(const char *url)
{
    const char *path = url + strlen(site.origin);
    return *path ? path : "/";
}

static bool is_here(const char *url)
{
    size_t len = strlen(site.origin);
    return strncmp(url, site.origin, len) == 0 && (url[len] == '\0' || strchr("/?", url[len]));
}

static struct page *page_of(const char *url)
{
    struct page *page = xmlHashLookup(site.by_url, (const xmlChar *)url);
    if (page || (long)site.count >= opts.limit)
        return page;
    if (site.count == site.room) {
        site.room = site.room ? 2 * site.room : 256;
        site.pages = need(realloc(site.pages, site.room * sizeof *site.pages));
    }
    page = need(calloc(1, sizeof *page));
    page->url = need(strdup(url));
    xmlHashAddEntry(site.by_url, (const xmlChar *)url, page);
    site.pages[site.count++] = page;
    rota_event_set(&site.news);
    return page;
}

/* A link as it stands in a page. */
static void add_link(struct page *from, const char *base, const char *text)
{
    char *url = (char *)xmlBuildURI((const xmlChar *)text, (const xmlChar *)base);
    if (!url)
        return;
    url[strcspn(url, "#")] = '\0';
    if (is_here(url)) {
        struct page *page = is_allowed(path_of(url)) ? page_of(url) : NULL;
        site.forbidden += !page;
        site.links++;
        if (page && (!page->referrers || page->referrers->page != from)) {
            struct referrer *referrer = need(malloc(sizeof *referrer));
            *referrer = (struct referrer){page->referrers, from};
            page->referrers = referrer;
        }
    }
    xmlFree(url);
}

/* ---- HTML */

static const char *attribute(const xmlNode *node, const char *name)
{
    for (const xmlAttr *a = node->properties; a; a = a->next) {
        if (strcasecmp((const char *)a->name, name) == 0 && a->children && a->children->content)
            return (const char *)a->children->content;
    }
    return NULL;
}

static void look_at(struct page *page, char **base, const xmlNode *node)
{
    const char *href = attribute(node, "href"), *src = attribute(node, "src");
    if (href && strcasecmp((const char *)node->name, "base") == 0) {
        char *other = (char *)xmlBuildURI((const xmlChar *)href, (const xmlChar *)*base);
        if (other) {
            xmlFree(*base);
            *base = other;
        }
        return;
    }
    if (href)
        add_link(page, *base, href);
    if (src)
        add_link(page, *base, src);
}

static const xmlNode *next_node(const xmlNode *node, const xmlNode *root)
{
    if (node->children && node->type == XML_ELEMENT_NODE)
        return node->children;
    while (node != root && !node->next)
        node = node->parent;
    return node == root ? NULL : node->next;
}

static void read_links(struct page *page, rota_str html)
{
    const char *url = page->url;
    const int quietly =
        HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET;
    xmlDoc *doc =
        html.len < INT32_MAX ? htmlReadMemory(html.ptr, (int)html.len, url, NULL, quietly) : NULL;
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    char *base = (char *)need(xmlStrdup((const xmlChar *)url));
    for (const xmlNode *node = root; node; node = next_node(node, root)) {
        if (node->type == XML_ELEMENT_NODE)
            look_at(page, &base, node);
    }
    xmlFree(base);
    xmlFreeDoc(doc);
}

/* ---- Visits */

static void mark_broken(struct page *page, const char *why)
{
    page->broken = need(strdup(why));
    site.broken++;
}

static bool is_html(const rota_http_response *r)
{
    rota_str type = rota_http_response_header(r, "Content-Type");
    return type.len >= 9 && strncasecmp(type.ptr, "text/html", 9) == 0;
}

/* What is no page is only looked at: its body is not read, unless that is cheaper than another connection. */
static bool is_worth_reading(const rota_http_response *r)
{
    rota_str length = rota_http_response_header(r, "Content-Length");
    return is_html(r) || (length.len && length.len < 6);
}

static int visit(struct page *page)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    char why[80];
    int status =
        rota_http_fetch(site.session, page->url, &(rota_http_fetch_options){.stream = true}, &r);
    if (status == -ECANCELED)
        return status;
    if (status < 0) {
        mark_broken(page, rota_http_error());
        return 0;
    }
    status = rota_http_status(r);
    if (status >= 400) {
        snprintf(why, sizeof why, "%d %s", status, rota_http_reason(status));
        mark_broken(page, why);
    }
    if (rota_http_response_redirects(r)) { /* a page of its own, if it is one of ours */
        add_link(page, page->url, rota_http_response_url(r));
        return 0;
    }
    if (!is_worth_reading(r))
        return 0;
    int read = rota_http_read_all(r, 0);
    if (read < 0 && read != -ECANCELED)
        mark_broken(page, rota_http_response_error(r));
    if (read < 0)
        return read == -ECANCELED ? read : 0;
    site.bytes += rota_http_body(r).len;
    if (status < 400 && is_html(r))
        read_links(page, rota_http_body(r));
    return 0;
}

/* Takes one page after another; the others may still find some. */
static int work(void *arg)
{
    int status = 0;
    while (status == 0 && (site.next < site.count || site.active)) {
        if (site.next == site.count) {
            rota_event_clear(&site.news);
            status = rota_event_wait(&site.news);
            continue;
        }
        struct page *page = site.pages[site.next++];
        site.active++;
        status = visit(page);
        site.active--;
        site.checked += status == 0;
        page->checked = status == 0;
        if (!site.active)
            rota_event_set(&site.news);
    }
    return status;
}

static int crawl(void *arg)
{
    rota_http_session_options options = {.connections = (size_t)opts.connections,
                                         .total = 10 * ROTA_MINUTE};
    ROTA_AUTO(rota_http_session) session = NULL;
    ROTA_AUTO(rota_task) progress = NULL;
    int status = rota_http_session_new(&options, &session);
    if (status < 0)
        return status;
    site.session = session;
    site.start = rota_now();
    status = load_robots();
    if (status < 0)
        return status;
    if (!is_allowed(path_of(opts.url))) {
        warnx("%s: robots.txt forbids it", opts.url);
        return -EACCES;
    }
    page_of(opts.url);
    if (on_terminal)
        rota_spawn(show_progress, NULL, &progress);
    ROTA_SCOPED(rota_group) g = ROTA_GROUP_INIT;
    for (long i = 0; i < opts.connections; i++)
        rota_group_spawn(&g, work, NULL);
    return rota_group_wait(&g);
}

/* ---- The end */

static void report(double time)
{
    clear_line();
    for (size_t i = 0; i < site.count; i++) {
        const struct page *page = site.pages[i];
        if (!page->broken)
            continue;
        printf("%s: %s\n", page->url, page->broken);
        int others = 0;
        for (const struct referrer *r = page->referrers; r; r = r->next) {
            if (others++ < 3)
                printf("    linked from %s\n", r->page->url);
        }
        if (others > 3)
            printf("    and %d other pages\n", others - 3);
    }
    if (opts.quiet)
        return;
    printf("%zu pages, %zu links, %zu broken, %.1f MB in %.1f s (%.0f pages a second)\n",
           site.checked, site.links, site.broken, (double)site.bytes / 1e6, time,
           time > 0 ? (double)site.checked / time : 0);
    if (site.forbidden)
        printf("%zu links not followed: robots.txt forbids it, or the limit was reached\n",
               site.forbidden);
}

static void free_all(void)
{
    for (size_t i = 0; i < site.count; i++) {
        struct page *page = site.pages[i];
        while (page->referrers) {
            struct referrer *next = page->referrers->next;
            free(page->referrers);
            page->referrers = next;
        }
        free(page->broken);
        free(page->url);
        free(page);
    }
    free(site.pages);
    free(site.robots);
    xmlHashFree(site.by_url, NULL);
    xmlCleanupParser();
}

/* ---- The command line */

static _Noreturn void fail(const char *why, const char *what)
{
    fprintf(stderr, "crawl: %s%s\nTry crawl --help.\n", why, what);
    exit(2);
}

static long number(char **argv, int *i)
{
    char *end;
    long n = argv[*i + 1] ? strtol(argv[*i + 1], &end, 10) : 0;
    if (n < 1 || *end)
        fail("a number is needed behind ", argv[*i]);
    ++*i;
    return n;
}

static void read_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        } else if (strcmp(argv[i], "--connections") == 0) {
            opts.connections = number(argv, &i);
        } else if (strcmp(argv[i], "--limit") == 0) {
            opts.limit = number(argv, &i);
        } else if (strcmp(argv[i], "--quiet") == 0) {
            opts.quiet = true;
        } else if (*argv[i] == '-' || opts.url) {
            fail("unknown option: ", argv[i]);
        } else {
            opts.url = argv[i];
        }
    }
    if (!opts.url)
        fail("no URL", "");
    const char *host = strstr(opts.url, "://");
    if (!host || strncasecmp(opts.url, "http", 4) != 0)
        fail("no URL of http or https: ", opts.url);
    size_t len = (size_t)(host + 3 - opts.url) + strcspn(host + 3, "/?#");
    if (len >= sizeof site.origin)
        fail("too long: ", opts.url);
    memcpy(site.origin, opts.url, len);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    on_terminal = !opts.quiet && isatty(STDERR_FILENO);
    site.by_url = need(xmlHashCreate(1024));
    rota_time start = rota_now();
    int status = rota_run(crawl, NULL);
    if (site.checked || site.broken)
        report((double)(rota_now() - start) / (double)ROTA_SECOND);
    if (status == -ECANCELED)
        warnx("interrupted");
    bool broken = site.broken > 0;
    free_all();
    return status < 0 ? 2 : broken;
}
