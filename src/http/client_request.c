/* The head of a request: URL, target and fields. */
#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"

#include <string.h>
#include <time.h>

/* ---- URLs */

#define NOT_HTTP "is not an http or https URL"

static int refuse_url(struct rota__http_call *call, rota_str text, const char *wrong)
{
    char shown[128];
    return rota__http_say(&call->progress, -EINVAL, "\"%s\" %s",
                          rota__url_redact(text, shown, sizeof shown), wrong);
}

const char *rota__http_url_wrong(const rota_url *url, rota_host *ret_host)
{
    if (!rota__str_is(url->scheme, "http") && !rota__str_is(url->scheme, "https"))
        return NOT_HTTP;
    if (!url->host.len)
        return "has no host";
    if (rota_host_parse(url->host, ret_host) < 0 || ret_host->kind == ROTA_HOST_FUTURE)
        return "has an invalid host";
    return NULL;
}

static bool is_base(const rota_http_session *session, const rota_url *url)
{
    return session->base.host.len && rota_url_same_origin(&session->base, url);
}

static int set_origin(struct rota__http_call *call, const rota_host *host)
{
    struct rota__http_origin *before = call->origin;
    int err =
        rota__http_origin_get(call->session, call->secure, call->options->upgrade || call->only_h1,
                              host, call->url.number, &call->origin);
    if (err < 0) {
        call->origin = before;
        return err;
    }
    call->origin->uses++;
    if (before)
        before->uses--;
    rota_str authority = call->origin->authority;
    call->progress.where = call->origin->where;
    if (call->url.number == (call->secure ? 443 : 80)) /* the default port is not sent */
        authority.len =
            (size_t)((char *)memrchr(authority.ptr, ':', authority.len) - authority.ptr);
    call->authority = authority;
    return 0;
}

/* Removes userinfo and fragment, which are not sent, and makes the host canonical. */
static int strip(struct rota__http_call *call, const char *host, rota_url *url, rota_str *text)
{
    struct rota__out out = {0};
    url->userinfo = url->fragment = (rota_str){NULL, 0};
    url->host = rota__str_of(host);
    rota__url_write(&out, url);
    int err = rota__arena_settle(&call->arena, &out, 0, text);
    return err < 0 ? err : rota_url_parse(*text, url);
}

/* Sets an absolute URL. */
static int adopt(struct rota__http_call *call, rota_str text, rota_url url, bool with_credentials)
{
    bool is_http = rota__str_is(url.scheme, "http");
    rota_host host;
    char canonical[ROTA__HOST_IN_URL];
    const char *wrong = rota__http_url_wrong(&url, &host);
    if (wrong)
        return refuse_url(call, text, wrong);
    struct rota__http_credentials *said = NULL;
    int err = 0;
    rota__host_write(&host, true, canonical);
    if (url.userinfo.len && with_credentials)
        err = rota__http_credentials_parse(&call->arena, url.userinfo, &said);
    if (err == 0 && said)
        err = rota__http_credentials_use(&call->arena, call->session->options.auth, said);
    if (err == -EINVAL && said)
        rota__http_say(&call->progress, err, "the credentials cannot be sent: %s", said->wrong);
    if (err == 0 && (url.userinfo.ptr || url.fragment.ptr || !rota_str_equal(url.host, canonical)))
        err = strip(call, canonical, &url, &text);
    if (err < 0)
        return err;
    call->text = call->progress.url = text;
    call->url = url;
    call->secure = !is_http;
    const struct rota__http_origin *before = call->origin;
    err = set_origin(call, &host);
    if (said)
        call->credentials = said;
    else if (call->origin != before) /* credentials of the first URL are kept for its origin */
        call->credentials = is_base(call->session, &url) ? call->session->credentials : NULL;
    return err;
}

static int adopt_resolved(struct rota__http_call *call, const rota_url *base,
                          const rota_url *reference, bool with_credentials)
{
    struct rota__out out = {0};
    rota_url url;
    rota_str text;
    const char *wrong;
    rota__url_resolve(&out, base, reference);
    int err = rota__arena_settle(&call->arena, &out, 0, &text);
    if (err < 0)
        return err;
    return rota__url_parse(text, &url, &wrong) < 0 ? refuse_url(call, text, wrong)
                                                   : adopt(call, text, url, with_credentials);
}

