/* A server for the tests that talk to one as a whole: http_front_test.py, http_attack_test.py,
 * http_curl_test.py.
 *
 *     http_target --table                 prints the cases of refusals.h: RFC, what is expected,
 *                                         bytes in hexadecimal
 *     http_target [--OPTION VALUE]...     prints "port N", then serves until it is ended
 *
 * What it does with a request is the path's first part:
 *
 *     /stats     what it has counted, as JSON
 *     /tasks     what its tasks wait for
 *     /big       64 MiB, in pieces
 *     /slow      waits for a minute
 *     /both      sends the body back while it comes
 *     /ws        a WebSocket that sends back what it gets
 *     /files     a file below the directory of --root
 *     all else   reads the body, and replies with method, target and the body's length
 *
 * With --compress yes, it compresses what is worth it. With --seen FILE, it writes a line there for
 * each request as it begins: the values of its X-Front fields, joined by commas, method and target
 * without its query. */
#include "refusals.h"
#include "relay.h"

#include <rota.h>
#include <rota/http_server.h>
#include <rota/tls.h>
#include <rota/websocket.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIG (64 * 1024 * 1024)

static rota_http_counters counters;
static rota_http_serve_options settings = {.counters = &counters};
static rota_websocket_options ws_settings;
static rota_tls_options identity = {.alpn = rota_http_alpn};
static const char *directory = ".";
static rota_http_root *root;
static FILE *seen;
static size_t slow_began, slow_cancelled, alive, most_alive;

static rota_time seconds(const char *value)
{
    return (rota_time)(atof(value) * (double)ROTA_SECOND);
}

static void set_option(const char *name, const char *value)
{
    const struct {
        const char *name;
        rota_time *time;
        size_t *size;
        const char **text;
    } options[] = {
        {"--head-time", .time = &settings.head_time},
        {"--body-gap", .time = &settings.body_gap},
        {"--idle", .time = &settings.idle},
        {"--write-stall", .time = &settings.write_stall},
        {"--connections", .size = &settings.connections},
        {"--body", .size = &settings.body},
        {"--message", .size = &ws_settings.message},
        {"--root", .text = &directory},
        {"--cert", .text = &identity.cert_file},
        {"--key", .text = &identity.key_file},
    };
    if (strcmp(name, "--compress") == 0) {
        settings.compress = true;
        return;
    }
    if (strcmp(name, "--write-stall") == 0)
        ws_settings.write_stall = seconds(value);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(options[i].name, name) != 0)
            continue;
        if (options[i].time)
            *options[i].time = seconds(value);
        else if (options[i].size)
            *options[i].size = (size_t)atoll(value);
        else
            *options[i].text = value;
        return;
    }
    if (strcmp(name, "--seen") != 0 || !(seen = fopen(value, "w")))
        errx(2, "%s %s?", name, value);
    setvbuf(seen, NULL, _IOLBF, 0);
}

/* ---- Handlers */

static bool begins(rota_str s, const char *with)
{
    return s.len >= strlen(with) && memcmp(s.ptr, with, strlen(with)) == 0;
}

static void note(rota_http_request *r)
{
    rota_str method = rota_http_request_method(r), target = rota_http_request_path(r);
    size_t count, found = 0;
    const rota_http_field *fields = rota_http_request_fields(r, &count);
    for (size_t i = 0; i < count; i++) {
        if (fields[i].name.len == 7 && strncasecmp(fields[i].name.ptr, "x-front", 7) == 0)
            fprintf(seen, "%s%.*s", found++ ? "," : "", (int)fields[i].value.len,
                    fields[i].value.ptr);
    }
    fprintf(seen, " %.*s %.*s\n", (int)method.len, method.ptr, (int)target.len, target.ptr);
}

static int reply_with_stats(rota_http_request *r)
{
    char text[400];
    int len = snprintf(text, sizeof text,
                       "{\"open\": %zu, \"running\": %zu, \"refused\": %llu, \"began\": %zu, "
                       "\"cancelled\": %zu, \"alive\": %zu, \"most\": %zu}\n",
                       counters.open, counters.running, (unsigned long long)counters.refused,
                       slow_began, slow_cancelled, alive, most_alive);
    return rota_http_reply(r, 200, "application/json", text, (size_t)len);
}

static int reply_with_tasks(rota_http_request *r)
{
    char *text = rota_dump(rota_loop_current());
    int error = text ? rota_http_reply(r, 200, "text/plain", text, strlen(text)) : -ENOMEM;
    free(text);
    return error;
}

