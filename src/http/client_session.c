#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"
#include "http/plain.h"

#include <rota/file.h>

#include <string.h>
#include <time.h>

/* ---- Settings */

/* Limits the option `fields`, because an array of that size is allocated. */
#define FIELDS_MOST 10000

/* Copies a text that an option points to, unless it is NULL. */
static int keep(struct rota__arena *arena, const char **text)
{
    if (!*text)
        return 0;
    *text = rota__arena_copy(arena, rota__str_of(*text));
    return *text ? 0 : -ENOMEM;
}

static int keep_fields(rota_http_session *session)
{
    const char *const *headers = session->options.headers;
    size_t count = rota__fields_pairs(headers);
    if (headers && headers[2 * count])
        return rota__http_set_error(ROTA_HTTP_QUEUED, -EINVAL, "\"%s\" has no value",
                                    headers[2 * count]);
    session->fields = rota__arena_alloc(&session->arena, (count + 1) * sizeof *session->fields);
    if (!session->fields)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const char *name = headers[2 * i], *value = headers[2 * i + 1];
        rota_str field = rota__str_of(name);
        if (!rota__h1_is_field(field, rota__str_of(value)))
            return rota__http_set_error(ROTA_HTTP_QUEUED, -EINVAL, "\"%s\" %s", name,
                                        rota__http_field_wrong(rota__str_of(value)));
        if (keep(&session->arena, &name) < 0 || keep(&session->arena, &value) < 0)
            return -ENOMEM;
        session->fields[i] = (rota_http_field){{name, strlen(name)}, {value, strlen(value)}};
    }
    session->field_count = count;
    return 0;
}

static int keep_base(rota_http_session *session)
{
    const char **text = &session->options.base_url;
    if (!*text)
        return 0;
    if (keep(&session->arena, text) < 0)
        return -ENOMEM;
    session->base_text = rota__str_of(*text);
    rota_host host;
    const char *wrong;
    char shown[128];
    if (rota__url_parse(session->base_text, &session->base, &wrong) == 0)
        wrong = rota__http_url_wrong(&session->base, &host);
    return wrong ? rota__http_set_error(ROTA_HTTP_QUEUED, -EINVAL, "base_url: \"%s\" %s",
                                        rota__url_redact(session->base_text, shown, sizeof shown),
                                        wrong)
                 : 0;
}

/* Returns what is wrong with the credentials, or NULL. */
static const char *contradiction(const rota_http_session_options *o)
{
    if (o->user && o->bearer)
        return "both a user and a bearer";
    if (o->password && !o->user)
        return "a password without a user";
    if ((o->user || o->bearer) && !o->base_url)
        return "credentials need a base_url";
    return NULL;
}

static int keep_credentials(rota_http_session *session)
{
    const rota_http_session_options *o = &session->options;
    const char *why = contradiction(o);
    if (why)
        return rota__http_set_error(ROTA_HTTP_QUEUED, -EINVAL, "%s", why);
    int err = 0;
    if (o->bearer)
        err = rota__http_credentials_bearer(&session->arena, rota__str_of(o->bearer),
                                            &session->credentials);
    else if (o->user)
        err = rota__http_credentials_new(&session->arena, rota__str_of(o->user),
                                         rota__str_of(o->password ? o->password : ""),
                                         &session->credentials);
    if (err == 0 && o->user)
        err = rota__http_credentials_use(&session->arena, o->auth, session->credentials);
    if (err == -EINVAL)
        rota__http_set_error(ROTA_HTTP_QUEUED, err, "the credentials cannot be sent: %s",
                             o->bearer ? "the bearer is not a token" : session->credentials->wrong);
    return err;
}

/* Hexadecimal digits, optionally with colons between them. */
static int keep_pin(rota_http_session *session)
{
    const char *at = session->options.fingerprint;
    size_t count = 0;
    if (!at)
        return 0;
    for (; *at && count < 64; at++) {
        int digit = rota__char_hex(*at);
        if (digit < 0 && *at != ':')
            break;
        if (digit >= 0) {
            session->pin[count / 2] = (unsigned char)(session->pin[count / 2] << 4 | digit);
            count++;
        }
    }
    session->pins = true;
    if (count == 64 && !*at)
        return 0;
    return rota__http_set_error(ROTA_HTTP_QUEUED, -EINVAL, "\"%s\" is not a SHA-256 fingerprint",
                                session->options.fingerprint);
}

static void set_time(rota_time *time, rota_time usual)
{
    if (!*time)
        *time = usual;
}

static void set_defaults(rota_http_session_options *o)
{
    if (!o->connections)
        o->connections = 100;
    if (!o->connections_host || o->connections_host > o->connections)
        o->connections_host = o->connections;
    set_time(&o->keep_alive, 15 * ROTA_SECOND);
    set_time(&o->dns_cache, 10 * ROTA_SECOND);
    set_time(&o->total, 5 * ROTA_MINUTE);
    set_time(&o->queue_time, ROTA_NEVER);
    set_time(&o->connect, 30 * ROTA_SECOND);
    set_time(&o->gap, ROTA_MINUTE);
    if (o->redirects == 0)
        o->redirects = 10;
    if (!o->head)
        o->head = ROTA__H1_HEAD_LIMIT;
    if (!o->fields)
        o->fields = ROTA__H1_FIELDS;
    if (!o->body)
        o->body = 64 << 20;
    if (!o->ratio)
        o->ratio = 200;
}

