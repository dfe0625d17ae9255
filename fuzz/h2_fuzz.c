/* Reads the input as HTTP/2, whole and in pieces: both have to be told the same, and break for the
 * same reason. What is told has to be in order, stream by stream, and what we send has to be whole
 * frames. The first byte chooses role and pieces; the preface of a client is put before the
 * rest. */
#include "../tests/pieces.h"
#include "fuzz.h"

#include "http/h2.h"

#include <errno.h>

enum { STREAMS = 32 };

struct owner {
    struct rota__h2_stream stream;
    bool had_head, had_trailers, is_over;
};

struct reader {
    struct rota__h2 h2;
    struct owner owners[STREAMS];
    unsigned used;
    struct rota__out told;
    bool in_data, had_reset;
};

#define S(literal_) ((rota_str){literal_, sizeof(literal_) - 1})

static void tell_number(struct reader *r, uint64_t number)
{
    rota__out_add_literal(&r->told, " ");
    rota__out_add_number(&r->told, number, 10);
}

static void tell_head(struct reader *r, const struct rota__h2_head *head)
{
    rota__out_add_str(&r->told, head->method);
    rota__out_add_str(&r->told, head->scheme);
    rota__out_add_str(&r->told, head->authority);
    rota__out_add_str(&r->told, head->target);
    tell_number(r, (uint64_t)head->status);
    tell_number(r, head->length);
    for (size_t i = 0; i < head->count; i++) {
        rota__out_add_str(&r->told, head->fields[i].name);
        rota__out_add_str(&r->told, head->fields[i].value);
    }
}

static void tell(struct reader *r, int event, const struct rota__h2_item *item)
{
    if (event != ROTA__H2_DATA || !r->in_data) {
        tell_number(r, (uint64_t)event);
        tell_number(r, (uint64_t)item->id);
    }
    r->in_data = event == ROTA__H2_DATA;
    if (event == ROTA__H2_DATA)
        rota__out_add_str(&r->told, item->data);
    if (event == ROTA__H2_HEAD || event == ROTA__H2_INTERIM || event == ROTA__H2_TRAILERS)
        tell_head(r, &item->head);
    r->had_reset |= event == ROTA__H2_RESET;
    require(r->told.err == 0);
}

static void write_some(struct reader *r, struct owner *o)
{
    char bytes[100] = {0};
    ssize_t n = rota__h2_data(&r->h2, &o->stream, sizeof bytes, o->stream.id % 4 == 1);
    require(n <= (ssize_t)sizeof bytes);
    if (n > 0)
        rota__out_add(&r->h2.out, bytes, (size_t)n);
}

static void answer(struct reader *r, struct owner *o)
{
    rota_http_field field = {S("a"), S("b")};
    struct rota__h2_head head = {.status = 200,
                                 .fields = &field,
                                 .count = 1,
                                 .end = o->stream.answers_head || o->stream.id % 8 == 7};
    require(rota__h2_respond(&r->h2, &o->stream, &head) == 0);
    write_some(r, o);
}

static void take(struct reader *r, const struct rota__h2_item *item)
{
    if (r->used == STREAMS)
        return;
    struct owner *o = &r->owners[r->used++];
    rota__h2_take(&r->h2, &o->stream, item);
    o->had_head = true;
    if (r->used % 3 == 0)
        rota__h2_drop(&r->h2, &o->stream, ROTA__H2_INTERNAL_ERROR);
    else if (r->used % 3 == 1 && r->h2.err == 0)
        answer(r, o);
}

