#include "http/cookie.h"
#include "http/chars.h"
#include "http/date.h"
#include "http/params.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The latest time at which a cookie expires, so that every cookie can be saved and loaded. */
#define LATEST (INT64_MAX / 10)

/* ---- Dates (section 5.1.1): numbers and words in any order, between all kinds of separators */

struct date {
    int hour, minute, second, day, month, year;
    bool has_time, has_day, has_month, has_year;
};

static bool is_date_separator(char c)
{
    unsigned char u = (unsigned char)c;
    return u == 0x09 || (u >= 0x20 && u <= 0x2f) || (u >= 0x3b && u <= 0x40) ||
           (u >= 0x5b && u <= 0x60) || (u >= 0x7b && u <= 0x7e);
}

/* A number of `least` to `most` digits, not followed by another digit. */
static bool take_number(rota_str *s, size_t least, size_t most, int *ret_number)
{
    size_t n = 0;
    int number = 0;
    while (n < s->len && n <= most && s->ptr[n] >= '0' && s->ptr[n] <= '9')
        number = number * 10 + (s->ptr[n++] - '0');
    if (n < least || n > most)
        return false;
    *s = (rota_str){s->ptr + n, s->len - n};
    *ret_number = number;
    return true;
}

static bool take_colon(rota_str *s)
{
    if (!s->len || *s->ptr != ':')
        return false;
    *s = (rota_str){s->ptr + 1, s->len - 1};
    return true;
}

static bool read_time(rota_str token, struct date *d)
{
    return take_number(&token, 1, 2, &d->hour) && take_colon(&token) &&
           take_number(&token, 1, 2, &d->minute) && take_colon(&token) &&
           take_number(&token, 1, 2, &d->second);
}

static void read_token(rota_str token, struct date *d)
{
    rota_str rest = token;
    if (!d->has_time && read_time(token, d))
        d->has_time = true;
    else if (!d->has_day && take_number(&rest, 1, 2, &d->day))
        d->has_day = true;
    else if (!d->has_month && (d->month = rota__date_month(token)))
        d->has_month = true;
    else if (!d->has_year && (rest = token, take_number(&rest, 2, 4, &d->year)))
        d->has_year = true;
}

bool rota__cookie_date(rota_str text, int64_t *ret_seconds)
{
    struct date d = {0};
    for (size_t at = 0; at < text.len;) {
        size_t from = at;
        while (at < text.len && !is_date_separator(text.ptr[at]))
            at++;
        if (at > from)
            read_token((rota_str){text.ptr + from, at - from}, &d);
        at++;
    }
    if (d.has_year && d.year < 100)
        d.year += d.year >= 70 ? 1900 : 2000;
    if (!d.has_time || !d.has_day || !d.has_month || !d.has_year || d.day < 1 || d.year < 1601 ||
        d.hour > 23 || d.minute > 59 || d.second > 59 ||
        d.day > rota__date_month_days(d.year, d.month))
        return false;
    *ret_seconds =
        rota__date_days(d.year, d.month, d.day) * 86400 + d.hour * 3600 + d.minute * 60 + d.second;
    return true;
}

/* ---- Matching */

/* Section 5.1.3. `domain` is canonical. */
static bool domain_matches(const struct rota__cookie_target *target, const char *domain,
                           bool host_only)
{
    return strcmp(target->host->text, domain) == 0 ||
           (!host_only && rota_host_is_below(target->host, rota__str_of(domain)));
}

/* Section 5.1.4. */
static bool path_matches(rota_str path, const char *cookie_path)
{
    size_t len = strlen(cookie_path);
    if (!path.len)
        path = (rota_str){"/", 1};
    if (!rota__str_begins(path, cookie_path))
        return false;
    return path.len == len || cookie_path[len - 1] == '/' || path.ptr[len] == '/';
}

static rota_str default_path(rota_str path)
{
    const char *slash = path.len && *path.ptr == '/' ? memrchr(path.ptr, '/', path.len) : NULL;
    return slash && slash > path.ptr ? (rota_str){path.ptr, (size_t)(slash - path.ptr)}
                                     : (rota_str){"/", 1};
}

/* ---- The jar */

static size_t limit(size_t set, size_t otherwise)
{
    return set ? set : otherwise;
}

void rota__cookie_jar_fini(struct rota__cookie_jar *jar)
{
    while (jar->first) {
        struct rota__cookie *next = jar->first->next;
        rota_free(jar->first);
        jar->first = next;
    }
}

