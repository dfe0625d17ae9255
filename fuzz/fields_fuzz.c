/* Reads the input as the value of each kind of field, chosen by the first byte. What can be written
 * back is, and read again. */
#include "fuzz.h"

#include "http/auth.h"
#include "http/base64.h"
#include "http/challenge.h"
#include "http/chars.h"
#include "http/coding.h"
#include "http/condition.h"
#include "http/date.h"
#include "http/digest.h"
#include "http/form.h"
#include "http/multipart.h"
#include "http/range.h"
#include "http/ws_deflate.h"

static void try_date(rota_str s, struct rota__out *out)
{
    char text[ROTA__DATE_LEN];
    int64_t seconds, again;
    if (rota__date_parse(s, 1700000000, &seconds) < 0)
        return;
    rota__date_write(text, seconds);
    require(rota__date_parse((rota_str){text, sizeof text}, 0, &again) == 0 && again == seconds);
}

static void try_range(rota_str s, struct rota__out *out)
{
    struct rota__range ranges[ROTA__RANGES];
    uint64_t size = 5000;
    int count = rota__range_parse(s, size, ranges);
    require(count <= ROTA__RANGES);
    for (int i = 0; i < count; i++) {
        require(ranges[i].len && ranges[i].from < size && ranges[i].len <= size - ranges[i].from);
        for (int j = 0; j < i; j++)
            require(ranges[i].from >= ranges[j].from + ranges[j].len + 80 ||
                    ranges[j].from >= ranges[i].from + ranges[i].len + 80);
    }
}

static void try_condition(rota_str s, struct rota__out *out)
{
    static const char *const names[] = {"if-match", "if-none-match", "if-range"};
    struct rota__validators v = {true, {"\"a\"", 3}, 784111777};
    for (size_t i = 0; i < 3; i++) {
        rota_http_field field = {{names[i], strlen(names[i])}, s};
        rota__condition_check(&field, 1, (rota_str){"GET", 3}, &v, 0);
        rota__condition_range(&field, 1, &v, 0);
    }
}

static void try_auth(rota_str s, struct rota__out *out)
{
    rota_str user, password, token;
    if (rota__auth_read_bearer(s, &token) == 0)
        require(rota__auth_write_bearer(out, token) == 0);
    struct rota__out plain = {0};
    if (rota__auth_read_basic(s, &plain, &user, &password) == 0)
        require(rota__auth_write_basic(out, user, password) == 0);
    rota__out_fini(&plain);
}

static void try_challenge(rota_str s, struct rota__out *out)
{
    struct rota__challenge challenge;
    while (rota__challenge_next(&s, &challenge) > 0) {
        struct rota__param param;
        require(challenge.scheme.len > 0);
        while (rota__challenge_param(&challenge.params, &param) > 0) {
            out->len = 0;
            rota__param_unquote(&param, out);
            require(param.name.len && out->len <= param.value.len);
        }
    }
}

static void require_param(const struct rota__param *param, const char *name, rota_str value)
{
    struct rota__out plain = {0};
    if (!rota__str_is(param->name, name))
        return;
    rota__param_unquote(param, &plain);
    require(is_same(written(&plain), value));
    rota__out_fini(&plain);
}

