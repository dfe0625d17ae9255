/* One end of TLS connections, for tls_peer_test.py to set against other programs.
 *
 *     tls_peer server [OPTION VALUE]...             prints "port N", then serves until it is ended
 *     tls_peer client HOST PORT [OPTION VALUE]...   connects, says a line, and prints the answers
 *
 * Prints a line for what a connection came to ("open ...", "failed: why"), one for each line that
 * comes, and one for its end ("end", "error: why"). The server answers lines, and requests of
 * HTTP. */
#include <rota.h>
#include <rota/tls.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIG = 1000000 };

static const char *host, *say = "hello", *alpn[8];
static int port, times = 1;
static bool starttls, to_end;
static rota_tls_options settings;
static rota_tls_context *tls;

static rota_tls_version version_of(const char *text)
{
    return strcmp(text, "1.2") == 0 ? ROTA_TLS_1_2 : ROTA_TLS_1_3;
}

static void split_protocols(char *text)
{
    size_t n = 0;
    for (char *name = strtok(text, ","); name && n < 7; name = strtok(NULL, ","))
        alpn[n++] = name;
    settings.alpn = alpn;
}

static void set_option(const char *name, char *value)
{
    if (strcmp(name, "--ca") == 0)
        settings.ca_file = value;
    else if (strcmp(name, "--ca-path") == 0)
        settings.ca_path = value;
    else if (strcmp(name, "--crl") == 0)
        settings.crl_file = value;
    else if (strcmp(name, "--cert") == 0)
        settings.cert_file = value;
    else if (strcmp(name, "--key") == 0)
        settings.key_file = value;
    else if (strcmp(name, "--alpn") == 0)
        split_protocols(value);
    else if (strcmp(name, "--min") == 0)
        settings.min_version = version_of(value);
    else if (strcmp(name, "--max") == 0)
        settings.max_version = version_of(value);
    else if (strcmp(name, "--clients") == 0)
        settings.clients = strcmp(value, "must") == 0 ? ROTA_TLS_CLIENTS_MUST_IDENTIFY
                                                      : ROTA_TLS_CLIENTS_MAY_IDENTIFY;
    else if (strcmp(name, "--timeout") == 0)
        settings.handshake_timeout = (rota_time)(atof(value) * (double)ROTA_SECOND);
    else if (strcmp(name, "--starttls") == 0)
        starttls = true;
    else if (strcmp(name, "--to-end") == 0)
        to_end = true;
    else if (strcmp(name, "--kernel") == 0)
        settings.use_kernel = true;
    else if (strcmp(name, "--times") == 0)
        times = atoi(value);
    else if (strcmp(name, "--say") == 0)
        say = value;
    else
        errx(2, "there is no option %s", name);
}

static void print_agreed(rota_stream *s)
{
    char subject[100] = "-";
    const char *name = rota_tls_server_name(s);
    rota_str protocol = rota_tls_alpn(s);
    rota_tls_peer_subject(s, subject, sizeof subject);
    printf("open %s %s alpn=%.*s name=%s subject=%s resumed=%d kernel=%d\n",
           rota_tls_version_name(s), rota_tls_cipher(s), (int)protocol.len,
           protocol.len ? protocol.ptr : "", name ? name : "-", subject, rota_tls_resumed(s),
           rota_tls_in_kernel(s));
}

static int write_text(rota_stream *s, const char *text)
{
    return rota_stream_write(s, text, strlen(text));
}

static bool begins_with(rota_str line, const char *text)
{
    return line.len >= strlen(text) && memcmp(line.ptr, text, strlen(text)) == 0;
}

/* ---- The server */

/* As much of SMTP as comes before TLS. */
static int greet(rota_stream *s)
{
    rota_str line;
    int more = write_text(s, "220 here\r\n");
    while (more >= 0 && (more = rota_stream_read_line(s, &line)) > 0) {
        if (begins_with(line, "STARTTLS"))
            return write_text(s, "220 go ahead\r\n");
        more = write_text(s, "250-here\r\n250 STARTTLS\r\n");
    }
    return more < 0 ? more : ROTA_EOF;
}

static int write_page(rota_stream *s, bool big)
{
    static char page[BIG];
    size_t len = big ? sizeof page : 15;
    char head[80];
    memset(page, 'x', sizeof page);
    memcpy(page, "hello over TLS\n", 15);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    int err = write_text(s, head);
    return err < 0 ? err : rota_stream_write(s, page, len);
}

