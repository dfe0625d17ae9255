#include "http/cookie.h"

#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))
#define NOW 1000000000

static rota_str str(const char *text)
{
    return (rota_str){text, strlen(text)};
}

static struct rota__cookie_target at(const char *host, const char *path, bool secure)
{
    return (struct rota__cookie_target){str(host), str(path), .secure = secure};
}

static int set(struct rota__cookie_jar *jar, const char *host, const char *path, const char *field)
{
    struct rota__cookie_target target = at(host, path, false);
    return rota__cookie_set(jar, &target, str(field), NOW);
}

static void check_sent(struct rota__cookie_jar *jar, struct rota__cookie_target target,
                       const char *expected, int64_t now)
{
    struct rota__out out = {0};
    rota__cookie_write(jar, &target, &out, now);
    rota__out_add(&out, "", 1);
    CHECK_OK(out.err);
    CHECK_STR(out.ptr, expected);
    rota__out_fini(&out);
}

/* ---- Setting and sending */

TEST(a_cookie_goes_back_to_its_own_host_and_path)
{
    struct rota__cookie_jar jar = {0};
    CHECK_INT(set(&jar, "a.example", "/x/y", " n = v ; HttpOnly"), ==, 1);
    check_sent(&jar, at("A.Example", "/x", false), "n=v", NOW);
    check_sent(&jar, at("a.example", "/x/z", false), "n=v", NOW);
    check_sent(&jar, at("a.example", "/xy", false), "", NOW);
    check_sent(&jar, at("a.example", "/", false), "", NOW);
    check_sent(&jar, at("b.a.example", "/x", false), "", NOW);
    check_sent(&jar, at("example", "/x", false), "", NOW);
    rota__cookie_jar_fini(&jar);
}

TEST(a_domain_takes_in_its_subdomains)
{
    struct rota__cookie_jar jar = {0};
    CHECK_INT(set(&jar, "www.a.example", "/", "n=v; Domain=.A.Example; Path=/p"), ==, 1);
    check_sent(&jar, at("a.example", "/p", false), "n=v", NOW);
    check_sent(&jar, at("x.y.a.example", "/p/", false), "n=v", NOW);
    check_sent(&jar, at("ba.example", "/p", false), "", NOW);
    rota__cookie_jar_fini(&jar);
}

TEST(a_cookie_that_is_not_for_its_server_to_set_is_refused)
{
    static const char *const fields[] = {
        "n=v; Domain=b.example",
        "n=v; Domain=x.a.example",
        "n=v; Domain=example",
        "n=v; Secure",
        "n",
        "=v",
        "n=v\x01",
        "",
    };
    struct rota__cookie_jar jar = {0};
    for (size_t i = 0; i < COUNT(fields); i++)
        CHECK_INT(set(&jar, "a.example", "/", fields[i]), ==, 0);
    struct rota__cookie_target address = at("10.0.0.1", "/", false);
    address.is_address = true;
    CHECK_INT(rota__cookie_set(&jar, &address, str("n=v; Domain=0.0.1"), NOW), ==, 0);
    CHECK_PTR(jar.first, ==, NULL);
}

static bool is_co_example(const char *domain)
{
    return strcmp(domain, "co.example") == 0;
}

TEST(public_suffixes_have_no_cookies_of_others)
{
    struct rota__cookie_jar jar = {.is_public_suffix = is_co_example};
    CHECK_INT(set(&jar, "a.co.example", "/", "n=v; Domain=co.example"), ==, 0);
    CHECK_INT(set(&jar, "co.example", "/", "n=v; Domain=co.example"), ==, 1);
    check_sent(&jar, at("a.co.example", "/", false), "", NOW);
    check_sent(&jar, at("co.example", "/", false), "n=v", NOW);
    rota__cookie_jar_fini(&jar);
}

#ifdef ROTA__HAS_PSL
static const struct {
    const char *host, *domain;
    bool kept, by_others; /* by_others: sent to a host below `domain`, too */
} suffixes[] = {
    {"a.example.co.uk", "co.uk", false, false},
    {"a.example.co.uk", ".CO.UK", false, false},
    {"a.example.co.uk.", "co.uk.", false, false},
    {"a.example.co.uk", "example.co.uk", true, true},
    {"example.com", "com", false, false},
    {"example.com", "example.com", true, true},
    {"me.github.io", "github.io", false, false},
    {"me.github.io", "me.github.io", true, true},
    {"github.io", "github.io", true, false},                /* itself it may */
    {"x.city.kawasaki.jp", "city.kawasaki.jp", true, true}, /* an exception to a rule */
    {"x.other.kawasaki.jp", "other.kawasaki.jp", false, false},
    {"a.intranet", "intranet", false, false}, /* on no list */
    {"localhost", "localhost", true, false},
};

