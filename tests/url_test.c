#include "http/url.h"

#include <rota/url.h>

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

static rota_url parse(const char *text)
{
    rota_url url;
    CHECK_OK(rota_url_parse(str(text), &url));
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
        rota_url url = parse(cases[i].text);
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
        "http://a%/",     "//a%2g",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        rota_url url;
        if (rota_url_parse(str(wrong[i]), &url) != -EINVAL)
            FAIL("\"%s\" was taken", wrong[i]);
    }
}

/* Which host would be asked, by its canonical text, and with which port; NULL: it is refused. What
 * RFC 3986 and browsers read alike is taken, what they read differently is not. */
static const struct {
    const char *text, *host;
    int port;
} hosts[] = {
    {"http://example.org/", "example.org", 80},
    {"http://EXAMPLE.org:8080", "example.org", 8080},
    {"http://example.org.:/", "example.org", 80},
    {"http://user@example.org/", "example.org", 80},
    {"http://user:pass@example.org/", "example.org", 80},
    {"http://%40:%3A%2F@example.org/", "example.org", 80},
    {"http://!$&'()*+,;=:@example.org/", "example.org", 80},
    {"http://good.test:1@evil.test:2/", "evil.test", 2},
    {"http://evil.test?@good.test/", "evil.test", 80},
    {"http://evil.test#@good.test/", "evil.test", 80},
    {"http://evil.test/@good.test/", "evil.test", 80},
    {"http://evil.test;good.test/", "evil.test;good.test", 80},
    {"http://127.0.0.1/", "127.0.0.1", 80},
    {"http://[::1]/", "::1", 80},
    {"http://[::127.0.0.1]:81/", "::127.0.0.1", 81},
    {"http://[0:0:0:0:0:0:0:1]/", "::1", 80},
    {"https://[fe80::1%25eth0]:1/", "fe80::1%eth0", 1},
    {"https://[fe80::1%25en%31]/", "fe80::1%en1", 443},
    {"http://[v7.a:b]/", "[v7.a:b]", 80},
    {"http://a.b-c.d_e/", "a.b-c.d_e", 80},
    {"http://1and1.example/", "1and1.example", 80},
    {"http://example.0x1g/", "example.0x1g", 80},
    {"http://h:0/", "h", 0},
    {"http://h:00080/", "h", 80},
    {"http://h:65535/", "h", 65535},
    {"//h/", "h", 0},
    /* dots */
    {"http://./", NULL, 0},
    {"http://../", NULL, 0},
    {"http://.h/", NULL, 0},
    {"http://h../", NULL, 0},
    {"http://a..b/", NULL, 0},
    /* encoded hosts */
    {"http://ex%61mple.org/", NULL, 0},
    {"http://h%2f@x/", "x", 80},
    {"http://good.test%2f.evil.test/", NULL, 0},
    {"https://evil.test%25.good.test/", NULL, 0},
    {"http://%E2%80%A5/", NULL, 0},
    {"http://%00/", NULL, 0},
    /* characters */
    {"http://good.test\\.evil.test/", NULL, 0},
    {"http://good.test\\@evil.test/", NULL, 0},
    {"http://127.0.0.1\\@evil.test/", NULL, 0},
    {"http://evil.test:80\\@good.test:80/", NULL, 0},
    {"\\\\good.test/", "", 0}, /* a path, or refused */
    {"http://a<b>\"^`{|}[]@h/", NULL, 0},
    {"http://u\\p@h/", NULL, 0},
    {"http://u<x@h/", NULL, 0},
    {"http://u>x@h/", NULL, 0},
    {"http://u\"x@h/", NULL, 0},
    {"http://u{x@h/", NULL, 0},
    {"http://u}x@h/", NULL, 0},
    {"http://u|x@h/", NULL, 0},
    {"http://u^x@h/", NULL, 0},
    {"http://u`x@h/", NULL, 0},
    {"http://u[x]@h/", NULL, 0},
    {"http://u x@h/", NULL, 0},
    {"http://u\tx@h/", NULL, 0},
    {"http://u\x7fx@h/", NULL, 0},
    {"http://u\xc3\xa4@h/", NULL, 0},
    {"http://u%@h/", NULL, 0},
    {"http://u%4@h/", NULL, 0},
    {"http://a@b@c/", NULL, 0},
    {"http://a b/", NULL, 0},
    {"http://a\n/", NULL, 0},
    {"http://a<b/", NULL, 0},
    {"http://a^b/", NULL, 0},
    {"http://a|b/", NULL, 0},
    {"http://\xef\xbd\x87\xef\xbd\x8f.test/", NULL, 0},
    /* IPv4 */
    {"http://127.1/", NULL, 0},
    {"http://0x7f.1/", NULL, 0},
    {"http://0X7F000001/", NULL, 0},
    {"http://017700000001/", NULL, 0},
    {"http://2130706433/", NULL, 0},
    {"http://127.0.0.01/", NULL, 0},
    {"http://127.0.0.1./", NULL, 0},
    {"http://1.2.3.4.5/", NULL, 0},
    {"http://256.0.0.1/", NULL, 0},
    {"http://example.1/", NULL, 0},
    {"http://example.0x/", NULL, 0},
    /* brackets */
    {"http://[]/", NULL, 0},
    {"http://[::1/", NULL, 0},
    {"http://::1]/", NULL, 0},
    {"http://::1/", NULL, 0},
    {"http://[::1]x/", NULL, 0},
    {"http://[::1]]/", NULL, 0},
    {"http://x[::1]/", NULL, 0},
    {"http://[localhost]/", NULL, 0},
    {"http://[127.0.0.1]/", NULL, 0},
    {"http://[google.com]/", NULL, 0},
    {"http://[:]/", NULL, 0},
    {"http://[0:1:2:3:4:5:6:7:8]/", NULL, 0},
    {"http://[1::2::3]/", NULL, 0},
    {"http://[::1.2.3.4x]/", NULL, 0},
    {"http://[::%31]/", NULL, 0},
    {"http://[%3a%3a1]/", NULL, 0},
    {"http://[::1%25]/", NULL, 0},
    {"http://[::1%lo]/", NULL, 0},
    {"http://[::1%31]/", NULL, 0},
    {"http://[::1%2525]/", "::1%25", 80},
    {"http://[::1%25%2f]/", NULL, 0},
    {"http://[v.x]/", NULL, 0},
    {"http://[v1.]/", NULL, 0},
    /* ports */
    {"http://h:65536/", NULL, 0},
    {"http://h:99999999999/", NULL, 0},
    {"http://h:-1/", NULL, 0},
    {"http://h:+1/", NULL, 0},
    {"http://h: 80/", NULL, 0},
    {"http://h:80:90/", NULL, 0},
    {"http://h:0x50/", NULL, 0},
    {"http://:80/", NULL, 0},
    {"http://u@:80/", NULL, 0},
};

