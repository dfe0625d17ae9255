/* Forms: multipart/form-data (RFC 7578, RFC 2046, WHATWG HTML), application/x-www-form-urlencoded.
 * Each body of the tables is read whole, split at every byte, and byte by byte. */
#include "http/form.h"
#include "http/multipart.h"

#include "out_check.h"
#include "pieces.h"

#include <errno.h>
#include <stdlib.h>

/* ---- A reader that writes down what it is told */

static void tell(struct rota__out *told, int event, const struct rota__multipart_item *item)
{
    if (event == ROTA__MULTIPART_PART) {
        rota__out_add_str(told, item->name);
        if (item->filename.ptr) {
            rota__out_add_literal(told, "/");
            rota__out_add_str(told, item->filename);
        }
        if (item->type.ptr) {
            rota__out_add_literal(told, ":");
            rota__out_add_str(told, item->type);
        }
        rota__out_add_literal(told, "(");
    } else if (event == ROTA__MULTIPART_DATA) {
        CHECK_INT(item->data.len, >, 0);
        rota__out_add_str(told, item->data);
    } else {
        rota__out_add_literal(told, ")");
    }
}

struct reader {
    struct rota__multipart m;
    struct rota__out told;
};

static int take(void *arg, rota_str bytes, size_t *ret_used)
{
    struct reader *r = arg;
    struct rota__multipart_item item;
    int event = rota__multipart_next(&r->m, bytes, ret_used, &item);
    if (event > 0)
        tell(&r->told, event, &item);
    return event;
}

static void check_reading(rota_str body, size_t split, size_t piece, const char *expected)
{
    static const struct rota__multipart_limits limits = {.head = 120, .parts = 3};
    struct reader r = {.told = {0}};
    CHECK_OK(rota__multipart_init(&r.m, str("multipart/form-data; boundary=b-1"), &limits));
    read_in_pieces(body, split, piece, take, &r);
    if (rota__multipart_finish(&r.m) < 0) {
        r.told.len = *expected == '!' ? 0 : r.told.len; /* more or less was told before */
        rota__out_add_literal(&r.told, "!");
        rota__out_add_number(&r.told, (unsigned)r.m.status, 10);
        rota__out_add_literal(&r.told, " ");
        rota__out_add(&r.told, r.m.error, strlen(r.m.error));
    }
    rota__out_add(&r.told, "", 1);
    CHECK_OK(r.told.err);
    if (*expected == '!' ? strncmp(r.told.ptr, expected, strlen(expected)) != 0
                         : strcmp(r.told.ptr, expected) != 0)
        FAIL("%.*s\nsplit at %zu, in pieces of %zu:\n  is   %s\n  want %s", (int)body.len, body.ptr,
             split, piece, r.told.ptr, expected);
    rota__out_fini(&r.told);
}

static void check_every_way(rota_str body, const char *expected)
{
    for (size_t split = 0; split <= body.len; split++)
        check_reading(body, split, body.len + 1, expected);
    check_reading(body, 0, 1, expected);
}

#define FORM(rest_) "Content-Disposition: form-data; " rest_ "\r\n"
#define PART(rest_) "--b-1\r\n" FORM(rest_) "\r\n"
#define END "\r\n--b-1--\r\n"

struct body {
    rota_str bytes;
    const char *expected;
};

