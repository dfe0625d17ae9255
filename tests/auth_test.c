/* Credentials (RFC 7617, RFC 6750) and base64 (RFC 4648). */
#include "http/auth.h"
#include "http/base64.h"

#include "out_check.h"

#include <errno.h>

/* ---- Base64 */

static const struct {
    rota_str plain;
    const char *coded;
} vectors[] = {
    /* RFC 4648, section 10 */
    {{"", 0}, ""},
    {{"f", 1}, "Zg=="},
    {{"fo", 2}, "Zm8="},
    {{"foo", 3}, "Zm9v"},
    {{"foob", 4}, "Zm9vYg=="},
    {{"fooba", 5}, "Zm9vYmE="},
    {{"foobar", 6}, "Zm9vYmFy"},
    {{"\xff\xef\x00\xfb", 4}, "/+8A+w=="},
};

TEST(base64_is_what_the_rfc_says)
{
    struct rota__out out = {0};
    for (size_t i = 0; i < COUNT(vectors); i++) {
        char coded[16];
        size_t len = rota__base64_len(vectors[i].plain.len);
        rota__base64_encode(coded, vectors[i].plain.ptr, vectors[i].plain.len);
        check_str((rota_str){coded, len}, vectors[i].coded);
        CHECK_OK(rota__base64_decode(&out, str(vectors[i].coded)));
        CHECK_INT(out.len, ==, vectors[i].plain.len);
        CHECK(!out.len || memcmp(out.ptr, vectors[i].plain.ptr, out.len) == 0);
        out.len = 0;
    }
    rota__out_fini(&out);
}

TEST(base64_that_could_mean_something_else_is_refused)
{
    static const char *const refused[] = {"Z",    "Zg",   "Zg=",  "Zg==Zg==", "Zh==",
                                          "Zm9=", "====", "Z===", "Zm9v\n",   "Zm 9",
                                          "Zm-_", "Zg=A", "=Zg=", "Zm9vZ",    "Zm9v===="};
    struct rota__out out = {0};
    rota__out_add_literal(&out, "x");
    for (size_t i = 0; i < COUNT(refused); i++) {
        CHECK_INT(rota__base64_decode(&out, str(refused[i])), ==, -EINVAL);
        CHECK_INT(out.len, ==, 1);
    }
    rota__out_fini(&out);
}

/* ---- Basic */

TEST(basic_credentials_are_written_and_read)
{
    struct rota__out out = {0}, plain = {0};
    rota_str user, password;
    CHECK_OK(rota__auth_write_basic(&out, str("Aladdin"), str("open sesame")));
    check_out(&out, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="); /* RFC 7617, section 2 */
    CHECK_OK(rota__auth_write_basic(&out, str("test"), str("123\xc2\xa3")));
    check_out(&out, "Basic dGVzdDoxMjPCow=="); /* RFC 7617, section 2.1 */
    CHECK_OK(rota__auth_write_basic(&out, str(""), (rota_str){NULL, 0}));
    check_out(&out, "Basic Og==");

    CHECK_OK(rota__auth_read_basic(str("bAsIc  QWxhZGRpbjpvcGVuOnNlc2FtZQ== "), &plain, &user,
                                   &password));
    check_str(user, "Aladdin");
    check_str(password, "open:sesame");
    rota__out_fini(&plain);
    rota__out_fini(&out);
}

TEST(credentials_that_cannot_be_told_apart_are_refused)
{
    static const char *const fields[] = {
        "",         "Basic",
        "Basic ",   "Basic QWxhZGRpbg==", /* no colon */
        "Basic",    "Bearer Og==",
        "Basic Og", "Basic Og== Og==",
        "Og==",     "Basic AAA6AA==" /* control characters */,
    };
    struct rota__out out = {0};
    rota_str user, password;
    for (size_t i = 0; i < COUNT(fields); i++)
        CHECK_INT(rota__auth_read_basic(str(fields[i]), &out, &user, &password), ==, -EINVAL);
    CHECK_INT(rota__auth_read_basic((rota_str){NULL, 0}, &out, &user, &password), ==, -EINVAL);
    CHECK_INT(rota__auth_write_basic(&out, str("a:b"), str("c")), ==, -EINVAL);
    CHECK_INT(rota__auth_write_basic(&out, str("a"), str("c\r\nX: y")), ==, -EINVAL);
    CHECK_INT(rota__auth_write_basic(&out, BYTES("a\0"), str("c")), ==, -EINVAL);
    CHECK_INT(out.len, ==, 0);
    rota__out_fini(&out);
}

/* ---- Bearer */

TEST(a_bearer_token_is_written_and_read)
{
    struct rota__out out = {0};
    rota_str token;
    CHECK_OK(rota__auth_write_bearer(&out, str("mF_9.B5f-4.1JqM~+/==")));
    check_out(&out, "Bearer mF_9.B5f-4.1JqM~+/==");
    CHECK_OK(rota__auth_read_bearer(str("bearer mF_9"), &token));
    check_str(token, "mF_9");
    rota__out_fini(&out);
}

TEST(a_token_with_strange_characters_is_refused)
{
    static const char *const tokens[] = {"", "=", "a b", "a\r\nb", "a=b", "a,b", "\"a\""};
    struct rota__out out = {0};
    rota_str token;
    for (size_t i = 0; i < COUNT(tokens); i++)
        CHECK_INT(rota__auth_write_bearer(&out, str(tokens[i])), ==, -EINVAL);
    CHECK_INT(out.len, ==, 0);
    CHECK_INT(rota__auth_read_bearer(str("Bearer a b"), &token), ==, -EINVAL);
    CHECK_INT(rota__auth_read_bearer(str("Basic a"), &token), ==, -EINVAL);
    CHECK_INT(rota__auth_read_bearer(str("Bearer"), &token), ==, -EINVAL);
    rota__out_fini(&out);
}
