/* Authentication: credentials, the challenges of servers and proxies (RFC 9110, section 11), and
 * answers to them.
 *
 *     a realm     nothing known -> Digest or Basic -> nothing known     rota__http_auth_challenge
 *
 * 1. Credentials belong to one origin, or to the proxy. After a redirect to another origin there
 *    is none, so nothing answers the challenge that comes from there.
 * 2. Which schemes may be used is the session's to say. Basic is never sent where it said Digest.
 * 3. What a challenge was answered with and refused again, other than for an old nonce, is not sent
 *    again: the response is the caller's. There are at most ATTEMPTS of them for a request.
 * 4. A realm is for one user; requests of another begin anew. */
#include "http/auth.h"
#include "http/challenge.h"
#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"

#include <string.h>
#include <sys/random.h>

/* A server that calls each nonce stale at once would else never end. */
#define ATTEMPTS 3

/* ---- Credentials */

static int keep(struct rota__arena *arena, struct rota__out *out, int err, char **ret_text)
{
    if (err == 0)
        err = out->err;
    if (err == 0)
        *ret_text = rota__arena_copy(arena, (rota_str){out->len ? out->ptr : "", out->len});
    rota__out_fini(out);
    return err < 0 ? err : *ret_text ? 0 : -ENOMEM;
}

int rota__http_credentials_new(struct rota__arena *arena, rota_str user, rota_str password,
                               struct rota__http_credentials **ret_login)
{
    struct rota__http_credentials *credentials = rota__arena_alloc(arena, sizeof *credentials);
    char *name = rota__arena_copy(arena, user), *secret = rota__arena_copy(arena, password);
    if (!credentials || !name || !secret)
        return -ENOMEM;
    *credentials = (struct rota__http_credentials){.user = {name, user.len},
                                                   .password = {secret, password.len}};
    *ret_login = credentials;
    return 0;
}

int rota__http_credentials_bearer(struct rota__arena *arena, rota_str token,
                                  struct rota__http_credentials **ret_login)
{
    struct rota__out out = {0};
    struct rota__http_credentials *credentials = rota__arena_alloc(arena, sizeof *credentials);
    if (!credentials)
        return -ENOMEM;
    *credentials = (struct rota__http_credentials){.always = NULL};
    *ret_login = credentials;
    return keep(arena, &out, rota__auth_write_bearer(&out, token), &credentials->always);
}

int rota__http_credentials_parse(struct rota__arena *arena, rota_str userinfo,
                                 struct rota__http_credentials **ret_login)
{
    struct rota__out user = {0}, password = {0};
    rota_str rest = userinfo, name = rota__cut(&rest, ':');
    int err = rota__url_decode(&user, name);
    if (err == 0)
        err = rota__url_decode(&password, rest);
    if (err == 0)
        err = rota__http_credentials_new(arena, (rota_str){user.len ? user.ptr : "", user.len},
                                         (rota_str){password.len ? password.ptr : "", password.len},
                                         ret_login);
    rota__out_fini(&user);
    rota__out_fini(&password);
    return err;
}

int rota__http_credentials_use(struct rota__arena *arena, rota_http_auth auth,
                               struct rota__http_credentials *credentials)
{
    struct rota__out out = {0};
    char *basic = NULL;
    if (auth == ROTA_HTTP_AUTH_DIGEST)
        return rota__auth_is_text(credentials->user) && rota__auth_is_text(credentials->password)
                   ? 0
                   : -EINVAL;
    int err = rota__auth_write_basic(&out, credentials->user, credentials->password);
    err = keep(arena, &out, err, &basic);
    if (auth == ROTA_HTTP_AUTH_BASIC)
        credentials->always = basic;
    return err;
}

/* ---- Realms */

void rota__http_auth_state_fini(struct rota__http_auth_state *realm)
{
    rota__out_fini(&realm->text);
    *realm = (struct rota__http_auth_state){.is_basic = false};
}

static void replace(struct rota__http_auth_state *realm, const struct rota__http_auth_state *by)
{
    rota__out_fini(&realm->text);
    *realm = *by;
    realm->digest.cnonce = (rota_str){realm->cnonce, sizeof realm->cnonce};
}

static bool is_for(const struct rota__http_auth_state *realm,
                   const struct rota__http_credentials *credentials)
{
    rota_str user = {realm->text.ptr, realm->user_len};
    return user.len == credentials->user.len &&
           (!user.len || memcmp(user.ptr, credentials->user.ptr, user.len) == 0);
}