/* What is written has the challenge's realm, nonce and opaque, and cannot end a field. */
static void try_digest(rota_str s, struct rota__out *out)
{
    static const struct rota__digest_request request = {.user = {"u\"\\", 3},
                                                        .password = {"p", 1},
                                                        .method = {"GET", 3},
                                                        .uri = {"/a?\"", 4},
                                                        .body = {"b", 1}};
    struct rota__out text = {0};
    struct rota__digest digest;
    const char *why = NULL;
    struct rota__challenge again;
    struct rota__param param;
    if (rota__digest_read(s, true, &text, &digest, &why) == 0) {
        digest.cnonce = (rota_str){"0123456789abcdef0123456789abcdef", ROTA__DIGEST_CNONCE};
        require(rota__digest_write(out, &digest, &request) == 0);
        rota_str value = written(out);
        require(!memchr(value.ptr, '\r', value.len) && !memchr(value.ptr, '\n', value.len) &&
                !memchr(value.ptr, '\0', value.len));
        require(rota__challenge_next(&value, &again) == 1 && rota__str_is(again.scheme, "digest"));
        int more, count = 0;
        while ((more = rota__challenge_param(&again.params, &param)) > 0) {
            require_param(&param, "realm", digest.realm);
            require_param(&param, "nonce", digest.nonce);
            require_param(&param, "opaque", digest.opaque);
            count++;
        }
        require(more == 0 && count >= 5 && rota__challenge_next(&value, &again) == 0);
    } else {
        require(why);
    }
    rota__out_fini(&text);
}

static void try_base64(rota_str s, struct rota__out *out)
{
    if (rota__base64_decode(out, s) < 0)
        return;
    char *again = malloc(s.len + 1);
    rota__base64_encode(again, out->ptr, out->len);
    require(is_same((rota_str){again, rota__base64_len(out->len)}, s));
    free(again);
}

static void try_form(rota_str s, struct rota__out *out)
{
    rota_str name, value;
    struct rota__out text = {0}, again = {0};
    while (rota__form_next(&s, &name, &value)) {
        text.len = again.len = out->len = 0;
        require(rota__form_decode(&text, value) == 0);
        rota__form_add(out, name, written(&text));
        rota_str pair = written(out);
        require(rota__form_next(&pair, &name, &value) && !pair.len);
        require(rota__form_decode(&again, value) == 0);
        require(is_same(written(&again), written(&text)));
    }
    rota__out_fini(&text);
    rota__out_fini(&again);
}

static void try_coding(rota_str s, struct rota__out *out)
{
    struct rota__coding_wishes wishes = ROTA__CODING_WISHES_INIT;
    struct rota__codings codings = {.count = 0};
    rota__coding_wishes_add(&wishes, s);
    int chosen = rota__coding_choose(&wishes, 1u << ROTA__CODING_GZIP);
    require(chosen == -1 || chosen == ROTA__CODING_GZIP || chosen == ROTA__CODING_IDENTITY);
    rota__codings_add(&codings, s);
    require(codings.count <= ROTA__DECODER_STAGES);
    rota__coding_is_worth(s, UINT64_MAX);
}

static void try_terms(rota_str s, struct rota__out *out)
{
    static const struct rota__ws_deflate_terms own = {.server_bits = 12}, none = {.server_bits = 0};
    struct rota__ws_deflate_terms agreed, again;
    rota__ws_deflate_read_answer(s, &own, &agreed);
    if (rota__ws_deflate_accept(s, &own, &agreed) <= 0)
        return;
    rota__ws_deflate_write_answer(out, &agreed);
    require(rota__ws_deflate_read_answer(written(out), &none, &again) == 1);
    require(agreed.server_bits == again.server_bits && agreed.server_bits <= 12 &&
            agreed.client_bits == again.client_bits &&
            agreed.server_no_context == again.server_no_context &&
            agreed.client_no_context == again.client_no_context);
}

static void try_multipart_type(rota_str s, struct rota__out *out)
{
    struct rota__multipart m;
    rota__multipart_init(&m, s, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(rota_str s, struct rota__out * out) = {
        try_date,   try_range, try_condition,      try_auth,      try_base64, try_form,
        try_coding, try_terms, try_multipart_type, try_challenge, try_digest};
    if (size < 1)
        return 0;
    char *exact = malloc(size);
    memcpy(exact, data + 1, size - 1);
    struct rota__out out = {0};
    size_t which = (size_t)(data[0] - '0') % (sizeof tries / sizeof *tries);
    tries[which]((rota_str){exact, size - 1}, &out);
    rota__out_fini(&out);
    free(exact);
    return 0;
}
