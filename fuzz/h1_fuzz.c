/* Reads the input as HTTP/1.1, whole and in pieces: both have to be told the same. A head that was
 * understood is written by our writer, and has to be understood again. The first byte chooses role
 * and pieces. */
#include "../tests/pieces.h"
#include "fuzz.h"

#include "http/h1.h"
#include "http/h1_write.h"

#include <errno.h>

/* What was told, as text to compare. Pieces of a body that follow one another are one. */
struct reader {
    struct rota__h1 h1;
    rota_http_field fields[ROTA__H1_FIELDS];
    struct rota__out told;
    bool is_server, in_data;
};

static void tell(struct reader *r, char kind, rota_str s)
{
    if (kind != 'd' || !r->in_data)
        rota__out_add(&r->told, &kind, 1);
    r->in_data = kind == 'd';
    rota__out_add_str(&r->told, s);
    require(r->told.err == 0);
}

static void write_again(const struct rota__h1_head *head)
{
    struct rota__out out = {0};
    struct rota__h1_writer w;
    if (rota__h1_write_request(&w, &out, head->method, head->target,
                               head->authority.len ? head->authority : (rota_str){"none", 4}) < 0)
        abort();
    for (size_t i = 0; i < head->count; i++)
        rota__h1_write_field(&w, head->fields[i].name, head->fields[i].value);
    require(rota__h1_write_body(&w, head->body, head->length) == 0);

    static struct reader again;
    rota__h1_init(&again.h1, true, NULL, again.fields);
    struct rota__h1_item item;
    size_t used;
    int event = rota__h1_next(&again.h1, (rota_str){out.ptr, out.len}, &used, &item);
    /* Each may be over a limit where the other was just below it. */
    if (event != ROTA__H1_HEAD)
        require(event == -EBADMSG && (again.h1.status == 414 || again.h1.status == 431));
    else
        require(used == out.len && item.head.body == head->body &&
                item.head.length == head->length);
    rota__out_fini(&out);
}

static void tell_event(struct reader *r, int event, const struct rota__h1_item *item)
{
    if (event == ROTA__H1_DATA) {
        tell(r, 'd', item->data);
        return;
    }
    tell(r, (char)('0' + event), (rota_str){"", 0});
    if (event == ROTA__H1_END)
        return;
    tell(r, 'm', item->head.method);
    tell(r, 't', item->head.target);
    tell(r, 'r', item->head.reason);
    for (size_t i = 0; i < item->head.count; i++) {
        tell(r, 'n', item->head.fields[i].name);
        tell(r, 'v', item->head.fields[i].value);
    }
    rota__out_add_number(&r->told, item->head.length, 10);
    rota__out_add_number(&r->told, (uint64_t)item->head.body, 10);
}

static int take(void *arg, rota_str bytes, size_t *ret_used)
{
    struct reader *r = arg;
    struct rota__h1_item item;
    int event = rota__h1_next(&r->h1, bytes, ret_used, &item);
    if (event > 0)
        tell_event(r, event, &item);
    if (event == ROTA__H1_HEAD && r->is_server)
        write_again(&item.head);
    return event;
}

static void read_all(struct reader *r, bool is_server, rota_str messages, size_t piece)
{
    memset(r, 0, sizeof *r);
    r->is_server = is_server;
    rota__h1_init(&r->h1, is_server, NULL, r->fields);
    int event = read_in_pieces(messages, 0, piece, take, r);
    if (event >= 0)
        event = rota__h1_finish(&r->h1);
    tell(r, event < 0 ? '!' : '.', (rota_str){"", 0});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    static struct reader whole, split;
    bool is_server = data[0] & 1;
    rota_str messages = {(const char *)data + 1, size - 1};
    read_all(&whole, is_server, messages, size);
    read_all(&split, is_server, messages, (size_t)(data[0] >> 1) + 1);
    /* In pieces a refusal may come before or after what precedes it in the same bytes. */
    bool refused = whole.h1.state == ROTA__H1_BROKEN;
    require(refused == (split.h1.state == ROTA__H1_BROKEN));
    require(refused || is_same(written(&whole.told), written(&split.told)));
    rota__out_fini(&whole.told);
    rota__out_fini(&split.told);
    return 0;
}
