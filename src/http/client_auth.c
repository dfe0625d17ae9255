/* Authentication: credentials, and how challenges of servers and proxies are answered (RFC 9110,
 * section 11).
 *
 *     a request    anonymous -> challenged -> answered        rota__http_auth_challenge, _write
 *     a cache      learns each challenge that is answered; forgets a state that was refused
 *
 * 1. Credentials belong to one origin, or to the proxy. After a redirect to another origin there
 *    are none, so a challenge from there is not answered.
 * 2. The session option decides which schemes may be used. Basic is never sent if it says Digest.
 * 3. Credentials that were refused for any reason but a stale nonce are not sent again: the caller
 *    gets the response. A request answers at most ATTEMPTS challenges.
 * 4. A refusal is about the state that this request carried (`auth->state`). Other requests change
 *    the cache at any time, so it only tells what a request may begin with.
 * 5. All requests that use one nonce share its state, and so its count. */
#include "http/auth.h"
#include "http/challenge.h"
#include "http/chars.h"
#include "http/client.h"
#include "http/fields.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

/* Ends the exchange with a server that declares each nonce stale at once. */
#define ATTEMPTS 3

#define REFUSED "the credentials were refused"
#define NO_CREDENTIALS "no credentials"

/* Most challenges that are kept for one origin, because a server may name any number of realms. */
#define CACHED 8

/* ---- Credentials */

int rota__http_credentials_new(struct rota__arena *arena, rota_str user, rota_str password,
                               struct rota__http_credentials **ret_credentials)
{
    struct rota__http_credentials *credentials = rota__arena_alloc(arena, sizeof *credentials);
    char *name = rota__arena_copy(arena, user), *secret = rota__arena_copy(arena, password);
    if (!credentials || !name || !secret)
        return -ENOMEM;
    *credentials = (struct rota__http_credentials){.user = {name, user.len},
                                                   .password = {secret, password.len}};
    *ret_credentials = credentials;
    return 0;
}

int rota__http_credentials_bearer(struct rota__arena *arena, rota_str token,
                                  struct rota__http_credentials **ret_credentials)
{
    struct rota__out out = {0};
    struct rota__http_credentials *credentials = rota__arena_alloc(arena, sizeof *credentials);
    if (!credentials)
        return -ENOMEM;
    *credentials = (struct rota__http_credentials){.is_preemptive = true};
    *ret_credentials = credentials;
    int err = rota__auth_write_bearer(&out, token);
    return rota__arena_settle(arena, &out, err, &credentials->value);
}

int rota__http_credentials_parse(struct rota__arena *arena, rota_str userinfo,
                                 struct rota__http_credentials **ret_credentials)
{
    struct rota__out user = {0}, password = {0};
    rota_str rest = userinfo, name = rota__cut(&rest, ':');
    int err = rota__url_decode(&user, name);
    if (err == 0)
        err = rota__url_decode(&password, rest);
    if (err == 0)
        err = rota__http_credentials_new(arena, (rota_str){user.len ? user.ptr : "", user.len},
                                         (rota_str){password.len ? password.ptr : "", password.len},
                                         ret_credentials);
    rota__out_fini(&user);
    rota__out_fini(&password);
    return err;
}

int rota__http_credentials_use(struct rota__arena *arena, rota_http_auth auth,
                               struct rota__http_credentials *credentials)
{
    struct rota__out out = {0};
    bool is_text =
        rota__auth_is_text(credentials->user) && rota__auth_is_text(credentials->password);
    credentials->wrong = !is_text ? "the user or password has a control character"
                         : auth != ROTA_HTTP_AUTH_DIGEST && credentials->user.len &&
                                 memchr(credentials->user.ptr, ':', credentials->user.len)
                             ? "the user has a colon, which Basic cannot send"
                             : NULL;
    if (credentials->wrong)
        return -EINVAL;
    if (auth == ROTA_HTTP_AUTH_DIGEST)
        return 0;
    credentials->is_preemptive = auth == ROTA_HTTP_AUTH_BASIC;
    int err = rota__auth_write_basic(&out, credentials->user, credentials->password);
    return rota__arena_settle(arena, &out, err, &credentials->value);
}

