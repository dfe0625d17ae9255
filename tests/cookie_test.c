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

/* Good for this and the next call. */
static struct rota__cookie_target at(const char *host, const char *path, bool secure)
{
    static rota_host hosts[2];
    static int turn;
    rota_host *parsed = &hosts[turn ^= 1];
    CHECK_OK(rota_host_parse(str(host), parsed));
    return (struct rota__cookie_target){parsed, str(path), .secure = secure};
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
    CHECK_INT(rota__cookie_set(&jar, &address, str("n=v; Domain=0.0.1"), NOW), ==, 0);
    CHECK_PTR(jar.first, ==, NULL);
}

TEST(an_address_shares_its_cookies_with_nobody)
{
    struct rota__cookie_jar jar = {0};
    CHECK_INT(set(&jar, "10.0.0.1", "/", "n=v; Domain=10.0.0.1"), ==, 1);
    CHECK_INT(set(&jar, "[0:0::1]", "/", "six=v"), ==, 1);
    CHECK_INT(set(&jar, "[fe80::1%25eth0]", "/", "zone=v"), ==, 1);
    check_sent(&jar, at("10.0.0.1", "/", false), "n=v", NOW);
    check_sent(&jar, at("::1", "/", false), "six=v", NOW);
    check_sent(&jar, at("fe80::1%eth0", "/", false), "zone=v", NOW);
    check_sent(&jar, at("fe80::1%eth1", "/", false), "", NOW);
    check_sent(&jar, at("fe80::1", "/", false), "", NOW);
    rota__cookie_jar_fini(&jar);
}

TEST(a_final_dot_makes_no_other_host)
{
    struct rota__cookie_jar jar = {0};
    CHECK_INT(set(&jar, "a.example.", "/", "n=v"), ==, 1);
    check_sent(&jar, at("a.example", "/", false), "n=v", NOW);
    CHECK_INT(set(&jar, "a.example", "/", "m=w; Domain=a.example."), ==, 0);
    rota__cookie_jar_fini(&jar);
}

TEST(an_empty_domain_says_nothing)
{
    static const char *const fields[] = {"n=v; Domain=", "n=v; Domain",
                                         "n=v; Domain= ", "n=v; Domain=.",
                                         "n=v; Domain=a.example; Domain="};
    for (size_t i = 0; i < COUNT(fields); i++) {
        struct rota__cookie_jar jar = {0};
        CHECK_INT(set(&jar, "a.example", "/", fields[i]), ==, 1);
        check_sent(&jar, at("a.example", "/", false), "n=v", NOW);
        check_sent(&jar, at("b.a.example", "/", false), "", NOW);
        rota__cookie_jar_fini(&jar);
    }
}

TEST(a_url_without_a_path_has_the_path_of_all)
{
    struct rota__cookie_jar jar = {0};
    CHECK_INT(set(&jar, "a.example", "", "n=v"), ==, 1);
    CHECK_INT(set(&jar, "a.example", "/x", "m=w; Path=/"), ==, 1);
    check_sent(&jar, at("a.example", "", false), "n=v; m=w", NOW);
    check_sent(&jar, at("a.example", "/y", false), "n=v; m=w", NOW);
    rota__cookie_jar_fini(&jar);
}