static void remove_at(struct rota__cookie **place)
{
    struct rota__cookie *cookie = *place;
    *place = cookie->next;
    rota_free(cookie);
}

static void remove_expired(struct rota__cookie_jar *jar, int64_t now)
{
    for (struct rota__cookie **place = &jar->first; *place;) {
        if ((*place)->expires <= now)
            remove_at(place);
        else
            place = &(*place)->next;
    }
}

static bool in_domain(const struct rota__cookie *cookie, const char *domain)
{
    return !domain || strcmp(cookie->domain, domain) == 0;
}

/* Removes the oldest until at most `most` of the domain's (NULL: all) are left. */
static void make_room(struct rota__cookie_jar *jar, const char *domain, size_t most)
{
    size_t count = 0;
    for (struct rota__cookie *c = jar->first; c; c = c->next)
        count += in_domain(c, domain);
    for (struct rota__cookie **place = &jar->first; *place && count > most;) {
        if (in_domain(*place, domain)) {
            remove_at(place);
            count--;
        } else {
            place = &(*place)->next;
        }
    }
}

/* A cookie that is being parsed. */
struct draft {
    rota_str name, value, domain, path;
    int64_t expires;
    bool host_only, secure, http_only;
    /* May replace a secure one: it came by a secure way. */
    bool over_secure;
};

static char *put(char **at, rota_str s)
{
    char *text = *at;
    if (s.len)
        memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    *at += s.len + 1;
    return text;
}

static struct rota__cookie *cookie_new(const struct draft *d)
{
    size_t text = d->name.len + d->value.len + d->domain.len + d->path.len + 4;
    struct rota__cookie *cookie = rota_zalloc(sizeof *cookie + text);
    if (!cookie)
        return NULL;
    char *at = (char *)(cookie + 1);
    cookie->name = put(&at, d->name);
    cookie->value = put(&at, d->value);
    cookie->domain = put(&at, d->domain);
    cookie->path = put(&at, d->path);
    cookie->expires = d->expires;
    cookie->host_only = d->host_only;
    cookie->secure = d->secure;
    cookie->http_only = d->http_only;
    return cookie;
}

static bool is_same(const struct rota__cookie *a, const struct rota__cookie *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->domain, b->domain) == 0 &&
           strcmp(a->path, b->path) == 0;
}

static struct rota__cookie **find(struct rota__cookie_jar *jar, const struct rota__cookie *cookie)
{
    struct rota__cookie **place = &jar->first;
    while (*place && !is_same(*place, cookie))
        place = &(*place)->next;
    return place;
}

/* Replaces an existing cookie, or appends a new one. An expired cookie only removes the existing
 * one. */
static int jar_add(struct rota__cookie_jar *jar, const struct draft *draft, int64_t now)
{
    struct rota__cookie *cookie = cookie_new(draft);
    if (!cookie)
        return -ENOMEM;
    remove_expired(jar, now);
    struct rota__cookie **place = find(jar, cookie);
    if (*place && (*place)->secure && !draft->over_secure) {
        rota_free(cookie);
        return 0;
    }
    cookie->created = *place ? (*place)->created : now;
    if (*place) {
        remove_at(place);
    } else if (cookie->expires > now) {
        make_room(jar, cookie->domain, limit(jar->limits.domain, 50) - 1);
        make_room(jar, NULL, limit(jar->limits.all, 3000) - 1);
        place = find(jar, cookie);
    }
    cookie->next = *place;
    *place = cookie;
    if (cookie->expires <= now)
        remove_at(place);
    return 1;
}

/* ---- Set-Cookie */

static void read_max_age(struct draft *d, rota_str value, int64_t now)
{
    bool negative = value.len && *value.ptr == '-';
    uint64_t seconds;
    value = (rota_str){value.ptr + negative, value.len - negative};
    if (!rota__take_number(&value, &seconds) || value.len)
        return;
    if (seconds > (uint64_t)(LATEST - now))
        seconds = (uint64_t)(LATEST - now);
    d->expires = negative || !seconds ? INT64_MIN : now + (int64_t)seconds;
}

struct attributes {
    rota_str domain, path;
    bool has_max_age;
};