int rota__http_call_set_url(struct rota__http_call *call, const char *url)
{
    const rota_url *base = &call->session->base;
    rota_url reference;
    rota_str text = rota__str_of(url);
    const char *wrong;
    if (rota__url_parse(text, &reference, &wrong) < 0)
        return refuse_url(call, text, wrong);
    if (!reference.scheme.ptr && !base->host.len)
        return refuse_url(call, text, NOT_HTTP);
    return reference.scheme.ptr ? adopt(call, text, reference, true)
                                : adopt_resolved(call, base, &reference, true);
}

int rota__http_call_move(struct rota__http_call *call, rota_str reference)
{
    struct rota__out mended = {0};
    rota_url url, base = call->url;
    const char *wrong;
    rota__url_mend(&mended, reference);
    int err = mended.err;
    if (err == 0 && rota__url_parse((rota_str){mended.ptr, mended.len}, &url, &wrong) < 0)
        err = refuse_url(call, reference, wrong);
    if (err == 0)
        err = adopt_resolved(call, &base, &url, false);
    rota__out_fini(&mended);
    return err;
}

int rota__http_call_downgrade(struct rota__http_call *call)
{
    call->only_h1 = true;
    call->ticket = 0; /* the other origin has its own queue */
    return set_origin(call, &call->origin->host);
}

/* ---- Fields */

int rota__http_refuse_field(struct rota__http_progress *p, rota_str name, rota_str value)
{
    return rota__http_say(p, -EINVAL, "\"%.*s\" %s", (int)name.len, name.ptr,
                          rota__http_field_wrong(value));
}

const char *rota__http_field_wrong(rota_str value)
{
    const char *end = value.ptr + value.len;
    return value.len && rota__scan_value(value.ptr, end) != end
               ? "has a value with a control character"
               : "is not a header field that a caller can set";
}

bool rota__http_is_idempotent(rota_str method)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (rota_str_equal(method, methods[i]))
            return true;
    }
    return false;
}

static bool has_field(const struct rota__http_call *call, rota_str name)
{
    size_t at = 0;
    return rota__fields_next(call->fields, call->count, name, &at);
}

static void add(struct rota__http_call *call, rota_str name, rota_str value)
{
    call->fields[call->count++] = (rota_http_field){name, value};
}

#define NAME(literal) ((rota_str){"" literal, sizeof(literal) - 1})

static void add_missing(struct rota__http_call *call, rota_str name, rota_str value)
{
    if (!has_field(call, name))
        add(call, name, value);
}

/* Whether a field is for the first origin only, or for a body that is not sent any more. */
static bool is_left_behind(const struct rota__http_call *call, rota_str name)
{
    if (call->moved && (rota__str_is(name, "authorization") || rota__str_is(name, "cookie") ||
                        rota__str_is(name, "proxy-authorization")))
        return true;
    if (call->has_body || rota__http_source_is_empty(&call->options->body))
        return false;
    return rota__str_is(name, "trailer") || rota__str_begins_any_case(name, "content-");
}

static int add_trailer_names(struct rota__http_call *call)
{
    rota_str names;
    if (!call->has_body || !call->trailer_count)
        return 0;
    int err = rota__http_trailers_announce(call, &names);
    if (err == 0)
        add_missing(call, NAME("Trailer"), names);
    return err;
}

static int add_callers(struct rota__http_call *call)
{
    const char *const *headers = call->options->headers;
    for (; headers && headers[0]; headers += 2) {
        rota_str name = rota__str_of(headers[0]);
        if (!headers[1])
            return rota__http_say(&call->progress, -EINVAL, "\"%s\" has no value", headers[0]);
        if (!is_left_behind(call, name))
            add(call, name, rota__str_of(headers[1]));
    }
    return 0;
}