/* RFC 6265bis, section 4.1.3. */
TEST(a_prefix_keeps_its_promise)
{
    static const struct {
        const char *field;
        bool secure, kept;
    } cases[] = {
        {"__Secure-n=v; Secure", true, true},
        {"__Secure-n=v; Secure; Domain=example.org; Path=/x", true, true},
        {"__Secure-n=v", true, false},
        {"__secure-n=v", true, false},
        {"__SECURE-n=v; Secure", false, false},
        {"__Host-n=v; Secure; Path=/", true, true},
        {"__Host-n=v; Secure; Path=/; Domain=", true, true},
        {"__Host-n=v; Path=/", true, false},
        {"__Host-n=v; Secure", true, false},
        {"__Host-n=v; Secure; Path=/x", true, false},
        {"__Host-n=v; Secure; Path=/; Domain=www.example.org", true, false},
        {"__host-n=v; Secure; Path=/; Domain=example.org", true, false},
        {"__HOST-n=v; Secure; Path=/", false, false},
        {"__Hos-n=v", false, true},
        {"n__Host-=v", false, true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rota__cookie_jar jar = {0};
        struct rota__cookie_target target = at("www.example.org", "/", cases[i].secure);
        if (rota__cookie_set(&jar, &target, str(cases[i].field), NOW) != cases[i].kept)
            FAIL("%s", cases[i].field);
        rota__cookie_jar_fini(&jar);
    }
    struct rota__cookie_jar jar = {0};
    CHECK_INT(rota__cookie_load(&jar,
                                str(".a.example\tTRUE\t/\tTRUE\t9999999999\t__Host-n\tv\n"
                                    "a.example\tFALSE\t/\tTRUE\t9999999999\t__Host-m\tv\n"
                                    "a.example\tFALSE\t/\tFALSE\t9999999999\t__Secure-n\tv\n"),
                                NOW),
              ==, 0);
    check_sent(&jar, at("a.example", "/", true), "__Host-m=v", NOW);
    rota__cookie_jar_fini(&jar);
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
    {"a.example.co.uk.", "co.uk", false, false},
    {"a.example.co.uk.", "example.co.uk", true, true},
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
        snprintf(other, sizeof other, "other.%s",
                 suffixes[i].domain + (*suffixes[i].domain == '.'));
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

/* A server would read "a=; c=d" as two cookies, and "a=b=c" as one of another name. */
TEST(lines_that_would_be_sent_as_other_cookies_are_counted)
{
    static const char text[] = "a.example\tFALSE\t/\tFALSE\t2000000000\ta\t; c=d\n"
                               "a.example\tFALSE\t/\tFALSE\t2000000000\ta; c\td\n"
                               "a.example\tFALSE\t/\tFALSE\t2000000000\ta=b\tc\n"
                               "a.example\tFALSE\t/\tFALSE\t2000000000\tn\tv=w\n";
    struct rota__cookie_jar jar = {0};
    CHECK_INT(rota__cookie_load(&jar, str(text), NOW), ==, 3);
    check_sent(&jar, at("a.example", "/", false), "n=v=w", NOW);
    rota__cookie_jar_fini(&jar);
}

/* ---- Dates */

/* RFC 6265, section 5.1.1: what counts is the first time, day, month and year, in whatever order
 * and whatever stands between; -1 where the cookie keeps no date. */
static const struct {
    const char *text;
    int64_t seconds;
} dates[] = {
    /* the forms that servers use */
    {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
    {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
    {"Sun Nov  6 08:49:37 1994", 784111777},
    {"Sun, 06-Nov-1994 08:49:37 GMT", 784111777},
    {"6 november 1994 8:49:37", 784111777},
    {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
    {"1 Jan 1601 00:00:00", -11644473600},
    {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
    /* order and separators */
    {"08:49:37 1994 6 Nov", 784111777},
    {"08:49:37 6 1994 Nov", 784111777},
    {"Nov 08:49:37 6 1994", 784111777},
    {"1994 08:49:37 6 Nov 95", 784111777},
    {"6;Nov&1994<08:49:37~", 784111777},
    {"\t6\tNov\t1994\t08:49:37\t", 784111777},
    {",,,6,,Nov,,1994,,08:49:37,,", 784111777},
    {"6\x01Nov 1994 08:49:37", -1}, /* no separator */
    {"6Nov1994 08:49:37", -1},
    /* what stands twice, and what means nothing */
    {"6 Nov 1994 08:49:37 7 Dec 1995 09:50:38", 784111777},
    {"expires 6 Nov 1994 08:49:37 +0200 (soon)", 784111777},
    {"Sun, 06 Nov 1994 08:49:37 PST", 784111777}, /* all are GMT */
    {"Mon, 06 Nov 1994 08:49:37 GMT", 784111777}, /* the weekday is not looked at */
    /* the parts' forms */
    {"6th Nov 1994 08:49:37", 784111777},
    {"06 Nov 1994 8:9:7", 784109347},
    {"06 Nov 1994 08:49:37.123", 784111777},
    {"06 Nov 1994 08:49:37am", 784111777},
    {"06 Nov 1994 008:49:37", -1},
    {"06 Nov 1994 08:049:37", -1},
    {"06 Nov 1994 08:49:377", -1},
    {"06 Nov 1994 08:49", -1},
    {"06 Nov 1994 0849:37", -1},
    {"006 Nov 1994 08:49:37", -1},
    {"06 11 1994 08:49:37", -1},
    {"06 Novem 1994 08:49:37", 784111777},
    {"06 Nox 1994 08:49:37", -1},
    {"06 No 1994 08:49:37", -1},
    {"06 Nov 1994x 08:49:37", 784111777},
    {"06 Nov 19945 08:49:37", -1},
    {"06 Nov 5 08:49:37", -1},
    /* years of two digits, and of three */
    {"1 Jan 70 00:00:00", 0},
    {"1 Jan 99 00:00:00", 915148800},
    {"1 Jan 69 00:00:00", 3124224000},
    {"1 Jan 00 00:00:00", 946684800},
    {"Mon, 01-Jan-0001 00:00:00 GMT", 978307200},
    {"1 Jan 199 00:00:00", -1},
    {"1 Jan 1600 00:00:00", -1},
    /* dates that there are not */
    {"29 Feb 2024 00:00:00", 1709164800},
    {"29 Feb 2000 00:00:00", 951782400},
    {"29 Feb 2023 00:00:00", -1},
    {"29 Feb 1900 00:00:00", -1},
    {"30 Feb 2024 00:00:00", -1},
    {"31 Apr 2024 00:00:00", -1},
    {"31 Jun 2024 00:00:00", -1},
    {"31 Sep 2024 00:00:00", -1},
    {"31 Nov 2024 00:00:00", -1},
    {"31 Dec 2024 00:00:00", 1735603200},
    {"32 Jan 2024 00:00:00", -1},
    {"0 Jan 2024 00:00:00", -1},
    {"06 Nov 1994 24:00:00", -1},
    {"06 Nov 1994 08:60:00", -1},
    {"06 Nov 1994 08:49:60", -1},
    /* parts that are not there */
    {"", -1},
    {"never", -1},
    {"0", -1},
    {"784111777", -1},
    {"Sun, 06 Nov 1994", -1},
    {"06 Nov 08:49:37", -1},
    {"Nov 1994 08:49:37", -1},
    {"06 1994 08:49:37", -1},
};

TEST(dates_are_read_as_rfc_6265_says)
{
    for (size_t i = 0; i < COUNT(dates); i++) {
        int64_t seconds = -1;
        bool is_date = rota__cookie_date(str(dates[i].text), &seconds);
        if (is_date != (dates[i].seconds != -1) || seconds != dates[i].seconds)
            FAIL("\"%s\": %lld", dates[i].text, (long long)seconds);
    }
}

TEST(a_cookie_with_an_impossible_date_lasts_as_long_as_the_session)
{
    struct rota__cookie_jar jar = {0};
    CHECK_INT(set(&jar, "a.example", "/", "n=v; Expires=Sat, 30 Feb 1991 00:00:00 GMT"), ==, 1);
    check_sent(&jar, at("a.example", "/", false), "n=v", NOW);
    rota__cookie_jar_fini(&jar);
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
