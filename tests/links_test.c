#include "../examples/links.h"

#include "harness.h"

#include <stdlib.h>
#include <string.h>

static void note(void *arg, const char *address)
{
    strcat(arg, address);
    strcat(arg, "|");
}

static void check_srcset(const char *value, const char *expected)
{
    char got[500] = "";
    links_in_srcset(value, note, got);
    CHECK_STR(got, expected);
}

static void check_refresh(const char *content, const char *expected)
{
    char got[500] = "";
    links_in_refresh(content, note, got);
    CHECK_STR(got, expected);
}

/* In a block of its own size, so that a byte too far is seen. */
static void find_in_css(const char *text, size_t len, char *got)
{
    char *copy = malloc(len ? len : 1);
    CHECK_PTR(copy, !=, NULL);
    memcpy(copy, text, len);
    links_in_css(copy, len, note, got);
    free(copy);
}

static void check_css(const char *text, const char *expected)
{
    char got[500] = "";
    find_in_css(text, strlen(text), got);
    CHECK_STR(got, expected);
    for (size_t len = 0; len < strlen(text); len++) { /* cut anywhere it does no harm */
        char some[500] = "";
        find_in_css(text, len, some);
    }
}

static void check_read(const char *base, const char *text, const char *expected)
{
    char *address = links_read(base, text);
    CHECK_STR(address, expected);
    free(address);
}

TEST(addresses_are_read_as_browsers_do)
{
    check_read("", "", "");
    check_read("", " \n a b \x01\t ", "a b");
    check_read("", "a\tb\nc\r/d", "abc/d");
    check_read("", "\t\n", "");
    check_read("http://h/x", "http:page.html", "page.html");
    check_read("http://h/x", "HTTP:/page.html", "/page.html");
    check_read("http://h/x", "ht\ntp:page.html", "page.html");
    check_read("http://h/x", "http:", "");
    check_read("http://h/x", "https:page.html", "https://page.html");
    check_read("https://h/x", "http:/page.html", "http://page.html");
    check_read("https://h/x", "https:page.html", "page.html");
    check_read("", "http:host", "http://host");
    check_read("http://h/x", "http:///host/y", "http://host/y");
    check_read("http://h/x", "http://host/y", "http://host/y");
    check_read("http://h/x", "httpx:page", "httpx:page");
    check_read("http://h/x", "mailto:a@b", "mailto:a@b");
}

TEST(candidates_of_srcset_are_found)
{
    check_srcset("a.png 1x, b.png 2x", "a.png|b.png|");
    check_srcset("a.png, b.png", "a.png|b.png|");
    check_srcset("a.png,b.png", "a.png,b.png|");
    check_srcset(" \n,, a 100w ,\tb 200w, ", "a|b|");
    check_srcset("a,,, b", "a|b|");
    check_srcset("a (x, y) 1x, b", "a|b|");
    check_srcset("a (x, b", "a|");
    check_srcset("data:image/png,x 1x, b", "data:image/png,x|b|");
    check_srcset(",", "");
    check_srcset("", "");
}

TEST(refresh_names_an_address_or_none)
{
    check_refresh("0; url=a", "a|");
    check_refresh("5;URL='a b' x", "a b|");
    check_refresh("0,url = \"a\"b", "a|");
    check_refresh(" 1.5 ; a", "a|");
    check_refresh("0 a", "a|");
    check_refresh("0;urlx", "urlx|");
    check_refresh("0;url", "url|");
    check_refresh("; url=a", "");
    check_refresh("0; url='a", "a|");
    check_refresh("30", "");
    check_refresh("30;", "");
    check_refresh("x; url=a", "");
    check_refresh("0; url=", "");
    check_refresh("", "");
}

TEST(urls_of_style_sheets_are_found)
{
    check_css("a { b: url(c) }", "c|");
    check_css("url( \n'a b' )url(\"c)d\")URL( e )", "a b|c)d|e|");
    check_css("a{b:x url(c),url(d)}", "c|d|");
    check_css("url(a?b=c&d#e)", "a?b=c&d#e|");
    check_css("url(a", "a|");
    check_css("url()url( )url('')url(#x)url('#y')", "");
    check_css("@font-face{src:url(a.woff2)format('woff2'),url(a.ttf)}", "a.woff2|a.ttf|");
}

TEST(imports_are_found_in_both_forms)
{
    check_css("@import 'a';@IMPORT \"b\" screen;@import/**/url(c);", "a|b|c|");
    check_css("@import url(\"a\") layer(x) supports(b: c);", "a|");
    check_css("@import a;", "");
    check_css("@import", "");
}

TEST(what_is_no_link_is_passed)
{
    check_css("/* url(a) */url(b)/* url(c)", "b|");
    check_css("/*/ url(a) */", "");
    check_css("a{content:'url(a)'}b{content:\"@import 'x'\"}", "");
    check_css("a{content:'it\\'s url(a)'} url(b)", "b|");
    check_css("a{content:'no end\n} url(b)", "b|");
    check_css("curl(a) my-url(b) url (c) -url(d)", "");
    check_css("@namespace x url(http://a/);url(b)", "b|");
    check_css("\\url(a)", "");
    check_css("url(a b) url(c\"d) url(e) ", "e|");
}

TEST(escapes_are_what_they_stand_for)
{
    check_css("url(a\\)b)", "a)b|");
    check_css("url('a\\\nb')", "ab|");
    check_css("url(\\61 b\\000063)", "abc|");
    check_css("url('\\e4\\20ac\\1f600')", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80|");
    check_css("url('\\0\\d800\\110000 x')", "???x|");
    check_css("url(\\", "");
}
