/* crawl: finds the broken links of a site. See `crawl --help`. */
#include "crawl_site.h"
#include "links.h"
#include "robots.h"

#include <rota.h>
#include <rota/http_client.h>
#include <rota/url.h>

/* libxml2, because it is kept, reads pages as they come without building a tree, knows the
 * encodings that old sites have, and is in every distribution (gumbo is archived and takes UTF-8
 * only, lexbor is not in Debian 12). */
#include <libxml/HTMLparser.h>
#include <libxml/parserInternals.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define AGENT "rota-crawl"
#define PAGE_MOST (16 << 20)    /* bytes of a page that are looked at */
#define OTHER_MOST (1 << 20)    /* other files that are longer are not read to their end */
#define ROBOTS_MOST (512 << 10) /* RFC 9309, section 2.5 */

static const char usage[] =
    "usage: crawl [OPTION]... URL\n\n"
    "Checks the links of a website. Starts at URL and follows all links within the site,\n"
    "also those in style sheets, as its robots.txt allows. Reports broken links: those whose\n"
    "page cannot be fetched or has no such anchor. Ctrl-C ends it early; it then reports what\n"
    "it has found so far.\n\n"
    "  --connections N    make at most N requests at once (default 8)\n"
    "  --limit PAGES      visit at most PAGES addresses (default 100000)\n"
    "  --timeout SECONDS  time limit for an address (default 30)\n"
    "  --all              list all pages with a broken link, not only the first three\n"
    "  --quiet            print broken links only: no progress, no summary\n\n"
    "If SSL_CERT_FILE is set, the certificates in that file are trusted.\n"
    "Exit status: 0 if all links are good, 1 if some are broken, 2 if it could not start or\n"
    "print, 130 if it was interrupted.\n";

static struct {
    long connections, limit, timeout;
    bool all, quiet;
    const char *url;
} opts = {.connections = 8, .limit = 100000, .timeout = 30};

static struct {
    rota_http_session *session;
    rota_queue *queue; /* of struct page *: to be visited */
    struct robots *robots;
    size_t queued, done, html, failed, redirects, forbidden, over_limit;
    rota_time start;
} crawler;

static struct page command_line = {.url = (char[]){"the command line"}};

/* A page that was not known is queued. The queue has room for all that are allowed, so a task
 * that reads pages never waits here. */
static void queue_page(struct page *page, const char *path)
{
    if (!robots_allow(crawler.robots, path))
        crawler.forbidden++;
    else if (crawler.queued == (size_t)opts.limit || rota_queue_try_put(crawler.queue, &page) < 0)
        crawler.over_limit++;
    else
        crawler.queued++;
}

static int fail(struct page *page, const char *why)
{
    if (!page->problem)
        crawler.failed++;
    site_add_problem(page, why);
    return 0;
}

/* ---- Reading a page */

struct reader {
    struct page *page;
    const char
        *text; /* the element that is open and has no elements in it, whatever is written there */
    rota_bytes base; /* empty: the page's address */
    char *style;     /* of the element that is open */
    size_t style_len;
};

static void add_link(void *arg, const char *address)
{
    const struct reader *reader = arg;
    site_add_link(reader->page, reader->base.ptr ? reader->base.ptr : reader->page->url, address);
}

static const char *attribute(const xmlChar **attributes, const char *key)
{
    for (; attributes && attributes[0]; attributes += 2) {
        if (strcmp((const char *)attributes[0], key) == 0)
            return (const char *)attributes[1];
    }
    return NULL;
}

static void set_base(struct reader *reader, const char *value)
{
    char *address = must(links_read(reader->page->url, value));
    rota_url_resolve(str_of(reader->page->url), str_of(address), &reader->base);
    free(address);
}

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names;
}

/* Attributes that hold an address, beside href. */
static bool is_address(const char *element, const char *key)
{
    static const char *const anywhere[] = {"src", "xlink:href", "background", NULL};
    return is_one_of(key, anywhere) ||
           (strcmp(key, "poster") == 0 && strcmp(element, "video") == 0) ||
           (strcmp(key, "data") == 0 && strcmp(element, "object") == 0);
}

/* Elements whose content is text to browsers, but not to libxml2. */
static const char *find_text_element(const char *element)
{
    static const char *const names[] = {"textarea", "title", "iframe", "noembed",
                                        "noframes", "xmp",   NULL};
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(names[i], element) == 0)
            return names[i];
    }
    return NULL;
}

