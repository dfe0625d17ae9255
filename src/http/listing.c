/* The page that lists a directory. A thread reads the directory, because that may block. */
#include "http/root.h"
#include "http/url.h"

#include <rota/exec.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct entry {
    char *name;
    bool is_directory;
    uint64_t size;
    time_t modified;
};

struct listing {
    const rota_http_root *root;
    const char *name;
    /* -1: closed. */
    int fd;
    struct entry *entries;
    size_t count, room;
};

/* ---- Reading, in a thread */

static int add(struct listing *l, const char *name, const struct stat *st)
{
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        struct entry *grown = rota_resize(l->entries, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        l->entries = grown;
        l->room = room;
    }
    char *copy = rota_alloc(strlen(name) + 1);
    if (!copy)
        return -ENOMEM;
    strcpy(copy, name);
    l->entries[l->count++] =
        (struct entry){copy, S_ISDIR(st->st_mode), (uint64_t)st->st_size, st->st_mtime};
    return 0;
}

static int in_order(const void *one, const void *other)
{
    const struct entry *a = one, *b = other;
    if (a->is_directory != b->is_directory)
        return b->is_directory - a->is_directory;
    return strcmp(a->name, b->name);
}

/* Follows links only below the root. */
static bool follow(const struct listing *l, const char *name, struct stat *ret_st)
{
    char whole[PATH_MAX];
    int len = snprintf(whole, sizeof whole, "%s%s", l->name, name);
    return len < (int)sizeof whole && rota__root_stat(l->root, whole, ret_st) == 0;
}

/* Lists only entries that can be served. */
static bool is_served(const struct listing *l, int fd, const char *name, struct stat *ret_st)
{
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (*name == '.' && !l->root->hidden))
        return false;
    if (fstatat(fd, name, ret_st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if (S_ISLNK(ret_st->st_mode) && !follow(l, name, ret_st))
        return false;
    return S_ISREG(ret_st->st_mode) || S_ISDIR(ret_st->st_mode);
}

static int read_all(void *arg)
{
    struct listing *l = arg;
    DIR *dir = fdopendir(l->fd);
    if (!dir)
        return -errno;
    l->fd = -1;
    int err = 0;
    struct dirent *d;
    struct stat st;
    while (err == 0 && (d = readdir(dir))) {
        if (is_served(l, dirfd(dir), d->d_name, &st))
            err = add(l, d->d_name, &st);
    }
    closedir(dir);
    if (l->count)
        qsort(l->entries, l->count, sizeof *l->entries, in_order);
    return err;
}

/* ---- Writing */

static void add_text(struct rota__out *out, rota_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        switch (s.ptr[i]) {
        case '&':
            rota__out_add_literal(out, "&amp;");
            break;
        case '<':
            rota__out_add_literal(out, "&lt;");
            break;
        case '>':
            rota__out_add_literal(out, "&gt;");
            break;
        case '"':
            rota__out_add_literal(out, "&quot;");
            break;
        default:
            rota__out_add(out, &s.ptr[i], 1);
        }
    }
}

static void add_size(struct rota__out *out, uint64_t size)
{
    static const char units[] = " kMGTPE";
    double shown = (double)size;
    size_t unit = 0;
    char text[32];
    for (; shown >= 1000 && unit + 2 < sizeof units; unit++)
        shown /= 1000;
    int len = unit ? snprintf(text, sizeof text, "%.1f %cB", shown, units[unit])
                   : snprintf(text, sizeof text, "%d B", (int)size);
    rota__out_add(out, text, (size_t)len);
}

static void add_entry(struct rota__out *out, const struct entry *e)
{
    rota_str name = {e->name, strlen(e->name)};
    char date[32];
    struct tm tm;
    rota__out_add_literal(out, "<tr><td><a href=\"./");
    rota__url_encode(out, name);
    if (e->is_directory)
        rota__out_add_literal(out, "/");
    rota__out_add_literal(out, "\">");
    add_text(out, name);
    if (e->is_directory)
        rota__out_add_literal(out, "/");
    rota__out_add_literal(out, "</a><td>");
    if (!e->is_directory)
        add_size(out, e->size);
    rota__out_add_literal(out, "<td>");
    if (gmtime_r(&e->modified, &tm))
        rota__out_add(out, date, strftime(date, sizeof date, "%Y-%m-%d %H:%M", &tm));
    rota__out_add_literal(out, "\n");
}

static void write_page(struct rota__out *out, const struct listing *l, rota_str path)
{
    struct rota__out plain = {0};
    rota_str title = path;
    if (rota__url_decode(&plain, path) == 0)
        title = (rota_str){plain.ptr, plain.len};
    rota__out_add_literal(out, "<!doctype html>\n<html><head><meta charset=\"utf-8\">"
                               "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    add_text(out, title);
    rota__out_add_literal(
        out,
        "</title>\n<style>body{font:16px/1.5 system-ui,sans-serif;margin:2em}td{padding-right:2em}"
        "td+td{color:#666;white-space:nowrap}a{text-decoration:none}</style></head>\n<body><h1>");
    add_text(out, title);
    rota__out_add_literal(out, "</h1>\n<table>\n");
    if (!rota_str_equal(path, "/"))
        rota__out_add_literal(out, "<tr><td><a href=\"../\">../</a><td><td>\n");
    for (size_t i = 0; i < l->count; i++)
        add_entry(out, &l->entries[i]);
    rota__out_add_literal(out, "</table></body></html>\n");
    if (plain.err < 0)
        out->err = plain.err;
    rota__out_fini(&plain);
}

int rota__listing_write(struct rota__out *out, const rota_http_root *root, const char *name, int fd,
                        rota_str path)
{
    struct listing l = {.root = root, .name = name, .fd = fd};
    int err;
    ROTA_SHIELD /* the thread has the descriptor */
    {
        err = rota_to_thread(read_all, &l);
    }
    if (l.fd >= 0)
        close(l.fd);
    if (err == 0)
        write_page(out, &l, path);
    for (size_t i = 0; i < l.count; i++)
        rota_free(l.entries[i].name);
    rota_free(l.entries);
    return err < 0 ? err : out->err;
}
