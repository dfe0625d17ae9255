/* get: downloads many URLs at once, and goes on where it was interrupted. See `get --help`. */
#include <rota.h>
#include <rota/http_client.h>

#include <openssl/evp.h>

#include <err.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: get [OPTION]... URL...\n\n"
    "Downloads each URL to a file, several at once. The file is named after the last component\n"
    "of the URL. It ends in \".part\" until it is complete, and then replaces an existing file.\n"
    "If several URLs have the same name, the later files get a number. Run the same command\n"
    "again to continue an interrupted download.\n\n"
    "  --directory DIR  where the files go (default: the current directory)\n"
    "  --jobs N         download at most N files at once (default 8)\n"
    "  --sha256         print the SHA-256 of each file, as sha256sum does\n"
    "  --quiet          show no progress\n\n"
    "If SSL_CERT_FILE is set, the certificates in that file are trusted.\n"
    "Exit status: 0 if all files were downloaded, 1 if some were not, 2 after a usage error,\n"
    "130 if it was interrupted.\n";

static struct {
    const char *directory;
    long jobs;
    bool sha256, quiet;
} opts = {.directory = ".", .jobs = 8};

struct job {
    const char *url;
    char name[200];
    char path[4096], part[4096 + 8];
    char sum[65];
};

static struct {
    struct job *jobs;
    size_t count, next, done;
    uint64_t bytes;
    rota_http_session *session;
} all;

/* ---- Progress: a line that is overwritten on a terminal */

static bool on_terminal;

static void clear_line(void)
{
    if (on_terminal)
        fputs("\r\033[K", stderr);
}

/* A line that is as long as the terminal is wide would begin another one. */
static int terminal_columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static int show_progress(void *arg)
{
    char line[120];
    rota_time start = rota_now();
    int err = 0;
    while (err == 0) {
        double seconds = (double)(rota_now() - start) / (double)ROTA_SECOND;
        double megabytes = (double)all.bytes / 1e6;
        snprintf(line, sizeof line, "%zu of %zu files, %.1f MB, %.1f MB/s", all.done, all.count,
                 megabytes, seconds > 0 ? megabytes / seconds : 0);
        fprintf(stderr, "\r\033[K%.*s", terminal_columns() - 1, line);
        err = rota_sleep(200 * ROTA_MILLISECOND);
    }
    clear_line();
    return 0;
}

static void complain(const struct job *job, const char *why)
{
    clear_line();
    warnx("%s: %s", job->url, why);
}

/* ---- Checksums: in a thread, for they take their time */

static int hash(void *arg)
{
    struct job *job = arg;
    static const size_t size = 1 << 16;
    unsigned char sum[32], *buf = malloc(size);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    FILE *file = fopen(job->path, "re");
    bool ok = buf && ctx && file && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    for (size_t n; ok && (n = fread(buf, 1, size, file)) > 0;)
        ok = EVP_DigestUpdate(ctx, buf, n);
    ok = ok && !ferror(file) && EVP_DigestFinal_ex(ctx, sum, NULL);
    for (size_t i = 0; ok && i < sizeof sum; i++)
        snprintf(job->sum + 2 * i, 3, "%02x", sum[i]);
    if (file)
        fclose(file);
    EVP_MD_CTX_free(ctx);
    free(buf);
    return ok ? 0 : -EIO;
}

/* ---- A download */

/* How much of the file is there from before, and what says that it is still the same file: the
 * part's time is what the server gave as Last-Modified. */
static int64_t find_part(const struct job *job, char *ret_date, size_t size)
{
    struct stat about;
    struct tm tm;
    if (rota_path_stat(job->part, &about) < 0 || !S_ISREG(about.st_mode))
        return 0;
    gmtime_r(&about.st_mtim.tv_sec, &tm);
    strftime(ret_date, size, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    return about.st_size;
}

/* `old` is the date of the part; a server that sends the rest need not repeat it (RFC 9110, section
 * 15.3.7). */
static void keep_date(rota_file *file, const rota_http_response *r, const char *old)
{
    char date[64];
    struct tm tm = {0};
    rota_str said = rota_http_response_header(r, "Last-Modified");
    snprintf(date, sizeof date, "%.*s", (int)said.len, said.len ? said.ptr : "");
    if (!said.len)
        snprintf(date, sizeof date, "%s", old);
    bool known = strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm) != NULL;
    struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = known ? timegm(&tm) : 0}};
    futimens(rota_file_fd(file), times); /* without a date it begins anew the next time */
}

