#include "http/date.h"

#include <errno.h>
#include <string.h>

static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char day_names[] = "MonTueWedThuFriSatSun";

#define YEAR_0 (-62167219200)
#define YEAR_9999_ENDS 253402300799

/* Years begin in March, so that a leap day is their last. */
int64_t rota__date_days(int year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

int rota__date_month_days(int year, int month)
{
    static const int lengths[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return lengths[month - 1] - (month == 2 && !leap);
}

int rota__date_month(rota_str text)
{
    if (text.len < 3)
        return 0;
    for (int i = 0; i < 12; i++) {
        const char *name = month_names + (size_t)i * 3;
        if ((text.ptr[0] | 0x20) == (name[0] | 0x20) && (text.ptr[1] | 0x20) == name[1] &&
            (text.ptr[2] | 0x20) == name[2])
            return i + 1;
    }
    return 0;
}

/* ---- Writing */

struct date {
    int year, month, day, hour, minute, second;
    bool short_year;
};

/* The opposite of rota__date_days, from the year 0 on. */
static void date_of_days(int64_t days, struct date *d)
{
    days += 719468;
    int64_t era = days / 146097, of_era = days - era * 146097;
    if (of_era < 0) {
        era--;
        of_era += 146097;
    }
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    d->day = (int)(of_year - (153 * month + 2) / 5 + 1);
    d->month = (int)(month < 10 ? month + 3 : month - 9);
    d->year = (int)(year + era * 400 + (d->month <= 2));
}

static void put_number(char *to, int number, int digits)
{
    for (int i = digits; i-- > 0; number /= 10)
        to[i] = (char)('0' + number % 10);
}

void rota__date_write(char text[ROTA__DATE_LEN], int64_t seconds)
{
    if (seconds < YEAR_0)
        seconds = YEAR_0;
    if (seconds > YEAR_9999_ENDS)
        seconds = YEAR_9999_ENDS;
    int64_t days = seconds / 86400;
    int left = (int)(seconds % 86400);
    if (left < 0) {
        left += 86400;
        days--;
    }
    struct date d;
    date_of_days(days, &d);
    memcpy(text, "Day, 00 Mon 0000 00:00:00 GMT", ROTA__DATE_LEN);
    memcpy(text, day_names + 3 * ((days % 7 + 7 + 3) % 7), 3); /* 1970 began with a Thursday */
    put_number(text + 5, d.day, 2);
    memcpy(text + 8, month_names + 3 * (d.month - 1), 3);
    put_number(text + 12, d.year, 4);
    put_number(text + 17, left / 3600, 2);
    put_number(text + 20, left / 60 % 60, 2);
    put_number(text + 23, left % 60, 2);
}

/* ---- Reading */

/* The forms, in the letters of strftime. All are in use, though only the first is written any
 * more. */
static const char *const forms[] = {
    "%a, %d %b %Y %H:%M:%S GMT", /* IMF-fixdate */
    "%A, %d-%b-%y %H:%M:%S GMT", /* RFC 850 */
    "%a %b %e %H:%M:%S %Y",      /* asctime */
};

static bool take_number(rota_str *s, size_t digits, int *ret_number)
{
    int number = 0;
    if (s->len < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        if (s->ptr[i] < '0' || s->ptr[i] > '9')
            return false;
        number = number * 10 + (s->ptr[i] - '0');
    }
    *s = (rota_str){s->ptr + digits, s->len - digits};
    *ret_number = number;
    return true;
}

static bool take(rota_str *s, const char *expected, size_t len)
{
    if (s->len < len || memcmp(s->ptr, expected, len) != 0)
        return false;
    *s = (rota_str){s->ptr + len, s->len - len};
    return true;
}

/* Which day it is follows from the date; here it only has to be one. */
static bool take_day_name(rota_str *s, bool in_full)
{
    static const char *const rests[] = {"day", "sday", "nesday", "rsday", "day", "urday", "day"};
    for (size_t i = 0; i < 7; i++) {
        if (take(s, day_names + 3 * i, 3))
            return !in_full || take(s, rests[i], strlen(rests[i]));
    }
    return false;
}

static bool take_month(rota_str *s, int *ret_month)
{
    int month = rota__date_month(*s);
    *ret_month = month;
    return month && take(s, month_names + (size_t)(month - 1) * 3, 3);
}

static bool take_part(rota_str *s, char part, struct date *d)
{
    switch (part) {
    case 'a':
        return take_day_name(s, false);
    case 'A':
        return take_day_name(s, true);
    case 'b':
        return take_month(s, &d->month);
    case 'e':
        if (take(s, " ", 1))
            return take_number(s, 1, &d->day);
        return take_number(s, 2, &d->day);
    case 'd':
        return take_number(s, 2, &d->day);
    case 'Y':
        return take_number(s, 4, &d->year);
    case 'y':
        d->short_year = true;
        return take_number(s, 2, &d->year);
    case 'H':
        return take_number(s, 2, &d->hour);
    case 'M':
        return take_number(s, 2, &d->minute);
    default:
        return take_number(s, 2, &d->second);
    }
}

static bool read_form(rota_str text, const char *form, struct date *d)
{
    for (; *form; form++) {
        bool taken = *form == '%' ? take_part(&text, *++form, d) : take(&text, form, 1);
        if (!taken)
            return false;
    }
    return text.len == 0;
}

static bool is_date(const struct date *d)
{
    return d->day >= 1 && d->day <= rota__date_month_days(d->year, d->month) && d->hour <= 23 &&
           d->minute <= 59 && d->second <= 60; /* a leap second is the next one */
}

static int64_t seconds_of(const struct date *d)
{
    return rota__date_days(d->year, d->month, d->day) * 86400 + d->hour * 3600 + d->minute * 60 +
           d->second;
}

/* A year of two digits that seems to be more than 50 years ahead is the last past one that ends
 * so. */
static void find_century(struct date *d, int64_t now)
{
    struct date today;
    date_of_days(now / 86400, &today);
    d->year += today.year / 100 * 100;
    if (d->year > today.year + 50)
        d->year -= 100;
}

int rota__date_parse(rota_str text, int64_t now, int64_t *ret_seconds)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct date d = {0};
        if (!read_form(text, forms[i], &d))
            continue;
        if (d.short_year)
            find_century(&d, now);
        if (!is_date(&d))
            break;
        *ret_seconds = seconds_of(&d);
        return 0;
    }
    return -EINVAL;
}