static int make_cnonce(struct rota__http_auth_state *realm)
{
    unsigned char bytes[ROTA__DIGEST_CNONCE / 2];
    static const char digits[] = "0123456789abcdef";
    if (getrandom(bytes, sizeof bytes, 0) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof bytes; i++) {
        realm->cnonce[2 * i] = digits[bytes[i] >> 4];
        realm->cnonce[2 * i + 1] = digits[bytes[i] & 15];
    }
    return 0;
}

/* ---- Challenges */

/* Keeps the stronger one; the first of two that are equal, because the server prefers it. */
static int consider_digest(const struct rota__http_credentials *credentials, rota_str params,
                           bool has_bytes, struct rota__http_auth_state *best)
{
    struct rota__http_auth_state next = {.is_digest = true, .user_len = credentials->user.len};
    rota__out_add_str(&next.text, credentials->user);
    int err = next.text.err;
    if (err == 0)
        err = rota__digest_read(params, has_bytes, &next.text, &next.digest);
    if (err == 0 && (!best->is_digest ||
                     rota__digest_strength(&next.digest) > rota__digest_strength(&best->digest)))
        replace(best, &next);
    else
        rota__out_fini(&next.text);
    return err == -EINVAL ? 0 : err;
}

static int consider(const struct rota__http_credentials *credentials, rota_http_auth auth,
                    rota_str field, bool has_bytes, struct rota__http_auth_state *best)
{
    struct rota__challenge challenge;
    int err = 0;
    while (err == 0 && rota__challenge_next(&field, &challenge) > 0) {
        if (rota__str_is(challenge.scheme, "digest"))
            err = consider_digest(credentials, challenge.params, has_bytes, best);
        else if (auth == ROTA_HTTP_AUTH_ANY && rota__str_is(challenge.scheme, "basic"))
            best->is_basic = true;
    }
    return err;
}

/* The strongest of all. */
static int choose(const struct rota__http_credentials *credentials, rota_http_auth auth,
                  bool has_bytes, const struct rota__http_challenge_fields *refusal,
                  struct rota__http_auth_state *best)
{
    static const char *const names[] = {"www-authenticate", "proxy-authenticate"};
    const rota_http_field *field;
    int err = 0;
    for (size_t at = 0;
         err == 0 && (field = rota__fields_next(refusal->fields, refusal->count,
                                                rota__str_of(names[refusal->side]), &at));)
        err = consider(credentials, auth, field->value, has_bytes, best);
    best->is_basic &= !best->is_digest;
    return err;
}

/* Whether the credentials itself is what was refused. */
static bool is_wrong(const struct rota__http_auth_state *before,
                     const struct rota__http_auth_state *best,
                     const struct rota__http_credentials *credentials, int attempts)
{
    if (best->is_digest)
        return attempts == ATTEMPTS || (attempts > 0 && !best->digest.is_stale);
    return attempts == ATTEMPTS || (before->is_basic && is_for(before, credentials));
}

int rota__http_auth_challenge(const struct rota__http_credentials *credentials, rota_http_auth auth,
                              const struct rota__http_auth_request *asked,
                              const struct rota__http_challenge_fields *refusal,
                              struct rota__http_auth_state *realm, int *attempts)
{
    struct rota__http_auth_state best = {.is_basic = false};
    if (!credentials || credentials->always)
        return 0;
    int err = choose(credentials, auth, asked->has_bytes, refusal, &best);
    bool is_answered =
        (best.is_digest || best.is_basic) && !is_wrong(realm, &best, credentials, *attempts);
    if (err == 0 && best.is_basic) {
        rota__out_add_str(&best.text, credentials->user);
        best.user_len = credentials->user.len;
        err = best.text.err;
    }
    if (err == 0 && best.is_digest)
        err = make_cnonce(&best);
    if (err == 0 && is_answered) {
        replace(realm, &best);
        ++*attempts;
        return 1;
    }
    rota__http_auth_state_fini(&best);
    rota__http_auth_state_fini(realm);
    return err;
}

/* ---- Answers */

static int write_basic(struct rota__arena *arena, const struct rota__http_credentials *credentials,
                       rota_str *ret_value)
{
    struct rota__out out = {0};
    char *value = NULL;
    int err = rota__auth_write_basic(&out, credentials->user, credentials->password);
    err = keep(arena, &out, err, &value);
    if (err == 0)
        *ret_value = rota__str_of(value);
    return err;
}