TEST(each_url_has_one_host_or_is_refused)
{
    for (size_t i = 0; i < COUNT(hosts); i++) {
        rota_url url;
        rota_host host = {.text = ""};
        int err = rota_url_parse(str(hosts[i].text), &url);
        if ((err == 0) != !!hosts[i].host && strcmp(hosts[i].text, "\\\\good.test/") != 0)
            FAIL("%s: %d", hosts[i].text, err);
        ROTA_SCOPED(rota_bytes) normal = ROTA_BYTES_INIT;
        int resolved = rota_url_resolve((rota_str){NULL, 0}, str(hosts[i].text), &normal);
        if (!hosts[i].host && resolved != -EINVAL)
            FAIL("%s: %d, %s", hosts[i].text, resolved, normal.ptr);
        if (err < 0 || !url.host.len)
            continue;
        CHECK_OK(rota_host_parse(url.host, &host));
        CHECK_STR(host.text, hosts[i].host);
        CHECK_INT(url.number, ==, hosts[i].port);
        CHECK_OK(resolved);
        rota_url again = parse(normal.ptr);
        CHECK(rota_url_same_origin(&url, &again));
    }
}

TEST(a_path_has_no_characters_that_browsers_encode_or_turn_into_slashes)
{
    static const char *const wrong[] = {"http://h/<",   "http://h/>",  "http://h/\"",
                                        "http://h/\\x", "http://h/?<", "http://h/#>",
                                        "http://h/?\"", "/\\evil.test"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        rota_url url;
        if (rota_url_parse(str(wrong[i]), &url) != -EINVAL)
            FAIL("\"%s\" was taken", wrong[i]);
    }
    parse("http://h/[a]|b?{x}|^\\`#\\");
}

