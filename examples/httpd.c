/* httpd: serves the files of a directory over HTTP. See `httpd --help`. */
#include <rota.h>
#include <rota/http_server.h>

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OTHER_FILES = 32 }; /* that may be open beside those of connections */

static const char usage[] =
    "usage: httpd [OPTION]... [DIRECTORY]\n\n"
    "Serves the files of DIRECTORY (default: the current one). Files outside of DIRECTORY and\n"
    "files whose names begin with a dot are not served. On Ctrl-C or SIGTERM it accepts no more\n"
    "requests, and exits when those in progress have ended.\n\n"
    "  -l, --listen HOST:PORT  address to listen on (default localhost:8080); port 0 selects a\n"
    "                          free port, which is printed\n"
    "  -c, --cert FILE         use TLS with this certificate and its chain (PEM)\n"
    "  -k, --key FILE          the private key of the certificate (PEM)\n"
    "  -w, --workers N         number of threads (default 1); 0: one for each processor\n"
    "  -g, --grace SECONDS     how long requests may run on after Ctrl-C (default 5)\n"
    "  -m, --connections N     most connections at once; others wait (default 10000, and never\n"
    "                          more than half of the limit on open files, see ulimit -Hn)\n"
    "  -i, --idle SECONDS      close a connection without a request after this time (default 75)\n"
    "  -s, --stall SECONDS     close a connection whose client stops reading (default 30)\n"
    "  -n, --no-list           do not list directories that have no index.html\n"
    "  -q, --quiet             do not print requests\n\n"
    "Exit status: 0 after Ctrl-C or SIGTERM, 1 if it cannot serve, 2 after a usage error.\n";

static struct {
    const char *host, *cert, *key, *directory;
    int port, workers, grace, connections, idle, stall;
    bool no_list, quiet;
} args = {.host = "localhost",
          .port = 8080,
          .workers = 1,
          .grace = 5,
          .connections = 10000,
          .idle = 75,
          .stall = 30,
          .directory = "."};

struct httpd {
    rota_http_root *root;
    rota_tls_context *tls;
};

static int handle(rota_http_request *r, void *arg)
{
    struct httpd *httpd = arg;
    return rota_http_reply_file(r, httpd->root, rota_http_request_path(r));
}

/* A request has no control characters, but it may have other bytes that a terminal interprets. */
static void print(void *arg, const rota_http_access *a)
{
    char target[120];
    size_t len = 0;
    for (; len < a->target.len && len + 1 < sizeof target; len++) {
        unsigned char c = (unsigned char)a->target.ptr[len];
        target[len] = c > ' ' && c < 127 ? (char)c : '?';
    }
    target[len] = '\0';
    rota_str method =
        a->method.len ? a->method : (rota_str){"-", 1}; /* a refused request may have none */
    printf("%s %.*s %s %d %llu bytes %.1f ms%s%s\n", a->peer, (int)method.len, method.ptr,
           len ? target : "-", a->status, (unsigned long long)a->bytes_out,
           (double)a->total / (double)ROTA_MILLISECOND, a->err ? ": " : "",
           a->err ? rota_strerror(a->err) : "");
}

/* Reports that clients do not see: that descriptors have run out, why a reply is 500. */
static void complain(void *arg, rota_log_level level, const char *what)
{
    if (level >= ROTA_LOG_WARNING)
        fprintf(stderr, "httpd: %s\n", what);
}

static const char *what_to_do(int err)
{
    if (err == -EADDRINUSE)
        return "; select another port with --listen, or 0 for a free one";
    return err == -EACCES ? "; ports below 1024 need privileges: select another one with --listen"
                          : "";
}

static int serve(void *arg)
{
    struct httpd *httpd = arg;
    ROTA_AUTO(rota_listener) l = NULL;
    int err = rota_worker_listen(args.host, args.port, NULL, &l);
    if (err < 0)
        return rota_error_set(err, "%s%s", rota_error(err), what_to_do(err));
    if (rota_worker_index() <= 0) {
        bool is_v6 = strchr(args.host, ':');
        printf("serving %s on http%s://%s%s%s:%d/\n", args.directory, httpd->tls ? "s" : "",
               is_v6 ? "[" : "", *args.host ? args.host : "localhost", is_v6 ? "]" : "",
               rota_listener_port(l));
        fflush(stdout);
    }
    unsigned workers = rota_worker_index() < 0 ? 1 : rota_worker_count();
    rota_http_serve_options options = {.tls = httpd->tls,
                                       .grace = args.grace * ROTA_SECOND,
                                       .connections =
                                           ((size_t)args.connections + workers - 1) / workers,
                                       .idle = args.idle * ROTA_SECOND,
                                       .write_stall = args.stall * ROTA_SECOND,
                                       .access = args.quiet ? NULL : print};
    return rota_http_serve(&l, 1, handle, httpd, &options);
}