static int reply_big(rota_http_request *r)
{
    static const char piece[64 * 1024];
    int error = rota_http_start(r, 200, "application/octet-stream", BIG);
    for (size_t sent = 0; error == 0 && sent < BIG; sent += sizeof piece)
        error = rota_http_write(r, piece, sizeof piece);
    return error;
}

static int wait_long(rota_http_request *r)
{
    slow_began++;
    int error = rota_sleep(ROTA_MINUTE);
    slow_cancelled += error == -ECANCELED;
    return error < 0 ? error : rota_http_reply_status(r, 200);
}

static int echo_body(rota_http_request *r)
{
    struct relay relay = {0};
    return echo_both_ways(r, &relay);
}

static int echo_messages(rota_http_request *r)
{
    ROTA_AUTO(rota_websocket) ws = NULL;
    int more = rota_websocket_accept(r, &ws_settings, &ws);
    rota_websocket_message m;
    while (more >= 0 && (more = rota_websocket_read(ws, &m)) > 0)
        more = rota_websocket_write(ws, m.type, m.bytes.ptr, m.bytes.len);
    return more == -EPROTO ? 0 : more;
}

static int describe(rota_http_request *r)
{
    char piece[16 * 1024];
    size_t body = 0;
    ssize_t n;
    while ((n = rota_http_request_read(r, piece, sizeof piece)) > 0)
        body += (size_t)n;
    if (n < 0)
        return (int)n;
    rota_str method = rota_http_request_method(r), path = rota_http_request_path(r);
    char *text = rota_http_alloc(r, method.len + path.len + 32);
    if (!text)
        return -ENOMEM;
    int len = sprintf(text, "%.*s %.*s %zu\n", (int)method.len, method.ptr, (int)path.len, path.ptr,
                      body);
    rota_str front = rota_http_request_header(r, "x-front");
    char *copy = rota_http_alloc(r, front.len + 1);
    if (!copy)
        return -ENOMEM;
    sprintf(copy, "%.*s", (int)front.len, front.ptr ? front.ptr : "");
    rota_http_add_header(r, "X-Seen", copy);
    return rota_http_reply(r, 200, "text/plain", text, (size_t)len);
}

static int act(rota_http_request *r)
{
    rota_str path = rota_http_request_path(r);
    if (begins(path, "/stats"))
        return reply_with_stats(r);
    if (begins(path, "/tasks"))
        return reply_with_tasks(r);
    if (begins(path, "/big"))
        return reply_big(r);
    if (begins(path, "/slow"))
        return wait_long(r);
    if (begins(path, "/both"))
        return echo_body(r);
    if (begins(path, "/files"))
        return rota_http_reply_file(r, root, (rota_str){path.ptr + 6, path.len - 6});
    if (begins(path, "/ws"))
        return echo_messages(r);
    return describe(r);
}

static int handle(rota_http_request *r, void *arg)
{
    (void)arg;
    if (seen)
        note(r);
    if (++alive > most_alive)
        most_alive = alive;
    int error = act(r);
    alive--;
    return error;
}

/* ---- The program */

static int serve(void *tls)
{
    ROTA_AUTO(rota_listener) listener = NULL;
    settings.tls = tls;
    int error = rota_tcp_listen("127.0.0.1", 0, NULL, &listener);
    if (error < 0)
        return error;
    printf("port %d\n", rota_listener_port(listener));
    fflush(stdout);
    ROTA_UNTIL_STOP
    {
        error = rota_http_serve(&listener, 1, handle, NULL, &settings);
    }
    return error;
}

static int print_table(void)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *f = &refusals[i];
        size_t len = f->len ? f->len : strlen(f->bytes);
        printf("%s\t%s\t", f->rfc, f->expected);
        for (size_t k = 0; k < len; k++)
            printf("%02x", (unsigned char)f->bytes[k]);
        putchar('\n');
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--table") == 0)
        return print_table();
    if (argc % 2 == 0)
        errx(2, "usage: see the source");
    for (int i = 1; i < argc; i += 2)
        set_option(argv[i], argv[i + 1]);
    ROTA_AUTO(rota_tls_context) tls = NULL;
    int error = identity.cert_file ? rota_tls_context_new(&identity, &tls) : 0;
    if (error < 0)
        errx(1, "%s", rota_error(error));
    error = rota_http_root_open(directory, NULL, &root);
    if (error == 0)
        error = rota_run(serve, tls);
    rota_http_root_free(root);
    if (seen)
        fclose(seen);
    if (error < 0 && error != -ECANCELED)
        errx(1, "%s", rota_strerror(error));
    return 0;
}