/* ---- Resolving: RFC 3986, section 5.4 */

static void check_resolved(const char *base, const char *reference, const char *expected)
{
    rota_url b = parse(base), r = parse(reference);
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

TEST(dots_of_a_base_go_and_what_they_hid_stays_a_path)
{
    check_resolved("http://a/./b/../c", "", "http://a/c");
    check_resolved("http://a/./b", "#s", "http://a/b#s");
    check_resolved("http://a/", "/.//b", "http://a//b");
    check_resolved("", "/.//b", "/.//b");
    check_resolved("x:/a", "/..//b", "x:/.//b");
    check_resolved("", "x:/.//b", "x:/.//b");
    check_resolved("", "./a:b/c", "./a:b/c");
    check_resolved("x:y/z", "./a:b", "x:y/a:b");
    check_resolved("", "a/b:c", "a/b:c");
}

/* ---- Encoding */

TEST(text_is_mended_encoded_and_decoded)
{
    struct rota__out out = {0};
    rota__url_mend(&out, str("http://a/b c?100%&\xc3\xa4%20#x"));
    check_text(&out, "http://a/b%20c?100%25&%C3%A4%20#x");
    rota__url_mend(&out, str("\"<a>\"#b#c%"));
    check_text(&out, "%22%3Ca%3E%22#b%23c%25");
    rota__url_mend(&out, str("http://h\\a b%/x\\y?x\\y#x\\y"));
    check_text(&out, "http://h\\a b%/x%5Cy?x\\y#x\\y");
    rota__url_encode(&out, str("a b/?&=~\xff"));
    check_text(&out, "a%20b%2F%3F%26%3D~%FF");
    CHECK_OK(rota__url_decode(&out, str("a%20b%2f%FF+")));
    check_text(&out, "a b/\xff+");
    CHECK_INT(rota__url_decode(&out, str("x%2")), ==, -EINVAL);
    CHECK_INT(rota__url_decode(&out, str("x%zz")), ==, -EINVAL);
    rota__out_fini(&out);
}

TEST(a_password_is_not_shown)
{
    static const char *const cases[][2] = {
        {"http://h/a?b#c", "http://h/a?b#c"},
        {"http://u@h/", "http://u@h/"},
        {"http://u:secret@h/", "http://u:***@h/"},
        {"http://u:@h/", "http://u:@h/"},
        {"http://u:a:b@h/x:y@z", "http://u:***@h/x:y@z"},
        {"//u:secret@h/", "//u:***@h/"},
        {"ftp://u:secret@h", "ftp://u:***@h"},
        /* invalid URLs */
        {"http://u:se cret@h/", "http://u:***@h/"},
        {"http://u:se/c:r@et@h/", "http://u:***@h/"},
        {"http://u:secret@h:x/", "http://u:***@h:x/"},
        {"u:secret@h:1", "u:***@h:1"},
        {"http:/u:secret@h", "http:***@h"},
        {"http:///u:secret@h", "http:///u:***@h"},
        {"http:////u:secret@h/", "http:////u:***@h/"},
        {"http:\\\\u:secret@h/", "http:***@h/"},
        {"u:a//secret@h", "u:***@h"},
        {"http:u:a//secret@h", "http:***@h"},
        {"http://h\r\nx\x1b[2J", "http://h\\x0d\\x0ax\\x1b[2J"},
        {"http://\xc3\xa9\xc2\x9b\xff", "http://\xc3\xa9\\xc2\\x9b\\xff"},
        {"", ""},
        {"@", "@"},
        {":@", ":@"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[80], brief[12];
        CHECK_STR(rota__url_redact(str(cases[i][0]), text, sizeof text), cases[i][1]);
        rota__url_redact(str(cases[i][0]), brief, sizeof brief);
        CHECK(!strstr(brief, "secret"));
        CHECK_INT(strlen(brief), <, sizeof brief);
    }
}

/* ---- What users call */

static void check_normal(const char *base, const char *reference, const char *expected)
{
    ROTA_SCOPED(rota_bytes) url = ROTA_BYTES_INIT;
    CHECK_OK(rota_url_resolve(str(base), str(reference), &url));
    CHECK_STR(url.ptr, expected);
    CHECK_INT(url.len, ==, strlen(expected));
}

TEST(resolved_urls_are_in_normal_form)
{
    static const char *const cases[][3] = {
        {"http://a/b/c", "../d e#f", "http://a/d%20e#f"},
        {"HTTP://A.Example:80", "", "http://a.example/"},
        {"http://a/b", " \t\n x \r\n", "http://a/x"},
        {"http://a/b", "%7e%2f%2E%2e/%c3", "http://a/~%2F../%C3"},
        {"http://a/b/c", "%2e%2E/x", "http://a/x"},
        {"http://a:8080/b", "c?q=%41&r=%26", "http://a:8080/c?q=A&r=%26"},
        {"https://a:443/b", "//B:443", "https://b/"},
        {"https://a/", "http://b:443/", "http://b:443/"},
        {"http://a:/", "x", "http://a/x"},
        {"http://a/b?c#d", "#e#f", "http://a/b?c#e%23f"},
        {"http://a/b", "#", "http://a/b#"},
        {"http://a/b?c#d", "", "http://a/b?c"},
        {"http://[::1]:80/", "x", "http://[::1]/x"},
        {"http://[0:0:0::A]/", "x", "http://[::a]/x"},
        {"http://[FE80::1%25Eth%30]/", "x", "http://[fe80::1%25Eth0]/x"},
        {"http://A.test.:80/", "x", "http://a.test./x"},
        {"http://h/", "a<b>\"\\c?\\d", "http://h/a%3Cb%3E%22%5Cc?\\d"},
        {"http://a/", "mailto:A@b", "mailto:A@b"},
        {"http://a/", "JavaScript:x()", "javascript:x()"},
        {"", "HTTP://A", "http://a/"},
        {"", "../x", "x"},
        {"http://a/", "100%", "http://a/100%25"},
        {"http://a/", "\xc3\xa4", "http://a/%C3%A4"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        check_normal(cases[i][0], cases[i][1], cases[i][2]);
    rota_bytes url = {(char *)"untouched", 1};
    CHECK_INT(rota_url_resolve(str("http://a/"), str("http://a:8x/"), &url), ==, -EINVAL);
    CHECK_INT(rota_url_resolve(str("http://[/"), str("x"), &url), ==, -EINVAL);
    CHECK_INT(rota_url_resolve(str("http://a/"), str("http://a:99999/"), &url), ==, -EINVAL);
    CHECK_STR(url.ptr, "untouched");
}

TEST(bytes_go_into_a_url_and_come_back)
{
    ROTA_SCOPED(rota_bytes)
    encoded = ROTA_BYTES_INIT, decoded = ROTA_BYTES_INIT, none = ROTA_BYTES_INIT;
    CHECK_OK(rota_url_encode((rota_str){"a/\0 b", 5}, &encoded));
    CHECK_STR(encoded.ptr, "a%2F%00%20b");
    CHECK_OK(rota_url_decode((rota_str){encoded.ptr, encoded.len}, &decoded));
    CHECK_INT(decoded.len, ==, 5);
    CHECK_MEM(decoded.ptr, "a/\0 b", 6);
    CHECK_OK(rota_url_encode((rota_str){NULL, 0}, &none));
    CHECK_STR(none.ptr, "");
    CHECK_INT(rota_url_decode(str("%4"), &none), ==, -EINVAL);
}

TEST(an_origin_is_scheme_host_and_port)
{
    static const char *const pairs[][2] = {
        {"http://a/x", "HTTP://u@A:80?y"},
        {"http://a/", "http://a.:80/"},
        {"http://[::1]/", "http://[0:0::1]:80/"},
        {"x:/a", "X:/b"},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        rota_url one = parse(pairs[i][0]), same = parse(pairs[i][1]);
        CHECK(rota_url_same_origin(&one, &same));
    }
    rota_url a = parse("http://a/x"), zone = parse("http://[fe80::1%25a]/"),
             other_zone = parse("http://[fe80::1%25A]/");
    CHECK(!rota_url_same_origin(&zone, &other_zone));
    static const char *const others[] = {"https://a:80/", "http://a:81/", "http://b/", "//a/", ""};
    for (size_t i = 0; i < COUNT(others); i++) {
        rota_url other = parse(others[i]);
        CHECK(!rota_url_same_origin(&a, &other));
    }
}
