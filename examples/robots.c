#include "robots.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct rule {
    const char *pattern;
    size_t len;
    bool allow;
};

struct robots {
    char *text; /* a copy, which the patterns are slices of */
    struct rule *rules;
    size_t count;
};

struct slice {
    const char *at, *end;
};

/* ---- Lines (section 2.2) */

static struct slice trim(struct slice s)
{
    while (s.at < s.end && strchr(" \t", *s.at))
        s.at++;
    while (s.at < s.end && strchr(" \t", s.end[-1]))
        s.end--;
    return s;
}

/* Takes the next line that has a key and a value. */
static bool next_line(struct slice *rest, struct slice *ret_key, struct slice *ret_value)
{
    while (rest->at < rest->end) {
        struct slice line = *rest;
        while (rest->at < rest->end && !strchr("\r\n", *rest->at))
            rest->at++;
        line.end = rest->at;
        rest->at += rest->at < rest->end;
        const char *comment = memchr(line.at, '#', (size_t)(line.end - line.at));
        if (comment)
            line.end = comment;
        const char *colon = memchr(line.at, ':', (size_t)(line.end - line.at));
        if (!colon)
            continue;
        *ret_key = trim((struct slice){line.at, colon});
        *ret_value = trim((struct slice){colon + 1, line.end});
        return true;
    }
    return false;
}

static bool is(struct slice s, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(s.end - s.at) == len && strncasecmp(s.at, word, len) == 0;
}

/* A product token has letters, '_' and '-'; what stands behind it, as a version, says nothing. */
static bool names(struct slice value, const char *agent)
{
    const char *end = value.at;
    while (end < value.end && (isalpha((unsigned char)*end) || *end == '_' || *end == '-'))
        end++;
    return is((struct slice){value.at, end}, agent);
}

/* Collects the rules of all groups for that agent, or with NULL of those for everybody. Returns
 * whether there was such a group. */
static bool collect(struct robots *robots, struct slice rest, const char *agent)
{
    struct slice key, value;
    bool found = false, meant = false, in_agents = false;
    while (next_line(&rest, &key, &value)) {
        bool allow = is(key, "allow");
        if (is(key, "user-agent")) {
            bool named = agent ? names(value, agent) : is(value, "*");
            meant = in_agents ? meant || named : named;
            in_agents = true;
            found |= named;
        } else if (allow || is(key, "disallow")) {
            in_agents = false;
            if (meant && value.at < value.end)
                robots->rules[robots->count++] =
                    (struct rule){value.at, (size_t)(value.end - value.at), allow};
        }
    }
    return found;
}

struct robots *robots_parse(const char *text, size_t len, const char *agent)
{
    static const char mark[] = "\xef\xbb\xbf";
    struct robots *robots = calloc(1, sizeof *robots);
    size_t lines = 1;
    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n' || text[i] == '\r';
    if (robots) {
        robots->text = malloc(len + 1);
        robots->rules = malloc(lines * sizeof *robots->rules);
    }
    if (!robots || !robots->text || !robots->rules) {
        robots_free(robots);
        return NULL;
    }
    for (size_t i = 0; i < len; i++)
        robots->text[i] = text[i] ? text[i] : ' '; /* strchr finds NUL in any set */
    struct slice all = {robots->text, robots->text + len};
    if (len >= 3 && memcmp(all.at, mark, 3) == 0)
        all.at += 3;
    if (!collect(robots, all, agent))
        collect(robots, all, NULL);
    return robots;
}

void robots_free(struct robots *robots)
{
    if (!robots)
        return;
    free(robots->text);
    free(robots->rules);
    free(robots);
}

/* ---- Matching (section 2.2.2) */

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* Takes an octet, so that %7E equals ~, and %2F not /. What is beyond ASCII counts as encoded. */
static int next_octet(const char **at, const char *end)
{
    unsigned char c = (unsigned char)*(*at)++;
    bool encoded = c == '%' && end - *at >= 2 && isxdigit((unsigned char)(*at)[0]) &&
                   isxdigit((unsigned char)(*at)[1]);
    if (encoded) {
        c = (unsigned char)(hex((*at)[0]) << 4 | hex((*at)[1]));
        *at += 2;
        encoded = !(c < 0x80 && (isalnum(c) || (c && strchr("-._~", c))));
    }
    return encoded || c >= 0x80 ? c | 0x100 : c;
}

/* A star takes as little as it can, and more where that does not lead on: only the last one is ever
 * gone back to. */
static bool matches(const struct rule *rule, const char *path)
{
    const char *p = rule->pattern, *end = p + rule->len, *path_end = path + strlen(path);
    bool anchored = end[-1] == '$';
    end -= anchored;
    const char *star = NULL, *retry = NULL;
    while (true) {
        if (p < end && *p == '*') {
            star = ++p;
            retry = path;
            continue;
        }
        if (p == end && (!anchored || path == path_end))
            return true;
        const char *p_next = p, *path_next = path;
        if (p < end && path < path_end &&
            next_octet(&p_next, end) == next_octet(&path_next, path_end)) {
            p = p_next;
            path = path_next;
        } else if (star && retry < path_end) {
            next_octet(&retry, path_end);
            path = retry;
            p = star;
        } else {
            return false;
        }
    }
}

bool robots_allow(const struct robots *robots, const char *path)
{
    size_t best = 0;
    bool allow = true;
    if (!robots || strcmp(path, "/robots.txt") == 0)
        return true;
    for (size_t i = 0; i < robots->count; i++) {
        const struct rule *rule = &robots->rules[i];
        if (rule->len < best || (rule->len == best && !rule->allow) || !matches(rule, path))
            continue;
        best = rule->len;
        allow = rule->allow;
    }
    return allow;
}
