/* The keys of a WebSocket's handshake: RFC 6455, section 4. */
#include "http/ws_key.h"

#include "out_check.h"

#include <errno.h>

TEST(the_answer_to_the_key_of_the_rfc_is_the_one_of_the_rfc)
{
    char accept[ROTA__WS_ACCEPT_LEN]; /* section 1.3 */
    CHECK_OK(rota__ws_key_accept(str("dGhlIHNhbXBsZSBub25jZQ=="), accept));
    check_str((rota_str){accept, sizeof accept}, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(a_key_that_is_not_of_sixteen_bytes_is_refused)
{
    static const char *const keys[] = {
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ= ",
        "dGhlIHNhbXBsZSBub25jZWE=", /* seventeen */
        "dGhlIHNhbXBsZSBub25j",     /* fifteen */
        "dGhlIHNhbXBsZSBub25jZQ==dGhl",
        "dGhl*HNhbXBsZSBub25jZQ==",
    };
    char accept[ROTA__WS_ACCEPT_LEN] = "untouched";
    for (size_t i = 0; i < COUNT(keys); i++)
        CHECK_INT(rota__ws_key_accept(str(keys[i]), accept), ==, -EINVAL);
    CHECK_STR(accept, "untouched");
}

TEST(a_new_key_is_a_key_and_no_other)
{
    char one[ROTA__WS_KEY_LEN], other[ROTA__WS_KEY_LEN], accept[ROTA__WS_ACCEPT_LEN];
    CHECK_OK(rota__ws_key_new(one));
    CHECK_OK(rota__ws_key_new(other));
    CHECK(memcmp(one, other, sizeof one) != 0);
    CHECK_OK(rota__ws_key_accept((rota_str){one, sizeof one}, accept));
}
