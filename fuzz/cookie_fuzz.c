/* Reads the input's first two lines as URLs, and the others as Set-Cookie fields of the first one's
 * server, and then as the file of a jar. What is sent back, also to the second server, is fit for a
 * header field, and is what a simple reading of RFC 6265 sends there; a server without a parent in
 * common gets nothing. What is saved is understood again, and saved the same. */
#include "fuzz.h"

#include "http/chars.h"
#include "http/cookie.h"
#include "http/params.h"
#include "http/url.h"

enum { NOW = 1700000000 };

struct place {
    rota_host host;
    struct rota__cookie_target target;
};

/* Where no URL is, there is a server anyhow. */
static void read_place(rota_str text, struct place *place)
{
    rota_url url;
    bool is_good = rota_url_parse(text, &url) == 0 && url.host.len &&
                   rota_host_parse(url.host, &place->host) == 0;
    if (!is_good) {
        require(rota_url_parse(rota__str_of("https://www.example.org/a/b/c"), &url) == 0);
        require(rota_host_parse(url.host, &place->host) == 0);
    }
    place->target = (struct rota__cookie_target){
        .host = &place->host, .path = url.path, .secure = rota_str_equal(url.scheme, "https")};
}

/* A second jar that has read what the first one has saved saves the same. */
static void check_saved(const struct rota__cookie_jar *jar)
{
    struct rota__cookie_jar second = {0};
    struct rota__out saved = {0}, again = {0};
    rota__cookie_save(jar, &saved, NOW);
    require(rota__cookie_load(&second, written(&saved), NOW) == 0);
    rota__cookie_save(&second, &again, NOW);
    require(is_same(written(&saved), written(&again)));
    rota__cookie_jar_fini(&second);
    rota__out_fini(&saved);
    rota__out_fini(&again);
}

static bool begins_with(rota_str s, const char *text)
{
    return s.len >= strlen(text) && memcmp(s.ptr, text, strlen(text)) == 0;
}

/* Sections 5.1.3, 5.1.4 and 5.4. */
static bool belongs_to(const struct rota__cookie *c, const struct rota__cookie_target *target)
{
    const char *host = target->host->text;
    size_t host_len = strlen(host), domain_len = strlen(c->domain), path_len = strlen(c->path);
    rota_str path = target->path.len ? target->path : (rota_str){"/", 1};
    bool same = strcmp(host, c->domain) == 0;
    bool below = target->host->kind == ROTA_HOST_NAME && host_len > domain_len + 1 &&
                 host[host_len - domain_len - 1] == '.' &&
                 strcmp(host + host_len - domain_len, c->domain) == 0;
    if (!same && (c->host_only || !below))
        return false;
    if (c->secure && !target->secure)
        return false;
    return begins_with(path, c->path) &&
           (path.len == path_len || c->path[path_len - 1] == '/' || path.ptr[path_len] == '/');
}

static void check_sent(struct rota__cookie_jar *jar, const struct rota__cookie_target *target)
{
    struct rota__out out = {0};
    size_t expected = 0, sent = 0;
    for (const struct rota__cookie *c = jar->first; c; c = c->next)
        expected += c->expires > NOW && belongs_to(c, target);
    rota__cookie_write(jar, target, &out, NOW);
    rota_str rest = written(&out);
    require(rota__chars_are(rest, ROTA__CHAR_VALUE));
    while (rest.len) { /* no value has a semicolon */
        rota__cut(&rest, ';');
        sent++;
    }
    require(sent == expected);
    rota__out_fini(&out);
}

/* Both are below a name that has a dot in it. */
static bool have_parent(const rota_host *a, const rota_host *b)
{
    if (a->kind != ROTA_HOST_NAME || b->kind != ROTA_HOST_NAME)
        return false;
    for (const char *parent = a->text; parent; parent = strchr(parent, '.')) {
        parent += *parent == '.';
        if (strchr(parent, '.') &&
            (strcmp(b->text, parent) == 0 || rota_host_is_below(b, rota__str_of(parent))))
            return true;
    }
    return false;
}

/* In a jar with nothing but what `from` has set. */
static void check_strangers(const struct rota__cookie_jar *jar, const struct place *from,
                            const struct place *to)
{
    bool may_share = rota_host_equal(&from->host, &to->host) || have_parent(&from->host, &to->host);
    for (const struct rota__cookie *c = jar->first; c; c = c->next)
        require(may_share || !belongs_to(c, &to->target));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size + 1);
    memcpy(exact, data, size);
    rota_str text = {exact, size};
    struct place from, to;
    struct rota__cookie_jar set = {.limits = {.each = 200, .domain = 5, .all = 8}}, loaded = {0};
    read_place(rota__cut(&text, '\n'), &from);
    read_place(rota__cut(&text, '\n'), &to);
    require(rota__cookie_load(&loaded, text, NOW) >= 0);
    check_sent(&loaded, &from.target);
    check_sent(&loaded, &to.target);
    while (text.len) {
        rota_str field = rota__cut(&text, '\n');
        require(rota__cookie_set(&set, &from.target, field, NOW) >= 0);
    }
    check_strangers(&set, &from, &to);
    check_sent(&set, &from.target);
    check_sent(&set, &to.target);
    check_saved(&set);
    rota__cookie_jar_fini(&set);
    rota__cookie_jar_fini(&loaded);
    free(exact);
    return 0;
}