struct rota__cookie_target rota__http_cookie_target(const struct rota__http_call *call)
{
    return (struct rota__cookie_target){
        .host = &call->origin->host, .path = call->url.path, .secure = call->secure};
}

static int add_cookies(struct rota__http_call *call)
{
    struct rota__cookie_jar *jar = &call->session->jar;
    struct rota__out out = {0};
    if (!jar->first || call->session->options.no_cookies)
        return 0;
    struct rota__cookie_target target = rota__http_cookie_target(call);
    rota__cookie_write(jar, &target, &out, time(NULL));
    bool any = out.len > 0;
    rota_str value;
    int err = rota__arena_settle(&call->arena, &out, 0, &value);
    if (err == 0 && any)
        add_missing(call, NAME("Cookie"), value);
    return err;
}

static void add_standard(struct rota__http_call *call)
{
    static const char agent[] = "rota/" ROTA_VERSION;
    const rota_http_session *session = call->session;
    add_missing(call, NAME("User-Agent"), (rota_str){agent, sizeof agent - 1});
    add_missing(call, NAME("Accept"), NAME("*/*"));
    if (!session->options.no_decoding && !has_field(call, NAME("Range")))
        add_missing(call, NAME("Accept-Encoding"),
                    rota__coding_is_known(ROTA__CODING_ZSTD) ? NAME("gzip, deflate, br, zstd")
                                                             : NAME("gzip, deflate, br"));
}

static void add_type(struct rota__http_call *call)
{
    rota_str type = call->source.type;
    if (!call->has_body)
        return;
    if (!type.len && call->options->type)
        type = rota__str_of(call->options->type);
    if (type.len)
        add_missing(call, NAME("Content-Type"), type);
    if (call->options->expect)
        add_missing(call, NAME("Expect"), NAME("100-continue"));
}

static void add_upgrade(struct rota__http_call *call)
{
    if (!call->options->upgrade)
        return;
    add(call, NAME("Connection"), NAME("Upgrade"));
    add(call, NAME("Upgrade"), rota__str_of(call->options->upgrade));
}

static int write_fields(struct rota__http_call *call)
{
    const rota_http_session *session = call->session;
    size_t most = rota__fields_pairs(call->options->headers) + session->field_count + 12;
    call->count = 0;
    call->fields = rota__arena_alloc(&call->arena, most * sizeof *call->fields);
    if (!call->fields)
        return -ENOMEM;
    int err = add_callers(call);
    if (err < 0)
        return err;
    for (size_t i = 0; i < session->field_count; i++) {
        if (!is_left_behind(call, session->fields[i].name))
            add_missing(call, session->fields[i].name, session->fields[i].value);
    }
    add_standard(call);
    add_upgrade(call);
    add_type(call);
    err = add_trailer_names(call);
    if (err == 0)
        err = rota__http_add_authorization(call);
    return err < 0 ? err : add_cookies(call);
}

/* ---- The first line */

/* Path and query; for a proxy the whole URL. An empty path becomes "/", or for OPTIONS "*", which
 * asks about the server as a whole (RFC 9112, section 3.2.4). */
static int write_target(struct rota__http_call *call)
{
    bool whole = rota__http_asks_proxy(call->origin);
    rota_str path = call->url.path;
    path.len = (size_t)(call->text.ptr + call->text.len - path.ptr); /* and the query */
    bool is_server = !path.len && rota_str_equal(call->method, "OPTIONS");
    if (!whole && (call->url.path.len || is_server)) {
        call->target = is_server ? (rota_str){"*", 1} : path;
        return 0;
    }
    struct rota__out out = {0};
    if (whole) {
        rota__out_add_literal(&out, "http://");
        rota__out_add_str(&out, call->authority);
    }
    if (!call->url.path.len && !is_server)
        rota__out_add_literal(&out, "/");
    rota__out_add_str(&out, path);
    return rota__arena_settle(&call->arena, &out, 0, &call->target);
}

int rota__http_call_write(struct rota__http_call *call)
{
    int err = write_target(call);
    return err < 0 ? err : write_fields(call);
}