TEST(cookies_are_not_for_all_hosts_of_a_public_suffix)
{
    for (size_t i = 0; i < COUNT(suffixes); i++) {
        struct rota__cookie_jar jar = {.is_public_suffix = rota__cookie_is_public_suffix};
        char field[64], other[64];
        snprintf(field, sizeof field, "n=v; Domain=%s", suffixes[i].domain);
        snprintf(other, sizeof other, "other.%s", suffixes[i].domain);
        if (set(&jar, suffixes[i].host, "/", field) != suffixes[i].kept)
            FAIL("%s, %s", suffixes[i].host, suffixes[i].domain);
        check_sent(&jar, at(suffixes[i].host, "/", false), suffixes[i].kept ? "n=v" : "", NOW);
        check_sent(&jar, at(other, "/", false), suffixes[i].by_others ? "n=v" : "", NOW);
        rota__cookie_jar_fini(&jar);
    }
}

TEST(a_loaded_jar_has_no_cookies_of_public_suffixes_either)
{
    struct rota__cookie_jar jar = {.is_public_suffix = rota__cookie_is_public_suffix};
    CHECK_INT(rota__cookie_load(&jar,
                                str(".co.uk\tTRUE\t/\tFALSE\t9999999999\tn\tv\n"
                                    ".a.co.uk\tTRUE\t/\tFALSE\t9999999999\tm\tw\n"),
                                NOW),
              ==, 0);
    check_sent(&jar, at("a.co.uk", "/", false), "m=w", NOW);
    rota__cookie_jar_fini(&jar);
}
#endif

TEST(secure_cookies_stay_on_secure_ways)
{
    struct rota__cookie_jar jar = {0};
    struct rota__cookie_target secure = at("a.example", "/", true);
    CHECK_INT(rota__cookie_set(&jar, &secure, str("n=v; Secure"), NOW), ==, 1);
    check_sent(&jar, at("a.example", "/", false), "", NOW);
    check_sent(&jar, secure, "n=v", NOW);
    CHECK_INT(set(&jar, "a.example", "/", "n=forged"), ==, 0);
    check_sent(&jar, secure, "n=v", NOW);
    rota__cookie_jar_fini(&jar);
}

TEST(longer_paths_come_first_then_older_cookies)
{
    struct rota__cookie_jar jar = {0};
    CHECK_INT(set(&jar, "a.example", "/", "one=1"), ==, 1);
    CHECK_INT(set(&jar, "a.example", "/", "deep=2; Path=/x/y"), ==, 1);
    CHECK_INT(set(&jar, "a.example", "/", "two=3"), ==, 1);
    CHECK_INT(set(&jar, "a.example", "/", "mid=4; Path=/x"), ==, 1);
    CHECK_INT(set(&jar, "a.example", "/", "one=5"), ==, 1); /* keeps its age */
    check_sent(&jar, at("a.example", "/x/y", false), "deep=2; mid=4; one=5; two=3", NOW);
    rota__cookie_jar_fini(&jar);
}

