/* httpd: serves the files of a directory over HTTP. See `httpd --help`. */
#include <rota.h>
#include <rota/http_server.h>

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: httpd [OPTION]... [DIRECTORY]\n\n"
    "Serves the files of DIRECTORY (default: this one) until Ctrl-C; then takes no more requests, "
    "and\n"
    "lets those that run end. Nothing outside of DIRECTORY can be reached, nor what begins with a "
    "dot.\n\n"
    "  -l, --listen HOST:PORT  where (default localhost:8080); port 0 takes a free one, which is "
    "printed\n"
    "  -c, --cert FILE         speaks TLS with this certificate (PEM), its chain behind it,\n"
    "  -k, --key FILE          and this key\n"
    "  -w, --workers N         so many threads (default 1); 0: as many as processors\n"
    "  -g, --grace SECONDS     how long requests may go on after Ctrl-C (default 5)\n"
    "  -n, --no-list           directories without an index.html are not listed\n"
    "  -q, --quiet             requests are not printed\n";

static struct {
    const char *host, *cert, *key, *directory;
    int port, workers, grace;
    bool no_list, quiet;
} args = {.host = "localhost", .port = 8080, .workers = 1, .grace = 5, .directory = "."};

struct httpd {
    rota_http_root *root;
    rota_tls_context *tls;
};

static int handle(rota_http_request *r, void *arg)
{
    struct httpd *httpd = arg;
    return rota_http_reply_file(r, httpd->root, rota_http_request_path(r));
}

/* Control characters are no part of a request, but other bytes that a terminal obeys may be. */
static void print(void *arg, const rota_http_access *a)
{
    char target[120];
    size_t len = 0;
    for (; len < a->target.len && len + 1 < sizeof target; len++) {
        unsigned char c = (unsigned char)a->target.ptr[len];
        target[len] = c > ' ' && c < 127 ? (char)c : '?';
    }
    target[len] = '\0';
    printf("%s %.*s %s %d %llu bytes %.1f ms%s%s\n", a->peer, (int)a->method.len,
           a->method.len ? a->method.ptr : "", target, a->status, (unsigned long long)a->bytes_out,
           (double)a->total / (double)ROTA_MILLISECOND, a->err ? ": " : "",
           a->err ? rota_strerror(a->err) : "");
}

static int serve(void *arg)
{
    struct httpd *httpd = arg;
    ROTA_AUTO(rota_listener) l = NULL;
    int err = rota_worker_listen(args.host, args.port, NULL, &l);
    if (err == -ECANCELED)
        return err; /* stopped before it began */
    if (err < 0) {
        fprintf(stderr, "httpd: cannot listen on %s:%d: %s\n", args.host, args.port,
                rota_strerror(err));
        return err;
    }
    if (rota_worker_index() <= 0) {
        printf("serving %s on http%s://%s:%d/\n", args.directory, httpd->tls ? "s" : "", args.host,
               rota_listener_port(l));
        fflush(stdout);
    }
    rota_http_serve_options options = {
        .tls = httpd->tls, .grace = args.grace * ROTA_SECOND, .access = args.quiet ? NULL : print};
    return rota_http_serve(&l, 1, handle, httpd, &options);
}

static int serve_until_stop(void *arg)
{
    int err = 0;
    ROTA_UNTIL_STOP
    {
        err = args.workers == 1 ? serve(arg) : rota_run_workers((unsigned)args.workers, serve, arg);
    }
    return err;
}

static int number(const char *text, int most, const char *what)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end != text && !*end && n >= 0 && n <= most)
        return (int)n;
    fprintf(stderr, "httpd: %s must be 0 to %d: %s\n", what, most, text);
    exit(2);
}

/* "localhost:8080", "[::1]:8080", ":8080" for all addresses */
static void parse_address(char *text)
{
    char *colon = strrchr(text, ':');
    if (!colon) {
        fprintf(stderr, "httpd: not HOST:PORT: %s\n", text);
        exit(2);
    }
    args.port = number(colon + 1, 65535, "the port");
    *colon = '\0';
    if (*text == '[' && colon > text && colon[-1] == ']') {
        colon[-1] = '\0';
        text++;
    }
    args.host = text;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
                                            {"cert", required_argument, NULL, 'c'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"workers", required_argument, NULL, 'w'},
                                            {"grace", required_argument, NULL, 'g'},
                                            {"no-list", no_argument, NULL, 'n'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "l:c:k:w:g:nqh", options, NULL)) != -1;) {
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
            args.workers = number(optarg, 4096, "the number of workers");
            break;
        case 'g':
            args.grace = number(optarg, 86400, "the grace");
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
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (optind < argc)
        args.directory = argv[optind++];
    if (optind < argc || !args.cert != !args.key) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    ROTA_AUTO(rota_http_root) root = NULL;
    ROTA_AUTO(rota_tls_context) tls = NULL;
    parse(argc, argv);
    rota_http_root_options options = {.list = !args.no_list};
    int err = rota_http_root_open(args.directory, &options, &root);
    if (err < 0) {
        fprintf(stderr, "httpd: %s: %s\n", args.directory, rota_strerror(err));
        return 1;
    }
    if (args.cert) {
        rota_tls_options o = {.cert_file = args.cert, .key_file = args.key, .alpn = rota_http_alpn};
        err = rota_tls_context_new(&o, &tls);
    }
    if (err < 0) {
        fprintf(stderr, "httpd: %s\n", rota_tls_error());
        return 1;
    }
    struct httpd httpd = {root, tls};
    err = rota_run(serve_until_stop, &httpd);
    return err < 0 && err != -ECANCELED;
}