/* ---- States, and the cache of them */

static bool is_equal(rota_str a, rota_str b)
{
    return a.len == b.len && (!a.len || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static rota_str user_of(const struct rota__http_auth_state *state)
{
    return (rota_str){state->text.ptr, state->user_len};
}

static bool is_same_realm(const struct rota__http_auth_state *a,
                          const struct rota__http_auth_state *b)
{
    return a->is_digest == b->is_digest && is_equal(user_of(a), user_of(b)) &&
           is_equal(a->digest.realm, b->digest.realm);
}

static bool is_same_nonce(const struct rota__http_auth_state *a,
                          const struct rota__http_auth_state *b)
{
    return is_same_realm(a, b) && is_equal(a->digest.nonce, b->digest.nonce);
}

static void state_unref(struct rota__http_auth_state *state)
{
    if (!state || --state->refs > 0)
        return;
    rota__out_fini(&state->text);
    rota_free(state);
}

static int state_new(rota_str user, bool is_digest, struct rota__http_auth_state **ret_state)
{
    struct rota__http_auth_state *state = rota_zalloc(sizeof *state);
    if (!state)
        return -ENOMEM;
    state->refs = 1;
    state->is_digest = is_digest;
    state->user_len = user.len;
    rota__out_add_str(&state->text, user);
    if (state->text.err == 0) {
        *ret_state = state;
        return 0;
    }
    state_unref(state);
    return -ENOMEM;
}

/* Replaces the request's state. */
static void set_state(struct rota__http_auth *auth, struct rota__http_auth_state *state)
{
    if (state)
        state->refs++;
    state_unref(auth->state);
    auth->state = state;
}

void rota__http_auth_reset(struct rota__http_auth *auth)
{
    set_state(auth, NULL);
    auth->attempts = 0;
}

/* Returns the latest state for the user, or NULL. */
static struct rota__http_auth_state *find(const struct rota__http_auth_cache *cache, rota_str user)
{
    struct rota__http_auth_state *state = cache->first;
    while (state && !is_equal(user_of(state), user))
        state = state->next;
    return state;
}

static void take_out(struct rota__http_auth_state **at)
{
    struct rota__http_auth_state *state = *at;
    *at = state->next;
    state->next = NULL;
    state_unref(state);
}

static void forget(struct rota__http_auth_cache *cache, const struct rota__http_auth_state *state)
{
    struct rota__http_auth_state **at = &cache->first;
    while (*at && *at != state)
        at = &(*at)->next;
    if (*at)
        take_out(at);
}

void rota__http_auth_cache_fini(struct rota__http_auth_cache *cache)
{
    while (cache->first)
        take_out(&cache->first);
}

void rota__http_auth_cache_unref(struct rota__http_auth_cache *cache)
{
    if (--cache->refs > 0)
        return;
    rota__http_auth_cache_fini(cache);
    rota_free(cache);
}

/* Replaces the state of the same realm, and drops the oldest states if there are too many. */
static void put_first(struct rota__http_auth_cache *cache, struct rota__http_auth_state *state)
{
    struct rota__http_auth_state **at = &cache->first;
    state->refs++;
    for (int count = 1; *at;) {
        if (is_same_realm(*at, state) || ++count > CACHED)
            take_out(at);
        else
            at = &(*at)->next;
    }
    state->next = cache->first;
    cache->first = state;
}

/* Takes over a challenge with the same nonce. Its count continues (RFC 7616, section 3.4). */
static void take_challenge(struct rota__http_auth_state *state, struct rota__http_auth_state *from)
{
    uint32_t count = state->digest.count;
    struct rota__out text = state->text;
    state->text = from->text;
    from->text = text;
    state->digest = from->digest;
    state->digest.count = count;
    state->digest.cnonce = (rota_str){state->cnonce, sizeof state->cnonce};
}

static int make_cnonce(struct rota__http_auth_state *state)
{
    unsigned char bytes[ROTA__DIGEST_CNONCE / 2];
    static const char digits[] = "0123456789abcdef";
    if (getrandom(bytes, sizeof bytes, 0) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof bytes; i++) {
        state->cnonce[2 * i] = digits[bytes[i] >> 4];
        state->cnonce[2 * i + 1] = digits[bytes[i] & 15];
    }
    state->digest.cnonce = (rota_str){state->cnonce, sizeof state->cnonce};
    return 0;
}

/* Makes `said` the state of the request, or a known state with the same nonce. */
static int learn(struct rota__http_auth_cache *cache, struct rota__http_auth_state *said,
                 struct rota__http_auth *auth)
{
    struct rota__http_auth_state *state = cache->first;
    while (state && !is_same_nonce(state, said))
        state = state->next;
    if (!state && auth->state && is_same_nonce(auth->state, said))
        state = auth->state;
    if (state)
        take_challenge(state, said);
    int err = state || !said->is_digest ? 0 : make_cnonce(said);
    if (err < 0)
        return err;
    set_state(auth, state ? state : said);
    forget(cache, auth->state);
    put_first(cache, auth->state);
    return 0;
}

/* ---- Challenges */

struct choice {
    const struct rota__http_credentials *credentials;
    bool has_bytes, has_basic;
    /* The strongest challenge that can be answered, or NULL. */
    struct rota__http_auth_state *best;
    /* Why the others cannot be answered; cut if it is too long. */
    char *why;
};

/* `subject`: a scheme, which is a token. */
static void add_reason(struct choice *choice, rota_str subject, const char *reason)
{
    size_t len = strlen(choice->why);
    snprintf(choice->why + len, ROTA__HTTP_WHY - len, "%s%.*s%s%s", len ? "; " : "",
             subject.len < 40 ? (int)subject.len : 40, subject.len ? subject.ptr : "",
             subject.len ? ": " : "", reason);
}

/* Keeps the stronger one. Of two equal ones it keeps the first, because the server prefers it. */
static int consider_digest(struct choice *choice, const struct rota__challenge *challenge)
{
    struct rota__http_auth_state *next;
    const char *why = NULL;
    int err = state_new(choice->credentials->user, true, &next);
    if (err < 0)
        return err;
    err = rota__digest_read(challenge->params, choice->has_bytes, &next->text, &next->digest, &why);
    if (err == -EINVAL)
        add_reason(choice, challenge->scheme, why);
    if (err == 0 && (!choice->best || rota__digest_strength(&next->digest) >
                                          rota__digest_strength(&choice->best->digest))) {
        state_unref(choice->best);
        choice->best = next;
    } else {
        state_unref(next);
    }
    return err == -EINVAL ? 0 : err;
}

static void consider_basic(struct choice *choice, const struct rota__challenge *challenge)
{
    choice->has_basic |= choice->credentials->value.len > 0;
    if (!choice->has_basic)
        add_reason(choice, challenge->scheme, "not allowed by the session's options");
}

static int consider(struct choice *choice, rota_str field)
{
    struct rota__challenge challenge;
    int err = 0, more = 0;
    while (err == 0 && (more = rota__challenge_next(&field, &challenge)) > 0) {
        if (rota__str_is(challenge.scheme, "digest"))
            err = consider_digest(choice, &challenge);
        else if (rota__str_is(challenge.scheme, "basic"))
            consider_basic(choice, &challenge);
        else
            add_reason(choice, challenge.scheme, "not supported");
    }
    if (more < 0)
        add_reason(choice, (rota_str){NULL, 0}, "malformed challenge");
    return err;
}

/* Digest of any strength is preferred to Basic. */
static int choose(struct choice *choice, const struct rota__http_challenge_fields *fields)
{
    static const char *const names[] = {"www-authenticate", "proxy-authenticate"};
    rota_str name = rota__str_of(names[fields->side]);
    const rota_http_field *field;
    int err = 0;
    for (size_t at = 0;
         err == 0 && (field = rota__fields_next(fields->fields, fields->count, name, &at));)
        err = consider(choice, field->value);
    if (err == 0 && !choice->best && choice->has_basic)
        err = state_new(choice->credentials->user, false, &choice->best);
    return err;
}

static void set_why(char ret_why[ROTA__HTTP_WHY], const char *why)
{
    snprintf(ret_why, ROTA__HTTP_WHY, "%s", why);
}

/* Whether the credentials were refused. Only a nonce that this request was given is known to be
 * fresh: an older one may have expired, and the server need not say so. */
static bool is_refused(const struct rota__http_auth *auth, const struct rota__http_auth_state *said,
                       char ret_why[ROTA__HTTP_WHY])
{
    const struct rota__http_auth_state *sent = auth->state;
    if (auth->attempts == ATTEMPTS) {
        snprintf(ret_why, ROTA__HTTP_WHY, "challenged again after %d answers", ATTEMPTS);
        return true;
    }
    if (!sent || sent->is_digest != said->is_digest)
        return false;
    if (said->is_digest && (auth->attempts == 0 || said->digest.is_stale))
        return false;
    set_why(ret_why, REFUSED);
    return true;
}

int rota__http_auth_challenge(const struct rota__http_credentials *credentials,
                              const struct rota__http_auth_request *request,
                              const struct rota__http_challenge_fields *fields,
                              struct rota__http_auth_cache *cache, struct rota__http_auth *auth,
                              char ret_why[ROTA__HTTP_WHY])
{
    struct choice choice = {
        .credentials = credentials, .has_bytes = request->has_bytes, .why = ret_why};
    set_why(ret_why, "");
    if (!credentials || credentials->is_preemptive) {
        set_why(ret_why, credentials ? REFUSED : NO_CREDENTIALS);
        return 0;
    }
    int err = choose(&choice, fields);
    if (!choice.best && !*ret_why)
        set_why(ret_why, "no challenge");
    bool is_answered = err == 0 && choice.best && !is_refused(auth, choice.best, ret_why);
    if (is_answered) {
        auth->attempts++;
        err = learn(cache, choice.best, auth);
    } else if (auth->state) {
        forget(cache, auth->state);
    }
    state_unref(choice.best);
    return err < 0 ? err : is_answered;
}

/* ---- Answers */

static int write_digest(struct rota__arena *arena, const struct rota__http_credentials *credentials,
                        const struct rota__http_auth_request *request,
                        struct rota__http_auth_state *state, rota_str *ret_value)
{
    struct rota__out out = {0};
    struct rota__digest_request digested = {.user = credentials->user,
                                            .password = credentials->password,
                                            .method = request->method,
                                            .uri = request->uri,
                                            .body = request->body};
    if (state->digest.qop == ROTA__DIGEST_AUTH_INT && !request->has_bytes)
        return 0;
    int err = rota__digest_write(&out, &state->digest, &digested);
    err = rota__arena_settle(arena, &out, err, ret_value);
    return err == -EOVERFLOW ? 0 : err; /* the server will send a new nonce */
}

int rota__http_auth_write(struct rota__arena *arena,
                          const struct rota__http_credentials *credentials,
                          const struct rota__http_auth_request *request,
                          const struct rota__http_auth_cache *cache, struct rota__http_auth *auth,
                          rota_str *ret_value)
{
    int err = 0;
    *ret_value = (rota_str){NULL, 0};
    if (!credentials->is_preemptive && auth->attempts == 0)
        set_state(auth, find(cache, credentials->user));
    if (credentials->is_preemptive || (auth->state && !auth->state->is_digest))
        *ret_value = credentials->value;
    else if (auth->state)
        err = write_digest(arena, credentials, request, auth->state, ret_value);
    if (!ret_value->len)
        set_state(auth, NULL); /* nothing is sent, so nothing can be refused */
    return err;
}

/* ---- Calls */

/* For a request to a proxy the URI is also the path, as in curl and browsers: the server behind the
 * proxy sees nothing else. */
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
    const struct rota__http_source *source = rota__http_call_source(call);
    const rota_http_body_source *from = &source->from;
    return (struct rota__http_auth_request){
        .method = call->method,
        .uri = uri_of(call),
        .has_bytes = !call->has_body || (!from->parts && !from->path && !from->stream),
        .body = call->has_body ? source->text : (rota_str){NULL, 0}};
}

struct party {
    const char *field;
    const struct rota__http_credentials *credentials;
    struct rota__http_auth_cache *cache;
};

static struct party party_of(struct rota__http_call *call, enum rota__http_side side)
{
    struct rota__http_origin *o = call->origin;
    if (side == ROTA__HTTP_SERVER)
        return (struct party){"Authorization", call->credentials, o->auth};
    if (!rota__http_asks_proxy(o))
        return (struct party){"Proxy-Authorization", NULL, NULL};
    return (struct party){"Proxy-Authorization", o->proxy->credentials, o->proxy->auth};
}

static int add_authorization(struct rota__http_call *call, enum rota__http_side side)
{
    struct party party = party_of(call, side);
    struct rota__http_auth_request request = auth_request_of(call);
    rota_str name = rota__str_of(party.field), value;
    size_t at = 0;
    call->adds_credentials[side] =
        party.credentials && !rota__fields_next(call->fields, call->count, name, &at);
    if (!call->adds_credentials[side])
        return 0;
    int err = rota__http_auth_write(&call->arena, party.credentials, &request, party.cache,
                                    &call->auth[side], &value);
    if (err == 0 && value.len)
        call->fields[call->count++] = (rota_http_field){name, value};
    return err;
}

int rota__http_add_authorization(struct rota__http_call *call)
{
    int err = add_authorization(call, ROTA__HTTP_SERVER);
    return err < 0 ? err : add_authorization(call, ROTA__HTTP_PROXY);
}

void rota__http_call_reset_auth(struct rota__http_call *call)
{
    for (int side = 0; side < ROTA__HTTP_SIDES; side++)
        rota__http_auth_reset(&call->auth[side]);
}

static int set_auth_error(rota_http_response *r, const char *why)
{
    r->auth_error = rota__arena_copy(&r->arena, rota__str_of(why));
    return r->auth_error ? 0 : -ENOMEM;
}

/* The upload continues until it is certain that the request is sent again: to stop an upload over
 * HTTP/1.1 ends the connection, and with it the response. */
int rota__http_authenticate(struct rota__http_call *call, rota_http_response *r)
{
    struct rota__http_challenge_fields fields = {
        .side = r->status == 407, .fields = r->fields, .count = r->count};
    if (r->status != 401 && r->status != 407)
        return 0;
    struct party party = party_of(call, fields.side);
    char why[ROTA__HTTP_WHY] = NO_CREDENTIALS;
    if (!call->adds_credentials[fields.side]) {
        if (party.credentials)
            snprintf(why, sizeof why, "the request has its own %s header", party.field);
        return set_auth_error(r, why);
    }
    struct rota__http_auth_request request = auth_request_of(call);
    int more = rota__http_auth_challenge(party.credentials, &request, &fields, party.cache,
                                         &call->auth[fields.side], why);
    if (more <= 0)
        return more < 0 ? more : set_auth_error(r, why);
    int err = rota__http_upload_take_back(call);
    if (err == -ESPIPE)
        rota__http_say(&call->progress, err,
                       "the server requires authentication, but a stream body cannot be sent "
                       "again");
    if (err < 0)
        return err;
    rota__http_response_read_off(r);
    return 1;
}
