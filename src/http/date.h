/* Dates of HTTP (RFC 9110, section 5.6.7), in seconds since 1970. */
#ifndef ROTA__HTTP_DATE_H
#define ROTA__HTTP_DATE_H

#include <rota/base.h>

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
#define ROTA__DATE_LEN 29

/* Writes without a NUL. Seconds before the year 0 or beyond 9999 become the nearest that can be
 * written. */
void rota__date_write(char text[ROTA__DATE_LEN], int64_t seconds);

/* Reads the three forms of dates. `now` determines the century of years with two digits. Returns 0,
 * -EINVAL. */
int rota__date_parse(rota_str text, int64_t now, int64_t *ret_seconds);

/* Days since 1970 of a date of the Gregorian calendar; months and days begin with 1. */
int64_t rota__date_days(int year, int month, int day);

/* Returns the number of days of a month; months begin with 1. */
int rota__date_month_days(int year, int month);

/* Returns 1 to 12, by the first three letters in any case, or 0. */
int rota__date_month(rota_str text);

#endif