static const struct body understood[] = {
    {BYTES("--b-1--\r\n"), ""},
    {BYTES("--b-1--"), ""},
    {BYTES(PART("name=\"a\"") END), "a()"},
    {BYTES(PART("name=\"a\"") "x" END), "a(x)"},
    {BYTES(PART("name=a") "x\r\n" PART("name=b") "y\r\n" PART("name=\"\"") "z" END), "a(x)b(y)(z)"},
    {BYTES("--b-1\r\nCONTENT-disposition:Form-Data ; NAME=\"a\";filename=\"f.txt\"\r\n"
           "content-type: text/plain; charset=x \r\nX-Other: 1\r\n\r\nx" END),
     "a/f.txt:text/plain; charset=x(x)"},
    {BYTES("--b-1\r\nContent-Type: image/png\r\n" FORM("name=\"a\"; filename=\"\"") "\r\n" END),
     "a/:image/png()"},
    {BYTES(PART("name=\"a b;c=%22\\\"d\"; x=\"y\"") "1" END), "a b;c=%22\\\"d(1)"},
    {BYTES(PART("name=\"\xc3\xa4\"") "1" END), "\xc3\xa4(1)"},
    {BYTES("--b-1\r\n" FORM("name=a") "Content-Transfer-Encoding: binary\r\n\r\n1" END), "a(1)"},
    /* what is nearly a boundary */
    {BYTES(PART("name=a") "\r\n--b-2\r\n--b-\r\n-\r\n\r\r\n" END),
     "a(\r\n--b-2\r\n--b-\r\n-\r\n\r\r\n)"},
    {BYTES(PART("name=a") "--b-1--\n--b-1\r--b-1" END), "a(--b-1--\n--b-1\r--b-1)"},
    {BYTES(PART("name=a") "\r\n" END), "a(\r\n)"},
};

TEST(forms_are_read_alike_however_they_are_split)
{
    for (size_t i = 0; i < COUNT(understood); i++)
        check_every_way(understood[i].bytes, understood[i].expected);
}

static const struct body refused[] = {
    /* RFC 2046, section 5.1.1, of which senders of forms use less */
    {BYTES(""), "!400 it ends in the middle"},
    {BYTES("preamble\r\n--b-1--\r\n"), "!400 it does not begin"},
    {BYTES("\r\n--b-1--\r\n"), "!400 it does not begin"},
    {BYTES("--b-1 \r\n"), "!400 data after a boundary"},
    {BYTES("--b-1\n"), "!400 data after a boundary"},
    {BYTES("--b-11\r\n"), "!400 data after a boundary"},
    {BYTES("--b-1-\r\n"), "!400 data after a boundary"},
    {BYTES("--b-1\rx"), "!400 data after a boundary"},
    {BYTES("--b-1--\r\n\r\n"), "!400 data after"},
    {BYTES("--b-1--epilogue"), "!400 data after"},
    {BYTES("--b-1--\r"), "!400 it ends in the middle"},
    {BYTES(PART("name=a") "x\r\n--b-1x\r\n"), "!400 data after a boundary"},
    {BYTES(PART("name=a") "x\r\n--b-1 --\r\n"), "!400 data after a boundary"},
    {BYTES(PART("name=a") "x\r\n--b-1-\r\n"), "!400 data after a boundary"},
    {BYTES(PART("name=a") "x\r\n--b-1"), "!400 it ends in the middle"},
    {BYTES(PART("name=a") "x"), "!400 it ends in the middle"},
    {BYTES("--b-1\r\n" FORM("name=a")), "!400 it ends in the middle"},
    /* heads */
    {BYTES("--b-1\r\n\r\nx" END), "!400 a part without a Content-Disposition"},
    {BYTES("--b-1\r\nContent-Type: a/b\r\n\r\nx" END), "!400 a part without a Content-Disposition"},
    {BYTES("--b-1\r\n" FORM("name=a") FORM("name=a") "\r\n" END),
     "!400 a part with two Content-Disp"},
    {BYTES("--b-1\r\nContent-Disposition: attachment; name=a\r\n\r\n" END),
     "!400 a part that is not"},
    {BYTES("--b-1\r\n" FORM("name=a") "Content-Type: a/b\r\nContent-Type: a/c\r\n\r\n" END),
     "!400 a part with two types"},
    {BYTES("--b-1\r\n" FORM("name=a") "Content-Transfer-Encoding: base64\r\n\r\n" END),
     "!400 a part that is enc"},
    {BYTES("--b-1\r\n" FORM("name=a") "X : y\r\n\r\n" END), "!400 a field of a part"},
    {BYTES("--b-1\r\n" FORM("name=a") ": y\r\n\r\n" END), "!400 a field of a part"},
    {BYTES("--b-1\r\n" FORM("name=a") "X\r\n\r\n" END), "!400 a field of a part"},
    {BYTES("--b-1\r\n" FORM("name=a;\r\n filename=b") "\r\n" END), "!400 "},
    {BYTES("--b-1\r\n" FORM("name=a") " folded\r\n\r\n" END), "!400 a field of a part"},
    {BYTES("--b-1\r\n" FORM("name=a") "X: \x01\r\n\r\n" END), "!400 a control character"},
    {BYTES("--b-1\r\n" FORM("name=a") "X: a\rb\r\n\r\n" END), "!400 a control character"},
    {BYTES("--b-1\r\n" FORM("name=a") "X: a\nY: b\r\n\r\n" END), "!400 bare LF"},
    {BYTES("--b-1\r\n" FORM("name=a\0b") "\r\n" END), "!400 a control character"},
    {BYTES(PART("filename=a") END), "!400 a part without a name"},
    {BYTES(PART("x=a") END), "!400 a part without a name"},
    {BYTES(PART("name=a; name=b") END), "!400 a part with two names"},
    {BYTES(PART("name=a; filename=b; FileName=c") END), "!400 a part with two names"},
    {BYTES(PART("name=a; filename*=UTF-8''b") END), "!400 a file name that is coded"},
    {BYTES(PART("name") END), "!400 a part with two names"},
    {BYTES(PART("name=") END), "!400 invalid Content-Disposition"},
    {BYTES(PART("name=\"a") END), "!400 invalid Content-Disposition"},
    {BYTES(PART("name=\"a\"b") END), "!400 invalid Content-Disposition"},
    {BYTES(PART("name=\"a\\\"") END), "!400 invalid Content-Disposition"},
    {BYTES(PART("name=a b") END), "!400 invalid Content-Disposition"},
    {BYTES(PART("name=a;;x=y") END), "!400 invalid Content-Disposition"},
    /* limits: a head of 120 bytes, 3 parts */
    {BYTES("--b-1\r\n" FORM("name=a") "X: "
                                      "012345678901234567890123456789012345678901234567890123456789"
                                      "01234567890123\r\n\r\n" END),
     "!400 head of a part longer than 120 bytes"},
    {BYTES(PART("name=a") "\r\n" PART("name=a") "\r\n" PART("name=a") "\r\n" PART("name=a") END),
     "!413 more than 3 parts"},
};

