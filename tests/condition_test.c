/* Conditional requests: RFC 9110, section 13, with the precedence of section 13.2.2. */
#include "http/condition.h"

#include "out_check.h"

#define NOW 784200000
#define EXAMPLE 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

/* ---- Entity-tags (section 8.8.3) */

TEST(entity_tags_are_told_from_other_text)
{
    static const char *const tags[] = {"\"\"", "\"xyzzy\"", "W/\"xyzzy\"", "\"!#~\xe4\"",
                                       "\"a\\\""};
    static const char *const others[] = {"",         "x",        "\"",      "W/",
                                         "\"a b\"",  "w/\"a\"",  "\"a\"b",  "\"a\" ",
                                         "W/ \"a\"", "\"\x01\"", "\"a\"\"", "*"};
    for (size_t i = 0; i < COUNT(tags); i++)
        CHECK(rota__etag_is(str(tags[i])));
    for (size_t i = 0; i < COUNT(others); i++)
        CHECK(!rota__etag_is(str(others[i])));
    CHECK(!rota__etag_is((rota_str){NULL, 0}));
}

TEST(entity_tags_are_compared_as_the_table_says)
{
    static const struct {
        const char *a, *b;
        bool strongly, weakly;
    } table[] = {
        /* section 8.8.3.2 */
        {"W/\"1\"", "W/\"1\"", false, true}, {"W/\"1\"", "W/\"2\"", false, false},
        {"W/\"1\"", "\"1\"", false, true},   {"\"1\"", "\"1\"", true, true},
        {"\"1\"", "\"11\"", false, false},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        rota_str a = str(table[i].a), b = str(table[i].b);
        CHECK_INT(rota__etag_equal(a, b, true), ==, table[i].strongly);
        CHECK_INT(rota__etag_equal(b, a, true), ==, table[i].strongly);
        CHECK_INT(rota__etag_equal(a, b, false), ==, table[i].weakly);
    }
    CHECK(!rota__etag_equal((rota_str){NULL, 0}, (rota_str){NULL, 0}, false));
}

/* ---- Conditions: "name: value" lines, and what they come to */

#define FIELDS 4

static size_t split_fields(const char *lines, rota_http_field fields[FIELDS])
{
    size_t count = 0;
    while (*lines) {
        size_t len = strcspn(lines, "\n"), name = strcspn(lines, ":");
        fields[count].name = (rota_str){lines, name};
        fields[count++].value = (rota_str){lines + name + 2, len - name - 2};
        lines += len + (lines[len] == '\n');
    }
    return count;
}

enum {
    GO = ROTA__CONDITION_GO,
    SAME = ROTA__CONDITION_NOT_MODIFIED,
    FAILED = ROTA__CONDITION_FAILED
};

static const struct {
    const char *fields;
    int of_get, of_put;
} table[] = {
    {"", GO, GO},
    /* step 1 */
    {"If-Match: \"a\"", GO, GO},
    {"If-Match: *", GO, GO},
    {"If-Match: \"b\", \"a\"", GO, GO},
    {"If-Match: \"b\"\nif-match: \"a\"", GO, GO},
    {"If-Match: , \"b\" ,, \"a\",", GO, GO},
    {"If-Match: \"b\"", FAILED, FAILED},
    {"If-Match: W/\"a\"", FAILED, FAILED},
    {"If-Match: ", FAILED, FAILED},
    {"If-Match: a", FAILED, FAILED},
    {"If-Match: \"a\" \"b\"", FAILED, FAILED},
    {"If-Match: \"a\"\nIf-Match: b", FAILED, FAILED},
    {"If-Match: \"a\", *", FAILED, FAILED},
    /* step 2, which the first one rules out */
    {"If-Unmodified-Since: " DATE, GO, GO},
    {"If-Unmodified-Since: " AFTER, GO, GO},
    {"If-Unmodified-Since: " BEFORE, FAILED, FAILED},
    {"If-Unmodified-Since: yesterday", GO, GO},
    {"If-Unmodified-Since: " BEFORE "\nIf-Unmodified-Since: " BEFORE, GO, GO},
    {"If-Match: \"a\"\nIf-Unmodified-Since: " BEFORE, GO, GO},
    {"If-Match: \"b\"\nIf-Unmodified-Since: " DATE, FAILED, FAILED},
    /* step 3 */
    {"If-None-Match: \"b\"", GO, GO},
    {"If-None-Match: \"a\"", SAME, FAILED},
    {"If-None-Match: W/\"a\"", SAME, FAILED},
    {"If-None-Match: \"x,y\", \"a\"", SAME, FAILED},
    {"If-None-Match: \"b\"\nIf-None-Match: \"a\"", SAME, FAILED},
    {"If-None-Match: *", SAME, FAILED},
    {"If-None-Match: a", GO, FAILED},
    {"If-Match: \"a\"\nIf-None-Match: \"a\"", SAME, FAILED},
    {"If-Match: \"b\"\nIf-None-Match: \"b\"", FAILED, FAILED},
    {"If-Unmodified-Since: " BEFORE "\nIf-None-Match: \"a\"", FAILED, FAILED},
    /* step 4, which the third one rules out */
    {"If-Modified-Since: " DATE, SAME, GO},
    {"If-Modified-Since: " AFTER, SAME, GO},
    {"If-Modified-Since: " BEFORE, GO, GO},
    {"If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT", SAME, GO},
    {"If-Modified-Since: 0", GO, GO},
    {"If-None-Match: \"b\"\nIf-Modified-Since: " DATE, GO, GO},
    {"If-None-Match: \"a\"\nIf-Modified-Since: " BEFORE, SAME, FAILED},
};

