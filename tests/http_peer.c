/* A client, for http_peer_test.py to set against other servers.
 *
 *     http_peer [OPTION]... URL...
 *
 * Asks for all URLs at once, through one session, and prints a line for each answer when it has
 * come:
 *
 *     URL STATUS VERSION LENGTH SHA-256 [TRAILER]        or: URL failed: WORDS
 *
 * and at the end how many connections it took. Behind a "+" stands what is to be done with a URL:
 * "slow" reads it in small pieces, letting all others go on in between; "held" reads a piece, and
 * goes on when a line has come by stdin; "post" sends as many bytes as --upload says, "stream" the
 * same from a stream, which cannot be sent twice. Prints "under way" when all answers are waited
 * for or held. With --digest, user and password of a URL only answer challenges for Digest. */
#include <rota.h>
#include <rota/http_client.h>

#include <openssl/evp.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 4096, PIECE = 4096 };

struct job {
    const char *url, *how;
    size_t length;
    EVP_MD_CTX *sum;
};

static struct job jobs[MOST];
static size_t count, times = 1;
static size_t upload = 10;
static bool first, under_way; /* first: ask for the first URL alone, before the others */
static const char *authorities, *trailer;
static rota_http_session_options settings = {.proxy = "", .no_decoding = true};

static rota_http_session *session;
static size_t connections, waiting, held, to_hold, done;
static rota_event go_on;
static char *bytes; /* that are uploaded */

static bool is(const struct job *job, const char *how)
{
    return job->how && strcmp(job->how, how) == 0;
}

/* ---- What goes on */

static void report_progress(void)
{
    if (under_way && held == to_hold && waiting + held + done == count) {
        under_way = false;
        puts("under way");
        fflush(stdout);
    }
}

static void note(void *arg, const rota_http_trace *trace)
{
    connections += trace->phase == ROTA_HTTP_CONNECTING;
    if (trace->phase == ROTA_HTTP_WAITING)
        waiting++;
    report_progress();
}

static int await_line(void *arg)
{
    char c;
    int err = rota_fd_wait(STDIN_FILENO, ROTA_READABLE);
    if (err >= 0 && read(STDIN_FILENO, &c, 1) >= 0)
        rota_event_set(&go_on);
    return err < 0 ? err : 0;
}

/* ---- A request */

static int write_all(void *arg)
{
    int err = rota_stream_write(arg, bytes, upload);
    return err < 0 ? err : rota_stream_shutdown(arg);
}

static ssize_t read_piece(struct job *job, rota_http_response *r)
{
    static char quick[1 << 16];
    char slow[PIECE];
    bool is_slow = is(job, "slow");
    char *buf = is_slow ? slow : quick;
    for (int i = 0; is_slow && i < 20; i++)
        ROTA_IGNORE(rota_yield());
    ssize_t n = rota_http_read(r, buf, is_slow ? sizeof slow : sizeof quick);
    if (n > 0) {
        EVP_DigestUpdate(job->sum, buf, (size_t)n);
        job->length += (size_t)n;
    }
    return n;
}

static int hold(struct job *job, rota_http_response *r)
{
    ssize_t n = read_piece(job, r);
    held++;
    report_progress();
    return n < 0 ? (int)n : rota_event_wait(&go_on);
}

static int read_all(struct job *job, rota_http_response *r)
{
    ssize_t n = is(job, "held") ? hold(job, r) : 0;
    if (n == 0) {
        while ((n = read_piece(job, r)) > 0)
            ;
    }
    return (int)n;
}

static void print_answer(struct job *job, rota_http_response *r)
{
    unsigned char sum[32];
    rota_str version = rota_http_response_version(r);
    printf("%s %d %.*s %zu ", job->url, rota_http_status(r), (int)version.len, version.ptr,
           job->length);
    EVP_DigestFinal_ex(job->sum, sum, NULL);
    for (size_t i = 0; i < sizeof sum; i++)
        printf("%02x", sum[i]);
    rota_str value = trailer ? rota_http_response_trailer(r, trailer) : (rota_str){"", 0};
    printf(" %.*s\n", (int)value.len, value.len ? value.ptr : "");
}

