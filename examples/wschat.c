/* A chat room: a page, and a WebSocket for each that has it open. What one says, all get to see. */
#include <rota.h>
#include <rota/http_server.h>
#include <rota/websocket.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wschat_page.h"

enum { LATEST = 50, WAITING = 1000, NAME = 32, TEXT = 2000 };

/* A line that was said, in as many outboxes as it has references. */
struct line {
    size_t refs, len;
    char text[];
};

struct member {
    char name[NAME + 1];
    rota_websocket *ws;
    rota_queue *outbox; /* of struct line * */
    rota_event *stopping;
    rota_group tasks;
    struct member *next;
};

static struct {
    struct member *first;
    struct line *latest[LATEST]; /* a ring; what a newcomer gets to see */
    size_t said;
} room;

static void unref(struct line *line)
{
    if (line && --line->refs == 0)
        free(line);
}

/* A member that does not keep up has to leave; the others do not wait for it. */
static void give(struct member *member, struct line *line)
{
    line->refs++;
    int err = rota_queue_try_put(member->outbox, &line);
    if (err < 0)
        unref(line);
    if (err == -EAGAIN)
        rota_group_cancel(&member->tasks);
}

static void say(const char *name, const char *verb, rota_str words)
{
    size_t room_for = strlen(name) + strlen(verb) + words.len + 1;
    struct line *line = malloc(sizeof *line + room_for);
    if (!line)
        return;
    line->refs = 1;
    line->len =
        (size_t)snprintf(line->text, room_for, "%s%s%.*s", name, verb, (int)words.len, words.ptr);
    for (struct member *m = room.first; m; m = m->next)
        give(m, line);
    struct line **place = &room.latest[room.said++ % LATEST];
    unref(*place);
    *place = line;
}

static void join(struct member *member)
{
    for (size_t i = room.said > LATEST ? room.said - LATEST : 0; i < room.said; i++)
        give(member, room.latest[i % LATEST]);
    member->next = room.first;
    room.first = member;
    say(member->name, " joins", (rota_str){0});
}

static void leave(struct member *member)
{
    struct member **at = &room.first;
    while (*at != member)
        at = &(*at)->next;
    *at = member->next;
    struct line *line;
    while (rota_queue_try_get(member->outbox, &line) == 0)
        unref(line);
    member->outbox = rota_queue_free(member->outbox);
    say(member->name, " leaves", (rota_str){0});
}

/* What a member says, until it has closed. */
static int hear(struct member *member)
{
    rota_websocket_message message;
    int more;
    while ((more = rota_websocket_read(member->ws, &message)) > 0)
        if (message.type == ROTA_WEBSOCKET_TEXT)
            say(member->name, ": ", message.bytes);
    return more;
}

/* What it gets to see, until its outbox is closed. */
static int tell(void *arg)
{
    struct member *member = arg;
    struct line *line;
    int err;
    while ((err = rota_queue_get(member->outbox, &line)) == 0) {
        err = rota_websocket_write(member->ws, ROTA_WEBSOCKET_TEXT, line->text, line->len);
        unref(line);
        if (err < 0)
            break;
    }
    if (rota_websocket_close(member->ws, 1001, NULL) < 0)
        rota_group_cancel(&member->tasks); /* it does not answer, so it is removed */
    return err == ROTA_ECLOSED ? 0 : err;
}

/* When the server is about to stop, it gets what is in its outbox, and no more. */
static int dismiss(void *arg)
{
    struct member *member = arg;
    int err = rota_event_wait(member->stopping);
    if (err == 0)
        rota_queue_close(member->outbox);
    return err;
}

static int chat(rota_http_request *r)
{
    static unsigned guests;
    ROTA_AUTO(rota_websocket) ws = NULL;
    rota_websocket_options options = {.message = TEXT, .closing = ROTA_SECOND};
    int err = rota_websocket_accept(r, &options, &ws);
    if (err < 0)
        return err == -EPROTO ? 0 : err; /* it has been answered */
    struct member member = {.ws = ws, .stopping = rota_http_stopping(r)};
    snprintf(member.name, sizeof member.name, "guest %u", ++guests);
    err = rota_queue_new(WAITING, sizeof(struct line *), &member.outbox);
    if (err < 0)
        return err;
    rota_group_begin(&member.tasks);
    join(&member);
    rota_group_spawn(&member.tasks, tell, &member);
    rota_group_spawn(&member.tasks, dismiss, &member);
    int heard = hear(&member);
    rota_group_cancel(&member.tasks);
    err = rota_group_wait(&member.tasks);
    leave(&member);
    rota_group_fini(&member.tasks);
    return heard < 0 && heard != -ECANCELED ? heard : err;
}

static int handle(rota_http_request *r, void *arg)
{
    (void)arg;
    rota_str path = rota_http_request_path(r);
    if (rota_str_equal(path, "/chat"))
        return chat(r);
    if (rota_str_equal(path, "/"))
        return rota_http_reply(r, 200, "text/html; charset=utf-8", page, sizeof page - 1);
    return rota_http_reply_status(r, 404);
}

static int serve(void *arg)
{
    const int *port = arg;
    ROTA_AUTO(rota_listener) listener = NULL;
    int err = rota_tcp_listen("localhost", *port, NULL, &listener);
    if (err == -EADDRINUSE)
        return rota_error_set(err, "%s; select another port, or 0 for a free one", rota_error(err));
    if (err < 0)
        return err;
    printf("http://localhost:%d/\n", rota_listener_port(listener));
    fflush(stdout);
    /* Closing takes a member a second at most, and its connection half a second more. */
    rota_http_serve_options options = {.grace = 2 * ROTA_SECOND};
    ROTA_UNTIL_STOP
    {
        err = rota_http_serve(&listener, 1, handle, NULL, &options);
    }
    for (size_t i = 0; i < LATEST; i++)
        unref(room.latest[i]);
    return err == -ECANCELED ? 0 : err;
}

static int usage(FILE *out)
{
    fprintf(out, "usage: wschat PORT\n\n"
                 "Serves a chat room for browsers at http://localhost:PORT/ until SIGINT or\n"
                 "SIGTERM. Port 0 selects a free port. Prints the address.\n\n"
                 "Exit status: 0 after these signals, 1 if it cannot serve, 2 after a usage\n"
                 "error.\n");
    return out == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return usage(stderr);
    if (strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    char *end;
    long port = strtol(argv[1], &end, 10);
    if (end == argv[1] || *end || port < 0 || port > 65535) {
        fprintf(stderr, "wschat: PORT must be 0 to 65535: %s\n", argv[1]);
        return 2;
    }
    return rota_main(serve, &(int){(int)port});
}