static int check(const char *lines, const char *method, const struct rota__validators *v)
{
    rota_http_field fields[FIELDS];
    size_t count = split_fields(lines, fields);
    return (int)rota__condition_check(fields, count, str(method), v, NOW);
}

TEST(conditions_count_in_their_order)
{
    const struct rota__validators v = {true, BYTES("\"a\""), EXAMPLE};
    for (size_t i = 0; i < COUNT(table); i++) {
        const char *fields = table[i].fields;
        int get = check(fields, "GET", &v), put = check(fields, "PUT", &v);
        if (get != table[i].of_get || put != table[i].of_put)
            FAIL("%s\n  GET is %d, PUT is %d", fields, get, put);
        CHECK_INT(check(fields, "HEAD", &v), ==, table[i].of_get);
    }
}

TEST(of_what_is_not_there_nothing_matches)
{
    const struct rota__validators none = {.modified = ROTA__MODIFIED_UNKNOWN};
    CHECK_INT(check("If-Match: *", "PUT", &none), ==, FAILED);
    CHECK_INT(check("If-Match: \"a\"", "PUT", &none), ==, FAILED);
    CHECK_INT(check("If-None-Match: *", "PUT", &none), ==, GO);
    CHECK_INT(check("If-Unmodified-Since: " BEFORE, "PUT", &none), ==, GO);
    CHECK_INT(check("If-Modified-Since: " DATE, "GET", &none), ==, GO);
}

/* ---- If-Range (section 13.1.5) */

TEST(a_range_counts_only_of_what_the_client_has_the_beginning_of)
{
    static const struct {
        const char *fields;
        bool counts;
    } ranges[] = {
        {"", true},
        {"If-Range: \"a\"", true},
        {"If-Range: \"b\"", false},
        {"If-Range: W/\"a\"", false},
        {"If-Range: " DATE, true},
        {"If-Range: " BEFORE, false},
        {"If-Range: " AFTER, false},
        {"If-Range: *", false},
        {"If-Range: \"a\", \"b\"", false},
        {"If-Range: \"a\"\nIf-Range: \"a\"", false},
    };
    const struct rota__validators v = {true, BYTES("\"a\""), EXAMPLE};
    const struct rota__validators weak = {true, BYTES("W/\"a\""), EXAMPLE};
    rota_http_field fields[FIELDS];
    for (size_t i = 0; i < COUNT(ranges); i++) {
        size_t count = split_fields(ranges[i].fields, fields);
        CHECK_INT(rota__condition_range(fields, count, &v, NOW), ==, ranges[i].counts);
    }
    size_t count = split_fields("If-Range: W/\"a\"", fields);
    CHECK(!rota__condition_range(fields, count, &weak, NOW));
    /* What was changed just now may be changed again within the same second. */
    count = split_fields("If-Range: " DATE, fields);
    CHECK(!rota__condition_range(fields, count, &v, EXAMPLE));
    CHECK(!rota__condition_range(fields, count, &v, EXAMPLE + 1));
    CHECK(rota__condition_range(fields, count, &v, EXAMPLE + 2));
}