TEST(forms_that_could_be_understood_differently_are_refused)
{
    for (size_t i = 0; i < COUNT(refused); i++)
        check_every_way(refused[i].bytes, refused[i].expected);
}

TEST(a_head_of_just_the_limit_is_read)
{
    check_every_way(BYTES("--b-1\r\n" FORM("name=a") "X: "
                                                     "012345678901234567890123456789012345678901234"
                                                     "5678901234567890123456789012\r\n\r\n" END),
                    "a()");
}

TEST(a_broken_form_stays_broken)
{
    struct rota__multipart m;
    struct rota__multipart_item item;
    size_t used;
    CHECK_OK(rota__multipart_init(&m, str("multipart/form-data; boundary=b"), NULL));
    CHECK_INT(rota__multipart_next(&m, str("x"), &used, &item), ==, -EBADMSG);
    CHECK_INT(rota__multipart_next(&m, str("--b--"), &used, &item), ==, -EBADMSG);
    CHECK_INT(rota__multipart_next(&m, str(""), &used, &item), ==, -EBADMSG);
    CHECK_INT(rota__multipart_finish(&m), ==, -EBADMSG);
}

TEST(only_one_boundary_makes_a_form)
{
    static const struct {
        const char *type, *delimiter;
    } types[] = {
        {"multipart/form-data; boundary=abc", "\r\n--abc"},
        {"Multipart/Form-Data;charset=utf-8; BOUNDARY=\"a b:c\"", "\r\n--a b:c"},
        {"multipart/form-data; "
         "boundary=1234567890123456789012345678901234567890123456789012345678901234567890",
         "\r\n--1234567890123456789012345678901234567890123456789012345678901234567890"},
        {"", NULL},
        {"multipart/form-data", NULL},
        {"multipart/mixed; boundary=abc", NULL},
        {"multipart/form-data; boundary", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"\"", NULL},
        {"multipart/form-data; boundary=\"abc \"", NULL},
        {"multipart/form-data; boundary=\"a\\bc\"", NULL},
        {"multipart/form-data; boundary=a{c", NULL},
        {"multipart/form-data; boundary=abc; boundary=abd", NULL},
        {"multipart/form-data; boundary=abc d", NULL},
        {"multipart/form-data; "
         "boundary=12345678901234567890123456789012345678901234567890123456789012345678901",
         NULL},
    };
    for (size_t i = 0; i < COUNT(types); i++) {
        struct rota__multipart m;
        int err = rota__multipart_init(&m, str(types[i].type), NULL);
        CHECK_INT(err, ==, types[i].delimiter ? 0 : -EINVAL);
        if (types[i].delimiter)
            check_str((rota_str){m.delimiter, m.delimiter_len}, types[i].delimiter);
    }
    CHECK_INT(rota__multipart_init(&(struct rota__multipart){0}, (rota_str){NULL, 0}, NULL), ==,
              -EINVAL);
}