static void read_attribute(struct draft *d, struct attributes *a, rota_str name, rota_str value,
                           int64_t now)
{
    if (rota__str_is(name, "expires")) {
        if (!a->has_max_age)
            rota__cookie_date(value, &d->expires);
    } else if (rota__str_is(name, "max-age")) {
        a->has_max_age = true;
        read_max_age(d, value, now);
    } else if (rota__str_is(name, "domain")) {
        bool dotted = value.len && *value.ptr == '.';
        a->domain = (rota_str){value.ptr + dotted, value.len - dotted};
    } else if (rota__str_is(name, "path")) {
        a->path = value.len && *value.ptr == '/' ? value : (rota_str){NULL, 0};
    } else if (rota__str_is(name, "secure")) {
        d->secure = true;
    } else if (rota__str_is(name, "httponly")) {
        d->http_only = true;
    }
}

/* Of a canonical domain. */
static bool is_public(const struct rota__cookie_jar *jar, const char *domain)
{
    return jar->is_public_suffix ? jar->is_public_suffix(domain) : !strchr(domain, '.');
}

/* Section 5.3, from step 4 on: for which hosts the cookie is. `domain` is the attribute, and has
 * the text of the draft's. False: this server may not say so. */
static bool find_scope(const struct rota__cookie_jar *jar, const struct rota__cookie_target *target,
                       const struct attributes *a, rota_host *domain, struct draft *d)
{
    d->host_only = true;
    d->domain = rota__str_of(target->host->text);
    if (a->domain.len) {
        if (rota_host_parse(a->domain, domain) < 0 || domain->is_rooted ||
            !domain_matches(target, domain->text, false))
            return false;
        bool own = rota_host_equal(domain, target->host);
        bool may_share = domain->kind == ROTA_HOST_NAME && !is_public(jar, domain->text);
        if (!own && !may_share)
            return false;
        d->host_only = !may_share;
        d->domain = rota__str_of(domain->text);
    }
    d->path = a->path.len ? a->path : default_path(target->path);
    return true;
}

/* Checks the prefixes of names (RFC 6265bis, section 5.7). `is_own`: the cookie is for its host
 * only, and has no Domain attribute. */
static bool keeps_promise(const struct draft *d, bool is_own)
{
    if (rota__str_begins_any_case(d->name, "__host-"))
        return d->secure && is_own && rota_str_equal(d->path, "/");
    return d->secure || !rota__str_begins_any_case(d->name, "__secure-");
}

/* Tabs separate the fields of a saved jar, so no field may contain one. */
static bool can_be_saved(const struct draft *d)
{
    const rota_str parts[] = {d->name, d->value, d->path};
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].len && memchr(parts[i].ptr, '\t', parts[i].len))
            return false;
    }
    return true;
}

int rota__cookie_set(struct rota__cookie_jar *jar, const struct rota__cookie_target *target,
                     rota_str field, int64_t now)
{
    struct draft draft = {.expires = ROTA__COOKIE_SESSION, .over_secure = target->secure};
    struct attributes a = {.has_max_age = false};
    if (!rota__chars_are(field, ROTA__CHAR_VALUE))
        return 0;
    rota_str value = rota__cut(&field, ';');
    if (!memchr(value.ptr, '=', value.len))
        return 0;
    draft.name = rota__trim(rota__cut(&value, '='));
    draft.value = rota__trim(value);
    if (!draft.name.len || draft.name.len + draft.value.len > limit(jar->limits.each, 4096))
        return 0;
    while (field.len) {
        rota_str text = rota__cut(&field, ';');
        rota_str name = rota__trim(rota__cut(&text, '='));
        read_attribute(&draft, &a, name, rota__trim(text), now);
    }
    rota_host domain;
    if (!find_scope(jar, target, &a, &domain, &draft) || (draft.secure && !target->secure) ||
        !keeps_promise(&draft, !a.domain.len && a.path.len) || !can_be_saved(&draft))
        return 0;
    return jar_add(jar, &draft, now);
}

/* ---- Cookie */

static bool belongs(const struct rota__cookie *cookie, const struct rota__cookie_target *target)
{
    return domain_matches(target, cookie->domain, cookie->host_only) &&
           path_matches(target->path, cookie->path) && (!cookie->secure || target->secure);
}

static void write_one(const struct rota__cookie *cookie, struct rota__out *out, bool first)
{
    if (!first)
        rota__out_add_literal(out, "; ");
    rota__out_add(out, cookie->name, strlen(cookie->name));
    rota__out_add_literal(out, "=");
    rota__out_add(out, cookie->value, strlen(cookie->value));
}