static int serve_until_stop(void *arg)
{
    int err = 0;
    ROTA_UNTIL_STOP
    {
        err = args.workers == 1 ? serve(arg) : rota_run_workers((unsigned)args.workers, serve, arg);
    }
    return err == -ECANCELED ? 0 : err;
}

static _Noreturn __attribute__((format(printf, 1, 2))) void refuse(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("httpd: ", stderr);
    vfprintf(stderr, format, list);
    fputs("\nTry httpd --help.\n", stderr);
    exit(2);
}

static int number(const char *text, int least, int most, const char *what)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < least || n > most)
        refuse("%s must be %d to %d: %s", what, least, most, text);
    return (int)n;
}

/* "localhost:8080", "[::1]:8080", ":8080" for all addresses */
static void parse_address(char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon)
        refuse("not HOST:PORT: %s", text);
    args.port = number(colon + 1, 0, 65535, "the port");
    *colon = '\0';
    if (*text == '[' && colon > text && colon[-1] == ']') {
        colon[-1] = '\0';
        text++;
    }
    args.host = text;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'}, {"cert", required_argument, NULL, 'c'},
        {"key", required_argument, NULL, 'k'},    {"workers", required_argument, NULL, 'w'},
        {"grace", required_argument, NULL, 'g'},  {"connections", required_argument, NULL, 'm'},
        {"idle", required_argument, NULL, 'i'},   {"stall", required_argument, NULL, 's'},
        {"no-list", no_argument, NULL, 'n'},      {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "l:c:k:w:g:m:i:s:nqh", options, NULL)) != -1;) {
        switch (c) {
        case 'l':
            parse_address(optarg);
            break;
        case 'c':
            args.cert = optarg;
            break;
        case 'k':
            args.key = optarg;
            break;
        case 'w':
            args.workers = number(optarg, 0, 4096, "the number of workers");
            break;
        case 'g':
            args.grace = number(optarg, 0, 86400, "the grace");
            break;
        case 'm':
            args.connections = number(optarg, 1, 1000000, "the number of connections");
            break;
        case 'i':
            args.idle = number(optarg, 1, 86400, "the idle time");
            break;
        case 's':
            args.stall = number(optarg, 1, 86400, "the stall time");
            break;
        case 'n':
            args.no_list = true;
            break;
        case 'q':
            args.quiet = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default: /* getopt has said what is wrong */
            fputs("Try httpd --help.\n", stderr);
            exit(2);
        }
    }
    if (optind < argc)
        args.directory = argv[optind++];
    if (optind < argc)
        refuse("only one directory is allowed: %s", argv[optind]);
    if (!args.cert != !args.key)
        refuse("--cert and --key must be given together");
}

/* Programs start with a low limit of descriptors, for those that use select(2). Each connection may
 * need one more, for its file. */
static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    rlim_t room = limit.rlim_max > OTHER_FILES ? (limit.rlim_max - OTHER_FILES) / 2 : 0;
    if (room < (rlim_t)args.connections)
        args.connections = room ? (int)room : 1;
}

int main(int argc, char **argv)
{
    ROTA_AUTO(rota_http_root) root = NULL;
    ROTA_AUTO(rota_tls_context) tls = NULL;
    parse(argc, argv);
    raise_limit();
    rota_log_set(complain, NULL);
    rota_http_root_options options = {.list = !args.no_list};
    int err = access(args.directory, X_OK) < 0 ? -errno : 0;
    if (err == 0)
        err = rota_http_root_open(args.directory, &options, &root);
    if (err < 0) {
        fprintf(stderr, "httpd: %s: %s\n", args.directory, rota_strerror(err));
        return 1;
    }
    if (args.cert) {
        rota_tls_options o = {.cert_file = args.cert, .key_file = args.key, .alpn = rota_http_alpn};
        err = rota_tls_context_new(&o, &tls);
    }
    if (err < 0) {
        fprintf(stderr, "httpd: %s\n", rota_error(err));
        return 1;
    }
    struct httpd httpd = {root, tls};
    return rota_main(serve_until_stop, &httpd);
}
