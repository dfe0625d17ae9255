/* Reads the input as HTTP/1.1, whole and in pieces: both have to be told the same. A head that was understood
 * is written by our writer, and has to be understood again. The first byte chooses role and pieces. */
#include "http/h1.h"
#include "http/h1_write.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* What was told, as text to compare. Pieces of a body that follow one another are one. */
struct reader {
    struct rota__h1 h1;
    rota_http_field fields[ROTA__H1_FIELDS];
    struct rota__out told;
    bool in_data;
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

static void read_all(struct reader *r, bool is_server, const uint8_t *data, size_t size,
                     size_t piece)
{
    memset(r, 0, sizeof *r);
    rota__h1_init(&r->h1, is_server, NULL, r->fields);
    struct rota__h1_item item;
    int event = 0;
    for (size_t at = 0, end = 0; event >= 0 && end < size;) {
        end = size - end < piece ? size : end + piece;
        char *exact = malloc(end - at + 1);
        memcpy(exact, data + at, end - at);
        size_t unread = end - at, used;
        do {
            event = rota__h1_next(&r->h1, (rota_str){exact + (end - at - unread), unread}, &used,
                                  &item);
            require(used <= unread);
            unread -= used;
            if (event > 0)
                tell_event(r, event, &item);
            if (event == ROTA__H1_HEAD && is_server)
                write_again(&item.head);
        } while (event > 0);
        free(exact);
        at = end - unread;
    }
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
    size_t piece = (size_t)(data[0] >> 1) + 1;
    read_all(&whole, is_server, data + 1, size - 1, size);
    read_all(&split, is_server, data + 1, size - 1, piece);
    /* In pieces a refusal may come before or after what precedes it in the same bytes. */
    size_t common = whole.told.len < split.told.len ? whole.told.len : split.told.len;
    bool refused = whole.h1.state == ROTA__H1_BROKEN;
    require(refused == (split.h1.state == ROTA__H1_BROKEN));
    require(refused || (whole.told.len == split.told.len &&
                        memcmp(whole.told.ptr, split.told.ptr, common) == 0));
    rota__out_fini(&whole.told);
    rota__out_fini(&split.told);
    return 0;
}