void rota__cookie_write(struct rota__cookie_jar *jar, const struct rota__cookie_target *target,
                        struct rota__out *out, int64_t now)
{
    remove_expired(jar, now);
    bool first = true;
    /* The jar is ordered by age, and there are few different lengths of paths. */
    for (size_t len = SIZE_MAX, next; len; len = next) {
        next = 0;
        for (struct rota__cookie *c = jar->first; c; c = c->next) {
            size_t own = strlen(c->path);
            if (own > len || !belongs(c, target))
                continue;
            if (own == len) {
                write_one(c, out, first);
                first = false;
            } else if (own > next) {
                next = own;
            }
        }
    }
}

/* ---- Saving: Netscape's format, with #HttpOnly_ as curl has it */

static void add_text(struct rota__out *out, const char *text)
{
    rota__out_add(out, text, strlen(text));
}

void rota__cookie_save(const struct rota__cookie_jar *jar, struct rota__out *out, int64_t now)
{
    add_text(out, "# Netscape HTTP Cookie File\n");
    for (struct rota__cookie *c = jar->first; c; c = c->next) {
        if (c->expires == ROTA__COOKIE_SESSION || c->expires <= now)
            continue;
        add_text(out, c->http_only ? "#HttpOnly_" : "");
        add_text(out, c->host_only ? "" : ".");
        add_text(out, c->domain);
        add_text(out, c->host_only ? "\tFALSE\t" : "\tTRUE\t");
        add_text(out, c->path);
        add_text(out, c->secure ? "\tTRUE\t" : "\tFALSE\t");
        rota__out_add_number(out, (uint64_t)c->expires, 10);
        add_text(out, "\t");
        add_text(out, c->name);
        add_text(out, "\t");
        add_text(out, c->value);
        add_text(out, "\n");
    }
}

static bool read_number(rota_str s, int64_t *ret_number)
{
    uint64_t n;
    if (!rota__take_number(&s, &n) || s.len || n > LATEST)
        return false;
    *ret_number = (int64_t)n;
    return true;
}

/* Whether a server reads "name=value" as this one cookie. */
static bool is_one_cookie(rota_str name, rota_str value)
{
    return name.len && rota__chars_are(name, ROTA__CHAR_VALUE) &&
           rota__chars_are(value, ROTA__CHAR_VALUE) && !memchr(name.ptr, '=', name.len) &&
           !memchr(name.ptr, ';', name.len) && !(value.len && memchr(value.ptr, ';', value.len));
}

/* 1, 0 (not understood), -ENOMEM. */
static int load_line(struct rota__cookie_jar *jar, rota_str line, int64_t now)
{
    static const char http_only[] = "#HttpOnly_";
    struct draft d = {.over_secure = true};
    size_t mark = sizeof http_only - 1;
    if (rota__str_begins(line, http_only)) {
        d.http_only = true;
        line = (rota_str){line.ptr + mark, line.len - mark};
    }
    if (!line.len || *line.ptr == '#')
        return 1;
    d.domain = rota__cut(&line, '\t');
    d.host_only = !rota__str_is(rota__cut(&line, '\t'), "true");
    d.path = rota__cut(&line, '\t');
    d.secure = rota__str_is(rota__cut(&line, '\t'), "true");
    bool dated = read_number(rota__cut(&line, '\t'), &d.expires);
    d.name = rota__cut(&line, '\t');
    d.value = line;
    if (d.domain.len && *d.domain.ptr == '.')
        d.domain = (rota_str){d.domain.ptr + 1, d.domain.len - 1};
    rota_host domain;
    if (!dated || rota_host_parse(d.domain, &domain) < 0 || !d.path.len || *d.path.ptr != '/' ||
        !is_one_cookie(d.name, d.value))
        return 0;
    d.domain = rota__str_of(domain.text);
    d.host_only |= domain.kind != ROTA_HOST_NAME;
    if (d.expires <= now || (!d.host_only && is_public(jar, domain.text)) ||
        !keeps_promise(&d, d.host_only))
        return 1; /* such a jar was filled without a list, with an older one, or by others */
    return jar_add(jar, &d, now);
}

int rota__cookie_load(struct rota__cookie_jar *jar, rota_str text, int64_t now)
{
    int strange = 0;
    while (text.len) {
        rota_str line = rota__cut(&text, '\n');
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        int done = load_line(jar, line, now);
        if (done < 0)
            return done;
        strange += done == 0;
    }
    return strange;
}
