#include "links.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SPACE " \t\n\f\r"

static void give(const char *at, size_t len, links_found *found, void *arg)
{
    char *address = len ? strndup(at, len) : NULL;
    if (address)
        found(arg, address);
    free(address);
}

/* ---- Addresses */

static bool is_space_or_control(char c)
{
    return (unsigned char)c <= ' ';
}

/* The length of "http:" or "https:" at the beginning, or 0. */
static size_t web_scheme(const char *text)
{
    if (strncasecmp(text, "http:", 5) == 0)
        return 5;
    return strncasecmp(text, "https:", 6) == 0 ? 6 : 0;
}

/* Relative to `base`, or with two slashes behind the scheme, however many there are; there is room
 * for them. */
static void read_scheme(const char *base, char *text)
{
    size_t scheme = web_scheme(text), slashes = strspn(text + scheme, "/");
    if (!scheme || slashes == 2)
        return;
    const char *rest = text + scheme + slashes;
    if (slashes < 2 && web_scheme(base) == scheme)
        memmove(text, text + scheme, strlen(text + scheme) + 1);
    else {
        memmove(text + scheme + 2, rest, strlen(rest) + 1);
        memcpy(text + scheme, "//", 2);
    }
}

char *links_read(const char *base, const char *text)
{
    while (*text && is_space_or_control(*text))
        text++;
    size_t len = strlen(text), kept = 0;
    while (len && is_space_or_control(text[len - 1]))
        len--;
    char *address = malloc(len + 3);
    if (!address)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (!strchr("\t\n\r", text[i]))
            address[kept++] = text[i];
    }
    address[kept] = '\0';
    read_scheme(base, address);
    return address;
}

/* ---- Attributes */

/* Passes the descriptors of a candidate, up to behind its comma. */
static const char *skip_descriptors(const char *at)
{
    for (bool inside = false; *at && (inside || *at != ','); at++)
        inside = inside ? *at != ')' : *at == '(';
    return at;
}

void links_in_srcset(const char *value, links_found *found, void *arg)
{
    while (*(value += strspn(value, SPACE ","))) {
        size_t len = strcspn(value, SPACE), kept = len;
        while (kept && value[kept - 1] == ',')
            kept--;
        give(value, kept, found, arg);
        value += len;
        if (kept == len) /* else the comma behind the address has ended it */
            value = skip_descriptors(value);
    }
}

void links_in_refresh(const char *content, links_found *found, void *arg)
{
    content += strspn(content, SPACE);
    size_t digits = strspn(content, "0123456789.");
    content += digits;
    size_t gap = strspn(content, SPACE);
    if (!digits || (!gap && *content != ';' && *content != ','))
        return;
    content += gap;
    content += *content == ';' || *content == ',';
    content += strspn(content, SPACE);
    if (strncasecmp(content, "url", 3) == 0) {
        const char *equals = content + 3 + strspn(content + 3, SPACE);
        if (*equals == '=')
            content = equals + 1 + strspn(equals + 1, SPACE);
    }
    char quote = *content == '"' || *content == '\'' ? *content++ : '\0';
    give(content, quote ? (size_t)(strchrnul(content, quote) - content) : strlen(content), found,
         arg);
}

/* ---- Style sheets */

struct sheet {
    const char *at, *end;
    char *address; /* room for the longest */
    size_t len;
};

static bool is_space(char c)
{
    return c && strchr(SPACE, c);
}

/* Part of a name; what is beyond ASCII is. */
static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_' || (unsigned char)c >= 0x80;
}

/* Passes a word, whatever its letters' case, if it stands there. */
static bool take(struct sheet *s, const char *word)
{
    size_t len = strlen(word);
    bool there = (size_t)(s->end - s->at) >= len && strncasecmp(s->at, word, len) == 0;
    s->at += there ? len : 0;
    return there;
}

static void skip_comment(struct sheet *s)
{
    const char *end = memmem(s->at, (size_t)(s->end - s->at), "*/", 2);
    s->at = end ? end + 2 : s->end;
}

