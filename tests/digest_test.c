/* Challenges (RFC 9110, section 11.6.1) and Digest (RFC 7616). The hashes of other than the RFCs'
 * examples are Python's. */
#include "http/challenge.h"
#include "http/digest.h"

#include "out_check.h"

#include <errno.h>

/* ---- Challenges */

/* What `field` holds: "Scheme name=value name=value|Scheme token68|", quotes taken off. */
static void describe(rota_str field, struct rota__out *out)
{
    struct rota__challenge c;
    int more;
    while ((more = rota__challenge_next(&field, &c)) > 0) {
        struct rota__param param;
        rota_str params = c.params;
        int has;
        rota__out_add_str(out, c.scheme);
        while ((has = rota__challenge_param(&params, &param)) > 0) {
            rota__out_add_literal(out, " ");
            rota__out_add_str(out, param.name);
            rota__out_add_literal(out, "=");
            rota__param_unquote(&param, out);
        }
        if (has < 0) {
            rota__out_add_literal(out, " ");
            rota__out_add_str(out, c.params);
        }
        rota__out_add_literal(out, "|");
    }
    if (more < 0)
        rota__out_add_literal(out, "!");
}

TEST(challenges_are_found_in_their_field)
{
    static const char *const cases[][2] = {
        {"", ""},
        {" , ,", ""},
        {"Basic", "Basic|"},
        {"Basic realm=\"x\"", "Basic realm=x|"},
        {"Basic  realm = \"x\" , charset=UTF-8", "Basic realm=x charset=UTF-8|"},
        {"Basic realm=\"a, Digest b=\\\"c\\\"\"", "Basic realm=a, Digest b=\"c\"|"},
        {"Digest realm=\"a\\\\b\", nonce=c", "Digest realm=a\\b nonce=c|"},
        {"Negotiate, Digest a=b", "Negotiate|Digest a=b|"},
        {"Negotiate YII=, Digest a=b,c=d, Basic realm=\"\"",
         "Negotiate YII=|Digest a=b c=d|Basic realm=|"},
        {"Negotiate a/b+c==", "Negotiate a/b+c==|"},
        {",Newauth realm=\"apps\", type=1,\ttitle=\"Login to \\\"apps\\\"\", Basic "
         "realm=\"simple\"",
         "Newauth realm=apps type=1 title=Login to \"apps\"|Basic realm=simple|"},
        {"Digest a=b,,c=d,", "Digest a=b c=d|"},
        {"Digest, a=b", "Digest|!"},
        {"Digest a=b c=d", "!"},
        {"Digest a=\"b", "!"},
        {"Digest a=b, Basic x y", "Digest a=b|!"},
        {"=b", "!"},
        {"Digest a==b", "!"},
        {"Digest \"a\"", "!"},
        {"Digest\ta=b", "!"},
    };
    struct rota__out out = {0};
    for (size_t i = 0; i < COUNT(cases); i++) {
        describe(str(cases[i][0]), &out);
        check_out(&out, cases[i][1]);
    }
    rota__out_fini(&out);
}

/* ---- Digest */

#define NONCE "nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\""
#define REALM "realm=\"testrealm@host.com\""
#define RFC7616                                                \
    "nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", " \
    "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
#define RFC7616_CNONCE "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
#define DOE_REALM "realm=\"api@example.org\", "
#define DOE_NONCE "nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", "
#define DOE_OPAQUE "opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\""
#define DOE_CNONCE "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"