/* ---- Writing */

TEST(parts_are_written_as_browsers_do)
{
    static const struct {
        struct rota__part part;
        const char *expected;
    } parts[] = {
        {{.name = BYTES("a")}, "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"},
        {{.name = BYTES("a"), .filename = BYTES("")},
         "--B\r\nContent-Disposition: form-data; name=\"a\"; filename=\"\"\r\n"
         "Content-Type: application/octet-stream\r\n\r\n"},
        {{.name = BYTES("a\"b\nc\rd\r\ne%22"),
          .filename = BYTES("a\"b\nc\rd\r\ne\\f"),
          .type = BYTES("text/plain")},
         "--B\r\nContent-Disposition: form-data; name=\"a%22b%0D%0Ac%0D%0Ad%0D%0Ae%22\"; "
         "filename=\"a%22b%0Ac%0Dd%0D%0Ae\\f\"\r\nContent-Type: text/plain\r\n\r\n"},
        {{.name = BYTES("\xe2\x82\xac")},
         "--B\r\nContent-Disposition: form-data; name=\"\xe2\x82\xac\"\r\n\r\n"},
        {{.name = BYTES("a\0")}, NULL},
        {{.name = BYTES("a\x7f")}, NULL},
        {{.name = BYTES("a\\")}, NULL},
        {{.name = BYTES("a"), .filename = BYTES("\x1b")}, NULL},
        {{.name = BYTES("a"), .type = BYTES("text/plain\r\nX: y")}, NULL},
    };
    struct rota__out out = {0};
    for (size_t i = 0; i < COUNT(parts); i++) {
        int err = rota__multipart_write_part(&out, "B", &parts[i].part, true);
        CHECK_INT(err, ==, parts[i].expected ? 0 : -EINVAL);
        check_out(&out, parts[i].expected ? parts[i].expected : "");
    }
    rota__out_fini(&out);
}

static void write_form(struct rota__out *out, const char *boundary, const struct rota__part *parts,
                       size_t count)
{
    static const char data[] = "\r\n--bytes of a file, and a few more";
    for (size_t i = 0; i < count; i++) {
        CHECK_OK(rota__multipart_write_part(out, boundary, &parts[i], i == 0));
        rota__out_add(out, data, (size_t)parts[i].length);
    }
    CHECK_OK(rota__multipart_write_end(out, boundary, count == 0));
}