static void see_attribute(struct reader *reader, const char *element, const char *key,
                          const char *value)
{
    bool is_href = strcmp(key, "href") == 0;
    if (strcmp(key, "id") == 0 || (strcmp(key, "name") == 0 && strcmp(element, "a") == 0)) {
        site_add_anchor(reader->page, value);
    } else if (is_href && strcmp(element, "base") == 0) {
        if (!reader->base.ptr) /* the first one counts */
            set_base(reader, value);
    } else if (is_href || is_address(element, key)) {
        add_link(reader, value);
    } else if (strcmp(key, "srcset") == 0 || strcmp(key, "imagesrcset") == 0) {
        links_in_srcset(value, add_link, reader);
    } else if (strcmp(key, "style") == 0) {
        links_in_css(value, strlen(value), add_link, reader);
    }
}

/* libxml2 tells of each element as soon as it has come. */
static void see_element(void *arg, const xmlChar *name, const xmlChar **attributes)
{
    const char *element = (const char *)name, *refresh = attribute(attributes, "http-equiv");
    struct reader *reader = arg;
    if (reader->text)
        return;
    reader->text = find_text_element(element);
    for (const xmlChar **at = attributes; at && at[0]; at += 2) {
        if (at[1])
            see_attribute(reader, element, (const char *)at[0], (const char *)at[1]);
    }
    const char *content = attribute(attributes, "content");
    if (strcmp(element, "meta") == 0 && refresh && content && strcasecmp(refresh, "refresh") == 0)
        links_in_refresh(content, add_link, arg);
}

/* What stands in style elements, and in scripts, comes as it is. */
static void see_style(void *arg, const xmlChar *text, int len)
{
    struct reader *reader = arg;
    if (reader->text)
        return;
    reader->style = must(realloc(reader->style, reader->style_len + (size_t)len));
    memcpy(reader->style + reader->style_len, text, (size_t)len);
    reader->style_len += (size_t)len;
}

static void see_end(void *arg, const xmlChar *name)
{
    struct reader *reader = arg;
    if (reader->style_len && strcmp((const char *)name, "style") == 0)
        links_in_css(reader->style, reader->style_len, add_link, reader);
    reader->style_len = 0;
    if (reader->text && strcmp((const char *)name, reader->text) == 0)
        reader->text = NULL;
}

static htmlParserCtxtPtr new_parser(struct reader *reader, const char *type)
{
    htmlSAXHandler sax = {
        .startElement = see_element, .endElement = see_end, .cdataBlock = see_style};
    htmlParserCtxtPtr parser =
        must(htmlCreatePushParserCtxt(&sax, reader, NULL, 0, NULL, XML_CHAR_ENCODING_NONE));
    const char *charset = strcasestr(type, "charset=");
    char name[40] = "";
    int options = HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET;
    if (charset)
        sscanf(charset + strlen("charset=") + (charset[strlen("charset=")] == '"'), "%39[^\"; ]",
               name);
    xmlCharEncodingHandler *encoding = *name ? xmlFindCharEncodingHandler(name) : NULL;
    if (encoding && xmlSwitchToEncoding(parser, encoding) == 0)
        options |= HTML_PARSE_IGNORE_ENC; /* the server's word counts more than the page's */
    htmlCtxtUseOptions(parser, options);
    return parser;
}

static int read_page(struct page *page, rota_http_response *r, const char *type)
{
    struct reader reader = {.page = page};
    htmlParserCtxtPtr parser = new_parser(&reader, type);
    char buf[16384];
    ssize_t n;
    size_t size = 0;
    while ((n = rota_http_read(r, buf, sizeof buf)) > 0) {
        htmlParseChunk(parser, buf, (int)n, 0);
        size += (size_t)n;
        page->is_cut = size >= PAGE_MOST;
        if (page->is_cut)
            break;
    }
    htmlParseChunk(parser, NULL, 0, 1);
    htmlFreeParserCtxt(parser);
    rota_bytes_fini(&reader.base);
    free(reader.style);
    page->is_html = true;
    return n < 0 ? (int)n : 0;
}

static int read_style(struct page *page, rota_http_response *r)
{
    struct reader reader = {.page = page};
    char buf[16384];
    ssize_t n;
    while ((n = rota_http_read(r, buf, sizeof buf)) > 0 && reader.style_len < PAGE_MOST)
        see_style(&reader, (const xmlChar *)buf, (int)n);
    if (reader.style_len)
        links_in_css(reader.style, reader.style_len, add_link, &reader);
    free(reader.style);
    return n < 0 ? (int)n : 0;
}

/* So that its connection can be used again, and because it may be cut short. */
static int read_other(rota_http_response *r)
{
    char buf[16384];
    ssize_t n;
    size_t size = 0;
    while ((n = rota_http_read(r, buf, sizeof buf)) > 0 && size < OTHER_MOST)
        size += (size_t)n;
    return n < 0 ? (int)n : 0;
}