static int copy(rota_http_response *r, rota_file *file)
{
    char buf[64 * 1024];
    ssize_t n;
    while ((n = rota_http_read(r, buf, sizeof buf)) > 0) {
        int err = rota_file_write(file, buf, (size_t)n);
        if (err < 0)
            return err;
        all.bytes += (uint64_t)n;
    }
    return (int)n;
}

/* Asks for what is missing. A server that knows no ranges, or has another file now, sends all of
 * it. */
static int ask(const struct job *job, int64_t have, const char *date,
               rota_http_response **ret_response)
{
    char range[48];
    snprintf(range, sizeof range, "bytes=%lld-", (long long)have);
    const char *headers[] = {"Range", range, "If-Range", date, NULL};
    rota_http_fetch_options options = {.headers = have > 0 ? headers : NULL, .stream = true};
    return rota_http_fetch(all.session, job->url, &options, ret_response);
}

static bool continues_at(const rota_http_response *r, int64_t have)
{
    char expected[48];
    int len = snprintf(expected, sizeof expected, "bytes %lld-", (long long)have);
    rota_str said = rota_http_response_header(r, "Content-Range");
    return rota_http_status(r) == 206 && said.len > (size_t)len &&
           strncasecmp(said.ptr, expected, (size_t)len) == 0;
}

static int save(struct job *job, rota_http_response *r, int64_t have, const char *date)
{
    ROTA_AUTO(rota_file) file = NULL;
    int err = rota_file_open(job->part, O_WRONLY | O_CREAT | (have ? O_APPEND : O_TRUNC), 0, &file);
    if (err == 0)
        err = copy(r, file);
    if (file)
        keep_date(file, r, have > 0 ? date : ""); /* also of a part */
    if (err == 0)
        err = rota_file_sync(file);
    return err == 0 ? rota_path_rename(job->part, job->path) : err;
}

static int download(struct job *job)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    char date[64], why[sizeof job->part + 64];
    struct stat about;
    if (rota_path_stat(job->path, &about) == 0 && S_ISDIR(about.st_mode)) {
        snprintf(why, sizeof why, "%s is a directory", job->path);
        complain(job, why);
        return -EISDIR;
    }
    int64_t have = find_part(job, date, sizeof date);
    int err = ask(job, have, date, &r);
    if (err == 0 && have > 0 && rota_http_status(r) == 416) { /* there is no more, or less */
        have = 0;
        r = rota_http_response_free(r);
        err = ask(job, 0, date, &r);
    }
    if (err < 0) {
        if (err != -ECANCELED)
            complain(job, rota_error(err));
        return err;
    }
    if (!continues_at(r, have))
        have = 0;
    if (rota_http_status(r) != 200 && !have) {
        snprintf(why, sizeof why, "%d %s", rota_http_status(r),
                 rota_http_reason(rota_http_status(r)));
        complain(job, why);
        return -ENOENT;
    }
    err = save(job, r, have, date);
    if (err < 0 && err != -ECANCELED) {
        snprintf(why, sizeof why, "%s: %s", job->part, rota_strerror(err));
        complain(job, *rota_http_response_error(r) ? rota_http_response_error(r) : why);
    }
    return err;
}

/* Takes one job after another; what fails ends that one only. */
static int work(void *arg)
{
    while (all.next < all.count) {
        struct job *job = &all.jobs[all.next++];
        int err = download(job);
        if (err == 0 && opts.sha256) {
            err = rota_to_thread(hash, job);
            if (err < 0 && err != -ECANCELED)
                complain(job, "downloaded, but its checksum could not be computed");
        }
        if (err == -ECANCELED)
            return err;
        if (err < 0)
            continue;
        all.done++;
        clear_line();
        if (opts.sha256)
            printf("%s  %s\n", job->sum, job->path);
        else if (!on_terminal && !opts.quiet)
            fprintf(stderr, "%s\n", job->path);
    }
    return 0;
}

static int get_all(void)
{
    rota_http_session_options options = {.connections = (size_t)opts.jobs,
                                         .total = ROTA_NEVER,
                                         .no_decoding = true}; /* ranges are of what is sent */
    ROTA_AUTO(rota_http_session) session = NULL;
    ROTA_AUTO(rota_task) progress = NULL;
    int err = rota_http_session_new(&options, &session);
    if (err < 0)
        errx(1, "%s", rota_error(err));
    all.session = session;
    if (on_terminal)
        rota_spawn(show_progress, NULL, &progress);
    ROTA_GROUP(g);
    for (long i = 0; i < opts.jobs && (size_t)i < all.count; i++)
        rota_group_spawn(&g, work, NULL);
    return rota_group_wait(&g);
}