static const struct {
    const char *challenge, *user, *password, *method, *uri, *body, *cnonce, *answer;
} answers[] = {
    /* RFC 7616, section 3.9.1 */
    {"realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=MD5, " RFC7616, "Mufasa",
     "Circle of Life", "GET", "/dir/index.html", "", RFC7616_CNONCE,
     "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", "
     "algorithm=MD5, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, "
     "cnonce=\"" RFC7616_CNONCE "\", qop=auth, response=\"8ca523f5e9506fed4657c9700eebdbec\", "
     "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""},
    {"realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, " RFC7616,
     "Mufasa", "Circle of Life", "GET", "/dir/index.html", "", RFC7616_CNONCE,
     "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", "
     "algorithm=SHA-256, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, "
     "cnonce=\"" RFC7616_CNONCE "\", qop=auth, "
     "response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\", "
     "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""},
    /* section 3.9.2, with the hashes of erratum 4897 */
    {DOE_REALM "qop=\"auth\", algorithm=SHA-512-256, " DOE_NONCE DOE_OPAQUE
               ", charset=UTF-8, userhash=true",
     "J\xc3\xa4s\xc3\xb8n Doe", "Secret, or not?", "GET", "/doe.json", "", DOE_CNONCE,
     "Digest "
     "username=\"793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b\", " DOE_REALM
     "uri=\"/doe.json\", algorithm=SHA-512-256, " DOE_NONCE "nc=00000001, "
     "cnonce=\"" DOE_CNONCE "\", qop=auth, "
     "response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\", " DOE_OPAQUE
     ", userhash=true"},
    /* the same, except for the hashed name */
    {DOE_REALM "qop=\"auth\", algorithm=sha-512-256, " DOE_NONCE "charset=\"utf-8\"",
     "J\xc3\xa4s\xc3\xb8n Doe", "Secret, or not?", "GET", "/doe.json", "", DOE_CNONCE,
     "Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, " DOE_REALM
     "uri=\"/doe.json\", algorithm=SHA-512-256, " DOE_NONCE "nc=00000001, "
     "cnonce=\"" DOE_CNONCE "\", qop=auth, "
     "response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\""},
    {DOE_REALM "qop=\"auth\", algorithm=SHA-512-256, " DOE_NONCE "userhash=false",
     "J\xc3\xa4s\xc3\xb8n Doe", "Secret, or not?", "GET", "/doe.json", "", DOE_CNONCE,
     "Digest username=\"J\xc3\xa4s\xc3\xb8n Doe\", " DOE_REALM
     "uri=\"/doe.json\", algorithm=SHA-512-256, " DOE_NONCE "nc=00000001, "
     "cnonce=\"" DOE_CNONCE "\", qop=auth, "
     "response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\""},
    /* RFC 2617, section 3.5 */
    {REALM ", qop=\"auth,auth-int\", " NONCE ", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
     "Mufasa", "Circle Of Life", "GET", "/dir/index.html", "", "0a4f113b",
     "Digest username=\"Mufasa\", " REALM ", uri=\"/dir/index.html\", " NONCE ", nc=00000001, "
     "cnonce=\"0a4f113b\", qop=auth, response=\"6629fae49393a05397450978507c4ef1\", "
     "opaque=\"5ccc069c403ebaf9f0171e9517f40e41\""},
    /* RFC 2069, section 2.4, with the hash of its erratum 749 */
    {REALM ", " NONCE ", opaque=\"\"", "Mufasa", "CircleOfLife", "GET", "/dir/index.html", "",
     "0a4f113b",
     "Digest username=\"Mufasa\", " REALM ", uri=\"/dir/index.html\", " NONCE ", "
     "response=\"1949323746fe6a43ef61f9606e7febea\", opaque=\"\""},
    /* a key for each session */
    {REALM ", qop=auth, algorithm=MD5-sess, " NONCE, "Mufasa", "Circle Of Life", "GET",
     "/dir/index.html", "", "0a4f113b",
     "Digest username=\"Mufasa\", " REALM ", uri=\"/dir/index.html\", algorithm=MD5-sess, " NONCE
     ", nc=00000001, cnonce=\"0a4f113b\", qop=auth, "
     "response=\"8e3825c57e897f5a0dec6c2d4e5059d0\""},
    {REALM ", qop=auth, algorithm=\"SHA-256-SESS\", " NONCE, "Mufasa", "Circle Of Life", "GET",
     "/dir/index.html", "", "0a4f113b",
     "Digest username=\"Mufasa\", " REALM
     ", uri=\"/dir/index.html\", algorithm=SHA-256-sess, " NONCE
     ", nc=00000001, cnonce=\"0a4f113b\", qop=auth, "
     "response=\"b8822e12417cb7750f4e2b8515f0dcf25b7dd26993e80bee1426201446a7f59b\""},
    {REALM ", algorithm=SHA-512-256-sess, " NONCE, "Mufasa", "Circle Of Life", "GET",
     "/dir/index.html", "", "0a4f113b",
     "Digest username=\"Mufasa\", " REALM
     ", uri=\"/dir/index.html\", algorithm=SHA-512-256-sess, " NONCE ", cnonce=\"0a4f113b\", "
     "response=\"eabb6a03b33c4cea5bf0a8960d53a3dba7ce4bb10bf7c2f89c913e986ad4884e\""},
    /* bodies */
    {REALM ", qop=\"auth-int\", " NONCE, "Mufasa", "Circle Of Life", "GET", "/dir/index.html", "",
     "0a4f113b",
     "Digest username=\"Mufasa\", " REALM ", uri=\"/dir/index.html\", " NONCE ", nc=00000001, "
     "cnonce=\"0a4f113b\", qop=auth-int, response=\"5e6610ecf9ba3017a4870ad48e3ad30b\""},
    /* what has to be escaped */
    {"realm=\"say \\\"hi\\\" \\\\\", qop=\"x,auth\", " NONCE, "a\"b\\c", "p:w", "GET", "/", "",
     "0a4f113b",
     "Digest username=\"a\\\"b\\\\c\", realm=\"say \\\"hi\\\" \\\\\", uri=\"/\", " NONCE
     ", nc=00000001, cnonce=\"0a4f113b\", qop=auth, response=\"1be1e6eaaa8404c325fff4a0477ef4da\""},
};

static struct rota__digest_request request_of(size_t i)
{
    return (struct rota__digest_request){.user = str(answers[i].user),
                                         .password = str(answers[i].password),
                                         .method = str(answers[i].method),
                                         .uri = str(answers[i].uri),
                                         .body = str(answers[i].body)};
}

TEST(challenges_are_answered_as_the_rfcs_say)
{
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct rota__out text = {0}, out = {0};
        struct rota__digest digest;
        const char *why;
        struct rota__digest_request request = request_of(i);
        CHECK_OK(rota__digest_read(str(answers[i].challenge), true, &text, &digest, &why));
        digest.cnonce = str(answers[i].cnonce);
        CHECK_OK(rota__digest_write(&out, &digest, &request));
        check_out(&out, answers[i].answer);
        rota__out_fini(&text);
        rota__out_fini(&out);
    }
}

TEST(requests_are_counted_and_bodies_hashed)
{
    struct rota__out text = {0}, out = {0};
    struct rota__digest digest;
    const char *why;
    struct rota__digest_request request = {str("Mufasa"), str("Circle Of Life"), str("POST"),
                                           str("/x?y=z"), str("hello")};
    CHECK_OK(rota__digest_read(str(REALM ", qop=\"auth-int\", algorithm=SHA-256, " NONCE), true,
                               &text, &digest, &why));
    digest.cnonce = str("0a4f113b");
    CHECK_OK(rota__digest_write(&out, &digest, &request));
    out.len = 0;
    CHECK_OK(rota__digest_write(&out, &digest, &request));
    check_out(&out,
              "Digest username=\"Mufasa\", " REALM ", uri=\"/x?y=z\", algorithm=SHA-256, " NONCE
              ", nc=00000002, cnonce=\"0a4f113b\", qop=auth-int, "
              "response=\"b9dc42bcdc4ea120ed5d83fb5542c01c5a661389240d255a37460797237d8a12\"");
    digest.count = UINT32_MAX - 1;
    CHECK_OK(rota__digest_write(&out, &digest, &request));
    CHECK_INT(rota__digest_write(&out, &digest, &request), ==, -EOVERFLOW);
    rota__out_fini(&text);
    rota__out_fini(&out);
}

TEST(challenges_that_cannot_be_answered_are_refused)
{
    static const struct {
        const char *challenge, *why;
    } refused[] = {
        {"", "no parameters"},
        {"YII=", "malformed or duplicate parameter"},
        {"realm=\"x\"", "no realm or nonce"},
        {NONCE, "no realm or nonce"},
        {REALM ", " NONCE ", algorithm=SHA-1", "unknown algorithm"},
        {REALM ", " NONCE ", algorithm=\"MD5,SHA-256\"", "unknown algorithm"},
        {REALM ", " NONCE ", qop=\"\"", "unknown qop"},
        {REALM ", " NONCE ", qop=\"other\"", "unknown qop"},
        {REALM ", " NONCE ", qop=\"auth-int\"", "auth-int needs a body in memory"},
        {REALM ", " NONCE ", " NONCE, "malformed or duplicate parameter"},
        {REALM ", " NONCE ", realm=\"testrealm@host.com\"", "malformed or duplicate parameter"},
    };
    struct rota__out text = {0};
    struct rota__digest digest;
    const char *why;
    for (size_t i = 0; i < COUNT(refused); i++) {
        const char *challenge = refused[i].challenge;
        if (rota__digest_read(str(challenge), false, &text, &digest, &why) != -EINVAL)
            FAIL("\"%s\" was taken", challenge);
        CHECK_STR(why, refused[i].why);
        text.len = 0;
    }
    rota__out_fini(&text);
}

TEST(the_strongest_challenge_has_the_highest_rank)
{
    static const char *const rising[] = {
        REALM ", " NONCE,
        REALM ", " NONCE ", qop=auth",
        REALM ", " NONCE ", algorithm=SHA-256",
        REALM ", " NONCE ", algorithm=SHA-256-sess, qop=auth",
        REALM ", " NONCE ", algorithm=SHA-512-256, qop=auth, stale=TRUE",
    };
    int before = -1;
    struct rota__digest digest;
    const char *why;
    for (size_t i = 0; i < COUNT(rising); i++) {
        struct rota__out text = {0};
        CHECK_OK(rota__digest_read(str(rising[i]), false, &text, &digest, &why));
        CHECK_INT(rota__digest_strength(&digest), >, before);
        CHECK(digest.is_stale == (i + 1 == COUNT(rising)));
        before = rota__digest_strength(&digest);
        rota__out_fini(&text);
    }
}