TEST(cookies_expire)
{
    struct rota__cookie_jar jar = {0};
    CHECK_INT(
        set(&jar, "a.example", "/", "age=1; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), ==,
        1);
    CHECK_INT(set(&jar, "a.example", "/", "date=2; Expires=Sun, 09 Sep 2001 01:46:45 GMT"), ==, 1);
    CHECK_INT(set(&jar, "a.example", "/", "stays=3; Expires=nonsense; Max-Age=x"), ==, 1);
    check_sent(&jar, at("a.example", "/", false), "age=1; date=2; stays=3", NOW);
    check_sent(&jar, at("a.example", "/", false), "age=1; stays=3", NOW + 5);
    check_sent(&jar, at("a.example", "/", false), "stays=3", NOW + 10);
    CHECK_INT(set(&jar, "a.example", "/", "stays=; Max-Age=-1"), ==, 1);
    check_sent(&jar, at("a.example", "/", false), "", NOW);
    CHECK_PTR(jar.first, ==, NULL);
}

TEST(a_jar_has_limits)
{
    struct rota__cookie_jar jar = {.limits = {.each = 10, .domain = 2, .all = 3}};
    CHECK_INT(set(&jar, "a.example", "/", "name=123456"), ==, 1);
    CHECK_INT(set(&jar, "a.example", "/", "name=1234567"), ==, 0);
    CHECK_INT(set(&jar, "a.example", "/", "b=2"), ==, 1);
    CHECK_INT(set(&jar, "a.example", "/", "c=3"), ==, 1);
    check_sent(&jar, at("a.example", "/", false), "b=2; c=3", NOW);
    CHECK_INT(set(&jar, "b.example", "/", "d=4"), ==, 1);
    CHECK_INT(set(&jar, "b.example", "/", "e=5"), ==, 1);
    check_sent(&jar, at("a.example", "/", false), "c=3", NOW);
    rota__cookie_jar_fini(&jar);
}

/* ---- Saving and loading */

TEST(a_saved_jar_is_loaded_as_it_was)
{
    struct rota__cookie_jar jar = {0}, again = {0};
    struct rota__cookie_target secure = at("a.example", "/", true);
    set(&jar, "a.example", "/", "session=1");
    set(&jar, "a.example", "/", "own=2; Max-Age=100; HttpOnly");
    rota__cookie_set(&jar, &secure, str("all=3; Domain=a.example; Path=/x; Max-Age=50; Secure"),
                     NOW);
    set(&jar, "a.example", "/", "gone=4; Max-Age=5");

    struct rota__out out = {0};
    rota__cookie_save(&jar, &out, NOW + 10);
    rota__out_add(&out, "", 1);
    CHECK_OK(out.err);
    CHECK_STR(out.ptr, "# Netscape HTTP Cookie File\n"
                       "#HttpOnly_a.example\tFALSE\t/\tFALSE\t1000000100\town\t2\n"
                       ".a.example\tTRUE\t/x\tTRUE\t1000000050\tall\t3\n");
    CHECK_INT(rota__cookie_load(&again, (rota_str){out.ptr, out.len - 1}, NOW + 10), ==, 0);
    check_sent(&again, at("a.example", "/x", true), "all=3; own=2", NOW + 10);
    check_sent(&again, at("b.a.example", "/x", true), "all=3", NOW + 10);
    CHECK(again.first->http_only);
    rota__out_fini(&out);
    rota__cookie_jar_fini(&jar);
    rota__cookie_jar_fini(&again);
}

TEST(a_cookie_for_ever_is_saved_and_loaded)
{
    struct rota__cookie_jar jar = {0}, again = {0};
    struct rota__out out = {0};
    CHECK_INT(set(&jar, "a.example", "/", "n=v; Max-Age=999999999999999999999"), ==, 1);
    rota__cookie_save(&jar, &out, NOW);
    CHECK_OK(out.err);
    CHECK_INT(rota__cookie_load(&again, (rota_str){out.ptr, out.len}, NOW), ==, 0);
    check_sent(&again, at("a.example", "/", false), "n=v", NOW);
    rota__out_fini(&out);
    rota__cookie_jar_fini(&jar);
    rota__cookie_jar_fini(&again);
}

TEST(a_cookie_that_would_be_saved_as_another_one_is_refused)
{
    static const char *const fields[] = {
        "a\tb=c; Max-Age=100",
        "a=b\tc; Max-Age=100",
        "a=b; Path=/x\tTRUE\t2000000000\tc\td; Max-Age=100",
    };
    struct rota__cookie_jar jar = {0};
    for (size_t i = 0; i < COUNT(fields); i++)
        CHECK_INT(set(&jar, "a.example", "/", fields[i]), ==, 0);
    CHECK_PTR(jar.first, ==, NULL);
    CHECK_INT(set(&jar, "a.example", "/", "a =\tb\t;\tPath=/\t; Max-Age=100"), ==, 1);
    check_sent(&jar, at("a.example", "/", false), "a=b", NOW);
    rota__cookie_jar_fini(&jar);
}

TEST(lines_that_are_no_cookies_are_counted)
{
    static const char text[] = "# a comment\r\n"
                               "\n"
                               "a.example\tFALSE\t/\tFALSE\t2000000000\tn\tv\r\n"
                               "a.example\tFALSE\t/\tFALSE\tlater\tn\tv\n"
                               "a.example\tFALSE\tx\tFALSE\t2000000000\tn\tv\n"
                               "a.example\n";
    struct rota__cookie_jar jar = {0};
    CHECK_INT(rota__cookie_load(&jar, str(text), NOW), ==, 3);
    check_sent(&jar, at("a.example", "/", false), "n=v", NOW);
    rota__cookie_jar_fini(&jar);
}

/* ---- Dates */

TEST(dates_are_read_in_the_forms_that_servers_use)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"6 november 1994 8:49:37", 784111777},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Mon, 01-Jan-0001 00:00:00 GMT", 978307200}, /* two digits at least: 2001 */
        {"1 Jan 69 00:00:00", 3124224000},
        {"1 Jan 1601 00:00:00", -11644473600},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t seconds = -1;
        CHECK(rota__cookie_date(str(cases[i].text), &seconds));
        CHECK_INT(seconds, ==, cases[i].seconds);
    }
    static const char *const wrong[] = {
        "",
        "never",
        "Sun, 06 Nov 1994",
        "06 Nov 08:49:37",
        "32 Nov 1994 08:49:37",
        "06 Nov 1994 24:00:00",
        "06 Nov 1994 08:60:00",
        "06 Nov 1600 08:49:37",
        "06 Nox 1994 08:49:37",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        int64_t seconds;
        CHECK(!rota__cookie_date(str(wrong[i]), &seconds));
    }
}

TEST(want_of_memory_leaves_the_jar_as_it_was)
{
    struct rota__cookie_jar jar = {0};
    int err = set(&jar, "a.example", "/", "n=old");
    if (err == 1)
        err = set(&jar, "a.example", "/", "n=new");
    CHECK(err == 1 || err == -ENOMEM);
    rota__cookie_jar_fini(&jar);
}
