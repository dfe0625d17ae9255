/* Which requests go through a proxy: as the session says, or the environment (as curl and Python's requests read
 * it; there is no standard). */
#include "http/chars.h"
#include "http/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int copy_part(struct rota__arena *arena, rota_str part, char **ret_copy)
{
    *ret_copy = rota__arena_copy(arena, part);
    return *ret_copy ? 0 : -ENOMEM;
}

/* "http://user:password@host:port"; without a scheme it is http. */
static int proxy_new(rota_http_session *session, const char *text, struct rota__http_proxy **ret)
{
    rota_url url;
    rota_host host;
    char whole[512], written[ROTA__HOST_IN_URL];
    bool has_scheme = strstr(text, "://") != NULL;
    int len = snprintf(whole, sizeof whole, "%s%s", has_scheme ? "" : "http://", text);
    if (len >= (int)sizeof whole || rota_url_parse((rota_str){whole, (size_t)len}, &url) < 0 ||
        rota_host_parse(url.host, &host) < 0 || host.kind == ROTA_HOST_FUTURE ||
        !(rota__str_is(url.scheme, "http") || rota__str_is(url.scheme, "https"))) {
        rota__http_set_error(ROTA_HTTP_QUEUED, "\"%s\" is no proxy", text);
        return -EINVAL;
    }
    struct rota__http_proxy *proxy = rota__arena_alloc(&session->arena, sizeof *proxy);
    if (!proxy)
        return -ENOMEM;
    *proxy =
        (struct rota__http_proxy){.port = url.number, .secure = rota__str_is(url.scheme, "https")};
    int err = copy_part(&session->arena, rota__str_of(host.text), &proxy->host);
    if (err == 0 && url.userinfo.len)
        err = rota__http_userinfo(&session->arena, url.userinfo, &proxy->authorization);
    char where[ROTA__HOST_IN_URL + 8];
    snprintf(where, sizeof where, "%s:%d", rota__host_write(&host, false, written), url.number);
    if (err == 0)
        err = copy_part(&session->arena, (rota_str){where, strlen(where)}, &proxy->where);
    if (err == 0)
        *ret = proxy;
    return err;
}

static const char *environment(const char *lower, const char *upper)
{
    const char *value = getenv(lower);
    if (!value || !*value)
        value = getenv(upper);
    return value && *value ? value : NULL;
}

/* HTTP_PROXY in capitals may come from a request's field "Proxy", where the program is a CGI. */
static const char *for_http(void)
{
    const char *value =
        environment("http_proxy", getenv("REQUEST_METHOD") ? "http_proxy" : "HTTP_PROXY");
    return value ? value : environment("all_proxy", "ALL_PROXY");
}

static const char *for_https(void)
{
    const char *value = environment("https_proxy", "HTTPS_PROXY");
    return value ? value : environment("all_proxy", "ALL_PROXY");
}

int rota__http_proxies_init(rota_http_session *session)
{
    const char *said = session->options.proxy;
    if (session->options.unix_path || (said && !*said))
        return 0;
    const char *http = said ? said : for_http(), *https = said ? said : for_https();
    const char *none = said ? NULL : environment("no_proxy", "NO_PROXY");
    if (none) {
        session->no_proxy = rota__arena_copy(&session->arena, (rota_str){none, strlen(none)});
        if (!session->no_proxy)
            return -ENOMEM;
    }
    int err = http ? proxy_new(session, http, &session->http_proxy) : 0;
    if (err == 0 && https)
        err = proxy_new(session, https, &session->https_proxy);
    return err;
}

/* ---- NO_PROXY */

/* "example.org" and ".example.org" are the host and all below it. */
static bool is_within(const rota_host *host, rota_str name)
{
    rota_host entry;
    if (name.len && *name.ptr == '.')
        name = (rota_str){name.ptr + 1, name.len - 1};
    return rota_host_parse(name, &entry) == 0 &&
           (rota_host_equal(host, &entry) || rota_host_is_below(host, rota__str_of(entry.text)));
}

static bool matches(rota_str entry, const rota_host *host, int port)
{
    const char *colon = entry.len ? memrchr(entry.ptr, ':', entry.len) : NULL;
    bool has_port =
        colon && (entry.ptr[0] == '[' ? colon[-1] == ']'
                                      : !memchr(entry.ptr, ':', (size_t)(colon - entry.ptr)));
    if (has_port && atoi(colon + 1) != port)
        return false;
    if (has_port)
        entry.len = (size_t)(colon - entry.ptr);
    return rota_str_equal(entry, "*") || is_within(host, entry);
}

static bool goes_directly(const char *list, const rota_host *host, int port)
{
    static const char between[] = ", \t";
    for (list += strspn(list, between); *list; list += strspn(list, between)) {
        rota_str entry = {list, strcspn(list, between)};
        if (matches(entry, host, port))
            return true;
        list += entry.len;
    }
    return false;
}

const struct rota__http_proxy *rota__http_proxy_for(const rota_http_session *session, bool secure,
                                                    const rota_host *host, int port)
{
    const struct rota__http_proxy *proxy = secure ? session->https_proxy : session->http_proxy;
    if (!proxy || (session->no_proxy && goes_directly(session->no_proxy, host, port)))
        return NULL;
    return proxy;
}