/* What SIGTERM ends keeps the date that it goes on by, too. */
static int get(void *arg)
{
    int err = 0;
    ROTA_UNTIL_STOP
    {
        err = get_all();
    }
    return err;
}

/* ---- The command line */

static _Noreturn void fail(const char *why, const char *what)
{
    fprintf(stderr, "get: %s%s\n%s", why, what, "Try get --help.\n");
    exit(2);
}

/* What files are called, in a tree of search.h, whose elements begin with a text. */
struct name {
    char *text;
    bool taken;
    int next; /* the number behind this name that was not tried yet */
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct name *find_name(const char *text, const char *ending)
{
    static void *names;
    struct name *name = calloc(1, sizeof *name), **found;
    if (!name || asprintf(&name->text, "%s%s", text, ending) < 0 ||
        !(found = tsearch(name, &names, by_text)))
        err(1, NULL);
    if (*found != name) {
        free(name->text);
        free(name);
    }
    return *found;
}

/* Whether no other job has this file or its part. */
static bool take_name(const char *text)
{
    struct name *whole = find_name(text, ""), *part = find_name(text, ".part");
    if (whole->taken || part->taken)
        return false;
    return whole->taken = part->taken = true;
}

/* The last component of the URL's path; of several with the same name the later ones get a
 * number. */
static void set_name(struct job *job)
{
    const char *host = strstr(job->url, "://"), *at = host ? host + 3 : job->url;
    at += strcspn(at, "/?#");
    size_t len = strcspn(at, "?#");
    const char *slash = memrchr(at, '/', len);
    const char *name = slash ? slash + 1 : at;
    len -= (size_t)(name - at);
    bool usable = len > 0 && len < 180 && !(len <= 2 && strspn(name, ".") >= len);
    snprintf(job->name, sizeof job->name, "%.*s", usable ? (int)len : 10,
             usable ? name : "index.html");
    size_t used = strlen(job->name);
    struct name *first = find_name(job->name, "");
    for (; !take_name(job->name); first->next++)
        snprintf(job->name + used, sizeof job->name - used, ".%d", first->next + 1);
    snprintf(job->path, sizeof job->path, "%s/%s", opts.directory, job->name);
    snprintf(job->part, sizeof job->part, "%s.part", job->path);
}

static const char *value_of(char **argv, int *i)
{
    if (!argv[*i + 1])
        fail("a value is missing behind ", argv[*i]);
    return argv[++*i];
}

static void read_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        char *end = argv[i] + strlen(argv[i]);
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        } else if (strcmp(argv[i], "--directory") == 0) {
            opts.directory = value_of(argv, &i);
        } else if (strcmp(argv[i], "--jobs") == 0) {
            opts.jobs = strtol(value_of(argv, &i), &end, 10);
            if (*end || opts.jobs < 1 || opts.jobs > 10000)
                fail("no number of jobs: ", argv[i]);
        } else if (strcmp(argv[i], "--sha256") == 0) {
            opts.sha256 = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            opts.quiet = true;
        } else if (*argv[i] == '-') {
            fail("unknown option: ", argv[i]);
        } else {
            all.jobs[all.count++].url = argv[i];
        }
    }
    if (!all.count)
        fail("no URL", "");
}

/* Returns the status that the program ends with. */
static int report(bool interrupted)
{
    size_t missing = all.count - all.done;
    if (missing && all.count > 1)
        warnx("%zu of %zu files are missing", missing, all.count);
    if (interrupted)
        warnx("interrupted; run the same command again to continue");
    if (fflush(stdout) != 0 || ferror(stdout)) {
        warnx("standard output: checksums could not be written");
        missing = 1;
    }
    return interrupted ? 130 : missing > 0;
}

int main(int argc, char **argv)
{
    all.jobs = calloc((size_t)argc, sizeof *all.jobs);
    if (!all.jobs)
        err(1, NULL);
    read_options(argc, argv);
    if (access(opts.directory, W_OK | X_OK) < 0)
        err(2, "%s", opts.directory);
    for (size_t i = 0; i < all.count; i++)
        set_name(&all.jobs[i]);
    on_terminal = !opts.quiet && isatty(STDERR_FILENO);
    int failure = rota_run(get, NULL);
    if (failure < 0 && failure != -ECANCELED)
        errx(1, "%s", rota_error(failure));
    free(all.jobs);
    return report(failure == -ECANCELED);
}
