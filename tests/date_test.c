/* Dates of HTTP: RFC 9110, section 5.6.7. */
#include "http/date.h"

#include "out_check.h"

#include <errno.h>
#include <time.h>

#define NOW 1700000000 /* in November 2023 */
#define EXAMPLE 784111777

static const struct {
    const char *text;
    int64_t seconds;
} understood[] = {
    {"Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE},
    {"Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE},
    {"Sun Nov  6 08:49:37 1994", EXAMPLE},
    {"Sun Nov 16 08:49:37 1994", EXAMPLE + 10 * 86400},
    {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
    {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
    {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},
    {"Sat, 01 Jan 0000 00:00:00 GMT", -62167219200},
    {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
    {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},     /* a leap second */
    {"Wednesday, 09-Nov-73 08:49:37 GMT", 3277442977}, /* 50 years from now */
    {"Friday, 09-Nov-74 08:49:37 GMT", 153218977},     /* 51, so it is long ago */
    {"Mon, 06 Nov 1994 08:49:37 GMT", EXAMPLE},        /* it was no Monday */
};

TEST(the_three_forms_of_dates_are_read)
{
    for (size_t i = 0; i < COUNT(understood); i++) {
        int64_t seconds = 42;
        if (rota__date_parse(str(understood[i].text), NOW, &seconds) < 0)
            FAIL("not read: %s", understood[i].text);
        CHECK_INT(seconds, ==, understood[i].seconds);
    }
}

static const char *const refused[] = {
    "",
    "Sun",
    "Sun, 06 Nov 1994 08:49:37",
    "Sun, 06 Nov 1994 08:49:37 gmt",
    "Sun, 06 Nov 1994 08:49:37 GMT ",
    "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 06 Nov 1994 08:49:37 +0000",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 00 Nov 1994 08:49:37 GMT",
    "Sun, 31 Nov 1994 08:49:37 GMT",
    "Thu, 29 Feb 1900 08:49:37 GMT",
    "Sun, 06 nov 1994 08:49:37 GMT",
    "sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:49:37 GMT",
    "Sun, 06 Nov 1994 08:60:37 GMT",
    "Sun, 06 Nov 1994 08:49:61 GMT",
    "Sun, 06 Nov 94 08:49:37 GMT",
    "Sun, 06 Nov +994 08:49:37 GMT",
    "Sun, 06-Nov-94 08:49:37 GMT",
    "Sunday, 06-Nov-1994 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994",
    "Sun Nov  6 08:49:37 1994 GMT",
    "0",
    "784111777",
};

TEST(what_is_no_date_is_refused)
{
    for (size_t i = 0; i < COUNT(refused); i++) {
        int64_t seconds = 42;
        if (rota__date_parse(str(refused[i]), NOW, &seconds) != -EINVAL)
            FAIL("read: %s", refused[i]);
        CHECK_INT(seconds, ==, 42);
    }
}

static void check_written(int64_t seconds)
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char expected[64], text[ROTA__DATE_LEN];
    time_t clock = (time_t)seconds;
    struct tm tm;
    gmtime_r(&clock, &tm);
    snprintf(expected, sizeof expected, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
             tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    rota__date_write(text, seconds);
    check_str((rota_str){text, sizeof text}, expected);
    int64_t read = 0;
    CHECK_OK(rota__date_parse((rota_str){text, sizeof text}, NOW, &read));
    CHECK_INT(read, ==, seconds);
}

TEST(dates_are_written_as_the_c_library_knows_them)
{
    for (int64_t seconds = -62167219200; seconds < 253402300800; seconds += 86400 * 13 + 4567)
        check_written(seconds);
    for (int64_t day = -800; day < 40000; day++)
        check_written(day * 86400 + (day & 1 ? 86399 : 0));
}

TEST(seconds_beyond_all_dates_become_the_nearest_one)
{
    char text[ROTA__DATE_LEN];
    rota__date_write(text, INT64_MIN);
    check_str((rota_str){text, sizeof text}, "Sat, 01 Jan 0000 00:00:00 GMT");
    rota__date_write(text, INT64_MAX);
    check_str((rota_str){text, sizeof text}, "Fri, 31 Dec 9999 23:59:59 GMT");
}