static int ask(struct job *job, const rota_http_body_source *body)
{
    ROTA_AUTO(rota_http_response) r = NULL;
    rota_http_fetch_options options = {.stream = true, .body = *body};
    int err = rota_http_fetch(session, job->url, &options, &r);
    if (err < 0) {
        printf("%s failed: %s\n", job->url, rota_error(err));
    } else {
        waiting--;
        err = read_all(job, r);
        if (err < 0)
            printf("%s failed: %s\n", job->url, rota_http_response_error(r));
        else
            print_answer(job, r);
    }
    fflush(stdout);
    return err;
}

static int ask_by_stream(struct job *job)
{
    ROTA_AUTO(rota_stream) ours = NULL;
    ROTA_AUTO(rota_stream) theirs = NULL;
    int err = rota_stream_pair(0, &ours, &theirs);
    if (err < 0)
        return err;
    ROTA_GROUP(g);
    rota_group_spawn(&g, write_all, ours);
    err = ask(job, &(rota_http_body_source){.stream = theirs});
    rota_group_cancel(&g);
    return err;
}

static int run_job(void *arg)
{
    struct job *job = arg;
    job->sum = EVP_MD_CTX_new();
    EVP_DigestInit_ex(job->sum, EVP_sha256(), NULL);
    job->length = 0;
    rota_str body = is(job, "post") ? (rota_str){bytes, upload} : (rota_str){NULL, 0};
    int err =
        is(job, "stream") ? ask_by_stream(job) : ask(job, &(rota_http_body_source){.bytes = body});
    done++;
    EVP_MD_CTX_free(job->sum);
    return err == -ECANCELED ? err : 0;
}

static int ask_all(void *arg)
{
    ROTA_AUTO(rota_tls_context) tls = NULL;
    rota_tls_options trust = {.ca_file = authorities, .alpn = rota_http_alpn};
    int err = authorities ? rota_tls_context_new(&trust, &tls) : 0;
    if (err < 0)
        errx(1, "%s", rota_error(err));
    settings.tls = tls;
    settings.trace = note;
    err = rota_http_session_new(&settings, &session);
    if (err < 0)
        errx(1, "%s", rota_error(err));
    {
        ROTA_GROUP(g);
        ROTA_AUTO(rota_task) line = NULL;
        rota_spawn(await_line, NULL, &line);
        if (first)
            run_job(&jobs[0]);
        waiting = 0;
        under_way = true;
        for (size_t i = first; i < count; i++)
            rota_group_spawn(&g, run_job, &jobs[i]);
        err = rota_group_wait(&g);
    }
    session = rota_http_session_free(session);
    printf("connections: %zu\n", connections);
    return err;
}

/* ---- The command line */

static size_t number(const char *text)
{
    char *end;
    size_t n = strtoul(text ? text : "", &end, 10);
    if (!text || *end || end == text)
        errx(2, "no number: %s", text ? text : "");
    return n;
}

static void add_url(char *url)
{
    char *how = strchr(url, '+');
    if (how)
        *how++ = '\0';
    for (size_t i = 0; i < times && count < MOST; i++)
        jobs[count++] = (struct job){.url = url, .how = how};
    to_hold += is(&jobs[count - 1], "held") ? times : 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--ca") == 0)
            authorities = argv[++i];
        else if (strcmp(argv[i], "--directly") == 0)
            settings.version = ROTA_HTTP_2_DIRECTLY;
        else if (strcmp(argv[i], "--digest") == 0)
            settings.auth = ROTA_HTTP_AUTH_DIGEST;
        else if (strcmp(argv[i], "--trailer") == 0)
            trailer = argv[++i];
        else if (strcmp(argv[i], "--times") == 0)
            times = number(argv[++i]); /* of the URLs behind it */
        else if (strcmp(argv[i], "--upload") == 0)
            upload = number(argv[++i]);
        else if (strcmp(argv[i], "--first") == 0)
            first = true;
        else if (*argv[i] == '-')
            errx(2, "unknown option: %s", argv[i]);
        else
            add_url(argv[i]);
    }
    bytes = malloc(upload + 1);
    if (!bytes || !count)
        errx(2, "usage: http_peer [OPTION]... URL...");
    for (size_t i = 0; i < upload; i++)
        bytes[i] = (char)('a' + i % 23);
    int err = rota_run(ask_all, NULL);
    free(bytes);
    return err < 0;
}
