/* Trailers of a request (RFC 9110, section 6.5). The head announces their names. Their values are
 * read after the body has been sent, because many are known only then. */
#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"

#include <stdio.h>
#include <string.h>

/* Fields that must come before the content (RFC 9110, section 6.5.1): message
 * framing, routing, authentication, request modifiers, response controls, content format. A digest
 * of the content may be a trailer (RFC 9530, section 2). */
static bool is_forbidden(rota_str name)
{
    static const char *const prefixes[] = {"accept", "content-", "if-",
                                           "proxy-", "sec-",     "x-forwarded-"};
    static const char *const names[] = {
        "authorization", "cache-control", "connection",      "cookie", "expect",     "forwarded",
        "keep-alive",    "max-forwards",  "pragma",          "range",  "set-cookie", "te",
        "upgrade",       "via",           "www-authenticate"};
    if (rota__str_is(name, "content-digest"))
        return false;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (rota__str_begins_any_case(name, prefixes[i]))
            return true;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (rota__str_is(name, names[i]))
            return true;
    }
    return rota__h1_is_forbidden_trailer(name); /* framing, for requests and responses */
}

int rota__http_trailers_check(struct rota__http_call *call)
{
    const char *const *trailers = call->options->trailers;
    if (!trailers || !trailers[0])
        return 0;
    if (!call->has_body)
        return rota__http_say(&call->progress, -EINVAL, "trailers without a body");
    for (; trailers[0]; trailers += 2) {
        rota_str name = rota__str_of(trailers[0]);
        if (!trailers[1])
            return rota__http_say(&call->progress, -EINVAL, "\"%s\" has no value", trailers[0]);
        if (is_forbidden(name) || !rota__h1_is_field(name, (rota_str){"", 0}))
            return rota__http_say(&call->progress, -EINVAL, "\"%s\" is not allowed in trailers",
                                  trailers[0]);
    }
    call->trailer_count = rota__fields_pairs(call->options->trailers);
    if (call->trailer_count > ROTA__HTTP_TRAILERS)
        return rota__http_say(&call->progress, -EINVAL, "more than %d trailers",
                              ROTA__HTTP_TRAILERS);
    return 0;
}

int rota__http_trailers_announce(struct rota__http_call *call, rota_str *ret_names)
{
    struct rota__out out = {0};
    for (size_t i = 0; i < call->trailer_count; i++) {
        if (i)
            rota__out_add_literal(&out, ", ");
        rota__out_add_str(&out, rota__str_of(call->options->trailers[2 * i]));
    }
    return rota__arena_settle(&call->arena, &out, 0, ret_names);
}

bool rota__http_trailers_next(const struct rota__http_upload *upload, size_t *at,
                              rota_http_field *ret_field)
{
    if (*at == upload->trailer_count)
        return false;
    const char *const *pair = upload->trailers + 2 * (*at)++;
    *ret_field = (rota_http_field){rota__str_of(pair[0]), rota__str_of(pair[1])};
    return true;
}

int rota__http_trailers_refuse(struct rota__http_upload *upload, rota_str name)
{
    char words[100];
    snprintf(words, sizeof words, "the trailer \"%.*s\" has a value with a control character",
             (int)(name.len < 60 ? name.len : 60), name.ptr);
    return rota__http_upload_say(upload, -EINVAL, words);
}