/* HEAD, DATA..., TRAILERS, END; RESET at any time. */
static void check_order(struct reader *r, int event, const struct rota__h2_item *item)
{
    struct owner *o = (struct owner *)item->stream;
    if (!o)
        return;
    require(o->stream.is_taken && o->stream.id == item->id);
    require(!o->is_over || event == ROTA__H2_RESET || event == ROTA__H2_WINDOW);
    switch (event) {
    case ROTA__H2_HEAD:
        require(!o->had_head);
        o->had_head = true;
        break;
    case ROTA__H2_INTERIM:
        require(!o->had_head);
        break;
    case ROTA__H2_DATA:
        require(o->had_head && !o->had_trailers && item->data.len);
        break;
    case ROTA__H2_TRAILERS:
        require(o->had_head && !o->had_trailers);
        o->had_trailers = true;
        break;
    case ROTA__H2_END:
        require(o->had_head);
        o->is_over = true;
        break;
    case ROTA__H2_RESET:
        require(!o->stream.is_open);
        o->is_over = true;
        break;
    default:
        break;
    }
}

static void act(struct reader *r, int event, const struct rota__h2_item *item)
{
    struct owner *o = (struct owner *)item->stream;
    if (event == ROTA__H2_HEAD && r->h2.is_server)
        take(r, item);
    else if (event == ROTA__H2_END || event == ROTA__H2_RESET)
        rota__h2_consumed(&r->h2, &o->stream, o->stream.unread);
    else if (event == ROTA__H2_WINDOW && o && o->stream.wrote_head && !o->stream.write_ended)
        write_some(r, o);
}

static void begin(struct reader *r)
{
    static const rota_str methods[] = {{"GET", 3}, {"HEAD", 4}, {"POST", 4}, {"CONNECT", 7}};
    for (unsigned i = 0; i < 4; i++) {
        struct rota__h2_head head = {.method = methods[i], .authority = S("a:1"), .end = i < 2};
        if (i < 3) {
            head.scheme = S("http");
            head.target = S("/");
        }
        struct owner *o = &r->owners[r->used++];
        require(rota__h2_request(&r->h2, &o->stream, &head) == 0);
        if (i >= 2)
            write_some(r, o);
    }
}

static void check_frames(const struct rota__out *out, bool is_server)
{
    size_t at = is_server ? 0 : 24;
    while (at < out->len) {
        const unsigned char *head = (const unsigned char *)out->ptr + at;
        require(out->len - at >= 9);
        at += 9 + ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]);
    }
    require(at == out->len);
}

static int take_event(void *arg, rota_str bytes, size_t *ret_used)
{
    struct reader *r = arg;
    struct rota__h2_item item;
    int event = rota__h2_next(&r->h2, 0, bytes, ret_used, &item);
    if (event > 0) {
        check_order(r, event, &item);
        tell(r, event, &item);
        act(r, event, &item);
    }
    require(event != 0 || *ret_used == bytes.len);
    return event;
}

static void read_all(struct reader *r, bool is_server, rota_str frames, size_t piece)
{
    memset(r, 0, sizeof *r);
    require(rota__h2_init(&r->h2, is_server, NULL) == 0);
    if (is_server)
        require(read_in_pieces(S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, 24, take_event, r) == 0);
    else
        begin(r);
    int err = read_in_pieces(frames, 0, piece, take_event, r);
    require(err == r->h2.err && err != -ENOMEM && r->h2.open < 1000);
    for (unsigned i = 0; i < r->used; i++)
        rota__h2_drop(&r->h2, &r->owners[i].stream, ROTA__H2_CANCEL);
    require(r->h2.taken == 0);
    check_frames(&r->h2.out, is_server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    static struct reader whole, split;
    bool is_server = data[0] & 1;
    rota_str frames = {(const char *)data + 1, size - 1};
    read_all(&whole, is_server, frames, size);
    read_all(&split, is_server, frames, (size_t)(data[0] >> 1) + 1);
    require(whole.h2.err == split.h2.err && whole.h2.code == split.h2.code);
    /* Before a stream is reset, more or less of its body may have been told. */
    if (!whole.had_reset && !split.had_reset && whole.h2.err == 0)
        require(is_same(written(&whole.told), written(&split.told)));
    rota__out_fini(&whole.told);
    rota__out_fini(&split.told);
    rota__h2_fini(&whole.h2);
    rota__h2_fini(&split.h2);
    return 0;
}
