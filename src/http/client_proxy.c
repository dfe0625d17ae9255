/* Which requests use a proxy, by the session's option or the environment. */
#include "http/chars.h"
#include "http/client.h"
#include "http/socks5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- One proxy */

static char *copy(rota_http_session *session, rota_str text)
{
    return rota__arena_copy(&session->arena, text);
}

/* Sets user and password for the proxy. Returns 0, -EINVAL, -ENOMEM. */
static int set_user(rota_http_session *session, rota_str userinfo, struct rota__http_proxy *proxy,
                    const char **ret_wrong)
{
    *ret_wrong = "has a user or password that cannot be sent";
    int err = rota__http_credentials_parse(&session->arena, userinfo, &proxy->credentials);
    if (err < 0)
        return err;
    const struct rota__http_credentials *credentials = proxy->credentials;
    if (!rota__http_is_socks(proxy))
        return rota__http_credentials_use(&session->arena, session->options.proxy_auth,
                                          proxy->credentials);
    bool fits = credentials->user.len <= ROTA__SOCKS5_TEXT &&
                credentials->password.len <= ROTA__SOCKS5_TEXT;
    return fits ? 0 : -EINVAL;
}

static int set_place(rota_http_session *session, const struct rota__proxy *said,
                     struct rota__http_proxy *proxy)
{
    char text[ROTA__HOST_IN_URL + 8], host[ROTA__HOST_IN_URL];
    snprintf(text, sizeof text, "%s%s", said->host.text, said->host.is_rooted ? "." : "");
    proxy->kind = said->kind;
    proxy->port = said->port;
    proxy->host = copy(session, rota__str_of(text));
    snprintf(text, sizeof text, "%s:%d", rota__host_write(&said->host, true, host), said->port);
    proxy->where = copy(session, rota__str_of(text));
    return proxy->host && proxy->where ? 0 : -ENOMEM;
}

/* Reads a setting. Without a scheme it is for http. Returns 0, -EINVAL, -ENOMEM. */
static int read_setting(rota_http_session *session, const char *text,
                        struct rota__http_proxy *proxy, const char **ret_wrong)
{
    struct rota__proxy said;
    const char *prefix = strstr(text, "://") ? "" : "http://";
    size_t size = strlen(prefix) + strlen(text) + 1;
    char *whole = rota__arena_alloc(&session->arena, size);
    if (!whole)
        return -ENOMEM;
    snprintf(whole, size, "%s%s", prefix, text);
    if (rota__proxy_parse(rota__str_of(whole), &said, ret_wrong) < 0)
        return -EINVAL;
    int err = set_place(session, &said, proxy);
    if (err == 0 && said.userinfo.len)
        err = set_user(session, said.userinfo, proxy, ret_wrong);
    return err;
}

/* `name`: of the setting. An invalid setting is an error only for the requests that would use
 * it. */
static int proxy_new(rota_http_session *session, const char *name, const char *text,
                     struct rota__http_proxy **ret)
{
    struct rota__http_proxy *proxy = rota__arena_alloc(&session->arena, sizeof *proxy);
    struct rota__http_auth_cache *auth = rota__arena_alloc(&session->arena, sizeof *auth);
    if (!proxy || !auth)
        return -ENOMEM;
    *auth = (struct rota__http_auth_cache){.first = NULL};
    *proxy = (struct rota__http_proxy){.kind = ROTA__PROXY_HTTP, .auth = auth};
    const char *why = NULL;
    int err = read_setting(session, text, proxy, &why);
    if (err == -EINVAL) {
        char shown[160], wrong[300];
        rota__url_redact(rota__str_of(text), shown, sizeof shown);
        snprintf(wrong, sizeof wrong, "%s: \"%s\" %s", name, shown, why);
        proxy->wrong = copy(session, rota__str_of(wrong));
        err = proxy->wrong ? 0 : -ENOMEM;
    }
    if (err == 0)
        *ret = proxy;
    return err;
}

/* ---- The environment */

struct setting {
    const char *name, *value;
};

/* Ignored in a program that runs with more rights than its user (secure_getenv(3)). */
static struct setting environment(const char *lower, const char *upper)
{
    const char *value = secure_getenv(lower);
    if (value && *value)
        return (struct setting){lower, value};
    value = secure_getenv(upper);
    return value && *value ? (struct setting){upper, value} : (struct setting){NULL, NULL};
}

static struct setting or_for_all(struct setting setting)
{
    return setting.value ? setting : environment("all_proxy", "ALL_PROXY");
}

/* In a CGI program HTTP_PROXY in upper case may come from a request's field "Proxy". */
static struct setting for_http(void)
{
    bool is_cgi = getenv("REQUEST_METHOD");
    return or_for_all(environment("http_proxy", is_cgi ? "http_proxy" : "HTTP_PROXY"));
}

static int use_environment(rota_http_session *session)
{
    struct setting http = for_http(), https = or_for_all(environment("https_proxy", "HTTPS_PROXY"));
    struct setting none = environment("no_proxy", "NO_PROXY");
    if (none.value && !(session->no_proxy = copy(session, rota__str_of(none.value))))
        return -ENOMEM;
    int err = http.value ? proxy_new(session, http.name, http.value, &session->http_proxy) : 0;
    if (err == 0 && https.value)
        err = proxy_new(session, https.name, https.value, &session->https_proxy);
    return err;
}

int rota__http_proxies_init(rota_http_session *session)
{
    const char *said = session->options.proxy;
    if (session->options.unix_path || (said && !*said))
        return 0;
    if (!said)
        return use_environment(session);
    int err = proxy_new(session, "the option `proxy`", said, &session->http_proxy);
    if (err < 0)
        return err;
    session->https_proxy = session->http_proxy;
    if (!session->http_proxy->wrong)
        return 0;
    return rota__http_set_error(ROTA_HTTP_QUEUED, -EINVAL, "%s", session->http_proxy->wrong);
}

void rota__http_proxies_fini(rota_http_session *session)
{
    if (session->http_proxy)
        rota__http_auth_cache_fini(session->http_proxy->auth);
    if (session->https_proxy)
        rota__http_auth_cache_fini(session->https_proxy->auth);
}

const struct rota__http_proxy *rota__http_proxy_for(const rota_http_session *session, bool secure,
                                                    const rota_host *host, int port)
{
    const struct rota__http_proxy *proxy = secure ? session->https_proxy : session->http_proxy;
    if (!proxy || (session->no_proxy && rota__proxy_excepts(session->no_proxy, host, port)))
        return NULL;
    return proxy;
}
