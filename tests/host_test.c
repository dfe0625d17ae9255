#include <rota/host.h>

#include "harness.h"

#include <errno.h>
#include <string.h>

#define COUNT(array_) (sizeof(array_) / sizeof *(array_))

static rota_str str(const char *text)
{
    return (rota_str){text, strlen(text)};
}

static rota_host parse(const char *text)
{
    rota_host host = {.text = ""};
    if (rota_host_parse(str(text), &host) < 0)
        FAIL("\"%s\" was refused", text);
    CHECK(rota_host_is_valid(str(text)));
    return host;
}

/* ---- What is a host */

TEST(a_host_has_one_canonical_text)
{
    static const struct {
        const char *text, *canonical;
        rota_host_kind kind;
    } cases[] = {
        {"example.org", "example.org", ROTA_HOST_NAME},
        {"EXAMPLE.Org", "example.org", ROTA_HOST_NAME},
        {"example.org.", "example.org", ROTA_HOST_NAME},
        {"localhost", "localhost", ROTA_HOST_NAME},
        {"a", "a", ROTA_HOST_NAME},
        {"a_b-c~d", "a_b-c~d", ROTA_HOST_NAME},
        {"!$&'()*+,;=", "!$&'()*+,;=", ROTA_HOST_NAME},
        {"xn--bcher-kva.example", "xn--bcher-kva.example", ROTA_HOST_NAME},
        {"1.example", "1.example", ROTA_HOST_NAME},
        {"1.2.3.4.com", "1.2.3.4.com", ROTA_HOST_NAME},
        {"1.2.3.4x", "1.2.3.4x", ROTA_HOST_NAME},
        {"0xg", "0xg", ROTA_HOST_NAME},
        {"1e1", "1e1", ROTA_HOST_NAME},
        {"deadbeef", "deadbeef", ROTA_HOST_NAME},
        {"127.0.0.1", "127.0.0.1", ROTA_HOST_IPV4},
        {"0.0.0.0", "0.0.0.0", ROTA_HOST_IPV4},
        {"255.255.255.255", "255.255.255.255", ROTA_HOST_IPV4},
        {"[::1]", "::1", ROTA_HOST_IPV6},
        {"::1", "::1", ROTA_HOST_IPV6},
        {"[0:0:0:0:0:0:0:1]", "::1", ROTA_HOST_IPV6},
        {"[2001:DB8::A]", "2001:db8::a", ROTA_HOST_IPV6},
        {"[::ffff:7f00:1]", "::ffff:127.0.0.1", ROTA_HOST_IPV6},
        {"[::ffff:127.0.0.1]", "::ffff:127.0.0.1", ROTA_HOST_IPV6},
        {"[fe80::1%25eth0]", "fe80::1%eth0", ROTA_HOST_IPV6},
        {"[fe80::1%25Eth0]", "fe80::1%Eth0", ROTA_HOST_IPV6},
        {"[FE80::1%25e%74h0]", "fe80::1%eth0", ROTA_HOST_IPV6},
        {"[fe80::1%252]", "fe80::1%2", ROTA_HOST_IPV6},
        {"fe80::1%eth0", "fe80::1%eth0", ROTA_HOST_IPV6},
        {"[v1.x]", "[v1.x]", ROTA_HOST_FUTURE},
        {"[VF.A:b!]", "[vf.a:b!]", ROTA_HOST_FUTURE},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        rota_host host = parse(cases[i].text);
        CHECK_STR(host.text, cases[i].canonical);
        CHECK_INT(host.kind, ==, cases[i].kind);
        rota_host again = parse(host.text);
        CHECK(rota_host_equal(&host, &again));
    }
}