static void skip_gap(struct sheet *s)
{
    while (s->at < s->end) {
        if (is_space(*s->at))
            s->at++;
        else if (take(s, "/*"))
            skip_comment(s);
        else
            return;
    }
}

static void add_character(struct sheet *s, unsigned long c)
{
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        c = '?';
    if (c < 0x80) {
        s->address[s->len++] = (char)c;
        return;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    s->address[s->len++] = (char)((unsigned char)"\0\xc0\xe0\xf0"[more] | c >> 6 * more);
    while (more--)
        s->address[s->len++] = (char)(0x80 | ((c >> 6 * more) & 0x3f));
}

/* What stands behind a backslash: a number of up to six digits and a space, the end of a line, or a
 * character. */
static void take_escape(struct sheet *s)
{
    unsigned long c = 0;
    int digits = 0;
    for (; digits < 6 && s->at < s->end && isxdigit((unsigned char)*s->at); digits++, s->at++)
        c = c * 16 + (unsigned long)(isdigit((unsigned char)*s->at) ? *s->at - '0'
                                                                    : (*s->at | 0x20) - 'a' + 10);
    if (digits) {
        add_character(s, c);
        s->at += s->at < s->end && is_space(*s->at);
    } else if (s->at < s->end) {
        char plain = *s->at++;
        if (plain != '\n')
            s->address[s->len++] = plain;
    }
}

/* Takes a string whose quote has been passed. False: its line ends before it does, so it is
 * none. */
static bool take_string(struct sheet *s, char quote)
{
    s->len = 0;
    while (s->at < s->end && *s->at != quote && *s->at != '\n') {
        char c = *s->at++;
        if (c == '\\')
            take_escape(s);
        else
            s->address[s->len++] = c;
    }
    bool closed = s->at == s->end || *s->at == quote;
    s->at += closed && s->at < s->end;
    return closed;
}

/* Takes what stands between the parentheses of url(), the first of which has been passed. */
static bool take_url(struct sheet *s)
{
    bool good = true;
    while (s->at < s->end && is_space(*s->at))
        s->at++;
    s->len = 0;
    if (s->at < s->end && (*s->at == '"' || *s->at == '\''))
        return take_string(s, *s->at++);
    while (s->at < s->end && *s->at != ')') {
        char c = *s->at++;
        if (c == '\\')
            take_escape(s);
        else if (!is_space(c))
            s->address[s->len++] = c;
        good &= !strchr("\"'(", c) &&
                (!is_space(c) || s->at == s->end || is_space(*s->at) || *s->at == ')');
    }
    s->at += s->at < s->end;
    return good;
}

/* Behind "@import" and its gap. */
static bool take_import(struct sheet *s)
{
    if (s->at < s->end && (*s->at == '"' || *s->at == '\''))
        return take_string(s, *s->at++);
    return take(s, "url(") && take_url(s);
}

static void give_address(struct sheet *s, links_found *found, void *arg)
{
    if (s->len && *s->address != '#')
        give(s->address, s->len, found, arg);
}

/* One step through the sheet. */
static void look(struct sheet *s, links_found *found, void *arg)
{
    if (take(s, "/*")) {
        skip_comment(s);
    } else if (take(s, "url(")) {
        if (take_url(s))
            give_address(s, found, arg);
    } else if (take(s, "@import")) {
        skip_gap(s);
        if (take_import(s))
            give_address(s, found, arg);
    } else if (take(s, "@namespace")) {
        while (s->at < s->end && *s->at != ';')
            s->at++;
    } else if (*s->at == '"' || *s->at == '\'') {
        take_string(s, *s->at++);
    } else if (*s->at == '\\') {
        s->at += s->end - s->at > 1 ? 2 : 1;
    } else if (is_name(*s->at)) {
        while (s->at < s->end && is_name(*s->at)) /* "curl(" is not "url(" */
            s->at++;
    } else {
        s->at++;
    }
}

void links_in_css(const char *text, size_t len, links_found *found, void *arg)
{
    struct sheet sheet = {text, text + len, malloc(len + 1), 0};
    while (sheet.address && sheet.at < sheet.end)
        look(&sheet, found, arg);
    free(sheet.address);
}
