#include "http/url.h"

#include "harness.h"

#include <errno.h>
#include <string.h>

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))

static rota_str str(const char *text)
{
    return (rota_str){text, strlen(text)};
}

static void check_text(struct rota__out *out, const char *expected)
{
    rota__out_add(out, "", 1);
    CHECK_OK(out->err);
    CHECK_STR(out->ptr, expected);
    rota__out_fini(out);
}

static struct rota__url parse(const char *text)
{
    struct rota__url url;
    CHECK_OK(rota__url_parse(str(text), &url));
    return url;
}

static void check_part(rota_str part, const char *expected)
{
    if (!expected) {
        CHECK_PTR(part.ptr, ==, NULL);
        return;
    }
    CHECK_PTR(part.ptr, !=, NULL);
    CHECK_INT(part.len, ==, strlen(expected));
    CHECK_MEM(part.ptr, expected, part.len);
}

/* ---- Taking apart */

TEST(a_url_has_its_parts)
{
    static const struct {
        const char *text, *scheme, *userinfo, *host, *port, *path, *query, *fragment;
        int number;
    } cases[] = {
        {"http://u:p@a.b:8080/x/y?q=1&r#f", "http", "u:p", "a.b", "8080", "/x/y", "q=1&r", "f",
         8080},
        {"HTTPS://a", "HTTPS", NULL, "a", NULL, "", NULL, NULL, 443},
        {"http://a:/", "http", NULL, "a", "", "/", NULL, NULL, 80},
        {"http://[::1]:1/", "http", NULL, "[::1]", "1", "/", NULL, NULL, 1},
        {"ws://a?x", "ws", NULL, "a", NULL, "", "x", NULL, 80},
        {"//a/x", NULL, NULL, "a", NULL, "/x", NULL, NULL, 0},
        {"/x%20y?", NULL, NULL, NULL, NULL, "/x%20y", "", NULL, 0},
        {"#", NULL, NULL, NULL, NULL, "", NULL, "", 0},
        {"mailto:a@b", "mailto", NULL, NULL, NULL, "a@b", NULL, NULL, 0},
        {"file:///etc", "file", NULL, "", NULL, "/etc", NULL, NULL, 0},
        {"", NULL, NULL, NULL, NULL, "", NULL, NULL, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rota__url url = parse(cases[i].text);
        check_part(url.scheme, cases[i].scheme);
        check_part(url.userinfo, cases[i].userinfo);
        check_part(url.host, cases[i].host);
        check_part(url.port, cases[i].port);
        check_part(url.path, cases[i].path);
        check_part(url.query, cases[i].query);
        check_part(url.fragment, cases[i].fragment);
        CHECK_INT(url.number, ==, cases[i].number);
        struct rota__out out = {0};
        rota__url_write(&out, &url);
        check_text(&out, cases[i].text);
    }
}

TEST(what_is_no_url_is_refused)
{
    static const char *const wrong[] = {
        "http://a/ b",    "http://a/\t",     "http://a/\xc3\xa4", "http://a/%",   "http://a/%2",
        "http://a/%2g",   "http://a:65536/", "http://a:8x/",      "http://a b/",  "http://[::1/",
        "http://[]/",     "http://[::1]x/",  "http://a@b@c/",     "1http://a/",   ":x",
        "http://a/?\x01", "http://a/#\x7f",  "http://a/#b#c",     "h\xc3ttp://a", "http://u\x01@a/",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct rota__url url;
        if (rota__url_parse(str(wrong[i]), &url) != -EINVAL)
            FAIL("\"%s\" was taken", wrong[i]);
    }
}

/* ---- Resolving: RFC 3986, section 5.4 */

static void check_resolved(const char *base, const char *reference, const char *expected)
{
    struct rota__url b = parse(base), r = parse(reference);
    struct rota__out out = {0};
    rota__url_resolve(&out, &b, &r);
    check_text(&out, expected);
}

TEST(references_are_resolved_as_rfc_3986_says)
{
    static const char *const cases[][2] = {
        {"g:h", "g:h"},
        {"g", "http://a/b/c/g"},
        {"./g", "http://a/b/c/g"},
        {"g/", "http://a/b/c/g/"},
        {"/g", "http://a/g"},
        {"//g", "http://g"},
        {"?y", "http://a/b/c/d;p?y"},
        {"g?y", "http://a/b/c/g?y"},
        {"#s", "http://a/b/c/d;p?q#s"},
        {"g#s", "http://a/b/c/g#s"},
        {"g?y#s", "http://a/b/c/g?y#s"},
        {";x", "http://a/b/c/;x"},
        {"g;x", "http://a/b/c/g;x"},
        {"g;x?y#s", "http://a/b/c/g;x?y#s"},
        {"", "http://a/b/c/d;p?q"},
        {".", "http://a/b/c/"},
        {"./", "http://a/b/c/"},
        {"..", "http://a/b/"},
        {"../", "http://a/b/"},
        {"../g", "http://a/b/g"},
        {"../..", "http://a/"},
        {"../../", "http://a/"},
        {"../../g", "http://a/g"},
        {"../../../g", "http://a/g"},
        {"../../../../g", "http://a/g"},
        {"/./g", "http://a/g"},
        {"/../g", "http://a/g"},
        {"g.", "http://a/b/c/g."},
        {".g", "http://a/b/c/.g"},
        {"g..", "http://a/b/c/g.."},
        {"..g", "http://a/b/c/..g"},
        {"./../g", "http://a/b/g"},
        {"./g/.", "http://a/b/c/g/"},
        {"g/./h", "http://a/b/c/g/h"},
        {"g/../h", "http://a/b/c/h"},
        {"g;x=1/./y", "http://a/b/c/g;x=1/y"},
        {"g;x=1/../y", "http://a/b/c/y"},
        {"g?y/./x", "http://a/b/c/g?y/./x"},
        {"g?y/../x", "http://a/b/c/g?y/../x"},
        {"g#s/./x", "http://a/b/c/g#s/./x"},
        {"g#s/../x", "http://a/b/c/g#s/../x"},
        {"http:g", "http:g"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_resolved("http://a/b/c/d;p?q", cases[i][0], cases[i][1]);
    check_resolved("http://u@a:1", "x", "http://u@a:1/x");
    check_resolved("http://a/b?q", "", "http://a/b?q");
    check_resolved("http://a/b?q", "?", "http://a/b?");
    check_resolved("http://a/b/", "//c/../d", "http://c/d");
    check_resolved("a", "b", "b");
}

/* ---- Encoding */

TEST(text_is_mended_encoded_and_decoded)
{
    struct rota__out out = {0};
    rota__url_mend(&out, str("http://a/b c?100%&\xc3\xa4%20#x"));
    check_text(&out, "http://a/b%20c?100%25&%C3%A4%20#x");
    rota__url_encode(&out, str("a b/?&=~\xff"));
    check_text(&out, "a%20b%2F%3F%26%3D~%FF");
    CHECK_OK(rota__url_decode(&out, str("a%20b%2f%FF+")));
    check_text(&out, "a b/\xff+");
    CHECK_INT(rota__url_decode(&out, str("x%2")), ==, -EINVAL);
    CHECK_INT(rota__url_decode(&out, str("x%zz")), ==, -EINVAL);
    rota__out_fini(&out);
}