static int visit(struct page *page)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    rota_http_fetch_options options = {.stream = true, .redirects = -1};
    int err = rota_http_fetch(crawler.session, page->url, &options, &r);
    if (err < 0)
        return err == -ECANCELED ? err : fail(page, rota_error(err));
    char type[200], text[4096];
    int status = rota_http_status(r);
    rota_str said = rota_http_response_header(r, "Content-Type");
    snprintf(type, sizeof type, "%.*s", (int)said.len, said.len ? said.ptr : "");
    said = rota_http_response_header(r, "Location");
    if (status >= 300 && status < 400 && said.len) {
        snprintf(text, sizeof text, "%.*s", (int)said.len, said.ptr);
        page->redirect = site_add_link(NULL, page->url, text);
        crawler.redirects++;
    } else if (status < 200 || status >= 300) {
        snprintf(text, sizeof text, "%d %s", status, rota_http_reason(status));
        fail(page, text);
    } else if (strcasestr(type, "text/html") || strcasestr(type, "application/xhtml+xml")) {
        err = read_page(page, r, type);
    } else if (strcasestr(type, "text/css")) {
        err = read_style(page, r);
    }
    if (!page->is_html && err == 0)
        err = read_other(r);
    if (err < 0 && err != -ECANCELED && !page->problem)
        return fail(page, rota_http_response_error(r));
    return err == -ECANCELED ? err : 0;
}

/* ---- Crawling */

/* Takes one address after another, and adds what is found there. */
static int work(void *arg)
{
    struct page *page;
    int err;
    ROTA_FOREACH (struct page **, next, rota_queue_iter(crawler.queue, &page), &err) {
        err = visit(*next);
        if (err < 0)
            return err;
        page->done = true;
        crawler.done++;
        crawler.html += page->is_html;
        rota_queue_task_done(crawler.queue);
    }
    return err;
}

/* A line that is as long as the terminal is wide would begin another one. */
static int terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static int show_progress(void *arg)
{
    char line[160];
    bool on_terminal = isatty(STDERR_FILENO);
    int err = 0;
    while (err == 0) {
        err = rota_sleep(on_terminal ? 200 * ROTA_MILLISECOND : 5 * ROTA_SECOND);
        double seconds = (double)(rota_now() - crawler.start) / (double)ROTA_SECOND;
        snprintf(line, sizeof line, "%zu of %zu pages, %.0f a second, %zu failed", crawler.done,
                 crawler.queued, (double)crawler.done / seconds, crawler.failed);
        if (err == 0 && on_terminal)
            fprintf(stderr, "\r\033[K%.*s", terminal_columns() - 1, line);
        else if (err == 0)
            fprintf(stderr, "%s\n", line);
    }
    if (on_terminal)
        fputs("\r\033[K", stderr);
    return 0;
}

/* Without a robots.txt everything is allowed; where it cannot be had now, nothing is (RFC 9309,
 * section 2.3.1). */
static int ask_robots(void)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    rota_http_fetch_options options = {.stream = true, .redirects = 5};
    int err = rota_http_fetch(crawler.session, "/robots.txt", &options, &r);
    if (err == ROTA_EREDIRECTS)
        return 0;
    if (err < 0) {
        if (err != -ECANCELED)
            warnx("%s", rota_error(err));
        return err;
    }
    int status = rota_http_status(r);
    if (status >= 500) {
        warnx("robots.txt: %d %s; the site cannot be crawled now", status,
              rota_http_reason(status));
        return -EACCES;
    }
    char *text = must(malloc(ROBOTS_MOST));
    ssize_t n = 0;
    size_t len = 0;
    while (status == 200 && len < ROBOTS_MOST &&
           (n = rota_http_read(r, text + len, ROBOTS_MOST - len)) > 0)
        len += (size_t)n;
    bool is_cut = len == ROBOTS_MOST;
    while (is_cut && len && !strchr("\r\n", text[len - 1])) /* half a rule is another rule */
        len--;
    if (n >= 0)
        crawler.robots = must(robots_parse(text, len, AGENT));
    else if (n != -ECANCELED)
        warnx("robots.txt: %s", rota_http_response_error(r));
    free(text);
    return n < 0 ? (int)n : 0;
}