static int write_digest(struct rota__arena *arena, const struct rota__http_credentials *credentials,
                        struct rota__http_auth_state *realm,
                        const struct rota__http_auth_request *asked, rota_str *ret_value)
{
    struct rota__out out = {0};
    struct rota__digest_request request = {.user = credentials->user,
                                           .password = credentials->password,
                                           .method = asked->method,
                                           .uri = asked->uri,
                                           .body = asked->body};
    char *value = NULL;
    if (realm->digest.qop == ROTA__DIGEST_AUTH_INT && !asked->has_bytes)
        return 0;
    int err = rota__digest_write(&out, &realm->digest, &request);
    err = keep(arena, &out, err, &value);
    if (err == 0)
        *ret_value = rota__str_of(value);
    return err == -EOVERFLOW ? 0 : err; /* there will be a new nonce */
}

int rota__http_auth_write(struct rota__arena *arena,
                          const struct rota__http_credentials *credentials,
                          struct rota__http_auth_state *realm,
                          const struct rota__http_auth_request *asked, rota_str *ret_value)
{
    *ret_value = (rota_str){NULL, 0};
    if (credentials->always)
        *ret_value = rota__str_of(credentials->always);
    else if (realm->is_basic && is_for(realm, credentials))
        return write_basic(arena, credentials, ret_value);
    else if (realm->is_digest && is_for(realm, credentials))
        return write_digest(arena, credentials, realm, asked, ret_value);
    return 0;
}

/* ---- Calls */

/* Of a request that a proxy is asked for, too, the URI is the path: so do curl and browsers, and
 * the server behind the proxy sees nothing else. */
static rota_str uri_of(const struct rota__http_call *call)
{
    rota_str target = call->target;
    if (!target.len || *target.ptr == '/' || *target.ptr == '*')
        return target;
    size_t before = strlen("http://") + call->authority.len;
    return target.len > before ? (rota_str){target.ptr + before, target.len - before}
                               : (rota_str){"*", 1};
}

static struct rota__http_auth_request auth_request_of(const struct rota__http_call *call)
{
    const rota_http_body_source *from = &call->source.from;
    return (struct rota__http_auth_request){
        .method = call->method,
        .uri = uri_of(call),
        .has_bytes = !call->has_body || (!from->parts && !from->path && !from->stream),
        .body = call->has_body ? call->source.text : (rota_str){NULL, 0}};
}

struct party {
    const char *field;
    const struct rota__http_credentials *credentials;
    rota_http_auth auth;
    struct rota__http_auth_state *realm;
};

static struct party party_of(struct rota__http_call *call, enum rota__http_side side)
{
    struct rota__http_origin *o = call->origin;
    const rota_http_session_options *options = &call->session->options;
    if (side == ROTA__HTTP_SERVER)
        return (struct party){"Authorization", call->credentials, options->auth, &o->realm};
    if (!rota__http_asks_proxy(o))
        return (struct party){"Proxy-Authorization", NULL, options->proxy_auth, NULL};
    return (struct party){"Proxy-Authorization", o->proxy->credentials, options->proxy_auth,
                          o->proxy->realm};
}

static int add_authorization(struct rota__http_call *call, enum rota__http_side side)
{
    struct party party = party_of(call, side);
    struct rota__http_auth_request asked = auth_request_of(call);
    rota_str name = rota__str_of(party.field), value;
    size_t at = 0;
    call->adds_credentials[side] =
        party.credentials && !rota__fields_next(call->fields, call->count, name, &at);
    if (!call->adds_credentials[side])
        return 0;
    int err = rota__http_auth_write(&call->arena, party.credentials, party.realm, &asked, &value);
    if (err == 0 && value.len)
        call->fields[call->count++] = (rota_http_field){name, value};
    return err;
}

int rota__http_add_authorization(struct rota__http_call *call)
{
    int err = add_authorization(call, ROTA__HTTP_SERVER);
    return err < 0 ? err : add_authorization(call, ROTA__HTTP_PROXY);
}

int rota__http_authenticate(struct rota__http_call *call, rota_http_response *r)
{
    struct rota__http_challenge_fields refusal = {
        .side = r->status == 407, .fields = r->fields, .count = r->count};
    if ((r->status != 401 && r->status != 407) || !call->adds_credentials[refusal.side])
        return 0;
    rota__http_upload_recall(call);
    struct party party = party_of(call, refusal.side);
    struct rota__http_auth_request asked = auth_request_of(call);
    int more = rota__http_auth_challenge(party.credentials, party.auth, &asked, &refusal,
                                         party.realm, &call->attempts[refusal.side]);
    if (more <= 0)
        return more;
    int err = call->has_body ? rota__http_source_rewind(&call->source) : 0;
    if (err == -ESPIPE)
        rota__http_say(&call->progress, err,
                       "it asks for authentication, and the body is a stream, which cannot be sent "
                       "twice");
    if (err < 0)
        return err;
    rota__http_response_read_off(r);
    return 1;
}
