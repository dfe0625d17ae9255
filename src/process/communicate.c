/* Communicating with a child: one task writes its input, one reads each output, and the caller
 * waits for its end.
 *
 * 1. Input goes in pieces of PIPE_BUF, which a pipe takes whole or not at all, so that what an
 *    interrupted call has sent is known.
 * 2. An output is read up to its limit and not a byte further. */
#include "base/alloc.h"
#include "process/process.h"

#include <limits.h>

#define LIMIT (16 * 1024 * 1024)
#define LINGER ROTA_SECOND
#define ROOM_FIRST 4096

struct talk {
    rota_process *process;
    rota_communication *c;
    size_t limit;
    rota_time heard; /* when the last byte was read or written, or the child's end was seen */
    bool has_failed; /* one of the tasks that collect output */
};

static int feed(void *arg)
{
    struct talk *talk = arg;
    rota_str *input = &talk->c->input;
    rota_stream *in = rota_process_in(talk->process);
    int err = 0;
    while (err == 0 && input->len > 0) {
        size_t n = input->len < PIPE_BUF ? input->len : PIPE_BUF;
        err = rota_stream_write(in, input->ptr, n);
        if (err == 0) {
            input->ptr += n;
            input->len -= n;
            talk->heard = rota_now();
        }
    }
    if (err == 0)
        err = rota_stream_close(in);
    /* The child no longer reads, or all input was written. */
    return err == -EPIPE || err == ROTA_ECLOSED ? 0 : err;
}

/* Room for one byte more, and a NUL. */
static int output_make_room(rota_bytes *output, size_t *room, size_t limit)
{
    if (output->ptr && output->len + 1 < *room)
        return 0;
    size_t wanted = output->ptr ? 2 * *room : ROOM_FIRST;
    if (wanted > limit)
        wanted = limit + 1;
    char *bytes = rota_resize(output->ptr, wanted);
    if (!bytes)
        return -ENOMEM;
    bytes[output->len] = '\0';
    output->ptr = bytes;
    *room = wanted;
    return 0;
}

/* Returns a positive number if it read something, 0 at the end. */
static ssize_t output_read(struct talk *talk, rota_stream *s, rota_bytes *output, size_t *room)
{
    if (output->len >= talk->limit) {
        rota_str more;
        ssize_t n = rota_stream_peek(s, 1, &more);
        if (n <= 0)
            return n;
        return rota_error_set(ROTA_ELIMIT, "process %d: its output is longer than %zu bytes",
                              (int)rota_process_pid(talk->process), talk->limit);
    }
    int err = output_make_room(output, room, talk->limit);
    if (err < 0)
        return err;
    ssize_t n = rota_stream_read(s, output->ptr + output->len, *room - output->len - 1);
    if (n > 0) {
        output->len += (size_t)n;
        output->ptr[output->len] = '\0';
        talk->heard = rota_now();
    }
    return n;
}

/* The first failure is the call's, so a second one is not returned: the group would report it. */
static int collect(struct talk *talk, rota_stream *s, rota_bytes *output, size_t *room)
{
    ssize_t n;
    do
        n = output_read(talk, s, output, room);
    while (n > 0);
    if (n < 0 && talk->has_failed)
        return 0;
    talk->has_failed |= n < 0;
    return (int)n;
}

static int collect_out(void *arg)
{
    struct talk *talk = arg;
    return collect(talk, rota_process_out(talk->process), &talk->c->out, &talk->c->_room[0]);
}

static int collect_err(void *arg)
{
    struct talk *talk = arg;
    return collect(talk, rota_process_err(talk->process), &talk->c->err, &talk->c->_room[1]);
}

/* The child has ended; other processes may still hold its pipes, and may be silent for `linger` at
 * a time. */
static int wait_for_pipes(struct talk *talk, rota_group *group)
{
    rota_time linger = talk->c->linger ? talk->c->linger : LINGER;
    talk->heard = rota_now();
    while (rota_group_running(group) > 0) {
        rota_time silent = rota_now() - talk->heard;
        rota_task *ended;
        rota_timeout silence = ROTA_TIMEOUT_INIT;
        if (silent >= linger)
            return ROTA_EHELD;
        rota_timeout_begin(&silence, linger == ROTA_NEVER ? ROTA_NEVER : linger - silent);
        int err = rota_group_next(group, &ended);
        bool over = rota_timeout_end(&silence) < 0;
        if (err < 0 && !(err == -ETIMEDOUT && over))
            return err;
    }
    return 0;
}

int rota_process_communicate(rota_process *p, rota_communication *c)
{
    struct talk talk = {.process = p, .c = c, .limit = c->limit ? c->limit : LIMIT};
    ROTA_GROUP(group, .keep = true);
    c->status = (rota_process_status){0};
    int err = rota__suspend_check();
    if (err < 0)
        return err;
    if (rota_process_in(p))
        rota_group_spawn(&group, feed, &talk);
    if (rota_process_out(p))
        rota_group_spawn(&group, collect_out, &talk);
    if (rota_process_err(p))
        rota_group_spawn(&group, collect_err, &talk);
    int answer = rota_process_wait(p, &c->status);
    int held = answer >= 0 || answer == -ECHILD ? wait_for_pipes(&talk, &group) : 0;
    if (answer < 0 || held < 0)
        rota_group_cancel(&group);
    err = rota_group_wait(&group);
    if (err < 0)
        return err;
    if (held == ROTA_EHELD)
        rota_error_set(ROTA_EHELD, "process %d has ended, but other processes hold its pipes open",
                       (int)rota_process_pid(p));
    return held < 0 ? held : answer;
}

int rota_process_run(const char *const *argv, const rota_process_options *options,
                     rota_communication *c)
{
    ROTA_AUTO(rota_process) p = NULL;
    ROTA_SCOPED(rota_communication) unheard = ROTA_COMMUNICATION_INIT;
    rota_process_options o = options ? *options : (rota_process_options){0};
    if (c && c->input.len && o.in == ROTA_PROCESS_INHERIT)
        o.in = ROTA_PROCESS_PIPE;
    if (c && o.out == ROTA_PROCESS_INHERIT)
        o.out = ROTA_PROCESS_PIPE;
    if (c && o.err == ROTA_PROCESS_INHERIT)
        o.err = ROTA_PROCESS_PIPE;
    if (c)
        c->status = (rota_process_status){0};
    int err = rota_process_spawn(argv, &o, &p);
    return err < 0 ? err : rota_process_communicate(p, c ? c : &unheard);
}

void rota_communication_fini(rota_communication *c)
{
    rota_bytes_fini(&c->out);
    rota_bytes_fini(&c->err);
}