static int crawl_site(void)
{
    ROTA_AUTO(rota_task) progress = NULL;
    ROTA_GROUP(workers);
    int err = ask_robots();
    if (err < 0)
        return err;
    site_open(opts.url, queue_page);
    site_add_link(&command_line, "", opts.url);
    if (!crawler.queued) {
        warnx("robots.txt forbids %s", opts.url);
        return -EACCES;
    }
    if (!opts.quiet)
        rota_spawn(show_progress, NULL, &progress);
    for (long i = 0; i < opts.connections; i++)
        rota_group_spawn(&workers, work, NULL);
    err = rota_queue_join(crawler.queue); /* until no page has led to another one */
    rota_queue_close(crawler.queue);
    return err < 0 ? err : rota_group_wait(&workers);
}

static int crawl(void *arg)
{
    ROTA_AUTO(rota_http_session) session = NULL;
    ROTA_AUTO(rota_queue) queue = NULL;
    rota_http_session_options options = {
        .base_url = opts.url,
        .headers = (const char *[]){"User-Agent", AGENT, "Accept", "text/html,*/*;q=0.5", NULL},
        .connections = (size_t)opts.connections,
        .total = opts.timeout * ROTA_SECOND};
    int err = rota_http_session_new(&options, &session);
    if (err < 0)
        errx(2, "%s", rota_error(err));
    err = rota_queue_new((size_t)opts.limit, sizeof(struct page *), &queue);
    if (err < 0)
        return err;
    crawler.session = session;
    crawler.queue = queue;
    crawler.start = rota_now();
    ROTA_UNTIL_STOP
    {
        err = crawl_site();
    }
    return err;
}

/* Returns the status that the program ends with. */
static int report(bool interrupted)
{
    double seconds = (double)(rota_now() - crawler.start) / (double)ROTA_SECOND;
    struct site_counts n = site_report(opts.all);
    if (!opts.quiet)
        printf("%zu pages and %zu other files in %.2f s; %zu links, %zu of them broken\n"
               "not visited: %zu links to other sites, %zu addresses that robots.txt forbids, "
               "%zu over the limit\n",
               crawler.html, crawler.done - crawler.html, seconds, n.links, n.broken, n.outside,
               crawler.forbidden, crawler.over_limit);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        warnx("standard output: the report could not be written");
        return 2;
    }
    if (interrupted) {
        warnx("interrupted; %zu known addresses were not visited", crawler.queued - crawler.done);
        return 130;
    }
    if (!crawler.html && !n.broken) {
        warnx(crawler.redirects ? "%s redirects, but not to an HTML page of its own site"
                                : "%s is not an HTML page, so it has no links to follow",
              opts.url);
        return 2;
    }
    return n.broken > 0;
}

/* ---- The command line */

static _Noreturn void refuse(const char *why, const char *more)
{
    fprintf(stderr, "crawl: %s%s\nTry crawl --help.\n", why, more);
    exit(2);
}

static long number_of(char **argv, int *i)
{
    char *end, *name = argv[*i], *text = argv[*i + 1];
    long number = text ? strtol(text, &end, 10) : 0;
    if (!text || *end || number < 1 || number > 10000000)
        refuse(name, " needs a number above 0");
    ++*i;
    return number;
}

static void read_options(char **argv)
{
    for (int i = 1; argv[i]; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        } else if (strcmp(argv[i], "--connections") == 0) {
            opts.connections = number_of(argv, &i);
        } else if (strcmp(argv[i], "--limit") == 0) {
            opts.limit = number_of(argv, &i);
        } else if (strcmp(argv[i], "--timeout") == 0) {
            opts.timeout = number_of(argv, &i);
        } else if (strcmp(argv[i], "--all") == 0) {
            opts.all = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            opts.quiet = true;
        } else if (*argv[i] == '-') {
            refuse("unknown option: ", argv[i]);
        } else if (opts.url) {
            refuse("only one URL is allowed: ", argv[i]);
        } else {
            opts.url = argv[i];
        }
    }
    if (!opts.url)
        refuse("no URL", "");
}

int main(int argc, char **argv)
{
    read_options(argv);
    ROTA_SCOPED(rota_bytes) url = ROTA_BYTES_INIT;
    rota_url parts;
    if (rota_url_resolve((rota_str){0}, str_of(opts.url), &url) < 0 ||
        rota_url_parse((rota_str){url.ptr, url.len}, &parts) < 0 || !parts.host.len ||
        (strncmp(url.ptr, "http://", 7) != 0 && strncmp(url.ptr, "https://", 8) != 0))
        refuse("not an http:// or https:// address: ", opts.url);
    opts.url = url.ptr;
    int err = rota_run(crawl, NULL);
    if (err < 0 && err != -ECANCELED) {
        if (!crawler.session) /* it has not begun; later it is told where it happens */
            warnx("%s", rota_error(err));
        return 2;
    }
    return report(err == -ECANCELED);
}