TEST(what_readers_disagree_about_is_no_host)
{
    static const char *const wrong[] = {
        "",
        ".",
        "..",
        ".a",
        "a..b",
        "a..",
        ".example.org",
        /* an encoded host, and a zone where there is no IPv6 */
        "%61",
        "a%2eb",
        "ex%61mple.org",
        "evil.test%25.good.test",
        "evil.test%.good.test",
        "127.0.0.1%25lo",
        "127.0.0.1%lo",
        "a%eth0",
        /* some programs end a URL's host there */
        "good.test\\.evil.test",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "a b",
        "a\tb",
        "a\nb",
        "a<b>",
        "a\"b",
        "a^b",
        "a|b",
        "a`b",
        "a{b}",
        "a[b]",
        "\x7f",
        "a\x80",
        "\xc3\xa4.test",
        /* IPv4 for some */
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "0X7F.0.0.1",
        "017700000001",
        "2130706433",
        "127.0.0.01",
        "0177.0.0.1",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.256",
        "0x",
        "a.0x",
        "example.0",
        "a.1",
        "127.0.0.1.",
        "1.",
        "09.0.0.1",
        "1.2.3.08",
        "99999999999",
        /* brackets around something else */
        "[",
        "]",
        "[]",
        "[a]",
        "[localhost]",
        "[127.0.0.1]",
        "[127.1]",
        "[:]",
        "[::1",
        "::1]",
        "[::1]x",
        "[[::1]]",
        "[::%31]",
        "[::1%31]",
        "[%3a%3a1]",
        "[0:1:2:3:4:5:6:7:8]",
        "[::1.2.3.4x]",
        "[::1.2.3]",
        "[1::2::3]",
        "[12345::]",
        "[::g]",
        "[local-host_!]",
        /* zones */
        "[::1%25]",
        "[::1%]",
        "[::1%lo]",
        "[fe80::1%25a%2fb]",
        "[fe80::1%25a%00]",
        "[fe80::1%25a b]",
        "[fe80::1%25sixteenlongnames]",
        "[fe80::1%25a%2]",
        "fe80::1%",
        "fe80::1%a%b",
        "::1%25lo%",
        "[fe80::1%25%25]",
        /* IPvFuture */
        "[v]",
        "[v1]",
        "[v1.]",
        "[v.x]",
        "[vg.x]",
        "[v1.x/]",
        "[v1.%41]",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        rota_host host = {.text = "untouched"};
        if (rota_host_parse(str(wrong[i]), &host) != -EINVAL || rota_host_is_valid(str(wrong[i])))
            FAIL("\"%s\" was taken, as \"%s\"", wrong[i], host.text);
        CHECK_STR(host.text, "untouched");
    }
    rota_host host;
    CHECK_INT(rota_host_parse((rota_str){"a\0b", 3}, &host), ==, -EINVAL);
    CHECK_INT(rota_host_parse((rota_str){"::1\0", 4}, &host), ==, -EINVAL);
    CHECK_INT(rota_host_parse((rota_str){NULL, 0}, &host), ==, -EINVAL);
}

TEST(the_longest_name_has_253_bytes)
{
    char name[300];
    memset(name, 'a', sizeof name);
    for (size_t i = 50; i < sizeof name; i += 50)
        name[i] = '.';
    rota_host host;
    CHECK_OK(rota_host_parse((rota_str){name, 253}, &host));
    CHECK_INT(strlen(host.text), ==, 253);
    CHECK_INT(rota_host_parse((rota_str){name, 254}, &host), ==, -EINVAL);
    name[253] = '.';
    CHECK_OK(rota_host_parse((rota_str){name, 254}, &host));
    CHECK(host.is_rooted);
}

/* ---- Comparing */

TEST(a_final_dot_is_the_same_host_and_a_zone_another)
{
    rota_host plain = parse("example.org"), rooted = parse("Example.ORG.");
    CHECK(rota_host_equal(&plain, &rooted));
    CHECK(rooted.is_rooted && !plain.is_rooted);
    rota_host first = parse("[fe80::1%25eth0]"), second = parse("[fe80::1%25eth1]");
    CHECK(!rota_host_equal(&first, &second));
    rota_host mapped = parse("[::ffff:127.0.0.1]"), v4 = parse("127.0.0.1");
    CHECK(!rota_host_equal(&mapped, &v4));
    CHECK_MEM(v4.address, "\x7f\0\0\1", 4);
}

TEST(only_names_are_below_a_domain)
{
    rota_host host = parse("a.Example.org.");
    CHECK(rota_host_is_below(&host, str("example.org")));
    CHECK(rota_host_is_below(&host, str("EXAMPLE.org")));
    CHECK(rota_host_is_below(&host, str("org")));
    CHECK(!rota_host_is_below(&host, str("a.example.org")));
    CHECK(!rota_host_is_below(&host, str("xample.org")));
    CHECK(!rota_host_is_below(&host, str("")));
    rota_host address = parse("127.0.0.1"), mapped = parse("[::ffff:127.0.0.1]");
    CHECK(!rota_host_is_below(&address, str("0.1")));
    CHECK(!rota_host_is_below(&mapped, str("1")));
}
