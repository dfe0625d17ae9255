#include "../examples/robots.h"

#include "harness.h"

#include <string.h>

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))

static bool allows(const char *text, const char *path)
{
    struct robots *robots = robots_parse(text, strlen(text), "crawler");
    CHECK_PTR(robots, !=, NULL);
    bool allow = robots_allow(robots, path);
    robots_free(robots);
    return allow;
}

static void check(const char *rules, const char *path, bool expected)
{
    char text[500];
    snprintf(text, sizeof text, "User-agent: *\n%s\n", rules);
    if (allows(text, path) != expected)
        FAIL("\"%s\" %s %s", rules, expected ? "forbids" : "allows", path);
}

TEST(rules_match_from_the_beginning_of_the_path)
{
    check("Disallow: /a", "/a", false);
    check("Disallow: /a", "/abc?d", false);
    check("Disallow: /a", "/A", true);
    check("Disallow: /a/", "/a", true);
    check("Disallow: /", "/", false);
    check("Disallow:", "/", true);
    check("Disallow: a", "/a", true);
    check("", "/", true);
}

TEST(longest_match_wins_and_of_equals_allow)
{
    check("Allow: /a/b\nDisallow: /a", "/a/b/c", true);
    check("Disallow: /a\nAllow: /a/b", "/a/c", false);
    check("Disallow: /a/b\nAllow: /a", "/a/b", false);
    check("Allow: /a\nDisallow: /a", "/a", true);
    check("Disallow: /a\nAllow: /a", "/a", true);
    check("Disallow: /*.html\nAllow: /a", "/a.html", false);
    check("Disallow: /\nAllow: /$", "/", true);
    check("Disallow: /\nAllow: /$", "/x", false);
}

TEST(star_is_anything_and_dollar_the_end)
{
    check("Disallow: *.gif$", "/a/b.gif", false);
    check("Disallow: *.gif$", "/a/b.gif?x", true);
    check("Disallow: /*.gif", "/b.gif?x", false);
    check("Disallow: /a*c*e", "/abcde", false);
    check("Disallow: /a*c*e$", "/acexce", false);
    check("Disallow: /a*c*e", "/aec", true);
    check("Disallow: /a**b", "/ab", false);
    check("Disallow: /a*", "/a", false);
    check("Disallow: *", "/", false);
    check("Disallow: $", "/", true);
    check("Disallow: /a$b", "/a$b", false);
    check("Disallow: /a$", "/a$", true);
    check("Disallow: /a$", "/a", false);
}

TEST(encoded_and_plain_are_the_same)
{
    check("Disallow: /%7Ejoe", "/~joe", false);
    check("Disallow: /~joe", "/%7ejoe", false);
    check("Disallow: /a%2Fb", "/a/b", true);
    check("Disallow: /a%2fb", "/a%2Fb", false);
    check("Disallow: /\xc3\xa4", "/%C3%A4", false);
    check("Disallow: /100%", "/100%", false);
    check("Disallow: /%4", "/%4", false);
}

TEST(groups_are_for_those_they_name)
{
    static const struct {
        const char *text, *path;
        bool allow;
    } cases[] = {
        {"User-agent: other\nDisallow: /\n", "/", true},
        {"User-agent: other\nDisallow: /\n\nUser-agent: *\nDisallow: /a", "/a", false},
        {"User-agent: Crawler\nDisallow: /a\n\nUser-agent: *\nDisallow: /", "/b", true},
        {"User-agent: *\nDisallow: /\nUser-agent: crawler\nAllow: /", "/b", true},
        {"User-agent: *\nDisallow: /\nUser-agent: crawler\n", "/b", true},
        {"user-AGENT:crawler/2.0\ndisallow :/a", "/a", false},
        {"User-agent: crawler-images\nDisallow: /\n", "/", true},
        {"User-agent: other\nUser-agent: crawler\nDisallow: /a", "/a", false},
        {"User-agent: crawler\nUser-agent: other\nDisallow: /a", "/a", false},
        {"User-agent: crawler\nSitemap: http://a/\n\nUser-agent: other\nDisallow: /a", "/a", false},
        {"User-agent: crawler\nDisallow: /a\nUser-agent: other\nDisallow: /b", "/b", true},
        {"User-agent: crawler\nDisallow: /a\nUser-agent: other\nUser-agent: crawler\nDisallow: /b",
         "/b", false},
        {"User-agent: crawler\nDisallow: /a\nUser-agent: other\nUser-agent: crawler\nDisallow: /b",
         "/a", false},
        {"Disallow: /\nUser-agent: *\nDisallow: /a", "/b", true},
        {"\xef\xbb\xbfUser-agent: *\rDisallow: /a # not this\r\n\r\n", "/a", false},
        {"User-agent: *\nDisallow: /a#b", "/a", false},
        {"User-agent: *\nDisallow: /", "/robots.txt", true},
        {"<html>404: not here</html>", "/", true},
        {"", "/", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (allows(cases[i].text, cases[i].path) != cases[i].allow)
            FAIL("%s of \"%s\"", cases[i].path, cases[i].text);
    }
}

TEST(stars_take_no_endless_time)
{
    char pattern[400] = "Disallow: /", path[4001] = "/";
    for (int i = 0; i < 150; i++)
        strcat(pattern, "a*");
    strcat(pattern, "b$");
    memset(path + 1, 'a', sizeof path - 2);
    check(pattern, path, true);
}