/* Returns 1 where more requests may come. */
static int answer_request(rota_stream *s, bool big)
{
    rota_str line;
    int more, last = false;
    while ((more = rota_stream_read_line(s, &line)) > 0 && line.len > 0)
        last |= begins_with(line, "Connection: close");
    if (more > 0)
        more = write_page(s, big);
    return more < 0 || last ? more : 1;
}

static int answer_line(rota_stream *s, rota_str line)
{
    printf("line %.*s\n", (int)line.len, line.ptr);
    if (begins_with(line, "GET "))
        return answer_request(s, begins_with(line, "GET /big"));
    if (begins_with(line, "bye"))
        return 0;
    char answer[200];
    snprintf(answer, sizeof answer, "you said %.*s\n", (int)line.len, line.ptr);
    int err = write_text(s, answer);
    return err < 0 ? err : 1;
}

static int serve(rota_stream *s, void *arg)
{
    rota_str line;
    int more = starttls ? greet(s) : 0;
    if (more == 0)
        more = rota_tls_start_server(s, tls);
    if (more < 0) {
        printf("failed: %s\n", rota_stream_error(s));
        return 0;
    }
    print_agreed(s);
    do {
        more = rota_stream_read_line(s, &line);
        if (more > 0)
            more = answer_line(s, line);
    } while (more > 0);
    if (more < 0)
        printf("error: %s\n", rota_stream_error(s));
    else
        printf("end\n");
    return 0;
}

static int server_main(void *arg)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    int error = rota_tcp_listen("127.0.0.1", 0, NULL, &listener);
    if (error < 0)
        return error;
    printf("port %d\n", rota_listener_port(listener));
    return rota_serve(listener, serve, NULL, NULL);
}

/* ---- The client */

static int connect_by_starttls(rota_stream **ret_stream)
{
    rota_str line;
    rota_stream *s;
    int error = rota_tcp_connect(host, port, NULL, &s);
    if (error < 0)
        return error;
    *ret_stream = s;
    error = rota_stream_read_line(s, &line);
    if (error > 0)
        error = write_text(s, "STARTTLS\r\n");
    if (error >= 0)
        error = rota_stream_read_line(s, &line);
    return error < 0 ? error : rota_tls_start_client(s, tls, host, NULL);
}

static int print_answers(rota_stream *s)
{
    rota_str line;
    int more;
    while ((more = rota_stream_read_line(s, &line)) > 0) {
        printf("line %.*s\n", (int)line.len, line.ptr);
        if (!to_end)
            return 0;
    }
    if (more < 0)
        printf("error: %s\n", rota_stream_error(s));
    else
        printf("end\n");
    return 0;
}

static int visit(void)
{
    ROTA_AUTO(rota_stream) s = NULL;
    int error = starttls ? connect_by_starttls(&s) : rota_tls_connect(host, port, tls, NULL, &s);
    if (error < 0) {
        printf("failed: %s\n", s ? rota_stream_error(s) : rota_error(error));
        return 0;
    }
    print_agreed(s);
    struct iovec line[] = {{(void *)say, strlen(say)}, {(void *)"\n", 1}};
    error = rota_stream_writev(s, line, 2);
    if (error < 0) {
        printf("error: %s\n", rota_stream_error(s));
        return 0;
    }
    return print_answers(s);
}

static int client_main(void *arg)
{
    int error = 0;
    for (int i = 0; i < times && error == 0; i++)
        error = visit();
    return error;
}

int main(int argc, char **argv)
{
    int first = argc > 1 && strcmp(argv[1], "client") == 0 ? 4 : 2;
    if (argc < first || (argc - first) % 2)
        errx(2, "usage: see the source");
    if (first == 4) {
        host = argv[2];
        port = atoi(argv[3]);
    }
    for (int i = first; i < argc; i += 2)
        set_option(argv[i], argv[i + 1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int error = rota_tls_context_new(&settings, &tls);
    if (error < 0)
        errx(1, "%s", rota_error(error));
    error = rota_run(first == 4 ? client_main : server_main, NULL);
    rota_tls_context_free(tls);
    if (error < 0)
        errx(1, "%s", rota_strerror(error));
    return 0;
}