TEST(a_form_is_as_long_as_announced_and_read_as_it_was)
{
    static const struct rota__part parts[] = {
        {.name = BYTES("a"), .length = 10},
        {.name = BYTES("b\"\n"), .filename = BYTES("f.bin"), .length = 20},
        {.name = BYTES("c"), .filename = BYTES("g"), .type = BYTES("text/plain"), .length = 0},
    };
    for (size_t count = 0; count <= COUNT(parts); count++) {
        struct rota__out out = {0}, type = {0};
        struct reader r = {.told = {0}};
        char boundary[ROTA__BOUNDARY_SIZE];
        uint64_t length = 0;
        CHECK_OK(rota__boundary_new(boundary));
        CHECK_OK(rota__multipart_length(boundary, parts, count, &length));
        write_form(&out, boundary, parts, count);
        CHECK_INT(out.len, ==, length);

        rota__multipart_write_type(&type, boundary);
        CHECK_OK(type.err);
        CHECK_OK(rota__multipart_init(&r.m, (rota_str){type.ptr, type.len}, NULL));
        CHECK_INT(read_in_pieces((rota_str){out.ptr, out.len}, 0, out.len, take, &r), ==, 0);
        CHECK_OK(rota__multipart_finish(&r.m));
        CHECK_INT(r.m.count, ==, count);
        if (count == 3)
            check_out(&r.told, "a(\r\n--bytes )b%22%0D%0A/f.bin:application/octet-stream("
                               "\r\n--bytes of a file,)c/g:text/plain()");
        rota__out_fini(&r.told);
        rota__out_fini(&type);
        rota__out_fini(&out);
    }
}

TEST(boundaries_differ)
{
    char one[ROTA__BOUNDARY_SIZE], other[ROTA__BOUNDARY_SIZE];
    CHECK_OK(rota__boundary_new(one));
    CHECK_OK(rota__boundary_new(other));
    CHECK_INT(strlen(one), ==, ROTA__BOUNDARY_SIZE - 1);
    CHECK(strcmp(one, other) != 0);
}

TEST(names_are_unescaped)
{
    static const struct {
        const char *text, *expected;
    } names[] = {
        {"", ""},
        {"plain", "plain"},
        {"a%22b%0D%0Ac%0d%0a", "a\"b\r\nc\r\n"},
        {"a\\\"b\\\\c\\d\\", "a\"b\\c\\d\\"},
        {"100%, %2, %41, %", "100%, %2, %41, %"},
    };
    struct rota__out out = {0};
    for (size_t i = 0; i < COUNT(names); i++) {
        CHECK_OK(rota__multipart_unescape(&out, str(names[i].text)));
        check_out(&out, names[i].expected);
    }
    rota__out_fini(&out);
}

/* ---- application/x-www-form-urlencoded (WHATWG URL, section 5) */

TEST(a_form_of_texts_is_encoded)
{
    struct rota__out out = {0};
    rota__form_add(&out, str("name"), str("a b*-._~!'()"));
    rota__form_add(&out, str("\xc3\xa4&="), str("+%\r\n"));
    rota__form_add(&out, str(""), (rota_str){NULL, 0});
    check_out(&out, "name=a+b*-._%7E%21%27%28%29&%C3%A4%26%3D=%2B%25%0D%0A&=");
    rota__out_fini(&out);
}

TEST(a_form_of_texts_is_decoded)
{
    static const struct {
        const char *text, *expected;
    } forms[] = {
        {"", ""},
        {"&&", ""},
        {"a=b", "a(b)"},
        {"a=b&c=d&e&=f&=", "a(b)c(d)e()(f)()"},
        {"a=b=c&&d", "a(b=c)d()"},
        {"a+b=%20%2b+", "a b( + )"},
        {"%=%4&%zz=%C3%A4%00", "%(%4)%zz(\xc3\xa4"},
    };
    struct rota__out out = {0};
    for (size_t i = 0; i < COUNT(forms); i++) {
        rota_str text = str(forms[i].text), name, value;
        while (rota__form_next(&text, &name, &value)) {
            CHECK_OK(rota__form_decode(&out, name));
            rota__out_add_literal(&out, "(");
            CHECK_OK(rota__form_decode(&out, value));
            rota__out_add_literal(&out, ")");
        }
        if (out.len && memchr(out.ptr, '\0', out.len)) /* the last one has a NUL in it */
            out.len = strlen(out.ptr);
        check_out(&out, forms[i].expected);
    }
    CHECK(!rota__form_next(&(rota_str){NULL, 0}, &(rota_str){0}, &(rota_str){0}));
    CHECK_OK(rota__form_decode(&out, (rota_str){NULL, 0}));
    rota__out_fini(&out);
}