/* Returns the name of an option with an invalid value, or NULL. */
static const char *bad_option(const rota_http_session_options *o)
{
    const struct {
        const char *name;
        bool is_bad;
    } options[] = {
        {"version", (unsigned)o->version > ROTA_HTTP_2_DIRECTLY},
        {"auth", (unsigned)o->auth > ROTA_HTTP_AUTH_ANY},
        {"proxy_auth", (unsigned)o->proxy_auth > ROTA_HTTP_AUTH_ANY},
        {"keep_alive", o->keep_alive < 0},
        {"dns_cache", o->dns_cache < 0},
        {"total", o->total < 0},
        {"queue_time", o->queue_time < 0},
        {"connect", o->connect < 0},
        {"gap", o->gap < 0},
        {"redirects", o->redirects < -1},
        {"fields", o->fields > FIELDS_MOST},
        {"connect_to", o->connect_to && o->unix_path},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (options[i].is_bad)
            return options[i].name;
    }
    return NULL;
}

static int check_options(const rota_http_session_options *o)
{
    const char *name = bad_option(o);
    if (!name)
        return 0;
    return rota__http_set_error(ROTA_HTTP_QUEUED, -EINVAL, "the option `%s` cannot have this value",
                                name);
}

static int keep_retry(rota_http_session *session)
{
    const rota_backoff **retry = &session->options.retry;
    if (!*retry)
        return 0;
    rota_backoff *kept = rota__arena_alloc(&session->arena, sizeof *kept);
    if (!kept)
        return -ENOMEM;
    *kept = **retry;
    *retry = kept;
    return 0;
}

static int make_head(rota_http_session *session)
{
    size_t size = session->options.fields * sizeof *session->head;
    session->head = rota__arena_alloc(&session->arena, size);
    return session->head ? 0 : -ENOMEM;
}

/* Everything that the options point to is copied. */
static int set_up(rota_http_session *session)
{
    rota_http_session_options *o = &session->options;
    int err = check_options(o);
    set_defaults(o);
    if (err == 0)
        err = make_head(session);
    if (err == 0)
        err = keep_retry(session);
    if (err == 0)
        err = keep_base(session);
    if (err == 0)
        err = keep_fields(session);
    if (err == 0)
        err = keep_credentials(session);
    if (err == 0)
        err = keep_pin(session);
    if (err == 0)
        err = keep(&session->arena, &o->unix_path);
    if (err == 0)
        err = rota__http_proxies_init(session);
    o->headers = NULL;
    o->user = o->password = o->bearer = o->fingerprint = o->proxy = NULL;
    return err;
}

int rota_http_session_new(const rota_http_session_options *options, rota_http_session **ret_session)
{
    if (!rota_loop_current())
        return rota__http_plain(ROTA_ENOTASK);
    rota_http_session *session = rota_zalloc(sizeof *session);
    if (!session)
        return rota__http_plain(-ENOMEM);
    session->uses = 1;
#ifdef ROTA__HAS_PSL
    session->jar.is_public_suffix = rota__cookie_is_public_suffix;
#endif
    if (options)
        session->options = *options;
    for (size_t i = 0; i < ROTA__HTTP_ORIGINS; i++)
        rota__list_init(&session->origins[i]);
    rota__list_init(&session->conns);
    rota__list_init(&session->idle);
    rota__list_init(&session->waiting);
    int err = set_up(session);
    if (err < 0) {
        rota__http_session_unref(session);
        return err == -ENOMEM ? rota__http_plain(err) : err;
    }
    *ret_session = session;
    return 0;
}

struct rota__h1_limits rota__http_head_limits(const rota_http_session *session)
{
    return (struct rota__h1_limits){.head = session->options.head,
                                    .fields = session->options.fields};
}

void rota__http_session_unref(rota_http_session *session)
{
    if (--session->uses > 0)
        return;
    rota_handle_cancel(&session->watch);
    rota_handle_cancel(&session->expiry);
    rota__http_origins_fini(session);
    rota__http_proxies_fini(session);
    rota__cookie_jar_fini(&session->jar);
    rota_tls_context_free(session->own_tls);
    rota_tls_context_free(session->proxy_tls);
    rota__arena_fini(&session->arena, NULL);
    rota_free(session);
}

rota_http_session *rota_http_session_free(rota_http_session *session)
{
    if (!session)
        return NULL;
    ROTA_KEEP_ERROR;
    session->closed = true;
    rota__http_pool_close(session);
    ROTA_SHIELD
    {
        while (session->keepers > 0 && rota_event_wait(&session->gone) == 0)
            ;
    }
    rota__http_session_unref(session);
    return NULL;
}

/* ---- Cookies on disk */

int rota_http_session_save_cookies(rota_http_session *session, const char *path)
{
    struct rota__out out = {0};
    rota__cookie_save(&session->jar, &out, time(NULL));
    int err = rota__http_plain(out.err);
    if (err == 0)
        err = rota_file_save(path, out.len ? out.ptr : "", out.len,
                             &(rota_file_save_options){.owner_only = true});
    rota__out_fini(&out);
    return err;
}

int rota_http_session_load_cookies(rota_http_session *session, const char *path)
{
    ROTA_SCOPED(rota_bytes) text = ROTA_BYTES_INIT;
    int err = rota_file_load(path, 0, &text);
    if (err == 0)
        err = rota__cookie_load(&session->jar, (rota_str){text.ptr, text.len}, time(NULL));
    if (err > 0)
        return rota_error_set(-EBADMSG, "load cookies from %s: some lines are not cookies", path);
    return err == -ENOMEM ? rota__http_plain(err) : err;
}
